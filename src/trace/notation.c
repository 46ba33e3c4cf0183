/* SPDX-License-Identifier: MIT */
/*
 * Records as text. A direction's bytes are walked as they come: of each record the first bytes are
 * kept and the rest is counted, and its line is written when its content is over, so the lines do
 * not depend on how the bytes were cut. Pairs are walked the same way, one state for each request
 * whose pair is not whole at the end of a record; there are few of them at any time, and no more
 * than HALVES_MAX are followed.
 *
 * Nothing here trusts a length for memory: what is kept is bounded by text_max.
 */
#include "trace/notation.h"

#include <errno.h>
#include <stdlib.h>

#include "base/text.h"

#define TEXT_DEFAULT 200
#define HALVES_MAX 16
#define JUNK_MAX 64 /* of bytes that are no FastCGI so many are shown, or one line */

enum state { HEAD, CONTENT, PADDING, JUNK, JUNK_SHOWN };

/* A pair on its way: its two lengths first, then name and value. */
struct half {
    char *text;     /* 2 * text_max: what is shown of the name, and of the value */
    uint64_t got;   /* bytes of name and value so far */
    uint64_t total; /* of both */
    uint32_t name_len;
    uint16_t id;
    uint8_t lens[8], nlens;
    bool used;
};

struct ferry_notation {
    struct ferry_notation_opts opts;
    struct half halves[HALVES_MAX],
        *half; /* half: of the record at hand, when it is made of pairs */
    struct ferry_record r;
    enum state state;
    int err;
    size_t left, kept, hold_max; /* of the content, of the padding; in `hold` */
    unsigned char head[FERRY_RECORD_HEADER_LEN];
    char *hold, *speaker;
};

struct ferry_notation *ferry_notation_new(const struct ferry_notation_opts *opts)
{
    struct ferry_notation *n = calloc(1, sizeof *n);
    size_t len = strlen(opts->speaker) + 1;

    if (!n)
        return NULL;
    n->opts = *opts;
    if (n->opts.text_max == 0)
        n->opts.text_max = TEXT_DEFAULT;
    if (n->opts.text_max > FERRY_RECORD_CONTENT_MAX)
        n->opts.text_max = FERRY_RECORD_CONTENT_MAX;
    n->hold_max = n->opts.text_max > JUNK_MAX ? n->opts.text_max : JUNK_MAX;
    n->speaker = malloc(len);
    n->hold = malloc(n->hold_max);
    if (!n->speaker || !n->hold) {
        ferry_notation_free(n);
        return NULL;
    }
    memcpy(n->speaker, opts->speaker, len);
    n->opts.speaker = n->speaker;
    return n;
}

void ferry_notation_free(struct ferry_notation *n)
{
    if (!n)
        return;
    for (size_t i = 0; i < HALVES_MAX; i++)
        free(n->halves[i].text);
    free(n->speaker);
    free(n->hold);
    free(n);
}

/* -- text -- */

static void put_byte(unsigned char c, FILE *out)
{
    static const char named[] = "\"\"\\\\\nn\rr\tt";

    for (const char *at = named; *at; at += 2) {
        if (c == (unsigned char)*at) {
            putc('\\', out);
            putc(at[1], out);
            return;
        }
    }
    if (c >= 0x20 && c < 0x7f)
        putc(c, out);
    else
        fprintf(out, "\\x%02X", c);
}

static void put_escaped(struct ferry_slice s, FILE *out)
{
    while (s.len) {
        size_t len = ferry__utf8(s);

        if (len > 1) {
            fwrite(s.p, 1, len, out);
        } else {
            put_byte((unsigned char)s.p[0], out);
            len = 1;
        }
        s = ferry_slice_from(s, len);
    }
}

static void put_more(uint64_t more, FILE *out)
{
    if (more)
        fprintf(out, "... %llu more byte%s", (unsigned long long)more, more == 1 ? "" : "s");
}

/* How much of s lies in front of a character that its end cuts in two. */
static size_t whole_characters(struct ferry_slice s)
{
    size_t back = 0;

    while (back < s.len && back < 3 && ((unsigned char)s.p[s.len - 1 - back] & 0xc0) == 0x80)
        back++;
    if (back == s.len || (unsigned char)s.p[s.len - 1 - back] < 0xc2)
        return s.len;
    back++;
    return ferry__utf8(ferry_slice(s.p + s.len - back, back)) ? s.len : s.len - back;
}

