/* SPDX-License-Identifier: MIT */
/*
 * The deadlines of a session. Two waits may run at once: one for the client to take our output, one
 * for what the phase wants of it. While the owner owes an answer only the first runs: nobody is cut
 * off for our slowness.
 */
#include "smtp/smtp_internal.h"

/* The rate counts from here on. */
#define RATE_GRACE_MS 30000

void ferry__smtp_set_now(struct ferry_smtp *m, uint64_t now_ms)
{
    if (now_ms > m->now_ms)
        m->now_ms = now_ms;
}

void ferry_smtp_sent(struct ferry_smtp *m, size_t n, uint64_t now_ms)
{
    ferry__smtp_set_now(m, now_ms);
    if (n == 0)
        return;
    ferry_chain_consume(&m->out, n);
    m->send_since = m->now_ms;
    /* The client's time begins when it has our reply; but not anew for what it has begun to say. */
    if (m->out.len == 0 && !m->line_len && !m->skipped && m->phase != FERRY__SMTP_PROXY)
        m->wait_since = m->now_ms;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t send_until(const struct ferry_smtp *m)
{
    uint64_t stall = m->opts.send_stall_ms;

    if (m->out.len == 0 || m->stalled)
        return FERRY_NEVER;
    /* Behind the last word no byte that is taken earns more time. */
    return ferry__smtp_over(m) ? earlier(m->send_since, m->wait_since) + stall
                               : m->send_since + stall;
}

static uint64_t data_until(const struct ferry_smtp *m)
{
    uint64_t rate = m->opts.data_rate_min, seen = m->data_seen;
    uint64_t earned = seen / rate * 1000 + seen % rate * 1000 / rate;
    uint64_t by_rate = m->data_since + RATE_GRACE_MS + earned;
    uint64_t by_gap = m->data_last + m->opts.data_idle_ms;

    if (m->paused)
        return FERRY_NEVER;
    return earlier(earlier(by_rate, by_gap), m->text_since + m->opts.data_ms);
}

static uint64_t command_until(const struct ferry_smtp *m)
{
    bool begun = m->line_len || m->skipped;

    if (m->held_len)
        return m->held_until;
    return earlier(m->wait_since + (begun ? m->opts.command_ms : m->opts.idle_ms),
                   m->begun_ms + m->opts.session_ms);
}

static uint64_t wait_until(const struct ferry_smtp *m)
{
    if (m->asked)
        return FERRY_NEVER;
    switch (m->phase) {
    case FERRY__SMTP_PROXY:
        return m->wait_since + m->opts.proxy_ms;
    case FERRY__SMTP_DELAY:
        return m->wait_since + m->opts.greet_delay_ms;
    case FERRY__SMTP_COMMAND:
    case FERRY__SMTP_SASL:
        return m->out.len && !m->held_len ? m->begun_ms + m->opts.session_ms : command_until(m);
    case FERRY__SMTP_DATA:
    case FERRY__SMTP_CHUNK:
        return data_until(m);
    case FERRY__SMTP_LINGER:
        return m->out.len ? FERRY_NEVER : m->wait_since + m->opts.linger_ms;
    default:
        return FERRY_NEVER;
    }
}

uint64_t ferry_smtp_deadline(const struct ferry_smtp *m)
{
    return earlier(send_until(m), wait_until(m));
}

static void waited_long_enough(struct ferry_smtp *m)
{
    switch (m->phase) {
    case FERRY__SMTP_PROXY:
        ferry__smtp_gone(m, FERRY_SMTP_NONE, false);
        break;
    case FERRY__SMTP_DELAY:
        ferry__smtp_hello(m);
        ferry__smtp_wait(m, FERRY__SMTP_COMMAND);
        break;
    case FERRY__SMTP_LINGER:
        m->phase = FERRY__SMTP_CLOSED;
        break;
    default:
        if (m->held_len && !m->chunk_held) {
            ferry__smtp_unhold(m);
            ferry__smtp_wait(m, m->phase);
        } else if (m->phase <= FERRY__SMTP_SASL && m->now_ms >= m->begun_ms + m->opts.session_ms) {
            ferry__smtp_end(m, FERRY_SMTP_SESSION_TOO_LONG, FERRY_SLICE(""));
        } else {
            m->chunk_held = false; /* the reply to it is this one */
            m->held_len = 0;
            ferry__smtp_end(m, FERRY_SMTP_TIMEOUT, FERRY_SLICE(""));
        }
    }
}

void ferry_smtp_tick(struct ferry_smtp *m, uint64_t now_ms)
{
    ferry__smtp_set_now(m, now_ms);
    ferry__smtp_forget(m);
    if (m->now_ms >= send_until(m)) {
        m->stalled = true;
        ferry__smtp_gone(m, FERRY_SMTP_NONE, false);
        m->phase = FERRY__SMTP_CLOSED;
        return;
    }
    if (m->now_ms >= wait_until(m))
        waited_long_enough(m);
    ferry__smtp_settle(m);
}

void ferry_smtp_pause(struct ferry_smtp *m, bool on, uint64_t now_ms)
{
    uint64_t rest;

    ferry__smtp_set_now(m, now_ms);
    if (on == m->paused)
        return;
    m->paused = on;
    if (on) {
        m->paused_since = m->now_ms;
        return;
    }
    rest = m->now_ms - m->paused_since;
    m->text_since += rest;
    m->data_since += rest;
    m->data_last += rest;
}
