/* SPDX-License-Identifier: MIT */
/*
 * A loop driven by another one, which here is poll(2): it must see the descriptor readable whenever
 * there is something to do, and not otherwise.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/machine.h"
#include "io/stream.h"
#include "loops.h"

/* Is it readable within so long? */
static bool readable(struct ferry_loop *loop, int ms)
{
    struct pollfd p = {.fd = ferry_loop_fd(loop), .events = POLLIN};

    assert_true(p.fd >= 0);
    return poll(&p, 1, ms) == 1;
}

static unsigned steps;

/* Steps, and waits by poll, until `done`. */
static void drive_until(struct ferry_loop *loop, const bool *done)
{
    uint64_t until = ferry_now_us() + 60000000;

    for (steps = 0; !*done; steps++) {
        assert_true(readable(loop, 60000));
        assert_int_equal(ferry_loop_step(loop), 0);
        assert_true(ferry_now_us() < until);
    }
}

/* Nothing is left to do, after at most a few steps. */
static void assert_quiet(struct ferry_loop *loop)
{
    for (int i = 0; i < 8 && readable(loop, 0); i++)
        assert_int_equal(ferry_loop_step(loop), 0);
    assert_false(readable(loop, 50));
}

/* -- timers, tasks, posts -- */

struct bell {
    struct ferry_timer timer;
    struct ferry_task task;
    struct ferry_post post;
    struct ferry_loop *loop;
    unsigned again;
    uint64_t rung_ms, seen_now;
    bool rung;
};

static void ring(struct bell *b)
{
    b->rung = true;
    b->rung_ms = ferry_now_us() / 1000;
    b->seen_now = ferry_loop_now(b->loop);
}

static void by_timer(struct ferry_timer *t)
{
    ring(ferry_container(t, struct bell, timer));
}

static void by_task(struct ferry_task *t)
{
    struct bell *b = ferry_container(t, struct bell, task);

    if (b->again) {
        b->again--;
        ferry_task_defer(b->loop, t);
        return;
    }
    ring(b);
}

static void by_post(struct ferry_post *p)
{
    ring(ferry_container(p, struct bell, post));
}

static struct bell bell_on(struct ferry_loop *loop)
{
    struct bell b = {.loop = loop, .post = {.run = by_post}};

    return b;
}

static void a_timer_makes_it_readable(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct bell b = bell_on(loop);
    uint64_t at;

    ferry_timer_init(&b.timer, by_timer);
    assert_quiet(loop);
    for (int i = 0; i < 3; i++) {
        b.rung = false;
        at = ferry_loop_now(loop) + 60;
        ferry_timer_set(loop, &b.timer, at);
        drive_until(loop, &b.rung);
        assert_true(b.rung_ms >= at);
        assert_true(steps <= 6);
    }
    assert_quiet(loop);
    ferry_loop_free(loop);
}

static void timers_move_both_ways(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct bell near = bell_on(loop), far = near;
    uint64_t began = ferry_loop_now(loop);

    ferry_timer_init(&near.timer, by_timer);
    ferry_timer_init(&far.timer, by_timer);
    ferry_timer_set(loop, &near.timer, began + 3600000);
    ferry_timer_set(loop, &far.timer, began + 20000);
    assert_quiet(loop);
    ferry_timer_set(loop, &far.timer, began + 3600000);
    ferry_timer_set(loop, &near.timer, ferry_loop_now(loop) + 80);
    drive_until(loop, &near.rung);
    assert_false(far.rung);
    assert_true(near.rung_ms - began < 30000);
    ferry_timer_stop(&far.timer);
    assert_quiet(loop);
    ferry_loop_free(loop);
}

/* What was set before anybody asked for the descriptor counts too. */
static void work_from_before_counts(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct bell b = bell_on(loop);

    ferry_task_init(&b.task, by_task);
    ferry_task_defer(loop, &b.task);
    drive_until(loop, &b.rung);
    assert_quiet(loop);
    ferry_loop_free(loop);
}

static void tasks_from_outside_make_it_readable(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct bell b = bell_on(loop);

    ferry_task_init(&b.task, by_task);
    assert_quiet(loop);
    for (int i = 0; i < 3; i++) {
        b.rung = false;
        b.again = 20; /* more rounds than a turn has */
        ferry_task_defer(loop, &b.task);
        assert_true(readable(loop, 0));
        drive_until(loop, &b.rung);
        assert_quiet(loop);
    }
    ferry_loop_free(loop);
}

static void *post_later(void *arg)
{
    struct bell *b = arg;

    usleep(20000);
    ferry_loop_post(b->loop, &b->post);
    return NULL;
}

