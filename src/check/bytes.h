/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CHECK_BYTES_H
#define FERRY_CHECK_BYTES_H

#include "ferry/err.h"
#include "ferry/slice.h"

/*
 * Bytes that grow at their end and leave at their front, up to a maximum. The first failure sticks
 * in `err`: append as often as needed and look once.
 */
struct ferry_bytes {
    char *p;
    size_t len, cap, max;
    int err; /* 0, FERRY_ELIMIT or -ENOMEM */
};

/* Empty; at most `max` bytes. Nothing is allocated yet. */
void ferry_bytes_init(struct ferry_bytes *, size_t max);
void ferry_bytes_fini(struct ferry_bytes *);

/* Room for n more behind the end, to be filled and then counted in len; NULL with the error set. */
char *ferry_bytes_reserve(struct ferry_bytes *, size_t n);

void ferry_bytes_add(struct ferry_bytes *, const void *, size_t n);
void ferry_bytes_add_z(struct ferry_bytes *, const char *z);
void ferry_bytes_fill(struct ferry_bytes *, int byte, size_t n);
void ferry_bytes_printf(struct ferry_bytes *, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Drops n bytes of the front. */
void ferry_bytes_drop(struct ferry_bytes *, size_t n);

static inline struct ferry_slice ferry_bytes_slice(const struct ferry_bytes *b)
{
    return (struct ferry_slice){b->p, b->len};
}

#endif
