/* SPDX-License-Identifier: MIT */
/* Slices: comparing, trimming and reading numbers from borrowed bytes. */
#include "base/slice.h"

#include "ferry/err.h"

bool ferry_slice_eq_nocase(struct ferry_slice a, struct ferry_slice b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (ferry_ascii_lower(a.p[i]) != ferry_ascii_lower(b.p[i]))
            return false;
    return true;
}

bool ferry_slice_ends_nocase(struct ferry_slice s, struct ferry_slice suffix)
{
    return s.len >= suffix.len &&
           ferry_slice_eq_nocase(ferry_slice_from(s, s.len - suffix.len), suffix);
}

struct ferry_slice ferry_slice_trim(struct ferry_slice s)
{
    while (s.len && (s.p[0] == ' ' || s.p[0] == '\t')) {
        s.p++;
        s.len--;
    }
    while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
        s.len--;
    return s;
}

int ferry_slice_u64(struct ferry_slice s, uint64_t max, uint64_t *out)
{
    bool over = false; /* the rest must still be digits */
    uint64_t n = 0;

    if (s.len == 0)
        return FERRY_EPROTOCOL;
    for (size_t i = 0; i < s.len; i++) {
        unsigned digit = (unsigned char)s.p[i] - (unsigned)'0';
        if (digit > 9)
            return FERRY_EPROTOCOL;
        over |= n > (UINT64_MAX - digit) / 10;
        n = n * 10 + digit;
    }
    if (over || n > max)
        return FERRY_ELIMIT;
    *out = n;
    return 0;
}
