/* SPDX-License-Identifier: MIT */
/*
 * Shared connections: how it is learned that an application multiplexes, and how many calls get
 * along on one connection.
 */
#include "callers.h"

static const struct ferry_pool_opts ask = {.multiplex = FERRY_MULTIPLEX_AUTO};
static const struct ferry_pool_opts share = {.multiplex = FERRY_MULTIPLEX_ON};

static void open_both(struct callers *c, void **state, unsigned threads, struct fake_app *app,
                      struct ferry_pool_opts opts)
{
    fake_listen(app, 128);
    callers_open(c, state, threads, app, opts);
    fake_start(app);
}

static void close_both(struct callers *c, struct fake_app *app)
{
    callers_close(c);
    fake_stop(app);
}

/* -- applications that multiplex -- */

enum { IDS = 4096 };

struct mpx {
    struct fake_app *app;
    int fd;
    struct fake_record_in in;
    struct fake_request active[IDS];
    unsigned nactive;
};

static atomic_uint most_active;

static struct mpx *mpx_new(struct fake_app *app, int fd)
{
    struct mpx *m = calloc(1, sizeof *m);

    must(m);
    m->app = app;
    m->fd = fd;
    return m;
}

static bool values_are(struct mpx *m, const char *values, size_t n)
{
    return fake_record(m->app, m->fd, FERRY_GET_VALUES_RESULT, 0, values, n);
}

#define VALUES(m, text) values_are(m, text, sizeof(text) - 1)
#define MPXS_1                                                                                     \
    "\x0f\x01"                                                                                     \
    "FCGI_MPXS_CONNS"                                                                              \
    "1"
#define MPXS_0                                                                                     \
    "\x0f\x01"                                                                                     \
    "FCGI_MPXS_CONNS"                                                                              \
    "0"
#define MAX_REQS(digit)                                                                            \
    "\x0d\x01"                                                                                     \
    "FCGI_MAX_REQS" #digit

/* The next record; *rq is the request it completes, if it does. */
static bool mpx_take(struct mpx *m, struct fake_request **rq)
{
    struct fake_request *r;

    *rq = NULL;
    if (!fake_take_record(m->app, m->fd, &m->in))
        return false;
    must(m->in.r.id < IDS);
    r = &m->active[m->in.r.id];
    if (m->in.r.type == FERRY_BEGIN_REQUEST) {
        must(r->id == 0); /* not given out again before its END_REQUEST */
        if (++m->nactive > atomic_load(&most_active))
            atomic_store(&most_active, m->nactive);
    }
    if (m->in.r.id && fake_take_into(&m->in, r)) {
        fake_note(m->app, r);
        *rq = r;
    }
    return true;
}

static bool mpx_end(struct mpx *m, struct fake_request *rq)
{
    char text[64];
    uint16_t id = rq->id;

    if (rq->body)
        snprintf(text, sizeof text, "%llu %llx", (unsigned long long)rq->body,
                 (unsigned long long)rq->sum);
    else
        snprintf(text, sizeof text, "%s", rq->name);
    rq->id = 0;
    m->nactive--;
    return fake_answer(m->app, m->fd, id, text);
}

/* Answers at once. */
static void multiplexes(struct fake_app *app, int fd, unsigned nth)
{
    struct mpx *m = mpx_new(app, fd);
    struct fake_request *rq;

    (void)nth;
    while (mpx_take(m, &rq)) {
        if (m->in.r.type == FERRY_GET_VALUES && !VALUES(m, MPXS_1))
            break;
        if (rq && !mpx_end(m, rq))
            break;
    }
    free(m);
}

/* Waits until there are `batch` requests, or it is told to go on, then answers the last first. */
static atomic_uint batch;

static void multiplexes_in_batches(struct fake_app *app, int fd, unsigned nth)
{
    struct mpx *m = mpx_new(app, fd);
    struct fake_request *rq;
    unsigned whole = 0;

    (void)nth;
    while (mpx_take(m, &rq)) {
        if (m->in.r.type == FERRY_GET_VALUES && !VALUES(m, MPXS_1 MAX_REQS(4)))
            break;
        whole += rq != NULL;
        if (whole == 0 || (whole < atomic_load(&batch) && !atomic_load(&app->go)))
            continue;
        whole = 0;
        for (int id = IDS - 1; id > 0; id--)
            if (m->active[id].id && m->active[id].whole && !mpx_end(m, &m->active[id]))
                break;
    }
    free(m);
}

