/* SPDX-License-Identifier: MIT */
/*
 * Where an application accepts connections: at addresses of its own, or on what it was started with
 * (section 2.2, and systemd's LISTEN_FDS). Listeners stay with the application until it is freed;
 * they are on the loop while more connections are wanted.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "app/app.h"

#define SYSTEMD_FIRST 3 /* descriptor */

/* -- on and off the loop
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

    l->base = (struct ferry_listener){
        .accepted = accepted, .late = accepted, .closed = listener_closed, .shared = true};
    err = ferry_listener_open(l->app->loop, &l->base, l->fd);
    l->open = err == 0;
    l->closing = false;
    return err;
}

static void listener_closed(struct ferry_listener *base)
{
    struct ferry__listener *l = ferry_container(base, struct ferry__listener, base);

    l->open = false;
    ferry__app_fewer(l->app);
}

void ferry__listeners_close(struct ferry_app *app)
{
    ferry_list_each (at, next, &app->listeners) {
        struct ferry__listener *l = ferry_container(at, struct ferry__listener, link);

        l->base.takes_rest = !app->cut;
        if (l->open)
            ferry_listener_close(&l->base, false);
        l->closing = true;
    }
}

bool ferry__listeners_are_open(const struct ferry_app *app)
{
    ferry_list_each (at, next, &app->listeners)
        if (ferry_container(at, struct ferry__listener, link)->open)
            return true;
    return false;
}

void ferry__listeners_free(struct ferry_app *app)
{
    ferry_list_each (at, next, &app->listeners) {
        struct ferry__listener *l = ferry_container(at, struct ferry__listener, link);

        close(l->fd);
        ferry_listen_remove(&l->addr);
        free(l);
    }
}

void ferry__app_full(struct ferry_app *app)
{
    app->full = true;
    ferry__listeners_close(app);
}

void ferry__app_fewer(struct ferry_app *app)
{
    if (app->stopping) {
        if (ferry__app_is_over(app))
            ferry_loop_stop(app->loop);
        return;
    }
    if (!app->full || app->npeers >= app->opts.conns_max)
        return;
    app->full = false;
    ferry_list_each (at, next, &app->listeners) {
        struct ferry__listener *l = ferry_container(at, struct ferry__listener, link);

        /* One that is not closed yet comes here when it is. One that cannot be opened now, for want
         * of memory, has its next chance with the next connection that closes. */
        if (l->open ? l->closing : listener_open(l) < 0)
            app->full = true;
    }
}

/* -- addresses
 * ------------------------------------------------------------------------------------------------
 */

static int listen_at(struct ferry_app *app, const struct ferry_addr *addr)
{
    struct ferry__listener *l = calloc(1, sizeof *l);
    int err;

    if (!l)
        return -ENOMEM;
    l->app = app;
    l->addr = *addr;
    l->fd = ferry_listen(addr, NULL);
    err = l->fd < 0 ? l->fd : listener_open(l);
    if (err < 0) {
        if (l->fd >= 0) {
            close(l->fd);
            ferry_listen_remove(addr);
        }
        free(l);
        return err;
    }
    ferry_list_push(&app->listeners, &l->link);
    return 0;
}

static int listen_text(struct ferry_app *app, const char *address, const char *no_listener)
{
    struct ferry_addr addr;
    int err = ferry_addr_parse(address, true, &addr, &app->why);

    if (err < 0)
        return err;
    err = listen_at(app, &addr);
    if (addr.fd >= 0 && (err == -EINVAL || err == -ENOTSOCK || err == -EBADF)) {
        app->why = no_listener;
        return FERRY_EUSAGE;
    }
    if (err < 0)
        app->why = ferry_strerror(err);
    return err;
}

/* -- what the program was started with
 * ------------------------------------------------------------------------------------------------
 */

static bool is_own_pid(const char *text)
{
    uint64_t pid;

    return text && ferry_slice_u64(ferry_slice_z(text), INT32_MAX, &pid) == 0 &&
           pid == (uint64_t)getpid();
}

/* The sockets of systemd: how many there were, or an error. */
static int listen_systemd(struct ferry_app *app)
{
    const char *count = getenv("LISTEN_FDS");
    uint64_t n = 0;
    int err = 0;

    if (!count || !is_own_pid(getenv("LISTEN_PID")))
        return 0;
    if (ferry_slice_u64(ferry_slice_z(count), 1000, &n) < 0) {
        app->why = "LISTEN_FDS is no number of sockets";
        err = FERRY_EUSAGE;
    }
    for (int fd = SYSTEMD_FIRST; fd < SYSTEMD_FIRST + (int)n && err == 0; fd++) {
        char text[32];

        snprintf(text, sizeof text, "fd:%d", fd);
        err = listen_text(app, text, "a socket of LISTEN_FDS does not listen for connections");
        if (err == 0)
            close(fd); /* the listener is a duplicate */
    }
    /* So programs that this one starts do not take them for their own. */
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return err < 0 ? err : (int)n;
}

/* Section 2.2: anything but a socket that is not connected means CGI. */
static bool is_fastcgi(void)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer;

    return getpeername(STDIN_FILENO, (struct sockaddr *)&peer, &len) < 0 && errno == ENOTCONN;
}

static int listen_as_started(struct ferry_app *app)
{
    int n = listen_systemd(app);

    if (n != 0)
        return n < 0 ? n : 0;
    if (is_fastcgi())
        return listen_text(app, "fd:0", "descriptor 0 is a socket that does not listen");
    n = app->cgi ? 0 : ferry__cgi_new(app, &app->cgi);
    if (n < 0)
        app->why = ferry_strerror(n);
    return n;
}

int ferry_app_listen(struct ferry_app *app, const char *address)
{
    app->why = "";
    return address ? listen_text(app, address, "the descriptor is not a listening socket")
                   : listen_as_started(app);
}

const char *ferry_app_why(const struct ferry_app *app)
{
    return app->why;
}
