/* SPDX-License-Identifier: MIT */
/*
 * The filters that say what a path means without asking a file system: which part of it names a
 * script, that one script answers all of them, and below which prefix an application lives.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/text.h"
#include "session/internal.h"

/* -- split_path_info --------------------------------------------------------------------------- */

#define SUFFIXES_MAX 32
#define SUFFIX_LEN_MAX 32

struct split {
    unsigned n;
    struct ferry_slice suffixes[SUFFIXES_MAX];
    char text[SUFFIXES_MAX][SUFFIX_LEN_MAX];
};

static bool is_script(const struct split *sp, struct ferry_slice path, size_t segment_len)
{
    for (unsigned i = 0; i < sp->n; i++)
        if (segment_len > sp->suffixes[i].len && ferry_slice_ends_nocase(path, sp->suffixes[i]))
            return true;
    return false;
}

static int run_split(struct ferry_session *s, void *filter, void *local)
{
    struct ferry_slice path = ferry_session_path(s);
    size_t end = 0;

    (void)local;
    while (end < path.len) {
        size_t from = end + 1;

        end = from + ferry_slice_find(ferry_slice_from(path, from), '/');
        if (is_script(filter, ferry_slice_first(path, end), end - from)) {
            int err = ferry_session_set_script(
                s, &(struct ferry_script){.filename = s->rq.script_filename,
                                          .name = ferry_slice_first(path, end),
                                          .path_info = ferry_slice_from(path, end),
                                          .root = s->rq.document_root});
            return err < 0 ? err : FERRY_STEP_NEXT;
        }
    }
    return FERRY_STEP_NEXT;
}

int ferry_filters_split_path_info(struct ferry_filters *f, const char *const *suffixes, unsigned n)
{
    static const struct ferry_filter_ops ops = {
        .name = "split_path_info", .run = run_split, .free = free};
    static const char *const php[] = {".php"};
    struct split *sp;

    if (!suffixes || !n) {
        suffixes = php;
        n = 1;
    }
    if (n > SUFFIXES_MAX)
        return ferry_filters_refuse(f, "split_path_info: more than %d suffixes", SUFFIXES_MAX);
    for (unsigned i = 0; i < n; i++)
        if (!*suffixes[i] || strlen(suffixes[i]) > SUFFIX_LEN_MAX || strchr(suffixes[i], '/'))
            return ferry_filters_refuse(f, "split_path_info: \"%.60s\" is no suffix such as .php",
                                        suffixes[i]);
    sp = calloc(1, sizeof *sp);
    if (!sp)
        return -ENOMEM;
    for (sp->n = 0; sp->n < n; sp->n++) {
        struct ferry_slice suffix = ferry_slice_z(suffixes[sp->n]);

        ferry__put(sp->text[sp->n], suffix);
        sp->suffixes[sp->n] = ferry_slice(sp->text[sp->n], suffix.len);
    }
    return ferry_filters_push(f, &ops, sp);
}

/* -- strip_prefix ------------------------------------------------------------------------------ */

struct prefix {
    struct ferry_slice prefix; /* without a slash at its end */
    char text[];
};

static int run_strip_prefix(struct ferry_session *s, void *filter, void *local)
{
    struct ferry_slice prefix = ((const struct prefix *)filter)->prefix;
    struct ferry_slice path = ferry_session_path(s);
    struct ferry_slice rest = ferry_slice_from(path, prefix.len);
    char *mount;
    int err;

    (void)local;
    if (!ferry_slice_starts(path, prefix) || (rest.len && rest.p[0] != '/'))
        return ferry_session_refuse(s, 404, "There is nothing at this address.");
    mount = ferry_session_alloc(s, s->mount.len + prefix.len);
    if (!mount)
        return -ENOMEM;
    ferry__put(ferry__put(mount, s->mount), prefix);
    s->mount = ferry_slice(mount, s->mount.len + prefix.len);
    err = ferry_session_set_path(s, rest.len ? rest : FERRY_SLICE("/"));
    if (err < 0)
        return err;
    s->rq.script_name = s->mount; /* unless a script is found */
    s->rq.path_info = ferry_slice_first(s->path.path, rest.len);
    return FERRY_STEP_NEXT;
}

