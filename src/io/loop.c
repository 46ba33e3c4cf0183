/* SPDX-License-Identifier: MIT */
/*
 * The loop, whatever its back end: the order of a turn, the clock, tasks, timers, posts, and what
 * listeners and watches have in common.
 *
 * Only `posts`, `stop` and `asleep` are touched by other threads. A post pushes itself and then
 * looks whether the loop sleeps; the loop says that it sleeps and then looks for posts. One of the
 * two sees the other, so a busy loop is never written to and a sleeping one always wakes.
 */
#include "io/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "io/backend.h"

#define SMALL_KEPT 256
#define LARGE_KEPT 64
/* Work that begets work within a turn goes on so many times before the kernel is asked again. */
#define ROUNDS 4
#define ACCEPT_PAUSE_MS 100
#define LATE_MAX 1024 /* taken by a listener that closes */

static uint64_t clock_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t ferry_now_us(void)
{
    return clock_us();
}

uint64_t ferry_loop_now(const struct ferry_loop *loop)
{
    return loop->inside ? loop->now_ms : clock_us() / 1000;
}

static int make(const struct ferry__backend *backend, struct ferry_loop **out)
{
    struct ferry_loop *loop = calloc(1, backend->size);
    int r;

    if (!loop)
        return -ENOMEM;
    loop->backend = backend;
    loop->now_ms = clock_us() / 1000;
    ferry_list_init(&loop->tasks);
    ferry_list_init(&loop->flush);
    ferry_list_init(&loop->due);
    ferry__wheel_init(&loop->wheel, loop->now_ms);
    ferry_blocks_init(&loop->blocks, SMALL_KEPT, LARGE_KEPT);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r = loop->wake_fd < 0 ? -errno : backend->init(loop);
    if (r < 0) {
        if (loop->wake_fd >= 0)
            close(loop->wake_fd);
        free(loop);
        return r;
    }
    *out = loop;
    return 0;
}

int ferry_loop_new(enum ferry_io io, struct ferry_loop **out)
{
    int r = 0, refused = 0;

    if (io != FERRY_IO_EPOLL) {
        refused = make(&ferry__uring, out);
        if (refused == 0 || io == FERRY_IO_URING)
            return refused;
    }
    r = make(&ferry__epoll, out);
    if (r == 0 && refused < 0)
        snprintf((*out)->why, sizeof(*out)->why, "the kernel refuses io_uring: %s",
                 refused == -EINVAL ? "older than Linux 6.1" : ferry_strerror(refused));
    return r;
}

void ferry_loop_free(struct ferry_loop *loop)
{
    if (!loop)
        return;
    loop->backend->fini(loop);
    if (loop->driven)
        close(loop->timer_fd);
    close(loop->wake_fd);
    ferry_blocks_fini(&loop->blocks);
    free(loop);
}

const char *ferry_loop_backend(const struct ferry_loop *loop)
{
    return loop->backend->name;
}

const char *ferry_loop_why(const struct ferry_loop *loop)
{
    return loop->why;
}

struct ferry_blocks *ferry_loop_blocks(struct ferry_loop *loop)
{
    return &loop->blocks;
}

/* -- tasks -- */

void ferry_task_init(struct ferry_task *t, void (*run)(struct ferry_task *))
{
    ferry_list_init(&t->link);
    t->run = run;
}

void ferry_task_defer(struct ferry_loop *loop, struct ferry_task *t)
{
    if (ferry_list_empty(&t->link))
        ferry_list_push(&loop->tasks, &t->link);
    ferry__loop_touched(loop);
}

void ferry_task_cancel(struct ferry_task *t)
{
    ferry_list_remove(&t->link);
}

/* Those deferred until now; the rest waits for the next round. */
static void take_all(struct ferry_list *from, struct ferry_list *to)
{
    ferry_list_init(to);
    if (ferry_list_empty(from))
        return;
    *to = *from;
    to->next->prev = to->prev->next = to;
    ferry_list_init(from);
}

