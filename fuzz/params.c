/* SPDX-License-Identifier: MIT */
/*
 * Name-value pairs: pairs read from the input lie in it; written as a request head, they come out
 * of its records again, and no pair straddles two records unless it is larger than one.
 */
#include "ferry/params.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/slice.h"
#include "ferry/record.h"

#define PAIRS_MAX 512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool ok)
{
    if (!ok)
        abort();
}

/* The content of the PARAMS records in `p`, joined; `cuts` gets where records begin. */
static size_t join(const char *p, size_t n, char *out, size_t *cuts, size_t *ncuts)
{
    size_t len = 0;

    *ncuts = 0;
    for (size_t at = 0; at < n;) {
        struct ferry_record r;

        must(ferry_record_decode(p + at, n - at, &r) == 8 && r.id == 5);
        must(r.content_len + r.padding_len <= 65535);
        must(n - at >= 8u + r.content_len + r.padding_len);
        if (r.type == FERRY_PARAMS) {
            cuts[(*ncuts)++] = len;
            memcpy(out + len, p + at + 8, r.content_len);
            len += r.content_len;
        }
        at += 8u + r.content_len + r.padding_len;
    }
    return len;
}

/* Stretches every value `stretch` times, so that small inputs make large streams. */
static void write_and_read(const struct ferry_param *pairs, size_t npairs, size_t stretch)
{
    struct ferry_slice pieces[300];
    struct ferry_params_writer w;
    size_t cuts[PAIRS_MAX * 4], ncuts, total = 0, at = 0, len;
    char *mem, *joined;
    ssize_t wrote;

    for (size_t i = 0; i < npairs; i++)
        total += ferry_param_size(pairs[i].name.len, pairs[i].value.len * stretch);
    if (total > 1 << 21)
        return;
    mem = malloc(ferry_params_room(total));
    joined = malloc(total + 1);
    must(mem && joined);
    ferry_params_open(&w, mem, ferry_params_room(total), 5);
    ferry_params_begin_request(&w, FERRY_RESPONDER, 0);
    for (size_t i = 0; i < npairs; i++) {
        for (size_t j = 0; j < stretch; j++)
            pieces[j] = pairs[i].value;
        ferry_params_add_pieces(&w, pairs[i].name, pieces, stretch);
    }
    wrote = ferry_params_close(&w, 1);
    must(wrote > 0);
    len = join(mem, (size_t)wrote, joined, cuts, &ncuts);
    must(len == total);
    for (size_t i = 0; i < npairs; i++) {
        struct ferry_param back;
        ssize_t size = ferry_param_decode(joined + at, len - at, SIZE_MAX, &back);

        must(size > 0 && ferry_slice_eq(back.name, pairs[i].name));
        must(back.value.len == pairs[i].value.len * stretch);
        if (pairs[i].value.len)
            for (size_t j = 0; j < stretch; j++)
                must(memcmp(back.value.p + j * pairs[i].value.len, pairs[i].value.p,
                            pairs[i].value.len) == 0);
        for (size_t c = 0; c < ncuts && size <= FERRY_RECORD_CONTENT_MAX; c++)
            must(cuts[c] <= at || cuts[c] >= at + (size_t)size);
        at += (size_t)size;
    }
    must(at == len);
    free(mem);
    free(joined);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct ferry_param pairs[PAIRS_MAX];
    size_t npairs = 0, at = 1, max;

    if (n == 0)
        return 0;
    max = (size_t)data[0] * 64;
    while (at < n && npairs < PAIRS_MAX) {
        ssize_t took = ferry_param_decode(data + at, n - at, max, &pairs[npairs]);
        const struct ferry_param *p = &pairs[npairs];

        must(took >= 0 || took == FERRY_ELIMIT);
        if (took <= 0)
            break;
        must((size_t)took <= n - at && p->name.len + p->value.len <= max);
        must(p->name.p > (const char *)data + at &&
             p->value.p + p->value.len == (const char *)data + at + took);
        at += (size_t)took;
        npairs++;
    }
    write_and_read(pairs, npairs, 1);
    write_and_read(pairs, npairs, 1 + data[0]);
    return 0;
}
