/* SPDX-License-Identifier: MIT */
/*
 * A request and its whole answer, waiting. Each fetch has a loop and a part of the client of its
 * own for as long as it takes: a connection that nobody looks after until the next fetch would pin
 * a process of the application, and any number of threads may fetch at once.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/text.h"
#include "client/client.h"

#define ANSWER_MAX ((size_t)64 << 20)
#define PIECE 65536

struct bytes {
    char *p;
    size_t len, cap;
};

struct whole {
    struct ferry_answer answer; /* what is seen of it */
    struct bytes body, errors;
    char *text; /* of the head */
    struct ferry_param *fields;
};

struct fetching {
    const struct ferry_fetch *f;
    struct ferry_loop *loop;
    struct whole *whole;
    size_t max, body_at, data_at;
    int err; /* of ours */
    bool closed;
};

/* -- the answer -- */

static void give_up(struct ferry_exchange *x, int err)
{
    struct fetching *g = ferry_exchange_user(x);

    if (g->err == 0)
        g->err = err;
    ferry_exchange_cancel(x);
}

static int append(struct bytes *b, struct ferry_slice more)
{
    size_t cap = b->cap ? b->cap : 4096;

    while (cap < b->len + more.len)
        cap *= 2;
    if (cap != b->cap) {
        char *p = realloc(b->p, cap);

        if (!p)
            return -ENOMEM;
        b->p = p;
        b->cap = cap;
    }
    memcpy(b->p + b->len, more.p, more.len);
    b->len += more.len;
    return 0;
}

static void add(struct ferry_exchange *x, struct bytes *b, struct ferry_slice more)
{
    struct fetching *g = ferry_exchange_user(x);
    size_t len = g->whole->body.len + g->whole->errors.len;
    int err;

    if (g->err)
        return;
    err = more.len > g->max - len ? FERRY_ELIMIT : append(b, more);
    if (err < 0)
        give_up(x, err);
}

static void on_out(struct ferry_exchange *x, struct ferry_slice bytes)
{
    add(x, &((struct fetching *)ferry_exchange_user(x))->whole->body, bytes);
}

static void on_errors(struct ferry_exchange *x, struct ferry_slice bytes)
{
    add(x, &((struct fetching *)ferry_exchange_user(x))->whole->errors, bytes);
}

static struct ferry_slice copy(char **to, struct ferry_slice s)
{
    struct ferry_slice copied = {*to, s.len};

    *to = ferry__put(*to, s);
    return copied;
}

static int keep_head(struct whole *w, const struct ferry_answer_head *head)
{
    size_t len = head->reason.len + 1;
    char *at;

    for (unsigned i = 0; i < head->nfields; i++)
        len += head->fields[i].name.len + head->fields[i].value.len;
    w->text = malloc(len);
    w->fields = calloc(head->nfields + 1, sizeof *w->fields);
    if (!w->text || !w->fields)
        return -ENOMEM;
    at = w->text;
    w->answer.head = *head;
    w->answer.head.reason = copy(&at, head->reason);
    w->answer.head.fields = w->fields;
    for (unsigned i = 0; i < head->nfields; i++) {
        w->fields[i].name = copy(&at, head->fields[i].name);
        w->fields[i].value = copy(&at, head->fields[i].value);
    }
    return 0;
}

static void on_head(struct ferry_exchange *x)
{
    struct fetching *g = ferry_exchange_user(x);
    const struct ferry_answer_head *head = ferry_exchange_head(x);

    if (head->status >= 200 && keep_head(g->whole, head) < 0)
        give_up(x, -ENOMEM);
}

static void on_done(struct ferry_exchange *x, const struct ferry_outcome *outcome)
{
    struct fetching *g = ferry_exchange_user(x);

    g->whole->answer.outcome = *outcome;
    ferry_loop_stop(g->loop);
}

/* -- the request -- */

/* Writes on, while more is wanted. False: `writable` will say when. */
static bool write_on(struct ferry_exchange *x, struct ferry_slice from, size_t *at,
                     int (*write)(struct ferry_exchange *, const void *, size_t))
{
    while (*at < from.len) {
        struct ferry_slice piece = ferry_slice_first(ferry_slice_from(from, *at), PIECE);
        int r = write(x, piece.p, piece.len);

        if (r < 0) {
            if (r != FERRY_ECLOSED) /* then `done` follows */
                give_up(x, r);
            return false;
        }
        *at += piece.len;
        if (r == 0)
            return false;
    }
    return true;
}

