/* SPDX-License-Identifier: MIT */
/* The filters that need no file system: params, paths, answers, rewrites; and chains of them. */
#include <errno.h>

#include "session_fake.h"

static struct ferry_filters *chain;
static struct fake fake;

/* The end of a chain: an application is called with what there is. */
static int end(struct ferry_session *s, void *arg)
{
    (void)arg;
    s->host->call(s, &(struct ferry_session_call){.role = s->role});
    return FERRY_STEP_DONE;
}

static int setup(void **state)
{
    (void)state;
    chain = ferry_filters_new();
    return chain ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    if (fake.loop)
        fake_close(&fake);
    fake.loop = NULL;
    ferry_filters_free(chain);
    return 0;
}

static void good(int err)
{
    if (err < 0)
        print_error("%s: %s\n", ferry_strerror(err), ferry_filters_why(chain));
    assert_int_equal(err, 0);
}

static void refused(int err, const char *why)
{
    assert_int_equal(err, FERRY_EUSAGE);
    assert_string_equal(ferry_filters_why(chain), why);
}

/* Nothing more is added. */
static void closed(void)
{
    good(ferry_filters_add(chain, end, NULL, NULL));
    fake_open(&fake, chain);
}

static void param_is(const char *name, const char *value)
{
    const char *got = fake_param(&fake, name);

    assert_int_equal(fake.did, FAKE_CALLED);
    if (!value) {
        if (got)
            print_error("%s is %s\n", name, got);
        assert_null(got);
        return;
    }
    if (!got)
        print_error("no %s in:\n%s", name, fake.params);
    assert_non_null(got);
    assert_string_equal(got, value);
}

/* -- params ------------------------------------------------------------------------------------ */

static void nothing_is_told_unasked(void **state)
{
    (void)state;
    closed();
    fake_get(&fake, chain, "/x?y");
    assert_int_equal(fake.did, FAKE_CALLED);
    assert_string_equal(fake.params, "");
}

static void basic_params_tell_of_the_request(void **state)
{
    (void)state;
    good(ferry_filters_basic_params(chain));
    closed();
    fake_get(&fake, chain, "/x?y=1");
    param_is("REQUEST_METHOD", "GET");
    param_is("QUERY_STRING", "y=1");
    param_is("REQUEST_URI", "/x?y=1");
    param_is("SERVER_NAME", "example.org");
    param_is("REMOTE_ADDR", "127.0.0.2");
    param_is("GATEWAY_INTERFACE", "CGI/1.1");
    param_is("REDIRECT_STATUS", "200");
    param_is("HTTP_HOST", NULL);
}

static void map_header_tells_the_fields(void **state)
{
    (void)state;
    good(ferry_filters_map_header(chain));
    closed();
    fake_request(&fake, chain,
                 "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: text/x\r\nContent-Length: 1\r\n"
                 "X-A: 1\r\nCookie: a=1\r\nX-A: 2\r\nCookie: b=2\r\nProxy: evil\r\n\r\n");
    param_is("HTTP_HOST", "a");
    param_is("CONTENT_TYPE", "text/x");
    param_is("HTTP_X_A", "1, 2");
    param_is("HTTP_COOKIE", "a=1; b=2");
    param_is("HTTP_PROXY", NULL);
    param_is("HTTP_CONTENT_TYPE", NULL);
    param_is("REQUEST_METHOD", NULL);
}

static void set_param_outdoes_the_client(void **state)
{
    static const char head[] = "GET /p?q HTTP/1.1\r\nHost: a:81\r\nX-User: mallory\r\n"
                               "Auth-Level: 9\r\n\r\n";

    (void)state;
    good(ferry_filters_set_param(chain, "HTTP_X_USER", "nobody"));
    good(ferry_filters_set_param(chain, "FROM", "$http_x_user at $host$path for 5$$"));
    good(ferry_filters_set_param(chain, "REQUEST_METHOD", "PURGE"));
    good(ferry_filters_remove_param(chain, "HTTP_AUTH_LEVEL"));
    good(ferry_filters_remove_param(chain, "SERVER_SOFTWARE"));
    good(ferry_filters_set_param(chain, "EMPTY", ""));
    good(ferry_filters_basic_params(chain)); /* behind them, and yet they stand */
    good(ferry_filters_map_header(chain));
    closed();
    fake_request(&fake, chain, head);
    param_is("HTTP_X_USER", "nobody");
    param_is("FROM", "mallory at a/p for 5$");
    param_is("REQUEST_METHOD", "PURGE");
    param_is("HTTP_AUTH_LEVEL", NULL);
    param_is("SERVER_SOFTWARE", NULL);
    param_is("EMPTY", "");
}

