/* SPDX-License-Identifier: MIT */
/* One answer to a connection, made when the head of the request is there, and closed behind it. */
#include "cli/status_door.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/list.h"
#include "http/http.h"
#include "io/pump.h"

#define CONNS_MAX 32 /* more are closed at once */

struct ferry_status_door {
    struct ferry_listener listener;
    struct ferry_status_door_opts o;
    struct ferry_list conns;
    unsigned nconns;
    bool closing, listening;
};

struct conn {
    struct ferry_pump pump;
    struct ferry_list link;
    struct ferry_status_door *door;
    struct ferry_http *http;
    bool closing;
};

static struct conn *conn_of(struct ferry_pump *pump)
{
    return ferry_container(pump, struct conn, pump);
}

static void close_conn(struct conn *c)
{
    if (!c->closing)
        ferry_pump_close(&c->pump);
    c->closing = true;
}

/* -- answers ---------------------------------------------------------------------------------- */

static void answer(struct conn *c, int status, const char *type, struct ferry_slice body)
{
    struct ferry_http_field fields[] = {{FERRY_SLICE("Content-Type"), ferry_slice_z(type)},
                                        {FERRY_SLICE("Cache-Control"), FERRY_SLICE("no-store")},
                                        {FERRY_SLICE("Allow"), FERRY_SLICE("GET, HEAD")}};
    struct ferry_http_response r = {.status = status,
                                    .fields = fields,
                                    .nfields = status == 405 ? 3 : 2,
                                    .content_length = (int64_t)body.len,
                                    .close = true};

    if (ferry_http_respond(c->http, &r) < 0 || ferry_http_write(c->http, NULL, body) < 0 ||
        ferry_http_finish(c->http) < 0)
        ferry_http_cut(c->http);
}

static void answer_word(struct conn *c, int status, const char *word)
{
    answer(c, status, "text/plain; charset=utf-8", ferry_slice_z(word));
}

static bool wants_json(const struct ferry_http_head *head, struct ferry_slice query)
{
    if (query.len)
        return ferry_slice_starts(query, FERRY_SLICE("json"));
    for (unsigned i = 0; i < head->nfields; i++)
        if (ferry_slice_eq_nocase(head->fields[i].name, FERRY_SLICE("accept")))
            return memmem(head->fields[i].value.p, head->fields[i].value.len, "application/json",
                          16) != NULL;
    return false;
}

static void answer_status(struct conn *c, bool json)
{
    const struct ferry_status_door_opts *o = &c->door->o;
    size_t len = 0;
    char *text = NULL;
    FILE *f = open_memstream(&text, &len);

    if (f) {
        o->write(o->arg, json, f);
        if (fclose(f) != 0)
            len = 0;
    }
    if (len)
        answer(c, 200, json ? "application/json" : "text/plain; charset=utf-8",
               ferry_slice(text, len));
    else
        answer_word(c, 500, "there is no memory left\n");
    free(text);
}

static void on_request(struct conn *c, const struct ferry_http_head *head)
{
    const struct ferry_status_door_opts *o = &c->door->o;
    struct ferry_slice target = head->target, path, query;

    /* A target may be absolute; only its end counts here. */
    if (ferry_slice_starts(target, FERRY_SLICE("http://"))) {
        target = ferry_slice_from(target, 7);
        target = ferry_slice_from(target, ferry_slice_find(target, '/'));
    }
    path = ferry_slice_first(target, ferry_slice_find(target, '?'));
    query = ferry_slice_from(target, path.len + 1);
    if (head->method_id != FERRY_HTTP_GET && head->method_id != FERRY_HTTP_HEAD)
        answer_word(c, 405, "only GET and HEAD are answered\n");
    else if (ferry_slice_eq(path, FERRY_SLICE("/ready")))
        answer_word(c, o->is_ready(o->arg) ? 200 : 503,
                    o->is_ready(o->arg) ? "ready\n" : "not ready\n");
    else if (ferry_slice_eq(path, FERRY_SLICE("/status")) || path.len <= 1)
        answer_status(c, wants_json(head, query));
    else
        answer_word(c, 404, "there are /status, /status?json and /ready\n");
}

