/* SPDX-License-Identifier: MIT */
#include "cgi/response.h"

#include "support.h"

#include <ctype.h>
#include <stdio.h>

#define MAX 65536

static ssize_t parse(struct ferry_slice in, size_t max, struct ferry_cgi_response *out,
                     const char **why)
{
    size_t scanned = 0;

    return ferry_cgi_response_parse(guard_copy(0, in.p, in.len), in.len, max, &scanned, out, why);
}

/* What a response says, on one line each, so that a table can hold it. */
static const char *text_of(const struct ferry_cgi_response *r)
{
    static char text[8192];
    size_t at = 0;

    at += (size_t)snprintf(text, sizeof text, "%d [%.*s] %lld", r->status, (int)r->reason.len,
                           r->reason.len ? r->reason.p : "", (long long)r->content_length);
    if (r->ignored)
        at += (size_t)snprintf(text + at, sizeof text - at, " -%u", r->ignored);
    for (unsigned i = 0; i < r->nfields; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "\n%.*s=%.*s",
                               (int)r->fields[i].name.len, r->fields[i].name.p,
                               (int)r->fields[i].value.len, r->fields[i].value.p);
    return text;
}

static const struct {
    const char *block, *want;
} good[] = {
    {"Content-Type: text/html\r\n\r\n", "200 [] -1\nContent-Type=text/html"},
    {"Content-Type: text/html\n\n", "200 [] -1\nContent-Type=text/html"},
    {"Content-Type: text/html\r\n\n", "200 [] -1\nContent-Type=text/html"},
    {"Content-Type: text/html\n\r\n", "200 [] -1\nContent-Type=text/html"},
    {"X-Powered-By: PHP/8.2\r\nSet-Cookie: a=1; path=/\r\nSet-Cookie: b=2\r\n"
     "Content-type: text/html; charset=UTF-8\r\n\r\n",
     "200 [] -1\nX-Powered-By=PHP/8.2\nSet-Cookie=a=1; path=/\nSet-Cookie=b=2\n"
     "Content-type=text/html; charset=UTF-8"},
    {"X:y\n\n", "200 [] -1\nX=y"},
    {"X: \t y \t \n\n", "200 [] -1\nX=y"},
    {"X:\n\n", "200 [] -1\nX="},
    {"X: \r\n\r\n", "200 [] -1\nX="},
    {"X: a:b: c\n\n", "200 [] -1\nX=a:b: c"},
    {"X: a\tb\n\n", "200 [] -1\nX=a\tb"},
    {"X: caf\xc3\xa9 \xff\x80\n\n", "200 [] -1\nX=caf\xc3\xa9 \xff\x80"},
    {"!#$%&'*+-.^_`|~09: x\n\n", "200 [] -1\n!#$%&'*+-.^_`|~09=x"},
    /* Status */
    {"Status: 404\n\n", "404 [] -1"},
    {"Status: 404 Not Found\r\n\r\n", "404 [Not Found] -1"},
    {"STATUS:500 \n\n", "500 [] -1"},
    {"status:  404   Far   gone \n\n", "404 [Far   gone] -1"},
    {"Status: 100\n\n", "100 [] -1"},
    {"Status: 599\n\n", "599 [] -1"},
    {"Status: 103 Early Hints\nLink: </a.css>; rel=preload\n\n",
     "103 [Early Hints] -1\nLink=</a.css>; rel=preload"},
    {"Status: 204\nX: y\n\n", "204 [] -1\nX=y"},
    {"Content-Type: a\nStatus: 201\n\n", "201 [] -1\nContent-Type=a"},
    {"HTTP/1.1 404 Not Found\r\nX: y\r\n\r\n", "404 [Not Found] -1\nX=y"},
    {"HTTP/1.0 200\n\n", "200 [] -1"},
    {"HTTP/1.1 200 \n\n", "200 [] -1"},
    /* Location */
    {"Location: http://h/x\n\n", "302 [] -1\nLocation=http://h/x"},
    {"location: /x?y\n\n", "302 [] -1\nlocation=/x?y"},
    {"Location: x\nStatus: 201 Created\n\n", "201 [Created] -1\nLocation=x"},
    {"Status: 200\nLocation: x\n\n", "200 [] -1\nLocation=x"},
    {"Location:\n\n", "200 [] -1\nLocation="},
    {"Location: a\nLocation: b\n\n", "302 [] -1 -1\nLocation=a"},
    {"Content-Type: a\ncontent-type: b\n\n", "200 [] -1 -1\nContent-Type=a"},
    /* lengths */
    {"Content-Length: 12\n\n", "200 [] 12"},
    {"CONTENT-LENGTH:0\nX: y\n\n", "200 [] 0\nX=y"},
    {"Content-Length: 9223372036854775807\n\n", "200 [] 9223372036854775807"},
    {"Content-Length: 7\nContent-Length: 007\n\n", "200 [] 7"},
    /* dropped for their names */
    {"Date: x\nX: y\nConnection: close\nKeep-Alive: 1\nProxy-Connection: a\nTE: a\nTrailer: a\n"
     "Upgrade: a\nProxy-Authenticate: a\nProxy-Authentication-Info: a\n\n",
     "200 [] -1 -9\nX=y"},
    {"date: x\nCONNECTION: close\nkeep-alive: 1\nte: a\n\n", "200 [] -1 -4"},
    {"X-Sendfile: /a\nX-Sendfile2: /a\nX-Accel-Redirect: /a\nX-LIGHTTPD-send-file: /a\n"
     "X-Lighttpd-Send-Tempfile: /a\nX-Reproxy-URL: http://h/\n\n",
     "200 [] -1 -6"},
    {"X-Accel-Buffering: no\nProxy-Status: a\nDates: b\nX-Sendfilx: c\n\n",
     "200 [] -1\nX-Accel-Buffering=no\nProxy-Status=a\nDates=b\nX-Sendfilx=c"},
    {"X(y): z\na: b\n\n", "200 [] -1 -1\na=b"},
    {"\xc3\xa9: z\na: b\n\n", "200 [] -1 -1\na=b"},
    {"{\"error\": \"x\"}\na: b\n\n", "200 [] -1 -1\na=b"},
};

