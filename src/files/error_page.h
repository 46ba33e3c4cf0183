/* SPDX-License-Identifier: MIT */
#ifndef FERRY_FILES_ERROR_PAGE_H
#define FERRY_FILES_ERROR_PAGE_H

#include "base/slice.h"
#include "http/http.h"

/* The page for answers that ferry itself must give. Nothing of the request appears in it. */

#define FERRY_ERROR_PAGE_MAX 2048
#define FERRY_ERROR_PAGE_FIELDS_MAX 6

/* What its owner changes of an answer's head before it is sent: replaces *fields and *n and returns
 * the status, or a negative error. */
struct ferry_head_edit {
    int (*edit)(void *arg, int status, const struct ferry_http_field **fields, unsigned *n);
    void *arg;
};

/* ferry_http_respond, behind the edit (NULL: none). Changes the response. */
FERRY_MUST_CHECK
int ferry_head_respond(struct ferry_http *, struct ferry_http_response *,
                       const struct ferry_head_edit *);

/*
 * Writes the page: its length. `why` is one sentence of text for a person; it is escaped, and cut
 * when long. May be empty.
 */
size_t ferry_error_page_format(int status, struct ferry_slice why, char out[FERRY_ERROR_PAGE_MAX]);

/*
 * Answers the request under way with the page and finishes the answer: the page's length, or what
 * ferry_http_respond returned. `date` as there; `more` are at most FERRY_ERROR_PAGE_FIELDS_MAX
 * fields besides (Allow, Retry-After). `edit` may be NULL.
 */
FERRY_MUST_CHECK
int ferry_error_page_send(struct ferry_http *, int status, struct ferry_slice why,
                          struct ferry_slice date, const struct ferry_http_field *more,
                          unsigned nmore, const struct ferry_head_edit *edit);

#endif
