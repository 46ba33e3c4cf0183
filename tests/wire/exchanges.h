/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TESTS_WIRE_EXCHANGES_H
#define FERRY_TESTS_WIRE_EXCHANGES_H

/*
 * Exchanges with a fake application, on a loop that the test drives by poll(2), and all that was
 * told of them.
 */

#include "ferry/client.h"

#include "fake_app.h"
#include "io/loop.h"

#define SAID_MAX 4096

struct asked {
    struct ferry_exchange *x;
    struct site *site;
    char heads[SAID_MAX]; /* "201 Created len=5 A: b; c: d|" for each */
    char out[SAID_MAX], errors[SAID_MAX];
    size_t out_len, errors_len;
    uint64_t out_total;
    unsigned nwritable, ndone;
    struct ferry_outcome outcome;
    bool over;
    bool inside; /* a call of the test's: nothing may be told meanwhile */
    /* What it does from within its functions. */
    bool pauses_at_head, pauses_each, cancels_at_head, cancels_at_out, cancels_at_errors,
        frees_at_head, frees_at_out, frees_at_done;
    const char *body; /* written again and again until so much was written, then the end */
    uint64_t body_left;
};

/* A client, its application and its loop. */
struct site {
    struct fake_app app;
    struct ferry_client *client;
    struct ferry_loop *loop;
    bool closed;
};

static inline void said(char *to, const char *text)
{
    size_t n = strlen(to);

    snprintf(to + n, SAID_MAX - n, "%s", text);
}

static inline struct asked *told(struct ferry_exchange *x)
{
    struct asked *a = ferry_exchange_user(x);

    must(!a->inside);
    must(a->ndone == 0);
    return a;
}

static inline void leave_early(struct asked *a, bool cancels, bool frees)
{
    if (cancels)
        ferry_exchange_cancel(a->x);
    if (frees) {
        ferry_exchange_free(a->x);
        a->x = NULL;
        a->over = true;
    }
}

static inline void asked_head(struct ferry_exchange *x)
{
    struct asked *a = told(x);
    const struct ferry_answer_head *h = ferry_exchange_head(x);
    char line[512];

    snprintf(line, sizeof line, "%d %.*s len=%lld ", h->status, (int)h->reason.len, h->reason.p,
             (long long)h->content_length);
    said(a->heads, line);
    for (unsigned i = 0; i < h->nfields; i++) {
        snprintf(line, sizeof line, "%.*s: %.*s; ", (int)h->fields[i].name.len, h->fields[i].name.p,
                 (int)h->fields[i].value.len, h->fields[i].value.p);
        said(a->heads, line);
    }
    said(a->heads, "|");
    if (a->pauses_at_head)
        ferry_exchange_pause(x, true);
    leave_early(a, a->cancels_at_head, a->frees_at_head);
}

static inline void asked_out(struct ferry_exchange *x, struct ferry_slice bytes)
{
    struct asked *a = told(x);

    must(bytes.len > 0);
    for (size_t i = 0; i < bytes.len && a->out_len < SAID_MAX - 1; i++)
        a->out[a->out_len++] = bytes.p[i];
    a->out_total += bytes.len;
    if (a->pauses_each)
        ferry_exchange_pause(x, true);
    leave_early(a, a->cancels_at_out, a->frees_at_out);
}

static inline void asked_errors(struct ferry_exchange *x, struct ferry_slice bytes)
{
    struct asked *a = told(x);

    for (size_t i = 0; i < bytes.len && a->errors_len < SAID_MAX - 1; i++)
        a->errors[a->errors_len++] = bytes.p[i];
    leave_early(a, a->cancels_at_errors, false);
}

static inline void write_more(struct asked *a)
{
    int r = 1;

    while (a->body && a->body_left && r == 1) {
        size_t n = strlen(a->body);

        if (n > a->body_left)
            n = (size_t)a->body_left;
        r = ferry_exchange_write(a->x, a->body, n);
        if (r < 0)
            return;
        a->body_left -= n;
    }
    if (a->body_left == 0)
        ferry_exchange_end(a->x);
}

static inline void asked_writable(struct ferry_exchange *x)
{
    struct asked *a = told(x);

    a->nwritable++;
    write_more(a);
}

static inline void asked_done(struct ferry_exchange *x, const struct ferry_outcome *outcome)
{
    struct asked *a = told(x);

    a->outcome = *outcome;
    a->ndone++;
    a->over = true;
    leave_early(a, false, a->frees_at_done);
}

static const struct ferry_exchange_fns asked_fns = {.head = asked_head,
                                                    .out = asked_out,
                                                    .errors = asked_errors,
                                                    .writable = asked_writable,
                                                    .done = asked_done};
static const struct ferry_exchange_fns raw_fns = {
    .out = asked_out, .errors = asked_errors, .done = asked_done};
static const struct ferry_exchange_fns deaf_fns = {.done = asked_done};

/* -- the loop -- */

