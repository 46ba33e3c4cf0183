/* SPDX-License-Identifier: MIT */
#ifndef FERRY_PROC_INBOX_H
#define FERRY_PROC_INBOX_H

#include <sys/types.h>

#include "io/loop.h"

/*
 * What processes say of themselves: the receiving end of systemd's NOTIFY_SOCKET (sd_notify(3)), a
 * datagram of NAME=value lines. The socket has an abstract name, so that it is reached from any
 * root directory and by any user; who may speak for whom is told by the pid that the kernel vouches
 * for.
 */

#define FERRY__INBOX_MAX 4096 /* a longer datagram is dropped */

struct ferry__inbox {
    struct ferry_watch watch;
    int fd; /* -1: none */
    bool watched;
    char address[32]; /* for the variable NOTIFY_SOCKET */
    void (*said)(struct ferry__inbox *, pid_t, struct ferry_slice text);
    void (*closed)(struct ferry__inbox *); /* after ferry__inbox_close of one that was watched */
};

/* Makes the socket; `said` and `closed` are set before ferry__inbox_watch. 0 or -errno. */
FERRY_MUST_CHECK
int ferry__inbox_open(struct ferry__inbox *);

/* 0, or -errno, and then it can be tried again. */
FERRY_MUST_CHECK
int ferry__inbox_watch(struct ferry_loop *, struct ferry__inbox *);

/* Ends it; one that was never watched is closed at once, without `closed`. */
void ferry__inbox_close(struct ferry__inbox *);

/* The next NAME=value at the front of `text`, which moves on: false when there is none. Lines
 * without a '=' are skipped. */
bool ferry__inbox_next(struct ferry_slice *text, struct ferry_slice *name,
                       struct ferry_slice *value);

#endif
