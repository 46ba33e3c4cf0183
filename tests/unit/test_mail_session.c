/* SPDX-License-Identifier: MIT */
/* Sessions of the mail gateway: who may come in, who may receive, and how they end. The numbers are
 * those of the conformance list. */
#include "mail_world.h"

static void a_message_is_saved(void **state)
{
    struct world *w = world_new();
    int fd;

    (void)state;
    world_start(w);
    fd = client_mail(w, "250 2.0.0 Ok: saved as ");
    client_ask(fd, "QUIT", "221");
    client_end(fd);
    assert_says(w, "result=saved reply=250 verdict=ok");
    assert_says(w, "written=yes confirmed=yes");
    assert_says(w, "from=a@b.example to=\"one@example.com\" rcpts=1");
    assert_int_equal(atomic_load(&w->save.requests), 1);
    assert_int_equal(atomic_load(&w->validate.requests), 1);
    assert_counts(w, FERRY_MAIL_COUNT_SAVED, 1);
    assert_counts(w, FERRY_MAIL_COUNT_UNCONFIRMED, 0);
    assert_adds_up(w);
    assert_counts(w, FERRY_MAIL_COUNT_SESSIONS, 0);
    world_free(w);
}

/* -- its end ----------------------------------------------------------------------------------- */

/* V01 */
static void draining_lets_saves_finish(void **state)
{
    struct world *w = world_new();
    int idle, saving, sending;

    (void)state;
    w->save.handler = waits;
    world_start(w);
    idle = client_connect(w);
    client_expect(idle, "220");
    client_ask(idle, "EHLO x", "250-");
    sending = client_to_data(w);
    saving = client_to_data(w);
    client_send(saving, MESSAGE ".\r\n");
    wait_requests(&w->save, 1);
    world_drain(w);
    client_expect(idle, "421 4.3.2");
    client_end(idle);
    atomic_store(&w->save.go, true);
    client_expect(saving, "250 2.0.0");
    client_expect(saving, "421 4.3.2");
    client_end(saving);
    client_ask(sending, MESSAGE ".", "250 2.0.0");
    client_expect(sending, "421 4.3.2");
    client_end(sending);
    world_join(w);
    assert_int_equal(atomic_load(&w->save.requests), 2);
    world_free(w);
}

/* V02: where others go on, one that has come but has not brought anything may do so. */
static void retiring_takes_a_first_message(void **state)
{
    struct world *w = world_new();
    int fresh, idle, late;

    (void)state;
    world_start(w);
    idle = client_mail(w, "250 2.0.0");
    fresh = client_connect(w);
    client_expect(fresh, "220");
    world_stand_still(w);
    late = client_connect(w);
    world_retire(w, 60000);
    world_go_on(w);
    client_expect(idle, "421 4.3.2");
    client_end(idle);
    client_ask(fresh, "EHLO x", "250-");
    client_ask(fresh, "MAIL FROM:<a@b.example>", "250");
    client_ask(fresh, "RCPT TO:<one@example.com>", "250");
    client_ask(fresh, "DATA", "354");
    client_ask(fresh, MESSAGE ".", "250 2.0.0");
    client_expect(fresh, "421 4.3.2");
    client_end(fresh);
    client_expect(late, "220");
    client_ask(late, "QUIT", "221");
    client_end(late);
    world_join(w);
    world_free(w);

    w = world_new(); /* but not for ever */
    world_start(w);
    fresh = client_connect(w);
    client_expect(fresh, "220");
    world_retire(w, 50);
    client_expect(fresh, "421 4.3.2");
    client_end(fresh);
    world_join(w);
    world_free(w);
}

static void cutting_waits_for_nobody(void **state)
{
    struct world *w = world_new();
    int saving, sending;

    (void)state;
    w->save.handler = waits; /* and nobody lets it */
    world_start(w);
    sending = client_to_data(w);
    saving = client_to_data(w);
    client_send(saving, MESSAGE ".\r\n");
    wait_requests(&w->save, 1);
    world_drain(w);
    ferry_loop_post(w->loop, &w->cut);
    client_expect(saving, "421 4.3.2");
    client_end(saving);
    client_expect(sending, "421 4.3.2");
    client_end(sending);
    assert_says(w, "result=deferred");
    assert_counts(w, FERRY_MAIL_COUNT_SAVED, 0);
    assert_adds_up(w);
    world_join(w);
    world_free(w);
}

