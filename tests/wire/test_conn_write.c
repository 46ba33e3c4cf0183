/* SPDX-License-Identifier: MIT */
/* What the connection writes: sizes, order, ends; and that it does so without allocating. */
#include "fcgi/conn_private.h"
#include "records.h"

#define MIB (1u << 20)

static struct ferry_blocks blocks;

static struct ferry_conn *open_conn(enum ferry_conn_side side)
{
    struct ferry_conn_opts o = {
        .side = side, .blocks = &blocks, .requests_max = 3, .roles = 1 << 1 | 1 << 3};
    struct ferry_conn *c;

    ferry_blocks_init(&blocks, 64, 64);
    c = ferry_conn_new(&o);
    assert_non_null(c);
    return c;
}

static void close_conn(struct ferry_conn *c)
{
    ferry_conn_free(c);
    ferry_blocks_fini(&blocks);
}

static void give(struct ferry_conn *c, const char *script)
{
    struct feed f = {.c = c};
    char *bytes = test_malloc(TEXT_MAX);

    text_init(&f.events);
    feed_piece(&f, bytes, records(script, bytes));
    assert_int_equal(f.err, 0);
    text_free(&f.events);
    test_free(bytes);
}

static void assert_output(struct ferry_conn *c, const char *want)
{
    char *out = test_malloc(TEXT_MAX);
    struct text got;

    text_init(&got);
    text_records(&got, out, take_output(c, out, TEXT_MAX));
    assert_string_equal(got.p, want);
    text_free(&got);
    test_free(out);
}

/* The content of all records in the output, which is taken, compared with `want`. */
static void assert_content(struct ferry_conn *c, uint8_t type, const char *want, size_t len)
{
    struct ferry_chain *chain = ferry_conn_output(c);
    char *bytes = malloc(chain->len);
    size_t n = 0, at = 0, got = 0;
    struct iovec iov[1];

    while (chain->len) {
        assert_int_equal(ferry_chain_iov(chain, iov, 1), 1);
        memcpy(bytes + n, iov[0].iov_base, iov[0].iov_len);
        n += iov[0].iov_len;
        ferry_conn_sent(c, iov[0].iov_len, 0);
    }
    while (at < n) {
        struct ferry_record r;

        assert_int_equal(ferry_record_decode(bytes + at, n - at, &r), 8);
        assert_int_equal(r.type, type);
        assert_int_equal(r.id, 1);
        assert_in_range(r.content_len, 1, 65535); /* an empty one would end the stream */
        assert_int_equal((r.content_len + r.padding_len) % 8, 0);
        assert_true(r.content_len <= len - got);
        assert_memory_equal(bytes + at + 8, want + got, r.content_len);
        got += r.content_len;
        at += 8u + r.content_len + r.padding_len;
    }
    assert_int_equal(at, n);
    assert_int_equal(got, len);
    free(bytes);
}

/* A-OUT-5 */
static void content_of_any_size_is_cut_into_records(void **state)
{
    static const size_t sizes[] = {1,     7,     8,      1016,   1023,   1024,   1025,    4080,
                                   4096,  32768, 65527,  65528,  65529,  65535,  65536,   65537,
                                   70000, 98304, 131056, 131057, 131070, 196584, MIB - 1, MIB};
    struct ferry_conn *c = open_conn(FERRY_CONN_APP);
    struct ferry_block *b = ferry_block_get(&blocks, MIB);

    (void)state;
    for (size_t i = 0; i < MIB; i++)
        b->data[i] = (char)(i * 31 >> 4);
    give(c, "BEGIN_REQUEST 1 x0001010000000000; PARAMS 1");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct ferry_slice bytes = {b->data + MIB - sizes[i], sizes[i]};

        assert_int_equal(ferry_conn_write(c, 1, FERRY_STDOUT, NULL, bytes), 0);
        assert_int_equal(b->refs, 1);
        assert_content(c, FERRY_STDOUT, bytes.p, bytes.len);

        assert_int_equal(ferry_conn_write(c, 1, FERRY_STDERR, b, bytes), 0);
        assert_int_equal(b->refs > 1, sizes[i] > FERRY__COPY_MAX);
        assert_content(c, FERRY_STDERR, bytes.p, bytes.len);
        assert_int_equal(b->refs, 1);
    }
    ferry_block_unref(b);
    close_conn(c);
}

