/* SPDX-License-Identifier: MIT */
/* A-ID: request ids, and several requests on one connection (specification sections 3.3, 5.5). */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check/app_check.h"

static void any_id(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    uint16_t id = (uint16_t)c->at->arg;

    ferry__conv_echo(v, id, 0, "hello", 5);
    ferry__conv_send(v);
    ferry__conv_await_echo(v, id, "hello", 5);
    if (v->foreign)
        ferry_check_fail(c, "expected answers with id %u only, but %u records have others", id,
                         v->foreign);
}

/* -- inactive ids ----------------------------------------------------------------------------- */

static void inactive(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    unsigned type = (unsigned)c->at->arg;

    if (type == FERRY_ABORT_REQUEST)
        ferry__conv_abort(v, 9);
    else {
        ferry_wire_put_record(v->w, type, 9, "\1\1ab", 4);
        ferry__conv_end(v, type, 9);
    }
    ferry__conv_send(v);
    ferry__conv_quiet(v, "for an id that was never begun");
    ferry__conv_still_serves(v, 1);
}

static void inactive_and_large(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry_wire_record r = {.version = 1,
                                  .type = FERRY_STDIN,
                                  .id = 9,
                                  .content_len = 65535,
                                  .padding_len = 255,
                                  .content = (unsigned char *)ferry__pattern(c, 65535)};

    ferry_wire_put(v->w, &r, 1);
    ferry__conv_send(v);
    ferry__conv_still_serves(v, 1);
}

static void inactive_between(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    uint16_t role = ferry__target(c)->role;

    ferry__conv_begin(v, 1, role, 0);
    ferry_wire_put_record(v->w, FERRY_PARAMS, 9, "\1\1ab", 4);
    ferry__conv_params(v, 1, ferry__word_or_plain(c, FERRY__WORD_ECHO, "echo"), 10);
    ferry__conv_end(v, FERRY_STDIN, 9);
    ferry__conv_end(v, FERRY_PARAMS, 1);
    ferry_wire_put_record(v->w, FERRY_STDIN, 1, "hello", 5);
    ferry_wire_put_record(v->w, FERRY_STDIN, 9, "WRONG", 5);
    ferry__conv_abort(v, 9);
    ferry_wire_put_record(v->w, FERRY_STDIN, 1, "again", 5);
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    ferry__conv_await_echo(v, 1, "helloagain", 10);
    if (v->foreign)
        ferry_check_fail(c, "expected nothing for an id that was never begun, but %u records came",
                         v->foreign);
}

/* -- active ids ------------------------------------------------------------------------------- */

static void active_from_begin(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    /* Only an active request has to be answered when it is aborted (section 5.4). */
    ferry__conv_begin(v, 7, ferry__target(c)->role, FERRY_KEEP_CONN);
    ferry__conv_abort(v, 7);
    ferry__conv_send(v);
    ferry__conv_await(v, 7);
}

static void inactive_behind_end(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_still_serves(v, 1);
    ferry__conv_abort(v, 1);
    ferry__conv_send(v);
    ferry__conv_quiet(v, "for an ABORT_REQUEST behind END_REQUEST");
    ferry__conv_still_serves(v, 2);
}

static void reused_at_once(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    for (int i = 0; i < 10; i++)
        ferry__conv_still_serves(v, 1);
}

static void reused_in_turn(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    static const uint16_t ids[] = {1, 2, 1, 65535, 3, 1, 2, 65535};

    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        ferry__conv_still_serves(v, ids[i]);
    if (v->foreign)
        ferry_check_fail(c, "expected the id of the request, but %u records have others",
                         v->foreign);
}

static void late_stdin(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_still_serves(v, 1);
    ferry_wire_put_record(v->w, FERRY_STDIN, 1, "late", 4);
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    ferry__conv_quiet(v, "for STDIN behind END_REQUEST");
    ferry__conv_still_serves(v, 1);
}

static void unread_stdin(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_begin(v, 1, ferry__target(c)->role, FERRY_KEEP_CONN);
    ferry__conv_params(v, 1, "unread", 100000);
    ferry__conv_end(v, FERRY_PARAMS, 1);
    ferry__conv_stream(v, FERRY_STDIN, 1, ferry__pattern(c, 1000), 1000);
    ferry__conv_send(v);
    ferry__conv_await_good(v, 1);
    ferry__conv_stream(v, FERRY_STDIN, 1, ferry__pattern(c, 99000), 99000);
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_echo(v, 1, FERRY_KEEP_CONN, "next", 4);
    ferry__conv_send(v);
    ferry__conv_await_echo(v, 1, "next", 4);
}