static void the_last_word_on_a_param_counts(void **state)
{
    (void)state;
    good(ferry_filters_set_param(chain, "A", "1"));
    good(ferry_filters_remove_param(chain, "A"));
    good(ferry_filters_set_param(chain, "B", "1"));
    good(ferry_filters_set_param(chain, "B", "$param_B$param_B,2"));
    good(ferry_filters_remove_param(chain, "C"));
    good(ferry_filters_set_param(chain, "C", "3"));
    closed();
    fake_get(&fake, chain, "/");
    assert_string_equal(fake.params, "B=11,2\nC=3\n");
}

static void bad_params_are_refused(void **state)
{
    char name[258];

    (void)state;
    memset(name, 'N', sizeof name - 1);
    name[sizeof name - 1] = 0;
    refused(ferry_filters_set_param(chain, name, ""), "set_param: a name of more than 256 bytes");
    name[256] = 0;
    good(ferry_filters_set_param(chain, name, ""));
    refused(ferry_filters_set_param(chain, "", "x"), "set_param: it needs the name of a param");
    refused(ferry_filters_remove_param(chain, NULL), "remove_param: it needs the name of a param");
    refused(ferry_filters_set_param(chain, "A=B", "x"), "set_param: \"A=B\" is no name of a param");
    refused(ferry_filters_set_param(chain, "A\n", "x"), "set_param: \"A\n\" is no name of a param");
    refused(ferry_filters_set_param(chain, "CONTENT_LENGTH", "0"),
            "set_param: CONTENT_LENGTH is always the length of the body");
    refused(ferry_filters_set_param(chain, "A", "$"),
            "set_param: \"$\": a \"$\" without a name; a dollar is written \"$$\"");
}

/* -- fields of the answer ---------------------------------------------------------------------- */

static int answer(struct ferry_session *s, void *arg)
{
    static const struct ferry_param fields[] = {
        FERRY_PARAM("X-A", "1"), FERRY_PARAM("x-powered-by", "app"), FERRY_PARAM("X-A", "2")};

    (void)arg;
    return ferry_session_answer(s, 200, fields, 3, FERRY_SLICE("body"));
}

static void header_sets_and_removes(void **state)
{
    (void)state;
    good(ferry_filters_header(chain, "X-Powered-By", NULL));
    good(ferry_filters_header(chain, "X-A", "$scheme, $http_x_b"));
    good(ferry_filters_header(chain, "X-Empty", ""));
    good(ferry_filters_add(chain, answer, NULL, NULL));
    closed();
    fake_request(&fake, chain, "GET / HTTP/1.1\r\nHost: a\r\nX-B: b\r\n\r\n");
    assert_int_equal(fake.did, FAKE_ANSWERED);
    assert_string_equal(fake.fields, "X-A: http, b\nX-Empty: \n");
    assert_string_equal(fake.body, "body");
}

static void header_changes_refusals_too(void **state)
{
    (void)state;
    good(ferry_filters_header(chain, "Cache-Control", "no-store"));
    good(ferry_filters_deny(chain, 403, NULL));
    closed();
    fake_get(&fake, chain, "/");
    assert_int_equal(fake.did, FAKE_REFUSED);
    assert_string_equal(fake.fields, "Cache-Control: no-store\n");
}

