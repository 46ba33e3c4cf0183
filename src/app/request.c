/* SPDX-License-Identifier: MIT */
/*
 * One request: born at BEGIN_REQUEST, shown to the handler when its params are complete, and the
 * handler's until it is finished. Request objects are used again with the memory inside them, so a
 * small request allocates nothing.
 *
 * The handler may finish any request from any of its functions, so nothing is touched after a call
 * but `calls`, which keeps the object from being recycled under a function that still runs.
 */
#include <errno.h>
#include <stdlib.h>

#include "app/app.h"
#include "base/assert.h"
#include "io/addr.h"

/* One of its functions returned. */
static void returned(struct ferry_request *r)
{
    if (--r->calls == 0 && r->finished && !r->lingers)
        ferry__request_recycle(r);
}

static void timer_fired(struct ferry_timer *t)
{
    struct ferry_request *r = ferry_container(t, struct ferry_request, timer);
    struct ferry_app *app = r->app;
    ferry_request_fn fn = r->after;

    r->after = NULL;
    r->calls++;
    fn(r);
    returned(r);
    ferry__app_settle(app);
}

static struct ferry_request *take(struct ferry_app *app)
{
    struct ferry_list *l = ferry_list_first(&app->idle_requests);
    struct ferry_request *r;

    if (l) {
        ferry_list_remove(l);
        app->nidle_requests--;
        return ferry_container(l, struct ferry_request, link);
    }
    r = malloc(sizeof *r);
    if (!r)
        return NULL;
    r->app = app;
    ferry__shared_init(&r->shared);
    ferry_list_init(&r->queued);
    ferry_list_init(&r->link);
    ferry_list_init(&r->poked);
    ferry_list_init(&r->dirty);
    ferry_list_init(&r->writer);
    ferry_timer_init(&r->timer, timer_fired);
    ferry__input_init(&r->body, ferry_loop_blocks(app->loop));
    ferry__input_init(&r->data, ferry_loop_blocks(app->loop));
    return r;
}

struct ferry_request *ferry__request_new(struct ferry__peer *peer,
                                         const struct ferry_conn_event *begin)
{
    struct ferry_request *r = take(peer->app);

    if (!r)
        return NULL;
    memset(&r->after, 0,
           offsetof(struct ferry_request, out) - offsetof(struct ferry_request, after));
    r->peer = peer;
    r->id = begin->id;
    r->role = begin->begin.role;
    r->kept = begin->begin.flags & FERRY_KEEP_CONN;
    r->params = r->mem;
    r->params_cap = sizeof r->mem;
    ferry_list_push(&peer->requests, &r->link);
    peer->app->nrequests++;
    return r;
}

int ferry__request_params(struct ferry_request *r, struct ferry_slice more)
{
    size_t max = r->app->opts.params_len_max, need, cap;
    struct ferry_block *b;

    if (more.len > max - r->params_len)
        return FERRY_ELIMIT;
    need = r->params_len + more.len + 1; /* vars.c writes a NUL behind the last */
    if (need > r->params_cap) {
        cap = 2 * r->params_cap;
        if (cap > max + 1)
            cap = max + 1;
        b = ferry_block_get(ferry_loop_blocks(r->app->loop), cap > need ? cap : need);
        if (!b)
            return -ENOMEM;
        memcpy(b->data, r->params, r->params_len);
        ferry_block_unref(r->params_block);
        r->params_block = b;
        r->params = b->data;
        r->params_cap = b->cap;
    }
    memcpy(r->params + r->params_len, more.p, more.len);
    r->params_len += more.len;
    return 0;
}

int ferry__request_parse(struct ferry_request *r)
{
    size_t used = r->params_len + 1;

    ferry__arena_init(&r->arena, ferry_loop_blocks(r->app->loop), r->params + used,
                      r->params_cap - used);
    return ferry__vars_parse(&r->vars, &r->arena, r->params, r->params_len,
                             r->app->opts.params_max);
}

/* No function of the handler's has seen it, or none will any more. */
static bool is_nobodys(struct ferry_request *r)
{
    if (r->detached && ferry__threads_cancel(&r->app->threads, r)) {
        ferry__detached_end(r);
        r->started = false;
    }
    return !r->started || r->finished;
}

void ferry__request_orphan(struct ferry_request *r)
{
    bool was = r->aborted;

    ferry_list_remove(&r->link);
    ferry_list_remove(&r->writer);
    if (is_nobodys(r)) {
        ferry__request_recycle(r);
        return;
    }
    ferry_list_push(&r->app->orphans, &r->link);
    ferry__request_lock(r);
    r->aborted = true;
    if (r->detached)
        ferry__request_cut_input(r);
    ferry__request_unhold(r);
    r->peer = NULL;
    ferry__request_unlock(r);
    if (!was)
        ferry__request_poke(r, FERRY__POKE_ABORT);
}

