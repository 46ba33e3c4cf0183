/* SPDX-License-Identifier: MIT */
/* A-IN: the streams that go to the application (specification sections 3.3, 6.2). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check/app_check.h"

static void stdin_in_pieces(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    size_t n = 3000, piece = (size_t)c->at->arg;
    const char *body = ferry__pattern(c, n);

    ferry__conv_begin(v, 1, ferry__target(c)->role, 0);
    ferry__conv_params(v, 1, ferry__word_or_plain(c, FERRY__WORD_ECHO, "echo"), (long)n);
    ferry__conv_end(v, FERRY_PARAMS, 1);
    for (size_t at = 0, now; at < n; at += now) {
        now = piece ? piece : 1 + at % 97; /* 0: of all sizes */
        if (now > n - at)
            now = n - at;
        ferry_wire_put_record(v->w, FERRY_STDIN, 1, body + at, now);
    }
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    ferry__conv_await_echo(v, 1, body, n);
}

static void params_in_pieces(struct ferry_check *c)
{
    struct ferry_slice pairs =
        ferry__conv_pairs(c, ferry__word_or_plain(c, FERRY__WORD_PARAMS, "params"), -1);
    struct ferry__conv *v = ferry__conv_open(c);
    size_t piece = (size_t)c->at->arg;

    ferry__conv_begin(v, 1, ferry__target(c)->role, 0);
    for (size_t at = 0; at < pairs.len; at += piece)
        ferry_wire_put_record(v->w, FERRY_PARAMS, 1, pairs.p + at,
                              pairs.len - at < piece ? pairs.len - at : piece);
    ferry__conv_end(v, FERRY_PARAMS, 1);
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    ferry__conv_await_param(v, 1, FERRY_SLICE("SERVER_SOFTWARE"), FERRY_SLICE("ferry-check"));
}

/* BEGIN_REQUEST and params; STDIN is still to come. */
static struct ferry__conv *start(struct ferry_check *c, const char *word, long body_len,
                                 uint8_t flags)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_begin(v, 1, ferry__target(c)->role, flags);
    ferry__conv_params(v, 1, word, body_len);
    ferry__conv_end(v, FERRY_PARAMS, 1);
    return v;
}

static void end_is_the_empty_record(struct ferry_check *c)
{
    struct ferry__conv *v = start(c, "length", 5, 0);
    struct ferry_slice body;

    ferry_wire_put_record(v->w, FERRY_STDIN, 1, "hello", 5);
    ferry__conv_send(v);
    ferry__conv_quiet(v, "while STDIN has not ended");
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    body = ferry__reply_body(ferry__conv_await_good(v, 1));
    if (!ferry_slice_starts(body, FERRY_SLICE("5\n")))
        ferry_check_fail(c, "expected the handler to see 5 bytes, but it saw %.*s",
                         body.len < 20 ? (int)body.len : 20, body.p);
}

static void large_body(struct ferry_check *c)
{
    size_t n = 10 << 20;
    struct ferry__conv *v = ferry__conv_open(c);
    const char *body = ferry__pattern(c, n);

    ferry__conv_echo(v, 1, 0, body, n);
    ferry__conv_send(v);
    ferry__conv_await_echo(v, 1, body, n);
}

static void no_pairs(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry__reply *r;

    ferry__conv_begin(v, 1, ferry__target(c)->role, 0);
    ferry__conv_end(v, FERRY_PARAMS, 1);
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    r = ferry__conv_await(v, 1);
    if (r->protocol_status != FERRY_REQUEST_COMPLETE)
        ferry_check_fail(c, "expected an answer, but it was refused with protocol status %u",
                         r->protocol_status);
}

static void single_empty_stdin(struct ferry_check *c)
{
    struct ferry__conv *v = start(c, NULL, -1, 0);

    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    ferry__conv_await_good(v, 1);
}

