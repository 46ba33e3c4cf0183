/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CGI_FIELD_H
#define FERRY_CGI_FIELD_H

#include <stdbool.h>

#include "base/slice.h"
#include "ferry/err.h"

/* Header fields with parameters, as Content-Type and Content-Disposition are:
 * word *( ";" name "=" value ), with values that may be quoted (RFC 9110 section 5.6.6). */

struct ferry_field_param {
    struct ferry_slice name;
    struct ferry_slice value; /* without its quotes, but with the backslashes between them */
    bool quoted;
};

/* Takes the word before the first parameter, trimmed; *rest is what follows it. */
struct ferry_slice ferry_field_word(struct ferry_slice *rest);

/*
 * Takes the next parameter from *rest: 1 with *out, which lies in *rest; 0 at the end; or
 * FERRY_EPROTOCOL for one without a name or "=", with a quote that does not end, or with something
 * behind its end. A value without quotes reaches to the next ";", whatever it is made of but
 * quotes.
 */
FERRY_MUST_CHECK
int ferry_field_param_next(struct ferry_slice *rest, struct ferry_field_param *out);

/*
 * Removes the backslashes of a quoted value in place, those before a quote or a backslash; others
 * are taken for what they stand for in the paths that some browsers send. The new length.
 */
size_t ferry_field_unquote(char *p, size_t n);

#endif
