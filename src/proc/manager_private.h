/* SPDX-License-Identifier: MIT */
#ifndef FERRY_PROC_MANAGER_PRIVATE_H
#define FERRY_PROC_MANAGER_PRIVATE_H

#include "io/ping.h"
#include "proc/inbox.h"
#include "proc/manager.h"

/*
 * What the files of the process manager share. A pool has as many slots as it may have processes; a
 * slot has at most the process that serves (current) and the one that is to take its place (next).
 * A process that was told to stop has left its slot; all there are stand in `members`.
 *
 * Everything that takes a decision runs in one function, step, at the end of a turn in which
 * something happened and at every tick.
 */

#define FERRY__STARTS_MAX 32 /* in one step */

/* Why a process was told to stop. */
enum ferry__why {
    FERRY__WHY_NONE,
    FERRY__WHY_ASKED, /* ferry_manager_stop */
    FERRY__WHY_IDLE,
    FERRY__WHY_REPLACED,
    FERRY__WHY_RELOADED,
    FERRY__WHY_ROLLED_BACK,
    FERRY__WHY_NOT_READY,
    FERRY__WHY_UNHEALTHY,
    FERRY__WHY_LEAVING, /* it was not told: it says so itself (STOPPING=1) */
};

enum ferry__member_state {
    FERRY__STARTING,
    FERRY__READY,
    FERRY__STOPPING,
    FERRY__ENDED /* and not yet freed */
};

struct ferry__health {
    struct ferry__ping ping;
    bool running;
    unsigned failures; /* in a row */
    uint64_t next_ms, failing_ms;
};

struct ferry__member {
    struct ferry_list link; /* in members */
    struct ferry_manager *manager;
    struct ferry__slot *slot;
    struct ferry_process process;
    pid_t pid;
    unsigned generation;
    uint64_t serial; /* the how manieth it is */
    enum ferry__member_state state;
    enum ferry__why why;
    bool closed, probed;
    uint64_t started_ms, ready_ms, stopped_ms;
    /* its own limits, a little below those of the pool */
    uint64_t max_age_ms, max_rss, max_requests;
    /* as it was last seen */
    uint64_t busy_ms, cpu_ms, rss;
    int64_t requests, active;
    char said[96];
    /* the lines that may be told now, in thousandths */
    uint64_t lines, lines_ms, dropped, dropped_ms;
    struct ferry__health health; /* or, while it starts, the look whether it is ready */
};

struct ferry__slot {
    struct ferry_manager *manager;
    int listener;
    bool wanted;
    struct ferry__member *current, *next;
    enum { FERRY__UNWATCHED, FERRY__WATCHED, FERRY__UNWATCHING } watching;
    struct ferry_watch watch; /* for the first connection, while nobody serves here */
};

struct ferry_manager {
    struct ferry_loop *loop;
    struct ferry_manager_opts opts; /* with the defaults in place of zeros; no listeners */
    char name[FERRY_MANAGER_NAME_MAX];
    const char **env; /* room for all of the program's and ours */
    char env_text[3][64];
    enum ferry_manager_state state;
    bool quiet; /* ferry_manager_start tells by itself */
    struct ferry_timer tick;
    struct ferry_task work, close;
    struct ferry__inbox inbox;
    int diag; /* see proc/backlog.h */
    struct ferry_list members;
    unsigned nmembers, nwatches;
    uint64_t serial, random, began_ms;

    unsigned generation, generations; /* the one that serves, and the last that was begun */
    bool reloading, reload_again;
    unsigned reload_need;
    uint64_t reload_by_ms;

    /* Failures are counted by rounds: of those that ran at the same time, one counts. */
    unsigned failures;
    uint64_t failed_serial, retry_ms;
    int told_err; /* why none could be executed: said once */
    char told_step[64];

    unsigned pressed, rate; /* ticks in a row with somebody in the queue; how many to start next */
    uint64_t pressed_ms;    /* when somebody was last seen in the queue */
    uint64_t sampled_ms;
    struct ferry__health health; /* of the shared socket */
    /* Our own connections that may wait at the shared socket: open, and already given up. */
    unsigned probes, probes_left;

    struct ferry_manager_status totals; /* the counters alone */
    uint64_t last_end_ms;

    unsigned nslots;
    struct ferry__slot slots[];
};

static inline uint64_t ferry__now_ms(void)
{
    return ferry_now_us() / 1000;
}

static inline bool ferry__manager_is_over(const struct ferry_manager *m)
{
    return m->state == FERRY_MANAGER_STOPPING || m->state == FERRY_MANAGER_FATAL;
}

#define ferry__each_member(at, m)                                                                  \
    for (struct ferry_list *link_ = (m)->members.next, *next_ = link_->next;                       \
         link_ != &(m)->members &&                                                                 \
         ((at = ferry_container(link_, struct ferry__member, link)), true);                        \
         link_ = next_, next_ = link_->next)

/* -- manager.c -- */

__attribute__((format(printf, 3, 4))) void
ferry__manager_say(struct ferry_manager *, enum ferry_manager_level, const char *format, ...);
void ferry__manager_wake(struct ferry_manager *);        /* step runs at the end of this turn */
void ferry__manager_maybe_close(struct ferry_manager *); /* something of it is gone */
void ferry__manager_set_state(struct ferry_manager *, enum ferry_manager_state);
unsigned ferry__manager_ready(const struct ferry_manager *); /* processes that serve */
/* `n` less a random part of up to a tenth. */
uint64_t ferry__manager_jitter(struct ferry_manager *, uint64_t n);

/* -- member.c: one process -- */

/* Starts one for a slot, as its current or its next: 0, or -errno with `*step`. */
int ferry__member_start(struct ferry_manager *, struct ferry__slot *, unsigned generation,
                        bool as_next, const char **step);
void ferry__member_stop(struct ferry__member *, enum ferry__why);
void ferry__member_look(struct ferry__member *, uint64_t now); /* at each step */
void ferry__member_became_ready(struct ferry__member *);
void ferry__member_maybe_free(struct ferry__member *);
/* What it said on NOTIFY_SOCKET. */
void ferry__member_notified(struct ferry__inbox *, pid_t, struct ferry_slice text);

/* -- population.c: how many -- */

void ferry__population_fill(struct ferry_manager *, uint64_t now);
void ferry__population_size(struct ferry_manager *, uint64_t now); /* grows, shrinks, replaces */
/* A process failed, or (NULL) none could be made: the pause until the next start. */
uint64_t ferry__population_failed(struct ferry_manager *, const struct ferry__member *);
void ferry__population_watch(struct ferry_manager *, uint64_t now);
unsigned ferry__population_count(const struct ferry_manager *);

/* -- reload.c: generations -- */

void ferry__reload_look(struct ferry_manager *, uint64_t now);
void ferry__reload_member_ready(struct ferry_manager *);
void ferry__reload_fail(struct ferry_manager *, const char *why);

/* -- health.c: does it answer? -- */

void ferry__health_look(struct ferry_manager *, uint64_t now);
void ferry__health_probe(struct ferry__member *, uint64_t now); /* of one that starts */
bool ferry__health_is_alone(const struct ferry__member *);      /* on its socket */
uint64_t ferry__health_next(const struct ferry_manager *);

#endif
