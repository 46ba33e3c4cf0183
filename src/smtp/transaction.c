/* SPDX-License-Identifier: MIT */
/*
 * MAIL, RCPT and DATA: the envelope. What is wrong with a command is found here; what is right is
 * the owner's to accept (answer.c). A transaction is one allocation, and one for each recipient.
 */
#include "smtp/smtp_internal.h"

void ferry__smtp_tx_free(struct ferry__smtp_tx *tx)
{
    if (!tx)
        return;
    for (struct ferry_smtp_rcpt *r = tx->env.rcpts, *next; r; r = next) {
        next = r->next;
        free(r);
    }
    free(tx->asked);
    free(tx);
}

/* "FROM:" and "TO:", in any case; the path may follow behind blanks. */
static bool cut_word(struct ferry_slice *args, struct ferry_slice word)
{
    if (!ferry_slice_eq_nocase(ferry_slice_first(*args, word.len), word))
        return false;
    *args = ferry_slice_from(*args, word.len);
    return true;
}

/* -- MAIL */

static unsigned allowed(const struct ferry_smtp *m)
{
    const struct ferry_smtp_opts *o = &m->opts;
    unsigned may = FERRY_SMTP_PARAM_SIZE | FERRY_SMTP_PARAM_BODY | FERRY_SMTP_PARAM_SMTPUTF8;

    if (!m->extended)
        return 0;
    return may | (o->no_binarymime ? 0 : FERRY_SMTP_PARAM_BINARYMIME) |
           (o->auth ? FERRY_SMTP_PARAM_AUTH : 0) | (o->no_dsn ? 0 : FERRY_SMTP_PARAM_DSN);
}

/* Why no transaction can begin now. */
static enum ferry_smtp_reply no_mail(const struct ferry_smtp *m)
{
    if (!m->helo[0])
        return FERRY_SMTP_HELO_FIRST;
    if (ferry__smtp_in_tx(m))
        return FERRY_SMTP_NESTED_MAIL;
    if (m->opts.auth_required && !m->authenticated)
        return FERRY_SMTP_AUTH_REQUIRED;
    return FERRY_SMTP_NONE;
}

static enum ferry_smtp_reply read_mail(struct ferry_smtp *m, struct ferry_slice args,
                                       struct ferry__smtp_tx *tx, struct ferry_slice *detail)
{
    unsigned flags = FERRY_SMTP_PATH_NULL | (m->opts.strict ? FERRY_SMTP_PATH_STRICT : 0);
    ssize_t len = ferry_smtp_path_parse(args, flags, &tx->path);
    enum ferry_smtp_reply wrong;

    if (len < 0)
        return FERRY_SMTP_BAD_SENDER;
    wrong = ferry_smtp_mail_params(ferry_slice_from(args, (size_t)len), allowed(m), &tx->params,
                                   detail);
    if (wrong)
        return wrong;
    if (tx->path.utf8 && !tx->params.smtputf8)
        return FERRY_SMTP_NEED_SMTPUTF8;
    return tx->params.size > m->opts.size_max ? FERRY_SMTP_TOO_BIG : FERRY_SMTP_NONE;
}

void ferry__smtp_mail(struct ferry_smtp *m, struct ferry_slice args)
{
    struct ferry_slice detail = m->opts.lmtp ? FERRY_SLICE("LHLO") : FERRY_SLICE("HELO/EHLO");
    enum ferry_smtp_reply wrong = no_mail(m);
    struct ferry__smtp_tx *tx;
    char number[20];

    if (wrong) {
        ferry__smtp_no(m, wrong, detail);
        return;
    }
    if (m->counts.mails >= m->opts.mails_max) {
        ferry__smtp_end(m, FERRY_SMTP_TOO_MANY_MAILS, FERRY_SLICE(""));
        return;
    }
    if (!cut_word(&args, FERRY_SLICE("FROM:"))) {
        ferry__smtp_no(m, FERRY_SMTP_ARGS_SYNTAX, FERRY_SLICE("MAIL FROM:<address>"));
        return;
    }
    tx = calloc(1, sizeof *tx);
    if (!tx) {
        ferry__smtp_end(m, FERRY_SMTP_INTERNAL, FERRY_SLICE(""));
        return;
    }
    detail = FERRY_SLICE("");
    wrong = read_mail(m, args, tx, &detail);
    if (wrong) {
        if (wrong == FERRY_SMTP_TOO_BIG)
            detail = ferry__smtp_number(m->opts.size_max, number);
        free(tx);
        ferry__smtp_no(m, wrong, detail);
        return;
    }
    tx->tail = &tx->env.rcpts;
    tx->env.from = &tx->path;
    tx->env.params = &tx->params;
    tx->env.number = m->counts.mails + 1;
    m->tx = tx;
    m->chunk_failed = false;
    m->chunk_rcpts = 0;
    ferry__smtp_ask(m, FERRY_SMTP_EV_MAIL);
}

/* -- RCPT */

static enum ferry_smtp_reply read_rcpt(const struct ferry_smtp *m, struct ferry_slice args,
                                       struct ferry_smtp_path *path, struct ferry_slice *detail)
{
    unsigned flags = FERRY_SMTP_PATH_POSTMASTER | (m->opts.strict ? FERRY_SMTP_PATH_STRICT : 0);
    bool utf8 = m->tx->params.smtputf8;
    ssize_t len = ferry_smtp_path_parse(args, flags, path);
    enum ferry_smtp_reply wrong;

