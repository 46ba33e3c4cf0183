/* SPDX-License-Identifier: MIT */
/* Every process of a test holds the writing end of one pipe: when it is closed they are all gone.
 * What they have to tell goes through it, a byte each. */
#include "proc/guard.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "support.h"

static int tell_fd;
static int told_fd;

static void tell(char c)
{
    if (write(tell_fd, &c, 1) != 1)
        abort();
}

/* The next byte, 0 when all are gone, or '?' when nothing is heard for so long. */
static char hear(int ms)
{
    char c = 0;

    if (poll(&(struct pollfd){.fd = told_fd, .events = POLLIN}, 1, ms) <= 0)
        return '?';
    assert_true(read(told_fd, &c, 1) >= 0);
    return c;
}

static void sleep_long(void)
{
    for (;;)
        pause();
}

/* A program that made itself a daemon, and does not care about SIGTERM when it is deaf. Returns
 * when that has told. */
static void start_daemon(bool deaf)
{
    int ends[2];
    char c;
    pid_t pid;

    if (pipe(ends) < 0)
        abort();
    pid = fork();
    if (pid > 0) {
        waitpid(pid, NULL, 0);
        close(ends[1]);
        if (read(ends[0], &c, 1) != 1)
            abort();
        close(ends[0]);
        return;
    }
    setsid();
    if (fork() > 0)
        _exit(0);
    signal(SIGTERM, deaf ? SIG_IGN : SIG_DFL);
    sigprocmask(SIG_SETMASK, &(sigset_t){0}, NULL);
    tell('d');
    if (write(ends[1], "d", 1) != 1)
        abort();
    sleep_long();
}

static void died(void *arg, int sig)
{
    (void)arg;
    tell(sig == SIGKILL ? 'K' : 'S');
}

static void tidy(void *arg)
{
    (void)arg;
    tell('t');
}

static struct ferry_guard_opts opts(unsigned grace_ms)
{
    struct ferry_guard_opts o = FERRY_GUARD_INIT;

    o.grace_ms = grace_ms;
    o.died = died;
    o.tidy = tidy;
    return o;
}

/* Starts a guard in a process of its own, with `run` guarded: its pid. */
static pid_t start(const struct ferry_guard_opts *o, unsigned depth, void (*run)(void))
{
    int ends[2], code, r = 0;
    pid_t pid;

    assert_int_equal(pipe(ends), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(30);
        tell_fd = ends[1];
        close(ends[0]);
        for (unsigned i = 0; i < depth && r == 0; i++)
            r = ferry_guard(o, &code);
        if (r)
            _exit(r < 0 ? 99 : code);
        run();
        _exit(0);
    }
    close(ends[1]);
    told_fd = ends[0];
    return pid;
}

static int status_of(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void all_are_gone(void)
{
    assert_int_equal(hear(5000), 0);
    close(told_fd);
}

/* -- */

static void exits_with_7(void)
{
    tell('r');
    _exit(7);
}

static void the_status_is_passed_on(void **state)
{
    struct ferry_guard_opts o = opts(5000);

    (void)state;
    for (unsigned depth = 1; depth <= 2; depth++) {
        pid_t pid = start(&o, depth, exits_with_7);
        int status = status_of(pid);

        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 7);
        assert_int_equal(hear(5000), 'r');
        all_are_gone(); /* and neither died nor tidy were called */
    }
}

static void waits_for_signals(void)
{
    sigset_t set;
    int sig;

    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR1);
    tell('r');
    for (;;) {
        sigwait(&set, &sig);
        tell(sig == SIGHUP ? 'h' : sig == SIGUSR1 ? 'u' : 'T');
        if (sig == SIGTERM)
            _exit(3);
    }
}

static void signals_are_passed_on(void **state)
{
    struct ferry_guard_opts o = opts(5000);
    pid_t pid;

    (void)state;
    o.apart = true;
    pid = start(&o, 2, waits_for_signals);
    assert_int_equal(hear(5000), 'r');
    kill(pid, SIGHUP);
    assert_int_equal(hear(5000), 'h');
    kill(pid, SIGUSR1);
    assert_int_equal(hear(5000), 'u');
    kill(pid, SIGTERM);
    assert_int_equal(hear(5000), 'T');
    assert_int_equal(WEXITSTATUS(status_of(pid)), 3);
    all_are_gone();
}

