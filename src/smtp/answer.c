/* SPDX-License-Identifier: MIT */
/*
 * The owner's answers, and what follows from them. One way for both kinds, replies of the table and
 * words of somebody else: a code and a line.
 */
#include "base/text.h"
#include "smtp/smtp_internal.h"

#define BIT FERRY__SMTP_BIT

/* "<address> ": whom a reply of LMTP is about. */
static struct ferry_slice whom(const struct ferry_smtp_rcpt *to,
                               char out[FERRY_SMTP_ADDRESS_MAX + 4])
{
    char *end = FERRY_PUT(out, "<");

    end = ferry__put(end, ferry_slice(to->path->text, to->path->len));
    end = FERRY_PUT(end, "> ");
    return ferry_slice(out, (size_t)(end - out));
}

size_t ferry__smtp_reply_to(const struct ferry_smtp_rcpt *to, enum ferry_smtp_reply r,
                            struct ferry_slice detail, char out[FERRY_SMTP_LINE_MAX])
{
    char name[FERRY_SMTP_ADDRESS_MAX + 4];

    return ferry_smtp_reply_put(r, whom(to, name), detail, out);
}

/* A refusal of the owner's. In LMTP, and from those we trust, it says nothing about the client. */
static void refuse(struct ferry_smtp *m, struct ferry_slice line)
{
    if (m->opts.lmtp || m->client.trusted) {
        m->counts.errors++;
        ferry__smtp_put(m, line);
    } else {
        ferry__smtp_no_line(m, line);
    }
}

static void give(struct ferry_smtp *m, bool yes, struct ferry_slice line)
{
    if (yes)
        ferry__smtp_put(m, line);
    else
        refuse(m, line);
}

static void mail_answered(struct ferry_smtp *m, bool yes, struct ferry_slice line)
{
    if (yes) {
        m->tx->env.begun = true;
        m->counts.mails++;
    }
    give(m, yes, line);
}

static void rcpt_answered(struct ferry_smtp *m, bool yes, struct ferry_slice line)
{
    if (yes) {
        ferry__smtp_rcpt_accept(m);
    } else {
        free(m->tx->asked);
        m->tx->asked = NULL;
        m->tx->env.refused++;
    }
    give(m, yes, line);
}

static void data_answered(struct ferry_smtp *m, bool yes, struct ferry_slice line,
                          enum ferry_smtp_reply r)
{
    bool chunked = m->tx->env.chunked;

    if (!yes)
        ferry__smtp_tx_end(m, true, r);
    if (chunked && yes) {
        ferry__smtp_chunk_go(m);
    } else if (chunked) {
        ferry__smtp_chunk_refused(m, line);
    } else if (yes) {
        ferry__smtp_put(m, line);
        ferry__smtp_text_begin(m);
        ferry__smtp_text_wait(m, FERRY__SMTP_DATA);
    } else {
        refuse(m, line);
    }
}

static void message_answered(struct ferry_smtp *m, bool yes, struct ferry_slice line)
{
    struct ferry__smtp_tx *tx = m->tx;

    tx->next = tx->next->next;
    if (m->opts.lmtp && tx->next)
        m->asked = BIT(MESSAGE);
    else
        ferry__smtp_tx_end(m, false, FERRY_SMTP_NONE);
    if (yes) /* who brings mail is forgiven */
        m->errors = m->junk = 0;
    give(m, yes, line);
}

static void auth_answered(struct ferry_smtp *m, bool yes, bool wrong, struct ferry_slice line)
{
    ferry__smtp_auth_over(m);
    m->authenticated = yes;
    if (!wrong) {
        give(m, yes, line);
        return;
    }
    /* Each guess costs more time than the one before. */
    m->auth_fails++;
    if (ferry__smtp_error(m))
        ferry__smtp_hold(m, line, m->now_ms + (uint64_t)m->opts.error_delay_ms * m->auth_fails);
}

static void answered(struct ferry_smtp *m, uint16_t asked, int code, struct ferry_slice line,
                     enum ferry_smtp_reply r)
{
    bool yes = code < 400;

    switch (asked) {
    case BIT(MAIL):
        mail_answered(m, yes, line);
        break;
    case BIT(RCPT):
        rcpt_answered(m, yes, line);
        break;
    case BIT(DATA):
        data_answered(m, yes, line, r);
        break;
    case BIT(MESSAGE):
        message_answered(m, yes, line);
        break;
    default:
        auth_answered(m, yes, code >= 500, line);
    }
}

/* The answer is a line; `r` is NONE for one that is not of the table. */
static void take(struct ferry_smtp *m, int code, struct ferry_slice line, enum ferry_smtp_reply r)
{
    uint16_t asked = m->asked;

    m->asked = 0;
    m->pending &= (uint16_t)~asked;
    if (m->phase == FERRY__SMTP_COMMAND)
        ferry__smtp_wait(m, FERRY__SMTP_COMMAND);
    if (m->early && !ferry__smtp_lenient(m)) {
        ferry__smtp_end(m, FERRY_SMTP_NOT_IN_STEP, FERRY_SLICE(""));
    } else if (code == 421) {
        if (asked == BIT(MESSAGE))
            ferry__smtp_tx_end(m, false, r);
        ferry__smtp_put(m, line);
        ferry__smtp_gone(m, r, true);
    } else {
        answered(m, asked, code, line, r);
    }
    if (m->eof && !m->asked)
        ferry__smtp_gone(m, FERRY_SMTP_NONE, false);
    ferry__smtp_settle(m);
}

static bool may_answer(const struct ferry_smtp *m, int code)
{
    const uint16_t ours = BIT(MAIL) | BIT(RCPT) | BIT(DATA) | BIT(MESSAGE) | BIT(AUTH);
    bool go = code == 354;

    if (!(m->asked & ours) || code < 200 || code > 599)
        return false;
    return code >= 400 || (m->asked == BIT(DATA) ? go : code < 300);
}

/* In LMTP the reply to a message names its recipient. */
static const struct ferry_smtp_rcpt *about(const struct ferry_smtp *m)
{
    return m->opts.lmtp && m->asked == BIT(MESSAGE) ? m->tx->next : NULL;
}

int ferry_smtp_answer(struct ferry_smtp *m, enum ferry_smtp_reply r, struct ferry_slice detail,
                      uint64_t now_ms)
{
    char line[FERRY_SMTP_LINE_MAX];
    int code = ferry_smtp_reply_code(r);
    size_t len;

    if (!may_answer(m, code))
        return FERRY_EUSAGE;
    ferry__smtp_set_now(m, now_ms);
    len = about(m) ? ferry__smtp_reply_to(about(m), r, detail, line)
                   : ferry_smtp_reply_put(r, FERRY_SLICE(""), detail, line);
    take(m, code, ferry_slice(line, len), r);
    return 0;
}

int ferry_smtp_answer_custom(struct ferry_smtp *m, int code, struct ferry_slice enhanced,
                             struct ferry_slice text, uint64_t now_ms)
{
    char line[FERRY_SMTP_LINE_MAX], name[FERRY_SMTP_ADDRESS_MAX + 4];
    bool utf8 = m->tx && m->tx->params.smtputf8;
    size_t len;

    if (code / 100 == 3 || code == 421 || !may_answer(m, code))
        return FERRY_EUSAGE;
    ferry__smtp_set_now(m, now_ms);
    len = ferry_smtp_reply_custom(code, enhanced, about(m) ? whom(about(m), name) : FERRY_SLICE(""),
                                  text, utf8, line);
    take(m, code, ferry_slice(line, len), FERRY_SMTP_NONE);
    return 0;
}