void ferry_notation_text(struct ferry_slice text, size_t max, size_t more, FILE *out)
{
    struct ferry_slice shown = ferry_slice_first(text, max);

    if (shown.len < text.len || more)
        shown.len = whole_characters(shown);
    putc('"', out);
    put_escaped(shown, out);
    putc('"', out);
    put_more((uint64_t)text.len - shown.len + more, out);
}

/* A record may begin and end in the middle of a character. */
static bool is_text(struct ferry_slice s)
{
    size_t skip = 0;

    s.len = whole_characters(s);
    while (skip < 3 && skip < s.len && ((unsigned char)s.p[skip] & 0xc0) == 0x80)
        skip++;
    for (s = ferry_slice_from(s, skip); s.len;) {
        size_t len = ferry__utf8(s);

        if (len == 0 && !memchr("\t\r\n\f\b\x1b", s.p[0], 6))
            return false;
        s = ferry_slice_from(s, len ? len : 1);
    }
    return true;
}

static void put_content(const struct ferry_notation *n, size_t len, FILE *out)
{
    struct ferry_slice s = ferry_slice(n->hold, n->kept);

    if (!n->opts.binary || is_text(s)) {
        ferry_notation_text(ferry_slice_first(s, n->opts.text_max), n->opts.text_max,
                            len - (n->kept < n->opts.text_max ? n->kept : n->opts.text_max), out);
        return;
    }
    s = ferry_slice_first(s, n->opts.text_max);
    for (size_t i = 0; i < s.len; i++)
        fprintf(out, i ? " %02x" : "%02x", (unsigned char)s.p[i]);
    put_more(len - s.len, out);
}

/* -- records -- */

static void open_line(const struct ferry_notation *n, FILE *out)
{
    const char *name = ferry_record_type_name(n->r.type);

    if (name)
        fprintf(out, "%s: {FCGI_%s, ", n->opts.speaker, name);
    else
        fprintf(out, "%s: {type %u, ", n->opts.speaker, n->r.type);
    if (n->opts.ids)
        fprintf(out, "%u, ", n->r.id);
}

static void put_begin(const char *body, FILE *out)
{
    struct ferry_begin_body b;
    const char *name;

    ferry_begin_body_decode(body, &b);
    name = ferry_role_name(b.role);
    putc('"', out);
    for (const char *c = name; c && *c; c++)
        putc(*c | 0x20, out);
    if (!name)
        fprintf(out, "role %u", b.role);
    if (b.flags & FERRY_KEEP_CONN)
        fputs(", keep the connection", out);
    if (b.flags & ~FERRY_KEEP_CONN)
        fprintf(out, ", flags 0x%02X", b.flags);
    putc('"', out);
}

static void put_end(const char *body, FILE *out)
{
    struct ferry_end_body b;
    const char *name;

    ferry_end_body_decode(body, &b);
    name = ferry_protocol_status_name(b.protocol_status);
    fprintf(out, "\"app status %u, ", (unsigned)b.app_status);
    if (name)
        fprintf(out, "%s\"", name);
    else
        fprintf(out, "protocol status %u\"", b.protocol_status);
}

/* The line of a record that is not made of pairs, or of an end of a stream. */
static void put_record(const struct ferry_notation *n, FILE *out)
{
    size_t len = n->r.content_len;
    bool body = len >= FERRY_RECORD_BODY_LEN;

    open_line(n, out);
    if (body && n->r.type == FERRY_BEGIN_REQUEST)
        put_begin(n->hold, out);
    else if (body && n->r.type == FERRY_END_REQUEST)
        put_end(n->hold, out);
    else if (body && n->r.type == FERRY_UNKNOWN_TYPE)
        fprintf(out, "\"type %u\"", ferry_unknown_type_body_decode(n->hold));
    else {
        put_content(n, len, out);
        body = false;
    }
    if (body)
        put_more(len - FERRY_RECORD_BODY_LEN, out);
    fputs("}\n", out);
}

/* -- pairs -- */

static bool is_pairs(const struct ferry_record *r)
{
    return r->content_len && (r->type == FERRY_PARAMS || r->type == FERRY_GET_VALUES ||
                              r->type == FERRY_GET_VALUES_RESULT);
}

static size_t shown_of(const struct ferry_notation *n, uint64_t len)
{
    return len < n->opts.text_max ? (size_t)len : n->opts.text_max;
}

