/* SPDX-License-Identifier: MIT */
/* A-MGT: management records (specification section 4). */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "check/app_check.h"

#define ALL "FCGI_MAX_CONNS FCGI_MAX_REQS FCGI_MPXS_CONNS"

static const char *const names[] = {"FCGI_MAX_CONNS", "FCGI_MAX_REQS", "FCGI_MPXS_CONNS"};

static struct ferry__conv *ask(struct ferry_check *c, const char *query)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_query(v, query);
    ferry__conv_send(v);
    ferry__conv_await_values(v);
    return v;
}

/* How many pairs the last answer has; fails when it is no list of pairs. */
static unsigned pairs_in(struct ferry__conv *v)
{
    struct ferry_param pair;
    unsigned n = 0;
    size_t at = 0;

    for (; at < v->values_len; n++) {
        ssize_t took = ferry_param_decode(v->values + at, v->values_len - at, 512, &pair);

        if (took <= 0)
            ferry_check_fail(v->c,
                             "expected name-value pairs in GET_VALUES_RESULT, but they are "
                             "malformed from byte %zu on",
                             at);
        at += (size_t)took;
    }
    return n;
}

/* -- what is answered ------------------------------------------------------------------------- */

static void answers(struct ferry_check *c)
{
    struct ferry__conv *v = ask(c, ALL);

    for (size_t i = 0; i < 3; i++)
        if (!ferry__conv_value(v, names[i]).p)
            ferry_check_fail(c, "expected %s in the answer, but it is missing", names[i]);
    if (pairs_in(v) != 3)
        ferry_check_fail(c, "expected three variables in the answer, but there are %u",
                         pairs_in(v));
}

static void answers_once(struct ferry_check *c)
{
    struct ferry__conv *v = ask(c, ALL);

    ferry__conv_quiet(v, "behind GET_VALUES_RESULT");
}

static void numbers(struct ferry_check *c)
{
    struct ferry__conv *v = ask(c, ALL);
    uint64_t n;

    for (size_t i = 0; i < 3; i++) {
        struct ferry_slice value = ferry__conv_value(v, names[i]);

        if (value.p && ferry_slice_u64(value, UINT64_MAX, &n) < 0)
            ferry_check_fail(c, "expected a decimal number for %s, but got '%.*s'", names[i],
                             (int)value.len, value.p);
        if (value.p && i == FERRY__MPXS_CONNS && n > 1)
            ferry_check_fail(c, "expected 0 or 1 for %s, but got %.*s", names[i], (int)value.len,
                             value.p);
        if (value.p && i != FERRY__MPXS_CONNS && n == 0)
            ferry_check_fail(c, "expected at least 1 for %s, but got 0", names[i]);
    }
}

static void only_what_is_asked(struct ferry_check *c)
{
    for (size_t i = 0; i < 3; i++) {
        struct ferry__conv *v = ask(c, names[i]);
        unsigned n = pairs_in(v);

        if (n > 1 || (n == 1 && !ferry__conv_value(v, names[i]).p))
            ferry_check_fail(c, "expected nothing but %s, but other variables are in the answer",
                             names[i]);
        ferry_wire_close(v->w);
    }
}

static void unknown_names(struct ferry_check *c)
{
    /* The argument: may one known variable be there? */
    struct ferry__conv *v =
        ask(c, c->at->arg ? "FCGI_NO_SUCH FCGI_MPXS_CONNS X" : "FCGI_NO_SUCH X");

    if (pairs_in(v) > (unsigned)c->at->arg || ferry__conv_value(v, "FCGI_NO_SUCH").p)
        ferry_check_fail(c, "expected that unknown names are left out, but the answer has %u pairs",
                         pairs_in(v));
}

static void empty_query(struct ferry_check *c)
{
    struct ferry__conv *v = ask(c, "");

    if (v->values_len)
        ferry_check_fail(c, "expected an empty GET_VALUES_RESULT, but it has %zu bytes",
                         v->values_len);
}

static void two_queries(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_query(v, "FCGI_MAX_REQS");
    ferry__conv_query(v, "FCGI_MAX_CONNS");
    ferry__conv_send(v);
    ferry__conv_await_values(v);
    ferry__conv_await_values(v);
    ferry__conv_quiet(v, "behind two answers to two queries");
}

