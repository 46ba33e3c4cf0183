/* SPDX-License-Identifier: MIT */
#include "cgi/multipart.h"

#include "support.h"

#include <stdio.h>
#include <time.h>

#define TYPE "multipart/form-data; boundary=b0"
#define HEAD_MAX 256

/* What a body says: "[name:filename:type]content." for each part, "$" at the end, "!" and why after
 * an error. The pieces are `step` bytes each, the first of them `first`. */
static const char *read_body(const char *type, struct ferry_slice body, size_t first, size_t step,
                             size_t head_max)
{
    static char text[1 << 16];
    struct ferry_multipart m;
    struct ferry_multipart_event ev;
    size_t at = 0, piece = first, done = 0;
    char head[HEAD_MAX];
    int more = ferry_multipart_init(&m, ferry_slice_z(type), head, head_max);

    while (more == 0 && done < body.len) {
        size_t n = piece < body.len - done ? piece : body.len - done;
        struct ferry_slice in = {guard_copy(0, body.p + done, n), n};

        piece = step;
        done += n;
        while ((more = ferry_multipart_next(&m, &in, &ev)) > 0)
            switch (ev.what) {
            case FERRY_MULTIPART_PART:
                at += (size_t)snprintf(text + at, sizeof text - at, "[%.*s:%.*s:%.*s]",
                                       (int)ev.name.len, ev.name.p, (int)ev.filename.len,
                                       ev.filename.p ? ev.filename.p : "", (int)ev.type.len,
                                       ev.type.p ? ev.type.p : "");
                assert_true(ev.filename.p || !ev.filename.len);
                break;
            case FERRY_MULTIPART_DATA:
                assert_true(ev.data.len > 0 && at + ev.data.len + 100 < sizeof text);
                memcpy(text + at, ev.data.p, ev.data.len);
                at += ev.data.len;
                break;
            case FERRY_MULTIPART_PART_END:
                text[at++] = '.';
                break;
            case FERRY_MULTIPART_END:
                text[at++] = '$';
                break;
            }
        assert_true(more < 0 || in.len == 0);
    }
    text[at] = 0;
    if (more == 0)
        more = ferry_multipart_end(&m);
    if (more < 0) {
        struct ferry_slice in = FERRY_SLICE("more");

        /* It sticks. */
        assert_int_equal(ferry_multipart_next(&m, &in, &ev), more);
        assert_int_equal(ferry_multipart_end(&m), more);
        assert_true(more == FERRY_EPROTOCOL || more == FERRY_ELIMIT);
        snprintf(text + at, sizeof text - at, "!%s", m.why);
    }
    return text;
}

#define PART(name) "Content-Disposition: form-data; name=\"" name "\"\r\n\r\n"

