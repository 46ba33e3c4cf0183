/* SPDX-License-Identifier: MIT */
#include "app/arena.h"

#include "support.h"

static bool is_aligned(const void *p)
{
    return (uintptr_t)p % _Alignof(max_align_t) == 0;
}

static void small_pieces_lie_in_the_first_memory_and_do_not_overlap(void **state)
{
    _Alignas(max_align_t) char mem[256];
    struct ferry_blocks blocks;
    struct ferry__arena a;
    char *p[4];

    (void)state;
    ferry_blocks_init(&blocks, 4, 4);
    ferry__arena_init(&a, &blocks, mem + 1, sizeof mem - 1);
    for (int i = 0; i < 4; i++) {
        p[i] = ferry__arena_alloc(&a, 20);
        assert_true(is_aligned(p[i]));
        assert_true(p[i] > mem && p[i] + 20 <= mem + sizeof mem);
        memset(p[i], i, 20);
    }
    for (int i = 0; i < 4; i++)
        for (int b = 0; b < 20; b++)
            assert_int_equal(p[i][b], i);
    assert_null(a.held);
    ferry__arena_fini(&a);
    ferry_blocks_fini(&blocks);
}

static void large_pieces_come_from_blocks_and_go_back(void **state)
{
    static const size_t sizes[] = {100, 4000, 5000, 65536, 200000, 1};
    struct ferry_blocks blocks;
    struct ferry__arena a;
    char mem[64];

    (void)state;
    ferry_blocks_init(&blocks, 4, 4);
    ferry__arena_init(&a, &blocks, mem, sizeof mem);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *p = ferry__arena_alloc(&a, sizes[i]);

        assert_true(is_aligned(p));
        memset(p, 1, sizes[i]);
    }
    ferry__arena_fini(&a);
    ferry__arena_fini(&a);
    assert_true(blocks.small_kept + blocks.large_kept > 0);
    ferry_blocks_fini(&blocks);
}

static void room_is_taken_only_as_far_as_it_is_used(void **state)
{
    struct ferry_blocks blocks;
    struct ferry__arena a;
    _Alignas(max_align_t) char mem[256];
    char *room, *next;
    size_t cap;

    (void)state;
    ferry_blocks_init(&blocks, 0, 0);
    ferry__arena_init(&a, &blocks, mem, sizeof mem);
    room = ferry__arena_room(&a, 10, &cap);
    assert_int_equal(cap, sizeof mem);
    assert_ptr_equal(ferry__arena_room(&a, 10, &cap), room);
    ferry__arena_take(&a, room, 16);
    next = ferry__arena_room(&a, 1, &cap);
    assert_ptr_equal(next, room + 16);
    ferry__arena_fini(&a);
    ferry_blocks_fini(&blocks);
}

static void memory_may_run_out(void **state)
{
    struct ferry_blocks blocks;
    struct ferry__arena a;
    char mem[64];

    (void)state;
    ferry_blocks_init(&blocks, 0, 0);
    ferry__arena_init(&a, &blocks, mem, sizeof mem);
    fail_alloc_after(0);
    assert_null(ferry__arena_alloc(&a, 1000));
    fail_alloc_after(-1);
    assert_null(ferry__arena_alloc(&a, SIZE_MAX));
    assert_non_null(ferry__arena_alloc(&a, 1000));
    ferry__arena_fini(&a);
    ferry_blocks_fini(&blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_pieces_lie_in_the_first_memory_and_do_not_overlap),
        cmocka_unit_test(large_pieces_come_from_blocks_and_go_back),
        cmocka_unit_test(room_is_taken_only_as_far_as_it_is_used),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
