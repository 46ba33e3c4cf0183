/* SPDX-License-Identifier: MIT */
/*
 * Texts with variables. A text becomes a row of parts, each with the way in which its bytes are
 * escaped where it stands: that depends only on the text, so a request never decides it. For a
 * Location the text alone also settles which host it leads to: what comes from a client may stand
 * behind the first slash of the path only (but for $host, which is where the client already is).
 */
#include "session/template.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum variable {
    LITERAL,
#define X(name, text, help) name,
    FERRY_VARIABLE_MAP(X)
#undef X
        GROUP, /* of a rewrite */
    FIELD,     /* $http_NAME */
    PARAM,     /* $param_NAME */
};

/* How bytes are written. */
enum escape {
    AS_IS,
    URL,     /* escaped already, but for what no URL may hold */
    DECODED, /* a path; slashes stay */
    VALUE,   /* a value in a query */
};

struct part {
    uint8_t variable, escape, group;
    struct ferry_slice text; /* a literal, or a name with a NUL behind it */
};

struct ferry_template {
    enum ferry_template_use use;
    bool local;        /* a Location on this host: it begins with exactly one slash */
    bool has_query;    /* a PATH with '?' */
    unsigned query_at; /* its query begins with this part */
    unsigned nparts;
    struct part parts[FERRY_TEMPLATE_PARTS_MAX];
    char text[]; /* what the parts point into */
};

/* -- compiling --------------------------------------------------------------------------------- */

struct compiling {
    struct ferry_template *t;
    struct ferry_slice rest; /* not looked at yet */
    char *literal, *to;      /* of the literal being collected */
    unsigned groups;
    bool in_query;
    char *buf;
    const char *why;
};

static int refuse(struct compiling *c, const char *why)
{
    c->why = why;
    return FERRY_EUSAGE;
}

static int refuse_name(struct compiling *c, const char *fmt, struct ferry_slice name)
{
    snprintf(c->buf, FERRY_TEMPLATE_WHY, fmt, (int)ferry_slice_first(name, 40).len, name.p);
    return refuse(c, c->buf);
}

static int add_part(struct compiling *c, struct part part)
{
    if (c->t->nparts == FERRY_TEMPLATE_PARTS_MAX)
        return refuse(c, "too many variables");
    c->t->parts[c->t->nparts++] = part;
    return 0;
}

static int end_literal(struct compiling *c)
{
    struct part part = {.text = ferry_slice(c->literal, (size_t)(c->to - c->literal))};

    if (c->t->use == FERRY_TEMPLATE_LOCATION || (c->t->use == FERRY_TEMPLATE_PATH && c->in_query))
        part.escape = URL;
    c->literal = c->to;
    return part.text.len ? add_part(c, part) : 0;
}

