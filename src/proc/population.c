/* SPDX-License-Identifier: MIT */
/*
 * How many processes there are. A slot is wanted or not; what is wanted and has no process gets
 * one, unless the last ones failed and the pause is not over. Growing wants more slots, shrinking
 * wants fewer. A process that is too old or too large gets a successor beside it first.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proc/backlog.h"
#include "proc/manager_private.h"
#include "proc/usage.h"

#define RATE_MAX 32     /* processes that growth starts at once */
#define PRESSED_TICKS 3 /* with somebody in the queue, before it grows */
#define CROWD_MIN 8
#define SAMPLE_MS 1000
#define SAMPLE_MAX_MS 5000

unsigned ferry__population_count(const struct ferry_manager *m)
{
    unsigned n = 0;

    for (unsigned i = 0; i < m->nslots; i++)
        n += m->slots[i].current || m->slots[i].next;
    return n;
}

/* -- failures --------------------------------------------------------------------------------- */

static void give_up(struct ferry_manager *m)
{
    ferry__manager_say(m, FERRY_MANAGER_WARNING,
                       "given up after %u failures in a row; nothing is started any more",
                       m->failures);
    for (unsigned i = 0; i < m->nslots; i++) {
        if (m->slots[i].current)
            ferry__member_stop(m->slots[i].current, FERRY__WHY_NOT_READY);
        if (m->slots[i].next)
            ferry__member_stop(m->slots[i].next, FERRY__WHY_NOT_READY);
    }
    ferry__manager_set_state(m, FERRY_MANAGER_FATAL);
}

/* Only a connection brings it back. */
static bool starts_on_demand(const struct ferry_manager *m, const struct ferry__slot *slot)
{
    return m->opts.per_process ? slot >= m->slots + m->opts.processes_min
                               : m->opts.processes_min == 0;
}

uint64_t ferry__population_failed(struct ferry_manager *m, const struct ferry__member *p)
{
    uint64_t now = ferry__now_ms(), pause = m->opts.pause_max_ms;

    if (ferry__manager_is_over(m))
        return 0;
    if (p && starts_on_demand(m, p->slot) && !p->slot->current && !p->slot->next)
        p->slot->wanted = false;
    if (p && p->serial <= m->failed_serial)
        return m->retry_ms > now ? m->retry_ms - now : 0;
    if (p && p->ready_ms && now - p->started_ms >= m->opts.settled_ms)
        m->failures = 0;
    m->failed_serial = m->serial;
    if (m->failures < 24 && (uint64_t)m->opts.pause_ms << m->failures < pause)
        pause = (uint64_t)m->opts.pause_ms << m->failures;
    m->failures++;
    m->retry_ms = now + pause;
    ferry__manager_wake(m);
    return pause;
}

static void tell_unstartable(struct ferry_manager *m, int err, const char *step, uint64_t pause)
{
    m->totals.unstartable++;
    if (err == m->told_err && strcmp(step, m->told_step) == 0)
        return;
    m->told_err = err;
    snprintf(m->told_step, sizeof m->told_step, "%s", step);
    ferry__manager_say(m, FERRY_MANAGER_WARNING, "%s %s: %s; tried again in %u.%u s",
                       m->opts.spawn.argv[0], step, ferry_strerror(err), (unsigned)(pause / 1000),
                       (unsigned)(pause % 1000 / 100));
}

static void cannot_start(struct ferry_manager *m, int err, const char *step)
{
    char text[256];

    if (m->quiet) {
        m->told_err = err;
        snprintf(m->told_step, sizeof m->told_step, "%s", step);
    } else if (m->reloading) {
        m->totals.unstartable++;
        snprintf(text, sizeof text, "%.120s %s: %s", m->opts.spawn.argv[0], step,
                 ferry_strerror(err));
        ferry__reload_fail(m, text);
    } else {
        tell_unstartable(m, err, step, ferry__population_failed(m, NULL));
    }
}

