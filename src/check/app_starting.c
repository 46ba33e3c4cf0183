/* SPDX-License-Identifier: MIT */
/* A-INI and A-ADR: how a program is started, and whom it serves (sections 2.2, 3.2). Each case
 * starts a copy of the program in its own way. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check/app_check.h"
#include "io/spawn.h"

#define START_MS 10000 /* that a program may take until its first answer */
#define ENV_MAX 512

static struct ferry__instance *start(struct ferry_check *c, enum ferry__family family,
                                     const char *const *env, const char *shell)
{
    struct ferry__start how = {.family = family, .env = env, .shell = shell};

    return ferry__instance_start(c, &how);
}

/* Fails when the instance does not answer a request well. The first one may take longer. */
static void serves(struct ferry_check *c, struct ferry__instance *in, const char *word)
{
    struct ferry_check_opts opts = *c->opts;
    const struct ferry_check_opts *usual = c->opts;
    struct ferry__conv *v;
    char end[300];

    opts.timeout_ms = opts.timeout_ms < START_MS ? START_MS : opts.timeout_ms;
    c->opts = &opts;
    v = ferry__conv_open_to(c, &in->addr);
    ferry__conv_get(v, 1, 0, word);
    ferry__conv_send(v);
    while (!ferry__conv_reply(v, 1)->ends && !ferry__instance_is_over(in))
        if (ferry_wire_stirs(v->w, 50) && ferry__conv_read(v, 0) != 1)
            break;
    c->opts = usual;
    if (ferry__instance_is_over(in))
        ferry_check_fail(c, "expected the program to serve, but it ended with %s",
                         ferry__instance_end(in, end, sizeof end));
    ferry__conv_await_good(v, 1);
    ferry_wire_close(v->w);
}

/* -- A-INI ------------------------------------------------------------------------------------ */

static void started_usually(struct ferry_check *c)
{
    serves(c, start(c, FERRY__UNIX, NULL, NULL), NULL);
}

/* Removes every variable but PATH, which scripts need to be found. */
static const char *const *no_environment(struct ferry_check *c)
{
    const char **env = ferry_check_alloc(c, ENV_MAX * sizeof *env);
    size_t n = 0;

    for (char **e = environ; *e && n < ENV_MAX - 1; e++) {
        size_t len = strcspn(*e, "=");
        char *name = ferry_check_alloc(c, len + 1);

        memcpy(name, *e, len);
        if (strcmp(name, "PATH") != 0)
            env[n++] = name;
    }
    return env;
}

static void empty_environment(struct ferry_check *c)
{
    serves(c, start(c, FERRY__UNIX, no_environment(c), NULL), NULL);
}

#define CLOSED "exec \"$@\" >&- 2>&-"

static void without_outputs(struct ferry_check *c)
{
    struct ferry__instance *in = start(c, FERRY__UNIX, NULL, CLOSED);

    for (int i = 0; i < 3; i++)
        serves(c, in, NULL);
}

static void stray_writes(struct ferry_check *c)
{
    struct ferry__instance *in = start(c, FERRY__UNIX, NULL, c->at->arg ? CLOSED : NULL);

    for (int i = 0; i < 3; i++)
        serves(c, in, "stray");
}

/* What a program without a listening socket does. */
struct cgi {
    struct ferry__instance *in;
    char out[65536];
    size_t n;
};

/* Starts it with `input` as descriptor 0 and reads its stdout until it has ended. */
static struct cgi *run_cgi(struct ferry_check *c, const char *const *env, int input)
{
    struct cgi *cgi = ferry_check_alloc(c, sizeof *cgi);
    uint64_t deadline = ferry_check_now() + START_MS;
    int ends[2];
    struct ferry__start how = {.env = env, .input = input};

    if (pipe2(ends, O_CLOEXEC) < 0)
        ferry_check_skip(c, "cannot make a pipe");
    how.out = ends[1];
    cgi->in = ferry__instance_start(c, &how);
    close(ends[1]);
    for (;;) {
        struct pollfd p = {.fd = ends[0], .events = POLLIN};
        uint64_t now = ferry_check_now();
        ssize_t n;

        if (poll(&p, 1, now < deadline ? (int)(deadline - now) : 0) <= 0)
            break;
        n = read(ends[0], cgi->out + cgi->n, sizeof cgi->out - cgi->n);
        if (n <= 0)
            break;
        cgi->n += (size_t)n;
    }
    close(ends[0]);
    if (!ferry__instance_wait(cgi->in, 1000))
        ferry_check_fail(c, "expected a program without a listening socket to end, but it stays");
    return cgi;
}

