/* SPDX-License-Identifier: MIT */
/*
 * A request's input streams, body and data, on their way to the handler. Large pieces stay in the
 * block they arrived in, small ones are copied together, so that a few bytes never keep a whole
 * block. A stream with too much unread holds its connection: nothing more is read from the socket
 * until the handler has consumed half of it. What is in the pump's block by then still arrives,
 * which is at most 64 KiB.
 */
#include <errno.h>

#include "app/app.h"
#include "base/assert.h"

void ferry__input_init(struct ferry__input *in, struct ferry_blocks *blocks)
{
    *in = (struct ferry__input){0};
    ferry_chain_init(&in->chain, blocks);
}

void ferry__input_clear(struct ferry__input *in)
{
    ferry_assert(!in->holding);
    ferry_chain_clear(&in->chain);
    in->fn = NULL;
    in->err = 0;
    in->ended = false;
}

/* -- coming in
 * -------------------------------------------------------------------------------------------------
 */

static void poke(struct ferry_request *r, const struct ferry__input *in)
{
    ferry__request_poke(r, in == &r->body ? FERRY__POKE_BODY : FERRY__POKE_DATA);
}

void ferry__input_add(struct ferry_request *r, struct ferry__input *in, struct ferry_block *b,
                      struct ferry_slice bytes)
{
    r->got += bytes.len;
    if (r->aborted || r->finished)
        return;
    if (b && bytes.len >= b->cap / 4)
        ferry_chain_ref(&in->chain, b, bytes);
    else
        ferry_chain_copy(&in->chain, bytes);
    if (in->chain.err) {
        in->err = in->chain.err;
        ferry_chain_clear(&in->chain);
    }
    if (in->chain.len > r->app->opts.body_ahead_max && !in->holding) {
        in->holding = true;
        if (r->peer->held++ == 0)
            ferry_pump_hold(&r->peer->pump, true);
    }
    if (in->fn)
        poke(r, in);
}

void ferry__input_end(struct ferry_request *r, struct ferry__input *in)
{
    in->ended = true;
    if (in->fn && !r->aborted)
        poke(r, in);
}

static void unhold(struct ferry_request *r, struct ferry__input *in)
{
    if (!in->holding)
        return;
    in->holding = false;
    if (--r->peer->held == 0 && !r->peer->closing) {
        ferry_pump_hold(&r->peer->pump, false);
        ferry_pump_kick(&r->peer->pump);
    }
}

void ferry__request_unhold(struct ferry_request *r)
{
    unhold(r, &r->body);
    unhold(r, &r->data);
}

void ferry__request_drop_input(struct ferry_request *r)
{
    ferry_chain_clear(&r->body.chain);
    ferry_chain_clear(&r->data.chain);
    ferry__request_unhold(r);
}

bool ferry__request_is_whole(const struct ferry_request *r)
{
    switch (r->role) {
    case FERRY_AUTHORIZER: /* section 6.3 gives it no STDIN; some web servers end one for it */
        return r->params_ended;
    case FERRY_FILTER:
        return r->data.ended;
    default:
        return r->body.ended;
    }
}

/* -- what the handler does with one
 * -------------------------------------------------------------------------------------------------
 */

static void on_more(struct ferry_request *r, struct ferry__input *in, ferry_request_fn fn)
{
    in->fn = fn;
    if (fn && !r->aborted && (in->chain.len || in->ended || in->err))
        poke(r, in);
}

static int front(const struct ferry_request *r, const struct ferry__input *in,
                 struct ferry_slice *out)
{
    struct iovec v;

    if (in->err)
        return in->err;
    if (ferry_chain_iov(&in->chain, &v, 1) == 1) {
        *out = ferry_slice(v.iov_base, v.iov_len);
        return 1;
    }
    return r->aborted && !in->ended ? FERRY_EABORTED : 0;
}

static void consume(struct ferry_request *r, struct ferry__input *in, size_t n)
{
    ferry_assert(n <= in->chain.len);
    ferry_chain_consume(&in->chain, n);
    if (in->chain.len <= r->app->opts.body_ahead_max / 2)
        unhold(r, in);
}

static ssize_t copy_out(struct ferry_request *r, struct ferry__input *in, char *out, size_t cap)
{
    struct ferry_slice piece;
    size_t got = 0;

    while (got < cap) {
        int n = front(r, in, &piece);

        if (n <= 0)
            return got ? (ssize_t)got : n;
        piece = ferry_slice_first(piece, cap - got);
        memcpy(out + got, piece.p, piece.len);
        consume(r, in, piece.len);
        got += piece.len;
    }
    return (ssize_t)got;
}

static bool is_over(const struct ferry__input *in)
{
    return in->ended && in->chain.len == 0 && !in->err;
}

void ferry_request_on_body(struct ferry_request *r, ferry_request_fn fn)
{
    on_more(r, &r->body, fn);
}

int ferry_request_body(struct ferry_request *r, struct ferry_slice *out)
{
    return front(r, &r->body, out);
}

void ferry_request_body_consume(struct ferry_request *r, size_t n)
{
    consume(r, &r->body, n);
}

ssize_t ferry_request_read(struct ferry_request *r, void *out, size_t cap)
{
    return copy_out(r, &r->body, out, cap);
}

bool ferry_request_body_is_over(const struct ferry_request *r)
{
    return is_over(&r->body);
}

void ferry_request_on_data(struct ferry_request *r, ferry_request_fn fn)
{
    on_more(r, &r->data, fn);
}

int ferry_request_data(struct ferry_request *r, struct ferry_slice *out)
{
    return front(r, &r->data, out);
}

void ferry_request_data_consume(struct ferry_request *r, size_t n)
{
    consume(r, &r->data, n);
}

ssize_t ferry_request_data_read(struct ferry_request *r, void *out, size_t cap)
{
    return copy_out(r, &r->data, out, cap);
}

bool ferry_request_data_is_over(const struct ferry_request *r)
{
    return is_over(&r->data);
}
