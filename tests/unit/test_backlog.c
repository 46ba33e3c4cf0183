/* SPDX-License-Identifier: MIT */
#include "proc/backlog.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "support.h"

union any {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
};

static int listen_at(int family, int backlog, union any *a, socklen_t *len)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memset(a, 0, sizeof *a);
    a->any.sa_family = (sa_family_t)family;
    *len = sizeof(struct sockaddr_in);
    if (family == AF_INET)
        a->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (family == AF_INET6) {
        a->in6.sin6_addr = in6addr_loopback;
        *len = sizeof a->in6;
    }
    if (family == AF_UNIX)
        *len = sizeof(sa_family_t); /* the kernel gives it an abstract name */
    if (fd < 0 || bind(fd, &a->any, *len) < 0) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    assert_int_equal(listen(fd, backlog), 0);
    *len = sizeof *a;
    assert_int_equal(getsockname(fd, &a->any, len), 0);
    return fd;
}

static void check(int family)
{
    struct ferry__backlog b;
    int diag = -1, clients[3], listener, first;
    socklen_t len;
    union any a;

    listener = listen_at(family, 7, &a, &len);
    if (listener < 0)
        skip(); /* no IPv6 here */
    assert_int_equal(ferry__backlog_read(&diag, listener, &b), 0);
    assert_int_equal(b.queued, 0);
    if (b.exact)
        assert_int_equal(b.max, 7);
    for (unsigned i = 0; i < 3; i++) {
        clients[i] = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(clients[i], &a.any, len), 0);
        /* TCP: connect returns before the last step of the handshake was looked at. */
        for (int n = 0; n < 1000; n++) {
            assert_int_equal(ferry__backlog_read(&diag, listener, &b), 0);
            if (b.queued >= (b.exact ? i + 1 : 1))
                break;
            usleep(1000);
        }
        assert_int_equal(b.queued, b.exact ? i + 1 : 1);
    }
    first = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_int_equal(ferry__backlog_read(&diag, listener, &b), 0);
    assert_int_equal(b.queued, b.exact ? 2 : 1);
    for (unsigned i = 0; i < 3; i++)
        close(clients[i]);
    close(first);
    close(listener);
    if (family != AF_UNIX)
        assert_int_equal(diag, -1);
    if (diag >= 0)
        close(diag);
}

static void unix_sockets(void **state)
{
    (void)state;
    check(AF_UNIX);
}

static void ipv4(void **state)
{
    (void)state;
    check(AF_INET);
}

static void ipv6(void **state)
{
    (void)state;
    check(AF_INET6);
}

/* What asks wrongly must not be answered with what another socket has. */
static void the_right_one_of_many(void **state)
{
    int diag = -1, listeners[5], clients[5];
    struct ferry__backlog b;
    socklen_t len;
    union any a;

    (void)state;
    for (int i = 0; i < 5; i++) {
        listeners[i] = listen_at(AF_UNIX, 3 + i, &a, &len);
        clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (i % 2)
            assert_int_equal(connect(clients[i], &a.any, len), 0);
    }
    for (int i = 4; i >= 0; i--) {
        assert_int_equal(ferry__backlog_read(&diag, listeners[i], &b), 0);
        assert_int_equal(b.queued, i % 2);
        if (b.exact)
            assert_int_equal(b.max, 3 + i);
    }
    for (int i = 0; i < 5; i++) {
        close(listeners[i]);
        close(clients[i]);
    }
    if (diag >= 0)
        close(diag);
}

/* A channel that says nothing useful is not believed: poll answers. */
static void without_netlink(void **state)
{
    int diag = open("/dev/null", O_RDWR | O_CLOEXEC), listener, client;
    struct ferry__backlog b;
    socklen_t len;
    union any a;

    (void)state;
    listener = listen_at(AF_UNIX, 5, &a, &len);
    assert_int_equal(ferry__backlog_read(&diag, listener, &b), 0);
    assert_int_equal(b.queued, 0);
    assert_false(b.exact);
    client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(client, &a.any, len), 0);
    assert_int_equal(ferry__backlog_read(&diag, listener, &b), 0);
    assert_int_equal(b.queued, 1);
    assert_false(b.exact);
    assert_int_equal(b.max, 0);
    close(client);
    close(listener);
    close(diag);
}

static void no_socket(void **state)
{
    struct ferry__backlog b;
    int diag = -1, fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    (void)state;
    assert_int_equal(ferry__backlog_read(&diag, fd, &b), -ENOTSOCK);
    close(fd);
    assert_int_equal(ferry__backlog_read(&diag, fd, &b), -EBADF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unix_sockets),
        cmocka_unit_test(ipv4),
        cmocka_unit_test(ipv6),
        cmocka_unit_test(the_right_one_of_many),
        cmocka_unit_test(without_netlink),
        cmocka_unit_test(no_socket),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
