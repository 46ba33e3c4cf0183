/* SPDX-License-Identifier: MIT */
/*
 * From a request target to a path, and on to a file or script. A target is decoded exactly once,
 * byte by byte, and dot segments are resolved on what came out, so no spelling of a path can mean
 * something else further on. No script or file is handed over that `look` did not say is there:
 * what is not there goes to the front controller or nowhere, never to a shorter name.
 */
#include "cgi/path.h"

enum byte_kind { BYTE_PLAIN, BYTE_SLASH, BYTE_ESCAPE, BYTE_QUERY, BYTE_BAD };

static const uint8_t byte_kinds[256] = {
    [0 ... 0x20] = BYTE_BAD, ['#'] = BYTE_BAD,    [0x7f] = BYTE_BAD,
    ['/'] = BYTE_SLASH,      ['%'] = BYTE_ESCAPE, ['?'] = BYTE_QUERY,
};

static const char *bad_byte(char c)
{
    return c == '#' ? "a fragment in the request target"
                    : "a control byte or a blank in the request target";
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ferry_ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The path being written: it always begins with '/', and `segment` is where its last segment does.
 */
struct writing {
    char *start, *segment, *at;
};

/* Ends the segment being written, with a slash behind it unless it is the last: false when it leads
 * out of the root. */
static bool end_segment(struct writing *w, bool last)
{
    size_t len = (size_t)(w->at - w->segment);

    if (len == 1 && w->segment[0] == '.') {
        w->at = w->segment;
    } else if (len == 2 && w->segment[0] == '.' && w->segment[1] == '.') {
        if (w->segment == w->start + 1)
            return false;
        w->at = w->segment - 1;
        while (w->at[-1] != '/')
            w->at--;
    } else if (len && !last) {
        *w->at++ = '/';
    }
    w->segment = w->at;
    return true;
}

/* Decodes raw up to its query: 0, and where it stopped in *taken. */
static int decode(struct ferry_slice raw, struct writing *w, size_t *taken, const char **why)
{
    size_t i = 0;

    for (; i < raw.len; i++) {
        char c = raw.p[i];
        enum byte_kind kind = byte_kinds[(uint8_t)c];

        if (kind == BYTE_QUERY)
            break;
        if (kind == BYTE_BAD) {
            *why = bad_byte(c);
            return FERRY_EPROTOCOL;
        }
        if (kind == BYTE_ESCAPE) {
            int high = i + 2 < raw.len ? hex(raw.p[i + 1]) : -1;
            int low = i + 2 < raw.len ? hex(raw.p[i + 2]) : -1;

            if (high < 0 || low < 0) {
                *why = "a bad escape in the path";
                return FERRY_EPROTOCOL;
            }
            c = (char)(high << 4 | low);
            if ((uint8_t)c < 0x20 || c == 0x7f) {
                *why = "an escaped control byte in the path";
                return FERRY_EPROTOCOL;
            }
            i += 2;
        }
        if (c != '/') {
            *w->at++ = c;
        } else if (!end_segment(w, false)) {
            *why = "the path leaves the root";
            return FERRY_EPROTOCOL;
        }
    }
    if (!end_segment(w, true)) {
        *why = "the path leaves the root";
        return FERRY_EPROTOCOL;
    }
    *taken = i;
    return 0;
}

/* Takes "http://authority" off an absolute-form target (RFC 9112 section 3.2.2). */
static int take_authority(struct ferry_slice *target, struct ferry_slice *authority,
                          const char **why)
{
    static const struct ferry_slice schemes[] = {FERRY_SLICE_INIT("http://"),
                                                 FERRY_SLICE_INIT("https://")};
    size_t len = 0;

    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (ferry_slice_eq_nocase(ferry_slice_first(*target, schemes[i].len), schemes[i]))
            len = schemes[i].len;
    if (!len) {
        *why = "the request target is neither a path nor an http URL";
        return FERRY_EPROTOCOL;
    }
    *target = ferry_slice_from(*target, len);
    for (len = 0; len < target->len && target->p[len] != '/' && target->p[len] != '?'; len++) {
        char c = target->p[len];

        /* User names here only serve to deceive (RFC 9110 section 4.2.4). */
        if (byte_kinds[(uint8_t)c] == BYTE_BAD || (uint8_t)c >= 0x80 ||
            memchr("@\\\"<>^`{|}", c, 10)) {
            *why = "a bad byte in the authority of the request target";
            return FERRY_EPROTOCOL;
        }
    }
    if (!len) {
        *why = "an empty authority in the request target";
        return FERRY_EPROTOCOL;
    }
    *authority = ferry_slice_first(*target, len);
    *target = ferry_slice_from(*target, len);
    return 0;
}

int ferry_path_parse(struct ferry_slice target, char *mem, struct ferry_path *out, const char **why)
{
    struct ferry_slice authority = {NULL, 0}, query;
    struct writing w = {mem, mem + 1, mem + 1};
    size_t taken;
    int err;

    if (ferry_slice_eq(target, FERRY_SLICE("*"))) {
        *out = (struct ferry_path){.path = {mem, 0}};
        return 0;
    }
    if (target.len == 0 || target.p[0] != '/') {
        err = take_authority(&target, &authority, why);
        if (err)
            return err;
    }
    mem[0] = '/';
    err = decode(target, &w, &taken, why);
    if (err)
        return err;
    query = ferry_slice_from(target, taken + 1);
    for (size_t i = 0; i < query.len; i++)
        if (byte_kinds[(uint8_t)query.p[i]] == BYTE_BAD) {
            *why = bad_byte(query.p[i]);
            return FERRY_EPROTOCOL;
        }
    out->authority = authority;
    out->query = query;
    out->path = ferry_slice(mem, (size_t)(w.at - mem));
    return 0;
}

/*
 * What is never sent as a file. X(when, how, text): ALWAYS, or only where the document root is the
 * project ROOT; NAME is a whole base name, SUFFIX its end, BEHIND an end behind a script's suffix,
 * WITHIN anywhere in it. Scripts' sources, the copies that editors leave of them, and in a project
 * what its authors keep beside the site.
 */
#define NEVER_MAP(X)                                                                               \
    X(ALWAYS, SUFFIX, ".php")                                                                      \
    X(ALWAYS, SUFFIX, ".phtml")                                                                    \
    X(ALWAYS, SUFFIX, ".pht")                                                                      \
    X(ALWAYS, SUFFIX, ".phps")                                                                     \
    X(ALWAYS, SUFFIX, ".php3")                                                                     \
    X(ALWAYS, SUFFIX, ".php4")                                                                     \
    X(ALWAYS, SUFFIX, ".php5")                                                                     \
    X(ALWAYS, SUFFIX, ".php6")                                                                     \
    X(ALWAYS, SUFFIX, ".php7")                                                                     \
    X(ALWAYS, SUFFIX, ".php8")                                                                     \
    X(ALWAYS, SUFFIX, ".inc")                                                                      \
    X(ALWAYS, SUFFIX, "~")                                                                         \
    X(ALWAYS, SUFFIX, "#")                                                                         \
    X(ALWAYS, SUFFIX, ".bak")                                                                      \
    X(ALWAYS, SUFFIX, ".swp")                                                                      \
    X(ALWAYS, SUFFIX, ".swo")                                                                      \
    X(ALWAYS, SUFFIX, ".orig")                                                                     \
    X(ALWAYS, BEHIND, ".old")                                                                      \
    X(ALWAYS, BEHIND, ".save")                                                                     \
    X(ALWAYS, BEHIND, ".tmp")                                                                      \
    X(ALWAYS, BEHIND, ".dist")                                                                     \
    X(ALWAYS, BEHIND, ".copy")                                                                     \
    X(ALWAYS, BEHIND, ".1")                                                                        \
    X(ROOT, SUFFIX, ".sql")                                                                        \
    X(ROOT, SUFFIX, ".log")                                                                        \
    X(ROOT, SUFFIX, ".env")                                                                        \
    X(ROOT, SUFFIX, ".neon")                                                                       \
    X(ROOT, SUFFIX, ".yaml")                                                                       \
    X(ROOT, SUFFIX, ".yml")                                                                        \
    X(ROOT, WITHIN, ".sql.")                                                                       \
    X(ROOT, WITHIN, ".env.")                                                                       \
    X(ROOT, NAME, "composer.json")                                                                 \
    X(ROOT, NAME, "composer.lock")                                                                 \
    X(ROOT, NAME, "package.json")                                                                  \
    X(ROOT, NAME, "package-lock.json")                                                             \
    X(ROOT, NAME, "yarn.lock")                                                                     \
    X(ROOT, NAME, "artisan")                                                                       \
    X(ROOT, NAME, "phpunit.xml")                                                                   \
    X(ROOT, NAME, "phpunit.xml.dist")                                                              \
    X(ROOT, NAME, "Makefile")                                                                      \
    X(ROOT, NAME, "Dockerfile")

enum when { ALWAYS, ROOT };
enum how { NAME, SUFFIX, BEHIND, WITHIN };

static const struct never {
    enum when when;
    enum how how;
    struct ferry_slice text;
} nevers[] = {
#define X(when, how, text) {when, how, FERRY_SLICE_INIT(text)},
    NEVER_MAP(X)
#undef X
};

/* In a project's root nothing below these is reachable: old scripts in vendor/ are a way in. */
static const struct ferry_slice never_folders[] = {
    FERRY_SLICE_INIT("/vendor/"),
    FERRY_SLICE_INIT("/node_modules/"),
    FERRY_SLICE_INIT("/storage/"),
    FERRY_SLICE_INIT("/config/"),
};

static bool ends_in_one(struct ferry_slice name, const struct ferry_slice *suffixes, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (suffixes[i].len && ferry_slice_ends_nocase(name, suffixes[i]))
            return true;
    return false;
}

static bool is_script(const struct ferry_path_rules *r, struct ferry_slice name)
{
    return ends_in_one(name, r->suffixes, r->nsuffixes);
}

static bool holds_nocase(struct ferry_slice s, struct ferry_slice part)
{
    for (; s.len >= part.len; s = ferry_slice_from(s, 1))
        if (ferry_slice_eq_nocase(ferry_slice_first(s, part.len), part))
            return true;
    return false;
}

static bool never_matches(const struct ferry_path_rules *r, const struct never *n,
                          struct ferry_slice name)
{
    /* The table is asked for every file sent, and nearly every row says no here. */
    if (n->how != WITHIN &&
        (!name.len || ferry_ascii_lower(name.p[name.len - 1]) != n->text.p[n->text.len - 1]))
        return false;
    switch (n->how) {
    case NAME:
        return ferry_slice_eq_nocase(name, n->text);
    case SUFFIX:
        return ferry_slice_ends_nocase(name, n->text);
    case BEHIND:
        if (!ferry_slice_ends_nocase(name, n->text))
            return false;
        name = ferry_slice_first(name, name.len - n->text.len);
        return is_script(r, name) || ferry_slice_ends_nocase(name, FERRY_SLICE(".php"));
    case WITHIN:
        return holds_nocase(name, n->text);
    }
    return true;
}

static bool is_never_sent(const struct ferry_path_rules *r, struct ferry_slice file)
{
    const char *slash = memrchr(file.p, '/', file.len);
    struct ferry_slice name = ferry_slice_from(file, (size_t)(slash - file.p) + 1);

    for (size_t i = 0; i < sizeof nevers / sizeof *nevers; i++)
        if ((nevers[i].when == ALWAYS || r->project_root) && never_matches(r, &nevers[i], name))
            return true;
    return ends_in_one(name, r->hidden, r->nhidden);
}

static bool is_never_reached(const struct ferry_path_rules *r, struct ferry_slice file)
{
    if (!r->project_root)
        return false;
    for (size_t i = 0; i < sizeof never_folders / sizeof *never_folders; i++)
        if (ferry_slice_eq_nocase(ferry_slice_first(file, never_folders[i].len), never_folders[i]))
            return true;
    return false;
}

/* ".well-known" is of RFC 8615. */
bool ferry_path_has_dotfile(struct ferry_slice path)
{
    static const struct ferry_slice known = FERRY_SLICE_INIT("/.well-known");

    if (ferry_slice_starts(path, known) && (path.len == known.len || path.p[known.len] == '/'))
        path = ferry_slice_from(path, known.len);
    return memmem(path.p, path.len, "/.", 2) != NULL;
}

bool ferry_path_may_send(const struct ferry_path_rules *r, struct ferry_slice path)
{
    return path.len && path.p[0] == '/' && !ferry_path_has_dotfile(path) &&
           !is_never_reached(r, path) && !is_script(r, path) && !is_never_sent(r, path);
}

/* The one place where a file becomes a route: `file` is there. */
static void route_file(const struct ferry_path_rules *r, struct ferry_slice file,
                       struct ferry_slice path_info, struct ferry_route *out)
{
    *out = (struct ferry_route){.kind = FERRY_ROUTE_HIDDEN};
    if (is_never_reached(r, file))
        return;
    if (is_script(r, file)) {
        *out = (struct ferry_route){FERRY_ROUTE_SCRIPT, file, file, path_info};
        return;
    }
    if (!is_never_sent(r, file))
        *out = (struct ferry_route){.kind = FERRY_ROUTE_STATIC, .file = file};
}

/*
 * Looks at each part of the path that is named like a script, from the left. Returns what lies at
 * the first that is not a directory, FERRY_PATH_NONE ending all hope for the path; when there is no
 * such, FERRY_PATH_DIR. *len is the part's.
 */
static enum ferry_path_kind look_scripts(const struct ferry_path_rules *r, struct ferry_slice path,
                                         size_t *len)
{
    for (*len = 0; *len < path.len;) {
        *len += 1 + ferry_slice_find(ferry_slice_from(path, *len + 1), '/');
        if (is_script(r, ferry_slice_first(path, *len))) {
            enum ferry_path_kind kind = r->look(r->ctx, ferry_slice_first(path, *len));
            if (kind != FERRY_PATH_DIR)
                return kind;
        }
    }
    return FERRY_PATH_DIR;
}

static struct ferry_slice join(char *mem, struct ferry_slice folder, struct ferry_slice name)
{
    size_t len = folder.len;

    memcpy(mem, folder.p, len);
    if (mem[len - 1] != '/')
        mem[len++] = '/';
    memcpy(mem + len, name.p, name.len);
    return ferry_slice(mem, len + name.len);
}

/* Routes to the index of a folder, if it has one. */
static bool route_index(const struct ferry_path_rules *r, struct ferry_slice folder, char *mem,
                        struct ferry_route *out)
{
    for (unsigned i = 0; i < r->nindex; i++) {
        struct ferry_slice file;

        if (!r->index[i].len)
            continue;
        file = join(mem, folder, r->index[i]);
        if (r->look(r->ctx, file) != FERRY_PATH_FILE)
            continue;
        route_file(r, file, FERRY_SLICE(""), out);
        if (out->kind != FERRY_ROUTE_HIDDEN && folder.p[folder.len - 1] != '/')
            *out = (struct ferry_route){.kind = FERRY_ROUTE_REDIRECT, .file = folder};
        return true;
    }
    return false;
}

static void route_front(const struct ferry_path_rules *r, struct ferry_route *out)
{
    *out = (struct ferry_route){.kind = FERRY_ROUTE_NOT_FOUND};
    if (!r->front.len || !is_script(r, r->front))
        return;
    if (r->look(r->ctx, r->front) == FERRY_PATH_FILE)
        route_file(r, r->front, FERRY_SLICE(""), out);
}

size_t ferry_path_room(const struct ferry_path_rules *r, struct ferry_slice path)
{
    size_t longest = 0;

    for (unsigned i = 0; i < r->nindex; i++)
        longest = r->index[i].len > longest ? r->index[i].len : longest;
    return path.len + longest + 2;
}

int ferry_path_route(const struct ferry_path_rules *r, struct ferry_slice path, char *mem,
                     size_t mem_cap, struct ferry_route *out)
{
    enum ferry_path_kind kind;
    size_t script_len;

    if (mem_cap < ferry_path_room(r, path))
        return FERRY_ELIMIT;
    *out = (struct ferry_route){.kind = FERRY_ROUTE_NOT_FOUND};
    if (!path.len || path.p[0] != '/')
        return 0;
    if (ferry_path_has_dotfile(path)) {
        out->kind = FERRY_ROUTE_HIDDEN;
        return 0;
    }
    kind = look_scripts(r, path, &script_len);
    if (kind == FERRY_PATH_FILE) {
        route_file(r, ferry_slice_first(path, script_len), ferry_slice_from(path, script_len), out);
        return 0;
    }
    if (kind == FERRY_PATH_DIR && path.p[path.len - 1] != '/' && !is_script(r, path))
        kind = r->look(r->ctx, path);
    if (kind == FERRY_PATH_FILE)
        route_file(r, path, FERRY_SLICE(""), out);
    else if (kind == FERRY_PATH_NONE || !route_index(r, path, mem, out))
        route_front(r, out);
    return 0;
}

size_t ferry_path_split(const struct ferry_slice *suffixes, unsigned n, struct ferry_slice path)
{
    for (size_t start = 0; start < path.len;) {
        size_t end = start + 1 + ferry_slice_find(ferry_slice_from(path, start + 1), '/');
        struct ferry_slice segment = ferry_slice(path.p + start + 1, end - start - 1);

        for (unsigned i = 0; i < n; i++)
            if (suffixes[i].len && segment.len > suffixes[i].len &&
                ferry_slice_ends_nocase(segment, suffixes[i]))
                return end;
        start = end;
    }
    return 0;
}
