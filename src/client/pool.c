/* SPDX-License-Identifier: MIT */
/*
 * Who gets which connection. The cap, the count of waiting calls and what is known of the
 * application are shared by all threads through atomics; lists belong to one thread each. A thread
 * that finds no room queues the call, *then* looks again, and a thread that frees something
 * publishes that, *then* looks for waiters: with sequentially consistent atomics one of the two
 * sees the other, so no call is forgotten while there is room.
 */
#include "client/pool.h"

#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/machine.h"
#include "client/internal.h"

#define BACKOFF_MIN_MS 5
#define BACKOFF_MAX_MS 100
#define FOREIGN_LEAD_MS                                                                            \
    20 /* so much older must another thread's call be to be served before an own one */
#define PROBE_TIMEOUT_MS 2000
#define PROBE_AGAIN_MS 1000
#define PROBE_SILENT_MS 30000

static uint64_t now_of(const struct ferry_pool_local *l)
{
    return ferry_loop_now(l->loop);
}

static struct ferry_call *first_waiting(const struct ferry_pool_local *l)
{
    struct ferry_list *at = ferry_list_first(&l->waiting);

    return at ? ferry_container(at, struct ferry_call, link) : NULL;
}

static struct ferry__peer *first_idle(const struct ferry_pool_local *l)
{
    struct ferry_list *at = ferry_list_first(&l->idle);

    return at ? ferry_container(at, struct ferry__peer, link) : NULL;
}

static bool slot_take(struct ferry_pool *pool)
{
    unsigned n = atomic_load(&pool->connections);

    while (n < pool->opts.connections_max)
        if (atomic_compare_exchange_weak(&pool->connections, &n, n + 1))
            return true;
    return false;
}

static void wake(struct ferry_pool_local *l)
{
    if (!atomic_exchange(&l->woken, true))
        ferry_loop_post(l->loop, &l->wake);
}

/* The thread, other than l, whose first call waits the longest. */
static struct ferry_pool_local *oldest_foreign(const struct ferry_pool_local *l)
{
    struct ferry_pool_local *best = NULL;
    uint64_t best_ms = FERRY_NEVER;

    for (unsigned i = 0; i < l->pool->threads; i++) {
        struct ferry_pool_local *other = atomic_load(&l->pool->locals[i]);
        uint64_t ms = other && other != l ? atomic_load(&other->oldest_ms) : FERRY_NEVER;

        if (ms < best_ms) {
            best = other;
            best_ms = ms;
        }
    }
    return best;
}

/* -- the queue
 * -------------------------------------------------------------------------------------------------
 */

static void queue_changed(struct ferry_pool_local *l)
{
    const struct ferry_call *first = first_waiting(l);
    uint64_t at = FERRY_NEVER;

    atomic_store(&l->oldest_ms, first ? first->queued_ms : FERRY_NEVER);
    if (first) {
        at = first->deadline_ms;
        if (l->backoff_until_ms > now_of(l) && l->backoff_until_ms < at)
            at = l->backoff_until_ms;
    }
    ferry_timer_set(l->loop, &l->timer, at);
}

static void queue_push(struct ferry_pool_local *l, struct ferry_call *call, bool front)
{
    call->peer = NULL;
    if (front)
        ferry_list_push_front(&l->waiting, &call->link);
    else
        ferry_list_push(&l->waiting, &call->link);
    /* Before anybody looks for room again: who is asked for some then must find out for whom. */
    atomic_store(&l->oldest_ms, first_waiting(l)->queued_ms);
    atomic_fetch_add(&l->pool->waiting, 1);
}

static void queue_remove(struct ferry_pool_local *l, struct ferry_call *call)
{
    ferry_list_remove(&call->link);
    atomic_fetch_sub(&l->pool->waiting, 1);
}

void ferry__call_done(struct ferry_call *call, enum ferry_call_outcome outcome, int err,
                      uint32_t app_status, const char *text)
{
    struct ferry_call_result result = {
        .outcome = outcome, .err = err, .app_status = app_status, .text = text};

    ferry_block_unref(call->image);
    call->image = NULL;
    call->local = NULL;
    call->fns->done(call, &result);
}

/* -- placing a call
 * -------------------------------------------------------------------------------------------- */