int ferry_filters_strip_prefix(struct ferry_filters *f, const char *prefix)
{
    static const struct ferry_filter_ops ops = {
        .name = "strip_prefix", .run = run_strip_prefix, .free = free};
    struct ferry_slice text = ferry_slice_z(prefix);
    struct prefix *p;

    if (text.len && text.p[text.len - 1] == '/')
        text.len--;
    if (text.len < 2 || text.p[0] != '/' || text.p[text.len - 1] == '/' ||
        memmem(text.p, text.len, "//", 2))
        return ferry_filters_refuse(f, "strip_prefix: \"%.60s\" is no prefix such as /shop",
                                    prefix ? prefix : "");
    p = calloc(1, sizeof *p + text.len);
    if (!p)
        return -ENOMEM;
    ferry__put(p->text, text);
    p->prefix = ferry_slice(p->text, text.len);
    return ferry_filters_push(f, &ops, p);
}

/* -- file_endpoint ----------------------------------------------------------------------------- */

struct endpoint {
    struct ferry_slice file, root, name; /* name begins with a slash */
    char text[];
};

/* The path as a client would have to send it. */
static struct ferry_slice escaped(struct ferry_session *s, struct ferry_slice path,
                                  struct ferry_slice query)
{
    static const char plain[] = "-._~/!$&'()*+,;=:@";
    char *to = ferry_session_alloc(s, path.len * 3 + query.len + 1), *at = to;

    if (!to)
        return ferry_slice(NULL, 0);
    for (size_t i = 0; i < path.len; i++) {
        char c = path.p[i], lower = ferry_ascii_lower(c);

        if ((lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') ||
            memchr(plain, c, sizeof plain - 1)) {
            *at++ = c;
        } else {
            *at++ = '%';
            *at++ = "0123456789ABCDEF"[(unsigned char)c >> 4];
            *at++ = "0123456789ABCDEF"[(unsigned char)c & 15];
        }
    }
    if (query.len) {
        *at++ = '?';
        at = ferry__put(at, query);
    }
    return ferry_slice(to, (size_t)(at - to));
}

/* The target without the prefix that was taken off its path, spelt as it was sent where that is
 * possible. p == NULL: no memory. */
static struct ferry_slice target_below(struct ferry_session *s)
{
    struct ferry_slice target = ferry_session_target(s);
    struct ferry_slice rest = ferry_slice_from(target, s->mount.len);

    if (ferry_slice_starts(target, s->mount) && rest.len && rest.p[0] == '/')
        return rest;
    return escaped(s, ferry_session_path(s), ferry_session_query(s));
}

static int run_file_endpoint(struct ferry_session *s, void *filter, void *local)
{
    const struct endpoint *e = filter;
    struct ferry_slice path = ferry_session_path(s), info = path, rest, target;
    int err = 0;

    (void)local;
    if (s->mount.len) {
        target = target_below(s);
        err = target.p ? ferry__session_make_param(s, FERRY_SLICE("REQUEST_URI"), target) : -ENOMEM;
        s->mount.len = 0; /* the script lives at "/" now, and knows of no prefix */
    }
    rest = ferry_slice_from(path, e->name.len);
    if (ferry_slice_starts(path, e->name) && (!rest.len || rest.p[0] == '/'))
        info = rest;
    if (err == 0)
        err = ferry__session_make_param(s, FERRY_SLICE("DOCUMENT_URI"), path);
    if (err == 0)
        err = ferry_session_set_script(
            s, &(struct ferry_script){
                   .filename = e->file, .name = e->name, .path_info = info, .root = e->root});
    return err < 0 ? err : FERRY_STEP_NEXT;
}

int ferry_filters_file_endpoint(struct ferry_filters *f, const char *file)
{
    static const struct ferry_filter_ops ops = {
        .name = "file_endpoint", .run = run_file_endpoint, .free = free};
    size_t len = file ? strlen(file) : 0;
    struct endpoint *e;
    size_t slash;

    if (!len || file[0] != '/' || file[len - 1] == '/')
        return ferry_filters_refuse(f, "file_endpoint: \"%.60s\" is no file's whole path",
                                    file ? file : "");
    e = calloc(1, sizeof *e + len + 1);
    if (!e)
        return -ENOMEM;
    memcpy(e->text, file, len);
    slash = (size_t)(strrchr(e->text, '/') - e->text);
    e->file = ferry_slice(e->text, len);
    e->name = ferry_slice_from(e->file, slash);
    e->root = ferry_slice(e->text, slash ? slash : 1);
    return ferry_filters_push(f, &ops, e);
}
