/* SPDX-License-Identifier: MIT */
#include "smtp_talk.h"

static const struct ferry_smtp_opts no_sync = {.no_sync = true};
static const struct talk plain = {.opts = &no_sync, .pipelines = true};

#define HELLO "C:EHLO me\nS:EHLO\n"
#define FROM "C:MAIL FROM:<a@b.c>\nS:250 2.1.0 Ok\n"
#define TO "C:RCPT TO:<x@y.z>\nS:250 2.1.5 Ok\n"
#define GO "C:DATA\nS:354 End data with <CR><LF>.<CR><LF>\n"

/* -- M of docs/mail.md: one MAIL each, and the reply */

#define OK "250 2.1.0 Ok"
#define BAD "501 5.1.7 Bad sender address syntax"
#define SYNTAX "501 5.5.4 Syntax: MAIL FROM:<address>"
#define PARAM "501 5.5.4 Bad parameter syntax"

static const struct {
    const char *id, *line, *reply;
} mails[] = {
    {"M01", "MAIL FROM:<a@b.c>", OK},
    {"M02", "MAIL FROM:<>", OK},
    {"M03", "mail from:<a@b>", OK},
    {"M04", "MAIL FROM: <a@b>", OK},
    {"M05", "MAIL FROM:\t<a@b>", OK},
    {"M06", "MAIL FROM:a@b", OK},
    {"M07", "MAIL FROM:", BAD},
    {"M08", "MAIL FROM: BODY=7BIT", BAD},
    {"M09", "MAIL", SYNTAX},
    {"M09", "MAIL LALA:<>", SYNTAX},
    {"M09", "MAIL FROM", SYNTAX},
    {"M09", "MAIL FROM<a@b>", SYNTAX},
    {"M09", "MAILFROM:<a@b>", "500 5.5.2 Command not recognized"},
    {"M10", "MAIL FROM:<", BAD},
    {"M10", "MAIL FROM:x", BAD},
    {"M10", "MAIL FROM:<<>>", BAD},
    {"M10", "MAIL FROM:<justatest>", BAD},
    {"M10", "MAIL FROM:<a@b", BAD},
    {"M10", "MAIL FROM:a@b>", BAD},
    {"M10", "MAIL FROM:<a@b>x", BAD},
    {"M10", "MAIL FROM:<a b@c>", BAD},
    {"M10", "MAIL FROM:<a @b>", BAD},
    {"M10", "MAIL FROM:<@b>", BAD},
    {"M10", "MAIL FROM:<a@>", BAD},
    {"M10", "MAIL FROM:<a@b@c>", BAD},
    {"M10", "MAIL FROM:><", BAD},
    {"M11", "MAIL FROM:<a@b..c>", BAD},
    {"M11", "MAIL FROM:<a@-b>", BAD},
    {"M11", "MAIL FROM:<a@.b>", BAD},
    {"M12", "MAIL FROM:<.a@b>", OK},
    {"M12", "MAIL FROM:<a..b@c>", OK},
    {"M13", "MAIL FROM:<\"a b\"@c>", OK},
    {"M13", "MAIL FROM:<\"\">", BAD},
    {"M14", "MAIL FROM:<@x,@y:a@b>", OK},
    {"M14", "MAIL FROM:<@x,a@b>", BAD},
    {"M15", "MAIL FROM:<a@[127.0.0.1]>", OK},
    {"M15", "MAIL FROM:<a@[IPv6:::1]>", OK},
    {"M15", "MAIL FROM:<a@[1.2.3]>", BAD},
    {"M15", "MAIL FROM:<a@127.0.0.1>", BAD},
    {"M16", "MAIL FROM:<aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff1234@b>", OK},
    {"M16", "MAIL FROM:<aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff12345@b>", BAD},
    {"M21", "MAIL FROM:<a@b> SIZE=1000", OK},
    {"M21", "MAIL FROM:<a@b> SIZE=26214400", OK},
    {"M21", "MAIL FROM:<a@b> SIZE=26214401", "552 5.3.4 Message size exceeds limit of 26214400"},
    {"M21", "MAIL FROM:<a@b> SIZE=", PARAM},
    {"M21", "MAIL FROM:<a@b> SIZE=x", PARAM},
    {"M21", "MAIL FROM:<a@b> SIZE=-1", PARAM},
    {"M21", "MAIL FROM:<a@b> SIZE=99999999999999999999",
     "552 5.3.4 Message size exceeds limit of 26214400"},
    {"M21", "MAIL FROM:<a@b> SIZE=0", OK},
    {"M21", "MAIL FROM:<a@b> size=5", OK},
    {"M22", "MAIL FROM:<a@b> BODY=7BIT", OK},
    {"M22", "MAIL FROM:<a@b> body=8bitmime", OK},
    {"M22", "MAIL FROM:<a@b> BODY=RABIIT", PARAM},
    {"M22", "MAIL FROM:<a@b> BODY", PARAM},
    {"M22", "MAIL FROM:<a@b> BODY=", PARAM},
    {"M23", "MAIL FROM:<a@b> BODY=BINARYMIME", OK},
    {"M24", "MAIL FROM:<a@b> SMTPUTF8", OK},
    {"M24", "MAIL FROM:<a@b> SMTPUTF8=1", PARAM},
    {"M25", "MAIL FROM:<\xc3\xbc@b>", "553 5.6.7 Must declare SMTPUTF8"},
    {"M25", "MAIL FROM:<\xc3\xbc@b> SMTPUTF8", OK},
    {"M25", "MAIL FROM:<\xc3(@b> SMTPUTF8", "500 5.5.2 Bad syntax"},
    {"M25", "MAIL FROM:<\xc0\xaf@b> SMTPUTF8", "500 5.5.2 Bad syntax"},
    {"M25", "MAIL FROM:<\xed\xa0\x80@b> SMTPUTF8", "500 5.5.2 Bad syntax"},
    {"M25", "MAIL FROM:<\xe2\x82", "500 5.5.2 Bad syntax"},
    {"M26", "MAIL FROM:<a@b> AUTH=<>", "555 5.5.4 Unsupported option: AUTH"},
    {"M27", "MAIL FROM:<a@b> FOO=1", "555 5.5.4 Unsupported option: FOO"},
    {"M27", "MAIL FROM:<a@b> SI--ZE=2000", "555 5.5.4 Unsupported option: SI--ZE"},
    {"M27", "MAIL FROM:<a@b> SI--ZE-=1", PARAM},
    {"M27", "MAIL FROM:<a@b> =1", PARAM},
    {"M27", "MAIL FROM:<a@b> -X=1", PARAM},
    {"M29", "MAIL FROM:<a@b> SIZE=1 SIZE=2", PARAM},
    {"M30", "MAIL FROM:<a@b>   ", OK},
    {"M31", "MAIL FROM:<a@b> ENVID=ab+0D+0A", PARAM},
    {"M31", "MAIL FROM:<a@b> ENVID=+00", PARAM},
    {"M31", "MAIL FROM:<a@b> ENVID=QQ314159 RET=FULL", OK},
    {"M31", "MAIL FROM:<a@b> ret=hdrs", OK},
    {"M31", "MAIL FROM:<a@b> RET=HDR", PARAM},
    {"M33", "MAIL FROM:<a\x01@b>", "500 5.5.2 Bad syntax"},
    {"M33", "MAIL FROM:<a\xe2\x80\x8b@b> SMTPUTF8", BAD},
    {"M33", "MAIL FROM:<a\xe2\x80\xae@b> SMTPUTF8", BAD},
    {"M36", "MAIL FROM:<no@b>", "450 4.7.1 Too much mail, try again later"},
    {"M36", "MAIL FROM:<gone@b>", "421 4.3.2 Service shutting down"},
};

