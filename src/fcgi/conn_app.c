/* SPDX-License-Identifier: MIT */
/*
 * The application's end: what a record from the web server means, and the end of a request.
 *
 * Records for ids that are not active are skipped: the web server may still send what it had begun
 * when the request ended (section 3.3). What is answered without the user, to management records
 * and to requests that are refused, is counted (answer), so that a peer that asks and never reads
 * cannot fill the memory.
 */
#include "fcgi/conn_private.h"
#include "fcgi/values.h"

/* The input streams follow each other (section 6): which must have ended before each. */
static const struct {
    uint8_t before;
    uint8_t end_event;
    const char *too_early, *too_late;
} order[] = {
    [FERRY_PARAMS] = {0, FERRY_CONN_PARAMS_END, NULL, "PARAMS after its end"},
    [FERRY_STDIN] = {FERRY_PARAMS, FERRY_CONN_STDIN_END, "STDIN before the end of PARAMS",
                     "STDIN after its end"},
    [FERRY_DATA] = {FERRY_STDIN, FERRY_CONN_DATA_END, "DATA before the end of STDIN",
                    "DATA after its end"},
};

/* -- requests that end before their input does -- */

static uint8_t last_stream(unsigned role)
{
    return role == FERRY_FILTER ? FERRY_DATA : FERRY_STDIN;
}

static void expect_unread(struct ferry_conn *c, uint16_t id, unsigned role)
{
    c->unread++;
    c->unread_id = id;
    c->unread_stream = last_stream(role);
}

static void skip_late(struct ferry_conn *c)
{
    bool empty = c->rec.content_len == 0;

    if (empty && c->unread && c->rec.id == c->unread_id && c->rec.type == c->unread_stream) {
        c->unread--;
        c->unread_id = 0;
    }
    /* Content is the rest of a long upload, which may outlive its request; an empty record, or what
     * has no content at all, brings nobody further. */
    if (empty || c->rec.type == FERRY_ABORT_REQUEST)
        ferry__conn_ignore(c);
}

/* -- answers of the machine's own -- */

static void answer(struct ferry_conn *c, uint8_t type, uint16_t id, struct ferry_slice content)
{
    uint64_t before = c->out.len;

    ferry__conn_put(c, type, id, content);
    c->replies += (uint32_t)(c->out.len - before);
    c->replies_end = c->sent + c->out.len;
    ferry__conn_ignore(c);
    ferry__conn_output_err(c);
}

static void management(struct ferry_conn *c)
{
    char body[FERRY_RECORD_BODY_LEN];

    switch (c->rec.type) {
    case FERRY_GET_VALUES:
        c->content = FERRY__BODY;
        break;
    case FERRY_GET_VALUES_RESULT:
    case FERRY_UNKNOWN_TYPE:
        /* Answering what is an answer itself could go on for ever. */
        ferry__conn_ignore(c);
        break;
    case FERRY_BEGIN_REQUEST:
    case FERRY_ABORT_REQUEST:
    case FERRY_END_REQUEST:
    case FERRY_PARAMS:
    case FERRY_STDIN:
    case FERRY_STDOUT:
    case FERRY_STDERR:
    case FERRY_DATA:
        ferry__conn_fail(c, FERRY_EPROTOCOL, "a request's record with request id 0");
        break;
    default:
        ferry_unknown_type_body_encode(c->rec.type, body);
        answer(c, FERRY_UNKNOWN_TYPE, 0, ferry_slice(body, sizeof body));
    }
}

static void answer_values(struct ferry_conn *c)
{
    struct ferry_conn_values truth = {
        .max_conns = c->max_conns ? (int64_t)c->max_conns : -1,
        .max_reqs = c->max_reqs ? (int64_t)c->max_reqs : -1,
        .mpxs_conns = c->requests_max > 1,
    };
    char body[FERRY__VALUES_LEN_MAX];
    size_t n = ferry__values_answer(ferry_slice(c->body, c->body_len), &truth, body);

    answer(c, FERRY_GET_VALUES_RESULT, 0, ferry_slice(body, n));
}

/* -- requests -- */

static struct ferry_slice end_body(char out[FERRY_RECORD_BODY_LEN], uint32_t app_status,
                                   enum ferry_protocol_status status)
{
    struct ferry_end_body body = {.app_status = app_status, .protocol_status = (uint8_t)status};

    ferry_end_body_encode(&body, out);
    return ferry_slice(out, FERRY_RECORD_BODY_LEN);
}

static void refuse(struct ferry_conn *c, const struct ferry_begin_body *begin,
                   enum ferry_protocol_status status)
{
    char body[FERRY_RECORD_BODY_LEN];

    expect_unread(c, c->rec.id, begin->role);
    if (!(begin->flags & FERRY_KEEP_CONN))
        c->closing = true;
    answer(c, FERRY_END_REQUEST, c->rec.id, end_body(body, 0, status));
}

