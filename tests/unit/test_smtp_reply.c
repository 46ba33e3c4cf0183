/* SPDX-License-Identifier: MIT */
#include "smtp/reply.h"

#include <stdio.h>

#include "support.h"

static const struct {
    enum ferry_smtp_reply reply;
    const char *before, *detail, *want;
} puts_[] = {
    {FERRY_SMTP_OK, "", "", "250 2.0.0 Ok\r\n"},
    {FERRY_SMTP_GREETING, "", "mx ESMTP ferry", "220 mx ESMTP ferry\r\n"},
    {FERRY_SMTP_SEND_DATA, "", "", "354 End data with <CR><LF>.<CR><LF>\r\n"},
    {FERRY_SMTP_SAVED, "<a@b> ", "X1", "250 2.0.0 <a@b> Ok: saved as X1\r\n"},
    {FERRY_SMTP_USER_UNKNOWN, "", "<a@b>", "550 5.1.1 <a@b> User unknown\r\n"},
    {FERRY_SMTP_USER_UNKNOWN, "", "", "550 5.1.1 User unknown\r\n"},
    {FERRY_SMTP_TOO_BIG, "", "12", "552 5.3.4 Message size exceeds limit of 12\r\n"},
    {FERRY_SMTP_UNKNOWN_PARAM, "", "A\r\n250 b\x01", "555 5.5.4 Unsupported option: A250 b\r\n"},
    {FERRY_SMTP_HELO_SYNTAX, "", "EHLO", "501 Syntax: EHLO hostname\r\n"},
    {FERRY_SMTP_SAVED, "<\xc3\xbc@b> ", "", "250 2.0.0 <\xc3\xbc@b> Ok: saved as\r\n"},
};

static void replies_of_the_table(void **state)
{
    char out[FERRY_SMTP_LINE_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof puts_ / sizeof puts_[0]; i++) {
        size_t n = ferry_smtp_reply_put(puts_[i].reply, ferry_slice_z(puts_[i].before),
                                        ferry_slice_z(puts_[i].detail), out);

        assert_int_equal(n, strlen(puts_[i].want));
        assert_memory_equal(out, puts_[i].want, n);
    }
}

/* RFC 2034, 4: of the class of the code, and none for 3xx. */
static void codes_and_enhanced_codes_agree(void **state)
{
    (void)state;
    for (int r = 1; r < FERRY_SMTP_REPLIES; r++) {
        int code = ferry_smtp_reply_code((enum ferry_smtp_reply)r);
        const char *enhanced = ferry_smtp_reply_enhanced((enum ferry_smtp_reply)r);

        assert_in_range(code, 214, 599);
        if (*enhanced)
            assert_int_equal(enhanced[0] - '0', code / 100);
        if (code / 100 == 3)
            assert_string_equal(enhanced, "");
    }
}

static void what_is_long_is_cut(void **state)
{
    char out[FERRY_SMTP_LINE_MAX], text[2000];

    (void)state;
    memset(text, 'x', sizeof text);
    for (size_t len = 0; len < sizeof text; len += 7) {
        struct ferry_slice s = ferry_slice(guard_copy(0, text, len), len);
        size_t n = ferry_smtp_reply_put(FERRY_SMTP_USER_UNKNOWN, FERRY_SLICE(""), s, out);

        assert_true(n <= FERRY_SMTP_LINE_MAX);
        assert_memory_equal(out + n - 15, " User unknown\r\n", 15);
        n = ferry_smtp_reply_put(FERRY_SMTP_OK, s, s, out);
        assert_true(n <= FERRY_SMTP_LINE_MAX);
        assert_memory_equal(out + n - 2, "\r\n", 2);
        n = ferry_smtp_reply_custom(550, s, s, s, true, out);
        assert_true(n <= FERRY_SMTP_LINE_MAX);
        assert_memory_equal(out, "550 5.0.0 ", len ? 10 : 9);
        n = ferry_smtp_reply_custom(550, FERRY_SLICE(""), FERRY_SLICE(""), s, true, out);
        assert_int_equal(n, len ? 12 + (len < 400 ? len : 400) : 11);
    }
}

