/* SPDX-License-Identifier: MIT */
/*
 * Heads: what a web server makes of the header block of an answer (W-24, W-27), and of fields of a
 * request that could be taken for others (W-26).
 */
#include <stdio.h>
#include <string.h>

#include "check/gateway.h"

#define HEAD "Content-Type: text/plain\r\n"

static struct ferry_visit *answered(struct ferry_check *c, const char *method, const char *text)
{
    struct ferry_visit *v = ferry_visit_open(c);
    struct ferry_asked *r;

    ferry_visit_request(v, method, NULL);
    r = ferry_visit_asked(v);
    ferry_asked_say(r, text);
    ferry_asked_finish(r, 0);
    return v;
}

static void expect_field(struct ferry_visit *v, const char *name, const char *value)
{
    struct ferry_slice got = ferry_http_field(&v->response, name, 0);

    if (!ferry_slice_eq(got, ferry_slice_z(value)))
        ferry_check_fail(v->stage->check, "expected %s: %s, but it is \"%.*s\"", name, value,
                         (int)(got.len < 60 ? got.len : 60), got.p ? got.p : "");
}

/* -- W-24: Status and Location ---------------------------------------------------------------- */

static const struct {
    const char *head;
    int status;
    const char *body, *location;
} statuses[] = {
    {"Status: 404 Not Found\r\n" HEAD, 404, "there", NULL},
    {"Status: 503\r\n" HEAD, 503, "there", NULL},
    {HEAD "Status: 201 Created\r\nLocation: /made/it\r\n", 201, "there", "/made/it"},
    {"Status: 301 Moved Permanently\r\nLocation: http://example.org/x\r\n" HEAD, 301, "there",
     "http://example.org/x"},
    {"Location: http://example.org/x?y=z\r\n", 302, NULL, "http://example.org/x?y=z"},
    {"Status: 299 Something Else\r\n" HEAD, 299, "there", NULL},
};

static void status(struct ferry_check *c)
{
    struct ferry_visit *v = ferry_visit_get(c);
    struct ferry_asked *r = ferry_visit_asked(v);

    ferry_asked_say(r, statuses[c->at->arg].head);
    ferry_asked_say(r, "\r\n");
    if (statuses[c->at->arg].body)
        ferry_asked_say(r, statuses[c->at->arg].body);
    ferry_asked_finish(r, 0);
    ferry_visit_expect(v, statuses[c->at->arg].status, statuses[c->at->arg].body);
    if (statuses[c->at->arg].location)
        expect_field(v, "Location", statuses[c->at->arg].location);
}

static void status_passed(struct ferry_check *c)
{
    struct ferry_visit *v = answered(c, "GET", "Status: 404 Not Found\r\n" HEAD "\r\nnothing");

    ferry_visit_expect(v, 404, "nothing");
    if (ferry_http_field(&v->response, "Status", 0).p)
        ferry_check_fail(c, "expected the field Status to end here, but the client has it too");
}

/* To a path: followed inside, which asks the application again, or left to the client. */
static void local_redirect(struct ferry_check *c)
{
    struct ferry_visit *v = ferry_visit_open(c), *to = ferry_visit_open(c);
    struct ferry_asked *r;
    char text[400];

    ferry_visit_request(v, "GET", NULL);
    r = ferry_visit_asked(v);
    snprintf(text, sizeof text, "Location: %s\r\n\r\n", to->path);
    ferry_asked_say(r, text);
    ferry_asked_finish(r, 0);
    r = ferry_visit_nth(to, 0, true, 300);
    if (r) {
        ferry_asked_answer(r, "there");
        ferry_visit_expect(v, 200, "there");
        return;
    }
    ferry_visit_expect(v, 302, NULL);
    /* As it was given, or made absolute. */
    if (!memmem(v->response.head.p, v->response.head.len, to->path, strlen(to->path)))
        ferry_check_fail(c, "expected the Location in the response, but it is not there");
}