/* -- when it is answered ---------------------------------------------------------------------- */

enum { AFTER_BEGIN, BETWEEN_PARAMS, DURING_STDIN };

static void within_a_request(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_begin(v, 1, ferry__target(c)->role, FERRY_KEEP_CONN);
    if (c->at->arg >= BETWEEN_PARAMS)
        ferry__conv_params(v, 1, ferry__word_or_plain(c, FERRY__WORD_ECHO, "echo"), 5);
    if (c->at->arg >= DURING_STDIN) {
        ferry__conv_end(v, FERRY_PARAMS, 1);
        ferry_wire_put_record(v->w, FERRY_STDIN, 1, "he", 2);
    }
    ferry__conv_query(v, ALL);
    ferry__conv_send(v);
    ferry__conv_await_values(v);
    if (c->at->arg < BETWEEN_PARAMS)
        ferry__conv_params(v, 1, ferry__word_or_plain(c, FERRY__WORD_ECHO, "echo"), 5);
    if (c->at->arg < DURING_STDIN) {
        ferry__conv_end(v, FERRY_PARAMS, 1);
        ferry_wire_put_record(v->w, FERRY_STDIN, 1, "he", 2);
    }
    ferry_wire_put_record(v->w, FERRY_STDIN, 1, "llo", 3);
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    ferry__conv_await_echo(v, 1, "hello", 5);
}

static void while_it_runs(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_get(v, 1, FERRY_KEEP_CONN, "sleep&ms=500");
    ferry__conv_send(v);
    usleep(50000);
    ferry__conv_query(v, ALL);
    ferry__conv_send(v);
    ferry__conv_await_values(v);
    if (ferry__conv_reply(v, 1)->ends)
        ferry_check_fail(c, "expected an answer while the request runs, but it came behind it");
    ferry__conv_await_good(v, 1);
}

static void behind_a_request(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_still_serves(v, 1);
    ferry__conv_query(v, ALL);
    ferry__conv_send(v);
    ferry__conv_await_values(v);
    ferry__conv_still_serves(v, 1);
}

static void while_others_work(struct ferry_check *c)
{
    struct ferry__conv *busy[4], *v;

    for (size_t i = 0; i < 4; i++) {
        busy[i] = ferry__conv_open(c);
        ferry__conv_get(busy[i], 1, 0, "sleep&ms=600");
        ferry__conv_send(busy[i]);
    }
    usleep(50000);
    v = ferry__conv_open(c);
    ferry__conv_query(v, ALL);
    ferry__conv_send(v);
    ferry__conv_await_values(v);
    for (size_t i = 0; i < 4; i++)
        if (ferry_wire_received(busy[i]->w) || ferry_wire_stirs(busy[i]->w, 0))
            ferry_check_fail(c, "expected an answer while handlers work, but it came when one was "
                                "done");
}

static void stays_open(struct ferry_check *c)
{
    struct ferry__conv *v = ask(c, ALL);

    /* What else may come is for A-MGT-1b. */
    while (ferry_wire_stirs(v->w, FERRY__QUIET_MS) && ferry__conv_read(v, 1) == 1)
        ;
    if (v->end != 1)
        ferry_check_fail(c, "expected the connection to stay open behind GET_VALUES, but got %s",
                         ferry_wire_said(v->end));
    ferry__conv_query(v, ALL);
    ferry__conv_send(v);
    ferry__conv_await_values(v);
}

static void request_behind_it(struct ferry_check *c)
{
    struct ferry__conv *v = ask(c, ALL);

    ferry__conv_echo(v, 1, 0, "hello", 5);
    ferry__conv_send(v);
    ferry__conv_await_echo(v, 1, "hello", 5);
}

/* -- odd queries ------------------------------------------------------------------------------ */

static void raw_query(struct ferry__conv *v, const char *content, size_t n)
{
    ferry_wire_put_record(v->w, FERRY_GET_VALUES, 0, content, n);
    ferry__conv_send(v);
}