    if (len < 0)
        return FERRY_SMTP_BAD_RCPT;
    wrong = ferry_smtp_rcpt_params(ferry_slice_from(args, (size_t)len), allowed(m), utf8,
                                   &m->tx->rcpt_params, detail);
    if (wrong)
        return wrong;
    return path->utf8 && !utf8 ? FERRY_SMTP_NEED_SMTPUTF8 : FERRY_SMTP_NONE;
}

/* Recipients that are good in themselves, but too many. These replies tell an honest client to come
 * again with the others (RFC 5321, 4.5.3.1.10), so they are no errors of its own. True: said. */
static bool too_many(struct ferry_smtp *m)
{
    struct ferry__smtp_tx *tx = m->tx;
    enum ferry_smtp_reply r = FERRY_SMTP_NONE;

    if (m->opts.one_bounce && tx->path.null && tx->env.nrcpts) {
        ferry__smtp_no(m, FERRY_SMTP_BOUNCE_TO_MANY, FERRY_SLICE(""));
        return true;
    }
    if (m->opts.one_rcpt && !m->opts.lmtp && tx->env.nrcpts)
        r = FERRY_SMTP_ONE_RCPT;
    else if (tx->env.nrcpts >= m->opts.rcpts_max)
        r = FERRY_SMTP_TOO_MANY_RCPT;
    if (!r)
        return false;
    if (++tx->over > FERRY__SMTP_OVERSHOOT_MAX)
        ferry__smtp_end(m, FERRY_SMTP_TOO_MANY_ERRORS, FERRY_SLICE(""));
    else
        ferry__smtp_say(m, r, FERRY_SLICE(""));
    return true;
}

void ferry__smtp_rcpt(struct ferry_smtp *m, struct ferry_slice args)
{
    struct ferry_slice detail = FERRY_SLICE("RCPT TO:<address>");
    struct ferry__smtp_tx *tx = m->tx;
    enum ferry_smtp_reply wrong = FERRY_SMTP_NONE;
    struct ferry_smtp_path path;
    size_t orcpt;

    if (!ferry__smtp_in_tx(m))
        wrong = FERRY_SMTP_NEED_MAIL;
    else if (tx->env.chunked)
        wrong = FERRY_SMTP_NOT_BETWEEN_CHUNKS;
    else if (!cut_word(&args, FERRY_SLICE("TO:")))
        wrong = FERRY_SMTP_ARGS_SYNTAX;
    else
        wrong = read_rcpt(m, args, &path, &detail);
    if (wrong) {
        ferry__smtp_no(m, wrong, detail);
        return;
    }
    if (too_many(m))
        return;
    orcpt = strlen(tx->rcpt_params.orcpt) + 1;
    tx->asked = calloc(1, sizeof *tx->asked + orcpt);
    if (!tx->asked) {
        ferry__smtp_end(m, FERRY_SMTP_INTERNAL, FERRY_SLICE(""));
        return;
    }
    tx->asked->path = path;
    memcpy(tx->asked->orcpt, tx->rcpt_params.orcpt, orcpt);
    tx->asked->rcpt = (struct ferry_smtp_rcpt){
        .path = &tx->asked->path, .notify = tx->rcpt_params.notify, .orcpt = tx->asked->orcpt};
    ferry__smtp_ask(m, FERRY_SMTP_EV_RCPT);
}

static bool is_known(const struct ferry__smtp_tx *tx, const struct ferry_smtp_path *path)
{
    for (const struct ferry_smtp_rcpt *r = tx->env.rcpts; r; r = r->next)
        if (r->path->len == path->len && memcmp(r->path->text, path->text, path->len) == 0)
            return true;
    return false;
}

void ferry__smtp_rcpt_accept(struct ferry_smtp *m)
{
    struct ferry__smtp_tx *tx = m->tx;
    struct ferry__smtp_rcpt *r = tx->asked;

    tx->asked = NULL;
    if (!m->opts.lmtp && is_known(tx, &r->path)) {
        free(r);
        return;
    }
    *tx->tail = &r->rcpt;
    tx->tail = &r->rcpt.next;
    tx->env.nrcpts++;
}

/* -- DATA */

enum ferry_smtp_reply ferry__smtp_no_message(const struct ferry_smtp *m)
{
    if (!ferry__smtp_in_tx(m))
        return FERRY_SMTP_NEED_MAIL;
    if (m->tx->env.nrcpts)
        return FERRY_SMTP_NONE;
    return m->tx->env.refused && !m->opts.lmtp ? FERRY_SMTP_NO_VALID_RCPT : FERRY_SMTP_NEED_RCPT;
}

void ferry__smtp_data(struct ferry_smtp *m, struct ferry_slice args)
{
    enum ferry_smtp_reply wrong = ferry__smtp_no_message(m);

    (void)args;
    if (!wrong && m->tx->env.chunked)
        wrong = FERRY_SMTP_NOT_BETWEEN_CHUNKS;
    if (!wrong && m->tx->params.body == FERRY_SMTP_BINARYMIME)
        wrong = FERRY_SMTP_USE_BDAT;
    if (wrong)
        ferry__smtp_no(m, wrong, FERRY_SLICE(""));
    else
        ferry__smtp_ask(m, FERRY_SMTP_EV_DATA);
}
