/* SPDX-License-Identifier: MIT */
/* The filter try_files, on a folder of its own. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "session_fake.h"

static char root[64];
static struct ferry_filters *chain;
static struct fake fake;

static int end(struct ferry_session *s, void *arg)
{
    (void)arg;
    s->host->call(s, &(struct ferry_session_call){.role = s->role});
    return FERRY_STEP_DONE;
}

static const char *at(const char *below)
{
    static char path[256];

    snprintf(path, sizeof path, "%s/%s", root, below);
    return path;
}

static void make_file(const char *below)
{
    int fd = open(at(below), O_WRONLY | O_CREAT, 0644);

    assert_true(fd >= 0);
    close(fd);
}

static int setup(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/ferry-try-XXXXXX");
    assert_non_null(mkdtemp(root));
    assert_int_equal(mkdir(at("dir"), 0755), 0);
    make_file("a.txt");
    make_file("b c.html");
    make_file("dir/x.html");
    make_file("index.php");
    chain = ferry_filters_new();
    return chain ? 0 : -1;
}

static int teardown(void **state)
{
    pid_t pid;

    (void)state;
    if (fake.loop)
        fake_close(&fake);
    fake.loop = NULL;
    ferry_filters_free(chain);
    pid = fork();
    if (pid == 0) {
        execl("/bin/rm", "rm", "-rf", root, (char *)NULL);
        _exit(1);
    }
    return pid < 0 || waitpid(pid, NULL, 0) != pid;
}

static void open_chain(const char *const *paths, unsigned n)
{
    assert_int_equal(ferry_filters_try_files(chain, root, paths, n), 0);
    assert_int_equal(ferry_filters_set_param(chain, "NOW", "$path?$query"), 0);
    assert_int_equal(ferry_filters_add(chain, end, NULL, NULL), 0);
    fake_open(&fake, chain);
}

static const char *went(const char *target)
{
    fake_get(&fake, chain, target);
    if (fake.did == FAKE_REFUSED) {
        snprintf(fake.why, sizeof fake.why, "%d", fake.status);
        return fake.why;
    }
    assert_int_equal(fake.did, FAKE_CALLED);
    return fake_param(&fake, "NOW");
}

static void the_first_that_is_there(void **state)
{
    static const char *const paths[] = {"$path", "$path.html", "$path/", "/index.php?$uri"};
    static const char *const cases[][2] = {
        {"/a.txt?q", "/a.txt?q"},
        {"/b%20c", "/b c.html?"},
        {"/dir/x?y=1", "/dir/x.html?y=1"},
        {"/dir", "/dir/?"}, /* a folder only where a slash asks for one */
        {"/dir/", "/dir/?"},
        {"/", "/?"},
        {"/nothing/here?q=1", "/index.php?/nothing/here?q=1"},
        {"/a.txt/", "/index.php?/a.txt/"},
        {"/b%20c.html/x", "/index.php?/b%20c.html/x"},
    };

    (void)state;
    open_chain(paths, 4);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(went(cases[i][0]), cases[i][1]);
    make_file("new.txt");
    assert_string_equal(went("/new.txt"), "/new.txt?"); /* what is not there is not remembered */
}

static void or_a_status(void **state)
{
    static const char *const paths[] = {"$path", "=410"};

    (void)state;
    open_chain(paths, 2);
    assert_string_equal(went("/a.txt"), "/a.txt?");
    assert_string_equal(went("/b.txt"), "410");
    assert_string_equal(went("/dir"), "410");
}

static void a_clients_slash_asks_for_no_folder(void **state)
{
    static const char *const paths[] = {"$path", "/index.php?$query"};

    (void)state;
    open_chain(paths, 2);
    assert_string_equal(went("/a.txt"), "/a.txt?");
    assert_string_equal(went("/?q"), "/index.php?q");
    assert_string_equal(went("/dir/"), "/index.php?");
    assert_string_equal(went("/a.txt/"), "/index.php?");
}

static void the_last_need_not_be_there(void **state)
{
    static const char *const paths[] = {"/nowhere"};

    (void)state;
    open_chain(paths, 1);
    assert_string_equal(went("/x?q"), "/nowhere?q");
}

static void what_is_no_path_is_404(void **state)
{
    static const char *const paths[] = {"/dir/$http_x_name", "/$http_x_name"};

    (void)state;
    open_chain(paths, 2);
    fake_request(&fake, chain, "GET / HTTP/1.1\r\nHost: a\r\nX-Name: x.html\r\n\r\n");
    assert_string_equal(fake_param(&fake, "NOW"), "/dir/x.html?");
    fake_request(&fake, chain, "GET / HTTP/1.1\r\nHost: a\r\nX-Name: ../a.txt\r\n\r\n");
    assert_int_equal(fake.did, FAKE_REFUSED);
    assert_int_equal(fake.status, 404);
}

static void bad_options_are_refused(void **state)
{
    static const char *const bad[][2] = {
        {"=404", "$path"}, {"$path", "=399"},  {"$path", "=600"}, {"$path", "=x"},
        {"$path", "="},    {"$uri", "=404"},   {"x", "=404"},     {"$path", "$nothing"},
        {"$path", "/$1"},  {"/a\n", "/index"},
    };
    const char *many[33];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(ferry_filters_try_files(chain, root, bad[i], 2), FERRY_EUSAGE);
    for (size_t i = 0; i < 33; i++)
        many[i] = "$path";
    assert_int_equal(ferry_filters_try_files(chain, root, many, 33), FERRY_EUSAGE);
    assert_int_equal(ferry_filters_try_files(chain, root, many, 0), FERRY_EUSAGE);
    assert_int_equal(ferry_filters_try_files(chain, "", many, 1), FERRY_EUSAGE);
    assert_int_equal(ferry_filters_try_files(chain, NULL, many, 1), FERRY_EUSAGE);
    assert_int_equal(ferry_filters_try_files(chain, root, many, 32), 0);
}

static void a_root_must_be_there(void **state)
{
    struct ferry_session_thread thread;
    struct ferry_filters_local *local;
    struct ferry_loop *loop;

    (void)state;
    assert_int_equal(ferry_filters_try_files(chain, at("none"), (const char *[]){"/"}, 1), 0);
    assert_int_equal(ferry_loop_new(FERRY_IO_EPOLL, &loop), 0);
    ferry_session_thread_init(&thread, loop, 0, NULL);
    assert_int_equal(ferry_filters_join(chain, &thread, &local), -ENOENT);
    ferry_loop_free(loop);
}

static void making(void *arg)
{
    static const char *const paths[] = {"$path", "/x?$query", "=404"};
    struct ferry_filters *f = ferry_filters_new();
    struct ferry_filters_local *local;
    int err = f ? ferry_filters_try_files(f, root, paths, 3) : -ENOMEM;

    (void)arg;
    assert_true(err == 0 || (err == -ENOMEM && alloc_failed()));
    if (err == 0 && ferry_filters_join(f, &fake.thread, &local) == 0)
        ferry_filters_leave(local);
    ferry_filters_free(f);
}

static void making_fails_cleanly(void **state)
{
    (void)state;
    fake_open(&fake, chain);
    each_alloc_fails(making, NULL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_that_is_there),
        TEST(or_a_status),
        TEST(a_clients_slash_asks_for_no_folder),
        TEST(the_last_need_not_be_there),
        TEST(what_is_no_path_is_404),
        TEST(bad_options_are_refused),
        TEST(a_root_must_be_there),
        TEST(making_fails_cleanly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
