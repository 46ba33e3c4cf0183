/* SPDX-License-Identifier: MIT */
#include "smtp_talk.h"

static const struct ferry_smtp_opts no_sync = {.no_sync = true};

#define TIMEOUT "421 4.4.2 Timeout exceeded\r\n"

/* Nothing happens up to `ms` after the beginning, and then `out` and `log`. */
static void only_at(struct peer *c, uint64_t ms, const char *out, const char *log)
{
    forget_out(c);
    assert_int_equal(ferry_smtp_deadline(c->m), 1000 + ms);
    passes(c, ms - 1);
    assert_out(c, "");
    assert_log(c, "");
    passes(c, ms);
    assert_out(c, out);
    assert_log(c, log);
}

static void an_idle_client_is_sent_away(void **state)
{
    struct peer *c = peer_open(&no_sync, NULL);

    (void)state;
    only_at(c, 300000, TIMEOUT, "gone 421\n");
    assert_true(ferry_smtp_machine.wants_shutdown(c->m));
    /* What it still says is read and dropped for a while. */
    assert_int_equal(client_sends(c, "NOOP\r\n"), 6);
    only_at(c, 302000, "", "");
    assert_true(ferry_smtp_finished(c->m));
    peer_close(c);
    /* Each command begins the wait anew; in a transaction it is over too. */
    c = peer_open(&no_sync, NULL);
    passes(c, 1000);
    client_sends(c, "EHLO a\r\n");
    passes(c, 2000);
    client_sends(c, "MAIL FROM:<a@b>\r\n");
    only_at(c, 302000, TIMEOUT, "reset 421\ngone 421\n");
    peer_close(c);
}

static void a_command_must_come_to_its_end(void **state)
{
    struct peer *c = peer_open(&no_sync, NULL);

    (void)state;
    passes(c, 1000);
    client_sends(c, "NO");
    passes(c, 50000);
    client_sends(c, "OP"); /* which earns no time */
    only_at(c, 61000, TIMEOUT, "gone 421\n");
    peer_close(c);
    { /* nor does a long one */
        static char line[3000];

        memset(line, 'x', sizeof line);
        c = peer_open(&no_sync, NULL);
        client_sends_n(c, line, sizeof line);
        passes(c, 50000);
        client_sends_n(c, line, sizeof line);
        only_at(c, 60000, TIMEOUT, "gone 421\n");
        peer_close(c);
    }
}

static void responses_to_challenges_are_waited_for(void **state)
{
    static const struct ferry_smtp_opts opts = {.auth = true, .auth_insecure = true};
    struct peer *c = peer_open(&opts, NULL);

    (void)state;
    client_sends(c, "EHLO a\r\n");
    client_sends(c, "AUTH LOGIN\r\n");
    only_at(c, 300000, TIMEOUT, "gone 421\n");
    assert_null(c->m->sasl);
    peer_close(c);
}

static void a_session_ends_some_day(void **state)
{
    struct peer *c = peer_open(&no_sync, NULL);

    (void)state;
    for (uint64_t ms = 200000; ms < 7200000; ms += 200000) {
        passes(c, ms);
        client_sends(c, "RSET\r\n");
        c->m->junk = 0;
    }
    only_at(c, 7200000, "421 4.3.2 Session open too long\r\n", "gone 421\n");
    peer_close(c);
}

static void nobody_waits_for_us(void **state)
{
    static const char *const lines[] = {"MAIL FROM:<a@b>\r\n", "RCPT TO:<x@y>\r\n", "DATA\r\n"};
    struct peer *c = peer_open(&no_sync, NULL);

    (void)state;
    client_sends(c, "EHLO a\r\n");
    c->deaf = true;
    for (int i = 0; i < 3; i++) {
        client_sends(c, lines[i]);
        assert_int_equal(ferry_smtp_deadline(c->m), FERRY_NEVER);
        passes(c, (uint64_t)(i + 1) * 1000000);
        answer(c, i == 2 ? FERRY_SMTP_SEND_DATA : FERRY_SMTP_OK, "");
        works(c);
    }
    /* And the time for the message begins with the answer. */
    assert_int_equal(ferry_smtp_deadline(c->m), 1000 + 3000000 + 30000);
    client_sends(c, "x\r\n.\r\n");
    assert_int_equal(ferry_smtp_deadline(c->m), FERRY_NEVER);
    passes(c, 7500000);
    answer(c, FERRY_SMTP_SAVED, "A");
    works(c);
    assert_true(ferry_smtp_deadline(c->m) <= c->now);
    forget_out(c);
    passes(c, 7500000);
    assert_out(c, "421 4.3.2 Session open too long\r\n");
    peer_close(c);
}

