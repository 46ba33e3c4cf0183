/* SPDX-License-Identifier: MIT */
/* Connections that come and go, limits, and the end of the application; on every back end of the
 * loop.
 */
#include "app_client.h"

static void a_peer_that_goes_away_aborts_its_requests_and_nothing_else(void **state)
{
    struct server s = start(AF_UNIX, NULL);
    struct client *c, *d = dial(&s);

    (void)state;
    for (int i = 0; i < 4; i++) {
        c = dial(&s);
        if (i == 0) { /* with the request whole */
            ask(c, 1, FERRY_KEEP_CONN, "abort");
            while (c->replies[1].len == 0)
                receive(c);
        } else if (i == 1) { /* in the middle of two bodies */
            send_deed(c, 1, FERRY_KEEP_CONN, "abort");
            send_deed(c, 2, FERRY_KEEP_CONN, "abort");
            while (c->replies[1].len == 0 || c->replies[2].len == 0)
                receive(c);
            send_record(c, FERRY_STDIN, 1, "x", 1);
        } else if (i == 2) { /* in the middle of a record */
            send_all(c, "\1\1\0\1\0\10\0", 7);
        } else { /* with an answer under way that nobody reads */
            ask(c, 1, FERRY_KEEP_CONN, "pour");
            receive(c);
        }
        hang_up(c);
        expect_hello(d, 1);
    }
    for (int tries = 0; stat_of(d, "aborts=") < 3; tries++) {
        assert_true(tries < 100);
        usleep(10000);
    }
    assert_int_equal(stat_of(d, "aborts="), 3);
    hang_up(d);
    /* One that waits for nothing of the peer's ends by its own timer. */
    c = dial(&s);
    send_deed(c, 1, FERRY_KEEP_CONN, "sip");
    usleep(20000);
    hang_up(c);
    stop(&s);
}

static void without_keep_the_connection_closes_behind_the_answer(void **state)
{
    struct server s = start(AF_UNIX, NULL);
    struct client *c;

    (void)state;
    for (int i = 0; i < 50; i++) {
        c = dial(&s);
        ask(c, 1, 0, "hello");
        expect(c, 1, TEXT "hello you");
        expect_end(c);
        hang_up(c);
    }
    /* Also when much of a body was never read: all of the answer arrives, and no reset. */
    for (int i = 0; i < 20; i++) {
        c = dial(&s);
        send_deed(c, 1, 0, "hello");
        send_stdin(c, 1, pattern, 150000);
        expect(c, 1, TEXT "hello you");
        expect_end(c);
        hang_up(c);
    }
    /* And the last of several closes it, whatever the others said. */
    for (int keep = 0; keep < 2; keep++) {
        c = dial(&s);
        ask(c, 1, keep ? FERRY_KEEP_CONN : 0, "late");
        ask(c, 2, keep ? 0 : FERRY_KEEP_CONN, "hello");
        expect(c, 2, TEXT "hello you");
        expect(c, 1, TEXT "late");
        expect_end(c);
        hang_up(c);
    }
    stop(&s);
}

