/* SPDX-License-Identifier: MIT */
#include "smtp_talk.h"

#include <endian.h>

static const struct ferry_smtp_opts with_auth = {
    .auth = true, .auth_insecure = true, .no_sync = true};
static const struct talk plain = {.opts = &with_auth, .pipelines = true};

#define HELLO "C:EHLO me\nS:EHLO\n"
/* user, pass; user, wrong; broken, pass */
#define GOOD "AHVzZXIAcGFzcw=="
#define WRONG "AHVzZXIAd3Jvbmc="
#define BROKEN "AGJyb2tlbgBwYXNz"
#define YES "S:235 2.7.0 Authentication successful\n"
#define NO "S:535 5.7.8 Authentication failed\n"

static const struct dialogue dialogues[] = {
    {"A02 initial", HELLO "C:AUTH PLAIN " GOOD "\n" YES},
    {"A02 two steps", HELLO "C:AUTH PLAIN\nS:334...\nC:" GOOD "\n" YES},
    {"A02 LOGIN", HELLO "C:AUTH LOGIN\nS:334 VXNlcm5hbWU6\nC:dXNlcg==\nS:334 UGFzc3dvcmQ6\n"
                        "C:cGFzcw==\n" YES},
    {"A02 LOGIN initial", HELLO "C:auth login dXNlcg==\nS:334 UGFzc3dvcmQ6\nC:cGFzcw==\n" YES},
    {"A03", HELLO "C:AUTH PLAIN " WRONG "\n" NO "C:AUTH PLAIN " GOOD "\n" YES},
    {"A03 too often", HELLO "C:AUTH PLAIN " WRONG "\n" NO "C:AUTH PLAIN " WRONG "\n" NO
                            "C:AUTH PLAIN " WRONG "\n" NO "C:AUTH PLAIN " GOOD "\n"
                            "S:421 4.7.0 Too many errors\nX:\n"},
    {"A04", HELLO "C:AUTH PLAIN " BROKEN "\nS:454 4.7.0 Temporary authentication failure\n"},
    {"A05", HELLO "C:AUTH LOGIN\nS:334...\nC:*\nS:501 5.7.0 Authentication cancelled\n"
                  "C:NOOP\nS:250...\n"},
    {"A06", HELLO "C:AUTH PLAIN x\nS:501 5.5.2...\nC:AUTH PLAIN =\nS:501 5...\n"
                  "C:AUTH PLAIN\nS:334...\nC:###\nS:501 5.5.2 Cannot decode the response\n"
                  "C:AUTH PLAIN YWJj\nS:501 5...\n"},
    {"A07", HELLO "C:AUTH CRAM-MD5\nS:504 5.5.4 Unrecognized authentication type\n"},
    {"A08", HELLO "C:AUTH PLAIN " GOOD "\n" YES "C:AUTH PLAIN " GOOD "\n"
                  "S:503 5.5.1 Already authenticated\nC:RSET\nS:250...\nC:AUTH PLAIN " GOOD "\n"
                  "S:503...\n"},
    {"A09", HELLO "C:MAIL FROM:<a@b>\nS:250...\nC:AUTH PLAIN " GOOD "\n"
                  "S:503 5.5.1 AUTH not permitted during a mail transaction\n"},
    {"A10",
     "C:AUTH PLAIN " GOOD "\nS:503 5.5.1 Send EHLO first\nC:HELO a\nS:250...\nC:AUTH PLAIN " GOOD
     "\nS:503 5.5.1 Send EHLO first\n"},
    {"A14", HELLO "C:AUTH\nS:501 5.5.4 Syntax: AUTH mechanism\n"},
    {"M26", HELLO "C:MAIL FROM:<a@b> AUTH=<>\nS:250...\nC:RSET\nS:250...\n"
                  "C:MAIL FROM:<a@b> AUTH=e+3Dmc2@example.com\nS:250...\nC:RSET\nS:250...\n"
                  "C:MAIL FROM:<a@b> AUTH=++\nS:501...\nC:MAIL FROM:<a@b> AUTH=a+3\nS:501...\n"},
    {"a response is no command", HELLO "C:AUTH LOGIN\nS:334...\nC:QUIT\nS:501 5.5.2...\n"
                                       "C:NOOP\nS:250...\n"},
};

