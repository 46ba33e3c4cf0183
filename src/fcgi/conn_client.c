/* SPDX-License-Identifier: MIT */
/*
 * The client's end (the specification's web server): beginning and aborting requests, and what a
 * record from the application means.
 *
 * An id is the lowest free one, and free again after its END_REQUEST. On a connection that
 * multiplexes, the id of an aborted request rests until all others were used: Go's net/http/fcgi
 * acknowledges an abort by itself while the handler goes on writing, and that output must not
 * appear in the next request. What still comes for a resting id is skipped.
 */
#include <errno.h>

#include "fcgi/conn_private.h"
#include "fcgi/values.h"

/* -- beginning and aborting -- */

static uint16_t take_id(struct ferry_conn *c)
{
    uint16_t id = ferry__ids_take(&c->ids);

    if (id)
        return id;
    /* The resting ones are all that is left. */
    ferry__ids_init(&c->ids, c->id_words, c->ids.max);
    for (uint32_t i = 0; i < c->requests.cap; i++)
        if (c->requests.slots[i].id)
            ferry__ids_take_one(&c->ids, c->requests.slots[i].id);
    return ferry__ids_take(&c->ids);
}

static int may_begin(const struct ferry_conn *c)
{
    if (c->err)
        return c->err;
    if (c->is_app)
        return FERRY_EUSAGE;
    if (c->closing)
        return FERRY_ECLOSED;
    return c->requests.n < c->requests_max ? 0 : FERRY_ELIMIT;
}

/* A request in the table: its id, or an error with nothing changed. */
static int add_request(struct ferry_conn *c, uint16_t role, bool keep, void *user, uint16_t ended)
{
    uint16_t id = take_id(c);
    struct ferry__request *r = ferry__requests_add(&c->requests, id);

    if (!r) {
        ferry__ids_give(&c->ids, id);
        return -ENOMEM;
    }
    r->role = role;
    r->keep = keep;
    r->user = user;
    r->ended = ended;
    return id;
}

/* The output holds the beginning of a request, or is out of memory. */
static int begun(struct ferry_conn *c, int id, bool keep)
{
    if (!keep)
        c->closing = true;
    return ferry__conn_output_err(c) < 0 ? c->err : id;
}

int ferry_conn_begin(struct ferry_conn *c, uint16_t role, bool keep, void *user)
{
    struct ferry_begin_body begin = {.role = role, .flags = keep ? FERRY_KEEP_CONN : 0};
    char body[FERRY_RECORD_BODY_LEN];
    int id = may_begin(c);

    if (id < 0)
        return id;
    id = add_request(c, role, keep, user, 0);
    if (id < 0)
        return id;
    ferry_begin_body_encode(&begin, body);
    ferry__conn_put(c, FERRY_BEGIN_REQUEST, (uint16_t)id, ferry_slice(body, sizeof body));
    return begun(c, id, keep);
}

/* The record at the front of an image: its length, or 0 when that is none. */
static size_t image_record(struct ferry_slice image, struct ferry_record *out)
{
    size_t len;

    if (ferry_record_decode(image.p, image.len, out) <= 0)
        return 0;
    len = FERRY_RECORD_HEADER_LEN + (size_t)out->content_len + out->padding_len;
    return len <= image.len ? len : 0;
}

/* Checks what an image holds: the streams that end in it, or 0 when it is none. */
static uint16_t image_check(struct ferry_slice image, struct ferry_begin_body *begin)
{
    uint16_t ended = 0;
    struct ferry_record r;
    size_t n = image_record(image, &r);

    if (n == 0 || r.type != FERRY_BEGIN_REQUEST || r.content_len != FERRY_RECORD_BODY_LEN)
        return 0;
    ferry_begin_body_decode(image.p + FERRY_RECORD_HEADER_LEN, begin);
    for (image = ferry_slice_from(image, n); image.len; image = ferry_slice_from(image, n)) {
        n = image_record(image, &r);
        if (n == 0)
            return 0;
        if (r.type == FERRY_PARAMS && !(ended & ferry__bit(FERRY_PARAMS))) {
            if (r.content_len == 0)
                ended |= ferry__bit(FERRY_PARAMS);
        } else if (r.type == FERRY_STDIN && ended == ferry__bit(FERRY_PARAMS) &&
                   r.content_len == 0) {
            ended |= ferry__bit(FERRY_STDIN);
        } else {
            return 0;
        }
    }
    return ended;
}

static void image_patch(struct ferry_slice image, uint16_t id, struct ferry_begin_body begin)
{
    struct ferry_record r;

    ferry_begin_body_encode(&begin, (char *)image.p + FERRY_RECORD_HEADER_LEN);
    while (image.len) {
        size_t n = image_record(image, &r);

        r.id = id;
        ferry_record_encode(&r, (char *)image.p);
        image = ferry_slice_from(image, n);
    }
}

int ferry_conn_begin_image(struct ferry_conn *c, struct ferry_block *b, struct ferry_slice image,
                           bool keep, void *user)
{
    struct ferry_begin_body begin;
    uint16_t ended;
    int id = may_begin(c);

    if (id < 0)
        return id;
    ended = image_check(image, &begin);
    if (!ended)
        return FERRY_EUSAGE;
    id = add_request(c, begin.role, keep, user, ended);
    if (id < 0)
        return id;
    begin.flags = keep ? FERRY_KEEP_CONN : 0;
    image_patch(image, (uint16_t)id, begin);
    ferry_chain_ref(&c->out, b, image);
    return begun(c, id, keep);
}

