/* SPDX-License-Identifier: MIT */
#include "files/range.h"

#include <stdio.h>

#include "support.h"

#define MTIME INT64_C(784111777) /* Sun, 06 Nov 1994 08:49:37 GMT */
#define ETAG "\"1f-2a\""
#define SAME "Sun, 06 Nov 1994 08:49:37 GMT"
#define BEFORE "Sun, 06 Nov 1994 08:49:36 GMT"
#define AFTER "Sun, 06 Nov 1994 08:49:38 GMT"

/* "0+100 200+1": first and length of each. */
static void format(const struct ferry_ranges *set, char *out, size_t cap)
{
    size_t n = 0;

    out[0] = 0;
    for (unsigned i = 0; i < set->n; i++)
        n += (size_t)snprintf(out + n, cap - n, "%s%llu+%llu", i ? " " : "",
                              (unsigned long long)set->r[i].first,
                              (unsigned long long)set->r[i].len);
}

static void ranges_of_a_thousand_bytes(void **state)
{
    static const struct {
        const char *value;
        int status;
        const char *want;
    } cases[] = {
        /* one */
        {"bytes=0-0", 206, "0+1"},
        {"bytes=0-99", 206, "0+100"},
        {"bytes=100-", 206, "100+900"},
        {"bytes=0-", 206, "0+1000"},
        {"bytes=999-", 206, "999+1"},
        {"bytes=999-999", 206, "999+1"},
        {"bytes=500-5000", 206, "500+500"},
        {"bytes=-1", 206, "999+1"},
        {"bytes=-300", 206, "700+300"},
        {"bytes=-1000", 206, "0+1000"},
        {"bytes=-5000", 206, "0+1000"},
        {"BYTES=1-2", 206, "1+2"},
        {"bytes= 1-2 ", 206, "1+2"},
        {"bytes=001-002", 206, "1+2"},
        {"bytes=0-99999999999999999999999999", 206, "0+1000"},
        {"bytes=-99999999999999999999999999", 206, "0+1000"},
        /* not to be had */
        {"bytes=1000-", 416, ""},
        {"bytes=1000-2000", 416, ""},
        {"bytes=-0", 416, ""},
        {"bytes=99999999999999999999-", 416, ""},
        {"bytes=18446744073709551615-", 416, ""},
        {"bytes=18446744073709551615-18446744073709551616", 416, ""},
        {"bytes=18446744073709551616-18446744073709551620", 416, ""},
        {"bytes=1000-,2000-,-0", 416, ""},
        /* not to be read */
        {"", 200, ""},
        {"bytes", 200, ""},
        {"bytes=", 200, ""},
        {"bytes=,", 200, ""},
        {"bytes= , ,", 200, ""},
        {"bytes=-", 200, ""},
        {"bytes=1", 200, ""},
        {"bytes=2-1", 200, ""},
        {"bytes=0-1,2-1", 200, ""},
        {"bytes=1--2", 200, ""},
        {"bytes=--1", 200, ""},
        {"bytes=+1-2", 200, ""},
        {"bytes=1- 2", 200, ""},
        {"bytes=1 -2", 200, ""},
        {"bytes=a-b", 200, ""},
        {"bytes=0x1-0x2", 200, ""},
        {"bytes=1-2;3-4", 200, ""},
        {"bytes=1-2 3-4", 200, ""},
        {"bytes=1-2,x", 200, ""},
        {"bytes =1-2", 200, ""},
        {" bytes=1-2", 200, ""},
        {"items=0-1", 200, ""},
        {"1-2", 200, ""},
        /* several */
        {"bytes=0-9,500-509", 206, "0+10 500+10"},
        {"bytes=500-509,0-9", 206, "500+10 0+10"},
        {"bytes=0-9 , 500-509\t,,-1", 206, "0+10 500+10 999+1"},
        {"bytes=,0-9", 206, "0+10"},
        {"bytes=0-9,1000-", 206, "0+10"},
        {"bytes=1000-,0-9", 206, "0+10"},
        /* joined */
        {"bytes=0-9,0-9", 206, "0+10"},
        {"bytes=0-9,10-19", 206, "0+20"},
        {"bytes=10-19,0-9", 206, "0+20"},
        {"bytes=0-99,50-149", 206, "0+150"},
        {"bytes=0-9,90-99", 206, "0+100"}, /* a gap of 80 */
        {"bytes=0-9,91-99", 206, "0+10 91+9"},
        {"bytes=100-199,0-999", 206, "0+1000"},
        {"bytes=0-9,500-509,200-300,11-12", 206, "0+13 500+10 200+101"},
        {"bytes=0-9,300-309,600-609,5-605", 206, "0+610"},
        {"bytes=900-909,0-9,300-309,5-305", 206, "900+10 0+310"},
        {"bytes=600-609,300-309,0-9,305-605", 206, "300+310 0+10"},
        {"bytes=0-,-1", 206, "0+1000"},
        /* sixteen, and one more */
        {"bytes=0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0", 206, "0+1"},
        {"bytes=0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0", 200, ""},
        {"bytes=0-,1000-,1000-,1000-,1000-,1000-,1000-,1000-,1000-,1000-,1000-,1000-,1000-,1000-"
         ",1000-,1000-,1000-",
         200, ""},
    };
    struct ferry_ranges set;
    char got[400];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = strlen(cases[i].value);
        int status =
            ferry_range_parse(ferry_slice(guard_copy(0, cases[i].value, n), n), 1000, &set);

        format(&set, got, sizeof got);
        if (status != cases[i].status || strcmp(got, cases[i].want) != 0)
            fail_msg("%s: %d \"%s\", not %d \"%s\"", cases[i].value, status, got, cases[i].status,
                     cases[i].want);
    }
}

