/* SPDX-License-Identifier: MIT */
#include "smtp_talk.h"

static const struct ferry_smtp_opts no_sync = {.no_sync = true};
static const struct ferry_smtp_opts lmtp_opts = {.lmtp = true, .no_sync = true};
static const struct talk plain = {.opts = &no_sync, .pipelines = true};
static const struct talk lmtp = {.opts = &lmtp_opts, .pipelines = true};

#define HELLO "C:EHLO me\nS:EHLO\n"

static const struct dialogue dialogues[] = {
    {"G03", HELLO},
    {"G06", "C:HELO a\nS:250 mx.example\n"},
    {"G07", "C:HELO\nS:501 Syntax: HELO hostname\nC:EHLO\nS:501 Syntax: EHLO hostname\n"
            "C:EHLO   \nS:501...\n"},
    {"G08", "C:EHLO  two-spaces\nS:EHLO\n"},
    {"G09", "C:EHLO [127.0.0.1]\nS:EHLO\nC:EHLO [IPv6:::1]\nS:EHLO\nC:EHLO a_b\nS:EHLO\n"
            "C:EHLO b\xc3\xbc"
            "cher.example\nS:EHLO\n"},
    {"G10", "C:EHLO \"><script>\nS:EHLO\n"},
    {"G11", HELLO HELLO "C:MAIL FROM:<a@b>\nS:250...\n" HELLO "C:MAIL FROM:<a@b>\nS:250...\n"},
    {"G12", HELLO "C:HELO a\nS:250 mx.example\nC:MAIL FROM:<a@b> SIZE=1\nS:555...\n"},
    {"G13", "C:ehlo a\nS:EHLO\nC:eHLO a\nS:EHLO\nC:nOOp\nS:250...\nC:quit\nS:221...\nX:\n"},
    {"G14", "C:NOOP\nS:250 2.0.0 Ok\nC:HELP\nS:214 2.0.0 See RFC 5321; commands: HELO EHLO...\n"
            "C:RSET\nS:250 2.0.0 Ok\nC:VRFY x\nS:252 2.0.0...\nC:QUIT\nS:221 2.0.0 Bye\nX:\n"},
    {"G16", "C:LHLO a\nS:500 5.5.1 Use EHLO\n"},
    {"G18", "C:EHLO a b c\nS:EHLO\n"},
    {"L06", "C:RSET    \nS:250...\n"},
    {"L07", "C:\nS:500 5.5.2...\nC: NOOP\nS:500 5.5.2...\nC:NOOP\nS:250...\n"},
    {"L11", "C:N\xc3\x96OP\nS:500 5.5.2...\n"},
    {"L12", "C:QUIT extra\nS:501 5.5.4 Syntax: QUIT\nC:NOOP args\nS:250...\n"
            "C:NOOP \"frop\nS:250...\nC:RSET x\nS:501 5.5.4 Syntax: RSET\n"},
    {"L13", "C:HELP MAIL\nS:214...\n"},
    {"L14", "C:EXPN x\nS:502 5.5.1 Not implemented\nC:VRFY\nS:501 5.5.4 Syntax: VRFY address\n"
            "C:VRFY \xc3\xbc@b SMTPUTF8\nS:252...\n" HELLO "C:MAIL FROM:<a@b>\nS:250...\n"
            "C:VRFY \xc3\xbc SMTPUTF8\nS:252...\nC:RCPT TO:<a@b>\nS:250...\n"},
    {"L15", "C:TURN\nS:502...\nC:SEND FROM:<a@b>\nS:502...\nC:SAML FROM:<a@b>\nS:502...\n"
            "C:ETRN x\nS:502...\nC:SOML x\nS:502...\nC:ATRN\nS:502...\n"},
    {"L17", "C:GET / HTTP/1.1\nS:221 2.7.0 This is not a web server\nX:\n"},
    {"L17", HELLO "C:POST / HTTP/1.1\nS:221 2.7.0...\nX:\n"},
    {"L17", "C:CONNECT a:25 HTTP/1.1\nS:221 2.7.0...\nX:\n"},
    {"Y08", "C:PROXY TCP4 1.2.3.4 1.2.3.4 1 2\nS:500 5.5.2...\n"},
    {"Y09", HELLO "C:PROXY TCP4 1.2.3.4 1.2.3.4 1 2\nS:500 5.5.2...\n"},
    {"X01", HELLO "C:XCLIENT ADDR=1.2.3.4\nS:550 5.7.0 Not allowed from your address\n"
                  "C:XFORWARD ADDR=1.2.3.4\nS:550 5.7.0...\n"},
    {"A-none", HELLO "C:AUTH PLAIN AAA=\nS:503 5.5.1 AUTH is not offered\n"},
    {"T06", HELLO "C:STARTTLS\nS:502 5.5.1 TLS is not offered\n"},
};

