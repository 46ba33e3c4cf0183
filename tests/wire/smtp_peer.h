/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TESTS_SMTP_PEER_H
#define FERRY_TESTS_SMTP_PEER_H

#include <stdio.h>

#include "base/block.h"
#include "smtp/smtp_internal.h"

#include "support.h"

/*
 * A client and an owner around one SMTP machine. What the owner is told stands in `log`, one event
 * per line; the messages it was given in `mail`, one per line, with '|' for each CR LF; what the
 * client is sent in `out`.
 *
 * The owner says yes to everything, but no to recipients whose names begin "no", "later" (a 4xx)
 * and "gone" (421), to senders who are called so, to messages that begin so, and to DATA after a
 * sender "full". "deaf@" gets no answer. It knows one user, "user" with "pass"; "broken" breaks.
 */
struct peer {
    struct ferry_blocks blocks;
    struct ferry_smtp_opts opts;
    struct ferry_smtp_client client;
    struct ferry_smtp *m;
    uint64_t now;
    char log[65536];
    size_t log_len;
    char mail[262144];
    size_t mail_len;
    char body[2 << 20]; /* of the message under way */
    size_t body_len;
    char out[262144];
    size_t out_len;
    bool unread; /* the client reads nothing: output stays queued */
    bool deaf;   /* the owner answers nothing */
    bool waits;  /* the test lets time pass itself */
    bool quiet;  /* no log */
    unsigned messages, tls;
};

static struct peer peer;

static inline void note(struct peer *c, const char *text, struct ferry_slice what)
{
    if (c->quiet)
        return;
    c->log_len += (size_t)snprintf(c->log + c->log_len, sizeof c->log - c->log_len, "%s%s%.*s\n",
                                   text, what.len ? " " : "", (int)what.len, what.p);
    assert_true(c->log_len < sizeof c->log);
}

static inline struct peer *peer_new(const struct ferry_smtp_opts *opts,
                                    const struct ferry_smtp_client *client)
{
    struct peer *c = &peer;

    memset(&c->blocks, 0, sizeof c->blocks);
    c->opts = opts ? *opts : (struct ferry_smtp_opts){0};
    c->client = client ? *client : (struct ferry_smtp_client){0};
    c->log_len = c->mail_len = c->body_len = c->out_len = 0;
    c->log[0] = c->mail[0] = c->out[0] = '\0';
    c->unread = c->deaf = c->waits = c->quiet = false;
    c->messages = c->tls = 0;
    /* Blocks are not kept, so that sanitizers see each one's end. */
    ferry_blocks_init(&c->blocks, 0, 0);
    c->opts.blocks = &c->blocks;
    if (!c->opts.hostname)
        c->opts.hostname = "mx.example";
    c->now = 1000;
    c->m = ferry_smtp_new(&c->opts, c->now);
    return c;
}

static inline void peer_close(struct peer *c)
{
    ferry_smtp_free(c->m);
    c->m = NULL;
    ferry_blocks_fini(&c->blocks);
}

static inline bool is_over(const struct peer *c)
{
    return ferry_smtp_finished(c->m) || ferry_smtp_machine.wants_shutdown(c->m);
}

static inline bool begins(const char *text, size_t n, const char *with)
{
    return n >= strlen(with) && memcmp(text, with, strlen(with)) == 0;
}

/* What the owner says to something that begins like this. */
static inline enum ferry_smtp_reply judged(const char *p, size_t n, enum ferry_smtp_reply yes,
                                           enum ferry_smtp_reply no)
{
    if (begins(p, n, "no"))
        return no;
    if (begins(p, n, "later"))
        return FERRY_SMTP_LATER;
    return begins(p, n, "gone") ? FERRY_SMTP_SHUTTING_DOWN : yes;
}

static inline void answer(struct peer *c, enum ferry_smtp_reply r, const char *detail)
{
    int err = ferry_smtp_answer(c->m, r, ferry_slice_z(detail), c->now);

    /* With memory out the session may be over between two recipients. */
    assert_true(err == 0 || (c->m->out.err < 0 && is_over(c)));
}

