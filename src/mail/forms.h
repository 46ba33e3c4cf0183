/* SPDX-License-Identifier: MIT */
#ifndef FERRY_MAIL_FORMS_H
#define FERRY_MAIL_FORMS_H

#include "mail/fields.h"
#include "mail/grow.h"

/*
 * What is sent on STDIN: the fields as a form, and the message in it, piece by piece from where it
 * was spooled. The length is exact and known before the first byte. Small fields come first, then
 * `body`, then `token`: whatever cuts a form off, the token is lost first.
 */

#define FERRY__TOKEN_LEN 32
#define FERRY__FORM_PIECE_MIN 4096

/* The fields as a query, "a=b&c=d", as Go's url.Values writes it; `seed`: only go-guerrilla's. 0 or
 * negative. */
FERRY_MUST_CHECK
int ferry__mail_query(const struct ferry__mail_about *, bool seed, struct ferry__grow *out);

struct ferry__form_plan; /* of the passes over the message before it is sent */

struct ferry__form {
    enum ferry_mail_format format;
    struct ferry_mail_message *message; /* may be moved between calls: set anew then */
    struct ferry_mail_trace trace;
    struct ferry_spool packed; /* the deflated body, when it is */
    bool is_packed;
    struct ferry__form_plan *plan;

    /* Known when it is measured. */
    uint64_t size;     /* of the body as it is handed over */
    char sha256[65];   /* of the same */
    uint64_t body_len; /* of the same as it stands in the form */
    char token[FERRY__TOKEN_LEN + 1];
    char type[96]; /* CONTENT_TYPE */

    /* And when it is written. */
    struct ferry__grow head, tail;
    uint64_t length; /* of all */
    uint64_t at;     /* of head, body (not yet encoded) and tail: how far it was read */
};

/* The body is the message with its trace fields, for all recipients or for one. 0 or negative; to
 * be ended with _fini in any case. */
FERRY_MUST_CHECK
int ferry__form_init(struct ferry__form *, const struct ferry_mail_facts *,
                     struct ferry_mail_message *, const struct ferry_smtp_rcpt *one,
                     struct ferry_blocks *);
void ferry__form_fini(struct ferry__form *); /* any number of times */

/* Looks at about `budget` bytes more of the body: 1: all is known; 0: call again; or negative. */
FERRY_MUST_CHECK
int ferry__form_measure(struct ferry__form *, size_t budget);

/* Writes what is around the body; `about` was told size, sha256 and `packed` before. 0 or negative.
 */
FERRY_MUST_CHECK
int ferry__form_write(struct ferry__form *, const struct ferry__mail_about *);

/* What SAVED must be followed by where the service is strict: the token that ends the form; without
 * a form, the SHA-256 of what was read. */
struct ferry_slice ferry__form_proof(const struct ferry__form *);

/* The next bytes of it, at most cap (FERRY__FORM_PIECE_MIN or more), into `out`: how many, 0 at its
 * end, or -errno of the file. */
FERRY_MUST_CHECK
ssize_t ferry__form_read(struct ferry__form *, char *out, size_t cap);

#endif