void ferry__request_recycle(struct ferry_request *r)
{
    struct ferry_app *app = r->app;

    ferry__request_unhold(r);
    ferry_list_remove(&r->link);
    ferry_list_remove(&r->poked);
    ferry_list_remove(&r->dirty);
    ferry_list_remove(&r->writer);
    ferry_timer_stop(&r->timer);
    ferry__input_clear(&r->body);
    ferry__input_clear(&r->data);
    ferry__early_clear(r);
    ferry__form_free(r->form);
    ferry__arena_fini(&r->arena);
    ferry_block_unref(r->params_block);
    app->nrequests--;
    ferry__notify_changed(app);
    if (app->nidle_requests < FERRY__IDLE_MAX) {
        app->nidle_requests++;
        ferry_list_push_front(&app->idle_requests, &r->link);
    } else {
        ferry__request_free(r);
    }
    if (app->stopping)
        ferry__app_fewer(app);
}

void ferry__request_free(struct ferry_request *r)
{
    ferry__shared_fini(&r->shared);
    free(r);
}

void ferry__request_poke(struct ferry_request *r, enum ferry__poke poke)
{
    if (r->detached) {
        ferry__detached_tell(r);
        return;
    }
    if (!r->pokes)
        ferry_list_push(&r->app->poked, &r->poked);
    r->pokes |= poke;
}

void ferry__request_waits(struct ferry_request *r, ferry_request_fn *for_it, ferry_request_fn fn)
{
    bool late = fn && fn != *for_it && r->aborted && !r->detached;

    *for_it = fn;
    if (late)
        ferry__request_poke(r, FERRY__POKE_ABORT);
}

static ferry_request_fn aborted_fn(struct ferry_request *r)
{
    ferry_request_fn on_abort = r->on_abort;

    r->on_abort = NULL; /* once */
    return on_abort ? on_abort : r->data.fn ? r->data.fn : r->body.fn ? r->body.fn : r->on_writable;
}

static void call(struct ferry_request *r, ferry_request_fn fn)
{
    if (fn && !r->finished)
        fn(r);
}

static void to_a_thread(struct ferry_request *r)
{
    int err = ferry_request_detach(r);

    (void)err; /* never fails here */
    r->shared.blocking = true;
    ferry__threads_queue(&r->app->threads, r);
}

void ferry__request_run(struct ferry_request *r)
{
    uint8_t pokes = r->pokes;

    ferry_list_remove(&r->poked);
    r->pokes = 0;
    r->calls++;
    if (r->aborted) {
        call(r, pokes & FERRY__POKE_ABORT ? aborted_fn(r) : NULL);
    } else if (pokes & FERRY__POKE_START) {
        r->started = true;
        call(r, r->app->opts.threads ? to_a_thread : r->app->opts.handle);
    } else {
        call(r, pokes & FERRY__POKE_BODY ? r->body.fn : NULL);
        call(r, pokes & FERRY__POKE_DATA ? r->data.fn : NULL);
        call(r, pokes & FERRY__POKE_WRITABLE ? r->on_writable : NULL);
    }
    returned(r);
}

void ferry__request_body_end(struct ferry_request *r)
{
    bool sent;

    ferry__input_end(r, &r->body);
    ferry__request_lock(r);
    sent = ferry__early_send(r);
    ferry__request_unlock(r);
    if (sent) /* when it was little, those who wait for room have it now */
        ferry__peer_wake(r->peer);
    if (r->lingers) {
        ferry__request_end(r);
        ferry__request_recycle(r);
    }
}

void ferry__request_abort(struct ferry_request *r)
{
    if (is_nobodys(r)) {
        r->aborted = true;
        ferry__request_end(r);
        ferry__request_recycle(r);
    } else if (!r->aborted) {
        ferry__request_lock(r);
        r->aborted = true;
        ferry__request_cut_input(r);
        ferry__request_unlock(r);
        ferry__request_poke(r, FERRY__POKE_ABORT);
    }
}

/* Its peer will hear of its end when its body has ended. */
static void linger(struct ferry_request *r)
{
    r->lingers = true;
    ferry__request_drop_input(r);
    ferry_timer_stop(&r->timer);
    ferry_list_remove(&r->writer);
}

