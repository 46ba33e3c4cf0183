/* SPDX-License-Identifier: MIT */
/* The application's end under torture; the names of the duties stand in the table. */
#include "fcgi/conn_private.h"
#include "scenarios.h"

#define BEGIN(id, role, flags) "BEGIN_REQUEST " id " x00" role flags "0000000000; "
#define KEEP "01"
#define CLOSE "00"
#define REQUEST(id, flags) BEGIN(id, "01", flags) "PARAMS " id "; STDIN " id "; "
#define TOLD(id, flags) "BEGIN " id " role=1 flags=" flags "; PARAMS_END " id "; STDIN_END " id "; "
#define DONE(id) "STDOUT " id "; END_REQUEST " id " x0000000000000000; "
#define REFUSED(id, status) "END_REQUEST " id " x00000000" status "000000; "

static void end_when_asked(struct ferry_conn *c, const struct ferry_conn_event *ev)
{
    if (ev->type == FERRY_CONN_STDIN_END)
        ferry_conn_end(c, ev->id, 0, FERRY_REQUEST_COMPLETE);
}

static void end_at_once(struct ferry_conn *c, const struct ferry_conn_event *ev)
{
    if (ev->type == FERRY_CONN_PARAMS_END)
        ferry_conn_end(c, ev->id, 0, FERRY_REQUEST_COMPLETE);
}

static void end_at_begin(struct ferry_conn *c, const struct ferry_conn_event *ev)
{
    if (ev->type == FERRY_CONN_BEGIN)
        ferry_conn_end(c, ev->id, 0, FERRY_OVERLOADED);
}

static void end_when_aborted(struct ferry_conn *c, const struct ferry_conn_event *ev)
{
    if (ev->type == FERRY_CONN_ABORT)
        ferry_conn_end(c, ev->id, 938, FERRY_REQUEST_COMPLETE);
}

static void end_second(struct ferry_conn *c, const struct ferry_conn_event *ev)
{
    if (ev->type == FERRY_CONN_STDIN_END && ev->id == 2)
        ferry_conn_end(c, 1, 0, FERRY_REQUEST_COMPLETE);
}

static void drain(struct ferry_conn *c)
{
    ferry_conn_drain(c);
}

