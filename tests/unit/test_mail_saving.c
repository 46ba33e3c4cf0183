/* SPDX-License-Identifier: MIT */
/* What the mail gateway answers to a message: that 250 means saved, whatever the script or the
 * client does meanwhile. The numbers are those of the conformance list. */
#include "mail_world.h"

/* -- what scripts do (R23, S07) ---------------------------------------------------------------- */

/* Says what there is to say and goes. */
static void says_and_goes(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    if (fake_take(app, fd, &rq))
        fake_say(app, fd, atomic_load(&app->script));
}

static void goes_at_once(struct fake_app *app, int fd, unsigned nth)
{
    (void)app, (void)fd, (void)nth;
}

static void is_no_fastcgi(struct fake_app *app, int fd, unsigned nth)
{
    static const char garbage[] = "HTTP/1.1 200 OK\r\n\r\nPASS SAVED\r\n";
    struct fake_request rq;

    (void)nth;
    if (fake_take(app, fd, &rq))
        fake_write(app, fd, garbage, sizeof garbage - 1);
}

static void floods(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    if (!fake_take(app, fd, &rq))
        return;
    fake_say(app, fd, "STDOUT 1 'A: b\r\n\r\nPASS '");
    for (int i = 0; i < 40; i++)
        if (!fake_say(app, fd, "STDOUT 1 #32768"))
            return;
    fake_say(app, fd, "STDOUT 1; END_REQUEST 1 x0000000000000000");
}

#define STATUS(n, text) "STDOUT 1 'Status: " #n "\r\nA: b\r\n\r\n" text "'; STDOUT 1; " OVER

static const struct fault {
    fake_handler *handler;
    const char *script, *expected;
} faults[] = {
    {goes_at_once, "", "451 4.3.0"},
    {is_no_fastcgi, "", "451 4.3.0"},
    {floods, "", "451 4.3.0"},
    {answers, "", "451 4.3.0"}, /* hangs */
    {answers, "STDOUT 1 'A: b\r\n\r\nPASS'; STDOUT 1", "451 4.3.0"},
    {answers, "STDOUT 1 'A: b\r\n\r\nSAVED'; STDOUT 1", "451 4.3.0"},
    {says_and_goes, "STDOUT 1 'A: b\r\n\r\nPASS'; STDOUT 1", "451 4.3.0"},
    {says_and_goes, "STDOUT 1 'A: b\r\n\r\nSAVED'", "451 4.3.0"},
    {answers, "END_REQUEST 1 x0000000002000000", "451 4.3.2"}, /* overloaded */
    {answers, "END_REQUEST 1 x0000000003000000", "451 4.3.5"}, /* no such role */
    {answers, "STDOUT 1 'A: b\r\n\r\nPASS'; STDOUT 1; END_REQUEST 1 x0000000100000000",
     "451 4.3.0"}, /* app status 1 */
    {answers, "STDOUT 1 'A: b\r\n\r\nSAVED'; STDOUT 1; END_REQUEST 1 x0000000100000000",
     "451 4.3.0"},
    {answers, STATUS(500, "PASS"), "451 4.3.0"},
    {answers, STATUS(500, "SAVED"), "451 4.3.0"},
    {answers, STATUS(302, "SAVED"), "451 4.3.0"},
    {answers, STATUS(404, "File not found."), "451 4.3.5"},
    {answers, STATUS(403, "Access denied."), "451 4.3.5"},
    {answers, ANSWER(""), "451 4.3.0"},
    {answers, "STDOUT 1 'PASS'; STDOUT 1; " OVER, "451 4.3.0"}, /* no header */
    {answers, "STDOUT 1 'SAVED'; STDOUT 1; " OVER, "451 4.3.0"},
    {answers, "STDERR 1 'SAVED PASS'; STDERR 1; " OVER, "451 4.3.0"},
};

