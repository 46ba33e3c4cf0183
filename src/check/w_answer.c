/* SPDX-License-Identifier: MIT */
/*
 * What a web server makes of an answer that is right, however it is cut into records and however
 * its streams are mixed (W-9, W-10, W-19).
 */
#include <stdio.h>
#include <string.h>

#include "check/gateway.h"

#define HEAD "Content-Type: text/plain\r\n"
#define SAYING "the quick brown fox jumps over the lazy dog"

static const char whole[] = HEAD "X-Check: yes\r\n\r\n" SAYING;

static struct ferry_asked *ask(struct ferry_check *c, struct ferry_visit **v)
{
    *v = ferry_visit_get(c);
    return ferry_visit_asked(*v);
}

static void expect_field(struct ferry_visit *v, const char *name, const char *value)
{
    struct ferry_slice got = ferry_http_field(&v->response, name, 0);

    if (!ferry_slice_eq(got, ferry_slice_z(value)))
        ferry_check_fail(v->stage->check, "expected %s: %s, but it is \"%.*s\"", name, value,
                         (int)(got.len < 60 ? got.len : 60), got.p ? got.p : "");
}

static void expect_saying(struct ferry_visit *v)
{
    ferry_visit_expect(v, 200, SAYING);
    expect_field(v, "X-Check", "yes");
}

/* -- W-9: records ----------------------------------------------------------------------------- */

static void one_byte_records(struct ferry_check *c)
{
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);

    for (size_t i = 0; i < sizeof whole - 1; i++)
        ferry_asked_record(r, FERRY_STDOUT, whole + i, 1, 0);
    ferry_asked_finish(r, 0);
    expect_saying(v);
}

/* The head in two records, with or without a pause: at every place. */
static void split_head(struct ferry_check *c)
{
    struct ferry_visit *v = ferry_visit_get(c);
    size_t end = sizeof whole - sizeof SAYING + 2;

    for (size_t cut = 1; cut <= end; cut++) {
        struct ferry_asked *r = ferry_visit_asked(v);

        ferry_asked_record(r, FERRY_STDOUT, whole, cut, 0);
        ferry_asked_flush(r);
        if (c->at->arg)
            ferry_stage_pass(c, (unsigned)c->at->arg);
        ferry_asked_record(r, FERRY_STDOUT, whole + cut, sizeof whole - 1 - cut, 0);
        ferry_asked_finish(r, 0);
        ferry_visit_wait(v);
        if (v->response.end != FERRY_HTTP_WHOLE || v->response.status != 200)
            ferry_check_fail(c,
                             "expected a whole response of status 200 for a head cut behind "
                             "byte %zu, but got %s",
                             cut, ferry_visit_said(v));
        expect_saying(v);
        if (cut == end)
            break;
        ferry_visit_again(v);
        ferry_visit_request(v, "GET", NULL);
    }
}

static void largest_records(struct ferry_check *c)
{
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);
    char *body = ferry_check_alloc(c, 3 * 65535);

    memset(body, 'x', 3 * 65535);
    ferry_asked_say(r, HEAD "\r\n");
    for (int i = 0; i < 3; i++)
        ferry_asked_record(r, FERRY_STDOUT, body + i * 65535, 65535, (unsigned)c->at->arg);
    ferry_asked_finish(r, 0);
    ferry_visit_expect_bytes(v, 200, ferry_slice(body, 3 * 65535));
}

static void odd_padding(struct ferry_check *c)
{
    static const unsigned char lens[] = {1, 7, 8, 9, 254, 255};
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);
    size_t at = 0;

    for (size_t i = 0; at < sizeof whole - 1; i++) {
        size_t n = sizeof whole - 1 - at < 11 ? sizeof whole - 1 - at : 11;

        ferry_asked_record(r, FERRY_STDOUT, whole + at, n, lens[i % sizeof lens]);
        at += n;
    }
    ferry_asked_record(r, FERRY_STDOUT, NULL, 0, 255);
    ferry_asked_end(r, 0, FERRY_REQUEST_COMPLETE);
    expect_saying(v);
}

