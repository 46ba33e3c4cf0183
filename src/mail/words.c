/* SPDX-License-Identifier: MIT */
/*
 * RFC 2047. GMime knows the charsets and the encodings; the words are found here, since a script is
 * better given a word as it came than half of what it said: GMime decodes words of unknown charsets
 * by guessing, and loses the last bytes of base64 without padding, which is in the field.
 *
 * Words of one charset that stand side by side are one stream of bytes for the conversion, so a
 * character that is split between two of them is whole again.
 */
#include "mail/words.h"

#include <errno.h>
#include <gmime/gmime.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#include "smtp/utf8.h"

#define CHARSET_MAX 40
#define RUN_MAX 16384 /* bytes of one stream: more than a value has */

struct word {
    char charset[CHARSET_MAX + 1];
    bool base64;
    struct ferry_slice text;
    size_t len; /* of all of it */
};

/* -- what comes out -- */

static void put(struct ferry__mail_text *t, struct ferry_slice c)
{
    if (t->cut || t->failed)
        return;
    if (t->len + c.len > t->max) {
        t->cut = true;
        return;
    }
    memcpy(t->p + t->len, c.p, c.len);
    t->len += c.len;
}

/* The character of this number, unless it is a control; a tab is a blank. */
static void put_char(struct ferry__mail_text *t, struct ferry_slice c, uint32_t number)
{
    if (number == '\t')
        put(t, FERRY_SLICE(" "));
    else if (number >= 0x20 && (number < 0x7f || number > 0x9f))
        put(t, c);
}

static void put_latin1(struct ferry__mail_text *t, unsigned char c)
{
    char two[2] = {(char)(0xc0 | c >> 6), (char)(0x80 | (c & 0x3f))};

    put_char(t, c < 0x80 ? ferry_slice((char *)&c, 1) : ferry_slice(two, 2), c);
}

static bool is_utf8(struct ferry_slice s)
{
    uint32_t number;
    size_t n;

    for (; s.len; s = ferry_slice_from(s, n))
        if ((n = ferry__smtp_utf8(s, &number)) == 0)
            return false;
    return true;
}

static void put_raw(struct ferry__mail_text *t, struct ferry_slice s, bool utf8)
{
    uint32_t number;
    size_t n;

    for (; s.len; s = ferry_slice_from(s, n)) {
        n = utf8 ? ferry__smtp_utf8(s, &number) : 0;
        if (n) {
            put_char(t, ferry_slice_first(s, n), number);
            continue;
        }
        put_latin1(t, (unsigned char)s.p[0]);
        n = 1;
    }
}

/* -- one word -- */

static bool is_one_of(char c, const char *set)
{
    return c && strchr(set, c);
}

static bool is_token(char c)
{
    return g_ascii_isalnum(c) || is_one_of(c, "-_.:+()");
}

static bool is_good_q(struct ferry_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] == '=' && (i + 2 >= text.len || !g_ascii_isxdigit(text.p[i + 1]) ||
                                 !g_ascii_isxdigit(text.p[i + 2])))
            return false;
        if ((unsigned char)text.p[i] < 0x20)
            return false;
    }
    return true;
}

/* Padding may be missing; what it stands for may not. */
static bool is_good_base64(struct ferry_slice text)
{
    size_t n = text.len;

    while (n && text.p[n - 1] == '=' && text.len - n < 2)
        n--;
    for (size_t i = 0; i < n; i++)
        if (!g_ascii_isalnum(text.p[i]) && text.p[i] != '+' && text.p[i] != '/')
            return false;
    return n % 4 != 1;
}

static bool is_known(const char *charset)
{
    iconv_t to = g_mime_iconv_open("UTF-8", charset);

    if (to == (iconv_t)-1)
        return false;
    g_mime_iconv_close(to);
    return true;
}

/* "=?charset*language?B?text?=" at the front, and it can be decoded. */
static bool read_word(struct ferry_slice s, struct word *w)
{
    struct ferry_slice rest = ferry_slice_from(s, 2), charset;
    size_t end;

    if (!ferry_slice_starts(s, FERRY_SLICE("=?")))
        return false;
    charset = ferry_slice_first(rest, ferry_slice_find(rest, '?'));
    rest = ferry_slice_from(rest, charset.len + 1);
    charset = ferry_slice_first(charset, ferry_slice_find(charset, '*'));
    if (rest.len < 2 || rest.p[1] != '?' || charset.len == 0 || charset.len > CHARSET_MAX)
        return false;
    for (size_t i = 0; i < charset.len; i++)
        if (!is_token(charset.p[i]))
            return false;
    memcpy(w->charset, charset.p, charset.len);
    w->charset[charset.len] = 0;
    if (!is_one_of(rest.p[0], "BbQq"))
        return false;
    w->base64 = ferry_ascii_lower(rest.p[0]) == 'b';
    rest = ferry_slice_from(rest, 2);
    end = ferry_slice_find(rest, '?');
    if (end + 1 >= rest.len || rest.p[end + 1] != '=')
        return false;
    w->text = ferry_slice_first(rest, end);
    w->len = (size_t)(w->text.p - s.p) + end + 2;
    return (w->base64 ? is_good_base64(w->text) : is_good_q(w->text)) && is_known(w->charset);
}

/* A word stands alone: between blanks, or in a comment, or beside others. */
static bool may_begin(struct ferry_slice value, size_t at)
{
    return at == 0 || is_one_of(value.p[at - 1], " \t(\"");
}

static bool may_end(struct ferry_slice value, size_t at)
{
    struct ferry_slice rest = ferry_slice_from(value, at);

    return rest.len == 0 || is_one_of(rest.p[0], " \t)\",") ||
           ferry_slice_starts(rest, FERRY_SLICE("=?"));
}

