/* SPDX-License-Identifier: MIT */
/*
 * The application's response on its way to the client.
 *
 * What comes first is looked at only when it is known whether more follows in the same turn: a
 * response that is complete by then gets a true Content-Length and leaves in one piece; another is
 * relayed as it comes, chunk by chunk, so that what the application flushed arrives at once. A
 * response that ends without END_REQUEST is cut, visibly.
 *
 * A client slower than the application holds the application's connection back. Where others share
 * that connection, the bytes are kept instead: in memory, then in an unlinked file.
 */
#include <errno.h>
#include <stdlib.h>

#include "files/error_page.h"
#include "gate/internal.h"

#define HEAD_MAX 262144   /* of the application's header block */
#define QUEUED_MAX 262144 /* bytes waiting for the client before the application is held back */
#define KEPT_MEMORY_MAX 262144
#define KEPT_MAX (1ull << 30)
#define CHUNK_MAX 65536
#define PIECES_LEN_MAX 131072 /* of a body that may yet turn out to be complete in this turn */
#define ERRORS_MAX 16384      /* of an application's error stream, for one request */
#define UNWANTED_MAX 262144   /* of a body that goes to nobody, read to keep the connection */

static struct ferry__exchange *exchange_of(struct ferry_call *call)
{
    return ferry_container(call, struct ferry__exchange, call);
}

/* The response can't be finished: an error page if nothing was said yet, else a visible cut. */
static void break_off(struct ferry__exchange *x, enum ferry_access_end end, int status,
                      const char *why)
{
    x->end = end;
    if (!ferry_http_responded(x->conn->http)) {
        ferry__exchange_refuse(x, status, why);
        return;
    }
    ferry_http_cut(x->conn->http);
    ferry__exchange_abandon(x, end);
}

static void bad_response(struct ferry__exchange *x, const char *why)
{
    ferry__gate_log(x->thread, FERRY_GATE_ERROR, "%.*s: the application's response is unusable: %s",
                    (int)ferry_slice_first(x->log_target, 200).len, x->log_target.p, why);
    break_off(x, FERRY_ACCESS_APP_BAD, 502, "The application's response was unusable.");
}

/* -- the body
 * --------------------------------------------------------------------------------------------------
 */

static uint64_t queued(const struct ferry__exchange *x)
{
    return ferry_http_output(x->conn->http)->len;
}

static void send_body(struct ferry__exchange *x, struct ferry_block *b, struct ferry_slice bytes)
{
    uint64_t wanted = bytes.len;
    int r;

    if (x->promised >= 0 && wanted > (uint64_t)x->promised - x->sent)
        wanted = (uint64_t)x->promised - x->sent;
    x->sent += wanted;
    x->unwanted += bytes.len - wanted;
    r = ferry_http_write(x->conn->http, b, bytes);
    if (r == FERRY_ELIMIT && !x->app_misframed) {
        x->app_misframed = true;
        x->end = FERRY_ACCESS_APP_BAD;
        ferry__gate_log(x->thread, FERRY_GATE_ERROR,
                        "%.*s: the application sent more than its Content-Length",
                        (int)ferry_slice_first(x->log_target, 200).len, x->log_target.p);
    }
}

/* Keeps bytes for a slow client of a shared connection. */
static void keep_body(struct ferry__exchange *x, struct ferry_slice bytes)
{
    int err;

    if (!x->keeping) {
        ferry_spool_init(&x->kept, ferry_loop_blocks(x->thread->loop), KEPT_MEMORY_MAX, KEPT_MAX);
        x->keeping = true;
    }
    err = ferry_spool_append(&x->kept, bytes);
    if (err == 0)
        return;
    ferry__gate_log(x->thread, FERRY_GATE_ERROR, "cannot keep a response for a slow client: %s",
                    ferry_strerror(err));
    break_off(x, FERRY_ACCESS_INTERNAL, 500, "The response could not be kept.");
}

static void finish(struct ferry__exchange *x)
{
    if (ferry_http_finish(x->conn->http) == FERRY_ECUT) {
        ferry__gate_log(x->thread, FERRY_GATE_ERROR,
                        "%.*s: the application sent less than its Content-Length",
                        (int)ferry_slice_first(x->log_target, 200).len, x->log_target.p);
        x->end = FERRY_ACCESS_APP_CUT;
    }
    ferry__exchange_over(x);
}