/* All bytes of an ordinary answer, records and all. */
static void put_answer(struct ferry_bytes *b, const struct ferry_asked *r)
{
    unsigned char head[FERRY_RECORD_HEADER_LEN];
    struct ferry_record rec = {FERRY_STDOUT, 3, r->id, sizeof whole - 1};

    ferry_bytes_init(b, 4096);
    ferry_record_encode(&rec, head);
    ferry_bytes_add(b, head, sizeof head);
    ferry_bytes_add(b, whole, sizeof whole - 1);
    ferry_bytes_fill(b, 0, 3);
    rec = (struct ferry_record){FERRY_STDOUT, 0, r->id, 0};
    ferry_record_encode(&rec, head);
    ferry_bytes_add(b, head, sizeof head);
    rec = (struct ferry_record){FERRY_END_REQUEST, 0, r->id, FERRY_RECORD_BODY_LEN};
    ferry_record_encode(&rec, head);
    ferry_bytes_add(b, head, sizeof head);
    ferry_bytes_fill(b, 0, FERRY_RECORD_BODY_LEN);
}

static void trickled(struct ferry_check *c)
{
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);
    struct ferry_bytes b;

    put_answer(&b, r);
    r->ended = true;
    r->conn->closes = false;
    ferry_asked_trickle(r, b.p, b.len, (size_t)c->at->arg);
    ferry_bytes_fini(&b);
    if (!(r->flags & FERRY_KEEP_CONN))
        ferry_asked_close(r);
    expect_saying(v);
}

static void stderr_between(struct ferry_check *c)
{
    static const char line[] = "ferry check: a line for the log\n";
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);

    ferry_asked_record(r, FERRY_STDERR, NULL, 0, 0);
    for (size_t at = 0; at < sizeof whole - 1; at += 9) {
        size_t left = sizeof whole - 1 - at;

        ferry_asked_record(r, FERRY_STDERR, line, sizeof line - 1, 5);
        ferry_asked_record(r, FERRY_STDOUT, whole + at, left < 9 ? left : 9, 0);
        if (c->at->arg)
            ferry_asked_flush(r);
    }
    ferry_asked_record(r, FERRY_STDERR, line, sizeof line - 1, 0);
    ferry_asked_record(r, FERRY_STDOUT, NULL, 0, 0);
    ferry_asked_record(r, FERRY_STDERR, NULL, 0, 0);
    ferry_asked_end(r, 0, FERRY_REQUEST_COMPLETE);
    expect_saying(v);
}

static void reserved_set(struct ferry_check *c)
{
    static const unsigned char end[] = {0, 0, 0, 0, 0, 1, 2, 3};
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);

    ferry_asked_put(r, &(struct ferry_wire_record){.version = 1,
                                                   .type = FERRY_STDOUT,
                                                   .id = r->id,
                                                   .content_len = sizeof whole - 1,
                                                   .reserved = 0x5A,
                                                   .content = (const unsigned char *)whole});
    ferry_asked_record(r, FERRY_STDOUT, NULL, 0, 0);
    ferry_asked_record(r, FERRY_END_REQUEST, end, sizeof end, 0);
    r->ended = true;
    if (!(r->flags & FERRY_KEEP_CONN))
        ferry_asked_close(r);
    expect_saying(v);
}

static void long_answer(struct ferry_check *c)
{
    size_t n = (size_t)10 << 20;
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);
    char *body = ferry_check_alloc(c, n), field[64];

    for (size_t i = 0; i < n; i++)
        body[i] = (char)(i * 2654435761u >> 24);
    ferry_asked_say(r, HEAD);
    snprintf(field, sizeof field, "Content-Length: %zu\r\n", n);
    if (c->at->arg)
        ferry_asked_say(r, field);
    ferry_asked_say(r, "\r\n");
    ferry_asked_write(r, body, n);
    ferry_asked_finish(r, 0);
    ferry_visit_expect_bytes(v, 200, ferry_slice(body, n));
}

static void streamed(struct ferry_check *c)
{
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);
    bool came;

    ferry_asked_say(r, HEAD "\r\nfirst ");
    ferry_asked_flush(r);
    came = ferry_visit_body_comes(v, 6, 1000);
    ferry_asked_say(r, "second");
    ferry_asked_finish(r, 0);
    ferry_visit_expect(v, 200, "first second");
    if (!came)
        ferry_check_fail(c, "expected the first bytes at the client at once, but they wait for the "
                            "rest of the answer");
}

