/* SPDX-License-Identifier: MIT */
/*
 * Deadlines of calls and of connecting. Times are short where something is to happen and very long
 * where it must not.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>

#include "callers.h"

static void says_nothing(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    if (fake_take(app, fd, &rq))
        fake_drain(app, fd);
}

static void says_half(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    if (fake_take(app, fd, &rq) && fake_record(app, fd, FERRY_STDOUT, rq.id, "half", 4))
        fake_drain(app, fd);
}

static void goes_on_and_on(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    if (!fake_take(app, fd, &rq))
        return;
    while (!atomic_load(&app->stopping) && fake_record(app, fd, FERRY_STDERR, rq.id, "x", 1))
        fake_sleep_ms(10);
}

static void answers_when_told(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    while (fake_take(app, fd, &rq)) {
        fake_wait_go(app);
        if (!fake_answer(app, fd, rq.id, rq.name))
            return;
    }
}

static bool all_closed(void *app)
{
    return atomic_load(&((struct fake_app *)app)->open) == 0;
}

#define FOREVER_MS 3000000

static struct ferry_pool_opts with(unsigned first_byte, unsigned idle, unsigned total)
{
    return (struct ferry_pool_opts){.multiplex = FERRY_MULTIPLEX_OFF,
                                    .first_byte_ms = first_byte,
                                    .idle_ms = idle,
                                    .total_ms = total};
}

static const struct {
    const char *what;
    fake_handler *handler;
    unsigned first_byte, idle, total; /* the pool's */
    const char *out;
} slow[] = {
    {"no answer", says_nothing, 100, FOREVER_MS, 0, ""},
    {"no answer, in all", says_nothing, FOREVER_MS, 0, 100, ""},
    {"half an answer", says_half, FOREVER_MS, 100, 0, "half"},
    {"half an answer, in all", says_half, 0, FOREVER_MS, 100, "half"},
    {"an answer without end", goes_on_and_on, 2000, 2000, 300, ""},
};

static void run_slow(void **state, unsigned i, bool of_call)
{
    struct fake_app app = {.handler = slow[i].handler};
    struct request r = {.name = slow[i].what};
    uint64_t ms = slow[i].total && slow[i].total < FOREVER_MS ? slow[i].total : 100;
    struct callers c;

    fake_listen(&app, 16);
    fake_start(&app);
    if (of_call) {
        r.call.first_byte_ms = slow[i].first_byte;
        r.call.idle_ms = slow[i].idle;
        r.call.total_ms = slow[i].total;
        callers_open(&c, state, 1, &app, with(0, 0, 0));
    } else {
        callers_open(&c, state, 1, &app, with(slow[i].first_byte, slow[i].idle, slow[i].total));
    }
    start(c.side, &r);
    assert_outcome(&r, SLOW);
    assert_int_equal(r.result.err, -ETIMEDOUT);
    assert_string_equal(r.out, slow[i].out);
    assert_true(r.ended_us - r.began_us >= ms * 1000 - 2000);
    /* What ran there is not waited for. */
    assert_true(wait_for(all_closed, &app, WAIT_MS));
    callers_close(&c);
    fake_stop(&app);
}

static void test_slow_applications(void **state)
{
    for (unsigned i = 0; i < sizeof slow / sizeof *slow; i++) {
        run_slow(state, i, false);
        run_slow(state, i, true);
    }
}

static void test_a_call_may_have_longer_ones(void **state)
{
    struct fake_app app = {.handler = answers_when_told};
    struct request r = {.name = "patient"}, hasty = {.name = "hasty"};
    struct callers c;

    fake_listen(&app, 16);
    fake_start(&app);
    callers_open(&c, state, 1, &app, with(50, 50, 50));
    r.call.first_byte_ms = r.call.idle_ms = r.call.total_ms = FOREVER_MS;
    start(c.side, &r);
    start(c.side, &hasty);
    assert_outcome(&hasty, SLOW);
    fake_sleep_ms(100);
    assert_false(has_ended(&r));
    app.go = true;
    assert_answer(&r, "patient");
    callers_close(&c);
    fake_stop(&app);
}

