/* SPDX-License-Identifier: MIT */
#include "session/template.h"

#include <errno.h>

#include "session_fake.h"

static const char head[] = "GET /a%20b/%C3%A9?q=1&x=%2F HTTP/1.1\r\n"
                           "Host: Shop.Example.org:8080\r\n"
                           "User-Agent: one \"two\"\r\n"
                           "X-Path: //evil.example/..\r\n"
                           "Referer: http://elsewhere.example/?a=b&c\r\n"
                           "\r\n";

static struct ferry_filters *none;
static struct fake fake;

static int setup(void **state)
{
    (void)state;
    none = ferry_filters_new();
    assert_non_null(none);
    fake_open(&fake, none);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_close(&fake);
    ferry_filters_free(none);
    return 0;
}

/* What a text becomes: "path" or "path|query"; or "!" and why it is refused. */
static const char *fill(enum ferry_template_use use, const char *text)
{
    static const struct ferry_slice groups[FERRY_TEMPLATE_GROUPS] = {
        FERRY_SLICE_INIT("all"), FERRY_SLICE_INIT("one"), FERRY_SLICE_INIT("/t&o o"),
        FERRY_SLICE_INIT("")};
    static char result[2 * FERRY_TEMPLATE_OUT_MAX];
    char buf[FERRY_TEMPLATE_WHY];
    struct ferry_template *t;
    struct ferry_template_out out;
    const char *why = NULL;
    int err = ferry_template_new(guard_copy(0, text, strlen(text) + 1), use, 3, &t, buf, &why);

    if (err == FERRY_EUSAGE) {
        snprintf(result, sizeof result, "!%s", why);
        return result;
    }
    assert_int_equal(err, 0);
    err = ferry_template_expand(t, &fake.session, groups, &out);
    if (err == FERRY_ELIMIT)
        snprintf(result, sizeof result, "!limit");
    else if (out.query.p)
        snprintf(result, sizeof result, "%.*s|%.*s", (int)out.text.len, out.text.p,
                 (int)out.query.len, out.query.p);
    else
        snprintf(result, sizeof result, "%.*s", (int)out.text.len, out.text.p);
    ferry_template_free(t);
    return result;
}

static void texts_are_filled_in(void **state)
{
    static const char *const cases[][2] = {
        {"", ""},
        {"plain", "plain"},
        {"a$$b", "a$b"},
        {"$$host", "$host"},
        {"$host", "shop.example.org"},
        {"${host}x", "shop.example.orgx"},
        {"$uri", "/a%20b/%C3%A9?q=1&x=%2F"},
        {"<$path>", "</a b/\xc3\xa9>"},
        {"$query", "q=1&x=%2F"},
        {"$scheme://$remote_addr", "http://127.0.0.2"},
        {"$http_user_agent", "one \"two\""},
        {"$http_host", "Shop.Example.org:8080"},
        {"[$http_nothing]", "[]"},
        {"$param_REMOTE_PORT,$param_NOTHING", "4711,"},
        {"$1$2$3.$11", "one/t&o o.one1"},
        /* refused */
        {"$", "!a \"$\" without a name; a dollar is written \"$$\""},
        {"5 $ a", "!a \"$\" without a name; a dollar is written \"$$\""},
        {"${host", "!a \"$\" without a name; a dollar is written \"$$\""},
        {"${}", "!a \"$\" without a name; a dollar is written \"$$\""},
        {"$4", "!the pattern has no group for \"$4\""},
        {"a\nb", "!a control byte"},
    };

    (void)state;
    fake_request(&fake, none, head);
    fake.session.basic = true;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(fill(FERRY_TEMPLATE_TEXT, cases[i][0]), cases[i][1]);
}

static void unknown_variables_are_refused(void **state)
{
    static const char *const names[] = {"$hst",   "$hostname", "$Host",  "$0",
                                        "$http_", "$param_",   "$_host", "$request_uri"};

    (void)state;
    fake_request(&fake, none, head);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *why = fill(FERRY_TEMPLATE_TEXT, names[i]);

        assert_memory_equal(why, "!there is no variable \"$", 24);
        assert_non_null(strstr(why, names[i]));
    }
}

