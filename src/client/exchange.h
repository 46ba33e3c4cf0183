/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CLIENT_EXCHANGE_H
#define FERRY_CLIENT_EXCHANGE_H

#include "client/client.h"
#include "io/spool.h"

/* What the files of an exchange share: exchange.c (its life), exchange_answer.c (what comes back)
 * and exchange_body.c (what is sent). */

#define FERRY__SHARED_BODY_MAX 65536 /* a longer one gets a connection of its own */

/* A stream to the application. What was written is kept while it may have to be written again. */
struct ferry__sending {
    struct ferry_spool kept;
    bool ended;    /* by the owner */
    bool end_sent; /* on this connection */
    bool waited;   /* the owner waits for `writable` */
    int fd;        /* or it comes from a file; else -1 */
    int64_t off;
    uint64_t file_len, file_at;
};

enum ferry__exchange_state {
    FERRY__EXCHANGE_NEW,
    FERRY__EXCHANGE_CALLING, /* the call is under way, or waits */
    FERRY__EXCHANGE_ENDED,   /* it is over, and `done` not told yet */
    FERRY__EXCHANGE_OVER,
};

struct ferry_exchange {
    struct ferry_call call;
    struct ferry_client_local *local;
    struct ferry_loop *loop;
    const struct ferry_exchange_fns *fns;
    void *user;
    struct ferry_slice key;
    enum ferry_role role;
    size_t head_max;

    enum ferry__exchange_state state;
    bool busy;    /* a function of the owner's is running */
    bool doomed;  /* it was freed meanwhile */
    bool stopped; /* nothing is told any more but the end */
    bool tell_cancelled;
    struct ferry_task settle;
    struct ferry_outcome outcome;

    /* The request. */
    char *pairs; /* params as they are encoded, one behind the other */
    size_t pairs_len, pairs_cap;
    bool short_body; /* by its CONTENT_LENGTH */
    struct ferry__sending in, data;
    bool tell_writable;

    /* The answer. */
    bool paused;
    bool head_read;
    char *head_mem; /* of a head that came in pieces */
    size_t head_len, head_cap, scanned;
    const struct ferry_answer_head *head; /* while `head` is told */
    bool keeping;
    struct ferry_spool kept; /* STDOUT that waits until the pause is over */
};

/* -- exchange.c -- */

void ferry__exchange_settle_later(struct ferry_exchange *);
/* The owner's function has returned: may more be told? False also when the exchange is gone. */
bool ferry__exchange_left(struct ferry_exchange *);
/* Gives the call up, if it is under way. `done` will be told from the loop. */
void ferry__exchange_fail(struct ferry_exchange *, enum ferry_result, int err, const char *text);
/* Tells `done`; from the loop. The exchange may be gone afterwards. */
void ferry__exchange_finish(struct ferry_exchange *);

/* -- exchange_answer.c -- */

void ferry__exchange_out(struct ferry_call *, struct ferry_block *, struct ferry_slice);
/* Tells what was kept, as far as the owner takes it. False: nothing more may be told now. */
bool ferry__exchange_drain(struct ferry_exchange *);
/* No more comes: is the answer what its result says? */
void ferry__exchange_check(struct ferry_exchange *);
void ferry__exchange_forget_answer(struct ferry_exchange *);

static inline bool ferry__exchange_has_kept(const struct ferry_exchange *x)
{
    return x->keeping && x->kept.at < x->kept.len;
}

/* -- exchange_body.c -- */

void ferry__exchange_body_init(struct ferry_exchange *);
void ferry__exchange_body_fini(struct ferry_exchange *);
void ferry__exchange_started(struct ferry_call *);
void ferry__exchange_writable(struct ferry_call *);
/* Is there nothing to write behind the image but the end of STDIN? */
bool ferry__exchange_is_bare(const struct ferry_exchange *);
bool ferry__exchange_is_long(const struct ferry_exchange *);

#endif
