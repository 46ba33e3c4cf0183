/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TESTS_APP_CLIENT_H
#define FERRY_TESTS_APP_CLIENT_H

#include <poll.h>

#include "app_server.h"

/* The web server's end, record by record, and what it asserts of every connection. */

#define REPLIES REQUESTS
#define WAIT_MS 10000

struct reply {
    char *out;
    size_t len, cap;
    char err[256];
    size_t err_len;
    bool out_ended;
    unsigned ends;
    struct ferry_end_body end;
};

struct client {
    int fd;
    int err;        /* of the receive that failed */
    bool may_break; /* the server may close it at any time */
    size_t in_len;
    char in[1 << 17];
    struct reply replies[REPLIES];
    char values[256]; /* the GET_VALUES_RESULT */
    size_t values_len;
    bool got_values;
};

static inline struct client *dial(const struct server *s)
{
    struct client *c = calloc(1, sizeof *c);

    c->fd = socket(s->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(c->fd, (const struct sockaddr *)&s->addr, s->len), 0);
    return c;
}

static inline void hang_up(struct client *c)
{
    close(c->fd);
    for (int i = 0; i < REPLIES; i++)
        free(c->replies[i].out);
    free(c);
}

static inline void send_all(struct client *c, const void *p, size_t n)
{
    const char *at = p;

    while (n) {
        ssize_t sent = send(c->fd, at, n, MSG_NOSIGNAL);

        if (sent < 0 && c->may_break)
            return;
        assert_true(sent > 0);
        at += sent;
        n -= (size_t)sent;
    }
}

static inline void send_record(struct client *c, uint8_t type, uint16_t id, const void *p, size_t n)
{
    struct ferry_record rec = {.type = type, .id = id, .content_len = (uint16_t)n};
    char head[FERRY_RECORD_HEADER_LEN];

    ferry_record_encode(&rec, head);
    send_all(c, head, sizeof head);
    send_all(c, p, n);
}

/* BEGIN_REQUEST and the PARAMS stream; `params` are names and values in turn, up to a NULL. */
static inline void send_begin_as(struct client *c, enum ferry_role role, uint16_t id, uint8_t flags,
                                 const char *const *params)
{
    struct ferry_params_writer w;
    char mem[8192];
    ssize_t n;

    ferry_params_open(&w, mem, sizeof mem, id);
    ferry_params_begin_request(&w, (uint16_t)role, flags);
    for (; *params; params += 2)
        ferry_params_add(&w, ferry_slice_z(params[0]), ferry_slice_z(params[1]));
    n = ferry_params_close(&w, 0);
    assert_true(n > 0);
    send_all(c, mem, (size_t)n);
}

static inline void send_begin(struct client *c, uint16_t id, uint8_t flags,
                              const char *const *params)
{
    send_begin_as(c, FERRY_RESPONDER, id, flags, params);
}

static inline void send_deed(struct client *c, uint16_t id, uint8_t flags, const char *deed)
{
    const char *params[] = {"DO", deed, "NAME", "you", NULL};

    send_begin(c, id, flags, params);
}

static inline void send_stdin(struct client *c, uint16_t id, const char *p, size_t n)
{
    for (size_t at = 0; at < n; at += 65000)
        send_record(c, FERRY_STDIN, id, p + at, n - at < 65000 ? n - at : 65000);
}

static inline void send_end(struct client *c, uint16_t id)
{
    send_record(c, FERRY_STDIN, id, "", 0);
}

static inline void send_data(struct client *c, uint16_t id, const char *p, size_t n)
{
    for (size_t at = 0; at < n; at += 65000)
        send_record(c, FERRY_DATA, id, p + at, n - at < 65000 ? n - at : 65000);
}

static inline void send_data_end(struct client *c, uint16_t id)
{
    send_record(c, FERRY_DATA, id, "", 0);
}

/* Nothing comes for a moment. */
static inline void expect_silence(struct client *c)
{
    struct pollfd at = {.fd = c->fd, .events = POLLIN};

    assert_int_equal(poll(&at, 1, 50), 0);
}

/* A whole request without a body. */
static inline void ask(struct client *c, uint16_t id, uint8_t flags, const char *deed)
{
    send_deed(c, id, flags, deed);
    send_end(c, id);
}

