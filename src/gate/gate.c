/* SPDX-License-Identifier: MIT */
/*
 * The gate's threads and connections. A connection is a pump, an http machine and at most one
 * exchange; between requests it holds no other memory.
 */
#include "gate/gate.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "files/date.h"
#include "gate/internal.h"

struct ferry__door {
    struct ferry_listener listener;
    struct ferry_gate_thread *thread;
    struct ferry_list link;
};

static struct ferry__gate_conn *conn_of(struct ferry_pump *pump)
{
    return ferry_container(pump, struct ferry__gate_conn, pump);
}

struct ferry_slice ferry__gate_date(struct ferry_gate_thread *t)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec != t->date_s) {
        t->date_s = now.tv_sec;
        ferry_date_format(now.tv_sec, t->date);
    }
    return ferry_slice(t->date, FERRY_DATE_LEN);
}

void ferry__gate_log(struct ferry_gate_thread *t, enum ferry_gate_level level, const char *fmt, ...)
{
    const struct ferry_gate_opts *o = &t->gate->opts;
    char text[1024], line[4 * sizeof text];
    char *end;
    va_list ap;
    int n;

    if (!o->log)
        return;
    va_start(ap, fmt);
    n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n >= (int)sizeof text)
        n = sizeof text - 1;
    end = ferry__put_escaped(line, ferry_slice(text, n < 0 ? 0 : (size_t)n));
    o->log(o->log_arg, level, ferry_slice(line, (size_t)(end - line)));
}

void ferry__gate_name(struct ferry__gate_conn *c)
{
    struct ferry_addr addr;

    if (c->named)
        return;
    c->named = true;
    if (ferry_addr_peer(c->pump.stream.fd, &addr) == 0) {
        ferry_addr_host(&addr, c->remote_addr, sizeof c->remote_addr);
        snprintf(c->remote_port, sizeof c->remote_port, "%u", ferry_addr_port(&addr) & 0xffff);
    }
    if (ferry_addr_local(c->pump.stream.fd, &addr) == 0) {
        ferry_addr_host(&addr, c->local_addr, sizeof c->local_addr);
        snprintf(c->local_port, sizeof c->local_port, "%u", ferry_addr_port(&addr) & 0xffff);
    }
}

/* What cannot be written now (a full pipe) is tried again with the next lines. */
static void flush_access(struct ferry_timer *timer)
{
    struct ferry_gate_thread *t = ferry_container(timer, struct ferry_gate_thread, access_timer);

    if (t->gate->opts.access_log)
        ferry_access_buf_flush(&t->access, ferry_loop_now(t->loop));
}

void ferry__gate_accessed(struct ferry_gate_thread *t)
{
    if (t->access_timer.at_ms == FERRY_NEVER && t->access.len)
        ferry_timer_set(t->loop, &t->access_timer, ferry_access_buf_due(&t->access));
}

/* -- one connection
 * -------------------------------------------------------------------------------------------- */

static void conn_close(struct ferry__gate_conn *c, bool reset)
{
    if (c->closing)
        return;
    c->closing = true;
    if (c->x)
        ferry__exchange_abandon(c->x, FERRY_ACCESS_CLIENT_GONE);
    if (reset)
        ferry_pump_reset(&c->pump);
    else
        ferry_pump_close(&c->pump);
}

static enum ferry_access_end bad_end(int status)
{
    return status == 408                                     ? FERRY_ACCESS_SLOW_CLIENT
           : status == 413 || status == 414 || status == 431 ? FERRY_ACCESS_LIMIT
                                                             : FERRY_ACCESS_BAD_REQUEST;
}

/* A request that could not even be read has no exchange yet: it gets one for its answer and its log
 * line. */
static void on_bad(struct ferry__gate_conn *c, const struct ferry_http_event *ev)
{
    if (c->x && ferry_http_responded(c->http)) {
        ferry_http_cut(c->http);
        ferry__exchange_abandon(c->x, bad_end(ev->status));
        return;
    }
    if (!c->x)
        ferry__exchange_begin(c, NULL);
    if (c->x) {
        c->x->end = bad_end(ev->status);
        ferry__exchange_refuse(c->x, ev->status, ev->why);
    }
}

