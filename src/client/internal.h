/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CLIENT_INTERNAL_H
#define FERRY_CLIENT_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "client/pool.h"
#include "fcgi/conn.h"
#include "io/pump.h"

/*
 * What the files of the client share: pool.c (connections and threads), queue.c (calls that wait),
 * probe.c (does the application multiplex), peer.c (one connection).
 */

#define FERRY__REQUESTS_MAX                                                                        \
    64 /* at once of each thread, of an application that multiplexes and does not say how many */
#define FERRY__REQUESTS_UNSAID UINT_MAX

enum ferry__multiplexing { FERRY__MPX_UNKNOWN, FERRY__MPX_YES, FERRY__MPX_NO };

struct ferry_pool {
    struct ferry_pool_opts opts;
    bool timed; /* its calls have deadlines though they say none */
    unsigned threads;
    atomic_uint joined;      /* of these, now */
    atomic_uint connections; /* open, opening or closing: each holds a slot */
    atomic_uint waiting;     /* calls in the queues of all threads */
    atomic_uint idle;        /* idle connections of all threads */
    atomic_bool recycles; /* the application was seen to close a connection just behind an answer */
    atomic_uint starving; /* new connections unanswered for longer than starve_ms */
    atomic_int multiplexing;       /* enum ferry__multiplexing */
    atomic_uint requests_max;      /* of all threads at once, on shared connections */
    _Atomic(uint64_t) probe_at_ms; /* when the next GET_VALUES may be tried */
    atomic_uint probe_wait_ms;     /* and how long after it another */
    struct ferry_pool_local *_Atomic *locals;
};

/* Pauses that double while the application goes on refusing. */
struct ferry__backoff {
    uint64_t until_ms;
    unsigned ms; /* 0: it does not refuse */
};

struct ferry_pool_local {
    struct ferry_pool *pool;
    struct ferry_loop *loop;
    unsigned index;

    /* Connections. */
    struct ferry_list idle;   /* kept ones, the latest used in front */
    struct ferry_list busy;   /* with requests of their own, connecting, retired or closing */
    struct ferry_list shared; /* multiplexed ones that take requests */
    struct ferry_list fresh;  /* not answered yet, oldest first */
    struct ferry__peer *probe;
    atomic_uint nidle;
    atomic_uint coming;             /* connections that other threads are lending to this one */
    struct ferry_timer idle_timer;  /* sweeps kept connections */
    struct ferry_timer fresh_timer; /* looks for starving ones */
    struct ferry_list connecting;   /* with a deadline for it */
    struct ferry_timer connect_timer;
    struct ferry_timer probe_timer;
    struct ferry_post wake; /* something changed: serve the queue, close idle ones if any starve */
    atomic_bool woken;
    pthread_mutex_t gate; /* between `wake` and the end: a part that is gone is not posted to */
    bool gone;

    /* Calls. */
    struct ferry_list waiting; /* oldest first */
    struct ferry_list refused; /* came when the queue was full; to be told so */
    uint64_t tickets;
    _Atomic(uint64_t) oldest_ms;   /* no later than the first waiting call came; or FERRY_NEVER */
    struct ferry__backoff backlog; /* it is full, or descriptors are out: no connecting */
    struct ferry__backoff overloaded; /* the application says so: nothing at all */
    struct ferry_timer queue_timer;   /* the first deadline, or the end of a pause */
    struct ferry_task serve;          /* puts waiting calls on connections */

    void (*closed)(void *);
    void *closed_arg;
    atomic_bool closing;
};

struct ferry__peer {
    struct ferry_pump pump;
    struct ferry_conn *conn;
    struct ferry_pool_local *local;
    struct ferry_list link;         /* in one of the local's lists */
    struct ferry_list fresh_link;   /* in local->fresh, or alone */
    struct ferry_list connect_link; /* in local->connecting, or alone */
    struct ferry_list calls;
    uint64_t since_ms;            /* idle since, or waiting for the first answer since */
    uint64_t sent_total, sent_ms; /* bytes; when the last of them left */
    unsigned ncalls, requests_max;
    unsigned answers; /* requests answered here */
    unsigned writing; /* calls whose body is not all written */
    bool connected, shared, keep, idle, closing, starving, probe, retired;
    unsigned lend_to;       /* the thread a detached connection goes to ... */
    struct ferry_post post; /* ... by this post, in what is left of the peer */
    int lent_fd;
};

static inline uint64_t ferry__pool_now(const struct ferry_pool_local *l)
{
    return ferry_loop_now(l->loop);
}

