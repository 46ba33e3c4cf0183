/* SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "http/http_internal.h"

#include "support.h"

#define TARGET_MAX 100

static struct ferry_http_head head;
static bool keep;
static const char *why;

/* Parses a head that ends at a guard page. */
static int parse(const char *text, size_t n)
{
    return ferry__head_parse(guard_copy(0, text, n), n, TARGET_MAX, &head, &keep, &why);
}

static void good_heads_are_read(void **state)
{
    static const struct {
        const char *text;
        const char *method, *target, *host;
        enum ferry_http_method id;
        int minor;
        int64_t length;
        bool keep, expects;
        unsigned nfields;
    } cases[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/", "a", FERRY_HTTP_GET, 1, 0, true, false,
         1},
        {"GET /a?b=c%20d|{} HTTP/1.1\r\nHost:a.b:80\r\n\r\n", "GET", "/a?b=c%20d|{}", "a.b:80",
         FERRY_HTTP_GET, 1, 0, true, false, 1},
        {"GET /\xc3\xbc HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/\xc3\xbc", "a", FERRY_HTTP_GET, 1, 0,
         true, false, 1},
        {"GET / HTTP/1.0\r\n\r\n", "GET", "/", "", FERRY_HTTP_GET, 0, 0, false, false, 0},
        {"GET / HTTP/1.2\r\nHost: a\r\n\r\n", "GET", "/", "a", FERRY_HTTP_GET, 1, 0, true, false,
         1},
        {"HEAD / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "HEAD", "/", "", FERRY_HTTP_HEAD, 0,
         0, true, false, 1},
        {"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", "GET", "/", "", FERRY_HTTP_GET,
         0, 0, false, false, 1},
        {"get / HTTP/1.1\r\nHost: a\r\nConnection: x, ,CLOSE ,y\r\n\r\n", "get", "/", "a",
         FERRY_HTTP_OTHER, 1, 0, false, false, 2},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n", "GET", "/", "a", FERRY_HTTP_GET,
         1, 0, true, false, 2},
        {"GET / HTTP/1.1\r\nHost: a.b.:80\r\n\r\n", "GET", "/", "a.b.:80", FERRY_HTTP_GET, 1, 0,
         true, false, 1},
        {"PURGE /x HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", "PURGE", "/x", "[::1]:8080",
         FERRY_HTTP_OTHER, 1, 0, true, false, 1},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 007\r\n\r\n", "POST", "/", "a",
         FERRY_HTTP_POST, 1, 7, true, false, 2},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n", "POST",
         "/", "a", FERRY_HTTP_POST, 1, 0, true, false, 3},
        {"PUT / HTTP/1.1\r\nHost: a\r\ncontent-length: 9223372036854775807\r\nexpect: "
         "100-Continue\r\n\r\n",
         "PUT", "/", "a", FERRY_HTTP_PUT, 1, INT64_MAX, true, true, 3},
        {"PUT / HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n", "PUT", "/", "",
         FERRY_HTTP_PUT, 0, 3, false, false, 2},
        {"PUT / HTTP/1.0\r\nContent-Length: 3\r\nExpect: miracles\r\n\r\n", "PUT", "/", "",
         FERRY_HTTP_PUT, 0, 3, false, false, 2},
        {"PATCH / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \t Chunked \t\r\n\r\n", "PATCH", "/",
         "a", FERRY_HTTP_PATCH, 1, -1, true, false, 2},
        {"GET http://b.example:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n", "GET",
         "http://b.example:81/x?y", "b.example:81", FERRY_HTTP_GET, 1, 0, true, false, 1},
        {"GET HTTPS://b?q HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "HTTPS://b?q", "b", FERRY_HTTP_GET,
         1, 0, true, false, 1},
        {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS", "*", "a", FERRY_HTTP_OPTIONS, 1, 0,
         true, false, 1},
        {"CONNECT b:443 HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT", "b:443", "b:443",
         FERRY_HTTP_CONNECT, 1, 0, true, false, 1},
        {"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", "TRACE", "/", "a", FERRY_HTTP_TRACE, 1, 0, true,
         false, 1},
        {"DELETE / HTTP/1.1\r\nX:\r\nHost: a\r\nY: \t \r\n\r\n", "DELETE", "/", "a",
         FERRY_HTTP_DELETE, 1, 0, true, false, 3},
        {"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345 / HTTP/1.1\r\nHost: a\r\n\r\n",
         "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345", "/", "a", FERRY_HTTP_OTHER, 1, 0, true, false, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int status = parse(cases[i].text, strlen(cases[i].text));

        if (status != 0)
            fail_msg("%d %s: %s", status, why, cases[i].text);
        assert_true(ferry_slice_eq(head.method, ferry_slice_z(cases[i].method)));
        assert_true(ferry_slice_eq(head.target, ferry_slice_z(cases[i].target)));
        assert_true(ferry_slice_eq(head.host, ferry_slice_z(cases[i].host)));
        assert_int_equal(head.method_id, cases[i].id);
        assert_int_equal(head.minor, cases[i].minor);
        assert_int_equal(head.content_length, cases[i].length);
        assert_int_equal(head.has_body, cases[i].length != 0);
        assert_int_equal(head.expects_continue, cases[i].expects);
        assert_int_equal(head.nfields, cases[i].nfields);
        assert_int_equal(keep, cases[i].keep);
    }
}

