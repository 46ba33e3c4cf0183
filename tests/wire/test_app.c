/* SPDX-License-Identifier: MIT */
/* Requests as the handler sees them, and their answers as the web server gets them; on every back
 * end of the loop. */
#include "app_client.h"

static void params_and_what_a_request_knows_of_itself(void **state)
{
    static const char *const params[] = {"DO",  "params", "TWICE", "first", "TWICE",
                                         "2nd", "EMPTY",  "",      NULL};
    struct server s = start(AF_UNIX, NULL);
    struct client *c = dial(&s);
    char long_name[200];
    const char *with_long[] = {"DO", "params", long_name, "x", NULL};

    (void)state;
    send_begin(c, 300, FERRY_KEEP_CONN, params);
    send_end(c, 300);
    expect(c, 300,
           TEXT "n=4 last=EMPTY twice=first missing=(none) id=300 role=1 kept=1 now=1 peer=unix:");
    memset(long_name, 'L', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    send_begin(c, 1, FERRY_KEEP_CONN, with_long);
    send_end(c, 1);
    assert_non_null(strstr(reply(c, 1)->out, long_name));
    hang_up(c);
    stop(&s);
}

static void headers_log_and_app_status(void **state)
{
    struct server s = start(AF_UNIX, NULL);
    struct client *c = dial(&s);
    struct reply *r;

    (void)state;
    ask(c, 1, FERRY_KEEP_CONN, "headers");
    r = reply(c, 1);
    assert_string_equal(r->out, "Status: 404 Not Found\r\nX-One: 1\r\ncontent-type: text/html\r\n"
                                "X-Two: 2\r\n\r\nbody");
    assert_string_equal(r->err, "good=1\n");
    assert_int_equal(r->end.app_status, 938);
    assert_true(r->out_ended);
    ask(c, 2, FERRY_KEEP_CONN, "nothing");
    expect(c, 2, "");
    hang_up(c);
    stop(&s);
}

static void bodies_by_push_and_by_pull(void **state)
{
    static const char *const deeds_of[] = {"body", "sip"};
    struct server s = start(AF_UNIX, NULL);
    struct client *c = dial(&s);
    struct sum sum = {0};
    char want[100];

    (void)state;
    add_up(&sum, pattern, sizeof pattern);
    snprintf(want, sizeof want, TEXT "%zu bytes, hash %08x", sum.len, sum.hash);
    for (int i = 0; i < 2; i++) {
        send_deed(c, 1, FERRY_KEEP_CONN, deeds_of[i]);
        send_stdin(c, 1, pattern, sizeof pattern);
        send_end(c, 1);
        expect(c, 1, want);
        ask(c, 1, FERRY_KEEP_CONN, deeds_of[i]);
        expect(c, 1, TEXT "0 bytes, hash 00000000");
    }
    hang_up(c);
    stop(&s);
}

static void a_byte_in_is_a_byte_out(void **state)
{
    struct server s = start(AF_UNIX, NULL);
    struct client *c = dial(&s);

    (void)state;
    send_deed(c, 1, FERRY_KEEP_CONN, "repeat");
    for (size_t i = 1; i <= 5; i++) {
        send_record(c, FERRY_STDIN, 1, "x", 1);
        while (c->replies[1].len < strlen(TEXT) + i)
            assert_true(receive(c));
    }
    send_end(c, 1);
    expect(c, 1, TEXT "xxxxx");
    hang_up(c);
    stop(&s);
}

static void a_handler_that_does_not_read_slows_the_sender_down(void **state)
{
    static char record[FERRY_RECORD_HEADER_LEN + 60000];
    struct ferry_record rec = {.type = FERRY_STDIN, .id = 1, .content_len = 60000};
    struct server s = start(AF_UNIX, NULL);
    struct client *c = dial(&s);
    size_t sent = 0, rest;

    (void)state;
    ferry_record_encode(&rec, record);
    send_deed(c, 1, FERRY_KEEP_CONN, "sip");
    /* It starts to read after 300 ms; until then only so much goes away. */
    for (;;) {
        struct pollfd at = {.fd = c->fd, .events = POLLOUT};
        ssize_t n;

        if (poll(&at, 1, 100) == 0)
            break;
        rest = sizeof record - sent % sizeof record;
        n = send(c->fd, record + sent % sizeof record, rest, MSG_DONTWAIT | MSG_NOSIGNAL);
        assert_true(n > 0 || errno == EAGAIN);
        sent += n > 0 ? (size_t)n : 0;
        assert_true(sent < (4 << 20));
    }
    assert_true(sent >= 256 << 10);
    rest = sizeof record - sent % sizeof record;
    send_all(c, record + sent % sizeof record, rest);
    send_end(c, 1);
    assert_int_equal(strtoul(reply(c, 1)->out + strlen(TEXT), NULL, 10),
                     (sent + rest) / sizeof record * 60000);
    hang_up(c);
    stop(&s);
}

static void an_abort_is_an_event_and_answered_once(void **state)
{
    static const char *const deeds_of[] = {"abort", "abort-by-body"};
    struct server s = start(AF_UNIX, NULL);
    struct client *c = dial(&s);

    (void)state;
    for (int i = 0; i < 2; i++) {
        ask(c, 2, FERRY_KEEP_CONN, "hold");
        send_deed(c, 1, FERRY_KEEP_CONN, deeds_of[i]);
        usleep(20000); /* the handler knows it by then */
        send_record(c, FERRY_ABORT_REQUEST, 1, "", 0);
        assert_int_equal(reply(c, 1)->end.app_status, 7);
        assert_int_equal(reply(c, 1)->end.protocol_status, FERRY_REQUEST_COMPLETE);
        forget(c, 1);
        /* Aborted again, and late input: of an id that is not active. */
        send_record(c, FERRY_ABORT_REQUEST, 1, "", 0);
        send_record(c, FERRY_STDIN, 1, "late", 4);
        send_end(c, 1);
        expect_hello(c, 1);
        ask(c, 3, FERRY_KEEP_CONN, "release");
        expect(c, 2, TEXT "late");
        expect(c, 3, "");
    }
    /* While its params still come the handler does not know it yet. */
    send_record(c, FERRY_BEGIN_REQUEST, 1, "\0\1\1\0\0\0\0", 8);
    send_record(c, FERRY_PARAMS, 1, "\1\1AB", 4);
    send_record(c, FERRY_ABORT_REQUEST, 1, "", 0);
    assert_int_equal(reply(c, 1)->end.app_status, 0);
    forget(c, 1);
    expect_hello(c, 1);
    assert_int_equal(stat_of(c, "aborts="), 2);
    hang_up(c);
    stop(&s);
}

static void a_kept_connection_carries_many_requests_and_allocates_nothing(void **state)
{
    static const uint16_t ids[] = {1, 1, 2, 255, 256, 32768, 65535};
    struct server s = start(AF_UNIX, NULL);
    struct client *c = dial(&s);
    unsigned long before;

    (void)state;
    for (int i = 0; i < 100; i++)
        expect_hello(c, ids[i % 7]);
    stat_of(c, "allocs=");
    before = stat_of(c, "allocs=");
    for (int i = 0; i < 100; i++)
        expect_hello(c, 1);
    assert_int_equal(stat_of(c, "allocs="), before);
    hang_up(c);
    stop(&s);
}

static void fifty_requests_at_once_on_one_connection(void **state)
{
    struct server s = start(AF_UNIX, NULL);
    struct client *c = dial(&s);

    (void)state;
    for (uint16_t id = 1; id <= 50; id++)
        ask(c, id, FERRY_KEEP_CONN, id % 2 ? "hold" : "late");
    for (uint16_t id = 2; id <= 50; id += 2)
        expect(c, id, TEXT "late");
    ask(c, 60, FERRY_KEEP_CONN, "params");
    assert_non_null(strstr(reply(c, 60)->out, "now=26"));
    ask(c, 51, FERRY_KEEP_CONN, "release");
    for (uint16_t id = 1; id <= 49; id += 2)
        expect(c, id, TEXT "late");
    expect(c, 51, "");
    hang_up(c);
    stop(&s);
}

static void large_answers_arrive_whole(void **state)
{
    static const char *const deeds_of[] = {"big", "ref"};
    struct server s = start(AF_UNIX, NULL);
    struct client *c = dial(&s);

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct reply *r;

        ask(c, 1, FERRY_KEEP_CONN, deeds_of[i]);
        r = reply(c, 1);
        assert_int_equal(r->len, sizeof pattern);
        assert_memory_equal(r->out, pattern, sizeof pattern);
        assert_true(r->out_ended);
        forget(c, 1);
    }
    assert_int_equal(stat_of(c, "releases="), 2);
    hang_up(c);
    stop(&s);
}

