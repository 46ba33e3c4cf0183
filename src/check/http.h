/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CHECK_HTTP_H
#define FERRY_CHECK_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "check/bytes.h"

/*
 * An HTTP/1.1 response as a client sees it: read from the bytes of a connection as they come, and
 * judged: whole, cut, or no response at all. Nothing here calls the system.
 */

/* X(name, text) */
#define FERRY_HTTP_END_MAP(X)                                                                      \
    X(OPEN, "under way")                                                                           \
    X(WHOLE, "whole")                                                                              \
    X(CUT, "cut")          /* the connection ended before what the head promised */                \
    X(NONE, "none")        /* it ended, or broke, before there was a head */                       \
    X(BAD, "not HTTP/1.1") /* `why` says what is wrong */

enum ferry_http_end {
#define X(name, text) FERRY_HTTP_##name,
    FERRY_HTTP_END_MAP(X)
#undef X
};

struct ferry_http_response {
    enum ferry_http_end end;
    int status;              /* 0 while the head is not whole */
    unsigned interim;        /* 1xx responses that came before it */
    struct ferry_slice head; /* its lines; borrows from the bytes given last */
    struct ferry_bytes body; /* without its framing */
    const char *why;

    /* Of the reader. */
    bool head_only; /* the answer to a HEAD: it has no body, whatever its fields say */
    uint8_t state;
    size_t at;      /* bytes read of those given */
    size_t head_at; /* where the head begins among them */
    size_t head_len;
    uint64_t left; /* of the body or of the chunk */
};

/* X(name) how the bytes have ended */
enum ferry_http_input { FERRY_HTTP_MORE, FERRY_HTTP_EOF, FERRY_HTTP_RESET };

/* At most body_max bytes of body are kept; more is BAD. */
void ferry_http_response_init(struct ferry_http_response *, bool head_only, size_t body_max);
void ferry_http_response_fini(struct ferry_http_response *);

/*
 * Reads on. `bytes` are all bytes from the first one of the response: those that were given before
 * and, behind them, the new ones. A response without a length of its own ends with FERRY_HTTP_EOF;
 * with FERRY_HTTP_RESET it is cut. Returns how many bytes belong to it so far.
 */
size_t ferry_http_response_read(struct ferry_http_response *, struct ferry_slice bytes,
                                enum ferry_http_input);

/* The value of the nth (from 0) field of that name, case ignored; p == NULL when there is none. */
struct ferry_slice ferry_http_field(const struct ferry_http_response *, const char *name,
                                    unsigned nth);

#endif
