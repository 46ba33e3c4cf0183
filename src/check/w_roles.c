/* SPDX-License-Identifier: MIT */
/* The roles authorizer and filter, where a web server has a place for them (W-20 to W-23). */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "check/gateway.h"

#define HEAD "Content-Type: text/plain\r\n"
#define ACCESS                                                                                     \
    "Authorization: Basic dXNlcjpwYXNzd29yZA==\r\n" /* some ask no authorizer without              \
                                                     */

/* A request, up to the question whether it may go on. */
static struct ferry_asked *ask(struct ferry_check *c, struct ferry_visit **v)
{
    struct ferry_asked *r;

    *v = ferry_visit_open(c);
    ferry_visit_request(*v, "POST", HEAD ACCESS "Content-Length: 5\r\n");
    ferry_visit_send(*v, "hello", 5);
    r = ferry_visit_params(*v);
    if (r->role != FERRY_AUTHORIZER) {
        ferry_asked_answer(r, "done");
        ferry_check_fail(c, "expected an authorizer to be asked first, but role %u is", r->role);
    }
    return r;
}

/* The request behind the authorizer's. */
static struct ferry_asked *passes(struct ferry_visit *v)
{
    struct ferry_asked *r = ferry_visit_nth(v, 1, true, v->stage->timeout_ms);

    if (!r)
        ferry_check_fail(v->stage->check,
                         "expected the request at the responder, but it does not come; its client "
                         "got %s",
                         ferry_visit_said(v));
    return r;
}

static void let_pass(struct ferry_asked *r, const char *fields)
{
    ferry_asked_say(r, "Status: 200 OK\r\n");
    ferry_asked_say(r, fields);
    ferry_asked_say(r, "\r\n");
    ferry_asked_finish(r, 0);
}

/* -- W-20: authorizers ------------------------------------------------------------------------ */

static void left_out(struct ferry_check *c)
{
    static const char *const names[] = {"CONTENT_LENGTH", "PATH_INFO", "PATH_TRANSLATED",
                                        "SCRIPT_NAME"};
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);
    struct ferry_slice got = ferry_asked_param(r, names[c->at->arg], NULL);

    if (got.p)
        ferry_check_fail(c, "expected no %s, but it is \"%.*s\"", names[c->at->arg],
                         (int)(got.len < 60 ? got.len : 60), got.p);
}

static void goes_on(struct ferry_check *c)
{
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);

    let_pass(r, "");
    r = passes(v);
    if (r->role != FERRY_RESPONDER)
        ferry_check_fail(c, "expected role 1, responder, but it is %u", r->role);
    ferry_asked_answer(r, "done");
    ferry_visit_expect(v, 200, "done");
}

static void variables(struct ferry_check *c)
{
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);
    struct ferry_slice got;

    let_pass(r, "Variable-CHECKED: by ferry\r\nVariable-LEVEL: 7\r\n");
    r = passes(v);
    got = ferry_asked_param(r, "CHECKED", NULL);
    if (!ferry_slice_eq(got, FERRY_SLICE("by ferry")))
        ferry_check_fail(c, "expected CHECKED = \"by ferry\", but it is \"%.*s\"", (int)got.len,
                         got.p ? got.p : "");
    got = ferry_asked_param(r, "LEVEL", NULL);
    if (!ferry_slice_eq(got, FERRY_SLICE("7")))
        ferry_check_fail(c, "expected LEVEL = \"7\", but it is \"%.*s\"", (int)got.len,
                         got.p ? got.p : "");
    ferry_asked_answer(r, "done");
    ferry_visit_expect(v, 200, "done");
}

static void rest_unused(struct ferry_check *c)
{
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);

    ferry_asked_say(r, "Status: 200 OK\r\n" HEAD
                       "X-Inside: SECRET\r\nVariable-INSIDE: SECRET\r\n\r\nSECRET");
    ferry_asked_finish(r, 0);
    ferry_asked_answer(passes(v), "done");
    ferry_visit_expect(v, 200, "done");
    if (memmem(v->in.p, v->in.len, "SECRET", 6))
        ferry_check_fail(c, "expected nothing of the authorizer's answer at the client, but it is "
                            "there");
}

static void denied(struct ferry_check *c)
{
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);
    struct ferry_slice why;

    ferry_asked_say(r, "Status: 403 Forbidden\r\n" HEAD "X-Why: because\r\n\r\nno entry");
    ferry_asked_finish(r, 0);
    if (c->at->arg) {
        if (ferry_visit_nth(v, 1, false, 300))
            ferry_check_fail(c, "expected the request to end here, but it went on");
        ferry_visit_wait(v);
        return;
    }
    ferry_visit_expect(v, 403, "no entry");
    why = ferry_http_field(&v->response, "X-Why", 0);
    if (!ferry_slice_eq(why, FERRY_SLICE("because")))
        ferry_check_fail(c, "expected the authorizer's own fields, but X-Why is \"%.*s\"",
                         (int)why.len, why.p ? why.p : "");
}

