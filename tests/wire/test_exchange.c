/* SPDX-License-Identifier: MIT */
/* An exchange with a scripted application: how it ends, what is told, bodies, pauses, cancelling.
 */
#include "exchanges.h"

#include <fcntl.h>
#include <limits.h>

/* -- how it ends -- */

struct conversation {
    const char *name, *script; /* what the application says; NULL: it closes */
    const char *result;
    const char *heads, *out, *errors;
    uint32_t app_status;
    int protocol_status;
    bool closes; /* behind that */
};

#define END "; STDOUT 1; END_REQUEST 1 x0000000000000000"
#define PLAIN "200  len=-1 Content-Type: text/plain; |"

static const struct conversation conversations[] = {
    {"an answer",
     "STDOUT 1 x436f6e74656e742d547970653a20746578742f706c61696e0d0a0d0a68656c6c6f" END, "DONE",
     PLAIN, "hello", "", 0, 0, false},
    {"its status", "STDOUT 1 x5374617475733a20323031204d6164650a0a" END "; STDERR 1 'late'", "DONE",
     "201 Made len=-1 |", "", "", 0, 0, false},
    {"an exit code", "STDOUT 1 x5374617475733a203230300a0a6f6b; END_REQUEST 1 x0000002a00000000",
     "DONE", "200  len=-1 |", "ok", "", 42, 0, false},
    {"errors apart",
     "STDERR 1 'one'; STDOUT 1 x5374617475733a203230300a0a61; STDERR 1 'two'; STDOUT 1 'b'" END,
     "DONE", "200  len=-1 |", "ab", "onetwo", 0, 0, false},
    {"a head in pieces",
     "STDOUT 1 x537461; STDOUT 1 x7475733a203230; STDOUT 1 x340a0a; STDOUT 1 'ab'" END, "DONE",
     "204  len=-1 |", "ab", "", 0, 0, false},
    {"interim heads, all in one",
     "STDOUT 1 x5374617475733a203130330a413a20310a0a5374617475733a203230300a423a20320a0a6f6b" END,
     "DONE", "103  len=-1 A: 1; |200  len=-1 B: 2; |", "ok", "", 0, 0, false},
    {"interim heads, in pieces",
     "STDOUT 1 x5374617475733a203130330a; STDOUT 1 x413a20310a0a5374; STDOUT 1 "
     "x617475733a203230300a423a20320a0a6f; STDOUT 1 'k'" END,
     "DONE", "103  len=-1 A: 1; |200  len=-1 B: 2; |", "ok", "", 0, 0, false},
    {"a length", "STDOUT 1 x436f6e74656e742d4c656e6774683a20320a0a6162" END, "DONE", "200  len=2 |",
     "ab", "", 0, 0, false},
    {"nothing", "STDERR 1 'why'; STDOUT 1; END_REQUEST 1 x0000000000000000", "BAD", "", "", "why",
     0, 0, false},
    {"a head without end", "STDOUT 1 x413a20620a" END, "BAD", "", "", "", 0, 0, false},
    {"no head", "STDOUT 1 'hello'; STDOUT 1 x0a0a" END, "BAD", "", "", "", 0, -1, false},
    {"a bad second head", "STDOUT 1 x5374617475733a203130330a0a; STDOUT 1 x620a0a" END, "BAD",
     "103  len=-1 |", "", "", 0, -1, false},
    {"no role", "END_REQUEST 1 x0000000003000000", "BAD_ROLE", "", "", "", 0, FERRY_UNKNOWN_ROLE,
     false},
    {"overload, behind bytes", "STDERR 1 'a'; END_REQUEST 1 x0000000002000000", "OVERLOADED", "",
     "", "a", 0, FERRY_OVERLOADED, false},
    {"it cannot multiplex", "END_REQUEST 1 x0000000001000000", "CUT", "", "", "", 0,
     FERRY_CANT_MPX_CONN, false},
    {"a close", NULL, "CUT", "", "", "", 0, -1, true},
    {"a close in the head", "STDOUT 1 x413a20620a", "CUT", "", "", "", 0, -1, true},
    {"a close in the body", "STDOUT 1 x413a20620a0a63", "CUT", "200  len=-1 A: b; |", "c", "", 0,
     -1, true},
    {"a close before the end", "STDOUT 1 x413a20620a0a; STDOUT 1", "CUT", "200  len=-1 A: b; |", "",
     "", 0, -1, true},
    {"garbage", "v9 STDOUT 1 'x'", "CUT", "", "", "", 0, -1, false},
    {"somebody else's answer", "STDOUT 2 'x'", "CUT", "", "", "", 0, -1, false},
};

