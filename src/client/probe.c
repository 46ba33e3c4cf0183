/* SPDX-License-Identifier: MIT */
/*
 * Does the application multiplex? It is asked with GET_VALUES, on a connection of its own, since
 * some answer nothing, some close, and some leave the next request unread after it. Until it is
 * known, every request has its own connection.
 *
 * The probe must not cost a request its place: it gives way to calls that wait.
 */
#include "client/internal.h"

#define PROBE_MAX_MS 2000
#define AGAIN_MAX_MS 32000

static void on_timer(struct ferry_timer *t)
{
    struct ferry_pool_local *l = ferry_container(t, struct ferry_pool_local, probe_timer);
    struct ferry_pool *pool = l->pool;
    uint64_t now = ferry__pool_now(l);

    if (atomic_load(&pool->waiting) > 0 || atomic_load(&pool->starving) > 0 ||
        now >= l->probe->since_ms + PROBE_MAX_MS)
        ferry__peer_close(l->probe);
    else
        ferry_timer_set(l->loop, t, now + pool->opts.starve_ms);
}

void ferry__probe_init(struct ferry_pool_local *l)
{
    ferry_timer_init(&l->probe_timer, on_timer);
}

/* One thread at a time, and after each failure half as often. */
static bool is_due(struct ferry_pool_local *l)
{
    struct ferry_pool *pool = l->pool;
    uint64_t at = atomic_load_explicit(&pool->probe_at_ms, memory_order_relaxed);
    unsigned wait = atomic_load_explicit(&pool->probe_wait_ms, memory_order_relaxed);

    if (ferry__pool_now(l) < at || l->probe || l->closing)
        return false;
    if (!atomic_compare_exchange_strong(&pool->probe_at_ms, &at, ferry__pool_now(l) + wait))
        return false;
    atomic_store(&pool->probe_wait_ms, wait < AGAIN_MAX_MS ? wait * 2 : wait);
    return true;
}

void ferry__probe(struct ferry_pool_local *l)
{
    struct ferry_pool *pool = l->pool;
    struct ferry__peer *p;
    int err;

    if (atomic_load_explicit(&pool->multiplexing, memory_order_relaxed) != FERRY__MPX_UNKNOWN ||
        atomic_load_explicit(&pool->addr_err, memory_order_relaxed) || !is_due(l) ||
        !ferry__pool_slot_take(pool))
        return;
    p = ferry__peer_connect(l, false, &err);
    if (!p) {
        ferry__pool_slot_give(pool);
        return;
    }
    p->probe = true;
    l->probe = p;
    ferry_timer_set(l->loop, &l->probe_timer, p->since_ms + pool->opts.starve_ms);
    if (ferry_conn_get_values(p->conn) < 0)
        ferry__peer_close(p);
    else
        ferry_pump_kick(&p->pump);
}

void ferry__probe_closed(struct ferry_pool_local *l)
{
    l->probe = NULL;
    ferry_timer_stop(&l->probe_timer);
}

void ferry__probe_answered(struct ferry_pool_local *l, const struct ferry_conn_values *v)
{
    struct ferry_pool *pool = l->pool;
    unsigned max = FERRY__REQUESTS_UNSAID, sharers = ferry__pool_sharers(pool);
    bool shares = v->mpxs_conns > 0;

    /* Each thread has a shared connection, and long bodies need others. */
    if (pool->opts.connections_max <= sharers || (v->max_conns >= 0 && v->max_conns <= sharers))
        shares = false;
    if (v->max_reqs >= 0)
        max = v->max_reqs < UINT16_MAX ? (unsigned)v->max_reqs : UINT16_MAX;
    atomic_store(&pool->requests_max, max);
    atomic_store(&pool->multiplexing, shares ? FERRY__MPX_YES : FERRY__MPX_NO);
}

void ferry__probe_refuted(struct ferry_pool_local *l)
{
    if (atomic_exchange(&l->pool->multiplexing, FERRY__MPX_NO) == FERRY__MPX_YES)
        ferry__pool_wake_all(l);
}
