/* SPDX-License-Identifier: MIT */
/*
 * A whole message, from its last byte to its answer. 250 is said when the script has said SAVED, to
 * the end of its answer, and the file, where there is a Maildir, lies in new/ and is synced; every
 * doubt is 4xx, and its sender has the message still.
 *
 * With both a script and a Maildir the script comes first: it may refuse the message, and it knows
 * by the key that a message comes again when the file could not be written. The other way round
 * each refusal, and each attempt while the script is down, would leave another file.
 *
 * While a message is being saved nothing is read from its client: so its machine stands still, and
 * with it the envelope that script and Maildir are given. A client that leaves meanwhile changes
 * nothing about what is being done; the session stays until that is over.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "mail/internal.h"

#define PEER_MS 300

static void store(struct ferry__mail_session *);
static void finish(struct ferry__mail_session *);

static bool says_yes(const struct ferry_mail_verdict *v)
{
    return v->outcome == FERRY_MAIL_OK || v->outcome == FERRY_MAIL_DISCARD;
}

/* Refused before anybody was asked. */
static void refuse(struct ferry__mail_session *s, enum ferry_smtp_reply reply, const char *why)
{
    unsigned n = s->service->smtp.lmtp ? s->tx->nrcpts : 1;

    s->waits = FERRY__MAIL_WAITS_NOT;
    while (n--)
        ferry__mail_answer(s, reply, FERRY_SLICE(""));
    ferry__mail_line_refused(s, reply, why);
    ferry__mail_tx_over(s);
}

static void verdict_for_all(struct ferry__mail_tx *tx, enum ferry_mail_outcome outcome)
{
    for (unsigned i = 0; i < tx->nrcpts; i++)
        tx->verdicts[i] = (struct ferry_mail_verdict){.outcome = outcome};
}

/* -- is its client still there? ---------------------------------------------------------------- */

static bool has_quit(struct ferry_slice in)
{
    for (size_t at = 0; at < in.len;) {
        struct ferry_slice line = ferry_slice_from(in, at);
        size_t n = ferry_slice_find(line, '\n');

        if (n == line.len)
            return false;
        if (ferry_slice_eq_nocase(
                ferry_slice_trim(ferry_slice_first(line, n && line.p[n - 1] == '\r' ? n - 1 : n)),
                FERRY_SLICE("QUIT")))
            return true;
        at += n + 1;
    }
    return false;
}

enum peer { PEER_HERE, PEER_GONE, PEER_UNKNOWN };

/* The kernel may know of an end that has not come to us yet. One with a QUIT before it is a client
 * that has said all it had to say, and may be waiting for what we say. */
static enum peer look_at_peer(const struct ferry__mail_session *s)
{
    struct pollfd p = {.fd = s->pump.stream.fd, .events = POLLRDHUP};

    if (s->gone || !ferry_smtp_is_there(s->smtp))
        return PEER_GONE;
    if (poll(&p, 1, 0) <= 0 || p.revents == 0)
        return PEER_HERE;
    if (p.revents & (POLLERR | POLLHUP))
        return PEER_GONE;
    if (s->facts.tls->on || s->pump.in.len == 0)
        return PEER_UNKNOWN; /* what came before the end is on its way */
    return has_quit(s->pump.in) ? PEER_HERE : PEER_GONE;
}

static void call_next(struct ferry__mail_session *s)
{
    struct ferry__mail_tx *tx = s->tx;
    const struct ferry_mail_verdict broken = {.outcome = FERRY_MAIL_INTERNAL};

    s->waits = FERRY__MAIL_WAITS_SAVE;
    if (ferry_mail_ask_save(&s->ask, s->thread->loop, &s->facts, &tx->message, tx->one) < 0)
        ferry__mail_saved(s, &broken, 1);
}

static void begin(struct ferry__mail_session *s)
{
    const struct ferry_mail_service *service = &s->service->given;
    struct ferry__mail_tx *tx = s->tx;

    ferry_timer_stop(&s->timer);
    ferry_pump_hold(&s->pump, true);
    tx->asked_us = ferry_now_us();
    if (service->save.path) {
        if (service->smtp.lmtp && service->per_recipient)
            tx->one = ferry_smtp_envelope(s->smtp)->rcpts;
        call_next(s);
    } else {
        verdict_for_all(tx, FERRY_MAIL_OK);
        store(s);
    }
}

static void give_up(struct ferry__mail_session *s)
{
    s->waits = FERRY__MAIL_WAITS_NOT;
    ferry__mail_line_refused(s, FERRY_SMTP_NONE, "the client left before it was saved");
    ferry__mail_tx_over(s);
    ferry__mail_session_close(s);
}

