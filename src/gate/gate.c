/* SPDX-License-Identifier: MIT */
/*
 * The gate's threads and connections. A connection is a pump, an http machine and at most one
 * exchange; between requests it holds no other memory.
 */
#include "gate/gate.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "files/date.h"
#include "gate/internal.h"
#include "io/addr.h"

#define ACCESS_AGAIN_MS 1000

struct ferry__door {
    struct ferry_listener listener;
    uint8_t number;
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

static const char *name_of(const struct ferry_access_log *log)
{
    return log->path ? log->path : "on stderr";
}

static void tell_news(struct ferry_gate_thread *t, struct ferry_access_buf *b)
{
    uint64_t lost = 0;

    switch (ferry_access_buf_news(b, ferry_loop_now(t->loop), &lost)) {
    case FERRY_ACCESS_LOSING:
        ferry__gate_log(t, FERRY_GATE_ERROR, "lines of the access log %s are lost: %s",
                        name_of(b->log), ferry_strerror(b->err));
        break;
    case FERRY_ACCESS_RESUMED:
        ferry__gate_log(t, FERRY_GATE_ERROR,
                        "lines of the access log %s are written again: %" PRIu64 " were lost",
                        name_of(b->log), lost);
        break;
    case FERRY_ACCESS_NO_NEWS:
        break;
    }
}

/* What cannot be written now (a full pipe) is tried again: with the next lines, or when no line
 * comes a while later. */
static void flush_access(struct ferry_timer *timer)
{
    struct ferry_gate_thread *t = ferry_container(timer, struct ferry_gate_thread, access_timer);
    uint64_t now = ferry_loop_now(t->loop);

    for (unsigned i = 0; i < t->gate->nlogs; i++) {
        struct ferry_access_buf *b = &t->access[i];

        if (b->len || b->log->losing_ms)
            ferry_access_buf_flush(b, now);
        tell_news(t, b);
        if ((b->len || b->log->losing_ms) && now + ACCESS_AGAIN_MS < timer->at_ms)
            ferry_timer_set(t->loop, timer, now + ACCESS_AGAIN_MS);
    }
}

static void end_access(struct ferry_gate_thread *t)
{
    for (unsigned i = 0; i < t->gate->nlogs; i++) {
        struct ferry_access_buf *b = &t->access[i];
        uint64_t lost = ferry_access_buf_end(b, ferry_loop_now(t->loop));

        if (lost)
            ferry__gate_log(t, FERRY_GATE_ERROR,
                            "at the end %" PRIu64 " lines of the access log %s were lost: %s", lost,
                            name_of(b->log), ferry_strerror(b->err));
    }
}

void ferry__gate_accessed(struct ferry_gate_thread *t, struct ferry_access_buf *b)
{
    tell_news(t, b);
    if (b->len && ferry_access_buf_due(b) < t->access_timer.at_ms)
        ferry_timer_set(t->loop, &t->access_timer, ferry_access_buf_due(b));
}

struct ferry_access_buf *ferry__gate_access(struct ferry_gate_thread *t,
                                            const struct ferry_gate_site *site)
{
    for (unsigned i = 0; site && i < t->gate->nlogs; i++)
        if (t->gate->logs[i] == site->access_log)
            return &t->access[i];
    return NULL;
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
    ferry_timer_stop(&t->access_timer);
    end_access(t);
    ferry_session_thread_close(&t->session, drained, t->drained_arg);
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

static struct ferry__gate_conn *conn_open(struct ferry__door *door, int fd)
{
    struct ferry_gate_thread *t = door->thread;
    struct ferry__gate_conn *c = calloc(1, sizeof *c);

    if (c)
        c->http = ferry_http_new(&t->http_opts, ferry_loop_now(t->loop));
    if (!c || !c->http) {
        free(c);
        close(fd);
        return NULL;
    }
    c->thread = t;
    c->listener = door->number;
    if (ferry_pump_open(t->loop, &c->pump, &pump_fns, &ferry_http_machine, c->http, fd) < 0) {
        ferry_http_free(c->http);
        free(c);
        return NULL;
    }
    ferry_list_push(&t->conns, &c->link);
    return c;
}

static void on_accepted(struct ferry_listener *listener, int fd)
{
    conn_open(ferry_container(listener, struct ferry__door, listener), fd);
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

int ferry_gate_listen(struct ferry_gate_thread *t, int fd, unsigned listener)
{
    struct ferry__door *door = calloc(1, sizeof *door);
    int err;

    if (!door)
        return -ENOMEM;
    door->thread = t;
    door->number = (uint8_t)listener;
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
    ferry_list_each (at, next, &t->doors) {
        struct ferry__door *door = ferry_container(at, struct ferry__door, link);

        door->listener.takes_rest = linger_ms > 0;
        ferry_listener_close(&door->listener, true);
    }
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

static int join_chains(struct ferry_gate_thread *t)
{
    const struct ferry_gate_opts *o = &t->gate->opts;
    int err = 0;

    t->chains = calloc(o->nsites ? o->nsites : 1, sizeof *t->chains);
    if (!t->chains)
        return -ENOMEM;
    for (unsigned i = 0; err == 0 && i < o->nsites; i++) {
        const struct ferry_gate_site *site = &o->sites[i];

        t->chains[i] = calloc(site->nroutes ? site->nroutes : 1, sizeof **t->chains);
        if (!t->chains[i])
            return -ENOMEM;
        for (unsigned r = 0; err == 0 && r < site->nroutes; r++)
            err = ferry_filters_join(site->routes[r].filters, &t->session, &t->chains[i][r]);
    }
    return err;
}

static void leave_chains(struct ferry_gate_thread *t)
{
    const struct ferry_gate_opts *o = &t->gate->opts;

    for (unsigned i = 0; t->chains && i < o->nsites && t->chains[i]; i++) {
        for (unsigned r = 0; r < o->sites[i].nroutes; r++)
            ferry_filters_leave(t->chains[i][r]);
        free(t->chains[i]);
    }
    free(t->chains);
}

int ferry_gate_thread_new(struct ferry_gate *g, unsigned index, struct ferry_loop *loop,
                          struct ferry_gate_thread **out)
{
    struct ferry_gate_thread *t = calloc(1, sizeof *t);
    int err;

    if (!t)
        return -ENOMEM;
    t->gate = g;
    t->loop = loop;
    ferry_list_init(&t->doors);
    ferry_list_init(&t->conns);
    ferry_timer_init(&t->access_timer, flush_access);
    ferry_timer_init(&t->linger, linger_over);
    ferry_session_thread_init(&t->session, loop, index, g->opts.mime);
    t->http_opts = (struct ferry_http_opts){
        .blocks = ferry_loop_blocks(loop),
        .head_max = g->opts.head_max,
        .target_max = g->opts.head_max > 65536 ? g->opts.head_max : 0,
        .body_max = g->opts.body_max,
    };
    t->access = calloc(g->nlogs ? g->nlogs : 1, sizeof *t->access);
    err = t->access ? join_chains(t) : -ENOMEM;
    if (err < 0) {
        ferry_gate_thread_free(t);
        return err;
    }
    for (unsigned i = 0; i < g->nlogs; i++)
        ferry_access_buf_init(&t->access[i], g->logs[i]);
    *out = t;
    return 0;
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
    leave_chains(t);
    ferry_session_thread_fini(&t->session);
    free(t->access);
    free(t->path_mem);
    free(t);
}

/* -- what they share
 * ---------------------------------------------------------------------------------------------------
 */

static bool has_log(const struct ferry_gate *g, const struct ferry_access_log *log)
{
    for (unsigned i = 0; i < g->nlogs; i++)
        if (g->logs[i] == log)
            return true;
    return false;
}

int ferry_gate_new(const struct ferry_gate_opts *opts, struct ferry_gate **out)
{
    struct ferry_gate *g = calloc(1, sizeof *g);

    if (!g)
        return -ENOMEM;
    g->opts = *opts;
    g->logs = calloc(opts->nsites ? opts->nsites : 1, sizeof *g->logs);
    if (!g->logs || ferry__gate_pages_new(g) < 0 ||
        ferry_gate_sites_new(opts->sites, opts->nsites, &g->sites) < 0) {
        ferry_gate_free(g);
        return -ENOMEM;
    }
    for (unsigned i = 0; i < opts->nsites; i++)
        if (opts->sites[i].access_log && !has_log(g, opts->sites[i].access_log))
            g->logs[g->nlogs++] = opts->sites[i].access_log;
    *out = g;
    return 0;
}

void ferry_gate_free(struct ferry_gate *g)
{
    if (!g)
        return;
    ferry_gate_sites_free(g->sites);
    free(g->logs);
    free(g->pages);
    free(g);
}