static const struct scenario scenarios[] = {
    {"A-FRM-1, A-IN-2: a request",
     BEGIN("1", "01", KEEP) "PARAMS 1 x0102414243; PARAMS 1; STDIN 1 'hello'; STDIN 1",
     "BEGIN 1 role=1 flags=1; PARAMS 1 '\\01\\02ABC'; PARAMS_END 1; STDIN 1 'hello'; STDIN_END 1; ",
     ""},
    {"A-IN-3, A-IN-4, A-CLS-2: nothing in it, and again",
     REQUEST("1", KEEP) REQUEST("1", KEEP) REQUEST("7", KEEP),
     TOLD("1", "1") TOLD("1", "1") TOLD("7", "1"), DONE("1") DONE("1") DONE("7"),
     .react = end_when_asked},
    {"A-CLS-1: without KEEP_CONN the connection is done after it", REQUEST("1", CLOSE),
     TOLD("1", "0"), DONE("1"), .finished = true, .react = end_when_asked},
    {"A-CLS-3: the last without KEEP_CONN, what follows is not begun",
     REQUEST("1", KEEP) REQUEST("1", CLOSE) REQUEST("1", KEEP), TOLD("1", "1") TOLD("1", "0"),
     DONE("1") DONE("1"), .finished = true, .react = end_when_asked},
    {"A-IN-1, A-FRM-3, A-FRM-4: records of all sizes, padding of any",
     BEGIN("1", "01", KEEP) "PARAMS 1 'a' +255; PARAMS 1 'bc'; PARAMS 1 'd' +1; PARAMS 1 +9;"
                            "STDIN 1 'x' +7; STDIN 1 'yz'; STDIN 1 +255",
     "BEGIN 1 role=1 flags=1; PARAMS 1 'abcd'; PARAMS_END 1; STDIN 1 'xyz'; STDIN_END 1; ", ""},
    {"A-FRM-4: padding on everything",
     "BEGIN_REQUEST 1 x0001010000000000 +3; ABORT_REQUEST 1 +255; GET_VALUES 0 +1; 99 0 +7; "
     "99 1 +7",
     "BEGIN 1 role=1 flags=1; ABORT 1; ",
     "GET_VALUES_RESULT 0; UNKNOWN_TYPE 0 x6300000000000000; "},
    {"A-FRM-8: version 0", BEGIN("1", "01", KEEP) "v0 PARAMS 1", "BEGIN 1 role=1 flags=1; ", "",
     "a record of another version than 1"},
    {"A-FRM-8: version 2", "v2 BEGIN_REQUEST 1 x0001010000000000", "", "",
     "a record of another version than 1"},

    {"A-FRM-10: BEGIN_REQUEST with id 0", BEGIN("0", "01", KEEP), "", "",
     "a request's record with request id 0"},
    {"A-FRM-10: ABORT_REQUEST with id 0", "ABORT_REQUEST 0", "", "",
     "a request's record with request id 0"},
    {"A-FRM-10: PARAMS with id 0", "PARAMS 0 'a'", "", "", "a request's record with request id 0"},
    {"A-FRM-10: STDIN with id 0", "STDIN 0", "", "", "a request's record with request id 0"},
    {"A-FRM-10: DATA with id 0", "DATA 0", "", "", "a request's record with request id 0"},
    {"A-FRM-10: STDOUT with id 0", "STDOUT 0", "", "", "a request's record with request id 0"},
    {"A-FRM-10: GET_VALUES with an id is ignored", "GET_VALUES 5 'abc'; GET_VALUES 0", "",
     "GET_VALUES_RESULT 0; "},
    {"a record that only applications send: END_REQUEST", "END_REQUEST 1 x0000000000000000", "", "",
     "a record that only applications send"},
    {"a record that only applications send: STDERR", "STDERR 1 'a'", "", "",
     "a record that only applications send"},

    {"A-ID-1: ids of all sizes",
     REQUEST("1", KEEP) REQUEST("2", KEEP) REQUEST("255", KEEP) REQUEST("256", KEEP)
         REQUEST("257", KEEP) REQUEST("32768", KEEP) REQUEST("65535", KEEP),
     TOLD("1", "1") TOLD("2", "1") TOLD("255", "1") TOLD("256", "1") TOLD("257", "1")
         TOLD("32768", "1") TOLD("65535", "1"),
     DONE("1") DONE("2") DONE("255") DONE("256") DONE("257") DONE("32768") DONE("65535"),
     .react = end_when_asked},
    {"A-ID-2, A-ABT-4: records for ids that are not active",
     "PARAMS 9 'a'; STDIN 9 'b' +3; DATA 9; ABORT_REQUEST 9; " REQUEST("1", KEEP), TOLD("1", "1"),
     DONE("1"), .react = end_when_asked},
    {"A-ID-4, A-ID-5: input of a request that is over, then its id again",
     BEGIN("1", "01", KEEP) "PARAMS 1; STDIN 1 'late'; STDIN 1 'r'; STDIN 1; " BEGIN(
         "1", "01", KEEP) "PARAMS 1; STDIN 1",
     "BEGIN 1 role=1 flags=1; PARAMS_END 1; BEGIN 1 role=1 flags=1; PARAMS_END 1; ",
     DONE("1") DONE("1"), .react = end_at_once},
    {"A-ID-7: BEGIN_REQUEST for an active id", BEGIN("1", "01", KEEP) BEGIN("1", "01", KEEP),
     "BEGIN 1 role=1 flags=1; ", "", "BEGIN_REQUEST for an active request"},
    {"A-ID-7: also when multiplexing",
     BEGIN("3", "01", KEEP) BEGIN("2", "01", KEEP) BEGIN("3", "01", KEEP),
     "BEGIN 3 role=1 flags=1; BEGIN 2 role=1 flags=1; ", "", "BEGIN_REQUEST for an active request",
     .requests_max = 5},
    {"A-ID-8: a second request without multiplexing; the first goes on",
     BEGIN("1", "01", KEEP) "PARAMS 1 'a'; " BEGIN(
         "2", "01", KEEP) "PARAMS 2 'zzz'; PARAMS 2; PARAMS 1 'b'; PARAMS 1; STDIN 2; STDIN 1",
     "BEGIN 1 role=1 flags=1; PARAMS 1 'ab'; PARAMS_END 1; STDIN_END 1; ",
     REFUSED("2", "01") DONE("1"), .react = end_when_asked},
    {"A-ID-9: refused without KEEP_CONN: closing waits for the other",
     BEGIN("1", "01", KEEP) REQUEST("2", CLOSE) "PARAMS 1; STDIN 1",
     "BEGIN 1 role=1 flags=1; PARAMS_END 1; STDIN_END 1; ", REFUSED("2", "01") DONE("1"),
     .finished = true, .react = end_when_asked},
    {"A-ID-10: interleaved",
     BEGIN("1", "01", KEEP)
         BEGIN("2", "01",
               KEEP) "PARAMS 2 'b'; PARAMS 1 'a'; PARAMS 1 'A'; "
                     "PARAMS 2; PARAMS 1; STDIN 1 'c'; STDIN 2 'd'; STDIN 1 'C'; STDIN 2; STDIN 1",
     "BEGIN 1 role=1 flags=1; BEGIN 2 role=1 flags=1; PARAMS 2 'b'; PARAMS 1 'aA'; "
     "PARAMS_END 2; PARAMS_END 1; STDIN 1 'c'; STDIN 2 'd'; STDIN 1 'C'; STDIN_END 2; "
     "STDIN_END 1; ",
     DONE("2") DONE("1"), .requests_max = 2, .react = end_when_asked},

    {"A-MGT-1, A-MGT-5: the three values, and the connection stays",
     "GET_VALUES 0 x0e00464347495f4d41585f434f4e4e530d00464347495f4d41585f524551530f00464347495f4d"
     "5058535f434f4e4e53; " REQUEST("1", KEEP),
     TOLD("1", "1"),
     "GET_VALUES_RESULT 0 "
     "'\\0e\\02FCGI_MAX_CONNS10\\0d\\02FCGI_MAX_REQS50\\0f\\01FCGI_MPXS_CONNS0'; " DONE("1"),
     .react = end_when_asked},
    {"A-MGT-1, A-MGT-12: multiplexing said", "GET_VALUES 0 x0f00464347495f4d5058535f434f4e4e53", "",
     "GET_VALUES_RESULT 0 '\\0f\\01FCGI_MPXS_CONNS1'; ", .requests_max = 2},
    {"A-MGT-2, A-MGT-7: unknown names, no names",
     "GET_VALUES 0 'abc'; GET_VALUES 0 x0100414141; "
     "GET_VALUES 0",
     "", "GET_VALUES_RESULT 0; GET_VALUES_RESULT 0; GET_VALUES_RESULT 0; "},
    {"A-MGT-3: at any time",
     "GET_VALUES 0; " BEGIN("1", "01",
                            KEEP) "GET_VALUES 0; PARAMS 1 'a'; GET_VALUES 0; PARAMS 1; "
                                  "STDIN 1 'b'; GET_VALUES 0; STDIN 1 'c'; STDIN 1; GET_VALUES 0",
     "BEGIN 1 role=1 flags=1; PARAMS 1 'a'; PARAMS_END 1; STDIN 1 'bc'; STDIN_END 1; ",
     "GET_VALUES_RESULT 0; GET_VALUES_RESULT 0; GET_VALUES_RESULT 0; GET_VALUES_RESULT 0; " DONE(
         "1") "GET_VALUES_RESULT 0; ",
     .react = end_when_asked},
    {"A-MGT-6: more than is looked at: what was seen is answered",
     "GET_VALUES 0 x0d00464347495f4d41585f524551538000ffff8000ffff; GET_VALUES 0 #2000 +5", "",
     "GET_VALUES_RESULT 0 '\\0d\\02FCGI_MAX_REQS50'; GET_VALUES_RESULT 0; "},
    {"A-MGT-8: unknown management types, with a body",
     "12 0; 255 0 #700 +9; 0 0 'a'; " REQUEST("1", KEEP), TOLD("1", "1"),
     "UNKNOWN_TYPE 0 x0c00000000000000; UNKNOWN_TYPE 0 xff00000000000000; "
     "UNKNOWN_TYPE 0 x0000000000000000; " DONE("1"),
     .react = end_when_asked},
    {"A-MGT-9: answers from the wrong side are not answered",
     "GET_VALUES_RESULT 0 'abc'; UNKNOWN_TYPE 0 x0c00000000000000; " REQUEST("1", KEEP),
     TOLD("1", "1"), DONE("1"), .react = end_when_asked},
    {"A-MGT-10: unknown types with an id, active or not",
     BEGIN("1", "01", KEEP) "12 1 'a'; 200 2 #300; UNKNOWN_TYPE 1; PARAMS 1; STDIN 1",
     TOLD("1", "1"), DONE("1"), .react = end_when_asked},

    {"A-BEG-1: all roles", BEGIN("1", "01", KEEP) BEGIN("2", "02", KEEP) BEGIN("3", "03", KEEP),
     "BEGIN 1 role=1 flags=1; BEGIN 2 role=2 flags=1; BEGIN 3 role=3 flags=1; ", "",
     .requests_max = 3, .roles = 14},
    {"A-BEG-2: roles that are not played, kept open; their input is ignored",
     BEGIN("1", "00", KEEP) BEGIN("2", "04", KEEP) "PARAMS 2 'a'; PARAMS 2; STDIN 2; " BEGIN(
         "3", "03", KEEP) "BEGIN_REQUEST 4 xffff010000000000; " REQUEST("5", KEEP),
     TOLD("5", "1"),
     REFUSED("1", "03") REFUSED("2", "03") REFUSED("3", "03") REFUSED("4", "03") DONE("5"),
     .react = end_when_asked},
    {"A-BEG-2: closed without KEEP_CONN", BEGIN("1", "02", CLOSE) "PARAMS 1; STDIN 1 'a'; STDIN 1",
     "", REFUSED("1", "03"), .finished = true},
    {"A-BEG-3: more requests than there is room for",
     BEGIN("1", "01", KEEP) BEGIN("2", "01", KEEP) REQUEST("3", KEEP) "PARAMS 1; STDIN 1",
     "BEGIN 1 role=1 flags=1; BEGIN 2 role=1 flags=1; PARAMS_END 1; STDIN_END 1; ",
     REFUSED("3", "02"), .requests_max = 2},
    {"A-BEG-3: refused by the user: no stream is ended", REQUEST("1", KEEP),
     "BEGIN 1 role=1 flags=1; ", REFUSED("1", "02"), .react = end_at_begin},
    {"A-BEG-4: only one flag means anything", BEGIN("1", "01", "ff") BEGIN("2", "01", "fe"),
     "BEGIN 1 role=1 flags=255; BEGIN 2 role=1 flags=254; ", "", .requests_max = 2},
    {"A-BEG-4: all flags but KEEP_CONN close", REQUEST("1", "fe"),
     "BEGIN 1 role=1 flags=254; PARAMS_END 1; STDIN_END 1; ", DONE("1"), .finished = true,
     .react = end_when_asked},
    {"A-BEG-5: a short body", "BEGIN_REQUEST 1 x00010100000000", "", "", "a short BEGIN_REQUEST"},
    {"A-BEG-5: no body", "BEGIN_REQUEST 1", "", "", "a short BEGIN_REQUEST"},
    {"A-BEG-5: a long body", "BEGIN_REQUEST 1 x0001010000000000aabb +2; PARAMS 1",
     "BEGIN 1 role=1 flags=1; PARAMS_END 1; ", ""},
    {"A-BEG-6: the role is 16 bits wide", "BEGIN_REQUEST 1 x0101010000000000", "",
     REFUSED("1", "03")},

    {"A-IN-7: STDIN before the end of PARAMS", BEGIN("1", "01", KEEP) "PARAMS 1 'a'; STDIN 1 'b'",
     "BEGIN 1 role=1 flags=1; PARAMS 1 'a'; ", "", "STDIN before the end of PARAMS"},
    {"A-IN-7: the end of STDIN before the end of PARAMS", BEGIN("1", "01", KEEP) "STDIN 1",
     "BEGIN 1 role=1 flags=1; ", "", "STDIN before the end of PARAMS"},
    {"A-IN-7: PARAMS after their end", BEGIN("1", "01", KEEP) "PARAMS 1; PARAMS 1 'a'",
     "BEGIN 1 role=1 flags=1; PARAMS_END 1; ", "", "PARAMS after its end"},
    {"A-IN-7: PARAMS ended twice", BEGIN("1", "01", KEEP) "PARAMS 1; PARAMS 1",
     "BEGIN 1 role=1 flags=1; PARAMS_END 1; ", "", "PARAMS after its end"},
    {"A-IN-7: STDIN after its end", REQUEST("1", KEEP) "STDIN 1 'a'", TOLD("1", "1"), "",
     "STDIN after its end"},
    {"A-IN-7: STDIN ended again is ignored", REQUEST("1", KEEP) "STDIN 1; STDIN 1", TOLD("1", "1"),
     ""},
    {"A-IN-7: DATA before the end of STDIN", BEGIN("1", "03", KEEP) "PARAMS 1; DATA 1 'a'",
     "BEGIN 1 role=3 flags=1; PARAMS_END 1; ", "", "DATA before the end of STDIN", .roles = 8},
    {"A-IN-7: DATA after its end",
     BEGIN("1", "03", KEEP) "PARAMS 1; STDIN 1; DATA 1 'a'; DATA 1; DATA 1; DATA 1 'b'",
     "BEGIN 1 role=3 flags=1; PARAMS_END 1; STDIN_END 1; DATA 1 'a'; DATA_END 1; ", "",
     "DATA after its end", .roles = 8},
    {"A-IN-8: DATA to a responder is discarded",
     BEGIN("1", "01", KEEP) "DATA 1 'a'; PARAMS 1; DATA 1; STDIN 1; DATA 1 'b'; DATA 1",
     TOLD("1", "1"), ""},
    {"A-FIL-1: a filter's streams",
     BEGIN("1", "03", KEEP) "PARAMS 1 'p'; PARAMS 1; STDIN 1 's'; STDIN 1; DATA 1 'd'; DATA 1",
     "BEGIN 1 role=3 flags=1; PARAMS 1 'p'; PARAMS_END 1; STDIN 1 's'; STDIN_END 1; DATA 1 'd'; "
     "DATA_END 1; ",
     "", .roles = 8},
    {"A-FIL-3: answered without its DATA, which is ignored",
     BEGIN("1", "03", KEEP) "PARAMS 1; STDIN 1; DATA 1 'd'; DATA 1; " BEGIN("1", "03", KEEP),
     "BEGIN 1 role=3 flags=1; PARAMS_END 1; STDIN_END 1; BEGIN 1 role=3 flags=1; ", DONE("1"),
     .roles = 8, .react = end_when_asked},
    {"A-AUT-2: an authorizer, with and without STDIN",
     BEGIN("1", "02", KEEP) "PARAMS 1; " BEGIN("2", "02", KEEP) "PARAMS 2; STDIN 2",
     "BEGIN 1 role=2 flags=1; PARAMS_END 1; BEGIN 2 role=2 flags=1; PARAMS_END 2; ",
     DONE("1") DONE("2"), .roles = 4, .react = end_at_once},

    {"A-ABT-1, A-ABT-2, A-ABT-5: aborted; the user's status, once; the id again",
     BEGIN("1", "01",
           KEEP) "PARAMS 1; STDIN 1 'a'; ABORT_REQUEST 1; STDIN 1 'b'; STDIN 1; " REQUEST("1",
                                                                                          KEEP),
     "BEGIN 1 role=1 flags=1; PARAMS_END 1; STDIN 1 'a'; ABORT 1; " TOLD("1", "1"),
     "STDOUT 1; END_REQUEST 1 x000003aa00000000; ", .react = end_when_aborted},
    {"A-ABT-3: aborted during PARAMS: nothing on STDOUT yet",
     BEGIN("1", "01", KEEP) "PARAMS 1 'a'; ABORT_REQUEST 1; PARAMS 1 'b'; PARAMS 1",
     "BEGIN 1 role=1 flags=1; PARAMS 1 'a'; ABORT 1; ", "END_REQUEST 1 x000003aa00000000; ",
     .react = end_when_aborted},
    {"A-ABT-3: aborted, but its input goes on while the user is busy; aborted again",
     BEGIN("1", "01", KEEP) "PARAMS 1 'a'; ABORT_REQUEST 1; PARAMS 1 'b'; PARAMS 1; STDIN 1 'c'; "
                            "ABORT_REQUEST 1; STDIN 1",
     "BEGIN 1 role=1 flags=1; PARAMS 1 'a'; ABORT 1; ", ""},
    {"A-ABT-5: others are not affected",
     BEGIN("1", "01", KEEP) BEGIN("2", "01", KEEP) "PARAMS 1; PARAMS 2; ABORT_REQUEST 1; "
                                                   "STDIN 2 'a'; STDIN 2",
     "BEGIN 1 role=1 flags=1; BEGIN 2 role=1 flags=1; PARAMS_END 1; PARAMS_END 2; ABORT 1; "
     "STDIN 2 'a'; STDIN_END 2; ",
     "STDOUT 1; END_REQUEST 1 x000003aa00000000; ", .requests_max = 2, .react = end_when_aborted},
    {"A-ABT-7: ABORT_REQUEST with content",
     BEGIN("1", "01", KEEP) "ABORT_REQUEST 1 'content' +3; " BEGIN("1", "01", KEEP),
     "BEGIN 1 role=1 flags=1; ABORT 1; BEGIN 1 role=1 flags=1; ",
     "END_REQUEST 1 x000003aa00000000; ", .react = end_when_aborted},

    {"A-CLS-3: with others active, finish them, begin none, then close",
     BEGIN("1", "01", CLOSE)
         BEGIN("2", "01", KEEP) "PARAMS 1; PARAMS 2; STDIN 1; STDIN 2; " REQUEST("3", KEEP),
     "BEGIN 1 role=1 flags=0; BEGIN 2 role=1 flags=1; PARAMS_END 1; PARAMS_END 2; STDIN_END 1; "
     "STDIN_END 2; ",
     DONE("1") DONE("2"), .finished = true, .requests_max = 5, .react = end_when_asked},
    {"A-CLS-3: one refused in between",
     BEGIN("1", "01", CLOSE)
         BEGIN("2", "01", KEEP) "PARAMS 1; STDIN 1; " REQUEST("3", KEEP) "PARAMS 2; STDIN 2",
     "BEGIN 1 role=1 flags=0; BEGIN 2 role=1 flags=1; PARAMS_END 1; STDIN_END 1; PARAMS_END 2; "
     "STDIN_END 2; ",
     DONE("1") REFUSED("3", "02") DONE("2"), .finished = true, .requests_max = 5,
     .react = end_when_asked},
    {"A-CLS-5: the next request behind the last record",
     BEGIN("1", "01", KEEP) "PARAMS 1; STDIN 1; " BEGIN("2", "01", KEEP) "PARAMS 2; STDIN 2",
     TOLD("1", "1") TOLD("2", "1"), DONE("1") DONE("2"), .react = end_when_asked},
    {"A-CLS-6: draining, nothing active", "", "", "", .finished = true, .before = drain},
    {"another request is ended than the one whose bytes come",
     BEGIN("1", "01", KEEP) BEGIN("2", "01", KEEP) "PARAMS 1; PARAMS 2; STDIN 2; STDIN 1 'late'",
     "BEGIN 1 role=1 flags=1; BEGIN 2 role=1 flags=1; PARAMS_END 1; PARAMS_END 2; STDIN_END 2; ",
     DONE("1"), .requests_max = 2, .react = end_second},
    {"A-FRM-3: 65535 bytes, with padding of 255",
     BEGIN("1", "01", KEEP) "PARAMS 1 #65535 +255; PARAMS 1; 99 0 #65535 +255; STDIN 7 #65535 +255",
     NULL, "UNKNOWN_TYPE 0 x6300000000000000; "},
};

