/* SPDX-License-Identifier: MIT */
/* Checks of docs/mail.md: A02, A05-A07, A11, A15. */
#include "smtp/sasl.h"

#include "support.h"

enum { WRONG = FERRY_SMTP_AUTH_WRONG, BASE64 = FERRY_SMTP_AUTH_BASE64 };

static struct ferry_slice guarded(const char *p, size_t n)
{
    return ferry_slice(guard_copy(0, p, n), n);
}

static size_t encode(const char *p, size_t n, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t len = 0;

    for (size_t i = 0; i < n; i += 3) {
        uint32_t bits = (uint32_t)(unsigned char)p[i] << 16;

        if (i + 1 < n)
            bits |= (uint32_t)(unsigned char)p[i + 1] << 8;
        if (i + 2 < n)
            bits |= (unsigned char)p[i + 2];
        out[len++] = digits[bits >> 18];
        out[len++] = digits[bits >> 12 & 63];
        out[len++] = i + 1 < n ? digits[bits >> 6 & 63] : '=';
        out[len++] = i + 2 < n ? digits[bits & 63] : '=';
    }
    out[len] = 0;
    return len;
}

static void base64(void **state)
{
    static const struct {
        const char *in;
        ssize_t len;
        const char *want;
    } cases[] = {
        {"", 0, ""},
        {"Zg==", 1, "f"},
        {"Zm8=", 2, "fo"},
        {"Zm9v", 3, "foo"},
        {"Zm9vYg==", 4, "foob"},
        {"Zm9vYmE=", 5, "fooba"},
        {"Zm9vYmFy", 6, "foobar"},
        {"+/+/", 3, "\xfb\xff\xbf"},
        {"Z", FERRY_EUSAGE, ""},
        {"Zg", FERRY_EUSAGE, ""},
        {"Zg=", FERRY_EUSAGE, ""},
        {"=", FERRY_EUSAGE, ""},
        {"====", FERRY_EUSAGE, ""},
        {"Z===", FERRY_EUSAGE, ""},
        {"Zg==Zg==", FERRY_EUSAGE, ""},
        {"Zg=v", FERRY_EUSAGE, ""},
        {"=g==", FERRY_EUSAGE, ""},
        {"Zh==", FERRY_EUSAGE, ""}, /* bits behind the end */
        {"Zm9=", FERRY_EUSAGE, ""},
        {"Zm9v ", FERRY_EUSAGE, ""},
        {"Zm 9v123", FERRY_EUSAGE, ""},
        {"Zm-_", FERRY_EUSAGE, ""},
        {"Zm9\xc3", FERRY_EUSAGE, ""},
        {"Zm9v\r\n\r\n", FERRY_EUSAGE, ""},
    };
    char bytes[256], text[400], out[256];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_slice in = guarded(cases[i].in, strlen(cases[i].in));

        assert_int_equal(ferry_smtp_base64_decode(in, out, sizeof out), cases[i].len);
        if (cases[i].len > 0) {
            size_t n = (size_t)cases[i].len;
            char *room = guard_copy(1, out, n);

            assert_memory_equal(out, cases[i].want, n);
            assert_int_equal(ferry_smtp_base64_decode(in, room, n), n);
            assert_memory_equal(room, cases[i].want, n);
            room = guard_copy(1, out, n - 1);
            assert_int_equal(ferry_smtp_base64_decode(in, room, n - 1), FERRY_ELIMIT);
        }
    }
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 7);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        assert_int_equal(ferry_smtp_base64_decode(guarded(text, encode(bytes, n, text)), out, n),
                         n);
        assert_memory_equal(out, bytes, n);
    }
}