static bool multiplexing(void *pool)
{
    return ferry_pool_multiplexes(pool);
}

static void start_some(struct callers *c, struct request *r, unsigned n)
{
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h"};

    for (unsigned i = 0; i < n; i++) {
        r[i] = (struct request){.name = names[i % 8], .idempotent = true};
        start(&c->side[i % c->n], &r[i]);
    }
}

static void answered(struct request *r, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        assert_answer(&r[i], r[i].name);
}

static void test_one_shared_connection_a_thread(void **state)
{
    struct fake_app app = {.handler = multiplexes};
    struct request r[60];
    struct callers c;

    open_both(&c, state, 2, &app, ask);
    assert_true(wait_for(multiplexing, c.pool, WAIT_MS));
    for (int round = 0; round < 5; round++) {
        start_some(&c, r, 60);
        answered(r, 60);
    }
    assert_int_equal(app.asked, 1);
    assert_int_equal(app.accepted, 3); /* the one that was asked on, and one a thread */
    close_both(&c, &app);
}

static void test_answers_come_in_any_order(void **state)
{
    struct fake_app app = {.handler = multiplexes_in_batches};
    struct request r[40];
    struct callers c;

    batch = 40;
    open_both(&c, state, 1, &app, share);
    start_some(&c, r, 40);
    answered(r, 40);
    assert_int_equal(app.accepted, 1);
    close_both(&c, &app);
}

static void test_no_more_at_once_than_the_application_says(void **state)
{
    struct fake_app app = {.handler = multiplexes_in_batches};
    struct request r[21];
    struct callers c;

    batch = 3;
    most_active = 0;
    open_both(&c, state, 1, &app, ask);
    assert_true(wait_for(multiplexing, c.pool, WAIT_MS));
    start_some(&c, r, 21);
    answered(r, 21);
    assert_in_range(most_active, 2, 4);
    assert_int_equal(app.accepted, 2);
    close_both(&c, &app);
}

static void test_too_few_connections_are_not_shared(void **state)
{
    struct ferry_pool_opts opts = share;
    struct fake_app app = {.handler = multiplexes};
    struct request r[20];
    struct callers c;

    opts.connections_max = 2;
    open_both(&c, state, 2, &app, opts);
    assert_false(ferry_pool_multiplexes(c.pool));
    start_some(&c, r, 20);
    answered(r, 20);
    assert_in_range(app.open_max, 1, 2);
    close_both(&c, &app);
}

/* -- applications that do not, or do not say -- */

static void answers(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    while (fake_take(app, fd, &rq))
        if (!fake_answer(app, fd, rq.id, rq.name) || !(rq.flags & FERRY_KEEP_CONN))
            return;
}

static void test_an_application_that_says_nothing(void **state)
{
    struct fake_app app = {.handler = answers};
    struct request r[20];
    struct callers c;

    open_both(&c, state, 2, &app, ask);
    start_some(&c, r, 20);
    answered(r, 20);
    assert_false(ferry_pool_multiplexes(c.pool));
    close_both(&c, &app);
}

/* Its one process must not wait for us, who wait for its answer. */
static void test_one_process_that_says_nothing(void **state)
{
    struct fake_app app = {.handler = answers, .serial = true};
    struct request r[8];
    struct callers c;

    open_both(&c, state, 2, &app, ask);
    fake_sleep_ms(50);
    start_some(&c, r, 8);
    answered(r, 8);
    for (int i = 0; i < 8; i++)
        assert_true(r[i].ended_us - r[i].began_us < 1000000);
    close_both(&c, &app);
}

/* The question must not take the place of a request either. */
static void test_a_cap_of_one_and_an_application_that_says_nothing(void **state)
{
    struct ferry_pool_opts opts = ask;
    struct fake_app app = {.handler = answers};
    struct request r[4];
    struct callers c;

    opts.connections_max = 2;
    open_both(&c, state, 1, &app, opts);
    for (int i = 0; i < 4; i++) {
        r[i] = (struct request){.name = "x"};
        start(c.side, &r[i]);
    }
    for (int i = 0; i < 4; i++) {
        assert_answer(&r[i], "x");
        assert_true(r[i].ended_us - r[i].began_us < 1000000);
    }
    close_both(&c, &app);
}

