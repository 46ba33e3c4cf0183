/* SPDX-License-Identifier: MIT */
#ifndef FERRY_FORM_H
#define FERRY_FORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ferry/app.h"
#include "ferry/err.h"
#include "ferry/params.h"
#include "ferry/slice.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * What people send with a request: the query, cookies, and forms with their files. Opt-in: nothing
 * here happens unless it is asked for, and all of it has limits.
 *
 *     static void got_form(struct ferry_request *r)
 *     {
 *         struct ferry_form *form;
 *         int err = ferry_form_read(r, NULL, &form);
 *
 *         if (err < 0) {
 *             ferry_form_refuse(r, err);
 *             return;
 *         }
 *         ferry_request_printf(r, "msg is %s\n", ferry_form_value_z(form, "msg"));
 *         ferry_request_finish(r, 0);
 *     }
 *
 * In the loop's thread the handler says ferry_form_start(r, NULL, got_form) and returns. In a
 * thread of its own, where reading waits, it calls got_form itself.
 *
 * A function here that takes a request is called by the thread that the request belongs to.
 */

/* -- pairs of a name and a value
 * -------------------------------------------------------------------------------------------------
 */

/* In the order they were sent. A NUL stands behind each name and each value. */
struct ferry_pairs {
    const struct ferry_param *list;
    size_t n;
};

#define FERRY_PAIRS_MAX 1000 /* how many, where nothing else is said */

/* The value of the first pair of that name, or one with p == NULL when there is none. Looks at one
 * after the other. */
struct ferry_slice ferry_pairs_get(const struct ferry_pairs *, const char *name);

/* The same as a C string: NULL when there is none, or when a NUL lies in it. */
const char *ferry_pairs_get_z(const struct ferry_pairs *, const char *name);

/* -- the query
 * -------------------------------------------------------------------------------------------------
 *
 * Text of the type application/x-www-form-urlencoded, as the URL Standard (section 5.1) reads it:
 * pairs lie between `&`, name and value at the first `=`; `+` is a blank and %XX a byte. A % that
 * two hexadecimal digits do not follow stands for itself. Empty pairs are passed over, a pair
 * without `=` has an empty value, and names may be empty and may repeat. Bytes are not looked at
 * otherwise: they may be no UTF-8, and hold a NUL.
 */

/* The pairs of QUERY_STRING, decoded, in memory that lives as long as the request: 0, or
 * FERRY_ELIMIT (more than FERRY_PAIRS_MAX) or -ENOMEM. */
FERRY_MUST_CHECK
int ferry_query_read(struct ferry_request *, struct ferry_pairs *out);

/* The same of any text, which is copied, and with at most `max` pairs. */
FERRY_MUST_CHECK
int ferry_query_parse(struct ferry_request *, struct ferry_slice text, size_t max,
                      struct ferry_pairs *out);

/*
 * Takes the next pair from the front of *rest, not decoded: true with *out, whose slices lie in
 * *rest; false at the end. Needs no memory and no request.
 */
bool ferry_query_next(struct ferry_slice *rest, struct ferry_param *out);

/* Decodes a name or a value into `out`, which has room for in.len bytes and may be in.p itself: how
 * many bytes it has then. */
size_t ferry_query_decode(struct ferry_slice in, char *out);

/* -- cookies
 * -------------------------------------------------------------------------------------------------
 *
 * A browser's Cookie header (RFC 6265 section 4.2): pairs between `;`, name and value at the first
 * `=`, without the blanks around them and without one pair of double quotes around a value. No
 * quote protects a `;`, nothing else is decoded, and what has no `=` or no name is passed over. Two
 * of one name are both there; browsers send the one with the longer path first.
 */

/* The pairs of HTTP_COOKIE, in memory that lives as long as the request. Returns as
 * ferry_query_read. */
FERRY_MUST_CHECK
int ferry_cookies_read(struct ferry_request *, struct ferry_pairs *out);

