/* SPDX-License-Identifier: MIT */
/* Rules of paths other than those of test_cgi_path.c: lists, and what needs no file to be there. */
#include "cgi/path.h"

#include "support.h"

static struct ferry_slice z(const char *s)
{
    return ferry_slice_z(s);
}

static const char *const kind_names[] = {
#define X(name) #name,
    FERRY_ROUTE_MAP(X)
#undef X
};

static const char *const tree_few[] = {
    "/app.cgi",   "/a.php",     "/x.CGI",    "/t.txt",    "/i/",        "/i/app.cgi",
    "/x.cgi.bak", "/x.cgi.old", "/run.py",   "/j/",       "/j/home.py", "/j/app.cgi",
    "/k/",        "/k/t.txt",   "/.hid.cgi", "/data.key", "/DATA2.KEY", NULL};

/* Folders have a slash at their end. */
static enum ferry_path_kind look(void *ctx, struct ferry_slice path)
{
    const char *const *names = ctx;

    for (; *names; names++) {
        struct ferry_slice name = z(*names);
        bool dir = name.p[name.len - 1] == '/';

        name.len -= dir;
        if (ferry_slice_eq(name, path))
            return dir ? FERRY_PATH_DIR : FERRY_PATH_FILE;
    }
    return FERRY_PATH_NONE;
}

/* Other rules: several suffixes and indexes or none, scripts of another kind, other hidden files.
 */
