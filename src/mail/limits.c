/* SPDX-License-Identifier: MIT */
/*
 * Clients in a hash table of fixed size. An entry is of a client with connections, or of one
 * without, and these stand in the order in which they became quiet: the first of them is the
 * one to forget. Since connections are at most clients_max, an entry is always found.
 *
 * A rate is one number, the time until which what was done is paid for (the "generic cell rate
 * algorithm"): each thing done adds a minute's share, and no more than a minute may be owed.
 */
#include "mail/limits.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/assert.h"
#include "base/list.h"

#define QUIET_MAX 8192 /* clients without a connection that are remembered */
#define MINUTE_US UINT64_C(60000000)

struct client {
    struct ferry_list link; /* among the quiet ones */
    struct client *next;    /* in its bucket */
    uint8_t addr[16];
    unsigned connections;
    uint64_t paid_us[FERRY__RATES];
};

struct ferry__limits {
    struct ferry__limits_opts opts;
    atomic_uint connections;
    atomic_ullong spooled;
    uint64_t seed;
    pthread_mutex_t lock; /* of all below */
    struct ferry_list quiet;
    struct client **buckets;
    size_t nbuckets; /* a power of two */
    size_t nclients, nused;
    struct client clients[]; /* from nused on never touched yet */
};

struct ferry__limits *ferry__limits_new(const struct ferry__limits_opts *opts)
{
    size_t n = (size_t)opts->clients_max + QUIET_MAX;
    struct ferry__limits *l = calloc(1, sizeof *l + n * sizeof *l->clients);

    if (!l)
        return NULL;
    l->opts = *opts;
    for (l->nbuckets = 1024; l->nbuckets < n && l->nbuckets < 1u << 20;)
        l->nbuckets *= 2;
    l->buckets = calloc(l->nbuckets, sizeof(struct client *));
    if (!l->buckets) {
        free(l);
        return NULL;
    }
    if (getrandom(&l->seed, sizeof l->seed, GRND_NONBLOCK) < 0)
        l->seed = (uintptr_t)l;
    pthread_mutex_init(&l->lock, NULL);
    ferry_list_init(&l->quiet);
    l->nclients = n;
    return l;
}

void ferry__limits_free(struct ferry__limits *l)
{
    if (!l)
        return;
    pthread_mutex_destroy(&l->lock);
    free(l->buckets);
    free(l);
}

/* -- the table --------------------------------------------------------------------------------- */

/* Who has one address of IPv6 has at least a /64 of them. */
static void key_of(const uint8_t addr[16], uint8_t key[16])
{
    static const uint8_t v4[12] = {[10] = 0xff, [11] = 0xff};

    memcpy(key, addr, 16);
    if (memcmp(addr, v4, sizeof v4) != 0)
        memset(key + 8, 0, 8);
}

static struct client **bucket_of(struct ferry__limits *l, const uint8_t key[16])
{
    uint64_t a, b, h;

    memcpy(&a, key, 8);
    memcpy(&b, key + 8, 8);
    h = (a ^ l->seed) * UINT64_C(0x9e3779b97f4a7c15);
    h = (h ^ h >> 32 ^ b) * UINT64_C(0xd6e8feb86659fd93);
    return &l->buckets[(h ^ h >> 32) & (l->nbuckets - 1)];
}

static struct client *look(struct ferry__limits *l, const uint8_t key[16])
{
    for (struct client *c = *bucket_of(l, key); c; c = c->next)
        if (memcmp(c->addr, key, 16) == 0)
            return c;
    return NULL;
}

static void forget(struct ferry__limits *l, struct client *c)
{
    struct client **at = bucket_of(l, c->addr);

    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
}

static struct client *new_one(struct ferry__limits *l)
{
    struct client *c;

    if (l->nused < l->nclients) {
        c = &l->clients[l->nused++];
        ferry_list_init(&c->link);
        return c;
    }
    ferry_assert(!ferry_list_empty(&l->quiet));
    c = ferry_container(ferry_list_first(&l->quiet), struct client, link);
    forget(l, c);
    return c;
}

/* The entry of a client, a new one where there is none. It goes behind the other quiet ones: it is
 * about to do something. */
static struct client *want(struct ferry__limits *l, const uint8_t key[16])
{
    struct client *c = look(l, key);

    if (!c) {
        struct client **bucket = bucket_of(l, key);

        c = new_one(l);
        memcpy(c->addr, key, 16);
        memset(c->paid_us, 0, sizeof c->paid_us);
        c->connections = 0;
        c->next = *bucket;
        *bucket = c;
    }
    if (c->connections == 0) {
        ferry_list_remove(&c->link);
        ferry_list_push(&l->quiet, &c->link);
    }
    return c;
}

