/* SPDX-License-Identifier: MIT */
/*
 * The process manager as a whole: its making, its one step, its states, its end. What it consists
 * of stands in manager_private.h.
 *
 * An owner's function may call back in at any place where something is told; so nothing is freed
 * but from the loop, and each part of the step looks at the state anew.
 */
#include "proc/manager.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "proc/backlog.h"
#include "proc/manager_private.h"

#define TICK_STARTING_MS 50
#define TICK_GROWING_MS 100
#define TICK_MS 1000

/* -- telling ---------------------------------------------------------------------------------- */

void ferry__manager_say(struct ferry_manager *m, enum ferry_manager_level level, const char *format,
                        ...)
{
    char text[512];
    va_list ap;
    int n;

    va_start(ap, format);
    n = vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    if (n > 0 && m->opts.fns->event && !m->quiet)
        m->opts.fns->event(
            m->opts.arg, level,
            ferry_slice(text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1));
}

void ferry__manager_set_state(struct ferry_manager *m, enum ferry_manager_state state)
{
    if (m->state == state)
        return;
    m->state = state;
    if (m->opts.fns->state && !m->quiet)
        m->opts.fns->state(m->opts.arg, state);
}

enum ferry_manager_state ferry_manager_state(const struct ferry_manager *m)
{
    return m->state;
}

const char *ferry_manager_state_text(enum ferry_manager_state state)
{
    static const char *const text[] = {
#define X(name, text) [FERRY_MANAGER_##name] = text,
        FERRY_MANAGER_STATE_MAP(X)
#undef X
    };

    return text[state];
}

uint64_t ferry__manager_jitter(struct ferry_manager *m, uint64_t n)
{
    m->random = m->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return n < 10 ? n : n - (m->random >> 33) % (n / 10);
}

/* -- the step --------------------------------------------------------------------------------- */

unsigned ferry__manager_ready(const struct ferry_manager *m)
{
    unsigned n = 0;

    for (unsigned i = 0; i < m->nslots; i++)
        n += m->slots[i].current && m->slots[i].current->state == FERRY__READY;
    return n;
}

static void look_at_state(struct ferry_manager *m)
{
    unsigned ready = ferry__manager_ready(m), min = m->opts.processes_min;

    if (ferry__manager_is_over(m))
        return;
    if (m->state == FERRY_MANAGER_STARTING ? ready >= min && (min || !m->failures) : ready > 0)
        ferry__manager_set_state(m, FERRY_MANAGER_READY);
    else if (ready == 0 && m->failures)
        ferry__manager_set_state(m, FERRY_MANAGER_FAILING);
    else if (min == 0 && !m->failures)
        ferry__manager_set_state(m, FERRY_MANAGER_READY);
}

static bool is_busy(const struct ferry_manager *m)
{
    for (unsigned i = 0; i < m->nslots; i++) {
        const struct ferry__slot *s = &m->slots[i];

        if (s->next || (s->current ? s->current->state == FERRY__STARTING : s->wanted))
            return true;
    }
    return m->reloading;
}

static void set_tick(struct ferry_manager *m, uint64_t now)
{
    uint64_t at = now + TICK_MS, ping = ferry__health_next(m);

    if (m->state == FERRY_MANAGER_FATAL) {
        ferry_timer_stop(&m->tick);
        return;
    }
    if (is_busy(m))
        at = now + TICK_STARTING_MS;
    else if (m->nslots > m->opts.processes_min && !m->opts.per_process && m->nmembers)
        at = now + TICK_GROWING_MS;
    if (ping < at)
        at = ping;
    if (m->retry_ms > now && m->retry_ms < at)
        at = m->retry_ms;
    ferry_timer_set(m->loop, &m->tick, at);
}

static void step(struct ferry_manager *m)
{
    uint64_t now = ferry__now_ms();
    struct ferry__member *p;

    if (m->state == FERRY_MANAGER_STOPPING)
        return;
    if (m->inbox.fd >= 0 && !m->inbox.watched && ferry__inbox_watch(m->loop, &m->inbox) < 0)
        ferry__manager_say(m, FERRY_MANAGER_WARNING, "what processes say cannot be heard yet");
    ferry__each_member(p, m) ferry__member_look(p, now);
    ferry__reload_look(m, now);
    ferry__health_look(m, now);
    if (!ferry__manager_is_over(m))
        ferry__population_size(m, now);
    if (!ferry__manager_is_over(m))
        ferry__population_fill(m, now);
    look_at_state(m);
    ferry__population_watch(m, now);
    if (m->state != FERRY_MANAGER_STOPPING)
        set_tick(m, now);
}

