/* SPDX-License-Identifier: MIT */
/*
 * An exchange, from its params to its end: one struct ferry_call with what its owner need not know
 * of calls. Whatever ends it, `done` is told once, from the loop, and behind all that was told
 * before.
 *
 * The owner may do anything from within its functions, also free the exchange. So whoever calls one
 * asks ferry__exchange_left afterwards, and touches the exchange only when that says so.
 */
#include "client/exchange.h"

#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"
#include "ferry/record.h"

#define PARAMS_LEN_MAX (16u << 20)
#define HEAD_MAX 262144

/* -- results -- */

const char *ferry_result_text(enum ferry_result result)
{
    switch (result) {
#define X(name, status, text)                                                                      \
    case FERRY_RESULT_##name:                                                                      \
        return text;
        FERRY_RESULT_MAP(X)
#undef X
    }
    return "";
}

int ferry_result_status(enum ferry_result result)
{
    switch (result) {
#define X(name, status, text)                                                                      \
    case FERRY_RESULT_##name:                                                                      \
        return status;
        FERRY_RESULT_MAP(X)
#undef X
    }
    return 500;
}

/* -- its end -- */

static void destroy(struct ferry_exchange *x)
{
    ferry_task_cancel(&x->settle);
    ferry__exchange_forget_answer(x);
    ferry__exchange_body_fini(x);
    free(x->pairs);
    free(x);
}

void ferry__exchange_settle_later(struct ferry_exchange *x)
{
    ferry_task_defer(x->loop, &x->settle);
}

bool ferry__exchange_left(struct ferry_exchange *x)
{
    x->busy = false;
    if (x->doomed) {
        destroy(x);
        return false;
    }
    return !x->stopped;
}

void ferry__exchange_fail(struct ferry_exchange *x, enum ferry_result result, int err,
                          const char *text)
{
    if (x->stopped || x->state == FERRY__EXCHANGE_OVER)
        return;
    if (x->state == FERRY__EXCHANGE_CALLING)
        ferry_call_abort(&x->call);
    x->state = FERRY__EXCHANGE_ENDED;
    x->stopped = true;
    x->outcome =
        (struct ferry_outcome){.result = result, .err = err, .text = text, .protocol_status = -1};
    ferry__exchange_forget_answer(x);
    ferry__exchange_settle_later(x);
}

void ferry__exchange_finish(struct ferry_exchange *x)
{
    ferry__exchange_check(x);
    x->state = FERRY__EXCHANGE_OVER;
    ferry__exchange_forget_answer(x);
    ferry__exchange_body_fini(x);
    x->busy = true;
    x->fns->done(x, &x->outcome);
    ferry__exchange_left(x);
}

static void on_errors(struct ferry_call *call, struct ferry_slice bytes)
{
    struct ferry_exchange *x = ferry_container(call, struct ferry_exchange, call);

    if (!x->fns->errors || bytes.len == 0)
        return;
    x->busy = true;
    x->fns->errors(x, bytes);
    ferry__exchange_left(x);
}

/* What was wrong with END_REQUEST stands in the outcome of a call. */
static int protocol_status(const struct ferry_call_result *result)
{
    if (result->outcome == FERRY_CALL_DONE)
        return FERRY_REQUEST_COMPLETE;
    if (result->err != FERRY_EREMOTE)
        return -1;
    return result->outcome == FERRY_CALL_BAD_ROLE     ? FERRY_UNKNOWN_ROLE
           : result->outcome == FERRY_CALL_OVERLOADED ? FERRY_OVERLOADED
                                                      : FERRY_CANT_MPX_CONN;
}

