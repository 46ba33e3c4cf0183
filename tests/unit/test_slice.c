/* SPDX-License-Identifier: MIT */
#include "base/slice.h"
#include "ferry/err.h"

#include "support.h"

static void equality(void **state)
{
    static const struct {
        const char *a, *b;
        bool eq, eq_nocase;
    } cases[] = {
        {"", "", true, true},
        {"a", "", false, false},
        {"Host", "Host", true, true},
        {"Host", "hOST", false, true},
        {"Host", "Hos", false, false},
        {"@[`{", "@[`{", true, true},
        {"@", "`", false, false},               /* one bit apart, and no letters */
        {"\xc3\x84", "\xc3\xa4", false, false}, /* bytes above 0x7F never fold */
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_slice a = ferry_slice_z(cases[i].a), b = ferry_slice_z(cases[i].b);

        assert_int_equal(ferry_slice_eq(a, b), cases[i].eq);
        assert_int_equal(ferry_slice_eq_nocase(a, b), cases[i].eq_nocase);
        assert_int_equal(ferry_slice_eq_nocase(b, a), cases[i].eq_nocase);
    }
    assert_true(ferry_slice_eq(ferry_slice(NULL, 0), FERRY_SLICE("")));
    assert_true(ferry_slice_eq(ferry_slice_z(NULL), ferry_slice(NULL, 0)));
}

static void parts(void **state)
{
    struct ferry_slice s = FERRY_SLICE("index.PHP");

    (void)state;
    assert_slice_equal(ferry_slice_from(s, 5), ".PHP");
    assert_slice_equal(ferry_slice_from(s, 9), "");
    assert_slice_equal(ferry_slice_from(s, 10), "");
    assert_slice_equal(ferry_slice_first(s, 5), "index");
    assert_slice_equal(ferry_slice_first(s, 10), "index.PHP");
    assert_int_equal(ferry_slice_find(s, '.'), 5);
    assert_int_equal(ferry_slice_find(s, '?'), 9);
    assert_int_equal(ferry_slice_find(ferry_slice(NULL, 0), '?'), 0);
    assert_true(ferry_slice_starts(s, FERRY_SLICE("ind")));
    assert_true(ferry_slice_starts(s, FERRY_SLICE("")));
    assert_false(ferry_slice_starts(s, FERRY_SLICE("Ind")));
    assert_false(ferry_slice_starts(s, FERRY_SLICE("index.PHPx")));
    assert_true(ferry_slice_ends_nocase(s, FERRY_SLICE(".php")));
    assert_false(ferry_slice_ends_nocase(s, FERRY_SLICE(".ph")));
    assert_false(ferry_slice_ends_nocase(FERRY_SLICE("php"), FERRY_SLICE(".php")));
}

static void blanks_are_trimmed_at_both_ends(void **state)
{
    static const struct {
        const char *in, *want;
    } cases[] = {{"", ""},          {" \t ", ""},       {"a", "a"},
                 {" a b\t", "a b"}, {"\na\r", "\na\r"}, {"\v", "\v"}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = strlen(cases[i].in);
        struct ferry_slice got = ferry_slice_trim(ferry_slice(guard_copy(0, cases[i].in, n), n));

        assert_true(ferry_slice_eq(got, ferry_slice_z(cases[i].want)));
    }
}

static void numbers(void **state)
{
    static const struct {
        const char *in;
        uint64_t max;
        int err;
        uint64_t want;
    } cases[] = {
        {"0", 0, 0, 0},
        {"10", 10, 0, 10},
        {"11", 10, FERRY_ELIMIT, 0},
        {"0000000000000000000000000000010", 10, 0, 10},
        {"18446744073709551615", UINT64_MAX, 0, UINT64_MAX},
        {"18446744073709551616", UINT64_MAX - 1, FERRY_ELIMIT, 0},
        {"99999999999999999999999999999999", UINT64_MAX - 1, FERRY_ELIMIT, 0},
        {"99999999999999999999999999999999x", UINT64_MAX - 1, FERRY_EPROTOCOL, 0},
        {"", 10, FERRY_EPROTOCOL, 0},
        {"-1", 10, FERRY_EPROTOCOL, 0},
        {"+1", 10, FERRY_EPROTOCOL, 0},
        {" 1", 10, FERRY_EPROTOCOL, 0},
        {"1 ", 10, FERRY_EPROTOCOL, 0},
        {"0x1", 10, FERRY_EPROTOCOL, 0},
        {"1,1", 10, FERRY_EPROTOCOL, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = strlen(cases[i].in);
        struct ferry_slice in = ferry_slice(guard_copy(0, cases[i].in, n), n);
        uint64_t out = 77;

        assert_int_equal(ferry_slice_u64(in, cases[i].max, &out), cases[i].err);
        assert_int_equal(out, cases[i].err ? 77 : cases[i].want);
    }
}

static void a_number_past_64_bits_is_past_every_maximum(void **state)
{
    uint64_t out;

    (void)state;
    assert_int_equal(ferry_slice_u64(FERRY_SLICE("18446744073709551616"), UINT64_MAX, &out),
                     FERRY_ELIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equality),
        cmocka_unit_test(parts),
        cmocka_unit_test(blanks_are_trimmed_at_both_ends),
        cmocka_unit_test(numbers),
        cmocka_unit_test(a_number_past_64_bits_is_past_every_maximum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
