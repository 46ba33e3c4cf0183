/* SPDX-License-Identifier: MIT */
#include "io/addr.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support.h"

/* A path of exactly n bytes below /tmp. */
static const char *long_path(size_t n)
{
    static char path[256];

    memset(path, 'x', n);
    memcpy(path, "/tmp/", 5);
    path[n] = 0;
    return path;
}

static void every_form_is_read_and_written(void **state)
{
    static const struct {
        const char *text;
        bool any;
        const char *want, *host;
        unsigned port;
    } cases[] = {
        {"unix:/run/php.sock", false, "unix:/run/php.sock", "", 0},
        {"/run/php.sock", false, "unix:/run/php.sock", "", 0},
        {"unix:app.sock", false, "unix:app.sock", "", 0},
        {"unix:@app", false, "unix:@app", "", 0},
        {"unix:./@app", false, "unix:./@app", "", 0},
        {"127.0.0.1:9000", false, "127.0.0.1:9000", "127.0.0.1", 9000},
        {"10.1.2.3:65535", true, "10.1.2.3:65535", "10.1.2.3", 65535},
        {"localhost:80", false, "127.0.0.1:80", "127.0.0.1", 80},
        {"LocalHost:80", true, "127.0.0.1:80", "127.0.0.1", 80},
        {":8080", false, "127.0.0.1:8080", "127.0.0.1", 8080},
        {":8080", true, "0.0.0.0:8080", "0.0.0.0", 8080},
        {"8080", false, "127.0.0.1:8080", "127.0.0.1", 8080},
        {"8080", true, "0.0.0.0:8080", "0.0.0.0", 8080},
        {"[::1]:8080", false, "[::1]:8080", "::1", 8080},
        {"[::]:1", true, "[::]:1", "::", 1},
        {"[2001:DB8:0:0::1]:443", false, "[2001:db8::1]:443", "2001:db8::1", 443},
        {"[::ffff:192.0.2.7]:1", false, "[::ffff:192.0.2.7]:1", "192.0.2.7", 1},
        {"127.0.0.1:0", true, "127.0.0.1:0", "127.0.0.1", 0},
        {"fd:0", true, "fd:0", "", 0},
        {"fd:2147483647", false, "fd:2147483647", "", 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[FERRY_ADDR_TEXT_MAX], host[64];
        struct ferry_addr a;
        const char *why = NULL;

        const char *in = guard_copy(0, cases[i].text, strlen(cases[i].text) + 1);
        assert_int_equal(ferry_addr_parse(in, cases[i].any, &a, &why), 0);
        assert_null(why);
        assert_int_equal(ferry_addr_format(&a, text, sizeof text), strlen(cases[i].want));
        assert_string_equal(text, cases[i].want);
        assert_int_equal(ferry_addr_host(&a, host, sizeof host), strlen(cases[i].host));
        assert_string_equal(host, cases[i].host);
        assert_int_equal(ferry_addr_port(&a), cases[i].port);
        for (size_t cap = 1; cap <= strlen(cases[i].want); cap++) {
            char *cut = guard_copy(1, text, cap);

            assert_int_equal(ferry_addr_format(&a, cut, cap), cap - 1);
            assert_memory_equal(cut, cases[i].want, cap - 1);
            assert_int_equal(cut[cap - 1], 0);
        }
    }
}

static void what_is_no_address_is_told_why(void **state)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"", "empty"},
        {"unix:", "path"},
        {"fd:", "descriptor"},
        {"fd:x", "descriptor"},
        {"fd:-1", "descriptor"},
        {"fd:2147483648", "descriptor"},
        {"php.sock", "not an address"},
        {"localhost", "not an address"},
        {"99999", "not an address"},
        {":", "port is missing"},
        {"127.0.0.1:", "port is missing"},
        {"127.0.0.1:65536", "65535"},
        {"127.0.0.1:80x", "65535"},
        {"127.0.0.1: 80", "65535"},
        {"127.0.0.1:-1", "65535"},
        {"127.0.0.1:0", "port 0"},
        {"0", "port 0"},
        {"127.1:80", "numeric"},
        {"127.0.0.1.5:80", "numeric"},
        {"255.255.255.2555:80", "numeric"},
        {"example.org:80", "numeric"},
        {"*:80", "numeric"},
        {"::1:80", "brackets"},
        {"[::1]", "port is missing"},
        {"[::1]80", "port is missing"},
        {"[::1]:", "port is missing"},
        {"[::1", "closing bracket"},
        {"[", "closing bracket"},
        {"[]:80", "IPv6"},
        {"[127.0.0.1]:80", "IPv6"},
        {"[1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa]:80", "IPv6"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_addr a, before;
        const char *why = NULL;

        memset(&a, 0x55, sizeof a);
        before = a;
        assert_int_equal(ferry_addr_parse(cases[i].text, false, &a, &why), FERRY_EUSAGE);
        assert_non_null(why);
        if (!strstr(why, cases[i].why))
            fail_msg("%s: %s", cases[i].text, why);
        assert_memory_equal(&a, &before, sizeof a);
    }
}

