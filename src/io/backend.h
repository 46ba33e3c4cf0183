/* SPDX-License-Identifier: MIT */
#ifndef FERRY_IO_BACKEND_H
#define FERRY_IO_BACKEND_H

#include <stdatomic.h>

#include "base/machine.h"
#include "io/stream.h"
#include "io/wheel.h"

/*
 * What the loop and its two back ends know of each other. A back end waits in the kernel, turns
 * what happened into calls, and submits what streams want. Everything a stream wants stands in its
 * flags: whoever changes them puts it on the loop's `flush` list, and at the end of the turn the
 * back end looks at it once and does what is missing. What must be told without the kernel having
 * an event for it goes through the `due` list.
 */

struct ferry__backend {
    const char *name;
    size_t size; /* of its loop, which begins with a struct ferry_loop */
    int (*init)(struct ferry_loop *);
    void (*fini)(struct ferry_loop *); /* of a loop that init made, wholly */

    /* The thread that runs the loop comes and goes: 0 or -errno. */
    int (*enter)(struct ferry_loop *);
    void (*leave)(struct ferry_loop *);

    /* Waits (at most timeout_ms, -1: for ever), calls ferry__loop_woke, then tells what happened.
     */
    int (*wait)(struct ferry_loop *, int64_t timeout_ms);

    /* Before the first use of a descriptor (a stream may be connecting): 0 or -errno. */
    int (*stream_add)(struct ferry_stream *);
    /* Before it is closed or handed out. */
    void (*stream_remove)(struct ferry_stream *);
    /* From the flush list: does what the flags ask for and is not under way. False when there is no
     * room now: it stays on the list. A stream that is closing or detaching, with nothing under way
     * any more, gets FERRY__ENDED and becomes due. */
    bool (*stream_submit)(struct ferry_stream *);
    /* From the due list: goes on telling what was read. */
    void (*stream_deliver)(struct ferry_stream *);

    int (*listener_start)(struct ferry_listener *);
    /* True when nothing is under way any more; else ferry__listener_stopped follows. */
    bool (*listener_stop)(struct ferry_listener *);
    int (*watch_start)(struct ferry_watch *);
    bool (*watch_stop)(struct ferry_watch *); /* likewise */

    /* For a loop that another one drives: a descriptor, the back end's, that becomes readable when
     * `wait` would find something, when wake_fd is written to and when timer_fd expires. Or
     * -errno. */
    int (*drive)(struct ferry_loop *);
    /* The end of a step, before the descriptor is looked at: submits what waits. 0 or -errno. */
    int (*settle)(struct ferry_loop *);
};

extern const struct ferry__backend ferry__uring, ferry__epoll;

struct ferry_loop {
    const struct ferry__backend *backend;
    struct ferry_blocks blocks;
    uint64_t now_ms;
    struct ferry_list tasks;
    struct ferry_list flush, due; /* streams */
    size_t told;                  /* bytes told to streams since the last flush */
    _Atomic(struct ferry_post *) posts;
    atomic_bool stop;
    atomic_bool asleep; /* in the kernel, or about to be: a post must write to wake_fd */
    int wake_fd;        /* an eventfd that is never read; back ends wait for its edges */
    bool inside;        /* a turn is under way, or the next follows by itself */
    bool driven;        /* by another loop, which watches drive_fd */
    int drive_fd, timer_fd;
    uint64_t timer_ms; /* when timer_fd expires */
    char why[120];
    struct ferry__wheel wheel;
};

/* -- for a loop that is driven (drive.c) -- */

/* One turn: 0 or -errno. */
int ferry__loop_turn(struct ferry_loop *, int64_t timeout_ms);
bool ferry__loop_has_work(const struct ferry_loop *);
/* Makes a sleeping loop turn, from any thread. */
void ferry__loop_wake(struct ferry_loop *);

/* Something is to be done that the kernel has no event for. */
static inline void ferry__loop_touched(struct ferry_loop *loop)
{
    if (__builtin_expect(loop->driven && !loop->inside, 0))
        ferry__loop_wake(loop);
}

/*
 * Bulk is carried in portions that stay in the processor's cache between the receive and the send:
 * after so many bytes the rest of the turn waits until what came is sent. Small messages of many
 * streams still leave together.
 */
#define FERRY__PORTION (128 * 1024)

