/* SPDX-License-Identifier: MIT */
/*
 * The chunked transfer coding (RFC 9112 section 7.1), one byte at a time but for the data. Lines
 * end with CRLF and nothing else; extensions are skipped and trailer fields checked and dropped.
 * Both are bounded, since they cost the sender little and bring the receiver nothing.
 */
#include "http/http_internal.h"

#define SIZE_DIGITS_MAX 16
#define EXT_MAX 256        /* bytes per chunk */
#define EXT_TOTAL_MAX 4096 /* bytes per body */

void ferry__chunked_init(struct ferry__chunked *c, uint64_t body_max, uint32_t trailer_max)
{
    *c = (struct ferry__chunked){.room = body_max, .trailer_max = trailer_max};
}

static void bad(struct ferry__chunked *c, uint16_t status, const char *why)
{
    c->state = FERRY__CHUNK_BAD;
    c->status = status;
    c->why = why;
}

static int hex_digit(char ch)
{
    if (ch >= '0' && ch <= '9')
        return ch - '0';
    ch = ferry_ascii_lower(ch);
    return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

static bool is_control(char ch)
{
    return (unsigned char)ch < 0x20 || ch == 0x7f;
}

static void size_byte(struct ferry__chunked *c, char ch)
{
    int digit = hex_digit(ch);

    if (digit >= 0) {
        if (c->digits++ == SIZE_DIGITS_MAX)
            bad(c, 400, "chunk size of too many digits");
        c->left = c->left << 4 | (unsigned)digit;
        return;
    }
    if (c->digits == 0)
        bad(c, 400, "chunk without a size");
    else if (ch == '\r')
        c->state = FERRY__CHUNK_SIZE_LF;
    else if (ch == ';')
        c->state = FERRY__CHUNK_EXT;
    else if (ch == ' ' || ch == '\t')
        c->state = FERRY__CHUNK_BLANK;
    else
        bad(c, 400, ch == '\n' ? "bare LF in a chunk line" : "bad chunk size");
    c->ext_len = c->state != FERRY__CHUNK_SIZE_LF;
}

static void ext_byte(struct ferry__chunked *c, char ch)
{
    if (ch == '\r' && c->state == FERRY__CHUNK_EXT) {
        c->state = FERRY__CHUNK_SIZE_LF;
        return;
    }
    if (is_control(ch) && ch != '\t')
        bad(c, 400, ch == '\n' ? "bare LF in a chunk line" : "control byte in a chunk line");
    else if (c->state == FERRY__CHUNK_BLANK && ch == ';')
        c->state = FERRY__CHUNK_EXT;
    else if (c->state == FERRY__CHUNK_BLANK && ch != ' ' && ch != '\t')
        bad(c, 400, "bad chunk size");
    if (++c->ext_len > EXT_MAX && c->state != FERRY__CHUNK_BAD)
        bad(c, 400, "chunk extension too long");
}

static void size_end(struct ferry__chunked *c, char ch)
{
    c->ext_total += c->ext_len;
    if (ch != '\n')
        bad(c, 400, "bare CR in a chunk line");
    else if (c->ext_total > EXT_TOTAL_MAX)
        bad(c, 400, "too many chunk extensions");
    else if (c->left > c->room)
        bad(c, 413, "body too large");
    else
        c->state = c->left ? FERRY__CHUNK_DATA : FERRY__CHUNK_TRAILER;
}

static void trailer_byte(struct ferry__chunked *c, char ch)
{
    if (c->trailer_max-- == 0) {
        bad(c, 431, "trailer section too long");
        return;
    }
    switch (c->state) {
    case FERRY__CHUNK_TRAILER:
        if (ch == '\r')
            c->state = FERRY__CHUNK_LAST_LF;
        else if (ferry__is_token[(unsigned char)ch])
            c->state = FERRY__CHUNK_NAME;
        else
            bad(c, 400, "bad trailer field");
        break;
    case FERRY__CHUNK_NAME:
        if (ch == ':')
            c->state = FERRY__CHUNK_VALUE;
        else if (!ferry__is_token[(unsigned char)ch])
            bad(c, 400, "bad trailer field");
        break;
    case FERRY__CHUNK_VALUE:
        if (ch == '\r')
            c->state = FERRY__CHUNK_VALUE_LF;
        else if (is_control(ch) && ch != '\t')
            bad(c, 400, "control byte in a trailer field");
        break;
    default: /* behind the CR of a line, empty or not */
        if (ch != '\n')
            bad(c, 400, "bare CR in the trailer section");
        else
            c->state = c->state == FERRY__CHUNK_LAST_LF ? FERRY__CHUNK_DONE : FERRY__CHUNK_TRAILER;
    }
}

static void framing_byte(struct ferry__chunked *c, char ch)
{
    switch (c->state) {
    case FERRY__CHUNK_SIZE:
        size_byte(c, ch);
        break;
    case FERRY__CHUNK_BLANK:
    case FERRY__CHUNK_EXT:
        ext_byte(c, ch);
        break;
    case FERRY__CHUNK_SIZE_LF:
        size_end(c, ch);
        break;
    case FERRY__CHUNK_DATA_CR:
        if (ch == '\r')
            c->state = FERRY__CHUNK_DATA_LF;
        else
            bad(c, 400, "chunk longer than its size");
        break;
    case FERRY__CHUNK_DATA_LF:
        if (ch != '\n') {
            bad(c, 400, "bare CR behind a chunk");
            break;
        }
        c->state = FERRY__CHUNK_SIZE;
        c->digits = 0;
        break;
    default:
        trailer_byte(c, ch);
    }
}

size_t ferry__chunked_recv(struct ferry__chunked *c, const char *p, size_t n,
                           struct ferry_slice *data)
{
    size_t at = 0;

    *data = ferry_slice(NULL, 0);
    while (at < n && c->state < FERRY__CHUNK_DONE) {
        size_t take = n - at;

        if (c->state != FERRY__CHUNK_DATA) {
            framing_byte(c, p[at++]);
            continue;
        }
        if (take > c->left)
            take = (size_t)c->left;
        *data = ferry_slice(p + at, take);
        c->left -= take;
        c->room -= take;
        if (c->left == 0)
            c->state = FERRY__CHUNK_DATA_CR;
        return at + take;
    }
    return at;
}
