/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TESTS_WIRE_CALLERS_H
#define FERRY_TESTS_WIRE_CALLERS_H

/*
 * The other end of a fake application: a pool, or a client, with one or two loops, each in a
 * thread, and calls whose results the test waits for. Functions of calls run in the loops' threads
 * and do not assert.
 */

#include "client/client.h"
#include "client/pool.h"
#include "fake_app.h"

#define WAIT_MS 20000
#define UNSENT_MAX 262144

struct side {
    struct ferry_loop *loop;
    struct ferry_pool_local *local;
    struct ferry_client_local *client; /* or this */
    pthread_t id;
    atomic_bool closed;
};

struct callers {
    struct ferry_pool *pool;
    struct ferry_client *client; /* or this */
    struct side side[2];
    unsigned n;
};

struct request {
    struct ferry_call call;
    struct side *side;
    const char *name, *key;
    bool idempotent, exclusive, fickle; /* fickle: its body cannot be written again */
    bool hold;                          /* from the first byte of the response on */
    uint64_t body_len, body_at, sum;
    unsigned starts;
    _Atomic(uint64_t) got; /* bytes of the response */
    uint64_t got_sum;
    char out[1024], errors[1024];
    size_t errors_len;
    bool told_twice;
    struct ferry_call_result result;
    uint64_t began_us;
    _Atomic(uint64_t) ended_us; /* 0 while it runs */
};

/* -- running something in a loop -- */

struct job {
    struct ferry_post post;
    void (*run)(void *);
    void *arg;
    atomic_bool done;
};

static inline void run_job(struct ferry_post *post)
{
    struct job *j = ferry_container(post, struct job, post);

    j->run(j->arg);
    atomic_store(&j->done, true);
}

static inline void in_loop(struct side *s, void (*run)(void *), void *arg)
{
    struct job j = {.post = {.run = run_job}, .run = run, .arg = arg};

    ferry_loop_post(s->loop, &j.post);
    while (!atomic_load(&j.done))
        usleep(200);
}

static inline bool wait_for(bool (*what)(void *), void *arg, unsigned ms)
{
    uint64_t end = ferry_now_us() + ms * 1000ull;

    while (!what(arg)) {
        if (ferry_now_us() > end)
            return false;
        usleep(500);
    }
    return true;
}

/* -- calls -- */

static inline unsigned char body_byte(uint64_t at)
{
    return (unsigned char)((at * UINT64_C(0x9E3779B97F4A7C15)) >> 56);
}

static inline uint64_t body_sum(uint64_t len)
{
    uint64_t sum = 0;

    for (uint64_t i = 0; i < len; i++)
        sum = sum * 31 + body_byte(i);
    return sum;
}

static inline void write_body(struct ferry_call *call)
{
    struct request *r = ferry_container(call, struct request, call);
    char piece[16384];

    while (r->body_at < r->body_len && ferry_call_unsent(call) < UNSENT_MAX) {
        size_t n = sizeof piece;

        if (n > r->body_len - r->body_at)
            n = (size_t)(r->body_len - r->body_at);
        for (size_t i = 0; i < n; i++)
            piece[i] = (char)body_byte(r->body_at + i);
        r->body_at += n;
        ferry_call_write(call, NULL, ferry_slice(piece, n));
        if (r->body_at == r->body_len)
            ferry_call_write_end(call);
    }
}

static inline void on_started(struct ferry_call *call)
{
    struct request *r = ferry_container(call, struct request, call);

    r->starts++;
    r->body_at = 0;
    write_body(call);
}

static inline void on_out(struct ferry_call *call, struct ferry_block *b, struct ferry_slice bytes)
{
    struct request *r = ferry_container(call, struct request, call);
    uint64_t got = atomic_load(&r->got);

    (void)b;
    for (size_t i = 0; i < bytes.len; i++) {
        r->got_sum = r->got_sum * 31 + (unsigned char)bytes.p[i];
        if (got + i < sizeof r->out - 1)
            r->out[got + i] = bytes.p[i];
    }
    atomic_store(&r->got, got + bytes.len);
    if (r->hold)
        ferry_call_hold(call, true);
}

static inline void on_errors(struct ferry_call *call, struct ferry_slice bytes)
{
    struct request *r = ferry_container(call, struct request, call);

    bytes = ferry_slice_first(bytes, sizeof r->errors - 1 - r->errors_len);
    memcpy(r->errors + r->errors_len, bytes.p, bytes.len);
    r->errors_len += bytes.len;
}

static inline void on_done(struct ferry_call *call, const struct ferry_call_result *result)
{
    struct request *r = ferry_container(call, struct request, call);

    if (atomic_load(&r->ended_us))
        r->told_twice = true;
    r->result = *result;
    atomic_store(&r->ended_us, ferry_now_us());
}

static const struct ferry_call_fns plain_fns = {
    .out = on_out, .errors = on_errors, .done = on_done};
static const struct ferry_call_fns body_fns = {.started = on_started,
                                               .out = on_out,
                                               .errors = on_errors,
                                               .writable = write_body,
                                               .done = on_done};

/* In its loop's thread. */
static inline void start_here(void *arg)
{
    struct request *r = arg;
    struct ferry_params_writer w;
    struct ferry_block *b = ferry_block_get(ferry_loop_blocks(r->side->loop), 1024);
    ssize_t n;

    must(b);
    ferry_params_open(&w, b->data, b->cap, 1);
    ferry_params_begin_request(&w, FERRY_RESPONDER, FERRY_KEEP_CONN);
    ferry_params_add(&w, FERRY_SLICE("NAME"), ferry_slice_z(r->name ? r->name : "r"));
    n = ferry_params_close(&w, r->body_len == 0);
    must(n > 0);
    r->call.fns = r->body_len ? &body_fns : &plain_fns;
    r->call.image = b;
    r->call.image_bytes = ferry_slice(b->data, (size_t)n);
    r->call.idempotent = r->idempotent;
    r->call.replayable = !r->fickle;
    r->call.exclusive = r->exclusive;
    r->began_us = ferry_now_us();
    if (r->side->client)
        ferry_client_call(r->side->client, &r->call, ferry_slice_z(r->key ? r->key : ""));
    else
        ferry_call_start(r->side->local, &r->call);
}

