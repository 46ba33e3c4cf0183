/* SPDX-License-Identifier: MIT */
#ifndef FERRY_PROC_MANAGER_H
#define FERRY_PROC_MANAGER_H

#include <stdio.h>

#include "io/loop.h"
#include "io/spawn.h"
#include "proc/process.h"

/*
 * The process manager: a pool of processes of one FastCGI program, behind listening sockets that
 * its owner has opened and that stay open over every restart, so that requests wait in the backlog
 * instead of failing. It keeps the number of processes between two limits by what waits in the
 * backlog, starts again what ends (after a pause that doubles as long as they keep failing),
 * replaces what is old or large before it is stopped, and changes all of them for new ones on
 * reload, the old ones serving until the new ones are ready.
 *
 * All functions are to be called in the loop's thread. The owner's functions are called from the
 * loop, and from ferry_manager_start, _reload and _stop; every function may be called from them but
 * where it says otherwise.
 */

#define FERRY_MANAGER_PROCESSES_MAX 1024
#define FERRY_MANAGER_NAME_MAX 64

/* X(name, text) */
#define FERRY_MANAGER_STATE_MAP(X)                                                                 \
    X(STARTING, "starting") /* nothing is ready yet */                                             \
    X(READY, "ready") /* as many as MIN have been, and one still is; on demand, none has to be */  \
    X(FAILING, "failing")   /* no process is ready, and those that were started failed */          \
    X(FATAL, "fatal")       /* given up: nothing is started any more but by a reload */            \
    X(STOPPING, "stopping") /* since ferry_manager_stop */

enum ferry_manager_state {
#define X(name, text) FERRY_MANAGER_##name,
    FERRY_MANAGER_STATE_MAP(X)
#undef X
};

/* X(name, text): how one notices that a process is ready. */
#define FERRY_MANAGER_READY_MAP(X)                                                                 \
    X(AUTO, "auto")     /* whichever of the others comes first */                                  \
    X(NOTIFY, "notify") /* it says READY=1 on NOTIFY_SOCKET, as to systemd */                      \
    X(VALUES, "values") /* it answers to GET_VALUES; only where no other process could answer in   \
                           its place: alone on its socket. Else as TIME */                         \
    X(TIME, "time")     /* it has run for start_ms, or says READY=1 before */

enum ferry_manager_ready {
#define X(name, text) FERRY_MANAGER_READY_##name,
    FERRY_MANAGER_READY_MAP(X)
#undef X
};

enum ferry_manager_level {
    FERRY_MANAGER_NOTE,    /* what one may want to know: sizes, reloads, replacements */
    FERRY_MANAGER_WARNING, /* what one should know: crashes, failed starts, kills */
};

struct ferry_manager_fns {
    /* A line that a process wrote, without its newline, perhaps with control characters; valid
     * during the call. May be NULL. */
    void (*line)(void *arg, pid_t, enum ferry_process_stream, struct ferry_slice line);
    /* What became of the pool or of a process: one sentence without a full stop and without the
     * pool's name. May hold what the program said of itself, so escape it. May be NULL. */
    void (*event)(void *arg, enum ferry_manager_level, struct ferry_slice text);
    /* A process (the leader of a process group of its own) was started, or has ended and was
     * reaped: for files of pids and for guards. Calls no function of the manager. May be NULL. */
    void (*process)(void *arg, pid_t, bool started);
    /* Another state than before; the first one (STARTING) is not told. May be NULL. */
    void (*state)(void *arg, enum ferry_manager_state);
    /* After ferry_manager_stop: no process is left, the manager is freed, and the listeners and all
     * that the options point to are the owner's again. */
    void (*closed)(void *arg);
};

/* A look at whether it still answers: a request, or GET_VALUES when there is no script. */
struct ferry_manager_ping {
    unsigned interval_ms;  /* 0: no pings */
    unsigned timeout_ms;   /* 0 means 5000 */
    unsigned failures_max; /* so many in a row, and its processes are ended and started again; 0
                              means 3 */
    const char *script;    /* SCRIPT_FILENAME of a GET; a status below 500 is good */
    const char *uri;       /* REQUEST_URI; NULL means "/" */
};

/* Every zero means the default that stands beside it. */
struct ferry_manager_opts {
    const char *name; /* of the pool, as the status shows it; NULL: the program's */
    /* The program and what it runs as. `listener`, `out` and `err` are set here, and `env` gets a
     * few more: NOTIFY_SOCKET, FERRY_STATS (ferry's library then reports its load), and with
     * max_requests FERRY_MAX_REQUESTS and PHP_FCGI_MAX_REQUESTS. All that it points to must stay
     * until `closed`. */
    struct ferry_spawn_opts spawn;
    /* One listening socket that all processes share; or, with `per_process`, processes_max of them,
     * one for each: of a socket that has no process, the first connection starts one. They stay
     * open until `closed`, and are the owner's. The array is copied. */
    const int *listeners;
    bool per_process;
    bool on_demand;         /* processes_min 0 means 0: a connection starts the first process */
    unsigned processes_min; /* 0 means 1, but with on_demand */
    unsigned processes_max; /* 0 means processes_min, and 1 at least; at most
                               FERRY_MANAGER_PROCESSES_MAX */
    unsigned load_max;      /* a process that reports so many active requests (X_FERRY_ACTIVE) is
                               full; when all are, the pool grows. 0: only the backlog counts */
    unsigned idle_ms;       /* above processes_min, one that did nothing (used no CPU time, reported
                               no active request, while nobody queued) for so long is stopped, one
                               at a time; 0 means 60000 */

