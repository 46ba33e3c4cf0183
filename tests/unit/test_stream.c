/* SPDX-License-Identifier: MIT */
#include "io/stream.h"

#include <pthread.h>
#include <sys/mman.h>

#include "ends.h"

/* -- bytes both ways -- */

static void echoes_come_back_whole(void **state)
{
    static const uint64_t sizes[] = {1, 2, 4095, 4096, 4097, 65536, 65537, 1000003, 64 << 20};
    struct ferry_loop *loop = loop_for(state);
    int fd[2];

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int large = 0; large < 2; large++) {
            each_pair(fd)
            {
                struct end a, b;

                end_open(loop, &a, fd[0]);
                end_open(loop, &b, fd[1]);
                ferry_stream_read_large(&a.s, large);
                ferry_stream_read_large(&b.s, large);
                b.echo = 1;
                a.to_send = a.stop_at = sizes[i];
                send_more(&a);
                run(loop);
                assert_int_equal(a.got, sizes[i]);
                assert_true(b.queued_max < 8 << 20);
                end_close(&a);
                end_close(&b);
            }
        }
    }
    ferry_loop_free(loop);
}

static void a_consumer_that_pauses_gets_every_byte_in_order(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    int fd[2];

    each_pair(fd)
    {
        struct end a, b;

        end_open(loop, &a, fd[0]);
        end_open(loop, &b, fd[1]);
        ferry_stream_read_large(&b.s, true);
        b.pause_on_data = 1;
        b.stop_on_end = 1;
        a.stop_on_sent = 1;
        a.to_send = 3000000;
        send_more(&a);
        run(loop);
        while (a.sent < a.to_send)
            run(loop);
        ferry_stream_shutdown(&a.s);
        while (!b.eof)
            run(loop);
        assert_int_equal(b.got, 3000000);
        end_close(&a);
        end_close(&b);
    }
    ferry_loop_free(loop);
}

static void reading_off_keeps_the_peer_waiting(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    int fd[2];

    each_pair(fd)
    {
        struct end e;
        char bytes[65536];
        uint64_t written = 0;

        end_open(loop, &e, fd[0]);
        ferry_stream_read_large(&e.s, true);
        e.stop_at = 5;
        fill(fd[1], 0, 5);
        run(loop); /* the receive is armed and has been of use */
        written = 5;
        ferry_stream_read(&e.s, false);
        for (int quiet = 0; quiet < 3;) {
            ssize_t n;

            for (size_t i = 0; i < sizeof bytes; i++)
                bytes[i] = (char)pattern(written + i);
            n = write(fd[1], bytes, sizeof bytes);
            if (n > 0) {
                written += (uint64_t)n;
                quiet = 0;
            } else {
                assert_int_equal(errno, EAGAIN);
                assert_false(run_for(loop, 20));
                quiet++;
            }
            assert_true(written < 32 << 20);
        }
        assert_int_equal(e.got, 5);
        e.stop_at = written;
        ferry_stream_read(&e.s, true);
        run(loop);
        assert_int_equal(e.got, written);
        end_close(&e);
        close(fd[1]);
    }
    ferry_loop_free(loop);
}

static void only_unix_sockets_get_more_room_to_send(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    int fd[2];

    each_pair(fd)
    {
        struct end e;
        int domain, before, after;
        socklen_t len = sizeof domain;

        end_open(loop, &e, fd[0]);
        assert_int_equal(getsockopt(fd[0], SOL_SOCKET, SO_DOMAIN, &domain, &len), 0);
        assert_int_equal(getsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &before, &len), 0);
        ferry_stream_send_large(&e.s);
        assert_int_equal(getsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &after, &len), 0);
        assert_true(domain == AF_UNIX ? after > before : after == before);
        end_close(&e);
        close(fd[1]);
    }
    ferry_loop_free(loop);
}

