/* SPDX-License-Identifier: MIT */
/*
 * The application as a whole: its loop, its listeners, and how it ends. Everything the loop calls
 * in this folder ends with ferry__app_settle, which calls the handlers' functions and hands over
 * what they wrote; so handlers never run inside one another, and what one turn wrote leaves
 * together.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "app/app.h"
#include "io/addr.h"

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
    app->settling = false;
    if (!ferry_list_empty(&app->poked))
        ferry_task_defer(app->loop, &app->settle);
}

static void settle_later(struct ferry_task *t)
{
    ferry__app_settle(ferry_container(t, struct ferry_app, settle));
}

/* -- listeners
 * ------------------------------------------------------------------------------------------------
 */

static void accepted(struct ferry_listener *base, int fd)
{
    struct ferry__listener *l = ferry_container(base, struct ferry__listener, base);

    ferry__peer_accept(l->app, fd);
}

static void listener_closed(struct ferry_listener *base);

static int listener_open(struct ferry__listener *l)
{
    int err;

    l->base = (struct ferry_listener){.accepted = accepted, .closed = listener_closed};
    err = ferry_listener_open(l->app->loop, &l->base, l->fd);
    l->open = err == 0;
    return err;
}

static void listener_closed(struct ferry_listener *base)
{
    struct ferry__listener *l = ferry_container(base, struct ferry__listener, base);

    l->open = false;
    ferry__app_fewer(l->app);
}

static void close_listeners(struct ferry_app *app)
{
    ferry_list_each (at, next, &app->listeners) {
        struct ferry__listener *l = ferry_container(at, struct ferry__listener, link);

        if (l->open)
            ferry_listener_close(&l->base, false);
    }
}

void ferry__app_full(struct ferry_app *app)
{
    app->full = true;
    close_listeners(app);
}

/* Nothing of ours is on the loop any more. */
static bool is_quiet(const struct ferry_app *app)
{
    ferry_list_each (at, next, &app->listeners)
        if (ferry_container(at, struct ferry__listener, link)->open)
            return false;
    return app->npeers == 0;
}

static bool is_over(const struct ferry_app *app)
{
    return is_quiet(app) && (app->nrequests == 0 || app->cut);
}

void ferry__app_fewer(struct ferry_app *app)
{
    if (app->stopping) {
        if (is_over(app))
            ferry_loop_stop(app->loop);
        return;
    }
    if (!app->full || app->npeers >= app->opts.conns_max)
        return;
    app->full = false;
    ferry_list_each (at, next, &app->listeners) {
        struct ferry__listener *l = ferry_container(at, struct ferry__listener, link);

        /* One that cannot be opened now, for want of memory, has its next chance with the next
         * connection that closes. */
        if (!l->open && listener_open(l) < 0)
            app->full = true;
    }
}

static int listen_at(struct ferry_app *app, const struct ferry_addr *addr)
{
    struct ferry_listen_opts how = {0};
    struct ferry__listener *l = calloc(1, sizeof *l);
    int err;

    if (!l)
        return -ENOMEM;
    l->app = app;
    l->fd = ferry_listen(addr, &how);
    if (l->fd < 0) {
        err = l->fd;
        goto out;
    }
    if (addr->fd < 0 && addr->any.sa_family == AF_UNIX && addr->un.sun_path[0]) {
        l->unlink = strdup(addr->un.sun_path);
        err = l->unlink ? 0 : -ENOMEM;
        if (err < 0)
            goto out;
    }
    err = listener_open(l);
    if (err < 0)
        goto out;
    ferry_list_push(&app->listeners, &l->link);
    return 0;
out:
    if (l->fd >= 0)
        close(l->fd);
    free(l->unlink);
    free(l);
    return err;
}

int ferry_app_listen(struct ferry_app *app, const char *address)
{
    struct ferry_addr addr;
    const char *why = "";
    int err = ferry_addr_parse(address ? address : "fd:0", true, &addr, &why);

    app->why = why;
    if (err < 0)
        return err;
    err = listen_at(app, &addr);
    if (addr.fd >= 0 && (err == -EINVAL || err == -ENOTSOCK || err == -EBADF)) {
        app->why = address ? "the descriptor is not a listening socket"
                           : "descriptor 0 is not a listening socket; a web server, spawn-fcgi or "
                             "an address of its own gives a FastCGI application one";
        return FERRY_EUSAGE;
    }
    if (err < 0)
        app->why = ferry_strerror(err);
    return err;
}

