/* SPDX-License-Identifier: MIT */
#ifndef FERRY_LOOP_H
#define FERRY_LOOP_H

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The event loop that clients and gateways run on. It belongs to one thread; ferry_loop_stop alone
 * may be called from others. It can be run by itself, or be driven by another loop: that one
 * watches a single descriptor and calls ferry_loop_step when it is readable.
 */

struct ferry_loop;

enum ferry_io { FERRY_IO_AUTO, FERRY_IO_URING, FERRY_IO_EPOLL };

/*
 * A loop with the back end asked for; AUTO takes epoll when the kernel refuses io_uring. 0 or
 * -errno (for URING what the kernel said). It may be made in one thread and run in another, but
 * then always in that one.
 */
int ferry_loop_new(enum ferry_io, struct ferry_loop **out);

/* Everything on it must be closed before. Takes NULL. */
void ferry_loop_free(struct ferry_loop *);

/* "io_uring" or "epoll"; and why AUTO fell back, "" when it did not. Memory of the loop. */
const char *ferry_loop_backend(const struct ferry_loop *);
const char *ferry_loop_why(const struct ferry_loop *);

/* Runs until ferry_loop_stop (also when that came before): 0, or -errno when the back end fails. */
int ferry_loop_run(struct ferry_loop *);
void ferry_loop_stop(struct ferry_loop *); /* from any thread and from signal handlers */

/*
 * For a loop of the caller's: a descriptor that is readable whenever ferry_loop_step has something
 * to do, timers included; it stays the loop's. -errno when it cannot be made. And one turn without
 * waiting: 0 or -errno. After something was started from outside of the loop's own functions (an
 * exchange, a write) no step is needed: the descriptor becomes readable. Not to be mixed with
 * ferry_loop_run.
 */
int ferry_loop_fd(struct ferry_loop *);
int ferry_loop_step(struct ferry_loop *);

#ifdef __cplusplus
}
#endif

#endif
