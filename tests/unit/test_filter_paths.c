/* SPDX-License-Identifier: MIT */
/* What a path means: split_path_info, file_endpoint, strip_prefix. */
#include "filter_chain.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(split_path_info_takes_the_first_script),
        TEST(split_path_info_refuses),
        TEST(file_endpoint_answers_every_path),
        TEST(file_endpoint_follows_its_mount),
        TEST(an_operators_param_outdoes_file_endpoint),
        TEST(file_endpoint_refuses),
        TEST(strip_prefix_mounts),
        TEST(scripts_know_their_mount),
        TEST(strip_prefix_refuses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
