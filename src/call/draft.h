/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CALL_DRAFT_H
#define FERRY_CALL_DRAFT_H

#include <stdbool.h>

#include "base/slice.h"
#include "call/payload.h"
#include "cgi/request.h"
#include "ferry/params.h"
#include "ferry/record.h"

/*
 * A FastCGI request that is put together from what somebody types: a script, headers, params, a
 * body in one of curl's forms. Its params are those that the gateway makes of the same HTTP request
 * (cgi/request.h), so a header can never become anything but HTTP_*; then come the changes that
 * were asked for by name.
 *
 * All functions that fail leave the reason, a whole sentence without its end, in `why`.
 */

#define FERRY_DRAFT_FIELDS_MAX 100
#define FERRY_DRAFT_TEXT_MAX (64u << 20) /* of a file that is kept in memory */
#define FERRY_DRAFT_QUERY_MAX (1u << 20)

/* X(name, option): the forms of a body that curl knows */
#define FERRY_DRAFT_DATA_MAP(X)                                                                    \
    X(FORM, "--data")                /* @file without its line ends */                             \
    X(RAW, "--data-raw")             /* no @file */                                                \
    X(BINARY, "--data-binary")       /* @file as it is */                                          \
    X(URLENCODE, "--data-urlencode") /* text, =text, name=text, @file, name@file */                \
    X(JSON, "--json")                /* as BINARY; not joined by "&" */

enum ferry_draft_data {
#define X(name, option) FERRY_DRAFT_##name,
    FERRY_DRAFT_DATA_MAP(X)
#undef X
};

struct ferry_draft_edit {
    struct ferry_slice name, value;
    bool remove;
};

struct ferry_draft {
    /* Set by the owner; strings are borrowed. */
    enum ferry_role role;  /* 0: responder */
    const char *script;    /* a file, or with `root` a URL path; may have a query */
    const char *root;      /* the document root, or NULL: where the script lies */
    const char *uri;       /* REQUEST_URI, where it is not the script's; NULL */
    const char *method;    /* NULL: what fits the body */
    const char *agent;     /* NULL: ferry's */
    const char *user;      /* "name:password", for Authorization; NULL */
    const char *data_file; /* the DATA stream of a filter; NULL */
    const char *cwd;       /* what relative paths begin at; NULL: the working directory */
    bool head;             /* HEAD */
    bool get;              /* the data is for the query */

    /* Made by ferry_draft_seal. */
    struct ferry_payload body, data;
    struct ferry_param *params; /* in the order in which they are sent */
    size_t nparams;
    struct ferry_slice image; /* BEGIN_REQUEST and PARAMS, with the end of STDIN where no body is */
    char why[512];

    /* The draft's own. */
    struct ferry_param fields[FERRY_DRAFT_FIELDS_MAX]; /* of an empty value: without p */
    unsigned nfields;
    struct ferry_draft_edit *edits;
    size_t nedits;
    const char *kind; /* the option that gave the body, or NULL */
    struct ferry_slice type;
    struct ferry_slice boundary;
    bool json;
    char **texts; /* memory that slices lie in */
    size_t ntexts, texts_cap;
};

/* All zero is an empty one. */
void ferry_draft_fini(struct ferry_draft *);

/* "Name: value"; "Name:" takes a header away that would be there; "Name;" is one without a value.
 * 0, or FERRY_EUSAGE, FERRY_ELIMIT, -ENOMEM. */
FERRY_MUST_CHECK
int ferry_draft_header(struct ferry_draft *, const char *text);

/* "name=value", for the Cookie header; several are joined. Errors as above. */
FERRY_MUST_CHECK
int ferry_draft_cookie(struct ferry_draft *, const char *text);

/* "NAME=VALUE" sets or replaces a param, "-NAME" takes it away. Errors as above. */
FERRY_MUST_CHECK
int ferry_draft_param(struct ferry_draft *, const char *text);

/* More of the body; errors as above and those of files. */
FERRY_MUST_CHECK
int ferry_draft_data(struct ferry_draft *, enum ferry_draft_data, const char *text);

/* A part of a form: "name=value", "name=@file", "name=<file", with ";type=" and ";filename=" behind
 * it; or literally "name=value". Errors as above. */
FERRY_MUST_CHECK
int ferry_draft_part(struct ferry_draft *, const char *text, bool literally);

/* The whole body is this file. Errors as above. */
FERRY_MUST_CHECK
int ferry_draft_upload(struct ferry_draft *, const char *path);

/* Makes params and image of all that was given; nothing may be added then. Errors as above. */
FERRY_MUST_CHECK
int ferry_draft_seal(struct ferry_draft *);

/* The value of a param; p == NULL when there is none. */
struct ferry_slice ferry_draft_value(const struct ferry_draft *, const char *name);

/* -- between the files of the draft -- */

/* Leaves a reason and returns err. */
int ferry__draft_fail(struct ferry_draft *, int err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* n bytes that live as long as the draft; NULL, with the reason left. */
char *ferry__draft_alloc(struct ferry_draft *, size_t n);
/* A string that lives as long as the draft; NULL, with the reason left. */
char *ferry__draft_print(struct ferry_draft *, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* The members of a request that the script and its query make: 0 or an error. */
int ferry__draft_target(struct ferry_draft *, struct ferry_cgi_request *);
/* The end of a form that has parts; 0 or an error. */
int ferry__draft_end_parts(struct ferry_draft *);
/* One kind of body only. */
int ferry__draft_kind(struct ferry_draft *, const char *option);

#endif