static void a_faulty_validate_is_no_answer(void **state)
{
    struct world *w = world_new();

    (void)state;
    w->service.validate.timeout_ms = 300;
    world_start(w);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        int fd = client_connect(w);

        w->validate.handler = faults[i].handler;
        atomic_store(&w->validate.script, faults[i].script);
        client_expect(fd, "220");
        client_ask(fd, "EHLO x", "250-");
        client_ask(fd, "MAIL FROM:<>", "250");
        client_ask(fd, "RCPT TO:<a@example.com>", faults[i].expected);
        close(fd);
    }
    assert_counts(w, FERRY_MAIL_COUNT_SCRIPT_FAULTS, sizeof faults / sizeof *faults);
    assert_counts(w, FERRY_MAIL_COUNT_RCPTS_OK, 0);
    assert_int_equal(atomic_load(&w->save.accepted), 0);
    w->validate.handler = answers; /* R24 */
    atomic_store(&w->validate.script, PASS);
    close(client_to_data(w));
    world_free(w);
}

static void a_faulty_save_is_no_250(void **state)
{
    struct world *w = world_new();
    size_t n = sizeof faults / sizeof *faults;

    (void)state;
    w->service.save.timeout_ms = 300;
    world_start(w);
    for (size_t i = 0; i < n; i++) {
        unsigned before = atomic_load(&w->save.requests);
        int fd;

        w->save.handler = faults[i].handler;
        atomic_store(&w->save.script, faults[i].script);
        fd = client_mail(w, faults[i].expected);
        client_ask(fd, "NOOP", "250");
        close(fd);
        /* S08, I08 */
        if (atomic_load(&w->save.requests) > before + 1)
            fail_msg("%u calls: %s", atomic_load(&w->save.requests) - before, faults[i].script);
    }
    assert_counts(w, FERRY_MAIL_COUNT_DEFERRED, n);
    assert_counts(w, FERRY_MAIL_COUNT_SAVED, 0);
    assert_adds_up(w);
    world_free(w);
}

static void what_scripts_say(void **state)
{
    static const struct {
        const char *script, *expected;
        enum ferry_mail_count counted;
    } cases[] = {
        {ANSWER("SAVED\n"), "250 2.0.0", FERRY_MAIL_COUNT_SAVED},
        {ANSWER("SAVED id=42"), "250 2.0.0 Ok: saved as 42\r\n", FERRY_MAIL_COUNT_SAVED},
        {ANSWER("DISCARD"), "250 2.0.0", FERRY_MAIL_COUNT_SAVED},
        {ANSWER("SAVEDX"), "451 4.3.0", FERRY_MAIL_COUNT_DEFERRED},
        {ANSWER("not SAVED"), "451 4.3.0", FERRY_MAIL_COUNT_DEFERRED},
        {ANSWER("PASS"), "451 4.3.0", FERRY_MAIL_COUNT_DEFERRED},
        {ANSWER("DEFER"), "451 4.7.1", FERRY_MAIL_COUNT_DEFERRED},
        {ANSWER("DEFER 452 4.2.2 full"), "452 4.2.2 full\r\n", FERRY_MAIL_COUNT_DEFERRED},
        {ANSWER("REJECT"), "554 5.7.1", FERRY_MAIL_COUNT_REJECTED},
        {ANSWER("REJECT 550 5.7.1 no spam\r\n250 x"), "550 5.7.1 no spam\r\n",
         FERRY_MAIL_COUNT_REJECTED},
        {ANSWER("REJECT 250 2.0.0 yes"), "5", FERRY_MAIL_COUNT_REJECTED},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world *w = world_new();
        int fd;

        atomic_store(&w->save.script, cases[i].script);
        world_start(w);
        fd = client_mail(w, cases[i].expected);
        client_ask(fd, "QUIT", "221");
        client_end(fd);
        assert_counts(w, cases[i].counted, 1);
        assert_adds_up(w);
        world_free(w);
    }
}

static void an_application_that_is_not_there(void **state)
{
    struct world *w = world_new();
    int fd;

    (void)state;
    w->validate.handler = w->save.handler = says_and_goes;
    world_start(w);
    unlink(w->save.path);
    fd = client_mail(w, "451 4.3.0");
    client_ask(fd, "MAIL FROM:<a@b.example>", "250");
    client_ask(fd, "RCPT TO:<one@example.com>", "250");
    client_ask(fd, "DATA", "354");
    client_ask(fd, MESSAGE ".", "451 4.3.0");
    assert_says(w, "event=script-fault");
    unlink(w->validate.path);
    client_ask(fd, "MAIL FROM:<a@b.example>", "250");
    client_ask(fd, "RCPT TO:<two@example.com>", "451 4.3.0");
    close(fd);
    assert_counts(w, FERRY_MAIL_COUNT_SAVED, 0);
    world_free(w);
}