#define TALK_BEGIN "EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<x@y>\r\nDATA\r\n"

static char lines[1 << 16];

static struct peer *with_message(const struct ferry_smtp_opts *opts)
{
    struct peer *c = peer_open(opts, NULL);

    for (size_t i = 0; i < sizeof lines; i++)
        lines[i] = "0123456789\r\n"[i % 12];
    client_sends(c, TALK_BEGIN);
    return c;
}

/* D28 */
static void a_message_must_go_on(void **state)
{
    static const struct ferry_smtp_opts opts = {
        .data_rate_min = 1, .data_idle_ms = 20000, .no_sync = true};
    struct peer *c = with_message(&opts);

    (void)state;
    passes(c, 10000);
    client_sends(c, "x");
    only_at(c, 30000, TIMEOUT, "reset 421\ngone 421\n");
    assert_mail(c, "");
    peer_close(c);
}

/* D29 */
static void a_message_must_be_quick_enough(void **state)
{
    struct peer *c = with_message(&no_sync);
    uint64_t ms = 0;

    (void)state;
    while (!is_over(c) && ms < 100000) {
        client_sends_n(c, lines + ms / 1000, 1);
        passes(c, ms += 1000);
    }
    assert_int_equal(ms, 31000);
    assert_mail(c, "");
    peer_close(c);
    /* Slow, but legal: 1 KB a second. */
    c = with_message(&no_sync);
    for (ms = 0; ms < 1000000; ms += 1000) {
        client_sends_n(c, lines + ms % 12000, 996);
        passes(c, ms);
    }
    assert_false(is_over(c));
    peer_close(c);
}

static void a_message_has_its_time(void **state)
{
    static const struct ferry_smtp_opts opts = {.data_ms = 100000, .no_sync = true};
    struct peer *c = with_message(&opts);

    (void)state;
    client_sends_n(c, lines, sizeof lines);
    passes(c, 90000);
    client_sends_n(c, lines, sizeof lines);
    only_at(c, 100000, TIMEOUT, "reset 421\ngone 421\n");
    peer_close(c);
}

static void a_pause_is_not_counted(void **state)
{
    struct peer *c = with_message(&no_sync);

    (void)state;
    passes(c, 20000);
    ferry_smtp_pause(c->m, true, c->now);
    assert_int_equal(ferry_smtp_deadline(c->m), FERRY_NEVER);
    passes(c, 900000);
    ferry_smtp_pause(c->m, false, c->now);
    only_at(c, 910000, TIMEOUT, "reset 421\ngone 421\n");
    peer_close(c);
}

static void chunks_have_their_time(void **state)
{
    struct peer *c = peer_open(&no_sync, NULL);

    (void)state;
    client_sends(c, "EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<x@y>\r\nBDAT 300\r\n");
    passes(c, 20000);
    client_sends_n(c, lines, 300);
    passes(c, 200000); /* between chunks it is idle */
    client_sends(c, "BDAT 300 LAST\r\n");
    only_at(c, 230000, TIMEOUT, "reset 421\ngone 421\n");
    peer_close(c);
    { /* however many there are, all of them are one message */
        static const struct ferry_smtp_opts brief = {.no_sync = true, .data_ms = 100000};

        c = peer_open(&brief, NULL);
        client_sends(c, "EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<x@y>\r\n");
        for (unsigned s = 0; s < 80; s += 20) {
            passes(c, s * 1000);
            client_sends(c, "BDAT 300\r\n");
            client_sends_n(c, lines, 300);
        }
        passes(c, 90000);
        client_sends(c, "BDAT 300 LAST\r\n");
        only_at(c, 100000, TIMEOUT, "reset 421\ngone 421\n");
        peer_close(c);
    }
    /* One that is thrown away gets one reply, which is not its own any more. */
    c = peer_open(&no_sync, NULL);
    client_sends(c, "EHLO me\r\nMAIL FROM:<full@b>\r\nRCPT TO:<x@y>\r\nBDAT 300\r\nx");
    only_at(c, 30002, TIMEOUT, "gone 421\n");
    peer_close(c);
}

