/* SPDX-License-Identifier: MIT */
/*
 * Heads of requests: the search for the end of one, and its parser (RFC 9112 sections 2 to 6).
 * Strict, for whatever two parsers read differently lets a request be smuggled past one of them:
 * lines end with CRLF, nothing is folded, there is one Host and one way to know the body's length.
 * Nothing is copied; a head is known to be whole before it is parsed, so the CRLF at its end stops
 * every scan.
 */
#include "http/http_internal.h"

#define HOST_MAX 255 /* RFC 1035 section 2.3.4 */

#define ALNUM ['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true

const bool ferry__is_token[256] = {
    ALNUM,         ['!'] = true, ['#'] = true, ['$'] = true, ['%'] = true, ['&'] = true,
    ['\''] = true, ['*'] = true, ['+'] = true, ['-'] = true, ['.'] = true, ['^'] = true,
    ['_'] = true,  ['`'] = true, ['|'] = true, ['~'] = true,
};

/* RFC 3986 would allow more in a name, but no DNS name has it, and applications print hosts.
 * Nor has one a label with nothing in it, but for the root behind the last dot. */
static const bool is_host[256] = {ALNUM, ['-'] = true, ['.'] = true, ['_'] = true, ['~'] = true};

ssize_t ferry__head_scan(const char *p, size_t n, struct ferry__head_scan *s)
{
    while (s->at < n) {
        const char *lf = memchr(p + s->at, '\n', n - s->at);
        size_t at = lf ? (size_t)(lf - p) : n;

        s->at = (uint32_t)at;
        if (!lf)
            return 0;
        if (at == s->line || p[at - 1] != '\r')
            return FERRY_EPROTOCOL;
        if (at == s->line + 1)
            return (ssize_t)at + 1;
        s->at = s->line = (uint32_t)at + 1;
    }
    return 0;
}

/* What the fields say about the connection and the body. */
struct parse {
    struct ferry_http_head *out;
    const char *why;
    int host;       /* its field's index, or -1 */
    int64_t length; /* Content-Length, or -1 */
    bool coded;     /* Transfer-Encoding is there */
    bool chunked;   /* and its last coding is this */
    bool unknown;   /* and it has another one */
    bool close;     /* Connection tokens */
    bool keep_alive;
    bool expects; /* 100-continue */
    bool expects_other;
    int status; /* of the first thing wrong */
};

static void refuse(struct parse *q, int status, const char *why)
{
    if (q->status)
        return;
    q->status = status;
    q->why = why;
}

/* "host", "host:port", "[v6]:port" (RFC 3986 section 3.2.2): only what a real one looks like. */
static bool host_is_good(struct ferry_slice h)
{
    size_t at = 0, port;

    if (h.len && h.p[0] == '[') {
        for (at = 1; at < h.len && h.p[at] != ']'; at++)
            if (!strchr("0123456789abcdefABCDEF:.", h.p[at]) || h.p[at] == '\0')
                return false;
        if (at < 3 || at++ == h.len)
            return false;
    } else {
        for (; at < h.len && is_host[(unsigned char)h.p[at]]; at++)
            if (h.p[at] == '.' && (at == 0 || h.p[at - 1] == '.'))
                return false;
    }
    if (at == 0 || at > HOST_MAX)
        return false;
    if (at == h.len)
        return true;
    if (h.p[at++] != ':' || h.len - at > 5)
        return false;
    for (port = 0; at < h.len; at++) {
        if (h.p[at] < '0' || h.p[at] > '9')
            return false;
        port = port * 10 + (size_t)(h.p[at] - '0');
    }
    return port <= 65535;
}

static enum ferry_http_method method_id(struct ferry_slice m)
{
#define X(name, text)                                                                              \
    if (m.len == sizeof(text) - 1 && memcmp(m.p, text, sizeof(text) - 1) == 0)                     \
        return FERRY_HTTP_##name;
    FERRY_HTTP_METHOD_MAP(X)
#undef X
    return FERRY_HTTP_OTHER;
}

/* The four forms of RFC 9112 section 3.2. An authority in the target rules over the Host field. */
static void target_form(struct parse *q)
{
    struct ferry_http_head *out = q->out;
    struct ferry_slice t = out->target, authority = {NULL, 0};

    if (out->method_id == FERRY_HTTP_CONNECT) {
        authority = t;
    } else if (t.p[0] == '/') {
        return;
    } else if (t.len == 1 && t.p[0] == '*' && out->method_id == FERRY_HTTP_OPTIONS) {
        return;
    } else {
        size_t scheme = t.len > 7 && ferry_ascii_lower(t.p[4]) == 's' ? 8 : 7;

        if (ferry_slice_eq_nocase(ferry_slice_first(t, scheme),
                                  scheme == 8 ? FERRY_SLICE("https://") : FERRY_SLICE("http://")))
            authority = ferry_slice_from(t, scheme);
        for (size_t i = 0; i < authority.len; i++)
            if (authority.p[i] == '/' || authority.p[i] == '?')
                authority.len = i;
    }
    if (!host_is_good(authority))
        refuse(q, 400, "bad request target");
    out->host = authority;
}

