/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CLIENT_POOL_H
#define FERRY_CLIENT_POOL_H

#include <limits.h>

#include "client/call.h"
#include "ferry/client.h"
#include "io/addr.h"
#include "io/loop.h"

/*
 * The connections to one application. The pool is one for the whole process: one cap on
 * connections, one queue by age, what was learned about the application. Each thread has its local
 * part, which owns the connections on its loop; a thread in need takes over a connection that lies
 * idle in another.
 */

#define FERRY__POOL_JOINED UINT_MAX

/* Every zero means the default beside it. */
struct ferry_pool_opts {
    struct ferry_addr addr; /* len 0: not known yet, calls wait for ferry_pool_set_addr */
    enum ferry_multiplex multiplex;
    unsigned connections_max; /* in all threads together: 128. Multiplexing needs more than one a
                                 thread; with fewer, connections are not shared */
    unsigned queue_max; /* requests that wait, in all threads together: 1024; past it OVERLOADED at
                           once */
    unsigned queue_timeout_ms; /* 30 000 */
    unsigned idle_timeout_ms;  /* a kept connection without a request: 5000 */
    unsigned connect_ms; /* until a connection stands, else its requests are REFUSED; 0: as the
                            kernel has it */
    unsigned first_byte_ms, idle_ms, total_ms; /* of calls that have none of their own; 0: none */
    unsigned
        starve_ms; /* a new connection without an answer for so long may be one that an application
                      with few processes has not accepted, because kept connections pin them: 20.
                      From then on and until it is answered, connections are not kept */
    unsigned connections_min; /* kept though idle, and opened ahead */
    unsigned life_ms;         /* a connection takes no request when it is older; 0: for ever */
    unsigned requests_max;    /* of one connection in its life; 0: any number */
    bool no_keep;             /* a connection for each request */
    unsigned fails_max;       /* see health.c; 0: nothing is noted */
    unsigned fail_ms;
    unsigned sharers; /* threads among which is divided what the application takes at once: all;
                         FERRY__POOL_JOINED: those that are there */
};

struct ferry_pool;

struct ferry_pool *ferry_pool_new(const struct ferry_pool_opts *, unsigned threads);
/* It is found there from now on, and connections made before take no further request; or nowhere
 * any more, and only calls that are here go on; or why no address is known yet, which is then why
 * calls fail. All from any thread. */
void ferry_pool_set_addr(struct ferry_pool *, const struct ferry_addr *);
void ferry_pool_lose_addr(struct ferry_pool *);
void ferry_pool_set_addr_error(struct ferry_pool *, int err);

void ferry_pool_free(struct ferry_pool *); /* after all local parts are closed; takes NULL */

/* The part of thread `index` (< threads), on its loop; called in that thread, or before the loop
 * runs. A part that was closed begins anew, perhaps on another loop. NULL: no memory. */
struct ferry_pool_local *ferry_pool_join(struct ferry_pool *, unsigned index, struct ferry_loop *);

/* Keeps no idle connection from now on; `closed` is called when none is left at all, nor any call:
 * those there are still run to their end. */
void ferry_pool_local_close(struct ferry_pool_local *, void (*closed)(void *), void *arg);
/* After `closed` of all threads' parts: they look at each other. Its loop may be gone by then. */
void ferry_pool_local_free(struct ferry_pool_local *);

/* Adds what is known of the pool, from any thread. */
void ferry_pool_stats(const struct ferry_pool *, struct ferry_client_stats *sum);

/* Does the application multiplex, as far as is known? */
bool ferry_pool_multiplexes(const struct ferry_pool *);

#endif
