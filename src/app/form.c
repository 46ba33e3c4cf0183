/* SPDX-License-Identifier: MIT */
/*
 * The form of a request. Its body is handed over piece by piece as it comes, in the loop's thread
 * or in one that waits; what becomes of the pieces is form_parts.c's. A request has one body, so it
 * has one form, which goes with it.
 */
#include "app/form.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "app/app.h"
#include "base/slice.h"

/* -- reading
 * ------------------------------------------------------------------------------------------------
 */

static int begin(struct ferry_request *r, const struct ferry_form_opts *opts)
{
    struct ferry_slice length = ferry_request_param(r, "CONTENT_LENGTH");

    r->form = ferry__form_new(ferry_request_param(r, "CONTENT_TYPE"),
                              ferry_request_content_length(r), opts);
    if (!r->form)
        return -ENOMEM;
    if (length.len && r->form->content_length < 0)
        ferry__form_fail(r->form, FERRY_EPROTOCOL, "CONTENT_LENGTH is not a number");
    return 0;
}

static int more(struct ferry_request *r, struct ferry_form *f)
{
    struct ferry_slice piece;
    int n;

    while ((n = ferry_request_body(r, &piece)) > 0) {
        int err = ferry__form_take(f, piece);

        ferry_request_body_consume(r, piece.len);
        if (err < 0)
            return err;
    }
    if (n < 0)
        return ferry__form_fail(f, n, n == FERRY_EABORTED ? "aborted" : "the body cannot be kept");
    return ferry_request_body_is_over(r) ? ferry__form_end(f) : 0;
}

int ferry_form_read(struct ferry_request *r, const struct ferry_form_opts *opts,
                    struct ferry_form **out)
{
    int err = r->form ? 0 : begin(r, opts);

    if (err < 0)
        return err;
    if (!r->form->err && !r->form->over)
        more(r, r->form);
    if (r->form->err)
        return r->form->err;
    if (!r->form->over)
        return 0;
    *out = r->form;
    return 1;
}

static void body_came(struct ferry_request *r)
{
    struct ferry_form *form;

    if (ferry_form_read(r, NULL, &form) == 0)
        return;
    ferry_request_on_body(r, NULL);
    r->form->fn(r);
}

int ferry_form_start(struct ferry_request *r, const struct ferry_form_opts *opts,
                     ferry_request_fn fn)
{
    int err = r->form || r->detached ? FERRY_EUSAGE : begin(r, opts);

    if (err < 0)
        return err;
    r->form->fn = fn;
    ferry_request_on_body(r, body_came);
    return 0;
}

/* -- what was wrong
 * ------------------------------------------------------------------------------------------------
 */

const char *ferry_form_why(const struct ferry_request *r)
{
    return r->form ? r->form->why : "";
}

int ferry_form_status(int err)
{
    switch (err) {
    case FERRY_EPROTOCOL:
    case FERRY_EABORTED:
        return 400;
    case FERRY_ELIMIT:
        return 413;
    case -EMEDIUMTYPE:
        return 415;
    case -ENOSPC:
    case -EDQUOT:
        return 507;
    default:
        return 500;
    }
}

void ferry_form_refuse(struct ferry_request *r, int err)
{
    const char *why = ferry_form_why(r);

    ferry_request_status(r, ferry_form_status(err));
    ferry_request_header(r, "Content-Type", "text/plain; charset=utf-8");
    ferry_request_printf(r, "%s\n", *why ? why : ferry_strerror(err));
    ferry_request_finish(r, err == FERRY_EABORTED ? 1 : 0);
}

/* -- its parts
 * ------------------------------------------------------------------------------------------------
 */

size_t ferry_form_parts(const struct ferry_form *f, const struct ferry_part **out)
{
    *out = f->parts;
    return f->nparts;
}

static const struct ferry_part *find(const struct ferry_form *f, const char *name, bool file)
{
    struct ferry_slice want = ferry_slice_z(name);

    for (unsigned i = 0; i < f->nparts; i++)
        if ((f->parts[i].filename.p != NULL) == file && ferry_slice_eq(f->parts[i].name, want))
            return &f->parts[i];
    return NULL;
}

struct ferry_slice ferry_form_value(const struct ferry_form *f, const char *name)
{
    const struct ferry_part *p = find(f, name, false);

    return p ? p->value : ferry_slice(NULL, 0);
}

const char *ferry_form_value_z(const struct ferry_form *f, const char *name)
{
    struct ferry_slice value = ferry_form_value(f, name);

    return value.p && !memchr(value.p, 0, value.len) ? value.p : NULL;
}

const struct ferry_part *ferry_form_file(const struct ferry_form *f, const char *name)
{
    return find(f, name, true);
}

ssize_t ferry_part_read(const struct ferry_part *p, uint64_t at, void *out, size_t cap)
{
    size_t n = at >= p->len ? 0 : p->len - at < cap ? (size_t)(p->len - at) : cap;
    ssize_t got;

    if (!n)
        return 0;
    if (p->fd < 0) {
        memcpy(out, p->value.p + at, n);
        return (ssize_t)n;
    }
    do
        got = pread(p->fd, out, n, (off_t)at);
    while (got < 0 && errno == EINTR);
    return got > 0 ? got : got == 0 ? -EIO : -errno;
}

static int write_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t wrote = write(fd, p, n);

        if (wrote < 0 && errno != EINTR)
            return -errno;
        p += wrote > 0 ? wrote : 0;
        n -= wrote > 0 ? (size_t)wrote : 0;
    }
    return 0;
}

static int copy(const struct ferry_part *p, int fd)
{
    char some[16384];
    uint64_t at = 0;
    int err = 0;

    while (err == 0 && at < p->len) {
        off_t from = (off_t)at;
        /* Within one file system this copies nothing, where the file system can. */
        ssize_t n = copy_file_range(p->fd, &from, fd, NULL, (size_t)(p->len - at), 0);

        if (n <= 0) {
            n = ferry_part_read(p, at, some, sizeof some);
            err = n < 0 ? (int)n : write_all(fd, some, (size_t)n);
        }
        at += n > 0 ? (uint64_t)n : 0;
    }
    return err;
}

int ferry_part_save(const struct ferry_part *p, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    int err;

    if (fd < 0)
        return -errno;
    err = p->fd < 0 ? write_all(fd, p->value.p, p->value.len) : copy(p, fd);
    if (close(fd) < 0 && err == 0)
        err = -errno;
    if (err < 0)
        unlink(path);
    return err;
}
