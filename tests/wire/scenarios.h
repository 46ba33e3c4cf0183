/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TESTS_WIRE_SCENARIOS_H
#define FERRY_TESTS_WIRE_SCENARIOS_H

#include "records.h"

/*
 * One connection under torture: what it does with a script must not depend on how the bytes come,
 * whatever part of it comes must be understood as far as it goes, and memory may run out anywhere.
 */

struct scenario {
    const char *duty;   /* of the checklist, or what it is about */
    const char *input;  /* records; see records.h */
    const char *events; /* what must come of them */
    const char *output; /* and be written: all of it, also what `before` and `react` wrote */
    const char *error;  /* the error text, or NULL */
    bool finished;
    uint16_t requests_max;
    uint8_t roles;
    void (*before)(struct ferry_conn *); /* runs first */
    react_fn *react;
};

struct scenario_run {
    const struct scenario *s;
    enum ferry_conn_side side;
    const char *bytes;
    size_t n;
    struct ferry_blocks blocks;
    struct feed feed;
};

static inline bool scenario_open(struct scenario_run *r)
{
    struct ferry_conn_opts o = {.side = r->side,
                                .blocks = &r->blocks,
                                .requests_max = r->s->requests_max,
                                .roles = r->s->roles,
                                .max_conns = 10,
                                .max_reqs = 50};

    ferry_blocks_init(&r->blocks, 2, 2);
    r->feed = (struct feed){.c = ferry_conn_new(&o), .react = r->s->react};
    if (!r->feed.c)
        return false;
    text_init(&r->feed.events);
    if (r->s->before)
        r->s->before(r->feed.c);
    return true;
}

static inline void scenario_close(struct scenario_run *r)
{
    if (r->feed.c)
        text_free(&r->feed.events);
    ferry_conn_free(r->feed.c);
    ferry_blocks_fini(&r->blocks);
}

static inline void scenario_output(struct scenario_run *r, struct text *out)
{
    char *bytes = test_malloc(TEXT_MAX);

    text_init(out);
    text_records(out, bytes, take_output(r->feed.c, bytes, TEXT_MAX));
    test_free(bytes);
}

static inline void scenario_check(struct scenario_run *r, const char *how, size_t detail)
{
    struct text out;

    text_close(&r->feed.events);
    scenario_output(r, &out);
    if (strcmp(r->feed.events.p, r->s->events) || strcmp(out.p, r->s->output))
        print_error("%s, %s %zu:\n", r->s->duty, how, detail);
    assert_string_equal(r->feed.events.p, r->s->events);
    assert_string_equal(out.p, r->s->output);
    assert_string_equal(ferry_conn_error_text(r->feed.c), r->s->error ? r->s->error : "");
    if (r->s->error) {
        struct ferry_conn_event ev;

        /* A-FRM-8: the error stays, nothing more is looked at */
        assert_true(r->feed.err == FERRY_EPROTOCOL || r->feed.err == FERRY_ELIMIT);
        assert_int_equal(ferry_conn_recv(r->feed.c, "\1", 1, 0), r->feed.err);
        assert_int_equal(ferry_conn_event(r->feed.c, &ev), r->feed.err);
    }
    if (ferry_conn_finished(r->feed.c) != (r->s->finished || r->s->error))
        fail_msg("%s, %s %zu: finished is %d", r->s->duty, how, detail, !r->s->finished);
    text_free(&out);
}

/* The input in pieces: at one place, all of one length, or (0) at random. */
static inline void scenario_in_two(struct scenario_run *r, size_t cut)
{
    assert_true(scenario_open(r));
    feed_piece(&r->feed, r->bytes, cut);
    feed_piece(&r->feed, r->bytes + cut, r->n - cut);
    scenario_check(r, "cut at byte", cut);
    scenario_close(r);
}