static void closes_when_asked(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_record_in *in = malloc(sizeof *in);
    struct fake_request rq;

    (void)nth;
    must(in);
    while (fake_take_record(app, fd, in) && in->r.type != FERRY_GET_VALUES)
        if (fake_take_into(in, &rq)) {
            fake_note(app, &rq);
            fake_answer(app, fd, rq.id, rq.name);
        }
    free(in);
}

static void test_an_application_that_closes_when_asked(void **state)
{
    struct fake_app app = {.handler = closes_when_asked};
    struct callers c;

    open_both(&c, state, 1, &app, ask);
    for (int i = 0; i < 120; i++) {
        struct request r = {.name = "x"};

        start(c.side, &r);
        assert_answer(&r, "x");
        fake_sleep_ms(20);
    }
    assert_in_range(app.asked, 1, 3); /* less and less often */
    assert_false(ferry_pool_multiplexes(c.pool));
    close_both(&c, &app);
}

static void knows_no_values(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_record_in *in = malloc(sizeof *in);
    struct fake_request rq;

    (void)nth;
    must(in);
    while (fake_take_record(app, fd, in)) {
        if (in->r.type == FERRY_GET_VALUES) {
            if (nth % 2)
                fake_say(app, fd, "UNKNOWN_TYPE 0 x0900000000000000");
            else
                fake_record(app, fd, FERRY_GET_VALUES_RESULT, 0, MPXS_0, sizeof MPXS_0 - 1);
        }
        if (fake_take_into(in, &rq)) {
            fake_note(app, &rq);
            fake_answer(app, fd, rq.id, rq.name);
        }
    }
    free(in);
}

static void test_an_answer_settles_it(void **state)
{
    struct fake_app app = {.handler = knows_no_values};
    struct callers c;

    for (unsigned first = 0; first < 2; first++) {
        app = (struct fake_app){.handler = knows_no_values, .accepted = first};
        open_both(&c, state, 1, &app, ask);
        for (int i = 0; i < 22; i++) {
            struct request r = {.name = "x"};

            start(c.side, &r);
            assert_answer(&r, "x");
            fake_sleep_ms(50);
        }
        assert_int_equal(app.asked, 1);
        assert_false(ferry_pool_multiplexes(c.pool));
        close_both(&c, &app);
    }
}

static bool half_first;

/* Takes one request at a time, and refuses the others of a connection. */
static void cannot_multiplex(struct fake_app *app, int fd, unsigned nth)
{
    struct mpx *m = mpx_new(app, fd);
    struct fake_request *rq;
    char script[200];

    (void)nth;
    while (mpx_take(m, &rq)) {
        if (!rq)
            continue;
        if (m->nactive > 1) {
            snprintf(script, sizeof script, "%s END_REQUEST %u x0000000001000000",
                     half_first ? "STDOUT 2 'half';" : "", rq->id);
            rq->id = 0;
            m->nactive--;
            atomic_store(&app->go, true);
            fake_say(app, fd, script);
        } else {
            while (!atomic_load(&app->go) && !atomic_load(&app->stopping)) {
                struct fake_request *second;

                if (!mpx_take(m, &second))
                    break;
                if (!second)
                    continue;
                snprintf(script, sizeof script, "%s END_REQUEST %u x0000000001000000",
                         half_first ? "STDOUT 2 'half';" : "", second->id);
                second->id = 0;
                m->nactive--;
                atomic_store(&app->go, true); /* first: it comes back on another connection */
                fake_say(app, fd, script);
            }
            if (!mpx_end(m, rq))
                break;
        }
    }
    free(m);
}

static bool one_open(void *app)
{
    return atomic_load(&((struct fake_app *)app)->open) <= 1;
}

static void test_an_application_that_cannot_after_all(void **state)
{
    struct fake_app app = {.handler = cannot_multiplex};
    struct request r[10];
    struct callers c;

    half_first = false;
    open_both(&c, state, 1, &app, share);
    start_some(&c, r, 10);
    answered(r, 10);
    assert_false(ferry_pool_multiplexes(c.pool));
    for (int i = 0; i < 10; i++) {
        start_some(&c, r, 1);
        answered(r, 1);
    }
    close_both(&c, &app);
}

static void test_a_refused_request_is_not_answered_twice(void **state)
{
    struct fake_app app = {.handler = cannot_multiplex};
    struct request r[2];
    struct callers c;

    half_first = true;
    open_both(&c, state, 1, &app, share);
    start_some(&c, r, 2);
    assert_answer(&r[0], "a");
    assert_outcome(&r[1], CUT);
    assert_string_equal(r[1].out, "half");
    close_both(&c, &app);
}