static void bad_fields_are_refused(void **state)
{
    static const char *const names[] = {
        "", "A B", "A:", "Content-Length", "transfer-encoding", "Connection", "X\r\nY"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(ferry_filters_header(chain, names[i], "x"), FERRY_EUSAGE);
    assert_int_equal(ferry_filters_header(chain, NULL, "x"), FERRY_EUSAGE);
    assert_int_equal(ferry_filters_header(chain, "X", "a\r\nSet-Cookie: b"), FERRY_EUSAGE);
    assert_int_equal(ferry_filters_header(chain, "X", "$nothing"), FERRY_EUSAGE);
}

/* -- paths ------------------------------------------------------------------------------------- */

static void split_path_info_takes_the_first_script(void **state)
{
    static const struct {
        const char *target, *name, *info;
    } cases[] = {
        {"/app.php/rest", "/app.php", "/rest"},
        {"/app.php", "/app.php", NULL},
        {"/app.php/", "/app.php", "/"},
        {"/a.php/b.php/c", "/a.php", "/b.php/c"},
        {"/dir/APP.PHP/x", "/dir/APP.PHP", "/x"},
        {"/x.py/y", "/x.py", "/y"},
        {"/app.phpx/rest", NULL, NULL}, /* gofast took "x/rest" for the path info */
        {"/app.phpx/b.php/c", "/app.phpx/b.php", "/c"},
        {"/.php/x", NULL, NULL},
        {"/", NULL, NULL},
        {"/plain/path", NULL, NULL},
    };
    static const char *const suffixes[] = {".php", ".py"};

    (void)state;
    good(ferry_filters_split_path_info(chain, suffixes, 2));
    closed();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fake_get(&fake, chain, cases[i].target);
        param_is("SCRIPT_NAME", cases[i].name);
        param_is("PATH_INFO", cases[i].info);
    }
}

static void split_path_info_refuses(void **state)
{
    static const char *const bad[] = {"", "a/b", "012345678901234567890123456789012"};
    static const char *const many[33] = {".a", ".a", ".a", ".a", ".a", ".a", ".a", ".a", ".a",
                                         ".a", ".a", ".a", ".a", ".a", ".a", ".a", ".a", ".a",
                                         ".a", ".a", ".a", ".a", ".a", ".a", ".a", ".a", ".a",
                                         ".a", ".a", ".a", ".a", ".a", ".a"};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(ferry_filters_split_path_info(chain, &bad[i], 1), FERRY_EUSAGE);
    assert_int_equal(ferry_filters_split_path_info(chain, many, 33), FERRY_EUSAGE);
    good(ferry_filters_split_path_info(chain, many, 32));
    good(ferry_filters_split_path_info(chain, NULL, 0));
}

/* What gofast's NewFileEndpoint told, and what its comment promised. */
static void file_endpoint_answers_every_path(void **state)
{
    static const struct {
        const char *target, *uri, *path, *info;
    } cases[] = {
        {"/", "/", "/", "/"},
        {"/hello/world", "/hello/world", "/hello/world", "/hello/world"},
        {"/index.php", "/index.php", "/index.php", NULL},
        {"/index.php/x", "/index.php/x", "/index.php/x", "/x"},
        {"/a%2Fb%20c?q=%20", "/a%2Fb%20c?q=%20", "/a/b c", "/a/b c"},
    };
    char translated[256];

    (void)state;
    good(ferry_filters_basic_params(chain));
    good(ferry_filters_file_endpoint(chain, "/srv/app/index.php"));
    closed();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fake_get(&fake, chain, cases[i].target);
        param_is("SCRIPT_NAME", "/index.php");
        param_is("SCRIPT_FILENAME", "/srv/app/index.php");
        param_is("DOCUMENT_ROOT", "/srv/app");
        param_is("REQUEST_URI", cases[i].uri);
        param_is("DOCUMENT_URI", cases[i].path);
        param_is("PATH_INFO", cases[i].info);
        snprintf(translated, sizeof translated, "/srv/app%s", cases[i].info ? cases[i].info : "");
        param_is("PATH_TRANSLATED", cases[i].info ? translated : NULL);
    }
}

static void file_endpoint_follows_its_mount(void **state)
{
    static const char *const cases[][2] = {
        {"/shop/hello?a=%2F", "/hello?a=%2F"},
        {"/shop/a%2Fb", "/a%2Fb"},
        {"/shop", "/"},
        {"/shop?x", "/?x"},
        {"//shop/a%20b?x", "/a%20b?x"}, /* spelt anew where the prefix was spelt otherwise */
        {"/s%68op/a", "/a"},
    };

    (void)state;
    good(ferry_filters_basic_params(chain));
    good(ferry_filters_strip_prefix(chain, "/shop/"));
    good(ferry_filters_file_endpoint(chain, "/index.php"));
    closed();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fake_get(&fake, chain, cases[i][0]);
        param_is("REQUEST_URI", cases[i][1]);
        param_is("SCRIPT_NAME", "/index.php");
        param_is("DOCUMENT_ROOT", "/");
    }
}