static const struct {
    int code;
    const char *enhanced, *before, *text;
    bool utf8;
    const char *want;
} customs[] = {
    {550, "5.7.1", "", "no", false, "550 5.7.1 no\r\n"},
    {550, "", "", "no", false, "550 5.0.0 no\r\n"},
    /* R26: codes of another class, and what is none */
    {550, "4.1.1", "", "no", false, "550 5.0.0 no\r\n"},
    {550, "5.1", "", "no", false, "550 5.0.0 no\r\n"},
    {550, "5..1", "", "no", false, "550 5.0.0 no\r\n"},
    {550, "5.1.", "", "no", false, "550 5.0.0 no\r\n"},
    {550, "5.1.1.1", "", "no", false, "550 5.0.0 no\r\n"},
    {550, "5.1234.1", "", "no", false, "550 5.0.0 no\r\n"},
    {550, "5.1.1 x", "", "no", false, "550 5.0.0 no\r\n"},
    {550, "5.123.456", "", "no", false, "550 5.123.456 no\r\n"},
    {451, "4.7.1", "<a@b> ", "later", false, "451 4.7.1 <a@b> later\r\n"},
    {550, "5.1.1", "", "line1\r\n250 injected", false, "550 5.1.1 line1\r\n"},
    {550, "5.1.1", "", "line1\n250 injected", false, "550 5.1.1 line1\r\n"},
    {550, "5.1.1", "", "line1\r250 injected", false, "550 5.1.1 line1\r\n"},
    {550, "5.1.1", "", "\r\n250 injected", false, "550 5.1.1\r\n"},
    {550, "5.1.1", "", "a\x01\x1b[31m\x7f z", false, "550 5.1.1 a[31m z\r\n"},
    {550, "5.1.1", "", "f\xc3\xbcr", false, "550 5.1.1 fr\r\n"},
    {550, "5.1.1", "", "f\xc3\xbcr", true, "550 5.1.1 f\xc3\xbcr\r\n"},
    {550, "5.1.1", "", "f\xc3r \xc0\xaf \xed\xa0\x80 \xe2\x80\xae.", true, "550 5.1.1 fr   .\r\n"},
    {250, "", "", "", false, "250 2.0.0\r\n"},
};

static void replies_in_the_words_of_others(void **state)
{
    char out[FERRY_SMTP_LINE_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof customs / sizeof customs[0]; i++) {
        struct ferry_slice text = ferry_slice_z(customs[i].text);
        size_t n;

        text.p = guard_copy(0, text.p, text.len);
        n = ferry_smtp_reply_custom(customs[i].code, ferry_slice_z(customs[i].enhanced),
                                    ferry_slice_z(customs[i].before), text, customs[i].utf8, out);
        if (n != strlen(customs[i].want) || memcmp(out, customs[i].want, n))
            fail_msg("%zu: %.*s", i, (int)n, out);
    }
}

/* A character beyond ASCII is kept whole or not at all. */
static void a_cut_is_between_characters(void **state)
{
    char out[FERRY_SMTP_LINE_MAX], text[900];
    size_t n;

    (void)state;
    for (size_t i = 0; i < sizeof text; i += 3)
        memcpy(text + i, "\xe2\x82\xac", 3);
    n = ferry_smtp_reply_custom(550, FERRY_SLICE(""), FERRY_SLICE(""),
                                ferry_slice(text, sizeof text), true, out);
    assert_int_equal(n, 10 + 399 + 2);
    assert_memory_equal(out + n - 5, "\xe2\x82\xac\r\n", 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies_of_the_table),
        cmocka_unit_test(codes_and_enhanced_codes_agree),
        cmocka_unit_test(what_is_long_is_cut),
        cmocka_unit_test(replies_in_the_words_of_others),
        cmocka_unit_test(a_cut_is_between_characters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