static void senders(void **state)
{
    char text[800];

    (void)state;
    for (size_t i = 0; i < sizeof mails / sizeof mails[0]; i++) {
        const struct dialogue d = {mails[i].id, text};

        /* M17, M20: after one that failed comes the next, after one that did not a RSET first. */
        snprintf(text, sizeof text, HELLO "C:%s\nS:%s\n%s", mails[i].line, mails[i].reply,
                 begins(mails[i].reply, 3, "250")
                     ? "C:"
                       "MAIL FROM:<x@y>\nS:503 5.5.1 Nested MAIL command\n"
                 : begins(mails[i].reply, 3, "421") ? "X:\n"
                                                    : FROM);
        talk_all(&plain, &d, 1);
    }
}

static const struct dialogue dialogues[] = {
    {"G15", "C:MAIL FROM:<a@b>\nS:503 5.5.1 Send HELO/EHLO first\n"},
    {"M17 nested", HELLO FROM "C:MAIL FROM:<d@e>\nS:503 5.5.1 Nested MAIL command\n" TO GO
                              "C:x\nC:.\nS:250...\nM:a@b.c>x@y.z:x|\n"},
    {"M18 RSET", HELLO FROM "C:RSET\nS:250 2.0.0 Ok\n" FROM},
    {"M19 two messages, P01",
     HELLO FROM TO GO "C:1\nC:.\nS:250 2.0.0 Ok: saved as 1\nM:a@b.c>x@y.z:1|\n" FROM TO GO
                      "C:2\nC:.\nS:250 2.0.0 Ok: saved as 2\nM:a@b.c>x@y.z:2|\n"
                      "C:QUIT\nS:221 2.0.0 Bye\nX:\n"},
    {"M28 parameters after HELO", "C:HELO me\nS:250 mx.example\nC:MAIL FROM:<a@b> SIZE=1\n"
                                  "S:555 5.5.4 Unsupported option: SIZE\n"},
    {"R06", HELLO "C:RCPT TO:<a@b>\nS:503 5.5.1 Need MAIL command\n"},
    {"R08", HELLO FROM "C:RCPT TO:<>\nS:501 5.1.3 Bad recipient address syntax\n"},
    {"R09", HELLO FROM "C:RCPT TO:<postmaster>\nS:250 2.1.5 Ok\nC:RCPT TO:<PostMaster>\n"
                       "S:250 2.1.5 Ok\n" GO "C:.\nS:250...\nM:a@b.c>postmaster:\n"},
    {"R07", HELLO FROM "C:RCPT\nS:501 5.5.4 Syntax: RCPT TO:<address>\n"
                       "C:RCPT FROM:<a@b>\nS:501 5.5.4 Syntax: RCPT TO:<address>\n"
                       "C:RCPT TO:\nS:501 5.1.3...\nC:RCPT TO:<a@b>x\nS:501 5.1.3...\n"
                       "C:RCPT TO:<a@b..c>\nS:501 5.1.3...\nC:rcpt to: <a@b>\nS:250 2.1.5 Ok\n"},
    {"R13",
     HELLO FROM "C:RCPT TO:<a%b@ours>\nS:250 2.1.5 Ok\nC:RCPT TO:<a@b@ours>\nS:501 5.1.3...\n" GO
                "C:.\nS:250...\nM:a@b.c>a%b@ours:\n"},
    {"R15 the same twice", HELLO FROM TO TO GO "C:.\nS:250...\nM:a@b.c>x@y.z:\n"},
    {"R16 all refused, P02", HELLO FROM "C:RCPT TO:<no@y>\nS:550 5.1.1 <it> User unknown\n"
                                        "C:DATA\nS:554 5.5.1 No valid recipients\n" TO GO
                                        "C:.\nS:250...\nM:a@b.c>x@y.z:\n"},
    {"R17 some refused",
     HELLO FROM "C:RCPT TO:<no@y>\nS:550...\n" TO "C:RCPT TO:<later@y>\nS:451...\n" GO
                "C:.\nS:250...\nM:a@b.c>x@y.z:\n"},
    {"R18", HELLO FROM "C:RCPT TO:<a@b> NOTIFY=NEVER\nS:250 2.1.5 Ok\n"
                       "C:RCPT TO:<a@b> NOTIFY=NEVER,DELAY\nS:501 5.5.4...\n"
                       "C:RCPT TO:<a@b> ORCPT=rfc822;a+3Db@c\nS:250 2.1.5 Ok\n"
                       "C:RCPT TO:<a@b> ORCPT=rfc822\nS:501 5.5.4...\n"},
    {"R19", HELLO FROM "C:RCPT TO:<a@b> SIZE=1\nS:555 5.5.4 Unsupported option: SIZE\n"},
    {"R20 after a message", HELLO FROM TO GO "C:.\nS:250...\nM:a@b.c>x@y.z:\n"
                                             "C:RCPT TO:<x@y>\nS:503 5.5.1 Need MAIL command\n"},
    {"R-utf8", HELLO FROM "C:RCPT TO:<\xc3\xbc@y>\nS:553 5.6.7 Must declare SMTPUTF8\n"
                          "C:RSET\nS:250...\nC:MAIL FROM:<> SMTPUTF8\nS:250...\n"
                          "C:RCPT TO:<\xc3\xbc@y>\nS:250 2.1.5 Ok\n"},
    {"R-421", HELLO FROM "C:RCPT TO:<gone@y>\nS:421 4.3.2 Service shutting down\nX:\n"},
    {"D02", HELLO "C:DATA\nS:503 5.5.1 Need MAIL command\n" FROM
                  "C:DATA\nS:503 5.5.1 Need RCPT command\nC:.\nS:500 5.5.2...\nC:RSET\nS:250...\n"},
    {"D03",
     HELLO FROM TO "C:DATA x\nS:501 5.5.4 Syntax: DATA\n" GO "C:.\nS:250...\nM:a@b.c>x@y.z:\n"},
    {"D32 no room",
     HELLO "C:MAIL FROM:<full@b>\nS:250...\n" TO "C:DATA\nS:452 4.3.1 Insufficient system storage\n"
           "C:DATA\nS:503 5.5.1 Need MAIL command\n" FROM},
    {"G19 EHLO inside", HELLO FROM TO HELLO "C:DATA\nS:503 5.5.1 Need MAIL command\n"},
    {"P07 without chunks", HELLO FROM "C:DATA\nS:503...\nC:DATA\nS:503...\n" TO
                                      "C:BDAT 0\nS:250 2.0.0 0 octets received\n"},
    {"P06", HELLO FROM "C:RCPT TO:<no@y>\nS:550...\nC:DATA\nS:554...\nC:text\nS:500...\n"
                       "C:DATA\nS:554...\nC:text\nS:500...\nC:.\nS:500...\nC:QUIT\nS:221...\nX:\n"},
    {"P08", HELLO FROM TO TO "C:MAIL FROM:<n@m>\nS:503...\n" GO "C:.\nS:250...\nM:a@b.c>x@y.z:\n"},
    {"P11", HELLO "C:NOOP\nS:250...\n" FROM "C:NOOP\nS:250...\n" TO "C:RSET\nS:250...\n"
                  "C:RCPT TO:<x@y>\nS:503 5.5.1 Need MAIL command\n"},
};

