/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CLI_PRIVILEGES_H
#define FERRY_CLI_PRIVILEGES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "ferry/err.h"

/* Who a process is to be, other than who it is. */
struct ferry_identity {
    bool set; /* else nothing changes */
    uid_t uid;
    gid_t gid;
    char name[64]; /* whose groups it gets; "": a number without a name, and no groups */
};

/*
 * Finds a user, and its group unless another one is named; names or numbers. 0; or FERRY_EUSAGE
 * with `why`: there is none, it is root, or we are not root and it is not us. Without both: 0, and
 * it is not set.
 */
FERRY_MUST_CHECK
int ferry_identity_find(const char *user, const char *group, struct ferry_identity *, char *why,
                        size_t cap);

/*
 * Becomes it, for good: the groups, the group, the user, and looks whether it is true. 0 or -errno;
 * after an error the process must end. There is one thread.
 */
FERRY_MUST_CHECK
int ferry_identity_take(const struct ferry_identity *);

#endif
