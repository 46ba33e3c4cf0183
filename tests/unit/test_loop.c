/* SPDX-License-Identifier: MIT */
#include "io/loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <time.h>

#include "base/machine.h"
#include "loops.h"

/* -- timers -- */

struct beat {
    struct ferry_timer timer;
    struct ferry_loop *loop;
    uint64_t set_us;
    unsigned *order, place;
    bool last;
};

static void beat(struct ferry_timer *t)
{
    struct beat *b = ferry_container(t, struct beat, timer);

    assert_true(ferry_now_us() / 1000 >= b->set_us);
    b->place = ++*b->order;
    if (b->last)
        ferry_loop_stop(b->loop);
}

static void timers_fire_in_order_and_never_early(void **state)
{
    static const unsigned after[] = {120, 0, 40, 80, 200};
    static const unsigned want[] = {4, 1, 2, 3, 5};
    struct ferry_loop *loop = loop_for(state);
    uint64_t now = ferry_now_us() / 1000;
    struct beat b[5] = {0};
    unsigned order = 0;

    for (int i = 0; i < 5; i++) {
        b[i].loop = loop;
        b[i].order = &order;
        b[i].last = i == 4;
        b[i].set_us = now + after[i];
        ferry_timer_init(&b[i].timer, beat);
        ferry_timer_set(loop, &b[i].timer, now + after[i]);
    }
    run(loop);
    for (int i = 0; i < 5; i++)
        assert_int_equal(b[i].place, want[i]);
    /* Late by the width of a bucket; the rest is for a busy machine. */
    assert_true(ferry_now_us() / 1000 - now < 200 + 20 + 500);
    ferry_loop_free(loop);
}

static void a_timer_is_replaced_and_stopped(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    unsigned order = 0;
    struct beat moved = {.loop = loop, .order = &order, .last = true}, stopped = moved,
                never = moved;
    uint64_t now = ferry_now_us() / 1000;

    ferry_timer_init(&moved.timer, beat);
    ferry_timer_init(&stopped.timer, beat);
    ferry_timer_init(&never.timer, beat);
    ferry_timer_set(loop, &stopped.timer, now + 10);
    ferry_timer_set(loop, &never.timer, now + 10);
    ferry_timer_set(loop, &moved.timer, now + 10);
    ferry_timer_set(loop, &moved.timer, now + 100);
    moved.set_us = now + 100;
    ferry_timer_stop(&stopped.timer);
    ferry_timer_stop(&stopped.timer);
    ferry_timer_set(loop, &never.timer, FERRY_NEVER);
    run(loop);
    assert_int_equal(order, 1);
    assert_int_equal(moved.place, 1);
    ferry_loop_free(loop);
}

static unsigned again_count;
static struct ferry_loop *again_loop;

static void again(struct ferry_timer *t)
{
    if (++again_count == 1000)
        ferry_loop_stop(again_loop);
    else
        ferry_timer_set(again_loop, t, 0);
}

static void a_timer_in_the_past_fires_each_turn_and_the_loop_goes_on(void **state)
{
    struct ferry_timer t;

    again_loop = loop_for(state);
    again_count = 0;
    ferry_timer_init(&t, again);
    ferry_timer_set(again_loop, &t, 0);
    run(again_loop);
    assert_int_equal(again_count, 1000);
    ferry_loop_free(again_loop);
}

static void an_idle_loop_sleeps(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    uint64_t before = cpu_us();

    assert_false(run_for(loop, 500));
    assert_true(cpu_us() - before < 100000);
    ferry_loop_free(loop);
}

/* -- tasks -- */

struct step {
    struct ferry_task task;
    struct ferry_loop *loop;
    struct step *defers, *cancels;
    char name;
    char *said;
    unsigned times;
};

static void step(struct ferry_task *t)
{
    struct step *s = ferry_container(t, struct step, task);

    s->said[strlen(s->said)] = s->name;
    if (s->cancels)
        ferry_task_cancel(&s->cancels->task);
    if (s->defers && s->times++ < 3)
        ferry_task_defer(s->loop, &s->defers->task);
    if (s->name == 'z')
        ferry_loop_stop(s->loop);
}

