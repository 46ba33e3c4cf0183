/* SPDX-License-Identifier: MIT */
#include "io/pump.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/un.h>

#include "loops.h"

/*
 * A toy machine: every line is an event; the owner answers it. `quit` is answered and then the
 * machine lingers until the peer closes; `bad` breaks it. It reads nothing while `stopped`.
 */
struct lines {
    struct ferry_chain out;
    char line[64];
    size_t len;
    uint64_t due;
    bool complete, stopped, eof, lingers, finished, gives_up;
    int err;
    unsigned ticks, recvs;
};

static ssize_t lines_recv(void *m, const char *p, size_t n, uint64_t now_ms)
{
    struct lines *l = m;
    size_t i;

    (void)now_ms;
    l->recvs++;
    if (l->err)
        return l->err;
    if (n == 0) {
        assert_false(l->eof);
        l->eof = true;
        l->finished = true;
        return 0;
    }
    if (l->complete || l->stopped)
        return 0;
    for (i = 0; i < n && !l->complete; i++) {
        if (p[i] == '\n')
            l->complete = true;
        else if (l->len < sizeof l->line - 1)
            l->line[l->len++] = p[i];
    }
    l->line[l->len] = 0;
    if (l->complete && strcmp(l->line, "bad") == 0) {
        l->finished = true;
        return l->err = FERRY_EPROTOCOL;
    }
    return (ssize_t)i;
}

static struct ferry_chain *lines_output(void *m)
{
    static struct ferry_chain none;
    struct lines *l = m;

    return l->gives_up ? &none : &l->out;
}

static void lines_sent(void *m, size_t n, uint64_t now_ms)
{
    (void)now_ms;
    ferry_chain_consume(&((struct lines *)m)->out, n);
}

static uint64_t lines_deadline(const void *m)
{
    return ((const struct lines *)m)->due;
}

static void lines_tick(void *m, uint64_t now_ms)
{
    struct lines *l = m;

    assert_true(now_ms >= l->due);
    l->ticks++;
    l->due = FERRY_NEVER;
}

static bool lines_finished(const void *m)
{
    return ((const struct lines *)m)->finished;
}

static bool lines_wants_shutdown(const void *m)
{
    return ((const struct lines *)m)->lingers;
}

static const struct ferry_machine lines_machine = {
    .recv = lines_recv,
    .output = lines_output,
    .sent = lines_sent,
    .deadline = lines_deadline,
    .tick = lines_tick,
    .finished = lines_finished,
    .wants_shutdown = lines_wants_shutdown,
};

struct talk {
    struct ferry_pump p;
    struct lines l;
    char heard[256]; /* the lines, with commas */
    unsigned nlines, nfinished, nfailed, nsent, nready;
    bool closed, was_detached, was_connected, stop_on_sent;
    bool close_on_line, stop_on_line, reset_on_line, mute;
    int failed, detached, connected;
    unsigned stop_at_line;
};

static void on_ready(struct ferry_pump *p)
{
    struct talk *t = ferry_container(p, struct talk, p);

    assert_false(t->closed);
    t->nready++;
    if (!t->l.complete || t->l.err)
        return;
    assert_non_null(p->in_block);
    t->l.complete = false;
    if (strlen(t->heard) + t->l.len + 2 < sizeof t->heard) {
        size_t len = strlen(t->heard);

        snprintf(t->heard + len, sizeof t->heard - len, "%s,", t->l.line);
    }
    if (!t->mute) {
        ferry_chain_copy(&t->l.out, ferry_slice(t->l.line, t->l.len));
        ferry_chain_copy(&t->l.out, FERRY_SLICE("!\n"));
    }
    if (strcmp(t->l.line, "quit") == 0)
        t->l.lingers = true;
    if (strcmp(t->l.line, "stop") == 0)
        t->l.stopped = true;
    t->l.len = 0;
    t->nlines++;
    if (t->close_on_line)
        ferry_pump_close(p);
    if (t->reset_on_line)
        ferry_pump_reset(p);
    if (t->stop_on_line || t->nlines == t->stop_at_line)
        ferry_loop_stop(p->stream.loop);
}

static void on_failed(struct ferry_pump *p, int err)
{
    struct talk *t = ferry_container(p, struct talk, p);

    t->nfailed++;
    t->failed = err;
    ferry_pump_close(p);
}

static void on_finished(struct ferry_pump *p)
{
    struct talk *t = ferry_container(p, struct talk, p);

    t->nfinished++;
    assert_true(t->l.out.len == 0 || t->l.gives_up);
    ferry_pump_close(p);
}

