/* SPDX-License-Identifier: MIT */
#include "proc/php_user.h"

#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support.h"

static char dir[] = "/tmp/ferry-test-php-user-XXXXXX";

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) && chmod(dir, 0755) == 0 ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    return rmdir(dir);
}

static void only_root_changes(void **state)
{
    struct ferry_php_user user;

    (void)state;
    if (geteuid() == 0)
        return;
    ferry_php_user_choose(dir, &user);
    assert_false(user.change);
}

static void root_becomes_who_can_read_the_directory(void **state)
{
    const struct passwd *www = getpwnam("www-data");
    uid_t www_uid = www ? www->pw_uid : 0;
    const struct {
        uid_t owner;
        mode_t parent, mode;
        int index; /* mode of index.php, -1 for none */
        uid_t want;
    } cases[] = {
        {54321, 0755, 0700, -1, 54321}, {54321, 0755, 0700, 0644, 54321},
        {54321, 0755, 0500, -1, 54321}, {54321, 0700, 0755, -1, 0},
        {0, 0755, 0755, -1, www_uid},   {0, 0755, 0755, 0644, www_uid},
        {0, 0755, 0755, 0600, 0},       {0, 0755, 0700, -1, 0},
        {0, 0755, 0711, -1, 0},         {54321, 0755, 0055, -1, www_uid},
    };

    (void)state;
    if (geteuid() != 0)
        return;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_php_user user;
        char site[64], index[80];

        snprintf(site, sizeof site, "%s/site", dir);
        snprintf(index, sizeof index, "%s/index.php", site);
        assert_int_equal(mkdir(site, 0700), 0);
        if (cases[i].index >= 0) {
            int fd = open(index, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

            assert_int_equal(fchmod(fd, (mode_t)cases[i].index), 0);
            close(fd);
        }
        assert_int_equal(chown(site, cases[i].owner, cases[i].owner), 0);
        assert_int_equal(chmod(site, cases[i].mode), 0);
        assert_int_equal(chmod(dir, cases[i].parent), 0);
        ferry_php_user_choose(site, &user);
        unlink(index);
        rmdir(site);
        assert_int_equal(chmod(dir, 0755), 0);
        assert_int_equal(user.change, cases[i].want != 0);
        assert_int_equal(user.uid, cases[i].want);
        if (user.change) {
            assert_int_not_equal(user.gid, 0);
            assert_string_equal(user.name, cases[i].want == 54321 ? "54321" : "www-data");
            assert_string_equal(user.home, cases[i].want == 54321 ? "/" : www->pw_dir);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_root_changes),
        cmocka_unit_test(root_becomes_who_can_read_the_directory),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
