/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TESTS_WIRE_FAKE_APP_H
#define FERRY_TESTS_WIRE_FAKE_APP_H

/*
 * A scripted FastCGI application on a unix socket: blocking sockets, threads, records by hand. What
 * runs in its threads does not assert (a failed assertion may only leave the test's own thread); it
 * notes what it saw, and must() ends the test program where the fake itself is wrong.
 */

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "ferry/params.h"
#include "records.h"

#define must(cond)                                                                                 \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #cond, strerror(errno));        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

struct fake_app;

/* One connection, in a thread of its own unless the application is serial; it is closed after. */
typedef void fake_handler(struct fake_app *, int fd, unsigned nth);

struct fake_app {
    fake_handler *handler;
    bool serial; /* one connection at a time, as a process of php-fpm's */
    char path[64];
    int listener;
    pthread_t thread;
    pthread_mutex_t lock;
    int fds[256]; /* open connections */
    unsigned nfds;
    atomic_bool stopping;
    atomic_bool go; /* for handlers that wait until the test says so */
    atomic_uint accepted, open, open_max, threads;
    atomic_uint requests;      /* whole ones */
    atomic_uint not_kept;      /* of them, those without KEEP_CONN */
    atomic_uint asked, aborts; /* GET_VALUES and ABORT_REQUEST records */
    atomic_ullong received, sent;
    const char *_Atomic script;
    char log[4096]; /* what each request was called, in order; under lock */
};

struct fake_request {
    uint16_t id, role;
    uint8_t flags;
    char name[32]; /* of the one param each request of the tests has */
    uint64_t body;
    uint64_t sum; /* of the body, to see that it is the right one */
    bool whole;
};

static inline void fake_sleep_ms(unsigned ms)
{
    usleep(ms * 1000);
}

static inline bool fake_read(struct fake_app *app, int fd, void *to, size_t n)
{
    for (size_t at = 0; at < n;) {
        ssize_t got = read(fd, (char *)to + at, n - at);

        if (got <= 0)
            return false;
        at += (size_t)got;
        atomic_fetch_add(&app->received, (unsigned long long)got);
    }
    return true;
}

static inline bool fake_write(struct fake_app *app, int fd, const void *from, size_t n)
{
    for (size_t at = 0; at < n;) {
        ssize_t put = send(fd, (const char *)from + at, n - at, MSG_NOSIGNAL);

        if (put <= 0)
            return false;
        at += (size_t)put;
        atomic_fetch_add(&app->sent, (unsigned long long)put);
    }
    return true;
}

/* Records as of records.h. */
static inline bool fake_say(struct fake_app *app, int fd, const char *script)
{
    char *bytes = malloc(TEXT_MAX);
    bool ok;

    must(bytes);
    ok = fake_write(app, fd, bytes, records(script, bytes));
    free(bytes);
    return ok;
}

static inline bool fake_record(struct fake_app *app, int fd, unsigned type, uint16_t id,
                               const void *content, size_t n)
{
    struct ferry_record r = {.type = (uint8_t)type, .id = id, .content_len = (uint16_t)n};
    char head[8];

    ferry_record_encode(&r, head);
    return fake_write(app, fd, head, 8) && fake_write(app, fd, content, n);
}

/* STDOUT with `text`, then the end, in one write. */
static inline bool fake_answer(struct fake_app *app, int fd, uint16_t id, const char *text)
{
    char script[512];

    snprintf(script, sizeof script, "STDOUT %u '%s'; STDOUT %u; END_REQUEST %u x0000000000000000",
             id, text, id, id);
    return fake_say(app, fd, script);
}

struct fake_record_in {
    struct ferry_record r;
    char content[65536 + 256];
};

static inline bool fake_take_record(struct fake_app *app, int fd, struct fake_record_in *in)
{
    char head[8];

    if (!fake_read(app, fd, head, 8))
        return false;
    must(ferry_record_decode(head, 8, &in->r) == 8);
    if (in->r.type == FERRY_GET_VALUES)
        atomic_fetch_add(&app->asked, 1);
    if (in->r.type == FERRY_ABORT_REQUEST)
        atomic_fetch_add(&app->aborts, 1);
    return fake_read(app, fd, in->content, (size_t)in->r.content_len + in->r.padding_len);
}

static inline void fake_note(struct fake_app *app, const struct fake_request *rq)
{
    size_t n;

    pthread_mutex_lock(&app->lock);
    n = strlen(app->log);
    snprintf(app->log + n, sizeof app->log - n, "%s ", rq->name);
    pthread_mutex_unlock(&app->lock);
    if (!(rq->flags & FERRY_KEEP_CONN))
        atomic_fetch_add(&app->not_kept, 1);
    atomic_fetch_add(&app->requests, 1); /* who has seen it counted finds it in the log */
}

/* Adds what a record says to the request: true when that is whole by now. */
static inline bool fake_take_into(struct fake_record_in *in, struct fake_request *rq)
{
    struct ferry_begin_body begin;
    struct ferry_param param;

    switch (in->r.type) {
    case FERRY_BEGIN_REQUEST:
        ferry_begin_body_decode(in->content, &begin);
        *rq = (struct fake_request){.id = in->r.id, .role = begin.role, .flags = begin.flags};
        break;
    case FERRY_PARAMS:
        if (in->r.content_len &&
            ferry_param_decode(in->content, in->r.content_len, 65536, &param) > 0)
            snprintf(rq->name, sizeof rq->name, "%.*s", (int)param.value.len, param.value.p);
        break;
    case FERRY_STDIN:
        for (unsigned i = 0; i < in->r.content_len; i++)
            rq->sum = rq->sum * 31 + (unsigned char)in->content[i];
        rq->body += in->r.content_len;
        rq->whole = in->r.content_len == 0;
        return rq->whole;
    default:
        break;
    }
    return false;
}

