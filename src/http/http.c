/* SPDX-License-Identifier: MIT */
/*
 * The machine of one HTTP/1 server connection: taking requests, events, the end.
 *
 *   IDLE ─▶ HEAD ─▶ READY ─▶ REQUEST ─▶ IDLE ...      LINGER ─▶ CLOSED
 *
 * A head that comes whole goes from IDLE to READY and is parsed where it lies, when its event is
 * pulled; only one that comes in pieces is collected in a block. In REQUEST two things go on side
 * by side, `body` (the client's) and `reply` (ours, in write.c), and the request is over when both
 * are done. An error in the input makes `body` BROKEN: nothing behind it can be understood any
 * more, so the connection ends after the response.
 */
#include "http/http_internal.h"

#include <errno.h>
#include <stdlib.h>

/* While more output than this waits, no further request is taken: a client that pipelines and never
 * reads fills no memory. */
#define OUTPUT_MAX 65536

/* Empty lines that clients of old sent behind a body (RFC 9112 section 2.2). */
#define EMPTY_LINES_MAX 2

#define BIT(ev) ((uint8_t)(1u << FERRY_HTTP_EV_##ev))

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
    return value ? value : otherwise;
}

struct ferry_http *ferry_http_new(const struct ferry_http_opts *opts, uint64_t now_ms)
{
    struct ferry_http *m = calloc(1, sizeof *m);
    struct ferry_http_opts *o;

    if (!m)
        return NULL;
    ferry_chain_init(&m->out, opts->blocks);
    m->opts = *opts;
    o = &m->opts;
    o->head_max = or_default(o->head_max, 65536);
    o->target_max = or_default(o->target_max, 32768);
    o->body_max = o->body_max ? o->body_max : (uint64_t)1 << 30;
    o->head_timeout_ms = or_default(o->head_timeout_ms, 30000);
    o->idle_timeout_ms = or_default(o->idle_timeout_ms, 60000);
    o->body_grace_ms = or_default(o->body_grace_ms, 30000);
    o->body_rate_min = or_default(o->body_rate_min, 500);
    o->send_stall_ms = or_default(o->send_stall_ms, 60000);
    o->linger_ms = or_default(o->linger_ms, 2000);
    o->half_close_ms = or_default(o->half_close_ms, 2000);
    m->now_ms = m->wait_since = m->send_since = now_ms;
    m->send_stale = true;
    return m;
}

static void release_head(struct ferry_http *m)
{
    ferry_block_unref(m->buf);
    m->buf = NULL;
    m->head = NULL;
}

void ferry_http_free(struct ferry_http *m)
{
    if (!m)
        return;
    release_head(m);
    ferry_chain_clear(&m->out);
    free(m);
}

/* -- the ends of requests and of the connection */

/* What is waited for from here on began in a call that may not know the time. */
static void wait_begins(struct ferry_http *m)
{
    m->wait_since = m->now_ms;
    m->wait_stale = true;
}

/* A client that may have sent more than we read gets time to read our answer to what we did. */
static void close_gently(struct ferry_http *m)
{
    bool more_may_come = m->body != FERRY__BODY_DONE || m->client_keeps;

    ferry__http_close(m);
    if (more_may_come && !m->eof) {
        m->phase = FERRY__HTTP_LINGER;
        wait_begins(m);
    }
}

void ferry__http_gone(struct ferry_http *m)
{
    ferry__http_close(m);
    m->pending |= BIT(GONE);
}

/* The request and its response are over, and the next byte is another request's. */
static void next_request(struct ferry_http *m)
{
    if (m->eof || m->draining) {
        close_gently(m);
        return;
    }
    m->phase = FERRY__HTTP_IDLE;
    m->empty_lines = 0;
    wait_begins(m);
}

void ferry__http_reply_done(struct ferry_http *m)
{
    m->reply = FERRY__REPLY_DONE;
    m->pending &= BIT(GONE);
    release_head(m);
    if (!m->keep || (m->eof && m->body != FERRY__BODY_DONE))
        close_gently(m);
    else if (m->body == FERRY__BODY_DONE)
        next_request(m);
    else
        wait_begins(m); /* the little that is left of the body is read and dropped */
}

