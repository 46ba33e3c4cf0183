/* SPDX-License-Identifier: MIT */
/*
 * A form is a head, a body and a tail. Head and tail are small and kept; the body is the trace
 * fields and the message behind them, and is read twice at most: once to know its length and hash,
 * and once to be sent. A deflated body is kept in a spool of its own, for its length is not known
 * before it is made.
 *
 * Where the body is passed on as it came, nothing is read ahead at all: its length and hash are
 * known since it was received.
 */
#include "mail/forms.h"

#include <errno.h>
#include <openssl/evp.h>
#include <sys/random.h>
#include <zlib.h>

#include "base/text.h"

#define PACKED_MEMORY_MAX 65536
#define CHUNK_MAX 65536

/* -- as in a query -- */

#define PLAIN_RANGE(from, to) [from... to] = 1
static const unsigned char is_plain[256] = {
    PLAIN_RANGE('a', 'z'),
    PLAIN_RANGE('A', 'Z'),
    PLAIN_RANGE('0', '9'),
    ['-'] = 1,
    ['_'] = 1,
    ['.'] = 1,
    ['~'] = 1,
    [' '] = 1,
};

/* How long it will be. */
static uint64_t escaped_len(struct ferry_slice s)
{
    uint64_t plain = 0;

    for (size_t i = 0; i < s.len; i++)
        plain += is_plain[(unsigned char)s.p[i]];
    return 3 * s.len - 2 * plain;
}

static char *put_escaped(char *to, struct ferry_slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if (is_plain[c]) {
            *to++ = c == ' ' ? '+' : (char)c;
            continue;
        }
        *to++ = '%';
        *to++ = "0123456789ABCDEF"[c >> 4];
        *to++ = "0123456789ABCDEF"[c & 15];
    }
    return to;
}

static int add_pair(struct ferry__grow *g, struct ferry_slice name, struct ferry_slice value)
{
    int err;

    if (value.len > FERRY__GROW_MAX / 4)
        return FERRY_ELIMIT;
    err = ferry__grow_room(g, name.len + 2 + 3 * value.len);
    if (err < 0)
        return err;
    if (g->len)
        g->p[g->len++] = '&';
    g->len = (size_t)(ferry__put(g->p + g->len, name) - g->p);
    g->p[g->len++] = '=';
    g->len = (size_t)(put_escaped(g->p + g->len, value) - g->p);
    return 0;
}

struct filling {
    struct ferry__grow *to;
    bool seed;
    const char *boundary;
};

static int add_to_query(void *arg, const struct ferry__mail_field *f)
{
    const struct filling *fill = arg;

    if (!f->field.len || (fill->seed && !f->of_seed))
        return 0;
    return add_pair(fill->to, f->field, f->value);
}

int ferry__mail_query(const struct ferry__mail_about *about, bool seed, struct ferry__grow *out)
{
    struct filling fill = {.to = out, .seed = seed};

    return ferry__mail_fields(about, add_to_query, &fill);
}

/* -- as parts (RFC 7578) -- */

static int open_part(struct ferry__grow *g, const char *boundary, struct ferry_slice name)
{
    int err = FERRY__GROW(g, "--");

    err = err < 0 ? err : ferry__grow_put(g, ferry_slice_z(boundary));
    err = err < 0 ? err : FERRY__GROW(g, "\r\nContent-Disposition: form-data; name=\"");
    err = err < 0 ? err : ferry__grow_put(g, name);
    return err < 0 ? err : FERRY__GROW(g, "\"");
}

static int add_part(struct ferry__grow *g, const char *boundary, struct ferry_slice name,
                    struct ferry_slice value)
{
    int err = open_part(g, boundary, name);

    err = err < 0 ? err : FERRY__GROW(g, "\r\n\r\n");
    err = err < 0 ? err : ferry__grow_put(g, value);
    return err < 0 ? err : FERRY__GROW(g, "\r\n");
}