static void put_pair(const struct ferry_notation *n, const struct half *h, FILE *out)
{
    uint64_t name_got = h->got < h->name_len ? h->got : h->name_len;
    uint64_t value_got = h->got - name_got;
    struct ferry_slice name = ferry_slice(h->text, shown_of(n, name_got));
    struct ferry_slice value = ferry_slice(h->text + n->opts.text_max, shown_of(n, value_got));

    open_line(n, out);
    putc('"', out);
    if (name.len < h->name_len)
        name.len = whole_characters(name);
    put_escaped(name, out);
    if (name.len < name_got)
        fputs("...", out);
    if (h->got > h->name_len || (h->got == h->total && n->r.type != FERRY_GET_VALUES)) {
        fputs(" = ", out);
        if (value.len < h->total - h->name_len)
            value.len = whole_characters(value);
        put_escaped(value, out);
    }
    putc('"', out);
    if (h->got == h->total)
        put_more(h->total - name.len - value.len, out);
    else
        fprintf(out, "... cut after %llu of %llu bytes", (unsigned long long)h->got,
                (unsigned long long)h->total);
    fputs("}\n", out);
}

static void reset(struct half *h)
{
    *h = (struct half){.text = h->text};
}

/* The pair that is not whole and will not be. */
static void drop_pair(struct ferry_notation *n, struct half *h, FILE *out)
{
    if (h->nlens && h->total == 0) {
        open_line(n, out);
        fputs("\"\"... cut in the lengths of a pair}\n", out);
    } else if (h->nlens) {
        put_pair(n, h, out);
    }
    reset(h);
}

static struct half *find_half(struct ferry_notation *n, uint16_t id)
{
    for (size_t i = 0; i < HALVES_MAX; i++)
        if (n->halves[i].used && n->halves[i].id == id)
            return &n->halves[i];
    return NULL;
}

/* The state for the pairs of this record: NULL when there are too many half pairs already, and with
 * n->err when there is no memory. */
static struct half *take_half(struct ferry_notation *n)
{
    struct half *h = n->r.type == FERRY_PARAMS ? find_half(n, n->r.id) : NULL;

    for (size_t i = 0; !h && i < HALVES_MAX; i++)
        if (!n->halves[i].used)
            h = &n->halves[i];
    if (!h)
        return NULL;
    if (!h->text)
        h->text = malloc(2 * n->opts.text_max);
    if (!h->text) {
        n->err = -ENOMEM;
        return NULL;
    }
    h->used = true;
    h->id = n->r.id;
    return h;
}

/* The two lengths are there: 0 when they are not. */
static bool lengths(struct half *h)
{
    size_t name_size = h->nlens && h->lens[0] & 0x80 ? 4 : 1;
    const uint8_t *v = h->lens + name_size;
    uint32_t value_len;

    if (h->nlens <= name_size || h->nlens < name_size + (v[0] & 0x80 ? 4u : 1u))
        return false;
    h->name_len = name_size == 1
                      ? h->lens[0]
                      : (uint32_t)(h->lens[0] & 0x7f) << 24 | (uint32_t)h->lens[1] << 16 |
                            (uint32_t)h->lens[2] << 8 | h->lens[3];
    value_len = v[0] & 0x80 ? (uint32_t)(v[0] & 0x7f) << 24 | (uint32_t)v[1] << 16 |
                                  (uint32_t)v[2] << 8 | v[3]
                            : v[0];
    h->total = (uint64_t)h->name_len + value_len;
    return true;
}

/* `len` bytes of name or value: what is shown of them is kept. */
static void keep(const struct ferry_notation *n, struct half *h, const char *p, size_t len)
{
    bool name = h->got < h->name_len;
    uint64_t at = name ? h->got : h->got - h->name_len;
    size_t room = at < n->opts.text_max ? n->opts.text_max - (size_t)at : 0;

    if (room)
        memcpy(h->text + (name ? 0 : n->opts.text_max) + at, p, len < room ? len : room);
    h->got += len;
}

static void pairs(struct ferry_notation *n, const char *p, size_t len, FILE *out)
{
    struct half *h = n->half;
    bool known = h->nlens && lengths(h);

    while (len) {
        if (!known) {
            h->lens[h->nlens++] = (uint8_t)*p++;
            len--;
            known = lengths(h);
        } else {
            uint64_t want = (h->got < h->name_len ? h->name_len : h->total) - h->got;
            size_t take = want < len ? (size_t)want : len;

            keep(n, h, p, take);
            p += take;
            len -= take;
        }
        if (known && h->got == h->total) {
            uint16_t id = h->id;

            put_pair(n, h, out);
            reset(h);
            h->used = true;
            h->id = id;
            known = false;
        }
    }
}