static inline bool site_waits(struct site *s, const bool *what, unsigned ms)
{
    uint64_t until = ferry_now_us() + ms * 1000ull;

    while (!*what) {
        struct pollfd p = {.fd = ferry_loop_fd(s->loop), .events = POLLIN};

        must(p.fd >= 0);
        poll(&p, 1, 50);
        if (p.revents && ferry_loop_step(s->loop) < 0)
            return false;
        if (!*what && ferry_now_us() > until)
            return false;
    }
    return true;
}

static inline void site_turns(struct site *s, unsigned ms)
{
    static const bool never;

    site_waits(s, &never, ms);
}

/* Turns until something holds. */
#define until(s, what)                                                                             \
    do {                                                                                           \
        uint64_t end_ = ferry_now_us() + 60000000;                                                 \
        while (!(what) && ferry_now_us() < end_)                                                   \
            site_turns((s), 5);                                                                    \
        assert_true(what);                                                                         \
    } while (0)

#define until_over(s, a)                                                                           \
    do {                                                                                           \
        if (!site_waits((s), &(a)->over, 60000))                                                   \
            fail_msg("it is not over; heads '%s', %llu bytes", (a)->heads,                         \
                     (unsigned long long)(a)->out_total);                                          \
    } while (0)

static inline const char *result_name(enum ferry_result r)
{
    static const char *const names[] = {
#define X(name, status, text) #name,
        FERRY_RESULT_MAP(X)
#undef X
    };
    return names[r];
}

#define assert_result(s, a, name_)                                                                 \
    do {                                                                                           \
        until_over(s, a);                                                                          \
        if ((a)->outcome.result != FERRY_RESULT_##name_)                                           \
            fail_msg("%s (%s, %s), not " #name_, result_name((a)->outcome.result),                 \
                     (a)->outcome.text, ferry_strerror((a)->outcome.err));                         \
        assert_int_equal((a)->ndone, 1);                                                           \
    } while (0)

/* -- its life -- */

static inline void site_connect(struct site *s, void **state, struct ferry_client_opts opts)
{
    enum ferry_io io = *(const enum ferry_io *)*state;
    int r = ferry_loop_new(io, &s->loop);

    if (r < 0 && io == FERRY_IO_URING)
        skip();
    assert_int_equal(r, 0);
    opts.size = sizeof opts;
    opts.address = s->app.path;
    assert_int_equal(ferry_client_new(&opts, &s->client), 0);
}

static inline void site_open(struct site *s, void **state, fake_handler *handler,
                             struct ferry_client_opts opts)
{
    *s = (struct site){.app = {.handler = handler}};
    fake_listen(&s->app, 128);
    site_connect(s, state, opts);
    fake_start(&s->app);
}

static inline void site_closed(void *arg)
{
    ((struct site *)arg)->closed = true;
}

static inline void site_close(struct site *s)
{
    ferry_client_close(s->client, s->loop, site_closed, s);
    assert_true(site_waits(s, &s->closed, 60000));
    ferry_client_free(s->client);
    ferry_loop_free(s->loop);
    fake_stop(&s->app);
}

/* -- asking -- */

static inline void ask_with(struct site *s, struct asked *a, struct ferry_exchange_opts opts)
{
    opts.size = sizeof opts;
    opts.user = a;
    if (!opts.fns)
        opts.fns = &asked_fns;
    a->site = s;
    assert_int_equal(ferry_exchange_new(s->client, s->loop, &opts, &a->x), 0);
    assert_int_equal(ferry_exchange_param_z(a->x, "NAME", "r"), 0);
}

static inline void go(struct asked *a)
{
    a->inside = true;
    ferry_exchange_start(a->x);
    a->inside = false;
}

/* Without a body, and started. */
static inline void ask(struct site *s, struct asked *a)
{
    ask_with(s, a, (struct ferry_exchange_opts){0});
    assert_int_equal(ferry_exchange_end(a->x), 0);
    go(a);
}

static inline void forget(struct asked *a)
{
    ferry_exchange_free(a->x);
    a->x = NULL;
}

static const struct ferry_client_opts single = {.multiplex = FERRY_MULTIPLEX_OFF};
static const struct ferry_client_opts shared = {.multiplex = FERRY_MULTIPLEX_ON};

/* A handler: each request is answered with the length of its body. */
static inline void answers(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;
    char text[64];

    (void)nth;
    while (fake_take(app, fd, &rq)) {
        snprintf(text, sizeof text, "%llu", (unsigned long long)rq.body);
        if (!fake_say(app, fd, "STDOUT 1 x413a20620a0a") || !fake_answer(app, fd, rq.id, text))
            return;
    }
}

static const enum ferry_io on_epoll = FERRY_IO_EPOLL, on_uring = FERRY_IO_URING;

#define on_both(f)                                                                                 \
    {#f " (epoll)", f, NULL, NULL, (void *)&on_epoll},                                             \
    {                                                                                              \
#f " (io_uring)", f, NULL, NULL, (void *)&on_uring                                         \
    }

#endif