static void scenarios_under_torture(void **state)
{
    struct text huge;

    (void)state;
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        struct scenario s = scenarios[i];

        if (s.events) {
            scenario_torture(&s, FERRY_CONN_APP);
            continue;
        }
        text_init(&huge);
        text_add(&huge, "BEGIN 1 role=1 flags=1; PARAMS 1 '");
        memset(huge.p + huge.n, 'x', 65535);
        huge.n += 65535;
        text_add(&huge, "'; PARAMS_END 1; ");
        s.events = huge.p;
        scenario_torture(&s, FERRY_CONN_APP);
        text_free(&huge);
    }
}

/* -- what is not about bytes -- */

static struct ferry_blocks blocks;

static struct ferry_conn *open_app(uint16_t requests_max, uint32_t idle_max)
{
    struct ferry_conn_opts o = {.side = FERRY_CONN_APP,
                                .blocks = &blocks,
                                .requests_max = requests_max,
                                .idle_records_max = idle_max};
    struct ferry_conn *c;

    ferry_blocks_init(&blocks, 4, 4);
    c = ferry_conn_new(&o);
    assert_non_null(c);
    return c;
}

static void close_app(struct ferry_conn *c)
{
    ferry_conn_free(c);
    ferry_blocks_fini(&blocks);
}

