/* SPDX-License-Identifier: MIT */
/*
 * Writing records. Small content is copied next to its header, so that many small records leave as
 * one piece of memory; large content is referenced where it lies, between a header and padding.
 * Every record is queued whole: the output always ends at the end of a record.
 */
#include <errno.h>

#include "fcgi/conn_private.h"

/* Writes a record with its content's room in one piece: where the content belongs, or NULL. */
static char *put_header(struct ferry_conn *c, uint8_t type, uint16_t id, size_t len, size_t inside)
{
    struct ferry_record r = {.type = type,
                             .padding_len = ferry_record_padding(len),
                             .id = id,
                             .content_len = (uint16_t)len};
    char *p = ferry_chain_reserve(&c->out, FERRY_RECORD_HEADER_LEN + inside);

    if (!p)
        return NULL;
    ferry_record_encode(&r, p);
    return p + FERRY_RECORD_HEADER_LEN;
}

void ferry__conn_put(struct ferry_conn *c, uint8_t type, uint16_t id, struct ferry_slice content)
{
    size_t padding = ferry_record_padding(content.len), inside = content.len + padding;
    char *p = put_header(c, type, id, content.len, inside);

    if (!p)
        return;
    if (content.len)
        memcpy(p, content.p, content.len);
    memset(p + content.len, 0, padding);
    ferry_chain_commit(&c->out, FERRY_RECORD_HEADER_LEN + inside);
}

/* Header and padding are copies, so that padding and the header behind it are one piece. */
static void put_ref(struct ferry_conn *c, uint8_t type, uint16_t id, struct ferry_block *b,
                    struct ferry_slice content)
{
    if (!put_header(c, type, id, content.len, 0))
        return;
    ferry_chain_commit(&c->out, FERRY_RECORD_HEADER_LEN);
    ferry_chain_ref(&c->out, b, content);
    ferry_chain_copy(&c->out, ferry_slice("\0\0\0\0\0\0\0", ferry_record_padding(content.len)));
}

bool ferry__conn_may_send(const struct ferry_conn *c, const struct ferry__request *r,
                          unsigned stream)
{
    unsigned before; /* the streams that must have ended */

    switch (stream) {
    case FERRY_PARAMS:
        before = 0;
        break;
    case FERRY_STDIN:
        before = ferry__bit(FERRY_PARAMS);
        break;
    case FERRY_DATA:
        if (r->role != FERRY_FILTER)
            return false;
        before = ferry__bit(FERRY_STDIN);
        break;
    case FERRY_STDOUT:
    case FERRY_STDERR:
        before = ferry__bit(r->role == FERRY_FILTER ? FERRY_STDIN : FERRY_PARAMS);
        return c->is_app && (r->ended & before);
    default:
        return false;
    }
    return !c->is_app && !r->aborted && (r->ended & before) == before;
}

int ferry_conn_write(struct ferry_conn *c, uint16_t id, enum ferry_record_type stream,
                     struct ferry_block *b, struct ferry_slice bytes)
{
    struct ferry__request *r = ferry__requests_find(&c->requests, id);

    if (c->err)
        return c->err;
    if (!r || !ferry__conn_may_send(c, r, stream) || (r->ended & ferry__bit(stream)))
        return FERRY_EUSAGE;
    if (bytes.len && stream == FERRY_STDERR)
        r->wrote_err = true;
    while (bytes.len) {
        struct ferry_slice content = ferry_slice_first(bytes, FERRY__CONTENT_FULL);

        if (b && content.len > FERRY__COPY_MAX)
            put_ref(c, (uint8_t)stream, id, b, content);
        else
            ferry__conn_put(c, (uint8_t)stream, id, content);
        bytes = ferry_slice_from(bytes, content.len);
    }
    return ferry__conn_output_err(c);
}

int ferry_conn_write_end(struct ferry_conn *c, uint16_t id, enum ferry_record_type stream)
{
    struct ferry__request *r = ferry__requests_find(&c->requests, id);

    if (c->err)
        return c->err;
    if (r && (r->ended & ferry__bit(stream)))
        return 0;
    if (!r || !ferry__conn_may_send(c, r, stream))
        return FERRY_EUSAGE;
    r->ended |= ferry__bit(stream);
    ferry__conn_put(c, (uint8_t)stream, id, ferry_slice(NULL, 0));
    return ferry__conn_output_err(c);
}
