/* SPDX-License-Identifier: MIT */
/*
 * The connections of all threads: one cap, kept ones and who gets them, and what is done when an
 * application has too few processes for them. The cap and the counts are shared through atomics;
 * lists belong to one thread each. A thread that finds no room publishes that it waits, *then*
 * looks again, and a thread that frees something publishes that, *then* looks for waiters: with
 * sequentially consistent atomics one of the two sees the other, so no call is forgotten while
 * there is room.
 */
#include "client/pool.h"

#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/machine.h"
#include "client/internal.h"

#define FOREIGN_LEAD_MS                                                                            \
    20 /* so much older must another thread's call be to be served before an own one */
#define PROBE_WAIT_MIN_MS 1000

static struct ferry__peer *first_idle(const struct ferry_pool_local *l)
{
    return ferry__first(&l->idle, struct ferry__peer);
}

bool ferry__pool_slot_take(struct ferry_pool *pool)
{
    unsigned n = atomic_load(&pool->connections);

    while (n < pool->opts.connections_max)
        if (atomic_compare_exchange_weak(&pool->connections, &n, n + 1))
            return true;
    return false;
}

void ferry__pool_slot_give(struct ferry_pool *pool)
{
    atomic_fetch_sub(&pool->connections, 1);
}

/* -- between threads -- */

/* A part that is closed has no loop any more. */
static void wake(struct ferry_pool_local *l)
{
    if (atomic_load(&l->woken))
        return;
    pthread_mutex_lock(&l->gate);
    if (!l->gone && !atomic_exchange(&l->woken, true))
        ferry_loop_post(l->loop, &l->wake);
    pthread_mutex_unlock(&l->gate);
}

static struct ferry_pool_local *other(const struct ferry_pool_local *l, unsigned i)
{
    struct ferry_pool_local *o = atomic_load(&l->pool->locals[i]);

    return o == l ? NULL : o;
}

void ferry__pool_wake_all(struct ferry_pool_local *l)
{
    for (unsigned i = 0; i < l->pool->threads; i++)
        if (other(l, i))
            wake(other(l, i));
}

/* The thread, other than l, whose first call waits the longest. */
static struct ferry_pool_local *oldest_foreign(const struct ferry_pool_local *l)
{
    struct ferry_pool_local *best = NULL;
    uint64_t best_ms = FERRY_NEVER;

    for (unsigned i = 0; i < l->pool->threads; i++) {
        struct ferry_pool_local *o = other(l, i);
        uint64_t ms = o ? atomic_load(&o->oldest_ms) : FERRY_NEVER;

        if (ms < best_ms) {
            best = o;
            best_ms = ms;
        }
    }
    return best;
}

void ferry__pool_beg(struct ferry_pool_local *l)
{
    if (atomic_load(&l->pool->idle) == 0)
        return;
    for (unsigned i = 0; i < l->pool->threads; i++) {
        struct ferry_pool_local *o = other(l, i);

        if (o && atomic_load(&o->nidle) > 0) {
            wake(o);
            return;
        }
    }
}

/* Who is lent to says `closed` only when nothing is coming; who closes is not lent to. */
static void lend(struct ferry__peer *p, struct ferry_pool_local *to)
{
    atomic_fetch_add(&to->coming, 1);
    if (!atomic_load(&to->closing)) {
        ferry__peer_lend(p, to->index);
        return;
    }
    atomic_fetch_sub(&to->coming, 1);
    wake(to);
    ferry__peer_close(p); /* its slot will do */
}

static void receive_lent(struct ferry_post *post)
{
    struct ferry__peer *sent = ferry_container(post, struct ferry__peer, post);
    struct ferry_pool_local *l = atomic_load(&sent->local->pool->locals[sent->lend_to]);
    struct ferry__peer *p = sent->lent_fd < 0 ? NULL : ferry__peer_adopt(l, sent->lent_fd, sent);

    free(sent);
    atomic_fetch_sub(&l->coming, 1);
    if (p)
        ferry__pool_peer_idle(p);
    else
        ferry__pool_peer_gone(l);
}

