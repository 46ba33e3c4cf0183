/* SPDX-License-Identifier: MIT */
#include "pools.h"

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;

    for (; (text = strstr(text, what)); text += strlen(what))
        n++;
    return n;
}

static void it_grows_with_the_queue_and_shrinks_when_idle(void **state)
{
    struct pool *p = pool_new(state);
    struct ferry_manager_status s;
    int fds[6];

    p->opts.processes_min = 1;
    p->opts.processes_max = 4;
    p->opts.idle_ms = 300;
    p->opts.ready = FERRY_MANAGER_READY_TIME;
    pool_part(p, "hold", NULL);
    pool_start(p);
    wait_count(p, pool_ready, 1);
    pool_pass(p, 400);
    assert_int_equal(p->npids, 1);
    for (int i = 0; i < 6; i++)
        fds[i] = pool_connect(p, 0);
    wait_count(p, pool_ready, 4);
    assert_non_null(strstr(p->events, "waiting: 1 more started, 2 now"));
    assert_int_equal(p->started, 4);
    pool_pass(p, 400);
    assert_int_equal(p->started, 4); /* and no more, whoever waits */
    assert_int_equal(ferry_manager_status(p->manager, &s), 0);
    if (s.queued >= 0)
        assert_int_equal(s.queued, 2);
    if (s.backlog >= 0)
        assert_int_equal(s.backlog, 1024);
    ferry_manager_status_fini(&s);
    for (int i = 0; i < 6; i++)
        close(fds[i]);
    wait_count(p, pool_has, 1);
    assert_int_equal(count(p->events, "having been idle for"), 3);
    pool_pass(p, 400);
    assert_int_equal(p->npids, 1);
    pool_stop(p);
    assert_null(strstr(p->events, "failed"));
}

static void it_grows_when_all_say_they_are_full(void **state)
{
    struct pool *p = pool_new(state);

    p->opts.processes_max = 3;
    p->opts.load_max = 2;
    p->opts.ready = FERRY_MANAGER_READY_NOTIFY;
    pool_part(p, "notify", NULL); /* says that it has two */
    pool_start(p);
    wait_count(p, pool_ready, 3);
    assert_non_null(strstr(p->events, "all are busy"));
    pool_stop(p);
    p = pool_new(state);
    p->opts.processes_max = 3;
    p->opts.load_max = 3;
    p->opts.ready = FERRY_MANAGER_READY_NOTIFY;
    pool_part(p, "notify", NULL);
    pool_start(p);
    wait_state(p, READY);
    pool_pass(p, 500);
    assert_int_equal(p->started, 1);
    pool_stop(p);
}

static void on_demand_the_first_connection_starts_it(void **state)
{
    struct pool *p = pool_new(state);
    int fd;

    p->opts.on_demand = true;
    p->opts.idle_ms = 200;
    pool_part(p, "hold", NULL);
    pool_start(p);
    wait_state(p, READY);
    pool_pass(p, 300);
    for (unsigned i = 1; i <= 2; i++) {
        assert_int_equal(p->npids, 0);
        fd = pool_connect(p, 0);
        wait_count(p, pool_has_started, i);
        close(fd);
        wait_count(p, pool_has, 0);
    }
    pool_pass(p, 300);
    assert_int_equal(p->started, 2);
    pool_stop(p);
}

static void on_demand_it_can_be_asked_too(void **state)
{
    struct pool *p = pool_new(state);
    int fd;

    p->opts.on_demand = true;
    p->opts.ready = FERRY_MANAGER_READY_VALUES;
    p->opts.start_ms = 50000;
    p->opts.ready_ms = 55000;
    pool_part(p, "serve", NULL);
    pool_start(p);
    fd = pool_connect(p, 0);
    wait_count(p, pool_ready, 1);
    close(fd);
    pool_stop(p);
}

/* Each says that it leaves, and does not. */
static void those_that_leave_for_ever_are_bounded(void **state)
{
    struct pool *p = pool_new(state);

    p->opts.ready = FERRY_MANAGER_READY_NOTIFY;
    p->opts.stop_ms = 3000;
    pool_part(p, "leave", NULL);
    pool_start(p);
    wait_count(p, pool_has_started, 11);
    pool_pass(p, 300);
    assert_int_equal(p->npids, 11);
    wait_count(p, pool_has_started, 13); /* those before were ended */
    pool_stop(p);
}

static void on_demand_failures_wait_for_the_next_connection(void **state)
{
    struct pool *p = pool_new(state);
    int fd;

    p->opts.on_demand = true;
    p->opts.pause_ms = 50;
    pool_script(p, "exit 1");
    pool_start(p);
    wait_state(p, READY);
    fd = pool_connect(p, 0);
    wait_count(p, pool_has_started, 3); /* it still waits */
    wait_state(p, FAILING);
    pool_stop(p);
    close(fd);
}

static void each_has_its_own_socket(void **state)
{
    struct pool *p = pool_new(state);
    struct ferry_manager_status s;
    int fd;

    p->opts.per_process = true;
    p->opts.processes_min = 2;
    p->opts.processes_max = 4;
    p->opts.idle_ms = 300;
    pool_part(p, "hold", NULL);
    pool_start(p);
    wait_count(p, pool_ready, 2);
    pool_pass(p, 200);
    assert_int_equal(p->started, 2);
    fd = pool_connect(p, 3); /* where nobody is yet */
    wait_count(p, pool_has_started, 3);
    assert_int_equal(ferry_manager_status(p->manager, &s), 0);
    assert_int_equal(s.nprocesses, 3);
    assert_int_equal(s.processes[0].slot, 0);
    assert_int_equal(s.processes[1].slot, 1);
    assert_int_equal(s.processes[2].slot, 3);
    ferry_manager_status_fini(&s);
    close(fd);
    wait_count(p, pool_has, 2); /* idle again */
    kill(p->pids[0], SIGKILL);
    wait_count(p, pool_has_started, 4);
    pool_stop(p);
}

static int play(const char *part)
{
    if (!strcmp(part, "hold"))
        part_hold();
    if (!strcmp(part, "serve"))
        return part_serve();
    if (!strcmp(part, "leave")) {
        part_notify("READY=1");
        part_notify("STOPPING=1");
    }
    part_notify("X_FERRY_ACTIVE=2\nREADY=1\n");
    for (;;)
        pause();
}

static const enum ferry_io epoll = FERRY_IO_EPOLL, any = FERRY_IO_AUTO;

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define T(f)                                                                                       \
    {#f " (epoll)", f, NULL, NULL, (void *)&epoll}, {#f " (auto)", f, NULL, NULL, (void *)&any}
        T(it_grows_with_the_queue_and_shrinks_when_idle),
        T(it_grows_when_all_say_they_are_full),
        T(on_demand_the_first_connection_starts_it),
        T(on_demand_it_can_be_asked_too),
        T(those_that_leave_for_ever_are_bounded),
        T(on_demand_failures_wait_for_the_next_connection),
        T(each_has_its_own_socket),
#undef T
    };

    if (argc > 1)
        return play(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
