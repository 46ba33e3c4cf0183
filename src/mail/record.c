/* SPDX-License-Identifier: MIT */
/*
 * What is told of sessions and transactions, and counted. Of a message that was answered with 250
 * the line waits until it is known whether the client has seen that: its next command says so, or
 * that it left in order when its kernel had acknowledged all we sent; but not for longer than
 * LINE_MS. What was accepted is told and counted once: as saved, rejected, deferred or aborted.
 */
#include <inttypes.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "mail/internal.h"

#define LINE_MS 2000

const char *ferry__mail_reply_word(enum ferry_smtp_reply reply, char out[32])
{
    static const char *const names[] = {
#define X(name, code, enhanced, text) #name,
        FERRY_SMTP_REPLY_MAP(X)
#undef X
    };
    size_t i;

    for (i = 0; i < 31 && names[reply][i]; i++)
        out[i] = names[reply][i] == '_' ? '-' : ferry_ascii_lower(names[reply][i]);
    out[i] = 0;
    return out;
}

/* -- lines ------------------------------------------------------------------------------------- */

static enum ferry_mail_log_format format_of(const struct ferry__mail_session *s)
{
    return s->thread->mail->opts.log_format;
}

static void put_client(struct ferry__log_line *l, const struct ferry_mail_facts *f)
{
    static const char *const origins[] = {
#define X(name, text) text,
        FERRY_MAIL_ORIGIN_MAP(X)
#undef X
    };
    char peer[64];

    ferry__log_z(l, "client", f->client_ip);
    if (f->client_port)
        ferry__log_number(l, "port", f->client_port);
    if (strcmp(f->name_status, "off") != 0)
        ferry__log_z(l, "name", f->client_name);
    if (f->origin == FERRY_MAIL_ORIGIN_DIRECT)
        return;
    ferry__log_z(l, "origin", origins[f->origin]);
    if (f->peer.any.sa_family == AF_UNIX)
        ferry__log_z(l, "peer", "local");
    else
        ferry__log_text(l, "peer", ferry_slice(peer, ferry_addr_host(&f->peer, peer, sizeof peer)));
}

void ferry__mail_line_begin(struct ferry__mail_session *s, struct ferry__log_line *l,
                            const char *event)
{
    const struct ferry_mail_facts *f = &s->facts;

    ferry__log_begin(l, format_of(s), event);
    ferry__log_z(l, "service", f->service->name);
    ferry__log_z(l, "session", f->session_id);
    put_client(l, f);
    ferry__log_z(l, "helo", f->helo);
    ferry__log_z(l, "protocol", f->protocol);
    ferry__log_z(l, "tls", f->tls->version);
    ferry__log_z(l, "user", f->auth_user);
}

void ferry__mail_line_envelope(struct ferry__mail_session *s)
{
    const struct ferry_smtp_envelope *env = s->facts.envelope;
    struct ferry__log_line *l = &s->tx->line;
    struct ferry__log_list to;

    ferry__mail_line_begin(s, l, "mail");
    ferry__log_z(l, "id", s->facts.id);
    ferry__log_z(l, "origin_id", s->facts.origin_id);
    if (env && env->from)
        ferry__log_z(l, "from", env->from->null ? "<>" : env->from->text);
    ferry__log_list_open(l, &to, "to");
    for (const struct ferry_smtp_rcpt *r = env ? env->rcpts : NULL; r; r = r->next)
        ferry__log_list_add(l, &to, ferry_slice(r->path->text, r->path->len));
    ferry__log_list_close(l, &to);
    ferry__log_number(l, "rcpts", env ? env->nrcpts : 0);
    if (s->tx->refused_code) {
        ferry__log_number(l, "refused", env ? env->refused : 0);
        ferry__log_z(l, "refused_to", s->tx->refused);
        ferry__log_number(l, "refused_code", (unsigned)s->tx->refused_code);
    }
}

