/* SPDX-License-Identifier: MIT */
#ifndef FERRY_PROC_PROGRAM_H
#define FERRY_PROC_PROGRAM_H

#include <stdbool.h>

#include "io/addr.h"
#include "io/loop.h"
#include "proc/manager.h"

/*
 * A FastCGI program kept running, as one process or several (proc/manager.h), behind a unix socket
 * of mode 0600 that is ferry's own, and that the program has as its descriptor 0. The socket
 * listens before the program does and stays while it is started again, so requests wait in its
 * backlog instead of failing.
 */

struct ferry_program_opts {
    const char *program;     /* looked up in PATH unless it holds a '/' */
    const char *const *argv; /* with arguments, ends with NULL; instead of `program` */
    const char *const *env;  /* as of struct ferry_spawn_opts; NULL: no changes */
    const char *dir;         /* to run in; NULL: here */
    bool switch_user;        /* become uid and gid, with the groups that uid has */
    uid_t uid;
    gid_t gid;
    bool set_owner; /* the socket is to be reached by `owner` too, who is not us */
    uid_t owner;
    unsigned processes_min, processes_max; /* 0 means 1, and as many as the least */
    /* A line without its newline, perhaps with control characters; valid during the call. What the
     * program wrote, or (`ours`) what became of it. */
    void (*log)(void *arg, bool ours, struct ferry_slice line);
    /* Another state of the processes than STARTING, which is the first. May be NULL. */
    void (*state)(void *arg, enum ferry_manager_state);
    void *arg; /* for log and state */
};

struct ferry_program;

/*
 * Starts it. Everything in the options is copied but arg. 0; or -errno with `why`, one sentence
 * without a full stop.
 */
FERRY_MUST_CHECK
int ferry_program_start(struct ferry_loop *, const struct ferry_program_opts *,
                        struct ferry_program **out, char *why, size_t cap);

const struct ferry_addr *ferry_program_addr(const struct ferry_program *); /* where it answers */

/*
 * Ends it with SIGTERM, and SIGKILL `kill_after_ms` later. Then its socket is removed and `done` is
 * called from the loop; the memory is gone then. Called again, only the new deadline counts.
 */
void ferry_program_stop(struct ferry_program *, unsigned kill_after_ms, void (*done)(void *arg),
                        void *arg);

/*
 * Removes the socket and touches nothing else: for a process forked off the one that started the
 * program, when that one was killed.
 */
void ferry_program_remove_files(const struct ferry_program *);

#endif
