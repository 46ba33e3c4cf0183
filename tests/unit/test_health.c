/* SPDX-License-Identifier: MIT */
#include "pools.h"

/* Accepts, and says nothing. */
static void part_mute(void)
{
    for (;;)
        (void)!accept4(0, NULL, NULL, SOCK_CLOEXEC);
}

static void part_answer(struct ferry_request *r)
{
    const char *uri = ferry_request_param_z(r, "REQUEST_URI");

    ferry_request_status(r, uri && !strcmp(uri, "/sick") ? 503 : 404);
    ferry_request_header(r, "Content-Type", "text/plain");
    ferry_request_finish(r, 0);
}

static int part_sick(void)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;
    struct ferry_app *app;

    opts.handle = part_answer;
    opts.io = "epoll";
    if (ferry_app_new(&opts, &app) < 0 || ferry_app_stop_on(app, SIGTERM) < 0 ||
        ferry_app_listen(app, "fd:0") < 0)
        return 1;
    return ferry_app_run(app) < 0;
}

static void with_pings(struct pool *p)
{
    p->opts.ping =
        (struct ferry_manager_ping){.interval_ms = 30, .timeout_ms = 200, .failures_max = 2};
    p->opts.settled_ms = 1;
    p->opts.stop_ms = 200;
}

static unsigned unhealthy(struct pool *p)
{
    struct ferry_manager_status s;

    assert_int_equal(ferry_manager_status(p->manager, &s), 0);
    ferry_manager_status_fini(&s);
    return (unsigned)s.unhealthy;
}

static bool has_unhealthy(struct pool *p, const void *n)
{
    return unhealthy(p) >= *(const unsigned *)n;
}

/* Only the one that is silent. */
static void who_does_not_answer_is_ended(void **state)
{
    struct pool *p = pool_new(state);
    pid_t well = 0;

    with_pings(p);
    p->opts.ping.timeout_ms = 2000;
    p->opts.per_process = true;
    p->opts.processes_min = p->opts.processes_max = 2;
    pool_part(p, "serve", NULL);
    pool_start(p);
    wait_count(p, pool_ready, 2);
    pool_pass(p, 300);
    assert_int_equal(p->started, 2);
    kill(p->pids[0], SIGSTOP);
    well = p->pids[1];
    wait_count(p, has_unhealthy, 1);
    assert_non_null(strstr(p->events, "ping 2 of 2 failed: it did not answer in time"));
    assert_non_null(strstr(p->events, "does not answer and is stopped"));
    wait_count(p, pool_has_started, 3);
    wait_count(p, pool_has, 2);
    assert_true(p->pids[0] == well || p->pids[1] == well);
    wait_count(p, pool_ready, 2);
    pool_stop(p);
}

static void on_a_shared_socket_all_are_ended(void **state)
{
    struct pool *p = pool_new(state);

    with_pings(p);
    p->opts.processes_min = 2;
    pool_part(p, "mute", NULL);
    pool_start(p);
    wait_count(p, has_unhealthy, 2);
    wait_count(p, pool_has_started, 4);
    pool_stop(p);
}

static void a_bad_answer_counts(void **state)
{
    struct pool *p = pool_new(state);

    with_pings(p);
    p->opts.ping.timeout_ms = 20000;
    p->opts.ping.script = "/ping";
    p->opts.ping.uri = "/sick";
    pool_part(p, "answer", NULL);
    pool_start(p);
    wait_count(p, has_unhealthy, 1);
    assert_non_null(strstr(p->events, "it answered with status 503"));
    pool_stop(p);
}

static void any_answer_below_500_is_good(void **state)
{
    struct pool *p = pool_new(state);

    with_pings(p);
    p->opts.ping.timeout_ms = 20000;
    p->opts.ping.script = "/ping";
    pool_part(p, "answer", NULL);
    pool_start(p);
    wait_state(p, READY);
    pool_pass(p, 500);
    assert_int_equal(unhealthy(p), 0);
    assert_string_equal(p->events, "");
    pool_stop(p);
}

/* Pings of ours that wait in the queue are nobody to start more processes for. */
static void pings_do_not_make_it_grow(void **state)
{
    struct pool *p = pool_new(state);

    with_pings(p);
    p->opts.ping.timeout_ms = 20000;
    p->opts.processes_max = 4;
    pool_script(p, "trap 'exit 0' TERM; while :; do sleep 0.02; done");
    pool_start(p);
    wait_state(p, READY);
    pool_pass(p, 800);
    assert_int_equal(p->started, 1);
    pool_stop(p);
}

static int play(const char *part)
{
    if (!strcmp(part, "mute"))
        part_mute();
    return strcmp(part, "answer") ? part_serve() : part_sick();
}

static const enum ferry_io epoll = FERRY_IO_EPOLL, any = FERRY_IO_AUTO;

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define T(f)                                                                                       \
    {#f " (epoll)", f, NULL, NULL, (void *)&epoll}, {#f " (auto)", f, NULL, NULL, (void *)&any}
        T(who_does_not_answer_is_ended), T(on_a_shared_socket_all_are_ended),
        T(a_bad_answer_counts),          T(any_answer_below_500_is_good),
        T(pings_do_not_make_it_grow),
#undef T
    };

    if (argc > 1)
        return play(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
