/* SPDX-License-Identifier: MIT */
/*
 * One connection of a web server's: joins the FastCGI machine to its socket and turns the machine's
 * events into requests. A handler is called only when all that arrived with its params has been
 * read, so a small request has its body there, and nothing of it is left unread when the connection
 * closes behind the answer.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "app/app.h"
#include "base/assert.h"
#include "io/addr.h"

static struct ferry__peer *peer_of(struct ferry_pump *pump)
{
    return ferry_container(pump, struct ferry__peer, pump);
}

/* -- events
 * -------------------------------------------------------------------------------------------------
 */

static void refuse(struct ferry__peer *p, uint16_t id)
{
    int err = ferry_conn_end(p->fcgi, id, 0, FERRY_OVERLOADED);

    (void)err; /* a connection in trouble says so at its next event */
    ferry__peer_show(p);
    ferry_pump_kick(&p->pump);
}

/* Bodies and requests side by side fill large blocks; one small request after the other does not.
 */
static void read_large(struct ferry__peer *p)
{
    if (!p->large)
        ferry_stream_read_large(&p->pump.stream, true);
    p->large = true;
}

static void begin(struct ferry__peer *p, const struct ferry_conn_event *ev)
{
    struct ferry_app *app = p->app;
    struct ferry_request *r =
        app->nrequests < app->opts.requests_max ? ferry__request_new(p, ev) : NULL;

    p->begun++;
    app->total++;
    if (app->total == app->opts.requests_total_max) {
        app->worn = true;
        ferry_loop_stop(app->loop);
    }
    ferry__notify_changed(app);
    if (app->stopping)
        ferry_conn_drain(p->fcgi);
    if (r)
        ferry_conn_set_user(p->fcgi, ev->id, r);
    else
        refuse(p, ev->id);
    ferry__peer_show(p);
    if (ferry_conn_active(p->fcgi) > 1)
        read_large(p);
}

static void broke_protocol(struct ferry__peer *p, const char *what)
{
    ferry__report_peer(p->app, p->pump.stream.fd, what);
    ferry__peer_cut(p);
}

static void params_end(struct ferry__peer *p, struct ferry_request *r)
{
    int err = ferry__request_parse(r);

    if (err == 0) {
        r->params_ended = true;
        ferry__request_poke(r, FERRY__POKE_START);
    } else if (err == FERRY_EPROTOCOL) {
        broke_protocol(p, "the last pair of PARAMS is not whole");
    } else {
        refuse(p, r->id);
        ferry__request_recycle(r);
    }
}

/* On a Unix socket the kernel tells "closed" from "sends no more". */
static bool hung_up(const struct ferry__peer *p)
{
    struct pollfd at = {.fd = p->pump.stream.fd};

    return poll(&at, 1, 0) > 0 && (at.revents & (POLLHUP | POLLERR));
}

/* The peer closed its sending side. It may still read the answers to what it sent whole. */
static void cut(struct ferry__peer *p)
{
    if (hung_up(p)) {
        ferry__peer_cut(p);
        return;
    }
    ferry_list_each (at, next, &p->requests) {
        struct ferry_request *r = ferry_container(at, struct ferry_request, link);

        if (!ferry__request_is_whole(r))
            ferry__request_abort(r);
    }
    if (ferry_list_empty(&p->requests))
        ferry__peer_cut(p);
}

static void on_event(struct ferry__peer *p, const struct ferry_conn_event *ev)
{
    struct ferry_request *r = ev->user;

    switch (ev->type) {
    case FERRY_CONN_BEGIN:
        begin(p, ev);
        break;
    case FERRY_CONN_PARAMS:
        if (ferry__request_params(r, ev->data) < 0) {
            refuse(p, r->id);
            ferry__request_recycle(r);
        }
        break;
    case FERRY_CONN_PARAMS_END:
        params_end(p, r);
        break;
    case FERRY_CONN_STDIN:
        read_large(p);
        ferry__input_add(r, &r->body, p->pump.in_block, ev->data);
        break;
    case FERRY_CONN_STDIN_END:
        ferry__request_body_end(r);
        break;
    case FERRY_CONN_DATA:
        read_large(p);
        ferry__input_add(r, &r->data, p->pump.in_block, ev->data);
        break;
    case FERRY_CONN_DATA_END:
        ferry__input_end(r, &r->data);
        break;
    case FERRY_CONN_ABORT:
        ferry__request_abort(r);
        break;
    case FERRY_CONN_CUT:
        cut(p);
        break;
    default: /* CLOSED leaves nothing to do but what `finished` does */
        break;
    }
}

/* -- the pump's functions
 * -------------------------------------------------------------------------------------------------
 */

static void ready(struct ferry_pump *pump)
{
    struct ferry__peer *p = peer_of(pump);
    struct ferry_conn_event ev;
    int n = 0;

    while (!p->closing && (n = ferry_conn_event(p->fcgi, &ev)) > 0)
        on_event(p, &ev);
    if (n < 0 && !p->closing)
        broke_protocol(p, ferry_conn_error_text(p->fcgi));
    if (p->closing || pump->in.len == 0)
        ferry__app_settle(p->app);
}

