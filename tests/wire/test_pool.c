/* SPDX-License-Identifier: MIT */
/*
 * Who gets which connection: the cap, the queue, kept and lent connections, and applications with
 * fewer processes than there are connections. Real loops in threads, scripted applications.
 */
#include "callers.h"

static void answers(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    while (fake_take(app, fd, &rq))
        if (!fake_answer(app, fd, rq.id, rq.name) || !(rq.flags & FERRY_KEEP_CONN))
            return;
}

static void answers_slowly(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    while (fake_take(app, fd, &rq)) {
        fake_sleep_ms(5);
        if (!fake_answer(app, fd, rq.id, rq.name) || !(rq.flags & FERRY_KEEP_CONN))
            return;
    }
}

static void answers_when_told(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    while (fake_take(app, fd, &rq)) {
        fake_wait_go(app);
        if (!fake_answer(app, fd, rq.id, rq.name))
            return;
    }
}

static const struct ferry_pool_opts plain = {.multiplex = FERRY_MULTIPLEX_OFF};

static struct ferry_pool_opts capped(unsigned cap)
{
    struct ferry_pool_opts o = plain;

    o.connections_max = cap;
    return o;
}

static void open_both(struct callers *c, void **state, unsigned threads, struct fake_app *app,
                      struct ferry_pool_opts opts)
{
    fake_listen(app, 128);
    callers_open(c, state, threads, app, opts);
    fake_start(app);
}

static void close_both(struct callers *c, struct fake_app *app)
{
    callers_close(c);
    fake_stop(app);
}

/* -- kept connections -- */

static void test_a_kept_connection_is_used_again(void **state)
{
    struct fake_app app = {.handler = answers};
    struct callers c;

    open_both(&c, state, 1, &app, plain);
    for (int i = 0; i < 3; i++) {
        struct request r = {.name = "again"};

        start(c.side, &r);
        assert_answer(&r, "again");
    }
    assert_int_equal(app.accepted, 1);
    assert_int_equal(app.not_kept, 0);
    close_both(&c, &app);
}

static void closes_after_each(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    if (fake_take(app, fd, &rq))
        fake_answer(app, fd, rq.id, rq.name);
}

static void test_an_application_may_close_after_each_response(void **state)
{
    struct fake_app app = {.handler = closes_after_each};
    struct callers c;

    open_both(&c, state, 1, &app, plain);
    for (int i = 0; i < 20; i++) {
        struct request r = {.name = "x", .idempotent = true};

        start(c.side, &r);
        assert_answer(&r, "x");
    }
    assert_int_equal(app.requests, 20);
    close_both(&c, &app);
}

static bool all_closed(void *app)
{
    return atomic_load(&((struct fake_app *)app)->open) == 0;
}

static void test_an_idle_connection_is_closed_in_the_end(void **state)
{
    struct ferry_pool_opts opts = plain;
    struct fake_app app = {.handler = answers};
    struct request r = {0};
    struct callers c;

    opts.idle_timeout_ms = 100;
    open_both(&c, state, 1, &app, opts);
    start(c.side, &r);
    assert_answer(&r, "r");
    assert_int_equal(app.open, 1);
    assert_true(wait_for(all_closed, &app, 2000));
    close_both(&c, &app);
}

/* -- the cap and the queue -- */

enum { MANY = 64 };

static void start_many(struct callers *c, struct request *r, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        r[i] = (struct request){.name = "many", .idempotent = i % 2};
        start(&c->side[i % c->n], &r[i]);
    }
}

static uint64_t slowest_ms(struct request *r, unsigned n)
{
    uint64_t most = 0;

    for (unsigned i = 0; i < n; i++)
        if (r[i].ended_us - r[i].began_us > most)
            most = r[i].ended_us - r[i].began_us;
    return most / 1000;
}

static void test_the_cap_holds_in_all_threads(void **state)
{
    struct fake_app app = {.handler = answers_slowly};
    struct request r[MANY];
    struct callers c;

    open_both(&c, state, 2, &app, capped(4));
    start_many(&c, r, MANY);
    for (int i = 0; i < MANY; i++)
        assert_answer(&r[i], "many");
    assert_in_range(app.open_max, 1, 4);
    close_both(&c, &app);
}

