/* SPDX-License-Identifier: MIT */
/*
 * Responses of an HTTP/1 connection: heads, the framing of bodies (RFC 9112 section 6.3), and their
 * ends. A head and a small body behind it lie in one piece of memory; large bodies are referenced
 * where they are. What cannot be framed truthfully is cut, never padded or quietly ended.
 */
#include "http/http_internal.h"

#include <errno.h>

/* Up to here copying is cheaper than one more vector in the send. */
#define COPY_MAX 2048

/* A larger piece that must be copied is queued as several chunks, so that no block has to be larger
 * than the cache keeps. */
#define CHUNK_COPY_MAX (FERRY_BLOCK_LARGE - 64)

/* An unread rest of a body up to here is read and dropped, rather than closing the connection. */
#define DROP_MAX 65536

/* "Connection: keep-alive" and the longest framing field, "HTTP/1.1 200 ", line ends. */
#define HEAD_EXTRA 128

static char *put(char *at, const char *p, size_t n)
{
    memcpy(at, p, n);
    return at + n;
}

#define PUT(at, lit) put(at, lit, sizeof(lit) - 1)

static char *put_slice(char *at, struct ferry_slice s)
{
    return s.len ? put(at, s.p, s.len) : at;
}

static char *put_u64(char *at, uint64_t n)
{
    char digits[20], *d = digits + sizeof digits;

    do
        *--d = (char)('0' + n % 10);
    while (n /= 10);
    return put(at, d, (size_t)(digits + sizeof digits - d));
}

static char *put_hex(char *at, uint64_t n)
{
    char digits[16], *d = digits + sizeof digits;

    do
        *--d = "0123456789abcdef"[n & 15];
    while (n >>= 4);
    return put(at, d, (size_t)(digits + sizeof digits - d));
}

/* -- what may stand in a head */

static bool text_is_good(struct ferry_slice s)
{
    const char *end = s.p + s.len;

    for (const char *at = s.p; s.len; at++) {
        at = ferry__next_control(at, end);
        if (at == end)
            break;
        if (*at == '\r' || *at == '\n' || *at == '\0')
            return false;
    }
    return true;
}

static bool name_is_good(struct ferry_slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!ferry__is_token[(unsigned char)s.p[i]])
            return false;
    /* A second framing field would let the client find another end than we do. */
    switch (s.len) {
    case 0:
        return false;
    case 10:
        return !ferry_slice_eq_nocase(s, FERRY_SLICE("connection"));
    case 14:
        return !ferry_slice_eq_nocase(s, FERRY_SLICE("content-length"));
    case 17:
        return !ferry_slice_eq_nocase(s, FERRY_SLICE("transfer-encoding"));
    default:
        return true;
    }
}

/* The bytes the fields take in a head, or FERRY_EUSAGE. */
static ssize_t fields_len(const struct ferry_http_field *f, unsigned n)
{
    size_t len = 0;

    for (unsigned i = 0; i < n; i++) {
        if (!name_is_good(f[i].name) || !text_is_good(f[i].value))
            return FERRY_EUSAGE;
        len += f[i].name.len + f[i].value.len + 4;
    }
    return (ssize_t)len;
}

static char *put_fields(char *at, const struct ferry_http_field *f, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        at = put_slice(at, f[i].name);
        at = PUT(at, ": ");
        at = put_slice(at, f[i].value);
        at = PUT(at, "\r\n");
    }
    return at;
}

static char *put_status(char *at, int status, struct ferry_slice reason)
{
    at = PUT(at, "HTTP/1.1 ");
    at = put_u64(at, (uint64_t)status);
    at = PUT(at, " ");
    at = put_slice(at, reason);
    return PUT(at, "\r\n");
}

/* -- heads */

/* Why no response may begin now, or 0. */
static int cannot_begin(const struct ferry_http *m)
{
    if (m->phase == FERRY__HTTP_CLOSED)
        return FERRY_ECLOSED;
    if (m->phase != FERRY__HTTP_REQUEST || m->reply != FERRY__REPLY_NONE)
        return FERRY_EUSAGE;
    return m->out.err;
}

