/* SPDX-License-Identifier: MIT */
#include "files/docroot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

/* A folder of its own for each test: TOP/root is the docroot, TOP/outside is not. */
static char top[64], real_top[PATH_MAX];
static struct ferry_docroot root;

static const char *at(const char *below)
{
    static char path[2][PATH_MAX];
    static unsigned turn;

    turn ^= 1;
    snprintf(path[turn], PATH_MAX, "%s/%s", top, below);
    return path[turn];
}

static void make_file(const char *below)
{
    int fd = open(at(below), O_WRONLY | O_CREAT | O_TRUNC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, "x", 1), 1);
    close(fd);
}

static void make_link(const char *target, const char *below)
{
    assert_int_equal(symlink(target, at(below)), 0);
}

static int setup(void **state)
{
    (void)state;
    snprintf(top, sizeof top, "/tmp/ferry-docroot-XXXXXX");
    assert_non_null(mkdtemp(top));
    assert_non_null(realpath(top, real_top));
    assert_int_equal(mkdir(at("root"), 0755), 0);
    assert_int_equal(mkdir(at("root/dir"), 0755), 0);
    assert_int_equal(mkdir(at("outside"), 0755), 0);
    assert_int_equal(mkdir(at("root-2"), 0755), 0);
    make_file("root/a.php");
    make_file("root/dir/b.php");
    make_file("outside/c.php");
    make_file("root-2/d.php");
    assert_int_equal(ferry_docroot_open(&root, at("root")), 0);
    return 0;
}

static int teardown(void **state)
{
    pid_t pid;

    (void)state;
    ferry_docroot_close(&root);
    ferry_docroot_close(&root);
    pid = fork();
    if (pid == 0) {
        execl("/bin/rm", "rm", "-rf", top, (char *)NULL);
        _exit(1);
    }
    return pid < 0 || waitpid(pid, NULL, 0) != pid;
}

static enum ferry_path_kind look(const char *path)
{
    size_t n = strlen(path);

    return ferry_docroot_look(&root, ferry_slice(guard_copy(0, path, n), n));
}

static int script_at(const char *path, uint64_t now_ms, struct ferry_slice *out)
{
    size_t n = strlen(path);

    return ferry_docroot_script(&root, ferry_slice(guard_copy(0, path, n), n), now_ms, out);
}

static int script(const char *path)
{
    struct ferry_slice out;

    return script_at(path, 1, &out);
}

static void opening(void **state)
{
    static struct ferry_docroot d;
    char cwd[PATH_MAX], want[PATH_MAX + 8];

    (void)state;
    snprintf(want, sizeof want, "%s/root", real_top);
    assert_string_equal(root.real.p, want);
    assert_int_equal(root.real.len, strlen(want));

    assert_int_equal(ferry_docroot_open(&d, at("nothing")), -ENOENT);
    ferry_docroot_close(&d);
    assert_int_equal(ferry_docroot_open(&d, at("root/a.php")), -ENOTDIR);
    assert_int_equal(d.fd, -1);

    assert_non_null(getcwd(cwd, sizeof cwd));
    assert_int_equal(chdir(top), 0);
    assert_int_equal(ferry_docroot_open(&d, "root"), 0);
    assert_int_equal(chdir(cwd), 0);
    assert_string_equal(d.real.p, want);
    assert_int_equal(ferry_docroot_look(&d, FERRY_SLICE("/a.php")), FERRY_PATH_FILE);
    ferry_docroot_close(&d);

    make_link("root", "link");
    assert_int_equal(ferry_docroot_open(&d, at("link")), 0);
    assert_string_equal(d.real.p, want);
    ferry_docroot_close(&d);
}