/* -- a run of words -- */

struct run {
    char charset[CHARSET_MAX + 1];
    char bytes[RUN_MAX];
    size_t len;
};

static void add_base64(struct run *r, struct ferry_slice text)
{
    GMimeEncoding state;
    char padded[4] = "===";

    g_mime_encoding_init_decode(&state, GMIME_CONTENT_ENCODING_BASE64);
    r->len += g_mime_encoding_step(&state, text.p, text.len, r->bytes + r->len);
    r->len += g_mime_encoding_flush(&state, padded, (4 - text.len % 4) % 4, r->bytes + r->len);
}

static void add_q(struct run *r, struct ferry_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.p[i] == '_' ? ' ' : text.p[i];

        if (c == '=') {
            c = (char)(g_ascii_xdigit_value(text.p[i + 1]) << 4 |
                       g_ascii_xdigit_value(text.p[i + 2]));
            i += 2;
        }
        r->bytes[r->len++] = c;
    }
}

static const char replacement[] = "\xef\xbf\xbd";

/* In pieces, so that a character that cannot be converted costs no other. */
static void convert(const struct run *r, struct ferry__mail_text *out)
{
    iconv_t to = g_mime_iconv_open("UTF-8", r->charset);
    char *in = (char *)r->bytes, buf[512];
    size_t left = r->len, n = 0;

    if (to == (iconv_t)-1)
        return;
    for (bool done = false; !done;) {
        char *at = buf;
        size_t room = sizeof buf;

        done = left == 0;
        n = done ? g_mime_iconv(to, NULL, NULL, &at, &room)
                 : g_mime_iconv(to, &in, &left, &at, &room);
        put_raw(out, ferry_slice(buf, sizeof buf - room), true);
        if (n != (size_t)-1 || errno == E2BIG)
            continue;
        put(out, ferry_slice(replacement, 3));
        done = errno == EINVAL || done;
        in += left ? 1 : 0;
        left -= left ? 1 : 0;
    }
    g_mime_iconv_close(to);
}

/* All words from here on that belong together: how many bytes of the value they are. 0: none. */
static size_t take_run(struct ferry_slice value, size_t at, struct run *r,
                       struct ferry__mail_text *out)
{
    size_t begin = at, end = at;
    struct word w;

    r->len = 0;
    while (read_word(ferry_slice_from(value, at), &w) && may_end(value, at + w.len)) {
        if (r->len && g_ascii_strcasecmp(r->charset, w.charset) != 0) {
            convert(r, out);
            r->len = 0;
        }
        if (r->len + w.text.len + 8 > sizeof r->bytes)
            break;
        memcpy(r->charset, w.charset, sizeof r->charset);
        if (w.base64)
            add_base64(r, w.text);
        else
            add_q(r, w.text);
        end = at + w.len;
        for (at = end; at < value.len && is_one_of(value.p[at], " \t");)
            at++;
    }
    if (r->len)
        convert(r, out);
    return end - begin;
}

/* -- values -- */

static bool begin(struct ferry__mail_text *out, struct ferry_slice value)
{
    size_t most = value.len * 3; /* a byte may become three: U+FFFD */

    out->len = 0;
    out->cut = out->failed = false;
    if (most < out->max)
        out->max = most;
    out->p = malloc(out->max + 1);
    out->failed = !out->p;
    return out->p;
}

void ferry__mail_text_plain(struct ferry__mail_text *out, struct ferry_slice value)
{
    if (!begin(out, value))
        return;
    put_raw(out, value, is_utf8(value));
    out->p[out->len] = 0;
}

static void decode(struct ferry__mail_text *out, struct ferry_slice value, struct run *r)
{
    bool utf8 = is_utf8(value);
    size_t n;

    for (size_t at = 0; at < value.len; at += n) {
        size_t next = ferry_slice_find(ferry_slice_from(value, at), '=');

        n = next;
        if (n == 0)
            n = may_begin(value, at) ? take_run(value, at, r, out) : 0;
        else
            put_raw(out, ferry_slice(value.p + at, n), utf8);
        if (n == 0) {
            put(out, FERRY_SLICE("="));
            n = 1;
        }
    }
}

void ferry__mail_text_decoded(struct ferry__mail_text *out, struct ferry_slice value)
{
    struct run *r = NULL;

    if (!memmem(value.p ? value.p : "", value.len, "=?", 2)) {
        ferry__mail_text_plain(out, value);
        return;
    }
    ferry__mail_words_begin();
    if (!begin(out, value))
        return;
    r = malloc(sizeof *r);
    out->failed = !r;
    if (r)
        decode(out, value, r);
    out->p[out->len] = 0;
    free(r);
}

/* Charsets that are often met stay loaded: they are files of the C library, which are long to open,
 * and a sandbox may be closed round us later. */
#define OFTEN 28
static iconv_t loaded[OFTEN];

static void begin_once(void)
{
    static const char *const often[OFTEN] = {
        "iso-8859-1",   "iso-8859-2",   "iso-8859-5",   "iso-8859-7",   "iso-8859-9",
        "iso-8859-15",  "koi8-r",       "koi8-u",       "windows-1250", "windows-1251",
        "windows-1252", "windows-1253", "windows-1254", "windows-1255", "windows-1256",
        "windows-1257", "windows-1258", "big5",         "euc-jp",       "euc-kr",
        "gb18030",      "gb2312",       "gbk",          "iso-2022-jp",  "shift_jis",
        "tis-620",      "utf-7",        "utf-16"};

    g_mime_init();
    for (size_t i = 0; i < OFTEN; i++)
        loaded[i] = g_mime_iconv_open("UTF-8", often[i]);
}

void ferry__mail_words_begin(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, begin_once);
}
