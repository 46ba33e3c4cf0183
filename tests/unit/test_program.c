/* SPDX-License-Identifier: MIT */
#include "proc/program.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support.h"

/* A program, which is a shell script, and what was told of it. */
struct run {
    struct ferry_loop *loop;
    struct ferry_program *program;
    char script[64], said[4096];
    unsigned lines, done;
    const char *stop_at; /* stops it when a line holds this */
    unsigned kill_after_ms, processes;
    char why[512];
};

static void done(void *arg)
{
    struct run *r = arg;

    r->done++;
    ferry_loop_stop(r->loop);
}

static void on_log(void *arg, bool ours, struct ferry_slice line)
{
    struct run *r = arg;
    size_t len = strlen(r->said);

    r->lines++;
    snprintf(r->said + len, sizeof r->said - len, "%s%.*s\n", ours ? "ours: " : "", (int)line.len,
             line.p);
    if (r->stop_at && strstr(r->said, r->stop_at))
        ferry_program_stop(r->program, r->kill_after_ms, done, r);
}

static void write_script(struct run *r, const char *text)
{
    FILE *f;
    int fd;

    snprintf(r->script, sizeof r->script, "/tmp/ferry-test-program-XXXXXX");
    fd = mkstemp(r->script);
    assert_true(fd >= 0);
    f = fdopen(fd, "w");
    fprintf(f, "#!/bin/sh\n%s\n", text);
    assert_int_equal(fchmod(fd, 0700), 0);
    fclose(f);
}

static int start(struct run *r, const char *name)
{
    struct ferry_program_opts o = {
        .program = name, .processes_min = r->processes, .log = on_log, .arg = r};

    assert_int_equal(ferry_loop_new(FERRY_IO_EPOLL, &r->loop), 0);
    return ferry_program_start(r->loop, &o, &r->program, r->why, sizeof r->why);
}

/* Runs it until it was stopped; what it said is in r->said. */
static void run_script(struct run *r, const char *text)
{
    char path[sizeof((struct sockaddr_un *)0)->sun_path];
    struct stat st;

    alarm(30);
    write_script(r, text);
    assert_int_equal(start(r, r->script), 0);
    snprintf(path, sizeof path, "%s", ferry_program_addr(r->program)->un.sun_path);
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0600);
    *strrchr(path, '/') = '\0';
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(ferry_loop_run(r->loop), 0);
    assert_int_equal(r->done, 1);
    assert_int_equal(stat(path, &st), -1);
    ferry_loop_free(r->loop);
    unlink(r->script);
    alarm(0);
}

static void it_has_the_socket_and_nothing_else_of_ours(void **state)
{
    struct run r = {.stop_at = "again", .kill_after_ms = 5000};

    (void)state;
    /* 3 is what ls reads. */
    run_script(&r, "readlink /proc/$$/fd/0 | cut -c1-7; exec ls /proc/self/fd");
    assert_non_null(strstr(r.said, "socket:\n0\n1\n2\n3\nours: "));
}

static void it_is_started_again_on_the_same_socket(void **state)
{
    struct run r = {.stop_at = "again in 0.2 s", .kill_after_ms = 5000};
    char want[128];
    const char *at;

    (void)state;
    run_script(&r, "echo up; exit 3");
    snprintf(want, sizeof want, "up\nours: %s: process ", r.script);
    assert_memory_equal(r.said, want, strlen(want));
    at = strstr(r.said, " ended with status 3; started again in 0.1 s\nup\nours: ");
    assert_non_null(at);
    assert_non_null(strstr(at, " ended with status 3; started again in 0.2 s\n"));
}

static void there_may_be_several(void **state)
{
    struct run r = {.stop_at = "up\nup\nup\n", .kill_after_ms = 5000, .processes = 3};

    (void)state;
    run_script(&r, "echo up; exec sleep 60");
    assert_int_equal(r.lines, 3);
}

static void it_is_stopped_in_time(void **state)
{
    struct run r = {.stop_at = "deaf", .kill_after_ms = 50};

    (void)state;
    run_script(&r, "trap '' TERM; echo deaf; while :; do sleep 1; done");
    assert_memory_equal(r.said, "deaf\nours: ", 11);
    assert_non_null(strstr(r.said, "did not end in 0."));
}

static void what_cannot_be_started_leaves_nothing(void **state)
{
    static const struct {
        const char *name, *why;
        int err;
    } cases[] = {
        {"/no/such/program", "/no/such/program cannot be executed: No such file or directory",
         -ENOENT},
        {"/etc/passwd", "/etc/passwd cannot be executed: Permission denied", -EACCES},
        {"ferry-no-such",
         "ferry-no-such is in no folder of PATH; elsewhere, name its folder too: ./ferry-no-such",
         -ENOENT},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct run r = {0};

        assert_int_equal(start(&r, cases[i].name), cases[i].err);
        assert_string_equal(r.why, cases[i].why);
        assert_int_equal(r.lines, 0);
        ferry_loop_free(r.loop);
    }
}

static void scenario(void *arg)
{
    struct run r = {.stop_at = "up", .kill_after_ms = 50};
    struct ferry_program_opts o = {.program = arg, .log = on_log, .arg = &r};

    if (ferry_loop_new(FERRY_IO_EPOLL, &r.loop) < 0)
        return;
    if (ferry_program_start(r.loop, &o, &r.program, r.why, sizeof r.why) == 0) {
        assert_int_equal(ferry_loop_run(r.loop), 0);
        assert_int_equal(r.done, 1);
    } else {
        assert_true(r.why[0]);
    }
    ferry_loop_free(r.loop);
}

static void memory_may_run_out(void **state)
{
    struct run r = {0};

    (void)state;
    alarm(30);
    write_script(&r, "echo up; exec sleep 60");
    each_alloc_fails(scenario, r.script);
    unlink(r.script);
    alarm(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_has_the_socket_and_nothing_else_of_ours),
        cmocka_unit_test(it_is_started_again_on_the_same_socket),
        cmocka_unit_test(there_may_be_several),
        cmocka_unit_test(it_is_stopped_in_time),
        cmocka_unit_test(what_cannot_be_started_leaves_nothing),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