/* G20, P04 */
static void a_greeting_may_be_delayed(void **state)
{
    static const struct ferry_smtp_opts opts = {.greet_delay_ms = 5000};
    static const struct ferry_smtp_client trusted = {.trusted = true};
    struct peer *c = peer_open(&opts, NULL);

    (void)state;
    only_at(c, 5000, "220 mx.example ESMTP ferry\r\n", "");
    client_sends(c, "EHLO a\r\n");
    assert_log(c, "EHLO a\n");
    peer_close(c);
    c = peer_open(&opts, NULL);
    assert_out(c, "");
    client_sends(c, "E");
    assert_out(c, "554 5.5.1 Protocol error: client spoke too early\r\n");
    assert_log(c, "ready\ngone 554\n");
    peer_close(c);
    c = peer_open(&opts, &trusted);
    assert_out(c, "220 mx.example ESMTP ferry\r\n");
    peer_close(c);
    c = peer_open(&opts, NULL);
    ferry_smtp_drain(c->m, FERRY_SMTP_SHUTTING_DOWN, c->now);
    works(c);
    assert_out(c, "421 4.3.2 Service shutting down\r\n");
    peer_close(c);
}

/* Y07 */
static void a_proxy_header_is_waited_for_not_long(void **state)
{
    static const struct ferry_smtp_opts opts = {.proxy = true};
    struct peer *c = peer_open(&opts, NULL);

    (void)state;
    client_sends(c, "PROXY ");
    only_at(c, 5000, "", "gone\n");
    assert_true(ferry_smtp_finished(c->m));
    peer_close(c);
}

static void a_client_that_does_not_read_is_given_up(void **state)
{
    struct peer *c = peer_open(&no_sync, NULL);

    (void)state;
    c->unread = true;
    client_sends(c, "EHLO a\r\nMAIL FROM:<a@b>\r\n");
    forget_out(c);
    assert_int_equal(ferry_smtp_deadline(c->m), 61000);
    passes(c, 30000);
    ferry_smtp_sent(c->m, 1, c->now); /* one byte is a sign of life */
    passes(c, 89999);
    assert_log(c, "");
    passes(c, 90000);
    assert_log(c, "reset\ngone\n");
    assert_true(ferry_smtp_finished(c->m));
    assert_int_equal(ferry_smtp_output(c->m)->len, 0);
    assert_int_equal(ferry_smtp_deadline(c->m), FERRY_NEVER);
    peer_close(c);
}

/* It reads, but a byte now and then, and has much to read. */
static void a_client_that_hardly_reads_is_given_up_too(void **state)
{
    struct peer *c = peer_open(&no_sync, NULL);
    uint64_t ms = 0;

    (void)state;
    c->unread = true;
    for (int i = 0; i < 50; i++)
        client_sends(c, "EHLO a\r\n");
    assert_true(ferry_smtp_output(c->m)->len > 2 * 7200000 / 50000);
    for (; !is_over(c) && ms < 7300000; ms += 50000) {
        ferry_smtp_sent(c->m, 1, c->now);
        passes(c, ms);
    }
    assert_true(ms > 7200000 && ms <= 7300000);
    for (ms = 0; !ferry_smtp_finished(c->m) && ms < 200000; ms += 50000) {
        ferry_smtp_sent(c->m, 1, c->now);
        passes(c, c->now - 1000 + 50000);
    }
    assert_true(ferry_smtp_finished(c->m));
    assert_int_equal(ferry_smtp_output(c->m)->len, 0);
    peer_close(c);
}

static void lingering_begins_when_the_last_reply_has_left(void **state)
{
    struct peer *c = peer_open(&no_sync, NULL);

    (void)state;
    c->unread = true;
    client_sends(c, "QUIT\r\n");
    assert_int_equal(ferry_smtp_deadline(c->m), 61000);
    c->now = 10000;
    client_reads(c);
    assert_int_equal(ferry_smtp_deadline(c->m), 12000);
    client_ends(c);
    assert_true(ferry_smtp_finished(c->m));
    peer_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_client_is_sent_away),
        cmocka_unit_test(a_command_must_come_to_its_end),
        cmocka_unit_test(responses_to_challenges_are_waited_for),
        cmocka_unit_test(a_session_ends_some_day),
        cmocka_unit_test(nobody_waits_for_us),
        cmocka_unit_test(a_message_must_go_on),
        cmocka_unit_test(a_message_must_be_quick_enough),
        cmocka_unit_test(a_message_has_its_time),
        cmocka_unit_test(a_pause_is_not_counted),
        cmocka_unit_test(chunks_have_their_time),
        cmocka_unit_test(a_greeting_may_be_delayed),
        cmocka_unit_test(a_proxy_header_is_waited_for_not_long),
        cmocka_unit_test(a_client_that_does_not_read_is_given_up),
        cmocka_unit_test(a_client_that_hardly_reads_is_given_up_too),
        cmocka_unit_test(lingering_begins_when_the_last_reply_has_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