static void a_unix_path_has_107_bytes_at_most(void **state)
{
    struct ferry_addr a;
    const char *why;
    char text[FERRY_ADDR_TEXT_MAX];

    (void)state;
    assert_int_equal(ferry_addr_parse(long_path(107), false, &a, &why), 0);
    assert_int_equal(ferry_addr_format(&a, text, sizeof text), 5 + 107);
    assert_string_equal(text + 5, long_path(107));
    assert_int_equal(ferry_addr_parse(long_path(108), false, &a, &why), FERRY_EUSAGE);
    assert_non_null(strstr(why, "107"));
}

static struct ferry_addr parse(const char *text)
{
    struct ferry_addr a;
    const char *why;

    assert_int_equal(ferry_addr_parse(text, true, &a, &why), 0);
    return a;
}

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof value;

    assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

static void tcp_listeners_have_their_options(void **state)
{
    static const char *const cases[] = {"127.0.0.1:0", "[::1]:0"};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_addr a = parse(cases[i]), local, peer;
        int fd = ferry_listen(&a, NULL), client, served;

        if (fd == -EADDRNOTAVAIL || fd == -EAFNOSUPPORT)
            continue; /* no IPv6 here */
        assert_true(fd >= 0);
        assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        assert_int_equal(option(fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
        assert_int_equal(option(fd, SOL_SOCKET, SO_REUSEADDR), 1);
        assert_int_equal(option(fd, SOL_SOCKET, SO_REUSEPORT), 0);
        if (a.any.sa_family == AF_INET6)
            assert_int_equal(option(fd, IPPROTO_IPV6, IPV6_V6ONLY), 1);
        assert_int_equal(ferry_addr_local(fd, &local), 0);
        assert_true(ferry_addr_port(&local) > 0);

        client = socket(a.any.sa_family, SOCK_STREAM, 0);
        assert_int_equal(connect(client, &local.any, local.len), 0);
        served = accept(fd, NULL, NULL);
        assert_true(served >= 0);
        assert_int_equal(option(served, IPPROTO_TCP, TCP_NODELAY), 1);
        assert_int_equal(ferry_addr_peer(client, &peer), 0);
        assert_int_equal(ferry_addr_port(&peer), ferry_addr_port(&local));
        close(served);
        close(client);
        close(fd);
    }
}

static void a_busy_port_is_told(void **state)
{
    struct ferry_addr a = parse("127.0.0.1:0"), all;
    struct ferry_listen_opts share = {.reuseport = true};
    char text[32];
    int alone, first, second;

    (void)state;
    alone = ferry_listen(&a, NULL);
    assert_true(alone >= 0);
    assert_int_equal(ferry_addr_local(alone, &a), 0);
    snprintf(text, sizeof text, ":%u", ferry_addr_port(&a));
    all = parse(text);
    assert_int_equal(ferry_listen(&a, NULL), -EADDRINUSE);
    assert_int_equal(ferry_listen(&a, &share), -EADDRINUSE);
    assert_int_equal(ferry_listen(&all, NULL), -EADDRINUSE);
    close(alone);

    first = ferry_listen(&a, &share);
    second = ferry_listen(&a, &share);
    assert_true(first >= 0 && second >= 0);
    assert_int_equal(ferry_listen(&a, NULL), -EADDRINUSE);
    assert_int_equal(ferry_listen(&all, NULL), -EADDRINUSE);
    close(first);
    close(second);
}

static void one_who_came_alone_can_let_others_in(void **state)
{
    static const char *const hosts[] = {"127.0.0.1:0", ":0", "[::1]:0"};
    struct ferry_listen_opts share = {.reuseport = true};

    (void)state;
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        struct ferry_addr a = parse(hosts[i]);
        int fds[3], clients[60], got[3] = {0};

        fds[0] = ferry_listen(&a, NULL);
        assert_true(fds[0] >= 0);
        assert_int_equal(ferry_addr_local(fds[0], &a), 0);
        assert_int_equal(ferry_listen(&a, &share), -EADDRINUSE);
        assert_int_equal(ferry_listen_share(fds[0]), 0);
        for (int j = 1; j < 3; j++) {
            fds[j] = ferry_listen(&a, &share);
            assert_true(fds[j] >= 0);
        }
        for (int j = 0; j < 60; j++) {
            clients[j] = socket(a.any.sa_family, SOCK_STREAM, 0);
            assert_int_equal(connect(clients[j], &a.any, a.len), 0);
        }
        for (int j = 0, fd; j < 3; j++) {
            while ((fd = accept(fds[j], NULL, NULL)) >= 0) {
                got[j]++;
                close(fd);
            }
        }
        /* All of them come, and to everybody some. */
        assert_int_equal(got[0] + got[1] + got[2], 60);
        assert_true(got[0] && got[1] && got[2]);
        for (int j = 0; j < 60; j++)
            close(clients[j]);
        for (int j = 0; j < 3; j++)
            close(fds[j]);
    }
    assert_true(ferry_listen_share(-1) < 0);
}