    enum ferry_manager_ready ready;
    unsigned start_ms; /* 0 means 1000 */
    unsigned ready_ms; /* not ready after so long it has failed and is killed; 0 means 30000. At
                          least start_ms where that makes it ready */

    unsigned max_requests; /* it is told to end after so many, less up to a tenth; 0: never. What
                              reports more (X_FERRY_REQUESTS) is replaced */
    uint64_t max_age_ms;   /* replaced after that, less up to a tenth; 0: never */
    uint64_t max_rss;      /* bytes of resident memory: the same */

    unsigned pause_ms;     /* before it is started again when it failed, doubling; 0 means 100 */
    unsigned pause_max_ms; /* 0 means 10000 */
    unsigned settled_ms;   /* one that ran so long and was ready makes failures forgotten; 0 means
                              5000 */
    unsigned failures_max; /* after so many failures in a row, while none is ready, it is FATAL; 0:
                              never */

    int stop_signal;  /* 0 means SIGTERM */
    unsigned stop_ms; /* from that to SIGKILL for the process group; 0 means 10000 */

    struct ferry_manager_ping ping;
    unsigned lines_per_s; /* of one process that are told, ten times that in a burst; 0 means 200.
                             How many were dropped is told as an event */

    const struct ferry_manager_fns *fns;
    void *arg; /* for fns */
};

#define FERRY_MANAGER_OPTS_INIT                                                                    \
    {                                                                                              \
        .spawn = FERRY_SPAWN_INIT                                                                  \
    }

struct ferry_manager;

/*
 * Makes the pool and starts its first processes. 0; or -errno, and then nothing is left, no process
 * either, and no function was called but `process`: with `why`, one sentence without a full stop.
 * -EINVAL when the options contradict each other; else what kept the first process from being
 * executed (-ENOENT, -EACCES and the like), or -ENOMEM.
 */
FERRY_MUST_CHECK
int ferry_manager_start(struct ferry_loop *, const struct ferry_manager_opts *,
                        struct ferry_manager **out, char *why, size_t cap);

/*
 * Changes all processes for new ones: as many are started beside the old ones, on the same
 * listeners, and when processes_min of them are ready (per_process: one for each old one), the old
 * ones are stopped. When one of them fails before that, or they take longer than ready_ms, the new
 * ones are stopped and the old ones stay. An event tells how it went. During a reload, one more is
 * noted and begins when this one is over; any further one is that same one. A FATAL pool tries
 * again.
 */
void ferry_manager_reload(struct ferry_manager *);
bool ferry_manager_is_reloading(const struct ferry_manager *);

/*
 * Ends all processes: `sig` (0: stop_signal), then SIGKILL for their groups `kill_after_ms` later
 * (what is left of a group when its leader ends is killed in any case). `closed` follows, from the
 * loop. Called again, it sends the new signal and sets the new deadline.
 */
void ferry_manager_stop(struct ferry_manager *, int sig, unsigned kill_after_ms);

/* Sends each process a signal; how many got it. */
unsigned ferry_manager_signal(struct ferry_manager *, int sig);

enum ferry_manager_state ferry_manager_state(const struct ferry_manager *);
const char *ferry_manager_state_text(enum ferry_manager_state);

/* -- what it looks like (proc/status.c)
 * ------------------------------------------------------------------------- */

/* X(name, text) */
#define FERRY_MANAGER_PROCESS_STATE_MAP(X)                                                         \
    X(STARTING, "starting")                                                                        \
    X(READY, "ready")                                                                              \
    X(REPLACING, "replacing") /* ready, while its replacement starts */                            \
    X(STOPPING, "stopping")

enum ferry_manager_process_state {
#define X(name, text) FERRY_MANAGER_PROCESS_##name,
    FERRY_MANAGER_PROCESS_STATE_MAP(X)
#undef X
};

struct ferry_manager_process_status {
    enum ferry_manager_process_state state;
    pid_t pid;
    unsigned slot;       /* which listener it has, with per_process; else its place */
    unsigned generation; /* 1, and one more with each reload */
    uint64_t age_ms, cpu_ms, rss;
    int64_t requests, active; /* as it reported them; -1: it did not */
    char said[96];            /* its last STATUS=, "" when none; bytes of its own choice */
};

struct ferry_manager_status {
    char name[FERRY_MANAGER_NAME_MAX];
    enum ferry_manager_state state;
    bool reloading;
    unsigned generation, processes_min, processes_max;
    uint64_t up_ms;
    /* since it began: processes started; ended by a crash (a signal or a status that is not 0);
     * ended by themselves with status 0; replaced for age, size or requests; stopped as idle;
     * killed because no ping was answered; kept from running (fork, exec) */
    uint64_t started, crashed, exited, recycled, idled, unhealthy, unstartable;
    uint64_t reloads, reloads_failed, lines_dropped;
    int64_t queued;       /* connections waiting to be accepted, of all listeners; -1: not known */
    int64_t backlog;      /* how many may wait (of one listener); -1: not known */
    char last_end[160];   /* how the last process that was not told to end ended; "" when none */
    uint64_t last_end_ms; /* how long ago */
    unsigned nprocesses;
    struct ferry_manager_process_status *processes;
};

/* Looks at it: 0, or -ENOMEM. What it made is to be given back by _fini, also after a failure. */
FERRY_MUST_CHECK
int ferry_manager_status(struct ferry_manager *, struct ferry_manager_status *out);
void ferry_manager_status_fini(struct ferry_manager_status *);

/* Writes it for people (a head and a table, all bytes of others escaped) or as one JSON object with
 * a newline behind. Errors are the stream's. */
void ferry_manager_status_text(const struct ferry_manager_status *, FILE *);
void ferry_manager_status_json(const struct ferry_manager_status *, FILE *);

#endif
