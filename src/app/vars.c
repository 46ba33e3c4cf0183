/* SPDX-License-Identifier: MIT */
/*
 * A request's params. The stream is parsed where it lies: a slice each for name and value. The byte
 * behind a value is the first length byte of the next pair, so once that pair is read a NUL can
 * stand there, which makes every value a C string for nothing.
 *
 * Most handlers look at two or three params, for which looking at all of them is faster than any
 * index; so the index is made at the fifth lookup.
 */
#include "app/vars.h"

#include <errno.h>

#define SCANS_MAX 4
#define LIST_MIN 32

int ferry__vars_parse(struct ferry__vars *v, struct ferry__arena *a, char *p, size_t len,
                      unsigned max)
{
    size_t cap, at = 0;
    unsigned n = 0;
    struct ferry_param *list = ferry__arena_room(a, LIST_MIN * sizeof *list, &cap);

    *v = (struct ferry__vars){0};
    if (!list)
        return -ENOMEM;
    cap /= sizeof *list;
    while (at < len) {
        ssize_t took;

        if (n == max)
            return FERRY_ELIMIT;
        if (n == cap) {
            struct ferry_param *more = ferry__arena_room(a, 2 * n * sizeof *list, &cap);

            if (!more)
                return -ENOMEM;
            memcpy(more, list, n * sizeof *list);
            list = more;
            cap /= sizeof *list;
        }
        took = ferry_param_decode(p + at, len - at, len, &list[n]);
        if (took <= 0)
            return FERRY_EPROTOCOL;
        p[at] = 0; /* behind the value before */
        at += (size_t)took;
        n++;
    }
    p[len] = 0;
    ferry__arena_take(a, list, n * sizeof *list);
    v->list = list;
    v->n = n;
    return 0;
}

static uint32_t word(const char *p)
{
    uint32_t w;

    memcpy(&w, p, sizeof w);
    return w;
}

/* Names differ in their ends (HTTP_ACCEPT_LANGUAGE, HTTP_ACCEPT_ENCODING), seldom in the middle.
 * With params_max pairs that collide on purpose a lookup is still only a look at all. */
static unsigned hash(struct ferry_slice s)
{
    uint64_t h = s.len;

    if (s.len >= 8) {
        h ^= (uint64_t)word(s.p + s.len - 4) << 32 | word(s.p + s.len - 8);
        h = h * 0x9e3779b97f4a7c15u + word(s.p + 4);
    } else {
        for (size_t i = 0; i < s.len; i++)
            h = h << 8 ^ (unsigned char)s.p[i];
    }
    return (unsigned)((h * 0x9e3779b97f4a7c15u) >> 32);
}

static void make_index(struct ferry__vars *v, struct ferry__arena *a)
{
    unsigned size = 16;

    while (size < 2 * v->n)
        size *= 2;
    v->index = ferry__arena_alloc(a, size * sizeof *v->index);
    if (!v->index)
        return;
    memset(v->index, 0, size * sizeof *v->index);
    v->mask = size - 1;
    /* In order: so the first of a name is the first that a probe meets. */
    for (unsigned i = 0; i < v->n; i++) {
        unsigned h = hash(v->list[i].name) & v->mask;

        while (v->index[h])
            h = (h + 1) & v->mask;
        v->index[h] = (uint16_t)(i + 1);
    }
}

const struct ferry_param *ferry__vars_find(struct ferry__vars *v, struct ferry__arena *a,
                                           struct ferry_slice name)
{
    if (!v->index && v->n && ++v->scans > SCANS_MAX)
        make_index(v, a);
    if (!v->index) {
        for (unsigned i = 0; i < v->n; i++)
            if (ferry_slice_eq(v->list[i].name, name))
                return &v->list[i];
        return NULL;
    }
    for (unsigned h = hash(name) & v->mask; v->index[h]; h = (h + 1) & v->mask)
        if (ferry_slice_eq(v->list[v->index[h] - 1].name, name))
            return &v->list[v->index[h] - 1];
    return NULL;
}
