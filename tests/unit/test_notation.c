/* SPDX-License-Identifier: MIT */
#include "trace/notation.h"

#include <errno.h>

#include "ferry/params.h"
#include "support.h"

#define S FERRY_SLICE_INIT

/* A header of a record with `len` bytes of content and `pad` of padding. */
#define R(type, id, len, pad) "\1" type "\0" id "\0" len pad "\0"

struct scene {
    const struct ferry_notation_opts opts;
    struct ferry_slice bytes;
    const char *lines, *end; /* written for the bytes, and then for the end */
};

static const struct scene scenes[] = {
    /* a request and its answer */
    {{.speaker = "Web server"},
     S(R("\1", "\1", "\10", "\0") "\0\1\1\0\0\0\0\0" R(
         "\4", "\1", "\44", "\4") "\14\20CONTENT_TYPEapplication/json\3\1FOO=\0\0\0\0" R("\4", "\1",
                                                                                         "\0", "\0")
           R("\5", "\1", "\7", "\1") "{\"a\":1}\0" R("\5", "\1", "\0", "\0")),
     "Web server: {FCGI_BEGIN_REQUEST, \"responder, keep the connection\"}\n"
     "Web server: {FCGI_PARAMS, \"CONTENT_TYPE = application/json\"}\n"
     "Web server: {FCGI_PARAMS, \"FOO = =\"}\n"
     "Web server: {FCGI_PARAMS, \"\"}\n"
     "Web server: {FCGI_STDIN, \"{\\\"a\\\":1}\"}\n"
     "Web server: {FCGI_STDIN, \"\"}\n",
     ""},
    {{.speaker = "php-fpm", .ids = true},
     S(R("\6", "\2", "\17", "\1") "A: b\r\n\r\n\tx\\\33\xc3\xa4\xff\0" R(
         "\7", "\2", "\3", "\0") "bad" R("\6", "\2", "\0", "\0")
           R("\3", "\2", "\10", "\0") "\xff\xff\xff\xff\2\0\0\0"),
     "php-fpm: {FCGI_STDOUT, 2, \"A: b\\r\\n\\r\\n\\tx\\\\\\x1B\xc3\xa4\\xFF\"}\n"
     "php-fpm: {FCGI_STDERR, 2, \"bad\"}\n"
     "php-fpm: {FCGI_STDOUT, 2, \"\"}\n"
     "php-fpm: {FCGI_END_REQUEST, 2, \"app status 4294967295, OVERLOADED\"}\n",
     ""},
    /* what the specification does not name, and bodies of other lengths than it says */
    {{.speaker = "A"},
     S(R("\1", "\1", "\10", "\0") "\0\11\6\0\0\0\0\0" R("\1", "\1", "\2", "\0") "\0\1" R(
         "\3", "\1", "\12", "\0") "\0\0\0\1\11\0\0\0xy" R("\2", "\1", "\0", "\0")
           R("\52", "\1", "\2", "\0") "hi" R("\13", "\0", "\10", "\0") "\52\0\0\0\0\0\0\0"),
     "A: {FCGI_BEGIN_REQUEST, \"role 9, flags 0x06\"}\n"
     "A: {FCGI_BEGIN_REQUEST, \"\\x00\\x01\"}\n"
     "A: {FCGI_END_REQUEST, \"app status 1, protocol status 9\"... 2 more bytes}\n"
     "A: {FCGI_ABORT_REQUEST, \"\"}\n"
     "A: {type 42, \"hi\"}\n"
     "A: {FCGI_UNKNOWN_TYPE, \"type 42\"}\n",
     ""},
    /* management; a pair cannot go on in another record there */
    {{.speaker = "A"},
     S(R("\11", "\0", "\22", "\0") "\16\0FCGI_MAX_CONNS\3\0" R("\12", "\0", "\22",
                                                               "\0") "\16\2FCGI_MAX_CONNS12"),
     "A: {FCGI_GET_VALUES, \"FCGI_MAX_CONNS\"}\n"
     "A: {FCGI_GET_VALUES, \"\"... cut after 0 of 3 bytes}\n"
     "A: {FCGI_GET_VALUES_RESULT, \"FCGI_MAX_CONNS = 12\"}\n",
     ""},
    /* pairs across records, of two requests in turn; long lengths for short texts */
    {{.speaker = "A", .ids = true},
     S(R("\4", "\1", "\1", "\0") "\x80" R("\4", "\2", "\3", "\0") "\2\3X" R(
         "\4", "\1", "\6", "\0") "\0\0\1\1Av" R("\4", "\2", "\5", "\0") "Y123\1" R("\4", "\2", "\3",
                                                                                   "\0") "\0Z\0"),
     "A: {FCGI_PARAMS, 1, \"A = v\"}\n"
     "A: {FCGI_PARAMS, 2, \"XY = 123\"}\n"
     "A: {FCGI_PARAMS, 2, \"Z = \"}\n",
     ""},
    /* pairs that are never whole */
    {{.speaker = "A"},
     S(R("\4", "\1", "\5", "\0") "\2\3XYv" R("\4", "\1", "\0", "\0")
           R("\4", "\1", "\1", "\0") "\4" R("\1", "\1", "\10", "\0") "\0\2\0\0\0\0\0\0"),
     "A: {FCGI_PARAMS, \"XY = v\"... cut after 3 of 5 bytes}\n"
     "A: {FCGI_PARAMS, \"\"}\n"
     "A: {FCGI_PARAMS, \"\"... cut in the lengths of a pair}\n"
     "A: {FCGI_BEGIN_REQUEST, \"authorizer\"}\n",
     ""},
    /* limits, at them and past them; never half a character */
    {{.speaker = "A", .text_max = 4},
     S(R("\6", "\1", "\4", "\0") "abcd" R("\6", "\1", "\5", "\0") "abcde" R(
         "\6", "\1", "\6", "\0") "abc\xc3\xa4z" R("\4", "\1", "\14",
                                                  "\0") "\5\5abcdevwxyz" R("\4", "\1", "\12",
                                                                           "\0") "\4\4abcdwxyz"),
     "A: {FCGI_STDOUT, \"abcd\"}\n"
     "A: {FCGI_STDOUT, \"abcd\"... 1 more byte}\n"
     "A: {FCGI_STDOUT, \"abc\"... 3 more bytes}\n"
     "A: {FCGI_PARAMS, \"abcd... = vwxy\"... 2 more bytes}\n"
     "A: {FCGI_PARAMS, \"abcd = wxyz\"}\n",
     ""},
    /* hexadecimal for what is no text; a character cut by records is */
    {{.speaker = "A", .binary = true, .text_max = 6},
     S(R("\5", "\1", "\10", "\0") "\x89PNG\r\n\x1a\n" R("\5", "\1", "\3", "\0") "a\r\n" R(
         "\5", "\1", "\2", "\0") "a\xe2" R("\5", "\1", "\3", "\0") "\x82\xac."),
     "A: {FCGI_STDIN, 89 50 4e 47 0d 0a... 2 more bytes}\n"
     "A: {FCGI_STDIN, \"a\\r\\n\"}\n"
     "A: {FCGI_STDIN, \"a\\xE2\"}\n"
     "A: {FCGI_STDIN, \"\\x82\\xAC.\"}\n",
     ""},
    /* no FastCGI: a line of it, or 64 bytes, or all there is; nothing after it */
    {{.speaker = "A"},
     S("HTTP/1.1 400 Bad Request\r\nServer: x\r\n\1\6\0\1\0\0\0\0"),
     "A: no FastCGI: \"HTTP/1.1 400 Bad Request\\r\\n\"...\n",
     ""},
    {{.speaker = "A"},
     S("0123456789012345678901234567890123456789012345678901234567890123456789"),
     "A: no FastCGI: \"0123456789012345678901234567890123456789012345678901234567890123\"...\n",
     ""},
    {{.speaker = "A"},
     S(R("\6", "\1", "\0", "\0") "oops"),
     "A: {FCGI_STDOUT, \"\"}\n",
     "A: no FastCGI: \"oops\"\n"},
    /* the end in the middle of things */
    {{.speaker = "A"}, S("\1\6\0"), "", "A: cut in the header of a record\n"},
    {{.speaker = "A"},
     S(R("\6", "\1", "\7", "\0") "abc"),
     "",
     "A: {FCGI_STDOUT, \"abc\"}\nA: cut after 3 of 7 bytes of a record\n"},
    {{.speaker = "A"},
     S(R("\4", "\1", "\7", "\0") "\1\4Ab"),
     "",
     "A: {FCGI_PARAMS, \"A = b\"... cut after 2 of 5 bytes}\n"
     "A: cut after 4 of 7 bytes of a record\n"},
    {{.speaker = "A"},
     S(R("\6", "\1", "\1", "\2") "a\0"),
     "A: {FCGI_STDOUT, \"a\"}\n",
     "A: cut in the padding of a record\n"},
};

