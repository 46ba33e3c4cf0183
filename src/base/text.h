/* SPDX-License-Identifier: MIT */
#ifndef FERRY_BASE_TEXT_H
#define FERRY_BASE_TEXT_H

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

/* The length of the UTF-8 sequence at the front that a terminal shows as text; 0 for anything else
 * than ASCII that is printed and UTF-8 without the C1 controls. */
static inline size_t ferry__utf8(struct ferry_slice s)
{
    unsigned char c = (unsigned char)s.p[0];
    size_t n = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;

    if (n > s.len || c < 0x20 || c == 0x7f)
        return 0;
    for (size_t i = 1; i < n; i++)
        if (((unsigned char)s.p[i] & 0xc0) != 0x80)
            return 0;
    return c == 0xc2 && (unsigned char)s.p[1] < 0xa0 ? 0 : n;
}

/*
 * For a terminal or a log: control bytes, C1 controls, what is no UTF-8 and backslashes become
 * \xHH; other text stays, so that any language can be read. Takes up to four times the length.
 */
static inline char *ferry__put_escaped(char *to, struct ferry_slice s)
{
    while (s.len) {
        unsigned char c = (unsigned char)s.p[0];
        size_t n = c == '\\' ? 0 : ferry__utf8(s);

        if (n) {
            to = ferry__put(to, ferry_slice_first(s, n));
            s = ferry_slice_from(s, n);
            continue;
        }
        to = FERRY_PUT(to, "\\x");
        *to++ = "0123456789ABCDEF"[c >> 4];
        *to++ = "0123456789ABCDEF"[c & 15];
        s = ferry_slice_from(s, 1);
    }
    return to;
}

#endif
