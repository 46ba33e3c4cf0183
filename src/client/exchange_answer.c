/* SPDX-License-Identifier: MIT */
/*
 * The answer of an exchange: its header block, its body, and what waits while the owner pauses.
 *
 * A paused exchange holds its connection back. Where others share that connection it can't, and
 * what comes is kept as it came, head and all; `kept` then comes before everything younger.
 */
#include <errno.h>
#include <stdlib.h>

#include "cgi/response.h"
#include "client/exchange.h"

#define KEPT_MEMORY_MAX 262144
#define KEPT_MAX (1ull << 30)
#define CHUNK_MAX 65536
#define TURN_MAX 262144 /* of what was kept, told in one turn */

static void bad(struct ferry_exchange *x, int err, const char *why)
{
    ferry__exchange_fail(x, FERRY_RESULT_BAD, err, why);
}

void ferry__exchange_forget_answer(struct ferry_exchange *x)
{
    free(x->head_mem);
    x->head_mem = NULL;
    x->head_len = x->head_cap = 0;
    if (x->keeping)
        ferry_spool_fini(&x->kept);
    x->keeping = false;
}

/* -- the head -- */

static bool tell_head(struct ferry_exchange *x, const struct ferry_cgi_response *cgi)
{
    struct ferry_answer_head head = {
        .status = cgi->status,
        .reason = cgi->reason,
        .content_length = cgi->content_length,
        .fields = cgi->fields,
        .nfields = cgi->nfields,
    };

    x->head = &head;
    x->busy = true;
    x->fns->head(x);
    x->head = NULL;
    return ferry__exchange_left(x);
}

/* The bytes of a head that is not whole yet, behind those before them. */
static bool collect(struct ferry_exchange *x, struct ferry_slice bytes)
{
    size_t len = x->head_len + bytes.len;

    if (len > x->head_cap) {
        size_t cap = len < 2048 ? 4096 : len * 2;
        char *mem = realloc(x->head_mem, cap);

        if (!mem) {
            bad(x, -ENOMEM, "no memory for its header block");
            return false;
        }
        x->head_mem = mem;
        x->head_cap = cap;
    }
    memcpy(x->head_mem + x->head_len, bytes.p, bytes.len);
    x->head_len = len;
    return true;
}

/*
 * Header blocks at the front of `*bytes`, interim ones first, each of which is told; what lies
 * behind them, or is no whole block yet, stays in *bytes. False when nothing more may be told.
 */
static bool read_heads(struct ferry_exchange *x, struct ferry_slice *bytes)
{
    struct ferry_cgi_response cgi;
    const char *why = "";
    ssize_t n;

    while (!x->head_read && !x->paused) {
        n = ferry_cgi_response_parse(bytes->p, bytes->len, x->head_max, &x->scanned, &cgi, &why);
        if (n < 0) {
            bad(x, (int)n, n == FERRY_ELIMIT ? "its header block is too long" : why);
            return false;
        }
        if (n == 0)
            return true;
        x->scanned = 0;
        x->head_read = cgi.status >= 200;
        *bytes = ferry_slice_from(*bytes, (size_t)n);
        if (!tell_head(x, &cgi))
            return false;
    }
    return true;
}

/* -- the body -- */

static bool tell_out(struct ferry_exchange *x, struct ferry_slice bytes)
{
    if (bytes.len == 0 || !x->fns->out)
        return true;
    x->busy = true;
    x->fns->out(x, bytes);
    return ferry__exchange_left(x);
}

/*
 * Tells what has come: a head, perhaps with what came of it before, then the body. The last
 * `*unread` bytes are not told when the owner pauses. False when nothing more may be told; the
 * exchange may be gone then.
 */
