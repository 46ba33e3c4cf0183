/* SPDX-License-Identifier: MIT */
/*
 * A transaction up to the end of its message. Nobody is asked to save anything before that: the
 * message is kept, in memory and in a file, and what cannot be kept is read to its end and refused
 * there.
 */
#include <errno.h>
#include <stdlib.h>

#include "mail/internal.h"

static uint64_t now(const struct ferry__mail_session *s)
{
    return ferry_loop_now(s->thread->loop);
}

/* May the client do that once more? */
static bool take(struct ferry__mail_session *s, enum ferry__rate rate)
{
    uint8_t addr[16];

    return s->unlimited || !s->addr.len || !ferry__network_addr(&s->addr.any, addr) ||
           ferry__limits_take(s->service->limits, addr, rate, now(s));
}

void ferry__mail_tx_over(struct ferry__mail_session *s)
{
    struct ferry__mail_tx *tx = s->tx;

    s->tx = NULL;
    s->facts.envelope = NULL;
    ferry__facts_restore(&s->facts, &s->own);
    if (!tx)
        return;
    ferry_task_cancel(&tx->next);
    if (tx->has_message)
        ferry_mail_message_fini(&tx->message);
    tx->has_message = false;
    ferry__limits_unspool(s->service->limits, tx->spooled);
    tx->spooled = 0;
    free(tx->verdicts);
    tx->verdicts = NULL;
    if (tx != s->record)
        free(tx);
}

/* -- sender, recipients ------------------------------------------------------------------------ */

static void tell_no_mail(struct ferry__mail_session *s, const struct ferry_smtp_envelope *env,
                         enum ferry_smtp_reply reply)
{
    struct ferry__log_line line;
    char word[32];

    ferry__mail_line_begin(s, &line, "mail");
    ferry__log_z(&line, "from", env->from && env->from->len ? env->from->text : "<>");
    ferry__log_z(&line, "result", ferry_mail_count_name(FERRY_MAIL_COUNT_DEFERRED));
    ferry__log_number(&line, "reply", (unsigned)ferry_smtp_reply_code(reply));
    ferry__log_z(&line, "reason", ferry__mail_reply_word(reply, word));
    ferry__mail_log(s->thread->mail, FERRY_MAIL_LOG_LINE, ferry__log_end(&line));
}

void ferry__mail_mail(struct ferry__mail_session *s)
{
    const struct ferry_smtp_envelope *env = ferry_smtp_envelope(s->smtp);
    const struct ferry_smtp_mail_params *params = env->params;
    uint64_t size = params && params->has_size ? params->size : 1;
    enum ferry_smtp_reply reply = FERRY_SMTP_MAIL_OK;

    if (!take(s, FERRY__RATE_MAILS))
        reply = FERRY_SMTP_TOO_MUCH_MAIL;
    else if (!ferry__limits_has_room(s->service->limits, size))
        reply = FERRY_SMTP_NO_SPACE;
    else if (!(s->tx = calloc(1, sizeof *s->tx)))
        reply = FERRY_SMTP_NO_SPACE;
    if (reply != FERRY_SMTP_MAIL_OK) {
        tell_no_mail(s, env, reply);
    } else {
        s->tx->session = s;
        ferry_task_init(&s->tx->next, ferry__mail_call_next);
        s->tx->began_us = ferry_now_us();
        ferry__facts_transaction(&s->facts, s->smtp);
    }
    ferry__mail_answer(s, reply, FERRY_SLICE(""));
    if (s->thread->draining && reply == FERRY_SMTP_MAIL_OK)
        ferry__mail_session_drain(s); /* this one was waited for; it is the last */
}

static void refused(struct ferry__mail_session *s, const struct ferry_smtp_path *path, int code)
{
    struct ferry__mail_tx *tx = s->tx;

    if (!tx || code / 100 == 2)
        return;
    memcpy(tx->refused, path->text, (size_t)path->len + 1);
    tx->refused_code = code;
}

/* "<address>", for a reply. */
static struct ferry_slice about(const struct ferry_smtp_path *path,
                                char out[FERRY_SMTP_ADDRESS_MAX + 3])
{
    out[0] = '<';
    memcpy(out + 1, path->text, path->len);
    out[path->len + 1] = '>';
    return ferry_slice(out, (size_t)path->len + 2);
}

static void answer_rcpt(struct ferry__mail_session *s, const struct ferry_smtp_path *path,
                        enum ferry_smtp_reply reply)
{
    char whom[FERRY_SMTP_ADDRESS_MAX + 3];

    if (reply == FERRY_SMTP_RCPT_OK)
        ferry__mail_count(s->thread->mail, FERRY_MAIL_COUNT_RCPTS_OK, 1);
    refused(s, path, ferry_smtp_reply_code(reply));
    ferry__mail_answer(s, reply, about(path, whom));
}

/* Why no script is asked: it is none of our recipients. NONE: it may be. */
static enum ferry_smtp_reply foreign(const struct ferry__mail_service *service,
                                     const struct ferry_smtp_path *path)
{
    char folder[FERRY_MAILDIR_FOLDER_MAX];
    int ours = service->given.accept_all
                   ? 1
                   : ferry_mail_domains_match(service->domains, ferry_smtp_path_domain(path));

    if (ours > 0 && service->given.maildir_per_user &&
        ferry_maildir_folder(&service->given, path, folder) < 0)
        return FERRY_SMTP_USER_UNKNOWN;
    return ours > 0               ? FERRY_SMTP_NONE
           : ours == 0            ? FERRY_SMTP_RELAY_DENIED
           : ours == FERRY_EUSAGE ? FERRY_SMTP_BAD_RCPT_DOMAIN
                                  : FERRY_SMTP_CHECK_FAULT;
}

