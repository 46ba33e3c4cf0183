/* SPDX-License-Identifier: MIT */
/* The blocks of mail services. */
#include <errno.h>

#include "config_files.h"
#include "io/addr.h"

#define PHP "application php { connect = /php }\n"
#define MAIL(settings) PHP "mail m { application = php save = /s.php " settings " }\n"

static void everything_is_read(void **state)
{
    static const char text[] =
        "mail-log = log/mail mail-log-format = json spool = spool\n" PHP
        "application other { connect = /other }\n"
        "mail mx-1 {\n"
        "  listen = { :25, unix:lmtp.sock }\n"
        "  hostname = mx.example.com\n"
        "  domains = { example.com, *.example.com, [192.0.2.1], [IPv6:::1], b\xc3\xbc.example }\n"
        "  application = php  auth-application = other\n"
        "  validate = validate.php  save = /save.php  auth = /auth.php\n"
        "  validate-timeout = 2s  save-timeout = 2m  auth-timeout = 500ms  queue-timeout = 1s\n"
        "  validate-fail = accept  save-fail = perm  format = rfc822  headers = delivered\n"
        "  protocol = submission  tls = required  tls-cert = { a.pem, b.pem }\n"
        "  tls-key = { a.key, b.key }  tls-min = 1.3  tls-clients = ask  tls-client-ca = ca.pem\n"
        "  proxy-from = { 192.0.2.0/24, 2001:db8::/32, ::1, unix }  deny = 203.0.113.9\n"
        "  bare-newline = keep  sync = off  size-max = 0  rcpts-max = 7  spool-max = 3G\n"
        "  maildir = box  maildir-per-user = on  verdict-time = 1m  clients-per-ip = 3\n"
        "}\n";
    struct ferry_config *c = good(text);
    const struct ferry_config_mail *m = &c->mails[0];
    const struct ferry_mail_service *s = &m->service;

    (void)state;
    assert_int_equal(c->nmails, 1);
    assert_int_equal(c->nsites, 0);
    assert_string_equal(c->mail_log, at("log/mail"));
    assert_int_equal(c->mail_log_format, FERRY_CONFIG_MAIL_JSON);
    assert_string_equal(c->spool, at("spool"));
    assert_string_equal(m->name, "mx-1");
    assert_int_equal(m->place.line, 4);
    assert_int_equal(m->nlisten, 2);
    assert_string_equal(m->listen[0], ":25");
    assert_memory_equal(m->listen[1], "unix:/", 6);
    assert_string_equal(m->listen[1] + 5, at("lmtp.sock"));
    assert_string_equal(s->hostname, "mx.example.com");
    assert_int_equal(s->ndomains, 5);
    assert_string_equal(s->domains[3], "[IPv6:::1]");
    assert_string_equal(m->application, "php");
    assert_null(m->save_application);
    assert_string_equal(m->auth_application, "other");
    assert_string_equal(s->validate.path, at("validate.php"));
    assert_string_equal(s->save.path, "/save.php");
    assert_string_equal(s->auth.path, "/auth.php");
    assert_int_equal(s->validate.timeout_ms, 2000);
    assert_int_equal(s->save.timeout_ms, 120000);
    assert_int_equal(s->auth.timeout_ms, 500);
    assert_int_equal(s->queue_ms, 1000);
    assert_int_equal(s->validate_fail, FERRY_MAIL_FAIL_ACCEPT);
    assert_int_equal(s->save_fail, FERRY_MAIL_FAIL_PERM);
    assert_int_equal(s->format, FERRY_MAIL_FORMAT_RFC822);
    assert_int_equal(s->headers, FERRY_MAIL_HEADERS_DELIVERED);
    assert_int_equal(s->protocol, FERRY_MAIL_SUBMISSION);
    assert_int_equal(s->tls, FERRY_MAIL_TLS_REQUIRED);
    assert_int_equal(m->ntls_certs, 2);
    assert_string_equal(m->tls_certs[1], at("b.pem"));
    assert_int_equal(m->ntls_keys, 2);
    assert_string_equal(m->tls_keys[0], at("a.key"));
    assert_string_equal(s->tls_opts.min, "1.3");
    assert_int_equal(s->tls_opts.clients, FERRY_TLS_CLIENTS_ASK);
    assert_string_equal(s->tls_opts.client_ca, at("ca.pem"));
    assert_int_equal(s->proxy_from.n, 4);
    assert_string_equal(s->proxy_from.texts[1], "2001:db8::/32");
    assert_int_equal(s->deny.n, 1);
    assert_int_equal(s->smtp.bare_newline, FERRY_SMTP_BARE_KEEP);
    assert_true(s->smtp.no_sync);
    assert_int_equal(s->smtp.size_max, 0);
    assert_int_equal(s->smtp.rcpts_max, 7);
    assert_int_equal(s->spool_max, 3ull << 30);
    assert_string_equal(s->maildir, at("box"));
    assert_true(s->maildir_per_user);
    assert_int_equal(s->verdict_ms, 60000);
    assert_int_equal(s->clients_per_ip, 3);
    ferry_config_free(c);
}

