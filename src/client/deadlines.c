/* SPDX-License-Identifier: MIT */
/*
 * The deadlines of a call and of a connection on its way.
 *
 * A call without deadlines has no timer. One with them has a single timer, which bytes do not move:
 * they note the time, and the timer looks at that when it fires and waits for the rest. What the
 * owner is slow with (a body that it has not written, an answer that it holds) is no silence of the
 * application's.
 */
#include <errno.h>

#include "client/internal.h"

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static unsigned or_pools(unsigned own, unsigned pools)
{
    return own ? own : pools;
}

/* When bytes went either way for the last time. On a shared connection what is sent may be others',
 * but not before this call's own body has left. */
static uint64_t last_moved(const struct ferry_call *call)
{
    const struct ferry__peer *p = call->peer;

    if (call->held || (call->writing && ferry_conn_output(p->conn)->len == 0))
        return ferry__pool_now(call->local);
    if ((call->writing || !p->shared) && p->sent_ms > call->moved_ms)
        return p->sent_ms;
    return call->moved_ms;
}

static uint64_t due(const struct ferry_call *call)
{
    const struct ferry_pool_opts *o = &call->local->pool->opts;
    unsigned total = or_pools(call->total_ms, o->total_ms), silence;
    uint64_t at = total ? call->queued_ms + total : FERRY_NEVER;

    if (!call->peer && call->queue_ms)
        return sooner(at, call->queued_ms + call->queue_ms);
    if (!call->running)
        return at;
    silence = call->answered ? or_pools(call->idle_ms, o->idle_ms)
                             : or_pools(call->first_byte_ms, o->first_byte_ms);
    return silence ? sooner(at, last_moved(call) + silence) : at;
}

void ferry__call_moved(struct ferry_call *call)
{
    uint64_t at;

    call->moved_ms = ferry__pool_now(call->local);
    at = due(call);
    if (at < call->timer.at_ms)
        ferry_timer_set(call->local->loop, &call->timer, at);
}

static void on_call_timer(struct ferry_timer *t)
{
    struct ferry_call *call = ferry_container(t, struct ferry_call, timer);
    uint64_t at = due(call);

    if (at > ferry__pool_now(call->local)) {
        ferry_timer_set(call->local->loop, t, at);
    } else if (!call->peer) {
        ferry__queue_expire(call);
    } else {
        const char *text = call->running && call->answered ? "the application fell silent"
                                                           : "the application did not answer";

        ferry__peer_abort(call->peer, call);
        ferry__call_done(call, FERRY_CALL_SLOW, -ETIMEDOUT, 0, text);
    }
}

void ferry__call_timed(struct ferry_call *call)
{
    call->timed = true;
    ferry_timer_init(&call->timer, on_call_timer);
    ferry_timer_set(call->local->loop, &call->timer, due(call));
}

/* -- connections on their way: all have the same time, so the first is the oldest -- */

static void on_connect_timer(struct ferry_timer *t)
{
    struct ferry_pool_local *l = ferry_container(t, struct ferry_pool_local, connect_timer);
    struct ferry_list *first;

    while ((first = ferry_list_first(&l->connecting))) {
        struct ferry__peer *p = ferry_container(first, struct ferry__peer, connect_link);
        uint64_t at = p->since_ms + l->pool->opts.connect_ms;

        if (at > ferry__pool_now(l)) {
            ferry_timer_set(l->loop, t, at);
            return;
        }
        ferry_list_remove(first);
        ferry__peer_connect_failed(p, -ETIMEDOUT);
    }
}

void ferry__connect_timed(struct ferry__peer *p)
{
    struct ferry_pool_local *l = p->local;

    ferry_list_push(&l->connecting, &p->connect_link);
    if (l->connect_timer.at_ms == FERRY_NEVER)
        ferry_timer_set(l->loop, &l->connect_timer, p->since_ms + l->pool->opts.connect_ms);
}

void ferry__pool_deadlines_init(struct ferry_pool_local *l)
{
    ferry_list_init(&l->connecting);
    ferry_timer_init(&l->connect_timer, on_connect_timer);
}
