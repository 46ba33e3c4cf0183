/* SPDX-License-Identifier: MIT */
/*
 * The listeners of `ferry serve`. The first socket of an address binds and listens alone, so that
 * whoever listens there already is noticed, also another ferry that starts in the same moment; only
 * then does it let the sockets of the other threads in beside it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/serve.h"

#define PORT_FIRST 8080
#define PORT_LAST 8089
#define UNIX_MODE 0666 /* a proxy or browser of any user may connect, as over TCP */

static bool is_tcp(const struct ferry_addr *a)
{
    return a->fd < 0 && a->any.sa_family != AF_UNIX;
}

static void close_all(struct ferry_serve_listener *l)
{
    for (unsigned t = 0; t < FERRY_SERVE_THREADS_MAX; t++) {
        if (l->fds[t] >= 0)
            close(l->fds[t]);
        l->fds[t] = -1;
    }
}

static int open_listener(struct ferry_serve_listener *l, unsigned threads)
{
    int r = ferry_listen(&l->addr, &(struct ferry_listen_opts){.mode = UNIX_MODE});

    if (r < 0)
        return r;
    l->fds[0] = r;
    /* Port 0 has become a port, and fd:N an address. */
    r = ferry_addr_local(l->fds[0], &l->bound);
    if (r < 0 || !is_tcp(&l->addr) || threads == 1)
        return r;
    r = ferry_listen_share(l->fds[0]);
    for (unsigned t = 1; r >= 0 && t < threads; t++) {
        r = ferry_listen(&l->bound, &(struct ferry_listen_opts){.reuseport = true});
        l->fds[t] = r < 0 ? -1 : r;
    }
    return r < 0 ? r : 0;
}

static int complain(const struct ferry_addr *a, int err)
{
    pid_t holder = err == -EADDRINUSE ? ferry_listen_owner(a) : 0;

    ferry_cli_cannot_listen(a, err, holder,
                            err == -EACCES ? ", as --listen :8080" : " with --listen");
    return FERRY_EXIT_FAILED;
}

/* -- the default ------------------------------------------------------------------------------ */

static bool has_ipv6(void)
{
    struct ferry_addr addr;
    const char *why;
    int fd;

    if (ferry_addr_parse("[::1]:0", true, &addr, &why) < 0)
        return false;
    fd = ferry_listen(&addr, NULL);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static void set_default(struct ferry_addr *out, const char *host, unsigned port)
{
    char text[64];
    const char *why;

    snprintf(text, sizeof text, "%s:%u", host, port);
    if (ferry_addr_parse(text, true, out, &why) < 0)
        abort();
}

/* Both addresses on one port, or neither. */
static int open_default(struct ferry_serve *s, unsigned port, unsigned *failed)
{
    static const char *const hosts[] = {"127.0.0.1", "[::1]"};
    int err = 0;

    for (unsigned i = 0; err == 0 && i < s->nlisteners; i++) {
        set_default(&s->listeners[i].addr, hosts[i], port);
        err = open_listener(&s->listeners[i], s->threads);
        *failed = i;
    }
    for (unsigned i = 0; err < 0 && i < s->nlisteners; i++)
        close_all(&s->listeners[i]);
    return err;
}

static int listen_default(struct ferry_serve *s)
{
    unsigned failed = 0;
    int err = -EADDRINUSE;

    s->nlisteners = has_ipv6() ? 2 : 1;
    for (unsigned port = PORT_FIRST; err == -EADDRINUSE && port <= PORT_LAST; port++)
        err = open_default(s, port, &failed);
    if (err == 0)
        return 0;
    if (err != -EADDRINUSE)
        return complain(&s->listeners[failed].addr, err);
    ferry_cli_say("the ports %d to %d are all taken; choose another one with --listen :PORT",
                  PORT_FIRST, PORT_LAST);
    return FERRY_EXIT_FAILED;
}

/* -- all of them ------------------------------------------------------------------------------ */

/* Those of one kind: `given` as descriptors, or not. */
static int listen_kind(struct ferry_serve *s, bool given)
{
    for (unsigned i = 0; i < s->nlisteners; i++) {
        struct ferry_serve_listener *l = &s->listeners[i];
        int err;

        if ((l->addr.fd >= 0) != given)
            continue;
        err = open_listener(l, s->threads);
        if (err < 0)
            return complain(&l->addr, err);
        if (l->addr.fd > STDERR_FILENO) /* it was duplicated */
            close(l->addr.fd);
    }
    return 0;
}

int ferry_serve_listen(struct ferry_serve *s)
{
    int code;

    for (unsigned i = 0; i < FERRY_SERVE_LISTEN_MAX; i++)
        for (unsigned t = 0; t < FERRY_SERVE_THREADS_MAX; t++)
            s->listeners[i].fds[t] = -1;
    if (s->nlisteners == 0)
        return listen_default(s);
    /* Inherited ones first, while no number can be that of a socket of our own. */
    code = listen_kind(s, true);
    if (code == 0)
        code = listen_kind(s, false);
    if (code) {
        ferry_serve_unlisten(s);
        ferry_serve_remove_sockets(s);
    }
    return code;
}

void ferry_serve_unlisten(struct ferry_serve *s)
{
    for (unsigned i = 0; i < s->nlisteners; i++)
        close_all(&s->listeners[i]);
}

void ferry_serve_remove_sockets(const struct ferry_serve *s)
{
    for (unsigned i = 0; i < s->nlisteners; i++)
        ferry_listen_remove(&s->listeners[i].addr);
}

/* -- the URL ---------------------------------------------------------------------------------- */

static bool is_any(const char *host)
{
    return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "127.0.0.1") == 0;
}

void ferry_serve_url(const struct ferry_serve *s, char *out, size_t cap)
{
    const struct ferry_addr *a = &s->listeners[0].bound;
    char host[FERRY_ADDR_TEXT_MAX];

    for (unsigned i = 0; i < s->nlisteners && a->any.sa_family == AF_UNIX; i++)
        if (s->listeners[i].bound.any.sa_family != AF_UNIX)
            a = &s->listeners[i].bound;
    if (a->any.sa_family == AF_UNIX) {
        ferry_addr_format(a, out, cap);
        return;
    }
    ferry_addr_host(a, host, sizeof host);
    if (is_any(host))
        snprintf(out, cap, "http://localhost:%u/", ferry_addr_port(a));
    else if (strchr(host, ':')) /* IPv6 alone: localhost could be looked for in IPv4 */
        snprintf(out, cap, "http://[%s]:%u/", strcmp(host, "::") == 0 ? "::1" : host,
                 ferry_addr_port(a));
    else
        snprintf(out, cap, "http://%s:%u/", host, ferry_addr_port(a));
}
