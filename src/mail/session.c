/* SPDX-License-Identifier: MIT */
/*
 * One connection: a pump, the machine of the dialogue (with TLS around it where there is any), and
 * what is asked of others in between. At most one thing is asked at a time, and the machine takes
 * nothing more until it is answered.
 *
 * A session ends in three steps: it is closing (nothing is answered any more), its socket has
 * closed, and what was being saved for it is over.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "mail/internal.h"

#define REFUSING_MAX 64 /* of a thread: more are closed without a word */
#define IDLE_MS 300000  /* as smtp.h has it */

static struct ferry__mail_session *session_of(struct ferry_pump *pump)
{
    return ferry_container(pump, struct ferry__mail_session, pump);
}

static uint64_t now(const struct ferry__mail_session *s)
{
    return ferry_loop_now(s->thread->loop);
}

static bool is_saving(const struct ferry__mail_session *s)
{
    return s->waits == FERRY__MAIL_WAITS_SAVE || s->waits == FERRY__MAIL_WAITS_MAILDIR;
}

static void pull(struct ferry__mail_session *);

/* -- answers ----------------------------------------------------------------------------------- */

void ferry__mail_answer(struct ferry__mail_session *s, enum ferry_smtp_reply reply,
                        struct ferry_slice detail)
{
    if (s->gone)
        return;
    (void)ferry_smtp_answer(s->smtp, reply, detail, now(s));
    ferry_pump_kick(&s->pump);
}

int ferry__mail_answer_verdict(struct ferry__mail_session *s, enum ferry_mail_question question,
                               const struct ferry_mail_verdict *v, struct ferry_slice detail)
{
    const struct ferry_mail_service *service = &s->service->given;
    enum ferry_smtp_reply reply = ferry_mail_verdict_reply(service, question, v);
    struct ferry_slice enhanced, text;
    int code = ferry_mail_verdict_words(service, question, v, &enhanced, &text);

    if (s->gone)
        return code ? code : ferry_smtp_reply_code(reply);
    ferry_pump_kick(&s->pump);
    if (code && ferry_smtp_answer_custom(s->smtp, code, enhanced, text, now(s)) == 0)
        return code;
    ferry__mail_answer(s, reply, detail);
    return ferry_smtp_reply_code(reply);
}

/* -- AUTH -------------------------------------------------------------------------------------- */

static void answer_auth(struct ferry__mail_session *s, enum ferry_smtp_reply reply)
{
    if (reply != FERRY_SMTP_AUTH_OK)
        ferry__mail_auth_line(s, s->held.sasl, reply);
    s->waits = FERRY__MAIL_WAITS_NOT;
    ferry__mail_answer(s, reply, FERRY_SLICE(""));
}

/* It is counted; the machine lets each guess wait for longer than the one before. */
static void wrong(struct ferry__mail_session *s)
{
    uint8_t addr[16];

    ferry__mail_count(s->thread->mail, FERRY_MAIL_COUNT_AUTH_FAILED, 1);
    if (!s->unlimited && s->addr.len && ferry__network_addr(&s->addr.any, addr))
        (void)ferry__limits_take(s->service->limits, addr, FERRY__RATE_AUTH_FAILS, now(s));
    answer_auth(s, FERRY_SMTP_AUTH_WRONG);
}

static void on_auth(struct ferry__mail_session *s, const struct ferry_smtp_event *ev)
{
    uint8_t addr[16];

    s->held.sasl = ev->sasl;
    if (!s->unlimited && s->addr.len && ferry__network_addr(&s->addr.any, addr) &&
        !ferry__limits_may(s->service->limits, addr, FERRY__RATE_AUTH_FAILS, now(s))) {
        answer_auth(s, FERRY_SMTP_TOO_MANY_ERRORS);
        return;
    }
    s->waits = FERRY__MAIL_WAITS_AUTH;
    if (ferry_mail_ask_auth(&s->ask, s->thread->loop, &s->facts, ev->sasl) < 0)
        answer_auth(s, FERRY_SMTP_AUTH_BROKEN);
}