/* method SP target SP HTTP/d.d CRLF: where the next line begins, or NULL. */
static const char *request_line(struct parse *q, const char *p, const char *end, size_t target_max)
{
    struct ferry_http_head *out = q->out;
    const char *at = p;

    while (ferry__is_token[(unsigned char)*at])
        at++;
    out->method = ferry_slice(p, (size_t)(at - p));
    if (out->method.len == 0 || *at != ' ') {
        refuse(q, 400, "bad request line");
        return NULL;
    }
    if (out->method.len > FERRY__METHOD_MAX) {
        refuse(q, 501, "method too long");
        return NULL;
    }
    out->method_id = method_id(out->method);

    p = ++at;
    while ((unsigned char)*at > ' ' && *at != 0x7f && *at != '#')
        at++;
    out->target = ferry_slice(p, (size_t)(at - p));
    if (out->target.len > target_max) {
        refuse(q, 414, "request target too long");
        return NULL;
    }
    if (out->target.len == 0 || *at != ' ') {
        refuse(q, 400, "bad request target");
        return NULL;
    }

    p = at + 1;
    at = ferry__next_control(p, end);
    if (at - p != 8 || memcmp(p, "HTTP/", 5) != 0 || p[5] < '0' || p[5] > '9' || p[6] != '.' ||
        p[7] < '0' || p[7] > '9' || at[0] != '\r' || at[1] != '\n') {
        refuse(q, 400, "bad HTTP version");
        return NULL;
    }
    if (p[5] != '1') {
        refuse(q, 505, "HTTP version not supported");
        return NULL;
    }
    /* A higher minor version is read as the highest one known (RFC 9110 section 2.5). */
    out->minor = p[7] != '0';
    target_form(q);
    return at + 2;
}

/* Takes the next element of a comma-separated list, perhaps an empty one; false at its end. */
static bool list_next(struct ferry_slice *list, struct ferry_slice *out)
{
    size_t comma;

    if (!list->p)
        return false;
    comma = ferry_slice_find(*list, ',');
    *out = ferry_slice_trim(ferry_slice_first(*list, comma));
    *list = comma == list->len ? ferry_slice(NULL, 0) : ferry_slice_from(*list, comma + 1);
    return true;
}

static void content_length(struct parse *q, struct ferry_slice value)
{
    uint64_t n = 0;

    /* Equal duplicates too: whoever sends two has something in mind. */
    if (q->length >= 0)
        refuse(q, 400, "more than one Content-Length");
    switch (ferry_slice_u64(value, INT64_MAX, &n)) {
    case 0:
        q->length = (int64_t)n;
        break;
    case FERRY_ELIMIT:
        refuse(q, 413, "body too large");
        q->length = INT64_MAX;
        break;
    default:
        refuse(q, 400, "bad Content-Length");
        q->length = 0;
    }
}

static void transfer_encoding(struct parse *q, struct ferry_slice value)
{
    struct ferry_slice coding;

    q->coded = true;
    while (list_next(&value, &coding)) {
        if (coding.len == 0)
            refuse(q, 400, "bad Transfer-Encoding");
        else if (q->chunked)
            refuse(q, 400, "a transfer coding behind chunked");
        else if (ferry_slice_eq_nocase(coding, FERRY_SLICE("chunked")))
            q->chunked = true;
        else
            q->unknown = true;
    }
}

static void connection(struct parse *q, struct ferry_slice value)
{
    struct ferry_slice token;

    while (list_next(&value, &token)) {
        if (ferry_slice_eq_nocase(token, FERRY_SLICE("close")))
            q->close = true;
        else if (ferry_slice_eq_nocase(token, FERRY_SLICE("keep-alive")))
            q->keep_alive = true;
    }
}

static void host(struct parse *q, struct ferry_slice value)
{
    if (q->host >= 0)
        refuse(q, 400, "more than one Host");
    else if (!host_is_good(value))
        refuse(q, 400, "bad Host");
    q->host = (int)q->out->nfields;
}

