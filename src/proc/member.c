/* SPDX-License-Identifier: MIT */
/*
 * One process of a pool, from its start to its end:
 *
 *     STARTING ──▶ READY ──▶ STOPPING ──▶ ENDED ─closed, ping over─▶ freed
 *         └──────────┴──────────┴─▶
 *
 * While it starts or is ready a slot points to it; stopping takes it out. What its end means is
 * decided here: something asked for, a wish to be started afresh (status 0), or a failure.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proc/manager_private.h"

#define WISH_MIN_MS 100 /* status 0 sooner than this, and never ready, is no wish but a loop */
#define BURST_S 10      /* seconds' worth of lines that may be told at once */
#define DROPPED_MS 10000
#define TOOK_MIN_MS 50 /* a kill that came sooner was what the owner asked for */

static struct ferry__member *member_of(struct ferry_process *p)
{
    return ferry_container(p, struct ferry__member, process);
}

static void leave_slot(struct ferry__member *p)
{
    if (p->slot->current == p)
        p->slot->current = NULL;
    if (p->slot->next == p)
        p->slot->next = NULL;
}

/* -- what it writes --------------------------------------------------------------------------- */

static void tell_dropped(struct ferry__member *p, uint64_t now)
{
    if (p->dropped == 0)
        return;
    ferry__manager_say(p->manager, FERRY_MANAGER_WARNING,
                       "process %d wrote more than can be told: %llu lines were left out",
                       (int)p->pid, (unsigned long long)p->dropped);
    p->dropped = 0;
    p->dropped_ms = now;
}

static bool may_tell(struct ferry__member *p)
{
    uint64_t now = ferry__now_ms(), rate = p->manager->opts.lines_per_s,
             max = rate * BURST_S * 1000;

    p->lines += (now - p->lines_ms) * rate;
    p->lines_ms = now;
    if (p->lines > max)
        p->lines = max;
    if (p->lines < 1000)
        return false;
    p->lines -= 1000;
    return true;
}

static void on_line(struct ferry_process *process, enum ferry_process_stream stream,
                    struct ferry_slice line)
{
    struct ferry__member *p = member_of(process);
    struct ferry_manager *m = p->manager;

    if (!may_tell(p)) {
        if (p->dropped++ == 0)
            p->dropped_ms = p->lines_ms;
        m->totals.lines_dropped++;
        return;
    }
    if (m->opts.fns->line)
        m->opts.fns->line(m->opts.arg, p->pid, stream, line);
}

/* -- its end ---------------------------------------------------------------------------------- */

static void remember_end(struct ferry_manager *m, const struct ferry__member *p,
                         const struct ferry_process_end *end)
{
    char how[128];

    ferry_process_end_format(end, how, sizeof how);
    snprintf(m->totals.last_end, sizeof m->totals.last_end, "process %d %s", (int)p->pid, how);
    m->last_end_ms = ferry__now_ms();
}

static void end_of_stopped(struct ferry__member *p, const struct ferry_process_end *end)
{
    struct ferry_manager *m = p->manager;
    uint64_t took = ferry__now_ms() - p->stopped_ms;

    if (end->signal == SIGKILL && m->opts.stop_signal != SIGKILL && took >= TOOK_MIN_MS)
        ferry__manager_say(m, FERRY_MANAGER_WARNING,
                           "process %d did not end in %u.%u s and was killed", (int)p->pid,
                           (unsigned)(took / 1000), (unsigned)(took % 1000 / 100));
}

static void end_of_failed(struct ferry__member *p, struct ferry_process_end *end, bool as_next)
{
    struct ferry_manager *m = p->manager;
    char how[192], text[256];

    m->totals.crashed++;
    end->wait_ms = ferry__population_failed(m, p);
    end->again =
        !m->reloading && !ferry__manager_is_over(m) && (p->slot->wanted || p->slot->current);
    ferry_process_end_format(end, how, sizeof how);
    snprintf(text, sizeof text, "process %d %s", (int)p->pid, how);
    if (as_next && m->reloading)
        ferry__reload_fail(m, text);
    else
        ferry__manager_say(m, FERRY_MANAGER_WARNING, "%s", text);
}

