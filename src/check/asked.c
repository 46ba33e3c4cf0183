/* SPDX-License-Identifier: MIT */
/*
 * The application's half of the stage: records become requests, and answers records. What a web
 * server does wrong is noted with the request and borne, so that the case that asks about it fails
 * and no other.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "check/stage.h"
#include "check/talk.h"

#define PARAM_MAX (1u << 20)

void ferry__asked_free(struct ferry_asked *r)
{
    ferry_bytes_fini(&r->params);
    ferry_bytes_fini(&r->body);
    ferry_bytes_fini(&r->data);
    free(r);
}

static void wrong(struct ferry_stage *s, struct ferry_asked *r, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void wrong(struct ferry_stage *s, struct ferry_asked *r, const char *fmt, ...)
{
    char text[sizeof r->wrong];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (r && !r->wrong[0])
        memcpy(r->wrong, text, sizeof text);
    if (!s->wrong[0])
        snprintf(s->wrong, sizeof s->wrong, "%s: %s", s->check->at->id, text);
}

static struct ferry_asked *find(const struct ferry_stage_conn *conn, uint16_t id)
{
    struct ferry_asked *found = NULL;

    /* The latest of that id. */
    for (struct ferry_asked *r = conn->stage->asked; r; r = r->next)
        if (r->conn == conn && r->id == id)
            found = r;
    return found;
}

static void begin(struct ferry_stage_conn *conn, const struct ferry_wire_record *rec)
{
    struct ferry_stage *s = conn->stage;
    struct ferry_asked *r, *old = find(conn, rec->id), **at = &s->asked;
    struct ferry_begin_body body = {0};

    if (rec->content_len >= FERRY_RECORD_BODY_LEN)
        ferry_begin_body_decode(rec->content, &body);
    r = calloc(1, sizeof *r);
    if (!r)
        ferry_check_skip(s->check, "no memory is left");
    r->stage = s;
    r->conn = conn;
    r->id = rec->id;
    r->role = body.role;
    r->flags = body.flags;
    ferry_bytes_init(&r->params, FERRY_STAGE_BYTES_MAX);
    ferry_bytes_init(&r->body, FERRY_STAGE_BYTES_MAX);
    ferry_bytes_init(&r->data, FERRY_STAGE_BYTES_MAX);
    while (*at)
        at = &(*at)->next;
    *at = r;
    s->requests++;
    conn->begun++;
    if (rec->id == 0)
        wrong(s, r, "BEGIN_REQUEST with request id 0");
    if (rec->content_len != FERRY_RECORD_BODY_LEN)
        wrong(s, r, "a BEGIN_REQUEST of %u bytes instead of 8", rec->content_len);
    if (old && !old->ended)
        wrong(s, r, "BEGIN_REQUEST for id %u, which is active", rec->id);
    if (conn->last)
        wrong(s, r, "BEGIN_REQUEST on a connection that was not to be kept");
    conn->last = !(r->flags & FERRY_KEEP_CONN);
}

static void stream(struct ferry_asked *r, const struct ferry_wire_record *rec,
                   struct ferry_bytes *to, bool *ended, bool may)
{
    char buf[16];

    if (*ended)
        wrong(r->stage, r, "a %s record behind the end of that stream",
              ferry_talk_type(rec->type, buf));
    else if (!may)
        wrong(r->stage, r, "a %s record before the stream before it has ended",
              ferry_talk_type(rec->type, buf));
    ferry_bytes_add(to, rec->content, rec->content_len);
    if (to->err)
        ferry_check_skip(r->stage->check, "a request is longer than can be kept");
    if (rec->content_len == 0)
        *ended = true;
}

