/* SPDX-License-Identifier: MIT */
/*
 * Paths of MAIL and RCPT. A path is first read whole, as a few slices of the input, and only a good
 * one is written to the caller: by then its parts are known to fit, so writing cannot fail. A byte
 * belongs to one of the classes below; what is above 0x7f is looked at as a character (utf8.c).
 *
 *   path = "<" [ "@" domain *( "," "@" domain ) ":" ] local "@" domain ">"
 */
#include "smtp/path.h"

#include "base/text.h"
#include "smtp/ip.h"
#include "smtp/utf8.h"

enum { ATOM = 1, QUOTED = 2, LABEL = 4, DIGIT = 8, BLANK = 16 };

#define LETTER (ATOM | QUOTED | LABEL)

/* RFC 5322, 3.2.3 (atext); RFC 5321, 4.1.2 (qtextSMTP, and Let-dig with the hyphen). */
static const uint8_t class[256] = {
    ['\t'] = BLANK,
    [' '] = BLANK | QUOTED,
    ['!'] = ATOM | QUOTED,
    ['#' ... '\''] = ATOM | QUOTED,
    ['('] = QUOTED,
    [')'] = QUOTED,
    ['*'] = ATOM | QUOTED,
    ['+'] = ATOM | QUOTED,
    [','] = QUOTED,
    ['-'] = ATOM | QUOTED | LABEL,
    ['.'] = QUOTED,
    ['/'] = ATOM | QUOTED,
    ['0' ... '9'] = LETTER | DIGIT,
    [':' ... '<'] = QUOTED,
    ['='] = ATOM | QUOTED,
    ['>'] = QUOTED,
    ['?'] = ATOM | QUOTED,
    ['@'] = QUOTED,
    ['A' ... 'Z'] = LETTER,
    ['['] = QUOTED,
    [']'] = QUOTED,
    ['^'] = ATOM | QUOTED,
    ['_'] = ATOM | QUOTED,
    ['`'] = ATOM | QUOTED,
    ['a' ... 'z'] = LETTER,
    ['{' ... '~'] = ATOM | QUOTED,
};

/* A U-label may be longer than its A-label, of which each character is at least one byte behind
 * "xn--" (RFC 5890, 4.2). */
#define U_LABEL_CHARS_MAX (FERRY_SMTP_LABEL_MAX - 4)

struct reader {
    struct ferry_slice in;
    size_t at;
    bool strict, ascii;
    bool utf8;    /* a byte above 0x7f was met */
    bool too_big; /* a size is past its limit; what follows is read all the same */
};

static unsigned char next_byte(const struct reader *r)
{
    return r->at < r->in.len ? (unsigned char)r->in.p[r->at] : 0;
}

static bool take(struct reader *r, char c)
{
    if (r->at == r->in.len || r->in.p[r->at] != c)
        return false;
    r->at++;
    return true;
}

/* One character that is `of` these classes, or above ASCII: its length, or 0. */
static size_t take_char(struct reader *r, unsigned of)
{
    unsigned char c = next_byte(r);
    size_t n;

    if (c < 0x80) {
        n = (class[c] & of) != 0;
    } else {
        n = r->ascii ? 0 : ferry__smtp_char(ferry_slice_from(r->in, r->at));
        r->utf8 = true;
    }
    r->at += n;
    return n;
}

/* -- domains ----------------------------------------------------------------------------------- */

/* What IDNA maps to a dot (RFC 3490, 3.1) is in no U-label: a domain with it would be another one
 * to whoever asks for it than to whoever reads it. */
static bool is_other_dot(const char *p, size_t n)
{
    return n == 3 && (memcmp(p, "\xe3\x80\x82", 3) == 0 || memcmp(p, "\xef\xbc\x8e", 3) == 0 ||
                      memcmp(p, "\xef\xbd\xa1", 3) == 0);
}

