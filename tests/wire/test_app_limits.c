/* SPDX-License-Identifier: MIT */
/* Deadlines, how many requests and connections, and what is reported of peers; on every back end of
 * the loop. */
#include <fcntl.h>
#include <syslog.h>
#include <time.h>

#include "app_client.h"

static int reports[2]; /* lines that the application reported */

static void report(struct ferry_app *app, const char *text)
{
    (void)app;
    dprintf(reports[1], "%s\n", text);
}

/* In place of libc's: the application's process has no other. */
void syslog(int priority, const char *format, ...)
{
    va_list args;

    (void)priority;
    dprintf(reports[1], "syslog: ");
    va_start(args, format);
    vdprintf(reports[1], format, args);
    va_end(args);
    dprintf(reports[1], "\n");
}

static struct ferry_app_opts options(void)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;

    if (reports[1])
        close(reports[1]);
    if (reports[0])
        close(reports[0]);
    assert_int_equal(pipe2(reports, O_CLOEXEC | O_NONBLOCK), 0);
    opts.report = report;
    opts.roles = 1 << FERRY_RESPONDER | 1 << FERRY_AUTHORIZER | 1 << FERRY_FILTER;
    return opts;
}

/* The lines so far, the first of them waited for when there is to be one. */
static const char *reported(bool any)
{
    static char text[8192];
    struct pollfd at = {.fd = reports[0], .events = POLLIN};
    ssize_t n;

    if (poll(&at, 1, any ? WAIT_MS : 0) == 0)
        return "";
    usleep(20000);
    n = read(reports[0], text, sizeof text - 1);
    text[n > 0 ? n : 0] = 0;
    return text;
}

static unsigned now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (unsigned)(t.tv_sec * 1000 + t.tv_nsec / 1000000);
}

static void idle_connections_are_closed_and_no_others(void **state)
{
    struct ferry_app_opts opts = options();
    struct server s;
    struct client *fresh, *used, *busy;
    unsigned start_ms;

    (void)state;
    opts.idle_ms = 200;
    s = start(AF_UNIX, &opts);
    fresh = dial(&s);
    busy = dial(&s);
    ask(busy, 1, FERRY_KEEP_CONN, "hold");
    used = dial(&s);
    for (start_ms = now_ms(); now_ms() - start_ms < 500;) { /* not while it is used */
        expect_hello(used, 1);
        usleep(20000);
    }
    start_ms = now_ms();
    expect_end(fresh);
    expect_end(used);
    assert_in_range(now_ms() - start_ms, 150, 600);
    ask(busy, 2, FERRY_KEEP_CONN, "release");
    expect(busy, 1, TEXT "late");
    expect(busy, 2, "");
    start_ms = now_ms();
    expect_end(busy);
    assert_in_range(now_ms() - start_ms, 150, 600);
    hang_up(fresh);
    hang_up(used);
    hang_up(busy);
    assert_string_equal(reported(false), "");
    stop(&s);
}

static void input_that_stops_aborts_its_request(void **state)
{
    struct ferry_app_opts opts = options();
    static const char *const none[] = {NULL}, *const late[] = {"DO", "late", NULL};
    struct server s;
    struct client *c, *d;

    (void)state;
    opts.stall_ms = 200;
    s = start(AF_UNIX, &opts);
    c = dial(&s);
    send_deed(c, 1, FERRY_KEEP_CONN, "abort"); /* in the middle of its body */
    for (int i = 0; i < 10; i++) {             /* slow is not stopped */
        usleep(50000);
        send_stdin(c, 1, "x", 1);
    }
    assert_int_equal(c->replies[1].ends, 0);
    assert_string_equal(reported(false), "");
    assert_int_equal(reply(c, 1)->end.app_status, 7);
    forget(c, 1);
    assert_string_equal(reported(true), "unix:: the input of a request stopped\n");
    /* In its params: nobody was told of it. */
    send_record(c, FERRY_BEGIN_REQUEST, 2, "\0\1\1\0\0\0\0", 8);
    send_record(c, FERRY_PARAMS, 2, "\2\5DO", 4);
    assert_int_equal(reply(c, 2)->end.app_status, 0);
    forget(c, 2);
    assert_string_equal(reported(true), "unix:: the input of a request stopped\n");
    /* A filter's data. */
    send_begin_as(c, FERRY_FILTER, 3, FERRY_KEEP_CONN, none);
    send_end(c, 3);
    assert_string_equal(reply(c, 3)->out, TEXT "hello nobody");
    forget(c, 3);
    /* An authorizer needs none; nor does one stop that its own handler does not read. */
    send_begin_as(c, FERRY_AUTHORIZER, 4, FERRY_KEEP_CONN, late);
    expect(c, 4, TEXT "late");
    d = dial(&s);
    send_begin_as(c, FERRY_AUTHORIZER, 5, FERRY_KEEP_CONN, none);
    expect(c, 5, TEXT "hello nobody");
    hang_up(d);
    expect_hello(c, 1);
    assert_string_equal(reported(false), "");
    hang_up(c);
    stop(&s);
}