int ferry_conn_abort(struct ferry_conn *c, uint16_t id)
{
    struct ferry__request *r = ferry__requests_find(&c->requests, id);

    if (c->err)
        return c->err;
    if (!r || c->is_app)
        return FERRY_EUSAGE;
    if (r->aborted)
        return 0;
    r->aborted = true;
    ferry__conn_mute(c, id);
    ferry__conn_put(c, FERRY_ABORT_REQUEST, id, ferry_slice(NULL, 0));
    return ferry__conn_output_err(c);
}

int ferry_conn_get_values(struct ferry_conn *c)
{
    char body[FERRY__VALUES_LEN_MAX];
    size_t n;

    if (c->err)
        return c->err;
    if (c->is_app)
        return FERRY_EUSAGE;
    if (c->eof)
        return FERRY_ECLOSED;
    n = ferry__values_ask(body);
    c->asked++;
    ferry__conn_put(c, FERRY_GET_VALUES, 0, ferry_slice(body, n));
    return ferry__conn_output_err(c);
}

/* -- what the application says -- */

static void management(struct ferry_conn *c)
{
    switch (c->rec.type) {
    case FERRY_GET_VALUES_RESULT:
        c->content = FERRY__BODY;
        break;
    case FERRY_UNKNOWN_TYPE:
        if (c->rec.content_len < FERRY_RECORD_BODY_LEN)
            ferry__conn_fail(c, FERRY_EPROTOCOL, "a short UNKNOWN_TYPE");
        else
            c->content = FERRY__BODY;
        break;
    default:
        ferry__conn_fail(c, FERRY_EPROTOCOL, "an unexpected record with request id 0");
    }
}

static void stranger(struct ferry_conn *c)
{
    if (c->requests_max > 1 && ferry__ids_taken(&c->ids, c->rec.id))
        ferry__conn_ignore(c);
    else
        ferry__conn_fail(c, FERRY_EPROTOCOL, "a record for a request that is not active");
}

static void out_stream(struct ferry_conn *c, struct ferry__request *r)
{
    uint16_t bit = ferry__bit(c->rec.type);

    if (c->rec.content_len) {
        if (c->rec.type == FERRY_STDOUT && (r->ended & bit))
            ferry__conn_fail(c, FERRY_EPROTOCOL, "STDOUT after its end");
        else if (!r->aborted)
            c->content = FERRY__STREAM;
        return;
    }
    if (c->rec.type == FERRY_STDERR || (r->ended & bit) || r->aborted)
        ferry__conn_ignore(c);
    else
        ferry__conn_tell(c, FERRY_CONN_STDOUT_END, r);
    r->ended |= bit;
}

void ferry__client_header(struct ferry_conn *c)
{
    struct ferry__request *r;

    if (ferry__conn_done(c))
        return;
    if (c->rec.id == 0) {
        management(c);
        return;
    }
    switch (c->rec.type) {
    case FERRY_STDOUT:
    case FERRY_STDERR:
    case FERRY_END_REQUEST:
        r = ferry__requests_find(&c->requests, c->rec.id);
        if (!r)
            stranger(c);
        else if (c->rec.type != FERRY_END_REQUEST)
            out_stream(c, r);
        else if (c->rec.content_len < FERRY_RECORD_BODY_LEN)
            ferry__conn_fail(c, FERRY_EPROTOCOL, "a short END_REQUEST");
        else
            c->content = FERRY__BODY;
        break;
    case FERRY_BEGIN_REQUEST:
    case FERRY_ABORT_REQUEST:
    case FERRY_PARAMS:
    case FERRY_STDIN:
    case FERRY_DATA:
        ferry__conn_fail(c, FERRY_EPROTOCOL, "a record that only web servers send");
        break;
    case FERRY_GET_VALUES:
    case FERRY_GET_VALUES_RESULT:
    case FERRY_UNKNOWN_TYPE:
        ferry__conn_fail(c, FERRY_EPROTOCOL, "a management record with a request id");
        break;
    default:
        ferry__conn_ignore(c);
    }
}

static void end_request(struct ferry_conn *c)
{
    struct ferry__request *r = ferry__requests_find(&c->requests, c->rec.id);

    ferry__conn_tell(c, FERRY_CONN_END, r);
    ferry_end_body_decode(c->body, &c->event.end);
    if (!r->aborted || c->requests_max == 1)
        ferry__ids_give(&c->ids, r->id);
    ferry__requests_remove(&c->requests, r);
}

void ferry__client_body(struct ferry_conn *c)
{
    if (c->rec.type == FERRY_END_REQUEST) {
        end_request(c);
        return;
    }
    if (c->asked == 0) {
        ferry__conn_ignore(c);
        return;
    }
    if (c->rec.type == FERRY_GET_VALUES_RESULT) {
        c->asked--;
        ferry__conn_tell(c, FERRY_CONN_VALUES, NULL);
        ferry__values_read(ferry_slice(c->body, c->body_len), &c->event.values);
        return;
    }
    if (ferry_unknown_type_body_decode(c->body) == FERRY_GET_VALUES)
        c->asked--;
    ferry__conn_tell(c, FERRY_CONN_UNKNOWN_TYPE, NULL);
    c->event.unknown_type = ferry_unknown_type_body_decode(c->body);
}