/* Also when it was closed on the way: the slot is for who was lent to. */
void ferry__pool_peer_lent(struct ferry__peer *p, int fd)
{
    struct ferry_pool_local *l = p->local;

    p->lent_fd = fd;
    p->post.run = receive_lent;
    ferry_loop_post(atomic_load(&l->pool->locals[p->lend_to])->loop, &p->post);
    ferry__pool_maybe_closed(l);
}

/* -- what the connections tell -- */

void ferry__pool_peer_idle(struct ferry__peer *p)
{
    struct ferry_pool_local *l = p->local;
    struct ferry_pool *pool = l->pool;
    struct ferry_pool_local *o;
    const struct ferry_call *own;

    if (l->closing || atomic_load_explicit(&pool->starving, memory_order_relaxed) > 0 ||
        ferry__peer_is_worn(p)) {
        ferry__peer_close(p);
        return;
    }
    p->since_ms = ferry__pool_now(l);
    p->idle = true;
    ferry_list_remove(&p->link);
    ferry_list_push_front(&l->idle, &p->link);
    atomic_fetch_add(&l->nidle, 1);
    atomic_fetch_add(&pool->idle, 1);
    if (l->idle_timer.at_ms == FERRY_NEVER)
        ferry_timer_set(l->loop, &l->idle_timer, p->since_ms + pool->opts.idle_timeout_ms);
    if (atomic_load(&pool->waiting) == 0) {
        if (l->group)
            ferry__queue_serve(l);
        return;
    }
    own = ferry__first(&l->waiting, struct ferry_call);
    o = oldest_foreign(l);
    if (o && (!own || atomic_load(&o->oldest_ms) + FOREIGN_LEAD_MS < own->queued_ms))
        lend(p, o);
    else
        ferry__queue_serve(l);
}

void ferry__pool_peer_gone(struct ferry_pool_local *l)
{
    struct ferry_pool_local *o;

    ferry__pool_slot_give(l->pool);
    if (atomic_load(&l->pool->waiting) > 0) {
        o = oldest_foreign(l);
        if (o)
            wake(o);
        ferry__queue_serve(l);
    } else if (l->group) {
        ferry__queue_serve(l);
    }
    ferry__pool_maybe_closed(l);
}

void ferry__pool_peer_answered(struct ferry__peer *p)
{
    ferry_list_remove(&p->fresh_link);
    if (p->starving)
        atomic_fetch_sub(&p->local->pool->starving, 1);
    p->starving = false;
}

void ferry__pool_peer_taken(struct ferry__peer *p)
{
    struct ferry_pool_local *l = p->local;

    if (p->idle) {
        atomic_fetch_sub(&l->nidle, 1);
        atomic_fetch_sub(&l->pool->idle, 1);
        p->idle = false;
    }
    ferry_list_remove(&p->link);
    ferry_list_push(&l->busy, &p->link);
}

bool ferry_pool_multiplexes(const struct ferry_pool *pool)
{
    return ferry__pool_shares(pool);
}

/* -- timers and posts -- */

static void close_idle(struct ferry_pool_local *l)
{
    struct ferry__peer *p;

    while ((p = first_idle(l)))
        ferry__peer_close(p);
}

static void on_fresh_timer(struct ferry_timer *t)
{
    struct ferry_pool_local *l = ferry_container(t, struct ferry_pool_local, fresh_timer);
    struct ferry_pool *pool = l->pool;
    bool starving = false;

    ferry_list_each (at, next, &l->fresh) {
        struct ferry__peer *p = ferry_container(at, struct ferry__peer, fresh_link);

        if (ferry__pool_now(l) < p->since_ms + pool->opts.starve_ms) {
            ferry_timer_set(l->loop, t, p->since_ms + pool->opts.starve_ms);
            break;
        }
        starving = true;
        if (!p->starving) {
            p->starving = true;
            atomic_fetch_add(&pool->starving, 1);
        }
    }
    if (!starving)
        return;
    close_idle(l);
    for (unsigned i = 0; i < pool->threads; i++) {
        struct ferry_pool_local *o = other(l, i);

        if (o && atomic_load(&o->nidle) > 0)
            wake(o);
    }
    if (t->at_ms == FERRY_NEVER)
        ferry_timer_set(l->loop, t, ferry__pool_now(l) + pool->opts.starve_ms);
}