static void input_that_the_handler_does_not_read_has_not_stopped(void **state)
{
    struct ferry_app_opts opts = options();
    struct server s;
    struct client *c, *d;

    (void)state;
    opts.stall_ms = 100;
    opts.body_ahead_max = 1000;
    s = start(AF_UNIX, &opts);
    c = dial(&s);
    d = dial(&s);
    send_deed(c, 1, FERRY_KEEP_CONN, "hold"); /* reads nothing */
    send_stdin(c, 1, pattern, 100000);
    usleep(600000);
    assert_string_equal(reported(false), "");
    ask(d, 1, FERRY_KEEP_CONN, "release");
    expect(d, 1, "");
    expect(c, 1, TEXT "late");
    hang_up(c);
    hang_up(d);
    stop(&s);
}

static void a_peer_that_takes_nothing_is_cut_off(void **state)
{
    struct ferry_app_opts opts = options();
    struct server s;
    struct client *c, *d;
    char some[1000];

    (void)state;
    opts.stall_ms = 200;
    s = start(AF_UNIX, &opts);
    c = dial(&s);
    d = dial(&s);
    ask(c, 1, FERRY_KEEP_CONN, "pour");
    for (int i = 0; i < 10; i++) { /* slow is not stuck: the kernel takes more now and then */
        usleep(50000);
        for (int n = 0; n < 400; n++)
            assert_true(recv(c->fd, some, sizeof some, 0) > 0);
        expect_hello(d, 1);
    }
    assert_string_equal(reported(false), "");
    assert_string_equal(reported(true), "unix:: takes nothing of its answers\n");
    expect_hello(d, 1);
    while (recv(c->fd, some, sizeof some, 0) > 0)
        continue;
    hang_up(c);
    hang_up(d);
    stop(&s);
}

static void what_breaks_the_protocol_is_reported_at_a_rate(void **state)
{
    struct ferry_app_opts opts = options();
    struct server s;
    struct client *c;
    const char *text;
    unsigned lines = 0;

    (void)state;
    s = start(AF_INET, &opts);
    c = dial(&s);
    send_all(c, "\2\1\0\1\0\0\0\0", 8);
    expect_end(c);
    hang_up(c);
    text = reported(true);
    assert_memory_equal(text, "127.0.0.1:", 10);
    assert_non_null(strstr(text, ": a record of another version than 1\n"));
    c = dial(&s);
    send_record(c, FERRY_BEGIN_REQUEST, 1, "\0\1\1\0\0\0\0", 8);
    send_record(c, FERRY_PARAMS, 1, "\4\4NAME", 6);
    send_record(c, FERRY_PARAMS, 1, "", 0);
    expect_end(c);
    hang_up(c);
    assert_non_null(strstr(reported(true), ": the last pair of PARAMS is not whole\n"));
    for (int i = 0; i < 100; i++) {
        c = dial(&s);
        send_all(c, "\2\1\0\1\0\0\0\0", 8);
        expect_end(c);
        hang_up(c);
    }
    for (text = reported(true); *text; text++)
        lines += *text == '\n';
    assert_int_equal(lines, 8);
    c = dial(&s);
    expect_hello(c, 1);
    hang_up(c);
    stop(&s);
}

