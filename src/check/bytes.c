/* SPDX-License-Identifier: MIT */
/* A growing buffer for the checks, which look at whole messages and need no speed. */
#include "check/bytes.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ferry_bytes_init(struct ferry_bytes *b, size_t max)
{
    *b = (struct ferry_bytes){.max = max};
}

void ferry_bytes_fini(struct ferry_bytes *b)
{
    free(b->p);
    *b = (struct ferry_bytes){.max = b->max};
}

char *ferry_bytes_reserve(struct ferry_bytes *b, size_t n)
{
    size_t cap = b->cap ? b->cap : 512;
    char *p;

    if (b->err)
        return NULL;
    if (n > b->max - b->len) {
        b->err = FERRY_ELIMIT;
        return NULL;
    }
    if (n <= b->cap - b->len)
        return b->p + b->len;
    while (cap < b->len + n)
        cap *= 2;
    p = realloc(b->p, cap);
    if (!p) {
        b->err = -ENOMEM;
        return NULL;
    }
    b->p = p;
    b->cap = cap;
    return p + b->len;
}

void ferry_bytes_add(struct ferry_bytes *b, const void *bytes, size_t n)
{
    char *to = n ? ferry_bytes_reserve(b, n) : NULL;

    if (!to)
        return;
    memcpy(to, bytes, n);
    b->len += n;
}

void ferry_bytes_add_z(struct ferry_bytes *b, const char *z)
{
    ferry_bytes_add(b, z, strlen(z));
}

void ferry_bytes_fill(struct ferry_bytes *b, int byte, size_t n)
{
    char *to = n ? ferry_bytes_reserve(b, n) : NULL;

    if (!to)
        return;
    memset(to, byte, n);
    b->len += n;
}

void ferry_bytes_printf(struct ferry_bytes *b, const char *format, ...)
{
    va_list ap;
    char *to;
    int n;

    va_start(ap, format);
    n = vsnprintf(NULL, 0, format, ap);
    va_end(ap);
    if (n <= 0 || !(to = ferry_bytes_reserve(b, (size_t)n + 1)))
        return;
    va_start(ap, format);
    vsnprintf(to, (size_t)n + 1, format, ap);
    va_end(ap);
    b->len += (size_t)n;
}

void ferry_bytes_drop(struct ferry_bytes *b, size_t n)
{
    memmove(b->p, b->p + n, b->len - n);
    b->len -= n;
}
