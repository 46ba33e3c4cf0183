/* SPDX-License-Identifier: MIT */
/*
 * The pump. Input goes to the machine as it arrives; everything else (offering again what it did
 * not take, sending, the deadline, the end) waits for one task at the end of the turn, so that all
 * that the turn's events made the machine write leaves in one send.
 *
 * A pump that has input kept does not read: the block it keeps is the bound of what a machine that
 * holds back costs.
 */
#include "io/pump.h"

#include <errno.h>

#include "base/assert.h"

enum {
    CLOSED = 1,
    DETACHING = 2,
    CONNECTING = 4,
    HELD = 8,        /* by the owner */
    KEPT = 16,       /* in_block is ours: the machine has not taken all of it */
    AT_END = 32,     /* the peer has closed its sending side */
    END_TOLD = 64,   /* and the machine knows */
    BROKEN = 128,    /* the machine refuses input for good */
    FAILED = 256,    /* the socket */
    SHUT = 512,      /* our sending side */
    FINISHED = 1024, /* told */
    ERRORS_LAST = 2048,
    UNHEARD = 4096, /* the peer takes nothing any more, but may have said something */
    OVER = CLOSED | DETACHING | FAILED,
};

static struct ferry_pump *pump_of(struct ferry_stream *s)
{
    return ferry_container(s, struct ferry_pump, stream);
}

static uint64_t now(const struct ferry_pump *p)
{
    return ferry_loop_now(p->stream.loop);
}

static void give_up(struct ferry_pump *p)
{
    p->flags |= FAILED;
    ferry_timer_stop(&p->timer);
    ferry_task_cancel(&p->flush);
}

static void fail(struct ferry_pump *p, int err)
{
    if (p->flags & OVER)
        return;
    give_up(p);
    p->fns->failed(p, err);
}

static void give(struct ferry_pump *p)
{
    ssize_t n = p->ops->recv(p->m, p->in.p, p->in.len, now(p));

    if (n < 0) {
        p->flags |= BROKEN;
        p->in.len = 0;
    } else {
        p->in = ferry_slice_from(p->in, (size_t)n);
    }
    p->fns->ready(p);
}

/* Until all is taken, or twice in a row nothing is: the first time an event may have been in the
 * way. */
static void feed(struct ferry_pump *p)
{
    for (int refused = 0; p->in.len && refused < 2 && !(p->flags & OVER);) {
        size_t before = p->in.len;

        give(p);
        refused = p->in.len == before ? refused + 1 : 0;
    }
}

static void release(struct ferry_pump *p)
{
    if (p->flags & KEPT)
        ferry_block_unref(p->in_block);
    p->flags &= ~KEPT;
    p->in_block = NULL;
    p->in = ferry_slice(NULL, 0);
}

/* -- the end of the turn -- */

static void offer_again(struct ferry_pump *p)
{
    if (p->flags & KEPT) {
        feed(p);
        if (p->flags & OVER)
            return;
        if (p->in.len == 0)
            release(p);
    }
    if ((p->flags & (AT_END | END_TOLD | KEPT | BROKEN)) == AT_END) {
        p->flags |= END_TOLD;
        give(p);
    }
}

static void send_output(struct ferry_pump *p, const struct ferry_chain *out)
{
    bool sending = ferry_stream_is_sending(&p->stream);

    if (p->flags & (CONNECTING | UNHEARD))
        return;
    if (out->len) {
        if (!sending)
            ferry_stream_send(&p->stream, out);
        return;
    }
    if (!sending && !(p->flags & SHUT) && p->ops->wants_shutdown && p->ops->wants_shutdown(p->m)) {
        p->flags |= SHUT;
        ferry_stream_shutdown(&p->stream);
    }
    /* Also while sending: a machine that gives up on a peer who does not read shows no output any
     * more, but a send of it may hang for ever. */
    if (!(p->flags & FINISHED) && p->ops->finished(p->m)) {
        p->flags |= FINISHED;
        p->fns->finished(p);
    }
}

/* The timer runs no earlier than it must and no later than it may: it is moved only forward, and
 * when it fires too early it is set anew. Deadlines move with every request, timers seldom. */
static void watch_deadline(struct ferry_pump *p)
{
    uint64_t at = p->ops->deadline(p->m);

    if (at < p->timer.at_ms)
        ferry_timer_set(p->stream.loop, &p->timer, at);
}

static void flush(struct ferry_task *t)
{
    struct ferry_pump *p = ferry_container(t, struct ferry_pump, flush);
    const struct ferry_chain *out;

    offer_again(p);
    if (p->flags & OVER)
        return;
    ferry_stream_read(&p->stream, !(p->flags & (HELD | KEPT | AT_END | BROKEN | CONNECTING)));
    watch_deadline(p);
    out = p->ops->output(p->m);
    if (out->err < 0)
        fail(p, out->err);
    else
        send_output(p, out);
}

static void on_timer(struct ferry_timer *t)
{
    struct ferry_pump *p = ferry_container(t, struct ferry_pump, timer);

    if (p->ops->deadline(p->m) > now(p)) {
        watch_deadline(p);
        return;
    }
    p->ops->tick(p->m, now(p));
    p->fns->ready(p);
    ferry_pump_kick(p);
}

