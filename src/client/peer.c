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

/* So soon behind an answer a close is no idle timeout of the application's. */
#define RECYCLE_MS 50

static struct ferry__peer *peer_of(struct ferry_pump *pump)
{
    return ferry_container(pump, struct ferry__peer, pump);
}

static bool may_repeat(const struct ferry__peer *p, const struct ferry_call *call)
{
    /* Only a kept connection can have been stale; a new one that fails has met the application
     * itself. */
    bool stale = (p->answers > 0 || p->ahead) && !call->answered && call->attempts < 3;
    /* What is being sent may have left already. */
    bool unseen = p->sent_total <= call->sent_mark && !ferry_stream_is_sending(&p->pump.stream);

    return stale && call->replayable && (call->idempotent || unseen) &&
           ferry__pool_now(p->local) < call->deadline_ms;
}

static void body_over(struct ferry_call *call)
{
    if (call->writing)
        call->peer->writing--;
    call->writing = false;
}

/* Not before the connection stands: a body that can't be written twice must not meet a full
 * backlog.
 */
static void started(struct ferry_call *call)
{
    call->running = true;
    if (call->timed)
        ferry__call_moved(call);
    if (call->fns->started)
        call->fns->started(call);
}

static void leave(struct ferry_call *call)
{
    call->running = false;
    if (call->held)
        ferry_call_hold(call, false);
    body_over(call);
    ferry_list_remove(&call->link);
    ferry__count(call->local, running, -1);
    call->peer->ncalls--;
    call->peer = NULL;
}

static void fail_calls(struct ferry__peer *p, enum ferry_call_outcome outcome, int err,
                       const char *text)
{
    /* From the youngest: the queue then finds the place of each in front. */
    while (!ferry_list_empty(&p->calls)) {
        struct ferry_call *call = ferry_container(p->calls.prev, struct ferry_call, link);
        bool again = outcome == FERRY_CALL_CUT && may_repeat(p, call);

        leave(call);
        if (again)
            ferry__queue_again(call, FERRY__STALE);
        else
            ferry__call_done(call, outcome, err, 0, text);
    }
}

static void fail(struct ferry__peer *p, int err, const char *text)
{
    if (p->answers > 0 && !p->shared)
        atomic_store(&p->local->pool->recycles, true);
    ferry__peer_close(p); /* first: nobody may be put on it again */
    fail_calls(p, FERRY_CALL_CUT, err, text);
}

/* Nothing of the request that is over is still on its way, in either direction: what the next one
 * reads is its own answer. */
static bool is_clean(const struct ferry__peer *p, bool whole_body)
{
    return whole_body && ferry_conn_output(p->conn)->len == 0 && p->pump.in.len == 0;
}

static void request_over(struct ferry__peer *p, bool whole_body)
{
    bool unused = ferry_list_empty(&p->calls);

    p->answers++;
    if (p->closing)
        return;
    if (p->shared && unused && (p->retired || p->local->closing))
        ferry__peer_close(p);
    else if (p->shared)
        ferry__queue_serve(p->local);
    else if (p->keep && is_clean(p, whole_body))
        ferry__pool_peer_idle(p);
    else
        ferry__peer_close(p);
}

static void completed(struct ferry__peer *p, struct ferry_call *call, uint32_t app_status)
{
    p->local->overloaded.ms = 0;
    ferry__call_done(call, FERRY_CALL_DONE, 0, app_status, "");
}

/* The application has refused the request; it may be willing another time, or otherwise. */
static void refused(struct ferry__peer *p, struct ferry_call *call,
                    const struct ferry_end_body *end)
{
    bool again = !call->answered && call->replayable;

    if (end->protocol_status == FERRY_UNKNOWN_ROLE) {
        ferry__call_done(call, FERRY_CALL_BAD_ROLE, FERRY_EREMOTE, end->app_status,
                         "the application does not play this role");
    } else if (end->protocol_status == FERRY_OVERLOADED && again && !call->once) {
        ferry__queue_again(call, FERRY__OVERLOADED);
    } else if (end->protocol_status == FERRY_OVERLOADED) {
        ferry__call_done(call, FERRY_CALL_OVERLOADED, FERRY_EREMOTE, end->app_status,
                         "the application is overloaded");
    } else if (end->protocol_status == FERRY_CANT_MPX_CONN && again && p->shared) {
        ferry__queue_again(call, FERRY__UNSHARED);
    } else {
        ferry__call_done(call, FERRY_CALL_CUT, FERRY_EREMOTE, end->app_status,
                         "the application refused the request");
    }
}

static void on_end(struct ferry__peer *p, struct ferry_call *call, const struct ferry_end_body *end)
{
    bool whole_body = !call || !call->writing;

    if (end->protocol_status == FERRY_CANT_MPX_CONN && p->shared) {
        ferry__probe_refuted(p->local);
        if (!p->retired)
            ferry__peer_retire(p);
    }
    if (call) { /* else it was aborted earlier */
        leave(call);
        if (end->protocol_status == FERRY_REQUEST_COMPLETE)
            completed(p, call, end->app_status);
        else
            refused(p, call, end);
    }
    request_over(p, whole_body);
}

