/* SPDX-License-Identifier: MIT */
/*
 * What a web server makes of an HTTP request: ids, padding, the order of the streams, the list of
 * params and the body (W-3 to W-8).
 */
#include <stdio.h>
#include <string.h>

#include "check/gateway.h"

#define CONTENT_TYPE "Content-Type: text/plain\r\n"

static void nothing_wrong(struct ferry_check *c, const struct ferry_asked *r)
{
    if (r->wrong[0])
        ferry_check_fail(c, "expected nothing against the protocol, but there was %s", r->wrong);
}

static void expect_body(struct ferry_check *c, const struct ferry_asked *r, const char *body,
                        size_t n)
{
    if (r->body.len != n)
        ferry_check_fail(c, "expected %zu bytes of STDIN, but there are %zu", n, r->body.len);
    if (n && memcmp(r->body.p, body, n) != 0)
        ferry_check_fail(c, "expected the bytes that the client sent, but STDIN has others");
}

/* CONTENT_LENGTH says what STDIN holds; both may be nothing. */
static void expect_true_length(struct ferry_check *c, const struct ferry_asked *r)
{
    struct ferry_slice text = ferry_asked_param(r, "CONTENT_LENGTH", NULL);
    uint64_t n = 0;

    if (text.len == 0) {
        if (r->body.len)
            ferry_check_fail(c, "expected CONTENT_LENGTH for %zu bytes of STDIN, but there is none",
                             r->body.len);
        return;
    }
    if (ferry_slice_u64(text, UINT64_MAX, &n) < 0 || n != r->body.len)
        ferry_check_fail(c, "expected CONTENT_LENGTH to be %zu, the bytes of STDIN, but it is %.*s",
                         r->body.len, (int)(text.len < 40 ? text.len : 40), text.p);
}

static void done(struct ferry_visit *v, struct ferry_asked *r)
{
    ferry_asked_answer(r, "done");
    ferry_visit_expect(v, 200, "done");
}

/* -- W-3: ids --------------------------------------------------------------------------------- */

static void id_not_zero(struct ferry_check *c)
{
    struct ferry_visit *v = c->at->arg ? ferry_visit_post(c, "hello", 5) : ferry_visit_get(c);
    struct ferry_asked *r = ferry_visit_asked(v);

    if (r->id == 0)
        ferry_check_fail(c, "expected an id of 1 to 65535, but it is 0");
    if (ferry_stage(c)->wrong[0])
        ferry_check_fail(c, "expected records of FastCGI 1.0, but in %s", ferry_stage(c)->wrong);
    done(v, r);
}

static void ids_small(struct ferry_check *c)
{
    struct ferry_visit *v = ferry_visit_get(c);
    unsigned most = 0;

    for (int i = 0; i < 40; i++) {
        struct ferry_asked *r = ferry_visit_asked(v);

        if (r->id > most)
            most = r->id;
        done(v, r);
        ferry_visit_again(v);
        ferry_visit_request(v, "GET", NULL);
    }
    done(v, ferry_visit_asked(v));
    if (most > 32)
        ferry_check_fail(c,
                         "expected ids that are used again, but 40 requests, one after the "
                         "other, came up to id %u",
                         most);
}

static const struct ferry_check_case ids[] = {
    {"W-3a", "3.3", FERRY_MUST, "records have version 1, a request has an id that is not 0", 0,
     id_not_zero, 0},
    {"W-3b", "3.3", FERRY_MUST, "and so has one with a body", 0, id_not_zero, 1},
    {"W-3c", "3.3", FERRY_SHOULD, "ids are used again and stay small", 0, ids_small, 0},
};

const struct ferry_check_group ferry_check_w_3 = {"W-3", "versions and request ids", ids, 3};

/* -- W-4: padding ----------------------------------------------------------------------------- */

/* Eight lengths in a row: some are a multiple of eight by chance. */
static void padded(struct ferry_check *c)
{
    unsigned type = (unsigned)c->at->arg;

    for (size_t i = 1; i <= 8; i++) {
        struct ferry_visit *v = ferry_visit_open(c);
        struct ferry_asked *r;
        char fields[96];

        snprintf(fields, sizeof fields, CONTENT_TYPE "Content-Length: %zu\r\nX-Length: %.*s\r\n", i,
                 (int)i, "xxxxxxxx");
        ferry_visit_request(v, "POST", fields);
        ferry_visit_send(v, "hello, world", i);
        r = ferry_visit_asked(v);
        if (r->unpadded[type])
            ferry_check_fail(c,
                             "expected records of a multiple of eight bytes, but %u of %u are not",
                             r->unpadded[type], r->records[type]);
        done(v, r);
    }
}