static void no_body(struct ferry_check *c)
{
    static const struct {
        const char *method, *text;
        int status;
    } all[] = {{"HEAD", HEAD "Content-Length: 5\r\n\r\nhello", 200},
               {"GET", "Status: 204 No Content\r\n\r\nhello", 204},
               {"GET", "Status: 304 Not Modified\r\nETag: \"x\"\r\n\r\nhello", 304}};
    struct ferry_visit *v = answered(c, all[c->at->arg].method, all[c->at->arg].text);
    struct ferry_asked *r;

    if (c->at->arg && ferry_visit_wait(v) == FERRY_HTTP_WHOLE && v->response.status >= 500)
        return; /* it is the application's mistake */
    ferry_visit_expect(v, all[c->at->arg].status, "");
    /* What is left of the answer must not become the next one. */
    ferry_stage_pass(c, 50);
    if (v->input != FERRY_HTTP_MORE)
        return;
    if (v->in.len > v->response.at)
        ferry_check_fail(c, "expected no body, but %zu bytes follow the head",
                         v->in.len - v->response.at);
    ferry_visit_again(v);
    ferry_visit_request(v, "GET", NULL);
    r = ferry_visit_asked(v);
    ferry_asked_answer(r, "next");
    ferry_visit_expect(v, 200, "next");
}

static void fields_pass(struct ferry_check *c)
{
    struct ferry_visit *v = answered(
        c, "GET", HEAD "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Check: one, two\r\n\r\nhello");
    struct ferry_slice second;

    ferry_visit_expect(v, 200, "hello");
    expect_field(v, "Content-Type", "text/plain");
    expect_field(v, "X-Check", "one, two");
    expect_field(v, "Set-Cookie", "a=1");
    second = ferry_http_field(&v->response, "Set-Cookie", 1);
    if (!ferry_slice_eq(second, FERRY_SLICE("b=2")))
        ferry_check_fail(c, "expected two fields Set-Cookie, but the second is not there");
}

/* Fields that would change where the response ends: never a body that is not the answer's. */
static void framing_fields(struct ferry_check *c)
{
    static const char *const heads[] = {
        HEAD "Transfer-Encoding: chunked\r\n\r\nhello",
        HEAD "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
        HEAD "Content-Length: 5\r\nContent-Length: 7\r\n\r\nhello",
        HEAD "Content-Length: -5\r\n\r\nhello"};
    struct ferry_visit *v = answered(c, "GET", heads[c->at->arg]);

    if (ferry_visit_wait(v) == FERRY_HTTP_BAD)
        ferry_check_fail(c, "expected a response that says where it ends, but got %s",
                         ferry_visit_said(v));
    if (v->response.end == FERRY_HTTP_WHOLE && v->response.status == 200)
        ferry_visit_expect(v, 200, "hello");
}

static void odd_status(struct ferry_check *c)
{
    static const char *const heads[] = {"Status: twelve\r\n", "Status: 99999\r\n",
                                        "Status: 42\r\n"};
    struct ferry_visit *v = ferry_visit_get(c);
    struct ferry_asked *r = ferry_visit_asked(v);

    ferry_asked_say(r, heads[c->at->arg]);
    ferry_asked_say(r, HEAD "\r\nhello");
    ferry_asked_finish(r, 0);
    ferry_visit_expect_error(v);
}

static const struct ferry_check_case redirects[] = {
    {"W-24a", "6.2", FERRY_INFERRED, "Status: 404 Not Found is obeyed", 0, status, 0},
    {"W-24b", "6.2", FERRY_INFERRED, "and so is Status: 503, without a reason", 0, status, 1},
    {"W-24c", "6.2", FERRY_INFERRED, "Status: 201 with a Location", 0, status, 2},
    {"W-24d", "6.2", FERRY_INFERRED, "Status: 301 with a Location", 0, status, 3},
    {"W-24e", "6.2", FERRY_INFERRED, "a Location with a host and no Status is a 302", 0, status, 4},
    {"W-24f", "6.2", FERRY_INFERRED, "a Location with a path is followed, or a 302", 0,
     local_redirect, 0},
    {"W-24g", "", FERRY_SILENT, "Status: 299, which has no reason of its own", 0, status, 5},
    {"W-24h", "6.2", FERRY_INFERRED, "HEAD: no body, whatever the application sends", 0, no_body,
     0},
    {"W-24i", "6.2", FERRY_INFERRED, "Status: 204: no body, or an error", 0, no_body, 1},
    {"W-24j", "6.2", FERRY_INFERRED, "Status: 304: no body, or an error", 0, no_body, 2},
    {"W-24k", "6.2", FERRY_INFERRED, "fields are passed on, also two of one name", 0, fields_pass,
     0},
    {"W-24l", "", FERRY_SILENT, "Transfer-Encoding of the application's: an error, or its body", 0,
     framing_fields, 0},
    {"W-24m", "", FERRY_SILENT, "and so with a Content-Length beside it", 0, framing_fields, 1},
    {"W-24n", "", FERRY_SILENT, "two Content-Lengths: an error, or its body", 0, framing_fields, 2},
    {"W-24o", "", FERRY_SILENT, "Content-Length: -5: an error, or its body", 0, framing_fields, 3},
    {"W-24p", "", FERRY_SILENT, "Status: twelve is an error of 500 to 599", 0, odd_status, 0},
    {"W-24q", "", FERRY_SILENT, "Status: 99999 is an error of 500 to 599", 0, odd_status, 1},
    {"W-24r", "", FERRY_SILENT, "Status: 42 is an error of 500 to 599", 0, odd_status, 2},
    {"W-24s", "", FERRY_SILENT, "Status itself is not passed on", 0, status_passed, 0},
};