static void a_post_wakes_it(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct bell b = bell_on(loop);
    pthread_t thread;

    for (int i = 0; i < 5; i++) {
        b.rung = false;
        assert_quiet(loop);
        assert_int_equal(pthread_create(&thread, NULL, post_later, &b), 0);
        drive_until(loop, &b.rung);
        pthread_join(thread, NULL);
    }
    assert_quiet(loop);
    ferry_loop_free(loop);
}

/* An owner that sleeps elsewhere must not find deadlines of long ago. */
static void now_is_now_between_steps(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct bell b = bell_on(loop);
    uint64_t before;

    assert_quiet(loop);
    usleep(60000);
    before = ferry_now_us() / 1000;
    assert_true(ferry_loop_now(loop) >= before);
    ferry_task_init(&b.task, by_task);
    ferry_task_defer(loop, &b.task);
    drive_until(loop, &b.rung);
    assert_true(b.seen_now >= before && b.seen_now <= b.rung_ms);
    ferry_loop_free(loop);
}

/* -- streams -- */

enum { MESSAGES = 200, PAIRS = 40 };

struct end {
    struct ferry_stream stream;
    struct ferry_chain out;
    unsigned got, *ngot, *nclosed;
    unsigned want;
    bool *all, *gone;
};

static void end_read(struct ferry_stream *s, struct ferry_block *b, const char *data, ssize_t n)
{
    struct end *e = ferry_container(s, struct end, stream);

    (void)b;
    (void)data;
    assert_true(n > 0);
    e->got += (unsigned)n;
    *e->ngot += (unsigned)n;
    *e->all = *e->ngot == e->want;
    if (e->got < MESSAGES) { /* and back, from within the loop */
        ferry_chain_static(&e->out, FERRY_SLICE("x"));
        if (!ferry_stream_is_sending(s))
            ferry_stream_send(s, &e->out);
    }
}

static void end_sent(struct ferry_stream *s, ssize_t n)
{
    struct end *e = ferry_container(s, struct end, stream);

    assert_true(n > 0);
    ferry_chain_consume(&e->out, (uint64_t)n);
    if (e->out.len)
        ferry_stream_send(s, &e->out);
}

static void end_closed(struct ferry_stream *s)
{
    struct end *e = ferry_container(s, struct end, stream);

    *e->gone = ++*e->nclosed == PAIRS;
}

static const struct ferry_stream_fns end_fns = {
    .read = end_read, .sent = end_sent, .closed = end_closed};

/* Messages to and fro, the first sent from outside; on the other side a thread that echoes. */
static void *echo(void *arg)
{
    char byte[64];
    ssize_t n;
    int fd = *(int *)arg;

    while ((n = read(fd, byte, sizeof byte)) > 0)
        assert_int_equal(write(fd, byte, (size_t)n), n);
    close(fd);
    return NULL;
}

static void streams_flow(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    static struct end e[PAIRS];
    pthread_t threads[PAIRS];
    int far[PAIRS];
    unsigned ngot = 0, nclosed = 0;
    bool all = false, gone = false;

    assert_quiet(loop);
    for (int i = 0; i < PAIRS; i++) {
        int p[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p), 0);
        fcntl(p[0], F_SETFL, O_NONBLOCK);
        far[i] = p[1];
        e[i] = (struct end){.ngot = &ngot,
                            .nclosed = &nclosed,
                            .want = PAIRS * MESSAGES,
                            .all = &all,
                            .gone = &gone};
        ferry_chain_init(&e[i].out, ferry_loop_blocks(loop));
        assert_int_equal(ferry_stream_open(loop, &e[i].stream, &end_fns, p[0]), 0);
        ferry_stream_read(&e[i].stream, true);
        assert_int_equal(pthread_create(&threads[i], NULL, echo, &far[i]), 0);
    }
    assert_true(readable(loop, 0));
    assert_int_equal(ferry_loop_step(loop), 0);
    assert_quiet(loop);
    for (int i = 0; i < PAIRS; i++) {
        ferry_chain_static(&e[i].out, FERRY_SLICE("x"));
        ferry_stream_send(&e[i].stream, &e[i].out);
    }
    assert_true(readable(loop, 0));
    drive_until(loop, &all);
    assert_quiet(loop);
    for (int i = 0; i < PAIRS; i++)
        ferry_stream_close(&e[i].stream);
    drive_until(loop, &gone);
    for (int i = 0; i < PAIRS; i++) {
        pthread_join(threads[i], NULL);
        ferry_chain_clear(&e[i].out);
    }
    assert_quiet(loop);
    ferry_loop_free(loop);
}

