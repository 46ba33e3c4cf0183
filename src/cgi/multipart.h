/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CGI_MULTIPART_H
#define FERRY_CGI_MULTIPART_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "ferry/err.h"

/*
 * A body of the type multipart/form-data (RFC 7578), piece by piece: bytes in, events out, nothing
 * kept but the header lines of one part.
 */

#define FERRY_BOUNDARY_MAX 70 /* RFC 2046 section 5.1.1 */

struct ferry_multipart {
    uint8_t state;
    uint8_t matched;       /* bytes of the delimiter that the input ended with ... */
    uint8_t hidden;        /* ... of which the first so many are not content if it was none */
    uint8_t delimiter_len; /* CR LF "--" boundary */
    char delimiter[4 + FERRY_BOUNDARY_MAX];
    char *head; /* the caller's memory: the header lines of a part */
    size_t head_max, head_len;
    int err;
    const char *why; /* static text, after an error */
};

enum ferry_multipart_what {
    FERRY_MULTIPART_PART,     /* a part begins; name, filename and type are set */
    FERRY_MULTIPART_DATA,     /* bytes of its content */
    FERRY_MULTIPART_PART_END, /* no more of them */
    FERRY_MULTIPART_END       /* the last part has ended; all that follows is dropped */
};

/* Slices live until the next call, and `data` as long as the input too. */
struct ferry_multipart_event {
    enum ferry_multipart_what what;
    struct ferry_slice data;
    struct ferry_slice name;
    struct ferry_slice filename; /* p == NULL when there is none */
    struct ferry_slice type;     /* Content-Type, or empty */
};

/*
 * Begins a body, whose CONTENT_TYPE says the boundary. `head` is memory for the header lines of a
 * part, at most head_max bytes with their empty line. 0, or FERRY_EPROTOCOL for a boundary that is
 * missing, there twice, or none (RFC 2046 section 5.1.1).
 */
FERRY_MUST_CHECK
int ferry_multipart_init(struct ferry_multipart *, struct ferry_slice content_type, char *head,
                         size_t head_max);

/*
 * Takes bytes from the front of *in: 1 with *ev; 0 when all of *in is taken and no event is left;
 * or a sticky error: FERRY_EPROTOCOL for what is no form-data, FERRY_ELIMIT past head_max.
 */
FERRY_MUST_CHECK
int ferry_multipart_next(struct ferry_multipart *, struct ferry_slice *in,
                         struct ferry_multipart_event *ev);

/* The body is over: 0, or FERRY_EPROTOCOL when its last delimiter did not come. */
FERRY_MUST_CHECK
int ferry_multipart_end(struct ferry_multipart *);

#endif