/* -- what clients do --------------------------------------------------------------------------- */

/* I03: all that the client sent, and its end, are there when the gateway looks. */
static void a_client_that_has_left_is_not_saved_for(void **state)
{
    struct world *w = world_new();
    int fd;

    (void)state;
    world_start(w);
    fd = client_to_data(w);
    world_stand_still(w);
    client_send(fd, MESSAGE ".\r\n");
    close(fd);
    world_go_on(w);
    assert_says(w, "result=aborted why=\"the client left before it was saved\"");
    assert_counts(w, FERRY_MAIL_COUNT_ABORTED, 1);
    assert_counts(w, FERRY_MAIL_COUNT_SESSIONS, 0);
    assert_int_equal(atomic_load(&w->save.accepted), 0);

    fd = client_to_data(w); /* what it pipelined is no QUIT */
    world_stand_still(w);
    client_send(fd, MESSAGE ".\r\nNOOP\r\nNOT QUIT\r\n");
    close(fd);
    world_go_on(w);
    assert_counts(w, FERRY_MAIL_COUNT_ABORTED, 2);
    assert_int_equal(atomic_load(&w->save.accepted), 0);
    assert_adds_up(w);
    world_free(w);
}

/* D22 */
static void a_client_that_said_quit_is_there(void **state)
{
    struct world *w = world_new();
    int fd;

    (void)state;
    world_start(w);
    fd = client_to_data(w);
    world_stand_still(w);
    client_send(fd, MESSAGE ".\r\nQUIT\r\n");
    shutdown(fd, SHUT_WR);
    world_go_on(w);
    client_expect(fd, "250 2.0.0");
    client_expect(fd, "221");
    client_end(fd);
    assert_says(w, "result=saved");
    assert_counts(w, FERRY_MAIL_COUNT_SAVED, 1);
    assert_adds_up(w);
    world_free(w);
}

/* The same in two steps, so that the end and the QUIT come apart. */
static void a_half_closed_client_is_answered(void **state)
{
    struct world *w = world_new();
    int fd;

    (void)state;
    world_start(w);
    fd = client_to_data(w);
    client_send(fd, MESSAGE ".\r\nQUIT\r\n");
    shutdown(fd, SHUT_WR);
    client_expect(fd, "250 2.0.0");
    client_expect(fd, "221");
    client_end(fd);
    world_free(w);
}

/* I04 */
static void leave_while_it_is_saved(bool remember, unsigned calls)
{
    struct world *w = world_new();
    int fd;

    w->save.handler = waits;
    w->service.remember_saved = remember;
    world_start(w);
    fd = client_to_data(w);
    client_send(fd, MESSAGE ".\r\n");
    wait_requests(&w->save, 1);
    close(fd);
    atomic_store(&w->save.go, true);
    assert_says(w, "result=saved");
    assert_says(w, "confirmed=no");
    assert_counts(w, FERRY_MAIL_COUNT_UNCONFIRMED, 1);
    assert_counts(w, FERRY_MAIL_COUNT_SESSIONS, 0);

    fd = client_mail(w, "250 2.0.0"); /* it comes again */
    client_ask(fd, "NOOP", "250");
    assert_says(w, "confirmed=yes");
    close(fd);
    assert_int_equal(atomic_load(&w->save.requests), calls);

    fd = client_mail(w, "250 2.0.0"); /* I05: that one was seen, so this is another */
    close(fd);
    assert_int_equal(atomic_load(&w->save.requests), calls + 1);
    assert_adds_up(w);
    world_free(w);
}

static void a_client_that_leaves_changes_nothing(void **state)
{
    (void)state;
    leave_while_it_is_saved(false, 2);
}

