/* SPDX-License-Identifier: MIT */
#include "cgi/path.h"

#include "support.h"

#include <stdio.h>

static struct ferry_slice z(const char *s)
{
    return ferry_slice_z(s);
}

/* Parses a target that ends at a guard page into memory that is just enough. */
static int parse(struct ferry_slice target, struct ferry_path *out, const char **why)
{
    static const char zeros[4096];
    char *at = guard_copy(0, target.p, target.len);
    char *mem;

    assert_true(target.len < sizeof zeros);
    mem = guard_copy(1, zeros, target.len + 1);
    return ferry_path_parse(ferry_slice(at, target.len), mem, out, why);
}

static void check(const char *target, struct ferry_slice got, const char *want)
{
    if (!ferry_slice_eq(got, ferry_slice_z(want)))
        fail_msg("%s: got '%.*s', want '%s'", target, (int)got.len, got.p ? got.p : "", want);
}

static void targets_become_paths(void **state)
{
    static const struct {
        const char *target, *want_path, *want_query, *want_authority;
    } cases[] = {
        {"/", "/", "", ""},
        {"/?", "/", "", ""},
        {"/a/b", "/a/b", "", ""},
        {"/a/b/", "/a/b/", "", ""},
        {"/a?b=c", "/a", "b=c", ""},
        {"/a?b?c", "/a", "b?c", ""},
        {"/a?/../%00%zz", "/a", "/../%00%zz", ""}, /* queries stay as they are */
        {"//", "/", "", ""},
        {"//evil.example/x", "/evil.example/x", "", ""},
        {"/a//b///c", "/a/b/c", "", ""},
        {"/a//", "/a/", "", ""},
        {"/.", "/", "", ""},
        {"/./", "/", "", ""},
        {"/a/.", "/a/", "", ""},
        {"/a/./b", "/a/b", "", ""},
        {"/a/..", "/", "", ""},
        {"/a/../", "/", "", ""},
        {"/a/../b", "/b", "", ""},
        {"/a/b/../c", "/a/c", "", ""},
        {"/a/b/../../c", "/c", "", ""},
        {"/a/b/..", "/a/", "", ""},
        {"/a//../b", "/b", "", ""},
        {"/a/./../b", "/b", "", ""},
        {"/...", "/...", "", ""},
        {"/..a", "/..a", "", ""},
        {"/a../b", "/a../b", "", ""},
        {"/.a", "/.a", "", ""},
        {"/%61%2e%2E", "/a..", "", ""},
        {"/a/%2e%2e/b", "/b", "", ""},
        {"/a/.%2e/b", "/b", "", ""},
        {"/a/%2E/b", "/a/b", "", ""},
        {"/a%2fb", "/a/b", "", ""},
        {"/a%2F%2fb", "/a/b", "", ""},
        {"/a%2f..%2fb", "/b", "", ""},
        {"/a%2f", "/a/", "", ""},
        {"/%20%25%3f%23", "/ %?#", "", ""},
        {"/%2541", "/%41", "", ""}, /* once only */
        {"/%252e%252e/a", "/%2e%2e/a", "", ""},
        {"/a\\..\\b", "/a\\..\\b", "", ""},
        {"/%5c", "/\\", "", ""},
        {"/caf\xc3\xa9", "/caf\xc3\xa9", "", ""},
        {"/%ff%C0%AE", "/\xff\xc0\xae", "", ""},
        {"/a;b=1/c", "/a;b=1/c", "", ""},
        {"/index.php/x%20y?q=1", "/index.php/x y", "q=1", ""},
        {"*", "", "", ""},
        {"http://h", "/", "", "h"},
        {"http://h?q", "/", "q", "h"},
        {"http://h/", "/", "", "h"},
        {"HTTP://Ho.st:80/a/../b?q", "/b", "q", "Ho.st:80"},
        {"https://[::1]:8443/a", "/a", "", "[::1]:8443"},
        {"http://h//a", "/a", "", "h"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_path got;
        const char *why = NULL;

        if (parse(z(cases[i].target), &got, &why) != 0)
            fail_msg("%s: refused: %s", cases[i].target, why);
        check(cases[i].target, got.path, cases[i].want_path);
        check(cases[i].target, got.query, cases[i].want_query);
        check(cases[i].target, got.authority, cases[i].want_authority);
    }
}

static void bad_targets_are_refused(void **state)
{
    static const struct {
        const char *target, *want_why;
    } cases[] = {
        {"", "neither a path nor"},
        {"a", "neither a path nor"},
        {"**", "neither a path nor"},
        {"*?q", "neither a path nor"},
        {"example.org:443", "neither a path nor"},
        {"ftp://h/", "neither a path nor"},
        {"http:/h/", "neither a path nor"},
        {"http", "neither a path nor"},
        {"?q", "neither a path nor"},
        {"\\a", "neither a path nor"},
        {"%2fa", "neither a path nor"},
        {"http://", "empty authority"},
        {"http:///a", "empty authority"},
        {"http://?a", "empty authority"},
        {"http://user@h/", "bad byte in the authority"},
        {"http://h\\@evil/", "bad byte in the authority"},
        {"http://h h/", "bad byte in the authority"},
        {"http://h\xc3\xa9/", "bad byte in the authority"},
        {"http://h#f", "bad byte in the authority"},
        {"/..", "leaves the root"},
        {"/../", "leaves the root"},
        {"/../a", "leaves the root"},
        {"/a/../..", "leaves the root"},
        {"/a/../../b", "leaves the root"},
        {"/%2e%2e/", "leaves the root"},
        {"/%2e.", "leaves the root"},
        {"/..%2f", "leaves the root"},
        {"/..%2fetc/passwd", "leaves the root"},
        {"/a//../../b", "leaves the root"},
        {"/./..", "leaves the root"},
        {"http://h/../", "leaves the root"},
        {"/%", "bad escape"},
        {"/%4", "bad escape"},
        {"/%4g", "bad escape"},
        {"/%g4", "bad escape"},
        {"/%%41", "bad escape"},
        {"/a%?41", "bad escape"},
        {"/%u0041", "bad escape"},
        {"/% 41", "bad escape"},
        {"/%00", "escaped control"},
        {"/a%00.php", "escaped control"},
        {"/%0a", "escaped control"},
        {"/%0D", "escaped control"},
        {"/%09", "escaped control"},
        {"/%1f", "escaped control"},
        {"/%7F", "escaped control"},
        {"/a#f", "a fragment"},
        {"/a?b#f", "a fragment"},
        {"/#", "a fragment"},
        {"/a b", "a control byte or a blank"},
        {"/a\tb", "a control byte or a blank"},
        {"/a\nb", "a control byte or a blank"},
        {"/a\x7f", "a control byte or a blank"},
        {"/a?b c", "a control byte or a blank"},
        {"/a?b\r", "a control byte or a blank"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_path got = {.query = FERRY_SLICE("untouched")};
        const char *why = "";

        if (parse(z(cases[i].target), &got, &why) != FERRY_EPROTOCOL)
            fail_msg("'%s' was taken", cases[i].target);
        if (!strstr(why, cases[i].want_why))
            fail_msg("'%s': got \"%s\", want \"%s\"", cases[i].target, why, cases[i].want_why);
        assert_slice_equal(got.query, "untouched");
    }
}

/* A raw NUL cannot stand in the tables above. */
static void a_raw_nul_is_refused(void **state)
{
    struct ferry_path got;
    const char *why;

    (void)state;
    assert_int_equal(parse(FERRY_SLICE("/a\0b"), &got, &why), FERRY_EPROTOCOL);
    assert_int_equal(parse(FERRY_SLICE("/a?\0b"), &got, &why), FERRY_EPROTOCOL);
}

/* Every byte, raw and escaped, in a path. */
static void all_bytes(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        char raw[] = {'/', 'x', (char)c, 'y'}, escaped[8];
        bool control = c < 0x20 || c == 0x7f;
        bool want_raw = !control && c != ' ' && c != '#' && c != '%' && c != '?';
        struct ferry_path got;
        const char *why;

        assert_int_equal(parse(ferry_slice(raw, 4), &got, &why) == 0, want_raw || c == '?');
        if (want_raw) {
            assert_int_equal(got.path.len, 4);
            assert_memory_equal(got.path.p, raw, 4);
        }
        snprintf(escaped, sizeof escaped, "/x%%%02xy", (unsigned)c);
        assert_int_equal(parse(z(escaped), &got, &why) == 0, !control);
        if (!control) {
            assert_int_equal(got.path.len, 4);
            assert_memory_equal(got.path.p, raw, 4);
        }
    }
}

/* The file system of the tests: names, folders with a slash at the end. */
struct tree {
    const char *const *names;
    unsigned looks;
};

static enum ferry_path_kind look(void *ctx, struct ferry_slice path)
{
    struct tree *t = ctx;

    t->looks++;
    assert_true(path.len > 1);
    assert_int_equal(path.p[0], '/');
    assert_int_not_equal(path.p[path.len - 1], '/');
    for (const char *const *n = t->names; *n; n++) {
        size_t len = strlen(*n);
        bool dir = (*n)[len - 1] == '/';

        len -= dir;
        if (path.len == len && !memcmp(path.p, *n, len))
            return dir ? FERRY_PATH_DIR : FERRY_PATH_FILE;
    }
    return FERRY_PATH_NONE;
}

static const char *const tree_app[] = {"/index.php",
                                       "/a.php",
                                       "/b.php",
                                       "/B2.PHP",
                                       "/note.txt",
                                       "/noext",
                                       "/upload/",
                                       "/upload/a.jpg",
                                       "/dir/",
                                       "/dir/index.php",
                                       "/dir/x.php",
                                       "/dir/y.css",
                                       "/docs/",
                                       "/docs/index.html",
                                       "/empty/",
                                       "/foo.php/",
                                       "/foo.php/bar.txt",
                                       "/foo.php/run.php",
                                       "/idx.php/",
                                       "/idx.php/index.html",
                                       "/a.php.bak",
                                       "/a.php~",
                                       "/a.phps",
                                       "/a.php.old",
                                       "/A.PHP.OLD",
                                       "/notes.old",
                                       "/a.php.save",
                                       "/a.php.1",
                                       "/v.1",
                                       "/a.php.txt",
                                       "/a.php.html",
                                       "/t.phtml",
                                       "/t.PHP5",
                                       "/db.inc",
                                       "/x.bak",
                                       "/x.swp",
                                       "/x.swo",
                                       "/x~",
                                       "/#x.php#",
                                       "/x.orig",
                                       "/.env",
                                       "/.git/",
                                       "/.git/config",
                                       "/.well-known/",
                                       "/.well-known/acme",
                                       "/.well-known/.x",
                                       "/.well-knownx",
                                       "/dir/.well-known/",
                                       "/dir/.well-known/acme",
                                       "/a b.txt",
                                       "/caf\xc3\xa9.txt",
                                       "/x.php\xc3\xa9",
                                       "/p.ph\xc4\xa7",
                                       "/composer.json",
                                       "/dump.sql",
                                       "/vendor/",
                                       "/vendor/eval.php",
                                       "/vendor/a.js",
                                       "/vendor/index.php",
                                       "/app.log",
                                       NULL};

/* Without an index there is no front controller. */
static const char *const tree_plain[] = {"/a.php",
                                         "/note.txt",
                                         "/sub/",
                                         "/sub/b.php",
                                         "/docs/",
                                         "/docs/index.html",
                                         "/upload/",
                                         "/upload/a.jpg",
                                         "/old.php/",
                                         "/old.php/i",
                                         "/upload/index.php",
                                         NULL};

static const char *const tree_static[] = {"/index.html",   "/x.php", "/s.txt", "/d/",
                                          "/d/index.html", "/e/",    NULL};

static const char *const tree_project[] = {"/index.php",
                                           "/composer.json",
                                           "/Composer.LOCK",
                                           "/package.json",
                                           "/package-lock.json",
                                           "/yarn.lock",
                                           "/artisan",
                                           "/sub/",
                                           "/sub/artisan",
                                           "/dump.sql",
                                           "/dump.sql.gz",
                                           "/app.log",
                                           "/prod.env",
                                           "/prod.env.local",
                                           "/c.neon",
                                           "/c.yaml",
                                           "/c.yml",
                                           "/environment.txt",
                                           "/phpunit.xml",
                                           "/Makefile",
                                           "/vendor/",
                                           "/vendor/eval.php",
                                           "/vendor/a.js",
                                           "/vendor/index.php",
                                           "/Vendor/",
                                           "/Vendor/a.js",
                                           "/vendors/",
                                           "/vendors/a.js",
                                           "/lib/",
                                           "/lib/vendor/",
                                           "/lib/vendor/a.js",
                                           "/node_modules/",
                                           "/node_modules/a.js",
                                           "/storage/",
                                           "/storage/x.txt",
                                           "/config/",
                                           "/config/index.html",
                                           "/config/a.php",
                                           "/artisan.txt",
                                           "/my-composer.json",
                                           NULL};

enum { APP, PLAIN, NOPHP, PROJECT };

static const struct ferry_slice php[] = {FERRY_SLICE_INIT(".php")};
static const struct ferry_slice indexes[] = {FERRY_SLICE_INIT("index.php"),
                                             FERRY_SLICE_INIT("index.html")};

static const struct {
    const char *const *names;
    struct ferry_path_rules rules;
} sites[] = {
#define RULES_ .index = indexes, .nindex = 2, .front = FERRY_SLICE_INIT("/index.php")
    [APP] = {tree_app, {.suffixes = php, .nsuffixes = 1, RULES_}},
    [PLAIN] = {tree_plain, {.suffixes = php, .nsuffixes = 1, RULES_}},
    [NOPHP] = {tree_static, {RULES_}},
    [PROJECT] = {tree_project, {.suffixes = php, .nsuffixes = 1, RULES_, .project_root = true}},
};

static const char *const kind_names[] = {
#define X(name) #name,
    FERRY_ROUTE_MAP(X)
#undef X
};

static void paths_lead_to(void **state)
{
    static const struct {
        int site;
        const char *path;
        enum ferry_route_kind want_kind;
        const char *want_file, *want_info;
    } cases[] = {
#define STATIC_(file) FERRY_ROUTE_STATIC, file, ""
#define SCRIPT_(file, info) FERRY_ROUTE_SCRIPT, file, info
#define FRONT_ SCRIPT_("/index.php", "")
#define REDIRECT_(file) FERRY_ROUTE_REDIRECT, file, ""
#define HIDDEN_ FERRY_ROUTE_HIDDEN, "", ""
#define NOT_FOUND_ FERRY_ROUTE_NOT_FOUND, "", ""
        {APP, "/", FRONT_},
        {APP, "/index.php", FRONT_},
        {APP, "/index.php/", SCRIPT_("/index.php", "/")},
        {APP, "/index.php/x/y", SCRIPT_("/index.php", "/x/y")},
        {APP, "/a.php", SCRIPT_("/a.php", "")},
        {APP, "/a.php/", SCRIPT_("/a.php", "/")},
        {APP, "/a.php/b.php", SCRIPT_("/a.php", "/b.php")},
        {APP, "/a.php/b.php/c", SCRIPT_("/a.php", "/b.php/c")},
        {APP, "/A.PHP", FRONT_},
        {APP, "/B2.PHP", SCRIPT_("/B2.PHP", "")},
        {APP, "/B2.PHP/x", SCRIPT_("/B2.PHP", "/x")},
        {APP, "/b2.php", FRONT_},
        {APP, "/missing.php", FRONT_},
        {APP, "/missing.php/a.php", FRONT_},
        {APP, "/route/of/the/app", FRONT_},
        {APP, "/note.txt", STATIC_("/note.txt")},
        {APP, "/note.txt/", FRONT_},
        {APP, "/note.txt/x", FRONT_},
        {APP, "/noext", STATIC_("/noext")},
        {APP, "/upload/a.jpg", STATIC_("/upload/a.jpg")},
        {APP, "/upload/a.jpg/x.php", FRONT_}, /* the cgi.fix_pathinfo hole */
        {APP, "/upload/a.jpg/x.php/y", FRONT_},
        {APP, "/upload/a.jpg/.php", HIDDEN_},
        {APP, "/dir", REDIRECT_("/dir")},
        {APP, "/dir/", SCRIPT_("/dir/index.php", "")},
        {APP, "/dir/index.php/x", SCRIPT_("/dir/index.php", "/x")},
        {APP, "/dir/x.php", SCRIPT_("/dir/x.php", "")},
        {APP, "/dir/y.css", STATIC_("/dir/y.css")},
        {APP, "/dir/missing.css", FRONT_},
        {APP, "/docs", REDIRECT_("/docs")},
        {APP, "/docs/", STATIC_("/docs/index.html")},
        {APP, "/empty", FRONT_}, /* nothing to show there: the application may know the name */
        {APP, "/empty/", FRONT_},
        {APP, "/foo.php", FRONT_}, /* folders named like scripts */
        {APP, "/foo.php/", FRONT_},
        {APP, "/foo.php/bar.txt", STATIC_("/foo.php/bar.txt")},
        {APP, "/foo.php/run.php/x", SCRIPT_("/foo.php/run.php", "/x")},
        {APP, "/foo.php/missing.php", FRONT_},
        {APP, "/idx.php", REDIRECT_("/idx.php")},
        {APP, "/idx.php/", STATIC_("/idx.php/index.html")},
        {APP, "/a b.txt", STATIC_("/a b.txt")},
        {APP, "/caf\xc3\xa9.txt", STATIC_("/caf\xc3\xa9.txt")},
        {APP, "/x.php\xc3\xa9", STATIC_("/x.php\xc3\xa9")},
        {APP, "/p.ph\xc4\xa7", STATIC_("/p.ph\xc4\xa7")}, /* bytes, not letters */
        {APP, "/a.php\\x", FRONT_},
        /* sources */
        {APP, "/a.php.bak", HIDDEN_},
        {APP, "/a.php~", HIDDEN_},
        {APP, "/a.phps", HIDDEN_},
        {APP, "/a.php.old", HIDDEN_},
        {APP, "/A.PHP.OLD", HIDDEN_},
        {APP, "/a.php.save", HIDDEN_},
        {APP, "/a.php.1", HIDDEN_},
        {APP, "/t.phtml", HIDDEN_},
        {APP, "/t.PHP5", HIDDEN_},
        {APP, "/db.inc", HIDDEN_},
        {APP, "/x.bak", HIDDEN_},
        {APP, "/x.swp", HIDDEN_},
        {APP, "/x.swo", HIDDEN_},
        {APP, "/x~", HIDDEN_},
        {APP, "/#x.php#", HIDDEN_},
        {APP, "/x.orig", HIDDEN_},
        {APP, "/missing.bak", FRONT_},
        {APP, "/notes.old", STATIC_("/notes.old")},
        {APP, "/v.1", STATIC_("/v.1")},
        {APP, "/a.php.txt", STATIC_("/a.php.txt")},
        {APP, "/a.php.html", STATIC_("/a.php.html")},
        /* dotfiles */
        {APP, "/.env", HIDDEN_},
        {APP, "/.missing", HIDDEN_},
        {APP, "/.git", HIDDEN_},
        {APP, "/.git/", HIDDEN_},
        {APP, "/.git/config", HIDDEN_},
        {APP, "/a.php/.git", HIDDEN_},
        {APP, "/...", HIDDEN_},
        {APP, "/.well-known/acme", STATIC_("/.well-known/acme")},
        {APP, "/.well-known/missing", FRONT_},
        {APP, "/.well-known/", FRONT_},
        {APP, "/.well-known", FRONT_},
        {APP, "/.well-known/.x", HIDDEN_},
        {APP, "/.well-knownx", HIDDEN_},
        {APP, "/.Well-Known/acme", HIDDEN_},
        {APP, "/dir/.well-known/acme", HIDDEN_},
        /* what only a project's root keeps back */
        {APP, "/composer.json", STATIC_("/composer.json")},
        {APP, "/dump.sql", STATIC_("/dump.sql")},
        {APP, "/vendor/eval.php", SCRIPT_("/vendor/eval.php", "")},
        {APP, "/vendor/a.js", STATIC_("/vendor/a.js")},

        {PLAIN, "/", NOT_FOUND_},
        {PLAIN, "/a.php", SCRIPT_("/a.php", "")},
        {PLAIN, "/a.PHP", NOT_FOUND_},
        {PLAIN, "/missing", NOT_FOUND_},
        {PLAIN, "/missing.php", NOT_FOUND_},
        {PLAIN, "/sub", NOT_FOUND_},
        {PLAIN, "/sub/", NOT_FOUND_},
        {PLAIN, "/sub/b.php/c", SCRIPT_("/sub/b.php", "/c")},
        {PLAIN, "/docs", REDIRECT_("/docs")},
        {PLAIN, "/docs/", STATIC_("/docs/index.html")},
        {PLAIN, "/upload", REDIRECT_("/upload")},
        {PLAIN, "/upload/", SCRIPT_("/upload/index.php", "")},
        {PLAIN, "/upload/a.jpg/x.php", NOT_FOUND_},
        {PLAIN, "/upload/a.jpg/", NOT_FOUND_},
        {PLAIN, "/old.php/", NOT_FOUND_},
        {PLAIN, "/old.php/i", STATIC_("/old.php/i")},

        {NOPHP, "/", STATIC_("/index.html")},
        {NOPHP, "/x.php", HIDDEN_},
        {NOPHP, "/x.php/y", NOT_FOUND_},
        {NOPHP, "/s.txt", STATIC_("/s.txt")},
        {NOPHP, "/missing", NOT_FOUND_},
        {NOPHP, "/d", REDIRECT_("/d")},
        {NOPHP, "/d/", STATIC_("/d/index.html")},
        {NOPHP, "/e/", NOT_FOUND_},

        {PROJECT, "/", FRONT_},
        {PROJECT, "/composer.json", HIDDEN_},
        {PROJECT, "/Composer.LOCK", HIDDEN_},
        {PROJECT, "/package.json", HIDDEN_},
        {PROJECT, "/package-lock.json", HIDDEN_},
        {PROJECT, "/yarn.lock", HIDDEN_},
        {PROJECT, "/artisan", HIDDEN_},
        {PROJECT, "/sub/artisan", HIDDEN_},
        {PROJECT, "/artisan.txt", STATIC_("/artisan.txt")},
        {PROJECT, "/my-composer.json", STATIC_("/my-composer.json")},
        {PROJECT, "/dump.sql", HIDDEN_},
        {PROJECT, "/dump.sql.gz", HIDDEN_},
        {PROJECT, "/app.log", HIDDEN_},
        {PROJECT, "/prod.env", HIDDEN_},
        {PROJECT, "/prod.env.local", HIDDEN_},
        {PROJECT, "/environment.txt", STATIC_("/environment.txt")},
        {PROJECT, "/c.neon", HIDDEN_},
        {PROJECT, "/c.yaml", HIDDEN_},
        {PROJECT, "/c.yml", HIDDEN_},
        {PROJECT, "/phpunit.xml", HIDDEN_},
        {PROJECT, "/Makefile", HIDDEN_},
        {PROJECT, "/missing.yml", FRONT_},
        {PROJECT, "/vendor/eval.php", HIDDEN_},
        {PROJECT, "/vendor/eval.php/x", HIDDEN_},
        {PROJECT, "/vendor/a.js", HIDDEN_},
        {PROJECT, "/vendor/", HIDDEN_},
        {PROJECT, "/vendor", HIDDEN_},
        {PROJECT, "/vendor/route", FRONT_},
        {PROJECT, "/Vendor/a.js", HIDDEN_},
        {PROJECT, "/vendors/a.js", STATIC_("/vendors/a.js")},
        {PROJECT, "/lib/vendor/a.js", STATIC_("/lib/vendor/a.js")},
        {PROJECT, "/node_modules/a.js", HIDDEN_},
        {PROJECT, "/storage/x.txt", HIDDEN_},
        {PROJECT, "/config/a.php", HIDDEN_},
        {PROJECT, "/config", HIDDEN_},
        {PROJECT, "/config/", HIDDEN_},

        {APP, "", NOT_FOUND_},
        {APP, "a.php", NOT_FOUND_},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_path_rules r = sites[cases[i].site].rules;
        struct tree t = {sites[cases[i].site].names, 0};
        struct ferry_slice path = z(cases[i].path);
        size_t cap = path.len + strlen("index.html") + 2;
        static const char zeros[256];
        char *mem = guard_copy(1, zeros, cap);
        struct ferry_route got;

        r.look = look;
        r.ctx = &t;
        path.p = guard_copy(0, path.p, path.len);
        assert_int_equal(ferry_path_route(&r, path, mem, cap - 1, &got), FERRY_ELIMIT);
        assert_int_equal(t.looks, 0);
        assert_int_equal(ferry_path_route(&r, path, mem, cap, &got), 0);
        if (got.kind != cases[i].want_kind)
            fail_msg("%d %s: got %s, want %s", cases[i].site, cases[i].path, kind_names[got.kind],
                     kind_names[cases[i].want_kind]);
        check(cases[i].path, got.file, cases[i].want_file);
        check(cases[i].path, got.path_info, cases[i].want_info);
        check(cases[i].path, got.script_name,
              got.kind == FERRY_ROUTE_SCRIPT ? cases[i].want_file : "");
    }
}

/* Each look may be a system call. */
static void the_common_paths_need_few_looks(void **state)
{
    static const struct {
        const char *path;
        unsigned want_looks;
    } cases[] = {{"/", 1},       {"/a.php", 1}, {"/a.php/b.php/c.php", 1}, {"/note.txt", 1},
                 {"/route", 2},  {"/dir/", 1},  {"/missing.php/x/y/z", 2}, {"/.git/config", 0},
                 {"/idx.php", 3}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tree t = {tree_app, 0};
        struct ferry_path_rules r = sites[APP].rules;
        struct ferry_route got;
        char mem[128];

        r.look = look;
        r.ctx = &t;
        assert_int_equal(ferry_path_route(&r, z(cases[i].path), mem, sizeof mem, &got), 0);
        if (t.looks != cases[i].want_looks)
            fail_msg("%s: %u looks, want %u", cases[i].path, t.looks, cases[i].want_looks);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(targets_become_paths), cmocka_unit_test(bad_targets_are_refused),
        cmocka_unit_test(a_raw_nul_is_refused), cmocka_unit_test(all_bytes),
        cmocka_unit_test(paths_lead_to),        cmocka_unit_test(the_common_paths_need_few_looks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
