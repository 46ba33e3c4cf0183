/* SPDX-License-Identifier: MIT */
/*
 * A request's body on its way to the application.
 *
 * An application process is worth more than memory, so none is taken before the body is there: it
 * is spooled, in memory and then in an unlinked file, and its length is known and true
 * (CONTENT_LENGTH) even when it came chunked. A long body of known length that comes fast is not
 * worth that detour: once a first part has shown the client's speed, the call begins and the rest
 * passes through, with back-pressure, from the socket's buffer to the application's.
 */
#include <errno.h>
#include <unistd.h>

#include "ferry/record.h"
#include "gate/internal.h"

#define MEMORY_MAX 131072      /* of a spooled body; then it goes to a file */
#define FAST_BYTES 131072      /* so much of a body must have come ... */
#define FAST_BYTES_PER_MS 1024 /* ... at this speed, for the rest to pass through */
#define UNSENT_MAX                                                                                 \
    262144 /* queued at the application's connection before the client is held back */
#define CHUNK_MAX 65536
#define SHARED_BODY_MAX 65536 /* a longer body gets a connection of its own */

static const struct ferry_call_fns no_body_fns = {
    .out = ferry__relay_out,
    .errors = ferry__relay_errors,
    .done = ferry__relay_done,
};

static const struct ferry_call_fns body_fns = {
    .started = ferry__body_started,
    .out = ferry__relay_out,
    .errors = ferry__relay_errors,
    .writable = ferry__body_writable,
    .done = ferry__relay_done,
};

static bool has_data(const struct ferry__exchange *x)
{
    return x->session.role == FERRY_FILTER && x->session.data_fd >= 0 && !x->judge;
}

static void start_call(struct ferry__exchange *x)
{
    ssize_t n;

    if (x->has_body)
        ferry_cgi_content_length(&x->params, (uint64_t)x->body_len);
    n = ferry_params_close(&x->params, !x->has_body);
    if (n < 0) {
        ferry__exchange_refuse(x, 431, "The request's header fields are too large.");
        return;
    }
    x->call = (struct ferry_call){
        .fns = x->has_body || has_data(x) ? &body_fns : &no_body_fns,
        .image = x->image,
        .image_bytes = ferry_slice(x->image->data, (size_t)n),
        .idempotent = x->idempotent,
        .replayable = true,
        .exclusive = (x->has_body && x->body_len > SHARED_BODY_MAX) ||
                     (has_data(x) && x->session.data_len > SHARED_BODY_MAX),
    };
    x->image = NULL;
    x->calling = true;
    x->called_us = x->has_body ? ferry_now_us() : x->began_us;
    ferry_client_call(x->client, &x->call, x->key);
}

void ferry__body_begin(struct ferry__exchange *x)
{
    uint64_t now = ferry_loop_now(x->thread->loop);

    if (!x->has_body) {
        start_call(x);
        return;
    }
    ferry_spool_init(&x->body, ferry_loop_blocks(x->thread->loop), MEMORY_MAX, UINT64_MAX);
    x->spooling = true;
    x->body_from_ms = now;
    ferry_http_body_start(x->conn->http, now);
    ferry_pump_kick(&x->conn->pump); /* it may have come already, while a filter waited */
}

static void write_failed(struct ferry__exchange *x, int err)
{
    if (ferry_http_responded(x->conn->http)) {
        ferry_http_cut(x->conn->http);
        ferry__exchange_abandon(x, FERRY_ACCESS_INTERNAL);
        return;
    }
    ferry__gate_log(x->thread, FERRY_GATE_ERROR, "cannot keep a request's body: %s",
                    ferry_strerror(err));
    x->end = FERRY_ACCESS_INTERNAL;
    if (err == -ENOSPC || err == -EDQUOT || err == -EFBIG)
        ferry__exchange_refuse(x, 507, "There is no room to keep this request.");
    else
        ferry__exchange_refuse(x, 500, "This request's body could not be kept.");
}

static void hold_client(struct ferry__exchange *x, bool hold)
{
    if (x->body_paused == hold)
        return;
    x->body_paused = hold;
    ferry_http_body_pause(x->conn->http, hold, ferry_loop_now(x->thread->loop));
    ferry_pump_kick(&x->conn->pump);
}