static void peers_that_are_not_listed_are_reported(void **state)
{
    struct ferry_app_opts opts = options();
    struct server s;
    struct client *c;

    (void)state;
    opts.web_server_addrs = "10.1.2.3";
    s = start(AF_UNIX, &opts);
    c = dial(&s);
    expect_end(c);
    hang_up(c);
    assert_string_equal(reported(true), "unix:: is not in FCGI_WEB_SERVER_ADDRS\n");
    stop(&s);
}

static void without_a_function_it_is_syslog(void **state)
{
    struct ferry_app_opts opts = options();
    struct server s;
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "\0ferry\nsyslog"};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    char some[1];

    (void)state;
    opts.report = NULL;
    s = start(AF_UNIX, &opts);
    /* Whatever bytes a peer's name has, it is one line. */
    assert_int_equal(bind(fd, (struct sockaddr *)&name,
                          offsetof(struct sockaddr_un, sun_path) + sizeof "\0ferry\nsyslog" - 1),
                     0);
    assert_int_equal(connect(fd, (struct sockaddr *)&s.addr, s.len), 0);
    assert_int_equal(send(fd, "\2\1\0\1\0\0\0\0", 8, 0), 8);
    assert_int_equal(recv(fd, some, 1, 0), 0);
    close(fd);
    assert_string_equal(reported(true),
                        "syslog: unix:@ferry\\x0asyslog: a record of another version than 1\n");
    stop(&s);
}

static void mistakes_in_the_environment_are_reported(void **state)
{
    struct ferry_app_opts opts = options();
    struct ferry_app *app;

    (void)state;
    opts.handle = handle;
    opts.io = io;
    setenv("FCGI_WEB_SERVER_ADDRS", "10.0.0.1, x", 1);
    assert_int_equal(ferry_app_new(&opts, &app), FERRY_EUSAGE);
    assert_string_equal(reported(true),
                        "FCGI_WEB_SERVER_ADDRS is no list of addresses: 10.0.0.1, x\n");
    unsetenv("FCGI_WEB_SERVER_ADDRS");
    setenv("FERRY_MAX_REQUESTS", "12x", 1);
    assert_int_equal(ferry_app_new(&opts, &app), 0);
    assert_string_equal(reported(true), "FERRY_MAX_REQUESTS is no number: 12x\n");
    ferry_app_free(app);
    unsetenv("FERRY_MAX_REQUESTS");
    opts.io = NULL;
    setenv("FERRY_IO", "kqueue", 1);
    assert_int_equal(ferry_app_new(&opts, &app), 0);
    assert_string_equal(reported(true), "FERRY_IO is not auto, uring or epoll: kqueue\n");
    ferry_app_free(app);
    setenv("FERRY_IO", "epoll", 1);
    assert_int_equal(ferry_app_new(&opts, &app), 0);
    assert_string_equal(ferry_app_io(app), "epoll");
    ferry_app_free(app);
    unsetenv("FERRY_IO");
}

static void it_ends_after_so_many_requests(void **state)
{
    struct ferry_app_opts opts = options();
    struct server s;
    struct client *c, *d;

    (void)state;
    for (int i = 0; i < 2; i++) {
        if (i)
            setenv("FERRY_MAX_REQUESTS", "5", 1);
        else
            opts.requests_total_max = 5;
        s = start(AF_UNIX, &opts);
        unsetenv("FERRY_MAX_REQUESTS");
        opts.requests_total_max = 0;
        c = dial(&s);
        d = dial(&s);
        ask(d, 1, FERRY_KEEP_CONN, "late");
        for (int n = 0; n < 4; n++)
            expect_hello(c, 1);
        expect(d, 1, TEXT "late"); /* what runs is finished */
        expect_end(c);
        expect_end(d);
        hang_up(c);
        hang_up(d);
        assert_int_equal(exit_of(&s), 0);
    }
}

