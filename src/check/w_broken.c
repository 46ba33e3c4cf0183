/* SPDX-License-Identifier: MIT */
/*
 * What a web server makes of an answer that is not whole, or no answer of FastCGI's at all (W-11,
 * W-18). Nobody may take a part for the whole; the rest is left to the web server, but for one
 * thing that is seen to after each case: it must go on serving.
 */
#include <stdio.h>
#include <string.h>

#include "check/gateway.h"

#define HEAD "Content-Type: text/plain\r\n"
#define PART "the first half of"

static struct ferry_asked *ask(struct ferry_check *c, struct ferry_visit **v)
{
    *v = ferry_visit_get(c);
    return ferry_visit_asked(*v);
}

/* No client may take this for a whole answer. */
static void expect_no_whole(struct ferry_visit *v)
{
    if (ferry_visit_wait(v) == FERRY_HTTP_WHOLE && v->response.status < 400)
        ferry_check_fail(v->stage->check,
                         "expected an error, or a response that is visibly cut, but got %s",
                         ferry_visit_said(v));
}

/* -- W-11: cut -------------------------------------------------------------------------------- */

static void no_empty_stdout(struct ferry_check *c)
{
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);

    ferry_asked_say(r, HEAD "\r\nall of it");
    ferry_asked_end(r, 0, FERRY_REQUEST_COMPLETE);
    ferry_visit_expect(v, 200, "all of it");
}

static void no_end_request(struct ferry_check *c)
{
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);

    ferry_asked_say(r, HEAD "\r\nall of it");
    ferry_asked_record(r, FERRY_STDOUT, NULL, 0, 0);
    ferry_asked_close(r);
    expect_no_whole(v);
}

enum { IN_BODY, IN_LENGTH, IN_RECORD, BY_RESET };

static void cut_in_body(struct ferry_check *c)
{
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);

    ferry_asked_say(r, HEAD);
    if (c->at->arg == IN_LENGTH)
        ferry_asked_say(r, "Content-Length: 1000\r\n");
    ferry_asked_say(r, "\r\n" PART);
    if (c->at->arg == IN_RECORD)
        ferry_asked_put(r,
                        &(struct ferry_wire_record){
                            .version = 1, .type = FERRY_STDOUT, .id = r->id, .content_len = 1000});
    ferry_asked_flush(r);
    ferry_stage_pass(c, 50);
    if (c->at->arg == BY_RESET)
        ferry_asked_reset(r);
    else
        ferry_asked_close(r);
    expect_no_whole(v);
}

enum { NOTHING, UNREAD, IN_HEAD, IN_HEADER };

static void cut_before_body(struct ferry_check *c)
{
    /* Some ask again, and get the same. */
    struct ferry_visit *v = ferry_visit_get(c);
    struct ferry_asked *r = ferry_visit_asked(v);

    for (unsigned n = 1; r; n++) {
        if (c->at->arg == IN_HEAD)
            ferry_asked_say(r, HEAD "X-More: ");
        if (c->at->arg == IN_HEADER)
            ferry_asked_raw(r, "\1\6\0", 3);
        if (c->at->arg == UNREAD)
            ferry_asked_reset(r);
        else
            ferry_asked_close(r);
        r = n < 10 ? ferry_visit_nth(v, n, true, 200) : NULL;
    }
    ferry_visit_expect_error(v);
}

static void end_before_head(struct ferry_check *c)
{
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);

    if (c->at->arg)
        ferry_asked_say(r, HEAD "X-More: yes\r\n");
    ferry_asked_finish(r, 0);
    ferry_visit_expect_error(v);
}

static void end_before_length(struct ferry_check *c)
{
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);

    ferry_asked_say(r, HEAD "Content-Length: 1000\r\n\r\n" PART);
    ferry_asked_finish(r, 0);
    expect_no_whole(v);
}

/* Bytes behind the length must not become the next response of that client. */
static void more_than_length(struct ferry_check *c)
{
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);

    ferry_asked_say(r, HEAD "Content-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n"
                            "Content-Length: 3\r\n\r\nbad");
    ferry_asked_finish(r, 0);
    if (ferry_visit_wait(v) != FERRY_HTTP_WHOLE || v->response.status != 200)
        return;
    if (v->input != FERRY_HTTP_MORE)
        return;
    ferry_visit_again(v);
    ferry_visit_request(v, "GET", NULL);
    r = ferry_visit_nth(v, 0, true, 1000);
    if (r)
        ferry_asked_answer(r, "next");
    if (ferry_visit_wait(v) == FERRY_HTTP_WHOLE && v->response.status == 200)
        ferry_visit_expect(v, 200, "next");
}

