/* SPDX-License-Identifier: MIT */
/*
 * Replies from the table in reply.h, and replies in somebody else's words. Whatever a peer or a
 * script wrote passes through safe(), so that one reply stays one line of what a terminal shows.
 */
#include "smtp/reply.h"

#include "base/text.h"
#include "smtp/utf8.h"

#define TEXT_MAX 400

static const struct {
    int code;
    const char *enhanced, *text;
} replies[] = {
#define X(name, code, enhanced, text) {code, enhanced, text},
    FERRY_SMTP_REPLY_MAP(X)
#undef X
};

int ferry_smtp_reply_code(enum ferry_smtp_reply r)
{
    return replies[r].code;
}

const char *ferry_smtp_reply_enhanced(enum ferry_smtp_reply r)
{
    return replies[r].enhanced;
}

/* Writes what of `s` may be seen, up to `end`. */
static char *safe(char *to, const char *end, struct ferry_slice s, bool utf8)
{
    while (s.len) {
        size_t n = ferry__smtp_char(s);

        if (n > 1 && !utf8)
            n = 0;
        if (n > (size_t)(end - to))
            break;
        to = ferry__put(to, ferry_slice_first(s, n));
        s = ferry_slice_from(s, n ? n : 1);
    }
    return to;
}

static char *put_code(char *to, int code, struct ferry_slice enhanced)
{
    to = ferry__put_u64(to, (uint64_t)code, 3);
    *to++ = ' ';
    if (enhanced.len) {
        to = ferry__put(to, enhanced);
        *to++ = ' ';
    }
    return to;
}

/* A line does not end with a blank where there is nothing more to say. */
static size_t put_end(char *out, char *to)
{
    while (to > out + 4 && to[-1] == ' ')
        to--;
    to = FERRY_PUT(to, "\r\n");
    return (size_t)(to - out);
}

size_t ferry_smtp_reply_put(enum ferry_smtp_reply r, struct ferry_slice before,
                            struct ferry_slice detail, char out[FERRY_SMTP_LINE_MAX])
{
    const char *end = out + FERRY_SMTP_LINE_MAX - 2, *text = replies[r].text;
    struct ferry_slice head = ferry_slice_z(text), tail = FERRY_SLICE("");
    const char *at = strchr(text, '%');
    char *to = put_code(out, replies[r].code, ferry_slice_z(replies[r].enhanced));

    if (at) {
        head = ferry_slice(text, (size_t)(at - text));
        tail = ferry_slice_z(at + 2);
        if (!detail.len && !head.len)
            tail = ferry_slice_trim(tail);
    }
    /* Who uses addresses beyond ASCII has said that it reads them (RFC 6531, 3.7.4.2). */
    to = safe(to, end, before, true);
    to = safe(to, end, head, false);
    if (at)
        to = safe(to, end - tail.len, detail, true);
    to = safe(to, end, tail, false);
    return put_end(out, to);
}

/* Is it an enhanced code of this class (RFC 2034, 4)? */
static bool is_enhanced(struct ferry_slice s, int class)
{
    unsigned dots = 0, digits = 0;

    if (s.len < 5 || s.p[0] != '0' + class || s.p[1] != '.')
        return false;
    for (size_t i = 2; i < s.len; i++) {
        if (s.p[i] == '.') {
            if (digits == 0 || ++dots > 1)
                return false;
            digits = 0;
        } else if (s.p[i] < '0' || s.p[i] > '9' || ++digits > 3) {
            return false;
        }
    }
    return dots == 1 && digits > 0;
}

size_t ferry_smtp_reply_custom(int code, struct ferry_slice enhanced, struct ferry_slice before,
                               struct ferry_slice text, bool utf8, char out[FERRY_SMTP_LINE_MAX])
{
    char own[] = "0.0.0", shown[TEXT_MAX];
    const char *end = out + FERRY_SMTP_LINE_MAX - 2;
    size_t len;
    char *to;

    own[0] = (char)('0' + code / 100);
    if (!is_enhanced(enhanced, code / 100))
        enhanced = ferry_slice(own, code / 100 == 3 ? 0 : sizeof own - 1);
    text = ferry_slice_first(text, ferry_slice_find(text, '\n'));
    text = ferry_slice_first(text, ferry_slice_find(text, '\r'));
    to = put_code(out, code, enhanced);
    to = safe(to, end, before, true);
    len = (size_t)(safe(shown, shown + sizeof shown, ferry_slice_trim(text), utf8) - shown);
    to = safe(to, end, ferry_slice(shown, len), utf8);
    return put_end(out, to);
}
