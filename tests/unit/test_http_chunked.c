/* SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "http/http_internal.h"

#include "support.h"

#define BODY_MAX 1000
#define TRAILER_MAX 40

struct outcome {
    char body[8192];
    size_t len;   /* of the body */
    size_t taken; /* of the input */
    int state;
    int status;
};

/* Decodes p, given as two pieces, each ending at a guard page. */
static void decode(const char *p, size_t n, size_t cut, struct outcome *out)
{
    const size_t ends[2] = {cut, n};
    struct ferry__chunked c;
    size_t at = 0;

    out->len = 0;
    ferry__chunked_init(&c, BODY_MAX, TRAILER_MAX);
    for (int piece = 0; piece < 2; piece++) {
        char *from = guard_copy(0, p + at, ends[piece] - at);

        while (at < ends[piece] && c.state < FERRY__CHUNK_DONE) {
            struct ferry_slice data;
            size_t took = ferry__chunked_recv(&c, from, ends[piece] - at, &data);

            assert_true(took > 0);
            if (data.len) {
                assert_true(data.p >= from && data.p + data.len == from + took);
                memcpy(out->body + out->len, data.p, data.len);
                out->len += data.len;
            } else if (c.state < FERRY__CHUNK_DONE) {
                assert_int_equal(took, ends[piece] - at);
            }
            from += took;
            at += took;
        }
        if (c.state >= FERRY__CHUNK_DONE)
            break;
    }
    out->taken = at;
    out->state = c.state;
    out->status = c.status;
}

static void bodies_are_decoded_wherever_they_are_cut(void **state)
{
    static const struct {
        const char *coded, *body, *behind;
    } cases[] = {
        {"0\r\n\r\n", "", ""},
        {"5\r\nhello\r\n0\r\n\r\n", "hello", "GET"},
        {"1\r\na\r\n00A\r\n0123456789\r\n0000000000000000\r\n\r\n", "a0123456789", "\r\n"},
        {"9;x=1;y=\"2\t;\"\r\n\r\n0\r\n\r\n12\r\n0;last\r\n\r\n", "\r\n0\r\n\r\n12", ""},
        {"3 \t ;x\r\nabc\r\n0\r\n\r\n", "abc", ""},
        {"0000000000000003\r\nabc\r\n0\r\nX-Trailer: \t1\r\nY:\r\n\r\n", "abc", "x"},
    };
    struct outcome out;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char input[200];
        size_t n = strlen(cases[i].coded);
        size_t all = (size_t)snprintf(input, sizeof input, "%s%s", cases[i].coded, cases[i].behind);

        for (size_t cut = 0; cut <= all; cut++) {
            decode(input, all, cut, &out);
            if (out.state != FERRY__CHUNK_DONE)
                fail_msg("state %d, cut at %zu: %s", out.state, cut, input);
            assert_int_equal(out.taken, n);
            assert_int_equal(out.len, strlen(cases[i].body));
            assert_memory_equal(out.body, cases[i].body, out.len);
        }
        for (size_t prefix = 0; prefix < n; prefix++) {
            decode(input, prefix, 0, &out);
            assert_true(out.state < FERRY__CHUNK_DONE);
        }
    }
}