/* -- limits ------------------------------------------------------------------------------------ */

/* V07 */
static void too_many_clients(void **state)
{
    struct world *w = world_new();
    int fds[3];

    (void)state;
    w->service.clients_max = 2;
    world_start(w);
    for (int i = 0; i < 2; i++) {
        fds[i] = client_connect(w);
        client_expect(fds[i], "220");
    }
    fds[2] = client_connect(w);
    client_expect(fds[2], "421 4.3.2 Too many connections");
    client_end(fds[2]);
    assert_says(w, "event=session service=test");
    assert_says(w, "result=refused reply=421 reason=too-many-connections");
    client_ask(fds[0], "QUIT", "221");
    client_end(fds[0]);
    assert_counts(w, FERRY_MAIL_COUNT_SESSIONS, 1);
    fds[0] = client_connect(w);
    client_expect(fds[0], "220");
    close(fds[0]);
    close(fds[1]);
    assert_counts(w, FERRY_MAIL_COUNT_REFUSED, 1);
    world_free(w);
}

/* Where there is little room, who says nothing has a tenth of the time. */
static void idle_clients_make_room(void **state)
{
    struct world *w = world_new();
    int first, second;

    (void)state;
    w->service.clients_max = 2;
    w->service.smtp.idle_ms = 20000;
    world_start(w);
    first = client_connect(w);
    client_expect(first, "220");
    second = client_connect(w);
    client_expect(second, "220");
    client_expect(second, "421 4.4.2");
    client_end(second);
    client_ask(first, "NOOP", "250");
    close(first);
    world_free(w);
}

/* More of them than are told so one by one. */
static void a_flood_of_clients(void **state)
{
    struct world *w = world_new();
    int fds[200], mine;

    (void)state;
    w->service.clients_max = 1;
    world_start(w);
    mine = client_connect(w);
    client_expect(mine, "220");
    for (int i = 0; i < 200; i++)
        fds[i] = client_connect(w);
    for (int i = 0; i < 200; i++) {
        const char *reply = client_reply(fds[i]);

        assert_true(*reply == 0 || strncmp(reply, "421 4.3.2", 9) == 0);
        close(fds[i]);
    }
    client_ask(mine, "EHLO x", "250-");
    client_ask(mine, "QUIT", "221");
    client_end(mine);
    assert_counts(w, FERRY_MAIL_COUNT_REFUSED, 200);
    assert_counts(w, FERRY_MAIL_COUNT_SESSIONS, 0);
    mine = client_connect(w);
    client_expect(mine, "220");
    close(mine);
    world_free(w);
}

static void one_client_has_so_many(void **state)
{
    struct world *w = world_new();
    int fd, more;

    (void)state;
    w->service.clients_per_ip = 1;
    world_start(w);
    fd = client_connect(w);
    client_expect(fd, "220");
    more = client_connect(w);
    client_expect(more, "421 4.7.0");
    client_end(more);
    client_ask(fd, "QUIT", "221");
    client_end(fd);
    assert_counts(w, FERRY_MAIL_COUNT_SESSIONS, 0);
    fd = client_connect(w);
    client_expect(fd, "220");
    close(fd);
    world_free(w);
}