/* Moves what was spooled to the application's connection, as far as that has room. Everything? */
static bool drain_spool(struct ferry__exchange *x)
{
    struct ferry_block *b;
    struct ferry_slice bytes;
    ssize_t n;

    while (ferry_call_unsent(&x->call) < UNSENT_MAX) {
        n = ferry_spool_read(&x->body, CHUNK_MAX, &b, &bytes);
        if (n == 0)
            return true;
        if (n < 0) {
            write_failed(x, (int)n);
            return false;
        }
        ferry_call_write(&x->call, b, bytes);
        ferry_block_unref(b);
    }
    return false;
}

/* The DATA stream of a filter follows the body, from its file. */
static void pump_data(struct ferry__exchange *x)
{
    struct ferry_session *s = &x->session;

    while (!x->data_ended && ferry_call_unsent(&x->call) < UNSENT_MAX) {
        uint64_t left = s->data_len - x->data_at;
        struct ferry_block *b;
        ssize_t n;

        if (left == 0) {
            x->data_ended = true;
            ferry_call_write_data_end(&x->call);
            return;
        }
        b = ferry_block_get(ferry_loop_blocks(x->thread->loop), FERRY_BLOCK_LARGE);
        n = b ? pread(s->data_fd, b->data, left < b->cap ? left : b->cap, (off_t)x->data_at) : -1;
        if (n <= 0) {
            ferry_block_unref(b);
            write_failed(x, b ? -EIO : -ENOMEM);
            return;
        }
        ferry_call_write_data(&x->call, b, ferry_slice(b->data, (size_t)n));
        ferry_block_unref(b);
        x->data_at += (uint64_t)n;
    }
}

static void pump_body(struct ferry__exchange *x)
{
    if (!ferry_call_is_running(&x->call))
        return;
    if (x->body_end_written) {
        if (has_data(x))
            pump_data(x);
        return;
    }
    if (!drain_spool(x))
        return;
    if (x->body_ended) {
        x->body_end_written = true;
        ferry_call_write_end(&x->call);
        pump_body(x);
    } else {
        hold_client(x, ferry_call_unsent(&x->call) >= UNSENT_MAX);
    }
}

void ferry__body_started(struct ferry_call *call)
{
    struct ferry__exchange *x = ferry_container(call, struct ferry__exchange, call);

    x->body_end_written = !x->has_body;
    x->data_at = 0;
    x->data_ended = false;
    if (x->has_body)
        ferry_spool_rewind(&x->body);
    pump_body(x);
}

void ferry__body_writable(struct ferry_call *call)
{
    pump_body(ferry_container(call, struct ferry__exchange, call));
}

/* A body of unknown length turned out to be larger than the site takes. */
static void too_large(struct ferry__exchange *x)
{
    x->end = FERRY_ACCESS_LIMIT;
    if (ferry_http_responded(x->conn->http)) {
        ferry_http_cut(x->conn->http);
        ferry__exchange_abandon(x, FERRY_ACCESS_LIMIT);
    } else {
        ferry__exchange_refuse(x, 413, "The request's body is larger than this site takes.");
    }
}

static bool is_fast(const struct ferry__exchange *x)
{
    uint64_t ms = ferry_loop_now(x->thread->loop) - x->body_from_ms;

    return x->body_len > 0 && x->body_got >= FAST_BYTES && x->body_got >= ms * FAST_BYTES_PER_MS;
}

void ferry__body_data(struct ferry__exchange *x, struct ferry_block *b, struct ferry_slice bytes)
{
    bool running = x->calling && ferry_call_is_running(&x->call);
    int err;

    x->body_got += bytes.len;
    if (x->site->body_max && x->body_got > x->site->body_max) {
        too_large(x);
        return;
    }
    if (running && x->body.at == x->body.len && ferry_call_unsent(&x->call) < UNSENT_MAX) {
        x->call.replayable = false;
        ferry_call_write(&x->call, b, bytes);
        hold_client(x, ferry_call_unsent(&x->call) >= UNSENT_MAX);
        return;
    }
    err = ferry_spool_append(&x->body, bytes);
    if (err < 0) {
        write_failed(x, err);
        return;
    }
    if (running)
        hold_client(x, true);
    else if (!x->calling && is_fast(x))
        start_call(x);
}

void ferry__body_end(struct ferry__exchange *x)
{
    if (!x->has_body)
        return;
    x->body_ended = true;
    x->body_len = x->body_len < 0 ? (int64_t)x->body_got : x->body_len;
    if (!x->calling)
        start_call(x);
    else
        pump_body(x);
}