static void fields_are_trimmed_and_keep_their_order(void **state)
{
    static const char text[] =
        "GET / HTTP/1.1\r\n"
        "Host: a\r\n"
        "X-One:1\r\n"
        "x_two!: \t two words\tand a tab \t \r\n"
        "Empty:\r\n"
        "X-One:   \xff\x80 again and long enough for eight at a time\r\n\r\n";

    (void)state;
    assert_int_equal(parse(text, sizeof text - 1), 0);
    assert_int_equal(head.nfields, 5);
    assert_slice_equal(head.fields[1].name, "X-One");
    assert_slice_equal(head.fields[1].value, "1");
    assert_slice_equal(head.fields[2].name, "x_two!");
    assert_slice_equal(head.fields[2].value, "two words\tand a tab");
    assert_int_equal(head.fields[3].value.len, 0);
    assert_slice_equal(head.fields[4].value, "\xff\x80 again and long enough for eight at a time");
}

/* Else HTTP_HOST would name another host than the one that was asked. */
static void an_absolute_target_rules_over_the_host_field(void **state)
{
    static const char text[] = "GET http://real/ HTTP/1.1\r\nHost: other\r\n\r\n";

    (void)state;
    assert_int_equal(parse(text, sizeof text - 1), 0);
    assert_slice_equal(head.host, "real");
    assert_slice_equal(head.fields[0].value, "real");
}

#define H "Host: a\r\n"

