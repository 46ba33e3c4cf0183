/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CALL_HISTOGRAM_H
#define FERRY_CALL_HISTOGRAM_H

#include <stdint.h>

/*
 * How often each length of time occurred: buckets that are linear within each power of two, so that
 * a number is known to a 32nd of itself whether it is microseconds or minutes, in memory that does
 * not grow. Numbers from 2^40 on (12 days in microseconds) count as 2^40 - 1.
 */

#define FERRY_HISTOGRAM_BITS 5 /* 2^5 buckets for each power of two */
#define FERRY_HISTOGRAM_TOP 40
#define FERRY_HISTOGRAM_BUCKETS                                                                    \
    ((FERRY_HISTOGRAM_TOP - FERRY_HISTOGRAM_BITS + 1) << FERRY_HISTOGRAM_BITS)

struct ferry_histogram {
    uint64_t n, sum, min, max; /* min and max mean nothing while n is 0 */
    uint64_t counts[FERRY_HISTOGRAM_BUCKETS];
};

/* All zero is an empty one. */
void ferry_histogram_add(struct ferry_histogram *, uint64_t value);

/*
 * The number that `share` of all are not above (0.5: the median; 1: the largest), never below the
 * truth and at most a 32nd above it. 0 when it is empty.
 */
uint64_t ferry_histogram_at(const struct ferry_histogram *, double share);

/* 0 when it is empty. */
double ferry_histogram_mean(const struct ferry_histogram *);

struct ferry_histogram_row {
    uint64_t from, to; /* numbers from `from` to before `to` */
    uint64_t count;
};

/*
 * The whole of it in at most `max` (8 or more) rows, for a drawing: from the row of the smallest to
 * that of the largest, without a gap, each as wide as its neighbours within a power of two. Returns
 * how many rows; 0 when it is empty.
 */
unsigned ferry_histogram_rows(const struct ferry_histogram *, struct ferry_histogram_row *rows,
                              unsigned max);

#endif
