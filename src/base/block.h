/* SPDX-License-Identifier: MIT */
#ifndef FERRY_BASE_BLOCK_H
#define FERRY_BASE_BLOCK_H

#include <stddef.h>
#include <stdint.h>

/*
 * Blocks of memory that bytes travel in, counted by reference, so that a response goes from the
 * socket it came from to the socket it leaves by without being copied. All blocks of one cache
 * belong to one thread.
 */

#define FERRY_BLOCK_SMALL 4096
#define FERRY_BLOCK_LARGE 65536

struct ferry_block {
    struct ferry_block *next;
    /* Called when the last reference goes; gives the memory back to whoever made it. */
    void (*put)(void *home, struct ferry_block *);
    void *home;
    uint32_t refs;
    uint32_t cap;
    char data[];
};

/* Keeps blocks that are not in use for the next one who asks. */
struct ferry_blocks {
    struct ferry_block *small, *large;
    unsigned small_kept, large_kept;
    unsigned small_kept_max, large_kept_max;
};

/* Keeps at most so many unused blocks of each size; 0 for none. */
void ferry_blocks_init(struct ferry_blocks *, unsigned small_kept_max, unsigned large_kept_max);

/* Frees the unused blocks; those still referenced must have been given back before. */
void ferry_blocks_fini(struct ferry_blocks *);

/*
 * A block with room for at least `min` bytes and one reference: SMALL or LARGE, or of its own size
 * beyond that. NULL when memory is out. Its cap may be used whole.
 */
struct ferry_block *ferry_block_get(struct ferry_blocks *, size_t min);

static inline struct ferry_block *ferry_block_ref(struct ferry_block *b)
{
    b->refs++;
    return b;
}

/* Takes NULL. */
static inline void ferry_block_unref(struct ferry_block *b)
{
    if (b && --b->refs == 0)
        b->put(b->home, b);
}

#endif
