/* SPDX-License-Identifier: MIT */
#include "smtp_talk.h"

static const struct ferry_smtp_opts no_sync = {.no_sync = true};
static const struct ferry_smtp_opts lmtp_opts = {.lmtp = true, .no_sync = true};
static const struct talk lmtp = {.opts = &lmtp_opts, .pipelines = true};

#define LHLO                                                                                       \
    "C:LHLO me\nS:EHLO\nC:MAIL FROM:<a@b>\nS:250...\nC:RCPT TO:<1@y>\nS:250...\n"                  \
    "C:RCPT TO:<2@y>\nS:250...\n"
#define GO "C:DATA\nS:354...\n"

static const struct dialogue of_lmtp[] = {
    {"K02", LHLO GO "C:x\nC:.\nS:250 2.0.0 <1@y> Ok: saved as 1\n"
                    "S:250 2.0.0 <2@y> Ok: saved as 1\nM:a@b>1@y,2@y:x|\nC:QUIT\nS:221...\nX:\n"},
    {"K03", LHLO "C:RCPT TO:<no@y>\nS:550...\n" GO "C:.\nS:250 2.0.0 <1@y>...\n"
                 "S:250 2.0.0 <2@y>...\nM:a@b>1@y,2@y:\nC:NOOP\nS:250...\n"},
    {"K04", "C:LHLO me\nS:EHLO\nC:MAIL FROM:<a@b>\nS:250...\nC:RCPT TO:<no@y>\nS:550...\n"
            "C:DATA\nS:503 5.5.1 Need RCPT command\n"},
    {"K05", LHLO "C:RCPT TO:<1@y>\nS:250...\n" GO "C:.\nS:250 2.0.0 <1@y>...\n"
                 "S:250 2.0.0 <2@y>...\nS:250 2.0.0 <1@y>...\nM:a@b>1@y,2@y,1@y:\n"},
    {"K06", LHLO GO "C:no\nC:.\nS:554 5.7.1 <1@y> Message rejected\n"
                    "S:250 2.0.0 <2@y> Ok: saved as 1\nM:a@b>1@y,2@y:no|\n"},
    {"K08", LHLO GO "C:later\nC:.\nS:451 4.7.1 <1@y> Try again later\nS:250...\n"
                    "M:a@b>1@y,2@y:later|\n"},
    {"K13", LHLO GO "C:.\nS:250...\nS:250...\nM:a@b>1@y,2@y:\nC:MAIL FROM:<c@d>\nS:250...\n"
                    "C:RCPT TO:<3@y>\nS:250...\n" GO "C:.\nS:250 2.0.0 <3@y>...\nM:c@d>3@y:\n"},
};

static void lmtp_answers_for_each_recipient(void **state)
{
    (void)state;
    talk_each(&lmtp, of_lmtp);
}

/* K07: what the machine refuses it refuses to each. */
static void refusals_of_the_machine_in_lmtp(void **state)
{
    static const struct ferry_smtp_opts opts = {
        .lmtp = true, .size_max = 5, .bare_newline = FERRY_SMTP_BARE_REJECT, .no_sync = true};
    static const struct talk t = {.opts = &opts, .pipelines = true};
    static const struct dialogue d[] = {
        {"K07", LHLO GO "C:12345\nC:.\nS:552 5.3.4 <1@y> Message size exceeds limit of 5\n"
                        "S:552 5.3.4 <2@y> Message size exceeds limit of 5\nC:DATA\nS:503...\n"},
    };
    struct peer *c;

    (void)state;
    talk_each(&t, d);
    c = peer_open(&opts, NULL);
    client_sends(c, "LHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<1@y>\r\nRCPT TO:<2@y>\r\nDATA\r\n");
    forget_out(c);
    client_sends(c, "\n\r\n.\r\n");
    assert_out(c, "550 5.5.2 <1@y> Bare <LF> or <CR> received\r\n"
                  "550 5.5.2 <2@y> Bare <LF> or <CR> received\r\n");
    assert_log(c, "reset 550\ngone 550\n");
    peer_close(c);
}

