/* SPDX-License-Identifier: MIT */
/*
 * The application as a whole: how it is made, how it runs, and how it ends. Everything the loop
 * calls in this folder ends with ferry__app_settle, which calls the handlers' functions and hands
 * over what they wrote; so handlers never run inside one another, and what one turn wrote leaves
 * together.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "app/app.h"

/* How long a stop waits for the first request of a new connection. */
#define FRESH_MS 500

/* -- settling
 * ------------------------------------------------------------------------------------------------
 */

void ferry__app_settle(struct ferry_app *app)
{
    struct ferry_list now, *l;

    if (app->settling)
        return;
    app->settling = true;
    ferry_list_init(&now);
    /* What is poked from now on waits for the next visit, so two requests that poke each other do
     * not keep the loop here. */
    while ((l = ferry_list_first(&app->poked))) {
        ferry_list_remove(l);
        ferry_list_push(&now, l);
    }
    while ((l = ferry_list_first(&now)))
        ferry__request_run(ferry_container(l, struct ferry_request, poked));
    while ((l = ferry_list_first(&app->dirty)))
        ferry__request_flush(ferry_container(l, struct ferry_request, dirty));
    ferry__threads_hand_over(&app->threads);
    app->settling = false;
    if (!ferry_list_empty(&app->poked))
        ferry_task_defer(app->loop, &app->settle);
}

static void settle_later(struct ferry_task *t)
{
    ferry__app_settle(ferry_container(t, struct ferry_app, settle));
}

/* -- is there anything left?
 * ------------------------------------------------------------------------------------------------
 */

bool ferry__app_is_quiet(const struct ferry_app *app)
{
    return !ferry__listeners_are_open(app) && app->npeers == 0 &&
           !(app->cgi && ferry__cgi_runs(app->cgi));
}

bool ferry__app_is_over(const struct ferry_app *app)
{
    return ferry__app_is_quiet(app) && (app->nrequests == 0 || app->cut);
}

/* -- making and freeing
 * ------------------------------------------------------------------------------------------------
 */

static int fill_standard_descriptors(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR);
        if (fd < 0)
            return -errno;
    } while (fd <= 2);
    close(fd);
    return 0;
}

static void static_block_never_ends(void *home, struct ferry_block *b)
{
    (void)home;
    (void)b;
}

/* A program built against an older header gives fewer fields; the rest is zero, as always. */
static struct ferry_app_opts defaults(const struct ferry_app_opts *given)
{
    struct ferry_app_opts o = {0};

    memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
    o.conns_max = o.conns_max ? o.conns_max : 1024;
    o.requests_max = o.requests_max ? o.requests_max : 1024;
    if (o.multiplex_max == 0 || o.multiplex_max > o.requests_max)
        o.multiplex_max = o.requests_max;
    if (o.multiplex_max > UINT16_MAX)
        o.multiplex_max = UINT16_MAX;
    o.params_len_max = o.params_len_max ? o.params_len_max : 1 << 20;
    if (o.params_len_max > INT32_MAX)
        o.params_len_max = INT32_MAX;
    o.params_max = o.params_max ? o.params_max : 1000;
    if (o.params_max > UINT16_MAX)
        o.params_max = UINT16_MAX;
    o.roles = o.roles ? o.roles : 1 << FERRY_RESPONDER;
    o.body_ahead_max = o.body_ahead_max ? o.body_ahead_max : 256 << 10;
    o.output_mark = o.output_mark ? o.output_mark : 256 << 10;
    o.output_max = o.output_max ? o.output_max : 8 << 20;
    o.stop_max_ms = o.stop_max_ms ? o.stop_max_ms : 30000;
    o.idle_ms = o.idle_ms ? o.idle_ms : 90000;
    o.stall_ms = o.stall_ms ? o.stall_ms : 60000;
    return o;
}