static int give_and(struct ferry_conn *c, const char *script, react_fn *react)
{
    struct feed f = {.c = c, .react = react};
    char *bytes = test_malloc(TEXT_MAX);

    text_init(&f.events);
    feed_piece(&f, bytes, records(script, bytes));
    text_free(&f.events);
    test_free(bytes);
    return f.err;
}

static int give(struct ferry_conn *c, const char *script)
{
    return give_and(c, script, NULL);
}

static void drop_output(struct ferry_conn *c)
{
    char *out = test_malloc(TEXT_MAX);

    take_output(c, out, TEXT_MAX);
    test_free(out);
}

/* A-ID-3: active from BEGIN_REQUEST to END_REQUEST. */
static void requests_are_active_until_their_end(void **state)
{
    struct ferry_conn *c = open_app(2, 0);

    (void)state;
    assert_int_equal(ferry_conn_end(c, 1, 0, FERRY_REQUEST_COMPLETE), FERRY_EUSAGE);
    assert_int_equal(give(c, REQUEST("1", KEEP) REQUEST("2", KEEP) "ABORT_REQUEST 2"), 0);
    assert_int_equal(ferry_conn_active(c), 2);
    assert_int_equal(ferry_conn_end(c, 1, 0, FERRY_REQUEST_COMPLETE), 0);
    assert_int_equal(ferry_conn_active(c), 1);
    assert_int_equal(ferry_conn_end(c, 1, 0, FERRY_REQUEST_COMPLETE), FERRY_EUSAGE); /* A-END-1 */
    assert_int_equal(ferry_conn_end(c, 2, 0, FERRY_REQUEST_COMPLETE), 0);
    assert_int_equal(ferry_conn_active(c), 0);
    assert_int_equal(ferry_conn_begin(c, FERRY_RESPONDER, true, NULL), FERRY_EUSAGE);
    assert_int_equal(ferry_conn_abort(c, 1), FERRY_EUSAGE);
    assert_int_equal(ferry_conn_get_values(c), FERRY_EUSAGE);
    close_app(c);
}

