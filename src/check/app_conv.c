/* SPDX-License-Identifier: MIT */
/*
 * A conversation with an application: what was asked, and all that came back, by request. Records
 * are filed and their faults counted here; which fault fails a case is the case's business, so that
 * each is told under the assertion that names it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check/app_check.h"

#define OUT_MAX ((size_t)32 << 20) /* kept of one stream */

/* -- connections ------------------------------------------------------------------------------ */

static struct ferry__conv *make(struct ferry_check *c, struct ferry_wire *w)
{
    struct ferry__conv *v = ferry_check_alloc(c, sizeof *v);

    *v = (struct ferry__conv){.c = c, .w = w, .end = 1};
    return v;
}

struct ferry__conv *ferry__conv_open_to(struct ferry_check *c, const struct ferry_addr *addr)
{
    struct ferry_wire *w = ferry_wire_try(c, addr);

    if (!w)
        ferry_check_fail(c, "cannot connect: %s", strerror(errno));
    return make(c, w);
}

struct ferry__conv *ferry__conv_open(struct ferry_check *c)
{
    return ferry__conv_open_to(c, &ferry__target(c)->addr);
}

struct ferry__conv *ferry__conv_open_from(struct ferry_check *c, const struct ferry_addr *addr,
                                          const char *from)
{
    struct sockaddr_in local = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    inet_pton(AF_INET, from, &local.sin_addr);
    if (fd < 0 || bind(fd, (struct sockaddr *)&local, sizeof local) < 0 ||
        connect(fd, &addr->any, addr->len) < 0) {
        int err = errno;

        if (fd >= 0)
            close(fd);
        ferry_check_skip(c, "cannot connect from %s: %s", from, strerror(err));
    }
    ferry_talk_note(&c->talk, c->suite->ours, 0, "(connects from %s)", from);
    return make(c, ferry_wire_adopt(c, fd));
}

void ferry__conv_send(struct ferry__conv *v)
{
    (void)ferry_wire_flush(v->w);
}

/* -- asking ----------------------------------------------------------------------------------- */

void ferry__conv_expect(struct ferry__conv *v, uint16_t id)
{
    struct ferry__reply *r = ferry_check_alloc(v->c, sizeof *r);

    *r = (struct ferry__reply){.next = v->replies, .id = id};
    v->replies = r;
}

void ferry__conv_begin(struct ferry__conv *v, uint16_t id, uint16_t role, uint8_t flags)
{
    struct ferry_begin_body b = {.role = role, .flags = flags};
    unsigned char body[FERRY_RECORD_BODY_LEN];

    ferry__conv_expect(v, id);
    ferry_begin_body_encode(&b, body);
    ferry_wire_put_record(v->w, FERRY_BEGIN_REQUEST, id, body, sizeof body);
}

void ferry__conv_abort(struct ferry__conv *v, uint16_t id)
{
    ferry_wire_put_record(v->w, FERRY_ABORT_REQUEST, id, NULL, 0);
}

struct pairs {
    struct ferry_check *c;
    char *p;
    size_t len, cap;
};

static bool is_given(const struct ferry_check_opts *o, const char *name)
{
    for (size_t i = 0; i < o->nparams; i++)
        if (ferry_slice_eq(o->params[i].name, ferry_slice_z(name)))
            return true;
    return false;
}

static void add(struct pairs *a, struct ferry_slice name, struct ferry_slice value)
{
    struct ferry_param pair = {name, value};
    ssize_t n = ferry_param_encode(&pair, a->p + a->len, a->cap - a->len);

    if (n < 0)
        ferry_check_skip(a->c, "the params given are too long");
    a->len += (size_t)n;
}

/* Unless the user gave one of this name. */
static void add_z(struct pairs *a, const char *name, const char *value)
{
    if (!is_given(a->c->opts, name))
        add(a, ferry_slice_z(name), ferry_slice_z(value));
}

/* An authorizer is not told of these (section 6.3). */
static void add_of_responder(struct pairs *a, long body_len)
{
    char number[24];

    if (body_len >= 0) {
        snprintf(number, sizeof number, "%ld", body_len);
        add_z(a, "CONTENT_TYPE", "application/octet-stream");
        add_z(a, "CONTENT_LENGTH", number);
    }
    add_z(a, "SCRIPT_NAME", "/ferry-check");
}

