/* SPDX-License-Identifier: MIT */
/* The client's end (the specification's web server) under torture, and its ids. */
#include "fcgi/conn_private.h"
#include "ferry/params.h"
#include "scenarios.h"

#define BEGUN(id, flags) "BEGIN_REQUEST " id " x0001" flags "0000000000; "
#define BEGUN_KEEP(id) "BEGIN_REQUEST " id " x0001010000000000; "
#define END(id) "END_REQUEST " id " x0000000000000000; "
#define ENDED(id) "END " id " app=0 protocol=0; "

/* Where memory runs out these fail, and the scenario goes on without. */
static void begin_1(struct ferry_conn *c)
{
    int id = ferry_conn_begin(c, FERRY_RESPONDER, true, NULL);
    (void)id;
}

static void begin_2(struct ferry_conn *c)
{
    begin_1(c);
    begin_1(c);
}

static void begin_3(struct ferry_conn *c)
{
    begin_2(c);
    begin_1(c);
}

static void begin_last(struct ferry_conn *c)
{
    int id = ferry_conn_begin(c, FERRY_RESPONDER, false, NULL);
    (void)id;
}

static void begin_and_abort(struct ferry_conn *c)
{
    begin_1(c);
    ferry_conn_abort(c, 1);
}

static void begin_2_and_abort_1(struct ferry_conn *c)
{
    begin_2(c);
    ferry_conn_abort(c, 1);
}

static void ask(struct ferry_conn *c)
{
    ferry_conn_get_values(c);
}

static void begin_again(struct ferry_conn *c, const struct ferry_conn_event *ev)
{
    if (ev->type == FERRY_CONN_END)
        begin_1(c);
}

static void abort_at_stdout(struct ferry_conn *c, const struct ferry_conn_event *ev)
{
    if (ev->type == FERRY_CONN_STDOUT)
        ferry_conn_abort(c, ev->id);
}

#define BEGUN_1 BEGUN_KEEP("1")
#define BEGUN_2 BEGUN_KEEP("1") BEGUN_KEEP("2")
#define ABORTED_1 "ABORT_REQUEST 1; "
#define NOT_ACTIVE "a record for a request that is not active"

