/* SPDX-License-Identifier: MIT */
/*
 * One text, read as a query and as cookies, and told back as a cookie to set. All pairs lie in the
 * text, in order and without overlap, with a byte to spare behind each name and value; decoding
 * never makes more of it, and nothing leaves a Set-Cookie.
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/slice.h"
#include "ferry/form.h"

#define check(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_pairs(struct ferry_slice text,
                        bool (*next)(struct ferry_slice *, struct ferry_param *))
{
    const char *at = text.p, *end = text.p + text.len;
    struct ferry_slice rest = text;
    struct ferry_param pair;

    while (next(&rest, &pair)) {
        const char *name_end = pair.name.p + pair.name.len;
        const char *value_end = pair.value.p + pair.value.len;

        check(pair.name.p >= at && name_end <= pair.value.p && value_end <= end);
        /* The NULs that are written there end nothing else. */
        check(name_end < pair.value.p || pair.value.len == 0);
        check(value_end < rest.p || !rest.len);
        check(rest.p + rest.len == end || !rest.len);
        at = value_end;
    }
}

static void check_decoding(struct ferry_slice text)
{
    char *once = malloc(text.len + 1), *in_place = malloc(text.len + 1);
    size_t n, escapes = 0;

    check(once && in_place);
    if (text.len)
        memcpy(in_place, text.p, text.len);
    n = ferry_query_decode(text, once);
    check(n <= text.len);
    check(ferry_query_decode(ferry_slice(in_place, text.len), in_place) == n);
    check(memcmp(once, in_place, n) == 0);
    for (size_t i = 0; i < text.len; i++)
        escapes += text.p[i] == '%';
    check(n + 2 * escapes >= text.len);
    free(once);
    free(in_place);
}

static void check_cookie(struct ferry_slice text)
{
    char *z = malloc(text.len + 1), out[512];
    struct ferry_cookie c = {.name = z};
    char *parts[3] = {NULL, NULL, NULL};
    unsigned semicolons = 0;
    ssize_t n;

    check(z);
    if (text.len)
        memcpy(z, text.p, text.len);
    z[text.len] = 0;
    /* name, value, path and domain stand on lines of their own. */
    for (size_t i = 0, at = 0; i < text.len && at < 3; i++)
        if (z[i] == '\n') {
            z[i] = 0;
            parts[at++] = z + i + 1;
        }
    c.value = parts[0];
    c.path = parts[1];
    c.domain = parts[2];
    n = ferry_cookie_format(&c, out, sizeof out);
    check(n == FERRY_EUSAGE || n == FERRY_ELIMIT || n > 0);
    for (ssize_t i = 0; i < n; i++) {
        check((uint8_t)out[i] >= ' ' && out[i] != 0x7f);
        semicolons += out[i] == ';';
    }
    if (n > 0)
        check(out[n] == 0 &&
              semicolons == 3u + (c.domain != NULL) + (strstr(out, "; Secure;") != NULL));
    free(z);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct ferry_slice text = {(const char *)data, n};

    check_pairs(text, ferry_query_next);
    check_pairs(text, ferry_cookie_next);
    check_decoding(text);
    check_cookie(text);
    return 0;
}