static int add_to_parts(void *arg, const struct ferry__mail_field *f)
{
    const struct filling *fill = arg;

    if (!f->field.len || (fill->seed && !f->of_seed))
        return 0;
    return add_part(fill->to, fill->boundary, f->field, f->value);
}

/* -- the body -- */

static uint64_t content_len(const struct ferry__form *f)
{
    return f->trace.len + f->message->size - f->trace.skip_len;
}

/* The next bytes of a spool that others read too, at their own places. */
static ssize_t read_spool(struct ferry_spool *s, uint64_t at, size_t max, struct ferry_block **b,
                          struct ferry_slice *out)
{
    s->at = at;
    return ferry_spool_read(s, max, b, out);
}

/* The next bytes at `at` of the body before it is deflated or encoded; *b is to be given back. */
static ssize_t read_content(const struct ferry__form *f, uint64_t at, size_t max,
                            struct ferry_block **b, struct ferry_slice *out)
{
    *b = NULL;
    if (at < f->trace.len) {
        *out =
            ferry_slice_first(ferry_slice_from(ferry_slice(f->trace.text, f->trace.len), at), max);
        return (ssize_t)out->len;
    }
    at -= f->trace.len;
    if (at >= f->trace.skip)
        at += f->trace.skip_len;
    else if (f->trace.skip_len && max > f->trace.skip - at)
        max = (size_t)(f->trace.skip - at);
    return read_spool(&f->message->spool, at, max, b, out);
}

/* And of the body as it is handed over. */
static ssize_t read_body(struct ferry__form *f, uint64_t at, size_t max, struct ferry_block **b,
                         struct ferry_slice *out)
{
    *b = NULL;
    return f->is_packed ? read_spool(&f->packed, at, max, b, out)
                        : read_content(f, at, max, b, out);
}

/* -- the first pass -- */

struct ferry__form_plan {
    EVP_MD_CTX *hash;
    z_stream deflater;
    bool deflates;
    uint64_t at;
};

static void plan_free(struct ferry__form_plan *p)
{
    if (!p)
        return;
    EVP_MD_CTX_free(p->hash);
    if (p->deflates)
        deflateEnd(&p->deflater);
    free(p);
}

static int plan_new(struct ferry__form *f)
{
    struct ferry__form_plan *p = calloc(1, sizeof *p);

    f->plan = p;
    if (!p)
        return -ENOMEM;
    p->hash = EVP_MD_CTX_new();
    if (!p->hash || EVP_DigestInit_ex(p->hash, EVP_sha256(), NULL) != 1)
        return -ENOMEM;
    if (f->is_packed && deflateInit(&p->deflater, Z_BEST_SPEED) != Z_OK)
        return -ENOMEM;
    p->deflates = f->is_packed;
    return 0;
}

/* Bytes of the body as it is handed over. */
static int measure_piece(struct ferry__form *f, struct ferry_slice s)
{
    f->size += s.len;
    if (f->format == FERRY_MAIL_FORMAT_URLENCODED)
        f->body_len += escaped_len(s);
    return EVP_DigestUpdate(f->plan->hash, s.p, s.len) == 1 ? 0 : -ENOMEM;
}

static int deflate_piece(struct ferry__form *f, struct ferry_slice s, int flush)
{
    z_stream *z = &f->plan->deflater;
    char out[16384];
    int err = 0;

    z->next_in = (Bytef *)(uintptr_t)s.p;
    z->avail_in = (uInt)s.len;
    do {
        z->next_out = (Bytef *)out;
        z->avail_out = sizeof out;
        if (deflate(z, flush) == Z_STREAM_ERROR)
            return -EIO;
        s = ferry_slice(out, sizeof out - z->avail_out);
        err = measure_piece(f, s);
        if (err == 0 && s.len)
            err = ferry_spool_append(&f->packed, s);
    } while (err == 0 && z->avail_out == 0);
    return err;
}

