/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TESTS_APP_THREADS_H
#define FERRY_TESTS_APP_THREADS_H

/*
 * What the handlers of the test application do in threads: in those of the pool, or (when there is
 * none) in one that the handler starts for a request that it has detached.
 */
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

#include "app_client.h"

static struct {
    atomic_uint begun, ended, refs, releases, wrong;
    atomic_ulong poured;
} seen;

static void let_go(void *arg)
{
    (void)arg;
    atomic_fetch_add(&seen.releases, 1);
}

static void done(struct ferry_request *r, int app_status)
{
    atomic_fetch_add(&seen.ended, 1);
    ferry_request_finish(r, app_status);
}

static void tell(struct ferry_request *r, const struct sum *s)
{
    ferry_request_printf(r, "%zu bytes, hash %08x", s->len, s->hash);
    done(r, 0);
}

static void in_thread_hello(struct ferry_request *r)
{
    const char *name = ferry_request_param_z(r, "NAME");

    ferry_request_printf(r, "hello %s", name ? name : "nobody");
    done(r, 0);
}

/* Everything that looks at a request, often enough for an index of the params. */
static void in_thread_look(struct ferry_request *r)
{
    const struct ferry_param *list;
    bool good = true;

    for (int i = 0; i < 10; i++)
        good = good && strcmp(ferry_request_param_z(r, "NAME"), "you") == 0 &&
               !ferry_request_param_z(r, "MISSING");
    for (int i = 0; i < 20; i++) {
        char *p = ferry_request_alloc(r, (size_t)i * 1000);

        if (!p) {
            good = false;
            break;
        }
        for (int j = 0; j < i * 1000; j++)
            good = good && p[j] == 0;
        memset(p, 'x', (size_t)i * 1000);
    }
    good = good && ferry_request_alloc(r, 200000) && ferry_request_params(r, &list) == 2 &&
           ferry_request_content_length(r) == -1 && ferry_request_is_kept(r) &&
           !ferry_request_is_aborted(r) && ferry_request_detach(r) == 0 &&
           strcmp(ferry_request_peer(r), "unix:") == 0 &&
           ferry_request_peer(r) == ferry_request_peer(r);
    ferry_request_on_body(r, in_thread_hello); /* nothing comes of these */
    ferry_request_on_data(r, in_thread_hello);
    ferry_request_after(r, 0, in_thread_hello);
    ferry_request_set_user(r, &seen);
    ferry_request_printf(r, "good=%d id=%u role=%d now=%u", good && ferry_request_user(r) == &seen,
                         ferry_request_id(r), ferry_request_role(r), ferry_request_concurrent(r));
    done(r, 0);
}

static void in_thread_headers(struct ferry_request *r)
{
    atomic_fetch_add(&seen.ended, 1);
    do_headers(r);
}

static void in_thread_read(struct ferry_request *r)
{
    struct sum sum = {0};
    static _Thread_local char some[50000];
    ssize_t n;

    while ((n = ferry_request_read(r, some, sizeof some)) > 0)
        add_up(&sum, some, (size_t)n);
    if (n == 0 && ferry_request_body_is_over(r))
        tell(r, &sum);
    else
        done(r, n == FERRY_EABORTED && !ferry_request_body_is_over(r) ? 7 : 99);
}

/* Uneven pieces, where they lie. */
static void in_thread_pull(struct ferry_request *r)
{
    struct sum sum = {0};
    struct ferry_slice piece, again;
    int n;

    while ((n = ferry_request_body(r, &piece)) > 0) {
        size_t some = piece.len > 10 ? piece.len - piece.len / 3 : piece.len;

        add_up(&sum, piece.p, some);
        ferry_request_body_consume(r, some);
        if (some < piece.len && ferry_request_body(r, &again) == 1 && again.p != piece.p + some)
            atomic_fetch_add(&seen.wrong, 1);
    }
    if (n == 0)
        tell(r, &sum);
    else
        done(r, n == FERRY_EABORTED ? 7 : 99);
}

