/* SPDX-License-Identifier: MIT */
#ifndef FERRY_FILES_STATIC_H
#define FERRY_FILES_STATIC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/block.h"
#include "files/docroot.h"
#include "files/error_page.h"
#include "files/mime.h"
#include "http/http.h"

/* Files as answers to GET and HEAD, with conditions and ranges (RFC 9110 sections 13 to 15). */

/* What is at most read into memory at once; a larger body goes out as a file range. */
#define FERRY_STATIC_READ_MAX FERRY_BLOCK_LARGE

struct ferry_static_result {
    int status;
    uint64_t bytes; /* of body, handed over for sending */
    bool cut;       /* the file turned out shorter than its head had promised */
};

/*
 * Answers a request, and finishes the answer, with the file at this path of the docroot. To be
 * called while the slices of the HEAD event are valid, and before anything else was answered.
 * `date` is the Date field's value or empty; `edit` may be NULL.
 *
 * 0 when an answer was given (200, 206, 304, 412 or 416; *out says which), or an error and nothing
 * was sent: FERRY_EUSAGE for another method (405, Allow: GET, HEAD), -ENOENT, -EACCES (also for
 * what is no regular file), another -errno, or what ferry_http_respond returned.
 * ferry_static_status gives the status for an error.
 */
FERRY_MUST_CHECK
int ferry_static_send(struct ferry_docroot *, const struct ferry_mime *, struct ferry_http *,
                      struct ferry_blocks *, const struct ferry_http_head *,
                      struct ferry_slice file, struct ferry_slice date,
                      const struct ferry_head_edit *edit, struct ferry_static_result *out);

/* 403, 404, 405, 503 (out of descriptors or memory) or 500 for an error of ferry_static_send. */
int ferry_static_status(int err);

#endif
