/* SPDX-License-Identifier: MIT */
/* Requests in threads, the pool's and others: each function of a detached request; on every back
 * end of the loop. */
#include "app_threads.h"

/* What is so in the pool's threads is so in any other. */
static const unsigned pools[] = {3, 0};

static void every_function_works_from_another_thread(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct server s = start_threads(AF_UNIX, pools[i]);
        struct client *c = dial(&s);
        struct reply *r;

        ask(c, 1, FERRY_KEEP_CONN, "t-hello");
        expect(c, 1, TEXT "hello you");
        ask(c, 300, FERRY_KEEP_CONN, "t-look");
        expect(c, 300, TEXT "good=1 id=300 role=1 now=1");
        ask(c, 1, FERRY_KEEP_CONN, "t-headers");
        r = reply(c, 1);
        assert_string_equal(r->out,
                            "Status: 404 Not Found\r\nX-One: 1\r\ncontent-type: text/html\r\n"
                            "X-Two: 2\r\n\r\nbody");
        assert_string_equal(r->err, "good=1\n");
        assert_int_equal(r->end.app_status, 938);
        forget(c, 1);
        send_deed(c, 1, FERRY_KEEP_CONN, "t-wait");
        expect(c, 1, TEXT "good=1");
        hang_up(c);
        stop(&s);
    }
}

static void bodies_are_read_as_they_come(void **state)
{
    static const char *const deeds_of[] = {"t-read", "t-pull"};
    struct sum sum = {0};
    char want[100];

    (void)state;
    add_up(&sum, pattern, sizeof pattern);
    snprintf(want, sizeof want, TEXT "%zu bytes, hash %08x", sum.len, sum.hash);
    for (int i = 0; i < 4; i++) {
        struct server s = start_threads(AF_UNIX, pools[i % 2]);
        struct client *c = dial(&s);

        send_deed(c, 1, FERRY_KEEP_CONN, deeds_of[i / 2]);
        send_stdin(c, 1, pattern, sizeof pattern);
        send_end(c, 1);
        expect(c, 1, want);
        /* In small pieces, some of which it waits for. */
        send_deed(c, 1, FERRY_KEEP_CONN, deeds_of[i / 2]);
        for (size_t at = 0, n = 1; at < sizeof pattern; at += n, n = n * 3 % 6007) {
            n = n < sizeof pattern - at ? n : sizeof pattern - at;
            send_record(c, FERRY_STDIN, 1, pattern + at, n);
            if (n % 16 == 0)
                usleep(500);
        }
        send_end(c, 1);
        expect(c, 1, want);
        ask(c, 1, FERRY_KEEP_CONN, deeds_of[i / 2]);
        expect(c, 1, TEXT "0 bytes, hash 00000000");
        assert_int_equal(seen_of(c, "wrong="), 0);
        hang_up(c);
        stop(&s);
    }
}

static void a_filter_reads_two_streams_and_may_write_early(void **state)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;
    const char *params[] = {"DO", "t-filter", NULL};
    struct sum sum = {0};
    char want[100];

    (void)state;
    add_up(&sum, pattern, 100000);
    add_up(&sum, pattern, sizeof pattern);
    snprintf(want, sizeof want, TEXT "early %zu bytes, hash %08x", sum.len, sum.hash);
    opts.handle = handle_in_threads;
    opts.roles = 1 << FERRY_FILTER;
    for (int i = 0; i < 2; i++) {
        struct server s;
        struct client *c;

        opts.threads = pools[i];
        s = start(AF_UNIX, &opts);
        c = dial(&s);
        send_begin_as(c, FERRY_FILTER, 1, FERRY_KEEP_CONN, params);
        expect_silence(c);
        send_stdin(c, 1, pattern, 100000);
        send_end(c, 1);
        send_data(c, 1, pattern, sizeof pattern);
        send_data_end(c, 1);
        assert_string_equal(reply(c, 1)->err, "early\n");
        expect(c, 1, want);
        hang_up(c);
        stop(&s);
    }
}

static void a_byte_in_is_a_byte_out_of_a_thread(void **state)
{
    struct server s = start_threads(AF_UNIX, 2);
    struct client *c = dial(&s);

    (void)state;
    send_deed(c, 1, FERRY_KEEP_CONN, "t-echo");
    for (size_t i = 1; i <= 5; i++) {
        send_record(c, FERRY_STDIN, 1, i == 1 ? "\n" : "x", 1); /* a header block of none first */
        while (c->replies[1].len < i)
            assert_true(receive(c));
    }
    send_end(c, 1);
    expect(c, 1, "\nxxxx");
    hang_up(c);
    stop(&s);
}