/* The few fields the machine itself acts upon. */
static void known_field(struct parse *q, struct ferry_slice name, struct ferry_slice value)
{
    switch (name.len) {
    case 4:
        if (ferry_slice_eq_nocase(name, FERRY_SLICE("host")))
            host(q, value);
        break;
    case 6:
        if (!ferry_slice_eq_nocase(name, FERRY_SLICE("expect")))
            break;
        if (ferry_slice_eq_nocase(value, FERRY_SLICE("100-continue")))
            q->expects = true;
        else
            q->expects_other = true;
        break;
    case 10:
        if (ferry_slice_eq_nocase(name, FERRY_SLICE("connection")))
            connection(q, value);
        break;
    case 14:
        if (ferry_slice_eq_nocase(name, FERRY_SLICE("content-length")))
            content_length(q, value);
        break;
    case 17:
        if (ferry_slice_eq_nocase(name, FERRY_SLICE("transfer-encoding")))
            transfer_encoding(q, value);
        break;
    default:
        break;
    }
}

static const char *bad_name(const char *line, const char *at)
{
    if (*line == ' ' || *line == '\t')
        return "folded field line";
    if (at == line)
        return "field without a name";
    return *at == ' ' || *at == '\t' ? "blank before the colon of a field" : "bad field name";
}

static const char *bad_value(const char *at)
{
    if (*at == '\r')
        return "bare CR";
    return *at == '\0' ? "NUL in a field" : "control byte in a field";
}

/* One field line, not the empty one: where the next line begins, or NULL. */
static const char *field_line(struct parse *q, const char *line, const char *end)
{
    struct ferry_http_head *out = q->out;
    const char *at = line, *value;
    struct ferry_http_field *f;

    while (ferry__is_token[(unsigned char)*at])
        at++;
    if (*at != ':' || at == line) {
        refuse(q, 400, bad_name(line, at));
        return NULL;
    }
    value = at + 1;
    while (*value == ' ' || *value == '\t')
        value++;
    for (const char *stop = value;; stop++) {
        stop = ferry__next_control(stop, end);
        if (*stop == '\t')
            continue;
        if (stop[0] != '\r' || stop[1] != '\n') {
            refuse(q, 400, bad_value(stop));
            return NULL;
        }
        end = stop;
        break;
    }
    if (out->nfields == FERRY_HTTP_FIELDS_MAX) {
        refuse(q, 431, "too many fields");
        return NULL;
    }
    f = &out->fields[out->nfields];
    f->name = ferry_slice(line, (size_t)(at - line));
    at = end;
    while (at > value && (at[-1] == ' ' || at[-1] == '\t'))
        at--;
    f->value = ferry_slice(value, (size_t)(at - value));
    known_field(q, f->name, f->value);
    out->nfields++;
    return end + 2;
}

/* What can be judged only when all fields are known. Things that smuggle come first. */
static void whole_head(struct parse *q)
{
    struct ferry_http_head *out = q->out;

    if (q->coded && out->minor == 0)
        refuse(q, 400, "Transfer-Encoding in HTTP/1.0");
    if (q->coded && q->length >= 0)
        refuse(q, 400, "both Content-Length and Transfer-Encoding");
    if (q->host < 0 && out->minor == 1)
        refuse(q, 400, "no Host");
    if (q->coded && (q->unknown || !q->chunked))
        refuse(q, 501, "unknown transfer coding");
    /* HTTP/1.0 has no Expect, and servers ignore it there (RFC 9110 section 10.1.1). */
    if (q->expects_other && out->minor == 1)
        refuse(q, 417, "unknown expectation");

    if (q->host >= 0 && out->host.len)
        out->fields[q->host].value = out->host;
    else if (q->host >= 0)
        out->host = out->fields[q->host].value;
    out->content_length = q->coded ? -1 : q->length > 0 ? q->length : 0;
    out->has_body = out->content_length != 0;
    out->expects_continue = q->expects && out->minor == 1 && out->has_body;
}

int ferry__head_parse(const char *p, size_t n, size_t target_max, struct ferry_http_head *out,
                      bool *keep, const char **why)
{
    struct parse q = {.out = out, .host = -1, .length = -1};
    const char *end = p + n;

    out->method_id = FERRY_HTTP_OTHER;
    out->minor = 0;
    out->host = ferry_slice(NULL, 0);
    out->nfields = 0;
    p = request_line(&q, p, end, target_max);
    while (p && p[0] != '\r')
        p = field_line(&q, p, end);
    /* The empty line is the only one that begins with CR: scanning found no other CRLF CRLF. */
    if (p && p + 2 != end)
        refuse(&q, 400, "bare CR");
    if (p && !q.status)
        whole_head(&q);
    *keep = out->minor ? !q.close : q.keep_alive && !q.close;
    *why = q.why;
    return q.status;
}