static void not_a_socket(struct ferry_check *c)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    run_cgi(c, NULL, fd);
    close(fd);
}

static void connected_socket(struct ferry_check *c)
{
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        ferry_check_skip(c, "cannot make a pair of sockets");
    shutdown(ends[0], SHUT_WR);
    run_cgi(c, NULL, ends[1]);
    close(ends[0]);
    close(ends[1]);
}

/* A CGI request (RFC 3875): the params as environment, the body as standard input. */
static struct cgi *cgi_request(struct ferry_check *c, const char *word, const char *body)
{
    struct ferry_slice pairs = ferry__conv_pairs(c, word, body ? (long)strlen(body) : -1);
    const char **env = ferry_check_alloc(c, ENV_MAX * sizeof *env);
    struct ferry_param pair;
    size_t at = 0, n = 0;
    int ends[2];
    struct cgi *cgi;

    if (ferry__target(c)->role != FERRY_RESPONDER)
        ferry_check_skip(c, "plain CGI has responders only");
    while (at < pairs.len && n < ENV_MAX - 1) {
        ssize_t took = ferry_param_decode(pairs.p + at, pairs.len - at, pairs.len, &pair);
        char *text;

        if (took <= 0)
            break;
        text = ferry_check_alloc(c, pair.name.len + pair.value.len + 2);
        memcpy(text, pair.name.p, pair.name.len);
        text[pair.name.len] = '=';
        memcpy(text + pair.name.len + 1, pair.value.p, pair.value.len);
        env[n++] = text;
        at += (size_t)took;
    }
    if (pipe2(ends, O_CLOEXEC) < 0)
        ferry_check_skip(c, "cannot make a pipe");
    if (body && write(ends[1], body, strlen(body)) < 0)
        ferry_check_skip(c, "cannot write to a pipe");
    close(ends[1]);
    cgi = run_cgi(c, env, ends[0]);
    close(ends[0]);
    return cgi;
}

/* The answer of a CGI program as if it had come in STDOUT records. */
static struct ferry_slice cgi_body(struct ferry_check *c, const struct cgi *cgi)
{
    struct ferry__reply r = {.out = {.p = (char *)cgi->out, .len = cgi->n}};

    if (ferry__reply_status(&r) < 0)
        ferry_check_fail(c, "expected a CGI answer on standard output, but it has no header block");
    return ferry__reply_body(&r);
}

static void cgi_answers(struct ferry_check *c)
{
    cgi_body(c, cgi_request(c, NULL, NULL));
}

static void cgi_echoes(struct ferry_check *c)
{
    struct ferry_slice body = cgi_body(c, cgi_request(c, "echo", "hello"));

    if (!ferry_slice_eq(body, FERRY_SLICE("hello")))
        ferry_check_fail(c, "expected the body of standard input back, but got %zu bytes",
                         body.len);
}

static void cgi_status(struct ferry_check *c)
{
    struct cgi *cgi = cgi_request(c, "status&n=3", NULL);
    char end[300];

    if (!WIFEXITED(cgi->in->status) || WEXITSTATUS(cgi->in->status) != 3)
        ferry_check_fail(c, "expected exit status 3, but it ended with %s",
                         ferry__instance_end(cgi->in, end, sizeof end));
}

static void cgi_errors(struct ferry_check *c)
{
    struct cgi *cgi = cgi_request(c, "stderr&n=10", NULL);
    char said[256];

    if (ferry__instance_said(cgi->in, said, sizeof said) < 10)
        ferry_check_fail(c, "expected ten bytes on standard error, but they are not there");
}

static void on_family(struct ferry_check *c)
{
    struct ferry__instance *in = start(c, (enum ferry__family)c->at->arg, NULL, NULL);

    serves(c, in, NULL);
    serves(c, in, NULL);
}

