/* SPDX-License-Identifier: MIT */
#include "http_peer.h"

#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

/* -- whole conversations */

static const char conversation[] =
    "GET /1 HTTP/1.1\r\nHost: a\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n"
    "\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world"
    "PUT /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    "5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nX-Trailer: 1\r\n\r\n"
    "\r\n\r\nHEAD /4 HTTP/1.1\r\nHost: a\r\n\r\n"
    "GET /5 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    "GET /6 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    "POST /7 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

static const char conversation_log[] = "head GET /1 0\nend\n"
                                       "head POST /2 11\nbody hello world\nend\n"
                                       "head PUT /3 -1\nbody hello world\nend\n"
                                       "head HEAD /4 0\nend\n"
                                       "head GET /5 3\nbody abc\nend\n"
                                       "head GET /6 0\nend\n"
                                       "head POST /7 0\nend\n";

#define OK_HEAD "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
#define OK_10 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok"
static const char conversation_out[] = OK OK OK OK_HEAD OK OK_10 OK_CLOSE;

/* Body bytes on both sides of a cut are two events; the log must not show it. */
static void send_piece(struct peer *c, int slot, const char *p, size_t n)
{
    char *at = guard_copy(slot, p, n);
    size_t took = 0;

    while (took < n) {
        ssize_t t = ferry_http_recv(c->m, at + took, n - took, c->now);

        assert_true(t > 0);
        took += (size_t)t;
        pull(c);
        client_reads(c);
    }
}

static void a_conversation_is_the_same_however_it_is_cut(void **state)
{
    const size_t len = sizeof conversation - 1;

    (void)state;
    for (size_t cut = 0; cut <= len; cut++) {
        struct peer *c = peer_open(NULL);

        send_piece(c, 0, conversation, cut);
        send_piece(c, 1, conversation + cut, len - cut);
        assert_log(c, conversation_log);
        assert_out(c, conversation_out);
        assert_true(ferry_http_finished(c->m));
        peer_close(c);
    }
    for (size_t step = 1; step <= 7; step++) {
        struct peer *c = peer_open(NULL);

        for (size_t at = 0; at < len; at += step)
            send_piece(c, 0, conversation + at, len - at < step ? len - at : step);
        assert_log(c, conversation_log);
        assert_out(c, conversation_out);
        peer_close(c);
    }
}

static void a_head_that_comes_whole_is_read_where_it_lies(void **state)
{
    static const char text[] = "GET /x HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    struct peer *c = peer_open(NULL);
    unsigned long before;
    const char *p = guard_copy(0, text, sizeof text - 1);

    (void)state;
    c->deaf = true;
    before = alloc_count();
    assert_int_equal(client_sends_n(c, p, sizeof text - 1), sizeof text - 1);
    assert_int_equal(alloc_count(), before);
    assert_ptr_equal(c->ev.head.target.p, p + 4);
    assert_ptr_equal(c->ev.head.fields[1].value.p, strchr(p, 'y'));
    peer_close(c);
}

/* sizeof is checked by the compiler; this is the rest of the promise. */
static void an_idle_connection_holds_no_memory(void **state)
{
    struct peer *c = peer_open(NULL);

    (void)state;
    client_sends(c, "GET /1 HTTP/1.1\r\nHost");
    assert_non_null(c->m->buf);
    client_sends(c, ": a\r\n\r\n");
    assert_true(ferry_http_idle(c->m));
    assert_null(c->m->buf);
    assert_int_equal(c->m->out.len, 0);
    assert_ptr_equal(c->m->out.segs, c->m->out.inline_segs);
    /* Nor is the head kept while its body comes. */
    client_sends(c, "POST /2 HTTP/1.1\r\nHost");
    client_sends(c, ": a\r\nContent-Length: 2\r\n\r\n");
    assert_non_null(c->m->buf);
    client_sends(c, "x");
    assert_null(c->m->buf);
    peer_close(c);
}

