/* SPDX-License-Identifier: MIT */
/*
 * Conditional requests and ranges. Input: two bytes that choose the size, then lines that become
 * the fields of the request. The dates among them are read and written again too.
 */
#include <stdlib.h>

#include "files/date.h"
#include "files/range.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

static void check_ranges(const struct ferry_ranges *set, int status, uint64_t size)
{
    uint64_t total = 0;

    CHECK(set->n <= FERRY_RANGES_MAX);
    CHECK((status == 206) == (set->n > 0));
    for (unsigned i = 0; i < set->n; i++) {
        const struct ferry_range *a = &set->r[i];

        CHECK(a->len > 0 && a->first < size && a->len <= size - a->first);
        for (unsigned j = 0; j < i; j++) {
            const struct ferry_range *b = &set->r[j];

            CHECK(a->first > b->first + b->len || b->first > a->first + a->len);
        }
        total += a->len;
    }
    CHECK(total <= size);
}

static void check_date(struct ferry_slice text)
{
    char again[FERRY_DATE_LEN];
    int64_t date, same;

    if (ferry_date_parse(text, 1795219200, &date) < 0)
        return;
    ferry_date_format(date, again);
    CHECK(ferry_date_parse(ferry_slice(again, sizeof again), 0, &same) == 0 && same == date);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const uint64_t sizes[] = {0, 1, 81, 1000, 65536, UINT64_C(1) << 33, INT64_MAX};
    static struct ferry_http_head head;
    struct ferry_validators v = {
        .etag = FERRY_SLICE_INIT("\"1f-2a\""), .mtime_s = 784111777, .now_s = 1795219200};
    struct ferry_slice all;
    struct ferry_ranges set;
    int status;

    if (n < 2)
        return 0;
    v.size = sizes[data[0] % (sizeof sizes / sizeof *sizes)] / (data[1] ? data[1] : 1);
    all = ferry_slice((const char *)data + 2, n - 2);
    head.nfields = 0;
    while (all.len && head.nfields < FERRY_HTTP_FIELDS_MAX) {
        struct ferry_slice line = ferry_slice_first(all, ferry_slice_find(all, '\n'));
        size_t colon = ferry_slice_find(line, ':');
        struct ferry_slice value = ferry_slice_trim(ferry_slice_from(line, colon + 1));

        status = ferry_range_parse(value, v.size, &set);
        check_ranges(&set, status, v.size);
        check_date(value);
        head.fields[head.nfields++] =
            (struct ferry_http_field){ferry_slice_first(line, colon), value};
        all = ferry_slice_from(all, line.len + 1);
    }
    head.method_id = FERRY_HTTP_GET;
    status = ferry_range_decide(&head, &v, &set);
    CHECK(status == 200 || status == 206 || status == 304 || status == 412 || status == 416);
    check_ranges(&set, status, v.size);

    head.method_id = FERRY_HTTP_HEAD;
    status = ferry_range_decide(&head, &v, &set);
    CHECK(status == 200 || status == 304 || status == 412);
    CHECK(set.n == 0);
    return 0;
}
