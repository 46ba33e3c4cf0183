/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TESTS_APP_SERVER_H
#define FERRY_TESTS_APP_SERVER_H

/*
 * An application to test the application library with: its handler does what the param DO says. It
 * runs in a process of its own, on a socket that the test made.
 */
#include "ferry/app.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/slice.h"
#include "support.h"

#define REQUESTS 64

/* -- the application
 * ------------------------------------------------------------------------------------------------
 */

static struct {
    struct ferry_request *held[REQUESTS];
    unsigned nheld, releases, aborts;
} served;

static char pattern[1 << 20];

static void finish(struct ferry_request *r)
{
    ferry_request_printf(r, "late");
    ferry_request_finish(r, 0);
}

static void do_params(struct ferry_request *r)
{
    const struct ferry_param *list;
    size_t n = ferry_request_params(r, &list);
    const char *missing = ferry_request_param_z(r, "MISSING");

    ferry_request_printf(r, "n=%zu last=%.*s twice=%s missing=%s ", n, (int)list[n - 1].name.len,
                         list[n - 1].name.p, ferry_request_param_z(r, "TWICE"),
                         missing ? missing : "(none)");
    ferry_request_printf(r, "id=%u role=%d kept=%d now=%u peer=%s", ferry_request_id(r),
                         ferry_request_role(r), ferry_request_is_kept(r),
                         ferry_request_concurrent(r), ferry_request_peer(r));
    ferry_request_finish(r, 0);
}

static void do_headers(struct ferry_request *r)
{
    int good = ferry_request_header(r, "X-Bad", "a\r\nb") == FERRY_EUSAGE &&
               ferry_request_header(r, "X Bad", "a") == FERRY_EUSAGE &&
               ferry_request_header(r, "", "a") == FERRY_EUSAGE &&
               ferry_request_status(r, 99) == FERRY_EUSAGE && ferry_request_status(r, 404) == 0 &&
               ferry_request_status(r, 405) == FERRY_EUSAGE;

    ferry_request_header(r, "X-One", "1");
    ferry_request_header(r, "content-type", "text/html");
    ferry_request_write(r, "", 0);
    ferry_request_header(r, "X-Two", "2");
    ferry_request_write(r, "body", 4);
    good = good && ferry_request_header(r, "X-Three", "3") == FERRY_EUSAGE &&
           ferry_request_status(r, 200) == FERRY_EUSAGE && ferry_request_raw(r) == FERRY_EUSAGE;
    ferry_request_log(r, "good=%d", good);
    ferry_request_finish(r, 938);
}

/* A running sum of what was read. */
struct sum {
    size_t len;
    unsigned hash;
};

static void add_up(struct sum *s, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        s->hash = s->hash * 31 + (unsigned char)p[i];
    s->len += n;
}

static void tell_sum(struct ferry_request *r)
{
    const struct sum *s = ferry_request_user(r);

    ferry_request_printf(r, "%zu bytes, hash %08x", s->len, s->hash);
    ferry_request_finish(r, 0);
}

static void more_body(struct ferry_request *r)
{
    struct ferry_slice piece;

    while (ferry_request_body(r, &piece) > 0) {
        add_up(ferry_request_user(r), piece.p, piece.len);
        ferry_request_body_consume(r, piece.len);
    }
    if (ferry_request_body_is_over(r) || ferry_request_is_aborted(r))
        tell_sum(r);
}

static void do_body(struct ferry_request *r)
{
    ferry_request_set_user(r, ferry_request_alloc(r, sizeof(struct sum)));
    ferry_request_on_body(r, more_body);
}

/* Reads a little now and then, without ever being told that there is more. */
static void sip(struct ferry_request *r)
{
    char some[40000];
    ssize_t n = ferry_request_read(r, some, sizeof some);

    if (n > 0)
        add_up(ferry_request_user(r), some, (size_t)n);
    if (n >= 0 && !ferry_request_body_is_over(r))
        ferry_request_after(r, 1, sip);
    else
        tell_sum(r);
}

static void do_sip(struct ferry_request *r)
{
    ferry_request_set_user(r, ferry_request_alloc(r, sizeof(struct sum)));
    ferry_request_after(r, 300, sip);
}

static void do_hold(struct ferry_request *r)
{
    served.held[served.nheld++] = r;
}

static void do_release(struct ferry_request *r)
{
    while (served.nheld)
        finish(served.held[--served.nheld]);
    ferry_request_finish(r, 0);
}

