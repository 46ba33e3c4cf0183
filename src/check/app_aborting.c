/* SPDX-License-Identifier: MIT */
/* A-ABT and A-CLS: requests that are given up, and when connections close (sections 3.5, 5.4). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check/app_check.h"

/* -- A-ABT ------------------------------------------------------------------------------------ */

static struct ferry__conv *under_way(struct ferry_check *c, const char *word, bool body_over)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_begin(v, 1, ferry__target(c)->role, FERRY_KEEP_CONN);
    ferry__conv_params(v, 1, word, body_over ? -1 : 10);
    ferry__conv_end(v, FERRY_PARAMS, 1);
    if (body_over)
        ferry__conv_end(v, FERRY_STDIN, 1);
    else
        ferry_wire_put_record(v->w, FERRY_STDIN, 1, "hello", 5);
    ferry__conv_send(v);
    return v;
}

static struct ferry__reply *abort_it(struct ferry__conv *v)
{
    struct ferry__reply *r;

    ferry__conv_abort(v, 1);
    ferry__conv_send(v);
    r = ferry__conv_await(v, 1);
    if (r->protocol_status != FERRY_REQUEST_COMPLETE)
        ferry_check_fail(v->c,
                         "expected REQUEST_COMPLETE for an aborted request, but got protocol "
                         "status %u",
                         r->protocol_status);
    return r;
}

static void abort_while_reading(struct ferry_check *c)
{
    struct ferry__conv *v =
        under_way(c, ferry__word_or_plain(c, FERRY__WORD_LENGTH, "length"), false);

    abort_it(v);
}

static void abort_in_params(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_begin(v, 1, ferry__target(c)->role, FERRY_KEEP_CONN);
    ferry__conv_params(v, 1, NULL, 10);
    ferry__conv_send(v);
    abort_it(v);
}

static void abort_while_it_waits(struct ferry_check *c)
{
    struct ferry__conv *v = under_way(c, "abort&ms=5000", true);
    uint64_t start;

    usleep(100000);
    start = ferry_check_now();
    abort_it(v);
    if (ferry_check_now() - start > 1500)
        ferry_check_fail(c, "expected the end as soon as possible, but it came after %u ms",
                         (unsigned)(ferry_check_now() - start));
}

static void abort_of_output(struct ferry_check *c)
{
    struct ferry__conv *v = under_way(c, "slow&n=100&ms=20", true);

    ferry__conv_await_out(v, 1, 2);
    abort_it(v);
    if (ferry__reply_body(ferry__conv_reply(v, 1)).len > 250)
        ferry_check_fail(c,
                         "expected the end as soon as possible, but all of the answer came first");
}

static void own_status(struct ferry_check *c)
{
    struct ferry__conv *v = under_way(c, "abort&ms=5000", true);
    struct ferry__reply *r;

    usleep(100000);
    r = abort_it(v);
    if (r->app_status != FERRY__ABORT_STATUS)
        ferry_check_fail(c,
                         "expected app status %d, which the handler ends with when it sees the "
                         "abort, but got %u",
                         FERRY__ABORT_STATUS, r->app_status);
}

static void one_end(struct ferry_check *c)
{
    struct ferry__conv *v =
        under_way(c, ferry__word_or_plain(c, FERRY__WORD_SLEEP, "sleep&ms=500"), true);
    struct ferry__reply *r = abort_it(v);

    while (v->end == 1 && ferry__conv_read(v, 700) == 1)
        ;
    if (r->ends != 1)
        ferry_check_fail(c, "expected one END_REQUEST for an aborted request, but %u came",
                         r->ends);
    if (r->late)
        ferry_check_fail(c, "expected nothing behind END_REQUEST, but %u records came", r->late);
}

static void abort_of_inactive(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_still_serves(v, 1);
    ferry__conv_abort(v, 1);
    ferry__conv_get(v, 1, FERRY_KEEP_CONN, NULL);
    ferry__conv_send(v);
    ferry__conv_await_good(v, 1);
}

