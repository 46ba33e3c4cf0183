/* SPDX-License-Identifier: MIT */
#include "pools.h"

#include <sys/mman.h>

static const char forever[] = "trap 'exit 0' TERM; while :; do sleep 0.02; done";

static int open_fds(void)
{
    int n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;

    for (; (text = strstr(text, what)); text += strlen(what))
        n++;
    return n;
}

/* -- starting and stopping -- */

static void so_many_share_the_socket(void **state)
{
    int before = open_fds();
    struct pool *p = pool_new(state);

    p->opts.processes_min = 3;
    pool_script(p, "readlink /proc/$$/fd/0; trap 'exit 0' TERM; while :; do sleep 0.02; done");
    pool_start(p);
    assert_int_equal(p->npids, 3);
    assert_int_equal(ferry_manager_state(p->manager), FERRY_MANAGER_STARTING);
    wait_state(p, READY);
    wait_count(p, pool_ready, 3);
    assert_int_equal(p->started, 3);
    assert_int_equal(p->nlines, 3);
    assert_int_equal(count(p->lines, "socket:["), 3);
    pool_stop(p);
    assert_int_equal(p->nstates, 2);
    assert_int_equal(p->states[0], FERRY_MANAGER_READY);
    assert_int_equal(p->states[1], FERRY_MANAGER_STOPPING);
    assert_string_equal(p->events, "");
    assert_int_equal(open_fds(), before);
}

static void what_cannot_be_executed_is_the_callers_to_know(void **state)
{
    int before = open_fds();
    struct pool *p = pool_new(state);

    p->argv[0] = "/nonexistent/program";
    assert_int_equal(pool_try(p), -ENOENT);
    assert_non_null(strstr(p->why, "/nonexistent/program cannot be executed"));
    assert_int_equal(p->started + p->closed, 0);
    pool_tidy(p);
    assert_int_equal(open_fds(), before);
}

static void options_that_contradict_each_other(void **state)
{
    struct pool *p = pool_new(state);

    pool_script(p, forever);
    p->opts.processes_min = 3;
    p->opts.processes_max = 2;
    assert_int_equal(pool_try(p), -EINVAL);
    pool_tidy(p);
    p = pool_new(state);
    assert_int_equal(pool_try(p), -EINVAL); /* no program */
    pool_tidy(p);
    p = pool_new(state);
    pool_script(p, forever);
    p->opts.processes_max = FERRY_MANAGER_PROCESSES_MAX + 1;
    assert_int_equal(pool_try(p), -EINVAL);
    pool_tidy(p);
}

static void who_ignores_the_signal_is_killed_with_its_group(void **state)
{
    struct pool *p = pool_new(state);
    long child;

    pool_script(p, "trap '' TERM; sleep 100 & echo $!; wait; sleep 100");
    pool_start(p);
    pool_wait(p, pool_wrote, "\n");
    child = strtol(p->lines, NULL, 10);
    ferry_manager_stop(p->manager, 0, 200);
    pool_wait(p, pool_is_closed, NULL);
    assert_non_null(strstr(p->events, "did not end in 0."));
    assert_non_null(strstr(p->events, "and was killed"));
    for (int i = 0; i < 500 && !pool_is_dead(child); i++)
        usleep(10000);
    assert_true(pool_is_dead(child));
    pool_tidy(p);
}

static void the_stop_signal_can_be_chosen(void **state)
{
    struct pool *p = pool_new(state);

    p->opts.stop_signal = SIGUSR1;
    pool_script(p, "trap 'echo asked; exit 0' USR1; echo up; while :; do sleep 0.02; done");
    pool_start(p);
    pool_wait(p, pool_wrote, "up");
    pool_stop(p);
    assert_string_equal(p->lines, "up\nasked\n");
}

static void a_signal_goes_to_all(void **state)
{
    struct pool *p = pool_new(state);

    p->opts.processes_min = 2;
    pool_script(p, "trap 'echo got' USR1; echo up; while :; do sleep 0.02; done");
    pool_start(p);
    while (count(p->lines, "up") < 2)
        pool_pass(p, 10);
    assert_int_equal(ferry_manager_signal(p->manager, SIGUSR1), 2);
    while (count(p->lines, "got") < 2)
        pool_pass(p, 10);
    pool_stop(p);
}

