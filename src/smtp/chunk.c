/* SPDX-License-Identifier: MIT */
/*
 * BDAT (RFC 3030). Whatever is wrong with a chunk, its bytes are swallowed and never taken for
 * commands, and its reply comes behind them. Only when nobody knows how many these are, or they are
 * far too many, the session ends. A chunk that is refused takes the message with it; those behind
 * it, which may be on their way, are refused too, until a RSET or MAIL; in LMTP the last one gets
 * as many replies as there were recipients (RFC 2033, 4.3): who counts them would take the answer
 * to something else for that of a recipient.
 */
#include "smtp/smtp_internal.h"

static enum ferry_smtp_reply no_chunk(const struct ferry_smtp *m)
{
    if (m->opts.tls_required && !m->tls)
        return FERRY_SMTP_TLS_REQUIRED;
    if (m->chunk_failed && !ferry__smtp_in_tx(m))
        return FERRY_SMTP_CHUNK_FAILED;
    return ferry__smtp_no_message(m);
}

/* The message is lost with this chunk. */
static void fail(struct ferry_smtp *m)
{
    m->chunk_failed = !m->chunk_last;
    m->chunk_rcpts = m->tx->env.nrcpts;
}

/* Once more for each recipient but one. */
static bool repeat(struct ferry_smtp *m, struct ferry_slice line)
{
    unsigned n = m->opts.lmtp && m->chunk_last ? m->chunk_rcpts : 0;

    if (m->chunk_last)
        m->chunk_rcpts = 0;
    for (unsigned i = 1; i < n; i++)
        ferry__smtp_put(m, line);
    return n > 1;
}

static void say_no(struct ferry_smtp *m, struct ferry_slice line)
{
    if (!repeat(m, line)) {
        ferry__smtp_no_line(m, line);
        return;
    }
    ferry__smtp_put(m, line);
    m->counts.errors++;
}

/* The message is refused; in LMTP to each recipient where an answer to each is due. */
static void refuse_message(struct ferry_smtp *m, enum ferry_smtp_reply r)
{
    char number[20];

    if (m->chunk_last) {
        ferry__smtp_text_refused(m, r);
        return;
    }
    fail(m);
    ferry__smtp_tx_end(m, true, r);
    ferry__smtp_no(m, r, ferry__smtp_number(m->opts.size_max, number));
    if (r == FERRY_SMTP_BARE_LF)
        ferry__smtp_gone(m, r, true);
}

static void refuse_chunk(struct ferry_smtp *m, enum ferry_smtp_reply r)
{
    bool chunked = ferry__smtp_in_tx(m) && m->tx->env.chunked;
    char line[FERRY_SMTP_LINE_MAX];

    if (r == FERRY_SMTP_TOO_BIG) {
        refuse_message(m, r);
        return;
    }
    if (chunked) {
        fail(m);
        ferry__smtp_tx_end(m, true, r);
    }
    say_no(m, ferry_slice(line, ferry_smtp_reply_put(r, FERRY_SLICE(""), FERRY_SLICE(""), line)));
}

/* All its bytes have come. */
static void chunk_over(struct ferry_smtp *m)
{
    char number[20], line[FERRY_SMTP_LINE_MAX];

    ferry__smtp_wait(m, FERRY__SMTP_COMMAND);
    if (m->chunk_held) {
        struct ferry_slice held = ferry_slice(line, m->held_len);

        memcpy(line, m->held, m->held_len);
        m->chunk_held = false;
        m->held_len = 0;
        say_no(m, held);
    } else if (m->chunk_drop) {
        return;
    } else if (m->chunk_says) {
        refuse_chunk(m, m->chunk_says);
    } else if (m->chunk_last) {
        ferry__smtp_text_complete(m);
        ferry__smtp_text_end(m);
    } else if (m->text.refuse) {
        refuse_message(m, m->text.refuse);
    } else {
        ferry__smtp_say(m, FERRY_SMTP_CHUNK_OK, ferry__smtp_number(m->chunk_len, number));
    }
}

void ferry__smtp_chunk_go(struct ferry_smtp *m)
{
    ferry__smtp_text_wait(m, FERRY__SMTP_CHUNK);
    if (m->chunk_left == 0)
        chunk_over(m);
}

void ferry__smtp_chunk_refused(struct ferry_smtp *m, struct ferry_slice line)
{
    m->chunk_drop = true;
    fail(m);
    if (m->chunk_left) {
        ferry__smtp_hold(m, line, FERRY_NEVER);
        m->chunk_held = m->held_len;
        if (!m->chunk_held) /* for want of memory it is said */
            repeat(m, line);
    } else {
        ferry__smtp_wait(m, FERRY__SMTP_COMMAND);
        say_no(m, line);
        return;
    }
    ferry__smtp_text_wait(m, FERRY__SMTP_CHUNK);
}

/* "17", "17 LAST": false when the size is not known. */
static bool read_args(struct ferry_smtp *m, struct ferry_slice args)
{
    struct ferry_slice size = ferry_slice_first(args, ferry_slice_find(args, ' '));
    struct ferry_slice last = ferry_slice_trim(ferry_slice_from(args, size.len));

    if (ferry_slice_u64(size, UINT64_MAX, &m->chunk_len) < 0)
        return false;
    m->chunk_left = m->chunk_len;
    m->chunk_last = ferry_slice_eq_nocase(last, FERRY_SLICE("LAST"));
    m->chunk_says = last.len && !m->chunk_last ? FERRY_SMTP_BAD_CHUNK_SIZE : FERRY_SMTP_NONE;
    m->chunk_drop = false;
    return true;
}

void ferry__smtp_bdat(struct ferry_smtp *m, struct ferry_slice args)
{
    uint64_t size = ferry__smtp_in_tx(m) ? m->tx->env.size : 0, max = m->opts.size_max;
    char number[20];

    if (!read_args(m, args)) {
        ferry__smtp_end(m, FERRY_SMTP_BAD_CHUNK_SIZE, FERRY_SLICE(""));
        return;
    }
    if (!m->chunk_last && m->chunk_len < FERRY__SMTP_TINY_CHUNK && ++m->junk > m->opts.junk_max &&
        !ferry__smtp_error(m))
        return;
    if (!m->chunk_says)
        m->chunk_says = (uint8_t)no_chunk(m);
    if (!m->chunk_says && m->chunk_len > max - size)
        m->chunk_says = FERRY_SMTP_TOO_BIG;
    if (m->chunk_says && m->chunk_len / 2 > max) {
        ferry__smtp_end(m, m->chunk_says, ferry__smtp_number(max, number));
        return;
    }
    if (!m->chunk_says && !m->tx->env.chunked) {
        m->tx->env.chunked = true;
        ferry__smtp_text_begin(m);
        m->phase = FERRY__SMTP_CHUNK;
        ferry__smtp_ask(m, FERRY_SMTP_EV_DATA);
        return;
    }
    ferry__smtp_chunk_go(m);
}

size_t ferry__smtp_recv_chunk(struct ferry_smtp *m, const char *p, size_t n)
{
    size_t took = n < m->chunk_left ? n : (size_t)m->chunk_left;
    bool end;

    if (!m->chunk_says && !m->chunk_drop)
        took = ferry__smtp_text(m, p, took, false, &end);
    m->chunk_left -= took;
    m->data_last = m->now_ms;
    m->data_seen += took;
    if (m->chunk_left == 0)
        chunk_over(m);
    return took;
}
