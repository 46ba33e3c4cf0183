/* SPDX-License-Identifier: MIT */
#include "proc/usage.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

enum { BIG = 48 << 20 };

/* The leader of a group whose child burns time, both under a name made to confuse. */
static pid_t busy_group(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        setpgid(0, 0);
        prctl(PR_SET_NAME, ") R 1 1 (");
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (volatile unsigned i = 0;; i++)
                ;
        }
        for (;;)
            pause();
    }
    setpgid(pid, pid);
    return pid;
}

static pid_t big_group(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        /* Filled by the kernel: a sanitizer would add memory of its own to what is written. */
        mmap(NULL, BIG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        for (;;)
            pause();
    }
    setpgid(pid, pid);
    return pid;
}

static void groups_are_told_apart(void **state)
{
    struct ferry__usage u[3];
    pid_t busy = busy_group(), big = big_group();
    unsigned b, g;

    (void)state;
    b = busy < big ? 0 : 1;
    g = 1 - b;
    for (int i = 0; i < 2000; i++) {
        memset(u, 0xff, sizeof u);
        u[b].group = busy;
        u[g].group = big;
        u[2].group = 0x7ffffffe; /* nobody's */
        assert_int_equal(ferry__usage_read(u, 3), 0);
        if (u[b].cpu_ms >= 50 && u[b].cpu_ms > u[g].cpu_ms && u[g].rss >= BIG)
            break;
        usleep(10000);
    }
    assert_in_range(u[b].cpu_ms, 50, 60000);
    assert_in_range(u[g].rss, BIG, BIG * 4L);
    assert_true(u[g].cpu_ms < u[b].cpu_ms);
    assert_true(u[b].rss > 0);
    assert_int_equal(u[2].cpu_ms, 0);
    assert_int_equal(u[2].rss, 0);
    kill(-busy, SIGKILL);
    kill(-big, SIGKILL);
    waitpid(busy, NULL, 0);
    waitpid(big, NULL, 0);
}

static void none_is_nothing(void **state)
{
    (void)state;
    assert_int_equal(ferry__usage_read(NULL, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_are_told_apart),
        cmocka_unit_test(none_is_nothing),
    };

    alarm(60);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