static const struct ferry_check_case cut[] = {
    {"W-11a", "", FERRY_SILENT, "END_REQUEST without an empty STDOUT before it ends the answer", 0,
     no_empty_stdout, 0},
    {"W-11b", "", FERRY_SILENT,
     "an empty STDOUT and a close without END_REQUEST are no end: the client sees a cut", 0,
     no_end_request, 0},
    {"W-11c", "5.5", FERRY_INFERRED, "a close without END_REQUEST: the client sees a cut", 0,
     cut_in_body, IN_BODY},
    {"W-11d", "5.5", FERRY_INFERRED, "the same with a Content-Length that is not reached", 0,
     cut_in_body, IN_LENGTH},
    {"W-11e", "5.5", FERRY_INFERRED, "a close within a STDOUT record: the same", 0, cut_in_body,
     IN_RECORD},
    {"W-11f", "5.5", FERRY_INFERRED, "a reset within the body: the same", 0, cut_in_body, BY_RESET},
    {"W-11g", "5.5", FERRY_INFERRED, "a close before any byte: an error of 500 to 599", 0,
     cut_before_body, NOTHING},
    {"W-11h", "5.5", FERRY_INFERRED, "a reset before any byte: the same", 0, cut_before_body,
     UNREAD},
    {"W-11i", "5.5", FERRY_INFERRED, "a close within the head: the same", 0, cut_before_body,
     IN_HEAD},
    {"W-11j", "5.5", FERRY_INFERRED, "a close within a record's header: the same", 0,
     cut_before_body, IN_HEADER},
    {"W-11k", "6.2", FERRY_INFERRED, "END_REQUEST without any answer: the same", 0, end_before_head,
     0},
    {"W-11l", "6.2", FERRY_INFERRED, "END_REQUEST within the head: the same", 0, end_before_head,
     1},
    {"W-11m", "6.2", FERRY_INFERRED,
     "END_REQUEST before the Content-Length is reached: the client sees a cut", 0,
     end_before_length, 0},
    {"W-11n", "6.2", FERRY_INFERRED,
     "bytes behind the Content-Length are no part of the client's next response", 0,
     more_than_length, 0},
};

const struct ferry_check_group ferry_check_w_11 = {"W-11", "answers that are cut", cut, 14};

/* -- W-18: no FastCGI ------------------------------------------------------------------------- */

/* X(name): what is sent in the place, or in the middle, of an answer */
enum { VERSION, TYPE, FOREIGN_ID, ID_0, RESULT, UNKNOWN, SHORT_END, BEGIN, GARBAGE };

static void put_oddity(struct ferry_asked *r, long what)
{
    static const unsigned char text[] = HEAD "\r\nfrom somewhere else", zero[8];
    struct ferry_wire_record rec = {.version = 1,
                                    .type = FERRY_STDOUT,
                                    .id = r->id,
                                    .content_len = sizeof text - 1,
                                    .content = text};
    unsigned char noise[1024];

    switch (what) {
    case VERSION:
        rec.version = 9;
        break;
    case TYPE:
        rec.type = 77;
        break;
    case FOREIGN_ID:
        rec.id = (uint16_t)(r->id + 100);
        break;
    case ID_0:
        rec.id = 0;
        break;
    case RESULT:
        rec = (struct ferry_wire_record){.version = 1, .type = FERRY_GET_VALUES_RESULT};
        break;
    case UNKNOWN:
        rec = (struct ferry_wire_record){
            .version = 1, .type = FERRY_UNKNOWN_TYPE, .content_len = 8, .content = zero};
        break;
    case SHORT_END:
        rec = (struct ferry_wire_record){.version = 1,
                                         .type = FERRY_END_REQUEST,
                                         .id = r->id,
                                         .content_len = 3,
                                         .content = zero};
        break;
    case BEGIN:
        rec = (struct ferry_wire_record){.version = 1,
                                         .type = FERRY_BEGIN_REQUEST,
                                         .id = r->id,
                                         .content_len = 8,
                                         .content = zero};
        break;
    default:
        for (size_t i = 0; i < sizeof noise; i++)
            noise[i] = (unsigned char)(i * 2654435761u >> 23);
        ferry_asked_raw(r, noise, sizeof noise);
        return;
    }
    ferry_asked_put(r, &rec);
}

/* An error, a cut, or the answer as if the record had not been there: never its content. */
static void oddity(struct ferry_check *c)
{
    struct ferry_visit *v = ferry_visit_get(c);
    struct ferry_asked *r = ferry_visit_asked(v);
    bool within = c->at->arg >= 100;
    long what = c->at->arg % 100;

    for (unsigned n = 1; r; n++) {
        if (within)
            ferry_asked_say(r, HEAD "\r\nhello, ");
        put_oddity(r, what);
        ferry_asked_flush(r);
        ferry_stage_pass(c, 20);
        if (!within)
            ferry_asked_say(r, HEAD "\r\nhello, ");
        ferry_asked_say(r, "world");
        ferry_asked_finish(r, 0);
        if (what == GARBAGE)
            ferry_asked_close(r);
        r = n < 10 ? ferry_visit_nth(v, n, true, 100) : NULL;
    }
    if (ferry_visit_wait(v) != FERRY_HTTP_WHOLE || v->response.status >= 500)
        return;
    ferry_visit_expect(v, 200, "hello, world");
}

