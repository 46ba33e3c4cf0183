/* SPDX-License-Identifier: MIT */
/*
 * Calls that wait. Each thread's queue is sorted by when its calls came, whatever way they came
 * back to it. Calls are put on connections at the end of a turn, after everything the turn has
 * brought was looked at: so nothing is told from within the owner's own call, a connection that
 * fails in this turn gets no new call, and many that are freed at once are given out in order.
 */
#include <errno.h>

#include "client/internal.h"

#define BACKOFF_MIN_MS 5
#define BACKOFF_MAX_MS 100

static struct ferry_call *first_of(const struct ferry_list *list)
{
    return ferry__first(list, struct ferry_call);
}

/* -- the list -- */

static uint64_t ticket_of(const struct ferry_list *link)
{
    return ferry_container(link, const struct ferry_call, link)->ticket;
}

static void push(struct ferry_pool_local *l, struct ferry_call *call)
{
    struct ferry_list *at = l->waiting.prev;

    /* Either it is the youngest, or it comes back and is among the oldest. */
    if (at != &l->waiting && ticket_of(at) > call->ticket) {
        for (at = l->waiting.next; ticket_of(at) < call->ticket;)
            at = at->next;
        at = at->prev;
    }
    ferry_list_push_front(at, &call->link); /* behind it */
    call->peer = NULL;
    /* First, for who sees that one waits looks for whose it is. */
    if (l->waiting.next == &call->link)
        atomic_store(&l->oldest_ms, call->queued_ms);
    atomic_fetch_add(&l->pool->waiting, 1);
    ferry__queue_serve(l);
}

static void changed(struct ferry_pool_local *l)
{
    const struct ferry_call *first = first_of(&l->waiting);
    uint64_t now = ferry__pool_now(l), at = FERRY_NEVER;

    atomic_store(&l->oldest_ms, first ? first->queued_ms : FERRY_NEVER);
    if (first) {
        at = first->deadline_ms;
        if (l->backlog.until_ms > now && l->backlog.until_ms < at)
            at = l->backlog.until_ms;
        if (l->overloaded.until_ms > now && l->overloaded.until_ms < at)
            at = l->overloaded.until_ms;
    }
    ferry_timer_set(l->loop, &l->queue_timer, at);
}

bool ferry__queue_empty(const struct ferry_pool_local *l)
{
    return ferry_list_empty(&l->waiting) && ferry_list_empty(&l->refused);
}

void ferry__queue_serve(struct ferry_pool_local *l)
{
    ferry_task_defer(l->loop, &l->serve);
}

/* -- the end of a call -- */

static void release(struct ferry_call *call)
{
    if (call->timed)
        ferry_timer_stop(&call->timer);
    ferry_block_unref(call->image);
    call->image = NULL;
    call->local = NULL;
}

static void count_failure(const struct ferry_call *call, enum ferry_call_outcome outcome, int err)
{
    ferry__count(call->local, failed, 1);
    if (outcome == FERRY_CALL_TIMEOUT || outcome == FERRY_CALL_SLOW || err == -ETIMEDOUT)
        ferry__count(call->local, timeouts, 1);
    if (outcome == FERRY_CALL_OVERLOADED && err == FERRY_ELIMIT)
        ferry__count(call->local, full, 1);
}

void ferry__call_done(struct ferry_call *call, enum ferry_call_outcome outcome, int err,
                      uint32_t app_status, const char *text)
{
    struct ferry_call_result result = {
        .outcome = outcome, .err = err, .app_status = app_status, .text = text};

    if (call->local->pool->opts.fails_max)
        ferry__health_ended(call, outcome, err);
    if (outcome == FERRY_CALL_REFUSED && call->client && ferry__call_elsewhere(call))
        return;
    ferry__count(call->local, requests, 1);
    if (outcome != FERRY_CALL_DONE)
        count_failure(call, outcome, err);
    release(call);
    call->fns->done(call, &result);
}

static void expire(struct ferry_call *call)
{
    if (call->overloaded)
        ferry__call_done(call, FERRY_CALL_OVERLOADED, FERRY_EREMOTE, 0,
                         "the application is overloaded");
    else
        ferry__call_done(call, FERRY_CALL_TIMEOUT, -ETIMEDOUT, 0,
                         "no connection to the application became free in time");
}

/* -- placing a call -- */

static void back_off(struct ferry__backoff *b, uint64_t now)
{
    if (now < b->until_ms)
        return; /* others were refused at the same time */
    b->ms = b->ms ? b->ms * 2 : BACKOFF_MIN_MS;
    if (b->ms > BACKOFF_MAX_MS)
        b->ms = BACKOFF_MAX_MS;
    b->until_ms = now + b->ms;
}

