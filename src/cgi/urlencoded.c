/* SPDX-License-Identifier: MIT */
/*
 * application/x-www-form-urlencoded, read as browsers and the URL Standard (section 5.1) do. There
 * is no malformed input: whatever comes has pairs, so nothing here fails.
 */
#include "base/slice.h"
#include "ferry/form.h"

bool ferry_query_next(struct ferry_slice *rest, struct ferry_param *out)
{
    struct ferry_slice pair;
    size_t equals;

    do {
        if (!rest->len)
            return false;
        pair = ferry_slice_first(*rest, ferry_slice_find(*rest, '&'));
        *rest = ferry_slice_from(*rest, pair.len + 1);
    } while (!pair.len);
    equals = ferry_slice_find(pair, '=');
    out->name = ferry_slice_first(pair, equals);
    equals += equals < pair.len;
    out->value = ferry_slice(pair.p + equals, pair.len - equals);
    return true;
}

static int digit(char c)
{
    char low = ferry_ascii_lower(c);

    return c >= '0' && c <= '9' ? c - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}

size_t ferry_query_decode(struct ferry_slice in, char *out)
{
    size_t n = 0;

    for (size_t i = 0; i < in.len; i++) {
        char c = in.p[i];

        if (c == '+') {
            c = ' ';
        } else if (c == '%' && in.len - i > 2) {
            int high = digit(in.p[i + 1]), low = digit(in.p[i + 2]);

            if (high >= 0 && low >= 0) {
                c = (char)(high << 4 | low);
                i += 2;
            }
        }
        out[n++] = c;
    }
    return n;
}
