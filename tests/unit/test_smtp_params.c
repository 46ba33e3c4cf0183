/* SPDX-License-Identifier: MIT */
/* Parameters; checks of docs/mail.md: M21-M32, R18, R19. */
#include "smtp/params.h"

#include <stdio.h>

#include "support.h"

enum {
    ALL = FERRY_SMTP_PARAM_SIZE | FERRY_SMTP_PARAM_BODY | FERRY_SMTP_PARAM_BINARYMIME |
          FERRY_SMTP_PARAM_SMTPUTF8 | FERRY_SMTP_PARAM_AUTH | FERRY_SMTP_PARAM_DSN,
    OK = FERRY_SMTP_NONE,
    BAD = FERRY_SMTP_BAD_PARAM,
    UNKNOWN = FERRY_SMTP_UNKNOWN_PARAM,
};

static struct ferry_slice guarded(const char *z)
{
    size_t n = strlen(z);

    return ferry_slice(guard_copy(0, z, n), n);
}

static enum ferry_smtp_reply mail(const char *z, unsigned allowed,
                                  struct ferry_smtp_mail_params *out, struct ferry_slice *detail)
{
    return ferry_smtp_mail_params(guarded(z), allowed, out, detail);
}

static enum ferry_smtp_reply rcpt(const char *z, bool utf8, struct ferry_smtp_rcpt_params *out)
{
    struct ferry_slice detail;

    return ferry_smtp_rcpt_params(guarded(z), ALL, utf8, out, &detail);
}

static void replies_to_mail(void **state)
{
    static const struct {
        const char *in;
        int reply;
        const char *detail;
    } cases[] = {
        {"", OK, ""},
        {"  \t ", OK, ""},      /* M30 */
        {" SIZE=1000", OK, ""}, /* M21 */
        {" SIZE=0", OK, ""},
        {" size=5", OK, ""},
        {" SIZE=", BAD, ""},
        {" SIZE", BAD, ""},
        {" SIZE=x", BAD, ""},
        {" SIZE=-1", BAD, ""},
        {" SIZE=+1", BAD, ""},
        {" SIZE=1x", BAD, ""},
        {" SIZE=99999999999999999999", OK, ""}, /* twenty digits, and too big: 552 in the end */
        {" SIZE=999999999999999999999", BAD, ""},
        {" SIZE=000000000000000000005", BAD, ""},
        {" BODY=7BIT", OK, ""}, /* M22 */
        {" BODY=8BITMIME", OK, ""},
        {" body=8bitmime", OK, ""},
        {" BODY=RABIIT", BAD, ""},
        {" BODY", BAD, ""},
        {" BODY=", BAD, ""},
        {" BODY=BINARYMIME", OK, ""}, /* M23 */
        {" SMTPUTF8", OK, ""},        /* M24 */
        {" smtputf8", OK, ""},
        {" SMTPUTF8=1", BAD, ""},
        {" SMTPUTF8=", BAD, ""},
        {" AUTH=<>", OK, ""}, /* M26 */
        {" AUTH=e+3Dmc2@example.com", OK, ""},
        {" AUTH=++", BAD, ""},
        {" AUTH=a+3", BAD, ""},
        {" AUTH=a b", BAD, ""},
        {" AUTH=", BAD, ""},
        {" AUTH", BAD, ""},
        {" AUTH=+20a@b", BAD, ""},
        {" AUTH=a@b+20x", BAD, ""},
        {" AUTH=a@b+00", BAD, ""},
        {" AUTH=\"a+20b\"@c", OK, ""},
        {" XYZ=1", UNKNOWN, "XYZ"}, /* M27 */
        {" XYZ", UNKNOWN, "XYZ"},
        {" SI--ZE=2000", UNKNOWN, "SI--ZE"},
        {" SIZEX=2000", UNKNOWN, "SIZEX"},
        {" SIZ=2000", UNKNOWN, "SIZ"},
        {" SI--ZE-=1", BAD, ""},
        {" =1", BAD, ""},
        {" =", BAD, ""},
        {" -X=1", BAD, ""},
        {" X_Y=1", BAD, ""},
        {" X=a=b", BAD, ""},
        {" X=", BAD, ""},
        {" SIZE=1 =", BAD, ""},
        {" SIZE =1", BAD, ""},
        {" X=\x01", BAD, ""},
        {" X=\xc3(", BAD, ""},
        {" \xc3\xa4=1", BAD, ""},
        {" SIZE=1 SIZE=2", BAD, ""}, /* M29 */
        {" SIZE=1 BODY=7BIT size=1", BAD, ""},
        {" SMTPUTF8 SMTPUTF8", BAD, ""},
        {"\tSIZE=1\t\tBODY=7BIT ", OK, ""},
        {" ENVID=QQ314159", OK, ""}, /* M31 */
        {" ENVID=a+2Bb", OK, ""},
        {" ENVID=ab+0D+0A", BAD, ""},
        {" ENVID=+00", BAD, ""},
        {" ENVID=a+07", BAD, ""},
        {" ENVID=a+C3+A4", BAD, ""},
        {" ENVID=++", BAD, ""},
        {" ENVID=", BAD, ""},
        {" RET=FULL", OK, ""},
        {" RET=HDRS", OK, ""},
        {" ret=hdrs", OK, ""},
        {" RET=HDR", BAD, ""},
        {" RET", BAD, ""},
        {" NOTIFY=NEVER", UNKNOWN, "NOTIFY"}, /* of RCPT alone */
        {" RET=FULL RET=FULL", BAD, ""},
    };
    struct ferry_smtp_mail_params out;
    struct ferry_slice detail;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(mail(cases[i].in, ALL, &out, &detail), cases[i].reply);
        assert_int_equal(detail.len, strlen(cases[i].detail));
        assert_memory_equal(detail.p, cases[i].detail, detail.len);
    }
    assert_int_equal(ferry_smtp_mail_params(ferry_slice(" X=\0", 4), ALL, &out, &detail), BAD);
    assert_int_equal(ferry_smtp_mail_params(ferry_slice(NULL, 0), ALL, &out, &detail), OK);
}

