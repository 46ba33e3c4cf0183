/* SPDX-License-Identifier: MIT */
/*
 * The header block of a CGI response. The end of the block is searched first, then its lines are
 * read; nothing is kept between calls but how far the search has come. The parser of what an
 * application says about the connection it does not own is where gateways break, so whatever could
 * be read in two ways is refused.
 */
#include "cgi/response.h"

/* X(what, length, first letter, name): fields that are not simply passed on */
#define SPECIAL_MAP(X)                                                                             \
    X(STATUS, 6, 's', "Status")                                                                    \
    X(LENGTH, 14, 'c', "Content-Length")                                                           \
    X(TYPE, 12, 'c', "Content-Type")                                                               \
    X(LOCATION, 8, 'l', "Location")                                                                \
    X(CODING, 17, 't', "Transfer-Encoding")                                                        \
    X(DROPPED, 4, 'd', "Date")                                                                     \
    X(DROPPED, 10, 'c', "Connection")                                                              \
    X(DROPPED, 10, 'k', "Keep-Alive")                                                              \
    X(DROPPED, 16, 'p', "Proxy-Connection")                                                        \
    X(DROPPED, 18, 'p', "Proxy-Authenticate")                                                      \
    X(DROPPED, 25, 'p', "Proxy-Authentication-Info")                                               \
    X(DROPPED, 2, 't', "TE")                                                                       \
    X(DROPPED, 7, 't', "Trailer")                                                                  \
    X(DROPPED, 7, 'u', "Upgrade")                                                                  \
    X(DROPPED, 10, 'x', "X-Sendfile")                                                              \
    X(DROPPED, 11, 'x', "X-Sendfile2")                                                             \
    X(DROPPED, 16, 'x', "X-Accel-Redirect")                                                        \
    X(DROPPED, 20, 'x', "X-LIGHTTPD-send-file")                                                    \
    X(DROPPED, 24, 'x', "X-LIGHTTPD-send-tempfile")                                                \
    X(DROPPED, 13, 'x', "X-Reproxy-URL")

static const char too_many[] = "too many header fields";

enum special { PASSED, STATUS, LENGTH, TYPE, LOCATION, CODING, DROPPED };

#define X(what, len, first, text) _Static_assert(sizeof(text) - 1 == (len), "the length of " text);
SPECIAL_MAP(X)
#undef X

static enum special special_of(struct ferry_slice name)
{
    struct ferry_slice text;
    enum special what;

    switch (name.len << 8 | (uint8_t)ferry_ascii_lower(name.p[0])) {
#define X(w, len, first, t)                                                                        \
    case (len) << 8 | (first):                                                                     \
        what = w;                                                                                  \
        text = FERRY_SLICE(t);                                                                     \
        break;
        SPECIAL_MAP(X)
#undef X
    default:
        return PASSED;
    }
    return ferry_slice_eq_nocase(name, text) ? what : PASSED;
}