/* Not many steps for a message: it neither spins nor is told everything twice. */
static void few_steps_do(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct end e = {0};
    unsigned ngot = 0, nclosed = PAIRS - 1;
    bool all = false, gone = false;
    pthread_t thread;
    int p[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p), 0);
    fcntl(p[0], F_SETFL, O_NONBLOCK);
    e = (struct end){
        .ngot = &ngot, .nclosed = &nclosed, .want = MESSAGES, .all = &all, .gone = &gone};
    ferry_chain_init(&e.out, ferry_loop_blocks(loop));
    assert_int_equal(ferry_stream_open(loop, &e.stream, &end_fns, p[0]), 0);
    ferry_stream_read(&e.stream, true);
    assert_int_equal(pthread_create(&thread, NULL, echo, &p[1]), 0);
    ferry_chain_static(&e.out, FERRY_SLICE("x"));
    ferry_stream_send(&e.stream, &e.out);
    drive_until(loop, &all);
    assert_true(steps <= MESSAGES * 4);
    ferry_stream_close(&e.stream);
    drive_until(loop, &gone);
    pthread_join(thread, NULL);
    ferry_chain_clear(&e.out);
    ferry_loop_free(loop);
}

/* -- watches -- */

static bool eye_saw, eye_shut;

static void eye_readable(struct ferry_watch *w)
{
    char byte;

    assert_int_equal(read(w->fd, &byte, 1), 1);
    eye_saw = true;
}

static void eye_closed(struct ferry_watch *w)
{
    (void)w;
    eye_shut = true;
}

static void a_watch_opened_outside_sees(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct ferry_watch w = {.readable = eye_readable, .closed = eye_closed};
    int p[2];

    eye_saw = eye_shut = false;
    assert_int_equal(pipe2(p, O_CLOEXEC | O_NONBLOCK), 0);
    assert_quiet(loop);
    assert_int_equal(ferry_watch_open(loop, &w, p[0]), 0);
    assert_quiet(loop);
    assert_int_equal(write(p[1], "x", 1), 1);
    drive_until(loop, &eye_saw);
    ferry_watch_close(&w);
    drive_until(loop, &eye_shut);
    close(p[0]);
    close(p[1]);
    ferry_loop_free(loop);
}

/* -- its use -- */

static int step_inside, run_inside;

static void misuse(struct ferry_task *t)
{
    struct bell *b = ferry_container(t, struct bell, task);

    step_inside = ferry_loop_step(b->loop);
    run_inside = ferry_loop_run(b->loop);
    b->rung = true;
}

static void it_is_stepped_by_one_hand(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct bell b = bell_on(loop);

    ferry_task_init(&b.task, misuse);
    ferry_task_defer(loop, &b.task);
    assert_int_equal(ferry_loop_step(loop), 0); /* also before the descriptor was asked for */
    assert_true(b.rung);
    assert_int_equal(step_inside, FERRY_EUSAGE);
    assert_int_equal(run_inside, FERRY_EUSAGE);
    assert_int_equal(ferry_loop_fd(loop), ferry_loop_fd(loop));
    assert_int_equal(ferry_loop_run(loop), FERRY_EUSAGE);
    ferry_loop_free(loop);
}

static void descriptors_may_be_out(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct bell b = bell_on(loop);
    struct rlimit was, few;
    int top = dup(0), r;

    close(top);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    for (rlim_t more = 0; more < 8; more++) {
        few = was;
        few.rlim_cur = (rlim_t)top + more;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
        r = ferry_loop_fd(loop);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
        if (more == 0)
            assert_int_equal(r, -EMFILE);
        if (r >= 0)
            break;
        assert_int_equal(dup(0), top); /* nothing was left open */
        close(top);
    }
    assert_true(r >= 0);
    ferry_task_init(&b.task, by_task);
    ferry_task_defer(loop, &b.task);
    drive_until(loop, &b.rung);
    ferry_loop_free(loop);
    assert_int_equal(fcntl(r, F_GETFD), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_both(a_timer_makes_it_readable),
        on_both(timers_move_both_ways),
        on_both(work_from_before_counts),
        on_both(tasks_from_outside_make_it_readable),
        on_both(a_post_wakes_it),
        on_both(now_is_now_between_steps),
        on_both(streams_flow),
        on_both(few_steps_do),
        on_both(a_watch_opened_outside_sees),
        on_both(it_is_stepped_by_one_hand),
        on_both(descriptors_may_be_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