static void peer_is_silent(struct ferry_timer *timer)
{
    struct ferry__mail_session *s = ferry_container(timer, struct ferry__mail_session, timer);

    /* Something was said before the end that the machine does not take now: by TLS we cannot see
     * what, and take it for a QUIT. */
    if (look_at_peer(s) == PEER_GONE)
        give_up(s);
    else
        begin(s);
}

void ferry__mail_peer_news(struct ferry__mail_session *s)
{
    switch (look_at_peer(s)) {
    case PEER_GONE:
        give_up(s);
        break;
    case PEER_HERE:
        begin(s);
        break;
    case PEER_UNKNOWN:
        if (s->waits == FERRY__MAIL_WAITS_PEER)
            break;
        s->waits = FERRY__MAIL_WAITS_PEER;
        s->timer.fire = peer_is_silent;
        ferry_timer_set(s->thread->loop, &s->timer, ferry_loop_now(s->thread->loop) + PEER_MS);
        break;
    }
}

/* -- the message ------------------------------------------------------------------------------- */

void ferry__mail_call_next(struct ferry_task *task)
{
    call_next(ferry_container(task, struct ferry__mail_tx, next)->session);
}

/* A message that was saved, and whose sender may not know: it is told the same again. */
static bool saved_before(struct ferry__mail_session *s)
{
    struct ferry__mail_tx *tx = s->tx;
    struct ferry_mail_verdict v = {.outcome = FERRY_MAIL_OK};

    if (!s->service->saved ||
        !ferry__mail_saved_find(s->service->saved, &s->service->given, tx->message.key,
                                ferry_loop_now(s->thread->loop), v.id, sizeof v.id))
        return false;
    for (unsigned i = 0; i < tx->nrcpts; i++)
        tx->verdicts[i] = v;
    return true;
}

void ferry__mail_message(struct ferry__mail_session *s)
{
    const struct ferry_smtp_envelope *env = ferry_smtp_envelope(s->smtp);
    struct ferry__mail_tx *tx = s->tx;

    tx->nrcpts = env->nrcpts;
    if (tx->broken) {
        refuse(s, tx->broken, "it could not be kept");
        return;
    }
    tx->verdicts = calloc(env->nrcpts ? env->nrcpts : 1, sizeof *tx->verdicts);
    if (!tx->verdicts || ferry_mail_message_end(&tx->message) < 0) {
        refuse(s, FERRY_SMTP_NOT_SAVED, "no memory");
        return;
    }
    ferry__mail_line_message(s);
    if (saved_before(s)) {
        tx->known = true;
        finish(s);
        return;
    }
    ferry__mail_peer_news(s);
}

void ferry__mail_saved(struct ferry__mail_session *s, const struct ferry_mail_verdict *verdicts,
                       unsigned n)
{
    struct ferry__mail_tx *tx = s->tx;

    for (unsigned i = 0; i < n; i++)
        if (ferry_mail_is_fault(verdicts[i].outcome)) {
            ferry__mail_count(s->thread->mail, FERRY_MAIL_COUNT_SCRIPT_FAULTS, 1);
            break;
        }
    if (tx->one) {
        tx->verdicts[tx->at++] = verdicts[0];
        tx->one = tx->one->next;
        if (tx->one) {
            ferry_task_defer(s->thread->loop, &tx->next);
            return;
        }
    } else {
        for (unsigned i = 0; i < tx->nrcpts; i++)
            tx->verdicts[i] = verdicts[n == tx->nrcpts ? i : 0];
    }
    store(s);
}

/* -- the Maildir ------------------------------------------------------------------------------- */

static void storing_failed(struct ferry__mail_session *s, int err)
{
    struct ferry__log_line line;

    ferry__mail_line_begin(s, &line, "error");
    ferry__log_z(&line, "id", s->facts.id);
    ferry__log_z(&line, "what", "a message cannot be written to the Maildir");
    ferry__log_z(&line, "why", ferry_strerror(err));
    ferry__mail_log(s->thread->mail, FERRY_MAIL_LOG_ERROR, ferry__log_end(&line));
}

static void store_one(struct ferry__mail_session *s);

