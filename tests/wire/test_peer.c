/* SPDX-License-Identifier: MIT */
/*
 * One connection to an application: what is tried again, answers that are cut or malformed
 * anywhere, bodies, back-pressure, and what must not reach the next request.
 */
#include "callers.h"

static const struct ferry_pool_opts plain = {.multiplex = FERRY_MULTIPLEX_OFF};

static void open_both(struct callers *c, void **state, struct fake_app *app,
                      struct ferry_pool_opts opts)
{
    fake_listen(app, 128);
    callers_open(c, state, 1, app, opts);
    fake_start(app);
}

static void close_both(struct callers *c, struct fake_app *app)
{
    callers_close(c);
    fake_stop(app);
}

static void answers(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    while (fake_take(app, fd, &rq))
        if (!fake_answer(app, fd, rq.id, rq.name))
            return;
}

/* -- cut answers -- */

static const char whole_answer[] =
    "STDERR 1 'e' +3; STDOUT 1 'hello, ' +1; STDOUT 1 'world' +255; STDOUT 1; END_REQUEST 1 "
    "x0000000700000000 +2";

static atomic_uint cut_at;

static void answers_so_far(struct fake_app *app, int fd, unsigned nth)
{
    char bytes[1024 + 512];
    static char room[TEXT_MAX];
    struct fake_request rq;
    size_t n = records(whole_answer, room);

    (void)nth;
    must(n < sizeof bytes);
    memcpy(bytes, room, n);
    if (!fake_take(app, fd, &rq))
        return;
    fake_write(app, fd, bytes, atomic_load(&cut_at) < n ? atomic_load(&cut_at) : n);
}

static void test_an_answer_may_be_cut_anywhere(void **state)
{
    struct fake_app app = {.handler = answers_so_far, .serial = true};
    char *room = malloc(TEXT_MAX);
    unsigned n = (unsigned)records(whole_answer, room);
    struct callers c;

    free(room);
    open_both(&c, state, &app, plain);
    for (unsigned at = 0; at <= n; at++) {
        struct request r = {.name = "cut", .idempotent = true}; /* it may meet a stale one */

        cut_at = at;
        start(c.side, &r);
        if (at < n - 2) { /* the padding of the last record is not needed to understand it */
            assert_outcome(&r, CUT);
            assert_true(*r.result.text);
            assert_int_equal(strncmp("hello, world", r.out, strlen(r.out)), 0);
        } else {
            assert_answer(&r, "hello, world");
            assert_string_equal(r.errors, "e");
            assert_int_equal(r.result.app_status, 7);
        }
    }
    close_both(&c, &app);
}

static void answers_in_pieces(struct fake_app *app, int fd, unsigned nth)
{
    static char room[TEXT_MAX];
    struct fake_request rq;
    size_t n = records(whole_answer, room), at;

    (void)nth;
    while (fake_take(app, fd, &rq)) {
        at = atomic_load(&cut_at);
        if (!fake_write(app, fd, room, at))
            return;
        fake_sleep_ms(1);
        if (!fake_write(app, fd, room + at, n - at))
            return;
    }
}

static void test_an_answer_may_come_in_pieces(void **state)
{
    struct fake_app app = {.handler = answers_in_pieces, .serial = true};
    char *room = malloc(TEXT_MAX);
    unsigned n = (unsigned)records(whole_answer, room);
    struct callers c;

    free(room);
    open_both(&c, state, &app, plain);
    for (unsigned at = 0; at < n; at++) {
        struct request r = {.name = "pieces"};

        cut_at = at;
        start(c.side, &r);
        assert_answer(&r, "hello, world");
    }
    assert_int_equal(app.accepted, 1); /* whatever was cut from the padding does not hurt */
    close_both(&c, &app);
}

/* -- malformed answers -- */