struct ferry_slice ferry__conv_pairs(struct ferry_check *c, const char *word, long body_len)
{
    const struct ferry_check_opts *o = c->opts;
    struct pairs a = {.c = c, .cap = 1024};
    char query[96] = "", uri[128];

    a.cap += o->script ? strlen(o->script) : 0;
    for (size_t i = 0; i < o->nparams; i++)
        a.cap += ferry_param_size(o->params[i].name.len, o->params[i].value.len);
    a.p = ferry_check_alloc(c, a.cap);
    if (word)
        snprintf(query, sizeof query, "ferry-check=%s", word);
    snprintf(uri, sizeof uri, "/ferry-check%s%s", *query ? "?" : "", query);
    add_z(&a, "GATEWAY_INTERFACE", "CGI/1.1");
    add_z(&a, "SERVER_PROTOCOL", "HTTP/1.1");
    add_z(&a, "SERVER_SOFTWARE", "ferry-check");
    add_z(&a, "SERVER_NAME", "localhost");
    add_z(&a, "SERVER_PORT", "80");
    add_z(&a, "REMOTE_ADDR", "127.0.0.1");
    add_z(&a, "REQUEST_METHOD", body_len >= 0 ? "POST" : "GET");
    add_z(&a, "REQUEST_URI", uri);
    add_z(&a, "QUERY_STRING", query);
    add_z(&a, "HTTP_HOST", "localhost");
    add_z(&a, "REDIRECT_STATUS", "200"); /* php-cgi wants it */
    if (ferry__target(c)->role != FERRY_AUTHORIZER)
        add_of_responder(&a, body_len);
    if (o->script)
        add_z(&a, "SCRIPT_FILENAME", o->script);
    for (size_t i = 0; i < o->nparams; i++)
        add(&a, o->params[i].name, o->params[i].value);
    return ferry_slice(a.p, a.len);
}

void ferry__conv_params(struct ferry__conv *v, uint16_t id, const char *word, long body_len)
{
    struct ferry_slice pairs = ferry__conv_pairs(v->c, word, body_len);

    ferry_wire_put_stream(v->w, FERRY_PARAMS, id, pairs.p, pairs.len);
}

void ferry__conv_pair(struct ferry__conv *v, uint16_t id, struct ferry_slice name,
                      struct ferry_slice value)
{
    struct ferry_param pair = {name, value};
    size_t cap = ferry_param_size(name.len, value.len);
    char *p = ferry_check_alloc(v->c, cap);

    if (ferry_param_encode(&pair, p, cap) < 0)
        ferry_check_skip(v->c, "a pair is too long");
    ferry_wire_put_stream(v->w, FERRY_PARAMS, id, p, cap);
}

void ferry__conv_stream(struct ferry__conv *v, unsigned type, uint16_t id, const void *p, size_t n)
{
    ferry_wire_put_stream(v->w, type, id, p, n);
}

void ferry__conv_end(struct ferry__conv *v, unsigned type, uint16_t id)
{
    ferry_wire_put_record(v->w, type, id, NULL, 0);
    if (type == FERRY_STDIN && ferry__target(v->c)->role == FERRY_FILTER)
        ferry_wire_put_record(v->w, FERRY_DATA, id, NULL, 0);
}

/* The streams of a request in the role of plain ones, from the end of its params on. */
static void put_streams(struct ferry__conv *v, uint16_t id, const void *body, size_t n)
{
    ferry__conv_end(v, FERRY_PARAMS, id);
    ferry__conv_stream(v, FERRY_STDIN, id, body, n);
    ferry__conv_end(v, FERRY_STDIN, id);
}

static void put_filter_params(struct ferry__conv *v, uint16_t id)
{
    if (ferry__target(v->c)->role == FERRY_FILTER) {
        ferry__conv_pair(v, id, FERRY_SLICE("FCGI_DATA_LAST_MOD"), FERRY_SLICE("0"));
        ferry__conv_pair(v, id, FERRY_SLICE("FCGI_DATA_LENGTH"), FERRY_SLICE("0"));
    }
}

void ferry__conv_get(struct ferry__conv *v, uint16_t id, uint8_t flags, const char *word)
{
    ferry__conv_begin(v, id, ferry__target(v->c)->role, flags);
    ferry__conv_params(v, id, word, -1);
    put_filter_params(v, id);
    put_streams(v, id, NULL, 0);
}

