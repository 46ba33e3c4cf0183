/* SPDX-License-Identifier: MIT */
/* xtext: what was decoded, written again and decoded, is the same. */
#include <stdlib.h>

#include "smtp/params.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct ferry_slice s = ferry_slice((const char *)data, n);
    char *out = malloc(n + 1), *again = malloc(n + 1), *text = malloc(3 * n + 1);
    ssize_t len;
    size_t at = 0;

    must(out && again && text);
    len = ferry_smtp_xtext_decode(s, out, n + 1);
    must(len == FERRY_EUSAGE || (len >= 0 && (size_t)len <= n && strlen(out) == (size_t)len));
    if (len >= 0) {
        for (ssize_t i = 0; i < len; i++) {
            must(out[i] != '\r' && out[i] != '\n');
            text[at++] = '+';
            text[at++] = "0123456789ABCDEF"[(unsigned char)out[i] >> 4];
            text[at++] = "0123456789abcdef"[(unsigned char)out[i] & 15];
        }
        must(ferry_smtp_xtext_decode(ferry_slice(text, at), again, (size_t)len + 1) == len);
        must(memcmp(again, out, (size_t)len) == 0);
        must(ferry_smtp_xtext_decode(s, again, (size_t)len) == FERRY_ELIMIT);
    }
    free(out);
    free(again);
    free(text);
    return 0;
}