const struct ferry_check_group ferry_check_w_24 = {"W-24", "Status, Location and other fields",
                                                   redirects, 19};

/* -- W-27: lines and limits ------------------------------------------------------------------- */

static void lines(struct ferry_check *c)
{
    static const char *const heads[] = {"Content-Type: text/plain\nX-Check: yes\n\nhello",
                                        "Content-Type: text/plain\r\nX-Check: yes\n\r\nhello",
                                        "Content-Type: text/plain\nX-Check: yes\r\n\nhello",
                                        "content-type:text/plain\r\nx-check:yes   \r\n\r\nhello"};
    struct ferry_visit *v = answered(c, "GET", heads[c->at->arg]);

    ferry_visit_expect(v, 200, "hello");
    expect_field(v, "Content-Type", "text/plain");
    expect_field(v, "X-Check", "yes");
}

static void odd_lines(struct ferry_check *c)
{
    static const struct {
        const char *text;
        size_t n;
    } heads[] = {
        {HEAD "no colon at all\r\n\r\nhello", sizeof HEAD "no colon at all\r\n\r\nhello"},
        {HEAD "X-Fold: a\r\n b\r\n\r\nhello", sizeof HEAD "X-Fold: a\r\n b\r\n\r\nhello"},
        {HEAD "X-Nul: a\0b\r\n\r\nhello", sizeof HEAD "X-Nul: a\0b\r\n\r\nhello"},
        {HEAD "X-Cr: a\rX-Evil: b\r\n\r\nhello", sizeof HEAD "X-Cr: a\rX-Evil: b\r\n\r\nhello"}};
    struct ferry_visit *v = ferry_visit_get(c);
    struct ferry_asked *r = ferry_visit_asked(v);

    ferry_asked_write(r, heads[c->at->arg].text, heads[c->at->arg].n - 1);
    ferry_asked_finish(r, 0);
    ferry_visit_expect_error(v);
}

/* n bytes of head, in fields of a hundred or in one. */
static void long_head(struct ferry_check *c)
{
    size_t n = (size_t)(c->at->arg < 0 ? -c->at->arg : c->at->arg);
    struct ferry_visit *v = ferry_visit_get(c);
    struct ferry_asked *r = ferry_visit_asked(v);
    char *head = ferry_check_alloc(c, n);

    memset(head, 'x', n);
    for (size_t at = 0; c->at->arg > 0 && at + 100 <= n; at += 100) {
        memcpy(head + at, "X-Long: ", 8);
        memcpy(head + at + 98, "\r\n", 2);
    }
    ferry_asked_say(r, HEAD);
    if (c->at->arg < 0)
        ferry_asked_say(r, "X-Long: ");
    ferry_asked_write(r, head, n);
    ferry_asked_say(r, c->at->arg < 0 ? "\r\n\r\nhello" : "\r\nhello");
    ferry_asked_finish(r, 0);
    if (n <= 4096) {
        ferry_visit_expect(v, 200, "hello");
        return;
    }
    if (ferry_visit_wait(v) == FERRY_HTTP_WHOLE && v->response.status < 500)
        ferry_visit_expect(v, 200, "hello");
}