static void expect_pattern(struct client *c, uint16_t id, size_t len)
{
    struct reply *r = reply(c, id);

    assert_int_equal(r->len, len);
    for (size_t at = 0; at < len; at += sizeof pattern)
        assert_memory_equal(r->out + at, pattern, sizeof pattern);
    assert_int_equal(r->end.app_status, 0);
    forget(c, id);
}

static void a_slow_reader_makes_threads_wait(void **state)
{
    static const char *const deeds_of[] = {"t-pour", "t-poll"};

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct server s = start_threads(AF_UNIX, pools[i % 2]);
        struct client *c = dial(&s), *d = dial(&s);

        ask(c, 1, FERRY_KEEP_CONN, deeds_of[i / 2]);
        ask(c, 2, FERRY_KEEP_CONN, deeds_of[i / 2]);
        usleep(100000);
        ask(d, 1, FERRY_KEEP_CONN, "t-hello"); /* others do not notice */
        expect(d, 1, TEXT "hello you");
        if (i / 2 == 0) /* what waits is bounded: the mark, and what the kernel takes */
            assert_in_range(seen_of(d, "poured="), 1, 4 << 20);
        ask(c, 3, FERRY_KEEP_CONN, "t-hello");
        expect(c, 3, TEXT "hello you");
        expect_pattern(c, 1, 32 << 20);
        expect_pattern(c, 2, 32 << 20);
        assert_int_equal(seen_of(d, "wrong="), 0);
        hang_up(c);
        hang_up(d);
        stop(&s);
    }
}

static void who_does_not_wait_is_bounded(void **state)
{
    struct server s = start_threads(AF_UNIX, 2);
    struct client *c = dial(&s), *d = dial(&s);

    (void)state;
    ask(c, 1, FERRY_KEEP_CONN, "t-overflow");
    expect_seen(d, "ended=", 1);
    assert_int_equal(reply(c, 1)->end.app_status, 1);
    assert_true(c->replies[1].len <= 9 << 20); /* output_max, and what the kernel took */
    hang_up(c);
    hang_up(d);
    stop(&s);
}

static void a_fast_sender_waits_for_a_busy_thread(void **state)
{
    static char record[FERRY_RECORD_HEADER_LEN + 60000];
    struct ferry_record rec = {.type = FERRY_STDIN, .id = 1, .content_len = 60000};
    struct server s = start_threads(AF_UNIX, 1);
    struct client *c = dial(&s), *d = dial(&s);
    size_t sent = 0, rest;

    (void)state;
    ferry_record_encode(&rec, record);
    ask(d, 1, FERRY_KEEP_CONN, "t-abort");
    while (d->replies[1].len == 0)
        receive(d);
    send_deed(c, 1, FERRY_KEEP_CONN, "t-read"); /* waits for the one thread */
    for (;;) {
        struct pollfd at = {.fd = c->fd, .events = POLLOUT};
        ssize_t n;

        if (poll(&at, 1, 100) == 0)
            break;
        rest = sizeof record - sent % sizeof record;
        n = send(c->fd, record + sent % sizeof record, rest, MSG_DONTWAIT | MSG_NOSIGNAL);
        assert_true(n > 0 || errno == EAGAIN);
        sent += n > 0 ? (size_t)n : 0;
        assert_true(sent < (4 << 20));
    }
    assert_true(sent >= 256 << 10);
    send_record(d, FERRY_ABORT_REQUEST, 1, "", 0);
    rest = sizeof record - sent % sizeof record;
    send_all(c, record + sent % sizeof record, rest);
    send_end(c, 1);
    assert_int_equal(strtoul(reply(c, 1)->out + strlen(TEXT), NULL, 10),
                     (sent + rest) / sizeof record * 60000);
    assert_int_equal(reply(d, 1)->end.app_status, 7);
    hang_up(c);
    hang_up(d);
    stop(&s);
}

