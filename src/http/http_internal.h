/* SPDX-License-Identifier: MIT */
#ifndef FERRY_HTTP_INTERNAL_H
#define FERRY_HTTP_INTERNAL_H

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/block.h"
#include "base/chain.h"
#include "http/http.h"

/* -- head.c: heads of requests */

/* A method longer than this names nothing we could know: 501. */
#define FERRY__METHOD_MAX 32

/* Bytes of field names (RFC 9110 section 5.6.2). */
extern const bool ferry__is_token[256];

/* How far the search for the end of a head has come; all zero at its first byte. */
struct ferry__head_scan {
    uint32_t at;   /* bytes searched */
    uint32_t line; /* where the line being searched begins */
};

/*
 * Searches p[scan->at .. n) for the empty line: the length of the head with it, 0 when it is not
 * there yet, or FERRY_EPROTOCOL for a line that ends with a bare LF.
 */
ssize_t ferry__head_scan(const char *p, size_t n, struct ferry__head_scan *);

/*
 * Reads the whole head of n bytes that ferry__head_scan found. 0, or the status to refuse it with
 * and *why; then of *out only method_id and minor are set, as far as they were read (OTHER and 0
 * before). *keep: the client wants the connection kept. The limits on body length are the caller's.
 */
int ferry__head_parse(const char *p, size_t n, size_t target_max, struct ferry_http_head *out,
                      bool *keep, const char **why);

/*
 * The first control byte at or behind p, or end. SP and bytes above 0x7F are none; HTAB is one.
 */
static inline const char *ferry__next_control(const char *p, const char *end)
{
    const uint64_t ones = 0x0101010101010101u, high = ones << 7;

    while (end - p >= 8) {
        uint64_t w, del, hit;

        /* Eight bytes at a time; the lowest hit is exact, only those above it may be false. */
        memcpy(&w, p, 8);
        w = le64toh(w);
        del = w ^ ones * 0x7f;
        hit = (((w - ones * 0x20) & ~w) | ((del - ones) & ~del)) & high;
        if (hit)
            return p + (__builtin_ctzll(hit) >> 3);
        p += 8;
    }
    while (p < end && (unsigned char)*p >= 0x20 && *p != 0x7f)
        p++;
    return p;
}

/* -- chunked.c: the chunked transfer coding */

enum ferry__chunk_state {
    FERRY__CHUNK_SIZE,
    FERRY__CHUNK_BLANK, /* blanks before the ';' of an extension */
    FERRY__CHUNK_EXT,
    FERRY__CHUNK_SIZE_LF,
    FERRY__CHUNK_DATA,
    FERRY__CHUNK_DATA_CR,
    FERRY__CHUNK_DATA_LF,
    FERRY__CHUNK_TRAILER, /* at the beginning of a trailer line */
    FERRY__CHUNK_NAME,
    FERRY__CHUNK_VALUE,
    FERRY__CHUNK_VALUE_LF,
    FERRY__CHUNK_LAST_LF,
    FERRY__CHUNK_DONE,
    FERRY__CHUNK_BAD,
};

struct ferry__chunked {
    uint64_t left;        /* bytes of the chunk still to come */
    uint64_t room;        /* bytes the body may still have */
    const char *why;      /* BAD: what is wrong */
    uint32_t ext_total;   /* bytes of extensions in the whole body */
    uint32_t trailer_max; /* bytes the trailer section may still have */
    uint16_t status;      /* BAD: 400, 413 or 431 */
    uint16_t ext_len;     /* bytes of extensions of this chunk */
    uint8_t digits;       /* of the chunk size */
    uint8_t state;        /* enum ferry__chunk_state */
};

void ferry__chunked_init(struct ferry__chunked *, uint64_t body_max, uint32_t trailer_max);

/*
 * Takes framing, and the first run of data behind it, which *data borrows (empty: none): the bytes
 * taken. Less than n only behind data, when DONE, or when BAD.
 */
size_t ferry__chunked_recv(struct ferry__chunked *, const char *p, size_t n,
                           struct ferry_slice *data);

/* -- the machine: http.c takes, write.c answers, time.c waits */

