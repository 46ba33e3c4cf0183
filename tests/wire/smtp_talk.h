/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TESTS_SMTP_TALK_H
#define FERRY_TESTS_SMTP_TALK_H

#include "smtp_peer.h"

/*
 * Dialogues as text, one line each:
 *
 *   C:line     the client sends it, with CR LF
 *   S:line     the reply; "..." at its end stands for any rest, and S:EHLO for all lines of that
 *   M:text     a message the owner was given, as in peer.mail
 *   X:         and the session is over
 *
 * They begin behind the greeting. Each is run line by line, byte by byte, in one write where that
 * is allowed, cut at every byte (what is answered to a part is a part of what is answered to the
 * whole), and with each allocation failing.
 */
struct dialogue {
    const char *name, *text;
};

struct talk {
    const struct ferry_smtp_opts *opts;
    const struct ferry_smtp_client *client;
    bool pipelines; /* each client of these may send all in one write */
};

static inline const char *next_line(const char **at, size_t *n)
{
    const char *line = *at, *end = strchr(line, '\n');

    *n = end ? (size_t)(end - line) : strlen(line);
    *at = end ? end + 1 : line + *n;
    return line;
}

/* All that the client says. */
static inline size_t client_part(const char *text, char *out, size_t cap)
{
    size_t len = 0, n;

    while (*text) {
        const char *line = next_line(&text, &n);

        if (!begins(line, n, "C:"))
            continue;
        assert_true(len + n < cap);
        memcpy(out + len, line + 2, n - 2);
        memcpy(out + len + n - 2, "\r\n", 2);
        len += n;
    }
    return len;
}

/* Is this what the client was sent? */
static inline void assert_replies(const struct dialogue *d, const char *out)
{
    const char *at = d->text;
    size_t n;

    out = strchr(out, '\n') + 1; /* the greeting */
    while (*at) {
        const char *line = next_line(&at, &n), *end = strstr(out, "\r\n");
        bool part = n > 5 && memcmp(line + n - 3, "...", 3) == 0;
        size_t want = part ? n - 5 : n - 2;

        if (!begins(line, n, "S:"))
            continue;
        while (begins(line, n, "S:EHLO") && end && begins(out, 4, "250-")) {
            out = end + 2;
            end = strstr(out, "\r\n");
        }
        if (begins(line, n, "S:EHLO") && end && begins(out, 4, "250 ")) {
            out = end + 2;
            continue;
        }
        if (!end ||
            memcmp(out, line + 2, want < (size_t)(end - out) ? want : (size_t)(end - out)) ||
            (part ? (size_t)(end - out) < want : (size_t)(end - out) != want))
            fail_msg("%s: not \"%.*s\" but \"%.*s\"", d->name, (int)n, line,
                     (int)(end ? end - out : (ptrdiff_t)strlen(out)), out);
        out = end + 2;
    }
    if (*out)
        fail_msg("%s: also \"%s\"", d->name, out);
}

static inline void assert_rest(const struct dialogue *d, struct peer *c)
{
    const char *at = d->text, *mail = c->mail;
    bool over = false;
    size_t n;

    while (*at) {
        const char *line = next_line(&at, &n);

        over = over || begins(line, n, "X:");
        if (!begins(line, n, "M:"))
            continue;
        if (strncmp(mail, line + 2, n - 2) || mail[n - 2] != '\n')
            fail_msg("%s: not \"%.*s\" but \"%s\"", d->name, (int)n, line, mail);
        mail += n - 1;
    }
    if (*mail)
        fail_msg("%s: also message \"%s\"", d->name, mail);
    if (is_over(c) != over)
        fail_msg("%s: the session is %s", d->name, over ? "not over" : "over");
}

/* What always holds for replies: lines of at most 512 bytes, and enhanced codes of
 * the class of the code. */
static inline void assert_sound(const struct dialogue *d, const char *out)
{
    for (const char *end; *out; out = end + 2) {
        end = strstr(out, "\r\n");
        if (!end || end - out > 510 || end - out < 4 || out[0] < '2' || out[0] > '5')
            fail_msg("%s: a bad line \"%s\"", d->name, out);
        if (end - out > 6 && out[4] >= '0' && out[4] <= '9' && out[5] == '.' && out[4] != out[0] &&
            out[0] != '3' && memcmp(out, "250-", 4))
            fail_msg("%s: a bad code \"%s\"", d->name, out);
    }
}

