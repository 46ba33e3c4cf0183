/* SPDX-License-Identifier: MIT */
#ifndef FERRY_SESSION_VERDICTS_H
#define FERRY_SESSION_VERDICTS_H

#include "base/slice.h"
#include "ferry/params.h"

/* What an authorizer has said, by key, for a while: its status, and the variables or fields that go
 * with it. Of one thread. When there is no room, what was not asked for longest is forgotten. */

#define FERRY_VERDICT_KEY_MAX 4096
#define FERRY_VERDICT_SIZE_MAX 32768 /* of one, key and variables together */

struct ferry_verdicts;

struct ferry_verdict {
    const struct ferry_param *variables;
    unsigned n;
    int status;
};

/* At most `max` (> 0), each for keep_ms. NULL: no memory. */
struct ferry_verdicts *ferry__verdicts_new(unsigned max, unsigned keep_ms);
void ferry__verdicts_free(struct ferry_verdicts *); /* takes NULL */

/* NULL: there is none. It is valid until the next call. */
const struct ferry_verdict *ferry__verdicts_find(struct ferry_verdicts *, struct ferry_slice key,
                                                 uint64_t now_ms);

/* Replaces the one of the same key. What is too large is not remembered, nor anything when memory
 * is out. */
void ferry__verdicts_add(struct ferry_verdicts *, struct ferry_slice key, int status,
                         const struct ferry_param *variables, unsigned n, uint64_t now_ms);

#endif
