/* SPDX-License-Identifier: MIT */
#include "proc/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support.h"

/* One program on a loop, what it said ("o:" and "e:" lines) and how it ended. */
struct run {
    enum ferry_io backend;
    struct ferry_process process;
    struct ferry_loop *loop;
    char said[4096];
    size_t bytes; /* of all lines */
    unsigned lines;
    struct ferry_process_end ends[16];
    unsigned nends, closed;
    /* the test's own part */
    const char *stop_at_line, *kill_at_line, *signal_at_line;
    unsigned stop_at_end;
    int sig;
    unsigned kill_after_ms;
};

static void stop(struct run *r)
{
    ferry_process_stop(&r->process, r->sig ? r->sig : SIGTERM, r->kill_after_ms);
}

static void on_line(struct ferry_process *p, enum ferry_process_stream stream,
                    struct ferry_slice line)
{
    struct run *r = ferry_container(p, struct run, process);
    size_t len = strlen(r->said);

    r->lines++;
    r->bytes += line.len;
    if (line.len + len + 4 < sizeof r->said)
        snprintf(r->said + len, sizeof r->said - len, "%c:%.*s\n",
                 stream == FERRY_PROCESS_OUT ? 'o' : 'e', (int)line.len, line.p);
    if (r->stop_at_line && ferry_slice_eq(line, ferry_slice_z(r->stop_at_line)))
        stop(r);
    if (r->kill_at_line && ferry_slice_eq(line, ferry_slice_z(r->kill_at_line)))
        ferry_process_stop(p, SIGTERM, 0);
    if (r->signal_at_line && ferry_slice_eq(line, ferry_slice_z(r->signal_at_line)))
        assert_int_equal(ferry_process_signal(p, SIGUSR1), 0);
}

static void on_end(struct ferry_process *p, const struct ferry_process_end *end)
{
    struct run *r = ferry_container(p, struct run, process);

    assert_true(r->nends < 16);
    r->ends[r->nends++] = *end;
    if (r->nends == r->stop_at_end)
        stop(r);
}

static void on_closed(struct ferry_process *p)
{
    struct run *r = ferry_container(p, struct run, process);

    r->closed++;
    ferry_loop_stop(r->loop);
}

static const struct ferry_process_fns fns = {on_line, on_end, on_closed};

/* Runs a shell script until it is closed. */
static void run_with(struct run *r, const char *script, struct ferry_process_opts o)
{
    const char *argv[] = {"/bin/sh", "-c", script, NULL};
    const char *step;

    alarm(30);
    o.spawn.argv = argv;
    assert_int_equal(ferry_loop_new(r->backend, &r->loop), 0);
    assert_int_equal(ferry_process_start(r->loop, &r->process, &fns, &o, &step), 0);
    assert_int_equal(r->nends + r->lines + r->closed, 0);
    assert_int_equal(ferry_loop_run(r->loop), 0);
    assert_int_equal(r->closed, 1);
    ferry_loop_free(r->loop);
    alarm(0);
}

static const struct ferry_process_opts plain = {.spawn = FERRY_SPAWN_INIT};

static struct run *fresh(void **state)
{
    struct run *r = *state;
    enum ferry_io backend = r->backend;

    memset(r, 0, sizeof *r);
    r->backend = backend;
    return r;
}

static void lines_and_the_end_are_told(void **state)
{
    struct run *r = fresh(state);

    r->stop_at_end = 1;
    run_with(r, "printf 'one\\n\\nlast without newline'; echo oops >&2; exit 3", plain);
    assert_non_null(strstr(r->said, "o:one\no:\n"));
    assert_non_null(strstr(r->said, "o:last without newline\n"));
    assert_non_null(strstr(r->said, "e:oops\n"));
    assert_int_equal(r->lines, 4);
    assert_int_equal(r->nends, 1);
    assert_int_equal(r->ends[0].err, 0);
    assert_int_equal(r->ends[0].status, 3);
    assert_int_equal(r->ends[0].signal, 0);
    assert_true(r->ends[0].again);
    assert_int_equal(r->ends[0].wait_ms, 100);
}

