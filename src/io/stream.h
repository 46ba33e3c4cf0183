/* SPDX-License-Identifier: MIT */
#ifndef FERRY_IO_STREAM_H
#define FERRY_IO_STREAM_H

#include <sys/types.h>

#include "base/chain.h"
#include "io/loop.h"

/*
 * A connected (or connecting) stream socket on a loop. Functions are called from the loop only. The
 * structure is embedded in its owner and must stay until `closed` or `detached` was called.
 */

struct ferry_stream;

struct ferry_stream_fns {
    /* Connecting ended: 0 or -errno. Only after ferry_stream_connect. */
    void (*connected)(struct ferry_stream *, int err);
    /*
     * n > 0: `data` lies in `b`; take a reference to keep it longer than the call. n == 0: the peer
     * closed its sending side. n < 0: -errno (ECONNRESET and the like; also told while reading is
     * off). After n <= 0 no more is read.
     */
    void (*read)(struct ferry_stream *, struct ferry_block *b, const char *data, ssize_t n);
    /* The send is done: bytes sent (perhaps fewer than asked), or -errno. */
    void (*sent)(struct ferry_stream *, ssize_t n);
    void (*closed)(struct ferry_stream *);
    void (*detached)(struct ferry_stream *, int fd);
};

struct ferry_stream {
    struct ferry_loop *loop;
    const struct ferry_stream_fns *fns;
    /* the loop's own */
    const struct ferry_chain *out; /* what is being sent */
    struct ferry_block *held;      /* what came while reading was off: the last of a ring */
    struct ferry_list flush, due;  /* has something to submit, something to tell */
    int fd;
    int result;   /* of a send or connect, until it is told */
    int read_err; /* of the end that has come and is not told yet */
    uint32_t flags;
    uint32_t armed; /* operations that the kernel has not ended */
};

/* Puts a connected, non-blocking socket on the loop, reading off; owns fd from here on, also on
 * failure: 0 or -errno. */
FERRY_MUST_CHECK
int ferry_stream_open(struct ferry_loop *, struct ferry_stream *, const struct ferry_stream_fns *,
                      int fd);

/*
 * Makes a socket (TCP_NODELAY where that exists) and connects it; `connected` tells the end, and
 * after a failed one the stream is to be closed. -errno only when no socket could be made. A full
 * backlog of a unix socket is told as -EAGAIN: it is the caller's to try again later. A send may be
 * asked for before; it begins when the connection stands.
 */
FERRY_MUST_CHECK
int ferry_stream_connect(struct ferry_loop *, struct ferry_stream *,
                         const struct ferry_stream_fns *, const struct sockaddr *, socklen_t);

/* Reading on or off. While off, bytes stay in the kernel, but for a bounded few that are delivered
 * when it is on again. */
void ferry_stream_read(struct ferry_stream *, bool on);

/* A receive of up to 64 KiB at a time rather than 4 KiB: for bodies and application connections.
 * Any time. */
void ferry_stream_read_large(struct ferry_stream *, bool large);

/* Room in the kernel for half a MiB of output, where the system allows so much: for connections
 * with large answers. On Unix sockets only, since TCP finds its own measure. Any time. */
void ferry_stream_send_large(struct ferry_stream *);

/* Errors of the socket come in order, behind the bytes that came before them, and only while
 * reading is on: for connections whose peer's last words count more than the news that it is gone.
 * Any time. */
void ferry_stream_errors_last(struct ferry_stream *);

/*
 * Sends the memory at the front of a chain (or, when a file range is first, from the file), one
 * send at a time; `sent` tells how much left. The chain's front must stay as it is until then (or
 * until `closed`); appending is fine, and what is appended in the same turn may still go along. The
 * chain is not empty. A file that ends before its range does is told as -EIO.
 */
void ferry_stream_send(struct ferry_stream *, const struct ferry_chain *);
bool ferry_stream_is_sending(const struct ferry_stream *);

/* No more will be sent: the peer sees the end. Only while nothing is being sent. */
void ferry_stream_shutdown(struct ferry_stream *);

/* Ends every operation, closes the descriptor, then calls `closed` (from the loop). No other
 * function is called. */
void ferry_stream_close(struct ferry_stream *);

/* Closes so that the peer sees a reset: for a response that was cut. TCP only; the same as close
 * elsewhere. */
void ferry_stream_reset(struct ferry_stream *);

/* Like close, but hands the open descriptor out through `detached`, for another loop to take. Only
 * while not sending. Bytes that arrived meanwhile, or the end, make it close instead: detached gets
 * -1. Closing it while that is under way closes it after all. */
void ferry_stream_detach(struct ferry_stream *);

#endif
