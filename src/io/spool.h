/* SPDX-License-Identifier: MIT */
#ifndef FERRY_IO_SPOOL_H
#define FERRY_IO_SPOOL_H

#include "base/chain.h"
#include "ferry/err.h"

/*
 * Bytes kept in order until somebody wants them: in memory up to a threshold, then in an unlinked
 * file. Appended at the end, taken from the front (also while it still grows), and rewindable for a
 * retry while nothing was discarded.
 */

struct ferry_spool {
    struct ferry_blocks *blocks;
    struct ferry_block **mem; /* blocks of the part in memory */
    unsigned nmem, mem_cap;
    size_t mem_max; /* bytes in memory before the file is made */
    uint64_t max;   /* bytes altogether */
    uint64_t len;   /* bytes appended */
    uint64_t at;    /* bytes read */
    size_t mem_len;
    int fd;
};

void ferry_spool_init(struct ferry_spool *, struct ferry_blocks *, size_t mem_max, uint64_t max);
void ferry_spool_fini(struct ferry_spool *); /* any number of times */

/* Appends a copy: 0, FERRY_ELIMIT past max, -ENOMEM, or -errno of the file (ENOSPC). */
FERRY_MUST_CHECK
int ferry_spool_append(struct ferry_spool *, struct ferry_slice);

/*
 * The next unread bytes, at most `max`, as a new reference to a block: the length, or 0 when all
 * was read, or -errno. *b and *out are set together; unref *b when done.
 */
FERRY_MUST_CHECK
ssize_t ferry_spool_read(struct ferry_spool *, size_t max, struct ferry_block **b,
                         struct ferry_slice *out);

void ferry_spool_rewind(struct ferry_spool *);

/*
 * The bytes from `pos` on, at most `max`, wherever reading stands: in place where they are in
 * memory, else in `buf`, which has room for `max`. The length; 0 at the end; or -errno. Changes
 * nothing, takes no reference and knows no block cache: any thread may call it, several at once,
 * from when the last byte was appended until ferry_spool_fini.
 */
FERRY_MUST_CHECK
ssize_t ferry_spool_peek(const struct ferry_spool *, uint64_t pos, size_t max, char *buf,
                         struct ferry_slice *out);

#endif