/* Fills what the connection answers by itself; how many records it took. */
static unsigned fill(struct ferry_conn *c, const char *script)
{
    char *bytes = test_malloc(TEXT_MAX);
    struct ferry_conn_event ev;
    size_t n = records(script, bytes);
    unsigned taken = 0;
    ssize_t took;

    while ((took = ferry_conn_recv(c, bytes, n, 0)) > 0) {
        assert_int_equal(took, n);
        assert_int_equal(ferry_conn_event(c, &ev), 0);
        assert_true(++taken < 100000);
    }
    assert_int_equal(took, 0);
    test_free(bytes);
    return taken;
}

/* A peer that asks and never reads is not read any more, until it does. */
static void answers_do_not_fill_the_memory(void **state)
{
    static const char *const scripts[] = {"77 0", "GET_VALUES 0", BEGIN("2", "01", KEEP),
                                          BEGIN("3", "07", KEEP)};

    (void)state;
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        struct ferry_conn *c = open_app(1, 0);
        size_t len;

        assert_int_equal(give(c, BEGIN("1", "01", KEEP)), 0);
        fill(c, scripts[i]);
        len = ferry_conn_output(c)->len;
        assert_in_range(len, FERRY__REPLIES_MAX, FERRY__REPLIES_MAX + 128);
        assert_false(ferry_conn_finished(c));
        /* sending some of it is not enough; all of it is */
        ferry_conn_sent(c, len - 1, 0);
        assert_int_equal(fill(c, scripts[i]), 0);
        ferry_conn_sent(c, 1, 0);
        assert_true(fill(c, scripts[i]) > 100);
        close_app(c);
    }
}

