/* SPDX-License-Identifier: MIT */
#ifndef FERRY_SMTP_PATH_H
#define FERRY_SMTP_PATH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/slice.h"
#include "ferry/err.h"

/*
 * Paths of MAIL and RCPT (RFC 5321, 4.1.2; RFC 6531, 3.3) and names of HELO. Strict about what an
 * address is, and about sizes; lenient, unless told otherwise, about blanks and brackets around it.
 */

#define FERRY_SMTP_LOCAL_MAX 64 /* octets, as they are meant: without quotes and backslashes */
#define FERRY_SMTP_DOMAIN_MAX 255
#define FERRY_SMTP_LABEL_MAX 63
#define FERRY_SMTP_PATH_MAX 256 /* with brackets and source route */
#define FERRY_SMTP_ADDRESS_MAX 400

/* The normal form: the source route is gone, the local part is quoted only when it must be, the
 * domain is in lower case (ASCII), an address literal as it came but for the case of "IPv6:". */
struct ferry_smtp_path {
    uint16_t len, local_len; /* of text; of the local part as it stands there */
    uint16_t raw_len;        /* what stood between the brackets: the first bytes of raw */
    bool null;               /* <>: text is "" */
    bool utf8;               /* bytes above 0x7f, all of them well-formed */
    bool literal;            /* the domain is [an address] */
    bool no_domain;          /* <postmaster>, in any case: text is "postmaster" */
    char text[FERRY_SMTP_ADDRESS_MAX + 1]; /* with a NUL */
    char raw[FERRY_SMTP_PATH_MAX + 1];
};

static inline struct ferry_slice ferry_smtp_path_local(const struct ferry_smtp_path *p)
{
    return ferry_slice(p->text, p->local_len);
}

/* Behind the '@'; empty when there is none. */
static inline struct ferry_slice ferry_smtp_path_domain(const struct ferry_smtp_path *p)
{
    return p->len > p->local_len
               ? ferry_slice(p->text + p->local_len + 1, (size_t)(p->len - p->local_len - 1))
               : FERRY_SLICE("");
}

enum {
    FERRY_SMTP_PATH_STRICT = 1,     /* brackets, no blanks before them, dots only between atoms */
    FERRY_SMTP_PATH_NULL = 2,       /* <> may be */
    FERRY_SMTP_PATH_POSTMASTER = 4, /* and <postmaster> */
};

/*
 * Nothing that is not seen may be in it (controls, zero-width and bidirectional characters), and
 * all above ASCII is well-formed UTF-8. Empty local parts ("") are refused. Underscores in a domain
 * pass unless strict: hosts are named so.
 *
 * Reads the path at the front of what follows "FROM:" or "TO:" (blanks first are skipped): the
 * number of bytes it took, with `out`; what follows is empty or begins with a blank. FERRY_EUSAGE:
 * no such path; FERRY_ELIMIT: one of its sizes is past the limit.
 */
FERRY_MUST_CHECK
ssize_t ferry_smtp_path_parse(struct ferry_slice, unsigned flags, struct ferry_smtp_path *out);

/* Is it a domain name or an address literal as RFC 5321 has it? */
bool ferry_smtp_is_domain(struct ferry_slice);

#endif
