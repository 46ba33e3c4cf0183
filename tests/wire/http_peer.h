/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TESTS_HTTP_PEER_H
#define FERRY_TESTS_HTTP_PEER_H

#include <errno.h>
#include <stdio.h>

#include "base/block.h"
#include "http/http_internal.h"

#include "support.h"

/*
 * A client and an owner around one HTTP machine. What the owner is told stands in `log`, one event
 * per line; what the client is sent in `out`.
 */
struct peer {
    struct ferry_blocks blocks;
    struct ferry_http_opts opts;
    struct ferry_http *m;
    struct ferry_http_event ev;
    uint64_t now;
    char log[65536];
    size_t log_len;
    char body[16384]; /* of the BODY events since the last line of the log */
    size_t body_len;
    char out[262144];
    size_t out_len;
    bool unread;   /* the client reads nothing: output stays queued */
    bool unwanted; /* the owner wants no bodies */
    bool deaf;     /* the owner answers nothing by itself */
    unsigned heads, bads;
};

static struct peer peer;

static inline void note(struct peer *c, const char *line)
{
    c->log_len += (size_t)snprintf(c->log + c->log_len, sizeof c->log - c->log_len, "%s\n", line);
    assert_true(c->log_len < sizeof c->log);
}

static inline void note_body(struct peer *c)
{
    char line[16400];

    if (c->body_len == 0)
        return;
    snprintf(line, sizeof line, "body %.*s", (int)c->body_len, c->body);
    c->body_len = 0;
    note(c, line);
}

/* The default options but for `opts`; blocks are not kept, so that sanitizers see each one's end.
 */
static inline struct peer *peer_open(const struct ferry_http_opts *opts)
{
    struct peer *c = &peer;

    memset(c, 0, sizeof *c);
    ferry_blocks_init(&c->blocks, 0, 0);
    if (opts)
        c->opts = *opts;
    c->opts.blocks = &c->blocks;
    c->now = 1000;
    c->m = ferry_http_new(&c->opts, c->now);
    return c;
}

static inline void peer_close(struct peer *c)
{
    ferry_http_free(c->m);
    c->m = NULL;
    ferry_blocks_fini(&c->blocks);
}

static inline int respond(struct peer *c, int status, int64_t length)
{
    struct ferry_http_response r = {.status = status, .content_length = length};

    return ferry_http_respond(c->m, &r);
}

/* Answers with a small body that names the request. */
static inline void answer(struct peer *c, int status, const char *text)
{
    if (respond(c, status, (int64_t)strlen(text)) < 0 ||
        ferry_http_write(c->m, NULL, ferry_slice_z(text)) < 0)
        ferry_http_cut(c->m);
    else
        assert_int_equal(ferry_http_finish(c->m), 0);
}

/* Pulls all events; the owner wants every body and answers at its end. */
static inline void pull(struct peer *c)
{
    char line[600];

    while (c->m && ferry_http_event(c->m, &c->ev) == 1) {
        const struct ferry_http_head *h = &c->ev.head;

        if (c->ev.type == FERRY_HTTP_EV_BODY) {
            assert_true(c->body_len + c->ev.data.len <= sizeof c->body);
            memcpy(c->body + c->body_len, c->ev.data.p, c->ev.data.len);
            c->body_len += c->ev.data.len;
            continue;
        }
        note_body(c);
        switch (c->ev.type) {
        case FERRY_HTTP_EV_HEAD:
            c->heads++;
            snprintf(line, sizeof line, "head %.*s %.*s %d", (int)h->method.len, h->method.p,
                     (int)(h->target.len < 400 ? h->target.len : 400), h->target.p,
                     (int)h->content_length);
            note(c, line);
            if (!c->unwanted)
                ferry_http_body_start(c->m, c->now);
            break;
        case FERRY_HTTP_EV_END:
            note(c, "end");
            if (!c->deaf)
                answer(c, 200, "ok");
            break;
        case FERRY_HTTP_EV_BAD:
            c->bads++;
            snprintf(line, sizeof line, "bad %d", c->ev.status);
            note(c, line);
            if (c->deaf)
                break;
            if (ferry_http_responded(c->m))
                ferry_http_cut(c->m);
            else
                answer(c, c->ev.status, "no");
            break;
        default:
            note(c, "gone");
        }
    }
}

/* The client reads what is there. */
static inline void client_reads(struct peer *c)
{
    struct ferry_chain *out = ferry_http_output(c->m);
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
        ferry_http_sent(c->m, sent, c->now);
    }
    c->out[c->out_len] = '\0';
}

/* The client sends n bytes: how many the machine took. */
static inline size_t client_sends_n(struct peer *c, const char *p, size_t n)
{
    size_t at = 0;

    while (at < n) {
        ssize_t took = ferry_http_recv(c->m, p + at, n - at, c->now);

        assert_true(took >= 0 && (size_t)took <= n - at);
        at += (size_t)took;
        pull(c);
        if (!c->unread)
            client_reads(c);
        if (took == 0)
            break;
    }
    note_body(c);
    return at;
}

static inline size_t client_sends(struct peer *c, const char *text)
{
    return client_sends_n(c, text, strlen(text));
}

static inline void client_closes(struct peer *c)
{
    assert_int_equal(ferry_http_recv(c->m, NULL, 0, c->now), 0);
    pull(c);
    note_body(c);
    if (!c->unread)
        client_reads(c);
}

/* Time passes up to `ms` after the beginning. */
static inline void passes(struct peer *c, uint64_t ms)
{
    c->now = 1000 + ms;
    if (ferry_http_deadline(c->m) <= c->now)
        ferry_http_tick(c->m, c->now);
    pull(c);
    if (!c->unread)
        client_reads(c);
}

static inline bool lingers(const struct peer *c)
{
    return ferry_http_machine.wants_shutdown(c->m);
}

#define assert_log(c, text) assert_string_equal((c)->log, text)
#define assert_out(c, text) assert_string_equal((c)->out, text)

#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#define OK_CLOSE "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"

#endif
