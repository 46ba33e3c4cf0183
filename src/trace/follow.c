/* SPDX-License-Identifier: MIT */
/*
 * Each direction is walked record by record; what a record holds goes to the stream of its request
 * as it comes, so nothing is kept of a record but its header and the eight bytes of a fixed body.
 * Requests lie in a small hash table by id. One that is over is handed out as an event, and freed
 * by the next call.
 *
 * Every byte that is kept is counted in the budget. A stream that finds no room there keeps no
 * more, which its `kept` against its `len` tells.
 */
#include "trace/follow.h"

#include <stdlib.h>

#include "cgi/response.h"
#include "ferry/params.h"

#define REQUESTS_MAX 1024
#define PARAMS_MAX 65536
#define HEAD_MAX 16384
#define ERR_KEPT 1024
#define FAULTS_MAX 16 /* that are told of one connection */
#define BUCKETS 64

struct direction {
    struct ferry_follow_request *request; /* the record at hand is one of its */
    struct ferry_record r;
    size_t left, padding, nhead, nbody;
    bool in_record, blind, ended; /* blind: what follows are no records */
    unsigned char head[FERRY_RECORD_HEADER_LEN], body[FERRY_RECORD_BODY_LEN];
};

struct ferry_follow {
    struct ferry_follow_opts opts;
    struct direction dirs[2];
    struct ferry_follow_request *buckets[BUCKETS];
    struct ferry_follow_request *over, *shown; /* to be handed out; was handed out */
    const char *fault;
    uint64_t missed, now_us;
    enum ferry_follow_side fault_side;
    unsigned nopen, nfaults;
    uint16_t fault_id;
};

struct ferry_follow *ferry_follow_new(const struct ferry_follow_opts *opts)
{
    struct ferry_follow *f = calloc(1, sizeof *f);

    if (!f)
        return NULL;
    f->opts = *opts;
    if (!f->opts.requests_max)
        f->opts.requests_max = REQUESTS_MAX;
    if (!f->opts.params_max)
        f->opts.params_max = PARAMS_MAX;
    if (!f->opts.head_max)
        f->opts.head_max = HEAD_MAX;
    return f;
}

static void free_request(struct ferry_follow *f, struct ferry_follow_request *r)
{
    struct ferry_follow_stream *streams[] = {&r->params, &r->in, &r->data, &r->out, &r->err};

    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        f->opts.budget->used -= streams[i]->cap;
        free(streams[i]->p);
    }
    f->opts.budget->used -= sizeof *r;
    free(r);
}

void ferry_follow_free(struct ferry_follow *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        while (f->buckets[i]) {
            struct ferry_follow_request *r = f->buckets[i];

            f->buckets[i] = r->next;
            free_request(f, r);
        }
    if (f->over)
        free_request(f, f->over);
    if (f->shown)
        free_request(f, f->shown);
    free(f);
}

/* -- requests and faults -- */

static struct ferry_follow_request *find(const struct ferry_follow *f, uint16_t id)
{
    struct ferry_follow_request *r = f->buckets[id % BUCKETS];

    while (r && r->id != id)
        r = r->next;
    return r;
}

/* It is over: the next event. */
static void finish(struct ferry_follow *f, struct ferry_follow_request *r)
{
    struct ferry_follow_request **at = &f->buckets[r->id % BUCKETS];

    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    for (size_t i = 0; i < 2; i++)
        if (f->dirs[i].request == r)
            f->dirs[i].request = NULL;
    f->nopen--;
    r->ended_us = f->now_us;
    if (!r->fault && r->out.len && !r->status && !r->head_over)
        r->fault = "the header block of the answer is not whole";
    f->over = r;
}

static void request_fault(struct ferry_follow_request *r, const char *what)
{
    if (!r->fault)
        r->fault = what;
}