/* All that was accepted before the stop is answered, and nothing is lost at a limit of connections
 * either. */
static void no_connection_that_was_accepted_is_dropped(void **state)
{
    struct ferry_app_opts opts = options();
    struct server s;
    struct client *c[40], *last;

    (void)state;
    opts.conns_max = 1;
    s = start(AF_UNIX, &opts);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 40; i++) {
            c[i] = dial(&s);
            ask(c[i], 1, 0, "hello");
        }
        for (int i = 0; i < 40; i++) {
            expect(c[i], 1, TEXT "hello you");
            expect_end(c[i]);
            hang_up(c[i]);
        }
    }
    last = dial(&s);
    for (int i = 0; i < 4; i++) {
        ask(last, 1, FERRY_KEEP_CONN, "hello");
        expect(last, 1, TEXT "hello you");
    }
    hang_up(last);
    stop(&s);

    opts.conns_max = 0;
    for (int round = 0; round < 10; round++) {
        s = start(AF_UNIX, &opts);
        last = dial(&s);
        expect_hello(last, 1); /* so it is in its loop */
        for (int i = 0; i < 10; i++)
            c[i] = dial(&s);
        usleep(2000 * (useconds_t)round);
        ask(last, 1, FERRY_KEEP_CONN, "hello");
        expect(last, 1, TEXT "hello you"); /* they were accepted before this was answered */
        kill(s.pid, SIGTERM);
        usleep(1000 * (useconds_t)round);
        for (int i = 0; i < 10; i++)
            ask(c[i], 1, FERRY_KEEP_CONN, "hello");
        for (int i = 0; i < 10; i++) {
            expect(c[i], 1, TEXT "hello you");
            expect_end(c[i]); /* and no more than that one */
            hang_up(c[i]);
        }
        expect_end(last);
        hang_up(last);
        assert_int_equal(exit_of(&s), 0);
    }
}

/* A-ERR-2. Whatever it interrupts, or when it comes before there is anything to interrupt. */
static void no_signal_is_lost(void **state)
{
    struct ferry_app_opts opts = options();
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), ready[2], status;
    char byte;

    (void)state;
    assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof name.sun_family), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(dup2(fd, 0), 0);
    opts.handle = handle;
    opts.io = io;
    for (unsigned i = 0; i < 700; i++) {
        pid_t pid;

        assert_int_equal(pipe(ready), 0);
        fflush(stdout);
        pid = fork();
        if (pid == 0) {
            struct ferry_app *app;

            alarm(10); /* lost, it would wait for ever */
            if (ferry_app_new(&opts, &app) < 0 || ferry_app_listen(app, NULL) < 0 ||
                ferry_app_stop_on(app, SIGTERM) < 0 || write(ready[1], "r", 1) != 1)
                _exit(1);
            _exit(ferry_app_run(app));
        }
        close(ready[1]);
        assert_int_equal(read(ready[0], &byte, 1), 1);
        close(ready[0]);
        for (volatile unsigned spin = 0; spin < i * 50; spin++)
            continue;
        kill(pid, SIGTERM);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
    }
    close(0);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idle_connections_are_closed_and_no_others),
        cmocka_unit_test(input_that_stops_aborts_its_request),
        cmocka_unit_test(input_that_the_handler_does_not_read_has_not_stopped),
        cmocka_unit_test(a_peer_that_takes_nothing_is_cut_off),
        cmocka_unit_test(what_breaks_the_protocol_is_reported_at_a_rate),
        cmocka_unit_test(peers_that_are_not_listed_are_reported),
        cmocka_unit_test(without_a_function_it_is_syslog),
        cmocka_unit_test(mistakes_in_the_environment_are_reported),
        cmocka_unit_test(it_ends_after_so_many_requests),
        cmocka_unit_test(no_signal_is_lost),
        cmocka_unit_test(no_connection_that_was_accepted_is_dropped),
    };

    return on_every_backend(tests, sizeof tests / sizeof *tests);
}
