/* SPDX-License-Identifier: MIT */
/*
 * Streams on io_uring. A reading stream has a multishot receive armed that takes its buffers from a
 * ring; it holds no memory while nothing comes. Turning reading off does not cancel it: that is
 * done when bytes come nevertheless, which are held until reading is on again. After such a stop a
 * stream receives one block at a time, until one is not full, so that what a slow consumer makes us
 * hold is one block and not all that its peer can send in a burst.
 *
 * `armed` has a bit for every operation whose last completion has not come; the stream's memory is
 * given up only when it is 0.
 */
#include <errno.h>
#include <poll.h>

#include "base/assert.h"
#include "io/uring.h"

#define SEND_LEN_MAX (1u << 30)
#define SQES_EACH 4 /* the most that one look at a stream submits: a cancel of each operation */

enum {
    ONE_BLOCK = FERRY__OWN_0, /* receive single blocks */
    RECV_CANCELLED = FERRY__OWN_0 << 1,
    ALL_CANCELLED = FERRY__OWN_0 << 2,
    RECV_LARGE = FERRY__OWN_0 << 3,  /* the armed receive takes large buffers */
    RECV_POLLED = FERRY__OWN_0 << 4, /* it is a poll, then recv(2) into a block of the loop */
    OUTGROWN = FERRY__OWN_0 << 5,    /* it fills its small buffers and large ones are wanted */
    UNSURE = FERRY__OWN_0 << 6,      /* the multishot receive may have missed the end */
};

#define ARMED(op) (1u << FERRY__OP_##op)

int ferry__uring_stream_add(struct ferry_stream *s)
{
    (void)s;
    return 0;
}

void ferry__uring_stream_remove(struct ferry_stream *s)
{
    (void)s;
}

/* -- what came while reading was off: a ring of buffers, `held` the last -- */

static struct ferry__buf *buf_of(struct ferry_block *b)
{
    return ferry_container(b, struct ferry__buf, block);
}

static void hold(struct ferry_stream *s, struct ferry__buf *b, uint32_t len)
{
    b->len = len;
    if (s->held) {
        b->next = buf_of(s->held)->next;
        buf_of(s->held)->next = b;
    } else {
        b->next = b;
    }
    s->held = &b->block;
}

static struct ferry__buf *held_first(struct ferry_stream *s)
{
    struct ferry__buf *last = buf_of(s->held), *b = last->next;

    if (b == last)
        s->held = NULL;
    else
        last->next = b->next;
    return b;
}

static void drop_held(struct ferry_stream *s)
{
    while (s->held)
        ferry_block_unref(&held_first(s)->block);
}

/* -- submitting -- */

static void poll_for(struct ferry__uring *u, struct ferry_stream *s, enum ferry__op op,
                     unsigned events)
{
    ferry__uring_poll(u, s->fd, events, s, op);
    s->armed |= 1u << op;
}

static void told_later(struct ferry_stream *s, ssize_t n)
{
    s->result = (int)n;
    s->flags |= FERRY__SENT;
    ferry__stream_due(s);
}

static void submit_send(struct ferry__uring *u, struct ferry_stream *s)
{
    struct io_uring_sqe *sqe;
    struct iovec *iov;
    int n, flags;

    if (ferry_chain_file_first(s->out)) {
        ssize_t done = ferry__stream_send_now(s);

        if (done == -EAGAIN)
            poll_for(u, s, FERRY__OP_OUT, POLLOUT);
        else
            told_later(s, done);
        return;
    }
    iov = &u->iovs[u->niovs];
    n = ferry_chain_iov(s->out, iov, FERRY__IOVS_EACH);
    flags = ferry__stream_send_flags(s, iov, n);
    sqe = ferry__uring_sqe(u);
    if (n == 1) {
        size_t len = iov->iov_len < SEND_LEN_MAX ? iov->iov_len : SEND_LEN_MAX;

        io_uring_prep_send(sqe, s->fd, iov->iov_base, len, flags);
    } else {
        struct msghdr *msg = &u->msgs[u->nmsgs++];

        *msg = (struct msghdr){.msg_iov = iov, .msg_iovlen = (size_t)n};
        u->niovs += (unsigned)n;
        io_uring_prep_sendmsg(sqe, s->fd, msg, (unsigned)flags);
    }
    ferry__uring_tag(sqe, s, FERRY__OP_SEND);
    s->armed |= ARMED(SEND);
}