/* -- abort -- */

/* Answers an abort late, and says something in between. */
static void acknowledges_late(struct fake_app *app, int fd, unsigned nth)
{
    struct mpx *m = mpx_new(app, fd);
    struct fake_request *rq;

    (void)nth;
    while (mpx_take(m, &rq)) {
        if (m->in.r.type == FERRY_ABORT_REQUEST) {
            fake_wait_go(app);
            fake_say(app, fd, "STDOUT 2 'stray'; STDERR 2 'stray'");
            mpx_end(m, &m->active[2]);
        }
        if (rq && rq->name[0] == 'n') /* "next" */
            mpx_end(m, rq);
        if (rq && atomic_load(&app->go))
            for (int id = 1; id < IDS; id++)
                if (m->active[id].id && m->active[id].whole)
                    mpx_end(m, &m->active[id]);
    }
    free(m);
}

static bool got_abort(void *app)
{
    return atomic_load(&((struct fake_app *)app)->aborts) > 0;
}

static bool three_requests(void *app)
{
    return atomic_load(&((struct fake_app *)app)->requests) >= 3;
}

static void test_an_abort_leaves_the_others_alone(void **state)
{
    struct fake_app app = {.handler = acknowledges_late};
    struct request r[3], next[3] = {{.name = "next"}, {.name = "next"}, {.name = "next"}};
    struct callers c;

    open_both(&c, state, 1, &app, share);
    start_some(&c, r, 3);
    assert_true(wait_for(three_requests, &app, WAIT_MS));
    in_loop(c.side, abort_here, &r[1]);
    assert_true(wait_for(got_abort, &app, WAIT_MS));
    for (int i = 0; i < 3; i++)
        start(c.side, &next[i]);
    app.go = true;
    for (int i = 0; i < 3; i++)
        assert_answer(&next[i], "next"); /* on other ids than 2: mpx_take sees to that */
    assert_answer(&r[0], "a");
    assert_answer(&r[2], "c");
    assert_false(has_ended(&r[1]));
    assert_int_equal(r[1].got, 0);
    assert_int_equal(app.accepted, 1);
    assert_int_equal(app.aborts, 1);
    close_both(&c, &app);
}

/* Takes 4 at once, answers those named "b", and never ends what was aborted. */
static void never_acknowledges(struct fake_app *app, int fd, unsigned nth)
{
    struct mpx *m = mpx_new(app, fd);
    struct fake_request *rq;

    (void)nth;
    while (mpx_take(m, &rq)) {
        if (m->in.r.type == FERRY_GET_VALUES)
            VALUES(m, MPXS_1 MAX_REQS(4));
        if (rq && rq->name[0] == 'b')
            mpx_end(m, rq);
    }
    free(m);
}

static bool four_requests(void *app)
{
    return atomic_load(&((struct fake_app *)app)->requests) >= 4;
}

static void test_aborted_requests_that_never_end(void **state)
{
    struct fake_app app = {.handler = never_acknowledges};
    struct request r[4], next = {.name = "b"};
    struct callers c;

    open_both(&c, state, 1, &app, ask);
    assert_true(wait_for(multiplexing, c.pool, WAIT_MS));
    for (int i = 0; i < 4; i++) {
        r[i] = (struct request){.name = "stuck"};
        start(c.side, &r[i]);
    }
    assert_true(wait_for(four_requests, &app, WAIT_MS));
    for (int i = 0; i < 4; i++)
        in_loop(c.side, abort_here, &r[i]);
    start(c.side, &next);
    assert_answer(&next, "b");
    assert_true(wait_for(one_open, &app, WAIT_MS));
    close_both(&c, &app);
}

/* -- death -- */

static void dies_with_many(struct fake_app *app, int fd, unsigned nth)
{
    struct mpx *m = mpx_new(app, fd);
    struct fake_request *rq;
    unsigned n = 0;

    while (mpx_take(m, &rq)) {
        if (!rq)
            continue;
        if ((nth == 0 && n == 0 && atomic_load(&batch)) || nth > 0)
            mpx_end(m, rq);
        else if (m->nactive == 40)
            break;
        n++;
    }
    free(m);
}

static void start_forty(struct callers *c, struct request *r)
{
    static char names[40][8];

    for (int i = 0; i < 40; i++) {
        snprintf(names[i], sizeof names[i], "%d", i);
        r[i] = (struct request){.name = names[i], .idempotent = i % 2};
        start(c->side, &r[i]);
    }
}

