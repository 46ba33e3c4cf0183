/* SPDX-License-Identifier: MIT */
/*
 * The hierarchical timer wheel. A timer lies on the level of the highest digit (base 64) in which
 * its tick differs from the wheel's, so a level's slots are always ahead of the wheel and below the
 * next step of the level above: the first occupied slot of the lowest occupied level is the next
 * thing to happen. When the wheel reaches a slot of a higher level its timers move down.
 *
 * ferry_timer_stop knows no wheel, so the bit of a slot may outlive its timers; looking clears it.
 */
#include "io/wheel.h"

#include "base/machine.h"

#define MASK (FERRY__WHEEL_SLOTS - 1)
#define WAIT_MAX_MS                                                                                \
    (24 * 3600 * 1000) /* kernels add the time to now and do not look for overflow */
#define TICK_MAX ((UINT64_C(1) << (FERRY__WHEEL_BITS * FERRY__WHEEL_LEVELS)) - 1)

void ferry__wheel_init(struct ferry__wheel *w, uint64_t now_ms)
{
    w->tick = now_ms / FERRY__WHEEL_TICK_MS;
    for (int l = 0; l < FERRY__WHEEL_LEVELS; l++) {
        w->occupied[l] = 0;
        for (int s = 0; s < FERRY__WHEEL_SLOTS; s++)
            ferry_list_init(&w->slots[l][s]);
    }
}

/* Rounded up, for a timer never fires early. */
static uint64_t tick_of(uint64_t at_ms)
{
    uint64_t tick = at_ms / FERRY__WHEEL_TICK_MS + (at_ms % FERRY__WHEEL_TICK_MS != 0);

    return tick < TICK_MAX ? tick : TICK_MAX;
}

void ferry__wheel_add(struct ferry__wheel *w, struct ferry_timer *t)
{
    uint64_t tick = tick_of(t->at_ms);
    int level, slot;

    if (tick < w->tick)
        tick = w->tick;
    level = (63 - __builtin_clzll((tick ^ w->tick) | MASK)) / FERRY__WHEEL_BITS;
    slot = (int)(tick >> (level * FERRY__WHEEL_BITS)) & MASK;
    w->occupied[level] |= UINT64_C(1) << slot;
    ferry_list_push(&w->slots[level][slot], &t->link);
}

/* The next tick at which a slot is to be emptied, and which; FERRY_NEVER when there is none. */
static uint64_t next(struct ferry__wheel *w, int *level, int *slot)
{
    for (int l = 0; l < FERRY__WHEEL_LEVELS; l++) {
        while (w->occupied[l]) {
            int s = __builtin_ctzll(w->occupied[l]), shift = l * FERRY__WHEEL_BITS;

            if (ferry_list_empty(&w->slots[l][s])) {
                w->occupied[l] &= w->occupied[l] - 1;
                continue;
            }
            *level = l;
            *slot = s;
            return (w->tick >> (shift + FERRY__WHEEL_BITS) << (shift + FERRY__WHEEL_BITS)) |
                   (uint64_t)s << shift;
        }
    }
    return FERRY_NEVER;
}

int64_t ferry__wheel_wait(struct ferry__wheel *w, uint64_t now_ms)
{
    int level, slot;
    uint64_t tick = next(w, &level, &slot), ms;

    if (tick == FERRY_NEVER)
        return -1;
    if (tick * FERRY__WHEEL_TICK_MS <= now_ms)
        return 0;
    ms = tick * FERRY__WHEEL_TICK_MS - now_ms;
    return ms < WAIT_MAX_MS ? (int64_t)ms : WAIT_MAX_MS;
}

void ferry__wheel_turn(struct ferry__wheel *w, uint64_t now_ms, struct ferry_list *due)
{
    uint64_t until = now_ms / FERRY__WHEEL_TICK_MS, tick;
    int level, slot;

    while ((tick = next(w, &level, &slot)) <= until) {
        struct ferry_list *from = &w->slots[level][slot], *link;

        w->occupied[level] &= ~(UINT64_C(1) << slot);
        if (tick > w->tick)
            w->tick = tick;
        while ((link = ferry_list_first(from))) {
            struct ferry_timer *t = ferry_container(link, struct ferry_timer, link);

            ferry_list_remove(link);
            if (tick_of(t->at_ms) <= w->tick)
                ferry_list_push(due, link);
            else
                ferry__wheel_add(w, t);
        }
    }
    if (until > w->tick)
        w->tick = until;
}