static const struct {
    struct ferry_slice body;
    const char *want;
} bodies[] = {
#define BODY(body, want)                                                                           \
    {                                                                                              \
        FERRY_SLICE_INIT(body), want                                                               \
    }
    BODY("--b0--", "$"),
    BODY("--b0--\r\n", "$"),
    BODY("--b0\r\n" PART("a") "x\r\n--b0--\r\n", "[a::]x.$"),
    BODY("--b0\r\n" PART("a") "\r\n--b0--\r\n", "[a::].$"),
    BODY("--b0\r\n" PART("a") "x\r\n--b0\r\n" PART("b") "y\r\n--b0--", "[a::]x.[b::]y.$"),
    BODY("--b0\r\n" PART("") "x\r\n--b0--", "[::]x.$"),
    BODY("--b0\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\n"
         "Content-Type: text/plain; charset=x\r\n\r\nabc\r\n--b0--\r\n",
         "[f:a.txt:text/plain; charset=x]abc.$"),
    BODY(
        "--b0\r\nContent-Type: image/png\r\ncontent-disposition:FORM-DATA;NAME=f;FILENAME=a.png\r\n"
        "X-Other: y\r\n\r\nabc\r\n--b0--\r\n",
        "[f:a.png:image/png]abc.$"),
    BODY("--b0\r\nContent-Disposition: form-data; name=f; filename=\"q\\\"\\\\.txt\"\r\n\r\n"
         "abc\r\n--b0--\r\n",
         "[f:q\"\\.txt:]abc.$"),
    BODY("--b0\r\nContent-Disposition: form-data; filename=x; name=\"f\\\"g\"; filename*=utf-8''y"
         "\r\n\r\nabc\r\n--b0--\r\n",
         "[f\"g:x:]abc.$"),
    /* a part without content shares the CRLF of its empty line */
    BODY("--b0\r\n" PART("a") "--b0\r\n" PART("b") "--b0--", "[a::].[b::].$"),
    /* preamble, epilogue, padding */
    BODY("This is it.\r\n--b0\r\n" PART("a") "x\r\n--b0--\r\nand more\r\n--b0\r\n", "[a::]x.$"),
    BODY("\r\n--b0\r\n" PART("a") "x\r\n--b0-- \t\r\n", "[a::]x.$"),
    BODY("--b0 \t \r\n" PART("a") "x\r\n--b0 \r\n" PART("b") "y\r\n--b0--anything",
         "[a::]x.[b::]y.$"),
    BODY("x--b0\r\n\r\n--b0--", "$"),
    /* nearly boundaries are content */
    BODY("--b0\r\n" PART("a") "--b0\n--b0\r\n--b\r\n--\r\n-\r\n\r\r\n\r\n--b1\r\n--b0--",
         "[a::].!something behind a boundary"),
    BODY("--b0\r\n" PART("a") "x--b0\n--b0\r\n--b\r\n--\r\n-\r\n\r\r\n\r\n--b1\r\r\r\n\r\n--b0--",
         "[a::]x--b0\n--b0\r\n--b\r\n--\r\n-\r\n\r\r\n\r\n--b1\r\r\r\n.$"),
    BODY("--b0\r\n" PART("a") "\r\n\r\n\r\n--\r\n--b\r\n--b\r\r\n--b0--",
         "[a::]\r\n\r\n\r\n--\r\n--b\r\n--b\r.$"),
    BODY("--b0\r\n" PART("a") "-\r\n--b0--", "[a::]-.$"),
    BODY("--b0\r\n" PART("a") "--b\r\n--b0--", "[a::]--b.$"),
    BODY("--b0\r\n" PART("a") "\r\r\n--b0--", "[a::]\r.$"),
    BODY("--b0\r\n" PART("a") "\n--b0\r\n--b0--", "[a::]\n--b0.$"),
    BODY("--b0\r\n" PART("a") "\r--b0\r\n--b0--", "[a::]\r--b0.$"),
    /* a multipart in a part is its content */
    BODY("--b0\r\nContent-Disposition: form-data; name=a\r\n"
         "Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n\r\n--b0--",
         "[a::multipart/mixed; boundary=c]--c\r\n\r\nx\r\n--c--\r\n.$"),
    BODY("--b0\r\nContent-Transfer-Encoding: 8BIT\r\n" PART("a") "x\r\n--b0--", "[a::]x.$"),
    BODY("--b0\r\nContent-Transfer-Encoding: binary\r\n" PART("a") "x\r\n--b0--", "[a::]x.$"),
    /* cut short */
    BODY("", "!the form is cut short"),
    BODY("preamble\r\n", "!the form is cut short"),
    BODY("--b0\r\n", "!the form is cut short"),
    BODY("--b0\r\n" PART("a") "x", "[a::]x!the form is cut short"),
    BODY("--b0\r\n" PART("a") "x\r\n--b0", "[a::]x.!the form is cut short"),
    BODY("--b0\r\n" PART("a") "x\r\n--b0\r\n", "[a::]x.!the form is cut short"),
    BODY("--b0\r\n" PART("a") "x\r\n--b0-", "[a::]x.!the form is cut short"),
    /* refused */
    BODY("--b0\n" PART("a") "x\r\n--b0--", "!something behind a boundary"),
    BODY("--b01\r\n", "!something behind a boundary"),
    BODY("--b0 x\r\n", "!something behind a boundary"),
    BODY("--b0-\r\n", "!something behind a boundary"),
    BODY("--b0\r\r\n", "!something behind a boundary"),
    BODY("--b0\r\n\r\nx\r\n--b0--", "!a part without a name"),
    BODY("--b0\r\nContent-Type: a\r\n\r\nx\r\n--b0--", "!a part without a name"),
    BODY("--b0\r\nContent-Disposition: form-data\r\n\r\nx", "!a part without a name"),
    BODY("--b0\r\nContent-Disposition: form-data; filename=x\r\n\r\nx", "!a part without a name"),
    BODY("--b0\r\nContent-Disposition: attachment; name=x\r\n\r\n",
         "!a part that is not form-data"),
    BODY("--b0\r\nContent-Disposition: form-data; name=a; name=b\r\n\r\n",
         "!a part with two names"),
    BODY("--b0\r\nContent-Disposition: form-data; name=\"\"; name=b\r\n\r\n",
         "!a part with two names"),
    BODY("--b0\r\nContent-Disposition: form-data; name=a; filename=b; FileName=c\r\n\r\n",
         "!a part with two names"),
    BODY("--b0\r\nContent-Disposition: form-data; name=a\r\nContent-Disposition: form-data\r\n\r\n",
         "!a part with two Content-Dispositions"),
    BODY("--b0\r\nContent-Disposition: form-data; name=\"a\r\n\r\n",
         "!a malformed Content-Disposition"),
    BODY("--b0\r\nContent-Disposition: form-data; name\r\n\r\n",
         "!a malformed Content-Disposition"),
    BODY("--b0\r\nContent-Disposition: form-data;\r\n name=a\r\n\r\n",
         "!a malformed header line of a part"),
    BODY("--b0\r\nContent-Disposition : form-data; name=a\r\n\r\n",
         "!a malformed header line of a part"),
    BODY("--b0\r\nnothing\r\n\r\n", "!a malformed header line of a part"),
    BODY("--b0\r\n: x\r\n\r\n", "!a malformed header line of a part"),
    BODY("--b0\r\nX: a\0b\r\n\r\n", "!a control byte in the header of a part"),
    BODY("--b0\r\nX: a\rb\r\n\r\n", "!a control byte in the header of a part"),
    BODY("--b0\r\nX: a\x7f\r\n\r\n", "!a control byte in the header of a part"),
    BODY("--b0\r\nX: a\n\r\n\r\n", "!a line that does not end with CRLF"),
    BODY("--b0\r\n\n", "!a line that does not end with CRLF"),
    BODY("--b0\r\nContent-Transfer-Encoding: base64\r\n\r\n", "!a part in a transfer encoding"),
};