static void an_operators_param_outdoes_file_endpoint(void **state)
{
    (void)state;
    good(ferry_filters_set_param(chain, "REQUEST_URI", "$uri"));
    good(ferry_filters_set_param(chain, "DOCUMENT_URI", "mine"));
    good(ferry_filters_set_param(chain, "SCRIPT_NAME", "/other"));
    good(ferry_filters_strip_prefix(chain, "/shop"));
    good(ferry_filters_file_endpoint(chain, "/srv/index.php"));
    closed();
    fake_get(&fake, chain, "/shop/x");
    param_is("REQUEST_URI", "/shop/x");
    param_is("DOCUMENT_URI", "mine");
    param_is("SCRIPT_NAME", "/other");
    param_is("SCRIPT_FILENAME", "/srv/index.php");
}

static void file_endpoint_refuses(void **state)
{
    (void)state;
    assert_int_equal(ferry_filters_file_endpoint(chain, NULL), FERRY_EUSAGE);
    assert_int_equal(ferry_filters_file_endpoint(chain, "index.php"), FERRY_EUSAGE);
    assert_int_equal(ferry_filters_file_endpoint(chain, "/srv/"), FERRY_EUSAGE);
    assert_int_equal(ferry_filters_file_endpoint(chain, "/"), FERRY_EUSAGE);
}

static void strip_prefix_mounts(void **state)
{
    (void)state;
    good(ferry_filters_basic_params(chain));
    good(ferry_filters_strip_prefix(chain, "/a"));
    good(ferry_filters_strip_prefix(chain, "/b/c"));
    good(ferry_filters_set_param(chain, "PATH", "$path"));
    closed();
    fake_get(&fake, chain, "/a/b/c/x?q");
    param_is("PATH", "/x");
    param_is("SCRIPT_NAME", "/a/b/c");
    param_is("PATH_INFO", "/x");
    param_is("REQUEST_URI", "/a/b/c/x?q");
    fake_get(&fake, chain, "/a/b/c");
    param_is("PATH", "/");
    param_is("SCRIPT_NAME", "/a/b/c");
    param_is("PATH_INFO", NULL);
    fake_get(&fake, chain, "/a/b/c/");
    param_is("PATH_INFO", "/");
    fake_get(&fake, chain, "/a/b/cc");
    assert_int_equal(fake.did, FAKE_REFUSED);
    assert_int_equal(fake.status, 404);
    fake_get(&fake, chain, "/b/c");
    assert_int_equal(fake.status, 404);
    fake_get(&fake, chain, "/A/b/c");
    assert_int_equal(fake.status, 404);
}

static void scripts_know_their_mount(void **state)
{
    (void)state;
    good(ferry_filters_strip_prefix(chain, "/shop"));
    good(ferry_filters_split_path_info(chain, NULL, 0));
    closed();
    fake_get(&fake, chain, "/shop/x.php/y");
    param_is("SCRIPT_NAME", "/shop/x.php");
    param_is("PATH_INFO", "/y");
    param_is("DOCUMENT_URI", "/shop/x.php/y");
}

static void strip_prefix_refuses(void **state)
{
    static const char *const bad[] = {NULL, "", "/", "shop", "/a//b", "//", "/a//"};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(ferry_filters_strip_prefix(chain, bad[i]), FERRY_EUSAGE);
}

/* -- answers ----------------------------------------------------------------------------------- */

static void deny_refuses(void **state)
{
    char long_why[502];

    (void)state;
    good(ferry_filters_deny(chain, 403, "Not here."));
    closed();
    fake_get(&fake, chain, "/");
    assert_int_equal(fake.did, FAKE_REFUSED);
    assert_int_equal(fake.status, 403);
    assert_string_equal(fake.why, "Not here.");
    memset(long_why, 'x', sizeof long_why - 1);
    long_why[sizeof long_why - 1] = 0;
    refused(ferry_filters_deny(chain, 399, ""), "deny: 399 is no status from 400 to 599");
    refused(ferry_filters_deny(chain, 600, ""), "deny: 600 is no status from 400 to 599");
    refused(ferry_filters_deny(chain, 404, long_why), "deny: a reason of more than 500 bytes");
}

