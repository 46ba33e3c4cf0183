/* SPDX-License-Identifier: MIT */
/*
 * multipart/form-data. A body is
 *
 *     [preamble CRLF] "--" boundary rest-of-line
 *     *( header lines, empty line, content CRLF "--" boundary rest-of-line ) epilogue
 *
 * where the rest of the line is "--" for the last one, else blanks and CRLF. The delimiter, CRLF
 * "--" boundary, has a CR at its front and nowhere else. So when a match breaks off, the bytes that
 * had matched are content and hold no other beginning of a delimiter: they need not be kept (they
 * are a prefix of the delimiter) nor looked at again, and no input costs more than its length.
 *
 * The first delimiter needs no CRLF when there is no preamble, and that of a part without content
 * shares it with the empty line. There two bytes count as matched that are not content.
 */
#include "cgi/multipart.h"

#include "cgi/field.h"

enum state {
    PREAMBLE,
    CONTENT,
    LINE,      /* behind a boundary */
    LINE_DASH, /* ... and its first "-" */
    LINE_PAD,  /* ... and blanks (RFC 2046: transport padding) */
    LINE_LF,   /* ... and a CR */
    HEAD,
    EPILOGUE
};

static int fail(struct ferry_multipart *m, int err, const char *why)
{
    m->why = why;
    return m->err = err;
}

/* -- the boundary
 * ------------------------------------------------------------------------------------------------
 */

/* bchars of RFC 2046 section 5.1.1; a blank is one, but not the last. */
static bool is_boundary(struct ferry_slice s)
{
    static const char others[] = "'()+_,-./:=? ";

    if (!s.len || s.len > FERRY_BOUNDARY_MAX || s.p[s.len - 1] == ' ')
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'z') ||
              (s.p[i] >= 'A' && s.p[i] <= 'Z') || (s.p[i] && strchr(others, s.p[i]))))
            return false;
    return true;
}

int ferry_multipart_init(struct ferry_multipart *m, struct ferry_slice content_type, char *head,
                         size_t head_max)
{
    struct ferry_slice boundary = {NULL, 0};
    struct ferry_field_param param;
    int more;

    *m = (struct ferry_multipart){.head = head, .head_max = head_max, .state = PREAMBLE};
    ferry_field_word(&content_type);
    while ((more = ferry_field_param_next(&content_type, &param)) > 0) {
        if (!ferry_slice_eq_nocase(param.name, FERRY_SLICE("boundary")))
            continue;
        if (boundary.p)
            return fail(m, FERRY_EPROTOCOL, "more than one boundary in Content-Type");
        boundary = param.value;
    }
    if (more < 0)
        return fail(m, FERRY_EPROTOCOL, "a malformed Content-Type");
    if (!is_boundary(boundary))
        return fail(m, FERRY_EPROTOCOL, "no boundary, or a bad one, in Content-Type");
    memcpy(m->delimiter, "\r\n--", 4);
    memcpy(m->delimiter + 4, boundary.p, boundary.len);
    m->delimiter_len = (uint8_t)(4 + boundary.len);
    m->matched = m->hidden = 2;
    return 0;
}

/* -- the header lines of a part
 * ------------------------------------------------------------------------------------------------
 */

/* A parameter of Content-Disposition, unquoted where it lies, which is in m->head. */
static int take_param(struct ferry_multipart *m, const struct ferry_field_param *param,
                      struct ferry_slice *out)
{
    char *p = m->head + (param->value.p - m->head);

    if (out->p)
        return fail(m, FERRY_EPROTOCOL, "a part with two names");
    *out =
        ferry_slice(p, param->quoted ? ferry_field_unquote(p, param->value.len) : param->value.len);
    return 0;
}

static int take_disposition(struct ferry_multipart *m, struct ferry_slice value,
                            struct ferry_multipart_event *ev)
{
    struct ferry_field_param param;
    int more, err = 0;