/* What the environment says where the options do not (sections 3.2 and 7). */
static int read_environment(struct ferry_app *app)
{
    const char *list = app->opts.web_server_addrs, *max = getenv("FERRY_MAX_REQUESTS");
    uint64_t n;
    int err;

    list = list ? list : getenv("FCGI_WEB_SERVER_ADDRS");
    err = ferry__addrs_parse(&app->allowed, list);
    if (err == FERRY_EUSAGE || err == FERRY_ELIMIT) {
        ferry__report(app, "FCGI_WEB_SERVER_ADDRS is no list of addresses: %s", list);
        return FERRY_EUSAGE;
    }
    if (app->opts.requests_total_max || !max || !*max)
        return err;
    if (ferry_slice_u64(ferry_slice_z(max), UINT64_MAX, &n) == 0)
        app->opts.requests_total_max = n;
    else
        ferry__report(app, "FERRY_MAX_REQUESTS is no number: %s", max);
    return err;
}

static int backend(struct ferry_app *app, enum ferry_io *out)
{
    static const char *const names[] = {
        [FERRY_IO_AUTO] = "auto", [FERRY_IO_URING] = "uring", [FERRY_IO_EPOLL] = "epoll"};
    const char *given = app->opts.io ? app->opts.io : getenv("FERRY_IO");

    *out = FERRY_IO_AUTO;
    if (!given || !*given)
        return 0;
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(given, names[i]) == 0) {
            *out = (enum ferry_io)i;
            return 0;
        }
    if (app->opts.io)
        return FERRY_EUSAGE;
    ferry__report(app, "FERRY_IO is not auto, uring or epoll: %s", given);
    return 0;
}

static void cut_all(struct ferry_app *app)
{
    app->cut = true;
    if (app->cgi)
        ferry__cgi_cut(app->cgi);
    ferry_list_each (at, next, &app->peers)
        ferry__peer_cut(ferry_container(at, struct ferry__peer, link));
    ferry__app_settle(app);
    ferry__app_fewer(app);
}

static void stopped_too_long(struct ferry_timer *t)
{
    cut_all(ferry_container(t, struct ferry_app, stop_timer));
}

static void stopped_long_enough(struct ferry_timer *t)
{
    struct ferry_app *app = ferry_container(t, struct ferry_app, fresh_timer);

    ferry_list_each (at, next, &app->peers)
        ferry__peer_drain(ferry_container(at, struct ferry__peer, link), true);
}

int ferry_app_new(const struct ferry_app_opts *opts, struct ferry_app **out)
{
    struct ferry_app *app;
    enum ferry_io io;
    int err;

    if (opts->size < offsetof(struct ferry_app_opts, user) || !opts->handle)
        return FERRY_EUSAGE;
    app = calloc(1, sizeof *app);
    if (!app)
        return -ENOMEM;
    app->opts = defaults(opts);
    app->why = "";
    app->static_block = (struct ferry_block){.put = static_block_never_ends, .refs = 1};
    ferry_list_init(&app->listeners);
    ferry_list_init(&app->peers);
    ferry_list_init(&app->orphans);
    ferry_list_init(&app->poked);
    ferry_list_init(&app->dirty);
    ferry_list_init(&app->idle_peers);
    ferry_list_init(&app->idle_requests);
    ferry__threads_init(&app->threads);
    ferry_task_init(&app->settle, settle_later);
    ferry_timer_init(&app->stop_timer, stopped_too_long);
    ferry_timer_init(&app->fresh_timer, stopped_long_enough);
    ferry__notify_init(&app->notify);
    ferry__deadlines_init(app);
    sigemptyset(&app->signal_set);
    app->signals.fd = -1;
    if ((err = backend(app, &io)) < 0 || (err = read_environment(app)) < 0 ||
        (err = fill_standard_descriptors()) < 0 || (err = ferry_loop_new(io, &app->loop)) < 0) {
        ferry__addrs_fini(&app->allowed);
        free(app);
        return err;
    }
    *out = app;
    return 0;
}