static const struct ferry_check_case padding[] = {
    {"W-4a", "3.3", FERRY_SHOULD, "PARAMS records are padded to a multiple of eight bytes", 0,
     padded, FERRY_PARAMS},
    {"W-4b", "3.3", FERRY_SHOULD, "STDIN records are padded to a multiple of eight bytes", 0,
     padded, FERRY_STDIN},
};

const struct ferry_check_group ferry_check_w_4 = {"W-4", "padding", padding, 2};

/* -- W-5: the streams ------------------------------------------------------------------------- */

enum { GET, POST, HEAD, EMPTY };

static struct ferry_visit *ask(struct ferry_check *c, long how)
{
    struct ferry_visit *v;

    if (how == POST || how == EMPTY)
        return ferry_visit_post(c, "hello", how == POST ? 5 : 0);
    v = ferry_visit_open(c);
    ferry_visit_request(v, how == GET ? "GET" : "HEAD", NULL);
    return v;
}

static void in_order(struct ferry_check *c)
{
    struct ferry_visit *v = ask(c, c->at->arg);
    struct ferry_asked *r = ferry_visit_asked(v);

    /* More of it could still come. */
    ferry_stage_pass(c, 50);
    nothing_wrong(c, r);
    if (r->records[FERRY_PARAMS] < 2)
        ferry_check_fail(c, "expected PARAMS with content and an empty one, but there is only %u",
                         r->records[FERRY_PARAMS]);
    expect_body(c, r, "hello", c->at->arg == POST ? 5 : 0);
    ferry_asked_answer(r, c->at->arg == HEAD ? "" : "done");
    ferry_visit_expect(v, 200, c->at->arg == HEAD ? "" : "done");
}

static void begins_as_responder(struct ferry_check *c)
{
    struct ferry_visit *v = ferry_visit_get(c);
    struct ferry_asked *r = ferry_visit_asked(v);

    if (r->role != FERRY_RESPONDER)
        ferry_check_fail(c, "expected role 1, responder, but it is %u", r->role);
    done(v, r);
}

static void flags_known(struct ferry_check *c)
{
    struct ferry_visit *v = ferry_visit_get(c);
    struct ferry_asked *r = ferry_visit_asked(v);

    if (r->flags & ~FERRY_KEEP_CONN)
        ferry_check_fail(c, "expected flags 0 or 1, but they are 0x%02x", r->flags);
    done(v, r);
}

static const struct ferry_check_case streams[] = {
    {"W-5a", "6.1", FERRY_MUST, "GET: BEGIN_REQUEST, PARAMS and their end, the end of STDIN", 0,
     in_order, GET},
    {"W-5b", "6.1", FERRY_MUST, "POST: then STDIN with the body, and its end", 0, in_order, POST},
    {"W-5c", "6.1", FERRY_MUST, "HEAD: as GET", 0, in_order, HEAD},
    {"W-5d", "6.1", FERRY_MUST, "POST without a body: STDIN is ended too", 0, in_order, EMPTY},
    {"W-5e", "6.1", FERRY_MUST, "the role is responder", 0, begins_as_responder, 0},
    {"W-5f", "5.1", FERRY_SILENT, "no flag but KEEP_CONN is set", 0, flags_known, 0},
};

const struct ferry_check_group ferry_check_w_5 = {"W-5", "the streams of a request", streams, 6};

/* -- W-6: the list of params ------------------------------------------------------------------ */

/* The list, from end to end; `f` is told each pair and where its lengths stand. */
static void each_pair(struct ferry_check *c, const struct ferry_asked *r,
                      void (*f)(struct ferry_check *, const unsigned char *,
                                const struct ferry_param *))
{
    struct ferry_param pair;
    size_t at = 0;

    while (at < r->params.len) {
        ssize_t took =
            ferry_param_decode(r->params.p + at, r->params.len - at, r->params.len, &pair);

        if (took <= 0)
            ferry_check_fail(c, "expected whole pairs, but the list is cut after byte %zu of %zu",
                             at, r->params.len);
        if (f)
            f(c, (const unsigned char *)r->params.p + at, &pair);
        at += (size_t)took;
    }
}

static void list_whole(struct ferry_check *c)
{
    struct ferry_visit *v = ferry_visit_get(c);
    struct ferry_asked *r = ferry_visit_asked(v);
    struct ferry_slice method;

    each_pair(c, r, NULL);
    method = ferry_asked_param(r, "REQUEST_METHOD", NULL);
    if (!ferry_slice_eq(method, FERRY_SLICE("GET")))
        ferry_check_fail(c, "expected REQUEST_METHOD = GET, but it is \"%.*s\"", (int)method.len,
                         method.p ? method.p : "");
    done(v, r);
}

