/* SPDX-License-Identifier: MIT */
#include "session/verdicts.h"

#include <stdio.h>

#include "support.h"

static const struct ferry_param ann[] = {
    {FERRY_SLICE_INIT("REMOTE_USER"), FERRY_SLICE_INIT("ann")},
    {FERRY_SLICE_INIT("GROUP"), FERRY_SLICE_INIT("")},
};

static struct ferry_slice z(const char *s)
{
    return ferry_slice_z(s);
}

static void what_was_added_is_found(void **state)
{
    struct ferry_verdicts *v = ferry__verdicts_new(10, 1000);
    const struct ferry_verdict *got;
    char key[] = "Basic abc";

    (void)state;
    assert_null(ferry__verdicts_find(v, z(key), 0));
    ferry__verdicts_add(v, z(key), 200, ann, 2, 0);
    key[0] = 'X'; /* copied */
    got = ferry__verdicts_find(v, z("Basic abc"), 0);
    assert_non_null(got);
    assert_int_equal(got->n, 2);
    assert_slice_equal(got->variables[0].name, "REMOTE_USER");
    assert_slice_equal(got->variables[0].value, "ann");
    assert_slice_equal(got->variables[1].name, "GROUP");
    assert_int_equal(got->variables[1].value.len, 0);
    assert_null(ferry__verdicts_find(v, z("Basic abcd"), 0));
    assert_null(ferry__verdicts_find(v, z("Basic ab"), 0));
    assert_null(ferry__verdicts_find(v, z(""), 0));

    ferry__verdicts_add(v, z("Basic abc"), 200, ann, 1, 0);
    assert_int_equal(ferry__verdicts_find(v, z("Basic abc"), 0)->n, 1);
    ferry__verdicts_add(v, z(""), 200, NULL, 0, 0);
    assert_int_equal(ferry__verdicts_find(v, z(""), 0)->n, 0);
    ferry__verdicts_free(v);
    ferry__verdicts_free(NULL);
}

static void verdicts_end(void **state)
{
    struct ferry_verdicts *v = ferry__verdicts_new(10, 1000);

    (void)state;
    ferry__verdicts_add(v, z("a"), 200, ann, 1, 5000);
    assert_non_null(ferry__verdicts_find(v, z("a"), 5999)); /* being found makes it no younger */
    assert_null(ferry__verdicts_find(v, z("a"), 6000));
    assert_null(ferry__verdicts_find(v, z("a"), 5000));
    ferry__verdicts_free(v);
}

static void there_are_not_too_many(void **state)
{
    struct ferry_verdicts *v = ferry__verdicts_new(3, 1000);

    (void)state;
    ferry__verdicts_add(v, z("a"), 200, ann, 1, 0);
    ferry__verdicts_add(v, z("b"), 200, ann, 1, 0);
    ferry__verdicts_add(v, z("c"), 200, ann, 1, 0);
    assert_non_null(ferry__verdicts_find(v, z("a"), 0));
    ferry__verdicts_add(v, z("d"), 200, ann, 1, 0);
    assert_null(ferry__verdicts_find(v, z("b"), 0)); /* the longest unused */
    assert_non_null(ferry__verdicts_find(v, z("a"), 0));
    assert_non_null(ferry__verdicts_find(v, z("c"), 0));
    assert_non_null(ferry__verdicts_find(v, z("d"), 0));
    ferry__verdicts_free(v);

    v = ferry__verdicts_new(1, 1000);
    for (unsigned i = 0; i < 1000; i++) {
        char key[16];

        snprintf(key, sizeof key, "%u", i);
        ferry__verdicts_add(v, z(key), 200, ann, 2, 0);
        assert_non_null(ferry__verdicts_find(v, z(key), 0));
    }
    assert_null(ferry__verdicts_find(v, z("998"), 0));
    ferry__verdicts_free(v);
}

static void what_is_too_large_is_not_remembered(void **state)
{
    static char large[FERRY_VERDICT_SIZE_MAX + 1];
    struct ferry_verdicts *v = ferry__verdicts_new(3, 1000);
    struct ferry_param var = {FERRY_SLICE_INIT("X"), {large, sizeof large}};

    (void)state;
    ferry__verdicts_add(v, ferry_slice(large, FERRY_VERDICT_KEY_MAX), 200, ann, 1, 0);
    assert_non_null(ferry__verdicts_find(v, ferry_slice(large, FERRY_VERDICT_KEY_MAX), 0));
    ferry__verdicts_add(v, ferry_slice(large, FERRY_VERDICT_KEY_MAX + 1), 200, ann, 1, 0);
    assert_null(ferry__verdicts_find(v, ferry_slice(large, FERRY_VERDICT_KEY_MAX + 1), 0));
    ferry__verdicts_add(v, z("a"), 200, ann, 1, 0);
    ferry__verdicts_add(v, z("a"), 200, &var, 1, 0);
    assert_null(ferry__verdicts_find(v, z("a"), 0)); /* and not the older one instead */
    ferry__verdicts_free(v);
}

static void many(void *arg)
{
    struct ferry_verdicts *v = ferry__verdicts_new(4, 1000);

    (void)arg;
    if (!v)
        return;
    for (unsigned i = 0; i < 8; i++) {
        char key[16];

        snprintf(key, sizeof key, "%u", i % 5);
        ferry__verdicts_add(v, z(key), 200, ann, 2, 0);
        assert_true(alloc_failed() || ferry__verdicts_find(v, z(key), 0));
    }
    ferry__verdicts_free(v);
}

static void memory_may_be_out(void **state)
{
    (void)state;
    each_alloc_fails(many, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_added_is_found),
        cmocka_unit_test(verdicts_end),
        cmocka_unit_test(there_are_not_too_many),
        cmocka_unit_test(what_is_too_large_is_not_remembered),
        cmocka_unit_test(memory_may_be_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
