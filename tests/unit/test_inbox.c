/* SPDX-License-Identifier: MIT */
#include "proc/inbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "loops.h"

struct heard {
    struct ferry__inbox n;
    struct ferry_loop *loop;
    char text[FERRY__INBOX_MAX * 4];
    unsigned times, stop_at, closed;
    pid_t pid;
};

static void on_said(struct ferry__inbox *n, pid_t pid, struct ferry_slice text)
{
    struct heard *h = ferry_container(n, struct heard, n);
    size_t len = strlen(h->text);

    h->pid = pid;
    h->times++;
    assert_true(len + text.len < sizeof h->text);
    memcpy(h->text + len, text.p, text.len);
    if (h->times == h->stop_at)
        ferry_loop_stop(h->loop);
}

static void on_closed(struct ferry__inbox *n)
{
    struct heard *h = ferry_container(n, struct heard, n);

    h->closed++;
    ferry_loop_stop(h->loop);
}

static void open_it(struct heard *h, void **state)
{
    memset(h, 0, sizeof *h);
    h->loop = loop_for(state);
    h->n.said = on_said;
    h->n.closed = on_closed;
    assert_int_equal(ferry__inbox_open(&h->n), 0);
    assert_int_equal(h->n.address[0], '@');
    assert_int_equal(ferry__inbox_watch(h->loop, &h->n), 0);
}

static void close_it(struct heard *h)
{
    ferry__inbox_close(&h->n);
    while (!h->closed)
        run(h->loop);
    assert_int_equal(h->closed, 1);
    assert_int_equal(h->n.fd, -1);
    ferry_loop_free(h->loop);
}

static ssize_t say(const struct heard *h, const char *text, size_t n, int pass)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t len = strlen(h->n.address);
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof pass)];
    } control = {0};
    struct iovec iov = {(char *)text, n};
    struct msghdr msg = {.msg_name = &un,
                         .msg_namelen = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len),
                         .msg_iov = &iov,
                         .msg_iovlen = 1};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ssize_t sent;

    memcpy(un.sun_path + 1, h->n.address + 1, len - 1);
    if (pass >= 0) {
        struct cmsghdr *c;

        msg.msg_control = &control;
        msg.msg_controllen = sizeof control;
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof pass);
        memcpy(CMSG_DATA(c), &pass, sizeof pass);
    }
    sent = sendmsg(fd, &msg, 0);
    close(fd);
    return sent;
}

static void the_sender_is_known(void **state)
{
    struct heard h;
    pid_t child;

    open_it(&h, state);
    h.stop_at = 1;
    child = fork();
    if (child == 0)
        _exit(say(&h, "READY=1\n", 8, -1) != 8);
    run(h.loop);
    assert_int_equal(h.pid, child);
    assert_string_equal(h.text, "READY=1\n");
    assert_int_equal(waitpid(child, NULL, 0), child);
    close_it(&h);
}

static void what_is_too_long_is_dropped(void **state)
{
    static char text[FERRY__INBOX_MAX + 1];
    struct heard h;

    memset(text, 'x', sizeof text);
    open_it(&h, state);
    h.stop_at = 2;
    assert_int_equal(say(&h, text, FERRY__INBOX_MAX, -1), FERRY__INBOX_MAX);
    assert_int_equal(say(&h, text, FERRY__INBOX_MAX + 1, -1), FERRY__INBOX_MAX + 1);
    assert_int_equal(say(&h, "y", 1, -1), 1);
    run(h.loop);
    assert_int_equal(h.times, 2);
    assert_int_equal(strlen(h.text), FERRY__INBOX_MAX + 1);
    assert_int_equal(h.text[FERRY__INBOX_MAX], 'y');
    close_it(&h);
}

/* systemd-notify waits for the end of what it sends along (BARRIER=1). */
static void descriptors_are_closed(void **state)
{
    struct heard h;
    int ends[2];
    char c;

    open_it(&h, state);
    h.stop_at = 1;
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(say(&h, "BARRIER=1", 9, ends[1]), 9);
    close(ends[1]);
    assert_int_equal(read(ends[0], &c, 1), -1);
    assert_int_equal(errno, EAGAIN);
    run(h.loop);
    assert_int_equal(read(ends[0], &c, 1), 0);
    close(ends[0]);
    close_it(&h);
}

static void many_are_all_heard(void **state)
{
    struct heard h;
    unsigned sent = 0;

    open_it(&h, state);
    h.stop_at = 300;
    if (fork() == 0) {
        while (sent < 300)
            sent += say(&h, "X=1\n", 4, -1) == 4;
        _exit(0);
    }
    run(h.loop);
    assert_int_equal(h.times, 300);
    while (wait(NULL) > 0)
        ;
    close_it(&h);
}

static void one_that_was_never_watched(void **state)
{
    struct ferry__inbox n = {.fd = -1};
    int fd;

    (void)state;
    assert_int_equal(ferry__inbox_open(&n), 0);
    fd = n.fd;
    ferry__inbox_close(&n);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    ferry__inbox_close(&n);
}

static void lines(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"", ""},
        {"READY=1", "READY:1;"},
        {"READY=1\nSTATUS=a=b\n", "READY:1;STATUS:a=b;"},
        {"\n\nno equals\nX=\n=y\n", "X:;:y;"},
        {"A=1\nno end", "A:1;"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = strlen(cases[i].text);
        struct ferry_slice text = ferry_slice(guard_copy(0, cases[i].text, n), n), name, value;
        char got[128] = "";

        while (ferry__inbox_next(&text, &name, &value)) {
            size_t len = strlen(got);

            snprintf(got + len, sizeof got - len, "%.*s:%.*s;", (int)name.len, name.p,
                     (int)value.len, value.p);
        }
        assert_string_equal(got, cases[i].want);
        assert_int_equal(text.len, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_both(the_sender_is_known),
        on_both(what_is_too_long_is_dropped),
        on_both(descriptors_are_closed),
        on_both(many_are_all_heard),
        cmocka_unit_test(one_that_was_never_watched),
        cmocka_unit_test(lines),
    };

    alarm(60);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
