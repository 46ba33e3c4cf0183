/* SPDX-License-Identifier: MIT */
/*
 * The io_uring back end: the ring, the wait, listeners and watches; streams are in uring_stream.c.
 * One system call per turn submits what the turn wanted and waits for what comes next.
 *
 * The ring belongs to one thread, which the kernel learns when the ring is enabled: in enter, for a
 * loop may be made by another thread. Until then submissions only wait in the queue.
 */
#include "io/uring.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define SQ_ENTRIES 1024
#define CQ_ENTRIES 4096

/* Buffers of a group: at most, and how many wait in the ring at least. */
#define SMALL_MAX 1024
#define SMALL_WANT 64
#define LARGE_MAX 256
#define LARGE_WANT 8

static bool has_room(const struct ferry__uring *u, unsigned n)
{
    return io_uring_sq_space_left(&u->ring) >= n && u->niovs <= FERRY__IOVS - FERRY__IOVS_EACH &&
           u->nmsgs < FERRY__MSGS;
}

/* What has been submitted needs its vectors no longer (IORING_FEAT_SUBMIT_STABLE). */
static void reuse_vectors(struct ferry__uring *u)
{
    if (io_uring_sq_ready(&u->ring) == 0)
        u->niovs = u->nmsgs = 0;
}

bool ferry__uring_room(struct ferry__uring *u, unsigned n)
{
    if (has_room(u, n))
        return true;
    if (!u->enabled)
        return false;
    io_uring_submit(&u->ring);
    reuse_vectors(u);
    return has_room(u, n);
}

struct io_uring_sqe *ferry__uring_sqe(struct ferry__uring *u)
{
    return io_uring_get_sqe(&u->ring);
}

void ferry__uring_poll(struct ferry__uring *u, int fd, unsigned events, const void *p,
                       enum ferry__op op)
{
    struct io_uring_sqe *sqe = ferry__uring_sqe(u);

    io_uring_prep_poll_add(sqe, fd, events);
    ferry__uring_tag(sqe, p, op);
}

