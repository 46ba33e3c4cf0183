/* SPDX-License-Identifier: MIT */
#include "smtp_talk.h"

static const struct ferry_smtp_opts no_sync = {.no_sync = true};

static void greetings(void **state)
{
    static const struct ferry_smtp_opts lmtp = {.lmtp = true, .hostname = "lmtp.example"};
    struct peer *c = peer_open(NULL, NULL);

    (void)state;
    assert_out(c, "220 mx.example ESMTP ferry\r\n"); /* G01 */
    peer_close(c);
    c = peer_open(&lmtp, NULL);
    assert_out(c, "220 lmtp.example LMTP ferry\r\n"); /* G02 */
    peer_close(c);
}

#define FIRST "250-mx.example\r\n250-PIPELINING\r\n"
#define CODES "250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n"
#define LIMITS "250 LIMITS MAILMAX=100 RCPTMAX=100\r\n"
#define ALL "250-DSN\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n250-BINARYMIME\r\n"

/* G04, G05, G21-G24, K01, M37 */
static void what_is_offered(void **state)
{
    static const struct {
        struct ferry_smtp_opts opts;
        struct ferry_smtp_client client;
        bool tls;
        const char *out;
    } cases[] = {
        {{0}, {0}, false, FIRST "250-SIZE 26214400\r\n" CODES ALL LIMITS},
        {{.size_max = 1234, .rcpts_max = 5, .mails_max = 6},
         {0},
         false,
         FIRST "250-SIZE 1234\r\n" CODES ALL "250 LIMITS MAILMAX=6 RCPTMAX=5\r\n"},
        {{.size_max = UINT64_MAX, .one_rcpt = true},
         {0},
         false,
         FIRST "250-SIZE 0\r\n" CODES ALL "250 LIMITS MAILMAX=100 RCPTMAX=1\r\n"},
        {{.starttls = true, .auth = true},
         {0},
         false,
         FIRST "250-SIZE 26214400\r\n250-STARTTLS\r\n" CODES ALL LIMITS},
        {{.starttls = true, .auth = true},
         {0},
         true,
         FIRST "250-SIZE 26214400\r\n250-AUTH PLAIN LOGIN\r\n" CODES ALL LIMITS},
        {{.auth = true, .auth_insecure = true, .no_dsn = true, .no_binarymime = true},
         {.trusted = true},
         false,
         FIRST "250-SIZE 26214400\r\n250-AUTH PLAIN LOGIN\r\n" CODES
               "250-SMTPUTF8\r\n250-CHUNKING\r\n" LIMITS},
        {{.lmtp = true}, {0}, false, FIRST "250-SIZE 26214400\r\n" CODES ALL LIMITS},
        {{0},
         {.xclient = true, .xforward = true},
         false,
         FIRST "250-SIZE 26214400\r\n" CODES ALL
               "250-XCLIENT NAME ADDR PORT PROTO HELO REVERSE_NAME LOGIN DESTADDR DESTPORT\r\n"
               "250-XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE\r\n" LIMITS},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct peer *c = peer_open(&cases[i].opts, &cases[i].client);

        if (cases[i].tls) {
            client_sends(c, "EHLO a\r\n");
            client_sends(c, "STARTTLS\r\n");
        }
        forget_out(c);
        client_sends(c, cases[i].opts.lmtp ? "LHLO a\r\n" : "EHLO a\r\n");
        assert_out(c, cases[i].out);
        peer_close(c);
    }
}

