/* SPDX-License-Identifier: MIT */
#include "files/date.h"

#include <stdio.h>
#include <time.h>

#include "support.h"

#define NOW INT64_C(1795219200) /* 2026-11-21 */

static struct ferry_slice guarded(const char *text)
{
    size_t n = strlen(text);

    return ferry_slice(guard_copy(0, text, n), n);
}

static void three_forms_are_read(void **state)
{
    static const struct {
        const char *text;
        int64_t want;
    } cases[] = {
        {"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},
        {"Sunday, 06-Nov-94 08:49:37 GMT", 784111777},
        {"Sun Nov  6 08:49:37 1994", 784111777},
        {"Wed Nov 16 08:49:37 1994", 784975777},
        {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
        {"Wed, 31 Dec 1969 23:59:59 GMT", -1},
        {"Thu, 29 Feb 2024 12:00:00 GMT", 1709208000},
        {"Sat, 31 Dec 2016 23:59:60 GMT", 1483228800}, /* a leap second is the next one */
        {"Fri, 31 Dec 9999 23:59:59 GMT", INT64_C(253402300799)},
        {"xyz, 06 Nov 1994 08:49:37 GMT", 784111777}, /* the weekday says nothing new */
        {"Wednesday, 01-Jan-76 00:00:00 GMT", INT64_C(3345062400)}, /* 50 years ahead */
        {"Saturday, 01-Jan-77 00:00:00 GMT", 220924800},            /* 51 would be too many */
    };
    int64_t got;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        got = 7;
        assert_int_equal(ferry_date_parse(guarded(cases[i].text), NOW, &got), 0);
        assert_int_equal(got, cases[i].want);
    }
}

static void other_texts_are_refused(void **state)
{
    static const char *const cases[] = {
        "",
        "Sun",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 CET",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Tue, 29 Feb 2023 08:49:37 GMT",
        "Thu, 29 Feb 2100 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:00 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, -6 Nov 1994 08:49:37 GMT",
        "Monday, 29-Feb-99 08:49:37 GMT",
        "Sun Nov 06 1994 08:49:37",
        "S1nday, 06-Nov-94 08:49:37 GMT",
        "Sundayyyyy, 06-Nov-94 08:49:37 GMT",
        "784111777",
    };
    int64_t got = 7;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(ferry_date_parse(guarded(cases[i]), NOW, &got), FERRY_EPROTOCOL);
    assert_int_equal(got, 7);
}

static void every_shorter_text_is_refused(void **state)
{
    static const char *const cases[] = {"Sun, 06 Nov 1994 08:49:37 GMT",
                                        "Sunday, 06-Nov-94 08:49:37 GMT",
                                        "Sun Nov  6 08:49:37 1994"};
    int64_t got;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t n = 0; n < strlen(cases[i]); n++) {
            const char *p = guard_copy(0, cases[i], n);
            assert_int_equal(ferry_date_parse(ferry_slice(p, n), NOW, &got), FERRY_EPROTOCOL);
        }
}

static void what_is_written_is_what_the_c_library_writes(void **state)
{
    char got[FERRY_DATE_LEN], want[64];
    int64_t back;

    (void)state;
    for (int64_t t = INT64_C(-62167219200); t <= INT64_C(253402300799); t += 86400 * 13 + 12345) {
        time_t sec = (time_t)t;
        struct tm tm;

        ferry_date_format(t, got);
        gmtime_r(&sec, &tm);
        strftime(want, sizeof want, "%a, %d %b ", &tm);
        snprintf(want + 12, sizeof want - 12, "%04d %02d:%02d:%02d GMT", tm.tm_year + 1900,
                 tm.tm_hour, tm.tm_min, tm.tm_sec);
        assert_memory_equal(got, want, FERRY_DATE_LEN);
        assert_int_equal(ferry_date_parse(ferry_slice(got, FERRY_DATE_LEN), NOW, &back), 0);
        assert_int_equal(back, t);
    }
}

static void times_without_four_digit_years_are_moved(void **state)
{
    char got[FERRY_DATE_LEN];

    (void)state;
    ferry_date_format(INT64_MAX, got);
    assert_memory_equal(got, "Fri, 31 Dec 9999 23:59:59 GMT", FERRY_DATE_LEN);
    ferry_date_format(INT64_MIN, got);
    assert_memory_equal(got, "Sat, 01 Jan 0000 00:00:00 GMT", FERRY_DATE_LEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_forms_are_read),
        cmocka_unit_test(other_texts_are_refused),
        cmocka_unit_test(every_shorter_text_is_refused),
        cmocka_unit_test(what_is_written_is_what_the_c_library_writes),
        cmocka_unit_test(times_without_four_digit_years_are_moved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