static void dialogues_of_auth(void **state)
{
    (void)state;
    talk_each(&plain, dialogues);
}

static void auth_may_need_tls_and_be_needed(void **state)
{
    static const struct ferry_smtp_opts needs_tls = {
        .auth = true, .starttls = true, .no_sync = true};
    static const struct ferry_smtp_opts needed = {
        .auth = true, .auth_required = true, .tls = true, .no_sync = true};
    static const struct talk t = {.opts = &needs_tls, .pipelines = true},
                             u = {.opts = &needed, .pipelines = true};
    static const struct dialogue a01[] = {
        {"A01", HELLO "C:AUTH PLAIN " GOOD "\nS:538 5.7.11 Encryption required\n"},
    };
    static const struct dialogue a12[] = {
        {"A12", HELLO "C:MAIL FROM:<a@b>\nS:530 5.7.0 Authentication required\n"
                      "C:AUTH PLAIN " GOOD "\n" YES "C:MAIL FROM:<a@b>\nS:250...\n"},
    };

    (void)state;
    talk_each(&t, a01);
    talk_each(&u, a12);
}

/* A11 */
static void responses_have_a_limit(void **state)
{
    static char line[70000];
    static const struct {
        size_t len;
        const char *out;
    } cases[] = {
        {12288, "535 5.7.8 Authentication failed\r\n"},
        {12289, "500 5.5.6 Line too long\r\n"},
        {60000, "500 5.5.6 Line too long\r\n"},
        {66000, "500 5.5.6 Line too long\r\n"},
    };

    (void)state;
    memset(line, 'A', sizeof line);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (size_t step = 100; step <= sizeof line; step *= 26) {
            struct peer *c = peer_open(&with_auth, NULL);

            client_sends(c, "EHLO a\r\n");
            client_sends(c, "AUTH PLAIN\r\n");
            forget_out(c);
            for (size_t at = 0; at < cases[i].len; at += step)
                client_sends_n(c, line, cases[i].len - at < step ? cases[i].len - at : step);
            client_sends(c, "\r\n");
            assert_out(c, cases[i].out);
            assert_int_equal(is_over(c), cases[i].len > 65536);
            assert_null(c->m->sasl);
            assert_null(c->m->line);
            peer_close(c);
        }
}

/* A03: each guess waits longer, and nothing is read meanwhile. */
static void wrong_guesses_cost_time(void **state)
{
    struct peer *c = peer_open(&with_auth, NULL);

    (void)state;
    client_sends(c, "EHLO a\r\n");
    c->waits = true;
    for (uint64_t i = 1, ms = 0; i <= 3; i++) {
        forget_out(c);
        client_sends(c, "AUTH PLAIN " WRONG "\r\n");
        assert_int_equal(client_sends(c, "NOOP\r\n"), 0);
        ms += 1000 * i;
        passes(c, ms - 1);
        assert_out(c, "");
        passes(c, ms);
        assert_out(c, "535 5.7.8 Authentication failed\r\n");
    }
    peer_close(c);
}

static void the_owner_is_told_who(void **state)
{
    struct peer *c = peer_open(&with_auth, NULL);
    struct ferry_smtp_event ev;

    (void)state;
    client_sends(c, "EHLO a\r\n");
    assert_string_equal(ferry_smtp_with(c->m), "ESMTP");
    assert_true(ferry_smtp_recv(c->m, "AUTH PLAIN " GOOD "\r\n", 29, c->now) > 0);
    assert_int_equal(ferry_smtp_event(c->m, &ev), 1);
    assert_int_equal(ev.type, FERRY_SMTP_EV_AUTH);
    assert_string_equal(ev.sasl->user, "user");
    assert_string_equal(ev.sasl->password, "pass");
    answer(c, FERRY_SMTP_AUTH_OK, "");
    assert_null(c->m->sasl);
    assert_string_equal(ferry_smtp_with(c->m), "ESMTPA");
    peer_close(c);
}

