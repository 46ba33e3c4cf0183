/* SPDX-License-Identifier: MIT */
/*
 * What is tried again and what is not, and what of one request must not reach the next.
 */
#include "callers.h"

static const struct ferry_pool_opts plain = {.multiplex = FERRY_MULTIPLEX_OFF};
static const struct ferry_pool_opts one = {.multiplex = FERRY_MULTIPLEX_OFF, .connections_max = 1};

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

/* -- kept connections that turn out to be closed -- */

/* The first connection answers once, reads the next request, and closes. */
static void dies_at_the_second(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    if (nth > 0) {
        answers(app, fd, nth);
        return;
    }
    if (fake_take(app, fd, &rq))
        fake_answer(app, fd, rq.id, rq.name);
    fake_take(app, fd, &rq);
}

static void after_one_answer(struct callers *c, struct request *second)
{
    struct request first = {.name = "first"};

    start(c->side, &first);
    assert_answer(&first, "first");
    start(c->side, second);
}

static void test_a_stale_connection_is_tried_again_for_get(void **state)
{
    struct fake_app app = {.handler = dies_at_the_second};
    struct request r = {.name = "get", .idempotent = true};
    struct callers c;

    open_both(&c, state, &app, plain);
    after_one_answer(&c, &r);
    assert_answer(&r, "get");
    assert_int_equal(app.accepted, 2);
    assert_log(&app, "first get get ");
    close_both(&c, &app);
}

static void test_post_is_not_sent_twice(void **state)
{
    struct fake_app app = {.handler = dies_at_the_second};
    struct request r = {.name = "post", .body_len = 100};
    struct callers c;

    open_both(&c, state, &app, plain);
    after_one_answer(&c, &r);
    assert_outcome(&r, CUT);
    assert_int_equal(app.accepted, 1);
    assert_log(&app, "first post ");
    close_both(&c, &app);
}

static void test_a_body_that_is_gone_is_not_sent_twice(void **state)
{
    struct fake_app app = {.handler = dies_at_the_second};
    struct request r = {.name = "put", .idempotent = true, .fickle = true, .body_len = 100};
    struct callers c;

    open_both(&c, state, &app, plain);
    after_one_answer(&c, &r);
    assert_outcome(&r, CUT);
    close_both(&c, &app);
}

static void closes_after_one(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    if (nth > 0)
        answers(app, fd, nth);
    else if (fake_take(app, fd, &rq))
        fake_answer(app, fd, rq.id, rq.name);
    fake_wait_go(app);
}

/* Starts it after the application has closed and before the loop can have seen that. */
static void start_on_closed(void *arg)
{
    struct request *r = arg;
    struct fake_app *app = (void *)r->name;

    atomic_store(&app->go, true);
    while (atomic_load(&app->open) > 0)
        usleep(100);
    r->name = "post";
    start_here(r);
}

static void test_post_goes_again_when_nothing_was_sent(void **state)
{
    struct fake_app app = {.handler = closes_after_one};
    struct request first = {.name = "first"}, r = {.body_len = 1000};
    struct callers c;

    open_both(&c, state, &app, plain);
    start(c.side, &first);
    assert_answer(&first, "first");
    r.side = c.side;
    r.name = (const char *)&app;
    in_loop(c.side, start_on_closed, &r);
    assert_answer(&r, "post");
    assert_log(&app, "first post ");
    assert_int_equal(r.starts, 2);
    close_both(&c, &app);
}

static void always_dies(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    fake_take(app, fd, &rq);
}

static void test_a_new_connection_that_fails_is_the_answer(void **state)
{
    struct fake_app app = {.handler = always_dies};
    struct request r = {.name = "get", .idempotent = true};
    struct callers c;

    open_both(&c, state, &app, plain);
    start(c.side, &r);
    assert_outcome(&r, CUT);
    assert_int_equal(app.accepted, 1);
    close_both(&c, &app);
}

static void answers_once_and_then_never(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    if (nth == 0 && fake_take(app, fd, &rq))
        fake_answer(app, fd, rq.id, rq.name);
    fake_take(app, fd, &rq);
}

