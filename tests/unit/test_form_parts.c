/* SPDX-License-Identifier: MIT */
#include "app/form.h"

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#define MULTIPART "multipart/form-data; boundary=b0"
#define URLENCODED "application/x-www-form-urlencoded"

static struct ferry_form *form_of(const char *type, struct ferry_slice body, size_t step,
                                  int64_t content_length, const struct ferry_form_opts *opts)
{
    struct ferry_form *f = ferry__form_new(ferry_slice_z(type), content_length, opts);

    for (size_t at = 0; f && at < body.len; at += step) {
        size_t n = body.len - at < step ? body.len - at : step;

        ferry__form_take(f, ferry_slice(guard_copy(0, body.p + at, n), n));
    }
    if (f && ferry__form_end(f) == 0)
        assert_true(f->over);
    return f;
}

/* "name=value|" for a field, "name:filename:sent_name:type:length@value|" for a file, "@fd" when it
 * lies in one; then "!" and why after an error. */
static const char *text_of(const struct ferry_form *f)
{
    static char text[1 << 16];
    const struct ferry_part *parts;
    size_t at = 0, n = ferry_form_parts(f, &parts);

    text[0] = 0;
    for (size_t i = 0; i < n; i++) {
        const struct ferry_part *p = &parts[i];

        assert_int_equal(p->name.p[p->name.len], 0);
        assert_int_equal(p->type.p[p->type.len], 0);
        if (!p->filename.p) {
            assert_int_equal(p->fd, -1);
            assert_int_equal(p->len, p->value.len);
            assert_int_equal(p->value.p[p->value.len], 0);
            at += (size_t)snprintf(text + at, sizeof text - at, "%s=%s|", p->name.p, p->value.p);
            continue;
        }
        assert_int_equal(p->filename.p[p->filename.len], 0);
        assert_int_equal(p->sent_name.p[p->sent_name.len], 0);
        assert_true((p->fd < 0) == (p->value.p != NULL));
        at += (size_t)snprintf(text + at, sizeof text - at, "%s:%s:%s:%s:%llu@%.*s|", p->name.p,
                               p->filename.p, p->sent_name.p, p->type.p, (unsigned long long)p->len,
                               p->fd < 0 ? (int)p->value.len : 2, p->fd < 0 ? p->value.p : "fd");
    }
    if (f->err)
        snprintf(text + at, sizeof text - at, "!%s", f->why);
    return text;
}

static const char *said(const char *type, struct ferry_slice body, size_t step, int64_t length,
                        const struct ferry_form_opts *opts)
{
    static char text[1 << 16];
    struct ferry_form *f = form_of(type, body, step, length, opts);

    snprintf(text, sizeof text, "%s", text_of(f));
    ferry__form_free(f);
    return text;
}

#define FIELD(name, value)                                                                         \
    "--b0\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n" value "\r\n"
#define FILE_PART(name, filename, type, value)                                                     \
    "--b0\r\nContent-Disposition: form-data; name=\"" name "\"; filename=\"" filename              \
    "\"\r\nContent-Type: " type "\r\n\r\n" value "\r\n"
#define END "--b0--\r\n"

