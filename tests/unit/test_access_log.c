/* SPDX-License-Identifier: MIT */
#include "gate/access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "support.h"

static char dir[64], path[96], moved[96];
static struct ferry_access_log log_;
static struct ferry_access_buf buf;

static int setup(void **state)
{
    (void)state;
    setenv("TZ", "UTC", 1);
    tzset();
    snprintf(dir, sizeof dir, "/tmp/ferry-log-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/access.log", dir);
    snprintf(moved, sizeof moved, "%s/access.log.1", dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    ferry_access_log_close(&log_);
    ferry_access_log_close(&log_);
    unlink(path);
    unlink(moved);
    return rmdir(dir);
}

static void open_log(void)
{
    assert_int_equal(ferry_access_log_open(&log_, path), 0);
    ferry_access_buf_init(&buf, &log_);
}

static const struct ferry_access usual = {
    .client = FERRY_SLICE_INIT("127.0.0.1"),
    .method = FERRY_SLICE_INIT("GET"),
    .target = FERRY_SLICE_INIT("/"),
    .agent = FERRY_SLICE_INIT("curl/7.88"),
    .minor = 1,
    .status = 200,
    .bytes = 12,
    .time_s = 1795219200,
    .request_us = 4211,
    .app_us = 3970,
};

/* The line for a request, as it stands in the buffer. */
static struct ferry_slice line_of(const struct ferry_access *a)
{
    buf.len = 0;
    ferry_access_buf_add(&buf, a, 1);
    assert_true(buf.len > 0 && buf.len <= FERRY_ACCESS_LINE_MAX);
    assert_int_equal(buf.data[buf.len - 1], '\n');
    assert_null(memchr(buf.data, '\n', buf.len - 1));
    return ferry_slice(buf.data, buf.len);
}

static size_t read_all(const char *from, char *out, size_t cap)
{
    int fd = open(from, O_RDONLY);
    ssize_t n;

    assert_true(fd >= 0);
    n = read(fd, out, cap);
    close(fd);
    assert_true(n >= 0);
    return (size_t)n;
}

static void lines(void **state)
{
    struct ferry_access a = usual;

    (void)state;
    open_log();
    assert_slice_equal(line_of(&a),
                       "127.0.0.1 - - [21/Nov/2026:00:00:00 +0000] \"GET / HTTP/1.1\" 200 12 \"-\" "
                       "\"curl/7.88\" 0.004211 0.003970 -\n");
    a = (struct ferry_access){.app_us = FERRY_ACCESS_NO_APP, .end = FERRY_ACCESS_BAD_REQUEST};
    assert_slice_equal(line_of(&a), "- - - [01/Jan/1970:00:00:00 +0000] \"-\" 000 0 \"-\" \"-\" "
                                    "0.000000 - bad-request\n");
    a = usual;
    a.client = FERRY_SLICE("2001:db8::1");
    a.user = FERRY_SLICE("some one");
    a.method = FERRY_SLICE("POST");
    a.target = FERRY_SLICE("/x?y=z&a=%22");
    a.minor = 0;
    a.status = 502;
    a.bytes = UINT64_MAX;
    a.referer = FERRY_SLICE("http://example.org/");
    a.time_s = 1795219200 + 86399;
    a.request_us = 3600000001;
    a.app_us = 0;
    a.end = FERRY_ACCESS_APP_CUT;
    assert_slice_equal(line_of(&a),
                       "2001:db8::1 - some_one [21/Nov/2026:23:59:59 +0000] \"POST /x?y=z&a=%22 "
                       "HTTP/1.0\" 502 18446744073709551615 \"http://example.org/\" \"curl/7.88\" "
                       "3600.000001 0.000000 app-cut\n");
}

static void local_time_has_its_offset(void **state)
{
    static const struct {
        const char *tz, *want;
    } cases[] = {{"XYZ-5:30", "[21/Nov/2026:05:30:00 +0530]"},
                 {"XYZ+3:30", "[20/Nov/2026:20:30:00 -0330]"},
                 {"XYZ+0:30", "[20/Nov/2026:23:30:00 -0030]"}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        setenv("TZ", cases[i].tz, 1);
        tzset();
        open_log();
        assert_memory_equal(line_of(&usual).p + strlen("127.0.0.1 - - "), cases[i].want,
                            strlen(cases[i].want));
        ferry_access_log_close(&log_);
    }
}

static void bytes_that_could_break_a_line_are_escaped(void **state)
{
    struct ferry_access a = usual;
    char want[256];

    (void)state;
    open_log();
    a.agent = FERRY_SLICE("a\"b\\c\nd\re\tf\x7fg\xc3\xa4 h\x1b[0m");
    a.referer = FERRY_SLICE("\0\xff");
    a.target = FERRY_SLICE("/\"");
    a.user = FERRY_SLICE("a\nb c");
    snprintf(want, sizeof want,
             "127.0.0.1 - a\\x0Ab_c [21/Nov/2026:00:00:00 +0000] \"GET /\\x22 HTTP/1.1\" 200 12 "
             "\"\\x00\\xFF\" \"a\\x22b\\x5Cc\\x0Ad\\x0De\\x09f\\x7Fg\\xC3\\xA4 h\\x1B[0m\" "
             "0.004211 0.003970 -\n");
    assert_int_equal(line_of(&a).len, strlen(want));
    assert_memory_equal(line_of(&a).p, want, strlen(want));

    for (int c = 0; c < 256; c++) {
        char byte = (char)c;
        struct ferry_slice line;

        a = usual;
        a.agent = ferry_slice(guard_copy(0, &byte, 1), 1);
        line = line_of(&a);
        for (size_t i = 0; i + 1 < line.len; i++)
            assert_true(line.p[i] >= ' ' && line.p[i] < 0x7f);
        assert_int_equal(line.len, line_of(&usual).len - 9 +
                                       (c < ' ' || c >= 0x7f || c == '"' || c == '\\' ? 4 : 1));
    }
}

static void long_fields_are_cut(void **state)
{
    static char x[20000], evil[20000];
    struct ferry_access a = usual;
    struct ferry_slice line;

    (void)state;
    memset(x, 'x', sizeof x);
    memset(evil, 0xee, sizeof evil);
    open_log();
    a.agent = ferry_slice(x, 512);
    line = line_of(&a);
    assert_null(memmem(line.p, line.len, "...", 3));
    assert_int_equal(line.len, line_of(&usual).len - 9 + 512);
    a.agent = ferry_slice(x, 513);
    line = line_of(&a);
    assert_non_null(memmem(line.p, line.len, "xxx...\" 0.004211", 16));
    assert_int_equal(line.len, line_of(&usual).len - 9 + 512);
    a.agent = ferry_slice(evil, 128); /* 512 bytes escaped */
    line = line_of(&a);
    assert_non_null(memmem(line.p, line.len, "\\xEE\" 0.004211", 14));
    a.agent = ferry_slice(evil, 129);
    line = line_of(&a);
    assert_non_null(memmem(line.p, line.len, "\\xEE...\" 0.004211", 17));

    for (int i = 0; i < 2; i++) {
        struct ferry_slice all = {i ? evil : x, sizeof x};

        a = (struct ferry_access){.client = all,
                                  .user = all,
                                  .method = all,
                                  .target = all,
                                  .referer = all,
                                  .agent = all,
                                  .minor = 255,
                                  .status = 2147483647,
                                  .bytes = UINT64_MAX,
                                  .time_s = INT64_MAX,
                                  .request_us = UINT64_MAX,
                                  .app_us = UINT64_MAX - 1,
                                  .end = FERRY_ACCESS_QUEUE_TIMEOUT};
        line_of(&a);
        a.time_s = INT64_MIN + 1;
        line_of(&a);
    }
}

static void every_end_has_a_word_of_its_own(void **state)
{
    static const char *const words[] = {
#define X(name, word) word,
        FERRY_ACCESS_END_MAP(X)
#undef X
    };

    (void)state;
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++) {
        assert_string_equal(ferry_access_end_word((enum ferry_access_end)i), words[i]);
        assert_null(strpbrk(words[i], " \"\\\n"));
        for (unsigned j = 0; j < i; j++)
            assert_string_not_equal(words[i], words[j]);
    }
}