static void past_its_limits_it_refuses(void **state)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;
    struct server s;
    struct client *c, *d;

    (void)state;
    opts.requests_max = 2;
    s = start(AF_UNIX, &opts);
    c = dial(&s);
    d = dial(&s);
    ask(c, 1, FERRY_KEEP_CONN, "hold");
    ask(c, 2, FERRY_KEEP_CONN, "hold");
    ask(c, 3, FERRY_KEEP_CONN, "hello");
    expect_refused(c, 3, FERRY_OVERLOADED);
    ask(d, 1, FERRY_KEEP_CONN, "hello"); /* also on another connection */
    expect_refused(d, 1, FERRY_OVERLOADED);
    send_record(c, FERRY_ABORT_REQUEST, 2, "", 0); /* does not end what its handler holds */
    ask(c, 3, FERRY_KEEP_CONN, "hello");
    expect_refused(c, 3, FERRY_OVERLOADED);
    hang_up(c);
    hang_up(d);
    kill(s.pid, SIGTERM);
    kill(s.pid, SIGINT);
    assert_int_equal(exit_of(&s), 0);

    opts.requests_max = 0;
    opts.multiplex_max = 1;
    s = start(AF_UNIX, &opts);
    c = dial(&s);
    ask(c, 1, FERRY_KEEP_CONN, "late");
    ask(c, 2, FERRY_KEEP_CONN, "hello");
    expect_refused(c, 2, FERRY_CANT_MPX_CONN);
    expect(c, 1, TEXT "late");
    expect_hello(c, 2);
    send_record(c, FERRY_BEGIN_REQUEST, 3, "\0\3\1\0\0\0\0", 8); /* a filter */
    expect_refused(c, 3, FERRY_UNKNOWN_ROLE);
    expect_hello(c, 3);
    hang_up(c);
    stop(&s);
}

static void more_connections_than_it_wants_wait(void **state)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;
    struct server s;
    struct client *c[3];
    struct pollfd at;

    (void)state;
    opts.conns_max = 2;
    s = start(AF_UNIX, &opts);
    for (int i = 0; i < 2; i++) {
        c[i] = dial(&s);
        expect_hello(c[i], 1);
    }
    c[2] = dial(&s);
    ask(c[2], 1, FERRY_KEEP_CONN, "hello");
    at = (struct pollfd){.fd = c[2]->fd, .events = POLLIN};
    assert_int_equal(poll(&at, 1, 100), 0);
    expect_hello(c[0], 1);
    hang_up(c[0]);
    expect(c[2], 1, TEXT "hello you");
    expect_hello(c[1], 1);
    hang_up(c[1]);
    hang_up(c[2]);
    stop(&s);
}

static void halt(pid_t pid)
{
    int status;

    kill(pid, SIGSTOP);
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
}

/* Two processes want one connection each, and one of them sees two first. */
static void who_wants_no_more_leaves_the_rest_to_the_others(void **state)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;
    struct server s[2];
    struct client *c[2];
    int fd = open_socket(AF_UNIX, &s[0]);

    (void)state;
    opts.conns_max = 1;
    s[1] = s[0];
    for (int i = 0; i < 2; i++) {
        s[i].pid = start_on(fd, &opts);
        c[0] = dial(&s[0]);
        expect_hello(c[0], 1); /* it is up */
        hang_up(c[0]);
    }
    close(fd);
    for (int i = 0; i < 2; i++)
        halt(s[i].pid);
    for (int i = 0; i < 2; i++) {
        c[i] = dial(&s[0]);
        ask(c[i], 1, FERRY_KEEP_CONN, "hello");
    }
    for (int i = 0; i < 2; i++) {
        kill(s[i].pid, SIGCONT);
        expect(c[i], 1, TEXT "hello you");
    }
    for (int i = 0; i < 2; i++)
        hang_up(c[i]);
    for (int i = 0; i < 2; i++)
        stop(&s[i]);
}

static void send_params(struct client *c, uint16_t id, const char *p, size_t len)
{
    send_record(c, FERRY_BEGIN_REQUEST, id, "\0\1\1\0\0\0\0", 8);
    for (size_t at = 0, n; at < len; at += n) {
        n = len - at < 65535 ? len - at : 65535;
        send_record(c, FERRY_PARAMS, id, p + at, n);
    }
    send_record(c, FERRY_PARAMS, id, "", 0);
    send_end(c, id);
}

/* One param that takes `len` bytes. */
static void send_long_param(struct client *c, uint16_t id, size_t len)
{
    static char pair[(1 << 20) + 100];
    size_t value = len - 9;

    memcpy(pair, "\4\x80\0\0\0LONG", 9);
    for (int i = 0; i < 3; i++)
        pair[2 + i] = (char)(value >> (16 - 8 * i));
    memset(pair + 9, 'v', value);
    send_params(c, id, pair, len);
}