static int measure_more(struct ferry__form *f, size_t budget)
{
    struct ferry__form_plan *p = f->plan;
    struct ferry_block *b;
    struct ferry_slice s;
    int err = 0;

    while (p->at < content_len(f) && budget && err == 0) {
        ssize_t n = read_content(f, p->at, budget < CHUNK_MAX ? budget : CHUNK_MAX, &b, &s);

        if (n <= 0)
            return n < 0 ? (int)n : -EIO;
        err = p->deflates ? deflate_piece(f, s, Z_NO_FLUSH) : measure_piece(f, s);
        ferry_block_unref(b);
        p->at += (uint64_t)n;
        budget -= (size_t)n;
    }
    return err < 0 ? err : p->at == content_len(f);
}

static void put_hex(char *to, const unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        *to++ = "0123456789abcdef"[bytes[i] >> 4];
        *to++ = "0123456789abcdef"[bytes[i] & 15];
    }
    *to = 0;
}

static int measured(struct ferry__form *f)
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned n;
    int err = 0;

    if (f->plan->deflates)
        err = deflate_piece(f, FERRY_SLICE(""), Z_FINISH);
    if (err < 0)
        return err;
    if (EVP_DigestFinal_ex(f->plan->hash, hash, &n) != 1)
        return -ENOMEM;
    put_hex(f->sha256, hash, n);
    if (f->format != FERRY_MAIL_FORMAT_URLENCODED)
        f->body_len = f->size;
    plan_free(f->plan);
    f->plan = NULL;
    return 1;
}

int ferry__form_measure(struct ferry__form *f, size_t budget)
{
    bool as_it_came = !f->is_packed && !f->trace.len && !f->trace.skip_len;
    int r;

    if (as_it_came && f->format != FERRY_MAIL_FORMAT_URLENCODED) {
        memcpy(f->sha256, f->message->sha256, sizeof f->sha256);
        f->size = f->body_len = f->message->size;
        return 1;
    }
    r = f->plan ? 0 : plan_new(f);
    if (r == 0)
        r = measure_more(f, budget);
    return r == 1 ? measured(f) : r;
}

/* -- its life -- */

static int random_hex(char *out, size_t bytes)
{
    unsigned char random[32];

    if (getrandom(random, bytes, 0) != (ssize_t)bytes)
        return -EAGAIN;
    put_hex(out, random, bytes);
    return 0;
}

int ferry__form_init(struct ferry__form *f, const struct ferry_mail_facts *facts,
                     struct ferry_mail_message *message, const struct ferry_smtp_rcpt *one,
                     struct ferry_blocks *blocks)
{
    int err;

    *f = (struct ferry__form){
        .format = facts->service->format,
        .message = message,
        .is_packed = facts->service->compress,
    };
    ferry_spool_init(&f->packed, blocks, PACKED_MEMORY_MAX, UINT64_MAX);
    err = random_hex(f->token, FERRY__TOKEN_LEN / 2);
    if (err < 0)
        return err;
    err = ferry_mail_trace_make(facts, message, one, &f->trace);
    return err < 0 ? err : 0;
}

void ferry__form_fini(struct ferry__form *f)
{
    plan_free(f->plan);
    f->plan = NULL;
    free(f->trace.text);
    f->trace = (struct ferry_mail_trace){NULL, 0, 0, 0};
    if (f->packed.blocks)
        ferry_spool_fini(&f->packed);
    ferry__grow_free(&f->head);
    ferry__grow_free(&f->tail);
}

/* -- what is around the body -- */

static void put_type(struct ferry__form *f, struct ferry_slice type)
{
    *ferry__put(f->type, type) = 0;
}

static int write_urlencoded(struct ferry__form *f, const struct ferry__mail_about *about,
                            bool has_token)
{
    bool seed = about->facts->service->seed_fields_only;
    int err = ferry__mail_query(about, seed, &f->head);

    put_type(f, FERRY_SLICE("application/x-www-form-urlencoded"));
    err = err < 0 ? err : add_pair(&f->head, FERRY_SLICE("body"), FERRY_SLICE(""));
    if (err < 0 || !has_token)
        return err;
    err = FERRY__GROW(&f->tail, "&token=");
    return err < 0 ? err : ferry__grow_put(&f->tail, ferry_slice_z(f->token));
}

