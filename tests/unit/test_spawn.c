/* SPDX-License-Identifier: MIT */
#include "io/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

/* Runs a shell script to its end: its exit status (or 256 + signal), its output in `out`. */
static int run(struct ferry_spawn_opts o, const char *script, char *out, size_t cap)
{
    const char *argv[] = {"/bin/sh", "-c", script, NULL};
    struct ferry_spawned s;
    int ends[2], status, err;
    size_t len = 0;
    ssize_t n;

    o.argv = argv;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    o.out = ends[1];
    err = ferry_spawn(&o, &s);
    close(ends[1]);
    if (err < 0)
        fail_msg("%s: %s", s.step, strerror(-err));
    while (len < cap - 1 && (n = read(ends[0], out + len, cap - 1 - len)) > 0)
        len += (size_t)n;
    out[len] = 0;
    close(ends[0]);
    close(s.pidfd);
    assert_int_equal(waitpid(s.pid, &status, 0), s.pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

static const struct ferry_spawn_opts plain = FERRY_SPAWN_INIT;

static bool readable(int fd, int ms)
{
    return poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, ms) == 1;
}

static void the_program_runs_and_its_end_is_told_by_the_pidfd(void **state)
{
    static const char *const argv[] = {"sh", "-c", "exec sleep 0.05", NULL};
    struct ferry_spawn_opts o = plain;
    struct ferry_spawned s;

    (void)state;
    o.argv = argv;
    assert_int_equal(ferry_spawn(&o, &s), 0);
    assert_int_equal(getpgid(s.pid), s.pid);
    assert_true(fcntl(s.pidfd, F_GETFD) & FD_CLOEXEC);
    assert_true(readable(s.pidfd, 5000));
    assert_int_equal(waitpid(s.pid, NULL, 0), s.pid);
    close(s.pidfd);
}

static void what_cannot_be_started_is_told(void **state)
{
    static const char *const missing[] = {"/nonexistent/program", NULL};
    static const char *const unknown[] = {"no-such-program-anywhere", NULL};
    static const char *const directory[] = {"/tmp", NULL};
    static const char *const data[] = {"/etc/passwd", NULL};
    static const char *const sh[] = {"/bin/sh", "-c", "exit 0", NULL};
    static const struct {
        const char *const *argv;
        const char *dir;
        int out, err;
        const char *step;
    } cases[] = {
        {missing, NULL, -1, -ENOENT, "executed"},       {unknown, NULL, -1, -ENOENT, "executed"},
        {directory, NULL, -1, -EACCES, "executed"},     {data, NULL, -1, -EACCES, "executed"},
        {sh, "/nonexistent", -1, -ENOENT, "directory"}, {sh, NULL, 9999, -EBADF, "descriptors"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_spawn_opts o = plain;
        struct ferry_spawned s;

        o.argv = cases[i].argv;
        o.dir = cases[i].dir;
        o.out = cases[i].out;
        assert_int_equal(ferry_spawn(&o, &s), cases[i].err);
        assert_int_equal(s.pidfd, -1);
        assert_non_null(strstr(s.step, cases[i].step));
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
        assert_int_equal(errno, ECHILD);
    }
}

/* A listening socket on an abstract address that the kernel chooses. */
static int listener(struct sockaddr_un *at, socklen_t *len)
{
    struct sockaddr_un any = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&any, sizeof any.sun_family), 0);
    assert_int_equal(listen(fd, 5), 0);
    *len = sizeof *at;
    assert_int_equal(getsockname(fd, (struct sockaddr *)at, len), 0);
    return fd;
}

static void the_listener_is_descriptor_0_or_3(void **state)
{
    static const int at[] = {0, 3};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct ferry_spawn_opts o = plain;
        struct sockaddr_un addr;
        struct stat st;
        socklen_t len;
        char script[64], out[256], want[64];

        o.listener = listener(&addr, &len);
        o.listener_at = at[i];
        assert_int_equal(fstat(o.listener, &st), 0);
        snprintf(script, sizeof script, "readlink /proc/$$/fd/%d", at[i]);
        snprintf(want, sizeof want, "socket:[%lu]\n", (unsigned long)st.st_ino);
        assert_int_equal(run(o, script, out, sizeof out), 0);
        assert_string_equal(out, want);
        assert_false(fcntl(o.listener, F_GETFL) & O_NONBLOCK);
        assert_int_equal(run(o, "readlink /proc/$$/fd/0", out, sizeof out), 0);
        if (at[i] == 3)
            assert_string_equal(out, "/dev/null\n");
        close(o.listener);
    }
}