static void others_go_on(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_begin(v, 2, ferry__target(c)->role, FERRY_KEEP_CONN);
    ferry__conv_params(v, 2, ferry__word_or_plain(c, FERRY__WORD_ECHO, "echo"), 5);
    ferry__conv_end(v, FERRY_PARAMS, 2);
    ferry__conv_begin(v, 1, ferry__target(c)->role, FERRY_KEEP_CONN);
    ferry__conv_params(v, 1, ferry__word_or_plain(c, FERRY__WORD_LENGTH, "length"), 5);
    ferry__conv_end(v, FERRY_PARAMS, 1);
    ferry__conv_send(v);
    abort_it(v);
    ferry_wire_put_record(v->w, FERRY_STDIN, 2, "hello", 5);
    ferry__conv_end(v, FERRY_STDIN, 2);
    ferry__conv_send(v);
    ferry__conv_await_echo(v, 2, "hello", 5);
}

static void usable_behind_abort(struct ferry_check *c)
{
    struct ferry__conv *v =
        under_way(c, ferry__word_or_plain(c, FERRY__WORD_LENGTH, "length"), false);

    abort_it(v);
    ferry__conv_quiet(v, "behind an aborted request with KEEP_CONN");
    ferry__conv_still_serves(v, 1);
}

static long aborts_seen(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry_slice body;
    uint64_t n = 0;

    ferry__conv_get(v, 1, 0, "aborts");
    ferry__conv_send(v);
    body = ferry__reply_body(ferry__conv_await_good(v, 1));
    if (ferry_slice_u64(ferry_slice_first(body, ferry_slice_find(body, '\n')), INT32_MAX, &n) < 0)
        ferry_check_skip(c, "the program's answer to the word aborts is no number");
    return (long)n;
}

static void told_of_the_end(struct ferry_check *c)
{
    long before = aborts_seen(c);
    struct ferry__conv *v = under_way(c, "abort&ms=3000", true);
    uint64_t deadline = ferry_check_now() + c->opts->timeout_ms;

    usleep(50000);
    ferry_wire_close(v->w);
    while (aborts_seen(c) <= before) {
        if (ferry_check_now() > deadline)
            ferry_check_fail(c, "expected the handler to be told that the connection is gone, but "
                                "it was not");
        usleep(50000);
    }
}

static void lives_behind_the_end(struct ferry_check *c)
{
    /* That it lives and serves is seen behind every case. */
    for (int i = 0; i < 5; i++) {
        struct ferry__conv *v =
            under_way(c, ferry__word_or_plain(c, FERRY__WORD_SLEEP, "sleep&ms=100"), i % 2 == 0);

        ferry_wire_close(v->w);
    }
}

static void abort_with_content(struct ferry_check *c)
{
    struct ferry__conv *v =
        under_way(c, ferry__word_or_plain(c, FERRY__WORD_LENGTH, "length"), false);

    ferry_wire_put_record(v->w, FERRY_ABORT_REQUEST, 1, "because", 7);
    ferry__conv_send(v);
    ferry__conv_await(v, 1);
    ferry__conv_still_serves(v, 2);
}

/* -- A-CLS ------------------------------------------------------------------------------------ */

static void closes(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_get(v, 1, 0, NULL);
    ferry__conv_send(v);
    ferry__conv_await_good(v, 1);
    ferry__conv_await_close(v, "behind a request without KEEP_CONN");
}

static void all_bytes_first(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_get(v, 1, 0, "size&n=3000000");
    ferry__conv_send(v);
    usleep(100000);
    ferry__conv_await_body(v, 1, ferry__pattern(c, 3000000), 3000000);
    ferry__conv_await_close(v, "behind a request without KEEP_CONN");
}

static void no_reset_when_unread(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_begin(v, 1, ferry__target(c)->role, 0);
    ferry__conv_params(v, 1, "unread", 200000);
    ferry__conv_end(v, FERRY_PARAMS, 1);
    ferry__conv_stream(v, FERRY_STDIN, 1, ferry__pattern(c, 100000), 100000);
    ferry__conv_send(v);
    usleep(50000);
    ferry__conv_await_good(v, 1);
    ferry__conv_await_close(v, "behind a request without KEEP_CONN");
}

