/* SPDX-License-Identifier: MIT */
/*
 * One group of provided buffers. The kernel takes buffers from the ring in order; a completion says
 * which one, and the last unref of its block gives it back. While consumers keep some, others take
 * their place, up to `entries` altogether; past that the ring may run dry, and streams then read
 * without it (uring_stream.c), so nobody ever waits for a buffer.
 *
 * The ring is a queue: a buffer comes round again after all others. So the more wait, the colder
 * the memory is that the next bytes are copied to, which costs more than running out of buffers
 * (measured: twice the time for bulk data with 2 MiB waiting instead of 512 KiB). Many wait only
 * where each is hardly filled.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"
#include "io/uring.h"

#define SPARE_SHARE 4     /* a quarter of all buffers is kept when it is not wanted */
#define WARM (512 * 1024) /* bytes that the waiting buffers may be filled with in turn */

static void add(struct ferry__bufring *g, struct ferry__buf *b)
{
    io_uring_buf_ring_add(g->ring, b->block.data, g->cap, b->number, (int)g->entries - 1, 0);
    io_uring_buf_ring_advance(g->ring, 1);
    g->waiting++;
}

static void forget(struct ferry__bufring *g, struct ferry__buf *b)
{
    g->all[b->number] = NULL;
    g->unused[g->nunused++] = b->number;
    free(b);
}

static void put(void *home, struct ferry_block *block)
{
    struct ferry__bufring *g = home;
    struct ferry__buf *b = ferry_container(block, struct ferry__buf, block);

    if (g->waiting < g->want) {
        add(g, b);
    } else if (g->nspare < g->entries / SPARE_SHARE) {
        b->next = g->spare;
        g->spare = b;
        g->nspare++;
    } else {
        forget(g, b);
    }
}

static struct ferry__buf *get(struct ferry__bufring *g)
{
    struct ferry__buf *b = g->spare;

    if (b) {
        g->spare = b->next;
        g->nspare--;
        return b;
    }
    b = g->nunused ? malloc(sizeof *b + g->cap) : NULL;
    if (!b)
        return NULL;
    b->number = g->unused[--g->nunused];
    b->block.put = put;
    b->block.home = g;
    b->block.cap = g->cap;
    g->all[b->number] = b;
    return b;
}

/* As many as wanted, or as memory and the numbers allow. */
static void fill(struct ferry__bufring *g)
{
    struct ferry__buf *b;

    while (g->waiting < g->want && (b = get(g)))
        add(g, b);
}

int ferry__bufring_init(struct ferry__bufring *g, struct io_uring *ring, uint16_t group,
                        uint32_t cap, unsigned entries, unsigned want)
{
    struct io_uring_buf_reg reg = {.ring_entries = entries, .bgid = group};
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *mem;
    int r;

    *g = (struct ferry__bufring){.entries = entries, .want = want, .want_min = want, .cap = cap};
    g->group = group;
    g->all = calloc(entries, sizeof *g->all);
    g->unused = calloc(entries, sizeof *g->unused);
    if (!g->all || !g->unused || posix_memalign(&mem, page, entries * sizeof(struct io_uring_buf)))
        return -ENOMEM;
    g->ring = mem;
    io_uring_buf_ring_init(g->ring);
    reg.ring_addr = (uintptr_t)mem;
    r = io_uring_register_buf_ring(ring, &reg, 0);
    if (r < 0)
        return r;
    while (g->nunused < entries) {
        g->unused[g->nunused] = (uint16_t)(entries - 1 - g->nunused);
        g->nunused++;
    }
    fill(g);
    return 0;
}

void ferry__bufring_fini(struct ferry__bufring *g)
{
    for (unsigned i = 0; g->all && i < g->entries; i++)
        free(g->all[i]);
    free(g->all);
    free(g->unused);
    free(g->ring);
    *g = (struct ferry__bufring){0};
}

struct ferry__buf *ferry__bufring_take(struct ferry__bufring *g, uint32_t cqe_flags,
                                       uint32_t filled)
{
    struct ferry__buf *b = g->all[cqe_flags >> IORING_CQE_BUFFER_SHIFT];

    ferry_assert(b && g->waiting);
    b->next = NULL;
    b->block.next = NULL;
    b->block.refs = 1;
    g->filled16 += filled - g->filled16 / 16;
    if (g->want > g->want_min && (uint64_t)g->want * g->filled16 / 16 > 2 * WARM)
        g->want /= 2;
    if (--g->waiting < g->want / 2)
        fill(g);
    return b;
}

void ferry__bufring_ran_out(struct ferry__bufring *g)
{
    if (g->want * 2 <= g->entries && (uint64_t)g->want * 2 * g->filled16 / 16 <= WARM)
        g->want *= 2;
    fill(g);
}
