/* SPDX-License-Identifier: MIT */
/*
 * A body waiting for its turn. Its first `mem_max` bytes stay in memory for good, all that follow
 * lie in an unlinked file whose offset 0 is byte `mem_len` of the body, so nothing is ever moved.
 *
 * Every block but the first is LARGE and each is filled whole before the next, so the block of a
 * position is computed, not searched. `len` and `mem_len` move only when all of an append
 * succeeded: blocks and file bytes beyond them are leftovers that the next append writes over.
 */
#include "io/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"

void ferry_spool_init(struct ferry_spool *s, struct ferry_blocks *blocks, size_t mem_max,
                      uint64_t max)
{
    *s = (struct ferry_spool){.blocks = blocks, .mem_max = mem_max, .max = max, .fd = -1};
}

void ferry_spool_fini(struct ferry_spool *s)
{
    for (unsigned i = 0; i < s->nmem; i++)
        ferry_block_unref(s->mem[i]);
    free(s->mem);
    if (s->fd >= 0)
        close(s->fd);
    ferry_spool_init(s, s->blocks, s->mem_max, s->max);
}

static unsigned block_of(const struct ferry_spool *s, size_t pos, size_t *within)
{
    size_t first = s->nmem ? s->mem[0]->cap : 0;

    if (pos < first) {
        *within = pos;
        return 0;
    }
    *within = (pos - first) % FERRY_BLOCK_LARGE;
    return (unsigned)((pos - first) / FERRY_BLOCK_LARGE + (s->nmem ? 1 : 0));
}

static int add_block(struct ferry_spool *s, size_t want)
{
    bool small = s->nmem == 0 && want <= FERRY_BLOCK_SMALL;
    struct ferry_block *b;

    if (s->nmem == s->mem_cap) {
        unsigned cap = s->mem_cap ? s->mem_cap * 2 : 4;
        struct ferry_block **mem = realloc(s->mem, cap * sizeof(struct ferry_block *));

        if (!mem)
            return -ENOMEM;
        s->mem = mem;
        s->mem_cap = cap;
    }
    b = ferry_block_get(s->blocks, small ? FERRY_BLOCK_SMALL : FERRY_BLOCK_LARGE);
    if (!b)
        return -ENOMEM;
    s->mem[s->nmem++] = b;
    return 0;
}

static int to_memory(struct ferry_spool *s, struct ferry_slice bytes)
{
    size_t pos = s->mem_len;

    while (bytes.len) {
        size_t within, n;
        unsigned i = block_of(s, pos, &within);
        int err = i == s->nmem ? add_block(s, bytes.len) : 0;

        if (err < 0)
            return err;
        n = s->mem[i]->cap - within;
        if (n > bytes.len)
            n = bytes.len;
        memcpy(s->mem[i]->data + within, bytes.p, n);
        pos += n;
        bytes = ferry_slice_from(bytes, n);
    }
    return 0;
}

static int unlinked_file(const char *dir)
{
    char name[4096];
    int fd = open(dir, O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);

    /* Some file systems (overlay, NFS) have no O_TMPFILE. */
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT))
        return fd;
    if ((size_t)snprintf(name, sizeof name, "%s/ferry-XXXXXX", dir) >= sizeof name)
        return -1;
    fd = mkostemp(name, O_CLOEXEC);
    if (fd >= 0)
        unlink(name);
    return fd;
}

/* /var/tmp before /tmp: that one is memory on many systems, which is what the file is to spare. */
static int open_file(struct ferry_spool *s)
{
    const char *dirs[] = {getenv("TMPDIR"), "/var/tmp", "/tmp"};
    int err = -ENOENT;

    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
        if (!dirs[i] || !*dirs[i])
            continue;
        s->fd = unlinked_file(dirs[i]);
        if (s->fd >= 0)
            return 0;
        err = -errno;
    }
    return err;
}