static void tasks_run_once_in_order(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    char said[32] = "";
    struct step s[5];

    for (int i = 0; i < 5; i++) {
        s[i] = (struct step){.loop = loop, .name = "abcdz"[i], .said = said};
        ferry_task_init(&s[i].task, step);
    }
    ferry_task_defer(loop, &s[0].task);
    ferry_task_defer(loop, &s[1].task);
    ferry_task_defer(loop, &s[0].task);
    ferry_task_defer(loop, &s[2].task);
    ferry_task_defer(loop, &s[3].task);
    s[0].defers = &s[4];
    s[1].cancels = &s[2];
    run(loop);
    assert_string_equal(said, "abdz");
    ferry_loop_free(loop);
}

static void a_task_may_defer_itself(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    char said[32] = "";
    struct step a = {.loop = loop, .name = 'a', .said = said}, z = a;

    z.name = 'z';
    ferry_task_init(&a.task, step);
    ferry_task_init(&z.task, step);
    a.defers = &a;
    ferry_task_defer(loop, &a.task);
    assert_false(run_for(loop, 50));
    assert_string_equal(said, "aaaa");
    ferry_task_defer(loop, &z.task);
    run(loop);
    assert_string_equal(said, "aaaaz");
    ferry_loop_free(loop);
}

/* -- posts and stops -- */

#define POSTERS 4
#define POSTS 10000

struct letter {
    struct ferry_post post;
    struct office *office;
    unsigned from, number;
};

struct office {
    struct ferry_loop *loop;
    unsigned next[POSTERS], total;
    struct letter letters[POSTERS][POSTS];
};

static void received(struct ferry_post *p)
{
    struct letter *l = ferry_container(p, struct letter, post);

    assert_int_equal(l->number, l->office->next[l->from]);
    l->office->next[l->from]++;
    if (++l->office->total == POSTERS * POSTS)
        ferry_loop_stop(l->office->loop);
}

struct poster {
    pthread_t thread;
    struct office *office;
    unsigned from;
};

static void *post_all(void *arg)
{
    struct poster *p = arg;

    for (unsigned i = 0; i < POSTS; i++) {
        struct letter *l = &p->office->letters[p->from][i];

        *l = (struct letter){.post.run = received, .office = p->office, .from = p->from, i};
        ferry_loop_post(p->office->loop, &l->post);
        if (i % 1000 == 0)
            usleep(1000); /* so that the loop also sleeps */
    }
    return NULL;
}

static void posts_from_threads_all_arrive_in_order(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct office *office = calloc(1, sizeof *office);
    struct poster posters[POSTERS];

    office->loop = loop;
    for (unsigned i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){.office = office, .from = i};
        assert_int_equal(pthread_create(&posters[i].thread, NULL, post_all, &posters[i]), 0);
    }
    run(loop);
    assert_int_equal(office->total, POSTERS * POSTS);
    for (unsigned i = 0; i < POSTERS; i++)
        pthread_join(posters[i].thread, NULL);
    free(office);
    ferry_loop_free(loop);
}

static void *stop_soon(void *arg)
{
    usleep(20000);
    ferry_loop_stop(arg);
    return NULL;
}

static void another_thread_stops_it(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    pthread_t t;

    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&t, NULL, stop_soon, loop), 0);
        run(loop);
        pthread_join(t, NULL);
    }
    ferry_loop_free(loop);
}

static struct ferry_loop *signalled;

static void on_alarm(int sig)
{
    (void)sig;
    ferry_loop_stop(signalled);
}

static void a_signal_handler_stops_it(void **state)
{
    struct sigaction act = {.sa_handler = on_alarm}, old;

    signalled = loop_for(state);
    sigaction(SIGALRM, &act, &old);
    ualarm(20000, 0);
    run(signalled);
    sigaction(SIGALRM, &old, NULL);
    ferry_loop_free(signalled);
}

static void a_stop_before_the_run_counts(void **state)
{
    struct ferry_loop *loop = loop_for(state);

    ferry_loop_stop(loop);
    run(loop);
    ferry_loop_free(loop);
}

