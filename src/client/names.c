/* SPDX-License-Identifier: MIT */
/*
 * Hosts among the addresses of a client. A name is looked up by whichever thread sees first that it
 * is due, and again when its record expires; each of its addresses is a target. Until the first
 * answer, calls wait at a target without an address. The records of a service (SRV) say ports and
 * weights as well, and what they weigh may change.
 *
 * An answer that fails changes nothing: the addresses that are known are better than none.
 */
#include <errno.h>
#include <stdlib.h>

#include "client/addresses.h"

#define LOOKUP_MS 10000
#define TTL_MIN_MS 1000
#define TTL_MAX_MS 3600000
#define TTL_UNSAID_MS 10000 /* /etc/hosts has none */
#define RETRY_MS 2000

struct ferry__asking {
    struct ferry_lookup lookup;
    struct ferry_list link;
    struct ferry_client_local *local;
    unsigned host;
};

static bool same_addr(const struct ferry_addr *a, const struct ferry_addr *b)
{
    if (a->any.sa_family != b->any.sa_family)
        return false;
    if (a->any.sa_family == AF_INET)
        return a->in.sin_addr.s_addr == b->in.sin_addr.s_addr && a->in.sin_port == b->in.sin_port;
    return memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof a->in6.sin6_addr) == 0 &&
           a->in6.sin6_port == b->in6.sin6_port;
}

/* The target of a host that has this address; -1: none. */
static int target_of(const struct ferry_client *c, unsigned host, const struct ferry_addr *addr)
{
    struct ferry_addr has;

    for (unsigned i = 0; i < atomic_load(&c->ntargets); i++) {
        if (c->targets[i].host != host || atomic_load(&c->targets[i].gone))
            continue;
        ferry__pool_addr(c->targets[i].pool, &has);
        if (has.len && same_addr(&has, addr))
            return (int)i;
    }
    return -1;
}

static bool is_among(const struct ferry_addr *addr, const struct ferry_lookup_result *result)
{
    for (unsigned i = 0; i < result->naddrs; i++)
        if (same_addr(addr, &result->addrs[i]))
            return true;
    return false;
}

/* First those that are lost, for their places are taken by those that are new. */
static void update(struct ferry_client *c, unsigned host, const struct ferry_lookup_result *result)
{
    unsigned usual = c->hosts[host - 1].weight;
    struct ferry_addr has;

    pthread_mutex_lock(&c->lock);
    for (unsigned i = 0; i < atomic_load(&c->ntargets); i++) {
        if (c->targets[i].host != host)
            continue;
        ferry__pool_addr(c->targets[i].pool, &has);
        if (has.len && is_among(&has, result))
            continue;
        if (!atomic_exchange(&c->targets[i].gone, true))
            ferry_pool_lose_addr(c->targets[i].pool);
    }
    for (unsigned i = 0; i < result->naddrs; i++) {
        unsigned weight = result->weights ? result->weights[i] : usual;
        int target = target_of(c, host, &result->addrs[i]);

        if (target >= 0)
            atomic_store(&c->targets[target].weight, weight);
        else if (ferry__client_add(c, &result->addrs[i], weight, host) < 0)
            break; /* more than there may be, or no memory: by and by */
    }
    pthread_mutex_unlock(&c->lock);
}

/* Calls that wait for a first address are told why there is none. */
static void update_failed(struct ferry_client *c, unsigned host, int err)
{
    struct ferry_addr has;

    for (unsigned i = 0; i < atomic_load(&c->ntargets); i++) {
        if (c->targets[i].host != host)
            continue;
        ferry__pool_addr(c->targets[i].pool, &has);
        if (!has.len)
            ferry_pool_set_addr_error(c->targets[i].pool, err);
    }
}

static uint64_t good_for(const struct ferry_lookup_result *result)
{
    uint64_t ms = result->ttl_s * UINT64_C(1000);

    if (result->err < 0)
        return RETRY_MS;
    if (ms == 0)
        return TTL_UNSAID_MS;
    return ms < TTL_MIN_MS ? TTL_MIN_MS : ms > TTL_MAX_MS ? TTL_MAX_MS : ms;
}

static void answered(struct ferry_lookup *lookup, const struct ferry_lookup_result *result)
{
    struct ferry__asking *a = ferry_container(lookup, struct ferry__asking, lookup);
    struct ferry_client_local *l = a->local;
    struct ferry__host *h = &l->client->hosts[a->host];
    uint64_t at = ferry_loop_now(l->loop) + good_for(result);

    if (result->err == 0)
        update(l->client, a->host + 1, result);
    else
        update_failed(l->client, a->host + 1, result->err);
    atomic_store(&h->look_at_ms, at);
    if (at < l->timer.at_ms)
        ferry_timer_set(l->loop, &l->timer, at);
    ferry_list_remove(&a->link);
    free(a);
}

static int ask(struct ferry_client_local *l, unsigned host)
{
    struct ferry__host *h = &l->client->hosts[host];
    struct ferry__asking *a;
    int err = 0;

    if (!l->resolver)
        err = ferry_resolver_new(l->loop, l->client->name_servers, &l->resolver);
    if (err < 0)
        return err;
    a = calloc(1, sizeof *a);
    if (!a)
        return -ENOMEM;
    a->local = l;
    a->host = host;
    a->lookup.done = answered;
    err = h->port ? ferry_lookup_host(l->resolver, &a->lookup, h->name, h->port, LOOKUP_MS)
                  : ferry_lookup_service(l->resolver, &a->lookup, h->name, LOOKUP_MS);
    if (err < 0) {
        free(a);
        return err;
    }
    ferry_list_push(&l->lookups, &a->link);
    return 0;
}

uint64_t ferry__names_look(struct ferry_client_local *l, uint64_t now)
{
    struct ferry_client *c = l->client;
    uint64_t next = FERRY_NEVER;

    for (unsigned i = 0; i < c->nhosts; i++) {
        _Atomic(uint64_t) *look_at = &c->hosts[i].look_at_ms;
        uint64_t at = atomic_load(look_at);

        if (at > now) {
            /* While another thread asks, look whether it still does. */
            at = at == FERRY_NEVER ? now + LOOKUP_MS : at;
        } else if (!atomic_compare_exchange_strong(look_at, &at, FERRY_NEVER)) {
            at = now + RETRY_MS;
        } else if (ask(l, i) < 0) {
            at = now + RETRY_MS;
            atomic_store(look_at, at);
        } else {
            continue; /* the answer says when */
        }
        next = at < next ? at : next;
    }
    return next;
}

static void resolver_closed(void *arg)
{
    ferry__client_part_closed(arg);
}

void ferry__names_close(struct ferry_client_local *l)
{
    struct ferry_list *link;

    while ((link = ferry_list_first(&l->lookups))) {
        struct ferry__asking *a = ferry_container(link, struct ferry__asking, link);

        ferry_lookup_cancel(&a->lookup);
        atomic_store(&l->client->hosts[a->host].look_at_ms, 0); /* another thread's now */
        ferry_list_remove(link);
        free(a);
    }
    if (!l->resolver)
        return;
    l->left++;
    ferry_resolver_free(l->resolver, resolver_closed, l);
    l->resolver = NULL;
}
