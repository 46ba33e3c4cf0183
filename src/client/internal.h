/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CLIENT_INTERNAL_H
#define FERRY_CLIENT_INTERNAL_H

#include <stdatomic.h>

#include "client/pool.h"
#include "fcgi/conn.h"
#include "io/pump.h"

/* What pool.c (who gets which connection) and peer.c (one connection) share. */

enum ferry__multiplexing { FERRY__MPX_UNKNOWN, FERRY__MPX_YES, FERRY__MPX_NO };

struct ferry_pool {
    struct ferry_pool_opts opts;
    unsigned threads;
    atomic_uint connections;       /* open, opening or closing: each holds a slot */
    atomic_uint waiting;           /* calls in the queues of all threads */
    atomic_uint idle;              /* idle connections of all threads */
    atomic_uint starving;          /* new connections unanswered for longer than starve_ms */
    atomic_int multiplexing;       /* enum ferry__multiplexing */
    atomic_uint requests_max;      /* on one shared connection */
    _Atomic(uint64_t) probe_at_ms; /* when the next GET_VALUES may be tried */
    struct ferry_pool_local *_Atomic *locals;
};

struct ferry_pool_local {
    struct ferry_pool *pool;
    struct ferry_loop *loop;
    unsigned index;
    struct ferry_list idle;    /* kept connections, the latest used in front */
    struct ferry_list busy;    /* with requests of their own, connecting or closing */
    struct ferry_list shared;  /* multiplexed connections */
    struct ferry_list fresh;   /* not answered yet, oldest first */
    struct ferry_list waiting; /* calls, oldest first */
    atomic_uint nidle;
    _Atomic(uint64_t) oldest_ms; /* when the first waiting call came, or FERRY_NEVER */
    uint64_t backoff_until_ms;   /* the application's backlog was full */
    unsigned backoff_ms;
    struct ferry_timer timer;       /* the queue's deadline, or the end of the back-off */
    struct ferry_timer idle_timer;  /* sweeps kept connections */
    struct ferry_timer fresh_timer; /* looks for starving ones */
    struct ferry_post wake; /* something changed: serve the queue, close idle ones if any starve */
    atomic_bool woken;
    void (*closed)(void *);
    void *closed_arg;
    bool closing;
};

struct ferry__peer {
    struct ferry_pump pump;
    struct ferry_conn *conn;
    struct ferry_pool_local *local;
    struct ferry_list link;       /* in one of the local's lists */
    struct ferry_list fresh_link; /* in local->fresh, or alone */
    struct ferry_list calls;
    uint64_t since_ms; /* idle since, or waiting for the first answer since */
    uint64_t sent_total;
    unsigned answers; /* requests answered here */
    bool connected, shared, keep, idle, closing, starving, probe;
    unsigned lend_to;       /* the thread a detached connection goes to ... */
    struct ferry_post post; /* ... by this post, in what is left of the peer */
    int lent_fd;
};

/* A new connection on its way; the slot is the caller's and moves to it. NULL: -ENOMEM or the like
 * in *err. */
struct ferry__peer *ferry__peer_connect(struct ferry_pool_local *, bool shared, bool probe,
                                        int *err);
/* One that another thread has lent; fd and slot move. NULL when it failed; both are gone then. */
struct ferry__peer *ferry__peer_adopt(struct ferry_pool_local *, int fd);
/* Puts a waiting call on it: 0, or an error (FERRY_ELIMIT: it is full). */
int ferry__peer_begin(struct ferry__peer *, struct ferry_call *);
void ferry__peer_abort(struct ferry__peer *, struct ferry_call *);
void ferry__peer_close(struct ferry__peer *);
void ferry__peer_lend(struct ferry__peer *, unsigned to);

/* pool.c, called by peer.c */
void ferry__pool_peer_idle(struct ferry__peer *); /* it has no request any more and can be kept */
void ferry__pool_peer_gone(struct ferry_pool_local *);    /* it is closed: its slot is free */
void ferry__pool_peer_answered(struct ferry__peer *);     /* the first byte has come */
void ferry__pool_peer_taken(struct ferry__peer *);        /* it is idle no more, if it was */
void ferry__pool_peer_lent(struct ferry__peer *, int fd); /* takes over its memory */
void ferry__pool_requeue(struct ferry_call *, bool backlog_full);
void ferry__pool_serve(struct ferry_pool_local *);
void ferry__pool_values(struct ferry_pool_local *, const struct ferry_conn_values *);
void ferry__call_done(struct ferry_call *, enum ferry_call_outcome, int err, uint32_t app_status,
                      const char *text);

#endif
