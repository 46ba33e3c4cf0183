/* SPDX-License-Identifier: MIT */
/*
 * One connection to an application: connecting, its requests, what the machine says of them, and
 * its end. A connection that serves one request at a time goes back to the pool when that is over;
 * a shared one takes many.
 *
 * Requests leave a peer in three ways: answered (END), failed with it, or given back to the queue
 * because the failure says nothing about the request (a stale kept connection, a full backlog, a
 * refusal to multiplex).
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"
#include "client/internal.h"

#define SHARED_REQUESTS_MAX 1024

static struct ferry__peer *peer_of(struct ferry_pump *pump)
{
    return ferry_container(pump, struct ferry__peer, pump);
}

static bool may_repeat(const struct ferry__peer *p, const struct ferry_call *call)
{
    /* Only a kept connection can have been stale; a new one that fails has met the application
     * itself. */
    bool stale = p->answers > 0 && !call->answered && call->attempts < 3;
    bool unseen = p->sent_total <= call->sent_mark;

    return stale && call->replayable && (call->idempotent || unseen);
}

static void leave(struct ferry_call *call)
{
    if (call->held)
        ferry_call_hold(call, false);
    ferry_list_remove(&call->link);
    call->peer = NULL;
}

static void fail_calls(struct ferry__peer *p, enum ferry_call_outcome outcome, int err,
                       const char *text)
{
    struct ferry_list *l;

    while ((l = ferry_list_first(&p->calls))) {
        struct ferry_call *call = ferry_container(l, struct ferry_call, link);
        bool again = outcome == FERRY_CALL_CUT && may_repeat(p, call);

        leave(call);
        if (again) {
            call->wants_fresh = true;
            ferry__pool_requeue(call, false);
        } else {
            ferry__call_done(call, outcome, err, 0, text);
        }
    }
}

static void fail(struct ferry__peer *p, int err, const char *text)
{
    ferry__peer_close(p); /* first: nobody may be put on it again */
    fail_calls(p, FERRY_CALL_CUT, err, text);
}

static void request_over(struct ferry__peer *p)
{
    p->answers++;
    if (p->closing)
        return;
    if (!p->keep || (p->local->closing && ferry_list_empty(&p->calls)))
        ferry__peer_close(p);
    else if (p->shared)
        ferry__pool_serve(p->local);
    else
        ferry__pool_peer_idle(p);
}

static void on_end(struct ferry__peer *p, struct ferry_call *call, const struct ferry_end_body *end)
{
    if (!call) { /* aborted earlier */
        request_over(p);
        return;
    }
    leave(call);
    if (end->protocol_status == FERRY_CANT_MPX_CONN) {
        atomic_store(&p->local->pool->multiplexing, FERRY__MPX_NO);
        call->attempts--;
        ferry__pool_requeue(call, false);
    } else if (end->protocol_status == FERRY_OVERLOADED && !call->answered && call->replayable) {
        call->attempts--;
        ferry__pool_requeue(call, true);
    } else if (end->protocol_status == FERRY_OVERLOADED) {
        ferry__call_done(call, FERRY_CALL_OVERLOADED, FERRY_EREMOTE, end->app_status,
                         "the application is overloaded");
    } else if (end->protocol_status == FERRY_UNKNOWN_ROLE) {
        ferry__call_done(call, FERRY_CALL_BAD_ROLE, FERRY_EREMOTE, end->app_status,
                         "the application does not play this role");
    } else {
        ferry__call_done(call, FERRY_CALL_DONE, 0, end->app_status, "");
    }
    request_over(p);
}

static void on_event(struct ferry__peer *p, const struct ferry_conn_event *ev)
{
    struct ferry_call *call = ev->user;

    switch (ev->type) {
    case FERRY_CONN_STDOUT:
        if (call) {
            call->answered = true;
            call->fns->out(call, p->pump.in_block, ev->data);
        }
        break;
    case FERRY_CONN_STDERR:
        if (call) {
            call->answered = true;
            call->fns->errors(call, ev->data);
        }
        break;
    case FERRY_CONN_END:
        on_end(p, call, &ev->end);
        break;
    case FERRY_CONN_VALUES:
        ferry__pool_values(p->local, &ev->values);
        ferry__peer_close(p);
        break;
    case FERRY_CONN_CUT:
        fail(p, FERRY_ECUT, "the application closed the connection before the end of the response");
        break;
    case FERRY_CONN_CLOSED:
        ferry__peer_close(p);
        break;
    default: /* STDOUT_END tells nothing that END does not; UNKNOWN_TYPE answers nothing of ours */
        break;
    }
}

