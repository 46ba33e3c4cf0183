/* SPDX-License-Identifier: MIT */
#include "files/mime.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "support.h"

static void assert_type(const struct ferry_mime *m, const char *file, const char *want)
{
    size_t n = strlen(file);
    struct ferry_slice got = ferry_mime_type(m, ferry_slice(guard_copy(0, file, n), n));

    if (got.len != strlen(want) || memcmp(got.p, want, got.len) != 0)
        fail_msg("%s: %.*s, not %s", file, (int)got.len, got.p, want);
}

/* A file with this text, gone again when the table is made. */
static struct ferry_mime *made_of(const char *text, size_t len)
{
    char path[] = "/tmp/ferry-mime-XXXXXX";
    struct ferry_mime *m = NULL;
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), len);
    close(fd);
    assert_int_equal(ferry_mime_new(path, &m), 0);
    unlink(path);
    return m;
}

static void the_built_in_table_knows_the_web(void **state)
{
    static const struct {
        const char *file, *want;
    } cases[] = {
        {"/index.html", "text/html; charset=utf-8"},
        {"/INDEX.HTM", "text/html; charset=utf-8"},
        {"/a.css", "text/css; charset=utf-8"},
        {"/a.js", "text/javascript; charset=utf-8"},
        {"/a.mjs", "text/javascript; charset=utf-8"},
        {"/a.min.js", "text/javascript; charset=utf-8"},
        {"/robots.txt", "text/plain; charset=utf-8"},
        {"/a.json", "application/json"},
        {"/a.js.map", "application/json"},
        {"/a.webmanifest", "application/manifest+json"},
        {"/a.xml", "application/xml"},
        {"/a.svg", "image/svg+xml"},
        {"/a.png", "image/png"},
        {"/a.JPeG", "image/jpeg"},
        {"/favicon.ico", "image/vnd.microsoft.icon"},
        {"/a.avif", "image/avif"},
        {"/a.woff2", "font/woff2"},
        {"/a.wasm", "application/wasm"},
        {"/a.mp4", "video/mp4"},
        {"/segment.ts", "video/mp2t"},
        {"/a.tar.gz", "application/gzip"},
        {"/a.pdf", "application/pdf"},
        {"/README", "application/octet-stream"},
        {"/a.", "application/octet-stream"},
        {"/a.unheardof", "application/octet-stream"},
        {"/v1.html/data", "application/octet-stream"},
        {"/html", "application/octet-stream"},
        {"html", "application/octet-stream"},
        {"", "application/octet-stream"},
        {"/a.extensionlongerthanany", "application/octet-stream"},
        {"/a.htm\xc4\xb1", "application/octet-stream"},
    };
    struct ferry_mime *m;

    (void)state;
    assert_int_equal(ferry_mime_new(NULL, &m), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_type(m, cases[i].file, cases[i].want);
    ferry_mime_free(m);
}

static void the_file_comes_first_and_its_first_line_wins(void **state)
{
    static const char text[] = "# a comment\n"
                               "\n"
                               "application/x-web-page \t html\thtm # not: css\n"
                               "text/x-own own\r\n"
                               "text/x-late html own\n"
                               "text/xml own-xml\n"
                               "application/javascript ejs\n"
                               "text/x-Qt ts\n"
                               "application/nothing\n"
                               "no-slash bad1\n"
                               "/half bad2\n"
                               "half/ bad3\n"
                               "text/a/b bad4\n"
                               "text/\x01 bad5\n"
                               "text/h\xc3\xa4 bad6\n"
                               "text/a;q=1 bad7\n"
                               "text/x-last last";
    struct ferry_mime *m = made_of(text, sizeof text - 1);

    (void)state;
    assert_type(m, "/a.html", "application/x-web-page");
    assert_type(m, "/a.HTM", "application/x-web-page");
    assert_type(m, "/a.own", "text/x-own; charset=utf-8");
    assert_type(m, "/a.own-xml", "text/xml");
    assert_type(m, "/a.ejs", "application/javascript; charset=utf-8");
    assert_type(m, "/a.ts", "video/mp2t");
    assert_type(m, "/a.last", "text/x-last; charset=utf-8");
    assert_type(m, "/a.css", "text/css; charset=utf-8");
    for (char name[] = "/a.bad1"; name[6] <= '7'; name[6]++)
        assert_type(m, name, "application/octet-stream");
    ferry_mime_free(m);
}

static void a_file_that_is_not_there_is_fine(void **state)
{
    static const char *const paths[] = {"/nonexistent/mime.types", "/tmp", "/dev/null"};
    struct ferry_mime *m;

    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        assert_int_equal(ferry_mime_new(paths[i], &m), 0);
        assert_type(m, "/a.html", "text/html; charset=utf-8");
        ferry_mime_free(m);
    }
    ferry_mime_free(NULL);
}

static void any_bytes_can_be_a_file(void **state)
{
    static char text[300 * 1024];
    struct ferry_mime *m;
    size_t n = 0;

    (void)state;
    /* Keys that equal a free slot's must not become one. */
    memcpy(text, "text/nul \0\0 \0\n", 14);
    m = made_of(text, 14);
    assert_type(m, "/a.html", "text/html; charset=utf-8");
    assert_type(m, "/a.zzz", "application/octet-stream");
    ferry_mime_free(m);

    /* More than is read: whole lines up to there count. */
    for (unsigned i = 0; n < sizeof text - 32; i++)
        n += (size_t)snprintf(text + n, 32, "x/t%06u e%06u\n", i, i);
    m = made_of(text, n);
    assert_type(m, "/a.e000000", "x/t000000");
    assert_type(m, "/a.e010000", "x/t010000");
    assert_type(m, "/a.e016000", "application/octet-stream");
    assert_type(m, "/a.html", "text/html; charset=utf-8");
    ferry_mime_free(m);

    memset(text, 'x', sizeof text);
    m = made_of(text, sizeof text);
    assert_type(m, "/a.html", "text/html; charset=utf-8");
    ferry_mime_free(m);
}

static void a_long_type_is_left_out(void **state)
{
    char text[256] = "text/";
    struct ferry_mime *m;

    (void)state;
    memset(text + 5, 'x', 139); /* 144 and a charset fit into FERRY_MIME_TYPE_MAX */
    memcpy(text + 144, " fits\n", 7);
    m = made_of(text, strlen(text));
    assert_int_equal(ferry_mime_type(m, FERRY_SLICE("/a.fits")).len, 144 + 15);
    ferry_mime_free(m);

    memcpy(text + 144, "x long\n", 8);
    m = made_of(text, strlen(text));
    assert_type(m, "/a.long", "application/octet-stream");
    ferry_mime_free(m);
}

static void make_one(void *arg)
{
    struct ferry_mime *m = NULL;
    int err = ferry_mime_new("/dev/null", &m);

    (void)arg;
    assert_true(err == 0 || err == -ENOMEM);
    if (err == 0)
        assert_type(m, "/a.html", "text/html; charset=utf-8");
    else
        assert_null(m);
    ferry_mime_free(m);
}

static void memory_may_run_out(void **state)
{
    (void)state;
    each_alloc_fails(make_one, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_built_in_table_knows_the_web),
        cmocka_unit_test(the_file_comes_first_and_its_first_line_wins),
        cmocka_unit_test(a_file_that_is_not_there_is_fine),
        cmocka_unit_test(any_bytes_can_be_a_file),
        cmocka_unit_test(a_long_type_is_left_out),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
