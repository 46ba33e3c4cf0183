/* SPDX-License-Identifier: MIT */
/*
 * Name-value pairs (FastCGI 1.0 section 3.4) and the writer of a request's head: BEGIN_REQUEST and
 * the PARAMS stream, as records, in memory of the caller's.
 *
 * A record is filled to RECORD_FILL bytes of content at most, so that content and padding together
 * never pass 65535: php-fpm and php-cgi read them into one buffer of that size and refuse more. A
 * single pair that needs the seven bytes above goes into a record of its own without padding.
 */
#include "ferry/params.h"

#include <string.h>

#include "base/slice.h"
#include "ferry/record.h"

#define RECORD_FILL 65528

size_t ferry_param_size(size_t name_len, size_t value_len)
{
    return (name_len < 128 ? 1 : 4) + (value_len < 128 ? 1 : 4) + name_len + value_len;
}

/* The bytes a length took, or 0 when n do not hold it. */
static size_t get_len(const unsigned char *p, size_t n, uint32_t *out)
{
    if (n && p[0] < 128) {
        *out = p[0];
        return 1;
    }
    if (n < 4)
        return 0;
    *out = (uint32_t)(p[0] & 0x7f) << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    return 4;
}

static char *put_len(char *to, size_t len)
{
    unsigned char *p = (unsigned char *)to;

    if (len < 128) {
        p[0] = (unsigned char)len;
        return to + 1;
    }
    p[0] = (unsigned char)(len >> 24 | 0x80);
    p[1] = (unsigned char)(len >> 16);
    p[2] = (unsigned char)(len >> 8);
    p[3] = (unsigned char)len;
    return to + 4;
}

static char *put_bytes(char *to, struct ferry_slice bytes)
{
    if (bytes.len)
        memcpy(to, bytes.p, bytes.len);
    return to + bytes.len;
}

ssize_t ferry_param_decode(const void *in, size_t n, size_t max, struct ferry_param *out)
{
    const unsigned char *p = in;
    uint32_t name_len, value_len;
    size_t at, took;
    uint64_t both;

    at = get_len(p, n, &name_len);
    if (at == 0)
        return 0;
    took = get_len(p + at, n - at, &value_len);
    if (took == 0)
        return name_len > max ? FERRY_ELIMIT : 0;
    at += took;
    both = (uint64_t)name_len + value_len;
    if (both > max)
        return FERRY_ELIMIT;
    if (n - at < both)
        return 0;
    out->name = ferry_slice((const char *)p + at, name_len);
    out->value = ferry_slice((const char *)p + at + name_len, value_len);
    return (ssize_t)(at + both);
}

ssize_t ferry_param_encode(const struct ferry_param *param, void *out, size_t cap)
{
    char *p = out;

    if (param->name.len > FERRY_PARAM_LEN_MAX || param->value.len > FERRY_PARAM_LEN_MAX ||
        ferry_param_size(param->name.len, param->value.len) > cap)
        return FERRY_ELIMIT;
    p = put_len(p, param->name.len);
    p = put_len(p, param->value.len);
    p = put_bytes(p, param->name);
    p = put_bytes(p, param->value);
    return p - (char *)out;
}

size_t ferry_params_room(size_t pairs_len)
{
    /* A record is left before it is full only when the pair that follows would pass RECORD_FILL, so
     * any two neighbours hold more than that together. */
    size_t records = 2 * (pairs_len / RECORD_FILL) + 1;

    return FERRY_RECORD_HEADER_LEN + FERRY_RECORD_BODY_LEN + pairs_len +
           records * (FERRY_RECORD_HEADER_LEN + 7) + 2 * FERRY_RECORD_HEADER_LEN;
}

static void fail(struct ferry_params_writer *w, int err)
{
    if (!w->err)
        w->err = err;
}

/* n bytes at the end of what is written, or NULL with the error set. */
static char *take(struct ferry_params_writer *w, size_t n)
{
    char *p = w->at;

    if (w->err)
        return NULL;
    if ((size_t)(w->end - p) < n) {
        fail(w, FERRY_ELIMIT);
        return NULL;
    }
    w->at += n;
    return p;
}

