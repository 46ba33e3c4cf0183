/* SPDX-License-Identifier: MIT */
#ifndef FERRY_GATE_TEXT_H
#define FERRY_GATE_TEXT_H

#include <stdbool.h>
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

/*
 * For a terminal or a log: control bytes, C1 controls in UTF-8 and backslashes become \xHH; other
 * bytes stay, so that text in any language can be read. Takes up to four times the length.
 */
static inline char *ferry__put_escaped(char *to, struct ferry_slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool c1 = c == 0xc2 && i + 1 < s.len && ((unsigned char)s.p[i + 1] & 0xe0) == 0x80;

        if (c >= 0x20 && c != 0x7f && c != '\\' && !c1) {
            *to++ = (char)c;
            continue;
        }
        to = FERRY_PUT(to, "\\x");
        *to++ = "0123456789ABCDEF"[c >> 4];
        *to++ = "0123456789ABCDEF"[c & 15];
    }
    return to;
}

#endif