static const char *location(const char *head)
{
    static char field[sizeof fake.fields];

    fake_request(&fake, chain, head);
    if (fake.did == FAKE_REFUSED) {
        snprintf(field, sizeof field, "%d", fake.status);
        return field;
    }
    assert_int_equal(fake.did, FAKE_ANSWERED);
    assert_memory_equal(fake.fields, "Location: ", 10);
    memcpy(field, fake.fields + 10, sizeof field - 10);
    assert_ptr_equal(strpbrk(field, "\r\n"), field + strlen(field) - 1); /* one field */
    field[strlen(field) - 1] = 0;
    return field;
}

static void redirects_lead_where_they_should(void **state)
{
    (void)state;
    good(ferry_filters_redirect(chain, 308, "https://$host$uri"));
    closed();
    assert_string_equal(location("GET /x%20y?%0D%0A HTTP/1.1\r\nHost: a.example:80\r\n\r\n"),
                        "https://a.example/x%20y?%0D%0A");
    assert_int_equal(fake.status, 308);
}

static void no_redirect_leads_to_a_foreign_host(void **state)
{
    static const char *const cases[][2] = {
        {"GET //evil.example/x HTTP/1.1\r\nHost: a\r\n\r\n", "/evil.example/x"},
        {"GET ///evil.example HTTP/1.1\r\nHost: a\r\n\r\n", "/evil.example"},
        {"GET /\\evil.example HTTP/1.1\r\nHost: a\r\n\r\n", "/%5Cevil.example"},
        {"GET /%5Cevil.example HTTP/1.1\r\nHost: a\r\n\r\n", "/%5Cevil.example"},
        {"GET http://a/x?y HTTP/1.1\r\nHost: a\r\n\r\n", "/x?y"},
        {"GET http://a//evil.example/ HTTP/1.1\r\nHost: a\r\n\r\n", "/evil.example/"},
        {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "/"},
    };

    (void)state;
    good(ferry_filters_redirect(chain, 302, "$uri"));
    closed();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(location(cases[i][0]), cases[i][1]);
    assert_int_equal(fake.status, 302);
}

static void a_redirect_needs_a_host(void **state)
{
    (void)state;
    good(ferry_filters_redirect(chain, 301, "https://$host:8443$path?$query"));
    closed();
    assert_string_equal(location("GET / HTTP/1.0\r\n\r\n"), "400");
    assert_string_equal(location("GET /a HTTP/1.1\r\nHost: [::1]:81\r\n\r\n"),
                        "https://[::1]:8443/a");
}

