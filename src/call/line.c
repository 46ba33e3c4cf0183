/* SPDX-License-Identifier: MIT */
/*
 * A line to an application: SHUT -> CONNECTING -> OPEN -> CLOSING -> SHUT. A request can be asked
 * in any of these; in CLOSING it waits for the new connection. A kept connection that the
 * application has closed says nothing about the request, which is sent once more then; and while
 * the application's queue of connections is full, connecting is tried again.
 */
#include "call/line.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"

enum { SHUT, CONNECTING, OPEN, CLOSING };

#define QUEUED_MAX (256 << 10) /* bytes of a body in front of the socket */
#define PIECE 65528            /* of a body: a record without padding */
#define CROWDED_MS 10          /* between tries while its queue of connections is full */

static void line_connect(struct ferry_line *);

static struct ferry_line *line_of(struct ferry_pump *pump)
{
    return ferry_container(pump, struct ferry_line, pump);
}

/* -- the machine, tapped
 * ------------------------------------------------------------------------------------------------
 */

static ssize_t tap_recv(void *m, const char *p, size_t n, uint64_t now_ms)
{
    struct ferry_line *line = m;
    ssize_t took = ferry_conn_recv(line->conn, p, n, now_ms);

    /* What the machine cannot take is what one would like to see most. */
    if (took < 0)
        took = (ssize_t)n;
    else
        n = (size_t)took;
    line->received += n;
    if (n && line->fns->tap)
        line->fns->tap(line, false, ferry_slice(p, n));
    return took;
}

static struct ferry_chain *tap_output(void *m)
{
    return ferry_conn_output(((struct ferry_line *)m)->conn);
}

static void tap_sent(void *m, size_t n, uint64_t now_ms)
{
    struct ferry_line *line = m;
    const struct ferry_chain *out = ferry_conn_output(line->conn);

    line->sent += n;
    for (uint64_t at = 0; line->fns->tap && at < n;) {
        struct ferry_slice piece = ferry_slice_first(ferry_chain_at(out, at), n - at);

        if (!piece.len)
            break;
        line->fns->tap(line, true, piece);
        at += piece.len;
    }
    ferry_conn_sent(line->conn, n, now_ms);
}

static uint64_t tap_deadline(const void *m)
{
    return ferry_conn_machine.deadline(((const struct ferry_line *)m)->conn);
}

static void tap_tick(void *m, uint64_t now_ms)
{
    ferry_conn_machine.tick(((struct ferry_line *)m)->conn, now_ms);
}

static bool tap_finished(const void *m)
{
    return ferry_conn_finished(((const struct ferry_line *)m)->conn);
}

static const struct ferry_machine tapped = {
    .recv = tap_recv,
    .output = tap_output,
    .sent = tap_sent,
    .deadline = tap_deadline,
    .tick = tap_tick,
    .finished = tap_finished,
};

/* -- the end of a request
 * ------------------------------------------------------------------------------------------------
 */

static void shut(struct ferry_line *line)
{
    if (line->state == CONNECTING || line->state == OPEN) {
        line->state = CLOSING;
        ferry_pump_close(&line->pump);
    }
}

static void finish(struct ferry_line *line, const struct ferry_outcome *outcome)
{
    line->busy = line->asks_values = line->crowded = false;
    line->done_us = ferry_now_us();
    ferry_timer_stop(&line->timer);
    line->fns->done(line, outcome);
}

static void fail(struct ferry_line *line, enum ferry_result result, int err, const char *text)
{
    bool stale = line->served > 0 && !line->first_us && !line->repeated && line->busy;

    shut(line);
    if (!line->busy)
        return;
    if (result == FERRY_RESULT_CUT && stale) {
        line->repeated = true;
        line->again++;
        return; /* on_closed connects anew */
    }
    finish(line, &(struct ferry_outcome){result, err, text, 0, -1});
}

/* Failures of what the owner has called are told from the loop. */
static void run_task(struct ferry_task *t)
{
    struct ferry_line *line = ferry_container(t, struct ferry_line, task);

    if (line->ended) {
        ferry_timer_stop(&line->timer);
        if (line->fns->closed)
            line->fns->closed(line);
    } else {
        fail(line, line->failure.result, line->failure.err, line->failure.text);
    }
}

static void fail_later(struct ferry_line *line, enum ferry_result result, int err, const char *text)
{
    line->failure = (struct ferry_outcome){.result = result, .err = err, .text = text};
    ferry_task_defer(line->loop, &line->task);
}

static enum ferry_result result_of(unsigned status)
{
    return status == FERRY_OVERLOADED     ? FERRY_RESULT_OVERLOADED
           : status == FERRY_UNKNOWN_ROLE ? FERRY_RESULT_BAD_ROLE
                                          : FERRY_RESULT_CUT;
}

static void on_end(struct ferry_line *line, const struct ferry_end_body *end)
{
    struct ferry_outcome outcome = {.text = "", .app_status = end->app_status};
    bool clean =
        line->stream == 0 && ferry_conn_output(line->conn)->len == 0 && line->pump.in.len == 0;

    outcome.protocol_status = end->protocol_status;
    if (end->protocol_status != FERRY_REQUEST_COMPLETE) {
        outcome.result = result_of(end->protocol_status);
        outcome.err = FERRY_EREMOTE;
        outcome.text = "the application refused the request";
    }
    line->served++;
    if (!line->keep || !clean)
        shut(line);
    finish(line, &outcome);
}