static void references_are_let_go_exactly_once(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct server s = start_threads(AF_UNIX, pools[i]);
        struct client *c = dial(&s), *d = dial(&s);

        for (int n = 0; n < 20; n++) {
            ask(c, 1, FERRY_KEEP_CONN, "t-refs");
            if (n % 4 == 1)
                send_record(c, FERRY_ABORT_REQUEST, 1, "", 0);
            if (n % 4 == 2) {
                hang_up(c);
                c = dial(&s);
                continue;
            }
            reply(c, 1);
            if (n % 4 != 1)
                expect_pattern(c, 1, 2 * sizeof pattern);
            else
                forget(c, 1);
        }
        expect_seen(d, "ended=", seen_of(d, "begun="));
        expect_seen(d, "releases=", seen_of(d, "refs="));
        assert_in_range(seen_of(d, "ended="), 5, 20); /* some were aborted before their time */
        hang_up(c);
        hang_up(d);
        stop(&s);
    }
}

/* Waits in each of the ways there are; the web server's word ends all of them, once. */
static void waiting_threads_hear_of_an_abort(void **state)
{
    static const char *const deeds_of[] = {"t-abort", "t-read", "t-pull",
                                           "t-echo",  "t-pour", "t-poll"};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct server s = start_threads(AF_UNIX, pools[i]);
        struct client *c, *d = dial(&s);

        for (size_t n = 0; n < sizeof deeds_of / sizeof *deeds_of; n++) {
            c = dial(&s);
            send_deed(c, 1, FERRY_KEEP_CONN, deeds_of[n]);
            send_stdin(c, 1, "some", 4);
            usleep(20000);
            send_record(c, FERRY_ABORT_REQUEST, 1, "", 0);
            assert_int_equal(reply(c, 1)->end.app_status, 7);
            assert_int_equal(c->replies[1].end.protocol_status, FERRY_REQUEST_COMPLETE);
            forget(c, 1);
            send_record(c, FERRY_ABORT_REQUEST, 1, "", 0); /* of one that is over */
            send_record(c, FERRY_STDIN, 1, "late", 4);
            ask(c, 1, FERRY_KEEP_CONN, "t-hello");
            expect(c, 1, TEXT "hello you");
            /* The same by going away. */
            send_deed(c, 1, FERRY_KEEP_CONN, deeds_of[n]);
            send_stdin(c, 1, "some", 4);
            usleep(20000);
            hang_up(c);
        }
        expect_seen(d, "ended=", seen_of(d, "begun="));
        hang_up(d);
        stop(&s);
    }
}

static void ask_values(struct client *c)
{
    c->got_values = false;
    send_record(c, FERRY_GET_VALUES, 0, "\015\0FCGI_MAX_REQS", 15);
    while (!c->got_values)
        assert_true(receive(c));
}

static void with_all_threads_busy_requests_wait_in_order(void **state)
{
    struct server s = start_threads(AF_UNIX, 2);
    struct client *c = dial(&s), *d = dial(&s);
    char want[100];

    (void)state;
    ask(c, 1, FERRY_KEEP_CONN, "t-abort");
    while (c->replies[1].len == 0)
        receive(c);
    ask(c, 2, FERRY_KEEP_CONN, "t-abort");
    while (c->replies[2].len == 0)
        receive(c);
    for (uint16_t id = 11; id <= 19; id++)
        ask(c, id, FERRY_KEEP_CONN, "t-order");
    ask(d, 1, FERRY_KEEP_CONN, "t-order");
    ask_values(c);
    ask_values(d);
    /* Those that nobody has taken yet end without their handler, also with their connection. */
    send_record(c, FERRY_ABORT_REQUEST, 15, "", 0);
    assert_int_equal(reply(c, 15)->end.app_status, 0);
    assert_int_equal(c->replies[15].end.protocol_status, FERRY_REQUEST_COMPLETE);
    hang_up(d);
    ask_values(c);
    d = dial(&s);
    ask(d, 1, FERRY_KEEP_CONN, "t-order");
    ask_values(d);
    /* One thread goes on, and takes the others in their order. */
    send_record(c, FERRY_ABORT_REQUEST, 2, "", 0);
    assert_int_equal(reply(c, 2)->end.app_status, 7);
    for (uint16_t id = 11, n = 3; id <= 19; id++) {
        if (id == 15)
            continue;
        snprintf(want, sizeof want, TEXT "begun=%u", n++);
        expect(c, id, want);
    }
    expect(d, 1, TEXT "begun=11");
    send_record(c, FERRY_ABORT_REQUEST, 1, "", 0);
    assert_int_equal(reply(c, 1)->end.app_status, 7);
    hang_up(c);
    hang_up(d);
    stop(&s);
}