static const struct {
    const char *text;
    size_t len;
    int status;
} refused[] = {
#define R(status, text)                                                                            \
    {                                                                                              \
        text, sizeof(text) - 1, status                                                             \
    }
    /* the request line */
    R(400, " GET / HTTP/1.1\r\n" H "\r\n"),
    R(400, "GET\r\n\r\n"),
    R(400, "GET \r\n\r\n"),
    R(400, "GET /\r\n\r\n"),
    R(400, "GET / \r\n\r\n"),
    R(400, "GET  / HTTP/1.1\r\n" H "\r\n"),
    R(400, "GET /  HTTP/1.1\r\n" H "\r\n"),
    R(400, "GET\t/ HTTP/1.1\r\n" H "\r\n"),
    R(400, "GET /\tHTTP/1.1\r\n" H "\r\n"),
    R(400, "GET / HTTP/1.1 \r\n" H "\r\n"),
    R(400, "GET / x HTTP/1.1\r\n" H "\r\n"),
    R(400, "G(T / HTTP/1.1\r\n" H "\r\n"),
    R(400, "G\0T / HTTP/1.1\r\n" H "\r\n"),
    R(400, "GET /\0 HTTP/1.1\r\n" H "\r\n"),
    R(400, "GET /\x01 HTTP/1.1\r\n" H "\r\n"),
    R(400, "GET /\x7f HTTP/1.1\r\n" H "\r\n"),
    R(400, "GET /a#b HTTP/1.1\r\n" H "\r\n"),
    R(400, "GET /\r HTTP/1.1\r\n" H "\r\n"),
    R(400, "GET a HTTP/1.1\r\n" H "\r\n"),
    R(400, "GET a:80 HTTP/1.1\r\n" H "\r\n"),
    R(400, "GET * HTTP/1.1\r\n" H "\r\n"),
    R(400, "GET http:///x HTTP/1.1\r\n" H "\r\n"),
    R(400, "GET http://u@b/ HTTP/1.1\r\n" H "\r\n"),
    R(400, "GET ftp://b/ HTTP/1.1\r\n" H "\r\n"),
    R(400, "GET https:/b HTTP/1.1\r\n" H "\r\n"),
    R(400, "GET http://b\\c/ HTTP/1.1\r\n" H "\r\n"),
    R(400, "CONNECT /x HTTP/1.1\r\n" H "\r\n"),
    R(400, "OPTIONS ** HTTP/1.1\r\n" H "\r\n"),
    R(400, "GET / http/1.1\r\n" H "\r\n"),
    R(400, "GET / HTTP/1\r\n" H "\r\n"),
    R(400, "GET / HTTP/1.\r\n" H "\r\n"),
    R(400, "GET / HTTP/1.10\r\n" H "\r\n"),
    R(400, "GET / HTTP/1,1\r\n" H "\r\n"),
    R(400, "GET / HTTP/x.1\r\n" H "\r\n"),
    R(400, "GET / HTTP/1.x\r\n" H "\r\n"),
    R(400, "GET / HTTPS/1.1\r\n" H "\r\n"),
    R(400, "GET / HTTP/1.1\r\r\n" H "\r\n"),
    R(505, "PRI * HTTP/2.0\r\n\r\n"),
    R(505, "GET / HTTP/0.9\r\n\r\n"),
    R(505, "GET / HTTP/2.1\r\n" H "\r\n"),
    R(501, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456 / HTTP/1.1\r\n" H "\r\n"),
    /* fields */
    R(400, "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    R(400, "GET / HTTP/1.1\r\n" H "X: 1\r\n 2\r\n\r\n"),
    R(400, "GET / HTTP/1.1\r\n" H "X: 1\r\n\t2\r\n\r\n"),
    R(400, "GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
    R(400, "GET / HTTP/1.1\r\n" H "X\t: 1\r\n\r\n"),
    R(400, "GET / HTTP/1.1\r\n" H ": 1\r\n\r\n"),
    R(400, "GET / HTTP/1.1\r\n" H "X\r\n\r\n"),
    R(400, "GET / HTTP/1.1\r\n" H "X Y: 1\r\n\r\n"),
    R(400, "GET / HTTP/1.1\r\n" H "X(: 1\r\n\r\n"),
    R(400, "GET / HTTP/1.1\r\n" H "\xc3\xbc: 1\r\n\r\n"),
    R(400, "GET / HTTP/1.1\r\n" H "X\0: 1\r\n\r\n"),
    R(400, "GET / HTTP/1.1\r\n" H "X: a\0b\r\n\r\n"),
    R(400, "GET / HTTP/1.1\r\n" H "X: a\rb\r\n\r\n"),
    R(400, "GET / HTTP/1.1\r\n" H "X: a\r\r\n\r\n"),
    R(400, "GET / HTTP/1.1\r\n" H "X: a\x1b[0m\r\n\r\n"),
    R(400, "GET / HTTP/1.1\r\n" H "X: a\x7f\r\n\r\n"),
    R(400, "GET / HTTP/1.1\r\n" H "\rX: a\r\n\r\n"),
    /* Host */
    R(400, "GET / HTTP/1.1\r\n\r\n"),
    R(400, "GET http://b/ HTTP/1.1\r\n\r\n"),
    R(400, "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    R(400, "GET / HTTP/1.0\r\nHost:\r\n\r\n"),
    R(400, "GET / HTTP/1.1\r\n" H H "\r\n"),
    R(400, "GET / HTTP/1.0\r\n" H "host: b\r\n\r\n"),
    R(400, "GET http://b/ HTTP/1.1\r\nHost: a/b\r\n\r\n"),
#define BAD_HOST(h) R(400, "GET / HTTP/1.1\r\nHost: " h "\r\n\r\n")
    BAD_HOST("a b"),
    BAD_HOST("."),
    BAD_HOST(".a"),
    BAD_HOST("a..b"),
    BAD_HOST("a.b..:80"),
    BAD_HOST("a,b"),
    BAD_HOST("a/b"),
    BAD_HOST("a@b"),
    BAD_HOST("a\"b"),
    BAD_HOST("a<b"),
    BAD_HOST("a\\b"),
    BAD_HOST("a?b"),
    BAD_HOST("a%00"),
    BAD_HOST("\xc3\xbc"),
    BAD_HOST(":80"),
    BAD_HOST("a:b"),
    BAD_HOST("a:80:80"),
    BAD_HOST("a:-1"),
    BAD_HOST("a:65536"),
    BAD_HOST("a:000080"),
    BAD_HOST("::1"),
    BAD_HOST("["),
    BAD_HOST("[]"),
    BAD_HOST("[::1"),
    BAD_HOST("[::g]"),
    BAD_HOST("[::1]x"),
    BAD_HOST("[::1]]"),
/* what smuggles, heads only */
#define CL(v) "Content-Length:" v "\r\n"
#define TE(v) "Transfer-Encoding:" v "\r\n"
#define POST(version, fields) "POST / HTTP/" version "\r\n" H fields "\r\n"
    R(400, POST("1.1", CL(" 5") TE(" chunked"))),
    R(400, POST("1.1", TE(" chunked") CL(" 5"))),
    R(400, POST("1.1", TE(" gzip") CL(" 5"))),
    R(400, POST("1.0", TE(" chunked"))),
    R(400, POST("1.0", TE(" gzip"))),
    R(501, POST("1.1", TE(" gzip"))),
    R(501, POST("1.1", TE(" gzip, chunked"))),
    R(501, POST("1.1", TE(" identity"))),
    R(501, POST("1.1", TE(" xchunked"))),
    R(501, POST("1.1", TE(" \"chunked\""))),
    R(501, POST("1.1", TE(" chunked;q=1"))),
    R(501, POST("1.1", TE(" gzip") TE(" chunked"))),
    R(400, POST("1.1", TE(" chunked, chunked"))),
    R(400, POST("1.1", TE(" chunked") TE(" chunked"))),
    R(400, POST("1.1", TE(" chunked") TE(" gzip"))),
    R(400, POST("1.1", TE(" chunked, identity"))),
    R(400, POST("1.1", TE(" chunked,"))),
    R(400, POST("1.1", TE(" ,chunked"))),
    R(400, POST("1.1", TE(""))),
    R(400, POST("1.1", TE(" \x0b"
                          "chunked"))),
    R(400, POST("1.1", "Transfer-Encoding : chunked\r\n")),
    R(400, POST("1.1", "Transfer-Encoding:\r\n chunked\r\n")),
    R(400, POST("1.1", "X: y\rTransfer-Encoding: chunked\r\n")),
    R(400, POST("1.1", CL(" +5"))),
    R(400, POST("1.1", CL(" -5"))),
    R(400, POST("1.1", CL(" 5, 5"))),
    R(400, POST("1.1", CL(" 5 5"))),
    R(400, POST("1.1", CL(" 0x5"))),
    R(400, POST("1.1", CL(" 5a"))),
    R(400, POST("1.1", CL(" 5.0"))),
    R(400, POST("1.1", CL(""))),
    R(400, POST("1.1", CL(" 5") CL(" 5"))),
    R(400, POST("1.1", CL(" 5") CL(" 6"))),
    R(400, POST("1.1", CL(" 0") CL(" 0"))),
    R(400, POST("1.1", "Content-Length : 5\r\n")),
    R(413, POST("1.1", CL(" 9223372036854775808"))),
    R(413, POST("1.1", CL(" 99999999999999999999999999999999999999"))),
    R(417, POST("1.1", "Expect: miracles\r\n")),
    R(417, POST("1.1", CL(" 5") "Expect: 100-continue, miracles\r\n")),
    R(417, POST("1.1", "Expect: 100-continue\r\nExpect:\r\n")),
};

static void bad_heads_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        int status = parse(refused[i].text, refused[i].len);

        if (status != refused[i].status)
            fail_msg("%d instead of %d for: %s", status, refused[i].status, refused[i].text);
        assert_true(strlen(why) > 0);
    }
}

/* What an answer needs is known also of a refused head, once it was read. */
static void a_refused_head_tells_how_to_answer(void **state)
{
    static const char text[] = "HEAD / HTTP/1.1\r\n\r\n";

    (void)state;
    assert_int_equal(parse(text, sizeof text - 1), 400);
    assert_int_equal(head.method_id, FERRY_HTTP_HEAD);
    assert_int_equal(head.minor, 1);
    assert_int_equal(parse("x\r\n\r\n", 5), 400);
    assert_int_equal(head.method_id, FERRY_HTTP_OTHER);
    assert_int_equal(head.minor, 0);
}

static void a_target_may_be_as_long_as_the_limit(void **state)
{
    char text[TARGET_MAX + 64];

    (void)state;
    for (int len = TARGET_MAX; len <= TARGET_MAX + 1; len++) {
        int n = snprintf(text, sizeof text, "GET /%0*d HTTP/1.0\r\n\r\n", len - 1, 0);

        assert_int_equal(parse(text, (size_t)n), len > TARGET_MAX ? 414 : 0);
    }
}

static void a_host_may_be_as_long_as_a_name_can_be(void **state)
{
    char text[400];

    (void)state;
    for (int len = 255; len <= 256; len++) {
        int n = snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: %0*d:65535\r\n\r\n", len, 0);

        assert_int_equal(parse(text, (size_t)n), len > 255 ? 400 : 0);
    }
}

static void there_may_be_as_many_fields_as_the_limit(void **state)
{
    static char text[4096];

    (void)state;
    for (int fields = FERRY_HTTP_FIELDS_MAX; fields <= FERRY_HTTP_FIELDS_MAX + 1; fields++) {
        int n = snprintf(text, sizeof text, "GET / HTTP/1.0\r\n");

        for (int i = 0; i < fields; i++)
            n += snprintf(text + n, sizeof text - n, "X: %d\r\n", i);
        n += snprintf(text + n, sizeof text - n, "\r\n");
        assert_int_equal(parse(text, (size_t)n), fields > FERRY_HTTP_FIELDS_MAX ? 431 : 0);
    }
}

static void the_end_is_found_wherever_the_bytes_are_cut(void **state)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\nGET /next";
    const size_t len = sizeof text - 1 - strlen("GET /next");

    (void)state;
    for (size_t cut = 0; cut < len; cut++) {
        struct ferry__head_scan scan = {0};

        assert_int_equal(ferry__head_scan(guard_copy(0, text, cut), cut, &scan), 0);
        assert_int_equal(ferry__head_scan(text, sizeof text - 1, &scan), len);
    }
}

static void a_line_that_ends_with_a_bare_lf_is_found(void **state)
{
    static const char *const texts[] = {"\n", "GET / HTTP/1.0\n", "GET / HTTP/1.0\r\n\n",
                                        "GET / HTTP/1.0\r\nX: y\n\r\n"};

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        size_t n = strlen(texts[i]);

        for (size_t cut = 0; cut < n; cut++) {
            struct ferry__head_scan scan = {0};
            ssize_t got = ferry__head_scan(guard_copy(0, texts[i], cut), cut, &scan);

            if (got == 0)
                got = ferry__head_scan(guard_copy(0, texts[i], n), n, &scan);
            assert_int_equal(got, FERRY_EPROTOCOL);
        }
    }
}