static void begin_request(struct ferry_http *m, const struct ferry_http_head *head, bool keep)
{
    m->phase = FERRY__HTTP_REQUEST;
    m->reply = FERRY__REPLY_NONE;
    m->minor = head ? head->minor : 0;
    m->is_head = head && head->method_id == FERRY_HTTP_HEAD;
    m->keep = m->client_keeps = keep;
    m->expects = m->body_offered = m->started = m->paused = false;
    m->body_seen = 0;
    m->body = FERRY__BODY_DONE;
}

void ferry__http_refuse(struct ferry_http *m, int status, const char *why)
{
    if (m->phase != FERRY__HTTP_REQUEST) {
        release_head(m);
        begin_request(m, NULL, false);
    }
    m->body = FERRY__BODY_BROKEN;
    m->keep = false;
    m->status = (uint16_t)status;
    m->why = why;
    m->pending |= BIT(BAD);
}

/* -- input */

static void head_is_whole(struct ferry_http *m, const char *p, size_t n)
{
    m->phase = FERRY__HTTP_READY;
    m->head = p;
    m->head_len = (uint32_t)n;
}

/* What the search for the head's end found in all bytes of it that are there: true when the
 * question is settled. */
static bool judge_head(struct ferry_http *m, const char *p, size_t n, ssize_t found)
{
    if (found > 0)
        head_is_whole(m, p, (size_t)found);
    else if (found < 0)
        ferry__http_refuse(m, 400, "bare LF");
    else if (n >= m->opts.head_max)
        ferry__http_refuse(m, m->scan.line ? 431 : 414,
                           m->scan.line ? "head too long" : "request line too long");
    else
        return false;
    return true;
}

/* Room for n bytes of a head altogether: its block moves to a larger one. */
static bool head_room(struct ferry_http *m, size_t n)
{
    struct ferry_block *b;

    if (m->buf && n <= m->buf->cap)
        return true;
    b = ferry_block_get(m->opts.blocks, n);
    if (!b)
        return false;
    if (m->buf)
        memcpy(b->data, m->buf->data, m->head_len);
    ferry_block_unref(m->buf);
    m->buf = b;
    return true;
}

static ssize_t recv_more_head(struct ferry_http *m, const char *p, size_t n)
{
    size_t at = 0;

    while (at < n && m->phase == FERRY__HTTP_HEAD) {
        size_t take =
            n - at < m->opts.head_max - m->head_len ? n - at : m->opts.head_max - m->head_len;
        const char *lf = memchr(p + at, '\n', take);

        /* Line by line, so that nothing behind the head is taken. */
        if (lf)
            take = (size_t)(lf + 1 - (p + at));
        if (!head_room(m, m->head_len + take)) {
            ferry__http_gone(m);
            return (ssize_t)n;
        }
        memcpy(m->buf->data + m->head_len, p + at, take);
        m->head_len += (uint32_t)take;
        at += take;
        judge_head(m, m->buf->data, m->head_len,
                   ferry__head_scan(m->buf->data, m->head_len, &m->scan));
    }
    return (ssize_t)at;
}

/* Takes the empty lines in front of a request: how many bytes, or -1 when something is wrong. */
static ssize_t recv_empty_lines(struct ferry_http *m, const char *p, size_t n)
{
    size_t at = 0;

    for (; at < n && (m->lead_cr || p[at] == '\r'); at++) {
        if (!m->lead_cr) {
            m->lead_cr = true;
            continue;
        }
        m->lead_cr = false;
        if (p[at] != '\n' || ++m->empty_lines > EMPTY_LINES_MAX)
            return -1;
    }
    return (ssize_t)at;
}

static ssize_t recv_first(struct ferry_http *m, const char *p, size_t n)
{
    ssize_t before, found;
    size_t len;

    if (m->out.len > OUTPUT_MAX)
        return 0;
    before = recv_empty_lines(m, p, n);
    if (before < 0 || (before < n && !ferry__is_token[(unsigned char)p[before]])) {
        ferry__http_refuse(m, 400, "not an HTTP request");
        return (ssize_t)n;
    }
    p += before;
    n -= (size_t)before;
    if (n == 0)
        return before;

    m->phase = FERRY__HTTP_HEAD;
    m->wait_since = m->now_ms;
    m->scan = (struct ferry__head_scan){0, 0};
    m->head_len = 0;
    len = n < m->opts.head_max ? n : m->opts.head_max;
    found = ferry__head_scan(p, len, &m->scan);
    if (judge_head(m, p, len, found))
        return before + (found > 0 ? found : (ssize_t)len);
    if (!head_room(m, len)) {
        ferry__http_gone(m);
        return before + (ssize_t)len;
    }
    memcpy(m->buf->data, p, len);
    m->head_len = (uint32_t)len;
    return before + (ssize_t)len;
}

