/* SPDX-License-Identifier: MIT */
#include "proc/run_dir.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support.h"

static char base[] = "/tmp/ferry-test-run-dir-XXXXXX";

/* Makes one with this XDG_RUNTIME_DIR: is it in there? */
static bool is_used(const char *run, bool for_other_user)
{
    char dir[FERRY__RUN_DIR_MAX];
    struct stat st;
    bool used;

    setenv("XDG_RUNTIME_DIR", run, 1);
    assert_int_equal(ferry__run_dir_make(for_other_user, dir), 0);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    used = strncmp(dir, run, strlen(run)) == 0 && dir[strlen(run)] == '/';
    assert_true(used || strncmp(dir, "/tmp/ferry-", 11) == 0);
    assert_int_equal(rmdir(dir), 0);
    return used;
}

/* The same, with a directory made for it. */
static bool is_taken(const char *name, mode_t mode, bool for_other_user)
{
    char path[512];
    bool used;

    snprintf(path, sizeof path, "%s/%s", base, name);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(chmod(path, mode), 0);
    used = is_used(path, for_other_user);
    assert_int_equal(rmdir(path), 0);
    return used;
}

static void only_a_private_directory_with_a_plain_name_is_used(void **state)
{
    char name[120];

    (void)state;
    assert_true(is_taken("private", 0700, false));
    assert_false(is_taken("for-others", 0700, true));
    assert_false(is_taken("open", 0755, false));
    assert_false(is_taken("with space", 0700, false));
    assert_false(is_used("relative", false));
    assert_false(is_used("/tmp/ferry-no-such", false));
    memset(name, 'x', sizeof name);
    name[80 - sizeof base] = '\0'; /* 80 bytes in all */
    assert_true(is_taken(name, 0700, false));
    name[80 - sizeof base] = 'x';
    name[81 - sizeof base] = '\0';
    assert_false(is_taken(name, 0700, false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_a_private_directory_with_a_plain_name_is_used),
    };
    int failed;

    if (!mkdtemp(base))
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    return rmdir(base) < 0 || failed;
}
