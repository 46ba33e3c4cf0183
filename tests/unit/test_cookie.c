/* SPDX-License-Identifier: MIT */
#include "support.h"

#include <stdio.h>

#include "base/slice.h"
#include "ferry/form.h"

#define CASE(in, want)                                                                             \
    {                                                                                              \
        FERRY_SLICE_INIT(in), want                                                                 \
    }

static const char *text_of(struct ferry_slice in)
{
    static char text[4096];
    struct ferry_slice rest = {guard_copy(0, in.p, in.len), in.len};
    struct ferry_param pair;
    size_t at = 0;

    while (ferry_cookie_next(&rest, &pair))
        at += (size_t)snprintf(text + at, sizeof text - at, "%.*s=%.*s|", (int)pair.name.len,
                               pair.name.p, (int)pair.value.len, pair.value.p);
    assert_int_equal(rest.len, 0);
    text[at] = 0;
    return text;
}

static void cookies_are_read(void **state)
{
    static const struct {
        struct ferry_slice in;
        const char *want;
    } cases[] = {
        CASE("", ""),
        CASE("a=b", "a=b|"),
        CASE("SID=31d4d96e407aad42; lang=en-US", "SID=31d4d96e407aad42|lang=en-US|"),
        CASE("a=1;b=2;\tc=3 ; d = 4 ", "a=1|b=2|c=3|d=4|"),
        CASE("a=1; a=2; A=3", "a=1|a=2|A=3|"),
        CASE("a=", "a=|"),
        CASE("a=b=c==", "a=b=c==|"),
        CASE("a=\"quoted\"", "a=quoted|"),
        CASE("a=\"with blank, comma\"", "a=with blank, comma|"),
        CASE("a=\"\"", "a=|"),
        CASE("a=\"", "a=\"|"),
        CASE("a=\"b", "a=\"b|"),
        CASE("a=b\"", "a=b\"|"),
        CASE("a=\"\"b\"\"", "a=\"b\"|"),
        CASE("a= \"b\" ", "a=b|"),
        /* no quote protects a semicolon: `secret` stays a cookie of its own */
        CASE("a=\"x; secret=y; b=z\"", "a=\"x|secret=y|b=z\"|"),
        CASE("a=%41+%", "a=%41+%|"),
        CASE("a={\"j\":[1,2]}; b=\xff\x80", "a={\"j\":[1,2]}|b=\xff\x80|"),
        /* no cookies */
        CASE(";", ""),
        CASE("; ;; ;", ""),
        CASE("a", ""),
        CASE("=", ""),
        CASE("=b", ""),
        CASE("\t = b", ""),
        CASE("junk; a=1; =x; more junk; b=2;", "a=1|b=2|"),
        CASE("$Version=1; a=b; $Path=/", "$Version=1|a=b|$Path=/|"),
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (strcmp(text_of(cases[i].in), cases[i].want) != 0)
            fail_msg("%s: got %s, want %s", cases[i].in.p, text_of(cases[i].in), cases[i].want);
}

static void set_cookies_are_safe_by_default(void **state)
{
    static const struct {
        struct ferry_cookie cookie;
        const char *want;
    } cases[] = {
        {{.name = "a", .value = "b"}, "a=b; Path=/; HttpOnly; SameSite=Lax"},
        {{.name = "a"}, "a=; Path=/; HttpOnly; SameSite=Lax"},
        {{.name = "!#$%&'*+-.^_`|~09azAZ", .value = "!#$%&'()*+-./:<=>?@[]^_`{|}~"},
         "!#$%&'*+-.^_`|~09azAZ=!#$%&'()*+-./:<=>?@[]^_`{|}~; Path=/; HttpOnly; SameSite=Lax"},
        {{.name = "a", .value = "\xc3\xa9"}, "a=\xc3\xa9; Path=/; HttpOnly; SameSite=Lax"},
        {{.name = "a", .path = "/x y", .domain = "shop.example.org"},
         "a=; Path=/x y; Domain=shop.example.org; HttpOnly; SameSite=Lax"},
        {{.name = "a", .max_age_s = 3600}, "a=; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"},
        {{.name = "a", .max_age_s = INT64_MAX},
         "a=; Path=/; Max-Age=9223372036854775807; HttpOnly; SameSite=Lax"},
        {{.name = "a", .max_age_s = -1}, "a=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"},
        {{.name = "a", .secure = true, .scripts = true, .same_site = FERRY_SAME_SITE_STRICT},
         "a=; Path=/; Secure; SameSite=Strict"},
        {{.name = "a", .same_site = FERRY_SAME_SITE_NONE},
         "a=; Path=/; Secure; HttpOnly; SameSite=None"},
        {{.name = "__Secure-a", .path = "/x"},
         "__Secure-a=; Path=/x; Secure; HttpOnly; SameSite=Lax"},
        {{.name = "__Host-a", .path = "/"}, "__Host-a=; Path=/; Secure; HttpOnly; SameSite=Lax"},
        {{.name = "__host-a"}, "__host-a=; Path=/; Secure; HttpOnly; SameSite=Lax"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ssize_t len = (ssize_t)strlen(cases[i].want);
        char *room = guard_copy(0, cases[i].want, (size_t)len + 1);

        memset(room, 'x', (size_t)len + 1);
        assert_int_equal(ferry_cookie_format(&cases[i].cookie, room, (size_t)len + 1), len);
        assert_string_equal(room, cases[i].want);
        assert_int_equal(ferry_cookie_format(&cases[i].cookie, room, (size_t)len), FERRY_ELIMIT);
    }
}

static void nothing_that_would_break_out_is_set(void **state)
{
    static const struct ferry_cookie cases[] = {
        {.value = "b"},
        {.name = ""},
        {.name = "a b"},
        {.name = "a=b"},
        {.name = "a;b"},
        {.name = "a\r\nX"},
        {.name = "a,b"},
        {.name = "\"a\""},
        {.name = "caf\xc3\xa9"},
        {.name = "a", .path = ""},
        {.name = "a", .path = "x"},
        {.name = "a", .path = "/;Secure"},
        {.name = "a", .path = "/\r\nX: y"},
        {.name = "a", .path = "/\x7f"},
        {.name = "a", .domain = ""},
        {.name = "a", .domain = "a;b"},
        {.name = "a", .domain = "a b"},
        {.name = "a", .domain = "a\n"},
        {.name = "a", .domain = "\xc3\xa9.example"},
        {.name = "a", .same_site = (enum ferry_same_site)3},
        {.name = "__Host-a", .domain = "example.org"},
        {.name = "__Host-a", .path = "/x"},
        {.name = "__HOST-a", .path = "/x"},
    };
    char text[256];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (ferry_cookie_format(&cases[i], text, sizeof text) != FERRY_EUSAGE)
            fail_msg("case %zu was not refused", i);
    for (int c = 1; c < 256; c++) {
        char value[] = {'x', (char)c, 'y', 0};
        struct ferry_cookie cookie = {.name = "a", .value = value};
        bool good = c > ' ' && c != 0x7f && c != '"' && c != ',' && c != ';' && c != '\\';

        assert_int_equal(ferry_cookie_format(&cookie, text, sizeof text) > 0, good);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cookies_are_read),
        cmocka_unit_test(set_cookies_are_safe_by_default),
        cmocka_unit_test(nothing_that_would_break_out_is_set),
    };

    return cmocka_run_group_tests_name("cookie", tests, NULL, NULL);
}
