/* SPDX-License-Identifier: MIT */
#include "smtp_talk.h"

static const struct ferry_smtp_opts no_sync = {.no_sync = true};
static const struct talk plain = {.opts = &no_sync, .pipelines = true};

#define HELLO "C:EHLO me\nS:EHLO\n"
#define FROM "C:MAIL FROM:<a@b>\nS:250...\n"
#define TO "C:RCPT TO:<x@y>\nS:250...\n"
#define BEGIN HELLO FROM TO

/* The client's lines have their CR LF, which belongs to the chunk in front. */
static const struct dialogue dialogues[] = {
    {"C01", BEGIN "C:BDAT 7\nC:hello\nS:250 2.0.0 7 octets received\n"
                  "C:BDAT 7 LAST\nC:world\nS:250 2.0.0 Ok: saved as 1\nM:a@b>x@y:hello|world|\n"},
    {"C02", BEGIN "C:BDAT 0 LAST\nS:250 2.0.0 Ok: saved as 1\nM:a@b>x@y:\n"},
    {"C02 none", BEGIN "C:BDAT 0\nS:250 2.0.0 0 octets received\nC:BDAT 3 last\nC:x\nS:250...\n"
                       "M:a@b>x@y:x|\n"},
    {"C03 no transaction",
     HELLO "C:BDAT 6\nC:QUIT\nS:503 5.5.1 Need MAIL command\nC:NOOP\nS:250...\n"},
    {"C03 no recipient", HELLO FROM "C:BDAT 6 LAST\nC:QUIT\nS:503 5.5.1 Need RCPT command\n" TO
                                    "C:BDAT 3 LAST\nC:x\nS:250...\nM:a@b>x@y:x|\n"},
    {"C03 before EHLO", "C:BDAT 6\nC:QUIT\nS:503...\nC:NOOP\nS:250...\n"},
    {"C04", BEGIN "C:BDAT\nS:501 5.5.4 Bad chunk size\nX:\n"},
    {"C04 word", BEGIN "C:BDAT x\nS:501...\nX:\n"},
    {"C04 negative", BEGIN "C:BDAT -1\nS:501...\nX:\n"},
    {"C04 plus", BEGIN "C:BDAT +1\nS:501...\nX:\n"},
    {"C04 huge", BEGIN "C:BDAT 99999999999999999999\nS:501...\nX:\n"},
    {"C04 no LAST", BEGIN "C:BDAT 3 FOO\nC:x\nS:501 5.5.4...\nC:BDAT 3 LAST\nC:x\nS:250...\n"
                          "M:a@b>x@y:x|\n"},
    {"C04 no LAST, later", BEGIN "C:BDAT 3\nC:x\nS:250...\nC:BDAT 3 LAST FOO\nC:x\nS:501 5.5.4...\n"
                                 "C:BDAT 3 LAST\nC:x\n"
                                 "S:503 5.5.0 Previous data chunk failed, issue RSET first\n"},
    {"C05", BEGIN "C:BDAT 3\nC:x\nS:250...\nC:DATA\nS:503 5.5.1 Not between the chunks...\n"
                  "C:RCPT TO:<q@y>\nS:503 5.5.1 Not between the chunks...\n"
                  "C:MAIL FROM:<>\nS:503 5.5.1 Nested...\nC:NOOP\nS:250...\nC:VRFY a\nS:252...\n"
                  "C:BDAT 0 LAST\nS:250...\nM:a@b>x@y:x|\n"},
    {"C06", BEGIN "C:BDAT 3\nC:x\nS:250...\nC:RSET\nS:250...\nC:BDAT 0 LAST\nS:503...\n" FROM TO
                  "C:BDAT 3 LAST\nC:y\nS:250...\nM:a@b>x@y:y|\n"},
    {"C10", BEGIN "C:BDAT 21 LAST\nC:..a\nC:.\nC:MAIL FROM:<\nS:250...\n"
                  "M:a@b>x@y:..a|.|MAIL FROM:<|\n"},
    {"C13", HELLO FROM "C:RCPT TO:<no@y>\nS:550...\nC:BDAT 6 LAST\nC:QUIT\n"
                       "S:554 5.5.1 No valid recipients\nC:NOOP\nS:250...\n"},
    {"D32", HELLO "C:MAIL FROM:<full@b>\nS:250...\n" TO
                  "C:BDAT 6\nC:QUIT\nS:452 4.3.1 Insufficient system storage\n"
                  "C:BDAT 6 LAST\nC:QUIT\nS:503 5.5.0 Previous data chunk failed...\n" FROM TO
                  "C:BDAT 3 LAST\nC:x\nS:250...\nM:a@b>x@y:x|\n"},
    {"D32 at once", HELLO "C:MAIL FROM:<full@b>\nS:250...\n" TO
                          "C:BDAT 0\nS:452 4.3.1...\nC:BDAT 0 LAST\nS:503 5.5.0...\n"},
    {"D32 last", HELLO "C:MAIL FROM:<full@b>\nS:250...\n" TO
                       "C:BDAT 6 LAST\nC:QUIT\nS:452 4.3.1...\nC:BDAT 0 LAST\n"
                       "S:503 5.5.1 Need MAIL command\n"},
    {"C-DATA for binary", HELLO "C:MAIL FROM:<a@b> BODY=BINARYMIME\nS:250...\n" TO
                                "C:DATA\nS:503 5.5.1 BODY=BINARYMIME requires BDAT\n"
                                "C:BDAT 3 LAST\nC:x\nS:250...\nM:a@b>x@y:x|\n"},
    {"two messages, C09",
     BEGIN "C:BDAT 3 LAST\nC:1\nS:250...\nM:a@b>x@y:1|\n" FROM TO
           "C:BDAT 3 LAST\nC:2\nS:250...\nM:a@b>x@y:2|\nC:QUIT\nS:221...\nX:\n"},
};