/* Takes the next pair from the front of *rest, as ferry_query_next does. */
bool ferry_cookie_next(struct ferry_slice *rest, struct ferry_param *out);

enum ferry_same_site {
    FERRY_SAME_SITE_LAX = 0, /* other sites can lead people here with it, but not post with it */
    FERRY_SAME_SITE_STRICT = 1,
    FERRY_SAME_SITE_NONE = 2 /* other sites can use it; always Secure */
};

/* A cookie to set. Every zero is the safe choice that stands beside it. */
struct ferry_cookie {
    const char *name;   /* a token (RFC 9110 section 5.6.2) */
    const char *value;  /* NULL means "". No control bytes, blanks, `"`, `,`, `;`, `\` */
    const char *path;   /* NULL means "/" */
    const char *domain; /* NULL means this host alone; a name means its subdomains too */
    int64_t max_age_s;  /* seconds; 0: until the browser is closed; < 0: it is removed now */
    enum ferry_same_site same_site;
    bool secure;  /* only over https. Names that begin with __Secure- or __Host- always are */
    bool scripts; /* scripts of the page may read it; without this it is HttpOnly */
};

/*
 * Writes the value of a Set-Cookie header (RFC 6265 section 4.1) and a NUL: its length, or
 * FERRY_ELIMIT when `cap` is short, or FERRY_EUSAGE for a name, a value, a path or a domain with a
 * byte that does not belong there, a path that does not begin with `/`, or a __Host- cookie with a
 * domain or another path than "/". Values of your users' may thus be passed as they are: none can
 * add an attribute or a header.
 */
FERRY_MUST_CHECK
ssize_t ferry_cookie_format(const struct ferry_cookie *, char *out, size_t cap);

/* Sets it, by a header of the answer; of a request that came over https (HTTPS is "on") it is
 * Secure. 0, or an error of ferry_cookie_format or ferry_request_header; one of 4096 bytes is too
 * long for browsers, and FERRY_ELIMIT. */
FERRY_MUST_CHECK
int ferry_cookie_set(struct ferry_request *, const struct ferry_cookie *);

/* -- forms
 * -------------------------------------------------------------------------------------------------
 *
 * A request's body of the type application/x-www-form-urlencoded or multipart/form-data (RFC 7578).
 * A form is made of parts: fields, and files when the part has a filename. What is kept in memory
 * is bounded; larger files go to an unlinked temporary file each (in TMPDIR, /var/tmp or /tmp) as
 * they come, so a body of any length costs little memory. The thread that reads the form writes
 * the file.
 *
 * Read strictly: lines of a multipart body end with CRLF, each part has a Content-Disposition with
 * one name, and after a boundary comes the end of its line. Preamble and epilogue are dropped,
 * `filename*` is not looked at (RFC 7578 section 4.2), and a multipart inside of a part is the
 * content of that part.
 */

struct ferry_form;

/* Every zero means the default that stands beside it. What is larger is FERRY_ELIMIT, but for
 * files_memory_max. Grows at its end only. */
struct ferry_form_opts {
    size_t size;            /* of this structure, as FERRY_FORM_OPTS_INIT sets it */
    uint64_t total_max;     /* bytes of the body; 0 means 64 MiB */
    uint64_t file_max;      /* bytes of one file; 0 means total_max */
    size_t field_max;       /* bytes of one field; 0 means memory_max */
    size_t memory_max;      /* bytes of all names, fields, and files that are not in a temporary
                               file; 0 means 1 MiB */
    size_t file_memory_max; /* a file with more bytes than this, or for which there is no more room
                               in memory_max, goes to a temporary file; 0 means 64 KiB */
    unsigned parts_max;     /* fields and files together; 0 means 1000 */
    unsigned files_max;     /* of which files that are not empty; 0 means 20. Each may hold a
                               descriptor */
    unsigned part_head_max; /* bytes of the header lines of one part; 0 means 8 KiB */
};