/* The end of one that nobody asked for. */
static void end_of_running(struct ferry__member *p, struct ferry_process_end *end, bool as_next,
                           bool was_ready)
{
    struct ferry_manager *m = p->manager;

    remember_end(m, p, end);
    if (!end->err && !end->signal && end->status == 0 &&
        (was_ready || end->ran_ms >= WISH_MIN_MS)) {
        m->totals.exited++;
        return;
    }
    end_of_failed(p, end, as_next);
}

static void on_ended(struct ferry_process *process, const struct ferry_process_end *how)
{
    struct ferry__member *p = member_of(process);
    struct ferry_manager *m = p->manager;
    struct ferry_process_end end = *how;
    bool stopping = p->state == FERRY__STOPPING && p->why != FERRY__WHY_LEAVING;
    bool was_ready = p->ready_ms != 0, as_next = p->slot->next == p;

    leave_slot(p);
    p->state = FERRY__ENDED;
    if (p->health.running)
        ferry__ping_cancel(&p->health.ping);
    if (m->opts.fns->process)
        m->opts.fns->process(m->opts.arg, p->pid, false);
    tell_dropped(p, ferry__now_ms());
    if (stopping)
        end_of_stopped(p, &end);
    else
        end_of_running(p, &end, as_next, was_ready);
    /* The one that was to take its place has it now. */
    if (!m->reloading && !p->slot->current && p->slot->next) {
        p->slot->current = p->slot->next;
        p->slot->next = NULL;
    }
    ferry__manager_wake(m);
}

void ferry__member_maybe_free(struct ferry__member *p)
{
    struct ferry_manager *m = p->manager;

    if (!p->closed || p->health.running)
        return;
    ferry_list_remove(&p->link);
    m->nmembers--;
    free(p);
    ferry__manager_maybe_close(m);
}

static void on_closed(struct ferry_process *process)
{
    struct ferry__member *p = member_of(process);

    p->closed = true;
    ferry__member_maybe_free(p);
}

static const struct ferry_process_fns process_fns = {
    .line = on_line, .ended = on_ended, .closed = on_closed};

/* -- its start -------------------------------------------------------------------------------- */

static void set_limits(struct ferry__member *p)
{
    struct ferry_manager *m = p->manager;

    p->max_age_ms = ferry__manager_jitter(m, m->opts.max_age_ms);
    p->max_rss = ferry__manager_jitter(m, m->opts.max_rss);
    p->max_requests = ferry__manager_jitter(m, m->opts.max_requests);
}

/*
 * Whether accepting blocks is one setting for all who share a socket. Programs that wait for events
 * switch it off for all; switched on again under them, they would hang in accept.
 */
static bool is_in_use(const struct ferry__slot *slot)
{
    struct ferry_manager *m = slot->manager;
    struct ferry__member *p;

    ferry__each_member(p, m) if (p->state != FERRY__ENDED &&
                                 (!m->opts.per_process || p->slot == slot)) return true;
    return false;
}

/* The text is only looked at while it is started. */
static void set_env(struct ferry_manager *m, const struct ferry__member *p)
{
    const char *const *from = m->opts.spawn.env;
    const char **to = m->env;
    unsigned i = 0;

    for (; from && *from; from++)
        *to++ = *from;
    if (m->inbox.fd >= 0) {
        snprintf(m->env_text[i], sizeof *m->env_text, "NOTIFY_SOCKET=%s", m->inbox.address);
        *to++ = m->env_text[i++];
        *to++ = "FERRY_STATS=1";
    }
    if (p->max_requests) {
        snprintf(m->env_text[i], sizeof *m->env_text, "FERRY_MAX_REQUESTS=%llu",
                 (unsigned long long)p->max_requests);
        *to++ = m->env_text[i++];
        snprintf(m->env_text[i], sizeof *m->env_text, "PHP_FCGI_MAX_REQUESTS=%llu",
                 (unsigned long long)p->max_requests);
        *to++ = m->env_text[i++];
    }
    *to = NULL;
}

