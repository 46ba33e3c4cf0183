/* SPDX-License-Identifier: MIT */
/*
 * Preconditions and ranges. One pass over the fields finds the few that matter; most requests have
 * none, and the pass is all they cost. A client's numbers are never trusted beyond the size, and
 * joined ranges never add up to more than the representation (the attack of CVE-2011-3192).
 */
#include "files/range.h"

#include "files/date.h"

/* The gap that is cheaper to send than another part's head would be (section 15.3.7.2). */
#define GAP_MAX 80

/* X(name, field): the fields that matter here */
#define COND_MAP(X)                                                                                \
    X(IF_MATCH, "if-match")                                                                        \
    X(IF_NONE_MATCH, "if-none-match")                                                              \
    X(IF_MODIFIED_SINCE, "if-modified-since")                                                      \
    X(IF_UNMODIFIED_SINCE, "if-unmodified-since")                                                  \
    X(IF_RANGE, "if-range")                                                                        \
    X(RANGE, "range")

enum cond {
#define X(name, field) name,
    COND_MAP(X)
#undef X
        CONDS,
};

static const struct ferry_slice cond_names[CONDS] = {
#define X(name, field) FERRY_SLICE_INIT(field),
    COND_MAP(X)
#undef X
};

struct conds {
    unsigned count[CONDS];
    struct ferry_slice value[CONDS]; /* of the first such field */
};

static void find_conds(const struct ferry_http_head *head, struct conds *c)
{
    for (unsigned i = 0; i < head->nfields; i++) {
        struct ferry_slice name = head->fields[i].name;
        char first = name.len ? ferry_ascii_lower(name.p[0]) : 0;

        if (first != 'i' && first != 'r')
            continue;
        for (unsigned k = 0; k < CONDS; k++) {
            if (!ferry_slice_eq_nocase(name, cond_names[k]))
                continue;
            if (c->count[k]++ == 0)
                c->value[k] = head->fields[i].value;
        }
    }
}

struct tag {
    struct ferry_slice text; /* with its quotes, without W/ */
    bool weak;
};

/* Reads the entity tag at the front of *s and moves *s behind it. */
static bool take_tag(struct ferry_slice *s, struct tag *out)
{
    struct ferry_slice at = *s;
    size_t n = 1;

    out->weak = ferry_slice_starts(at, FERRY_SLICE("W/"));
    if (out->weak)
        at = ferry_slice_from(at, 2);
    if (at.len < 2 || at.p[0] != '"')
        return false;
    while (n < at.len && at.p[n] != '"') {
        unsigned char c = (unsigned char)at.p[n++];

        if (c <= ' ' || c == 0x7f)
            return false;
    }
    if (n == at.len)
        return false;
    out->text = ferry_slice_first(at, n + 1);
    *s = ferry_slice_from(at, n + 1);
    return true;
}

static void skip_blanks_and_commas(struct ferry_slice *s)
{
    while (s->len && (s->p[0] == ' ' || s->p[0] == '\t' || s->p[0] == ','))
        *s = ferry_slice_from(*s, 1);
}

/* Is the etag in the list, or the list "*"? Ends at the first member that is no entity tag. */
static bool list_has(struct ferry_slice list, struct ferry_slice etag, bool strong)
{
    struct tag t;

    if (ferry_slice_eq(ferry_slice_trim(list), FERRY_SLICE("*")))
        return true;
    for (skip_blanks_and_commas(&list); list.len && take_tag(&list, &t);
         skip_blanks_and_commas(&list))
        if (ferry_slice_eq(t.text, etag) && !(strong && t.weak))
            return true;
    return false;
}

/* In any of the fields of this kind: they are one list (RFC 9110 section 5.3). */
static bool any_list_has(const struct ferry_http_head *head, enum cond kind,
                         struct ferry_slice etag, bool strong)
{
    for (unsigned i = 0; i < head->nfields; i++)
        if (ferry_slice_eq_nocase(head->fields[i].name, cond_names[kind]) &&
            list_has(head->fields[i].value, etag, strong))
            return true;
    return false;
}

/* The one date of this kind; several, or one that cannot be read, count as none. */
static bool date_of(const struct conds *c, enum cond kind, int64_t now_s, int64_t *out)
{
    return c->count[kind] == 1 && ferry_date_parse(c->value[kind], now_s, out) == 0;
}

/*
 * Section 13.1.5: only a strong validator will do, so that parts of two versions are never put
 * together. A date is one when the file was not written in the second that Date names or the one
 * before it (section 8.8.2.2).
 */
static bool if_range_holds(const struct conds *c, const struct ferry_validators *v)
{
    struct ferry_slice value = c->value[IF_RANGE];
    struct tag t;
    int64_t date;

    if (c->count[IF_RANGE] == 0)
        return true;
    if (c->count[IF_RANGE] > 1)
        return false;
    if (take_tag(&value, &t))
        return value.len == 0 && !t.weak && ferry_slice_eq(t.text, v->etag);
    return ferry_date_parse(value, v->now_s, &date) == 0 && date == v->mtime_s &&
           date < v->now_s - 1;
}