static void test_the_whole_time_has_the_queue_in_it(void **state)
{
    struct fake_app app = {.handler = answers_when_told};
    struct ferry_pool_opts opts = with(0, 0, 0);
    struct request first = {.name = "first"}, second = {.name = "second"},
                   third = {.name = "third"};
    struct callers c;

    opts.connections_max = 1;
    fake_listen(&app, 16);
    fake_start(&app);
    callers_open(&c, state, 1, &app, opts);
    start(c.side, &first);
    start(c.side, &second);
    third.call.total_ms = 100; /* behind one that waits longer */
    start(c.side, &third);
    assert_outcome(&third, TIMEOUT);
    assert_false(has_ended(&first) || has_ended(&second));
    app.go = true;
    assert_answer(&first, "first");
    assert_answer(&second, "second");
    assert_log(&app, "first second ");
    callers_close(&c);
    fake_stop(&app);
}

/* -- what is no silence of the application's -- */

static void release(void *arg)
{
    struct request *r = arg;

    r->hold = false;
    ferry_call_hold(&r->call, false);
}

static bool has_begun(void *r)
{
    return atomic_load(&((struct request *)r)->got) > 0;
}

static void says_half_then_waits(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    if (!fake_take(app, fd, &rq) || !fake_record(app, fd, FERRY_STDOUT, rq.id, "half", 4))
        return;
    fake_wait_go(app);
    fake_answer(app, fd, rq.id, " and half");
    fake_drain(app, fd);
}

static void test_an_answer_that_is_held_back(void **state)
{
    struct fake_app app = {.handler = says_half_then_waits};
    struct request r = {.name = "held", .hold = true};
    struct callers c;

    fake_listen(&app, 16);
    fake_start(&app);
    callers_open(&c, state, 1, &app, with(0, 100, 0));
    start(c.side, &r);
    assert_true(wait_for(has_begun, &r, WAIT_MS));
    app.go = true;
    fake_sleep_ms(400);
    assert_false(has_ended(&r));
    in_loop(c.side, release, &r);
    assert_answer(&r, "half and half");
    callers_close(&c);
    fake_stop(&app);
}

static void start_without_writing(struct ferry_call *call)
{
    (void)call;
}

static void start_unwritten_here(void *arg)
{
    static const struct ferry_call_fns fns = {
        .started = start_without_writing, .out = on_out, .errors = on_errors, .done = on_done};
    struct request *r = arg;

    start_here(r);
    r->call.fns = &fns;
}

static void write_all(void *arg)
{
    struct request *r = arg;

    ferry_call_write(&r->call, NULL, FERRY_SLICE("body"));
    ferry_call_write_end(&r->call);
}

struct look {
    struct request *r;
    bool running;
};

static void look_here(void *arg)
{
    struct look *look = arg;

    look->running = look->r->call.running;
}

static bool is_running(void *arg)
{
    struct look look = {.r = arg};

    in_loop(look.r->side, look_here, &look);
    return look.running;
}

static void test_a_body_that_is_not_written_yet(void **state)
{
    struct fake_app app = {.handler = answers_when_told};
    struct request r = {.name = "slow body", .body_len = 1};
    struct callers c;

    app.go = true;
    fake_listen(&app, 16);
    callers_open(&c, state, 1, &app, with(100, 100, 0));
    r.side = c.side;
    in_loop(c.side, start_unwritten_here, &r);
    fake_start(&app);
    assert_true(wait_for(is_running, &r, WAIT_MS));
    fake_sleep_ms(400);
    assert_false(has_ended(&r));
    in_loop(c.side, write_all, &r);
    assert_answer(&r, "slow body");
    callers_close(&c);
    fake_stop(&app);
}

/* -- on a shared connection -- */