static inline bool ferry__pool_shares(const struct ferry_pool *pool)
{
    return atomic_load_explicit(&pool->multiplexing, memory_order_relaxed) == FERRY__MPX_YES;
}

/* Among how many threads is divided what the application takes at once? */
static inline unsigned ferry__pool_sharers(const struct ferry_pool *pool)
{
    unsigned n = pool->opts.sharers;

    return n == FERRY__POOL_JOINED ? atomic_load(&pool->joined) : n;
}

/* The first member of a list, or NULL. */
#define ferry__first(list, type)                                                                   \
    (ferry_list_empty(list) ? NULL : ferry_container((list)->next, type, link))

/* -- peer.c -- */

/* A new connection on its way; the slot is the caller's and moves to it. NULL: -ENOMEM or the like
 * in *err. */
struct ferry__peer *ferry__peer_connect(struct ferry_pool_local *, bool shared, int *err);
/* One that another thread has lent; fd and slot move. NULL when it failed; both are gone then. */
struct ferry__peer *ferry__peer_adopt(struct ferry_pool_local *, int fd);
/* Puts a call on it: 0, or an error (FERRY_ELIMIT: it is full). */
int ferry__peer_begin(struct ferry__peer *, struct ferry_call *);
void ferry__peer_abort(struct ferry__peer *, struct ferry_call *);
void ferry__peer_close(struct ferry__peer *);
void ferry__peer_lend(struct ferry__peer *, unsigned to);
/* It takes no further request, and closes after those it has. */
void ferry__peer_retire(struct ferry__peer *);

/* No connection came of it: its calls are refused, or wait when the backlog is full. */
void ferry__peer_connect_failed(struct ferry__peer *, int err);

/* -- deadlines.c -- */

void ferry__pool_deadlines_init(struct ferry_pool_local *);
/* A call that has just come has deadlines. */
void ferry__call_timed(struct ferry_call *);
/* Bytes of a timed call went either way, or it got its connection. */
void ferry__call_moved(struct ferry_call *);
/* A connection begins to be made, and connect_ms is set. */
void ferry__connect_timed(struct ferry__peer *);

/* -- pool.c -- */

bool ferry__pool_slot_take(struct ferry_pool *);
void ferry__pool_slot_give(struct ferry_pool *);
/* Somebody may have what a call of this thread waits for: asks for it. */
void ferry__pool_beg(struct ferry_pool_local *);
void ferry__pool_wake_all(struct ferry_pool_local *);
/* Nothing may be left of a local part that closes: says so then. */
void ferry__pool_maybe_closed(struct ferry_pool_local *);
void ferry__pool_peer_idle(struct ferry__peer *); /* it has no request any more and can be kept */
void ferry__pool_peer_gone(struct ferry_pool_local *); /* it is closed: its slot is free */
void ferry__pool_peer_answered(struct ferry__peer *);  /* the first byte has come */
void ferry__pool_peer_taken(struct ferry__peer *);     /* it is idle no more, if it was */
/* Off this loop, with the peer's memory; fd -1: it was closed on the way. */
void ferry__pool_peer_lent(struct ferry__peer *, int fd);

/* -- queue.c -- */

/* Why a call comes back to the queue. */
enum ferry__again {
    FERRY__STALE,        /* its kept connection was closed: it wants a fresh one */
    FERRY__UNSHARED,     /* the application does not multiplex after all */
    FERRY__BACKLOG_FULL, /* of the application's socket */
    FERRY__OVERLOADED,   /* the application says so */
};

void ferry__queue_init(struct ferry_pool_local *);
void ferry__queue_fini(struct ferry_pool_local *);
bool ferry__queue_empty(const struct ferry_pool_local *);
void ferry__queue_again(struct ferry_call *, enum ferry__again why);
/* Room may have come up: at the end of the turn, waiting calls are looked at again. */
void ferry__queue_serve(struct ferry_pool_local *);
/* One that waits has waited too long. */
void ferry__queue_expire(struct ferry_call *);
void ferry__call_done(struct ferry_call *, enum ferry_call_outcome, int err, uint32_t app_status,
                      const char *text);

/* -- probe.c -- */

void ferry__probe_init(struct ferry_pool_local *);
/* Asks the application, if that is due. */
void ferry__probe(struct ferry_pool_local *);
void ferry__probe_answered(struct ferry_pool_local *, const struct ferry_conn_values *);
void ferry__probe_closed(struct ferry_pool_local *);
/* CANT_MPX_CONN came. */
void ferry__probe_refuted(struct ferry_pool_local *);

#endif
