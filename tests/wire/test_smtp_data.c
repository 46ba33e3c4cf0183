/* SPDX-License-Identifier: MIT */
#include "smtp_talk.h"

static const struct ferry_smtp_opts no_sync = {.no_sync = true};
static const struct talk plain = {.opts = &no_sync, .pipelines = true};

#define BEGIN                                                                                      \
    "C:EHLO me\nS:EHLO\nC:MAIL FROM:<a@b>\nS:250...\nC:RCPT "                                      \
    "TO:<x@y>\nS:250...\nC:DATA\nS:354...\n"
#define SAVED "C:.\nS:250 2.0.0 Ok: saved as 1\nM:a@b>x@y:"
#define TALK_BEGIN "EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<x@y>\r\nDATA\r\n"

static const struct dialogue dialogues[] = {
    {"D01", BEGIN "C:Subject: x\nC:\nC:hello\n" SAVED "Subject: x||hello|\n"},
    {"D04 empty", BEGIN SAVED "\n"},
    {"D04 one line end", BEGIN "C:\n" SAVED "|\n"},
    {"D05", BEGIN "C:.x\nC:..x\nC:..\nC:...\nC: .x\nC:x\nC:..\n" SAVED "x|.x|.|..| .x|x|.|\n"},
    {"D05 first", BEGIN "C:.From: a\n" SAVED "From: a|\n"},
    {"D07", BEGIN "C:a\nC:..\nC:b\nC:..\nC:..\n" SAVED "a|.|b|.|.|\n"},
    {"D15 8 bits", BEGIN "C:\x80\xff\xc3\x28\n" SAVED "\x80\xff\xc3\x28|\n"},
    {"D19 refused, then another", BEGIN "C:no\nC:.\nS:554 5.7.1 Message rejected\nM:a@b>x@y:no|\n"
                                        "C:MAIL FROM:<>\nS:250...\n"},
    {"D20 nothing is left", BEGIN SAVED "\nC:DATA\nS:503...\nC:RCPT TO:<a@b>\nS:503...\n"},
    {"D23", BEGIN SAVED "\nC:QUIT\nS:221 2.0.0 Bye\nX:\n"},
    {"D25", BEGIN "C: no header\nC:at all\n" SAVED " no header|at all|\n"},
    {"D26", BEGIN "C:From me Fri\nC:A: b\n" SAVED "From me Fri|A: b|\n"},
    {"421 for a message", BEGIN "C:gone\nC:.\nS:421 4.3.2 Service shutting down\n"
                                "M:a@b>x@y:gone|\nX:\n"},
    {"4xx for a message", BEGIN "C:later\nC:.\nS:451 4.7.1 Try again later\nM:a@b>x@y:later|\n"
                                "C:DATA\nS:503...\n"},
};

static void messages(void **state)
{
    (void)state;
    talk_each(&plain, dialogues);
}

/* -- ends, and what is none -- */

/* What a message may hold that another server could take for its end, with bytes given exactly.
 * Behind each stands a message that must never be. */
#define SMUGGLED "MAIL FROM:<evil@b>\r\nRCPT TO:<evil@y>\r\nDATA\r\nevil\r\n"

static const struct {
    struct ferry_slice bytes;
    const char *kept, *normal; /* of the message, by policy */
} tricks[] = {
#define T(bytes, kept, normal)                                                                     \
    {                                                                                              \
        FERRY_SLICE_INIT(bytes), kept, normal                                                      \
    }
    T("\n.\n", "\n.\n", "|.|"),
    T("\n.\r\n", "\n.|", "|.|"),
    T("\r\n.\n", "|\n", "||"),
    T("\r.\r", "\r.\r", "\r.\r"),
    T("\r.\n", "\r.\n", "\r.|"),
    T("\r.\r\n", "\r.|", "\r.|"),
    T("\n.\r", "\n.\r", "|.\r"),
    T("\r\n.\rx", "|\rx", "|\rx"),
    T("\r\n\0.\r\n", "|~.|", "|~.|"),
    T("\r\n.\0\r\n", "|~|", "|~|"),
    T("\n\r.\r\r\n", "\n\r.\r|", "|\r.\r|"),
    T("\r\n.\r\r\n", "|\r|", "|\r|"),
    T("\r\r\n.\r", "\r|\r", "\r|\r"),
    T("\n\n.\n\n", "\n\n.\n\n", "||.||"),
    T("\r\n.\n.\r\n", "|\n.|", "||.|"),
    T("\r\n..\n", "|.\n", "|.|"),
    T("\r\n.y\r\n.\rz\n", "|y|\rz\n", "|y|\rz|"), /* as many pieces as one step can make */
#undef T
};

