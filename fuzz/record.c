/* SPDX-License-Identifier: MIT */
/* Record headers and bodies: what is read and written again reads the same. */
#include "ferry/record.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct ferry_begin_body begin;
    struct ferry_end_body end;
    struct ferry_record r;
    uint8_t out[8];

    for (size_t at = 0; at < n;) {
        int took = ferry_record_decode(data + at, n - at, &r);

        if (took <= 0) {
            must(took == FERRY_EPROTOCOL ? data[at] != 1 : took == 0 && n - at < 8);
            break;
        }
        must(took == 8 && data[at] == 1);
        ferry_record_encode(&r, out);
        must(memcmp(out, data + at, 7) == 0 && out[7] == 0);
        at += 8;
        if (n - at < 8)
            continue;
        ferry_begin_body_decode(data + at, &begin);
        ferry_begin_body_encode(&begin, out);
        must(memcmp(out, data + at, 3) == 0);
        ferry_end_body_decode(data + at, &end);
        ferry_end_body_encode(&end, out);
        must(memcmp(out, data + at, 5) == 0);
    }
    return 0;
}