static void long_redirects_are_414(void **state)
{
    char head[4096 + 64];

    (void)state;
    good(ferry_filters_redirect(chain, 301, "/$uri$uri$uri$uri?$uri"));
    closed();
    memset(head, 'x', sizeof head);
    memcpy(head, "GET /", 5);
    snprintf(head + 4000, 64, " HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_string_equal(location(head), "414");
    snprintf(head + 100, 64, " HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_string_not_equal(location(head), "414");
}

static void bad_redirects_are_refused(void **state)
{
    (void)state;
    refused(ferry_filters_redirect(chain, 300, "/"),
            "redirect: 300 is none of 301, 302, 303, 307 and 308");
    assert_int_equal(ferry_filters_redirect(chain, 302, NULL), FERRY_EUSAGE);
    assert_int_equal(ferry_filters_redirect(chain, 302, "/\r\nX: y"), FERRY_EUSAGE);
    assert_int_equal(ferry_filters_redirect(chain, 302, "https://$http_x_host/"), FERRY_EUSAGE);
    assert_int_equal(ferry_filters_redirect(chain, 302, "/$1"), FERRY_EUSAGE);
}

/* -- rewrite ----------------------------------------------------------------------------------- */

static void rewrites_change_path_and_query(void **state)
{
    static const struct {
        const char *target, *path, *query;
    } cases[] = {
        {"/old/x/y?q=1", "/new/y/x", "q=1"},
        {"/old/x", "/old/x", ""},
        {"/item-12?a=b", "/item.php", "id=12&a=b"},
        {"/say/a%20%26b", "/say.php", "what=a%20%26b"},
        {"/drop?x=1", "/dropped", ""},
        {"/OLD/x/y", "/OLD/x/y", ""},
        {"/first", "/third", ""}, /* one rewrite sees what the one before it made */
        {"/double//x", "/doubled/x", ""},
        {"/%C3%A9t%C3%A9", "/summer", ""},
    };

    (void)state;
    good(ferry_filters_rewrite(chain, "^/old/([^/]+)/(.*)$", "/new/$2/$1"));
    good(ferry_filters_rewrite(chain, "^/item-([0-9]+)$", "/item.php?id=$1&$query"));
    good(ferry_filters_rewrite(chain, "^/say/(.*)", "/say.php?what=$1"));
    good(ferry_filters_rewrite(chain, "^/drop$", "/dropped?"));
    good(ferry_filters_rewrite(chain, "^/first$", "/second"));
    good(ferry_filters_rewrite(chain, "^/second$", "/third"));
    good(ferry_filters_rewrite(chain, "^/double(/.*)", "/doubled/$1"));
    good(ferry_filters_rewrite(chain, "^/(\xc3\xa9t\xc3\xa9)$", "/summer"));
    good(ferry_filters_set_param(chain, "PATH", "$path"));
    good(ferry_filters_set_param(chain, "QUERY", "$query"));
    good(ferry_filters_set_param(chain, "URI", "$uri"));
    closed();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fake_get(&fake, chain, cases[i].target);
        param_is("PATH", cases[i].path);
        param_is("QUERY", cases[i].query);
        param_is("URI", cases[i].target);
    }
}

static void what_is_no_path_then_is_404(void **state)
{
    static const char *const targets[] = {"/cut/x..", "/cut/...", "/bare/x", "/head"};

    (void)state;
    good(ferry_filters_rewrite(chain, "^/cut/.(.*)$", "/$1"));
    good(ferry_filters_rewrite(chain, "^/bare/(.*)$", "$1"));
    good(ferry_filters_rewrite(chain, "^/head$", "/x/$http_x_up"));
    closed();
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        char head[256];

        snprintf(head, sizeof head, "GET %s HTTP/1.1\r\nHost: a\r\nX-Up: ../../etc\r\n\r\n",
                 targets[i]);
        fake_request(&fake, chain, head);
        assert_int_equal(fake.did, FAKE_REFUSED);
        assert_int_equal(fake.status, 404);
    }
}

static void optional_groups_are_empty(void **state)
{
    (void)state;
    good(ferry_filters_rewrite(chain, "^/(a)?(b)?(.*)$", "/<$1|$2|$3>"));
    good(ferry_filters_set_param(chain, "PATH", "$path"));
    closed();
    fake_get(&fake, chain, "/bc");
    param_is("PATH", "/<|b|c>");
}

static void bad_rewrites_are_refused(void **state)
{
    char pattern[1026];

    (void)state;
    memset(pattern, 'a', sizeof pattern - 1);
    pattern[sizeof pattern - 1] = 0;
    refused(ferry_filters_rewrite(chain, pattern, "/"),
            "rewrite: a pattern of more than 1024 bytes");
    pattern[1024] = 0;
    good(ferry_filters_rewrite(chain, pattern, "/"));
    refused(ferry_filters_rewrite(chain, "", "/"), "rewrite: it needs a pattern");
    refused(ferry_filters_rewrite(chain, NULL, "/"), "rewrite: it needs a pattern");
    assert_int_equal(ferry_filters_rewrite(chain, "^/(", "/"), FERRY_EUSAGE);
    assert_memory_equal(ferry_filters_why(chain), "rewrite: \"^/(\": ", 15);
    refused(ferry_filters_rewrite(chain, "^/(.*)\\1$", "/"),
            "rewrite: \"^/(.*)\\1$\" refers back to a group with \\1");
    good(ferry_filters_rewrite(chain, "^/\\\\1$", "/")); /* a backslash, and a one */
    refused(ferry_filters_rewrite(chain, "^/(.*)$", "/$2"),
            "rewrite: \"/$2\": the pattern has no group for \"$2\"");
    assert_int_equal(ferry_filters_rewrite(chain, "^/x$", "x"), FERRY_EUSAGE);
    assert_int_equal(ferry_filters_rewrite(chain, "^/x$", NULL), FERRY_EUSAGE);
}

/* -- memory ------------------------------------------------------------------------------------ */

