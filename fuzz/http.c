/* SPDX-License-Identifier: MIT */
/*
 * One HTTP connection with an owner that answers in one of several manners. The first two bytes
 * choose the manner and the cuts, the rest is what the client sends. The same input goes in whole
 * and in pieces and must mean the same both times; every slice lies where it may; there are never
 * more responses than requests; nothing is understood behind what was refused; output stays
 * bounded; and when time passes, the connection ends.
 */
#include "http/http.h"

#include <stdlib.h>

#define check(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* X(bit, name) of the first byte */
#define MANNER_MAP(X)                                                                              \
    X(0, UNWANTED)   /* bodies are not asked for */                                                \
    X(1, EARLY)      /* answers at the head rather than at the end */                              \
    X(2, UNKNOWN)    /* the length of responses is not known */                                    \
    X(3, SHORT)      /* less comes than was promised */                                            \
    X(4, HALF_CLOSE) /* the client closes its sending side at the end */                           \
    X(5, CLOSE)      /* responses end the connection */                                            \
    X(6, DRAIN)      /* drains at the second request */                                            \
    X(7, INTERIM)    /* sends 103 first */

enum manner {
#define X(bit, name) name = 1 << bit,
    MANNER_MAP(X)
#undef X
};

struct run {
    struct ferry_http *m;
    unsigned manner;
    uint64_t now;
    const char *piece; /* what recv was given last */
    size_t piece_len;
    bool answered;
    unsigned heads, bads, gone, responses;
    uint64_t told;  /* a hash of all that was told */
    bool in_body;   /* the last thing told was body */
    bool by_timing; /* whether the body had begun to come decides what happens */
    size_t out_len;
};

static void tell(struct run *r, const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        r->told = (r->told ^ ((const uint8_t *)p)[i]) * 0x100000001b3u;
}

static void tell_slice(struct run *r, struct ferry_slice s)
{
    tell(r, &s.len, sizeof s.len);
    tell(r, s.p, s.len);
}

static void read_output(struct run *r)
{
    struct ferry_chain *out = ferry_http_output(r->m);
    struct iovec iov[4];

    while (ferry_chain_iov(out, iov, 4)) {
        r->out_len += iov[0].iov_len;
        ferry_http_sent(r->m, iov[0].iov_len, r->now);
    }
    check(out->len == 0);
}

static void answer(struct run *r, int status)
{
    static const struct ferry_http_field field = {FERRY_SLICE_INIT("X-Field"),
                                                  FERRY_SLICE_INIT("value")};
    struct ferry_http_response response = {.status = status,
                                           .fields = &field,
                                           .nfields = 1,
                                           .content_length = r->manner & UNKNOWN ? -1 : 5,
                                           .close = r->manner & CLOSE};

    if (r->answered)
        return;
    r->answered = true;
    r->responses++;
    if (r->manner & INTERIM)
        check(ferry_http_interim(r->m, 103, &field, 1) == 0);
    check(ferry_http_respond(r->m, &response) == 0);
    check(ferry_http_write(r->m, NULL, FERRY_SLICE("four")) == 0);
    if (!(r->manner & SHORT))
        check(ferry_http_write(r->m, NULL, FERRY_SLICE("5")) == 0);
    check(ferry_http_finish(r->m) <= 0);
}

static void check_head(struct run *r, const struct ferry_http_head *h)
{
    check(h->method.len > 0 && h->target.len > 0 && h->minor <= 1);
    check(h->content_length >= -1 && h->has_body == (h->content_length != 0));
    check(h->host.len || h->minor == 0);
    check(h->nfields <= FERRY_HTTP_FIELDS_MAX);
    tell_slice(r, h->method);
    tell_slice(r, h->target);
    tell_slice(r, h->host);
    tell(r, &h->content_length, sizeof h->content_length);
    for (unsigned i = 0; i < h->nfields; i++) {
        struct ferry_slice v = h->fields[i].value;

        check(h->fields[i].name.len > 0);
        for (size_t at = 0; at < v.len; at++)
            check(((uint8_t)v.p[at] >= 0x20 && v.p[at] != 0x7f) || v.p[at] == '\t');
        tell_slice(r, h->fields[i].name);
        tell_slice(r, v);
    }
}