static void dialogues(void **state)
{
    static const struct {
        const char *args, *lines[3];
        int challenges;
        int reply; /* 0: good */
        const char *identity, *user, *password;
    } cases[] = {
        /* A02 */
        {"PLAIN AHVzZXIAcGFzcw==", {NULL}, 0, 0, "", "user", "pass"},
        {"plain AHVzZXIAcGFzcw==", {NULL}, 0, 0, "", "user", "pass"},
        {" PLAIN  AHVzZXIAcGFzcw== ", {NULL}, 0, 0, "", "user", "pass"},
        {"PLAIN bWUAdXNlcgBwYXNz", {NULL}, 0, 0, "me", "user", "pass"},
        {"PLAIN", {"AHVzZXIAcGFzcw=="}, 1, 0, "", "user", "pass"},
        {"LOGIN", {"dXNlcg==", "cGFzcw=="}, 2, 0, "", "user", "pass"},
        {"Login dXNlcg==", {"cGFzcw=="}, 1, 0, "", "user", "pass"},
        /* A15: "Mülleräöü" as it came */
        {"LOGIN TcO8bGxlcg==", {"w6TDtsO8"}, 1, 0, "", "M\xc3\xbcller", "\xc3\xa4\xc3\xb6\xc3\xbc"},
        {"LOGIN", {"dXNlcg==", "/w=="}, 2, 0, "", "user", "\xff"},
        /* A05 */
        {"PLAIN", {"*"}, 1, FERRY_SMTP_AUTH_CANCELLED},
        {"LOGIN", {"*"}, 1, FERRY_SMTP_AUTH_CANCELLED},
        {"LOGIN", {"dXNlcg==", "*"}, 2, FERRY_SMTP_AUTH_CANCELLED},
        {"PLAIN *", {NULL}, 0, BASE64},
        /* A06 */
        {"PLAIN =", {NULL}, 0, BASE64},
        {"PLAIN", {""}, 1, BASE64},
        {"PLAIN", {"="}, 1, BASE64},
        {"PLAIN AHVzZXIAcGFzcw=", {NULL}, 0, BASE64},
        {"PLAIN %%%%", {NULL}, 0, BASE64},
        {"PLAIN AHVzZXIA cGFzcw==", {NULL}, 0, BASE64},
        {"PLAIN dXNlcg==", {NULL}, 0, BASE64},             /* "user" */
        {"PLAIN AHVzZXI=", {NULL}, 0, BASE64},             /* NUL user */
        {"PLAIN AHVzZXIA", {NULL}, 0, BASE64},             /* NUL user NUL */
        {"PLAIN AABwYXNz", {NULL}, 0, BASE64},             /* NUL NUL pass */
        {"PLAIN AHVzZXIAcGFzAHM=", {NULL}, 0, BASE64},     /* a NUL in the password */
        {"PLAIN AHUKcgBwYXNz", {NULL}, 0, BASE64},         /* "u\nr" */
        {"PLAIN YQpiAHVzZXIAcGFzcw==", {NULL}, 0, BASE64}, /* identity "a\nb" */
        {"LOGIN =", {NULL}, 0, BASE64},
        {"LOGIN", {""}, 1, BASE64},
        {"LOGIN", {"dXNlcg==", ""}, 2, BASE64},
        {"LOGIN", {"dXNlcg"}, 1, BASE64},
        {"LOGIN", {"dXMAcg=="}, 1, BASE64},
        {"LOGIN", {"dXNlcg==", "cGEAcw=="}, 2, BASE64},
        {"LOGIN dXNlcg== cGFzcw==", {NULL}, 0, BASE64},
        /* A07 */
        {"CRAM-MD5", {NULL}, 0, FERRY_SMTP_AUTH_MECHANISM},
        {"PLAINX", {NULL}, 0, FERRY_SMTP_AUTH_MECHANISM},
        {"PLAI AHVzZXIAcGFzcw==", {NULL}, 0, FERRY_SMTP_AUTH_MECHANISM},
        {"", {NULL}, 0, FERRY_SMTP_ARGS_SYNTAX},
        {"  ", {NULL}, 0, FERRY_SMTP_ARGS_SYNTAX},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_smtp_sasl sasl;
        enum ferry_smtp_reply why = FERRY_SMTP_NONE;
        const char *challenge = NULL;
        int got, asked = 0;

        got = ferry_smtp_sasl_begin(&sasl, guarded(cases[i].args, strlen(cases[i].args)),
                                    &challenge, &why);
        while (got == 0) {
            const char *line = cases[i].lines[asked++];

            assert_non_null(challenge);
            assert_non_null(line);
            if (sasl.mechanism == FERRY_SMTP_MECHANISM_PLAIN)
                assert_string_equal(challenge, "");
            else
                assert_string_equal(challenge, sasl.user[0] ? "UGFzc3dvcmQ6" : "VXNlcm5hbWU6");
            got = ferry_smtp_sasl_next(&sasl, guarded(line, strlen(line)), &challenge, &why);
        }
        assert_int_equal(asked, cases[i].challenges);
        assert_int_equal(got, cases[i].reply ? FERRY_EUSAGE : 1);
        assert_int_equal(why, cases[i].reply);
        if (got == 1) {
            assert_string_equal(sasl.identity, cases[i].identity);
            assert_string_equal(sasl.user, cases[i].user);
            assert_string_equal(sasl.password, cases[i].password);
        }
        /* It is over, whatever came of it. */
        assert_int_equal(ferry_smtp_sasl_next(&sasl, FERRY_SLICE("cGFzcw=="), &challenge, &why),
                         FERRY_EUSAGE);
    }
}

static int plain(size_t identity, size_t user, size_t password, enum ferry_smtp_reply *why,
                 struct ferry_smtp_sasl *sasl)
{
    char message[3000], text[6000];
    const char *challenge;
    size_t n = identity + user + password + 2;

    memset(message, 'x', n);
    message[identity] = message[identity + 1 + user] = 0;
    (void)!ferry_smtp_sasl_begin(sasl, FERRY_SLICE("PLAIN"), &challenge, why);
    return ferry_smtp_sasl_next(sasl, guarded(text, encode(message, n, text)), &challenge, why);
}