static bool is_name_byte(char c)
{
    return c == '_' || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* Takes the name behind a dollar; empty: there is none. */
static struct ferry_slice take_name(struct compiling *c)
{
    struct ferry_slice name = c->rest;
    bool braces = name.len && name.p[0] == '{';
    size_t len = 0;

    name = ferry_slice_from(name, braces);
    if (!braces && name.len && name.p[0] >= '1' && name.p[0] <= '9')
        len = 1;
    else
        while (len < name.len && is_name_byte(name.p[len]))
            len++;
    if (braces && (len == name.len || name.p[len] != '}'))
        len = 0;
    if (len)
        c->rest = ferry_slice_from(name, len + braces);
    return ferry_slice_first(name, len);
}

static struct ferry_slice keep_name(struct compiling *c, struct ferry_slice name, bool field)
{
    struct ferry_slice kept = {c->to, name.len};

    for (size_t i = 0; i < name.len; i++)
        *c->to++ = field && name.p[i] == '_' ? '-' : name.p[i];
    *c->to++ = 0;
    c->literal = c->to;
    return kept;
}

static enum variable variable_of(struct ferry_slice name)
{
#define X(variable, text, help)                                                                    \
    if (ferry_slice_eq(name, FERRY_SLICE(text)))                                                   \
        return variable;
    FERRY_VARIABLE_MAP(X)
#undef X
    if (name.len == 1 && name.p[0] >= '1' && name.p[0] <= '9')
        return GROUP;
    if (name.len > 5 && ferry_slice_starts(name, FERRY_SLICE("http_")))
        return FIELD;
    if (name.len > 6 && ferry_slice_starts(name, FERRY_SLICE("param_")))
        return PARAM;
    return LITERAL;
}

static enum escape escape_of(const struct compiling *c, enum variable variable, bool is_value)
{
    if (c->t->use == FERRY_TEMPLATE_TEXT || (c->t->use == FERRY_TEMPLATE_PATH && !c->in_query))
        return AS_IS;
    if (is_value)
        return VALUE;
    if (variable == URI || variable == QUERY || variable == HOST || variable == SCHEME)
        return URL;
    return c->in_query ? VALUE : DECODED;
}

static int add_variable(struct compiling *c)
{
    bool is_value = c->in_query && c->to > c->literal && c->to[-1] == '=';
    struct ferry_slice name = take_name(c);
    enum variable variable = variable_of(name);
    struct part part = {.variable = (uint8_t)variable};
    int err = end_literal(c);

    if (err < 0)
        return err;
    if (!name.len)
        return refuse(c, "a \"$\" without a name; a dollar is written \"$$\"");
    switch (variable) {
    case LITERAL:
        return refuse_name(c,
                           "there is no variable \"$%.*s\"; there are $host, $uri, $path, $query, "
                           "$scheme, $remote_addr, $http_NAME and $param_NAME",
                           name);
    case GROUP:
        part.group = (uint8_t)(name.p[0] - '0');
        if (part.group > c->groups)
            return refuse_name(c,
                               c->groups ? "the pattern has no group for \"$%.*s\""
                                         : "\"$%.*s\" is a group of a rewrite's pattern, and there "
                                           "is none",
                               name);
        break;
    case URI:
    case QUERY:
        if (c->t->use == FERRY_TEMPLATE_PATH && !c->in_query)
            return refuse_name(
                c, "\"$%.*s\" is no path and can only stand behind a \"?\"; use $path", name);
        break;
    case FIELD:
        part.text = keep_name(c, ferry_slice_from(name, 5), true);
        break;
    case PARAM:
        part.text = keep_name(c, ferry_slice_from(name, 6), false);
        break;
    default:
        break;
    }
    part.escape = (uint8_t)escape_of(c, variable, is_value);
    c->in_query |= variable == URI; /* it may have brought its '?' */
    return add_part(c, part);
}

static int compile(struct compiling *c)
{
    int err;

    while (c->rest.len) {
        char b = c->rest.p[0];

        c->rest = ferry_slice_from(c->rest, 1);
        if ((unsigned char)b < 0x20 || b == 0x7f)
            return refuse(c, "a control byte");
        if (b == '$' && !(c->rest.len && c->rest.p[0] == '$')) {
            err = add_variable(c);
            if (err < 0)
                return err;
            continue;
        }
        if (b == '$')
            c->rest = ferry_slice_from(c->rest, 1);
        if (b == '?' && c->t->use == FERRY_TEMPLATE_PATH && !c->in_query) {
            err = end_literal(c);
            if (err < 0)
                return err;
            c->in_query = c->t->has_query = true;
            c->t->query_at = c->t->nparts;
            continue;
        }
        c->in_query |= b == '?' || b == '#';
        *c->to++ = b;
    }
    return end_literal(c);
}

/* -- where a Location leads -------------------------------------------------------------------- */

/* The length of "scheme:" at the front, 0 where there is none. */
static size_t scheme_len(struct ferry_slice s)
{
    size_t n = 0;

    while (n < s.len && (is_name_byte(s.p[n]) || s.p[n] == '+' || s.p[n] == '-' || s.p[n] == '.'))
        n++;
    return n && n < s.len && s.p[n] == ':' ? n + 1 : 0;
}

static bool ends_host(struct ferry_slice literal)
{
    return memchr(literal.p, '/', literal.len) || memchr(literal.p, '?', literal.len) ||
           memchr(literal.p, '#', literal.len);
}

/* From part i on, of which `rest` is left, it is the host's name up to where a path begins. */
static int check_host(struct compiling *c, unsigned i, struct ferry_slice rest)
{
    const struct ferry_template *t = c->t;

    for (bool first = true; i < t->nparts; i++, first = false) {
        const struct part *p = &t->parts[i];

        if (p->variable == LITERAL) {
            if (ends_host(first ? rest : p->text))
                return 0;
        } else if (p->variable == URI || p->variable == PATH) {
            return 0; /* they begin with a slash */
        } else if (p->variable != HOST && !(p->variable == FIELD && !strcmp(p->text.p, "host"))) {
            return refuse(c, "whoever sends the request could choose the host it leads to; only "
                             "$host may stand in a host's name, and a slash or $uri behind it");
        }
    }
    return 0;
}

static int check_location(struct compiling *c)
{
    struct ferry_template *t = c->t;
    const struct part *p = t->parts;
    struct ferry_slice text = t->nparts ? p->text : FERRY_SLICE("");
    size_t scheme = 0;
    unsigned i = 0;

    if (t->nparts && p->variable == SCHEME && t->nparts > 1 && p[1].variable == LITERAL &&
        ferry_slice_starts(p[1].text, FERRY_SLICE("://"))) {
        i = 1;
        text = p[1].text;
        scheme = 1;
    } else if (t->nparts && p->variable == LITERAL) {
        scheme = scheme_len(text);
    } else if (t->nparts && (p->variable == URI || p->variable == PATH)) {
        t->local = true;
        return 0;
    }
    if (ferry_slice_starts(ferry_slice_from(text, scheme), FERRY_SLICE("//")))
        return check_host(c, i, ferry_slice_from(text, scheme + 2));
    t->local = !scheme && text.len && text.p[0] == '/';
    return t->local ? 0
                    : refuse(c, "it must begin with a slash, $uri, $path, or a scheme and a host: "
                                "https://...");
}

static int check_path(struct compiling *c)
{
    const struct part *p = c->t->parts;

    if (c->t->nparts && (!c->t->has_query || c->t->query_at)) {
        if (p->variable == PATH || p->variable == GROUP)
            return 0;
        if (p->variable == LITERAL && p->text.p[0] == '/')
            return 0;
    }
    return refuse(c, "it must begin with a slash or $path");
}

int ferry_template_new(const char *text, enum ferry_template_use use, unsigned groups,
                       struct ferry_template **out, char buf[FERRY_TEMPLATE_WHY], const char **why)
{
    struct compiling c = {.rest = ferry_slice_z(text), .groups = groups, .buf = buf};
    int err;

    if (c.rest.len > FERRY_TEMPLATE_LEN_MAX) {
        *why = "it is too long";
        return FERRY_EUSAGE;
    }
    c.t = calloc(1, sizeof *c.t + c.rest.len + 1);
    if (!c.t)
        return -ENOMEM;
    c.t->use = use;
    c.literal = c.to = c.t->text;
    err = compile(&c);
    if (err == 0 && use == FERRY_TEMPLATE_LOCATION)
        err = check_location(&c);
    if (err == 0 && use == FERRY_TEMPLATE_PATH)
        err = check_path(&c);
    if (err < 0) {
        *why = c.why;
        free(c.t);
        return err;
    }
    *out = c.t;
    return 0;
}

int ferry_filters_template(struct ferry_filters *f, const char *filter, const char *text,
                           enum ferry_template_use use, unsigned groups,
                           struct ferry_template **out)
{
    char buf[FERRY_TEMPLATE_WHY];
    const char *why;
    int err = ferry_template_new(text, use, groups, out, buf, &why);

    if (err == FERRY_EUSAGE)
        return ferry_filters_refuse(f, "%s: \"%.60s\": %s", filter, text, why);
    return err;
}

void ferry_template_free(struct ferry_template *t)
{
    free(t);
}

/* -- filling in -------------------------------------------------------------------------------- */

static struct ferry_slice without_port(struct ferry_slice host)
{
    size_t end = host.len && host.p[0] == '[' ? ferry_slice_find(host, ']') + 1
                                              : ferry_slice_find(host, ':');

    return ferry_slice_first(host, end);
}

/* The path and query of a target: RFC 9112 section 3.2 has other forms, too. */
static struct ferry_slice uri_of(struct ferry_session *s, struct ferry_slice target)
{
    size_t scheme;

    if (target.len && target.p[0] == '/')
        return target;
    scheme = scheme_len(target);
    if (scheme && ferry_slice_starts(ferry_slice_from(target, scheme), FERRY_SLICE("//"))) {
        size_t path, query;

        target = ferry_slice_from(target, scheme + 2);
        path = ferry_slice_find(target, '/');
        query = ferry_slice_find(target, '?');
        if (path < query)
            return ferry_slice_from(target, path);
        if (query < target.len) { /* "http://host?query": the path is "/" */
            struct ferry_slice uri = ferry_slice_from(target, query);
            char *text = ferry_session_alloc(s, uri.len + 1);

            if (!text)
                return FERRY_SLICE("/");
            *text = '/';
            memcpy(text + 1, uri.p, uri.len);
            return ferry_slice(text, uri.len + 1);
        }
    }
    return FERRY_SLICE("/");
}

static struct ferry_slice value_of(const struct part *p, struct ferry_session *s,
                                   const struct ferry_slice *groups)
{
    struct ferry_slice path;

    switch ((enum variable)p->variable) {
    case HOST:
        return without_port(ferry_session_host(s));
    case URI:
        return uri_of(s, ferry_session_target(s));
    case PATH:
        path = ferry_session_path(s);
        return path.len ? path : FERRY_SLICE("/");
    case QUERY:
        return ferry_session_query(s);
    case SCHEME:
        return ferry_session_scheme(s);
    case REMOTE_ADDR:
        return ferry_session_remote_addr(s);
    case GROUP:
        return groups ? groups[p->group] : FERRY_SLICE("");
    case FIELD:
        return ferry_session_field(s, p->text.p);
    case PARAM:
        return ferry_session_param(s, p->text.p);
    case LITERAL:
        break;
    }
    return p->text;
}

static bool stays(enum escape escape, char c)
{
    if (is_name_byte(c) || c == '-' || c == '.' || c == '~' || c == '/')
        return true;
    switch (escape) {
    case AS_IS:
        return true;
    case URL:
        return c > 0x20 && c < 0x7f && !memchr("\"<>\\^`{|}", c, 9);
    case DECODED:
        return c > 0x20 && c < 0x7f && memchr("!$&'()*+,;=:@", c, 13);
    case VALUE:
        break;
    }
    return false;
}

static size_t room_for(enum escape escape, struct ferry_slice s)
{
    size_t n = s.len;

    if (escape != AS_IS)
        for (size_t i = 0; i < s.len; i++)
            n += stays(escape, s.p[i]) ? 0 : 2;
    return n;
}

static char *put(char *to, const struct part *p, struct ferry_slice s)
{
    static const char digits[] = "0123456789ABCDEF";

    for (size_t i = 0; i < s.len; i++) {
        char c = p->variable == HOST ? ferry_ascii_lower(s.p[i]) : s.p[i];

        if (stays(p->escape, c)) {
            *to++ = c;
        } else {
            *to++ = '%';
            *to++ = digits[(unsigned char)c >> 4];
            *to++ = digits[(unsigned char)c & 15];
        }
    }
    return to;
}

/* "//" at its front would be a host's name; a path has none within either. */
static size_t one_slash(char *p, size_t n, bool within)
{
    size_t to = 0;

    for (size_t i = 0; i < n; i++)
        if (p[i] != '/' || to == 0 || p[to - 1] != '/' || (!within && to > 1))
            p[to++] = p[i];
    return to;
}

/* An application is told all of them, joined. */
static bool stands_often(const struct ferry_session *s, struct ferry_slice name)
{
    unsigned n = 0;

    for (unsigned i = 0; i < s->rq.nfields; i++)
        n += ferry_slice_eq_nocase(s->rq.fields[i].name, name);
    return n > 1;
}

int ferry_template_expand(const struct ferry_template *t, struct ferry_session *s,
                          const struct ferry_slice *groups, struct ferry_template_out *out)
{
    struct ferry_slice values[FERRY_TEMPLATE_PARTS_MAX];
    size_t n = 0, path_len = 0;
    char *text, *to;

    if (t->use == FERRY_TEMPLATE_TEXT && t->nparts <= 1 &&
        (!t->nparts || t->parts[0].variable == LITERAL)) {
        *out = (struct ferry_template_out){.text = t->nparts ? t->parts[0].text : FERRY_SLICE("")};
        return 0;
    }
    for (unsigned i = 0; i < t->nparts; i++) {
        if (t->use == FERRY_TEMPLATE_KEY && t->parts[i].variable == FIELD &&
            stands_often(s, t->parts[i].text))
            return FERRY_ELIMIT;
        values[i] = value_of(&t->parts[i], s, groups);
        n += room_for(t->parts[i].escape, values[i]) + (t->use == FERRY_TEMPLATE_KEY);
        if (n > FERRY_TEMPLATE_OUT_MAX)
            return FERRY_ELIMIT;
    }
    text = to = ferry_session_alloc(s, n + 1);
    if (!text)
        return -ENOMEM;
    for (unsigned i = 0; i < t->nparts; i++) {
        if (t->has_query && i == t->query_at)
            path_len = (size_t)(to - text);
        to = put(to, &t->parts[i], values[i]);
        if (t->use == FERRY_TEMPLATE_KEY)
            *to++ = '\0';
    }
    n = (size_t)(to - text);
    if (!t->has_query || t->query_at == t->nparts)
        path_len = n;
    *out = (struct ferry_template_out){.text = ferry_slice(text, path_len)};
    if (t->has_query)
        out->query = ferry_slice(text + path_len, n - path_len);
    if (t->use == FERRY_TEMPLATE_LOCATION && n && t->parts[t->nparts - 1].variable == QUERY &&
        text[n - 1] == '?')
        out->text.len--; /* there is no query */
    if (t->use == FERRY_TEMPLATE_PATH || t->local)
        out->text.len = one_slash(text, out->text.len, t->use == FERRY_TEMPLATE_PATH);
    return 0;
}
