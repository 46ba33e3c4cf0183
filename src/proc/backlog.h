/* SPDX-License-Identifier: MIT */
#ifndef FERRY_PROC_BACKLOG_H
#define FERRY_PROC_BACKLOG_H

#include <stdbool.h>
#include <stdint.h>

#include "ferry/err.h"

/* How many connections wait at a listening socket to be accepted. */

struct ferry__backlog {
    uint32_t queued;
    uint32_t max; /* how many may wait; 0: not known */
    bool exact;   /* else the kernel would not say, and `queued` is 1 when any wait */
};

/*
 * Looks at it: 0, or -errno when it is no socket. For unix sockets the kernel is asked by netlink,
 * through `*diag`: -1 at first, opened when it is needed, and the caller's to close.
 */
FERRY_MUST_CHECK
int ferry__backlog_read(int *diag, int fd, struct ferry__backlog *out);

#endif
