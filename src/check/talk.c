/* SPDX-License-Identifier: MIT */
/*
 * The transcript of a conversation. Lines are made when things happen, escaped and cut, so that
 * nothing a peer sends can harm the terminal or fill the memory.
 */
#include "check/talk.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ferry/params.h"
#include "ferry/record.h"

#define LINE_MAX 73  /* columns, behind an indent of seven */
#define SHOWN_MIN 12 /* characters of content, whatever that gives */

/* A line being made. */
struct text {
    char p[FERRY_TALK_LINE_MAX];
    size_t len;
    size_t behind; /* columns that are still needed behind the content */
};

static void add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void vadd(struct text *t, const char *fmt, va_list ap)
{
    int n = vsnprintf(t->p + t->len, sizeof t->p - t->len, fmt, ap);

    if (n > 0)
        t->len += (size_t)n;
    if (t->len >= sizeof t->p)
        t->len = sizeof t->p - 1;
}

static void add(struct text *t, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vadd(t, fmt, ap);
    va_end(ap);
}

/* As in C, cut after `max` characters: was all of it shown? */
static bool add_escaped(struct text *t, const unsigned char *p, size_t n, size_t max)
{
    size_t start = t->len;

    for (size_t i = 0; i < n; i++) {
        if (t->len - start + 4 > max)
            return false;
        if (p[i] == '\n')
            add(t, "\\n");
        else if (p[i] == '\r')
            add(t, "\\r");
        else if (p[i] == '"' || p[i] == '\\')
            add(t, "\\%c", p[i]);
        else if (p[i] < 0x20 || p[i] >= 0x7f)
            add(t, "\\x%02x", p[i]);
        else
            add(t, "%c", p[i]);
    }
    return true;
}

const char *ferry_talk_type(unsigned type, char *buf)
{
    const char *name = ferry_record_type_name(type);

    if (name)
        return name;
    snprintf(buf, 16, "type %u", type);
    return buf;
}

/* How much content there is room for, and for the words behind it. */
static size_t room(const struct text *t)
{
    size_t behind = sizeof "\"...\" 65535 bytes}" + t->behind;

    return t->len + behind + SHOWN_MIN < LINE_MAX ? LINE_MAX - behind - t->len : SHOWN_MIN;
}

static void add_quoted(struct text *t, const unsigned char *p, size_t n)
{
    size_t max = room(t);

    add(t, "\"");
    if (add_escaped(t, p, n, max))
        add(t, "\"");
    else
        add(t, "...\" %zu bytes", n);
}

/* "A = b, C = d" when the content is pairs from end to end. */
static bool add_pairs(struct text *t, const unsigned char *p, size_t n)
{
    struct text pairs = {.len = 0};
    struct ferry_param pair;
    size_t at = 0, max = room(t);
    bool cut = false;

    while (at < n) {
        ssize_t took = ferry_param_decode(p + at, n - at, n, &pair);

        if (took <= 0)
            return false;
        if (!cut) {
            size_t left = max > pairs.len ? max - pairs.len : 0;

            if (at)
                add(&pairs, ", ");
            cut = !add_escaped(&pairs, (const unsigned char *)pair.name.p, pair.name.len, left);
            if (!cut && pair.value.len) {
                left = max > pairs.len ? max - pairs.len : 0;
                add(&pairs, " = ");
                cut =
                    !add_escaped(&pairs, (const unsigned char *)pair.value.p, pair.value.len, left);
            }
        }
        at += (size_t)took;
    }
    add(t, "\"%s", pairs.p);
    if (cut)
        add(t, "...\" %zu bytes", n);
    else
        add(t, "\"");
    return true;
}

static void add_begin(struct text *t, const unsigned char *p)
{
    struct ferry_begin_body b;

    ferry_begin_body_decode(p, &b);
    if (ferry_role_name(b.role))
        add(t, "{%s, ", ferry_role_name(b.role));
    else
        add(t, "{role %u, ", b.role);
    if (b.flags == FERRY_KEEP_CONN)
        add(t, "KEEP_CONN}");
    else if (b.flags)
        add(t, "flags 0x%02x}", b.flags);
    else
        add(t, "0}");
}

static void add_end(struct text *t, const unsigned char *p)
{
    struct ferry_end_body b;

    ferry_end_body_decode(p, &b);
    if (ferry_protocol_status_name(b.protocol_status))
        add(t, "{%u, %s}", b.app_status, ferry_protocol_status_name(b.protocol_status));
    else
        add(t, "{%u, %u}", b.app_status, b.protocol_status);
}

