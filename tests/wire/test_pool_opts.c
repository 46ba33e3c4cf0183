/* SPDX-License-Identifier: MIT */
/* How long connections are kept, and how many requests they carry; and what is counted. */
#include "callers.h"

static void answers(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    while (fake_take(app, fd, &rq)) {
        fake_wait_go(app);
        if (!fake_answer(app, fd, rq.id, rq.name) || !(rq.flags & FERRY_KEEP_CONN))
            return;
    }
}

static void multiplexes(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_record_in *in = malloc(sizeof *in);
    struct fake_request rq;

    (void)nth;
    must(in);
    while (fake_take_record(app, fd, in))
        if (fake_take_into(in, &rq)) {
            fake_note(app, &rq);
            if (!fake_answer(app, fd, rq.id, rq.name))
                break;
        }
    free(in);
}

static void open_both(struct callers *c, void **state, struct fake_app *app,
                      struct ferry_client_opts opts)
{
    atomic_store(&app->go, true);
    fake_listen(app, 128);
    fake_start(app);
    opts.address = app->path;
    callers_open_client(c, state, 1, opts);
}

static void close_both(struct callers *c, struct fake_app *app)
{
    callers_close(c);
    fake_stop(app);
}

static void ask(struct callers *c, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct request r = {.name = "r", .idempotent = true};

        start(c->side, &r);
        assert_answer(&r, "r");
    }
}

static struct ferry_client_stats stats_of(const struct callers *c)
{
    struct ferry_client_stats stats;

    ferry_client_stats(c->client, &stats);
    return stats;
}

/* -- how long -- */

static void test_none_is_kept(void **state)
{
    struct fake_app app = {.handler = answers};
    struct callers c;

    open_both(&c, state, &app, (struct ferry_client_opts){.no_keep = true});
    ask(&c, 5);
    assert_int_equal(app.accepted, 5);
    assert_int_equal(app.not_kept, 5);
    close_both(&c, &app);
}

static void test_so_many_requests_and_no_more(void **state)
{
    struct fake_app app = {.handler = answers};
    struct callers c;

    open_both(&c, state, &app,
              (struct ferry_client_opts){.multiplex = FERRY_MULTIPLEX_OFF, .requests_max = 3});
    ask(&c, 9);
    assert_int_equal(app.accepted, 3);
    assert_int_equal(app.not_kept, 3); /* the last of each says so */
    close_both(&c, &app);
}

static void test_so_many_requests_on_a_shared_connection(void **state)
{
    struct fake_app app = {.handler = multiplexes};
    struct callers c;

    open_both(&c, state, &app,
              (struct ferry_client_opts){.multiplex = FERRY_MULTIPLEX_ON, .requests_max = 3});
    ask(&c, 9);
    assert_int_equal(app.accepted, 3);
    close_both(&c, &app);
}

static void test_so_long_and_no_longer(void **state)
{
    struct fake_app app = {.handler = answers};
    struct callers c;

    open_both(&c, state, &app,
              (struct ferry_client_opts){
                  .multiplex = FERRY_MULTIPLEX_OFF, .idle_timeout_ms = 60000, .life_ms = 200});
    ask(&c, 1);
    fake_sleep_ms(250);
    ask(&c, 1);
    assert_int_equal(app.accepted, 2);
    close_both(&c, &app);
}

static bool three_are_idle(void *c)
{
    return stats_of(c).idle == 3;
}

static bool one_is_idle(void *c)
{
    return stats_of(c).idle == 1;
}

static void test_some_are_opened_ahead(void **state)
{
    struct fake_app app = {.handler = answers};
    struct callers c;

    open_both(&c, state, &app,
              (struct ferry_client_opts){
                  .multiplex = FERRY_MULTIPLEX_OFF, .connections_min = 3, .idle_timeout_ms = 50});
    assert_true(wait_for(three_are_idle, &c, WAIT_MS));
    fake_sleep_ms(200); /* idle for long, and kept */
    assert_true(wait_for(three_are_idle, &c, WAIT_MS));
    assert_int_equal(app.accepted, 3);
    ask(&c, 3);
    assert_int_equal(app.accepted, 3);
    fake_kill_conns(&app);
    assert_true(wait_for(three_are_idle, &c, WAIT_MS)); /* others in their place */
    close_both(&c, &app);
}

