/* SPDX-License-Identifier: MIT */
#include "proc/php_find.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support.h"

static char dir[] = "/tmp/ferry-test-php-find-XXXXXX";
static char *old_path;

static const char *in_dir(const char *name)
{
    static char path[4][128];
    static unsigned i;
    char *at = path[i++ % 4];

    snprintf(at, sizeof path[0], "%s/%s", dir, name);
    return at;
}

/* A program that prints `text` to stdout. */
static void make(const char *name, const char *text, mode_t mode)
{
    char folder[128];
    int fd;

    snprintf(folder, sizeof folder, "%s", in_dir(name));
    *strrchr(folder, '/') = 0;
    mkdir(folder, 0700);
    fd = open(in_dir(name), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(dprintf(fd, "#!/bin/sh\n%s\n", text) > 0);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void set_path(const char *names)
{
    char path[512] = "/nonexistent";

    for (; *names; names++) {
        size_t len = strlen(path);

        snprintf(path + len, sizeof path - len, ":%s/%c", dir, *names);
    }
    setenv("PATH", path, 1);
}

static void the_one_to_run_is_found(void **state)
{
    static const struct {
        const char *path, *given, *want, *name;
        enum ferry_php_kind kind;
    } cases[] = {
        /* a: php-fpm8.1 php-fpm8.10 php-fpm8.9 php-cgi8.3, b: php-fpm, c: php-fpm82 php-fpm81 */
        {"a", NULL, "a/php-fpm8.10", "php-fpm 8.10", FERRY_PHP_FPM},
        {"ab", NULL, "b/php-fpm", "php-fpm", FERRY_PHP_FPM},
        {"c", NULL, "c/php-fpm82", "php-fpm 8.2", FERRY_PHP_FPM},
        {"ca", NULL, "a/php-fpm8.10", "php-fpm 8.10", FERRY_PHP_FPM},
        {"a", "php-cgi8.3", "a/php-cgi8.3", "php-cgi 8.3", FERRY_PHP_CGI},
        {"b", "a/php-fpm8.1", "a/php-fpm8.1", "php-fpm 8.1", FERRY_PHP_FPM},
        {"b", "d/link-fpm", "d/link-fpm", "php-fpm 7.4", FERRY_PHP_FPM},
        {"b", "d/php-cgi", "d/php-cgi", "php-cgi 8.3", FERRY_PHP_CGI},
        {"b", "d/my-cgi", "d/my-cgi", "php-cgi 8.2", FERRY_PHP_CGI},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *given = cases[i].given;
        struct ferry_php_program p;
        char why[256] = "";

        set_path(cases[i].path);
        if (given && strchr(given, '/'))
            given = in_dir(given);
        assert_int_equal(ferry_php_find(given, &p, why, sizeof why), 0);
        assert_string_equal(p.path, in_dir(cases[i].want));
        assert_string_equal(p.name, cases[i].name);
        assert_int_equal(p.kind, cases[i].kind);
        assert_string_equal(why, "");
    }
}

static void a_relative_path_becomes_absolute(void **state)
{
    struct ferry_php_program p;
    char why[256];
    int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    (void)state;
    assert_int_equal(chdir(dir), 0);
    assert_int_equal(ferry_php_find("a/php-fpm8.1", &p, why, sizeof why), 0);
    assert_int_equal(fchdir(here), 0);
    close(here);
    assert_string_equal(p.path, in_dir("a/php-fpm8.1"));
}

static void what_is_no_php_is_told(void **state)
{
    static const struct {
        const char *given;
        int err;
        const char *why;
    } cases[] = {
        {"d/missing", FERRY_EUSAGE, "No such file"},
        {"d/data", -EACCES, "Permission denied"},
        {"d/php8.2", FERRY_EUSAGE, "PHP for the command line; ferry needs php-fpm or php-cgi"},
        {"d/other", FERRY_EUSAGE, "not a PHP that serves FastCGI"},
        {"d/silent", FERRY_EUSAGE, "not a PHP that serves FastCGI"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_php_program p;
        char why[256] = "";

        assert_int_equal(ferry_php_find(in_dir(cases[i].given), &p, why, sizeof why), cases[i].err);
        assert_non_null(strstr(why, cases[i].why));
        assert_non_null(strstr(why, cases[i].given));
    }
}

/* Whatever this machine has installed: when nothing is found, the sentence says what to install. */
static void without_any_php_the_package_is_named(void **state)
{
    struct ferry_php_program p;
    char why[256] = "";
    int err;

    (void)state;
    set_path("");
    err = ferry_php_find(NULL, &p, why, sizeof why);
    if (err == 0) {
        assert_int_equal(p.path[0], '/');
        assert_int_equal(access(p.path, X_OK), 0);
        return;
    }
    assert_int_equal(err, -ENOENT);
    assert_non_null(strstr(why, "sudo apt install php-fpm"));
}

static const char *const files[] = {
    "a/php-fpm8.1", "a/php-fpm8.10", "a/php-fpm8.9", "a/php-fpm9.0", "a/php-fpm8.x", "a/php-cgi8.3",
    "b/php-fpm",    "c/php-fpm81",   "c/php-fpm82",  "d/link-fpm",   "d/php-fpm7.4", "d/php-cgi",
    "d/my-cgi",     "d/data",        "d/php8.2",     "d/other",      "d/silent"};

static int make_all(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    old_path = strdup(getenv("PATH"));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        make(files[i], "exit 0", 0755);
    make("a/php-fpm9.0", "exit 0", 0644); /* the highest, but it cannot be run */
    make("d/data", "", 0644);
    make("d/php8.2", "echo 'PHP 8.2.7 (cli) (built: Jun  9 2023)'", 0755);
    make("d/my-cgi", "echo 'PHP 8.2.7 (cgi-fcgi) (built: Jun  9 2023)'; echo Copyright", 0755);
    make("d/other", "echo 'something (fpm-fcgi)'; sleep 100", 0755);
    make("d/link-fpm", "echo 'PHP 7.4.33 (fpm-fcgi)'", 0755);
    unlink(in_dir("d/php-cgi"));
    return symlink("../a/php-cgi8.3", in_dir("d/php-cgi"));
}

static int remove_all(void **state)
{
    static const char *const dirs[] = {"a", "b", "c", "d"};

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        unlink(in_dir(files[i]));
    for (int i = 0; i < 4; i++)
        rmdir(in_dir(dirs[i]));
    setenv("PATH", old_path, 1);
    free(old_path);
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_one_to_run_is_found),
        cmocka_unit_test(a_relative_path_becomes_absolute),
        cmocka_unit_test(what_is_no_php_is_told),
        cmocka_unit_test(without_any_php_the_package_is_named),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