static void other_argv0(struct ferry_check *c)
{
    const char *dir = ferry__target(c)->dir;
    char program[4096], file[4096], link[128], shell[256];

    if (ferry_spawn_find(c->opts->program[0], program, sizeof program) < 0 ||
        !realpath(program, file))
        ferry_check_skip(c, "the program cannot be found");
    snprintf(link, sizeof link, "%s/renamed", dir);
    if (symlink(file, link) < 0 && errno != EEXIST)
        ferry_check_skip(c, "cannot make a link: %s", strerror(errno));
    /* By a bare name, as argv[0] then is. */
    snprintf(shell, sizeof shell, "shift; PATH='%s':$PATH; exec renamed \"$@\"", dir);
    serves(c, start(c, FERRY__UNIX, NULL, shell), NULL);
}

static void non_blocking(struct ferry_check *c)
{
    struct ferry__instance *in = start(c, FERRY__UNIX, NULL, NULL);

    serves(c, in, NULL);
    fcntl(in->listener, F_SETFL, fcntl(in->listener, F_GETFL) | O_NONBLOCK);
    for (int i = 0; i < 3; i++) {
        serves(c, in, NULL);
        usleep(100000);
    }
}

static void shared_listener(struct ferry_check *c)
{
    struct ferry__instance *first = start(c, FERRY__UNIX, NULL, NULL), *second;
    struct ferry__start how = {.beside = first};

    serves(c, first, NULL);
    second = ferry__instance_start(c, &how);
    (void)ferry__instance_wait(second, 300); /* until it is up */
    for (int i = 0; i < 20; i++)
        serves(c, first, NULL);
    if (ferry__instance_wait(second, 200))
        ferry_check_fail(c, "expected both programs to live, but the second has ended");
}

/* -- A-ADR ------------------------------------------------------------------------------------ */

static struct ferry__instance *with_list(struct ferry_check *c, enum ferry__family family,
                                         const char *list)
{
    const char **env = ferry_check_alloc(c, 2 * sizeof *env);
    char *text = ferry_check_alloc(c, strlen(list) + 32);

    snprintf(text, strlen(list) + 32, "FCGI_WEB_SERVER_ADDRS=%s", list);
    env[0] = text;
    ferry_talk_note(&c->talk, NULL, 0, "(the program is started with %s)", text);
    return start(c, family, env, NULL);
}

static void served_from(struct ferry_check *c, struct ferry__instance *in, const char *from)
{
    struct ferry__conv *v = ferry__conv_open_from(c, &in->addr, from);

    ferry__conv_get(v, 1, 0, NULL);
    ferry__conv_send(v);
    while (!ferry__conv_reply(v, 1)->ends && !ferry__instance_is_over(in))
        if (ferry_wire_stirs(v->w, START_MS) && ferry__conv_read(v, 0) != 1)
            break;
    if (!ferry__conv_reply(v, 1)->ends)
        ferry_check_fail(c, "expected a web server at %s to be served, but it is not", from);
    ferry__conv_await_good(v, 1);
    ferry_wire_close(v->w);
}

/* It is closed, and nothing was said before. */
static void refused(struct ferry_check *c, struct ferry__conv *v, const char *who)
{
    int n;

    if (!ferry_wire_stirs(v->w, START_MS))
        ferry_check_fail(c, "expected %s to be turned away, but the connection stays open", who);
    n = ferry__conv_read(v, 0);
    if (n == 1)
        ferry_check_fail(c, "expected %s to be turned away without a byte, but it is answered",
                         who);
    if (n == -ETIMEDOUT)
        ferry_check_fail(c, "expected %s to be turned away, but the connection stays open", who);
}

static void refused_from(struct ferry_check *c, struct ferry__instance *in, const char *from,
                         bool query)
{
    struct ferry__conv *v = ferry__conv_open_from(c, &in->addr, from);

    if (query)
        ferry__conv_query(v, "FCGI_MPXS_CONNS");
    else
        ferry__conv_get(v, 1, FERRY_KEEP_CONN, NULL);
    ferry__conv_send(v);
    refused(c, v, from);
    ferry_wire_close(v->w);
}