/* -- failing -- */

static void pauses_double_and_in_the_end_it_is_given_up(void **state)
{
    struct pool *p = pool_new(state);

    p->opts.failures_max = 4;
    p->opts.pause_ms = 20;
    p->opts.pause_max_ms = 50;
    pool_script(p, "exit 3");
    pool_start(p);
    wait_state(p, FATAL);
    assert_non_null(strstr(p->events, "ended with status 3; started again in 0.0 s"));
    assert_non_null(strstr(p->events, "given up after 4 failures in a row"));
    assert_int_equal(p->started, 4);
    assert_int_equal(p->npids, 0);
    pool_pass(p, 300);
    assert_int_equal(p->started, 4);
    pool_stop(p);
    assert_int_equal(p->states[0], FERRY_MANAGER_FAILING);
    assert_int_equal(p->states[1], FERRY_MANAGER_FATAL);
}

static void those_that_fail_together_are_one_failure(void **state)
{
    struct pool *p = pool_new(state);

    p->opts.processes_min = 4;
    p->opts.failures_max = 3;
    pool_script(p, "sleep 0.05; exit 3");
    pool_start(p);
    wait_state(p, FATAL);
    assert_true(p->started > 6); /* three rounds, the last of which may be cut short */
    pool_stop(p);
}

static void a_reload_brings_back_what_was_given_up(void **state)
{
    char file[] = "/tmp/ferry-test-manager-XXXXXX", script[256];
    struct pool *p = pool_new(state);
    int fd = mkstemp(file);

    close(fd);
    snprintf(script, sizeof script, "test -e %s && exit 1; %s", file, forever);
    p->opts.failures_max = 2;
    pool_script(p, script);
    pool_start(p);
    wait_state(p, FATAL);
    unlink(file);
    ferry_manager_reload(p->manager);
    assert_int_equal(ferry_manager_state(p->manager), FERRY_MANAGER_STARTING);
    wait_state(p, READY);
    wait_count(p, pool_ready, 1);
    pool_stop(p);
}

static void a_crash_is_told_and_made_good(void **state)
{
    struct pool *p = pool_new(state);
    struct ferry_manager_status s;
    pid_t victim;

    p->opts.processes_min = 2;
    p->opts.settled_ms = 1;
    pool_script(p, forever);
    pool_start(p);
    wait_count(p, pool_ready, 2);
    victim = p->pids[0];
    kill(victim, SIGSEGV);
    wait_count(p, pool_has_started, 3);
    wait_count(p, pool_ready, 2);
    assert_non_null(strstr(p->events, "was ended by signal 11"));
    assert_non_null(strstr(p->events, "started again in"));
    assert_int_equal(ferry_manager_status(p->manager, &s), 0);
    assert_int_equal(s.crashed, 1);
    assert_int_equal(s.exited, 0);
    assert_non_null(strstr(s.last_end, "signal 11"));
    ferry_manager_status_fini(&s);
    pool_stop(p);
    for (unsigned i = 0; i < p->nstates; i++)
        assert_int_not_equal(p->states[i], FERRY_MANAGER_FAILING);
}

static void status_0_is_a_wish_and_no_failure(void **state)
{
    struct pool *p = pool_new(state);
    struct ferry_manager_status s;

    p->opts.failures_max = 1;
    pool_script(p, "sleep 0.15; exit 0");
    pool_start(p);
    wait_count(p, pool_has_started, 4);
    assert_int_equal(ferry_manager_status(p->manager, &s), 0);
    assert_int_equal(s.crashed, 0);
    assert_true(s.exited >= 3);
    ferry_manager_status_fini(&s);
    assert_string_equal(p->events, "");
    pool_stop(p);
}

static void status_0_at_once_is_a_loop(void **state)
{
    struct pool *p = pool_new(state);

    p->opts.failures_max = 2;
    p->opts.ready = FERRY_MANAGER_READY_NOTIFY;
    pool_script(p, "exit 0");
    pool_start(p);
    wait_state(p, FATAL);
    pool_stop(p);
}