int ferry__member_start(struct ferry_manager *m, struct ferry__slot *slot, unsigned generation,
                        bool as_next, const char **step)
{
    struct ferry_process_opts o = {.spawn = m->opts.spawn, .once = true};
    struct ferry__member *p = calloc(1, sizeof *p);
    int err;

    *step = "cannot be prepared";
    if (!p)
        return -ENOMEM;
    p->manager = m;
    p->slot = slot;
    p->generation = generation;
    p->requests = p->active = -1;
    p->lines = (uint64_t)m->opts.lines_per_s * BURST_S * 1000;
    set_limits(p);
    set_env(m, p);
    o.spawn.env = m->env;
    o.spawn.listener = slot->listener;
    o.spawn.listener_as_is = is_in_use(slot);
    err = ferry_process_start(m->loop, &p->process, &process_fns, &o, step);
    if (err < 0) {
        free(p);
        return err;
    }
    p->pid = p->process.pid;
    p->serial = ++m->serial;
    p->started_ms = p->busy_ms = p->lines_ms = ferry__now_ms();
    *(as_next ? &slot->next : &slot->current) = p;
    ferry_list_push(&m->members, &p->link);
    m->nmembers++;
    m->totals.started++;
    if (m->opts.fns->process)
        m->opts.fns->process(m->opts.arg, p->pid, true);
    return 0;
}

void ferry__member_stop(struct ferry__member *p, enum ferry__why why)
{
    struct ferry_manager *m = p->manager;

    if (p->state >= FERRY__STOPPING)
        return;
    leave_slot(p);
    p->state = FERRY__STOPPING;
    p->why = why;
    p->stopped_ms = ferry__now_ms();
    if (p->health.running)
        ferry__ping_cancel(&p->health.ping);
    if (why != FERRY__WHY_LEAVING)
        ferry_process_stop(&p->process, m->opts.stop_signal, m->opts.stop_ms);
    ferry__manager_wake(m);
}

/* -- being ready ------------------------------------------------------------------------------ */

void ferry__member_became_ready(struct ferry__member *p)
{
    struct ferry_manager *m = p->manager;
    struct ferry__slot *slot = p->slot;
    struct ferry__member *old = slot->current;

    if (p->state != FERRY__STARTING)
        return;
    p->state = FERRY__READY;
    p->ready_ms = p->busy_ms = ferry__now_ms();
    if (p->health.running)
        ferry__ping_cancel(&p->health.ping);
    p->health.next_ms = p->ready_ms + m->opts.ping.interval_ms;
    if (slot->next == p && !m->reloading) {
        slot->current = p;
        slot->next = NULL;
        if (old) {
            m->totals.recycled++;
            ferry__manager_say(m, FERRY_MANAGER_NOTE, "process %d takes the place of process %d",
                               (int)p->pid, (int)old->pid);
            ferry__member_stop(old, FERRY__WHY_REPLACED);
        }
    }
    ferry__manager_wake(m);
}

static bool by_time(const struct ferry__member *p)
{
    switch (p->manager->opts.ready) {
    case FERRY_MANAGER_READY_NOTIFY:
        return false;
    case FERRY_MANAGER_READY_VALUES:
        return !p->health.running && !ferry__health_is_alone(p);
    default:
        return true;
    }
}