static void params_are_bounded_and_malformed_ones_end_the_connection(void **state)
{
    struct server s = start(AF_UNIX, NULL);
    struct client *c = dial(&s), *d = dial(&s);
    static const char empty_pairs[2 * 1001];

    (void)state;
    send_long_param(c, 1, 70000);
    expect(c, 1, TEXT "hello nobody");
    send_long_param(c, 1, 1 << 20);
    expect(c, 1, TEXT "hello nobody");
    send_long_param(c, 1, (1 << 20) + 1);
    expect_refused(c, 1, FERRY_OVERLOADED);
    send_params(c, 1, empty_pairs, 2 * 1000);
    expect(c, 1, TEXT "hello nobody");
    send_params(c, 1, empty_pairs, 2 * 1001);
    expect_refused(c, 1, FERRY_OVERLOADED);
    send_params(c, 1, "", 0);
    expect(c, 1, TEXT "hello nobody");
    /* A pair that is not whole: a protocol error, of this connection only. */
    ask(c, 2, FERRY_KEEP_CONN, "late");
    send_params(d, 1, "\4\4NAME", 6);
    expect_end(d);
    hang_up(d);
    expect(c, 2, TEXT "late");
    /* Nor does a record that is none end more than its connection. */
    d = dial(&s);
    send_all(d, "\2\1\0\1\0\0\0\0", 8);
    expect_end(d);
    hang_up(d);
    expect_hello(c, 1);
    hang_up(c);
    stop(&s);
}

static void values_are_told_truly(void **state)
{
    static const char asked[] = "\016\0FCGI_MAX_CONNS\015\0FCGI_MAX_REQS\017\0FCGI_MPXS_CONNS";
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;
    struct server s;
    struct client *c;
    struct ferry_param p;
    size_t at = 0;
    unsigned seen = 0;

    (void)state;
    opts.conns_max = 77;
    opts.requests_max = 88;
    s = start(AF_UNIX, &opts);
    c = dial(&s);
    send_record(c, FERRY_GET_VALUES, 0, asked, sizeof asked - 1);
    while (!c->got_values)
        assert_true(receive(c));
    while (at < c->values_len) {
        ssize_t n = ferry_param_decode(c->values + at, c->values_len - at, 100, &p);

        assert_true(n > 0);
        at += (size_t)n;
        seen++;
        if (ferry_slice_eq(p.name, FERRY_SLICE("FCGI_MAX_CONNS")))
            assert_slice_equal(p.value, "77");
        else if (ferry_slice_eq(p.name, FERRY_SLICE("FCGI_MAX_REQS")))
            assert_slice_equal(p.value, "88");
        else
            assert_slice_equal(p.value, "1");
    }
    assert_int_equal(seen, 3);
    hang_up(c);
    stop(&s);
}

static void half_a_close_is_no_reason_not_to_answer(void **state)
{
    static const int families[] = {AF_UNIX, AF_INET};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct server s = start(families[i], NULL);
        struct client *c = dial(&s);

        ask(c, 1, FERRY_KEEP_CONN, "late");
        shutdown(c->fd, SHUT_WR);
        expect(c, 1, TEXT "late");
        expect_end(c);
        hang_up(c);
        stop(&s);
    }
}

