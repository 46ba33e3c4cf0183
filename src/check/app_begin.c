/* SPDX-License-Identifier: MIT */
/* A-BEG and A-END: how requests begin and end (specification sections 5.1, 5.5, 6). */
#include <stdio.h>
#include <string.h>

#include "check/app_check.h"

/* -- A-BEG ------------------------------------------------------------------------------------ */

static void put_request(struct ferry__conv *v, uint16_t id, uint16_t role, uint8_t flags)
{
    ferry__conv_begin(v, id, role, flags);
    ferry__conv_params(v, id, NULL, -1);
    ferry__conv_end(v, FERRY_PARAMS, id);
    ferry_wire_put_record(v->w, FERRY_STDIN, id, NULL, 0);
    if (role == FERRY_FILTER)
        ferry_wire_put_record(v->w, FERRY_DATA, id, NULL, 0);
}

static void played_or_refused(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry__reply *r;

    put_request(v, 1, (uint16_t)c->at->arg, 0);
    ferry__conv_send(v);
    r = ferry__conv_await(v, 1);
    if (r->protocol_status != FERRY_REQUEST_COMPLETE && r->protocol_status != FERRY_UNKNOWN_ROLE)
        ferry_check_fail(c,
                         "expected an answer or UNKNOWN_ROLE, but it ended with protocol status "
                         "%u",
                         r->protocol_status);
    if (r->protocol_status == FERRY_REQUEST_COMPLETE && !r->out_records)
        ferry_check_fail(c, "expected an answer or UNKNOWN_ROLE, but there is neither");
}

static void unknown_role(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    put_request(v, 1, (uint16_t)c->at->arg, 0);
    ferry__conv_send(v);
    ferry__conv_await_refusal(v, 1, FERRY_UNKNOWN_ROLE);
}

static void closes_behind_refusal(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    put_request(v, 1, 999, 0);
    ferry__conv_send(v);
    ferry__conv_await_refusal(v, 1, FERRY_UNKNOWN_ROLE);
    ferry__conv_await_end(v, "behind a request refused without KEEP_CONN");
}

static void keeps_behind_refusal(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    /* The argument: do the streams of the refused request still come? */
    if (c->at->arg)
        put_request(v, 1, 999, FERRY_KEEP_CONN);
    else
        ferry__conv_begin(v, 1, 999, FERRY_KEEP_CONN);
    ferry__conv_send(v);
    ferry__conv_await_refusal(v, 1, FERRY_UNKNOWN_ROLE);
    ferry__conv_still_serves(v, 1);
}

static void overload(struct ferry_check *c)
{
    struct ferry__target *t = ferry__target(c);
    struct ferry__conv *v = ferry__conv_open(c);
    long max = t->values[FERRY__MAX_REQS];

    if (max < 1 || max > 5000)
        ferry_check_skip(c, "FCGI_MAX_REQS is not said, or too large to be tried");
    for (long id = 1; id <= max; id++)
        ferry__conv_begin(v, (uint16_t)id, t->role, FERRY_KEEP_CONN);
    ferry__conv_begin(v, (uint16_t)(max + 1), t->role, FERRY_KEEP_CONN);
    ferry__conv_send(v);
    ferry__conv_await_refusal(v, (uint16_t)(max + 1), FERRY_OVERLOADED);
    for (long id = 1; id <= max; id++) {
        ferry__conv_params(v, (uint16_t)id, NULL, -1);
        ferry__conv_end(v, FERRY_PARAMS, (uint16_t)id);
        ferry__conv_end(v, FERRY_STDIN, (uint16_t)id);
    }
    ferry__conv_send(v);
    for (long id = 1; id <= max; id++)
        ferry__conv_await_good(v, (uint16_t)id);
    ferry__conv_still_serves(v, (uint16_t)(max + 1));
}

static void other_flags(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    uint8_t flags = (uint8_t)c->at->arg;

    put_request(v, 1, ferry__target(c)->role, flags);
    ferry__conv_send(v);
    ferry__conv_await_good(v, 1);
    if (!(flags & FERRY_KEEP_CONN)) {
        ferry__conv_await_end(v, "when KEEP_CONN is not among the flags");
        return;
    }
    ferry__conv_quiet(v, "when KEEP_CONN is among the flags");
    ferry__conv_still_serves(v, 1);
}

static void body_of_other_length(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    unsigned char body[16] = {0, (unsigned char)ferry__target(c)->role};
    size_t n = (size_t)c->at->arg;

    ferry__conv_expect(v, 1);
    ferry_wire_put_record(v->w, FERRY_BEGIN_REQUEST, 1, body, n);
    ferry__conv_params(v, 1, NULL, -1);
    ferry__conv_end(v, FERRY_PARAMS, 1);
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    if (n > 8)
        ferry__conv_await_good(v, 1);
    ferry__conv_await_end(v, "behind it");
    if (n < 8 && v->records)
        ferry_check_fail(c,
                         "expected no answer to a BEGIN_REQUEST of %zu bytes, but %u records "
                         "came",
                         n, v->records);
}