static void in_thread_filter(struct ferry_request *r)
{
    struct sum sum = {0};
    char some[30000];
    ssize_t n;

    ferry_request_write(r, "early ", 6);
    ferry_request_log(r, "early");
    while ((n = ferry_request_read(r, some, sizeof some)) > 0)
        add_up(&sum, some, (size_t)n);
    while (n == 0 && (n = ferry_request_data_read(r, some, sizeof some)) > 0) {
        add_up(&sum, some, (size_t)n);
        n = 0;
    }
    if (n == 0 && ferry_request_data_is_over(r))
        tell(r, &sum);
    else
        done(r, 7);
}

static void in_thread_echo(struct ferry_request *r)
{
    char some[3000];
    ssize_t n;

    ferry_request_raw(r);
    while ((n = ferry_request_read(r, some, sizeof some)) > 0)
        ferry_request_write(r, some, (size_t)n);
    done(r, n < 0 ? 7 : 0);
}

/* 32 MiB, in writes of all sizes. */
static void in_thread_pour(struct ferry_request *r)
{
    static const size_t sizes[] = {1, 100, 4096, 70000, 300000, 1 << 20};
    size_t at = 0;
    int more = 1;

    ferry_request_raw(r);
    for (unsigned i = 0; at < 32 << 20 && more > 0; i++) {
        size_t n = sizes[i % 6], left = sizeof pattern - at % sizeof pattern;

        n = n < left ? n : left;
        more = ferry_request_write(r, pattern + at % sizeof pattern, n);
        at += n;
        atomic_fetch_add(&seen.poured, n);
    }
    done(r, more == 1 ? 0 : more == FERRY_EABORTED ? 7 : 99);
}

static void in_thread_refs(struct ferry_request *r)
{
    ferry_request_raw(r);
    for (size_t at = 0; at < sizeof pattern; at += 65536) {
        atomic_fetch_add(&seen.refs, 2);
        ferry_request_write_ref(r, pattern + at, 100, let_go, NULL);
        ferry_request_write_ref(r, pattern + at + 100, 65536 - 200, let_go, NULL);
        ferry_request_write_ref(r, pattern + at + 65536 - 100, 100, NULL, NULL);
    }
    atomic_fetch_add(&seen.refs, 1);
    ferry_request_write_ref(r, "", 0, let_go, NULL);
    ferry_request_write_ref(r, pattern, sizeof pattern, NULL, NULL);
    done(r, 0);
}

/* The pattern's beginning, by all kinds of writes. */
#define BITS 288600

static void in_thread_bits(struct ferry_request *r)
{
    static const size_t sizes[] = {100, 5000, 3000, 40000};
    size_t at = 0;

    ferry_request_raw(r);
    for (unsigned i = 0; at < BITS; at += sizes[i++ % 4]) {
        if (i % 4 == 2) {
            atomic_fetch_add(&seen.refs, 1);
            ferry_request_write_ref(r, pattern + at, 3000, let_go, NULL);
        } else if (i % 4 == 3) {
            ferry_request_write_ref(r, pattern + at, 40000, NULL, NULL);
        } else {
            ferry_request_write(r, pattern + at, sizes[i % 4]);
        }
    }
    done(r, ferry_request_is_aborted(r) ? 7 : 0);
}

static void *pass_on(void *arg)
{
    struct ferry_request *r = arg;

    usleep(ferry_request_id(r) % 7 * 200);
    ferry_request_printf(r, "passed %s", "on");
    done(r, 0);
    return NULL;
}

/* To a third thread, which finishes it. */
static void in_thread_pass(struct ferry_request *r)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, pass_on, r) != 0)
        abort();
    pthread_detach(thread);
}