/* -- filling ---------------------------------------------------------------------------------- */

/* While it reloads, every slot that is wanted gets a successor. */
static bool lacks(const struct ferry_manager *m, const struct ferry__slot *slot)
{
    return slot->wanted && !slot->next && (m->reloading || !slot->current);
}

/* Those that were told to stop, or said that they would, take their time; they end some day. */
static bool is_crowded(const struct ferry_manager *m)
{
    return m->nmembers >= 3 * m->nslots + CROWD_MIN;
}

void ferry__population_fill(struct ferry_manager *m, uint64_t now)
{
    unsigned started = 0, generation = m->reloading ? m->generations : m->generation;
    const char *step;
    int err;

    if ((!m->reloading && now < m->retry_ms) || is_crowded(m))
        return;
    for (unsigned i = 0; i < m->nslots && started < FERRY__STARTS_MAX; i++) {
        if (ferry__manager_is_over(m))
            return;
        if (!lacks(m, &m->slots[i]))
            continue;
        err = ferry__member_start(m, &m->slots[i], generation, m->reloading, &step);
        if (err < 0) {
            cannot_start(m, err, step);
            return;
        }
        m->told_err = 0;
        started++;
    }
    if (started)
        ferry__manager_wake(m);
}

/* -- growing ---------------------------------------------------------------------------------- */

static unsigned starting(const struct ferry_manager *m)
{
    unsigned n = 0;

    for (unsigned i = 0; i < m->nslots; i++)
        n += m->slots[i].wanted &&
             (!m->slots[i].current || m->slots[i].current->state == FERRY__STARTING);
    return n;
}

static bool all_full(const struct ferry_manager *m)
{
    unsigned n = 0;

    for (unsigned i = 0; i < m->nslots && m->opts.load_max; i++) {
        const struct ferry__member *p = m->slots[i].current;

        if (!p)
            continue;
        if (p->state != FERRY__READY || p->active < (int64_t)m->opts.load_max)
            return false;
        n++;
    }
    return n > 0;
}

/* Who waits, but for ourselves. */
static uint32_t queued(struct ferry_manager *m)
{
    struct ferry__backlog b;
    uint32_t ours;

    if (ferry__backlog_read(&m->diag, m->slots[0].listener, &b) < 0)
        return 0;
    if (m->probes_left > b.queued)
        m->probes_left = b.queued;
    ours = m->probes + m->probes_left;
    return b.queued > ours ? b.queued - ours : 0;
}

static void want_more(struct ferry_manager *m, unsigned n)
{
    for (unsigned i = 0; i < m->nslots && n; i++)
        if (!m->slots[i].wanted) {
            m->slots[i].wanted = true;
            n--;
        }
}

static unsigned wanted(const struct ferry_manager *m)
{
    unsigned n = 0;

    for (unsigned i = 0; i < m->nslots; i++)
        n += m->slots[i].wanted;
    return n;
}

/* Is there more to do than they can? */
struct pressure {
    uint32_t waiting;
    bool full;
};

static struct pressure press(struct ferry_manager *m, uint64_t now)
{
    struct pressure p = {0};
    unsigned before = m->pressed;

    m->pressed = 0;
    if (m->opts.per_process || m->nslots == m->opts.processes_min || wanted(m) == 0)
        return p;
    p.waiting = queued(m);
    p.full = all_full(m);
    if (p.waiting)
        m->pressed = before + 1;
    if (p.waiting || p.full)
        m->pressed_ms = now;
    if (!p.waiting && !p.full)
        m->rate = 1;
    return p;
}