const char *ferry_app_why(const struct ferry_app *app)
{
    return app->why;
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
    o.web_server_addrs = o.web_server_addrs ? o.web_server_addrs : getenv("FCGI_WEB_SERVER_ADDRS");
    return o;
}

static int backend(const char *name, enum ferry_io *out)
{
    static const char *const names[] = {
        [FERRY_IO_AUTO] = "auto", [FERRY_IO_URING] = "uring", [FERRY_IO_EPOLL] = "epoll"};

    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name ? name : "auto", names[i]) == 0) {
            *out = (enum ferry_io)i;
            return 0;
        }
    return FERRY_EUSAGE;
}

static void cut_all(struct ferry_app *app)
{
    app->cut = true;
    ferry_list_each (at, next, &app->peers)
        ferry__peer_cut(ferry_container(at, struct ferry__peer, link));
    ferry__app_settle(app);
    ferry__app_fewer(app);
}

static void stopped_too_long(struct ferry_timer *t)
{
    cut_all(ferry_container(t, struct ferry_app, stop_timer));
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
    ferry_task_init(&app->settle, settle_later);
    ferry_timer_init(&app->stop_timer, stopped_too_long);
    sigemptyset(&app->signal_set);
    app->signals.fd = -1;
    if ((err = backend(app->opts.io, &io)) < 0 ||
        (err = ferry__addrs_parse(&app->allowed, app->opts.web_server_addrs)) < 0 ||
        (err = fill_standard_descriptors()) < 0 || (err = ferry_loop_new(io, &app->loop)) < 0) {
        ferry__addrs_fini(&app->allowed);
        free(app);
        return err;
    }
    *out = app;
    return 0;
}

static void free_listeners(struct ferry_app *app)
{
    ferry_list_each (at, next, &app->listeners) {
        struct ferry__listener *l = ferry_container(at, struct ferry__listener, link);

        close(l->fd);
        if (l->unlink)
            unlink(l->unlink);
        free(l->unlink);
        free(l);
    }
}

void ferry_app_free(struct ferry_app *app)
{
    if (!app)
        return;
    app->stopping = true;
    close_listeners(app);
    cut_all(app);
    if (app->signals.fd >= 0) {
        app->watching = true;
        ferry_watch_close(&app->signals);
    }
    /* The loop may still hold memory of ours; it says when it does not. */
    while (!is_quiet(app) || app->watching)
        if (ferry_loop_run(app->loop) < 0)
            break;
    if (app->signals.fd >= 0)
        close(app->signals.fd);
    ferry_timer_stop(&app->stop_timer);
    ferry_task_cancel(&app->settle);
    ferry_list_each (at, next, &app->orphans)
        ferry__request_recycle(ferry_container(at, struct ferry_request, link));
    ferry_list_each (at, next, &app->idle_requests)
        free(ferry_container(at, struct ferry_request, link));
    ferry_list_each (at, next, &app->idle_peers)
        free(ferry_container(at, struct ferry__peer, link));
    free_listeners(app);
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

static void begin_stop(struct ferry_app *app)
{
    app->stopping = true;
    close_listeners(app);
    ferry_timer_set(app->loop, &app->stop_timer, ferry_loop_now(app->loop) + app->opts.stop_max_ms);
    ferry_list_each (at, next, &app->peers) {
        struct ferry__peer *p = ferry_container(at, struct ferry__peer, link);

        ferry_conn_drain(p->fcgi);
        ferry_pump_kick(&p->pump);
    }
}

static void look_for_stops(struct ferry_app *app)
{
    unsigned stops = atomic_load(&app->stops);

    if (stops == app->stops_seen)
        return;
    app->stops_seen = stops;
    if (!app->stopping)
        begin_stop(app);
    if (stops >= 2)
        cut_all(app);
}

int ferry_app_run(struct ferry_app *app)
{
    for (;;) {
        int err;

        look_for_stops(app);
        if (app->stopping && is_over(app))
            return 0;
        err = ferry_loop_run(app->loop);
        if (err < 0)
            return err;
    }
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
