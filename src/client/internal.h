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

#define FERRY__POOLS_MAX 64 /* of one client: one for each address */

#define FERRY__REQUESTS_MAX                                                                        \
    64 /* at once of each thread, of an application that multiplexes and does not say how many */
#define FERRY__REQUESTS_UNSAID UINT_MAX

enum ferry__multiplexing { FERRY__MPX_UNKNOWN, FERRY__MPX_YES, FERRY__MPX_NO };

struct ferry_pool {
    struct ferry_pool_opts opts;
    bool timed; /* its calls have deadlines though they say none */
    unsigned threads;
    pthread_mutex_t lock;         /* of opts.addr */
    atomic_uint addr_age;         /* connections made at an earlier one are worn */
    atomic_bool addr_gone;        /* nothing is opened ahead there */
    atomic_int addr_err;          /* 0: the address is known; -EAGAIN: not yet; or why not */
    atomic_uint fails;            /* in a row; see health.c */
    _Atomic(uint64_t) down_until; /* 0: it is well */
    atomic_uint joined;           /* of these, now */
    atomic_uint connections;      /* open, opening or closing: each holds a slot */
    atomic_uint waiting;          /* calls in the queues of all threads */
    atomic_uint idle;             /* idle connections of all threads */
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

/* X(name): counted by the thread alone, read by others */
#define FERRY__COUNTS_MAP(X)                                                                       \
    X(running) /* now; the others only grow */                                                     \
    X(requests) X(failed) X(connects) X(reused) X(retries) X(timeouts) X(full)

struct ferry__counts {
#define X(name) _Atomic(uint64_t) name;
    FERRY__COUNTS_MAP(X)
#undef X
};

#define ferry__count(l, name, n)                                                                   \
    atomic_store_explicit(&(l)->counts.name,                                                       \
                          atomic_load_explicit(&(l)->counts.name, memory_order_relaxed) +          \
                              (uint64_t)(n),                                                       \
                          memory_order_relaxed)

/* Pools of one thread among which calls may move: those of the addresses of a client. */
struct ferry__group {
    uint64_t tickets;
    struct ferry_pool_local *locals[FERRY__POOLS_MAX]; /* NULL: not joined */
    unsigned n;
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
    struct ferry_list waiting;      /* oldest first */
    struct ferry_list refused;      /* came when the queue was full; to be told so */
    uint64_t tickets, *next_ticket; /* the group's, or its own */
    struct ferry__group *group;     /* NULL: this pool is the only one */
    _Atomic(uint64_t) oldest_ms;    /* no later than the first waiting call came; or FERRY_NEVER */
    struct ferry__backoff backlog;  /* it is full, or descriptors are out: no connecting */
    struct ferry__backoff overloaded; /* the application says so: nothing at all */
    struct ferry_timer queue_timer;   /* the first deadline, or the end of a pause */
    struct ferry_task serve;          /* puts waiting calls on connections */

    struct ferry__counts counts;

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
    unsigned begun;   /* in the connection's life, in other threads too */
    unsigned addr_age;
    uint64_t born_ms;
    unsigned writing; /* calls whose body is not all written */
    bool connected, shared, keep, idle, closing, starving, probe, retired;
    bool ahead;             /* opened for no request */
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

/* Has it had its time, or its requests? */
static inline bool ferry__peer_is_worn(const struct ferry__peer *p)
{
    const struct ferry_pool_opts *o = &p->local->pool->opts;

    return p->addr_age != atomic_load_explicit(&p->local->pool->addr_age, memory_order_relaxed) ||
           (o->requests_max && p->begun >= o->requests_max) ||
           (o->life_ms && ferry__pool_now(p->local) >= p->born_ms + o->life_ms);
}

/* -- peer.c -- */

/* A new connection on its way; the slot is the caller's and moves to it. NULL: -ENOMEM or the like
 * in *err. */
struct ferry__peer *ferry__peer_connect(struct ferry_pool_local *, bool shared, int *err);
/* One that another thread has lent; fd and slot move. NULL when it failed; both are gone then. */
struct ferry__peer *ferry__peer_adopt(struct ferry_pool_local *, int fd,
                                      const struct ferry__peer *was);
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
void ferry__pool_addr(struct ferry_pool *, struct ferry_addr *out);
unsigned ferry__pool_load(const struct ferry_pool *); /* calls that run or wait, in all threads */
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

/* As ferry_call_start, with `client` and what belongs to it set. */
void ferry__queue_start(struct ferry_pool_local *, struct ferry_call *);
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

/* It refused; is there another address? Then the call is on its way there. (client.c) */
bool ferry__call_elsewhere(struct ferry_call *);
/* Takes a call that waits nowhere, and keeps its place by age. */
void ferry__queue_take(struct ferry_pool_local *, struct ferry_call *);

/* -- health.c -- */

enum ferry__health { FERRY__WELL, FERRY__DOWN, FERRY__TO_TRY };

enum ferry__health ferry__health_of(const struct ferry_pool *, uint64_t now_ms);
/* Of one that is to be tried: may this request do it? */
bool ferry__health_try(struct ferry_pool *, uint64_t now_ms);
void ferry__health_note(struct ferry_pool *, bool good, uint64_t now_ms);
/* What the end of a call says about the application's health. */
void ferry__health_ended(const struct ferry_call *, enum ferry_call_outcome, int err);

/* -- probe.c -- */

void ferry__probe_init(struct ferry_pool_local *);
/* Asks the application, if that is due. */
void ferry__probe(struct ferry_pool_local *);
void ferry__probe_answered(struct ferry_pool_local *, const struct ferry_conn_values *);
void ferry__probe_closed(struct ferry_pool_local *);
/* CANT_MPX_CONN came. */
void ferry__probe_refuted(struct ferry_pool_local *);

#endif