static void a_small_request_in_a_thread_allocates_nothing(void **state)
{
    struct server s = start_threads(AF_UNIX, 2);
    struct client *c = dial(&s);
    unsigned long before;

    (void)state;
    for (int i = 0; i < 100; i++) {
        ask(c, 1, FERRY_KEEP_CONN, "t-hello");
        expect(c, 1, TEXT "hello you");
    }
    before = seen_of(c, "allocs=");
    for (int i = 0; i < 100; i++) {
        ask(c, 1, FERRY_KEEP_CONN, "t-hello");
        expect(c, 1, TEXT "hello you");
    }
    assert_int_equal(seen_of(c, "allocs="), before);
    hang_up(c);
    stop(&s);
}

static void a_stop_lets_threads_finish(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct server s = start_threads(AF_UNIX, pools[i]);
        struct client *c = dial(&s), *d = dial(&s);

        ask(c, 1, FERRY_KEEP_CONN, "t-stop");
        expect(c, 1, TEXT "late");
        expect_end(c);
        hang_up(c);
        hang_up(d);
        assert_int_equal(exit_of(&s), 0);

        s = start_threads(AF_UNIX, pools[i]);
        c = dial(&s);
        for (uint16_t id = 1; id <= 6; id++) /* more than there are threads */
            ask(c, id, FERRY_KEEP_CONN, "t-sleep");
        usleep(30000);
        kill(s.pid, SIGTERM);
        for (uint16_t id = 1; id <= 6; id++)
            expect(c, id, TEXT "slept");
        expect_end(c);
        hang_up(c);
        assert_int_equal(exit_of(&s), 0);
    }
}

/* After the time limit threads are told, and waited for: the process leaves only when they have
 * finished. */
static void a_stop_that_lasts_aborts_what_threads_do(void **state)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;

    (void)state;
    opts.handle = handle_in_threads;
    for (int i = 0; i < 4; i++) {
        static const char *const deeds_of[] = {"t-abort", "t-read", "t-pour", "t-sleep", "t-sleep"};
        struct server s;
        struct client *c;

        opts.threads = pools[i % 2];
        opts.stop_max_ms = i / 2 ? 100 : 0;
        s = start(AF_UNIX, &opts);
        c = dial(&s);
        for (uint16_t id = 1; id <= 5;
             id++) /* two of them wait for a thread when there is a pool */
            send_deed(c, id, FERRY_KEEP_CONN, deeds_of[id - 1]);
        while (c->replies[1].len == 0)
            receive(c);
        kill(s.pid, SIGTERM);
        if (opts.stop_max_ms == 0) {
            usleep(50000);
            assert_int_equal(waitpid(s.pid, NULL, WNOHANG), 0);
            kill(s.pid, SIGTERM);
        }
        assert_int_equal(exit_of(&s), 0);
        hang_up(c);
    }
}

/* -- without memory
 * -------------------------------------------------------------------------------------------------
 */

/* Lets the n-th allocation fail of the thread that runs this deed, and says whether the one before
 * did. */
static bool starve(struct client *c, const char *deed, int n)
{
    char text[16];
    const char *params[] = {"DO", deed, "NAME", text, NULL};
    bool failed;

    snprintf(text, sizeof text, "%d", n);
    send_begin(c, 1, FERRY_KEEP_CONN, params);
    send_end(c, 1);
    failed = reply(c, 1)->end.app_status;
    forget(c, 1);
    return failed;
}

/* Some may get less than a whole answer. */
static void try_everything(const struct server *s)
{
    static const char *const deeds_of[] = {"t-look", "t-headers", "t-read", "t-pull",
                                           "t-refs", "t-echo",    "t-hello"};
    struct client *c = dial(s);
    size_t n = sizeof deeds_of / sizeof *deeds_of;
    uint16_t id;

    c->may_break = true;
    for (id = 1; id <= n; id++) {
        send_deed(c, id, FERRY_KEEP_CONN, deeds_of[id - 1]);
        send_stdin(c, id, pattern, 100000);
        send_end(c, id);
    }
    for (id = 1; id <= n; id++)
        while (!c->replies[id].ends)
            if (!receive(c)) {
                hang_up(c);
                return;
            }
    hang_up(c);
}