/* The lines for the bytes in two pieces, or one by one, each at the edge of a page; free them. */
static char *lines_of(const struct scene *s, size_t cut, bool each)
{
    struct ferry_notation *n = ferry_notation_new(&s->opts);
    size_t len = 0, split;
    char *text = NULL;
    FILE *out = open_memstream(&text, &len);

    assert_non_null(n);
    for (size_t at = 0; each && at < s->bytes.len; at++)
        assert_int_equal(ferry_notation_bytes(n, guard_copy(0, s->bytes.p + at, 1), 1, out), 0);
    if (!each) {
        assert_int_equal(ferry_notation_bytes(n, guard_copy(0, s->bytes.p, cut), cut, out), 0);
        assert_int_equal(ferry_notation_bytes(n,
                                              guard_copy(0, s->bytes.p + cut, s->bytes.len - cut),
                                              s->bytes.len - cut, out),
                         0);
    }
    fflush(out);
    split = len;
    assert_int_equal(ferry_notation_end(n, out), 0);
    assert_int_equal(ferry_notation_bytes(n, "\1\2\0\1\0\0\0\0", 8, out), 0); /* after the end */
    fclose(out);
    ferry_notation_free(n);
    assert_string_equal(text + split, s->end);
    text[split] = '\0';
    return text;
}