/* The next whole request of a connection that does not multiplex; management records are read and
 * not answered. False at the end. */
static inline bool fake_take(struct fake_app *app, int fd, struct fake_request *rq)
{
    struct fake_record_in *in = malloc(sizeof *in);
    bool whole = false, open = true;

    must(in);
    while (!whole && (open = fake_take_record(app, fd, in)))
        whole = fake_take_into(in, rq);
    free(in);
    if (whole)
        fake_note(app, rq);
    return whole;
}

/* Reads until the other side closes: so many bytes came. */
static inline uint64_t fake_drain(struct fake_app *app, int fd)
{
    char bytes[4096];
    uint64_t n = 0;

    while (fake_read(app, fd, bytes, 1))
        n++;
    return n;
}

static inline void fake_wait_go(struct fake_app *app)
{
    while (!atomic_load(&app->go) && !atomic_load(&app->stopping))
        fake_sleep_ms(1);
}

/* A handler: says app->script to the first request, whatever that is. */
static inline void fake_script(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    if (!fake_take(app, fd, &rq))
        return;
    fake_say(app, fd, atomic_load(&app->script));
    fake_drain(app, fd);
}

/* Asserts the names of the whole requests so far, in order. */
static inline void assert_log(struct fake_app *app, const char *log)
{
    char got[sizeof app->log];

    pthread_mutex_lock(&app->lock);
    memcpy(got, app->log, sizeof got);
    pthread_mutex_unlock(&app->lock);
    assert_string_equal(got, log);
}

/* -- connections -- */

struct fake_conn {
    struct fake_app *app;
    int fd;
    unsigned nth;
};

static inline void fake_forget(struct fake_app *app, int fd)
{
    pthread_mutex_lock(&app->lock);
    for (unsigned i = 0; i < app->nfds; i++)
        if (app->fds[i] == fd) {
            app->fds[i] = app->fds[--app->nfds];
            break;
        }
    close(fd);
    pthread_mutex_unlock(&app->lock);
    atomic_fetch_sub(&app->open, 1);
}

static inline void *fake_run_conn(void *arg)
{
    struct fake_conn *c = arg;
    struct fake_app *app = c->app;

    app->handler(app, c->fd, c->nth);
    fake_forget(app, c->fd);
    free(c);
    atomic_fetch_sub(&app->threads, 1);
    return NULL;
}

static inline void fake_accepted(struct fake_app *app, int fd)
{
    struct fake_conn *c = malloc(sizeof *c);
    unsigned open = atomic_fetch_add(&app->open, 1) + 1;
    pthread_t thread;

    must(c);
    *c = (struct fake_conn){app, fd, atomic_fetch_add(&app->accepted, 1)};
    if (open > atomic_load(&app->open_max))
        atomic_store(&app->open_max, open);
    pthread_mutex_lock(&app->lock);
    must(app->nfds < 256);
    app->fds[app->nfds++] = fd;
    pthread_mutex_unlock(&app->lock);
    atomic_fetch_add(&app->threads, 1);
    if (app->serial) {
        fake_run_conn(c);
    } else {
        must(pthread_create(&thread, NULL, fake_run_conn, c) == 0);
        pthread_detach(thread);
    }
}

static inline void *fake_accept(void *arg)
{
    struct fake_app *app = arg;

    while (!atomic_load(&app->stopping)) {
        struct pollfd p = {.fd = app->listener, .events = POLLIN};
        int fd;

        if (poll(&p, 1, 10) <= 0)
            continue;
        fd = accept(app->listener, NULL, NULL);
        if (fd >= 0)
            fake_accepted(app, fd);
    }
    return NULL;
}

/* Binds and listens; connections wait in the backlog until fake_start. */
static inline void fake_listen(struct fake_app *app, int backlog)
{
    static atomic_uint serial_number;
    struct sockaddr_un un = {.sun_family = AF_UNIX};

    snprintf(app->path, sizeof app->path, "/tmp/ferry-fake-%d-%u", (int)getpid(),
             atomic_fetch_add(&serial_number, 1));
    snprintf(un.sun_path, sizeof un.sun_path, "%s", app->path);
    unlink(app->path);
    pthread_mutex_init(&app->lock, NULL);
    app->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(app->listener >= 0);
    must(bind(app->listener, (struct sockaddr *)&un, sizeof un) == 0);
    must(listen(app->listener, backlog) == 0);
}

static inline void fake_start(struct fake_app *app)
{
    must(pthread_create(&app->thread, NULL, fake_accept, app) == 0);
}

/* Closes every connection, as an application that is killed. */
static inline void fake_kill_conns(struct fake_app *app)
{
    pthread_mutex_lock(&app->lock);
    for (unsigned i = 0; i < app->nfds; i++)
        shutdown(app->fds[i], SHUT_RDWR);
    pthread_mutex_unlock(&app->lock);
}

static inline void fake_stop(struct fake_app *app)
{
    atomic_store(&app->stopping, true);
    for (int i = 0; i < 100; i++) {
        fake_kill_conns(app);
        fake_sleep_ms(1);
        if (atomic_load(&app->threads) == 0)
            break;
    }
    must(pthread_join(app->thread, NULL) == 0);
    while (atomic_load(&app->threads) > 0) {
        fake_kill_conns(app);
        fake_sleep_ms(1);
    }
    close(app->listener);
    unlink(app->path);
    pthread_mutex_destroy(&app->lock);
}

#endif