static void no_nul(struct ferry_check *c, const unsigned char *at, const struct ferry_param *pair)
{
    (void)at;
    if (pair->value.len && memchr(pair->value.p, '\0', pair->value.len))
        ferry_check_fail(c, "expected no NUL, but one is in %.*s", (int)pair->name.len,
                         pair->name.p);
}

static void nul_in_path(struct ferry_check *c)
{
    struct ferry_visit *v = ferry_visit_open(c);
    struct ferry_asked *r;

    ferry_visit_printf(v, "GET %s%%00x HTTP/1.1\r\nHost: %s\r\n\r\n", v->path, v->stage->host);
    r = ferry_visit_asked_or_refused(v);
    if (!r)
        return;
    each_pair(c, r, no_nul);
    done(v, r);
}

static void short_form(struct ferry_check *c, const unsigned char *at,
                       const struct ferry_param *pair)
{
    size_t name = at[0] & 0x80 ? 4 : 1;

    if ((pair->name.len < 128 && name == 4) || (pair->value.len < 128 && at[name] & 0x80))
        ferry_check_fail(c, "expected one byte for a length below 128, but %.*s has four",
                         (int)pair->name.len, pair->name.p);
}

static void lengths_short(struct ferry_check *c)
{
    struct ferry_visit *v = ferry_visit_get(c);
    struct ferry_asked *r = ferry_visit_asked(v);

    each_pair(c, r, short_form);
    done(v, r);
}

/* n bytes of 'v' in a field, and whether they arrive. */
static void put_field(struct ferry_bytes *b, unsigned i, size_t n)
{
    ferry_bytes_printf(b, "X-Long-%u: ", i);
    ferry_bytes_fill(b, 'v', n);
    ferry_bytes_add_z(b, "\r\n");
}

static void expect_field(struct ferry_check *c, const struct ferry_asked *r, unsigned i, size_t n)
{
    char name[32];
    struct ferry_slice value;

    snprintf(name, sizeof name, "HTTP_X_LONG_%u", i);
    value = ferry_asked_param(r, name, NULL);
    if (value.len != n)
        ferry_check_fail(c, "expected %s of %zu bytes, but it has %zu", name, n, value.len);
}

static const size_t long_fields[][3] = {{127, 128, 300}, {0}, {70000}};

/* What is too much may be refused, but is never cut. */
static void long_values(struct ferry_check *c)
{
    struct ferry_visit *v = ferry_visit_open(c);
    struct ferry_bytes b;
    struct ferry_asked *r;
    long which = c->at->arg;
    unsigned n = which == 0 ? 3 : which == 1 ? 20 : 1;

    ferry_visit_head(v, "GET");
    ferry_bytes_init(&b, 1 << 20);
    for (unsigned i = 0; i < n; i++)
        put_field(&b, i, which == 1 ? 4000 : long_fields[which][i]);
    ferry_bytes_add_z(&b, "\r\n");
    ferry_visit_send(v, b.p, b.len);
    ferry_bytes_fini(&b);
    r = which == 0 ? ferry_visit_asked(v) : ferry_visit_asked_or_refused(v);
    if (!r)
        return;
    each_pair(c, r, NULL);
    for (unsigned i = 0; i < n; i++)
        expect_field(c, r, i, which == 1 ? 4000 : long_fields[which][i]);
    done(v, r);
}

static const struct ferry_check_case params[] = {
    {"W-6a", "3.4", FERRY_MUST, "PARAMS is a whole list of pairs, REQUEST_METHOD among them", 0,
     list_whole, 0},
    {"W-6b", "6.1", FERRY_MUST, "no value has a NUL in it, also for %00 in the path", 0,
     nul_in_path, 0},
    {"W-6c", "3.4", FERRY_MUST, "values of 127, 128 and 300 bytes arrive whole", 0, long_values, 0},
    {"W-6d", "3.4", FERRY_SILENT, "a length below 128 takes one byte", 0, lengths_short, 0},
    {"W-6e", "3.4", FERRY_INFERRED, "80 KiB of params arrive whole or are refused, never cut", 0,
     long_values, 1},
    {"W-6f", "3.4", FERRY_INFERRED, "and so does one value of 70,000 bytes", 0, long_values, 2},
};

const struct ferry_check_group ferry_check_w_6 = {"W-6", "the list of params", params, 6};

/* -- W-7: the body ---------------------------------------------------------------------------- */