static void stored(struct ferry_maildir_job *job, int err)
{
    struct ferry__mail_tx *tx = ferry_container(job, struct ferry__mail_tx, job);
    struct ferry__mail_session *s = tx->session;

    for (unsigned i = 0; err < 0 && i < tx->nrcpts; i++)
        if (tx->verdicts[i].outcome == FERRY_MAIL_OK && (!tx->one || i == tx->at))
            tx->verdicts[i] = (struct ferry_mail_verdict){.outcome = FERRY_MAIL_STORAGE};
    if (err < 0)
        storing_failed(s, err);
    if (tx->one) {
        tx->one = tx->one->next;
        tx->at++;
        store_one(s);
    } else {
        finish(s);
    }
}

static void store_for(struct ferry__mail_session *s, const struct ferry_smtp_rcpt *one)
{
    struct ferry__mail_tx *tx = s->tx;

    s->waits = FERRY__MAIL_WAITS_MAILDIR;
    tx->job.done = stored;
    ferry_maildir_store(s->thread->mail->maildir, &tx->job, s->thread->loop, &s->facts,
                        &tx->message, one);
}

/* Of several recipients only some: the next of those. */
static void store_one(struct ferry__mail_session *s)
{
    struct ferry__mail_tx *tx = s->tx;

    while (tx->one && tx->verdicts[tx->at].outcome != FERRY_MAIL_OK) {
        tx->one = tx->one->next;
        tx->at++;
    }
    if (tx->one)
        store_for(s, tx->one);
    else
        finish(s);
}

static void store(struct ferry__mail_session *s)
{
    const struct ferry_mail_service *service = &s->service->given;
    struct ferry__mail_tx *tx = s->tx;
    unsigned yes = 0;

    for (unsigned i = 0; i < tx->nrcpts; i++)
        yes += tx->verdicts[i].outcome == FERRY_MAIL_OK;
    tx->at = 0;
    if (!service->maildir || yes == 0) {
        finish(s);
    } else if (yes == tx->nrcpts || !service->maildir_per_user) {
        store_for(s, NULL);
    } else {
        tx->one = ferry_smtp_envelope(s->smtp)->rcpts;
        store_one(s);
    }
}

/* -- the answer -------------------------------------------------------------------------------- */

static int answer(struct ferry__mail_session *s, const struct ferry_mail_verdict *v)
{
    return ferry__mail_answer_verdict(s, FERRY_MAIL_SAVE, v,
                                      ferry_slice_z(v->id[0] ? v->id : s->facts.id));
}

/* What is told of a message with several answers: the best of them, for it is saved when it is
 * saved for one. */
static const struct ferry_mail_verdict *best(const struct ferry__mail_tx *tx)
{
    const struct ferry_mail_verdict *v = &tx->verdicts[0];

    for (unsigned i = 0; i < tx->nrcpts; i++) {
        if (says_yes(&tx->verdicts[i]))
            return &tx->verdicts[i];
        if (tx->verdicts[i].outcome != FERRY_MAIL_REJECT)
            v = &tx->verdicts[i];
    }
    return v;
}

static bool peer_has_left(const struct ferry__mail_session *s)
{
    struct pollfd p = {.fd = s->pump.stream.fd, .events = POLLRDHUP};

    return s->gone || (poll(&p, 1, 0) > 0 && p.revents != 0);
}

static void finish(struct ferry__mail_session *s)
{
    struct ferry__mail_tx *tx = s->tx;
    bool each = s->service->smtp.lmtp;
    const struct ferry_mail_verdict *v =
        each ? best(tx) : ferry_mail_verdict_one(tx->verdicts, tx->nrcpts);
    bool left = peer_has_left(s);
    int code = 0;

    s->waits = FERRY__MAIL_WAITS_NOT;
    for (unsigned i = 0; each && i < tx->nrcpts; i++) {
        int one = answer(s, &tx->verdicts[i]);

        if (v == &tx->verdicts[i])
            code = one;
    }
    if (!each)
        code = answer(s, v);
    if (says_yes(v))
        ferry__mail_record_begin(s, code, v, left);
    else
        ferry__mail_line_no(s, code, v);
    ferry__mail_tx_over(s);
    if (!s->closing)
        ferry_pump_hold(&s->pump, false);
    ferry__mail_session_settle(s);
}

void ferry__mail_save_forget(struct ferry__mail_session *s)
{
    struct ferry__mail_tx *tx = s->tx;

    if (s->waits != FERRY__MAIL_WAITS_SAVE)
        return;
    s->waits = FERRY__MAIL_WAITS_NOT;
    (void)ferry_mail_ask_forget(&s->ask, &tx->message, NULL, NULL);
    ferry__mail_line_refused(s, FERRY_SMTP_SHUTTING_DOWN, "its script had not answered at the end");
    ferry__mail_tx_over(s);
}
