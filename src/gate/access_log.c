/* SPDX-License-Identifier: MIT */
/*
 * The access log. Each thread formats its lines into a buffer of its own and writes many with one
 * write to a descriptor opened with O_APPEND, so threads need no lock and whole lines stay whole.
 * What a partial write leaves stays in front of the buffer: only new lines are ever dropped.
 */
#include "gate/access_log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"

/* What each field may take in a line, escaped. */
#define CLIENT_MAX 64
#define USER_MAX 128
#define METHOD_MAX 32
#define TARGET_MAX 2048
#define REFERER_MAX 1024
#define AGENT_MAX 512
#define REST_MAX 256 /* numbers, the time, the word, and all between the fields */
static_assert(CLIENT_MAX + USER_MAX + METHOD_MAX + TARGET_MAX + REFERER_MAX + AGENT_MAX +
                      REST_MAX <=
                  FERRY_ACCESS_LINE_MAX,
              "a line always fits");

/* JSON has the host too, and names its members. */
#define HOST_MAX 256
#define JSON_REFERER_MAX 768
#define JSON_AGENT_MAX 384
#define JSON_REST_MAX 384
static_assert(CLIENT_MAX + USER_MAX + METHOD_MAX + TARGET_MAX + HOST_MAX + JSON_REFERER_MAX +
                      JSON_AGENT_MAX + JSON_REST_MAX <=
                  FERRY_ACCESS_LINE_MAX,
              "an object always fits");

static const struct ferry_slice end_words[] = {
#define X(name, word) FERRY_SLICE_INIT(word),
    FERRY_ACCESS_END_MAP(X)
#undef X
};

const char *ferry_access_end_word(enum ferry_access_end end)
{
    return end_words[end].p;
}

static int open_file(const char *path)
{
    /* O_NONBLOCK matters for pipes only: neither their opening nor their reader may stop us. */
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0640);
    return fd < 0 ? -errno : fd;
}

int ferry_access_log_open(struct ferry_access_log *log, const char *where)
{
    *log = (struct ferry_access_log){.fd = -1};
    if (strcmp(where, "off") == 0)
        return 0;
    if (strcmp(where, "-") == 0) {
        log->fd = STDERR_FILENO;
    } else {
        log->path = strdup(where);
        if (!log->path)
            return -ENOMEM;
        log->fd = open_file(where);
        if (log->fd < 0) {
            int err = log->fd;
            free(log->path);
            *log = (struct ferry_access_log){.fd = -1};
            return err;
        }
    }
    log->terminal = isatty(log->fd);
    return 0;
}

void ferry_access_log_close(struct ferry_access_log *log)
{
    if (log->path)
        close(log->fd);
    free(log->path);
    *log = (struct ferry_access_log){.fd = -1};
}

int ferry_access_log_reopen(struct ferry_access_log *log)
{
    int fd, err = 0;

    if (!log->path)
        return 0;
    fd = open_file(log->path);
    if (fd < 0)
        return fd;
    if (dup3(fd, log->fd, O_CLOEXEC) < 0)
        err = -errno;
    close(fd);
    return err;
}

void ferry_access_buf_init(struct ferry_access_buf *b, struct ferry_access_log *log)
{
    b->log = log;
    b->len = 0;
    b->due_ms = 0;
    b->dropped = 0;
    b->written = false;
    b->err = 0;
    b->stamp_s = INT64_MIN;
    b->stamp_len = 0;
}

int ferry_access_buf_flush(struct ferry_access_buf *b, uint64_t now_ms)
{
    size_t from = 0;
    int err = 0;

    while (from < b->len && !err) {
        ssize_t n = write(b->log->fd, b->data + from, b->len - from);

        if (n > 0)
            from += (size_t)n;
        else if (n == 0 || errno != EINTR)
            err = n == 0 ? -EIO : -errno;
    }
    b->len -= from;
    memmove(b->data, b->data + from, b->len);
    b->due_ms = now_ms + FERRY_ACCESS_BUF_KEEP_MS;
    b->err = err;
    b->written = err == 0;
    return err;
}

