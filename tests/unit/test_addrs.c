/* SPDX-License-Identifier: MIT */
#include "app/addrs.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/un.h>

#include "support.h"

static bool allows(const struct ferry__addrs *a, const char *ip)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

    if (inet_pton(AF_INET, ip, &in.sin_addr) == 1)
        return ferry__addrs_allow(a, (struct sockaddr *)&in);
    assert_int_equal(inet_pton(AF_INET6, ip, &in6.sin6_addr), 1);
    return ferry__addrs_allow(a, (struct sockaddr *)&in6);
}

static void a_list_lets_in_whom_it_names(void **state)
{
    static const struct {
        const char *list, *peer;
        bool in;
    } cases[] = {
        {"10.0.0.1", "10.0.0.1", true},
        {"10.0.0.1", "10.0.0.2", false},
        {"10.0.0.1,10.0.0.2,10.0.0.3", "10.0.0.1", true},
        {"10.0.0.1,10.0.0.2,10.0.0.3", "10.0.0.2", true},
        {"10.0.0.1,10.0.0.2,10.0.0.3", "10.0.0.3", true},
        {" 10.0.0.1 ,\t10.0.0.2", "10.0.0.2", true},
        {"10.0.0.1", "::ffff:10.0.0.1", true},
        {"::ffff:10.0.0.1", "10.0.0.1", true},
        {"::1", "::1", true},
        {"::1", "127.0.0.1", false},
        {"2001:db8::1:2", "2001:db8::1:3", false}, /* differs in the last of sixteen bytes */
        {"2001:db8::1:2", "2001:db8::1:2", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry__addrs a;

        assert_int_equal(ferry__addrs_parse(&a, cases[i].list), 0);
        assert_int_equal(allows(&a, cases[i].peer), cases[i].in);
        ferry__addrs_fini(&a);
    }
}

static void without_a_list_everybody_comes_in_and_with_one_only_tcp(void **state)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct ferry__addrs a;

    (void)state;
    assert_int_equal(ferry__addrs_parse(&a, NULL), 0);
    assert_true(allows(&a, "192.0.2.1"));
    assert_true(ferry__addrs_allow(&a, (struct sockaddr *)&un));
    assert_int_equal(ferry__addrs_parse(&a, ""), 0);
    assert_true(ferry__addrs_allow(&a, (struct sockaddr *)&un));
    assert_int_equal(ferry__addrs_parse(&a, "127.0.0.1"), 0);
    assert_false(ferry__addrs_allow(&a, (struct sockaddr *)&un));
    ferry__addrs_fini(&a);
}

static void a_mistake_in_the_list_is_an_error(void **state)
{
    static const char *const bad[] = {
        ",",
        "10.0.0.1,",
        ",10.0.0.1",
        "10.0.0.1 10.0.0.2",
        "10.0.0",
        "10.0.0.256",
        "example.org",
        "10.0.0.1/8",
        "[::1]",
        " ",
        "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc"};
    char many[4 * (FERRY__ADDRS_MAX + 1)];
    struct ferry__addrs a;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(ferry__addrs_parse(&a, bad[i]), FERRY_EUSAGE);
        assert_null(a.list);
    }
    memset(many, ',', sizeof many);
    many[sizeof many - 1] = 0;
    assert_int_equal(ferry__addrs_parse(&a, many), FERRY_ELIMIT);
    for (size_t i = 0; i + 4 <= sizeof many; i += 4)
        memcpy(many + i, "::1,", 4);
    many[4 * FERRY__ADDRS_MAX - 1] = 0;
    assert_int_equal(ferry__addrs_parse(&a, many), 0);
    assert_int_equal(a.n, FERRY__ADDRS_MAX);
    ferry__addrs_fini(&a);
}

static void memory_may_run_out(void **state)
{
    struct ferry__addrs a;

    (void)state;
    fail_alloc_after(0);
    assert_int_equal(ferry__addrs_parse(&a, "10.0.0.1"), -ENOMEM);
    fail_alloc_after(-1);
    ferry__addrs_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_lets_in_whom_it_names),
        cmocka_unit_test(without_a_list_everybody_comes_in_and_with_one_only_tcp),
        cmocka_unit_test(a_mistake_in_the_list_is_an_error),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
