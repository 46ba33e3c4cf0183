/* SPDX-License-Identifier: MIT */
/* Two answers side by side. What of them is shown is escaped and short. */
#include "trace/compare.h"

#include "cgi/response.h"
#include "trace/notation.h"

#define HEAD_MAX (64u << 10)
#define SHOWN 40

static const struct ferry_slice volatile_fields[] = {
    FERRY_SLICE_INIT("Date"), FERRY_SLICE_INIT("Set-Cookie"), FERRY_SLICE_INIT("Expires"),
    FERRY_SLICE_INIT("Age"), FERRY_SLICE_INIT("X-Request-Id")};

/* The last header block; the content behind it is given back. */
static struct ferry_slice read_head(const struct ferry_follow_request *r,
                                    struct ferry_cgi_response *head)
{
    struct ferry_slice s = ferry_slice(r->out.p, r->out.kept);

    head->nfields = 0;
    head->status = 0;
    for (;;) {
        const char *why;
        size_t scanned = 0;
        ssize_t n =
            s.len ? ferry_cgi_response_parse(s.p, s.len, HEAD_MAX, &scanned, head, &why) : 0;

        if (n <= 0) {
            head->nfields = 0;
            return s;
        }
        s = ferry_slice_from(s, (size_t)n);
        if (head->status >= 200)
            return s;
    }
}

static bool is_volatile(struct ferry_slice name)
{
    for (size_t i = 0; i < sizeof volatile_fields / sizeof *volatile_fields; i++)
        if (ferry_slice_eq_nocase(name, volatile_fields[i]))
            return true;
    return false;
}

/* The field that is to the other head what field i is to this one: the same name, as many of it
 * before. */
static const struct ferry_param *counterpart(const struct ferry_cgi_response *of, unsigned i,
                                             const struct ferry_cgi_response *in)
{
    unsigned before = 0;

    for (unsigned j = 0; j < i; j++)
        before += ferry_slice_eq_nocase(of->fields[j].name, of->fields[i].name);
    for (unsigned j = 0; j < in->nfields; j++)
        if (ferry_slice_eq_nocase(in->fields[j].name, of->fields[i].name) && before-- == 0)
            return &in->fields[j];
    return NULL;
}

static void put_name(struct ferry_slice name, FILE *out)
{
    fprintf(out, "header %.*s: ", (int)(name.len < SHOWN ? name.len : SHOWN), name.p);
}

static unsigned compare_fields(const struct ferry_cgi_response *a,
                               const struct ferry_cgi_response *b, FILE *out)
{
    unsigned n = 0;

    for (unsigned i = 0; i < a->nfields; i++) {
        const struct ferry_param *is = counterpart(a, i, b), *was = &a->fields[i];

        if (is_volatile(was->name) || (is && ferry_slice_eq(is->value, was->value)))
            continue;
        n++;
        put_name(was->name, out);
        ferry_notation_text(was->value, SHOWN, 0, out);
        fputs(" was recorded, now it is ", out);
        if (is)
            ferry_notation_text(is->value, SHOWN, 0, out);
        else
            fputs("not there", out);
        putc('\n', out);
    }
    for (unsigned i = 0; i < b->nfields; i++) {
        if (is_volatile(b->fields[i].name) || counterpart(b, i, a))
            continue;
        n++;
        put_name(b->fields[i].name, out);
        fputs("was not there, now it is ", out);
        ferry_notation_text(b->fields[i].value, SHOWN, 0, out);
        putc('\n', out);
    }
    return n;
}

static unsigned compare_bodies(const struct ferry_follow_request *a, struct ferry_slice was,
                               const struct ferry_follow_request *b, struct ferry_slice is,
                               FILE *out)
{
    size_t n = was.len < is.len ? was.len : is.len, at = 0;
    uint64_t was_len = was.len + (a->out.len - a->out.kept);
    uint64_t is_len = is.len + (b->out.len - b->out.kept);

    while (at < n && was.p[at] == is.p[at])
        at++;
    if (at == n && was_len == is_len)
        return 0;
    fprintf(out, "content: %llu bytes were recorded, now there are %llu; from byte %zu on ",
            (unsigned long long)was_len, (unsigned long long)is_len, at);
    ferry_notation_text(ferry_slice_first(ferry_slice_from(was, at), SHOWN), SHOWN, 0, out);
    fputs(" became ", out);
    ferry_notation_text(ferry_slice_first(ferry_slice_from(is, at), SHOWN), SHOWN, 0, out);
    putc('\n', out);
    return 1;
}

unsigned ferry_compare(const struct ferry_follow_request *recorded,
                       const struct ferry_follow_request *now, FILE *out)
{
    struct ferry_cgi_response a, b;
    struct ferry_slice was, is;
    unsigned n = 0;

    if (!recorded->ended) {
        fputs("not compared: the recorded answer was not whole\n", out);
        return 0;
    }
    was = read_head(recorded, &a);
    is = read_head(now, &b);
    if (a.status != b.status) {
        n++;
        fprintf(out, "status: %d was recorded, now it is %d\n", a.status, b.status);
    }
    n += compare_fields(&a, &b, out);
    n += compare_bodies(recorded, was, now, is, out);
    if (recorded->app_status != now->app_status ||
        recorded->protocol_status != now->protocol_status) {
        n++;
        fprintf(out, "end: app status %u and protocol status %u were recorded, now %u and %u\n",
                (unsigned)recorded->app_status, recorded->protocol_status,
                (unsigned)now->app_status, now->protocol_status);
    }
    return n;
}