/* -- the request on its way
 * ------------------------------------------------------------------------------------------------
 */

/* The stream behind this one, 0 behind the last. */
static void next_stream(struct ferry_line *line)
{
    line->stream = line->stream == FERRY_STDIN && line->request.data ? FERRY_DATA : 0;
    line->at = 0;
}

static const struct ferry_payload *payload_of(const struct ferry_line *line)
{
    return line->stream == FERRY_STDIN ? line->request.body : line->request.data;
}

static int feed_piece(struct ferry_line *line)
{
    struct ferry_block *b = ferry_block_get(ferry_loop_blocks(line->loop), PIECE);
    ssize_t n;
    int err;

    if (!b)
        return -ENOMEM;
    n = ferry_payload_read(payload_of(line), line->at, b->data, PIECE);
    err = n > 0   ? ferry_conn_write(line->conn, line->id, (enum ferry_record_type)line->stream, b,
                                     ferry_slice(b->data, (size_t)n))
          : n < 0 ? (int)n
                  : FERRY_ECUT;
    ferry_block_unref(b);
    if (err == 0)
        line->at += (uint64_t)n;
    return err;
}

/* As much of the body as may stand in front of the socket. */
static int feed(struct ferry_line *line)
{
    int err = 0;

    while (line->stream && err == 0 && ferry_conn_output(line->conn)->len < QUEUED_MAX) {
        if (line->at < payload_of(line)->len) {
            err = feed_piece(line);
        } else {
            err = ferry_conn_write_end(line->conn, line->id, (enum ferry_record_type)line->stream);
            next_stream(line);
        }
    }
    ferry_pump_kick(&line->pump);
    return err;
}

static int begin_request(struct ferry_line *line)
{
    struct ferry_slice image = line->request.image;
    struct ferry_block *b = ferry_block_get(ferry_loop_blocks(line->loop), image.len);
    int id;

    if (!b)
        return -ENOMEM;
    memcpy(b->data, image.p, image.len);
    id = ferry_conn_begin_image(line->conn, b, ferry_slice(b->data, image.len), line->keep, line);
    ferry_block_unref(b);
    if (id < 0)
        return id;
    line->id = (uint16_t)id;
    line->at = 0;
    line->stream = FERRY_STDIN;
    if (line->request.body->len == 0) /* its end stands in the image */
        next_stream(line);
    return feed(line);
}

static void begin(struct ferry_line *line)
{
    int err = line->asks_values ? ferry_conn_get_values(line->conn) : begin_request(line);

    ferry_pump_kick(&line->pump);
    if (err < 0)
        fail_later(line, FERRY_RESULT_CANCELLED, err, "the request cannot be sent");
}

/* -- the connection
 * ------------------------------------------------------------------------------------------------
 */

static void on_event(struct ferry_line *line, const struct ferry_conn_event *ev)
{
    if (!line->first_us && ev->type != FERRY_CONN_CUT && ev->type != FERRY_CONN_CLOSED)
        line->first_us = ferry_now_us();
    switch (ev->type) {
    case FERRY_CONN_STDOUT:
        if (line->fns->out)
            line->fns->out(line, ev->data);
        break;
    case FERRY_CONN_STDERR:
        if (line->fns->errors)
            line->fns->errors(line, ev->data);
        break;
    case FERRY_CONN_END:
        on_end(line, &ev->end);
        break;
    case FERRY_CONN_VALUES:
    case FERRY_CONN_UNKNOWN_TYPE:
        if (line->fns->values)
            line->fns->values(line, ev->type == FERRY_CONN_VALUES ? &ev->values : NULL);
        shut(line);
        finish(line, &(struct ferry_outcome){.text = "", .protocol_status = -1});
        break;
    case FERRY_CONN_CUT:
    case FERRY_CONN_CLOSED:
        fail(line, FERRY_RESULT_CUT, FERRY_ECUT,
             line->first_us ? "the application closed the connection in the middle of its answer"
                            : "the application closed the connection without an answer");
        break;
    default: /* the end of STDOUT, which END tells */
        break;
    }
}

static void on_ready(struct ferry_pump *pump)
{
    struct ferry_line *line = line_of(pump);
    struct ferry_conn_event ev;
    int r;

    while ((line->state == OPEN || line->state == CONNECTING) &&
           (r = ferry_conn_event(line->conn, &ev)) != 0) {
        if (r < 0)
            fail(line, FERRY_RESULT_BAD, r, ferry_conn_error_text(line->conn));
        else
            on_event(line, &ev);
    }
}

static void on_failed(struct ferry_pump *pump, int err)
{
    fail(line_of(pump), FERRY_RESULT_CUT, err, "the connection to the application failed");
}

static void on_finished(struct ferry_pump *pump)
{
    fail(line_of(pump), FERRY_RESULT_CUT, FERRY_ECLOSED,
         "the application closed the connection without an answer");
}

