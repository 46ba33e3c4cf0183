/* SPDX-License-Identifier: MIT */
/* What is told: basic_params, map_header, set_param, remove_param, header. */
#include "filter_chain.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_told_unasked),         TEST(basic_params_tell_of_the_request),
        TEST(map_header_tells_the_fields),     TEST(set_param_outdoes_the_client),
        TEST(the_last_word_on_a_param_counts), TEST(bad_params_are_refused),
        TEST(header_sets_and_removes),         TEST(header_changes_refusals_too),
        TEST(bad_fields_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