static const struct ferry_smtp_opts by_policy[] = {
    {.bare_newline = FERRY_SMTP_BARE_DEFAULT, .no_sync = true},
    {.bare_newline = FERRY_SMTP_BARE_REJECT, .no_sync = true},
    {.bare_newline = FERRY_SMTP_BARE_NORMALIZE, .keep_nul = true, .no_sync = true},
    {.bare_newline = FERRY_SMTP_BARE_KEEP, .keep_nul = true, .no_sync = true},
    /* D09: while it is too big already */
    {.bare_newline = FERRY_SMTP_BARE_KEEP, .keep_nul = true, .size_max = 60, .no_sync = true},
    {.bare_newline = FERRY_SMTP_BARE_NORMALIZE, .keep_nul = true, .size_max = 60, .no_sync = true},
    {.bare_newline = FERRY_SMTP_BARE_REJECT, .size_max = 60, .no_sync = true},
};

static void send_in(struct peer *c, const char *p, size_t n, size_t step)
{
    for (size_t at = 0; at < n; at += step) {
        size_t len = n - at < step ? n - at : step;

        if (client_sends_n(c, guard_copy(0, p + at, len), len) < len)
            return;
    }
}

static void check_trick(struct peer *c, const struct ferry_smtp_opts *opts, size_t i)
{
    bool nul = memchr(tricks[i].bytes.p, 0, tricks[i].bytes.len);
    bool reject = opts->bare_newline <= FERRY_SMTP_BARE_REJECT;
    const char *body =
        opts->bare_newline == FERRY_SMTP_BARE_KEEP ? tricks[i].kept : tricks[i].normal;
    char want[512];

    assert_null(strstr(c->log, "mail evil"));
    if (opts->size_max) {
        assert_string_equal(c->mail, "");
        if (!reject)
            assert_non_null(strstr(c->out, "552 5.3.4 Message size exceeds limit of 60\r\n250 "));
    } else if (reject) {
        assert_string_equal(c->mail, "");
        assert_non_null(strstr(c->out, nul ? "550 5.6.0 NUL byte received\r\n"
                                           : "550 5.5.2 Bare <LF> or <CR> received\r\n"));
        assert_int_equal(is_over(c), !nul);
    } else {
        snprintf(want, sizeof want,
                 "a@b>x@y:A: b||x%sMAIL FROM:<evil@b>|RCPT TO:<evil@y>|DATA|"
                 "evil|\n",
                 body);
        assert_string_equal(c->mail, want);
        assert_non_null(strstr(c->out, "saved as 1\r\n250 2.0.0 Ok\r\n"));
    }
}

/* D08, D09, D12-D14, in one write, byte by byte, and between */
static void what_is_no_end_smuggles_nothing(void **state)
{
    static const size_t steps[] = {1, 2, 3, 5, 4096};
    char all[1024];

    (void)state;
    for (size_t o = 0; o < sizeof by_policy / sizeof by_policy[0]; o++)
        for (size_t i = 0; i < sizeof tricks / sizeof tricks[0]; i++)
            for (size_t s = 0; s < sizeof steps / sizeof steps[0]; s++) {
                struct peer *c = peer_open(&by_policy[o], NULL);
                size_t n = (size_t)snprintf(all, sizeof all, "%sA: b\r\n\r\nx", TALK_BEGIN);

                memcpy(all + n, tricks[i].bytes.p, tricks[i].bytes.len);
                n += tricks[i].bytes.len;
                n += (size_t)snprintf(all + n, sizeof all - n, "%s.\r\nNOOP\r\n", SMUGGLED);
                send_in(c, all, n, steps[s]);
                check_trick(c, &by_policy[o], i);
                peer_close(c);
            }
}

