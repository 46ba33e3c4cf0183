/* SPDX-License-Identifier: MIT */
/*
 * The client's view of a response, strict where a lenient reader would hide what a gateway did: a
 * body that ends early is cut, and two lengths that differ are none.
 */
#include "check/http.h"

#include <string.h>

enum { HEAD, BODY_LENGTH, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER, BODY_TO_END };

#define HEAD_MAX (1u << 20)
#define CHUNK_LINE_MAX 4096

void ferry_http_response_init(struct ferry_http_response *r, bool head_only, size_t body_max)
{
    *r = (struct ferry_http_response){.head_only = head_only};
    ferry_bytes_init(&r->body, body_max);
}

void ferry_http_response_fini(struct ferry_http_response *r)
{
    ferry_bytes_fini(&r->body);
}

static bool bad(struct ferry_http_response *r, const char *why)
{
    r->end = FERRY_HTTP_BAD;
    r->why = why;
    return false;
}

/* The line at the front of `in`, without its end, and the bytes it takes; 0 when it is not whole.
 */
static size_t take_line(struct ferry_slice in, struct ferry_slice *out)
{
    size_t len = ferry_slice_find(in, '\n');

    if (len == in.len)
        return 0;
    *out = ferry_slice_first(in, len && in.p[len - 1] == '\r' ? len - 1 : len);
    return len + 1;
}

struct ferry_slice ferry_http_field(const struct ferry_http_response *r, const char *name,
                                    unsigned nth)
{
    struct ferry_slice rest = r->head, line, wanted = ferry_slice_z(name);
    size_t took;

    while ((took = take_line(rest, &line))) {
        size_t colon = ferry_slice_find(line, ':');

        rest = ferry_slice_from(rest, took);
        if (colon < line.len && ferry_slice_eq_nocase(ferry_slice_first(line, colon), wanted) &&
            nth-- == 0) {
            line = ferry_slice_trim(ferry_slice_from(line, colon + 1));
            return line.p ? line : FERRY_SLICE("");
        }
    }
    return (struct ferry_slice){0};
}

/* "HTTP/1.x NNN": the status, or 0. */
static int read_status(struct ferry_slice line)
{
    uint64_t status;

    if (!ferry_slice_starts(line, FERRY_SLICE("HTTP/1.")) || line.len < 12 || line.p[8] != ' ' ||
        (line.len > 12 && line.p[12] != ' ') ||
        ferry_slice_u64(ferry_slice(line.p + 9, 3), 999, &status) < 0 || status < 100)
        return 0;
    return (int)status;
}

static bool read_framing(struct ferry_http_response *r)
{
    struct ferry_slice coding = ferry_http_field(r, "Transfer-Encoding", 0);
    struct ferry_slice length = ferry_http_field(r, "Content-Length", 0), other;

    if (r->head_only || r->status == 204 || r->status == 304) {
        r->end = FERRY_HTTP_WHOLE;
        return false;
    }
    if (coding.p) {
        if (!ferry_slice_eq_nocase(coding, FERRY_SLICE("chunked")) ||
            ferry_http_field(r, "Transfer-Encoding", 1).p)
            return bad(r, "a Transfer-Encoding that is not chunked");
        if (length.p)
            return bad(r, "both Content-Length and Transfer-Encoding");
        r->state = CHUNK_SIZE;
        return true;
    }
    if (!length.p) {
        r->state = BODY_TO_END;
        return true;
    }
    if (ferry_slice_u64(length, UINT64_MAX, &r->left) < 0)
        return bad(r, "a Content-Length that is no number");
    for (unsigned i = 1; (other = ferry_http_field(r, "Content-Length", i)).p; i++)
        if (!ferry_slice_eq(other, length))
            return bad(r, "two Content-Lengths");
    r->state = BODY_LENGTH;
    return true;
}

