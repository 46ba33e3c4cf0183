/* SPDX-License-Identifier: MIT */
#ifndef FERRY_FILES_RANGE_H
#define FERRY_FILES_RANGE_H

#include <stdint.h>

#include "base/slice.h"
#include "http/http.h"

/*
 * Conditional requests and ranges (RFC 9110 sections 13 and 14): what a request's fields make of a
 * representation that exists. Pure.
 */

#define FERRY_RANGES_MAX 16

struct ferry_range {
    uint64_t first, len; /* len is never 0 */
};

struct ferry_ranges {
    unsigned n;
    struct ferry_range r[FERRY_RANGES_MAX];
};

/* What is known of the representation. */
struct ferry_validators {
    struct ferry_slice etag; /* a strong one, with its quotes */
    int64_t mtime_s;         /* Last-Modified, in seconds since 1970 */
    uint64_t size;
    int64_t now_s; /* the clock that Date is made of */
};

/*
 * Evaluates If-Match, If-Unmodified-Since, If-None-Match, If-Modified-Since, If-Range and Range in
 * the order of section 13.2.2, for GET and HEAD (Range: only for GET). Returns the status to answer
 * with: 200; 206 with the ranges in *out; 304; 412; 416. Fields that cannot be read count as
 * absent, as do Range and the dates when there are several of one kind; If-Match alone then fails.
 */
int ferry_range_decide(const struct ferry_http_head *, const struct ferry_validators *,
                       struct ferry_ranges *out);

/*
 * The value of a Range field against a size: 200 (to be ignored: not of bytes, bad form, more than
 * FERRY_RANGES_MAX ranges, or nothing to take ranges of), 206 with what is to be sent, or 416. The
 * ranges of *out lie within the size, in the order asked for; those that overlap, or lie so near
 * to each other that the gap is smaller than a part's head, are joined (section 15.3.7.2).
 */
int ferry_range_parse(struct ferry_slice value, uint64_t size, struct ferry_ranges *out);

#endif