static int open_for(struct ferry_pool_local *l, struct ferry_call *call, bool shared)
{
    struct ferry__peer *p;
    int err;

    if (now_of(l) < l->backoff_until_ms || !slot_take(l->pool))
        return -EAGAIN;
    p = ferry__peer_connect(l, shared, false, &err);
    if (!p) {
        atomic_fetch_sub(&l->pool->connections, 1);
        return err;
    }
    err = ferry__peer_begin(p, call);
    if (err < 0)
        ferry__peer_close(p);
    return err;
}

/* 0 when it is on a connection; -EAGAIN when there is no room; another error when it can never be.
 */
static int place(struct ferry_pool_local *l, struct ferry_call *call)
{
    struct ferry__peer *p;

    if (!call->exclusive &&
        atomic_load_explicit(&l->pool->multiplexing, memory_order_relaxed) == FERRY__MPX_YES) {
        /* One shared connection a thread: what the application said it takes at once is divided
         * among them. */
        ferry_list_each (at, next, &l->shared) {
            p = ferry_container(at, struct ferry__peer, link);
            if (!p->closing)
                return ferry__peer_begin(p, call) == 0 ? 0 : -EAGAIN;
        }
        return open_for(l, call, true);
    }
    while (!call->wants_fresh && (p = first_idle(l))) {
        if (ferry__peer_begin(p, call) == 0)
            return 0;
        ferry__peer_close(p);
    }
    return open_for(l, call, false);
}

static void close_idle(struct ferry_pool_local *l)
{
    struct ferry__peer *p;

    while ((p = first_idle(l)))
        ferry__peer_close(p);
}

/* A call that waits here could go over a connection that lies idle in another thread. */
static void beg(struct ferry_pool_local *l)
{
    if (atomic_load(&l->pool->idle) == 0)
        return;
    for (unsigned i = 0; i < l->pool->threads; i++) {
        struct ferry_pool_local *other = atomic_load(&l->pool->locals[i]);

        if (other && other != l && atomic_load(&other->nidle) > 0) {
            wake(other);
            return;
        }
    }
}

static void expire(struct ferry_pool_local *l, struct ferry_call *call)
{
    queue_remove(l, call);
    if (call->deadline_ms == call->queued_ms)
        ferry__call_done(call, FERRY_CALL_OVERLOADED, FERRY_ELIMIT, 0,
                         "too many requests wait already");
    else
        ferry__call_done(call, FERRY_CALL_TIMEOUT, -ETIMEDOUT, 0,
                         "no connection to the application became free in time");
}

void ferry__pool_serve(struct ferry_pool_local *l)
{
    struct ferry_call *call = first_waiting(l);
    int err;

    if (!call)
        return;
    for (; call; call = first_waiting(l)) {
        if (call->deadline_ms <= now_of(l)) {
            expire(l, call);
            continue;
        }
        ferry_list_remove(&call->link);
        err = place(l, call);
        if (err == 0) {
            atomic_fetch_sub(&l->pool->waiting, 1);
        } else if (err == -EAGAIN || err == FERRY_ELIMIT) {
            ferry_list_push_front(&l->waiting, &call->link);
            beg(l);
            break;
        } else {
            atomic_fetch_sub(&l->pool->waiting, 1);
            ferry__call_done(call, FERRY_CALL_REFUSED, err, 0, "no connection to the application");
        }
    }
    queue_changed(l);
}

static void probe(struct ferry_pool_local *l)
{
    struct ferry_pool *pool = l->pool;
    uint64_t at = atomic_load_explicit(&pool->probe_at_ms, memory_order_relaxed);
    struct ferry__peer *p;
    int err;

    if (now_of(l) < at || l->closing ||
        !atomic_compare_exchange_strong(&pool->probe_at_ms, &at, now_of(l) + PROBE_AGAIN_MS))
        return;
    if (!slot_take(pool))
        return;
    p = ferry__peer_connect(l, false, true, &err);
    if (!p) {
        atomic_fetch_sub(&pool->connections, 1);
        return;
    }
    ferry_timer_set(l->loop, &l->idle_timer, now_of(l) + PROBE_TIMEOUT_MS);
    if (ferry_conn_get_values(p->conn) < 0)
        ferry__peer_close(p);
    else
        ferry_pump_kick(&p->pump);
}