static void a_recipients_turn_comes_one_by_one(void **state)
{
    struct peer *c = peer_open(&lmtp_opts, NULL);

    (void)state;
    client_sends(c, "LHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<1@y>\r\nRCPT TO:<2@y>\r\nDATA\r\n");
    c->deaf = true;
    client_sends(c, "x\r\n.\r\n");
    forget_out(c);
    answer(c, FERRY_SMTP_SAVED, "A");
    works(c);
    assert_out(c, "250 2.0.0 <1@y> Ok: saved as A\r\n");
    assert_true(ferry_smtp_envelope(c->m)->begun);
    assert_int_equal(client_sends(c, "NOOP\r\n"), 0);
    assert_int_equal(ferry_smtp_answer_custom(c->m, 452, FERRY_SLICE("4.2.2"),
                                              FERRY_SLICE("full\r\n250 x"), c->now),
                     0);
    works(c);
    assert_out(c, "250 2.0.0 <1@y> Ok: saved as A\r\n452 4.2.2 <2@y> full\r\n");
    assert_false(ferry_smtp_envelope(c->m)->begun);
    assert_int_equal(client_sends(c, "NOOP\r\n"), 6);
    assert_log(c, "");
    peer_close(c);
}

/* -- what may be answered when -- */

static void answers_that_do_not_fit_change_nothing(void **state)
{
    static const struct {
        const char *text;
        enum ferry_smtp_reply bad[4], good;
    } cases[] = {
        {"MAIL FROM:<a@b>\r\n",
         {FERRY_SMTP_NONE, FERRY_SMTP_SEND_DATA, FERRY_SMTP_NONE, FERRY_SMTP_SEND_DATA},
         FERRY_SMTP_MAIL_OK},
        {"RCPT TO:<a@b>\r\n",
         {FERRY_SMTP_NONE, FERRY_SMTP_SEND_DATA, FERRY_SMTP_NONE, FERRY_SMTP_SEND_DATA},
         FERRY_SMTP_RCPT_OK},
        {"DATA\r\n",
         {FERRY_SMTP_NONE, FERRY_SMTP_OK, FERRY_SMTP_SAVED, FERRY_SMTP_GREETING},
         FERRY_SMTP_SEND_DATA},
        {".\r\n",
         {FERRY_SMTP_NONE, FERRY_SMTP_SEND_DATA, FERRY_SMTP_NONE, FERRY_SMTP_SEND_DATA},
         FERRY_SMTP_SAVED},
    };
    struct peer *c = peer_open(&no_sync, NULL);

    (void)state;
    client_sends(c, "EHLO a\r\n");
    assert_int_equal(ferry_smtp_answer(c->m, FERRY_SMTP_OK, FERRY_SLICE(""), c->now), FERRY_EUSAGE);
    c->deaf = true;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        forget_out(c);
        client_sends(c, cases[i].text);
        for (int k = 0; k < 4; k++)
            assert_int_equal(ferry_smtp_answer(c->m, cases[i].bad[k], FERRY_SLICE(""), c->now),
                             FERRY_EUSAGE);
        assert_int_equal(
            ferry_smtp_answer_custom(c->m, 354, FERRY_SLICE(""), FERRY_SLICE(""), c->now),
            FERRY_EUSAGE);
        assert_int_equal(
            ferry_smtp_answer_custom(c->m, 421, FERRY_SLICE(""), FERRY_SLICE(""), c->now),
            FERRY_EUSAGE);
        assert_int_equal(
            ferry_smtp_answer_custom(c->m, 199, FERRY_SLICE(""), FERRY_SLICE(""), c->now),
            FERRY_EUSAGE);
        assert_int_equal(
            ferry_smtp_answer_custom(c->m, 600, FERRY_SLICE(""), FERRY_SLICE(""), c->now),
            FERRY_EUSAGE);
        ferry_smtp_greet(c->m, &c->client, c->now); /* not now */
        ferry_smtp_tls(c->m, c->now);
        works(c);
        assert_out(c, "");
        answer(c, cases[i].good, "");
        works(c);
        assert_int_not_equal(c->out_len, 0);
    }
    peer_close(c);
}

static void words_of_others(void **state)
{
    struct peer *c = peer_open(&no_sync, NULL);

    (void)state;
    client_sends(c, "EHLO a\r\n");
    c->deaf = true;
    forget_out(c);
    client_sends(c, "MAIL FROM:<a@b> SMTPUTF8\r\n");
    assert_int_equal(ferry_smtp_answer_custom(c->m, 250, FERRY_SLICE("2.1.0"),
                                              FERRY_SLICE("f\xc3\xbcr"), c->now),
                     0);
    client_sends(c, "RCPT TO:<x@y>\r\n");
    assert_int_equal(
        ferry_smtp_answer_custom(c->m, 550, FERRY_SLICE("4.1.1"), FERRY_SLICE("no such"), c->now),
        0);
    works(c);
    assert_out(c, "250 2.1.0 f\xc3\xbcr\r\n550 5.0.0 no such\r\n");
    assert_int_equal(ferry_smtp_envelope(c->m)->refused, 1);
    peer_close(c);
}

