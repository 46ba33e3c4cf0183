/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TRACE_FILTER_H
#define FERRY_TRACE_FILTER_H

#include "trace/follow.h"

/*
 * Which requests are shown: words that all must be true of one, such as
 *
 *     method=POST status>=500 status=4xx uri~/login script!~x.php time>200ms out>1M stderr !aborted
 */

#define FERRY_FILTER_WORDS_MAX 32

struct ferry_filter_word {
    uint8_t key, op;
    uint64_t low, high;      /* of numbers: what the value stands for, both included */
    struct ferry_slice text; /* of texts; borrowed */
};

struct ferry_filter {
    struct ferry_filter_word words[FERRY_FILTER_WORDS_MAX];
    unsigned n;
};

/* Adds the words of a text, which must stay: 0, or FERRY_EUSAGE with the reason, a sentence, in
 * `why`. */
FERRY_MUST_CHECK
int ferry_filter_add(struct ferry_filter *, const char *text, char *why, size_t cap);

bool ferry_filter_matches(const struct ferry_filter *, const struct ferry_follow_request *);

#endif