/* The defaults are those that mail/service.h and smtp/smtp.h promise. */
static void defaults(void **state)
{
    struct ferry_config *c = good(MAIL("listen = 127.0.0.1:0"));
    const struct ferry_mail_service *s = &c->mails[0].service;

    (void)state;
    assert_string_equal(c->mail_log, "-");
    assert_null(s->hostname);
    assert_false(s->accept_all);
    assert_int_equal(s->protocol, FERRY_MAIL_SMTP);
    assert_int_equal(s->tls, FERRY_MAIL_TLS_STARTTLS);
    assert_int_equal(s->format, FERRY_MAIL_FORMAT_URLENCODED);
    assert_int_equal(s->headers, FERRY_MAIL_HEADERS_TRACE);
    assert_int_equal(s->save_fail, FERRY_MAIL_FAIL_TEMP);
    assert_int_equal(s->save.timeout_ms, 30000);
    assert_int_equal(s->validate.timeout_ms, 5000);
    assert_int_equal(s->saved_ms, 3600000);
    assert_int_equal(s->saved_max, 10000);
    assert_int_equal(s->smtp.size_max, 26214400);
    assert_int_equal(s->smtp.line_max, 2048);
    assert_int_equal(s->smtp.data_line_max, 1 << 20);
    assert_int_equal(s->smtp.header_max, 262144);
    assert_int_equal(s->smtp.rcpts_max, 100);
    assert_int_equal(s->smtp.errors_soft, 10);
    assert_int_equal(s->smtp.errors_max, 20);
    assert_int_equal(s->smtp.idle_ms, 300000);
    assert_int_equal(s->smtp.data_ms, 1800000);
    assert_int_equal(s->smtp.session_ms, 7200000);
    assert_int_equal(s->smtp.data_rate_min, 500);
    assert_false(s->smtp.no_sync);
    assert_int_equal(s->clients_max, 1000);
    assert_int_equal(s->clients_per_ip, 20);
    assert_int_equal(s->auth_fails_per_minute, 10);
    assert_int_equal(s->spool_max, 1 << 30);
    assert_int_equal(s->spool_mem, 65536);
    ferry_config_free(c);
}

