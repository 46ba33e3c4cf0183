/* SPDX-License-Identifier: MIT */
#include "ferry/params.h"

#include "base/slice.h"
#include "ferry/record.h"
#include "support.h"

/* -- bare pairs -- */

/* A-NV-1, A-NV-3, A-NV-5: every form of the lengths, short lengths in the long form, all bytes. */
static void pairs_are_read_in_every_form(void **state)
{
    static const struct {
        struct ferry_slice bytes, name, value;
    } cases[] = {
        {FERRY_SLICE_INIT("\0\0"), FERRY_SLICE_INIT(""), FERRY_SLICE_INIT("")},
        {FERRY_SLICE_INIT("\1\2AXY"), FERRY_SLICE_INIT("A"), FERRY_SLICE_INIT("XY")},
        {FERRY_SLICE_INIT("\1\x80\0\0\2AXY"), FERRY_SLICE_INIT("A"), FERRY_SLICE_INIT("XY")},
        {FERRY_SLICE_INIT("\x80\0\0\1\2AXY"), FERRY_SLICE_INIT("A"), FERRY_SLICE_INIT("XY")},
        {FERRY_SLICE_INIT("\x80\0\0\1\x80\0\0\2AXY"), FERRY_SLICE_INIT("A"),
         FERRY_SLICE_INIT("XY")},
        {FERRY_SLICE_INIT("\x80\0\0\0\x80\0\0\0"), FERRY_SLICE_INIT(""), FERRY_SLICE_INIT("")},
        {FERRY_SLICE_INIT("\0\1V"), FERRY_SLICE_INIT(""), FERRY_SLICE_INIT("V")},
        {FERRY_SLICE_INIT("\2\3\xff\0\x80\0\x01"), FERRY_SLICE_INIT("\xff\0"),
         FERRY_SLICE_INIT("\x80\0\x01")},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = cases[i].bytes.len;
        struct ferry_param out;

        /* every proper prefix says "more", and touches neither *out nor the byte behind */
        memset(&out, 0x55, sizeof out);
        for (size_t cut = 0; cut < n; cut++) {
            char *p = guard_copy(0, cases[i].bytes.p, cut);
            assert_int_equal(ferry_param_decode(p, cut, 100, &out), 0);
        }
        assert_int_equal(out.name.len, 0x5555555555555555);
        assert_int_equal(ferry_param_decode(guard_copy(0, cases[i].bytes.p, n), n, 100, &out), n);
        assert_true(ferry_slice_eq(out.name, cases[i].name));
        assert_true(ferry_slice_eq(out.value, cases[i].value));
    }
}

static const size_t lengths[] = {0, 1, 127, 128, 255, 256, 65535, 65536, 1 << 20};
#define N_LENGTHS (sizeof lengths / sizeof *lengths)

/* A-NV-2: every class of lengths, both ways; and W-6: the short form below 128. */
static void lengths_of_every_class_come_back(void **state)
{
    char *text = malloc(1 << 20), *room = malloc((2 << 20) + 8);

    (void)state;
    for (size_t i = 0; i < 1 << 20; i++)
        text[i] = (char)(i * 7 >> 3);
    for (size_t i = 0; i < N_LENGTHS; i++) {
        for (size_t j = 0; j < N_LENGTHS; j++) {
            struct ferry_param in = {{text, lengths[i]}, {text + 1, lengths[j]}}, out;
            size_t size = ferry_param_size(lengths[i], lengths[j]);

            if (j == N_LENGTHS - 1)
                in.value.p = text;
            assert_int_equal(size, lengths[i] + lengths[j] + (lengths[i] < 128 ? 1 : 4) +
                                       (lengths[j] < 128 ? 1 : 4));
            assert_int_equal(ferry_param_encode(&in, room, size - 1), FERRY_ELIMIT);
            assert_int_equal(ferry_param_encode(&in, room, size), size);
            assert_int_equal(ferry_param_decode(room, size, 2 << 20, &out), size);
            assert_true(ferry_slice_eq(in.name, out.name));
            assert_true(ferry_slice_eq(in.value, out.value));
        }
    }
    free(text);
    free(room);
}