void ferry__conv_post(struct ferry__conv *v, uint16_t id, uint8_t flags, const char *word,
                      const void *body, size_t n)
{
    ferry__conv_begin(v, id, ferry__target(v->c)->role, flags);
    ferry__conv_params(v, id, word, (long)n);
    put_filter_params(v, id);
    put_streams(v, id, body, n);
}

void ferry__conv_query(struct ferry__conv *v, const char *names)
{
    struct pairs a = {.c = v->c, .cap = 2 * strlen(names) + 8};

    a.p = ferry_check_alloc(v->c, a.cap);
    while (*names) {
        size_t n = strcspn(names, " ");

        add(&a, ferry_slice(names, n), FERRY_SLICE(""));
        names += n;
        names += strspn(names, " ");
    }
    ferry_wire_put_record(v->w, FERRY_GET_VALUES, 0, a.p, a.len);
}

/* -- filing what comes ------------------------------------------------------------------------ */

static void append(struct ferry_check *c, struct ferry__text *t, const void *p, size_t n)
{
    if (t->len + n > OUT_MAX)
        ferry_check_fail(c, "expected an answer, but more than %zu MiB came", OUT_MAX >> 20);
    if (t->cap - t->len < n + 1) {
        size_t cap = t->cap ? t->cap : 4096;
        char *q;

        while (cap - t->len < n + 1)
            cap *= 2;
        q = ferry_check_alloc(c, cap);
        if (t->len)
            memcpy(q, t->p, t->len);
        t->p = q;
        t->cap = cap;
    }
    memcpy(t->p + t->len, p, n);
    t->len += n;
    t->p[t->len] = 0;
}

static void file_end(struct ferry__conv *v, struct ferry__reply *r,
                     const struct ferry_wire_record *rec)
{
    struct ferry_end_body b;

    r->ends++;
    if (r->ends > 1)
        return;
    r->end_len = rec->content_len;
    r->ended_at = ferry_check_now();
    r->order = ++v->norder;
    r->out_open = r->out_records && !r->out_ends;
    r->err_open = r->err_records && !r->err_ends;
    if (rec->content_len >= 5) {
        ferry_end_body_decode(rec->content, &b);
        r->app_status = b.app_status;
        r->protocol_status = b.protocol_status;
    }
}

static void file_stream(struct ferry__conv *v, struct ferry__reply *r,
                        const struct ferry_wire_record *rec)
{
    bool err = rec->type == FERRY_STDERR;
    unsigned *ends = err ? &r->err_ends : &r->out_ends;

    if (r->ends)
        r->late++;
    if (*ends)
        *(err ? &r->err_late : &r->out_late) += 1;
    if (!rec->content_len) {
        *ends += 1;
        return;
    }
    *(err ? &r->err_records : &r->out_records) += 1;
    if (!err && rec->content_len > r->content_max)
        r->content_max = rec->content_len;
    append(v->c, err ? &r->err : &r->out, rec->content, rec->content_len);
}

static void file_management(struct ferry__conv *v, const struct ferry_wire_record *rec)
{
    if (rec->type == FERRY_GET_VALUES_RESULT) {
        v->nvalues++;
        v->values_len = rec->content_len < sizeof v->values ? rec->content_len : sizeof v->values;
        memcpy(v->values, rec->content, v->values_len);
    } else {
        v->nunknown++;
        v->unknown_len = rec->content_len;
        memset(v->unknown, 0, sizeof v->unknown);
        memcpy(v->unknown, rec->content,
               rec->content_len < sizeof v->unknown ? rec->content_len : sizeof v->unknown);
    }
}

static struct ferry__reply *find(struct ferry__conv *v, uint16_t id)
{
    for (struct ferry__reply *r = v->replies; r; r = r->next)
        if (r->id == id)
            return r;
    return NULL;
}

static void file(struct ferry__conv *v, const struct ferry_wire_record *rec)
{
    bool management = rec->type == FERRY_GET_VALUES_RESULT || rec->type == FERRY_UNKNOWN_TYPE;
    struct ferry__reply *r = find(v, rec->id);

    v->records++;
    v->unaligned += (8u + rec->content_len + rec->padding_len) % 8 != 0;
    v->reserved += rec->reserved != 0;
    v->mixed_up += management != (rec->id == 0);
    if (rec->type == FERRY_END_REQUEST && rec->content_len == 8)
        v->reserved += (rec->content[5] | rec->content[6] | rec->content[7]) != 0;
    if (management)
        file_management(v, rec);
    else if (!r)
        v->foreign++;
    else if (rec->type == FERRY_END_REQUEST)
        file_end(v, r, rec);
    else if (rec->type == FERRY_STDOUT || rec->type == FERRY_STDERR)
        file_stream(v, r, rec);
    else
        v->mixed_up++;
}