static void auth_known(struct ferry__mail_session *s, const struct ferry_mail_verdict *v)
{
    const struct ferry_smtp_sasl *sasl = s->held.sasl;

    switch (v->outcome) {
    case FERRY_MAIL_OK:
        memcpy(s->facts.auth_user, sasl->user, sizeof s->facts.auth_user);
        s->facts.auth_mechanism = ferry_smtp_mechanism_name(sasl->mechanism);
        answer_auth(s, FERRY_SMTP_AUTH_OK);
        break;
    case FERRY_MAIL_REJECT:
        wrong(s);
        break;
    case FERRY_MAIL_DEFER:
        answer_auth(s, FERRY_SMTP_AUTH_BROKEN);
        break;
    default:
        ferry__mail_count(s->thread->mail, FERRY_MAIL_COUNT_SCRIPT_FAULTS, 1);
        answer_auth(s, FERRY_SMTP_AUTH_BROKEN);
        break;
    }
}

/* -- scripts ----------------------------------------------------------------------------------- */

/* A fault is the operator's to know of: what the client was told does not say it. */
static void tell_fault(struct ferry__mail_session *s, const struct ferry_mail_verdict *v,
                       struct ferry_slice why)
{
    static const char *const what[] = {[FERRY__MAIL_WAITS_RCPT] = "validate",
                                       [FERRY__MAIL_WAITS_AUTH] = "auth",
                                       [FERRY__MAIL_WAITS_SAVE] = "save"};
    struct ferry__log_line line;

    if (!ferry_mail_is_fault(v->outcome))
        return;
    ferry__mail_line_begin(s, &line, "script-fault");
    ferry__log_z(&line, "id", s->facts.id);
    ferry__log_z(&line, "script", what[s->waits]);
    ferry__log_z(&line, "fault", ferry_mail_outcome_word(v->outcome));
    ferry__log_text(&line, "why", why);
    ferry__mail_log(s->thread->mail, FERRY_MAIL_LOG_ERROR, ferry__log_end(&line));
}

static void on_asked(struct ferry_mail_ask *ask, const struct ferry_mail_verdict *verdicts,
                     unsigned n, struct ferry_slice why)
{
    struct ferry__mail_session *s = ferry_container(ask, struct ferry__mail_session, ask);

    tell_fault(s, verdicts, why);
    switch (s->waits) {
    case FERRY__MAIL_WAITS_RCPT:
        s->waits = FERRY__MAIL_WAITS_NOT;
        ferry__mail_rcpt_known(s, verdicts);
        pull(s);
        break;
    case FERRY__MAIL_WAITS_AUTH:
        auth_known(s, verdicts);
        pull(s);
        break;
    case FERRY__MAIL_WAITS_SAVE:
        why = ferry_slice_first(why, sizeof s->tx->why - 1);
        memcpy(s->tx->why, why.p ? why.p : "", why.len);
        s->tx->why[why.len] = 0;
        ferry__mail_saved(s, verdicts, n);
        break;
    default:
        break;
    }
}

static void on_errors(struct ferry_mail_ask *ask, struct ferry_slice text)
{
    struct ferry__mail_session *s = ferry_container(ask, struct ferry__mail_session, ask);
    struct ferry__log_line line;

    while (text.len) {
        size_t n = ferry_slice_find(text, '\n');

        ferry__log_begin(&line, s->thread->mail->opts.log_format, "script");
        ferry__log_z(&line, "service", s->facts.service->name);
        ferry__log_z(&line, "session", s->facts.session_id);
        ferry__log_z(&line, "id", s->facts.id);
        ferry__log_long(&line, "text", ferry_slice_first(text, n));
        if (n)
            ferry__mail_log(s->thread->mail, FERRY_MAIL_LOG_SCRIPT, ferry__log_end(&line));
        text = ferry_slice_from(text, n + 1);
    }
}

const struct ferry_mail_ask_fns ferry__mail_ask_fns = {.done = on_asked, .errors = on_errors};

/* What was asked has nobody any more whom it could be told to. */
void ferry__mail_wait_no_more(struct ferry__mail_session *s)
{
    s->has_held = false;
    if (s->waits == FERRY__MAIL_WAITS_RCPT || s->waits == FERRY__MAIL_WAITS_AUTH)
        (void)ferry_mail_ask_forget(&s->ask, NULL, NULL, NULL);
    ferry_timer_stop(&s->timer);
    s->waits = FERRY__MAIL_WAITS_NOT;
}

/* -- events ------------------------------------------------------------------------------------ */

static void on_gone(struct ferry__mail_session *s, enum ferry_smtp_reply reply)
{
    if (reply != FERRY_SMTP_NONE && reply != FERRY_SMTP_BYE && reply != FERRY_SMTP_SHUTTING_DOWN)
        ferry__mail_session_line(s, "ended", reply, NULL);
    if (!s->ready && ferry_smtp_is_there(s->smtp))
        ferry__mail_session_line(s, "no-proxy-header", FERRY_SMTP_NONE, NULL);
    ferry__mail_wait_no_more(s);
}