static void stays_open(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_get(v, 1, FERRY_KEEP_CONN, NULL);
    ferry__conv_send(v);
    ferry__conv_await_good(v, 1);
    ferry__conv_quiet(v, "behind a request with KEEP_CONN");
    ferry__conv_still_serves(v, 1);
}

static void hundreds(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    for (unsigned i = 0; i < 300; i++) {
        uint16_t id = c->at->arg ? (uint16_t)(1 + i * 977 % 65535) : 1;

        ferry__conv_echo(v, id, FERRY_KEEP_CONN, "hello", 5);
        ferry__conv_send(v);
        ferry__conv_await_echo(v, id, "hello", 5);
    }
}

static void last_one_closes(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_still_serves(v, 1);
    ferry__conv_still_serves(v, 1);
    ferry__conv_get(v, 1, 0, NULL);
    ferry__conv_send(v);
    ferry__conv_await_good(v, 1);
    ferry__conv_await_close(v, "behind a last request without KEEP_CONN");
}

static void mixed_flags(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    uint16_t role = ferry__target(c)->role;

    ferry__conv_begin(v, 1, role, FERRY_KEEP_CONN);
    ferry__conv_params(v, 1, ferry__word_or_plain(c, FERRY__WORD_ECHO, "echo"), 5);
    ferry__conv_end(v, FERRY_PARAMS, 1);
    ferry__conv_get(v, 2, 0, NULL);
    ferry__conv_send(v);
    ferry__conv_await_good(v, 2);
    ferry_wire_put_record(v->w, FERRY_STDIN, 1, "hello", 5);
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    ferry__conv_await_echo(v, 1, "hello", 5);
    ferry__conv_await_close(v, "when the others have ended too");
}

static void closed_when_idle(struct ferry_check *c)
{
    struct ferry__target *t = ferry__target(c);
    char said[4096];
    size_t before = ferry__instance_said(&t->main, said, sizeof said), after;

    for (int i = 0; i < 5; i++) {
        struct ferry__conv *v = ferry__conv_open(c);

        ferry__conv_still_serves(v, 1);
        ferry_wire_close(v->w);
    }
    usleep(50000);
    after = ferry__instance_said(&t->main, said, sizeof said);
    if (after > before)
        ferry_check_fail(c,
                         "expected that nothing is said when an idle connection is closed, but "
                         "it said: %.200s",
                         said + before);
}

static void pipelined(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    uint16_t n = (uint16_t)c->at->arg;

    for (uint16_t id = 1; id <= n; id++)
        ferry__conv_get(v, id, FERRY_KEEP_CONN, NULL);
    ferry__conv_send(v);
    for (uint16_t id = 1; id <= n; id++)
        ferry__conv_await_good(v, id);
}

static void next_in_last_segment(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    uint16_t role = ferry__target(c)->role;

    /* The handler answers without the end of its body; that end and the next request then come
     * together. */
    ferry__conv_begin(v, 1, role, FERRY_KEEP_CONN);
    ferry__conv_params(v, 1, "unread", 5);
    ferry__conv_end(v, FERRY_PARAMS, 1);
    ferry_wire_put_record(v->w, FERRY_STDIN, 1, "h", 1);
    ferry__conv_send(v);
    while (!ferry__conv_reply(v, 1)->ends)
        if (ferry__conv_read(v, 500) != 1)
            ferry_check_skip(c, "it does not answer before all of a body has come, which is "
                                "allowed");
    ferry_wire_put_record(v->w, FERRY_STDIN, 1, "ello", 4);
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_get(v, 2, FERRY_KEEP_CONN, NULL);
    ferry__conv_send(v);
    ferry__conv_await_good(v, 2);
}

static void idle_stays(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_still_serves(v, 1);
    usleep(1000000);
    ferry__conv_quiet(v, "on a kept connection that has been idle for a second");
    ferry__conv_still_serves(v, 1);
}

static void half_close(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_echo(v, 1, 0, "hello", 5);
    ferry__conv_send(v);
    ferry_wire_shutdown(v->w);
    ferry__conv_await_echo(v, 1, "hello", 5);
}

#define MUST FERRY_MUST
#define KEEP FERRY__NEEDS_KEEP
#define ABORT FERRY__WORD_ABORT