static void many_streams_that_keep_their_blocks_do_not_starve_others(void **state)
{
    static const char zeros[100000];
    enum { N = 300 };
    struct ferry_loop *loop = loop_for(state);
    struct end *e = calloc(N, sizeof *e);
    int fd[N][2];

    /* Each is stuck with what it echoes, for nobody reads it: all blocks of a ring and more. */
    for (int i = 0; i < N; i++) {
        unix_pair(fd[i]);
        end_open(loop, &e[i], fd[i][0]);
        ferry_stream_read_large(&e[i].s, true);
        e[i].echo = 1;
    }
    for (int round = 0; round < 8; round++) {
        for (int i = 0; i < N; i++) {
            ssize_t n = write(fd[i][1], zeros, sizeof zeros);
            (void)n;
        }
        assert_false(run_for(loop, 1));
    }
    for (int i = 0, tries = 0; i < N; i++)
        for (; e[i].got <= 100000; tries++) {
            assert_true(tries < 100);
            assert_false(run_for(loop, 100));
        }
    for (int i = 0; i < N; i++) {
        end_close(&e[i]);
        close(fd[i][1]);
    }
    free(e);
    ferry_loop_free(loop);
}

/* -- the end -- */

struct last_words {
    int fd;
    bool reset;
    unsigned wait_us;
};