static void what_is_ignored_stays_so(void **state)
{
    struct ferry_guard_opts o = opts(5000);
    pid_t pid;

    (void)state;
    signal(SIGHUP, SIG_IGN);
    pid = start(&o, 1, waits_for_signals);
    signal(SIGHUP, SIG_DFL);
    assert_int_equal(hear(5000), 'r');
    kill(pid, SIGHUP);
    assert_int_equal(hear(100), '?');
    kill(pid, SIGTERM);
    assert_int_equal(hear(5000), 'T');
    status_of(pid);
    all_are_gone();
}

static void starts_a_daemon(void)
{
    start_daemon(false);
}

static void starts_a_deaf_daemon(void)
{
    start_daemon(true);
}

static void daemons_end_with_it(void **state)
{
    struct ferry_guard_opts o = opts(200);
    pid_t pid;

    (void)state;
    pid = start(&o, 1, starts_a_daemon);
    assert_int_equal(WEXITSTATUS(status_of(pid)), 0);
    assert_int_equal(hear(5000), 'd');
    assert_int_equal(hear(5000), 't'); /* something was left */
    all_are_gone();
    pid = start(&o, 2, starts_a_deaf_daemon);
    assert_int_equal(WEXITSTATUS(status_of(pid)), 0);
    assert_int_equal(hear(5000), 'd');
    assert_int_equal(hear(5000), 't');
    all_are_gone();
}

static void adopts_and_ends(void)
{
    static const pid_t nobody[] = {1};
    pid_t known;

    ferry_guard_adopt();
    start_daemon(true);
    known = fork();
    if (known == 0)
        _exit(5);
    if (fork() == 0)
        _exit(6);
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    ferry_guard_reap(&known, 1); /* the other one, not this one */
    ferry_guard_reap(nobody, 0);
    if (waitpid(-1, NULL, WNOHANG) != 0)
        _exit(1); /* the daemon alone is left */
    ferry_guard_end(0, 100);
    _exit(waitpid(-1, NULL, WNOHANG) < 0 ? 8 : 9);
}

static void keeps_what_is_known(void)
{
    pid_t known = fork();

    if (known == 0)
        _exit(5);
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    ferry_guard_reap(&known, 1);
    _exit(waitpid(known, NULL, WNOHANG) == known ? 8 : 9);
}

static void the_guarded_process_can_be_the_last_one(void **state)
{
    struct ferry_guard_opts o = opts(200);
    pid_t pid;

    (void)state;
    pid = start(&o, 1, adopts_and_ends);
    assert_int_equal(WEXITSTATUS(status_of(pid)), 8);
    assert_int_equal(hear(5000), 'd');
    all_are_gone();
    pid = start(&o, 1, keeps_what_is_known);
    assert_int_equal(WEXITSTATUS(status_of(pid)), 8);
    all_are_gone();
}

static void starts_children_and_stays(void)
{
    start_daemon(true);
    if (fork() == 0) { /* deaf, and a child of its own that is deaf */
        signal(SIGTERM, SIG_IGN);
        fork();
        tell('c');
        sleep_long();
    }
    tell('r');
    sigprocmask(SIG_SETMASK, &(sigset_t){0}, NULL);
    sleep_long();
}

/* Takes the bytes that so many processes tell of themselves, in any order. */
static void hear_all(unsigned n)
{
    for (; n; n--)
        assert_int_not_equal(hear(5000), '?');
}

