/* SPDX-License-Identifier: MIT */
#include "support.h"

#include <stdio.h>

#include "base/slice.h"
#include "ferry/form.h"

/* All pairs of a text, decoded: "name=value|", with a NUL shown as "^". */
static const char *text_of(struct ferry_slice in)
{
    static char text[4096];
    struct ferry_slice rest = {guard_copy(0, in.p, in.len), in.len};
    struct ferry_param pair;
    size_t at = 0;

    while (ferry_query_next(&rest, &pair)) {
        at += ferry_query_decode(pair.name, text + at);
        text[at++] = '=';
        at += ferry_query_decode(pair.value, text + at);
        text[at++] = '|';
    }
    assert_int_equal(rest.len, 0);
    assert_false(ferry_query_next(&rest, &pair));
    text[at] = 0;
    for (size_t i = 0; i < at; i++)
        if (!text[i])
            text[i] = '^';
    return text;
}

static void texts_have_pairs(void **state)
{
    static const struct {
        struct ferry_slice in;
        const char *want;
    } cases[] = {
#define CASE(in, want) {FERRY_SLICE_INIT(in), want}
        CASE("", ""),
        CASE("a=b", "a=b|"),
        CASE("a=b&c=d", "a=b|c=d|"),
        CASE("a", "a=|"),
        CASE("a=", "a=|"),
        CASE("=b", "=b|"),
        CASE("=", "=|"),
        CASE("==", "==|"),
        CASE("a=b=c", "a=b=c|"),
        CASE("&", ""),
        CASE("&&a&&&b&", "a=|b=|"),
        CASE("a=1&a=2&a=1", "a=1|a=2|a=1|"),
        CASE("a;b=c", "a;b=c|"),
        CASE("?a=b", "?a=b|"),
        CASE("a+b=c+d+", "a b=c d |"),
        CASE("%61=%62", "a=b|"),
        CASE("%2B%26%3D%25=%2b%26%3d%25", "+&=%=+&=%|"),
        CASE("a=%00b", "a=^b|"),
        CASE("a\0b=c\0", "a^b=c^|"),
        CASE("a=%c3%A9%FF", "a=\xc3\xa9\xff|"),
        /* no escapes */
        CASE("a=%", "a=%|"),
        CASE("a=%4", "a=%4|"),
        CASE("a=%&b=1", "a=%|b=1|"),
        CASE("a=%4&1=2", "a=%4|1=2|"),
        CASE("a=%zz%4g%g4", "a=%zz%4g%g4|"),
        CASE("a=%%41", "a=%A|"),
        CASE("a=%4%41", "a=%4A|"),
        CASE("a=%+1%2+", "a=% 1%2 |"),
        CASE("a=%2525", "a=%25|"),
        CASE("%=%", "%=%|"),
        CASE("a=%/0%0:%@0%G0%`0%g0", "a=%/0%0:%@0%G0%`0%g0|"),
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (strcmp(text_of(cases[i].in), cases[i].want) != 0)
            fail_msg("%s: got %s, want %s", cases[i].in.p, text_of(cases[i].in), cases[i].want);
}

/* A prefix of a text has the same pairs but the last. */
static void prefixes_have_the_same_pairs(void **state)
{
    static const char in[] = "a=1&bb=%41+&&=x&c&d=%";
    char whole[128];

    (void)state;
    snprintf(whole, sizeof whole, "%s", text_of(FERRY_SLICE(in)));
    for (size_t n = 0; n < sizeof in - 1; n++) {
        const char *part = text_of(ferry_slice(in, n)), *last = part;

        for (const char *at = part; *at && at[1]; at++)
            if (*at == '|')
                last = at + 1;
        assert_memory_equal(whole, part, (size_t)(last - part));
    }
}

static void every_byte_can_be_escaped(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        char upper[4], lower[4], out;

        snprintf(upper, sizeof upper, "%%%02X", c);
        snprintf(lower, sizeof lower, "%%%02x", c);
        assert_int_equal(ferry_query_decode(ferry_slice(guard_copy(0, upper, 3), 3), &out), 1);
        assert_int_equal((unsigned char)out, c);
        /* in place */
        assert_int_equal(ferry_query_decode(ferry_slice(lower, 3), lower), 1);
        assert_int_equal((unsigned char)lower[0], c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_have_pairs),
        cmocka_unit_test(prefixes_have_the_same_pairs),
        cmocka_unit_test(every_byte_can_be_escaped),
    };

    return cmocka_run_group_tests_name("urlencoded", tests, NULL, NULL);
}