static void failed(struct ferry_pump *pump, int err)
{
    struct ferry__peer *p = peer_of(pump);

    (void)err;
    ferry__peer_cut(p);
    ferry__app_settle(p->app);
}

static void finished(struct ferry_pump *pump)
{
    failed(pump, 0);
}

static void sent(struct ferry_pump *pump, size_t n)
{
    struct ferry__peer *p = peer_of(pump);

    atomic_store_explicit(&p->sent, atomic_load_explicit(&p->sent, memory_order_relaxed) + n,
                          memory_order_relaxed);
    ferry__peer_show(p);
    if (!ferry_list_empty(&p->writers)) {
        ferry__peer_wake(p);
        ferry__app_settle(p->app);
    }
}

static void closed(struct ferry_pump *pump)
{
    struct ferry__peer *p = peer_of(pump);
    struct ferry_app *app = p->app;

    ferry_list_remove(&p->link);
    ferry__peer_free(p);
    ferry__app_fewer(app);
}

static const struct ferry_pump_fns pump_fns = {
    .ready = ready, .failed = failed, .finished = finished, .sent = sent, .closed = closed};

/* -- coming and going
 * -------------------------------------------------------------------------------------------------
 */

static bool is_allowed(const struct ferry_app *app, int fd)
{
    struct ferry_addr peer;

    return !app->allowed.list ||
           (ferry_addr_peer(fd, &peer) == 0 && ferry__addrs_allow(&app->allowed, &peer.any));
}

static struct ferry__peer *peer_new(struct ferry_app *app)
{
    struct ferry_conn_opts opts = {
        .side = FERRY_CONN_APP,
        .blocks = ferry_loop_blocks(app->loop),
        .requests_max = (uint16_t)app->opts.multiplex_max,
        .max_conns = app->opts.conns_max,
        .max_reqs = app->opts.requests_max,
        .roles = (uint8_t)app->opts.roles,
    };
    struct ferry_list *l = ferry_list_first(&app->idle_peers);
    struct ferry__peer *p = l ? ferry_container(l, struct ferry__peer, link) : malloc(sizeof *p);

    if (l) {
        ferry_list_remove(l);
        app->nidle_peers--;
    }
    if (!p)
        return NULL;
    memset(p, 0, sizeof *p);
    p->app = app;
    p->fcgi = ferry_conn_new(&opts);
    if (!p->fcgi) {
        free(p);
        return NULL;
    }
    ferry_list_init(&p->link);
    ferry_list_init(&p->requests);
    ferry_list_init(&p->writers);
    app->npeers++;
    return p;
}

void ferry__peer_free(struct ferry__peer *p)
{
    struct ferry_app *app = p->app;

    ferry_conn_free(p->fcgi);
    app->npeers--;
    if (app->nidle_peers < FERRY__IDLE_MAX) {
        app->nidle_peers++;
        ferry_list_push_front(&app->idle_peers, &p->link);
    } else {
        free(p);
    }
}

int ferry__peer_open(struct ferry_app *app, int fd)
{
    struct ferry__peer *p = peer_new(app);
    int err;

    if (!p) {
        close(fd);
        return -ENOMEM;
    }
    err = ferry_pump_open(app->loop, &p->pump, &pump_fns, &ferry_conn_machine, p->fcgi, fd);
    if (err < 0) {
        ferry__peer_free(p);
        return err;
    }
    ferry_list_push(&app->peers, &p->link);
    ferry__deadlines_watch(app);
    return 0;
}

void ferry__peer_drain(struct ferry__peer *p, bool at_once)
{
    if (p->begun == 0 && !at_once)
        return;
    ferry_conn_drain(p->fcgi);
    ferry_pump_kick(&p->pump);
}

void ferry__peer_accept(struct ferry_app *app, int fd)
{
    bool allowed = is_allowed(app, fd);

    if (!allowed)
        ferry__report_peer(app, fd, "is not in FCGI_WEB_SERVER_ADDRS");
    if (app->cut || !allowed)
        close(fd);
    else if (ferry__peer_open(app, fd) == 0 && app->npeers >= app->opts.conns_max)
        ferry__app_full(app);
}

void ferry__peer_show(struct ferry__peer *p)
{
    atomic_store_explicit(&p->waiting, ferry_conn_output(p->fcgi)->len, memory_order_relaxed);
    atomic_store_explicit(&p->active, ferry_conn_active(p->fcgi), memory_order_relaxed);
}

void ferry__peer_cut(struct ferry__peer *p)
{
    struct ferry_list *l;

    if (p->closing)
        return;
    p->closing = true;
    while ((l = ferry_list_first(&p->requests)))
        ferry__request_orphan(ferry_container(l, struct ferry_request, link));
    ferry_pump_close(&p->pump);
}