int ferry__conv_read(struct ferry__conv *v, unsigned ms)
{
    struct ferry_wire_record rec;
    int n = ferry_wire_read(v->w, &rec, ms);

    if (n == 1)
        file(v, &rec);
    else if (n != -ETIMEDOUT)
        v->end = n;
    if (n == FERRY_EPROTOCOL)
        v->bad_version = rec.version;
    return n;
}

/* -- waiting ---------------------------------------------------------------------------------- */

struct ferry__reply *ferry__conv_reply(struct ferry__conv *v, uint16_t id)
{
    struct ferry__reply *r = find(v, id);

    if (!r)
        ferry_check_skip(v->c, "request %u was never begun: a mistake in this case", id);
    return r;
}

static _Noreturn void missing(struct ferry__conv *v, const char *what, int got)
{
    if (got == 1)
        ferry_check_fail(v->c, "expected %s, but %u other records came", what, v->records);
    ferry_check_fail(v->c, "expected %s, but got %s%s", what, ferry_wire_said(got),
                     v->foreign ? ", and records of a request that was never begun" : "");
}

#define RECORDS_MAX 200000 /* that a case waits through for one thing */

struct ferry__reply *ferry__conv_await(struct ferry__conv *v, uint16_t id)
{
    struct ferry__reply *r = ferry__conv_reply(v, id);
    char what[64];
    int n = 1;

    snprintf(what, sizeof what, "END_REQUEST for request %u", id);
    for (unsigned i = 0; !r->ends; i++) {
        n = ferry__conv_read(v, 0);
        if (n != 1 || i == RECORDS_MAX)
            missing(v, what, n);
    }
    return r;
}

static const char *status_text(unsigned status, char buf[16])
{
    const char *name = ferry_protocol_status_name(status);

    if (!name) {
        snprintf(buf, 16, "status %u", status);
        name = buf;
    }
    return name;
}

struct ferry__reply *ferry__conv_await_good(struct ferry__conv *v, uint16_t id)
{
    struct ferry__reply *r = ferry__conv_await(v, id);
    struct ferry__target *t = ferry__target(v->c);
    char buf[16];
    int status;

    if (r->protocol_status != FERRY_REQUEST_COMPLETE)
        ferry_check_fail(v->c, "expected an answer to request %u, but it was refused with %s", id,
                         status_text(r->protocol_status, buf));
    status = ferry__reply_status(r);
    if (status < 0)
        ferry_check_fail(v->c, "expected an answer to request %u, but it has no header block", id);
    if (t->status && status != t->status && (t->probe || status >= 500))
        ferry_check_fail(v->c,
                         "expected the answer to request %u that a plain request gets (status %d), "
                         "but it has status %d",
                         id, t->status, status);
    return r;
}

struct ferry__reply *ferry__conv_await_body(struct ferry__conv *v, uint16_t id, const void *p,
                                            size_t n)
{
    struct ferry__reply *r = ferry__conv_await_good(v, id);
    struct ferry_slice body = ferry__reply_body(r);
    size_t at = 0;

    while (at < n && at < body.len && ((const char *)p)[at] == body.p[at])
        at++;
    if (body.len != n)
        ferry_check_fail(v->c,
                         "expected %zu bytes of content for request %u, but got %zu; they differ "
                         "from byte %zu on",
                         n, id, body.len, at);
    if (at < n)
        ferry_check_fail(v->c, "the content of request %u came, but is wrong from byte %zu on", id,
                         at);
    return r;
}

struct ferry__reply *ferry__conv_await_refusal(struct ferry__conv *v, uint16_t id, unsigned status)
{
    struct ferry__reply *r = ferry__conv_await(v, id);
    char want[16], got[16];

    if (r->protocol_status != status)
        ferry_check_fail(v->c, "expected request %u to be refused with %s, but it ended with %s",
                         id, status_text(status, want), status_text(r->protocol_status, got));
    return r;
}

