/* SPDX-License-Identifier: MIT */
#include "call/line.h"

#include "../unit/loops.h"
#include "call/draft.h"
#include "fake_app.h"

/* A line, and all that was told of it. */
struct caller {
    struct ferry_line line;
    struct ferry_draft draft;
    struct fake_app app;
    unsigned asks;           /* to be asked still, from `done` on */
    bool calling, closes_it; /* within a call of ours; close it when the answer begins */
    unsigned connected, done, closed, values;
    struct ferry_outcome outcome;
    struct ferry_conn_values said;
    char out[256], errors[256];
    size_t out_len, errors_len;
    uint64_t tapped[2];
};

static struct caller *caller_of(struct ferry_line *line)
{
    return ferry_container(line, struct caller, line);
}

static void keep(char *to, size_t *len, struct ferry_slice s)
{
    assert_true(*len + s.len < 256);
    memcpy(to + *len, s.p, s.len);
    *len += s.len;
}

static void ask(struct caller *c)
{
    struct ferry_line_request request = {c->draft.image, &c->draft.body,
                                         c->draft.data.len ? &c->draft.data : NULL};

    c->calling = true;
    ferry_line_ask(&c->line, &request);
    c->calling = false;
}

static void on_connected(struct ferry_line *line)
{
    caller_of(line)->connected++;
}

static void on_out(struct ferry_line *line, struct ferry_slice s)
{
    struct caller *c = caller_of(line);

    keep(c->out, &c->out_len, s);
    if (c->closes_it)
        ferry_line_close(line);
}

static void on_errors(struct ferry_line *line, struct ferry_slice s)
{
    keep(caller_of(line)->errors, &caller_of(line)->errors_len, s);
}

static void on_values(struct ferry_line *line, const struct ferry_conn_values *v)
{
    caller_of(line)->values++;
    if (v)
        caller_of(line)->said = *v;
}

static void on_done(struct ferry_line *line, const struct ferry_outcome *outcome)
{
    struct caller *c = caller_of(line);

    assert_false(c->calling);
    c->done++;
    c->outcome = *outcome;
    if (c->asks > 0) {
        c->asks--;
        ask(c);
    } else {
        ferry_line_close(line);
    }
}

static void on_tap(struct ferry_line *line, bool ours, struct ferry_slice s)
{
    assert_true(s.len > 0);
    caller_of(line)->tapped[ours] += s.len;
}

static void on_closed(struct ferry_line *line)
{
    assert_false(caller_of(line)->calling);
    caller_of(line)->closed++;
    ferry_loop_stop(line->loop);
}

static const struct ferry_line_fns fns = {
    .connected = on_connected,
    .out = on_out,
    .errors = on_errors,
    .values = on_values,
    .done = on_done,
    .tap = on_tap,
    .closed = on_closed,
};

/* A line to an application that does so. */
static struct caller *dial(void **state, fake_handler *handler)
{
    struct caller *c = calloc(1, sizeof *c);
    const char *why;

    assert_non_null(c);
    c->line.loop = loop_for(state);
    c->line.fns = &fns;
    c->app.handler = handler;
    fake_listen(&c->app, 16);
    fake_start(&c->app);
    assert_int_equal(ferry_addr_parse(c->app.path, false, &c->line.addr, &why), 0);
    c->draft.script = "/first";
    return c;
}

static void seal(struct caller *c)
{
    assert_int_equal(ferry_draft_seal(&c->draft), 0);
}

static void hang_up(struct caller *c)
{
    assert_int_equal(c->closed, 1);
    ferry_loop_free(c->line.loop);
    fake_stop(&c->app);
    ferry_draft_fini(&c->draft);
    free(c);
}

/* -- the applications -- */

static void answers(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    while (fake_take(app, fd, &rq) &&
           fake_answer(app, fd, rq.id, "Content-Type: text/plain\r\n\r\nyes"))
        ;
}

/* Takes a second request of a connection, and says nothing to it. */
static void answers_once(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    if (fake_take(app, fd, &rq) && fake_answer(app, fd, rq.id, "Status: 200\r\n\r\nyes"))
        fake_take(app, fd, &rq);
}

static void hangs(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    if (fake_take(app, fd, &rq))
        fake_drain(app, fd);
}

static void says_values(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_record_in in;

    (void)nth;
    if (fake_take_record(app, fd, &in))
        fake_record(app, fd, atomic_load(&app->go) ? FERRY_UNKNOWN_TYPE : FERRY_GET_VALUES_RESULT,
                    0, atomic_load(&app->go) ? "\11\0\0\0\0\0\0\0" : "\16\2FCGI_MAX_CONNS12",
                    atomic_load(&app->go) ? 8 : 18);
    fake_drain(app, fd);
}

/* -- the tests -- */

static void test_a_request(void **state)
{
    struct caller *c = dial(state, answers);

    assert_int_equal(ferry_draft_data(&c->draft, FERRY_DRAFT_RAW, "the body"), 0);
    seal(c);
    ask(c);
    run(c->line.loop);
    assert_int_equal(c->outcome.result, FERRY_RESULT_DONE);
    assert_int_equal(c->outcome.protocol_status, FERRY_REQUEST_COMPLETE);
    assert_slice_equal(ferry_slice(c->out, c->out_len), "Content-Type: text/plain\r\n\r\nyes");
    assert_int_equal(c->done, 1);
    assert_int_equal(c->connected, 1);
    assert_int_equal(atomic_load(&c->app.not_kept), 1);
    assert_int_equal(c->tapped[1], c->line.sent);
    assert_int_equal(c->tapped[0], c->line.received);
    /* It counts what it has written a moment after we may have read it. */
    for (int i = 0; i < 10000 && atomic_load(&c->app.sent) < c->line.received; i++)
        fake_sleep_ms(1);
    assert_int_equal(c->line.sent, atomic_load(&c->app.received));
    assert_int_equal(c->line.received, atomic_load(&c->app.sent));
    assert_in_range(c->line.connected_us, c->line.asked_us, c->line.first_us);
    assert_in_range(c->line.first_us, c->line.connected_us, c->line.done_us);
    hang_up(c);
}