/* D06 */
static void the_end_is_found_wherever_it_is_cut(void **state)
{
    static const char text[] = TALK_BEGIN "a\r\n.\r\nNOOP\r\n";

    (void)state;
    for (size_t cut = 0; cut < sizeof text; cut++) {
        struct peer *c = peer_open(&no_sync, NULL);

        client_sends_n(c, guard_copy(0, text, cut), cut);
        assert_int_equal(c->messages, cut >= sizeof TALK_BEGIN - 1 + 6);
        client_sends_n(c, guard_copy(0, text + cut, sizeof text - 1 - cut), sizeof text - 1 - cut);
        assert_mail(c, "a@b>x@y:a|\n");
        assert_non_null(strstr(c->out, "saved as 1\r\n250 2.0.0 Ok\r\n"));
        peer_close(c);
    }
}

/* D07: what was stuffed comes out as it was. */
static void stuffed_messages_come_out_as_they_were(void **state)
{
    static const char alphabet[] = "..\r\nab\x80 ";
    static char body[512], sent[2048];
    uint32_t seed = 1;

    (void)state;
    for (int round = 0; round < 10000; round++) {
        struct peer *c = peer_open(&by_policy[3], NULL);
        size_t len, n = sizeof TALK_BEGIN - 1, want;
        size_t step = 1 + (size_t)round % 31;

        c->quiet = true;
        memcpy(sent, TALK_BEGIN, n);
        seed = seed * 1664525 + 1013904223;
        len = seed >> 24;
        for (size_t i = 0; i < len; i++) {
            seed = seed * 1664525 + 1013904223;
            body[i] = alphabet[(seed >> 20) % (sizeof alphabet - 1)];
        }
        memcpy(body + len, "\r\n", 2);
        want = len + 2;
        for (size_t i = 0; i < want; i++) {
            bool bol = i == 0 || (i > 1 && body[i - 2] == '\r' && body[i - 1] == '\n');

            if (bol && body[i] == '.')
                sent[n++] = '.';
            sent[n++] = body[i];
        }
        memcpy(sent + n, ".\r\n", 3);
        c->deaf = false;
        send_in(c, sent, n + 2, step);
        assert_int_equal(c->messages, 0);
        assert_int_equal(c->body_len, want);
        assert_memory_equal(c->body, body, want);
        client_sends(c, "\n");
        assert_int_equal(c->messages, 1);
        peer_close(c);
    }
}

/* -- limits: each at the limit and one past it -- */

static struct peer *with_message(const struct ferry_smtp_opts *opts)
{
    struct peer *c = peer_open(opts, NULL);

    client_sends(c, TALK_BEGIN);
    forget_out(c);
    return c;
}

/* D17, and that the session goes on */
static void sizes_have_a_limit(void **state)
{
    static const struct ferry_smtp_opts opts = {.size_max = 100, .no_sync = true};
    static char line[300];

    (void)state;
    memset(line, 'x', sizeof line);
    for (size_t len = 97; len <= 100; len++) {
        struct peer *c = with_message(&opts);

        /* D18: the dot that was stuffed in and the last one do not count. */
        client_sends(c, ".");
        line[0] = '.';
        client_sends_n(c, line, len);
        client_sends(c, "\r\n.\r\nNOOP\r\n");
        assert_out(c, len <= 98
                          ? "250 2.0.0 Ok: saved as 1\r\n250 2.0.0 Ok\r\n"
                          : "552 5.3.4 Message size exceeds limit of 100\r\n250 2.0.0 Ok\r\n");
        assert_log(c, len <= 98 ? "message 1\n" : "reset 552\n");
        peer_close(c);
    }
}