static const struct scenario scenarios[] = {
    {"W-9, W-10: a response", "STDOUT 1 'Status: 200' +5; STDOUT 1 'x'; STDOUT 1; " END("1"),
     "STDOUT 1 'Status: 200x'; STDOUT_END 1; " ENDED("1"), BEGUN_1, .before = begin_1},
    {"W-9: records of all sizes and paddings, STDERR in between",
     "STDOUT 1 'a' +255; STDERR 1 'e' +1; STDOUT 1 'b'; STDERR 1 'f' +9; STDERR 1; "
     "STDOUT 1 +255; END_REQUEST 1 x0000000000000000 +255",
     "STDOUT 1 'a'; STDERR 1 'e'; STDOUT 1 'b'; STDERR 1 'f'; STDOUT_END 1; " ENDED("1"), BEGUN_1,
     .before = begin_1},
    {"W-10, A-END-2: all 32 bits of the application status",
     "STDOUT 1; END_REQUEST 1 xffffffff00aabbcc", "STDOUT_END 1; END 1 app=4294967295 protocol=0; ",
     BEGUN_1, .before = begin_1},
    {"W-11: no empty STDOUT in front of the end", "STDOUT 1 'a'; " END("1"),
     "STDOUT 1 'a'; " ENDED("1"), BEGUN_1, .before = begin_1},
    {"W-12: refusals",
     "END_REQUEST 1 x0000000001000000; END_REQUEST 2 x0000000002000000; "
     "END_REQUEST 3 x0000000003000000",
     "END 1 app=0 protocol=1; END 2 app=0 protocol=2; END 3 app=0 protocol=3; ",
     BEGUN_2 BEGUN_KEEP("3"), .requests_max = 3, .before = begin_3},
    {"W-13: kept, the id again", "STDOUT 1 'a'; STDOUT 1; " END("1") "STDOUT 1 'b'; " END("1"),
     "STDOUT 1 'a'; STDOUT_END 1; " ENDED("1") "STDOUT 1 'b'; " ENDED("1"), BEGUN_1 BEGUN_1 BEGUN_1,
     .before = begin_1, .react = begin_again},
    {"W-13: without KEEP_CONN it is finished at the end", "STDOUT 1 'a'; STDOUT 1; " END("1"),
     "STDOUT 1 'a'; STDOUT_END 1; " ENDED("1"), BEGUN("1", "00"), .finished = true,
     .before = begin_last},
    {"W-14: aborted: output is discarded, the end is told",
     "STDOUT 1 'a'; STDERR 1 'b'; STDOUT 1; " END("1"), ENDED("1"), BEGUN_1 ABORTED_1,
     .before = begin_and_abort},
    {"W-14: aborted at the first byte of output: nothing of it any more",
     "STDOUT 1 'a'; STDOUT 1 'b'; STDERR 1 'c'; STDOUT 1; " END("1"), "STDOUT 1 'a'; " ENDED("1"),
     BEGUN_1 ABORTED_1, .before = begin_1, .react = abort_at_stdout},
    {"interleaved",
     "STDOUT 2 'b'; STDOUT 1 'a'; STDOUT 2; STDERR 1 'e'; " END("2") "STDOUT 1; " END("1"),
     "STDOUT 2 'b'; STDOUT 1 'a'; STDOUT_END 2; STDERR 1 'e'; " ENDED("2") "STDOUT_END 1; " ENDED(
         "1"),
     BEGUN_2, .requests_max = 2, .before = begin_2},

    {"W-16: an answer in full",
     "GET_VALUES_RESULT 0 x0e02464347495f4d41585f434f4e4e5331300d01464347495f4d41585f52455153350f01"
     "464347495f4d5058535f434f4e4e5331 +3",
     "VALUES conns=10 reqs=5 mpxs=1; ",
     "GET_VALUES 0 '\\0e\\00FCGI_MAX_CONNS\\0d\\00FCGI_MAX_REQS\\0f\\00FCGI_MPXS_CONNS'; ",
     .before = ask},
    {"W-16: an empty answer; a second is ignored (W-18)",
     "GET_VALUES_RESULT 0; GET_VALUES_RESULT 0 'abc'; GET_VALUES_RESULT 0 #700 +1",
     "VALUES conns=-1 reqs=-1 mpxs=-1; ",
     "GET_VALUES 0 '\\0e\\00FCGI_MAX_CONNS\\0d\\00FCGI_MAX_REQS\\0f\\00FCGI_MPXS_CONNS'; ",
     .before = ask},
    {"W-17: the application does not know GET_VALUES", "UNKNOWN_TYPE 0 x0900000000000000",
     "UNKNOWN_TYPE type=9; ",
     "GET_VALUES 0 '\\0e\\00FCGI_MAX_CONNS\\0d\\00FCGI_MAX_REQS\\0f\\00FCGI_MPXS_CONNS'; ",
     .before = ask},
    {"W-18: management records nobody asked for",
     "GET_VALUES_RESULT 0 'abc' +2; UNKNOWN_TYPE 0 x6300000000000000; " END("1"), ENDED("1"),
     BEGUN_1, .before = begin_1},

    {"3.16: version 2", "STDOUT 1 'a'; v2 STDOUT 1 'b'", "STDOUT 1 'a'; ", BEGUN_1,
     "a record of another version than 1", .before = begin_1},
    {"3.16: version 0", "v0 STDOUT 1 'b'", "", BEGUN_1, "a record of another version than 1",
     .before = begin_1},
    {"3.16: text instead of records", "v72 84 21584 #80", "", BEGUN_1,
     "a record of another version than 1", .before = begin_1},
    {"3.16: another id", "STDOUT 2 'b'", "", BEGUN_1, NOT_ACTIVE, .before = begin_1},
    {"3.16: an id never used, multiplexing", "STDOUT 3 'b'", "", BEGUN_2, NOT_ACTIVE,
     .requests_max = 9, .before = begin_2},
    {"3.15: data after END_REQUEST", "STDOUT 1; " END("1") "STDOUT 1 'b'",
     "STDOUT_END 1; " ENDED("1"), BEGUN_1, NOT_ACTIVE, .before = begin_1},
    {"3.15: data after END_REQUEST, multiplexing", END("1") "STDOUT 2 'a'; STDOUT 1 'b'",
     ENDED("1") "STDOUT 2 'a'; ", BEGUN_2, NOT_ACTIVE, .requests_max = 2, .before = begin_2},
    {"3.15: a second END_REQUEST", END("1") END("1"), ENDED("1"), BEGUN_1, NOT_ACTIVE,
     .before = begin_1},
    {"3.16: late records of an aborted id, multiplexing",
     END("1") "STDOUT 1 'late'; STDERR 1 'r'; " END("1") "STDOUT 2 'b'; " END("2"),
     ENDED("1") "STDOUT 2 'b'; " ENDED("2"), BEGUN_2 ABORTED_1, .requests_max = 2,
     .before = begin_2_and_abort_1},
    {"3.16: late records of an aborted id, not multiplexing", END("1") "STDOUT 1 'late'",
     ENDED("1"), BEGUN_1 ABORTED_1, NOT_ACTIVE, .before = begin_and_abort},
    {"3.16: unknown types are skipped", "12 1 'a'; 255 9 #300 +3; STDOUT 1 'b'; " END("1"),
     "STDOUT 1 'b'; " ENDED("1"), BEGUN_1, .before = begin_1},
    {"3.16: STDOUT after its end", "STDOUT 1; STDOUT 1 'b'", "STDOUT_END 1; ", BEGUN_1,
     "STDOUT after its end", .before = begin_1},
    {"3.16: STDOUT after its end, aborted", "STDOUT 1; STDOUT 1 'b'", "", BEGUN_1 ABORTED_1,
     "STDOUT after its end", .before = begin_and_abort},
    {"3.16: STDOUT ended again, STDERR empty", "STDOUT 1; STDOUT 1; STDERR 1; STDERR 1; " END("1"),
     "STDOUT_END 1; " ENDED("1"), BEGUN_1, .before = begin_1},
    {"W-18: an unknown type with id 0", "12 0", "", BEGUN_1,
     "an unexpected record with request id 0", .before = begin_1},
    {"W-18: GET_VALUES from an application", "GET_VALUES 0", "", BEGUN_1,
     "an unexpected record with request id 0", .before = begin_1},
    {"W-18: STDOUT with id 0", "STDOUT 0 'a'", "", BEGUN_1,
     "an unexpected record with request id 0", .before = begin_1},
    {"W-18: END_REQUEST with id 0", END("0"), "", BEGUN_1, "an unexpected record with request id 0",
     .before = begin_1},
    {"a management record with a request id", "GET_VALUES_RESULT 1", "", BEGUN_1,
     "a management record with a request id", .before = begin_1},
    {"a record of web servers: STDIN", "STDIN 1 'a'", "", BEGUN_1,
     "a record that only web servers send", .before = begin_1},
    {"a record of web servers: BEGIN_REQUEST", BEGUN_KEEP("1"), "", BEGUN_1,
     "a record that only web servers send", .before = begin_1},
    {"a short END_REQUEST", "END_REQUEST 1 x00000000", "", BEGUN_1, "a short END_REQUEST",
     .before = begin_1},
    {"a long END_REQUEST", "END_REQUEST 1 x00000001000000000000 +6; STDOUT 1 'a'",
     "END 1 app=1 protocol=0; STDOUT 1 'a'; ", BEGUN_1 BEGUN_1, .before = begin_1,
     .react = begin_again},
    {"a short UNKNOWN_TYPE", "UNKNOWN_TYPE 0 x09", "", BEGUN_1, "a short UNKNOWN_TYPE",
     .before = begin_1},
};

