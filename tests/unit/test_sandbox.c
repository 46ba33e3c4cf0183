/* SPDX-License-Identifier: MIT */
#include "cli/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

/* A folder with a file and two links in it: one to the file, one to a file elsewhere. */
static char dir[64], spool[64], elsewhere[64];
static bool has_landlock;

static const char *in(const char *folder, const char *name)
{
    static char path[256];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void put(const char *path)
{
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, "x", 1), 1);
    close(fd);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/ferry-test-sandbox-XXXXXX");
    snprintf(spool, sizeof spool, "/tmp/ferry-test-sandbox-XXXXXX");
    snprintf(elsewhere, sizeof elsewhere, "/tmp/ferry-test-sandbox-XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_non_null(mkdtemp(spool));
    assert_non_null(mkdtemp(elsewhere));
    put(in(dir, "file"));
    put(in(elsewhere, "secret"));
    assert_int_equal(symlink("file", in(dir, "near")), 0);
    {
        char target[256];

        snprintf(target, sizeof target, "%s", in(elsewhere, "secret"));
        assert_int_equal(symlink(target, in(dir, "far")), 0);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(in(dir, "file"));
    unlink(in(dir, "near"));
    unlink(in(dir, "far"));
    unlink(in(elsewhere, "secret"));
    rmdir(dir);
    rmdir(spool);
    rmdir(elsewhere);
    return 0;
}

/* Runs `what` in a process that has entered the sandbox: its wait status. */
static int inside(int (*what)(void))
{
    const char *readable[] = {dir, "/no/such/folder"};
    struct ferry_sandbox_opts o = {.readable = readable, .nreadable = 2, .spool = spool};
    struct ferry_sandbox box;
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        if (ferry_sandbox_enter(&o, false, &box) < 0)
            _exit(100);
        _exit(what());
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static bool opens(const char *path, int flags)
{
    int fd = open(path, flags, 0600);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* What the kernel knows of a socket, by either end. */
static int fds[2];

static int try_queues(void)
{
    int n = -1;

    if (ioctl(fds[1], FIONREAD, &n) < 0 || n != 3)
        return 2;
    if (ioctl(fds[0], TIOCOUTQ, &n) < 0 || n == 0)
        return 3;
    return ioctl(fds[0], TIOCSTI, "x") == 0 || errno != EPERM ? 4 : 0;
}

static void queues_of_sockets_are_seen(void **state)
{
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(write(fds[0], "abc", 3), 3);
    assert_int_equal(inside(try_queues), 0);
    close(fds[0]);
    close(fds[1]);
}

static int try_files(void)
{
    if (!opens(in(dir, "file"), O_RDONLY) || !opens(in(dir, "near"), O_RDONLY))
        return 1;
    if (opens(in(dir, "far"), O_RDONLY) || errno != EACCES)
        return 2;
    if (opens(in(elsewhere, "secret"), O_RDONLY) || opens("/etc/passwd", O_RDONLY))
        return 3;
    if (opens(in(dir, "file"), O_RDWR) || opens(in(dir, "new"), O_WRONLY | O_CREAT))
        return 4;
    if (unlink(in(dir, "file")) == 0 || unlink(in(elsewhere, "secret")) == 0)
        return 5;
    if (!opens(spool, O_TMPFILE | O_EXCL | O_RDWR))
        return 6;
    return 0;
}

static void it_reads_its_folders_and_no_other_file(void **state)
{
    (void)state;
    if (!has_landlock)
        skip();
    assert_int_equal(inside(try_files), 0);
}

static void *thread(void *arg)
{
    *(bool *)arg = true;
    return NULL;
}

static int try_calls(void)
{
    bool ran = false;
    pthread_t id;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd < 0)
        return 1;
    if (pthread_create(&id, NULL, thread, &ran) != 0 || pthread_join(id, NULL) != 0 || !ran)
        return 2;
    if (fork() >= 0 || errno != EPERM)
        return 3;
    if (listen(fd, 1) == 0 || errno != EPERM)
        return 4;
    if (mount("none", "/tmp", "tmpfs", 0, NULL) == 0 || errno != EPERM)
        return 5;
    /* Not setuid(), which asks every thread, a sanitizer's too, and aborts where they disagree. */
    if (syscall(SYS_setuid, 0) == 0 || errno != EPERM)
        return 6;
    return kill(getppid(), 0) == 0 || errno != EPERM ? 7 : 0;
}

static void it_has_threads_and_sockets_and_no_processes(void **state)
{
    (void)state;
    assert_int_equal(inside(try_calls), 0);
}

static int try_exec(void)
{
    execl("/bin/true", "true", NULL);
    return 0;
}

static void who_runs_a_program_is_killed(void **state)
{
    int status;

    (void)state;
    status = inside(try_exec);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSYS);
}

static void it_says_what_there_is(void **state)
{
    struct ferry_sandbox box;
    int status;
    pid_t pid = fork();

    (void)state;
    if (pid == 0) {
        struct ferry_sandbox_opts o = {0};
        int err = ferry_sandbox_enter(&o, true, &box);

        if (err == 0)
            _exit(box.landlock > 0 && box.seccomp && !box.why[0] ? 0 : 1);
        _exit(err == -ENOSYS && box.why[0] && !(box.landlock && box.seccomp) ? 2 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_not_equal(WEXITSTATUS(status), 1);
    has_landlock = WEXITSTATUS(status) == 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queues_of_sockets_are_seen),
        cmocka_unit_test(it_says_what_there_is),
        cmocka_unit_test(it_reads_its_folders_and_no_other_file),
        cmocka_unit_test(it_has_threads_and_sockets_and_no_processes),
        cmocka_unit_test(who_runs_a_program_is_killed),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
