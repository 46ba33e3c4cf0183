/* SPDX-License-Identifier: MIT */
/*
 * The deadlines of an HTTP/1 connection. Two waits may run at once: one for the client to take our
 * output, one for what the phase wants of it. While the owner works on a request and no output
 * waits, neither runs. Owners write without telling the time, so a wait that begins in such a call
 * is marked stale and counted from the next call that tells it.
 */
#include "http/http_internal.h"

void ferry__http_set_now(struct ferry_http *m, uint64_t now_ms)
{
    m->now_ms = now_ms;
    if (m->wait_stale) {
        m->wait_since = now_ms;
        m->wait_stale = false;
    }
    if (m->send_stale && m->out.len) {
        m->send_since = now_ms;
        m->send_stale = false;
    }
}

void ferry_http_sent(struct ferry_http *m, size_t n, uint64_t now_ms)
{
    ferry__http_set_now(m, now_ms);
    if (n == 0)
        return;
    ferry_chain_consume(&m->out, n);
    m->send_since = now_ms;
    if (m->out.len)
        return;
    m->send_stale = true;
    if (m->phase == FERRY__HTTP_IDLE || m->phase == FERRY__HTTP_LINGER)
        m->wait_since = now_ms;
}

static uint64_t send_until(const struct ferry_http *m)
{
    if (m->out.len == 0 || m->stalled)
        return FERRY_NEVER;
    return (m->send_stale ? m->now_ms : m->send_since) + m->opts.send_stall_ms;
}

/* What came earns time, but never more than twice the grace: who has sent much cannot rest long. */
static uint64_t body_until(const struct ferry_http *m)
{
    uint64_t rate = m->opts.body_rate_min, grace = m->opts.body_grace_ms;
    uint64_t earned = m->body_seen / rate * 1000 + m->body_seen % rate * 1000 / rate;
    uint64_t by_rate = m->wait_since + grace + earned, by_gap = m->body_last + 2 * grace;

    return by_rate < by_gap ? by_rate : by_gap;
}

/* On TCP a client that is gone and one that has only ended its direction look alike, until they are
 * sent something. */
static bool may_be_gone(const struct ferry_http *m)
{
    return m->phase == FERRY__HTTP_REQUEST && m->eof && m->reply == FERRY__REPLY_NONE &&
           !ferry__http_body_is_due(m);
}

static uint64_t wait_until(const struct ferry_http *m)
{
    switch (m->phase) {
    case FERRY__HTTP_IDLE:
        return m->out.len ? FERRY_NEVER : m->wait_since + m->opts.idle_timeout_ms;
    case FERRY__HTTP_HEAD:
        return m->wait_since + m->opts.head_timeout_ms;
    case FERRY__HTTP_REQUEST:
        if (m->reply == FERRY__REPLY_DONE)
            return m->wait_since + m->opts.linger_ms;
        if (may_be_gone(m))
            return m->wait_since + m->opts.half_close_ms;
        return m->started && !m->paused && ferry__http_body_is_due(m) ? body_until(m) : FERRY_NEVER;
    case FERRY__HTTP_LINGER:
        return m->out.len ? FERRY_NEVER : m->wait_since + m->opts.linger_ms;
    default:
        return FERRY_NEVER;
    }
}

uint64_t ferry_http_deadline(const struct ferry_http *m)
{
    uint64_t send = send_until(m), wait = wait_until(m);

    return send < wait ? send : wait;
}

void ferry_http_tick(struct ferry_http *m, uint64_t now_ms)
{
    ferry__http_set_now(m, now_ms);
    if (now_ms >= send_until(m)) {
        m->stalled = true;
        ferry__http_gone(m);
        return;
    }
    if (now_ms < wait_until(m))
        return;
    if (m->phase == FERRY__HTTP_HEAD)
        ferry__http_refuse(m, 408, "head too slow");
    else if (may_be_gone(m))
        ferry__http_gone(m);
    else if (m->phase == FERRY__HTTP_REQUEST && m->reply != FERRY__REPLY_DONE)
        ferry__http_refuse(m, 408, "body too slow");
    else
        ferry__http_close(m);
}