static void test_it_is_tried_again_once(void **state)
{
    struct fake_app app = {.handler = answers_once_and_then_never};
    struct request r = {.name = "get", .idempotent = true};
    struct callers c;

    open_both(&c, state, &app, plain);
    after_one_answer(&c, &r);
    assert_outcome(&r, CUT);
    assert_log(&app, "first get get ");
    close_both(&c, &app);
}

static void begins_the_second_and_dies(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    if (fake_take(app, fd, &rq))
        fake_answer(app, fd, rq.id, rq.name);
    if (fake_take(app, fd, &rq))
        fake_say(app, fd, "STDOUT 1 'half'");
}

static void test_an_answer_that_began_is_not_asked_for_again(void **state)
{
    struct fake_app app = {.handler = begins_the_second_and_dies};
    struct request r = {.name = "get", .idempotent = true};
    struct callers c;

    open_both(&c, state, &app, plain);
    after_one_answer(&c, &r);
    assert_outcome(&r, CUT);
    assert_string_equal(r.out, "half");
    assert_int_equal(app.requests, 2);
    close_both(&c, &app);
}

/* -- refusals -- */

static void test_an_unknown_role(void **state)
{
    struct fake_app app = {.handler = fake_script};
    struct request r = {.name = "role", .idempotent = true};
    struct callers c;

    open_both(&c, state, &app, plain);
    app.script = "END_REQUEST 1 x0000000003000000";
    start(c.side, &r);
    assert_outcome(&r, BAD_ROLE);
    assert_int_equal(app.requests, 1);
    close_both(&c, &app);
}

/* The refusal of a multiplexed request on a connection that has only this one makes no sense. */
static void test_a_refusal_that_makes_no_sense(void **state)
{
    struct fake_app app = {.handler = fake_script};
    struct request r = {.name = "mpx", .idempotent = true};
    struct callers c;

    open_both(&c, state, &app, plain);
    app.script = "END_REQUEST 1 x0000000001000000";
    start(c.side, &r);
    assert_outcome(&r, CUT);
    assert_int_equal(app.requests, 1);
    close_both(&c, &app);
}

static void is_overloaded_for_a_while(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    while (fake_take(app, fd, &rq))
        if (atomic_load(&app->requests) > 4)
            fake_answer(app, fd, rq.id, rq.name);
        else
            fake_say(app, fd, "END_REQUEST 1 x0000000002000000");
}

static void test_an_overloaded_application_is_asked_again(void **state)
{
    struct fake_app app = {.handler = is_overloaded_for_a_while};
    struct request r = {.name = "post", .body_len = 10};
    struct callers c;

    open_both(&c, state, &app, plain);
    start(c.side, &r);
    assert_answer(&r, "post");
    assert_int_equal(app.requests, 5);
    close_both(&c, &app);
}

static void is_overloaded(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    while (fake_take(app, fd, &rq))
        fake_say(app, fd, "END_REQUEST 1 x0000000002000000");
}

static void test_an_application_overloaded_for_good(void **state)
{
    struct fake_app app = {.handler = is_overloaded};
    struct ferry_pool_opts opts = plain;
    struct request r[20];
    struct callers c;

    opts.queue_timeout_ms = 500;
    open_both(&c, state, &app, opts);
    for (int i = 0; i < 20; i++) {
        r[i] = (struct request){.name = "x"};
        start(c.side, &r[i]);
        fake_sleep_ms(2); /* new ones do not make the waiting ones try more often */
    }
    for (int i = 0; i < 20; i++) {
        assert_outcome(&r[i], OVERLOADED);
        assert_int_equal(r[i].result.err, FERRY_EREMOTE);
    }
    assert_in_range(app.requests, 21, 300);
    close_both(&c, &app);
}

/* -- nothing of one request reaches the next -- */

static void says_too_much(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    while (fake_take(app, fd, &rq)) {
        fake_wait_go(app);
        if (!fake_say(app, fd,
                      "STDOUT 1 'mine'; END_REQUEST 1 x0000000000000000; STDOUT 1 'stray'; "
                      "END_REQUEST 1 x0000000000000000"))
            return;
    }
}

