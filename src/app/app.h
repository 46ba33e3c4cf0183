/* SPDX-License-Identifier: MIT */
#ifndef FERRY_APP_APP_H
#define FERRY_APP_APP_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "app/addrs.h"
#include "app/arena.h"
#include "app/form.h"
#include "app/vars.h"
#include "base/chain.h"
#include "fcgi/conn.h"
#include "ferry/app.h"
#include "io/addr.h"
#include "io/pump.h"

/*
 * What the files of this folder share. An application has peers (connections) and requests. A
 * request belongs to its peer while the connection lives, and to the application's orphans after
 * that, until its handler finishes it.
 */

#define FERRY__REQUEST_OUT 4096 /* output gathered before it becomes a record */
#define FERRY__REQUEST_MEM                                                                         \
    4096 /* params and the handler's allocations, before blocks are taken                          \
          */

/* What a request waits to be told; several at once become one visit of the loop. */
enum ferry__poke {
    FERRY__POKE_ABORT = 1,
    FERRY__POKE_START = 2,
    FERRY__POKE_BODY = 4,
    FERRY__POKE_DATA = 8,
    FERRY__POKE_WRITABLE = 16,
};

enum ferry__head {
    FERRY__HEAD_NONE,  /* nothing written yet */
    FERRY__HEAD_OPEN,  /* header lines written */
    FERRY__HEAD_RAW,   /* the handler writes it itself, and it has not ended */
    FERRY__HEAD_CLOSED /* the empty line is written */
};

struct ferry__peer {
    struct ferry_pump pump;
    struct ferry_conn *fcgi;
    struct ferry_app *app;
    struct ferry_list link;     /* in app->peers, or app->idle_peers when unused */
    struct ferry_list requests; /* by request.link */
    struct ferry_list writers;  /* by request.writer: told to wait for room, the longest first */
    /* Written by the loop; a detached request's thread looks at them under that one's lock. */
    atomic_ullong sent;    /* bytes that left, ever */
    atomic_size_t waiting; /* bytes of output that have not */
    atomic_uint active;    /* requests */
    unsigned held;         /* streams whose unread bytes keep it from being read */
    bool closing;
    bool large;     /* it is read in large blocks */
    bool wide;      /* it has room for large answers */
    unsigned begun; /* requests, ever */
    /* As the last sweep saw it, and since when: see deadlines.c. */
    unsigned seen_begun;
    uint64_t seen_sent, idle_since, stuck_since;
};

/* One of a request's input streams. */
struct ferry__input {
    struct ferry_chain chain; /* what came and was not consumed */
    size_t eaten;             /* bytes of it that another thread has consumed */
    ferry_request_fn fn;      /* told of more, and of the end */
    int err;
    bool ended;   /* its last byte came */
    bool holding; /* too much is unread: one of peer->held */
};

struct ferry__early;

/* Output that another thread wrote, on its way to the loop; then the chain's, as a block. */
struct ferry__piece {
    struct ferry__piece *next;
    enum ferry_record_type stream;
    struct ferry_slice bytes; /* in `block`, or whose they are is told by a call of `release` */
    void (*release)(void *arg);
    void *arg;
    struct ferry_block block;
};

/* What a detached request's thread and the loop share: see detached.c. */
struct ferry__shared {
    pthread_mutex_t lock; /* of all here, of the request's output, input, `err` and `peer` */
    pthread_cond_t changed;
    struct ferry_post post;
    struct ferry_blocks blocks; /* none kept: the loop's are the loop's alone */
    struct ferry__piece *first, **last;
    size_t waiting;  /* bytes of the pieces */
    bool posted;     /* the loop will look */
    bool blocking;   /* reading and writing wait for the peer */
    bool wants_room; /* the loop is to say when there is */
    bool lost;       /* a piece could not be queued, so none behind it is */
    bool finished;
};

struct ferry_request {
    struct ferry_app *app;
    struct ferry__peer *peer; /* NULL when the connection is gone */
    struct ferry_list link;
    struct ferry_list poked;  /* in app->poked while pokes != 0 */
    struct ferry_list dirty;  /* in app->dirty while out_len > 0 */
    struct ferry_list writer; /* in peer->writers */
    struct ferry_list queued; /* in a list of app->threads: `queue` under its lock */
    struct ferry_timer timer;
    struct ferry__input body, data;
    struct ferry__shared shared;

