/* SPDX-License-Identifier: MIT */
/*
 * The bodies of a draft, in curl's forms: urlencoded data, JSON, files, and multipart forms, whose
 * files are not read here but stand in the payload as what they are.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "call/draft.h"
#include "files/mime.h"

#define FORM_TYPE "application/x-www-form-urlencoded"

int ferry__draft_kind(struct ferry_draft *d, const char *option)
{
    if (d->kind && strcmp(d->kind, option) != 0)
        return ferry__draft_fail(d, FERRY_EUSAGE, "%s and %s cannot be used together", d->kind,
                                 option);
    d->kind = option;
    return 0;
}

static int add_text(struct ferry_draft *d, struct ferry_slice text)
{
    int err = ferry_payload_add(&d->body, text);

    return err < 0 ? ferry__draft_fail(d, err, "no memory is left") : 0;
}

static int add_file(struct ferry_draft *d, const char *path)
{
    int err = ferry_payload_add_file(&d->body, path);

    return err < 0 ? ferry__draft_fail(d, err, "cannot read %s: %s", path, ferry_strerror(err)) : 0;
}

/* A file in memory that the draft keeps. */
static int load(struct ferry_draft *d, const char *path, struct ferry_slice *out)
{
    struct ferry_payload p = {0};
    ssize_t n = 0;
    char *text = NULL;
    int err = ferry_payload_add_file(&p, path);

    if (err < 0)
        err = ferry__draft_fail(d, err, "cannot read %s: %s", path, ferry_strerror(err));
    else if (p.len > FERRY_DRAFT_TEXT_MAX)
        err = ferry__draft_fail(d, FERRY_ELIMIT,
                                "%s is longer than 64 MiB; --data-binary takes files of any length",
                                path);
    else if (!(text = ferry__draft_alloc(d, p.len + 1)))
        err = -ENOMEM;
    for (uint64_t at = 0; err == 0 && at < p.len; at += (uint64_t)n) {
        n = ferry_payload_read(&p, at, text + at, p.len - at);
        if (n <= 0)
            err = ferry__draft_fail(d, (int)n, "cannot read %s: %s", path, ferry_strerror((int)n));
    }
    if (err == 0)
        *out = ferry_slice(text, p.len);
    ferry_payload_fini(&p);
    return err;
}

/* -- data
 * ------------------------------------------------------------------------------------------------
 */

/* As curl does, so that a file of one line can be a value. */
static void drop_line_ends(char *p, size_t *len)
{
    size_t n = 0;

    for (size_t i = 0; i < *len; i++)
        if (p[i] != '\r' && p[i] != '\n' && p[i] != 0)
            p[n++] = p[i];
    *len = n;
}

static int encode(struct ferry_draft *d, struct ferry_slice name, struct ferry_slice text)
{
    static const char hex[] = "0123456789ABCDEF";
    char *out = ferry__draft_alloc(d, name.len + 1 + 3 * text.len);
    size_t n = name.len;

    if (!out)
        return -ENOMEM;
    memcpy(out, name.p, name.len);
    if (name.len)
        out[n++] = '=';
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.p[i];

        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
            (c && strchr("-._~", c))) {
            out[n++] = (char)c;
        } else {
            out[n++] = '%';
            out[n++] = hex[c >> 4];
            out[n++] = hex[c & 15];
        }
    }
    return add_text(d, ferry_slice(out, n));
}

/* text, =text, name=text, @file, name@file: whichever of "=" and "@" comes first. */
static int add_encoded(struct ferry_draft *d, const char *text)
{
    size_t at = strcspn(text, "=@");
    struct ferry_slice name = ferry_slice(text, at), content;
    int err;

    if (!text[at])
        return encode(d, FERRY_SLICE(""), ferry_slice_z(text));
    if (text[at] == '=')
        return encode(d, name, ferry_slice_z(text + at + 1));
    err = load(d, text + at + 1, &content);
    return err < 0 ? err : encode(d, name, content);
}

static int add_lines(struct ferry_draft *d, const char *path)
{
    struct ferry_slice text;
    int err = load(d, path, &text);

    if (err < 0)
        return err;
    drop_line_ends((char *)text.p, &text.len);
    return add_text(d, text);
}

