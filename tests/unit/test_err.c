/* SPDX-License-Identifier: MIT */
#include "ferry/err.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"

#include "support.h"

static void every_class_has_a_name_and_a_text(void **state)
{
    static const struct {
        int err;
        const char *name, *text;
    } cases[] = {
#define X(name, value, text) {FERRY_E##name, #name, text},
        FERRY_ERR_MAP(X)
#undef X
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_true(cases[i].err < -4096); /* no errno is there */
        assert_string_equal(ferry_errname(cases[i].err), cases[i].name);
        assert_string_equal(ferry_strerror(cases[i].err), cases[i].text);
        for (size_t j = 0; j < i; j++)
            assert_int_not_equal(cases[i].err, cases[j].err);
    }
}

static void system_errors_keep_their_names(void **state)
{
    (void)state;
    assert_string_equal(ferry_errname(-ECONNREFUSED), "ECONNREFUSED");
    assert_string_equal(ferry_strerror(-ECONNREFUSED), strerror(ECONNREFUSED));
}

static void unknown_numbers_have_texts_too(void **state)
{
    static const int numbers[] = {-4095, -4999, -123456, INT_MIN, INT_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        assert_non_null(ferry_strerror(numbers[i]));
        assert_string_equal(ferry_errname(numbers[i]), "unknown");
    }
}

static void a_broken_assertion_says_where_and_aborts(void **state)
{
    char said[256] = "";
    int status, ends[2];
    pid_t pid;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    pid = fork();
    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], 2);
        ferry_assert(1 + 1 == 3);
        _exit(0);
    }
    close(ends[1]);
    assert_true(read(ends[0], said, sizeof said - 1) > 0);
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(said, "test_err.c"));
    assert_non_null(strstr(said, "1 + 1 == 3"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_class_has_a_name_and_a_text),
        cmocka_unit_test(system_errors_keep_their_names),
        cmocka_unit_test(unknown_numbers_have_texts_too),
        cmocka_unit_test(a_broken_assertion_says_where_and_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