static inline void talk_check(const struct dialogue *d, struct peer *c)
{
    assert_sound(d, c->out);
    assert_replies(d, c->out);
    assert_rest(d, c);
}

/* Line by line (step 0), or in pieces of `step` bytes. */
static inline void talk_pieces(const struct talk *t, const struct dialogue *d, size_t step)
{
    static char all[262144];
    size_t n = client_part(d->text, all, sizeof all);
    struct peer *c = peer_open(t->opts, t->client);

    for (size_t at = 0; at < n;) {
        const char *lf = memchr(all + at, '\n', n - at);
        size_t len = step ? step : (size_t)(lf + 1 - (all + at));

        if (len > n - at)
            len = n - at;
        if (client_sends_n(c, guard_copy(0, all + at, len), len) < len)
            break;
        at += len;
    }
    talk_check(d, c);
    peer_close(c);
}

static inline void talk_cut(const struct talk *t, const struct dialogue *d)
{
    static char all[262144], whole[262144], mails[sizeof peer.mail];
    size_t n = client_part(d->text, all, sizeof all);
    struct peer *c;

    if (n > 4096)
        return;
    for (size_t cut = n + 1; cut-- > 0;) {
        c = peer_open(t->opts, t->client);
        for (size_t at = 0; at < cut;) {
            const char *lf = memchr(all + at, '\n', cut - at);
            size_t len = lf ? (size_t)(lf + 1 - (all + at)) : cut - at;

            if (client_sends_n(c, all + at, len) < len)
                break;
            at += len;
        }
        if (cut == n) {
            memcpy(whole, c->out, c->out_len + 1);
            memcpy(mails, c->mail, c->mail_len + 1);
        }
        client_ends(c);
        assert_true(ferry_smtp_finished(c->m));
        if (strncmp(whole, c->out, c->out_len) || strncmp(mails, c->mail, c->mail_len))
            fail_msg("%s: cut at %zu: \"%s\"", d->name, cut, c->out);
        peer_close(c);
    }
}

struct talk_run {
    const struct talk *t;
    const struct dialogue *d;
};

/* With memory out somewhere: an end, with 421 or without a word, and no harm. */
static inline void talk_failing(void *arg)
{
    static char all[262144];
    const struct talk_run *r = arg;
    size_t n = client_part(r->d->text, all, sizeof all);
    struct peer *c = peer_open(r->t->opts, r->t->client);

    for (size_t at = 0; c->m && at < n;) {
        const char *lf = memchr(all + at, '\n', n - at);
        size_t len = (size_t)(lf + 1 - (all + at)), half = len / 2;

        if (client_sends_n(c, all + at, half) < half ||
            client_sends_n(c, all + at + half, len - half) < len - half)
            break;
        at += len;
    }
    if (c->m) {
        const struct ferry_chain *out = ferry_smtp_output(c->m);
        size_t seen = c->out_len > 120 ? c->out_len - 120 : 0;

        if (alloc_failed() && !is_over(c))
            talk_check(r->d, c); /* what failed was not needed */
        else if (alloc_failed() && !out->err && c->m->gone)
            assert_true(c->m->gone != FERRY_SMTP_INTERNAL || strstr(c->out + seen, "421 4.3.0"));
    }
    peer_close(c);
}

static inline void talk_all(const struct talk *t, const struct dialogue *d, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct talk_run run = {t, &d[i]};

        talk_pieces(t, &d[i], 0);
        talk_pieces(t, &d[i], 1);
        if (t->pipelines) {
            talk_pieces(t, &d[i], 7);
            talk_pieces(t, &d[i], SIZE_MAX);
        }
        talk_cut(t, &d[i]);
        if (strlen(d[i].text) < 4096)
            each_alloc_fails(talk_failing, &run);
    }
}

#define talk_each(t, d) talk_all((t), (d), sizeof(d) / sizeof(d)[0])

#endif
