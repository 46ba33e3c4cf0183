/* SPDX-License-Identifier: MIT */
#include "http_peer.h"

#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST(n) "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " n "\r\n\r\n"

static uint64_t deadline(struct peer *c)
{
    uint64_t at = ferry_http_deadline(c->m);

    return at == FERRY_NEVER ? at : at - 1000;
}

static void an_idle_connection_is_closed_without_a_word(void **state)
{
    struct peer *c = peer_open(NULL);

    (void)state;
    assert_int_equal(deadline(c), 60000);
    passes(c, 10000);
    client_sends(c, GET);
    assert_int_equal(deadline(c), 70000);
    passes(c, 69999);
    client_sends(c, "\r\n"); /* an empty line is no request */
    assert_false(ferry_http_finished(c->m));
    passes(c, 70000);
    assert_true(ferry_http_finished(c->m));
    assert_log(c, "head GET / 0\nend\n");
    assert_out(c, OK);
    peer_close(c);
}

static void a_slow_head_is_given_up(void **state)
{
    struct peer *c = peer_open(NULL);

    (void)state;
    passes(c, 50000);
    client_sends(c, "G");
    for (int i = 1; i < 30; i++) {
        passes(c, 50000 + i * 1000);
        client_sends(c, "E");
    }
    assert_int_equal(deadline(c), 80000);
    passes(c, 79999);
    assert_log(c, "");
    passes(c, 80000);
    assert_log(c, "bad 408\n");
    assert_memory_equal(c->out, "HTTP/1.1 408 Request Timeout\r\n", 30);
    assert_true(lingers(c));
    peer_close(c);
}

static void a_slow_body_is_given_up(void **state)
{
    static const struct ferry_http_opts opts = {.body_grace_ms = 10000, .body_rate_min = 100};
    static char bytes[2000];
    struct peer *c = peer_open(&opts);

    (void)state;
    c->unwanted = true;
    memset(bytes, 'x', sizeof bytes);
    client_sends(c, POST("100000"));
    /* The owner's own delay is not the client's. */
    assert_int_equal(deadline(c), FERRY_NEVER);
    c->now = 1000 + 5000;
    ferry_http_body_start(c->m, c->now);
    assert_int_equal(deadline(c), 15000);
    /* 50 bytes earn half a second. */
    client_sends_n(c, bytes, 50);
    assert_int_equal(deadline(c), 15500);
    /* Time while stopped does not count. */
    ferry_http_body_pause(c->m, true, c->now);
    assert_int_equal(deadline(c), FERRY_NEVER);
    passes(c, 100000);
    ferry_http_body_pause(c->m, false, c->now);
    assert_int_equal(deadline(c), 110500);
    /* However much was earned, nobody rests for more than twice the grace. */
    client_sends_n(c, bytes, 2000);
    assert_int_equal(deadline(c), 120000);
    passes(c, 119999);
    client_sends_n(c, bytes, 1);
    assert_int_equal(deadline(c), 130510);
    passes(c, 130509);
    assert_int_equal(c->bads, 0);
    passes(c, 130510);
    assert_non_null(strstr(c->log, "bad 408\n"));
    assert_memory_equal(c->out, "HTTP/1.1 408 Request Timeout\r\n", 30);
    assert_true(lingers(c));
    peer_close(c);
}

static void a_body_in_time_has_all_the_time(void **state)
{
    struct peer *c = peer_open(NULL);

    (void)state;
    client_sends(c, POST("600"));
    for (int i = 1; i <= 600; i++) {
        passes(c, i * 50);
        client_sends(c, "x");
    }
    assert_int_equal(c->bads, 0);
    assert_out(c, OK);
    peer_close(c);
}

static void no_deadline_runs_while_the_owner_works(void **state)
{
    struct peer *c = peer_open(NULL);

    (void)state;
    c->deaf = true;
    client_sends(c, GET);
    assert_int_equal(deadline(c), FERRY_NEVER);
    passes(c, 1000000);
    assert_int_equal(respond(c, 200, -1), 0);
    client_reads(c);
    assert_int_equal(deadline(c), FERRY_NEVER);
    passes(c, 2000000);
    assert_int_equal(ferry_http_finish(c->m), 0);
    client_reads(c);
    assert_int_equal(deadline(c), 2060000);
    peer_close(c);
}

/* The owner finishes at a time that nobody told the machine. */
static void a_wait_counts_from_the_time_that_is_known_next(void **state)
{
    struct peer *c = peer_open(NULL);

    (void)state;
    c->deaf = true;
    client_sends(c, GET);
    assert_int_equal(respond(c, 200, 0), 0);
    client_reads(c);
    assert_int_equal(ferry_http_finish(c->m), 0);
    c->now = 1000 + 500000;
    assert_true(deadline(c) <= 500000);
    ferry_http_tick(c->m, c->now);
    assert_false(ferry_http_finished(c->m));
    assert_int_equal(deadline(c), 560000);
    peer_close(c);
}

static void a_slow_reader_is_given_up(void **state)
{
    struct peer *c = peer_open(NULL);

    (void)state;
    c->unread = c->deaf = true;
    client_sends(c, GET);
    assert_int_equal(respond(c, 200, 100000), 0);
    passes(c, 0);
    assert_int_equal(deadline(c), 60000);
    passes(c, 50000);
    ferry_http_sent(c->m, 1, c->now);
    passes(c, 55000);
    ferry_http_sent(c->m, 1, c->now);
    assert_int_equal(deadline(c), 115000);
    assert_int_equal(ferry_http_write(c->m, NULL, FERRY_SLICE("more")), 0);
    passes(c, 114999);
    assert_int_equal(deadline(c), 115000);
    passes(c, 115000);
    assert_log(c, "head GET / 0\nend\ngone\n");
    assert_true(ferry_http_finished(c->m));
    assert_int_equal(ferry_http_output(c->m)->len, 0);
    assert_null(ferry_chain_file_first(ferry_http_output(c->m)));
    assert_int_equal(deadline(c), FERRY_NEVER);
    /* A send that was under way may still report. */
    ferry_http_sent(c->m, 10, c->now);
    assert_int_equal(ferry_http_write(c->m, NULL, FERRY_SLICE("x")), FERRY_ECLOSED);
    peer_close(c);
}