static void looking(void **state)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    int s = socket(AF_UNIX, SOCK_STREAM, 0);

    (void)state;
    make_link("a.php", "root/near");
    make_link("../outside", "root/storage");
    make_link("nowhere", "root/dangling");
    make_link("loop", "root/loop");
    make_file("root/with space \xc3\xa4%41?#");
    make_file("root/..a");
    make_file("root/a..");
    assert_int_equal(mkfifo(at("root/fifo"), 0644), 0);
    snprintf(sun.sun_path, sizeof sun.sun_path, "%s", at("root/socket"));
    assert_int_equal(bind(s, (struct sockaddr *)&sun, sizeof sun), 0);

    for (int twice = 0; twice < 2; twice++) { /* the second time from memory, where it keeps any */
        static const struct {
            const char *path;
            enum ferry_path_kind want;
        } cases[] = {
            {"/", FERRY_PATH_DIR},
            {"/a.php", FERRY_PATH_FILE},
            {"/dir", FERRY_PATH_DIR},
            {"/dir/", FERRY_PATH_DIR},
            {"/dir/b.php", FERRY_PATH_FILE},
            {"/near", FERRY_PATH_FILE},
            {"/storage", FERRY_PATH_DIR},
            {"/storage/c.php", FERRY_PATH_FILE},
            {"/with space \xc3\xa4%41?#", FERRY_PATH_FILE},
            {"/..a", FERRY_PATH_FILE},
            {"/a..", FERRY_PATH_FILE},
            {"//a.php", FERRY_PATH_FILE},
            {"", FERRY_PATH_NONE},
            {"a.php", FERRY_PATH_NONE},
            {"/A.php", FERRY_PATH_NONE},
            {"/a.php/", FERRY_PATH_NONE},
            {"/a.php/x", FERRY_PATH_NONE},
            {"/dangling", FERRY_PATH_NONE},
            {"/loop", FERRY_PATH_NONE},
            {"/fifo", FERRY_PATH_NONE},
            {"/socket", FERRY_PATH_NONE},
            {"/..", FERRY_PATH_NONE},
            {"/../outside/c.php", FERRY_PATH_NONE},
            {"/dir/../a.php", FERRY_PATH_NONE},
            {"/dir/..", FERRY_PATH_NONE},
            {"/..a/..", FERRY_PATH_NONE},
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
            if (look(cases[i].path) != cases[i].want)
                fail_msg("%s: %d, not %d", cases[i].path, look(cases[i].path), cases[i].want);
    }
    assert_int_equal(ferry_docroot_look(&root, ferry_slice("/a.php\0x", 8)), FERRY_PATH_NONE);
    close(s);
}

static void long_paths_name_nothing(void **state)
{
    char path[2 * PATH_MAX];
    struct ferry_slice out;

    (void)state;
    memset(path, '/', sizeof path);
    memcpy(path + 200, "a.php", 5);
    assert_int_equal(ferry_docroot_look(&root, ferry_slice(path, 205)), FERRY_PATH_FILE);
    memset(path, 'x', sizeof path);
    path[0] = '/';
    for (size_t n = PATH_MAX - 100; n < PATH_MAX + 100; n++) {
        struct ferry_slice p = {guard_copy(0, path, n), n};

        assert_int_equal(ferry_docroot_look(&root, p), FERRY_PATH_NONE);
        assert_true(ferry_docroot_script(&root, p, 1, &out) < 0);
        assert_true(ferry_docroot_read(&root, p) < 0);
    }
    assert_int_equal(script("/a.php"), 0); /* the root's own name is still whole */
}

static void what_is_there_is_remembered_and_what_is_not_is_not(void **state)
{
    struct ferry_slice a = FERRY_SLICE("/a.php"), later = FERRY_SLICE("/later");

    (void)state;
    assert_int_equal(ferry__docroot_look_at(&root, later, 1000), FERRY_PATH_NONE);
    make_file("root/later");
    assert_int_equal(ferry__docroot_look_at(&root, later, 1000), FERRY_PATH_FILE);

    assert_int_equal(ferry__docroot_look_at(&root, a, 1000), FERRY_PATH_FILE);
    assert_int_equal(unlink(at("root/a.php")), 0);
    assert_int_equal(ferry__docroot_look_at(&root, a, 1999), FERRY_PATH_FILE);
    assert_int_equal(ferry__docroot_look_at(&root, a, 2000), FERRY_PATH_NONE);

    assert_int_equal(unlink(at("root/later")), 0);
    assert_int_equal(ferry__docroot_look_at(&root, later, 1001), FERRY_PATH_FILE);
    ferry_docroot_forget(&root, later);
    ferry_docroot_forget(&root, FERRY_SLICE("/never seen"));
    assert_int_equal(ferry__docroot_look_at(&root, later, 1001), FERRY_PATH_NONE);
}

