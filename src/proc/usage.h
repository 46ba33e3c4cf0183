/* SPDX-License-Identifier: MIT */
#ifndef FERRY_PROC_USAGE_H
#define FERRY_PROC_USAGE_H

#include <stdint.h>
#include <sys/types.h>

#include "ferry/err.h"

/* What process groups use, by /proc. */

struct ferry__usage {
    pid_t group;
    uint64_t cpu_ms; /* of all that is in the group, and of the children they had */
    uint64_t rss;    /* bytes of resident memory of the largest process in it */
};

/* Fills in n of them, `group` being set and in ascending order; 0 for a group that is gone. 0, or
 * -errno when /proc cannot be read. */
FERRY_MUST_CHECK
int ferry__usage_read(struct ferry__usage *groups, unsigned n);

#endif