static void *say_last_words(void *arg)
{
    struct last_words *w = arg;
    struct linger none = {.l_onoff = 1};

    usleep(w->wait_us);
    fill(w->fd, 6, 6);
    if (w->reset)
        setsockopt(w->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    close(w->fd);
    return NULL;
}

/* A kernel that finds bytes and the end at once may tell of the bytes alone: a race that is seldom
 * lost on an idle machine. tests/e2e/test_hostile.py has the storm of resets that showed it. */
static void the_end_close_behind_bytes_is_not_lost(void **state)
{
    struct ferry_loop *loop = loop_for(state);

    for (unsigned i = 0; i < 600; i++) {
        struct last_words w = {.reset = i & 1, .wait_us = i / 2 % 60};
        struct end e;
        pthread_t id;
        int fd[2];

        tcp_pair(fd);
        w.fd = fd[1];
        fill(fd[1], 0, 6);
        end_open(loop, &e, fd[0]);
        e.stop_on_end = 1;
        assert_int_equal(pthread_create(&id, NULL, say_last_words, &w), 0);
        assert_true(run_for(loop, 5000));
        assert_int_equal(pthread_join(id, NULL), 0);
        assert_true(e.eof || e.err);
        end_close(&e);
    }
    ferry_loop_free(loop);
}

static void a_half_close_leaves_the_other_half(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    int fd[2];

    each_pair(fd)
    {
        struct end e;
        char back[7];

        end_open(loop, &e, fd[0]);
        e.stop_on_end = 1;
        e.stop_on_sent = 1;
        fill(fd[1], 0, 6);
        shutdown(fd[1], SHUT_WR);
        run(loop);
        assert_int_equal(e.got, 6);
        assert_true(e.eof);
        e.to_send = 7;
        send_more(&e);
        run(loop);
        ferry_stream_shutdown(&e.s);
        assert_int_equal(read(fd[1], back, 7), 7);
        assert_int_equal(read(fd[1], back, 7), 0);
        assert_false(run_for(loop, 20));
        end_close(&e);
        close(fd[1]);
    }
    ferry_loop_free(loop);
}

static void the_end_waits_while_reading_is_off(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    int fd[2];

    each_pair(fd)
    {
        for (int armed = 0; armed < 2; armed++) {
            struct end e;

            if (armed) {
                close(fd[1]);
                pairs[pair_](fd);
            }
            end_open(loop, &e, fd[0]);
            e.stop_on_end = 1;
            if (armed)
                assert_false(run_for(loop, 5));
            ferry_stream_read(&e.s, false);
            assert_false(run_for(loop, 5));
            fill(fd[1], 0, 100);
            assert_false(run_for(loop, 5));
            shutdown(fd[1], SHUT_WR);
            assert_false(run_for(loop, 30));
            assert_int_equal(e.got, 0);
            assert_false(e.eof || e.err);
            ferry_stream_read(&e.s, true);
            run(loop);
            assert_int_equal(e.got, 100);
            assert_true(e.eof);
            end_close(&e);
        }
        close(fd[1]);
    }
    ferry_loop_free(loop);
}

static void reset_by(int fd)
{
    struct linger none = {.l_onoff = 1};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    close(fd);
}

static void a_reset_is_told_reading_or_not(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    int fd[2];

    for (int way = 0; way < 4; way++) {
        struct end e;

        tcp_pair(fd);
        end_open(loop, &e, fd[0]);
        e.stop_on_end = 1;
        assert_false(run_for(loop, 5));
        if (way > 0)
            ferry_stream_read(&e.s, false);
        if (way > 1) {
            fill(fd[1], 0, 10);
            assert_false(run_for(loop, 5));
        }
        if (way > 2) {
            shutdown(fd[1], SHUT_WR);
            assert_false(run_for(loop, 5));
        }
        reset_by(fd[1]);
        run(loop);
        /* After a half-close the kernel calls it a broken pipe. */
        assert_int_equal(e.err, way == 3 ? -EPIPE : -ECONNRESET);
        assert_false(e.eof);
        end_close(&e);
    }
    ferry_loop_free(loop);
}

static void sending_to_nobody_fails(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    int fd[2];

    each_pair(fd)
    {
        struct end e;

        end_open(loop, &e, fd[0]);
        ferry_stream_read(&e.s, false);
        e.stop_on_end = 1;
        e.to_send = 100 << 20;
        send_more(&e);
        assert_false(run_for(loop, 20)); /* blocked by then */
        reset_by(fd[1]);
        run(loop);
        if (!e.sent_err)
            run(loop);
        assert_true(e.sent_err == -EPIPE || e.sent_err == -ECONNRESET);
        end_close(&e);
    }
    ferry_loop_free(loop);
}

static void our_reset_is_seen(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct end e;
    int fd[2];
    char c;

    tcp_pair(fd);
    end_open(loop, &e, fd[0]);
    ferry_stream_reset(&e.s);
    while (!e.closed)
        run(loop);
    assert_int_equal(read(fd[1], &c, 1), -1);
    assert_int_equal(errno, ECONNRESET);
    close(fd[1]);
    unix_pair(fd);
    end_open(loop, &e, fd[0]);
    ferry_stream_reset(&e.s);
    while (!e.closed)
        run(loop);
    assert_int_equal(read(fd[1], &c, 1), 0);
    close(fd[1]);
    ferry_loop_free(loop);
}

/* -- closing -- */

static void it_closes_with_everything_in_flight(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    int fd[2];

    for (unsigned way = 0; way < 32; way++) {
        each_pair(fd)
        {
            struct end e;
            char left[65536];

            end_open(loop, &e, fd[0]);
            if (way & 1)
                ferry_stream_read(&e.s, false);
            if (way & 2)
                fill(fd[1], 0, 20000);
            if (way & 4) {
                e.to_send = 100 << 20; /* more than fits: a send stays blocked */
                send_more(&e);
            }
            if (way & 8)
                run_for(loop, 5);
            if (way & 16)
                fill(fd[1], 20000, 1000);
            e.close_on_data = !(way & 1);
            e.got = 0;
            end_close(&e);
            while (read(fd[1], left, sizeof left) > 0)
                ;
            close(fd[1]);
        }
    }
    ferry_loop_free(loop);
}

static void closing_from_its_own_callbacks(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    int fd[2];

    each_pair(fd)
    {
        struct end e;

        end_open(loop, &e, fd[0]);
        e.close_on_data = 1;
        fill(fd[1], 0, 100000);
        while (!e.closed)
            run(loop);
        assert_true(e.got > 0 && e.got <= 4096);
        close(fd[1]);
        pairs[pair_](fd);
        end_open(loop, &e, fd[0]);
        e.close_on_sent = 1;
        e.to_send = 1000;
        send_more(&e);
        while (!e.closed)
            run(loop);
        assert_int_equal(e.sent, 1000);
        close(fd[1]);
    }
    ferry_loop_free(loop);
}

/* -- files -- */

static int pattern_file(size_t n)
{
    int fd = memfd_create("pattern", MFD_CLOEXEC);

    fill(fd, 0, n);
    return fd;
}

static void file_ranges_go_between_bytes(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    int fd[2];

    each_pair(fd)
    {
        struct end a, b;
        int file = pattern_file(5000010);

        end_open(loop, &a, fd[0]);
        end_open(loop, &b, fd[1]);
        b.stop_at = 5000010;
        ferry_stream_read_large(&b.s, true);
        for (int i = 0; i < 10; i++) {
            char c = (char)pattern((uint64_t)i);

            ferry_chain_copy(&a.out, ferry_slice(&c, 1));
        }
        ferry_chain_file(&a.out, file, 10, 4999995);
        for (int i = 5000005; i < 5000010; i++) {
            char c = (char)pattern((uint64_t)i);

            ferry_chain_copy(&a.out, ferry_slice(&c, 1));
        }
        ferry_stream_send(&a.s, &a.out);
        run(loop);
        assert_int_equal(b.got, 5000010);
        end_close(&a);
        end_close(&b);
        assert_int_equal(fcntl(file, F_GETFD), -1);
    }
    ferry_loop_free(loop);
}

static void a_file_cut_short_is_an_error(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    int fd[2];

    each_pair(fd)
    {
        struct end e;

        end_open(loop, &e, fd[0]);
        e.stop_on_end = 1;
        ferry_chain_file(&e.out, pattern_file(1000), 0, 2000);
        ferry_stream_send(&e.s, &e.out);
        run(loop);
        assert_int_equal(e.sent, 1000);
        assert_int_equal(e.sent_err, -EIO);
        end_close(&e);
        close(fd[1]);
    }
    ferry_loop_free(loop);
}

/* -- memory -- */

static void short_of_memory(void *arg)
{
    struct ferry_loop *loop = NULL;
    struct end e;
    int fd[2];

    if (ferry_loop_new(*(enum ferry_io *)arg, &loop) < 0)
        return;
    unix_pair(fd);
    end_init(loop, &e);
    if (ferry_stream_open(loop, &e.s, &fns, fd[0]) == 0) {
        ferry_stream_read_large(&e.s, true);
        ferry_stream_read(&e.s, true);
        e.stop_on_end = 1;
        e.stop_at = 1000;
        fill(fd[1], 0, 1000);
        run(loop);
        assert_true(e.got == 1000 || e.err == -ENOMEM);
        end_close(&e);
    }
    close(fd[1]);
    ferry_loop_free(loop);
}

static void memory_may_run_out(void **state)
{
    ferry_loop_free(loop_for(state));
    each_alloc_fails(short_of_memory, *state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_both(echoes_come_back_whole),
        on_both(a_consumer_that_pauses_gets_every_byte_in_order),
        on_both(reading_off_keeps_the_peer_waiting),
        on_both(only_unix_sockets_get_more_room_to_send),
        on_both(many_streams_that_keep_their_blocks_do_not_starve_others),
        on_both(the_end_close_behind_bytes_is_not_lost),
        on_both(a_half_close_leaves_the_other_half),
        on_both(the_end_waits_while_reading_is_off),
        on_both(a_reset_is_told_reading_or_not),
        on_both(sending_to_nobody_fails),
        on_both(our_reset_is_seen),
        on_both(it_closes_with_everything_in_flight),
        on_both(closing_from_its_own_callbacks),
        on_both(file_ranges_go_between_bytes),
        on_both(a_file_cut_short_is_an_error),
        on_both(memory_may_run_out),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