static inline void scenario_in_steps(struct scenario_run *r, size_t step, uint32_t seed)
{
    assert_true(scenario_open(r));
    for (size_t at = 0, n; at < r->n; at += n) {
        n = step ? step : next_random(&seed) % (next_random(&seed) % 2 ? 5 : 60) + 1;
        if (n > r->n - at)
            n = r->n - at;
        feed_piece(&r->feed, r->bytes + at, n);
    }
    scenario_check(r, step ? "in steps of" : "split at random with seed", step ? step : seed);
    scenario_close(r);
}

/* Whether n bytes are whole records. */
static inline bool scenario_whole(const struct scenario_run *r, size_t n)
{
    size_t at = 0;

    while (at < n) {
        struct ferry_record rec;

        if (ferry_record_decode(r->bytes + at, n - at, &rec) <= 0)
            return false;
        at += 8u + rec.content_len + rec.padding_len;
    }
    return at == n;
}

/* A-FRM-9: the peer closes after so many bytes. What came before is told, then its end, once. */
static inline void scenario_prefix(struct scenario_run *r, size_t n)
{
    struct text out;
    const char *last;
    bool done;
    size_t told;

    assert_true(scenario_open(r));
    feed_piece(&r->feed, r->bytes, n);
    done = ferry_conn_finished(r->feed.c) || ferry_conn_machine.wants_shutdown(r->feed.c);
    told = r->feed.events.n;
    if (strncmp(r->feed.events.p, r->s->events, told))
        fail_msg("%s, only %zu bytes: '%s'", r->s->duty, n, r->feed.events.p);
    if (!r->s->error)
        assert_int_equal(r->feed.err, 0);
    if (!r->feed.err) {
        feed_eof(&r->feed);
        feed_eof(&r->feed);
        assert_int_equal(r->feed.err, 0);
        last = r->feed.events.p + told;
        if (strncmp(last, "'; ", 3) == 0)
            last += 3;
        if (strcmp(last, ferry_conn_active(r->feed.c) || (!done && !scenario_whole(r, n))
                             ? "CUT; "
                             : "CLOSED; "))
            fail_msg("%s, only %zu bytes: %s", r->s->duty, n, last);
        if (r->side == FERRY_CONN_CLIENT || ferry_conn_active(r->feed.c) == 0)
            assert_true(ferry_conn_finished(r->feed.c));
    }
    scenario_output(r, &out);
    assert_int_equal(strncmp(out.p, r->s->output, out.n), 0);
    text_free(&out);
    scenario_close(r);
}

static inline void scenario_without_memory(void *arg)
{
    struct scenario_run *r = arg;
    char *out = test_malloc(TEXT_MAX);

    if (scenario_open(r)) {
        for (size_t at = 0; at < r->n; at += 7)
            feed_piece(&r->feed, r->bytes + at, r->n - at < 7 ? r->n - at : 7);
        if (!alloc_failed())
            scenario_check(r, "with memory again", 0);
        else if (!r->feed.err) /* what was refused for want of memory is still well formed */
            take_output(r->feed.c, out, 1);
        feed_eof(&r->feed);
    }
    test_free(out);
    scenario_close(r);
}

static inline void scenario_torture(const struct scenario *s, enum ferry_conn_side side)
{
    char *bytes = test_malloc(TEXT_MAX);
    struct scenario_run r = {.s = s, .side = side, .bytes = bytes, .n = records(s->input, bytes)};
    size_t stride = r.n < 1000 ? 1 : r.n / 60;

    scenario_in_two(&r, r.n);
    if (r.n < 5000)
        scenario_in_steps(&r, 1, 0);
    for (size_t step = 7; step < r.n; step = step * 3 + 1)
        scenario_in_steps(&r, step, 0);
    for (uint32_t seed = 1; seed <= 20 && r.n < 5000; seed++)
        scenario_in_steps(&r, 0, seed);
    for (size_t cut = 0; cut < r.n; cut += stride) {
        scenario_in_two(&r, cut);
        scenario_prefix(&r, cut);
    }
    if (r.n < 5000)
        each_alloc_fails(scenario_without_memory, &r);
    test_free(bytes);
}

#endif