static void nothing_else_is_open(void **state)
{
    struct ferry_spawn_opts o = plain;
    int left[20];
    char out[256];

    (void)state;
    for (int i = 0; i < 20; i++)
        left[i] = open("/dev/null", O_RDONLY); /* without O_CLOEXEC */
    assert_int_equal(run(o, "ls /proc/$$/fd; true", out, sizeof out), 0);
    for (int i = 0; i < 20; i++)
        close(left[i]);
    assert_string_equal(out, "0\n1\n2\n");
}

/* Wherever the descriptors lie, also where others must go, each ends in its place. */
static void descriptors_may_lie_anywhere(void **state)
{
    struct ferry_spawn_opts o = plain;
    struct ferry_spawned s;
    static const char *const argv[] = {"/bin/sh", "-c", "echo out; echo err >&2", NULL};
    int keep[3], a[2], b[2], c;
    char text[16];

    (void)state;
    assert_int_equal(pipe2(a, O_CLOEXEC), 0);
    assert_int_equal(pipe2(b, O_CLOEXEC), 0);
    for (int i = 0; i < 3; i++)
        keep[i] = fcntl(i, F_DUPFD_CLOEXEC, 50);
    dup2(a[1], 2); /* stdout's pipe where stderr goes, and the other way round */
    dup2(b[1], 1);
    close(0); /* and 0 free for whatever is opened meanwhile */
    o.argv = argv;
    o.out = 2;
    o.err = 1;
    c = ferry_spawn(&o, &s);
    for (int i = 0; i < 3; i++) {
        dup2(keep[i], i);
        close(keep[i]);
    }
    assert_int_equal(c, 0);
    assert_int_equal(waitpid(s.pid, NULL, 0), s.pid);
    assert_int_equal(read(a[0], text, sizeof text), 4);
    assert_memory_equal(text, "out\n", 4);
    assert_int_equal(read(b[0], text, sizeof text), 4);
    assert_memory_equal(text, "err\n", 4);
    for (int i = 0; i < 2; i++) {
        close(a[i]);
        close(b[i]);
    }
    close(s.pidfd);
}

static void signals_are_as_new(void **state)
{
    struct ferry_spawn_opts o = plain;
    sigset_t set, old, now;
    char out[256];

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGUSR1, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, &old);
    /* read with cat: the shell itself catches some signals and lets them through */
    assert_int_equal(run(o, "exec grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status", out, sizeof out),
                     0);
    sigprocmask(SIG_SETMASK, NULL, &now);
    assert_true(sigismember(&now, SIGTERM));
    sigprocmask(SIG_SETMASK, &old, NULL);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGUSR1, SIG_DFL);
    assert_non_null(strstr(out, "SigBlk:\t0000000000000000\n"));
    assert_non_null(strstr(out, "SigIgn:\t0000000000000000\n"));
}

static void the_environment_is_ours_with_changes(void **state)
{
    static const char *const env[] = {"ADDED=one",  "CHANGED=new", "REMOVED",
                                      "ADDED=last", "EMPTY=",      NULL};
    struct ferry_spawn_opts o = plain;
    char out[256];

    (void)state;
    setenv("KEPT", "kept", 1);
    setenv("CHANGED", "old", 1);
    setenv("REMOVED", "there", 1);
    setenv("NOTIFY_SOCKET", "/run/systemd/notify", 1);
    o.env = env;
    assert_int_equal(run(o,
                         "echo $KEPT $ADDED $CHANGED ${REMOVED-gone} ${NOTIFY_SOCKET-gone} "
                         "${EMPTY-unset}.; env | grep -c ^ADDED=",
                         out, sizeof out),
                     0);
    unsetenv("NOTIFY_SOCKET");
    assert_string_equal(out, "kept last new gone gone .\n1\n");
}

static void it_runs_in_its_directory(void **state)
{
    struct ferry_spawn_opts o = plain;
    char out[256];

    (void)state;
    o.dir = "/usr";
    assert_int_equal(run(o, "pwd -P", out, sizeof out), 0);
    assert_string_equal(out, "/usr\n");
}

