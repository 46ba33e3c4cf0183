/* SPDX-License-Identifier: MIT */
/*
 * The fixed parts of FastCGI 1.0: the eight-byte record header (section 3.3) and the eight-byte
 * bodies (section 5). All numbers are big endian on the wire.
 *
 *     0       1       2     3     4     5     6           7
 *     version type    idB1  idB0  lenB1 lenB0 padding_len reserved
 */
#include "ferry/record.h"

#include <string.h>

static void put16(unsigned char *p, unsigned n)
{
    p[0] = (unsigned char)(n >> 8);
    p[1] = (unsigned char)n;
}

static uint16_t get16(const unsigned char *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

const char *ferry_record_type_name(unsigned type)
{
    switch (type) {
#define X(name, value, mgmt, stream, server)                                                       \
    case value:                                                                                    \
        return #name;
        FERRY_RECORD_TYPE_MAP(X)
#undef X
    default:
        return NULL;
    }
}

const char *ferry_protocol_status_name(unsigned status)
{
    switch (status) {
#define X(name, value)                                                                             \
    case value:                                                                                    \
        return #name;
        FERRY_PROTOCOL_STATUS_MAP(X)
#undef X
    default:
        return NULL;
    }
}

const char *ferry_role_name(unsigned role)
{
    switch (role) {
#define X(name, value)                                                                             \
    case value:                                                                                    \
        return #name;
        FERRY_ROLE_MAP(X)
#undef X
    default:
        return NULL;
    }
}

bool ferry_record_type_is_management(unsigned type)
{
    switch (type) {
#define X(name, value, mgmt, stream, server)                                                       \
    case value:                                                                                    \
        return mgmt;
        FERRY_RECORD_TYPE_MAP(X)
#undef X
    default:
        return false;
    }
}

void ferry_record_encode(const struct ferry_record *r, void *out)
{
    unsigned char *p = out;

    p[0] = FERRY_RECORD_VERSION;
    p[1] = r->type;
    put16(p + 2, r->id);
    put16(p + 4, r->content_len);
    p[6] = r->padding_len;
    p[7] = 0;
}

int ferry_record_decode(const void *in, size_t n, struct ferry_record *out)
{
    const unsigned char *p = in;

    if (n && p[0] != FERRY_RECORD_VERSION)
        return FERRY_EPROTOCOL;
    if (n < FERRY_RECORD_HEADER_LEN)
        return 0;
    *out = (struct ferry_record){
        .type = p[1], .padding_len = p[6], .id = get16(p + 2), .content_len = get16(p + 4)};
    return FERRY_RECORD_HEADER_LEN;
}

void ferry_begin_body_encode(const struct ferry_begin_body *b, void *out)
{
    unsigned char *p = out;

    memset(p, 0, FERRY_RECORD_BODY_LEN);
    put16(p, b->role);
    p[2] = b->flags;
}

void ferry_begin_body_decode(const void *in, struct ferry_begin_body *out)
{
    const unsigned char *p = in;

    *out = (struct ferry_begin_body){.role = get16(p), .flags = p[2]};
}

void ferry_end_body_encode(const struct ferry_end_body *b, void *out)
{
    unsigned char *p = out;

    memset(p, 0, FERRY_RECORD_BODY_LEN);
    put16(p, b->app_status >> 16);
    put16(p + 2, b->app_status & 0xffff);
    p[4] = b->protocol_status;
}

void ferry_end_body_decode(const void *in, struct ferry_end_body *out)
{
    const unsigned char *p = in;

    *out = (struct ferry_end_body){.app_status = (uint32_t)get16(p) << 16 | get16(p + 2),
                                   .protocol_status = p[4]};
}

void ferry_unknown_type_body_encode(uint8_t type, void *out)
{
    memset(out, 0, FERRY_RECORD_BODY_LEN);
    *(unsigned char *)out = type;
}

uint8_t ferry_unknown_type_body_decode(const void *p)
{
    return *(const unsigned char *)p;
}