static void many_paths_share_the_memory(void **state)
{
    char name[32], path[32];

    (void)state;
    for (unsigned i = 0; i < 4 * FERRY_DOCROOT_KEPT; i++) {
        snprintf(name, sizeof name, "root/f%u", i);
        make_file(name);
    }
    for (unsigned twice = 0; twice < 2; twice++)
        for (unsigned i = 0; i < 5 * FERRY_DOCROOT_KEPT; i++) {
            int n = snprintf(path, sizeof path, "/f%u", i);
            enum ferry_path_kind want =
                i < 4 * FERRY_DOCROOT_KEPT ? FERRY_PATH_FILE : FERRY_PATH_NONE;

            assert_int_equal(ferry__docroot_look_at(&root, ferry_slice(path, (size_t)n), 1), want);
        }
}

static void scripts_lie_below_the_real_root(void **state)
{
    static const struct {
        const char *path;
        int want;
    } cases[] = {
        {"/a.php", 0},
        {"/dir/b.php", 0},
        {"/near.php", 0},
        {"/dir/up.php", 0},
        {"/through/b.php", 0},
        {"/absolute.php", 0},
        {"/absolute-dir/b.php", 0},
        {"/out-and-in.php", 0},
        {"/out.php", -EACCES},
        {"/out-dir/c.php", -EACCES},
        {"/out-absolute.php", -EACCES},
        {"/neighbour.php", -EACCES}, /* its name begins as the root's does */
        {"/passwd.php", -EACCES},
        {"/dir", -EACCES},
        {"/", -EACCES},
        {"/fifo.php", -EACCES},
        {"/none.php", -ENOENT},
        {"/dangling.php", -ENOENT},
        {"/a.php/x", -ENOENT},
        {"/a.php/", -ENOENT},
        {"", -ENOENT},
        {"a.php", -ENOENT},
        {"/../root/a.php", -ENOENT},
        {"/dir/../a.php", -ENOENT},
        {"/loop.php", -ELOOP},
    };
    char target[PATH_MAX];

    (void)state;
    make_link("a.php", "root/near.php");
    make_link("../a.php", "root/dir/up.php");
    make_link("dir", "root/through");
    snprintf(target, sizeof target, "%s/root/a.php", top);
    make_link(target, "root/absolute.php");
    snprintf(target, sizeof target, "%s/root/dir", top);
    make_link(target, "root/absolute-dir");
    make_link("../root/a.php", "root/out-and-in.php");
    make_link("../outside/c.php", "root/out.php");
    make_link("../outside", "root/out-dir");
    snprintf(target, sizeof target, "%s/outside/c.php", top);
    make_link(target, "root/out-absolute.php");
    make_link("../root-2/d.php", "root/neighbour.php");
    make_link("/etc/passwd", "root/passwd.php");
    make_link("nowhere", "root/dangling.php");
    make_link("loop.php", "root/loop.php");
    assert_int_equal(mkfifo(at("root/fifo.php"), 0644), 0);

    /* With openat2 and without it. */
    for (int without = 0; without < 2; without++) {
        ferry_docroot_close(&root);
        assert_int_equal(ferry_docroot_open(&root, at("root")), 0);
        root.no_openat2 = without;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
            for (int twice = 0; twice < 2; twice++)
                if (script(cases[i].path) != cases[i].want)
                    fail_msg("%s (%d): %d, not %d", cases[i].path, without, script(cases[i].path),
                             cases[i].want);
    }
}

static void a_script_has_its_real_name(void **state)
{
    static struct ferry_docroot d;
    struct ferry_slice out;
    char want[PATH_MAX + 32];

    (void)state;
    make_link("root", "link");
    assert_int_equal(ferry_docroot_open(&d, at("link")), 0);
    snprintf(want, sizeof want, "%s/root/dir/b.php", real_top);
    for (int twice = 0; twice < 2; twice++) {
        assert_int_equal(ferry_docroot_script(&d, FERRY_SLICE("/dir/b.php"), 1, &out), 0);
        assert_string_equal(out.p, want);
        assert_int_equal(out.len, strlen(want));
    }
    ferry_docroot_close(&d);

    assert_int_equal(ferry_docroot_open(&d, "/"), 0);
    assert_string_equal(d.real.p, "/");
    snprintf(want, sizeof want, "%s/root/a.php", real_top);
    assert_int_equal(ferry_docroot_script(&d, ferry_slice_z(want), 1, &out), 0);
    assert_string_equal(out.p, want);
    d.no_openat2 = true;
    assert_int_equal(ferry_docroot_script(&d, ferry_slice_z(want), 5000, &out), 0);
    ferry_docroot_close(&d);
}

