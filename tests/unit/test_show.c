/* SPDX-License-Identifier: MIT */
#include "trace/show.h"

#include <errno.h>

#include "ferry/params.h"
#include "support.h"
#include "trace/compare.h"

static char params[600];

static struct ferry_follow_request a_request(struct ferry_slice uri)
{
    struct ferry_param pairs[] = {{FERRY_SLICE("REQUEST_METHOD"), FERRY_SLICE("GET")},
                                  {FERRY_SLICE("REQUEST_URI"), uri}};
    struct ferry_follow_request r = {.id = 2,
                                     .role = FERRY_RESPONDER,
                                     .status = 200,
                                     .began_us = 1000000,
                                     .first_us = 1001500,
                                     .ended_us = 1012345,
                                     .ended = true};
    ssize_t n = ferry_param_encode(&pairs[0], params, sizeof params);

    n += ferry_param_encode(&pairs[1], params + n, sizeof params - (size_t)n);
    r.params = (struct ferry_follow_stream){.p = params, .len = (uint64_t)n, .kept = (size_t)n};
    r.out.len = 512;
    return r;
}

static char *line_of(const struct ferry_show_opts *o, const struct ferry_follow_request *r)
{
    static char text[4096];
    FILE *out = fmemopen(text, sizeof text, "w");

    assert_int_equal(ferry_show_request(o, 7, INT64_C(1700000000123456), r, out), 0);
    fclose(out);
    return text;
}

static void a_line(void **state)
{
    static const struct ferry_show_opts plain = {0}, colours = {.colour = true};
    struct ferry_follow_request r = a_request(FERRY_SLICE("/a?b\33[2J\n"));
    char err[] = "\nPHP Warning: x\r\nsecond line";
    char *line;

    (void)state;
    /* the hour is the machine's */
    assert_string_equal(line_of(&plain, &r) + 5,
                        ":20.123 #7/2 200 GET /a?b\\x1B[2J\\x0A  in 0 out 512  first 1.5ms total "
                        "12.3ms  app 0\n");
    r.role = 9;
    r.first_us = 0;
    r.status = 0;
    r.ended = false;
    r.aborted = true;
    r.fault = "it is broken";
    r.err = (struct ferry_follow_stream){.p = err, .len = 5000, .kept = strlen(err)};
    assert_string_equal(
        line_of(&plain, &r) + 13,
        "#7/2 --- GET /a?b\\x1B[2J\\x0A  in 0 out 512  total 12.3ms  role 9  aborted "
        " cut  fault: it is broken  stderr 5000: PHP Warning: x\n");
    r.role = FERRY_AUTHORIZER;
    r.ended = true;
    r.protocol_status = FERRY_OVERLOADED;
    r.params.kept = 0;
    line = line_of(&colours, &r);
    assert_non_null(strstr(line, "\33[31m---\33[0m - -  in"));
    assert_non_null(strstr(line, "role authorizer\33[31m  OVERLOADED"));
    assert_string_equal(line + strlen(line) - 5, "\33[0m\n");
}

static void long_texts_are_cut(void **state)
{
    static const struct ferry_show_opts plain = {0};
    char uri[400];
    struct ferry_follow_request r;
    char *line;

    (void)state;
    memset(uri, '\1', sizeof uri);
    r = a_request(ferry_slice(uri, sizeof uri));
    line = line_of(&plain, &r);
    assert_int_equal(strlen(strstr(line, "GET ")),
                     strlen("GET   in 0 out 512  first 1.5ms total 12.3ms  app 0\n") + 4 * 300 + 3);
}

static void an_object(void **state)
{
    static const struct ferry_show_opts json = {.json = true};
    struct ferry_follow_request r = a_request(FERRY_SLICE("/\xff\"\xc3\xa4"));

    (void)state;
    assert_string_equal(
        line_of(&json, &r),
        "{\"time\":\"2023-11-14T22:13:20.123456Z\",\"connection\":7,\"id\":2,\"role\":"
        "\"responder\","
        "\"keep_connection\":false,\"method\":\"GET\",\"uri\":\"/\xef\xbf\xbd\\\"\xc3\xa4\","
        "\"uri_base64\":\"L/8iw6Q=\","
        "\"script\":null,\"host\":null,\"client\":null,\"status\":200,\"params_bytes\":37,\"in\":0,"
        "\"out\":512,\"first_ms\":1.5,\"total_ms\":12.345,\"ended\":true,\"aborted\":"
        "false,\"app_status\":0,\"protocol_status\":\"request_complete\",\"stderr_bytes\":0,"
        "\"stderr\":null,\"fault\":null}\n");
}