static void scenarios_under_torture(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
        scenario_torture(&scenarios[i], FERRY_CONN_CLIENT);
}

/* -- what is not about bytes -- */

static struct ferry_blocks blocks;

static struct ferry_conn *open_client(uint16_t requests_max, uint32_t idle_max)
{
    struct ferry_conn_opts o = {.side = FERRY_CONN_CLIENT,
                                .blocks = &blocks,
                                .requests_max = requests_max,
                                .idle_records_max = idle_max};
    struct ferry_conn *c;

    ferry_blocks_init(&blocks, 4, 4);
    c = ferry_conn_new(&o);
    assert_non_null(c);
    return c;
}

static void close_client(struct ferry_conn *c)
{
    ferry_conn_free(c);
    ferry_blocks_fini(&blocks);
}

/* Gives the records of a script; what came of it last. */
static int give(struct ferry_conn *c, const char *script)
{
    struct feed f = {.c = c};
    char *bytes = test_malloc(TEXT_MAX);

    text_init(&f.events);
    feed_piece(&f, bytes, records(script, bytes));
    text_free(&f.events);
    test_free(bytes);
    return f.err;
}

static int begin(struct ferry_conn *c)
{
    return ferry_conn_begin(c, FERRY_RESPONDER, true, NULL);
}