/* Those that start already count as help on its way. */
static void grow(struct ferry_manager *m, struct pressure p)
{
    unsigned have = wanted(m), on_the_way = starting(m), need = p.waiting ? p.waiting : 1;

    if ((m->pressed < PRESSED_TICKS && !p.full) || have == m->nslots)
        return;
    if (need > m->rate)
        need = m->rate;
    if (need <= on_the_way)
        return;
    need -= on_the_way;
    if (need > m->nslots - have)
        need = m->nslots - have;
    m->rate = m->rate * 2 < RATE_MAX ? m->rate * 2 : RATE_MAX;
    want_more(m, need);
    if (p.waiting)
        ferry__manager_say(m, FERRY_MANAGER_NOTE, "%u waiting: %u more started, %u now", p.waiting,
                           need, have + need);
    else
        ferry__manager_say(m, FERRY_MANAGER_NOTE, "all are busy: %u more started, %u now", need,
                           have + need);
}

/* -- what they use ---------------------------------------------------------------------------- */

static int by_group(const void *a, const void *b)
{
    pid_t x = ((const struct ferry__usage *)a)->group, y = ((const struct ferry__usage *)b)->group;

    return (x > y) - (x < y);
}

static void sample(struct ferry_manager *m, uint64_t now)
{
    struct ferry__usage *all = calloc(m->nmembers ? m->nmembers : 1, sizeof *all), *u;
    struct ferry__member *p;
    unsigned n = 0;

    if (!all)
        return;
    ferry__each_member(p, m) if (p->state != FERRY__ENDED) all[n++].group = p->pid;
    qsort(all, n, sizeof *all, by_group);
    if (ferry__usage_read(all, n) < 0)
        n = 0;
    ferry__each_member(p, m)
    {
        struct ferry__usage key = {.group = p->pid};

        u = n ? bsearch(&key, all, n, sizeof *all, by_group) : NULL;
        if (!u)
            continue;
        if (u->cpu_ms != p->cpu_ms || p->active > 0)
            p->busy_ms = now;
        p->cpu_ms = u->cpu_ms;
        p->rss = u->rss;
    }
    free(all);
}

static bool can_shrink(const struct ferry_manager *m)
{
    return m->nslots > m->opts.processes_min && !m->reloading &&
           ferry__population_count(m) > m->opts.processes_min;
}

/* Is there a reason to look, and is it time? */
static bool sample_is_due(struct ferry_manager *m, uint64_t now)
{
    uint64_t every = m->opts.idle_ms / 8;

    if (every > SAMPLE_MAX_MS)
        every = SAMPLE_MAX_MS;
    if (m->opts.max_rss && every > SAMPLE_MS)
        every = SAMPLE_MS;
    if ((!m->opts.max_rss && !can_shrink(m)) || now < m->sampled_ms + every)
        return false;
    m->sampled_ms = now;
    return true;
}

static void shrink(struct ferry_manager *m, uint64_t now)
{
    struct ferry__slot *longest = NULL;

    /* Who waits for something in a request uses no time; while there is a queue none is idle. */
    if (!can_shrink(m) || now - m->pressed_ms < m->opts.idle_ms)
        return;
    for (unsigned i = m->opts.per_process ? m->opts.processes_min : 0; i < m->nslots; i++) {
        struct ferry__slot *s = &m->slots[i];

        if (s->current && s->current->state == FERRY__READY && !s->next &&
            now - s->current->busy_ms >= m->opts.idle_ms &&
            (!longest || s->current->busy_ms < longest->current->busy_ms))
            longest = s;
    }
    if (!longest)
        return;
    m->totals.idled++;
    longest->wanted = false;
    ferry__manager_say(m, FERRY_MANAGER_NOTE, "process %d is stopped, having been idle for %u s",
                       (int)longest->current->pid,
                       (unsigned)((now - longest->current->busy_ms) / 1000));
    ferry__member_stop(longest->current, FERRY__WHY_IDLE);
}

/* -- replacing -------------------------------------------------------------------------------- */