/* -- STARTTLS -- */

static void starttls(void **state)
{
    static const struct ferry_smtp_opts opts = {
        .starttls = true, .auth = true, .auth_insecure = true, .no_sync = true};
    static const struct talk t = {.opts = &opts};
#define TLS "C:STARTTLS\nS:220 2.0.0 Ready to start TLS\n"
    static const struct dialogue d[] = {
        {"T01", HELLO TLS "C:MAIL FROM:<a@b>\nS:503 5.5.1 Send HELO/EHLO first\n" HELLO
                          "C:MAIL FROM:<a@b>\nS:250...\n"},
        {"T02", HELLO "C:STARTTLS x\nS:501 5.5.4 Syntax: STARTTLS\n"},
        {"T05", HELLO TLS HELLO "C:STARTTLS\nS:554 5.5.1 TLS already active\n"},
        {"T07", HELLO "C:MAIL FROM:<a@b>\nS:250...\nC:RCPT TO:<x@y>\nS:250...\n" TLS HELLO
                      "C:DATA\nS:503...\n"},
        {"T17", HELLO "C:AUTH PLAIN " GOOD "\n" YES TLS HELLO "C:AUTH PLAIN " GOOD "\n" YES},
    };
    static const struct ferry_smtp_opts required = {.starttls = true, .tls_required = true};
    static const struct talk u = {.opts = &required};
#define FIRST "S:530 5.7.0 Must issue a STARTTLS command first\n"
    static const struct dialogue t08[] = {
        {"T08", HELLO "C:MAIL FROM:<a@b>\n" FIRST "C:NOOP\nS:250...\nC:RSET\n" FIRST
                      "C:HELO a\n" FIRST "C:VRFY a\n" FIRST "C:HELP\n" FIRST
                      "C:DATA\n" FIRST TLS HELLO "C:MAIL FROM:<a@b>\nS:250...\n"},
    };

    (void)state;
    talk_each(&t, d);
    talk_each(&u, t08);
}

/* T03, T04: nothing behind STARTTLS is plain text, nor does anything leave before TLS stands. */
static void nothing_is_taken_during_the_handshake(void **state)
{
    static const struct ferry_smtp_opts opts = {.starttls = true};
    struct peer *c = peer_open(&opts, NULL);

    (void)state;
    client_sends(c, "EHLO a\r\n");
    client_sends(c, "MAIL FROM:<a@b>\r\n");
    c->deaf = true;
    client_sends(c, "STARTTLS\r\n");
    assert_non_null(strstr(c->log, "reset\nstarttls\n"));
    forget_out(c);
    assert_int_equal(client_sends(c, "NOOP\r\n"), 0);
    assert_string_equal(ferry_smtp_with(c->m), "ESMTP");
    ferry_smtp_drain(c->m, FERRY_SMTP_SHUTTING_DOWN, c->now);
    works(c);
    assert_out(c, "");
    assert_int_equal(ferry_smtp_deadline(c->m), FERRY_NEVER);
    ferry_smtp_tls(c->m, c->now);
    works(c);
    assert_out(c, "421 4.3.2 Service shutting down\r\n");
    peer_close(c);
    c = peer_open(&opts, NULL);
    client_sends(c, "EHLO a\r\n");
    c->deaf = true;
    client_sends(c, "STARTTLS\r\n");
    forget_out(c);
    ferry_smtp_end(c->m, FERRY_SMTP_SHUTTING_DOWN, c->now);
    works(c);
    assert_out(c, "");
    assert_log(c, "gone\n");
    assert_true(ferry_smtp_finished(c->m));
    peer_close(c);
}