/* Opens connections ahead of requests, as many as are to be there. */
static void open_ahead(struct ferry_pool_local *l)
{
    struct ferry_pool *pool = l->pool;
    struct ferry__peer *p;
    int err;

    while (!l->closing && atomic_load(&pool->addr_err) == 0 && !atomic_load(&pool->addr_gone) &&
           atomic_load(&pool->connections) < pool->opts.connections_min &&
           atomic_load(&pool->starving) == 0 && ferry__pool_slot_take(pool)) {
        p = ferry__peer_connect(l, false, &err);
        if (!p) {
            ferry__pool_slot_give(pool);
            return;
        }
        p->ahead = true;
        ferry_pump_kick(&p->pump);
    }
}

static void on_idle_timer(struct ferry_timer *t)
{
    struct ferry_pool_local *l = ferry_container(t, struct ferry_pool_local, idle_timer);
    struct ferry_pool *pool = l->pool;
    uint64_t now = ferry__pool_now(l), max = pool->opts.idle_timeout_ms, again = FERRY_NEVER;
    unsigned n = atomic_load(&pool->connections), min = pool->opts.connections_min;

    ferry_list_each (at, next, &l->idle) {
        struct ferry__peer *p = ferry_container(at, struct ferry__peer, link);
        uint64_t until = p->since_ms + max;

        if (ferry__peer_is_worn(p)) {
            ferry__peer_close(p);
        } else if (until <= now && n > min) {
            ferry__peer_close(p);
            n--;
        } else if (until > now && until < again) {
            again = until;
        }
    }
    if (min)
        open_ahead(l);
    if (min && !l->closing && again > now + max)
        again = now + max;
    ferry_timer_set(l->loop, t, again);
}

static void on_wake(struct ferry_post *post)
{
    struct ferry_pool_local *l = ferry_container(post, struct ferry_pool_local, wake);
    struct ferry_pool_local *o;
    struct ferry__peer *p;

    atomic_store(&l->woken, false);
    ferry__queue_serve(l); /* which also looks whether it is closed now */
    if (!ferry__pool_shares(l->pool) && (p = ferry__first(&l->shared, struct ferry__peer)))
        ferry__peer_retire(p);
    if (atomic_load(&l->pool->starving) > 0)
        close_idle(l);
    else if (first_idle(l) && ferry_list_empty(&l->waiting) && (o = oldest_foreign(l)))
        lend(first_idle(l), o);
}

/* -- making and closing -- */

static unsigned or_default(unsigned value, unsigned fallback)
{
    return value ? value : fallback;
}

struct ferry_pool *ferry_pool_new(const struct ferry_pool_opts *opts, unsigned threads)
{
    struct ferry_pool *pool = calloc(1, sizeof *pool);

