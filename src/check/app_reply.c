/* SPDX-License-Identifier: MIT */
/* What an application answered: its header block, its content, and the answers of probes. */
#include <string.h>

#include "check/app_check.h"

struct ferry_slice ferry__reply_body(const struct ferry__reply *r)
{
    const char *p = r->out.p, *end = p + r->out.len;

    /* An empty line, whichever way lines end. */
    for (const char *at = p; at && at < end; at++) {
        if (*at != '\n')
            continue;
        if (at + 1 < end && at[1] == '\n')
            return ferry_slice(at + 2, (size_t)(end - at - 2));
        if (at + 2 < end && at[1] == '\r' && at[2] == '\n')
            return ferry_slice(at + 3, (size_t)(end - at - 3));
    }
    return ferry_slice(NULL, 0);
}

struct ferry_slice ferry__reply_header(const struct ferry__reply *r, const char *name)
{
    struct ferry_slice body = ferry__reply_body(r), rest, line;

    if (!body.p)
        return body;
    rest = ferry_slice(r->out.p, (size_t)(body.p - r->out.p));
    while (rest.len) {
        size_t n = ferry_slice_find(rest, '\n'), colon;

        line = ferry_slice_first(rest, n);
        rest = ferry_slice_from(rest, n + 1);
        if (line.len && line.p[line.len - 1] == '\r')
            line.len--;
        colon = ferry_slice_find(line, ':');
        if (colon < line.len &&
            ferry_slice_eq_nocase(ferry_slice_first(line, colon), ferry_slice_z(name)))
            return ferry_slice_trim(ferry_slice_from(line, colon + 1));
    }
    return ferry_slice(NULL, 0);
}

int ferry__reply_status(const struct ferry__reply *r)
{
    struct ferry_slice status = ferry__reply_header(r, "Status");
    uint64_t n;

    if (!ferry__reply_body(r).p)
        return -1;
    if (!status.p)
        return ferry__reply_header(r, "Location").p ? 302 : 200;
    if (ferry_slice_u64(ferry_slice_first(status, 3), 999, &n) < 0)
        return -1;
    return (int)n;
}

struct ferry_slice ferry__conv_value(const struct ferry__conv *v, const char *name)
{
    size_t at = 0;
    struct ferry_param pair;
    ssize_t n;

    while (at < v->values_len &&
           (n = ferry_param_decode(v->values + at, v->values_len - at, 512, &pair)) > 0) {
        if (ferry_slice_eq(pair.name, ferry_slice_z(name)))
            return pair.value;
        at += (size_t)n;
    }
    return ferry_slice(NULL, 0);
}

const char *ferry__word_or_plain(struct ferry_check *c, unsigned word, const char *text)
{
    return (ferry__target(c)->words & word) == word ? text : NULL;
}

char *ferry__pattern(struct ferry_check *c, size_t n)
{
    char *p = ferry_check_alloc(c, n + 1);

    for (size_t i = 0; i < n; i++)
        p[i] = (char)('a' + i % 26);
    return p;
}

size_t ferry__pattern_differs(const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (((const char *)p)[i] != (char)('a' + i % 26))
            return i;
    return n;
}

unsigned ferry__reply_param(const struct ferry__reply *r, struct ferry_slice name,
                            struct ferry_slice *out)
{
    struct ferry_slice rest = ferry__reply_body(r);
    unsigned found = 0;

    while (rest.len) {
        size_t blank = ferry_slice_find(rest, ' '), end = ferry_slice_find(rest, '\n');
        uint64_t nlen, vlen;

        if (blank >= end || end == rest.len ||
            ferry_slice_u64(ferry_slice_first(rest, blank), INT32_MAX, &nlen) < 0 ||
            ferry_slice_u64(ferry_slice(rest.p + blank + 1, end - blank - 1), INT32_MAX, &vlen) <
                0 ||
            rest.len - end - 1 < nlen + vlen)
            return found;
        rest = ferry_slice_from(rest, end + 1);
        if (ferry_slice_eq(ferry_slice_first(rest, nlen), name) && found++ == 0)
            *out = ferry_slice(rest.p + nlen, vlen);
        rest = ferry_slice_from(rest, nlen + vlen + 1);
    }
    return found;
}
