/* SPDX-License-Identifier: MIT */
#include "check/check.h"

#include <stdio.h>

#include "check/report.h"
#include "support.h"

static unsigned befores, afters;

static void passes(struct ferry_check *c)
{
    assert_non_null(ferry_check_alloc(c, 100));
    assert_int_equal(c->at->arg, 7);
}

static void fails(struct ferry_check *c)
{
    ferry_check_fail(c, "expected %d, but\n\033[31m", 1);
}

static void skips(struct ferry_check *c)
{
    ferry_check_skip(c, "not here");
}

static const char *lacks(struct ferry_check *c, unsigned needs)
{
    (void)c;
    return needs == 2 ? "needs two" : NULL;
}

static void before(struct ferry_check *c)
{
    (void)c;
    befores++;
}

static void after(struct ferry_check *c)
{
    afters++;
    if (c->at->needs == 4)
        ferry_check_fail(c, "it died");
}

static const struct ferry_check_case first[] = {
    {"A-X-1a", "3.3", FERRY_MUST, "passes", 0, passes, 7},
    {"A-X-1b", "3.3", FERRY_MUST, "fails", 0, fails, 0},
    {"A-X-10", "", FERRY_SILENT, "fails softly", 0, fails, 0},
};

static const struct ferry_check_case second[] = {
    {"A-Y-1", "3.3", FERRY_INFERRED, "lacks", 2, fails, 0},
    {"A-Y-2", "3.3", FERRY_SHOULD, "skips", 0, skips, 0},
    {"A-Y-3", "3.3", FERRY_INFERRED, "dies", 4, passes, 7},
    {"A-Y-4", "3.3", FERRY_INFERRED, "fails and dies", 4, fails, 0},
};

static const struct ferry_check_group group_x = {"A-X", "the first", first, 3};
static const struct ferry_check_group group_y = {"A-Y", "the second", second, 4};
static const struct ferry_check_group *const groups[] = {&group_x, &group_y, NULL};
static const struct ferry_check_suite suite = {.name = "test",
                                               .ours = "Web server",
                                               .theirs = "Application",
                                               .groups = groups,
                                               .lacks = lacks,
                                               .before = before,
                                               .after = after};

/* What a run over these writes, in memory. */
static unsigned run(const char *const *only, enum ferry_report_format format, bool verbose,
                    char **text)
{
    struct ferry_check_opts opts = {.only = only, .timeout_ms = 100};
    size_t len;
    FILE *to = open_memstream(text, &len);
    struct ferry_report_opts r = {.format = format, .verbose = verbose, .to = to, .target = "it"};
    struct ferry_report *report = ferry_report_new(&r);
    unsigned failed;

    befores = afters = 0;
    failed = ferry_check_run(&suite, &opts, NULL, report);
    assert_int_equal(ferry_report_end(report), 0);
    ferry_report_free(report);
    fclose(to);
    return failed;
}

static void every_way_to_end(void **state)
{
    (void)state;
    char *text;

    assert_int_equal(run(NULL, FERRY_REPORT_TAP, false, &text), 3);
    assert_int_equal(befores, 6);
    assert_int_equal(afters, 6);
    assert_non_null(strstr(text, "\nok 1 - A-X-1a passes\n"));
    assert_non_null(strstr(text, "\nnot ok 2 - A-X-1b fails\n"));
    assert_non_null(strstr(text, "reason: 'expected 1, but??[31m'"));
    assert_non_null(strstr(text, "\nok 4 - A-Y-1 lacks # SKIP needs two\n"));
    assert_non_null(strstr(text, "\nok 5 - A-Y-2 skips # SKIP not here\n"));
    assert_non_null(strstr(text, "\nnot ok 6 - A-Y-3 dies\n"));
    assert_non_null(strstr(text, "reason: 'it died'"));
    assert_non_null(strstr(strstr(text, "not ok 7"), "reason: 'expected 1"));
    assert_non_null(strstr(text, "\n1..7\n"));
    free(text);
}

static void only_some(void **state)
{
    (void)state;
    static const struct {
        const char *only[3];
        unsigned befores;
    } cases[] = {
        {{"A-X-1"}, 2}, {{"A-X-10"}, 1}, {{"A-X-1a"}, 1},          {{"A-X"}, 3},
        {{"A-"}, 6},    {{"W"}, 0},      {{"A-X-1b", "A-Y-2"}, 2},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text;

        run(cases[i].only, FERRY_REPORT_TEXT, false, &text);
        assert_int_equal(befores, cases[i].befores);
        free(text);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way_to_end),
        cmocka_unit_test(only_some),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