/* -- rates ------------------------------------------------------------------------------------- */

static bool may(const struct ferry__limits *l, const struct client *c, enum ferry__rate rate,
                uint64_t now_us)
{
    unsigned n = l->opts.per_minute[rate];

    return n == 0 || !c || c->paid_us[rate] + MINUTE_US / n <= now_us + MINUTE_US;
}

static void pay(const struct ferry__limits *l, struct client *c, enum ferry__rate rate,
                uint64_t now_us)
{
    unsigned n = l->opts.per_minute[rate];

    if (n == 0)
        return;
    if (c->paid_us[rate] < now_us)
        c->paid_us[rate] = now_us;
    c->paid_us[rate] += MINUTE_US / n;
}

bool ferry__limits_may(struct ferry__limits *l, const uint8_t addr[16], enum ferry__rate rate,
                       uint64_t now_ms)
{
    uint8_t key[16];
    bool yes;

    if (l->opts.per_minute[rate] == 0)
        return true;
    key_of(addr, key);
    pthread_mutex_lock(&l->lock);
    yes = may(l, look(l, key), rate, now_ms * 1000);
    pthread_mutex_unlock(&l->lock);
    return yes;
}

bool ferry__limits_take(struct ferry__limits *l, const uint8_t addr[16], enum ferry__rate rate,
                        uint64_t now_ms)
{
    struct client *c;
    uint8_t key[16];
    bool yes;

    if (l->opts.per_minute[rate] == 0)
        return true;
    key_of(addr, key);
    pthread_mutex_lock(&l->lock);
    c = want(l, key);
    yes = may(l, c, rate, now_ms * 1000);
    if (yes)
        pay(l, c, rate, now_ms * 1000);
    pthread_mutex_unlock(&l->lock);
    return yes;
}

/* -- connections ------------------------------------------------------------------------------- */

bool ferry__limits_open(struct ferry__limits *l)
{
    if (atomic_fetch_add(&l->connections, 1) < l->opts.clients_max)
        return true;
    atomic_fetch_sub(&l->connections, 1);
    return false;
}

void ferry__limits_close(struct ferry__limits *l)
{
    atomic_fetch_sub(&l->connections, 1);
}

bool ferry__limits_is_crowded(struct ferry__limits *l)
{
    return (uint64_t)atomic_load(&l->connections) * 10 > (uint64_t)l->opts.clients_max * 9;
}

bool ferry__limits_enter(struct ferry__limits *l, const uint8_t addr[16], uint64_t now_ms)
{
    struct client *c;
    uint8_t key[16];
    bool yes;

    key_of(addr, key);
    pthread_mutex_lock(&l->lock);
    c = want(l, key);
    yes = c->connections < l->opts.clients_per_ip && may(l, c, FERRY__RATE_CONNECTS, now_ms * 1000);
    if (yes) {
        pay(l, c, FERRY__RATE_CONNECTS, now_ms * 1000);
        if (c->connections++ == 0)
            ferry_list_remove(&c->link);
    }
    pthread_mutex_unlock(&l->lock);
    return yes;
}

void ferry__limits_leave(struct ferry__limits *l, const uint8_t addr[16])
{
    struct client *c;
    uint8_t key[16];

    key_of(addr, key);
    pthread_mutex_lock(&l->lock);
    c = look(l, key);
    ferry_assert(c && c->connections);
    if (--c->connections == 0)
        ferry_list_push(&l->quiet, &c->link);
    pthread_mutex_unlock(&l->lock);
}

/* -- the spool --------------------------------------------------------------------------------- */

bool ferry__limits_spool(struct ferry__limits *l, uint64_t bytes)
{
    uint64_t before = atomic_fetch_add(&l->spooled, bytes);

    if (bytes <= l->opts.spool_max && before <= l->opts.spool_max - bytes)
        return true;
    atomic_fetch_sub(&l->spooled, bytes);
    return false;
}

void ferry__limits_unspool(struct ferry__limits *l, uint64_t bytes)
{
    atomic_fetch_sub(&l->spooled, bytes);
}

bool ferry__limits_has_room(struct ferry__limits *l, uint64_t bytes)
{
    uint64_t used = atomic_load(&l->spooled);

    return bytes <= l->opts.spool_max && used <= l->opts.spool_max - bytes;
}