static void replies_do_not_wait_for_output_behind_them(void **state)
{
    struct ferry_conn *c = open_app(1, 0);
    size_t len;

    (void)state;
    assert_int_equal(give(c, BEGIN("1", "01", KEEP) "PARAMS 1"), 0);
    fill(c, "77 0");
    len = ferry_conn_output(c)->len;
    assert_int_equal(ferry_conn_write(c, 1, FERRY_STDOUT, NULL, FERRY_SLICE("output")), 0);
    ferry_conn_sent(c, len, 0);
    assert_true(ferry_conn_output(c)->len > 0);
    assert_int_equal(give(c, "STDIN 1"), 0);
    close_app(c);
}

/* 3.16: endless records that bring nothing end at the limit, one before they do not. */
static void records_without_progress_are_counted(void **state)
{
    static const char *const scripts[] = {
        "77 0",
        "77 5 'abc'",
        "GET_VALUES 0",
        "STDIN 1",
        "STDIN 9",
        "ABORT_REQUEST 9 'a'",
        "DATA 1",
        "UNKNOWN_TYPE 0",
        "GET_VALUES_RESULT 0",
        "GET_VALUES 2",
        BEGIN("2", "01", KEEP),
    };

    (void)state;
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        struct ferry_conn *c = open_app(1, 10);

        assert_int_equal(give(c, BEGIN("1", "01", KEEP) "PARAMS 1; STDIN 1"), 0);
        for (int n = 0; n < 10; n++)
            assert_int_equal(give(c, scripts[i]), 0);
        assert_int_equal(ferry_conn_end(c, 1, 0, FERRY_REQUEST_COMPLETE), 0);
        assert_int_equal(give(c, BEGIN("1", "01", KEEP) "PARAMS 1; STDIN 1"), 0);
        for (int n = 0; n < 10; n++)
            assert_int_equal(give(c, scripts[i]), 0);
        assert_int_equal(give(c, scripts[i]), FERRY_ELIMIT);
        assert_string_equal(ferry_conn_error_text(c), "too many records without progress");
        assert_true(ferry_conn_finished(c));
        close_app(c);
    }
}