static void on_ready(struct ferry_pump *pump)
{
    struct ferry__gate_conn *c = conn_of(pump);
    struct ferry_http_event *ev = &c->thread->event;

    while (!c->closing && ferry_http_event(c->http, ev) > 0) {
        switch (ev->type) {
        case FERRY_HTTP_EV_HEAD:
            if (c->thread->draining)
                ferry_http_drain(c->http); /* one that was waited for is the last */
            ferry__exchange_begin(c, &ev->head);
            break;
        case FERRY_HTTP_EV_BODY:
            if (c->x)
                ferry__body_data(c->x, pump->in_block, ev->data);
            break;
        case FERRY_HTTP_EV_END:
            if (c->x)
                ferry__body_end(c->x);
            break;
        case FERRY_HTTP_EV_BAD:
            on_bad(c, ev);
            break;
        case FERRY_HTTP_EV_GONE:
            if (c->x)
                ferry__exchange_abandon(c->x, FERRY_ACCESS_CLIENT_GONE);
            break;
        }
    }
}

static void on_failed(struct ferry_pump *pump, int err)
{
    (void)err;
    conn_close(conn_of(pump), false);
}

static void on_finished(struct ferry_pump *pump)
{
    struct ferry__gate_conn *c = conn_of(pump);

    conn_close(c, ferry_http_wants_reset(c->http));
}

static void on_sent(struct ferry_pump *pump, size_t n)
{
    struct ferry__gate_conn *c = conn_of(pump);

    (void)n;
    if (c->x && !c->closing)
        ferry__relay_sent(c->x);
}

static void maybe_drained(struct ferry_gate_thread *t)
{
    void (*drained)(void *) = t->drained;

    if (!t->draining || !drained || !ferry_list_empty(&t->conns) || !ferry_list_empty(&t->doors))
        return;
    t->drained = NULL;
    ferry_timer_stop(&t->linger);
    flush_access(&t->access_timer);
    if (t->pool)
        ferry_pool_local_close(t->pool, drained, t->drained_arg);
    else
        drained(t->drained_arg);
}

static void on_closed(struct ferry_pump *pump)
{
    struct ferry__gate_conn *c = conn_of(pump);
    struct ferry_gate_thread *t = c->thread;

    ferry_list_remove(&c->link);
    ferry_http_free(c->http);
    free(c);
    maybe_drained(t);
}

static const struct ferry_pump_fns pump_fns = {
    .ready = on_ready,
    .failed = on_failed,
    .finished = on_finished,
    .sent = on_sent,
    .closed = on_closed,
};

static void on_accepted(struct ferry_listener *listener, int fd)
{
    struct ferry_gate_thread *t = ferry_container(listener, struct ferry__door, listener)->thread;
    struct ferry__gate_conn *c = calloc(1, sizeof *c);

    if (c)
        c->http = ferry_http_new(&t->http_opts, ferry_loop_now(t->loop));
    if (!c || !c->http) {
        free(c);
        close(fd);
        return;
    }
    c->thread = t;
    if (ferry_pump_open(t->loop, &c->pump, &pump_fns, &ferry_http_machine, c->http, fd) < 0) {
        ferry_http_free(c->http);
        free(c);
        return;
    }
    ferry_list_push(&t->conns, &c->link);
}

/* It came while the door closed. */
static void on_late(struct ferry_listener *listener, int fd)
{
    if (ferry_container(listener, struct ferry__door, listener)->thread->lingering)
        on_accepted(listener, fd);
    else
        close(fd);
}

/* -- listeners, draining
 * --------------------------------------------------------------------------------------- */

static void on_door_closed(struct ferry_listener *listener)
{
    struct ferry__door *door = ferry_container(listener, struct ferry__door, listener);
    struct ferry_gate_thread *t = door->thread;

    ferry_list_remove(&door->link);
    free(door);
    maybe_drained(t);
}

int ferry_gate_listen(struct ferry_gate_thread *t, int fd)
{
    struct ferry__door *door = calloc(1, sizeof *door);
    int err;

    if (!door)
        return -ENOMEM;
    door->thread = t;
    door->listener.accepted = on_accepted;
    door->listener.late = on_late;
    door->listener.closed = on_door_closed;
    err = ferry_listener_open(t->loop, &door->listener, fd);
    if (err < 0) {
        free(door);
        return err;
    }
    ferry_list_push(&t->doors, &door->link);
    return 0;
}

