/* SPDX-License-Identifier: MIT */
#include "base/block.h"

#include "support.h"

static void sizes_fit_what_was_asked(void **state)
{
    static const struct {
        size_t min, want_cap;
    } cases[] = {{0, 4096}, {1, 4096}, {4096, 4096}, {4097, 65536}, {65536, 65536}, {65537, 65537}};
    struct ferry_blocks c;

    (void)state;
    ferry_blocks_init(&c, 1, 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_block *b = ferry_block_get(&c, cases[i].min);
        assert_non_null(b);
        assert_int_equal(b->cap, cases[i].want_cap);
        memset(b->data, 1, b->cap);
        ferry_block_unref(b);
    }
    ferry_blocks_fini(&c);
}

static void blocks_come_back_after_the_last_reference(void **state)
{
    struct ferry_blocks c;
    struct ferry_block *b, *again;

    (void)state;
    ferry_blocks_init(&c, 1, 0);
    b = ferry_block_get(&c, 10);
    ferry_block_ref(b);
    ferry_block_unref(b);
    assert_int_equal(c.small_kept, 0);
    ferry_block_unref(b);
    assert_int_equal(c.small_kept, 1);
    again = ferry_block_get(&c, 20);
    assert_ptr_equal(again, b);
    ferry_block_unref(again);
    ferry_block_unref(NULL);
    ferry_blocks_fini(&c);
}

static void no_more_are_kept_than_allowed(void **state)
{
    struct ferry_blocks c;
    struct ferry_block *b[3];

    (void)state;
    ferry_blocks_init(&c, 2, 0);
    for (int i = 0; i < 3; i++)
        b[i] = ferry_block_get(&c, 1);
    for (int i = 0; i < 3; i++)
        ferry_block_unref(b[i]);
    assert_int_equal(c.small_kept, 2);
    ferry_blocks_fini(&c);
}

static void memory_may_run_out(void **state)
{
    struct ferry_blocks c;

    (void)state;
    ferry_blocks_init(&c, 1, 1);
    fail_alloc_after(0);
    assert_null(ferry_block_get(&c, 1));
    fail_alloc_after(-1);
    assert_null(ferry_block_get(&c, SIZE_MAX));
    ferry_blocks_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_fit_what_was_asked),
        cmocka_unit_test(blocks_come_back_after_the_last_reference),
        cmocka_unit_test(no_more_are_kept_than_allowed),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