static void blocks_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct ferry_cgi_response got;
        struct ferry_slice in = ferry_slice_z(good[i].block);
        const char *why = "";

        if (parse(in, MAX, &got, &why) != (ssize_t)in.len)
            fail_msg("refused: %s: %s", good[i].block, why);
        assert_string_equal(text_of(&got), good[i].want);
        /* The limit is the block's own length, and then one less. */
        assert_int_equal(parse(in, in.len, &got, &why), in.len);
        assert_int_equal(parse(in, in.len - 1, &got, &why), FERRY_ELIMIT);
    }
}

/* Every proper prefix says "more", whichever way it grows, and the body is not touched. */
static void blocks_may_come_in_pieces(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct ferry_slice in = ferry_slice_z(good[i].block);
        static char with_body[1024];
        size_t by_one = 0, scanned = 0;
        struct ferry_cgi_response got;
        const char *why;

        for (size_t n = 0; n < in.len; n++) {
            const char *p = guard_copy(0, in.p, n);

            scanned = 0;
            assert_int_equal(ferry_cgi_response_parse(p, n, MAX, &scanned, &got, &why), 0);
            assert_int_equal(ferry_cgi_response_parse(p, n, MAX, &by_one, &got, &why), 0);
            assert_true(by_one <= n);
            /* one cut at n, then everything */
            p = guard_copy(0, in.p, in.len);
            assert_int_equal(ferry_cgi_response_parse(p, in.len, MAX, &scanned, &got, &why),
                             in.len);
            assert_string_equal(text_of(&got), good[i].want);
        }
        snprintf(with_body, sizeof with_body, "%sStatus: 500\n\n", good[i].block);
        assert_int_equal(
            ferry_cgi_response_parse(with_body, strlen(with_body), MAX, &by_one, &got, &why),
            in.len);
        assert_string_equal(text_of(&got), good[i].want);
    }
}