static const struct ferry_check_case abort_cases[] = {
    {"A-ABT-1a", "5.4", MUST, "an aborted request whose body is still to come is ended", 0,
     abort_while_reading, 0},
    {"A-ABT-1b", "5.4", MUST, "an aborted request is ended as soon as its handler sees it", ABORT,
     abort_while_it_waits, 0},
    {"A-ABT-2a", "5.4", MUST, "the app status is the handler's, who saw the abort", ABORT,
     own_status, 0},
    {"A-ABT-2b", "5.4", MUST, "an aborted request has one END_REQUEST", 0, one_end, 0},
    {"A-ABT-3a", "5.4", FERRY_INFERRED, "a request can be aborted before its params have ended", 0,
     abort_in_params, 0},
    {"A-ABT-3b", "5.4", FERRY_INFERRED, "a request can be aborted while it is answered",
     FERRY__WORD_SLOW, abort_of_output, 0},
    {"A-ABT-4", "3.3", MUST, "an abort that comes too late is ignored", KEEP, abort_of_inactive, 0},
    {"A-ABT-5a", "5.4", MUST, "other requests of the connection go on", FERRY__NEEDS_MPX,
     others_go_on, 0},
    {"A-ABT-5b", "5.4", MUST, "the connection and the id can be used again", KEEP,
     usable_behind_abort, 0},
    {"A-ABT-6a", "5.4", MUST, "a handler is told that its connection was closed",
     ABORT | FERRY__WORD_ABORTS, told_of_the_end, 0},
    {"A-ABT-6b", "5.4", MUST, "connections closed in the middle of requests do no harm", 0,
     lives_behind_the_end, 0},
    {"A-ABT-7", "", FERRY_SILENT, "content of ABORT_REQUEST is ignored", KEEP, abort_with_content,
     0},
};

static const struct ferry_check_case close_cases[] = {
    {"A-CLS-1a", "5.1", MUST, "without KEEP_CONN the application closes behind END_REQUEST", 0,
     closes, 0},
    {"A-CLS-1b", "5.1", MUST, "all of a long answer arrives before that, with no reset",
     FERRY__WORD_SIZE, all_bytes_first, 0},
    {"A-CLS-1c", "5.1", MUST, "it closes without a reset when a part of the body was not read",
     FERRY__WORD_UNREAD, no_reset_when_unread, 0},
    {"A-CLS-2a", "5.1", MUST, "with KEEP_CONN the application does not close", 0, stays_open, 0},
    {"A-CLS-2b", "5.1", MUST, "300 requests pass on one connection", KEEP, hundreds, 0},
    {"A-CLS-2c", "5.1", MUST, "300 requests with different ids pass on one connection", KEEP,
     hundreds, 1},
    {"A-CLS-3a", "3.5", FERRY_INFERRED, "a last request without KEEP_CONN closes the connection",
     KEEP, last_one_closes, 0},
    {"A-CLS-3b", "", FERRY_SILENT, "requests with and without KEEP_CONN at once all end first",
     FERRY__NEEDS_MPX, mixed_flags, 0},
    {"A-CLS-4a", "3.5", MUST,
     "a web server may close an idle connection, and nothing is said of it", KEEP, closed_when_idle,
     0},
    {"A-CLS-5a", "3.5", FERRY_INFERRED, "requests one behind the other in one segment are all read",
     FERRY__NEEDS_MPX, pipelined, 20},
    {"A-CLS-5b", "3.5", FERRY_INFERRED, "a request in the segment of the last one's end is read",
     KEEP | FERRY__WORD_UNREAD, next_in_last_segment, 0},
    {"A-CLS-6", "", FERRY_SILENT, "an idle kept connection is still there after a second", KEEP,
     idle_stays, 0},
    {"A-CLS-7", "", FERRY_SILENT,
     "a request is answered when the web server has ended its direction", 0, half_close, 0},
};

FERRY__GROUP(ferry__app_aborting, "A-ABT", "ABORT_REQUEST", abort_cases);
FERRY__GROUP(ferry__app_closing, "A-CLS", "keeping and closing connections", close_cases);