static void test_malformed_answers_are_cut_with_words(void **state)
{
    static const struct {
        const char *script, *text, *out;
    } rows[] = {
        {"v2 STDOUT 1 'x'", "a record of another version than 1", ""},
        {"v0 STDOUT 1 'x'", "a record of another version than 1", ""},
        {"STDOUT 1 'ok'; v7 END_REQUEST 1 x0000000000000000", "a record of another version than 1",
         "ok"},
        {"STDOUT 2 'x'", "a record for a request that is not active", ""},
        {"END_REQUEST 2 x0000000000000000", "a record for a request that is not active", ""},
        {"STDOUT 257 'x'", "a record for a request that is not active", ""},
        {"STDOUT 1 'a'; STDOUT 1; STDOUT 1 'b'", "STDOUT after its end", "a"},
        {"END_REQUEST 1 x00000000", "a short END_REQUEST", ""},
        {"END_REQUEST 1", "a short END_REQUEST", ""},
        {"STDIN 1 'x'", "a record that only web servers send", ""},
        {"BEGIN_REQUEST 1 x0001000000000000", "a record that only web servers send", ""},
        {"PARAMS 1", "a record that only web servers send", ""},
        {"STDOUT 0 'x'", "an unexpected record with request id 0", ""},
        {"99 0 'x'", "an unexpected record with request id 0", ""},
        {"GET_VALUES_RESULT 1 'x'", "a management record with a request id", ""},
        {"UNKNOWN_TYPE 0 'x'", "a short UNKNOWN_TYPE", ""},
    };
    struct fake_app app = {.handler = fake_script};
    struct callers c;

    open_both(&c, state, &app, plain);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct request r = {.name = rows[i].script, .idempotent = true};

        app.script = rows[i].script;
        start(c.side, &r);
        assert_outcome(&r, CUT);
        assert_int_equal(r.result.err, FERRY_EPROTOCOL);
        assert_string_equal(r.result.text, rows[i].text);
        assert_string_equal(r.out, rows[i].out);
    }
    close_both(&c, &app);
}

static void test_odd_answers_are_understood(void **state)
{
    static const char *const rows[] = {
        "STDOUT 1 'ok' +255; END_REQUEST 1 x0000000000000000 +255",
        "STDERR 1; STDERR 1; STDOUT 1 'ok'; STDERR 1; END_REQUEST 1 x0000000000000000",
        "99 1 'what'; STDOUT 1 'ok'; 200 1; END_REQUEST 1 x0000000000000000",
        "GET_VALUES_RESULT 0 'junk'; STDOUT 1 'ok'; UNKNOWN_TYPE 0 x0900000000000000; "
        "END_REQUEST 1 x0000000000000000",
        "STDOUT 1 'o'; STDOUT 1 'k'; STDOUT 1; STDOUT 1; END_REQUEST 1 x0000000000000000",
        "STDOUT 1 'ok'; STDOUT 1; END_REQUEST 1 x00000000000000000011223344 +1",
    };
    struct fake_app app = {.handler = fake_script};
    struct callers c;

    open_both(&c, state, &app, plain);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct request r = {.name = "odd"};

        app.script = rows[i];
        start(c.side, &r);
        assert_answer(&r, "ok");
        fake_kill_conns(&app);
    }
    close_both(&c, &app);
}

static void floods(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    if (fake_take(app, fd, &rq))
        while (fake_say(app, fd, "STDERR 1; STDERR 1; 99 1; 98 1 +255; STDERR 1"))
            ;
}

static void test_records_without_end_and_without_progress(void **state)
{
    struct fake_app app = {.handler = floods};
    struct request r = {.name = "flood"};
    struct callers c;

    open_both(&c, state, &app, plain);
    start(c.side, &r);
    assert_outcome(&r, CUT);
    assert_int_equal(r.result.err, FERRY_ELIMIT);
    close_both(&c, &app);
}

/* -- back-pressure -- */

static void unhold_here(void *arg)
{
    struct request *r = arg;

    r->hold = false;
    ferry_call_hold(&r->call, false);
}

#define BIG (64ull << 20)

static void sends_much(struct fake_app *app, int fd, unsigned nth)
{
    static char piece[32768];
    struct fake_request rq;

    (void)nth;
    if (!fake_take(app, fd, &rq))
        return;
    for (uint64_t n = 0; n < BIG; n += sizeof piece)
        if (!fake_record(app, fd, FERRY_STDOUT, rq.id, piece, sizeof piece))
            return;
    fake_say(app, fd, "END_REQUEST 1 x0000000000000000");
}

static bool some_came(void *r)
{
    return atomic_load(&((struct request *)r)->got) > 0;
}