static void body_came(struct ferry_http *m, struct ferry_slice data, bool done)
{
    if (data.len) {
        m->data = data;
        m->body_seen += data.len;
        m->body_last = m->now_ms;
        m->pending |= BIT(BODY);
    }
    if (done) {
        m->body = FERRY__BODY_DONE;
        m->pending |= BIT(END);
    }
}

static ssize_t recv_body(struct ferry_http *m, const char *p, size_t n)
{
    struct ferry_slice data;
    size_t take = n;

    if (m->body == FERRY__BODY_LENGTH && take > m->body_left)
        take = (size_t)m->body_left;
    if (m->reply == FERRY__REPLY_DONE) {
        m->body_left -= take;
        if (m->body_left == 0) {
            m->body = FERRY__BODY_DONE;
            next_request(m);
        }
        return (ssize_t)take;
    }
    /* Behind the end lies the next request, whose turn has not come. */
    if (m->body != FERRY__BODY_LENGTH && m->body != FERRY__BODY_CHUNKED)
        return 0;
    if (!m->started || m->paused) {
        m->body_offered = true;
        return 0;
    }
    if (m->body == FERRY__BODY_LENGTH) {
        m->body_left -= take;
        body_came(m, ferry_slice(p, take), m->body_left == 0);
        return (ssize_t)take;
    }
    take = ferry__chunked_recv(&m->chunked, p, n, &data);
    body_came(m, data, m->chunked.state == FERRY__CHUNK_DONE);
    if (m->chunked.state == FERRY__CHUNK_BAD)
        ferry__http_refuse(m, m->chunked.status, m->chunked.why);
    return (ssize_t)take;
}

static void input_ended(struct ferry_http *m)
{
    m->eof = true;
    switch (m->phase) {
    case FERRY__HTTP_IDLE:
    case FERRY__HTTP_LINGER:
        ferry__http_close(m);
        break;
    case FERRY__HTTP_HEAD:
        ferry__http_gone(m);
        break;
    case FERRY__HTTP_REQUEST:
        if (m->reply == FERRY__REPLY_DONE)
            ferry__http_close(m);
        else if (ferry__http_body_is_due(m))
            ferry__http_gone(m);
        else
            m->wait_since = m->now_ms; /* it may be gone, or only have no more to say */
        break;
    default: /* READY: decided when the head is read */
        break;
    }
}

ssize_t ferry_http_recv(struct ferry_http *m, const char *p, size_t n, uint64_t now_ms)
{
    ferry__http_set_now(m, now_ms);
    if (n == 0) {
        input_ended(m);
        return 0;
    }
    if (m->pending || m->phase == FERRY__HTTP_READY)
        return 0;
    switch (m->phase) {
    case FERRY__HTTP_IDLE:
        return recv_first(m, p, n);
    case FERRY__HTTP_HEAD:
        return recv_more_head(m, p, n);
    case FERRY__HTTP_REQUEST:
        release_head(m);
        return recv_body(m, p, n);
    default:
        return (ssize_t)n;
    }
}

/* -- events */

/* 1 with a HEAD event, or 0 when the head is refused. */
static int read_head(struct ferry_http *m, struct ferry_http_event *out)
{
    struct ferry_http_head *head = &out->head;
    const char *why;
    bool keep;
    int status = ferry__head_parse(m->head, m->head_len, m->opts.target_max, head, &keep, &why);

    if (status == 0 && head->content_length > 0 &&
        (uint64_t)head->content_length > m->opts.body_max)
        status = 413, why = "body too large";
    begin_request(m, head, keep);
    m->requests++;
    if (status) {
        release_head(m);
        ferry__http_refuse(m, status, why);
        return 0;
    }
    m->expects = head->expects_continue;
    if (head->content_length > 0) {
        m->body = FERRY__BODY_LENGTH;
        m->body_left = (uint64_t)head->content_length;
    } else if (head->has_body) {
        m->body = FERRY__BODY_CHUNKED;
        ferry__chunked_init(&m->chunked, m->opts.body_max, m->opts.head_max);
    } else {
        m->pending |= BIT(END);
    }
    out->type = FERRY_HTTP_EV_HEAD;
    if (m->eof && head->has_body)
        m->pending |= BIT(GONE);
    else if (m->eof)
        wait_begins(m);
    return 1;
}

