/* SPDX-License-Identifier: MIT */
/*
 * An open-addressing table from request id to request, at most half full until it has a slot for
 * every id. It begins as the one slot inside it, which is all that a connection without
 * multiplexing ever needs. Multiplying by an odd number spreads ids that follow each other, and at
 * full size maps each id to a slot of its own. Removing closes the gap, so no slot is ever marked
 * as deleted.
 */
#include "fcgi/requests.h"

#include <stdlib.h>

#define SLOTS_MAX 65536u
#define SLOTS_FIRST 8u

static uint32_t home(const struct ferry__requests *t, uint16_t id)
{
    return (uint32_t)(uint16_t)(id * 40503u) >> t->shift;
}

static uint32_t after(const struct ferry__requests *t, uint32_t i)
{
    return (i + 1) & (t->cap - 1);
}

void ferry__requests_init(struct ferry__requests *t)
{
    *t = (struct ferry__requests){.cap = 1, .shift = 16};
    t->slots = &t->first;
}

void ferry__requests_fini(struct ferry__requests *t)
{
    if (t->slots != &t->first)
        free(t->slots);
    ferry__requests_init(t);
}

struct ferry__request *ferry__requests_find(const struct ferry__requests *t, uint16_t id)
{
    uint32_t i = home(t, id);

    for (uint32_t tried = 0; tried < t->cap && t->slots[i].id; tried++) {
        if (t->slots[i].id == id)
            return &t->slots[i];
        i = after(t, i);
    }
    return NULL;
}

static struct ferry__request *place(struct ferry__requests *t, const struct ferry__request *r)
{
    uint32_t i = home(t, r->id);

    while (t->slots[i].id)
        i = after(t, i);
    t->slots[i] = *r;
    return &t->slots[i];
}

static bool grow(struct ferry__requests *t)
{
    struct ferry__requests old = *t;
    const struct ferry__request *slots = old.cap == 1 ? &old.first : old.slots;

    t->cap = old.cap == 1 ? SLOTS_FIRST : old.cap * 2;
    t->shift = (uint8_t)(16 - __builtin_ctz(t->cap));
    t->slots = calloc(t->cap, sizeof *t->slots);
    if (!t->slots) {
        t->slots = old.slots;
        t->cap = old.cap;
        t->shift = old.shift;
        return false;
    }
    for (uint32_t i = 0; i < old.cap; i++)
        if (slots[i].id)
            place(t, &slots[i]);
    if (old.cap > 1)
        free(old.slots);
    return true;
}

struct ferry__request *ferry__requests_add(struct ferry__requests *t, uint16_t id)
{
    struct ferry__request r = {.id = id};

    if (t->n > 0 && t->cap < SLOTS_MAX && 2 * (t->n + 1) > t->cap && !grow(t))
        return NULL;
    t->n++;
    return place(t, &r);
}

void ferry__requests_remove(struct ferry__requests *t, struct ferry__request *r)
{
    uint32_t gap = (uint32_t)(r - t->slots);

    t->n--;
    for (uint32_t i = after(t, gap); t->n && t->slots[i].id; i = after(t, i)) {
        uint32_t want = home(t, t->slots[i].id);

        /* One that would be looked for between the gap and here stays. */
        if (((i - want) & (t->cap - 1)) < ((i - gap) & (t->cap - 1)))
            continue;
        t->slots[gap] = t->slots[i];
        gap = i;
    }
    t->slots[gap] = (struct ferry__request){0};
}