static void what_is_printed_reads_the_same(void **state)
{
    static const char *const texts[] = {
        MAIL("listen = 127.0.0.1:0"),
        MAIL("listen = { 127.0.0.1:0, 10.0.0.1:25 } domains = { a.example, . } sync = off "
             "size-max = 0 linger = 5s tls-cert = c.pem trusted = { unix, 10.0.0.0/8 }"),
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (int all = 0; all < 2; all++) {
            struct ferry_config *c = good(texts[i]), *again;
            char *once = printed(c, all), *twice;

            again = good(once);
            twice = printed(again, all);
            assert_string_equal(twice, once);
            assert_int_equal(strstr(once, "queue-timeout = 10s") != NULL, all);
            free(once);
            free(twice);
            ferry_config_free(c);
            ferry_config_free(again);
        }
}

static void what_is_wrong_is_said(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {PHP "mail { listen = /x }",
         "2: a mail service has one name, of letters, digits and . _ - behind the first: mail NAME "
         "{ ... }\n"},
        {PHP "mail a b { listen = /x }",
         "2: a mail service has one name, of letters, digits and . _ - behind the first: mail NAME "
         "{ ... }\n"},
        {MAIL("listen = 127.0.0.1:0") "mail m { listen = /x maildir = m }",
         "3: there is a mail service 'm' already, on line 2\n"},
        {MAIL(""), "2: this mail service needs 'listen', its address\n"},
        {"mail m { listen = /x }",
         "1: this mail service needs 'save' or 'maildir': where would mail go?\n"},
        {"mail m { listen = /x save = /s.php }",
         "1: 'save' needs 'application', whose script it is\n"},
        {"mail m { listen = /x maildir = m\n save-application = php }",
         "1: there is no application 'php'\n"
         "2: 'save-application' is for the script 'save', and there is none\n"},
        {PHP "mail m { listen = /x save = /s.php application = pph }",
         "2: there is no application 'pph'; did you mean 'php'?\n"},
        {MAIL("listen = :25"),
         "2: on :25 anybody could send mail to anywhere: say whose mail is taken ('domains', or "
         "--hosts), or that all of it is ('accept-all')\n"},
        {MAIL("domains = { example.com, * } listen = { 127.0.0.1:25,\n\"[2001:db8::1]:25\" }"),
         "3: on [2001:db8::1]:25 anybody could send mail to anywhere: say whose mail is taken "
         "('domains', or --hosts), or that all of it is ('accept-all')\n"},
        {MAIL("listen = { 127.0.0.1:24,\n10.0.0.1:25 } protocol = lmtp"),
         "3: LMTP does not belong on port 25 (RFC 2033, 5)\n"},
        {MAIL("listen = /x protocol = submission"),
         "2: 'protocol = submission' needs 'auth', its script\n"},
        {MAIL("listen = /x auth-required = on"),
         "2: 'auth-required' needs 'auth', the script, too\n"},
        {MAIL("listen = /x per-recipient = on"),
         "2: 'per-recipient' needs 'protocol = lmtp' too\n"},
        {MAIL("listen = /x\n maildir-per-user = on"),
         "3: 'maildir-per-user' needs 'maildir' too\n"},
        {MAIL("listen = /x\n errors-soft = 30"),
         "3: 'errors-soft' needs an 'errors-max' that is not less, too\n"},
        {MAIL("listen = /x\n tls = implicit"),
         "3: 'tls = implicit' needs 'tls-cert', a certificate\n"},
        {MAIL("listen = /x tls-cert = a tls-key = { a, b }"),
         "2: 'tls-cert' names 1 and 'tls-key' 2: one key for each\n"},
        {MAIL("listen = /x tls-key = a"), "2: 'tls-key' needs 'tls-cert' too, its certificate\n"},
        {MAIL("listen = /x domains = { a, b, a }"), "2: 'a' stands twice in 'domains'\n"},
        {MAIL("listen = /x tls-client-ca = a"),
         "2: 'tls-client-ca' needs 'tls-clients = ask' or 'tls-clients = need' too\n"},
        {MAIL("listen = /x tls-min = 1.4"),
         "2: 'tls-min = 1.4': 1.0 | 1.1 | 1.2 | 1.3 is expected\n"},
        {MAIL("listen = /x hostname = a..b"),
         "2: 'a..b' in 'hostname': that is no name of a host\n"},
        {MAIL("listen = /x domains = { a@b, [1.2.3], mail.*, \"\xc3\xbc b\" }"),
         "2: 'a@b' in 'domains': example.com, *.example.com, [192.0.2.1] and . (any) are domains\n"
         "2: '[1.2.3]' in 'domains': in the brackets stands no address\n"
         "2: 'mail.*' in 'domains': example.com, *.example.com, [192.0.2.1] and . (any) are "
         "domains\n"
         "2: '\xc3\xbc b' in 'domains': that is no domain\n"},
        {MAIL("listen = /x deny = { 1.2.3.4/33, ::/129, x }"),
         "2: '1.2.3.4/33' in 'deny': an address is expected, or a network such as 192.0.2.0/24 or "
         "2001:db8::/32, or unix\n"
         "2: '::/129' in 'deny': an address is expected, or a network such as 192.0.2.0/24 or "
         "2001:db8::/32, or unix\n"
         "2: 'x' in 'deny': an address is expected, or a network such as 192.0.2.0/24 or "
         "2001:db8::/32, or unix\n"},
        {MAIL("listen = /x save-timeout = 121s"), "2: 'save-timeout = 121s': 2m is the most\n"},
        {MAIL("listen = /x save-fail = accept"),
         "2: 'save-fail = accept': temp | perm is expected\n"},
        {MAIL("listen = /x idle-timeout = 0"), "2: 'idle-timeout = 0': 1ms is the least\n"},
        {MAIL("listen = /x size = 5M"),
         "2: there is no 'size' in a mail service; did you mean 'size-max'?\n"},
        {MAIL("listen = 127.0.0.1:25") "mail n { listen = 127.0.0.1:25 maildir = m }",
         "3: the mail service on line 2 listens on 127.0.0.1:25 already\n"},
        {MAIL("listen = 127.0.0.1:80") "site { listen = 127.0.0.1:80 route \"*\" { basic_params "
                                       "{} } }",
         "2: the site on line 3 listens on 127.0.0.1:80 already\n"},
        {"mail = x\n", "1: 'mail' is a block: NAME { ... }\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_config *c = NULL;

        put("f", cases[i].text);
        if (read_file("f", &c) != FERRY_EUSAGE)
            fail_msg("%s\nwas taken", cases[i].text);
        assert_string_equal(told, cases[i].want);
    }
}

/* Every service that asks for port 0 is given one of its own. */
static void port_0_is_no_conflict(void **state)
{
    (void)state;
    ferry_config_free(good(MAIL("listen = 127.0.0.1:0") "mail n { listen = 127.0.0.1:0 maildir = m "
                                                        "}"));
}

static void who_is_an_open_relay(void **state)
{
    static const struct {
        const char *address;
        bool open;
    } cases[] = {
        {"127.0.0.1:25", false},
        {"127.255.255.255:25", false},
        {"128.0.0.1:25", true},
        {"10.1.2.3:25", false},
        {"11.0.0.1:25", true},
        {"172.16.0.1:25", false},
        {"172.31.255.255:25", false},
        {"172.32.0.0:25", true},
        {"192.168.9.9:25", false},
        {"192.169.0.1:25", true},
        {"169.254.1.1:25", false},
        {"100.64.0.1:25", false},
        {"100.128.0.1:25", true},
        {"0.0.0.0:25", true},
        {"[::]:25", true},
        {"[::1]:25", false},
        {"[::2]:25", true},
        {"[fd00::1]:25", false},
        {"[fe80::1]:25", false},
        {"[2001:db8::1]:25", true},
        {"[::ffff:10.0.0.1]:25", false},
        {"[::ffff:9.9.9.9]:25", true},
        {"unix:/x", false},
    };
    const char *const one[] = {"example.com"}, *const any[] = {"example.com", "."};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_config_mail m;
        struct ferry_addr a;
        const char *why;

        ferry_config_mail_init(&m);
        assert_int_equal(ferry_addr_parse(cases[i].address, true, &a, &why), 0);
        if (ferry_config_mail_is_open(&m, &a) != cases[i].open)
            fail_msg("%s", cases[i].address);
        m.service.domains = any;
        m.service.ndomains = 2;
        assert_int_equal(ferry_config_mail_is_open(&m, &a), cases[i].open);
        m.service.accept_all = true;
        assert_false(ferry_config_mail_is_open(&m, &a));
        m.service.accept_all = false;
        m.service.auth.path = "/auth.php";
        assert_int_equal(ferry_config_mail_is_open(&m, &a), cases[i].open);
        m.service.protocol = FERRY_MAIL_SUBMISSION;
        assert_false(ferry_config_mail_is_open(&m, &a));
        m.service.protocol = FERRY_MAIL_SMTP;
        m.service.domains = one;
        m.service.ndomains = 1;
        assert_false(ferry_config_mail_is_open(&m, &a));
    }
}

static void failing_scenario(void *arg)
{
    struct ferry_config *c;
    int err = read_file("f", &c);

    (void)arg;
    if (err != 0 && err != -ENOMEM && err != FERRY_EUSAGE)
        abort();
    ferry_config_free(c);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    put("f", MAIL("listen = { 127.0.0.1:0, /x } domains = { a.example, b.example } tls-cert = c "
                  "deny = unix"));
    each_alloc_fails(failing_scenario, NULL);
    put("f", MAIL("listen = { :25, /x } domains = . tls-key = c"));
    each_alloc_fails(failing_scenario, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_read),
        cmocka_unit_test(defaults),
        cmocka_unit_test(what_is_printed_reads_the_same),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(port_0_is_no_conflict),
        cmocka_unit_test(who_is_an_open_relay),
        cmocka_unit_test(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