/* The client has its whole response, and the application goes on and on. */
static void stop_unwanted(struct ferry__exchange *x)
{
    ferry_call_abort(&x->call);
    x->calling = false;
    x->app_us = ferry_now_us() - x->called_us;
    finish(x);
}

static void relay_body(struct ferry__exchange *x, struct ferry_block *b, struct ferry_slice bytes)
{
    if (x->keeping || (queued(x) >= QUEUED_MAX && !ferry_call_hold(&x->call, true))) {
        keep_body(x, bytes);
        return;
    }
    send_body(x, b, bytes);
    ferry_pump_kick(&x->conn->pump);
    if (x->unwanted > UNWANTED_MAX)
        stop_unwanted(x);
}

/* Moves what was kept on to the client; ends the exchange when that was all. */
static void relay_kept(struct ferry__exchange *x)
{
    struct ferry_block *b;
    struct ferry_slice bytes;
    ssize_t n = 0;

    while (queued(x) < QUEUED_MAX && (n = ferry_spool_read(&x->kept, CHUNK_MAX, &b, &bytes)) > 0) {
        send_body(x, b, bytes);
        ferry_block_unref(b);
    }
    ferry_pump_kick(&x->conn->pump);
    if (n < 0) {
        break_off(x, FERRY_ACCESS_INTERNAL, 500, "The response could not be read back.");
    } else if (x->kept.at == x->kept.len) {
        ferry_spool_fini(&x->kept); /* its limit is for what waits, not for all that ever did */
        x->keeping = false;
        if (x->app_done)
            finish(x);
    }
}

void ferry__relay_sent(struct ferry__exchange *x)
{
    if (queued(x) > QUEUED_MAX / 2)
        return;
    if (x->keeping)
        relay_kept(x);
    else if (x->calling && x->call.held)
        ferry_call_hold(&x->call, false);
}

/* The verdict's call is over: the chain goes on, at the end of the turn. */
static void go_on(struct ferry__exchange *x)
{
    x->calling = x->swallowing = x->app_done = false;
    x->unwanted = 0;
    x->scanned = 0;
    ferry_task_defer(x->thread->loop, &x->resume);
}

/* -- the head
 * --------------------------------------------------------------------------------------------------
 */

enum head_state {
    HEAD_MORE,
    HEAD_READ,
    HEAD_SWALLOWED, /* it was a verdict: what follows is nobody's */
    HEAD_OVER,      /* the exchange ended over it */
};

static enum head_state respond(struct ferry__exchange *x, const struct ferry_cgi_response *cgi,
                               int64_t rest_len)
{
    struct ferry_http_response r = {
        .status = cgi->status,
        .reason = cgi->reason,
        .date = ferry__gate_date(x->thread),
        .fields = (const struct ferry_http_field *)cgi->fields,
        .nfields = cgi->nfields,
        .content_length = cgi->content_length,
    };

    struct ferry_head_edit mem;
    const struct ferry_head_edit *edit = ferry__host_edit(x, &mem);

    if (r.content_length < 0 && rest_len >= 0 && !x->head_method && cgi->status != 304)
        r.content_length = rest_len;
    if (ferry_head_respond(x->conn->http, &r, edit) < 0) {
        bad_response(x, "header fields that must not be relayed");
        return HEAD_OVER;
    }
    x->status = r.status;
    x->promised = x->head_method || r.status == 204 || r.status == 304 ? 0 : r.content_length;
    return HEAD_READ;
}

/* Is this answer the client's, or a verdict that lets the chain go on? */
static enum head_state judge(struct ferry__exchange *x, const struct ferry_cgi_response *cgi)
{
    int step = x->judge ? x->judge(&x->session, cgi, x->judge_arg) : FERRY_STEP_DONE;

    x->judge = NULL;
    if (step < 0) {
        bad_response(x, "it cannot be taken as a verdict");
        return HEAD_OVER;
    }
    x->swallowing = step == FERRY_STEP_NEXT;
    return x->swallowing ? HEAD_SWALLOWED : HEAD_READ;
}

static bool relay_interim(struct ferry__exchange *x, const struct ferry_cgi_response *cgi)
{
    if (queued(x) >= QUEUED_MAX) {
        bad_response(x, "too many interim responses");
        return false;
    }
    if (cgi->status != 100)
        ferry_http_interim(x->conn->http, cgi->status, (const struct ferry_http_field *)cgi->fields,
                           cgi->nfields);
    ferry_pump_kick(&x->conn->pump);
    return true;
}

