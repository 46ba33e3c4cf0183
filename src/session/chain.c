/* SPDX-License-Identifier: MIT */
/*
 * Chains of filters, and what a thread holds of one. A chain is made by one thread, and then only
 * read by all; what its filters need for themselves in each thread lies in a struct
 * ferry_filters_local.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "session/internal.h"

#define FILTERS_MAX 1024

struct ferry_filters *ferry_filters_new(void)
{
    return calloc(1, sizeof(struct ferry_filters));
}

void ferry_filters_free(struct ferry_filters *f)
{
    if (!f)
        return;
    for (unsigned i = 0; i < f->n; i++)
        if (f->items[i].ops->free)
            f->items[i].ops->free(f->items[i].filter);
    free(f->items);
    free(f);
}

static int make_room(struct ferry_filters *f)
{
    unsigned cap = f->cap ? f->cap * 2 : 8;
    struct ferry__filter *items;

    if (f->n < f->cap)
        return 0;
    if (f->n >= FILTERS_MAX)
        return ferry_filters_refuse(f, "a chain has %d filters at most", FILTERS_MAX);
    items = realloc(f->items, cap * sizeof *items);
    if (!items)
        return -ENOMEM;
    f->items = items;
    f->cap = cap;
    return 0;
}

int ferry_filters_push(struct ferry_filters *f, const struct ferry_filter_ops *ops, void *filter)
{
    int err = make_room(f);

    if (err < 0) {
        if (ops->free)
            ops->free(filter);
        return err;
    }
    f->items[f->n++] = (struct ferry__filter){ops, filter};
    return 0;
}

int ferry_filters_refuse(struct ferry_filters *f, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(f->why, sizeof f->why, fmt, ap);
    va_end(ap);
    return FERRY_EUSAGE;
}

const char *ferry_filters_why(const struct ferry_filters *f)
{
    return f->why;
}

/* -- filters of the caller's ------------------------------------------------------------------- */

struct own {
    ferry_filter_fn fn;
    void *arg;
    void (*free_arg)(void *);
};

static int own_run(struct ferry_session *s, void *filter, void *local)
{
    const struct own *own = filter;

    (void)local;
    return own->fn(s, own->arg);
}

static void own_free(void *filter)
{
    struct own *own = filter;

    if (own->free_arg)
        own->free_arg(own->arg);
    free(own);
}

static const struct ferry_filter_ops own_ops = {.name = "own", .run = own_run, .free = own_free};

int ferry_filters_add(struct ferry_filters *f, ferry_filter_fn fn, void *arg,
                      void (*free_arg)(void *))
{
    struct own *own = malloc(sizeof *own);

    if (!own) {
        if (free_arg)
            free_arg(arg);
        return -ENOMEM;
    }
    *own = (struct own){fn, arg, free_arg};
    return ferry_filters_push(f, &own_ops, own);
}

/* -- in a thread ------------------------------------------------------------------------------- */

int ferry_filters_join(const struct ferry_filters *f, struct ferry_session_thread *t,
                       struct ferry_filters_local **out)
{
    struct ferry_filters_local *l = calloc(1, sizeof *l + f->n * sizeof *l->parts);
    int err = 0;

    if (!l)
        return -ENOMEM;
    l->filters = f;
    for (; l->n < f->n; l->n++) {
        const struct ferry__filter *at = &f->items[l->n];

        if (at->ops->join)
            err = at->ops->join(at->filter, t, &l->parts[l->n]);
        if (err < 0) {
            ferry_filters_leave(l);
            return err;
        }
    }
    *out = l;
    return 0;
}

void ferry_filters_leave(struct ferry_filters_local *l)
{
    if (!l)
        return;
    for (unsigned i = 0; i < l->n; i++)
        if (l->filters->items[i].ops->leave)
            l->filters->items[i].ops->leave(l->parts[i]);
    free(l);
}
