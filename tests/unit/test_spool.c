/* SPDX-License-Identifier: MIT */
#include "io/spool.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support.h"

static char byte_at(uint64_t pos)
{
    return (char)(pos * 31 + pos / 251);
}

/* Appends n bytes of the pattern that belongs to the spool's present end. */
static int append(struct ferry_spool *s, size_t n)
{
    char *bytes = test_malloc(n + 1);
    int err;

    for (size_t i = 0; i < n; i++)
        bytes[i] = byte_at(s->len + i);
    err = ferry_spool_append(s, ferry_slice(bytes, n));
    test_free(bytes);
    return err;
}

/* Reads up to n bytes, checks that they are the pattern, and returns how many there were. */
static uint64_t expect(struct ferry_spool *s, uint64_t n, size_t step)
{
    uint64_t got = 0;

    while (got < n) {
        struct ferry_block *b = NULL;
        struct ferry_slice out;
        uint64_t from = s->at;
        ssize_t len = ferry_spool_read(s, step < n - got ? step : (size_t)(n - got), &b, &out);

        assert_true(len >= 0);
        if (len == 0)
            return got;
        assert_int_equal(len, out.len);
        for (size_t i = 0; i < out.len; i++)
            assert_int_equal(out.p[i], byte_at(from + i));
        ferry_block_unref(b);
        got += out.len;
    }
    return got;
}

static void bytes_come_back_in_order(void **state)
{
    static const struct {
        size_t mem_max, append, read;
        unsigned times;
        bool file;
    } cases[] = {
        {0, 1, 1, 3, true},
        {10, 5, 3, 2, false},
        {10, 5, 3, 3, true},
        {10, 11, 100, 1, true},
        {65536, 1, 7, 5000, false},
        {65536, 65536, SIZE_MAX, 1, false},
        {65536, 65537, SIZE_MAX, 1, true},
        {300000, 4096, 4095, 100, true},
        {300000, 70000, 65535, 4, false},
        {300000, 70001, 65535, 5, true},
    };
    struct ferry_blocks blocks;

    (void)state;
    ferry_blocks_init(&blocks, 4, 4);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t total = (uint64_t)cases[i].append * cases[i].times;
        struct ferry_spool s;

        ferry_spool_init(&s, &blocks, cases[i].mem_max, UINT64_MAX);
        for (unsigned k = 0; k < cases[i].times; k++)
            assert_int_equal(append(&s, cases[i].append), 0);
        assert_int_equal(s.len, total);
        assert_int_equal(s.fd >= 0, cases[i].file);
        assert_int_equal(expect(&s, total + 1, cases[i].read), total);
        ferry_spool_rewind(&s);
        assert_int_equal(expect(&s, total + 1, cases[i].read), total);
        ferry_spool_fini(&s);
        ferry_spool_fini(&s);
    }
    ferry_blocks_fini(&blocks);
}