static void run_tasks(struct ferry_loop *loop)
{
    struct ferry_list now, *link;

    take_all(&loop->tasks, &now);
    while ((link = ferry_list_first(&now))) {
        struct ferry_task *t = ferry_container(link, struct ferry_task, link);

        ferry_list_remove(link);
        t->run(t);
    }
}

/* -- timers -- */

void ferry_timer_init(struct ferry_timer *t, void (*fire)(struct ferry_timer *))
{
    ferry_list_init(&t->link);
    t->at_ms = FERRY_NEVER;
    t->fire = fire;
}

void ferry_timer_set(struct ferry_loop *loop, struct ferry_timer *t, uint64_t at_ms)
{
    ferry_list_remove(&t->link);
    t->at_ms = at_ms;
    if (at_ms != FERRY_NEVER)
        ferry__wheel_add(&loop->wheel, t);
    ferry__loop_touched(loop);
}

void ferry_timer_stop(struct ferry_timer *t)
{
    ferry_list_remove(&t->link);
    t->at_ms = FERRY_NEVER;
}

static void run_timers(struct ferry_loop *loop)
{
    struct ferry_list due, *link;

    ferry_list_init(&due);
    ferry__wheel_turn(&loop->wheel, loop->now_ms, &due);
    while ((link = ferry_list_first(&due))) {
        struct ferry_timer *t = ferry_container(link, struct ferry_timer, link);

        ferry_timer_stop(t);
        t->fire(t);
    }
}

/* -- posts -- */

void ferry__loop_wake(struct ferry_loop *loop)
{
    static const uint64_t one = 1;
    int err = errno;

    if (atomic_load(&loop->asleep) && atomic_exchange(&loop->asleep, false)) {
        ssize_t n = write(loop->wake_fd, &one, sizeof one);
        (void)n;
    }
    errno = err; /* signal handlers come here too */
}

void ferry_loop_post(struct ferry_loop *loop, struct ferry_post *p)
{
    p->next = atomic_load_explicit(&loop->posts, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(&loop->posts, &p->next, p))
        ;
    ferry__loop_wake(loop);
}

void ferry_loop_stop(struct ferry_loop *loop)
{
    atomic_store(&loop->stop, true);
    ferry__loop_wake(loop);
}

static void run_posts(struct ferry_loop *loop)
{
    struct ferry_post *p, *first = NULL;

    if (!atomic_load_explicit(&loop->posts, memory_order_relaxed))
        return;
    p = atomic_exchange(&loop->posts, NULL);
    while (p) {
        struct ferry_post *next = p->next;

        p->next = first;
        first = p;
        p = next;
    }
    while (first) {
        p = first;
        first = p->next;
        p->run(p);
    }
}

/* -- the turn -- */

void ferry__loop_woke(struct ferry_loop *loop)
{
    if (atomic_load_explicit(&loop->asleep, memory_order_relaxed))
        atomic_store(&loop->asleep, false);
    loop->now_ms = clock_us() / 1000;
}

bool ferry__loop_has_work(const struct ferry_loop *loop)
{
    return !ferry_list_empty(&loop->tasks) || !ferry_list_empty(&loop->flush) ||
           !ferry_list_empty(&loop->due);
}

static int64_t how_long(struct ferry_loop *loop)
{
    int64_t ms;

    if (ferry__loop_has_work(loop))
        return 0;
    ms = ferry__wheel_wait(&loop->wheel, loop->now_ms);
    if (ms == 0)
        return 0;
    atomic_store(&loop->asleep, true);
    return atomic_load(&loop->posts) || atomic_load(&loop->stop) ? 0 : ms;
}

static void deliver(struct ferry_loop *loop)
{
    struct ferry_list now, *link;

    take_all(&loop->due, &now);
    while ((link = ferry_list_first(&now)) && !ferry__loop_full(loop)) {
        struct ferry_stream *s = ferry_container(link, struct ferry_stream, due);

        ferry_list_remove(link);
        ferry__stream_deliver(s);
    }
    while ((link = ferry_list_first(&loop->due))) { /* behind those that have to wait */
        ferry_list_remove(link);
        ferry_list_push(&now, link);
    }
    take_all(&now, &loop->due);
}

