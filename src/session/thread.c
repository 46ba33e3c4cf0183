/* SPDX-License-Identifier: MIT */
/* What the sessions of one thread share: its parts of the clients that its chains call, and the
 * resolvers for their clients' names. */
#include <errno.h>
#include <stdlib.h>

#include "io/resolver.h"
#include "session/internal.h"

struct ferry_session_resolver {
    struct ferry_list link;
    struct ferry_session_thread *thread;
    struct ferry_resolver *resolver;
    char servers[]; /* empty: the system's */
};

struct ferry_session_client {
    struct ferry_list link;
    struct ferry_session_thread *thread;
    struct ferry_client *client;
    struct ferry_client_local *local;
};

void ferry_session_thread_init(struct ferry_session_thread *t, struct ferry_loop *loop,
                               unsigned index, const struct ferry_mime *mime)
{
    *t = (struct ferry_session_thread){.loop = loop, .index = index, .mime = mime};
    ferry_list_init(&t->clients);
    ferry_list_init(&t->resolvers);
}

struct ferry_client_local *ferry_session_thread_client(struct ferry_session_thread *t,
                                                       struct ferry_client *client)
{
    struct ferry_session_client *c;

    ferry_list_each (at, next, &t->clients) {
        c = ferry_container(at, struct ferry_session_client, link);
        if (c->client == client)
            return c->local;
    }
    c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->local = ferry_client_join_as(client, t->index, t->loop);
    if (!c->local) {
        free(c);
        return NULL;
    }
    c->client = client;
    c->thread = t;
    ferry_list_push(&t->clients, &c->link);
    return c->local;
}

int ferry__session_thread_resolver(struct ferry_session_thread *t, const char *servers,
                                   struct ferry_resolver **out)
{
    struct ferry_session_resolver *r;
    size_t len = servers ? strlen(servers) : 0;
    int err;

    ferry_list_each (at, next, &t->resolvers) {
        r = ferry_container(at, struct ferry_session_resolver, link);
        if (strcmp(r->servers, servers ? servers : "") == 0) {
            *out = r->resolver;
            return 0;
        }
    }
    r = calloc(1, sizeof *r + len + 1);
    if (!r)
        return -ENOMEM;
    if (len)
        memcpy(r->servers, servers, len);
    err = ferry_resolver_new(t->loop, servers, &r->resolver);
    if (err < 0) {
        free(r);
        return err;
    }
    r->thread = t;
    ferry_list_push(&t->resolvers, &r->link);
    *out = r->resolver;
    return 0;
}

/* -- its end ----------------------------------------------------------------------------------- */

static void one_closed(struct ferry_session_thread *t)
{
    if (ferry_list_empty(&t->clients) && ferry_list_empty(&t->resolvers))
        t->closed(t->closed_arg);
}

static void client_closed(void *arg)
{
    struct ferry_session_client *c = arg;
    struct ferry_session_thread *t = c->thread;

    ferry_list_remove(&c->link);
    free(c);
    one_closed(t);
}

static void resolver_closed(void *arg)
{
    struct ferry_session_resolver *r = arg;
    struct ferry_session_thread *t = r->thread;

    ferry_list_remove(&r->link);
    free(r);
    one_closed(t);
}

void ferry_session_thread_close(struct ferry_session_thread *t, void (*done)(void *), void *arg)
{
    t->closed = done;
    t->closed_arg = arg;
    if (ferry_list_empty(&t->clients) && ferry_list_empty(&t->resolvers)) {
        done(arg);
        return;
    }
    ferry_list_each (at, next, &t->resolvers) {
        struct ferry_session_resolver *r = ferry_container(at, struct ferry_session_resolver, link);

        ferry_resolver_free(r->resolver, resolver_closed, r);
    }
    ferry_list_each (at, next, &t->clients) {
        struct ferry_session_client *c = ferry_container(at, struct ferry_session_client, link);

        ferry_client_local_close(c->local, client_closed, c);
    }
}

void ferry_session_thread_fini(struct ferry_session_thread *t)
{
    /* Of a thread that never ran: nothing was connected. */
    ferry_list_each (at, next, &t->clients)
        free(ferry_container(at, struct ferry_session_client, link));
    ferry_list_init(&t->clients);
}

int ferry_session_call(struct ferry_session *s, struct ferry_client *client)
{
    struct ferry_client_local *local = ferry_session_thread_client(s->thread, client);

    if (!local)
        return -ENOMEM;
    s->host->call(s, &(struct ferry_session_call){
                         .client = local, .role = s->role, .no_body = s->no_body, .key = s->key});
    return FERRY_STEP_DONE;
}