/* Reads the header block from the bytes that wait, then relays what lies behind it. `complete`: no
 * more will come. */
static enum head_state read_head(struct ferry__exchange *x, bool complete)
{
    struct ferry_cgi_response *cgi = &x->thread->response;
    struct ferry_block *b = x->first;
    enum head_state state;
    const char *why = "";
    ssize_t n;

    do {
        n = ferry_cgi_response_parse(x->first_bytes.p, x->first_bytes.len, HEAD_MAX, &x->scanned,
                                     cgi, &why);
        if (n < 0) {
            bad_response(x, n == FERRY_ELIMIT ? "its header block is too long" : why);
            return HEAD_OVER;
        }
        if (n == 0)
            return HEAD_MORE;
        x->first_bytes = ferry_slice_from(x->first_bytes, (size_t)n);
        x->scanned = 0;
        if (cgi->status < 200 && !relay_interim(x, cgi))
            return HEAD_OVER;
    } while (cgi->status < 200);
    state = judge(x, cgi);
    if (state == HEAD_SWALLOWED)
        ferry__relay_forget(x);
    if (state != HEAD_READ)
        return state;
    if (respond(x, cgi, complete ? (int64_t)(x->first_bytes.len + x->more_len) : -1) == HEAD_OVER)
        return HEAD_OVER;
    x->first = NULL;
    if (x->first_bytes.len)
        send_body(x, b, x->first_bytes);
    ferry_block_unref(b);
    for (unsigned i = 0; i < x->nmore; i++)
        send_body(x, x->more[i].block, x->more[i].bytes);
    ferry__relay_forget(x);
    ferry_pump_kick(&x->conn->pump);
    return HEAD_READ;
}

void ferry__relay_forget(struct ferry__exchange *x)
{
    ferry_block_unref(x->first);
    x->first = NULL;
    while (x->nmore)
        ferry_block_unref(x->more[--x->nmore].block);
    x->more_len = 0;
}

/* Is the final header block whole in what has come? Then what follows is all body. */
static bool head_is_whole(struct ferry__exchange *x)
{
    struct ferry_cgi_response *cgi = &x->thread->response;
    const char *why;

    return x->nmore > 0 || (ferry_cgi_response_parse(x->first_bytes.p, x->first_bytes.len, HEAD_MAX,
                                                     &x->scanned, cgi, &why) > 0 &&
                            cgi->status >= 200);
}

static bool keep_piece(struct ferry__exchange *x, struct ferry_block *b, struct ferry_slice bytes)
{
    if (x->nmore == FERRY__PIECES_MAX || x->more_len + bytes.len > PIECES_LEN_MAX ||
        !head_is_whole(x))
        return false;
    x->more[x->nmore++] = (struct ferry__piece){ferry_block_ref(b), bytes};
    x->more_len += bytes.len;
    return true;
}

/* More of a head that is not complete: collected in a block of the exchange's own. */
static bool collect(struct ferry__exchange *x, struct ferry_slice bytes)
{
    size_t len = x->first_bytes.len + bytes.len;
    size_t at = (size_t)(x->first_bytes.p - x->first->data); /* behind interim responses */
    struct ferry_block *b;

    if (len > HEAD_MAX + FERRY_BLOCK_LARGE) {
        bad_response(x, "its header block is too long");
        return false;
    }
    if (!x->first_owned || at + len > x->first->cap) {
        b = ferry_block_get(ferry_loop_blocks(x->thread->loop), len * 2);
        if (!b) {
            break_off(x, FERRY_ACCESS_INTERNAL, 500, "Memory is out.");
            return false;
        }
        memcpy(b->data, x->first_bytes.p, x->first_bytes.len);
        ferry_block_unref(x->first);
        x->first = b;
        x->first_bytes.p = b->data;
        x->first_owned = true;
    }
    memcpy((char *)x->first_bytes.p + x->first_bytes.len, bytes.p, bytes.len);
    x->first_bytes.len = len;
    return true;
}

/* The rest of a verdict, which counts only when it has ended well. */
static void swallow(struct ferry__exchange *x, struct ferry_slice bytes)
{
    x->unwanted += bytes.len;
    if (x->unwanted > UNWANTED_MAX)
        bad_response(x, "it is a verdict, and does not end");
}

