/* SPDX-License-Identifier: MIT */
#include "call/payload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support.h"

/* A file of the test's own, removed by the next call. */
static const char *a_file(const char *text, size_t n)
{
    static char path[64];
    int fd;

    if (*path)
        unlink(path);
    snprintf(path, sizeof path, "/tmp/test_payload.XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, n), n);
    close(fd);
    return path;
}

static void test_pieces_from_anywhere(void **state)
{
    static const char all[] = "memory, a file, and memory again";
    const char *path = a_file(", a file,", 9);
    struct ferry_payload p = {0};
    char out[64];

    (void)state;
    assert_int_equal(ferry_payload_add(&p, FERRY_SLICE("memory")), 0);
    assert_int_equal(ferry_payload_add(&p, FERRY_SLICE("")), 0);
    assert_int_equal(ferry_payload_add_file(&p, path), 0);
    assert_int_equal(ferry_payload_add(&p, FERRY_SLICE(" and memory again")), 0);
    assert_int_equal(p.len, sizeof all - 1);
    for (size_t at = 0; at <= p.len; at++)
        for (size_t n = 1; n < sizeof out; n++) {
            size_t want = n < p.len - at ? n : p.len - at;

            assert_int_equal(ferry_payload_read(&p, at, out, n), want);
            assert_memory_equal(out, all + at, want);
        }
    ferry_payload_fini(&p);
    assert_int_equal(p.len, 0);
    ferry_payload_fini(&p);
}

static void test_file_becomes_shorter(void **state)
{
    const char *path = a_file("0123456789", 10);
    struct ferry_payload p = {0};
    char out[10];

    (void)state;
    assert_int_equal(ferry_payload_add_file(&p, path), 0);
    assert_int_equal(truncate(path, 4), 0);
    assert_int_equal(ferry_payload_read(&p, 0, out, 10), 4);
    assert_int_equal(ferry_payload_read(&p, 4, out, 6), FERRY_ECUT);
    ferry_payload_fini(&p);
}

/* Pipes, and files that tell no length, are kept, and can be read from anywhere then. */
static void test_without_a_length(void **state)
{
    struct ferry_payload p = {0};
    int pipes[2], saved = dup(STDIN_FILENO);
    char out[16];

    (void)state;
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(write(pipes[1], "from a pipe", 11), 11);
    close(pipes[1]);
    dup2(pipes[0], STDIN_FILENO);
    close(pipes[0]);
    assert_int_equal(ferry_payload_add_file(&p, "-"), 0);
    dup2(saved, STDIN_FILENO);
    close(saved);
    assert_int_equal(p.len, 11);
    assert_int_equal(ferry_payload_read(&p, 5, out, 16), 6);
    assert_memory_equal(out, "a pipe", 6);
    assert_int_equal(ferry_payload_add_file(&p, "/proc/self/comm"), 0);
    assert_true(p.len > 11);
    ferry_payload_fini(&p);
}

static void test_no_file(void **state)
{
    struct ferry_payload p = {0};

    (void)state;
    assert_int_equal(ferry_payload_add_file(&p, "/nonexistent/file"), -ENOENT);
    assert_int_equal(ferry_payload_add_file(&p, "/tmp"), -EISDIR);
    assert_int_equal(p.len, 0);
    ferry_payload_fini(&p);
}

static void scenario(void *arg)
{
    struct ferry_payload p = {0};

    for (int i = 0; i < 20; i++)
        if (ferry_payload_add(&p, FERRY_SLICE("piece")) < 0)
            break;
    if (ferry_payload_add_file(&p, arg) == 0)
        assert_true(p.len >= 3);
    ferry_payload_fini(&p);
}

static void test_no_memory(void **state)
{
    (void)state;
    each_alloc_fails(scenario, (void *)a_file("abc", 3));
}

static int teardown(void **state)
{
    (void)state;
    unlink(a_file("", 0));
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_from_anywhere),
        cmocka_unit_test(test_file_becomes_shorter),
        cmocka_unit_test(test_without_a_length),
        cmocka_unit_test(test_no_file),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
