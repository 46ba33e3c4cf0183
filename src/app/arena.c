/* SPDX-License-Identifier: MIT */
/*
 * Memory of one request. The first piece lies inside the request object, so that a small request
 * allocates nothing; what does not fit comes from the loop's blocks. Nothing is given back singly.
 */
#include "app/arena.h"

#include <stdint.h>

#define ALIGN _Alignof(max_align_t)

void ferry__arena_init(struct ferry__arena *a, struct ferry_blocks *blocks, void *mem, size_t len)
{
    *a = (struct ferry__arena){.blocks = blocks, .at = mem, .end = (char *)mem + len};
}

void ferry__arena_fini(struct ferry__arena *a)
{
    while (a->held) {
        struct ferry_block *b = a->held;

        a->held = b->next;
        ferry_block_unref(b);
    }
    a->at = a->end = NULL;
}

static char *aligned(char *p)
{
    return p + (-(uintptr_t)p & (ALIGN - 1));
}

void *ferry__arena_room(struct ferry__arena *a, size_t n, size_t *cap)
{
    char *p = aligned(a->at);
    struct ferry_block *b;

    if (!a->at || p > a->end || (size_t)(a->end - p) < n) {
        b = n <= SIZE_MAX - ALIGN ? ferry_block_get(a->blocks, n + ALIGN) : NULL;
        if (!b)
            return NULL;
        b->next = a->held;
        a->held = b;
        p = aligned(b->data);
        a->at = p;
        a->end = b->data + b->cap;
    }
    *cap = (size_t)(a->end - p);
    return p;
}

void ferry__arena_take(struct ferry__arena *a, void *room, size_t n)
{
    a->at = (char *)room + n;
}

void *ferry__arena_alloc(struct ferry__arena *a, size_t n)
{
    size_t cap;
    void *p = ferry__arena_room(a, n, &cap);

    if (p)
        ferry__arena_take(a, p, n);
    return p;
}