int ferry_http_interim(struct ferry_http *m, int status, const struct ferry_http_field *fields,
                       unsigned n)
{
    struct ferry_slice reason = ferry_slice_z(ferry_http_reason(status));
    ssize_t len = fields_len(fields, n);
    int err = cannot_begin(m);
    char *start, *at;

    if (err)
        return err;
    if (len < 0 || status < 100 || status > 199 || status == 101)
        return FERRY_EUSAGE;
    if (m->minor == 0)
        return 0;
    start = ferry_chain_reserve(&m->out, (size_t)len + reason.len + HEAD_EXTRA);
    if (!start)
        return -ENOMEM;
    at = put_status(start, status, reason);
    at = put_fields(at, fields, n);
    at = PUT(at, "\r\n");
    ferry_chain_commit(&m->out, (size_t)(at - start));
    if (status == 100)
        m->expects = false;
    return 0;
}

static enum ferry__http_reply framing_of(const struct ferry_http *m,
                                         const struct ferry_http_response *r)
{
    if (m->is_head || r->status == 204 || r->status == 304)
        return FERRY__REPLY_NOBODY;
    if (r->content_length >= 0)
        return FERRY__REPLY_LENGTH;
    return m->minor ? FERRY__REPLY_CHUNKED : FERRY__REPLY_CLOSE;
}

/* Will the connection be at the next request once this one's body is read or dropped? A client that
 * still waits for 100 may send the body or leave it out: nobody knows what its next byte is. */
static bool body_lets_keep(const struct ferry_http *m)
{
    if (m->body == FERRY__BODY_DONE)
        return true;
    return m->body == FERRY__BODY_LENGTH && m->body_left <= DROP_MAX &&
           (!m->expects || m->body_offered);
}

int ferry_http_respond(struct ferry_http *m, const struct ferry_http_response *r)
{
    struct ferry_slice reason = r->reason;
    ssize_t len = fields_len(r->fields, r->nfields);
    int err = cannot_begin(m);
    enum ferry__http_reply framing;
    char *start, *at;

    if (err)
        return err;
    if (len < 0 || r->status < 200 || r->status > 599 || !text_is_good(reason) ||
        !text_is_good(r->date))
        return FERRY_EUSAGE;
    if (reason.len == 0)
        reason = ferry_slice_z(ferry_http_reason(r->status));
    start = ferry_chain_reserve(&m->out, (size_t)len + reason.len + r->date.len + HEAD_EXTRA);
    if (!start)
        return -ENOMEM;

    framing = framing_of(m, r);
    if (r->close || m->draining || m->eof || framing == FERRY__REPLY_CLOSE || !body_lets_keep(m) ||
        (m->opts.requests_max && m->requests >= m->opts.requests_max))
        m->keep = false;
    at = put_status(start, r->status, reason);
    if (r->date.len) {
        at = PUT(at, "Date: ");
        at = put_slice(at, r->date);
        at = PUT(at, "\r\n");
    }
    at = put_fields(at, r->fields, r->nfields);
    if (r->content_length >= 0 && r->status != 204) {
        at = PUT(at, "Content-Length: ");
        at = put_u64(at, (uint64_t)r->content_length);
        at = PUT(at, "\r\n");
    }
    if (framing == FERRY__REPLY_CHUNKED)
        at = PUT(at, "Transfer-Encoding: chunked\r\n");
    if (!m->keep)
        at = PUT(at, "Connection: close\r\n");
    else if (m->minor == 0)
        at = PUT(at, "Connection: keep-alive\r\n");
    at = PUT(at, "\r\n");
    ferry_chain_commit(&m->out, (size_t)(at - start));
    m->reply = (uint8_t)framing;
    m->reply_left = framing == FERRY__REPLY_LENGTH ? (uint64_t)r->content_length : 0;
    return 0;
}

/* -- bodies */

static int cannot_write(const struct ferry_http *m)
{
    if (m->phase == FERRY__HTTP_CLOSED)
        return FERRY_ECLOSED;
    if (m->phase != FERRY__HTTP_REQUEST || m->reply == FERRY__REPLY_NONE ||
        m->reply == FERRY__REPLY_DONE)
        return FERRY_EUSAGE;
    return m->out.err;
}