void ferry_call_start(struct ferry_pool_local *l, struct ferry_call *call)
{
    struct ferry_pool *pool = l->pool;
    unsigned waiting = atomic_load_explicit(&pool->waiting, memory_order_relaxed);

    call->local = l;
    call->peer = NULL;
    call->queued_ms = now_of(l);
    call->deadline_ms = call->queued_ms + pool->opts.queue_timeout_ms;
    call->attempts = 0;
    call->answered = call->wants_fresh = call->held = false;
    ferry_list_init(&call->link);
    if (atomic_load_explicit(&pool->multiplexing, memory_order_relaxed) == FERRY__MPX_UNKNOWN)
        probe(l);
    if (ferry_list_empty(&l->waiting) && place(l, call) == 0)
        return;
    /* Past the end of the queue there is no time to wait. Told from the timer, not from within this
     * call. */
    if (waiting >= pool->opts.queue_max)
        call->deadline_ms = call->queued_ms;
    queue_push(l, call, waiting >= pool->opts.queue_max);
    if (waiting >= pool->opts.queue_max)
        queue_changed(l);
    else
        ferry__pool_serve(l);
}

void ferry_call_abort(struct ferry_call *call)
{
    struct ferry_pool_local *l = call->local;

    if (!l)
        return;
    if (call->peer) {
        ferry__peer_abort(call->peer, call);
    } else {
        queue_remove(l, call);
        queue_changed(l);
    }
    ferry_block_unref(call->image);
    call->image = NULL;
    call->local = NULL;
}

void ferry__pool_requeue(struct ferry_call *call, bool backlog_full)
{
    struct ferry_pool_local *l = call->local;

    if (backlog_full) {
        l->backoff_ms = l->backoff_ms ? l->backoff_ms * 2 : BACKOFF_MIN_MS;
        if (l->backoff_ms > BACKOFF_MAX_MS)
            l->backoff_ms = BACKOFF_MAX_MS;
        l->backoff_until_ms = now_of(l) + l->backoff_ms;
    }
    queue_push(l, call, true);
    if (backlog_full)
        queue_changed(l);
    else
        ferry__pool_serve(l);
}

/* -- what the connections tell
 * --------------------------------------------------------------------------------- */

void ferry__pool_peer_idle(struct ferry__peer *p)
{
    struct ferry_pool_local *l = p->local;
    struct ferry_pool *pool = l->pool;
    struct ferry_pool_local *other;
    const struct ferry_call *own;

    if (l->closing || atomic_load_explicit(&pool->starving, memory_order_relaxed) > 0) {
        ferry__peer_close(p);
        return;
    }
    p->since_ms = now_of(l);
    p->idle = true;
    ferry_list_remove(&p->link);
    ferry_list_push_front(&l->idle, &p->link);
    atomic_fetch_add(&l->nidle, 1);
    if (atomic_fetch_add(&pool->idle, 1) == 0 || l->idle_timer.at_ms == FERRY_NEVER)
        ferry_timer_set(l->loop, &l->idle_timer, p->since_ms + pool->opts.idle_timeout_ms);
    if (atomic_load(&pool->waiting) == 0)
        return;
    own = first_waiting(l);
    other = oldest_foreign(l);
    if (other && (!own || atomic_load(&other->oldest_ms) + FOREIGN_LEAD_MS < own->queued_ms))
        ferry__peer_lend(p, other->index);
    else
        ferry__pool_serve(l);
}

void ferry__pool_peer_gone(struct ferry_pool_local *l)
{
    struct ferry_pool_local *other;

    atomic_fetch_sub(&l->pool->connections, 1);
    if (atomic_load(&l->pool->waiting) > 0) {
        other = oldest_foreign(l);
        if (other)
            wake(other);
        if (first_waiting(l))
            ferry__pool_serve(l);
    }
    if (l->closing && l->closed && ferry_list_empty(&l->busy) && ferry_list_empty(&l->idle) &&
        ferry_list_empty(&l->shared)) {
        void (*closed)(void *) = l->closed;

        l->closed = NULL;
        closed(l->closed_arg);
    }
}

void ferry__pool_peer_answered(struct ferry__peer *p)
{
    ferry_list_remove(&p->fresh_link);
    if (p->starving)
        atomic_fetch_sub(&p->local->pool->starving, 1);
    p->starving = false;
}