static void add_content(struct text *t, const struct ferry_wire_record *r)
{
    bool whole = r->content_len == FERRY_RECORD_BODY_LEN && r->content;

    if (!r->content && r->content_len)
        add(t, "%u bytes announced", r->content_len);
    else if (r->type == FERRY_BEGIN_REQUEST && whole)
        add_begin(t, r->content);
    else if (r->type == FERRY_END_REQUEST && whole)
        add_end(t, r->content);
    else if (r->type == FERRY_UNKNOWN_TYPE && whole)
        add(t, "{%u}", r->content[0]);
    else if ((r->type != FERRY_PARAMS && r->type != FERRY_GET_VALUES &&
              r->type != FERRY_GET_VALUES_RESULT) ||
             !r->content_len || !add_pairs(t, r->content, r->content_len))
        add_quoted(t, r->content, r->content_len);
}

static void begin(struct text *t, const char *who, unsigned wire)
{
    char speaker[32];

    *t = (struct text){.len = 0};
    if (!who)
        return;
    if (wire)
        snprintf(speaker, sizeof speaker, "%s %u:", who, wire);
    else
        snprintf(speaker, sizeof speaker, "%s:", who);
    add(t, "%-*s ", wire ? 14 : 12, speaker);
}

static struct ferry_talk_line *line_at(struct ferry_talk *talk, size_t i)
{
    return i < FERRY_TALK_FIRST ? &talk->first[i]
                                : &talk->last[(i - FERRY_TALK_FIRST) % FERRY_TALK_LAST];
}

static void keep(struct ferry_talk *talk, const struct text *t, uint64_t shape)
{
    struct ferry_talk_line *line;

    if (talk->n && shape) {
        line = line_at(talk, talk->n - 1);
        if (line->shape == shape) {
            line->repeated++;
            return;
        }
    }
    line = line_at(talk, talk->n);
    free(line->text);
    *line = (struct ferry_talk_line){.text = strdup(t->p), .shape = shape};
    talk->n++;
}

void ferry_talk_record(struct ferry_talk *talk, const char *who, unsigned wire,
                       const struct ferry_wire_record *r)
{
    char name[16];
    struct text t, odd = {.len = 0};
    uint64_t shape = (uint64_t)(who[0] & 0xff) << 56 | (uint64_t)(wire & 0xff) << 48 |
                     (uint64_t)r->type << 40 | (uint64_t)r->id << 24 |
                     (uint64_t)r->content_len << 8 | r->padding_len;

    if (r->version != FERRY_RECORD_VERSION)
        add(&odd, " version %u", r->version);
    if (r->padding_len != ferry_record_padding(r->content_len))
        add(&odd, " padding %u", r->padding_len);
    if (r->reserved)
        add(&odd, " reserved 0x%02x", r->reserved);
    begin(&t, who, wire);
    t.behind = odd.len;
    add(&t, "{%s, %u, ", ferry_talk_type(r->type, name), r->id);
    add_content(&t, r);
    add(&t, "}%s", odd.p);
    keep(talk, &t, shape);
}

void ferry_talk_bytes(struct ferry_talk *talk, const char *who, unsigned wire, const void *p,
                      size_t n)
{
    struct text t;

    begin(&t, who, wire);
    add_quoted(&t, p, n);
    keep(talk, &t, 0);
}

void ferry_talk_note(struct ferry_talk *talk, const char *who, unsigned wire, const char *fmt, ...)
{
    struct text t;
    va_list ap;

    begin(&t, who, wire);
    va_start(ap, fmt);
    vadd(&t, fmt, ap);
    va_end(ap);
    keep(talk, &t, 0);
}

const char *ferry_talk_line(const struct ferry_talk *talk, size_t i, char *buf, size_t cap)
{
    size_t shown = FERRY_TALK_FIRST + FERRY_TALK_LAST;
    const struct ferry_talk_line *line;

    if (talk->n > shown) {
        if (i == FERRY_TALK_FIRST) {
            snprintf(buf, cap, "(%zu lines)", talk->n - shown);
            return buf;
        }
        if (i > FERRY_TALK_FIRST)
            i += talk->n - shown - 1;
    }
    if (i >= talk->n)
        return NULL;
    line = line_at((struct ferry_talk *)talk, i);
    if (line->repeated)
        snprintf(buf, cap, "%s and %u more", line->text ? line->text : "?", line->repeated);
    else
        snprintf(buf, cap, "%s", line->text ? line->text : "?");
    return buf;
}

void ferry_talk_fini(struct ferry_talk *talk)
{
    for (size_t i = 0; i < FERRY_TALK_FIRST; i++)
        free(talk->first[i].text);
    for (size_t i = 0; i < FERRY_TALK_LAST; i++)
        free(talk->last[i].text);
    memset(talk, 0, sizeof *talk);
}
