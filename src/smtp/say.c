/* SPDX-License-Identifier: MIT */
/*
 * What the machine says: the replies of one session, in the order of what they answer. Refusals are
 * counted here: after some each is held back a while, during which nothing is read, and after more
 * the session ends.
 */
#include "base/text.h"
#include "smtp/smtp_internal.h"

struct ferry_slice ferry__smtp_number(uint64_t n, char out[20])
{
    return ferry_slice(out, (size_t)(ferry__put_u64(out, n, 1) - out));
}

void ferry__smtp_put(struct ferry_smtp *m, struct ferry_slice lines)
{
    if (m->out.len == 0)
        m->send_since = m->now_ms;
    ferry_chain_copy(&m->out, lines);
}

void ferry__smtp_say(struct ferry_smtp *m, enum ferry_smtp_reply r, struct ferry_slice detail)
{
    char line[FERRY_SMTP_LINE_MAX];

    ferry__smtp_put(m, ferry_slice(line, ferry_smtp_reply_put(r, FERRY_SLICE(""), detail, line)));
}

void ferry__smtp_hold(struct ferry_smtp *m, struct ferry_slice line, uint64_t until_ms)
{
    if (!m->held)
        m->held = malloc(FERRY_SMTP_LINE_MAX);
    if (!m->held) { /* then it goes at once */
        ferry__smtp_put(m, line);
        return;
    }
    memcpy(m->held, line.p, line.len);
    m->held_len = (uint16_t)line.len;
    m->held_until = until_ms;
}

void ferry__smtp_unhold(struct ferry_smtp *m)
{
    if (m->held_len)
        ferry__smtp_put(m, ferry_slice(m->held, m->held_len));
    m->held_len = 0;
    m->chunk_held = false;
    free(m->held);
    m->held = NULL;
}

void ferry__smtp_end(struct ferry_smtp *m, enum ferry_smtp_reply r, struct ferry_slice detail)
{
    ferry__smtp_unhold(m);
    /* Inside a handshake nothing can be said, and before the greeting only instead of it. */
    if (r != FERRY_SMTP_NONE && m->phase != FERRY__SMTP_TLS)
        ferry__smtp_say(m, r, detail);
    else
        r = FERRY_SMTP_NONE;
    ferry__smtp_gone(m, r, r != FERRY_SMTP_NONE);
}

bool ferry__smtp_error(struct ferry_smtp *m)
{
    m->counts.errors++;
    if (++m->errors <= m->opts.errors_max)
        return true;
    ferry__smtp_end(m, FERRY_SMTP_TOO_MANY_ERRORS, FERRY_SLICE(""));
    return false;
}

bool ferry__smtp_no_line(struct ferry_smtp *m, struct ferry_slice line)
{
    if (!ferry__smtp_error(m))
        return false;
    if (m->errors > m->opts.errors_soft)
        ferry__smtp_hold(m, line, m->now_ms + m->opts.error_delay_ms);
    else
        ferry__smtp_put(m, line);
    return true;
}

bool ferry__smtp_no(struct ferry_smtp *m, enum ferry_smtp_reply r, struct ferry_slice detail)
{
    char line[FERRY_SMTP_LINE_MAX];

    return ferry__smtp_no_line(
        m, ferry_slice(line, ferry_smtp_reply_put(r, FERRY_SLICE(""), detail, line)));
}

/* -- the beginning */

#define NAME_MAX 255 /* of our own host */

static char *put_hostname(char *to, const struct ferry_smtp *m)
{
    return ferry__put(to, ferry_slice_first(ferry_slice_z(m->opts.hostname), NAME_MAX));
}

void ferry__smtp_hello(struct ferry_smtp *m)
{
    char text[NAME_MAX + 32], *to = put_hostname(text, m);

    to = m->opts.lmtp ? FERRY_PUT(to, " LMTP ferry") : FERRY_PUT(to, " ESMTP ferry");
    ferry__smtp_say(m, FERRY_SMTP_GREETING, ferry_slice(text, (size_t)(to - text)));
}

/* No enhanced codes here (RFC 2034, 3). */
void ferry__smtp_say_helo(struct ferry_smtp *m)
{
    char text[NAME_MAX + 16], *to = FERRY_PUT(text, "250 ");

    to = put_hostname(to, m);
    to = FERRY_PUT(to, "\r\n");
    ferry__smtp_put(m, ferry_slice(text, (size_t)(to - text)));
}

/* One line of EHLO's answer; the last begins "250 ". */
static char *put_keyword(char *to, const char *text)
{
    to = FERRY_PUT(to, "250-");
    to = ferry__put(to, ferry_slice_z(text));
    return FERRY_PUT(to, "\r\n");
}

/* Who may not use these is not told of them. */
static char *put_origins(char *to, const struct ferry_smtp *m)
{
    if (m->client.xclient)
        to = put_keyword(to, "XCLIENT NAME ADDR PORT PROTO HELO REVERSE_NAME LOGIN DESTADDR "
                             "DESTPORT");
    if (m->client.xforward)
        to = put_keyword(to, "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE");
    return to;
}

void ferry__smtp_say_ehlo(struct ferry_smtp *m)
{
    const struct ferry_smtp_opts *o = &m->opts;
    char text[1024], *to = FERRY_PUT(text, "250-");

    to = put_hostname(to, m);
    to = FERRY_PUT(to, "\r\n");
    to = put_keyword(to, "PIPELINING");
    to = FERRY_PUT(to, "250-SIZE ");
    to = ferry__put_u64(to, o->size_max == UINT64_MAX ? 0 : o->size_max, 1);
    to = FERRY_PUT(to, "\r\n");
    if (o->starttls && !m->tls)
        to = put_keyword(to, "STARTTLS");
    if (o->auth && (m->tls || o->auth_insecure))
        to = put_keyword(to, "AUTH PLAIN LOGIN");
    to = put_keyword(to, "ENHANCEDSTATUSCODES");
    to = put_keyword(to, "8BITMIME");
    if (!o->no_dsn)
        to = put_keyword(to, "DSN");
    to = put_keyword(to, "SMTPUTF8");
    to = put_keyword(to, "CHUNKING");
    if (!o->no_binarymime)
        to = put_keyword(to, "BINARYMIME");
    to = put_origins(to, m);
    to = FERRY_PUT(to, "250 LIMITS MAILMAX=");
    to = ferry__put_u64(to, o->mails_max, 1);
    to = FERRY_PUT(to, " RCPTMAX=");
    to = ferry__put_u64(to, o->one_rcpt ? 1 : o->rcpts_max, 1);
    to = FERRY_PUT(to, "\r\n");
    ferry__smtp_put(m, ferry_slice(text, (size_t)(to - text)));
}
