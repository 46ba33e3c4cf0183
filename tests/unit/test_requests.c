/* SPDX-License-Identifier: MIT */
#include "fcgi/requests.h"

#include "support.h"

static void one_request_needs_no_memory(void **state)
{
    unsigned long before = alloc_count();
    struct ferry__requests t;

    (void)state;
    ferry__requests_init(&t);
    for (unsigned id = 1; id < 65536; id += 97) {
        struct ferry__request *r = ferry__requests_add(&t, (uint16_t)id);

        assert_non_null(r);
        assert_int_equal(r->id, id);
        assert_ptr_equal(ferry__requests_find(&t, (uint16_t)id), r);
        assert_null(ferry__requests_find(&t, (uint16_t)(id + 1)));
        r->aborted = true;
        ferry__requests_remove(&t, r);
        assert_null(ferry__requests_find(&t, (uint16_t)id));
    }
    assert_int_equal(alloc_count(), before);
    ferry__requests_fini(&t);
}

/* A-ID-1: every id there is, all at once. */
static void every_id_is_found(void **state)
{
    struct ferry__requests t;

    (void)state;
    ferry__requests_init(&t);
    for (unsigned id = 1; id < 65536; id++) {
        struct ferry__request *r = ferry__requests_add(&t, (uint16_t)id);

        assert_non_null(r);
        r->user = (void *)(uintptr_t)id;
    }
    assert_int_equal(t.n, 65535);
    for (unsigned id = 1; id < 65536; id++)
        assert_ptr_equal(ferry__requests_find(&t, (uint16_t)id)->user, (void *)(uintptr_t)id);
    for (unsigned id = 65535; id > 0; id--)
        ferry__requests_remove(&t, ferry__requests_find(&t, (uint16_t)id));
    assert_int_equal(t.n, 0);
    assert_null(ferry__requests_find(&t, 1));
    ferry__requests_fini(&t);
}

/* Against a plain array, in a random walk among few ids and among many. */
static void a_long_walk_agrees_with_a_plain_array(void **state)
{
    static void *want[65536];
    static const unsigned spans[] = {3, 20, 700, 65535};
    struct ferry__requests t;
    uint32_t seed = 12345;

    (void)state;
    for (size_t s = 0; s < sizeof spans / sizeof *spans; s++) {
        unsigned n = 0;

        ferry__requests_init(&t);
        memset(want, 0, sizeof want);
        for (unsigned step = 0; step < 50000; step++) {
            uint16_t id;
            struct ferry__request *r;

            seed = seed * 1664525u + 1013904223u;
            id = (uint16_t)((seed >> 8) % spans[s] + 1);
            r = ferry__requests_find(&t, id);
            assert_int_equal(r != NULL, want[id] != NULL);
            if (r) {
                assert_ptr_equal(r->user, want[id]);
                ferry__requests_remove(&t, r);
                want[id] = NULL;
                n--;
            } else if (n < 500) {
                r = ferry__requests_add(&t, id);
                assert_null(r->user);
                r->user = want[id] = (void *)(uintptr_t)(step + 1);
                n++;
            }
            assert_int_equal(t.n, n);
        }
        for (unsigned id = 1; id < 65536; id++)
            assert_int_equal(ferry__requests_find(&t, (uint16_t)id) != NULL, want[id] != NULL);
        ferry__requests_fini(&t);
    }
}

static void a_table_that_cannot_grow_keeps_what_it_has(void **state)
{
    struct ferry__requests t;
    unsigned id = 1;

    (void)state;
    ferry__requests_init(&t);
    for (; id <= 100; id++) {
        fail_alloc_after(0);
        if (!ferry__requests_add(&t, (uint16_t)id)) {
            assert_int_equal(t.n, id - 1);
            fail_alloc_after(-1);
            assert_non_null(ferry__requests_add(&t, (uint16_t)id));
        }
        fail_alloc_after(-1);
        for (unsigned i = 1; i <= id; i++)
            assert_non_null(ferry__requests_find(&t, (uint16_t)i));
    }
    ferry__requests_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_request_needs_no_memory),
        cmocka_unit_test(every_id_is_found),
        cmocka_unit_test(a_long_walk_agrees_with_a_plain_array),
        cmocka_unit_test(a_table_that_cannot_grow_keeps_what_it_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
