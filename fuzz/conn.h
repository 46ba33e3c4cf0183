/* SPDX-License-Identifier: MIT */
#ifndef FERRY_FUZZ_CONN_H
#define FERRY_FUZZ_CONN_H

/* What the two targets for connections share: the input as steps, and a look at every output. */

#include <stdlib.h>

#include "base/slice.h"
#include "fcgi/conn.h"

static inline void must(bool ok)
{
    if (!ok)
        abort();
}

struct steps {
    const uint8_t *p;
    size_t n;
};

static inline uint8_t next_byte(struct steps *s)
{
    if (s->n == 0)
        return 0;
    s->n--;
    return *s->p++;
}

/* As many bytes as the next one says, in memory of exactly that size. */
static inline char *next_piece(struct steps *s, size_t *n)
{
    char *piece;

    *n = next_byte(s);
    if (*n == 255)
        *n = s->n;
    if (*n > s->n)
        *n = s->n;
    piece = malloc(*n ? *n : 1);
    must(piece);
    if (*n)
        memcpy(piece, s->p, *n);
    s->p += *n;
    s->n -= *n;
    return piece;
}

/* The output is whole records with the side's types; follows the requests that are open in it. */
struct watch {
    uint8_t head[FERRY_RECORD_HEADER_LEN];
    size_t head_len, left;
    bool from_app;
    /* by id, what the output says: begun, and the streams that have ended, as bits */
    uint16_t state[65536];
};

static inline void watch_record(struct watch *w)
{
    struct ferry_record r;
    uint16_t *state, bit;

    must(ferry_record_decode(w->head, FERRY_RECORD_HEADER_LEN, &r) == FERRY_RECORD_HEADER_LEN);
    w->left = (size_t)r.content_len + r.padding_len;
    must(w->head[7] == 0 && (w->left + FERRY_RECORD_HEADER_LEN) % 8 == 0 && w->left <= 65535);
    must((r.id == 0) == ferry_record_type_is_management(r.type));
    state = &w->state[r.id];
    bit = (uint16_t)(1u << r.type);
    switch (r.type) {
    case FERRY_STDOUT:
    case FERRY_STDERR:
        must(w->from_app && !(*state & bit)); /* nothing after its end */
        if (r.content_len == 0)
            *state |= bit;
        break;
    case FERRY_END_REQUEST:
        must(w->from_app);
        *state = 0;
        break;
    case FERRY_GET_VALUES_RESULT:
    case FERRY_UNKNOWN_TYPE:
        must(w->from_app);
        break;
    case FERRY_BEGIN_REQUEST:
        must(!w->from_app);
        *state = 0;
        break;
    case FERRY_PARAMS:
    case FERRY_STDIN:
    case FERRY_DATA:
        must(!w->from_app && !(*state & bit));
        if (r.content_len == 0)
            *state |= bit;
        break;
    case FERRY_ABORT_REQUEST:
    case FERRY_GET_VALUES:
        must(!w->from_app);
        break;
    default:
        abort();
    }
}

/* Takes up to n bytes of output. */
static inline void watch_output(struct watch *w, struct ferry_conn *c, size_t n)
{
    struct ferry_chain *out = ferry_conn_output(c);

    if (n > out->len)
        n = out->len;
    while (n) {
        struct iovec iov;
        size_t at = 0, len;

        must(ferry_chain_iov(out, &iov, 1) == 1);
        len = iov.iov_len < n ? iov.iov_len : n;
        while (at < len) {
            if (w->left) {
                size_t skip = w->left < len - at ? w->left : len - at;

                at += skip;
                w->left -= skip;
                continue;
            }
            w->head[w->head_len++] = ((const uint8_t *)iov.iov_base)[at++];
            if (w->head_len == FERRY_RECORD_HEADER_LEN) {
                w->head_len = 0;
                watch_record(w);
            }
        }
        ferry_conn_sent(c, len, 0);
        n -= len;
    }
}

/* All that is left, and it ends where a record ends, unless memory ran out. */
static inline void watch_rest(struct watch *w, struct ferry_conn *c)
{
    watch_output(w, c, SIZE_MAX);
    must(w->head_len == 0 && w->left == 0);
}

typedef void event_fn(void *arg, const struct ferry_conn_event *);

/* Gives a piece as a pump would, as far as it is taken; false when the connection is broken. */
static inline bool give(struct ferry_conn *c, const char *piece, size_t n, event_fn *told,
                        void *arg)
{
    size_t at = 0;

    for (;;) {
        ssize_t took = ferry_conn_recv(c, piece + at, n - at, 0);
        struct ferry_conn_event ev;
        int got, events = 0;

        must(took <= (ssize_t)(n - at));
        if (took < 0)
            must(ferry_conn_finished(c) && ferry_conn_error_text(c)[0]);
        else
            at += (size_t)took;
        while ((got = ferry_conn_event(c, &ev)) == 1) {
            must(took >= 0);
            if (ev.data.len)
                must(ev.data.p >= piece && ev.data.p + ev.data.len <= piece + at);
            told(arg, &ev);
            events++;
        }
        must(took >= 0 || got == took);
        if (got < 0)
            return false;
        if (at == n)
            return true;
        /* it holds back only while answers of its own are queued */
        if (took == 0 && events == 0) {
            must(ferry_conn_output(c)->len > 0);
            return true;
        }
    }
}

#endif
