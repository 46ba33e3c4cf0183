/* SPDX-License-Identifier: MIT */
/*
 * What filters change of an answer's head, whoever gives the answer: an application, a file, or a
 * page of ferry's own. Functions that look at it run first; then the fields that are set, added and
 * removed take effect, in the order they were asked for.
 */
#include <errno.h>

#include "session/internal.h"

/* These frame the message or belong to the connection: the http machine's alone to write. */
static const struct ferry_slice reserved[] = {
    FERRY_SLICE_INIT("Connection"), FERRY_SLICE_INIT("Content-Length"),
    FERRY_SLICE_INIT("Date"),       FERRY_SLICE_INIT("Keep-Alive"),
    FERRY_SLICE_INIT("Trailer"),    FERRY_SLICE_INIT("Transfer-Encoding"),
    FERRY_SLICE_INIT("Upgrade"),
};

bool ferry__session_is_field(struct ferry_slice name)
{
    static const char others[] = "!#$%&'*+-.^_`|~";

    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
        if (ferry_slice_eq_nocase(name, reserved[i]))
            return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = ferry_ascii_lower(name.p[i]);

        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') &&
            !memchr(others, c, sizeof others - 1))
            return false;
    }
    return name.len > 0;
}

static bool is_value(struct ferry_slice value)
{
    for (size_t i = 0; i < value.len; i++)
        if (((unsigned char)value.p[i] < 0x20 && value.p[i] != '\t') || value.p[i] == 0x7f)
            return false;
    return true;
}

static int edit(struct ferry_session *s, struct ferry_slice name, struct ferry_slice value,
                bool remove, bool add)
{
    struct ferry_session_edit *edits;

    if (!ferry__session_is_field(name) || !is_value(value))
        return FERRY_EUSAGE;
    edits = ferry__session_grow(s, s->edits, s->nedits, &s->edits_cap, sizeof *edits);
    name = ferry_session_copy(s, name);
    value = remove ? ferry_slice(NULL, 0) : ferry_session_copy(s, value);
    if (!edits || !name.p || (!remove && !value.p))
        return -ENOMEM;
    s->edits = edits;
    edits[s->nedits++] = (struct ferry_session_edit){name, value, add};
    return 0;
}

int ferry_session_set_answer_field(struct ferry_session *s, struct ferry_slice name,
                                   struct ferry_slice value)
{
    return edit(s, name, value, false, false);
}

int ferry_session_add_answer_field(struct ferry_session *s, struct ferry_slice name,
                                   struct ferry_slice value)
{
    return edit(s, name, value, false, true);
}

int ferry_session_remove_answer_field(struct ferry_session *s, struct ferry_slice name)
{
    return edit(s, name, ferry_slice(NULL, 0), true, false);
}

static int run_hooks(struct ferry_session *s, int status, const struct ferry_http_field *fields,
                     unsigned n)
{
    struct ferry_answer_head head = {
        .content_length = -1, .fields = (const struct ferry_param *)fields, .nfields = n};

    for (struct ferry_session_hook *h = s->answer_hooks; h && status > 0; h = h->next) {
        head.status = status;
        status = h->answer(s, &head, h->arg);
    }
    return status;
}

static unsigned without(struct ferry_http_field *fields, unsigned n, struct ferry_slice name)
{
    unsigned left = 0;

    for (unsigned i = 0; i < n; i++)
        if (!ferry_slice_eq_nocase(fields[i].name, name))
            fields[left++] = fields[i];
    return left;
}

int ferry_session_edit_answer(struct ferry_session *s, int status,
                              const struct ferry_http_field **fields, unsigned *n)
{
    struct ferry_http_field *to;
    unsigned left = *n;

    status = run_hooks(s, status, *fields, *n);
    if (status < 0 || !s->nedits)
        return status;
    to = ferry_session_alloc(s, (*n + s->nedits) * sizeof *to);
    if (!to)
        return -ENOMEM;
    if (left)
        memcpy(to, *fields, left * sizeof *to);
    for (unsigned i = 0; i < s->nedits; i++) {
        const struct ferry_session_edit *e = &s->edits[i];

        if (!e->add)
            left = without(to, left, e->name);
        if (e->value.p)
            to[left++] = (struct ferry_http_field){e->name, e->value};
    }
    *fields = to;
    *n = left;
    return status;
}
