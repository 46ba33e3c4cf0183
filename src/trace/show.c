/* SPDX-License-Identifier: MIT */
/*
 * Lines about requests. What came from a peer is escaped and cut, so that a line stays one line,
 * and a terminal shows it rather than obeys it.
 */
#include "trace/show.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <time.h>

#include "base/text.h"

#define URI_MAX 300
#define STDERR_MAX 160

static const char red[] = "31", yellow[] = "33", green[] = "32", cyan[] = "36", dim[] = "2";

static void put_text(struct ferry_slice s, size_t max, FILE *out)
{
    char escaped[4 * URI_MAX];
    struct ferry_slice shown = ferry_slice_first(s, max < URI_MAX ? max : URI_MAX);

    fwrite(escaped, 1, (size_t)(ferry__put_escaped(escaped, shown) - escaped), out);
    if (shown.len < s.len)
        fputs("...", out);
}

static void colour(const struct ferry_show_opts *o, const char *code, FILE *out)
{
    if (o->colour)
        fprintf(out, "\33[%sm", code ? code : "0");
}

static void put_clock(const struct ferry_show_opts *o, int64_t us, FILE *out)
{
    time_t s = (time_t)(us / 1000000);
    struct tm tm;
    char text[16] = "";

    if (localtime_r(&s, &tm))
        strftime(text, sizeof text, "%H:%M:%S", &tm);
    colour(o, dim, out);
    fprintf(out, "%s.%03d", text, (int)(us / 1000 % 1000));
    colour(o, NULL, out);
}

static void put_duration(const char *name, uint64_t us, FILE *out)
{
    if (us < 10000000)
        fprintf(out, " %s %.1fms", name, (double)us / 1000);
    else
        fprintf(out, " %s %.1fs", name, (double)us / 1000000);
}

static const char *colour_of(unsigned status)
{
    return status >= 500 || status == 0 ? red
           : status >= 400              ? yellow
           : status >= 300              ? cyan
                                        : green;
}

/* The first line of a text that is not empty. */
static struct ferry_slice first_line(struct ferry_slice s)
{
    size_t end;

    while (s.len && memchr(" \t\r\n", s.p[0], 4))
        s = ferry_slice_from(s, 1);
    end = ferry_slice_find(s, '\n');
    return ferry_slice_first(s, end && s.p[end - 1] == '\r' ? end - 1 : end);
}

static void put_remarks(const struct ferry_show_opts *o, const struct ferry_follow_request *r,
                        FILE *out)
{
    const char *role = ferry_role_name(r->role);
    const char *status = ferry_protocol_status_name(r->protocol_status);

    if (r->role != FERRY_RESPONDER) {
        fputs("  role ", out);
        for (const char *c = role; c && *c; c++)
            putc(*c | 0x20, out);
        if (!role)
            fprintf(out, "%u", r->role);
    }
    colour(o, red, out);
    if (r->protocol_status && status)
        fprintf(out, "  %s", status);
    else if (r->protocol_status)
        fprintf(out, "  protocol status %u", r->protocol_status);
    if (r->aborted)
        fputs("  aborted", out);
    if (!r->ended)
        fputs("  cut", out);
    if (r->fault)
        fprintf(out, "  fault: %s", r->fault);
    if (r->err.len) {
        fprintf(out, "  stderr %llu: ", (unsigned long long)r->err.len);
        put_text(first_line(ferry_slice(r->err.p, r->err.kept)), STDERR_MAX, out);
    }
    colour(o, NULL, out);
}