static void on_ready(struct ferry_pump *pump)
{
    struct ferry__peer *p = peer_of(pump);
    struct ferry_conn_event ev;
    int r;

    while (!p->closing && (r = ferry_conn_event(p->conn, &ev)) != 0) {
        if (r < 0) {
            fail(p, r, ferry_conn_error_text(p->conn));
            return;
        }
        if (!ferry_list_empty(&p->fresh_link) && ev.type != FERRY_CONN_CUT)
            ferry__pool_peer_answered(p);
        on_event(p, &ev);
    }
}

static void on_failed(struct ferry_pump *pump, int err)
{
    fail(peer_of(pump), err, "the connection to the application failed");
}

static void on_finished(struct ferry_pump *pump)
{
    struct ferry__peer *p = peer_of(pump);

    if (!p->closing)
        fail(p, FERRY_ECLOSED, "the application closed the connection");
}

static void on_connected(struct ferry_pump *pump, int err)
{
    struct ferry__peer *p = peer_of(pump);
    struct ferry_list *l;

    if (p->closing)
        return;
    if (!err) {
        p->connected = true;
        p->local->backoff_ms = 0;
        return;
    }
    ferry__peer_close(p);
    if (err != -EAGAIN) {
        fail_calls(p, FERRY_CALL_REFUSED, err, "no connection to the application");
        return;
    }
    while ((l = ferry_list_first(&p->calls))) {
        struct ferry_call *call = ferry_container(l, struct ferry_call, link);

        leave(call);
        call->attempts--;
        ferry__pool_requeue(call, true);
    }
}

static void on_sent(struct ferry_pump *pump, size_t n)
{
    struct ferry__peer *p = peer_of(pump);
    struct ferry_list *l = ferry_list_first(&p->calls);

    p->sent_total += n;
    if (l && !p->shared) {
        struct ferry_call *call = ferry_container(l, struct ferry_call, link);

        if (call->fns->writable)
            call->fns->writable(call);
    }
}

static void peer_free(struct ferry__peer *p)
{
    struct ferry_pool_local *local = p->local;

    ferry_list_remove(&p->link);
    ferry_conn_free(p->conn);
    free(p);
    ferry__pool_peer_gone(local);
}

static void on_closed(struct ferry_pump *pump)
{
    peer_free(peer_of(pump));
}

static void on_detached(struct ferry_pump *pump, int fd)
{
    struct ferry__peer *p = peer_of(pump);

    if (fd < 0) {
        peer_free(p);
        return;
    }
    ferry_list_remove(&p->link);
    ferry_conn_free(p->conn);
    ferry__pool_peer_lent(p, fd); /* the slot goes with the descriptor */
}

static const struct ferry_pump_fns pump_fns = {
    .ready = on_ready,
    .failed = on_failed,
    .finished = on_finished,
    .connected = on_connected,
    .sent = on_sent,
    .closed = on_closed,
    .detached = on_detached,
};

static struct ferry__peer *peer_new(struct ferry_pool_local *local, bool shared)
{
    struct ferry__peer *p = calloc(1, sizeof *p);
    unsigned many = atomic_load_explicit(&local->pool->requests_max, memory_order_relaxed);
    struct ferry_conn_opts opts = {
        .side = FERRY_CONN_CLIENT,
        .blocks = ferry_loop_blocks(local->loop),
        .requests_max = (uint16_t)(!shared                      ? 1
                                   : many < SHARED_REQUESTS_MAX ? many
                                                                : SHARED_REQUESTS_MAX),
    };

    if (!p)
        return NULL;
    p->conn = ferry_conn_new(&opts);
    if (!p->conn) {
        free(p);
        return NULL;
    }
    p->local = local;
    p->shared = shared;
    ferry_list_init(&p->link);
    ferry_list_init(&p->fresh_link);
    ferry_list_init(&p->calls);
    p->since_ms = ferry_loop_now(local->loop);
    return p;
}

struct ferry__peer *ferry__peer_connect(struct ferry_pool_local *local, bool shared, bool probe,
                                        int *err)
{
    const struct ferry_addr *addr = &local->pool->opts.addr;
    struct ferry__peer *p = peer_new(local, shared);

    if (!p) {
        *err = -ENOMEM;
        return NULL;
    }
    *err = ferry_pump_connect(local->loop, &p->pump, &pump_fns, &ferry_conn_machine, p->conn,
                              &addr->any, addr->len);
    if (*err < 0) {
        ferry_conn_free(p->conn);
        free(p);
        return NULL;
    }
    ferry_stream_read_large(&p->pump.stream, true);
    p->probe = probe;
    ferry_list_push(shared ? &local->shared : &local->busy, &p->link);
    return p;
}