void ferry__relay_settle(struct ferry_task *task)
{
    struct ferry__exchange *x = ferry_container(task, struct ferry__exchange, settle);

    if (x->first)
        read_head(x, false);
}

void ferry__relay_out(struct ferry_call *call, struct ferry_block *b, struct ferry_slice bytes)
{
    struct ferry__exchange *x = exchange_of(call);
    enum head_state state = HEAD_MORE;

    if (x->swallowing) {
        swallow(x, bytes);
        return;
    }
    if (ferry_http_responded(x->conn->http)) {
        relay_body(x, b, bytes);
        return;
    }
    if (!x->first) {
        x->first = ferry_block_ref(b);
        x->first_bytes = bytes;
        x->first_owned = false;
        x->scanned = 0;
        ferry_task_defer(x->thread->loop, &x->settle);
        return;
    }
    if (keep_piece(x, b, bytes))
        return;
    /* Much has come in one turn, so this is no small answer: no use in waiting for its end. */
    state = read_head(x, false);
    if (state == HEAD_READ)
        relay_body(x, b, bytes);
    else if (state == HEAD_MORE && collect(x, bytes))
        ferry_task_defer(x->thread->loop, &x->settle);
}

/* -- the error stream, and the end
 * ----------------------------------------------------------------------------- */

void ferry__relay_errors(struct ferry_call *call, struct ferry_slice bytes)
{
    struct ferry__exchange *x = exchange_of(call);
    size_t room;

    if (!x->errors)
        x->errors = malloc(ERRORS_MAX);
    if (!x->errors)
        return;
    room = ERRORS_MAX - x->errors_len;
    bytes = ferry_slice_first(bytes, room);
    memcpy(x->errors + x->errors_len, bytes.p, bytes.len);
    x->errors_len += bytes.len;
}

static void app_failed(struct ferry__exchange *x, const struct ferry_call_result *result)
{
    ferry__gate_log(x->thread, FERRY_GATE_ERROR, "%.*s: %s%s%s",
                    (int)ferry_slice_first(x->log_target, 200).len, x->log_target.p, result->text,
                    result->err ? ": " : "", result->err ? ferry_strerror(result->err) : "");
    switch (result->outcome) {
    case FERRY_CALL_REFUSED:
        break_off(x, FERRY_ACCESS_APP_DOWN, 502, "The application cannot be reached.");
        break;
    case FERRY_CALL_OVERLOADED:
        break_off(x, FERRY_ACCESS_QUEUE_FULL, 503,
                  "Too many requests are waiting for the application.");
        break;
    case FERRY_CALL_TIMEOUT:
        break_off(x, FERRY_ACCESS_QUEUE_TIMEOUT, 503, "The application was busy for too long.");
        break;
    case FERRY_CALL_SLOW:
        break_off(x, FERRY_ACCESS_APP_TIMEOUT, 504, "The application did not answer in time.");
        break;
    case FERRY_CALL_BAD_ROLE:
        break_off(x, FERRY_ACCESS_APP_REFUSED, 502, "The application does not answer requests.");
        break;
    default:
        break_off(x, FERRY_ACCESS_APP_CUT, 502, "The application ended before it had answered.");
        break;
    }
}

void ferry__relay_done(struct ferry_call *call, const struct ferry_call_result *result)
{
    struct ferry__exchange *x = exchange_of(call);

    x->calling = false;
    x->app_done = true;
    x->app_us = ferry_now_us() - x->called_us;
    if (x->app_us == 0)
        x->app_us = 1;
    if (result->outcome == FERRY_CALL_DONE && x->swallowing) {
        go_on(x);
        return;
    }
    if (result->outcome != FERRY_CALL_DONE) {
        if (!x->first || read_head(x, false) != HEAD_OVER)
            app_failed(x, result);
        return;
    }
    if (x->first) {
        enum head_state state = read_head(x, true);

        if (state == HEAD_MORE)
            bad_response(x, "its header block has no end");
        if (state == HEAD_SWALLOWED)
            go_on(x);
        if (state != HEAD_READ)
            return;
    }
    if (!ferry_http_responded(x->conn->http))
        bad_response(x, "it is empty");
    else if (x->keeping)
        relay_kept(x);
    else
        finish(x);
}
