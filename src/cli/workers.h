/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CLI_WORKERS_H
#define FERRY_CLI_WORKERS_H

#include "cli/engine.h"

/*
 * The master's view of worker processes: started, told to end, and seen to end. What follows from
 * it is master.c's to decide.
 */

struct ferry_workers;

/* A worker goes one way through these. */
enum ferry_worker_state {
    FERRY_WORKER_NONE,
    FERRY_WORKER_STARTING,
    FERRY_WORKER_SERVING,
    FERRY_WORKER_ENDING, /* was told to */
};

struct ferry_worker {
    struct ferry_workers *all;
    enum ferry_worker_state state;
    struct ferry_generation *generation;
    pid_t pid; /* -1: it has ended, and its watches close */
    int pidfd, ready_fd, status;
    uint64_t since_ms;
    struct ferry_watch exit, ready;
    struct ferry_timer timer; /* of its readiness, or of its end */
};

struct ferry_workers {
    const struct ferry_engine *engine;
    struct ferry_loop *loop;
    const struct ferry_apps *apps;
    const char *spool;
    void (*serves)(struct ferry_worker *);
    void (*ended)(struct ferry_worker *); /* reaped; `status` says how, `state` is how it was */
    void (*gone)(struct ferry_workers *); /* and nothing is left of it */
    struct ferry_worker each[FERRY_ENGINE_WORKERS_MAX];
};

/* Starts one for a generation, of which it takes a reference: NULL, and said why; also when there
 * are too many. */
struct ferry_worker *ferry_worker_start(struct ferry_workers *, struct ferry_generation *);
/* Sends it a signal after which it ends; kills it when it has not ended by then. */
void ferry_worker_end(struct ferry_worker *, int sig, uint64_t kill_after_ms);
struct ferry_worker *ferry_workers_find(struct ferry_workers *, enum ferry_worker_state);
bool ferry_workers_any(const struct ferry_workers *);
bool ferry_workers_room(const struct ferry_workers *);

#endif
