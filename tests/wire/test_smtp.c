/* SPDX-License-Identifier: MIT */
#include "smtp_talk.h"

static const struct ferry_smtp_opts no_sync = {.no_sync = true};

/* One question at a time: what lies behind a command stays where it is until that is answered. */
static void input_waits_for_answers(void **state)
{
    static const char text[] = "EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<x@y>\r\n";
    struct peer *c = peer_open(&no_sync, NULL);
    struct ferry_smtp_event ev;
    size_t at = 0;

    (void)state;
    at += (size_t)ferry_smtp_recv(c->m, text, sizeof text - 1, c->now);
    assert_int_equal(at, 8); /* an event waits */
    assert_int_equal(ferry_smtp_recv(c->m, text + at, sizeof text - 1 - at, c->now), 0);
    assert_int_equal(ferry_smtp_event(c->m, &ev), 1);
    assert_int_equal(ev.type, FERRY_SMTP_EV_HELO);
    assert_slice_equal(ev.name, "a");
    at += (size_t)ferry_smtp_recv(c->m, text + at, sizeof text - 1 - at, c->now);
    assert_int_equal(ferry_smtp_event(c->m, &ev), 1);
    assert_int_equal(ev.type, FERRY_SMTP_EV_MAIL);
    assert_int_equal(ferry_smtp_event(c->m, &ev), 0);
    assert_int_equal(ferry_smtp_recv(c->m, text + at, sizeof text - 1 - at, c->now), 0);
    answer(c, FERRY_SMTP_MAIL_OK, "");
    at += (size_t)ferry_smtp_recv(c->m, text + at, sizeof text - 1 - at, c->now);
    assert_int_equal(at, sizeof text - 1);
    peer_close(c);
}

/* P09, D31: a reply is there as soon as what it answers is. */
static void replies_do_not_wait(void **state)
{
    static const char *const lines[] = {"EHLO a\r\n",
                                        "MAIL FROM:<a@b>\r\n",
                                        "RCPT TO:<x@y>\r\n",
                                        "DATA\r\n",
                                        ".\r\n",
                                        "NOOP\r\n",
                                        "FOO\r\n",
                                        "QUIT\r\n"};
    struct peer *c = peer_open(NULL, NULL);

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        size_t n = strlen(lines[i]);

        forget_out(c);
        client_sends_n(c, lines[i], n - 1);
        assert_out(c, "");
        client_sends_n(c, lines[i] + n - 1, 1);
        assert_int_not_equal(c->out_len, 0);
    }
    peer_close(c);
}

/* The owner may be slow to greet; then nothing is read. */
static void nothing_is_read_before_the_greeting(void **state)
{
    struct peer *c = peer_new(NULL, NULL);

    (void)state;
    c->deaf = true;
    works(c);
    assert_log(c, "ready\n");
    assert_int_equal(client_sends(c, "EHLO a\r\n"), 0);
    assert_int_equal(ferry_smtp_deadline(c->m), FERRY_NEVER);
    ferry_smtp_greet(c->m, &c->client, c->now);
    assert_int_equal(client_sends(c, "EHLO a\r\n"), 8);
    assert_true(begins(c->out, c->out_len, "220 mx.example ESMTP ferry\r\n250-mx.example\r\n"));
    peer_close(c);
}

/* P10 */
static void a_client_that_pipelines_and_never_reads_is_held_back(void **state)
{
    static const struct ferry_smtp_opts opts = {.rcpts_max = 100000, .no_sync = true};
    struct peer *c = peer_open(&opts, NULL);
    unsigned n = 0;
    char line[40];

    (void)state;
    client_sends(c, "EHLO a\r\nMAIL FROM:<a@b>\r\n");
    c->unread = c->quiet = true;
    do
        snprintf(line, sizeof line, "RCPT TO:<%u@y>\r\n", n++);
    while (client_sends(c, line) && n < 100000);
    assert_in_range(n, 4000, 5000);
    assert_in_range(ferry_smtp_output(c->m)->len, 65536, 65536 + 100);
    client_reads(c);
    assert_int_equal(client_sends(c, line), strlen(line));
    peer_close(c);
}

static void what_comes_behind_the_end_is_dropped(void **state)
{
    struct peer *c = peer_open(&no_sync, NULL);

    (void)state;
    forget_out(c);
    client_sends(c, "QUIT\r\nMAIL FROM:<a@b>\r\n");
    client_sends(c, "anything");
    assert_out(c, "221 2.0.0 Bye\r\n");
    assert_log(c, "quit\n");
    assert_true(ferry_smtp_machine.wants_shutdown(c->m));
    client_ends(c);
    assert_true(ferry_smtp_finished(c->m));
    assert_log(c, "quit\n");
    peer_close(c);
}

static void quit_in_a_transaction_ends_it(void **state)
{
    struct peer *c = peer_open(&no_sync, NULL);

    (void)state;
    client_sends(c, "EHLO a\r\nMAIL FROM:<a@b>\r\n");
    forget_out(c);
    client_sends(c, "QUIT\r\n");
    assert_log(c, "reset\nquit\n");
    peer_close(c);
}

