/* SPDX-License-Identifier: MIT */
/*
 * A request's body on its way to the handler. Large pieces stay in the block they arrived in, small
 * ones are copied together, so that a few bytes never keep a whole block. A request with too much
 * unread holds its connection: nothing more is read from the socket until the handler has consumed
 * half of it. What is in the pump's block by then still arrives, which is at most 64 KiB.
 */
#include <errno.h>

#include "app/app.h"
#include "base/assert.h"

void ferry__request_input(struct ferry_request *r, struct ferry_block *b, struct ferry_slice bytes)
{
    if (r->aborted)
        return;
    if (b && bytes.len >= b->cap / 4)
        ferry_chain_ref(&r->body, b, bytes);
    else
        ferry_chain_copy(&r->body, bytes);
    if (r->body.err) {
        r->body_err = r->body.err;
        ferry_chain_clear(&r->body);
    }
    if (r->body.len > r->app->opts.body_ahead_max && !r->holding) {
        r->holding = true;
        if (r->peer->held++ == 0)
            ferry_pump_hold(&r->peer->pump, true);
    }
    if (r->on_body)
        ferry__request_poke(r, FERRY__POKE_BODY);
}

void ferry__request_input_end(struct ferry_request *r)
{
    r->body_ended = true;
    if (r->on_body && !r->aborted)
        ferry__request_poke(r, FERRY__POKE_BODY);
}

void ferry__request_unhold(struct ferry_request *r)
{
    if (!r->holding)
        return;
    r->holding = false;
    if (--r->peer->held == 0 && !r->peer->closing) {
        ferry_pump_hold(&r->peer->pump, false);
        ferry_pump_kick(&r->peer->pump);
    }
}

void ferry_request_on_body(struct ferry_request *r, ferry_request_fn fn)
{
    r->on_body = fn;
    if (fn && !r->aborted && (r->body.len || r->body_ended || r->body_err))
        ferry__request_poke(r, FERRY__POKE_BODY);
}

int ferry_request_body(struct ferry_request *r, struct ferry_slice *out)
{
    struct iovec v;

    if (r->body_err)
        return r->body_err;
    if (ferry_chain_iov(&r->body, &v, 1) == 1) {
        *out = ferry_slice(v.iov_base, v.iov_len);
        return 1;
    }
    return r->aborted && !r->body_ended ? FERRY_EABORTED : 0;
}

void ferry_request_body_consume(struct ferry_request *r, size_t n)
{
    ferry_assert(n <= r->body.len);
    ferry_chain_consume(&r->body, n);
    if (r->body.len <= r->app->opts.body_ahead_max / 2)
        ferry__request_unhold(r);
}

ssize_t ferry_request_read(struct ferry_request *r, void *out, size_t cap)
{
    struct ferry_slice piece;
    size_t got = 0;

    while (got < cap) {
        int n = ferry_request_body(r, &piece);

        if (n <= 0)
            return got ? (ssize_t)got : n;
        piece = ferry_slice_first(piece, cap - got);
        memcpy((char *)out + got, piece.p, piece.len);
        ferry_request_body_consume(r, piece.len);
        got += piece.len;
    }
    return (ssize_t)got;
}

bool ferry_request_body_is_over(const struct ferry_request *r)
{
    return r->body_ended && r->body.len == 0 && !r->body_err;
}