static const struct ferry_check_case limits[] = {
    {"W-27a", "6.2", FERRY_INFERRED, "lines of the head may end with LF alone", 0, lines, 0},
    {"W-27b", "", FERRY_SILENT, "with CRLF and LF mixed", 0, lines, 1},
    {"W-27c", "", FERRY_SILENT, "with LF and CRLF mixed", 0, lines, 2},
    {"W-27d", "6.2", FERRY_INFERRED, "names have no case, blanks around values do not count", 0,
     lines, 3},
    {"W-27e", "", FERRY_SILENT, "a line without a colon is an error", 0, odd_lines, 0},
    {"W-27f", "", FERRY_SILENT, "a line that goes on with a blank is an error", 0, odd_lines, 1},
    {"W-27g", "", FERRY_SILENT, "a NUL in a field is an error", 0, odd_lines, 2},
    {"W-27h", "", FERRY_SILENT, "a CR in a field is an error", 0, odd_lines, 3},
    {"W-27i", "", FERRY_SILENT, "a head of 3 KiB is taken", 0, long_head, 3000},
    {"W-27j", "", FERRY_SILENT, "one of 100 KiB: taken, or an error", 0, long_head, 100000},
    {"W-27k", "", FERRY_SILENT, "a field of 100 KiB: taken, or an error", 0, long_head, -100000},
    {"W-27l", "", FERRY_SILENT, "a head of 8 MiB: taken, or an error", 0, long_head, 8000000},
};

const struct ferry_check_group ferry_check_w_27 = {"W-27", "lines and limits of the head", limits,
                                                   12};

/* -- W-26: fields taken for others ------------------------------------------------------------ */

static void done(struct ferry_visit *v, struct ferry_asked *r)
{
    ferry_asked_answer(r, "done");
    ferry_visit_expect(v, 200, "done");
}

static void httpoxy(struct ferry_check *c)
{
    struct ferry_visit *v = ferry_visit_get_with(c, "Proxy: http://evil.example/\r\n");
    struct ferry_asked *r = ferry_visit_asked_or_refused(v);
    struct ferry_slice got;

    if (!r)
        return;
    got = ferry_asked_param(r, "HTTP_PROXY", NULL);
    if (got.len)
        ferry_check_fail(c, "expected no HTTP_PROXY, but it is \"%.*s\"", (int)got.len, got.p);
    done(v, r);
}

/* A field whose name would make the same param as another's. */
static void same_param(struct ferry_check *c)
{
    static const char *const fields[] = {"X-Token: good\r\nX_Token: bad\r\n",
                                         "X_Token: bad\r\nX-Token: good\r\n",
                                         "X-Token: good\r\nX.Token: bad\r\n"};
    struct ferry_visit *v = ferry_visit_get_with(c, fields[c->at->arg]);
    struct ferry_asked *r = ferry_visit_asked_or_refused(v);
    struct ferry_slice got;
    unsigned n;

    if (!r)
        return;
    got = ferry_asked_param(r, "HTTP_X_TOKEN", &n);
    if (n != 1 || !ferry_slice_eq(got, FERRY_SLICE("good")))
        ferry_check_fail(c,
                         "expected one HTTP_X_TOKEN = good, but there %s %u, and the first is "
                         "\"%.*s\"",
                         n == 1 ? "is" : "are", n, (int)got.len, got.p ? got.p : "");
    done(v, r);
}

static void length_name(struct ferry_check *c)
{
    struct ferry_visit *v = ferry_visit_open(c);
    struct ferry_asked *r;
    struct ferry_slice got;
    unsigned n;

    ferry_visit_request(v, "POST", HEAD "Content_Length: 1\r\nContent-Length: 5\r\n");
    ferry_visit_send(v, "hello", 5);
    r = ferry_visit_asked_or_refused(v);
    if (!r)
        return;
    got = ferry_asked_param(r, "CONTENT_LENGTH", &n);
    if (n != 1 || !ferry_slice_eq(got, FERRY_SLICE("5")) || r->body.len != 5)
        ferry_check_fail(c,
                         "expected one CONTENT_LENGTH = 5, but there %s %u, and the first is "
                         "\"%.*s\"",
                         n == 1 ? "is" : "are", n, (int)got.len, got.p ? got.p : "");
    done(v, r);
}