static void per_connection(struct ferry_check *c)
{
    struct ferry__conv *a = ferry__conv_open(c), *b = ferry__conv_open(c);
    const char *word = ferry__word_or_plain(c, FERRY__WORD_ECHO, "echo");
    uint16_t role = ferry__target(c)->role;

    ferry__conv_begin(a, 1, role, 0);
    ferry__conv_send(a);
    ferry__conv_begin(b, 1, role, 0);
    ferry__conv_params(b, 1, word, 5);
    ferry__conv_send(b);
    ferry__conv_params(a, 1, word, 5);
    ferry__conv_end(a, FERRY_PARAMS, 1);
    ferry_wire_put_record(a->w, FERRY_STDIN, 1, "first", 5);
    ferry__conv_send(a);
    ferry__conv_end(b, FERRY_PARAMS, 1);
    ferry_wire_put_record(b->w, FERRY_STDIN, 1, "other", 5);
    ferry__conv_end(b, FERRY_STDIN, 1);
    ferry__conv_send(b);
    ferry__conv_await_echo(b, 1, "other", 5);
    ferry__conv_end(a, FERRY_STDIN, 1);
    ferry__conv_send(a);
    ferry__conv_await_echo(a, 1, "first", 5);
}

static void begun_twice(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_begin(v, 1, ferry__target(c)->role, FERRY_KEEP_CONN);
    ferry__conv_params(v, 1, NULL, -1);
    ferry__conv_send(v);
    ferry__conv_get(v, 1, FERRY_KEEP_CONN, NULL);
    ferry__conv_send(v);
    ferry__conv_await_end(v, "when an active id is begun again");
}

/* -- a second request where there is no multiplexing ------------------------------------------ */

/* Request 1 with part of its body, then a second one that is refused. */
static struct ferry__conv *refuse_second(struct ferry_check *c, uint8_t flags)
{
    struct ferry__conv *v = ferry__conv_open(c);
    uint16_t role = ferry__target(c)->role;

    ferry__conv_begin(v, 1, role, FERRY_KEEP_CONN);
    ferry__conv_params(v, 1, ferry__word_or_plain(c, FERRY__WORD_ECHO, "echo"), 10);
    ferry__conv_end(v, FERRY_PARAMS, 1);
    ferry_wire_put_record(v->w, FERRY_STDIN, 1, "hello", 5);
    ferry__conv_begin(v, 2, role, flags);
    ferry__conv_send(v);
    ferry__conv_await_refusal(v, 2, FERRY_CANT_MPX_CONN);
    return v;
}

static void second_refused(struct ferry_check *c)
{
    refuse_second(c, FERRY_KEEP_CONN);
}

static void first_undisturbed(struct ferry_check *c)
{
    /* Without KEEP_CONN on the refused one the connection must still live for the first. */
    struct ferry__conv *v = refuse_second(c, (uint8_t)c->at->arg);

    ferry_wire_put_record(v->w, FERRY_STDIN, 1, "again", 5);
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    ferry__conv_await_echo(v, 1, "helloagain", 10);
}

static void rest_of_refused_ignored(struct ferry_check *c)
{
    struct ferry__conv *v = refuse_second(c, FERRY_KEEP_CONN);

    ferry__conv_params(v, 2, NULL, 5);
    ferry__conv_end(v, FERRY_PARAMS, 2);
    ferry_wire_put_record(v->w, FERRY_STDIN, 2, "WRONG", 5);
    ferry__conv_end(v, FERRY_STDIN, 2);
    ferry_wire_put_record(v->w, FERRY_STDIN, 1, "again", 5);
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    ferry__conv_await_echo(v, 1, "helloagain", 10);
    if (ferry__conv_reply(v, 2)->late || ferry__conv_reply(v, 2)->ends != 1)
        ferry_check_fail(c, "expected nothing more for the refused request, but something came");
}

