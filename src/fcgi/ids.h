/* SPDX-License-Identifier: MIT */
#ifndef FERRY_FCGI_IDS_H
#define FERRY_FCGI_IDS_H

#include <stdbool.h>
#include <stdint.h>

/* The request ids a client gives out: always the lowest that is free. */

struct ferry__ids {
    uint64_t *used; /* a bit per id, id 1 first */
    uint32_t max;   /* ids 1 to max */
    uint32_t first; /* no word in front of this one has a free id */
};

#define FERRY__IDS_WORDS(max) (((max) + 63) / 64)

/* `used` holds FERRY__IDS_WORDS(max) words and outlives the ids. None is taken. */
void ferry__ids_init(struct ferry__ids *, uint64_t *used, uint32_t max);

/* The lowest free id, or 0 when all are taken. */
uint16_t ferry__ids_take(struct ferry__ids *);

/* Takes one in particular, free or not. */
void ferry__ids_take_one(struct ferry__ids *, uint16_t id);

void ferry__ids_give(struct ferry__ids *, uint16_t id);

/* False for ids past the maximum. */
bool ferry__ids_taken(const struct ferry__ids *, uint16_t id);

#endif