static char *put_header(struct ferry_params_writer *w, uint8_t type, uint16_t content_len)
{
    struct ferry_record r = {.type = type, .id = w->id, .content_len = content_len};
    char *p = take(w, FERRY_RECORD_HEADER_LEN);

    if (p)
        ferry_record_encode(&r, p);
    return p;
}

static size_t content_len(const struct ferry_params_writer *w)
{
    return w->record ? (size_t)(w->at - w->record) - FERRY_RECORD_HEADER_LEN : 0;
}

static void close_record(struct ferry_params_writer *w)
{
    size_t len = content_len(w);
    struct ferry_record r = {.type = FERRY_PARAMS, .id = w->id, .content_len = (uint16_t)len};
    char *pad;

    if (!w->record)
        return;
    if (len <= RECORD_FILL)
        r.padding_len = ferry_record_padding(len);
    pad = take(w, r.padding_len);
    if (!pad)
        return;
    memset(pad, 0, r.padding_len);
    ferry_record_encode(&r, w->record);
    w->record = NULL;
}

static void open_record(struct ferry_params_writer *w)
{
    if (!w->record)
        w->record = put_header(w, FERRY_PARAMS, 0);
}

/* Spreads bytes over as many records as they need: only for a pair larger than one. */
static void spill(struct ferry_params_writer *w, struct ferry_slice bytes)
{
    while (bytes.len && !w->err) {
        size_t n;
        char *p;

        if (content_len(w) == RECORD_FILL)
            close_record(w);
        open_record(w);
        n = RECORD_FILL - content_len(w);
        if (n > bytes.len)
            n = bytes.len;
        p = take(w, n);
        if (!p)
            return;
        memcpy(p, bytes.p, n);
        bytes = ferry_slice_from(bytes, n);
    }
}

void ferry_params_open(struct ferry_params_writer *w, void *mem, size_t cap, uint16_t id)
{
    *w = (struct ferry_params_writer){.start = mem, .at = mem, .end = (char *)mem + cap, .id = id};
}

void ferry_params_begin_request(struct ferry_params_writer *w, uint16_t role, uint8_t flags)
{
    struct ferry_begin_body body = {.role = role, .flags = flags};
    char *p;

    if (w->at != w->start) {
        fail(w, FERRY_EUSAGE);
        return;
    }
    put_header(w, FERRY_BEGIN_REQUEST, FERRY_RECORD_BODY_LEN);
    p = take(w, FERRY_RECORD_BODY_LEN);
    if (p)
        ferry_begin_body_encode(&body, p);
}

void ferry_params_add(struct ferry_params_writer *w, struct ferry_slice name,
                      struct ferry_slice value)
{
    ferry_params_add_pieces(w, name, &value, 1);
}

void ferry_params_add_pieces(struct ferry_params_writer *w, struct ferry_slice name,
                             const struct ferry_slice *pieces, size_t n)
{
    size_t value_len = 0, size;
    char lengths[8], *p;

    for (size_t i = 0; i < n; i++) {
        if (pieces[i].len > FERRY_PARAM_LEN_MAX - value_len) {
            fail(w, FERRY_ELIMIT);
            return;
        }
        value_len += pieces[i].len;
    }
    if (name.len > FERRY_PARAM_LEN_MAX) {
        fail(w, FERRY_ELIMIT);
        return;
    }
    size = ferry_param_size(name.len, value_len);
    if (w->record && content_len(w) + size > RECORD_FILL)
        close_record(w);
    if (size > FERRY_RECORD_CONTENT_MAX) {
        p = put_len(put_len(lengths, name.len), value_len);
        spill(w, ferry_slice(lengths, (size_t)(p - lengths)));
        spill(w, name);
        for (size_t i = 0; i < n; i++)
            spill(w, pieces[i]);
        return;
    }
    open_record(w);
    p = take(w, size);
    if (!p)
        return;
    p = put_bytes(put_len(put_len(p, name.len), value_len), name);
    for (size_t i = 0; i < n; i++)
        p = put_bytes(p, pieces[i]);
}

ssize_t ferry_params_close(struct ferry_params_writer *w, int stdin_too)
{
    close_record(w);
    put_header(w, FERRY_PARAMS, 0);
    if (stdin_too)
        put_header(w, FERRY_STDIN, 0);
    return w->err ? w->err : w->at - w->start;
}