static void put_line(const struct ferry_show_opts *o, uint64_t conn, int64_t began_us,
                     const struct ferry_follow_request *r, FILE *out)
{
    struct ferry_slice method = ferry_follow_param(r, "REQUEST_METHOD");
    struct ferry_slice uri = ferry_follow_param(r, "REQUEST_URI");

    if (!uri.len)
        uri = ferry_follow_param(r, "SCRIPT_NAME");
    if (!uri.len)
        uri = ferry_follow_param(r, "SCRIPT_FILENAME");
    put_clock(o, began_us, out);
    fprintf(out, " #%llu/%u ", (unsigned long long)conn, r->id);
    colour(o, colour_of(r->status), out);
    if (r->status)
        fprintf(out, "%u", r->status);
    else
        fputs("---", out);
    colour(o, NULL, out);
    putc(' ', out);
    put_text(method.len ? method : FERRY_SLICE("-"), 32, out);
    putc(' ', out);
    put_text(uri.len ? uri : FERRY_SLICE("-"), URI_MAX, out);
    fprintf(out, "  in %llu out %llu ", (unsigned long long)(r->in.len + r->data.len),
            (unsigned long long)r->out.len);
    if (r->first_us)
        put_duration("first", r->first_us - r->began_us, out);
    put_duration("total", r->ended_us - r->began_us, out);
    if (r->ended)
        fprintf(out, "  app %u", (unsigned)r->app_status);
    put_remarks(o, r, out);
    putc('\n', out);
}

/* -- JSON -- */

/* The text, with U+FFFD for each byte that is no part of UTF-8; *exact: there is none. */
static json_t *json_text(struct ferry_slice s, bool *exact)
{
    json_t *text = json_stringn(s.len ? s.p : "", s.len);
    char *utf8, *at;

    *exact = text != NULL;
    if (text)
        return text;
    utf8 = at = malloc(3 * s.len + 1);
    if (!utf8)
        return NULL;
    while (s.len) {
        unsigned char c = (unsigned char)s.p[0];
        size_t n = c < 0x80 ? 1 : ferry__utf8(s);

        at = n ? ferry__put(at, ferry_slice_first(s, n)) : FERRY_PUT(at, "\xef\xbf\xbd");
        s = ferry_slice_from(s, n ? n : 1);
    }
    text = json_stringn(utf8, (size_t)(at - utf8));
    free(utf8);
    return text;
}

/* RFC 4648, section 4 */
static json_t *json_base64(struct ferry_slice s)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = malloc((s.len + 2) / 3 * 4 + 1), *at = text;
    json_t *value;

    if (!text)
        return NULL;
    for (size_t i = 0; i < s.len; i += 3) {
        uint32_t bits = 0;

        for (size_t k = 0; k < 3; k++)
            bits = bits << 8 | (i + k < s.len ? (unsigned char)s.p[i + k] : 0);
        for (size_t k = 0; k < 4; k++)
            *at++ = i + k > s.len ? '=' : digits[bits >> (18 - 6 * k) & 63];
    }
    value = json_stringn(text, (size_t)(at - text));
    free(text);
    return value;
}

static void add(json_t *o, const char *name, json_t *value, int *err)
{
    if (!value || json_object_set_new(o, name, value) < 0)
        *err = -ENOMEM;
}

/* A peer's bytes: as text, and where that is not all of them as base64 too. */
static void add_bytes(json_t *o, const char *name, struct ferry_slice s, int *err)
{
    char member[48];
    bool exact = true;

    add(o, name, json_text(s, &exact), err);
    if (exact)
        return;
    snprintf(member, sizeof member, "%s_base64", name);
    add(o, member, json_base64(s), err);
}

static void add_param(json_t *o, const char *name, const struct ferry_follow_request *r,
                      const char *param, int *err)
{
    struct ferry_slice value = ferry_follow_param(r, param);

    if (value.len)
        add_bytes(o, name, value, err);
    else
        add(o, name, json_null(), err);
}

static void add_time(json_t *o, int64_t us, int *err)
{
    time_t s = (time_t)(us / 1000000);
    char text[64] = "";
    struct tm tm;
    size_t at = gmtime_r(&s, &tm) ? strftime(text, 32, "%Y-%m-%dT%H:%M:%S", &tm) : 0;

    snprintf(text + at, sizeof text - at, ".%06dZ", (int)(us % 1000000));
    add(o, "time", json_string(text), err);
}

