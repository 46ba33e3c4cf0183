/* SPDX-License-Identifier: MIT */
#ifndef FERRY_FILES_MIME_H
#define FERRY_FILES_MIME_H

#include "base/slice.h"
#include "ferry/err.h"

/* MIME types by file name extension. Read-only once made, so that all threads may share one. */

struct ferry_mime;

#define FERRY_MIME_TYPE_MAX 160 /* bytes of a type, its charset included */

/*
 * Reads a file in the form of /etc/mime.types, with ferry's own table behind it for what the file
 * does not name. `path` may be NULL; a file that cannot be read counts as empty, and no more than
 * 256 KiB of it are read. 0 or -ENOMEM.
 */
FERRY_MUST_CHECK
int ferry_mime_new(const char *path, struct ferry_mime **out);
void ferry_mime_free(struct ferry_mime *); /* takes NULL */

/*
 * The Content-Type of a file by the extension of its name, ASCII case ignored. text/... but XML,
 * and JavaScript, come with "; charset=utf-8". Without a known extension:
 * application/octet-stream. Lives as long as the table.
 */
struct ferry_slice ferry_mime_type(const struct ferry_mime *, struct ferry_slice file);

#endif
