/* SPDX-License-Identifier: MIT */
#include "app/vars.h"

#include <errno.h>
#include <stdio.h>

#include "support.h"

struct box {
    struct ferry_blocks blocks;
    struct ferry__arena arena;
    struct ferry__vars vars;
    char mem[64];
};

static int parse(struct box *b, char *p, size_t len, unsigned max)
{
    ferry_blocks_init(&b->blocks, 0, 0);
    ferry__arena_init(&b->arena, &b->blocks, b->mem, sizeof b->mem);
    return ferry__vars_parse(&b->vars, &b->arena, p, len, max);
}

static void drop(struct box *b)
{
    ferry__arena_fini(&b->arena);
    ferry_blocks_fini(&b->blocks);
}

static const struct ferry_param *find(struct box *b, const char *name)
{
    return ferry__vars_find(&b->vars, &b->arena, ferry_slice_z(name));
}

/* Appends a pair to a stream. */
static size_t put(char *stream, size_t at, size_t cap, const char *name, const char *value)
{
    struct ferry_param p = {ferry_slice_z(name), ferry_slice_z(value)};
    ssize_t n = ferry_param_encode(&p, stream + at, cap - at);

    assert_true(n > 0);
    return at + (size_t)n;
}

static void params_come_in_order_with_a_nul_behind_each_value(void **state)
{
    static const char *const pairs[][2] = {{"A", "1"}, {"EMPTY", ""}, {"", "nameless"},
                                           {"A", "2"}, {"", ""},      {"LAST", "x"}};
    char stream[256], *p;
    size_t len = 0, n = sizeof pairs / sizeof *pairs;
    struct box b;

    (void)state;
    for (size_t i = 0; i < n; i++)
        len = put(stream, len, sizeof stream, pairs[i][0], pairs[i][1]);
    p = guard_copy(0, stream, len + 1);
    p[len] = 'x';
    assert_int_equal(parse(&b, p, len, 100), 0);
    assert_int_equal(b.vars.n, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(b.vars.list[i].name.len, strlen(pairs[i][0]));
        assert_memory_equal(b.vars.list[i].name.p, pairs[i][0], b.vars.list[i].name.len);
        assert_string_equal(b.vars.list[i].value.p, pairs[i][1]);
    }
    for (int i = 0; i < 10; i++) { /* before the index and with it */
        assert_string_equal(find(&b, "A")->value.p, "1");
        assert_string_equal(find(&b, "")->value.p, "nameless");
        assert_string_equal(find(&b, "LAST")->value.p, "x");
        assert_null(find(&b, "a"));
        assert_null(find(&b, "LAS"));
    }
    drop(&b);
}

static void a_stream_cut_anywhere_but_between_pairs_is_refused(void **state)
{
    char stream[512], value[200];
    size_t ends[4] = {0}, len = 0;
    struct box b;

    (void)state;
    memset(value, 'v', sizeof value);
    value[199] = 0; /* long enough for a four-byte length */
    len = ends[1] = put(stream, len, sizeof stream, "ONE", "1");
    len = ends[2] = put(stream, len, sizeof stream, "TWO", value);
    len = ends[3] = put(stream, len, sizeof stream, "THREE", "");
    for (size_t cut = 0; cut <= len; cut++) {
        bool whole = cut == ends[0] || cut == ends[1] || cut == ends[2] || cut == ends[3];
        char *p = guard_copy(0, stream, cut + 1);

        assert_int_equal(parse(&b, p, cut, 100), whole ? 0 : FERRY_EPROTOCOL);
        drop(&b);
    }
}

static void lengths_that_overflow_are_refused(void **state)
{
    static const char *const bad[] = {
        "\xff\xff\xff\xff\xff\xff\xff\xff",
        "\xff\xff\xff\xff\x80\x00\x00\x00",
        "\xff\xff\xff\xfe\x00xxxxxx",
    };
    struct box b;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *p = guard_copy(0, bad[i], 9);

        assert_int_equal(parse(&b, p, 8, 100), FERRY_EPROTOCOL);
        drop(&b);
    }
}

/* n params NAME_0 to NAME_n-1, each with its number as the value. */
static size_t many(char *stream, size_t cap, unsigned n)
{
    size_t len = 0;

    for (unsigned i = 0; i < n; i++) {
        char name[32], value[32];

        snprintf(name, sizeof name, i % 2 ? "HTTP_X_NAME_%u_END" : "N%u", i);
        snprintf(value, sizeof value, "%u", i);
        len = put(stream, len, cap, name, value);
    }
    return len;
}

static void the_limit_is_exact_and_all_up_to_it_are_found(void **state)
{
    static char stream[65536];
    struct box b;
    size_t len = many(stream, sizeof stream, 1000);

    (void)state;
    assert_int_equal(parse(&b, guard_copy(0, stream, len + 1), len, 999), FERRY_ELIMIT);
    drop(&b);
    assert_int_equal(parse(&b, guard_copy(0, stream, len + 1), len, 1000), 0);
    for (unsigned i = 0; i < 1000; i++) {
        char name[32], value[32];

        snprintf(name, sizeof name, i % 2 ? "HTTP_X_NAME_%u_END" : "N%u", i);
        snprintf(value, sizeof value, "%u", i);
        assert_string_equal(find(&b, name)->value.p, value);
    }
    assert_null(find(&b, "N1000"));
    drop(&b);
}

static void without_memory(void *arg)
{
    char *stream = arg;
    size_t len = many(stream, 65536, 200);
    struct box b;
    int err = parse(&b, stream, len, 1000);

    if (err < 0) {
        assert_int_equal(err, -ENOMEM);
    } else {
        /* Without memory for an index all are looked at. */
        for (int i = 0; i < 10; i++)
            assert_string_equal(find(&b, "N198")->value.p, "198");
        assert_null(find(&b, "NONE"));
    }
    drop(&b);
}

static void memory_may_run_out(void **state)
{
    static char stream[65536];

    (void)state;
    each_alloc_fails(without_memory, stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(params_come_in_order_with_a_nul_behind_each_value),
        cmocka_unit_test(a_stream_cut_anywhere_but_between_pairs_is_refused),
        cmocka_unit_test(lengths_that_overflow_are_refused),
        cmocka_unit_test(the_limit_is_exact_and_all_up_to_it_are_found),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