static void only_listed_peers_are_served(void **state)
{
    static const struct {
        int family;
        const char *list;
        bool served;
    } cases[] = {
        {AF_INET, "10.1.2.3, 127.0.0.1", true},
        {AF_INET, "10.1.2.3", false},
        {AF_UNIX, "127.0.0.1", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;
        struct server s;
        struct client *c;

        opts.web_server_addrs = cases[i].list;
        s = start(cases[i].family, &opts);
        c = dial(&s);
        if (cases[i].served)
            expect_hello(c, 1);
        else
            expect_end(c);
        hang_up(c);
        stop(&s);
    }
}

static void bad_options_are_refused(void **state)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;
    struct ferry_app *app = NULL;
    int pipes[2];
    char address[32];

    (void)state;
    assert_int_equal(ferry_app_new(&opts, &app), FERRY_EUSAGE); /* no handler */
    opts.handle = handle;
    opts.io = "select";
    assert_int_equal(ferry_app_new(&opts, &app), FERRY_EUSAGE);
    opts.io = io;
    setenv("FCGI_WEB_SERVER_ADDRS", "127.0.0.1,nonsense", 1);
    assert_int_equal(ferry_app_new(&opts, &app), FERRY_EUSAGE);
    unsetenv("FCGI_WEB_SERVER_ADDRS");
    assert_int_equal(ferry_app_new(&opts, &app), 0);
    assert_int_equal(ferry_app_listen(app, "no address"), FERRY_EUSAGE);
    assert_true(*ferry_app_why(app));
    assert_int_equal(pipe(pipes), 0);
    snprintf(address, sizeof address, "fd:%d", pipes[0]);
    assert_int_equal(ferry_app_listen(app, address), FERRY_EUSAGE);
    close(pipes[0]);
    close(pipes[1]);
    ferry_app_free(app);
    ferry_app_free(NULL);
}

static void a_socket_of_its_own_goes_with_it(void **state)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;
    char path[] = "/tmp/ferry-test-XXXXXX", at[64];
    struct ferry_app *app;

    (void)state;
    opts.handle = handle;
    opts.io = io;
    assert_non_null(mkdtemp(path));
    snprintf(at, sizeof at, "%s/s", path);
    assert_int_equal(ferry_app_new(&opts, &app), 0);
    assert_int_equal(ferry_app_listen(app, at), 0);
    assert_int_equal(access(at, F_OK), 0);
    ferry_app_free(app);
    assert_int_equal(access(at, F_OK), -1);
    assert_int_equal(rmdir(path), 0);
}

static void a_signal_lets_what_runs_finish(void **state)
{
    struct server s = start(AF_UNIX, NULL);
    struct client *idle = dial(&s), *busy = dial(&s), *c;

    (void)state;
    expect_hello(idle, 1);
    ask(busy, 1, FERRY_KEEP_CONN, "sip");
    expect_hello(busy, 2);
    kill(s.pid, SIGTERM);
    expect_end(idle);
    ask(busy, 3, FERRY_KEEP_CONN, "hello");
    expect_refused(busy, 3, FERRY_OVERLOADED);
    expect(busy, 1, TEXT "0 bytes, hash 00000000");
    expect_end(busy);
    assert_int_equal(exit_of(&s), 0);
    hang_up(idle);
    hang_up(busy);

    /* By a call instead, from a handler. */
    s = start(AF_UNIX, NULL);
    c = dial(&s);
    ask(c, 1, FERRY_KEEP_CONN, "stop");
    expect(c, 1, TEXT "late");
    expect_end(c);
    hang_up(c);
    assert_int_equal(exit_of(&s), 0);

    /* None is lost, whenever it comes. */
    for (int i = 0; i < 20; i++) {
        s = start(AF_UNIX, NULL);
        c = dial(&s);
        expect_hello(c, 1);
        ask(c, 1, FERRY_KEEP_CONN, "hello");
        usleep((useconds_t)i * 20);
        kill(s.pid, i % 2 ? SIGTERM : SIGINT);
        assert_int_equal(exit_of(&s), 0);
        hang_up(c);
    }
}

