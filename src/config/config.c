/* SPDX-License-Identifier: MIT */
/*
 * A configuration and its memory: blocks that are only ever added to and all go at once, so that a
 * configuration can be made in pieces by whoever, and freed by one.
 */
#include "config/config.h"

#include <errno.h>
#include <stdlib.h>

#include "base/slice.h"
#include "config/lex.h"
#include "config/private.h"

#define PIECE 16384
#define MEMORY_MAX ((size_t)1 << 30)

struct piece {
    struct piece *next;
    size_t used, cap;
    _Alignas(max_align_t) char bytes[];
};

struct ferry_config_memory {
    struct piece *pieces;
    size_t all;
};

struct ferry_config *ferry_config_new(void)
{
    struct ferry_config *c = calloc(1, sizeof *c);

    if (c)
        c->memory = calloc(1, sizeof *c->memory);
    if (!c || !c->memory) {
        free(c);
        return NULL;
    }
    ferry__settings_fallback(FERRY__BLOCK_TOP, c);
    return c;
}

void ferry_config_free(struct ferry_config *c)
{
    if (!c)
        return;
    for (struct piece *p = c->memory->pieces, *next; p; p = next) {
        next = p->next;
        free(p);
    }
    free(c->memory);
    free(c);
}

void *ferry_config_alloc(struct ferry_config *c, size_t n)
{
    struct ferry_config_memory *m = c->memory;
    struct piece *p = m->pieces;
    size_t need = (n + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);

    if (need < n || need > MEMORY_MAX - m->all)
        return NULL;
    if (!p || need > p->cap - p->used) {
        size_t cap = need > PIECE ? need : PIECE;

        p = calloc(1, sizeof *p + cap);
        if (!p)
            return NULL;
        p->cap = cap;
        m->all += cap;
        /* A large one is full at once; the one before may still have room. */
        if (need > PIECE && m->pieces) {
            p->next = m->pieces->next;
            m->pieces->next = p;
        } else {
            p->next = m->pieces;
            m->pieces = p;
        }
    }
    p->used += need;
    return p->bytes + p->used - need;
}

char *ferry_config_text(struct ferry_config *c, const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = ferry_config_alloc(c, n);

    if (copy)
        memcpy(copy, text, n);
    return copy;
}

void ferry_config_application_init(struct ferry_config_application *a)
{
    *a = (struct ferry_config_application){.client = {FERRY_CLIENT_OPTS_SIZE}};
    ferry__settings_fallback(FERRY__BLOCK_APPLICATION, a);
}

void ferry_config_site_init(struct ferry_config_site *s)
{
    *s = (struct ferry_config_site){0};
    ferry__settings_fallback(FERRY__BLOCK_SITE, s);
}

void ferry_config_mail_init(struct ferry_config_mail *m)
{
    *m = (struct ferry_config_mail){0};
    ferry__settings_fallback(FERRY__BLOCK_MAIL, m);
}

/* -- filters ---------------------------------------------------------------------------------- */

/* The value of one argument as text; a list gets one more. */
static int set(struct ferry_config *c, struct ferry_config_filter *f, unsigned i, const char *text,
               const char **why)
{
    const struct ferry_filter_arg *arg = &f->kind->args[i];
    struct ferry_arg_value *v = &f->values[i];
    uint64_t number = 0;
    const char **list;
    bool on = false;
    char *copy;
    int err = 0;

    switch (arg->type) {
    case FERRY_ARG_INT:
        err = ferry__value_number(text, &number, why);
        break;
    case FERRY_ARG_BOOL:
        err = ferry__value_switch(text, &on, why);
        number = on;
        break;
    case FERRY_ARG_DURATION:
        err = ferry__value_duration(text, &number, why);
        break;
    case FERRY_ARG_SIZE:
        err = ferry__value_size(text, &number, why);
        break;
    default:
        copy = ferry_config_text(c, text);
        if (!copy)
            return -ENOMEM;
        if (arg->type == FERRY_ARG_TEXT) {
            v->text = copy;
        } else if (arg->type == FERRY_ARG_CLIENT) {
            f->applications[i] = copy;
        } else {
            list = ferry__grow(c, v->list, v->nlist, sizeof *list);
            if (!list)
                return -ENOMEM;
            list[v->nlist++] = copy;
            v->list = list;
        }
    }
    if (err < 0)
        return err;
    v->number = (int64_t)number;
    v->set = true;
    return 0;
}