/* Hosts have underscores in their names, whatever is said of it: only `strict` minds. */
static bool read_label(struct reader *r, bool *digits)
{
    size_t from = r->at, chars = 0, n;
    bool wide = false;

    *digits = true;
    while ((n = take_char(r, LABEL)) || (!r->strict && (n = take(r, '_')))) {
        *digits &= (class[(unsigned char)r->in.p[r->at - 1]] & DIGIT) != 0;
        if (is_other_dot(r->in.p + r->at - n, n))
            return false;
        wide |= n > 1;
        chars++;
    }
    if (chars == 0 || r->in.p[from] == '-' || r->in.p[r->at - 1] == '-')
        return false;
    r->too_big |= wide ? chars > U_LABEL_CHARS_MAX : chars > FERRY_SMTP_LABEL_MAX;
    return true;
}

static bool read_literal(struct reader *r)
{
    struct ferry_slice text = ferry_slice_from(r->in, r->at);
    const struct ferry_slice tag = FERRY_SLICE("IPv6:");
    uint8_t ip[16];

    text.len = ferry_slice_find(text, ']');
    if (text.len == r->in.len - r->at)
        return false;
    r->at += text.len + 1;
    if (ferry_slice_eq_nocase(ferry_slice_first(text, tag.len), tag))
        return ferry__smtp_ip6(ferry_slice_from(text, tag.len), ip);
    return ferry__smtp_ip4(text, ip);
}

/* Behind the '@'. A last label of digits alone would be an address without its brackets. */
static bool read_domain(struct reader *r, bool *literal)
{
    size_t from = r->at;
    bool digits;

    *literal = take(r, '[');
    if (*literal)
        return read_literal(r);
    do
        if (!read_label(r, &digits))
            return false;
    while (take(r, '.'));
    r->too_big |= r->at - from > FERRY_SMTP_DOMAIN_MAX;
    return !digits;
}

bool ferry_smtp_is_domain(struct ferry_slice s)
{
    struct reader r = {.in = s, .strict = true, .ascii = true};
    bool literal;

    return read_domain(&r, &literal) && r.at == s.len && !r.too_big;
}

/* -- local parts ------------------------------------------------------------------------------- */

struct local {
    struct ferry_slice text; /* as it stands there, without the quotes around it */
    size_t len;              /* as it is meant */
    bool escapes;            /* there are backslashes to be taken away */
    bool plain;              /* as it is meant, it needs no quotes */
};

/* Dots where none may be are met in the field (some carriers' and devices' addresses); quoted, such
 * a name can stand. */
static bool read_atoms(struct reader *r, struct local *out)
{
    size_t from = r->at;
    bool dot = true; /* one here would be out of place */

    out->plain = true;
    for (;;) {
        if (take_char(r, ATOM)) {
            dot = false;
        } else if (take(r, '.')) {
            out->plain &= !dot;
            dot = true;
        } else {
            break;
        }
    }
    out->plain &= !dot;
    out->len = r->at - from;
    out->text = ferry_slice(r->in.p + from, out->len);
    return out->len && (out->plain || !r->strict);
}

static bool read_quoted(struct reader *r, struct local *out)
{
    size_t from = r->at, before;
    bool dot = true;

    out->plain = true;
    while (!take(r, '"')) {
        before = r->at;
        if (take(r, '\\')) { /* RFC 5321: any ASCII that can be seen, and the blank */
            if (next_byte(r) < 0x20 || next_byte(r) > 0x7e)
                return false;
            before = r->at++;
            out->escapes = true;
        } else if (!take_char(r, QUOTED)) {
            return false;
        }
        out->len += r->at - before;
        if (r->in.p[before] == '.') {
            out->plain &= !dot;
            dot = true;
        } else {
            unsigned char c = (unsigned char)r->in.p[before];

            out->plain &= c >= 0x80 || (class[c] & ATOM);
            dot = false;
        }
    }
    out->plain &= !dot;
    out->text = ferry_slice(r->in.p + from, r->at - 1 - from);
    return out->len != 0;
}