static inline void on_record(struct client *c, const struct ferry_record *rec, const char *p)
{
    struct reply *r = &c->replies[rec->id % REPLIES];

    if (rec->id == 0) {
        assert_int_equal(rec->type, FERRY_GET_VALUES_RESULT);
        assert_true(rec->content_len <= sizeof c->values && !c->got_values);
        memcpy(c->values, p, rec->content_len);
        c->values_len = rec->content_len;
        c->got_values = true;
        return;
    }
    assert_int_equal(r->ends, 0); /* nothing follows END_REQUEST */
    switch (rec->type) {
    case FERRY_STDOUT:
        assert_false(r->out_ended);
        r->out_ended = rec->content_len == 0;
        if (r->cap < r->len + rec->content_len + 1) {
            r->cap = 2 * (r->len + rec->content_len + 1);
            r->out = realloc(r->out, r->cap);
        }
        memcpy(r->out + r->len, p, rec->content_len);
        r->len += rec->content_len;
        r->out[r->len] = 0;
        break;
    case FERRY_STDERR:
        assert_true(r->err_len + rec->content_len < sizeof r->err);
        memcpy(r->err + r->err_len, p, rec->content_len);
        r->err_len += rec->content_len;
        break;
    case FERRY_END_REQUEST:
        assert_int_equal(rec->content_len, FERRY_RECORD_BODY_LEN);
        ferry_end_body_decode(p, &r->end);
        r->ends++;
        break;
    default:
        fail_msg("a record of type %u", rec->type);
    }
}

/* One receive, and what it completes. False at the end of the connection. */
static inline bool receive(struct client *c)
{
    struct pollfd at = {.fd = c->fd, .events = POLLIN};
    struct ferry_record rec;
    size_t used = 0;
    ssize_t n;

    if (poll(&at, 1, WAIT_MS) == 0)
        fail_msg("nothing came for %d ms", WAIT_MS);
    n = recv(c->fd, c->in + c->in_len, sizeof c->in - c->in_len, 0);
    c->err = n < 0 ? errno : 0;
    if (n <= 0)
        return false;
    c->in_len += (size_t)n;
    while (ferry_record_decode(c->in + used, c->in_len - used, &rec) == FERRY_RECORD_HEADER_LEN) {
        size_t len = FERRY_RECORD_HEADER_LEN + rec.content_len + rec.padding_len;

        if (c->in_len - used < len)
            break;
        on_record(c, &rec, c->in + used + FERRY_RECORD_HEADER_LEN);
        used += len;
    }
    c->in_len -= used;
    memmove(c->in, c->in + used, c->in_len);
    return true;
}

static inline struct reply *reply(struct client *c, uint16_t id)
{
    struct reply *r = &c->replies[id % REPLIES];

    while (!r->ends)
        if (!receive(c))
            fail_msg("the connection ended before the answer of %u (%s)", id, strerror(c->err));
    return r;
}

/* Done with an answer: its id can be used again. */
static inline void forget(struct client *c, uint16_t id)
{
    struct reply *r = &c->replies[id % REPLIES];

    free(r->out);
    memset(r, 0, sizeof *r);
}

/* The answer of an ordinary request, as text. */
static inline void expect(struct client *c, uint16_t id, const char *out)
{
    struct reply *r = reply(c, id);

    assert_true(r->out_ended);
    assert_int_equal(r->end.protocol_status, FERRY_REQUEST_COMPLETE);
    assert_int_equal(r->end.app_status, 0);
    assert_string_equal(r->out, out);
    forget(c, id);
}

static inline void expect_refused(struct client *c, uint16_t id, enum ferry_protocol_status status)
{
    struct reply *r = reply(c, id);

    assert_int_equal(r->end.protocol_status, status);
    assert_int_equal(r->len, 0);
    assert_false(r->out_ended);
    forget(c, id);
}

/* The connection ends in good order, with nothing more on it. */
static inline void expect_end(struct client *c)
{
    assert_false(receive(c));
    assert_int_equal(c->err, 0);
    assert_int_equal(c->in_len, 0);
}

#define TEXT "Content-Type: text/plain; charset=utf-8\r\n\r\n"

static inline void expect_hello(struct client *c, uint16_t id)
{
    ask(c, id, FERRY_KEEP_CONN, "hello");
    expect(c, id, TEXT "hello you");
}

static inline unsigned long stat_of(struct client *c, const char *name)
{
    unsigned long n;
    const char *at;

    ask(c, 9, FERRY_KEEP_CONN, "stats");
    at = strstr(reply(c, 9)->out, name);
    assert_non_null(at);
    n = strtoul(at + strlen(name), NULL, 10);
    forget(c, 9);
    return n;
}

#endif
