/* SPDX-License-Identifier: MIT */
#ifndef FERRY_BASE_SLICE_H
#define FERRY_BASE_SLICE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "ferry/slice.h"

/* A slice of a string literal, usable as a constant and in initialisers. */
#define FERRY_SLICE_INIT(lit)                                                                      \
    {                                                                                              \
        (lit), sizeof(lit) - 1                                                                     \
    }
#define FERRY_SLICE(lit) ((struct ferry_slice)FERRY_SLICE_INIT(lit))

static inline struct ferry_slice ferry_slice(const char *p, size_t len)
{
    return (struct ferry_slice){p, len};
}

static inline struct ferry_slice ferry_slice_z(const char *z)
{
    return (struct ferry_slice){z, z ? strlen(z) : 0};
}

static inline bool ferry_slice_eq(struct ferry_slice a, struct ferry_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

/* From byte `from` (which may be past the end) to the end. */
static inline struct ferry_slice ferry_slice_from(struct ferry_slice s, size_t from)
{
    if (from >= s.len)
        return (struct ferry_slice){s.p, 0};
    return (struct ferry_slice){s.p + from, s.len - from};
}

static inline struct ferry_slice ferry_slice_first(struct ferry_slice s, size_t n)
{
    return (struct ferry_slice){s.p, n < s.len ? n : s.len};
}

static inline bool ferry_slice_starts(struct ferry_slice s, struct ferry_slice prefix)
{
    return s.len >= prefix.len && ferry_slice_eq(ferry_slice_first(s, prefix.len), prefix);
}

/* The offset of the first `c`, or s.len. */
static inline size_t ferry_slice_find(struct ferry_slice s, char c)
{
    const char *at = s.len ? memchr(s.p, c, s.len) : NULL;
    return at ? (size_t)(at - s.p) : s.len;
}

/* ASCII only: bytes above 0x7F never fold, whatever the locale. */
static inline char ferry_ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

bool ferry_slice_eq_nocase(struct ferry_slice a, struct ferry_slice b);
bool ferry_slice_ends_nocase(struct ferry_slice s, struct ferry_slice suffix);

/* Without the blanks (SP and HTAB) at both ends. */
struct ferry_slice ferry_slice_trim(struct ferry_slice s);

/* A whole decimal number of digits only: 0 and *out, or FERRY_EPROTOCOL (empty, other bytes) or
 * FERRY_ELIMIT (> max). */
int ferry_slice_u64(struct ferry_slice s, uint64_t max, uint64_t *out);

#endif