static void lines_are_written_when_due_or_when_the_buffer_is_full(void **state)
{
    static char got[64 * 1024];
    size_t line, n;

    (void)state;
    open_log();
    line = line_of(&usual).len;
    buf.len = 0;
    assert_int_equal(ferry_access_buf_due(&buf), UINT64_MAX);
    ferry_access_buf_add(&buf, &usual, 1000);
    ferry_access_buf_add(&buf, &usual, 1050);
    assert_int_equal(ferry_access_buf_due(&buf), 1000 + FERRY_ACCESS_BUF_KEEP_MS);
    assert_int_equal(read_all(path, got, sizeof got), 0);
    assert_int_equal(ferry_access_buf_flush(&buf, 1100), 0);
    assert_int_equal(ferry_access_buf_due(&buf), UINT64_MAX);
    assert_int_equal(read_all(path, got, sizeof got), 2 * line);

    for (unsigned i = 0; i < 300; i++)
        ferry_access_buf_add(&buf, &usual, 2000);
    n = read_all(path, got, sizeof got);
    assert_true(n > 150 * line && n < 302 * line);
    assert_int_equal(ferry_access_buf_flush(&buf, 2000), 0);
    assert_int_equal(read_all(path, got, sizeof got), 302 * line);
    for (unsigned i = 1; i < 302; i++)
        assert_memory_equal(got, got + i * line, line);
    assert_int_equal(buf.dropped, 0);
}