/* A-OUT-5: nothing written is nothing sent. */
static void empty_bytes_end_no_stream(void **state)
{
    struct ferry_conn *c = open_conn(FERRY_CONN_APP);

    (void)state;
    give(c, "BEGIN_REQUEST 1 x0001010000000000; PARAMS 1");
    assert_int_equal(ferry_conn_write(c, 1, FERRY_STDOUT, NULL, FERRY_SLICE("")), 0);
    assert_int_equal(ferry_conn_write(c, 1, FERRY_STDERR, NULL, FERRY_SLICE("")), 0);
    assert_int_equal(ferry_conn_output(c)->len, 0);
    assert_int_equal(ferry_conn_end(c, 1, 0, FERRY_REQUEST_COMPLETE), 0);
    assert_output(c, "STDOUT 1; END_REQUEST 1 x0000000000000000; ");
    close_conn(c);
}

/* A-OUT-2, A-OUT-3, A-OUT-4, A-END-1, A-END-3 */
static void streams_end_before_the_request(void **state)
{
    struct ferry_conn *c = open_conn(FERRY_CONN_APP);

    (void)state;
    give(c, "BEGIN_REQUEST 1 x0001010000000000; PARAMS 1");
    assert_int_equal(ferry_conn_write(c, 1, FERRY_STDOUT, NULL, FERRY_SLICE("a")), 0);
    assert_int_equal(ferry_conn_write(c, 1, FERRY_STDERR, NULL, FERRY_SLICE("e")), 0);
    assert_int_equal(ferry_conn_write(c, 1, FERRY_STDOUT, NULL, FERRY_SLICE("b")), 0);
    assert_int_equal(ferry_conn_end(c, 1, 938, FERRY_REQUEST_COMPLETE), 0);
    assert_output(c, "STDOUT 1 'a'; STDERR 1 'e'; STDOUT 1 'b'; STDERR 1; STDOUT 1; "
                     "END_REQUEST 1 x000003aa00000000; ");

    give(c, "BEGIN_REQUEST 2 x0001010000000000; PARAMS 2");
    assert_int_equal(ferry_conn_write(c, 2, FERRY_STDERR, NULL, FERRY_SLICE("e")), 0);
    assert_int_equal(ferry_conn_write_end(c, 2, FERRY_STDERR), 0);
    assert_int_equal(ferry_conn_write_end(c, 2, FERRY_STDOUT), 0);
    assert_int_equal(ferry_conn_write_end(c, 2, FERRY_STDOUT), 0);
    /* A-OUT-7 */
    assert_int_equal(ferry_conn_write(c, 2, FERRY_STDOUT, NULL, FERRY_SLICE("a")), FERRY_EUSAGE);
    assert_int_equal(ferry_conn_write(c, 2, FERRY_STDERR, NULL, FERRY_SLICE("a")), FERRY_EUSAGE);
    assert_int_equal(ferry_conn_end(c, 2, 0xffffffff, FERRY_REQUEST_COMPLETE), 0);
    assert_int_equal(ferry_conn_write(c, 2, FERRY_STDOUT, NULL, FERRY_SLICE("a")), FERRY_EUSAGE);
    assert_int_equal(ferry_conn_write_end(c, 2, FERRY_STDOUT), FERRY_EUSAGE);
    assert_output(c, "STDERR 2 'e'; STDERR 2; STDOUT 2; END_REQUEST 2 xffffffff00000000; ");
    close_conn(c);
}

/* A-END-4 */
static void refusals_carry_no_stream(void **state)
{
    struct ferry_conn *c = open_conn(FERRY_CONN_APP);

    (void)state;
    give(c, "BEGIN_REQUEST 1 x0001010000000000; PARAMS 1");
    assert_int_equal(ferry_conn_end(c, 1, 5, FERRY_OVERLOADED), 0);
    assert_output(c, "END_REQUEST 1 x0000000502000000; ");
    close_conn(c);
}

/* A-OUT-1, A-FIL-3 */
static void nothing_is_written_too_early(void **state)
{
    struct ferry_conn *c = open_conn(FERRY_CONN_APP);

    (void)state;
    give(c, "BEGIN_REQUEST 1 x0001010000000000; BEGIN_REQUEST 3 x0003010000000000");
    assert_int_equal(ferry_conn_write(c, 1, FERRY_STDOUT, NULL, FERRY_SLICE("a")), FERRY_EUSAGE);
    assert_int_equal(ferry_conn_write(c, 1, FERRY_STDERR, NULL, FERRY_SLICE("a")), FERRY_EUSAGE);
    assert_int_equal(ferry_conn_write_end(c, 1, FERRY_STDOUT), FERRY_EUSAGE);
    give(c, "PARAMS 1; PARAMS 3");
    assert_int_equal(ferry_conn_write(c, 1, FERRY_STDOUT, NULL, FERRY_SLICE("a")), 0);
    assert_int_equal(ferry_conn_write(c, 3, FERRY_STDOUT, NULL, FERRY_SLICE("a")), FERRY_EUSAGE);
    give(c, "STDIN 3");
    assert_int_equal(ferry_conn_write(c, 3, FERRY_STDOUT, NULL, FERRY_SLICE("a")), 0);
    assert_output(c, "STDOUT 1 'a'; STDOUT 3 'a'; ");
    close_conn(c);
}