static void on_xforward(struct ferry__mail_session *s, const struct ferry_smtp_attrs *attrs)
{
    if (ferry__facts_xforward(&s->facts, &s->own, attrs) < 0)
        ferry_smtp_end(s->smtp, FERRY_SMTP_INTERNAL, now(s));
}

void ferry__mail_event(struct ferry__mail_session *s, const struct ferry_smtp_event *ev)
{
    switch (ev->type) {
    case FERRY_SMTP_EV_READY:
        s->ready = true;
        ferry__mail_admit(s, ev->proxy);
        break;
    case FERRY_SMTP_EV_HELO:
        ferry__facts_helo(&s->facts, s->smtp);
        break;
    case FERRY_SMTP_EV_MAIL:
        ferry__mail_mail(s);
        break;
    case FERRY_SMTP_EV_RCPT:
        ferry__mail_rcpt(s, ev);
        break;
    case FERRY_SMTP_EV_DATA:
        ferry__mail_data(s);
        break;
    case FERRY_SMTP_EV_BODY:
        ferry__mail_body(s, ev->data);
        break;
    case FERRY_SMTP_EV_MESSAGE:
        ferry__mail_message(s);
        break;
    case FERRY_SMTP_EV_RESET:
        ferry__mail_reset(s, ev->reply);
        break;
    case FERRY_SMTP_EV_STARTTLS:
        ferry__mail_starttls(s);
        break;
    case FERRY_SMTP_EV_AUTH:
        on_auth(s, ev);
        break;
    case FERRY_SMTP_EV_XCLIENT:
        ferry__mail_xclient(s, ev->attrs);
        break;
    case FERRY_SMTP_EV_XFORWARD:
        on_xforward(s, ev->attrs);
        break;
    case FERRY_SMTP_EV_QUIT:
        s->quit = true;
        break;
    case FERRY_SMTP_EV_GONE:
        on_gone(s, ev->reply);
        break;
    }
}

/* While a message is being saved what may have happened waits: its envelope is in use. */
static void pull(struct ferry__mail_session *s)
{
    struct ferry_smtp_event ev;

    while (!s->closing && !is_saving(s) && ferry_smtp_event(s->smtp, &ev) > 0)
        if (ferry__mail_named(s, &ev))
            ferry__mail_event(s, &ev);
    if (s->closing)
        return;
    ferry__mail_record_look(s);
    if (s->waits == FERRY__MAIL_WAITS_PEER)
        ferry__mail_peer_news(s);
}

static void on_ready(struct ferry_pump *pump)
{
    pull(session_of(pump));
}

/* -- its end ----------------------------------------------------------------------------------- */

static void maybe_free(struct ferry__mail_session *s)
{
    struct ferry_mail_thread *t = s->thread;

    if (!s->closed || is_saving(s))
        return;
    ferry_list_remove(&s->link);
    ferry_tls_free(s->tls);
    ferry_smtp_free(s->smtp);
    ferry__mail_leave(s);
    if (s->opened)
        ferry__limits_close(s->service->limits);
    else
        t->refusing--;
    ferry__mail_count(t->mail, FERRY_MAIL_COUNT_SESSIONS, -1);
    free(s);
    ferry__mail_maybe_drained(t);
}

void ferry__mail_session_settle(struct ferry__mail_session *s)
{
    if (!s->closing) {
        pull(s);
        return;
    }
    ferry__mail_record_end(s, true);
    maybe_free(s);
}

void ferry__mail_session_close(struct ferry__mail_session *s)
{
    if (s->closing)
        return;
    s->closing = s->gone = true;
    if (s->naming)
        ferry_lookup_cancel(&s->lookup);
    s->naming = false;
    if (!is_saving(s)) {
        ferry__mail_wait_no_more(s);
        if (s->tx)
            ferry__mail_line_refused(s, FERRY_SMTP_NONE, "the connection ended");
        ferry__mail_tx_over(s);
        ferry__mail_record_end(s, true);
    }
    ferry_pump_close(&s->pump);
}

static void on_failed(struct ferry_pump *pump, int err)
{
    struct ferry__mail_session *s = session_of(pump);

    if (err != -ECONNRESET && err != -EPIPE)
        ferry__mail_session_line(s, "failed", FERRY_SMTP_NONE, ferry_strerror(err));
    ferry__mail_session_close(s);
}