void ferry__pool_peer_taken(struct ferry__peer *p)
{
    struct ferry_pool_local *l = p->local;

    if (p->idle) {
        atomic_fetch_sub(&l->nidle, 1);
        atomic_fetch_sub(&l->pool->idle, 1);
        p->idle = false;
    }
    ferry_list_remove(&p->link);
    ferry_list_push(&l->busy, &p->link);
}

static void receive_lent(struct ferry_post *post)
{
    struct ferry__peer *sent = ferry_container(post, struct ferry__peer, post);
    struct ferry_pool_local *l = atomic_load(&sent->local->pool->locals[sent->lend_to]);
    struct ferry__peer *p = ferry__peer_adopt(l, sent->lent_fd);

    free(sent);
    if (p)
        ferry__pool_peer_idle(p);
    else
        ferry__pool_peer_gone(l);
}

void ferry__pool_peer_lent(struct ferry__peer *p, int fd)
{
    p->lent_fd = fd;
    p->post.run = receive_lent;
    ferry_loop_post(atomic_load(&p->local->pool->locals[p->lend_to])->loop, &p->post);
}

void ferry__pool_values(struct ferry_pool_local *l, const struct ferry_conn_values *v)
{
    struct ferry_pool *pool = l->pool;
    unsigned max = 64; /* the application multiplexes and did not say how much */

    if (v->max_reqs > 0)
        max = (unsigned)(v->max_reqs / pool->threads);
    if (max == 0)
        max = 1;
    atomic_store(&pool->requests_max, max);
    atomic_store(&pool->multiplexing, v->mpxs_conns > 0 ? FERRY__MPX_YES : FERRY__MPX_NO);
}

bool ferry_pool_multiplexes(const struct ferry_pool *pool)
{
    return atomic_load(&pool->multiplexing) == FERRY__MPX_YES;
}

/* -- timers and posts
 * ------------------------------------------------------------------------------------------ */

static void on_timer(struct ferry_timer *t)
{
    ferry__pool_serve(ferry_container(t, struct ferry_pool_local, timer));
}

static void on_fresh_timer(struct ferry_timer *t)
{
    struct ferry_pool_local *l = ferry_container(t, struct ferry_pool_local, fresh_timer);
    struct ferry_pool *pool = l->pool;
    bool starving = false;

    ferry_list_each (at, next, &l->fresh) {
        struct ferry__peer *p = ferry_container(at, struct ferry__peer, fresh_link);

        if (now_of(l) < p->since_ms + pool->opts.starve_ms) {
            ferry_timer_set(l->loop, t, p->since_ms + pool->opts.starve_ms);
            break;
        }
        starving = true;
        if (!p->starving) {
            p->starving = true;
            atomic_fetch_add(&pool->starving, 1);
        }
    }
    if (!starving)
        return;
    close_idle(l);
    for (unsigned i = 0; i < pool->threads; i++) {
        struct ferry_pool_local *other = atomic_load(&pool->locals[i]);

        if (other && other != l && atomic_load(&other->nidle) > 0)
            wake(other);
    }
    if (t->at_ms == FERRY_NEVER)
        ferry_timer_set(l->loop, t, now_of(l) + pool->opts.starve_ms);
}

static void on_idle_timer(struct ferry_timer *t)
{
    struct ferry_pool_local *l = ferry_container(t, struct ferry_pool_local, idle_timer);
    uint64_t max = l->pool->opts.idle_timeout_ms;
    uint64_t again = FERRY_NEVER;

    ferry_list_each (at, next, &l->idle) {
        struct ferry__peer *p = ferry_container(at, struct ferry__peer, link);

        if (p->since_ms + max <= now_of(l)) {
            ferry__peer_close(p);
        } else if (p->since_ms + max < again) {
            again = p->since_ms + max;
        }
    }
    ferry_list_each (at, next, &l->busy) {
        struct ferry__peer *p = ferry_container(at, struct ferry__peer, link);

        if (!p->probe || p->closing)
            continue;
        if (p->since_ms + PROBE_TIMEOUT_MS <= now_of(l)) {
            atomic_store(&l->pool->probe_at_ms, now_of(l) + PROBE_SILENT_MS);
            ferry__peer_close(p);
        } else if (p->since_ms + PROBE_TIMEOUT_MS < again) {
            again = p->since_ms + PROBE_TIMEOUT_MS;
        }
    }
    ferry_timer_set(l->loop, t, again);
}