static void test_the_oldest_is_served_first(void **state)
{
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    struct fake_app app = {.handler = answers_when_told};
    struct request r[8];
    struct callers c;

    open_both(&c, state, 1, &app, capped(1));
    for (int i = 0; i < 8; i++) {
        r[i] = (struct request){.name = names[i]};
        start(c.side, &r[i]);
    }
    app.go = true;
    for (int i = 0; i < 8; i++)
        assert_answer(&r[i], names[i]);
    assert_log(&app, "a b c d e f g h ");
    close_both(&c, &app);
}

static void test_a_call_waits_up_to_its_deadline(void **state)
{
    struct ferry_pool_opts opts = capped(1);
    struct fake_app app = {.handler = answers_when_told};
    struct request first = {0}, second = {0};
    struct callers c;

    opts.queue_timeout_ms = 200;
    open_both(&c, state, 1, &app, opts);
    start(c.side, &first);
    start(c.side, &second);
    assert_outcome(&second, TIMEOUT);
    assert_int_equal(second.result.err, -ETIMEDOUT);
    assert_in_range(second.ended_us - second.began_us, 190000, 1500000);
    assert_false(has_ended(&first)); /* the deadline is the queue's alone */
    app.go = true;
    assert_answer(&first, "r");
    close_both(&c, &app);
}

static void test_past_the_end_of_the_queue_there_is_no_waiting(void **state)
{
    struct ferry_pool_opts opts = capped(1);
    struct fake_app app = {.handler = answers_when_told};
    struct request r[5];
    struct callers c;

    opts.queue_max = 2;
    open_both(&c, state, 1, &app, opts);
    start_many(&c, r, 5);
    for (int i = 3; i < 5; i++) {
        assert_outcome(&r[i], OVERLOADED);
        assert_true(r[i].ended_us - r[i].began_us < 1000000);
    }
    for (int i = 0; i < 3; i++)
        assert_false(has_ended(&r[i]));
    app.go = true;
    for (int i = 0; i < 3; i++)
        assert_answer(&r[i], "many");
    close_both(&c, &app);
}

/* Nothing is told from within the owner's own call (call.h). */
struct watched {
    struct request r;
    bool inside, told_inside;
};

static void told_while_starting(struct ferry_call *call, const struct ferry_call_result *result)
{
    struct watched *w = ferry_container(call, struct watched, r.call);

    w->told_inside = w->inside;
    on_done(call, result);
}

static void start_watched(void *arg)
{
    static const struct ferry_call_fns fns = {
        .out = on_out, .errors = on_errors, .done = told_while_starting};
    struct watched *w = arg;
    struct ferry_block *b = ferry_block_get(ferry_loop_blocks(w->r.side->loop), 16);

    must(b);
    memset(b->data, 0, 16);
    w->r.call.fns = &fns;
    w->r.call.image = b; /* no image of a request: it can never be begun */
    w->r.call.image_bytes = ferry_slice(b->data, 16);
    w->inside = true;
    ferry_call_start(w->r.side->local, &w->r.call);
    w->inside = false;
}

static void test_a_call_that_can_never_begin_is_told_so_later(void **state)
{
    struct fake_app app = {.handler = answers};
    struct watched w = {0};
    struct callers c;

    open_both(&c, state, 1, &app, plain);
    w.r.side = c.side;
    in_loop(c.side, start_watched, &w);
    assert_outcome(&w.r, REFUSED);
    assert_int_equal(w.r.result.err, FERRY_EUSAGE);
    assert_false(w.told_inside);
    close_both(&c, &app);
}

/* -- between threads -- */

static void test_an_idle_connection_goes_to_the_thread_in_need(void **state)
{
    struct fake_app app = {.handler = answers};
    struct callers c;

    open_both(&c, state, 2, &app, capped(1));
    for (int i = 0; i < 20; i++) {
        struct request r = {.name = "x"};

        start(&c.side[i % 2], &r);
        assert_answer(&r, "x");
        assert_true(r.ended_us - r.began_us < 1000000);
    }
    assert_int_equal(app.accepted, 1);
    close_both(&c, &app);
}

/* Neither lends what is not idle, nor forgets a waiting call while something is. */
static void test_threads_pass_one_connection_to_and_fro(void **state)
{
    struct fake_app app = {.handler = answers};
    struct request r[MANY];
    struct callers c;

    open_both(&c, state, 2, &app, capped(1));
    for (int round = 0; round < 10; round++) {
        start_many(&c, r, MANY);
        for (int i = 0; i < MANY; i++)
            assert_answer(&r[i], "many");
        assert_true(slowest_ms(r, MANY) < 2000);
    }
    assert_int_equal(app.open_max, 1);
    close_both(&c, &app);
}