/* tchar of RFC 9110 section 5.6.2 */
static const bool token_bytes[256] = {
    ['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true, ['!'] = true,  ['#'] = true,
    ['$'] = true,         ['%'] = true,         ['&'] = true,         ['\''] = true, ['*'] = true,
    ['+'] = true,         ['-'] = true,         ['.'] = true,         ['^'] = true,  ['_'] = true,
    ['`'] = true,         ['|'] = true,         ['~'] = true,
};

static bool is_control(char c)
{
    return ((uint8_t)c < 0x20 && c != '\t') || c == 0x7f;
}

/* Holds a control byte other than HTAB. */
static bool has_control(struct ferry_slice s)
{
    const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
    size_t i = 0;

    /* Eight at a time: x - n*ones borrows into the high bit of a byte below n. */
    for (; i + 8 <= s.len; i += 8) {
        uint64_t x, del;

        memcpy(&x, s.p + i, 8);
        del = x ^ 0x7f * ones;
        if ((((x - 0x20 * ones) & ~x) | ((del - ones) & ~del)) & high)
            for (size_t j = i; j < i + 8; j++)
                if (is_control(s.p[j]))
                    return true;
    }
    for (; i < s.len; i++)
        if (is_control(s.p[i]))
            return true;
    return false;
}

/* The bytes of the block with its empty line, or 0 when n bytes do not hold it. */
static size_t find_end(const char *p, size_t n, size_t *scanned)
{
    size_t at = *scanned;

    while (at < n) {
        const char *nl = memchr(p + at, '\n', n - at);
        size_t i;

        if (!nl)
            break;
        i = (size_t)(nl - p);
        if (i == 0 || p[i - 1] == '\n' || (p[i - 1] == '\r' && (i == 1 || p[i - 2] == '\n')))
            return i + 1;
        at = i + 1;
    }
    if (n > *scanned)
        *scanned = n;
    return 0;
}

/* "NNN" or "NNN reason". 101 would need a connection that changes its protocol. */
static const char *take_status(struct ferry_slice value, struct ferry_cgi_response *out)
{
    uint64_t status;

    if (out->status)
        return "more than one Status";
    if (ferry_slice_u64(ferry_slice_first(value, 3), 599, &status) < 0 || status < 100 ||
        (value.len > 3 && value.p[3] != ' '))
        return "a bad Status";
    if (status == 101)
        return "Status 101";
    out->status = (int)status;
    out->reason = ferry_slice_trim(ferry_slice_from(value, 3));
    return NULL;
}

static const char *take_length(struct ferry_slice value, struct ferry_cgi_response *out)
{
    uint64_t len;

    if (ferry_slice_u64(value, INT64_MAX, &len) < 0)
        return "a bad Content-Length";
    if (out->content_length >= 0 && out->content_length != (int64_t)len)
        return "conflicting Content-Length fields";
    out->content_length = (int64_t)len;
    return NULL;
}

static const char *take_field(struct ferry_slice name, struct ferry_slice value,
                              struct ferry_cgi_response *out, bool *typed)
{
    switch (special_of(name)) {
    case STATUS:
        return take_status(value, out);
    case LENGTH:
        return take_length(value, out);
    case CODING:
        /* Whose framing it is cannot be told: relayed it splits responses. */
        return "Transfer-Encoding in a CGI response";
    case DROPPED:
        out->ignored++;
        return NULL;
    case TYPE:
        if (*typed) {
            out->ignored++;
            return NULL;
        }
        *typed = true;
        break;
    case LOCATION:
        if (out->location.p) {
            out->ignored++;
            return NULL;
        }
        out->location = value;
        break;
    case PASSED:
        break;
    }
    if (out->nfields == FERRY_CGI_FIELDS_MAX)
        return too_many;
    out->fields[out->nfields++] = (struct ferry_param){name, value};
    return NULL;
}

/* "HTTP/1.1 NNN reason": what follows the version, or an empty slice. */
static struct ferry_slice after_version(struct ferry_slice line)
{
    static const struct ferry_slice http = FERRY_SLICE_INIT("HTTP/1.");

    if (!ferry_slice_starts(line, http) || line.len < 10 || line.p[7] < '0' || line.p[7] > '9' ||
        line.p[8] != ' ')
        return FERRY_SLICE("");
    return ferry_slice_from(line, 9);
}

static const char *take_line(struct ferry_slice line, struct ferry_cgi_response *out, bool *typed)
{
    struct ferry_slice name;
    size_t len = 0;

    while (len < line.len && token_bytes[(uint8_t)line.p[len]])
        len++;
    if (len < line.len && line.p[len] == ':' && len > 0) {
        if (has_control(ferry_slice_from(line, len + 1)))
            return "a control byte in a header field";
        return take_field(ferry_slice_first(line, len),
                          ferry_slice_trim(ferry_slice_from(line, len + 1)), out, typed);
    }

    /* Some other field: its name may be odd, but not in a way that another parser mends. */
    if (line.p[0] == ' ' || line.p[0] == '\t')
        return "a folded header field";
    if (has_control(line))
        return "a control byte in a header field";
    name = ferry_slice_first(line, ferry_slice_find(line, ':'));
    if (name.len == line.len)
        return "a header line without a colon";
    if (!name.len)
        return "a header field without a name";
    if (ferry_slice_find(name, ' ') < name.len || ferry_slice_find(name, '\t') < name.len)
        return "a blank in the name of a header field";
    out->ignored++;
    return NULL;
}

static const char *take_lines(const char *p, size_t end, struct ferry_cgi_response *out)
{
    bool first = true, typed = false;
    const char *why = NULL;

    for (size_t at = 0; !why; first = false) {
        const char *nl = memchr(p + at, '\n', end - at);
        struct ferry_slice line = {p + at, (size_t)(nl - (p + at))}, status;

        at += line.len + 1;
        if (line.len && line.p[line.len - 1] == '\r')
            line.len--;
        if (!line.len)
            return first ? "an empty header block" : NULL;
        status = first ? after_version(line) : FERRY_SLICE("");
        if (!status.len)
            why = take_line(line, out, &typed);
        else
            why = has_control(status) ? "a control byte in the status line"
                                      : take_status(status, out);
    }
    return why;
}

ssize_t ferry_cgi_response_parse(const char *p, size_t n, size_t max, size_t *scanned,
                                 struct ferry_cgi_response *out, const char **why)
{
    size_t end = find_end(p, n < max ? n : max, scanned);
    const char *bad;

    if (!end) {
        if (n < max)
            return 0;
        *why = "the header block is too long";
        return FERRY_ELIMIT;
    }
    out->status = 0;
    out->reason = out->location = (struct ferry_slice){NULL, 0};
    out->content_length = -1;
    out->ignored = out->nfields = 0;
    bad = take_lines(p, end, out);
    if (bad) {
        *why = bad;
        return bad == too_many ? FERRY_ELIMIT : FERRY_EPROTOCOL;
    }
    if (!out->status)
        out->status = out->location.len ? 302 : 200;
    return (ssize_t)end;
}