/* The longest name that a host may have. */
static void a_long_hostname_fits(void **state)
{
    char name[600];
    const struct ferry_smtp_opts opts = {
        .hostname = name, .starttls = true, .auth = true, .auth_insecure = true};
    static const struct ferry_smtp_client all = {.xclient = true, .xforward = true};
    struct peer *c;

    (void)state;
    memset(name, 'h', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    c = peer_open(&opts, &all);
    client_sends(c, "EHLO a\r\n");
    client_sends(c, "HELO a\r\n");
    for (const char *at = c->out, *end; *at; at = end + 2) {
        end = strstr(at, "\r\n");
        assert_non_null(end);
        assert_in_range(end - at, 4, 300);
    }
    peer_close(c);
}

/* L08: some errors go at once, then each waits, then it is the end. */
static void errors_are_counted(void **state)
{
    static const struct ferry_smtp_opts opts = {
        .errors_soft = 3, .errors_max = 5, .error_delay_ms = 700, .no_sync = true};
#define UNKNOWN "500 5.5.2 Command not recognized\r\n"
    struct peer *c = peer_open(&opts, NULL);

    (void)state;
    c->waits = true;
    forget_out(c);
    client_sends(c, "FOO\r\nFOO\r\nFOO\r\n");
    assert_out(c, UNKNOWN UNKNOWN UNKNOWN);
    forget_out(c);
    assert_int_equal(client_sends(c, "FOO\r\nNOOP\r\n"), 5);
    assert_out(c, "");
    assert_int_equal(ferry_smtp_deadline(c->m), 1700);
    passes(c, 699);
    assert_int_equal(client_sends(c, "NOOP\r\n"), 0);
    assert_out(c, "");
    passes(c, 700);
    assert_out(c, UNKNOWN);
    forget_out(c);
    client_sends(c, "NOOP\r\nFOO\r\n");
    assert_out(c, "250 2.0.0 Ok\r\n");
    passes(c, 1400);
    assert_out(c, "250 2.0.0 Ok\r\n" UNKNOWN);
    forget_out(c);
    client_sends(c, "FOO\r\nNOOP\r\n");
    assert_out(c, "421 4.7.0 Too many errors\r\n");
    assert_log(c, "gone 421\n");
    assert_int_equal(ferry_smtp_counts(c->m)->errors, 6);
    assert_int_equal(ferry_smtp_counts(c->m)->commands, 7);
    peer_close(c);
}

/* L09 */
static void junk_becomes_errors(void **state)
{
    static const struct ferry_smtp_opts opts = {.junk_max = 5, .errors_max = 3, .no_sync = true};
    struct peer *c = peer_open(&opts, NULL);

    (void)state;
    forget_out(c);
    client_sends(c, "NOOP\r\nRSET\r\nVRFY a\r\nNOOP\r\nHELP\r\nNOOP\r\nNOOP\r\nNOOP\r\n");
    assert_int_equal(ferry_smtp_counts(c->m)->errors, 3);
    assert_false(is_over(c));
    forget_out(c);
    client_sends(c, "NOOP\r\nNOOP\r\n");
    assert_out(c, "421 4.7.0 Too many errors\r\n");
    assert_true(is_over(c));
    peer_close(c);
}

/* Who brings mail may go on making mistakes. */
static void a_message_forgives(void **state)
{
    static const struct ferry_smtp_opts opts = {
        .junk_max = 5, .errors_soft = 9, .errors_max = 3, .no_sync = true};
    struct peer *c = peer_open(&opts, NULL);

    (void)state;
    client_sends(c, "EHLO a\r\n");
    for (int i = 0; i < 20; i++)
        client_sends(c, "FOO\r\nNOOP\r\nRSET\r\nMAIL FROM:<a@b>\r\nRCPT TO:<no@y>\r\n"
                        "RCPT TO:<x@y>\r\nDATA\r\nx\r\n.\r\n");
    assert_false(is_over(c));
    assert_int_equal(c->messages, 20);
    assert_int_equal(ferry_smtp_counts(c->m)->errors, 40);
    peer_close(c);
}

/* R27; and whom the recipients of others are no fault of */
static void refused_recipients_are_errors(void **state)
{
    static const struct ferry_smtp_opts lmtp = {.lmtp = true, .no_sync = true};
    static const struct ferry_smtp_client trusted = {.trusted = true};
    static const struct {
        const struct ferry_smtp_opts *opts;
        const struct ferry_smtp_client *client;
        unsigned n;
    } cases[] = {{&no_sync, NULL, 21}, {&lmtp, NULL, 1000}, {&no_sync, &trusted, 1000}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct peer *c = peer_open(cases[i].opts, cases[i].client);
        unsigned n = 0;

        client_sends(c, cases[i].opts->lmtp ? "LHLO a\r\n" : "EHLO a\r\n");
        client_sends(c, "MAIL FROM:<a@b>\r\n");
        while (!is_over(c) && n < 1000) {
            client_sends(c, "RCPT TO:<no@y>\r\n");
            n++;
        }
        assert_int_equal(n, cases[i].n);
        peer_close(c);
    }
}

/* The reply that was held back still comes before the last word. */
static void what_is_held_leaves_before_the_end(void **state)
{
    static const struct ferry_smtp_opts opts = {.errors_soft = 1, .no_sync = true};
    struct peer *c = peer_open(&opts, NULL);

    (void)state;
    c->waits = true;
    client_sends(c, "FOO\r\n");
    forget_out(c);
    client_sends(c, "FOO\r\n");
    ferry_smtp_drain(c->m, FERRY_SMTP_SHUTTING_DOWN, c->now);
    works(c);
    assert_out(c, UNKNOWN "421 4.3.2 Service shutting down\r\n");
    peer_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greetings),
        cmocka_unit_test(what_is_offered),
        cmocka_unit_test(a_long_hostname_fits),
        cmocka_unit_test(errors_are_counted),
        cmocka_unit_test(junk_becomes_errors),
        cmocka_unit_test(a_message_forgives),
        cmocka_unit_test(refused_recipients_are_errors),
        cmocka_unit_test(what_is_held_leaves_before_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