/* Its first child, as soon as it has one. */
static pid_t child_of(pid_t pid)
{
    for (int i = 0; i < 5000; i++) {
        char path[64], text[64] = "";
        int fd;

        snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
        fd = open(path, O_RDONLY);
        if (fd >= 0 && read(fd, text, sizeof text - 1) > 0) {
            close(fd);
            return (pid_t)strtol(text, NULL, 10);
        }
        close(fd);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    fail_msg("no child");
    return 0;
}

static void nothing_outlives_a_guarded_process_that_was_killed(void **state)
{
    struct ferry_guard_opts o = opts(200);
    pid_t pid = start(&o, 1, starts_children_and_stays);

    (void)state;
    hear_all(4);
    kill(child_of(pid), SIGKILL);
    assert_int_equal(hear(5000), 'K');
    assert_int_equal(hear(5000), 't');
    assert_int_equal(WEXITSTATUS(status_of(pid)), 1);
    all_are_gone();
}

static void the_end_can_be_hurried_up(void **state)
{
    struct ferry_guard_opts o = opts(100000);
    pid_t pid = start(&o, 1, starts_children_and_stays);

    (void)state;
    hear_all(4);
    kill(child_of(pid), SIGKILL);
    assert_int_equal(hear(5000), 'K');
    assert_int_equal(hear(200), '?');
    kill(pid, SIGTERM);
    assert_int_equal(hear(200), '?');
    kill(pid, SIGINT);
    assert_int_equal(hear(5000), 't');
    status_of(pid);
    all_are_gone();
}

static void a_guard_that_was_killed_is_noticed(void **state)
{
    struct ferry_guard_opts o = opts(200);
    pid_t pid = start(&o, 1, waits_for_signals);

    (void)state;
    assert_int_equal(hear(5000), 'r');
    kill(pid, SIGKILL);
    assert_int_equal(hear(5000), 'T');
    status_of(pid);
    all_are_gone();
}

/* Of the three, any two. */
static void nothing_outlives_two_that_were_killed(void **state)
{
    (void)state;
    for (int spared = 0; spared < 3; spared++) {
        struct ferry_guard_opts o = opts(200);
        pid_t pids[3];

        pids[0] = start(&o, 2, spared == 2 ? waits_for_signals : starts_children_and_stays);
        pids[1] = child_of(pids[0]);
        pids[2] = child_of(pids[1]);
        hear_all(spared == 2 ? 1 : 4);
        for (int i = 0; i < 3; i++)
            if (i != spared)
                kill(pids[i], SIGKILL);
        for (int i = 0; hear(5000); i++)
            assert_true(i < 10);
        close(told_fd);
        status_of(pids[0]);
    }
}

static void reads(void *arg)
{
    char c;

    if (read(*(int *)arg, &c, 1) == 1)
        tell(c);
}

static int relay[2];

static void writes_and_waits(void)
{
    if (write(relay[1], "x", 1) != 1)
        _exit(1);
    waits_for_signals();
}

static void a_descriptor_is_watched(void **state)
{
    struct ferry_guard_opts o = opts(200);
    char a, b;
    pid_t pid;

    (void)state;
    assert_int_equal(pipe(relay), 0);
    o.fd = relay[0];
    o.readable = reads;
    o.arg = &relay[0];
    pid = start(&o, 1, writes_and_waits);
    close(relay[1]);
    a = hear(5000);
    b = hear(5000);
    assert_true((a == 'x' && b == 'r') || (a == 'r' && b == 'x'));
    kill(pid, SIGTERM);
    assert_int_equal(hear(5000), 'T');
    status_of(pid);
    close(relay[0]);
    all_are_gone();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_status_is_passed_on),
        cmocka_unit_test(signals_are_passed_on),
        cmocka_unit_test(what_is_ignored_stays_so),
        cmocka_unit_test(daemons_end_with_it),
        cmocka_unit_test(nothing_outlives_a_guarded_process_that_was_killed),
        cmocka_unit_test(the_end_can_be_hurried_up),
        cmocka_unit_test(a_guard_that_was_killed_is_noticed),
        cmocka_unit_test(nothing_outlives_two_that_were_killed),
        cmocka_unit_test(a_descriptor_is_watched),
        cmocka_unit_test(the_guarded_process_can_be_the_last_one),
    };
    signal(SIGHUP, SIG_DFL); /* under nohup it is ignored, and guards keep what is */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