static int write_multipart(struct ferry__form *f, const struct ferry__mail_about *about,
                           bool has_token)
{
    char boundary[40] = "ferry-";
    struct filling fill = {
        .to = &f->head, .seed = about->facts->service->seed_fields_only, .boundary = boundary};
    int err = random_hex(boundary + 6, 16);

    if (err < 0)
        return err;
    put_type(f, FERRY_SLICE("multipart/form-data; boundary="));
    *ferry__put(f->type + strlen(f->type), ferry_slice_z(boundary)) = 0;
    err = ferry__mail_fields(about, add_to_parts, &fill);
    err = err < 0 ? err : open_part(&f->head, boundary, FERRY_SLICE("body"));
    if (err < 0)
        return err;
    err = f->is_packed ? FERRY__GROW(&f->head, "; filename=\"message.eml.z\"\r\n"
                                               "Content-Type: application/zlib\r\n\r\n")
                       : FERRY__GROW(&f->head, "; filename=\"message.eml\"\r\n"
                                               "Content-Type: message/rfc822\r\n\r\n");
    err = err < 0 ? err : FERRY__GROW(&f->tail, "\r\n");
    if (err == 0 && has_token)
        err = add_part(&f->tail, boundary, FERRY_SLICE("token"), ferry_slice_z(f->token));
    err = err < 0 ? err : FERRY__GROW(&f->tail, "--");
    err = err < 0 ? err : ferry__grow_put(&f->tail, ferry_slice_z(boundary));
    return err < 0 ? err : FERRY__GROW(&f->tail, "--\r\n");
}

int ferry__form_write(struct ferry__form *f, const struct ferry__mail_about *about)
{
    const struct ferry_mail_service *s = about->facts->service;
    bool has_token = s->strict_token || !s->seed_fields_only;
    int err = 0;

    switch (f->format) {
    case FERRY_MAIL_FORMAT_URLENCODED:
        err = write_urlencoded(f, about, has_token);
        break;
    case FERRY_MAIL_FORMAT_MULTIPART:
        err = write_multipart(f, about, has_token);
        break;
    case FERRY_MAIL_FORMAT_RFC822:
        put_type(f, f->is_packed ? FERRY_SLICE("application/zlib") : FERRY_SLICE("message/rfc822"));
        break;
    }
    f->length = f->head.len + f->body_len + f->tail.len;
    f->at = 0;
    return err;
}

struct ferry_slice ferry__form_proof(const struct ferry__form *f)
{
    return ferry_slice_z(f->format == FERRY_MAIL_FORMAT_RFC822 ? f->sha256 : f->token);
}

/* -- the second pass -- */

static size_t read_kept(const struct ferry__grow *g, uint64_t at, char *out, size_t cap)
{
    struct ferry_slice s = ferry_slice_first(ferry_slice_from(ferry__grow_slice(g), at), cap);

    return (size_t)(ferry__put(out, s) - out);
}

static ssize_t read_piece(struct ferry__form *f, char *out, size_t cap)
{
    bool escapes = f->format == FERRY_MAIL_FORMAT_URLENCODED;
    struct ferry_block *b;
    struct ferry_slice s;
    ssize_t n = read_body(f, f->at - f->head.len, escapes ? cap / 3 : cap, &b, &s);
    char *end;

    if (n <= 0)
        return n < 0 ? n : -EIO; /* it was there when it was measured */
    end = escapes ? put_escaped(out, s) : ferry__put(out, s);
    ferry_block_unref(b);
    f->at += (uint64_t)n;
    return end - out;
}

ssize_t ferry__form_read(struct ferry__form *f, char *out, size_t cap)
{
    uint64_t tail_at = f->head.len + f->size;
    size_t n;

    if (f->at >= f->head.len && f->at < tail_at)
        return read_piece(f, out, cap);
    n = f->at < tail_at ? read_kept(&f->head, f->at, out, cap)
                        : read_kept(&f->tail, f->at - tail_at, out, cap);
    f->at += n;
    return (ssize_t)n;
}