/* The head, and interim ones before it. */
static bool read_head(struct ferry_http_response *r, struct ferry_slice bytes)
{
    struct ferry_slice in = ferry_slice_from(bytes, r->head_at), line, first = {0};
    size_t at = 0, took;

    while ((took = take_line(ferry_slice_from(in, at), &line))) {
        if (at == 0)
            first = line;
        at += took;
        if (line.len == 0)
            break;
    }
    if (in.len >= 7 && !ferry_slice_starts(in, FERRY_SLICE("HTTP/1.")))
        return bad(r, "the first line is no status line");
    if (took == 0)
        return at > HEAD_MAX || in.len > HEAD_MAX ? bad(r, "a head without an end") : false;
    r->at = r->head_at + at;
    r->status = read_status(first);
    if (r->status == 0)
        return bad(r, "the first line is no status line");
    if (r->status < 200 && r->status != 101) {
        r->interim++;
        r->status = 0;
        r->head_at = r->at;
        return true;
    }
    r->head_len = at;
    r->head = ferry_slice_first(in, at);
    return read_framing(r);
}

static bool read_chunk_size(struct ferry_http_response *r, struct ferry_slice in)
{
    struct ferry_slice line;
    size_t took = take_line(in, &line), n = 0;

    if (took == 0)
        return in.len > CHUNK_LINE_MAX ? bad(r, "a chunk's size without an end") : false;
    for (r->left = 0; n < line.len; n++) {
        char c = ferry_ascii_lower(line.p[n]);
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;

        if (digit < 0)
            break;
        if (n == 15)
            return bad(r, "a chunk's size that is no number");
        r->left = r->left << 4 | (unsigned)digit;
    }
    if (n == 0 || (n < line.len && !strchr("; \t", line.p[n])))
        return bad(r, "a chunk's size that is no number");
    r->at += took;
    r->state = r->left ? CHUNK : TRAILER;
    return true;
}

static bool read_line_end(struct ferry_http_response *r, struct ferry_slice in)
{
    struct ferry_slice line;
    size_t took = take_line(in, &line);

    if (took == 0)
        return in.len > CHUNK_LINE_MAX ? bad(r, "a trailer without an end") : false;
    if (r->state == CHUNK_END && line.len)
        return bad(r, "a chunk longer than its size");
    r->at += took;
    if (r->state == CHUNK_END) {
        r->state = CHUNK_SIZE;
    } else if (line.len == 0) {
        r->end = FERRY_HTTP_WHOLE;
        return false;
    }
    return true;
}

static bool read_bytes(struct ferry_http_response *r, struct ferry_slice in)
{
    size_t n = r->state != BODY_TO_END && r->left < in.len ? (size_t)r->left : in.len;

    ferry_bytes_add(&r->body, in.p, n);
    if (r->body.err)
        return bad(r, "a body longer than the answer it was made of");
    r->at += n;
    r->left -= n;
    if (r->state == CHUNK && r->left == 0) {
        r->state = CHUNK_END;
        return true;
    }
    if (r->state == BODY_LENGTH && r->left == 0)
        r->end = FERRY_HTTP_WHOLE;
    return false;
}

/* One step; false when there is nothing more to do with these bytes. */
static bool step(struct ferry_http_response *r, struct ferry_slice bytes)
{
    struct ferry_slice in = ferry_slice_from(bytes, r->at);

    switch (r->state) {
    case HEAD:
        return read_head(r, bytes);
    case CHUNK_SIZE:
        return read_chunk_size(r, in);
    case CHUNK_END:
    case TRAILER:
        return read_line_end(r, in);
    default:
        return read_bytes(r, in);
    }
}

size_t ferry_http_response_read(struct ferry_http_response *r, struct ferry_slice bytes,
                                enum ferry_http_input input)
{
    if (r->head_len)
        r->head = ferry_slice_first(ferry_slice_from(bytes, r->head_at), r->head_len);
    while (r->end == FERRY_HTTP_OPEN && step(r, bytes))
        ;
    if (r->end != FERRY_HTTP_OPEN || input == FERRY_HTTP_MORE)
        return r->at;
    if (r->status == 0)
        r->end = FERRY_HTTP_NONE;
    else if (r->state == BODY_TO_END && input == FERRY_HTTP_EOF)
        r->end = FERRY_HTTP_WHOLE;
    else
        r->end = FERRY_HTTP_CUT;
    return r->at;
}