static void on_tick(struct ferry_timer *t)
{
    step(ferry_container(t, struct ferry_manager, tick));
}

static void on_work(struct ferry_task *t)
{
    step(ferry_container(t, struct ferry_manager, work));
}

void ferry__manager_wake(struct ferry_manager *m)
{
    ferry_task_defer(m->loop, &m->work);
}

/* -- its end ---------------------------------------------------------------------------------- */

static void free_manager(struct ferry_manager *m)
{
    if (m->diag >= 0)
        close(m->diag);
    ferry_timer_stop(&m->tick);
    ferry_task_cancel(&m->work);
    ferry_task_cancel(&m->close);
    free(m->env);
    free(m);
}

static void on_close(struct ferry_task *t)
{
    struct ferry_manager *m = ferry_container(t, struct ferry_manager, close);
    const struct ferry_manager_fns *fns = m->opts.fns;
    void *arg = m->opts.arg;

    if (m->state != FERRY_MANAGER_STOPPING || m->nmembers || m->nwatches || m->health.running)
        return;
    if (m->inbox.fd >= 0) {
        ferry__inbox_close(&m->inbox); /* the last: they may still have something to say */
        if (m->inbox.fd >= 0)
            return;
    }
    free_manager(m);
    fns->closed(arg);
}

void ferry__manager_maybe_close(struct ferry_manager *m)
{
    ferry_task_defer(m->loop, &m->close);
}

static void inbox_closed(struct ferry__inbox *n)
{
    ferry__manager_maybe_close(ferry_container(n, struct ferry_manager, inbox));
}

void ferry_manager_stop(struct ferry_manager *m, int sig, unsigned kill_after_ms)
{
    struct ferry__member *p;

    if (m->reloading)
        m->reloading = false;
    ferry_timer_stop(&m->tick);
    ferry__manager_set_state(m, FERRY_MANAGER_STOPPING);
    ferry__each_member(p, m)
    {
        if (p->state == FERRY__ENDED)
            continue;
        if (p->state != FERRY__STOPPING)
            ferry__member_stop(p, FERRY__WHY_ASKED);
        else if (p->why == FERRY__WHY_LEAVING)
            p->why = FERRY__WHY_ASKED;
        p->stopped_ms = ferry__now_ms();
        ferry_process_stop(&p->process, sig ? sig : m->opts.stop_signal, kill_after_ms);
    }
    if (m->health.running)
        ferry__ping_cancel(&m->health.ping);
    for (unsigned i = 0; i < m->nslots; i++) {
        struct ferry__slot *s = &m->slots[i];

        s->wanted = false;
        if (s->watching == FERRY__WATCHED) {
            s->watching = FERRY__UNWATCHING;
            ferry_watch_close(&s->watch);
        }
    }
    ferry__manager_maybe_close(m);
}

unsigned ferry_manager_signal(struct ferry_manager *m, int sig)
{
    struct ferry__member *p;
    unsigned n = 0;

    ferry__each_member(p, m) n +=
        p->state != FERRY__ENDED && ferry_process_signal(&p->process, sig) == 0;
    return n;
}

/* -- its making ------------------------------------------------------------------------------- */

static void set_defaults(struct ferry_manager_opts *o)
{
#define DEFAULT(field, value)                                                                      \
    if (!o->field)                                                                                 \
    o->field = (value)
    DEFAULT(processes_min, o->on_demand ? 0 : 1);
    DEFAULT(processes_max, o->processes_min ? o->processes_min : 1);
    DEFAULT(idle_ms, 60000);
    DEFAULT(start_ms, 1000);
    DEFAULT(ready_ms, 30000);
    DEFAULT(pause_ms, 100);
    DEFAULT(pause_max_ms, 10000);
    DEFAULT(settled_ms, 5000);
    DEFAULT(stop_signal, SIGTERM);
    DEFAULT(stop_ms, 10000);
    DEFAULT(ping.timeout_ms, 5000);
    DEFAULT(ping.failures_max, 3);
    DEFAULT(lines_per_s, 200);
#undef DEFAULT
    if (o->ready_ms <= o->start_ms && o->ready != FERRY_MANAGER_READY_NOTIFY)
        o->ready_ms = o->start_ms + 1;
}

