/* SPDX-License-Identifier: MIT */
/*
 * From a request to its params (RFC 3875 section 4.1). This runs for every request that is proxied,
 * so the fields are gone over twice and no more: once to learn what each is for and which names may
 * stand more than once, and once to write. No name from the network can become a param that the
 * gateway itself sets, or one that programs trust (HTTP_PROXY).
 */
#include "cgi/request.h"

#define FIELDS_MAX FERRY_CGI_REQUEST_FIELDS_MAX
#define NAME_MAX_LEN FERRY_CGI_FIELD_NAME_MAX

/* More connection options than this no honest client sends; each is compared with every field. */
#define OPTIONS_MAX 32

/* A pair's two lengths take at most this. */
#define LENGTHS 8

/* X(when, name, member): params that are a member as it is, roughly in the order of nginx's
 * fastcgi_params. SET and SCRIPT: left out when empty. */
#define PARAM_MAP(X)                                                                               \
    X(SCRIPT, "SCRIPT_FILENAME", script_filename)                                                  \
    X(ALWAYS, "QUERY_STRING", query)                                                               \
    X(ALWAYS, "REQUEST_METHOD", method)                                                            \
    X(SCRIPT_NAME, "SCRIPT_NAME", script_name)                                                     \
    X(SCRIPT, "PATH_INFO", path_info)                                                              \
    X(SCRIPT, "DOCUMENT_ROOT", document_root)                                                      \
    X(ALWAYS, "SERVER_PROTOCOL", protocol)                                                         \
    X(SET, "REQUEST_SCHEME", scheme)                                                               \
    X(ALWAYS, "SERVER_SOFTWARE", server_software)                                                  \
    X(ALWAYS, "REMOTE_ADDR", remote_addr)                                                          \
    X(SET, "REMOTE_PORT", remote_port)                                                             \
    X(SET, "REMOTE_USER", remote_user)                                                             \
    X(SET, "SERVER_ADDR", server_addr)                                                             \
    X(ALWAYS, "SERVER_PORT", server_port)                                                          \
    X(ALWAYS, "SERVER_NAME", server_name)

/* SCRIPT and SCRIPT_NAME are told without the basic params too. */
enum when { SET, ALWAYS, SCRIPT, SCRIPT_NAME };

/* X(use, length, first letter, name): fields that do not simply become HTTP_* */
#define FIELD_MAP(X)                                                                               \
    X(HOST, 4, 'h', "Host")                                                                        \
    X(COOKIE, 6, 'c', "Cookie")                                                                    \
    X(TYPE, 12, 'c', "Content-Type")                                                               \
    X(NOTHING, 14, 'c', "Content-Length")                                                          \
    X(NOTHING, 5, 'p', "Proxy")                                                                    \
    X(CONNECTION, 10, 'c', "Connection")                                                           \
    X(NOTHING, 10, 'k', "Keep-Alive")                                                              \
    X(NOTHING, 2, 't', "TE")                                                                       \
    X(NOTHING, 7, 't', "Trailer")                                                                  \
    X(NOTHING, 17, 't', "Transfer-Encoding")                                                       \
    X(NOTHING, 7, 'u', "Upgrade")

enum use { PLAIN, HOST, COOKIE, TYPE, CONNECTION, NOTHING };

#define X(use, len, first, text) _Static_assert(sizeof(text) - 1 == (len), "the length of " text);
FIELD_MAP(X)
#undef X

/* What is learned about the fields before anything is written. */
struct survey {
    struct ferry_slice authority, path, rest; /* of the target; REQUEST_URI is path and rest */
    uint64_t seen, twice; /* keys that stand once, and more than once (maybe of different names) */
    uint8_t use[FIELDS_MAX], key[FIELDS_MAX];
};