static void memory_may_run_out_in_a_thread_and_under_it(void **state)
{
    /* In the one thread of a pool; in the loop, whose requests other threads have. */
    static const char *const deeds_of[] = {"starve", "starve"};
    static const unsigned threads[] = {1, 0};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct server s = start_threads(AF_UNIX, threads[i]);
        struct client *c = dial(&s);
        int n = 0;

        do {
            assert_true(n < 500);
            starve(c, deeds_of[i], n++);
            try_everything(&s);
        } while (starve(c, deeds_of[i], -1));
        assert_true(n > 5);
        ask(c, 1, FERRY_KEEP_CONN, "t-hello");
        expect(c, 1, TEXT "hello you");
        expect_seen(c, "releases=", seen_of(c, "refs="));
        assert_int_equal(seen_of(c, "wrong="), 0);
        hang_up(c);
        stop(&s);
    }
}

/* -- many of everything
 * -------------------------------------------------------------------------------------------------
 */

static void *loop_main(void *arg)
{
    struct ferry_app *app = arg;

    if (ferry_app_run(app) < 0)
        abort();
    return NULL;
}

/* Two processes with three loops each, one of them with a pool, all on one listening socket. */
static void serve_with_loops(int listener)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;
    struct ferry_app *apps[3];
    pthread_t threads[3];
    char address[32];
    sigset_t set;
    int signo;

    opts.handle = handle_in_threads;
    opts.io = io;
    opts.web_server_addrs = "";
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    for (int i = 0; i < 3; i++) {
        opts.threads = i == 0 ? 2 : 0;
        snprintf(address, sizeof address, "fd:%d", dup(listener));
        if (ferry_app_new(&opts, &apps[i]) < 0 || ferry_app_listen(apps[i], address) < 0 ||
            pthread_create(&threads[i], NULL, loop_main, apps[i]) != 0)
            exit(1);
    }
    sigwait(&set, &signo);
    for (int i = 0; i < 3; i++)
        ferry_app_stop(apps[i]);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        ferry_app_free(apps[i]);
    }
    close(listener);
    exit(seen.ended != seen.begun);
}

static void loops_processes_and_threads_share_a_socket(void **state)
{
    static const char *const deeds_of[] = {"t-hello", "hello", "t-read", "nothing", "t-echo"};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct server s = {.len = sizeof s.addr};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct client *c[60];
    pid_t pids[2];

    (void)state;
    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(listen(fd, 64), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&s.addr, &s.len), 0);
    fflush(stdout);
    for (int i = 0; i < 2; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            serve_with_loops(fd);
        }
    }
    close(fd);
    for (int i = 0; i < 60; i++) {
        c[i] = dial(&s);
        for (uint16_t id = 1; id <= 5; id++)
            send_deed(c[i], id, FERRY_KEEP_CONN, deeds_of[id - 1]);
    }
    for (int i = 0; i < 60; i++)
        for (uint16_t id = 1; id <= 5; id++) {
            send_stdin(c[i], id, "abc", 3);
            send_end(c[i], id);
        }
    for (int i = 0; i < 60; i++) {
        expect(c[i], 1, TEXT "hello you");
        expect(c[i], 2, TEXT "hello you");
        expect(c[i], 3, TEXT "3 bytes, hash 00017862");
        expect(c[i], 4, "");
        expect(c[i], 5, "abc");
        hang_up(c[i]);
    }
    for (int i = 0; i < 2; i++) {
        int status;

        kill(pids[i], SIGTERM);
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_function_works_from_another_thread),
        cmocka_unit_test(bodies_are_read_as_they_come),
        cmocka_unit_test(a_filter_reads_two_streams_and_may_write_early),
        cmocka_unit_test(a_byte_in_is_a_byte_out_of_a_thread),
        cmocka_unit_test(a_slow_reader_makes_threads_wait),
        cmocka_unit_test(who_does_not_wait_is_bounded),
        cmocka_unit_test(a_fast_sender_waits_for_a_busy_thread),
        cmocka_unit_test(references_are_let_go_exactly_once),
        cmocka_unit_test(waiting_threads_hear_of_an_abort),
        cmocka_unit_test(with_all_threads_busy_requests_wait_in_order),
        cmocka_unit_test(a_small_request_in_a_thread_allocates_nothing),
        cmocka_unit_test(a_stop_lets_threads_finish),
        cmocka_unit_test(a_stop_that_lasts_aborts_what_threads_do),
        cmocka_unit_test(memory_may_run_out_in_a_thread_and_under_it),
        cmocka_unit_test(loops_processes_and_threads_share_a_socket),
    };

    return on_every_backend(tests, sizeof tests / sizeof *tests);
}
