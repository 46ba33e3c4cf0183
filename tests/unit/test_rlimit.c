/* SPDX-License-Identifier: MIT */
#include "io/rlimit.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

static void limits_are_read(void **state)
{
    static const struct {
        const char *text;
        int resource;
        uint64_t soft, hard;
    } cases[] = {
        {"nofile=1024", RLIMIT_NOFILE, 1024, 1024},
        {"nofile=1024:4096", RLIMIT_NOFILE, 1024, 4096},
        {"NOFILE=8:8", RLIMIT_NOFILE, 8, 8},
        {"core=0:unlimited", RLIMIT_CORE, 0, UINT64_MAX},
        {"core=Unlimited", RLIMIT_CORE, UINT64_MAX, UINT64_MAX},
        {"as=512M", RLIMIT_AS, 512ull << 20, 512ull << 20},
        {"as=1k:2G", RLIMIT_AS, 1024, 2ull << 30},
        {"stack=18014398509481983k", RLIMIT_STACK, 18014398509481983ull << 10,
         18014398509481983ull << 10},
        {"cpu=18446744073709551614", RLIMIT_CPU, UINT64_MAX - 1, UINT64_MAX - 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *in = guard_copy(0, cases[i].text, strlen(cases[i].text) + 1);
        struct ferry_rlimit r;
        const char *why = NULL;

        assert_int_equal(ferry_rlimit_parse(in, &r, &why), 0);
        assert_int_equal(r.resource, cases[i].resource);
        assert_int_equal(r.soft, cases[i].soft);
        assert_int_equal(r.hard, cases[i].hard);
    }
}

static void what_is_no_limit_is_told_why(void **state)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"", "NAME=SOFT"},
        {"nofile", "NAME=SOFT"},
        {"files=1", "NAME=SOFT"},
        {"=1", "NAME=SOFT"},
        {"nofile=", "the limit must be a number"},
        {"nofile=x", "the limit must be a number"},
        {"nofile=-1", "the limit must be a number"},
        {"nofile=k", "the limit must be a number"},
        {"nofile=:5", "the limit must be a number"},
        {"nofile=5:", "the hard limit must be a number"},
        {"nofile=5:6:7", "the hard limit must be a number"},
        {"nofile=6:5", "above the hard one"},
        {"nofile=unlimited:5", "above the hard one"},
        {"as=18014398509481984k", "the limit must be a number"},
        {"as=18446744073709551615", "the limit must be a number"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *in = guard_copy(0, cases[i].text, strlen(cases[i].text) + 1);
        struct ferry_rlimit r = {.resource = 77};
        const char *why = NULL;

        assert_int_equal(ferry_rlimit_parse(in, &r, &why), FERRY_EUSAGE);
        assert_non_null(strstr(why, cases[i].why));
        assert_int_equal(r.resource, 77);
    }
}

static void a_limit_holds(void **state)
{
    int status;
    pid_t pid = fork();

    (void)state;
    assert_true(pid >= 0);
    if (pid == 0) {
        struct ferry_rlimit core = {RLIMIT_CORE, 0, 4096}, files = {RLIMIT_NOFILE, 40, 50},
                            wrong = {RLIMIT_NOFILE, 60, 50};
        struct rlimit now;

        if (ferry_rlimit_set(&core) != 0 || ferry_rlimit_set(&files) != 0 ||
            ferry_rlimit_set(&wrong) != -EINVAL)
            _exit(1);
        if (getrlimit(RLIMIT_NOFILE, &now) < 0 || now.rlim_cur != 40 || now.rlim_max != 50)
            _exit(2);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_are_read),
        cmocka_unit_test(what_is_no_limit_is_told_why),
        cmocka_unit_test(a_limit_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
