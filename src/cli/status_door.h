/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CLI_STATUS_DOOR_H
#define FERRY_CLI_STATUS_DOOR_H

#include <stdbool.h>
#include <stdio.h>

#include "io/addr.h"
#include "io/loop.h"

/*
 * A small HTTP server that answers how things are: /status as text, /status?json (or with Accept:
 * application/json) as JSON, /ready with 200 or 503.
 */

struct ferry_status_door_opts {
    /* Writes the status, as text or as JSON; errors are the stream's. */
    void (*write)(void *arg, bool json, FILE *);
    bool (*is_ready)(void *arg);
    void (*closed)(void *arg); /* after ferry_status_door_close: it is gone */
    void *arg;
};

struct ferry_status_door;

/* Serves on a listening socket, which it takes over when it succeeds: 0 or -errno. */
FERRY_MUST_CHECK
int ferry_status_door_open(struct ferry_loop *, const struct ferry_status_door_opts *, int fd,
                           struct ferry_status_door **out);

/* Closes it with all of its connections; `closed` follows, from the loop. */
void ferry_status_door_close(struct ferry_status_door *);

#endif