void ferry_request_finish(struct ferry_request *r, int app_status)
{
    if (r->detached) {
        ferry__detached_finish(r, app_status);
        return;
    }
    ferry_assert(r->started && !r->finished);
    r->finished = true;
    r->app_status = r->err < 0 && app_status == 0 ? 1 : app_status;
    if (ferry__early(r) && r->peer && !r->aborted) {
        linger(r);
        return;
    }
    ferry__request_end(r);
    ferry__request_unhold(r);
    ferry_list_remove(&r->link);
    r->peer = NULL;
    if (r->calls == 0)
        ferry__request_recycle(r);
}

/* -- what it is
 * ------------------------------------------------------------------------------------------------
 */

struct ferry_slice ferry_request_param(struct ferry_request *r, const char *name)
{
    const struct ferry_param *p = ferry__vars_find(&r->vars, &r->arena, ferry_slice_z(name));

    return p ? p->value : ferry_slice(NULL, 0);
}

const char *ferry_request_param_z(struct ferry_request *r, const char *name)
{
    struct ferry_slice value = ferry_request_param(r, name);

    return value.p && !memchr(value.p, 0, value.len) ? value.p : NULL;
}

size_t ferry_request_params(const struct ferry_request *r, const struct ferry_param **out)
{
    *out = r->vars.list;
    return r->vars.n;
}

enum ferry_role ferry_request_role(const struct ferry_request *r)
{
    return (enum ferry_role)r->role;
}

uint16_t ferry_request_id(const struct ferry_request *r)
{
    return r->id;
}

/* A param that is a number of digits; -1 when it is none. */
static int64_t number(struct ferry_request *r, const char *name)
{
    uint64_t n;

    return ferry_slice_u64(ferry_request_param(r, name), INT64_MAX, &n) == 0 ? (int64_t)n : -1;
}

int64_t ferry_request_content_length(struct ferry_request *r)
{
    return number(r, "CONTENT_LENGTH");
}

int64_t ferry_request_data_length(struct ferry_request *r)
{
    return number(r, "FCGI_DATA_LENGTH");
}

int64_t ferry_request_data_modified(struct ferry_request *r)
{
    return number(r, "FCGI_DATA_LAST_MOD");
}

bool ferry_request_is_kept(const struct ferry_request *r)
{
    return r->kept;
}

unsigned ferry_request_concurrent(const struct ferry_request *r)
{
    unsigned n;

    ferry__request_lock(r);
    n = r->peer ? atomic_load_explicit(&r->peer->active, memory_order_relaxed) : 1;
    ferry__request_unlock(r);
    return n;
}

const char *ferry_request_peer(struct ferry_request *r)
{
    struct ferry_addr addr;
    char *text;
    int err;

    if (r->peer_text)
        return r->peer_text;
    ferry__request_lock(r); /* while it is held the descriptor stays */
    err = r->peer ? ferry_addr_peer(r->peer->pump.stream.fd, &addr) : FERRY_ECLOSED;
    ferry__request_unlock(r);
    if (err < 0)
        return "";
    text = ferry__arena_alloc(&r->arena, FERRY_ADDR_TEXT_MAX);
    if (!text)
        return "";
    ferry_addr_format(&addr, text, FERRY_ADDR_TEXT_MAX);
    return r->peer_text = text;
}

struct ferry_app *ferry_request_app(const struct ferry_request *r)
{
    return r->app;
}

void ferry_request_set_user(struct ferry_request *r, void *user)
{
    r->user = user;
}

void *ferry_request_user(const struct ferry_request *r)
{
    return r->user;
}

void *ferry_request_alloc(struct ferry_request *r, size_t n)
{
    void *p = ferry__arena_alloc(&r->arena, n);

    return p ? memset(p, 0, n) : NULL;
}

void ferry__request_quiet(struct ferry_request *r)
{
    ferry_timer_stop(&r->timer);
    ferry_list_remove(&r->writer);
    ferry_list_remove(&r->poked);
    r->pokes = 0;
    r->after = r->on_abort = r->on_writable = r->body.fn = r->data.fn = NULL;
}

void ferry_request_after(struct ferry_request *r, unsigned ms, ferry_request_fn fn)
{
    if (r->detached)
        return;
    r->after = fn;
    if (fn)
        ferry_timer_set(r->app->loop, &r->timer, ferry_loop_now(r->app->loop) + ms);
    else
        ferry_timer_stop(&r->timer);
}

void ferry_request_on_abort(struct ferry_request *r, ferry_request_fn fn)
{
    ferry__request_waits(r, &r->on_abort, fn);
}

bool ferry_request_is_aborted(const struct ferry_request *r)
{
    return r->aborted;
}