static const struct conversation *current;

static void says(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    if (!fake_take(app, fd, &rq))
        return;
    if (current->script)
        fake_say(app, fd, current->script);
    if (!current->closes)
        fake_drain(app, fd);
}

static void assert_conversation(void **state, const struct conversation *c)
{
    struct asked a = {0};
    struct site s;

    current = c;
    site_open(&s, state, says, single);
    ask(&s, &a);
    until_over(&s, &a);
    if (strcmp(result_name(a.outcome.result), c->result) != 0)
        fail_msg("%s: %s (%s), not %s", c->name, result_name(a.outcome.result), a.outcome.text,
                 c->result);
    if (strcmp(a.heads, c->heads) != 0 || strcmp(a.out, c->out) != 0 ||
        strcmp(a.errors, c->errors) != 0)
        fail_msg("%s: heads '%s', body '%s', errors '%s'", c->name, a.heads, a.out, a.errors);
    if (a.outcome.app_status != c->app_status || a.outcome.protocol_status != c->protocol_status)
        fail_msg("%s: app status %u, protocol status %d", c->name, a.outcome.app_status,
                 a.outcome.protocol_status);
    if (a.outcome.result != FERRY_RESULT_DONE)
        assert_true(a.outcome.err != 0 && a.outcome.text[0]);
    forget(&a);
    site_close(&s);
}

static void each_conversation_ends_as_it_should(void **state)
{
    for (size_t i = 0; i < sizeof conversations / sizeof *conversations; i++)
        assert_conversation(state, &conversations[i]);
}

static void nobody_listens(void **state)
{
    struct asked a = {0};
    struct site s;

    site_open(&s, state, answers, single);
    unlink(s.app.path);
    ask(&s, &a);
    assert_result(&s, &a, REFUSED);
    assert_int_equal(a.outcome.err, -ENOENT);
    assert_int_equal(a.outcome.protocol_status, -1);
    forget(&a);
    site_close(&s);
}

static void is_silent(struct fake_app *app, int fd, unsigned nth)
{
    (void)nth;
    fake_drain(app, fd);
}

static void deadlines_end_it(void **state)
{
    struct asked slow = {0}, waiting = {0}, refused[3] = {{0}};
    struct ferry_client_opts opts = single;
    struct site s;

    opts.connections_max = 1;
    opts.queue_max = 1;
    opts.queue_timeout_ms = 300;
    site_open(&s, state, is_silent, opts);
    ask_with(&s, &slow, (struct ferry_exchange_opts){.total_ms = 2000});
    ferry_exchange_end(slow.x);
    go(&slow);
    ask(&s, &waiting);
    ask(&s, &refused[0]);
    assert_result(&s, &refused[0], OVERLOADED);
    assert_result(&s, &waiting, QUEUE_TIMEOUT);
    assert_result(&s, &slow, TIMEOUT);
    assert_int_equal(ferry_result_status(slow.outcome.result), 504);
    forget(&slow);
    forget(&waiting);
    forget(&refused[0]);
    site_close(&s);
}

