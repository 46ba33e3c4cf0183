/* SPDX-License-Identifier: MIT */
#include "mail/verdict.h"

#include <errno.h>
#include <stdio.h>

#include "support.h"

static const struct ferry_mail_service plain;

static struct ferry_mail_verdict read_one(enum ferry_mail_question question, int status,
                                          const char *body, size_t n, const char *token)
{
    struct ferry_mail_verdict v;
    char *at = guard_copy(0, body, n);

    ferry_mail_verdict_read(question, status, ferry_slice(at, n), ferry_slice_z(token), &v, 1);
    return v;
}

#define ASK(question, status, body)                                                                \
    read_one(FERRY_MAIL_##question, status, body, sizeof(body) - 1, "")

static void the_first_word_decides(void **state)
{
    /* R02-R05, S05, S06, S09, and the table of docs/mail.md. */
    static const struct {
        const char *body;
        enum ferry_mail_outcome validate, save, auth;
    } cases[] = {
#define R FERRY_MAIL_REJECT
#define N FERRY_MAIL_NOT_SAVED
#define B FERRY_MAIL_BAD
#define O FERRY_MAIL_OK
#define E FERRY_MAIL_EMPTY
#define D FERRY_MAIL_DEFER
        {"PASS", O, N, O},
        {"PASSED", O, N, O},
        {"PASS\n", O, N, O},
        {"\r\n PASS ", O, N, O},
        {"\xef\xbb\xbfPASS", O, N, O},
        {" \n\xef\xbb\xbf\tPASS\r\n\r\n", O, N, O},
        {"PASS and welcome", O, N, O},
        {"PASS\nand more", O, N, O},
        {"PASSWORD required", R, N, R},
        {"PASSx", R, N, R},
        {"pass", R, N, R},
        {"Passed", R, N, R},
        {"\"PASS\"", R, N, R},
        {"PASS,", R, N, R},
        {"no such user", R, N, R},
        {"NO PASS", R, N, R},
        {"250 ok", R, N, R},
        {"SAVED", B, O, B},
        {"SAVED\n", B, O, B},
        {"SAVED abc", B, O, B},
        {"\xef\xbb\xbf\r\nSAVED\r\nand so on", B, O, B},
        {"SAVEDX", R, N, R},
        {"saved", R, N, R},
        {"NOT SAVED", R, N, R},
        {" <br>SAVED", R, N, R},
        {"<br />\nSAVED", R, N, R},
        {"SAVED_NOT", R, N, R},
        {"SAVED.", R, N, R},
        {"", E, E, E},
        {" \r\n\t\n", E, E, E},
        {"\xef\xbb\xbf", E, E, E},
        {"DISCARD", B, FERRY_MAIL_DISCARD, B},
        {"DISCARD spam", B, FERRY_MAIL_DISCARD, B},
        {"REJECT", R, R, R},
        {"REJECT 552 5.2.2 full", R, R, R},
        {"REJECTED", R, N, R},
        {"DEFER", D, D, D},
        {"DEFER 450 4.7.1 greylisted", D, D, D},
        {"DEFERRED", R, N, R},
        {"defer", R, N, R},
        /* What PHP itself says is nobody's answer. */
        {"<br />\n<b>Fatal error</b>:  Uncaught PDOException: gone in /srv/v.php", B, B, B},
        {"<br />\n<b>Warning</b>:  Undefined variable $x", B, N, B},
        {"\nWarning: Undefined variable $x in /srv/v.php on line 3\nPASS", B, N, B},
        {"PHP Fatal error:  Uncaught Error", B, B, B},
        /* Nor is what was said before PHP gave up: the commit may come at the end. */
        {"SAVED\n<br />\n<b>Fatal error</b>:  Uncaught PDOException: gone", B, B, B},
        {"SAVED abc\nFatal error: Uncaught PDOException: gone", B, B, B},
        {"SAVED abc<br />\n<b>Fatal error</b>:  Allowed memory size", B, B, B},
        {"SAVED\r\nPHP Fatal error:  Uncaught Error", B, B, B},
        {"rcpt 0 SAVED\nFatal error: Uncaught Error", R, B, R},
        {"SAVED\n<b>Warning</b>:  Undefined variable $x", B, O, B},
        {"SAVED no Fatal error: at all", B, O, B},
        {"SAVED\nFatal errors: none", B, O, B},
        {"Parse error: syntax error", B, N, B},
        {"Warning, no such user", R, N, R},
        {"Notice", R, N, R},
        {"Fatal errors: none", R, N, R},
#undef R
#undef N
#undef B
#undef O
#undef E
#undef D
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum ferry_mail_outcome want[] = {cases[i].validate, cases[i].save, cases[i].auth};

        for (unsigned q = 0; q < 3; q++) {
            struct ferry_mail_verdict v = read_one((enum ferry_mail_question)q, 200, cases[i].body,
                                                   strlen(cases[i].body), "");

            if (v.outcome != want[q])
                fail_msg("question %u, '%s': %s", q, cases[i].body,
                         ferry_mail_outcome_word(v.outcome));
        }
    }
}

static void a_status_other_than_2xx_is_a_fault(void **state)
{
    static const struct {
        int status;
        const char *body;
        enum ferry_mail_outcome validate, save;
    } cases[] = {
        {204, "PASS", FERRY_MAIL_OK, FERRY_MAIL_NOT_SAVED},
        {299, "SAVED", FERRY_MAIL_BAD, FERRY_MAIL_OK},
        {302, "PASS", FERRY_MAIL_STATUS, FERRY_MAIL_STATUS},
        {500, "SAVED", FERRY_MAIL_STATUS, FERRY_MAIL_STATUS},
        {500, "PASS", FERRY_MAIL_STATUS, FERRY_MAIL_STATUS},
        {500, "no such user", FERRY_MAIL_STATUS, FERRY_MAIL_STATUS},
        {500, "REJECT", FERRY_MAIL_STATUS, FERRY_MAIL_STATUS},
        {503, "DEFER", FERRY_MAIL_STATUS, FERRY_MAIL_STATUS},
        {503, "", FERRY_MAIL_STATUS, FERRY_MAIL_STATUS},
        {404, "File not found.\n", FERRY_MAIL_CONFIGURATION, FERRY_MAIL_CONFIGURATION},
        {403, "Access denied.\n", FERRY_MAIL_CONFIGURATION, FERRY_MAIL_CONFIGURATION},
        {404, "", FERRY_MAIL_CONFIGURATION, FERRY_MAIL_CONFIGURATION},
        {404, "REJECT no such user", FERRY_MAIL_REJECT, FERRY_MAIL_REJECT},
        {429, "DEFER", FERRY_MAIL_DEFER, FERRY_MAIL_DEFER},
        {400, "PASS", FERRY_MAIL_CONFIGURATION, FERRY_MAIL_CONFIGURATION},
        {400, "SAVED", FERRY_MAIL_CONFIGURATION, FERRY_MAIL_CONFIGURATION},
        {410, "gone", FERRY_MAIL_STATUS, FERRY_MAIL_STATUS},
        {410, "rcpt 0 SAVED", FERRY_MAIL_STATUS, FERRY_MAIL_STATUS},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = strlen(cases[i].body);

        assert_int_equal(
            read_one(FERRY_MAIL_VALIDATE, cases[i].status, cases[i].body, n, "").outcome,
            cases[i].validate);
        assert_int_equal(read_one(FERRY_MAIL_SAVE, cases[i].status, cases[i].body, n, "").outcome,
                         cases[i].save);
    }
}

static void words_stay_in_their_class(void **state)
{
    /* R26 */
    static const struct {
        const char *body;
        int code;
        const char *enhanced, *text;
    } cases[] = {
        {"REJECT", 0, "", ""},
        {"REJECT no such user", 0, "", "no such user"},
        {"REJECT 551", 551, "", ""},
        {"REJECT 552 5.2.2 Mailbox full", 552, "5.2.2", "Mailbox full"},
        {"REJECT  559\t5.7.100   x  y ", 559, "5.7.100", "x  y"},
        {"REJECT 5.7.1 spam", 0, "5.7.1", "spam"},
        {"REJECT 250 x", 0, "", "x"},
        {"REJECT 421 4.3.2 x", 0, "", "x"},
        {"REJECT 550 4.1.1", 550, "", ""},
        {"REJECT 550 4.1.1 x", 550, "", "x"},
        {"REJECT 599 x", 0, "", "x"},
        {"REJECT 500 x", 0, "", "x"},
        {"REJECT 5500 x", 0, "", "5500 x"},
        {"REJECT 550 5.1 x", 550, "", "5.1 x"},
        {"REJECT 550 5.1.1000 x", 550, "", "5.1.1000 x"},
        {"REJECT 550 5..1 x", 550, "", "5..1 x"},
        {"REJECT 550 5.1.1. x", 550, "", "5.1.1. x"},
        {"REJECT 550 line1\r\n250 injected", 550, "", "line1"},
        {"REJECT 550 line1\n250 injected", 550, "", "line1"},
        {"REJECT 550 line1\r250 injected", 550, "", "line1"},
        {"REJECT\r\n550 5.1.1 of another line", 0, "", ""},
        {"REJECT 550 a\x1b[1m\xff"
         "b\tc",
         550, "", "a?[1m?b c"},
        {"REJECT 550 gr\xc3\xbc\xc3\x9f", 550, "", "gr\xc3\xbc\xc3\x9f"},
        {"DEFER", 0, "", ""},
        {"DEFER 450 4.7.1 Greylisted, try again", 450, "4.7.1", "Greylisted, try again"},
        {"DEFER 451", 451, "", ""},
        {"DEFER 421 4.7.0 go away", 0, "4.7.0", "go away"},
        {"DEFER 550 5.7.1 never", 0, "", "never"},
        {"DEFER 250 2.0.0 ok", 0, "", "ok"},
    };
    char longer[] = "REJECT 550 ";
    char body[1024];
    struct ferry_mail_verdict v;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (unsigned q = 0; q < 3; q++) {
            v = read_one((enum ferry_mail_question)q, 200, cases[i].body, strlen(cases[i].body),
                         "");
            assert_int_equal(v.code, cases[i].code);
            assert_string_equal(v.enhanced, cases[i].enhanced);
            assert_string_equal(v.text, cases[i].text);
        }
    /* Cut where it has no more room, and never in a character. */
    for (size_t pad = 0; pad < 3; pad++) {
        size_t n = (size_t)snprintf(body, sizeof body, "%s%.*s", longer, (int)pad, "xx");

        while (n + 2 < sizeof body) {
            body[n++] = (char)0xc3;
            body[n++] = (char)0xbc;
        }
        v = read_one(FERRY_MAIL_SAVE, 200, body, n, "");
        assert_in_range(strlen(v.text), FERRY_MAIL_WORDS_MAX - 1, FERRY_MAIL_WORDS_MAX);
        assert_int_equal(strlen(v.text) % 2, pad % 2);
    }
}

static void a_token_proves_that_all_has_arrived(void **state)
{
    /* S20 */
    static const struct {
        const char *body, *token;
        enum ferry_mail_outcome outcome;
        const char *id;
    } cases[] = {
        {"SAVED", "t0k3n", FERRY_MAIL_TOKEN, ""},
        {"SAVED t0k3n", "t0k3n", FERRY_MAIL_OK, ""},
        {"SAVED t0k3n\n", "t0k3n", FERRY_MAIL_OK, ""},
        {"SAVED\nt0k3n", "t0k3n", FERRY_MAIL_TOKEN, ""},
        {"SAVED t0k3nx", "t0k3n", FERRY_MAIL_TOKEN, ""},
        {"SAVED t0k3", "t0k3n", FERRY_MAIL_TOKEN, ""},
        {"SAVED T0K3N", "t0k3n", FERRY_MAIL_TOKEN, ""},
        {"SAVED id=7 t0k3n", "t0k3n", FERRY_MAIL_OK, "7"},
        {"SAVED t0k3n id=7", "t0k3n", FERRY_MAIL_OK, "7"},
        {"SAVED id=t0k3n", "t0k3n", FERRY_MAIL_TOKEN, "t0k3n"},
        {"DISCARD", "t0k3n", FERRY_MAIL_DISCARD, ""},
        {"REJECT", "t0k3n", FERRY_MAIL_REJECT, ""},
        {"rcpt 0 SAVED", "t0k3n", FERRY_MAIL_TOKEN, ""},
        {"rcpt 0 SAVED t0k3n id=a", "t0k3n", FERRY_MAIL_OK, "a"},
        {"SAVED id=a/b.c id=d", "", FERRY_MAIL_OK, "a/b.c"},
        {"SAVED id=", "", FERRY_MAIL_OK, ""},
        {"SAVED anything", "", FERRY_MAIL_OK, ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_mail_verdict v =
            read_one(FERRY_MAIL_SAVE, 200, cases[i].body, strlen(cases[i].body), cases[i].token);

        assert_int_equal(v.outcome, cases[i].outcome);
        assert_string_equal(v.id, cases[i].id);
    }
}

static void recipients_are_answered_one_by_one(void **state)
{
    static const struct {
        const char *body;
        unsigned n;
        enum ferry_mail_outcome want[3];
    } cases[] = {
#define O FERRY_MAIL_OK
#define R FERRY_MAIL_REJECT
#define D FERRY_MAIL_DEFER
#define N FERRY_MAIL_NOT_SAVED
#define B FERRY_MAIL_BAD
        {"SAVED", 3, {O, O, O}},
        {"REJECT 550 no", 3, {R, R, R}},
        {"SAVED\nrcpt 1 REJECT", 2, {O, O}},
        {"rcpt 0 SAVED\nrcpt 1 REJECT\nrcpt 2 DEFER\n", 3, {O, R, D}},
        {"rcpt 2 SAVED\r\nrcpt 0 REJECT\r\n\r\nrcpt 1 DISCARD", 3, {R, FERRY_MAIL_DISCARD, O}},
        {"rcpt 0 SAVED\n", 3, {O, N, N}},
        {"rcpt 0 SAVED\nrcpt 1 PASS", 2, {O, B}},
        {"rcpt 0 SAVED\nrcpt 1 saved", 2, {O, B}},
        {"rcpt 0 SAVED\nrcpt 1", 2, {O, B}},
        {"rcpt 0 SAVED\nrcpt 7 SAVED\nrcpt 1 SAVED", 2, {O, O}},
        {"rcpt 0 SAVED\nrcpt x SAVED\nrcpt 1 SAVED", 2, {O, N}},
        {"rcpt 0 SAVED\nSAVED\nrcpt 1 SAVED", 2, {O, N}},
        {"rcpt 0 SAVED\nrcpt 0 REJECT\nrcpt 1 SAVED", 2, {B, O}},
        {"rcpt 0 SAVED\nrcpt 0 SAVED\nrcpt 1 SAVED", 2, {B, O}},
        {"rcpt 0 nonsense\nrcpt 0 SAVED", 1, {B}},
        {"rcpt 4294967296 SAVED", 1, {N}},
        {"rcpt -1 SAVED", 1, {N}},
        {"rcpt", 2, {N, N}},
        {"rcpts 0 SAVED", 1, {N}},
#undef O
#undef R
#undef D
#undef N
#undef B
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_mail_verdict v[3];
        size_t n = strlen(cases[i].body);

        memset(v, 0x55, sizeof v);
        ferry_mail_verdict_read(FERRY_MAIL_SAVE, 200,
                                ferry_slice(guard_copy(0, cases[i].body, n), n), FERRY_SLICE(""), v,
                                cases[i].n);
        for (unsigned k = 0; k < cases[i].n; k++)
            if (v[k].outcome != cases[i].want[k])
                fail_msg("'%s', recipient %u: %s", cases[i].body, k,
                         ferry_mail_outcome_word(v[k].outcome));
    }
    /* To another question it is no answer of this kind. */
    assert_int_equal(ASK(VALIDATE, 200, "rcpt 0 PASS").outcome, FERRY_MAIL_REJECT);
}

static void hostile_answers_are_faults(void **state)
{
    /* R23: NUL in output, and more than is read. */
    static char huge[FERRY_MAIL_ANSWER_MAX + 1];

    (void)state;
    assert_int_equal(ASK(VALIDATE, 200, "PASS\0").outcome, FERRY_MAIL_BAD);
    assert_int_equal(ASK(VALIDATE, 200, "no such\0user").outcome, FERRY_MAIL_BAD);
    assert_int_equal(ASK(SAVE, 200, "SAVED\0").outcome, FERRY_MAIL_BAD);
    assert_int_equal(ASK(SAVE, 200, "rcpt 0 SAVED\0").outcome, FERRY_MAIL_BAD);
    memset(huge, ' ', sizeof huge);
    memcpy(huge, "SAVED", 5);
    assert_int_equal(read_one(FERRY_MAIL_SAVE, 200, huge, sizeof huge - 1, "").outcome,
                     FERRY_MAIL_OK);
    assert_int_equal(read_one(FERRY_MAIL_SAVE, 200, huge, sizeof huge, "").outcome,
                     FERRY_MAIL_TOO_LONG);
}

static void what_is_not_whole_is_a_fault_with_a_name(void **state)
{
    static const struct {
        struct ferry_outcome how;
        enum ferry_mail_outcome outcome;
    } cases[] = {
        {{.result = FERRY_RESULT_DONE, .app_status = 1}, FERRY_MAIL_BAD},
        {{.result = FERRY_RESULT_REFUSED, .err = -ECONNREFUSED}, FERRY_MAIL_UNREACHABLE},
        {{.result = FERRY_RESULT_REFUSED, .err = -ENOENT}, FERRY_MAIL_UNREACHABLE},
        {{.result = FERRY_RESULT_REFUSED, .err = -EACCES}, FERRY_MAIL_UNREACHABLE},
        {{.result = FERRY_RESULT_REFUSED, .err = -ENOMEM}, FERRY_MAIL_INTERNAL},
        {{.result = FERRY_RESULT_CUT, .err = FERRY_ECUT}, FERRY_MAIL_CUT},
        {{.result = FERRY_RESULT_CUT, .err = -ECONNRESET}, FERRY_MAIL_CUT},
        {{.result = FERRY_RESULT_CUT, .err = FERRY_EPROTOCOL}, FERRY_MAIL_BAD},
        {{.result = FERRY_RESULT_CUT, .err = FERRY_EREMOTE}, FERRY_MAIL_BUSY},
        {{.result = FERRY_RESULT_BAD, .err = FERRY_EPROTOCOL}, FERRY_MAIL_BAD},
        {{.result = FERRY_RESULT_BAD, .err = FERRY_ELIMIT}, FERRY_MAIL_TOO_LONG},
        {{.result = FERRY_RESULT_BAD, .err = -ENOMEM}, FERRY_MAIL_INTERNAL},
        {{.result = FERRY_RESULT_BAD_ROLE, .err = FERRY_EREMOTE}, FERRY_MAIL_CONFIGURATION},
        {{.result = FERRY_RESULT_OVERLOADED, .err = FERRY_EREMOTE}, FERRY_MAIL_BUSY},
        {{.result = FERRY_RESULT_OVERLOADED, .err = FERRY_ELIMIT}, FERRY_MAIL_BUSY},
        {{.result = FERRY_RESULT_QUEUE_TIMEOUT, .err = -ETIMEDOUT}, FERRY_MAIL_BUSY},
        {{.result = FERRY_RESULT_TIMEOUT, .err = -ETIMEDOUT}, FERRY_MAIL_TIMEOUT},
        {{.result = FERRY_RESULT_CANCELLED, .err = FERRY_EABORTED}, FERRY_MAIL_INTERNAL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_mail_verdict v;

        memset(&v, 0x55, sizeof v);
        ferry_mail_verdict_fail(&cases[i].how, &v);
        assert_int_equal(v.outcome, cases[i].outcome);
        assert_true(ferry_mail_is_fault(v.outcome));
        assert_int_equal(v.code, 0);
        assert_string_equal(v.text, "");
    }
}

static void only_a_yes_is_2xx_and_doubt_is_4xx(void **state)
{
    static const struct ferry_mail_service perm = {.save_fail = FERRY_MAIL_FAIL_PERM,
                                                   .validate_fail = FERRY_MAIL_FAIL_PERM};
    static const struct ferry_mail_service accept = {.save_fail = FERRY_MAIL_FAIL_ACCEPT,
                                                     .validate_fail = FERRY_MAIL_FAIL_ACCEPT};
    static const struct {
        enum ferry_mail_outcome outcome;
        enum ferry_smtp_reply validate, save, auth;
    } cases[] = {
        {FERRY_MAIL_OK, FERRY_SMTP_RCPT_OK, FERRY_SMTP_SAVED, FERRY_SMTP_AUTH_OK},
        {FERRY_MAIL_REJECT, FERRY_SMTP_USER_UNKNOWN, FERRY_SMTP_REJECTED, FERRY_SMTP_AUTH_WRONG},
        {FERRY_MAIL_DEFER, FERRY_SMTP_USER_LATER, FERRY_SMTP_LATER, FERRY_SMTP_AUTH_BROKEN},
        {FERRY_MAIL_TIMEOUT, FERRY_SMTP_CHECK_FAULT, FERRY_SMTP_NOT_SAVED, FERRY_SMTP_AUTH_BROKEN},
        {FERRY_MAIL_BUSY, FERRY_SMTP_BUSY, FERRY_SMTP_BUSY, FERRY_SMTP_AUTH_BROKEN},
        {FERRY_MAIL_CONFIGURATION, FERRY_SMTP_CONFIGURATION, FERRY_SMTP_CONFIGURATION,
         FERRY_SMTP_AUTH_BROKEN},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct ferry_mail_verdict v = {.outcome = cases[i].outcome};
        bool fault = ferry_mail_is_fault(v.outcome);

        assert_int_equal(ferry_mail_verdict_reply(&plain, FERRY_MAIL_VALIDATE, &v),
                         cases[i].validate);
        assert_int_equal(ferry_mail_verdict_reply(&plain, FERRY_MAIL_SAVE, &v), cases[i].save);
        assert_int_equal(ferry_mail_verdict_reply(&plain, FERRY_MAIL_AUTH, &v), cases[i].auth);
        assert_int_equal(ferry_mail_verdict_reply(&perm, FERRY_MAIL_VALIDATE, &v),
                         fault ? FERRY_SMTP_USER_UNKNOWN : cases[i].validate);
        assert_int_equal(ferry_mail_verdict_reply(&perm, FERRY_MAIL_SAVE, &v),
                         fault ? FERRY_SMTP_NOT_SAVED_FOR_GOOD : cases[i].save);
        assert_int_equal(ferry_mail_verdict_reply(&accept, FERRY_MAIL_VALIDATE, &v),
                         fault ? FERRY_SMTP_RCPT_OK : cases[i].validate);
        assert_int_equal(ferry_mail_verdict_reply(&accept, FERRY_MAIL_SAVE, &v), cases[i].save);
    }
}

static void scripts_words_are_made_whole(void **state)
{
    static const struct {
        enum ferry_mail_question question;
        const char *body;
        int code;
        const char *enhanced, *text;
    } cases[] = {
        {FERRY_MAIL_VALIDATE, "REJECT", 0, "", ""},
        {FERRY_MAIL_VALIDATE, "no such user", 0, "", ""},
        {FERRY_MAIL_VALIDATE, "REJECT moved away", 550, "5.1.1", "moved away"},
        {FERRY_MAIL_VALIDATE, "REJECT 551 moved away", 551, "", "moved away"},
        {FERRY_MAIL_VALIDATE, "REJECT 550 moved away", 550, "5.1.1", "moved away"},
        {FERRY_MAIL_VALIDATE, "REJECT 552 5.2.2", 552, "5.2.2", "Rejected"},
        {FERRY_MAIL_VALIDATE, "DEFER 450 4.7.1", 450, "4.7.1", "Try again later"},
        {FERRY_MAIL_SAVE, "REJECT spam", 554, "5.7.1", "spam"},
        {FERRY_MAIL_SAVE, "REJECT 250 2.0.0 Ok", 554, "5.7.1", "Ok"},
        {FERRY_MAIL_SAVE, "DEFER 452 4.2.2 full", 452, "4.2.2", "full"},
        {FERRY_MAIL_SAVE, "SAVED", 0, "", ""},
        {FERRY_MAIL_AUTH, "REJECT 550 5.1.1 who", 0, "", ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_slice enhanced = {NULL, 0}, text = {NULL, 0};
        struct ferry_mail_verdict v =
            read_one(cases[i].question, 200, cases[i].body, strlen(cases[i].body), "");

        assert_int_equal(ferry_mail_verdict_words(&plain, cases[i].question, &v, &enhanced, &text),
                         cases[i].code);
        if (!cases[i].code)
            continue;
        assert_true(ferry_slice_eq(enhanced, ferry_slice_z(cases[i].enhanced)));
        assert_true(ferry_slice_eq(text, ferry_slice_z(cases[i].text)));
    }
}

static void one_answer_for_many(void **state)
{
    /* In SMTP: doubt wins, then a yes. */
    static const struct {
        unsigned n;
        enum ferry_mail_outcome of[3];
        unsigned one;
    } cases[] = {
        {1, {FERRY_MAIL_OK}, 0},
        {3, {FERRY_MAIL_OK, FERRY_MAIL_OK, FERRY_MAIL_OK}, 0},
        {3, {FERRY_MAIL_OK, FERRY_MAIL_REJECT, FERRY_MAIL_DEFER}, 2},
        {3, {FERRY_MAIL_OK, FERRY_MAIL_NOT_SAVED, FERRY_MAIL_DEFER}, 1},
        {3, {FERRY_MAIL_REJECT, FERRY_MAIL_REJECT, FERRY_MAIL_OK}, 2},
        {3, {FERRY_MAIL_REJECT, FERRY_MAIL_DISCARD, FERRY_MAIL_REJECT}, 1},
        {2, {FERRY_MAIL_REJECT, FERRY_MAIL_REJECT}, 0},
        {2, {FERRY_MAIL_REJECT, FERRY_MAIL_TOKEN}, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_mail_verdict v[3] = {0};

        for (unsigned k = 0; k < cases[i].n; k++)
            v[k].outcome = cases[i].of[k];
        assert_ptr_equal(ferry_mail_verdict_one(v, cases[i].n), &v[cases[i].one]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_word_decides),
        cmocka_unit_test(a_status_other_than_2xx_is_a_fault),
        cmocka_unit_test(words_stay_in_their_class),
        cmocka_unit_test(a_token_proves_that_all_has_arrived),
        cmocka_unit_test(recipients_are_answered_one_by_one),
        cmocka_unit_test(hostile_answers_are_faults),
        cmocka_unit_test(what_is_not_whole_is_a_fault_with_a_name),
        cmocka_unit_test(only_a_yes_is_2xx_and_doubt_is_4xx),
        cmocka_unit_test(scripts_words_are_made_whole),
        cmocka_unit_test(one_answer_for_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