static void on_writable(struct ferry_exchange *x)
{
    struct fetching *g = ferry_exchange_user(x);

    if (g->body_at != SIZE_MAX) {
        if (!write_on(x, g->f->body, &g->body_at, ferry_exchange_write) &&
            g->body_at < g->f->body.len)
            return;
        if (ferry_exchange_end(x) < 0)
            return;
        g->body_at = SIZE_MAX;
    }
    if (g->f->role != FERRY_FILTER || g->data_at == SIZE_MAX)
        return;
    if (!write_on(x, g->f->data, &g->data_at, ferry_exchange_write_data) &&
        g->data_at < g->f->data.len)
        return;
    ferry_exchange_end_data(x);
    g->data_at = SIZE_MAX;
}

static int add_length(struct ferry_exchange *x, struct ferry_slice name, size_t len)
{
    char text[FERRY_U64_TEXT_MAX], *end = ferry__put_u64(text, len, 1);

    return ferry_exchange_param(x, name, ferry_slice(text, (size_t)(end - text)));
}

static bool has_param(const struct ferry_fetch *f, struct ferry_slice name)
{
    for (size_t i = 0; i < f->nparams; i++)
        if (ferry_slice_eq(f->params[i].name, name))
            return true;
    return false;
}

static int add_params(struct ferry_exchange *x, const struct ferry_fetch *f)
{
    static const struct ferry_slice length = FERRY_SLICE_INIT("CONTENT_LENGTH"),
                                    data_length = FERRY_SLICE_INIT("FCGI_DATA_LENGTH");
    int r = 0;

    for (size_t i = 0; i < f->nparams && r == 0; i++)
        r = ferry_exchange_param(x, f->params[i].name, f->params[i].value);
    if (r == 0 && f->body.len && !has_param(f, length))
        r = add_length(x, length, f->body.len);
    if (r == 0 && f->role == FERRY_FILTER && !has_param(f, data_length))
        r = add_length(x, data_length, f->data.len);
    return r;
}

static int exchange(struct ferry_client *client, struct fetching *g)
{
    static const struct ferry_exchange_fns fns = {.head = on_head,
                                                  .out = on_out,
                                                  .errors = on_errors,
                                                  .writable = on_writable,
                                                  .done = on_done};
    struct ferry_exchange_opts opts = {
        .size = sizeof opts,
        .fns = &fns,
        .user = g,
        .role = g->f->role,
        .total_ms = g->f->total_ms,
    };
    struct ferry_exchange *x;
    int r = ferry_exchange_new(client, g->loop, &opts, &x);

    if (r < 0)
        return r;
    r = add_params(x, g->f);
    if (r == 0) {
        on_writable(x);
        ferry_exchange_start(x);
        r = ferry_loop_run(g->loop);
    }
    ferry_exchange_free(x);
    return r < 0 ? r : g->err;
}

static void on_closed(void *arg)
{
    struct fetching *g = arg;

    g->closed = true;
    ferry_loop_stop(g->loop);
}

/* -- both -- */

static struct ferry_slice seen(const struct bytes *b)
{
    return ferry_slice(b->p ? b->p : "", b->len);
}

int ferry_client_fetch(struct ferry_client *client, const struct ferry_fetch *f,
                       struct ferry_answer **out)
{
    struct fetching g = {.f = f, .max = f->answer_max ? f->answer_max : ANSWER_MAX};
    int r = ferry_loop_new(FERRY_IO_EPOLL, &g.loop), closed = 0;

    *out = NULL;
    if (r < 0)
        return r;
    g.whole = calloc(1, sizeof *g.whole);
    r = g.whole ? exchange(client, &g) : -ENOMEM;
    ferry_client_close(client, g.loop, on_closed, &g);
    while (!g.closed && closed == 0)
        closed = ferry_loop_run(g.loop);
    if (g.closed) /* else the kernel has failed us, and something is still on it */
        ferry_loop_free(g.loop);
    if (r < 0) {
        if (g.whole)
            ferry_answer_free(&g.whole->answer);
        return r;
    }
    g.whole->answer.body = seen(&g.whole->body);
    g.whole->answer.errors = seen(&g.whole->errors);
    *out = &g.whole->answer;
    return 0;
}

void ferry_answer_free(struct ferry_answer *answer)
{
    struct whole *w = (struct whole *)answer;

    if (!w)
        return;
    free(w->body.p);
    free(w->errors.p);
    free(w->text);
    free(w->fields);
    free(w);
}

struct ferry_slice ferry_answer_field(const struct ferry_answer *answer, const char *name)
{
    for (unsigned i = 0; i < answer->head.nfields; i++)
        if (ferry_slice_eq_nocase(answer->head.fields[i].name, ferry_slice_z(name)))
            return answer->head.fields[i].value;
    return ferry_slice(NULL, 0);
}