static void control_bytes_are_found_at_every_place(void **state)
{
    char bytes[40];

    (void)state;
    for (size_t n = 0; n <= sizeof bytes; n++) {
        char *p;

        memset(bytes, 'x', sizeof bytes);
        p = guard_copy(0, bytes, n);
        assert_ptr_equal(ferry__next_control(p, p + n), p + n);
        for (size_t at = 0; at < n; at++)
            for (int c = 0; c < 256; c++) {
                bool control = c < 0x20 || c == 0x7f;

                p[at] = (char)c;
                assert_ptr_equal(ferry__next_control(p, p + n), control ? p + at : p + n);
                /* Another one behind it hides nothing and is not taken for it. */
                if (at + 1 < n) {
                    p[at + 1] = 1;
                    assert_ptr_equal(ferry__next_control(p, p + n), p + at + !control);
                    p[at + 1] = 'x';
                }
                p[at] = 'x';
            }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_heads_are_read),
        cmocka_unit_test(fields_are_trimmed_and_keep_their_order),
        cmocka_unit_test(an_absolute_target_rules_over_the_host_field),
        cmocka_unit_test(bad_heads_are_refused),
        cmocka_unit_test(a_refused_head_tells_how_to_answer),
        cmocka_unit_test(a_target_may_be_as_long_as_the_limit),
        cmocka_unit_test(a_host_may_be_as_long_as_a_name_can_be),
        cmocka_unit_test(there_may_be_as_many_fields_as_the_limit),
        cmocka_unit_test(the_end_is_found_wherever_the_bytes_are_cut),
        cmocka_unit_test(a_line_that_ends_with_a_bare_lf_is_found),
        cmocka_unit_test(control_bytes_are_found_at_every_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