/* Nobody reads for ever what is refused. */
static void far_too_much_is_not_read_to_its_end(void **state)
{
    static const struct ferry_smtp_opts opts = {.size_max = 100, .no_sync = true};
    static char line[400];
    struct peer *c = with_message(&opts);

    (void)state;
    memset(line, 'x', sizeof line);
    client_sends_n(c, line, 200);
    assert_out(c, "");
    assert_log(c, "");
    client_sends_n(c, line, 2);
    assert_out(c, "552 5.3.4 Message size exceeds limit of 100\r\n");
    assert_log(c, "reset 552\ngone 552\n");
    assert_true(is_over(c));
    assert_int_equal(client_sends(c, "\r\n.\r\nNOOP\r\n"), 11);
    assert_out(c, "552 5.3.4 Message size exceeds limit of 100\r\n");
    peer_close(c);
}

static void lines_have_a_limit(void **state)
{
    static const struct ferry_smtp_opts opts = {.data_line_max = 1000, .no_sync = true};
    static char line[1100];

    (void)state;
    memset(line, 'x', sizeof line);
    for (size_t len = 999; len <= 1001; len++)
        for (size_t step = 1; step <= 1100; step += 37) {
            struct peer *c = with_message(&opts);

            client_sends(c, "A: b\r\n\r\n");
            for (size_t at = 0; at < len; at += step)
                client_sends_n(c, line, len - at < step ? len - at : step);
            client_sends(c, "\r\n.\r\n");
            assert_out(c, len <= 1000 ? "250 2.0.0 Ok: saved as 1\r\n"
                                      : "554 5.6.0 Line too long\r\n");
            peer_close(c);
        }
}

/* D16: real mail has them; D33: however they come. */
static void long_lines_pass_unchanged(void **state)
{
    static const size_t lens[] = {998, 1000, 2048, 65535, 1 << 20, (1 << 20) + 1};
    static char line[(1 << 20) + 2];

    (void)state;
    memset(line, 'y', sizeof line);
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++)
        for (size_t step = 1; step <= sizeof line; step = step * 60000 + 1) {
            struct peer *c = with_message(&no_sync);

            client_sends(c, "A: b\r\n\r\n");
            for (size_t at = 0; at < lens[i]; at += step)
                client_sends_n(c, line, lens[i] - at < step ? lens[i] - at : step);
            client_sends(c, "\r\n");
            if (lens[i] <= 1 << 20) {
                assert_int_equal(c->body_len, lens[i] + 10);
                assert_memory_equal(c->body + 8, line, lens[i]);
            }
            client_sends(c, ".\r\n");
            assert_out(c, lens[i] <= 1 << 20 ? "250 2.0.0 Ok: saved as 1\r\n"
                                             : "554 5.6.0 Line too long\r\n");
            peer_close(c);
        }
}

static void headers_have_a_limit(void **state)
{
    static const struct ferry_smtp_opts opts = {.header_max = 100, .no_sync = true};
    static char line[200];

    (void)state;
    memset(line, 'x', sizeof line);
    memcpy(line, "A: ", 3);
    for (size_t len = 95; len <= 98; len++) {
        struct peer *c = with_message(&opts);

        client_sends_n(c, line, len);
        client_sends(c, "\r\n\r\nand a body that is longer than the header may be, as they are, "
                        "and that is good\r\n.\r\n");
        assert_out(c,
                   len <= 96 ? "250 2.0.0 Ok: saved as 1\r\n" : "552 5.3.4 Header too large\r\n");
        peer_close(c);
    }
    { /* D24: also one line of it */
        struct peer *c = with_message(&opts);

        client_sends_n(c, line, sizeof line);
        client_sends_n(c, line, sizeof line);
        client_sends(c, "\r\n.\r\n");
        assert_out(c, "552 5.3.4 Header too large\r\n");
        peer_close(c);
    }
    { /* what is no header has no limit */
        struct peer *c = with_message(&opts);

        client_sends(c, "Dear all,\r\n");
        client_sends_n(c, line, sizeof line);
        client_sends(c, "\r\n.\r\n");
        assert_out(c, "250 2.0.0 Ok: saved as 1\r\n");
        peer_close(c);
    }
}

