/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CALL_PAYLOAD_H
#define FERRY_CALL_PAYLOAD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/slice.h"
#include "ferry/err.h"

/*
 * A body that is sent, perhaps several times at once: pieces of memory and of files, one behind the
 * other. Its length is always known, for which what comes from a pipe is first kept in an unlinked
 * file. It is read from any place, and readers do not know of each other.
 */

struct ferry_payload_piece {
    struct ferry_slice text; /* of memory */
    int fd;                  /* of a file, else -1 */
    uint64_t at, len;        /* where it begins in the payload */
};

struct ferry_payload {
    struct ferry_payload_piece *pieces;
    size_t n, cap;
    uint64_t len;
};

/* The most a pipe may give. */
#define FERRY_PAYLOAD_PIPE_MAX (UINT64_C(1) << 36)

/* All zero is an empty one. Frees what it holds and empties it. */
void ferry_payload_fini(struct ferry_payload *);

/* Adds memory, which is borrowed: 0 or -ENOMEM. */
FERRY_MUST_CHECK
int ferry_payload_add(struct ferry_payload *, struct ferry_slice);

/* Adds all of a file, "-" being standard input: 0, -errno, or FERRY_ELIMIT past
 * FERRY_PAYLOAD_PIPE_MAX. */
FERRY_MUST_CHECK
int ferry_payload_add_file(struct ferry_payload *, const char *path);

/* Up to n bytes from place `at` on: how many, 0 at the end; -errno, or FERRY_ECUT when a file has
 * become shorter. Blocks. */
FERRY_MUST_CHECK
ssize_t ferry_payload_read(const struct ferry_payload *, uint64_t at, void *out, size_t n);

#endif