    /* From here on all is zero in a new request. */
    ferry_request_fn after, on_abort, on_writable;
    void *user;
    uint16_t id;
    uint16_t role;
    bool kept, params_ended, started, finished;
    bool detached; /* another thread has it: most of it is under shared.lock */
    atomic_bool aborted;
    bool lingers; /* finished, but its output waits for the end of the body: see early.c */
    bool status_set, type_set, err_used;
    bool line_is_empty; /* HEAD_RAW: so far */
    bool drops_content;
    uint8_t head;   /* enum ferry__head */
    uint8_t pokes;  /* enum ferry__poke */
    unsigned calls; /* of its functions that have not returned */
    int err;        /* the first of its output */
    int app_status;
    const char *peer_text;
    uint64_t got, seen_got, silent_since; /* bytes of its input: see deadlines.c */
    uint64_t own;       /* bytes of its output queued since it last had none waiting ... */
    uint64_t own_until; /* ... which all left when the peer has sent so many */

    struct ferry__early *early;
    struct ferry_form *form;
    struct ferry__vars vars;
    struct ferry__arena arena;
    char *params; /* the PARAMS stream so far, in `mem` or in a block of its own */
    size_t params_len, params_cap;
    struct ferry_block *params_block;
    size_t out_len;

    _Alignas(max_align_t) char out[FERRY__REQUEST_OUT];
    _Alignas(max_align_t) char mem[FERRY__REQUEST_MEM];
};

struct ferry__listener {
    struct ferry_listener base;
    struct ferry_app *app;
    struct ferry_list link;
    int fd;
    bool open;    /* the loop has it */
    bool closing; /* and is about to let go of it */
    struct ferry_addr addr;
};

struct ferry__notify {
    int fd; /* connected to NOTIFY_SOCKET, or -1 */
    bool load, armed;
    struct ferry_timer timer;
    uint64_t told_ms;
    unsigned long long told_total;
    unsigned told_active;
};

struct ferry__report_rate {
    uint64_t since_ms;
    unsigned told, kept; /* lines since then, and those that were not told */
};

struct ferry__cgi;
struct ferry__thread;

struct ferry__threads {
    pthread_mutex_t lock;
    struct ferry_list queue; /* requests that no thread has taken yet */
    struct ferry_list idle;  /* threads that sleep, the last first */
    bool waking;             /* one is woken and has not looked yet */
    bool over;
    /* The loop's: */
    struct ferry_list fresh; /* requests that are about to be queued */
    struct ferry__thread *threads;
    unsigned n;
};

struct ferry_app {
    struct ferry_app_opts opts; /* every default filled in */
    struct ferry_loop *loop;
    struct ferry__addrs allowed;
    struct ferry_list listeners, peers, orphans;
    struct ferry__cgi *cgi; /* it was started as plain CGI */
    struct ferry_list poked, dirty;
    struct ferry_list idle_peers, idle_requests; /* kept for the next, at most IDLE_MAX each */
    unsigned npeers, nrequests, nidle_peers, nidle_requests;
    unsigned long long total; /* requests, ever */
    struct ferry__notify notify;
    struct ferry__report_rate rate;
    struct ferry_timer sweep;
    struct ferry__threads threads;
    struct ferry_task settle; /* what was poked while poking */
    struct ferry_timer stop_timer, fresh_timer;
    struct ferry_watch signals;
    sigset_t signal_set;
    bool watching; /* `signals` is on the loop */
    atomic_bool stopping;
    bool settling, cut, full, sweeping;
    bool worn;         /* it has had as many requests as it may */
    atomic_uint stops; /* calls of ferry_app_stop */
    unsigned stops_seen;
    const char *why;
    struct ferry_block static_block; /* stands for memory that outlives the application */
};

#define FERRY__IDLE_MAX 256

/* -- app.c */

/* Calls what was poked and sends what was gathered. Ends everything the loop calls in this folder.
 */
void ferry__app_settle(struct ferry_app *);
/* Nothing of ours is on the loop any more. */
bool ferry__app_is_quiet(const struct ferry_app *);
/* Nothing is left to be done after a stop. */
bool ferry__app_is_over(const struct ferry_app *);

/* -- listen.c */