static int check(const struct ferry_manager_opts *o, const char **why)
{
    if (!o->fns || !o->fns->closed || !o->spawn.argv || !o->spawn.argv[0])
        *why = "there is no program";
    else if (!o->listeners)
        *why = "there is no socket";
    else if (o->processes_max > FERRY_MANAGER_PROCESSES_MAX)
        *why = "there are too many processes";
    else if (o->processes_max && o->processes_min > o->processes_max)
        *why = "the least number of processes is above the greatest";
    else if (o->stop_signal < 0 || o->stop_signal >= NSIG)
        *why = "there is no such signal to stop it";
    else
        return 0;
    return -EINVAL;
}

static struct ferry_manager *new_manager(struct ferry_loop *loop,
                                         const struct ferry_manager_opts *given)
{
    struct ferry_manager_opts o = *given;
    struct ferry_manager *m;
    size_t nenv = 5;

    set_defaults(&o);
    m = calloc(1, sizeof *m + o.processes_max * sizeof *m->slots);
    if (!m)
        return NULL;
    for (const char *const *e = o.spawn.env; e && *e; e++)
        nenv++;
    m->env = calloc(nenv, sizeof *m->env);
    if (!m->env) {
        free(m);
        return NULL;
    }
    m->loop = loop;
    m->opts = o;
    m->opts.listeners = NULL;
    m->nslots = o.processes_max;
    for (unsigned i = 0; i < m->nslots; i++) {
        m->slots[i].manager = m;
        m->slots[i].listener = given->listeners[o.per_process ? i : 0];
        m->slots[i].wanted = i < o.processes_min;
    }
    return m;
}

static void init(struct ferry_manager *m)
{
    const char *program = strrchr(m->opts.spawn.argv[0], '/');

    program = program ? program + 1 : m->opts.spawn.argv[0];
    snprintf(m->name, sizeof m->name, "%s", m->opts.name ? m->opts.name : program);
    m->diag = -1;
    m->generation = m->generations = 1;
    m->rate = 1;
    m->began_ms = ferry__now_ms();
    if (getrandom(&m->random, sizeof m->random, GRND_NONBLOCK) != sizeof m->random)
        m->random = ferry_now_us();
    ferry_list_init(&m->members);
    ferry_timer_init(&m->tick, on_tick);
    ferry_task_init(&m->work, on_work);
    ferry_task_init(&m->close, on_close);
    m->inbox.said = ferry__member_notified;
    m->inbox.closed = inbox_closed;
}

/* The first processes: when not one of them can be executed, that is the caller's to know. */
static int start_first(struct ferry_manager *m, char *why, size_t cap)
{
    int err = ferry__inbox_open(&m->inbox);

    if (err < 0) {
        snprintf(why, cap, "no socket for what %s says: %s", m->name, ferry_strerror(err));
        return err;
    }
    m->quiet = true;
    ferry__population_fill(m, ferry__now_ms());
    m->quiet = false;
    if (m->opts.processes_min == 0 || m->nmembers) {
        m->told_err = 0;
        return 0;
    }
    snprintf(why, cap, "%s %s: %s", m->opts.spawn.argv[0], m->told_step,
             ferry_strerror(m->told_err));
    return m->told_err;
}

int ferry_manager_start(struct ferry_loop *loop, const struct ferry_manager_opts *o,
                        struct ferry_manager **out, char *why, size_t cap)
{
    struct ferry_manager *m;
    const char *text;
    int err = check(o, &text);

    if (err < 0) {
        snprintf(why, cap, "%s", text);
        return err;
    }
    m = new_manager(loop, o);
    if (!m) {
        snprintf(why, cap, "%s cannot be started: %s", o->spawn.argv[0], ferry_strerror(-ENOMEM));
        return -ENOMEM;
    }
    init(m);
    err = start_first(m, why, cap);
    if (err < 0) {
        ferry__inbox_close(&m->inbox);
        free_manager(m);
        return err;
    }
    ferry__manager_wake(m);
    *out = m;
    return 0;
}
