/* SPDX-License-Identifier: MIT */
/*
 * The filter remote_host: the name of the client's address, by the DNS, in time or not at all. What
 * was found, and that nothing was, is remembered by each thread in a table of fixed size; a name
 * server that does not answer delays a client once, and then no more for a while.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>

#include "io/resolver.h"
#include "session/internal.h"

#define TIMEOUT_MS 1000
#define KEEP_MS 300000
#define KEEP_FAILURE_MS 10000 /* when servers fail, which may soon be over */
#define PLACES 512

struct remote_host {
    unsigned timeout_ms, keep_ms;
    bool confirm;
    char *servers;
};

struct place {
    uint64_t until_ms;
    char addr[INET6_ADDRSTRLEN];
    char *name; /* NULL: it has none */
};

struct here {
    const struct remote_host *filter;
    struct ferry_session_thread *thread;
    struct place places[PLACES];
};

/* One request that waits, in its session's memory. */
struct waiting {
    struct ferry_lookup lookup;
    struct ferry_session *session;
    struct here *here;
    char addr[INET6_ADDRSTRLEN];
};

/* -- what is remembered ------------------------------------------------------------------------ */

static struct place *place_of(struct here *here, const char *addr)
{
    uint32_t h = 2166136261u;

    for (; *addr; addr++)
        h = (h ^ (unsigned char)*addr) * 16777619u;
    return &here->places[(h ^ h >> 16) % PLACES];
}

static struct place *recall(struct here *here, const char *addr)
{
    struct place *p = place_of(here, addr);

    return strcmp(p->addr, addr) == 0 && ferry_loop_now(here->thread->loop) < p->until_ms ? p
                                                                                          : NULL;
}

static void remember(struct here *here, const char *addr, const struct ferry_lookup_result *found)
{
    struct place *p = place_of(here, addr);
    unsigned keep_ms = here->filter->keep_ms;

    if (found->err == -ENOMEM)
        return;
    if (found->err < 0 && found->err != -ENOENT && keep_ms > KEEP_FAILURE_MS)
        keep_ms = KEEP_FAILURE_MS;
    free(p->name);
    p->name = found->err == 0 ? strdup(found->name) : NULL;
    p->until_ms = 0;
    if (found->err == 0 && !p->name)
        return;
    memcpy(p->addr, addr, sizeof p->addr);
    p->until_ms = ferry_loop_now(here->thread->loop) + keep_ms;
}

/* -- a request --------------------------------------------------------------------------------- */

static int tell(struct ferry_session *s, const char *name)
{
    int err = 0;

    if (name)
        err = ferry__session_make_param(s, FERRY_SLICE("REMOTE_HOST"), ferry_slice_z(name));
    return err < 0 ? err : FERRY_STEP_NEXT;
}

static void found(struct ferry_lookup *lookup, const struct ferry_lookup_result *result)
{
    struct waiting *w = ferry_container(lookup, struct waiting, lookup);

    remember(w->here, w->addr, result);
    ferry_session_continue(w->session, tell(w->session, result->err == 0 ? result->name : NULL));
}

static void give_up(struct ferry_session *s, void *arg)
{
    struct waiting *w = arg;

    (void)s;
    ferry_lookup_cancel(&w->lookup);
}

static bool read_addr(const char *text, struct ferry_addr *out)
{
    *out = (struct ferry_addr){.fd = -1};
    if (inet_pton(AF_INET, text, &out->in.sin_addr) == 1) {
        out->in.sin_family = AF_INET;
        out->len = sizeof out->in;
        return true;
    }
    out->in6.sin6_family = AF_INET6;
    out->len = sizeof out->in6;
    return inet_pton(AF_INET6, text, &out->in6.sin6_addr) == 1;
}

static int look_up(struct ferry_session *s, struct here *here, const char *text,
                   const struct ferry_addr *addr)
{
    const struct remote_host *r = here->filter;
    struct ferry_resolver *resolver;
    struct waiting *w;
    int err = ferry__session_thread_resolver(here->thread, r->servers, &resolver);

    if (err < 0) /* without name servers there are no names, but there is an answer */
        return err == -ENOMEM ? err : FERRY_STEP_NEXT;
    w = ferry_session_alloc(s, sizeof *w);
    if (!w)
        return -ENOMEM;
    w->lookup.done = found;
    w->session = s;
    w->here = here;
    memcpy(w->addr, text, sizeof w->addr);
    err = ferry_session_on_over(s, give_up, w);
    if (err == 0)
        err = ferry_lookup_name(resolver, &w->lookup, addr, r->confirm, r->timeout_ms);
    return err < 0 ? err : FERRY_STEP_WAIT;
}

static int run(struct ferry_session *s, void *filter, void *local)
{
    struct ferry_slice remote = ferry_session_remote_addr(s);
    char text[INET6_ADDRSTRLEN] = "";
    const struct place *known;
    struct ferry_addr addr;

    (void)filter;
    if (!remote.len || remote.len >= sizeof text)
        return FERRY_STEP_NEXT;
    memcpy(text, remote.p, remote.len);
    known = recall(local, text);
    if (known)
        return tell(s, known->name);
    return read_addr(text, &addr) ? look_up(s, local, text, &addr) : FERRY_STEP_NEXT;
}

/* -- the filter -------------------------------------------------------------------------------- */

static int join(void *filter, struct ferry_session_thread *thread, void **local)
{
    struct here *here = calloc(1, sizeof *here);

    if (!here)
        return -ENOMEM;
    here->filter = filter;
    here->thread = thread;
    *local = here;
    return 0;
}

static void leave(void *local)
{
    struct here *here = local;

    if (!here)
        return;
    for (unsigned i = 0; i < PLACES; i++)
        free(here->places[i].name);
    free(here);
}

static void remote_host_free(void *filter)
{
    struct remote_host *r = filter;

    free(r->servers);
    free(r);
}

int ferry_filters_remote_host(struct ferry_filters *f, const struct ferry_remote_host *o)
{
    static const struct ferry_filter_ops ops = {
        .name = "remote_host", .run = run, .join = join, .leave = leave, .free = remote_host_free};
    struct remote_host *r;
    int err = o->servers ? ferry_resolver_check(o->servers) : 0;

    if (err == FERRY_EUSAGE)
        return ferry_filters_refuse(f,
                                    "remote_host: \"%.60s\" are no name servers, such as "
                                    "\"127.0.0.1:5353, [::1]:53\"",
                                    o->servers);
    if (err < 0)
        return err;
    r = calloc(1, sizeof *r);
    if (!r)
        return -ENOMEM;
    r->timeout_ms = o->timeout_ms ? o->timeout_ms : TIMEOUT_MS;
    r->keep_ms = o->keep_ms ? o->keep_ms : KEEP_MS;
    r->confirm = !o->unconfirmed;
    r->servers = o->servers ? strdup(o->servers) : NULL;
    if (o->servers && !r->servers) {
        free(r);
        return -ENOMEM;
    }
    return ferry_filters_push(f, &ops, r);
}