/* -- applications with fewer processes than connections -- */

static void test_kept_connections_starve_nobody(void **state)
{
    struct fake_app app = {.handler = answers, .serial = true};
    struct request r[MANY];
    struct callers c;

    open_both(&c, state, 2, &app, plain);
    for (int round = 0; round < 3; round++) {
        start_many(&c, r, MANY);
        for (int i = 0; i < MANY; i++)
            assert_answer(&r[i], "many");
        assert_true(slowest_ms(r, MANY) < 3000);
    }
    assert_int_equal(app.open_max, 1);
    assert_int_equal(app.requests, 3 * MANY);
    close_both(&c, &app);
}

static void test_connections_are_not_kept_while_one_starves(void **state)
{
    struct fake_app app = {.handler = answers_when_told, .serial = true};
    struct request r[3] = {{.name = "a"}, {.name = "b"}, {.name = "c"}};
    struct callers c;

    open_both(&c, state, 2, &app, plain);
    start(&c.side[0], &r[0]);
    fake_sleep_ms(100); /* no answer yet: it starves */
    start(&c.side[0], &r[1]);
    start(&c.side[1], &r[2]);
    app.go = true;
    for (int i = 0; i < 3; i++)
        assert_outcome(&r[i], DONE);
    assert_int_equal(app.not_kept, 2);
    close_both(&c, &app);
}

static void test_a_full_backlog_is_waited_for(void **state)
{
    struct fake_app app = {.handler = answers};
    struct request r[20];
    struct callers c;

    fake_listen(&app, 0);
    callers_open(&c, state, 2, &app, plain);
    start_many(&c, r, 20);
    fake_sleep_ms(200);
    for (int i = 0; i < 20; i++)
        assert_false(has_ended(&r[i]));
    fake_start(&app);
    for (int i = 0; i < 20; i++)
        assert_answer(&r[i], "many");
    assert_int_equal(app.requests, 20);
    close_both(&c, &app);
}

static void test_a_backlog_that_stays_full_is_a_timeout(void **state)
{
    struct ferry_pool_opts opts = plain;
    struct fake_app app = {.handler = answers};
    struct request r[4];
    struct callers c;
    unsigned late = 0;

    opts.queue_timeout_ms = 300;
    fake_listen(&app, 0);
    callers_open(&c, state, 1, &app, opts);
    start_many(&c, r, 4);
    fake_sleep_ms(800);
    for (int i = 0; i < 4; i++) {
        if (!has_ended(&r[i]))
            continue; /* one is in the backlog: connected, and the application's now */
        late++;
        assert_outcome(&r[i], TIMEOUT);
    }
    assert_int_equal(late, 3);
    fake_start(&app);
    for (int i = 0; i < 4; i++)
        assert_true(wait_end(&r[i]));
    close_both(&c, &app);
}

static void test_nobody_listens(void **state)
{
    struct fake_app app = {.handler = answers};
    struct request r[2] = {{.idempotent = true}, {.idempotent = true}};
    struct callers c;
    int fd;

    fake_listen(&app, 16);
    callers_open(&c, state, 1, &app, plain);
    fd = app.listener;
    close(fd);
    start(c.side, &r[0]);
    assert_outcome(&r[0], REFUSED);
    assert_int_equal(r[0].result.err, -ECONNREFUSED);
    unlink(app.path);
    start(c.side, &r[1]);
    assert_outcome(&r[1], REFUSED);
    assert_int_equal(r[1].result.err, -ENOENT);
    callers_close(&c);
    pthread_mutex_destroy(&app.lock);
}

/* -- abandoned calls -- */

static void test_a_queued_call_can_be_aborted(void **state)
{
    struct fake_app app = {.handler = answers_when_told};
    struct request r[4] = {{.name = "a"}, {.name = "b"}, {.name = "c"}, {.name = "d"}};
    struct callers c;

    open_both(&c, state, 1, &app, capped(1));
    for (int i = 0; i < 4; i++)
        start(c.side, &r[i]);
    in_loop(c.side, abort_here, &r[1]);
    in_loop(c.side, abort_here, &r[3]);
    app.go = true;
    assert_answer(&r[0], "a");
    assert_answer(&r[2], "c");
    assert_log(&app, "a c ");
    assert_false(has_ended(&r[1]) || has_ended(&r[3]));
    close_both(&c, &app);
}