/* A whole session of several messages, and nothing of one in the next. */
static void a_session_holds_nothing_of_what_was(void **state)
{
    struct peer *c = peer_open(&no_sync, NULL);
    char line[80];

    (void)state;
    c->quiet = true;
    client_sends(c, "EHLO a\r\n");
    for (int i = 0; i < 100; i++) {
        snprintf(line, sizeof line, "MAIL FROM:<f%d@b>\r\nRCPT TO:<t%d@y>\r\n", i, i);
        client_sends(c, line);
        if (i % 3 == 0)
            client_sends(c, "BDAT 3 LAST\r\nx\r\n");
        else
            client_sends(c, i % 3 == 1 ? "DATA\r\nx\r\n.\r\n" : "DATA\r\nno\r\n.\r\n");
        assert_int_equal(c->messages, i + 1);
        assert_false(ferry_smtp_envelope(c->m)->begun);
        snprintf(line, sizeof line, "f%d@b>t%d@y:%s|\n", i, i, i % 3 == 2 ? "no" : "x");
        assert_string_equal(c->mail + c->mail_len - strlen(line), line);
    }
    client_sends(c, "NOOP\r\n");
    assert_null(c->m->tx);
    peer_close(c);
}

/* What a client may send that is nobody's language (L16). */
static void noise_ends_a_session_or_is_refused(void **state)
{
    static char noise[4096];

    (void)state;
    for (uint32_t seed = 0; seed < 300; seed++) {
        struct peer *c = peer_open(&no_sync, NULL);
        uint32_t x = seed;

        c->quiet = true;
        for (int round = 0; round < 16 && !is_over(c); round++) {
            for (size_t i = 0; i < sizeof noise; i++) {
                x = x * 1664525 + 1013904223;
                noise[i] = (char)(x >> 24);
            }
            client_sends_n(c, noise, sizeof noise);
        }
        for (const char *at = strstr(c->out, "\r\n") + 2, *end; *at; at = end + 2) {
            end = strstr(at, "\r\n");
            assert_true(*at == '4' || *at == '5');
        }
        assert_mail(c, "");
        peer_close(c);
    }
}

/* Any of the allocations of a session that has everything in it. */
static void scenario(void *arg)
{
    static const struct ferry_smtp_opts opts = {.starttls = true,
                                                .auth = true,
                                                .auth_insecure = true,
                                                .errors_soft = 1,
                                                .proxy = true,
                                                .no_sync = true};
    static const struct ferry_smtp_client client = {.xclient = true, .xforward = true};
    static const char *const says[] = {"PROXY TCP4 192.0.2.1 ",
                                       "192.0.2.2 1 2\r\n",
                                       "EH",
                                       "LO a\r\n",
                                       "AUTH PLAIN AHVzZXIAcGFzcw==\r\n",
                                       "XCLIENT ADDR=192.0.2.9\r\n",
                                       "EHLO a\r\n",
                                       "STARTTLS\r\n",
                                       "EHLO a\r\n",
                                       "AUTH LOGIN\r\n",
                                       "dXNl",
                                       "cg==\r\n",
                                       "cGFzcw==\r\n",
                                       "FOO\r\n",
                                       "FOO\r\n",
                                       "XFORWARD ADDR=192.0.2.9\r\n",
                                       "MAIL FROM:<a@b> SIZE=3\r\n",
                                       "RCPT TO:<x@y> ORCPT=rfc822;x@y\r\n",
                                       "RCPT TO:<no@y>\r\n",
                                       "RCPT TO:<x@y>\r\n",
                                       "DATA\r\n",
                                       "x\r\n.",
                                       "\r\n",
                                       "MAIL FROM:<full@b>\r\n",
                                       "RCPT TO:<x@y>\r\n",
                                       "BDAT 3\r\n",
                                       "x\r\n",
                                       "RSET\r\n",
                                       "MAIL FROM:<a@b>\r\n",
                                       "RCPT TO:<x@y>\r\n",
                                       "BDAT 3\r\n",
                                       "x\r\n",
                                       "BDAT 0 LAST\r\n",
                                       "QUIT\r\n"};
    struct peer *c = peer_new(&opts, &client);

    (void)arg;
    if (c->m) {
        works(c);
        for (size_t i = 0; i < sizeof says / sizeof says[0]; i++)
            client_sends(c, says[i]);
        assert_true(is_over(c) || c->m->out.err < 0);
        if (!alloc_failed())
            assert_mail(c, "a@b>x@y:x|\na@b>x@y:x|\n");
        client_ends(c);
        assert_true(ferry_smtp_finished(c->m));
    }
    peer_close(c);
}

static void memory_may_lack_anywhere(void **state)
{
    (void)state;
    each_alloc_fails(scenario, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(input_waits_for_answers),
        cmocka_unit_test(replies_do_not_wait),
        cmocka_unit_test(nothing_is_read_before_the_greeting),
        cmocka_unit_test(a_client_that_pipelines_and_never_reads_is_held_back),
        cmocka_unit_test(what_comes_behind_the_end_is_dropped),
        cmocka_unit_test(quit_in_a_transaction_ends_it),
        cmocka_unit_test(a_session_holds_nothing_of_what_was),
        cmocka_unit_test(noise_ends_a_session_or_is_refused),
        cmocka_unit_test(memory_may_lack_anywhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
