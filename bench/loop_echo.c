/* SPDX-License-Identifier: MIT */
/*
 * loop_echo [CONNECTIONS [BYTES [ROUNDTRIPS [large]]]]: what the loop and the pump cost. One thread
 * echoes, another sends a message on every connection and the next one when it came back. Prints
 * the CPU time of the echoing thread per round trip, for both back ends, over unix sockets and TCP.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "io/pump.h"

struct echo {
    struct ferry_pump pump;
    struct ferry_chain out;
    struct crowd *crowd;
    size_t got; /* of the message under way */
    bool ended;
};

struct crowd {
    struct ferry_loop *loop;
    struct echo *all;
    unsigned n, open;
    size_t len;    /* of a message; 0 echoes whatever comes */
    uint64_t left; /* round trips */
    double cpu_us, switches;
};

static ssize_t echo_recv(void *m, const char *p, size_t n, uint64_t now_ms)
{
    struct echo *e = m;

    (void)now_ms;
    e->ended = n == 0;
    if (e->crowd->len == 0) {
        ferry_chain_copy(&e->out, ferry_slice(p, n));
        return (ssize_t)n;
    }
    e->got += n;
    return (ssize_t)n;
}

static struct ferry_chain *echo_output(void *m)
{
    return &((struct echo *)m)->out;
}

static void echo_sent(void *m, size_t n, uint64_t now_ms)
{
    (void)now_ms;
    ferry_chain_consume(&((struct echo *)m)->out, n);
}

static uint64_t echo_deadline(const void *m)
{
    const struct echo *e = m;

    return ferry_loop_now(e->pump.stream.loop) + 60000;
}

static void echo_tick(void *m, uint64_t now_ms)
{
    (void)m;
    (void)now_ms;
}

static bool echo_finished(const void *m)
{
    return ((const struct echo *)m)->ended;
}

static const struct ferry_machine echo_machine = {
    .recv = echo_recv,
    .output = echo_output,
    .sent = echo_sent,
    .deadline = echo_deadline,
    .tick = echo_tick,
    .finished = echo_finished,
};

static void say(struct echo *e)
{
    static const char message[65536];

    e->got = 0;
    ferry_chain_copy(&e->out, ferry_slice(message, e->crowd->len));
    ferry_pump_kick(&e->pump);
}

static void on_ready(struct ferry_pump *p)
{
    struct echo *e = ferry_container(p, struct echo, pump);
    struct crowd *c = e->crowd;

    if (c->len == 0 || e->got < c->len)
        return;
    if (c->left && --c->left >= c->open)
        say(e);
    else
        ferry_pump_close(p);
}

static void on_failed(struct ferry_pump *p, int err)
{
    (void)err;
    ferry_pump_close(p);
}

static void on_finished(struct ferry_pump *p)
{
    ferry_pump_close(p);
}

static void on_closed(struct ferry_pump *p)
{
    struct echo *e = ferry_container(p, struct echo, pump);

    ferry_chain_clear(&e->out);
    if (--e->crowd->open == 0)
        ferry_loop_stop(p->stream.loop);
}

static const struct ferry_pump_fns fns = {
    .ready = on_ready, .failed = on_failed, .finished = on_finished, .closed = on_closed};

static void *run(void *arg)
{
    struct crowd *c = arg;
    struct timespec t;
    struct rusage u;

    if (ferry_loop_run(c->loop) < 0)
        abort();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    c->cpu_us = (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
    getrusage(RUSAGE_THREAD, &u);
    c->switches = (double)u.ru_nvcsw;
    return NULL;
}

static void tcp_pair(int fd[2])
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof in;
    int l = socket(AF_INET, SOCK_STREAM, 0), on = 1;

    fd[0] = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(l, (struct sockaddr *)&in, len) || listen(l, 1) ||
        getsockname(l, (struct sockaddr *)&in, &len) || connect(fd[0], (struct sockaddr *)&in, len))
        abort();
    fd[1] = accept(l, NULL, NULL);
    for (int i = 0; i < 2; i++)
        setsockopt(fd[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    close(l);
}

static void add(struct crowd *c, unsigned i, int fd, bool large)
{
    struct echo *e = &c->all[i];

    e->crowd = c;
    ferry_chain_init(&e->out, ferry_loop_blocks(c->loop));
    if (ferry_pump_open(c->loop, &e->pump, &fns, &echo_machine, e, fd) < 0)
        abort();
    ferry_stream_read_large(&e->pump.stream, large);
    if (c->len)
        say(e);
}

static void measure(enum ferry_io io, bool tcp, unsigned n, size_t len, uint64_t roundtrips,
                    bool large)
{
    struct crowd server = {.n = n, .open = n},
                 client = {.n = n, .open = n, .len = len, .left = roundtrips};
    pthread_t threads[2];

    server.all = calloc(n, sizeof *server.all);
    client.all = calloc(n, sizeof *client.all);
    if (ferry_loop_new(io, &server.loop) < 0 || ferry_loop_new(io, &client.loop) < 0)
        abort();
    for (unsigned i = 0; i < n; i++) {
        int fd[2];

        if (tcp)
            tcp_pair(fd);
        else if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd))
            abort();
        add(&server, i, fd[0], large);
        add(&client, i, fd[1], large);
    }
    pthread_create(&threads[0], NULL, run, &server);
    pthread_create(&threads[1], NULL, run, &client);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    printf("%-8s  %-4s  %3u connections  %5zu bytes  %6.2f us of CPU per echo  %.3f sleeps\n",
           ferry_loop_backend(server.loop), tcp ? "tcp" : "unix", n, len,
           server.cpu_us / (double)roundtrips, server.switches / (double)roundtrips);
    ferry_loop_free(server.loop);
    ferry_loop_free(client.loop);
    free(server.all);
    free(client.all);
}

int main(int argc, char **argv)
{
    unsigned n = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 64;
    size_t len = argc > 2 ? strtoul(argv[2], NULL, 10) : 300;
    uint64_t roundtrips = argc > 3 ? strtoull(argv[3], NULL, 10) : 500000;

    for (int i = 0; i < 4; i++)
        measure(i & 1 ? FERRY_IO_URING : FERRY_IO_EPOLL, i & 2, n, len < 65536 ? len : 65536,
                roundtrips, argc > 4 || len > FERRY_BLOCK_SMALL);
    return 0;
}