static void two_threads_buffers_share_a_file(void **state)
{
    static struct ferry_access_buf other;
    static char got[4096];
    size_t line;

    (void)state;
    open_log();
    line = line_of(&usual).len;
    ferry_access_buf_init(&other, &log_);
    ferry_access_buf_add(&other, &usual, 1);
    assert_int_equal(ferry_access_buf_flush(&buf, 1), 0);
    assert_int_equal(ferry_access_buf_flush(&other, 1), 0);
    assert_int_equal(read_all(path, got, sizeof got), 2 * line);
    assert_memory_equal(got, got + line, line);
}

static void reopening_follows_the_name(void **state)
{
    static char got[4096];
    struct stat st;
    size_t line;
    int fd;

    (void)state;
    open_log();
    line = line_of(&usual).len;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0137, 0);
    assert_int_equal(rename(path, moved), 0);
    assert_int_equal(ferry_access_buf_flush(&buf, 1), 0);
    assert_int_equal(read_all(moved, got, sizeof got), line); /* until told, the old file */

    fd = log_.fd;
    assert_int_equal(ferry_access_log_reopen(&log_), 0);
    assert_int_equal(log_.fd, fd);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    ferry_access_buf_add(&buf, &usual, 1);
    assert_int_equal(ferry_access_buf_flush(&buf, 1), 0);
    assert_int_equal(read_all(path, got, sizeof got), line);
    assert_int_equal(read_all(moved, got, sizeof got), line);

    /* When it cannot be opened the old one goes on. */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(ferry_access_log_reopen(&log_), -EISDIR);
    ferry_access_buf_add(&buf, &usual, 1);
    assert_int_equal(ferry_access_buf_flush(&buf, 1), 0);
    assert_int_equal(rmdir(path), 0);
}

static void off_is_off(void **state)
{
    (void)state;
    assert_int_equal(ferry_access_log_open(&log_, "off"), 0);
    ferry_access_buf_init(&buf, &log_);
    ferry_access_buf_add(&buf, &usual, 1);
    assert_int_equal(buf.len, 0);
    assert_int_equal(ferry_access_buf_due(&buf), UINT64_MAX);
    assert_int_equal(ferry_access_buf_flush(&buf, 1), 0);
    assert_int_equal(ferry_access_log_reopen(&log_), 0);
}

static void a_dash_is_stderr(void **state)
{
    static char got[4096];
    int kept = dup(STDERR_FILENO), fd = open(path, O_RDWR | O_CREAT, 0600);

    (void)state;
    assert_true(kept >= 0 && fd >= 0);
    assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
    assert_int_equal(ferry_access_log_open(&log_, "-"), 0);
    ferry_access_buf_init(&buf, &log_);
    ferry_access_buf_add(&buf, &usual, 1);
    assert_int_equal(ferry_access_buf_flush(&buf, 1), 0);
    ferry_access_log_close(&log_);
    assert_int_equal(fcntl(STDERR_FILENO, F_GETFD), 0); /* not ours to close */
    dup2(kept, STDERR_FILENO);
    close(kept);
    close(fd);
    assert_true(read_all(path, got, sizeof got) > 50);
}

