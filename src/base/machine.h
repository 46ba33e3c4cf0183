/* SPDX-License-Identifier: MIT */
#ifndef FERRY_BASE_MACHINE_H
#define FERRY_BASE_MACHINE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/chain.h"

/*
 * The one shape of every protocol machine (fcgi, http, smtp). A machine does no input or output: it
 * is given bytes and the time, and is asked for events, bytes and its next deadline. One pump
 * (io/pump.h) joins any of them to a socket; tests join two of them in memory.
 *
 * Each machine has, beside these, its own typed ferry_X_event(m, &ev), which is pulled until it
 * returns 0.
 */

#define FERRY_NEVER UINT64_MAX

struct ferry_machine {
    /*
     * Gives n bytes to the machine: how many it took, fewer when an event waits to be pulled (call
     * again after that) or when the machine does not want more now (back-pressure: offer the rest
     * again after the owner's kick, after output was sent, and after a tick). A machine takes at
     * least one byte whenever it has no event and is not holding back. Events are pulled before the
     * next recv: their slices may borrow from p until then. n == 0 says that the peer has closed
     * its sending side; it is told once, after all bytes before it were taken. Returns the
     * machine's sticky error (< 0) after one.
     */
    ssize_t (*recv)(void *m, const char *p, size_t n, uint64_t now_ms);

    /* The bytes to send, the machine's own chain; the pump sends from its front and reports through
     * `sent`. A machine that gives up on a peer who does not read is finished and shows an empty
     * chain, but keeps the memory, from which a send may still be under way, until it is freed. */
    struct ferry_chain *(*output)(void *m);

    /* n bytes from the front of the output are sent; the machine drops them. */
    void (*sent)(void *m, size_t n, uint64_t now_ms);

    /* When `tick` wants to be called (ms on the clock of `now_ms`), or FERRY_NEVER. */
    uint64_t (*deadline)(const void *m);

    /* The deadline is due: the machine may have events or output afterwards. */
    void (*tick)(void *m, uint64_t now_ms);

    /* Nothing more will be sent once the output is empty, nor read: the connection can be closed.
     */
    bool (*finished)(const void *m);

    /*
     * Nothing more will be sent once the output is empty, but input is still read and dropped, so
     * that the peer's unread bytes do not turn our close into a reset that eats the last response:
     * shut down the sending side then, go on reading, and wait for finished. May be NULL: never.
     */
    bool (*wants_shutdown)(const void *m);
};

#endif
