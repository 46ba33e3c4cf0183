/* SPDX-License-Identifier: MIT */
#include "http/http.h"

#include "support.h"

static void known_statuses_have_their_phrase(void **state)
{
    static const struct {
        int status;
        const char *want;
    } cases[] = {
        {100, "Continue"},
        {200, "OK"},
        {206, "Partial Content"},
        {304, "Not Modified"},
        {404, "Not Found"},
        {413, "Content Too Large"},
        {431, "Request Header Fields Too Large"},
        {502, "Bad Gateway"},
        {505, "HTTP Version Not Supported"},
        {299, ""},
        {0, ""},
        {-1, ""},
        {1000, ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(ferry_http_reason(cases[i].status), cases[i].want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_statuses_have_their_phrase),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