static void told_of_abort(struct ferry_request *r)
{
    struct ferry_slice piece;
    int write = ferry_request_write(r, "x", 1), body = ferry_request_body(r, &piece);

    served.aborts++;
    ferry_request_finish(r,
                         write == FERRY_EABORTED && (body == FERRY_EABORTED || body == 0) ? 7 : 1);
}

static void do_abort(struct ferry_request *r)
{
    ferry_request_write(r, "started", 7);
    ferry_request_on_abort(r, told_of_abort);
}

static void do_abort_by_body(struct ferry_request *r)
{
    if (ferry_request_is_aborted(r))
        told_of_abort(r);
    else
        ferry_request_on_body(r, do_abort_by_body);
}

static void do_stats(struct ferry_request *r)
{
    ferry_request_printf(r, "allocs=%lu releases=%u aborts=%u", alloc_count(), served.releases,
                         served.aborts);
    ferry_request_finish(r, 0);
}

static void released(void *arg)
{
    (*(unsigned *)arg)++;
}

static void do_big(struct ferry_request *r)
{
    ferry_request_raw(r);
    ferry_request_write(r, pattern, sizeof pattern);
    ferry_request_finish(r, 0);
}

static void do_ref(struct ferry_request *r)
{
    ferry_request_raw(r);
    ferry_request_write_ref(r, pattern, 10, released, &served.releases);
    ferry_request_write_ref(r, pattern + 10, 100000 - 10, released, &served.releases);
    ferry_request_write_ref(r, pattern + 100000, sizeof pattern - 100000, NULL, NULL);
    ferry_request_finish(r, 0);
}

/* 32 MiB, as long as a write says that more may come. */
static void pour(struct ferry_request *r)
{
    size_t *at = ferry_request_user(r);
    int more = 1;

    for (; *at < 512 && more > 0; ++*at)
        more = ferry_request_write(r, pattern + (*at % 16) * 65536, 65536);
    if (*at == 512 || more < 0)
        ferry_request_finish(r, 0);
}

static void do_pour(struct ferry_request *r)
{
    ferry_request_raw(r);
    ferry_request_set_user(r, ferry_request_alloc(r, sizeof(size_t)));
    ferry_request_on_writable(r, pour);
    pour(r);
}

/* Does not heed what a write says, until it is an error. 99 would say that it was not the right
 * one. */
static void do_overflow(struct ferry_request *r)
{
    size_t taken = 0;
    int err;

    ferry_request_raw(r);
    while ((err = ferry_request_write(r, pattern, 65536)) >= 0 && taken < (64 << 20))
        taken += 65536;
    ferry_request_finish(r, err == FERRY_ELIMIT && taken <= (8 << 20) && taken > (7 << 20) &&
                                    ferry_request_write(r, "x", 1) == FERRY_ELIMIT
                                ? 0
                                : 99);
}

static void more_data(struct ferry_request *r)
{
    struct ferry_slice piece;

    while (ferry_request_data(r, &piece) > 0) {
        add_up(ferry_request_user(r), piece.p, piece.len);
        ferry_request_data_consume(r, piece.len);
    }
    if (ferry_request_data_is_over(r) || ferry_request_is_aborted(r))
        tell_sum(r);
}

static void body_then_data(struct ferry_request *r)
{
    struct ferry_slice piece;

    while (ferry_request_body(r, &piece) > 0) {
        add_up(ferry_request_user(r), piece.p, piece.len);
        ferry_request_body_consume(r, piece.len);
    }
    if (ferry_request_body_is_over(r) || ferry_request_is_aborted(r)) {
        ferry_request_on_body(r, NULL);
        ferry_request_on_data(r, more_data);
    }
}

static void do_filter(struct ferry_request *r)
{
    ferry_request_set_user(r, ferry_request_alloc(r, sizeof(struct sum)));
    ferry_request_on_body(r, body_then_data);
}

/* Reads the data a little at a time, and looks at nothing else. */
static void sip_data(struct ferry_request *r)
{
    char some[40000];
    ssize_t n = ferry_request_data_read(r, some, sizeof some);

    if (n > 0)
        add_up(ferry_request_user(r), some, (size_t)n);
    if (n >= 0 && !ferry_request_data_is_over(r))
        ferry_request_after(r, 1, sip_data);
    else
        tell_sum(r);
}