static void results_have_texts_and_statuses(void **state)
{
    (void)state;
#define X(name, status, text)                                                                      \
    assert_string_equal(ferry_result_text(FERRY_RESULT_##name), text);                             \
    assert_int_equal(ferry_result_status(FERRY_RESULT_##name), status);
    FERRY_RESULT_MAP(X)
#undef X
}

static void without_functions_it_still_ends(void **state)
{
    struct asked raw = {0}, deaf = {0};
    struct site s;

    current = &conversations[3];
    site_open(&s, state, says, single);
    ask_with(&s, &raw, (struct ferry_exchange_opts){.fns = &raw_fns});
    ask_with(&s, &deaf, (struct ferry_exchange_opts){.fns = &deaf_fns});
    ferry_exchange_end(raw.x);
    ferry_exchange_end(deaf.x);
    go(&raw);
    go(&deaf);
    assert_result(&s, &raw, DONE);
    assert_string_equal(raw.out, "Status: 200\n\nab");
    assert_result(&s, &deaf, DONE);
    forget(&raw);
    forget(&deaf);
    site_close(&s);
}

static void a_head_has_a_limit(void **state)
{
    static const struct conversation c = {.script = "STDOUT 1 x413a20; STDOUT 1 #5000"};
    struct asked a = {0}, b = {0};
    struct site s;

    current = &c;
    site_open(&s, state, says, single);
    ask_with(&s, &a, (struct ferry_exchange_opts){.head_max = 1000});
    ferry_exchange_end(a.x);
    go(&a);
    assert_result(&s, &a, BAD);
    assert_int_equal(a.outcome.err, FERRY_ELIMIT);
    ask_with(&s, &b, (struct ferry_exchange_opts){.head_max = 1000});
    assert_int_equal(ferry_exchange_param(b.x, FERRY_SLICE("X"), ferry_slice("", (32u << 20))),
                     FERRY_ELIMIT);
    forget(&a);
    forget(&b);
    site_close(&s);
}

static void reset(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    if (!fake_take(app, fd, &rq))
        return;
    fake_say(app, fd, "STDOUT 1 x413a20620a0a; STDOUT 1 'part'");
    /* Closed with the rest of the body unread, a unix socket resets. */
    fake_sleep_ms(20);
}

static void takes_some_and_closes(struct fake_app *app, int fd, unsigned nth)
{
    char bytes[64];

    (void)nth;
    fake_read(app, fd, bytes, sizeof bytes);
}

static void a_reset_is_a_cut(void **state)
{
    static char piece[10001];
    struct asked a = {.body = piece, .body_left = 50 << 20}, b = {0};
    struct site s;

    memset(piece, 'b', 10000);
    site_open(&s, state, takes_some_and_closes, single);
    ask_with(&s, &a, (struct ferry_exchange_opts){0});
    go(&a);
    write_more(&a);
    assert_result(&s, &a, CUT);
    assert_int_equal(ferry_exchange_write(a.x, "x", 1), FERRY_ECLOSED);
    forget(&a);
    site_close(&s);

    site_open(&s, state, reset, single);
    ask(&s, &b);
    assert_result(&s, &b, CUT);
    assert_string_equal(b.out, "part");
    forget(&b);
    site_close(&s);
}

/* -- the answer -- */

enum { FLOOD = 24 << 20 };

/* The last part of the answer takes as long as the client does. */
static void floods(struct fake_app *app, int fd, unsigned nth)
{
    static char piece[65528];
    struct fake_request rq;

    (void)nth;
    while (fake_take(app, fd, &rq)) {
        char head[64];
        unsigned left = FLOOD;

        snprintf(head, sizeof head, "STDOUT %u x413a20620a0a", rq.id);
        if (!fake_say(app, fd, head))
            return;
        while (left) {
            size_t n = left < sizeof piece ? left : sizeof piece;

            if (!fake_record(app, fd, FERRY_STDOUT, rq.id, piece, n))
                return;
            left -= (unsigned)n;
        }
        if (!fake_answer(app, fd, rq.id, ""))
            return;
    }
}

static void a_flood_comes_through(void **state)
{
    struct asked a = {0};
    struct site s;

    site_open(&s, state, floods, single);
    ask(&s, &a);
    assert_result(&s, &a, DONE);
    assert_int_equal(a.out_total, FLOOD);
    forget(&a);
    site_close(&s);
}

static void a_slow_reader_holds_the_application_back(void **state)
{
    struct asked a = {.pauses_at_head = true};
    struct site s;

    site_open(&s, state, floods, single);
    ask(&s, &a);
    until(&s, a.heads[0]);
    site_turns(&s, 200);
    assert_string_equal(a.heads, "200  len=-1 A: b; |");
    assert_int_equal(a.out_total, 0);
    assert_true(atomic_load(&s.app.sent) < 4 << 20);
    ferry_exchange_pause(a.x, false);
    assert_result(&s, &a, DONE);
    assert_int_equal(a.out_total, FLOOD);
    forget(&a);
    site_close(&s);
}

/* Where others share the connection, what comes is kept, and nobody waits for the slow one. */
static void a_slow_reader_does_not_hold_others_back(void **state)
{
    struct asked slow = {.pauses_at_head = true}, quick = {0};
    struct site s;

    site_open(&s, state, floods, shared);
    ask(&s, &slow);
    ask(&s, &quick);
    assert_result(&s, &quick, DONE);
    assert_int_equal(quick.out_total, FLOOD);
    assert_int_equal(s.app.accepted, 1);
    assert_int_equal(slow.out_total, 0);
    assert_false(slow.over);
    ferry_exchange_pause(slow.x, false);
    assert_result(&s, &slow, DONE);
    assert_int_equal(slow.out_total, FLOOD);
    forget(&slow);
    forget(&quick);
    site_close(&s);
}

static void a_pause_stops_at_the_byte(void **state)
{
    /* interim and final head and body come as one: told one by one */
    static const struct conversation *c = &conversations[5];

    for (int multiplexed = 0; multiplexed < 2; multiplexed++) {
        struct asked a = {.pauses_at_head = true, .pauses_each = true};
        struct site s;

        current = c;
        site_open(&s, state, says, multiplexed ? shared : single);
        ask(&s, &a);
        until(&s, a.heads[0]);
        site_turns(&s, 50);
        assert_string_equal(a.heads, "103  len=-1 A: 1; |");
        ferry_exchange_pause(a.x, false);
        until(&s, strlen(a.heads) > 30);
        site_turns(&s, 50);
        assert_string_equal(a.heads, c->heads);
        assert_string_equal(a.out, "");
        assert_false(a.over);
        ferry_exchange_pause(a.x, false);
        assert_result(&s, &a, DONE);
        assert_string_equal(a.out, "ok");
        forget(&a);
        site_close(&s);
    }
}

/* -- giving up -- */

static void cancelled_before_it_starts(void **state)
{
    struct asked a = {0}, b = {0};
    struct site s;

    site_open(&s, state, answers, single);
    ask_with(&s, &a, (struct ferry_exchange_opts){0});
    a.inside = true;
    ferry_exchange_cancel(a.x);
    ferry_exchange_start(a.x);
    a.inside = false;
    assert_result(&s, &a, CANCELLED);
    assert_string_equal(a.out, "");
    assert_string_equal(a.heads, "");
    assert_string_equal(a.errors, "ferry: cancelled");
    assert_int_equal(a.outcome.err, FERRY_EABORTED);
    assert_int_equal(s.app.accepted, 0);
    forget(&a);
    /* in the turn that starts it */
    ask(&s, &b);
    ferry_exchange_cancel(b.x);
    ferry_exchange_cancel(b.x);
    assert_result(&s, &b, CANCELLED);
    assert_string_equal(b.errors, "ferry: cancelled");
    forget(&b);
    site_close(&s);
}

static void cancelled_from_within(void **state)
{
    struct asked a[] = {
        {.cancels_at_head = true}, {.cancels_at_out = true}, {.cancels_at_errors = true}};
    static const char *const errors[] = {"oneferry: cancelled", "oneferry: cancelled",
                                         "oneferry: cancelled"};
    struct site s;

    current = &conversations[3];
    site_open(&s, state, says, single);
    for (int i = 0; i < 3; i++) {
        ask(&s, &a[i]);
        assert_result(&s, &a[i], CANCELLED);
        assert_string_equal(a[i].errors, errors[i]);
        assert_string_equal(a[i].out, i == 1 ? "a" : "");
        forget(&a[i]);
    }
    site_close(&s);
}

static void freed_at_any_time(void **state)
{
    struct asked a[] = {{.frees_at_head = true}, {.frees_at_out = true}, {.frees_at_done = true}};
    struct asked never = {0}, running = {0}, paused = {.pauses_at_head = true};
    struct site s;

    current = &conversations[3];
    site_open(&s, state, says, single);
    for (int i = 0; i < 3; i++) {
        ask(&s, &a[i]);
        until_over(&s, &a[i]);
        assert_null(a[i].x);
    }
    ask_with(&s, &never, (struct ferry_exchange_opts){0});
    assert_int_equal(ferry_exchange_write(never.x, "x", 1), 1);
    forget(&never);
    ask(&s, &running);
    forget(&running);
    ask(&s, &paused);
    until(&s, paused.heads[0]);
    forget(&paused);
    ferry_exchange_free(NULL);
    site_close(&s);
    assert_int_equal(running.ndone + never.ndone + paused.ndone, 0);
}

/* Answers each second request it begins, and says nothing of the others until they are aborted. */
static void ends_aborted_ones_late(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_record_in *in = malloc(sizeof *in);
    struct fake_request rq = {0};
    unsigned aborted[64], naborted = 0;
    char script[128];

    (void)nth;
    must(in);
    while (fake_take_record(app, fd, in)) {
        if (in->r.type == FERRY_ABORT_REQUEST && naborted < 64)
            aborted[naborted++] = in->r.id;
        if (!fake_take_into(in, &rq))
            continue;
        fake_note(app, &rq);
        if (strcmp(rq.name, "quiet") == 0)
            continue;
        snprintf(script, sizeof script, "%u", rq.id);
        pthread_mutex_lock(&app->lock);
        for (unsigned i = 0; i < naborted; i++)
            must(aborted[i] != rq.id); /* its id is taken until we have ended it */
        pthread_mutex_unlock(&app->lock);
        if (strcmp(rq.name, "end") == 0)
            while (naborted)
                must(fake_say(app, fd,
                              (snprintf(script, sizeof script,
                                        "STDOUT %u 'late'; END_REQUEST %u x0000000000000000",
                                        aborted[naborted - 1], aborted[naborted - 1]),
                               naborted--, script)));
        snprintf(script, sizeof script, "STDOUT %u x413a20620a0a", rq.id);
        if (!fake_say(app, fd, script))
            break;
        snprintf(script, sizeof script, "%u", rq.id);
        if (!fake_answer(app, fd, rq.id, script))
            break;
    }
    free(in);
}

static void ask_named(struct site *s, struct asked *a, const char *name)
{
    struct ferry_exchange_opts opts = {.size = sizeof opts, .fns = &asked_fns, .user = a};

    assert_int_equal(ferry_exchange_new(s->client, s->loop, &opts, &a->x), 0);
    assert_int_equal(ferry_exchange_param_z(a->x, "NAME", name), 0);
    assert_int_equal(ferry_exchange_end(a->x), 0);
    go(a);
}

static void an_id_is_taken_until_its_end(void **state)
{
    struct site s;

    site_open(&s, state, ends_aborted_ones_late, shared);
    for (int round = 0; round < 3; round++) {
        struct asked quiet[8] = {{0}}, others[8] = {{0}}, end = {0};

        for (int i = 0; i < 8; i++)
            ask_named(&s, &quiet[i], "quiet");
        site_turns(&s, 50);
        for (int i = 0; i < 8; i++) {
            ferry_exchange_cancel(quiet[i].x);
            assert_result(&s, &quiet[i], CANCELLED);
            forget(&quiet[i]);
        }
        for (int i = 0; i < 8; i++) {
            ask_named(&s, &others[i], "other");
            assert_result(&s, &others[i], DONE);
            forget(&others[i]);
        }
        ask_named(&s, &end, "end");
        assert_result(&s, &end, DONE);
        forget(&end);
    }
    assert_int_equal(s.app.aborts, 24);
    assert_int_equal(s.app.accepted, 1);
    site_close(&s);
}

static unsigned open_fds(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* What is left of 10,000 exchanges that were given up, at any point of their lives. */
static void cancelled_ones_leak_nothing(void **state)
{
    struct ferry_client_opts opts = shared;
    unsigned before;
    struct site s;

    site_open(&s, state, ends_aborted_ones_late, opts);
    {
        struct asked warm = {0};

        ask_named(&s, &warm, "other");
        assert_result(&s, &warm, DONE);
        forget(&warm);
    }
    before = open_fds();
    for (int i = 0; i < 10000 / 20; i++) {
        struct asked a[20] = {{0}}, end = {0};

        for (int k = 0; k < 20; k++)
            ask_named(&s, &a[k], k % 2 ? "quiet" : "other");
        if (i % 2)
            ferry_loop_step(s.loop);
        for (int k = 0; k < 20; k++) {
            if (k % 3 == 0)
                ferry_exchange_cancel(a[k].x);
            forget(&a[k]);
        }
        ask_named(&s, &end, "end");
        assert_result(&s, &end, DONE);
        forget(&end);
    }
    assert_int_equal(s.app.accepted, 1);
    assert_int_equal(open_fds(), before);
    site_close(&s);
}

/* -- memory -- */

static void one_of_each(void *state)
{
    static char piece[2001];
    struct asked a = {.body = piece, .body_left = 6000};
    struct ferry_exchange_opts opts = {.size = sizeof opts, .fns = &asked_fns, .user = &a};
    struct ferry_client_opts copts = single;
    struct site *s = *(void **)state;
    int r;

    memset(piece, 'b', 2000);
    copts.size = sizeof copts;
    copts.address = s->app.path;
    s->closed = false;
    if (ferry_client_new(&copts, &s->client) < 0)
        return;
    r = ferry_exchange_new(s->client, s->loop, &opts, &a.x);
    if (r == 0) {
        r = ferry_exchange_param_z(a.x, "NAME", "r");
        if (r == 0)
            write_more(&a);
        if (r == 0 && a.body_left == 0) {
            go(&a);
            until_over(s, &a);
            if (a.outcome.result == FERRY_RESULT_DONE)
                assert_string_equal(a.out, "6000");
        }
        forget(&a);
    }
    ferry_client_close(s->client, s->loop, site_closed, s);
    assert_true(site_waits(s, &s->closed, 60000));
    ferry_client_free(s->client);
}

static void memory_may_be_out(void **state)
{
    struct site s, *at = &s;

    site_open(&s, state, answers, single);
    ferry_client_free(s.client);
    each_alloc_fails(one_of_each, &at);
    ferry_loop_free(s.loop);
    fake_stop(&s.app);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_both(each_conversation_ends_as_it_should),
        on_both(nobody_listens),
        on_both(deadlines_end_it),
        cmocka_unit_test(results_have_texts_and_statuses),
        on_both(without_functions_it_still_ends),
        on_both(a_head_has_a_limit),
        on_both(a_reset_is_a_cut),
        on_both(a_flood_comes_through),
        on_both(a_slow_reader_holds_the_application_back),
        on_both(a_slow_reader_does_not_hold_others_back),
        on_both(a_pause_stops_at_the_byte),
        on_both(cancelled_before_it_starts),
        on_both(cancelled_from_within),
        on_both(freed_at_any_time),
        on_both(an_id_is_taken_until_its_end),
        on_both(cancelled_ones_leak_nothing),
        on_both(memory_may_be_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