static void it_becomes_another_user(void **state)
{
    struct ferry_spawn_opts o = plain;
    char out[256];

    (void)state;
    if (geteuid() != 0)
        return;
    o.switch_user = true;
    o.uid = 12345; /* has no name */
    o.gid = 23456;
    assert_int_equal(run(o, "id -u; id -g; id -G", out, sizeof out), 0);
    assert_string_equal(out, "12345\n23456\n23456\n");
}

/* The starter ends: so does the program. */
static void it_ends_with_its_starter(void **state)
{
    static const char *const argv[] = {"/bin/sleep", "100", NULL};
    struct ferry_spawn_opts o = plain;
    struct ferry_spawned s;
    int ends[2];
    pid_t starter;
    char byte;

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    starter = fork();
    assert_true(starter >= 0);
    if (starter == 0) {
        o.argv = argv;
        o.out = ends[1]; /* stays open as long as the sleeper lives */
        if (geteuid() == 0) {
            o.switch_user = true;
            o.uid = o.gid = 12345;
        }
        _exit(ferry_spawn(&o, &s) == 0 ? 0 : 1);
    }
    close(ends[1]);
    assert_int_equal(waitpid(starter, NULL, 0), starter);
    assert_true(readable(ends[0], 5000));
    assert_int_equal(read(ends[0], &byte, 1), 0);
    close(ends[0]);
}

static void programs_are_found_by_path(void **state)
{
    char dir[] = "/tmp/ferry-test-spawn-XXXXXX", file[64], path[128], out[128];

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/prog", dir);
    close(open(file, O_CREAT | O_WRONLY, 0644));
    snprintf(path, sizeof path, "/nonexistent:%s:/bin", dir);
    setenv("PATH", path, 1);
    assert_int_equal(ferry_spawn_find("sh", out, sizeof out), 0);
    assert_string_equal(out, "/bin/sh");
    if (geteuid() != 0)
        assert_int_equal(ferry_spawn_find("prog", out, sizeof out), -EACCES);
    assert_int_equal(chmod(file, 0755), 0);
    assert_int_equal(ferry_spawn_find("prog", out, sizeof out), 0);
    assert_string_equal(out, file);
    assert_int_equal(ferry_spawn_find(file, out, sizeof out), 0);
    assert_int_equal(ferry_spawn_find("prog", out, strlen(file)), -ENAMETOOLONG);
    assert_int_equal(ferry_spawn_find("missing", out, sizeof out), -ENOENT);
    assert_int_equal(ferry_spawn_find("", out, sizeof out), -ENOENT);
    assert_int_equal(ferry_spawn_find("/tmp", out, sizeof out), -EACCES);
    setenv("PATH", "/usr/bin:/bin", 1);
    unlink(file);
    rmdir(dir);
}

static void scenario(void *arg)
{
    static const char *const argv[] = {"/bin/sh", "-c", "exit 0", NULL};
    struct ferry_spawn_opts o = plain;
    struct ferry_spawned s;
    int err;

    (void)arg;
    o.argv = argv;
    if (geteuid() == 0)
        o.switch_user = true;
    err = ferry_spawn(&o, &s);
    if (err < 0) {
        assert_int_equal(err, -ENOMEM);
        return;
    }
    close(s.pidfd);
    assert_int_equal(waitpid(s.pid, NULL, 0), s.pid);
}

static void memory_may_run_out(void **state)
{
    (void)state;
    each_alloc_fails(scenario, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_program_runs_and_its_end_is_told_by_the_pidfd),
        cmocka_unit_test(what_cannot_be_started_is_told),
        cmocka_unit_test(the_listener_is_descriptor_0_or_3),
        cmocka_unit_test(nothing_else_is_open),
        cmocka_unit_test(descriptors_may_lie_anywhere),
        cmocka_unit_test(signals_are_as_new),
        cmocka_unit_test(the_environment_is_ours_with_changes),
        cmocka_unit_test(it_runs_in_its_directory),
        cmocka_unit_test(it_becomes_another_user),
        cmocka_unit_test(it_ends_with_its_starter),
        cmocka_unit_test(programs_are_found_by_path),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