static char dir[] = "/tmp/ferry-test-addr-XXXXXX";

static const char *in_dir(const char *name)
{
    static char path[128];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static int try_connect(const struct ferry_addr *a)
{
    bool is_unix = a->any.sa_family == AF_UNIX; /* which never takes its time */
    int fd = socket(a->any.sa_family, SOCK_STREAM | (is_unix ? SOCK_NONBLOCK : 0), 0);
    int err = connect(fd, &a->any, a->len) < 0 ? -errno : 0;

    close(fd);
    return err;
}

static void a_unix_socket_has_its_mode(void **state)
{
    static const struct {
        mode_t umask, mode, want;
    } cases[] = {
        {0, 0, 0600}, {022, 0, 0600}, {0777, 0600, 0600}, {022, 0666, 0666}, {0, 0660, 0660}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_listen_opts o = {.mode = cases[i].mode};
        struct ferry_addr a = parse(in_dir("mode"));
        mode_t old = umask(cases[i].umask);
        struct stat st;
        int fd = ferry_listen(&a, &o);

        assert_int_equal(umask(old), cases[i].umask);
        assert_true(fd >= 0);
        assert_int_equal(stat(in_dir("mode"), &st), 0);
        assert_true(S_ISSOCK(st.st_mode));
        assert_int_equal(st.st_mode & 07777, cases[i].want);
        assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        assert_int_equal(try_connect(&a), 0);
        close(fd);
        unlink(in_dir("mode"));
    }
}

static void a_live_unix_socket_is_not_taken(void **state)
{
    struct ferry_addr a = parse(in_dir("live"));
    struct ferry_listen_opts one = {.backlog = 1};
    int fds[8], fd = ferry_listen(&a, &one);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(ferry_listen(&a, NULL), -EADDRINUSE);
    /* also while its backlog is full */
    for (int i = 0; i < 8; i++) {
        fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (connect(fds[i], &a.any, a.len) < 0)
            assert_int_equal(errno, EAGAIN);
    }
    assert_int_equal(try_connect(&a), -EAGAIN);
    assert_int_equal(ferry_listen(&a, NULL), -EADDRINUSE);
    for (int i = 0; i < 8; i++)
        close(fds[i]);
    close(fd);
}

static void a_stale_unix_socket_is_replaced(void **state)
{
    struct ferry_addr a = parse(in_dir("stale"));
    struct ferry_listen_opts keep = {.keep_stale = true};
    int fd = ferry_listen(&a, NULL);

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(try_connect(&a), -ECONNREFUSED);
    assert_int_equal(ferry_listen(&a, &keep), -EADDRINUSE);
    fd = ferry_listen(&a, NULL);
    assert_true(fd >= 0);
    assert_int_equal(try_connect(&a), 0);
    close(fd);
}

static void a_unix_socket_is_removed_when_nobody_answers(void **state)
{
    struct ferry_addr a = parse(in_dir("removed")), tcp = parse("127.0.0.1:1");
    int fd = ferry_listen(&a, NULL), file;

    (void)state;
    assert_true(fd >= 0);
    ferry_listen_remove(&a);
    assert_int_equal(access(in_dir("removed"), F_OK), 0);
    close(fd);
    ferry_listen_remove(&a);
    assert_int_equal(access(in_dir("removed"), F_OK), -1);
    ferry_listen_remove(&a);
    ferry_listen_remove(&tcp);
    file = open(in_dir("removed"), O_CREAT | O_WRONLY, 0600);
    close(file);
    ferry_listen_remove(&a); /* no socket */
    assert_int_equal(unlink(in_dir("removed")), 0);
}

static void a_lock_held_by_others_does_not_stop_us(void **state)
{
    struct ferry_addr a = parse(in_dir("locked"));
    int lock = open(dir, O_RDONLY), fd;

    (void)state;
    assert_int_equal(flock(lock, LOCK_EX), 0);
    fd = ferry_listen(&a, NULL);
    assert_true(fd >= 0);
    close(fd);
    close(lock);
}

static void other_files_are_left_alone(void **state)
{
    struct ferry_addr a = parse(in_dir("file"));
    int fd = open(in_dir("file"), O_CREAT | O_WRONLY, 0600);

    (void)state;
    close(fd);
    assert_int_equal(ferry_listen(&a, NULL), -EADDRINUSE);
    assert_int_equal(access(in_dir("file"), F_OK), 0);
    a = parse(in_dir("missing/sock"));
    assert_int_equal(ferry_listen(&a, NULL), -ENOENT);
}

static void a_given_descriptor_must_listen(void **state)
{
    struct ferry_addr tcp = parse("127.0.0.1:0"), a = {.fd = -1};
    int given = ferry_listen(&tcp, NULL), other = socket(AF_UNIX, SOCK_STREAM, 0), fd;

    (void)state;
    a.fd = given;
    fd = ferry_listen(&a, NULL);
    assert_true(fd >= 0);
    assert_int_not_equal(fd, given);
    assert_int_equal(option(fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
    close(given);
    assert_int_equal(ferry_listen(&a, NULL), -EBADF);
    a.fd = other;
    assert_int_equal(ferry_listen(&a, NULL), -EINVAL);
    close(other);
}

static void an_abstract_address_is_no_file(void **state)
{
    char name[64];
    struct ferry_addr a, bound;
    int fd;

    (void)state;
    snprintf(name, sizeof name, "unix:@ferry-test-%d", (int)getpid());
    a = parse(name);
    fd = ferry_listen(&a, &(struct ferry_listen_opts){.mode = 0666, .set_owner = true});
    assert_true(fd >= 0);
    assert_int_equal(ferry_addr_local(fd, &bound), 0);
    assert_int_equal(bound.len, a.len);
    assert_memory_equal(&bound.un, &a.un, a.len);
    assert_int_equal(try_connect(&a), 0);
    assert_int_equal(ferry_listen(&a, NULL), -EADDRINUSE);
    assert_int_equal(ferry_listen_owner(&a), getpid());
    close(fd);
    ferry_listen_remove(&a);
    assert_int_equal(ferry_listen_owner(&a), 0);
    fd = ferry_listen(&a, NULL);
    assert_true(fd >= 0);
    close(fd);
}

static void a_unix_socket_has_its_owner(void **state)
{
    struct ferry_listen_opts o = {.mode = 0640, .set_owner = true, .owner = 12345, .group = 23456};
    struct ferry_addr a = parse(in_dir("live"));
    struct stat st;
    int fd;

    (void)state;
    if (geteuid() != 0) { /* then it is an error, and leaves nothing */
        assert_int_equal(ferry_listen(&a, &o), -EPERM);
        assert_int_equal(lstat(in_dir("live"), &st), -1);
        return;
    }
    fd = ferry_listen(&a, &o);
    assert_true(fd >= 0);
    assert_int_equal(lstat(in_dir("live"), &st), 0);
    assert_int_equal(st.st_uid, 12345);
    assert_int_equal(st.st_gid, 23456);
    assert_int_equal(st.st_mode & 07777, 0640);
    close(fd);
    o.owner = (uid_t)-1;
    fd = ferry_listen(&a, &o);
    assert_true(fd >= 0);
    assert_int_equal(lstat(in_dir("live"), &st), 0);
    assert_int_equal(st.st_uid, 0);
    assert_int_equal(st.st_gid, 23456);
    close(fd);
    unlink(in_dir("live"));
}

static void who_listens_is_known(void **state)
{
    struct ferry_addr a = parse(in_dir("live")), tcp = parse("127.0.0.1:1");
    int fd;

    (void)state;
    assert_int_equal(ferry_listen_owner(&a), 0);
    assert_int_equal(ferry_listen_owner(&tcp), 0);
    fd = ferry_listen(&a, NULL);
    assert_true(fd >= 0);
    assert_int_equal(ferry_listen_owner(&a), getpid());
    close(fd);
    assert_int_equal(ferry_listen_owner(&a), 0);
    unlink(in_dir("live"));
}

static void both_families_can_share_a_port(void **state)
{
    struct ferry_addr a = parse("[::]:0"), bound, v4;
    int fd = ferry_listen(&a, &(struct ferry_listen_opts){.dual_stack = true});

    (void)state;
    if (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL) /* no IPv6 here */
        return;
    assert_true(fd >= 0);
    assert_int_equal(ferry_addr_local(fd, &bound), 0);
    v4 = parse("127.0.0.1:1");
    v4.in.sin_port = bound.in6.sin6_port;
    assert_int_equal(try_connect(&v4), 0);
    close(fd);
}

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    static const char *const names[] = {"live", "stale", "locked", "file"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(in_dir(names[i]));
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_is_read_and_written),
        cmocka_unit_test(what_is_no_address_is_told_why),
        cmocka_unit_test(a_unix_path_has_107_bytes_at_most),
        cmocka_unit_test(tcp_listeners_have_their_options),
        cmocka_unit_test(a_busy_port_is_told),
        cmocka_unit_test(one_who_came_alone_can_let_others_in),
        cmocka_unit_test(a_unix_socket_has_its_mode),
        cmocka_unit_test(a_live_unix_socket_is_not_taken),
        cmocka_unit_test(a_stale_unix_socket_is_replaced),
        cmocka_unit_test(a_unix_socket_is_removed_when_nobody_answers),
        cmocka_unit_test(a_lock_held_by_others_does_not_stop_us),
        cmocka_unit_test(other_files_are_left_alone),
        cmocka_unit_test(a_given_descriptor_must_listen),
        cmocka_unit_test(an_abstract_address_is_no_file),
        cmocka_unit_test(a_unix_socket_has_its_owner),
        cmocka_unit_test(who_listens_is_known),
        cmocka_unit_test(both_families_can_share_a_port),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