static bool feed(struct ferry_exchange *x, struct ferry_slice bytes, size_t *unread)
{
    struct ferry_slice rest = bytes;
    char *mem = NULL; /* not the exchange's while it may be freed */
    size_t cap = 0;
    bool on;

    *unread = 0;
    if (x->head_read || !x->fns->head)
        return tell_out(x, bytes);
    if (x->head_len) {
        if (!collect(x, bytes))
            return false;
        mem = x->head_mem;
        cap = x->head_cap;
        rest = ferry_slice(mem, x->head_len);
        x->head_mem = NULL;
        x->head_len = x->head_cap = 0;
    }
    on = read_heads(x, &rest);
    if (on && x->paused) {
        *unread = rest.len; /* all of it in `bytes`, for a block has ended there */
    } else if (on && x->head_read) {
        on = tell_out(x, rest);
    } else if (on && mem) {
        memmove(mem, rest.p, rest.len);
        x->head_mem = mem;
        x->head_cap = cap;
        x->head_len = rest.len;
        mem = NULL;
    } else if (on) {
        on = rest.len == 0 || collect(x, rest);
    }
    free(mem);
    return on;
}

/* -- the pause -- */

static void keep(struct ferry_exchange *x, struct ferry_slice bytes)
{
    int err;

    if (!x->keeping) {
        ferry_spool_init(&x->kept, ferry_loop_blocks(x->loop), KEPT_MEMORY_MAX, KEPT_MAX);
        x->keeping = true;
    }
    err = ferry_spool_append(&x->kept, bytes);
    if (err < 0)
        ferry__exchange_fail(x, FERRY_RESULT_CANCELLED, err,
                             "the answer of a paused exchange could not be kept");
}

void ferry__exchange_out(struct ferry_call *call, struct ferry_block *b, struct ferry_slice bytes)
{
    struct ferry_exchange *x = ferry_container(call, struct ferry_exchange, call);
    size_t unread = bytes.len;

    (void)b;
    if (!x->paused && !ferry__exchange_has_kept(x) && !feed(x, bytes, &unread))
        return;
    if (x->paused)
        ferry_call_hold(call, true);
    if (unread)
        keep(x, ferry_slice_from(bytes, bytes.len - unread));
}

bool ferry__exchange_drain(struct ferry_exchange *x)
{
    struct ferry_block *b;
    struct ferry_slice bytes;
    size_t told = 0, unread;
    ssize_t n;

    while (ferry__exchange_has_kept(x) && !x->paused) {
        bool on;

        if (told >= TURN_MAX) {
            ferry__exchange_settle_later(x);
            return true;
        }
        n = ferry_spool_read(&x->kept, CHUNK_MAX, &b, &bytes);
        if (n < 0) {
            ferry__exchange_fail(x, FERRY_RESULT_CANCELLED, (int)n,
                                 "the kept answer could not be read back");
            return false;
        }
        on = feed(x, bytes, &unread);
        ferry_block_unref(b);
        if (!on)
            return false;
        x->kept.at -= unread;
        told += (size_t)n;
    }
    if (!x->paused && x->keeping) {
        ferry_spool_fini(&x->kept); /* its limit is for what waits, not for all that ever did */
        x->keeping = false;
    }
    if (!x->paused && x->state == FERRY__EXCHANGE_CALLING)
        ferry_call_hold(&x->call, false);
    return true;
}

void ferry_exchange_pause(struct ferry_exchange *x, bool pause)
{
    if (x->paused == pause)
        return;
    x->paused = pause;
    if (!pause)
        ferry__exchange_settle_later(x);
    else if (x->state == FERRY__EXCHANGE_CALLING)
        ferry_call_hold(&x->call, true);
}

/* -- the end -- */

void ferry__exchange_check(struct ferry_exchange *x)
{
    if (x->outcome.result != FERRY_RESULT_DONE || x->head_read || !x->fns->head)
        return;
    x->outcome.result = FERRY_RESULT_BAD;
    x->outcome.err = FERRY_EPROTOCOL;
    x->outcome.text = x->head_len ? "its header block has no end" : "it is empty";
}

const struct ferry_answer_head *ferry_exchange_head(const struct ferry_exchange *x)
{
    return x->head;
}