static const struct ferry_check_case records[] = {
    {"W-9a", "3.3", FERRY_MUST, "STDOUT in records of one byte", 0, one_byte_records, 0},
    {"W-9b", "3.3", FERRY_MUST, "the head cut into two records, at every place", 0, split_head, 0},
    {"W-9c", "3.3", FERRY_MUST, "the same with a pause between them", 0, split_head, 5},
    {"W-9d", "3.3", FERRY_MUST, "records of 65,535 bytes without padding", 0, largest_records, 0},
    {"W-9e", "3.3", FERRY_MUST, "records of 65,535 bytes with 255 of padding", 0, largest_records,
     255},
    {"W-9f", "3.3", FERRY_MUST, "padding of any length and content", 0, odd_padding, 0},
    {"W-9g", "3.3", FERRY_MUST, "an answer sent byte by byte", 0, trickled, 1},
    {"W-9h", "3.3", FERRY_MUST, "an answer in pieces of 7 bytes, across all headers", 0, trickled,
     7},
    {"W-9i", "6.1", FERRY_MUST, "STDERR records between those of STDOUT, also within the head", 0,
     stderr_between, 0},
    {"W-9j", "6.1", FERRY_MUST, "the same, each pair in a send of its own", 0, stderr_between, 1},
    {"W-9k", "3.3", FERRY_MUST, "reserved bytes that are not 0", 0, reserved_set, 0},
    {"W-9l", "6.1", FERRY_MUST, "10 MiB without a Content-Length", 0, long_answer, 0},
    {"W-9m", "6.1", FERRY_MUST, "10 MiB with a Content-Length", 0, long_answer, 1},
    {"W-9n", "", FERRY_SILENT, "the first bytes of an answer reach the client before its end", 0,
     streamed, 0},
};

const struct ferry_check_group ferry_check_w_9 = {"W-9", "the records of an answer", records, 14};

/* -- W-10: END_REQUEST ------------------------------------------------------------------------ */

static void end_ends(struct ferry_check *c)
{
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);

    ferry_asked_say(r, whole);
    ferry_asked_finish(r, 0);
    r->conn->closes = false;
    if (ferry_visit_wait_ms(v, ferry_stage(c)->timeout_ms) == FERRY_HTTP_OPEN)
        ferry_check_fail(c, "expected the response to end with END_REQUEST, but it waits for the "
                            "end of the connection");
    expect_saying(v);
    r->conn->closes = !(r->flags & FERRY_KEEP_CONN);
    ferry_stage_turn(ferry_stage(c), 0);
}

static void app_status(struct ferry_check *c)
{
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);

    ferry_asked_say(r, whole);
    ferry_asked_finish(r, (uint32_t)c->at->arg);
    expect_saying(v);
}

static void empty_body(struct ferry_check *c)
{
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);

    ferry_asked_say(r, HEAD "\r\n");
    ferry_asked_finish(r, 0);
    ferry_visit_expect(v, 200, "");
}

/* END_REQUEST some time after the end of STDOUT. */
static void end_later(struct ferry_check *c)
{
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);

    ferry_asked_say(r, whole);
    ferry_asked_record(r, FERRY_STDOUT, NULL, 0, 0);
    ferry_asked_flush(r);
    ferry_stage_pass(c, 200);
    ferry_asked_end(r, 0, FERRY_REQUEST_COMPLETE);
    expect_saying(v);
}

static void several_clients(struct ferry_check *c)
{
    struct ferry_visit *v[8];
    struct ferry_asked *r[8];

    for (int i = 0; i < 8; i++)
        v[i] = ferry_visit_get(c);
    for (int i = 0; i < 8; i++) {
        r[i] = ferry_visit_asked(v[i]);
        ferry_asked_say(r[i], HEAD "\r\n");
    }
    for (int i = 7; i >= 0; i--) {
        ferry_asked_say(r[i], v[i]->token);
        ferry_asked_finish(r[i], 0);
    }
    for (int i = 0; i < 8; i++)
        ferry_visit_expect(v[i], 200, v[i]->token);
}