static void on_done(struct ferry_call *call, const struct ferry_call_result *result)
{
    static const enum ferry_result results[] = {
        [FERRY_CALL_DONE] = FERRY_RESULT_DONE,
        [FERRY_CALL_CUT] = FERRY_RESULT_CUT,
        [FERRY_CALL_REFUSED] = FERRY_RESULT_REFUSED,
        [FERRY_CALL_OVERLOADED] = FERRY_RESULT_OVERLOADED,
        [FERRY_CALL_TIMEOUT] = FERRY_RESULT_QUEUE_TIMEOUT,
        [FERRY_CALL_SLOW] = FERRY_RESULT_TIMEOUT,
        [FERRY_CALL_BAD_ROLE] = FERRY_RESULT_BAD_ROLE,
    };
    struct ferry_exchange *x = ferry_container(call, struct ferry_exchange, call);

    x->state = FERRY__EXCHANGE_ENDED;
    x->outcome = (struct ferry_outcome){
        .result = results[result->outcome],
        .err = result->err,
        .text = result->text,
        .app_status = result->app_status,
        .protocol_status = protocol_status(result),
    };
    if (!ferry__exchange_has_kept(x))
        ferry__exchange_finish(x);
}

/* The last words of the error stream. False: the exchange is gone. */
static bool tell_cancelled(struct ferry_exchange *x)
{
    bool doomed;

    if (!x->tell_cancelled || !x->fns->errors)
        return true;
    x->tell_cancelled = false;
    x->busy = true;
    x->fns->errors(x, FERRY_SLICE("ferry: cancelled"));
    doomed = x->doomed;
    ferry__exchange_left(x);
    return !doomed;
}

/* What could not be told at its time. */
static void settle(struct ferry_task *task)
{
    struct ferry_exchange *x = ferry_container(task, struct ferry_exchange, settle);

    if (x->tell_writable && x->state == FERRY__EXCHANGE_CALLING) {
        x->tell_writable = false;
        if (x->fns->writable) {
            x->busy = true;
            x->fns->writable(x);
            if (!ferry__exchange_left(x))
                return;
        }
    }
    if (!x->stopped && !ferry__exchange_drain(x))
        return;
    if (x->state != FERRY__EXCHANGE_ENDED || ferry__exchange_has_kept(x))
        return;
    if (!tell_cancelled(x))
        return;
    ferry__exchange_finish(x);
}

void ferry_exchange_cancel(struct ferry_exchange *x)
{
    if (x->stopped || x->state == FERRY__EXCHANGE_OVER)
        return;
    x->tell_cancelled = true;
    ferry__exchange_fail(x, FERRY_RESULT_CANCELLED, FERRY_EABORTED, "cancelled by its owner");
}

void ferry_exchange_free(struct ferry_exchange *x)
{
    if (!x)
        return;
    if (x->state == FERRY__EXCHANGE_CALLING)
        ferry_call_abort(&x->call);
    x->state = FERRY__EXCHANGE_OVER;
    x->stopped = true;
    if (x->busy)
        x->doomed = true;
    else
        destroy(x);
}

/* -- its beginning -- */

int ferry_exchange_new(struct ferry_client *client, struct ferry_loop *loop,
                       const struct ferry_exchange_opts *given, struct ferry_exchange **out)
{
    struct ferry_exchange_opts o = {0};
    struct ferry_client_local *local;
    struct ferry_exchange *x;
    int r = ferry_client_local(client, loop, &local);
    char *key;

    if (r < 0)
        return r;
    memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
    ferry_assert(o.fns && o.fns->done);
    x = calloc(1, sizeof *x + o.key.len);
    if (!x)
        return -ENOMEM;
    key = (char *)(x + 1);
    if (o.key.len)
        memcpy(key, o.key.p, o.key.len);
    x->local = local;
    x->loop = loop;
    x->fns = o.fns;
    x->user = o.user;
    x->key = ferry_slice(key, o.key.len);
    x->role = o.role ? o.role : FERRY_RESPONDER;
    x->head_max = o.head_max ? o.head_max : HEAD_MAX;
    x->call.idempotent = o.idempotent;
    x->call.once = o.once;
    x->call.first_byte_ms = o.first_byte_ms;
    x->call.idle_ms = o.idle_ms;
    x->call.total_ms = o.total_ms;
    x->call.queue_ms = o.queue_ms;
    ferry_task_init(&x->settle, settle);
    ferry__exchange_body_init(x);
    *out = x;
    return 0;
}

void *ferry_exchange_user(const struct ferry_exchange *x)
{
    return x->user;
}

