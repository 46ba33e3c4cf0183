/* SPDX-License-Identifier: MIT */
#include "fcgi/ids.h"

#include "support.h"

static void the_lowest_free_id_is_given_out(void **state)
{
    uint64_t used[FERRY__IDS_WORDS(130)];
    struct ferry__ids ids;

    (void)state;
    ferry__ids_init(&ids, used, 130);
    for (unsigned want = 1; want <= 130; want++)
        assert_int_equal(ferry__ids_take(&ids), want);
    assert_int_equal(ferry__ids_take(&ids), 0);
    ferry__ids_give(&ids, 129);
    ferry__ids_give(&ids, 64);
    ferry__ids_give(&ids, 65);
    assert_int_equal(ferry__ids_take(&ids), 64);
    assert_int_equal(ferry__ids_take(&ids), 65);
    ferry__ids_give(&ids, 1);
    assert_int_equal(ferry__ids_take(&ids), 1);
    assert_int_equal(ferry__ids_take(&ids), 129);
    assert_int_equal(ferry__ids_take(&ids), 0);
}

/* Sizes at the edges of words, up to every id there is. */
static void no_id_past_the_maximum_is_given_out(void **state)
{
    static const uint32_t sizes[] = {1, 63, 64, 65, 127, 128, 65535};
    static uint64_t used[FERRY__IDS_WORDS(65535)];

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct ferry__ids ids;
        uint32_t n = 0;

        ferry__ids_init(&ids, used, sizes[i]);
        while (ferry__ids_take(&ids))
            n++;
        assert_int_equal(n, sizes[i]);
        ferry__ids_give(&ids, (uint16_t)sizes[i]);
        assert_int_equal(ferry__ids_take(&ids), sizes[i]);
    }
}

static void taken_ids_are_known(void **state)
{
    uint64_t used[FERRY__IDS_WORDS(70)];
    struct ferry__ids ids;

    (void)state;
    ferry__ids_init(&ids, used, 70);
    ferry__ids_take_one(&ids, 66);
    for (unsigned id = 0; id <= 65535; id++)
        assert_int_equal(ferry__ids_taken(&ids, (uint16_t)id), id == 66);
    ferry__ids_take_one(&ids, 1);
    assert_int_equal(ferry__ids_take(&ids), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_lowest_free_id_is_given_out),
        cmocka_unit_test(no_id_past_the_maximum_is_given_out),
        cmocka_unit_test(taken_ids_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