int ferry_range_decide(const struct ferry_http_head *head, const struct ferry_validators *v,
                       struct ferry_ranges *out)
{
    struct conds c = {0};
    int64_t date;

    out->n = 0;
    find_conds(head, &c);
    if (c.count[IF_MATCH]) {
        if (!any_list_has(head, IF_MATCH, v->etag, true))
            return 412;
    } else if (date_of(&c, IF_UNMODIFIED_SINCE, v->now_s, &date) && v->mtime_s > date) {
        return 412;
    }
    if (c.count[IF_NONE_MATCH]) {
        if (any_list_has(head, IF_NONE_MATCH, v->etag, false))
            return 304;
    } else if (date_of(&c, IF_MODIFIED_SINCE, v->now_s, &date) && v->mtime_s <= date) {
        return 304;
    }
    if (head->method_id != FERRY_HTTP_GET || c.count[RANGE] != 1 || !if_range_holds(&c, v))
        return 200;
    return ferry_range_parse(c.value[RANGE], v->size, out);
}

/* Digits at the front of *s; a number past 2^63 counts as that, which no file reaches. */
static bool take_number(struct ferry_slice *s, uint64_t *out)
{
    const uint64_t most = UINT64_C(1) << 63;
    uint64_t n = 0;
    size_t used = 0;

    for (; used < s->len && s->p[used] >= '0' && s->p[used] <= '9'; used++)
        n = n > most / 10 - 1 ? most : n * 10 + (uint64_t)(s->p[used] - '0');
    *s = ferry_slice_from(*s, used);
    *out = n;
    return used > 0;
}

/* Reads one "first-last", "first-" or "-suffix": false for bad form. An unsatisfiable one gives
 * len 0. */
static bool take_spec(struct ferry_slice *s, uint64_t size, struct ferry_range *out)
{
    uint64_t first, last = UINT64_MAX;
    bool has_first = take_number(s, &first), has_last;

    if (s->len == 0 || s->p[0] != '-')
        return false;
    *s = ferry_slice_from(*s, 1);
    has_last = take_number(s, &last);
    if (!has_first) {
        if (last > size)
            last = size;
        *out = (struct ferry_range){size - last, last};
        return has_last;
    }
    if (!has_last)
        last = UINT64_MAX;
    if (last < first)
        return false;
    if (last >= size)
        last = size - 1;
    *out = (struct ferry_range){first, first < size ? last - first + 1 : 0};
    return true;
}

static bool near(const struct ferry_range *a, const struct ferry_range *b)
{
    return a->first <= b->first + b->len + GAP_MAX && b->first <= a->first + a->len + GAP_MAX;
}

/* Adds a range where it was asked for, or joins it to the first one near, and that to others that
 * it now reaches. */
static void add(struct ferry_ranges *set, struct ferry_range r)
{
    unsigned at = set->n;

    for (unsigned i = 0; i < set->n;) {
        const struct ferry_range *o = &set->r[i];
        uint64_t end = r.first + r.len, o_end = o->first + o->len;

        if (!near(o, &r)) {
            i++;
            continue;
        }
        r.first = o->first < r.first ? o->first : r.first;
        r.len = (o_end > end ? o_end : end) - r.first;
        at = i < at ? i : at;
        memmove(&set->r[i], &set->r[i + 1], (set->n - i - 1) * sizeof set->r[0]);
        set->n--;
        i = 0; /* grown, it may now be near to one passed over before */
    }
    at = at < set->n ? at : set->n;
    memmove(&set->r[at + 1], &set->r[at], (set->n - at) * sizeof set->r[0]);
    set->r[at] = r;
    set->n++;
}

int ferry_range_parse(struct ferry_slice value, uint64_t size, struct ferry_ranges *out)
{
    const struct ferry_slice unit = FERRY_SLICE_INIT("bytes=");
    unsigned asked = 0;

    out->n = 0;
    if (!ferry_slice_eq_nocase(ferry_slice_first(value, unit.len), unit))
        return 200;
    /* Of an empty file no range can be sent; clients that put a Range on everything get it whole.
     */
    if (size == 0)
        return 200;
    value = ferry_slice_from(value, unit.len);
    for (skip_blanks_and_commas(&value); value.len; skip_blanks_and_commas(&value)) {
        struct ferry_range r;

        if (asked++ == FERRY_RANGES_MAX || !take_spec(&value, size, &r))
            goto ignore;
        if (r.len)
            add(out, r);
        while (value.len && (value.p[0] == ' ' || value.p[0] == '\t'))
            value = ferry_slice_from(value, 1);
        if (value.len && value.p[0] != ',')
            goto ignore;
    }
    if (asked)
        return out->n ? 206 : 416;
ignore:
    out->n = 0;
    return 200;
}
