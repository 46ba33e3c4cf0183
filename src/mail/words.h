/* SPDX-License-Identifier: MIT */
#ifndef FERRY_MAIL_WORDS_H
#define FERRY_MAIL_WORDS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

/* Text of a header made readable: UTF-8 on one line, without control characters. */

struct ferry__mail_text {
    char *p; /* with a NUL */
    size_t len, max;
    bool cut;    /* there was more than `max` */
    bool failed; /* no memory */
};

/* What an unfolded value says, its encoded words (RFC 2047) decoded: those that cannot be (unknown
 * charset, broken base64) stay as they are, adjacent ones are joined. Other bytes are UTF-8, or
 * Latin-1 when they are not. `out->max` is set by the caller; out->p is to be freed with free(). */
void ferry__mail_text_decoded(struct ferry__mail_text *out, struct ferry_slice value);
/* The same without decoding: as it stands there. */
void ferry__mail_text_plain(struct ferry__mail_text *out, struct ferry_slice value);

/* Loads GMime, once: any number of calls, from any thread. */
void ferry__mail_words_begin(void);

#endif