static void many(void **state, fake_handler *handler, bool kept, unsigned connects, unsigned again)
{
    struct caller *c = dial(state, handler);

    c->line.keep = kept;
    c->asks = 4;
    seal(c);
    ask(c);
    run(c->line.loop);
    assert_int_equal(c->done, 5);
    assert_int_equal(c->outcome.result, FERRY_RESULT_DONE);
    assert_int_equal(c->line.connects, connects);
    assert_int_equal(c->line.again, again);
    hang_up(c);
}

static void test_kept(void **state)
{
    many(state, answers, true, 1, 0);
}

static void test_not_kept(void **state)
{
    many(state, answers, false, 5, 0);
}

/* What a kept connection was closed under is asked once more, on another. */
static void test_stale(void **state)
{
    many(state, answers_once, true, 5, 4);
}

static void test_deadline(void **state)
{
    struct caller *c = dial(state, hangs);

    c->line.total_ms = 30;
    seal(c);
    ask(c);
    run(c->line.loop);
    assert_int_equal(c->done, 1);
    assert_int_equal(c->outcome.result, FERRY_RESULT_TIMEOUT);
    assert_int_equal(c->line.first_us, 0);
    hang_up(c);
}

static void test_refused(void **state)
{
    struct caller *c = dial(state, answers);

    unlink(c->app.path);
    c->asks = 2;
    seal(c);
    ask(c);
    run(c->line.loop);
    assert_int_equal(c->done, 3);
    assert_int_equal(c->outcome.result, FERRY_RESULT_REFUSED);
    assert_int_equal(c->outcome.err, -ENOENT);
    hang_up(c);
}

static void test_scripts(void **state)
{
    static const struct {
        const char *script;
        enum ferry_result result;
        const char *errors;
    } cases[] = {
        {"STDERR 1 'oh'; STDOUT 1 'A: b'; END_REQUEST 1 x0000000000000000", FERRY_RESULT_DONE,
         "oh"},
        {"STDERR 1 'oh'; END_REQUEST 1 x0000000002000000", FERRY_RESULT_OVERLOADED, "oh"},
        {"END_REQUEST 1 x0000000003000000", FERRY_RESULT_BAD_ROLE, ""},
        {"END_REQUEST 1 x0000000001000000", FERRY_RESULT_CUT, ""},
        {"STDOUT 1; STDOUT 1 'more'", FERRY_RESULT_BAD, ""},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct caller *c = dial(state, fake_script);

        atomic_store(&c->app.script, cases[i].script);
        seal(c);
        ask(c);
        run(c->line.loop);
        assert_int_equal(c->done, 1);
        assert_int_equal(c->outcome.result, cases[i].result);
        assert_string_equal(c->errors, cases[i].errors);
        hang_up(c);
    }
}

static void test_values(void **state)
{
    for (int unknown = 0; unknown < 2; unknown++) {
        struct caller *c = dial(state, says_values);

        atomic_store(&c->app.go, unknown == 1);
        c->said.max_conns = 0;
        ferry_line_values(&c->line);
        run(c->line.loop);
        assert_int_equal(c->values, 1);
        assert_int_equal(c->done, 1);
        assert_int_equal(c->said.max_conns, unknown ? 0 : 12);
        hang_up(c);
    }
}

/* Given up: nothing is called but `closed`. */
static void test_closing(void **state)
{
    struct caller *c = dial(state, answers);

    ferry_line_close(&c->line); /* never used */
    run(c->line.loop);
    hang_up(c);

    c = dial(state, hangs);
    seal(c);
    ask(c);
    ferry_line_close(&c->line); /* while it connects */
    run(c->line.loop);
    assert_int_equal(c->done, 0);
    hang_up(c);

    c = dial(state, answers);
    c->closes_it = true;
    seal(c);
    ask(c);
    run(c->line.loop);
    assert_int_equal(c->done, 0);
    assert_true(c->out_len > 0);
    hang_up(c);
}

static void scenario(void *arg)
{
    struct caller *c = arg;
    struct ferry_line *line = &c->line;
    struct ferry_line fresh = {.loop = line->loop, .fns = &fns, .addr = line->addr, .keep = true};

    *line = fresh;
    c->done = c->closed = 0;
    c->out_len = c->errors_len = 0;
    c->asks = 1;
    ask(c);
    run(line->loop);
    assert_int_equal(c->done, 2);
    assert_int_equal(c->closed, 1);
    if (!alloc_failed())
        assert_int_equal(c->outcome.result, FERRY_RESULT_DONE);
}

static void test_no_memory(void **state)
{
    struct caller *c = dial(state, answers);

    assert_int_equal(ferry_draft_data(&c->draft, FERRY_DRAFT_RAW, "the body"), 0);
    seal(c);
    each_alloc_fails(scenario, c);
    hang_up(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_both(test_a_request), on_both(test_kept),     on_both(test_not_kept),
        on_both(test_stale),     on_both(test_deadline), on_both(test_refused),
        on_both(test_scripts),   on_both(test_values),   on_both(test_closing),
        on_both(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