static void chunks(void **state)
{
    (void)state;
    talk_each(&plain, dialogues);
}

#define TALK_BEGIN "EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<x@y>\r\n"

static struct peer *with_recipient(const struct ferry_smtp_opts *opts)
{
    struct peer *c = peer_open(opts, NULL);

    client_sends(c, TALK_BEGIN);
    forget_out(c);
    return c;
}

/* D10: nothing in a chunk is an end, and line ends are judged as in DATA. */
static void bare_newlines(void **state)
{
    static const struct {
        enum ferry_smtp_bare policy;
        const char *first, *last, *mail, *out;
    } cases[] = {
#define BARE "550 5.5.2 Bare <LF> or <CR> received\r\n"
#define C3 "250 2.0.0 3 octets received\r\n"
#define DONE C3 "250 2.0.0 Ok: saved as 1\r\n250 2.0.0 Ok\r\n"
        {FERRY_SMTP_BARE_REJECT, "a\nb", ".\r\n", "", BARE},
        {FERRY_SMTP_BARE_REJECT, "abc", "\n.\n", "", C3 BARE},
        {FERRY_SMTP_BARE_REJECT, "ab\r", "\n.\r", "", C3 BARE},
        {FERRY_SMTP_BARE_REJECT, "ab\r", "\n\r\n", "a@b>x@y:ab||\n", DONE},
        {FERRY_SMTP_BARE_NORMALIZE, "\n.\n", "\n.\n", "a@b>x@y:|.||.|\n", DONE},
        {FERRY_SMTP_BARE_NORMALIZE, "\r\n.", "\r\nb", "a@b>x@y:|.|b|\n", DONE},
        {FERRY_SMTP_BARE_NORMALIZE, "ab\r", "\nb\r", "a@b>x@y:ab|b\r|\n", DONE},
        {FERRY_SMTP_BARE_KEEP, "\n.\n", "\n.\n", "a@b>x@y:\n.\n\n.\n\n", DONE},
        {FERRY_SMTP_BARE_KEEP, "\n.\n", "\nb\r", "a@b>x@y:\n.\n\nb\r|\n", DONE},
    };
    char text[128];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (size_t step = 1; step < 64; step += 9) {
            struct ferry_smtp_opts opts = {.bare_newline = cases[i].policy, .no_sync = true};
            struct peer *c = with_recipient(&opts);
            size_t n = (size_t)snprintf(text, sizeof text, "BDAT 3\r\n%sBDAT 3 LAST\r\n%sNOOP\r\n",
                                        cases[i].first, cases[i].last);

            for (size_t at = 0; at < n; at += step)
                client_sends_n(c, guard_copy(0, text + at, n - at < step ? n - at : step),
                               n - at < step ? n - at : step);
            assert_mail(c, cases[i].mail);
            assert_out(c, cases[i].out);
            peer_close(c);
        }
}

