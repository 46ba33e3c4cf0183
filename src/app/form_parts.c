/* SPDX-License-Identifier: MIT */
/*
 * A form put together. Each part of a multipart body is one piece of memory: name, sent_name, type
 * and its bytes, which leave it for a file of their own when they become too many. A urlencoded
 * body is kept as it is, and taken apart in place at its end.
 *
 * Everything that a sender can make grow is counted before it grows.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "app/form.h"
#include "base/slice.h"
#include "cgi/field.h"

#define TOTAL_MAX (64u << 20)
#define MEMORY_MAX (1u << 20)
#define FILE_MEMORY_MAX (64u << 10)
#define PARTS_MAX 1000
#define FILES_MAX 20
#define PART_HEAD_MAX (8u << 10)

static const char no_memory[] = "out of memory";

int ferry__form_fail(struct ferry_form *f, int err, const char *why)
{
    if (!f->err) {
        f->err = err;
        f->why = why;
    }
    return f->err;
}

/* -- beginning and end
 * ------------------------------------------------------------------------------------------------
 */

static struct ferry_form_opts with_defaults(const struct ferry_form_opts *given)
{
    struct ferry_form_opts o = FERRY_FORM_OPTS_INIT;

    if (given)
        memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
    o.total_max = o.total_max ? o.total_max : TOTAL_MAX;
    o.file_max = o.file_max ? o.file_max : o.total_max;
    o.memory_max = o.memory_max ? o.memory_max : MEMORY_MAX;
    o.field_max = o.field_max ? o.field_max : o.memory_max;
    o.file_memory_max = o.file_memory_max ? o.file_memory_max : FILE_MEMORY_MAX;
    o.parts_max = o.parts_max ? o.parts_max : PARTS_MAX;
    o.files_max = o.files_max ? o.files_max : FILES_MAX;
    o.part_head_max = o.part_head_max ? o.part_head_max : PART_HEAD_MAX;
    return o;
}

static void begin(struct ferry_form *f, struct ferry_slice content_type)
{
    struct ferry_slice rest = content_type, word = ferry_field_word(&rest);

    if (f->content_length > 0 && (uint64_t)f->content_length > f->opts.total_max) {
        ferry__form_fail(f, FERRY_ELIMIT, "the body is too long");
    } else if (ferry_slice_eq_nocase(word, FERRY_SLICE("multipart/form-data"))) {
        f->kind = FERRY__FORM_MULTIPART;
        if (ferry_multipart_init(&f->multipart, content_type, f->head, f->opts.part_head_max) < 0)
            ferry__form_fail(f, f->multipart.err, f->multipart.why);
    } else if (ferry_slice_eq_nocase(word, FERRY_SLICE("application/x-www-form-urlencoded"))) {
        f->kind = FERRY__FORM_URLENCODED;
    } else if (word.len) {
        ferry__form_fail(f, -EMEDIUMTYPE, "the body is not a form");
    }
}

struct ferry_form *ferry__form_new(struct ferry_slice content_type, int64_t content_length,
                                   const struct ferry_form_opts *given)
{
    struct ferry_form_opts opts = with_defaults(given);
    struct ferry_form *f = malloc(sizeof *f + opts.part_head_max);

    if (!f)
        return NULL;
    *f = (struct ferry_form){.opts = opts, .content_length = content_length, .why = ""};
    ferry_spool_init(&f->file, NULL, 0, opts.file_max);
    begin(f, content_type);
    return f;
}

void ferry__form_free(struct ferry_form *f)
{
    if (!f)
        return;
    for (unsigned i = 0; i < f->nparts; i++) {
        if (f->kind == FERRY__FORM_MULTIPART)
            free((char *)f->parts[i].name.p);
        if (f->parts[i].fd >= 0)
            close(f->parts[i].fd);
    }
    free(f->parts);
    free(f->buf);
    ferry_spool_fini(&f->file);
    free(f);
}

/* -- memory
 * ------------------------------------------------------------------------------------------------
 */