/* A-NV-8: a claim past the limit is refused as soon as it is read, at any size. */
static void claims_past_the_limit_are_refused(void **state)
{
    static const struct {
        struct ferry_slice bytes;
        size_t max;
        ssize_t want;
    } cases[] = {
        {FERRY_SLICE_INIT("\2\2abcd"), 4, 6},
        {FERRY_SLICE_INIT("\2\2abcd"), 3, FERRY_ELIMIT},
        {FERRY_SLICE_INIT("\2\2"), 3, FERRY_ELIMIT},
        {FERRY_SLICE_INIT("\xff\xff\xff\xff"), 1000, FERRY_ELIMIT},
        {FERRY_SLICE_INIT("\xff\xff\xff\xff\xff\xff\xff\xff"), 0x7fffffff, FERRY_ELIMIT},
        {FERRY_SLICE_INIT("\xff\xff\xff\xff\xff\xff\xff\xff"), SIZE_MAX, 0},
        /* CVE-2025-23016: nameLen + valueLen + 2 wraps in 32 bits */
        {FERRY_SLICE_INIT("\xff\xff\xff\xff\xff\xff\xff\xff"), 1 << 20, FERRY_ELIMIT},
        {FERRY_SLICE_INIT("\0\0"), 0, 2},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_param out;
        char *p = guard_copy(0, cases[i].bytes.p, cases[i].bytes.len);
        assert_int_equal(ferry_param_decode(p, cases[i].bytes.len, cases[i].max, &out),
                         cases[i].want);
    }
}

static void lengths_the_format_cannot_hold_are_not_encoded(void **state)
{
    struct ferry_param in = {{"x", 1}, {"y", (size_t)FERRY_PARAM_LEN_MAX + 1}};
    char out[8];

    (void)state;
    assert_int_equal(ferry_param_encode(&in, out, SIZE_MAX), FERRY_ELIMIT);
}

/* -- the writer -- */

/* Walks records written for `id`, checks their headers, joins the content of PARAMS. */
struct walked {
    char *params;
    size_t params_len;
    unsigned records;
    size_t cuts[64]; /* where each PARAMS record begins in the stream */
    bool stdin_ended;
};

static struct walked walk(const char *p, size_t n, uint16_t id, bool begin)
{
    struct walked w = {.params = malloc(n + 1)};
    bool params_ended = false;

    while (n) {
        struct ferry_record r;
        size_t len;

        assert_int_equal(ferry_record_decode(p, n, &r), 8);
        len = 8u + r.content_len + r.padding_len;
        assert_true(len <= n);
        assert_int_equal(r.id, id);
        assert_true(r.content_len + r.padding_len <= 65535); /* PHP's buffer */
        if (r.content_len <= 65528)
            assert_int_equal(len % 8, 0); /* W-4 */
        for (size_t i = 0; i < r.padding_len; i++)
            assert_int_equal(p[8 + r.content_len + i], 0);
        if (begin) {
            assert_int_equal(r.type, FERRY_BEGIN_REQUEST);
            begin = false;
        } else if (!params_ended) {
            assert_int_equal(r.type, FERRY_PARAMS);
            w.cuts[w.records++ % 64] = w.params_len;
            memcpy(w.params + w.params_len, p + 8, r.content_len);
            w.params_len += r.content_len;
            params_ended = r.content_len == 0;
        } else {
            assert_int_equal(r.type, FERRY_STDIN);
            assert_int_equal(r.content_len, 0);
            assert_false(w.stdin_ended);
            w.stdin_ended = true;
        }
        p += len;
        n -= len;
    }
    assert_true(params_ended);
    return w;
}

/* W-5, A-IN-3, A-IN-4 */
static void a_request_head_in_bytes(void **state)
{
    struct ferry_params_writer w;
    char mem[200];

    (void)state;
    ferry_params_open(&w, mem, sizeof mem, 0x0102);
    ferry_params_begin_request(&w, FERRY_FILTER, FERRY_KEEP_CONN);
    ferry_params_add(&w, FERRY_SLICE("AB"), FERRY_SLICE("xyz"));
    ferry_params_add_pieces(
        &w, FERRY_SLICE("C"),
        (struct ferry_slice[]){FERRY_SLICE("1"), FERRY_SLICE(""), FERRY_SLICE("23")}, 3);
    assert_int_equal(ferry_params_close(&w, 1), 16 + 8 + 7 + 6 + 3 + 8 + 8);
    assert_memory_equal(mem,
                        "\1\1\1\2\0\10\0\0\0\3\1\0\0\0\0\0"
                        "\1\4\1\2\0\15\3\0\2\3ABxyz\1\3C123\0\0\0"
                        "\1\4\1\2\0\0\0\0"
                        "\1\5\1\2\0\0\0\0",
                        56);

    ferry_params_open(&w, mem, sizeof mem, 7);
    assert_int_equal(ferry_params_close(&w, 0), 8);
    assert_memory_equal(mem, "\1\4\0\7\0\0\0\0", 8);

    ferry_params_open(&w, mem, sizeof mem, 7);
    ferry_params_add_pieces(&w, FERRY_SLICE("N"), NULL, 0);
    assert_int_equal(ferry_params_close(&w, 0), 8 + 3 + 5 + 8);
}

