/* SPDX-License-Identifier: MIT */
/*
 * The fields in front of a message: where it came from (RFC 5321, 4.4). What a client said about
 * itself is written so that it stays one word, whatever it holds; lines are folded, and none comes
 * near 998 bytes.
 *
 * A Return-Path that is there already is left out. One is skipped by its place; when there are
 * several, the part of the header up to the last of them is written anew, with our fields.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/text.h"
#include "files/date.h"
#include "mail/header.h"
#include "mail/message.h"

#define TEXT_MAX 6000 /* of our own fields: a dozen values of at most 400 bytes, and words */
#define LINE_MAX_WANTED 78

struct maker {
    const struct ferry_mail_facts *facts;
    const struct ferry_mail_message *message;
    const struct ferry_smtp_rcpt *one; /* whom this copy is for, when it is one */
    char *text, *at, *line;
};

static struct ferry_slice head_of(const struct ferry_mail_message *m)
{
    size_t n = m->header.len < m->head_len ? m->header.len : m->head_len;

    return ferry_slice(m->head, n);
}

/* -- words -- */

static void put(struct maker *k, const char *z)
{
    k->at = ferry__put(k->at, ferry_slice_z(z));
}

static void fold(struct maker *k)
{
    put(k, "\r\n\t");
    k->line = k->at - 1;
}

/* An address in its normal form; of controls, which it should not have, nothing stays. */
static void put_address(struct maker *k, const struct ferry_smtp_path *p)
{
    for (size_t i = 0; i < p->len; i++)
        *k->at++ = (unsigned char)p->text[i] < 0x20 || p->text[i] == 0x7f ? '?' : p->text[i];
}

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* A name that was only claimed: bytes that a name cannot have become '?', and so do dots that would
 * make it none (RFC 5322, 3.2.3: dot-atom). */
static void put_name(struct maker *k, const char *name)
{
    size_t len = strnlen(name, FERRY_MAIL_HOST_MAX - 1);

    if (len == 0) {
        put(k, "unknown");
        return;
    }
    for (size_t i = 0; i < len; i++) {
        bool dot = name[i] == '.' && i && i + 1 < len && name[i - 1] != '.';

        *k->at++ = is_alnum(name[i]) || name[i] == '-' || name[i] == '_' || dot ? name[i] : '?';
    }
}

/* "[192.0.2.1]", "[IPv6:...]": nothing else has brackets. */
static bool is_literal(const char *helo)
{
    struct ferry_slice s = ferry_slice_z(helo);

    return s.len && s.p[0] == '[' && ferry_smtp_is_domain(s);
}

static void put_helo(struct maker *k)
{
    const struct ferry_mail_facts *f = k->facts;

    if (f->helo_valid && is_literal(f->helo))
        put(k, f->helo);
    else
        put_name(k, f->helo);
}

/* -- fields -- */

static void put_client(struct maker *k)
{
    const struct ferry_mail_facts *f = k->facts;
    const char *ip = f->client_ip[0] ? f->client_ip : "unknown";

    put(k, "(");
    if (strcmp(ip, "local") == 0) {
        put(k, "local)");
        return;
    }
    put_name(k, f->client_name);
    put(k, strchr(ip, ':') ? " [IPv6:" : " [");
    put(k, ip);
    put(k, "])");
}

static void put_tls(struct maker *k)
{
    const struct ferry_tls_info *t = k->facts->tls;

    if (!t->on)
        return;
    fold(k);
    put(k, "(using ");
    put(k, t->version);
    put(k, " with cipher ");
    put(k, t->cipher);
    put(k, " (");
    k->at = ferry__put_u64(k->at, (uint64_t)t->bits, 1);
    put(k, "/");
    k->at = ferry__put_u64(k->at, (uint64_t)t->bits, 1);
    put(k, " bits))");
}

static const char *hostname(const struct ferry_mail_service *s)
{
    if (s->smtp.hostname && s->smtp.hostname[0])
        return s->smtp.hostname;
    return s->hostname && s->hostname[0] ? s->hostname : "localhost";
}

static void put_date(struct maker *k)
{
    char date[FERRY_DATE_LEN];
    int64_t us = k->facts->time_us;

    ferry_date_format(us / 1000000 - (us % 1000000 < 0), date);
    k->at = ferry__put(k->at, ferry_slice(date, FERRY_DATE_LEN - 3)); /* without "GMT" */
    put(k, "+0000\r\n");
}