enum ferry_access_news ferry_access_buf_news(struct ferry_access_buf *b, uint64_t now_ms,
                                             uint64_t *lost)
{
    struct ferry_access_log *log = b->log;
    uint64_t since = atomic_load_explicit(&log->losing_ms, memory_order_relaxed);
    bool written = b->written;

    b->written = false;
    if (b->dropped) {
        atomic_fetch_add(&log->lost, b->dropped);
        b->dropped = 0;
        since = 0;
        return atomic_compare_exchange_strong(&log->losing_ms, &since, now_ms ? now_ms : 1)
                   ? FERRY_ACCESS_LOSING
                   : FERRY_ACCESS_NO_NEWS;
    }
    if (since == 0 || !written || now_ms < since + FERRY_ACCESS_LOSING_MS ||
        !atomic_compare_exchange_strong(&log->losing_ms, &since, 0))
        return FERRY_ACCESS_NO_NEWS;
    *lost = atomic_exchange(&log->lost, 0);
    return FERRY_ACCESS_RESUMED;
}

uint64_t ferry_access_buf_end(struct ferry_access_buf *b, uint64_t now_ms)
{
    if (b->len)
        (void)ferry_access_buf_flush(b, now_ms);
    for (size_t i = 0; i < b->len; i++)
        b->dropped += b->data[i] == '\n';
    atomic_fetch_add(&b->log->lost, b->dropped);
    b->len = b->dropped = 0;
    return atomic_exchange(&b->log->lost, 0);
}

static bool is_plain(char c)
{
    return c >= ' ' && c < 0x7f && c != '"' && c != '\\';
}

/* The slow way, for what has bytes to escape or is too long. */
static char *put_escaped(char *to, struct ferry_slice s, size_t max)
{
    size_t room = 0, i;
    char *last;

    for (i = 0; i < s.len && room <= max; i++)
        room += is_plain(s.p[i]) ? 1 : 4;
    last = room > max ? to + max - 3 : to + max;
    for (i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if (to + (is_plain(s.p[i]) ? 1 : 4) > last)
            return FERRY_PUT(to, "...");
        if (is_plain(s.p[i])) {
            *to++ = s.p[i];
            continue;
        }
        *to++ = '\\';
        *to++ = 'x';
        *to++ = "0123456789ABCDEF"[c >> 4];
        *to++ = "0123456789ABCDEF"[c & 15];
    }
    return to;
}

static char *put_field(char *to, struct ferry_slice s, size_t max)
{
    bool plain = s.len <= max;

    if (s.len == 0)
        return FERRY_PUT(to, "-");
    for (size_t i = 0; i < s.len && plain; i++)
        plain = is_plain(s.p[i]);
    return plain ? ferry__put(to, s) : put_escaped(to, s, max);
}

/* Outside of quotes a blank would begin the next field. */
static char *put_word(char *to, struct ferry_slice s, size_t max)
{
    char *end = put_field(to, s, max);

    for (; to < end; to++)
        if (*to == ' ')
            *to = '_';
    return end;
}

static char *put_seconds(char *to, uint64_t us)
{
    to = ferry__put_u64(to, us / 1000000, 1);
    *to++ = '.';
    return ferry__put_u64(to, us % 1000000, 6);
}