static void values_in_the_query(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    raw_query(v, "\17\3FCGI_MPXS_CONNS777\15\0FCGI_MAX_REQS", 35);
    ferry__conv_await_values(v);
    if (ferry_slice_eq(ferry__conv_value(v, "FCGI_MPXS_CONNS"), FERRY_SLICE("777")))
        ferry_check_fail(c, "expected the application's own value, but it gave back that of the "
                            "query");
}

static void repeated_names(struct ferry_check *c)
{
    char *query = ferry_check_alloc(c, 17 * 200 + 1);
    struct ferry__conv *v = ferry__conv_open(c);
    unsigned seen = 0;
    struct ferry_param pair;

    for (long i = 0; i < c->at->arg; i++)
        memcpy(query + 17 * i, "\17\0FCGI_MPXS_CONNS", 17);
    raw_query(v, query, 17 * (size_t)c->at->arg);
    ferry__conv_await_values(v);
    for (size_t at = 0; at < v->values_len; seen++) {
        ssize_t took = ferry_param_decode(v->values + at, v->values_len - at, 512, &pair);

        if (took <= 0)
            break;
        at += (size_t)took;
    }
    if (seen != 1)
        ferry_check_fail(c,
                         "expected one answer for a name that is asked for %ld times, but got %u",
                         c->at->arg, seen);
}

static void malformed_query(struct ferry_check *c)
{
    static const struct {
        const char *p;
        size_t n;
    } bad[] = {{"\17", 1},
               {"\17\0FCGI", 6},
               {"\377\377\377\377\0", 5},
               {"\200\0\0\17\377\377\377\377FCGI_MPXS_CONNS", 23}};
    struct ferry__conv *v;

    /* Answered or closed; the application is seen to live behind the case. */
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        v = ferry__conv_open(c);
        raw_query(v, bad[i].p, bad[i].n);
        (void)ferry__conv_read(v, 300);
        if (v->nunknown)
            ferry_check_fail(c, "expected an answer or the end for a malformed query, but got "
                                "UNKNOWN_TYPE");
        ferry_wire_close(v->w);
    }
}

/* -- types that are not known ----------------------------------------------------------------- */

static void unknown_type(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry_wire_put_record(v->w, (unsigned)c->at->arg, 0, NULL, 0);
    ferry__conv_send(v);
    ferry__conv_await_unknown(v, (unsigned)c->at->arg);
}

enum { SMALL, LARGE, LOOKS_LIKE_RECORDS };

static void unknown_with_body(struct ferry_check *c)
{
    static const char records[] = "\1\1\0\7\0\10\0\0\0\1\1\0\0\0\0\0\1\15\0\0\0\0\0\0";
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry_wire_record r = {.version = 1, .type = 12, .content_len = 8};

    r.content = (const unsigned char *)"whatever";
    if (c->at->arg == LARGE) {
        r.content = (unsigned char *)ferry__pattern(c, 65535);
        r.content_len = 65535;
        r.padding_len = 255;
    } else if (c->at->arg == LOOKS_LIKE_RECORDS) {
        r.content = (const unsigned char *)records;
        r.content_len = sizeof records - 1;
    }
    ferry_wire_put(v->w, &r, 1);
    ferry__conv_send(v);
    ferry__conv_await_unknown(v, 12);
    ferry_wire_put_record(v->w, 100, 0, NULL, 0);
    ferry__conv_send(v);
    ferry__conv_await_unknown(v, 100);
    ferry__conv_echo(v, 1, 0, "hello", 5);
    ferry__conv_send(v);
    ferry__conv_await_echo(v, 1, "hello", 5);
}

static void unknown_within_a_request(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_begin(v, 1, ferry__target(c)->role, FERRY_KEEP_CONN);
    ferry__conv_params(v, 1, ferry__word_or_plain(c, FERRY__WORD_ECHO, "echo"), 5);
    ferry__conv_end(v, FERRY_PARAMS, 1);
    ferry_wire_put_record(v->w, 77, 0, "whatever", 8);
    ferry__conv_send(v);
    ferry__conv_await_unknown(v, 77);
    ferry_wire_put_record(v->w, FERRY_STDIN, 1, "hello", 5);
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    ferry__conv_await_echo(v, 1, "hello", 5);
}