/* M23, M24, M28, M32. */
static void what_was_not_announced_is_unknown(void **state)
{
    static const struct {
        const char *in;
        unsigned flag;
        int without;
    } cases[] = {
        {" SIZE=1", FERRY_SMTP_PARAM_SIZE, UNKNOWN},
        {" BODY=7BIT", FERRY_SMTP_PARAM_BODY, UNKNOWN},
        {" BODY=BINARYMIME", FERRY_SMTP_PARAM_BINARYMIME, BAD},
        {" SMTPUTF8", FERRY_SMTP_PARAM_SMTPUTF8, UNKNOWN},
        {" AUTH=<>", FERRY_SMTP_PARAM_AUTH, UNKNOWN},
        {" RET=FULL", FERRY_SMTP_PARAM_DSN, UNKNOWN},
        {" ENVID=x", FERRY_SMTP_PARAM_DSN, UNKNOWN},
    };
    struct ferry_smtp_mail_params out;
    struct ferry_smtp_rcpt_params to;
    struct ferry_slice detail;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(mail(cases[i].in, ALL, &out, &detail), OK);
        assert_int_equal(mail(cases[i].in, ALL & ~cases[i].flag, &out, &detail), cases[i].without);
        assert_int_equal(mail(cases[i].in, 0, &out, &detail), UNKNOWN);
    }
    assert_int_equal(ferry_smtp_rcpt_params(FERRY_SLICE(" NOTIFY=NEVER"),
                                            ALL & ~FERRY_SMTP_PARAM_DSN, false, &to, &detail),
                     UNKNOWN);
    assert_slice_equal(detail, "NOTIFY");
}

static void what_mail_is_told(void **state)
{
    struct ferry_smtp_mail_params p;
    struct ferry_slice detail;

    (void)state;
    memset(&p, 0x77, sizeof p);
    assert_int_equal(mail("", ALL, &p, &detail), OK);
    assert_false(p.has_size || p.smtputf8 || p.has_body || p.has_auth || p.has_envid);
    assert_int_equal(p.body, FERRY_SMTP_7BIT);
    assert_int_equal(p.ret, FERRY_SMTP_RET_NONE);
    assert_string_equal(p.auth, "");
    assert_int_equal(
        mail(" BODY=8BITMIME SIZE=1234 SMTPUTF8 RET=HDRS ENVID=a+2Bb+20c AUTH=A+3Db@C.D", ALL, &p,
             &detail),
        OK);
    assert_true(p.has_size && p.smtputf8 && p.has_body && p.has_auth && p.has_envid);
    assert_int_equal(p.size, 1234);
    assert_int_equal(p.body, FERRY_SMTP_8BITMIME);
    assert_int_equal(p.ret, FERRY_SMTP_RET_HDRS);
    assert_string_equal(p.envid, "a+b c");
    assert_string_equal(p.auth, "A=b@c.d");
    assert_int_equal(mail(" BODY=BINARYMIME RET=FULL AUTH=<>", ALL, &p, &detail), OK);
    assert_int_equal(p.body, FERRY_SMTP_BINARYMIME);
    assert_int_equal(p.ret, FERRY_SMTP_RET_FULL);
    assert_true(p.has_auth && !p.has_size && !p.has_envid);
    assert_string_equal(p.auth, "");
    assert_int_equal(mail(" SIZE=18446744073709551615", ALL, &p, &detail), OK);
    assert_true(p.size == UINT64_MAX);
    assert_int_equal(mail(" SIZE=18446744073709551616", ALL, &p, &detail), OK);
    assert_true(p.size == UINT64_MAX);
    assert_int_equal(mail(" BODY=7BIT", ALL, &p, &detail), OK);
    assert_true(p.has_body && p.body == FERRY_SMTP_7BIT);
}

