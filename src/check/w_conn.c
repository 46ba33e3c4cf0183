/* SPDX-License-Identifier: MIT */
/*
 * Connections to the application: refusals, keeping them, sharing them between requests, and
 * clients that go away (W-12 to W-15).
 */
#include <stdio.h>
#include <string.h>

#include "check/gateway.h"

#define HEAD "Content-Type: text/plain\r\n"
#define MANY 8

static void done(struct ferry_visit *v, struct ferry_asked *r)
{
    ferry_asked_answer(r, "done");
    ferry_visit_expect(v, 200, "done");
}

/* Requests under way at once, of which two share a connection. */
struct shared {
    struct ferry_visit *v[MANY];
    struct ferry_asked *r[MANY];
    int first, second; /* the two */
};

static void ask_many(struct ferry_check *c, struct shared *s)
{
    for (int i = 0; i < MANY; i++)
        s->v[i] = ferry_visit_get(c);
    for (int i = 0; i < MANY; i++)
        s->r[i] = ferry_visit_asked(s->v[i]);
}

static bool find_pair(struct shared *s)
{
    for (s->second = 1; s->second < MANY; s->second++)
        for (s->first = 0; s->first < s->second; s->first++)
            if (s->r[s->first]->conn == s->r[s->second]->conn)
                return true;
    return false;
}

static struct shared *share(struct ferry_check *c)
{
    struct shared *s = ferry_check_alloc(c, sizeof *s);
    struct ferry_asked *later;

    ask_many(c, s);
    if (!find_pair(s)) {
        for (int i = 0; i < MANY; i++)
            done(s->v[i], s->r[i]);
        ferry_check_skip(c, "the web server has one request at a time on a connection");
    }
    /* `second` is the one that began later. */
    for (later = s->r[s->first]->next; later && later != s->r[s->second]; later = later->next)
        ;
    if (!later) {
        int i = s->first;

        s->first = s->second;
        s->second = i;
    }
    return s;
}

/* All but the two, and those that have an answer. */
static void finish_others(struct shared *s)
{
    for (int i = 0; i < MANY; i++)
        if (i != s->first && i != s->second && !s->r[i]->ended)
            done(s->v[i], s->r[i]);
}

/* -- W-12: refusals --------------------------------------------------------------------------- */

static void cant_mpx(struct ferry_check *c)
{
    struct shared *s = share(c);
    struct ferry_asked *again;

    ferry_gateway(c)->shaken = true;
    ferry_asked_end(s->r[s->second], 0, FERRY_CANT_MPX_CONN);
    again = ferry_visit_nth(s->v[s->second], 1, true, ferry_stage(c)->timeout_ms);
    if (!again)
        ferry_check_fail(c,
                         "expected the refused request on another connection, but it does not "
                         "come; its client got %s",
                         ferry_visit_said(s->v[s->second]));
    if (again->conn == s->r[s->first]->conn)
        ferry_check_fail(c, "expected the refused request on another connection, but it came on "
                            "the same one, which is busy");
    done(s->v[s->second], again);
    done(s->v[s->first], s->r[s->first]);
    finish_others(s);
}

static void mpx_no_more(struct ferry_check *c)
{
    struct shared *s = share(c), *after = ferry_check_alloc(c, sizeof *after);
    struct ferry_asked *again;
    bool pair;

    ferry_gateway(c)->shaken = true;
    ferry_asked_end(s->r[s->second], 0, FERRY_CANT_MPX_CONN);
    again = ferry_visit_nth(s->v[s->second], 1, true, ferry_stage(c)->timeout_ms);
    if (again)
        done(s->v[s->second], again);
    done(s->v[s->first], s->r[s->first]);
    finish_others(s);
    ask_many(c, after);
    pair = find_pair(after);
    for (int i = 0; i < MANY; i++)
        done(after->v[i], after->r[i]);
    if (pair)
        ferry_check_fail(c,
                         "expected no more requests side by side on a connection, but there are");
}

/* Refused three times, then served, if it comes so often. */
static bool refused(struct ferry_check *c, struct ferry_visit *v, unsigned protocol_status)
{
    struct ferry_asked *r = ferry_visit_asked(v);

    for (unsigned n = 1; r; n++) {
        uint64_t end = ferry_check_now() + ferry_stage(c)->timeout_ms;

        if (n == 4) {
            done(v, r);
            return false;
        }
        ferry_asked_end(r, 0, protocol_status);
        while (!(r = ferry_visit_nth(v, n, true, 0)) && v->response.end == FERRY_HTTP_OPEN &&
               ferry_check_now() < end)
            ferry_stage_turn(ferry_stage(c), 20);
    }
    ferry_visit_expect_error(v);
    return true;
}