/* How each byte of a field's name is written; 0: not at all. */
static const char name_bytes[256] = {
    ['-'] = '_',      ['0'] = '0',      ['1'] = '1',      ['2'] = '2',      ['3'] = '3',
    ['4'] = '4',      ['5'] = '5',      ['6'] = '6',      ['7'] = '7',      ['8'] = '8',
    ['9'] = '9',
#define LETTER(upper, lower) [upper] = (upper), [lower] = (upper)
    LETTER('A', 'a'), LETTER('B', 'b'), LETTER('C', 'c'), LETTER('D', 'd'), LETTER('E', 'e'),
    LETTER('F', 'f'), LETTER('G', 'g'), LETTER('H', 'h'), LETTER('I', 'i'), LETTER('J', 'j'),
    LETTER('K', 'k'), LETTER('L', 'l'), LETTER('M', 'm'), LETTER('N', 'n'), LETTER('O', 'o'),
    LETTER('P', 'p'), LETTER('Q', 'q'), LETTER('R', 'r'), LETTER('S', 's'), LETTER('T', 't'),
    LETTER('U', 'u'), LETTER('V', 'v'), LETTER('W', 'w'), LETTER('X', 'x'), LETTER('Y', 'y'),
    LETTER('Z', 'z'),
#undef LETTER
};

static enum use use_of(struct ferry_slice name)
{
    struct ferry_slice text;
    enum use use;

    if (!name.len || name.len > NAME_MAX_LEN)
        return NOTHING;
    switch (name.len << 8 | (uint8_t)ferry_ascii_lower(name.p[0])) {
#define X(u, len, first, t)                                                                        \
    case (len) << 8 | (first):                                                                     \
        use = u;                                                                                   \
        text = FERRY_SLICE(t);                                                                     \
        break;
        FIELD_MAP(X)
#undef X
    default:
        if (ferry_ascii_lower(name.p[0]) == 'p' &&
            ferry_slice_eq_nocase(ferry_slice_first(name, 6), FERRY_SLICE("Proxy-")))
            return NOTHING;
        return PLAIN;
    }
    return ferry_slice_eq_nocase(name, text) ? use : PLAIN;
}

/* 0 to 63, the same for a name in any case. The end of a name tells more than its beginning. */
static uint8_t key_of(struct ferry_slice name)
{
    uint32_t tail;

    if (name.len < 4)
        return (uint8_t)name.len;
    memcpy(&tail, name.p + name.len - 4, 4);
    tail = (tail | 0x20202020u) ^ (uint32_t)name.len << 8;
    return (uint8_t)(tail * 2654435761u >> 26);
}

/* Never wrong when it sees a difference; it takes a few bytes for others that no name of ours may
 * hold. A hostile head makes 8000 comparisons of long names that differ late. */
static bool maybe_same(struct ferry_slice a, struct ferry_slice b)
{
    const uint64_t fold = 0x2020202020202020u;
    uint64_t x, y;

    if (a.len != b.len)
        return false;
    if (a.len < 8)
        return true;
    for (size_t i = 0;; i = i + 16 <= a.len ? i + 8 : a.len - 8) {
        memcpy(&x, a.p + i, 8);
        memcpy(&y, b.p + i, 8);
        if ((x | fold) != (y | fold))
            return false;
        if (i + 8 == a.len)
            return true;
    }
}

static bool same_name(struct ferry_slice a, struct ferry_slice b)
{
    return maybe_same(a, b) && ferry_slice_eq_nocase(a, b);
}

static void drop_named(const struct ferry_cgi_request *r, struct survey *s,
                       struct ferry_slice options)
{
    for (int n = 0; options.len && n < OPTIONS_MAX; n++) {
        size_t end = ferry_slice_find(options, ',');
        struct ferry_slice option = ferry_slice_trim(ferry_slice_first(options, end));

        options = ferry_slice_from(options, end + 1);
        if (!option.len || !(s->seen >> key_of(option) & 1))
            continue;
        for (unsigned i = 0; i < r->nfields; i++)
            if (s->key[i] == key_of(option) && s->use[i] != HOST &&
                same_name(option, r->fields[i].name))
                s->use[i] = NOTHING;
    }
}

