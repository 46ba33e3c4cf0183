/* SPDX-License-Identifier: MIT */
/* Streams that come from connecting, and streams that move from one loop to another. */
#include <pthread.h>
#include <sys/un.h>

#include "ends.h"

/* -- connecting -- */

static void a_tcp_connection_is_made(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct sockaddr_in in;
    int l = tcp_listen(&in), fd;
    struct end e;
    char c[10];

    end_init(loop, &e);
    assert_int_equal(ferry_stream_connect(loop, &e.s, &fns, (struct sockaddr *)&in, sizeof in), 0);
    e.to_send = 10;
    send_more(&e); /* at once: it waits for the connection */
    assert_false(e.connected);
    run(loop);
    assert_true(e.connected);
    assert_int_equal(e.connect_err, 0);
    fd = accept(l, NULL, NULL);
    e.stop_on_sent = 1;
    if (e.sent < 10)
        run(loop);
    assert_int_equal(read(fd, c, 10), 10);
    fill(fd, 0, 3);
    e.stop_at = 3;
    ferry_stream_read(&e.s, true);
    run(loop);
    end_close(&e);
    close(fd);
    close(l);
    ferry_loop_free(loop);
}

static void a_refused_connection_is_told(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct sockaddr_in in;
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "/nonexistent/socket"};
    struct end e;

    close(tcp_listen(&in));
    end_init(loop, &e);
    assert_int_equal(ferry_stream_connect(loop, &e.s, &fns, (struct sockaddr *)&in, sizeof in), 0);
    assert_false(e.connected);
    run(loop);
    assert_int_equal(e.connect_err, -ECONNREFUSED);
    end_close(&e);
    end_init(loop, &e);
    assert_int_equal(ferry_stream_connect(loop, &e.s, &fns, (struct sockaddr *)&un, sizeof un), 0);
    assert_false(e.connected);
    run(loop);
    assert_int_equal(e.connect_err, -ENOENT);
    end_close(&e);
    ferry_loop_free(loop);
}

static void a_full_unix_backlog_is_eagain(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    socklen_t len = sizeof un;
    int l = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), full = 0, n;
    struct end e[8];

    assert_int_equal(bind(l, (struct sockaddr *)&un, sizeof un.sun_family), 0);
    getsockname(l, (struct sockaddr *)&un, &len);
    assert_int_equal(listen(l, 2), 0);
    for (n = 0; n < 8 && !full; n++) {
        end_init(loop, &e[n]);
        assert_int_equal(ferry_stream_connect(loop, &e[n].s, &fns, (struct sockaddr *)&un, len), 0);
        run(loop);
        assert_true(e[n].connect_err == 0 || e[n].connect_err == -EAGAIN);
        full = e[n].connect_err == -EAGAIN;
    }
    assert_true(full);
    assert_int_equal(n, 4);
    while (n--)
        end_close(&e[n]);
    close(l);
    ferry_loop_free(loop);
}

static void a_connection_in_progress_can_be_closed(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct sockaddr_in in;
    int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), filler[8];
    socklen_t len = sizeof in;
    struct end e;

    /* A full TCP backlog: SYNs are dropped, so that connecting takes for ever. */
    in =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    assert_int_equal(bind(l, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(listen(l, 0), 0);
    getsockname(l, (struct sockaddr *)&in, &len);
    for (int i = 0; i < 8; i++) {
        filler[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        connect(filler[i], (struct sockaddr *)&in, sizeof in);
    }
    end_init(loop, &e);
    assert_int_equal(ferry_stream_connect(loop, &e.s, &fns, (struct sockaddr *)&in, sizeof in), 0);
    assert_false(run_for(loop, 50));
    assert_false(e.connected);
    end_close(&e);
    assert_false(e.connected);
    for (int i = 0; i < 8; i++)
        close(filler[i]);
    close(l);
    ferry_loop_free(loop);
}

/* -- from one loop to another -- */

static void a_quiet_stream_moves_to_another_thread(void **state)
{
    struct ferry_loop *here = loop_for(state), *there = loop_for(state);
    int fd[2];

    each_pair(fd)
    {
        struct end e, f;

        end_open(here, &e, fd[0]);
        e.stop_at = 4;
        fill(fd[1], 0, 4);
        run(here);
        ferry_stream_detach(&e.s);
        assert_false(e.was_detached);
        run(here);
        assert_int_equal(e.detached, fd[0]);
        end_open(there, &f, e.detached);
        f.stop_at = 9;
        fill(fd[1], 0, 9);
        run(there);
        assert_int_equal(f.got, 9);
        end_close(&f);
        close(fd[1]);
    }
    ferry_loop_free(here);
    ferry_loop_free(there);
}

struct mover {
    struct ferry_loop *loop;
    int fd;
    uint64_t got;
};

static void *go_on(void *arg)
{
    struct mover *m = arg;
    struct end e;

    end_open(m->loop, &e, m->fd);
    e.stop_at = 1000;
    if (run_for(m->loop, 60000))
        m->got = e.got;
    end_close(&e);
    return NULL;
}

static void a_thread_goes_on_with_a_detached_stream(void **state)
{
    struct ferry_loop *here = loop_for(state);
    struct mover m = {.loop = loop_for(state)};
    struct end e;
    pthread_t t;
    int fd[2];

    unix_pair(fd);
    end_open(here, &e, fd[0]);
    assert_false(run_for(here, 5));
    ferry_stream_detach(&e.s);
    run(here);
    m.fd = e.detached;
    assert_int_equal(pthread_create(&t, NULL, go_on, &m), 0);
    fill(fd[1], 0, 1000);
    pthread_join(t, NULL);
    assert_int_equal(m.got, 1000);
    close(fd[1]);
    ferry_loop_free(here);
    ferry_loop_free(m.loop);
}

static void bytes_or_the_end_spoil_a_detach(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    int fd[2];

    for (int way = 0; way < 3; way++) {
        each_pair(fd)
        {
            struct end e;

            end_open(loop, &e, fd[0]);
            assert_false(run_for(loop, 5));
            if (way == 1) {
                ferry_stream_read(&e.s, false);
                fill(fd[1], 0, 3);
                assert_false(run_for(loop, 5));
            }
            ferry_stream_detach(&e.s);
            if (way == 0)
                fill(fd[1], 0, 3);
            if (way == 2)
                shutdown(fd[1], SHUT_WR);
            while (!e.was_detached)
                run(loop);
            assert_int_equal(e.detached, -1);
            assert_int_equal(e.got, 0);
            assert_int_equal(fcntl(fd[0], F_GETFD), -1);
            close(fd[1]);
        }
    }
    ferry_loop_free(loop);
}

static void closing_wins_over_detaching(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct end e;
    int fd[2];

    unix_pair(fd);
    end_open(loop, &e, fd[0]);
    assert_false(run_for(loop, 5));
    ferry_stream_detach(&e.s);
    end_close(&e);
    assert_false(e.was_detached);
    close(fd[1]);
    ferry_loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_both(a_tcp_connection_is_made),
        on_both(a_refused_connection_is_told),
        on_both(a_full_unix_backlog_is_eagain),
        on_both(a_connection_in_progress_can_be_closed),
        on_both(a_quiet_stream_moves_to_another_thread),
        on_both(a_thread_goes_on_with_a_detached_stream),
        on_both(bytes_or_the_end_spoil_a_detach),
        on_both(closing_wins_over_detaching),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