int ferry_draft_data(struct ferry_draft *d, enum ferry_draft_data kind, const char *text)
{
    bool first = d->kind == NULL;
    int err = ferry__draft_kind(d, kind == FERRY_DRAFT_JSON ? "--json" : "--data");

    if (err < 0)
        return err;
    d->json = kind == FERRY_DRAFT_JSON;
    d->type = d->json ? FERRY_SLICE("application/json") : FERRY_SLICE(FORM_TYPE);
    if (!first && !d->json)
        err = add_text(d, FERRY_SLICE("&"));
    if (err < 0)
        return err;
    if (kind == FERRY_DRAFT_URLENCODE)
        return add_encoded(d, text);
    if (kind == FERRY_DRAFT_RAW || *text != '@')
        return add_text(d, ferry_slice_z(text));
    return kind == FERRY_DRAFT_FORM ? add_lines(d, text + 1) : add_file(d, text + 1);
}

int ferry_draft_upload(struct ferry_draft *d, const char *path)
{
    int err;

    if (d->kind)
        return ferry__draft_fail(d, FERRY_EUSAGE, "%s and --upload-file cannot be used together",
                                 d->kind);
    err = ferry__draft_kind(d, "--upload-file");
    return err < 0 ? err : add_file(d, path);
}

/* -- forms
 * ------------------------------------------------------------------------------------------------
 */

struct part {
    struct ferry_slice name, content, type, filename; /* p == NULL: not given */
    const char *file;                                 /* NULL: the content is text */
    bool is_upload;
};

/* Copies up to the end of a word: at one of `ends`, or at the closing quote of a quoted one. */
static int take_word(struct ferry_draft *d, const char **at, const char *ends,
                     struct ferry_slice *out)
{
    const char *p = *at;
    char *copy = ferry__draft_alloc(d, strlen(p) + 1);
    size_t n = 0;

    if (!copy)
        return -ENOMEM;
    if (*p == '"') {
        for (p++; *p && *p != '"'; p++) {
            if (*p == '\\' && (p[1] == '"' || p[1] == '\\'))
                p++;
            copy[n++] = *p;
        }
        if (*p != '"')
            return ferry__draft_fail(d, FERRY_EUSAGE, "-F %s: the quote does not end", *at);
        p++;
    } else {
        n = strcspn(p, ends);
        memcpy(copy, p, n);
        p += n;
    }
    copy[n] = 0;
    *out = ferry_slice(copy, n);
    *at = p;
    return 0;
}

/* The content of text reaches to the first parameter, so that it may hold semicolons. */
static size_t text_end(const char *p)
{
    size_t n = 0;

    while (p[n] && strncmp(p + n, ";type=", 6) != 0 && strncmp(p + n, ";filename=", 10) != 0)
        n++;
    return n;
}

static int read_params(struct ferry_draft *d, const char *at, struct part *part)
{
    struct ferry_slice *to;
    int err;

    while (*at) {
        if (strncmp(at, ";type=", 6) == 0) {
            to = &part->type;
            at += 6;
        } else if (strncmp(at, ";filename=", 10) == 0) {
            to = &part->filename;
            at += 10;
        } else {
            return ferry__draft_fail(
                d, FERRY_EUSAGE,
                "-F: '%s' is not understood; ;type=TYPE and ;filename=NAME may "
                "follow a file",
                at);
        }
        /* A type may have parameters of its own. */
        if (to == &part->type && *at != '"') {
            size_t n = text_end(at);

            *to = ferry_slice(at, n);
            at += n;
            continue;
        }
        err = take_word(d, &at, ";", to);
        if (err < 0)
            return err;
    }
    return 0;
}

static int read_part(struct ferry_draft *d, const char *text, bool literally, struct part *part)
{
    const char *equals = strchr(text, '='), *at;
    struct ferry_slice file;
    int err;

    if (!equals || equals == text)
        return ferry__draft_fail(d, FERRY_EUSAGE, "-F %s: must be NAME=VALUE or NAME=@FILE", text);
    part->name = ferry_slice(text, (size_t)(equals - text));
    at = equals + 1;
    if (literally) {
        part->content = ferry_slice_z(at);
        return 0;
    }
    if (*at != '@' && *at != '<') {
        part->content = ferry_slice(at, text_end(at));
        at += part->content.len;
        err = read_params(d, at, part);
        part->is_upload = part->filename.p != NULL;
        return err;
    }
    part->is_upload = *at++ == '@';
    err = take_word(d, &at, ";", &file);
    if (err < 0)
        return err;
    part->file = file.p;
    if (!*part->file)
        return ferry__draft_fail(d, FERRY_EUSAGE, "-F %s: the name of the file is empty", text);
    return read_params(d, at, part);
}

static struct ferry_slice base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return ferry_slice_z(slash ? slash + 1 : path);
}

