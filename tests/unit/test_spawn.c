/* SPDX-License-Identifier: MIT */
#include "io/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
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

static void of_the_environment_only_what_is_kept(void **state)
{
    static const char *const keep[] = {"KEPT", "SOME_*", "CHANGED", NULL};
    static const char *const env[] = {"CHANGED=new", "ADDED=one", NULL};
    struct ferry_spawn_opts o = plain;
    char out[256];

    (void)state;
    setenv("KEPT", "kept", 1);
    setenv("KEPT_NOT", "kept", 1);
    setenv("SOME_ONE", "1", 1);
    setenv("SOME_TWO", "2", 1);
    setenv("CHANGED", "old", 1);
    o.keep_env = keep;
    o.env = env;
    assert_int_equal(run(o, "exec /usr/bin/env -u PWD -u SHLVL -u _ -u OLDPWD env | /usr/bin/sort",
                         out, sizeof out),
                     0);
    assert_string_equal(out, "ADDED=one\nCHANGED=new\nKEPT=kept\nSOME_ONE=1\nSOME_TWO=2\n");
}

static void it_has_its_limits(void **state)
{
    static const struct ferry_rlimit limits[] = {{RLIMIT_NOFILE, 6, 7}, {RLIMIT_CORE, 0, 0}};
    static const struct ferry_rlimit wrong[] = {{RLIMIT_NOFILE, 7, 6}};
    static const char *const argv[] = {"/bin/true", NULL};
    struct ferry_spawn_opts o = plain;
    struct ferry_spawned s;
    char out[256];

    (void)state;
    o.limits = limits; /* fewer descriptors than it takes to put them in place */
    o.nlimits = 2;
    o.nice = 3;
    o.set_umask = true;
    o.umask = 027;
    o.no_new_privs = true;
    assert_int_equal(run(o,
                         "ulimit -n; ulimit -Hn; ulimit -c; umask; grep -h NoNewPrivs "
                         "/proc/self/status; exec nice",
                         out, sizeof out),
                     0);
    assert_string_equal(out, "6\n7\n0\n0027\nNoNewPrivs:\t1\n3\n");
    o.argv = argv;
    o.limits = wrong;
    o.nlimits = 1;
    assert_int_equal(ferry_spawn(&o, &s), -EINVAL);
    assert_string_equal(s.step, "cannot set its limits");
}

static void other_descriptors_can_be_passed(void **state)
{
    struct ferry_spawn_opts o = plain;
    struct sockaddr_un addr;
    socklen_t len;
    char out[256];
    int a[2], given[2];

    (void)state;
    assert_int_equal(pipe2(a, O_CLOEXEC), 0);
    assert_int_equal(write(a[1], "through", 7), 7);
    given[0] = a[1];
    given[1] = a[0];
    o.pass = given;
    o.npass = 2;
    assert_int_equal(run(o, "ls /proc/$$/fd; head -c 7 <&4", out, sizeof out), 0);
    assert_string_equal(out, "0\n1\n2\n3\n4\nthrough");
    assert_int_equal(write(a[1], "through", 7), 7);
    o.listener = listener(&addr, &len);
    o.listener_at = 3;
    assert_int_equal(run(o, "ls /proc/$$/fd; head -c 7 <&5", out, sizeof out), 0);
    assert_string_equal(out, "0\n1\n2\n3\n4\n5\nthrough");
    close(o.listener);
    close(a[0]);
    close(a[1]);
}

static void it_becomes_another_group(void **state)
{
    struct ferry_spawn_opts o = plain;
    char out[256];

    (void)state;
    if (geteuid() != 0)
        return;
    o.switch_group = true;
    o.gid = 23456;
    assert_int_equal(run(o, "id -u; id -g; id -G", out, sizeof out), 0);
    assert_string_equal(out, "0\n23456\n23456\n");
}

