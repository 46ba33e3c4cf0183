/* SPDX-License-Identifier: MIT */
#include "files/static.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "files/range.h"

#include "support.h"

#define MTIME 784111777 /* Sun, 06 Nov 1994 08:49:37 GMT */
#define DATE "Sat, 21 Nov 2026 00:00:00 GMT"
#define LARGE 100000

/* What stands between the code and the disk: reads that stop at a byte, fail, or come in pieces. */
static off_t disk_ends = INT64_MAX;
static int disk_fails;
static size_t disk_piece = SIZE_MAX;
static unsigned disk_interrupts;

ssize_t pread(int fd, void *to, size_t n, off_t at)
{
    if (disk_interrupts) {
        disk_interrupts--;
        errno = EINTR;
        return -1;
    }
    if (disk_fails) {
        errno = disk_fails;
        return -1;
    }
    if (at >= disk_ends)
        return 0;
    n = (off_t)n > disk_ends - at ? (size_t)(disk_ends - at) : n;
    return syscall(SYS_pread64, fd, to, n < disk_piece ? n : disk_piece, at);
}

static char top[64];
static char large[LARGE];
static struct ferry_docroot root;
static struct ferry_mime *mime;
static struct ferry_blocks blocks;

static struct answer {
    int err;
    struct ferry_static_result result;
    char text[2 * LARGE]; /* head and body */
    size_t len;
    const char *body;
    size_t body_len;
    unsigned files; /* ranges handed over as files */
    bool open;      /* the connection would go on */
} got;

static void make_file(const char *name, const char *text, size_t len)
{
    const struct timespec times[2] = {{MTIME, 0}, {MTIME, 5}};
    char path[128];
    int fd;

    snprintf(path, sizeof path, "%s/%s", top, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), len);
    assert_int_equal(futimens(fd, times), 0);
    close(fd);
}

static int setup(void **state)
{
    (void)state;
    snprintf(top, sizeof top, "/tmp/ferry-static-XXXXXX");
    assert_non_null(mkdtemp(top));
    for (size_t i = 0; i < LARGE; i++)
        large[i] = (char)('a' + i % 26);
    make_file("hello.txt", "hello, world", 12);
    make_file("empty.css", "", 0);
    make_file("page.html", large, 1024);
    make_file("most.bin", large, FERRY_STATIC_READ_MAX);
    make_file("more.bin", large, FERRY_STATIC_READ_MAX + 1);
    make_file("large.txt", large, LARGE);
    ferry_blocks_init(&blocks, 4, 4);
    assert_int_equal(ferry_mime_new(NULL, &mime), 0);
    assert_int_equal(ferry_docroot_open(&root, top), 0);
    return 0;
}

static int teardown(void **state)
{
    pid_t pid;

    (void)state;
    ferry_docroot_close(&root);
    ferry_mime_free(mime);
    ferry_blocks_fini(&blocks);
    disk_ends = INT64_MAX;
    disk_fails = 0;
    disk_piece = SIZE_MAX;
    pid = fork();
    if (pid == 0) {
        execl("/bin/rm", "rm", "-rf", top, (char *)NULL);
        _exit(1);
    }
    return pid < 0 || waitpid(pid, NULL, 0) != pid;
}

/* Sends a machine's output to got.text, as a socket would. */
static void drain(struct ferry_http *h)
{
    struct ferry_chain *out = ferry_http_output(h);

    while (out->len) {
        const struct ferry_seg *file = ferry_chain_file_first(out);
        struct iovec iov;
        size_t n;

        if (file) {
            n = file->len;
            assert_true(got.len + n <= sizeof got.text);
            assert_int_equal(
                syscall(SYS_pread64, file->fd, got.text + got.len, file->len, file->off), n);
            got.files++;
        } else {
            assert_int_equal(ferry_chain_iov(out, &iov, 1), 1);
            n = iov.iov_len;
            assert_true(got.len + n <= sizeof got.text);
            memcpy(got.text + got.len, iov.iov_base, n);
        }
        got.len += n;
        ferry_http_sent(h, n, 1);
    }
}