static void request_record(struct ferry_stage_conn *conn, const struct ferry_wire_record *rec)
{
    struct ferry_asked *r = find(conn, rec->id);
    char buf[16];

    if (!r || r->ended) {
        /* STDIN, DATA and ABORT may have crossed our END_REQUEST. */
        if (!r || rec->type == FERRY_PARAMS)
            wrong(conn->stage, NULL, "%s for id %u, which is not active",
                  ferry_talk_type(rec->type, buf), rec->id);
        return;
    }
    r->records[rec->type]++;
    r->unpadded[rec->type] +=
        (FERRY_RECORD_HEADER_LEN + rec->content_len + rec->padding_len) % 8 != 0;
    switch (rec->type) {
    case FERRY_PARAMS:
        stream(r, rec, &r->params, &r->params_ended, true);
        break;
    case FERRY_STDIN:
        stream(r, rec, &r->body, &r->stdin_ended, r->params_ended);
        break;
    case FERRY_DATA:
        stream(r, rec, &r->data, &r->data_ended, r->stdin_ended && r->role == FERRY_FILTER);
        break;
    default:
        r->aborted = true;
    }
}

/* -- GET_VALUES ------------------------------------------------------------------------------- */

static void add_value(struct ferry_bytes *b, const char *name, const char *value)
{
    struct ferry_param pair = {ferry_slice_z(name), ferry_slice_z(value)};
    char text[128];
    ssize_t n = ferry_param_encode(&pair, text, sizeof text);

    if (n > 0)
        ferry_bytes_add(b, text, (size_t)n);
}

static void put(struct ferry_stage_conn *conn, const struct ferry_wire_record *rec)
{
    unsigned char header[FERRY_RECORD_HEADER_LEN] = {rec->version,
                                                     rec->type,
                                                     (unsigned char)(rec->id >> 8),
                                                     (unsigned char)rec->id,
                                                     (unsigned char)(rec->content_len >> 8),
                                                     (unsigned char)rec->content_len,
                                                     rec->padding_len,
                                                     rec->reserved};

    if (conn->fd < 0)
        return;
    ferry_talk_record(&conn->stage->check->talk, "Application", conn->number, rec);
    ferry_bytes_add(&conn->out, header, sizeof header);
    if (!rec->content && rec->content_len)
        return;
    ferry_bytes_add(&conn->out, rec->content, rec->content_len);
    ferry_bytes_fill(&conn->out, 0xAA, rec->padding_len);
    if (conn->out.err)
        ferry_check_skip(conn->stage->check, "an answer is longer than can be kept");
}

static void put_result(struct ferry_stage_conn *conn, unsigned type, const void *p, size_t n)
{
    put(conn, &(struct ferry_wire_record){.version = FERRY_RECORD_VERSION,
                                          .type = (uint8_t)type,
                                          .content_len = (uint16_t)n,
                                          .padding_len = ferry_record_padding(n),
                                          .content = p});
}

static void answer_values(struct ferry_stage_conn *conn)
{
    static const unsigned char unknown[FERRY_RECORD_BODY_LEN] = {FERRY_GET_VALUES};
    enum ferry_stage_values how = conn->stage->values;
    struct ferry_bytes b;

    ferry_bytes_init(&b, 4096);
    if (how == FERRY_VALUES_MORE)
        add_value(&b, "FCGI_LUCKY_NUMBERS", "7 11");
    if (how != FERRY_VALUES_EMPTY) {
        add_value(&b, "FCGI_MAX_CONNS", how == FERRY_VALUES_MANY ? "16" : "64");
        add_value(&b, "FCGI_MAX_REQS", how == FERRY_VALUES_MANY ? "256" : "64");
        add_value(&b, "FCGI_MPXS_CONNS", how == FERRY_VALUES_MANY ? "1" : "0");
    }
    if (how == FERRY_VALUES_CLOSE)
        ferry__stage_conn_shut(conn, true);
    else if (how == FERRY_VALUES_UNKNOWN)
        put_result(conn, FERRY_UNKNOWN_TYPE, unknown, sizeof unknown);
    else if (how != FERRY_VALUES_SILENT)
        put_result(conn, FERRY_GET_VALUES_RESULT, b.p, b.len);
    ferry_bytes_fini(&b);
}

static void values_wrong(struct ferry_stage *s, const char *why)
{
    if (!s->values_wrong++)
        snprintf(s->values_why, sizeof s->values_why, "%s", why);
}