/* Its header as it came, a line of the log for each piece of it. */
static void tell_header(struct ferry__mail_session *s)
{
    const struct ferry_mail_message *m = &s->tx->message;
    struct ferry_slice rest = ferry_slice(m->head, m->head ? m->header.len : 0);
    struct ferry__log_line l;

    rest = ferry_slice_first(rest, m->head_len);
    while (rest.len) {
        size_t n = ferry_slice_find(rest, '\n') + 1;
        struct ferry_slice line = ferry_slice_first(rest, n);

        while (line.len && (line.p[line.len - 1] == '\n' || line.p[line.len - 1] == '\r'))
            line.len--;
        ferry__log_begin(&l, format_of(s), "header");
        ferry__log_z(&l, "id", s->facts.id);
        ferry__log_long(&l, "line", line);
        if (line.len)
            ferry__mail_log(s->thread->mail, FERRY_MAIL_LOG_LINE, ferry__log_end(&l));
        rest = ferry_slice_from(rest, n);
    }
}

void ferry__mail_line_message(struct ferry__mail_session *s)
{
    const struct ferry_mail_message *m = &s->tx->message;
    struct ferry__log_line *l = &s->tx->line;

    memcpy(s->tx->key, m->key, sizeof s->tx->key);
    memcpy(s->tx->id, s->facts.id, sizeof s->tx->id);
    ferry__log_number(l, "size", m->size);
    ferry__log_z(l, "message_id", m->header.message_id);
    ferry__log_z(l, "key", m->key);
    if (s->service->given.debug)
        tell_header(s);
}

/* Where a client is told one thing for all, what a script said of each would be lost otherwise. */
static bool has_results(const struct ferry__mail_tx *tx)
{
    if (tx->session->service->smtp.lmtp)
        return tx->nrcpts > 1;
    for (unsigned i = 1; i < tx->nrcpts; i++)
        if (tx->verdicts[i].outcome != tx->verdicts[0].outcome)
            return true;
    return false;
}

static void put_results(struct ferry__log_line *l, const struct ferry__mail_tx *tx)
{
    struct ferry__log_list list;

    ferry__log_list_open(l, &list, "results");
    for (unsigned i = 0; i < tx->nrcpts; i++)
        ferry__log_list_add(l, &list,
                            ferry_slice_z(ferry_mail_outcome_word(tx->verdicts[i].outcome)));
    ferry__log_list_close(l, &list);
}

static void put_verdict(struct ferry__log_line *l, const struct ferry__mail_tx *tx,
                        const struct ferry_mail_verdict *v)
{
    ferry__log_z(l, "verdict", ferry_mail_outcome_word(v->outcome));
    ferry__log_z(l, "script_id", v->id);
    ferry__log_z(l, "text", v->text);
    ferry__log_z(l, "why", tx->why);
    if (has_results(tx))
        put_results(l, tx);
}

static void put_times(struct ferry__log_line *l, const struct ferry__mail_tx *tx)
{
    uint64_t now = ferry_now_us();

    if (tx->known)
        ferry__log_flag(l, "known", true);
    if (tx->asked_us)
        ferry__log_number(l, "save_ms", (now - tx->asked_us) / 1000);
    ferry__log_number(l, "ms", (now - tx->began_us) / 1000);
}

static void write_line(struct ferry__mail_session *s, struct ferry__mail_tx *tx)
{
    tx->told = true;
    ferry__log_stamp(&tx->line);
    ferry__mail_log(s->thread->mail, FERRY_MAIL_LOG_LINE, ferry__log_end(&tx->line));
}

/* -- not saved --------------------------------------------------------------------------------- */

/* What became of a transaction whose text never came is no loss of a message, and not counted. */
static const char *word_without_text(const struct ferry__mail_session *s)
{
    const struct ferry_smtp_envelope *env = s->facts.envelope;

    return env && env->nrcpts == 0 && env->refused ? "refused" : "no-message";
}