    if (!ferry_slice_eq_nocase(ferry_field_word(&value), FERRY_SLICE("form-data")))
        return fail(m, FERRY_EPROTOCOL, "a part that is not form-data");
    while (!err && (more = ferry_field_param_next(&value, &param)) != 0) {
        if (more < 0)
            return fail(m, FERRY_EPROTOCOL, "a malformed Content-Disposition");
        if (ferry_slice_eq_nocase(param.name, FERRY_SLICE("name")))
            err = take_param(m, &param, &ev->name);
        else if (ferry_slice_eq_nocase(param.name, FERRY_SLICE("filename")))
            err = take_param(m, &param, &ev->filename);
    }
    return err;
}

static bool is_plain_encoding(struct ferry_slice s)
{
    return ferry_slice_eq_nocase(s, FERRY_SLICE("7bit")) ||
           ferry_slice_eq_nocase(s, FERRY_SLICE("8bit")) ||
           ferry_slice_eq_nocase(s, FERRY_SLICE("binary"));
}

static int take_header(struct ferry_multipart *m, struct ferry_slice line,
                       struct ferry_multipart_event *ev, bool *disposed)
{
    struct ferry_slice name = ferry_slice_first(line, ferry_slice_find(line, ':'));
    struct ferry_slice value = ferry_slice_trim(ferry_slice_from(line, name.len + 1));

    for (size_t i = 0; i < line.len; i++)
        if (((uint8_t)line.p[i] < ' ' && line.p[i] != '\t') || line.p[i] == 0x7f)
            return fail(m, FERRY_EPROTOCOL, "a control byte in the header of a part");
    if (!name.len || name.len == line.len || ferry_slice_find(name, ' ') < name.len ||
        ferry_slice_find(name, '\t') < name.len)
        return fail(m, FERRY_EPROTOCOL, "a malformed header line of a part");
    if (ferry_slice_eq_nocase(name, FERRY_SLICE("Content-Disposition"))) {
        if (*disposed)
            return fail(m, FERRY_EPROTOCOL, "a part with two Content-Dispositions");
        *disposed = true;
        return take_disposition(m, value, ev);
    }
    if (ferry_slice_eq_nocase(name, FERRY_SLICE("Content-Type")))
        ev->type = value;
    /* RFC 7578 section 4.7: not to be used. Content taken for what it is not would be worse. */
    else if (ferry_slice_eq_nocase(name, FERRY_SLICE("Content-Transfer-Encoding")) &&
             !is_plain_encoding(value))
        return fail(m, FERRY_EPROTOCOL, "a part in a transfer encoding");
    return 0;
}

/* All of m->head: lines that end with CRLF, the last of them empty. */
static int take_head(struct ferry_multipart *m, struct ferry_multipart_event *ev)
{
    struct ferry_slice rest = {m->head, m->head_len - 2};
    bool disposed = false;

    *ev = (struct ferry_multipart_event){.what = FERRY_MULTIPART_PART};
    while (rest.len) {
        size_t n = ferry_slice_find(rest, '\n');
        int err = take_header(m, ferry_slice_first(rest, n - 1), ev, &disposed);

        if (err < 0)
            return err;
        rest = ferry_slice_from(rest, n + 1);
    }
    if (!ev->name.p)
        return fail(m, FERRY_EPROTOCOL, "a part without a name");
    m->state = CONTENT;
    m->matched = m->hidden = 2;
    return 1;
}

/* Moves header lines from *in to m->head, one at a time: 1 when the empty one came. */
static int gather_head(struct ferry_multipart *m, struct ferry_slice *in)
{
    while (in->len) {
        size_t n = ferry_slice_find(*in, '\n'), at = m->head_len;
        bool whole = n < in->len;

        n += whole;
        if (n > m->head_max - m->head_len)
            return fail(m, FERRY_ELIMIT, "the header of a part is too long");
        memcpy(m->head + m->head_len, in->p, n);
        m->head_len += n;
        *in = ferry_slice_from(*in, n);
        if (!whole)
            return 0;
        at = m->head_len;
        if (at < 2 || m->head[at - 2] != '\r')
            return fail(m, FERRY_EPROTOCOL, "a line that does not end with CRLF");
        if (at == 2 || (at >= 4 && m->head[at - 3] == '\n'))
            return 1;
    }
    return 0;
}