static void what_cannot_be_executed_later_is_said_once(void **state)
{
    char file[] = "/tmp/ferry-test-manager-XXXXXX";
    struct pool *p = pool_new(state);
    struct ferry_manager_status s;
    int fd = mkostemp(file, O_CLOEXEC);

    assert_int_equal(dprintf(fd, "#!/bin/sh\nrm -f $0; sleep 0.2\n"), 30);
    assert_int_equal(fchmod(fd, 0700), 0);
    close(fd);
    p->argv[0] = file;
    p->opts.failures_max = 4;
    pool_start(p);
    wait_state(p, FATAL);
    assert_int_equal(count(p->events, "cannot be executed"), 1);
    assert_int_equal(ferry_manager_status(p->manager, &s), 0);
    assert_int_equal(s.unstartable, 4);
    ferry_manager_status_fini(&s);
    pool_stop(p);
}

/* -- being ready -- */

static void ready_when_it_says_so(void **state)
{
    struct pool *p = pool_new(state);
    struct ferry_manager_status s;

    p->opts.ready = FERRY_MANAGER_READY_NOTIFY;
    p->opts.processes_min = 2;
    pool_part(p, "notify", NULL);
    pool_start(p);
    wait_state(p, READY);
    assert_int_equal(ferry_manager_status(p->manager, &s), 0);
    assert_int_equal(s.nprocesses, 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(s.processes[i].state, FERRY_MANAGER_PROCESS_READY);
        assert_int_equal(s.processes[i].requests, 17);
        assert_int_equal(s.processes[i].active, 2);
        assert_string_equal(s.processes[i].said, "at work");
    }
    ferry_manager_status_fini(&s);
    pool_stop(p);
}

/* Somebody else who knows the name of the socket is not heard. */
static void nobody_speaks_for_others(void **state)
{
    struct pool *p = pool_new(state);
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    size_t len;

    p->opts.ready = FERRY_MANAGER_READY_NOTIFY;
    pool_script(p, "echo $NOTIFY_SOCKET; trap 'exit 0' TERM; while :; do sleep 0.02; done");
    pool_start(p);
    pool_wait(p, pool_wrote, "\n");
    len = strcspn(p->lines, "\n");
    memcpy(un.sun_path, p->lines, len);
    assert_int_equal(un.sun_path[0], '@');
    un.sun_path[0] = '\0';
    assert_int_equal(sendto(fd, "READY=1", 7, 0, (struct sockaddr *)&un,
                            (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)),
                     7);
    close(fd);
    pool_pass(p, 300);
    assert_int_equal(ferry_manager_state(p->manager), FERRY_MANAGER_STARTING);
    pool_stop(p);
}

static void ready_when_it_answers(void **state)
{
    struct pool *p = pool_new(state);

    p->opts.ready = FERRY_MANAGER_READY_VALUES;
    p->opts.start_ms = 50000;
    p->opts.ready_ms = 55000;
    pool_part(p, "serve", NULL);
    pool_start(p);
    wait_state(p, READY);
    assert_int_equal(p->started, 1);
    pool_stop(p);
}

static void auto_takes_what_comes_first(void **state)
{
    struct pool *p = pool_new(state);

    p->opts.start_ms = 50000;
    p->opts.ready_ms = 55000;
    pool_part(p, "serve", NULL);
    pool_start(p);
    wait_state(p, READY); /* by its answer */
    pool_stop(p);
    p = pool_new(state);
    pool_script(p, forever);
    pool_start(p);
    wait_state(p, READY); /* by the time, without an answer */
    pool_stop(p);
}

static void never_ready(void **state)
{
    struct pool *p = pool_new(state);

    p->opts.ready = FERRY_MANAGER_READY_NOTIFY;
    p->opts.ready_ms = 100;
    p->opts.failures_max = 2;
    pool_script(p, forever);
    pool_start(p);
    wait_state(p, FATAL);
    assert_int_equal(count(p->events, "was not ready after 0."), 2);
    assert_int_equal(p->started, 2);
    pool_stop(p);
}

/* -- recycling -- */

static void programs_are_told_how_many_requests(void **state)
{
    struct pool *p = pool_new(state);
    unsigned long n, php;

    p->opts.max_requests = 1000;
    pool_script(p, "echo $FERRY_MAX_REQUESTS $PHP_FCGI_MAX_REQUESTS; trap 'exit 0' TERM; "
                   "while :; do sleep 0.02; done");
    pool_start(p);
    pool_wait(p, pool_wrote, "\n");
    assert_int_equal(sscanf(p->lines, "%lu %lu", &n, &php), 2);
    assert_in_range(n, 901, 1000);
    assert_int_equal(php, n);
    pool_stop(p);
}