/* " [21/Nov/2026:00:00:00 +0000] \"", in local time. */
static void stamp(struct ferry_access_buf *b, int64_t time_s)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t t = (time_t)time_s;
    struct tm tm;
    char *at = b->stamp;
    long minutes;

    if (!localtime_r(&t, &tm) || tm.tm_year < -1900 || tm.tm_year > 8099)
        memset(&tm, 0, sizeof tm);
    minutes = tm.tm_gmtoff / 60;
    at = FERRY_PUT(at, " [");
    at = ferry__put_u64(at, (unsigned)tm.tm_mday, 2);
    *at++ = '/';
    at = ferry__put(at, ferry_slice(months + tm.tm_mon * 3, 3));
    *at++ = '/';
    at = ferry__put_u64(at, (unsigned)(tm.tm_year + 1900), 4);
    *at++ = ':';
    at = ferry__put_u64(at, (unsigned)tm.tm_hour, 2);
    *at++ = ':';
    at = ferry__put_u64(at, (unsigned)tm.tm_min, 2);
    *at++ = ':';
    at = ferry__put_u64(at, (unsigned)tm.tm_sec, 2);
    *at++ = ' ';
    *at++ = minutes < 0 ? '-' : '+';
    minutes = labs(minutes);
    at = ferry__put_u64(at, (uint64_t)(minutes / 60 % 100), 2);
    at = ferry__put_u64(at, (uint64_t)(minutes % 60), 2);
    at = FERRY_PUT(at, "] \"");
    b->stamp_s = time_s;
    b->stamp_len = (size_t)(at - b->stamp);
}

static char *put_line(struct ferry_access_buf *b, char *at, const struct ferry_access *a)
{
    at = put_word(at, a->client, CLIENT_MAX);
    at = FERRY_PUT(at, " - ");
    at = put_word(at, a->user, USER_MAX);
    at = ferry__put(at, ferry_slice(b->stamp, b->stamp_len));
    at = put_field(at, a->method, METHOD_MAX);
    if (a->method.len) {
        *at++ = ' ';
        at = put_field(at, a->target, TARGET_MAX);
        at = FERRY_PUT(at, " HTTP/1.");
        at = ferry__put_u64(at, a->minor, 1);
    }
    at = FERRY_PUT(at, "\" ");
    at = ferry__put_u64(at, a->status > 0 ? (unsigned)a->status : 0, 3);
    *at++ = ' ';
    at = ferry__put_u64(at, a->bytes, 1);
    at = FERRY_PUT(at, " \"");
    at = put_field(at, a->referer, REFERER_MAX);
    at = FERRY_PUT(at, "\" \"");
    at = put_field(at, a->agent, AGENT_MAX);
    at = FERRY_PUT(at, "\" ");
    at = put_seconds(at, a->request_us);
    *at++ = ' ';
    at = a->app_us == FERRY_ACCESS_NO_APP ? FERRY_PUT(at, "-") : put_seconds(at, a->app_us);
    *at++ = ' ';
    at = ferry__put(at, end_words[a->end]);
    *at++ = '\n';
    return at;
}

/* -- as JSON ----------------------------------------------------------------------------------- */

/* How many bytes the UTF-8 character at p takes (RFC 3629); 0: it is none. */
static unsigned utf8_len(const unsigned char *p, size_t n)
{
    unsigned len = p[0] < 0x80   ? 1
                   : p[0] < 0xc2 ? 0
                   : p[0] < 0xe0 ? 2
                   : p[0] < 0xf0 ? 3
                   : p[0] < 0xf5 ? 4
                                 : 0;

    if (len > n)
        return 0;
    for (unsigned i = 1; i < len; i++)
        if (p[i] >> 6 != 2)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return len;
}

/* One character and where the next begins. */
static char *put_char(char *to, struct ferry_slice *s)
{
    const unsigned char *p = (const unsigned char *)s->p;
    unsigned len = utf8_len(p, s->len);

    if (len == 0) {
        to = FERRY_PUT(to, "\xef\xbf\xbd");
        len = 1;
    } else if (*p == '"' || *p == '\\') {
        *to++ = '\\';
        *to++ = (char)*p;
    } else if (*p < 0x20 || *p == 0x7f) {
        to = FERRY_PUT(to, "\\u00");
        *to++ = "0123456789abcdef"[*p >> 4];
        *to++ = "0123456789abcdef"[*p & 15];
    } else {
        to = ferry__put(to, ferry_slice_first(*s, len));
    }
    *s = ferry_slice_from(*s, len);
    return to;
}