static void unknown_body_is_right(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    static const unsigned char want[8] = {200};

    ferry_wire_put_record(v->w, 200, 0, NULL, 0);
    ferry__conv_send(v);
    ferry__conv_await_unknown(v, 200);
    if (v->unknown_len != 8 || memcmp(v->unknown, want, 8) != 0)
        ferry_check_fail(c,
                         "expected the type and seven bytes of 0 in UNKNOWN_TYPE, but got %zu "
                         "bytes or others",
                         v->unknown_len);
}

static void wrong_way(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    static const unsigned char body[8] = {99};

    if (c->at->arg == FERRY_UNKNOWN_TYPE)
        ferry_wire_put_record(v->w, FERRY_UNKNOWN_TYPE, 0, body, 8);
    else
        ferry_wire_put_record(v->w, FERRY_GET_VALUES_RESULT, 0, "\17\1FCGI_MPXS_CONNS1", 18);
    ferry__conv_send(v);
    ferry__conv_quiet(v, "for a record that only an application may send");
    ferry__conv_still_serves(v, 1);
}

static void unknown_with_id(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    /* The argument: is the id active? */
    if (c->at->arg) {
        ferry__conv_begin(v, 1, ferry__target(c)->role, FERRY_KEEP_CONN);
        ferry__conv_params(v, 1, ferry__word_or_plain(c, FERRY__WORD_ECHO, "echo"), 5);
        ferry__conv_end(v, FERRY_PARAMS, 1);
    }
    ferry_wire_put_record(v->w, 50, 1, "whatever", 8);
    ferry__conv_send(v);
    /* An active request may be answered already. */
    while (ferry_wire_stirs(v->w, FERRY__QUIET_MS) && ferry__conv_read(v, 1) == 1)
        ;
    if (v->nunknown || v->foreign || v->end != 1)
        ferry_check_fail(c, "expected nothing for an unknown type with a request's id, but got %s",
                         v->end != 1 ? ferry_wire_said(v->end) : "a record");
    if (c->at->arg) {
        ferry_wire_put_record(v->w, FERRY_STDIN, 1, "hello", 5);
        ferry__conv_end(v, FERRY_STDIN, 1);
        ferry__conv_send(v);
        ferry__conv_await_echo(v, 1, "hello", 5);
    }
    ferry__conv_still_serves(v, 2);
}

static void none_unasked(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_echo(v, 1, 0, "hello", 5);
    ferry__conv_send(v);
    ferry__conv_await_echo(v, 1, "hello", 5);
    ferry__conv_await_end(v, "behind a request without KEEP_CONN");
    if (v->nvalues || v->nunknown)
        ferry_check_fail(c, "expected no management records that nobody asked for, but %u came",
                         v->nvalues + v->nunknown);
}

/* -- is it true? ------------------------------------------------------------------------------ */

static void mpxs_is_true(struct ferry_check *c)
{
    struct ferry__target *t = ferry__target(c);

    if (t->values[FERRY__MPXS_CONNS] < 0)
        ferry_check_skip(c, "the application does not say FCGI_MPXS_CONNS");
    if (t->values[FERRY__MPXS_CONNS] != t->multiplexes)
        ferry_check_fail(c,
                         "expected what FCGI_MPXS_CONNS says, but it says %ld and a second "
                         "request at once is %s",
                         t->values[FERRY__MPXS_CONNS], t->multiplexes ? "served" : "not served");
}

#define HELD_MAX 2000

static void max_conns_is_true(struct ferry_check *c)
{
    struct ferry__target *t = ferry__target(c);
    long max = t->values[FERRY__MAX_CONNS];
    struct ferry__conv **held, *more;
    struct rlimit files;

    if (max < 0)
        ferry_check_skip(c, "the application does not say FCGI_MAX_CONNS");
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    if (max > HELD_MAX || (rlim_t)max + 64 > files.rlim_cur)
        ferry_check_skip(c, "FCGI_MAX_CONNS is too large to be tried");
    held = ferry_check_alloc(c, (size_t)max * sizeof *held);
    for (long i = 0; i < max; i++) {
        held[i] = ferry__conv_open(c);
        ferry__conv_begin(held[i], 1, t->role, 0);
        ferry__conv_params(held[i], 1, NULL, -1);
        ferry__conv_send(held[i]);
    }
    usleep(100000);
    more = ferry__conv_open(c);
    ferry__conv_get(more, 1, 0, NULL);
    ferry__conv_send(more);
    if (ferry__conv_read(more, 300) == 1 &&
        (!ferry__conv_reply(more, 1)->ends ||
         ferry__conv_reply(more, 1)->protocol_status == FERRY_REQUEST_COMPLETE))
        ferry_check_fail(c,
                         "expected %ld connections at once as FCGI_MAX_CONNS says, but one more "
                         "is served",
                         max);
    for (long i = 0; i < max; i++) {
        ferry__conv_end(held[i], FERRY_PARAMS, 1);
        ferry__conv_end(held[i], FERRY_STDIN, 1);
        ferry__conv_send(held[i]);
        ferry__conv_await_good(held[i], 1);
        ferry_wire_close(held[i]->w);
    }
}