static void answered(struct ferry_call *call)
{
    bool first = !call->answered;

    call->answered = true;
    if (!call->timed)
        return;
    if (first)
        ferry__call_moved(call);
    else
        call->moved_ms = ferry__pool_now(call->local);
}

static void on_event(struct ferry__peer *p, const struct ferry_conn_event *ev)
{
    struct ferry_call *call = ev->user;

    switch (ev->type) {
    case FERRY_CONN_STDOUT:
        if (call) {
            answered(call);
            call->fns->out(call, p->pump.in_block, ev->data);
        }
        break;
    case FERRY_CONN_STDERR:
        if (call) {
            answered(call);
            call->fns->errors(call, ev->data);
        }
        break;
    case FERRY_CONN_END:
        on_end(p, call, &ev->end);
        break;
    case FERRY_CONN_VALUES:
        ferry__probe_answered(p->local, &ev->values);
        ferry__peer_close(p);
        break;
    case FERRY_CONN_UNKNOWN_TYPE: /* of GET_VALUES: it says nothing of itself */
        ferry__probe_answered(p->local, &(struct ferry_conn_values){-1, -1, -1});
        ferry__peer_close(p);
        break;
    case FERRY_CONN_CUT:
        fail(p, FERRY_ECUT, "the application closed the connection before the end of the response");
        break;
    case FERRY_CONN_CLOSED:
        if (p->idle && ferry__pool_now(p->local) - p->since_ms <= RECYCLE_MS)
            atomic_store(&p->local->pool->recycles, true);
        ferry__peer_close(p);
        break;
    default: /* STDOUT_END tells nothing that END does not */
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

void ferry__peer_connect_failed(struct ferry__peer *p, int err)
{
    ferry__peer_close(p);
    if (err != -EAGAIN) {
        fail_calls(p, FERRY_CALL_REFUSED, err, "no connection to the application");
        return;
    }
    while (!ferry_list_empty(&p->calls)) {
        struct ferry_call *call = ferry_container(p->calls.prev, struct ferry_call, link);

        leave(call);
        call->attempts--;
        ferry__queue_again(call, FERRY__BACKLOG_FULL);
    }
}

static void on_connected(struct ferry_pump *pump, int err)
{
    struct ferry__peer *p = peer_of(pump);

    if (p->closing)
        return;
    if (err) {
        ferry__peer_connect_failed(p, err);
        return;
    }
    p->connected = true;
    p->local->backlog.ms = 0;
    ferry_list_remove(&p->connect_link);
    ferry_list_each (at, next, &p->calls)
        started(ferry_container(at, struct ferry_call, link));
    if (p->ahead && !p->closing)
        ferry__pool_peer_idle(p);
}

static void on_sent(struct ferry_pump *pump, size_t n)
{
    struct ferry__peer *p = peer_of(pump);

    p->sent_total += n;
    p->sent_ms = ferry__pool_now(p->local);
    if (p->writing == 0)
        return;
    ferry_list_each (at, next, &p->calls) {
        struct ferry_call *call = ferry_container(at, struct ferry_call, link);

        if (call->writing && call->fns->writable)
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

    ferry_list_remove(&p->link);
    ferry_conn_free(p->conn);
    ferry__pool_peer_lent(p, fd); /* the slot goes with it */
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

/* One shared connection a thread: what the application said it takes at once is divided among them.
 */
static uint16_t requests_of_one(const struct ferry_pool *pool)
{
    unsigned many = atomic_load(&pool->requests_max), sharers = ferry__pool_sharers(pool);

    many = many == FERRY__REQUESTS_UNSAID ? FERRY__REQUESTS_MAX : many / (sharers ? sharers : 1);
    if (many > SHARED_REQUESTS_MAX)
        many = SHARED_REQUESTS_MAX;
    return many ? (uint16_t)many : 1;
}

static struct ferry__peer *peer_new(struct ferry_pool_local *local, bool shared)
{
    struct ferry__peer *p = calloc(1, sizeof *p);
    struct ferry_conn_opts opts = {
        .side = FERRY_CONN_CLIENT,
        .blocks = ferry_loop_blocks(local->loop),
        .requests_max = 1,
    };

    if (!p)
        return NULL;
    if (shared)
        opts.requests_max = requests_of_one(local->pool);
    p->conn = ferry_conn_new(&opts);
    if (!p->conn) {
        free(p);
        return NULL;
    }
    p->local = local;
    p->shared = shared;
    p->requests_max = opts.requests_max;
    ferry_list_init(&p->link);
    ferry_list_init(&p->fresh_link);
    ferry_list_init(&p->connect_link);
    ferry_list_init(&p->calls);
    p->since_ms = p->born_ms = ferry_loop_now(local->loop);
    p->addr_age = atomic_load(&local->pool->addr_age);
    return p;
}

struct ferry__peer *ferry__peer_connect(struct ferry_pool_local *local, bool shared, int *err)
{
    struct ferry__peer *p = peer_new(local, shared);
    struct ferry_addr addr;

    if (!p) {
        *err = -ENOMEM;
        return NULL;
    }
    ferry__pool_addr(local->pool, &addr);
    *err = ferry_pump_connect(local->loop, &p->pump, &pump_fns, &ferry_conn_machine, p->conn,
                              &addr.any, addr.len);
    if (*err < 0) {
        ferry_conn_free(p->conn);
        free(p);
        return NULL;
    }
    ferry_stream_read_large(&p->pump.stream, true);
    ferry_pump_errors_last(&p->pump);
    ferry_list_push(shared ? &local->shared : &local->busy, &p->link);
    ferry__count(local, connects, 1);
    if (local->pool->opts.connect_ms)
        ferry__connect_timed(p);
    return p;
}

struct ferry__peer *ferry__peer_adopt(struct ferry_pool_local *local, int fd,
                                      const struct ferry__peer *was)
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
    ferry_pump_errors_last(&p->pump);
    p->connected = true;
    p->answers = 1; /* it was kept, so it can be stale */
    p->begun = was->begun;
    p->born_ms = was->born_ms;
    p->addr_age = was->addr_age;
    ferry_list_push(&local->busy, &p->link);
    return p;
}

/* Of an image that the connection has accepted: it begins with BEGIN_REQUEST. */
static bool is_filter(struct ferry_slice image)
{
    struct ferry_begin_body begin;

    ferry_begin_body_decode(image.p + FERRY_RECORD_HEADER_LEN, &begin);
    return begin.role == FERRY_FILTER;
}

/* Is the connection to be there for another request? A shared one always, as far as the application
 * is told; it is retired when it is worn. */
static bool keeps(const struct ferry__peer *p)
{
    const struct ferry_pool *pool = p->local->pool;
    unsigned max = pool->opts.requests_max;

    return p->shared || (atomic_load_explicit(&pool->starving, memory_order_relaxed) == 0 &&
                         !pool->opts.no_keep && !(max && p->begun + 1 >= max));
}

int ferry__peer_begin(struct ferry__peer *p, struct ferry_call *call)
{
    struct ferry_pool_local *local = p->local;
    bool keep = keeps(p);
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
    call->writing = call->fns->started;
    call->filter = is_filter(call->image_bytes);
    p->writing += call->writing;
    p->begun++;
    if (p->connected)
        ferry__count(local, reused, 1);
    ferry__count(local, running, 1);
    p->ncalls++;
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
    if (p->connected)
        started(call);
    return 0;
}

void ferry__peer_abort(struct ferry__peer *p, struct ferry_call *call)
{
    leave(call);
    if (!p->shared || (p->retired && ferry_list_empty(&p->calls))) {
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
    if (p->probe)
        ferry__probe_closed(p->local);
    if (!ferry_list_empty(&p->fresh_link))
        ferry__pool_peer_answered(p);
    ferry_list_remove(&p->connect_link);
    ferry__pool_peer_taken(p);
    ferry_pump_close(&p->pump);
}

void ferry__peer_retire(struct ferry__peer *p)
{
    p->retired = true;
    ferry_list_remove(&p->link);
    ferry_list_push(&p->local->busy, &p->link);
    if (ferry_list_empty(&p->calls))
        ferry__peer_close(p);
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

static int write_to(struct ferry_call *call, enum ferry_record_type stream, struct ferry_block *b,
                    struct ferry_slice bytes)
{
    int r;

    if (!call->running)
        return FERRY_EUSAGE;
    r = ferry_conn_write(call->peer->conn, call->id, stream, b, bytes);
    ferry_pump_kick(&call->peer->pump);
    return r;
}

static int end_stream(struct ferry_call *call, enum ferry_record_type stream, bool last)
{
    int r;

    if (!call->running)
        return FERRY_EUSAGE;
    r = ferry_conn_write_end(call->peer->conn, call->id, stream);
    if (last && r == 0)
        body_over(call);
    if (last && call->timed)
        ferry__call_moved(call);
    ferry_pump_kick(&call->peer->pump);
    return r;
}

int ferry_call_write(struct ferry_call *call, struct ferry_block *b, struct ferry_slice bytes)
{
    return write_to(call, FERRY_STDIN, b, bytes);
}

int ferry_call_write_end(struct ferry_call *call)
{
    return end_stream(call, FERRY_STDIN, !call->filter);
}

int ferry_call_write_data(struct ferry_call *call, struct ferry_block *b, struct ferry_slice bytes)
{
    return write_to(call, FERRY_DATA, b, bytes);
}

int ferry_call_write_data_end(struct ferry_call *call)
{
    return end_stream(call, FERRY_DATA, true);
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
        if (call->timed)
            call->moved_ms = ferry__pool_now(call->local);
        ferry_pump_hold(&call->peer->pump, on);
    }
    return true;
}