static void take_target(struct ferry_slice target, struct survey *s)
{
    size_t len = 0;

    s->authority = s->rest = FERRY_SLICE("");
    s->path = target;
    if (!target.len || target.p[0] == '/')
        return;
    if (ferry_slice_eq_nocase(ferry_slice_first(target, 7), FERRY_SLICE("http://")))
        len = 7;
    else if (ferry_slice_eq_nocase(ferry_slice_first(target, 8), FERRY_SLICE("https://")))
        len = 8;
    else
        return;
    target = ferry_slice_from(target, len);
    len = 0;
    while (len < target.len && target.p[len] != '/' && target.p[len] != '?')
        len++;
    s->authority = ferry_slice_first(target, len);
    s->rest = ferry_slice_from(target, len);
    s->path = len < target.len && target.p[len] == '/' ? FERRY_SLICE("") : FERRY_SLICE("/");
}

static void look_over(const struct ferry_cgi_request *r, struct survey *s)
{
    bool options = false;

    take_target(r->target, s);
    s->seen = s->twice = 0;
    for (unsigned i = 0; i < r->nfields; i++) {
        struct ferry_slice name = r->fields[i].name;
        uint64_t bit;

        s->use[i] = (uint8_t)use_of(name);
        s->key[i] = key_of(name);
        bit = UINT64_C(1) << s->key[i];
        s->twice |= s->seen & bit;
        s->seen |= bit;
        options |= s->use[i] == CONNECTION;
        if (s->use[i] == HOST && s->authority.len)
            s->use[i] = NOTHING;
    }
    if (!options)
        return;
    for (unsigned i = 0; i < r->nfields; i++)
        if (ferry_slice_eq_nocase(r->fields[i].name, FERRY_SLICE("Connection")))
            drop_named(r, s, r->fields[i].value);
}

/* Does the operator say what this param is, or that it is none? */
static bool is_set(const struct ferry_cgi_request *r, struct ferry_slice name)
{
    for (unsigned i = 0; i < r->nset; i++)
        if (ferry_slice_eq(r->set[i].name, name))
            return true;
    return false;
}

static void add(const struct ferry_cgi_request *r, struct ferry_params_writer *w,
                struct ferry_slice name, struct ferry_slice value, struct ferry_slice rest)
{
    if (!is_set(r, name))
        ferry_params_add_pieces(w, name, (struct ferry_slice[]){value, rest}, 2);
}

/* Writes field i and all that have the same name behind it as one. */
__attribute__((noinline)) static void add_joined(const struct ferry_cgi_request *r,
                                                 struct survey *s, unsigned i,
                                                 struct ferry_slice name,
                                                 struct ferry_params_writer *w)
{
    struct ferry_slice separator = s->use[i] == COOKIE ? FERRY_SLICE("; ") : FERRY_SLICE(", ");
    struct ferry_slice pieces[2 * FIELDS_MAX];
    bool first_only = s->use[i] == TYPE; /* two types joined are none */
    size_t n = 0;

    pieces[n++] = r->fields[i].value;
    for (unsigned j = i + 1; j < r->nfields; j++) {
        if (s->key[j] != s->key[i] || s->use[j] == NOTHING ||
            !same_name(r->fields[i].name, r->fields[j].name))
            continue;
        s->use[j] = NOTHING;
        if (first_only)
            continue;
        pieces[n++] = separator;
        pieces[n++] = r->fields[j].value;
    }
    ferry_params_add_pieces(w, name, pieces, n);
}

static void add_fields(const struct ferry_cgi_request *r, struct survey *s,
                       struct ferry_params_writer *w)
{
    char buf[5 + NAME_MAX_LEN] = "HTTP_";

    for (unsigned i = 0; i < r->nfields; i++) {
        struct ferry_slice field = r->fields[i].name, name;
        bool good = true;

        if (s->use[i] == NOTHING || s->use[i] == CONNECTION)
            continue;
        if (s->use[i] == TYPE) {
            name = FERRY_SLICE("CONTENT_TYPE");
        } else {
            for (size_t j = 0; j < field.len; j++) {
                buf[5 + j] = name_bytes[(uint8_t)field.p[j]];
                good &= buf[5 + j] != 0;
            }
            if (!good)
                continue;
            name = ferry_slice(buf, 5 + field.len);
        }
        if (r->nset && is_set(r, name))
            continue;
        if (s->twice >> s->key[i] & 1)
            add_joined(r, s, i, name, w);
        else
            ferry_params_add(w, name, r->fields[i].value);
    }
}

