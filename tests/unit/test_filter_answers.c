/* SPDX-License-Identifier: MIT */
/* deny and redirect. */
#include "filter_chain.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(deny_refuses),
        TEST(redirects_lead_where_they_should),
        TEST(no_redirect_leads_to_a_foreign_host),
        TEST(a_redirect_needs_a_host),
        TEST(long_redirects_are_414),
        TEST(bad_redirects_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
