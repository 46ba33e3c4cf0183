/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CLIENT_CALL_H
#define FERRY_CLIENT_CALL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/block.h"
#include "base/list.h"
#include "base/slice.h"
#include "ferry/err.h"
#include "io/loop.h"

/*
 * One FastCGI request on its way to an application: queued, given a connection, answered. It is
 * embedded in its owner, which is told of everything through functions called from the loop, never
 * from within a call of the owner's.
 */

struct ferry_pool_local;
struct ferry_client_local;
struct ferry_call;

/* X(name): how a call ended */
#define FERRY_CALL_OUTCOME_MAP(X)                                                                  \
    X(DONE)       /* END_REQUEST with REQUEST_COMPLETE; app_status is the application's */         \
    X(CUT)        /* the connection failed or was malformed before END_REQUEST; err and text */    \
    X(REFUSED)    /* no connection could be made; err */                                           \
    X(OVERLOADED) /* the queue is full, or the application said so until the deadline */           \
    X(TIMEOUT)    /* waited in the queue up to the deadline */                                     \
    X(SLOW)       /* on a connection, but not answered within a deadline of the call's */          \
    X(BAD_ROLE)   /* the application does not play the role */

enum ferry_call_outcome {
#define X(name) FERRY_CALL_##name,
    FERRY_CALL_OUTCOME_MAP(X)
#undef X
};

struct ferry_call_result {
    enum ferry_call_outcome outcome;
    int err;
    uint32_t app_status;
    const char *text; /* what was wrong, for a log; static memory, may be "" */
};

struct ferry_call_fns {
    /* The request is on a connection that stands: write the body now, from its first byte. Again
     * after each retry. May be NULL. */
    void (*started)(struct ferry_call *);
    /* Bytes of the response; they lie in b: take a reference to keep them. */
    void (*out)(struct ferry_call *, struct ferry_block *b, struct ferry_slice);
    /* Bytes of the application's error stream. */
    void (*errors)(struct ferry_call *, struct ferry_slice);
    /* Less is queued than before; more body may be written. May be NULL. */
    void (*writable)(struct ferry_call *);
    /* The call is over and belongs to its owner again. Exactly once, and not after
     * ferry_call_abort. */
    void (*done)(struct ferry_call *, const struct ferry_call_result *);
};

struct ferry_call {
    /* Set by the owner before ferry_call_start. */
    const struct ferry_call_fns *fns;
    struct ferry_block
        *image; /* as ferry_conn_begin_image wants it; the reference moves to the call */
    struct ferry_slice image_bytes;
    bool idempotent; /* may be sent again although the application may have seen it */
    bool once;       /* not again either when the application says that it is overloaded */
    bool replayable; /* `started` can write the whole body again; the owner may clear it any time */
    bool exclusive;  /* needs a connection of its own: a long body */
    /* Deadlines; 0: the pool's, which may be none. Silence of the application's, from the last byte
     * of the request on or within the answer; and all of it, the queue too. */
    unsigned first_byte_ms, idle_ms, total_ms;
    unsigned queue_ms; /* in the queue, when that is less than the pool's; 0: the pool's */

    /* The pool's. */
    struct ferry_pool_local *local;
    struct ferry__peer *peer; /* NULL while it waits */
    struct ferry_list link;   /* in the queue, or among the calls of its peer */
    uint64_t deadline_ms, queued_ms;
    uint64_t ticket;    /* its place by age */
    uint64_t sent_mark; /* bytes the peer had sent or queued before this request */
    uint16_t id;
    uint8_t attempts;
    bool running;     /* on a connection that stands */
    bool answered;    /* a byte of the response has come */
    bool wants_fresh; /* a kept connection failed it already */
    bool writing;     /* its body, and a filter's data, is not all written */
    bool filter;      /* by its role */
    bool overloaded;  /* the application refused it, for now */
    bool past_end;    /* came when the queue was full */
    bool held;
    bool keyed;                        /* its address was chosen by a key: it waits there */
    struct ferry_client_local *client; /* when it has several addresses, else NULL */
    uint64_t tried;                    /* of those, by bits */
    bool timed;                        /* it has deadlines: */
    struct ferry_timer timer;          /* of the next */
    uint64_t moved_ms;                 /* when bytes of it went either way */
};

/* Starts it: `done` follows in any case. The deadlines of queue and call begin now. `started` alone
 * may be called from within. */
void ferry_call_start(struct ferry_pool_local *, struct ferry_call *);

/* Body may be written; false while the call waits, also after `started` when it came back to the
 * queue. */
static inline bool ferry_call_is_running(const struct ferry_call *call)
{
    return call->running;
}

/* The owner has lost interest: dropped from the queue, or aborted at the application. No function
 * is called any more. */
void ferry_call_abort(struct ferry_call *);

/*
 * Body bytes, between `started` and ferry_call_write_end; they lie in `b`, or are copied when b is
 * NULL. 0 or an error, after which `done` will tell.
 */
int ferry_call_write(struct ferry_call *, struct ferry_block *b, struct ferry_slice);
int ferry_call_write_end(struct ferry_call *);

/*
 * A filter's DATA stream, in the same way, behind the end of STDIN (also when the image has that).
 * `writable` goes on to be told until ferry_call_write_data_end, which a filter waits for: call it
 * also when there is no data. FERRY_EUSAGE for other roles, and before the end of STDIN.
 */
int ferry_call_write_data(struct ferry_call *, struct ferry_block *b, struct ferry_slice);
int ferry_call_write_data_end(struct ferry_call *);

/* Bytes written and not yet sent (with others' on a shared connection). */
uint64_t ferry_call_unsent(const struct ferry_call *);

/*
 * Back-pressure: stops reading the response. On a shared connection, where others would wait too,
 * it has no effect and returns false: keep what comes.
 */
bool ferry_call_hold(struct ferry_call *, bool on);

#endif