static void begin_request(struct ferry_conn *c)
{
    struct ferry_begin_body begin;
    struct ferry__request *r;

    ferry_begin_body_decode(c->body, &begin);
    if (c->closing) {
        refuse(c, &begin, FERRY_OVERLOADED);
        return;
    }
    if (c->requests.n >= c->requests_max) {
        refuse(c, &begin, c->requests_max == 1 ? FERRY_CANT_MPX_CONN : FERRY_OVERLOADED);
        return;
    }
    if (begin.role > FERRY_FILTER || !(c->roles >> begin.role & 1) || begin.role == 0) {
        refuse(c, &begin, FERRY_UNKNOWN_ROLE);
        return;
    }
    r = ferry__requests_add(&c->requests, c->rec.id);
    if (!r) {
        refuse(c, &begin, FERRY_OVERLOADED);
        return;
    }
    r->role = begin.role;
    r->keep = begin.flags & FERRY_KEEP_CONN;
    ferry__conn_tell(c, FERRY_CONN_BEGIN, r);
    c->event.begin = begin;
}

static void abort_request(struct ferry_conn *c, struct ferry__request *r)
{
    if (r->aborted) {
        ferry__conn_ignore(c);
        return;
    }
    r->aborted = true;
    ferry__conn_tell(c, FERRY_CONN_ABORT, r);
}

static void stream(struct ferry_conn *c, struct ferry__request *r)
{
    uint8_t type = c->rec.type;
    bool ended = r->ended & ferry__bit(type);

    if (type == FERRY_DATA && r->role != FERRY_FILTER) {
        if (c->rec.content_len == 0)
            ferry__conn_ignore(c);
        return;
    }
    if (order[type].before && !(r->ended & ferry__bit(order[type].before))) {
        ferry__conn_fail(c, FERRY_EPROTOCOL, order[type].too_early);
        return;
    }
    /* Some web servers end STDIN twice. */
    if (ended && (c->rec.content_len || type == FERRY_PARAMS)) {
        ferry__conn_fail(c, FERRY_EPROTOCOL, order[type].too_late);
        return;
    }
    if (c->rec.content_len) {
        c->content = r->aborted ? FERRY__SKIP : FERRY__STREAM;
        return;
    }
    r->ended |= ferry__bit(type);
    if (ended || r->aborted)
        ferry__conn_ignore(c);
    else
        ferry__conn_tell(c, order[type].end_event, r);
}

void ferry__app_header(struct ferry_conn *c)
{
    struct ferry__request *r;

    if (ferry__conn_done(c)) {
        skip_late(c);
        return;
    }
    if (c->rec.id == 0) {
        management(c);
        return;
    }
    r = ferry__requests_find(&c->requests, c->rec.id);
    switch (c->rec.type) {
    case FERRY_BEGIN_REQUEST:
        if (r)
            ferry__conn_fail(c, FERRY_EPROTOCOL, "BEGIN_REQUEST for an active request");
        else if (c->rec.content_len < FERRY_RECORD_BODY_LEN)
            ferry__conn_fail(c, FERRY_EPROTOCOL, "a short BEGIN_REQUEST");
        else
            c->content = FERRY__BODY;
        break;
    case FERRY_ABORT_REQUEST:
        if (r)
            abort_request(c, r);
        else
            skip_late(c);
        break;
    case FERRY_PARAMS:
    case FERRY_STDIN:
    case FERRY_DATA:
        if (r)
            stream(c, r);
        else
            skip_late(c);
        break;
    case FERRY_END_REQUEST:
    case FERRY_STDOUT:
    case FERRY_STDERR:
        ferry__conn_fail(c, FERRY_EPROTOCOL, "a record that only applications send");
        break;
    default:
        ferry__conn_ignore(c);
    }
}

void ferry__app_body(struct ferry_conn *c)
{
    if (c->rec.type == FERRY_BEGIN_REQUEST)
        begin_request(c);
    else
        answer_values(c);
}

int ferry_conn_end(struct ferry_conn *c, uint16_t id, uint32_t app_status,
                   enum ferry_protocol_status status)
{
    struct ferry__request *r = ferry__requests_find(&c->requests, id);
    char body[FERRY_RECORD_BODY_LEN];

    if (c->err)
        return c->err;
    if (!r || !c->is_app)
        return FERRY_EUSAGE;
    if (status == FERRY_REQUEST_COMPLETE && ferry__conn_may_send(c, r, FERRY_STDOUT)) {
        if (r->wrote_err && ferry_conn_write_end(c, id, FERRY_STDERR) < 0)
            return c->err;
        if (ferry_conn_write_end(c, id, FERRY_STDOUT) < 0)
            return c->err;
    }
    ferry__conn_put(c, FERRY_END_REQUEST, id, end_body(body, app_status, status));
    if (!(r->ended & ferry__bit(last_stream(r->role))))
        expect_unread(c, id, r->role);
    if (!r->keep)
        c->closing = true;
    ferry__conn_forget(c, r);
    return ferry__conn_output_err(c);
}
