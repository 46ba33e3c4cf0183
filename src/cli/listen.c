/* SPDX-License-Identifier: MIT */
/*
 * The listeners of a generation. The first socket of an address binds and listens alone, so that
 * whoever listens there already is noticed, also another ferry that starts in the same moment; only
 * then does it let the sockets of the other threads in beside it.
 *
 * A socket that is open stays open as long as any generation listens on its address, whatever their
 * numbers of threads are: connections that wait in one that was closed would be lost.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/engine.h"

#define PORT_FIRST 8080
#define PORT_LAST 8089
#define UNIX_MODE 0666 /* a proxy or browser of any user may connect, as over TCP */

static bool is_tcp(const struct ferry_addr *a)
{
    return a->fd < 0 && a->any.sa_family != AF_UNIX;
}

static bool same(const struct ferry_addr *a, const struct ferry_addr *b)
{
    return a->fd == b->fd &&
           (a->fd >= 0 || (a->len == b->len && !memcmp(&a->any, &b->any, a->len)));
}

static void shut(struct ferry_listening *l)
{
    for (unsigned t = 0; t < l->nfds; t++)
        close(l->fds[t]);
    l->nfds = 0;
}

static void tell_guards(const struct ferry_listening *l, bool there)
{
    if (l->addr.fd < 0 && l->addr.any.sa_family == AF_UNIX && l->addr.un.sun_path[0])
        ferry_engine_tell_guards(l->addr.un.sun_path, there);
}

static int open_listener(struct ferry_listening *l, unsigned threads)
{
    int r = ferry_listen(&l->addr, &(struct ferry_listen_opts){.mode = UNIX_MODE});

    if (r < 0)
        return r;
    l->fds[0] = r;
    l->nfds = 1;
    tell_guards(l, true);
    /* Port 0 has become a port, and fd:N an address. */
    r = ferry_addr_local(l->fds[0], &l->bound);
    if (r == 0 && is_tcp(&l->addr))
        l->nfds += ferry_listen_beside(l->fds[0], &l->bound, l->fds + 1, threads - 1, &r);
    return r;
}

static int complain(const struct ferry_engine *e, const struct ferry_addr *a, int err)
{
    pid_t holder = err == -EADDRINUSE ? ferry_listen_owner(a) : 0;
    char hint[64];

    if (err == -EACCES)
        snprintf(hint, sizeof hint, ", as %s :%s", e->listen_hint, e->ops->port);
    else
        snprintf(hint, sizeof hint, " with %s", e->listen_hint);
    ferry_cli_cannot_listen(a, err, holder, hint);
    return FERRY_EXIT_FAILED;
}

static struct ferry_listening *add(struct ferry_generation *g, const struct ferry_addr *addr)
{
    struct ferry_listening *l = calloc(1, sizeof *l);

    if (!l)
        return NULL;
    l->refs = 1;
    l->addr = *addr;
    g->listeners[g->nlisteners++] = l;
    return l;
}

