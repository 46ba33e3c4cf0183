/* SPDX-License-Identifier: MIT */
#ifndef FERRY_MAIL_GROW_H
#define FERRY_MAIL_GROW_H

#include <errno.h>
#include <stdlib.h>

#include "base/slice.h"
#include "ferry/err.h"

/* Bytes that are put together piece by piece, up to a maximum. All zero is empty. */

#define FERRY__GROW_MAX (16u << 20)

struct ferry__grow {
    char *p; /* to be freed */
    size_t len, cap;
};

/* Room for n bytes more at p + len: 0, -ENOMEM or FERRY_ELIMIT. */
FERRY_MUST_CHECK
static inline int ferry__grow_room(struct ferry__grow *g, size_t n)
{
    size_t cap = g->cap ? g->cap : 1024;
    char *p;

    if (n > FERRY__GROW_MAX - g->len)
        return FERRY_ELIMIT;
    while (cap < g->len + n)
        cap *= 2;
    if (cap == g->cap)
        return 0;
    p = realloc(g->p, cap);
    if (!p)
        return -ENOMEM;
    g->p = p;
    g->cap = cap;
    return 0;
}

FERRY_MUST_CHECK
static inline int ferry__grow_put(struct ferry__grow *g, struct ferry_slice s)
{
    int err = ferry__grow_room(g, s.len);

    if (err == 0 && s.len) {
        memcpy(g->p + g->len, s.p, s.len);
        g->len += s.len;
    }
    return err;
}

#define FERRY__GROW(g, lit) ferry__grow_put(g, FERRY_SLICE(lit))

static inline struct ferry_slice ferry__grow_slice(const struct ferry__grow *g)
{
    return ferry_slice(g->p, g->len);
}

/* What it holds may be a password. */
static inline void ferry__grow_free(struct ferry__grow *g)
{
    if (g->p)
        explicit_bzero(g->p, g->len);
    free(g->p);
    *g = (struct ferry__grow){NULL, 0, 0};
}

#endif