static void on_connected(struct ferry_pump *p, int err)
{
    struct talk *t = ferry_container(p, struct talk, p);

    t->was_connected = true;
    t->connected = err;
    if (err < 0)
        ferry_pump_close(p);
}

static void on_sent(struct ferry_pump *p, size_t n)
{
    struct talk *t = ferry_container(p, struct talk, p);

    assert_true(n > 0);
    t->nsent++;
    if (t->stop_on_sent)
        ferry_loop_stop(p->stream.loop);
}

static void on_closed(struct ferry_pump *p)
{
    struct talk *t = ferry_container(p, struct talk, p);

    assert_false(t->closed);
    t->closed = true;
    ferry_chain_clear(&t->l.out);
    ferry_loop_stop(p->stream.loop);
}

static void on_detached(struct ferry_pump *p, int fd)
{
    struct talk *t = ferry_container(p, struct talk, p);

    t->was_detached = true;
    t->detached = fd;
    ferry_loop_stop(p->stream.loop);
}

static const struct ferry_pump_fns fns = {
    .ready = on_ready,
    .failed = on_failed,
    .finished = on_finished,
    .connected = on_connected,
    .sent = on_sent,
    .closed = on_closed,
    .detached = on_detached,
};

static void talk_init(struct ferry_loop *loop, struct talk *t)
{
    memset(t, 0, sizeof *t);
    ferry_chain_init(&t->l.out, ferry_loop_blocks(loop));
    t->l.due = FERRY_NEVER;
}

static int talk_open(struct ferry_loop *loop, struct talk *t)
{
    int fd[2];

    talk_init(loop, t);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
    assert_int_equal(ferry_pump_open(loop, &t->p, &fns, &lines_machine, &t->l, fd[0]), 0);
    return fd[1];
}

static void talk_close(struct talk *t)
{
    ferry_pump_close(&t->p);
    ferry_pump_close(&t->p);
    while (!t->closed)
        run(t->p.stream.loop);
}

#define say(fd, lit) assert_int_equal(write((fd), (lit), sizeof(lit) - 1), sizeof(lit) - 1)

static void hear(struct ferry_loop *loop, int fd, const char *want)
{
    char got[256];
    size_t n = 0;

    for (int i = 0; i < 200 && n < strlen(want); i++) {
        ssize_t more = read(fd, got + n, sizeof got - n);

        if (more > 0)
            n += (size_t)more;
        else
            run_for(loop, 5);
    }
    assert_int_equal(n, strlen(want));
    assert_memory_equal(got, want, n);
}

static void lines_are_answered(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct talk t;
    int fd = talk_open(loop, &t);

    say(fd, "one\ntwo\nth");
    hear(loop, fd, "one!\ntwo!\n");
    say(fd, "ree\n");
    hear(loop, fd, "three!\n");
    assert_string_equal(t.heard, "one,two,three,");
    assert_null(t.p.in_block);
    talk_close(&t);
    close(fd);
    ferry_loop_free(loop);
}

static void what_one_turn_answers_leaves_in_one_send(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct talk t;
    int fd = talk_open(loop, &t);

    say(fd, "a\nb\nc\nd\n");
    hear(loop, fd, "a!\nb!\nc!\nd!\n");
    run_for(loop, 5);
    assert_int_equal(t.nsent, 1);
    talk_close(&t);
    close(fd);
    ferry_loop_free(loop);
}

static void input_not_taken_is_kept_and_holds_the_peer_back(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct talk t;
    int fd = talk_open(loop, &t);
    char flood[4096];
    ssize_t n;
    size_t total = 0;

    memset(flood, '\n', sizeof flood);
    say(fd, "stop\nlater\n");
    hear(loop, fd, "stop!\n");
    assert_non_null(t.p.in_block);
    assert_string_equal(t.heard, "stop,");
    for (int i = 0; i < 10000; i++) {
        n = write(fd, flood, sizeof flood);
        if (n < 0)
            break;
        total += (size_t)n;
    }
    assert_int_equal(n, -1);
    assert_true(total < 8 << 20);
    run_for(loop, 20);
    t.l.stopped = false;
    t.mute = true;
    t.stop_at_line = 2 + (unsigned)total;
    ferry_pump_kick(&t.p);
    run(loop);
    assert_true(strncmp(t.heard, "stop,later,,,,", 14) == 0);
    talk_close(&t);
    close(fd);
    ferry_loop_free(loop);
}

