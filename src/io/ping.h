/* SPDX-License-Identifier: MIT */
#ifndef FERRY_IO_PING_H
#define FERRY_IO_PING_H

#include "io/addr.h"
#include "io/pump.h"

/*
 * One look whether an application still answers: GET_VALUES, or a request. On a connection of its
 * own, which is closed after it.
 */

struct ferry__ping_opts {
    const struct ferry_addr *addr;
    unsigned timeout_ms;
    const char *script; /* SCRIPT_FILENAME of a GET; NULL: GET_VALUES, and any answer is good */
    const char *uri;    /* REQUEST_URI; NULL means "/" */
};

struct ferry__ping {
    struct ferry_pump pump;
    struct ferry_conn *conn;
    struct ferry_timer timer;
    /* It is over, nothing of it is left, and the memory is the owner's: 0, or an error in words. */
    void (*done)(struct ferry__ping *, int err, const char *why);
    int err;
    bool closing, status_known;
    char why[96];
    size_t len; /* of what came of the response's header block */
    char head[2048];
};

/*
 * Starts it, `done` being set; the options are looked at during the call only. 0, and `done`
 * follows from the loop: 0; -ECANCELED after ferry__ping_cancel; -ETIMEDOUT; FERRY_EREMOTE when the
 * answer is not good; -errno or FERRY_E... of the connection. Or -ENOMEM or -errno, and `done` is
 * not called.
 */
FERRY_MUST_CHECK
int ferry__ping_start(struct ferry_loop *, struct ferry__ping *, const struct ferry__ping_opts *);

void ferry__ping_cancel(struct ferry__ping *); /* after `done` it must not be called */

#endif