/* One request with these fields ("A: b\r\n"), and its answer in `got`. */
static void ask(const char *method, const char *file, const char *fields)
{
    static struct ferry_http_event ev;
    char request[4096];
    int n = snprintf(request, sizeof request, "%s / HTTP/1.1\r\nHost: a\r\n%s\r\n", method, fields);
    struct ferry_http *h = ferry_http_new(&(struct ferry_http_opts){.blocks = &blocks}, 1);
    const char *end;

    assert_non_null(h);
    memset(&got, 0, sizeof got);
    assert_int_equal(ferry_http_recv(h, request, (size_t)n, 1), n);
    assert_int_equal(ferry_http_event(h, &ev), 1);
    assert_int_equal(ev.type, FERRY_HTTP_EV_HEAD);
    got.err = ferry_static_send(&root, mime, h, &blocks, &ev.head, ferry_slice_z(file),
                                FERRY_SLICE(DATE), NULL, &got.result);
    while (ferry_http_event(h, &ev) == 1)
        assert_int_equal(ev.type, FERRY_HTTP_EV_END);
    drain(h);
    got.open = !ferry_http_finished(h);
    if (got.err < 0)
        assert_false(ferry_http_responded(h));
    ferry_http_free(h);

    got.text[got.len] = 0;
    end = strstr(got.text, "\r\n\r\n");
    got.body = end ? end + 4 : got.text + got.len;
    got.body_len = got.len - (size_t)(got.body - got.text);
    if (got.err == 0) {
        assert_non_null(end);
        assert_int_equal(strtol(got.text + 9, NULL, 10), got.result.status);
        assert_int_equal(got.result.bytes, got.body_len);
    }
}

/* The value of a field of the answer, or NULL. */
static const char *field(const char *name)
{
    static char value[256];
    char line[64];
    const char *at;

    snprintf(line, sizeof line, "\r\n%s: ", name);
    at = strstr(got.text, line);
    if (!at || at >= got.body)
        return NULL;
    at += strlen(line);
    snprintf(value, sizeof value, "%.*s", (int)strcspn(at, "\r"), at);
    return value;
}

static void assert_field(const char *name, const char *want)
{
    const char *value = field(name);

    if (want ? !value || strcmp(value, want) != 0 : value != NULL)
        fail_msg("%s: %s, not %s, in:\n%.*s", name, value ? value : "(none)", want ? want : "none",
                 (int)(got.body - got.text), got.text);
}

static void assert_answer(int status, const char *content_length, const char *body, size_t len)
{
    assert_int_equal(got.err, 0);
    assert_int_equal(got.result.status, status);
    assert_false(got.result.cut);
    assert_true(got.open);
    assert_field("Date", DATE);
    assert_field("Content-Length", content_length);
    assert_field("Transfer-Encoding", NULL);
    assert_int_equal(got.body_len, len);
    if (len)
        assert_memory_equal(got.body, body, len);
}

static const char *etag_of(size_t size)
{
    static char tag[64];

    snprintf(tag, sizeof tag, "\"%llx-%zx\"", MTIME * 1000000000ull + 5, size);
    return tag;
}

