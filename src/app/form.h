/* SPDX-License-Identifier: MIT */
#ifndef FERRY_APP_FORM_H
#define FERRY_APP_FORM_H

#include "cgi/multipart.h"
#include "ferry/form.h"
#include "io/spool.h"

/* A form as it is put together from a body that comes in pieces. Knows no request. */

enum ferry__form_kind { FERRY__FORM_NONE, FERRY__FORM_URLENCODED, FERRY__FORM_MULTIPART };

struct ferry_form {
    struct ferry_form_opts opts; /* every default filled in */
    ferry_request_fn fn;
    enum ferry__form_kind kind;
    bool over; /* all of it is there */
    int err;   /* the first */
    const char *why;
    int64_t content_length; /* -1 when nobody said one */
    uint64_t got;           /* bytes of the body */
    struct ferry_part *parts;
    unsigned nparts, parts_cap, nfiles;
    size_t memory; /* bytes that the parts keep, as memory_max counts them */

    /* The part being read: its name, sent_name and type, each with its NUL, then its bytes; or the
     * whole body when it is urlencoded. */
    char *buf;
    size_t len, cap, value_at;
    struct ferry_part part; /* with the lengths of what lies in buf */
    bool is_file, in_file;
    struct ferry_spool file;

    struct ferry_multipart multipart;
    char head[]; /* part_head_max */
};

/* A form of that type and length, a NULL type for none; NULL when memory is out. What is wrong with
 * them is the form's err. */
struct ferry_form *ferry__form_new(struct ferry_slice content_type, int64_t content_length,
                                   const struct ferry_form_opts *);
void ferry__form_free(struct ferry_form *);

/* More of the body, and its end: 0 or the form's err. */
int ferry__form_take(struct ferry_form *, struct ferry_slice);
int ferry__form_end(struct ferry_form *);

/* Its first error: `why` is a static text. */
int ferry__form_fail(struct ferry_form *, int err, const char *why);

/* -- query.c */

/* Decodes a pair where it lies, which is memory of ours with a byte to spare behind the value, and
 * writes the NULs. */
void ferry__pair_decode(struct ferry_param *);

#endif