static inline void abort_here(void *arg)
{
    ferry_call_abort(&((struct request *)arg)->call);
}

static inline void start(struct side *s, struct request *r)
{
    r->side = s;
    in_loop(s, start_here, r);
}

static inline bool has_ended(void *r)
{
    return atomic_load(&((struct request *)r)->ended_us) != 0;
}

static inline bool wait_end(struct request *r)
{
    return wait_for(has_ended, r, WAIT_MS);
}

static inline const char *outcome_name(enum ferry_call_outcome o)
{
    static const char *const names[] = {
#define X(name) #name,
        FERRY_CALL_OUTCOME_MAP(X)
#undef X
    };
    return names[o];
}

#define assert_outcome(r, name_)                                                                   \
    do {                                                                                           \
        assert_true(wait_end(r));                                                                  \
        if ((r)->result.outcome != FERRY_CALL_##name_)                                             \
            fail_msg("%s: %s (%s), not " #name_, (r)->name ? (r)->name : "",                       \
                     outcome_name((r)->result.outcome), (r)->result.text);                         \
        assert_false((r)->told_twice);                                                             \
    } while (0)

#define assert_answer(r, text_)                                                                    \
    do {                                                                                           \
        assert_outcome(r, DONE);                                                                   \
        assert_string_equal((r)->out, text_);                                                      \
    } while (0)

/* -- the pool -- */

static inline void *run_side(void *arg)
{
    must(ferry_loop_run(((struct side *)arg)->loop) == 0);
    return NULL;
}

/* On the back end of the test; skips it where there is none. */
static inline void callers_loops(struct callers *c, void **state)
{
    enum ferry_io io = *(const enum ferry_io *)*state;

    for (unsigned i = 0; i < c->n; i++) {
        int err = ferry_loop_new(io, &c->side[i].loop);

        if (err < 0 && i == 0 && io == FERRY_IO_URING)
            skip();
        assert_int_equal(err, 0);
    }
}

static inline void callers_run(struct callers *c)
{
    for (unsigned i = 0; i < c->n; i++)
        assert_int_equal(pthread_create(&c->side[i].id, NULL, run_side, &c->side[i]), 0);
}

static inline void callers_open(struct callers *c, void **state, unsigned threads,
                                const struct fake_app *app, struct ferry_pool_opts opts)
{
    struct sockaddr_un *un = &opts.addr.un;

    *c = (struct callers){.n = threads};
    callers_loops(c, state);
    un->sun_family = AF_UNIX;
    snprintf(un->sun_path, sizeof un->sun_path, "%s", app->path);
    opts.addr.len = sizeof *un;
    c->pool = ferry_pool_new(&opts, threads);
    assert_non_null(c->pool);
    for (unsigned i = 0; i < threads; i++) {
        c->side[i].local = ferry_pool_join(c->pool, i, c->side[i].loop);
        assert_non_null(c->side[i].local);
    }
    callers_run(c);
}

/* With a client, whose addresses are the test's to set. */
static inline void callers_open_client(struct callers *c, void **state, unsigned threads,
                                       struct ferry_client_opts opts)
{
    *c = (struct callers){.n = threads};
    callers_loops(c, state);
    opts.size = sizeof opts;
    opts.threads_max = threads;
    assert_int_equal(ferry_client_new(&opts, &c->client), 0);
    for (unsigned i = 0; i < threads; i++) {
        c->side[i].client = ferry_client_join_as(c->client, i, c->side[i].loop);
        assert_non_null(c->side[i].client);
    }
    callers_run(c);
}

static inline void side_closed(void *arg)
{
    struct side *s = arg;

    atomic_store(&s->closed, true);
    ferry_loop_stop(s->loop);
}

static inline void close_side_here(void *arg)
{
    struct side *s = arg;

    if (s->client)
        ferry_client_local_close(s->client, side_closed, s);
    else
        ferry_pool_local_close(s->local, side_closed, s);
}

static inline bool is_closed(void *s)
{
    return atomic_load(&((struct side *)s)->closed);
}

/* All calls are over by now; connections of the pool close by themselves. */
static inline void callers_close(struct callers *c)
{
    for (unsigned i = 0; i < c->n; i++)
        in_loop(&c->side[i], close_side_here, &c->side[i]);
    for (unsigned i = 0; i < c->n; i++) {
        assert_true(wait_for(is_closed, &c->side[i], WAIT_MS));
        pthread_join(c->side[i].id, NULL);
    }
    for (unsigned i = 0; i < c->n; i++) /* before the parts: these have nothing left there */
        ferry_loop_free(c->side[i].loop);
    for (unsigned i = 0; i < c->n; i++)
        ferry_pool_local_free(c->side[i].local);
    ferry_pool_free(c->pool);
    ferry_client_free(c->client);
}

static const enum ferry_io on_epoll = FERRY_IO_EPOLL, on_uring = FERRY_IO_URING;

#define on_both(f)                                                                                 \
    {#f " (epoll)", f, NULL, NULL, (void *)&on_epoll},                                             \
    {                                                                                              \
#f " (io_uring)", f, NULL, NULL, (void *)&on_uring                                         \
    }

#endif
