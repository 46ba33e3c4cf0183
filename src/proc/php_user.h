/* SPDX-License-Identifier: MIT */
#ifndef FERRY_PROC_PHP_USER_H
#define FERRY_PROC_PHP_USER_H

#include <stdbool.h>
#include <sys/types.h>

/* The user that PHP becomes when ferry runs as root. */
struct ferry_php_user {
    bool change; /* else PHP runs as ferry does */
    uid_t uid;
    gid_t gid;
    char name[64]; /* the number when it has no name */
    char home[256];
};

/*
 * As root: the owner of `dir`, or www-data when that is root, whoever first can enter and read
 * `dir` (and its index.php when there is one). Nobody can, or not root: no change.
 */
void ferry_php_user_choose(const char *dir, struct ferry_php_user *out);

/* This user, whatever it can read. As root only. */
void ferry_php_user_set(uid_t uid, gid_t gid, struct ferry_php_user *out);

#endif
