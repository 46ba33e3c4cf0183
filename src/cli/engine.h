/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CLI_ENGINE_H
#define FERRY_CLI_ENGINE_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "cli/privileges.h"
#include "cli/service.h"
#include "cli/systemd.h"
#include "io/addr.h"
#include "io/loop.h"
#include "proc/manager.h"

/*
 * What `ferry run`, `ferry serve` and `ferry mail` have in common: a master that keeps applications
 * and workers running by a configuration. A configuration and what was opened for it is a
 * generation; a reload makes another one, which shares with the one before what did not change, and
 * a worker that serves it. The worker before it is ended when the new one serves.
 *
 * listen.c opens sockets, apps.c starts applications, generation.c both of them for a
 * configuration; workers.c starts workers, master.c decides; worker.c is the worker itself, and
 * what it serves is service.h's.
 */

#define FERRY_ENGINE_THREADS_MAX 64
#define FERRY_ENGINE_WORKERS_MAX 16 /* with those that end */

#define FERRY_ENGINE_CUT_MS 1000     /* for cutting requests that took too long to end */
#define FERRY_ENGINE_RETIRE SIGRTMIN /* tells a worker that another one goes on in its place */
#define FERRY_ENGINE_LINGER_MS 1000  /* for the last request of a connection, at a reload */

struct ferry_engine {
    const struct ferry_service_ops *ops;
    struct ferry_config *config; /* the first one; the engine's from then on */
    /* For SIGHUP: reads it anew, or says why not. NULL: SIGHUP ends it like SIGTERM. */
    int (*reload)(void *arg, struct ferry_config **out);
    void *arg;
    /* Without a listener: 127.0.0.1 and [::1], port 8080 or the next free one to 8089. */
    bool default_listen;
    const char *listen_hint; /* the end of "choose another address" */
    const char *note;        /* said when it has begun; NULL: nothing */
    bool verbose, quiet;
    bool php_may_lack;            /* files are worth serving without */
    pid_t first;                  /* whose pid is the pid file's: the process that was started */
    struct ferry_systemd systemd; /* of ferry_engine_guarded; else ours is 0 */
};

/* Runs it until it is told to stop: the exit code. */
int ferry_engine_run(struct ferry_engine *);

/* -- listeners (listen.c) ---------------------------------------------------------------------- */

struct ferry_listening {
    unsigned refs;                     /* of generations */
    struct ferry_addr addr;            /* as asked for */
    struct ferry_addr bound;           /* as it became */
    int fds[FERRY_ENGINE_THREADS_MAX]; /* one for all, or one for each thread there was */
    unsigned nfds;
};

struct ferry_generation;

/* Opens what a generation listens on, or takes it over from the one before (may be
 * NULL): 0, or the exit code, and said why. */
int ferry_listening_open(const struct ferry_engine *, struct ferry_generation *,
                         const struct ferry_generation *before);
/* Closes, in this process, what no other generation has; unix sockets are removed when nobody
 * listens any more. */
void ferry_listening_close(struct ferry_generation *);
/* Closes all descriptors and leaves the rest. */
void ferry_listening_shut(struct ferry_generation *);
void ferry_listening_remove_sockets(const struct ferry_generation *);
/* Which of them an address is that a site listens on; -1: none. */
int ferry_listening_find(const struct ferry_generation *, const char *text);

/* -- applications (apps.c) --------------------------------------------------------------------- */

struct ferry_app; /* one that was started */

struct ferry_apps {
    struct ferry_loop *loop;
    const struct ferry_engine *engine;
    struct ferry_list list;
    bool stopping, quiet;       /* what PHP writes while it is ended interests nobody */
    void (*changed)(void *arg); /* an application became ready, failed, or is gone */
    void *arg;
};

/* Starts one, or takes the one that runs and was started the same way: 0 and *out; or an error, and
 * said why. 0 without *out: there is no PHP, and that may be. */
int ferry_app_take(struct ferry_apps *, const struct ferry_generation *,
                   const struct ferry_config_application *, struct ferry_app **out);
void ferry_app_give(struct ferry_app *, unsigned stop_ms); /* the last to have it ends it */
void ferry_app_stop(struct ferry_app *, unsigned stop_ms); /* sooner */
void ferry_apps_stop(struct ferry_apps *, unsigned stop_ms);

enum ferry_manager_state ferry_app_state(const struct ferry_app *);
const char *ferry_app_name(const struct ferry_app *);
const struct ferry_addr *ferry_app_addr(const struct ferry_app *);
/* What its client is to be told: how many connections it takes (0: any number), and one request at
 * a time on each? */
unsigned ferry_app_connections(const struct ferry_app *);
bool ferry_app_alone(const struct ferry_app *);

/* Removes their files and touches nothing else: in a process that outlived the master. */
void ferry_apps_remove_files(const struct ferry_apps *);

/* -- generations (generation.c) ---------------------------------------------------------------- */

struct ferry_generation {
    const struct ferry_service_ops *ops;
    struct ferry_config *config;
    struct ferry_identity identity;
    unsigned threads;
    struct ferry_listening *listeners[FERRY_CONFIG_LISTEN_MAX];
    unsigned asked[FERRY_CONFIG_LISTEN_MAX]; /* the number of the address that it is for */
    unsigned nlisteners;
    struct ferry_app **apps; /* by the number of the application; NULL: not ours */
    unsigned refs;           /* of the master and of workers */
    bool check;              /* nothing is opened or started: is it all well said? */
};

/* 0 and *out; or the exit code, and said why, and nothing is left but the configuration. */
int ferry_generation_new(struct ferry_apps *, struct ferry_config *,
                         const struct ferry_generation *before, struct ferry_generation **out);
void ferry_generation_unref(struct ferry_generation *, unsigned app_stop_ms); /* takes NULL */
/* Are its applications up? A negative value: `*which` is not coming up. */
int ferry_generation_ready(const struct ferry_generation *, const char **which);

/* -- guards (serve_guard.c) -------------------------------------------------------------------- */

/* ferry_engine_run with guards above it (proc/guard.h). */
int ferry_engine_guarded(struct ferry_engine *);
/* For the guards to know: a folder of ours with nothing but files in it, or a unix socket that is
 * listened on, is there or is gone. */
void ferry_engine_tell_guards(const char *path, bool there);

/* -- a worker (worker.c, clients.c) -------------------------------------------------------------
 */

/* The worker process, after the fork that the master made: writes one byte to ready_fd when it
 * serves. SIGTERM, SIGINT and FERRY_ENGINE_RETIRE of the master end it, SIGUSR1 opens the logs
 * anew. Returns the exit code. */
int ferry_engine_worker(const struct ferry_engine *, const struct ferry_generation *, pid_t master,
                        int ready_fd, const char *spool);

/* A client for each application, by its number; NULL where there is none, for what ferry did not
 * start. 0, or an error, and said why: to be given to _close in any case. */
int ferry_clients_open(const struct ferry_generation *, struct ferry_client ***out);
void ferry_clients_close(const struct ferry_generation *, struct ferry_client **);

#endif