static void bad_blocks_are_refused(void **state)
{
    static const struct {
        struct ferry_slice block;
        const char *want_why;
    } cases[] = {
#define BAD(block, why) {FERRY_SLICE_INIT(block), why}
        BAD("\n", "an empty header block"),
        BAD("\r\n", "an empty header block"),
        BAD("<html>\n\n", "without a colon"),
        BAD("X: y\nplain\n\n", "without a colon"),
        BAD("PHP Warning\nX: y\n\n", "without a colon"),
        BAD("X: y\nHTTP/1.1 200 OK\n\n", "without a colon"),
        BAD("HTTP/1.1\n\n", "without a colon"),
        BAD("HTTP/2 200 OK\n\n", "without a colon"),
        BAD("HTTP/1.1\t200\n\n", "without a colon"),
        BAD("HTTP/1.x 200\n\n", "without a colon"),
        BAD("http/1.1 200\n\n", "without a colon"),
        BAD(": y\n\n", "without a name"),
        BAD("X : y\n\n", "blank in the name"),
        BAD("X\t: y\n\n", "blank in the name"),
        BAD("X y: z\n\n", "blank in the name"),
        BAD("Content-Length : 5\n\n", "blank in the name"),
        BAD("X: y\n z\n\n", "folded"),
        BAD("X: y\n\tz\n\n", "folded"),
        BAD(" X: y\n\n", "folded"),
        BAD("X: y\n \n\n", "folded"),
        BAD("X: a\0b\n\n", "control byte"),
        BAD("X\0: a\n\n", "control byte"),
        BAD("X: a\rb\n\n", "control byte"),
        BAD("X: a\r\r\n\r\n", "control byte"),
        BAD("X: a\n\r\r\n\n", "control byte"),
        BAD("X: a\rY: b\n\n", "control byte"),
        BAD("X\r: a\n\n", "control byte"),
        BAD("X: 12345678\x01\x32\n\n", "control byte"),
        BAD("X: 123456\x7f\x38\n\n", "control byte"),
        BAD("X: \x1b[31m\n\n", "control byte"),
        BAD("Status: 200 O\x07K\n\n", "control byte"),
        BAD("HTTP/1.1 200 O\x07K\n\n", "control byte in the status line"),
        BAD("Status:\n\n", "a bad Status"),
        BAD("Status: 0\n\n", "a bad Status"),
        BAD("Status: 20\n\n", "a bad Status"),
        BAD("Status: 099\n\n", "a bad Status"),
        BAD("Status: 600\n\n", "a bad Status"),
        BAD("Status: 999\n\n", "a bad Status"),
        BAD("Status: 2000\n\n", "a bad Status"),
        BAD("Status: 200OK\n\n", "a bad Status"),
        BAD("Status: 200\tOK\n\n", "a bad Status"),
        BAD("Status: -20\n\n", "a bad Status"),
        BAD("Status: +20\n\n", "a bad Status"),
        BAD("Status: 2 0\n\n", "a bad Status"),
        BAD("Status: OK\n\n", "a bad Status"),
        BAD("Status: 101 Switching Protocols\n\n", "Status 101"),
        BAD("Status: 200\nStatus: 200\n\n", "more than one Status"),
        BAD("HTTP/1.1 200 OK\nStatus: 404\n\n", "more than one Status"),
        BAD("HTTP/1.1 2000 OK\n\n", "a bad Status"),
        BAD("Content-Length:\n\n", "a bad Content-Length"),
        BAD("Content-Length: -1\n\n", "a bad Content-Length"),
        BAD("Content-Length: +1\n\n", "a bad Content-Length"),
        BAD("Content-Length: 0x10\n\n", "a bad Content-Length"),
        BAD("Content-Length: 5, 5\n\n", "a bad Content-Length"),
        BAD("Content-Length: 1 2\n\n", "a bad Content-Length"),
        BAD("Content-Length: 9223372036854775808\n\n", "a bad Content-Length"),
        BAD("Content-Length: 99999999999999999999999999\n\n", "a bad Content-Length"),
        BAD("Content-Length: 5\nX: y\nContent-Length: 6\n\n", "conflicting Content-Length"),
        BAD("Transfer-Encoding: chunked\n\n", "Transfer-Encoding"),
        BAD("transfer-encoding: identity\n\n", "Transfer-Encoding"),
        BAD("Content-Length: 5\nTransfer-Encoding: chunked\n\n", "Transfer-Encoding"),
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_cgi_response got;
        const char *why = "";
        ssize_t n = parse(cases[i].block, MAX, &got, &why);

        if (n != FERRY_EPROTOCOL)
            fail_msg("%s: gave %zd", cases[i].block.p, n);
        if (!strstr(why, cases[i].want_why))
            fail_msg("%s: got \"%s\", want \"%s\"", cases[i].block.p, why, cases[i].want_why);
    }
}