static void fault(struct ferry_follow *f, const struct direction *d, uint16_t id, const char *what)
{
    if (f->fault || f->nfaults == FAULTS_MAX)
        return;
    f->nfaults++;
    f->fault = what;
    f->fault_side = d == &f->dirs[FERRY_FOLLOW_APP] ? FERRY_FOLLOW_APP : FERRY_FOLLOW_SERVER;
    f->fault_id = id;
}

static void begin_request(struct ferry_follow *f, struct direction *d)
{
    struct ferry_follow_request *r = find(f, d->r.id);
    struct ferry_follow_budget *budget = f->opts.budget;
    struct ferry_begin_body body;

    if (d->r.content_len != FERRY_RECORD_BODY_LEN) {
        fault(f, d, d->r.id, "a BEGIN_REQUEST record that is not 8 bytes long");
        if (d->r.content_len < FERRY_RECORD_BODY_LEN)
            return;
    }
    if (r) {
        request_fault(r, "its id was begun again before it ended");
        finish(f, r);
    }
    r = f->nopen < f->opts.requests_max && budget->max - budget->used >= sizeof *r
            ? calloc(1, sizeof *r)
            : NULL;
    if (!r) {
        f->missed++;
        return;
    }
    budget->used += sizeof *r;
    ferry_begin_body_decode(d->body, &body);
    r->id = d->r.id;
    r->role = body.role;
    r->flags = body.flags;
    r->began_us = f->now_us;
    r->next = f->buckets[r->id % BUCKETS];
    f->buckets[r->id % BUCKETS] = r;
    f->nopen++;
}

static void end_request(struct ferry_follow *f, struct direction *d)
{
    struct ferry_follow_request *r = d->request;
    struct ferry_end_body body;

    if (!r)
        return;
    if (d->r.content_len != FERRY_RECORD_BODY_LEN)
        request_fault(r, "an END_REQUEST record that is not 8 bytes long");
    if (d->r.content_len >= FERRY_RECORD_BODY_LEN) {
        ferry_end_body_decode(d->body, &body);
        r->app_status = body.app_status;
        r->protocol_status = body.protocol_status;
    }
    r->ended = true;
    finish(f, r);
}

/* -- streams -- */

static struct ferry_follow_stream *stream_of(struct ferry_follow_request *r, unsigned type)
{
    switch (type) {
    case FERRY_PARAMS:
        return &r->params;
    case FERRY_STDIN:
        return &r->in;
    case FERRY_DATA:
        return &r->data;
    case FERRY_STDOUT:
        return &r->out;
    case FERRY_STDERR:
        return &r->err;
    default:
        return NULL;
    }
}

/* Keeps the bytes if all before them were kept and there is room; counts them always. */
static void add(struct ferry_follow *f, struct ferry_follow_stream *s, const char *p, size_t n,
                size_t max)
{
    struct ferry_follow_budget *budget = f->opts.budget;
    bool gap = s->kept < s->len;
    size_t take = n;

    s->len += n;
    if (gap || s->kept >= max)
        return;
    if (take > max - s->kept)
        take = max - s->kept;
    if (take > s->cap - s->kept) {
        size_t cap = s->cap ? 2 * s->cap : 512;
        char *grown;

        if (cap < s->kept + take)
            cap = s->kept + take;
        if (cap - s->cap > budget->max - budget->used)
            return;
        grown = realloc(s->p, cap);
        if (!grown)
            return;
        budget->used += cap - s->cap;
        s->p = grown;
        s->cap = cap;
    }
    memcpy(s->p + s->kept, p, take);
    s->kept += take;
}

static void read_head(struct ferry_follow *f, struct ferry_follow_request *r)
{
    struct ferry_cgi_response response;
    const char *why = NULL;
    ssize_t took = 1;

    while (!r->head_over && took > 0) {
        took = ferry_cgi_response_parse(r->out.p + r->head_len, r->out.kept - r->head_len,
                                        f->opts.head_max, &r->scanned, &response, &why);
        if (took < 0) {
            request_fault(r, why);
            r->head_over = true;
        } else if (took > 0) {
            r->head_len += (size_t)took;
            r->scanned = 0;
            r->status = (uint16_t)response.status;
            r->head_over = response.status >= 200; /* others are interim */
        }
    }
    if (!r->head_over && r->out.kept < r->out.len) {
        request_fault(r, "the header block of the answer is longer than is looked at");
        r->head_over = true;
    }
}