static void anybody(struct ferry_check *c)
{
    struct ferry__instance *in = start(c, FERRY__TCP4, NULL, NULL);

    served_from(c, in, "127.0.0.1");
    served_from(c, in, "127.0.0.7");
}

static void listed(struct ferry_check *c)
{
    struct ferry__instance *in = with_list(c, FERRY__TCP4, "127.0.0.1");

    served_from(c, in, "127.0.0.1");
    served_from(c, in, "127.0.0.1");
}

static void not_listed(struct ferry_check *c)
{
    struct ferry__instance *in = with_list(c, FERRY__TCP4, "127.0.0.2");

    refused_from(c, in, "127.0.0.1", c->at->arg);
    served_from(c, in, "127.0.0.2");
}

static void no_unix_when_listed(struct ferry_check *c)
{
    struct ferry__instance *in = with_list(c, FERRY__UNIX, "127.0.0.1");
    struct ferry__conv *v = ferry__conv_open_to(c, &in->addr);

    ferry__conv_get(v, 1, 0, NULL);
    ferry__conv_send(v);
    refused(c, v, "a connection that is not TCP");
}

static void several_listed(struct ferry_check *c)
{
    struct ferry__instance *in = with_list(c, FERRY__TCP4, "127.0.0.2,127.0.0.30,127.0.0.4");
    static const char *const places[] = {"127.0.0.2", "127.0.0.30", "127.0.0.4"};

    if (c->at->arg < 3) {
        served_from(c, in, places[c->at->arg]);
        return;
    }
    /* Beginnings of entries are none. */
    refused_from(c, in, "127.0.0.3", false);
    refused_from(c, in, "127.0.0.20", false);
    served_from(c, in, "127.0.0.30");
}

static void bad_list(struct ferry_check *c)
{
    struct ferry__instance *in = with_list(c, FERRY__TCP4, "127.0.0.1,not-an-address");
    struct ferry__conv *v;
    char end[300];

    if (ferry__instance_wait(in, 1000)) {
        if (WIFEXITED(in->status) && WEXITSTATUS(in->status) == 0)
            ferry_check_fail(c,
                             "expected that a program which ends by a mistake in its list says so "
                             "with its exit status, but it ended with %s",
                             ferry__instance_end(in, end, sizeof end));
        return;
    }
    if (!c->at->arg)
        return;
    /* Fails closed: those the mistake stands for are certainly not served. */
    v = ferry__conv_open_from(c, &in->addr, "127.0.0.9");
    ferry__conv_get(v, 1, 0, NULL);
    ferry__conv_send(v);
    refused(c, v, "127.0.0.9");
}

static void trimmed(struct ferry_check *c)
{
    struct ferry__instance *in = with_list(c, FERRY__TCP4, " 127.0.0.2 , 127.0.0.1 ");

    served_from(c, in, "127.0.0.1");
    served_from(c, in, "127.0.0.2");
}

static void listed_v6(struct ferry_check *c)
{
    struct ferry__instance *in = with_list(c, FERRY__TCP6, "127.0.0.1,::1");

    serves(c, in, NULL);
}

static void two_connections(struct ferry_check *c)
{
    struct ferry__conv *a = ferry__conv_open(c), *b = ferry__conv_open(c);

    ferry__conv_get(a, 1, 0, NULL);
    ferry__conv_send(a);
    ferry__conv_get(b, 1, 0, NULL);
    ferry__conv_send(b);
    ferry__conv_await_good(a, 1);
    ferry_wire_close(a->w);
    ferry__conv_await_good(b, 1);
}

#define PROGRAM FERRY__NEEDS_PROGRAM
#define MUST FERRY_MUST
#define SILENT FERRY_SILENT