static void a_slow_reader_slows_the_handler_down(void **state)
{
    struct server s = start(AF_UNIX, NULL);
    struct client *c = dial(&s), *d = dial(&s);
    struct reply *r;

    (void)state;
    ask(c, 1, FERRY_KEEP_CONN, "pour");
    usleep(50000);
    expect_hello(d, 1); /* others do not notice */
    ask(c, 2, FERRY_KEEP_CONN, "pour");
    ask(c, 3, FERRY_KEEP_CONN, "hello"); /* answered long before the two are done */
    expect(c, 3, TEXT "hello you");
    assert_true(c->replies[1].len < 4 << 20);
    for (uint16_t id = 1; id <= 2; id++) {
        r = reply(c, id);
        assert_int_equal(r->len, 32 << 20);
        for (size_t at = 0; at < r->len; at += sizeof pattern)
            assert_memory_equal(r->out + at, pattern, sizeof pattern);
    }
    hang_up(c);
    /* A handler that does not heed it is bounded too. */
    ask(d, 1, FERRY_KEEP_CONN, "overflow");
    r = reply(d, 1);
    assert_int_equal(r->end.app_status, 1);
    assert_true(r->len <= 8 << 20);
    hang_up(d);
    stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(params_and_what_a_request_knows_of_itself),
        cmocka_unit_test(headers_log_and_app_status),
        cmocka_unit_test(bodies_by_push_and_by_pull),
        cmocka_unit_test(a_byte_in_is_a_byte_out),
        cmocka_unit_test(a_handler_that_does_not_read_slows_the_sender_down),
        cmocka_unit_test(an_abort_is_an_event_and_answered_once),
        cmocka_unit_test(a_kept_connection_carries_many_requests_and_allocates_nothing),
        cmocka_unit_test(fifty_requests_at_once_on_one_connection),
        cmocka_unit_test(large_answers_arrive_whole),
        cmocka_unit_test(a_slow_reader_slows_the_handler_down),
    };

    return on_every_backend(tests, sizeof tests / sizeof *tests);
}
