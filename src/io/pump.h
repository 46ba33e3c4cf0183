/* SPDX-License-Identifier: MIT */
#ifndef FERRY_IO_PUMP_H
#define FERRY_IO_PUMP_H

#include "base/machine.h"
#include "io/stream.h"

/*
 * Joins a machine to a stream: what arrives goes to the machine as far as it takes it, the owner
 * pulls events, and at the end of the turn the machine's output is sent. Also keeps the machine's
 * deadline.
 */

struct ferry_pump;

/* Each of these may close the pump; the machine must stay until `closed` or `detached`, for the
 * kernel may still be sending from its output. */
struct ferry_pump_fns {
    /* Events may wait: pull them all. Called after each recv and tick. An error of the machine is
     * seen there too; no more input is offered after one. */
    void (*ready)(struct ferry_pump *);
    /* The socket failed (-errno: reset, broken pipe ...), or memory for output ran out. The
     * machine's output is lost, and nothing else follows. Close the pump. */
    void (*failed)(struct ferry_pump *, int err);
    /* The machine is finished and its output sent, and lingering is over: close the pump (or reuse
     * what is left). Called once. */
    void (*finished)(struct ferry_pump *);
    void (*connected)(struct ferry_pump *, int err); /* after ferry_pump_connect only */
    /* Output left (bytes of the machine's chain); may be NULL. For owners that hold back while much
     * is queued. */
    void (*sent)(struct ferry_pump *, size_t n);
    void (*closed)(struct ferry_pump *);           /* the memory is the owner's again */
    void (*detached)(struct ferry_pump *, int fd); /* after ferry_pump_detach only */
};

struct ferry_pump {
    struct ferry_stream stream;
    const struct ferry_pump_fns *fns;
    const struct ferry_machine *ops;
    void *m;
    /* What the machine reads from now, also while `ready` runs, or will be offered again; NULL
     * otherwise. */
    struct ferry_block *in_block;
    struct ferry_slice in; /* the part of it not yet taken */
    /* the pump's own */
    struct ferry_task flush;
    struct ferry_timer timer;
    uint16_t flags;
};

/* Adopts a connected socket and starts reading. fd is owned from here on, also on failure: 0 or
 * -errno. */
FERRY_MUST_CHECK
int ferry_pump_open(struct ferry_loop *, struct ferry_pump *, const struct ferry_pump_fns *,
                    const struct ferry_machine *, void *m, int fd);

/* Connects first; `connected` tells. Output queued before is sent as soon as it is. */
FERRY_MUST_CHECK
int ferry_pump_connect(struct ferry_loop *, struct ferry_pump *, const struct ferry_pump_fns *,
                       const struct ferry_machine *, void *m, const struct sockaddr *, socklen_t);

/* The owner did something to the machine (wrote, answered, wants more): at the end of the turn the
 * input that waits is offered again, output sent, the deadline looked at. Cheap, and may be called
 * often. */
void ferry_pump_kick(struct ferry_pump *);

/* Holds back reading from the socket (on = true: stop). For owners whose other side is slow. What
 * was read before is still offered to the machine. */
void ferry_pump_hold(struct ferry_pump *, bool on);

/* The peer's last words count: when it has closed, or does not want what we send, all that it said
 * before is still read, and only then the pump fails. */
void ferry_pump_errors_last(struct ferry_pump *);

/* Ends it now; queued output is dropped. `closed` follows from the loop. Twice has no further
 * effect. */
void ferry_pump_close(struct ferry_pump *);
void ferry_pump_reset(struct ferry_pump *); /* so that a TCP peer sees a reset */

/* Takes the socket off the loop; only while the machine has no output. `detached` follows, with -1
 * and the socket closed if bytes or the end came meanwhile or wait in `in`; the pump's memory is
 * the owner's again then. Nothing else is called, unless ferry_pump_close comes before. */
void ferry_pump_detach(struct ferry_pump *);

#endif