static void drain_conns(struct ferry_gate_thread *t, bool idle)
{
    ferry_list_each (at, next, &t->conns) {
        struct ferry__gate_conn *c = ferry_container(at, struct ferry__gate_conn, link);

        if (!idle && ferry_http_idle(c->http))
            continue;
        ferry_http_drain(c->http);
        ferry_pump_kick(&c->pump);
    }
}

static void linger_over(struct ferry_timer *timer)
{
    struct ferry_gate_thread *t = ferry_container(timer, struct ferry_gate_thread, linger);

    t->lingering = false;
    drain_conns(t, true);
}

void ferry_gate_thread_retire(struct ferry_gate_thread *t, unsigned linger_ms, void (*done)(void *),
                              void *arg)
{
    t->draining = t->lingering = true;
    t->drained = done;
    t->drained_arg = arg;
    ferry_list_each (at, next, &t->doors)
        ferry_listener_close(&ferry_container(at, struct ferry__door, link)->listener, true);
    drain_conns(t, false);
    ferry_timer_set(t->loop, &t->linger, ferry_loop_now(t->loop) + linger_ms);
    maybe_drained(t);
}

void ferry_gate_thread_drain(struct ferry_gate_thread *t, void (*done)(void *), void *arg)
{
    ferry_gate_thread_retire(t, 0, done, arg);
    ferry_timer_stop(&t->linger);
    linger_over(&t->linger);
}

void ferry_gate_thread_cut(struct ferry_gate_thread *t)
{
    ferry_list_each (at, next, &t->conns) {
        struct ferry__gate_conn *c = ferry_container(at, struct ferry__gate_conn, link);
        bool unfinished = c->x || ferry_http_machine.output(c->http)->len > 0;

        if (c->x && !c->x->end)
            c->x->end = FERRY_ACCESS_SHUTDOWN;
        conn_close(c, unfinished);
    }
}

/* -- threads
 * ---------------------------------------------------------------------------------------------------
 */

struct ferry_gate_thread *ferry_gate_thread_new(struct ferry_gate *g, unsigned index,
                                                struct ferry_loop *loop)
{
    struct ferry_gate_thread *t = calloc(1, sizeof *t);

    if (!t)
        return NULL;
    t->gate = g;
    t->loop = loop;
    ferry_list_init(&t->doors);
    ferry_list_init(&t->conns);
    ferry_timer_init(&t->access_timer, flush_access);
    ferry_timer_init(&t->linger, linger_over);
    t->http_opts = (struct ferry_http_opts){
        .blocks = ferry_loop_blocks(loop),
        .head_max = g->opts.head_max,
        .target_max = g->opts.head_max > 65536 ? g->opts.head_max : 0,
        .body_max = g->opts.body_max,
    };
    if (g->opts.dir) {
        if (ferry_docroot_open(&t->docroot, g->opts.dir) < 0)
            goto fail;
        t->has_docroot = true;
    }
    if (g->opts.pool) {
        t->pool = ferry_pool_join(g->opts.pool, index, loop);
        if (!t->pool)
            goto fail;
    }
    if (g->opts.access_log)
        ferry_access_buf_init(&t->access, g->opts.access_log);
    return t;
fail:
    ferry_gate_thread_free(t);
    return NULL;
}

void ferry_gate_thread_free(struct ferry_gate_thread *t)
{
    if (!t)
        return;
    while (t->spare) {
        struct ferry__exchange *x = t->spare;

        t->spare = x->next;
        free(x);
    }
    ferry_timer_stop(&t->access_timer);
    ferry_timer_stop(&t->linger);
    ferry_pool_local_free(t->pool);
    if (t->has_docroot)
        ferry_docroot_close(&t->docroot);
    free(t->path_mem);
    free(t);
}

int ferry_gate_new(const struct ferry_gate_opts *opts, struct ferry_gate **out)
{
    struct ferry_gate *g = calloc(1, sizeof *g);
    struct ferry_docroot probe;
    int err = -ENOMEM;

    if (!g)
        return err;
    g->opts = *opts;
    if (!g->opts.index)
        g->opts.index = "index.php";
    if (opts->dir) {
        err = ferry_docroot_open(&probe, opts->dir);
        if (err < 0)
            goto fail;
        ferry_docroot_close(&probe);
    }
    *out = g;
    return 0;
fail:
    ferry_gate_free(g);
    return err;
}

void ferry_gate_free(struct ferry_gate *g)
{
    free(g);
}