void ferry__conv_await_out(struct ferry__conv *v, uint16_t id, size_t n)
{
    struct ferry__reply *r = ferry__conv_reply(v, id);
    char what[64];

    snprintf(what, sizeof what, "%zu bytes of content for request %u", n, id);
    while (ferry__reply_body(r).len < n) {
        int got = ferry__conv_read(v, 0);

        if (got != 1 || r->ends)
            missing(v, what, got);
    }
}

void ferry__conv_await_values(struct ferry__conv *v)
{
    unsigned before = v->nvalues;
    int n = 1;

    for (unsigned i = 0; v->nvalues == before; i++) {
        n = ferry__conv_read(v, 0);
        if (n != 1 || i == RECORDS_MAX)
            missing(v, "GET_VALUES_RESULT", n);
    }
}

void ferry__conv_await_unknown(struct ferry__conv *v, unsigned type)
{
    unsigned before = v->nunknown;
    char what[48];
    int n = 1;

    snprintf(what, sizeof what, "{UNKNOWN_TYPE, 0, {%u}}", type);
    for (unsigned i = 0; v->nunknown == before; i++) {
        n = ferry__conv_read(v, 0);
        if (n != 1 || i == RECORDS_MAX)
            missing(v, what, n);
    }
    if (v->unknown[0] != type)
        ferry_check_fail(v->c, "expected %s, but it names type %u", what, v->unknown[0]);
}

void ferry__conv_quiet(struct ferry__conv *v, const char *why)
{
    uint64_t deadline = ferry_check_now() + FERRY__QUIET_MS;
    int n = -ETIMEDOUT;

    if (ferry_wire_stirs(v->w, FERRY__QUIET_MS) && ferry_check_now() <= deadline + 1000)
        n = ferry__conv_read(v, 1);
    if (n != -ETIMEDOUT)
        ferry_check_fail(v->c, "expected nothing %s, but got %s", why, ferry_wire_said(n));
}

void ferry__conv_await_end(struct ferry__conv *v, const char *why)
{
    int n = 1;

    for (unsigned i = 0; n == 1 && i < RECORDS_MAX; i++)
        n = ferry__conv_read(v, 0);
    if (n == -ETIMEDOUT || n == 1)
        ferry_check_fail(v->c, "expected the connection to be closed %s, but it stays open", why);
}

void ferry__conv_await_close(struct ferry__conv *v, const char *why)
{
    ferry__conv_await_end(v, why);
    if (v->end != 0)
        ferry_check_fail(v->c, "expected the connection to be closed %s, but got %s", why,
                         ferry_wire_said(v->end));
}

void ferry__conv_still_serves(struct ferry__conv *v, uint16_t id)
{
    ferry__conv_get(v, id, FERRY_KEEP_CONN, NULL);
    ferry__conv_send(v);
    ferry__conv_await_good(v, id);
}

void ferry__conv_echo(struct ferry__conv *v, uint16_t id, uint8_t flags, const void *p, size_t n)
{
    ferry__conv_post(v, id, flags, ferry__word_or_plain(v->c, FERRY__WORD_ECHO, "echo"), p, n);
}

struct ferry__reply *ferry__conv_await_echo(struct ferry__conv *v, uint16_t id, const void *p,
                                            size_t n)
{
    return ferry__target(v->c)->words & FERRY__WORD_ECHO ? ferry__conv_await_body(v, id, p, n)
                                                         : ferry__conv_await_good(v, id);
}

void ferry__conv_await_param(struct ferry__conv *v, uint16_t id, struct ferry_slice name,
                             struct ferry_slice value)
{
    struct ferry__reply *r = ferry__conv_await_good(v, id);
    struct ferry_slice got = {NULL, 0};
    int shown = name.len < 32 ? (int)name.len : 32;

    if (!(ferry__target(v->c)->words & FERRY__WORD_PARAMS))
        return;
    if (!ferry__reply_param(r, name, &got))
        ferry_check_fail(
            v->c,
            "expected the application to see the param '%.*s' (a name of %zu bytes), but "
            "it did not",
            shown, name.len ? name.p : "", name.len);
    if (got.len != value.len)
        ferry_check_fail(
            v->c,
            "expected the param '%.*s' to have a value of %zu bytes, but the application saw "
            "%zu",
            shown, name.len ? name.p : "", value.len, got.len);
    if (!ferry_slice_eq(got, value))
        ferry_check_fail(
            v->c, "expected the param '%.*s' to arrive as it was sent, but its value was changed",
            shown, name.len ? name.p : "");
}
