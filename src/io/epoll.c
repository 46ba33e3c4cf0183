/* SPDX-License-Identifier: MIT */
/*
 * The epoll back end: every stream is registered once, edge-triggered, for reading; what an edge
 * said is kept in READABLE until a short read shows that the socket is drained. Sends are made at
 * the end of the turn and told from the due list. Writability is asked for only while a send is
 * blocked, because a unix socket gives such an edge whenever its peer reads.
 */
#include <errno.h>
#include <limits.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "io/backend.h"

#define EVENTS_MAX 64 /* what a turn reads is better still in the cache when it is sent */
#define ACCEPT_MAX 64 /* per listener and turn */
#define READS_MAX 4   /* per stream and round: one fast peer does not keep the loop */

struct epoll {
    struct ferry_loop loop;
    int fd;
};

enum {
    READABLE = FERRY__OWN_0,
    TO_END = FERRY__OWN_0 << 1,  /* the end or an error waits behind the bytes */
    BLOCKED = FERRY__OWN_0 << 2, /* a send waits for room */
    OUT = FERRY__OWN_0 << 3,     /* registered for writability too */
    ADDED = FERRY__OWN_0 << 4,
};

/* In the low bits of what the kernel keeps for us. */
enum tag { STREAM, LISTENER, WATCH, WAKE, TAG_MASK = 3 };

static struct epoll *epoll_of(struct ferry_loop *loop)
{
    return (struct epoll *)loop;
}

static int control(struct ferry_loop *loop, int op, int fd, uint32_t events, void *p, enum tag tag)
{
    struct epoll_event ev = {.events = events, .data.u64 = (uintptr_t)p | tag};

    return epoll_ctl(epoll_of(loop)->fd, op, fd, &ev) < 0 ? -errno : 0;
}

static int init(struct ferry_loop *loop)
{
    struct epoll *e = epoll_of(loop);
    int r;

    e->fd = epoll_create1(EPOLL_CLOEXEC);
    if (e->fd < 0)
        return -errno;
    r = control(loop, EPOLL_CTL_ADD, loop->wake_fd, EPOLLIN | EPOLLET, NULL, WAKE);
    if (r < 0)
        close(e->fd);
    return r;
}

static void fini(struct ferry_loop *loop)
{
    close(epoll_of(loop)->fd);
}

static int enter(struct ferry_loop *loop)
{
    (void)loop;
    return 0;
}

static void leave(struct ferry_loop *loop)
{
    (void)loop;
}

/* -- streams -- */

static uint32_t events_of(const struct ferry_stream *s)
{
    return EPOLLIN | EPOLLRDHUP | EPOLLET | (s->flags & OUT ? EPOLLOUT : 0);
}

static int stream_add(struct ferry_stream *s)
{
    if (s->flags & FERRY__CONNECTING)
        s->flags |= OUT;
    s->flags |= ADDED;
    return control(s->loop, EPOLL_CTL_ADD, s->fd, events_of(s), s, STREAM);
}

static void stream_remove(struct ferry_stream *s)
{
    /* Closing alone is not enough: a child that was forked meanwhile may still hold the socket. */
    if (s->flags & ADDED)
        control(s->loop, EPOLL_CTL_DEL, s->fd, 0, s, STREAM);
}

static int ask_for_room(struct ferry_stream *s, bool on)
{
    if (!(s->flags & OUT) == !on)
        return 0;
    s->flags ^= OUT;
    return control(s->loop, EPOLL_CTL_MOD, s->fd, events_of(s), s, STREAM);
}

static void send_now(struct ferry_stream *s)
{
    ssize_t n = ferry__stream_send_now(s);

    if (n == -EAGAIN) {
        n = ask_for_room(s, true);
        if (n == 0) {
            s->flags |= BLOCKED;
            return;
        }
    }
    s->result = (int)n;
    s->flags |= FERRY__SENT;
    ferry__stream_due(s);
}

static bool stream_submit(struct ferry_stream *s)
{
    if (s->flags & FERRY__ENDING) {
        ferry__stream_ended(s);
        return true;
    }
    if (s->flags & (FERRY__CONNECTING | FERRY__CONNECTED))
        return true;
    if ((s->flags & (FERRY__SENDING | FERRY__SENT | BLOCKED)) == FERRY__SENDING)
        send_now(s);
    if ((s->flags & (FERRY__READING | READABLE)) == (FERRY__READING | READABLE))
        ferry__stream_due(s);
    return true;
}

static void stream_read(struct ferry_stream *s)
{
    const uint32_t want = FERRY__READING | READABLE;

    for (int i = 0; i < READS_MAX; i++) {
        struct ferry_block *b;
        ssize_t n;

        if ((s->flags & (want | FERRY__READ_OVER | FERRY__ENDING)) != want)
            return;
        if (ferry__loop_full(s->loop)) {
            ferry__stream_due(s);
            return;
        }
        b = ferry_block_get(&s->loop->blocks,
                            s->flags & FERRY__LARGE ? FERRY_BLOCK_LARGE : FERRY_BLOCK_SMALL);
        n = b ? ferry__recv(s->fd, b->data, b->cap) : -ENOMEM;
        if (n == -EAGAIN)
            s->flags &= ~READABLE;
        else if (n > 0 && n < b->cap && !(s->flags & TO_END))
            s->flags &= ~READABLE;
        if (n > 0)
            ferry__stream_tell_read(s, b, n);
        else if (n != -EAGAIN && n != -EINTR)
            ferry__stream_tell_read(s, NULL, n);
        ferry_block_unref(b);
    }
    ferry__stream_flush_later(s);
}