/* -- bytes -- */

static void begin_record(struct ferry_notation *n, FILE *out)
{
    struct half *h = find_half(n, n->r.id);

    n->half = NULL;
    n->kept = 0;
    n->left = n->r.content_len;
    n->state = CONTENT;
    if (h && (n->r.type == FERRY_BEGIN_REQUEST || (n->r.type == FERRY_PARAMS && n->left == 0))) {
        struct ferry_record r = n->r;

        n->r.type = FERRY_PARAMS;
        drop_pair(n, h, out);
        n->r = r;
    }
    if (is_pairs(&n->r))
        n->half = take_half(n);
}

static void end_record(struct ferry_notation *n, FILE *out)
{
    struct half *h = n->half;

    if (!h)
        put_record(n, out);
    else if (h->nlens == 0)
        reset(h);
    else if (n->r.type != FERRY_PARAMS) /* management records are whole (section 3.3) */
        drop_pair(n, h, out);
    n->half = NULL;
    n->left = n->r.padding_len;
    n->state = n->left ? PADDING : HEAD;
    n->kept = 0;
}

static void put_junk(struct ferry_notation *n, bool more, FILE *out)
{
    size_t shown = n->kept < n->opts.text_max ? n->kept : n->opts.text_max;

    fprintf(out, "%s: no FastCGI: ", n->opts.speaker);
    ferry_notation_text(ferry_slice(n->hold, shown), shown, 0, out);
    fputs(more ? "...\n" : "\n", out);
    n->state = JUNK_SHOWN;
}

static size_t take_content(struct ferry_notation *n, const char *p, size_t len, FILE *out)
{
    size_t take = len < n->left ? len : n->left;
    size_t room = n->hold_max - n->kept;

    if (n->half) {
        pairs(n, p, take, out);
    } else {
        memcpy(n->hold + n->kept, p, take < room ? take : room);
        n->kept += take < room ? take : room;
    }
    n->left -= take;
    if (n->left == 0)
        end_record(n, out);
    return take;
}

static size_t take_head(struct ferry_notation *n, const char *p, FILE *out)
{
    if (n->kept == 0 && (unsigned char)*p != FERRY_RECORD_VERSION) {
        n->state = JUNK;
        return 0;
    }
    n->head[n->kept++] = (unsigned char)*p;
    if (n->kept == sizeof n->head) {
        if (ferry_record_decode(n->head, sizeof n->head, &n->r) > 0)
            begin_record(n, out);
        if (!n->err && n->left == 0)
            end_record(n, out);
    }
    return 1;
}

int ferry_notation_bytes(struct ferry_notation *n, const void *bytes, size_t len, FILE *out)
{
    const char *p = bytes;

    while (len && !n->err && n->state != JUNK_SHOWN) {
        size_t took = 1;

        switch (n->state) {
        case HEAD:
            took = take_head(n, p, out);
            break;
        case CONTENT:
            took = take_content(n, p, len, out);
            break;
        case PADDING:
            took = len < n->left ? len : n->left;
            n->left -= took;
            if (n->left == 0)
                n->state = HEAD;
            break;
        case JUNK:
            n->hold[n->kept++] = *p;
            if (*p == '\n' || n->kept == JUNK_MAX)
                put_junk(n, true, out);
            break;
        case JUNK_SHOWN:
            break;
        }
        p += took;
        len -= took;
    }
    if (!n->err && ferror(out))
        n->err = -EIO;
    return n->err;
}

int ferry_notation_end(struct ferry_notation *n, FILE *out)
{
    if (n->err)
        return n->err;
    if (n->state == JUNK) {
        put_junk(n, false, out);
    } else if (n->state == HEAD && n->kept) {
        fprintf(out, "%s: cut in the header of a record\n", n->opts.speaker);
    } else if (n->state == CONTENT) {
        if (n->half) {
            drop_pair(n, n->half, out);
        } else {
            open_line(n, out);
            put_content(n, n->r.content_len - n->left, out);
            fputs("}\n", out);
        }
        fprintf(out, "%s: cut after %zu of %u bytes of a record\n", n->opts.speaker,
                n->r.content_len - n->left, n->r.content_len);
    } else if (n->state == PADDING) {
        fprintf(out, "%s: cut in the padding of a record\n", n->opts.speaker);
    }
    n->state = JUNK_SHOWN;
    if (ferror(out))
        n->err = -EIO;
    return n->err;
}
