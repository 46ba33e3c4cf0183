/* SPDX-License-Identifier: MIT */
/* Names and texts of errors, and the end of a program that caught itself in a mistake. */
#include "ferry/err.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

static int number(int err)
{
    return err < 0 && err > INT_MIN ? -err : err;
}

const char *ferry_strerror(int err)
{
    switch (err) {
#define X(name, value, text)                                                                       \
    case FERRY_E##name:                                                                            \
        return text;
        FERRY_ERR_MAP(X)
#undef X
    default:
        return strerror(number(err));
    }
}

const char *ferry_errname(int err)
{
    const char *name;

    switch (err) {
#define X(name, value, text)                                                                       \
    case FERRY_E##name:                                                                            \
        return #name;
        FERRY_ERR_MAP(X)
#undef X
    default:
        name = strerrorname_np(number(err));
        return name ? name : "unknown";
    }
}

void ferry__assert_failed(const char *cond, const char *file, int line)
{
    fprintf(stderr, "ferry: %s:%d: this must hold and does not: %s\n", file, line, cond);
    abort();
}