static void drop(struct ferry_listening *l)
{
    if (--l->refs)
        return;
    shut(l);
    tell_guards(l, false);
    ferry_listen_remove(&l->addr);
    free(l);
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
static int open_default(struct ferry_generation *g, unsigned n, unsigned port,
                        struct ferry_addr *failed)
{
    static const char *const hosts[] = {"127.0.0.1", "[::1]"};
    int err = 0;

    for (unsigned i = 0; err == 0 && i < n; i++) {
        struct ferry_listening *l;

        set_default(failed, hosts[i], port);
        l = add(g, failed);
        err = l ? open_listener(l, g->threads) : -ENOMEM;
    }
    if (err < 0)
        ferry_listening_close(g);
    return err;
}

static int listen_default(const struct ferry_engine *e, struct ferry_generation *g)
{
    unsigned n = has_ipv6() ? 2 : 1;
    struct ferry_addr failed;
    int err = -EADDRINUSE;

    for (unsigned port = PORT_FIRST; err == -EADDRINUSE && port <= PORT_LAST; port++)
        err = open_default(g, n, port, &failed);
    if (err == 0)
        return 0;
    if (err != -EADDRINUSE)
        return complain(e, &failed, err);
    ferry_cli_say("the ports %d to %d are all taken; choose another one with --listen :PORT",
                  PORT_FIRST, PORT_LAST);
    return FERRY_EXIT_FAILED;
}

/* -- all of them ------------------------------------------------------------------------------ */

static struct ferry_listening *find(const struct ferry_generation *g, const struct ferry_addr *addr)
{
    for (unsigned i = 0; g && i < g->nlisteners; i++)
        if (same(&g->listeners[i]->addr, addr))
            return g->listeners[i];
    return NULL;
}

/* One of the generation before that listens there and is not taken over yet. */
static struct ferry_listening *find_free(const struct ferry_generation *before,
                                         const struct ferry_generation *g,
                                         const struct ferry_addr *addr)
{
    for (unsigned i = 0, k; before && i < before->nlisteners; i++) {
        if (!same(&before->listeners[i]->addr, addr))
            continue;
        for (k = 0; k < g->nlisteners && g->listeners[k] != before->listeners[i]; k++)
            ;
        if (k == g->nlisteners)
            return before->listeners[i];
    }
    return NULL;
}

static int open_one(const struct ferry_engine *e, struct ferry_generation *g,
                    const struct ferry_generation *before, const struct ferry_addr *addr,
                    unsigned number)
{
    struct ferry_listening *l = find_free(before, g, addr);
    int err;

    if (g->nlisteners == FERRY_CONFIG_LISTEN_MAX) {
        ferry_cli_say("there is room for %u addresses to listen on", FERRY_CONFIG_LISTEN_MAX);
        return FERRY_EXIT_CONFIG;
    }
    g->asked[g->nlisteners] = number;
    if (l) {
        /* More threads share the first socket. Sockets of their own would take connections from
         * now on, while the worker that knows them may never come. */
        l->refs++;
        g->listeners[g->nlisteners++] = l;
        err = 0;
    } else {
        l = add(g, addr);
        err = l ? open_listener(l, g->threads) : -ENOMEM;
        if (err == 0 && addr->fd > STDERR_FILENO) /* it was duplicated */
            close(addr->fd);
    }
    return err < 0 ? complain(e, addr, err) : 0;
}

/* Is it one listener with another one of this address? */
static bool is_there(const struct ferry_engine *e, const struct ferry_generation *g,
                     const struct ferry_addr *addr)
{
    return find(g, addr) && !(e->ops->apart && is_tcp(addr) && ferry_addr_port(addr) == 0);
}

/* Those of one kind: `given` as descriptors, or not. */
static int listen_kind(const struct ferry_engine *e, struct ferry_generation *g,
                       const struct ferry_generation *before, bool given)
{
    const char *text, *why;
    int code = 0;

    for (unsigned i = 0; code == 0 && (text = e->ops->listen(g->config, i)); i++) {
        struct ferry_addr addr;

        if (ferry_addr_parse(text, true, &addr, &why) < 0) {
            ferry_cli_say("cannot listen on %s: %s", text, why);
            return FERRY_EXIT_CONFIG;
        }
        if ((addr.fd >= 0) == given && !is_there(e, g, &addr))
            code = open_one(e, g, before, &addr, i);
    }
    return code;
}

int ferry_listening_open(const struct ferry_engine *e, struct ferry_generation *g,
                         const struct ferry_generation *before)
{
    int code;

    if (e->default_listen)
        return listen_default(e, g);
    /* Inherited ones first, while no number can be that of a socket of our own. */
    code = listen_kind(e, g, before, true);
    return code ? code : listen_kind(e, g, before, false);
}

void ferry_listening_close(struct ferry_generation *g)
{
    while (g->nlisteners)
        drop(g->listeners[--g->nlisteners]);
}

void ferry_listening_shut(struct ferry_generation *g)
{
    for (unsigned i = 0; i < g->nlisteners; i++)
        shut(g->listeners[i]);
}

void ferry_listening_remove_sockets(const struct ferry_generation *g)
{
    for (unsigned i = 0; i < g->nlisteners; i++)
        ferry_listen_remove(&g->listeners[i]->addr);
}

int ferry_listening_find(const struct ferry_generation *g, const char *text)
{
    struct ferry_addr addr;
    const char *why;

    if (ferry_addr_parse(text, true, &addr, &why) < 0)
        return -1;
    for (unsigned i = 0; i < g->nlisteners; i++)
        if (same(&g->listeners[i]->addr, &addr))
            return (int)i;
    return -1;
}