static void test_an_owner_that_holds_stops_the_application(void **state)
{
    struct fake_app app = {.handler = sends_much};
    struct request r = {.name = "big", .hold = true};
    uint64_t got;
    struct callers c;

    open_both(&c, state, &app, plain);
    start(c.side, &r);
    assert_true(wait_for(some_came, &r, WAIT_MS));
    fake_sleep_ms(200);
    assert_true(app.sent < 2000000); /* two sockets' buffers and our own */
    got = r.got;
    fake_sleep_ms(100);
    assert_int_equal(r.got, got);
    in_loop(c.side, unhold_here, &r);
    assert_outcome(&r, DONE);
    assert_int_equal(r.got, BIG);
    close_both(&c, &app);
}

/* What lies in the socket when the application closes is read when the owner wants it, also when
 * the application left something unread, which makes its close an error. */
static void says_much_and_closes(struct fake_app *app, int fd, unsigned nth)
{
    static char piece[60000];
    struct fake_record_in *in = malloc(sizeof *in);
    struct fake_request rq = {0};

    (void)nth;
    must(in);
    while (fake_take_record(app, fd, in) && in->r.type != FERRY_PARAMS)
        fake_take_into(in, &rq);
    free(in);
    fake_record(app, fd, FERRY_STDOUT, rq.id, "first", 5);
    fake_wait_go(app);
    fake_record(app, fd, FERRY_STDOUT, rq.id, piece, sizeof piece);
    fake_say(app, fd, "END_REQUEST 1 x0000000000000000");
}

static void test_what_lies_in_the_socket_survives_the_close(void **state)
{
    struct fake_app app = {.handler = says_much_and_closes};
    struct callers c;

    open_both(&c, state, &app, plain);
    for (int i = 0; i < 10; i++) {
        struct request r = {.name = "held", .hold = true, .body_len = i % 2 ? 5000 : 0};

        app.go = false;
        start(c.side, &r);
        assert_true(wait_for(some_came, &r, WAIT_MS));
        app.go = true;
        while (app.open > 0)
            fake_sleep_ms(1);
        fake_sleep_ms(20);
        in_loop(c.side, unhold_here, &r);
        assert_outcome(&r, DONE);
        assert_int_equal(r.got, 60005);
    }
    close_both(&c, &app);
}

/* -- bodies -- */

static void counts_the_body(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;
    char text[64];

    (void)nth;
    while (fake_take(app, fd, &rq)) {
        snprintf(text, sizeof text, "%llu %llx", (unsigned long long)rq.body,
                 (unsigned long long)rq.sum);
        if (!fake_answer(app, fd, rq.id, text))
            return;
    }
}

static void test_long_bodies_arrive_whole(void **state)
{
    static const uint64_t lengths[] = {1, 1000, 65535, 65536, 300000, 20000000};
    struct fake_app app = {.handler = counts_the_body};
    struct callers c;

    open_both(&c, state, &app, plain);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct request r = {.name = "body", .body_len = lengths[i]};
        char text[64];

        start(c.side, &r);
        snprintf(text, sizeof text, "%llu %llx", (unsigned long long)lengths[i],
                 (unsigned long long)body_sum(lengths[i]));
        assert_answer(&r, text);
    }
    close_both(&c, &app);
}

/* A body that cannot be written twice is not written before the connection stands. */
static void test_a_body_waits_for_the_connection(void **state)
{
    struct fake_app app = {.handler = counts_the_body};
    struct request r[4];
    struct callers c;
    char text[64];

    fake_listen(&app, 0);
    callers_open(&c, state, 1, &app, plain);
    for (int i = 0; i < 4; i++) {
        r[i] = (struct request){.name = "body", .body_len = 300000, .fickle = true};
        start(c.side, &r[i]);
    }
    fake_sleep_ms(100);
    fake_start(&app);
    snprintf(text, sizeof text, "300000 %llx", (unsigned long long)body_sum(300000));
    for (int i = 0; i < 4; i++) {
        assert_answer(&r[i], text);
        assert_int_equal(r[i].starts, 1);
    }
    close_both(&c, &app);
}

