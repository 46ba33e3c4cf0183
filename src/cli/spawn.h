/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CLI_SPAWN_H
#define FERRY_CLI_SPAWN_H

#include <sys/types.h>

#include "io/addr.h"
#include "io/spawn.h"
#include "proc/manager.h"

/* What `ferry spawn` was asked for. spawn.c fills it, spawn_place.c finds its users and opens its
 * sockets, spawn_once.c starts the program and leaves, supervise.c stays. */

#define FERRY_SPAWN_ENV_MAX 256

struct ferry_spawning {
    struct ferry_spawn_opts what; /* the program and what it runs as */
    const char *env[FERRY_SPAWN_ENV_MAX + 1], *keep[FERRY_SPAWN_ENV_MAX + 1];
    unsigned nenv, nkeep;
    struct ferry_rlimit limits[FERRY_RLIMITS_MAX];

    /* As asked for. */
    const char *file, *socket, *port, *address, *listen;
    const char *user, *group, *socket_user, *socket_group;
    const char *pid_file;
    const char *shell[4]; /* of -f */
    unsigned forks;       /* of -F; 0: not given */
    bool no_fork;
    bool outside; /* the socket is made outside of the new root */
    bool supervise, quiet;
    const char *log;
    bool has_status;
    struct ferry_addr status; /* where the status is answered */
    const char *needs;        /* an option that was given and makes sense with --supervise only */
    struct ferry_manager_opts pool;

    /* What follows from it. */
    struct ferry_addr addr;
    struct ferry_listen_opts how;
    char user_env[3][128]; /* HOME and so on of the user */
};

/* X(NAME, name): the options of --supervise, which spawn_pool.c reads. */
#define FERRY_SPAWN_POOL_MAP(X)                                                                    \
    X(NAME, "name")                                                                                \
    X(PROCESSES, "processes")                                                                      \
    X(PER_PROCESS, "per-process")                                                                  \
    X(MAX_LOAD, "max-load")                                                                        \
    X(IDLE_TIMEOUT, "idle-timeout")                                                                \
    X(READY, "ready")                                                                              \
    X(READY_TIME, "ready-time")                                                                    \
    X(READY_TIMEOUT, "ready-timeout")                                                              \
    X(MAX_REQUESTS, "max-requests")                                                                \
    X(MAX_AGE, "max-age")                                                                          \
    X(MAX_RSS, "max-rss")                                                                          \
    X(RESTART_DELAY, "restart-delay")                                                              \
    X(FATAL, "fatal")                                                                              \
    X(STOP_SIGNAL, "stop-signal")                                                                  \
    X(STOP_TIMEOUT, "stop-timeout")                                                                \
    X(PING, "ping")                                                                                \
    X(PING_INTERVAL, "ping-interval")                                                              \
    X(PING_TIMEOUT, "ping-timeout")                                                                \
    X(PING_THRESHOLD, "ping-threshold")                                                            \
    X(STATUS, "status")                                                                            \
    X(LOG, "log")                                                                                  \
    X(QUIET, "quiet")

enum ferry_spawn_pool_option {
    FERRY_SPAWN_OPT_FIRST = 512,
#define X(NAME, name) FERRY_SPAWN_OPT_##NAME,
    FERRY_SPAWN_POOL_MAP(X)
#undef X
};

/* Reads one of them, `text` being its argument: the exit code, and said why. */
int ferry_spawning_take_pool(struct ferry_spawning *, enum ferry_spawn_pool_option, char *text);

/* Looks up the users and groups: the exit code, and said why. */
int ferry_spawning_find_users(struct ferry_spawning *);

/* Decides where to listen: the exit code, and said why. */
int ferry_spawning_find_address(struct ferry_spawning *);

/* The address of the i-th of n listeners: the given one when it is the only one, else PATH-0 and so
 * on, or the next ports. */
struct ferry_addr ferry_spawning_address(const struct ferry_spawning *, unsigned i, unsigned n);

/* Are there n of them? The exit code, and said why. */
int ferry_spawning_check_addresses(const struct ferry_spawning *, unsigned n);

/* Opens the i-th of n, inside of the new root unless told otherwise: the descriptor, or -1, and
 * said why. */
int ferry_spawning_listen(struct ferry_spawning *, unsigned i, unsigned n);

/* Removes what the n listeners have left, when nobody answers there any more. */
void ferry_spawning_unlisten(const struct ferry_spawning *, unsigned n);

/* What could not be started, and why. */
void ferry_spawning_complain(const struct ferry_spawning *, const char *step, int err);

/* Starts the program and leaves it to itself: the exit code. */
int ferry_spawning_once(struct ferry_spawning *);

/* Starts its processes and stays until told to stop: the exit code. */
int ferry_spawning_supervise(struct ferry_spawning *);

#endif
