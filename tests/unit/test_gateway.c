/* SPDX-License-Identifier: MIT */
/*
 * A gateway of a program's own when a loop fails, in a process of its own, whose epoll descriptor
 * is exchanged for something that is none; and when memory is out.
 */
#include "ferry/gateway.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/slice.h"
#include "support.h"

#define CLIENTS 8

static struct ferry_gateway *gateway;
static atomic_bool ended;

static int connect_to(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const char *text = ferry_gateway_address(gateway, 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    uint64_t port;

    if (ferry_slice_u64(ferry_slice_z(strrchr(text, ':') + 1), UINT16_MAX, &port) < 0)
        _exit(89);
    to.sin_port = htons((uint16_t)port);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        _exit(90);
    return fd;
}

static void ask(int fd)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    char answer[4096];

    if (write(fd, request, sizeof request - 1) < 0 || read(fd, answer, sizeof answer) <= 0)
        _exit(91);
}

/* The loops' descriptors in the order they were made. */
static int loop_fd(int which)
{
    char name[64], to[64];

    for (int fd = 0; fd < 256; fd++) {
        ssize_t n;

        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        n = readlink(name, to, sizeof to - 1);
        if (n < 0)
            continue;
        to[n] = 0;
        if (strcmp(to, "anon_inode:[eventpoll]") == 0 && which-- == 0)
            return fd;
    }
    return -1;
}

/* Clients that are in the middle of a request when the loop fails, on all threads. */
static void *break_loop(void *arg)
{
    int fds[CLIENTS], null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = connect_to();
        ask(fds[i]);
        if (write(fds[i], "GET / HT", 8) != 8)
            _exit(92);
    }
    if (loop_fd(2) >= 0 || dup2(null, loop_fd(*(int *)arg)) < 0)
        _exit(93);
    while (!ended) { /* until one has woken it */
        close(connect_to());
        usleep(10000);
    }
    return NULL;
}

static void quiet(void *arg, const char *line)
{
    (void)arg;
    (void)line;
}

static _Noreturn void serve_and_break(int which)
{
    struct ferry_filters *chain = ferry_filters_new();
    pthread_t breaker;
    int err;

    alarm(60);
    if (!chain || ferry_filters_deny(chain, 404, NULL) < 0 ||
        ferry_gateway_new(&(struct ferry_gateway_opts){FERRY_GATEWAY_OPTS_SIZE,
                                                       .listen = (const char *[]){"127.0.0.1:0"},
                                                       .nlisten = 1, .filters = chain, .threads = 2,
                                                       .io = FERRY_IO_EPOLL, .stop_max_ms = 200,
                                                       .log = quiet},
                          &gateway, NULL, 0) < 0)
        _exit(94);
    if (pthread_create(&breaker, NULL, break_loop, &which))
        _exit(95);
    err = ferry_gateway_run(gateway);
    _exit(err < 0 ? 0 : 96);
}

static void ends_when_loop_fails(int which)
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        serve_and_break(which);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0); /* SIGALRM, where it does not end */
}

static void it_ends_when_the_first_loop_fails(void **state)
{
    (void)state;
    ends_when_loop_fails(0);
}

static void it_ends_when_another_loop_fails(void **state)
{
    (void)state;
    ends_when_loop_fails(1);
}

/* Told to stop before it runs, so that it ends as soon as all is open. */
static void make_and_run(void *arg)
{
    struct ferry_gateway *g = NULL;
    char why[128] = "";
    int err = ferry_gateway_new(arg, &g, why, sizeof why);

    assert_true(err == 0 || (err == -ENOMEM && alloc_failed()));
    if (err < 0) {
        assert_null(g);
        assert_non_null(strstr(why, "emory"));
        return;
    }
    ferry_gateway_stop(g);
    err = ferry_gateway_run(g);
    assert_true(err == 0 || (err == -ENOMEM && alloc_failed()));
    ferry_gateway_free(g);
}

static unsigned open_fds(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void memory_may_be_out(void **state)
{
    struct ferry_filters *chain = ferry_filters_new();
    struct ferry_gateway_opts opts = {FERRY_GATEWAY_OPTS_SIZE,
                                      .listen = (const char *[]){"127.0.0.1:0"},
                                      .nlisten = 1,
                                      .filters = chain,
                                      .threads = 2,
                                      .io = FERRY_IO_EPOLL,
                                      .access_log = "/dev/null",
                                      .server_name = "x.example",
                                      .log = quiet};
    unsigned before = open_fds();

    (void)state;
    assert_non_null(chain);
    assert_int_equal(ferry_filters_set_param(chain, "A", "$host"), 0);
    assert_int_equal(ferry_filters_deny(chain, 404, NULL), 0);
    each_alloc_fails(make_and_run, &opts);
    ferry_filters_free(chain);
    assert_int_equal(open_fds(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_ends_when_the_first_loop_fails),
        cmocka_unit_test(it_ends_when_another_loop_fails),
        cmocka_unit_test(memory_may_be_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