static void bodies_are_read_however_they_are_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct ferry_slice body = bodies[i].body;
        size_t steps[] = {1, 2, 3, 7, body.len + 1};

        for (size_t s = 0; s < sizeof steps / sizeof *steps; s++)
            assert_string_equal(read_body(TYPE, body, steps[s], steps[s], HEAD_MAX),
                                bodies[i].want);
        for (size_t cut = 1; cut < body.len; cut++)
            assert_string_equal(read_body(TYPE, body, cut, body.len, HEAD_MAX), bodies[i].want);
    }
}

/* What ends well does not end well without its end. */
static void prefixes_are_cut_short(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct ferry_slice body = bodies[i].body;
        const char *end = memmem(body.p, body.len, "--b0--", 6);

        if (!strchr(bodies[i].want, '$'))
            continue;
        while (end > body.p && memmem(end + 6, body.len - (size_t)(end + 6 - body.p), "--b0--", 6))
            end = memmem(end + 6, body.len - (size_t)(end + 6 - body.p), "--b0--", 6);
        for (size_t n = 0; n < (size_t)(end - body.p) + 6; n++)
            assert_non_null(strstr(read_body(TYPE, ferry_slice(body.p, n), n + 1, 1, HEAD_MAX),
                                   "!the form is cut short"));
    }
}

static void the_header_of_a_part_has_a_limit(void **state)
{
    static const char body[] = "--b0\r\nX: y\r\n" PART("a") "x\r\n--b0\r\n" PART("b") "--b0--";
    const size_t head = strlen("X: y\r\n" PART("a"));

    (void)state;
    for (size_t step = 1; step <= sizeof body; step++) {
        assert_string_equal(read_body(TYPE, FERRY_SLICE(body), step, step, head), "[a::]x.[b::].$");
        assert_string_equal(read_body(TYPE, FERRY_SLICE(body), step, step, head - 1),
                            "!the header of a part is too long");
    }
    assert_string_equal(read_body(TYPE, FERRY_SLICE("--b0\r\nx"), 1, 1, 0),
                        "!the header of a part is too long");
}

