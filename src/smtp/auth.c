/* SPDX-License-Identifier: MIT */
/*
 * Who the client is: AUTH (RFC 4954), STARTTLS (RFC 3207), and what those in front of us say with
 * XCLIENT and XFORWARD.
 */
#include "base/text.h"
#include "smtp/smtp_internal.h"

/* -- AUTH */

void ferry__smtp_auth_over(struct ferry_smtp *m)
{
    if (!m->sasl)
        return;
    ferry__smtp_line_done(m);
    ferry_smtp_sasl_clear(m->sasl);
    free(m->sasl);
    m->sasl = NULL;
}

/* What a step came to. */
static void stepped(struct ferry_smtp *m, int step, const char *challenge,
                    enum ferry_smtp_reply why)
{
    char line[FERRY_SMTP_LINE_MAX], *to;
    struct ferry_slice text;

    if (step < 0) {
        ferry__smtp_auth_over(m);
        ferry__smtp_wait(m, FERRY__SMTP_COMMAND);
        ferry__smtp_no(m, why, FERRY_SLICE(""));
        return;
    }
    if (step > 0) {
        ferry__smtp_wait(m, FERRY__SMTP_COMMAND);
        ferry__smtp_ask(m, FERRY_SMTP_EV_AUTH);
        return;
    }
    text = ferry_slice_first(ferry_slice_z(challenge), sizeof line - 6);
    to = FERRY_PUT(line, "334 ");
    to = ferry__put(to, text);
    to = FERRY_PUT(to, "\r\n");
    ferry__smtp_wait(m, FERRY__SMTP_SASL);
    ferry__smtp_put(m, ferry_slice(line, (size_t)(to - line)));
}

static enum ferry_smtp_reply no_auth(const struct ferry_smtp *m)
{
    if (!m->opts.auth)
        return FERRY_SMTP_AUTH_NOT_OFFERED;
    if (!m->extended)
        return FERRY_SMTP_HELO_FIRST;
    if (!m->tls && !m->opts.auth_insecure)
        return FERRY_SMTP_AUTH_NEEDS_TLS;
    if (m->authenticated)
        return FERRY_SMTP_AUTH_AGAIN;
    return ferry__smtp_in_tx(m) ? FERRY_SMTP_AUTH_NOT_NOW : FERRY_SMTP_NONE;
}

void ferry__smtp_auth(struct ferry_smtp *m, struct ferry_slice args)
{
    enum ferry_smtp_reply why = no_auth(m);
    const char *challenge = "";
    int step;

    if (why) {
        ferry__smtp_no(m, why, m->opts.lmtp ? FERRY_SLICE("LHLO") : FERRY_SLICE("EHLO"));
        return;
    }
    /* Nobody guesses for ever. */
    if (m->auth_fails >= m->opts.auth_fails_max) {
        ferry__smtp_end(m, FERRY_SMTP_TOO_MANY_ERRORS, FERRY_SLICE(""));
        return;
    }
    m->sasl = calloc(1, sizeof *m->sasl);
    if (!m->sasl) {
        ferry__smtp_end(m, FERRY_SMTP_INTERNAL, FERRY_SLICE(""));
        return;
    }
    step = ferry_smtp_sasl_begin(m->sasl, args, &challenge, &why);
    stepped(m, step, challenge, why);
}

size_t ferry__smtp_recv_sasl(struct ferry_smtp *m, const char *p, size_t n)
{
    enum ferry_smtp_reply why = FERRY_SMTP_BAD_SYNTAX;
    const char *challenge = "";
    enum ferry__smtp_line what;
    struct ferry_slice line;
    int step = FERRY_EUSAGE;
    size_t took = ferry__smtp_line_take(m, p, n, FERRY_SMTP_SASL_LINE_MAX + 2, &what, &line);

    switch (what) {
    case FERRY__SMTP_LINE_MORE:
        return took;
    case FERRY__SMTP_LINE_NOMEM:
        ferry__smtp_end(m, FERRY_SMTP_INTERNAL, FERRY_SLICE(""));
        return took;
    case FERRY__SMTP_LINE_ENDLESS:
        ferry__smtp_end(m, FERRY_SMTP_SASL_TOO_LONG, FERRY_SLICE(""));
        return took;
    case FERRY__SMTP_LINE_LONG:
        why = FERRY_SMTP_SASL_TOO_LONG;
        break;
    default:
        if (took < n && !ferry__smtp_lenient(m)) {
            ferry__smtp_end(m, FERRY_SMTP_NOT_IN_STEP, FERRY_SLICE(""));
            ferry__smtp_line_done(m);
            return took;
        }
        if (ferry__smtp_line_chop(&line, m->client.trusted))
            step = ferry_smtp_sasl_next(m->sasl, line, &challenge, &why);
    }
    ferry__smtp_line_done(m);
    stepped(m, step, challenge, why);
    return took;
}

/* -- STARTTLS */

void ferry__smtp_starttls(struct ferry_smtp *m, struct ferry_slice args)
{
    enum ferry_smtp_reply wrong = m->tls              ? FERRY_SMTP_TLS_ACTIVE
                                  : !m->opts.starttls ? FERRY_SMTP_TLS_NOT_OFFERED
                                                      : FERRY_SMTP_NONE;

    (void)args;
    if (wrong) {
        ferry__smtp_no(m, wrong, FERRY_SLICE(""));
        return;
    }
    ferry__smtp_reset(m);
    ferry__smtp_say(m, FERRY_SMTP_TLS_READY, FERRY_SLICE(""));
    ferry__smtp_tell(m, FERRY_SMTP_EV_STARTTLS);
    ferry__smtp_wait(m, FERRY__SMTP_TLS);
}

/* -- XCLIENT and XFORWARD */

/* True: m->attrs are good. */
static bool read_attrs(struct ferry_smtp *m, struct ferry_slice args, bool xforward)
{
    bool may = xforward ? m->client.xforward : m->client.xclient;
    enum ferry_smtp_reply wrong = FERRY_SMTP_NONE;
    struct ferry_slice detail = FERRY_SLICE("");

    if (!may)
        wrong = FERRY_SMTP_XCLIENT_DENIED;
    else if (ferry__smtp_in_tx(m))
        wrong = FERRY_SMTP_XCLIENT_NOT_NOW;
    if (wrong) {
        ferry__smtp_no(m, wrong, detail);
        return false;
    }
    m->attrs = calloc(1, sizeof *m->attrs);
    if (!m->attrs) {
        ferry__smtp_end(m, FERRY_SMTP_INTERNAL, detail);
        return false;
    }
    wrong = ferry_smtp_attrs_parse(args, xforward, m->attrs, &detail);
    if (wrong) {
        ferry__smtp_no(m, wrong, detail);
        free(m->attrs);
        m->attrs = NULL;
    }
    return !wrong;
}

void ferry__smtp_xclient(struct ferry_smtp *m, struct ferry_slice args)
{
    const unsigned login = 1u << FERRY_SMTP_ATTR_LOGIN;

    if (!read_attrs(m, args, false))
        return;
    if (m->attrs->set & login)
        m->login = !(m->attrs->unknown & login);
    ferry__smtp_reset(m); /* what XFORWARD said */
    ferry__smtp_ask(m, FERRY_SMTP_EV_XCLIENT);
}

void ferry__smtp_xforward(struct ferry_smtp *m, struct ferry_slice args)
{
    if (!read_attrs(m, args, true))
        return;
    m->forwarded = true;
    ferry__smtp_tell(m, FERRY_SMTP_EV_XFORWARD);
    ferry__smtp_say(m, FERRY_SMTP_OK, FERRY_SLICE(""));
}
