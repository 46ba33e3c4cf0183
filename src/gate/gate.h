/* SPDX-License-Identifier: MIT */
#ifndef FERRY_GATE_GATE_H
#define FERRY_GATE_GATE_H

#include <stdbool.h>
#include <stdint.h>

#include "files/mime.h"
#include "gate/access_log.h"
#include "gate/site.h"
#include "io/loop.h"

/*
 * The HTTP gateway: requests come in over HTTP and go through the filters of their site and route,
 * which answer them from files or send them to FastCGI applications. One struct ferry_gate holds
 * what all threads share and none changes; each thread runs its own part on its own loop.
 */

enum ferry_gate_level { FERRY_GATE_ERROR, FERRY_GATE_APP, FERRY_GATE_VERBOSE };

/* All it points to outlives the gate. Every zero means the default beside it. */
struct ferry_gate_opts {
    const struct ferry_gate_site *sites;
    unsigned nsites;
    uint64_t body_max; /* 1 GiB */
    uint32_t head_max; /* 64 KiB */
    const struct ferry_mime *mime;
    /* A line for the operator, escaped and without its end; called from any thread. */
    void (*log)(void *arg, enum ferry_gate_level, struct ferry_slice line);
    void *log_arg;
};

struct ferry_gate;
struct ferry_gate_thread;

/* 0 and *out, or -ENOMEM. */
FERRY_MUST_CHECK
int ferry_gate_new(const struct ferry_gate_opts *, struct ferry_gate **out);
void ferry_gate_free(struct ferry_gate *); /* after its threads; takes NULL */

/* The part of one thread, called before its loop runs: 0, -ENOMEM, or the error of a filter that
 * could not be made ready (a folder that cannot be opened). `index` is the thread's number with all
 * clients that the filters call. */
FERRY_MUST_CHECK
int ferry_gate_thread_new(struct ferry_gate *, unsigned index, struct ferry_loop *,
                          struct ferry_gate_thread **out);

/* Accepts connections on a listening socket, of which `listener` is the number that sites know it
 * by: 0, and it is the gate's, to be closed as soon as draining begins; or -errno, and it stays the
 * caller's. */
FERRY_MUST_CHECK
int ferry_gate_listen(struct ferry_gate_thread *, int fd, unsigned listener);

/*
 * Accepts nothing more, lets requests under way finish and closes the rest; `done` is called from
 * the loop when no connection is left.
 */
void ferry_gate_thread_drain(struct ferry_gate_thread *, void (*done)(void *), void *arg);

/*
 * The same where others go on accepting on these sockets: a connection that is idle, or new, may
 * send one more request within linger_ms. It is answered, so no client meets a close that it could
 * not foresee.
 */
void ferry_gate_thread_retire(struct ferry_gate_thread *, unsigned linger_ms, void (*done)(void *),
                              void *arg);

/*
 * While it drains: gives up the requests under way (their clients see a reset, their log lines say
 * "shutdown"), so that `done` follows as soon as the application lets go of them.
 */
void ferry_gate_thread_cut(struct ferry_gate_thread *);
void ferry_gate_thread_free(struct ferry_gate_thread *); /* after `done` */

#endif