static void reads_when_told(struct fake_app *app, int fd, unsigned nth)
{
    fake_wait_go(app);
    answers(app, fd, nth);
}

static void test_an_application_that_does_not_read(void **state)
{
    struct fake_app app = {.handler = reads_when_told};
    struct request r = {.name = "slow", .body_len = 50000000};
    struct callers c;

    open_both(&c, state, &app, plain);
    start(c.side, &r);
    fake_sleep_ms(300);
    in_loop(c.side, abort_here, &r);
    assert_true(r.body_at < 2000000);
    app.go = true;
    close_both(&c, &app);
}

/* -- memory -- */

struct short_of_memory {
    struct request *r;
    long n;
    bool failed;
};

static void start_short(void *arg)
{
    struct short_of_memory *s = arg;

    fail_alloc_after(s->n);
    start_here(s->r);
}

static void end_short(void *arg)
{
    struct short_of_memory *s = arg;

    s->failed = alloc_failed();
    fail_alloc_after(-1);
}

/* Whatever runs out of memory, the call ends, once, and the next one is served. */
static bool runs_short(void **state, struct short_of_memory *s, uint64_t body_len)
{
    struct fake_app app = {.handler = counts_the_body};
    struct request r = {.name = "short", .body_len = body_len}, next = {0};
    struct callers c;

    open_both(&c, state, &app, plain);
    r.side = c.side;
    s->r = &r;
    in_loop(c.side, start_short, s);
    assert_true(wait_end(&r));
    in_loop(c.side, end_short, s);
    if (!s->failed || r.result.outcome == FERRY_CALL_DONE)
        assert_outcome(&r, DONE);
    else if (r.result.outcome == FERRY_CALL_REFUSED)
        assert_int_equal(r.result.err, -ENOMEM);
    else
        assert_outcome(&r, CUT);
    start(c.side, &next);
    assert_outcome(&next, DONE);
    close_both(&c, &app);
    return s->failed;
}

static void test_every_allocation_may_fail(void **state)
{
    struct short_of_memory s = {.n = 1}; /* the first is the test's own image */

    while (runs_short(state, &s, 0))
        s.n++;
    assert_in_range(s.n, 3, 100);
    s.n = 1;
    while (runs_short(state, &s, 300000))
        s.n++;
    assert_in_range(s.n, 5, 100);
}

/* -- abort -- */

static void waits_for_the_close(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    if (fake_take(app, fd, &rq) && fake_drain(app, fd) == 0)
        atomic_store(&app->go, true); /* a close, and not a byte before it */
}

static bool is_go(void *app)
{
    return atomic_load(&((struct fake_app *)app)->go);
}

static bool one_request(void *app)
{
    return atomic_load(&((struct fake_app *)app)->requests) == 1;
}

static void test_an_aborted_request_has_its_connection_closed(void **state)
{
    struct fake_app app = {.handler = waits_for_the_close};
    struct request r = {.name = "gone"};
    struct callers c;

    open_both(&c, state, &app, plain);
    start(c.side, &r);
    assert_true(wait_for(one_request, &app, WAIT_MS));
    in_loop(c.side, abort_here, &r);
    assert_true(wait_for(is_go, &app, WAIT_MS));
    assert_false(has_ended(&r));
    close_both(&c, &app);
}

#define TESTS(X)                                                                                   \
    X(test_an_answer_may_be_cut_anywhere)                                                          \
    X(test_an_answer_may_come_in_pieces)                                                           \
    X(test_malformed_answers_are_cut_with_words)                                                   \
    X(test_odd_answers_are_understood)                                                             \
    X(test_records_without_end_and_without_progress)                                               \
    X(test_an_owner_that_holds_stops_the_application)                                              \
    X(test_what_lies_in_the_socket_survives_the_close)                                             \
    X(test_long_bodies_arrive_whole)                                                               \
    X(test_a_body_waits_for_the_connection)                                                        \
    X(test_an_application_that_does_not_read)                                                      \
    X(test_every_allocation_may_fail)                                                              \
    X(test_an_aborted_request_has_its_connection_closed)

int main(void)
{
#define X(f) on_both(f),
    const struct CMUnitTest tests[] = {TESTS(X)};
#undef X

    return cmocka_run_group_tests(tests, NULL, NULL);
}