static inline bool ferry__loop_full(const struct ferry_loop *loop)
{
    return loop->told >= FERRY__PORTION;
}

/* -- for the back ends -- */

/* The wait is over: takes the time. */
void ferry__loop_woke(struct ferry_loop *);

enum ferry__state {
    FERRY__OPEN = 1,
    FERRY__SHUT = 2,       /* closing */
    FERRY__SHUT_FD = 4,    /* and its descriptor with it */
    FERRY__PAUSED = 8,     /* a listener that ran out of descriptors */
    FERRY__ARMED = 16,     /* the kernel has an operation of it */
    FERRY__CANCELLED = 32, /* and was asked to end it */
};

/* A connection, or -errno of accept, for which the listener may pause. */
void ferry__listener_accepted(struct ferry_listener *, int fd);
void ferry__listener_stopped(struct ferry_listener *);
/* It is closed, and was perhaps woken for a connection that it did not take. */
void ferry__listener_take_rest(struct ferry_listener *);
void ferry__watch_stopped(struct ferry_watch *);

enum ferry__stream_flag {
    FERRY__READING = 1 << 0,    /* the owner wants to read */
    FERRY__LARGE = 1 << 1,      /* with large blocks */
    FERRY__READ_OVER = 1 << 2,  /* the end or an error was told */
    FERRY__EOF = 1 << 3,        /* the end has come and is not told yet */
    FERRY__SENDING = 1 << 4,    /* `out` is to be sent, or its result to be told */
    FERRY__SENT = 1 << 5,       /* ... the latter */
    FERRY__CONNECTING = 1 << 6, /* until the kernel is done */
    FERRY__CONNECTED = 1 << 7,  /* then until it is told */
    FERRY__CLOSING = 1 << 8,
    FERRY__RESET = 1 << 9,
    FERRY__DETACHING = 1 << 10,
    FERRY__SPOILED = 1 << 11, /* bytes came after detach was called */
    FERRY__ENDED = 1 << 12,   /* nothing under way: close or hand out */
    FERRY__ERRORS_LAST = 1 << 13,
    FERRY__OWN_0 = 1 << 16, /* this and higher: the back end's own */
    FERRY__ENDING = FERRY__CLOSING | FERRY__DETACHING,
};

static inline void ferry__stream_flush_later(struct ferry_stream *s)
{
    if (ferry_list_empty(&s->flush))
        ferry_list_push(&s->loop->flush, &s->flush);
    ferry__loop_touched(s->loop);
}

static inline void ferry__stream_due(struct ferry_stream *s)
{
    if (ferry_list_empty(&s->due))
        ferry_list_push(&s->loop->due, &s->due);
    ferry__loop_touched(s->loop);
}

/* The stream is ending and has nothing under way. */
static inline void ferry__stream_ended(struct ferry_stream *s)
{
    s->flags |= FERRY__ENDED;
    ferry__stream_due(s);
}

/* n as of ferry_stream_fns. The stream may be closing afterwards. */
static inline void ferry__stream_tell_read(struct ferry_stream *s, struct ferry_block *b, ssize_t n)
{
    if (n <= 0)
        s->flags |= FERRY__READ_OVER;
    else
        s->loop->told += (size_t)n;
    s->fns->read(s, b, b ? b->data : NULL, n);
}

static inline void ferry__stream_tell_sent(struct ferry_stream *s, ssize_t n)
{
    s->flags &= ~(FERRY__SENDING | FERRY__SENT);
    s->out = NULL;
    s->fns->sent(s, n);
}

/* recv(2) without waiting: bytes or -errno. */
ssize_t ferry__recv(int fd, void *to, size_t n);

/* Sends from the front of `out` without waiting: bytes sent, -EAGAIN, or another -errno. */
ssize_t ferry__stream_send_now(struct ferry_stream *);

/* The flags of the send of the memory at the front: it is followed by a file or not. */
int ferry__stream_send_flags(const struct ferry_stream *, const struct iovec *, int n);

/* The socket became writable, or failed, while connecting: tells. */
void ferry__stream_connect_done(struct ferry_stream *);

/* An error waits at the socket while nobody reads: tells it. */
void ferry__stream_check_error(struct ferry_stream *);

/* Tells what is due. */
void ferry__stream_deliver(struct ferry_stream *);

#endif