static void overloaded(struct ferry_check *c)
{
    struct ferry_visit *v = ferry_visit_get(c);

    if (refused(c, v, FERRY_OVERLOADED) && c->at->arg && v->response.status != 503)
        ferry_check_fail(c, "expected another try, or status 503, but got %s", ferry_visit_said(v));
}

static void unknown_role(struct ferry_check *c)
{
    struct ferry_visit *v = ferry_visit_get(c);
    struct ferry_asked *r = ferry_visit_asked(v);

    ferry_asked_end(r, 0, FERRY_UNKNOWN_ROLE);
    if (c->at->arg && ferry_visit_nth(v, 1, false, 300))
        ferry_check_fail(c, "expected no other try, but the request came again");
    if (c->at->arg == 0)
        (void)refused(c, v, FERRY_UNKNOWN_ROLE);
}

static void lone_cant_mpx(struct ferry_check *c)
{
    (void)refused(c, ferry_visit_get(c), FERRY_CANT_MPX_CONN);
}

static void odd_status(struct ferry_check *c)
{
    (void)refused(c, ferry_visit_get(c), 17);
}

static const struct ferry_check_case refusals[] = {
    {"W-12a", "5.5", FERRY_INFERRED, "OVERLOADED is no answer: another try, or an error", 0,
     overloaded, 0},
    {"W-12b", "", FERRY_SILENT, "OVERLOADED: another try, or status 503", 0, overloaded, 1},
    {"W-12c", "5.5", FERRY_INFERRED, "UNKNOWN_ROLE is no answer: an error", 0, unknown_role, 0},
    {"W-12d", "", FERRY_SILENT, "and the request is not sent again", 0, unknown_role, 1},
    {"W-12e", "5.5", FERRY_INFERRED,
     "CANT_MPX_CONN where nothing was multiplexed: another try, or an error", 0, lone_cant_mpx, 0},
    {"W-12f", "", FERRY_SILENT, "protocol status 17 is no answer: another try, or an error", 0,
     odd_status, 0},
    {"W-12g", "5.5", FERRY_INFERRED, "CANT_MPX_CONN: the request is sent on another connection",
     FERRY_NEEDS_MULTIPLEX, cant_mpx, 0},
    {"W-12h", "5.5", FERRY_INFERRED, "and then requests no longer share connections",
     FERRY_NEEDS_MULTIPLEX, mpx_no_more, 0},
};

const struct ferry_check_group ferry_check_w_12 = {"W-12", "refused requests", refusals, 8};

/* -- W-14, W-15 on shared connections --------------------------------------------------------- */

/* The client of one goes; the other must not notice. */
static void abort_one(struct ferry_check *c)
{
    struct shared *s = share(c);
    struct ferry_asked *gone = s->r[s->second], *stays = s->r[s->first];
    enum ferry_left left;

    ferry_asked_say(stays, HEAD "\r\nhello, ");
    ferry_visit_reset(s->v[s->second]);
    left = ferry_asked_left(gone, ferry_stage(c)->timeout_ms);
    if (left == FERRY_LEFT_CLOSE)
        ferry_check_fail(c, "expected ABORT_REQUEST for a shared connection, but it was closed");
    if (left == FERRY_LEFT_NOT)
        ferry_check_fail(c, "expected ABORT_REQUEST, but it does not come");
    if (c->at->arg) {
        ferry_asked_say(gone, HEAD "\r\nfor nobody");
        ferry_asked_finish(gone, 1);
    }
    ferry_asked_say(stays, "world");
    ferry_asked_finish(stays, 0);
    ferry_visit_expect(s->v[s->first], 200, "hello, world");
    finish_others(s);
}

/* After ABORT_REQUEST and before END_REQUEST the id is not free. */
static void id_after_abort(struct ferry_check *c)
{
    struct shared *s = share(c);
    struct ferry_asked *gone = s->r[s->second];

    ferry_visit_reset(s->v[s->second]);
    if (ferry_asked_left(gone, ferry_stage(c)->timeout_ms) != FERRY_LEFT_ABORT)
        ferry_check_skip(c, "the web server sends no ABORT_REQUEST");
    for (int i = 0; i < 2 * MANY; i++) {
        struct ferry_visit *v = ferry_visit_get(c);
        struct ferry_asked *r = ferry_visit_asked(v);

        if (r->conn == gone->conn && r->id == gone->id)
            ferry_check_fail(c,
                             "expected id %u to rest until its END_REQUEST, but it was used "
                             "again",
                             gone->id);
        done(v, r);
    }
    ferry_asked_end(gone, 0, FERRY_REQUEST_COMPLETE);
    done(s->v[s->first], s->r[s->first]);
    finish_others(s);
}