static int to_file(struct ferry_spool *s, uint64_t pos, struct ferry_slice bytes)
{
    int err = s->fd < 0 && bytes.len ? open_file(s) : 0;

    while (err == 0 && bytes.len) {
        ssize_t n = pwrite(s->fd, bytes.p, bytes.len, (off_t)pos);

        if (n > 0) {
            pos += (uint64_t)n;
            bytes = ferry_slice_from(bytes, (size_t)n);
        } else if (n == 0 || errno != EINTR) {
            err = n == 0 ? -EIO : -errno;
        }
    }
    return err;
}

int ferry_spool_append(struct ferry_spool *s, struct ferry_slice bytes)
{
    size_t mem = s->mem_max - s->mem_len;
    int err;

    if (bytes.len > s->max - s->len)
        return FERRY_ELIMIT;
    if (mem > bytes.len)
        mem = bytes.len;
    err = to_memory(s, ferry_slice_first(bytes, mem));
    if (err == 0)
        err = to_file(s, s->len - s->mem_len, ferry_slice_from(bytes, mem));
    if (err < 0)
        return err;
    s->mem_len += mem;
    s->len += bytes.len;
    return 0;
}

static ssize_t from_file(struct ferry_spool *s, size_t max, struct ferry_block **b,
                         struct ferry_slice *out)
{
    struct ferry_block *block;
    ssize_t n;
    int err;

    if (max > FERRY_BLOCK_LARGE)
        max = FERRY_BLOCK_LARGE;
    if (max > s->len - s->at)
        max = (size_t)(s->len - s->at);
    block = ferry_block_get(s->blocks, max);
    if (!block)
        return -ENOMEM;
    do
        n = pread(s->fd, block->data, max, (off_t)(s->at - s->mem_len));
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        s->at += (uint64_t)n;
        *b = block;
        *out = ferry_slice(block->data, (size_t)n);
        return n;
    }
    err = n == 0 ? -EIO : -errno;
    ferry_block_unref(block);
    return err;
}

ssize_t ferry_spool_read(struct ferry_spool *s, size_t max, struct ferry_block **b,
                         struct ferry_slice *out)
{
    size_t within, n;
    unsigned i;

    if (s->at == s->len || max == 0)
        return 0;
    if (s->at >= s->mem_len)
        return from_file(s, max, b, out);
    i = block_of(s, (size_t)s->at, &within);
    ferry_assert(i < s->nmem);
    n = s->mem[i]->cap - within;
    if (n > s->mem_len - s->at)
        n = s->mem_len - (size_t)s->at;
    if (n > max)
        n = max;
    s->at += n;
    *b = ferry_block_ref(s->mem[i]);
    *out = ferry_slice(s->mem[i]->data + within, n);
    return (ssize_t)n;
}

void ferry_spool_rewind(struct ferry_spool *s)
{
    s->at = 0;
}

ssize_t ferry_spool_peek(const struct ferry_spool *s, uint64_t pos, size_t max, char *buf,
                         struct ferry_slice *out)
{
    size_t within;
    ssize_t n;
    unsigned i;

    if (pos >= s->len || max == 0)
        return 0;
    if (max > s->len - pos)
        max = (size_t)(s->len - pos);
    if (pos >= s->mem_len) {
        do
            n = pread(s->fd, buf, max, (off_t)(pos - s->mem_len));
        while (n < 0 && errno == EINTR);
        *out = ferry_slice(buf, n > 0 ? (size_t)n : 0);
        return n < 0 ? -errno : n > 0 ? n : -EIO;
    }
    i = block_of(s, (size_t)pos, &within);
    ferry_assert(i < s->nmem);
    if (max > s->mem[i]->cap - within)
        max = s->mem[i]->cap - within;
    if (max > s->mem_len - pos)
        max = s->mem_len - (size_t)pos;
    *out = ferry_slice(s->mem[i]->data + within, max);
    return (ssize_t)max;
}
