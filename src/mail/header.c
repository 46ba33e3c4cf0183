/* SPDX-License-Identifier: MIT */
/*
 * The header of a message: its lines are looked at up to the first that is no field, and what they
 * say is copied out, so that nothing refers to the message afterwards. Nothing behind the header is
 * read at all.
 *
 * Line ends are CR LF or LF; a CR elsewhere is a control character of its line.
 */
#include <errno.h>
#include <stdlib.h>

#include "mail/header.h"
#include "mail/message.h"
#include "mail/words.h"

#define SUBJECT_MAX 4096
#define RAW_MAX 16384 /* of a subject as it came: three bytes for each that is meant, and more */
#define VALUE_MAX 4096

/* -- lines and fields -- */

/* The line at the front, with its end. */
static size_t line_of(struct ferry_slice s)
{
    size_t n = ferry_slice_find(s, '\n');

    return n < s.len ? n + 1 : n;
}

static struct ferry_slice without_end(struct ferry_slice line)
{
    if (line.len && line.p[line.len - 1] == '\n')
        line.len--;
    if (line.len && line.p[line.len - 1] == '\r')
        line.len--;
    return line;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* The length of a field's name, or 0 (RFC 5322, 3.6.8; blanks before the ':' are of 4.5). */
static size_t name_of(struct ferry_slice line, size_t *value)
{
    size_t n = 0;

    while (n < line.len && line.p[n] > ' ' && line.p[n] < 0x7f && line.p[n] != ':')
        n++;
    *value = n;
    while (*value < line.len && is_blank(line.p[*value]))
        ++*value;
    if (*value == line.len || line.p[*value] != ':')
        return 0;
    ++*value;
    return n;
}

bool ferry__mail_field_next(struct ferry_slice head, size_t at, struct ferry__mail_field *out)
{
    struct ferry_slice rest = ferry_slice_from(head, at);
    size_t n = line_of(rest), value;
    size_t name = name_of(without_end(ferry_slice_first(rest, n)), &value);

    if (name == 0)
        return false;
    while (n < rest.len && is_blank(rest.p[n]))
        n += line_of(ferry_slice_from(rest, n));
    out->name = ferry_slice_first(rest, name);
    out->value = ferry_slice(rest.p + value, n - value);
    out->len = n;
    return true;
}

bool ferry__mail_is_from_line(struct ferry_slice head)
{
    return ferry_slice_starts(head, FERRY_SLICE("From ")) ||
           ferry_slice_starts(head, FERRY_SLICE(">From "));
}

size_t ferry__mail_empty_line(struct ferry_slice s)
{
    if (ferry_slice_starts(s, FERRY_SLICE("\r\n")))
        return 2;
    return ferry_slice_starts(s, FERRY_SLICE("\n")) ? 1 : 0;
}

/* -- values -- */

/* A line's end with the blanks behind it is one blank. What is longer than `max` is cut. */
static struct ferry_slice unfold(struct ferry_slice value, char *to, size_t max, bool *cut)
{
    size_t n = 0;

    value = ferry_slice_trim(value);
    for (bool first = true; value.len; first = false) {
        struct ferry_slice line = ferry_slice_first(value, line_of(value)), text;

        value = ferry_slice_from(value, line.len);
        text = first ? without_end(line) : ferry_slice_trim(without_end(line));
        if (!first && text.len && n < max)
            to[n++] = ' ';
        *cut |= text.len > max - n;
        text = ferry_slice_first(text, max - n);
        memcpy(to + n, text.p, text.len);
        n += text.len;
    }
    return ferry_slice_trim(ferry_slice(to, n));
}

/* All that is copied out of one header; freed as one. */
struct copies {
    char *subject, *raw, *message_id, *from, *to, *date;
};

struct reader {
    struct ferry_mail_header *out;
    struct copies *copies;
    char buf[RAW_MAX];
    bool failed;
};

static const char *keep(struct reader *r, char **copy, struct ferry__mail_text *text)
{
    r->failed |= text->failed;
    *copy = text->p;
    return text->p;
}

static void read_subject(struct reader *r, struct ferry_slice value)
{
    struct ferry__mail_text decoded = {.max = SUBJECT_MAX}, raw = {.max = RAW_MAX};

    if (r->out->subjects++)
        return;
    value = unfold(value, r->buf, sizeof r->buf, &r->out->subject_cut);
    ferry__mail_text_plain(&raw, value);
    ferry__mail_text_decoded(&decoded, value);
    r->out->subject_raw = keep(r, &r->copies->raw, &raw);
    r->out->subject = keep(r, &r->copies->subject, &decoded);
    r->out->subject_cut |= decoded.cut;
}

static void read_first(struct reader *r, const char **out, char **copy, struct ferry_slice value)
{
    struct ferry__mail_text text = {.max = VALUE_MAX};
    bool cut = false;

    if (*out)
        return;
    ferry__mail_text_plain(&text, unfold(value, r->buf, sizeof r->buf, &cut));
    *out = keep(r, copy, &text);
}

static bool is(const struct ferry__mail_field *f, const char *name)
{
    return ferry_slice_eq_nocase(f->name, ferry_slice_z(name));
}

static void read_field(struct reader *r, const struct ferry__mail_field *f)
{
    struct ferry_mail_header *h = r->out;
    struct copies *c = r->copies;

    if (is(f, "subject"))
        read_subject(r, f->value);
    else if (is(f, "received"))
        h->received++;
    else if (is(f, "message-id"))
        read_first(r, &h->message_id, &c->message_id, f->value);
    else if (is(f, "from"))
        read_first(r, &h->from, &c->from, f->value);
    else if (is(f, "to"))
        read_first(r, &h->to, &c->to, f->value);
    else if (is(f, "date"))
        read_first(r, &h->date, &c->date, f->value);
}

/* Up to the first line that is no field. A mailbox's "From " line is none either, but what follows
 * it is the header that it stands before. */
static void read_fields(struct reader *r, struct ferry_slice head)
{
    struct ferry__mail_field f;
    size_t at = 0, empty;

    r->out->sound = !ferry__mail_is_from_line(head);
    if (!r->out->sound)
        at = line_of(head);
    for (; at < head.len && !r->failed; at += f.len) {
        empty = ferry__mail_empty_line(ferry_slice_from(head, at));
        if (empty) {
            at += empty;
            break;
        }
        if (!ferry__mail_field_next(head, at, &f)) {
            r->out->sound = false;
            break;
        }
        read_field(r, &f);
    }
    r->out->len = at;
}

int ferry_mail_header_read(struct ferry_slice head, struct ferry_mail_header *out, void **memory)
{
    struct reader *r = malloc(sizeof *r);
    struct copies *copies = calloc(1, sizeof *copies);
    bool failed = true;

    *out = (struct ferry_mail_header){.sound = false};
    *memory = NULL;
    if (r && copies) {
        r->out = out;
        r->copies = copies;
        r->failed = false;
        read_fields(r, head);
        failed = r->failed;
    }
    free(r);
    if (failed) {
        ferry_mail_header_free(copies);
        *out = (struct ferry_mail_header){.sound = false};
        return -ENOMEM;
    }
    *memory = copies;
    return 0;
}

void ferry_mail_header_free(void *memory)
{
    struct copies *c = memory;

    if (!c)
        return;
    free(c->subject);
    free(c->raw);
    free(c->message_id);
    free(c->from);
    free(c->to);
    free(c->date);
    free(c);
}

void ferry_mail_header_begin(void)
{
    ferry__mail_words_begin();
}
