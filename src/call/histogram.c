/* SPDX-License-Identifier: MIT */
/*
 * Log-linear buckets. Numbers below 2^BITS have a bucket each; above, the BITS bits behind the
 * leading one choose among the buckets of their power of two, so indexes grow with numbers and
 * buckets of neighbours join without a gap.
 */
#include "call/histogram.h"

#define BITS FERRY_HISTOGRAM_BITS
#define LARGEST ((UINT64_C(1) << FERRY_HISTOGRAM_TOP) - 1)

/* With fewer bits than BITS these are the buckets of a coarser histogram: the rows of a drawing. */
static unsigned index_of(uint64_t value, unsigned bits)
{
    unsigned top;

    if (value < UINT64_C(1) << bits)
        return (unsigned)value;
    top = 63 - (unsigned)__builtin_clzll(value);
    return ((top - bits) << bits) + (unsigned)(value >> (top - bits));
}

static uint64_t start_of(unsigned index, unsigned bits)
{
    unsigned power = index >> bits;
    uint64_t within = index & ((1u << bits) - 1);

    if (power == 0)
        return within;
    return (within | UINT64_C(1) << bits) << (power - 1);
}

void ferry_histogram_add(struct ferry_histogram *h, uint64_t value)
{
    if (value > LARGEST)
        value = LARGEST;
    if (h->n == 0 || value < h->min)
        h->min = value;
    if (h->n == 0 || value > h->max)
        h->max = value;
    h->n++;
    h->sum += value;
    h->counts[index_of(value, BITS)]++;
}

uint64_t ferry_histogram_at(const struct ferry_histogram *h, double share)
{
    uint64_t want, have = 0;
    unsigned i = 0;

    if (h->n == 0)
        return 0;
    want = (uint64_t)(share * (double)h->n);
    if ((double)want < share * (double)h->n)
        want++;
    if (want < 1)
        want = 1;
    if (want >= h->n)
        return h->max;
    while ((have += h->counts[i]) < want)
        i++;
    want = start_of(i + 1, BITS) - 1;
    return want < h->max ? want : h->max;
}

double ferry_histogram_mean(const struct ferry_histogram *h)
{
    return h->n ? (double)h->sum / (double)h->n : 0;
}

unsigned ferry_histogram_rows(const struct ferry_histogram *h, struct ferry_histogram_row *rows,
                              unsigned max)
{
    unsigned bits = BITS, first, n;

    if (h->n == 0)
        return 0;
    while (bits > 0 && index_of(h->max, bits) - index_of(h->min, bits) >= max)
        bits--;
    first = index_of(h->min, bits);
    n = index_of(h->max, bits) - first + 1;
    if (n > max) /* powers of two, and yet too many: the small ones share the first row */
        first += n - max;
    n = n > max ? max : n;
    for (unsigned i = 0; i < n; i++)
        rows[i] = (struct ferry_histogram_row){start_of(first + i, bits),
                                               start_of(first + i + 1, bits), 0};
    if (rows[0].from > h->min)
        rows[0].from = h->min;
    for (unsigned i = 0; i < FERRY_HISTOGRAM_BUCKETS; i++) {
        unsigned row;

        if (!h->counts[i])
            continue;
        row = index_of(start_of(i, BITS), bits);
        rows[row > first ? row - first : 0].count += h->counts[i];
    }
    return n;
}