static void envelopes(void **state)
{
    (void)state;
    talk_each(&plain, dialogues);
}

/* -- limits and options */

static void recipients_have_a_limit(void **state)
{
    static const struct ferry_smtp_opts opts = {.rcpts_max = 3, .no_sync = true};
    static const struct talk t = {.opts = &opts, .pipelines = true};
    static const struct dialogue d[] = {
        {"R14", HELLO FROM "C:RCPT TO:<1@y>\nS:250...\nC:RCPT TO:<2@y>\nS:250...\n"
                           "C:RCPT TO:<3@y>\nS:250...\nC:RCPT TO:<4@y>\n"
                           "S:452 4.5.3 Too many recipients\nC:RCPT TO:<5@y>\nS:452 4.5.3...\n" GO
                           "C:x\nC:.\nS:250...\nM:a@b.c>1@y,2@y,3@y:x|\n"},
    };

    (void)state;
    talk_each(&t, d);
}

/* An honest client that names a thousand gets its first hundred through; another does not go on for
 * ever. */
static void too_many_recipients_are_no_errors_up_to_a_limit(void **state)
{
    struct peer *c = peer_open(&no_sync, NULL);
    char line[64];

    (void)state;
    client_sends(c, "EHLO me\r\nMAIL FROM:<a@b>\r\n");
    for (unsigned i = 0; i < 100; i++) {
        snprintf(line, sizeof line, "RCPT TO:<r%u@y>\r\n", i);
        client_sends(c, line);
    }
    forget_out(c);
    for (unsigned i = 0; i < 1000; i++)
        client_sends(c, "RCPT TO:<more@y>\r\n");
    assert_false(is_over(c));
    assert_int_equal(ferry_smtp_counts(c->m)->errors, 0);
    assert_int_equal(ferry_smtp_envelope(c->m)->nrcpts, 100);
    forget_out(c);
    client_sends(c, "RCPT TO:<more@y>\r\n");
    assert_out(c, "421 4.7.0 Too many errors\r\n");
    assert_true(is_over(c));
    peer_close(c);
}