/* Answers what is called "quick", and knows aborts. */
static void answers_the_quick(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_record_in *in = malloc(sizeof *in);
    struct fake_request rq[8] = {0};

    (void)nth;
    must(in);
    while (fake_take_record(app, fd, in)) {
        struct fake_request *q = &rq[in->r.id & 7];

        if (in->r.type == FERRY_ABORT_REQUEST)
            fake_answer(app, fd, in->r.id, "");
        else if (fake_take_into(in, q) && strcmp(q->name, "quick") == 0)
            fake_answer(app, fd, q->id, q->name);
    }
    free(in);
}

static void test_the_others_of_a_shared_connection_go_on(void **state)
{
    struct fake_app app = {.handler = answers_the_quick};
    struct ferry_pool_opts opts = {.multiplex = FERRY_MULTIPLEX_ON, .connections_max = 8};
    struct request late[3] = {{.name = "a"}, {.name = "b"}, {.name = "c"}}, stays = {.name = "d"};
    struct callers c;

    fake_listen(&app, 16);
    fake_start(&app);
    callers_open(&c, state, 1, &app, opts);
    start(c.side, &stays);
    for (int i = 0; i < 3; i++) {
        late[i].call.first_byte_ms = 100;
        start(c.side, &late[i]);
    }
    for (int i = 0; i < 20; i++) {
        struct request quick = {.name = "quick"};

        quick.call.total_ms = quick.call.first_byte_ms = FOREVER_MS;
        start(c.side, &quick);
        assert_answer(&quick, "quick");
        fake_sleep_ms(10);
    }
    for (int i = 0; i < 3; i++)
        assert_outcome(&late[i], SLOW);
    assert_false(has_ended(&stays));
    for (int i = 0; i < 2000 && atomic_load(&app.aborts) < 3; i++)
        fake_sleep_ms(1);
    assert_int_equal(app.aborts, 3);
    assert_int_equal(app.accepted, 1);
    in_loop(c.side, abort_here, &stays);
    callers_close(&c);
    fake_stop(&app);
}

/* -- connecting -- */

/* A listener that is full: the kernel drops what else wants to connect. */
static int full_listener(struct sockaddr_in *in, int fillers[4])
{
    int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof *in;

    *in = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(l, (struct sockaddr *)in, sizeof *in), 0);
    assert_int_equal(listen(l, 0), 0);
    assert_int_equal(getsockname(l, (struct sockaddr *)in, &len), 0);
    for (int i = 0; i < 4; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_true(connect(fillers[i], (struct sockaddr *)in, sizeof *in) == 0 ||
                    errno == EINPROGRESS);
    }
    fake_sleep_ms(50);
    return l;
}

static void test_a_connection_that_does_not_come_about(void **state)
{
    struct sockaddr_in in;
    int fillers[4], l = full_listener(&in, fillers);
    struct request r = {.name = "nobody"};
    struct ferry_client_opts opts = {.multiplex = FERRY_MULTIPLEX_OFF, .connect_ms = 100};
    struct callers c;
    char address[32];

    snprintf(address, sizeof address, "127.0.0.1:%u", ntohs(in.sin_port));
    opts.address = address;
    callers_open_client(&c, state, 1, opts);
    start(c.side, &r);
    assert_outcome(&r, REFUSED);
    assert_int_equal(r.result.err, -ETIMEDOUT);
    assert_true(r.ended_us - r.began_us >= 98000);
    callers_close(&c);
    for (int i = 0; i < 4; i++)
        close(fillers[i]);
    close(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_both(test_slow_applications),
        on_both(test_a_call_may_have_longer_ones),
        on_both(test_the_whole_time_has_the_queue_in_it),
        on_both(test_an_answer_that_is_held_back),
        on_both(test_a_body_that_is_not_written_yet),
        on_both(test_the_others_of_a_shared_connection_go_on),
        on_both(test_a_connection_that_does_not_come_about),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