static inline void note_mail(struct peer *c)
{
    const struct ferry_smtp_envelope *e = ferry_smtp_envelope(c->m);
    char *to = c->mail + c->mail_len, *end = c->mail + sizeof c->mail - 8;

    assert_true(e->begun && e->nrcpts);
    assert_int_equal(e->size, c->body_len);
    to += snprintf(to, (size_t)(end - to), "%s>", e->from->text);
    for (const struct ferry_smtp_rcpt *r = e->rcpts; r; r = r->next)
        to += snprintf(to, (size_t)(end - to), "%s%s", r->path->text, r->next ? "," : "");
    *to++ = ':';
    for (size_t i = 0; i < c->body_len && to < end; i++) {
        bool crlf = i + 1 < c->body_len && c->body[i] == '\r' && c->body[i + 1] == '\n';

        *to++ = crlf ? '|' : c->body[i] ? c->body[i] : '~';
        i += crlf;
    }
    *to++ = '\n';
    *to = '\0';
    c->mail_len = (size_t)(to - c->mail);
}

static inline void pull_message(struct peer *c)
{
    const struct ferry_smtp_envelope *e = ferry_smtp_envelope(c->m);
    unsigned n = c->opts.lmtp ? e->nrcpts : 1;
    enum ferry_smtp_reply r = judged(c->body, c->body_len, FERRY_SMTP_SAVED, FERRY_SMTP_REJECTED);
    char id[24];

    snprintf(id, sizeof id, "%u", ++c->messages);
    note_mail(c);
    note(c, "message", ferry_slice_z(id));
    c->body_len = 0;
    if (c->deaf)
        return;
    /* In LMTP only the first recipient is as the message says. */
    for (unsigned i = 0; i < n; i++)
        answer(c, i ? FERRY_SMTP_SAVED : r, id);
}

static inline void pull_auth(struct peer *c, const struct ferry_smtp_sasl *sasl)
{
    note(c, "auth", ferry_slice_z(sasl->user));
    if (c->deaf)
        return;
    if (strcmp(sasl->user, "broken") == 0)
        answer(c, FERRY_SMTP_AUTH_BROKEN, "");
    else if (strcmp(sasl->user, "user") == 0 && strcmp(sasl->password, "pass") == 0)
        answer(c, FERRY_SMTP_AUTH_OK, "");
    else
        answer(c, FERRY_SMTP_AUTH_WRONG, "");
}

static inline void pull_one(struct peer *c, const struct ferry_smtp_event *ev)
{
    struct ferry_slice path =
        ev->path ? ferry_slice(ev->path->text, ev->path->len) : FERRY_SLICE("");
    bool full = begins(path.p, path.len, "full");
    char code[8];

    snprintf(code, sizeof code, "%d", ferry_smtp_reply_code(ev->reply));
    switch (ev->type) {
    case FERRY_SMTP_EV_BODY:
        assert_true(ev->data.len && c->body_len + ev->data.len <= sizeof c->body);
        memcpy(c->body + c->body_len, ev->data.p, ev->data.len);
        c->body_len += ev->data.len;
        break;
    case FERRY_SMTP_EV_READY:
        note(c, ev->proxy ? "ready proxy" : "ready", FERRY_SLICE(""));
        if (!c->deaf)
            ferry_smtp_greet(c->m, &c->client, c->now);
        break;
    case FERRY_SMTP_EV_HELO:
        note(c, ferry_smtp_helo_verb(c->m), ev->name);
        break;
    case FERRY_SMTP_EV_MAIL:
        note(c, "mail", path);
        if (!c->deaf && !begins(path.p, path.len, "deaf"))
            answer(c, judged(path.p, path.len, FERRY_SMTP_MAIL_OK, FERRY_SMTP_TOO_MUCH_MAIL), "");
        break;
    case FERRY_SMTP_EV_RCPT:
        note(c, "rcpt", path);
        if (!c->deaf && !begins(path.p, path.len, "deaf"))
            answer(c, judged(path.p, path.len, FERRY_SMTP_RCPT_OK, FERRY_SMTP_USER_UNKNOWN),
                   "<it>");
        break;
    case FERRY_SMTP_EV_DATA:
        note(c, "data", FERRY_SLICE(""));
        path = ferry_slice_z(ferry_smtp_envelope(c->m)->from->text);
        full = begins(path.p, path.len, "full");
        if (!c->deaf)
            answer(c, full ? FERRY_SMTP_NO_SPACE : FERRY_SMTP_SEND_DATA, "");
        break;
    case FERRY_SMTP_EV_MESSAGE:
        pull_message(c);
        break;
    case FERRY_SMTP_EV_AUTH:
        pull_auth(c, ev->sasl);
        break;
    case FERRY_SMTP_EV_XCLIENT:
        note(c, "xclient", FERRY_SLICE(""));
        if (!c->deaf)
            ferry_smtp_greet(c->m, &c->client, c->now);
        break;
    case FERRY_SMTP_EV_XFORWARD:
        note(c, "xforward", FERRY_SLICE(""));
        break;
    case FERRY_SMTP_EV_STARTTLS:
        note(c, "starttls", FERRY_SLICE(""));
        c->tls++;
        if (!c->deaf)
            ferry_smtp_tls(c->m, c->now);
        break;
    case FERRY_SMTP_EV_RESET:
        note(c, "reset", ferry_slice_z(ev->reply ? code : ""));
        c->body_len = 0;
        break;
    case FERRY_SMTP_EV_QUIT:
        note(c, "quit", FERRY_SLICE(""));
        break;
    case FERRY_SMTP_EV_GONE:
        note(c, "gone", ferry_slice_z(ev->reply ? code : ""));
        break;
    }
}

