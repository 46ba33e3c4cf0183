/* SPDX-License-Identifier: MIT */
/*
 * Active health: each address is asked every ping_ms, by whichever thread sees first that it is
 * due, on a connection of its own beside the pool's. What comes of it counts like a request's end;
 * any answer to a request meanwhile outweighs a ping that failed.
 */
#include <stdlib.h>

#include "client/addresses.h"

#define TIMEOUT_MAX_MS 5000

struct ferry__visit {
    struct ferry__ping ping;
    struct ferry_list link;
    struct ferry_client_local *local;
    struct ferry_pool *pool;
};

static void visited(struct ferry__ping *ping, int err, const char *why)
{
    struct ferry__visit *v = ferry_container(ping, struct ferry__visit, ping);
    struct ferry_client_local *l = v->local;

    (void)why;
    if (!l->closing)
        ferry__health_note(v->pool, err == 0, ferry_loop_now(l->loop));
    ferry_list_remove(&v->link);
    free(v);
    if (l->closing)
        ferry__client_part_closed(l);
}

static void visit(struct ferry_client_local *l, struct ferry__target *t)
{
    const struct ferry_client *c = l->client;
    struct ferry__visit *v = calloc(1, sizeof *v);
    struct ferry_addr addr;
    struct ferry__ping_opts opts = {
        .addr = &addr,
        .timeout_ms = c->opts.ping_ms < TIMEOUT_MAX_MS ? c->opts.ping_ms : TIMEOUT_MAX_MS,
        .script = *c->ping ? c->ping : NULL,
    };

    if (!v)
        return;
    ferry__pool_addr(t->pool, &addr);
    v->local = l;
    v->pool = t->pool;
    v->ping.done = visited;
    if (!addr.len || ferry__ping_start(l->loop, &v->ping, &opts) < 0) {
        free(v);
        return;
    }
    ferry_list_push(&l->pings, &v->link);
}

uint64_t ferry__pings_look(struct ferry_client_local *l, uint64_t now)
{
    struct ferry_client *c = l->client;
    uint64_t next = FERRY_NEVER;

    if (!c->ping)
        return FERRY_NEVER;
    for (unsigned i = 0; i < atomic_load(&c->ntargets); i++) {
        struct ferry__target *t = &c->targets[i];
        uint64_t at = atomic_load(&t->ping_at_ms), after = now + c->opts.ping_ms;

        if (atomic_load(&t->gone))
            continue;
        if (at <= now && atomic_compare_exchange_strong(&t->ping_at_ms, &at, after)) {
            visit(l, t);
            at = after;
        }
        next = at < next ? at : next;
    }
    return next == FERRY_NEVER ? now + c->opts.ping_ms : next;
}

void ferry__pings_close(struct ferry_client_local *l)
{
    ferry_list_each (at, next, &l->pings) {
        l->left++;
        ferry__ping_cancel(&ferry_container(at, struct ferry__visit, link)->ping);
    }
}
