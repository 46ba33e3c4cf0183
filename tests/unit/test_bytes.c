/* SPDX-License-Identifier: MIT */
#include "check/bytes.h"

#include <errno.h>

#include "support.h"

static void test_grows_and_drops(void **state)
{
    struct ferry_bytes b;

    (void)state;
    ferry_bytes_init(&b, 4096);
    ferry_bytes_add_z(&b, "hello");
    ferry_bytes_fill(&b, '!', 3);
    ferry_bytes_printf(&b, " %d", 42);
    ferry_bytes_add(&b, NULL, 0);
    assert_slice_equal(ferry_bytes_slice(&b), "hello!!! 42");
    ferry_bytes_drop(&b, 6);
    assert_slice_equal(ferry_bytes_slice(&b), "!! 42");
    ferry_bytes_drop(&b, 5);
    assert_int_equal(b.len, 0);
    ferry_bytes_fini(&b);
}

static void test_the_maximum_sticks(void **state)
{
    struct ferry_bytes b;

    (void)state;
    ferry_bytes_init(&b, 8);
    ferry_bytes_add_z(&b, "12345678");
    assert_int_equal(b.err, 0);
    ferry_bytes_add_z(&b, "9");
    assert_int_equal(b.err, FERRY_ELIMIT);
    ferry_bytes_drop(&b, 4);
    ferry_bytes_add_z(&b, "x");
    assert_slice_equal(ferry_bytes_slice(&b), "5678");
    ferry_bytes_fini(&b);
}

static void fill(void *arg)
{
    struct ferry_bytes b;

    (void)arg;
    ferry_bytes_init(&b, 1 << 16);
    for (int i = 0; i < 100; i++)
        ferry_bytes_printf(&b, "line %d of a longer text than a kilobyte\n", i);
    if (alloc_failed())
        assert_int_equal(b.err, -ENOMEM);
    else
        assert_int_equal(b.err, 0);
    ferry_bytes_fini(&b);
}

static void test_memory_that_is_out(void **state)
{
    (void)state;
    each_alloc_fails(fill, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grows_and_drops),
        cmocka_unit_test(test_the_maximum_sticks),
        cmocka_unit_test(test_memory_that_is_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
