/* SPDX-License-Identifier: MIT */
#ifndef FERRY_IO_LOOP_H
#define FERRY_IO_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/block.h"
#include "base/list.h"
#include "base/slice.h"
#include "ferry/err.h"
#include "ferry/loop.h"

/*
 * The event loop. Completion-based: an operation is submitted, and its function is called once when
 * it is done, always from ferry_loop_run and never from within the call that submitted it. Two back
 * ends with one behaviour: io_uring and epoll. A loop and all that belongs to it are used by one
 * thread, except ferry_loop_post and ferry_loop_stop.
 *
 * What programs may see of it stands in ferry/loop.h.
 *
 * One turn: wait; complete what is done (streams, listeners, watches, posts, timers); run the
 * deferred tasks; submit. So what the events of one turn wrote leaves together.
 */

/* Milliseconds of CLOCK_MONOTONIC at the beginning of this turn; _us is read when asked. */
uint64_t ferry_loop_now(const struct ferry_loop *);
uint64_t ferry_now_us(void);

/* The loop's own blocks, for everything its thread sends. */
struct ferry_blocks *ferry_loop_blocks(struct ferry_loop *);

/* -- tasks: run once at the end of the turn
 * ------------------------------------------------------------------- */

struct ferry_task {
    struct ferry_list link;
    void (*run)(struct ferry_task *);
};
void ferry_task_init(struct ferry_task *, void (*run)(struct ferry_task *));
void ferry_task_defer(struct ferry_loop *,
                      struct ferry_task *); /* again while waiting: no effect */
void ferry_task_cancel(struct ferry_task *);

/* -- timers: millisecond deadlines, never early, at most about 20 ms late
 * -------------------------------------- */

struct ferry_timer {
    struct ferry_list link;
    uint64_t at_ms;
    void (*fire)(struct ferry_timer *);
};
void ferry_timer_init(struct ferry_timer *, void (*fire)(struct ferry_timer *));
void ferry_timer_set(struct ferry_loop *, struct ferry_timer *,
                     uint64_t at_ms); /* replaces; FERRY_NEVER stops */
void ferry_timer_stop(struct ferry_timer *);

/* -- posts: run in the loop's thread, from any thread
 * ---------------------------------------------------------- */

struct ferry_post {
    struct ferry_post *next;
    void (*run)(struct ferry_post *); /* the post is the receiver's again when this is called */
};
void ferry_loop_post(struct ferry_loop *, struct ferry_post *);

/* -- listeners
 * -------------------------------------------------------------------------------------------------
 */

struct ferry_listener {
    struct ferry_loop *loop;
    int fd;
    /* A connection: non-blocking, close-on-exec, yours to close. EMFILE and the like pause the
     * listener by themselves. */
    void (*accepted)(struct ferry_listener *, int fd);
    /* One that the kernel had accepted before it knew that the listener is closed; yours to close.
     * NULL: the loop closes it. */
    void (*late)(struct ferry_listener *, int fd);
    /* Set before it is closed: what waits then comes as `late` ones too, lest nobody else who
     * accepts from this socket hear of it. Of a shared one, what it was woken for. */
    bool takes_rest;
    /* Set before it is opened: others accept from this socket too. Then it takes one connection
     * each time it is woken, and has a descriptor in reserve for the one that finds none left. */
    bool shared;
    void (*closed)(
        struct ferry_listener *); /* after ferry_listener_close: the memory is the caller's again */
    /* the loop's own */
    struct ferry_timer pause;
    struct ferry_task work;
    int spare; /* the descriptor in reserve, or -1 */
    uint8_t state;
};

/*
 * accepted and closed (which may be NULL) are set before. 0 or -errno; on failure fd is still the
 * caller's and `closed` is not called.
 */
FERRY_MUST_CHECK
int ferry_listener_open(struct ferry_loop *, struct ferry_listener *, int fd);

/* `accepted` is not called any more; twice has no further effect. */
void ferry_listener_close(struct ferry_listener *, bool close_fd);

/* -- watches: a descriptor that becomes readable (signalfd, pidfd, pipes of children)
 * ------------------------- */

struct ferry_watch {
    struct ferry_loop *loop;
    int fd;
    void (*readable)(struct ferry_watch *); /* level-triggered; hang-up counts as readable */
    void (*closed)(struct ferry_watch *);   /* as of a listener */
    /* the loop's own */
    struct ferry_task work;
    uint8_t state;
};

/* readable and closed (which may be NULL) are set before. 0 or -errno, as for listeners. */
FERRY_MUST_CHECK
int ferry_watch_open(struct ferry_loop *, struct ferry_watch *, int fd);
void ferry_watch_close(struct ferry_watch *); /* does not close fd */

#endif
