/* SPDX-License-Identifier: MIT */
/* A program that was started as plain CGI: the same handlers, with the environment, standard input
 * and standard output in place of a connection; on every back end of the loop. */
#include <fcntl.h>
#include <poll.h>

#include "app_server.h"

enum { PIPE = -1, CLOSED = -2, SOCKET = -3 };

struct cgi {
    pid_t pid;
    int in, out, err; /* the web server's ends */
    char text[3 << 20];
    size_t len;
    char log[4096];
    size_t log_len;
};

static void become(int fd, int given)
{
    if (given < 0)
        close(fd);
    else
        dup2(given, fd);
}

static void run_cgi(const char *const *env, const struct ferry_app_opts *given)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;

    if (given)
        opts = *given;
    signal(SIGPIPE, SIG_DFL);
    clearenv();
    for (; *env; env += 2)
        setenv(env[0], env[1], 1);
    opts.handle = handle;
    opts.io = io;
    exit(ferry_app_main(&opts, NULL));
}

static void make_ends(int kind, int ends[2])
{
    int fds[2] = {-1, -1};

    if (kind == PIPE)
        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    else if (kind == SOCKET)
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    else if (kind >= 0)
        fds[0] = kind;
    ends[0] = fds[0];
    ends[1] = fds[1];
}

/* `in` and `out` are PIPE, SOCKET, CLOSED or a descriptor. */
static struct cgi *begin(const char *const *env, int in, int out, const struct ferry_app_opts *opts)
{
    struct cgi *c = calloc(1, sizeof *c);
    int i[2], o[2], e[2];

    make_ends(in, i);
    make_ends(out, o);
    make_ends(PIPE, e);
    fflush(stdout);
    c->pid = fork();
    if (c->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        become(0, i[0]);
        become(1, out == PIPE || out == SOCKET ? o[1] : out);
        become(2, e[1]);
        for (int n = 0; n < 2; n++) {
            close(n == 0 ? i[1] : o[0]); /* or it would be its own peer */
            close(e[n]);
        }
        run_cgi(env, opts);
    }
    assert_true(c->pid > 0);
    c->in = in == PIPE || in == SOCKET ? i[1] : -1;
    c->out = out == PIPE || out == SOCKET ? o[0] : -1;
    c->err = e[0];
    if (c->in >= 0)
        close(i[0]);
    if (c->out >= 0)
        close(o[1]);
    close(e[1]);
    return c;
}

static ssize_t fill(int fd, char *to, size_t *len, size_t cap)
{
    ssize_t n = read(fd, to + *len, cap - *len - 1);

    if (n > 0)
        *len += (size_t)n;
    to[*len] = 0;
    return n;
}

/* All that it writes, while `in` is given to it as fast as it takes it. */
static void converse(struct cgi *c, const char *in, size_t n)
{
    if (c->in >= 0)
        fcntl(c->in, F_SETFL, O_NONBLOCK);
    while (c->out >= 0) {
        struct pollfd at[] = {{.fd = c->out, .events = POLLIN},
                              {.fd = n ? c->in : -1, .events = POLLOUT}};

        assert_true(poll(at, 2, 10000) > 0);
        if (at[1].revents) {
            ssize_t sent = write(c->in, in, n);

            if (sent < 0)
                n = 0;
            else {
                in += sent;
                n -= (size_t)sent;
            }
        }
        if (at[0].revents && fill(c->out, c->text, &c->len, sizeof c->text) <= 0)
            break;
    }
    while (fill(c->err, c->log, &c->log_len, sizeof c->log) > 0)
        continue;
}

/* The exit status; the log must be empty unless `log` says something else. */
static int end(struct cgi *c, const char *log)
{
    int status;

    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    assert_true(WIFEXITED(status));
    assert_string_equal(c->log, log);
    if (c->in >= 0)
        close(c->in);
    if (c->out >= 0)
        close(c->out);
    close(c->err);
    free(c);
    return WEXITSTATUS(status);
}

#define TEXT "Content-Type: text/plain; charset=utf-8\r\n\r\n"