/* In quotes, as browsers write it: the bytes that would end it are escaped as in a URL. */
static size_t quote(struct ferry_slice s, char *out)
{
    size_t n = 0;

    out[n++] = '"';
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] == '"' || s.p[i] == '\r' || s.p[i] == '\n') {
            memcpy(out + n, s.p[i] == '"' ? "%22" : s.p[i] == '\r' ? "%0D" : "%0A", 3);
            n += 3;
        } else {
            out[n++] = s.p[i];
        }
    }
    out[n++] = '"';
    return n;
}

static size_t put(char *out, struct ferry_slice s)
{
    if (s.len)
        memcpy(out, s.p, s.len);
    return s.len;
}

static int guess_type(struct ferry_draft *d, struct part *part)
{
    struct ferry_mime *mime;
    struct ferry_slice type;
    char *copy;

    if (ferry_mime_new(NULL, &mime) < 0)
        return ferry__draft_fail(d, -ENOMEM, "no memory is left");
    type = ferry_mime_type(mime, part->filename);
    /* What a file holds is not known from its name. */
    type = ferry_slice_first(type, ferry_slice_find(type, ';'));
    copy = ferry__draft_alloc(d, type.len);
    if (copy) {
        memcpy(copy, type.p, type.len);
        part->type = ferry_slice(copy, type.len);
    }
    ferry_mime_free(mime);
    return copy ? 0 : -ENOMEM;
}

static int add_head(struct ferry_draft *d, const struct part *part)
{
    char *out = ferry__draft_alloc(d, 160 + d->boundary.len + 3 * part->name.len +
                                          3 * part->filename.len + part->type.len);
    size_t n = 0;

    if (!out)
        return -ENOMEM;
    n += put(out + n, FERRY_SLICE("--"));
    n += put(out + n, d->boundary);
    n += put(out + n, FERRY_SLICE("\r\nContent-Disposition: form-data; name="));
    n += quote(part->name, out + n);
    if (part->is_upload) {
        n += put(out + n, FERRY_SLICE("; filename="));
        n += quote(part->filename, out + n);
    }
    if (part->type.len) {
        n += put(out + n, FERRY_SLICE("\r\nContent-Type: "));
        n += put(out + n, part->type);
    }
    n += put(out + n, FERRY_SLICE("\r\n\r\n"));
    return add_text(d, ferry_slice(out, n));
}

static int start_form(struct ferry_draft *d)
{
    static const char type[] = "multipart/form-data; boundary=";
    static const char dashes[] = "------------------------";
    unsigned char random[8];
    size_t len = sizeof type - 1, dashes_len = sizeof dashes - 1;
    char *text = ferry__draft_alloc(d, len + dashes_len + 2 * sizeof random + 1);

    if (!text)
        return -ENOMEM;
    if (getrandom(random, sizeof random, 0) != sizeof random)
        return ferry__draft_fail(d, -errno, "no random numbers: %s", ferry_strerror(-errno));
    memcpy(text, type, len);
    memcpy(text + len, dashes, dashes_len);
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(text + len + dashes_len + 2 * i, 3, "%02x", random[i]);
    d->type = ferry_slice_z(text);
    d->boundary = ferry_slice_from(d->type, len);
    return 0;
}

int ferry_draft_part(struct ferry_draft *d, const char *text, bool literally)
{
    struct part part = {0};
    int err = ferry__draft_kind(d, "--form");

    if (err == 0 && !d->boundary.len)
        err = start_form(d);
    if (err == 0)
        err = read_part(d, text, literally, &part);
    if (err < 0)
        return err;
    if (part.is_upload && !part.filename.p)
        part.filename = strcmp(part.file, "-") == 0 ? FERRY_SLICE("-") : base_name(part.file);
    if (part.is_upload && !part.type.p)
        err = guess_type(d, &part);
    if (ferry_slice_find(part.type, '\n') < part.type.len ||
        ferry_slice_find(part.type, '\r') < part.type.len)
        return ferry__draft_fail(d, FERRY_EUSAGE, "-F %s: a type has no line ends", text);
    if (err == 0)
        err = add_head(d, &part);
    if (err == 0)
        err = part.file ? add_file(d, part.file) : add_text(d, part.content);
    return err < 0 ? err : add_text(d, FERRY_SLICE("\r\n"));
}

int ferry__draft_end_parts(struct ferry_draft *d)
{
    int err = 0;

    if (!d->boundary.len)
        return 0;
    err = add_text(d, FERRY_SLICE("--"));
    if (err == 0)
        err = add_text(d, d->boundary);
    return err < 0 ? err : add_text(d, FERRY_SLICE("--\r\n"));
}
