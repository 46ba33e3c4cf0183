/* SPDX-License-Identifier: MIT */
/* A-AUT and A-FIL: authorizers and filters (specification sections 6.3, 6.4). */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check/app_check.h"

/* -- A-AUT ------------------------------------------------------------------------------------ */

/* The params of an authorizer's request: without CONTENT_LENGTH and paths. */
static struct ferry__conv *authorize(struct ferry_check *c, const char *word)
{
    struct ferry__target *t = ferry__target(c);
    struct ferry__conv *v = ferry__conv_open(c);
    uint16_t usual = t->role;

    ferry__conv_begin(v, 1, FERRY_AUTHORIZER, 0);
    t->role = FERRY_AUTHORIZER;
    ferry__conv_params(v, 1, word, -1);
    t->role = usual;
    ferry_wire_put_record(v->w, FERRY_PARAMS, 1, NULL, 0);
    return v;
}

static void end_stdin(struct ferry__conv *v)
{
    ferry_wire_put_record(v->w, FERRY_STDIN, 1, NULL, 0);
    ferry__conv_send(v);
}

static void complete(struct ferry__conv *v)
{
    struct ferry__reply *r = ferry__conv_await(v, 1);

    if (r->protocol_status != FERRY_REQUEST_COMPLETE || ferry__reply_status(r) < 0)
        ferry_check_fail(v->c, "expected an answer of the authorizer, but there is none");
}

static void few_params(struct ferry_check *c)
{
    struct ferry__conv *v = authorize(c, NULL);

    end_stdin(v);
    complete(v);
}

static void without_stdin(struct ferry_check *c)
{
    struct ferry__conv *v = authorize(c, NULL);

    ferry__conv_send(v);
    complete(v);
}

static void variables(struct ferry_check *c)
{
    struct ferry__conv *v = authorize(c, "variable&name=AUTH_METHOD&value=database lookup");
    struct ferry__reply *r;
    struct ferry_slice got;

    end_stdin(v);
    r = ferry__conv_await(v, 1);
    if (ferry__reply_status(r) != 200)
        ferry_check_fail(c, "expected status 200, but got %d", ferry__reply_status(r));
    got = ferry__reply_header(r, "Variable-AUTH_METHOD");
    if (!got.p)
        ferry_check_fail(c, "expected a header Variable-AUTH_METHOD, but there is none");
    if (!ferry_slice_eq(got, FERRY_SLICE("database lookup")))
        ferry_check_fail(c, "expected 'database lookup' in Variable-AUTH_METHOD, but it is '%.*s'",
                         got.len < 40 ? (int)got.len : 40, got.p);
    /* Sent as given: case and underscores. */
    if (c->at->arg && !memmem(r->out.p, r->out.len, "Variable-AUTH_METHOD:", 21))
        ferry_check_fail(c,
                         "expected the name of the variable as it was given, but it was changed");
}

static void denied(struct ferry_check *c)
{
    struct ferry__conv *v = authorize(c, "deny");
    struct ferry__reply *r;

    end_stdin(v);
    r = ferry__conv_await(v, 1);
    if (ferry__reply_status(r) != 403)
        ferry_check_fail(c, "expected status 403, but got %d", ferry__reply_status(r));
    if (!ferry__reply_header(r, "Content-Type").p || !ferry__reply_body(r).len)
        ferry_check_fail(c, "expected a complete response with headers and content, but it is not");
}

/* -- A-FIL ------------------------------------------------------------------------------------ */

#define DATA "the file that is to be filtered"
#define DATA_LEN (sizeof DATA - 1)

/* A filter's request up to the end of PARAMS. */
static struct ferry__conv *filter(struct ferry_check *c, const char *word, const char *data_len)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_begin(v, 1, FERRY_FILTER, 0);
    ferry__conv_params(v, 1, word, 5);
    ferry__conv_pair(v, 1, FERRY_SLICE("FCGI_DATA_LAST_MOD"), FERRY_SLICE("5000000000"));
    if (data_len)
        ferry__conv_pair(v, 1, FERRY_SLICE("FCGI_DATA_LENGTH"), ferry_slice_z(data_len));
    ferry_wire_put_record(v->w, FERRY_PARAMS, 1, NULL, 0);
    return v;
}