static void one_recipient_at_a_time(void **state)
{
    static const struct ferry_smtp_opts opts = {.one_rcpt = true, .no_sync = true};
    static const struct ferry_smtp_opts bounce = {.one_bounce = true, .no_sync = true};
    static const struct talk t = {.opts = &opts, .pipelines = true},
                             u = {.opts = &bounce, .pipelines = true};
    static const struct dialogue d[] = {
        {"one_rcpt",
         HELLO FROM "C:RCPT TO:<1@y>\nS:250...\nC:RCPT TO:<2@y>\n"
                    "S:452 4.5.3 One recipient at a time\n" GO "C:.\nS:250...\nM:a@b.c>1@y:\n"},
    };
    static const struct dialogue e[] = {
        {"R29", HELLO "C:MAIL FROM:<>\nS:250...\nC:RCPT TO:<1@y>\nS:250...\nC:RCPT TO:<2@y>\n"
                      "S:550 5.5.3 Multi-recipient bounce\nC:RSET\nS:250...\n" FROM TO
                      "C:RCPT TO:<2@y>\nS:250...\n"},
    };

    (void)state;
    talk_each(&t, d);
    talk_each(&u, e);
}

static void messages_of_a_session_have_a_limit(void **state)
{
    static const struct ferry_smtp_opts opts = {.mails_max = 2, .no_sync = true};
    static const struct talk t = {.opts = &opts, .pipelines = true};
    static const struct dialogue d[] = {
        {"M35", HELLO FROM TO GO "C:.\nS:250...\nM:a@b.c>x@y.z:\n" FROM
                                 "C:RSET\nS:250...\nC:MAIL FROM:<a@b>\n"
                                 "S:421 4.7.0 Too many messages in one connection\nX:\n"},
    };

    (void)state;
    talk_each(&t, d);
}

