/* SPDX-License-Identifier: MIT */
#ifndef FERRY_SMTP_SASL_H
#define FERRY_SMTP_SASL_H

#include <sys/types.h>

#include "ferry/err.h"
#include "smtp/reply.h"

/*
 * AUTH (RFC 4954) with PLAIN (RFC 4616) and LOGIN, step by step. Nothing here knows whether a
 * password is right.
 */

#define FERRY_SMTP_SASL_LINE_MAX 12288 /* of a response, without CR LF (RFC 4954, 4) */
#define FERRY_SMTP_USER_MAX 255        /* octets of a user's name, or of an identity */
#define FERRY_SMTP_PASSWORD_MAX 1023

/* X(name, text) */
#define FERRY_SMTP_MECHANISM_MAP(X)                                                                \
    X(PLAIN, "PLAIN")                                                                              \
    X(LOGIN, "LOGIN")

enum ferry_smtp_mechanism {
#define X(name, text) FERRY_SMTP_MECHANISM_##name,
    FERRY_SMTP_MECHANISM_MAP(X)
#undef X
        FERRY_SMTP_MECHANISMS
};

struct ferry_smtp_sasl {
    enum ferry_smtp_mechanism mechanism;
    unsigned step;                          /* the machine's own */
    char identity[FERRY_SMTP_USER_MAX + 1]; /* of PLAIN: whom to be; "" for oneself */
    char user[FERRY_SMTP_USER_MAX + 1];
    char password[FERRY_SMTP_PASSWORD_MAX + 1];
};

const char *ferry_smtp_mechanism_name(enum ferry_smtp_mechanism);

/*
 * Begins with the arguments of AUTH ("PLAIN", "LOGIN dXNlcg==", "PLAIN ="). 1: all is known; 0:
 * send "334 " and *challenge (base64, perhaps empty; static memory), and give the next line to
 * _next; or FERRY_EUSAGE with the reply to give: ARGS_SYNTAX (no mechanism was named),
 * AUTH_MECHANISM, AUTH_BASE64 (also for what is decoded, and not as the mechanism has it, or
 * empty), AUTH_WRONG (a name or password longer than the above), SASL_TOO_LONG, AUTH_CANCELLED.
 * After an answer other than 0 there is no next.
 */
FERRY_MUST_CHECK
int ferry_smtp_sasl_begin(struct ferry_smtp_sasl *, struct ferry_slice args, const char **challenge,
                          enum ferry_smtp_reply *why);
/* A response line, without CR LF; "*" cancels. As above. */
FERRY_MUST_CHECK
int ferry_smtp_sasl_next(struct ferry_smtp_sasl *, struct ferry_slice line, const char **challenge,
                         enum ferry_smtp_reply *why);
/* Wipes what it knows. */
void ferry_smtp_sasl_clear(struct ferry_smtp_sasl *);

/* Base64 (RFC 4648, 4; padding required, nothing else allowed): the length, or FERRY_EUSAGE,
 * FERRY_ELIMIT. */
FERRY_MUST_CHECK
ssize_t ferry_smtp_base64_decode(struct ferry_slice, char *out, size_t cap);

#endif
