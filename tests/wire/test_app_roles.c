/* SPDX-License-Identifier: MIT */
/* The three roles as the application library plays them, and the streams a filter has; on every
 * back end of the loop. */
#include "app_client.h"

static struct server start_all_roles(void)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;

    opts.roles = 1 << FERRY_RESPONDER | 1 << FERRY_AUTHORIZER | 1 << FERRY_FILTER;
    return start(AF_UNIX, &opts);
}

static void send_deed_as(struct client *c, enum ferry_role role, uint16_t id, const char *deed)
{
    const char *params[] = {"DO", deed, "NAME", "you", NULL};

    send_begin_as(c, role, id, FERRY_KEEP_CONN, params);
}

static void a_filter_has_both_streams(void **state)
{
    static const char *const deeds_of[] = {"filter", "sip-data"};
    struct server s = start_all_roles();
    struct client *c = dial(&s);
    struct sum sum = {0};
    char want[100];

    (void)state;
    for (int i = 0; i < 2; i++) {
        sum = (struct sum){0};
        if (i == 0)
            add_up(&sum, "body", 4);
        add_up(&sum, pattern, sizeof pattern);
        snprintf(want, sizeof want, TEXT "%zu bytes, hash %08x", sum.len, sum.hash);
        send_deed_as(c, FERRY_FILTER, 1, deeds_of[i]);
        send_stdin(c, 1, "body", 4);
        send_end(c, 1);
        send_data(c, 1, pattern, sizeof pattern);
        send_data_end(c, 1);
        expect(c, 1, want);
    }
    /* Neither stream has anything. */
    send_deed_as(c, FERRY_FILTER, 1, "filter");
    send_end(c, 1);
    send_data_end(c, 1);
    expect(c, 1, TEXT "0 bytes, hash 00000000");
    /* Much of both. */
    sum = (struct sum){0};
    add_up(&sum, pattern, sizeof pattern);
    add_up(&sum, pattern, sizeof pattern);
    snprintf(want, sizeof want, TEXT "%zu bytes, hash %08x", sum.len, sum.hash);
    send_deed_as(c, FERRY_FILTER, 1, "filter");
    send_stdin(c, 1, pattern, sizeof pattern);
    send_end(c, 1);
    send_data(c, 1, pattern, sizeof pattern);
    send_data_end(c, 1);
    expect(c, 1, want);
    /* Aborted in the middle of the data. */
    send_deed_as(c, FERRY_FILTER, 1, "filter");
    send_end(c, 1);
    send_data(c, 1, "some", 4);
    send_record(c, FERRY_ABORT_REQUEST, 1, "", 0);
    assert_int_equal(reply(c, 1)->end.protocol_status, FERRY_REQUEST_COMPLETE);
    forget(c, 1);
    hang_up(c);
    stop(&s);
}

static void expect_at_once(struct client *c, uint16_t id)
{
    struct reply *r = reply(c, id);

    assert_int_equal(r->end.app_status, 5);
    assert_int_equal(r->len, strlen(TEXT) + 100000);
    assert_memory_equal(r->out + strlen(TEXT), pattern, 100000);
    assert_string_equal(r->err, "early\nbird\n");
    assert_true(r->out_ended);
    forget(c, id);
}

/* The handler hears of both at once, and begins to wait for the data when nothing will come. */
static void an_abort_behind_the_end_of_the_body_is_told(void **state)
{
    static const char both[] = {1, FERRY_STDIN,         0, 1, 0, 0, 0, 0,
                                1, FERRY_ABORT_REQUEST, 0, 1, 0, 0, 0, 0};
    struct server s = start_all_roles();
    struct client *c = dial(&s);

    (void)state;
    send_deed_as(c, FERRY_FILTER, 1, "filter");
    expect_silence(c);
    send_all(c, both, sizeof both);
    assert_int_equal(reply(c, 1)->end.protocol_status, FERRY_REQUEST_COMPLETE);
    hang_up(c);
    stop(&s);
}

static void a_filter_sends_nothing_before_the_end_of_its_body(void **state)
{
    struct server s = start_all_roles();
    struct client *c = dial(&s);

    (void)state;
    /* A-FIL-3: even when it has finished by then, and with other requests beside it. */
    send_deed_as(c, FERRY_FILTER, 1, "at-once");
    expect_hello(c, 2);
    expect_silence(c);
    send_stdin(c, 1, pattern, 700000); /* nobody reads it; it must not stop the connection */
    expect_hello(c, 2);
    send_end(c, 1);
    expect_at_once(c, 1);
    send_data(c, 1, pattern, 700000); /* nor what still comes for it */
    send_data_end(c, 1);
    expect_hello(c, 1);
    assert_int_equal(stat_of(c, "releases="), 1);
    /* A responder need not wait. */
    send_deed(c, 1, FERRY_KEEP_CONN, "at-once");
    expect_at_once(c, 1);
    send_end(c, 1);
    /* More than may wait: the rest goes when there is room. */
    send_deed_as(c, FERRY_FILTER, 1, "fill");
    expect_silence(c);
    send_end(c, 1);
    assert_int_equal(reply(c, 1)->len, sizeof pattern);
    assert_memory_equal(c->replies[1].out, pattern, sizeof pattern);
    forget(c, 1);
    /* Far more: refused as ever. */
    send_deed_as(c, FERRY_FILTER, 1, "overflow");
    send_end(c, 1);
    assert_int_equal(reply(c, 1)->end.app_status, 1);
    forget(c, 1);
    hang_up(c);
    stop(&s);
}