/* -- content and boundaries
 * ------------------------------------------------------------------------------------------------
 */

/* The offset of a delimiter or, at its end, of the beginning of one; or s.len. */
static size_t find_delimiter(const struct ferry_multipart *m, struct ferry_slice s)
{
    const char *end = s.p + s.len;

    for (const char *at = s.p; at < end; at++) {
        size_t n;

        if (*at != '\r') {
            at = memchr(at, '\r', (size_t)(end - at));
            if (!at)
                break;
        }
        n = (size_t)(end - at);
        if (n > m->delimiter_len)
            n = m->delimiter_len;
        if ((n == 1 || at[1] == '\n') && memcmp(at, m->delimiter, n) == 0)
            return (size_t)(at - s.p);
    }
    return s.len;
}

static bool data(struct ferry_multipart *m, struct ferry_multipart_event *ev, const char *p,
                 size_t n)
{
    if (!n || m->state != CONTENT)
        return false;
    *ev = (struct ferry_multipart_event){.what = FERRY_MULTIPART_DATA, .data = {p, n}};
    return true;
}

/* In the preamble or in content. 1 with an event, 0 to go on. */
static int scan(struct ferry_multipart *m, struct ferry_slice *in, struct ferry_multipart_event *ev)
{
    if (m->matched) {
        uint8_t was = m->hidden, n = m->matched;

        while (n < m->delimiter_len && in->len && in->p[0] == m->delimiter[n]) {
            n++;
            *in = ferry_slice_from(*in, 1);
        }
        m->matched = n;
        if (n == m->delimiter_len) {
            bool content = m->state == CONTENT;

            m->state = LINE;
            m->matched = m->hidden = 0;
            ev->what = FERRY_MULTIPART_PART_END;
            return content;
        }
        if (!in->len)
            return 0;
        m->matched = m->hidden = 0;
        return data(m, ev, m->delimiter + was, (size_t)(n - was));
    } else {
        const char *p = in->p;
        size_t n = find_delimiter(m, *in);

        m->matched = n < in->len; /* the CR */
        *in = ferry_slice_from(*in, n + m->matched);
        return data(m, ev, p, n);
    }
}

/* One byte of the rest of a boundary's line. 1 with an event, 0 to go on. */
static int line(struct ferry_multipart *m, char c, struct ferry_multipart_event *ev)
{
    if (m->state == LINE_DASH && c == '-') {
        m->state = EPILOGUE;
        ev->what = FERRY_MULTIPART_END;
        return 1;
    }
    if (m->state == LINE && c == '-') {
        m->state = LINE_DASH;
    } else if ((m->state == LINE || m->state == LINE_PAD) && (c == ' ' || c == '\t')) {
        m->state = LINE_PAD;
    } else if ((m->state == LINE || m->state == LINE_PAD) && c == '\r') {
        m->state = LINE_LF;
    } else if (m->state == LINE_LF && c == '\n') {
        m->state = HEAD;
        m->head_len = 0;
    } else {
        return fail(m, FERRY_EPROTOCOL, "something behind a boundary");
    }
    return 0;
}

int ferry_multipart_next(struct ferry_multipart *m, struct ferry_slice *in,
                         struct ferry_multipart_event *ev)
{
    int got = m->err;

    while (!got && in->len) {
        char c = in->p[0];

        switch ((enum state)m->state) {
        case PREAMBLE:
        case CONTENT:
            got = scan(m, in, ev);
            break;
        case LINE:
        case LINE_DASH:
        case LINE_PAD:
        case LINE_LF:
            *in = ferry_slice_from(*in, 1);
            got = line(m, c, ev);
            break;
        case HEAD:
            got = gather_head(m, in);
            if (got > 0)
                got = take_head(m, ev);
            break;
        case EPILOGUE:
            *in = ferry_slice_from(*in, in->len);
            break;
        }
    }
    return got;
}

int ferry_multipart_end(struct ferry_multipart *m)
{
    if (m->err)
        return m->err;
    return m->state == EPILOGUE ? 0 : fail(m, FERRY_EPROTOCOL, "the form is cut short");
}
