/* SPDX-License-Identifier: MIT */
/*
 * Reload: a new generation beside the old one, on the same listeners. The switch happens in one
 * step, when enough of the new are ready; until then the old ones are the ones that count, and
 * nothing is lost by giving the new ones up.
 */
#include <stdio.h>

#include "proc/manager_private.h"

static const char *plural(unsigned n)
{
    return n == 1 ? "process" : "processes";
}

/* Nobody serves: the new generation is all there is from now on. */
static void start_afresh(struct ferry_manager *m)
{
    for (unsigned i = 0; i < m->nslots; i++) {
        struct ferry__slot *s = &m->slots[i];

        if (s->current)
            ferry__member_stop(s->current, FERRY__WHY_RELOADED);
        if (s->next)
            ferry__member_stop(s->next, FERRY__WHY_RELOADED);
        if (i < m->opts.processes_min)
            s->wanted = true;
    }
    m->generation = ++m->generations;
    m->totals.reloads++;
    m->failures = 0;
    m->failed_serial = m->serial;
    m->retry_ms = 0;
    m->told_err = 0;
    ferry__manager_say(m, FERRY_MANAGER_NOTE, "reloaded: started afresh as generation %u",
                       m->generation);
    if (m->state != FERRY_MANAGER_STOPPING)
        ferry__manager_set_state(m, FERRY_MANAGER_STARTING);
}

static void begin(struct ferry_manager *m)
{
    unsigned n = 0;

    for (unsigned i = 0; i < m->nslots; i++) {
        struct ferry__slot *s = &m->slots[i];

        if (s->next) /* it would be of the old generation */
            ferry__member_stop(s->next, FERRY__WHY_ROLLED_BACK);
        n += s->wanted;
    }
    m->reloading = true;
    m->generations++;
    m->reload_need = m->opts.per_process || n < m->opts.processes_min ? n : m->opts.processes_min;
    if (m->reload_need == 0)
        m->reload_need = 1;
    m->reload_by_ms = ferry__now_ms() + m->opts.ready_ms;
    ferry__manager_say(m, FERRY_MANAGER_NOTE, "reload: %u new %s beside the old", n, plural(n));
}

void ferry_manager_reload(struct ferry_manager *m)
{
    if (m->state == FERRY_MANAGER_STOPPING)
        return;
    if (m->reloading)
        m->reload_again = true;
    else if (ferry__manager_ready(m) == 0)
        start_afresh(m);
    else if (m->nmembers > 2 * m->nslots)
        m->reload_again = true; /* until those of earlier reloads have ended: they are bounded */
    else
        begin(m);
    ferry__manager_wake(m);
}

bool ferry_manager_is_reloading(const struct ferry_manager *m)
{
    return m->reloading || m->reload_again;
}

static void change(struct ferry_manager *m)
{
    unsigned n = 0;

    m->reloading = false;
    m->generation = m->generations;
    m->totals.reloads++;
    m->failures = 0;
    m->retry_ms = 0;
    for (unsigned i = 0; i < m->nslots; i++) {
        struct ferry__slot *s = &m->slots[i];

        if (s->current)
            ferry__member_stop(s->current, FERRY__WHY_RELOADED);
        s->current = s->next;
        s->next = NULL;
        n += s->current != NULL;
    }
    ferry__manager_say(m, FERRY_MANAGER_NOTE, "reloaded: %u %s of generation %u", n, plural(n),
                       m->generation);
}

void ferry__reload_fail(struct ferry_manager *m, const char *why)
{
    if (!m->reloading)
        return;
    m->reloading = false;
    m->totals.reloads_failed++;
    for (unsigned i = 0; i < m->nslots; i++)
        if (m->slots[i].next)
            ferry__member_stop(m->slots[i].next, FERRY__WHY_ROLLED_BACK);
    ferry__manager_say(m, FERRY_MANAGER_WARNING, "reload failed, the old processes stay: %s", why);
    ferry__manager_wake(m);
}

void ferry__reload_look(struct ferry_manager *m, uint64_t now)
{
    unsigned ready = 0;

    if (ferry__manager_is_over(m))
        return;
    if (!m->reloading) {
        if (m->reload_again) {
            m->reload_again = false;
            ferry_manager_reload(m);
        }
        return;
    }
    for (unsigned i = 0; i < m->nslots; i++)
        ready += m->slots[i].next && m->slots[i].next->state == FERRY__READY;
    if (ready >= m->reload_need)
        change(m);
    else if (now >= m->reload_by_ms)
        ferry__reload_fail(m, "the new ones were not ready in time");
}