static void replies_to_rcpt(void **state) /* R18, R19 */
{
    static const struct {
        const char *in;
        int reply;
        unsigned notify;
        const char *orcpt;
    } cases[] = {
        {"", OK, 0, ""},
        {" NOTIFY=NEVER", OK, 1, ""},
        {" NOTIFY=SUCCESS,FAILURE,DELAY", OK, 14, ""},
        {" notify=success", OK, 2, ""},
        {" NOTIFY=FAILURE", OK, 4, ""},
        {" NOTIFY=DELAY,DELAY", OK, 8, ""},
        {" NOTIFY=NEVER,DELAY", BAD, 0, ""},
        {" NOTIFY=DELAY,NEVER", BAD, 0, ""},
        {" NOTIFY=", BAD, 0, ""},
        {" NOTIFY", BAD, 0, ""},
        {" NOTIFY=FOO", BAD, 0, ""},
        {" NOTIFY=SUCCESS,", BAD, 0, ""},
        {" NOTIFY=,SUCCESS", BAD, 0, ""},
        {" NOTIFY=SUCCESS,,DELAY", BAD, 0, ""},
        {" NOTIFY=SUCCESS NOTIFY=DELAY", BAD, 0, ""},
        {" ORCPT=rfc822;a+3Db@c", OK, 0, "rfc822;a=b@c"},
        {" ORCPT=RFC822;A@B", OK, 0, "rfc822;A@B"},
        {" ORCPT=x400;a+20b", OK, 0, "x400;a b"},
        {" ORCPT=rfc822;a;b@c", OK, 0, "rfc822;a;b@c"},
        {" ORCPT=rfc822;", BAD, 0, ""},
        {" ORCPT=rfc822;<>", BAD, 0, ""},
        {" ORCPT=++", BAD, 0, ""},
        {" ORCPT=rfc822", BAD, 0, ""},
        {" ORCPT=;a@b", BAD, 0, ""},
        {" ORCPT=", BAD, 0, ""},
        {" ORCPT=rfc822;a+0Ab@c", BAD, 0, ""},
        {" ORCPT=rfc822;a+00b@c", BAD, 0, ""},
        {" ORCPT=rfc822;a+1Bb@c", BAD, 0, ""},
        {" ORCPT=rfc822;a+C3b@c", BAD, 0, ""},
        {" ORCPT=rfc822;a+", BAD, 0, ""},
        {" ORCPT=rf+38;a", BAD, 0, ""},
        {" ORCPT=utf-8;a@b", OK, 0, "utf-8;a@b"},
        {" ORCPT=UTF-8;\\x{E4}+x@b", OK, 0, "utf-8;\xc3\xa4+x@b"},
        {" ORCPT=utf-8;\\x{2B}\\x{3D}\\x{5C}@b", OK, 0, "utf-8;+=\\@b"},
        {" ORCPT=utf-8;\\x{1F600}@b", OK, 0, "utf-8;\xf0\x9f\x98\x80@b"},
        {" ORCPT=utf-8;\\x{4e2d}@b", OK, 0, "utf-8;\xe4\xb8\xad@b"},
        {" ORCPT=utf-8;\\x{D800}@b", BAD, 0, ""},
        {" ORCPT=utf-8;\\x{110000}@b", BAD, 0, ""},
        {" ORCPT=utf-8;\\x{0000041}@b", BAD, 0, ""},
        {" ORCPT=utf-8;\\x{0A}@b", BAD, 0, ""},
        {" ORCPT=utf-8;\\x{00}@b", BAD, 0, ""},
        {" ORCPT=utf-8;\\x{200B}@b", BAD, 0, ""},
        {" ORCPT=utf-8;\\x{4}@b", BAD, 0, ""},
        {" ORCPT=utf-8;\\x{}@b", BAD, 0, ""},
        {" ORCPT=utf-8;\\x{41@b", BAD, 0, ""},
        {" ORCPT=utf-8;\\x{41", BAD, 0, ""},
        {" ORCPT=utf-8;\\x", BAD, 0, ""},
        {" ORCPT=utf-8;a\\", BAD, 0, ""},
        {" ORCPT=utf-8;", BAD, 0, ""},
        {" ORCPT=rfc822;a@b NOTIFY=DELAY ", OK, 8, "rfc822;a@b"},
        {" SIZE=1", UNKNOWN, 0, ""},
        {" X", UNKNOWN, 0, ""},
    };
    struct ferry_smtp_rcpt_params out;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (unsigned utf8 = 0; utf8 < 2; utf8++) {
            assert_int_equal(rcpt(cases[i].in, utf8, &out), cases[i].reply);
            if (cases[i].reply == OK) {
                assert_int_equal(out.notify, cases[i].notify);
                assert_string_equal(out.orcpt, cases[i].orcpt);
            }
        }
    /* raw UTF-8 only where it was declared */
    assert_int_equal(rcpt(" ORCPT=utf-8;\xc3\xa4@b", true, &out), OK);
    assert_string_equal(out.orcpt, "utf-8;\xc3\xa4@b");
    assert_int_equal(rcpt(" ORCPT=utf-8;\xc3\xa4@b", false, &out), BAD);
    assert_int_equal(rcpt(" ORCPT=rfc822;\xc3\xa4@b", true, &out), BAD);
}