enum ferry__http_phase {
    FERRY__HTTP_IDLE,    /* before the first byte of a head */
    FERRY__HTTP_HEAD,    /* a head is coming in pieces */
    FERRY__HTTP_READY,   /* a whole head waits for its event */
    FERRY__HTTP_REQUEST, /* a request, good or bad, is the owner's */
    FERRY__HTTP_LINGER,  /* all is answered; input is dropped */
    FERRY__HTTP_CLOSED,
};

enum ferry__http_body {
    FERRY__BODY_DONE, /* read to its end, or there is none */
    FERRY__BODY_LENGTH,
    FERRY__BODY_CHUNKED,
    FERRY__BODY_BROKEN, /* its end cannot be found any more */
};

enum ferry__http_reply {
    FERRY__REPLY_NONE, /* the head is not written yet */
    FERRY__REPLY_LENGTH,
    FERRY__REPLY_CHUNKED,
    FERRY__REPLY_CLOSE,  /* ends with the connection */
    FERRY__REPLY_NOBODY, /* HEAD, 204, 304 */
    FERRY__REPLY_DONE,
};

struct ferry_http {
    struct ferry_chain out;
    struct ferry_http_opts opts; /* zeros replaced by the defaults */

    uint64_t now_ms;     /* the latest time anybody told */
    uint64_t wait_since; /* when what the phase waits for began */
    uint64_t send_since; /* when output last left, or began to wait */

    const char *head; /* READY: the head, in recv's bytes or in buf */
    struct ferry_block *buf;
    uint32_t head_len; /* HEAD: bytes in buf */
    struct ferry__head_scan scan;

    struct ferry_slice data; /* of the BODY event that waits */
    const char *why;         /* of the BAD event that waits */
    uint64_t body_left;      /* LENGTH: bytes still to come */
    uint64_t body_seen;
    uint64_t body_last;    /* when its latest byte came */
    uint64_t paused_since; /* when `paused` was set */
    struct ferry__chunked chunked;

    uint64_t reply_left; /* REPLY_LENGTH: bytes still to be written */
    uint32_t requests;
    uint16_t status; /* of the BAD event that waits */

    uint8_t phase;   /* enum ferry__http_phase */
    uint8_t pending; /* 1 << event type for each event that waits, HEAD excepted */
    uint8_t body;    /* enum ferry__http_body */
    uint8_t reply;   /* enum ferry__http_reply */
    uint8_t minor;
    uint8_t empty_lines; /* in front of the request line */

    bool lead_cr : 1;      /* the CR of such an empty line came */
    bool is_head : 1;      /* the method is HEAD */
    bool keep : 1;         /* another request may follow */
    bool client_keeps : 1; /* the client thinks so at least */
    bool expects : 1;      /* it waits for 100 (Continue) */
    bool body_offered : 1; /* bytes of the body came before it was wanted */
    bool started : 1;      /* the body is wanted */
    bool paused : 1;
    bool eof : 1;      /* the client has closed its sending side */
    bool draining : 1; /* ferry_http_drain was called */
    bool stalled : 1;  /* the output is given up */
    bool unmarked : 1; /* a response was cut that only the connection's end delimits */
    /* The wait began in a call that was told no time; the next one that is sets its beginning. */
    bool wait_stale : 1;
    bool send_stale : 1;
};

_Static_assert(sizeof(struct ferry_http) <= 512, "an idle connection is small");

/* -- http.c, for the others */

/* Nothing more is read or written; what is queued still leaves. */
static inline void ferry__http_close(struct ferry_http *m)
{
    m->phase = FERRY__HTTP_CLOSED;
}

/* Closed, and the owner is told so. */
void ferry__http_gone(struct ferry_http *);

/*
 * Nothing the client sends from here on can be understood, or waited for: a BAD event. While a
 * request is under way it leaves its owner the choice to answer or to cut.
 */
void ferry__http_refuse(struct ferry_http *, int status, const char *why);

static inline bool ferry__http_body_is_due(const struct ferry_http *m)
{
    return m->body == FERRY__BODY_LENGTH || m->body == FERRY__BODY_CHUNKED;
}

/* The response is complete in the output: on to the next request, or to the end. */
void ferry__http_reply_done(struct ferry_http *);

/* -- time.c */

/* Every call that is told the time comes here first. */
void ferry__http_set_now(struct ferry_http *, uint64_t now_ms);

#endif
