/* SPDX-License-Identifier: MIT */
/*
 * A loop that another loop drives. Between two steps it sleeps like one that waits in the kernel:
 * `asleep` is set, and whoever has work for it, another thread or the owner itself, wakes it
 * through wake_fd, which makes its descriptor readable. A step first takes back what made it
 * readable and looks for work then, so nothing is lost in between.
 */
#include <errno.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "io/backend.h"

/* The timer may be left standing too early: that costs one step that finds nothing, and most
 * deadlines are moved on long before they come. */
static void set_timer(struct ferry_loop *loop, uint64_t at_ms)
{
    struct itimerspec at = {.it_value = {(time_t)(at_ms / 1000), (long)(at_ms % 1000) * 1000000}};

    if (loop->timer_ms > loop->now_ms && loop->timer_ms <= at_ms)
        return;
    loop->timer_ms = at_ms;
    timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static void sleep_until_woken(struct ferry_loop *loop)
{
    int64_t ms = ferry__loop_has_work(loop) ? 0 : ferry__wheel_wait(&loop->wheel, loop->now_ms);

    if (ms > 0)
        set_timer(loop, loop->now_ms + (uint64_t)ms);
    loop->inside = false;
    atomic_store(&loop->asleep, true);
    if (ms == 0 || atomic_load(&loop->posts))
        ferry__loop_wake(loop);
}

int ferry_loop_fd(struct ferry_loop *loop)
{
    int r;

    if (loop->driven)
        return loop->drive_fd;
    if (loop->inside)
        return FERRY_EUSAGE;
    loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (loop->timer_fd < 0)
        return -errno;
    r = loop->backend->enter(loop);
    if (r == 0) {
        /* What else a thread has of a loop that it runs, it would have until its end. */
        loop->backend->leave(loop);
        r = loop->backend->drive(loop);
    }
    if (r < 0) {
        close(loop->timer_fd);
        return r;
    }
    loop->drive_fd = r;
    loop->driven = true;
    ferry__loop_woke(loop);
    sleep_until_woken(loop);
    return loop->drive_fd;
}

int ferry_loop_step(struct ferry_loop *loop)
{
    int r = ferry_loop_fd(loop), settled;

    if (r < 0)
        return r;
    if (loop->inside)
        return FERRY_EUSAGE;
    loop->inside = true;
    r = ferry__loop_turn(loop, 0);
    settled = loop->backend->settle(loop);
    sleep_until_woken(loop);
    return r < 0 ? r : settled;
}
