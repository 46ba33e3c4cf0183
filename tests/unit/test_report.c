/* SPDX-License-Identifier: MIT */
#include "check/report.h"

#include <jansson.h>

#include "support.h"

static const struct ferry_check_case must = {
    .id = "A-X-1",
    .section = "3.3",
    .strength = FERRY_MUST,
    .title =
        "a title that is long enough to go past the end of a line, which is at eighty characters"};
static const struct ferry_check_case should = {
    .id = "A-X-2", .section = "3.3", .strength = FERRY_SHOULD, .title = "pads"};
static const struct ferry_check_case silent = {
    .id = "A-X-3", .section = "", .strength = FERRY_SILENT, .title = "as ferry does"};
static const struct ferry_check_group group = {.id = "A-X", .title = "all of it"};
static const struct ferry_check_suite suite = {.name = "application"};

static char *write_all(enum ferry_report_format format, bool verbose)
{
    struct ferry_talk talk = {.n = 0};
    char *text;
    size_t len;
    FILE *to = open_memstream(&text, &len);
    struct ferry_report_opts o = {
        .format = format, .verbose = verbose, .to = to, .target = "unix:/it"};
    struct ferry_report *r = ferry_report_new(&o);
    const struct ferry_check_result results[] = {
        {&group, &must, FERRY_PASSED, "", &talk, 1},
        {&group, &must, FERRY_FAILED, "it's wrong", &talk, 1},
        {&group, &should, FERRY_FAILED, "no padding", &talk, 1},
        {&group, &silent, FERRY_FAILED, "otherwise", &talk, 1},
        {&group, &must, FERRY_SKIPPED, "not here", &talk, 1},
        {&group, &must, FERRY_SKIPPED, "not here", &talk, 1},
    };

    ferry_talk_note(&talk, "Web server", 0, "{\"'\"}");
    ferry_report_suite(r, &suite);
    ferry_report_fact(r, "FCGI_MAX_CONNS", "1");
    for (size_t i = 0; i < sizeof results / sizeof *results; i++)
        ferry_report_result(r, &results[i]);
    assert_int_equal(ferry_report_end(r), 0);
    ferry_report_free(r);
    ferry_talk_fini(&talk);
    fclose(to);
    return text;
}

static void text(void **state)
{
    (void)state;
    char *brief = write_all(FERRY_REPORT_TEXT, false),
         *verbose = write_all(FERRY_REPORT_TEXT, true);

    assert_non_null(strstr(brief, "FAIL A-X-1 "));
    assert_non_null(strstr(brief, "WARN A-X-2 "));
    assert_null(strstr(brief, "A-X-3"));
    assert_null(strstr(brief, "ok "));
    assert_non_null(strstr(brief, "       Web server:  {\"'\"}\n"));
    assert_non_null(strstr(brief, "2 skipped: not here\n"));
    assert_non_null(strstr(brief, "demands: A-X-1\n"));
    assert_non_null(strstr(verbose, "ok   A-X-1 "));
    assert_non_null(strstr(verbose, "note A-X-3 "));
    assert_non_null(strstr(verbose, "skip A-X-1 "));
    for (const char *line = verbose; *line; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 80);
    assert_null(strchr(verbose, 27));
    free(brief);
    free(verbose);
}

static void json(void **state)
{
    (void)state;
    char *out = write_all(FERRY_REPORT_JSON, false);
    json_t *all = json_loads(out, 0, NULL), *one;

    assert_non_null(all);
    assert_string_equal(json_string_value(json_object_get(all, "target")), "unix:/it");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(all, "facts"), "FCGI_MAX_CONNS")), "1");
    assert_int_equal(json_integer_value(json_object_get(all, "passed")), 1);
    assert_int_equal(json_integer_value(json_object_get(all, "skipped")), 2);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(all, "failed"), "should")),
                     1);
    assert_int_equal(json_array_size(json_object_get(all, "cases")), 6);
    one = json_array_get(json_object_get(all, "groups"), 0);
    assert_string_equal(json_string_value(json_object_get(one, "title")), "all of it");
    assert_int_equal(json_integer_value(json_object_get(one, "failed")), 3);
    one = json_array_get(json_object_get(all, "cases"), 1);
    assert_string_equal(json_string_value(json_object_get(one, "id")), "A-X-1");
    assert_string_equal(json_string_value(json_object_get(one, "result")), "failed");
    assert_string_equal(json_string_value(json_object_get(one, "reason")), "it's wrong");
    assert_int_equal(json_array_size(json_object_get(one, "conversation")), 1);
    json_decref(all);
    free(out);
}

static void tap(void **state)
{
    (void)state;
    char *out = write_all(FERRY_REPORT_TAP, false);

    assert_int_equal(strncmp(out, "TAP version 14\n", 15), 0);
    assert_non_null(strstr(out, "\nnot ok 3 - A-X-2 pads # TO"
                                "DO should\n"));
    assert_non_null(strstr(out, "  reason: 'it''s wrong'\n"));
    assert_non_null(strstr(out, "\n1..6\n"));
    free(out);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(text),
        cmocka_unit_test(json),
        cmocka_unit_test(tap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
