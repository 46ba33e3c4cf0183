/* SPDX-License-Identifier: MIT */
#ifndef FERRY_PROC_PHP_H
#define FERRY_PROC_PHP_H

#include "io/addr.h"
#include "io/loop.h"
#include "proc/manager.h"
#include "proc/php_find.h"

/*
 * PHP for one directory: php-fpm or php-cgi, kept running, behind a unix socket of mode 0600 that
 * is ferry's own. The socket listens before PHP does and stays while PHP is started again, so
 * requests wait in its backlog instead of failing. docs/decisions/0002-starting-php.md says why it
 * is set up the way it is.
 */

enum ferry_php_level {
    FERRY_PHP_NOTE,    /* what one may want to know */
    FERRY_PHP_WARNING, /* what one should know */
    FERRY_PHP_OUTPUT,  /* what PHP or a script wrote to stdout or stderr, outside of its requests */
};

struct ferry_php_opts {
    const char *dir;     /* the document root */
    const char *program; /* php-fpm or php-cgi; NULL: see ferry_php_find */
    unsigned children;   /* 0 means 16 for php-fpm, 8 for php-cgi */
    bool switch_user;    /* become uid and gid instead of whom ferry would choose */
    uid_t uid;
    gid_t gid;
    bool set_owner; /* the socket is to be reached by `owner` too, who is not us */
    uid_t owner;
    uint64_t body_max; /* ferry's own limit for request bodies becomes PHP's; 0 means 1 GiB */
    /* A line without its newline, perhaps with control characters; valid during the call. */
    void (*log)(void *arg, enum ferry_php_level, struct ferry_slice);
    /* Another state of the processes than STARTING, which is the first. May be NULL. */
    void (*state)(void *arg, enum ferry_manager_state);
    void *arg; /* for log and state */
};

struct ferry_php;

/*
 * Finds PHP and starts it. Everything in the options is copied but arg. 0; or an error with `why`,
 * one sentence without a full stop: -ENOENT when no PHP is installed, what ferry_php_find returns,
 * or -errno.
 *
 * Run as root, PHP becomes the owner of `dir`, or www-data when that is root, if the user can read
 * `dir`; else it stays root with a warning.
 */
FERRY_MUST_CHECK
int ferry_php_start(struct ferry_loop *, const struct ferry_php_opts *, struct ferry_php **out,
                    char *why, size_t cap);

const struct ferry_addr *ferry_php_addr(const struct ferry_php *); /* where it answers */
const char *ferry_php_name(const struct ferry_php *);              /* "php-fpm 8.2" */
unsigned ferry_php_children(const struct ferry_php *);             /* requests at the same time */

/*
 * Ends it with SIGTERM, and SIGKILL `kill_after_ms` later; running requests are cut. Then its
 * socket and its files are removed and `done` is called from the loop; the memory is gone then.
 * Called again, only the new deadline counts.
 */
void ferry_php_stop(struct ferry_php *, unsigned kill_after_ms, void (*done)(void *arg), void *arg);

/*
 * Removes the socket and the files and touches nothing else: for a process forked off the one that
 * started PHP, when that one was killed.
 */
void ferry_php_remove_files(const struct ferry_php *);

#endif