static void starts_before_stdin(struct ferry_check *c)
{
    struct ferry__conv *v = start(c, "echo", 10, 0);

    ferry_wire_put_record(v->w, FERRY_STDIN, 1, "hello", 5);
    ferry__conv_send(v);
    ferry__conv_await_out(v, 1, 5);
    ferry_wire_put_record(v->w, FERRY_STDIN, 1, "again", 5);
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    ferry__conv_await_body(v, 1, "helloagain", 10);
}

/* The argument: what CONTENT_LENGTH says of a body of five bytes. */
static void other_content_length(struct ferry_check *c)
{
    struct ferry__conv *v = start(c, ferry__word_or_plain(c, FERRY__WORD_LENGTH, "length"),
                                  c->at->arg, FERRY_KEEP_CONN);

    ferry_wire_put_record(v->w, FERRY_STDIN, 1, "hello", 5);
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    ferry__conv_await_good(v, 1);
}

static void excess(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_begin(v, 1, ferry__target(c)->role, FERRY_KEEP_CONN);
    ferry__conv_params(v, 1, ferry__word_or_plain(c, FERRY__WORD_LENGTH, "length"), 3);
    ferry__conv_end(v, FERRY_PARAMS, 1);
    ferry_wire_put_record(v->w, FERRY_STDIN, 1, "hello", 5);
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    ferry__conv_await_good(v, 1);
    ferry__conv_echo(v, 1, FERRY_KEEP_CONN, "next", 4);
    ferry__conv_send(v);
    ferry__conv_await_echo(v, 1, "next", 4);
}

/* -- out of order ----------------------------------------------------------------------------- */

enum { STDIN_BEFORE_PARAMS_END, PARAMS_BEHIND_END, STDIN_BEHIND_END, STDIN_END_TWICE };

static void out_of_order(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_begin(v, 1, ferry__target(c)->role, FERRY_KEEP_CONN);
    ferry__conv_params(v, 1, ferry__word_or_plain(c, FERRY__WORD_SLEEP, "sleep&ms=300"), 5);
    if (c->at->arg == STDIN_BEFORE_PARAMS_END)
        ferry_wire_put_record(v->w, FERRY_STDIN, 1, "hello", 5);
    ferry__conv_end(v, FERRY_PARAMS, 1);
    if (c->at->arg == PARAMS_BEHIND_END)
        ferry_wire_put_record(v->w, FERRY_PARAMS, 1, "\1\1ab", 4);
    if (c->at->arg != STDIN_BEFORE_PARAMS_END)
        ferry_wire_put_record(v->w, FERRY_STDIN, 1, "hello", 5);
    ferry__conv_end(v, FERRY_STDIN, 1);
    if (c->at->arg == STDIN_BEHIND_END)
        ferry_wire_put_record(v->w, FERRY_STDIN, 1, "wrong", 5);
    if (c->at->arg == STDIN_END_TWICE)
        ferry_wire_put_record(v->w, FERRY_STDIN, 1, NULL, 0);
    ferry__conv_send(v);
    if (c->at->arg == STDIN_END_TWICE) {
        ferry__conv_await_good(v, 1);
        if (ferry__target(c)->keeps)
            ferry__conv_still_serves(v, 1);
        return;
    }
    ferry__conv_await_end(v, "behind a record that is out of order");
}

static void data_too_early(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_begin(v, 1, FERRY_FILTER, FERRY_KEEP_CONN);
    ferry__conv_params(v, 1, NULL, 5);
    ferry__conv_pair(v, 1, FERRY_SLICE("FCGI_DATA_LENGTH"), FERRY_SLICE("4"));
    ferry__conv_pair(v, 1, FERRY_SLICE("FCGI_DATA_LAST_MOD"), FERRY_SLICE("0"));
    ferry_wire_put_record(v->w, FERRY_PARAMS, 1, NULL, 0);
    ferry_wire_put_record(v->w, FERRY_DATA, 1, "data", 4);
    ferry__conv_send(v);
    ferry__conv_await_end(v, "behind DATA before the end of STDIN");
}

