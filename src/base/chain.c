/* SPDX-License-Identifier: MIT */
/*
 * The queue of bytes to be sent. Segments lie in a ring that starts inside the chain and moves to
 * the heap when it is outgrown. Copies go to one open block until it is full, whatever else is
 * queued between them, so that headers between large pieces do not take a block each; copies that
 * follow each other are one segment.
 */
#include "base/chain.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"

static struct ferry_seg *seg_at(const struct ferry_chain *c, uint32_t i)
{
    return &c->segs[(c->first + i) & (c->cap - 1)];
}

void ferry_chain_init(struct ferry_chain *c, struct ferry_blocks *blocks)
{
    c->blocks = blocks;
    c->segs = c->inline_segs;
    c->cap = FERRY_CHAIN_INLINE;
    c->first = c->n = 0;
    c->err = 0;
    c->len = 0;
    c->open = NULL;
    c->open_used = 0;
}

static void drop(struct ferry_seg *s)
{
    if (s->kind == FERRY_SEG_FILE)
        close(s->fd);
    ferry_block_unref(s->block);
}

void ferry_chain_clear(struct ferry_chain *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        drop(seg_at(c, i));
    ferry_block_unref(c->open);
    if (c->segs != c->inline_segs)
        free(c->segs);
    ferry_chain_init(c, c->blocks);
}

static int grow(struct ferry_chain *c)
{
    uint32_t cap = c->cap * 2;
    struct ferry_seg *segs = malloc(cap * sizeof *segs);

    if (!segs)
        return -ENOMEM;
    for (uint32_t i = 0; i < c->n; i++)
        segs[i] = *seg_at(c, i);
    if (c->segs != c->inline_segs)
        free(c->segs);
    c->segs = segs;
    c->cap = cap;
    c->first = 0;
    return 0;
}

static struct ferry_seg *push(struct ferry_chain *c)
{
    if (c->err)
        return NULL;
    /* What was reserved and not used must not stand in front of a file range. */
    if (c->n && seg_at(c, c->n - 1)->len == 0)
        drop(seg_at(c, --c->n));
    if (c->n == c->cap && grow(c) < 0) {
        c->err = -ENOMEM;
        return NULL;
    }
    return seg_at(c, c->n++);
}

static struct ferry_seg *tail(const struct ferry_chain *c)
{
    return c->n ? seg_at(c, c->n - 1) : NULL;
}

/* Whether the last segment ends where the next copy goes. */
static bool tail_is_open(const struct ferry_chain *c)
{
    const struct ferry_seg *s = tail(c);

    return s && c->open && s->block == c->open && s->p + s->len == c->open->data + c->open_used;
}

static size_t open_room(const struct ferry_chain *c)
{
    return c->open ? c->open->cap - c->open_used : 0;
}

char *ferry_chain_reserve(struct ferry_chain *c, size_t n)
{
    struct ferry_seg *s;

    if (c->err)
        return NULL;
    if (open_room(c) < n) {
        struct ferry_block *b = ferry_block_get(c->blocks, n);

        if (!b) {
            c->err = -ENOMEM;
            return NULL;
        }
        ferry_block_unref(c->open);
        c->open = b;
        c->open_used = 0;
    }
    if (!tail_is_open(c)) {
        s = push(c);
        if (!s)
            return NULL;
        *s = (struct ferry_seg){.block = ferry_block_ref(c->open),
                                .p = c->open->data + c->open_used,
                                .kind = FERRY_SEG_MEMORY,
                                .fd = -1};
    }
    return c->open->data + c->open_used;
}

void ferry_chain_commit(struct ferry_chain *c, size_t n)
{
    ferry_assert(tail_is_open(c) && n <= open_room(c));
    tail(c)->len += n;
    c->open_used += (uint32_t)n;
    c->len += n;
}

void ferry_chain_copy(struct ferry_chain *c, struct ferry_slice bytes)
{
    while (bytes.len) {
        size_t n = tail_is_open(c) ? open_room(c) : 0;
        char *to;

        if (n == 0 || n > bytes.len)
            n = bytes.len < FERRY_BLOCK_LARGE ? bytes.len : FERRY_BLOCK_LARGE;
        to = ferry_chain_reserve(c, n);
        if (!to)
            return;
        memcpy(to, bytes.p, n);
        ferry_chain_commit(c, n);
        bytes = ferry_slice_from(bytes, n);
    }
}