/* C14 */
static void a_binary_message_is_what_it_is(void **state)
{
    static const char text[] = "EHLO me\r\nMAIL FROM:<a@b> BODY=BINARYMIME\r\nRCPT TO:<x@y>\r\n"
                               "BDAT 8\r\na\0\n.\n\r.\rBDAT 3 LAST\r\n\n.\n";
    struct peer *c = peer_open(&no_sync, NULL);

    (void)state;
    client_sends_n(c, text, sizeof text - 1);
    assert_mail(c, "a@b>x@y:a~\n.\n\r.|.\n\n");
    peer_close(c);
}

/* C08 */
static void sizes_have_a_limit(void **state)
{
    static const struct ferry_smtp_opts opts = {.size_max = 10, .no_sync = true};
    static const struct talk t = {.opts = &opts, .pipelines = true};
    static const struct dialogue d[] = {
        {"at the limit", BEGIN "C:BDAT 5\nC:abc\nS:250...\nC:BDAT 5 LAST\nC:def\nS:250...\n"
                               "M:a@b>x@y:abc|def|\n"},
        {"one past it", BEGIN "C:BDAT 5\nC:abc\nS:250...\nC:BDAT 6 LAST\nC:QUIT\n"
                              "S:552 5.3.4 Message size exceeds limit of 10\nC:NOOP\nS:250...\n"
                              "C:BDAT 6 LAST\nC:QUIT\nS:503 5.5.1 Need MAIL command\n"},
        {"not the last", BEGIN "C:BDAT 5\nC:abc\nS:250...\nC:BDAT 6\nC:QUIT\n"
                               "S:552 5.3.4 Message size exceeds limit of 10\nC:BDAT 6\nC:QUIT\n"
                               "S:503 5.5.0...\nC:BDAT 6 LAST\nC:QUIT\nS:503 5.5.0...\n"
                               "C:NOOP\nS:250...\nC:RSET\nS:250...\nC:BDAT 0\nS:503 5.5.1...\n"},
        {"far past it", BEGIN "C:BDAT 22\nS:552 5.3.4 Message size exceeds limit of 10\nX:\n"},
        {"far past it, for nobody", HELLO "C:BDAT 22\nS:503 5.5.1 Need MAIL command\nX:\n"},
    };

    (void)state;
    talk_each(&t, d);
    { /* C11: its line end is added and counts */
        struct peer *c = with_recipient(&opts);

        client_sends(c, "BDAT 8 LAST\r\n12345678");
        assert_mail(c, "a@b>x@y:12345678|\n");
        peer_close(c);
        c = with_recipient(&opts);
        client_sends(c, "BDAT 9 LAST\r\n123456789");
        assert_mail(c, "");
        assert_out(c, "552 5.3.4 Message size exceeds limit of 10\r\n");
        peer_close(c);
    }
}

static void other_things_that_are_wrong(void **state)
{
    static const struct ferry_smtp_opts opts = {.header_max = 10, .no_sync = true};
    struct peer *c = with_recipient(&opts);

    (void)state;
    client_sends(c, "BDAT 5\r\nA: 12BDAT 8\r\n34567890BDAT 1 LAST\r\nx");
    assert_out(c, "250 2.0.0 5 octets received\r\n552 5.3.4 Header too large\r\n"
                  "503 5.5.0 Previous data chunk failed, issue RSET first\r\n");
    assert_log(c, "data\nreset 552\n");
    peer_close(c);
    c = with_recipient(&no_sync);
    client_sends_n(c, "BDAT 3 LAST\r\na\0b", 16);
    assert_out(c, "550 5.6.0 NUL byte received\r\n");
    peer_close(c);
}

/* C12 */
static void tiny_chunks_are_junk(void **state)
{
    struct peer *c = with_recipient(&no_sync);
    unsigned n = 0;

    (void)state;
    while (!is_over(c) && n < 10000) {
        client_sends(c, "BDAT 1\r\nx");
        n++;
    }
    assert_int_equal(n, 99 + 20 + 1); /* EHLO was the first */
    assert_non_null(strstr(c->out, "421 4.7.0 Too many errors\r\n"));
    peer_close(c);
}

