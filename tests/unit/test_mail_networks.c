/* SPDX-License-Identifier: MIT */
#include "mail/networks.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <sys/un.h>

#include "mail/mail.h"
#include "support.h"

static struct ferry__networks networks;

static int read_one(const char *text, char *why, size_t cap)
{
    const char *texts[] = {text};

    return ferry__networks_read(&(struct ferry_mail_networks){texts, 1}, &networks, why, cap);
}

static bool has(const char *addr)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

    if (inet_pton(AF_INET, addr, &in.sin_addr) == 1)
        return ferry__networks_has(&networks, (struct sockaddr *)&in);
    assert_int_equal(inet_pton(AF_INET6, addr, &in6.sin6_addr), 1);
    return ferry__networks_has(&networks, (struct sockaddr *)&in6);
}

static void an_address_is_within(void **state)
{
    static const struct {
        const char *network, *inside, *outside;
    } cases[] = {
        {"192.0.2.1", "192.0.2.1", "192.0.2.2"},
        {"192.0.2.0/24", "192.0.2.255", "192.0.3.0"},
        {"192.0.2.0/24", "::ffff:192.0.2.7", "::ffff:192.0.3.7"},
        {"192.0.2.128/25", "192.0.2.128", "192.0.2.127"},
        {"192.0.2.4/30", "192.0.2.7", "192.0.2.8"},
        {"0.0.0.0/0", "255.255.255.255", "2001:db8::1"},
        {"10.0.0.0/8", "10.255.0.1", "11.0.0.1"},
        {" 10.0.0.0/8 ", "10.255.0.1", "11.0.0.1"},
        {"::1", "::1", "::2"},
        {"[::1]", "::1", "::2"},
        {"[2001:db8::]/32", "2001:db8:ffff::1", "2001:db9::1"},
        {"2001:db8:0:4::/62", "2001:db8:0:7::1", "2001:db8:0:8::1"},
        {"::/1", "7fff::1", "8000::1"},
        {"::ffff:192.0.2.0/120", "192.0.2.9", "192.0.3.9"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(read_one(cases[i].network, NULL, 0), 0);
        assert_true(has(cases[i].inside));
        assert_false(has(cases[i].outside));
        ferry__networks_fini(&networks);
    }
}

static void all_addresses(void **state)
{
    (void)state;
    assert_int_equal(read_one("::/0", NULL, 0), 0);
    assert_true(has("2001:db8::1"));
    assert_true(has("192.0.2.1"));
    ferry__networks_fini(&networks);
}

static void several_and_unix(void **state)
{
    const char *texts[] = {"192.0.2.1", "Unix", "2001:db8::/32"};
    struct sockaddr_un un = {.sun_family = AF_UNIX};

    (void)state;
    assert_int_equal(
        ferry__networks_read(&(struct ferry_mail_networks){texts, 3}, &networks, NULL, 0), 0);
    assert_true(has("192.0.2.1"));
    assert_true(has("2001:db8::1"));
    assert_false(has("192.0.2.2"));
    assert_true(ferry__networks_has(&networks, (struct sockaddr *)&un));
    ferry__networks_fini(&networks);
    ferry__networks_fini(&networks);
    assert_false(ferry__networks_has(&networks, (struct sockaddr *)&un));

    assert_int_equal(read_one("192.0.2.1", NULL, 0), 0);
    assert_false(ferry__networks_has(&networks, (struct sockaddr *)&un));
    ferry__networks_fini(&networks);
}

static void none_has_nobody(void **state)
{
    (void)state;
    assert_int_equal(
        ferry__networks_read(&(struct ferry_mail_networks){NULL, 0}, &networks, NULL, 0), 0);
    assert_false(has("127.0.0.1"));
    ferry__networks_fini(&networks);
}

static void what_is_no_network(void **state)
{
    static const char *const bad[] = {
        "",
        "localhost",
        "192.0.2",
        "192.0.2.256",
        "192.0.2.0/33",
        "192.0.2.0/",
        "192.0.2.0/x",
        "192.0.2.1/24",
        "2001:db8::1/32",
        "::1/129",
        "[::1",
        "[]",
        "1::2::3",
        "192.0.2.0/-1",
        "0.0.0.0/0/0",
        "[::1]:25",
        "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc:dddd:eeee",
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *texts[] = {"10.0.0.0/8", bad[i]};
        char why[200] = "", quoted[100];

        assert_int_equal(
            ferry_mail_networks_check(&(struct ferry_mail_networks){texts, 2}, why, sizeof why),
            FERRY_EUSAGE);
        snprintf(quoted, sizeof quoted, "\"%s\"", bad[i]);
        assert_non_null(strstr(why, quoted));
    }
    assert_int_equal(read_one("x", NULL, 0), FERRY_EUSAGE);
    assert_int_equal(networks.n, 0);
}

static void scenario(void *arg)
{
    (void)arg;
    if (read_one("192.0.2.0/24", NULL, 0) == 0)
        assert_true(has("192.0.2.1"));
    else
        assert_true(alloc_failed());
    ferry__networks_fini(&networks);
}

static void memory_runs_out(void **state)
{
    (void)state;
    each_alloc_fails(scenario, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_is_within), cmocka_unit_test(all_addresses),
        cmocka_unit_test(several_and_unix),     cmocka_unit_test(none_has_nobody),
        cmocka_unit_test(what_is_no_network),   cmocka_unit_test(memory_runs_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
