/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TESTS_LOOPS_H
#define FERRY_TESTS_LOOPS_H

#include "support.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "io/loop.h"

/* Every test of the loop runs on both back ends. */

static const enum ferry_io on_epoll = FERRY_IO_EPOLL, on_uring = FERRY_IO_URING;

#define on_both(f)                                                                                 \
    {#f " (epoll)", f, NULL, NULL, (void *)&on_epoll},                                             \
    {                                                                                              \
#f " (io_uring)", f, NULL, NULL, (void *)&on_uring                                         \
    }

/* A loop of the back end the test runs on; skips the test where the kernel refuses io_uring. */
static inline struct ferry_loop *loop_for(void **state)
{
    enum ferry_io io = *(const enum ferry_io *)*state;
    struct ferry_loop *loop = NULL;
    int r = ferry_loop_new(io, &loop);

    if (r < 0 && io == FERRY_IO_URING) {
        print_message("io_uring: %s\n", ferry_strerror(r));
        skip();
    }
    assert_int_equal(r, 0);
    return loop;
}

struct guard {
    struct ferry_timer timer;
    struct ferry_loop *loop;
    bool fired;
};

static inline void guard_fired(struct ferry_timer *t)
{
    struct guard *g = ferry_container(t, struct guard, timer);

    g->fired = true;
    ferry_loop_stop(g->loop);
}

/* Runs until somebody stops the loop: true, or false when nobody did for so long. */
static inline bool run_for(struct ferry_loop *loop, unsigned ms)
{
    struct guard g = {.loop = loop};

    ferry_timer_init(&g.timer, guard_fired);
    ferry_timer_set(loop, &g.timer, ferry_now_us() / 1000 + ms);
    assert_int_equal(ferry_loop_run(loop), 0);
    ferry_timer_stop(&g.timer);
    return !g.fired;
}

/* Of this thread. */
static inline uint64_t cpu_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

#define run(loop) assert_true(run_for((loop), 60000))

#endif