/* W-5: one stream after the other; DATA for filters only. */
static void a_client_sends_its_streams_in_order(void **state)
{
    struct ferry_conn *c = open_conn(FERRY_CONN_CLIENT);
    struct ferry_slice a = FERRY_SLICE("a");

    (void)state;
    assert_int_equal(ferry_conn_begin(c, FERRY_FILTER, true, NULL), 1);
    assert_int_equal(ferry_conn_begin(c, FERRY_RESPONDER, true, NULL), 2);
    assert_int_equal(ferry_conn_write(c, 1, FERRY_STDIN, NULL, a), FERRY_EUSAGE);
    assert_int_equal(ferry_conn_write_end(c, 1, FERRY_STDIN), FERRY_EUSAGE);
    assert_int_equal(ferry_conn_write(c, 1, FERRY_PARAMS, NULL, a), 0);
    assert_int_equal(ferry_conn_write_end(c, 1, FERRY_PARAMS), 0);
    assert_int_equal(ferry_conn_write_end(c, 1, FERRY_PARAMS), 0);
    assert_int_equal(ferry_conn_write(c, 1, FERRY_PARAMS, NULL, a), FERRY_EUSAGE);
    assert_int_equal(ferry_conn_write(c, 1, FERRY_DATA, NULL, a), FERRY_EUSAGE);
    assert_int_equal(ferry_conn_write(c, 1, FERRY_STDIN, NULL, a), 0);
    assert_int_equal(ferry_conn_write_end(c, 1, FERRY_STDIN), 0);
    assert_int_equal(ferry_conn_write(c, 1, FERRY_DATA, NULL, a), 0);
    assert_int_equal(ferry_conn_write_end(c, 1, FERRY_DATA), 0);
    assert_int_equal(ferry_conn_write(c, 1, FERRY_DATA, NULL, a), FERRY_EUSAGE);
    assert_int_equal(ferry_conn_write_end(c, 2, FERRY_PARAMS), 0);
    assert_int_equal(ferry_conn_write_end(c, 2, FERRY_STDIN), 0);
    assert_int_equal(ferry_conn_write(c, 2, FERRY_DATA, NULL, a), FERRY_EUSAGE);
    assert_int_equal(ferry_conn_write_end(c, 2, FERRY_DATA), FERRY_EUSAGE);
    assert_output(c, "BEGIN_REQUEST 1 x0003010000000000; BEGIN_REQUEST 2 x0001010000000000; "
                     "PARAMS 1 'a'; PARAMS 1; STDIN 1 'a'; STDIN 1; DATA 1 'a'; DATA 1; "
                     "PARAMS 2; STDIN 2; ");
    close_conn(c);
}

/* W-14 */
static void nothing_is_written_to_an_aborted_request(void **state)
{
    struct ferry_conn *c = open_conn(FERRY_CONN_CLIENT);

    (void)state;
    assert_int_equal(ferry_conn_begin(c, FERRY_RESPONDER, true, NULL), 1);
    assert_int_equal(ferry_conn_write_end(c, 1, FERRY_PARAMS), 0);
    assert_int_equal(ferry_conn_abort(c, 1), 0);
    assert_int_equal(ferry_conn_write(c, 1, FERRY_STDIN, NULL, FERRY_SLICE("a")), FERRY_EUSAGE);
    assert_int_equal(ferry_conn_write_end(c, 1, FERRY_STDIN), FERRY_EUSAGE);
    assert_int_equal(ferry_conn_write_end(c, 1, FERRY_PARAMS), 0);
    assert_output(c, "BEGIN_REQUEST 1 x0001010000000000; PARAMS 1; ABORT_REQUEST 1; ");
    close_conn(c);
}

