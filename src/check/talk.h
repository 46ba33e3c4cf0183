/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CHECK_TALK_H
#define FERRY_CHECK_TALK_H

#include <stddef.h>
#include <stdint.h>

/*
 * The transcript of a conversation, in the notation of the specification's appendix B, one line for
 * each record or event:
 *
 *     Web server:  {BEGIN_REQUEST, 1, {RESPONDER, KEEP_CONN}}
 *     Web server:  {PARAMS, 1, "REQUEST_METHOD = GET"}
 *     Application: {STDOUT, 1, "Content-Type: text/plain\r\n\r\n..."} 40 bytes
 *     Application: (closes)
 *
 * Bounded: records of one shape in a row are counted, and of a long conversation the beginning and
 * the end are kept. When memory is out lines are left out.
 */

#define FERRY_TALK_FIRST 60
#define FERRY_TALK_LAST 40
#define FERRY_TALK_LINE_MAX 160

struct ferry_talk_line {
    char *text;
    uint64_t shape;    /* of a record; lines of one shape in a row become one */
    unsigned repeated; /* how many more of it there were */
};

struct ferry_talk {
    struct ferry_talk_line first[FERRY_TALK_FIRST];
    struct ferry_talk_line last[FERRY_TALK_LAST]; /* a ring */
    size_t n;                                     /* lines that there were */
};

/* A record as it is on the wire. */
struct ferry_wire_record {
    uint8_t version, type;
    uint16_t id, content_len;
    uint8_t padding_len, reserved;
    const unsigned char *content;
};

/* Notes a record that `who` sent. `wire` is the number of its connection, or 0 when there is only
 * one. */
void ferry_talk_record(struct ferry_talk *, const char *who, unsigned wire,
                       const struct ferry_wire_record *);

/* Notes bytes that are no record. */
void ferry_talk_bytes(struct ferry_talk *, const char *who, unsigned wire, const void *, size_t n);

/* Notes what happened: "(closes)". `who` may be NULL. */
void ferry_talk_note(struct ferry_talk *, const char *who, unsigned wire, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* The lines to show, in order, as strings without an end, or NULL past the last. They live in
 * `buf`, at least FERRY_TALK_LINE_MAX long, until the next call. */
const char *ferry_talk_line(const struct ferry_talk *, size_t i, char *buf, size_t cap);

void ferry_talk_fini(struct ferry_talk *);

/* "BEGIN_REQUEST", or "type 77" in buf (at least 16 bytes). */
const char *ferry_talk_type(unsigned type, char *buf);

#endif
