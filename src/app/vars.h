/* SPDX-License-Identifier: MIT */
#ifndef FERRY_APP_VARS_H
#define FERRY_APP_VARS_H

#include "app/arena.h"
#include "base/slice.h"
#include "ferry/params.h"

/* The params of one request: a list in the order they came, and an index by name. */
struct ferry__vars {
    struct ferry_param *list;
    unsigned n;
    unsigned scans; /* lookups made by looking at all of them */
    uint16_t
        *index; /* open addressing, entries are 1 + the place in the list; NULL until it pays */
    unsigned mask;
};

/*
 * Reads the whole PARAMS stream at p, which holds one byte more than `len`. Lists and index come
 * from the arena, the slices lie in p, and a NUL is written behind every value. At most `max`
 * params, which is at most 65,535. 0, or FERRY_EPROTOCOL when the last pair is not whole,
 * FERRY_ELIMIT, or -ENOMEM.
 */
FERRY_MUST_CHECK
int ferry__vars_parse(struct ferry__vars *, struct ferry__arena *, char *p, size_t len,
                      unsigned max);

/* The first of that name, or NULL. */
const struct ferry_param *ferry__vars_find(struct ferry__vars *, struct ferry__arena *,
                                           struct ferry_slice name);

#endif