static void bodies_become_parts(void **state)
{
    static const struct {
        const char *type;
        struct ferry_slice body;
        const char *want;
    } cases[] = {
        {URLENCODED, FERRY_SLICE_INIT(""), ""},
        {URLENCODED, FERRY_SLICE_INIT("a=1&b=x+y&a=%41%&&c"), "a=1|b=x y|a=A%|c=|"},
        {URLENCODED "; charset=UTF-8", FERRY_SLICE_INIT("=b&=&%3D=%26"), "=b|=|==&|"},
        {" Application/X-WWW-Form-URLencoded ;x", FERRY_SLICE_INIT("a"), "a=|"},
        {MULTIPART, FERRY_SLICE_INIT(END), ""},
        {MULTIPART,
         FERRY_SLICE_INIT(FIELD("a", "1") FIELD("b", "") FIELD("a", "2") FIELD("", "3") END),
         "a=1|b=|a=2|=3|"},
        {MULTIPART,
         FERRY_SLICE_INIT(FILE_PART("f", "a.txt", "text/plain", "abc") FIELD("a", "1")
                              FILE_PART("f", "", "application/octet-stream", "") END),
         "f:a.txt:a.txt:text/plain:3@abc|a=1|f:::application/octet-stream:0@|"},
        {"Multipart/Form-Data; boundary=\"b0\"",
         FERRY_SLICE_INIT(FILE_PART("f", "C:\\dir\\a.txt", "x", "1") FILE_PART(
             "g", "../../etc/passwd", "x", "2") FILE_PART("h", "dir/sub\\b", "x", "3")
                              FILE_PART("i", "..", "x", "4") FILE_PART("j", "a/", "x", "5") END),
         "f:a.txt:C:\\dir\\a.txt:x:1@1|g:passwd:../../etc/passwd:x:1@2|h:b:dir/sub\\b:x:1@3|"
         "i:..:..:x:1@4|j::a/:x:1@5|"},
        /* without a type only nothing is a form */
        {"", FERRY_SLICE_INIT(""), ""},
        {"", FERRY_SLICE_INIT("a=1"), "!a body without a CONTENT_TYPE"},
        {"text/plain", FERRY_SLICE_INIT("a=1"), "!the body is not a form"},
        {"multipart/mixed; boundary=b0", FERRY_SLICE_INIT(END), "!the body is not a form"},
        {"multipart/form-data", FERRY_SLICE_INIT(END),
         "!no boundary, or a bad one, in Content-Type"},
        {MULTIPART, FERRY_SLICE_INIT(""), "!the form is cut short"},
        {MULTIPART, FERRY_SLICE_INIT(FIELD("a", "1")), "!the form is cut short"},
        {MULTIPART, FERRY_SLICE_INIT(FIELD("a", "1") "--b0"), "a=1|!the form is cut short"},
        {MULTIPART, FERRY_SLICE_INIT("a=1&b=2"), "!the form is cut short"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t step = 1; step <= cases[i].body.len + 1; step++)
            assert_string_equal(said(cases[i].type, cases[i].body, step, -1, NULL), cases[i].want);
}

static void a_nul_stays_in_slices_and_is_no_string(void **state)
{
    static const struct {
        const char *type;
        struct ferry_slice body;
    } cases[] = {
        {URLENCODED, FERRY_SLICE_INIT("x=1&a=1%002&x=3&a=z")},
        {MULTIPART, FERRY_SLICE_INIT(FIELD("x", "1") FIELD("a", "1\0002") FIELD("a", "z") END)},
    };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct ferry_form *f = form_of(cases[i].type, cases[i].body, 3, -1, NULL);

        assert_slice_equal(ferry_form_value(f, "a"), "1\0002");
        assert_null(ferry_form_value_z(f, "a"));
        assert_string_equal(ferry_form_value_z(f, "x"), "1");
        assert_null(ferry_form_value(f, "y").p);
        assert_null(ferry_form_value_z(f, "y"));
        assert_null(ferry_form_file(f, "x"));
        ferry__form_free(f);
    }
}

static void a_field_and_a_file_of_one_name_are_two_things(void **state)
{
    struct ferry_slice body =
        FERRY_SLICE(FILE_PART("a", "f", "x", "in the file") FIELD("a", "value") END);
    struct ferry_form *f = form_of(MULTIPART, body, body.len, -1, NULL);

    (void)state;
    assert_string_equal(ferry_form_value_z(f, "a"), "value");
    assert_slice_equal(ferry_form_file(f, "a")->value, "in the file");
    ferry__form_free(f);
}

static void content_length_is_believed_and_checked(void **state)
{
    static const struct {
        const char *type;
        struct ferry_slice body;
        const char *want;
    } cases[] = {
        {URLENCODED, FERRY_SLICE_INIT("a=1"), "a=1|"},
        {MULTIPART, FERRY_SLICE_INIT(FIELD("a", "1") END), "a=1|"},
    };

    (void)state;
    for (size_t i = 0; i < 2; i++)
        for (size_t step = 1; step < cases[i].body.len; step++) {
            int64_t n = (int64_t)cases[i].body.len;

            assert_string_equal(said(cases[i].type, cases[i].body, step, n, NULL), cases[i].want);
            assert_non_null(strstr(said(cases[i].type, cases[i].body, step, n - 1, NULL),
                                   "!the body is longer than its CONTENT_LENGTH"));
            assert_non_null(strstr(said(cases[i].type, cases[i].body, step, n + 1, NULL),
                                   "!the body is shorter than its CONTENT_LENGTH"));
        }
    assert_string_equal(said("", FERRY_SLICE(""), 1, 0, NULL), "");
    assert_string_equal(said("", FERRY_SLICE(""), 1, 1, NULL),
                        "!the body is shorter than its CONTENT_LENGTH");
    /* Nothing needs to be read to see that it is too much. */
    assert_string_equal(said(URLENCODED, FERRY_SLICE(""), 1, (64 << 20) + 1, NULL),
                        "!the body is too long");
}