/* A send that hangs must not keep a machine from its end. */
static void a_peer_who_does_not_read_can_be_given_up(void **state)
{
    static char much[8 << 20];
    struct ferry_loop *loop = loop_for(state);
    struct talk t;
    int fd = talk_open(loop, &t);

    ferry_chain_static(&t.l.out, ferry_slice(much, sizeof much));
    ferry_pump_kick(&t.p);
    run_for(loop, 30);
    assert_true(ferry_stream_is_sending(&t.p.stream));
    assert_in_range(t.l.out.len, 1, sizeof much);
    t.l.gives_up = t.l.finished = true;
    ferry_pump_kick(&t.p);
    run(loop);
    assert_true(t.closed);
    assert_int_equal(t.nfinished, 1);
    assert_int_equal(t.nfailed, 0);
    close(fd);
    ferry_loop_free(loop);
}

static void the_end_comes_after_all_that_was_kept(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct talk t;
    int fd = talk_open(loop, &t);

    say(fd, "stop\nlast\n");
    shutdown(fd, SHUT_WR);
    run_for(loop, 30);
    assert_false(t.l.eof);
    assert_string_equal(t.heard, "stop,");
    t.l.stopped = false;
    ferry_pump_kick(&t.p);
    while (!t.closed)
        run(loop);
    assert_true(t.l.eof);
    assert_string_equal(t.heard, "stop,last,");
    assert_int_equal(t.nfinished, 1);
    hear(loop, fd, "stop!\nlast!\n");
    close(fd);
    ferry_loop_free(loop);
}

static void holding_stops_reading(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct talk t;
    int fd = talk_open(loop, &t);

    say(fd, "one\n");
    hear(loop, fd, "one!\n");
    ferry_pump_hold(&t.p, true);
    say(fd, "two\n");
    run_for(loop, 30);
    assert_string_equal(t.heard, "one,");
    ferry_pump_hold(&t.p, false);
    hear(loop, fd, "two!\n");
    talk_close(&t);
    close(fd);
    ferry_loop_free(loop);
}

static void a_broken_machine_says_its_last_and_ends(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct talk t;
    int fd = talk_open(loop, &t);

    say(fd, "good\nbad\nmore\n");
    while (!t.closed)
        run(loop);
    assert_string_equal(t.heard, "good,");
    assert_int_equal(t.nfinished, 1);
    assert_int_equal(t.nfailed, 0);
    hear(loop, fd, "good!\n");
    close(fd);
    ferry_loop_free(loop);
}

static void a_machine_may_linger(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct talk t;
    int fd = talk_open(loop, &t);
    char c;

    say(fd, "quit\n");
    hear(loop, fd, "quit!\n");
    run_for(loop, 20);
    assert_int_equal(read(fd, &c, 1), 0);
    t.mute = true; /* for a machine that lingers writes no more */
    say(fd, "unread\n");
    run_for(loop, 20);
    assert_false(t.closed);
    assert_string_equal(t.heard, "quit,unread,");
    close(fd);
    while (!t.closed)
        run(loop);
    assert_int_equal(t.nfinished, 1);
    ferry_loop_free(loop);
}

static void the_deadline_is_kept(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct talk t;
    int fd = talk_open(loop, &t);
    uint64_t now = ferry_now_us() / 1000;

    t.l.due = now + 50;
    assert_false(run_for(loop, 20));
    assert_int_equal(t.l.ticks, 0);
    t.l.due = now + 150; /* later: the timer that is set fires for nothing */
    ferry_pump_kick(&t.p);
    assert_false(run_for(loop, 70));
    assert_int_equal(t.l.ticks, 0);
    assert_false(run_for(loop, 200));
    assert_int_equal(t.l.ticks, 1);
    t.l.due = ferry_now_us() / 1000 + 5000;
    ferry_pump_kick(&t.p);
    assert_false(run_for(loop, 10));
    t.l.due = ferry_now_us() / 1000 + 30; /* earlier */
    ferry_pump_kick(&t.p);
    assert_false(run_for(loop, 150));
    assert_int_equal(t.l.ticks, 2);
    talk_close(&t);
    close(fd);
    ferry_loop_free(loop);
}

static void owners_close_from_inside(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct talk t;

    for (int way = 0; way < 2; way++) {
        int fd = talk_open(loop, &t);

        t.close_on_line = way == 0;
        t.reset_on_line = way == 1;
        say(fd, "one\ntwo\nthree\n");
        while (!t.closed)
            run(loop);
        assert_string_equal(t.heard, "one,");
        assert_int_equal(t.nfinished + t.nfailed, 0);
        close(fd);
    }
    ferry_loop_free(loop);
}

static void closing_with_kept_input_gives_the_block_back(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct talk t;
    int fd = talk_open(loop, &t);

    say(fd, "stop\nmore\n");
    hear(loop, fd, "stop!\n");
    assert_non_null(t.p.in_block);
    talk_close(&t);
    assert_null(t.p.in_block);
    close(fd);
    ferry_loop_free(loop);
}