static const struct dialogue of_lmtp[] = {
    {"G16", "C:EHLO a\nS:500 5.5.1 Use LHLO\nC:HELO a\nS:500 5.5.1 Use LHLO\nC:LHLO a\nS:EHLO\n"},
    {"LHLO",
     "C:LHLO\nS:501 Syntax: LHLO hostname\nC:MAIL FROM:<a@b>\nS:503 5.5.1 Send LHLO first\n"},
};

static void commands(void **state)
{
    (void)state;
    talk_each(&plain, dialogues);
    talk_each(&lmtp, of_lmtp);
}

static void what_a_client_is_called(void **state)
{
    char line[300];
    struct peer *c = peer_open(&no_sync, NULL);

    (void)state;
    assert_string_equal(ferry_smtp_helo(c->m), "");
    assert_string_equal(ferry_smtp_helo_verb(c->m), "");
    client_sends(c, "HELO \"><script> x\r\n");
    assert_string_equal(ferry_smtp_helo(c->m), "\"><script>");
    assert_false(ferry_smtp_helo_valid(c->m));
    assert_string_equal(ferry_smtp_helo_verb(c->m), "HELO");
    client_sends(c, "EHLO a.example\tx\r\n");
    assert_string_equal(ferry_smtp_helo(c->m), "a.example");
    assert_true(ferry_smtp_helo_valid(c->m));
    assert_string_equal(ferry_smtp_helo_verb(c->m), "EHLO");
    assert_log(c, "ready\nHELO \"><script>\nEHLO a.example\n");
    /* G17 */
    for (size_t len = 255; len <= 256; len++) {
        memcpy(line, "EHLO ", 5);
        memset(line + 5, 'a', len);
        memcpy(line + 5 + len, "\r\n", 3);
        forget_out(c);
        client_sends(c, line);
        assert_true(begins(c->out, c->out_len, len == 255 ? "250-" : "501 "));
        assert_int_equal(strlen(ferry_smtp_helo(c->m)), 255);
    }
    peer_close(c);
}

/* RFC 2920, 3.1: commands that must be the last of their group, from who may not know better and
 * from who may be somebody else. */