static void rates_and_lists(void **state)
{
    static const char *const here[] = {"127.0.0.0/8"};
    struct world *w = world_new();
    int fd;

    (void)state;
    w->service.deny = (struct ferry_mail_networks){here, 1};
    world_start(w);
    fd = client_connect(w);
    client_expect(fd, "554 5.7.1");
    close(fd);
    world_free(w);

    w = world_new();
    w->service.mails_per_minute = 1;
    w->service.rcpts_per_minute = 2;
    world_start(w);
    fd = client_connect(w);
    client_expect(fd, "220");
    client_ask(fd, "EHLO x", "250-");
    client_ask(fd, "MAIL FROM:<a@b.example>", "250");
    client_ask(fd, "RCPT TO:<1@example.com>", "250");
    client_ask(fd, "RCPT TO:<2@example.com>", "250");
    client_ask(fd, "RCPT TO:<3@example.com>", "450 4.7.1");
    client_ask(fd, "RSET", "250");
    client_ask(fd, "MAIL FROM:<a@b.example>", "450 4.7.1");
    close(fd);
    assert_says(w, "result=deferred reply=450 reason=too-much-mail");
    world_free(w);

    w = world_new(); /* those we trust have none */
    w->service.clients_per_ip = 1;
    w->service.mails_per_minute = 1;
    w->service.trusted = (struct ferry_mail_networks){here, 1};
    world_start(w);
    fd = client_connect(w);
    client_expect(fd, "220");
    close(client_mail(w, "250"));
    close(client_mail(w, "250"));
    close(fd);
    world_free(w);
}

/* D32 */
static void the_spool_is_full(void **state)
{
    struct world *w = world_new();
    int fd, other;

    (void)state;
    w->service.spool_max = 100;
    world_start(w);
    fd = client_connect(w);
    client_expect(fd, "220");
    client_ask(fd, "EHLO x", "250-");
    client_ask(fd, "MAIL FROM:<a@b.example> SIZE=101", "452 4.3.1");
    client_ask(fd, "MAIL FROM:<a@b.example> SIZE=100", "250");
    client_ask(fd, "RCPT TO:<one@example.com>", "250");
    client_ask(fd, "DATA", "354");
    client_send(fd, "Subject: 123456789012345678901234567890123456789012345678901234567890\r\n"
                    "X: 123456789012345678901234567890123456789012345678901234567890\r\n");
    client_ask(fd, "\r\n.", "452 4.3.1"); /* it said less than it has */
    other = client_mail(w, "250");        /* and what it had taken is free again */
    close(other);
    client_ask(fd, "NOOP", "250");
    close(fd);
    assert_adds_up(w);
    world_free(w);
}

/* -- recipients -------------------------------------------------------------------------------- */

/* R10 */
static void foreign_recipients_are_not_asked_about(void **state)
{
    struct world *w = world_new();
    int fd;

    (void)state;
    world_start(w);
    fd = client_connect(w);
    client_expect(fd, "220");
    client_ask(fd, "EHLO x", "250-");
    client_ask(fd, "MAIL FROM:<a@b.example>", "250");
    client_ask(fd, "RCPT TO:<a@example.org>", "550 5.7.1 Relay access denied");
    client_ask(fd, "RCPT TO:<a%b@example.org>", "550 5.7.1");
    client_ask(fd, "DATA", "554 5.5.1");
    client_ask(fd, "RCPT TO:<a@EXAMPLE.com>", "250");
    client_ask(fd, "RCPT TO:<postmaster>", "250");
    assert_int_equal(atomic_load(&w->validate.requests), 2);
    client_ask(fd, "RSET", "250");
    assert_says(w, "refused=2 refused_to=a%b@example.org refused_code=550 result=no-message");
    close(fd);
    assert_counts(w, FERRY_MAIL_COUNT_RCPTS, 4);
    assert_counts(w, FERRY_MAIL_COUNT_RCPTS_OK, 2);
    assert_counts(w, FERRY_MAIL_COUNT_ACCEPTED, 0);
    world_free(w);
}

static void no_script_that_checks(void **state)
{
    struct world *w = world_new();
    int fd;

    (void)state;
    w->service.validate.path = NULL;
    world_start(w);
    fd = client_mail(w, "250 2.0.0");
    client_ask(fd, "MAIL FROM:<a@b.example>", "250");
    client_ask(fd, "RCPT TO:<a@example.org>", "550 5.7.1");
    close(fd);
    world_free(w);
}

/* -- LMTP -------------------------------------------------------------------------------------- */

static int lmtp_to_data(struct world *w)
{
    int fd = client_to_data(w);

    client_ask(fd, "x\r\n.", ""); /* one answer for the one recipient there is */
    client_ask(fd, "MAIL FROM:<a@b.example>", "250");
    client_ask(fd, "RCPT TO:<one@example.com>", "250");
    client_ask(fd, "RCPT TO:<two@example.com>", "250");
    client_ask(fd, "RCPT TO:<two@example.com>", "250");
    client_ask(fd, "DATA", "354");
    return fd;
}