static void queue(struct ferry_http *m, struct ferry_block *b, struct ferry_slice bytes)
{
    if (b && bytes.len > COPY_MAX)
        ferry_chain_ref(&m->out, b, bytes);
    else
        ferry_chain_copy(&m->out, bytes);
}

static void copy_chunk(struct ferry_http *m, struct ferry_slice bytes)
{
    char *start = ferry_chain_reserve(&m->out, bytes.len + 20), *at;

    if (!start)
        return;
    at = put_hex(start, bytes.len);
    at = PUT(at, "\r\n");
    at = put_slice(at, bytes);
    at = PUT(at, "\r\n");
    ferry_chain_commit(&m->out, (size_t)(at - start));
}

static void ref_chunk(struct ferry_http *m, struct ferry_block *b, struct ferry_slice bytes)
{
    char line[18], *end = PUT(put_hex(line, bytes.len), "\r\n");

    ferry_chain_copy(&m->out, ferry_slice(line, (size_t)(end - line)));
    ferry_chain_ref(&m->out, b, bytes);
    ferry_chain_static(&m->out, FERRY_SLICE("\r\n"));
}

static void queue_chunks(struct ferry_http *m, struct ferry_block *b, struct ferry_slice bytes)
{
    if (b && bytes.len > COPY_MAX) {
        ref_chunk(m, b, bytes);
        return;
    }
    while (bytes.len) {
        struct ferry_slice piece = ferry_slice_first(bytes, CHUNK_COPY_MAX);

        copy_chunk(m, piece);
        bytes = ferry_slice_from(bytes, piece.len);
    }
}

int ferry_http_write(struct ferry_http *m, struct ferry_block *b, struct ferry_slice bytes)
{
    int err = cannot_write(m);

    if (err || bytes.len == 0)
        return err;
    switch (m->reply) {
    case FERRY__REPLY_LENGTH:
        if (bytes.len > m->reply_left) {
            bytes.len = (size_t)m->reply_left;
            err = FERRY_ELIMIT;
        }
        m->reply_left -= bytes.len;
        queue(m, b, bytes);
        break;
    case FERRY__REPLY_CHUNKED:
        queue_chunks(m, b, bytes);
        break;
    case FERRY__REPLY_CLOSE:
        queue(m, b, bytes);
        break;
    default: /* no body is sent */
        break;
    }
    return m->out.err ? m->out.err : err;
}

int ferry_http_write_file(struct ferry_http *m, int fd, int64_t off, uint64_t len)
{
    int err = cannot_write(m);

    if (!err && m->reply != FERRY__REPLY_LENGTH && m->reply != FERRY__REPLY_NOBODY)
        err = FERRY_EUSAGE;
    if (err || m->reply == FERRY__REPLY_NOBODY) {
        len = 0;
    } else if (len > m->reply_left) {
        len = m->reply_left;
        err = FERRY_ELIMIT;
    }
    m->reply_left -= len;
    /* Queues nothing but closes fd when len is 0. */
    ferry_chain_file(&m->out, fd, off, len);
    return m->out.err ? m->out.err : err;
}

/* -- ends */

void ferry_http_cut(struct ferry_http *m)
{
    if (m->phase != FERRY__HTTP_REQUEST || m->reply == FERRY__REPLY_DONE)
        return;
    m->unmarked = m->reply == FERRY__REPLY_CLOSE;
    m->keep = false;
    m->eof = true; /* there is no answer that lingering could save */
    ferry__http_reply_done(m);
}

int ferry_http_finish(struct ferry_http *m)
{
    int err = cannot_write(m);

    if (err == FERRY_EUSAGE || err == FERRY_ECLOSED)
        return err;
    if (m->reply == FERRY__REPLY_CHUNKED)
        ferry_chain_copy(&m->out, FERRY_SLICE("0\r\n\r\n"));
    if (m->out.err || m->reply_left) {
        ferry_http_cut(m);
        return FERRY_ECUT;
    }
    ferry__http_reply_done(m);
    return 0;
}

bool ferry_http_wants_reset(const struct ferry_http *m)
{
    return m->unmarked;
}