/* Each limit at what the body needs, and one below. */
static void limits(void **state)
{
    static const struct ferry_slice many = FERRY_SLICE_INIT(
        FIELD("a", "12345") FILE_PART("f", "n", "t/x", "1234567") FIELD("bb", "123")
            FILE_PART("e", "", "", "") FILE_PART("g", "o", "t", "12") END);
    static const char all[] = "a=12345|f:n:n:t/x:7@1234567|bb=123|e::::0@|g:o:o:t:2@12|";
    static const struct {
        const char *type;
        struct ferry_slice body;
        struct ferry_form_opts good, bad;
        const char *all, *why;
    } cases[] = {
#define OPTS(...) {sizeof(struct ferry_form_opts), __VA_ARGS__}
#define MANY(field, n, m, why)                                                                     \
    {                                                                                              \
        MULTIPART, FERRY_SLICE_INIT(""), OPTS(.field = n), OPTS(.field = m), all, why              \
    }
        MANY(file_max, 7, 6, "a file is too long"),
        MANY(field_max, 5, 4, "a field is too long"),
        MANY(parts_max, 5, 4, "too many fields"),
        MANY(files_max, 2, 1, "too many files"),
        MANY(part_head_max, 77, 76, "the header of a part is too long"),
        {URLENCODED, FERRY_SLICE_INIT("a=1&b=22"), OPTS(.memory_max = 8), OPTS(.memory_max = 7),
         "a=1|b=22|", "the fields are too long"},
        {URLENCODED, FERRY_SLICE_INIT("a=1&b=%41%41"), OPTS(.field_max = 2), OPTS(.field_max = 1),
         "a=1|b=AA|", "a field is too long"},
        {URLENCODED, FERRY_SLICE_INIT("a=1&b=2"), OPTS(.parts_max = 2), OPTS(.parts_max = 1),
         "a=1|b=2|", "too many fields"},
        {URLENCODED, FERRY_SLICE_INIT("a=1&b=2"), OPTS(.total_max = 7), OPTS(.total_max = 6),
         "a=1|b=2|", "the body is too long"},
        {MULTIPART, FERRY_SLICE_INIT(FIELD("a", "12") FIELD("bb", "") END), OPTS(.memory_max = 5),
         OPTS(.memory_max = 4), "a=12|bb=|", "the names are too long"},
        {MULTIPART, FERRY_SLICE_INIT(FIELD("a", "12") FIELD("b", "3") END), OPTS(.memory_max = 5),
         OPTS(.memory_max = 4), "a=12|b=3|", "the fields are too long"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_slice body = cases[i].body.len ? cases[i].body : many;

        for (size_t step = 1; step <= body.len; step += 3) {
            struct ferry_form *f;

            assert_string_equal(said(cases[i].type, body, step, -1, &cases[i].good), cases[i].all);
            f = form_of(cases[i].type, body, step, -1, &cases[i].bad);
            assert_int_equal(f->err, FERRY_ELIMIT);
            assert_string_equal(f->why, cases[i].why);
            assert_int_equal(ferry__form_take(f, FERRY_SLICE("x")), FERRY_ELIMIT);
            assert_int_equal(ferry__form_end(f), FERRY_ELIMIT);
            ferry__form_free(f);
        }
    }
}

/* An older program's options are shorter. */
static void options_may_be_of_another_version(void **state)
{
    struct ferry_form_opts opts = {
        .size = offsetof(struct ferry_form_opts, parts_max), .field_max = 2, .parts_max = 1};

    (void)state;
    assert_string_equal(said(URLENCODED, FERRY_SLICE("a=22&b=2"), 3, -1, &opts), "a=22|b=2|");
    assert_string_equal(said(URLENCODED, FERRY_SLICE("a=333"), 3, -1, &opts),
                        "!a field is too long");
}

/* -- files in files
 * ------------------------------------------------------------------------------------------------
 */

static void large_files_leave_memory(void **state)
{
    static const struct ferry_slice body =
        FERRY_SLICE_INIT(FILE_PART("f", "four", "t", "1234") FILE_PART("f", "five", "t", "12345")
                             FIELD("a", "123456789") FILE_PART("f", "ten", "t", "0123456789")
                                 FILE_PART("f", "none", "t", "") END);
    struct ferry_form_opts opts = OPTS(.file_memory_max = 4);

    (void)state;
    for (size_t step = 1; step <= body.len; step++) {
        struct ferry_form *f = form_of(MULTIPART, body, step, -1, &opts);
        const struct ferry_part *parts;
        char some[16];

        assert_string_equal(text_of(f), "f:four:four:t:4@1234|f:five:five:t:5@fd|a=123456789|"
                                        "f:ten:ten:t:10@fd|f:none:none:t:0@|");
        ferry_form_parts(f, &parts);
        /* The descriptor alone is enough. */
        assert_int_equal(pread(parts[1].fd, some, sizeof some, 0), 5);
        assert_memory_equal(some, "12345", 5);
        assert_int_equal(pread(parts[3].fd, some, sizeof some, 0), 10);
        assert_memory_equal(some, "0123456789", 10);
        for (int i = 0; i < 4; i += 3) {
            assert_int_equal(ferry_part_read(&parts[i], 1, some, 2), 2);
            assert_memory_equal(some, i ? "12" : "23", 2);
            assert_int_equal(ferry_part_read(&parts[i], 1, some, sizeof some), i ? 9 : 3);
            assert_int_equal(ferry_part_read(&parts[i], i ? 10 : 4, some, sizeof some), 0);
            assert_int_equal(ferry_part_read(&parts[i], UINT64_MAX, some, sizeof some), 0);
        }
        ferry__form_free(f);
    }
}

/* Each is small, together they are not: those that come when memory is full are files. */
static void memory_is_shared_by_all(void **state)
{
    static const struct ferry_slice body = FERRY_SLICE_INIT(
        FILE_PART("f", "a", "t", "1234") FILE_PART("f", "b", "t", "1234")
            FILE_PART("f", "c", "t", "1234") FILE_PART("f", "d", "t", "") FIELD("x", "12") END);
    /* names and types: 4 * 3 + 1; contents: 4 in memory and the field's 2 */
    struct ferry_form_opts good = OPTS(.memory_max = 19), bad = OPTS(.memory_max = 18);

    (void)state;
    for (size_t step = 1; step <= body.len; step++) {
        /* What fits depends on how much of the names came before: b has room for its 4 bytes, until
         * c's and d's names take it. */
        assert_non_null(strstr(said(MULTIPART, body, step, -1, &good), "f:a:a:t:4@1234|"));
        assert_non_null(strstr(said(MULTIPART, body, step, -1, &bad), "f:a:a:t:4@1234|"));
    }
    good.memory_max = 10;
    assert_string_equal(said(MULTIPART, body, 1, -1, &good),
                        "f:a:a:t:4@1234|f:b:b:t:4@fd|!the names are too long");
}

static void parts_are_saved(void **state)
{
    static char content[300000];
    static char body[400000];
    char folder[] = "/tmp/ferry-form-XXXXXX", path[64], *back = malloc(sizeof content);
    size_t sizes[] = {0, 5, 70000, sizeof content};

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/x", folder);
    for (size_t i = 0; i < sizeof content; i++)
        content[i] = (char)(i * 7 + i / 251);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        static const char head[] =
            "--b0\r\nContent-Disposition: form-data; name=f; filename=x\r\n\r\n";
        size_t n = sizeof head - 1;
        const struct ferry_part *part;
        struct ferry_form *f;
        int fd;

        memcpy(body, head, n);
        memcpy(body + n, content, sizes[s]);
        n += sizes[s];
        memcpy(body + n, "\r\n--b0--", 8);
        f = form_of(MULTIPART, ferry_slice(body, n + 8), 60000, -1, NULL);
        part = ferry_form_file(f, "f");
        assert_non_null(part);
        assert_int_equal(part->len, sizes[s]);
        assert_true((part->fd >= 0) == (sizes[s] > 65536));
        assert_int_equal(ferry_part_save(part, path), 0);
        assert_int_equal(ferry_part_save(part, path), -EEXIST);
        fd = open(path, O_RDONLY);
        assert_int_equal(read(fd, back, sizeof content), sizes[s]);
        assert_memory_equal(back, content, sizes[s]);
        close(fd);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(ferry_part_save(part, "/nowhere/at/all"), -ENOENT);
        ferry__form_free(f);
    }
    rmdir(folder);
    free(back);
}