static void put_stream(struct ferry__conv *v, unsigned type, const char *p, size_t n, size_t piece)
{
    for (size_t at = 0; at < n; at += piece)
        ferry_wire_put_record(v->w, type, 1, p + at, n - at < piece ? n - at : piece);
    ferry_wire_put_record(v->w, type, 1, NULL, 0);
}

/* "stdin N data N length N modified N\n", as the word data answers. */
static void expect_counts(struct ferry__conv *v, const char *want)
{
    struct ferry__reply *r = ferry__conv_await(v, 1);
    struct ferry_slice body = ferry__reply_body(r);

    body = ferry_slice_first(body, ferry_slice_find(body, '\n'));
    if (r->protocol_status != FERRY_REQUEST_COMPLETE || !body.p)
        ferry_check_fail(v->c, "expected an answer of the filter, but there is none");
    if (!ferry_slice_starts(body, ferry_slice_z(want)))
        ferry_check_fail(v->c, "expected the filter to see '%s', but it saw '%.*s'", want,
                         body.len < 80 ? (int)body.len : 80, body.p);
}

static void filter_order(struct ferry_check *c)
{
    struct ferry__conv *v = filter(c, "data", "31");

    put_stream(v, FERRY_STDIN, "hello", 5, 5);
    put_stream(v, FERRY_DATA, DATA, DATA_LEN, c->at->arg ? (size_t)c->at->arg : DATA_LEN);
    ferry__conv_send(v);
    expect_counts(v, "stdin 5 data 31");
}

static void filter_values(struct ferry_check *c)
{
    struct ferry__conv *v = filter(c, "data", "31");

    put_stream(v, FERRY_STDIN, "hello", 5, 5);
    put_stream(v, FERRY_DATA, DATA, DATA_LEN, DATA_LEN);
    ferry__conv_send(v);
    expect_counts(v, "stdin 5 data 31 length 31 modified 5000000000");
}

static void filter_waits(struct ferry_check *c)
{
    struct ferry__conv *v = filter(c, ferry__word_or_plain(c, FERRY__WORD_DATA, "data"), "31");
    struct ferry__reply *r;

    ferry_wire_put_record(v->w, FERRY_STDIN, 1, "hel", 3);
    ferry__conv_send(v);
    ferry__conv_quiet(v, "before the end of STDIN");
    put_stream(v, FERRY_STDIN, "lo", 2, 2);
    put_stream(v, FERRY_DATA, DATA, DATA_LEN, DATA_LEN);
    ferry__conv_send(v);
    r = ferry__conv_await(v, 1);
    if (r->protocol_status != FERRY_REQUEST_COMPLETE || ferry__reply_status(r) < 0)
        ferry_check_fail(c, "expected an answer of the filter, but there is none");
}

static void from_cache(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry__reply *r;

    ferry__conv_begin(v, 1, FERRY_FILTER, FERRY_KEEP_CONN);
    ferry__conv_params(v, 1, "cache", 5);
    ferry__conv_pair(v, 1, FERRY_SLICE("FCGI_DATA_LAST_MOD"), FERRY_SLICE("0"));
    ferry__conv_pair(v, 1, FERRY_SLICE("FCGI_DATA_LENGTH"), FERRY_SLICE("31"));
    ferry_wire_put_record(v->w, FERRY_PARAMS, 1, NULL, 0);
    put_stream(v, FERRY_STDIN, "hello", 5, 5);
    ferry_wire_put_record(v->w, FERRY_DATA, 1, DATA, 10);
    ferry__conv_send(v);
    r = ferry__conv_await(v, 1);
    if (ferry__reply_status(r) < 0)
        ferry_check_fail(c, "expected an answer of the filter, but there is none");
    put_stream(v, FERRY_DATA, DATA + 10, DATA_LEN - 10, DATA_LEN);
    ferry__conv_send(v);
    if (ferry__target(c)->keeps)
        ferry__conv_still_serves(v, 1);
}

