/* SPDX-License-Identifier: MIT */
/*
 * A multipart body and its Content-Type, which is the first line of the input. However the body is
 * cut, it says the same, its events come in their order, and none of its bytes comes twice.
 */
#include "cgi/multipart.h"

#include <stdio.h>
#include <stdlib.h>

#define HEAD_MAX 512
#define check(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct told {
    uint64_t hash;
    size_t parts, len;
    int err;
    const char *why;
};

static void mix(struct told *t, const void *p, size_t n)
{
    const uint8_t *bytes = p;

    for (size_t i = 0; i < n; i++)
        t->hash = (t->hash ^ bytes[i]) * 0x100000001b3u;
}

static void mix_slice(struct told *t, struct ferry_slice s)
{
    mix(t, &s.len, sizeof s.len);
    mix(t, s.p, s.len);
}

static void take_event(struct told *t, const struct ferry_multipart *m,
                       const struct ferry_multipart_event *ev, bool *open, bool *ended)
{
    check(!*ended);
    switch (ev->what) {
    case FERRY_MULTIPART_PART:
        check(!*open && ev->name.p);
        *open = true;
        t->parts++;
        mix_slice(t, ev->name);
        mix_slice(t, ev->filename);
        mix_slice(t, ev->type);
        for (size_t i = 0; i < 3; i++) {
            struct ferry_slice s = i == 0 ? ev->name : i == 1 ? ev->filename : ev->type;

            for (size_t j = 0; j < s.len; j++)
                check((uint8_t)s.p[j] >= ' ' || s.p[j] == '\t');
            check(!s.p || (s.p >= m->head && s.p + s.len <= m->head + m->head_len));
        }
        break;
    case FERRY_MULTIPART_DATA:
        check(*open && ev->data.len);
        t->len += ev->data.len;
        mix(t, ev->data.p, ev->data.len);
        break;
    case FERRY_MULTIPART_PART_END:
        check(*open);
        *open = false;
        mix(t, "end", 3);
        break;
    case FERRY_MULTIPART_END:
        check(!*open);
        *ended = true;
        break;
    }
}

static struct told read_body(struct ferry_slice type, struct ferry_slice body, size_t step)
{
    struct ferry_multipart m;
    struct ferry_multipart_event ev;
    struct told t = {.hash = 0xcbf29ce484222325u};
    bool open = false, ended = false;
    size_t events = 0;
    char *head = malloc(HEAD_MAX);
    int more;

    check(head);
    t.err = ferry_multipart_init(&m, type, head, HEAD_MAX);
    for (size_t at = 0; t.err == 0 && at < body.len; at += step) {
        struct ferry_slice in = ferry_slice_first(ferry_slice_from(body, at), step);
        struct ferry_slice was = in;

        while ((more = ferry_multipart_next(&m, &in, &ev)) > 0) {
            check(in.len <= was.len && (!in.len || in.p + in.len == was.p + was.len));
            was = in;
            check(++events <= 3 * body.len);
            take_event(&t, &m, &ev, &open, &ended);
        }
        check(more < 0 || in.len == 0);
        t.err = more;
    }
    if (t.err == 0) {
        t.err = ferry_multipart_end(&m);
        check((t.err == 0) == ended);
    }
    check(t.err == 0 || t.err == FERRY_EPROTOCOL || t.err == FERRY_ELIMIT);
    t.why = t.err ? m.why : NULL;
    check(!t.err || t.why);
    check(t.len <= body.len);
    free(head);
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct ferry_slice in = {(const char *)data, n};
    struct ferry_slice type = ferry_slice_first(in, ferry_slice_find(in, '\n'));
    struct ferry_slice body = ferry_slice_from(in, type.len + 1);
    size_t steps[] = {1, 2, 1 + (n ? data[n - 1] % 64 : 0)};
    struct told whole = read_body(type, body, body.len + 1);

    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct told pieces = read_body(type, body, steps[i]);

        check(pieces.err == whole.err && pieces.why == whole.why);
        check(pieces.hash == whole.hash && pieces.parts == whole.parts && pieces.len == whole.len);
    }
    return 0;
}