static void paths_and_their_queries(void **state)
{
    static const char *const cases[][2] = {
        {"/x", "/x"},
        {"$path", "/a b/\xc3\xa9"},
        {"/x$path/", "/x/a b/\xc3\xa9/"},
        {"/x/$path", "/x/a b/\xc3\xa9"}, /* no path holds "//" */
        {"/$1/$2", "/one/t&o o"},
        {"/index.php?q=$path", "/index.php|q=/a%20b/%C3%A9"},
        {"/index.php?q=$uri", "/index.php|q=/a%2520b/%25C3%25A9%3Fq%3D1%26x%3D%252F"},
        {"/index.php?$uri", "/index.php|/a%20b/%C3%A9?q=1&x=%2F"}, /* as old configurations do */
        {"/index.php?$query", "/index.php|q=1&x=%2F"},
        {"/index.php?a=$2&$query", "/index.php|a=/t%26o%20o&q=1&x=%2F"},
        {"/x?", "/x|"},
        {"/x?a?b", "/x|a?b"},
        {"/x?a=$http_referer", "/x|a=http%3A//elsewhere.example/%3Fa%3Db%26c"},
        /* refused */
        {"$uri", "!\"$uri\" is no path and can only stand behind a \"?\"; use $path"},
        {"$path$query", "!\"$query\" is no path and can only stand behind a \"?\"; use $path"},
        {"", "!it must begin with a slash or $path"},
        {"x", "!it must begin with a slash or $path"},
        {"?a", "!it must begin with a slash or $path"},
        {"$http_x_path", "!it must begin with a slash or $path"},
    };

    (void)state;
    fake_request(&fake, none, head);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(fill(FERRY_TEMPLATE_PATH, cases[i][0]), cases[i][1]);
}

static void locations(void **state)
{
#define HOST_REFUSED                                                                               \
    "!whoever sends the request could choose the host it leads to; only $host may stand in a "     \
    "host's name, and a slash or $uri behind it"
#define FRONT_REFUSED                                                                              \
    "!it must begin with a slash, $uri, $path, or a scheme and a host: https://..."
    static const char *const cases[][2] = {
        {"https://$host$uri", "https://shop.example.org/a%20b/%C3%A9?q=1&x=%2F"},
        {"https://$host:8443$path", "https://shop.example.org:8443/a%20b/%C3%A9"},
        {"https://$http_host/", "https://Shop.Example.org:8080/"},
        {"$scheme://www.example.org$uri", "http://www.example.org/a%20b/%C3%A9?q=1&x=%2F"},
        {"https://www.example.org", "https://www.example.org"},
        {"//cdn.example.org$path", "//cdn.example.org/a%20b/%C3%A9"},
        {"$path/", "/a%20b/%C3%A9/"},
        {"$path?$query", "/a%20b/%C3%A9?q=1&x=%2F"},
        {"/login?next=$uri", "/login?next=/a%2520b/%25C3%25A9%3Fq%3D1%26x%3D%252F"},
        {"/login?ua=$http_user_agent", "/login?ua=one%20%22two%22"},
        {"/$http_x_path", "/evil.example/.."},
        {"/\xc3\xa9 \"", "/%C3%A9%20%22"},
        {"https://example.org/$http_x_path", "https://example.org///evil.example/.."},
        /* refused */
        {"", FRONT_REFUSED},
        {"x", FRONT_REFUSED},
        {"$http_x_path", FRONT_REFUSED},
        {"$param_X/", FRONT_REFUSED},
        {"javascript:alert(1)", FRONT_REFUSED},
        {"$host$uri", FRONT_REFUSED},
        {"$scheme", FRONT_REFUSED},
        {"$scheme:$uri", FRONT_REFUSED},
        {"https://$http_x_path/", HOST_REFUSED},
        {"https://example.org$http_x_path", HOST_REFUSED},
        {"https://example.org$query", HOST_REFUSED},
        {"https://$host$1", HOST_REFUSED},
        {"//$param_HTTP_X/", HOST_REFUSED},
        {"$scheme://$query/", HOST_REFUSED},
        {"/a\r\nSet-Cookie: x", "!a control byte"},
    };

    (void)state;
    fake_request(&fake, none, head);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(fill(FERRY_TEMPLATE_LOCATION, cases[i][0]), cases[i][1]);
}

/* Different values, one behind the other, must not look the same. */
static void keys_tell_values_apart(void **state)
{
    static const char *const heads[] = {
        "GET /pub/secret HTTP/1.1\r\nHost: a\r\nX: T\r\n\r\n",
        "GET /secret HTTP/1.1\r\nHost: a\r\nX: T/pub\r\n\r\n",
        "GET /pub/secret HTTP/1.1\r\nHost: a\r\nX: T\r\nx: U\r\n\r\n",
    };
    char buf[FERRY_TEMPLATE_WHY], keys[2][64];
    struct ferry_template_out out;
    struct ferry_template *t;
    const char *why;

    (void)state;
    assert_int_equal(ferry_template_new("$http_x$uri", FERRY_TEMPLATE_KEY, 0, &t, buf, &why), 0);
    for (int i = 0; i < 2; i++) {
        fake_request(&fake, none, heads[i]);
        assert_int_equal(ferry_template_expand(t, &fake.session, NULL, &out), 0);
        assert_int_equal(out.text.len, 14);
        memcpy(keys[i], out.text.p, out.text.len);
    }
    assert_memory_not_equal(keys[0], keys[1], 14);
    fake_request(&fake, none, heads[2]);
    assert_int_equal(ferry_template_expand(t, &fake.session, NULL, &out), FERRY_ELIMIT);
    ferry_template_free(t);
}

