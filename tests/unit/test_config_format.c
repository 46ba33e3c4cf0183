/* SPDX-License-Identifier: MIT */
#include "config/config.h"

#include <stdio.h>

#include "support.h"

/* -- layout ----------------------------------------------------------------------------------- */

static void texts_are_laid_out(void **state)
{
    static const struct {
        const char *text, *want; /* want NULL: it stays */
    } cases[] = {
        {"", NULL},
        {"\n\n", ""},
        {"# a", "# a\n"},
        {"a=b", "a = b\n"},
        {"a = b  c = d\n", NULL},
        {"a = b c=d", "a = b  c = d\n"},
        {"  a = b   # why  \n", "a = b  # why\n"},
        {"a = {b,c , d}", "a = { b, c, d }\n"},
        {"a = {\n    b,\n    c,\n}\n", NULL},
        {"a = { b,\nc }\n", "a = {\n    b,\n    c\n}\n"},
        {"a { }", "a {}\n"},
        {"a {\n\n\n}\n", "a {}\n"},
        {"a\n{\nb = c\n}", "a {\n    b = c\n}\n"},
        {"a \"b c\" d{b=c}", "a \"b c\" d { b = c }\n"},
        {"a { b {\nc = d } }", "a {\n    b {\n        c = d\n    }\n}\n"},
        {"a {\n\n  b = c\n\n\n\n  d = e\n\n}\n\n\n", "a {\n    b = c\n\n    d = e\n}\n"},
        {"a { # why\n b = c }", "a {  # why\n    b = c\n}\n"},
        {"a {\n  b {\n    c = d\n  } e {} }", "a {\n    b {\n        c = d\n    }\n    e {}\n}\n"},
        {"\xef\xbb\xbf# x\r\na = b\r\n", "# x\na = b\n"},
        {"a {} b {}\n", "a {}  b {}\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *want = cases[i].want ? cases[i].want : cases[i].text, *why;
        size_t len = strlen(cases[i].text), n;
        struct ferry_config_place place;
        char *out = NULL;
        FILE *f = open_memstream(&out, &n);
        struct ferry_slice text = {guard_copy(0, cases[i].text, len), len};

        assert_non_null(f);
        assert_int_equal(ferry_config_format(text, f, &place, &why), 0);
        assert_int_equal(fclose(f), 0);
        assert_string_equal(out, want);
        free(out);
    }
}

static void texts_that_cannot_be_laid_out(void **state)
{
    static const struct {
        const char *text;
        unsigned line;
        const char *why;
    } cases[] = {
        {"a {\n b {\n }\n", 1, "this '{' has no '}' at its end"},
        {"a = b\n}\n", 2, "this '}' closes nothing"},
        {"\na = \"b\n", 2, "this quote does not end on its line"},
        {"{{{{{{{{{{", 1, "blocks lie 8 deep at most"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_config_place place;
        size_t n;
        char *out = NULL;
        FILE *f = open_memstream(&out, &n);
        const char *why;

        assert_non_null(f);
        assert_int_equal(
            ferry_config_format((struct ferry_slice){cases[i].text, strlen(cases[i].text)}, f,
                                &place, &why),
            FERRY_EUSAGE);
        assert_int_equal(fclose(f), 0);
        assert_string_equal(why, cases[i].why);
        assert_int_equal(place.line, cases[i].line);
        free(out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_laid_out),
        cmocka_unit_test(texts_that_cannot_be_laid_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
