/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TRACE_NOTATION_H
#define FERRY_TRACE_NOTATION_H

#include <stdbool.h>
#include <stdio.h>

#include "base/slice.h"
#include "ferry/record.h"

/*
 * FastCGI records as text, one line for each record or pair, as `ferry call --records` and `ferry
 * trace --records` show them:
 *
 *     Web server: {FCGI_BEGIN_REQUEST, "responder, keep the connection"}
 *     Web server: {FCGI_PARAMS, "CONTENT_TYPE = application/json"}
 *     Web server: {FCGI_PARAMS, ""}                                   # end of the stream
 *     php-fpm: {FCGI_STDOUT, "Content-Type: text/html\r\n\r\n"... 8131 more bytes}
 *     php-fpm: {FCGI_END_REQUEST, "app status 0, REQUEST_COMPLETE"}
 *
 * With ids: {FCGI_STDOUT, 1, "..."}. Text is escaped as in C, with two digits after \x. One object
 * for each direction of a connection: it is given the bytes as they passed, cut anywhere.
 */

struct ferry_notation_opts {
    const char *speaker; /* "Web server", "php-fpm"; copied */
    size_t text_max; /* bytes of a record's content that are shown; 0: 200; the rest is counted */
    bool ids;        /* the request id too: for connections that are shared */
    bool binary;     /* contents that are no text in hexadecimal */
};

struct ferry_notation;

/* NULL: no memory. */
struct ferry_notation *ferry_notation_new(const struct ferry_notation_opts *);
void ferry_notation_free(struct ferry_notation *); /* takes NULL */

/* Writes the lines of all records that are complete now; a pair that spans records when it is
 * whole. Bytes that are no FastCGI are shown as what they are, once. Errors are the stream's, and
 * -ENOMEM; the first one stays. */
int ferry_notation_bytes(struct ferry_notation *, const void *p, size_t n, FILE *);

/* The direction has ended: a line for what was cut by it, none when it ended between two records.
 * Errors as above. */
int ferry_notation_end(struct ferry_notation *, FILE *);

/* One text in quotes, escaped as above: at most `max` bytes of it, the rest and `more` bytes behind
 * it counted. */
void ferry_notation_text(struct ferry_slice text, size_t max, size_t more, FILE *);

#endif