static void a_pipelined_request_waits_for_the_response_before_it(void **state)
{
    struct peer *c = peer_open(NULL);

    (void)state;
    c->deaf = true;
    assert_int_equal(client_sends(c, GET GET), strlen(GET));
    assert_log(c, "head GET / 0\nend\n");
    assert_int_equal(client_sends(c, GET), 0);
    assert_int_equal(respond(c, 200, 0), 0);
    assert_int_equal(client_sends(c, GET), 0);
    assert_int_equal(ferry_http_finish(c->m), 0);
    assert_int_equal(client_sends(c, GET), strlen(GET));
    assert_int_equal(c->heads, 2);
    peer_close(c);
}

static void a_client_that_pipelines_and_never_reads_is_held_back(void **state)
{
    struct peer *c = peer_open(NULL);
    unsigned sent = 0;

    (void)state;
    c->unread = true;
    while (client_sends(c, GET) && sent < 100000)
        sent++;
    assert_in_range(sent, 1000, 2000);
    assert_in_range(ferry_http_output(c->m)->len, 65536, 65536 + 100);
    client_reads(c);
    assert_int_equal(client_sends(c, GET), strlen(GET));
    peer_close(c);
}

static void empty_lines_before_a_request_are_few(void **state)
{
    struct peer *c;

    (void)state;
    c = peer_open(NULL);
    client_sends(c, "\r\n\r");
    assert_true(ferry_http_idle(c->m));
    client_sends(c, "\n" GET "\r\n\r\n" GET);
    assert_log(c, "head GET / 0\nend\nhead GET / 0\nend\n");
    peer_close(c);

    c = peer_open(NULL);
    client_sends(c, "\r\n\r\n\r\n" GET);
    assert_log(c, "bad 400\n");
    peer_close(c);
}

static void what_is_no_http_is_refused_at_its_first_byte(void **state)
{
    static const char *const texts[] = {"\x16\x03\x01", "\n", "\rx", " ", "\x80", "{"};

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct peer *c = peer_open(NULL);

        client_sends(c, texts[i]);
        assert_log(c, "bad 400\n");
        assert_true(lingers(c));
        peer_close(c);
    }
}

/* -- bodies */

#define POST5 "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"

static void no_byte_of_a_body_is_taken_before_it_is_wanted(void **state)
{
    struct peer *c = peer_open(NULL);

    (void)state;
    c->unwanted = c->deaf = true;
    assert_int_equal(client_sends(c, POST5 "\r\nhello"), strlen(POST5 "\r\n"));
    assert_log(c, "head POST / 5\n");
    ferry_http_body_start(c->m, c->now);
    assert_int_equal(client_sends(c, "hel"), 3);
    ferry_http_body_pause(c->m, true, c->now);
    assert_int_equal(client_sends(c, "lo"), 0);
    ferry_http_body_pause(c->m, false, c->now);
    assert_int_equal(client_sends(c, "lo" GET), 2);
    assert_log(c, "head POST / 5\nbody hel\nbody lo\nend\n");
    peer_close(c);
}