static void answer_verdict(struct ferry__mail_session *s, const struct ferry_mail_verdict *v)
{
    const struct ferry_smtp_path asked = *s->held.path; /* which goes with the answer */
    char whom[FERRY_SMTP_ADDRESS_MAX + 3];
    int code = ferry__mail_answer_verdict(s, FERRY_MAIL_VALIDATE, v, about(&asked, whom));

    if (code / 100 == 2)
        ferry__mail_count(s->thread->mail, FERRY_MAIL_COUNT_RCPTS_OK, 1);
    refused(s, &asked, code);
}

void ferry__mail_rcpt(struct ferry__mail_session *s, const struct ferry_smtp_event *ev)
{
    const struct ferry_mail_service *service = &s->service->given;
    struct ferry_mail_verdict known;
    enum ferry_smtp_reply no;

    ferry__mail_count(s->thread->mail, FERRY_MAIL_COUNT_RCPTS, 1);
    if (!take(s, FERRY__RATE_RCPTS)) {
        answer_rcpt(s, ev->path, FERRY_SMTP_TOO_MUCH_MAIL);
        return;
    }
    no = foreign(s->service, ev->path);
    if (no != FERRY_SMTP_NONE) {
        answer_rcpt(s, ev->path, no);
        return;
    }
    if (!service->validate.path) {
        answer_rcpt(s, ev->path, FERRY_SMTP_RCPT_OK);
        return;
    }
    s->held.path = ev->path;
    if (s->service->verdicts &&
        ferry__mail_verdicts_find(s->service->verdicts, &s->facts, ev->path, now(s), &known)) {
        answer_verdict(s, &known);
        return;
    }
    s->waits = FERRY__MAIL_WAITS_RCPT;
    if (ferry_mail_ask_validate(&s->ask, s->thread->loop, &s->facts, ev->path, ev->rcpt_params) <
        0) {
        s->waits = FERRY__MAIL_WAITS_NOT;
        answer_rcpt(s, ev->path, FERRY_SMTP_CHECK_FAULT);
    }
}

void ferry__mail_rcpt_known(struct ferry__mail_session *s, const struct ferry_mail_verdict *v)
{
    if (ferry_mail_is_fault(v->outcome))
        ferry__mail_count(s->thread->mail, FERRY_MAIL_COUNT_SCRIPT_FAULTS, 1);
    if (s->service->verdicts)
        ferry__mail_verdicts_add(s->service->verdicts, &s->facts, s->held.path, now(s), v);
    answer_verdict(s, v);
}

/* -- the message ------------------------------------------------------------------------------- */

void ferry__mail_data(struct ferry__mail_session *s)
{
    struct ferry__mail_tx *tx = s->tx;
    const struct ferry_smtp_envelope *env = ferry_smtp_envelope(s->smtp);
    uint64_t size = env->params && env->params->has_size ? env->params->size : 1;
    enum ferry_smtp_reply reply = FERRY_SMTP_SEND_DATA;

    ferry__mail_count(s->thread->mail, FERRY_MAIL_COUNT_ACCEPTED, 1);
    tx->accepted = true;
    s->facts.envelope = env;
    ferry__mail_line_envelope(s);
    tx->has_message = true;
    if (ferry_mail_message_init(&tx->message, ferry_loop_blocks(s->thread->loop),
                                &s->service->given, env) < 0 ||
        !ferry__limits_has_room(s->service->limits, size))
        reply = FERRY_SMTP_NO_SPACE;
    ferry__mail_answer(s, reply, FERRY_SLICE("")); /* RESET follows a refusal */
}

/* It is read to its end all the same, but what there is of it is not needed any more. */
static void spoil(struct ferry__mail_session *s, enum ferry_smtp_reply why)
{
    struct ferry__mail_tx *tx = s->tx;

    tx->broken = why;
    ferry_mail_message_fini(&tx->message);
    ferry__limits_unspool(s->service->limits, tx->spooled);
    tx->spooled = 0;
}

void ferry__mail_body(struct ferry__mail_session *s, struct ferry_slice data)
{
    struct ferry__mail_tx *tx = s->tx;
    int err;

    if (!tx || !tx->has_message || tx->broken)
        return;
    if (!ferry__limits_spool(s->service->limits, data.len)) {
        spoil(s, FERRY_SMTP_NO_SPACE);
        return;
    }
    tx->spooled += data.len;
    err = ferry_mail_message_add(&tx->message, data);
    if (err == 0)
        return;
    spoil(s, err == -ENOSPC || err == -EDQUOT || err == -EFBIG || err == -ENOMEM
                 ? FERRY_SMTP_NO_SPACE
                 : FERRY_SMTP_NOT_SAVED);
    if (err != -ENOMEM) {
        struct ferry__log_line line;

        ferry__mail_line_begin(s, &line, "error");
        ferry__log_z(&line, "id", s->facts.id);
        ferry__log_z(&line, "what", "a message cannot be kept");
        ferry__log_z(&line, "why", ferry_strerror(err));
        ferry__mail_log(s->thread->mail, FERRY_MAIL_LOG_ERROR, ferry__log_end(&line));
    }
}

void ferry__mail_reset(struct ferry__mail_session *s, enum ferry_smtp_reply reply)
{
    ferry__mail_wait_no_more(s);
    if (s->tx)
        ferry__mail_line_refused(s, reply, NULL);
    ferry__mail_tx_over(s);
}
