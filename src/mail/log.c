/* SPDX-License-Identifier: MIT */
/*
 * Lines of the log. A field is written behind the line and counts only when all of it has fitted,
 * so a line is whole at every moment; the '}' of JSON has its byte reserved.
 */
#include "mail/log.h"

#include <assert.h>
#include <time.h>

#include "base/text.h"

#define NAME_MAX_LEN 32
#define ESCAPED_MAX 6 /* "\u001f" for one byte */
#define DOTS_LEN 3

static_assert(NAME_MAX_LEN + FERRY__LOG_LIST_MAX + 64 < FERRY__LOG_LINE_MAX, "a field fits");

/* How many bytes the UTF-8 character at the front takes (RFC 3629); 0: it is none. */
static unsigned utf8_len(struct ferry_slice s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    unsigned n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;

    if (p[0] > 0xf4 || n > s.len)
        return 0;
    for (unsigned i = 1; i < n; i++)
        if (p[i] >> 6 != 2)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

/* Of a character, what a terminal or a reader of lines would take for more than text. */
static bool is_control(struct ferry_slice s, unsigned n)
{
    unsigned char c = (unsigned char)s.p[0];

    return c < 0x20 || c == 0x7f || (n == 2 && c == 0xc2 && (unsigned char)s.p[1] < 0xa0);
}

static char *put_hex2(char *to, unsigned char c, const char *digits)
{
    *to++ = digits[c >> 4];
    *to++ = digits[c & 15];
    return to;
}

/* One character and where the next begins; at most ESCAPED_MAX bytes for each of its own. */
static char *put_char(char *to, struct ferry_slice *s, bool json)
{
    unsigned n = utf8_len(*s);
    bool plain = n && !is_control(*s, n);
    struct ferry_slice c = ferry_slice_first(*s, n ? n : 1);

    *s = ferry_slice_from(*s, c.len);
    if (plain) {
        if (*c.p == '"' || *c.p == '\\')
            *to++ = '\\';
        return ferry__put(to, c);
    }
    if (json && n == 0)
        return FERRY_PUT(to, "\xef\xbf\xbd");
    if (json) { /* of a C1 control the second byte is its number */
        to = FERRY_PUT(to, "\\u00");
        return put_hex2(to, (unsigned char)c.p[c.len - 1], "0123456789abcdef");
    }
    for (size_t i = 0; i < c.len; i++) {
        to = FERRY_PUT(to, "\\x");
        to = put_hex2(to, (unsigned char)c.p[i], "0123456789ABCDEF");
    }
    return to;
}

/* Is it read as it stands, with no quotes around it? */
static bool is_word(struct ferry_slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.p[i] <= ' ' || s.p[i] >= 0x7f || s.p[i] == '"' || s.p[i] == '\\' || s.p[i] == '=')
            return false;
    return s.len > 0;
}

/* Escaped, within `max` bytes; when it is cut with dots behind it. */
static char *put_cut(char *to, struct ferry_slice s, size_t max, bool json)
{
    char *last = to + max - ESCAPED_MAX * 2 - DOTS_LEN;

    while (s.len && to <= last)
        to = put_char(to, &s, json);
    return s.len ? FERRY_PUT(to, "...") : to;
}

/* -- the line ---------------------------------------------------------------------------------- */

/* Room for one field of so many bytes: where to write it, or NULL. */
static char *room(struct ferry__log_line *l, size_t value_max)
{
    size_t need = value_max + NAME_MAX_LEN + sizeof ",\"\":\"\"}";

    return l->len + need <= sizeof l->text ? l->text + l->len : NULL;
}

static void took(struct ferry__log_line *l, const char *end)
{
    l->len = (size_t)(end - l->text);
}

static char *put_name(const struct ferry__log_line *l, char *to, const char *name)
{
    bool json = l->format == FERRY_MAIL_LOG_JSON;

    to = json ? FERRY_PUT(to, ",\"") : FERRY_PUT(to, " ");
    to = ferry__put(to, ferry_slice_z(name));
    return json ? FERRY_PUT(to, "\":") : FERRY_PUT(to, "=");
}

static char *put_time(char *at)
{
    struct timespec now;
    struct tm tm;

    clock_gettime(CLOCK_REALTIME, &now);
    if (!gmtime_r(&now.tv_sec, &tm) || tm.tm_year < -1900 || tm.tm_year > 8099)
        memset(&tm, 0, sizeof tm);
    at = ferry__put_u64(at, (unsigned)(tm.tm_year + 1900), 4);
    *at++ = '-';
    at = ferry__put_u64(at, (unsigned)(tm.tm_mon + 1), 2);
    *at++ = '-';
    at = ferry__put_u64(at, (unsigned)tm.tm_mday, 2);
    *at++ = 'T';
    at = ferry__put_u64(at, (unsigned)tm.tm_hour, 2);
    *at++ = ':';
    at = ferry__put_u64(at, (unsigned)tm.tm_min, 2);
    *at++ = ':';
    at = ferry__put_u64(at, (unsigned)tm.tm_sec, 2);
    *at++ = '.';
    at = ferry__put_u64(at, (unsigned)(now.tv_nsec / 1000000), 3);
    *at++ = 'Z';
    return at;
}