static void put_received(struct maker *k)
{
    char *from, *client;

    k->line = k->at;
    put(k, "Received: from ");
    put_helo(k);
    put(k, " ");
    from = k->at;
    put_client(k);
    client = k->at;
    if (client - k->line > LINE_MAX_WANTED) {
        k->at = from - 1;
        fold(k);
        put_client(k);
    }
    put_tls(k);
    fold(k);
    put(k, "by ");
    put_name(k, hostname(k->facts->service));
    put(k, " (ferry) with ");
    put(k, k->facts->protocol);
    put(k, " id ");
    put(k, k->facts->id);
    if (k->one) { /* others who receive it are not told of each other */
        fold(k);
        put(k, "for <");
        put_address(k, k->one->path);
        put(k, ">");
    }
    put(k, ";");
    fold(k);
    put_date(k);
}

static void put_return_path(struct maker *k)
{
    const struct ferry_smtp_envelope *e = k->facts->envelope;

    put(k, "Return-Path: <");
    if (e->from && !e->from->null)
        put_address(k, e->from);
    put(k, ">\r\n");
}

static void put_delivered(struct maker *k)
{
    if (!k->one || k->facts->service->headers != FERRY_MAIL_HEADERS_DELIVERED)
        return;
    put(k, "Delivered-To: ");
    put_address(k, k->one->path);
    put(k, "\r\n");
}

/* -- what is there already -- */

static bool is_return_path(const struct ferry__mail_field *f)
{
    return ferry_slice_eq_nocase(f->name, FERRY_SLICE("return-path"));
}

static size_t first_field(struct ferry_slice head)
{
    if (!ferry__mail_is_from_line(head))
        return 0;
    return ferry_slice_find(head, '\n') + 1;
}

/* How many there are, with the place of the last. */
static unsigned find_return_paths(struct ferry_slice head, uint64_t *at, uint64_t *len)
{
    struct ferry__mail_field f;
    unsigned n = 0;

    for (size_t i = first_field(head); i < head.len && ferry__mail_field_next(head, i, &f);
         i += f.len)
        if (is_return_path(&f)) {
            *at = i;
            *len = f.len;
            n++;
        }
    return n;
}

static void put_others(struct maker *k, struct ferry_slice head)
{
    struct ferry__mail_field f;
    size_t i = first_field(head);

    k->at = ferry__put(k->at, ferry_slice_first(head, i));
    for (; i < head.len && ferry__mail_field_next(head, i, &f); i += f.len)
        if (!is_return_path(&f))
            k->at = ferry__put(k->at, ferry_slice(head.p + i, f.len));
}

/* Would what follows continue our last field, or end the header without an empty line? */
static bool needs_empty_line(struct ferry_slice rest)
{
    struct ferry__mail_field f;

    return rest.len && !ferry__mail_empty_line(rest) && !ferry__mail_is_from_line(rest) &&
           !ferry__mail_field_next(rest, 0, &f);
}

static void leave_out(struct maker *k, struct ferry_mail_trace *out)
{
    struct ferry_slice head = head_of(k->message);
    struct ferry_slice all = ferry_slice(k->message->head, k->message->head_len);
    uint64_t at = 0, len = 0;
    unsigned n = find_return_paths(head, &at, &len);

    if (n > 1) {
        put_others(k, ferry_slice_first(head, at + len));
        len += at;
        at = 0;
    }
    out->skip = at;
    out->skip_len = len;
    if (n <= 1 && needs_empty_line(ferry_slice_from(all, at ? 0 : len)))
        put(k, "\r\n");
}

int ferry_mail_trace_make(const struct ferry_mail_facts *facts,
                          const struct ferry_mail_message *message,
                          const struct ferry_smtp_rcpt *one, struct ferry_mail_trace *out)
{
    const struct ferry_smtp_envelope *e = facts->envelope;
    struct maker k = {.facts = facts,
                      .message = message,
                      .one = one              ? one
                             : e->nrcpts == 1 ? e->rcpts
                                              : NULL};

    *out = (struct ferry_mail_trace){.text = NULL};
    if (facts->service->headers == FERRY_MAIL_HEADERS_NONE)
        return 0;
    k.text = k.at = malloc(TEXT_MAX + head_of(message).len);
    if (!k.text)
        return -ENOMEM;
    put_return_path(&k);
    put_delivered(&k);
    put_received(&k);
    ferry_assert(k.at < k.text + TEXT_MAX);
    leave_out(&k, out);
    out->text = k.text;
    out->len = (size_t)(k.at - k.text);
    return (int)out->len;
}