/* "END_REQUEST in the same write as the last data": one piece of memory, for several requests. */
static void small_responses_are_one_piece(void **state)
{
    struct ferry_conn *c = open_conn(FERRY_CONN_APP);
    struct ferry_block *b = ferry_block_get(&blocks, 4096);
    struct iovec iov[8];

    (void)state;
    memset(b->data, 'x', 4096);
    for (int i = 0; i < 3; i++) {
        give(c, "BEGIN_REQUEST 1 x0001010000000000; PARAMS 1; STDIN 1");
        assert_int_equal(ferry_conn_write(c, 1, FERRY_STDOUT, b, ferry_slice(b->data, 500)), 0);
        assert_int_equal(ferry_conn_write(c, 1, FERRY_STDOUT, b, ferry_slice(b->data, 500)), 0);
        assert_int_equal(ferry_conn_end(c, 1, 0, FERRY_REQUEST_COMPLETE), 0);
    }
    assert_int_equal(ferry_chain_iov(ferry_conn_output(c), iov, 8), 1);
    ferry_block_unref(b);
    close_conn(c);
}

/* Three large records: header, content and padding, but no block of memory for each header. */
static void large_content_is_sent_from_where_it_lies(void **state)
{
    struct ferry_conn *c = open_conn(FERRY_CONN_APP);
    struct ferry_block *b = ferry_block_get(&blocks, 65536);
    struct iovec iov[16];
    int n;

    (void)state;
    memset(b->data, 'x', 65536);
    give(c, "BEGIN_REQUEST 1 x0001010000000000; PARAMS 1; STDIN 1");
    for (int i = 0; i < 3; i++)
        assert_int_equal(ferry_conn_write(c, 1, FERRY_STDOUT, b, ferry_slice(b->data, 10001)), 0);
    assert_int_equal(ferry_conn_end(c, 1, 0, FERRY_REQUEST_COMPLETE), 0);
    n = ferry_chain_iov(ferry_conn_output(c), iov, 16);
    assert_int_equal(n, 7);
    for (int i = 1; i < n; i += 2) {
        assert_ptr_equal(iov[i].iov_base, b->data);
        assert_int_equal(iov[i].iov_len, 10001);
    }
    assert_int_equal(b->refs, 4);
    ferry_block_unref(b);
    assert_output(c, "STDOUT 1 #10001; STDOUT 1 #10001; STDOUT 1 #10001; STDOUT 1; "
                     "END_REQUEST 1 x0000000000000000; ");
    close_conn(c);
}

static void nothing_is_allocated_per_record_or_request(void **state)
{
    struct ferry_conn *c = open_conn(FERRY_CONN_APP);
    char *bytes = test_malloc(TEXT_MAX), *out = test_malloc(TEXT_MAX);
    size_t n = records("BEGIN_REQUEST 1 x0001010000000000; PARAMS 1 'abc'; PARAMS 1; "
                       "BEGIN_REQUEST 2 x0001010000000000; PARAMS 2 'abc'; PARAMS 2; "
                       "STDIN 1 'def'; STDIN 1; STDIN 2",
                       bytes);
    struct ferry_block *b = ferry_block_get(&blocks, 65536);
    unsigned long before = 0;

    (void)state;
    for (int i = 0; i < 100; i++) {
        struct ferry_conn_event ev;

        if (i == 1)
            before = alloc_count();
        for (size_t at = 0; at < n;) {
            ssize_t took = ferry_conn_recv(c, bytes + at, n - at < 5 ? n - at : 5, 0);

            assert_true(took >= 0);
            at += (size_t)took;
            while (ferry_conn_event(c, &ev) == 1) {
                if (ev.type != FERRY_CONN_STDIN_END)
                    continue;
                assert_int_equal(ferry_conn_write(c, ev.id, FERRY_STDOUT, b,
                                                  ferry_slice(b->data, ev.id == 1 ? 100 : 65536)),
                                 0);
                assert_int_equal(ferry_conn_end(c, ev.id, 0, FERRY_REQUEST_COMPLETE), 0);
            }
        }
        take_output(c, out, 1000);
    }
    /* the ring of segments may grow past the few it begins with, once a turn */
    assert_true(alloc_count() - before <= 2 * 99);
    ferry_block_unref(b);
    test_free(bytes);
    test_free(out);
    close_conn(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(content_of_any_size_is_cut_into_records),
        cmocka_unit_test(empty_bytes_end_no_stream),
        cmocka_unit_test(streams_end_before_the_request),
        cmocka_unit_test(refusals_carry_no_stream),
        cmocka_unit_test(nothing_is_written_too_early),
        cmocka_unit_test(a_client_sends_its_streams_in_order),
        cmocka_unit_test(nothing_is_written_to_an_aborted_request),
        cmocka_unit_test(small_responses_are_one_piece),
        cmocka_unit_test(large_content_is_sent_from_where_it_lies),
        cmocka_unit_test(nothing_is_allocated_per_record_or_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
