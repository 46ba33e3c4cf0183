/* SPDX-License-Identifier: MIT */
/*
 * The decoder of the chunked coding. The first byte sets the cuts. Whole or in pieces, the same
 * bytes come out and the same number is taken; data lies in the input; limits hold.
 */
#include "http/http_internal.h"

#include <stdlib.h>

#define BODY_MAX 300
#define TRAILER_MAX 100

#define check(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct result {
    char body[BODY_MAX];
    size_t len, taken;
    uint8_t state;
    uint16_t status;
};

static void decode(const char *p, size_t n, size_t step, struct result *out)
{
    struct ferry__chunked c;

    *out = (struct result){.len = 0};
    ferry__chunked_init(&c, BODY_MAX, TRAILER_MAX);
    while (out->taken < n && c.state < FERRY__CHUNK_DONE) {
        size_t give = n - out->taken < step ? n - out->taken : step;
        char *copy = malloc(give);
        struct ferry_slice data;
        size_t took;

        memcpy(copy, p + out->taken, give);
        took = ferry__chunked_recv(&c, copy, give, &data);
        check(took > 0 && took <= give);
        check(took == give || data.len || c.state >= FERRY__CHUNK_DONE);
        if (data.len) {
            check(data.p >= copy && data.p + data.len == copy + took);
            check(out->len + data.len <= BODY_MAX);
            memcpy(out->body + out->len, data.p, data.len);
            out->len += data.len;
        }
        out->taken += took;
        free(copy);
    }
    check(c.state != FERRY__CHUNK_BAD || (c.status >= 400 && *c.why));
    out->state = c.state;
    out->status = c.status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct result whole, pieces;

    if (n < 1)
        return 0;
    decode((const char *)data + 1, n - 1, SIZE_MAX, &whole);
    decode((const char *)data + 1, n - 1, 1 + data[0] % 16, &pieces);
    check(whole.taken == pieces.taken && whole.state == pieces.state);
    check(whole.status == pieces.status);
    check(whole.len == pieces.len && memcmp(whole.body, pieces.body, whole.len) == 0);
    return 0;
}