static void with_names_the_protocol(void **state)
{
    static const struct {
        bool lmtp, tls, auth;
        const char *hello, *mail, *with;
    } cases[] = {
        {false, false, false, "HELO a\r\n", "", "SMTP"},
        {false, true, false, "HELO a\r\n", "", "SMTP"},
        {false, false, false, "EHLO a\r\n", "", "ESMTP"},
        {false, true, false, "EHLO a\r\n", "", "ESMTPS"},
        {false, false, true, "EHLO a\r\n", "", "ESMTPA"},
        {false, true, true, "EHLO a\r\n", "", "ESMTPSA"},
        {true, false, false, "LHLO a\r\n", "", "LMTP"},
        {true, true, false, "LHLO a\r\n", "", "LMTPS"},
        {true, false, true, "LHLO a\r\n", "", "LMTPA"},
        {true, true, true, "LHLO a\r\n", "", "LMTPSA"},
        {false, false, false, "EHLO a\r\n", " SMTPUTF8", "UTF8SMTP"},
        {false, true, true, "EHLO a\r\n", " SMTPUTF8", "UTF8SMTPSA"},
        {true, true, false, "LHLO a\r\n", " SMTPUTF8", "UTF8LMTPS"},
    };
    char line[64];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ferry_smtp_opts opts = {
            .lmtp = cases[i].lmtp, .tls = cases[i].tls, .auth = true, .auth_insecure = true};
        struct peer *c = peer_open(&opts, NULL);

        client_sends(c, cases[i].hello);
        if (cases[i].auth)
            client_sends(c, "AUTH PLAIN " GOOD "\r\n");
        snprintf(line, sizeof line, "MAIL FROM:<a@b>%s\r\n", cases[i].mail);
        client_sends(c, line);
        assert_string_equal(ferry_smtp_with(c->m), cases[i].with);
        peer_close(c);
    }
}

/* -- PROXY, XCLIENT, XFORWARD -- */

#define V1 "PROXY TCP4 192.0.2.1 192.0.2.2 1000 25\r\n"

static void a_proxy_header_comes_first(void **state)
{
    static const struct ferry_smtp_opts opts = {.proxy = true, .no_sync = true};
    static const char text[] = V1 "EHLO a\r\nNOOP\r\n"; /* Y06 */
    struct ferry_smtp_event ev;
    struct peer *c;

    (void)state;
    for (size_t step = 1; step < sizeof text; step++) {
        c = peer_open(&opts, NULL);
        assert_out(c, "");
        for (size_t at = 0; at < sizeof text - 1; at += step) {
            size_t left = sizeof text - 1 - at;

            client_sends_n(c, guard_copy(0, text + at, left < step ? left : step),
                           left < step ? left : step);
        }
        assert_log(c, "ready proxy\nEHLO a\n");
        assert_true(begins(c->out, c->out_len, "220 "));
        assert_non_null(strstr(c->out, "250 2.0.0 Ok\r\n"));
        peer_close(c);
    }
    c = peer_open(&opts, NULL);
    assert_int_equal(ferry_smtp_recv(c->m, text, sizeof text - 1, c->now), sizeof V1 - 1);
    assert_int_equal(ferry_smtp_event(c->m, &ev), 1);
    assert_true(ev.proxy->real);
    assert_int_equal(be16toh(ev.proxy->from.in.sin_port), 1000);
    peer_close(c);
}