/* -- endings around an answer -- */

static struct peer *with_message(void)
{
    struct peer *c = peer_open(&no_sync, NULL);

    client_sends(c, "EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<x@y>\r\nDATA\r\n");
    c->deaf = true;
    client_sends(c, "x\r\n.\r\n");
    forget_out(c);
    return c;
}

/* The client may have closed its sending side only: its message is answered all the same. */
static void a_client_that_says_no_more_is_answered(void **state)
{
    struct peer *c = with_message();

    (void)state;
    assert_true(ferry_smtp_is_there(c->m));
    client_ends(c);
    assert_false(ferry_smtp_is_there(c->m));
    assert_log(c, "");
    assert_false(ferry_smtp_finished(c->m));
    assert_int_equal(ferry_smtp_deadline(c->m), FERRY_NEVER);
    answer(c, FERRY_SMTP_SAVED, "A");
    works(c);
    assert_out(c, "250 2.0.0 Ok: saved as A\r\n");
    assert_log(c, "gone\n");
    assert_true(ferry_smtp_finished(c->m));
    peer_close(c);
}

/* D22: QUIT and the end behind the dot */
static void quit_before_the_end_is_a_farewell(void **state)
{
    struct peer *c = with_message();

    (void)state;
    assert_int_equal(client_sends(c, "QUIT\r\n"), 0);
    assert_true(ferry_smtp_is_there(c->m));
    answer(c, FERRY_SMTP_SAVED, "A");
    assert_int_equal(client_sends(c, "QUIT\r\n"), 6);
    client_ends(c);
    assert_true(ferry_smtp_is_there(c->m));
    assert_out(c, "250 2.0.0 Ok: saved as A\r\n221 2.0.0 Bye\r\n");
    assert_log(c, "quit\n");
    assert_true(ferry_smtp_finished(c->m));
    peer_close(c);
}

/* Where nothing is being saved nobody works for a client that is gone. */
static void a_client_that_leaves_before_is_gone(void **state)
{
    struct peer *c = peer_open(&no_sync, NULL);

    (void)state;
    client_sends(c, "EHLO a\r\nMAIL FROM:<a@b>\r\n");
    forget_out(c);
    client_sends(c, "RCPT TO:<deaf@y>\r\n");
    client_ends(c);
    assert_log(c, "rcpt deaf@y\nreset\ngone\n");
    assert_int_equal(ferry_smtp_answer(c->m, FERRY_SMTP_RCPT_OK, FERRY_SLICE(""), c->now),
                     FERRY_EUSAGE);
    assert_out(c, "");
    assert_true(ferry_smtp_finished(c->m));
    peer_close(c);
}

/* -- drain, end, refuse -- */

static void draining_waits_for_a_transaction(void **state)
{
    struct peer *c = peer_open(&no_sync, NULL);

    (void)state;
    client_sends(c, "EHLO a\r\nMAIL FROM:<a@b>\r\n");
    forget_out(c);
    ferry_smtp_drain(c->m, FERRY_SMTP_SHUTTING_DOWN, c->now);
    ferry_smtp_drain(c->m, FERRY_SMTP_INTERNAL, c->now);
    client_sends(c, "RCPT TO:<x@y>\r\nDATA\r\nx\r\n.\r\n");
    assert_mail(c, "a@b>x@y:x|\n");
    assert_out(c, "250 2.1.5 Ok\r\n354 End data with <CR><LF>.<CR><LF>\r\n"
                  "250 2.0.0 Ok: saved as 1\r\n421 4.3.2 Service shutting down\r\n");
    assert_log(c, "rcpt x@y\ndata\nmessage 1\ngone 421\n");
    peer_close(c);
    /* A transaction also ends with RSET. */
    c = peer_open(&no_sync, NULL);
    client_sends(c, "EHLO a\r\nMAIL FROM:<a@b>\r\n");
    forget_out(c);
    ferry_smtp_drain(c->m, FERRY_SMTP_SHUTTING_DOWN, c->now);
    client_sends(c, "RSET\r\nMAIL FROM:<a@b>\r\n");
    assert_out(c, "250 2.0.0 Ok\r\n421 4.3.2 Service shutting down\r\n");
    assert_log(c, "reset\ngone 421\n");
    peer_close(c);
}

