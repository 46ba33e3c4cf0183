/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TESTS_WIRE_RECORDS_H
#define FERRY_TESTS_WIRE_RECORDS_H

/*
 * Records and events as text, so that a test is a table of conversations.
 *
 *     "BEGIN_REQUEST 1 x0001010000000000; PARAMS 1 'abc' +5; PARAMS 1; v2 STDIN 1; 77 0 #300"
 *
 * A record is [vVERSION] TYPE ID [CONTENT] [+PADDING], its type by name or number; content is
 * 'text', xHEX or #LENGTH of the letter x. What is written back is shorter: no padding (but it is
 * checked), long runs of x by their length. Events read "BEGIN 1 role=1 flags=1; PARAMS 1 'abc';
 * PARAMS_END 1;" with the fragments of one stream joined, so that they do not depend on how the
 * bytes came.
 */

#include <stdio.h>

#include "fcgi/conn.h"
#include "support.h"

#define TEXT_MAX (1 << 18)

struct text {
    char *p;
    size_t n;
    /* the stream event whose fragments are being joined; its quote is open */
    int open_type;
    unsigned open_id;
};

static inline void text_init(struct text *t)
{
    *t = (struct text){.p = test_calloc(1, TEXT_MAX), .open_type = -1};
}

static inline void text_free(struct text *t)
{
    test_free(t->p);
}

__attribute__((format(printf, 2, 3))) static inline void text_add(struct text *t, const char *f,
                                                                  ...)
{
    va_list ap;

    va_start(ap, f);
    t->n += (size_t)vsnprintf(t->p + t->n, TEXT_MAX - t->n, f, ap);
    va_end(ap);
    assert_true(t->n < TEXT_MAX);
}

static inline void text_close(struct text *t)
{
    if (t->open_type >= 0)
        text_add(t, "'; ");
    t->open_type = -1;
}

static inline void text_bytes(struct text *t, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] >= ' ' && p[i] < 127)
            text_add(t, "%c", p[i]);
        else
            text_add(t, "\\%02x", (unsigned char)p[i]);
}

/* -- records to bytes -- */

static inline unsigned type_number(const char *word, size_t n)
{
    for (unsigned t = 1; t < 12; t++)
        if (strlen(ferry_record_type_name(t)) == n &&
            memcmp(ferry_record_type_name(t), word, n) == 0)
            return t;
    assert_in_range(*word, '0', '9');
    return (unsigned)strtoul(word, NULL, 10);
}

static inline size_t content_bytes(const char **at, char *out)
{
    const char *s = *at;
    size_t n = 0;
    unsigned byte;
    char *after;

    if (*s == '\'') {
        for (s++; *s != '\''; s++)
            out[n++] = *s;
        s++;
    } else if (*s == 'x') {
        for (s++; *s && *s != ' ' && *s != ';'; s += 2) {
            assert_int_equal(sscanf(s, "%2x", &byte), 1);
            out[n++] = (char)byte;
        }
    } else if (*s == '#') {
        n = strtoul(s + 1, &after, 10);
        memset(out, 'x', n);
        s = after;
    }
    *at = s;
    return n;
}

/* The bytes of a script into out (TEXT_MAX): how many. Padding and reserved bytes are not zero, as
 * a peer may do. */
static inline size_t records(const char *s, char *out)
{
    size_t n = 0;

    for (;;) {
        unsigned version = 1;
        struct ferry_record r = {0};
        size_t len = 0;
        char *after;

        s += strspn(s, " ;");
        if (!*s)
            return n;
        if (*s == 'v') {
            version = (unsigned)strtoul(s + 1, &after, 10);
            s = after + 1;
        }
        r.type = (uint8_t)type_number(s, strcspn(s, " "));
        s += strcspn(s, " ");
        r.id = (uint16_t)strtoul(s, &after, 10);
        s = after + strspn(after, " ");
        assert_true(n + 8 + 65535 + 255 < TEXT_MAX);
        if (*s == '\'' || *s == 'x' || *s == '#')
            len = content_bytes(&s, out + n + 8);
        s += strspn(s, " ");
        if (*s == '+') {
            r.padding_len = (uint8_t)strtoul(s + 1, &after, 10);
            s = after;
        }
        r.content_len = (uint16_t)len;
        ferry_record_encode(&r, out + n);
        out[n] = (char)version;
        out[n + 7] = (char)0xaa;
        memset(out + n + 8 + len, 0xbb, r.padding_len);
        n += 8 + len + r.padding_len;
    }
}

/* -- bytes to records -- */