static void sizes_at_the_limit_and_one_past_it(void **state)
{
    struct ferry_smtp_sasl sasl;
    enum ferry_smtp_reply why = FERRY_SMTP_NONE;

    (void)state;
    assert_int_equal(plain(255, 255, 1023, &why, &sasl), 1);
    assert_int_equal(strlen(sasl.identity), 255);
    assert_int_equal(strlen(sasl.user), 255);
    assert_int_equal(strlen(sasl.password), 1023);
    assert_int_equal(plain(256, 1, 1, &why, &sasl), FERRY_EUSAGE);
    assert_int_equal(why, WRONG);
    assert_int_equal(plain(0, 256, 1, &why, &sasl), FERRY_EUSAGE);
    assert_int_equal(why, WRONG);
    assert_int_equal(plain(0, 1, 1024, &why, &sasl), FERRY_EUSAGE);
    assert_int_equal(why, WRONG);
    assert_int_equal(plain(0, 1, 2500, &why, &sasl), FERRY_EUSAGE);
    assert_int_equal(why, WRONG);
}

/* A11. */
static void a_line_of_12288_is_looked_at_and_no_longer_one(void **state)
{
    static char line[FERRY_SMTP_SASL_LINE_MAX + 7];
    struct ferry_smtp_sasl sasl;
    enum ferry_smtp_reply why;
    const char *challenge;

    (void)state;
    memset(line, 'A', sizeof line);
    for (unsigned i = 0; i < 2; i++) {
        struct ferry_slice args = i ? FERRY_SLICE("LOGIN") : FERRY_SLICE("PLAIN");

        assert_int_equal(ferry_smtp_sasl_begin(&sasl, args, &challenge, &why), 0);
        assert_int_equal(
            ferry_smtp_sasl_next(&sasl, guarded(line, FERRY_SMTP_SASL_LINE_MAX), &challenge, &why),
            FERRY_EUSAGE);
        assert_int_equal(why, WRONG);
        assert_int_equal(ferry_smtp_sasl_begin(&sasl, args, &challenge, &why), 0);
        assert_int_equal(ferry_smtp_sasl_next(&sasl, guarded(line, FERRY_SMTP_SASL_LINE_MAX + 1),
                                              &challenge, &why),
                         FERRY_EUSAGE);
        assert_int_equal(why, FERRY_SMTP_SASL_TOO_LONG);
    }
    /* A fault in what is too long is one all the same. */
    line[FERRY_SMTP_SASL_LINE_MAX - 5] = '%';
    assert_int_equal(ferry_smtp_sasl_begin(&sasl, FERRY_SLICE("PLAIN"), &challenge, &why), 0);
    assert_int_equal(
        ferry_smtp_sasl_next(&sasl, guarded(line, FERRY_SMTP_SASL_LINE_MAX), &challenge, &why),
        FERRY_EUSAGE);
    assert_int_equal(why, BASE64);
    /* An initial response is one too. */
    memset(line, 'A', sizeof line);
    memcpy(line, "LOGIN ", 6);
    assert_int_equal(
        ferry_smtp_sasl_begin(&sasl, guarded(line, 6 + FERRY_SMTP_SASL_LINE_MAX), &challenge, &why),
        FERRY_EUSAGE);
    assert_int_equal(why, WRONG);
    assert_int_equal(
        ferry_smtp_sasl_begin(&sasl, guarded(line, 7 + FERRY_SMTP_SASL_LINE_MAX), &challenge, &why),
        FERRY_EUSAGE);
    assert_int_equal(why, FERRY_SMTP_SASL_TOO_LONG);
}

static void what_is_cleared_is_gone(void **state)
{
    static const struct ferry_smtp_sasl none;
    struct ferry_smtp_sasl sasl;
    enum ferry_smtp_reply why;

    (void)state;
    assert_int_equal(plain(3, 4, 5, &why, &sasl), 1);
    ferry_smtp_sasl_clear(&sasl);
    assert_memory_equal(&sasl, &none, sizeof sasl);
}

static void mechanisms_have_names(void **state)
{
    (void)state;
    assert_string_equal(ferry_smtp_mechanism_name(FERRY_SMTP_MECHANISM_PLAIN), "PLAIN");
    assert_string_equal(ferry_smtp_mechanism_name(FERRY_SMTP_MECHANISM_LOGIN), "LOGIN");
    assert_string_equal(ferry_smtp_mechanism_name(FERRY_SMTP_MECHANISMS), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64),
        cmocka_unit_test(dialogues),
        cmocka_unit_test(sizes_at_the_limit_and_one_past_it),
        cmocka_unit_test(a_line_of_12288_is_looked_at_and_no_longer_one),
        cmocka_unit_test(what_is_cleared_is_gone),
        cmocka_unit_test(mechanisms_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