static void test_a_kept_shared_connection_that_dies(void **state)
{
    struct fake_app app = {.handler = dies_with_many};
    struct request first = {.name = "first"}, r[40];
    char log[sizeof app.log];
    size_t n = (size_t)snprintf(log, sizeof log, "first ");
    struct callers c;

    batch = 1; /* the first is answered */
    open_both(&c, state, 1, &app, share);
    start(c.side, &first);
    assert_answer(&first, "first");
    start_forty(&c, r);
    for (int i = 0; i < 40; i++)
        if (i % 2)
            assert_answer(&r[i], r[i].name);
        else
            assert_outcome(&r[i], CUT);
    /* Those that were sent again went in the order of their age. */
    for (int i = 0; i < 40; i++)
        n += (size_t)snprintf(log + n, sizeof log - n, "%d ", i);
    for (int i = 1; i < 40; i += 2)
        n += (size_t)snprintf(log + n, sizeof log - n, "%d ", i);
    assert_log(&app, log);
    close_both(&c, &app);
}

static void test_a_new_shared_connection_that_dies(void **state)
{
    struct fake_app app = {.handler = dies_with_many};
    struct request r[40], next = {.name = "next"};
    struct callers c;

    batch = 0;
    open_both(&c, state, 1, &app, share);
    start_forty(&c, r);
    for (int i = 0; i < 40; i++)
        assert_outcome(&r[i], CUT);
    start(c.side, &next);
    assert_answer(&next, "next");
    close_both(&c, &app);
}

/* -- bodies -- */

static void test_bodies_on_shared_connections(void **state)
{
    struct fake_app app = {.handler = multiplexes};
    struct request r[12];
    struct callers c;
    char text[64];

    open_both(&c, state, 1, &app, share);
    for (int i = 0; i < 12; i++) {
        r[i] = (struct request){.name = "body", .body_len = 900000, .exclusive = i >= 9};
        start(c.side, &r[i]);
    }
    snprintf(text, sizeof text, "900000 %llx", (unsigned long long)body_sum(900000));
    for (int i = 0; i < 12; i++)
        assert_answer(&r[i], text);
    assert_in_range(app.accepted, 2, 4); /* nine share one */
    close_both(&c, &app);
}

static void test_closing_waits_for_shared_calls(void **state)
{
    struct fake_app app = {.handler = multiplexes_in_batches};
    struct request r[10];
    struct callers c;

    batch = 11;
    open_both(&c, state, 1, &app, share);
    start_some(&c, r, 9);
    in_loop(c.side, close_side_here, c.side);
    fake_sleep_ms(50);
    assert_false(is_closed(c.side));
    app.go = true;
    start_some(&c, r + 9, 1);
    answered(r, 10);
    assert_true(wait_for(is_closed, c.side, WAIT_MS));
    c.n = 0;
    pthread_join(c.side[0].id, NULL);
    ferry_pool_local_free(c.side[0].local);
    ferry_loop_free(c.side[0].loop);
    close_both(&c, &app);
}

#define TESTS(X)                                                                                   \
    X(test_one_shared_connection_a_thread)                                                         \
    X(test_answers_come_in_any_order)                                                              \
    X(test_no_more_at_once_than_the_application_says)                                              \
    X(test_too_few_connections_are_not_shared)                                                     \
    X(test_an_application_that_says_nothing)                                                       \
    X(test_one_process_that_says_nothing)                                                          \
    X(test_a_cap_of_one_and_an_application_that_says_nothing)                                      \
    X(test_an_application_that_closes_when_asked)                                                  \
    X(test_an_answer_settles_it)                                                                   \
    X(test_an_application_that_cannot_after_all)                                                   \
    X(test_a_refused_request_is_not_answered_twice)                                                \
    X(test_an_abort_leaves_the_others_alone)                                                       \
    X(test_aborted_requests_that_never_end)                                                        \
    X(test_a_kept_shared_connection_that_dies)                                                     \
    X(test_a_new_shared_connection_that_dies)                                                      \
    X(test_bodies_on_shared_connections)                                                           \
    X(test_closing_waits_for_shared_calls)

int main(void)
{
#define X(f) on_both(f),
    const struct CMUnitTest tests[] = {TESTS(X)};
#undef X

    return cmocka_run_group_tests(tests, NULL, NULL);
}
