/* SPDX-License-Identifier: MIT */
#include "mail/log.h"

#include <jansson.h>
#include <stdio.h>

#include "support.h"

static struct ferry__log_line line;

static struct ferry_slice bytes(const char *p, size_t n)
{
    return ferry_slice(guard_copy(0, p, n), n);
}

/* What stands behind "time=... event=x". */
static const char *rest(void)
{
    static char z[FERRY__LOG_LINE_MAX + 1];
    struct ferry_slice s = ferry__log_end(&line);
    char *at;

    memcpy(z, s.p, s.len);
    z[s.len] = 0;
    at = strstr(z, "event=x");
    assert_non_null(at);
    return at + strlen("event=x");
}

static json_t *object(void)
{
    struct ferry_slice s = ferry__log_end(&line);
    json_error_t err;
    json_t *o = json_loadb(s.p, s.len, JSON_REJECT_DUPLICATES, &err);

    if (!o)
        print_error("%s: %.*s\n", err.text, (int)s.len, s.p);
    assert_non_null(o);
    return o;
}

static void a_line_begins_with_its_time(void **state)
{
    struct ferry_slice s;
    unsigned v[7];
    char z[100];

    (void)state;
    ferry__log_begin(&line, FERRY_MAIL_LOG_TEXT, "mail");
    s = ferry__log_end(&line);
    memcpy(z, s.p, s.len);
    z[s.len] = 0;
    assert_int_equal(sscanf(z, "time=%4u-%2u-%2uT%2u:%2u:%2u.%3uZ event=mail", &v[0], &v[1], &v[2],
                            &v[3], &v[4], &v[5], &v[6]),
                     7);
    assert_in_range(v[0], 2020, 9999);
}

static void values_as_text(void **state)
{
    static const struct {
        const char *value;
        size_t len;
        const char *expected;
    } cases[] = {
#define CASE(value, expected) {value, sizeof(value) - 1, expected}
        CASE("", ""),
        CASE("word", " k=word"),
        CASE("a@b.c", " k=a@b.c"),
        CASE("two words", " k=\"two words\""),
        CASE("a=b", " k=\"a=b\""),
        CASE("say \"hi\"", " k=\"say \\\"hi\\\"\""),
        CASE("back\\slash", " k=\"back\\\\slash\""),
        CASE("line\r\nbreak", " k=\"line\\x0D\\x0Abreak\""),
        CASE("nul\0byte", " k=\"nul\\x00byte\""),
        CASE("\x1b[31m", " k=\"\\x1B[31m\""),
        CASE("gr\xc3\xbc\xc3\x9f", " k=\"gr\xc3\xbc\xc3\x9f\""),
        CASE("\xc2\x9b", " k=\"\\xC2\\x9B\""),          /* a C1 control */
        CASE("\xc0\xaf", " k=\"\\xC0\\xAF\""),          /* no UTF-8 */
        CASE("\xed\xa0\x80", " k=\"\\xED\\xA0\\x80\""), /* a surrogate */
        CASE("\xe2\x82", " k=\"\\xE2\\x82\""),          /* cut */
        CASE("\xf5\x80\x80\x80", " k=\"\\xF5\\x80\\x80\\x80\""),
#undef CASE
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ferry__log_begin(&line, FERRY_MAIL_LOG_TEXT, "x");
        ferry__log_text(&line, "k", bytes(cases[i].value, cases[i].len));
        assert_string_equal(rest(), cases[i].expected);
    }
}

static void values_as_json(void **state)
{
    json_t *o;

    (void)state;
    ferry__log_begin(&line, FERRY_MAIL_LOG_JSON, "x");
    ferry__log_text(&line, "a", bytes("\"\\\r\n\0\x1b", 6));
    ferry__log_text(&line, "b", bytes("gr\xc3\xbc\xc2\x9b\xff", 7));
    ferry__log_z(&line, "none", NULL);
    ferry__log_number(&line, "n", UINT64_C(12345678901234));
    ferry__log_flag(&line, "yes", true);
    ferry__log_flag(&line, "no", false);
    o = json_loadb(line.text, line.len, 0, NULL);
    assert_null(o); /* not ended yet */
    {
        struct ferry_slice s = ferry__log_end(&line);

        o = json_loadb(s.p, s.len, JSON_ALLOW_NUL, NULL);
    }
    assert_non_null(o);
    assert_int_equal(json_string_length(json_object_get(o, "a")), 6);
    assert_memory_equal(json_string_value(json_object_get(o, "a")), "\"\\\r\n\0\x1b", 6);
    assert_string_equal(json_string_value(json_object_get(o, "b")),
                        "gr\xc3\xbc\xc2\x9b\xef\xbf\xbd");
    assert_null(json_object_get(o, "none"));
    assert_int_equal(json_integer_value(json_object_get(o, "n")), 12345678901234);
    assert_true(json_is_true(json_object_get(o, "yes")));
    assert_true(json_is_false(json_object_get(o, "no")));
    assert_string_equal(json_string_value(json_object_get(o, "event")), "x");
    assert_non_null(json_object_get(o, "time"));
    json_decref(o);
}