/* Records that our side wrote: checked for what we promise of all of them. */
static inline void text_records(struct text *t, const char *p, size_t n)
{
    while (n) {
        struct ferry_record r;
        const char *name;
        size_t len;

        assert_int_equal(ferry_record_decode(p, n, &r), 8); /* A-FRM-6, W-3 */
        assert_int_equal(p[7], 0);                          /* A-FRM-5 */
        len = 8u + r.content_len + r.padding_len;
        assert_true(len <= n);
        assert_int_equal(len % 8, 0); /* A-FRM-7, W-4 */
        assert_true(r.content_len + r.padding_len <= 65535);
        for (size_t i = 8u + r.content_len; i < len; i++)
            assert_int_equal(p[i], 0);
        name = ferry_record_type_name(r.type);
        assert_non_null(name);
        text_add(t, "%s %u", name, r.id);
        if (r.type == FERRY_BEGIN_REQUEST || r.type == FERRY_END_REQUEST ||
            r.type == FERRY_UNKNOWN_TYPE) {
            text_add(t, " x");
            for (size_t i = 0; i < r.content_len; i++)
                text_add(t, "%02x", (unsigned char)p[8 + i]);
        } else if (r.content_len > 100 && p[8] == 'x') {
            for (size_t i = 0; i < r.content_len; i++)
                assert_int_equal(p[8 + i], 'x');
            text_add(t, " #%u", r.content_len);
        } else if (r.content_len) {
            text_add(t, " '");
            text_bytes(t, p + 8, r.content_len);
            text_add(t, "'");
        }
        text_add(t, "; ");
        p += len;
        n -= len;
    }
}

/* Takes all output of a connection into out (TEXT_MAX), at most `step` bytes at a time: how many.
 */
static inline size_t take_output(struct ferry_conn *c, char *out, size_t step)
{
    struct ferry_chain *chain = ferry_conn_output(c);
    struct iovec iov[8];
    size_t n = 0;

    while (chain->len) {
        int vecs = ferry_chain_iov(chain, iov, 8);
        size_t took = 0;

        assert_true(vecs > 0);
        for (int i = 0; i < vecs && took < step; i++) {
            size_t len = iov[i].iov_len < step - took ? iov[i].iov_len : step - took;

            assert_true(n + took + len < TEXT_MAX);
            memcpy(out + n + took, iov[i].iov_base, len);
            took += len;
        }
        n += took;
        ferry_conn_sent(c, took, 0);
    }
    return n;
}

/* -- events -- */

static inline const char *event_name(enum ferry_conn_event_type type)
{
    static const char *const names[] = {
#define X(name) #name,
        FERRY_CONN_EVENT_MAP(X)
#undef X
    };
    return names[type];
}

static inline void text_event(struct text *t, const struct ferry_conn_event *ev)
{
    if (ev->data.len) {
        if (t->open_type != (int)ev->type || t->open_id != ev->id) {
            text_close(t);
            text_add(t, "%s %u '", event_name(ev->type), ev->id);
            t->open_type = (int)ev->type;
            t->open_id = ev->id;
        }
        text_bytes(t, ev->data.p, ev->data.len);
        return;
    }
    text_close(t);
    text_add(t, "%s", event_name(ev->type));
    if (ev->id)
        text_add(t, " %u", ev->id);
    if (ev->type == FERRY_CONN_BEGIN)
        text_add(t, " role=%u flags=%u", ev->begin.role, ev->begin.flags);
    if (ev->type == FERRY_CONN_END)
        text_add(t, " app=%u protocol=%u", (unsigned)ev->end.app_status, ev->end.protocol_status);
    if (ev->type == FERRY_CONN_VALUES)
        text_add(t, " conns=%d reqs=%d mpxs=%d", (int)ev->values.max_conns,
                 (int)ev->values.max_reqs, (int)ev->values.mpxs_conns);
    if (ev->type == FERRY_CONN_UNKNOWN_TYPE)
        text_add(t, " type=%u", ev->unknown_type);
    text_add(t, "; ");
}

/* -- feeding -- */

/* What to do when an event comes; NULL: nothing. */
typedef void react_fn(struct ferry_conn *, const struct ferry_conn_event *);

struct feed {
    struct ferry_conn *c;
    struct text events;
    react_fn *react;
    int err;
};

static inline bool pull(struct feed *f, const char *p, size_t n)
{
    struct ferry_conn_event ev;
    bool any = false;
    int got;

    while ((got = ferry_conn_event(f->c, &ev)) == 1) {
        any = true;
        if (ev.data.len) /* lies in what was given to recv */
            assert_true(ev.data.p >= p && ev.data.p + ev.data.len <= p + n);
        text_event(&f->events, &ev);
        if (f->react)
            f->react(f->c, &ev);
    }
    f->err = got;
    return any;
}

/* Gives one piece, flush against a guard page, as a pump would: the rest again after each event. */
static inline void feed_piece(struct feed *f, const char *bytes, size_t n)
{
    char *p = guard_copy(3, bytes, n);
    size_t at = 0;

    while (at < n && !f->err) {
        ssize_t took = ferry_conn_recv(f->c, p + at, n - at, 0);

        if (took < 0) {
            f->err = (int)took;
            break;
        }
        assert_true((size_t)took <= n - at);
        at += (size_t)took;
        if (!pull(f, p, n) && took == 0 && !f->err)
            fail_msg("nothing taken and no event");
    }
}

static inline void feed_eof(struct feed *f)
{
    if (f->err)
        return;
    f->err = (int)ferry_conn_recv(f->c, NULL, 0, 0);
    pull(f, NULL, 0);
}

/* xorshift: the same splits in every run */
static inline uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

#endif