/* Begins the end of the line, and counts. */
static void put_no(struct ferry__mail_session *s, int code)
{
    const char *word;
    struct ferry__mail_tx *tx = s->tx;
    enum ferry_mail_count which = code / 100 == 5   ? FERRY_MAIL_COUNT_REJECTED
                                  : code / 100 == 4 ? FERRY_MAIL_COUNT_DEFERRED
                                                    : FERRY_MAIL_COUNT_ABORTED;

    word = !tx->accepted && code == 0 ? word_without_text(s) : ferry_mail_count_name(which);
    if (tx->accepted)
        ferry__mail_count(s->thread->mail, which, 1);
    else
        ferry__mail_line_envelope(s);
    tx->accepted = false;
    ferry__log_z(&tx->line, "result", word);
    if (code)
        ferry__log_number(&tx->line, "reply", (unsigned)code);
}

void ferry__mail_line_no(struct ferry__mail_session *s, int code,
                         const struct ferry_mail_verdict *v)
{
    put_no(s, code);
    put_verdict(&s->tx->line, s->tx, v);
    put_times(&s->tx->line, s->tx);
    write_line(s, s->tx);
}

void ferry__mail_line_refused(struct ferry__mail_session *s, enum ferry_smtp_reply reply,
                              const char *why)
{
    char word[32];

    put_no(s, ferry_smtp_reply_code(reply));
    if (reply != FERRY_SMTP_NONE)
        ferry__log_z(&s->tx->line, "reason", ferry__mail_reply_word(reply, word));
    ferry__log_z(&s->tx->line, "why", why);
    put_times(&s->tx->line, s->tx);
    write_line(s, s->tx);
}

/* -- saved ------------------------------------------------------------------------------------- */

static void forget(struct ferry__mail_session *s)
{
    struct ferry__mail_tx *tx = s->record;

    s->record = NULL;
    ferry_timer_stop(&s->record_timer);
    if (tx != s->tx)
        free(tx);
}

static void tell(struct ferry__mail_session *s, const char *confirmed)
{
    struct ferry__mail_tx *tx = s->record;

    ferry__log_flag(&tx->line, "written", tx->written);
    ferry__log_z(&tx->line, "confirmed", confirmed);
    write_line(s, tx);
}

static void confirmed(struct ferry__mail_session *s)
{
    struct ferry__mail_tx *tx = s->record;

    if (s->service->saved)
        ferry__mail_saved_drop(s->service->saved, &s->service->given, tx->key,
                               ferry_loop_now(s->thread->loop));
    if (!tx->told)
        tell(s, "yes");
    forget(s);
}

static void unconfirmed(struct ferry__mail_session *s)
{
    struct ferry__mail_tx *tx = s->record;

    ferry__mail_count(s->thread->mail, FERRY_MAIL_COUNT_UNCONFIRMED, 1);
    if (tx->told) { /* more is known now than was then */
        ferry__mail_line_begin(s, &tx->line, "unconfirmed");
        ferry__log_z(&tx->line, "id", tx->id);
        ferry__log_z(&tx->line, "key", tx->key);
    }
    tell(s, "no");
    forget(s);
}

static void line_is_due(struct ferry_timer *timer)
{
    struct ferry__mail_session *s =
        ferry_container(timer, struct ferry__mail_session, record_timer);

    tell(s, "waiting");
}

static bool all_yes(const struct ferry__mail_tx *tx)
{
    for (unsigned i = 0; i < tx->nrcpts; i++)
        if (tx->verdicts[i].outcome != FERRY_MAIL_OK)
            return false;
    return true;
}

