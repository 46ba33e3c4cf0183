/* SPDX-License-Identifier: MIT */
/* Checks of docs/mail.md: R10-R12, M34. */
#include "mail/domains.h"

#include <errno.h>
#include <stdio.h>

#include "support.h"

#define UMLAUT                                                                                     \
    "b\xc3\xbc"                                                                                    \
    "cher.example"
#define UMLAUT_UPPER                                                                               \
    "B\xc3\x9c"                                                                                    \
    "CHER.Example"
#define PUNYCODE "xn--bcher-kva.example"

static struct ferry_mail_domains *make(const char *const *texts, unsigned n)
{
    struct ferry_mail_domains *d = NULL;
    char why[200] = "";

    assert_int_equal(ferry_mail_domains_new(texts, n, &d, why, sizeof why), 0);
    assert_string_equal(why, "");
    return d;
}

static int match(const struct ferry_mail_domains *d, const char *domain)
{
    size_t n = strlen(domain);

    return ferry_mail_domains_match(d, ferry_slice(guard_copy(0, domain, n), n));
}

static void domains_are_matched(void **state)
{
    static const char *const texts[] = {
        "example.com",
        "Example.NET",
        "*.wild.example",
        "[192.0.2.1]",
        "[ipv6:2001:DB8:0:0::1]",
        UMLAUT,
        "*.xn--bcher-kva.test",
        "localhost",
        "example.com",
    };
    static const struct {
        const char *domain;
        int want;
    } cases[] = {
        {"example.com", 1},
        {"EXAMPLE.com", 1},
        {"example.net", 1},
        {"localhost", 1},
        {"", 1}, /* <postmaster> */
        {"example.org", 0},
        {"com", 0},
        {"mail.example.com", 0},
        {"xexample.com", 0},
        {"example.co", 0},
        {"example.comx", 0},
        {"a.wild.example", 1},
        {"a.b.WILD.example", 1},
        {"wild.example", 0},
        {".wild.example", 0},
        {"awild.example", 0},
        {"a.wild.example.com", 0},
        {"*.wild.example", 1}, /* no path has such a domain */
        {"[192.0.2.1]", 1},
        {"[192.0.2.2]", 0},
        {"192.0.2.1", 0},
        {"[IPv6:2001:db8::1]", 1},
        {"[IPv6:2001:0db8:0:0:0:0:0:1]", 1},
        {"[IPv6:2001:db8::2]", 0},
        {"[ipv6:2001:DB8::1]", 1},
        /* R11: both ways of writing it */
        {UMLAUT, 1},
        {UMLAUT_UPPER, 1},
        {PUNYCODE, 1},
        {"XN--BCHER-KVA.EXAMPLE", 1},
        {"bucher.example", 0},
        {"b\x75\xcc\x88"
         "cher.example",
         1}, /* u and a combining diaeresis */
        {"a.b\xc3\xbc"
         "cher.test",
         1},
        {"a.xn--bcher-kva.test", 1},
        {"b\xc3\xbc"
         "cher.test",
         0},
        {"m\xc3\xbcnchen.example", 0},
    };
    struct ferry_mail_domains *d = make(texts, sizeof texts / sizeof *texts);

    (void)state;
    assert_false(ferry_mail_domains_is_any(d));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (cases[i].want != (match(d, cases[i].domain) == 1))
            fail_msg("%s: not %d", cases[i].domain, cases[i].want);
    ferry_mail_domains_free(d);
}

/* R12. */
static void any_is_any(void **state)
{
    static const char *const dot[] = {"."}, *const star[] = {"example.com", "*"};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct ferry_mail_domains *d = i ? make(star, 2) : make(dot, 1);

        assert_true(ferry_mail_domains_is_any(d));
        assert_int_equal(match(d, "example.com"), 1);
        assert_int_equal(match(d, "x"), 1);
        assert_int_equal(match(d, "[192.0.2.1]"), 1);
        assert_int_equal(match(d, UMLAUT), 1);
        ferry_mail_domains_free(d);
    }
}

static void none_is_none(void **state)
{
    struct ferry_mail_domains *d = make(NULL, 0);

    (void)state;
    assert_int_equal(match(d, "example.com"), 0);
    assert_int_equal(match(d, ""), 1);
    ferry_mail_domains_free(d);
    ferry_mail_domains_free(NULL);
}