static void the_environment_is_the_params(void **state)
{
    static const char *const env[] = {"DO",         "params", "TWICE", "once", "HTTP_PROXY",
                                      "http://bad", "LAST",   "last",  NULL};
    static const char *const proxy[] = {"DO",   "params",     "TWICE", "x", "MISSING",
                                        "here", "HTTP_PROXY", "x",     NULL};
    struct cgi *c;

    (void)state;
    c = begin(env, CLOSED, PIPE, NULL);
    converse(c, NULL, 0);
    assert_string_equal(c->text, TEXT "n=3 last=LAST twice=once missing=(none) "
                                      "id=1 role=1 kept=0 now=1 peer=unix:");
    assert_int_equal(end(c, ""), 0);
    c = begin(proxy, CLOSED, PIPE, NULL); /* not even as the last */
    converse(c, NULL, 0);
    assert_non_null(strstr(c->text, "n=3 last=MISSING"));
    assert_int_equal(end(c, ""), 0);
}

static void status_and_standard_error_are_those_of_the_request(void **state)
{
    static const char *const env[] = {"DO", "headers", NULL};
    struct cgi *c = begin(env, CLOSED, PIPE, NULL);

    (void)state;
    converse(c, NULL, 0);
    assert_string_equal(c->text, "Status: 404 Not Found\r\nX-One: 1\r\ncontent-type: text/html\r\n"
                                 "X-Two: 2\r\n\r\nbody");
    assert_int_equal(end(c, "good=1\n"), 938 & 0xff);
}

static int file_of(const char *bytes, size_t n)
{
    int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), n);
    lseek(fd, 0, SEEK_SET);
    return fd;
}