static void the_file_begins_one_byte_past_the_threshold(void **state)
{
    struct ferry_blocks blocks;
    struct ferry_spool s;
    struct stat st;

    (void)state;
    ferry_blocks_init(&blocks, 4, 4);
    ferry_spool_init(&s, &blocks, 5000, 10000);
    assert_int_equal(append(&s, 4999), 0);
    assert_int_equal(append(&s, 1), 0);
    assert_int_equal(s.fd, -1);
    assert_int_equal(append(&s, 0), 0);
    assert_int_equal(s.fd, -1);
    assert_int_equal(append(&s, 1), 0);
    assert_true(s.fd >= 0);
    assert_int_equal(fstat(s.fd, &st), 0);
    assert_int_equal(st.st_size, 1);
    assert_int_equal(st.st_nlink, 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    ferry_spool_fini(&s);
    ferry_blocks_fini(&blocks);
}

static void reading_may_go_on_while_it_grows(void **state)
{
    struct ferry_blocks blocks;
    struct ferry_spool s;

    (void)state;
    ferry_blocks_init(&blocks, 4, 4);
    ferry_spool_init(&s, &blocks, 10000, UINT64_MAX);
    for (unsigned i = 1; i < 300; i++) {
        assert_int_equal(append(&s, i), 0);
        assert_int_equal(expect(&s, i / 2, 64), i / 2);
    }
    assert_int_equal(expect(&s, s.len, SIZE_MAX), s.len - 299 * 300 / 4 + 75);
    assert_int_equal(expect(&s, 1, 1), 0);
    assert_int_equal(append(&s, 3), 0);
    assert_int_equal(expect(&s, 10, 10), 3);
    ferry_spool_rewind(&s);
    assert_int_equal(expect(&s, UINT64_MAX, 1000), s.len);
    ferry_spool_fini(&s);
    ferry_blocks_fini(&blocks);
}

static void what_was_read_stays_while_more_is_appended(void **state)
{
    struct ferry_blocks blocks;
    struct ferry_spool s;
    struct ferry_block *b;
    struct ferry_slice out;

    (void)state;
    ferry_blocks_init(&blocks, 4, 4);
    ferry_spool_init(&s, &blocks, 100, 1000);
    assert_int_equal(ferry_spool_append(&s, FERRY_SLICE("first")), 0);
    assert_int_equal(ferry_spool_read(&s, 100, &b, &out), 5);
    assert_int_equal(ferry_spool_append(&s, FERRY_SLICE("second")), 0);
    ferry_spool_fini(&s);
    assert_slice_equal(out, "first");
    ferry_block_unref(b);
    ferry_blocks_fini(&blocks);
}

static void the_limit_is_the_last_byte_taken(void **state)
{
    struct ferry_blocks blocks;
    struct ferry_spool s;

    (void)state;
    ferry_blocks_init(&blocks, 4, 4);
    ferry_spool_init(&s, &blocks, 6, 10);
    assert_int_equal(append(&s, 11), FERRY_ELIMIT);
    assert_int_equal(append(&s, 8), 0);
    assert_int_equal(append(&s, 3), FERRY_ELIMIT);
    assert_int_equal(s.len, 8);
    assert_int_equal(append(&s, 2), 0);
    assert_int_equal(append(&s, 0), 0);
    assert_int_equal(append(&s, 1), FERRY_ELIMIT);
    assert_int_equal(expect(&s, 20, 4), 10);
    ferry_spool_fini(&s);
    ferry_blocks_fini(&blocks);
}

/* The file system says no in the middle of an append: nothing of that append counts, and the rest
 * can still be read and appended to. */
static void a_full_disk_is_told_and_loses_nothing(void **state)
{
    struct rlimit old, small = {100, RLIM_INFINITY};
    struct ferry_blocks blocks;
    struct ferry_spool s;

    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    ferry_blocks_init(&blocks, 4, 4);
    ferry_spool_init(&s, &blocks, 50, 1000);
    assert_int_equal(append(&s, 30), 0);
    small.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(append(&s, 200), -EFBIG);
    assert_int_equal(s.len, 30);
    assert_int_equal(append(&s, 90), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(append(&s, 200), 0);
    assert_int_equal(expect(&s, 1000, 33), 320);
    ferry_spool_fini(&s);
    ferry_blocks_fini(&blocks);
}

static void a_missing_tmpdir_is_no_obstacle(void **state)
{
    struct ferry_blocks blocks;
    struct ferry_spool s;

    (void)state;
    setenv("TMPDIR", "/nonexistent", 1);
    ferry_blocks_init(&blocks, 4, 4);
    ferry_spool_init(&s, &blocks, 0, 1000);
    assert_int_equal(append(&s, 10), 0);
    assert_int_equal(expect(&s, 10, 10), 10);
    unsetenv("TMPDIR");
    ferry_spool_fini(&s);
    ferry_blocks_fini(&blocks);
}

static void scenario(void *arg)
{
    struct ferry_blocks blocks;
    struct ferry_spool s;
    uint64_t len = 0, got = 0;

    (void)arg;
    ferry_blocks_init(&blocks, 0, 0);
    ferry_spool_init(&s, &blocks, 400000, UINT64_MAX);
    for (int i = 0; i < 60; i++) {
        int err = append(&s, 7919);

        if (err == 0)
            len += 7919;
        else
            assert_int_equal(err, -ENOMEM);
        assert_int_equal(s.len, len);
    }
    for (int again = 0; again < 3 && got < len; again++) {
        struct ferry_block *b;
        struct ferry_slice out;
        uint64_t from = s.at;
        ssize_t n;

        while ((n = ferry_spool_read(&s, 60000, &b, &out)) > 0) {
            for (size_t i = 0; i < out.len; i++)
                assert_int_equal(out.p[i], byte_at(from + i));
            from += out.len;
            got += out.len;
            ferry_block_unref(b);
        }
        if (n < 0)
            assert_int_equal(n, -ENOMEM);
    }
    assert_int_equal(got, len);
    ferry_spool_fini(&s);
    ferry_blocks_fini(&blocks);
}

static void memory_may_run_out(void **state)
{
    (void)state;
    each_alloc_fails(scenario, NULL);
}

/* From any place, in any pieces, in memory and in the file, and nothing is moved by it. */
static void peeking_changes_nothing(void **state)
{
    static const struct {
        size_t mem_max, append;
        unsigned times;
    } cases[] = {
        {300000, 100, 1}, {300000, 4096, 3}, {300000, 70001, 3}, {0, 5000, 2}, {6000, 5000, 3}};
    struct ferry_blocks blocks;
    struct ferry_slice out;
    char buf[5000];

    (void)state;
    ferry_blocks_init(&blocks, 4, 4);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_spool s;

        ferry_spool_init(&s, &blocks, cases[i].mem_max, UINT64_MAX);
        assert_int_equal(ferry_spool_peek(&s, 0, sizeof buf, buf, &out), 0);
        for (unsigned j = 0; j < cases[i].times; j++)
            assert_int_equal(append(&s, cases[i].append), 0);
        assert_int_equal(expect(&s, 50, 50), 50);
        for (uint64_t pos = 0; pos < s.len;) {
            size_t max = 1 + (size_t)(pos * 7 % sizeof buf);
            ssize_t n = ferry_spool_peek(&s, pos, max, buf, &out);

            assert_true(n > 0 && (size_t)n <= max && (size_t)n == out.len);
            assert_int_equal(out.p == buf, pos >= s.mem_len);
            for (size_t k = 0; k < out.len; k++)
                assert_int_equal(out.p[k], byte_at(pos + k));
            pos += (uint64_t)n;
        }
        assert_int_equal(ferry_spool_peek(&s, s.len - 1, sizeof buf, buf, &out), 1);
        assert_int_equal(ferry_spool_peek(&s, s.len, sizeof buf, buf, &out), 0);
        assert_int_equal(ferry_spool_peek(&s, UINT64_MAX, sizeof buf, buf, &out), 0);
        assert_int_equal(ferry_spool_peek(&s, 0, 0, buf, &out), 0);
        assert_int_equal(s.at, 50);
        assert_int_equal(expect(&s, UINT64_MAX, SIZE_MAX), s.len - 50);
        ferry_spool_fini(&s);
    }
    ferry_blocks_fini(&blocks);
}

/* Somebody cut the file short: an error, and no end without one. */
static void a_file_that_ends_too_early_is_an_error(void **state)
{
    struct ferry_blocks blocks;
    struct ferry_slice out;
    struct ferry_spool s;
    char buf[10];

    (void)state;
    ferry_blocks_init(&blocks, 4, 4);
    ferry_spool_init(&s, &blocks, 0, UINT64_MAX);
    assert_int_equal(append(&s, 10), 0);
    assert_int_equal(ftruncate(s.fd, 5), 0);
    assert_int_equal(ferry_spool_peek(&s, 0, 10, buf, &out), 5);
    assert_int_equal(ferry_spool_peek(&s, 5, 10, buf, &out), -EIO);
    ferry_spool_fini(&s);
    ferry_blocks_fini(&blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_come_back_in_order),
        cmocka_unit_test(the_file_begins_one_byte_past_the_threshold),
        cmocka_unit_test(reading_may_go_on_while_it_grows),
        cmocka_unit_test(what_was_read_stays_while_more_is_appended),
        cmocka_unit_test(the_limit_is_the_last_byte_taken),
        cmocka_unit_test(a_full_disk_is_told_and_loses_nothing),
        cmocka_unit_test(a_missing_tmpdir_is_no_obstacle),
        cmocka_unit_test(memory_may_run_out),
        cmocka_unit_test(peeking_changes_nothing),
        cmocka_unit_test(a_file_that_ends_too_early_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
