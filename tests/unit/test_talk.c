/* SPDX-License-Identifier: MIT */
#include "check/talk.h"

#include <stdio.h>

#include "ferry/record.h"
#include "support.h"

static void the_notation(void **state)
{
    (void)state;
    static const struct {
        uint8_t type;
        uint16_t id;
        const char *content;
        uint16_t len;
        const char *want;
    } cases[] = {
        {FERRY_BEGIN_REQUEST, 1, "\0\1\1\0\0\0\0\0", 8,
         "{BEGIN_REQUEST, 1, {RESPONDER, KEEP_CONN}}"},
        {FERRY_BEGIN_REQUEST, 1, "\0\7\0\0\0\0\0\0", 8, "{BEGIN_REQUEST, 1, {role 7, 0}}"},
        {FERRY_BEGIN_REQUEST, 1, "\0\2\376\0\0\0\0\0", 8,
         "{BEGIN_REQUEST, 1, {AUTHORIZER, flags 0xfe}}"},
        {FERRY_BEGIN_REQUEST, 1, "\0\1", 2, "{BEGIN_REQUEST, 1, \"\\x00\\x01\"} padding 0"},
        {FERRY_END_REQUEST, 65535, "\377\377\377\377\2\0\0\0", 8,
         "{END_REQUEST, 65535, {4294967295, OVERLOADED}}"},
        {FERRY_UNKNOWN_TYPE, 0, "\14\0\0\0\0\0\0\0", 8, "{UNKNOWN_TYPE, 0, {12}}"},
        {FERRY_PARAMS, 2, "\1\2Abc\1\0D", 8, "{PARAMS, 2, \"A = bc, D\"}"},
        {FERRY_PARAMS, 2, "\1\77Abcxxxx", 9, "{PARAMS, 2, \"\\x01?Abcxxxx\"} padding 0"},
        {FERRY_PARAMS, 2, "", 0, "{PARAMS, 2, \"\"}"},
        {FERRY_STDOUT, 2, "a\"\r\n\33\377\\x", 8, "{STDOUT, 2, \"a\\\"\\r\\n\\x1b\\xff\\\\x\"}"},
        {77, 0, "", 0, "{type 77, 0, \"\"}"},
        {FERRY_STDIN, 1, "aaaaaaaabbbbbbbbaaaaaaaabbbbbbbbaaaaaaaabbbbbbbb", 48,
         "{STDIN, 1, \"aaaaaaaabbbbbbbbaaaaaaaabbb...\" 48 bytes}"},
    };
    char buf[FERRY_TALK_LINE_MAX], want[FERRY_TALK_LINE_MAX];

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_talk talk = {.n = 0};
        struct ferry_wire_record r = {
            .version = 1,
            .type = cases[i].type,
            .id = cases[i].id,
            .content_len = cases[i].len,
            .content = (unsigned char *)guard_copy(0, cases[i].content, cases[i].len)};

        ferry_talk_record(&talk, "Application", 0, &r);
        snprintf(want, sizeof want, "Application: %s", cases[i].want);
        assert_string_equal(ferry_talk_line(&talk, 0, buf, sizeof buf), want);
        assert_null(ferry_talk_line(&talk, 1, buf, sizeof buf));
        ferry_talk_fini(&talk);
    }
}

static void headers_that_are_odd(void **state)
{
    (void)state;
    struct ferry_wire_record r = {.version = 2,
                                  .type = FERRY_STDIN,
                                  .id = 1,
                                  .content_len = 7,
                                  .padding_len = 255,
                                  .reserved = 9};
    struct ferry_talk talk = {.n = 0};
    char buf[FERRY_TALK_LINE_MAX];

    ferry_talk_record(&talk, "Web server", 3, &r);
    assert_string_equal(
        ferry_talk_line(&talk, 0, buf, sizeof buf),
        "Web server 3:  {STDIN, 1, 7 bytes announced} version 2 padding 255 reserved 0x09");
    ferry_talk_fini(&talk);
}

static void long_conversations_are_bounded(void **state)
{
    (void)state;
    struct ferry_talk talk = {.n = 0};
    struct ferry_wire_record r = {.version = 1, .type = FERRY_STDOUT, .id = 1};
    char buf[FERRY_TALK_LINE_MAX], want[64];
    size_t lines = 0;

    for (unsigned i = 0; i < 5; i++)
        ferry_talk_record(&talk, "A", 0, &r);
    assert_string_equal(ferry_talk_line(&talk, 0, buf, sizeof buf),
                        "A:           {STDOUT, 1, \"\"} and 4 more");
    assert_null(ferry_talk_line(&talk, 1, buf, sizeof buf));
    for (unsigned i = 1; i < 1000; i++)
        ferry_talk_note(&talk, NULL, 0, "line %u", i);
    while (ferry_talk_line(&talk, lines, buf, sizeof buf)) {
        size_t i = lines++;

        if (i == 0)
            continue;
        if (i == FERRY_TALK_FIRST)
            snprintf(want, sizeof want, "(%d lines)", 1000 - FERRY_TALK_FIRST - FERRY_TALK_LAST);
        else
            snprintf(want, sizeof want, "line %zu",
                     i < FERRY_TALK_FIRST ? i : 999 - (FERRY_TALK_FIRST + FERRY_TALK_LAST - i));
        assert_string_equal(buf, want);
    }
    assert_int_equal(lines, FERRY_TALK_FIRST + FERRY_TALK_LAST + 1);
    ferry_talk_fini(&talk);
}

static void scenario(void *arg)
{
    (void)arg;
    struct ferry_talk talk = {.n = 0};
    struct ferry_wire_record r = {.version = 1, .type = FERRY_STDOUT, .id = 1};
    char buf[FERRY_TALK_LINE_MAX];

    for (unsigned i = 0; i < 300; i++) {
        r.id = (uint16_t)i;
        ferry_talk_record(&talk, "A", 0, &r);
    }
    for (size_t i = 0; ferry_talk_line(&talk, i, buf, sizeof buf); i++)
        ;
    ferry_talk_fini(&talk);
}

static void without_memory(void **state)
{
    (void)state;
    each_alloc_fails(scenario, NULL);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_notation),
        cmocka_unit_test(headers_that_are_odd),
        cmocka_unit_test(long_conversations_are_bounded),
        cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
