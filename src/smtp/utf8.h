/* SPDX-License-Identifier: MIT */
#ifndef FERRY_SMTP_UTF8_H
#define FERRY_SMTP_UTF8_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

/* Text in envelopes: UTF-8 as RFC 3629 has it, of which nobody can be misled by what is not seen.
 */

/* The length of the well-formed character at the front (1 to 4), any that there is, with its
 * number; or 0: nothing is there, or it is overlong, a surrogate, cut, or past U+10FFFF. */
size_t ferry__smtp_utf8(struct ferry_slice, uint32_t *out);

/*
 * The length of the character at the front (1 to 4), or 0: nothing is there, it is not well-formed
 * (overlong, a surrogate, cut, past U+10FFFF), or it is one that is not seen or turns others round:
 * controls, zero-width and bidirectional marks, byte order marks, tags, noncharacters.
 */
size_t ferry__smtp_char(struct ferry_slice);

/* Are all of them such characters? Blanks may be; with no `utf8` only ASCII. */
bool ferry__smtp_is_text(struct ferry_slice, bool utf8);

#endif
