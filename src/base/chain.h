/* SPDX-License-Identifier: MIT */
#ifndef FERRY_BASE_CHAIN_H
#define FERRY_BASE_CHAIN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/block.h"
#include "base/slice.h"

/*
 * A queue of bytes to be sent: copies, references into blocks, static memory and file ranges, in
 * order. What a machine offers as output lies in one. It keeps its first error: appends after a
 * failure do nothing, and `err` tells once.
 */

enum ferry_seg_kind {
    FERRY_SEG_MEMORY, /* bytes at p; block holds them, or NULL when they are static */
    FERRY_SEG_FILE,   /* a range of fd, which the chain closes when the range is consumed */
};

struct ferry_seg {
    struct ferry_block *block;
    union {
        const char *p;
        int64_t off;
    };
    uint64_t len;
    int fd;
    enum ferry_seg_kind kind;
};

#define FERRY_CHAIN_INLINE 4

struct ferry_chain {
    struct ferry_blocks *blocks;
    struct ferry_seg *segs; /* a ring; the inline one until it is outgrown */
    uint32_t first, n, cap;
    int err;
    uint64_t len; /* bytes queued, those of file ranges too */
    /* The block copies go to, with a reference of the chain's own while anything is queued. */
    struct ferry_block *open;
    uint32_t open_used;
    struct ferry_seg inline_segs[FERRY_CHAIN_INLINE];
};

void ferry_chain_init(struct ferry_chain *, struct ferry_blocks *);

/* Drops what is queued, with its references and files, and forgets the error. The chain can be used
 * again. */
void ferry_chain_clear(struct ferry_chain *);

/* Queues a copy. Small pieces join the ones before in one block, also when other memory is queued
 * in between. */
void ferry_chain_copy(struct ferry_chain *, struct ferry_slice);

/* Queues bytes that lie in `b`, and takes a reference of its own. */
void ferry_chain_ref(struct ferry_chain *, struct ferry_block *b, struct ferry_slice);

/* Queues bytes that outlive the chain (string literals). */
void ferry_chain_static(struct ferry_chain *, struct ferry_slice);

/* Queues a range of a file and takes over `fd`, also on failure. */
void ferry_chain_file(struct ferry_chain *, int fd, int64_t off, uint64_t len);

/*
 * Room for at least `n` bytes at the tail, to be written in place; ferry_chain_commit then queues
 * as many as were written. NULL when memory is out (the error is kept). No other call may come
 * between the two.
 */
char *ferry_chain_reserve(struct ferry_chain *, size_t n);
void ferry_chain_commit(struct ferry_chain *, size_t n);

/*
 * The memory at the front, as at most `max` vectors, up to the first file range. Returns how many;
 * valid until the next call that changes the chain. 0 when the chain is empty or a file range is
 * first.
 */
int ferry_chain_iov(const struct ferry_chain *, struct iovec *iov, int max);

/* The memory `off` bytes behind the front, as far as it lies together; of length 0 where there is
 * none. Valid until it is consumed, whatever is appended. */
struct ferry_slice ferry_chain_at(const struct ferry_chain *, uint64_t off);

/* The file range at the front, or NULL. */
const struct ferry_seg *ferry_chain_file_first(const struct ferry_chain *);

/* Drops n bytes from the front; n is at most len. */
void ferry_chain_consume(struct ferry_chain *, uint64_t n);

/* Moves all of `from` behind `to`, its error too; both use the same block cache. `from` is empty
 * afterwards. */
void ferry_chain_move(struct ferry_chain *to, struct ferry_chain *from);

#endif