static bool take(struct ferry_http *m, struct ferry_http_event *out,
                 enum ferry_http_event_type type)
{
    if (!(m->pending & 1u << type))
        return false;
    m->pending &= (uint8_t) ~(1u << type);
    out->type = type;
    return true;
}

int ferry_http_event(struct ferry_http *m, struct ferry_http_event *out)
{
    if (m->phase == FERRY__HTTP_READY && read_head(m, out))
        return 1;
    if (take(m, out, FERRY_HTTP_EV_BODY)) {
        out->data = m->data;
        return 1;
    }
    if (take(m, out, FERRY_HTTP_EV_END))
        return 1;
    if (take(m, out, FERRY_HTTP_EV_BAD)) {
        out->status = m->status;
        out->why = m->why;
        return 1;
    }
    if (take(m, out, FERRY_HTTP_EV_GONE)) {
        ferry__http_close(m);
        return 1;
    }
    return 0;
}

void ferry_http_body_start(struct ferry_http *m, uint64_t now_ms)
{
    ferry__http_set_now(m, now_ms);
    if (m->phase != FERRY__HTTP_REQUEST || m->reply == FERRY__REPLY_DONE || m->started ||
        !ferry__http_body_is_due(m))
        return;
    m->started = true;
    m->wait_since = m->body_last = m->paused_since = now_ms;
    if (!m->expects || m->reply != FERRY__REPLY_NONE)
        return; /* nobody waits, or the answer is known already */
    m->expects = false;
    if (!m->body_offered)
        ferry_chain_static(&m->out, FERRY_SLICE("HTTP/1.1 100 Continue\r\n\r\n"));
}

void ferry_http_body_pause(struct ferry_http *m, bool paused, uint64_t now_ms)
{
    ferry__http_set_now(m, now_ms);
    if (m->phase != FERRY__HTTP_REQUEST || m->reply == FERRY__REPLY_DONE || paused == m->paused)
        return;
    m->paused = paused;
    if (paused) {
        m->paused_since = now_ms;
    } else {
        m->wait_since += now_ms - m->paused_since;
        m->body_last += now_ms - m->paused_since;
    }
}

void ferry_http_drain(struct ferry_http *m)
{
    m->draining = true;
    if (m->phase == FERRY__HTTP_IDLE)
        ferry__http_close(m);
}

bool ferry_http_responded(const struct ferry_http *m)
{
    return m->phase == FERRY__HTTP_REQUEST && m->reply != FERRY__REPLY_NONE;
}

bool ferry_http_idle(const struct ferry_http *m)
{
    return m->phase != FERRY__HTTP_HEAD && m->phase != FERRY__HTTP_READY &&
           m->phase != FERRY__HTTP_REQUEST;
}

/* -- output and the end */

struct ferry_chain *ferry_http_output(struct ferry_http *m)
{
    /* Given up, the output is no longer shown; but a send of its front may still be under way, so
     * the memory stays until ferry_http_free. Nobody appends to this one. */
    static const struct ferry_chain none;

    return m->stalled ? (struct ferry_chain *)&none : &m->out;
}

bool ferry_http_finished(const struct ferry_http *m)
{
    return m->phase == FERRY__HTTP_CLOSED;
}

static bool wants_shutdown(const struct ferry_http *m)
{
    return m->phase == FERRY__HTTP_LINGER;
}

static ssize_t op_recv(void *m, const char *p, size_t n, uint64_t now_ms)
{
    return ferry_http_recv(m, p, n, now_ms);
}

static struct ferry_chain *op_output(void *m)
{
    return ferry_http_output(m);
}

static void op_sent(void *m, size_t n, uint64_t now_ms)
{
    ferry_http_sent(m, n, now_ms);
}

static uint64_t op_deadline(const void *m)
{
    return ferry_http_deadline(m);
}

static void op_tick(void *m, uint64_t now_ms)
{
    ferry_http_tick(m, now_ms);
}

static bool op_finished(const void *m)
{
    return ferry_http_finished(m);
}

static bool op_wants_shutdown(const void *m)
{
    return wants_shutdown(m);
}

const struct ferry_machine ferry_http_machine = {
    .recv = op_recv,
    .output = op_output,
    .sent = op_sent,
    .deadline = op_deadline,
    .tick = op_tick,
    .finished = op_finished,
    .wants_shutdown = op_wants_shutdown,
};