static const struct ferry_check_case start_cases[] = {
    {"A-INI-1a", "2.2", MUST, "started with a socket as descriptor 0, it serves", PROGRAM,
     started_usually, 0},
    {"A-INI-1b", "2.2", MUST, "it needs no environment", PROGRAM, empty_environment, 0},
    {"A-INI-2a", "2.2", MUST, "it serves when descriptors 1 and 2 are closed", PROGRAM,
     without_outputs, 0},
    {"A-INI-2b", "2.2", MUST, "stray writes to closed descriptors 1 and 2 reach no connection",
     PROGRAM | FERRY__WORD_STRAY, stray_writes, 1},
    {"A-INI-2c", "2.2", MUST, "stray writes to open descriptors 1 and 2 reach no connection",
     PROGRAM | FERRY__WORD_STRAY, stray_writes, 0},
    {"A-INI-3a", "2.2", MUST, "without a socket as descriptor 0 it does not serve FastCGI", PROGRAM,
     not_a_socket, 0},
    {"A-INI-3b", "2.2", MUST, "with a connected socket it does not serve FastCGI", PROGRAM,
     connected_socket, 0},
    {"A-INI-4a", "2.2", MUST, "it serves on a unix socket", PROGRAM, on_family, FERRY__UNIX},
    {"A-INI-4b", "2.2", MUST, "it serves on IPv4", PROGRAM, on_family, FERRY__TCP4},
    {"A-INI-4c", "", SILENT, "it serves on IPv6", PROGRAM, on_family, FERRY__TCP6},
    {"A-INI-5a", "2.2", SILENT, "as plain CGI it answers on standard output", PROGRAM, cgi_answers,
     0},
    {"A-INI-5b", "2.2", SILENT, "as plain CGI it reads the body from standard input",
     PROGRAM | FERRY__WORD_ECHO, cgi_echoes, 0},
    {"A-INI-5c", "2.2", SILENT, "as plain CGI its exit status is the app status",
     PROGRAM | FERRY__WORD_STATUS, cgi_status, 0},
    {"A-INI-5d", "2.2", SILENT, "as plain CGI it writes errors to standard error",
     PROGRAM | FERRY__WORD_STDERR, cgi_errors, 0},
    {"A-INI-6", "2.1", MUST, "it does not depend on argv[0]", PROGRAM, other_argv0, 0},
    {"A-INI-7a", "", SILENT, "descriptor 0 may become non-blocking", PROGRAM, non_blocking, 0},
    {"A-INI-7b", "", SILENT, "two programs may share descriptor 0", PROGRAM, shared_listener, 0},
};

static const struct ferry_check_case address_cases[] = {
    {"A-ADR-1", "3.2", MUST, "without FCGI_WEB_SERVER_ADDRS, anybody is served", PROGRAM, anybody,
     0},
    {"A-ADR-2", "3.2", MUST, "a web server on the list is served", PROGRAM, listed, 0},
    {"A-ADR-3a", "3.2", MUST, "one that is not on the list is turned away without a byte", PROGRAM,
     not_listed, 0},
    {"A-ADR-3b", "3.2", MUST, "its GET_VALUES is not answered either", PROGRAM, not_listed, 1},
    {"A-ADR-4", "3.2", MUST, "with a list, a unix socket's peers are turned away", PROGRAM,
     no_unix_when_listed, 0},
    {"A-ADR-5a", "3.2", MUST, "the first of several addresses counts", PROGRAM, several_listed, 0},
    {"A-ADR-5b", "3.2", MUST, "one in the middle counts", PROGRAM, several_listed, 1},
    {"A-ADR-5c", "3.2", MUST, "the last one counts", PROGRAM, several_listed, 2},
    {"A-ADR-5d", "3.2", MUST, "the beginning of an address does not count", PROGRAM, several_listed,
     3},
    {"A-ADR-6a", "7", MUST, "a mistake in the list is no reason to exit with status 0", PROGRAM,
     bad_list, 0},
    {"A-ADR-6b", "", SILENT, "a mistake in the list lets nobody else in", PROGRAM, bad_list, 1},
    {"A-ADR-6c", "", SILENT, "blanks in the list are trimmed", PROGRAM, trimmed, 0},
    {"A-ADR-6d", "", SILENT, "IPv6 addresses in the list count", PROGRAM, listed_v6, 0},
    {"A-ADR-7", "3.2", MUST, "two connections at once are both served, at once or in turn", 0,
     two_connections, 0},
};

FERRY__GROUP(ferry__app_starting, "A-INI", "how a program is started", start_cases);
FERRY__GROUP(ferry__app_addrs, "A-ADR", "which web servers are served", address_cases);
