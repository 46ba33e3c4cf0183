/* SPDX-License-Identifier: MIT */
#include "ferry/record.h"

#include "support.h"

static void headers_have_the_layout_of_section_3_3(void **state)
{
    static const struct {
        struct ferry_record r;
        const char *bytes;
    } cases[] = {
        {{.type = FERRY_BEGIN_REQUEST, .id = 1, .content_len = 8}, "\1\1\0\1\0\10\0\0"},
        {{.type = FERRY_STDOUT, .id = 0x1234, .content_len = 65535, .padding_len = 255},
         "\1\6\x12\x34\xff\xff\xff\0"},
        {{.type = FERRY_UNKNOWN_TYPE, .id = 0, .content_len = 0x0102, .padding_len = 7},
         "\1\13\0\0\1\2\7\0"},
        {{.type = 255, .id = 65535, .content_len = 0}, "\1\377\xff\xff\0\0\0\0"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_record back;
        char out[8];

        ferry_record_encode(&cases[i].r, out);
        assert_memory_equal(out, cases[i].bytes, 8);
        assert_int_equal(ferry_record_decode(guard_copy(0, out, 8), 8, &back), 8);
        assert_int_equal(back.type, cases[i].r.type);
        assert_int_equal(back.id, cases[i].r.id);
        assert_int_equal(back.content_len, cases[i].r.content_len);
        assert_int_equal(back.padding_len, cases[i].r.padding_len);
    }
}

static void every_prefix_of_a_header_says_more(void **state)
{
    struct ferry_record out = {.type = 77};

    (void)state;
    for (size_t n = 0; n < 8; n++)
        assert_int_equal(ferry_record_decode(guard_copy(0, "\1\6\0\1\0\0\0\0", n), n, &out), 0);
    assert_int_equal(out.type, 77);
}

/* A-FRM-5: what stands in the reserved byte does not matter. */
static void the_reserved_byte_is_read_past(void **state)
{
    struct ferry_record out;

    (void)state;
    assert_int_equal(ferry_record_decode("\1\6\0\1\0\2\3\xff", 8, &out), 8);
    assert_int_equal(out.type, FERRY_STDOUT);
    assert_int_equal(out.content_len, 2);
    assert_int_equal(out.padding_len, 3);
}

/* A-FRM-8 */
static void other_versions_are_refused(void **state)
{
    struct ferry_record out = {.type = 77};
    char head[8] = {0, 6, 0, 1, 0, 0, 0, 0};

    (void)state;
    for (int v = 0; v < 256; v++) {
        head[0] = (char)v;
        assert_int_equal(ferry_record_decode(head, 8, &out), v == 1 ? 8 : FERRY_EPROTOCOL);
    }
    /* Waiting for seven more bytes of garbage would only delay the answer. */
    head[0] = 2;
    assert_int_equal(ferry_record_decode(guard_copy(0, head, 1), 1, &out), FERRY_EPROTOCOL);
}

static void padding_rounds_up_to_eight(void **state)
{
    (void)state;
    for (size_t n = 0; n <= FERRY_RECORD_CONTENT_MAX; n++) {
        assert_in_range(ferry_record_padding(n), 0, 7);
        assert_int_equal((n + ferry_record_padding(n)) % 8, 0);
    }
}

/* A-BEG-4, A-BEG-6: the role is 16 bits wide, and all flags arrive. */
static void begin_bodies(void **state)
{
    struct ferry_begin_body b = {.role = 0x0103, .flags = 0xff}, back;
    char out[8];

    (void)state;
    ferry_begin_body_encode(&b, out);
    assert_memory_equal(out, "\1\3\xff\0\0\0\0\0", 8);
    memset(out + 3, 0xee, 5);
    ferry_begin_body_decode(guard_copy(0, out, 8), &back);
    assert_int_equal(back.role, 0x0103);
    assert_int_equal(back.flags, 0xff);
}

/* A-END-2: the application status is 32 bits, big endian. */
static void end_bodies(void **state)
{
    static const struct {
        uint32_t app_status;
        uint8_t protocol_status;
        const char *bytes;
    } cases[] = {
        {0, FERRY_REQUEST_COMPLETE, "\0\0\0\0\0\0\0\0"},
        {1, FERRY_CANT_MPX_CONN, "\0\0\0\1\1\0\0\0"},
        {938, FERRY_OVERLOADED, "\0\0\3\xaa\2\0\0\0"},
        {0x80000000u, FERRY_UNKNOWN_ROLE, "\x80\0\0\0\3\0\0\0"},
        {0xffffffffu, 255, "\xff\xff\xff\xff\xff\0\0\0"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_end_body b = {cases[i].app_status, cases[i].protocol_status}, back;
        char out[8];

        ferry_end_body_encode(&b, out);
        assert_memory_equal(out, cases[i].bytes, 8);
        memset(out + 5, 0xee, 3);
        ferry_end_body_decode(guard_copy(0, out, 8), &back);
        assert_true(back.app_status == cases[i].app_status);
        assert_int_equal(back.protocol_status, cases[i].protocol_status);
    }
}

static void unknown_type_bodies(void **state)
{
    char out[8];

    (void)state;
    ferry_unknown_type_body_encode(200, out);
    assert_memory_equal(out, "\xc8\0\0\0\0\0\0\0", 8);
    assert_int_equal(ferry_unknown_type_body_decode(out), 200);
}

static void names_of_what_the_specification_names(void **state)
{
    (void)state;
    assert_string_equal(ferry_record_type_name(1), "BEGIN_REQUEST");
    assert_string_equal(ferry_record_type_name(6), "STDOUT");
    assert_string_equal(ferry_record_type_name(11), "UNKNOWN_TYPE");
    assert_null(ferry_record_type_name(0));
    assert_null(ferry_record_type_name(12));
    assert_null(ferry_record_type_name(256 + 6));
    assert_string_equal(ferry_protocol_status_name(2), "OVERLOADED");
    assert_null(ferry_protocol_status_name(4));
    assert_string_equal(ferry_role_name(3), "FILTER");
    assert_null(ferry_role_name(0));
}

static void three_types_are_management(void **state)
{
    (void)state;
    for (unsigned t = 0; t < 256; t++)
        assert_int_equal(ferry_record_type_is_management(t), t >= 9 && t <= 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_have_the_layout_of_section_3_3),
        cmocka_unit_test(every_prefix_of_a_header_says_more),
        cmocka_unit_test(the_reserved_byte_is_read_past),
        cmocka_unit_test(other_versions_are_refused),
        cmocka_unit_test(padding_rounds_up_to_eight),
        cmocka_unit_test(begin_bodies),
        cmocka_unit_test(end_bodies),
        cmocka_unit_test(unknown_type_bodies),
        cmocka_unit_test(names_of_what_the_specification_names),
        cmocka_unit_test(three_types_are_management),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
