/* SPDX-License-Identifier: MIT */
/*
 * One exchange with an application. It ends with the first thing that decides it: an answer, a
 * failure, the timeout or a cancel; what was decided first stays, and is told when the connection
 * is closed.
 */
#include "io/ping.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cgi/response.h"
#include "fcgi/conn.h"
#include "ferry/params.h"

#define PAIRS_MAX 16

static struct ferry__ping *ping_of(struct ferry_pump *pump)
{
    return ferry_container(pump, struct ferry__ping, pump);
}

static void end(struct ferry__ping *p, int err, const char *why)
{
    if (p->closing)
        return;
    p->closing = true;
    p->err = err;
    snprintf(p->why, sizeof p->why, "%s", why);
    ferry_timer_stop(&p->timer);
    ferry_pump_close(&p->pump);
}

/* -- the answer ------------------------------------------------------------------------------- */

static void judge(struct ferry__ping *p)
{
    struct ferry_cgi_response r;
    const char *why = "";
    size_t scanned = 0;
    char text[64];
    ssize_t n = ferry_cgi_response_parse(p->head, p->len, sizeof p->head, &scanned, &r, &why);

    /* A block longer than our room has its Status, if it has one, in what we have. */
    if (n == 0 && p->len < sizeof p->head)
        return;
    if (n == FERRY_EPROTOCOL) {
        end(p, FERRY_EREMOTE, why);
    } else if (n > 0 && r.status < 200) {
        p->len -= (size_t)n;
        memmove(p->head, p->head + n, p->len);
        judge(p);
    } else if (n > 0 && r.status >= 500) {
        snprintf(text, sizeof text, "it answered with status %d", r.status);
        end(p, FERRY_EREMOTE, text);
    } else {
        p->status_known = true;
    }
}

static void take_out(struct ferry__ping *p, struct ferry_slice data)
{
    struct ferry_slice piece = ferry_slice_first(data, sizeof p->head - p->len);

    if (p->status_known || piece.len == 0)
        return;
    memcpy(p->head + p->len, piece.p, piece.len);
    p->len += piece.len;
    judge(p);
}

static void on_event(struct ferry__ping *p, const struct ferry_conn_event *ev)
{
    switch (ev->type) {
    case FERRY_CONN_VALUES:
    case FERRY_CONN_UNKNOWN_TYPE: /* that too is an answer */
        end(p, 0, "");
        break;
    case FERRY_CONN_STDOUT:
        take_out(p, ev->data);
        break;
    case FERRY_CONN_END:
        if (ev->end.protocol_status != FERRY_REQUEST_COMPLETE)
            end(p, FERRY_EREMOTE, "it refused the request");
        else if (p->status_known)
            end(p, 0, "");
        else
            end(p, FERRY_EREMOTE, "its answer has no header block");
        break;
    case FERRY_CONN_CUT:
    case FERRY_CONN_CLOSED:
        end(p, FERRY_ECUT, "it closed the connection without an answer");
        break;
    default:
        break;
    }
}

static void on_ready(struct ferry_pump *pump)
{
    struct ferry__ping *p = ping_of(pump);
    struct ferry_conn_event ev;
    int r;

    while (!p->closing && (r = ferry_conn_event(p->conn, &ev)) != 0) {
        if (r < 0)
            end(p, r, ferry_conn_error_text(p->conn));
        else
            on_event(p, &ev);
    }
}

static void on_failed(struct ferry_pump *pump, int err)
{
    end(ping_of(pump), err, ferry_strerror(err));
}

static void on_finished(struct ferry_pump *pump)
{
    end(ping_of(pump), FERRY_ECUT, "it closed the connection without an answer");
}

static void on_connected(struct ferry_pump *pump, int err)
{
    if (err == -EAGAIN)
        end(ping_of(pump), err, "the queue of its socket is full");
    else if (err < 0)
        end(ping_of(pump), err, ferry_strerror(err));
}

static void on_closed(struct ferry_pump *pump)
{
    struct ferry__ping *p = ping_of(pump);

    ferry_conn_free(p->conn);
    p->conn = NULL;
    p->done(p, p->err, p->why);
}

static const struct ferry_pump_fns pump_fns = {
    .ready = on_ready,
    .failed = on_failed,
    .finished = on_finished,
    .connected = on_connected,
    .closed = on_closed,
};