static void sixteen_ranges_apart_stay_sixteen(void **state)
{
    static const char value[] = "bytes=15000-,14000-14000,13000-13000,12000-12000,11000-11000,"
                                "10000-10000,9000-9000,8000-8000,7000-7000,6000-6000,5000-5000,"
                                "4000-4000,3000-3000,2000-2000,1000-1000,0-0";
    struct ferry_ranges set;

    (void)state;
    assert_int_equal(ferry_range_parse(FERRY_SLICE(value), 15001, &set), 206);
    assert_int_equal(set.n, 16);
    for (unsigned i = 0; i < 16; i++) {
        assert_int_equal(set.r[i].first, 15000 - 1000 * i);
        assert_int_equal(set.r[i].len, 1);
    }
}

static void sizes_at_the_edges(void **state)
{
    static const struct {
        const char *value;
        uint64_t size;
        int status;
        const char *want;
    } cases[] = {
        {"bytes=0-", 0, 200, ""},
        {"bytes=-1", 0, 200, ""},
        {"bytes=5-", 0, 200, ""},
        {"bytes=0-", 1, 206, "0+1"},
        {"bytes=-1", 1, 206, "0+1"},
        {"bytes=1-", 1, 416, ""},
        {"bytes=0-", INT64_MAX, 206, "0+9223372036854775807"},
        {"bytes=-1", INT64_MAX, 206, "9223372036854775806+1"},
        {"bytes=0-0,-1", INT64_MAX, 206, "0+1 9223372036854775806+1"},
        {"bytes=4294967296-4294967297", 5000000000, 206, "4294967296+2"},
    };
    struct ferry_ranges set;
    char got[100];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int status = ferry_range_parse(ferry_slice_z(cases[i].value), cases[i].size, &set);

        format(&set, got, sizeof got);
        if (status != cases[i].status || strcmp(got, cases[i].want) != 0)
            fail_msg("%s: %d \"%s\", not %d \"%s\"", cases[i].value, status, got, cases[i].status,
                     cases[i].want);
    }
}