static inline void pull(struct peer *c)
{
    struct ferry_smtp_event ev;

    while (ferry_smtp_event(c->m, &ev) == 1)
        pull_one(c, &ev);
}

/* The client reads what is there. */
static inline void client_reads(struct peer *c)
{
    struct ferry_chain *out = ferry_smtp_output(c->m);
    struct iovec iov[8];
    int n;

    while ((n = ferry_chain_iov(out, iov, 8)) > 0) {
        size_t sent = 0;

        for (int i = 0; i < n; i++) {
            assert_true(c->out_len + iov[i].iov_len < sizeof c->out);
            memcpy(c->out + c->out_len, iov[i].iov_base, iov[i].iov_len);
            c->out_len += iov[i].iov_len;
            sent += iov[i].iov_len;
        }
        ferry_smtp_sent(c->m, sent, c->now);
    }
    c->out[c->out_len] = '\0';
}

static inline void works(struct peer *c)
{
    pull(c);
    while (!c->waits && c->m->held_len && !c->m->chunk_held) {
        c->now = ferry_smtp_deadline(c->m);
        ferry_smtp_tick(c->m, c->now);
        pull(c);
    }
    if (!c->unread)
        client_reads(c);
}

/* The default options but for `opts`; greeted. */
static inline struct peer *peer_open(const struct ferry_smtp_opts *opts,
                                     const struct ferry_smtp_client *client)
{
    struct peer *c = peer_new(opts, client);

    if (c->m)
        works(c);
    return c;
}

/* The client sends n bytes: how many the machine took. */
static inline size_t client_sends_n(struct peer *c, const char *p, size_t n)
{
    size_t at = 0;

    for (int refused = 0; at < n && refused < 2;) {
        ssize_t took = ferry_smtp_recv(c->m, p + at, n - at, c->now);

        assert_true(took >= 0 && (size_t)took <= n - at);
        at += (size_t)took;
        works(c);
        refused = took == 0 ? refused + 1 : 0;
    }
    return at;
}

static inline size_t client_sends(struct peer *c, const char *text)
{
    return client_sends_n(c, text, strlen(text));
}

static inline void client_ends(struct peer *c)
{
    assert_int_equal(ferry_smtp_recv(c->m, NULL, 0, c->now), 0);
    works(c);
}

/* Time passes up to `ms` after the beginning. */
static inline void passes(struct peer *c, uint64_t ms)
{
    c->now = 1000 + ms;
    if (ferry_smtp_deadline(c->m) <= c->now)
        ferry_smtp_tick(c->m, c->now);
    works(c);
}

static inline void forget_out(struct peer *c)
{
    c->out_len = c->log_len = 0;
    c->out[0] = c->log[0] = '\0';
}

#define assert_log(c, text) assert_string_equal((c)->log, text)
#define assert_out(c, text) assert_string_equal((c)->out, text)
#define assert_mail(c, text) assert_string_equal((c)->mail, text)

#endif