void ferry__mail_record_begin(struct ferry__mail_session *s, int code,
                              const struct ferry_mail_verdict *v, bool left)
{
    struct ferry__mail_tx *tx = s->tx;
    uint64_t now = ferry_loop_now(s->thread->loop);

    if (s->record)
        ferry__mail_record_end(s, false);
    ferry__mail_count(s->thread->mail, FERRY_MAIL_COUNT_SAVED, 1);
    if (!tx->known)
        ferry__mail_count(s->thread->mail, FERRY_MAIL_COUNT_BYTES, (int64_t)tx->message.size);
    tx->accepted = false;
    tx->left = left;
    s->record = tx;
    ferry__log_z(&tx->line, "result", v->outcome == FERRY_MAIL_DISCARD ? "discarded" : "saved");
    ferry__log_number(&tx->line, "reply", (unsigned)code);
    put_verdict(&tx->line, tx, v);
    put_times(&tx->line, tx);
    if (s->service->saved && !tx->known && all_yes(tx))
        ferry__mail_saved_add(s->service->saved, &s->service->given, tx->key,
                              v->id[0] ? v->id : s->facts.id, now);
    s->record_timer.fire = line_is_due;
    ferry_timer_set(s->thread->loop, &s->record_timer, now + LINE_MS);
}

void ferry__mail_record_sent(struct ferry__mail_session *s)
{
    struct ferry__mail_tx *tx = s->record;

    if (!tx || tx->written || ferry_smtp_output(s->smtp)->len ||
        s->pump.ops->output(s->pump.m)->len)
        return;
    tx->written = true;
    tx->commands = ferry_smtp_counts(s->smtp)->commands;
}

void ferry__mail_record_look(struct ferry__mail_session *s)
{
    struct ferry__mail_tx *tx = s->record;

    if (tx && tx->written && ferry_smtp_counts(s->smtp)->commands != tx->commands)
        confirmed(s);
}

/* Has the other side acknowledged every byte? */
static bool is_acknowledged(const struct ferry__mail_session *s)
{
    int left = 0;

    return ioctl(s->pump.stream.fd, SIOCOUTQ, &left) == 0 && left == 0;
}

void ferry__mail_record_end(struct ferry__mail_session *s, bool failed)
{
    struct ferry__mail_tx *tx = s->record;

    if (!tx)
        return;
    if (tx->written && !failed && (!tx->left || s->quit) && is_acknowledged(s))
        confirmed(s);
    else
        unconfirmed(s);
}

/* -- sessions ---------------------------------------------------------------------------------- */

void ferry__mail_auth_line(struct ferry__mail_session *s, const struct ferry_smtp_sasl *sasl,
                           enum ferry_smtp_reply reply)
{
    struct ferry__log_line l;
    char word[32];

    ferry__mail_line_begin(s, &l, "auth");
    ferry__log_z(&l, "as", sasl->user);
    ferry__log_z(&l, "mechanism", ferry_smtp_mechanism_name(sasl->mechanism));
    ferry__log_z(&l, "result", ferry_smtp_reply_code(reply) / 100 == 4 ? "deferred" : "refused");
    ferry__log_number(&l, "reply", (unsigned)ferry_smtp_reply_code(reply));
    ferry__log_z(&l, "reason", ferry__mail_reply_word(reply, word));
    ferry__mail_log(s->thread->mail, FERRY_MAIL_LOG_LINE, ferry__log_end(&l));
}

void ferry__mail_session_line(struct ferry__mail_session *s, const char *result,
                              enum ferry_smtp_reply reply, const char *why)
{
    const struct ferry_smtp_counts *counts = ferry_smtp_counts(s->smtp);
    struct ferry__log_line l;
    char word[32];

    if (s->told)
        return;
    s->told = true;
    ferry__mail_line_begin(s, &l, "session");
    ferry__log_z(&l, "result", result);
    if (reply != FERRY_SMTP_NONE) {
        ferry__log_number(&l, "reply", (unsigned)ferry_smtp_reply_code(reply));
        ferry__log_z(&l, "reason", ferry__mail_reply_word(reply, word));
    }
    ferry__log_z(&l, "why", why);
    ferry__log_number(&l, "commands", counts->commands);
    ferry__log_number(&l, "errors", counts->errors);
    ferry__log_number(&l, "mails", counts->mails);
    ferry__mail_log(s->thread->mail, FERRY_MAIL_LOG_LINE, ferry__log_end(&l));
}