static void take_content(struct ferry_follow *f, struct direction *d, const char *p, size_t n)
{
    struct ferry_follow_request *r = d->request;
    size_t whole = f->opts.whole ? SIZE_MAX : 0;

    if (!r)
        return;
    switch (d->r.type) {
    case FERRY_PARAMS:
        add(f, &r->params, p, n, f->opts.params_max);
        break;
    case FERRY_STDIN:
        add(f, &r->in, p, n, whole);
        break;
    case FERRY_DATA:
        add(f, &r->data, p, n, whole);
        break;
    case FERRY_STDERR:
        add(f, &r->err, p, n, ERR_KEPT);
        break;
    case FERRY_STDOUT:
        if (!r->first_us)
            r->first_us = f->now_us;
        /* once the header block is read the rest is only counted */
        add(f, &r->out, p, n, whole ? whole : r->head_over ? 0 : 2 * f->opts.head_max);
        if (!r->head_over)
            read_head(f, r);
        break;
    default:
        break;
    }
}

static void end_stream(struct ferry_follow_request *r, unsigned type)
{
    struct ferry_follow_stream *s = stream_of(r, type);
    struct ferry_param pair;
    ssize_t took = 1;

    s->ended = true;
    if (type != FERRY_PARAMS || s->kept < s->len)
        return;
    for (size_t at = 0; at < s->kept; at += (size_t)took) {
        took = ferry_param_decode(s->p + at, s->kept - at, SIZE_MAX, &pair);
        if (took <= 0) {
            request_fault(r, "the last pair of its params is cut");
            return;
        }
    }
}

/* -- records -- */

static bool is_from_server(unsigned type)
{
    switch (type) {
#define X(name, value, mgmt, stream, server)                                                       \
    case value:                                                                                    \
        return server;
        FERRY_RECORD_TYPE_MAP(X)
#undef X
    default:
        return false;
    }
}

static void begin_record(struct ferry_follow *f, struct direction *d)
{
    bool server = d == &f->dirs[FERRY_FOLLOW_SERVER];
    unsigned type = d->r.type;
    struct ferry_follow_stream *s;

    d->left = d->r.content_len;
    d->padding = d->r.padding_len;
    d->nbody = 0;
    d->in_record = true;
    d->request = NULL;
    if (!ferry_record_type_name(type)) {
        fault(f, d, d->r.id, "a record of a type that the specification does not name");
        return;
    }
    if (is_from_server(type) != server) {
        fault(f, d, d->r.id, "a record of a type that only the other side sends");
        return;
    }
    if (ferry_record_type_is_management(type) || type == FERRY_BEGIN_REQUEST)
        return;
    d->request = find(f, d->r.id);
    if (!d->request) {
        /* The web server cannot know yet that a request has ended. */
        if (!server && !f->missed)
            fault(f, d, d->r.id, "a record for a request that is not open");
        return;
    }
    if (type == FERRY_ABORT_REQUEST)
        d->request->aborted = true;
    s = stream_of(d->request, type);
    if (s && s->ended)
        request_fault(d->request, "a stream goes on after its end");
    else if (s && d->left == 0)
        end_stream(d->request, type);
}

static void end_record(struct ferry_follow *f, struct direction *d)
{
    d->in_record = false;
    d->nhead = 0;
    if (d->r.type == FERRY_BEGIN_REQUEST && d == &f->dirs[FERRY_FOLLOW_SERVER])
        begin_request(f, d);
    else if (d->r.type == FERRY_END_REQUEST && d == &f->dirs[FERRY_FOLLOW_APP])
        end_request(f, d);
    d->request = NULL;
}