    if (!pool)
        return NULL;
    pool->locals = calloc(threads, sizeof *pool->locals);
    if (!pool->locals) {
        free(pool);
        return NULL;
    }
    pool->opts = *opts;
    pool->threads = threads;
    pool->opts.connections_max = or_default(opts->connections_max, 128);
    pool->opts.queue_max = or_default(opts->queue_max, 1024);
    pool->opts.queue_timeout_ms = or_default(opts->queue_timeout_ms, 30000);
    pool->opts.idle_timeout_ms = or_default(opts->idle_timeout_ms, 5000);
    pool->opts.starve_ms = or_default(opts->starve_ms, 20);
    atomic_store(&pool->requests_max, FERRY__REQUESTS_UNSAID);
    atomic_store(&pool->probe_wait_ms, PROBE_WAIT_MIN_MS);
    pool->opts.fail_ms = or_default(opts->fail_ms, 10000);
    pthread_mutex_init(&pool->lock, NULL);
    atomic_store(&pool->addr_err, opts->addr.len ? 0 : -EAGAIN);
    if (pool->opts.connections_min > pool->opts.connections_max)
        pool->opts.connections_min = pool->opts.connections_max;
    pool->timed = opts->first_byte_ms || opts->idle_ms || opts->total_ms;
    pool->opts.sharers = or_default(opts->sharers, threads);
    if (opts->multiplex == FERRY_MULTIPLEX_OFF || opts->no_keep ||
        (pool->opts.sharers != FERRY__POOL_JOINED &&
         pool->opts.connections_max <= pool->opts.sharers))
        atomic_store(&pool->multiplexing, FERRY__MPX_NO);
    else if (opts->multiplex == FERRY_MULTIPLEX_ON)
        atomic_store(&pool->multiplexing, FERRY__MPX_YES);
    return pool;
}

void ferry_pool_free(struct ferry_pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_destroy(&pool->lock);
    free(pool->locals);
    free(pool);
}

static void wake_everyone(struct ferry_pool *pool)
{
    for (unsigned i = 0; i < pool->threads; i++) {
        struct ferry_pool_local *l = atomic_load(&pool->locals[i]);

        if (l)
            wake(l);
    }
}

void ferry_pool_set_addr(struct ferry_pool *pool, const struct ferry_addr *addr)
{
    pthread_mutex_lock(&pool->lock);
    pool->opts.addr = *addr;
    pthread_mutex_unlock(&pool->lock);
    atomic_fetch_add(&pool->addr_age, 1);
    atomic_store(&pool->addr_gone, false);
    atomic_store(&pool->addr_err, 0);
    wake_everyone(pool);
}

void ferry_pool_lose_addr(struct ferry_pool *pool)
{
    atomic_store(&pool->addr_gone, true);
    atomic_fetch_add(&pool->addr_age, 1);
}

void ferry_pool_set_addr_error(struct ferry_pool *pool, int err)
{
    atomic_store(&pool->addr_err, err);
    wake_everyone(pool);
}

void ferry__pool_addr(struct ferry_pool *pool, struct ferry_addr *out)
{
    pthread_mutex_lock(&pool->lock);
    *out = pool->opts.addr;
    pthread_mutex_unlock(&pool->lock);
}

static uint64_t sum_of(const struct ferry_pool *pool, size_t offset)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < pool->threads; i++) {
        const struct ferry_pool_local *l = atomic_load(&pool->locals[i]);

        if (l)
            sum +=
                atomic_load_explicit((const _Atomic(uint64_t) *)((const char *)&l->counts + offset),
                                     memory_order_relaxed);
    }
    return sum;
}

#define SUM(pool, name) sum_of(pool, offsetof(struct ferry__counts, name))

unsigned ferry__pool_load(const struct ferry_pool *pool)
{
    return (unsigned)SUM(pool, running) + atomic_load(&pool->waiting);
}

void ferry_pool_stats(const struct ferry_pool *pool, struct ferry_client_stats *sum)
{
    sum->connections += atomic_load(&pool->connections);
    sum->idle += atomic_load(&pool->idle);
    sum->waiting += atomic_load(&pool->waiting);
    sum->running += (unsigned)SUM(pool, running);
    sum->requests += SUM(pool, requests);
    sum->failed += SUM(pool, failed);
    sum->connects += SUM(pool, connects);
    sum->reused += SUM(pool, reused);
    sum->retries += SUM(pool, retries);
    sum->timeouts += SUM(pool, timeouts);
    sum->full += SUM(pool, full);
}

