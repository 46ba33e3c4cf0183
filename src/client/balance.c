/* SPDX-License-Identifier: MIT */
/*
 * Which address gets a call. Those that are down are passed over; when all are, any is better than
 * none. Keys are hashed with each address by itself (rendezvous), as often as its weight says: the
 * highest wins, so an address that comes or goes moves its own keys and no others.
 */
#include "client/addresses.h"

#define STICKY_SETS 4096
#define STICKY_WAYS 4

uint64_t ferry__hash(const void *p, size_t n)
{
    const unsigned char *bytes = p;
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < n; i++)
        h = (h ^ bytes[i]) * UINT64_C(0x100000001b3);
    return h;
}

/* All bits depend on all (the finalizer of splitmix64). */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

#define each_of(i, mask)                                                                           \
    (uint64_t left_ = (mask), i = 0; left_ && ((i = (uint64_t)__builtin_ctzll(left_)), 1);         \
     left_ &= left_ - 1)

/* -- the ways to choose among those of a mask, which is not empty -- */

static int by_hash(const struct ferry_client *c, uint64_t mask, uint64_t key)
{
    uint64_t most = 0;
    int best = -1;

    for
        each_of(i, mask)
        {
            uint64_t id = atomic_load_explicit(&c->targets[i].identity, memory_order_relaxed);

            for (unsigned v = 0; v < c->targets[i].weight; v++) {
                uint64_t score = mix(mix(key ^ id) + v);

                if (best < 0 || score > most) {
                    most = score;
                    best = (int)i;
                }
            }
        }
    return best;
}

/* Each gains its weight, the richest pays for all: as often as its weight says, and spread. */
static int by_turn(struct ferry_client_local *l, uint64_t mask)
{
    const struct ferry_client *c = l->client;
    int64_t sum = 0;
    int best = -1;

    for
        each_of(i, mask)
        {
            l->credit[i] += c->targets[i].weight;
            sum += c->targets[i].weight;
            if (best < 0 || l->credit[i] > l->credit[best])
                best = (int)i;
        }
    l->credit[best] -= sum;
    return best;
}

/* Of equals each in turn. */
static int by_load(struct ferry_client_local *l, uint64_t mask)
{
    const struct ferry_client *c = l->client;
    uint64_t least = 0, equals = 0;
    unsigned best = 0;

    for
        each_of(i, mask)
        {
            uint64_t load = ferry__pool_load(c->targets[i].pool);
            uint64_t here = load * c->targets[best].weight, there = least * c->targets[i].weight;

            if (equals && here > there)
                continue;
            if (!equals || here < there) {
                least = load;
                best = (unsigned)i;
                equals = 0;
            }
            equals |= UINT64_C(1) << i;
        }
    return equals & (equals - 1) ? by_turn(l, equals) : (int)best;
}

/* The table holds, for each of the last keys, most of its hash and 1 + its target. A key that was
 * pushed out, or whose target is lost, is placed anew. */
static int by_table(struct ferry_client_local *l, uint64_t mask, uint64_t key)
{
    _Atomic(uint64_t) *set = l->client->sticky + (size_t)(mix(key) % STICKY_SETS) * STICKY_WAYS;
    uint64_t tag = key & ~UINT64_C(0xff), seen;
    unsigned at = l->turn++ % STICKY_WAYS; /* pushes out any, if there is no room */
    int target;

    for (unsigned i = 0; i < STICKY_WAYS; i++) {
        seen = atomic_load_explicit(&set[i], memory_order_relaxed);
        if (seen == 0)
            at = i;
        if (seen == 0 || (seen & ~UINT64_C(0xff)) != tag)
            continue;
        at = i;
        target = (int)(seen & 0xff) - 1;
        if (target >= 0 && mask >> target & 1)
            return target;
        break;
    }
    target = by_load(l, mask);
    atomic_store_explicit(&set[at], tag | (unsigned)(target + 1), memory_order_relaxed);
    return target;
}

static int choose(struct ferry_client_local *l, uint64_t mask, struct ferry_slice key)
{
    const struct ferry_client *c = l->client;

    switch (c->opts.balance) {
    case FERRY_BALANCE_HASH:
        if (key.len)
            return by_hash(c, mask, ferry__hash(key.p, key.len));
        break;
    case FERRY_BALANCE_STICKY:
        if (key.len)
            return by_table(l, mask, ferry__hash(key.p, key.len));
        break;
    case FERRY_BALANCE_ROUND_ROBIN:
        return by_turn(l, mask);
    case FERRY_BALANCE_LEAST:
        break;
    }
    return by_load(l, mask);
}

int ferry__balance(struct ferry_client_local *l, struct ferry_slice key, uint64_t tried)
{
    struct ferry_client *c = l->client;
    uint64_t now = ferry_loop_now(l->loop), there = 0, well = 0, to_try = 0;
    unsigned n = atomic_load(&c->ntargets);

    for (unsigned i = 0; i < n; i++) {
        uint64_t bit = UINT64_C(1) << i;
        enum ferry__health health = ferry__health_of(c->targets[i].pool, now);

        if (tried & bit || atomic_load_explicit(&c->targets[i].gone, memory_order_relaxed))
            continue;
        there |= bit;
        if (health != FERRY__DOWN)
            well |= bit;
        if (health == FERRY__TO_TRY)
            to_try |= bit;
    }
    while (well) {
        int i = choose(l, well, key);
        uint64_t bit = UINT64_C(1) << i;

        if (!(to_try & bit) || ferry__health_try(c->targets[i].pool, now))
            return i;
        well &= ~bit; /* another request tries it at this moment */
    }
    return there ? choose(l, there, key) : -1;
}