static char *pattern(struct ferry_check *c, size_t n)
{
    char *p = ferry_check_alloc(c, n);

    for (size_t i = 0; i < n; i++)
        p[i] = (char)(i * 2654435761u >> 24);
    return p;
}

static void body_of_length(struct ferry_check *c)
{
    size_t n = (size_t)c->at->arg;
    char *body = pattern(c, n);
    struct ferry_visit *v = ferry_visit_post(c, body, n);
    struct ferry_asked *r = ferry_visit_asked(v);

    expect_true_length(c, r);
    expect_body(c, r, body, n);
    nothing_wrong(c, r);
    done(v, r);
}

static void body_chunked(struct ferry_check *c)
{
    struct ferry_visit *v = ferry_visit_open(c);
    struct ferry_asked *r;

    ferry_visit_request(v, "POST", CONTENT_TYPE "Transfer-Encoding: chunked\r\n");
    for (int i = 0; i < 3; i++) {
        ferry_visit_printf(v, "6;ext=1\r\nabcde%d\r\n", i);
        if (c->at->arg)
            ferry_stage_pass(c, 60);
    }
    ferry_visit_printf(v, "0\r\n\r\n");
    r = ferry_visit_asked_or_refused(v);
    if (!r)
        return;
    expect_body(c, r, "abcde0abcde1abcde2", 18);
    expect_true_length(c, r);
    done(v, r);
}

static void body_slow(struct ferry_check *c)
{
    struct ferry_visit *v = ferry_visit_open(c);
    struct ferry_asked *r;

    ferry_visit_request(v, "POST", CONTENT_TYPE "Content-Length: 5\r\n");
    for (int i = 0; i < 5; i++) {
        ferry_stage_pass(c, 60);
        ferry_visit_send(v, "hello" + i, 1);
    }
    r = ferry_visit_asked(v);
    expect_true_length(c, r);
    expect_body(c, r, "hello", 5);
    done(v, r);
}

static bool is_over(const struct ferry_asked *r)
{
    return r->stdin_ended || r->aborted || r->conn->gone;
}

static void body_cut(struct ferry_check *c)
{
    struct ferry_visit *v = ferry_visit_open(c);
    uint64_t end = ferry_check_now() + ferry_stage(c)->timeout_ms;
    struct ferry_asked *r;

    ferry_visit_request(v, "POST", CONTENT_TYPE "Content-Length: 1000\r\n");
    ferry_visit_send(v, "0123456789", 10);
    ferry_visit_nth(v, 0, false, 200);
    if (c->at->arg)
        ferry_visit_reset(v);
    else
        ferry_visit_close(v);
    r = ferry_visit_nth(v, 0, false, 300);
    if (!r) /* it waited for the body, and the application never hears of it */
        return;
    while (!is_over(r) && ferry_check_now() < end)
        ferry_stage_turn(ferry_stage(c), 50);
    if (!is_over(r))
        ferry_check_fail(c,
                         "expected the end of STDIN, ABORT_REQUEST or a close, but nothing "
                         "comes for %u ms",
                         ferry_stage(c)->timeout_ms);
    if (r->body.len > 10)
        ferry_check_fail(c, "expected the 10 bytes that were sent, but STDIN has %zu", r->body.len);
}

static void body_then_more(struct ferry_check *c)
{
    struct ferry_visit *v = ferry_visit_open(c);
    struct ferry_asked *r;

    ferry_visit_printf(v,
                       "POST %s HTTP/1.1\r\nHost: %s\r\n" CONTENT_TYPE "Content-Length: 5\r\n\r\n"
                       "helloGET %sx HTTP/1.1\r\nHost: %s\r\n\r\n",
                       v->path, v->stage->host, v->stage->prefix, v->stage->host);
    r = ferry_visit_asked(v);
    ferry_stage_pass(c, 50);
    expect_body(c, r, "hello", 5);
    expect_true_length(c, r);
    done(v, r);
}

static void body_of_get(struct ferry_check *c)
{
    struct ferry_visit *v = ferry_visit_open(c);
    struct ferry_asked *r;

    ferry_visit_request(v, "GET", "Content-Length: 5\r\n");
    ferry_visit_send(v, "hello", 5);
    r = ferry_visit_asked_or_refused(v);
    if (!r)
        return;
    expect_true_length(c, r);
    done(v, r);
}