static void a_bad_proxy_header_is_the_end(void **state)
{
    static const struct ferry_smtp_opts opts = {.proxy = true};
    static const char *const bad[] = {"EHLO a\r\n", "proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
                                      "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n", "\r\n\r\nEHLO"};
    static char long_one[600];
    struct peer *c;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        c = peer_open(&opts, NULL);
        assert_int_equal(client_sends(c, bad[i]), strlen(bad[i]));
        assert_out(c, "");
        assert_log(c, "gone\n");
        assert_true(ferry_smtp_finished(c->m));
        peer_close(c);
    }
    memset(long_one, 'x', sizeof long_one);
    memcpy(long_one, "PROXY UNKNOWN ", 14);
    c = peer_open(&opts, NULL);
    client_sends_n(c, long_one, sizeof long_one);
    assert_log(c, "gone\n");
    peer_close(c);
    c = peer_open(&opts, NULL); /* HAProxy's health check */
    client_ends(c);
    assert_log(c, "gone\n");
    peer_close(c);
}

static void xclient_begins_anew(void **state)
{
    static const struct ferry_smtp_opts opts = {
        .auth = true, .auth_required = true, .auth_insecure = true, .no_sync = true};
    static const struct ferry_smtp_client may = {.xclient = true};
    struct peer *c = peer_open(&opts, &may);
    struct ferry_smtp_event ev;

    (void)state;
    client_sends(c, "EHLO a\r\n");
    assert_non_null(strstr(c->out, "250-XCLIENT NAME ADDR"));
    assert_null(strstr(c->out, "XFORWARD"));
    forget_out(c);
    /* X02 */
    assert_true(ferry_smtp_recv(c->m, "XCLIENT ADDR=192.0.2.9 NAME=[UNAVAILABLE] LOGIN=me\r\n", 52,
                                c->now) == 52);
    assert_int_equal(ferry_smtp_event(c->m, &ev), 1);
    assert_int_equal(ev.type, FERRY_SMTP_EV_XCLIENT);
    assert_string_equal(ev.attrs->value[FERRY_SMTP_ATTR_ADDR], "192.0.2.9");
    assert_int_equal(ev.attrs->unknown, 1 << FERRY_SMTP_ATTR_NAME);
    assert_int_equal(client_sends(c, "x"), 0);
    ferry_smtp_greet(c->m, &may, c->now);
    works(c);
    assert_out(c, "220 mx.example ESMTP ferry\r\n");
    assert_string_equal(ferry_smtp_helo(c->m), "");
    forget_out(c);
    client_sends(c, "MAIL FROM:<a@b>\r\n");
    assert_out(c, "503 5.5.1 Send HELO/EHLO first\r\n");
    client_sends(c, "EHLO a\r\n");
    forget_out(c);
    /* X06: LOGIN is as good as AUTH; X05, X04 */
    client_sends(c, "MAIL FROM:<a@b>\r\n");
    client_sends(c, "XCLIENT ADDR=192.0.2.9\r\n");
    client_sends(c, "RSET\r\n");
    client_sends(c, "XCLIENT ADDR=nowhere\r\nXCLIENT FOO=1\r\n");
    assert_out(c, "250 2.1.0 Ok\r\n503 5.5.1 Mail transaction in progress\r\n250 2.0.0 Ok\r\n"
                  "501 5.5.4 Bad attribute: ADDR=nowhere\r\n501 5.5.4 Bad attribute: FOO=1\r\n");
    assert_string_equal(ferry_smtp_with(c->m), "ESMTPA");
    peer_close(c);
}

static void xclient_may_be_refused(void **state)
{
    static const struct ferry_smtp_client may = {.xclient = true};
    struct peer *c = peer_open(NULL, &may);

    (void)state;
    c->deaf = true;
    forget_out(c);
    client_sends(c, "XCLIENT ADDR=192.0.2.9\r\n");
    ferry_smtp_refuse(c->m, FERRY_SMTP_DENIED, c->now);
    works(c);
    assert_out(c, "554 5.7.1 Access denied\r\n");
    assert_log(c, "xclient\ngone 554\n");
    peer_close(c);
}