static void test_data_after_the_end_is_nobodys(void **state)
{
    struct fake_app app = {.handler = says_too_much};
    struct request r[6];
    struct callers c;

    open_both(&c, state, &app, one);
    for (int i = 0; i < 6; i++) {
        r[i] = (struct request){.name = "x", .idempotent = true};
        start(c.side, &r[i]);
    }
    app.go = true;
    for (int i = 0; i < 6; i++)
        assert_answer(&r[i], "mine");
    assert_int_equal(app.accepted, 6);
    close_both(&c, &app);
}

/* Answers at the first record and reads the rest later, if at all. */
static void answers_before_the_body(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_record_in *in = malloc(sizeof *in);
    struct fake_request rq = {0};

    (void)nth;
    must(in);
    while (fake_take_record(app, fd, in)) {
        fake_take_into(in, &rq);
        if (in->r.type == FERRY_PARAMS && in->r.content_len) {
            fake_note(app, &rq);
            if (!fake_answer(app, fd, rq.id, rq.name))
                break;
        }
        if (in->r.type == FERRY_STDIN && rq.body > 0 && !atomic_load(&app->go))
            fake_wait_go(app);
    }
    free(in);
}

static void test_an_answer_before_the_body_was_read(void **state)
{
    struct fake_app app = {.handler = answers_before_the_body};
    struct request r = {.name = "first", .body_len = 4000000},
                   next = {.name = "next", .body_len = 10};
    struct callers c;

    open_both(&c, state, &app, one);
    start(c.side, &r);
    start(c.side, &next);
    assert_answer(&r, "first");
    assert_answer(&next, "next");
    assert_int_equal(app.accepted, 2);
    assert_true(app.received < 2000000); /* of a body that nobody wants any more */
    app.go = true;
    close_both(&c, &app);
}

/* The answer lies in the socket when sending the body fails. */
static void answers_and_closes(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_record_in *in = malloc(sizeof *in);
    struct fake_request rq = {0};
    static char text[40000];

    (void)nth;
    must(in);
    while (fake_take_record(app, fd, in) && in->r.type != FERRY_STDIN)
        fake_take_into(in, &rq);
    memset(text, 'a', sizeof text);
    if (rq.id && fake_record(app, fd, FERRY_STDOUT, rq.id, text, sizeof text))
        fake_answer(app, fd, rq.id, "end");
    free(in);
}

static void test_an_answer_before_the_close_is_read(void **state)
{
    struct fake_app app = {.handler = answers_and_closes};
    struct callers c;

    open_both(&c, state, &app, plain);
    for (int i = 0; i < 20; i++) {
        struct request r = {.name = "upload", .body_len = 3000000};

        start(c.side, &r);
        assert_outcome(&r, DONE);
        assert_int_equal(r.got, 40003);
    }
    close_both(&c, &app);
}

#define TESTS(X)                                                                                   \
    X(test_a_stale_connection_is_tried_again_for_get)                                              \
    X(test_post_is_not_sent_twice)                                                                 \
    X(test_a_body_that_is_gone_is_not_sent_twice)                                                  \
    X(test_post_goes_again_when_nothing_was_sent)                                                  \
    X(test_a_new_connection_that_fails_is_the_answer)                                              \
    X(test_it_is_tried_again_once)                                                                 \
    X(test_an_answer_that_began_is_not_asked_for_again)                                            \
    X(test_an_unknown_role)                                                                        \
    X(test_a_refusal_that_makes_no_sense)                                                          \
    X(test_an_overloaded_application_is_asked_again)                                               \
    X(test_an_application_overloaded_for_good)                                                     \
    X(test_data_after_the_end_is_nobodys)                                                          \
    X(test_an_answer_before_the_body_was_read)                                                     \
    X(test_an_answer_before_the_close_is_read)

int main(void)
{
#define X(f) on_both(f),
    const struct CMUnitTest tests[] = {TESTS(X)};
#undef X

    return cmocka_run_group_tests(tests, NULL, NULL);
}
