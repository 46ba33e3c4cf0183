/* SPDX-License-Identifier: MIT */
#ifndef FERRY_SMTP_PARAMS_H
#define FERRY_SMTP_PARAMS_H

#include "smtp/path.h"
#include "smtp/reply.h"

/* The parameters of MAIL and RCPT: RFC 1870 (SIZE), 6152 and 3030 (BODY), 6531 (SMTPUTF8), 4954
 * (AUTH), 3461 (DSN), as data; and xtext, in which some of their values are written. */

#define FERRY_SMTP_ENVID_MAX 100 /* as sent and therefore decoded (RFC 3461, 4.4) */
#define FERRY_SMTP_ORCPT_MAX 500

enum ferry_smtp_body { FERRY_SMTP_7BIT, FERRY_SMTP_8BITMIME, FERRY_SMTP_BINARYMIME };
enum ferry_smtp_ret { FERRY_SMTP_RET_NONE, FERRY_SMTP_RET_FULL, FERRY_SMTP_RET_HDRS };

/* What NOTIFY asks for; 0: nothing was said. */
enum {
    FERRY_SMTP_NOTIFY_NEVER = 1,
    FERRY_SMTP_NOTIFY_SUCCESS = 2,
    FERRY_SMTP_NOTIFY_FAILURE = 4,
    FERRY_SMTP_NOTIFY_DELAY = 8,
};

/* Which were announced and may be used; others are unknown. */
enum {
    FERRY_SMTP_PARAM_SIZE = 1,
    FERRY_SMTP_PARAM_BODY = 2,
    FERRY_SMTP_PARAM_BINARYMIME = 4, /* as a value of BODY */
    FERRY_SMTP_PARAM_SMTPUTF8 = 8,
    FERRY_SMTP_PARAM_AUTH = 16,
    FERRY_SMTP_PARAM_DSN = 32,
};

struct ferry_smtp_mail_params {
    bool has_size, smtputf8, has_body, has_auth, has_envid;
    uint64_t size;
    enum ferry_smtp_body body;
    enum ferry_smtp_ret ret;
    char auth[FERRY_SMTP_ADDRESS_MAX + 1]; /* decoded; "" for AUTH=<> */
    char envid[FERRY_SMTP_ENVID_MAX + 1];  /* decoded */
};

struct ferry_smtp_rcpt_params {
    unsigned notify;
    char orcpt[FERRY_SMTP_ORCPT_MAX + 1]; /* "rfc822;address", the address decoded; "" without */
};

/*
 * Reads all of them, from what follows the path: FERRY_SMTP_NONE when they are good, else the reply
 * to give, with `detail` (a part of the input) for its %s. A name given twice is an error.
 */
FERRY_MUST_CHECK
enum ferry_smtp_reply ferry_smtp_mail_params(struct ferry_slice, unsigned allowed,
                                             struct ferry_smtp_mail_params *out,
                                             struct ferry_slice *detail);
FERRY_MUST_CHECK
enum ferry_smtp_reply ferry_smtp_rcpt_params(struct ferry_slice, unsigned allowed, bool utf8,
                                             struct ferry_smtp_rcpt_params *out,
                                             struct ferry_slice *detail);

/* xtext (RFC 3461, 4): its length, decoded into `out` with a NUL, or FERRY_EUSAGE (no xtext, or
 * what it means holds NUL, CR or LF), FERRY_ELIMIT (more than cap - 1). */
FERRY_MUST_CHECK
ssize_t ferry_smtp_xtext_decode(struct ferry_slice, char *out, size_t cap);

#endif
