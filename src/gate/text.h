/* SPDX-License-Identifier: MIT */
#ifndef FERRY_GATE_TEXT_H
#define FERRY_GATE_TEXT_H

#include <stdint.h>
#include <string.h>

#include "base/slice.h"

/* Writing text in place without printf: each returns the place behind what it wrote, and the caller
 * has made sure of the room. */

#define FERRY_U64_TEXT_MAX 20

static inline char *ferry__put(char *to, struct ferry_slice s)
{
    if (s.len)
        memcpy(to, s.p, s.len);
    return to + s.len;
}

#define FERRY_PUT(to, lit) ferry__put(to, FERRY_SLICE(lit))

/* Decimal, at least `width` digits (at most 20). */
static inline char *ferry__put_u64(char *to, uint64_t n, unsigned width)
{
    char digits[FERRY_U64_TEXT_MAX];
    unsigned at = sizeof digits;

    do
        digits[--at] = (char)('0' + n % 10);
    while (n /= 10);
    while (sizeof digits - at < width)
        digits[--at] = '0';
    return ferry__put(to, ferry_slice(digits + at, sizeof digits - at));
}

/* Lower-case hexadecimal without leading zeros, at most 16 digits. */
static inline char *ferry__put_hex(char *to, uint64_t n)
{
    unsigned shift = 60;

    while (shift && n >> shift == 0)
        shift -= 4;
    for (;; shift -= 4) {
        *to++ = "0123456789abcdef"[n >> shift & 15];
        if (shift == 0)
            return to;
    }
}

#endif
