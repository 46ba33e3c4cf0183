/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CLI_SERVE_H
#define FERRY_CLI_SERVE_H

#include <stdbool.h>
#include <sys/types.h>

#include "client/pool.h"
#include "io/addr.h"
#include "io/loop.h"

/* What `ferry serve` was asked for, and what its processes share. serve.c fills it, listen.c opens
 * its sockets, master.c and worker.c work by it. */

#define FERRY_SERVE_LISTEN_MAX 16
#define FERRY_SERVE_THREADS_MAX 64

#define FERRY_SERVE_STOP_MS 30000 /* for requests under way after SIGTERM; then they are cut */
#define FERRY_SERVE_CUT_MS 1000   /* for cutting them */

struct ferry_serve_listener {
    struct ferry_addr addr;           /* as asked for */
    struct ferry_addr bound;          /* as it became */
    int fds[FERRY_SERVE_THREADS_MAX]; /* one for all, or one for each thread; -1: none */
};

struct ferry_serve {
    /* As asked for. */
    const char *dir;                       /* document root, absolute; NULL: none */
    const char *app;                       /* the application's address as given; NULL: none */
    const char *spawn;                     /* a program to start as the application; NULL: none */
    unsigned processes_min, processes_max; /* of it; 0: one */
    const char *script, *index, *server_name, *php, *access_log;
    unsigned long long body_max, head_max;
    unsigned threads;
    enum ferry_io io;
    enum ferry_multiplex multiplex;
    bool verbose, quiet;

    /* What follows from it. */
    bool project_root; /* dir is the project's own folder rather than its public one */
    bool wants_php;    /* dir holds scripts, and no application was named */
    bool has_files;    /* dir holds something else than scripts */
    struct ferry_serve_listener listeners[FERRY_SERVE_LISTEN_MAX];
    unsigned nlisteners;
    bool has_app;
    struct ferry_addr app_addr;
    unsigned app_connections; /* cap; 0: the pool's default */
};

/* Opens all listeners, the default ones if none is named: the exit code, and said why. */
int ferry_serve_listen(struct ferry_serve *);
void ferry_serve_unlisten(struct ferry_serve *); /* closes them in this process */
/* Removes the paths of unix sockets, when no process has them open any more. */
void ferry_serve_remove_sockets(const struct ferry_serve *);
/* Where a browser finds it. */
void ferry_serve_url(const struct ferry_serve *, char *out, size_t cap);

/* Starts the application, then the worker, and looks after both until it is told to stop: the exit
 * code. */
int ferry_serve_master(struct ferry_serve *);

/* The same, with guards above it when it starts an application (proc/guard.h). */
int ferry_serve_guarded(struct ferry_serve *);
/* For the guards to know, when the application runs: where its files are. */
void ferry_serve_tell_guards(const struct ferry_serve *);

/* The chain of its one site; `client` is NULL where there are only files. 0 or -ENOMEM. */
struct ferry_client;
struct ferry_filters;
int ferry_serve_chain(const struct ferry_serve *, struct ferry_client *,
                      struct ferry_filters **out);

/* The worker process, after the fork that `master` made: writes one byte to ready_fd when it
 * serves. SIGTERM and SIGINT of the master end it, SIGUSR1 opens the log anew. Returns the exit
 * code. */
int ferry_serve_worker(struct ferry_serve *, pid_t master, int ready_fd);

#endif