static void rules_are_lists(void **state)
{
    static const struct ferry_slice cgi[] = {FERRY_SLICE_INIT(".cgi")},
                                    both[] = {FERRY_SLICE_INIT(".cgi"), FERRY_SLICE_INIT(".py")},
                                    empty[] = {FERRY_SLICE_INIT("")},
                                    key[] = {FERRY_SLICE_INIT(".key"), FERRY_SLICE_INIT("")},
                                    app[] = {FERRY_SLICE_INIT("app.cgi")},
                                    home[] = {FERRY_SLICE_INIT(""), FERRY_SLICE_INIT("home.py"),
                                              FERRY_SLICE_INIT("app.cgi"),
                                              FERRY_SLICE_INIT("t.txt")};
    static const struct {
        struct ferry_path_rules rules;
        const char *path;
        enum ferry_route_kind want_kind;
        const char *want_file;
    } cases[] = {
#define CGI_ .suffixes = cgi, .nsuffixes = 1
#define BOTH_ .suffixes = both, .nsuffixes = 2
#define APP_ .index = app, .nindex = 1
#define HOME_ .index = home, .nindex = 4
#define FRONT(text) .front = FERRY_SLICE_INIT(text)
        {{CGI_, APP_, FRONT("/app.cgi")}, "/x.CGI", FERRY_ROUTE_SCRIPT, "/x.CGI"},
        {{CGI_, APP_, FRONT("/app.cgi")}, "/what", FERRY_ROUTE_SCRIPT, "/app.cgi"},
        {{CGI_, APP_, FRONT("/app.cgi")}, "/a.php", FERRY_ROUTE_HIDDEN, ""},
        {{CGI_, APP_, FRONT("/app.cgi")}, "/x.cgi.old", FERRY_ROUTE_HIDDEN, ""},
        {{CGI_, APP_, FRONT("/app.cgi")}, "/i", FERRY_ROUTE_REDIRECT, "/i"},
        {{CGI_, APP_, FRONT("/i/app.cgi")}, "/what", FERRY_ROUTE_SCRIPT, "/i/app.cgi"},
        {{CGI_, APP_, FRONT("/missing.cgi")}, "/what", FERRY_ROUTE_NOT_FOUND, ""},
        {{CGI_, APP_, FRONT("/t.txt")}, "/what", FERRY_ROUTE_NOT_FOUND, ""},
        {{CGI_, APP_}, "/what", FERRY_ROUTE_NOT_FOUND, ""},
        {{CGI_, APP_}, "/", FERRY_ROUTE_SCRIPT, "/app.cgi"},
        {{CGI_, APP_}, "/k/", FERRY_ROUTE_NOT_FOUND, ""},
        {{CGI_, APP_}, "/k", FERRY_ROUTE_NOT_FOUND, ""},
        {{CGI_}, "/i", FERRY_ROUTE_NOT_FOUND, ""},
        {{CGI_}, "/", FERRY_ROUTE_NOT_FOUND, ""},
        {{CGI_}, "/run.py", FERRY_ROUTE_STATIC, "/run.py"},
        {{BOTH_, HOME_}, "/run.py", FERRY_ROUTE_SCRIPT, "/run.py"},
        {{BOTH_, HOME_}, "/app.cgi/x.py", FERRY_ROUTE_SCRIPT, "/app.cgi"},
        {{BOTH_, HOME_}, "/t.txt/x.py", FERRY_ROUTE_NOT_FOUND, ""},
        {{BOTH_, HOME_}, "/j/", FERRY_ROUTE_SCRIPT, "/j/home.py"},
        {{BOTH_, HOME_}, "/i/", FERRY_ROUTE_SCRIPT, "/i/app.cgi"},
        {{BOTH_, HOME_}, "/k/", FERRY_ROUTE_STATIC, "/k/t.txt"},
        {{BOTH_, HOME_}, "/k", FERRY_ROUTE_REDIRECT, "/k"},
        {{BOTH_, HOME_}, "/", FERRY_ROUTE_SCRIPT, "/app.cgi"},
        {{BOTH_, HOME_, FRONT("/.hid.cgi")}, "/.hid.cgi", FERRY_ROUTE_HIDDEN, ""},
        {{.hidden = both, .nhidden = 2}, "/run.py", FERRY_ROUTE_HIDDEN, ""},
        {{.hidden = both, .nhidden = 2}, "/x.CGI", FERRY_ROUTE_HIDDEN, ""},
        {{.hidden = both, .nhidden = 2}, "/t.txt", FERRY_ROUTE_STATIC, "/t.txt"},
        {{.hidden = key, .nhidden = 2, HOME_}, "/data.key", FERRY_ROUTE_HIDDEN, ""},
        {{.hidden = key, .nhidden = 2, HOME_}, "/DATA2.KEY", FERRY_ROUTE_HIDDEN, ""},
        {{.hidden = key, .nhidden = 2, HOME_}, "/k/", FERRY_ROUTE_STATIC, "/k/t.txt"},
        {{.suffixes = empty, .nsuffixes = 1, APP_, FRONT("/app.cgi")},
         "/what",
         FERRY_ROUTE_NOT_FOUND,
         ""},
        {{.suffixes = empty, .nsuffixes = 1}, "/t.txt", FERRY_ROUTE_STATIC, "/t.txt"},
        {{.suffixes = empty, .nsuffixes = 1}, "/t.txt/", FERRY_ROUTE_NOT_FOUND, ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_path_rules r = cases[i].rules;
        struct ferry_slice path = z(cases[i].path);
        static const char zeros[128];
        struct ferry_route got;
        size_t cap;

        r.look = look;
        r.ctx = (void *)tree_few;
        cap = ferry_path_room(&r, path);
        assert_int_equal(ferry_path_route(&r, path, guard_copy(1, zeros, cap), cap, &got), 0);
        if (got.kind != cases[i].want_kind)
            fail_msg("%zu %s: got %s, want %s", i, cases[i].path, kind_names[got.kind],
                     kind_names[cases[i].want_kind]);
        if (!ferry_slice_eq(got.file, z(cases[i].want_file)))
            fail_msg("%zu %s: got '%.*s'", i, cases[i].path, (int)got.file.len, got.file.p);
    }
}

static void what_may_be_sent(void **state)
{
    static const struct ferry_slice key[] = {FERRY_SLICE_INIT(".key")};
    static const struct {
        const char *path;
        bool want, want_in_project;
    } cases[] = {
        {"/a.txt", true, true},
        {"/a.php", false, false},
        {"/a.PHTML", false, false},
        {"/a.py", false, false}, /* a script */
        {"/a.key", false, false},
        {"/a/b.key", false, false},
        {"/.env", false, false},
        {"/a/.git/config", false, false},
        {"/.well-known/acme", true, true},
        {"/.well-known/.x", false, false},
        {"/vendor/a.js", true, false},
        {"/config/a.js", true, false},
        {"/a/composer.json", true, false},
        {"/dump.sql", true, false},
        {"/", true, true},
        {"", false, false},
        {"a.txt", false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static const struct ferry_slice py[] = {FERRY_SLICE_INIT(".py")};
        struct ferry_path_rules r = {.suffixes = py, .nsuffixes = 1, .hidden = key, .nhidden = 1};

        if (ferry_path_may_send(&r, z(cases[i].path)) != cases[i].want)
            fail_msg("%s", cases[i].path);
        r.project_root = true;
        if (ferry_path_may_send(&r, z(cases[i].path)) != cases[i].want_in_project)
            fail_msg("%s in a project", cases[i].path);
    }
}

static void paths_split_by_name_alone(void **state)
{
    static const struct ferry_slice suffixes[] = {FERRY_SLICE_INIT(".php"),
                                                  FERRY_SLICE_INIT(".cgi")};
    static const struct {
        const char *path;
        size_t want;
    } cases[] = {
        {"/a.php", 6},
        {"/a.php/", 6},
        {"/a.php/b.php/c", 6},
        {"/a.phpx", 0},
        {"/a.phpx/b.php", 13},
        {"/a.PHP/x", 6},
        {"/x/a.cgi/b.php", 8},
        {"/.php", 0},
        {"/.php/x", 0},
        {"/", 0},
        {"", 0},
        {"/a/b", 0},
        {"/a.php\\x", 0},
        {"/a/.php.php", 11},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_slice path = z(cases[i].path);

        path.p = guard_copy(0, path.p, path.len);
        if (ferry_path_split(suffixes, 2, path) != cases[i].want)
            fail_msg("%s: %zu", cases[i].path, ferry_path_split(suffixes, 2, path));
        assert_int_equal(ferry_path_split(suffixes, 0, path), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_are_lists),
        cmocka_unit_test(what_may_be_sent),
        cmocka_unit_test(paths_split_by_name_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