/* -- one process, and more calls than it can answer in time -- */

enum { CROWD = 200 };

static void answers_in_a_while(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    while (fake_take(app, fd, &rq)) {
        fake_sleep_ms(5);
        if (!fake_answer(app, fd, rq.id, rq.name) || !(rq.flags & FERRY_KEEP_CONN))
            return;
    }
}

static void test_answered_in_order_or_told_at_their_deadline(void **state)
{
    struct fake_app app = {.handler = answers_in_a_while, .serial = true};
    struct request *r = calloc(CROWD, sizeof *r);
    char(*names)[8] = calloc(CROWD, sizeof *names), *at = app.log;
    unsigned done = 0, timeouts = 0, last = 0;
    struct callers c;

    open_both(&c, state, &app,
              (struct ferry_client_opts){
                  .multiplex = FERRY_MULTIPLEX_OFF, .connections_max = 1, .queue_timeout_ms = 300});
    for (int i = 0; i < CROWD; i++) {
        snprintf(names[i], sizeof names[i], "%d", i + 1);
        r[i].name = names[i];
        start(c.side, &r[i]);
    }
    for (int i = 0; i < CROWD; i++) {
        assert_true(wait_end(&r[i]));
        done += r[i].result.outcome == FERRY_CALL_DONE;
        timeouts += r[i].result.outcome == FERRY_CALL_TIMEOUT;
    }
    assert_int_equal(done + timeouts, CROWD);
    assert_true(done > 0 && timeouts > 0);
    close_both(&c, &app);
    while (*at) {
        unsigned n = (unsigned)strtoul(at, &at, 10);

        assert_true(n > last);
        last = n;
        at += *at == ' ';
    }
    free(names);
    free(r);
}

/* -- what is counted -- */

static void test_what_is_counted(void **state)
{
    struct fake_app app = {.handler = answers};
    struct request r[4];
    struct ferry_client_stats stats;
    struct callers c;

    open_both(&c, state, &app,
              (struct ferry_client_opts){
                  .multiplex = FERRY_MULTIPLEX_OFF, .connections_max = 1, .queue_max = 2});
    ask(&c, 3);
    assert_true(wait_for(one_is_idle, &c, WAIT_MS));
    stats = stats_of(&c);
    assert_int_equal(stats.requests, 3);
    assert_int_equal(stats.failed, 0);
    assert_int_equal(stats.connects, 1);
    assert_int_equal(stats.reused, 2);
    assert_int_equal(stats.connections, 1);
    assert_int_equal(stats.addresses, 1);
    assert_int_equal(stats.running + stats.waiting + stats.down, 0);
    app.go = false;
    for (int i = 0; i < 4; i++) {
        r[i] = (struct request){.name = "r"};
        r[i].call.total_ms = i == 2 ? 100 : 0;
        start(c.side, &r[i]);
    }
    assert_outcome(&r[3], OVERLOADED);
    assert_outcome(&r[2], TIMEOUT);
    stats = stats_of(&c);
    assert_int_equal(stats.running, 1);
    assert_int_equal(stats.waiting, 1);
    assert_int_equal(stats.idle, 0);
    assert_int_equal(stats.full, 1);
    assert_int_equal(stats.timeouts, 1);
    assert_int_equal(stats.failed, 2);
    in_loop(c.side, abort_here, &r[0]);
    app.go = true;
    assert_answer(&r[1], "r");
    stats = stats_of(&c);
    assert_int_equal(stats.requests, 7);
    assert_int_equal(stats.failed, 2);
    assert_int_equal(stats.running + stats.waiting, 0);
    close_both(&c, &app);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_both(test_none_is_kept),
        on_both(test_so_many_requests_and_no_more),
        on_both(test_so_many_requests_on_a_shared_connection),
        on_both(test_so_long_and_no_longer),
        on_both(test_some_are_opened_ahead),
        on_both(test_answered_in_order_or_told_at_their_deadline),
        on_both(test_what_is_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