static void arm_receive(struct ferry__uring *u, struct ferry_stream *s)
{
    unsigned group = s->flags & FERRY__LARGE ? FERRY__GROUP_LARGE : FERRY__GROUP_SMALL;
    struct io_uring_sqe *sqe;

    s->flags &= ~(RECV_LARGE | RECV_POLLED | RECV_CANCELLED | OUTGROWN | UNSURE);
    if (u->bufs[group].waiting == 0) {
        s->flags |= RECV_POLLED;
        poll_for(u, s, FERRY__OP_RECV, POLLIN);
        return;
    }
    if (group == FERRY__GROUP_LARGE)
        s->flags |= RECV_LARGE;
    sqe = ferry__uring_sqe(u);
    if (s->flags & ONE_BLOCK)
        io_uring_prep_recv(sqe, s->fd, NULL, 0, 0);
    else
        io_uring_prep_recv_multishot(sqe, s->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = (uint16_t)group;
    ferry__uring_tag(sqe, s, FERRY__OP_RECV);
    s->armed |= ARMED(RECV);
}

/*
 * When bytes and the end come so close behind each other that the kernel looks at both at once, a
 * multishot receive gives the bytes and forgets the end (seen on Linux 6.18), and nothing wakes it
 * again. So after bytes the socket is asked.
 */
static bool missed_the_end(struct ferry_stream *s)
{
    char c;

    if (!(s->flags & UNSURE))
        return false;
    s->flags &= ~UNSURE;
    return recv(s->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) <= 0 && errno != EAGAIN;
}

static void submit_receive(struct ferry__uring *u, struct ferry_stream *s)
{
    bool reading = s->flags & FERRY__READING;

    if (s->flags & FERRY__READ_OVER)
        return;
    if (reading && (s->held || s->flags & FERRY__EOF))
        ferry__stream_due(s);
    if (s->armed & ARMED(RECV)) {
        if (!(s->flags & RECV_CANCELLED) &&
            (s->flags & OUTGROWN || (s->held && !reading) || (reading && missed_the_end(s)))) {
            ferry__uring_cancel(u, s, FERRY__OP_RECV);
            s->flags |= RECV_CANCELLED;
        }
    } else if (s->flags & FERRY__EOF) {
        return;
    } else if (reading && !s->held) {
        arm_receive(u, s);
    } else if (!reading && !(s->armed & ARMED(ERR)) && !(s->flags & FERRY__ERRORS_LAST)) {
        struct io_uring_sqe *sqe = ferry__uring_sqe(u);

        /* A multishot poll fires once per edge, so a half-close does not hide a later reset. */
        io_uring_prep_poll_multishot(sqe, s->fd, POLLERR);
        ferry__uring_tag(sqe, s, FERRY__OP_ERR);
        s->armed |= ARMED(ERR);
    }
}

static void submit_end(struct ferry__uring *u, struct ferry_stream *s)
{
    if (!s->armed) {
        if (s->held || s->flags & (FERRY__EOF | FERRY__READ_OVER))
            s->flags |= FERRY__SPOILED;
        drop_held(s);
        ferry__stream_ended(s);
        return;
    }
    if (s->flags & ALL_CANCELLED)
        return;
    s->flags |= ALL_CANCELLED;
    for (enum ferry__op op = FERRY__OP_RECV; op <= FERRY__OP_ERR; op++)
        if (s->armed & 1u << op)
            ferry__uring_cancel(u, s, op);
}

bool ferry__uring_stream_submit(struct ferry_stream *s)
{
    struct ferry__uring *u = ferry__uring_of(s->loop);

    if (!ferry__uring_room(u, SQES_EACH))
        return false;
    if (s->flags & FERRY__ENDING) {
        submit_end(u, s);
        return true;
    }
    if (s->flags & FERRY__CONNECTING) {
        if (!(s->armed & ARMED(OUT)))
            poll_for(u, s, FERRY__OP_OUT, POLLOUT);
        return true;
    }
    if (s->flags & FERRY__CONNECTED)
        return true;
    if ((s->flags & (FERRY__SENDING | FERRY__SENT)) == FERRY__SENDING &&
        !(s->armed & (ARMED(SEND) | ARMED(OUT))))
        submit_send(u, s);
    submit_receive(u, s);
    return true;
}

/* -- completing -- */

/* The end, or an error that comes in its order. */
static void read_end(struct ferry_stream *s, int err)
{
    s->read_err = err;
    if (s->flags & FERRY__READING && !s->held)
        ferry__stream_tell_read(s, NULL, err);
    else
        s->flags |= FERRY__EOF;
}

static void fail(struct ferry_stream *s, int err)
{
    if (s->flags & FERRY__READ_OVER)
        return;
    if (s->flags & FERRY__ERRORS_LAST) {
        read_end(s, err);
        return;
    }
    drop_held(s);
    ferry__stream_tell_read(s, NULL, err);
}

/* The poll in place of a receive fired: the ring of buffers had run dry. */
static void receive_now(struct ferry_stream *s)
{
    struct ferry_block *b;
    ssize_t n;

    if (!(s->flags & FERRY__READING) || s->held)
        return;
    b = ferry_block_get(&s->loop->blocks,
                        s->flags & FERRY__LARGE ? FERRY_BLOCK_LARGE : FERRY_BLOCK_SMALL);
    n = b ? ferry__recv(s->fd, b->data, b->cap) : -ENOMEM;
    if (n > 0)
        ferry__stream_tell_read(s, b, n);
    else if (n == 0)
        read_end(s, 0);
    else if (n != -EAGAIN && n != -EINTR)
        fail(s, (int)n);
    ferry_block_unref(b);
}

static void got(struct ferry_stream *s, struct ferry__buf *b, uint32_t n)
{
    if (!(s->flags & FERRY__READING) || s->held) {
        hold(s, b, n);
        s->flags |= ONE_BLOCK;
        ferry__stream_flush_later(s);
        return;
    }
    if (n < b->block.cap) {
        s->flags &= ~ONE_BLOCK;
    } else if (s->flags & FERRY__LARGE && !(s->flags & RECV_LARGE)) {
        s->flags |= OUTGROWN;
        ferry__stream_flush_later(s);
    }
    ferry__stream_tell_read(s, &b->block, n);
    ferry_block_unref(&b->block);
}

static void no_bytes(struct ferry_stream *s, struct ferry__bufring *bufs, int res)
{
    switch (res) {
    case 0:
        read_end(s, 0);
        break;
    case -ENOBUFS:
        ferry__bufring_ran_out(bufs);
        break;
    case -ECANCELED:
    case -EAGAIN:
    case -EINTR:
        break;
    default:
        fail(s, res);
    }
}

static void complete_receive(struct ferry_stream *s, int res, uint32_t cqe_flags)
{
    struct ferry__uring *u = ferry__uring_of(s->loop);
    struct ferry__bufring *bufs =
        &u->bufs[s->flags & RECV_LARGE ? FERRY__GROUP_LARGE : FERRY__GROUP_SMALL];
    struct ferry__buf *b = NULL;
    bool polled = s->flags & RECV_POLLED;

    if (!(cqe_flags & IORING_CQE_F_MORE)) {
        s->armed &= ~ARMED(RECV);
        ferry__stream_flush_later(s);
    }
    if (cqe_flags & IORING_CQE_F_BUFFER)
        b = ferry__bufring_take(bufs, cqe_flags, res > 0 ? (uint32_t)res : 0);
    if (s->flags & FERRY__ENDING) {
        if (res != -ECANCELED && res != -ENOBUFS)
            s->flags |= FERRY__SPOILED;
    } else if (s->flags & FERRY__READ_OVER) {
        ; /* an error was told while this was under way */
    } else if (polled && res > 0) {
        receive_now(s);
    } else if (b && res > 0) {
        if (cqe_flags & IORING_CQE_F_MORE) {
            s->flags |= UNSURE;
            ferry__stream_flush_later(s);
        }
        got(s, b, (uint32_t)res);
        return;
    } else {
        no_bytes(s, bufs, res);
    }
    if (b)
        ferry_block_unref(&b->block);
}

static void complete_send(struct ferry_stream *s, int res)
{
    s->armed &= ~ARMED(SEND);
    if (s->flags & FERRY__ENDING || res == -EINTR || res == -EAGAIN)
        ferry__stream_flush_later(s);
    else
        ferry__stream_tell_sent(s, res);
}

static void complete_out(struct ferry_stream *s)
{
    s->armed &= ~ARMED(OUT);
    if (s->flags & FERRY__CONNECTING && !(s->flags & FERRY__ENDING))
        ferry__stream_connect_done(s);
    else
        ferry__stream_flush_later(s);
}

static void complete_err(struct ferry_stream *s, uint32_t cqe_flags)
{
    if (!(cqe_flags & IORING_CQE_F_MORE))
        s->armed &= ~ARMED(ERR);
    if (s->flags & FERRY__ENDING)
        ferry__stream_flush_later(s);
    else if (!(s->flags & FERRY__READING))
        ferry__stream_check_error(s);
}

void ferry__uring_stream_complete(struct ferry_stream *s, enum ferry__op op, int res,
                                  uint32_t cqe_flags)
{
    switch (op) {
    case FERRY__OP_RECV:
        complete_receive(s, res, cqe_flags);
        break;
    case FERRY__OP_SEND:
        complete_send(s, res);
        break;
    case FERRY__OP_OUT:
        complete_out(s);
        break;
    default:
        complete_err(s, cqe_flags);
    }
}

void ferry__uring_stream_deliver(struct ferry_stream *s)
{
    while ((s->flags & (FERRY__READING | FERRY__ENDING)) == FERRY__READING && s->held) {
        struct ferry__buf *b = held_first(s);

        ferry__stream_tell_read(s, &b->block, b->len);
        ferry_block_unref(&b->block);
    }
    if ((s->flags & (FERRY__READING | FERRY__ENDING | FERRY__EOF | FERRY__READ_OVER)) ==
            (FERRY__READING | FERRY__EOF) &&
        !s->held)
        ferry__stream_tell_read(s, NULL, s->read_err);
    if (!(s->armed & ARMED(RECV)))
        ferry__stream_flush_later(s);
}