static void clients_must_keep_in_step(void **state)
{
    static const struct ferry_smtp_opts opts = {
        .starttls = true, .auth = true, .auth_insecure = true};
    static const struct ferry_smtp_client trusted = {.trusted = true};
#define SYNC "554 5.5.0 SMTP protocol synchronization\r\n"
    static const struct {
        const char *id, *before, *text, *out;
    } cases[] = {
        {"P03", "", "EHLO a\r\nMAIL FROM:<a@b>\r\n", SYNC},
        {"P03", "", "HELO a\r\nN", SYNC},
        {"DATA", "EHLO a\r\n", "MAIL FROM:<a@b>\r\nRCPT TO:<x@y>\r\nDATA\r\nx\r\n.\r\n",
         "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n" SYNC},
        {"P05", "EHLO a\r\n", "MAIL FROM:<a@b>\r\nRCPT TO:<no@y>\r\nDATA\r\nQUIT\r\n",
         "250 2.1.0 Ok\r\n550 5.1.1 <it> User unknown\r\n" SYNC},
        {"P12", "EHLO a\r\n", "STARTTLS\r\nNOOP\r\n", SYNC},
        {"AUTH", "EHLO a\r\n", "AUTH LOGIN\r\ndXNlcg==\r\n", SYNC},
        {"AUTH response", "EHLO a\r\nAUTH LOGIN\r\n", "dXNlcg==\r\ncGFzcw==\r\n", SYNC},
        {"VRFY", "EHLO a\r\n", "VRFY a\r\nNOOP\r\n", SYNC},
        {"EXPN", "EHLO a\r\n", "EXPN a\r\nNOOP\r\n", SYNC},
        {"P01", "EHLO a\r\n", "MAIL FROM:<a@b>\r\nRCPT TO:<x@y>\r\nDATA\r\n",
         "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 End data with <CR><LF>.<CR><LF>\r\n"},
        {"the end of a message", "EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<x@y>\r\nDATA\r\n",
         "x\r\n.\r\nMAIL FROM:<a@b>\r\nRCPT TO:<x@y>\r\nDATA\r\n",
         "250 2.0.0 Ok: saved as 1\r\n250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 End data with "
         "<CR><LF>.<CR><LF>\r\n"},
        {"NOOP", "EHLO a\r\n", "NOOP\r\nRSET\r\nNOOP\r\n",
         "250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n"},
        {"P13", "EHLO a\r\n", "QUIT\r\nNOOP\r\n", "221 2.0.0 Bye\r\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *at = cases[i].before;
        struct peer *c = peer_open(&opts, NULL);
        size_t n;

        while (*at) {
            const char *line = next_line(&at, &n);

            client_sends_n(c, line, n + 1);
        }
        forget_out(c);
        client_sends(c, cases[i].text);
        if (strcmp(c->out, cases[i].out))
            fail_msg("%s: \"%s\"", cases[i].id, c->out);
        assert_int_equal(is_over(c), strstr(c->out, SYNC) || strstr(c->out, "221"));
        if (strstr(c->out, SYNC))
            assert_non_null(strstr(c->log, "gone 554\n"));
        peer_close(c);
    }
    { /* those we trust may */
        struct peer *c = peer_open(&opts, &trusted);

        client_sends(c, "EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<x@y>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n");
        assert_mail(c, "a@b>x@y:x|\n");
        assert_log(c, "ready\nEHLO a\nmail a@b\nrcpt x@y\ndata\nmessage 1\nquit\n");
        peer_close(c);
    }
}

/* Bytes that come in a read of their own, but before the reply that had to be waited for. */
static void early_bytes_are_seen_while_an_answer_is_due(void **state)
{
    struct peer *c = peer_open(NULL, NULL);

    (void)state;
    client_sends(c, "EHLO a\r\n");
    client_sends(c, "MAIL FROM:<a@b>\r\nRCPT TO:<x@y>\r\n");
    c->deaf = true;
    client_sends(c, "DATA\r\n");
    forget_out(c);
    assert_int_equal(client_sends(c, "x"), 0);
    answer(c, FERRY_SMTP_SEND_DATA, "");
    works(c);
    assert_out(c, SYNC);
    assert_log(c, "reset 554\ngone 554\n");
    peer_close(c);
}

/* L18 */
static void the_client_hello_of_tls_gets_no_answer(void **state)
{
    struct peer *c = peer_open(NULL, NULL);

    (void)state;
    forget_out(c);
    assert_int_equal(client_sends_n(c, "\x16\x03\x01\x02\x00\x01", 6), 6);
    assert_out(c, "");
    assert_log(c, "gone\n");
    assert_true(is_over(c));
    peer_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands),
        cmocka_unit_test(what_a_client_is_called),
        cmocka_unit_test(clients_must_keep_in_step),
        cmocka_unit_test(early_bytes_are_seen_while_an_answer_is_due),
        cmocka_unit_test(the_client_hello_of_tls_gets_no_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