/* C07 */
static void a_client_that_leaves_leaves_nothing(void **state)
{
    struct peer *c = with_recipient(&no_sync);

    (void)state;
    client_sends(c, "BDAT 5 LAST\r\nabcd");
    client_ends(c);
    assert_mail(c, "");
    assert_out(c, "");
    assert_log(c, "data\nreset\ngone\n");
    peer_close(c);
}

/* C03: what was refused is not understood, however it comes. */
static void required_tls_swallows_chunks_too(void **state)
{
    static const struct ferry_smtp_opts opts = {
        .starttls = true, .tls_required = true, .no_sync = true};
    static const struct talk t = {.opts = &opts, .pipelines = true};
    static const struct dialogue d[] = {
        {"TLS", HELLO "C:BDAT 6\nC:QUIT\nS:530 5.7.0 Must issue a STARTTLS command first\n"
                      "C:NOOP\nS:250...\n"},
    };

    (void)state;
    talk_each(&t, d);
}

static void lmtp_answers_for_each_recipient(void **state)
{
    static const struct ferry_smtp_opts opts = {.lmtp = true, .size_max = 10, .no_sync = true};
    static const struct talk t = {.opts = &opts, .pipelines = true};
#define TWO "C:RCPT TO:<1@y>\nS:250...\nC:RCPT TO:<2@y>\nS:250...\n"
#define LHLO "C:LHLO me\nS:EHLO\n" FROM TWO
#define FULL "C:LHLO me\nS:EHLO\nC:MAIL FROM:<full@b>\nS:250...\n" TWO
    static const struct dialogue d[] = {
        {"C15", LHLO "C:BDAT 3\nC:x\nS:250 2.0.0 3 octets received\nC:BDAT 3 LAST\nC:y\n"
                     "S:250 2.0.0 <1@y> Ok: saved as 1\nS:250 2.0.0 <2@y> Ok: saved as 1\n"
                     "M:a@b>1@y,2@y:x|y|\n"},
        {"K07", LHLO "C:BDAT 11 LAST\nC:123456789\nS:552 5.3.4 <1@y> Message size...\n"
                     "S:552 5.3.4 <2@y> Message size exceeds limit of 10\nC:NOOP\nS:250...\n"},
        {"not the last", LHLO "C:BDAT 11\nC:123456789\nS:552 5.3.4 Message size...\n"
                              "C:BDAT 3 LAST\nC:x\nS:503 5.5.0...\nS:503 5.5.0...\n"
                              "C:BDAT 3 LAST\nC:x\nS:503 5.5.0...\nC:RSET\nS:250...\n"
                              "C:BDAT 3 LAST\nC:x\nS:503 5.5.1 Need MAIL command\n"},
        {"no room",
         FULL "C:BDAT 6 LAST\nC:QUIT\nS:452 4.3.1...\nS:452 4.3.1...\nC:NOOP\nS:250...\n"},
        {"no room, empty",
         FULL "C:BDAT 0 LAST\nS:452 4.3.1...\nS:452 4.3.1...\nC:NOOP\nS:250...\n"},
        {"no room, not the last", FULL "C:BDAT 6\nC:QUIT\nS:452 4.3.1...\n"
                                       "C:BDAT 6 LAST\nC:QUIT\nS:503 5.5.0...\nS:503 5.5.0...\n"
                                       "C:MAIL FROM:<a@b>\nS:250...\n"
                                       "C:BDAT 6 LAST\nC:QUIT\nS:503 5.5.1 Need RCPT command\n"},
    };

    (void)state;
    talk_each(&t, d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks),
        cmocka_unit_test(bare_newlines),
        cmocka_unit_test(a_binary_message_is_what_it_is),
        cmocka_unit_test(sizes_have_a_limit),
        cmocka_unit_test(other_things_that_are_wrong),
        cmocka_unit_test(tiny_chunks_are_junk),
        cmocka_unit_test(a_client_that_leaves_leaves_nothing),
        cmocka_unit_test(required_tls_swallows_chunks_too),
        cmocka_unit_test(lmtp_answers_for_each_recipient),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
