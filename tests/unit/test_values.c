/* SPDX-License-Identifier: MIT */
#include "fcgi/values.h"

#include "support.h"

#define CONNS "\16\0FCGI_MAX_CONNS"
#define REQS "\15\0FCGI_MAX_REQS"
#define MPXS "\17\0FCGI_MPXS_CONNS"

static void all_three_are_asked_for(void **state)
{
    char out[FERRY__VALUES_LEN_MAX];
    size_t n = ferry__values_ask(out);

    (void)state;
    assert_slice_equal(ferry_slice(out, n), CONNS REQS MPXS);
}

/* A-MGT-1, A-MGT-2, A-MGT-6, A-MGT-7 */
static void what_is_asked_for_is_answered_once(void **state)
{
    static const struct {
        struct ferry_slice query;
        struct ferry_conn_values truth;
        struct ferry_slice want;
    } cases[] = {
        {FERRY_SLICE_INIT(CONNS REQS MPXS),
         {10, 50, 1},
         FERRY_SLICE_INIT("\16\2FCGI_MAX_CONNS10\15\2FCGI_MAX_REQS50\17\1FCGI_MPXS_CONNS1")},
        {FERRY_SLICE_INIT(MPXS CONNS),
         {10, 50, 0},
         FERRY_SLICE_INIT("\17\1FCGI_MPXS_CONNS0\16\2FCGI_MAX_CONNS10")},
        {FERRY_SLICE_INIT(CONNS REQS), {-1, -1, 1}, FERRY_SLICE_INIT("")},
        {FERRY_SLICE_INIT(""), {1, 1, 1}, FERRY_SLICE_INIT("")},
        {FERRY_SLICE_INIT("\5\0OTHER" REQS "\0\0"),
         {1, 0, 1},
         FERRY_SLICE_INIT("\15\1FCGI_MAX_REQS0")},
        {FERRY_SLICE_INIT(REQS REQS REQS REQS REQS REQS REQS REQS REQS REQS REQS),
         {1, 4294967295, 1},
         FERRY_SLICE_INIT("\15\12FCGI_MAX_REQS4294967295")},
        /* a value in the query means nothing */
        {FERRY_SLICE_INIT("\15\3FCGI_MAX_REQSabc"),
         {1, 7, 1},
         FERRY_SLICE_INIT("\15\1FCGI_MAX_REQS7")},
        /* a pair cut short, lengths from nowhere: what came before is answered */
        {FERRY_SLICE_INIT(REQS "\17\0FCGI"), {1, 7, 1}, FERRY_SLICE_INIT("\15\1FCGI_MAX_REQS7")},
        {FERRY_SLICE_INIT(REQS "\xff\xff\xff\xff\xff\xff\xff\xff"),
         {1, 7, 1},
         FERRY_SLICE_INIT("\15\1FCGI_MAX_REQS7")},
        {FERRY_SLICE_INIT(CONNS REQS MPXS),
         {INT64_MAX, INT64_MAX, INT64_MAX},
         FERRY_SLICE_INIT("\16\23FCGI_MAX_CONNS9223372036854775807"
                          "\15\23FCGI_MAX_REQS9223372036854775807"
                          "\17\23FCGI_MPXS_CONNS9223372036854775807")},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[FERRY__VALUES_LEN_MAX];
        size_t len = cases[i].query.len;
        char *q = guard_copy(0, cases[i].query.p, len);
        size_t n = ferry__values_answer(ferry_slice(q, len), &cases[i].truth, out);

        assert_true(ferry_slice_eq(ferry_slice(out, n), cases[i].want));
        for (size_t cut = 0; cut < len; cut++)
            assert_true(ferry__values_answer(ferry_slice(guard_copy(0, cases[i].query.p, cut), cut),
                                             &cases[i].truth, out) <= cases[i].want.len);
    }
}

/* W-16 */
static void answers_may_say_anything(void **state)
{
    static const struct {
        struct ferry_slice answer;
        struct ferry_conn_values want;
    } cases[] = {
        {FERRY_SLICE_INIT("\16\2FCGI_MAX_CONNS10\15\2FCGI_MAX_REQS50\17\1FCGI_MPXS_CONNS1"),
         {10, 50, 1}},
        {FERRY_SLICE_INIT(""), {-1, -1, -1}},
        {FERRY_SLICE_INIT("\17\1FCGI_MPXS_CONNS0\3\1FOO1"), {-1, -1, 0}},
        {FERRY_SLICE_INIT("\17\0FCGI_MPXS_CONNS\15\2FCGI_MAX_REQS-1\16\3FCGI_MAX_CONNS1e3"),
         {-1, -1, -1}},
        {FERRY_SLICE_INIT("\15\24FCGI_MAX_REQS99999999999999999999"), {-1, -1, -1}},
        {FERRY_SLICE_INIT("\15\1FCGI_MAX_REQS5\xff\xff"), {-1, 5, -1}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_conn_values out;
        size_t n = cases[i].answer.len;

        ferry__values_read(ferry_slice(guard_copy(0, cases[i].answer.p, n), n), &out);
        assert_int_equal(out.max_conns, cases[i].want.max_conns);
        assert_int_equal(out.max_reqs, cases[i].want.max_reqs);
        assert_int_equal(out.mpxs_conns, cases[i].want.mpxs_conns);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_three_are_asked_for),
        cmocka_unit_test(what_is_asked_for_is_answered_once),
        cmocka_unit_test(answers_may_say_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