static void stream_event(struct ferry_stream *s, uint32_t ev)
{
    if (s->flags & FERRY__ENDING)
        return;
    if (ev & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        s->flags |= READABLE;
    if (ev & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        s->flags |= TO_END;
    if (ev & (EPOLLOUT | EPOLLHUP | EPOLLERR)) {
        if (s->flags & FERRY__CONNECTING) {
            ferry__stream_connect_done(s);
            return;
        }
        if (s->flags & BLOCKED) {
            s->flags &= ~BLOCKED;
            ferry__stream_flush_later(s);
        } else if (s->flags & OUT) {
            ask_for_room(s, false);
        }
    }
    if (s->flags & FERRY__READING)
        stream_read(s);
    else if (ev & EPOLLERR && !(s->flags & FERRY__ERRORS_LAST))
        ferry__stream_check_error(s);
}

/* -- listeners and watches -- */

static int listener_start(struct ferry_listener *l)
{
    int r = control(l->loop, EPOLL_CTL_ADD, l->fd, EPOLLIN | EPOLLEXCLUSIVE, l, LISTENER);

    if (r == 0)
        l->state |= FERRY__ARMED;
    return r;
}

static bool listener_stop(struct ferry_listener *l)
{
    if (l->state & FERRY__ARMED)
        control(l->loop, EPOLL_CTL_DEL, l->fd, 0, l, LISTENER);
    l->state &= ~FERRY__ARMED;
    return true;
}

static void listener_event(struct ferry_listener *l)
{
    if (l->state & FERRY__SHUT)
        ferry__listener_take_rest(l);
    for (int i = 0; i < ACCEPT_MAX && !(l->state & (FERRY__SHUT | FERRY__PAUSED)); i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0 && errno == EAGAIN)
            return;
        ferry__listener_accepted(l, fd < 0 ? -errno : fd);
    }
}

static int watch_start(struct ferry_watch *w)
{
    int r = control(w->loop, EPOLL_CTL_ADD, w->fd, EPOLLIN, w, WATCH);

    if (r == 0)
        w->state |= FERRY__ARMED;
    return r;
}

static bool watch_stop(struct ferry_watch *w)
{
    if (w->state & FERRY__ARMED)
        control(w->loop, EPOLL_CTL_DEL, w->fd, 0, w, WATCH);
    w->state &= ~FERRY__ARMED;
    return true;
}

/* -- the wait -- */

static void tell(uint64_t data, uint32_t ev)
{
    void *p = (void *)(uintptr_t)(data & ~(uint64_t)TAG_MASK);
    struct ferry_watch *w = p;

    switch ((enum tag)(data & TAG_MASK)) {
    case STREAM:
        stream_event(p, ev);
        break;
    case LISTENER:
        listener_event(p);
        break;
    case WATCH:
        if (!(w->state & FERRY__SHUT))
            w->readable(w);
        break;
    case WAKE: /* woken is all that is wanted */
        break;
    }
}

static int wait(struct ferry_loop *loop, int64_t timeout_ms)
{
    struct epoll_event ev[EVENTS_MAX];
    int n = epoll_wait(epoll_of(loop)->fd, ev, EVENTS_MAX,
                       timeout_ms > INT_MAX ? INT_MAX : (int)timeout_ms);

    if (n < 0 && errno != EINTR)
        return -errno;
    ferry__loop_woke(loop);
    for (int i = 0; i < n; i++)
        tell(ev[i].data.u64, ev[i].events);
    return 0;
}

/* -- driven by another loop: epoll descriptors can be polled -- */

static int drive(struct ferry_loop *loop)
{
    int r = control(loop, EPOLL_CTL_ADD, loop->timer_fd, EPOLLIN | EPOLLET, NULL, WAKE);

    return r < 0 ? r : epoll_of(loop)->fd;
}

static int settle(struct ferry_loop *loop)
{
    (void)loop; /* everything is done by plain system calls already */
    return 0;
}

const struct ferry__backend ferry__epoll = {
    .name = "epoll",
    .size = sizeof(struct epoll),
    .init = init,
    .fini = fini,
    .enter = enter,
    .leave = leave,
    .wait = wait,
    .stream_add = stream_add,
    .stream_remove = stream_remove,
    .stream_submit = stream_submit,
    .stream_deliver = stream_read,
    .listener_start = listener_start,
    .listener_stop = listener_stop,
    .watch_start = watch_start,
    .watch_stop = watch_stop,
    .drive = drive,
    .settle = settle,
};