/* Nothing of one request is left over for the next. */
static void each_request_begins_afresh(void **state)
{
    struct peer *c = peer_open(NULL);

    (void)state;
    c->unwanted = true;
    client_sends(c, POST5 "\r\nhello");
    ferry_http_body_start(c->m, c->now);
    ferry_http_body_pause(c->m, true, c->now);
    answer(c, 200, "ok");
    client_sends(c, "hello");
    client_reads(c);
    c->out_len = 0;
    client_sends(c, POST5 "Expect: 100-continue\r\n\r\n");
    ferry_http_body_start(c->m, c->now);
    client_reads(c);
    assert_out(c, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_int_equal(client_sends(c, "hello"), 5);
    assert_out(c, "HTTP/1.1 100 Continue\r\n\r\n" OK);
    peer_close(c);
}

static void continue_is_said_only_to_who_waits_for_it(void **state)
{
#define EXPECT "Expect: 100-continue\r\n\r\n"
#define CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"
    static const struct {
        const char *head, *with_it; /* what comes in one piece with the head */
        int status;                 /* answered before the body is wanted; 0: not */
        const char *want;
    } cases[] = {
        {POST5 EXPECT, "", 0, CONTINUE},
        {"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n" EXPECT, "", 0, CONTINUE},
        {POST5 "\r\n", "", 0, ""},
        {POST5 EXPECT, "h", 0, ""},
        {"POST / HTTP/1.0\r\nContent-Length: 5\r\n" EXPECT, "", 0, ""},
        {"POST / HTTP/1.1\r\nHost: a\r\n" EXPECT, "", 0, ""},
        {POST5 EXPECT, "", 204, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct peer *c = peer_open(NULL);
        char input[300];

        c->unwanted = c->deaf = true;
        snprintf(input, sizeof input, "%s%s", cases[i].head, cases[i].with_it);
        client_sends(c, input);
        assert_out(c, "");
        if (cases[i].status)
            assert_int_equal(respond(c, cases[i].status, -1), 0);
        ferry_http_body_start(c->m, c->now);
        ferry_http_body_start(c->m, c->now);
        client_reads(c);
        assert_out(c, cases[i].want);
        peer_close(c);
    }
}

/* What becomes of the connection when the response ends before the body does. */
static void an_unread_body_is_dropped_or_ends_the_connection(void **state)
{
#define LEN(n) "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " n "\r\n"
    static const struct {
        const char *head;
        bool wanted, offered, keep;
    } cases[] = {
        {LEN("5") "\r\n", false, false, true},
        {LEN("65536") "\r\n", false, true, true},
        {LEN("65537") "\r\n", false, true, false},
        {LEN("65537") "\r\n", true, true, true}, /* one byte of it was read */
        {LEN("65538") "\r\n", true, true, false},
        {LEN("5") EXPECT, false, false, false},
        {LEN("5") EXPECT, true, false, true}, /* 100 was sent: the body comes */
        {LEN("5") EXPECT, false, true, true}, /* it comes already */
        {"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", false, false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct peer *c = peer_open(NULL);

        c->unwanted = c->deaf = true;
        client_sends(c, cases[i].head);
        if (cases[i].wanted)
            ferry_http_body_start(c->m, c->now);
        if (cases[i].offered)
            client_sends(c, "x");
        answer(c, 403, "no");
        client_reads(c);
        assert_int_equal(strstr(c->out, "Connection: close") == NULL, cases[i].keep);
        assert_int_equal(lingers(c), !cases[i].keep);
        assert_false(ferry_http_finished(c->m));
        if (cases[i].keep) {
            static char rest[65538];
            size_t left = (size_t)c->m->body_left;

            assert_false(ferry_http_idle(c->m));
            memset(rest, 'x', sizeof rest);
            assert_int_equal(client_sends_n(c, rest, left), left);
            assert_true(ferry_http_idle(c->m));
            assert_int_equal(client_sends(c, GET), strlen(GET));
            assert_int_equal(c->heads, 2);
        } else {
            assert_int_equal(client_sends(c, GET), strlen(GET));
            assert_int_equal(c->heads, 1);
            client_closes(c);
            assert_true(ferry_http_finished(c->m));
        }
        peer_close(c);
    }
}

static void a_bad_chunk_after_the_head_is_told(void **state)
{
    struct peer *c;

    (void)state;
    c = peer_open(NULL);
    client_sends(c, "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                    "3\r\nabc\r\nx\r\n" GET);
    assert_log(c, "head PUT / -1\nbody abc\nbad 400\n");
    assert_out(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    assert_true(lingers(c));
    peer_close(c);

    /* With a response begun, it can only be cut. */
    c = peer_open(NULL);
    c->unwanted = true;
    client_sends(c, "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    ferry_http_body_start(c->m, c->now);
    assert_int_equal(respond(c, 200, 10), 0);
    client_sends(c, "x\r\n");
    assert_log(c, "head PUT / -1\nbad 400\n");
    assert_true(ferry_http_finished(c->m));
    peer_close(c);
}

#define POST(version, fields) "POST / HTTP/" version "\r\nHost: a\r\n" fields "\r\n"
#define CHUNKED POST("1.1", "Transfer-Encoding: chunked\r\n")

/* -- limits */

static void a_head_may_be_as_long_as_the_limit(void **state)
{
    static const struct {
        const char *format;
        int over; /* bytes past the limit that show it */
        int status;
    } cases[] = {
        {"GET / HTTP/1.0\r\nX: %0*d\r\n\r\n", 1, 431},
        {"GET / HTTP/1.0\r\nX: y\r\n%0*d: z\r\n\r\n", 1, 431},
        {"GET /%0*d HTTP/1.0\r\n\r\n", 1, 431},
        {"GET /%0*d HTTP/1.0\r\n\r\n", 3, 414}, /* the request line alone is too long */
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int max = 64; max < 9000; max += 4111) {
            struct ferry_http_opts opts = {.head_max = (uint32_t)max, .target_max = 100000};
            char input[10000], want[20];
            int extra = snprintf(input, sizeof input, cases[i].format, 1, 0) - 1;

            for (int len = max; len <= max + cases[i].over; len += cases[i].over) {
                snprintf(input, sizeof input, cases[i].format, len - extra, 0);
                snprintf(want, sizeof want, "bad %d\n", cases[i].status);
                for (int cut = 0; cut <= len; cut += max / 64) {
                    struct peer *c = peer_open(&opts);

                    client_sends_n(c, guard_copy(0, input, (size_t)cut), (size_t)cut);
                    client_sends_n(c, guard_copy(0, input + cut, (size_t)(len - cut)),
                                   (size_t)(len - cut));
                    if (len > max)
                        assert_log(c, want);
                    else
                        assert_int_equal(c->heads, 1);
                    peer_close(c);
                }
            }
        }
    }
}

static void a_body_may_be_as_long_as_the_limit(void **state)
{
    static const struct ferry_http_opts opts = {.body_max = 5};
    static const struct {
        const char *input, *want;
    } cases[] = {
        {POST("1.1", "Content-Length: 5\r\n") "hello", "head POST / 5\nbody hello\nend\n"},
        {POST("1.1", "Content-Length: 6\r\n") "hello!", "bad 413\n"},
        {CHUNKED "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", "head POST / -1\nbody hello\nend\n"},
        {CHUNKED "3\r\nhel\r\n3\r\nlo!\r\n0\r\n\r\n", "head POST / -1\nbody hel\nbad 413\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct peer *c = peer_open(&opts);

        client_sends(c, cases[i].input);
        assert_log(c, cases[i].want);
        peer_close(c);
    }
}

static void a_connection_carries_as_many_requests_as_the_limit(void **state)
{
    static const struct ferry_http_opts opts = {.requests_max = 2};
    struct peer *c = peer_open(&opts);

    (void)state;
    client_sends(c, GET GET GET);
    assert_int_equal(c->heads, 2);
    assert_out(c, OK OK_CLOSE);
    assert_true(lingers(c));
    peer_close(c);
}

/* -- the end */

static void a_half_close_is_answered_when_the_request_is_whole(void **state)
{
    struct peer *c;

    (void)state;
    c = peer_open(NULL);
    c->deaf = true;
    client_sends(c, GET);
    client_closes(c);
    assert_false(ferry_http_finished(c->m));
    answer(c, 200, "ok");
    client_reads(c);
    assert_out(c, OK_CLOSE);
    assert_true(ferry_http_finished(c->m));
    peer_close(c);

    /* Of two pipelined ones, the second whole, both are answered. */
    c = peer_open(NULL);
    c->deaf = true;
    client_sends(c, GET);
    answer(c, 200, "ok");
    client_sends(c, GET);
    client_closes(c);
    answer(c, 200, "ok");
    client_reads(c);
    assert_out(c, OK OK_CLOSE);
    peer_close(c);
}

static void a_close_inside_a_request_gives_gone(void **state)
{
    static const char *const inputs[] = {"G",          "GET / HTTP/1.1\r\n",
                                         POST5 "\r\n", POST5 "\r\nhell",
                                         CHUNKED,      CHUNKED "5\r\nhello\r\n0\r\n\r"};

    (void)state;
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        struct peer *c = peer_open(NULL);

        client_sends(c, inputs[i]);
        client_closes(c);
        assert_non_null(strstr(c->log, "gone\n"));
        assert_null(strstr(c->log, "end\n"));
        assert_true(ferry_http_finished(c->m));
        assert_int_equal(respond(c, 200, 0), FERRY_ECLOSED);
        assert_int_equal(ferry_http_write(c->m, NULL, FERRY_SLICE("x")), FERRY_ECLOSED);
        assert_int_equal(ferry_http_finish(c->m), FERRY_ECLOSED);
        peer_close(c);
    }
}

/* Even when the end is told before the head was pulled. */
static void a_close_right_behind_a_head_is_told_after_it(void **state)
{
    struct peer *c = peer_open(NULL);

    (void)state;
    assert_int_equal(ferry_http_recv(c->m, POST5 "\r\n", strlen(POST5 "\r\n"), c->now),
                     strlen(POST5 "\r\n"));
    client_closes(c);
    assert_log(c, "head POST / 5\ngone\n");
    assert_true(ferry_http_finished(c->m));
    peer_close(c);

    c = peer_open(NULL);
    assert_int_equal(ferry_http_recv(c->m, GET, strlen(GET), c->now), strlen(GET));
    client_closes(c);
    assert_log(c, "head GET / 0\nend\n");
    assert_out(c, OK_CLOSE);
    peer_close(c);
}

static void a_close_between_requests_is_quiet(void **state)
{
    struct peer *c = peer_open(NULL);

    (void)state;
    c->unread = true;
    client_sends(c, GET "\r\n");
    client_closes(c);
    assert_log(c, "head GET / 0\nend\n");
    assert_true(ferry_http_finished(c->m));
    client_reads(c);
    assert_out(c, OK);
    peer_close(c);
}

/* Only a client that may have sent more is waited for. */
static void the_close_lingers_only_where_it_must(void **state)
{
    static const struct {
        const char *input;
        bool lingers;
    } cases[] = {
        {"GET / HTTP/1.0\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false},
        {GET, true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_http_opts opts = {.requests_max = 1};
        struct peer *c = peer_open(&opts);

        client_sends(c, cases[i].input);
        assert_out(c, OK_CLOSE);
        assert_int_equal(lingers(c), cases[i].lingers);
        assert_int_equal(ferry_http_finished(c->m), !cases[i].lingers);
        peer_close(c);
    }
}

static void draining_ends_after_the_response_under_way(void **state)
{
    struct peer *c;

    (void)state;
    c = peer_open(NULL);
    client_sends(c, GET);
    ferry_http_drain(c->m);
    assert_true(ferry_http_finished(c->m));
    peer_close(c);

    c = peer_open(NULL);
    client_sends(c, "GET / HTT");
    ferry_http_drain(c->m);
    assert_false(ferry_http_finished(c->m));
    client_sends(c, "P/1.1\r\nHost: a\r\n\r\n");
    assert_out(c, OK_CLOSE);
    peer_close(c);

    c = peer_open(NULL);
    c->deaf = true;
    client_sends(c, GET);
    assert_int_equal(respond(c, 200, 2), 0);
    ferry_http_drain(c->m);
    assert_int_equal(ferry_http_write(c->m, NULL, FERRY_SLICE("ok")), 0);
    assert_int_equal(ferry_http_finish(c->m), 0);
    client_reads(c);
    assert_out(c, OK);
    assert_int_equal(client_sends(c, GET), strlen(GET));
    assert_int_equal(c->heads, 1);
    peer_close(c);
}

static void no_event_of_a_request_comes_after_its_response(void **state)
{
    struct peer *c = peer_open(NULL);

    (void)state;
    assert_int_equal(ferry_http_recv(c->m, GET, strlen(GET), c->now), strlen(GET));
    assert_int_equal(ferry_http_event(c->m, &c->ev), 1);
    assert_int_equal(c->ev.type, FERRY_HTTP_EV_HEAD);
    assert_false(ferry_http_responded(c->m));
    assert_int_equal(respond(c, 200, 0), 0);
    assert_true(ferry_http_responded(c->m));
    assert_int_equal(ferry_http_finish(c->m), 0);
    assert_int_equal(ferry_http_event(c->m, &c->ev), 0);
    peer_close(c);
}

/* -- out of memory: nothing is leaked or misread, and a response is whole or visibly cut */

static void run_out(void *arg)
{
    struct peer *c = peer_open(NULL);

    (void)arg;
    if (c->m) {
        for (size_t at = 0; at < sizeof conversation - 1; at += 40) {
            size_t n = sizeof conversation - 1 - at < 40 ? sizeof conversation - 1 - at : 40;
            ssize_t took;

            for (size_t done = 0; done < n; done += (size_t)took) {
                took = ferry_http_recv(c->m, conversation + at + done, n - done, c->now);
                assert_true(took >= 0);
                pull(c);
                client_reads(c);
                if (took == 0)
                    break;
            }
        }
        assert_memory_equal(c->out, conversation_out, c->out_len);
        assert_true(ferry_http_finished(c->m) || lingers(c));
        if (!alloc_failed())
            assert_out(c, conversation_out);
    }
    peer_close(c);
}

static void memory_may_run_out_at_any_time(void **state)
{
    (void)state;
    each_alloc_fails(run_out, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_conversation_is_the_same_however_it_is_cut),
        cmocka_unit_test(a_head_that_comes_whole_is_read_where_it_lies),
        cmocka_unit_test(an_idle_connection_holds_no_memory),
        cmocka_unit_test(a_pipelined_request_waits_for_the_response_before_it),
        cmocka_unit_test(a_client_that_pipelines_and_never_reads_is_held_back),
        cmocka_unit_test(empty_lines_before_a_request_are_few),
        cmocka_unit_test(what_is_no_http_is_refused_at_its_first_byte),
        cmocka_unit_test(no_byte_of_a_body_is_taken_before_it_is_wanted),
        cmocka_unit_test(each_request_begins_afresh),
        cmocka_unit_test(continue_is_said_only_to_who_waits_for_it),
        cmocka_unit_test(an_unread_body_is_dropped_or_ends_the_connection),
        cmocka_unit_test(a_bad_chunk_after_the_head_is_told),
        cmocka_unit_test(a_head_may_be_as_long_as_the_limit),
        cmocka_unit_test(a_body_may_be_as_long_as_the_limit),
        cmocka_unit_test(a_connection_carries_as_many_requests_as_the_limit),
        cmocka_unit_test(a_half_close_is_answered_when_the_request_is_whole),
        cmocka_unit_test(a_close_inside_a_request_gives_gone),
        cmocka_unit_test(a_close_right_behind_a_head_is_told_after_it),
        cmocka_unit_test(a_close_between_requests_is_quiet),
        cmocka_unit_test(the_close_lingers_only_where_it_must),
        cmocka_unit_test(draining_ends_after_the_response_under_way),
        cmocka_unit_test(no_event_of_a_request_comes_after_its_response),
        cmocka_unit_test(memory_may_run_out_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