static void lmtp_has_an_answer_for_each(void **state)
{
    struct world *w = world_new();
    int fd;

    (void)state;
    w->service.protocol = FERRY_MAIL_LMTP;
    world_start(w);
    fd = lmtp_to_data(w);
    client_ask(fd, MESSAGE ".", "250 2.0.0 <one@example.com> ");
    client_expect(fd, "250 2.0.0 <two@example.com> ");
    client_expect(fd, "250 2.0.0 <two@example.com> ");
    client_ask(fd, "NOOP", "250");
    assert_int_equal(atomic_load(&w->save.requests), 2);
    atomic_store(&w->save.script, ANSWER("rcpt 0 SAVED\nrcpt 1 REJECT 550 5.2.1 no\nrcpt 2 DEFER"));
    client_ask(fd, "MAIL FROM:<a@b.example>", "250");
    client_ask(fd, "RCPT TO:<one@example.com>", "250");
    client_ask(fd, "RCPT TO:<two@example.com>", "250");
    client_ask(fd, "RCPT TO:<three@example.com>", "250");
    client_ask(fd, "DATA", "354");
    client_ask(fd, MESSAGE ".", "250 2.0.0 <one@example.com> ");
    client_expect(fd, "550 5.2.1 <two@example.com> no");
    client_expect(fd, "451 4.7.1 <three@example.com> ");
    client_ask(fd, "QUIT", "221");
    client_end(fd);
    assert_says(w, "results=\"ok,rejected,deferred\"");
    assert_counts(w, FERRY_MAIL_COUNT_SAVED, 3);
    assert_adds_up(w);
    world_free(w);
}

/* A client of SMTP is told one thing for all; who was refused stands in the log. */
static void smtp_logs_what_each_got(void **state)
{
    struct world *w = world_new();
    int fd;

    (void)state;
    world_start(w);
    atomic_store(&w->save.script, ANSWER("rcpt 0 SAVED\nrcpt 1 REJECT 550 5.2.1 no"));
    fd = client_connect(w);
    client_expect(fd, "220");
    client_ask(fd, "HELO client.example", "250");
    client_ask(fd, "MAIL FROM:<a@b.example>", "250");
    client_ask(fd, "RCPT TO:<one@example.com>", "250");
    client_ask(fd, "RCPT TO:<two@example.com>", "250");
    client_ask(fd, "DATA", "354");
    client_ask(fd, MESSAGE ".", "250 2.0.0 ");
    client_ask(fd, "QUIT", "221");
    client_end(fd);
    assert_says(w, "results=\"ok,rejected\"");
    world_free(w);
}

static void lmtp_asks_for_each(void **state)
{
    struct world *w = world_new();
    int fd;

    (void)state;
    w->service.protocol = FERRY_MAIL_LMTP;
    w->service.per_recipient = true;
    world_start(w);
    fd = lmtp_to_data(w);
    client_ask(fd, MESSAGE ".", "250 2.0.0 <one@example.com> ");
    client_expect(fd, "250 2.0.0 <two@example.com> ");
    client_expect(fd, "250 2.0.0 <two@example.com> ");
    assert_int_equal(atomic_load(&w->save.requests), 4);
    close(fd);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_is_saved),
        cmocka_unit_test(draining_lets_saves_finish),
        cmocka_unit_test(retiring_takes_a_first_message),
        cmocka_unit_test(cutting_waits_for_nobody),
        cmocka_unit_test(too_many_clients),
        cmocka_unit_test(idle_clients_make_room),
        cmocka_unit_test(a_flood_of_clients),
        cmocka_unit_test(one_client_has_so_many),
        cmocka_unit_test(rates_and_lists),
        cmocka_unit_test(the_spool_is_full),
        cmocka_unit_test(foreign_recipients_are_not_asked_about),
        cmocka_unit_test(no_script_that_checks),
        cmocka_unit_test(lmtp_has_an_answer_for_each),
        cmocka_unit_test(smtp_logs_what_each_got),
        cmocka_unit_test(lmtp_asks_for_each),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