static void ids_differ(struct ferry_check *c)
{
    struct shared *s = share(c);

    for (int i = 0; i < MANY; i++) {
        for (int k = 0; k < i; k++)
            if (s->r[i]->conn == s->r[k]->conn && s->r[i]->id == s->r[k]->id)
                ferry_check_fail(c, "expected different ids, but two requests have %u",
                                 s->r[i]->id);
        if (s->r[i]->wrong[0])
            ferry_check_fail(c, "expected nothing against the protocol, but there was %s",
                             s->r[i]->wrong);
    }
    /* In another order than they came, each to its own client. */
    for (int i = MANY - 1; i >= 0; i--) {
        ferry_asked_say(s->r[i], HEAD "\r\n");
        ferry_asked_flush(s->r[i]);
    }
    for (int i = 0; i < MANY; i++) {
        ferry_asked_say(s->r[i], s->v[i]->token);
        ferry_asked_finish(s->r[i], 0);
    }
    for (int i = 0; i < MANY; i++)
        ferry_visit_expect(s->v[i], 200, s->v[i]->token);
}

static const struct ferry_check_case shared_ids[] = {
    {"W-15a", "3.3", FERRY_MUST, "requests at once on a connection have different ids",
     FERRY_NEEDS_MULTIPLEX, ids_differ, 0},
    {"W-15b", "5.4", FERRY_INFERRED,
     "an aborted request's id is not used before its END_REQUEST has come", FERRY_NEEDS_MULTIPLEX,
     id_after_abort, 0},
};

const struct ferry_check_group ferry_check_w_15 = {"W-15", "ids on shared connections", shared_ids,
                                                   2};

/* -- W-14: the client is gone ----------------------------------------------------------------- */

static void expect_left(struct ferry_check *c, struct ferry_asked *r, enum ferry_left left)
{
    if (left == FERRY_LEFT_NOT)
        ferry_check_fail(c, "expected ABORT_REQUEST or a close, but for %u ms nothing comes",
                         ferry_stage(c)->timeout_ms);
    if (left == FERRY_LEFT_ABORT)
        ferry_asked_end(r, 0, FERRY_REQUEST_COMPLETE);
}

static void gone_while_silent(struct ferry_check *c)
{
    struct ferry_visit *v = ferry_visit_get(c);
    struct ferry_asked *r = ferry_visit_asked(v);

    if (c->at->arg)
        ferry_visit_reset(v);
    else
        ferry_visit_close(v);
    expect_left(c, r, ferry_asked_left(r, ferry_stage(c)->timeout_ms));
}

static void gone_while_streaming(struct ferry_check *c)
{
    struct ferry_visit *v = ferry_visit_get(c);
    struct ferry_asked *r = ferry_visit_asked(v);
    uint64_t end = ferry_check_now() + ferry_stage(c)->timeout_ms;
    enum ferry_left left = FERRY_LEFT_NOT;
    char *piece = ferry_check_alloc(c, 16384);

    memset(piece, 'x', 16384);
    ferry_asked_say(r, HEAD "\r\n");
    ferry_asked_write(r, piece, 16384);
    ferry_asked_flush(r);
    ferry_visit_body_comes(v, 1, 200);
    ferry_visit_reset(v);
    while (left == FERRY_LEFT_NOT && ferry_check_now() < end) {
        ferry_asked_write(r, piece, 16384);
        left = ferry_asked_left(r, 20);
    }
    expect_left(c, r, left);
}

static void half_close(struct ferry_check *c)
{
    struct ferry_visit *v = ferry_visit_get(c);
    struct ferry_asked *r = ferry_visit_asked(v);

    ferry_visit_shutdown(v);
    ferry_stage_pass(c, 100);
    ferry_asked_answer(r, "to one who listens");
    ferry_visit_expect(v, 200, "to one who listens");
}

static const struct ferry_check_case leaving[] = {
    {"W-14a", "5.4", FERRY_MUST,
     "the client resets while the application is silent: ABORT_REQUEST or a close", 0,
     gone_while_silent, 1},
    {"W-14b", "5.4", FERRY_MUST, "the client resets in the middle of the answer: the same", 0,
     gone_while_streaming, 0},
    {"W-14c", "", FERRY_SILENT, "a client that has ended its direction only is answered", 0,
     half_close, 0},
    {"W-14d", "5.4", FERRY_MUST, "on a shared connection it is ABORT_REQUEST, and others go on",
     FERRY_NEEDS_MULTIPLEX, abort_one, 0},
    {"W-14e", "5.4", FERRY_MUST, "what is still sent for an aborted request goes to nobody",
     FERRY_NEEDS_MULTIPLEX, abort_one, 1},
};

const struct ferry_check_group ferry_check_w_14 = {"W-14", "the client is gone", leaving, 5};

/* -- W-13: keeping connections ---------------------------------------------------------------- */

