/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TRACE_RELAY_H
#define FERRY_TRACE_RELAY_H

#include "base/list.h"
#include "io/addr.h"
#include "io/stream.h"

/*
 * Accepts connections and joins each to one of its own to another address: bytes pass unchanged in
 * both directions, with back-pressure; the end of a direction, and errors, are passed on as such.
 */

enum ferry_relay_side {
    FERRY_RELAY_SERVER,
    FERRY_RELAY_APP
}; /* who connected; who is connected to */

struct ferry_relay;

struct ferry_relay_conn {
    uint64_t number; /* 1, 2, 3 ... */
    void *user;      /* the owner's */
};

/* From the loop. None may close the relay. */
struct ferry_relay_fns {
    void (*opened)(void *arg, struct ferry_relay_conn *);
    void (*failed)(void *arg, struct ferry_relay_conn *,
                   int err); /* no connection to the application */
    void (*bytes)(void *arg, struct ferry_relay_conn *, enum ferry_relay_side from, const char *p,
                  size_t n); /* before they are passed on */
    /* A direction is over: 0, or -errno of the socket. */
    void (*ended)(void *arg, struct ferry_relay_conn *, enum ferry_relay_side from, int err);
    void (*closed)(void *arg, struct ferry_relay_conn *);     /* gone after this */
    bool (*busy)(void *arg, const struct ferry_relay_conn *); /* not to be closed while draining */
    void (*drained)(void *arg); /* after ferry_relay_drain or _cut: the last one is closed */
};

struct ferry_relay_opts {
    struct ferry_addr to;
    const struct ferry_relay_fns *fns;
    void *arg;
    uint64_t connect_ms; /* how long a full backlog is waited for; 0: 60 s */
};

/* Takes over the listening descriptor, also on failure: 0 or -errno. */
FERRY_MUST_CHECK
int ferry_relay_new(struct ferry_loop *, const struct ferry_relay_opts *, int listen_fd,
                    struct ferry_relay **out);

/* No more are accepted; connections are closed when they are not busy. Then `drained`. */
void ferry_relay_drain(struct ferry_relay *);
void ferry_relay_cut(struct ferry_relay *); /* all of them now */

void ferry_relay_free(struct ferry_relay *); /* only after `drained`; takes NULL */

#endif