static void targets_of_other_forms(void **state)
{
    static const char *const cases[][2] = {
        {"http://other.example/x?y", "/x?y"},
        {"HTTP://other.example", "/"},
        {"http://other.example?a=1&x=/public", "/?a=1&x=/public"},
        {"http://other.example/a?x=/b", "/a?x=/b"},
        {"//evil.example/x", "//evil.example/x"},
        {"/x", "/x"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fake_get(&fake, none, cases[i][0]);
        assert_string_equal(fill(FERRY_TEMPLATE_TEXT, "$uri"), cases[i][1]);
    }
    fake_get(&fake, none, "//evil.example/x");
    assert_string_equal(fill(FERRY_TEMPLATE_LOCATION, "$uri"), "/evil.example/x");
    fake_get(&fake, none, "/\\evil.example/x");
    assert_string_equal(fill(FERRY_TEMPLATE_LOCATION, "$uri"), "/%5Cevil.example/x");
    assert_string_equal(fill(FERRY_TEMPLATE_LOCATION, "$path"), "/%5Cevil.example/x");
    fake_get(&fake, none, "/x");
    assert_string_equal(fill(FERRY_TEMPLATE_LOCATION, "$path?$query"), "/x");
    assert_string_equal(fill(FERRY_TEMPLATE_LOCATION, "/y?"), "/y?");
    fake_request(&fake, none, "OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n");
    assert_string_equal(fill(FERRY_TEMPLATE_TEXT, "$host$uri$path"), "[::1]//");
    fake_request(&fake, none, "GET / HTTP/1.0\r\n\r\n");
    assert_string_equal(fill(FERRY_TEMPLATE_TEXT, "<$host>"), "<>");
}

/* `text` n times. */
static const char *times(const char *text, size_t n)
{
    static char all[2 * FERRY_TEMPLATE_LEN_MAX];
    size_t len = strlen(text);

    assert_true(n * len < sizeof all);
    for (size_t i = 0; i < n; i++)
        memcpy(all + i * len, text, len);
    all[n * len] = 0;
    return all;
}

static void limits(void **state)
{
    char target[1025];

    (void)state;
    memset(target, 'x', sizeof target - 1);
    target[0] = '/';
    target[sizeof target - 1] = 0;
    fake_get(&fake, none, target);
    assert_int_equal(strlen(fill(FERRY_TEMPLATE_TEXT, times("x", FERRY_TEMPLATE_LEN_MAX))),
                     FERRY_TEMPLATE_LEN_MAX);
    assert_string_equal(fill(FERRY_TEMPLATE_TEXT, times("x", FERRY_TEMPLATE_LEN_MAX + 1)),
                        "!it is too long");
    assert_int_equal(strlen(fill(FERRY_TEMPLATE_TEXT, times("$1", FERRY_TEMPLATE_PARTS_MAX))),
                     3 * FERRY_TEMPLATE_PARTS_MAX);
    assert_string_equal(fill(FERRY_TEMPLATE_TEXT, times("$1", FERRY_TEMPLATE_PARTS_MAX + 1)),
                        "!too many variables");
    assert_int_equal(strlen(fill(FERRY_TEMPLATE_TEXT, times("$uri", 16))), FERRY_TEMPLATE_OUT_MAX);
    assert_string_equal(fill(FERRY_TEMPLATE_TEXT, times("$uri", 17)), "!limit");
}

static void groups_are_a_rewrites(void **state)
{
    char buf[FERRY_TEMPLATE_WHY];
    struct ferry_template *t = NULL;
    const char *why;

    (void)state;
    assert_int_equal(ferry_template_new("$1", FERRY_TEMPLATE_TEXT, 0, &t, buf, &why), FERRY_EUSAGE);
    assert_string_equal(why, "\"$1\" is a group of a rewrite's pattern, and there is none");
    assert_null(t);
    ferry_template_free(NULL);
}

static void scenario(void *arg)
{
    char buf[FERRY_TEMPLATE_WHY];
    struct ferry_template *t;
    struct ferry_template_out out;
    const char *why;

    (void)arg;
    if (ferry_template_new("/$path?$query", FERRY_TEMPLATE_PATH, 0, &t, buf, &why) < 0)
        return;
    if (ferry_template_expand(t, &fake.session, NULL, &out) < 0)
        assert_true(alloc_failed());
    else
        assert_slice_equal(out.text, "/a b/\xc3\xa9");
    ferry_template_free(t);
}

static void allocations_fail(void **state)
{
    (void)state;
    fake_request(&fake, none, head);
    each_alloc_fails(scenario, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_filled_in),     cmocka_unit_test(unknown_variables_are_refused),
        cmocka_unit_test(paths_and_their_queries), cmocka_unit_test(locations),
        cmocka_unit_test(keys_tell_values_apart),  cmocka_unit_test(limits),
        cmocka_unit_test(targets_of_other_forms),  cmocka_unit_test(limits),
        cmocka_unit_test(groups_are_a_rewrites),   cmocka_unit_test(allocations_fail),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