void ferry__uring_cancel(struct ferry__uring *u, const void *p, enum ferry__op op)
{
    struct io_uring_sqe *sqe = ferry__uring_sqe(u);

    io_uring_prep_cancel64(sqe, (uintptr_t)p | op, 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    ferry__uring_tag(sqe, NULL, FERRY__OP_NONE);
}

/* -- making one -- */

/*
 * With DEFER_TASKRUN (kernel 6.1) the kernel works on our streams only while we are in it, and
 * takes submissions first: so what a stream sent from may be given up in the turn that closes it.
 * That kernel has all else that is needed here, and buffer rings are asked for next.
 */
static int open_ring(struct io_uring *ring)
{
    struct io_uring_params p = {.flags = IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER |
                                         IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE |
                                         IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP,
                                .cq_entries = CQ_ENTRIES};

    return io_uring_queue_init_params(SQ_ENTRIES, ring, &p);
}

static void fini(struct ferry_loop *loop)
{
    struct ferry__uring *u = ferry__uring_of(loop);

    io_uring_queue_exit(&u->ring);
    if (u->drive_fd >= 0) {
        close(u->drive_fd);
        close(u->event_fd);
    }
    for (int i = 0; i < FERRY__GROUPS; i++)
        ferry__bufring_fini(&u->bufs[i]);
}

static int init(struct ferry_loop *loop)
{
    struct ferry__uring *u = ferry__uring_of(loop);
    int r = open_ring(&u->ring);

    u->drive_fd = u->event_fd = -1;
    if (r < 0)
        return r;
    r = ferry__bufring_init(&u->bufs[FERRY__GROUP_SMALL], &u->ring, FERRY__GROUP_SMALL,
                            FERRY_BLOCK_SMALL, SMALL_MAX, SMALL_WANT);
    if (r == 0)
        r = ferry__bufring_init(&u->bufs[FERRY__GROUP_LARGE], &u->ring, FERRY__GROUP_LARGE,
                                FERRY_BLOCK_LARGE, LARGE_MAX, LARGE_WANT);
    if (r < 0)
        fini(loop);
    return r;
}

static int enter(struct ferry_loop *loop)
{
    struct ferry__uring *u = ferry__uring_of(loop);

    if (!u->enabled) {
        /* liburing 2.3 declares io_uring_enable_rings and does not export it. */
        int r = io_uring_register((unsigned)u->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);

        if (r < 0)
            return r;
        u->enabled = true;
    }
    /* Saves a look-up per system call; without it all works the same. */
    io_uring_register_ring_fd(&u->ring);
    return 0;
}

static void leave(struct ferry_loop *loop)
{
    struct ferry__uring *u = ferry__uring_of(loop);

    /* The registration is the thread's, which need not be the one that frees the loop. */
    if (u->ring.enter_ring_fd != u->ring.ring_fd)
        io_uring_unregister_ring_fd(&u->ring);
}

/* -- listeners and watches -- */

static int listener_start(struct ferry_listener *l)
{
    struct ferry__uring *u = ferry__uring_of(l->loop);
    struct io_uring_sqe *sqe;

    if (!ferry__uring_room(u, 1))
        return -EAGAIN;
    l->state |= FERRY__ARMED;
    sqe = ferry__uring_sqe(u);
    if (l->shared)
        io_uring_prep_accept(sqe, l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    else
        io_uring_prep_multishot_accept(sqe, l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    ferry__uring_tag(sqe, l, FERRY__OP_ACCEPT);
    return 0;
}

/* Ends what is armed; tried again next turn when there is no room for that now. */
static bool stop(struct ferry_loop *loop, uint8_t *state, struct ferry_task *work, const void *p,
                 enum ferry__op op)
{
    struct ferry__uring *u = ferry__uring_of(loop);

    if (!(*state & FERRY__ARMED))
        return true;
    if (*state & FERRY__CANCELLED)
        return false;
    if (ferry__uring_room(u, 1)) {
        ferry__uring_cancel(u, p, op);
        *state |= FERRY__CANCELLED;
    } else {
        ferry_task_defer(loop, work);
    }
    return false;
}

static bool listener_stop(struct ferry_listener *l)
{
    return stop(l->loop, &l->state, &l->work, l, FERRY__OP_ACCEPT);
}

static void listener_complete(struct ferry_listener *l, int res, uint32_t flags)
{
    if (!(flags & IORING_CQE_F_MORE)) {
        l->state &= ~(FERRY__ARMED | FERRY__CANCELLED);
        ferry__listener_stopped(l);
    }
    ferry__listener_accepted(l, res);
    if (!(flags & IORING_CQE_F_MORE) && l->state & FERRY__SHUT && (res < 0 || !l->shared))
        ferry__listener_take_rest(l);
}

static int watch_start(struct ferry_watch *w)
{
    struct ferry__uring *u = ferry__uring_of(w->loop);

    if (!ferry__uring_room(u, 1))
        return -EAGAIN;
    ferry__uring_poll(u, w->fd, POLLIN, w, FERRY__OP_WATCH);
    w->state |= FERRY__ARMED;
    return 0;
}

static bool watch_stop(struct ferry_watch *w)
{
    return stop(w->loop, &w->state, &w->work, w, FERRY__OP_WATCH);
}

static void watch_complete(struct ferry_watch *w, int res)
{
    w->state &= ~(FERRY__ARMED | FERRY__CANCELLED);
    /* Armed again at the end of the turn, which looks anew: level-triggered. */
    ferry__watch_stopped(w);
    if (res > 0 && !(w->state & FERRY__SHUT))
        w->readable(w);
}

/* -- driven by another loop -- */

/*
 * The descriptor is an epoll that holds, edge-triggered, an eventfd on which the ring tells that it
 * has something, the timer and the loop's own wake_fd: one look at it takes back all three. Polling
 * the ring itself would not do: deferred work that waits for its thread wakes nobody there.
 */
static int drive(struct ferry_loop *loop)
{
    struct ferry__uring *u = ferry__uring_of(loop);
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
    int r = 0;

    u->drive_fd = epoll_create1(EPOLL_CLOEXEC);
    u->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (u->drive_fd < 0 || u->event_fd < 0 ||
        epoll_ctl(u->drive_fd, EPOLL_CTL_ADD, u->event_fd, &ev) < 0 ||
        epoll_ctl(u->drive_fd, EPOLL_CTL_ADD, loop->timer_fd, &ev) < 0 ||
        epoll_ctl(u->drive_fd, EPOLL_CTL_ADD, loop->wake_fd, &ev) < 0)
        r = -errno;
    if (r == 0)
        r = io_uring_register_eventfd(&u->ring, u->event_fd);
    if (r == 0)
        return u->drive_fd;
    if (u->drive_fd >= 0)
        close(u->drive_fd);
    if (u->event_fd >= 0)
        close(u->event_fd);
    u->drive_fd = u->event_fd = -1;
    return r;
}

/* What is told from here on has come after the look, or is found in this step. */
static void begin_step(struct ferry__uring *u)
{
    struct epoll_event ev[4];

    epoll_wait(u->drive_fd, ev, 4, 0);
    io_uring_cq_eventfd_toggle(&u->ring, false);
}

/* -- the wait -- */

static void arm_wake(struct ferry__uring *u)
{
    struct io_uring_sqe *sqe;

    if (!ferry__uring_room(u, 1))
        return;
    sqe = ferry__uring_sqe(u);
    io_uring_prep_poll_multishot(sqe, u->loop.wake_fd, POLLIN);
    ferry__uring_tag(sqe, NULL, FERRY__OP_WAKE);
    u->wake_armed = true;
}

static void complete(struct ferry__uring *u, const struct io_uring_cqe *cqe)
{
    enum ferry__op op = cqe->user_data & FERRY__OP_MASK;
    void *p = (void *)(uintptr_t)(cqe->user_data & ~(uint64_t)FERRY__OP_MASK);

    switch (op) {
    case FERRY__OP_NONE:
        break;
    case FERRY__OP_RECV:
    case FERRY__OP_SEND:
    case FERRY__OP_OUT:
    case FERRY__OP_ERR:
        ferry__uring_stream_complete(p, op, cqe->res, cqe->flags);
        break;
    case FERRY__OP_ACCEPT:
        listener_complete(p, cqe->res, cqe->flags);
        break;
    case FERRY__OP_WATCH:
        watch_complete(p, cqe->res);
        break;
    case FERRY__OP_WAKE:
        u->wake_armed = cqe->flags & IORING_CQE_F_MORE;
        break;
    }
}

/* EBUSY: completions wait for room, which is made by taking those there are; EAGAIN: memory is
 * short. */
static bool is_passing(int r)
{
    return r == -ETIME || r == -EINTR || r == -EAGAIN || r == -EBUSY;
}

static int wait(struct ferry_loop *loop, int64_t timeout_ms)
{
    struct ferry__uring *u = ferry__uring_of(loop);
    struct __kernel_timespec ts = {timeout_ms / 1000, timeout_ms % 1000 * 1000000};
    struct io_uring_cqe *cqe;
    unsigned head, n = 0;
    int r;

    if (loop->driven)
        begin_step(u);
    else if (!u->wake_armed)
        arm_wake(u);
    if (timeout_ms == 0)
        r = io_uring_submit_and_get_events(&u->ring);
    else
        r = io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, timeout_ms < 0 ? NULL : &ts, NULL);
    if (r < 0 && !is_passing(r))
        return r;
    reuse_vectors(u);
    ferry__loop_woke(loop);
    io_uring_for_each_cqe(&u->ring, head, cqe)
    {
        complete(u, cqe);
        n++;
    }
    io_uring_cq_advance(&u->ring, n);
    return 0;
}

static int settle(struct ferry_loop *loop)
{
    struct ferry__uring *u = ferry__uring_of(loop);
    int r;

    /* The eventfd speaks again before the kernel is entered, which finds what came meanwhile. */
    io_uring_cq_eventfd_toggle(&u->ring, true);
    if (io_uring_cq_ready(&u->ring))
        ferry__loop_wake(loop);
    r = io_uring_submit_and_get_events(&u->ring);
    reuse_vectors(u);
    return r < 0 && !is_passing(r) ? r : 0;
}

const struct ferry__backend ferry__uring = {
    .name = "io_uring",
    .size = sizeof(struct ferry__uring),
    .init = init,
    .fini = fini,
    .enter = enter,
    .leave = leave,
    .wait = wait,
    .stream_add = ferry__uring_stream_add,
    .stream_remove = ferry__uring_stream_remove,
    .stream_submit = ferry__uring_stream_submit,
    .stream_deliver = ferry__uring_stream_deliver,
    .listener_start = listener_start,
    .listener_stop = listener_stop,
    .watch_start = watch_start,
    .watch_stop = watch_stop,
    .drive = drive,
    .settle = settle,
};
