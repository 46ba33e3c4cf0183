/* SPDX-License-Identifier: MIT */
#include "smtp_talk.h"

static const struct ferry_smtp_opts no_sync = {.no_sync = true};
static const struct ferry_smtp_client trusted = {.trusted = true};

#define OK "250 2.0.0 Ok\r\n"
#define BAD "500 5.5.2 Bad syntax\r\n"
#define LONG "500 5.5.2 Line too long\r\n"

static const struct {
    const char *id;
    struct ferry_slice text;
    const char *out, *trusted;
} lines[] = {
    {"L03", FERRY_SLICE_INIT("RSET\rQUIT\r\n"), BAD, BAD},
    {"L04", FERRY_SLICE_INIT("BELL\x08\r\n"), BAD, BAD},
    {"L04", FERRY_SLICE_INIT("NOOP \"\x01\"\r\n"), BAD, BAD},
    {"L04 NUL", FERRY_SLICE_INIT("NOOP \0\r\nNOOP\r\n"), BAD OK, BAD OK},
    {"DEL", FERRY_SLICE_INIT("NOOP \x7f\r\n"), BAD, BAD},
    {"tab", FERRY_SLICE_INIT("NOOP\tx\r\n"), OK, OK},
    {"L05", FERRY_SLICE_INIT("NOOP\nNOOP\r\n"), BAD OK, OK OK},
    {"L05", FERRY_SLICE_INIT("NOOP\r\r\nNOOP\n"), BAD BAD, BAD OK},
    {"empty", FERRY_SLICE_INIT("\n"), BAD, "500 5.5.2 Command not recognized\r\n"},
    {"CR alone", FERRY_SLICE_INIT("\r\n"), "500 5.5.2 Command not recognized\r\n",
     "500 5.5.2 Command not recognized\r\n"},
    {"M25 overlong", FERRY_SLICE_INIT("NOOP \xc0\x80\r\n"), BAD, BAD},
    {"M25 cut", FERRY_SLICE_INIT("NOOP \xe2\x82\r\n"), BAD, BAD},
    {"M25 surrogate", FERRY_SLICE_INIT("NOOP \xed\xa0\x80\r\n"), BAD, BAD},
    {"utf8", FERRY_SLICE_INIT("NOOP \xe2\x82\xac\xf0\x9f\x93\xa7\r\n"), OK, OK},
};

/* L10: cut everywhere */
static void lines_end_with_crlf(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        for (size_t step = 1; step < 20; step++)
            for (int who = 0; who < 2; who++) {
                struct peer *c = peer_open(&no_sync, who ? &trusted : NULL);
                struct ferry_slice s = lines[i].text;

                forget_out(c);
                for (size_t at = 0; at < s.len; at += step) {
                    size_t len = s.len - at < step ? s.len - at : step;

                    client_sends_n(c, guard_copy(0, s.p + at, len), len);
                }
                if (strcmp(c->out, who ? lines[i].trusted : lines[i].out))
                    fail_msg("%s: %s", lines[i].id, c->out);
                peer_close(c);
            }
}

/* L01 */
static void lines_have_a_limit(void **state)
{
    static const struct ferry_smtp_opts opts = {.line_max = 100, .no_sync = true};
    static char line[65536 + 4096];
    static const struct {
        const struct ferry_smtp_opts *opts;
        size_t max;
    } cases[] = {{&no_sync, 2048}, {&opts, 100}};

    (void)state;
    for (size_t i = 0; i < 2; i++)
        for (size_t len = cases[i].max - 1; len <= cases[i].max + 1; len++)
            for (size_t step = 1; step < 3000; step += 101) {
                struct peer *c = peer_open(cases[i].opts, NULL);

                memset(line, ' ', len);
                memcpy(line, "NOOP", 4);
                memcpy(line + len - 2, "\r\nNOOP\r\n", 8);
                forget_out(c);
                for (size_t at = 0; at < len + 6; at += step)
                    client_sends_n(c, line + at, len + 6 - at < step ? len + 6 - at : step);
                assert_out(c, len <= cases[i].max ? OK OK : LONG OK);
                peer_close(c);
            }
}

/* L02: one that never ends */
static void an_endless_line_is_the_end(void **state)
{
    static char line[65536 + 1];

    (void)state;
    memset(line, 'x', sizeof line);
    for (size_t step = 512; step <= 1 << 17; step *= 4) {
        struct peer *c = peer_open(&no_sync, NULL);

        forget_out(c);
        for (size_t at = 0; at < 65536; at += step)
            client_sends_n(c, line, 65536 - at < step ? 65536 - at : step);
        assert_out(c, "");
        assert_false(is_over(c));
        client_sends(c, "x");
        assert_out(c, LONG);
        assert_log(c, "gone 500\n");
        assert_true(is_over(c));
        peer_close(c);
    }
    { /* and one that is long, but ends, is one command */
        struct peer *c = peer_open(&no_sync, NULL);

        forget_out(c);
        client_sends_n(c, line, 65534);
        client_sends(c, "\r\nNOOP\r\n");
        assert_out(c, LONG OK);
        peer_close(c);
    }
}

/* The buffer is there only while a line is. */
static void an_idle_session_holds_no_memory(void **state)
{
    struct peer *c = peer_open(&no_sync, NULL);
    unsigned long before;

    (void)state;
    client_sends(c, "EHLO a\r\n");
    assert_null(c->m->line);
    before = alloc_count();
    c->unread = true;
    assert_int_equal(ferry_smtp_recv(c->m, "RSET", 4, c->now), 4);
    assert_int_equal(alloc_count(), before + 1);
    assert_non_null(c->m->line);
    client_sends(c, "\r\n");
    assert_null(c->m->line);
    c->unread = false;
    works(c);
    /* Whole commands are read where they lie: but for its reply nothing is allocated. */
    before = alloc_count();
    client_sends(c, "NOOP\r\n");
    assert_int_equal(alloc_count(), before + 1);
    assert_null(c->m->tx);
    assert_null(c->m->held);
    assert_int_equal(c->m->out.len, 0);
    peer_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_end_with_crlf),
        cmocka_unit_test(lines_have_a_limit),
        cmocka_unit_test(an_endless_line_is_the_end),
        cmocka_unit_test(an_idle_session_holds_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