static void sizes_at_the_limit_and_one_past_it(void **state)
{
    struct ferry_smtp_mail_params from;
    struct ferry_smtp_rcpt_params to;
    struct ferry_slice detail;
    char in[700];

    (void)state;
    for (int n = 99; n <= 101; n++) {
        snprintf(in, sizeof in, " ENVID=%0*d", n, 7);
        assert_int_equal(mail(in, ALL, &from, &detail), n > 100 ? BAD : OK);
        if (n <= 100)
            assert_int_equal(strlen(from.envid), n);
    }
    snprintf(in, sizeof in, " ENVID=%098d+41", 7); /* 101 as sent */
    assert_int_equal(mail(in, ALL, &from, &detail), BAD);
    for (int n = 499; n <= 501; n++) {
        snprintf(in, sizeof in, " ORCPT=rfc822;%0*d", n - 7, 7);
        assert_int_equal(rcpt(in, false, &to), n > 500 ? BAD : OK);
        if (n <= 500)
            assert_int_equal(strlen(to.orcpt), n);
        snprintf(in, sizeof in, " ORCPT=utf-8;%0*d", n - 6, 7);
        assert_int_equal(rcpt(in, false, &to), n > 500 ? BAD : OK);
    }
    snprintf(in, sizeof in, " AUTH=%064d@b", 7);
    assert_int_equal(mail(in, ALL, &from, &detail), OK);
    snprintf(in, sizeof in, " AUTH=%065d@b", 7);
    assert_int_equal(mail(in, ALL, &from, &detail), BAD);
    snprintf(in, sizeof in, " AUTH=%0500d@b", 7);
    assert_int_equal(mail(in, ALL, &from, &detail), BAD);
}

static void xtext(void **state)
{
    static const struct {
        const char *in;
        ssize_t len;
        const char *want;
    } cases[] = {
        {"", 0, ""},
        {"abc", 3, "abc"},
        {"a+2Bb+3D+20", 5, "a+b= "},
        {"+2b", 1, "+"},
        {"+C3+A4", 2, "\xc3\xa4"},
        {"!~", 2, "!~"},
        {"[UNAVAILABLE]", 13, "[UNAVAILABLE]"},
        {"+", FERRY_EUSAGE, ""},
        {"+4", FERRY_EUSAGE, ""},
        {"a+4", FERRY_EUSAGE, ""},
        {"+4G", FERRY_EUSAGE, ""},
        {"+G4", FERRY_EUSAGE, ""},
        {"++40", FERRY_EUSAGE, ""},
        {"a=b", FERRY_EUSAGE, ""},
        {"a b", FERRY_EUSAGE, ""},
        {"a\x7f", FERRY_EUSAGE, ""},
        {"a\xc3\xa4", FERRY_EUSAGE, ""},
        {"+00", FERRY_EUSAGE, ""},
        {"a+0Db", FERRY_EUSAGE, ""},
        {"a+0a", FERRY_EUSAGE, ""},
        {"+01", 1, "\x01"},
    };
    char out[32];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(ferry_smtp_xtext_decode(guarded(cases[i].in), out, sizeof out),
                         cases[i].len);
        if (cases[i].len < 0)
            continue;
        assert_string_equal(out, cases[i].want);
        /* flush against its room, and one byte short of it */
        assert_int_equal(
            ferry_smtp_xtext_decode(guarded(cases[i].in), out, (size_t)cases[i].len + 1),
            cases[i].len);
        memset(out, 'x', sizeof out);
        assert_int_equal(ferry_smtp_xtext_decode(guarded(cases[i].in), out, (size_t)cases[i].len),
                         FERRY_ELIMIT);
        assert_int_equal(out[0], 'x');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies_to_mail),
        cmocka_unit_test(what_was_not_announced_is_unknown),
        cmocka_unit_test(what_mail_is_told),
        cmocka_unit_test(replies_to_rcpt),
        cmocka_unit_test(sizes_at_the_limit_and_one_past_it),
        cmocka_unit_test(xtext),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
