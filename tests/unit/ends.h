/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TESTS_ENDS_H
#define FERRY_TESTS_ENDS_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>

#include "io/stream.h"
#include "loops.h"

/*
 * One end under test. It receives the pattern (every byte a function of its place) and checks it,
 * or echoes what it gets; it sends the pattern up to `to_send`.
 */
struct end {
    struct ferry_stream s;
    struct ferry_chain out;
    uint64_t got, to_send, queued, sent;
    unsigned queued_max;
    unsigned echo : 1, eof : 1, closed : 1, connected : 1, was_detached : 1;
    unsigned stop_on_data : 1, stop_on_end : 1, stop_on_sent : 1, close_on_data : 1,
        pause_on_data : 1, close_on_sent : 1;
    int err, sent_err, connect_err, detached;
    uint64_t stop_at;
    struct ferry_timer resume;
};

static inline unsigned char pattern(uint64_t at)
{
    return (unsigned char)((at * UINT64_C(0x9E3779B97F4A7C15)) >> 56);
}

static inline struct end *end_of(struct ferry_stream *s)
{
    return ferry_container(s, struct end, s);
}

static inline void send_more(struct end *e)
{
    char piece[3000];

    while (!e->echo && e->queued < e->to_send && e->out.len < 300000) {
        size_t n = (size_t)(1 + (e->queued * 7919) % sizeof piece);

        if (n > e->to_send - e->queued)
            n = (size_t)(e->to_send - e->queued);
        for (size_t i = 0; i < n; i++)
            piece[i] = (char)pattern(e->queued + i);
        ferry_chain_copy(&e->out, ferry_slice(piece, n));
        e->queued += n;
    }
    if (e->out.len > e->queued_max)
        e->queued_max = (unsigned)e->out.len;
    if (e->out.len && !ferry_stream_is_sending(&e->s))
        ferry_stream_send(&e->s, &e->out);
}

static inline void on_read(struct ferry_stream *s, struct ferry_block *b, const char *data,
                           ssize_t n)
{
    struct end *e = end_of(s);

    assert_false(e->closed || e->eof || e->err);
    if (n > 0) {
        if (e->echo)
            ferry_chain_ref(&e->out, b, ferry_slice(data, (size_t)n));
        else
            for (ssize_t i = 0; i < n; i++)
                assert_int_equal((unsigned char)data[i], pattern(e->got + (uint64_t)i));
        e->got += (uint64_t)n;
        if (e->echo) {
            send_more(e);
            ferry_stream_read(s, e->out.len < 200000);
        }
        if (e->close_on_data)
            ferry_stream_close(s);
        if (e->pause_on_data) {
            ferry_stream_read(s, false);
            ferry_timer_set(s->loop, &e->resume, ferry_loop_now(s->loop) + 1);
        }
        if (e->stop_on_data || e->got == e->stop_at)
            ferry_loop_stop(s->loop);
        return;
    }
    if (n == 0)
        e->eof = 1;
    else
        e->err = (int)n;
    if (e->stop_on_end)
        ferry_loop_stop(s->loop);
}

static inline void on_sent(struct ferry_stream *s, ssize_t n)
{
    struct end *e = end_of(s);

    assert_false(e->closed);
    if (n < 0) {
        e->sent_err = (int)n;
        ferry_chain_clear(&e->out);
        if (e->stop_on_end)
            ferry_loop_stop(s->loop);
        return;
    }
    assert_true((uint64_t)n <= e->out.len);
    ferry_chain_consume(&e->out, (uint64_t)n);
    e->sent += (uint64_t)n;
    if (e->close_on_sent)
        ferry_stream_close(s);
    else
        send_more(e);
    if (e->echo)
        ferry_stream_read(s, e->out.len < 200000);
    if (e->stop_on_sent && e->out.len == 0)
        ferry_loop_stop(s->loop);
}

static inline void on_closed(struct ferry_stream *s)
{
    struct end *e = end_of(s);

    assert_false(e->closed);
    e->closed = 1;
    ferry_chain_clear(&e->out);
    ferry_timer_stop(&e->resume);
    ferry_loop_stop(s->loop);
}

static inline void on_connected(struct ferry_stream *s, int err)
{
    struct end *e = end_of(s);

    e->connected = 1;
    e->connect_err = err;
    ferry_loop_stop(s->loop);
}

static inline void on_detached(struct ferry_stream *s, int fd)
{
    struct end *e = end_of(s);

    e->was_detached = 1;
    e->detached = fd;
    ferry_chain_clear(&e->out);
    ferry_timer_stop(&e->resume);
    ferry_loop_stop(s->loop);
}

static const struct ferry_stream_fns fns = {
    .connected = on_connected,
    .read = on_read,
    .sent = on_sent,
    .closed = on_closed,
    .detached = on_detached,
};

static inline void on_resume(struct ferry_timer *t)
{
    ferry_stream_read(&ferry_container(t, struct end, resume)->s, true);
}

static inline void end_init(struct ferry_loop *loop, struct end *e)
{
    memset(e, 0, sizeof *e);
    ferry_chain_init(&e->out, ferry_loop_blocks(loop));
    ferry_timer_init(&e->resume, on_resume);
    e->detached = -2;
}

static inline void end_open(struct ferry_loop *loop, struct end *e, int fd)
{
    end_init(loop, e);
    assert_int_equal(ferry_stream_open(loop, &e->s, &fns, fd), 0);
    ferry_stream_read(&e->s, true);
}

static inline void end_close(struct end *e)
{
    struct ferry_loop *loop = e->s.loop;

    ferry_stream_close(&e->s);
    ferry_stream_close(&e->s);
    while (!e->closed)
        run(loop);
}

static inline void unix_pair(int fd[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
}

static inline int tcp_listen(struct sockaddr_in *in)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof *in;

    *in =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    assert_int_equal(bind(fd, (struct sockaddr *)in, sizeof *in), 0);
    assert_int_equal(listen(fd, 64), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)in, &len), 0);
    return fd;
}

static inline void tcp_pair(int fd[2])
{
    struct sockaddr_in in;
    int l = tcp_listen(&in);

    fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd[0], (struct sockaddr *)&in, sizeof in), 0);
    fd[1] = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(fd[1] >= 0);
    fcntl(fd[0], F_SETFL, O_NONBLOCK);
    close(l);
}

static void (*const pairs[])(int[2]) = {unix_pair, tcp_pair};

#define each_pair(make) for (size_t pair_ = 0; pair_ < 2 && (pairs[pair_](make), 1); pair_++)

static inline void fill(int fd, uint64_t from, size_t n)
{
    char bytes[4096];

    for (size_t at = 0; at < n;) {
        size_t piece = n - at < sizeof bytes ? n - at : sizeof bytes;

        for (size_t i = 0; i < piece; i++)
            bytes[i] = (char)pattern(from + at + i);
        assert_int_equal(write(fd, bytes, piece), piece);
        at += piece;
    }
}

#endif