/* W-3, W-15: the lowest free id, free after END_REQUEST. */
static void ids_are_small_and_reused_after_the_end(void **state)
{
    struct ferry_conn *c = open_client(3, 0);

    (void)state;
    assert_int_equal(begin(c), 1);
    assert_int_equal(begin(c), 2);
    assert_int_equal(begin(c), 3);
    assert_int_equal(begin(c), FERRY_ELIMIT);
    assert_int_equal(ferry_conn_active(c), 3);
    assert_int_equal(give(c, "STDOUT 2; " END("2")), 0);
    assert_int_equal(ferry_conn_active(c), 2);
    assert_int_equal(begin(c), 2);
    assert_int_equal(give(c, END("3") END("1")), 0);
    assert_int_equal(begin(c), 1);
    assert_int_equal(begin(c), 3);
    close_client(c);
}

static void one_at_a_time_is_always_id_1(void **state)
{
    struct ferry_conn *c = open_client(0, 0);

    (void)state;
    for (int i = 0; i < 200; i++) {
        assert_int_equal(begin(c), 1);
        assert_int_equal(begin(c), FERRY_ELIMIT);
        if (i % 3 == 0)
            assert_int_equal(ferry_conn_abort(c, 1), 0);
        assert_int_equal(begin(c), FERRY_ELIMIT);
        assert_int_equal(give(c, END("1")), 0);
    }
    close_client(c);
}

/* W-15: the id of an aborted request rests while others are free, then comes back. */
static void ids_of_aborted_requests_rest(void **state)
{
    struct ferry_conn *c = open_client(2, 0);
    char script[64];

    (void)state;
    assert_int_equal(begin(c), 1);
    for (int id = 2; id <= 2 + FERRY__IDS_SPARE; id++) {
        assert_int_equal(begin(c), id);
        assert_int_equal(ferry_conn_abort(c, (uint16_t)id), 0);
        assert_int_equal(ferry_conn_abort(c, (uint16_t)id), 0);
        assert_int_equal(begin(c), FERRY_ELIMIT);
        snprintf(script, sizeof script, "END_REQUEST %d x0000000000000000", id);
        assert_int_equal(give(c, script), 0);
        assert_int_equal(ferry_conn_active(c), 1);
    }
    assert_int_equal(begin(c), 2);
    assert_int_equal(give(c, "STDOUT 2 'a'; STDOUT 1 'b'; " END("1") END("2")), 0);
    close_client(c);
}

static void every_id_can_be_active_at_once(void **state)
{
    struct ferry_conn *c = open_client(65535, 0);

    (void)state;
    for (int id = 1; id <= 65535; id++)
        assert_int_equal(begin(c), id);
    assert_int_equal(begin(c), FERRY_ELIMIT);
    assert_int_equal(give(c, "STDOUT 65535 'a'; " END("65535")), 0);
    assert_int_equal(ferry_conn_abort(c, 40000), 0);
    assert_int_equal(give(c, END("40000")), 0);
    assert_int_equal(begin(c), 65535);
    assert_int_equal(begin(c), 40000);
    close_client(c);
}

static void the_user_pointer_comes_with_events(void **state)
{
    struct ferry_conn *c = open_client(2, 0);
    static const char bytes[] = "\1\6\0\2\0\3\0\0abc\1\3\0\2\0\10\0\0\0\0\0\0\0\0\0\0";
    struct ferry_conn_event ev;
    int mine, other;

    (void)state;
    assert_int_equal(ferry_conn_begin(c, FERRY_RESPONDER, true, &mine), 1);
    assert_int_equal(ferry_conn_begin(c, FERRY_RESPONDER, true, &mine), 2);
    assert_int_equal(ferry_conn_recv(c, bytes, 9, 0), 9);
    assert_int_equal(ferry_conn_recv(c, bytes + 9, 18, 0), 0); /* an event waits */
    assert_int_equal(ferry_conn_event(c, &ev), 1);
    assert_ptr_equal(ev.user, &mine);
    assert_ptr_equal(ev.data.p, bytes + 8);
    ferry_conn_set_user(c, 2, &other);
    ferry_conn_set_user(c, 3, &other);
    assert_int_equal(ferry_conn_recv(c, bytes + 9, 18, 0), 2);
    assert_int_equal(ferry_conn_event(c, &ev), 1);
    assert_ptr_equal(ev.user, &other);
    assert_int_equal(ferry_conn_recv(c, bytes + 11, 16, 0), 16);
    assert_int_equal(ferry_conn_event(c, &ev), 1);
    assert_int_equal(ev.type, FERRY_CONN_END);
    assert_ptr_equal(ev.user, &other);
    assert_int_equal(ferry_conn_event(c, &ev), 0);
    close_client(c);
}

