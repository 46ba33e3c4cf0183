/* SPDX-License-Identifier: MIT */
#include "check/http.h"

#include "support.h"

#define OK "HTTP/1.1 200 OK\r\n"

static const struct {
    const char *text;
    bool head_only;
    enum ferry_http_input last;
    enum ferry_http_end end;
    int status;
    const char *body; /* NULL: not looked at */
    size_t left;      /* bytes behind it */
} all[] = {
    {OK "Content-Length: 5\r\n\r\nhello", false, FERRY_HTTP_MORE, FERRY_HTTP_WHOLE, 200, "hello"},
    {OK "content-length:5\r\n\r\nhelloHTTP", false, FERRY_HTTP_MORE, FERRY_HTTP_WHOLE, 200, "hello",
     4},
    {OK "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", false, FERRY_HTTP_MORE,
     FERRY_HTTP_WHOLE, 200, "hello"},
    {OK "Content-Length: 0\r\n\r\n", false, FERRY_HTTP_MORE, FERRY_HTTP_WHOLE, 200, ""},
    {OK "Content-Length: 5\r\n\r\nhel", false, FERRY_HTTP_EOF, FERRY_HTTP_CUT, 200, "hel"},
    {OK "Content-Length: 5\r\n\r\nhel", false, FERRY_HTTP_RESET, FERRY_HTTP_CUT, 200, "hel"},
    {OK "Content-Length: 5\r\n\r\nhel", false, FERRY_HTTP_MORE, FERRY_HTTP_OPEN, 200, "hel"},
    {OK "Content-Length: 5\r\n\r\n", true, FERRY_HTTP_MORE, FERRY_HTTP_WHOLE, 200, ""},
    {OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=y\r\n, world..!\r\n0\r\nT: 1\r\n\r\n",
     false, FERRY_HTTP_MORE, FERRY_HTTP_WHOLE, 200, "hello, world..!"},
    {OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", false, FERRY_HTTP_EOF, FERRY_HTTP_CUT,
     200, "hello"},
    {OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", false, FERRY_HTTP_EOF,
     FERRY_HTTP_CUT, 200, "hello"},
    {OK "\r\nto the end", false, FERRY_HTTP_EOF, FERRY_HTTP_WHOLE, 200, "to the end"},
    {OK "\r\nto the end", false, FERRY_HTTP_RESET, FERRY_HTTP_CUT, 200, "to the end"},
    {"HTTP/1.0 404\r\n\r\n", false, FERRY_HTTP_EOF, FERRY_HTTP_WHOLE, 404, ""},
    {"HTTP/1.1 204 No Content\r\n\r\n", false, FERRY_HTTP_MORE, FERRY_HTTP_WHOLE, 204, ""},
    {"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", false, FERRY_HTTP_MORE,
     FERRY_HTTP_WHOLE, 304, ""},
    {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" OK
     "Content-Length: 1\r\n\r\nx",
     false, FERRY_HTTP_MORE, FERRY_HTTP_WHOLE, 200, "x"},
    {"", false, FERRY_HTTP_EOF, FERRY_HTTP_NONE, 0, ""},
    {"HTTP/1.1 200 OK\r\nContent-", false, FERRY_HTTP_EOF, FERRY_HTTP_NONE, 0, ""},
    {"HTTP/1.1 100 Continue\r\n\r\n", false, FERRY_HTTP_RESET, FERRY_HTTP_NONE, 0, ""},
    {"SSH-2.0-whatever\r\n", false, FERRY_HTTP_MORE, FERRY_HTTP_BAD, 0, NULL},
    {"HTTP/1.1 20 OK\r\n\r\n", false, FERRY_HTTP_MORE, FERRY_HTTP_BAD, 0, NULL},
    {OK "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", false, FERRY_HTTP_MORE,
     FERRY_HTTP_BAD, 200, NULL},
    {OK "Content-Length: 5x\r\n\r\nhello", false, FERRY_HTTP_MORE, FERRY_HTTP_BAD, 200, NULL},
    {OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", false, FERRY_HTTP_MORE,
     FERRY_HTTP_BAD, 200, NULL},
    {OK "Transfer-Encoding: gzip\r\n\r\n", false, FERRY_HTTP_MORE, FERRY_HTTP_BAD, 200, NULL},
    {OK "Transfer-Encoding: chunked\r\n\r\nfive\r\n", false, FERRY_HTTP_MORE, FERRY_HTTP_BAD, 200,
     NULL},
    {OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello!!\r\n", false, FERRY_HTTP_MORE,
     FERRY_HTTP_BAD, 200, NULL},
    {OK "Transfer-Encoding: chunked\r\n\r\n1111111111111111\r\n", false, FERRY_HTTP_MORE,
     FERRY_HTTP_BAD, 200, NULL},
};

/* The text in two parts, the second of which ends at an unreadable page. */
static void read_cut_at(size_t i, size_t cut)
{
    struct ferry_http_response r;
    size_t len = strlen(all[i].text), took;
    struct ferry_slice whole = {guard_copy(0, all[i].text, len), len};

    ferry_http_response_init(&r, all[i].head_only, 4096);
    ferry_http_response_read(&r, (struct ferry_slice){guard_copy(1, all[i].text, cut), cut},
                             FERRY_HTTP_MORE);
    took = ferry_http_response_read(&r, whole, all[i].last);
    assert_int_equal(r.end, all[i].end);
    if (all[i].end != FERRY_HTTP_BAD)
        assert_int_equal(r.status, all[i].status);
    if (all[i].body) {
        assert_int_equal(r.body.len, strlen(all[i].body));
        if (r.body.len)
            assert_memory_equal(r.body.p, all[i].body, r.body.len);
    }
    if (r.end == FERRY_HTTP_WHOLE)
        assert_int_equal(len - took, all[i].left);
    ferry_http_response_fini(&r);
}

static void test_endings(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (size_t cut = 0; cut <= strlen(all[i].text); cut++)
            read_cut_at(i, cut);
}

static void test_fields(void **state)
{
    static const char text[] =
        OK "Set-Cookie: a\r\nX-Empty:\r\nset-cookie:\tb \r\nContent-Length: 0\r\n\r\n";
    struct ferry_http_response r;

    (void)state;
    ferry_http_response_init(&r, false, 10);
    ferry_http_response_read(&r, (struct ferry_slice){text, sizeof text - 1}, FERRY_HTTP_MORE);
    assert_slice_equal(ferry_http_field(&r, "SET-COOKIE", 0), "a");
    assert_slice_equal(ferry_http_field(&r, "Set-Cookie", 1), "b");
    assert_null(ferry_http_field(&r, "Set-Cookie", 2).p);
    assert_non_null(ferry_http_field(&r, "X-Empty", 0).p);
    assert_int_equal(ferry_http_field(&r, "X-Empty", 0).len, 0);
    assert_null(ferry_http_field(&r, "Missing", 0).p);
    ferry_http_response_fini(&r);
}

static void test_a_body_past_the_maximum(void **state)
{
    static const char text[] = OK "\r\n0123456789A";
    struct ferry_http_response r;

    (void)state;
    for (size_t over = 0; over < 2; over++) {
        ferry_http_response_init(&r, false, 10);
        ferry_http_response_read(&r, (struct ferry_slice){text, sizeof text - 2 + over},
                                 FERRY_HTTP_EOF);
        assert_int_equal(r.end, over ? FERRY_HTTP_BAD : FERRY_HTTP_WHOLE);
        ferry_http_response_fini(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_endings),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_a_body_past_the_maximum),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