#define A FERRY_NEEDS_AUTHORIZER
static const struct ferry_check_case authorizers[] = {
    {"W-20a", "6.3", FERRY_MUST, "an authorizer gets no CONTENT_LENGTH", A, left_out, 0},
    {"W-20b", "6.3", FERRY_MUST, "nor PATH_INFO", A, left_out, 1},
    {"W-20c", "6.3", FERRY_MUST, "nor PATH_TRANSLATED", A, left_out, 2},
    {"W-20d", "6.3", FERRY_MUST, "nor SCRIPT_NAME", A, left_out, 3},
    {"W-20e", "6.3", FERRY_MUST, "after its status 200 the request goes on", A, goes_on, 0},
    {"W-20f", "6.3", FERRY_MUST, "its fields Variable-NAME are params of what follows", A,
     variables, 0},
    {"W-20g", "6.3", FERRY_MUST, "nothing else of its answer is used", A, rest_unused, 0},
    {"W-20h", "6.3", FERRY_MUST, "any other status, its fields and content are the response", A,
     denied, 0},
    {"W-20i", "6.3", FERRY_MUST, "and nobody else is asked", A, denied, 1},
};

const struct ferry_check_group ferry_check_w_20 = {"W-20", "authorizers", authorizers, 9};

static void variable_name(struct ferry_check *c)
{
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);
    bool there;

    let_pass(r, "Variable-AUTH_METHOD: database lookup\r\n");
    r = passes(v);
    there =
        ferry_slice_eq(ferry_asked_param(r, "AUTH_METHOD", NULL), FERRY_SLICE("database lookup"));
    ferry_asked_answer(r, "done");
    if (!there)
        ferry_check_fail(c, "expected AUTH_METHOD = \"database lookup\", but it is not there");
}

static const struct ferry_check_case names[] = {
    {"W-21a", "6.3", FERRY_SILENT, "Variable-AUTH_METHOD becomes AUTH_METHOD", A, variable_name, 0},
};

const struct ferry_check_group ferry_check_w_21 = {"W-21", "names of variables", names, 1};

static void body_kept(struct ferry_check *c)
{
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);

    let_pass(r, "");
    r = passes(v);
    if (!ferry_slice_eq(ferry_bytes_slice(&r->body), FERRY_SLICE("hello")))
        ferry_check_fail(c,
                         "expected the body of the request at the responder, but it has %zu "
                         "bytes",
                         r->body.len);
    ferry_asked_answer(r, "done");
    ferry_visit_expect(v, 200, "done");
}

static const struct ferry_check_case bodies[] = {
    {"W-22a", "6.3", FERRY_SHOULD, "the body of the request still reaches the responder", A,
     body_kept, 0},
};

const struct ferry_check_group ferry_check_w_22 = {"W-22", "bodies behind an authorizer", bodies,
                                                   1};

/* -- W-23: filters ---------------------------------------------------------------------------- */

enum { ROLE, ORDER, LENGTH, MODIFIED };

static uint64_t number(struct ferry_check *c, const struct ferry_asked *r, const char *name)
{
    struct ferry_slice text = ferry_asked_param(r, name, NULL);
    uint64_t n;

    if (ferry_slice_u64(text, UINT64_MAX, &n) < 0)
        ferry_check_fail(c, "expected %s to be a number, but it is \"%.*s\"", name, (int)text.len,
                         text.p ? text.p : "");
    return n;
}

static void look(struct ferry_check *c, const struct ferry_asked *r)
{
    uint64_t n;

    switch (c->at->arg) {
    case ROLE:
        if (r->role != FERRY_FILTER)
            ferry_check_fail(c, "expected role 3, filter, but it is %u", r->role);
        break;
    case ORDER:
        if (r->wrong[0])
            ferry_check_fail(c, "expected nothing against the protocol, but there was %s",
                             r->wrong);
        break;
    case LENGTH:
        n = number(c, r, "FCGI_DATA_LENGTH");
        if (n != r->data.len)
            ferry_check_fail(c, "expected FCGI_DATA_LENGTH to be %zu, but it is %llu", r->data.len,
                             (unsigned long long)n);
        break;
    default:
        n = number(c, r, "FCGI_DATA_LAST_MOD");
        if (n > (uint64_t)time(NULL) + 1)
            ferry_check_fail(c, "expected FCGI_DATA_LAST_MOD in the past, but it is %llu",
                             (unsigned long long)n);
    }
}

static void filtered(struct ferry_check *c)
{
    struct ferry_visit *v = ferry_visit_get(c);
    struct ferry_asked *r = ferry_visit_asked(v);
    uint64_t end = ferry_check_now() + ferry_stage(c)->timeout_ms;

    while (r->role == FERRY_FILTER && !r->data_ended && ferry_check_now() < end)
        ferry_stage_turn(ferry_stage(c), 20);
    if (r->role == FERRY_FILTER && !r->data_ended)
        ferry_check_fail(c, "expected the end of DATA, but it does not come");
    look(c, r);
    ferry_asked_answer(r, "filtered");
    ferry_visit_expect(v, 200, "filtered");
}

#define F FERRY_NEEDS_FILTER
static const struct ferry_check_case filters[] = {
    {"W-23a", "6.4", FERRY_MUST, "a filter is asked with its role", F, filtered, ROLE},
    {"W-23b", "6.4", FERRY_MUST, "PARAMS, STDIN and DATA come in this order, each ended", F,
     filtered, ORDER},
    {"W-23c", "6.4", FERRY_MUST, "FCGI_DATA_LENGTH is what DATA holds", F, filtered, LENGTH},
    {"W-23d", "6.4", FERRY_MUST, "FCGI_DATA_LAST_MOD is a time", F, filtered, MODIFIED},
};

const struct ferry_check_group ferry_check_w_23 = {"W-23", "filters", filters, 4};
