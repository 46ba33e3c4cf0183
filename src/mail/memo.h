/* SPDX-License-Identifier: MIT */
#ifndef FERRY_MAIL_MEMO_H
#define FERRY_MAIL_MEMO_H

#include "base/slice.h"

/* Small things that are remembered for a while, by key; of all threads. A bounded number: when
 * there is no room, what was not asked for longest is forgotten. What can't be remembered, for want
 * of memory or by its length (4096 bytes of key, 2048 of value), is not. */

#define FERRY__MEMO_VALUE_MAX 2048

struct ferry__memo;

/* At most `max` (> 0). NULL: no memory. */
struct ferry__memo *ferry__memo_new(unsigned max);
void ferry__memo_free(struct ferry__memo *); /* takes NULL */

/* Replaces what there was. Forgotten at until_ms, of the monotonic clock, at the latest in ten
 * days. */
void ferry__memo_put(struct ferry__memo *, struct ferry_slice key, struct ferry_slice value,
                     uint64_t now_ms, uint64_t until_ms);
/* Copies it to `out`: its length, or -1 when nothing is known or it is longer than cap. */
int ferry__memo_find(struct ferry__memo *, struct ferry_slice key, uint64_t now_ms, char *out,
                     size_t cap);
void ferry__memo_drop(struct ferry__memo *, struct ferry_slice key, uint64_t now_ms);

#endif