static void what_is_not_offered_is_unknown(void **state)
{
    static const struct ferry_smtp_opts opts = {
        .no_dsn = true, .no_binarymime = true, .strict = true, .no_sync = true};
    static const struct talk t = {.opts = &opts, .pipelines = true};
    static const struct dialogue d[] = {
        {"M32", HELLO "C:MAIL FROM:<a@b> RET=FULL\nS:555 5.5.4 Unsupported option: RET\n" FROM
                      "C:RCPT TO:<a@b> NOTIFY=NEVER\nS:555 5.5.4 Unsupported option: NOTIFY\n"},
        {"M23", HELLO "C:MAIL FROM:<a@b> BODY=BINARYMIME\nS:501 5.5.4...\n"},
        {"M04 strict",
         HELLO "C:MAIL FROM: <a@b>\nS:501 5.1.7...\nC:MAIL FROM:a@b\nS:501 5.1.7...\n"
               "C:MAIL FROM:<.a@b>\nS:501 5.1.7...\n" FROM "C:RCPT TO: <a@b>\nS:501 5.1.3...\n"},
    };

    (void)state;
    talk_each(&t, d);
}

static void the_envelope_says_all_of_it(void **state)
{
    struct peer *c = peer_open(NULL, NULL);
    const struct ferry_smtp_envelope *e;

    (void)state;
    client_sends(c, "EHLO me\r\n");
    assert_false(ferry_smtp_envelope(c->m)->begun);
    client_sends(c, "MAIL FROM:<@r:\"a\"@B.c> SIZE=7 BODY=8BITMIME ENVID=x+2By RET=HDRS\r\n");
    client_sends(c, "RCPT TO:<X@Y> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;q+40r\r\n"
                    "RCPT TO:<no@y>\r\nRCPT TO:<z@y>\r\n");
    e = ferry_smtp_envelope(c->m);
    assert_true(e->begun);
    assert_string_equal(e->from->text, "a@b.c");
    assert_memory_equal(e->from->raw, "@r:\"a\"@B.c", e->from->raw_len);
    assert_int_equal(e->params->size, 7);
    assert_int_equal(e->params->body, FERRY_SMTP_8BITMIME);
    assert_int_equal(e->params->ret, FERRY_SMTP_RET_HDRS);
    assert_string_equal(e->params->envid, "x+y");
    assert_int_equal(e->nrcpts, 2);
    assert_int_equal(e->refused, 1);
    assert_int_equal(e->number, 1);
    assert_string_equal(e->rcpts->path->text, "X@y");
    assert_int_equal(e->rcpts->notify, FERRY_SMTP_NOTIFY_SUCCESS | FERRY_SMTP_NOTIFY_DELAY);
    assert_string_equal(e->rcpts->orcpt, "rfc822;q@r");
    assert_null(e->rcpts->user);
    assert_string_equal(e->rcpts->next->path->text, "z@y");
    assert_string_equal(e->rcpts->next->orcpt, "");
    assert_null(e->rcpts->next->next);
    client_sends(c, "RSET\r\nNOOP\r\n");
    assert_false(ferry_smtp_envelope(c->m)->begun);
    assert_null(ferry_smtp_envelope(c->m)->rcpts);
    client_sends(c, "MAIL FROM:<>\r\n");
    assert_int_equal(ferry_smtp_envelope(c->m)->number, 2);
    peer_close(c);
}