static const struct ferry_check_case ends[] = {
    {"W-10a", "5.5", FERRY_MUST, "END_REQUEST ends the response, whether or not a close follows", 0,
     end_ends, 0},
    {"W-10b", "6.2", FERRY_MUST, "app status 1 is no HTTP error", 0, app_status, 1},
    {"W-10c", "6.2", FERRY_MUST, "nor is app status 0xffffffff", 0, app_status, 0xffffffff},
    {"W-10d", "6.2", FERRY_MUST, "an answer without a body", 0, empty_body, 0},
    {"W-10e", "5.5", FERRY_MUST, "END_REQUEST may come some time after the end of STDOUT", 0,
     end_later, 0},
    {"W-10f", "6.2", FERRY_MUST, "8 clients at once each get their own answer", 0, several_clients,
     0},
};

const struct ferry_check_group ferry_check_w_10 = {"W-10", "END_REQUEST", ends, 6};

/* -- W-19: STDERR ----------------------------------------------------------------------------- */

static void stderr_hidden(struct ferry_check *c)
{
    static const char secret[] = "ferry check: SECRET, for the log only\n";
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);

    if (c->at->arg == 0) /* before the head */
        ferry_asked_record(r, FERRY_STDERR, secret, sizeof secret - 1, 0);
    ferry_asked_say(r, whole);
    if (c->at->arg == 1) /* behind the body */
        ferry_asked_record(r, FERRY_STDERR, secret, sizeof secret - 1, 0);
    ferry_asked_finish(r, 0);
    expect_saying(v);
    if (memmem(v->in.p, v->in.len, "SECRET", 6))
        ferry_check_fail(c, "expected STDERR in no response, but it is in this one");
}

static void stderr_alone(struct ferry_check *c)
{
    static const char secret[] = "ferry check: SECRET, and no answer\n";
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);

    ferry_asked_record(r, FERRY_STDERR, secret, sizeof secret - 1, 0);
    ferry_asked_finish(r, 1);
    ferry_visit_wait(v);
    if (memmem(v->in.p, v->in.len, "SECRET", 6))
        ferry_check_fail(c, "expected STDERR in no response, but it is in this one");
    if (v->response.status && v->response.status < 500)
        ferry_check_fail(c, "expected an error, for there is no answer, but got %s",
                         ferry_visit_said(v));
}

static void stderr_much(struct ferry_check *c)
{
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);
    char *line = ferry_check_alloc(c, 1024);

    memset(line, 'e', 1024);
    line[1023] = '\n';
    for (int i = 0; i < 1024; i++)
        ferry_asked_record(r, FERRY_STDERR, line, 1024, 0);
    if (!ferry_asked_flush(r))
        ferry_check_fail(c, "expected STDERR to be read, but %zu bytes wait", r->conn->out.len);
    ferry_asked_say(r, whole);
    ferry_asked_finish(r, 0);
    expect_saying(v);
}

static void stderr_logged(struct ferry_check *c)
{
    static char said[1 << 16];
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);
    char line[128];

    snprintf(line, sizeof line, "look for %s\n", v->token);
    ferry_asked_record(r, FERRY_STDERR, line, strlen(line), 0);
    ferry_asked_say(r, whole);
    ferry_asked_finish(r, 0);
    expect_saying(v);
    line[strlen(line) - 1] = '\0';
    for (int i = 0; i < 20; i++) {
        ferry_gateway_output(ferry_gateway(c), said, sizeof said);
        if (strstr(said, line))
            return;
        ferry_stage_pass(c, 100);
    }
    ferry_check_fail(c, "expected the line in the log, but it is not there after two seconds");
}

static const struct ferry_check_case errors[] = {
    {"W-19a", "6.1", FERRY_MUST, "STDERR before the head is not in the response", 0, stderr_hidden,
     0},
    {"W-19b", "6.1", FERRY_MUST, "nor is STDERR behind the body", 0, stderr_hidden, 1},
    {"W-19c", "6.1", FERRY_MUST, "nor is it where there is no answer but it", 0, stderr_alone, 0},
    {"W-19d", "6.1", FERRY_MUST, "1 MiB of STDERR holds up no answer", 0, stderr_much, 0},
    {"W-19e", "", FERRY_SILENT, "a line of STDERR is in the log", FERRY_NEEDS_LOG, stderr_logged,
     0},
};

const struct ferry_check_group ferry_check_w_19 = {"W-19", "STDERR", errors, 5};
