/* SPDX-License-Identifier: MIT */
#ifndef FERRY_RECORD_H
#define FERRY_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ferry/err.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * FastCGI 1.0 records: the eight-byte header and the fixed bodies (specification sections 3.3, 4,
 * 5). Nothing here allocates or keeps state.
 */

#define FERRY_RECORD_VERSION 1
#define FERRY_RECORD_HEADER_LEN 8
#define FERRY_RECORD_CONTENT_MAX 65535
#define FERRY_RECORD_BODY_LEN 8 /* of BEGIN_REQUEST, END_REQUEST and UNKNOWN_TYPE */

/* X(name, value, is_management, is_stream, sent_by_the_web_server) */
#define FERRY_RECORD_TYPE_MAP(X)                                                                   \
    X(BEGIN_REQUEST, 1, 0, 0, 1)                                                                   \
    X(ABORT_REQUEST, 2, 0, 0, 1)                                                                   \
    X(END_REQUEST, 3, 0, 0, 0)                                                                     \
    X(PARAMS, 4, 0, 1, 1)                                                                          \
    X(STDIN, 5, 0, 1, 1)                                                                           \
    X(STDOUT, 6, 0, 1, 0)                                                                          \
    X(STDERR, 7, 0, 1, 0)                                                                          \
    X(DATA, 8, 0, 1, 1)                                                                            \
    X(GET_VALUES, 9, 1, 0, 1)                                                                      \
    X(GET_VALUES_RESULT, 10, 1, 0, 0)                                                              \
    X(UNKNOWN_TYPE, 11, 1, 0, 0)

enum ferry_record_type {
#define X(name, value, mgmt, stream, server) FERRY_##name = value,
    FERRY_RECORD_TYPE_MAP(X)
#undef X
};

/* X(name, value) */
#define FERRY_ROLE_MAP(X)                                                                          \
    X(RESPONDER, 1)                                                                                \
    X(AUTHORIZER, 2)                                                                               \
    X(FILTER, 3)

enum ferry_role {
#define X(name, value) FERRY_##name = value,
    FERRY_ROLE_MAP(X)
#undef X
};

/* X(name, value) */
#define FERRY_PROTOCOL_STATUS_MAP(X)                                                               \
    X(REQUEST_COMPLETE, 0)                                                                         \
    X(CANT_MPX_CONN, 1)                                                                            \
    X(OVERLOADED, 2)                                                                               \
    X(UNKNOWN_ROLE, 3)

enum ferry_protocol_status {
#define X(name, value) FERRY_##name = value,
    FERRY_PROTOCOL_STATUS_MAP(X)
#undef X
};

#define FERRY_KEEP_CONN 1 /* the one flag of BEGIN_REQUEST */

struct ferry_record {
    uint8_t type;
    uint8_t padding_len;
    uint16_t id;
    uint16_t content_len;
};

struct ferry_begin_body {
    uint16_t role;
    uint8_t flags;
};

struct ferry_end_body {
    uint32_t app_status;
    uint8_t protocol_status;
};

/* "STDOUT", or NULL for a type the specification does not name. Static memory. */
const char *ferry_record_type_name(unsigned type);

/* "OVERLOADED", or NULL. Static memory. */
const char *ferry_protocol_status_name(unsigned status);

/* "RESPONDER", or NULL. Static memory. */
const char *ferry_role_name(unsigned role);

/* Types 9 to 11, which belong to the connection and carry request id 0. */
bool ferry_record_type_is_management(unsigned type);

/* The padding that makes a record a multiple of eight bytes long: 0 to 7 (section 3.3). */
static inline uint8_t ferry_record_padding(size_t content_len)
{
    return (uint8_t)(-content_len & 7);
}

/* Writes the eight header bytes. Sections 3.3. */
void ferry_record_encode(const struct ferry_record *, void *out);

/*
 * Reads a header: 8, or 0 when n < 8, or FERRY_EPROTOCOL for a version other than 1. Unknown types
 * are not an error here. *out is untouched unless 8 is returned.
 */
FERRY_MUST_CHECK
int ferry_record_decode(const void *p, size_t n, struct ferry_record *out);

/* The eight-byte bodies; `p` and `out` hold FERRY_RECORD_BODY_LEN bytes. Reserved bytes are written
 * 0, read past. */
void ferry_begin_body_encode(const struct ferry_begin_body *, void *out);
void ferry_begin_body_decode(const void *p, struct ferry_begin_body *out);
void ferry_end_body_encode(const struct ferry_end_body *, void *out);
void ferry_end_body_decode(const void *p, struct ferry_end_body *out);
void ferry_unknown_type_body_encode(uint8_t type, void *out);
uint8_t ferry_unknown_type_body_decode(const void *p);

#ifdef __cplusplus
}
#endif
#endif