static void a_message_that_was_saved_is_known(void **state)
{
    (void)state;
    leave_while_it_is_saved(true, 1);
}

/* Having read what it was told, or not. */
static void a_client_that_closes_in_order_has_seen_it(void **state)
{
    struct world *w = world_new();
    int fd;

    (void)state;
    w->service.remember_saved = true;
    world_start(w);
    for (unsigned i = 1; i <= 3; i++) {
        close(client_mail(w, "250 2.0.0"));
        assert_counts(w, FERRY_MAIL_COUNT_SESSIONS, 0);
        assert_int_equal(atomic_load(&w->save.requests), i);
    }
    assert_counts(w, FERRY_MAIL_COUNT_UNCONFIRMED, 0);
    fd = client_to_data(w);
    client_send(fd, MESSAGE ".\r\n");
    assert_counts(w, FERRY_MAIL_COUNT_SAVED, 4);
    fake_sleep_ms(50);
    close(fd); /* which the kernel knows, and answers with a reset */
    assert_counts(w, FERRY_MAIL_COUNT_UNCONFIRMED, 1);
    fd = client_mail(w, "250 2.0.0");
    assert_int_equal(atomic_load(&w->save.requests), 4);
    close(fd);
    world_free(w);
}

/* A reset, which is told at once. */
static void a_client_that_resets_changes_nothing(void **state)
{
    struct linger now = {.l_onoff = 1};
    struct world *w = world_new();
    int fd;

    (void)state;
    w->save.handler = waits;
    world_start(w);
    fd = client_to_data(w);
    client_send(fd, MESSAGE ".\r\n");
    wait_requests(&w->save, 1);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
    fake_sleep_ms(20);
    atomic_store(&w->save.go, true);
    assert_says(w, "result=saved");
    assert_says(w, "confirmed=no");
    assert_counts(w, FERRY_MAIL_COUNT_SESSIONS, 0);
    assert_int_equal(atomic_load(&w->save.requests), 1);
    assert_adds_up(w);
    world_free(w);
}

/* D21: at each byte of a message. */
static void cut_messages_are_not_saved(void **state)
{
    static const char text[] = MESSAGE ".\r\n";
    struct world *w = world_new();

    (void)state;
    world_start(w);
    for (size_t n = 0; n < sizeof text - 1; n++) {
        char part[sizeof text];
        int fd = client_to_data(w);

        memcpy(part, text, n);
        part[n] = 0;
        client_send(fd, part);
        close(fd);
    }
    assert_counts(w, FERRY_MAIL_COUNT_ABORTED, sizeof text - 1);
    assert_counts(w, FERRY_MAIL_COUNT_SESSIONS, 0);
    assert_int_equal(atomic_load(&w->save.accepted), 0);
    assert_adds_up(w);
    world_free(w);
}

/* S24: nobody is asked before the message is there. */
static void a_script_waits_for_the_last_dot(void **state)
{
    struct world *w = world_new();
    int fd;

    (void)state;
    world_start(w);
    fd = client_to_data(w);
    client_send(fd, MESSAGE ".\r");
    fake_sleep_ms(100);
    assert_int_equal(atomic_load(&w->save.accepted), 0);
    client_send(fd, "\n");
    client_expect(fd, "250 2.0.0");
    close(fd);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_faulty_validate_is_no_answer),
        cmocka_unit_test(a_faulty_save_is_no_250),
        cmocka_unit_test(what_scripts_say),
        cmocka_unit_test(an_application_that_is_not_there),
        cmocka_unit_test(a_client_that_has_left_is_not_saved_for),
        cmocka_unit_test(a_client_that_said_quit_is_there),
        cmocka_unit_test(a_half_closed_client_is_answered),
        cmocka_unit_test(a_client_that_leaves_changes_nothing),
        cmocka_unit_test(a_message_that_was_saved_is_known),
        cmocka_unit_test(a_client_that_closes_in_order_has_seen_it),
        cmocka_unit_test(a_client_that_resets_changes_nothing),
        cmocka_unit_test(cut_messages_are_not_saved),
        cmocka_unit_test(a_script_waits_for_the_last_dot),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