static bool flush(struct ferry_loop *loop)
{
    struct ferry_list now, *link;

    loop->told = 0;
    take_all(&loop->flush, &now);
    while ((link = ferry_list_first(&now))) {
        struct ferry_stream *s = ferry_container(link, struct ferry_stream, flush);

        ferry_list_remove(link);
        if (loop->backend->stream_submit(s))
            continue;
        /* The kernel takes no more before it was entered again: back in front, in order. */
        ferry_list_push_front(&now, link);
        while ((link = ferry_list_first(&loop->flush))) {
            ferry_list_remove(link);
            ferry_list_push(&now, link);
        }
        take_all(&now, &loop->flush);
        return false;
    }
    return true;
}

int ferry__loop_turn(struct ferry_loop *loop, int64_t timeout_ms)
{
    int r = loop->backend->wait(loop, timeout_ms);

    if (r < 0)
        return r;
    run_posts(loop);
    run_timers(loop);
    for (int i = 0; i < ROUNDS && ferry__loop_has_work(loop); i++) {
        deliver(loop);
        run_tasks(loop);
        if (!flush(loop))
            break;
    }
    return 0;
}

int ferry_loop_run(struct ferry_loop *loop)
{
    int r = loop->driven ? FERRY_EUSAGE : loop->backend->enter(loop);

    if (r < 0)
        return r;
    loop->inside = true;
    loop->now_ms = clock_us() / 1000; /* how_long looks at it */
    while (r == 0 && !atomic_exchange(&loop->stop, false))
        r = ferry__loop_turn(loop, how_long(loop));
    loop->inside = false;
    loop->backend->leave(loop);
    return r;
}

/*
 * -- listeners --
 *
 * Of those who wait at a socket the kernel wakes one, and tells nobody else of that connection
 * before the next one comes. So whoever was woken must take it: also one that closes in that
 * moment, and one that has no descriptor left. A shared listener asks for one connection at a time,
 * for then it is never woken more than once for what it does not take.
 */

static bool is_shortage(int err)
{
    return err == -EMFILE || err == -ENFILE || err == -ENOBUFS || err == -ENOMEM;
}

static void pause_listener(struct ferry_listener *l)
{
    l->state |= FERRY__PAUSED;
    ferry_timer_set(l->loop, &l->pause, l->loop->now_ms + ACCEPT_PAUSE_MS);
    ferry_task_defer(l->loop, &l->work);
}

static void take_reserve(struct ferry_listener *l)
{
    if (l->shared && l->spare < 0)
        l->spare = fcntl(l->loop->wake_fd, F_DUPFD_CLOEXEC, 0);
}

static void give_up_reserve(struct ferry_listener *l)
{
    if (l->spare >= 0)
        close(l->spare);
    l->spare = -1;
}

