/* SPDX-License-Identifier: MIT */
#include "call/histogram.h"

#include "support.h"

static void test_empty(void **state)
{
    static struct ferry_histogram h;
    struct ferry_histogram_row rows[8];

    (void)state;
    assert_int_equal(ferry_histogram_at(&h, 0.5), 0);
    assert_true(ferry_histogram_mean(&h) == 0);
    assert_int_equal(ferry_histogram_rows(&h, rows, 8), 0);
}

/* The bound that the header promises, all over the range, beside an exact count. */
static void test_precision(void **state)
{
    (void)state;
    for (unsigned power = 0; power < FERRY_HISTOGRAM_TOP; power++)
        for (unsigned step = 0; step < 7; step++) {
            struct ferry_histogram *h = calloc(1, sizeof *h);
            uint64_t value = (UINT64_C(1) << power) + ((UINT64_C(1) << power) * step) / 7, at;

            ferry_histogram_add(h, value);
            ferry_histogram_add(h, (UINT64_C(1) << FERRY_HISTOGRAM_TOP) - 1);
            at = ferry_histogram_at(h, 0.5);
            assert_true(at >= value);
            assert_true(at - value <= value / 32);
            free(h);
        }
}

static void test_percentiles(void **state)
{
    static const struct {
        double share;
        uint64_t truth;
    } cases[] = {{0, 1}, {.001, 1}, {.5, 500}, {.9, 900}, {.99, 990}, {.999, 999}, {1, 1000}};
    static struct ferry_histogram h;

    (void)state;
    for (uint64_t i = 1000; i > 0; i--)
        ferry_histogram_add(&h, i);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t at = ferry_histogram_at(&h, cases[i].share);

        assert_true(at >= cases[i].truth);
        assert_true(at <= cases[i].truth + cases[i].truth / 32);
    }
    assert_int_equal(ferry_histogram_at(&h, 1), 1000); /* the largest is known */
    assert_int_equal(h.min, 1);
    assert_true(ferry_histogram_mean(&h) == 500.5);
}

static void test_largest(void **state)
{
    static struct ferry_histogram h;

    (void)state;
    ferry_histogram_add(&h, UINT64_MAX);
    assert_int_equal(h.max, (UINT64_C(1) << FERRY_HISTOGRAM_TOP) - 1);
    assert_int_equal(ferry_histogram_at(&h, 0.5), h.max);
}

/* Rows join, hold everything, and are no more than asked for. */
static void check_rows(const struct ferry_histogram *h, unsigned max)
{
    struct ferry_histogram_row rows[64];
    unsigned n = ferry_histogram_rows(h, rows, max);
    uint64_t all = 0;

    assert_in_range(n, 1, max);
    assert_true(rows[0].from <= h->min);
    assert_true(rows[n - 1].from <= h->max && h->max < rows[n - 1].to);
    for (unsigned i = 0; i < n; i++) {
        assert_true(rows[i].from < rows[i].to);
        if (i)
            assert_int_equal(rows[i].from, rows[i - 1].to);
        all += rows[i].count;
    }
    assert_int_equal(all, h->n);
}

static void test_rows(void **state)
{
    static const uint64_t spans[][2] = {{0, 0},       {0, 1},          {31, 33},
                                        {100, 110},   {1000, 64000},   {0, UINT64_MAX},
                                        {3, 1 << 20}, {1023, 1 << 10}, {70000, 70001}};

    (void)state;
    for (size_t i = 0; i < sizeof spans / sizeof *spans; i++)
        for (unsigned max = 8; max <= 64; max += 7) {
            struct ferry_histogram *h = calloc(1, sizeof *h);

            ferry_histogram_add(h, spans[i][0]);
            ferry_histogram_add(h, spans[i][0] + (spans[i][1] - spans[i][0]) / 3);
            ferry_histogram_add(h, spans[i][1]);
            check_rows(h, max);
            free(h);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),       cmocka_unit_test(test_precision),
        cmocka_unit_test(test_percentiles), cmocka_unit_test(test_largest),
        cmocka_unit_test(test_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
