/* SPDX-License-Identifier: MIT */
#ifndef FERRY_IO_WHEEL_H
#define FERRY_IO_WHEEL_H

#include "io/loop.h"

/*
 * Timers of one loop, in buckets of 16 ms: levels of 64 slots, each level 64 times as coarse as the
 * one below, so that setting and stopping cost the same whatever the deadline. Ten levels hold
 * every uint64_t of milliseconds.
 */

#define FERRY__WHEEL_TICK_MS 16
#define FERRY__WHEEL_BITS 6
#define FERRY__WHEEL_SLOTS (1 << FERRY__WHEEL_BITS)
#define FERRY__WHEEL_LEVELS 10

struct ferry__wheel {
    uint64_t tick;                          /* ticks that have passed */
    uint64_t occupied[FERRY__WHEEL_LEVELS]; /* a bit per slot; may be set for an empty one */
    struct ferry_list slots[FERRY__WHEEL_LEVELS][FERRY__WHEEL_SLOTS];
};

void ferry__wheel_init(struct ferry__wheel *, uint64_t now_ms);

/* Files a timer that is in no list, by its at_ms. */
void ferry__wheel_add(struct ferry__wheel *, struct ferry_timer *);

/* Milliseconds from now until the wheel wants to be turned, at most a day: 0 when overdue, -1 for
 * never. */
int64_t ferry__wheel_wait(struct ferry__wheel *, uint64_t now_ms);

/* Turns it on to now and moves the timers that are due to the end of `due`, earlier buckets first.
 */
void ferry__wheel_turn(struct ferry__wheel *, uint64_t now_ms, struct ferry_list *due);

#endif