/* ,"name":"value" or ,"name":null; the value takes at most max bytes. */
static char *put_member(char *to, struct ferry_slice name, struct ferry_slice value, size_t max)
{
    char *last;

    to = FERRY_PUT(to, ",\"");
    to = ferry__put(to, name);
    to = FERRY_PUT(to, "\":");
    if (!value.len)
        return FERRY_PUT(to, "null");
    *to++ = '"';
    last = to + max - sizeof "\\u0000...\"";
    while (value.len && to <= last)
        to = put_char(to, &value);
    if (value.len)
        to = FERRY_PUT(to, "...");
    *to++ = '"';
    return to;
}

static char *put_time(char *at, int64_t time_s)
{
    time_t t = (time_t)time_s;
    struct tm tm;

    if (!gmtime_r(&t, &tm) || tm.tm_year < -1900 || tm.tm_year > 8099)
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
    *at++ = 'Z';
    return at;
}

static char *put_json(char *at, const struct ferry_access *a)
{
    struct ferry_slice protocol = a->minor ? FERRY_SLICE("HTTP/1.1") : FERRY_SLICE("HTTP/1.0");

    at = FERRY_PUT(at, "{\"time\":\"");
    at = put_time(at, a->time_s);
    *at++ = '"';
    at = put_member(at, FERRY_SLICE("client"), a->client, CLIENT_MAX);
    at = put_member(at, FERRY_SLICE("user"), a->user, USER_MAX);
    at = put_member(at, FERRY_SLICE("method"), a->method, METHOD_MAX);
    at = put_member(at, FERRY_SLICE("target"), a->target, TARGET_MAX);
    at = put_member(at, FERRY_SLICE("protocol"), a->method.len ? protocol : FERRY_SLICE(""), 32);
    at = put_member(at, FERRY_SLICE("host"), a->host, HOST_MAX);
    at = FERRY_PUT(at, ",\"status\":");
    at = ferry__put_u64(at, a->status > 0 ? (unsigned)a->status : 0, 1);
    at = FERRY_PUT(at, ",\"bytes\":");
    at = ferry__put_u64(at, a->bytes, 1);
    at = put_member(at, FERRY_SLICE("referer"), a->referer, JSON_REFERER_MAX);
    at = put_member(at, FERRY_SLICE("agent"), a->agent, JSON_AGENT_MAX);
    at = FERRY_PUT(at, ",\"seconds\":");
    at = put_seconds(at, a->request_us);
    at = FERRY_PUT(at, ",\"app_seconds\":");
    at = a->app_us == FERRY_ACCESS_NO_APP ? FERRY_PUT(at, "null") : put_seconds(at, a->app_us);
    at = put_member(at, FERRY_SLICE("end"),
                    a->end == FERRY_ACCESS_OK ? FERRY_SLICE("") : end_words[a->end], 32);
    return FERRY_PUT(at, "}\n");
}

void ferry_access_buf_add(struct ferry_access_buf *b, const struct ferry_access *a, uint64_t now_ms)
{
    if (b->log->fd < 0)
        return;
    if (sizeof b->data - b->len < FERRY_ACCESS_LINE_MAX)
        (void)ferry_access_buf_flush(b, now_ms);
    if (sizeof b->data - b->len < FERRY_ACCESS_LINE_MAX) {
        b->dropped++;
        return;
    }
    if (b->stamp_s != a->time_s)
        stamp(b, a->time_s);
    if (b->len == 0)
        b->due_ms = b->log->terminal ? now_ms : now_ms + FERRY_ACCESS_BUF_KEEP_MS;
    if (a->format == FERRY_ACCESS_JSON)
        b->len = (size_t)(put_json(b->data + b->len, a) - b->data);
    else
        b->len = (size_t)(put_line(b, b->data + b->len, a) - b->data);
}