static void nothing_begins_after_the_last_or_the_close(void **state)
{
    struct ferry_conn *c = open_client(5, 0);

    (void)state;
    assert_int_equal(begin(c), 1);
    assert_int_equal(ferry_conn_begin(c, FERRY_RESPONDER, false, NULL), 2);
    assert_int_equal(begin(c), FERRY_ECLOSED);
    assert_int_equal(give(c, END("2")), 0);
    assert_false(ferry_conn_finished(c));
    assert_int_equal(give(c, END("1")), 0);
    assert_true(ferry_conn_finished(c));
    close_client(c);

    c = open_client(5, 0);
    assert_int_equal(begin(c), 1);
    assert_int_equal(ferry_conn_recv(c, NULL, 0, 0), 0);
    assert_int_equal(begin(c), FERRY_ECLOSED);
    assert_int_equal(ferry_conn_get_values(c), FERRY_ECLOSED);
    close_client(c);

    c = open_client(5, 0);
    assert_int_equal(give(c, "v9 STDOUT 1"), FERRY_EPROTOCOL);
    assert_int_equal(begin(c), FERRY_EPROTOCOL);
    assert_int_equal(ferry_conn_abort(c, 1), FERRY_EPROTOCOL);
    close_client(c);
}

/* 3.16: endless records that bring nothing end at the limit, one before they do not. */
static void records_without_progress_are_counted(void **state)
{
    static const char *const scripts[] = {
        "STDERR 1", "12 1 'abc'",          "200 7",
        "STDOUT 1", "GET_VALUES_RESULT 0", "UNKNOWN_TYPE 0 x0100000000000000"};

    (void)state;
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        struct ferry_conn *c = open_client(1, 10);

        assert_int_equal(begin(c), 1);
        assert_int_equal(give(c, "STDOUT 1"), 0);
        for (int n = 0; n < 10; n++)
            assert_int_equal(give(c, scripts[i]), 0);
        assert_int_equal(give(c, "STDERR 1 'progress'"), 0);
        for (int n = 0; n < 10; n++)
            assert_int_equal(give(c, scripts[i]), 0);
        assert_int_equal(give(c, scripts[i]), FERRY_ELIMIT);
        assert_true(ferry_conn_finished(c));
        close_client(c);
    }
}

/* -- images -- */

static struct ferry_block *image_of(struct ferry_params_writer *w, ssize_t *n, int stdin_too)
{
    struct ferry_block *b = ferry_block_get(&blocks, 4096);

    assert_non_null(b);
    ferry_params_open(w, b->data, b->cap, 99);
    ferry_params_begin_request(w, FERRY_RESPONDER, 0);
    ferry_params_add(w, ferry_slice("A", 1), ferry_slice("b", 1));
    *n = ferry_params_close(w, stdin_too);
    assert_true(*n > 0);
    return b;
}

static void an_image_is_sent_as_it_is_with_id_and_flag(void **state)
{
    struct ferry_conn *c = open_client(3, 0);
    char *out = test_malloc(TEXT_MAX);
    struct ferry_params_writer w;
    struct ferry_block *b;
    struct iovec iov[4];
    struct text got;
    ssize_t n;

    (void)state;
    assert_int_equal(begin(c), 1);
    take_output(c, out, TEXT_MAX);
    b = image_of(&w, &n, 1);
    assert_int_equal(ferry_conn_begin_image(c, b, ferry_slice(b->data, (size_t)n), true, NULL), 2);
    assert_int_equal(ferry_chain_iov(ferry_conn_output(c), iov, 4), 1);
    assert_ptr_equal(iov[0].iov_base, b->data);
    assert_int_equal(b->refs, 2);
    ferry_block_unref(b);
    text_init(&got);
    text_records(&got, out, take_output(c, out, 5));
    assert_string_equal(got.p, BEGUN_KEEP("2") "PARAMS 2 '\\01\\01Ab'; PARAMS 2; STDIN 2; ");
    text_free(&got);
    /* both streams have ended */
    assert_int_equal(ferry_conn_write(c, 2, FERRY_STDIN, NULL, FERRY_SLICE("x")), FERRY_EUSAGE);
    assert_int_equal(ferry_conn_write_end(c, 2, FERRY_STDIN), 0);
    assert_int_equal(ferry_conn_write(c, 2, FERRY_PARAMS, NULL, FERRY_SLICE("x")), FERRY_EUSAGE);

    b = image_of(&w, &n, 0);
    assert_int_equal(ferry_conn_begin_image(c, b, ferry_slice(b->data, (size_t)n), false, NULL), 3);
    ferry_block_unref(b);
    assert_int_equal(ferry_conn_write(c, 3, FERRY_STDIN, NULL, FERRY_SLICE("x")), 0);
    assert_int_equal(ferry_conn_write_end(c, 3, FERRY_STDIN), 0);
    text_init(&got);
    text_records(&got, out, take_output(c, out, 5));
    assert_string_equal(got.p, BEGUN("3", "00") "PARAMS 3 '\\01\\01Ab'; PARAMS 3; "
                                                "STDIN 3 'x'; STDIN 3; ");
    text_free(&got);
    test_free(out);
    close_client(c);
}

