/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CGI_RESPONSE_H
#define FERRY_CGI_RESPONSE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/slice.h"
#include "ferry/err.h"
#include "ferry/params.h"

/* The header block of a CGI response (RFC 3875 section 6). Keeps no state. */

#define FERRY_CGI_FIELDS_MAX 128

struct ferry_cgi_response {
    int status;                  /* 100-599; from Status, else 302 with a Location, else 200 */
    struct ferry_slice reason;   /* from Status, or empty */
    int64_t content_length;      /* -1 when absent; it is not among the fields */
    struct ferry_slice location; /* also among the fields */
    unsigned ignored;            /* fields dropped for their names, see below */
    unsigned nfields;
    /* What goes to the client, in order, trimmed; names are tokens, values have no control byte but
     * HTAB. */
    struct ferry_param fields[FERRY_CGI_FIELDS_MAX];
};

/*
 * Reads a header block: the bytes it took, its empty line included; 0 when it is not all there
 * (then `*scanned` holds how far the search for its end has come: start it at 0 and pass it again
 * with the same bytes and more); or FERRY_EPROTOCOL, with `*why` a static text, for a block that
 * must not be relayed (a line without a colon, a blank or nothing before the colon, forbidden
 * bytes, folding, a bad or second Status, Status 101, a bad or conflicting Content-Length,
 * Transfer-Encoding, no line at all), or FERRY_ELIMIT, with `*why` too, for one longer than `max`
 * or with too many fields. *out borrows from p, and means nothing unless a block was taken.
 *
 * Lines end with LF or CRLF; an HTTP/1.x status line in front is taken as Status. Other statuses
 * below 200 are interim: another block follows. Dropped and counted in `ignored`: Date, hop-by-hop
 * fields, X-Sendfile, X-Accel-Redirect and their like (they would show paths of the server), names
 * that are no tokens, and Content-Type and Location after their first.
 */
FERRY_MUST_CHECK
ssize_t ferry_cgi_response_parse(const char *p, size_t n, size_t max, size_t *scanned,
                                 struct ferry_cgi_response *out, const char **why);

#endif
