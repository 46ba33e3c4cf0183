/* SPDX-License-Identifier: MIT */
#ifndef FERRY_IO_RLIMIT_H
#define FERRY_IO_RLIMIT_H

#include <stdint.h>

#include "ferry/err.h"

/* A limit of setrlimit(2), for a program that is started. */

struct ferry_rlimit {
    int resource;
    uint64_t soft, hard; /* UINT64_MAX: none */
};

#define FERRY_RLIMITS_MAX 16 /* there are so many resources */

/*
 * Reads "nofile=1024:4096", "core=0", "as=512M", "nproc=unlimited": the resource by the end of its
 * name in setrlimit(2), the soft limit, and the hard one, which is the soft one when it is not
 * given. 0, or FERRY_EUSAGE with `*why` (static text) and `*out` untouched.
 */
FERRY_MUST_CHECK
int ferry_rlimit_parse(const char *text, struct ferry_rlimit *out, const char **why);

/* Sets it for this process: 0 or -errno. Safe in a signal handler. */
FERRY_MUST_CHECK
int ferry_rlimit_set(const struct ferry_rlimit *);

#endif