static void what_is_no_image_is_refused(void **state)
{
    static const char *const scripts[] = {
        "",
        "PARAMS 1; PARAMS 1",
        "BEGIN_REQUEST 1 x0001000000000000",
        "BEGIN_REQUEST 1 x0001000000000000; PARAMS 1 'a'",
        "BEGIN_REQUEST 1 x00010000000000; PARAMS 1",
        "BEGIN_REQUEST 1 x0001000000000000; PARAMS 1; PARAMS 1",
        "BEGIN_REQUEST 1 x0001000000000000; PARAMS 1; STDIN 1 'a'",
        "BEGIN_REQUEST 1 x0001000000000000; PARAMS 1; STDIN 1; STDIN 1",
        "BEGIN_REQUEST 1 x0001000000000000; STDIN 1",
        "BEGIN_REQUEST 1 x0001000000000000; v2 PARAMS 1",
    };
    struct ferry_conn *c = open_client(3, 0);
    struct ferry_block *b = ferry_block_get(&blocks, TEXT_MAX);
    struct ferry_params_writer w;
    ssize_t whole;

    (void)state;
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        size_t n = records(scripts[i], b->data);
        assert_int_equal(ferry_conn_begin_image(c, b, ferry_slice(b->data, n), true, NULL),
                         FERRY_EUSAGE);
    }
    ferry_block_unref(b);
    b = image_of(&w, &whole, 0);
    for (size_t n = 0; n < (size_t)whole; n++)
        assert_int_equal(ferry_conn_begin_image(c, b, ferry_slice(b->data, n), true, NULL),
                         FERRY_EUSAGE);
    assert_int_equal(ferry_conn_active(c), 0);
    assert_int_equal(ferry_conn_output(c)->len, 0);
    ferry_block_unref(b);
    close_client(c);
}

static void what_belongs_to_the_other_end_is_refused(void **state)
{
    struct ferry_conn *c = open_client(1, 0);

    (void)state;
    assert_int_equal(begin(c), 1);
    assert_int_equal(ferry_conn_end(c, 1, 0, FERRY_REQUEST_COMPLETE), FERRY_EUSAGE);
    assert_int_equal(ferry_conn_write(c, 1, FERRY_STDOUT, NULL, FERRY_SLICE("a")), FERRY_EUSAGE);
    assert_int_equal(ferry_conn_write_end(c, 1, FERRY_STDERR), FERRY_EUSAGE);
    assert_int_equal(ferry_conn_write(c, 2, FERRY_PARAMS, NULL, FERRY_SLICE("a")), FERRY_EUSAGE);
    assert_int_equal(ferry_conn_write(c, 1, FERRY_GET_VALUES, NULL, FERRY_SLICE("a")),
                     FERRY_EUSAGE);
    assert_int_equal(ferry_conn_abort(c, 2), FERRY_EUSAGE);
    close_client(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scenarios_under_torture),
        cmocka_unit_test(ids_are_small_and_reused_after_the_end),
        cmocka_unit_test(one_at_a_time_is_always_id_1),
        cmocka_unit_test(ids_of_aborted_requests_rest),
        cmocka_unit_test(every_id_can_be_active_at_once),
        cmocka_unit_test(the_user_pointer_comes_with_events),
        cmocka_unit_test(nothing_begins_after_the_last_or_the_close),
        cmocka_unit_test(records_without_progress_are_counted),
        cmocka_unit_test(an_image_is_sent_as_it_is_with_id_and_flag),
        cmocka_unit_test(what_is_no_image_is_refused),
        cmocka_unit_test(what_belongs_to_the_other_end_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