static void boundaries(void **state)
{
#define D69 "123456789012345678901234567890123456789012345678901234567890123456789"
    static const char no[] = "no boundary, or a bad one, in Content-Type";
    static const struct {
        const char *type, *boundary, *why;
    } cases[] = {
        {"multipart/form-data; boundary=x", "x", NULL},
        {"multipart/form-data;boundary=\"x y\"", "x y", NULL},
        {"multipart/form-data; charset=a; BOUNDARY=----WebKitFormBoundary7MA4YWxk; x=y",
         "----WebKitFormBoundary7MA4YWxk", NULL},
        {"multipart/form-data; boundary=a=b:c/d?e(f)'g+_,-.", "a=b:c/d?e(f)'g+_,-.", NULL},
        {"multipart/form-data; boundary=" D69 "0", D69 "0", NULL},
        {"multipart/form-data; boundary=" D69 "01", NULL, no},
        {"multipart/form-data", NULL, no},
        {"multipart/form-data; boundary=", NULL, no},
        {"multipart/form-data; boundary=\"\"", NULL, no},
        {"multipart/form-data; boundary=\"x \"", NULL, no},
        {"multipart/form-data; boundary=a*b", NULL, no},
        {"multipart/form-data; boundary=caf\xc3\xa9", NULL, no},
        {"multipart/form-data; boundary=\"a\\\"b\"", NULL, no},
        {"multipart/form-data; boundary=x; boundary=x", NULL,
         "more than one boundary in Content-Type"},
        {"multipart/form-data; boundary=\"x", NULL, "a malformed Content-Type"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *type = guard_copy(1, cases[i].type, strlen(cases[i].type));
        struct ferry_multipart m;
        char head[8], body[512];
        int err = ferry_multipart_init(&m, ferry_slice(type, strlen(cases[i].type)), head, 8);

        assert_int_equal(err, cases[i].boundary ? 0 : FERRY_EPROTOCOL);
        if (err < 0) {
            assert_string_equal(m.why, cases[i].why);
            continue;
        }
        snprintf(body, sizeof body, "--%s\r\n" PART("a") "--%s\r\n--%s--", cases[i].boundary,
                 cases[i].boundary + 1, cases[i].boundary);
        assert_non_null(
            strstr(read_body(cases[i].type, ferry_slice_z(body), 1, 5, HEAD_MAX), "[a::]--"));
        assert_non_null(
            strstr(read_body(cases[i].type, ferry_slice_z(body), 1, 5, HEAD_MAX), ".$"));
    }
}

static double seconds_for(const char *unit, size_t total)
{
    struct ferry_multipart m;
    struct ferry_multipart_event ev;
    size_t len = strlen(unit), n = total / len * len;
    char head[HEAD_MAX], *p = malloc(n);
    struct ferry_slice in = FERRY_SLICE("--" D69 "0\r\n" PART("a"));
    struct timespec from, to;
    uint64_t got = 0;

    for (size_t i = 0; i < n; i += len)
        memcpy(p + i, unit, len);
    assert_int_equal(ferry_multipart_init(&m, FERRY_SLICE("x; boundary=" D69 "0"), head, HEAD_MAX),
                     0);
    assert_int_equal(ferry_multipart_next(&m, &in, &ev), 1);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    for (size_t at = 0; at < n; at += 65536) {
        in = ferry_slice(p + at, n - at < 65536 ? n - at : 65536);
        while (ferry_multipart_next(&m, &in, &ev) > 0)
            got += ev.data.len;
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    free(p);
    assert_int_equal(m.err, 0);
    assert_int_equal(got + m.matched, n);
    return (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) * 1e-9;
}

/* Bodies made to look as much like boundaries as can be cost no more than their length: twice as
 * much takes about twice as long, where anything worse would take four times as long. */
static void nearly_boundaries_cost_no_more_than_their_length(void **state)
{
    static const char *const units[] = {"\r\n--" D69 "1", "\r\n--" D69 "\r", "\r",
                                        "\r\n",           "\r\n-",           "\r\n--1"};

    (void)state;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        double once = 1e9, twice = 1e9;

        for (int n = 0; n < 5; n++) {
            double a = seconds_for(units[i], 2 << 20), b = seconds_for(units[i], 4 << 20);

            once = a < once ? a : once;
            twice = b < twice ? b : twice;
        }
        assert_true(twice < 3.5 * once + 0.002);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_are_read_however_they_are_cut),
        cmocka_unit_test(prefixes_are_cut_short),
        cmocka_unit_test(the_header_of_a_part_has_a_limit),
        cmocka_unit_test(boundaries),
        cmocka_unit_test(nearly_boundaries_cost_no_more_than_their_length),
    };

    return cmocka_run_group_tests_name("multipart", tests, NULL, NULL);
}