static void start_and_abort(void *arg)
{
    start_here(arg);
    abort_here(arg);
}

static void test_a_connecting_call_can_be_aborted(void **state)
{
    struct fake_app app = {.handler = answers};
    struct request gone = {.name = "gone"}, r = {.name = "next"};
    struct callers c;

    open_both(&c, state, 1, &app, capped(1));
    gone.side = c.side;
    in_loop(c.side, start_and_abort, &gone);
    start(c.side, &r);
    assert_answer(&r, "next");
    assert_log(&app, "next ");
    assert_false(has_ended(&gone));
    close_both(&c, &app);
}

static void test_an_aborted_call_frees_its_place(void **state)
{
    struct fake_app app = {.handler = answers_when_told};
    struct request gone = {.name = "gone"}, r = {.name = "next"};
    struct callers c;

    open_both(&c, state, 1, &app, capped(1));
    start(c.side, &gone);
    fake_sleep_ms(50);
    start(c.side, &r);
    in_loop(c.side, abort_here, &gone);
    app.go = true;
    assert_answer(&r, "next");
    assert_int_equal(app.accepted, 2); /* what ran there has its connection closed */
    assert_false(has_ended(&gone));
    close_both(&c, &app);
}

/* -- the end -- */

static void test_closing_lets_calls_run_to_their_end(void **state)
{
    struct fake_app app = {.handler = answers_when_told};
    struct request r[3] = {{.name = "a"}, {.name = "b"}, {.name = "c"}};
    struct callers c;

    open_both(&c, state, 1, &app, capped(1));
    for (int i = 0; i < 3; i++)
        start(c.side, &r[i]);
    in_loop(c.side, close_side_here, c.side);
    fake_sleep_ms(50);
    assert_false(is_closed(c.side));
    app.go = true;
    for (int i = 0; i < 3; i++)
        assert_outcome(&r[i], DONE);
    assert_true(wait_for(is_closed, c.side, WAIT_MS));
    assert_true(wait_for(all_closed, &app, WAIT_MS));
    c.n = 0;
    pthread_join(c.side[0].id, NULL);
    ferry_pool_local_free(c.side[0].local);
    ferry_loop_free(c.side[0].loop);
    close_both(&c, &app);
}

/* One thread closes while connections pass between the two. */
static void test_threads_close_while_they_lend(void **state)
{
    for (int round = 0; round < 30; round++) {
        struct fake_app app = {.handler = answers};
        struct request r[8];
        struct callers c;

        open_both(&c, state, 2, &app, capped(1));
        start_many(&c, r, 8);
        for (int i = round % 8; i < 8; i++)
            assert_true(wait_end(&r[i]));
        for (int i = 0; i < 8; i++)
            assert_true(wait_end(&r[i]));
        close_both(&c, &app);
    }
}

#define TESTS(X)                                                                                   \
    X(test_a_kept_connection_is_used_again)                                                        \
    X(test_an_application_may_close_after_each_response)                                           \
    X(test_an_idle_connection_is_closed_in_the_end)                                                \
    X(test_the_cap_holds_in_all_threads)                                                           \
    X(test_the_oldest_is_served_first)                                                             \
    X(test_a_call_waits_up_to_its_deadline)                                                        \
    X(test_past_the_end_of_the_queue_there_is_no_waiting)                                          \
    X(test_a_call_that_can_never_begin_is_told_so_later)                                           \
    X(test_an_idle_connection_goes_to_the_thread_in_need)                                          \
    X(test_threads_pass_one_connection_to_and_fro)                                                 \
    X(test_kept_connections_starve_nobody)                                                         \
    X(test_connections_are_not_kept_while_one_starves)                                             \
    X(test_a_full_backlog_is_waited_for)                                                           \
    X(test_a_backlog_that_stays_full_is_a_timeout)                                                 \
    X(test_nobody_listens)                                                                         \
    X(test_a_queued_call_can_be_aborted)                                                           \
    X(test_a_connecting_call_can_be_aborted)                                                       \
    X(test_an_aborted_call_frees_its_place)                                                        \
    X(test_closing_lets_calls_run_to_their_end)                                                    \
    X(test_threads_close_while_they_lend)

int main(void)
{
#define X(f) on_both(f),
    const struct CMUnitTest tests[] = {TESTS(X)};
#undef X

    return cmocka_run_group_tests(tests, NULL, NULL);
}