static void who_has_reported_enough_requests_is_replaced(void **state)
{
    struct pool *p = pool_new(state);

    p->opts.max_requests = 17;
    p->opts.ready = FERRY_MANAGER_READY_NOTIFY;
    pool_part(p, "notify", NULL);
    pool_start(p);
    wait_count(p, pool_has_started, 3);
    assert_non_null(strstr(p->events, "has served 17 requests"));
    pool_stop(p);
}

static bool has_age_replacement(struct pool *p, const void *arg)
{
    (void)arg;
    return count(p->events, "takes the place of") >= 2;
}

/* At any time somebody serves: the old one is stopped when the new one is ready. */
static void the_old_are_replaced_before_they_are_stopped(void **state)
{
    struct pool *p = pool_new(state);
    struct ferry_manager_status s;

    p->opts.max_age_ms = 200;
    pool_script(p, forever);
    pool_start(p);
    wait_state(p, READY);
    pool_wait(p, has_age_replacement, NULL);
    assert_non_null(strstr(p->events, "has run for "));
    assert_int_equal(ferry_manager_status(p->manager, &s), 0);
    assert_true(s.recycled >= 2);
    assert_int_equal(s.crashed, 0);
    ferry_manager_status_fini(&s);
    pool_stop(p);
    assert_int_equal(p->nstates, 2); /* always READY */
}

static void a_replacement_that_fails_changes_nothing(void **state)
{
    char dir[] = "/tmp/ferry-test-manager-XXXXXX", script[256];
    struct pool *p = pool_new(state);
    pid_t first;

    assert_non_null(mkdtemp(dir));
    snprintf(script, sizeof script, "mkdir %s/up || exit 9; %s", dir, forever);
    p->opts.max_age_ms = 150;
    p->opts.start_ms = 800;
    p->opts.failures_max = 2;
    pool_script(p, script);
    pool_start(p);
    wait_state(p, READY);
    first = p->pids[0];
    wait_count(p, pool_has_started, 4);
    wait_count(p, pool_has, 1);
    assert_int_equal(p->pids[0], first);
    assert_int_equal(ferry_manager_state(p->manager), FERRY_MANAGER_READY);
    assert_non_null(strstr(p->events, "ended with status 9"));
    pool_stop(p);
    snprintf(script, sizeof script, "%s/up", dir);
    rmdir(script);
    rmdir(dir);
}

static void who_leaks_is_replaced(void **state)
{
    struct pool *p = pool_new(state);

    p->opts.max_rss = 64 << 20;
    pool_part(p, "leak", NULL);
    pool_start(p);
    wait_count(p, pool_has_started, 2);
    assert_non_null(strstr(p->events, "MiB of memory"));
    pool_wait(p, pool_said, "takes the place of");
    pool_stop(p);
}

/* It says that it leaves: somebody else is started before it has. */
static void who_says_it_leaves_is_replaced_at_once(void **state)
{
    struct pool *p = pool_new(state);

    p->opts.ready = FERRY_MANAGER_READY_NOTIFY;
    p->opts.failures_max = 1;
    pool_part(p, "leave", NULL);
    pool_start(p);
    wait_count(p, pool_has_started, 2);
    assert_int_equal(p->ended, 0); /* it takes its time */
    wait_count(p, pool_has_started, 4);
    pool_stop(p);
}

/* -- what they write -- */

static void a_flood_is_bounded(void **state)
{
    struct pool *p = pool_new(state);
    struct ferry_manager_status s;

    p->opts.lines_per_s = 10;
    pool_script(p, "i=0; while [ $i -lt 20000 ]; do echo line $i >&2; i=$((i+1)); done; echo end; "
                   "trap 'exit 0' TERM; while :; do sleep 0.02; done");
    pool_start(p);
    do {
        pool_pass(p, 50);
        assert_int_equal(ferry_manager_status(p->manager, &s), 0);
        ferry_manager_status_fini(&s);
    } while (s.lines_dropped + p->nlines < 20001);
    assert_true(p->nlines >= 100);
    assert_true(p->nlines < 2000);
    pool_stop(p);
    assert_non_null(strstr(p->events, "lines were left out"));
}

