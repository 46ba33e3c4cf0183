/* SPDX-License-Identifier: MIT */
#include "trace/filter.h"

#include "ferry/params.h"
#include "support.h"

static char params[400];

/* POST /login?x of a script, 404 after 300 ms, 70000 bytes out, something on stderr. */
static struct ferry_follow_request a_request(void)
{
    static const struct ferry_param pairs[] = {
        {FERRY_SLICE_INIT("REQUEST_METHOD"), FERRY_SLICE_INIT("POST")},
        {FERRY_SLICE_INIT("REQUEST_URI"), FERRY_SLICE_INIT("/login?x")},
        {FERRY_SLICE_INIT("SCRIPT_FILENAME"), FERRY_SLICE_INIT("/srv/x.php")},
        {FERRY_SLICE_INIT("HTTP_HOST"), FERRY_SLICE_INIT("example.org")},
        {FERRY_SLICE_INIT("REMOTE_ADDR"), FERRY_SLICE_INIT("::1")}};
    struct ferry_follow_request r = {.status = 404,
                                     .began_us = 1000000,
                                     .first_us = 1000000 + 200000,
                                     .ended_us = 1000000 + 300000,
                                     .app_status = 3,
                                     .ended = true};
    size_t at = 0;

    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        at += (size_t)ferry_param_encode(&pairs[i], params + at, sizeof params - at);
    r.params = (struct ferry_follow_stream){.p = params, .len = at, .kept = at};
    r.in.len = 5;
    r.out.len = 70000;
    r.err.len = 12;
    return r;
}

static void words_choose_requests(void **state)
{
    static const struct {
        const char *words;
        bool matches;
    } cases[] = {
        {"", true},
        {"  \t", true},
        {"method=POST", true},
        {"method=post", false},
        {"method!=GET", true},
        {"uri~/login", true},
        {"uri~", true},
        {"uri=/login", false},
        {"uri!~login", false},
        {"/log", true},
        {"/logout", false},
        {"script~x.php", true},
        {"host=example.org client=::1", true},
        {"host=example.org client=::2", false},
        {"status=404", true},
        {"status=4xx", true},
        {"status!=4xx", false},
        {"status<4xx", false},
        {"status<=4xx", true},
        {"status>=4xx", true},
        {"status>4xx", false},
        {"status>3xx", true},
        {"status>=404 status<=404", true},
        {"status>404", false},
        {"status<404", false},
        {"app=3", true},
        {"app!=3", false},
        {"in=5", true},
        {"out>68k", true},
        {"out>69k", false},
        {"out<1M", true},
        {"out<1G", true},
        {"time=300ms", true},
        {"time>300ms", false},
        {"time>299999us", true},
        {"time<1s time<1m", true},
        {"first>=200ms", true},
        {"first>200ms", false},
        {"stderr", true},
        {"!stderr", false},
        {"stderr>12", false},
        {"stderr=12", true},
        {"!aborted !cut !fault", true},
        {"aborted", false},
        {"cut", false},
        {"fault", false},
    };
    struct ferry_follow_request r = a_request();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_filter filter = {0};
        char why[300];

        assert_int_equal(ferry_filter_add(&filter, cases[i].words, why, sizeof why), 0);
        if (ferry_filter_matches(&filter, &r) != cases[i].matches)
            fail_msg("%s", cases[i].words);
    }
}

static void what_never_came_is_no_number(void **state)
{
    struct ferry_follow_request r = a_request();
    struct ferry_filter filter = {0};
    char why[300];

    (void)state;
    r.first_us = 0;
    r.fault = "x";
    r.aborted = true;
    r.ended = false;
    r.params.kept = 0;
    assert_int_equal(
        ferry_filter_add(&filter, "first>1m fault aborted cut method= uri!=/", why, sizeof why), 0);
    assert_true(ferry_filter_matches(&filter, &r));
}

static void words_that_mean_nothing_are_explained(void **state)
{
    static const struct {
        const char *word, *why;
    } cases[] = {
        {"wrong=1", "asks for nothing that a request has; it has: method uri script"},
        {"wrong", "asks for nothing that a request has"},
        {"!wrong", "asks for nothing that a request has"},
        {"=5", "asks for nothing that a request has"},
        {"uri", "wants to be compared, such as uri~/login"},
        {"!status", "wants to be compared, such as status>=500"},
        {"out", "such as out>1M"},
        {"first", "such as time>200ms"},
        {"status~5", "a number can be compared with = != < <= > >= only"},
        {"uri>5", "a text can be compared with = != ~ !~ only"},
        {"cut=1", "it is true or not; write cut or the same with ! in front"},
        {"status=", "must be a status or a class of them"},
        {"status=5xy", "must be a status or a class of them"},
        {"status=5k", "must be a status or a class of them"},
        {"app=xx", "must be a number"},
        {"out=5ms", "must be bytes"},
        {"time=5", "must be a time"},
        {"time=99999999999999999999s", "must be a time"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_filter filter = {0};
        char why[300] = "";

        assert_int_equal(ferry_filter_add(&filter, cases[i].word, why, sizeof why), FERRY_EUSAGE);
        if (!strstr(why, cases[i].why))
            fail_msg("%s: %s", cases[i].word, why);
        for (size_t cap = 1; cap < 20; cap++)
            assert_int_equal(ferry_filter_add(&filter, cases[i].word, guard_copy(0, why, cap), cap),
                             FERRY_EUSAGE);
    }
}

static void there_is_a_maximum_of_words(void **state)
{
    struct ferry_filter filter = {0};
    char why[300];

    (void)state;
    for (int i = 0; i < FERRY_FILTER_WORDS_MAX; i++)
        assert_int_equal(ferry_filter_add(&filter, "status=404", why, sizeof why), 0);
    assert_int_equal(ferry_filter_add(&filter, "", why, sizeof why), 0);
    assert_int_equal(ferry_filter_add(&filter, "status=404", why, sizeof why), FERRY_EUSAGE);
    assert_non_null(strstr(why, "more than 32 words"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_choose_requests),
        cmocka_unit_test(what_never_came_is_no_number),
        cmocka_unit_test(words_that_mean_nothing_are_explained),
        cmocka_unit_test(there_is_a_maximum_of_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