static struct ferry_pool_local *local_new(struct ferry_pool *pool, unsigned index,
                                          struct ferry_loop *loop)
{
    struct ferry_pool_local *l = calloc(1, sizeof *l);

    if (!l)
        return NULL;
    l->pool = pool;
    l->loop = loop;
    l->index = index;
    pthread_mutex_init(&l->gate, NULL);
    ferry_list_init(&l->idle);
    ferry_list_init(&l->busy);
    ferry_list_init(&l->shared);
    ferry_list_init(&l->fresh);
    ferry_timer_init(&l->idle_timer, on_idle_timer);
    ferry_timer_init(&l->fresh_timer, on_fresh_timer);
    ferry__queue_init(l);
    ferry__probe_init(l);
    ferry__pool_deadlines_init(l);
    l->next_ticket = &l->tickets;
    l->wake.run = on_wake;
    atomic_store(&pool->locals[index], l);
    return l;
}

/* Closed before; all its lists are empty and its timers stopped. */
static void reopen(struct ferry_pool_local *l, struct ferry_loop *loop)
{
    ferry_assert(l->gone);
    pthread_mutex_lock(&l->gate);
    l->loop = loop;
    l->gone = false;
    pthread_mutex_unlock(&l->gate);
    l->backlog = l->overloaded = (struct ferry__backoff){0};
    atomic_store(&l->closing, false);
}

struct ferry_pool_local *ferry_pool_join(struct ferry_pool *pool, unsigned index,
                                         struct ferry_loop *loop)
{
    struct ferry_pool_local *l;

    ferry_assert(index < pool->threads);
    l = atomic_load(&pool->locals[index]);
    if (l)
        reopen(l, loop);
    else
        l = local_new(pool, index, loop);
    if (!l)
        return NULL;
    atomic_fetch_add(&pool->joined, 1);
    if (pool->opts.connections_max <= ferry__pool_sharers(pool))
        ferry__probe_refuted(l);
    if (index == 0)
        ferry__probe(l);
    if (pool->opts.connections_min)
        ferry_timer_set(l->loop, &l->idle_timer, ferry__pool_now(l));
    return l;
}

static void stop_all(struct ferry_pool_local *l)
{
    ferry__queue_fini(l);
    ferry_timer_stop(&l->idle_timer);
    ferry_timer_stop(&l->fresh_timer);
    ferry_timer_stop(&l->probe_timer);
    ferry_timer_stop(&l->connect_timer);
}

void ferry__pool_maybe_closed(struct ferry_pool_local *l)
{
    void (*closed)(void *) = l->closed;

    if (!closed || !ferry_list_empty(&l->busy) || !ferry_list_empty(&l->idle) ||
        !ferry_list_empty(&l->shared) || !ferry__queue_empty(l) || atomic_load(&l->coming) > 0)
        return;
    pthread_mutex_lock(&l->gate);
    l->gone = !atomic_load(&l->woken);
    pthread_mutex_unlock(&l->gate);
    if (!l->gone)
        return; /* on_wake comes, and back here */
    stop_all(l);
    atomic_fetch_sub(&l->pool->joined, 1);
    l->closed = NULL;
    closed(l->closed_arg);
}

void ferry_pool_local_close(struct ferry_pool_local *l, void (*closed)(void *), void *arg)
{
    struct ferry__peer *p;

    atomic_store(&l->closing, true);
    l->closed = closed;
    l->closed_arg = arg;
    close_idle(l);
    if (l->probe)
        ferry__peer_close(l->probe);
    if ((p = ferry__first(&l->shared, struct ferry__peer)) && ferry_list_empty(&p->calls))
        ferry__peer_close(p);
    ferry__pool_maybe_closed(l);
}

void ferry_pool_local_free(struct ferry_pool_local *l)
{
    if (!l)
        return;
    if (!l->gone) /* never closed, for its loop has never run */
        stop_all(l);
    atomic_store(&l->pool->locals[l->index], NULL);
    pthread_mutex_destroy(&l->gate);
    free(l);
}
