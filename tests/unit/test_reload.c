/* SPDX-License-Identifier: MIT */
#include "pools.h"

static const char forever[] = "trap 'exit 0' TERM; while :; do sleep 0.02; done";

static unsigned generation(struct pool *p)
{
    struct ferry_manager_status s;

    assert_int_equal(ferry_manager_status(p->manager, &s), 0);
    ferry_manager_status_fini(&s);
    return s.generation;
}

static bool is_generation(struct pool *p, const void *n)
{
    return generation(p) == *(const unsigned *)n && !ferry_manager_is_reloading(p->manager);
}

static bool is_quiet(struct pool *p, const void *arg)
{
    (void)arg;
    return !ferry_manager_is_reloading(p->manager);
}

static bool runs(struct pool *p, pid_t pid)
{
    for (unsigned i = 0; i < p->npids; i++)
        if (p->pids[i] == pid)
            return true;
    return false;
}

/* A script that is well until the file exists, and then does something else. */
static char *breakable(const char *broken, char *file)
{
    static char script[512];

    assert_int_equal(close(mkstemp(file)), 0);
    unlink(file);
    snprintf(script, sizeof script, "test -e %s && { %s; }; %s", file, broken, forever);
    return script;
}

static void break_it(const char *file)
{
    assert_int_equal(close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
}

static void all_are_changed(void **state)
{
    struct pool *p = pool_new(state);
    pid_t old[3];

    p->opts.processes_min = 3;
    pool_script(p, forever);
    pool_start(p);
    wait_count(p, pool_ready, 3);
    memcpy(old, p->pids, sizeof old);
    ferry_manager_reload(p->manager);
    assert_true(ferry_manager_is_reloading(p->manager));
    wait_count(p, is_generation, 2);
    wait_count(p, pool_has, 3);
    for (int i = 0; i < 3; i++)
        assert_false(runs(p, old[i]));
    assert_non_null(strstr(p->events, "reload: 3 new processes beside the old"));
    assert_non_null(strstr(p->events, "reloaded: 3 processes of generation 2"));
    pool_stop(p);
    assert_int_equal(p->nstates, 2); /* READY all the time */
}

static void the_old_stay_when_the_new_die(void **state)
{
    char file[] = "/tmp/ferry-test-reload-XXXXXX";
    struct pool *p = pool_new(state);
    struct ferry_manager_status s;
    pid_t old[2];

    p->opts.processes_min = 2;
    p->opts.start_ms = 1000;
    pool_script(p, breakable("exit 7", file));
    pool_start(p);
    wait_count(p, pool_ready, 2);
    memcpy(old, p->pids, sizeof old);
    break_it(file);
    ferry_manager_reload(p->manager);
    pool_wait(p, is_quiet, NULL);
    wait_count(p, pool_has, 2);
    assert_true(runs(p, old[0]) && runs(p, old[1]));
    assert_non_null(strstr(p->events, "reload failed, the old processes stay: process "));
    assert_non_null(strstr(p->events, "ended with status 7"));
    assert_int_equal(ferry_manager_status(p->manager, &s), 0);
    assert_int_equal(s.generation, 1);
    assert_int_equal(s.reloads, 0);
    assert_int_equal(s.reloads_failed, 1);
    ferry_manager_status_fini(&s);
    unlink(file);
    ferry_manager_reload(p->manager);
    wait_count(p, is_generation, 3);
    pool_stop(p);
}

static void the_old_stay_when_the_new_are_never_ready(void **state)
{
    char file[] = "/tmp/ferry-test-reload-XXXXXX";
    struct pool *p = pool_new(state);
    pid_t old;

    p->opts.ready = FERRY_MANAGER_READY_NOTIFY;
    p->opts.ready_ms = 3000;
    assert_int_equal(close(mkstemp(file)), 0);
    pool_part(p, "unless", file);
    unlink(file);
    pool_start(p);
    wait_state(p, READY);
    old = p->pids[0];
    break_it(file);
    ferry_manager_reload(p->manager);
    pool_wait(p, pool_said, "reload failed");
    wait_count(p, pool_has, 1);
    assert_int_equal(p->pids[0], old);
    assert_int_equal(ferry_manager_state(p->manager), FERRY_MANAGER_READY);
    unlink(file);
    pool_stop(p);
}

static void a_program_that_is_gone_changes_nothing(void **state)
{
    char file[] = "/tmp/ferry-test-reload-XXXXXX";
    struct pool *p = pool_new(state);
    int fd = mkostemp(file, O_CLOEXEC);

    assert_true(dprintf(fd, "#!/bin/sh\n%s\n", forever) > 0);
    assert_int_equal(fchmod(fd, 0700), 0);
    close(fd);
    p->argv[0] = file;
    pool_start(p);
    wait_state(p, READY);
    unlink(file);
    ferry_manager_reload(p->manager);
    pool_wait(p, is_quiet, NULL);
    assert_non_null(strstr(p->events, "reload failed, the old processes stay: "));
    assert_non_null(strstr(p->events, "cannot be executed"));
    pool_pass(p, 200);
    assert_int_equal(p->npids, 1);
    pool_stop(p);
}

/* However many are asked for while one is under way, they are one more. */
static void reloads_that_wait_are_one(void **state)
{
    struct pool *p = pool_new(state);

    pool_script(p, forever);
    pool_start(p);
    wait_state(p, READY);
    for (int i = 0; i < 10; i++)
        ferry_manager_reload(p->manager);
    wait_count(p, is_generation, 3);
    pool_pass(p, 300);
    assert_int_equal(generation(p), 3);
    assert_int_equal(p->started, 3);
    pool_stop(p);
}

/* Those that ignore the signal would pile up. */
static void those_that_do_not_end_are_bounded(void **state)
{
    struct pool *p = pool_new(state);
    uint64_t until;

    p->opts.stop_ms = 1000;
    pool_script(p, "trap '' TERM; while :; do sleep 0.02; done");
    pool_start(p);
    wait_state(p, READY);
    for (until = ferry_now_us() + 2500000; ferry_now_us() < until;) {
        ferry_manager_reload(p->manager);
        pool_pass(p, 20);
        assert_true(p->npids <= 4);
    }
    assert_true(generation(p) >= 3);
    ferry_manager_stop(p->manager, 0, 10);
    pool_wait(p, pool_is_closed, NULL);
    pool_tidy(p);
}

static void each_on_its_own_socket(void **state)
{
    struct pool *p = pool_new(state);
    struct ferry_manager_status s;

    p->opts.per_process = true;
    p->opts.processes_min = 3;
    pool_part(p, "serve", NULL);
    p->opts.processes_max = 3;
    pool_start(p);
    wait_count(p, pool_ready, 3);
    ferry_manager_reload(p->manager);
    wait_count(p, is_generation, 2);
    wait_count(p, pool_has, 3);
    assert_int_equal(ferry_manager_status(p->manager, &s), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(s.processes[i].slot, i);
        assert_int_equal(s.processes[i].generation, 2);
    }
    ferry_manager_status_fini(&s);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(pool_request(&p->addrs[i], p->addr_lens[i]), 0);
    pool_stop(p);
}

static void on_demand_there_is_nothing_to_change(void **state)
{
    struct pool *p = pool_new(state);

    p->opts.on_demand = true;
    pool_script(p, forever);
    pool_start(p);
    ferry_manager_reload(p->manager);
    wait_count(p, is_generation, 2);
    pool_pass(p, 200);
    assert_int_equal(p->started, 0);
    pool_stop(p);
}

static void a_stop_ends_a_reload(void **state)
{
    struct pool *p = pool_new(state);

    p->opts.processes_min = 2;
    p->opts.start_ms = 30000;
    p->opts.ready = FERRY_MANAGER_READY_NOTIFY;
    pool_part(p, "notify", NULL);
    pool_start(p);
    wait_state(p, READY);
    ferry_manager_reload(p->manager);
    wait_count(p, pool_has_started, 3);
    ferry_manager_reload(p->manager);
    pool_stop(p);
}

/* -- under load -- */

static void reload_under_load(void **state, const char *part)
{
    struct pool *p = pool_new(state);
    struct pool_score score = {0};
    struct pool_load load;

    p->opts.processes_min = 2;
    p->opts.ready = FERRY_MANAGER_READY_NOTIFY;
    pool_part(p, part, NULL);
    pool_start(p);
    wait_count(p, pool_ready, 2);
    load = pool_load_begin(p, 4);
    for (unsigned i = 0; i < 100; i++) {
        alarm(100);
        ferry_manager_reload(p->manager);
        wait_count(p, is_generation, i + 2);
        pool_load_read(&load, &score);
    }
    pool_pass(p, 100);
    pool_load_end(&load, &score);
    print_message("# %lu answers\n", score.answers);
    assert_true(score.answers > 100);
    assert_int_equal(score.refused, 0);
    assert_int_equal(score.cut, 0);
    wait_count(p, pool_has, 2);
    pool_stop(p);
}

static void a_hundred_under_load(void **state)
{
    reload_under_load(state, "polite");
}

static void a_hundred_of_ferrys_own(void **state)
{
    reload_under_load(state, "serve");
}

/* What is killed takes the requests it has along, and no others. */
static void kills_under_load(void **state)
{
    enum { KILLS = 40, CLIENTS = 4 };
    struct pool *p = pool_new(state);
    struct pool_score score = {0};
    struct pool_load load;

    p->opts.processes_min = 4;
    p->opts.settled_ms = 1;
    pool_part(p, "serve", NULL);
    pool_start(p);
    wait_count(p, pool_ready, 4);
    load = pool_load_begin(p, CLIENTS);
    for (unsigned i = 0; i < KILLS; i++) {
        alarm(100);
        if (p->npids)
            kill(p->pids[i * 7 % p->npids], SIGKILL);
        pool_pass(p, 30);
        pool_load_read(&load, &score);
    }
    wait_count(p, pool_ready, 4);
    pool_pass(p, 100);
    pool_load_end(&load, &score);
    print_message("# %lu answers, %lu cut\n", score.answers, score.cut);
    assert_true(score.answers > 100);
    assert_int_equal(score.refused, 0);
    assert_true(score.cut <= KILLS * CLIENTS);
    pool_stop(p);
}

static int play(int argc, char **argv)
{
    if (!strcmp(argv[1], "serve"))
        return part_serve();
    if (!strcmp(argv[1], "polite"))
        return part_polite();
    if (argc > 2 && access(argv[2], F_OK) != 0)
        part_notify("READY=1");
    if (!strcmp(argv[1], "notify"))
        part_notify("READY=1");
    for (;;)
        pause();
}

static const enum ferry_io epoll = FERRY_IO_EPOLL, any = FERRY_IO_AUTO;

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define T(f)                                                                                       \
    {#f " (epoll)", f, NULL, NULL, (void *)&epoll}, {#f " (auto)", f, NULL, NULL, (void *)&any}
        T(all_are_changed),
        T(the_old_stay_when_the_new_die),
        T(the_old_stay_when_the_new_are_never_ready),
        T(a_program_that_is_gone_changes_nothing),
        T(reloads_that_wait_are_one),
        T(those_that_do_not_end_are_bounded),
        T(each_on_its_own_socket),
        T(on_demand_there_is_nothing_to_change),
        T(a_stop_ends_a_reload),
        T(a_hundred_under_load),
        T(a_hundred_of_ferrys_own),
        T(kills_under_load),
#undef T
    };

    if (argc > 1)
        return play(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