static void whole_files(void **state)
{
    static const struct {
        const char *file, *type, *length;
        size_t len;
        unsigned files;
    } cases[] = {
        {"/page.html", "text/html; charset=utf-8", "1024", 1024, 0},
        {"/empty.css", "text/css; charset=utf-8", "0", 0, 0},
        {"/most.bin", "application/octet-stream", "65536", 65536, 0},
        {"/more.bin", "application/octet-stream", "65537", 65537, 1},
        {"/large.txt", "text/plain; charset=utf-8", "100000", LARGE, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int head = 0; head < 2; head++) {
            ask(head ? "HEAD" : "GET", cases[i].file, "");
            assert_answer(200, cases[i].length, large, head ? 0 : cases[i].len);
            assert_int_equal(got.files, head ? 0 : cases[i].files);
            assert_field("Content-Type", cases[i].type);
            assert_field("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT");
            assert_field("ETag", etag_of(cases[i].len));
            assert_field("Accept-Ranges", "bytes");
            assert_field("Content-Range", NULL);
        }
}

static void a_small_file_is_one_piece_with_its_head(void **state)
{
    static struct ferry_http_event ev;
    const char request[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    struct ferry_http *h = ferry_http_new(&(struct ferry_http_opts){.blocks = &blocks}, 1);
    struct iovec iov[4];

    (void)state;
    assert_non_null(h);
    assert_int_equal(ferry_http_recv(h, request, sizeof request - 1, 1), sizeof request - 1);
    assert_int_equal(ferry_http_event(h, &ev), 1);
    assert_int_equal(ferry_static_send(&root, mime, h, &blocks, &ev.head, FERRY_SLICE("/page.html"),
                                       FERRY_SLICE(""), NULL, &got.result),
                     0);
    assert_int_equal(ferry_chain_iov(ferry_http_output(h), iov, 4), 1);
    ferry_http_free(h);
}

static void conditions(void **state)
{
    char fields[256];

    (void)state;
    snprintf(fields, sizeof fields, "If-None-Match: %s\r\n", etag_of(12));
    ask("GET", "/hello.txt", fields);
    assert_answer(304, NULL, NULL, 0);
    assert_field("ETag", etag_of(12));
    assert_field("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_field("Content-Type", NULL);
    ask("GET", "/large.txt", "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
    assert_answer(304, NULL, NULL, 0);
    assert_int_equal(got.files, 0);
    ask("HEAD", "/hello.txt", "If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n");
    assert_answer(200, "12", NULL, 0);

    ask("GET", "/hello.txt", "If-Match: \"other\"\r\n");
    assert_int_equal(got.result.status, 412);
    assert_field("Content-Type", "text/html; charset=utf-8");
    assert_field("Content-Range", NULL);
    assert_non_null(strstr(got.body, "412 Precondition Failed"));
    ask("HEAD", "/hello.txt", "If-Match: \"other\"\r\n");
    assert_int_equal(got.result.status, 412);
    assert_int_equal(got.body_len, 0);
}

static void one_range(void **state)
{
    static const struct {
        const char *file, *range, *content_range, *length;
        size_t first, len;
        unsigned files;
    } cases[] = {
        {"/page.html", "0-9", "bytes 0-9/1024", "10", 0, 10, 0},
        {"/page.html", "-24", "bytes 1000-1023/1024", "24", 1000, 24, 0},
        {"/page.html", "0-", "bytes 0-1023/1024", "1024", 0, 1024, 0},
        {"/large.txt", "99999-", "bytes 99999-99999/100000", "1", 99999, 1, 0},
        {"/large.txt", "10-65545", "bytes 10-65545/100000", "65536", 10, 65536, 0},
        {"/large.txt", "10-65546", "bytes 10-65546/100000", "65537", 10, 65537, 1},
        {"/large.txt", "10-20,15-30", "bytes 10-30/100000", "21", 10, 21, 0},
    };
    char fields[128];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(fields, sizeof fields, "Range: bytes=%s\r\n", cases[i].range);
        ask("GET", cases[i].file, fields);
        assert_answer(206, cases[i].length, large + cases[i].first, cases[i].len);
        assert_field("Content-Range", cases[i].content_range);
        assert_int_equal(got.files, cases[i].files);
        ask("HEAD", cases[i].file, fields);
        assert_int_equal(got.result.status, 200);
        assert_field("Content-Range", NULL);
    }
    ask("GET", "/page.html", "Range: bytes=1024-\r\n");
    assert_int_equal(got.result.status, 416);
    assert_field("Content-Range", "bytes */1024");
    assert_true(got.open);
    ask("GET", "/empty.css", "Range: bytes=0-\r\n");
    assert_answer(200, "0", NULL, 0);
}

/* Reads the body of a multipart answer and compares it to the ranges it should have. */
static void assert_parts(const char *type, size_t size, const struct ferry_range *want, unsigned n)
{
    char boundary[64] = "", head[512], length[32];
    const char *value = field("Content-Type"), *at = got.body;

    assert_non_null(value);
    assert_int_equal(sscanf(value, "multipart/byteranges; boundary=%60s", boundary), 1);
    assert_int_equal(strspn(boundary, "0123456789abcdef"), 32);
    for (unsigned i = 0; i < n; i++) {
        int len = snprintf(head, sizeof head,
                           "\r\n--%s\r\nContent-Type: %s\r\n"
                           "Content-Range: bytes %zu-%zu/%zu\r\n\r\n",
                           boundary, type, (size_t)want[i].first,
                           (size_t)(want[i].first + want[i].len - 1), size);

        assert_memory_equal(at, head, len);
        at += len;
        assert_memory_equal(at, large + want[i].first, want[i].len);
        at += want[i].len;
    }
    snprintf(head, sizeof head, "\r\n--%s--\r\n", boundary);
    assert_string_equal(at, head);
    snprintf(length, sizeof length, "%zu", got.body_len);
    assert_field("Content-Length", length);
    assert_field("Content-Range", NULL);
}

static void several_ranges(void **state)
{
    static const struct ferry_range small[] = {{0, 10}, {500, 10}, {1023, 1}};
    static const struct ferry_range big[] = {{60000, 40000}, {0, 30000}, {40000, 1}};
    char first[64];

    (void)state;
    ask("GET", "/page.html", "Range: bytes=0-9,500-509,-1\r\n");
    assert_int_equal(got.result.status, 206);
    assert_parts("text/html; charset=utf-8", 1024, small, 3);
    assert_int_equal(got.files, 0);
    assert_true(got.open && !got.result.cut);
    snprintf(first, sizeof first, "%s", field("Content-Type"));

    ask("GET", "/large.txt", "Range: bytes=60000-,0-29999,40000-40000\r\n");
    assert_int_equal(got.result.status, 206);
    assert_parts("text/plain; charset=utf-8", LARGE, big, 3);
    assert_int_equal(got.files, 3);
    assert_true(got.open && !got.result.cut);
    assert_string_not_equal(field("Content-Type"), first); /* a boundary of its own */

    ask("HEAD", "/page.html", "Range: bytes=0-9,500-509,-1\r\n");
    assert_answer(200, "1024", NULL, 0);
}

static void the_most_parts(void **state)
{
    struct ferry_range want[FERRY_RANGES_MAX];
    char fields[1024], name[200] = "long.";
    size_t n = (size_t)snprintf(fields, sizeof fields, "Range: bytes=");

    (void)state;
    for (unsigned i = 0; i < FERRY_RANGES_MAX; i++) {
        want[i] = (struct ferry_range){i * 4000, 2000};
        n += (size_t)snprintf(fields + n, sizeof fields - n, "%s%u-%u", i ? "," : "", i * 4000,
                              i * 4000 + 1999);
    }
    snprintf(fields + n, sizeof fields - n, "\r\n");
    ask("GET", "/large.txt", fields);
    assert_parts("text/plain; charset=utf-8", LARGE, want, FERRY_RANGES_MAX);

    /* Every part's head as long as it can be. */
    memset(name, 'x', 144);
    memcpy(name, "text/", 5);
    memcpy(name + 144, " txt\n", 5);
    make_file("types", name, 149);
    snprintf(name, sizeof name, "%s/types", top);
    ferry_mime_free(mime);
    assert_int_equal(ferry_mime_new(name, &mime), 0);
    ask("GET", "/large.txt", fields);
    memset(name, 'x', 144);
    memcpy(name, "text/", 5);
    memcpy(name + 144, "; charset=utf-8", 16);
    assert_parts(name, LARGE, want, FERRY_RANGES_MAX);
}

static void what_is_no_file_of_ours_is_refused(void **state)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    char path[128];
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    uid_t me = geteuid();

    (void)state;
    snprintf(path, sizeof path, "%s/fifo", top);
    assert_int_equal(mkfifo(path, 0666), 0);
    snprintf(sun.sun_path, sizeof sun.sun_path, "%s/socket", top);
    assert_int_equal(bind(s, (struct sockaddr *)&sun, sizeof sun), 0);
    close(s);
    snprintf(path, sizeof path, "%s/device", top);
    assert_int_equal(symlink("/dev/zero", path), 0);

    ask("GET", "/fifo", "");
    assert_int_equal(got.err, -EACCES);
    ask("GET", "/socket", "");
    assert_int_equal(got.err, -EACCES);
    ask("GET", "/device", "");
    assert_int_equal(got.err, -EACCES);
    ask("GET", "/", "");
    assert_int_equal(got.err, -EACCES);
    ask("GET", "/none", "");
    assert_int_equal(got.err, -ENOENT);
    ask("GET", "/hello.txt/x", "");
    assert_int_equal(ferry_static_status(got.err), 404);
    ask("GET", "/../../etc/passwd", "");
    assert_int_equal(got.err, -ENOENT);
    ask("POST", "/hello.txt", "Content-Length: 0\r\n");
    assert_int_equal(got.err, FERRY_EUSAGE);
    ask("get", "/hello.txt", "");
    assert_int_equal(got.err, FERRY_EUSAGE);

    snprintf(path, sizeof path, "%s/hello.txt", top);
    assert_int_equal(chmod(path, 0), 0);
    assert_int_equal(chmod(top, 0755), 0);
    if (me == 0)
        assert_int_equal(seteuid(65534), 0);
    ask("GET", "/hello.txt", "");
    if (me == 0)
        assert_int_equal(seteuid(0), 0);
    assert_int_equal(got.err, -EACCES);
}

static void a_file_that_is_gone_is_looked_for_again(void **state)
{
    char path[128];

    (void)state;
    assert_int_equal(ferry_docroot_look(&root, FERRY_SLICE("/hello.txt")), FERRY_PATH_FILE);
    snprintf(path, sizeof path, "%s/hello.txt", top);
    assert_int_equal(unlink(path), 0);
    ask("GET", "/hello.txt", "");
    assert_int_equal(got.err, -ENOENT);
    assert_int_equal(ferry_docroot_look(&root, FERRY_SLICE("/hello.txt")), FERRY_PATH_NONE);
}

static void a_file_that_shrinks_is_a_cut_answer(void **state)
{
    static const off_t ends[] = {0, 1, 500, 1023};

    (void)state;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        disk_ends = ends[i];
        ask("GET", "/page.html", "");
        assert_int_equal(got.err, 0);
        assert_int_equal(got.result.status, 200);
        assert_true(got.result.cut);
        assert_false(got.open);
        assert_field("Content-Length", "1024");
        assert_int_equal(got.body_len, ends[i]);
        assert_memory_equal(got.body, large, ends[i]);
    }
    /* In the second of three parts, and right at its beginning. */
    for (disk_ends = 500; disk_ends <= 505; disk_ends += 5) {
        ask("GET", "/page.html", "Range: bytes=0-9,500-509,1000-1009\r\n");
        assert_int_equal(got.err, 0);
        assert_true(got.result.cut);
        assert_false(got.open);
        assert_true(strtoul(field("Content-Length"), NULL, 10) > got.body_len);
        assert_int_equal(memcmp(got.body + got.body_len - (disk_ends - 500), large + 500,
                                (size_t)disk_ends - 500),
                         0);
        assert_null(memmem(got.body, got.body_len, "1000-1009", 9));
    }
    disk_ends = 1000; /* the first and the second are there, the third is not */
    ask("GET", "/page.html", "Range: bytes=0-9,500-509,1000-1009\r\n");
    assert_true(got.result.cut && !got.open);
    /* HEAD and 304 read nothing. */
    disk_ends = 0;
    ask("HEAD", "/page.html", "");
    assert_answer(200, "1024", NULL, 0);
}

static void a_disk_may_fail_or_dawdle(void **state)
{
    (void)state;
    disk_fails = EIO;
    ask("GET", "/page.html", "");
    assert_int_equal(got.err, -EIO);
    assert_int_equal(got.len, 0);
    disk_fails = 0;
    disk_piece = 100;
    disk_interrupts = 3;
    ask("GET", "/page.html", "");
    assert_answer(200, "1024", large, 1024);
    ask("GET", "/page.html", "Range: bytes=0-299,500-799\r\n");
    assert_int_equal(got.result.status, 206);
    assert_false(got.result.cut);
}

static unsigned descriptors(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void no_descriptor_is_left(void **state)
{
    static const char *const files[] = {"/hello.txt", "/large.txt", "/empty.css", "/none", "/"};
    static const char *const fields[] = {"", "Range: bytes=0-1,60000-99999,30000-30005\r\n",
                                         "If-None-Match: *\r\n", "If-Match: \"x\"\r\n",
                                         "Range: bytes=200000-\r\n"};
    unsigned before = descriptors();

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        for (size_t j = 0; j < sizeof fields / sizeof *fields; j++) {
            ask("GET", files[i], fields[j]);
            ask("HEAD", files[i], fields[j]);
            ask("POST", files[i], fields[j]);
        }
    assert_int_equal(descriptors(), before);
}

static void descriptors_may_run_out(void **state)
{
    struct rlimit old, few;
    int fds[64], n = 0;
    unsigned before = descriptors();

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    few = (struct rlimit){32, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    while (n < 64 && (fds[n] = dup(root.fd)) >= 0)
        n++;
    ask("GET", "/hello.txt", "");
    assert_int_equal(got.err, -EMFILE);
    assert_int_equal(ferry_static_status(got.err), 503);
    /* One for the file, none for its second part. */
    close(fds[--n]);
    ask("GET", "/large.txt", "Range: bytes=0-39999,50000-89999\r\n");
    assert_int_equal(got.err, 0);
    assert_true(got.result.cut && !got.open);
    while (n)
        close(fds[--n]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(descriptors(), before);
}

static void a_time_to_come_is_not_told(void **state)
{
    const struct timespec times[2] = {{4000000000, 0}, {4000000000, 0}};
    const char *modified;
    char path[128];

    (void)state;
    snprintf(path, sizeof path, "%s/hello.txt", top);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    ask("GET", "/hello.txt", "");
    assert_answer(200, "12", "hello, world", 12);
    modified = field("Last-Modified");
    assert_non_null(modified);
    assert_null(strstr(modified, "2096"));
}

static void statuses_of_errors(void **state)
{
    static const struct {
        int err, status;
    } cases[] = {{FERRY_EUSAGE, 405}, {-EACCES, 403}, {-EPERM, 403},        {-ENOENT, 404},
                 {-ENOTDIR, 404},     {-ELOOP, 404},  {-ENAMETOOLONG, 404}, {-EMFILE, 503},
                 {-ENFILE, 503},      {-ENOMEM, 503}, {-EIO, 500}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(ferry_static_status(cases[i].err), cases[i].status);
}

/* Whatever allocation fails: an error and nothing sent, or an answer, or a cut one. */
static void send_one(void *arg)
{
    static struct ferry_http_event ev;
    struct ferry_static_result result = {0};
    struct ferry_blocks own;
    struct ferry_http *h;
    char request[256];
    int n = snprintf(request, sizeof request, "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n",
                     ((const char **)arg)[1]);

    ferry_blocks_init(&own, 0, 0);
    h = ferry_http_new(&(struct ferry_http_opts){.blocks = &own}, 1);
    if (h && ferry_http_recv(h, request, (size_t)n, 1) == n && ferry_http_event(h, &ev) == 1 &&
        ev.type == FERRY_HTTP_EV_HEAD) {
        int err = ferry_static_send(&root, mime, h, &own, &ev.head,
                                    ferry_slice_z(((const char **)arg)[0]), FERRY_SLICE(DATE), NULL,
                                    &result);

        if (err < 0) {
            assert_int_equal(err, -ENOMEM);
            assert_false(ferry_http_responded(h));
            assert_int_equal(ferry_http_output(h)->len, 0);
        } else if (result.cut) {
            assert_true(alloc_failed());
        }
    }
    ferry_http_free(h);
    ferry_blocks_fini(&own);
}

static void memory_may_run_out(void **state)
{
    static const char *const cases[][2] = {
        {"/page.html", ""},
        {"/most.bin", ""},
        {"/large.txt", ""},
        {"/page.html", "Range: bytes=2000-\r\n"},
        {"/page.html", "Range: bytes=0-9,500-509\r\n"},
        {"/large.txt", "Range: bytes=0-9,500-509,1000-90000,91000-91010,92000-92010\r\n"},
    };
    unsigned before = descriptors();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        each_alloc_fails(send_one, (void *)cases[i]);
    assert_int_equal(descriptors(), before);
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(whole_files),
        test(a_small_file_is_one_piece_with_its_head),
        test(conditions),
        test(one_range),
        test(several_ranges),
        test(the_most_parts),
        test(what_is_no_file_of_ours_is_refused),
        test(a_file_that_is_gone_is_looked_for_again),
        test(a_file_that_shrinks_is_a_cut_answer),
        test(a_disk_may_fail_or_dawdle),
        test(no_descriptor_is_left),
        test(descriptors_may_run_out),
        test(a_time_to_come_is_not_told),
        test(statuses_of_errors),
        test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