/* Requests that say twice where they end: refused, or read in one way only. */
static void two_lengths(struct ferry_check *c)
{
    static const char *const fields[] = {"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
                                         "Content-Length: 5\r\nContent-Length: 6\r\n",
                                         "Transfer-Encoding: xchunked\r\n",
                                         "Content-Length: 5, 6\r\n"};
    struct ferry_visit *v = ferry_visit_open(c);
    struct ferry_asked *r;
    struct ferry_slice text;
    uint64_t n = 0;

    ferry_visit_request(v, "POST", fields[c->at->arg]);
    ferry_visit_send(v, "0\r\n\r\nX", 6);
    r = ferry_visit_asked_or_refused(v);
    if (!r)
        return;
    if (c->at->arg)
        ferry_check_fail(c,
                         "expected the request to be refused, but it came with %zu bytes of "
                         "STDIN",
                         r->body.len);
    text = ferry_asked_param(r, "CONTENT_LENGTH", NULL);
    if (r->body.len || (text.len && (ferry_slice_u64(text, UINT64_MAX, &n) < 0 || n)))
        ferry_check_fail(c,
                         "expected the chunked body, which is empty, and no other "
                         "CONTENT_LENGTH, but STDIN has %zu bytes and CONTENT_LENGTH is "
                         "\"%.*s\"",
                         r->body.len, (int)text.len, text.p ? text.p : "");
    ferry_asked_answer(r, "done");
    ferry_visit_wait(v);
}

static void twice(struct ferry_check *c)
{
    struct ferry_visit *v = ferry_visit_get_with(c, c->at->arg ? "Cookie: a=1\r\nCookie: b=2\r\n"
                                                               : "X-Two: one\r\nX-Two: two\r\n");
    struct ferry_asked *r = ferry_visit_asked_or_refused(v);
    const char *name = c->at->arg ? "HTTP_COOKIE" : "HTTP_X_TWO";
    const char *wanted = c->at->arg ? "a=1; b=2" : "one, two";
    struct ferry_slice got;
    unsigned n;

    if (!r)
        return;
    got = ferry_asked_param(r, name, &n);
    if (n != 1)
        ferry_check_fail(c, "expected one param %s, but there are %u", name, n);
    if (!ferry_slice_eq(got, ferry_slice_z(wanted)))
        ferry_check_fail(c, "expected %s = \"%s\", but it is \"%.*s\"", name, wanted, (int)got.len,
                         got.p);
    done(v, r);
}

static const struct ferry_check_case spoofs[] = {
    {"W-26a", "", FERRY_SILENT, "a field Proxy does not become HTTP_PROXY", 0, httpoxy, 0},
    {"W-26b", "", FERRY_SILENT, "X_Token behind X-Token does not change HTTP_X_TOKEN", 0,
     same_param, 0},
    {"W-26c", "", FERRY_SILENT, "nor does it before", 0, same_param, 1},
    {"W-26d", "", FERRY_SILENT, "nor does X.Token", 0, same_param, 2},
    {"W-26e", "6.2", FERRY_INFERRED, "Content_Length does not change CONTENT_LENGTH", 0,
     length_name, 0},
    {"W-26f", "", FERRY_SILENT, "Content-Length and chunked: refused, or read as chunked", 0,
     two_lengths, 0},
    {"W-26g", "", FERRY_SILENT, "two Content-Lengths that differ are refused", 0, two_lengths, 1},
    {"W-26h", "", FERRY_SILENT, "an unknown Transfer-Encoding is refused", 0, two_lengths, 2},
    {"W-26i", "", FERRY_SILENT, "Content-Length: 5, 6 is refused", 0, two_lengths, 3},
    {"W-26j", "", FERRY_SILENT, "a field that comes twice is one param, joined with a comma", 0,
     twice, 0},
    {"W-26k", "", FERRY_SILENT, "Cookie that comes twice is one param, joined with a semicolon", 0,
     twice, 1},
};

const struct ferry_check_group ferry_check_w_26 = {"W-26", "fields taken for others", spoofs, 11};