static void max_reqs_is_true(struct ferry_check *c)
{
    struct ferry__target *t = ferry__target(c);
    long max = t->values[FERRY__MAX_REQS];
    struct ferry__conv *v = ferry__conv_open(c);

    if (max < 0)
        ferry_check_skip(c, "the application does not say FCGI_MAX_REQS");
    if (max > HELD_MAX)
        ferry_check_skip(c, "FCGI_MAX_REQS is too large to be tried");
    for (long id = 1; id <= max; id++)
        ferry__conv_begin(v, (uint16_t)id, t->role, FERRY_KEEP_CONN);
    ferry__conv_send(v);
    ferry__conv_quiet(v, "for as many requests as FCGI_MAX_REQS says");
    /* One more is refused, or waits. */
    ferry__conv_get(v, (uint16_t)(max + 1), FERRY_KEEP_CONN, NULL);
    ferry__conv_send(v);
    if (ferry__conv_read(v, 300) == 1 && ferry__conv_reply(v, (uint16_t)(max + 1))->out_records)
        ferry_check_fail(c,
                         "expected %ld requests at once as FCGI_MAX_REQS says, but one more is "
                         "served",
                         max);
    for (long id = 1; id <= max; id++) {
        ferry__conv_params(v, (uint16_t)id, NULL, -1);
        ferry__conv_end(v, FERRY_PARAMS, (uint16_t)id);
        ferry__conv_end(v, FERRY_STDIN, (uint16_t)id);
    }
    ferry__conv_send(v);
    for (long id = 1; id <= max; id++)
        ferry__conv_await_good(v, (uint16_t)id);
}

#define KEEP FERRY__NEEDS_KEEP
#define VALUES FERRY__NEEDS_VALUES
#define SLEEP FERRY__WORD_SLEEP