/* No more connections at once: stops accepting until one goes. */
void ferry__app_full(struct ferry_app *);
/* A peer, a listener or a request went: may more be accepted, is the application at its end? */
void ferry__app_fewer(struct ferry_app *);
void ferry__listeners_close(struct ferry_app *);
bool ferry__listeners_are_open(const struct ferry_app *);
void ferry__listeners_free(struct ferry_app *);

/* -- report.c */

void ferry__report(struct ferry_app *, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* What the peer of a connection did; with a rate. */
void ferry__report_peer(struct ferry_app *, int fd, const char *what);

/* -- notify.c */

void ferry__notify_init(struct ferry__notify *);
void ferry__notify_fini(struct ferry__notify *);
void ferry__notify_ready(struct ferry_app *);
void ferry__notify_stopping(struct ferry_app *);
void ferry__notify_load(struct ferry_app *);

/* A request came or went. */
static inline void ferry__notify_changed(struct ferry_app *app)
{
    if (__builtin_expect(app->notify.load, 0) && !app->notify.armed)
        ferry__notify_load(app);
}

/* -- deadlines.c */

void ferry__deadlines_init(struct ferry_app *);
void ferry__deadlines_watch(struct ferry_app *); /* there is a connection */

/* -- cgi.c: the request of a program that was started as plain CGI */

FERRY_MUST_CHECK
int ferry__cgi_new(struct ferry_app *, struct ferry__cgi **out);
FERRY_MUST_CHECK
int ferry__cgi_start(struct ferry__cgi *); /* 0 too when it has */
bool ferry__cgi_runs(const struct ferry__cgi *);
/* What the program exits with; when it does not run any more. */
int ferry__cgi_status(const struct ferry__cgi *);
/* Waits for nobody any more: soon it does not run. */
void ferry__cgi_cut(struct ferry__cgi *);
void ferry__cgi_free(struct ferry__cgi *); /* one that does not run, or NULL */

/* -- peer.c */

/* Both take over fd. */
void ferry__peer_accept(struct ferry_app *, int fd);
int ferry__peer_open(struct ferry_app *, int fd); /* whoever it is: 0 or -errno */
/* It begins no more requests. One that has had none yet may begin one, unless `at_once`. */
void ferry__peer_drain(struct ferry__peer *, bool at_once);
/* Aborts its requests and closes it. */
void ferry__peer_cut(struct ferry__peer *);
void ferry__peer_free(struct ferry__peer *);
/* Its requests or its output changed: shows it to other threads. */
void ferry__peer_show(struct ferry__peer *);

/* -- request.c */

/* A request without params; NULL when memory is out. */
struct ferry_request *ferry__request_new(struct ferry__peer *,
                                         const struct ferry_conn_event *begin);
/* More of its PARAMS stream: 0, or FERRY_ELIMIT or -ENOMEM. */
int ferry__request_params(struct ferry_request *, struct ferry_slice);
/* The stream's end: 0, or as ferry__vars_parse. */
int ferry__request_parse(struct ferry_request *);
/* Its body has ended: sends what waited for that. */
void ferry__request_body_end(struct ferry_request *);
/* Its web server aborted it, or will send no more of what is missing. */
void ferry__request_abort(struct ferry_request *);
/* None of its functions is called any more. */
void ferry__request_quiet(struct ferry_request *);
/* The connection has no more to do with it. */
void ferry__request_orphan(struct ferry_request *);
/* Nobody holds it: takes it out of everything, for use again. */
void ferry__request_recycle(struct ferry_request *);
void ferry__request_free(struct ferry_request *); /* its memory, when it is in nothing */
void ferry__request_poke(struct ferry_request *, enum ferry__poke);
/* Sets one of its functions. Of a request that is aborted already it is called soon, for nothing
 * else will come. */
void ferry__request_waits(struct ferry_request *, ferry_request_fn *for_it, ferry_request_fn fn);
/* Calls the handler's functions for what is poked. It may be gone afterwards. */
void ferry__request_run(struct ferry_request *);

/* -- input.c: each stream is r->body or r->data of the request given with it */

void ferry__input_init(struct ferry__input *, struct ferry_blocks *);
void ferry__input_clear(struct ferry__input *); /* for the next request */
void ferry__input_add(struct ferry_request *, struct ferry__input *, struct ferry_block *,
                      struct ferry_slice);
void ferry__input_end(struct ferry_request *, struct ferry__input *);
/* Takes out what another thread has consumed. */
void ferry__input_settle(struct ferry_request *);
/* Bytes, the end or an error: reading would not wait. */
bool ferry__input_is_ready(const struct ferry__input *);
/* No longer keeps its connection from being read. */
void ferry__request_unhold(struct ferry_request *);
/* Nobody will read what came. */
void ferry__request_drop_input(struct ferry_request *);
/* It is aborted: what was not read by now is not read any more. */
void ferry__request_cut_input(struct ferry_request *);
/* All the input of its role has come. */
bool ferry__request_is_whole(const struct ferry_request *);

/* -- early.c */

/* Must its output wait? */
static inline bool ferry__early(const struct ferry_request *r)
{
    return r->role == FERRY_FILTER && !r->body.ended;
}

int ferry__early_put(struct ferry_request *, enum ferry_record_type, struct ferry_block *,
                     struct ferry_slice);
size_t ferry__early_len(const struct ferry_request *);
/* The body has ended: queues what waited. False when nothing did. */
bool ferry__early_send(struct ferry_request *);
void ferry__early_clear(struct ferry_request *);

/* -- detached.c */

static inline void ferry__request_lock(const struct ferry_request *r)
{
    if (__builtin_expect(r->detached, 0))
        pthread_mutex_lock((pthread_mutex_t *)&r->shared.lock);
}

static inline void ferry__request_unlock(const struct ferry_request *r)
{
    if (__builtin_expect(r->detached, 0))
        pthread_mutex_unlock((pthread_mutex_t *)&r->shared.lock);
}

void ferry__shared_init(struct ferry__shared *);
void ferry__shared_fini(struct ferry__shared *);
/* A piece with room for n bytes, or NULL. Freed, with a call of `release`, as its block is. */
struct ferry__piece *ferry__piece_new(size_t n);
/* The functions below are for detached requests, locked unless said otherwise. */
void ferry__detached_push(struct ferry_request *, struct ferry__piece *); /* takes it */
int ferry__detached_copy(struct ferry_request *, enum ferry_record_type, struct ferry_slice);
/* The loop is to look at what was written, read or finished. */
void ferry__detached_post(struct ferry_request *);
/* Waits for anything that is new; `until` may be NULL. False when that is over. */
bool ferry__detached_sleep(struct ferry_request *, const struct timespec *until);
/* A write would not wait. */
bool ferry__detached_has_room(const struct ferry_request *);
void ferry__detached_await_room(struct ferry_request *);
void ferry__detached_finish(struct ferry_request *, int app_status); /* takes the lock */
/* The loop has news for its thread. Not locked. */
void ferry__detached_tell(struct ferry_request *);
/* No thread has it any more: it is the loop's again. Not locked. */
void ferry__detached_end(struct ferry_request *);
/* Waits until its thread has finished it. Not locked. */
void ferry__detached_join(struct ferry_request *);

/* -- threads.c */

/* A thread that takes no signals, which are for the program's own threads, but those of its own
 * mistakes. 0 or -errno. */
int ferry__thread_start(pthread_t *out, void *(*run)(void *), void *arg);

void ferry__threads_init(struct ferry__threads *);
/* 0, -ENOMEM or what pthread_create said. Once they run there is no further effect. */
int ferry__threads_start(struct ferry__threads *, unsigned n);
/* Ends them when they have returned from what they run; the queue must be empty. */
void ferry__threads_fini(struct ferry__threads *);
void ferry__threads_queue(struct ferry__threads *, struct ferry_request *);
/* Shows the threads what was queued, and wakes who is needed for it. */
void ferry__threads_hand_over(struct ferry__threads *);
/* Takes a request out of the queue: false when it is not in it. */
bool ferry__threads_cancel(struct ferry__threads *, struct ferry_request *);

/* -- reply.c */

/* All output that waits where it counts for this request: on its connection, and on the way there.
 */
size_t ferry__request_waiting(const struct ferry_request *);
/* Queues bytes of a stream for the peer, without a copy when they lie in a block: 0 or the sticky
 * error. */
int ferry__request_queue(struct ferry_request *, enum ferry_record_type, struct ferry_block *,
                         struct ferry_slice);
/* Turns what is gathered into a record, once a header block is whole. The loop's. */
void ferry__request_flush(struct ferry_request *);
/* Everything that is missing, and END_REQUEST with its app status. */
void ferry__request_end(struct ferry_request *);
/* Less waits for the peer than before: tells those who wait for that. */
void ferry__peer_wake(struct ferry__peer *);

#endif