static void not_kept(struct ferry_check *c)
{
    struct ferry_visit *v = ferry_visit_get(c);
    struct ferry_asked *r = ferry_visit_asked(v);

    if (r->flags & FERRY_KEEP_CONN) {
        done(v, r);
        ferry_check_skip(c, "the web server keeps connections");
    }
    ferry_asked_answer(r, "done");
    r->conn->closes = false; /* it should be closed by us, and is not */
    ferry_visit_expect(v, 200, "done");
    for (int i = 0; i < 5; i++) {
        ferry_visit_again(v);
        ferry_visit_request(v, "GET", NULL);
        done(v, ferry_visit_asked(v));
    }
    if (r->conn->begun > 1)
        ferry_check_fail(c,
                         "expected one request on a connection that is not kept, but there are "
                         "%u",
                         r->conn->begun);
}

static void kept(struct ferry_check *c)
{
    struct ferry_visit *v = ferry_visit_get(c);
    struct ferry_asked *r = ferry_visit_asked(v);
    unsigned again = 0;

    for (int i = 0; i < 20; i++) {
        if (!(r->flags & FERRY_KEEP_CONN)) {
            done(v, r);
            ferry_check_skip(c, "the web server keeps no connections");
        }
        done(v, r);
        ferry_stage_pass(c, 5);
        if (r->conn->gone && !c->at->arg)
            ferry_check_fail(c, "expected the connection to stay open, but the web server closed "
                                "it");
        ferry_visit_again(v);
        ferry_visit_request(v, "GET", NULL);
        r = ferry_visit_asked(v);
        again += r->conn->begun > 1;
    }
    done(v, r);
    if (c->at->arg && !again)
        ferry_check_fail(c, "expected later requests on a kept connection, but all 20 came on new "
                            "ones");
}

/* The first is answered but not ended; where does the next one go? */
static void not_before_end(struct ferry_check *c)
{
    struct ferry_visit *v = ferry_visit_get(c), *next;
    struct ferry_asked *r = ferry_visit_asked(v), *other;
    bool shared;

    ferry_asked_say(r, HEAD "Content-Length: 4\r\n\r\ndone");
    ferry_asked_record(r, FERRY_STDOUT, NULL, 0, 0);
    ferry_asked_flush(r);
    ferry_visit_body_comes(v, 4, 300);
    next = ferry_visit_get(c);
    other = ferry_visit_nth(next, 0, true, 500);
    shared = other && other->conn == r->conn;
    ferry_asked_end(r, 0, FERRY_REQUEST_COMPLETE);
    if (!other)
        other = ferry_visit_asked(next);
    done(next, other);
    if (shared && ferry_stage(c)->values_asked)
        ferry_check_fail(c, "expected no other request before END_REQUEST, for FCGI_MPXS_CONNS is "
                            "0, but one came");
    if (shared)
        ferry_check_skip(c, "the web server multiplexes without asking whether it may");
}

static void stale(struct ferry_check *c)
{
    struct ferry_visit *v = ferry_visit_get(c);
    struct ferry_asked *r = ferry_visit_asked(v);

    if (!(r->flags & FERRY_KEEP_CONN)) {
        done(v, r);
        ferry_check_skip(c, "the web server keeps no connections");
    }
    done(v, r);
    if (c->at->arg == 0) { /* closed while it rests */
        ferry_asked_close(r);
        ferry_stage_pass(c, 50);
    }
    ferry_visit_again(v);
    ferry_visit_request(v, "GET", NULL);
    r = ferry_visit_asked(v);
    if (c->at->arg && r->conn->begun > 1) { /* closed as the next request comes */
        ferry_asked_close(r);
        r = ferry_visit_nth(v, 1, true, ferry_stage(c)->timeout_ms);
    }
    if (!r)
        ferry_check_fail(c, "expected the request on another connection, but the client got %s",
                         ferry_visit_said(v));
    done(v, r);
}

static const struct ferry_check_case keeping[] = {
    {"W-13a", "5.1", FERRY_MUST, "without KEEP_CONN: no second request on that connection", 0,
     not_kept, 0},
    {"W-13b", "3.5", FERRY_SILENT, "with KEEP_CONN: the connection stays open after END_REQUEST", 0,
     kept, 0},
    {"W-13c", "", FERRY_SILENT, "with KEEP_CONN: later requests use the connection again", 0, kept,
     1},
    {"W-13d", "3.3", FERRY_INFERRED,
     "no other request before END_REQUEST where FCGI_MPXS_CONNS is 0", 0, not_before_end, 0},
    {"W-13e", "", FERRY_SILENT, "a kept connection that was closed is no error for a GET", 0, stale,
     0},
    {"W-13f", "", FERRY_SILENT, "nor is one that is closed as the request comes", 0, stale, 1},
};

const struct ferry_check_group ferry_check_w_13 = {"W-13", "keeping connections", keeping, 6};