/* Some bytes: how many were taken, at least one. */
static size_t take(struct ferry_follow *f, struct direction *d, const char *p, size_t n)
{
    size_t took = n;

    if (d->blind)
        return n;
    if (d->in_record && d->left) {
        took = n < d->left ? n : d->left;
        for (size_t i = 0; i < took && d->nbody < sizeof d->body; i++)
            d->body[d->nbody++] = (unsigned char)p[i];
        take_content(f, d, p, took);
        d->left -= took;
    } else if (d->in_record) {
        took = n < d->padding ? n : d->padding;
        d->padding -= took;
    } else {
        took = 1;
        d->head[d->nhead++] = (unsigned char)*p;
        if (d->head[0] != FERRY_RECORD_VERSION) {
            fault(f, d, 0, "bytes that are no FastCGI; what follows is passed on and not followed");
            d->blind = true;
        } else if (d->nhead == sizeof d->head &&
                   ferry_record_decode(d->head, sizeof d->head, &d->r) > 0) {
            begin_record(f, d);
        }
    }
    if (d->in_record && d->left == 0 && d->padding == 0)
        end_record(f, d);
    return took;
}

static bool is_waiting(const struct ferry_follow *f)
{
    return f->over || f->fault || (f->dirs[FERRY_FOLLOW_APP].ended && f->nopen);
}

static void forget_shown(struct ferry_follow *f)
{
    if (f->shown)
        free_request(f, f->shown);
    f->shown = NULL;
}

size_t ferry_follow_recv(struct ferry_follow *f, enum ferry_follow_side side, const void *p,
                         size_t n, uint64_t now_us)
{
    size_t took = 0;

    forget_shown(f);
    f->now_us = now_us;
    while (took < n && !is_waiting(f))
        took += take(f, &f->dirs[side], (const char *)p + took, n - took);
    return took;
}

void ferry_follow_end(struct ferry_follow *f, enum ferry_follow_side side, uint64_t now_us)
{
    struct direction *d = &f->dirs[side];

    forget_shown(f);
    f->now_us = now_us;
    if (!d->ended && !d->blind && (d->in_record || d->nhead))
        fault(f, d, d->in_record ? d->r.id : 0, "the connection ended in the middle of a record");
    d->ended = true;
}

bool ferry_follow_event(struct ferry_follow *f, struct ferry_follow_event *ev)
{
    forget_shown(f);
    for (size_t i = 0; !f->over && f->dirs[FERRY_FOLLOW_APP].ended && f->nopen && i < BUCKETS; i++)
        if (f->buckets[i])
            finish(f, f->buckets[i]);
    if (f->fault) {
        *ev = (struct ferry_follow_event){.type = FERRY_FOLLOW_EV_FAULT,
                                          .fault = f->fault,
                                          .side = f->fault_side,
                                          .id = f->fault_id};
        f->fault = NULL;
        return true;
    }
    if (!f->over)
        return false;
    *ev = (struct ferry_follow_event){.request = f->over, .id = f->over->id};
    f->shown = f->over;
    f->over = NULL;
    return true;
}

unsigned ferry_follow_open(const struct ferry_follow *f)
{
    return f->nopen;
}

uint64_t ferry_follow_missed(const struct ferry_follow *f)
{
    return f->missed;
}

struct ferry_slice ferry_follow_param(const struct ferry_follow_request *r, const char *name)
{
    const struct ferry_follow_stream *s = &r->params;
    struct ferry_param pair;
    ssize_t took;

    for (size_t at = 0; at < s->kept; at += (size_t)took) {
        took = ferry_param_decode(s->p + at, s->kept - at, SIZE_MAX, &pair);
        if (took <= 0)
            break;
        if (ferry_slice_eq(pair.name, ferry_slice_z(name)))
            return pair.value;
    }
    return FERRY_SLICE("");
}
