/* SPDX-License-Identifier: MIT */
#include "cgi/field.h"

#include "support.h"

#include <stdio.h>

/* "word|name=value|name=(quoted and unquoted)|", and "!" where it is malformed. */
static const char *text_of(const char *in)
{
    static char text[1024];
    struct ferry_slice rest = {guard_copy(0, in, strlen(in)), strlen(in)};
    struct ferry_slice word = ferry_field_word(&rest);
    struct ferry_field_param p;
    size_t at = (size_t)snprintf(text, sizeof text, "%.*s|", (int)word.len, word.p);
    int more;

    while ((more = ferry_field_param_next(&rest, &p)) > 0) {
        char value[256];

        memcpy(value, p.value.p, p.value.len);
        if (p.quoted)
            p.value.len = ferry_field_unquote(value, p.value.len);
        at +=
            (size_t)snprintf(text + at, sizeof text - at, p.quoted ? "%.*s=(%.*s)|" : "%.*s=%.*s|",
                             (int)p.name.len, p.name.p, (int)p.value.len, value);
    }
    if (more < 0) {
        assert_int_equal(more, FERRY_EPROTOCOL);
        snprintf(text + at, sizeof text - at, "!");
    }
    return text;
}

static void fields_have_parameters(void **state)
{
    static const char *const cases[][2] = {
        {"", "|"},
        {"form-data", "form-data|"},
        {" form-data ; ", "form-data|"},
        {"form-data;name=a", "form-data|name=a|"},
        {"form-data; name = a ; filename= b.txt ;;", "form-data|name=a|filename=b.txt|"},
        {"form-data; name=a b; x=", "form-data|name=a b|x=|"},
        {"form-data; name=a=b", "form-data|name=a=b|"},
        {"form-data; name=\"a;b\"; x=\"\"", "form-data|name=(a;b)|x=()|"},
        {"x; n=\"a\\\"b\\\\c\"", "x|n=(a\"b\\c)|"},
        {"x; n=\"C:\\dir\\new file.txt\"", "x|n=(C:\\dir\\new file.txt)|"},
        {"x; n=\"\\\\host\\share\"", "x|n=(\\host\\share)|"},
        {"x; n=\"\xc3\xa9%22\"", "x|n=(\xc3\xa9%22)|"},
        {"x; n*=utf-8''a", "x|n*=utf-8''a|"},
        {"x ; n=\"a\"\t;\tm=b", "x|n=(a)|m=b|"},
        /* malformed */
        {"x; n", "x|!"},
        {"x; n; m=1", "x|!"},
        {"x; =a", "x|!"},
        {"x; n=\"a", "x|!"},
        {"x; n=\"", "x|!"},
        {"x; n=\"a\\\"", "x|!"},
        {"x; n=\"a\" b", "x|!"},
        {"x; n=\"a\"b\"", "x|!"},
        {"x; n=a\"b", "x|!"},
        {"x; n=1; \"m=2", "x|n=1|!"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(text_of(cases[i][0]), cases[i][1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(fields_have_parameters)};

    return cmocka_run_group_tests_name("field", tests, NULL, NULL);
}
