/* SPDX-License-Identifier: MIT */
#include "smtp/utf8.h"

#include "support.h"

static size_t char_of(const char *z)
{
    size_t n = strlen(z);

    return ferry__smtp_char(ferry_slice(guard_copy(0, z, n), n));
}

static void well_formed_characters_are_measured(void **state)
{
    static const struct {
        const char *in;
        size_t len;
    } cases[] = {
        {"", 0},
        {"a", 1},
        {" ", 1},
        {"~", 1},
        {"\xc3\xa4x", 2},
        {"\xdf\xbf", 2},
        {"\xe0\xa0\x80", 3},
        {"\xe4\xb8\xad", 3},
        {"\xed\x9f\xbf", 3},
        {"\xee\x80\x80", 3},
        {"\xf0\x90\x80\x80", 4},
        {"\xf0\x9f\x98\x80", 4},
        {"\xf4\x8f\xbf\xbd", 4},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(char_of(cases[i].in), cases[i].len);
        for (size_t cut = 1; cut < cases[i].len; cut++)
            assert_int_equal(ferry__smtp_char(ferry_slice(guard_copy(0, cases[i].in, cut), cut)),
                             0);
    }
}

/* M25. */
static void what_is_not_well_formed_is_nothing(void **state)
{
    static const char *const cases[] = {
        "\x80", /* a second byte first */
        "\xbf",
        "\xc0\x80", /* overlong */
        "\xc1\xbf",
        "\xe0\x80\x80",
        "\xe0\x9f\xbf",
        "\xf0\x80\x80\x80",
        "\xf0\x8f\xbf\xbf",
        "\xed\xa0\x80", /* surrogates */
        "\xed\xbf\xbf",
        "\xf4\x90\x80\x80", /* past the end of Unicode */
        "\xf5\x80\x80\x80",
        "\xff",
        "\xc3(",
        "\xe4\xb8(",
        "\xf0\x9f\x98(",
        "\xe4\xc3\xa4",
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(char_of(cases[i]), 0);
}

/* M33. */
static void what_is_not_seen_is_nothing(void **state)
{
    static const char *const cases[] = {
        "\x01",
        "\t",
        "\x1f",
        "\x7f",
        "\xc2\x80",
        "\xc2\x9f",
        "\xc2\xad",
        "\xd8\x9c", /* C1, soft hyphen, ALM */
        "\xe2\x80\x8b",
        "\xe2\x80\x8c",
        "\xe2\x80\x8d",
        "\xe2\x80\x8e", /* ZWSP ZWNJ ZWJ LRM */
        "\xe2\x80\x8f",
        "\xe2\x80\xa8",
        "\xe2\x80\xa9",
        "\xe2\x80\xaa", /* RLM LS PS LRE */
        "\xe2\x80\xae",
        "\xe2\x81\xa0",
        "\xe2\x81\xa6",
        "\xe2\x81\xa9", /* RLO WJ LRI PDI */
        "\xef\xbb\xbf",
        "\xef\xbf\xbe",
        "\xef\xbf\xbf",
        "\xef\xb7\x90", /* BOM, noncharacters */
        "\xe3\x85\xa4",
        "\xef\xb8\x8f",
        "\xf3\xa0\x81\x81",
        "\xf0\x9f\xbf\xbe",
        "\xf4\x8f\xbf\xbf",
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(char_of(cases[i]), 0);
    assert_int_equal(ferry__smtp_char(ferry_slice("\0", 1)), 0);
    /* their neighbours */
    assert_int_equal(char_of("\xc2\xa0"), 2);
    assert_int_equal(char_of("\xe2\x80\x8a"), 3);
    assert_int_equal(char_of("\xe2\x80\x90"), 3);
    assert_int_equal(char_of("\xe2\x80\xaf"), 3);
    assert_int_equal(char_of("\xef\xbf\xbd"), 3);
}

static void text_is_of_such_characters_alone(void **state)
{
    static const struct {
        const char *in;
        bool ascii, utf8;
    } cases[] = {
        {"", true, true},        {"a b~", true, true},   {"M\xc3\xbcller", false, true},
        {"M\xc3", false, false}, {"a\nb", false, false}, {"\xe2\x80\xaetxt", false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = strlen(cases[i].in);
        struct ferry_slice s = ferry_slice(guard_copy(0, cases[i].in, n), n);

        assert_int_equal(ferry__smtp_is_text(s, false), cases[i].ascii);
        assert_int_equal(ferry__smtp_is_text(s, true), cases[i].utf8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(well_formed_characters_are_measured),
        cmocka_unit_test(what_is_not_well_formed_is_nothing),
        cmocka_unit_test(what_is_not_seen_is_nothing),
        cmocka_unit_test(text_is_of_such_characters_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