void ferry_app_free(struct ferry_app *app)
{
    if (!app)
        return;
    app->stopping = app->cut = true;
    ferry__listeners_close(app);
    cut_all(app);
    if (app->signals.fd >= 0) {
        app->watching = true;
        ferry_watch_close(&app->signals);
    }
    /* The loop may still hold memory of ours; it says when it does not. */
    while (!ferry__app_is_quiet(app) || app->watching)
        if (ferry_loop_run(app->loop) < 0)
            break;
    if (app->signals.fd >= 0)
        close(app->signals.fd);
    ferry_timer_stop(&app->stop_timer);
    ferry_timer_stop(&app->fresh_timer);
    ferry_timer_stop(&app->sweep);
    ferry__notify_fini(&app->notify);
    ferry_task_cancel(&app->settle);
    ferry_list_each (at, next, &app->orphans) {
        struct ferry_request *r = ferry_container(at, struct ferry_request, link);

        if (r->detached)
            ferry__detached_join(r);
        ferry__request_recycle(r);
    }
    ferry__threads_fini(&app->threads);
    ferry_list_each (at, next, &app->idle_requests)
        ferry__request_free(ferry_container(at, struct ferry_request, link));
    ferry_list_each (at, next, &app->idle_peers)
        free(ferry_container(at, struct ferry__peer, link));
    ferry__listeners_free(app);
    ferry__cgi_free(app->cgi);
    ferry_loop_free(app->loop);
    ferry__addrs_fini(&app->allowed);
    free(app);
}

/* -- running and stopping
 * ------------------------------------------------------------------------------------------------
 */

void ferry_app_stop(struct ferry_app *app)
{
    atomic_fetch_add(&app->stops, 1);
    ferry_loop_stop(app->loop);
}

bool ferry_app_is_stopping(const struct ferry_app *app)
{
    return app->stopping;
}

/* Connections that have had a request begin no other. One that was accepted a moment ago may be
 * about to bring its first, which nobody else can answer. */
static void begin_stop(struct ferry_app *app)
{
    uint64_t now = ferry_loop_now(app->loop);

    app->stopping = true;
    ferry__notify_stopping(app);
    ferry__listeners_close(app);
    ferry_timer_set(app->loop, &app->stop_timer, now + app->opts.stop_max_ms);
    ferry_timer_set(app->loop, &app->fresh_timer, now + FRESH_MS);
    ferry_list_each (at, next, &app->peers)
        ferry__peer_drain(ferry_container(at, struct ferry__peer, link), false);
}

static void look_for_stops(struct ferry_app *app)
{
    unsigned stops = atomic_load(&app->stops);

    if (stops == app->stops_seen && !app->worn)
        return;
    app->stops_seen = stops;
    if (!app->stopping)
        begin_stop(app);
    if (stops >= 2)
        cut_all(app);
}

int ferry_app_run(struct ferry_app *app)
{
    int err = ferry__threads_start(&app->threads, app->opts.threads);

    if (err == 0 && app->cgi)
        err = ferry__cgi_start(app->cgi);
    else if (err == 0)
        ferry__notify_ready(app);
    while (err == 0) {
        look_for_stops(app);
        if (app->stopping && ferry__app_is_over(app))
            return app->cgi ? ferry__cgi_status(app->cgi) : 0;
        err = ferry_loop_run(app->loop);
    }
    return err;
}

static void signal_came(struct ferry_watch *w)
{
    struct ferry_app *app = ferry_container(w, struct ferry_app, signals);
    struct signalfd_siginfo info;

    while (read(w->fd, &info, sizeof info) == (ssize_t)sizeof info)
        ferry_app_stop(app);
}

static void signals_closed(struct ferry_watch *w)
{
    struct ferry_app *app = ferry_container(w, struct ferry_app, signals);

    app->watching = false;
    ferry_loop_stop(app->loop);
}

int ferry_app_stop_on(struct ferry_app *app, int signo)
{
    sigset_t set = app->signal_set;
    int fd, err;

    if (sigaddset(&set, signo) < 0)
        return -errno;
    err = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (err)
        return -err;
    fd = signalfd(app->signals.fd, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    app->signal_set = set;
    if (app->signals.fd >= 0)
        return 0;
    app->signals = (struct ferry_watch){.readable = signal_came, .closed = signals_closed};
    err = ferry_watch_open(app->loop, &app->signals, fd);
    if (err < 0) {
        close(fd);
        app->signals.fd = -1;
    } else {
        app->signals.fd = fd;
    }
    return err;
}

void *ferry_app_user(const struct ferry_app *app)
{
    return app->opts.user;
}

const char *ferry_app_io(const struct ferry_app *app)
{
    return ferry_loop_backend(app->loop);
}