/* Never blocks: waits only in ferry_request_wait. */
static void in_thread_poll(struct ferry_request *r)
{
    struct sum sum = {0};
    char some[1000];
    ssize_t n = 0;
    size_t at = 0;
    int is;

    ferry_request_set_blocking(r, false);
    while (!ferry_request_body_is_over(r) && n >= 0) {
        is = ferry_request_wait(r, FERRY_WAIT_BODY, UINT_MAX);
        if (!(is & (FERRY_WAIT_BODY | FERRY_WAIT_ABORT)))
            atomic_fetch_add(&seen.wrong, 1);
        while ((n = ferry_request_read(r, some, sizeof some)) > 0)
            add_up(&sum, some, (size_t)n);
    }
    ferry_request_raw(r);
    while (at < 32 << 20) {
        int more = ferry_request_write(r, pattern + at % sizeof pattern, 65536);

        if (more < 0)
            break;
        at += 65536;
        if (more == 0 && !(ferry_request_wait(r, FERRY_WAIT_WRITABLE, UINT_MAX) &
                           (FERRY_WAIT_WRITABLE | FERRY_WAIT_ABORT)))
            atomic_fetch_add(&seen.wrong, 1);
    }
    done(r, ferry_request_is_aborted(r) ? 7 : 0);
}

