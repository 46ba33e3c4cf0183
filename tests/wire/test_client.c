/* SPDX-License-Identifier: MIT */
/* An application as its callers see it: addresses, threads that join and leave, calls. */
#include "callers.h"

static void answers(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    while (fake_take(app, fd, &rq))
        if (!fake_answer(app, fd, rq.id, rq.name) || !(rq.flags & FERRY_KEEP_CONN))
            return;
}

static const struct ferry_client_opts plain = {FERRY_CLIENT_OPTS_SIZE,
                                               .multiplex = FERRY_MULTIPLEX_OFF};

static struct ferry_client_opts to(const struct fake_app *app)
{
    struct ferry_client_opts o = plain;

    o.address = app->path;
    return o;
}

/* -- addresses -- */

static void test_an_address_that_is_none_is_refused(void **state)
{
    static const char *const wrong[] = {
        "",     "unix:", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536",
        "fd:3", "[::1",  "a b:9000",  NULL};
    struct ferry_client *c = NULL;

    (void)state;
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct ferry_client_opts o = plain;

        o.address = wrong[i];
        assert_int_equal(ferry_client_new(&o, &c), FERRY_EUSAGE);
        assert_true(strlen(ferry_client_why()) > 0);
    }
    assert_null(c);
}

static void test_options_have_a_size(void **state)
{
    struct ferry_client_opts o = {.address = "127.0.0.1:9000"};
    struct ferry_client *c = NULL;

    (void)state;
    assert_int_equal(ferry_client_new(&o, &c), FERRY_EUSAGE);
    o.size = offsetof(struct ferry_client_opts, addresses); /* as an old program's */
    o.addresses = (void *)&o;
    o.naddresses = 1000;
    assert_int_equal(ferry_client_new(&o, &c), 0);
    ferry_client_free(c);
    ferry_client_free(NULL);
}

static void make(void *arg)
{
    struct ferry_client *c = NULL;
    int err = ferry_client_new(arg, &c);

    assert_true(err == 0 || (err == -ENOMEM && alloc_failed()));
    if (err == 0)
        ferry_client_free(c);
    else
        assert_null(c);
}

static void test_memory_may_be_out(void **state)
{
    static const struct ferry_client_address several[] = {
        {.text = "unix:/run/a"}, {.text = "[::1]:9000", .weight = 3}, {.text = "app.example:9000"}};
    struct ferry_client_opts o = plain;

    (void)state;
    o.address = "127.0.0.1:9000";
    each_alloc_fails(make, &o);
    o.address = NULL;
    o.addresses = several;
    o.naddresses = 3;
    o.balance = FERRY_BALANCE_STICKY;
    o.ping = "/ping";
    o.name_servers = "127.0.0.1";
    each_alloc_fails(make, &o);
}

/* -- calls -- */

static void test_calls_are_answered(void **state)
{
    struct fake_app app = {.handler = answers};
    struct callers c;

    fake_listen(&app, 16);
    fake_start(&app);
    callers_open_client(&c, state, 2, to(&app));
    for (int i = 0; i < 10; i++) {
        struct request r = {.name = "x"};

        start(&c.side[i % 2], &r);
        assert_answer(&r, "x");
    }
    assert_in_range(app.accepted, 1, 2);
    callers_close(&c);
    fake_stop(&app);
}

/* -- joining and leaving, on loops that the test turns itself -- */

static void stop(void *loop)
{
    ferry_loop_stop(loop);
}

struct visit {
    struct request r;
    struct side side;
};

static void visit_done(struct ferry_call *call, const struct ferry_call_result *result)
{
    struct visit *v = ferry_container(call, struct visit, r.call);

    on_done(call, result);
    ferry_loop_stop(v->side.loop);
}

/* One call, waited for, on a loop that is freed behind it. */
static void visit(struct ferry_client *client, void **state)
{
    static const struct ferry_call_fns fns = {
        .out = on_out, .errors = on_errors, .done = visit_done};
    struct visit v = {.r = {.name = "v"}};
    struct callers c = {.n = 1};

    callers_loops(&c, state);
    v.side = c.side[0];
    v.r.side = &v.side;
    assert_int_equal(ferry_client_local(client, v.side.loop, &v.side.client), 0);
    start_here(&v.r);
    v.r.call.fns = &fns;
    assert_int_equal(ferry_loop_run(v.side.loop), 0);
    assert_answer(&v.r, "v");
    ferry_client_close(client, v.side.loop, stop, v.side.loop);
    assert_int_equal(ferry_loop_run(v.side.loop), 0);
    ferry_loop_free(v.side.loop);
}

static void test_loops_come_and_go(void **state)
{
    struct fake_app app = {.handler = answers};
    struct ferry_client_opts o;
    struct ferry_client *client;

    fake_listen(&app, 16);
    fake_start(&app);
    o = to(&app);
    o.threads_max = 1; /* the next has the place of the last */
    assert_int_equal(ferry_client_new(&o, &client), 0);
    for (int i = 0; i < 5; i++)
        visit(client, state);
    assert_int_equal(app.requests, 5);
    ferry_client_free(client);
    fake_stop(&app);
}

static void test_more_loops_than_may_be(void **state)
{
    struct ferry_client_opts o = plain;
    struct ferry_client *client;
    struct callers c = {.n = 2};

    o.address = "127.0.0.1:9";
    o.threads_max = 1;
    callers_loops(&c, state);
    assert_int_equal(ferry_client_new(&o, &client), 0);
    assert_int_equal(ferry_client_join(client, c.side[0].loop), 0);
    assert_int_equal(ferry_client_join(client, c.side[0].loop), 0); /* it has already */
    assert_int_equal(ferry_client_join(client, c.side[1].loop), FERRY_ELIMIT);
    ferry_client_close(client, c.side[0].loop, stop, c.side[0].loop);
    assert_int_equal(ferry_loop_run(c.side[0].loop), 0);
    assert_int_equal(ferry_client_join(client, c.side[1].loop), 0);
    ferry_client_close(client, c.side[1].loop, stop, c.side[1].loop);
    assert_int_equal(ferry_loop_run(c.side[1].loop), 0);
    for (int i = 0; i < 2; i++)
        ferry_loop_free(c.side[i].loop);
    ferry_client_free(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_address_that_is_none_is_refused),
        cmocka_unit_test(test_options_have_a_size),
        cmocka_unit_test(test_memory_may_be_out),
        on_both(test_calls_are_answered),
        on_both(test_loops_come_and_go),
        on_both(test_more_loops_than_may_be),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