/* Every byte in a value, in every place of an eight-byte word, and in a name. */
static void all_bytes(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        bool want = c >= 0x20 ? c != 0x7f : c == '\t';
        struct ferry_cgi_response got;
        const char *why;

        if (c == '\n')
            continue;
        for (int at = 0; at < 19; at++) {
            char block[] = "X:vvvvvvvvvvvvvvvvvvvv\n\n";
            ssize_t n;

            block[2 + at] = (char)c;
            n = parse(ferry_slice(block, sizeof block - 1), MAX, &got, &why);
            assert_int_equal(n, want ? (ssize_t)sizeof block - 1 : FERRY_EPROTOCOL);
        }
    }
    for (int c = 1; c < 256; c++) {
        char block[] = "Xx: y\n\n";
        struct ferry_cgi_response got;
        const char *why;
        ssize_t n;

        if (c == '\n' || c == ':')
            continue;
        block[1] = (char)c;
        n = parse(ferry_slice_z(block), MAX, &got, &why);
        if (c <= ' ' || c == 0x7f) {
            assert_int_equal(n, FERRY_EPROTOCOL);
        } else {
            bool token = (c < 0x80 && isalnum(c)) || strchr("!#$%&'*+-.^_`|~", c);
            assert_int_equal(n, 7);
            assert_int_equal(got.nfields, token);
            assert_int_equal(got.ignored, !token);
        }
    }
}

static void fields_have_a_maximum(void **state)
{
    static char block[FERRY_CGI_FIELDS_MAX * 5 + 64];
    struct ferry_cgi_response got;
    const char *why = "";
    size_t at = 0;

    (void)state;
    for (unsigned i = 0; i < FERRY_CGI_FIELDS_MAX; i++)
        at += (size_t)snprintf(block + at, sizeof block - at, "X:y\n");
    /* Fields that are used or dropped take no room. */
    at += (size_t)snprintf(block + at, sizeof block - at, "Date: x\nStatus: 203\n");
    memcpy(block + at, "\n", 2);
    assert_int_equal(parse(ferry_slice_z(block), MAX, &got, &why), at + 1);
    assert_int_equal(got.nfields, FERRY_CGI_FIELDS_MAX);
    assert_int_equal(got.status, 203);
    memcpy(block + at, "X:y\n\n", 6);
    assert_int_equal(parse(ferry_slice_z(block), MAX, &got, &why), FERRY_ELIMIT);
    assert_non_null(strstr(why, "too many"));
    memcpy(block + at, "oops\n\n", 7);
    assert_int_equal(parse(ferry_slice_z(block), MAX, &got, &why), FERRY_EPROTOCOL);
}

/* Without an end the limit is reached at the limit, not before. */
static void blocks_have_a_maximum(void **state)
{
    static char block[300];
    struct ferry_cgi_response got;
    size_t scanned = 0;
    const char *why = "";

    (void)state;
    memset(block, 'x', sizeof block);
    for (size_t n = 0; n < 200; n++)
        assert_int_equal(ferry_cgi_response_parse(block, n, 200, &scanned, &got, &why), 0);
    assert_int_equal(ferry_cgi_response_parse(block, 200, 200, &scanned, &got, &why), FERRY_ELIMIT);
    assert_non_null(strstr(why, "too long"));
    /* An end that lies behind the limit does not count. */
    memcpy(block + 198, "\n\n\n", 3);
    scanned = 0;
    assert_int_equal(ferry_cgi_response_parse(block, 300, 199, &scanned, &got, &why), FERRY_ELIMIT);
    block[1] = ':';
    scanned = 0;
    assert_int_equal(ferry_cgi_response_parse(block, 300, 200, &scanned, &got, &why), 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_read),        cmocka_unit_test(blocks_may_come_in_pieces),
        cmocka_unit_test(bad_blocks_are_refused), cmocka_unit_test(all_bytes),
        cmocka_unit_test(fields_have_a_maximum),  cmocka_unit_test(blocks_have_a_maximum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