/* A-ID-5: the rest of a long upload is no flood. */
static void a_long_upload_may_outlive_its_request(void **state)
{
    struct ferry_conn *c = open_app(1, 10);

    (void)state;
    assert_int_equal(give_and(c, BEGIN("1", "01", KEEP) "PARAMS 1", end_at_once), 0);
    for (int n = 0; n < 1000; n++)
        assert_int_equal(give(c, "STDIN 1 'x'"), 0);
    assert_int_equal(give(c, "STDIN 1; " BEGIN("1", "01", KEEP)), 0);
    close_app(c);
}

/* A-CLS-1: what has not been read must not turn the close into a reset. */
static void closing_waits_for_input_still_to_come(void **state)
{
    const struct ferry_machine *m = &ferry_conn_machine;
    struct ferry_conn *c;

    (void)state;
    for (int how = 0; how < 4; how++) {
        c = open_app(1, 0);
        assert_int_equal(give_and(c, BEGIN("1", "01", CLOSE) "PARAMS 1; STDIN 1 'a'", end_at_once),
                         0);
        assert_false(ferry_conn_finished(c));
        assert_true(m->wants_shutdown(c));
        assert_true(m->deadline(c) == FERRY_NEVER); /* not before the output is sent */
        ferry_conn_sent(c, ferry_conn_output(c)->len, 1000);
        assert_true(m->deadline(c) == 1000 + FERRY__LINGER_MS);
        assert_int_equal(give(c, "STDIN 1 'b'; GET_VALUES 0; " BEGIN("2", "01", KEEP)), 0);
        assert_int_equal(ferry_conn_output(c)->len, 0);
        assert_false(ferry_conn_finished(c));
        if (how == 0) {
            assert_int_equal(give(c, "STDIN 1"), 0);
        } else if (how == 1) {
            struct ferry_conn_event ev;

            assert_int_equal(ferry_conn_recv(c, NULL, 0, 0), 0);
            assert_false(ferry_conn_finished(c));
            assert_int_equal(ferry_conn_event(c, &ev), 1);
            assert_int_equal(ev.type, FERRY_CONN_CLOSED);
        } else if (how == 2) {
            m->tick(c, 1000 + FERRY__LINGER_MS - 1);
            assert_false(ferry_conn_finished(c));
            m->tick(c, 1000 + FERRY__LINGER_MS);
        } else {
            assert_int_equal(give(c, "v2 STDIN 1"), FERRY_EPROTOCOL);
        }
        assert_true(ferry_conn_finished(c));
        assert_false(m->wants_shutdown(c));
        assert_true(m->deadline(c) == FERRY_NEVER);
        close_app(c);
    }
}