size_t ferry_cgi_params_room(const struct ferry_cgi_request *r)
{
    /* The params that no single member makes, their values included where those are fixed; the last
     * two stand for a number's digits and the slash that a target may lack. */
    static const char others[] = "REQUEST_URI"
                                 "DOCUMENT_URI"
                                 "PATH_TRANSLATED"
                                 "HTTPS"
                                 "on"
                                 "GATEWAY_INTERFACE"
                                 "CGI/1.1"
                                 "REDIRECT_STATUS"
                                 "200"
                                 "HTTP_HOST"
                                 "CONTENT_LENGTH"
                                 "18446744073709551615"
                                 "/";
    size_t n = sizeof others + 8 * LENGTHS;

#define X(when, name, member) n += sizeof(name) - 1 + r->member.len + LENGTHS;
    PARAM_MAP(X)
#undef X
    n += r->target.len + r->script_name.len + r->path_info.len;
    n += r->document_root.len + r->path_info.len;
    for (unsigned i = 0; i < r->nfields; i++)
        n += sizeof "HTTP_" + r->fields[i].name.len + r->fields[i].value.len + LENGTHS;
    for (unsigned i = 0; i < r->nset; i++)
        n += r->set[i].name.len + r->set[i].value.len + LENGTHS;
    return ferry_params_room(n);
}

static bool is_wanted(const struct ferry_cgi_request *r, enum when when, struct ferry_slice value)
{
    if (when == SCRIPT || (when == SCRIPT_NAME && r->no_basic))
        return value.len > 0;
    return !r->no_basic && (when != SET || value.len);
}

/* The params that are no member as it is, and that no field makes. */
static void add_made(const struct ferry_cgi_request *r, const struct survey *s,
                     struct ferry_params_writer *w)
{
    const struct ferry_slice none = FERRY_SLICE("");

    if (!r->no_basic)
        add(r, w, FERRY_SLICE("REQUEST_URI"), s->path, s->rest);
    if (!r->no_basic || r->script_name.len || r->path_info.len)
        add(r, w, FERRY_SLICE("DOCUMENT_URI"), r->script_name, r->path_info);
    if (r->path_info.len && r->document_root.len)
        add(r, w, FERRY_SLICE("PATH_TRANSLATED"), r->document_root, r->path_info);
    if (r->no_basic)
        return;
    if (ferry_slice_eq(r->scheme, FERRY_SLICE("https")))
        add(r, w, FERRY_SLICE("HTTPS"), FERRY_SLICE("on"), none);
    add(r, w, FERRY_SLICE("GATEWAY_INTERFACE"), FERRY_SLICE("CGI/1.1"), none);
    add(r, w, FERRY_SLICE("REDIRECT_STATUS"), FERRY_SLICE("200"), none);
}

void ferry_cgi_params(const struct ferry_cgi_request *r, struct ferry_params_writer *w)
{
    struct survey s;

    if (r->nfields > FIELDS_MAX) {
        if (!w->err)
            w->err = FERRY_ELIMIT;
        return;
    }
    look_over(r, &s);

#define X(when, name, member)                                                                      \
    if (is_wanted(r, when, r->member) && !is_set(r, FERRY_SLICE(name)))                            \
        ferry_params_add(w, FERRY_SLICE(name), r->member);
    PARAM_MAP(X)
#undef X
    add_made(r, &s, w);
    if (!r->no_fields) {
        if (s.authority.len)
            add(r, w, FERRY_SLICE("HTTP_HOST"), s.authority, FERRY_SLICE(""));
        add_fields(r, &s, w);
    }
    for (unsigned i = 0; i < r->nset; i++)
        if (r->set[i].value.p)
            ferry_params_add(w, r->set[i].name, r->set[i].value);
}

void ferry_cgi_content_length(struct ferry_params_writer *w, uint64_t len)
{
    char digits[20];
    size_t at = sizeof digits;

    do
        digits[--at] = (char)('0' + len % 10);
    while (len /= 10);
    ferry_params_add(w, FERRY_SLICE("CONTENT_LENGTH"),
                     ferry_slice(digits + at, sizeof digits - at));
}