#define FERRY_FORM_OPTS_INIT                                                                       \
    {                                                                                              \
        sizeof(struct ferry_form_opts), 0, 0, 0, 0, 0, 0, 0, 0                                     \
    }

/*
 * Reads the form in the loop's thread and calls `fn` once, when all of it is there or it failed;
 * never from inside. `fn` calls ferry_form_read to learn which, and finishes the request. An abort
 * is one of the failures, unless on_abort has a function: then that one is called and `fn` is not.
 * Uses ferry_request_on_body. NULL options mean the defaults; they are copied. 0, -ENOMEM, or
 * FERRY_EUSAGE when called a second time or for a detached request.
 */
FERRY_MUST_CHECK
int ferry_form_start(struct ferry_request *, const struct ferry_form_opts *, ferry_request_fn fn);

/*
 * The form of a request, which lives as long as the request: 1 with *out. In a blocking request it
 * waits for all of the body; elsewhere it is 0 when more is still to come, and to be called again
 * then. The options are those of the first call, or of ferry_form_start. Errors stick:
 *
 *   FERRY_EPROTOCOL  the body is malformed, or not of the length that CONTENT_LENGTH says
 *   FERRY_ELIMIT     a limit of the options was reached; the rest of the body was not read
 *   -EMEDIUMTYPE     CONTENT_TYPE is neither of the two types. (Without one, an empty body is an
 *                    empty form.)
 *   FERRY_EABORTED   nobody waits for the answer any more
 *   -ENOMEM, or -errno of a temporary file (-ENOSPC)
 */
FERRY_MUST_CHECK
int ferry_form_read(struct ferry_request *, const struct ferry_form_opts *,
                    struct ferry_form **out);

/* What was wrong, in words, after ferry_form_read failed; "" otherwise. Static memory. */
const char *ferry_form_why(const struct ferry_request *);

/* The HTTP status for an error of ferry_form_read: 400, 413, 415, 507 when the disk is full, or
 * 500. */
int ferry_form_status(int err);

/* Answers the request with that status and ferry_form_why, and finishes it. */
void ferry_form_refuse(struct ferry_request *, int err);

/* A field or a file. A NUL stands behind every slice but `value` of a file. */
struct ferry_part {
    struct ferry_slice name;      /* of the field; it may be empty and may repeat */
    struct ferry_slice value;     /* the bytes; p == NULL when they lie in a temporary file */
    struct ferry_slice filename;  /* p == NULL: it is a field. The last component of sent_name; with
                                     no file chosen it is empty, and len 0 */
    struct ferry_slice sent_name; /* the file's name with the folders that some senders name */
    struct ferry_slice type;      /* its Content-Type, as the sender says; or empty */
    uint64_t len;                 /* bytes */
    int fd; /* the temporary file, from its offset 0 on, or -1. Closed with the form */
};

/* All of them, in the order they were sent: how many. */
size_t ferry_form_parts(const struct ferry_form *, const struct ferry_part **out);

/* The first field of that name, as ferry_pairs_get and ferry_pairs_get_z. */
struct ferry_slice ferry_form_value(const struct ferry_form *, const char *name);
const char *ferry_form_value_z(const struct ferry_form *, const char *name);

/* The first file of that name, or NULL. */
const struct ferry_part *ferry_form_file(const struct ferry_form *, const char *name);

/* Bytes of a part from offset `at` on, wherever they lie: how many were copied, 0 at the end, or
 * -errno. */
FERRY_MUST_CHECK
ssize_t ferry_part_read(const struct ferry_part *, uint64_t at, void *out, size_t cap);

/* Writes the bytes of a part to a new file: 0 or -errno, -EEXIST when there is a file already.
 * After an error there is none that it made. Waits for the disk. */
FERRY_MUST_CHECK
int ferry_part_save(const struct ferry_part *, const char *path);

#ifdef __cplusplus
}
#endif
#endif
