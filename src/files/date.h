/* SPDX-License-Identifier: MIT */
#ifndef FERRY_FILES_DATE_H
#define FERRY_FILES_DATE_H

#include <stdint.h>

#include "base/slice.h"
#include "ferry/err.h"

/* HTTP dates (RFC 9110 section 5.6.7), always in GMT and whatever the locale. Pure. */

#define FERRY_DATE_LEN 29

/*
 * Writes the IMF-fixdate of a time in seconds since 1970, "Sun, 06 Nov 1994 08:49:37 GMT", not
 * NUL-terminated. Times outside the years 0 to 9999 are moved to the nearest that is inside.
 */
void ferry_date_format(int64_t unix_s, char out[FERRY_DATE_LEN]);

/*
 * Reads an IMF-fixdate or one of the two old forms (RFC 850, asctime): 0, or FERRY_EPROTOCOL and
 * *out untouched. `now_s` places the two-digit year of the RFC 850 form: never more than 50 years
 * ahead.
 */
FERRY_MUST_CHECK
int ferry_date_parse(struct ferry_slice text, int64_t now_s, int64_t *out);

#endif