/* No descriptor is left, or no memory of the kernel's: that may pass. */
static bool is_shortage(int err)
{
    return err == -EMFILE || err == -ENFILE || err == -ENOBUFS;
}

static int open_for(struct ferry_pool_local *l, struct ferry_call *call, bool shared)
{
    struct ferry__peer *p;
    int err;

    err = atomic_load_explicit(&l->pool->addr_err, memory_order_relaxed);
    if (err)
        return err;
    if (ferry__pool_now(l) < l->backlog.until_ms)
        return -EAGAIN;
    if (!ferry__pool_slot_take(l->pool)) {
        /* What is idle is of no use to this call; closed, it makes room. */
        if ((p = ferry__first(&l->idle, struct ferry__peer)))
            ferry__peer_close(p);
        return -EAGAIN;
    }
    p = ferry__peer_connect(l, shared, &err);
    if (!p) {
        ferry__pool_slot_give(l->pool);
        if (!is_shortage(err))
            return err;
        back_off(&l->backlog, ferry__pool_now(l));
        return -EAGAIN;
    }
    err = ferry__peer_begin(p, call);
    if (err < 0)
        ferry__peer_close(p);
    return err;
}

/* Applications may leave requests that were aborted unanswered: then their places are lost, and the
 * connection is given up before they are all of it. */
static int begin_shared(struct ferry__peer *p, struct ferry_call *call)
{
    int err;

    if (ferry__peer_is_worn(p)) {
        ferry__peer_retire(p);
        return open_for(p->local, call, true);
    }
    err = ferry__peer_begin(p, call);
    if (err == 0)
        return 0;
    if (err == FERRY_ELIMIT && p->ncalls <= p->requests_max / 2)
        ferry__peer_retire(p);
    return -EAGAIN;
}

/*
 * An application that ends its processes after so many requests (pm.max_requests) closes kept
 * connections just behind an answer, so a request may meet the close on its way. One that may not
 * be repeated then goes to a fresh connection.
 */
static bool wants_fresh(const struct ferry_pool_local *l, const struct ferry_call *call)
{
    return call->wants_fresh ||
           (!call->idempotent && atomic_load_explicit(&l->pool->recycles, memory_order_relaxed));
}

/* 0 when it is on a connection; -EAGAIN when there is no room; another error when it can never be.
 */
static int place(struct ferry_pool_local *l, struct ferry_call *call)
{
    struct ferry__peer *p;

    if (!call->exclusive && ferry__pool_shares(l->pool)) {
        /* One shared connection a thread: what the application said it takes at once is divided
         * among them. */
        p = ferry__first(&l->shared, struct ferry__peer);
        return p ? begin_shared(p, call) : open_for(l, call, true);
    }
    while (!wants_fresh(l, call) && (p = ferry__first(&l->idle, struct ferry__peer))) {
        if (!ferry__peer_is_worn(p) && ferry__peer_begin(p, call) == 0)
            return 0;
        ferry__peer_close(p);
    }
    return open_for(l, call, false);
}

static void tell_refused(struct ferry_pool_local *l)
{
    struct ferry_call *call;

    while ((call = first_of(&l->refused))) {
        ferry_list_remove(&call->link);
        ferry__call_done(call, FERRY_CALL_OVERLOADED, FERRY_ELIMIT, 0,
                         "too many requests wait already");
    }
}

/* The call is out of the list while `place` looks at it; its thread's oldest_ms still stands for
 * it. */
static bool serve_first(struct ferry_pool_local *l, struct ferry_call *call)
{
    int err = -EAGAIN;

    ferry_list_remove(&call->link);
    if (call->deadline_ms <= ferry__pool_now(l)) {
        atomic_fetch_sub(&l->pool->waiting, 1);
        expire(call);
        return true;
    }
    if (ferry__pool_now(l) >= l->overloaded.until_ms)
        err = place(l, call);
    if (err == -EAGAIN) {
        ferry_list_push_front(&l->waiting, &call->link);
        return false;
    }
    atomic_fetch_sub(&l->pool->waiting, 1);
    if (err < 0)
        ferry__call_done(call, FERRY_CALL_REFUSED, err, 0, "no connection to the application");
    return true;
}

static bool has_room(const struct ferry_pool_local *l)
{
    const struct ferry_pool *pool = l->pool;

    return !ferry_list_empty(&l->idle) ||
           (atomic_load(&pool->connections) < pool->opts.connections_max &&
            atomic_load(&pool->addr_err) == 0 && ferry__pool_now(l) >= l->backlog.until_ms &&
            ferry__pool_now(l) >= l->overloaded.until_ms &&
            ferry__health_of(pool, ferry__pool_now(l)) == FERRY__WELL);
}

/* Takes over a call that waits for another address of the same client, and came earlier than those
 * that wait here. */