static void a_second_signal_and_the_time_limit_do_not_wait(void **state)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct server s;
        struct client *c;

        opts.stop_max_ms = i ? 100 : 0;
        s = start(AF_UNIX, &opts);
        c = dial(&s);
        ask(c, 1, FERRY_KEEP_CONN, "hold"); /* never finished */
        ask(c, 2, FERRY_KEEP_CONN, "abort");
        expect_hello(c, 3);
        kill(s.pid, SIGTERM);
        if (i == 0) {
            usleep(50000);
            assert_int_equal(waitpid(s.pid, NULL, WNOHANG), 0);
            kill(s.pid, SIGTERM);
        }
        assert_int_equal(exit_of(&s), 0);
        hang_up(c);
    }
}

/* Lets the n-th allocation of the server's fail (-1: none), and says whether the one before did. */
static bool starve(struct client *c, int n)
{
    char text[16];
    const char *params[] = {"DO", "starve", "NAME", text, NULL};
    bool failed;

    snprintf(text, sizeof text, "%d", n);
    send_begin(c, 1, FERRY_KEEP_CONN, params);
    send_end(c, 1);
    failed = reply(c, 1)->end.app_status;
    forget(c, 1);
    return failed;
}

/* Requests of all kinds, some of which may get less than a whole answer. */
static void try_everything(const struct server *s)
{
    static const char *const deeds_of[] = {"headers", "body", "big", "ref", "late"};
    static char pairs[20000];
    struct client *c = dial(s);
    size_t n = sizeof deeds_of / sizeof *deeds_of;
    uint16_t id;

    c->may_break = true;
    send_params(c, 60, pairs, 2 * 600);
    for (id = 1; id <= n; id++)
        ask(c, id, FERRY_KEEP_CONN, deeds_of[id - 1]);
    for (id = 1; id <= n; id++)
        while (!c->replies[id].ends)
            if (!receive(c)) {
                hang_up(c);
                return;
            }
    hang_up(c);
}

static void memory_may_run_out_anywhere(void **state)
{
    struct server s = start(AF_UNIX, NULL);
    struct client *c = dial(&s);
    int n = 0;

    (void)state;
    do {
        assert_true(n < 500);
        starve(c, n++);
        try_everything(&s);
    } while (starve(c, -1));
    assert_true(n > 5);
    expect_hello(c, 1);
    hang_up(c);
    stop(&s);
}

static void begin_and_end(void *arg)
{
    const struct ferry_app_opts *opts = arg;
    struct ferry_app *app;
    int err = ferry_app_new(opts, &app);

    if (err < 0) {
        assert_int_equal(err, -ENOMEM);
        return;
    }
    err = ferry_app_listen(app, "127.0.0.1:0");
    assert_true(err == 0 || err == -ENOMEM);
    ferry_app_free(app);
}

static void memory_may_run_out_at_the_beginning(void **state)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;

    (void)state;
    opts.handle = handle;
    opts.io = io;
    opts.web_server_addrs = "127.0.0.1";
    each_alloc_fails(begin_and_end, &opts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_peer_that_goes_away_aborts_its_requests_and_nothing_else),
        cmocka_unit_test(without_keep_the_connection_closes_behind_the_answer),
        cmocka_unit_test(past_its_limits_it_refuses),
        cmocka_unit_test(more_connections_than_it_wants_wait),
        cmocka_unit_test(who_wants_no_more_leaves_the_rest_to_the_others),
        cmocka_unit_test(params_are_bounded_and_malformed_ones_end_the_connection),
        cmocka_unit_test(values_are_told_truly),
        cmocka_unit_test(half_a_close_is_no_reason_not_to_answer),
        cmocka_unit_test(only_listed_peers_are_served),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(a_socket_of_its_own_goes_with_it),
        cmocka_unit_test(a_signal_lets_what_runs_finish),
        cmocka_unit_test(a_second_signal_and_the_time_limit_do_not_wait),
        cmocka_unit_test(memory_may_run_out_anywhere),
        cmocka_unit_test(memory_may_run_out_at_the_beginning),
    };

    return on_every_backend(tests, sizeof tests / sizeof *tests);
}