static unsigned open_files(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void no_descriptor_stays_open(void **state)
{
    static const struct ferry_slice body =
        FERRY_SLICE_INIT(FILE_PART("f", "a", "t", "12345") FILE_PART("f", "b", "t", "12345") END);
    struct ferry_form_opts opts = OPTS(.file_memory_max = 1);
    unsigned before = open_files();

    (void)state;
    for (size_t n = 0; n <= body.len; n++)
        ferry__form_free(form_of(MULTIPART, ferry_slice(body.p, n), n + 1, -1, &opts));
    assert_int_equal(open_files(), before);
}

/* The disk is full, or as good as: the error of the file is the form's, and nothing stays open. */
static void the_file_cannot_grow(void **state)
{
    static char body[1 << 18];
    static const char head[] = "--b0\r\nContent-Disposition: form-data; name=f; filename=x\r\n\r\n";
    struct rlimit was, low;
    struct ferry_form *f;
    unsigned before = open_files();

    (void)state;
    memset(body, 'x', sizeof body);
    memcpy(body, head, sizeof head - 1);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    low = (struct rlimit){.rlim_cur = 100000, .rlim_max = was.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    f = form_of(MULTIPART, ferry_slice(body, sizeof body), 50000, -1, NULL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(f->err, -EFBIG);
    assert_string_equal(f->why, "the file cannot be kept");
    ferry__form_free(f);
    assert_int_equal(open_files(), before);
}

static void starve(void *arg)
{
    static const struct ferry_slice body = FERRY_SLICE_INIT(
        FIELD("a", "1") FILE_PART("f", "a", "t", "12345") FILE_PART("f", "b", "t", "1")
            FIELD("b", "2") FIELD("c", "2") FIELD("d", "2") FIELD("e", "2") FIELD("f", "2")
                FIELD("g", "2") END);
    struct ferry_form_opts opts = OPTS(.file_memory_max = 4);
    struct ferry_form *f =
        arg ? form_of(URLENCODED, FERRY_SLICE("a=1&b&c&d&e&f&g&h&i&j"), 2, -1, &opts)
            : form_of(MULTIPART, body, 11, -1, &opts);

    if (f && f->err)
        assert_int_equal(f->err, -ENOMEM);
    /* Giving memory back that is not needed may fail unseen. */
    assert_true(!f || alloc_failed() || f->err == 0);
    ferry__form_free(f);
}

static void memory_may_be_out(void **state)
{
    (void)state;
    each_alloc_fails(starve, NULL);
    each_alloc_fails(starve, &(int){1});
}

static void errors_have_a_status(void **state)
{
    static const int cases[][2] = {
        {FERRY_EPROTOCOL, 400}, {FERRY_EABORTED, 400}, {FERRY_ELIMIT, 413}, {-EMEDIUMTYPE, 415},
        {-ENOSPC, 507},         {-EDQUOT, 507},        {-ENOMEM, 500},      {-EIO, 500},
        {-EMFILE, 500},         {FERRY_EUSAGE, 500},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(ferry_form_status(cases[i][0]), cases[i][1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_become_parts),
        cmocka_unit_test(a_nul_stays_in_slices_and_is_no_string),
        cmocka_unit_test(a_field_and_a_file_of_one_name_are_two_things),
        cmocka_unit_test(content_length_is_believed_and_checked),
        cmocka_unit_test(limits),
        cmocka_unit_test(options_may_be_of_another_version),
        cmocka_unit_test(large_files_leave_memory),
        cmocka_unit_test(memory_is_shared_by_all),
        cmocka_unit_test(parts_are_saved),
        cmocka_unit_test(no_descriptor_stays_open),
        cmocka_unit_test(the_file_cannot_grow),
        cmocka_unit_test(memory_may_be_out),
        cmocka_unit_test(errors_have_a_status),
    };

    return cmocka_run_group_tests_name("form_parts", tests, NULL, NULL);
}