/* The same for a request that was refused. */
static void closing_waits_for_the_input_of_refused_requests(void **state)
{
    struct ferry_conn *c = open_app(1, 0);

    (void)state;
    assert_int_equal(give(c, BEGIN("9", "07", CLOSE) "PARAMS 9 'a'; PARAMS 9"), 0);
    assert_false(ferry_conn_finished(c));
    assert_true(ferry_conn_machine.wants_shutdown(c));
    assert_int_equal(give(c, "STDIN 9 'a'; STDIN 9"), 0);
    assert_true(ferry_conn_finished(c));
    close_app(c);
}

static void lingering_without_output_begins_with_a_tick(void **state)
{
    const struct ferry_machine *m = &ferry_conn_machine;
    struct ferry_conn *c = open_app(1, 0);

    (void)state;
    assert_int_equal(give_and(c, BEGIN("1", "01", KEEP) "PARAMS 1", end_at_once), 0);
    drop_output(c);
    assert_true(m->deadline(c) == FERRY_NEVER);
    ferry_conn_drain(c);
    assert_true(m->deadline(c) <= 5000);
    m->tick(c, 5000);
    assert_true(m->deadline(c) == 5000 + FERRY__LINGER_MS);
    m->tick(c, 5000 + FERRY__LINGER_MS);
    assert_true(ferry_conn_finished(c));
    close_app(c);
}

/* A-CLS-6: never between BEGIN_REQUEST and END_REQUEST. */
static void draining_finishes_what_is_active(void **state)
{
    struct ferry_conn *c = open_app(2, 0);

    (void)state;
    assert_int_equal(give(c, REQUEST("1", KEEP)), 0);
    ferry_conn_drain(c);
    assert_false(ferry_conn_finished(c));
    assert_int_equal(give(c, REQUEST("2", KEEP)), 0);
    assert_int_equal(ferry_conn_active(c), 1);
    assert_int_equal(ferry_conn_end(c, 1, 0, FERRY_REQUEST_COMPLETE), 0);
    assert_true(ferry_conn_finished(c));
    close_app(c);
}

/* A-CLS-7: the peer shut down its sending side after a whole request; A-ABT-6: that is told. */
static void after_a_half_close_the_answer_is_still_sent(void **state)
{
    struct ferry_conn *c = open_app(1, 0);
    struct ferry_conn_event ev;
    char *out = test_malloc(TEXT_MAX);
    struct text got;

    (void)state;
    assert_int_equal(give(c, REQUEST("1", KEEP)), 0);
    assert_int_equal(ferry_conn_recv(c, NULL, 0, 0), 0);
    assert_int_equal(ferry_conn_event(c, &ev), 1);
    assert_int_equal(ev.type, FERRY_CONN_CUT);
    assert_false(ferry_conn_finished(c));
    assert_int_equal(ferry_conn_write(c, 1, FERRY_STDOUT, NULL, FERRY_SLICE("a")), 0);
    assert_int_equal(ferry_conn_end(c, 1, 0, FERRY_REQUEST_COMPLETE), 0);
    assert_true(ferry_conn_finished(c));
    text_init(&got);
    text_records(&got, out, take_output(c, out, 3));
    assert_string_equal(got.p, "STDOUT 1 'a'; " DONE("1"));
    text_free(&got);
    test_free(out);
    close_app(c);
}

/* The event that waits is gone with its request. */
static void a_request_can_end_while_its_event_waits(void **state)
{
    struct ferry_conn *c = open_app(2, 0);
    char *bytes = test_malloc(TEXT_MAX);
    struct ferry_conn_event ev;
    size_t n = records("STDIN 1 'abc'; STDIN 2 'd'", bytes);

    (void)state;
    assert_int_equal(give(c, BEGIN("1", "01", KEEP) BEGIN("2", "01", KEEP) "PARAMS 1; PARAMS 2"),
                     0);
    assert_int_equal(ferry_conn_recv(c, bytes, 10, 0), 10);
    assert_int_equal(ferry_conn_end(c, 1, 0, FERRY_REQUEST_COMPLETE), 0);
    assert_int_equal(ferry_conn_event(c, &ev), 0);
    assert_int_equal(ferry_conn_recv(c, bytes + 10, n - 10, 0), n - 10);
    assert_int_equal(ferry_conn_event(c, &ev), 1);
    assert_int_equal(ev.id, 2);
    assert_slice_equal(ev.data, "d");
    test_free(bytes);
    close_app(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scenarios_under_torture),
        cmocka_unit_test(requests_are_active_until_their_end),
        cmocka_unit_test(answers_do_not_fill_the_memory),
        cmocka_unit_test(replies_do_not_wait_for_output_behind_them),
        cmocka_unit_test(records_without_progress_are_counted),
        cmocka_unit_test(a_long_upload_may_outlive_its_request),
        cmocka_unit_test(closing_waits_for_input_still_to_come),
        cmocka_unit_test(closing_waits_for_the_input_of_refused_requests),
        cmocka_unit_test(lingering_without_output_begins_with_a_tick),
        cmocka_unit_test(draining_finishes_what_is_active),
        cmocka_unit_test(after_a_half_close_the_answer_is_still_sent),
        cmocka_unit_test(a_request_can_end_while_its_event_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
