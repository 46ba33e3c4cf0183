/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TRACE_FOLLOW_H
#define FERRY_TRACE_FOLLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "ferry/record.h"

/*
 * Follows one FastCGI connection from outside: it is shown the bytes of both directions as they
 * passed, and tells of each request when it is over. What breaks the protocol is told and never
 * fatal. Without memory, or past its limits, it knows less and says so; it never fails.
 */

struct ferry_follow;

enum ferry_follow_side { FERRY_FOLLOW_SERVER, FERRY_FOLLOW_APP }; /* who sent the bytes */

/* Memory for what requests keep, shared by any number of followers of one thread. */
struct ferry_follow_budget {
    size_t used, max;
};

struct ferry_follow_opts {
    struct ferry_follow_budget *budget; /* borrowed */
    unsigned requests_max; /* open at a time on the connection; 0: 1024. More are only counted */
    size_t params_max;     /* bytes of PARAMS that are kept; 0: 64 KiB */
    size_t head_max;       /* the longest header block of an answer; 0: 16 KiB */
    bool whole;            /* keep STDIN, DATA and STDOUT too, as far as the budget goes */
};

/* One stream of a request: how long it was, and the first bytes of it, as many as are kept. */
struct ferry_follow_stream {
    uint64_t len;
    char *p;
    size_t kept, cap;
    bool ended; /* its empty record came */
};

/* Times are those that were passed; 0 for what never happened. */
struct ferry_follow_request {
    struct ferry_follow_stream params, in, data, out, err;
    uint64_t began_us, first_us, ended_us; /* first_us: of STDOUT */
    const char *fault;        /* what first broke the protocol (static text), or NULL */
    size_t head_len, scanned; /* of the header blocks at the front of `out` */
    uint32_t app_status;
    uint16_t id, role;
    uint16_t status; /* of the answer, from its header block; 0: none came */
    uint8_t flags, protocol_status;
    bool head_over;                    /* there is nothing more to be read of the header block */
    bool aborted;                      /* ABORT_REQUEST came */
    bool ended;                        /* END_REQUEST came: else the connection was closed before */
    struct ferry_follow_request *next; /* the follower's own */
};

enum ferry_follow_event_type {
    FERRY_FOLLOW_EV_REQUEST, /* one is over */
    FERRY_FOLLOW_EV_FAULT,   /* something that belongs to no open request */
};

struct ferry_follow_event {
    enum ferry_follow_event_type type;
    const struct ferry_follow_request *request; /* until the next call with this follower */
    const char *fault;                          /* static text */
    enum ferry_follow_side side;
    uint16_t id;
};

/* NULL: no memory. */
struct ferry_follow *ferry_follow_new(const struct ferry_follow_opts *);
void ferry_follow_free(struct ferry_follow *); /* takes NULL */

/* The next bytes of a direction: how many were taken, fewer while an event waits. */
size_t ferry_follow_recv(struct ferry_follow *, enum ferry_follow_side, const void *p, size_t n,
                         uint64_t now_us);

/* A direction has ended. When it is the application's, what is open is over too. */
void ferry_follow_end(struct ferry_follow *, enum ferry_follow_side, uint64_t now_us);

/* The next event; false: there is none. */
bool ferry_follow_event(struct ferry_follow *, struct ferry_follow_event *);

unsigned ferry_follow_open(const struct ferry_follow *);   /* requests that are not over */
uint64_t ferry_follow_missed(const struct ferry_follow *); /* requests that were only counted */

/* The value of a param of the request, empty when it has none (or it is not kept). It lies in the
 * request. */
struct ferry_slice ferry_follow_param(const struct ferry_follow_request *, const char *name);

#endif