/* -- A-END ------------------------------------------------------------------------------------ */

/* A plain request, and all that comes until the connection ends. */
static struct ferry__reply *all_of(struct ferry_check *c, struct ferry__conv *v)
{
    ferry__conv_echo(v, 1, 0, "hello", 5);
    ferry__conv_send(v);
    ferry__conv_await_echo(v, 1, "hello", 5);
    (void)c;
    while (ferry__conv_read(v, 500) == 1)
        ;
    return ferry__conv_reply(v, 1);
}

static void one_end(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry__reply *r = all_of(c, v);

    if (r->ends != 1)
        ferry_check_fail(c, "expected one END_REQUEST, but %u came", r->ends);
    if (r->late)
        ferry_check_fail(c, "expected END_REQUEST as the last record, but %u came behind it",
                         r->late);
}

static void one_end_when_kept(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry__reply *r;

    ferry__conv_get(v, 1, FERRY_KEEP_CONN, NULL);
    ferry__conv_send(v);
    r = ferry__conv_await_good(v, 1);
    ferry__conv_quiet(v, "behind END_REQUEST");
    if (r->ends != 1)
        ferry_check_fail(c, "expected one END_REQUEST, but %u came", r->ends);
}

static void end_body(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry__reply *r = all_of(c, v);

    if (r->end_len != 8)
        ferry_check_fail(c, "expected eight bytes in END_REQUEST, but it has %u", r->end_len);
    if (r->protocol_status != FERRY_REQUEST_COMPLETE)
        ferry_check_fail(c, "expected REQUEST_COMPLETE, but got protocol status %u",
                         r->protocol_status);
}

static void app_status(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    char word[40];
    struct ferry__reply *r;

    snprintf(word, sizeof word, "status&n=%ld", c->at->arg);
    ferry__conv_get(v, 1, 0, word);
    ferry__conv_send(v);
    r = ferry__conv_await(v, 1);
    if (r->app_status != (uint32_t)c->at->arg)
        ferry_check_fail(c, "expected app status %u, but got %u", (uint32_t)c->at->arg,
                         r->app_status);
}

static void end_behind_streams(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry__reply *r;

    ferry__conv_get(v, 1, 0, ferry__word_or_plain(c, FERRY__WORD_STDERR, "stderr&n=10"));
    ferry__conv_send(v);
    r = ferry__conv_await(v, 1);
    (void)ferry__conv_read(v, 300);
    if (r->out_open)
        ferry_check_fail(c, "expected STDOUT to be ended before END_REQUEST, but it is not");
    if (r->err_open)
        ferry_check_fail(c, "expected STDERR to be ended before END_REQUEST, but it is not");
    if (r->late)
        ferry_check_fail(c, "expected END_REQUEST behind the streams, but records follow it");
}

static void refusal_alone(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry__reply *r;

    if (c->at->arg == FERRY_CANT_MPX_CONN) {
        ferry__conv_begin(v, 2, ferry__target(c)->role, FERRY_KEEP_CONN);
        put_request(v, 1, ferry__target(c)->role, FERRY_KEEP_CONN);
    } else {
        put_request(v, 1, 999, FERRY_KEEP_CONN);
    }
    ferry__conv_send(v);
    r = ferry__conv_await_refusal(v, 1, (unsigned)c->at->arg);
    while (v->end == 1 && ferry__conv_read(v, 200) == 1)
        ;
    if (r->out_records || r->out_ends || r->err_records || r->late)
        ferry_check_fail(c,
                         "expected END_REQUEST alone for a refused request, but there is output");
}

static void other_roles_end(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry__reply *r;

    put_request(v, 1, (uint16_t)c->at->arg, 0);
    ferry__conv_send(v);
    r = ferry__conv_await(v, 1);
    (void)ferry__conv_read(v, 300);
    if (r->ends != 1 || r->late || r->end_len != 8 || r->protocol_status != FERRY_REQUEST_COMPLETE)
        ferry_check_fail(c, "expected one END_REQUEST of eight bytes with REQUEST_COMPLETE as the "
                            "last record, but it is otherwise");
}

#define KEEP FERRY__NEEDS_KEEP
#define STATUS FERRY__WORD_STATUS