static void a_long_line_comes_in_pieces(void **state)
{
    struct run *r = fresh(state);

    r->stop_at_end = 1;
    run_with(r,
             "head -c 8192 /dev/zero | tr '\\0' x; echo; head -c 8193 /dev/zero | tr '\\0' y; echo",
             plain);
    /* 8192 are a line of their own and its newline an empty one; 8193 are two */
    assert_int_equal(r->bytes, 8192 + 8193);
    assert_int_equal(r->lines, 4);
}

static void nothing_is_lost_at_the_end(void **state)
{
    struct run *r = fresh(state);

    r->stop_at_end = 1;
    run_with(r,
             "i=0; while [ $i -lt 2000 ]; do echo 0123456789; echo abc >&2; i=$((i+1)); done; "
             "kill -9 $$",
             plain);
    assert_int_equal(r->lines, 4000);
    assert_int_equal(r->bytes, 2000 * 13);
    assert_int_equal(r->ends[0].signal, SIGKILL);
}

static void pauses_double_up_to_their_maximum(void **state)
{
    struct run *r = fresh(state);
    struct ferry_process_opts o = plain;
    uint64_t begin = ferry_now_us();

    o.pause_ms = 10;
    o.pause_max_ms = 35;
    r->stop_at_end = 5;
    run_with(r, "echo up; exit 1", o);
    assert_int_equal(r->lines, 5);
    assert_int_equal(r->ends[0].wait_ms, 10);
    assert_int_equal(r->ends[1].wait_ms, 20);
    assert_int_equal(r->ends[2].wait_ms, 35);
    assert_int_equal(r->ends[3].wait_ms, 35);
    assert_true(ferry_now_us() - begin >= (10 + 20 + 35 + 35) * 1000);
}

static void having_run_for_a_while_forgets_failures(void **state)
{
    struct run *r = fresh(state);
    struct ferry_process_opts o = plain;

    o.pause_ms = 10;
    o.settled_ms = 50;
    r->stop_at_end = 3;
    run_with(r, "sleep 0.1; exit 1", o);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(r->ends[i].wait_ms, 10);
        assert_true(r->ends[i].ran_ms >= 90);
    }
}

static void recycling_needs_no_pause(void **state)
{
    struct run *r = fresh(state);
    struct ferry_process_opts o = plain;

    o.recycles = true;
    r->stop_at_end = 3;
    run_with(r, "sleep 0.15; exit 0", o);
    for (int i = 0; i < 2; i++) {
        assert_true(r->ends[i].again);
        assert_int_equal(r->ends[i].wait_ms, 0);
    }
    /* but a loop does */
    r = fresh(state);
    r->stop_at_end = 1;
    run_with(r, "exit 0", o);
    assert_int_equal(r->ends[0].wait_ms, r->ends[0].ran_ms < 100 ? 100 : 0);
    r = fresh(state);
    r->stop_at_end = 1;
    run_with(r, "sleep 0.15; exit 1", o);
    assert_int_equal(r->ends[0].wait_ms, 100);
}

static void stop_lets_it_end_by_itself(void **state)
{
    struct run *r = fresh(state);

    r->stop_at_line = "up";
    r->kill_after_ms = 20000;
    run_with(r, "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.01; done", plain);
    assert_string_equal(r->said, "o:up\no:bye\n");
    assert_int_equal(r->nends, 1);
    assert_int_equal(r->ends[0].status, 7);
    assert_false(r->ends[0].again);
}

static void stop_takes_the_signal_given(void **state)
{
    struct run *r = fresh(state);

    r->stop_at_line = "up";
    r->sig = SIGQUIT;
    r->kill_after_ms = 20000;
    run_with(r, "trap 'exit 8' QUIT; echo up; while :; do sleep 0.01; done", plain);
    assert_int_equal(r->ends[0].status, 8);
}

