/* SPDX-License-Identifier: MIT */
/*
 * What is told to whoever started the program, by datagrams to NOTIFY_SOCKET (sd_notify(3)): that
 * it serves, that it stops, and for `ferry spawn` how much it has to do. Nobody's not listening
 * keeps it from its work.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "app/app.h"

#define LOAD_EVERY_MS 1000
#define LOAD_SOON_MS 50 /* so a small request that is over by then is no news of its own */

static int address_of(const char *name, struct sockaddr_un *out, socklen_t *len)
{
    size_t n = strlen(name);

    if ((name[0] != '/' && name[0] != '@') || n < 2 || n >= sizeof out->sun_path)
        return FERRY_EUSAGE;
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(out->sun_path, name, n);
    /* Abstract names begin with a NUL and do not end with one. */
    if (name[0] == '@')
        out->sun_path[0] = 0;
    *len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (name[0] == '/'));
    return 0;
}

static void tell(struct ferry__notify *n, const char *text)
{
    ssize_t sent = send(n->fd, text, strlen(text), MSG_NOSIGNAL);

    (void)sent; /* its loss is the listener's */
}

static void tell_load(struct ferry_timer *t)
{
    struct ferry_app *app = ferry_container(t, struct ferry_app, notify.timer);
    struct ferry__notify *n = &app->notify;
    char text[100];

    n->armed = false;
    n->told_ms = ferry_loop_now(app->loop);
    if (app->total == n->told_total && app->nrequests == n->told_active)
        return;
    n->told_total = app->total;
    n->told_active = app->nrequests;
    snprintf(text, sizeof text, "X_FERRY_REQUESTS=%llu\nX_FERRY_ACTIVE=%u", app->total,
             app->nrequests);
    tell(n, text);
}

void ferry__notify_load(struct ferry_app *app)
{
    struct ferry__notify *n = &app->notify;
    uint64_t soon = ferry_loop_now(app->loop) + LOAD_SOON_MS, next = n->told_ms + LOAD_EVERY_MS;

    n->armed = true;
    ferry_timer_set(app->loop, &n->timer, n->told_ms && next > soon ? next : soon);
}

/* A manager that does not read is waited for, but not for ever. */
static int open_socket(const struct sockaddr_un *to, socklen_t len)
{
    struct timeval second = {.tv_sec = 1};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return fd;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &second, sizeof second) == 0 &&
        connect(fd, (const struct sockaddr *)to, len) == 0)
        return fd;
    close(fd);
    return -1;
}

void ferry__notify_ready(struct ferry_app *app)
{
    struct ferry__notify *n = &app->notify;
    const char *name = getenv("NOTIFY_SOCKET"), *stats = getenv("FERRY_STATS");
    struct sockaddr_un to;
    socklen_t len;

    if (n->fd >= 0 || !name || !*name)
        return;
    if (address_of(name, &to, &len) < 0) {
        ferry__report(app, "NOTIFY_SOCKET is no name of a socket: %s", name);
        return;
    }
    n->fd = open_socket(&to, len);
    if (n->fd < 0)
        return;
    tell(n, "READY=1");
    n->load = stats && strcmp(stats, "1") == 0;
    if (n->load && app->total)
        ferry__notify_load(app);
}

void ferry__notify_stopping(struct ferry_app *app)
{
    if (app->notify.fd >= 0)
        tell(&app->notify, "STOPPING=1");
}

void ferry__notify_init(struct ferry__notify *n)
{
    n->fd = -1;
    ferry_timer_init(&n->timer, tell_load);
}

void ferry__notify_fini(struct ferry__notify *n)
{
    ferry_timer_stop(&n->timer);
    if (n->fd >= 0)
        close(n->fd);
}