/* -- connections ------------------------------------------------------------------------------ */

static void on_ready(struct ferry_pump *pump)
{
    static struct ferry_http_event ev; /* large, and used by the one thread there is */
    struct conn *c = conn_of(pump);

    while (!c->closing && ferry_http_event(c->http, &ev) > 0) {
        if (ev.type == FERRY_HTTP_EV_HEAD)
            on_request(c, &ev.head);
        else if (ev.type == FERRY_HTTP_EV_BAD && !ferry_http_responded(c->http))
            answer_word(c, ev.status, "that is no request\n");
        else if (ev.type == FERRY_HTTP_EV_BAD)
            ferry_http_cut(c->http);
        ferry_pump_kick(pump);
    }
}

static void on_failed(struct ferry_pump *pump, int err)
{
    (void)err;
    close_conn(conn_of(pump));
}

static void on_finished(struct ferry_pump *pump)
{
    close_conn(conn_of(pump));
}

static void maybe_closed(struct ferry_status_door *door)
{
    struct ferry_status_door_opts o = door->o;

    if (!door->closing || door->listening || door->nconns)
        return;
    free(door);
    o.closed(o.arg);
}

static void on_closed(struct ferry_pump *pump)
{
    struct conn *c = conn_of(pump);
    struct ferry_status_door *door = c->door;

    ferry_list_remove(&c->link);
    door->nconns--;
    ferry_http_free(c->http);
    free(c);
    maybe_closed(door);
}

static const struct ferry_pump_fns pump_fns = {
    .ready = on_ready, .failed = on_failed, .finished = on_finished, .closed = on_closed};

static void on_accepted(struct ferry_listener *listener, int fd)
{
    struct ferry_status_door *door = ferry_container(listener, struct ferry_status_door, listener);
    struct ferry_http_opts opts = {.blocks = ferry_loop_blocks(listener->loop),
                                   .head_max = 8192,
                                   .target_max = 1024,
                                   .body_max = 1 << 20, /* which is never read */
                                   .head_timeout_ms = 5000,
                                   .idle_timeout_ms = 5000,
                                   .send_stall_ms = 5000,
                                   .requests_max = 1};
    struct conn *c = door->nconns < CONNS_MAX ? calloc(1, sizeof *c) : NULL;

    if (c)
        c->http = ferry_http_new(&opts, ferry_loop_now(listener->loop));
    if (!c || !c->http) {
        free(c);
        close(fd);
        return;
    }
    c->door = door;
    if (ferry_pump_open(listener->loop, &c->pump, &pump_fns, &ferry_http_machine, c->http, fd) <
        0) {
        ferry_http_free(c->http);
        free(c);
        return;
    }
    ferry_list_push(&door->conns, &c->link);
    door->nconns++;
}

static void listener_closed(struct ferry_listener *listener)
{
    struct ferry_status_door *door = ferry_container(listener, struct ferry_status_door, listener);

    door->listening = false;
    maybe_closed(door);
}

int ferry_status_door_open(struct ferry_loop *loop, const struct ferry_status_door_opts *o, int fd,
                           struct ferry_status_door **out)
{
    struct ferry_status_door *door = calloc(1, sizeof *door);
    int err;

    if (!door)
        return -ENOMEM;
    door->o = *o;
    ferry_list_init(&door->conns);
    door->listener = (struct ferry_listener){.accepted = on_accepted, .closed = listener_closed};
    err = ferry_listener_open(loop, &door->listener, fd);
    if (err < 0) {
        free(door);
        return err;
    }
    door->listening = true;
    *out = door;
    return 0;
}

void ferry_status_door_close(struct ferry_status_door *door)
{
    door->closing = true;
    ferry_listener_close(&door->listener, true);
    ferry_list_each (at, next, &door->conns)
        close_conn(ferry_container(at, struct conn, link));
}