static void other_signals_can_be_sent(void **state)
{
    struct run *r = fresh(state);

    r->signal_at_line = "up";
    r->stop_at_end = 1;
    run_with(r, "trap 'exit 9' USR1; echo up; while :; do sleep 0.01; done", plain);
    assert_int_equal(r->ends[0].status, 9);
    assert_true(r->ends[0].again);
}

/* Is the process gone, or dead and only not reaped by whoever inherited it? */
static bool is_dead(long pid)
{
    char name[64], text[256] = "", *after;
    ssize_t n;
    int fd;

    snprintf(name, sizeof name, "/proc/%ld/stat", pid);
    fd = open(name, O_RDONLY);
    if (fd < 0)
        return true;
    n = read(fd, text, sizeof text - 1);
    close(fd);
    after = n > 0 ? strrchr(text, ')') : NULL;
    return !after || after[2] == 'Z' || after[2] == 'X';
}

static void assert_dies(long pid)
{
    assert_true(pid > 1);
    for (int i = 0; i < 500 && !is_dead(pid); i++)
        usleep(10000);
    assert_true(is_dead(pid));
}

static void who_ignores_the_signal_is_killed_with_its_group(void **state)
{
    struct run *r = fresh(state);

    r->stop_at_line = "up";
    r->kill_after_ms = 50;
    run_with(r, "trap '' TERM; sleep 100 & echo $!; echo up; wait; sleep 100", plain);
    assert_int_equal(r->ends[0].signal, SIGKILL);
    assert_true(r->ends[0].ran_ms >= 49);
    assert_dies(strtol(r->said + 2, NULL, 10));
}

static void what_a_crash_leaves_behind_is_killed(void **state)
{
    struct run *r = fresh(state);

    r->stop_at_end = 1;
    run_with(r, "trap '' TERM; sleep 100 & echo $!; kill -9 $$", plain);
    assert_int_equal(r->ends[0].signal, SIGKILL);
    assert_dies(strtol(r->said + 2, NULL, 10));
}

static void a_second_stop_is_sharper(void **state)
{
    struct run *r = fresh(state);

    r->stop_at_line = "up";
    r->kill_after_ms = 25000;
    r->kill_at_line = "no";
    run_with(r, "trap 'echo no' TERM; echo up; while :; do sleep 0.01; done", plain);
    assert_int_equal(r->ends[0].signal, SIGKILL);
    assert_true(r->ends[0].ran_ms < 20000);
}

/* A stop while it waits to be started again ends the waiting. */
static void stop_while_waiting(void **state)
{
    struct run *r = fresh(state);
    struct ferry_process_opts o = plain;
    uint64_t begin = ferry_now_us();

    o.pause_ms = 25000;
    o.pause_max_ms = 25000;
    /* what is left writes when the program itself is gone, in a session of its own */
    r->stop_at_line = "late";
    run_with(r,
             "trap 'exit 1' USR1; setsid sh -c 'kill -USR1 '$$'; sleep 0.5; echo late' & "
             "while :; do sleep 0.01; done",
             o);
    assert_int_equal(r->nends, 1);
    assert_int_equal(r->ends[0].wait_ms, 25000);
    assert_string_equal(r->said, "o:late\n");
    assert_true(ferry_now_us() - begin < 20 * 1000000);
}

static void what_cannot_be_started_is_told_at_once(void **state)
{
    static const char *const argv[] = {"/nonexistent/program", NULL};
    struct run *r = fresh(state);
    struct ferry_process_opts o = plain;
    const char *step = NULL;

    o.spawn.argv = argv;
    assert_int_equal(ferry_loop_new(r->backend, &r->loop), 0);
    assert_int_equal(ferry_process_start(r->loop, &r->process, &fns, &o, &step), -ENOENT);
    assert_non_null(strstr(step, "executed"));
    ferry_loop_free(r->loop);
    assert_int_equal(r->nends + r->closed, 0);
}