static char *put_stamp(struct ferry__log_line *l)
{
    char *at = l->text;
    bool json = l->format == FERRY_MAIL_LOG_JSON;

    at = json ? FERRY_PUT(at, "{\"time\":\"") : FERRY_PUT(at, "time=");
    at = put_time(at);
    return json ? FERRY_PUT(at, "\"") : at;
}

void ferry__log_begin(struct ferry__log_line *l, enum ferry_mail_log_format format,
                      const char *event)
{
    l->format = format;
    took(l, put_stamp(l));
    ferry__log_z(l, "event", event);
}

void ferry__log_stamp(struct ferry__log_line *l)
{
    put_stamp(l); /* of the same length as before */
}

static void put_text(struct ferry__log_line *l, const char *name, struct ferry_slice value,
                     size_t max)
{
    char *at = room(l, max);
    bool json = l->format == FERRY_MAIL_LOG_JSON;

    if (value.len == 0 || !at)
        return;
    at = put_name(l, at, name);
    if (!json && value.len <= max && is_word(value)) {
        at = ferry__put(at, value);
    } else {
        *at++ = '"';
        at = put_cut(at, value, max, json);
        *at++ = '"';
    }
    took(l, at);
}

void ferry__log_text(struct ferry__log_line *l, const char *name, struct ferry_slice value)
{
    put_text(l, name, value, FERRY__LOG_VALUE_MAX);
}

void ferry__log_long(struct ferry__log_line *l, const char *name, struct ferry_slice value)
{
    put_text(l, name, value, FERRY__LOG_LIST_MAX);
}

void ferry__log_z(struct ferry__log_line *l, const char *name, const char *value)
{
    ferry__log_text(l, name, ferry_slice_z(value));
}

void ferry__log_number(struct ferry__log_line *l, const char *name, uint64_t n)
{
    char *at = room(l, FERRY_U64_TEXT_MAX);

    if (at)
        took(l, ferry__put_u64(put_name(l, at, name), n, 1));
}

void ferry__log_flag(struct ferry__log_line *l, const char *name, bool on)
{
    char *at = room(l, 5);

    if (!at)
        return;
    at = put_name(l, at, name);
    if (l->format == FERRY_MAIL_LOG_JSON)
        at = on ? FERRY_PUT(at, "true") : FERRY_PUT(at, "false");
    else
        at = on ? FERRY_PUT(at, "yes") : FERRY_PUT(at, "no");
    took(l, at);
}

/* -- lists ------------------------------------------------------------------------------------- */

void ferry__log_list_open(struct ferry__log_line *l, struct ferry__log_list *list, const char *name)
{
    char *at = room(l, FERRY__LOG_LIST_MAX);

    *list = (struct ferry__log_list){.from = l->len, .open = at != NULL};
    if (!at)
        return;
    at = put_name(l, at, name);
    *at++ = l->format == FERRY_MAIL_LOG_JSON ? '[' : '"';
    took(l, at);
}

void ferry__log_list_add(struct ferry__log_line *l, struct ferry__log_list *list,
                         struct ferry_slice member)
{
    bool json = l->format == FERRY_MAIL_LOG_JSON;
    char *at = l->text + l->len;

    if (!list->open || list->full)
        return;
    if (list->n++)
        *at++ = ',';
    if (json)
        *at++ = '"';
    /* The room for this one, and for the "..." that may come. */
    list->full = l->len - list->from + FERRY__LOG_VALUE_MAX + 16 > FERRY__LOG_LIST_MAX;
    at = list->full ? FERRY_PUT(at, "...") : put_cut(at, member, FERRY__LOG_VALUE_MAX, json);
    if (json)
        *at++ = '"';
    took(l, at);
}

void ferry__log_list_close(struct ferry__log_line *l, struct ferry__log_list *list)
{
    if (!list->open)
        return;
    list->open = false;
    if (list->n == 0) {
        l->len = list->from;
        return;
    }
    l->text[l->len++] = l->format == FERRY_MAIL_LOG_JSON ? ']' : '"';
}

struct ferry_slice ferry__log_end(struct ferry__log_line *l)
{
    size_t len = l->len;

    if (l->format == FERRY_MAIL_LOG_JSON)
        l->text[len++] = '}';
    return ferry_slice(l->text, len);
}
