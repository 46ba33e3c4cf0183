/* SPDX-License-Identifier: MIT */
/* The ids of a client's requests: a bitmap, and how far it is full from the front. */
#include "fcgi/ids.h"

#include <string.h>

void ferry__ids_init(struct ferry__ids *ids, uint64_t *used, uint32_t max)
{
    *ids = (struct ferry__ids){.used = used, .max = max};
    memset(used, 0, FERRY__IDS_WORDS(max) * sizeof *used);
}

uint16_t ferry__ids_take(struct ferry__ids *ids)
{
    uint32_t id;

    while (ids->first < FERRY__IDS_WORDS(ids->max) && ids->used[ids->first] == UINT64_MAX)
        ids->first++;
    if (ids->first == FERRY__IDS_WORDS(ids->max))
        return 0;
    id = ids->first * 64 + (uint32_t)__builtin_ctzll(~ids->used[ids->first]) + 1;
    if (id > ids->max)
        return 0;
    ferry__ids_take_one(ids, (uint16_t)id);
    return (uint16_t)id;
}

void ferry__ids_take_one(struct ferry__ids *ids, uint16_t id)
{
    ids->used[(id - 1u) / 64] |= 1ull << (id - 1u) % 64;
}

void ferry__ids_give(struct ferry__ids *ids, uint16_t id)
{
    uint32_t word = (id - 1u) / 64;

    ids->used[word] &= ~(1ull << (id - 1u) % 64);
    if (word < ids->first)
        ids->first = word;
}

bool ferry__ids_taken(const struct ferry__ids *ids, uint16_t id)
{
    return id >= 1 && id <= ids->max && ids->used[(id - 1u) / 64] >> (id - 1u) % 64 & 1;
}