static void what_cannot_be_started_again_is_tried_again(void **state)
{
    char file[] = "/tmp/ferry-test-process-XXXXXX";
    const char *argv[] = {file, NULL};
    struct run *r = fresh(state);
    struct ferry_process_opts o = plain;
    const char *step;
    int fd = mkostemp(file, O_CLOEXEC);

    assert_int_equal(dprintf(fd, "#!/bin/sh\nrm -f $0\n"), 19);
    assert_int_equal(fchmod(fd, 0700), 0);
    close(fd);
    alarm(30);
    o.spawn.argv = argv;
    o.pause_ms = 10;
    r->stop_at_end = 3;
    assert_int_equal(ferry_loop_new(r->backend, &r->loop), 0);
    assert_int_equal(ferry_process_start(r->loop, &r->process, &fns, &o, &step), 0);
    assert_int_equal(ferry_loop_run(r->loop), 0);
    ferry_loop_free(r->loop);
    alarm(0);
    assert_int_equal(r->nends, 3);
    assert_int_equal(r->ends[0].err, 0);
    for (unsigned i = 1; i < 3; i++) {
        assert_int_equal(r->ends[i].err, -ENOENT);
        assert_non_null(strstr(r->ends[i].step, "executed"));
        assert_true(r->ends[i].again);
        assert_int_equal(r->ends[i].wait_ms, 10 << i);
    }
    assert_int_equal(ferry_process_signal(&r->process, SIGUSR1), -ESRCH);
}

static int open_fds(void)
{
    int n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void nothing_is_left_open(void **state)
{
    struct run *r = fresh(state);
    int before = open_fds();

    r->stop_at_end = 2;
    run_with(r, "echo; exit 1", plain);
    assert_int_equal(open_fds(), before);
}

static void scenario(void *arg)
{
    static const char *const argv[] = {"/bin/sh", "-c", "echo up; exit 1", NULL};
    struct run *r = fresh(&arg);
    struct ferry_process_opts o = plain;
    const char *step;

    o.spawn.argv = argv;
    o.pause_ms = 1;
    r->stop_at_end = 2;
    if (ferry_loop_new(r->backend, &r->loop) < 0)
        return;
    if (ferry_process_start(r->loop, &r->process, &fns, &o, &step) == 0) {
        assert_int_equal(ferry_loop_run(r->loop), 0);
        assert_int_equal(r->closed, 1);
    }
    ferry_loop_free(r->loop);
}

static void memory_may_run_out(void **state)
{
    alarm(30);
    each_alloc_fails(scenario, *state);
    alarm(0);
}

int main(void)
{
    static struct run epoll = {.backend = FERRY_IO_EPOLL}, any = {.backend = FERRY_IO_AUTO};
    const struct CMUnitTest tests[] = {
#define T(f) {#f " (epoll)", f, NULL, NULL, &epoll}, {#f " (auto)", f, NULL, NULL, &any}
        T(lines_and_the_end_are_told),
        T(a_long_line_comes_in_pieces),
        T(nothing_is_lost_at_the_end),
        T(pauses_double_up_to_their_maximum),
        T(having_run_for_a_while_forgets_failures),
        T(recycling_needs_no_pause),
        T(stop_lets_it_end_by_itself),
        T(stop_takes_the_signal_given),
        T(other_signals_can_be_sent),
        T(who_ignores_the_signal_is_killed_with_its_group),
        T(what_a_crash_leaves_behind_is_killed),
        T(a_second_stop_is_sharper),
        T(stop_while_waiting),
        T(what_cannot_be_started_is_told_at_once),
        T(what_cannot_be_started_again_is_tried_again),
        T(nothing_is_left_open),
        T(memory_may_run_out),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
