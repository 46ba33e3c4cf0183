/* SPDX-License-Identifier: MIT */
/*
 * Does it answer? Two questions with one means: a process that starts is asked whether it is ready,
 * and, if the owner wants it, those that serve are asked from time to time whether they still do:
 * each on its own socket, or all together on the one they share. Who has taken a connection on a
 * shared socket is not known; so an answer says something of a process only while it is alone
 * there.
 */
#include <errno.h>
#include <string.h>

#include "proc/manager_private.h"

#define PROBE_AGAIN_MS 100

bool ferry__health_is_alone(const struct ferry__member *p)
{
    struct ferry_manager *m = p->manager;
    struct ferry__member *other;

    ferry__each_member(other, m) if (other != p && other->state != FERRY__ENDED &&
                                     (!m->opts.per_process || other->slot == p->slot)) return false;
    return true;
}

static int ask(struct ferry_manager *m, struct ferry__health *h, int listener,
               const struct ferry_manager_ping *o)
{
    struct ferry_addr addr;
    struct ferry__ping_opts opts = {
        .addr = &addr, .timeout_ms = o->timeout_ms, .script = o->script, .uri = o->uri};
    int err = ferry_addr_local(listener, &addr);

    if (err == 0)
        err = ferry__ping_start(m->loop, &h->ping, &opts);
    h->running = err == 0;
    if (h->running)
        m->probes++;
    return err;
}

/* One that was not answered may lie in the queue, although it is closed. */
static void over(struct ferry_manager *m, struct ferry__health *h, int err)
{
    h->running = false;
    m->probes--;
    if (err == -ETIMEDOUT || err == -ECANCELED)
        m->probes_left++;
    ferry__manager_wake(m);
}

/* -- ready? ----------------------------------------------------------------------------------- */

static void probe_done(struct ferry__ping *ping, int err, const char *why)
{
    struct ferry__member *p = ferry_container(ping, struct ferry__member, health.ping);
    struct ferry_manager *m = p->manager;

    (void)why;
    over(m, &p->health, err);
    if (p->state == FERRY__ENDED) {
        ferry__member_maybe_free(p);
        return;
    }
    p->health.next_ms = ferry__now_ms() + PROBE_AGAIN_MS;
    if (err == 0 && ferry__health_is_alone(p))
        ferry__member_became_ready(p);
}

void ferry__health_probe(struct ferry__member *p, uint64_t now)
{
    struct ferry_manager *m = p->manager;
    bool only = m->opts.ready == FERRY_MANAGER_READY_VALUES;
    struct ferry_manager_ping o = {.timeout_ms = only ? m->opts.ready_ms : m->opts.start_ms};

    /* Otherwise one look is enough: some programs answer nothing, and hang on it. And who is
     * started for a connection has that to answer. */
    if (!only &&
        (m->opts.ready != FERRY_MANAGER_READY_AUTO || p->probed || m->opts.processes_min == 0))
        return;
    if (p->health.running || now < p->health.next_ms || !ferry__health_is_alone(p))
        return;
    p->probed = true;
    p->health.ping.done = probe_done;
    if (ask(m, &p->health, p->slot->listener, &o) < 0)
        p->health.next_ms = now + PROBE_AGAIN_MS;
}

/* -- still alive? ----------------------------------------------------------------------------- */

static void give_up(struct ferry__member *p)
{
    struct ferry_manager *m = p->manager;

    m->totals.unhealthy++;
    ferry__manager_say(m, FERRY_MANAGER_WARNING, "process %d does not answer and is stopped",
                       (int)p->pid);
    ferry__member_stop(p, FERRY__WHY_UNHEALTHY);
    ferry__population_failed(m, p);
}

/* Counts: true when that was one failure too many. */
static bool failed(struct ferry_manager *m, struct ferry__health *h, int err, const char *why)
{
    uint64_t now = ferry__now_ms();

    h->next_ms = now + m->opts.ping.interval_ms;
    if (err == 0 || err == -ECANCELED) {
        h->failures = 0;
        return false;
    }
    if (h->failures++ == 0)
        h->failing_ms = now;
    ferry__manager_say(m, FERRY_MANAGER_NOTE, "ping %u of %u failed: %s", h->failures,
                       m->opts.ping.failures_max, why);
    if (h->failures < m->opts.ping.failures_max)
        return false;
    h->failures = 0;
    return true;
}

static void member_answered(struct ferry__ping *ping, int err, const char *why)
{
    struct ferry__member *p = ferry_container(ping, struct ferry__member, health.ping);
    struct ferry_manager *m = p->manager;

    over(m, &p->health, err);
    if (p->state == FERRY__ENDED)
        ferry__member_maybe_free(p);
    else if (p->state == FERRY__READY && failed(m, &p->health, err, why))
        give_up(p);
}

/* Those that were there when it began to fail. */
static void pool_answered(struct ferry__ping *ping, int err, const char *why)
{
    struct ferry_manager *m = ferry_container(ping, struct ferry_manager, health.ping);
    struct ferry__member *p;

    over(m, &m->health, err);
    ferry__manager_maybe_close(m);
    if (ferry__manager_is_over(m) || !failed(m, &m->health, err, why))
        return;
    ferry__each_member(p, m) if (p->state == FERRY__READY && p->ready_ms <= m->health.failing_ms)
        give_up(p);
}

static void look_at(struct ferry_manager *m, struct ferry__health *h, int listener, uint64_t now,
                    void (*done)(struct ferry__ping *, int, const char *))
{
    if (h->running || now < h->next_ms)
        return;
    h->ping.done = done;
    if (ask(m, h, listener, &m->opts.ping) < 0)
        h->next_ms = now + m->opts.ping.interval_ms; /* that is our trouble, and not theirs */
}

void ferry__health_look(struct ferry_manager *m, uint64_t now)
{
    if (m->opts.ping.interval_ms == 0 || ferry__manager_is_over(m))
        return;
    if (!m->opts.per_process) {
        if (ferry__manager_ready(m) == 0)
            m->health.next_ms = now + m->opts.ping.interval_ms;
        else
            look_at(m, &m->health, m->slots[0].listener, now, pool_answered);
        return;
    }
    for (unsigned i = 0; i < m->nslots; i++) {
        struct ferry__member *p = m->slots[i].current;

        if (p && p->state == FERRY__READY)
            look_at(m, &p->health, m->slots[i].listener, now, member_answered);
    }
}

uint64_t ferry__health_next(const struct ferry_manager *m)
{
    uint64_t next = FERRY_NEVER;

    if (m->opts.ping.interval_ms == 0)
        return next;
    if (!m->opts.per_process)
        return m->health.running ? next : m->health.next_ms;
    for (unsigned i = 0; i < m->nslots; i++) {
        const struct ferry__member *p = m->slots[i].current;

        if (p && p->state == FERRY__READY && !p->health.running && p->health.next_ms < next)
            next = p->health.next_ms;
    }
    return next;
}