static void a_root_is_entered(void **state)
{
    const char *by_name[] = {"busybox", NULL};
    static const char *const by_path[] = {"/prog", NULL};
    char dir[] = "/tmp/ferry-test-spawn-XXXXXX", file[64];
    struct ferry_spawn_opts o = plain;
    struct ferry_spawned s;

    (void)state;
    if (geteuid() != 0)
        return;
    assert_non_null(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/prog", dir);
    close(open(file, O_CREAT | O_WRONLY, 0755));
    o.root = dir;
    o.argv = by_name; /* not there, whatever is outside */
    assert_int_equal(ferry_spawn(&o, &s), -ENOENT);
    o.argv = by_path; /* there, and empty */
    assert_int_equal(ferry_spawn(&o, &s), -ENOEXEC);
    by_name[0] = "prog";
    o.argv = by_name;
    setenv("PATH", "/bin::/usr/bin", 1); /* "" is the working directory: "/" */
    assert_int_equal(ferry_spawn(&o, &s), -ENOEXEC);
    setenv("PATH", "/usr/bin:/bin", 1);
    o.root = file;
    assert_int_equal(ferry_spawn(&o, &s), -ENOTDIR);
    assert_string_equal(s.step, "cannot enter its root directory");
    unlink(file);
    rmdir(dir);
}

static void one_that_is_detached_stays(void **state)
{
    static const char *const argv[] = {"/bin/sh", "-c", "echo $$; exec sleep 100", NULL};
    struct ferry_spawn_opts o = plain;
    struct ferry_spawned s;
    int ends[2], pid;
    char text[32] = "";
    pid_t starter;

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    starter = fork();
    assert_true(starter >= 0);
    if (starter == 0) {
        o.argv = argv;
        o.out = ends[1];
        o.detach = true;
        _exit(ferry_spawn(&o, &s) == 0 ? 0 : 1);
    }
    close(ends[1]);
    assert_int_equal(waitpid(starter, NULL, 0), starter);
    assert_true(read(ends[0], text, sizeof text - 1) > 0);
    pid = (int)strtol(text, NULL, 10);
    assert_false(readable(ends[0], 100));
    assert_int_equal(getsid(pid), pid);
    assert_int_equal(kill(pid, SIGKILL), 0);
    close(ends[0]);
}

static void a_process_can_become_it(void **state)
{
    static const char *const argv[] = {"/bin/sh", "-c",
                                       "echo $$ $NOTIFY_SOCKET $A; readlink /proc/$$/fd/9", NULL};
    static const char *const missing[] = {"/nonexistent/program", NULL};
    static const char *const env[] = {"A=a", NULL};
    struct ferry_spawn_opts o = plain;
    int ends[2], status;
    char text[64] = "", want[64];
    size_t len = 0;
    ssize_t n;
    pid_t pid;

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const char *step;

        o.argv = missing;
        o.out = ends[1];
        if (ferry_spawn_exec(&o, &step) != -ENOENT || !strstr(step, "executed"))
            _exit(1);
        setenv("NOTIFY_SOCKET", "kept", 1);
        dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), 9);
        o.argv = argv;
        o.env = env;
        o.out = 1;
        _exit(ferry_spawn_exec(&o, &step) < 0 ? 2 : 3);
    }
    close(ends[1]);
    while ((n = read(ends[0], text + len, sizeof text - 1 - len)) > 0)
        len += (size_t)n;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    snprintf(want, sizeof want, "%d kept a\n/dev/null\n", (int)pid);
    assert_string_equal(text, want);
    close(ends[0]);
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
        cmocka_unit_test(of_the_environment_only_what_is_kept),
        cmocka_unit_test(it_has_its_limits),
        cmocka_unit_test(other_descriptors_can_be_passed),
        cmocka_unit_test(it_becomes_another_group),
        cmocka_unit_test(a_root_is_entered),
        cmocka_unit_test(one_that_is_detached_stays),
        cmocka_unit_test(a_process_can_become_it),
        cmocka_unit_test(it_ends_with_its_starter),
        cmocka_unit_test(programs_are_found_by_path),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