static void get_values(struct ferry_stage_conn *conn, const struct ferry_wire_record *rec)
{
    struct ferry_stage *s = conn->stage;
    struct ferry_param pair;
    size_t at = 0;

    s->values_seen = s->values_asked = conn->asked_values = true;
    if (rec->id)
        values_wrong(s, "a GET_VALUES with a request id");
    while (at < rec->content_len) {
        ssize_t n = ferry_param_decode(rec->content + at, rec->content_len - at, 4096, &pair);

        if (n <= 0) {
            values_wrong(s, "a GET_VALUES that is not a list of names");
            break;
        }
        if (pair.value.len)
            values_wrong(s, "a GET_VALUES with a value in it");
        at += (size_t)n;
    }
    answer_values(conn);
}

/* -- records ---------------------------------------------------------------------------------- */

static void take_record(struct ferry_stage_conn *conn, const struct ferry_wire_record *rec)
{
    struct ferry_stage *s = conn->stage;

    ferry_talk_record(&s->check->talk, "Web server", conn->number, rec);
    if (rec->version != FERRY_RECORD_VERSION)
        wrong(s, NULL, "a record of version %u", rec->version);
    switch (rec->type) {
    case FERRY_BEGIN_REQUEST:
        begin(conn, rec);
        break;
    case FERRY_ABORT_REQUEST:
    case FERRY_PARAMS:
    case FERRY_STDIN:
    case FERRY_DATA:
        request_record(conn, rec);
        break;
    case FERRY_GET_VALUES:
        get_values(conn, rec);
        break;
    default:
        wrong(s, NULL, "a record of type %u, which no web server sends", rec->type);
    }
}

void ferry__stage_conn_read(struct ferry_stage_conn *conn)
{
    size_t at = 0;

    while (conn->fd >= 0 && conn->in.len - at >= FERRY_RECORD_HEADER_LEN) {
        const unsigned char *h = (const unsigned char *)conn->in.p + at;
        struct ferry_wire_record rec = {.version = h[0],
                                        .type = h[1],
                                        .id = (uint16_t)(h[2] << 8 | h[3]),
                                        .content_len = (uint16_t)(h[4] << 8 | h[5]),
                                        .padding_len = h[6],
                                        .reserved = h[7],
                                        .content = h + FERRY_RECORD_HEADER_LEN};
        size_t len = FERRY_RECORD_HEADER_LEN + (size_t)rec.content_len + rec.padding_len;

        if (conn->in.len - at < len)
            break;
        take_record(conn, &rec);
        at += len;
    }
    ferry_bytes_drop(&conn->in, at);
    for (struct ferry_asked *r = conn->stage->asked; r; r = r->next)
        if (r->conn == conn)
            ferry__asked_by_the_way(r);
}

struct ferry_slice ferry_asked_param(const struct ferry_asked *r, const char *name, unsigned *n)
{
    struct ferry_slice wanted = ferry_slice_z(name), found = {0};
    struct ferry_param pair;
    size_t at = 0;

    if (n)
        *n = 0;
    while (at < r->params.len) {
        ssize_t took = ferry_param_decode(r->params.p + at, r->params.len - at, PARAM_MAX, &pair);

        if (took <= 0)
            break;
        at += (size_t)took;
        if (!ferry_slice_eq(pair.name, wanted))
            continue;
        if (n)
            ++*n;
        if (!found.p)
            found = pair.value;
    }
    return found;
}

/* Nobody's request: one that carries no token of the case that runs. */
void ferry__asked_by_the_way(struct ferry_asked *r)
{
    if (r->own || r->ended || !r->params_ended || !r->stdin_ended)
        return;
    for (struct ferry_visit *v = r->stage->visits; v; v = v->next)
        if (memmem(r->params.p, r->params.len, v->token, strlen(v->token)))
            return;
    r->own = true;
    ferry_asked_answer(r, "nobody is waiting for this");
}

/* -- answers ---------------------------------------------------------------------------------- */

void ferry_asked_raw(struct ferry_asked *r, const void *p, size_t n)
{
    if (r->conn->fd < 0)
        return;
    ferry_talk_bytes(&r->stage->check->talk, "Application", r->conn->number, p, n);
    ferry_bytes_add(&r->conn->out, p, n);
}

void ferry_asked_put(struct ferry_asked *r, const struct ferry_wire_record *rec)
{
    put(r->conn, rec);
}