/* The owner may still look at what a transaction was when it hears that it is over. */
static void an_envelope_outlives_its_reset(void **state)
{
    struct peer *c = peer_open(NULL, NULL);
    struct ferry_smtp_event ev;

    (void)state;
    client_sends(c, "EHLO me\r\n");
    client_sends(c, "MAIL FROM:<a@b>\r\nRCPT TO:<x@y>\r\n");
    assert_int_equal(ferry_smtp_recv(c->m, "RSET\r\nNOOP\r\n", 12, c->now), 6);
    assert_int_equal(ferry_smtp_event(c->m, &ev), 1);
    assert_int_equal(ev.type, FERRY_SMTP_EV_RESET);
    assert_false(ferry_smtp_envelope(c->m)->begun);
    assert_string_equal(ferry_smtp_envelope(c->m)->from->text, "a@b");
    assert_string_equal(ferry_smtp_envelope(c->m)->rcpts->path->text, "x@y");
    assert_int_equal(ferry_smtp_event(c->m, &ev), 0);
    assert_int_equal(ferry_smtp_recv(c->m, "NOOP\r\n", 6, c->now), 6);
    assert_null(ferry_smtp_envelope(c->m)->from);
    peer_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(senders),
        cmocka_unit_test(envelopes),
        cmocka_unit_test(recipients_have_a_limit),
        cmocka_unit_test(too_many_recipients_are_no_errors_up_to_a_limit),
        cmocka_unit_test(one_recipient_at_a_time),
        cmocka_unit_test(messages_of_a_session_have_a_limit),
        cmocka_unit_test(what_is_not_offered_is_unknown),
        cmocka_unit_test(the_envelope_says_all_of_it),
        cmocka_unit_test(an_envelope_outlives_its_reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