static void push_memory(struct ferry_chain *c, struct ferry_block *b, struct ferry_slice bytes)
{
    struct ferry_seg *s;

    if (bytes.len == 0)
        return;
    s = push(c);
    if (!s)
        return;
    *s = (struct ferry_seg){.block = b ? ferry_block_ref(b) : NULL,
                            .p = bytes.p,
                            .len = bytes.len,
                            .kind = FERRY_SEG_MEMORY,
                            .fd = -1};
    c->len += bytes.len;
}

void ferry_chain_ref(struct ferry_chain *c, struct ferry_block *b, struct ferry_slice bytes)
{
    ferry_assert(b);
    push_memory(c, b, bytes);
}

void ferry_chain_static(struct ferry_chain *c, struct ferry_slice bytes)
{
    push_memory(c, NULL, bytes);
}

void ferry_chain_file(struct ferry_chain *c, int fd, int64_t off, uint64_t len)
{
    struct ferry_seg *s = len ? push(c) : NULL;

    if (!s) {
        close(fd);
        return;
    }
    *s = (struct ferry_seg){.off = off, .len = len, .fd = fd, .kind = FERRY_SEG_FILE};
    c->len += len;
}

int ferry_chain_iov(const struct ferry_chain *c, struct iovec *iov, int max)
{
    int n = 0;

    for (uint32_t i = 0; i < c->n && n < max; i++) {
        const struct ferry_seg *s = seg_at(c, i);

        if (s->kind == FERRY_SEG_FILE)
            break;
        if (s->len)
            iov[n++] = (struct iovec){(void *)s->p, s->len};
    }
    return n;
}

struct ferry_slice ferry_chain_at(const struct ferry_chain *c, uint64_t off)
{
    for (uint32_t i = 0; i < c->n && seg_at(c, i)->kind == FERRY_SEG_MEMORY; i++) {
        const struct ferry_seg *s = seg_at(c, i);

        if (off < s->len)
            return ferry_slice(s->p + off, s->len - off);
        off -= s->len;
    }
    return ferry_slice(NULL, 0);
}

const struct ferry_seg *ferry_chain_file_first(const struct ferry_chain *c)
{
    return c->n && seg_at(c, 0)->kind == FERRY_SEG_FILE ? seg_at(c, 0) : NULL;
}

void ferry_chain_consume(struct ferry_chain *c, uint64_t n)
{
    ferry_assert(n <= c->len);
    c->len -= n;
    while (c->n) {
        struct ferry_seg *s = seg_at(c, 0);

        if (n < s->len) {
            if (s->kind == FERRY_SEG_FILE)
                s->off += (int64_t)n;
            else
                s->p += n;
            s->len -= n;
            return;
        }
        n -= s->len;
        drop(s);
        c->first = (c->first + 1) & (c->cap - 1);
        c->n--;
    }
    if (c->segs != c->inline_segs) {
        free(c->segs);
        c->segs = c->inline_segs;
        c->cap = FERRY_CHAIN_INLINE;
    }
    ferry_block_unref(c->open);
    c->open = NULL;
    c->first = 0;
}

void ferry_chain_move(struct ferry_chain *to, struct ferry_chain *from)
{
    ferry_assert(to->blocks == from->blocks);
    if (!to->err)
        to->err = from->err;
    for (uint32_t i = 0; i < from->n; i++) {
        struct ferry_seg *s = push(to);

        if (!s) {
            ferry_chain_clear(from);
            return;
        }
        *s = *seg_at(from, i);
        to->len += s->len;
        seg_at(from, i)->block = NULL;
        seg_at(from, i)->kind = FERRY_SEG_MEMORY;
    }
    if (from->open) {
        ferry_block_unref(to->open);
        to->open = from->open;
        to->open_used = from->open_used;
        from->open = NULL;
    }
    ferry_chain_clear(from);
}