static int pairs_room(struct ferry_exchange *x, size_t n)
{
    size_t cap = x->pairs_cap ? x->pairs_cap : 1024;
    char *mem;

    if (n > PARAMS_LEN_MAX - x->pairs_len)
        return FERRY_ELIMIT;
    while (cap < x->pairs_len + n)
        cap *= 2;
    if (cap == x->pairs_cap)
        return 0;
    mem = realloc(x->pairs, cap);
    if (!mem)
        return -ENOMEM;
    x->pairs = mem;
    x->pairs_cap = cap;
    return 0;
}

int ferry_exchange_param(struct ferry_exchange *x, struct ferry_slice name,
                         struct ferry_slice value)
{
    struct ferry_param param = {name, value};
    uint64_t len;
    ssize_t n;
    int r;

    if (x->state != FERRY__EXCHANGE_NEW)
        return FERRY_EUSAGE;
    if (name.len > PARAMS_LEN_MAX || value.len > PARAMS_LEN_MAX)
        return FERRY_ELIMIT;
    r = pairs_room(x, ferry_param_size(name.len, value.len));
    if (r < 0)
        return r;
    n = ferry_param_encode(&param, x->pairs + x->pairs_len, x->pairs_cap - x->pairs_len);
    if (n < 0)
        return (int)n;
    x->pairs_len += (size_t)n;
    if (ferry_slice_eq(name, FERRY_SLICE("CONTENT_LENGTH")))
        x->short_body = ferry_slice_u64(value, FERRY__SHARED_BODY_MAX, &len) == 0;
    return 0;
}

int ferry_exchange_param_z(struct ferry_exchange *x, const char *name, const char *value)
{
    return ferry_exchange_param(x, ferry_slice_z(name), ferry_slice_z(value));
}

/* The request's head as it goes over the wire, with the end of an empty STDIN. */
static int write_image(struct ferry_exchange *x)
{
    size_t room = ferry_params_room(x->pairs_len);
    struct ferry_block *b = ferry_block_get(ferry_loop_blocks(x->loop), room);
    struct ferry_params_writer w;
    struct ferry_param param;
    ssize_t n;

    if (!b)
        return -ENOMEM;
    ferry_params_open(&w, b->data, b->cap, 1);
    ferry_params_begin_request(&w, (uint16_t)x->role, FERRY_KEEP_CONN);
    for (size_t at = 0; at < x->pairs_len; at += (size_t)n) {
        n = ferry_param_decode(x->pairs + at, x->pairs_len - at, FERRY_PARAM_LEN_MAX, &param);
        ferry_assert(n > 0);
        ferry_params_add(&w, param.name, param.value);
    }
    n = ferry_params_close(&w, ferry__exchange_is_bare(x));
    if (n < 0) {
        ferry_block_unref(b);
        return (int)n;
    }
    x->call.image = b;
    x->call.image_bytes = ferry_slice(b->data, (size_t)n);
    free(x->pairs);
    x->pairs = NULL;
    x->pairs_len = x->pairs_cap = 0;
    return 0;
}

void ferry_exchange_start(struct ferry_exchange *x)
{
    static const struct ferry_call_fns bare_fns = {
        .out = ferry__exchange_out, .errors = on_errors, .done = on_done};
    static const struct ferry_call_fns body_fns = {.started = ferry__exchange_started,
                                                   .out = ferry__exchange_out,
                                                   .errors = on_errors,
                                                   .writable = ferry__exchange_writable,
                                                   .done = on_done};
    int r;

    if (x->state != FERRY__EXCHANGE_NEW)
        return;
    r = write_image(x);
    if (r < 0) {
        ferry__exchange_fail(x, FERRY_RESULT_REFUSED, r, "no memory for the request");
        return;
    }
    x->call.fns = ferry__exchange_is_bare(x) ? &bare_fns : &body_fns;
    if (ferry__exchange_is_bare(x))
        x->in.end_sent = true;
    x->call.replayable = true;
    x->call.exclusive = ferry__exchange_is_long(x);
    x->state = FERRY__EXCHANGE_CALLING;
    ferry_client_call(x->local, &x->call, x->key);
}