static void hops_have_a_limit(void **state)
{
    static const struct {
        const char *head, *between;
        unsigned hops;
    } heads[] = {
        {"Received: x\r\n", "", 1},
        {"received: x\r\n\tand more\r\n", "", 1},
        {"RECEIVED : x\r\n", "", 1},
        {"A: b\r\nReceived:\r\n", "", 1},
        {"Received-SPF: x\r\n", "", 0},
        {"Receive: x\r\n", "", 0},
        {"XReceived: x\r\n", "", 0},
        {"A: b\r\n Received: x\r\n", "", 0},
        {"", "A: b\r\n\r\n", 0},  /* D27: in the body */
        {"", "Dear all,\r\n", 0}, /* no header at all */
        {"", "\r\n", 0},
        {"Received: x\r\n", "From me\r\n", 1}, /* mbox */
    };

    (void)state;
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
        for (unsigned n = 100; n <= 101; n++) {
            struct peer *c = with_message(&no_sync);
            bool loops = n * heads[i].hops > 100;

            client_sends(c, heads[i].between);
            for (unsigned k = 0; k < n; k++)
                client_sends(c,
                             heads[i].hops || *heads[i].head ? heads[i].head : "Received: x\r\n");
            client_sends(c, "\r\nReceived: not\r\n");
            assert_int_equal(ferry_smtp_envelope(c->m)->hops, n * heads[i].hops);
            client_sends(c, ".\r\n");
            assert_out(c, loops ? "554 5.4.6 Mail loop: too many hops\r\n"
                                : "250 2.0.0 Ok: saved as 1\r\n");
            peer_close(c);
        }
}