static void draining_ends_what_is_idle(void **state)
{
    static const struct ferry_smtp_opts proxy = {.proxy = true};
    struct peer *c = peer_open(&no_sync, NULL);

    (void)state;
    forget_out(c);
    ferry_smtp_drain(c->m, FERRY_SMTP_SHUTTING_DOWN, c->now);
    works(c);
    assert_out(c, "421 4.3.2 Service shutting down\r\n");
    assert_log(c, "gone 421\n");
    peer_close(c);
    c = peer_new(&no_sync, NULL); /* not greeted yet */
    c->deaf = true;
    works(c);
    ferry_smtp_drain(c->m, FERRY_SMTP_SHUTTING_DOWN, c->now);
    works(c);
    assert_out(c, "");
    ferry_smtp_greet(c->m, &c->client, c->now);
    works(c);
    assert_out(c, "421 4.3.2 Service shutting down\r\n");
    peer_close(c);
    c = peer_open(&proxy, NULL);
    ferry_smtp_drain(c->m, FERRY_SMTP_SHUTTING_DOWN, c->now);
    works(c);
    assert_out(c, "");
    assert_true(ferry_smtp_finished(c->m));
    peer_close(c);
}

static void an_end_is_now(void **state)
{
    struct peer *c = with_message();

    (void)state;
    ferry_smtp_end(c->m, FERRY_SMTP_SHUTTING_DOWN, c->now);
    works(c);
    assert_out(c, "421 4.3.2 Service shutting down\r\n");
    assert_log(c, "reset 421\ngone 421\n");
    assert_int_equal(ferry_smtp_answer(c->m, FERRY_SMTP_SAVED, FERRY_SLICE(""), c->now),
                     FERRY_EUSAGE);
    ferry_smtp_end(c->m, FERRY_SMTP_SHUTTING_DOWN, c->now);
    ferry_smtp_drain(c->m, FERRY_SMTP_SHUTTING_DOWN, c->now);
    works(c);
    assert_out(c, "421 4.3.2 Service shutting down\r\n");
    peer_close(c);
    c = with_message();
    ferry_smtp_end(c->m, FERRY_SMTP_NONE, c->now);
    works(c);
    assert_out(c, "");
    assert_log(c, "reset\ngone\n");
    assert_true(ferry_smtp_finished(c->m));
    peer_close(c);
}

static void a_connection_may_be_refused(void **state)
{
    static const enum ferry_smtp_reply replies[] = {FERRY_SMTP_DENIED,
                                                    FERRY_SMTP_TOO_MANY_CONNECTIONS,
                                                    FERRY_SMTP_NO_MAIL_HERE, FERRY_SMTP_NONE};
    char want[64];

    (void)state;
    for (size_t i = 0; i < sizeof replies / sizeof replies[0]; i++) {
        struct peer *c = peer_new(&no_sync, NULL);

        c->deaf = true;
        works(c);
        ferry_smtp_refuse(c->m, replies[i], c->now);
        works(c);
        snprintf(want, sizeof want, "%d ", ferry_smtp_reply_code(replies[i]));
        if (replies[i])
            assert_true(begins(c->out, c->out_len, want));
        else
            assert_out(c, "");
        assert_true(is_over(c));
        client_sends(c, "EHLO a\r\n");
        assert_null(strstr(c->log, "EHLO"));
        peer_close(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lmtp_answers_for_each_recipient),
        cmocka_unit_test(refusals_of_the_machine_in_lmtp),
        cmocka_unit_test(a_recipients_turn_comes_one_by_one),
        cmocka_unit_test(answers_that_do_not_fit_change_nothing),
        cmocka_unit_test(words_of_others),
        cmocka_unit_test(a_client_that_says_no_more_is_answered),
        cmocka_unit_test(quit_before_the_end_is_a_farewell),
        cmocka_unit_test(a_client_that_leaves_before_is_gone),
        cmocka_unit_test(draining_waits_for_a_transaction),
        cmocka_unit_test(draining_ends_what_is_idle),
        cmocka_unit_test(an_end_is_now),
        cmocka_unit_test(a_connection_may_be_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
