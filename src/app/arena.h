/* SPDX-License-Identifier: MIT */
#ifndef FERRY_APP_ARENA_H
#define FERRY_APP_ARENA_H

#include <stddef.h>

#include "base/block.h"

/* Memory that goes all at once. It begins with memory of the owner's and continues in blocks. */
struct ferry__arena {
    struct ferry_blocks *blocks;
    struct ferry_block *held;
    char *at, *end;
};

void ferry__arena_init(struct ferry__arena *, struct ferry_blocks *, void *mem, size_t len);

/* Gives all blocks back. The arena is empty then, and init makes it usable again. */
void ferry__arena_fini(struct ferry__arena *);

/* n bytes, aligned for anything; NULL when memory is out. */
void *ferry__arena_alloc(struct ferry__arena *, size_t n);

/*
 * Room for at least n bytes, aligned for anything, and in *cap how many there really are. They are
 * only looked at: ferry__arena_take makes the first of them the caller's, and another call may give
 * them to somebody else.
 */
void *ferry__arena_room(struct ferry__arena *, size_t n, size_t *cap);
void ferry__arena_take(struct ferry__arena *, void *room, size_t n);

#endif