static void data_for_responder(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    if (ferry__target(c)->role == FERRY_FILTER)
        ferry_check_skip(c, "its requests are a filter's");
    ferry__conv_begin(v, 1, ferry__target(c)->role, FERRY_KEEP_CONN);
    ferry__conv_params(v, 1, ferry__word_or_plain(c, FERRY__WORD_ECHO, "echo"), 5);
    ferry__conv_end(v, FERRY_PARAMS, 1);
    ferry_wire_put_record(v->w, FERRY_DATA, 1, "data", 4);
    ferry_wire_put_record(v->w, FERRY_STDIN, 1, "hello", 5);
    ferry_wire_put_record(v->w, FERRY_DATA, 1, NULL, 0);
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    ferry__conv_await_echo(v, 1, "hello", 5);
}

/* -- bodies that nobody reads, and very long ones --------------------------------------------- */

static void unread_body(struct ferry_check *c)
{
    size_t n = 10 << 20;
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_post(v, 1, 0, "unread", ferry__pattern(c, n), n);
    ferry__conv_send(v);
    while (!ferry__conv_reply(v, 1)->ends && ferry__conv_read(v, 0) == 1)
        ;
    if (!ferry__conv_reply(v, 1)->ends)
        ferry_check_fail(c, "expected an answer without the body having been read, but got %s",
                         ferry_wire_said(v->end == 1 ? -110 : v->end));
}

static void unread_body_among_others(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    const char *body = ferry__pattern(c, 30000);

    ferry__conv_begin(v, 1, ferry__target(c)->role, FERRY_KEEP_CONN);
    ferry__conv_params(v, 1, "sleep&ms=800", 30000);
    ferry__conv_end(v, FERRY_PARAMS, 1);
    ferry__conv_stream(v, FERRY_STDIN, 1, body, 30000);
    ferry__conv_get(v, 2, FERRY_KEEP_CONN, NULL);
    ferry__conv_send(v);
    ferry__conv_await_good(v, 2);
    if (ferry__conv_reply(v, 1)->ends)
        ferry_check_fail(c, "expected another request to be answered while a body waits for its "
                            "handler, but it had to wait as well");
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    ferry__conv_await_good(v, 1);
}

static bool is_named(const struct ferry_check_opts *o, const char *id)
{
    for (const char *const *only = o->only; only && *only; only++)
        if (strcmp(*only, id) == 0)
            return true;
    return false;
}

static void past_4_gib(struct ferry_check *c)
{
    unsigned long long n = (4ull << 30) + 65528, sent = 0;
    struct ferry__conv *v;
    const char *piece;
    char want[32];
    struct ferry_slice body;

    if (!is_named(c->opts, c->at->id))
        ferry_check_skip(c, "takes long; name it to have it run: --only %s", c->at->id);
    v = start(c, "length", -1, 0);
    piece = ferry__pattern(c, 65528);
    ferry_wire_put_quietly(v->w, "(STDIN of more than 4 GiB)");
    while (sent < n) {
        unsigned now = n - sent < 65528 ? (unsigned)(n - sent) : 65528;

        ferry_wire_put_record(v->w, FERRY_STDIN, 1, piece, now);
        sent += now;
        if (ferry_wire_flush(v->w) < 0)
            break;
    }
    ferry_wire_put_quietly(v->w, NULL);
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    body = ferry__reply_body(ferry__conv_await_good(v, 1));
    snprintf(want, sizeof want, "%llu\n", n);
    if (!ferry_slice_starts(body, ferry_slice_z(want)))
        ferry_check_fail(c, "expected the handler to see %llu bytes, but it saw %.*s", n,
                         body.len < 24 ? (int)body.len : 24, body.p);
}

