/* SPDX-License-Identifier: MIT */
#include "filter_chain.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rewrites_change_path_and_query),
        TEST(what_is_no_path_then_is_404),
        TEST(optional_groups_are_empty),
        TEST(bad_rewrites_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