static void texts_that_are_no_domains(void **state)
{
    static const struct {
        const char *text, *word; /* which must stand in `why` */
    } cases[] = {
        {"", "empty"},
        {"a@example.com", "'@'"},
        {".example.com", "*.example.com"},
        {"192.0.2.1", "[192.0.2.1]"},
        {"2001:db8::1", "[IPv6:"},
        {"[192.0.2]", "[192.0.2.1]"},
        {"[::1]", "[IPv6:"},
        {"[192.0.2.1", "[192.0.2.1]"},
        {"example.com.", "end with a dot"},
        {"*example.com", "'*'"},
        {"a.*.example.com", "'*'"},
        {"**", "'*'"},
        {"*.", "end with a dot"},
        {"*.[192.0.2.1]", "'*'"},
        {"a..b", "no name"},
        {"-a", "no name"},
        {"a b", "no name"},
        {"a_b", "no name"},
        {"a\xc3(", "no name"},
        {"\xe2\x80\x8b"
         "a.example",
         "no name"},
        {"example.com, example.net", "no name"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *texts[] = {"good.example", cases[i].text};
        struct ferry_mail_domains *d = NULL;
        char why[200] = "", name[100];

        assert_int_equal(ferry_mail_domains_new(texts, 2, &d, why, sizeof why), FERRY_EUSAGE);
        assert_null(d);
        snprintf(name, sizeof name, "\"%s\"", cases[i].text);
        if (!strstr(why, name) || !strstr(why, cases[i].word))
            fail_msg("%s: %s", cases[i].text, why);
    }
}

static void many_domains_are_all_found(void **state)
{
    enum { N = 20000 };
    static char names[N][24];
    static const char *texts[N];
    struct ferry_mail_domains *d;
    char other[24];

    (void)state;
    for (unsigned i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "%sd%u.example", i % 7 ? "" : "*.", i);
        texts[i] = names[i];
    }
    d = make(texts, N);
    for (unsigned i = 0; i < N; i++) {
        snprintf(other, sizeof other, "d%u.example", i);
        assert_int_equal(match(d, other), i % 7 != 0);
        snprintf(other, sizeof other, "x.d%u.example", i);
        assert_int_equal(match(d, other), i % 7 == 0);
    }
    ferry_mail_domains_free(d);
}

static void one_form_for_each(void **state)
{
    static const struct {
        const char *in, *want; /* NULL: FERRY_EUSAGE */
    } cases[] = {
        {"Example.COM", "example.com"},
        {UMLAUT_UPPER, PUNYCODE},
        {"\xe4\xbe\x8b\xe5\xad\x90.\xe6\xb5\x8b\xe8\xaf\x95", "xn--fsqu00a.xn--0zwm56d"},
        {"fa\xc3\x9f.de", "xn--fa-hia.de"}, /* nontransitional: not fass.de */
        {"[192.0.2.1]", "[192.0.2.1]"},
        {"[IPv6:0:0::1]", "[ipv6:::1]"},
        {"[IPv6:::1", NULL},
        {"[", NULL},
        {"[]", NULL},
        {"\xe2\x80\x8d.example", NULL}, /* M34 */
        {"\xc3.example", NULL},
        {"-\xc3\xa4.example", NULL},
    };
    char out[FERRY_MAIL_DOMAIN_MAX + 1], in[600];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = strlen(cases[i].in);
        struct ferry_slice s = ferry_slice(guard_copy(0, cases[i].in, n), n);
        ssize_t got = ferry_mail_domain_ascii(s, out);

        if (!cases[i].want) {
            assert_int_equal(got, FERRY_EUSAGE);
            continue;
        }
        assert_int_equal(got, strlen(cases[i].want));
        assert_string_equal(out, cases[i].want);
    }
    /* the limit, and one past it */
    memset(in, 'a', sizeof in);
    for (size_t i = 9; i < sizeof in; i += 10)
        in[i] = '.';
    assert_int_equal(ferry_mail_domain_ascii(ferry_slice(in, 255), out), 255);
    assert_int_equal(ferry_mail_domain_ascii(ferry_slice(in, 256), out), FERRY_EUSAGE);
    memcpy(in, "\xc3\xa4", 2);
    assert_int_equal(ferry_mail_domain_ascii(ferry_slice(in, 300), out), FERRY_EUSAGE);
}

static void scenario(void *arg)
{
    static const char *const texts[] = {"example.com", UMLAUT, "*.x"};
    struct ferry_mail_domains *d = NULL;
    char why[200];
    int err = ferry_mail_domains_new(texts, 3, &d, why, sizeof why);

    (void)arg;
    if (err < 0) {
        assert_int_equal(err, -ENOMEM);
        assert_null(d);
        return;
    }
    assert_int_equal(match(d, "a.x"), 1);
    ferry_mail_domains_free(d);
}

static void without_memory_there_is_no_table(void **state)
{
    (void)state;
    each_alloc_fails(scenario, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(domains_are_matched),
        cmocka_unit_test(any_is_any),
        cmocka_unit_test(none_is_none),
        cmocka_unit_test(texts_that_are_no_domains),
        cmocka_unit_test(many_domains_are_all_found),
        cmocka_unit_test(one_form_for_each),
        cmocka_unit_test(without_memory_there_is_no_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