static json_t *json_word(const char *name)
{
    char word[32];
    size_t n = 0;

    for (; name && name[n] && n < sizeof word - 1; n++)
        word[n] = name[n] == '_' ? '_' : (char)(name[n] | 0x20);
    return name ? json_stringn(word, n) : json_null();
}

static void add_end(json_t *o, const struct ferry_follow_request *r, int *err)
{
    struct ferry_slice text = ferry_slice(r->err.p, r->err.kept);

    add(o, "ended", json_boolean(r->ended), err);
    add(o, "aborted", json_boolean(r->aborted), err);
    add(o, "app_status", r->ended ? json_integer(r->app_status) : json_null(), err);
    add(o, "protocol_status",
        r->ended ? json_word(ferry_protocol_status_name(r->protocol_status)) : json_null(), err);
    add(o, "stderr_bytes", json_integer((json_int_t)r->err.len), err);
    if (r->err.len)
        add_bytes(o, "stderr", text, err);
    else
        add(o, "stderr", json_null(), err);
    add(o, "fault", r->fault ? json_string(r->fault) : json_null(), err);
}

static int dump(json_t *o, int err, FILE *out)
{
    char *text = err < 0 ? NULL : json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(12));

    if (text) {
        fputs(text, out);
        putc('\n', out);
    }
    free(text);
    json_decref(o);
    return text ? 0 : -ENOMEM;
}

static int put_json(uint64_t conn, int64_t began_us, const struct ferry_follow_request *r,
                    FILE *out)
{
    json_t *o = json_object();
    int err = 0;

    add_time(o, began_us, &err);
    add(o, "connection", json_integer((json_int_t)conn), &err);
    add(o, "id", json_integer(r->id), &err);
    add(o, "role", json_word(ferry_role_name(r->role)), &err);
    add(o, "keep_connection", json_boolean(r->flags & FERRY_KEEP_CONN), &err);
    add_param(o, "method", r, "REQUEST_METHOD", &err);
    add_param(o, "uri", r, "REQUEST_URI", &err);
    add_param(o, "script", r, "SCRIPT_FILENAME", &err);
    add_param(o, "host", r, "HTTP_HOST", &err);
    add_param(o, "client", r, "REMOTE_ADDR", &err);
    add(o, "status", r->status ? json_integer(r->status) : json_null(), &err);
    add(o, "params_bytes", json_integer((json_int_t)r->params.len), &err);
    add(o, "in", json_integer((json_int_t)(r->in.len + r->data.len)), &err);
    add(o, "out", json_integer((json_int_t)r->out.len), &err);
    add(o, "first_ms",
        r->first_us ? json_real((double)(r->first_us - r->began_us) / 1000) : json_null(), &err);
    add(o, "total_ms", json_real((double)(r->ended_us - r->began_us) / 1000), &err);
    add_end(o, r, &err);
    return dump(o, err, out);
}

int ferry_show_request(const struct ferry_show_opts *o, uint64_t conn, int64_t began_us,
                       const struct ferry_follow_request *r, FILE *out)
{
    if (o->json)
        return put_json(conn, began_us, r, out);
    put_line(o, conn, began_us, r, out);
    return 0;
}

int ferry_show_note(const struct ferry_show_opts *o, uint64_t conn, int64_t when_us,
                    const char *text, FILE *out)
{
    json_t *note;
    int err = 0;

    if (o->json) {
        note = json_object();
        add_time(note, when_us, &err);
        if (conn)
            add(note, "connection", json_integer((json_int_t)conn), &err);
        add_bytes(note, "note", ferry_slice_z(text), &err);
        return dump(note, err, out);
    }
    put_clock(o, when_us, out);
    if (conn)
        fprintf(out, " #%llu", (unsigned long long)conn);
    putc(' ', out);
    colour(o, yellow, out);
    put_text(ferry_slice_z(text), URI_MAX, out);
    colour(o, NULL, out);
    putc('\n', out);
    return 0;
}