static void a_filter_that_waits_to_end_can_be_aborted(void **state)
{
    struct server s = start_all_roles();
    struct client *c = dial(&s), *d;

    (void)state;
    send_deed_as(c, FERRY_FILTER, 1, "at-once");
    expect_hello(c, 2); /* its handler has been called */
    expect_silence(c);
    send_record(c, FERRY_ABORT_REQUEST, 1, "", 0);
    assert_int_equal(reply(c, 1)->end.app_status, 5);
    assert_int_equal(c->replies[1].len, 0);
    forget(c, 1);
    /* Its connection ends, in good order or not. */
    for (int i = 0; i < 2; i++) {
        d = dial(&s);
        send_deed_as(d, FERRY_FILTER, 1, "at-once");
        expect_hello(d, 2);
        expect_silence(d);
        if (i == 0)
            shutdown(d->fd, SHUT_WR);
        hang_up(d);
        expect_hello(c, 1);
    }
    for (int tries = 0; stat_of(c, "releases=") < 3; tries++)
        assert_true(tries < 1000);
    /* At the end of the application: once that has closed what is idle, it has had the first
     * signal, and the second is not lost in it. */
    d = dial(&s);
    expect_hello(d, 1);
    send_deed_as(c, FERRY_FILTER, 1, "at-once");
    expect_hello(c, 2);
    expect_silence(c);
    kill(s.pid, SIGTERM);
    expect_end(d);
    hang_up(d);
    stop(&s);
    hang_up(c);
}

static void an_authorizer_needs_no_input(void **state)
{
    struct server s = start_all_roles();
    struct client *c = dial(&s);

    (void)state;
    /* A-AUT-2: without any STDIN, and with an empty one. */
    send_deed_as(c, FERRY_AUTHORIZER, 1, "authorize");
    expect(c, 1, "Variable-REMOTE_USER: ann\r\n\r\n");
    send_deed_as(c, FERRY_AUTHORIZER, 1, "authorize");
    send_end(c, 1);
    expect(c, 1, "Variable-REMOTE_USER: ann\r\n\r\n");
    /* In another role there are no variables. */
    ask(c, 1, FERRY_KEEP_CONN, "authorize");
    assert_int_equal(reply(c, 1)->end.app_status, 1);
    assert_int_equal(c->replies[1].len, 0);
    forget(c, 1);
    /* Half-closed without STDIN, its request is whole. */
    send_deed_as(c, FERRY_AUTHORIZER, 1, "late");
    shutdown(c->fd, SHUT_WR);
    expect(c, 1, TEXT "late");
    expect_end(c);
    hang_up(c);
    stop(&s);
}

static void roles_it_does_not_play_are_refused(void **state)
{
    static const uint8_t roles[] = {0, 1 << FERRY_AUTHORIZER, 1 << FERRY_FILTER | 1};

    (void)state;
    for (size_t i = 0; i < sizeof roles; i++) {
        struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;
        struct server s;
        struct client *c;

        opts.roles = roles[i];
        s = start(AF_UNIX, &opts);
        c = dial(&s);
        for (unsigned role = 0; role < 5; role++) {
            send_deed_as(c, role, 1, "hello");
            send_end(c, 1);
            if ((roles[i] ? roles[i] : 1u << FERRY_RESPONDER) >> role & 1 && role)
                expect(c, 1, TEXT "hello you");
            else
                expect_refused(c, 1, FERRY_UNKNOWN_ROLE);
        }
        send_deed_as(c, 0x0101, 1, "hello"); /* A-BEG-6 */
        expect_refused(c, 1, FERRY_UNKNOWN_ROLE);
        hang_up(c);
        stop(&s);
    }
}

static void numbers_are_numbers_or_none(void **state)
{
    static const struct {
        const char *text;
        long long want;
    } cases[] = {{"0", 0},
                 {"12", 12},
                 {"9223372036854775807", INT64_MAX},
                 {"9223372036854775808", -1},
                 {"-1", -1},
                 {"", -1},
                 {"1x", -1},
                 {" 1", -1}};
    struct server s = start_all_roles();
    struct client *c = dial(&s);
    char want[200];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *params[] = {"DO",
                                "numbers",
                                "CONTENT_LENGTH",
                                cases[i].text,
                                "FCGI_DATA_LENGTH",
                                cases[i].text,
                                "FCGI_DATA_LAST_MOD",
                                cases[i].text,
                                NULL};

        send_begin_as(c, FERRY_FILTER, 1, FERRY_KEEP_CONN, params);
        send_end(c, 1);
        snprintf(want, sizeof want, TEXT "content=%lld data=%lld modified=%lld", cases[i].want,
                 cases[i].want, cases[i].want);
        expect(c, 1, want);
    }
    ask(c, 1, FERRY_KEEP_CONN, "numbers");
    expect(c, 1, TEXT "content=-1 data=-1 modified=-1");
    hang_up(c);
    stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_filter_has_both_streams),
        cmocka_unit_test(an_abort_behind_the_end_of_the_body_is_told),
        cmocka_unit_test(a_filter_sends_nothing_before_the_end_of_its_body),
        cmocka_unit_test(a_filter_that_waits_to_end_can_be_aborted),
        cmocka_unit_test(an_authorizer_needs_no_input),
        cmocka_unit_test(roles_it_does_not_play_are_refused),
        cmocka_unit_test(numbers_are_numbers_or_none),
    };

    return on_every_backend(tests, sizeof tests / sizeof *tests);
}