static char *put_local(char *to, const struct local *local)
{
    if (local->plain && !local->escapes)
        return ferry__put(to, local->text);
    if (!local->plain)
        *to++ = '"';
    for (size_t i = 0; i < local->text.len; i++) {
        char c = local->text.p[i];

        if (local->escapes && c == '\\')
            c = local->text.p[++i];
        if (c == '"' || c == '\\')
            *to++ = '\\';
        *to++ = c;
    }
    if (!local->plain)
        *to++ = '"';
    return to;
}

/* -- paths ------------------------------------------------------------------------------------- */

/* Behind its first '@': RFC 5321, appendix C: to be understood, and ignored. */
static bool read_route(struct reader *r)
{
    bool literal;

    while (read_domain(r, &literal)) {
        if (take(r, ':'))
            return true;
        if (!take(r, ',') || !take(r, '@'))
            return false;
    }
    return false;
}

struct mailbox {
    struct local local;
    struct ferry_slice domain;
    bool literal;
};

static bool read_mailbox(struct reader *r, unsigned flags, struct mailbox *out)
{
    size_t from;

    if (!(take(r, '"') ? read_quoted(r, &out->local) : read_atoms(r, &out->local)))
        return false;
    r->too_big |= out->local.len > FERRY_SMTP_LOCAL_MAX;
    if (!take(r, '@'))
        return (flags & FERRY_SMTP_PATH_POSTMASTER) &&
               ferry_slice_eq_nocase(out->local.text, FERRY_SLICE("postmaster"));
    from = r->at;
    if (!read_domain(r, &out->literal))
        return false;
    out->domain = ferry_slice(r->in.p + from, r->at - from);
    return true;
}

static void put_mailbox(const struct mailbox *box, struct ferry_smtp_path *out)
{
    char *to = put_local(out->text, &box->local);

    out->literal = box->literal;
    out->no_domain = box->domain.len == 0;
    if (out->no_domain) {
        to = FERRY_PUT(out->text, "postmaster");
        out->local_len = (uint16_t)(to - out->text);
    } else {
        out->local_len = (uint16_t)(to - out->text);
        *to++ = '@';
        if (box->literal && box->domain.p[1] > '9')
            to = ferry__put(FERRY_PUT(to, "[IPv6:"), ferry_slice_from(box->domain, 6));
        else
            for (size_t i = 0; i < box->domain.len; i++)
                *to++ = ferry_ascii_lower(box->domain.p[i]);
    }
    *to = 0;
    out->len = (uint16_t)(to - out->text);
}

static bool read_path(struct reader *r, unsigned flags, bool brackets, struct mailbox *box)
{
    if (brackets && take(r, '>'))
        return flags & FERRY_SMTP_PATH_NULL;
    if (brackets && take(r, '@') && !read_route(r))
        return false;
    return read_mailbox(r, flags, box) && (!brackets || take(r, '>'));
}

ssize_t ferry_smtp_path_parse(struct ferry_slice s, unsigned flags, struct ferry_smtp_path *out)
{
    struct reader r = {.in = s, .strict = flags & FERRY_SMTP_PATH_STRICT};
    struct mailbox box = {0};
    struct ferry_slice raw;
    bool brackets;
    size_t from;

    while (r.at < s.len && (class[next_byte(&r)] & BLANK))
        r.at++;
    from = r.at;
    brackets = take(&r, '<');
    if (r.strict && (from || !brackets))
        return FERRY_EUSAGE;
    if (!read_path(&r, flags, brackets, &box) || (r.at < s.len && !(class[next_byte(&r)] & BLANK)))
        return FERRY_EUSAGE;
    raw = ferry_slice(s.p + from + brackets, r.at - from - 2 * brackets);
    if (r.too_big || raw.len + 2 > FERRY_SMTP_PATH_MAX)
        return FERRY_ELIMIT;
    out->raw_len = (uint16_t)raw.len;
    *ferry__put(out->raw, raw) = 0;
    out->null = raw.len == 0;
    out->utf8 = r.utf8;
    out->literal = out->no_domain = false;
    out->len = out->local_len = 0;
    out->text[0] = 0;
    if (!out->null)
        put_mailbox(&box, out);
    return (ssize_t)r.at;
}