static void numbers_and_flags_as_text(void **state)
{
    (void)state;
    ferry__log_begin(&line, FERRY_MAIL_LOG_TEXT, "x");
    ferry__log_number(&line, "n", UINT64_MAX);
    ferry__log_flag(&line, "a", true);
    ferry__log_flag(&line, "b", false);
    assert_string_equal(rest(), " n=18446744073709551615 a=yes b=no");
    ferry__log_number(&line, "m", 0);
    assert_string_equal(rest(), " n=18446744073709551615 a=yes b=no m=0");
}

static void lists(void **state)
{
    struct ferry__log_list list;
    json_t *o, *a;

    (void)state;
    ferry__log_begin(&line, FERRY_MAIL_LOG_TEXT, "x");
    ferry__log_list_open(&line, &list, "none");
    ferry__log_list_close(&line, &list);
    ferry__log_list_open(&line, &list, "to");
    ferry__log_list_add(&line, &list, FERRY_SLICE("a@b"));
    ferry__log_list_add(&line, &list, FERRY_SLICE("\"c d\"@e\n"));
    ferry__log_list_close(&line, &list);
    assert_string_equal(rest(), " to=\"a@b,\\\"c d\\\"@e\\x0A\"");

    ferry__log_begin(&line, FERRY_MAIL_LOG_JSON, "x");
    ferry__log_list_open(&line, &list, "none");
    ferry__log_list_close(&line, &list);
    ferry__log_list_open(&line, &list, "to");
    ferry__log_list_add(&line, &list, FERRY_SLICE("a@b"));
    ferry__log_list_add(&line, &list, FERRY_SLICE("\"c d\"@e\n"));
    ferry__log_list_close(&line, &list);
    o = object();
    assert_null(json_object_get(o, "none"));
    a = json_object_get(o, "to");
    assert_int_equal(json_array_size(a), 2);
    assert_string_equal(json_string_value(json_array_get(a, 1)), "\"c d\"@e\n");
    json_decref(o);
}

static void long_ones(enum ferry_mail_log_format format, char with)
{
    char much[20000];
    struct ferry__log_list list;

    memset(much, with, sizeof much);
    for (size_t len = 200; len <= sizeof much; len = len < 300 ? len + 1 : len * 3) {
        ferry__log_begin(&line, format, "x");
        ferry__log_list_open(&line, &list, "to");
        for (int i = 0; i < 100; i++)
            ferry__log_list_add(&line, &list, bytes(much, (size_t)i * 7));
        ferry__log_list_close(&line, &list);
        for (int i = 0; i < 40; i++) {
            char name[8];

            snprintf(name, sizeof name, "k%d", i);
            ferry__log_text(&line, name, bytes(much, len));
            assert_true(ferry__log_end(&line).len <= sizeof line.text);
        }
        ferry__log_list_open(&line, &list, "more");
        ferry__log_list_add(&line, &list, FERRY_SLICE("a"));
        ferry__log_list_close(&line, &list);
        if (format == FERRY_MAIL_LOG_JSON) {
            json_t *o = object(), *to = json_object_get(o, "to");
            const char *first = json_string_value(json_object_get(o, "k0"));

            assert_in_range(json_array_size(to), 2, 99);
            assert_string_equal(json_string_value(json_array_get(to, json_array_size(to) - 1)),
                                "...");
            if (len > FERRY__LOG_VALUE_MAX)
                assert_string_equal(first + strlen(first) - 3, "...");
            json_decref(o);
        } else {
            assert_non_null(strstr(rest(), ",...\" k0="));
            assert_null(memchr(line.text, '\n', line.len));
        }
    }
}

static void what_is_too_long_is_cut(void **state)
{
    static const char with[] = {'a', '"', '\n', '\xff', 0};

    (void)state;
    for (size_t i = 0; i < sizeof with; i++) {
        long_ones(FERRY_MAIL_LOG_TEXT, with[i]);
        if (with[i]) /* jansson refuses \u0000 */
            long_ones(FERRY_MAIL_LOG_JSON, with[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_begins_with_its_time),
        cmocka_unit_test(values_as_text),
        cmocka_unit_test(values_as_json),
        cmocka_unit_test(numbers_and_flags_as_text),
        cmocka_unit_test(lists),
        cmocka_unit_test(what_is_too_long_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
