/* SPDX-License-Identifier: MIT */
#ifndef FERRY_PROC_GUARD_H
#define FERRY_PROC_GUARD_H

#include <stdbool.h>
#include <sys/types.h>

#include "ferry/err.h"

/*
 * A guard: the process above one that starts programs, so that they end however that one does. It
 * does nothing else. What is orphaned below it becomes its child (PR_SET_CHILD_SUBREAPER), also
 * what made itself a daemon; when the guarded process has ended, the guard ends all that is left
 * before it ends itself. When the guard is killed, the guarded process gets SIGTERM.
 *
 *      guard ──▶ guard ──▶ master ──▶ programs
 *
 * Two of them, one below the other, see to it that any two of the three can be killed in the same
 * moment.
 */

struct ferry_guard_opts {
    int sig;           /* to what is left when the guarded process has ended; 0 means SIGTERM */
    unsigned grace_ms; /* from that to SIGKILL */
    /* The guarded process gets a process group of its own, so that what is sent to the group of the
     * guard (by a terminal, by timeout(1)) reaches it once: from the guard. */
    bool apart;
    const char *name; /* of the guard, for ps(1); NULL: stays as it is */
    /* Becomes readable now and then: `readable` is called in the guard. -1: none */
    int fd;
    void (*readable)(void *arg);
    /* The guarded process was ended by a signal, and what it started is being ended. May be NULL.
     */
    void (*died)(void *arg, int sig);
    /* When nothing is left any more after `died`, or after it left something running: the files
     * that it would have removed, or could not, since they were in use. May be NULL. */
    void (*tidy)(void *arg);
    void *arg;
};

#define FERRY_GUARD_INIT                                                                           \
    {                                                                                              \
        .fd = -1                                                                                   \
    }

/*
 * Forks, to be called while there is one thread. 0 in the child, which is guarded, and in which the
 * signals below and SIGCHLD stay blocked, for it to wait for or to unblock. 1 in the guard, when
 * all is over: `*code` is the status that the guarded process ended with, or 1 when a signal did
 * it. -errno when no process can be made.
 *
 * SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1 and SIGUSR2 are passed on to the guarded process, but
 * for those that are ignored; the SIGHUP of a terminal that is gone as SIGTERM. While the guard
 * ends what is left, SIGINT and SIGQUIT mean at once.
 */
FERRY_MUST_CHECK
int ferry_guard(const struct ferry_guard_opts *, int *code);

/*
 * The guarded process may be the last one that is left: so what is orphaned below it comes to it
 * first. _adopt turns that on; _reap, to be called now and then, reaps those children that have
 * ended and are none of the `n` known ones; _end ends all children there are, as a guard does, and
 * returns when none is left, or when 10 seconds after SIGKILL some still are.
 */
void ferry_guard_adopt(void);
void ferry_guard_reap(const pid_t *known, unsigned n);
void ferry_guard_end(int sig, unsigned grace_ms);

#endif