/* The patience with a reader begins anew with each wait. */
static void a_reader_is_not_blamed_for_the_time_when_nothing_waited(void **state)
{
    struct peer *c = peer_open(NULL);

    (void)state;
    client_sends(c, GET);
    passes(c, 50000);
    c->unread = c->deaf = true;
    client_sends(c, GET);
    assert_int_equal(respond(c, 200, 100), 0);
    assert_int_equal(deadline(c), 110000);
    passes(c, 109999);
    assert_int_equal(deadline(c), 110000);
    peer_close(c);
}

static void the_pace_of_one_body_earns_nothing_for_the_next(void **state)
{
    static char bytes[10000];
    struct peer *c = peer_open(NULL);

    (void)state;
    memset(bytes, 'x', sizeof bytes);
    client_sends(c, POST("10000"));
    client_sends_n(c, bytes, sizeof bytes);
    client_sends(c, POST("10000"));
    assert_int_equal(deadline(c), 30000);
    peer_close(c);
}

/* Also when nothing of the connection is under way but its last bytes. */
static void a_finished_connection_that_nobody_reads_is_given_up(void **state)
{
    struct peer *c = peer_open(NULL);

    (void)state;
    c->unread = true;
    client_sends(c, "GET / HTTP/1.0\r\n\r\n");
    assert_true(ferry_http_finished(c->m));
    assert_true(ferry_http_output(c->m)->len > 0);
    passes(c, 60000); /* the wait began in a call without the time */
    passes(c, 120000);
    assert_int_equal(ferry_http_output(c->m)->len, 0);
    assert_log(c, "head GET / 0\nend\ngone\n");
    peer_close(c);
}

static void lingering_ends_by_itself(void **state)
{
    struct peer *c = peer_open(NULL);

    (void)state;
    c->unread = true;
    client_sends(c, "BAD\r\n\r\n");
    assert_log(c, "bad 400\n");
    assert_true(lingers(c));
    assert_int_equal(client_sends(c, "more"), 4);
    passes(c, 10000);
    c->unread = false;
    client_reads(c);
    assert_int_equal(deadline(c), 12000);
    assert_int_equal(client_sends(c, "more"), 4);
    passes(c, 11999);
    assert_int_equal(client_sends(c, "more"), 4);
    assert_false(ferry_http_finished(c->m));
    passes(c, 12000);
    assert_true(ferry_http_finished(c->m));
    assert_false(lingers(c));
    peer_close(c);
}

static void the_rest_of_a_body_is_not_waited_for_long(void **state)
{
    struct peer *c = peer_open(NULL);

    (void)state;
    c->unwanted = true;
    client_sends(c, POST("100") "x");
    answer(c, 200, "ok");
    client_reads(c);
    assert_out(c, OK);
    assert_int_equal(deadline(c), 2000);
    passes(c, 1999);
    assert_int_equal(client_sends(c, "x"), 1);
    passes(c, 2000);
    assert_true(ferry_http_finished(c->m));
    peer_close(c);
}

static void a_client_that_sends_no_more_is_waited_for_a_little(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct peer *c = peer_open(NULL);

        c->deaf = true;
        client_sends(c, GET);
        passes(c, 5000);
        assert_true(deadline(c) == FERRY_NEVER);
        client_closes(c);
        assert_int_equal(deadline(c), 7000);
        passes(c, 6999);
        assert_false(ferry_http_finished(c->m));
        if (i == 0) {
            answer(c, 200, "ok");
            client_reads(c);
            assert_out(c, OK_CLOSE);
        } else {
            passes(c, 7000);
            assert_log(c, "head GET / 0\nend\ngone\n");
        }
        assert_true(ferry_http_finished(c->m));
        peer_close(c);
    }
}

/* Once it has begun, what is sent tells whether anybody is there. */
static void a_response_that_has_begun_may_take_its_time(void **state)
{
    struct peer *c = peer_open(NULL);

    (void)state;
    c->deaf = true;
    client_sends(c, GET);
    assert_int_equal(respond(c, 200, 100), 0);
    client_reads(c);
    client_closes(c);
    passes(c, 100000);
    assert_false(ferry_http_finished(c->m));
    peer_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_connection_is_closed_without_a_word),
        cmocka_unit_test(a_slow_head_is_given_up),
        cmocka_unit_test(a_slow_body_is_given_up),
        cmocka_unit_test(a_body_in_time_has_all_the_time),
        cmocka_unit_test(no_deadline_runs_while_the_owner_works),
        cmocka_unit_test(a_wait_counts_from_the_time_that_is_known_next),
        cmocka_unit_test(a_slow_reader_is_given_up),
        cmocka_unit_test(a_reader_is_not_blamed_for_the_time_when_nothing_waited),
        cmocka_unit_test(the_pace_of_one_body_earns_nothing_for_the_next),
        cmocka_unit_test(a_finished_connection_that_nobody_reads_is_given_up),
        cmocka_unit_test(lingering_ends_by_itself),
        cmocka_unit_test(the_rest_of_a_body_is_not_waited_for_long),
        cmocka_unit_test(a_client_that_sends_no_more_is_waited_for_a_little),
        cmocka_unit_test(a_response_that_has_begun_may_take_its_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