static void do_sip_data(struct ferry_request *r)
{
    ferry_request_set_user(r, ferry_request_alloc(r, sizeof(struct sum)));
    ferry_request_after(r, 100, sip_data);
}

static void do_numbers(struct ferry_request *r)
{
    ferry_request_printf(
        r, "content=%lld data=%lld modified=%lld", (long long)ferry_request_content_length(r),
        (long long)ferry_request_data_length(r), (long long)ferry_request_data_modified(r));
    ferry_request_finish(r, 0);
}

/* Answers at once, whatever may still come. */
static void do_at_once(struct ferry_request *r)
{
    ferry_request_log(r, "early");
    ferry_request_write(r, pattern, 3000);
    ferry_request_log(r, "bird");
    ferry_request_write_ref(r, pattern + 3000, 97000, released, &served.releases);
    ferry_request_finish(r, 5);
}

/* Writes until there is no room, and the rest when there is. */
static void do_fill(struct ferry_request *r)
{
    size_t *at = ferry_request_user(r);

    if (!at) {
        ferry_request_raw(r);
        ferry_request_set_user(r, at = ferry_request_alloc(r, sizeof *at));
        ferry_request_on_writable(r, do_fill);
    }
    while (*at < sizeof pattern) {
        int more = ferry_request_write(r, pattern + *at, 65536);

        *at += 65536;
        if (more <= 0)
            return;
    }
    ferry_request_finish(r, 0);
}

static void do_authorize(struct ferry_request *r)
{
    bool good = ferry_request_variable(r, "BAD NAME", "x") == FERRY_EUSAGE &&
                ferry_request_variable(r, "BAD", "a\nb") == FERRY_EUSAGE &&
                ferry_request_variable(r, "REMOTE_USER", "ann") == 0;

    ferry_request_finish(r, good && ferry_request_role(r) == FERRY_AUTHORIZER ? 0 : 1);
}

static void do_repeat(struct ferry_request *r)
{
    struct ferry_slice piece;

    while (ferry_request_body(r, &piece) > 0) {
        ferry_request_write(r, piece.p, piece.len);
        ferry_request_body_consume(r, piece.len);
    }
    if (ferry_request_body_is_over(r))
        ferry_request_finish(r, 0);
    else
        ferry_request_on_body(r, do_repeat);
}

static void do_echo(struct ferry_request *r)
{
    ferry_request_raw(r);
    do_repeat(r);
}

static void rest_of_head(struct ferry_request *r)
{
    ferry_request_header(r, "X-Two", "2");
    ferry_request_write(r, "body", 4);
    ferry_request_write_ref(r, pattern, 5000, released, &served.releases);
    ferry_request_finish(r, 0);
}

static void do_slow_head(struct ferry_request *r)
{
    ferry_request_header(r, "X-One", "1");
    ferry_request_after(r, 50, rest_of_head);
}

/* The head ends in the middle of a write, and of one without a copy. */
static void rest_of_raw(struct ferry_request *r)
{
    static char rest[5000] = "-One: 1\r\n\r\nbody";

    memset(rest + 15, 0x2e, sizeof rest - 15);
    ferry_request_write_ref(r, rest, sizeof rest, released, &served.releases);
    ferry_request_write(r, "more", 4);
    ferry_request_finish(r, 0);
}

static void do_slow_raw(struct ferry_request *r)
{
    ferry_request_raw(r);
    ferry_request_write(r, "X", 1);
    ferry_request_after(r, 50, rest_of_raw);
}

static void do_stop(struct ferry_request *r)
{
    ferry_app_stop(ferry_request_app(r));
    ferry_request_after(r, 50, finish);
}

static void do_late(struct ferry_request *r)
{
    ferry_request_after(r, 30, finish);
}

/* From now on the allocation after the next NAME fails. */
static void do_starve(struct ferry_request *r)
{
    const char *n = ferry_request_param_z(r, "NAME");

    ferry_request_finish(r, alloc_failed() ? 1 : 0);
    fail_alloc_after(n ? strtol(n, NULL, 10) : -1);
}

static void do_nothing(struct ferry_request *r)
{
    ferry_request_finish(r, 0);
}

static void do_hello(struct ferry_request *r)
{
    const char *name = ferry_request_param_z(r, "NAME");

    ferry_request_printf(r, "hello %s", name ? name : "nobody");
    ferry_request_finish(r, 0);
}