/* A fallback is written as in a file: "30s", "{ index.php, index.html }". */
static int set_fallback(struct ferry_config *c, struct ferry_config_filter *f, unsigned i)
{
    const struct ferry_filter_arg *arg = &f->kind->args[i];
    struct ferry__lexer lexer;
    struct ferry__token t;
    const char *why;
    char word[256];
    int err = 0;

    if (!arg->fallback)
        return 0;
    if (arg->type != FERRY_ARG_LIST)
        return set(c, f, i, arg->fallback, &why);
    ferry__lexer_init(&lexer, ferry_slice_z(arg->fallback));
    do {
        ferry__lexer_next(&lexer, &t);
        if ((t.type == FERRY__TOKEN_WORD || t.type == FERRY__TOKEN_STRING) &&
            t.raw.len < sizeof word) {
            ferry__token_text(&t, word);
            err = set(c, f, i, word, &why);
        }
    } while (err == 0 && t.type != FERRY__TOKEN_END);
    return err;
}

int ferry__filter_init(struct ferry_config *c, struct ferry_config_filter *f,
                       const struct ferry_filter_kind *kind)
{
    int err = 0;

    *f = (struct ferry_config_filter){.kind = kind};
    f->values = ferry_config_alloc(c, kind->nargs * sizeof *f->values);
    f->applications = ferry_config_alloc(c, kind->nargs * sizeof *f->applications);
    if (!f->values || !f->applications)
        return -ENOMEM;
    for (unsigned i = 0; i < kind->nargs && err == 0; i++)
        err = set_fallback(c, f, i);
    return err;
}

int ferry__filter_set(struct ferry_config *c, struct ferry_config_filter *f, unsigned i,
                      const char *text, bool more, const char **why)
{
    struct ferry_arg_value before = f->values[i];
    int err;

    if (!more)
        f->values[i] = (struct ferry_arg_value){0};
    err = set(c, f, i, text, why);
    if (err < 0)
        f->values[i] = before;
    return err;
}

struct ferry_config_filter *
ferry_config_filter_add(struct ferry_config *c, struct ferry_config_route *route, const char *name)
{
    const struct ferry_filter_kind *kind = ferry_filter_kind_find(name);
    struct ferry_config_filter *filters;

    if (!kind)
        return NULL;
    filters = ferry__grow(c, route->filters, route->nfilters, sizeof *filters);
    if (!filters)
        return NULL;
    route->filters = filters;
    if (ferry__filter_init(c, &filters[route->nfilters], kind) < 0)
        return NULL;
    return &filters[route->nfilters++];
}

int ferry_config_filter_set(struct ferry_config *c, struct ferry_config_filter *f, const char *arg,
                            const char *value)
{
    const char *why;
    int err;

    for (unsigned i = 0; i < f->kind->nargs; i++)
        if (strcmp(f->kind->args[i].name, arg) == 0) {
            /* The first takes the place of a list's fallback. */
            err = ferry__filter_set(c, f, i, value, (f->said >> i & 1) && f->values[i].nlist, &why);
            if (err == 0)
                f->said |= (uint64_t)1 << i;
            return err;
        }
    return FERRY_EUSAGE;
}

void *ferry__grow(struct ferry_config *c, const void *array, unsigned n, size_t size)
{
    void *more;

    /* There is room up to the next power of two. */
    if (n & (n - 1))
        return (void *)array;
    if (n > UINT32_MAX / 4)
        return NULL;
    more = ferry_config_alloc(c, (n ? 2 * (size_t)n : 1) * size);
    if (more && n)
        memcpy(more, array, n * size);
    return more;
}
