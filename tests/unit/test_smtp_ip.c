/* SPDX-License-Identifier: MIT */
#include "smtp/ip.h"

#include <arpa/inet.h>

#include "support.h"

static const char *const four[] = {
    "0.0.0.0",    "127.0.0.1",
    "192.0.2.1",  "255.255.255.255",
    "256.0.0.1",  "1.2.3",
    "1.2.3.4.5",  "1.2.3.",
    ".1.2.3",     "1..2.3",
    "1.2.3.4 ",   " 1.2.3.4",
    "1.2.3.0004", "01.2.3.4",
    "1.2.3.00",   "1.2.3.4x",
    "",           "1",
    "a.b.c.d",    "-1.2.3.4",
    "1.2.3.999",  "99999999999.1.1.1",
};

static const char *const six[] = {
    "::",
    "::1",
    "1::",
    "2001:db8::1",
    "2001:DB8:0:0:8:800:200C:417A",
    "1:2:3:4:5:6:7:8",
    "1:2:3:4:5:6:7::",
    "::2:3:4:5:6:7:8",
    "1::3:4:5:6:7:8",
    "::ffff:1.2.3.4",
    "::127.0.0.1",
    "1:2:3:4:5:6:1.2.3.4",
    "64:ff9b::192.0.2.33",
    "",
    ":",
    ":::",
    "1",
    "1:",
    ":1",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7:8:",
    "1:2:3:4:5:6:7:8::",
    "::1:2:3:4:5:6:7:8",
    "1::2::3",
    "1:::2",
    "12345::",
    "::g",
    "::1.2.3",
    "::1.2.3.4.5",
    "::1.2.3.256",
    "1.2.3.4",
    "1:2:3:4:5:6:7:1.2.3.4",
    "1:2:3:4:5:1.2.3.4",
    "::1.2.3.4:5",
    "::.1.2.3",
    "::1%lo",
    "::1 ",
    "[::1]",
};

static void addresses_are_those_of_inet_pton(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof four / sizeof *four; i++) {
        size_t n = strlen(four[i]);
        uint8_t want[4] = {7, 7, 7, 7}, got[4] = {7, 7, 7, 7};
        bool is = inet_pton(AF_INET, four[i], want) == 1;

        assert_int_equal(ferry__smtp_ip4(ferry_slice(guard_copy(0, four[i], n), n), got), is);
        assert_memory_equal(got, want, is ? 4 : 0);
        assert_int_equal(got[0], is ? want[0] : 7);
    }
    for (size_t i = 0; i < sizeof six / sizeof *six; i++) {
        size_t n = strlen(six[i]);
        uint8_t want[16], got[16] = {7};
        bool is = inet_pton(AF_INET6, six[i], want) == 1;

        assert_int_equal(ferry__smtp_ip6(ferry_slice(guard_copy(0, six[i], n), n), got), is);
        if (is)
            assert_memory_equal(got, want, 16);
        else
            assert_int_equal(got[0], 7);
    }
}

/* Every text of up to eight of these characters, in some order that repeats. */
static void made_up_texts_are_too(void **state)
{
    static const char letters[] = "1:.:a2:0";
    uint32_t seed = 1;
    unsigned good = 0;

    (void)state;
    for (unsigned round = 0; round < 400000; round++) {
        char text[16];
        uint8_t want[16], got[16];
        size_t n;
        bool is;

        seed = seed * 1664525 + 1013904223;
        n = 2 + (seed >> 28) % 12;
        for (size_t i = 0; i < n; i++) {
            seed = seed * 1664525 + 1013904223;
            text[i] = letters[seed >> 29];
        }
        text[n] = 0;
        is = inet_pton(AF_INET6, text, want) == 1;
        good += is;
        assert_int_equal(ferry__smtp_ip6(ferry_slice(text, n), got), is);
        if (is)
            assert_memory_equal(got, want, 16);
    }
    assert_true(good > 100);
}

static void an_ipv4_address_in_ipv6_is_known(void **state)
{
    uint8_t ip[16];

    (void)state;
    assert_true(ferry__smtp_ip6(FERRY_SLICE("::ffff:192.0.2.1"), ip));
    assert_true(ferry__smtp_ip6_is_mapped(ip));
    assert_memory_equal(ip + 12, "\xc0\x00\x02\x01", 4);
    assert_true(ferry__smtp_ip6(FERRY_SLICE("::192.0.2.1"), ip));
    assert_false(ferry__smtp_ip6_is_mapped(ip));
    assert_true(ferry__smtp_ip6(FERRY_SLICE("1::ffff:192.0.2.1"), ip));
    assert_false(ferry__smtp_ip6_is_mapped(ip));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_those_of_inet_pton),
        cmocka_unit_test(made_up_texts_are_too),
        cmocka_unit_test(an_ipv4_address_in_ipv6_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
