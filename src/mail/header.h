/* SPDX-License-Identifier: MIT */
#ifndef FERRY_MAIL_HEADER_H
#define FERRY_MAIL_HEADER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

/* The lines of a message's header, one field at a time. */

struct ferry__mail_field {
    struct ferry_slice name, value; /* value: all behind the ':', with its line ends */
    size_t len;                     /* of all its lines */
};

/* The field that begins at `at`; false: no field does (RFC 5322, 2.2). */
bool ferry__mail_field_next(struct ferry_slice head, size_t at, struct ferry__mail_field *out);

/* The line that mailbox files have in front of a message. */
bool ferry__mail_is_from_line(struct ferry_slice head);

/* The length of the empty line at the front, or 0. */
size_t ferry__mail_empty_line(struct ferry_slice);

#endif