static void on_connected(struct ferry_pump *pump, int err)
{
    struct ferry_line *line = line_of(pump);

    if (line->state != CONNECTING)
        return;
    if (err == -EAGAIN) {
        line->crowded = true;
        shut(line);
    } else if (err < 0) {
        fail(line, FERRY_RESULT_REFUSED, err, "no connection could be made");
    } else {
        line->state = OPEN;
        line->connected_us = ferry_now_us();
        if (line->fns->connected)
            line->fns->connected(line);
    }
}

static void on_sent(struct ferry_pump *pump, size_t n)
{
    struct ferry_line *line = line_of(pump);
    int err;

    (void)n;
    if (!line->busy || !line->stream)
        return;
    err = feed(line);
    if (err < 0)
        fail(line, FERRY_RESULT_CANCELLED, err, "the body cannot be read to its end");
}

static void set_timer(struct ferry_line *line)
{
    uint64_t at = FERRY_NEVER, now = ferry_loop_now(line->loop);

    if (line->total_ms)
        at = line->asked_ms + line->total_ms;
    if (line->state != OPEN && line->connect_ms && line->asked_ms + line->connect_ms < at)
        at = line->asked_ms + line->connect_ms;
    if (line->crowded && now + CROWDED_MS < at)
        at = now + CROWDED_MS;
    ferry_timer_set(line->loop, &line->timer, at);
}

static void on_timer(struct ferry_timer *t)
{
    struct ferry_line *line = ferry_container(t, struct ferry_line, timer);
    uint64_t passed = ferry_loop_now(line->loop) - line->asked_ms;

    if (!line->busy)
        return;
    if (line->total_ms && passed >= line->total_ms)
        fail(line, FERRY_RESULT_TIMEOUT, -ETIMEDOUT, "no whole answer in time");
    else if (line->state != OPEN && line->connect_ms && passed >= line->connect_ms)
        fail(line, FERRY_RESULT_REFUSED, line->crowded ? -EAGAIN : -ETIMEDOUT,
             "no connection could be made in time");
    else if (line->crowded && line->state == SHUT)
        line_connect(line);
    else
        set_timer(line);
}

static void on_closed(struct ferry_pump *pump)
{
    struct ferry_line *line = line_of(pump);

    ferry_conn_free(line->conn);
    line->conn = NULL;
    line->state = SHUT;
    if (line->ended)
        run_task(&line->task);
    else if (line->crowded)
        set_timer(line);
    else if (line->busy)
        line_connect(line);
}

static const struct ferry_pump_fns pump_fns = {
    .ready = on_ready,
    .failed = on_failed,
    .finished = on_finished,
    .connected = on_connected,
    .sent = on_sent,
    .closed = on_closed,
};

static void line_connect(struct ferry_line *line)
{
    struct ferry_conn_opts opts = {.side = FERRY_CONN_CLIENT,
                                   .blocks = ferry_loop_blocks(line->loop)};
    int err = -ENOMEM;

    line->crowded = false;
    line->served = 0;
    line->conn = ferry_conn_new(&opts);
    if (line->conn)
        err = ferry_pump_connect(line->loop, &line->pump, &pump_fns, &tapped, line, &line->addr.any,
                                 line->addr.len);
    if (err < 0) {
        ferry_conn_free(line->conn);
        line->conn = NULL;
        fail_later(line, FERRY_RESULT_REFUSED, err, "no connection could be made");
        return;
    }
    line->state = CONNECTING;
    line->connects++;
    ferry_stream_read_large(&line->pump.stream, true);
    ferry_pump_errors_last(&line->pump);
    set_timer(line);
    begin(line);
}

/* -- the owner
 * ------------------------------------------------------------------------------------------------
 */

/* An owner sets its own part only. */
static void init(struct ferry_line *line)
{
    if (line->task.run)
        return;
    ferry_timer_init(&line->timer, on_timer);
    ferry_task_init(&line->task, run_task);
}

static void start(struct ferry_line *line)
{
    ferry_assert(!line->busy && !line->ended);
    init(line);
    line->busy = true;
    line->repeated = line->crowded = false;
    line->asked_us = ferry_now_us();
    line->asked_ms = ferry_loop_now(line->loop);
    line->connected_us = line->first_us = line->done_us = 0;
    if (line->state == OPEN) {
        set_timer(line);
        begin(line);
    } else if (line->state == SHUT) {
        line_connect(line);
    }
}

void ferry_line_ask(struct ferry_line *line, const struct ferry_line_request *request)
{
    line->asks_values = false;
    line->request = *request;
    start(line);
}

void ferry_line_values(struct ferry_line *line)
{
    line->asks_values = true;
    line->request = (struct ferry_line_request){0};
    line->stream = 0;
    start(line);
}

void ferry_line_close(struct ferry_line *line)
{
    init(line);
    line->ended = true;
    line->busy = line->crowded = false;
    ferry_task_cancel(&line->task);
    if (line->state == SHUT)
        ferry_task_defer(line->loop, &line->task);
    shut(line);
}