static void bytes_in_an_object_are_text_or_base64_too(void **state)
{
    static const struct {
        struct ferry_slice uri;
        const char *members;
    } cases[] = {
        {FERRY_SLICE_INIT("/\xc3\xa4\xe2\x82\xac"), "\"uri\":\"/\xc3\xa4\xe2\x82\xac\",\"script\""},
        {FERRY_SLICE_INIT("/\1\xc2\x85"), "\"uri\":\"/\\u0001\xc2\x85\",\"script\""},
        {FERRY_SLICE_INIT("\xc3"), "\"uri\":\"\xef\xbf\xbd\",\"uri_base64\":\"ww==\""},
        {FERRY_SLICE_INIT("a\xff"), "\"uri\":\"a\xef\xbf\xbd\",\"uri_base64\":\"Yf8=\""},
        {FERRY_SLICE_INIT("ab\xfe"), "\"uri\":\"ab\xef\xbf\xbd\",\"uri_base64\":\"YWL+\""},
        {FERRY_SLICE_INIT("\xff\xfe\xc3\xa4"),
         "\"uri\":\"\xef\xbf\xbd\xef\xbf\xbd\xc3\xa4\",\"uri_base64\":\"//7DpA==\""},
    };
    static const struct ferry_show_opts json = {.json = true};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_follow_request r = a_request(cases[i].uri);

        if (!strstr(line_of(&json, &r), cases[i].members))
            fail_msg("%zu: %s", i, line_of(&json, &r));
    }
}

static void show_json(void *arg)
{
    static const struct ferry_show_opts json = {.json = true};
    struct ferry_follow_request r = a_request(FERRY_SLICE("/\xff"));
    int err = ferry_show_request(&json, 7, 0, &r, arg);

    assert_true(err == 0 || err == -ENOMEM);
    err = ferry_show_note(&json, 7, 0, "note", arg);
    assert_true(err == 0 || err == -ENOMEM);
}

static void each_allocation_may_fail(void **state)
{
    FILE *out = fopen("/dev/null", "w");

    (void)state;
    setvbuf(out, NULL, _IONBF, 0);
    each_alloc_fails(show_json, out);
    fclose(out);
}

/* -- two answers -- */

static void answers_are_compared(void **state)
{
    static const struct {
        const char *was, *is;
        uint32_t app_status;
        const char *lines;
    } cases[] = {
        {"A: b\n\nsame", "A: b\n\nsame", 0, ""},
        {"A: b\nDate: 1\nSet-Cookie: x=1\nAge: 3\n\n", "A: b\nset-cookie: x=2\n\n", 0, ""},
        {"A: b\r\n\r\n", "Status: 404\na: c\n\n", 0,
         "status: 200 was recorded, now it is 404\nheader A: \"b\" was recorded, now it is "
         "\"c\"\n"},
        {"Status: 103\n\nA: b\n\n", "A: b\n\n", 0, ""},
        {"A: 1\nA: 2\n\n", "A: 1\nB: 3\n\n", 0,
         "header A: \"2\" was recorded, now it is not there\n"
         "header B: was not there, now it is \"3\"\n"},
        {"A: b\n\nsome text", "A: b\n\nsome test!", 1,
         "content: 9 bytes were recorded, now there are 10; from byte 7 on \"xt\" became \"st!\"\n"
         "end: app status 0 and protocol status 0 were recorded, now 1 and 0\n"},
        {"A: b\n\nlonger", "A: b\n\nlong", 0,
         "content: 6 bytes were recorded, now there are 4; from byte 4 on \"er\" became \"\"\n"},
        {"A: b\n\nlonger", "", 0,
         "status: 200 was recorded, now it is 0\n"
         "header A: \"b\" was recorded, now it is not there\n"
         "content: 6 bytes were recorded, now there are 0; from byte 0 on \"longer\" became "
         "\"\"\n"},
        {"no header block", "no header block", 0, ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_follow_request was = {.ended = true}, is = {.ended = true};
        char text[1000] = "";
        FILE *out = fmemopen(text, sizeof text, "w");
        unsigned lines = 0, n;

        was.out.len = was.out.kept = strlen(cases[i].was);
        was.out.p = guard_copy(0, cases[i].was, was.out.len);
        is.out.len = is.out.kept = strlen(cases[i].is);
        is.out.p = guard_copy(1, cases[i].is, is.out.len);
        is.app_status = cases[i].app_status;
        n = ferry_compare(&was, &is, out);
        fclose(out);
        assert_string_equal(text, cases[i].lines);
        for (const char *c = text; *c; c++)
            lines += *c == '\n';
        assert_int_equal(n, lines);
    }
}

/* What was not whole, or is not kept whole, is not taken for equal. */
static void what_is_not_known_is_not_equal(void **state)
{
    struct ferry_follow_request was = {.ended = true}, is = {.ended = true};
    char head[] = "A: b\n\nx", text[1000] = "";
    FILE *out = fmemopen(text, sizeof text, "w");

    (void)state;
    was.out = is.out = (struct ferry_follow_stream){.p = head, .len = 7, .kept = 7};
    is.out.len = 8;
    assert_int_equal(ferry_compare(&was, &is, out), 1);
    was.ended = false;
    assert_int_equal(ferry_compare(&was, &is, out), 0);
    fclose(out);
    assert_non_null(strstr(text, "not compared: the recorded answer was not whole\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(an_object),
        cmocka_unit_test(bytes_in_an_object_are_text_or_base64_too),
        cmocka_unit_test(each_allocation_may_fail),
        cmocka_unit_test(answers_are_compared),
        cmocka_unit_test(what_is_not_known_is_not_equal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