struct ferry__peer *ferry__peer_adopt(struct ferry_pool_local *local, int fd)
{
    struct ferry__peer *p = peer_new(local, false);

    if (!p) {
        close(fd);
        return NULL;
    }
    if (ferry_pump_open(local->loop, &p->pump, &pump_fns, &ferry_conn_machine, p->conn, fd) < 0) {
        ferry_conn_free(p->conn);
        free(p);
        return NULL;
    }
    ferry_stream_read_large(&p->pump.stream, true);
    p->connected = true;
    p->answers = 1; /* it was kept, so it can be stale */
    ferry_list_push(&local->busy, &p->link);
    return p;
}

int ferry__peer_begin(struct ferry__peer *p, struct ferry_call *call)
{
    struct ferry_pool_local *local = p->local;
    bool keep =
        p->shared || atomic_load_explicit(&local->pool->starving, memory_order_relaxed) == 0;
    uint64_t mark = p->sent_total + ferry_conn_output(p->conn)->len;
    int id = ferry_conn_begin_image(p->conn, call->image, call->image_bytes, keep, call);

    if (id < 0)
        return id;
    p->keep = keep;
    call->id = (uint16_t)id;
    call->peer = p;
    call->local = local;
    call->sent_mark = mark;
    call->attempts++;
    ferry_list_push(&p->calls, &call->link);
    if (p->answers == 0 && !p->shared && ferry_list_empty(&p->fresh_link)) {
        p->since_ms = ferry_loop_now(local->loop);
        if (ferry_list_empty(&local->fresh))
            ferry_timer_set(local->loop, &local->fresh_timer,
                            p->since_ms + local->pool->opts.starve_ms);
        ferry_list_push(&local->fresh, &p->fresh_link);
    }
    if (p->idle)
        ferry__pool_peer_taken(p);
    ferry_pump_kick(&p->pump);
    if (call->fns->started)
        call->fns->started(call);
    return 0;
}

void ferry__peer_abort(struct ferry__peer *p, struct ferry_call *call)
{
    leave(call);
    if (!p->shared) {
        /* Most applications do not know ABORT_REQUEST without multiplexing; a close they all see
         * (section 5.4). */
        ferry__peer_close(p);
        return;
    }
    ferry_conn_set_user(p->conn, call->id, NULL);
    ferry_conn_abort(p->conn, call->id);
    ferry_pump_kick(&p->pump);
}

void ferry__peer_close(struct ferry__peer *p)
{
    if (p->closing)
        return;
    p->closing = true;
    if (!ferry_list_empty(&p->fresh_link))
        ferry__pool_peer_answered(p);
    ferry__pool_peer_taken(p);
    ferry_pump_close(&p->pump);
}

void ferry__peer_lend(struct ferry__peer *p, unsigned to)
{
    p->closing = true;
    p->lend_to = to;
    ferry__pool_peer_taken(p);
    ferry_pump_detach(&p->pump);
}

/* -- the call's own side
 * --------------------------------------------------------------------------------------- */

int ferry_call_write(struct ferry_call *call, struct ferry_block *b, struct ferry_slice bytes)
{
    int r;

    if (!call->peer)
        return FERRY_EUSAGE;
    r = ferry_conn_write(call->peer->conn, call->id, FERRY_STDIN, b, bytes);
    ferry_pump_kick(&call->peer->pump);
    return r;
}

int ferry_call_write_end(struct ferry_call *call)
{
    int r;

    if (!call->peer)
        return FERRY_EUSAGE;
    r = ferry_conn_write_end(call->peer->conn, call->id, FERRY_STDIN);
    ferry_pump_kick(&call->peer->pump);
    return r;
}

uint64_t ferry_call_unsent(const struct ferry_call *call)
{
    return call->peer ? ferry_conn_output(call->peer->conn)->len : 0;
}

bool ferry_call_hold(struct ferry_call *call, bool on)
{
    if (!call->peer || call->peer->shared)
        return false;
    if (call->held != on) {
        call->held = on;
        ferry_pump_hold(&call->peer->pump, on);
    }
    return true;
}