/* Writes pairs of the given sizes and checks the stream that comes out, record by record. */
static void check_pairs(const size_t *sizes, size_t n)
{
    static char text[70000];
    struct ferry_params_writer w;
    size_t total = 0, at = 0, room;
    struct walked got;
    ssize_t len;
    char *mem;

    memset(text, 'v', sizeof text);
    for (size_t i = 0; i < n; i++)
        total += sizes[i];
    room = ferry_params_room(total);
    mem = malloc(room);
    ferry_params_open(&w, mem, room, 3);
    ferry_params_begin_request(&w, FERRY_RESPONDER, 0);
    for (size_t i = 0; i < n; i++) {
        size_t value_len = sizes[i] < 131 ? sizes[i] - 3 : sizes[i] - 6;
        struct ferry_slice pieces[2] = {{text, value_len / 3}, {text, value_len - value_len / 3}};

        assert_int_equal(ferry_param_size(1, value_len), sizes[i]);
        ferry_params_add_pieces(&w, FERRY_SLICE("N"), pieces, 2);
    }
    len = ferry_params_close(&w, 1);
    assert_true(len > 0);
    got = walk(mem, (size_t)len, 3, true);
    assert_true(got.stdin_ended);
    assert_int_equal(got.params_len, total);
    for (size_t i = 0; i < n; i++) {
        struct ferry_param out;

        assert_int_equal(ferry_param_decode(got.params + at, total - at, 1 << 21, &out), sizes[i]);
        for (size_t j = 0; j < out.value.len; j++)
            assert_int_equal(out.value.p[j], 'v');
        /* A pair of one record's size or less lies in one record. */
        for (unsigned r = 0; r < got.records && sizes[i] <= 65535; r++)
            assert_false(got.cuts[r] > at && got.cuts[r] < at + sizes[i]);
        /* A record too full for padding holds one pair alone. */
        for (unsigned r = 0; r + 1 < got.records; r++)
            if (got.cuts[r + 1] - got.cuts[r] > 65528 && got.cuts[r] <= at && at < got.cuts[r + 1])
                assert_int_equal(got.cuts[r + 1] - got.cuts[r], sizes[i]);
        at += sizes[i];
    }
    free(got.params);

    /* One byte less than was needed is noticed, and nothing is written past the end. */
    for (size_t cap = (size_t)len - 1; cap > (size_t)len - 30; cap--) {
        char *tight = guard_copy(1, mem, cap);

        ferry_params_open(&w, tight, cap, 3);
        ferry_params_begin_request(&w, FERRY_RESPONDER, 0);
        for (size_t i = 0; i < n; i++)
            ferry_params_add(&w, FERRY_SLICE("N"),
                             ferry_slice(text, sizes[i] < 131 ? sizes[i] - 3 : sizes[i] - 6));
        assert_int_equal(ferry_params_close(&w, 1), FERRY_ELIMIT);
    }
    free(mem);
}