/* n bytes more behind those in `buf`, with room for a NUL behind them. */
static int append(struct ferry_form *f, struct ferry_slice bytes)
{
    size_t need = f->len + bytes.len + 1;

    if (need > f->cap) {
        size_t cap = 2 * f->cap > need ? 2 * f->cap : need < 256 ? 256 : need;
        char *more = realloc(f->buf, cap);

        if (!more)
            return ferry__form_fail(f, -ENOMEM, no_memory);
        f->buf = more;
        f->cap = cap;
    }
    if (bytes.len)
        memcpy(f->buf + f->len, bytes.p, bytes.len);
    f->len += bytes.len;
    return 0;
}

static struct ferry_part *new_part(struct ferry_form *f)
{
    if (f->nparts == f->parts_cap) {
        unsigned cap = f->parts_cap ? 2 * f->parts_cap : 8;
        struct ferry_part *more = realloc(f->parts, cap * sizeof *more);

        if (!more) {
            ferry__form_fail(f, -ENOMEM, no_memory);
            return NULL;
        }
        f->parts = more;
        f->parts_cap = cap;
    }
    return &f->parts[f->nparts];
}

/* -- multipart
 * ------------------------------------------------------------------------------------------------
 */

/* Is there room in memory for n bytes more? */
static bool fits(const struct ferry_form *f, size_t n)
{
    return n <= f->opts.memory_max - f->memory;
}

static int append_z(struct ferry_form *f, struct ferry_slice s)
{
    int err = append(f, s);

    if (err == 0)
        f->buf[f->len++] = 0; /* there is room */
    return err;
}

static int part_begins(struct ferry_form *f, const struct ferry_multipart_event *ev)
{
    size_t n = ev->name.len + ev->filename.len + ev->type.len;
    int err;

    if (f->nparts == f->opts.parts_max)
        return ferry__form_fail(f, FERRY_ELIMIT, "too many fields");
    f->is_file = ev->filename.p != NULL;
    if (!fits(f, n))
        return ferry__form_fail(f, FERRY_ELIMIT, "the names are too long");
    f->memory += n;
    f->part = (struct ferry_part){.fd = -1};
    f->part.name.len = ev->name.len;
    f->part.sent_name.len = ev->filename.len;
    f->part.type.len = ev->type.len;
    f->in_file = false;
    err = append_z(f, ev->name);
    if (err == 0)
        err = append_z(f, ev->filename);
    if (err == 0)
        err = append_z(f, ev->type);
    f->value_at = f->len;
    return err;
}

static int to_file(struct ferry_form *f, struct ferry_slice bytes)
{
    int err = ferry_spool_append(&f->file, bytes);

    return err == 0 ? 0 : ferry__form_fail(f, err, "the file cannot be kept");
}

/* What is in memory of a file leaves it. */
static int move_to_file(struct ferry_form *f)
{
    size_t n = f->len - f->value_at;

    f->in_file = true;
    f->len = f->value_at;
    f->memory -= n;
    return to_file(f, ferry_slice(f->buf + f->value_at, n));
}

static int part_data(struct ferry_form *f, struct ferry_slice bytes)
{
    uint64_t max = f->is_file ? f->opts.file_max : f->opts.field_max;
    int err;

    if (bytes.len > max - f->part.len)
        return ferry__form_fail(f, FERRY_ELIMIT,
                                f->is_file ? "a file is too long" : "a field is too long");
    if (f->is_file && !f->part.len && f->nfiles++ == f->opts.files_max)
        return ferry__form_fail(f, FERRY_ELIMIT, "too many files");
    f->part.len += bytes.len;
    if (!f->is_file && !fits(f, bytes.len))
        return ferry__form_fail(f, FERRY_ELIMIT, "the fields are too long");
    if (f->is_file && !f->in_file &&
        (f->part.len > f->opts.file_memory_max || !fits(f, bytes.len))) {
        err = move_to_file(f);
        if (err < 0)
            return err;
    }
    if (f->in_file)
        return to_file(f, bytes);
    f->memory += bytes.len;
    return append(f, bytes);
}

/* What stands behind the last slash, of either kind: some senders name folders too. */
static struct ferry_slice last_component(struct ferry_slice s)
{
    size_t at = s.len;

    while (at && s.p[at - 1] != '/' && s.p[at - 1] != '\\')
        at--;
    return ferry_slice(s.p + at, s.len - at);
}