static void a_file_that_cannot_be_opened_says_why(void **state)
{
    (void)state;
    assert_int_equal(ferry_access_log_open(&log_, "/nonexistent/log"), -ENOENT);
    assert_int_equal(ferry_access_log_open(&log_, dir), -EISDIR);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(ferry_access_log_open(&log_, path), -ENXIO); /* nobody reads; no waiting */
    assert_int_equal(log_.fd, -1);
}

static void a_full_pipe_loses_new_lines_but_no_parts(void **state)
{
    static char got[1 << 20];
    size_t line, n = 0, added = 500 * 1000 / 100;
    int fd;

    (void)state;
    assert_int_equal(mkfifo(path, 0600), 0);
    fd = open(path, O_RDONLY | O_NONBLOCK);
    assert_true(fd >= 0);
    open_log();
    line = line_of(&usual).len;
    buf.len = 0;
    for (size_t i = 0; i < added; i++)
        ferry_access_buf_add(&buf, &usual, 1);
    assert_true(buf.dropped > 0);
    assert_int_equal(ferry_access_buf_flush(&buf, 7), -EAGAIN);
    assert_int_equal(ferry_access_buf_due(&buf), 7 + FERRY_ACCESS_BUF_KEEP_MS);
    while (buf.len || n == 0) {
        ssize_t r = read(fd, got + n, sizeof got - n);
        assert_true(r > 0);
        n += (size_t)r;
        ferry_access_buf_flush(&buf, 8);
    }
    for (ssize_t r; (r = read(fd, got + n, sizeof got - n)) > 0;)
        n += (size_t)r;
    close(fd);
    assert_int_equal(n, (added - buf.dropped) * line);
    for (size_t i = line; i < n; i += line)
        assert_memory_equal(got, got + i, line);
}

static void lines_that_are_lost_are_told_once_and_so_is_the_end(void **state)
{
    static struct ferry_access_buf other;
    static char got[1 << 20];
    uint64_t lost = 0, dropped = 0, now = 1000;
    int fd;

    (void)state;
    assert_int_equal(mkfifo(path, 0600), 0);
    fd = open(path, O_RDONLY | O_NONBLOCK);
    assert_true(fd >= 0);
    open_log();
    ferry_access_buf_init(&other, &log_);
    buf.len = 0;
    ferry_access_buf_add(&buf, &usual, now);
    assert_int_equal(ferry_access_buf_flush(&buf, now), 0);
    assert_int_equal(ferry_access_buf_news(&buf, now, &lost), FERRY_ACCESS_NO_NEWS);
    while (!buf.dropped)
        ferry_access_buf_add(&buf, &usual, now);
    assert_int_equal(ferry_access_buf_news(&buf, now, &lost), FERRY_ACCESS_LOSING);
    assert_int_equal(buf.err, -EAGAIN);
    for (dropped = 1; dropped < 20; dropped++) {
        ferry_access_buf_add(&buf, &usual, now + 1);
        assert_int_equal(ferry_access_buf_news(&buf, now + 1, &lost), FERRY_ACCESS_NO_NEWS);
    }
    while (!other.dropped)
        ferry_access_buf_add(&other, &usual, now);
    assert_int_equal(ferry_access_buf_news(&other, now, &lost), FERRY_ACCESS_NO_NEWS);
    dropped++;

    /* There is room again, but too soon to speak of it; and lines are not written by being few. */
    while (read(fd, got, sizeof got) > 0)
        ;
    assert_int_equal(ferry_access_buf_flush(&buf, now + 2), 0);
    assert_int_equal(ferry_access_buf_news(&buf, now + 2, &lost), FERRY_ACCESS_NO_NEWS);
    now += FERRY_ACCESS_LOSING_MS;
    assert_int_equal(ferry_access_buf_news(&buf, now, &lost), FERRY_ACCESS_NO_NEWS);
    ferry_access_buf_add(&buf, &usual, now);
    assert_int_equal(ferry_access_buf_news(&buf, now, &lost), FERRY_ACCESS_NO_NEWS);
    assert_int_equal(ferry_access_buf_flush(&buf, now), 0);
    assert_int_equal(ferry_access_buf_news(&buf, now, &lost), FERRY_ACCESS_RESUMED);
    assert_int_equal(lost, dropped);
    assert_int_equal(ferry_access_buf_flush(&other, now), 0);
    assert_int_equal(ferry_access_buf_news(&other, now, &lost), FERRY_ACCESS_NO_NEWS);
    assert_int_equal(ferry_access_buf_end(&other, now), 0);

    /* What still waits at the end is lost as well. */
    while (!buf.dropped)
        ferry_access_buf_add(&buf, &usual, now);
    assert_int_equal(ferry_access_buf_news(&buf, now, &lost), FERRY_ACCESS_LOSING);
    dropped = 0;
    for (size_t i = 0; i < buf.len; i++)
        dropped += buf.data[i] == '\n';
    assert_true(dropped > 0);
    assert_int_equal(ferry_access_buf_end(&buf, now), dropped + 1);
    assert_int_equal(ferry_access_buf_end(&buf, now), 0);
    close(fd);
}