static void bad_bodies_are_refused_wherever_they_are_cut(void **state)
{
    static const struct {
        const char *coded;
        int status;
        size_t len; /* 0: strlen */
    } cases[] = {
        {"\r\n", 400, 0},
        {"g\r\n", 400, 0},
        {"-1\r\n", 400, 0},
        {"+1\r\n", 400, 0},
        {" 1\r\n", 400, 0},
        {"0x1\r\n", 400, 0},
        {"1_0\r\n", 400, 0},
        {";x\r\n", 400, 0},
        {"1 \r\na\r\n", 400, 0},
        {"1 x\r\n", 400, 0},
        {"1\n", 400, 0},
        {"1\ra", 400, 0},
        {"1;x\n", 400, 0},
        {"1;\x01\r\n", 400, 0},
        {"1;\0\r\n", 400, 5},
        {"1 \n", 400, 0},
        {"1 ;x\ry", 400, 0},
        {"1\r\nab", 400, 0},
        {"1\r\na\n", 400, 0},
        {"1\r\na\rb", 400, 0},
        {"1\r\na\r\n\r\n", 400, 0},
        {"00000000000000001\r\n", 400, 0},
        {"10000000000000005\r\n", 400, 0},
        {"ffffffffffffffff\r\n", 413, 0},
        {"fffffffffffffff\r\n", 413, 0},
        {"3e9\r\n", 413, 0},
        {"1\r\na\r\n3e8\r\n", 413, 0},
        {"0\n", 400, 0},
        {"0\r\n\n", 400, 0},
        {"0\r\n\rx", 400, 0},
        {"0\r\nX\r\n", 400, 0},
        {"0\r\nX y: z\r\n", 400, 0},
        {"0\r\nX : z\r\n", 400, 0},
        {"0\r\n: z\r\n", 400, 0},
        {"0\r\n X: z\r\n", 400, 0},
        {"0\r\nX: z\r\n y\r\n", 400, 0},
        {"0\r\nX: z\ny", 400, 0},
        {"0\r\nX: z\ry", 400, 0},
        {"0\r\nX: \x7f", 400, 0},
        {"0\r\nX-Trailer: 0123456789012345678901234567\r\n", 431, 0},
    };
    struct outcome out;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = cases[i].len ? cases[i].len : strlen(cases[i].coded);

        for (size_t cut = 0; cut <= n; cut++) {
            decode(cases[i].coded, n, cut, &out);
            if (out.state != FERRY__CHUNK_BAD || out.status != cases[i].status)
                fail_msg("state %d status %d: %s", out.state, out.status, cases[i].coded);
        }
    }
}

static void a_body_may_be_as_long_as_the_limit(void **state)
{
    static char input[BODY_MAX + 64];
    int n = snprintf(input, sizeof input, "%x\r\n%0*d\r\n0\r\n\r\n", BODY_MAX, BODY_MAX, 0);
    struct outcome out;

    (void)state;
    decode(input, (size_t)n, 0, &out);
    assert_int_equal(out.state, FERRY__CHUNK_DONE);
    assert_int_equal(out.len, BODY_MAX);
}

static void a_trailer_section_may_be_as_long_as_the_limit(void **state)
{
    char input[100];
    struct outcome out;

    (void)state;
    for (int len = TRAILER_MAX; len <= TRAILER_MAX + 1; len++) {
        int n = snprintf(input, sizeof input, "0\r\nX:%0*d\r\n\r\n", len - 6, 0);

        decode(input, (size_t)n, 0, &out);
        assert_int_equal(out.state, len > TRAILER_MAX ? FERRY__CHUNK_BAD : FERRY__CHUNK_DONE);
        assert_int_equal(out.status, len > TRAILER_MAX ? 431 : 0);
    }
}

static void extensions_are_bounded(void **state)
{
    static char input[16384];
    struct outcome out;
    int n;

    (void)state;
    for (int len = 256; len <= 257; len++) {
        n = snprintf(input, sizeof input, "0;%0*d\r\n\r\n", len - 1, 0);
        decode(input, (size_t)n, 0, &out);
        assert_int_equal(out.state, len > 256 ? FERRY__CHUNK_BAD : FERRY__CHUNK_DONE);
    }
    for (int total = 4096; total <= 4097; total++) {
        n = 0;
        for (int left = total; left; left -= left < 200 ? left : 200)
            n += snprintf(input + n, sizeof input - n, "1;%.*s\r\na\r\n",
                          (left < 200 ? left : 200) - 1,
                          "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"
                          "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"
                          "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee");
        n += snprintf(input + n, sizeof input - n, "0\r\n\r\n");
        decode(input, (size_t)n, 0, &out);
        assert_int_equal(out.state, total > 4096 ? FERRY__CHUNK_BAD : FERRY__CHUNK_DONE);
        assert_int_equal(out.status, total > 4096 ? 400 : 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_are_decoded_wherever_they_are_cut),
        cmocka_unit_test(bad_bodies_are_refused_wherever_they_are_cut),
        cmocka_unit_test(a_body_may_be_as_long_as_the_limit),
        cmocka_unit_test(a_trailer_section_may_be_as_long_as_the_limit),
        cmocka_unit_test(extensions_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