static int part_ends(struct ferry_form *f)
{
    struct ferry_part *p = new_part(f);
    const char *at;
    char *exact;

    if (!p)
        return f->err;
    f->buf[f->len++] = 0;
    exact = realloc(f->buf, f->len);
    at = exact ? exact : f->buf;
    *p = f->part;
    p->name.p = at;
    at += p->name.len + 1;
    if (f->is_file) {
        p->sent_name.p = at;
        p->filename = last_component(p->sent_name);
    }
    at += p->sent_name.len + 1;
    p->type.p = at;
    at += p->type.len + 1;
    if (f->in_file)
        p->fd = f->file.fd;
    else
        p->value = ferry_slice(at, (size_t)p->len);
    ferry_spool_init(&f->file, NULL, 0, f->opts.file_max);
    f->buf = NULL;
    f->len = f->cap = 0;
    f->nparts++;
    return 0;
}

static int take_multipart(struct ferry_form *f, struct ferry_slice bytes)
{
    struct ferry_multipart_event ev;
    int more, err = 0;

    while (err == 0 && (more = ferry_multipart_next(&f->multipart, &bytes, &ev)) != 0) {
        if (more < 0)
            return ferry__form_fail(f, more, f->multipart.why);
        switch (ev.what) {
        case FERRY_MULTIPART_PART:
            err = part_begins(f, &ev);
            break;
        case FERRY_MULTIPART_DATA:
            err = part_data(f, ev.data);
            break;
        case FERRY_MULTIPART_PART_END:
            err = part_ends(f);
            break;
        case FERRY_MULTIPART_END:
            break;
        }
    }
    return err;
}

/* -- urlencoded
 * ------------------------------------------------------------------------------------------------
 */

static int end_urlencoded(struct ferry_form *f)
{
    struct ferry_slice rest = {f->buf, f->len};
    struct ferry_param pair;

    while (ferry_query_next(&rest, &pair)) {
        struct ferry_part *p;

        if (f->nparts == f->opts.parts_max)
            return ferry__form_fail(f, FERRY_ELIMIT, "too many fields");
        p = new_part(f);
        if (!p)
            return f->err;
        ferry__pair_decode(&pair);
        if (pair.value.len > f->opts.field_max)
            return ferry__form_fail(f, FERRY_ELIMIT, "a field is too long");
        *p = (struct ferry_part){.name = pair.name, .value = pair.value, .len = pair.value.len};
        p->type = FERRY_SLICE("");
        p->fd = -1;
        f->nparts++;
    }
    return 0;
}

/* -- the body
 * ------------------------------------------------------------------------------------------------
 */

int ferry__form_take(struct ferry_form *f, struct ferry_slice bytes)
{
    if (f->err || !bytes.len)
        return f->err;
    if (bytes.len > f->opts.total_max - f->got)
        return ferry__form_fail(f, FERRY_ELIMIT, "the body is too long");
    f->got += bytes.len;
    if (f->content_length >= 0 && f->got > (uint64_t)f->content_length)
        return ferry__form_fail(f, FERRY_EPROTOCOL, "the body is longer than its CONTENT_LENGTH");
    switch (f->kind) {
    case FERRY__FORM_URLENCODED:
        if (bytes.len > f->opts.memory_max - f->len)
            return ferry__form_fail(f, FERRY_ELIMIT, "the fields are too long");
        return append(f, bytes);
    case FERRY__FORM_MULTIPART:
        return take_multipart(f, bytes);
    default:
        return ferry__form_fail(f, -EMEDIUMTYPE, "a body without a CONTENT_TYPE");
    }
}

int ferry__form_end(struct ferry_form *f)
{
    int err = f->err;

    if (!err && f->content_length > 0 && f->got < (uint64_t)f->content_length)
        err = ferry__form_fail(f, FERRY_EPROTOCOL, "the body is shorter than its CONTENT_LENGTH");
    if (!err && f->kind == FERRY__FORM_URLENCODED)
        err = end_urlencoded(f);
    if (!err && f->kind == FERRY__FORM_MULTIPART && ferry_multipart_end(&f->multipart) < 0)
        err = ferry__form_fail(f, f->multipart.err, f->multipart.why);
    f->over = !err;
    return err;
}