static void a_script_is_remembered_for_a_second(void **state)
{
    struct ferry_slice out;

    (void)state;
    assert_int_equal(ferry__docroot_look_at(&root, FERRY_SLICE("/a.php"), 500), FERRY_PATH_FILE);
    assert_int_equal(script_at("/a.php", 1000, &out), 0);
    assert_int_equal(unlink(at("root/a.php")), 0);
    make_link("../outside/c.php", "root/a.php");
    assert_int_equal(script_at("/a.php", 1999, &out), 0);
    assert_int_equal(script_at("/a.php", 2000, &out), -EACCES);

    /* Having been looked at is not having been found to be a script. */
    assert_int_equal(ferry__docroot_look_at(&root, FERRY_SLICE("/a.php"), 3000), FERRY_PATH_FILE);
    assert_int_equal(script_at("/a.php", 3000, &out), -EACCES);
}

static void reading(void **state)
{
    int fd;

    (void)state;
    make_link("../outside", "root/storage");
    assert_int_equal(mkfifo(at("root/fifo"), 0644), 0);
    fd = ferry_docroot_read(&root, FERRY_SLICE("/storage/c.php"));
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    close(fd);
    fd = ferry_docroot_read(&root, FERRY_SLICE("/fifo")); /* must not wait for a writer */
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(ferry_docroot_read(&root, FERRY_SLICE("/none")), -ENOENT);
    assert_int_equal(ferry_docroot_read(&root, FERRY_SLICE("/../outside/c.php")), -ENOENT);
    assert_int_equal(ferry_docroot_read(&root, FERRY_SLICE("/a.php/x")), -ENOTDIR);
}

static void a_switched_root_is_followed(void **state)
{
    static struct ferry_docroot d;
    struct ferry_slice out;
    char want[PATH_MAX + 32];

    (void)state;
    make_link("root", "current");
    assert_int_equal(ferry_docroot_open(&d, at("current")), 0);
    ferry_docroot_refresh(&d, 1000);
    assert_int_equal(ferry__docroot_look_at(&d, FERRY_SLICE("/a.php"), 1000), FERRY_PATH_FILE);

    make_link("root-2", "next");
    assert_int_equal(rename(at("next"), at("current")), 0);
    ferry_docroot_refresh(&d, 1999); /* not yet looked at */
    assert_int_equal(ferry__docroot_look_at(&d, FERRY_SLICE("/a.php"), 1999), FERRY_PATH_FILE);
    ferry_docroot_refresh(&d, 2000);
    assert_int_equal(ferry__docroot_look_at(&d, FERRY_SLICE("/a.php"), 1999), FERRY_PATH_NONE);
    assert_int_equal(ferry_docroot_script(&d, FERRY_SLICE("/d.php"), 2000, &out), 0);
    snprintf(want, sizeof want, "%s/root-2/d.php", real_top);
    assert_string_equal(out.p, want);

    /* Gone for a while: what was there stays in use. */
    assert_int_equal(unlink(at("current")), 0);
    ferry_docroot_refresh(&d, 3000);
    assert_int_equal(ferry__docroot_look_at(&d, FERRY_SLICE("/d.php"), 9000), FERRY_PATH_FILE);
    assert_int_equal(mkdir(at("current"), 0755), 0);
    make_file("current/new.php");
    ferry_docroot_refresh(&d, 4000);
    assert_int_equal(ferry__docroot_look_at(&d, FERRY_SLICE("/d.php"), 4000), FERRY_PATH_NONE);
    assert_int_equal(ferry__docroot_look_at(&d, FERRY_SLICE("/new.php"), 4000), FERRY_PATH_FILE);
    ferry_docroot_close(&d);
}

static void open_one(void *arg)
{
    static struct ferry_docroot d;
    int err = ferry_docroot_open(&d, "/");

    (void)arg;
    assert_true(err == 0 || err == -ENOMEM);
    ferry_docroot_close(&d);
}

static void memory_may_run_out(void **state)
{
    (void)state;
    each_alloc_fails(open_one, NULL);
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(opening),
        test(looking),
        test(long_paths_name_nothing),
        test(what_is_there_is_remembered_and_what_is_not_is_not),
        test(many_paths_share_the_memory),
        test(scripts_lie_below_the_real_root),
        test(a_script_has_its_real_name),
        test(a_script_is_remembered_for_a_second),
        test(reading),
        test(a_switched_root_is_followed),
        test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