/* How long it waits for what does not come. */
static void in_thread_wait(struct ferry_request *r)
{
    struct timespec a, b;
    long ms;
    int is;

    ferry_request_set_blocking(r, false);
    clock_gettime(CLOCK_MONOTONIC, &a);
    is = ferry_request_wait(r, FERRY_WAIT_BODY | FERRY_WAIT_DATA, 60);
    clock_gettime(CLOCK_MONOTONIC, &b);
    ms = (b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000;
    is = is == 0 && ferry_request_wait(r, FERRY_WAIT_BODY, 0) == 0 &&
         ferry_request_wait(r, FERRY_WAIT_WRITABLE, 0) == FERRY_WAIT_WRITABLE;
    ferry_request_printf(r, "good=%d", is && ms >= 59 && ms < 5000);
    done(r, 0);
}

/* Does not heed what a write says. 99: it was not the right error. */
static void in_thread_overflow(struct ferry_request *r)
{
    size_t taken = 0;
    int err;

    ferry_request_set_blocking(r, false);
    ferry_request_raw(r);
    while ((err = ferry_request_write(r, pattern, 65536)) >= 0 && taken < (64 << 20))
        taken += 65536;
    done(r,
         err == FERRY_ELIMIT && taken > (7 << 20) && ferry_request_write(r, "x", 1) == FERRY_ELIMIT
             ? 0
             : 99);
}

static void in_thread_abort(struct ferry_request *r)
{
    struct ferry_slice piece;
    int is;

    ferry_request_write(r, "started", 7);
    is = ferry_request_wait(r, FERRY_WAIT_ABORT, UINT_MAX);
    done(r, is & FERRY_WAIT_ABORT && ferry_request_is_aborted(r) &&
                    ferry_request_write(r, "x", 1) == FERRY_EABORTED &&
                    ferry_request_log(r, "x") == FERRY_EABORTED &&
                    ferry_request_body(r, &piece) ==
                        (ferry_request_body_is_over(r) ? 0 : FERRY_EABORTED) &&
                    ferry_request_wait(r, FERRY_WAIT_BODY, UINT_MAX) > 0
                ? 7
                : 99);
}

/* How many have begun when it does. */
static void in_thread_order(struct ferry_request *r)
{
    ferry_request_printf(r, "begun=%u", seen.begun);
    done(r, 0);
}

/* Looks at nothing for a while. */
static void in_thread_sleep(struct ferry_request *r)
{
    usleep(300000);
    ferry_request_printf(r, "slept");
    done(r, ferry_request_is_aborted(r) ? 7 : 0);
}

static void in_thread_stop(struct ferry_request *r)
{
    struct ferry_app *app = ferry_request_app(r);
    bool before = ferry_app_is_stopping(app);

    ferry_app_stop(app);
    for (int i = 0; i < 1000 && !ferry_app_is_stopping(app); i++)
        usleep(1000);
    usleep(50000);
    ferry_request_write(r, !before && ferry_app_is_stopping(app) ? "late" : "wrong", 4);
    done(r, 0);
}

static void in_thread_starve(struct ferry_request *r)
{
    do_starve(r);
}

static const struct {
    const char *name;
    ferry_request_fn fn;
} in_threads[] = {
    {"t-hello", in_thread_hello},     {"t-look", in_thread_look},
    {"t-headers", in_thread_headers}, {"t-read", in_thread_read},
    {"t-pull", in_thread_pull},       {"t-filter", in_thread_filter},
    {"t-echo", in_thread_echo},       {"t-pour", in_thread_pour},
    {"t-refs", in_thread_refs},       {"t-poll", in_thread_poll},
    {"t-wait", in_thread_wait},       {"t-overflow", in_thread_overflow},
    {"t-abort", in_thread_abort},     {"t-order", in_thread_order},
    {"t-sleep", in_thread_sleep},     {"t-stop", in_thread_stop},
    {"t-starve", in_thread_starve},   {"t-bits", in_thread_bits},
    {"t-pass", in_thread_pass},
};

static ferry_request_fn in_thread_fn(const char *name)
{
    for (size_t i = 0; name && i < sizeof in_threads / sizeof *in_threads; i++)
        if (strcmp(in_threads[i].name, name) == 0)
            return in_threads[i].fn;
    return NULL;
}

static void tell_seen(struct ferry_request *r)
{
    ferry_request_printf(r, "begun=%u ended=%u refs=%u releases=%u wrong=%u poured=%lu allocs=%lu",
                         seen.begun, seen.ended, seen.refs, seen.releases, seen.wrong, seen.poured,
                         alloc_count());
    ferry_request_finish(r, 0);
}

static void *thread_main(void *arg)
{
    struct ferry_request *r = arg;

    in_thread_fn(ferry_request_param_z(r, "DO"))(r);
    return NULL;
}

/* The handler, in a thread of the pool or in the loop's. */
static void handle_in_threads(struct ferry_request *r)
{
    const char *name = ferry_request_param_z(r, "DO");
    pthread_t thread;

    if (!in_thread_fn(name)) {
        if (name && strcmp(name, "seen") == 0)
            tell_seen(r);
        else
            handle(r);
        return;
    }
    atomic_fetch_add(&seen.begun, 1);
    if (ferry_request_set_blocking(r, true) == 0) { /* it is detached */
        in_thread_fn(name)(r);
        return;
    }
    if (ferry_request_wait(r, FERRY_WAIT_BODY, 0) != FERRY_EUSAGE || ferry_request_detach(r) < 0 ||
        ferry_request_set_blocking(r, true) < 0 ||
        pthread_create(&thread, NULL, thread_main, r) != 0)
        abort();
    pthread_detach(thread);
}

/* An application with so many threads of the pool's; 0: they are the handler's own. */
static inline struct server start_threads(int family, unsigned threads)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;

    opts.handle = handle_in_threads;
    opts.threads = threads;
    return start(family, &opts);
}

static inline unsigned long seen_of(struct client *c, const char *name)
{
    unsigned long n;
    const char *at;

    ask(c, 9, FERRY_KEEP_CONN, "seen");
    at = strstr(reply(c, 9)->out, name);
    assert_non_null(at);
    n = strtoul(at + strlen(name), NULL, 10);
    forget(c, 9);
    return n;
}

/* Until it is so. */
static inline void expect_seen(struct client *c, const char *name, unsigned long n)
{
    for (int tries = 0; seen_of(c, name) != n; tries++) {
        if (tries == 500)
            assert_int_equal(seen_of(c, name), n);
        usleep(10000);
    }
}

#endif