/* -- the stream -- */

static void on_connected(struct ferry_stream *s, int err)
{
    struct ferry_pump *p = pump_of(s);

    p->flags &= ~CONNECTING;
    if (p->flags & OVER)
        return;
    if (err < 0)
        give_up(p);
    ferry_pump_kick(p);
    p->fns->connected(p, err);
}

static void on_read(struct ferry_stream *s, struct ferry_block *b, const char *data, ssize_t n)
{
    struct ferry_pump *p = pump_of(s);

    if (p->flags & OVER)
        return;
    if (n < 0) {
        fail(p, (int)n);
        return;
    }
    if (n == 0) {
        p->flags |= AT_END;
    } else {
        p->in_block = b;
        p->in = ferry_slice(data, (size_t)n);
        feed(p);
        if (p->in.len && !(p->flags & OVER)) {
            ferry_block_ref(b);
            p->flags |= KEPT;
            ferry_stream_read(s, false);
        } else {
            release(p);
        }
    }
    ferry_pump_kick(p);
}

static void on_sent(struct ferry_stream *s, ssize_t n)
{
    struct ferry_pump *p = pump_of(s);

    if (p->flags & OVER)
        return;
    if (n < 0) {
        if (p->flags & ERRORS_LAST && (n == -EPIPE || n == -ECONNRESET))
            p->flags |= UNHEARD;
        else
            fail(p, (int)n);
        return;
    }
    p->ops->sent(p->m, (size_t)n, now(p));
    if (p->fns->sent)
        p->fns->sent(p, (size_t)n);
    ferry_pump_kick(p);
}

static void on_detached(struct ferry_stream *s, int fd)
{
    struct ferry_pump *p = pump_of(s);

    release(p);
    p->fns->detached(p, fd);
}

static void on_closed(struct ferry_stream *s)
{
    struct ferry_pump *p = pump_of(s);

    if (p->flags & DETACHING) {
        on_detached(s, -1);
        return;
    }
    release(p);
    p->fns->closed(p);
}

static const struct ferry_stream_fns stream_fns = {
    .connected = on_connected,
    .read = on_read,
    .sent = on_sent,
    .closed = on_closed,
    .detached = on_detached,
};

/* -- the owner -- */

static void init(struct ferry_pump *p, const struct ferry_pump_fns *fns,
                 const struct ferry_machine *ops, void *m)
{
    *p = (struct ferry_pump){.fns = fns, .ops = ops, .m = m};
    ferry_task_init(&p->flush, flush);
    ferry_timer_init(&p->timer, on_timer);
}

int ferry_pump_open(struct ferry_loop *loop, struct ferry_pump *p, const struct ferry_pump_fns *fns,
                    const struct ferry_machine *ops, void *m, int fd)
{
    int r;

    init(p, fns, ops, m);
    r = ferry_stream_open(loop, &p->stream, &stream_fns, fd);
    if (r < 0)
        return r;
    ferry_pump_kick(p);
    return 0;
}

int ferry_pump_connect(struct ferry_loop *loop, struct ferry_pump *p,
                       const struct ferry_pump_fns *fns, const struct ferry_machine *ops, void *m,
                       const struct sockaddr *to, socklen_t len)
{
    int r;

    init(p, fns, ops, m);
    p->flags = CONNECTING;
    r = ferry_stream_connect(loop, &p->stream, &stream_fns, to, len);
    if (r < 0)
        return r;
    ferry_pump_kick(p);
    return 0;
}

void ferry_pump_kick(struct ferry_pump *p)
{
    if (!(p->flags & OVER))
        ferry_task_defer(p->stream.loop, &p->flush);
}

void ferry_pump_hold(struct ferry_pump *p, bool on)
{
    p->flags = on ? p->flags | HELD : p->flags & ~HELD;
    if (on && !(p->flags & OVER))
        ferry_stream_read(&p->stream, false);
    ferry_pump_kick(p);
}

void ferry_pump_errors_last(struct ferry_pump *p)
{
    p->flags |= ERRORS_LAST;
    ferry_stream_errors_last(&p->stream);
}

void ferry_pump_close(struct ferry_pump *p)
{
    if (p->flags & CLOSED)
        return;
    p->flags = (p->flags | CLOSED) & ~DETACHING;
    ferry_timer_stop(&p->timer);
    ferry_task_cancel(&p->flush);
    ferry_stream_close(&p->stream);
}

void ferry_pump_reset(struct ferry_pump *p)
{
    if (p->flags & CLOSED)
        return;
    ferry_pump_close(p);
    ferry_stream_reset(&p->stream);
}

void ferry_pump_detach(struct ferry_pump *p)
{
    if (p->flags & (CLOSED | DETACHING))
        return;
    ferry_timer_stop(&p->timer);
    ferry_task_cancel(&p->flush);
    if (p->in.len || p->flags & (KEPT | AT_END | FAILED | CONNECTING))
        ferry_stream_close(&p->stream);
    else
        ferry_stream_detach(&p->stream);
    p->flags |= DETACHING;
}