static void a_body_has_the_length_that_is_claimed(void **state)
{
    static const struct {
        const char *length, *body, *want;
        bool stays_open;
    } cases[] = {
        {"5", "hello", "hello", true}, {"5", "hello, world", "hello", true},
        {"0", "hello", "", true},      {"", "hello", "", true},
        {"x", "hello", "", true},      {"10", "short", "short", false},
        {"1000000", "", "", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int kind = 0; kind < 3; kind++) {
            const char *env[] = {"DO", "echo", "CONTENT_LENGTH", cases[i].length, NULL};
            size_t n = strlen(cases[i].body);
            int file = kind == 2 ? file_of(cases[i].body, n) : -1;
            struct cgi *c = begin(env, kind == 2 ? file : kind == 1 ? SOCKET : PIPE, PIPE, NULL);

            if (c->in >= 0)
                assert_int_equal(write(c->in, cases[i].body, n), n);
            if (c->in >= 0 && !cases[i].stays_open) {
                close(c->in);
                c->in = -1;
            }
            converse(c, NULL, 0);
            assert_string_equal(c->text, cases[i].want);
            assert_int_equal(end(c, ""), 0);
            if (file >= 0)
                close(file);
        }
}

static void without_a_length_a_chunked_body_goes_to_its_end(void **state)
{
    static const char *const env[] = {"DO", "echo", "HTTP_TRANSFER_ENCODING", "chunked", NULL};
    struct cgi *c = begin(env, PIPE, PIPE, NULL);

    (void)state;
    assert_int_equal(write(c->in, "some", 4), 4);
    close(c->in);
    c->in = -1;
    converse(c, NULL, 0);
    assert_string_equal(c->text, "some");
    assert_int_equal(end(c, ""), 0);
}

static void large_bodies_and_answers(void **state)
{
    static const char *const env[] = {"DO", "echo", "CONTENT_LENGTH", "1048576", NULL};
    static const char *const sum_of[] = {"DO", "body", "CONTENT_LENGTH", "1048576", NULL};
    struct sum sum = {0};
    char want[100];

    (void)state;
    for (int kind = PIPE; kind >= SOCKET; kind += SOCKET - PIPE) {
        struct cgi *c = begin(env, kind, kind, NULL);

        converse(c, pattern, sizeof pattern); /* it answers while it reads */
        assert_int_equal(c->len, sizeof pattern);
        assert_memory_equal(c->text, pattern, sizeof pattern);
        assert_int_equal(end(c, ""), 0);

        c = begin(sum_of, kind, kind, NULL);
        converse(c, pattern, sizeof pattern);
        add_up(&sum, pattern, sizeof pattern);
        snprintf(want, sizeof want, TEXT "%zu bytes, hash %08x", sum.len, sum.hash);
        assert_string_equal(c->text, want);
        assert_int_equal(end(c, ""), 0);
        sum = (struct sum){0};
    }
}

static void an_answer_may_go_to_a_file_or_nowhere(void **state)
{
    static const char *const env[] = {"DO", "pour", NULL};
    int file = file_of("", 0);
    char some[100];
    struct cgi *c = begin(env, CLOSED, file, NULL);

    (void)state;
    converse(c, NULL, 0);
    assert_int_equal(end(c, ""), 0);
    assert_int_equal(lseek(file, 0, SEEK_END), 32 << 20);
    assert_int_equal(pread(file, some, sizeof some, 65536), sizeof some);
    assert_memory_equal(some, pattern + 65536, sizeof some);
    close(file);
    c = begin(env, CLOSED, CLOSED, NULL);
    converse(c, NULL, 0);
    assert_int_equal(end(c, ""), 0);
}

static void nobody_who_reads_is_an_abort(void **state)
{
    static const char *const waits[] = {"DO", "abort", NULL}, *const pours[] = {"DO", "pour", NULL};
    struct cgi *c;

    (void)state;
    for (int kind = PIPE; kind >= SOCKET; kind += SOCKET - PIPE) {
        c = begin(waits, CLOSED, kind, NULL); /* while its handler waits for something else */
        fill(c->out, c->text, &c->len, sizeof c->text);
        close(c->out);
        c->out = -1;
        converse(c, NULL, 0);
        assert_int_equal(end(c, ""), 7);
        c = begin(pours, CLOSED, kind, NULL); /* while it writes */
        fill(c->out, c->text, &c->len, sizeof c->text);
        close(c->out);
        c->out = -1;
        converse(c, NULL, 0);
        assert_int_equal(end(c, ""), 1);
    }
}

static void a_slow_reader_gets_all_of_it(void **state)
{
    static const char *const env[] = {"DO", "big", NULL};
    struct cgi *c = begin(env, CLOSED, PIPE, NULL);

    (void)state;
    usleep(100000); /* the handler is long done */
    assert_int_equal(kill(c->pid, SIGTERM), 0);
    usleep(100000);
    converse(c, NULL, 0);
    assert_int_equal(c->len, sizeof pattern);
    assert_int_equal(end(c, ""), 0);
}

static void a_signal_lets_it_finish_and_a_second_does_not(void **state)
{
    static const char *const late[] = {"DO", "hold", NULL}, *const slow[] = {"DO", "big", NULL};
    struct cgi *c = begin(late, CLOSED, PIPE, NULL);

    (void)state;
    usleep(100000);
    kill(c->pid, SIGTERM);
    usleep(50000);
    assert_int_equal(waitpid(c->pid, NULL, WNOHANG), 0);
    kill(c->pid, SIGTERM);
    converse(c, NULL, 0);
    assert_int_equal(c->len, 0);
    assert_int_equal(end(c, ""), 1);
    c = begin(slow, CLOSED, PIPE, NULL);
    usleep(100000);
    kill(c->pid, SIGTERM);
    usleep(50000);
    kill(c->pid, SIGTERM); /* nobody reads, nobody waits for that, and the answer is lost */
    assert_int_equal(end(c, ""), 1);
}

static void other_roles_and_limits(void **state)
{
    static const char *const env[] = {"DO", "params", "TWICE", "x", NULL};
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;
    struct cgi *c;

    (void)state;
    opts.roles = 1 << FERRY_FILTER;
    c = begin(env, CLOSED, PIPE, &opts);
    converse(c, NULL, 0);
    assert_non_null(strstr(c->text, "role=3"));
    assert_int_equal(end(c, ""), 0);
    opts.roles = 0;
    opts.params_max = 1;
    c = begin(env, CLOSED, PIPE, &opts);
    converse(c, NULL, 0);
    assert_int_equal(c->len, 0);
    assert_int_equal(end(c, ""), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_environment_is_the_params),
        cmocka_unit_test(status_and_standard_error_are_those_of_the_request),
        cmocka_unit_test(a_body_has_the_length_that_is_claimed),
        cmocka_unit_test(without_a_length_a_chunked_body_goes_to_its_end),
        cmocka_unit_test(large_bodies_and_answers),
        cmocka_unit_test(an_answer_may_go_to_a_file_or_nowhere),
        cmocka_unit_test(nobody_who_reads_is_an_abort),
        cmocka_unit_test(a_slow_reader_gets_all_of_it),
        cmocka_unit_test(a_signal_lets_it_finish_and_a_second_does_not),
        cmocka_unit_test(other_roles_and_limits),
    };

    signal(SIGPIPE, SIG_IGN);
    return on_every_backend(tests, sizeof tests / sizeof *tests);
}