static void take_over(struct ferry_pool_local *l)
{
    struct ferry_call *best = first_of(&l->waiting), *own = best;

    if (!has_room(l))
        return;
    for (unsigned i = 0; i < l->group->n; i++) {
        struct ferry_pool_local *o = l->group->locals[i];
        struct ferry_call *call = o && o != l ? first_of(&o->waiting) : NULL;

        if (call && !call->keyed && (!best || call->ticket < best->ticket))
            best = call;
    }
    if (best == own)
        return;
    ferry_list_remove(&best->link);
    atomic_fetch_sub(&best->local->pool->waiting, 1);
    ferry__queue_serve(best->local); /* its timer */
    best->local = l;
    atomic_fetch_add(&l->pool->waiting, 1);
    ferry_list_push_front(&l->waiting, &best->link);
}

static struct ferry_call *next_of(struct ferry_pool_local *l)
{
    if (l->group && !l->closing)
        take_over(l);
    return first_of(&l->waiting);
}

static void serve(struct ferry_task *task)
{
    struct ferry_pool_local *l = ferry_container(task, struct ferry_pool_local, serve);
    struct ferry_call *call;

    tell_refused(l);
    while ((call = next_of(l)))
        if (!serve_first(l, call)) {
            ferry__pool_beg(l);
            break;
        }
    changed(l);
    ferry__pool_maybe_closed(l);
}

static void on_timer(struct ferry_timer *t)
{
    serve(&ferry_container(t, struct ferry_pool_local, queue_timer)->serve);
}

/* -- coming and going -- */

/* Out of the queue, without its turn. */
static void drop(struct ferry_call *call)
{
    ferry_list_remove(&call->link);
    if (!call->past_end)
        atomic_fetch_sub(&call->local->pool->waiting, 1);
    ferry__queue_serve(call->local);
}

void ferry__queue_expire(struct ferry_call *call)
{
    drop(call);
    expire(call);
}

void ferry_call_start(struct ferry_pool_local *l, struct ferry_call *call)
{
    call->client = NULL;
    ferry__queue_start(l, call);
}

void ferry__queue_take(struct ferry_pool_local *l, struct ferry_call *call)
{
    ferry__count(l, retries, 1);
    call->local = l;
    call->attempts = 0;
    push(l, call);
}

void ferry__queue_start(struct ferry_pool_local *l, struct ferry_call *call)
{
    struct ferry_pool *pool = l->pool;

    call->local = l;
    call->peer = NULL;
    call->queued_ms = ferry__pool_now(l);
    call->deadline_ms = call->queued_ms + pool->opts.queue_timeout_ms;
    call->ticket = (*l->next_ticket)++;
    call->attempts = 0;
    call->running = call->answered = call->wants_fresh = call->held = call->writing = false;
    call->overloaded = call->past_end = call->timed = false;
    ferry_list_init(&call->link);
    if (pool->timed || call->first_byte_ms || call->idle_ms || call->total_ms || call->queue_ms)
        ferry__call_timed(call);
    ferry__probe(l);
    if (ferry_list_empty(&l->waiting) && ferry__pool_now(l) >= l->overloaded.until_ms &&
        place(l, call) == 0)
        return;
    if (atomic_load_explicit(&pool->waiting, memory_order_relaxed) < pool->opts.queue_max) {
        push(l, call);
        return;
    }
    call->past_end = true;
    ferry_list_push(&l->refused, &call->link);
    ferry__queue_serve(l);
}

void ferry_call_abort(struct ferry_call *call)
{
    struct ferry_pool_local *l = call->local;

    if (!l)
        return;
    if (call->peer) {
        ferry__peer_abort(call->peer, call);
    } else {
        drop(call);
    }
    ferry__count(l, requests, 1);
    release(call);
}

void ferry__queue_again(struct ferry_call *call, enum ferry__again why)
{
    struct ferry_pool_local *l = call->local;

    ferry__count(l, retries, 1);
    if (why == FERRY__STALE)
        call->wants_fresh = true;
    else if (why == FERRY__BACKLOG_FULL)
        back_off(&l->backlog, ferry__pool_now(l));
    else if (why == FERRY__OVERLOADED)
        back_off(&l->overloaded, ferry__pool_now(l));
    call->overloaded = why == FERRY__OVERLOADED;
    push(l, call);
}

/* -- */

void ferry__queue_init(struct ferry_pool_local *l)
{
    ferry_list_init(&l->waiting);
    ferry_list_init(&l->refused);
    atomic_store(&l->oldest_ms, FERRY_NEVER);
    ferry_timer_init(&l->queue_timer, on_timer);
    ferry_task_init(&l->serve, serve);
}

void ferry__queue_fini(struct ferry_pool_local *l)
{
    ferry_timer_stop(&l->queue_timer);
    ferry_task_cancel(&l->serve);
}