static const struct ferry_check_case begin_cases[] = {
    {"A-BEG-1a", "5.1", FERRY_MUST, "a responder's request is answered, or refused as unknown", 0,
     played_or_refused, FERRY_RESPONDER},
    {"A-BEG-1b", "5.1", FERRY_MUST, "an authorizer's request is answered, or refused as unknown", 0,
     played_or_refused, FERRY_AUTHORIZER},
    {"A-BEG-1c", "5.1", FERRY_MUST, "a filter's request is answered, or refused as unknown", 0,
     played_or_refused, FERRY_FILTER},
    {"A-BEG-2a", "5.5", FERRY_MUST, "role 0 is refused with UNKNOWN_ROLE", 0, unknown_role, 0},
    {"A-BEG-2b", "5.5", FERRY_MUST, "role 4 is refused with UNKNOWN_ROLE", 0, unknown_role, 4},
    {"A-BEG-2c", "5.5", FERRY_MUST, "role 65535 is refused with UNKNOWN_ROLE", 0, unknown_role,
     65535},
    {"A-BEG-2d", "5.1", FERRY_MUST, "refused without KEEP_CONN: the connection is closed", 0,
     closes_behind_refusal, 0},
    {"A-BEG-2e", "5.1", FERRY_MUST, "refused with KEEP_CONN: the connection serves on", KEEP,
     keeps_behind_refusal, 0},
    {"A-BEG-2f", "3.3", FERRY_MUST, "streams of a refused request are ignored", KEEP,
     keeps_behind_refusal, 1},
    {"A-BEG-3", "5.5", FERRY_MUST, "one request too many is refused with OVERLOADED",
     FERRY__NEEDS_MPX | FERRY__NEEDS_VALUES, overload, 0},
    {"A-BEG-4a", "5.1", FERRY_MUST, "flags 0xFE: the connection is closed, other bits are ignored",
     0, other_flags, 0xfe},
    {"A-BEG-4b", "5.1", FERRY_MUST, "flags 0xFF: the connection is kept, other bits are ignored",
     KEEP, other_flags, 0xff},
    {"A-BEG-5a", "", FERRY_SILENT, "a BEGIN_REQUEST of 7 bytes closes the connection", 0,
     body_of_other_length, 7},
    {"A-BEG-5b", "", FERRY_SILENT, "a BEGIN_REQUEST of 0 bytes closes the connection", 0,
     body_of_other_length, 0},
    {"A-BEG-5c", "", FERRY_SILENT, "a BEGIN_REQUEST of 16 bytes is understood", 0,
     body_of_other_length, 16},
    {"A-BEG-6", "5.1", FERRY_MUST, "role 0x0101 is unknown: a role has 16 bits", 0, unknown_role,
     0x0101},
};

static const struct ferry_check_case end_cases[] = {
    {"A-END-1a", "6.2", FERRY_MUST, "there is one END_REQUEST, and it is last", 0, one_end, 0},
    {"A-END-1b", "6.2", FERRY_MUST, "there is one END_REQUEST on a kept connection", KEEP,
     one_end_when_kept, 0},
    {"A-END-1c", "5.5", FERRY_MUST, "it has eight bytes and says REQUEST_COMPLETE", 0, end_body, 0},
    {"A-END-2a", "6.2", FERRY_MUST, "app status 0 arrives", STATUS, app_status, 0},
    {"A-END-2b", "6.2", FERRY_MUST, "app status 1 arrives", STATUS, app_status, 1},
    {"A-END-2c", "6.2", FERRY_MUST, "app status 938 arrives: it has more than eight bits", STATUS,
     app_status, 938},
    {"A-END-2d", "6.2", FERRY_MUST, "app status -2147483648 arrives: it has 32 bits", STATUS,
     app_status, -2147483647L - 1},
    {"A-END-2e", "6.2", FERRY_MUST, "app status -1 arrives", STATUS, app_status, -1},
    {"A-END-3", "6.1", FERRY_INFERRED, "it follows the ends of STDOUT and STDERR", 0,
     end_behind_streams, 0},
    {"A-END-4a", "5.5", FERRY_INFERRED, "UNKNOWN_ROLE comes without output", 0, refusal_alone,
     FERRY_UNKNOWN_ROLE},
    {"A-END-4b", "5.5", FERRY_INFERRED, "CANT_MPX_CONN comes without output", FERRY__NEEDS_NO_MPX,
     refusal_alone, FERRY_CANT_MPX_CONN},
    {"A-END-5a", "6.3", FERRY_MUST, "an authorizer's request ends the same way",
     FERRY__NEEDS_AUTHORIZER, other_roles_end, FERRY_AUTHORIZER},
    {"A-END-5b", "6.4", FERRY_MUST, "a filter's request ends the same way", FERRY__NEEDS_FILTER,
     other_roles_end, FERRY_FILTER},
};

FERRY__GROUP(ferry__app_begin, "A-BEG", "BEGIN_REQUEST and roles", begin_cases);
FERRY__GROUP(ferry__app_ending, "A-END", "END_REQUEST", end_cases);