static int accept_now(struct ferry_listener *l)
{
    if (!(fcntl(l->fd, F_GETFL) & O_NONBLOCK))
        return -1;
    return accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

static void pause_over(struct ferry_timer *t)
{
    struct ferry_listener *l = ferry_container(t, struct ferry_listener, pause);

    take_reserve(l);
    if (l->shared && l->spare < 0) {
        ferry_timer_set(l->loop, &l->pause, l->loop->now_ms + ACCEPT_PAUSE_MS);
        return;
    }
    l->state &= ~FERRY__PAUSED;
    ferry_task_defer(l->loop, &l->work);
}

/* While it pauses nothing is asked of the kernel, which then wakes others; but this connection they
 * do not hear of. */
static void run_short(struct ferry_listener *l)
{
    int fd = -1;

    pause_listener(l);
    if (l->spare >= 0) {
        give_up_reserve(l);
        fd = accept_now(l);
    }
    if (fd >= 0)
        l->accepted(l, fd);
}

/* Brings the kernel's side in line with the state, which may take more than one turn. */
static void listener_work(struct ferry_task *t)
{
    struct ferry_listener *l = ferry_container(t, struct ferry_listener, work);

    if (l->state & (FERRY__SHUT | FERRY__PAUSED)) {
        if (!l->loop->backend->listener_stop(l) || !(l->state & FERRY__SHUT))
            return;
        if (l->state & FERRY__SHUT_FD)
            close(l->fd);
        give_up_reserve(l);
        l->state = 0;
        if (l->closed)
            l->closed(l);
    } else if (!(l->state & FERRY__ARMED) && l->loop->backend->listener_start(l) < 0) {
        pause_listener(l);
    }
}

int ferry_listener_open(struct ferry_loop *loop, struct ferry_listener *l, int fd)
{
    int listening = 0, r;
    socklen_t len = sizeof listening;

    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0)
        return -errno;
    if (!listening)
        return -EINVAL;
    l->loop = loop;
    l->fd = fd;
    l->state = FERRY__OPEN;
    ferry_timer_init(&l->pause, pause_over);
    ferry_task_init(&l->work, listener_work);
    l->spare = -1;
    take_reserve(l);
    r = loop->backend->listener_start(l);
    if (r < 0) {
        give_up_reserve(l);
        l->state = 0;
    }
    ferry__loop_touched(loop);
    return r;
}

void ferry_listener_close(struct ferry_listener *l, bool close_fd)
{
    if (!(l->state & FERRY__OPEN) || l->state & FERRY__SHUT)
        return;
    l->state |= FERRY__SHUT | (close_fd ? FERRY__SHUT_FD : 0);
    ferry_timer_stop(&l->pause);
    ferry_task_defer(l->loop, &l->work);
}

void ferry__listener_accepted(struct ferry_listener *l, int fd)
{
    if (fd >= 0 && l->state & FERRY__SHUT && l->late)
        l->late(l, fd);
    else if (fd >= 0 && l->state & FERRY__SHUT)
        close(fd);
    else if (fd >= 0)
        l->accepted(l, fd);
    else if (is_shortage(fd) && !(l->state & FERRY__SHUT))
        run_short(l);
}

void ferry__listener_take_rest(struct ferry_listener *l)
{
    if (!l->takes_rest)
        return;
    give_up_reserve(l);
    for (int i = 0; i < (l->shared ? 1 : LATE_MAX); i++) {
        int fd = accept_now(l);

        if (fd < 0)
            return;
        ferry__listener_accepted(l, fd);
    }
}

void ferry__listener_stopped(struct ferry_listener *l)
{
    ferry_task_defer(l->loop, &l->work);
}

/* -- watches -- */

static void watch_work(struct ferry_task *t)
{
    struct ferry_watch *w = ferry_container(t, struct ferry_watch, work);

    if (w->state & FERRY__SHUT) {
        if (!w->loop->backend->watch_stop(w))
            return;
        w->state = 0;
        if (w->closed)
            w->closed(w);
    } else if (!(w->state & FERRY__ARMED) && w->loop->backend->watch_start(w) < 0) {
        ferry_task_defer(w->loop, &w->work);
    }
}

int ferry_watch_open(struct ferry_loop *loop, struct ferry_watch *w, int fd)
{
    int r;

    if (fcntl(fd, F_GETFD) < 0)
        return -errno;
    w->loop = loop;
    w->fd = fd;
    w->state = FERRY__OPEN;
    ferry_task_init(&w->work, watch_work);
    r = loop->backend->watch_start(w);
    if (r < 0)
        w->state = 0;
    ferry__loop_touched(loop);
    return r;
}

void ferry_watch_close(struct ferry_watch *w)
{
    if (!(w->state & FERRY__OPEN) || w->state & FERRY__SHUT)
        return;
    w->state |= FERRY__SHUT;
    ferry_task_defer(w->loop, &w->work);
}

void ferry__watch_stopped(struct ferry_watch *w)
{
    ferry_task_defer(w->loop, &w->work);
}