/* As before, but the specification, or what follows from it, has only one way. */
static void ignored(struct ferry_check *c)
{
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);

    if (c->at->arg < 100)
        put_oddity(r, c->at->arg);
    ferry_asked_say(r, HEAD "\r\nhello, ");
    if (c->at->arg >= 100)
        put_oddity(r, c->at->arg % 100);
    ferry_asked_say(r, "world");
    ferry_asked_finish(r, 0);
    ferry_visit_expect(v, 200, "hello, world");
}

static void after_end(struct ferry_check *c)
{
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);

    ferry_asked_say(r, HEAD "\r\nhello");
    ferry_asked_record(r, FERRY_STDOUT, NULL, 0, 0);
    if (c->at->arg == 0)
        ferry_asked_say(r, "more");
    ferry_asked_end(r, 0, FERRY_REQUEST_COMPLETE);
    if (c->at->arg)
        ferry_asked_say(r, HEAD "\r\nmore");
    if (ferry_visit_wait(v) == FERRY_HTTP_WHOLE && v->response.status == 200)
        ferry_visit_expect(v, 200, "hello");
    if (v->response.end != FERRY_HTTP_WHOLE || v->input != FERRY_HTTP_MORE)
        return;
    ferry_visit_again(v);
    ferry_visit_request(v, "GET", NULL);
    r = ferry_visit_asked(v);
    ferry_asked_answer(r, "next");
    ferry_visit_expect(v, 200, "next");
}

static void endless_empty(struct ferry_check *c)
{
    struct ferry_visit *v;
    struct ferry_asked *r = ask(c, &v);

    ferry_asked_say(r, HEAD "\r\nhello");
    for (int i = 0; i < 2000; i++)
        ferry_asked_record(r, FERRY_STDERR, NULL, 0, 0);
    ferry_asked_finish(r, 0);
    ferry_visit_expect(v, 200, "hello");
}

static const struct ferry_check_case no_fastcgi[] = {
    {"W-18a", "", FERRY_SILENT, "version 9: an error, or as if it had not come", 0, oddity,
     VERSION},
    {"W-18b", "", FERRY_SILENT, "version 9 within the body: a cut, or as if it had not come", 0,
     oddity, 100 + VERSION},
    {"W-18c", "", FERRY_SILENT, "type 77: an error, or as if it had not come", 0, oddity, TYPE},
    {"W-18d", "", FERRY_SILENT, "type 77 within the body: a cut, or as if it had not come", 0,
     oddity, 100 + TYPE},
    {"W-18e", "", FERRY_SILENT,
     "STDOUT of another id is not in the response, which may be an error", 0, oddity, FOREIGN_ID},
    {"W-18f", "", FERRY_SILENT, "STDOUT of another id within the body: the same", 0, oddity,
     100 + FOREIGN_ID},
    {"W-18g", "", FERRY_SILENT, "STDOUT with id 0 is not in the response, the same", 0, oddity,
     ID_0},
    {"W-18h", "", FERRY_SILENT, "GET_VALUES_RESULT that nobody asked for is ignored", 0, ignored,
     RESULT},
    {"W-18i", "", FERRY_SILENT, "and so it is within the body", 0, ignored, 100 + RESULT},
    {"W-18j", "", FERRY_SILENT, "UNKNOWN_TYPE that answers nothing is ignored", 0, ignored,
     UNKNOWN},
    {"W-18k", "", FERRY_SILENT, "and so it is within the body", 0, ignored, 100 + UNKNOWN},
    {"W-18l", "", FERRY_SILENT, "an END_REQUEST of 3 bytes is no good end", 0, oddity, SHORT_END},
    {"W-18m", "", FERRY_SILENT, "BEGIN_REQUEST from the application: an error, or ignored", 0,
     oddity, BEGIN},
    {"W-18n", "", FERRY_SILENT, "1 KiB of noise: an error", 0, oddity, GARBAGE},
    {"W-18o", "", FERRY_SILENT, "1 KiB of noise within the body: a cut", 0, oddity, 100 + GARBAGE},
    {"W-18p", "", FERRY_SILENT, "STDOUT behind its end is not in the response", 0, after_end, 0},
    {"W-18q", "", FERRY_SILENT,
     "STDOUT behind END_REQUEST is not in this response, nor in the next", 0, after_end, 1},
    {"W-18r", "", FERRY_SILENT, "2000 empty STDERR records do no harm", 0, endless_empty, 0},
};

const struct ferry_check_group ferry_check_w_18 = {"W-18", "what is no FastCGI", no_fastcgi, 18};