/* Why it is to be replaced, in `text`; false: it is not. */
static bool is_worn(const struct ferry__member *p, uint64_t now, char *text, size_t cap)
{
    uint64_t age = now - p->started_ms;

    if (p->max_age_ms && age >= p->max_age_ms)
        snprintf(text, cap, "has run for %llu s", (unsigned long long)(age / 1000));
    else if (p->max_rss && p->rss >= p->max_rss)
        snprintf(text, cap, "uses %llu MiB of memory", (unsigned long long)(p->rss >> 20));
    else if (p->max_requests && p->requests > 0 && (uint64_t)p->requests >= p->max_requests)
        snprintf(text, cap, "has served %lld requests", (long long)p->requests);
    else
        return false;
    return true;
}

static void replace(struct ferry_manager *m, uint64_t now)
{
    unsigned under_way = 0, max = 1 + m->nslots / 8;
    const char *step;
    char why[64];
    int err;

    if (m->reloading || now < m->retry_ms || is_crowded(m))
        return;
    for (unsigned i = 0; i < m->nslots; i++)
        under_way += m->slots[i].next != NULL;
    for (unsigned i = 0; i < m->nslots && under_way < max; i++) {
        struct ferry__slot *s = &m->slots[i];

        if (ferry__manager_is_over(m))
            return;
        if (!s->current || s->current->state != FERRY__READY || s->next ||
            !is_worn(s->current, now, why, sizeof why))
            continue;
        err = ferry__member_start(m, s, m->generation, true, &step);
        if (err < 0) {
            cannot_start(m, err, step);
            return;
        }
        ferry__manager_say(m, FERRY_MANAGER_NOTE, "process %d %s: process %d is to replace it",
                           (int)s->current->pid, why, (int)s->next->pid);
        under_way++;
    }
}

void ferry__population_size(struct ferry_manager *m, uint64_t now)
{
    struct pressure p;

    if (m->opts.failures_max && m->failures >= m->opts.failures_max && !ferry__manager_ready(m)) {
        give_up(m);
        return;
    }
    p = press(m, now);
    if (sample_is_due(m, now)) {
        sample(m, now);
        shrink(m, now);
    }
    replace(m, now);
    if (!m->reloading && !ferry__manager_is_over(m) && now >= m->retry_ms)
        grow(m, p);
}

/* -- on demand -------------------------------------------------------------------------------- */

static void demanded(struct ferry_watch *w)
{
    struct ferry__slot *s = ferry_container(w, struct ferry__slot, watch);

    if (s->watching != FERRY__WATCHED)
        return;
    s->wanted = true;
    ferry__manager_wake(s->manager);
    /* Level-triggered: until the process accepts, it would be told again and again. */
    s->watching = FERRY__UNWATCHING;
    ferry_watch_close(w);
}

static void unwatched(struct ferry_watch *w)
{
    struct ferry__slot *s = ferry_container(w, struct ferry__slot, watch);

    s->watching = FERRY__UNWATCHED;
    s->manager->nwatches--;
    ferry__manager_wake(s->manager);
    ferry__manager_maybe_close(s->manager);
}

static bool wants_watch(const struct ferry_manager *m, const struct ferry__slot *s, bool empty,
                        uint64_t now)
{
    return !ferry__manager_is_over(m) && now >= m->retry_ms && !s->wanted && !s->current &&
           (m->opts.per_process || (empty && s == m->slots));
}

void ferry__population_watch(struct ferry_manager *m, uint64_t now)
{
    bool empty = ferry__population_count(m) == 0 && wanted(m) == 0;

    for (unsigned i = 0; i < m->nslots; i++) {
        struct ferry__slot *s = &m->slots[i];
        bool wants = wants_watch(m, s, empty, now);

        if (wants && s->watching == FERRY__UNWATCHED) {
            s->watch = (struct ferry_watch){.readable = demanded, .closed = unwatched};
            if (ferry_watch_open(m->loop, &s->watch, s->listener) < 0)
                continue; /* the next tick tries again */
            s->watching = FERRY__WATCHED;
            m->nwatches++;
        } else if (!wants && s->watching == FERRY__WATCHED) {
            s->watching = FERRY__UNWATCHING;
            ferry_watch_close(&s->watch);
        }
    }
}