static void on_finished(struct ferry_pump *pump)
{
    struct ferry__mail_session *s = session_of(pump);

    ferry__mail_record_end(s, false);
    ferry__mail_session_close(s);
}

static void on_sent(struct ferry_pump *pump, size_t n)
{
    (void)n;
    ferry__mail_record_sent(session_of(pump));
}

static void on_closed(struct ferry_pump *pump)
{
    struct ferry__mail_session *s = session_of(pump);

    s->closed = true;
    maybe_free(s);
}

static const struct ferry_pump_fns pump_fns = {
    .ready = on_ready,
    .failed = on_failed,
    .finished = on_finished,
    .sent = on_sent,
    .closed = on_closed,
};

void ferry__mail_session_drain(struct ferry__mail_session *s)
{
    if (s->closing)
        return;
    ferry_smtp_drain(s->smtp, FERRY_SMTP_SHUTTING_DOWN, now(s));
    pull(s);
    ferry_pump_kick(&s->pump);
}

void ferry__mail_session_cut(struct ferry__mail_session *s)
{
    ferry__mail_save_forget(s);
    if (s->closing) {
        maybe_free(s);
        return;
    }
    if (is_saving(s))
        return; /* the disk is not slow for long */
    ferry_smtp_end(s->smtp, FERRY_SMTP_SHUTTING_DOWN, now(s));
    pull(s);
    ferry_pump_kick(&s->pump);
}

/* -- its beginning ----------------------------------------------------------------------------- */

static int open_machines(struct ferry__mail_session *s, int fd)
{
    struct ferry_mail_thread *t = s->thread;
    struct ferry_blocks *blocks = ferry_loop_blocks(t->loop);
    struct ferry_smtp_opts opts = s->service->smtp;
    struct ferry_addr peer;

    opts.blocks = blocks;
    if (ferry__limits_is_crowded(s->service->limits)) /* who says nothing makes room sooner */
        opts.idle_ms = (opts.idle_ms ? opts.idle_ms : IDLE_MS) / 10;
    opts.proxy =
        ferry_addr_peer(fd, &peer) == 0 && ferry__networks_has(&s->service->proxy_from, &peer.any);
    s->smtp = ferry_smtp_new(&opts, ferry_loop_now(t->loop));
    if (!s->smtp)
        return -ENOMEM;
    if (!s->service->tls)
        return 0;
    s->tls = ferry_tls_new(s->service->tls, blocks, &ferry_smtp_machine, s->smtp, 0);
    return s->tls ? 0 : -ENOMEM;
}

static int open_pump(struct ferry__mail_session *s, int fd)
{
    return s->tls ? ferry_pump_open(s->thread->loop, &s->pump, &pump_fns, &ferry_tls_machine,
                                    s->tls, fd)
                  : ferry_pump_open(s->thread->loop, &s->pump, &pump_fns, &ferry_smtp_machine,
                                    s->smtp, fd);
}

static void not_opened(struct ferry__mail_session *s)
{
    ferry_tls_free(s->tls);
    ferry_smtp_free(s->smtp);
    if (s->opened)
        ferry__limits_close(s->service->limits);
    free(s);
}

void ferry__mail_session_open(struct ferry_mail_thread *t, struct ferry__mail_service *service,
                              int fd)
{
    struct ferry__mail_session *s;
    bool opened = ferry__limits_open(service->limits);

    ferry__mail_count(t->mail, FERRY_MAIL_COUNT_CONNECTIONS, 1);
    if ((!opened && t->refusing >= REFUSING_MAX) || !(s = calloc(1, sizeof *s))) {
        ferry__mail_count(t->mail, FERRY_MAIL_COUNT_REFUSED, 1);
        if (opened)
            ferry__limits_close(service->limits);
        close(fd);
        return;
    }
    s->thread = t;
    s->service = service;
    s->opened = opened;
    s->ask.fns = &ferry__mail_ask_fns;
    ferry_timer_init(&s->timer, NULL);
    ferry_timer_init(&s->record_timer, NULL);
    if (open_machines(s, fd) < 0) {
        not_opened(s);
        close(fd);
        return;
    }
    ferry__facts_begin(&s->facts, &service->given, fd);
    s->addr = s->facts.peer;
    if (open_pump(s, fd) < 0) {
        not_opened(s);
        return;
    }
    ferry_list_push(&t->sessions, &s->link);
    ferry__mail_count(t->mail, FERRY_MAIL_COUNT_SESSIONS, 1);
    if (!opened)
        t->refusing++;
    pull(s);
}