#define KEEP FERRY__NEEDS_KEEP
#define MUST FERRY_MUST

static const struct ferry_check_case cases[] = {
    {"A-IN-1a", "3.3", MUST, "PARAMS in records of one byte are the same", 0, params_in_pieces, 1},
    {"A-IN-1b", "3.3", MUST, "PARAMS in records of two bytes are the same", 0, params_in_pieces, 2},
    {"A-IN-1c", "3.3", MUST, "PARAMS in records of 100 bytes are the same", 0, params_in_pieces,
     100},
    {"A-IN-1d", "3.3", MUST, "STDIN in records of one byte is the same", 0, stdin_in_pieces, 1},
    {"A-IN-1e", "3.3", MUST, "STDIN in records of all sizes is the same", 0, stdin_in_pieces, 0},
    {"A-IN-1f", "3.3", MUST, "STDIN of 10 MiB is the same", FERRY__NEEDS_EARLY, large_body, 0},
    {"A-IN-2", "6.2", MUST, "the handler sees the end at the empty STDIN record, and not before",
     FERRY__WORD_LENGTH, end_is_the_empty_record, 0},
    {"A-IN-3", "6.1", MUST, "a request without any params is answered", 0, no_pairs, 0},
    {"A-IN-4a", "6.2", MUST, "a request with a single, empty STDIN record is answered", 0,
     single_empty_stdin, 0},
    {"A-IN-4b", "", FERRY_SILENT, "a handler may start before STDIN has come",
     FERRY__WORD_ECHO | FERRY__NEEDS_EARLY, starts_before_stdin, 0},
    {"A-IN-5", "6.2", MUST, "STDIN shorter than CONTENT_LENGTH: the request ends all the same", 0,
     other_content_length, 10},
    {"A-IN-6a", "6.2", MUST, "STDIN longer than CONTENT_LENGTH: the request ends all the same", 0,
     other_content_length, 3},
    {"A-IN-6b", "", FERRY_SILENT, "the excess is not counted into the next request", KEEP, excess,
     0},
    {"A-IN-6c", "", FERRY_SILENT, "STDIN without CONTENT_LENGTH: the request ends all the same", 0,
     other_content_length, -1},
    {"A-IN-7a", "", FERRY_SILENT, "STDIN before the end of PARAMS closes the connection", 0,
     out_of_order, STDIN_BEFORE_PARAMS_END},
    {"A-IN-7b", "", FERRY_SILENT, "PARAMS behind the end of PARAMS close the connection", 0,
     out_of_order, PARAMS_BEHIND_END},
    {"A-IN-7c", "", FERRY_SILENT, "STDIN behind the end of STDIN closes the connection",
     FERRY__WORD_SLEEP, out_of_order, STDIN_BEHIND_END},
    {"A-IN-7d", "", FERRY_SILENT, "DATA before the end of STDIN closes the connection",
     FERRY__NEEDS_FILTER, data_too_early, 0},
    {"A-IN-7e", "", FERRY_SILENT, "a second end of STDIN is ignored", FERRY__WORD_SLEEP,
     out_of_order, STDIN_END_TWICE},
    {"A-IN-8", "", FERRY_SILENT, "DATA for a responder is ignored", KEEP, data_for_responder, 0},
    {"A-IN-9a", "", FERRY_SILENT, "a handler that does not read 10 MiB of body can answer",
     FERRY__WORD_UNREAD, unread_body, 0},
    {"A-IN-9b", "", FERRY_SILENT, "a body that waits does not stop other requests",
     FERRY__NEEDS_MPX | FERRY__WORD_SLEEP, unread_body_among_others, 0},
    {"A-IN-10", "", FERRY_SILENT, "a body of more than 4 GiB is counted right", FERRY__WORD_LENGTH,
     past_4_gib, 0},
};

FERRY__GROUP(ferry__app_input, "A-IN", "PARAMS and STDIN as streams", cases);