static int make_all(struct ferry_filters *f)
{
    int err = 0;

#define MAKE(x)                                                                                    \
    if (err == 0)                                                                                  \
        err = x;
    MAKE(ferry_filters_basic_params(f))
    MAKE(ferry_filters_map_header(f))
    MAKE(ferry_filters_set_param(f, "A", "$host"))
    MAKE(ferry_filters_remove_param(f, "HTTP_HOST"))
    MAKE(ferry_filters_header(f, "X-A", "$path"))
    MAKE(ferry_filters_header(f, "X-B", NULL))
    MAKE(ferry_filters_strip_prefix(f, "/a"))
    MAKE(ferry_filters_rewrite(f, "^/old(/.*)$", "/new$1?$query"))
    MAKE(ferry_filters_split_path_info(f, NULL, 0))
    MAKE(ferry_filters_file_endpoint(f, "/srv/x.php"))
    MAKE(ferry_filters_redirect(f, 302, "/b$path"))
    MAKE(ferry_filters_deny(f, 403, "no"))
#undef MAKE
    return err;
}

static void make_and_free(void *arg)
{
    struct ferry_filters *f = ferry_filters_new();
    int err = f ? make_all(f) : -ENOMEM;

    (void)arg;
    assert_true(err == 0 || (err == -ENOMEM && alloc_failed()));
    ferry_filters_free(f);
}

static void making_fails_cleanly(void **state)
{
    (void)state;
    each_alloc_fails(make_and_free, NULL);
}

static void join_and_leave(void *arg)
{
    struct ferry_filters_local *local = NULL;
    int err = ferry_filters_join(chain, &fake.thread, &local);

    (void)arg;
    assert_true(err == 0 || (err == -ENOMEM && alloc_failed()));
    if (err == 0)
        ferry_filters_leave(local);
}

static void joining_fails_cleanly(void **state)
{
    (void)state;
    good(make_all(chain));
    closed();
    each_alloc_fails(join_and_leave, NULL);
}

/* A filter in front of all others: from here on the loop has no block left, and the n-th
 * allocation fails. */
static struct ferry_block *held[256];
static unsigned nheld;

static int fail_from_here(struct ferry_session *s, void *arg)
{
    struct ferry_blocks *blocks = ferry_loop_blocks(s->thread->loop);

    while (blocks->small_kept && nheld < 256)
        held[nheld++] = ferry_block_get(blocks, 1);
    fail_alloc_after(*(const long *)arg);
    return FERRY_STEP_NEXT;
}

static void running_fails_cleanly(void **state)
{
    struct ferry_filters *front = chain;
    bool failed = true;
    long n = 0;

    (void)state;
    good(ferry_filters_add(front, fail_from_here, &n, NULL));
    good(make_all(chain));
    closed();
    for (; failed; n++) {
        fake_get(&fake, chain, "/a/old/x?y");
        failed = alloc_failed();
        fail_alloc_after(-1);
        if (failed)
            assert_true(fake.did == FAKE_REFUSED || fake.status == -ENOMEM);
        else
            assert_string_equal(fake.fields, "Location: /b/new/x\nX-A: /a/old/x\n");
        fake_over(&fake);
        while (nheld)
            ferry_block_unref(held[--nheld]);
    }
    assert_true(n > 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_told_unasked),
        TEST(basic_params_tell_of_the_request),
        TEST(map_header_tells_the_fields),
        TEST(set_param_outdoes_the_client),
        TEST(the_last_word_on_a_param_counts),
        TEST(bad_params_are_refused),
        TEST(header_sets_and_removes),
        TEST(header_changes_refusals_too),
        TEST(bad_fields_are_refused),
        TEST(split_path_info_takes_the_first_script),
        TEST(split_path_info_refuses),
        TEST(file_endpoint_answers_every_path),
        TEST(file_endpoint_follows_its_mount),
        TEST(an_operators_param_outdoes_file_endpoint),
        TEST(file_endpoint_refuses),
        TEST(strip_prefix_mounts),
        TEST(scripts_know_their_mount),
        TEST(strip_prefix_refuses),
        TEST(deny_refuses),
        TEST(redirects_lead_where_they_should),
        TEST(no_redirect_leads_to_a_foreign_host),
        TEST(a_redirect_needs_a_host),
        TEST(long_redirects_are_414),
        TEST(bad_redirects_are_refused),
        TEST(rewrites_change_path_and_query),
        TEST(what_is_no_path_then_is_404),
        TEST(optional_groups_are_empty),
        TEST(bad_rewrites_are_refused),
        TEST(making_fails_cleanly),
        TEST(joining_fails_cleanly),
        TEST(running_fails_cleanly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