static void look_at_start(struct ferry__member *p, uint64_t now)
{
    struct ferry_manager *m = p->manager;
    uint64_t age = now - p->started_ms;
    char text[96];

    if (by_time(p) && age >= m->opts.start_ms) {
        ferry__member_became_ready(p);
        return;
    }
    if (age < m->opts.ready_ms) {
        ferry__health_probe(p, now);
        return;
    }
    snprintf(text, sizeof text, "process %d was not ready after %u.%u s", (int)p->pid,
             (unsigned)(age / 1000), (unsigned)(age % 1000 / 100));
    if (p->slot->next == p && m->reloading) {
        ferry__reload_fail(m, text);
        return;
    }
    ferry__member_stop(p, FERRY__WHY_NOT_READY);
    ferry__population_failed(m, p);
    ferry__manager_say(m, FERRY_MANAGER_WARNING, "%s and is stopped", text);
}

void ferry__member_look(struct ferry__member *p, uint64_t now)
{
    struct ferry_manager *m = p->manager;

    if (p->dropped && now - p->dropped_ms >= DROPPED_MS)
        tell_dropped(p, now);
    if (p->state == FERRY__STARTING && !ferry__manager_is_over(m))
        look_at_start(p, now);
    if (p->state == FERRY__READY && m->failures && p->serial > m->failed_serial &&
        now - p->started_ms >= m->opts.settled_ms)
        m->failures = 0;
    /* One that said it would leave has as long as one that is told to. */
    if (p->state == FERRY__STOPPING && p->why == FERRY__WHY_LEAVING &&
        now - p->stopped_ms >= m->opts.stop_ms) {
        p->why = FERRY__WHY_REPLACED;
        p->stopped_ms = now;
        ferry_process_stop(&p->process, m->opts.stop_signal, m->opts.stop_ms);
    }
}

/* -- what it says of itself ------------------------------------------------------------------- */

static struct ferry__member *find(struct ferry_manager *m, pid_t pid)
{
    struct ferry__member *p;

    ferry__each_member(p, m) if (p->pid == pid && p->state != FERRY__ENDED) return p;
    return NULL;
}

static void take_number(struct ferry_slice value, int64_t *to)
{
    uint64_t n;

    if (ferry_slice_u64(value, INT64_MAX, &n) == 0)
        *to = (int64_t)n;
}

/* That it leaves only it can say itself, and no program that it runs. */
static void take_word(struct ferry__member *p, pid_t pid, struct ferry_slice name,
                      struct ferry_slice value)
{
    if (ferry_slice_eq(name, FERRY_SLICE("READY")) && ferry_slice_eq(value, FERRY_SLICE("1"))) {
        if (p->manager->opts.ready != FERRY_MANAGER_READY_VALUES)
            ferry__member_became_ready(p);
    } else if (ferry_slice_eq(name, FERRY_SLICE("STOPPING")) &&
               ferry_slice_eq(value, FERRY_SLICE("1"))) {
        if (p->pid == pid && p->state == FERRY__READY && p->slot->current == p && !p->slot->next)
            ferry__member_stop(p, FERRY__WHY_LEAVING);
    } else if (ferry_slice_eq(name, FERRY_SLICE("STATUS"))) {
        snprintf(p->said, sizeof p->said, "%.*s", (int)value.len, value.p);
    } else if (ferry_slice_eq(name, FERRY_SLICE("X_FERRY_REQUESTS"))) {
        take_number(value, &p->requests);
    } else if (ferry_slice_eq(name, FERRY_SLICE("X_FERRY_ACTIVE"))) {
        take_number(value, &p->active);
        p->busy_ms = ferry__now_ms();
    }
}

void ferry__member_notified(struct ferry__inbox *n, pid_t pid, struct ferry_slice text)
{
    struct ferry_manager *m = ferry_container(n, struct ferry_manager, inbox);
    struct ferry__member *p = find(m, pid);
    struct ferry_slice name, value;

    if (!p)
        p = find(m, getpgid(pid));
    while (p && ferry__inbox_next(&text, &name, &value))
        take_word(p, pid, name, value);
}
