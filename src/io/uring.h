/* SPDX-License-Identifier: MIT */
#ifndef FERRY_IO_URING_H
#define FERRY_IO_URING_H

#include <liburing.h>

#include "io/backend.h"

/* The io_uring back end: uring.c (the ring itself), uring_stream.c and bufring.c. */

/* -- receive buffers: blocks that lie in a ring where the kernel takes them from -- */

struct ferry__buf;

struct ferry__bufring {
    struct io_uring_buf_ring *ring;
    struct ferry__buf **all; /* by their number; NULL where there is none */
    uint16_t *unused;        /* a stack of the numbers without a buffer */
    unsigned nunused;
    struct ferry__buf *spare; /* neither in the ring nor in use */
    unsigned nspare;
    unsigned entries; /* how many buffers there may be altogether */
    unsigned waiting; /* in the ring, as far as we know */
    unsigned want;    /* keep so many waiting, if memory can be had */
    unsigned want_min;
    uint32_t filled16; /* 16 times the bytes that buffers were lately filled with, on average */
    uint32_t cap;
    uint16_t group;
};

struct ferry__buf {
    struct ferry__buf *next; /* of the same stream, held; or spare */
    uint32_t len;            /* received, while held */
    uint16_t number;
    struct ferry_block block;
};

/* Registers the group with the kernel and fills it: 0 or -errno. fini takes a zeroed one. */
int ferry__bufring_init(struct ferry__bufring *, struct io_uring *, uint16_t group, uint32_t cap,
                        unsigned entries, unsigned want);
void ferry__bufring_fini(struct ferry__bufring *);

/* The buffer a completion names, with one reference; its put gives it back to the ring. */
struct ferry__buf *ferry__bufring_take(struct ferry__bufring *, uint32_t cqe_flags,
                                       uint32_t filled);

/* The kernel found the ring empty: have more waiting from now on, unless they would grow cold. */
void ferry__bufring_ran_out(struct ferry__bufring *);

/* -- the ring -- */

#define FERRY__IOVS 1024 /* of the sends of one submission */
#define FERRY__IOVS_EACH 32
#define FERRY__MSGS 256

enum ferry__group { FERRY__GROUP_SMALL, FERRY__GROUP_LARGE, FERRY__GROUPS };

struct ferry__uring {
    struct ferry_loop loop;
    struct io_uring ring;
    struct ferry__bufring bufs[FERRY__GROUPS];
    bool enabled; /* bound to the thread that runs the loop */
    bool wake_armed;
    int drive_fd, event_fd; /* of a loop that is driven; else -1 */
    unsigned niovs, nmsgs;  /* used since the last submission */
    struct iovec iovs[FERRY__IOVS];
    struct msghdr msgs[FERRY__MSGS];
};

/* What a completion belongs to: in the low bits of its user data, the pointer in the others. */
enum ferry__op {
    FERRY__OP_NONE,   /* nobody waits for it */
    FERRY__OP_RECV,   /* stream */
    FERRY__OP_SEND,   /* stream */
    FERRY__OP_OUT,    /* stream: poll for room, or for the end of connecting */
    FERRY__OP_ERR,    /* stream: poll for errors while reading is off */
    FERRY__OP_ACCEPT, /* listener */
    FERRY__OP_WATCH,  /* watch */
    FERRY__OP_WAKE,
    FERRY__OP_MASK = 7,
};

static inline struct ferry__uring *ferry__uring_of(struct ferry_loop *loop)
{
    return (struct ferry__uring *)loop;
}

/* Room for `n` submissions and one send's vectors, submitting what waits if need be: false when the
 * kernel takes none now. */
bool ferry__uring_room(struct ferry__uring *, unsigned n);

/* The next submission; there must be room. */
struct io_uring_sqe *ferry__uring_sqe(struct ferry__uring *);

static inline void ferry__uring_tag(struct io_uring_sqe *sqe, const void *p, enum ferry__op op)
{
    sqe->user_data = (uintptr_t)p | op;
}

void ferry__uring_poll(struct ferry__uring *, int fd, unsigned events, const void *p,
                       enum ferry__op);

/* Asks the kernel to end an operation; its own completion still comes. */
void ferry__uring_cancel(struct ferry__uring *, const void *p, enum ferry__op);

/* -- streams -- */

int ferry__uring_stream_add(struct ferry_stream *);
void ferry__uring_stream_remove(struct ferry_stream *);
bool ferry__uring_stream_submit(struct ferry_stream *);
void ferry__uring_stream_deliver(struct ferry_stream *);
void ferry__uring_stream_complete(struct ferry_stream *, enum ferry__op, int res, uint32_t flags);

#endif