/* RFC 3207, 4.2: what was said in plain text is forgotten, also who somebody else said it is. */
static void a_login_does_not_outlive_starttls(void **state)
{
    static const struct ferry_smtp_opts opts = {
        .starttls = true, .auth = true, .auth_required = true};
    static const struct ferry_smtp_client may = {.xclient = true};
    struct peer *c = peer_open(&opts, &may);

    (void)state;
    client_sends(c, "XCLIENT LOGIN=me\r\n");
    client_sends(c, "EHLO a\r\n");
    client_sends(c, "STARTTLS\r\n");
    client_sends(c, "XCLIENT NAME=there.example\r\n");
    client_sends(c, "EHLO a\r\n");
    forget_out(c);
    client_sends(c, "MAIL FROM:<a@b>\r\n");
    assert_out(c, "530 5.7.0 Authentication required\r\n");
    peer_close(c);
}

/* In one write: nothing is pulled between them. */
static void bad_attributes_leave_nothing(void **state)
{
    static const struct ferry_smtp_client may = {.xforward = true};
    struct peer *c = peer_open(NULL, &may);

    (void)state;
    client_sends(c, "EHLO a\r\n");
    forget_out(c);
    client_sends(c, "XFORWARD A=1\r\nXFORWARD B=1\r\nXFORWARD ADDR=192.0.2.9\r\n");
    assert_out(c, "501 5.5.4 Bad attribute: A=1\r\n501 5.5.4 Bad attribute: B=1\r\n"
                  "250 2.0.0 Ok\r\n");
    peer_close(c);
}

/* K11, X07 */
static void xforward_is_of_one_transaction(void **state)
{
    static const struct ferry_smtp_client may = {.xforward = true};
    static const struct ferry_smtp_opts opts = {.lmtp = true};
    struct peer *c = peer_open(&opts, &may);

    (void)state;
    client_sends(c, "LHLO a\r\n");
    assert_non_null(strstr(c->out, "250-XFORWARD NAME ADDR"));
    forget_out(c);
    client_sends(c, "XFORWARD ADDR=192.0.2.9 IDENT=abc\r\n");
    client_sends(c, "RSET\r\n");
    client_sends(c, "RSET\r\n");
    client_sends(c, "XFORWARD ADDR=192.0.2.9 IDENT=abc\r\n");
    client_sends(c, "MAIL FROM:<a@b>\r\n");
    client_sends(c, "XFORWARD ADDR=192.0.2.9\r\n");
    client_sends(c, "RCPT TO:<x@y>\r\nDATA\r\n");
    client_sends(c, ".\r\nRSET\r\n");
    assert_log(c, "xforward\nreset\nxforward\nmail a@b\nrcpt x@y\ndata\nmessage 1\n");
    assert_out(c, "250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n"
                  "250 2.1.0 Ok\r\n503 5.5.1 Mail transaction in progress\r\n250 2.1.5 Ok\r\n"
                  "354 End data with <CR><LF>.<CR><LF>\r\n"
                  "250 2.0.0 <x@y> Ok: saved as 1\r\n250 2.0.0 Ok\r\n");
    peer_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dialogues_of_auth),
        cmocka_unit_test(auth_may_need_tls_and_be_needed),
        cmocka_unit_test(responses_have_a_limit),
        cmocka_unit_test(wrong_guesses_cost_time),
        cmocka_unit_test(the_owner_is_told_who),
        cmocka_unit_test(starttls),
        cmocka_unit_test(nothing_is_taken_during_the_handshake),
        cmocka_unit_test(with_names_the_protocol),
        cmocka_unit_test(a_proxy_header_comes_first),
        cmocka_unit_test(a_bad_proxy_header_is_the_end),
        cmocka_unit_test(xclient_begins_anew),
        cmocka_unit_test(xclient_may_be_refused),
        cmocka_unit_test(a_login_does_not_outlive_starttls),
        cmocka_unit_test(bad_attributes_leave_nothing),
        cmocka_unit_test(xforward_is_of_one_transaction),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
