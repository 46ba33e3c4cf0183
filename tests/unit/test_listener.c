/* SPDX-License-Identifier: MIT */
/* Sockets that are accepted from: alone, and together with others. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/un.h>

#include "loops.h"

struct door {
    struct ferry_listener l;
    unsigned accepted, until, bad;
    bool closed, close_then;
    int kept[2048];
    unsigned nkept;
};

static void door_accepted(struct ferry_listener *l, int fd)
{
    struct door *d = ferry_container(l, struct door, l);

    if (!(fcntl(fd, F_GETFL) & O_NONBLOCK) || !(fcntl(fd, F_GETFD) & FD_CLOEXEC))
        d->bad++;
    if (d->nkept < 2048)
        d->kept[d->nkept++] = fd;
    if (++d->accepted == d->until) {
        if (d->close_then)
            ferry_listener_close(l, true);
        else
            ferry_loop_stop(l->loop);
    }
}

static void door_closed(struct ferry_listener *l)
{
    ferry_container(l, struct door, l)->closed = true;
    ferry_loop_stop(l->loop);
}

static int listen_unix(struct sockaddr_un *un)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    *un = (struct sockaddr_un){.sun_family = AF_UNIX};
    assert_int_equal(bind(fd, (struct sockaddr *)un, sizeof un->sun_family), 0);
    socklen_t len = sizeof *un;
    getsockname(fd, (struct sockaddr *)un, &len);
    assert_int_equal(listen(fd, 4096), 0);
    return fd;
}

static int dial(const struct sockaddr_un *un)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    /* The name is abstract and of five bytes after its NUL. */
    assert_int_equal(connect(fd, (const struct sockaddr *)un, sizeof un->sun_family + 6), 0);
    return fd;
}

static struct door *open_door_as(struct ferry_loop *loop, struct sockaddr_un *un, bool shared)
{
    struct door *d = calloc(1, sizeof *d);

    d->l.shared = shared;
    d->l.accepted = door_accepted;
    d->l.closed = door_closed;
    assert_int_equal(ferry_listener_open(loop, &d->l, listen_unix(un)), 0);
    return d;
}

static struct door *open_door(struct ferry_loop *loop, struct sockaddr_un *un)
{
    return open_door_as(loop, un, false);
}

static void shut_door(struct door *d)
{
    struct ferry_loop *loop = d->l.loop;

    if (!d->closed) {
        ferry_listener_close(&d->l, true);
        ferry_listener_close(&d->l, true);
        run(loop);
    }
    assert_true(d->closed);
    assert_int_equal(d->bad, 0);
    for (unsigned i = 0; i < d->nkept; i++)
        close(d->kept[i]);
    free(d);
}

static void a_storm_of_connections_is_accepted(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct sockaddr_un un;
    struct door *d = open_door(loop, &un);
    int fds[1000];

    d->until = 1000;
    for (int i = 0; i < 1000; i++)
        fds[i] = dial(&un);
    run(loop);
    assert_int_equal(d->accepted, 1000);
    for (int i = 0; i < 1000; i++)
        close(fds[i]);
    shut_door(d);
    ferry_loop_free(loop);
}

static void a_listener_may_close_while_connections_wait(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct sockaddr_un un;
    struct door *d = open_door(loop, &un);
    int fds[300], fd = d->l.fd;

    d->until = 10;
    d->close_then = true;
    for (int i = 0; i < 300; i++)
        fds[i] = dial(&un);
    run(loop);
    assert_int_equal(d->accepted, 10);
    assert_true(d->closed);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    for (int i = 0; i < 300; i++)
        close(fds[i]);
    shut_door(d);
    ferry_loop_free(loop);
}

struct dial_and_close {
    struct ferry_task task;
    struct sockaddr_un *un;
    struct door *door;
    int fd;
};

static void dials_and_closes(struct ferry_task *task)
{
    struct dial_and_close *t = ferry_container(task, struct dial_and_close, task);

    t->fd = dial(t->un);
    t->door->l.takes_rest = true;
    ferry_listener_close(&t->door->l, true);
}

struct two_doors {
    struct ferry_loop *loop[2];
    struct door *d[2];
    struct sockaddr_un un;
};

static void turn(struct two_doors *t, int which)
{
    assert_int_equal(ferry_loop_step(t->loop[which]), 0);
}

/* Two loops that wait at one socket. */
static void open_two(struct two_doors *t, void **state, bool shared)
{
    for (int i = 0; i < 2; i++)
        t->loop[i] = loop_for(state);
    t->d[0] = open_door_as(t->loop[0], &t->un, shared);
    t->d[1] = calloc(1, sizeof *t->d[1]);
    t->d[1]->l = t->d[0]->l;
    assert_int_equal(ferry_listener_open(t->loop[1], &t->d[1]->l, dup(t->d[0]->l.fd)), 0);
    for (int i = 0; i < 2; i++) {
        t->d[i]->l.late = door_accepted;
        for (int n = 0; n < 3; n++)
            turn(t, i);
    }
}

