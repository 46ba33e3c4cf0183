/* SPDX-License-Identifier: MIT */
/*
 * Connections that nobody uses, peers that take nothing of what waits for them, and requests whose
 * input stops. No clock is looked at and no timer set for a request: a sweep over all connections
 * compares what has happened with what had happened before. So a deadline is never early, and late
 * by two sweeps at most.
 */
#include "app/app.h"

#define SWEEP_MIN_MS 10
#define SWEEP_MAX_MS 5000

/* Has it been as it is for `max` now? `changed`: it has not, not even since the last sweep. */
static bool is_due(uint64_t *since, bool changed, uint64_t now, unsigned max)
{
    if (changed || !*since)
        *since = now;
    return now - *since >= max;
}

static void look_for_idling(struct ferry__peer *p, uint64_t now)
{
    bool busy = ferry_conn_active(p->fcgi) || ferry_conn_output(p->fcgi)->len;

    if (is_due(&p->idle_since, busy || p->begun != p->seen_begun, now, p->app->opts.idle_ms)) {
        ferry_conn_drain(p->fcgi);
        ferry_pump_kick(&p->pump);
    }
    p->seen_begun = p->begun;
}

/* Input that we do not read, because a handler is slow, has not stopped. */
static void look_for_silence(struct ferry__peer *p, struct ferry_request *r, uint64_t now)
{
    uint64_t got = r->got + r->params_len;
    bool over = r->aborted || p->held || ferry__request_is_whole(r);

    if (is_due(&r->silent_since, over || got != r->seen_got, now, p->app->opts.stall_ms)) {
        ferry__report_peer(p->app, p->pump.stream.fd, "the input of a request stopped");
        ferry__request_abort(r);
        return; /* it may be gone */
    }
    r->seen_got = got;
}

static void look_at(struct ferry__peer *p, uint64_t now)
{
    bool moves = ferry_conn_output(p->fcgi)->len == 0 || p->sent != p->seen_sent;

    if (p->closing)
        return;
    if (is_due(&p->stuck_since, moves, now, p->app->opts.stall_ms)) {
        ferry__report_peer(p->app, p->pump.stream.fd, "takes nothing of its answers");
        ferry__peer_cut(p);
        return;
    }
    p->seen_sent = p->sent;
    look_for_idling(p, now);
    ferry_list_each (at, next, &p->requests)
        look_for_silence(p, ferry_container(at, struct ferry_request, link), now);
}

static unsigned sweep_ms(const struct ferry_app *app)
{
    const struct ferry_app_opts *o = &app->opts;
    unsigned ms = (o->idle_ms < o->stall_ms ? o->idle_ms : o->stall_ms) / 4;

    return ms < SWEEP_MIN_MS ? SWEEP_MIN_MS : ms > SWEEP_MAX_MS ? SWEEP_MAX_MS : ms;
}

static void sweep(struct ferry_timer *t)
{
    struct ferry_app *app = ferry_container(t, struct ferry_app, sweep);
    uint64_t now = ferry_loop_now(app->loop);

    app->sweeping = false;
    ferry_list_each (at, next, &app->peers)
        look_at(ferry_container(at, struct ferry__peer, link), now);
    ferry__app_settle(app);
    if (app->npeers)
        ferry__deadlines_watch(app);
}

void ferry__deadlines_init(struct ferry_app *app)
{
    ferry_timer_init(&app->sweep, sweep);
}

void ferry__deadlines_watch(struct ferry_app *app)
{
    if (app->sweeping)
        return;
    app->sweeping = true;
    ferry_timer_set(app->loop, &app->sweep, ferry_loop_now(app->loop) + sweep_ms(app));
}