/* -- memory -- */

static void scenario(void *arg)
{
    static const char *const argv[] = {"/bin/sh", "-c", "echo up; sleep 0.01; exit 1", NULL};
    struct pool *p = pool_new(&arg);
    int fd;

    if (ferry_loop_new(p->backend, &p->loop) < 0)
        return;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&p->addrs[0], sizeof(sa_family_t)), -1);
    p->addrs[0].sun_family = AF_UNIX;
    assert_int_equal(bind(fd, (struct sockaddr *)&p->addrs[0], sizeof(sa_family_t)), 0);
    assert_int_equal(listen(fd, 10), 0);
    p->listeners[0] = fd;
    p->opts.spawn.argv = argv;
    p->opts.pause_ms = 1;
    p->opts.processes_min = 2;
    p->opts.processes_max = 3;
    if (ferry_manager_start(p->loop, &p->opts, &p->manager, p->why, sizeof p->why) == 0) {
        struct ferry_manager_status s;
        unsigned n = 4;

        pool_until(p, 5000, pool_has_started, &n);
        (void)!ferry_manager_status(p->manager, &s);
        ferry_manager_status_fini(&s);
        ferry_manager_stop(p->manager, 0, 5000);
        while (!p->closed)
            assert_int_equal(ferry_loop_run(p->loop), 0);
    } else {
        assert_string_not_equal(p->why, "");
    }
    pool_tidy(p);
}

static void memory_may_run_out(void **state)
{
    each_alloc_fails(scenario, *state);
}

/* -- the parts -- */

static _Noreturn void part_leak(void)
{
    for (size_t n = 0;; n++) {
        char *more =
            mmap(NULL, 4 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (more != MAP_FAILED && n < 20)
            memset(more, 1, 4 << 20);
        usleep(20000);
    }
}

static int play(const char *part)
{
    if (!strcmp(part, "serve"))
        return part_serve();
    if (!strcmp(part, "leak"))
        part_leak();
    if (!strcmp(part, "notify")) {
        part_notify("STATUS=at work\nX_FERRY_REQUESTS=17\nX_FERRY_ACTIVE=2\n");
        if (fork() == 0) { /* a child of the program speaks for it as well */
            part_notify("READY=1");
            pause();
        }
        pause();
    }
    if (!strcmp(part, "leave")) {
        part_notify("READY=1");
        usleep(50000);
        part_notify("STOPPING=1");
        sleep(2);
        return 0;
    }
    return 97;
}

static const enum ferry_io epoll = FERRY_IO_EPOLL, any = FERRY_IO_AUTO;

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define T(f)                                                                                       \
    {#f " (epoll)", f, NULL, NULL, (void *)&epoll}, {#f " (auto)", f, NULL, NULL, (void *)&any}
        T(so_many_share_the_socket),
        T(what_cannot_be_executed_is_the_callers_to_know),
        T(options_that_contradict_each_other),
        T(who_ignores_the_signal_is_killed_with_its_group),
        T(the_stop_signal_can_be_chosen),
        T(a_signal_goes_to_all),
        T(pauses_double_and_in_the_end_it_is_given_up),
        T(those_that_fail_together_are_one_failure),
        T(a_reload_brings_back_what_was_given_up),
        T(a_crash_is_told_and_made_good),
        T(status_0_is_a_wish_and_no_failure),
        T(status_0_at_once_is_a_loop),
        T(what_cannot_be_executed_later_is_said_once),
        T(ready_when_it_says_so),
        T(nobody_speaks_for_others),
        T(ready_when_it_answers),
        T(auto_takes_what_comes_first),
        T(never_ready),
        T(programs_are_told_how_many_requests),
        T(who_has_reported_enough_requests_is_replaced),
        T(the_old_are_replaced_before_they_are_stopped),
        T(a_replacement_that_fails_changes_nothing),
        T(who_leaks_is_replaced),
        T(who_says_it_leaves_is_replaced_at_once),
        T(a_flood_is_bounded),
        T(memory_may_run_out),
#undef T
    };

    if (argc > 1)
        return play(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
