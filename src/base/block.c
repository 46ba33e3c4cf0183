/* SPDX-License-Identifier: MIT */
/* The cache of reference-counted blocks: two free lists with a ceiling each. */
#include "base/block.h"

#include <stdlib.h>

#include "base/assert.h"

void ferry_blocks_init(struct ferry_blocks *c, unsigned small_kept_max, unsigned large_kept_max)
{
    *c = (struct ferry_blocks){.small_kept_max = small_kept_max, .large_kept_max = large_kept_max};
}

static void free_all(struct ferry_block *b)
{
    while (b) {
        struct ferry_block *next = b->next;
        free(b);
        b = next;
    }
}

void ferry_blocks_fini(struct ferry_blocks *c)
{
    free_all(c->small);
    free_all(c->large);
    *c = (struct ferry_blocks){0};
}

static void put(void *home, struct ferry_block *b)
{
    struct ferry_blocks *c = home;

    if (b->cap == FERRY_BLOCK_SMALL && c->small_kept < c->small_kept_max) {
        b->next = c->small;
        c->small = b;
        c->small_kept++;
    } else if (b->cap == FERRY_BLOCK_LARGE && c->large_kept < c->large_kept_max) {
        b->next = c->large;
        c->large = b;
        c->large_kept++;
    } else {
        free(b);
    }
}

struct ferry_block *ferry_block_get(struct ferry_blocks *c, size_t min)
{
    struct ferry_block *b;
    size_t cap;

    if (min <= FERRY_BLOCK_SMALL && c->small) {
        b = c->small;
        c->small = b->next;
        c->small_kept--;
    } else if (min > FERRY_BLOCK_SMALL && min <= FERRY_BLOCK_LARGE && c->large) {
        b = c->large;
        c->large = b->next;
        c->large_kept--;
    } else {
        cap = min <= FERRY_BLOCK_SMALL   ? FERRY_BLOCK_SMALL
              : min <= FERRY_BLOCK_LARGE ? FERRY_BLOCK_LARGE
                                         : min;
        if (cap > UINT32_MAX - sizeof *b)
            return NULL;
        b = malloc(sizeof *b + cap);
        if (!b)
            return NULL;
        b->cap = (uint32_t)cap;
        b->put = put;
        b->home = c;
    }
    b->next = NULL;
    b->refs = 1;
    return b;
}
