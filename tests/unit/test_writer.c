/* SPDX-License-Identifier: MIT */
#include "trace/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <stdio.h>

#include "support.h"

#define LONG 30000

static void what_is_pushed_is_written_in_order(void **state)
{
    struct ferry_writer *w;
    char want[10], got[10];
    int fd[2];

    (void)state;
    assert_int_equal(pipe(fd), 0);
    assert_int_equal(ferry_writer_new(fd[1], 1 << 20, &w), 0);
    assert_true(ferry_writer_push(w, "", 0));
    for (int i = 0; i < 3000; i++) {
        snprintf(want, sizeof want, "%08d\n", i);
        assert_true(ferry_writer_push(w, want, 9));
    }
    assert_true(ferry_writer_finish(w, LONG));
    assert_int_equal(ferry_writer_error(w), 0);
    ferry_writer_free(w);
    close(fd[1]);
    for (int i = 0; i < 3000; i++) {
        snprintf(want, sizeof want, "%08d\n", i);
        assert_int_equal(read(fd[0], got, 9), 9);
        assert_memory_equal(got, want, 9);
    }
    assert_int_equal(read(fd[0], got, 1), 0);
    close(fd[0]);
    ferry_writer_free(NULL);
}

/* Nobody reads: pushing goes on at once, past the maximum by dropping, and the end does not wait
 * for ever. */
static void nobody_waits_for_a_full_pipe(void **state)
{
    static char piece[4096];
    struct ferry_writer *w;
    unsigned took = 0, dropped = 0;
    int fd[2];

    (void)state;
    memset(piece, 'x', sizeof piece);
    assert_int_equal(pipe(fd), 0);
    assert_int_equal(ferry_writer_new(fd[1], 100000, &w), 0);
    for (int i = 0; i < 1000; i++)
        *(ferry_writer_push(w, piece, sizeof piece) ? &took : &dropped) += 1;
    /* what the pipe holds, what is being written and what is queued, but not all */
    assert_true(took >= 24 && dropped > 500);
    assert_false(ferry_writer_finish(w, 10));
    ferry_writer_free(w);
    close(fd[0]);
    close(fd[1]);
}

static bool has_room(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};

    return poll(&p, 1, 0) > 0;
}

static void there_is_room_again_when_it_was_read(void **state)
{
    static char piece[4096];
    struct ferry_writer *w;
    int fd[2];

    (void)state;
    assert_int_equal(pipe(fd), 0);
    assert_int_equal(ferry_writer_new(fd[1], 8192, &w), 0);
    while (has_room(fd[1]) || ferry_writer_push(w, piece, sizeof piece))
        (void)ferry_writer_push(w, piece, sizeof piece);
    do
        assert_true(read(fd[0], piece, sizeof piece) > 0);
    while (!ferry_writer_push(w, piece, 1));
    while (has_room(fd[1]) || ferry_writer_push(w, piece, sizeof piece)) /* full again */
        (void)ferry_writer_push(w, piece, sizeof piece);
    close(fd[0]);
    assert_false(ferry_writer_finish(w, LONG)); /* the rest met a closed pipe */
    assert_int_equal(ferry_writer_error(w), -EPIPE);
    assert_false(ferry_writer_push(w, piece, 1));
    ferry_writer_free(w);
    close(fd[1]);
}

/* A pipe that somebody else made non-blocking is waited for all the same. */
static void a_descriptor_that_does_not_block(void **state)
{
    static char piece[65536];
    struct ferry_writer *w;
    size_t got = 0;
    int fd[2];

    (void)state;
    assert_int_equal(pipe2(fd, O_NONBLOCK), 0);
    assert_int_equal(ferry_writer_new(fd[1], 1 << 20, &w), 0);
    for (int i = 0; i < 8; i++)
        assert_true(ferry_writer_push(w, piece, sizeof piece));
    while (got < 8 * sizeof piece) {
        struct pollfd p = {.fd = fd[0], .events = POLLIN};
        ssize_t n;

        assert_int_equal(poll(&p, 1, LONG), 1);
        n = read(fd[0], piece, sizeof piece);
        assert_true(n > 0);
        got += (size_t)n;
    }
    assert_true(ferry_writer_finish(w, LONG));
    ferry_writer_free(w);
    close(fd[0]);
    close(fd[1]);
}

static void push_two(void *arg)
{
    struct ferry_writer *w;

    if (ferry_writer_new(*(int *)arg, 1 << 20, &w) < 0)
        return;
    (void)ferry_writer_push(w, "one", 3);
    (void)ferry_writer_push(w, "two", 3);
    assert_true(ferry_writer_finish(w, LONG));
    ferry_writer_free(w);
}

static void each_allocation_may_fail(void **state)
{
    int fd = open("/dev/null", O_WRONLY);

    (void)state;
    each_alloc_fails(push_two, &fd);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_pushed_is_written_in_order),
        cmocka_unit_test(nobody_waits_for_a_full_pipe),
        cmocka_unit_test(there_is_room_again_when_it_was_read),
        cmocka_unit_test(a_descriptor_that_does_not_block),
        cmocka_unit_test(each_allocation_may_fail),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