static void cut_data(struct ferry_check *c)
{
    /* The argument: how much of it comes. */
    struct ferry__conv *v = filter(c, "data", "31");
    char want[64];

    put_stream(v, FERRY_STDIN, "hello", 5, 5);
    put_stream(v, FERRY_DATA, DATA, (size_t)c->at->arg, DATA_LEN);
    ferry__conv_send(v);
    snprintf(want, sizeof want, "stdin 5 data %ld length 31", c->at->arg);
    expect_counts(v, want);
}

static void no_length(struct ferry_check *c)
{
    struct ferry__conv *v = filter(c, "data", c->at->arg ? "what" : NULL);

    put_stream(v, FERRY_STDIN, "hello", 5, 5);
    put_stream(v, FERRY_DATA, DATA, DATA_LEN, DATA_LEN);
    ferry__conv_send(v);
    expect_counts(v, "stdin 5 data 31 length -1");
}

#define MUST FERRY_MUST
#define AUT FERRY__NEEDS_AUTHORIZER
#define FIL FERRY__NEEDS_FILTER

static const struct ferry_check_case authorizer_cases[] = {
    {"A-AUT-1", "6.3", MUST, "it needs no CONTENT_LENGTH, PATH_INFO, SCRIPT_NAME", AUT, few_params,
     0},
    {"A-AUT-2a", "6.3", FERRY_INFERRED, "an empty STDIN is welcome", AUT, few_params, 0},
    {"A-AUT-2b", "6.3", FERRY_INFERRED, "it answers when no STDIN record comes at all", AUT,
     without_stdin, 0},
    {"A-AUT-3a", "6.3", MUST, "status 200 comes with Variable- headers", AUT | FERRY__WORD_VARIABLE,
     variables, 0},
    {"A-AUT-3b", "6.3", MUST, "names of variables are sent as given", AUT | FERRY__WORD_VARIABLE,
     variables, 1},
    {"A-AUT-4", "6.3", MUST, "another status comes with a complete response",
     AUT | FERRY__WORD_DENY, denied, 0},
};

static const struct ferry_check_case filter_cases[] = {
    {"A-FIL-1a", "6.4", MUST, "it reads STDIN to its end, then DATA to its end",
     FIL | FERRY__WORD_DATA, filter_order, 0},
    {"A-FIL-1b", "3.3", MUST, "DATA in records of one byte are the same", FIL | FERRY__WORD_DATA,
     filter_order, 1},
    {"A-FIL-2", "6.4", MUST, "FCGI_DATA_LENGTH and FCGI_DATA_LAST_MOD are there, with 64 bits",
     FIL | FERRY__WORD_DATA, filter_values, 0},
    {"A-FIL-3a", "6.4", MUST, "it says nothing before STDIN has ended", FIL, filter_waits, 0},
    {"A-FIL-3b", "6.4", MUST, "it may answer without reading DATA, which are then ignored",
     FIL | FERRY__WORD_CACHE, from_cache, 0},
    {"A-FIL-4a", "6.4", FERRY_SHOULD, "DATA that are cut short can be seen to be",
     FIL | FERRY__WORD_DATA, cut_data, 20},
    {"A-FIL-4b", "6.4", FERRY_SHOULD, "DATA that are missing can be seen to be",
     FIL | FERRY__WORD_DATA, cut_data, 0},
    {"A-FIL-5a", "", FERRY_SILENT, "without FCGI_DATA_LENGTH, DATA are read to their end",
     FIL | FERRY__WORD_DATA, no_length, 0},
    {"A-FIL-5b", "", FERRY_SILENT, "with a FCGI_DATA_LENGTH that is none, too",
     FIL | FERRY__WORD_DATA, no_length, 1},
};

FERRY__GROUP(ferry__app_authorizer, "A-AUT", "authorizers", authorizer_cases);
FERRY__GROUP(ferry__app_filter, "A-FIL", "filters", filter_cases);