static void a_terminal_sees_each_line_at_once(void **state)
{
    (void)state;
    open_log();
    log_.terminal = true;
    ferry_access_buf_add(&buf, &usual, 1000);
    assert_int_equal(ferry_access_buf_due(&buf), 1000);
}

static void open_one(void *arg)
{
    int err = ferry_access_log_open(&log_, path);

    (void)arg;
    assert_true(err == 0 || err == -ENOMEM);
    ferry_access_log_close(&log_);
}

static void memory_may_run_out(void **state)
{
    (void)state;
    each_alloc_fails(open_one, NULL);
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

static bool holds(struct ferry_slice line, const char *text)
{
    return memmem(line.p, line.len, text, strlen(text)) != NULL;
}

static void as_json(void **state)
{
    struct ferry_access a = usual;
    struct ferry_slice line;

    (void)state;
    open_log();
    a.format = FERRY_ACCESS_JSON;
    a.host = FERRY_SLICE("example.org:8080");
    line = line_of(&a);
    assert_true(ferry_slice_eq(
        line, FERRY_SLICE("{\"time\":\"2026-11-21T00:00:00Z\",\"client\":\"127.0.0.1\","
                          "\"user\":null,\"method\":\"GET\",\"target\":\"/\","
                          "\"protocol\":\"HTTP/1.1\",\"host\":\"example.org:8080\","
                          "\"status\":200,\"bytes\":12,\"referer\":null,"
                          "\"agent\":\"curl/7.88\",\"seconds\":0.004211,"
                          "\"app_seconds\":0.003970,\"end\":null}\n")));
    a.target = FERRY_SLICE("/\"\\\n\x7f\xc3\xa9\xc3\xff\xed\xa0\x80");
    a.app_us = FERRY_ACCESS_NO_APP;
    a.end = FERRY_ACCESS_APP_CUT;
    line = line_of(&a);
    assert_true(holds(line, "\"target\":\"/\\\"\\\\\\u000a\\u007f\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd"
                            "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""));
    assert_true(holds(line, "\"app_seconds\":null,\"end\":\"app-cut\"}"));
}

static void json_lines_have_a_maximum(void **state)
{
    static const char bytes[] = {'x', '"', '\0', '\xc3'};
    static char text[5000];
    struct ferry_access a = usual;

    (void)state;
    open_log();
    a.format = FERRY_ACCESS_JSON;
    for (size_t i = 0; i < sizeof bytes; i++)
        for (size_t n = 0; n < sizeof text; n += n < 400 ? 1 : 61) {
            memset(text, bytes[i], n);
            a.client = a.user = a.method = a.target = a.host = a.referer = a.agent =
                ferry_slice(text, n);
            line_of(&a);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(lines),
        test(local_time_has_its_offset),
        test(bytes_that_could_break_a_line_are_escaped),
        test(long_fields_are_cut),
        test(every_end_has_a_word_of_its_own),
        test(lines_are_written_when_due_or_when_the_buffer_is_full),
        test(two_threads_buffers_share_a_file),
        test(reopening_follows_the_name),
        test(off_is_off),
        test(a_dash_is_stderr),
        test(a_file_that_cannot_be_opened_says_why),
        test(a_full_pipe_loses_new_lines_but_no_parts),
        test(lines_that_are_lost_are_told_once_and_so_is_the_end),
        test(a_terminal_sees_each_line_at_once),
        test(as_json),
        test(json_lines_have_a_maximum),
        test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