static void on_wake(struct ferry_post *post)
{
    struct ferry_pool_local *l = ferry_container(post, struct ferry_pool_local, wake);
    struct ferry_pool_local *other;

    atomic_store(&l->woken, false);
    if (l->closing)
        return;
    ferry__pool_serve(l);
    if (atomic_load(&l->pool->starving) > 0)
        close_idle(l);
    else if (first_idle(l) && (other = oldest_foreign(l)))
        ferry__peer_lend(first_idle(l), other->index);
}

/* -- making and closing
 * ---------------------------------------------------------------------------------------- */

static unsigned or_default(unsigned value, unsigned fallback)
{
    return value ? value : fallback;
}

struct ferry_pool *ferry_pool_new(const struct ferry_pool_opts *opts, unsigned threads)
{
    struct ferry_pool *pool = calloc(1, sizeof *pool);

    if (!pool)
        return NULL;
    pool->locals = calloc(threads, sizeof *pool->locals);
    if (!pool->locals) {
        free(pool);
        return NULL;
    }
    pool->opts = *opts;
    pool->threads = threads;
    pool->opts.connections_max = or_default(opts->connections_max, 128);
    pool->opts.queue_max = or_default(opts->queue_max, 1024);
    pool->opts.queue_timeout_ms = or_default(opts->queue_timeout_ms, 30000);
    pool->opts.idle_timeout_ms = or_default(opts->idle_timeout_ms, 5000);
    pool->opts.starve_ms = or_default(opts->starve_ms, 20);
    atomic_store(&pool->requests_max, 64);
    atomic_store(&pool->multiplexing, opts->multiplex == FERRY_MULTIPLEX_ON ? FERRY__MPX_YES
                                      : opts->multiplex == FERRY_MULTIPLEX_OFF
                                          ? FERRY__MPX_NO
                                          : FERRY__MPX_UNKNOWN);
    return pool;
}

void ferry_pool_free(struct ferry_pool *pool)
{
    if (!pool)
        return;
    free(pool->locals);
    free(pool);
}

struct ferry_pool_local *ferry_pool_join(struct ferry_pool *pool, unsigned index,
                                         struct ferry_loop *loop)
{
    struct ferry_pool_local *l = calloc(1, sizeof *l);

    ferry_assert(index < pool->threads);
    if (!l)
        return NULL;
    l->pool = pool;
    l->loop = loop;
    l->index = index;
    ferry_list_init(&l->idle);
    ferry_list_init(&l->busy);
    ferry_list_init(&l->shared);
    ferry_list_init(&l->fresh);
    ferry_list_init(&l->waiting);
    atomic_store(&l->oldest_ms, FERRY_NEVER);
    ferry_timer_init(&l->timer, on_timer);
    ferry_timer_init(&l->idle_timer, on_idle_timer);
    ferry_timer_init(&l->fresh_timer, on_fresh_timer);
    l->wake.run = on_wake;
    atomic_store(&pool->locals[index], l);
    if (index == 0 && atomic_load(&pool->multiplexing) == FERRY__MPX_UNKNOWN)
        probe(l);
    return l;
}

void ferry_pool_local_close(struct ferry_pool_local *l, void (*closed)(void *), void *arg)
{
    l->closing = true;
    l->closed = closed;
    l->closed_arg = arg;
    close_idle(l);
    ferry_list_each (at, next, &l->shared) {
        struct ferry__peer *p = ferry_container(at, struct ferry__peer, link);

        if (ferry_list_empty(&p->calls))
            ferry__peer_close(p);
    }
    ferry_list_each (at, next, &l->busy) {
        struct ferry__peer *p = ferry_container(at, struct ferry__peer, link);

        if (p->probe)
            ferry__peer_close(p);
    }
    if (ferry_list_empty(&l->busy) && ferry_list_empty(&l->shared)) {
        l->closed = NULL;
        closed(arg);
    }
}

void ferry_pool_local_free(struct ferry_pool_local *l)
{
    if (!l)
        return;
    ferry_timer_stop(&l->timer);
    ferry_timer_stop(&l->idle_timer);
    ferry_timer_stop(&l->fresh_timer);
    atomic_store(&l->pool->locals[l->index], NULL);
    free(l);
}