static const struct ferry_check_case bodies[] = {
    {"W-7a", "6.2", FERRY_MUST, "a body of one byte: CONTENT_LENGTH is what STDIN holds", 0,
     body_of_length, 1},
    {"W-7b", "6.2", FERRY_MUST, "a body of 65,535 bytes, as much as one record holds", 0,
     body_of_length, 65535},
    {"W-7c", "6.2", FERRY_MUST, "a body of 65,536 bytes", 0, body_of_length, 65536},
    {"W-7d", "6.2", FERRY_MUST, "a body of 5 MiB", 0, body_of_length, 5 << 20},
    {"W-7e", "6.2", FERRY_MUST, "no body: CONTENT_LENGTH is not there, empty or 0", 0,
     body_of_length, 0},
    {"W-7f", "6.2", FERRY_MUST, "a body in pieces arrives whole", 0, body_slow, 0},
    {"W-7g", "6.2", FERRY_INFERRED,
     "a chunked body comes with a true CONTENT_LENGTH, or is refused", 0, body_chunked, 0},
    {"W-7h", "6.2", FERRY_INFERRED, "and so does a chunked body that comes slowly", 0, body_chunked,
     1},
    {"W-7i", "6.2", FERRY_MUST,
     "the client closes in the middle: the end of STDIN, ABORT_REQUEST or a close", 0, body_cut, 0},
    {"W-7j", "6.2", FERRY_MUST, "the client resets in the middle: the same", 0, body_cut, 1},
    {"W-7k", "6.2", FERRY_MUST, "STDIN holds no byte of the client's next request", 0,
     body_then_more, 0},
    {"W-7l", "6.2", FERRY_INFERRED,
     "GET with a body: CONTENT_LENGTH is what STDIN holds, or it is refused", 0, body_of_get, 0},
};

const struct ferry_check_group ferry_check_w_7 = {"W-7", "the body of a request", bodies, 12};

/* -- W-8: both directions at once ------------------------------------------------------------- */

#define ECHO_LEN ((size_t)10 << 20)

static void echo(struct ferry_check *c)
{
    char *body = pattern(c, ECHO_LEN);
    struct ferry_visit *v = ferry_visit_post(c, body, ECHO_LEN);
    struct ferry_asked *r = ferry_visit_params(v);
    uint64_t end = ferry_check_now() + ferry_stage(c)->timeout_ms;
    size_t at = 0;

    ferry_asked_say(r, CONTENT_TYPE "\r\n");
    while (!(r->stdin_ended && at == r->body.len)) {
        /* As a program that writes what it has read before it reads on. */
        r->conn->deaf = r->conn->out.len > 1 << 18;
        if (r->body.len > at) {
            ferry_asked_write(r, r->body.p + at, r->body.len - at);
            at = r->body.len;
            end = ferry_check_now() + ferry_stage(c)->timeout_ms;
        }
        if (ferry_check_now() >= end)
            ferry_check_fail(c,
                             "expected %zu bytes of STDIN, but after %zu nothing comes for %u ms",
                             ECHO_LEN, at, ferry_stage(c)->timeout_ms);
        ferry_stage_turn(ferry_stage(c), 100);
    }
    r->conn->deaf = false;
    ferry_asked_finish(r, 0);
    ferry_visit_expect_bytes(v, 200, ferry_slice(body, ECHO_LEN));
}

static void answer_first(struct ferry_check *c)
{
    size_t n = ECHO_LEN / 2;
    char *body = pattern(c, ECHO_LEN);
    struct ferry_visit *v = ferry_visit_post(c, body, ECHO_LEN);
    struct ferry_asked *r = ferry_visit_params(v);

    r->conn->deaf = true;
    ferry_asked_say(r, CONTENT_TYPE "\r\n");
    ferry_asked_write(r, body, n);
    if (!ferry_asked_flush(r))
        ferry_check_fail(c,
                         "expected STDOUT to be read, but while STDIN is not, %zu bytes of it "
                         "wait for %u ms",
                         r->conn->out.len, ferry_stage(c)->timeout_ms);
    r->conn->deaf = false;
    if (!ferry_visit_nth(v, 0, true, ferry_stage(c)->timeout_ms))
        ferry_check_fail(c, "expected the end of STDIN, but it does not come");
    ferry_asked_finish(r, 0);
    ferry_visit_expect_bytes(v, 200, ferry_slice(body, n));
}

static const struct ferry_check_case both[] = {
    {"W-8a", "6.2", FERRY_MUST, "10 MiB are echoed while they come", 0, echo, 0},
    {"W-8b", "6.2", FERRY_INFERRED, "an answer of 5 MiB is read while its request's STDIN is not",
     0, answer_first, 0},
};

const struct ferry_check_group ferry_check_w_8 = {"W-8", "both directions at once", both, 2};
