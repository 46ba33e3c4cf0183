/* SPDX-License-Identifier: MIT */
/*
 * A request target, and a file system that the input describes: lines of names behind the first
 * line, folders with a slash at their end. Whatever the target spells, no path leads above the
 * root, nothing is handed over that is not there, and no script is ever sent as a file.
 */
#include "cgi/path.h"

#include <stdlib.h>

#define check(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static enum ferry_path_kind find(struct ferry_slice lines, struct ferry_slice path)
{
    while (lines.len) {
        size_t end = ferry_slice_find(lines, '\n');
        struct ferry_slice name = ferry_slice_first(lines, end);

        lines = ferry_slice_from(lines, end + 1);
        if (ferry_slice_eq(name, path))
            return FERRY_PATH_FILE;
        if (name.len == path.len + 1 && name.p[path.len] == '/' && ferry_slice_starts(name, path))
            return FERRY_PATH_DIR;
    }
    return FERRY_PATH_NONE;
}

static void check_path(struct ferry_slice path)
{
    size_t segment = 1;

    check(path.len && path.p[0] == '/');
    for (size_t i = 1; i <= path.len; i++) {
        size_t len = i - segment;

        check(i == path.len || ((uint8_t)path.p[i] >= 0x20 && path.p[i] != 0x7f));
        if (i < path.len && path.p[i] != '/')
            continue;
        check(len || i == path.len);
        check(!(len == 1 && path.p[segment] == '.'));
        check(!(len == 2 && path.p[segment] == '.' && path.p[segment + 1] == '.'));
        segment = i + 1;
    }
}

static enum ferry_path_kind look(void *ctx, struct ferry_slice path)
{
    const struct ferry_slice *lines = ctx;

    check_path(path);
    check(path.len > 1 && path.p[path.len - 1] != '/');
    return find(*lines, path);
}

static void check_route(const struct ferry_path_rules *r, struct ferry_slice lines,
                        struct ferry_slice path, const struct ferry_route *got)
{
    bool script = ferry_slice_ends_nocase(got->file, FERRY_SLICE(".php")) ||
                  ferry_slice_ends_nocase(got->file, FERRY_SLICE(".x"));
    struct ferry_slice whole;

    if (memmem(path.p, path.len, "/.", 2) && !ferry_slice_starts(path, FERRY_SLICE("/.well-known")))
        check(got->kind == FERRY_ROUTE_HIDDEN);
    switch (got->kind) {
    case FERRY_ROUTE_SCRIPT:
        check(script && r->nsuffixes);
        check(find(lines, got->file) == FERRY_PATH_FILE);
        check(ferry_slice_eq(got->script_name, got->file));
        check(!got->path_info.len || got->path_info.p[0] == '/');
        /* With path info it is the path, cut in two; without it may be an index. */
        whole = ferry_slice(got->file.p, got->file.len + got->path_info.len);
        check(!got->path_info.len || ferry_slice_eq(whole, path));
        break;
    case FERRY_ROUTE_STATIC:
        check(!script || !r->nsuffixes);
        check(!ferry_slice_ends_nocase(got->file, FERRY_SLICE(".php")));
        check(!r->nhidden || !ferry_slice_ends_nocase(got->file, FERRY_SLICE(".h")));
        check(ferry_path_may_send(r, got->file));
        check(find(lines, got->file) == FERRY_PATH_FILE);
        check(ferry_slice_starts(got->file, path));
        break;
    case FERRY_ROUTE_REDIRECT:
        check(ferry_slice_eq(got->file, path) && find(lines, path) == FERRY_PATH_DIR);
        break;
    case FERRY_ROUTE_HIDDEN:
    case FERRY_ROUTE_NOT_FOUND:
        check(!got->file.len && !got->path_info.len);
        break;
    }
}

static void check_split(const struct ferry_slice *suffixes, unsigned n, struct ferry_slice path)
{
    size_t len = ferry_path_split(suffixes, n, path);
    bool ends = false;

    check(len <= path.len);
    if (!len)
        return;
    for (unsigned i = 0; i < n; i++)
        ends |= ferry_slice_ends_nocase(ferry_slice_first(path, len), suffixes[i]);
    check(ends && (len == path.len || path.p[len] == '/'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct ferry_slice in = {(const char *)data, n}, target, lines;
    struct ferry_path path;
    const char *why = NULL;
    char *mem, *mem2;

    target = ferry_slice_first(in, ferry_slice_find(in, '\n'));
    lines = ferry_slice_from(in, target.len + 1);
    mem = malloc(target.len + 1);
    check(mem);
    if (ferry_path_parse(target, mem, &path, &why) < 0) {
        check(why);
        free(mem);
        return 0;
    }
    if (path.path.len) {
        check_path(path.path);
        check(path.path.p == mem && path.path.len <= target.len + 1);
    }
    for (int i = 0; i < 16; i++) {
        static const struct ferry_slice suffixes[] = {FERRY_SLICE_INIT(".x"),
                                                      FERRY_SLICE_INIT(".php")};
        static const struct ferry_slice index[] = {
            FERRY_SLICE_INIT("index.php"), FERRY_SLICE_INIT("index.html"), FERRY_SLICE_INIT("i.x")};
        static const struct ferry_slice hidden = FERRY_SLICE_INIT(".h");
        struct ferry_path_rules r = {.suffixes = suffixes,
                                     .nsuffixes = i & 2 ? 0 : 2,
                                     .index = index,
                                     .nindex = i & 4 ? 1 : 3,
                                     .front = i & 8 ? FERRY_SLICE("") : FERRY_SLICE("/index.php"),
                                     .hidden = &hidden,
                                     .nhidden = i & 4 ? 1 : 0,
                                     .project_root = i & 1,
                                     .look = look,
                                     .ctx = &lines};
        size_t cap = ferry_path_room(&r, path.path);
        struct ferry_route got;

        mem2 = malloc(cap);
        check(mem2);
        check(ferry_path_route(&r, path.path, mem2, cap, &got) == 0);
        check_route(&r, lines, path.path, &got);
        check_split(suffixes, 2, path.path);
        free(mem2);
    }
    free(mem);
    return 0;
}