static void on_timer(struct ferry_timer *t)
{
    end(ferry_container(t, struct ferry__ping, timer), -ETIMEDOUT, "it did not answer in time");
}

/* -- the question ----------------------------------------------------------------------------- */

static size_t make_pairs(const struct ferry__ping_opts *o, struct ferry_param *pairs)
{
    struct ferry_slice uri = ferry_slice_z(o->uri ? o->uri : "/");
    size_t mark = ferry_slice_find(uri, '?'), n = 0;

#define PAIR(name_, value_) pairs[n++] = (struct ferry_param){FERRY_SLICE(name_), value_}
    PAIR("SCRIPT_FILENAME", ferry_slice_z(o->script));
    PAIR("SCRIPT_NAME", ferry_slice_first(uri, mark));
    PAIR("REQUEST_URI", uri);
    PAIR("QUERY_STRING", ferry_slice_from(uri, mark + 1));
    PAIR("REQUEST_METHOD", FERRY_SLICE("GET"));
    PAIR("SERVER_PROTOCOL", FERRY_SLICE("HTTP/1.1"));
    PAIR("GATEWAY_INTERFACE", FERRY_SLICE("CGI/1.1"));
    PAIR("SERVER_SOFTWARE", FERRY_SLICE("ferry/" FERRY_VERSION));
    PAIR("SERVER_NAME", FERRY_SLICE("localhost"));
    PAIR("SERVER_ADDR", FERRY_SLICE("127.0.0.1"));
    PAIR("SERVER_PORT", FERRY_SLICE("80"));
    PAIR("REMOTE_ADDR", FERRY_SLICE("127.0.0.1"));
    PAIR("REMOTE_PORT", FERRY_SLICE("0"));
    PAIR("HTTP_HOST", FERRY_SLICE("localhost"));
#undef PAIR
    return n;
}

static int begin_request(struct ferry_loop *loop, struct ferry__ping *p,
                         const struct ferry__ping_opts *o)
{
    struct ferry_param pairs[PAIRS_MAX];
    size_t n = make_pairs(o, pairs), len = 0, room;
    struct ferry_params_writer w;
    struct ferry_block *b;
    ssize_t size;
    int err;

    for (size_t i = 0; i < n; i++)
        len += ferry_param_size(pairs[i].name.len, pairs[i].value.len);
    room = ferry_params_room(len);
    b = ferry_block_get(ferry_loop_blocks(loop), room);
    if (!b)
        return -ENOMEM;
    ferry_params_open(&w, b->data, room, 1);
    ferry_params_begin_request(&w, FERRY_RESPONDER, 0);
    for (size_t i = 0; i < n; i++)
        ferry_params_add(&w, pairs[i].name, pairs[i].value);
    size = ferry_params_close(&w, true);
    err = size < 0
              ? (int)size
              : ferry_conn_begin_image(p->conn, b, ferry_slice(b->data, (size_t)size), false, NULL);
    ferry_block_unref(b);
    return err < 0 ? err : 0;
}

int ferry__ping_start(struct ferry_loop *loop, struct ferry__ping *p,
                      const struct ferry__ping_opts *o)
{
    struct ferry_conn_opts opts = {
        .side = FERRY_CONN_CLIENT, .blocks = ferry_loop_blocks(loop), .requests_max = 1};
    int err;

    p->closing = p->status_known = false;
    p->len = 0;
    p->err = 0;
    p->conn = ferry_conn_new(&opts);
    if (!p->conn)
        return -ENOMEM;
    err = o->script ? begin_request(loop, p, o) : ferry_conn_get_values(p->conn);
    if (err == 0)
        err = ferry_pump_connect(loop, &p->pump, &pump_fns, &ferry_conn_machine, p->conn,
                                 &o->addr->any, o->addr->len);
    if (err < 0) {
        ferry_conn_free(p->conn);
        p->conn = NULL;
        return err;
    }
    ferry_timer_init(&p->timer, on_timer);
    ferry_timer_set(loop, &p->timer, ferry_now_us() / 1000 + o->timeout_ms);
    return 0;
}

void ferry__ping_cancel(struct ferry__ping *p)
{
    end(p, -ECANCELED, "it was not waited for");
}
