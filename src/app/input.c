/* SPDX-License-Identifier: MIT */
/*
 * A request's input streams, body and data, on their way to the handler. Large pieces stay in the
 * block they arrived in, small ones are copied together, so that a few bytes never keep a whole
 * block. A stream with too much unread holds its connection: nothing more is read from the socket
 * until the handler has consumed half of it. What is in the pump's block by then still arrives,
 * which is at most 64 KiB.
 *
 * A detached request's thread reads the chain where it lies and only counts what it has consumed;
 * the loop takes that out when it looks at the request the next time.
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
    in->eaten = 0;
    in->err = 0;
    in->ended = false;
}

/* -- coming in
 * -------------------------------------------------------------------------------------------------
 */

static size_t unread(const struct ferry__input *in)
{
    return (size_t)in->chain.len - in->eaten;
}

static bool is_over(const struct ferry__input *in)
{
    return in->ended && unread(in) == 0 && !in->err;
}

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
    ferry__request_lock(r);
    if (b && bytes.len >= b->cap / 4)
        ferry_chain_ref(&in->chain, b, bytes);
    else
        ferry_chain_copy(&in->chain, bytes);
    if (in->chain.err) {
        in->err = in->chain.err;
        if (!r->detached)
            ferry_chain_clear(&in->chain);
    }
    if (unread(in) > r->app->opts.body_ahead_max && !in->holding) {
        in->holding = true;
        if (r->peer->held++ == 0)
            ferry_pump_hold(&r->peer->pump, true);
    }
    ferry__request_unlock(r);
    if (in->fn || r->detached)
        poke(r, in);
}

void ferry__input_end(struct ferry_request *r, struct ferry__input *in)
{
    ferry__request_lock(r);
    in->ended = true;
    ferry__request_unlock(r);
    if ((in->fn || r->detached) && !r->aborted)
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

void ferry__request_cut_input(struct ferry_request *r)
{
    if (!is_over(&r->body))
        r->body.err = FERRY_EABORTED;
    if (!is_over(&r->data))
        r->data.err = FERRY_EABORTED;
    if (r->detached) /* its thread may still look at what it was given */
        ferry__request_unhold(r);
    else
        ferry__request_drop_input(r);
}

static void settle(struct ferry_request *r, struct ferry__input *in)
{
    if (in->eaten == 0)
        return;
    ferry_chain_consume(&in->chain, in->eaten);
    in->eaten = 0;
    if (in->chain.len <= r->app->opts.body_ahead_max / 2)
        unhold(r, in);
}

void ferry__input_settle(struct ferry_request *r)
{
    settle(r, &r->body);
    settle(r, &r->data);
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
    if (r->detached)
        return;
    ferry__request_waits(r, &in->fn, fn);
    if (fn && !r->aborted && (in->chain.len || in->ended || in->err))
        poke(r, in);
}

bool ferry__input_is_ready(const struct ferry__input *in)
{
    return unread(in) > 0 || in->ended || in->err;
}

static int front(struct ferry_request *r, struct ferry__input *in, bool wait,
                 struct ferry_slice *out)
{
    struct ferry_slice piece;
    int err;

    ferry__request_lock(r);
    while (wait && r->detached && r->shared.blocking && !ferry__input_is_ready(in))
        ferry__detached_sleep(r, NULL);
    piece = ferry_chain_at(&in->chain, in->eaten);
    err = in->err;
    if (err == 0 && piece.len == 0 && r->aborted && !in->ended)
        err = FERRY_EABORTED;
    ferry__request_unlock(r);
    if (err < 0 || piece.len == 0)
        return err;
    *out = piece;
    return 1;
}

/* When the loop has to know: it could read on, or much memory could be free. */
static bool is_worth_a_post(const struct ferry_request *r, const struct ferry__input *in)
{
    size_t max = r->app->opts.body_ahead_max;

    return in->eaten > max / 4 || (in->holding && unread(in) <= max / 2);
}

static void consume(struct ferry_request *r, struct ferry__input *in, size_t n)
{
    ferry__request_lock(r);
    ferry_assert(n <= unread(in));
    in->eaten += n;
    if (!r->detached)
        settle(r, in);
    else if (is_worth_a_post(r, in))
        ferry__detached_post(r);
    ferry__request_unlock(r);
}

static ssize_t copy_out(struct ferry_request *r, struct ferry__input *in, char *out, size_t cap)
{
    struct ferry_slice piece;
    size_t got = 0;

    while (got < cap) {
        int n = front(r, in, got == 0, &piece);

        if (n <= 0)
            return got ? (ssize_t)got : n;
        piece = ferry_slice_first(piece, cap - got);
        memcpy(out + got, piece.p, piece.len);
        consume(r, in, piece.len);
        got += piece.len;
    }
    return (ssize_t)got;
}

static bool is_over_now(const struct ferry_request *r, const struct ferry__input *in)
{
    bool over;

    ferry__request_lock(r);
    over = is_over(in);
    ferry__request_unlock(r);
    return over;
}

void ferry_request_on_body(struct ferry_request *r, ferry_request_fn fn)
{
    on_more(r, &r->body, fn);
}

int ferry_request_body(struct ferry_request *r, struct ferry_slice *out)
{
    return front(r, &r->body, true, out);
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
    return is_over_now(r, &r->body);
}

void ferry_request_on_data(struct ferry_request *r, ferry_request_fn fn)
{
    on_more(r, &r->data, fn);
}

int ferry_request_data(struct ferry_request *r, struct ferry_slice *out)
{
    return front(r, &r->data, true, out);
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
    return is_over_now(r, &r->data);
}
