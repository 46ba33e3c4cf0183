/* SPDX-License-Identifier: MIT */
/*
 * The query and the cookies of a request, as lists. The text is copied once and then taken apart
 * where the copy lies: a decoded value is never longer than what it was, and behind each name and
 * value is a byte that is not needed any more (`=`, `&`, `;`, or the one past the end), which
 * becomes the NUL.
 */
#include <errno.h>

#include "app/form.h"
#include "base/slice.h"

struct ferry_slice ferry_pairs_get(const struct ferry_pairs *pairs, const char *name)
{
    struct ferry_slice want = ferry_slice_z(name);

    for (size_t i = 0; i < pairs->n; i++)
        if (ferry_slice_eq(pairs->list[i].name, want))
            return pairs->list[i].value;
    return ferry_slice(NULL, 0);
}

static const char *as_z(struct ferry_slice s)
{
    return s.p && !memchr(s.p, 0, s.len) ? s.p : NULL;
}

const char *ferry_pairs_get_z(const struct ferry_pairs *pairs, const char *name)
{
    return as_z(ferry_pairs_get(pairs, name));
}

static void terminate(struct ferry_slice s)
{
    char *end = (char *)s.p + s.len;

    *end = 0;
}

static void decode(struct ferry_slice *s)
{
    s->len = ferry_query_decode(*s, (char *)s->p);
    terminate(*s);
}

void ferry__pair_decode(struct ferry_param *pair)
{
    decode(&pair->name);
    decode(&pair->value);
}

static void cookie_decode(struct ferry_param *pair)
{
    terminate(pair->name);
    terminate(pair->value);
}

static int parse(struct ferry_request *r, struct ferry_slice text, size_t max,
                 bool (*next)(struct ferry_slice *, struct ferry_param *),
                 void (*finish)(struct ferry_param *), struct ferry_pairs *out)
{
    struct ferry_slice rest = text;
    struct ferry_param pair, *list;
    size_t n = 0;
    char *copy;

    while (next(&rest, &pair))
        if (n++ == max)
            return FERRY_ELIMIT;
    if (!n) {
        *out = (struct ferry_pairs){NULL, 0};
        return 0;
    }
    list = ferry_request_alloc(r, n * sizeof *list);
    copy = ferry_request_alloc(r, text.len + 1);
    if (!list || !copy)
        return -ENOMEM;
    memcpy(copy, text.p, text.len);
    rest = ferry_slice(copy, text.len);
    for (size_t i = 0; i < n && next(&rest, &list[i]); i++)
        finish(&list[i]);
    *out = (struct ferry_pairs){list, n};
    return 0;
}

int ferry_query_parse(struct ferry_request *r, struct ferry_slice text, size_t max,
                      struct ferry_pairs *out)
{
    return parse(r, text, max, ferry_query_next, ferry__pair_decode, out);
}

int ferry_query_read(struct ferry_request *r, struct ferry_pairs *out)
{
    return ferry_query_parse(r, ferry_request_param(r, "QUERY_STRING"), FERRY_PAIRS_MAX, out);
}

int ferry_cookies_read(struct ferry_request *r, struct ferry_pairs *out)
{
    return parse(r, ferry_request_param(r, "HTTP_COOKIE"), FERRY_PAIRS_MAX, ferry_cookie_next,
                 cookie_decode, out);
}

int ferry_cookie_set(struct ferry_request *r, const struct ferry_cookie *given)
{
    const char *https = ferry_request_param_z(r, "HTTPS");
    struct ferry_cookie cookie = *given;
    char text[4096];
    ssize_t n;

    cookie.secure |= https && ferry_slice_eq_nocase(ferry_slice_z(https), FERRY_SLICE("on"));
    n = ferry_cookie_format(&cookie, text, sizeof text);
    return n < 0 ? (int)n : ferry_request_header(r, "Set-Cookie", text);
}