/* -- watches -- */

struct eye {
    struct ferry_watch w;
    unsigned seen, until;
    bool reads, closed;
};

static void eye_readable(struct ferry_watch *w)
{
    struct eye *e = ferry_container(w, struct eye, w);
    char c;

    if (e->reads)
        assert_int_equal(read(w->fd, &c, 1), 1);
    if (++e->seen == e->until)
        ferry_loop_stop(w->loop);
}

static void eye_closed(struct ferry_watch *w)
{
    ferry_container(w, struct eye, w)->closed = true;
    ferry_loop_stop(w->loop);
}

static void a_watch_is_level_triggered(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct eye e = {.w = {.readable = eye_readable, .closed = eye_closed}, .reads = true};
    int p[2];

    assert_int_equal(pipe2(p, O_NONBLOCK | O_CLOEXEC), 0);
    assert_int_equal(ferry_watch_open(loop, &e.w, p[0]), 0);
    assert_int_equal(write(p[1], "hello", 5), 5);
    e.until = 5; /* one byte is read each time */
    run(loop);
    assert_false(run_for(loop, 30));
    assert_int_equal(e.seen, 5);
    close(p[1]);
    e.reads = false;
    e.until = 7;
    run(loop);
    ferry_watch_close(&e.w);
    ferry_watch_close(&e.w);
    run(loop);
    assert_true(e.closed);
    assert_int_equal(e.seen, 7);
    assert_int_equal(fcntl(p[0], F_GETFD), FD_CLOEXEC);
    close(p[0]);
    ferry_loop_free(loop);
}

static void a_watch_closes_while_readable(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct eye e = {.w = {.readable = eye_readable, .closed = eye_closed}};
    int p[2];

    assert_int_equal(pipe2(p, O_NONBLOCK | O_CLOEXEC), 0);
    assert_int_equal(write(p[1], "x", 1), 1);
    assert_int_equal(ferry_watch_open(loop, &e.w, p[0]), 0);
    ferry_watch_close(&e.w);
    run(loop);
    assert_true(e.closed);
    close(p[0]);
    close(p[1]);
    ferry_loop_free(loop);
}

/* -- back ends -- */

static void auto_says_why_it_fell_back(void **state)
{
    struct ferry_loop *loop, *uring;

    (void)state;
    assert_int_equal(ferry_loop_new(FERRY_IO_AUTO, &loop), 0);
    if (ferry_loop_new(FERRY_IO_URING, &uring) == 0) {
        assert_string_equal(ferry_loop_backend(loop), "io_uring");
        assert_string_equal(ferry_loop_why(loop), "");
        ferry_loop_free(uring);
    } else {
        assert_string_equal(ferry_loop_backend(loop), "epoll");
        assert_non_null(strstr(ferry_loop_why(loop), "io_uring"));
    }
    ferry_loop_free(loop);
    ferry_loop_free(NULL);
}

static void make_one(void *arg)
{
    struct ferry_loop *loop = NULL;

    if (ferry_loop_new(*(enum ferry_io *)arg, &loop) == 0)
        ferry_loop_free(loop);
}

static void a_loop_may_fail_to_be_made(void **state)
{
    ferry_loop_free(loop_for(state));
    each_alloc_fails(make_one, *state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_both(timers_fire_in_order_and_never_early),
        on_both(a_timer_is_replaced_and_stopped),
        on_both(a_timer_in_the_past_fires_each_turn_and_the_loop_goes_on),
        on_both(an_idle_loop_sleeps),
        on_both(tasks_run_once_in_order),
        on_both(a_task_may_defer_itself),
        on_both(posts_from_threads_all_arrive_in_order),
        on_both(another_thread_stops_it),
        on_both(a_signal_handler_stops_it),
        on_both(a_stop_before_the_run_counts),
        on_both(a_watch_is_level_triggered),
        on_both(a_watch_closes_while_readable),
        on_both(a_loop_may_fail_to_be_made),
        cmocka_unit_test(auto_says_why_it_fell_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