/* False when there was nothing to pull. */
static bool pull(struct run *r)
{
    static struct ferry_http_event ev;
    bool any = false;

    while (ferry_http_event(r->m, &ev) == 1) {
        any = true;
        if (ev.type != FERRY_HTTP_EV_BODY || !r->in_body)
            tell(r, &ev.type, sizeof ev.type);
        r->in_body = ev.type == FERRY_HTTP_EV_BODY;
        check(!r->gone);
        switch (ev.type) {
        case FERRY_HTTP_EV_HEAD:
            check(!r->bads);
            r->heads++;
            r->answered = false;
            check_head(r, &ev.head);
            if (ev.head.expects_continue)
                r->by_timing = true;
            if (r->heads == 2 && r->manner & DRAIN)
                ferry_http_drain(r->m);
            if (!(r->manner & UNWANTED))
                ferry_http_body_start(r->m, r->now);
            if (r->manner & EARLY || (r->manner & UNWANTED && ev.head.has_body))
                answer(r, 200);
            break;
        case FERRY_HTTP_EV_BODY:
            check(ev.data.len > 0 && ev.data.p >= r->piece &&
                  ev.data.p + ev.data.len <= r->piece + r->piece_len);
            check(!(r->manner & UNWANTED) && !r->answered);
            tell(r, ev.data.p, ev.data.len);
            break;
        case FERRY_HTTP_EV_END:
            check(!r->answered);
            answer(r, 200);
            break;
        case FERRY_HTTP_EV_BAD:
            check(ev.status >= 400 && ev.status <= 505 && ev.why && *ev.why);
            check(!r->bads++);
            tell(r, &ev.status, sizeof ev.status);
            r->answered = false;
            answer(r, ev.status);
            break;
        case FERRY_HTTP_EV_GONE:
            r->gone++;
        }
    }
    return any;
}

/* Gives one piece, in memory of exactly its size. */
static void give(struct run *r, const uint8_t *p, size_t n)
{
    char *copy = malloc(n ? n : 1);
    size_t at = 0;
    bool idle_turn = false;

    if (n)
        memcpy(copy, p, n);
    while (at < n && !ferry_http_finished(r->m)) {
        ssize_t took;
        bool told;

        r->piece = copy + at;
        r->piece_len = n - at;
        took = ferry_http_recv(r->m, r->piece, r->piece_len, r->now);
        check(took >= 0 && (size_t)took <= n - at);
        at += (size_t)took;
        told = pull(r);
        read_output(r);
        /* This owner answers all it is told, so nothing is held back twice. */
        check(took > 0 || told || !idle_turn);
        idle_turn = took == 0 && !told;
    }
    /* The slices of a head live until here. */
    free(copy);
}

static void run(struct run *r, const uint8_t *data, size_t n, bool whole)
{
    struct ferry_blocks blocks;
    const struct ferry_http_opts opts = {
        .blocks = &blocks, .head_max = 600, .target_max = 200, .body_max = 1000};
    uint32_t cut = data[1];
    size_t at = 2;

    ferry_blocks_init(&blocks, 1, 1);
    *r = (struct run){.manner = data[0], .told = 0xcbf29ce484222325u, .answered = true};
    r->m = ferry_http_new(&opts, 0);
    check(r->m);
    while (at < n) {
        size_t take = n - at;

        cut = cut * 1664525 + 1013904223;
        if (!whole && take > 1 + (cut >> 24) % (data[1] + 1u))
            take = 1 + (cut >> 24) % (data[1] + 1u);
        give(r, data + at, take);
        at += take;
    }
    if (r->manner & HALF_CLOSE && !ferry_http_finished(r->m)) {
        check(ferry_http_recv(r->m, NULL, 0, r->now) == 0);
        pull(r);
        read_output(r);
        check(ferry_http_finished(r->m));
    }
    for (int i = 0; !ferry_http_finished(r->m); i++) {
        check(i < 6 && ferry_http_deadline(r->m) != FERRY_NEVER);
        r->now = ferry_http_deadline(r->m) > r->now ? ferry_http_deadline(r->m) : r->now;
        ferry_http_tick(r->m, r->now);
        pull(r);
        read_output(r);
    }
    check(r->responses <= r->heads + r->bads);
    check(r->out_len <= (r->heads + r->bads) * 300u);
    ferry_http_free(r->m);
    ferry_blocks_fini(&blocks);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct run whole, pieces;

    if (n < 2)
        return 0;
    run(&whole, data, n, true);
    run(&pieces, data, n, false);
    if (whole.by_timing || pieces.by_timing)
        return 0;
    check(whole.told == pieces.told);
    check(whole.out_len == pieces.out_len);
    return 0;
}