static void pairs_straddle_records_only_when_larger_than_one(void **state)
{
    static const struct {
        size_t sizes[8], n;
    } cases[] = {
        {{3}, 1},
        {{130, 134, 135}, 3},
        {{65528}, 1},
        {{65529}, 1},
        {{65535}, 1},
        {{65536}, 1},
        {{65537}, 1},
        {{65525, 3}, 2},
        {{65524, 3, 3}, 3},
        {{65526, 3}, 2},
        {{65528, 3}, 2},
        {{65529, 3}, 2},
        {{3, 65525}, 2},
        {{3, 65526}, 2},
        {{3, 65535, 3}, 3},
        {{3, 65536, 3}, 3},
        {{30000, 30000, 30000, 30000, 30000}, 5},
        {{32764, 32764, 32764}, 3},
        {{3, 65528, 3, 65528, 3, 65528, 3, 65528}, 8},
        {{65535, 65535, 65535}, 3},
        {{65536, 65536, 65536}, 3},
        {{70003, 60000, 70003, 3}, 4},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_pairs(cases[i].sizes, cases[i].n);
}

static void a_pair_of_exactly_one_record_is_one_record(void **state)
{
    static char value[65535 - 6];
    struct ferry_params_writer w;
    char *mem = malloc(ferry_params_room(65535));
    struct walked got;
    ssize_t n;

    (void)state;
    memset(value, 'x', sizeof value);
    ferry_params_open(&w, mem, ferry_params_room(65535), 1);
    ferry_params_add(&w, FERRY_SLICE("N"), ferry_slice(value, sizeof value));
    n = ferry_params_close(&w, 0);
    assert_int_equal(n, 8 + 65535 + 8);
    got = walk(mem, (size_t)n, 1, false);
    assert_int_equal(got.records, 2); /* it and the end */
    free(got.params);
    free(mem);
}

/* The names and values of a megabyte, A-NV-2. */
static void a_pair_of_many_records(void **state)
{
    size_t len = 1 << 20, size = ferry_param_size(len, len);
    struct ferry_params_writer w;
    char *text = malloc(len), *mem = malloc(ferry_params_room(size));
    struct ferry_param out;
    struct walked got;
    ssize_t n;

    (void)state;
    for (size_t i = 0; i < len; i++)
        text[i] = (char)(i % 251);
    ferry_params_open(&w, mem, ferry_params_room(size), 65535);
    ferry_params_add(&w, ferry_slice(text, len), ferry_slice(text, len));
    n = ferry_params_close(&w, 0);
    assert_true(n > 0);
    got = walk(mem, (size_t)n, 65535, false);
    assert_int_equal(got.params_len, size);
    assert_int_equal(ferry_param_decode(got.params, size, SIZE_MAX, &out), size);
    assert_memory_equal(out.name.p, text, len);
    assert_memory_equal(out.value.p, text, len);
    free(got.params);
    free(text);
    free(mem);
}

static void the_first_error_stays(void **state)
{
    struct ferry_params_writer w;
    struct ferry_slice huge[2] = {{"", FERRY_PARAM_LEN_MAX}, {"", 1}};
    char mem[64];

    (void)state;
    ferry_params_open(&w, mem, sizeof mem, 1);
    ferry_params_add_pieces(&w, FERRY_SLICE("A"), huge, 2);
    ferry_params_begin_request(&w, 1, 0);
    ferry_params_add(&w, FERRY_SLICE("B"), FERRY_SLICE("b"));
    assert_int_equal(ferry_params_close(&w, 1), FERRY_ELIMIT);

    ferry_params_open(&w, mem, sizeof mem, 1);
    ferry_params_add(&w, ferry_slice("", (size_t)FERRY_PARAM_LEN_MAX + 1), FERRY_SLICE(""));
    assert_int_equal(ferry_params_close(&w, 0), FERRY_ELIMIT);

    ferry_params_open(&w, mem, sizeof mem, 1);
    ferry_params_begin_request(&w, 1, 0);
    ferry_params_begin_request(&w, 1, 0);
    assert_int_equal(ferry_params_close(&w, 1), FERRY_EUSAGE);

    ferry_params_open(&w, mem, 0, 1);
    assert_int_equal(ferry_params_close(&w, 0), FERRY_ELIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_are_read_in_every_form),
        cmocka_unit_test(lengths_of_every_class_come_back),
        cmocka_unit_test(claims_past_the_limit_are_refused),
        cmocka_unit_test(lengths_the_format_cannot_hold_are_not_encoded),
        cmocka_unit_test(a_request_head_in_bytes),
        cmocka_unit_test(pairs_straddle_records_only_when_larger_than_one),
        cmocka_unit_test(a_pair_of_exactly_one_record_is_one_record),
        cmocka_unit_test(a_pair_of_many_records),
        cmocka_unit_test(the_first_error_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
