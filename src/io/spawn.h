/* SPDX-License-Identifier: MIT */
#ifndef FERRY_IO_SPAWN_H
#define FERRY_IO_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "ferry/err.h"
#include "io/rlimit.h"

/*
 * Starting a program. It gets nothing of ours but what is named here: default signals, its own
 * process group, no descriptors beside 0, 1, 2 and the listener, and the environment without what
 * systemd told us alone (NOTIFY_SOCKET, LISTEN_FDS and the like).
 */

struct ferry_spawn_opts {
    const char *const
        *argv; /* argv[0] is looked up in PATH unless it holds a '/'; ends with NULL */
    const char *const
        *env;         /* "NAME=value" sets, "NAME" removes; ends with NULL; NULL: no changes */
    const char *dir;  /* to run in; NULL: here. A relative argv[0] is seen from there */
    int listener;     /* a listening socket, made blocking unless it is _as_is; -1: none */
    int listener_at;  /* the descriptor it becomes: 0 (FastCGI's own), or 3 */
    int out, err;     /* become 1 and 2; -1: /dev/null */
    bool switch_user; /* become uid and gid, with the groups that uid has */
    uid_t uid;
    gid_t gid;
    int death_signal; /* sent when the thread that started it ends; 0 means SIGTERM */

    bool switch_group; /* without switch_user: become gid, with no other groups */
    const char
        *root; /* to chroot into: `dir` ("/" when NULL) and the program are seen from there */
    bool set_umask;
    mode_t umask;
    int nice; /* added to ours */
    bool no_new_privs;
    bool detach; /* a session of its own, and it stays when its starter ends */
    const struct ferry_rlimit *limits;
    unsigned nlimits;
    /* Of our environment only these stay, "LC_*" being all that begin so; ends with NULL; NULL: all
     * of it. `env` comes on top. */
    const char *const *keep_env;
    bool listener_as_is; /* others that were started with it still have it: what they set stays */
    const int *pass;     /* become 3, 4 and so on, behind the listener where that is 3 */
    unsigned npass;      /* at most FERRY_SPAWN_PASS_MAX */
};

#define FERRY_SPAWN_PASS_MAX 16

#define FERRY_SPAWN_INIT                                                                           \
    {                                                                                              \
        .listener = -1, .out = -1, .err = -1                                                       \
    }

struct ferry_spawned {
    pid_t pid;        /* leads a process group of its own; to be reaped by the caller */
    int pidfd;        /* the caller's to close */
    const char *step; /* after a failure: what could not be done (static text) */
};

/*
 * Starts it and waits until exec is done: 0, or -errno of the step that failed, and then no process
 * is left. -ENOMEM as well.
 */
FERRY_MUST_CHECK
int ferry_spawn(const struct ferry_spawn_opts *, struct ferry_spawned *out);

/*
 * Becomes the program instead of starting it: returns only when it fails, with -errno and `*step`,
 * and then the process is no more what it was and should end. For a program that is run by another
 * one's `exec`: process group, signals and death signal stay as they are, what systemd told stays
 * valid, and so do descriptors above those that are named.
 */
FERRY_MUST_CHECK
int ferry_spawn_exec(const struct ferry_spawn_opts *, const char **step);

/*
 * The file that running `name` would execute, by PATH unless it holds a '/': 0, or -ENOENT, -EACCES
 * (found, not executable), -ENAMETOOLONG.
 */
FERRY_MUST_CHECK
int ferry_spawn_find(const char *name, char *out, size_t cap);

#endif