/* "A: x\nB: y" as the fields of a request, each flush against a guard page. */
static void make_head(struct ferry_http_head *head, enum ferry_http_method method, const char *text)
{
    struct ferry_slice all = {guard_copy(0, text, strlen(text)), strlen(text)};

    memset(head, 0, sizeof *head);
    head->method_id = method;
    while (all.len) {
        struct ferry_slice line = ferry_slice_first(all, ferry_slice_find(all, '\n'));
        size_t colon = ferry_slice_find(line, ':');

        head->fields[head->nfields++] = (struct ferry_http_field){
            ferry_slice_first(line, colon), ferry_slice_trim(ferry_slice_from(line, colon + 1))};
        all = ferry_slice_from(all, line.len + 1);
    }
}

static void conditions(void **state)
{
    static const struct {
        const char *fields;
        int get, head;
    } cases[] = {
        {"", 200, 200},
        {"Host: a\nAccept: */*\nIf: x\nRange-x: y", 200, 200},
        {":", 200, 200},
        /* If-None-Match: weak comparison */
        {"If-None-Match: " ETAG, 304, 304},
        {"if-none-match: W/" ETAG, 304, 304},
        {"If-None-Match: \"x\", \"a,b\" ,W/" ETAG, 304, 304},
        {"If-None-Match: ,, " ETAG, 304, 304},
        {"If-None-Match: *", 304, 304},
        {"If-None-Match: \"x\"\nIf-None-Match: " ETAG, 304, 304},
        {"If-None-Match: \"x\"", 200, 200},
        {"If-None-Match: \"1f-2a", 200, 200},
        {"If-None-Match: 1f-2a", 200, 200},
        {"If-None-Match: w/" ETAG, 200, 200},
        {"If-None-Match: W/", 200, 200},
        {"If-None-Match: \"", 200, 200},
        {"If-None-Match: ", 200, 200},
        {"If-None-Match: x, " ETAG, 200, 200},
        {"If-None-Match: \"a b\", " ETAG, 200, 200},
        {"If-None-Match: *, " ETAG, 200, 200},
        {"If-None-Match: \"x\"\nIf-Modified-Since: " SAME, 200, 200},
        {"If-None-Match: " ETAG "\nIf-Modified-Since: " BEFORE, 304, 304},
        /* If-Modified-Since */
        {"If-Modified-Since: " SAME, 304, 304},
        {"If-Modified-Since: " AFTER, 304, 304},
        {"If-Modified-Since: " BEFORE, 200, 200},
        {"If-Modified-Since: yesterday", 200, 200},
        {"If-Modified-Since: ", 200, 200},
        {"If-Modified-Since: " SAME "\nIf-Modified-Since: " SAME, 200, 200},
        /* If-Match: strong comparison */
        {"If-Match: " ETAG, 200, 200},
        {"If-Match: \"x\", " ETAG, 200, 200},
        {"If-Match: \"x\"\nIf-Match: " ETAG, 200, 200},
        {"If-Match: *", 200, 200},
        {"If-Match: W/" ETAG, 412, 412},
        {"If-Match: \"x\"", 412, 412},
        {"If-Match: ", 412, 412},
        {"If-Match: garbage", 412, 412},
        {"If-Match: " ETAG "\nIf-Unmodified-Since: " BEFORE, 200, 200},
        {"If-Match: " ETAG "\nIf-None-Match: " ETAG, 304, 304},
        {"If-Match: \"x\"\nIf-None-Match: " ETAG, 412, 412},
        /* If-Unmodified-Since */
        {"If-Unmodified-Since: " SAME, 200, 200},
        {"If-Unmodified-Since: " AFTER, 200, 200},
        {"If-Unmodified-Since: " BEFORE, 412, 412},
        {"If-Unmodified-Since: tomorrow", 200, 200},
        {"If-Unmodified-Since: " BEFORE "\nIf-Unmodified-Since: " BEFORE, 200, 200},
        {"If-Unmodified-Since: " BEFORE "\nIf-None-Match: " ETAG, 412, 412},
        {"If-Unmodified-Since: " SAME "\nIf-Modified-Since: " SAME, 304, 304},
        /* Range: GET only */
        {"Range: bytes=0-9", 206, 200},
        {"RANGE: bytes=5000-", 416, 200},
        {"Range: bytes=0-9\nRange: bytes=0-9", 200, 200},
        {"Range: bytes=0-9\nIf-None-Match: " ETAG, 304, 304},
        {"Range: bytes=5000-\nIf-Match: \"x\"", 412, 412},
        {"Range: bytes=0-9\nIf-Match: " ETAG, 206, 200},
        /* If-Range: strong comparison, dates must be equal */
        {"Range: bytes=0-9\nIf-Range: " ETAG, 206, 200},
        {"Range: bytes=5000-\nIf-Range: " ETAG, 416, 200},
        {"Range: bytes=0-9\nIf-Range: W/" ETAG, 200, 200},
        {"Range: bytes=0-9\nIf-Range: \"x\"", 200, 200},
        {"Range: bytes=5000-\nIf-Range: \"x\"", 200, 200},
        {"Range: bytes=0-9\nIf-Range: " ETAG ", \"x\"", 200, 200},
        {"Range: bytes=0-9\nIf-Range: *", 200, 200},
        {"Range: bytes=0-9\nIf-Range: ", 200, 200},
        {"Range: bytes=0-9\nIf-Range: " SAME, 206, 200},
        {"Range: bytes=0-9\nIf-Range: " BEFORE, 200, 200},
        {"Range: bytes=0-9\nIf-Range: " AFTER, 200, 200},
        {"Range: bytes=0-9\nIf-Range: " ETAG "\nIf-Range: " ETAG, 200, 200},
        {"If-Range: \"x\"", 200, 200},
    };
    const struct ferry_validators v = {
        .etag = FERRY_SLICE_INIT(ETAG), .mtime_s = MTIME, .size = 1000, .now_s = MTIME + 2};
    static struct ferry_http_head head;
    struct ferry_ranges set;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int got;

        make_head(&head, FERRY_HTTP_GET, cases[i].fields);
        got = ferry_range_decide(&head, &v, &set);
        if (got != cases[i].get)
            fail_msg("GET %s: %d, not %d", cases[i].fields, got, cases[i].get);
        assert_int_equal(set.n, got == 206);
        make_head(&head, FERRY_HTTP_HEAD, cases[i].fields);
        got = ferry_range_decide(&head, &v, &set);
        if (got != cases[i].head)
            fail_msg("HEAD %s: %d, not %d", cases[i].fields, got, cases[i].head);
        assert_int_equal(set.n, 0);
    }
}

static void a_date_of_this_very_second_is_no_strong_validator(void **state)
{
    struct ferry_validators v = {
        .etag = FERRY_SLICE_INIT(ETAG), .mtime_s = MTIME, .size = 1000, .now_s = MTIME};
    static struct ferry_http_head head;
    struct ferry_ranges set;

    (void)state;
    make_head(&head, FERRY_HTTP_GET, "Range: bytes=0-9\nIf-Range: " SAME);
    assert_int_equal(ferry_range_decide(&head, &v, &set), 200);
    v.now_s = MTIME + 1;
    assert_int_equal(ferry_range_decide(&head, &v, &set), 200);
    v.now_s = MTIME + 2;
    assert_int_equal(ferry_range_decide(&head, &v, &set), 206);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_of_a_thousand_bytes),
        cmocka_unit_test(sixteen_ranges_apart_stay_sixteen),
        cmocka_unit_test(sizes_at_the_edges),
        cmocka_unit_test(conditions),
        cmocka_unit_test(a_date_of_this_very_second_is_no_strong_validator),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