static void refused_comes_again(struct ferry_check *c)
{
    struct ferry__conv *v = refuse_second(c, FERRY_KEEP_CONN);

    ferry_wire_put_record(v->w, FERRY_STDIN, 1, "again", 5);
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    ferry__conv_await_echo(v, 1, "helloagain", 10);
    ferry__conv_still_serves(v, 2);
}

static void refusal_spares_others(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_begin(v, 1, ferry__target(c)->role, FERRY_KEEP_CONN);
    ferry__conv_params(v, 1, ferry__word_or_plain(c, FERRY__WORD_ECHO, "echo"), 5);
    ferry__conv_end(v, FERRY_PARAMS, 1);
    ferry__conv_begin(v, 2, 999, 0);
    ferry__conv_send(v);
    ferry__conv_await_refusal(v, 2, FERRY_UNKNOWN_ROLE);
    ferry_wire_put_record(v->w, FERRY_STDIN, 1, "hello", 5);
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    ferry__conv_await_echo(v, 1, "hello", 5);
}

/* -- multiplexing ----------------------------------------------------------------------------- */

#define MANY 20

/* Requests whose records alternate byte by byte, or record by record. */
static void interleaved(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry_slice pairs =
        ferry__conv_pairs(c, ferry__word_or_plain(c, FERRY__WORD_ECHO, "echo"), 26);
    size_t piece = c->at->arg ? 7 : pairs.len;
    const char *body = ferry__pattern(c, 26);
    char own[27];

    for (uint16_t id = 1; id <= MANY; id++)
        ferry__conv_begin(v, id, ferry__target(c)->role, FERRY_KEEP_CONN);
    for (size_t at = 0; at < pairs.len; at += piece)
        for (uint16_t id = 1; id <= MANY; id++)
            ferry_wire_put_record(v->w, FERRY_PARAMS, id, pairs.p + at,
                                  pairs.len - at < piece ? pairs.len - at : piece);
    for (uint16_t id = 1; id <= MANY; id++)
        ferry__conv_end(v, FERRY_PARAMS, id);
    for (size_t at = 0; at < 26; at++)
        for (uint16_t id = 1; id <= MANY; id++)
            ferry_wire_put_record(v->w, FERRY_STDIN, id, body + (at + id) % 26, 1);
    for (uint16_t id = MANY; id >= 1; id--)
        ferry__conv_end(v, FERRY_STDIN, id);
    ferry__conv_send(v);
    for (uint16_t id = 1; id <= MANY; id++) {
        for (size_t at = 0; at < 26; at++)
            own[at] = body[(at + id) % 26];
        ferry__conv_await_echo(v, id, own, 26);
    }
}

static void out_of_order(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_get(v, 1, FERRY_KEEP_CONN, "sleep&ms=400");
    ferry__conv_get(v, 2, FERRY_KEEP_CONN, NULL);
    ferry__conv_send(v);
    ferry__conv_await_good(v, 2);
    if (ferry__conv_reply(v, 1)->ends)
        ferry_check_fail(c,
                         "expected the quick request to be answered while the slow one runs, but "
                         "it was answered behind it");
    ferry__conv_await_good(v, 1);
}

static void hundred_at_once(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    long max = ferry__target(c)->values[FERRY__MAX_REQS];
    uint16_t n = max > 0 && max < 100 ? (uint16_t)max : 100;

    for (uint16_t id = 1; id <= n; id++) {
        ferry__conv_begin(v, id, ferry__target(c)->role, FERRY_KEEP_CONN);
        ferry__conv_params(v, id, NULL, -1);
    }
    for (uint16_t id = n; id >= 1; id--) {
        ferry__conv_end(v, FERRY_PARAMS, id);
        ferry__conv_end(v, FERRY_STDIN, id);
    }
    ferry__conv_send(v);
    for (uint16_t id = 1; id <= n; id++)
        ferry__conv_await_good(v, id);
}

#define KEEP FERRY__NEEDS_KEEP
#define MPX FERRY__NEEDS_MPX
#define NO_MPX (FERRY__NEEDS_NO_MPX | FERRY__NEEDS_KEEP)