static void records_are_shown_however_they_are_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++) {
        for (size_t cut = 0; cut <= scenes[i].bytes.len + 1; cut++) {
            bool each = cut > scenes[i].bytes.len;
            char *text = lines_of(&scenes[i], each ? 0 : cut, each);

            assert_string_equal(text, scenes[i].lines);
            free(text);
        }
    }
}

/* A pair of a MiB, its length and the first of it are shown; what stands behind it too. */
static void a_pair_larger_than_a_record(void **state)
{
    static char value[1 << 20];
    size_t room = ferry_params_room(sizeof value + 20), len = 0;
    struct ferry_notation_opts opts = {.speaker = "A", .text_max = 3};
    struct ferry_notation *n = ferry_notation_new(&opts);
    struct ferry_params_writer w;
    char *mem = malloc(room), *text = NULL;
    FILE *out = open_memstream(&text, &len);
    ssize_t wrote;

    (void)state;
    memset(value, 'v', sizeof value);
    ferry_params_open(&w, mem, room, 1);
    ferry_params_add(&w, FERRY_SLICE("BIG"), ferry_slice(value, sizeof value));
    ferry_params_add(&w, FERRY_SLICE("A"), FERRY_SLICE("b"));
    wrote = ferry_params_close(&w, 0);
    assert_true(wrote > 0);
    assert_int_equal(ferry_notation_bytes(n, mem, (size_t)wrote, out), 0);
    fclose(out);
    assert_string_equal(text, "A: {FCGI_PARAMS, \"BIG = vvv\"... 1048573 more bytes}\n"
                              "A: {FCGI_PARAMS, \"A = b\"}\n"
                              "A: {FCGI_PARAMS, \"\"}\n");
    ferry_notation_free(n);
    free(text);
    free(mem);
}

/* Half pairs of more requests than are followed: what cannot be followed is shown as bytes. */
static void too_many_half_pairs(void **state)
{
    struct ferry_notation_opts opts = {.speaker = "A", .ids = true};
    struct ferry_notation *n = ferry_notation_new(&opts);
    size_t len = 0;
    char *text = NULL;
    FILE *out = open_memstream(&text, &len);

    (void)state;
    for (int id = 1; id <= 17; id++) {
        char r[] = R("\4", "\1", "\3", "\0") "\1\1A";

        r[3] = (char)id;
        assert_int_equal(ferry_notation_bytes(n, r, sizeof r - 1, out), 0);
    }
    assert_int_equal(ferry_notation_bytes(n, R("\4", "\20", "\1", "\0") "x", 9, out), 0);
    assert_int_equal(ferry_notation_bytes(n, R("\4", "\21", "\3", "\0") "\1\1A", 11, out), 0);
    assert_int_equal(ferry_notation_bytes(n, R("\4", "\21", "\1", "\0") "y", 9, out), 0);
    fclose(out);
    assert_string_equal(text, "A: {FCGI_PARAMS, 17, \"\\x01\\x01A\"}\n"
                              "A: {FCGI_PARAMS, 16, \"A = x\"}\n"
                              "A: {FCGI_PARAMS, 17, \"A = y\"}\n");
    ferry_notation_free(n);
    free(text);
}

static void errors_of_the_file_are_told(void **state)
{
    struct ferry_notation_opts opts = {.speaker = "A"};
    struct ferry_notation *n = ferry_notation_new(&opts);
    FILE *full = fopen("/dev/full", "w");

    (void)state;
    assert_non_null(full);
    setvbuf(full, NULL, _IONBF, 0);
    assert_int_equal(ferry_notation_bytes(n, R("\6", "\1", "\0", "\0"), 8, full), -EIO);
    assert_int_equal(ferry_notation_bytes(n, R("\6", "\1", "\0", "\0"), 8, full), -EIO);
    fclose(full);
    ferry_notation_free(n);
}

static void show(void *arg)
{
    struct ferry_notation_opts opts = {.speaker = "A"};
    struct ferry_notation *n = ferry_notation_new(&opts);
    int err;

    if (!n)
        return;
    err = ferry_notation_bytes(n, R("\4", "\1", "\4", "\0") "\1\1AB", 12, arg);
    assert_true(err == 0 || err == -ENOMEM);
    assert_int_equal(ferry_notation_end(n, arg), err);
    ferry_notation_free(n);
}

static void each_allocation_may_fail(void **state)
{
    FILE *out = fopen("/dev/null", "w");

    (void)state;
    setvbuf(out, NULL, _IONBF, 0);
    each_alloc_fails(show, out);
    fclose(out);
    ferry_notation_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_shown_however_they_are_cut),
        cmocka_unit_test(a_pair_larger_than_a_record),
        cmocka_unit_test(too_many_half_pairs),
        cmocka_unit_test(errors_of_the_file_are_told),
        cmocka_unit_test(each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