void ferry_asked_record(struct ferry_asked *r, unsigned type, const void *p, size_t n,
                        unsigned padding)
{
    put(r->conn, &(struct ferry_wire_record){.version = FERRY_RECORD_VERSION,
                                             .type = (uint8_t)type,
                                             .id = r->id,
                                             .content_len = (uint16_t)n,
                                             .padding_len = (uint8_t)padding,
                                             .content = p});
}

void ferry_asked_write(struct ferry_asked *r, const void *bytes, size_t n)
{
    const char *p = bytes;

    for (size_t now; n; p += now, n -= now) {
        now = n < 32768 ? n : 32768;
        ferry_asked_record(r, FERRY_STDOUT, p, now, ferry_record_padding(now));
    }
}

void ferry_asked_say(struct ferry_asked *r, const char *text)
{
    ferry_asked_write(r, text, strlen(text));
}

void ferry_asked_end(struct ferry_asked *r, uint32_t app_status, unsigned protocol_status)
{
    struct ferry_end_body body = {.app_status = app_status,
                                  .protocol_status = (uint8_t)protocol_status};
    unsigned char bytes[FERRY_RECORD_BODY_LEN];

    ferry_end_body_encode(&body, bytes);
    ferry_asked_record(r, FERRY_END_REQUEST, bytes, sizeof bytes, 0);
    r->ended = true;
    if (!(r->flags & FERRY_KEEP_CONN))
        r->conn->closes = true;
}

void ferry_asked_finish(struct ferry_asked *r, uint32_t app_status)
{
    ferry_asked_record(r, FERRY_STDOUT, NULL, 0, 0);
    ferry_asked_end(r, app_status, FERRY_REQUEST_COMPLETE);
}

void ferry_asked_answer(struct ferry_asked *r, const char *text)
{
    ferry_asked_say(r, "Content-Type: text/plain\r\n\r\n");
    ferry_asked_say(r, text);
    ferry_asked_finish(r, 0);
}

bool ferry_asked_flush(struct ferry_asked *r)
{
    uint64_t end = ferry_check_now() + r->stage->timeout_ms;
    size_t last = r->conn->out.len;

    while (r->conn->out.len && r->conn->fd >= 0 && ferry_check_now() < end) {
        ferry_stage_turn(r->stage, 50);
        if (r->conn->out.len < last) /* some of it went */
            end = ferry_check_now() + r->stage->timeout_ms;
        last = r->conn->out.len;
    }
    return r->conn->out.len == 0 && !r->conn->gone;
}

void ferry_asked_trickle(struct ferry_asked *r, const void *bytes, size_t n, size_t piece)
{
    const char *p = bytes;

    ferry_talk_bytes(&r->stage->check->talk, "Application", r->conn->number, p, n);
    ferry_talk_note(&r->stage->check->talk, "Application", r->conn->number,
                    "(that in pieces of %zu byte%s)", piece, piece == 1 ? "" : "s");
    for (size_t now; n; p += now, n -= now) {
        now = n < piece ? n : piece;
        ferry_bytes_add(&r->conn->out, p, now);
        if (!ferry_asked_flush(r))
            return;
        ferry_stage_pass(r->stage->check, 1); /* else the kernel joins them */
    }
}

void ferry_asked_close(struct ferry_asked *r)
{
    r->ended = true;
    r->conn->closes = true;
    ferry_asked_flush(r);
    ferry__stage_conn_shut(r->conn, true);
}

void ferry_asked_reset(struct ferry_asked *r)
{
    struct linger now = {.l_onoff = 1};

    ferry_asked_flush(r);
    if (r->conn->fd >= 0)
        setsockopt(r->conn->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    r->ended = true;
    ferry__stage_conn_shut(r->conn, true);
}

enum ferry_left ferry_asked_left(struct ferry_asked *r, unsigned ms)
{
    uint64_t end = ferry_check_now() + ms, now;

    while (!r->aborted && !r->conn->gone && (now = ferry_check_now()) < end)
        ferry_stage_turn(r->stage, (unsigned)(end - now));
    return r->aborted ? FERRY_LEFT_ABORT : r->conn->gone ? FERRY_LEFT_CLOSE : FERRY_LEFT_NOT;
}