static void a_failing_socket_is_told_once(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct talk t;
    int fd = talk_open(loop, &t);
    char piece[1000];

    memset(piece, 'x', sizeof piece);
    for (int i = 0; i < 2000; i++)
        ferry_chain_copy(&t.l.out, ferry_slice(piece, sizeof piece));
    ferry_pump_kick(&t.p);
    run_for(loop, 20);
    close(fd);
    while (!t.closed)
        run(loop);
    assert_int_equal(t.nfailed, 1);
    assert_true(t.failed == -EPIPE || t.failed == -ECONNRESET);
    assert_int_equal(t.nfinished, 0);
    ferry_loop_free(loop);
}

static void output_without_memory_fails(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct talk t;
    int fd = talk_open(loop, &t);

    fail_alloc_after(0);
    assert_null(ferry_chain_reserve(&t.l.out, 100));
    fail_alloc_after(-1);
    ferry_pump_kick(&t.p);
    while (!t.closed)
        run(loop);
    assert_int_equal(t.failed, -ENOMEM);
    close(fd);
    ferry_loop_free(loop);
}

static void connecting_sends_what_was_queued_before(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;
    socklen_t len = sizeof in;
    struct talk t;

    assert_int_equal(bind(l, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(listen(l, 1), 0);
    getsockname(l, (struct sockaddr *)&in, &len);
    talk_init(loop, &t);
    ferry_chain_copy(&t.l.out, FERRY_SLICE("hello\n"));
    assert_int_equal(ferry_pump_connect(loop, &t.p, &fns, &lines_machine, &t.l,
                                        (struct sockaddr *)&in, sizeof in),
                     0);
    assert_false(t.was_connected);
    t.stop_on_sent = true;
    run(loop);
    assert_true(t.was_connected);
    assert_int_equal(t.connected, 0);
    fd = accept4(l, NULL, NULL, SOCK_NONBLOCK);
    hear(loop, fd, "hello\n");
    t.stop_on_sent = false;
    say(fd, "welcome\n");
    hear(loop, fd, "welcome!\n");
    talk_close(&t);
    close(fd);
    close(l);
    /* And nobody there. */
    talk_init(loop, &t);
    ferry_chain_copy(&t.l.out, FERRY_SLICE("hello\n"));
    assert_int_equal(ferry_pump_connect(loop, &t.p, &fns, &lines_machine, &t.l,
                                        (struct sockaddr *)&in, sizeof in),
                     0);
    while (!t.closed)
        run(loop);
    assert_int_equal(t.connected, -ECONNREFUSED);
    assert_int_equal(t.nfailed, 0);
    ferry_loop_free(loop);
}

static void a_quiet_pump_gives_its_socket_away(void **state)
{
    struct ferry_loop *loop = loop_for(state);

    for (int way = 0; way < 4; way++) {
        struct talk t;
        int fd = talk_open(loop, &t);

        say(fd, "one\n");
        hear(loop, fd, "one!\n");
        if (way == 1) {
            t.l.stopped = true;
            say(fd, "kept\n");
            run_for(loop, 10);
        }
        ferry_pump_detach(&t.p);
        if (way == 2)
            say(fd, "late\n");
        if (way == 3) {
            talk_close(&t);
            assert_false(t.was_detached);
        } else {
            while (!t.was_detached)
                run(loop);
            assert_false(t.closed);
            assert_int_equal(t.detached >= 0, way == 0);
            assert_null(t.p.in_block);
            if (way == 0)
                close(t.detached);
        }
        close(fd);
    }
    ferry_loop_free(loop);
}

static void a_pump_is_small(void **state)
{
    (void)state;
    /* With a machine of 512 bytes it leaves its owner the rest of 2 KiB. */
    assert_true(sizeof(struct ferry_pump) <= 320);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_both(lines_are_answered),
        on_both(what_one_turn_answers_leaves_in_one_send),
        on_both(input_not_taken_is_kept_and_holds_the_peer_back),
        on_both(a_peer_who_does_not_read_can_be_given_up),
        on_both(the_end_comes_after_all_that_was_kept),
        on_both(holding_stops_reading),
        on_both(a_broken_machine_says_its_last_and_ends),
        on_both(a_machine_may_linger),
        on_both(the_deadline_is_kept),
        on_both(owners_close_from_inside),
        on_both(closing_with_kept_input_gives_the_block_back),
        on_both(a_failing_socket_is_told_once),
        on_both(output_without_memory_fails),
        on_both(connecting_sends_what_was_queued_before),
        on_both(a_quiet_pump_gives_its_socket_away),
        cmocka_unit_test(a_pump_is_small),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