static const struct ferry_check_case cases[] = {
    {"A-ID-1a", "3.3", FERRY_MUST, "a request may have id 1", 0, any_id, 1},
    {"A-ID-1b", "3.3", FERRY_MUST, "a request may have id 2", 0, any_id, 2},
    {"A-ID-1c", "3.3", FERRY_MUST, "a request may have id 255", 0, any_id, 255},
    {"A-ID-1d", "3.3", FERRY_MUST, "a request may have id 256", 0, any_id, 256},
    {"A-ID-1e", "3.3", FERRY_MUST, "a request may have id 257", 0, any_id, 257},
    {"A-ID-1f", "3.3", FERRY_MUST, "a request may have id 32768", 0, any_id, 32768},
    {"A-ID-1g", "3.3", FERRY_MUST, "a request may have id 65535", 0, any_id, 65535},
    {"A-ID-2a", "3.3", FERRY_MUST, "PARAMS of an inactive id are ignored", KEEP, inactive,
     FERRY_PARAMS},
    {"A-ID-2b", "3.3", FERRY_MUST, "STDIN of an inactive id is ignored", KEEP, inactive,
     FERRY_STDIN},
    {"A-ID-2c", "3.3", FERRY_MUST, "DATA of an inactive id are ignored", KEEP, inactive,
     FERRY_DATA},
    {"A-ID-2d", "3.3", FERRY_MUST, "ABORT_REQUEST of an inactive id is ignored", KEEP, inactive,
     FERRY_ABORT_REQUEST},
    {"A-ID-2e", "3.3", FERRY_MUST, "a record of 65535 bytes of an inactive id is skipped", KEEP,
     inactive_and_large, 0},
    {"A-ID-2f", "3.3", FERRY_MUST, "records of inactive ids within a request are ignored", 0,
     inactive_between, 0},
    {"A-ID-3a", "3.3", FERRY_MUST, "an id is active from its BEGIN_REQUEST on", 0,
     active_from_begin, 0},
    {"A-ID-3b", "3.3", FERRY_MUST, "an id is no longer active behind END_REQUEST", KEEP,
     inactive_behind_end, 0},
    {"A-ID-4a", "3.3", FERRY_MUST, "an id can be used again at once", KEEP, reused_at_once, 0},
    {"A-ID-4b", "3.3", FERRY_MUST, "several ids can be used in turn", KEEP, reused_in_turn, 0},
    {"A-ID-5a", "3.3", FERRY_MUST, "STDIN behind END_REQUEST is ignored", KEEP, late_stdin, 0},
    {"A-ID-5b", "3.3", FERRY_MUST, "a body that the handler did not want is ignored",
     KEEP | FERRY__WORD_UNREAD, unread_stdin, 0},
    {"A-ID-6", "3.3", FERRY_INFERRED, "one id on two connections is two requests",
     FERRY__NEEDS_CONNS, per_connection, 0},
    {"A-ID-7", "", FERRY_SILENT, "an active id begun again closes the connection", 0, begun_twice,
     0},
    {"A-ID-8a", "5.5", FERRY_MUST, "a second request at once is refused with CANT_MPX_CONN", NO_MPX,
     second_refused, 0},
    {"A-ID-8b", "5.5", FERRY_MUST, "refusing it does not disturb the first", NO_MPX,
     first_undisturbed, FERRY_KEEP_CONN},
    {"A-ID-8c", "5.5", FERRY_MUST, "further records of the refused request are ignored", NO_MPX,
     rest_of_refused_ignored, 0},
    {"A-ID-8d", "5.5", FERRY_MUST, "a refused request can be sent again", NO_MPX,
     refused_comes_again, 0},
    {"A-ID-9a", "5.5", FERRY_INFERRED, "a request refused without KEEP_CONN leaves the first alone",
     NO_MPX, first_undisturbed, 0},
    {"A-ID-9b", "5.5", FERRY_INFERRED, "UNKNOWN_ROLE without KEEP_CONN leaves others alone", MPX,
     refusal_spares_others, 0},
    {"A-ID-10a", "3.3", FERRY_MUST, "bodies of several requests may alternate byte by byte", MPX,
     interleaved, 0},
    {"A-ID-10b", "3.3", FERRY_MUST, "params of several requests may alternate", MPX, interleaved,
     1},
    {"A-ID-10c", "3.3", FERRY_MUST, "a quick request overtakes a slow one", MPX | FERRY__WORD_SLEEP,
     out_of_order, 0},
    {"A-ID-10d", "3.3", FERRY_MUST, "a hundred requests at once are answered", MPX, hundred_at_once,
     0},
};

FERRY__GROUP(ferry__app_ids, "A-ID", "request ids and multiplexing", cases);
