/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CLI_SANDBOX_H
#define FERRY_CLI_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "ferry/err.h"

/*
 * What a worker may still do: by Landlock, read below a few folders, write below fewer, and keep
 * the bodies of requests in one of its own; by seccomp, the system calls it needs and no others. A
 * call beyond them fails with EPERM and is told to the kernel's log; one that would run a program
 * kills the process. Both hold for good, for every thread that is started afterwards.
 */

struct ferry_sandbox_opts {
    const char *const *readable; /* files and folders; what does not exist is left out */
    unsigned nreadable;
    /* Folders in which files and folders may be made, moved and removed. Kernels before 5.19 forbid
     * moving a file to another folder with Landlock as such: they go without it then. */
    const char *const *writable;
    unsigned nwritable;
    const char *spool; /* a folder that may be written to; NULL: none */
};

struct ferry_sandbox {
    int landlock; /* the version of its interface; 0: this kernel has none */
    bool seccomp;
    char why[160]; /* what could not be had, as a sentence without a full stop; "" */
};

/*
 * Enters it, in the one thread there is: 0 and what there is of it; or -errno with `why` when a
 * part that the kernel has could not be set up. With `all`, -ENOSYS where the kernel lacks a part.
 */
FERRY_MUST_CHECK
int ferry_sandbox_enter(const struct ferry_sandbox_opts *, bool all, struct ferry_sandbox *out);

#endif