static void shut_two(struct two_doors *t)
{
    for (int i = 0; i < 2; i++) {
        ferry_listener_close(&t->d[i]->l, true);
        while (!t->d[i]->closed)
            turn(t, i);
        shut_door(t->d[i]);
        ferry_loop_free(t->loop[i]);
    }
}

/* The kernel tells one of those who wait at a socket. When that one closes without having looked,
 * the other is not told again. */
static void whoever_closes_leaves_no_connection_waiting(void **state)
{
    for (int round = 0; round < 4; round++) {
        int closes = round & 1;
        struct two_doors t;
        struct dial_and_close act = {.un = &t.un};

        open_two(&t, state, round & 2);
        act.door = t.d[closes];
        ferry_task_init(&act.task, dials_and_closes);
        ferry_task_defer(t.loop[closes], &act.task);
        for (int n = 0; n < 200 && t.d[0]->accepted + t.d[1]->accepted == 0; n++) {
            usleep(1000);
            turn(&t, closes);
            turn(&t, !closes);
        }
        assert_int_equal(t.d[0]->accepted + t.d[1]->accepted, 1);
        close(act.fd);
        shut_two(&t);
    }
}

/* Two came together: one that closes after the first has not taken the other. */
static void whoever_shares_takes_one_and_leaves_one(void **state)
{
    struct two_doors t;
    int fds[2];

    open_two(&t, state, true);
    for (int i = 0; i < 2; i++) {
        t.d[i]->until = 1;
        t.d[i]->close_then = true;
        fds[i] = dial(&t.un);
    }
    for (int n = 0; n < 5000 && !(t.d[0]->closed && t.d[1]->closed); n++) {
        usleep(1000);
        turn(&t, n & 1);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(t.d[i]->accepted, 1);
        close(fds[i]);
    }
    shut_two(&t);
}

static void a_listener_closes_before_the_first_turn(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct sockaddr_un un;

    shut_door(open_door(loop, &un));
    ferry_loop_free(loop);
}

static void a_listener_survives_running_out_of_descriptors(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct sockaddr_un un;
    struct door *d = open_door(loop, &un);
    struct rlimit was, few;
    uint64_t before;
    int fds[20], top;

    d->until = 20;
    for (int i = 0; i < 20; i++)
        fds[i] = dial(&un);
    /* Room for four more. */
    top = dup(0);
    close(top);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    few = was;
    few.rlim_cur = (rlim_t)top + 4;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    before = cpu_us();
    assert_false(run_for(loop, 400));
    assert_true(cpu_us() - before < 200000); /* it waits rather than spins */
    assert_int_equal(d->accepted, 4);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    run(loop);
    assert_int_equal(d->accepted, 20);
    for (int i = 0; i < 20; i++)
        close(fds[i]);
    shut_door(d);
    ferry_loop_free(loop);
}

/* Nobody else was told of the first that finds no descriptor, so it is taken with the one in
 * reserve; after that the others are told. */
static void a_shared_listener_takes_what_it_was_woken_for(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct sockaddr_un un;
    struct door *d = open_door_as(loop, &un, true);
    struct rlimit was, few;
    int fds[3], top;

    for (int i = 0; i < 3; i++)
        fds[i] = dial(&un);
    top = dup(0);
    close(top);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    few = was;
    few.rlim_cur = (rlim_t)top;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    assert_false(run_for(loop, 400));
    assert_int_equal(d->accepted, 1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    d->until = 3;
    run(loop);
    assert_int_equal(d->accepted, 3);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    shut_door(d);
    ferry_loop_free(loop);
}

static void only_listening_sockets_are_listened_on(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct ferry_listener l = {.accepted = door_accepted};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    assert_int_equal(ferry_listener_open(loop, &l, fd), -EINVAL);
    close(fd);
    assert_int_equal(ferry_listener_open(loop, &l, fd), -EBADF);
    ferry_loop_free(loop);
}

static void *run_it(void *arg)
{
    return (void *)(intptr_t)ferry_loop_run(arg);
}

static void a_loop_made_here_runs_in_another_thread(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct sockaddr_un un;
    struct door *d = open_door(loop, &un);
    pthread_t t;
    void *r;
    int fd;

    d->until = 1;
    d->close_then = true;
    assert_int_equal(pthread_create(&t, NULL, run_it, loop), 0);
    fd = dial(&un);
    assert_int_equal(pthread_join(t, &r), 0);
    assert_null(r);
    assert_int_equal(d->accepted, 1);
    close(fd);
    shut_door(d);
    ferry_loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_both(a_storm_of_connections_is_accepted),
        on_both(a_listener_may_close_while_connections_wait),
        on_both(whoever_closes_leaves_no_connection_waiting),
        on_both(whoever_shares_takes_one_and_leaves_one),
        on_both(a_listener_closes_before_the_first_turn),
        on_both(a_listener_survives_running_out_of_descriptors),
        on_both(a_shared_listener_takes_what_it_was_woken_for),
        on_both(only_listening_sockets_are_listened_on),
        on_both(a_loop_made_here_runs_in_another_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