static const struct ferry_check_case cases[] = {
    {"A-MGT-1a", "4.1", FERRY_MUST, "GET_VALUES is answered, with the three variables", 0, answers,
     0},
    {"A-MGT-1b", "4.1", FERRY_MUST, "it is answered with exactly one record", VALUES, answers_once,
     0},
    {"A-MGT-1c", "4.1", FERRY_MUST, "values are decimal numbers, and FCGI_MPXS_CONNS is 0 or 1",
     VALUES, numbers, 0},
    {"A-MGT-2a", "4.1", FERRY_MUST, "only variables that are asked for are answered", VALUES,
     only_what_is_asked, 0},
    {"A-MGT-2b", "4.1", FERRY_MUST, "unknown names among known ones are left out", VALUES,
     unknown_names, 1},
    {"A-MGT-2c", "4.1", FERRY_MUST, "only unknown names: the answer is empty", VALUES,
     unknown_names, 0},
    {"A-MGT-3a", "4.1", FERRY_MUST, "answered behind BEGIN_REQUEST", VALUES, within_a_request,
     AFTER_BEGIN},
    {"A-MGT-3b", "4.1", FERRY_MUST, "answered between PARAMS records", VALUES, within_a_request,
     BETWEEN_PARAMS},
    {"A-MGT-3c", "4.1", FERRY_MUST, "answered between STDIN records", VALUES, within_a_request,
     DURING_STDIN},
    {"A-MGT-3d", "4.1", FERRY_MUST, "answered while the handler runs", VALUES | SLEEP,
     while_it_runs, 0},
    {"A-MGT-3e", "4.1", FERRY_MUST, "answered behind a request on a kept connection", VALUES | KEEP,
     behind_a_request, 0},
    {"A-MGT-4", "4.1", FERRY_SHOULD, "answered while handlers on other connections work",
     VALUES | SLEEP | FERRY__NEEDS_CONNS, while_others_work, 0},
    {"A-MGT-5a", "4.1", FERRY_INFERRED, "a connection with GET_VALUES alone stays open", VALUES,
     stays_open, 0},
    {"A-MGT-5b", "4.1", FERRY_INFERRED, "a request may follow on that connection", VALUES,
     request_behind_it, 0},
    {"A-MGT-6a", "", FERRY_SILENT, "values in the query are ignored", VALUES, values_in_the_query,
     0},
    {"A-MGT-6b", "", FERRY_SILENT, "a name asked for twice is answered once", VALUES,
     repeated_names, 2},
    {"A-MGT-6c", "", FERRY_SILENT, "a name asked for 200 times is answered once", VALUES,
     repeated_names, 200},
    {"A-MGT-6d", "", FERRY_SILENT, "malformed queries do no harm", 0, malformed_query, 0},
    {"A-MGT-7a", "4.1", FERRY_INFERRED, "an empty GET_VALUES is answered with an empty result",
     VALUES, empty_query, 0},
    {"A-MGT-7b", "4.1", FERRY_INFERRED, "each GET_VALUES has one answer, with no end behind it",
     VALUES, two_queries, 0},
    {"A-MGT-8a", "4.2", FERRY_MUST, "type 12 with id 0 is answered with UNKNOWN_TYPE", 0,
     unknown_type, 12},
    {"A-MGT-8b", "4.2", FERRY_MUST, "type 255 with id 0 is answered with UNKNOWN_TYPE", 0,
     unknown_type, 255},
    {"A-MGT-8c", "4.2", FERRY_MUST, "type 0 with id 0 is answered with UNKNOWN_TYPE", 0,
     unknown_type, 0},
    {"A-MGT-8d", "4.2", FERRY_MUST, "the body of an unknown management record is skipped", 0,
     unknown_with_body, SMALL},
    {"A-MGT-8e", "4.2", FERRY_MUST, "a body of 65535 bytes and 255 of padding is skipped", 0,
     unknown_with_body, LARGE},
    {"A-MGT-8f", "4.2", FERRY_MUST, "a body that looks like records is skipped", 0,
     unknown_with_body, LOOKS_LIKE_RECORDS},
    {"A-MGT-8g", "4.2", FERRY_MUST, "it is answered within a request, which goes on", 0,
     unknown_within_a_request, 0},
    {"A-MGT-8h", "4.2", FERRY_MUST, "UNKNOWN_TYPE has the type and seven bytes of 0", 0,
     unknown_body_is_right, 0},
    {"A-MGT-9a", "", FERRY_SILENT, "a GET_VALUES_RESULT is skipped", KEEP, wrong_way,
     FERRY_GET_VALUES_RESULT},
    {"A-MGT-9b", "", FERRY_SILENT, "an UNKNOWN_TYPE is skipped", KEEP, wrong_way,
     FERRY_UNKNOWN_TYPE},
    {"A-MGT-10a", "", FERRY_SILENT, "an unknown type with an active id is skipped", KEEP,
     unknown_with_id, 1},
    {"A-MGT-10b", "", FERRY_SILENT, "an unknown type with an inactive id is skipped", KEEP,
     unknown_with_id, 0},
    {"A-MGT-11", "", FERRY_SILENT, "management records nobody asked for are never sent", 0,
     none_unasked, 0},
    {"A-MGT-12a", "4.1", FERRY_INFERRED, "FCGI_MPXS_CONNS is true", VALUES, mpxs_is_true, 0},
    {"A-MGT-12b", "4.1", FERRY_INFERRED, "FCGI_MAX_CONNS is true", VALUES, max_conns_is_true, 0},
    {"A-MGT-12c", "4.1", FERRY_INFERRED, "FCGI_MAX_REQS is true", VALUES | FERRY__NEEDS_MPX,
     max_reqs_is_true, 0},
};

FERRY__GROUP(ferry__app_management, "A-MGT", "management records", cases);
