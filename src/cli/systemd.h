/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CLI_SYSTEMD_H
#define FERRY_CLI_SYSTEMD_H

#include <stdint.h>

/*
 * What we tell who has started us, by sd_notify(3). Only the process that was started may speak to
 * systemd, and with guards that is not the one that has something to say: so it says it to the
 * first one, which repeats it.
 */

struct ferry_systemd {
    int ours, theirs;     /* ends of the way to the first process; -1: nobody listens */
    uint64_t watchdog_ms; /* a sign of life is due within this time; 0: never */
};

/* In the first process. Without NOTIFY_SOCKET, or when it fails, all the others do nothing. */
void ferry_systemd_open(struct ferry_systemd *);

/* In the first process, when `theirs` has become readable: repeats one message. */
void ferry_systemd_repeat(struct ferry_systemd *);

/* In the other one: "READY=1\nSTATUS=...". */
void ferry_systemd_say(const struct ferry_systemd *, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