/* Of several things that are wrong the first is told, however the message comes. */
static void the_first_fault_is_told(void **state)
{
    static const struct ferry_smtp_opts opts = {
        .size_max = 60, .header_max = 40, .hops_max = 1, .data_line_max = 30, .no_sync = true};
    static const struct {
        struct ferry_slice text;
        const char *code;
    } cases[] = {
        {FERRY_SLICE_INIT("A: 1\n\r\nReceived: \0\r\nReceived: x\r\n"), "550 5.5.2"},
        {FERRY_SLICE_INIT("A: 1\0\nReceived: x\r\nReceived: x\r\n"), "550 5.6.0"},
        {FERRY_SLICE_INIT("Received: x\r\nReceived: x\r\n\0\n"), "554 5.4.6"},
        {FERRY_SLICE_INIT("A: 456789012345678901234567890\r\nB: 3456789\n\0"), "552 5.3.4 Header"},
        {FERRY_SLICE_INIT("A: 4567890123456789012345678901\r\nB: 3456789\n\0"), "554 5.6.0"},
        {FERRY_SLICE_INIT(
             "\r\n34567890123456789012345678\r\n34567890123456789012345678\r\n1234567\n"),
         "552 5.3.4 Message"},
        {FERRY_SLICE_INIT(
             "\r\n34567890123456789012345678\r\n3456789012345678901234567\r\n1\n234567"),
         "550 5.5.2"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (size_t step = 1; step < 80; step += 6) {
            struct peer *c = with_message(&opts);

            send_in(c, cases[i].text.p, cases[i].text.len, step);
            client_sends(c, "\r\n.\r\n");
            if (!begins(c->out, c->out_len, cases[i].code))
                fail_msg("%zu by %zu: %s", i, step, c->out);
            peer_close(c);
        }
}

/* -- what costs what -- */

static void what_is_handed_out_is_not_copied(void **state)
{
    static const char text[] = "A: b\r\n\r\nline one\r\n..two\r\n.\r\n";
    struct peer *c = with_message(&no_sync);
    struct ferry_smtp_event ev;
    unsigned long before = alloc_count();
    const char *p = guard_copy(0, text, sizeof text - 1);
    size_t at = 0;

    (void)state;
    at += (size_t)ferry_smtp_recv(c->m, p, sizeof text - 1, c->now);
    assert_int_equal(at, sizeof text - 1);
    assert_int_equal(ferry_smtp_event(c->m, &ev), 1);
    assert_ptr_equal(ev.data.p, p);
    assert_slice_equal(ev.data, "A: b\r\n\r\nline one\r\n");
    assert_int_equal(ferry_smtp_event(c->m, &ev), 1);
    assert_ptr_equal(ev.data.p, strchr(p, '.') + 1);
    assert_slice_equal(ev.data, ".two\r\n");
    assert_int_equal(ferry_smtp_event(c->m, &ev), 1);
    assert_int_equal(ev.type, FERRY_SMTP_EV_MESSAGE);
    assert_int_equal(ferry_smtp_event(c->m, &ev), 0);
    assert_int_equal(alloc_count(), before);
    peer_close(c);
}

static void a_paused_message_waits(void **state)
{
    struct peer *c = with_message(&no_sync);

    (void)state;
    assert_int_equal(client_sends(c, "a\r\n"), 3);
    ferry_smtp_pause(c->m, true, c->now);
    assert_int_equal(client_sends(c, "b\r\n"), 0);
    ferry_smtp_pause(c->m, false, c->now);
    assert_int_equal(client_sends(c, "b\r\n.\r\n"), 6);
    assert_mail(c, "a@b>x@y:a|b|\n");
    peer_close(c);
}

/* D21: a message without its end is none (each dialogue is cut at every byte too). */
static void a_client_that_leaves_leaves_nothing(void **state)
{
    struct peer *c = with_message(&no_sync);

    (void)state;
    client_sends(c, "a\r\n.\r");
    client_ends(c);
    assert_mail(c, "");
    assert_out(c, "");
    assert_log(c, "reset\ngone\n");
    assert_true(ferry_smtp_finished(c->m));
    peer_close(c);
}

/* D15, D13, D14: the policies, by who it is. */
static void policies(void **state)
{
    static const struct ferry_smtp_client trusted = {.trusted = true};
    static const struct ferry_smtp_opts lmtp = {.lmtp = true, .no_sync = true};
    struct peer *c = peer_open(&no_sync, &trusted);

    (void)state;
    client_sends(c, TALK_BEGIN "a\nb\rc\r\n.\r\n");
    assert_mail(c, "a@b>x@y:a|b\rc|\n");
    peer_close(c);
    c = peer_open(&lmtp, NULL);
    client_sends(c, "LHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<x@y>\r\nDATA\r\na\n.\nb\n\r\n.\r\n");
    assert_mail(c, "a@b>x@y:a|.|b||\n");
    peer_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages),
        cmocka_unit_test(what_is_no_end_smuggles_nothing),
        cmocka_unit_test(the_end_is_found_wherever_it_is_cut),
        cmocka_unit_test(stuffed_messages_come_out_as_they_were),
        cmocka_unit_test(sizes_have_a_limit),
        cmocka_unit_test(far_too_much_is_not_read_to_its_end),
        cmocka_unit_test(lines_have_a_limit),
        cmocka_unit_test(long_lines_pass_unchanged),
        cmocka_unit_test(headers_have_a_limit),
        cmocka_unit_test(hops_have_a_limit),
        cmocka_unit_test(the_first_fault_is_told),
        cmocka_unit_test(what_is_handed_out_is_not_copied),
        cmocka_unit_test(a_paused_message_waits),
        cmocka_unit_test(a_client_that_leaves_leaves_nothing),
        cmocka_unit_test(policies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