static const struct {
    const char *name;
    ferry_request_fn fn;
} deeds[] = {
    {"params", do_params},     {"headers", do_headers}, {"body", do_body},
    {"sip", do_sip},           {"hold", do_hold},       {"release", do_release},
    {"abort", do_abort},       {"stats", do_stats},     {"big", do_big},
    {"ref", do_ref},           {"pour", do_pour},       {"overflow", do_overflow},
    {"echo", do_echo},         {"late", do_late},       {"nothing", do_nothing},
    {"stop", do_stop},         {"hello", do_hello},     {"abort-by-body", do_abort_by_body},
    {"starve", do_starve},     {"filter", do_filter},   {"sip-data", do_sip_data},
    {"fill", do_fill},         {"at-once", do_at_once}, {"authorize", do_authorize},
    {"repeat", do_repeat},     {"numbers", do_numbers}, {"slow-head", do_slow_head},
    {"slow-raw", do_slow_raw},
};

static void handle(struct ferry_request *r)
{
    const char *name = ferry_request_param_z(r, "DO");

    for (size_t i = 0; name && i < sizeof deeds / sizeof *deeds; i++)
        if (strcmp(deeds[i].name, name) == 0) {
            deeds[i].fn(r);
            return;
        }
    do_hello(r);
}

/* -- the process it runs in
 * ------------------------------------------------------------------------------------------------
 */

static const char *io; /* the back end under test */

struct server {
    pid_t pid;
    struct sockaddr_storage addr;
    socklen_t len;
};

static inline void serve(const struct ferry_app_opts *opts, int listener)
{
    struct ferry_app *app;
    char address[32];

    snprintf(address, sizeof address, "fd:%d", listener);
    if (ferry_app_new(opts, &app) < 0 || ferry_app_listen(app, address) < 0 ||
        ferry_app_stop_on(app, SIGTERM) < 0 || ferry_app_stop_on(app, SIGINT) < 0 ||
        ferry_app_run(app) < 0)
        exit(1);
    ferry_app_free(app);
    close(listener);
    exit(0);
}

/* A process that accepts from this socket. */
static inline pid_t start_on(int fd, const struct ferry_app_opts *given)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;
    pid_t pid;

    if (given)
        opts = *given;
    opts.handle = opts.handle ? opts.handle : handle;
    opts.io = io;
    if (!opts.web_server_addrs)
        opts.web_server_addrs = "";
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody behind */
        serve(&opts, fd);
    }
    assert_true(pid > 0);
    return pid;
}

static inline int open_socket(int family, struct server *s)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    /* A free port, or an abstract name that the kernel makes up. */
    if (family == AF_UNIX)
        assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof un.sun_family), 0);
    else
        assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(listen(fd, 64), 0);
    s->len = sizeof s->addr;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&s->addr, &s->len), 0);
    return fd;
}

static inline struct server start(int family, const struct ferry_app_opts *given)
{
    struct server s;
    int fd = open_socket(family, &s);

    s.pid = start_on(fd, given);
    close(fd);
    return s;
}

static inline int exit_of(struct server *s)
{
    int status = -1;

    assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
    return status;
}

/* Ends it as a process manager does: it must leave with 0 (and, under ASan, without a leak). */
static inline void stop(struct server *s)
{
    kill(s->pid, SIGTERM);
    assert_int_equal(exit_of(s), 0);
}

static inline int on_backend(void **state)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;
    struct ferry_app *app;

    opts.handle = handle;
    opts.io = io = *state;
    opts.web_server_addrs = "";
    if (ferry_app_new(&opts, &app) < 0)
        skip(); /* the kernel refuses io_uring */
    ferry_app_free(app);
    return 0;
}

/* Runs the tests on every back end: how many failed. */
static inline int on_every_backend(const struct CMUnitTest *tests, size_t n)
{
    static char backends[][8] = {"epoll", "uring"};
    struct CMUnitTest all[64];
    char names[64][128];
    size_t total = 0;

    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = (char)(i * 7 + i / 251);
    for (size_t b = 0; b < 2; b++)
        for (size_t i = 0; i < n; i++, total++) {
            assert_true(total < 64);
            snprintf(names[total], sizeof names[total], "%s: %s", backends[b], tests[i].name);
            all[total] = tests[i];
            all[total].name = names[total];
            all[total].setup_func = on_backend;
            all[total].initial_state = backends[b];
        }
    return _cmocka_run_group_tests("application", all, total, NULL, NULL);
}

#endif
