/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CLIENT_ADDRESSES_H
#define FERRY_CLIENT_ADDRESSES_H

#include "client/client.h"
#include "client/internal.h"
#include "io/ping.h"
#include "io/resolver.h"

/*
 * What the files of a client with its addresses share: client.c (making, threads, calls), balance.c
 * (which address), names.c (hosts that are looked up), pings.c (active health).
 *
 * Targets are only ever added, so that their numbers mean the same for all threads for ever. One
 * whose name has lost its address is `gone` and is given another when one comes.
 */

struct ferry__target {
    struct ferry_pool *pool;
    atomic_uint weight;
    unsigned host;              /* 1 + the number of its host; 0: its address was given */
    _Atomic(uint64_t) identity; /* of the address, for keys */
    atomic_bool gone;
    _Atomic(uint64_t) ping_at_ms;
};

struct ferry__host {
    char *name;
    unsigned port, weight;        /* port 0: a service, whose records say both */
    _Atomic(uint64_t) look_at_ms; /* FERRY_NEVER while a thread is at it */
};

struct ferry_client {
    struct ferry_client_opts opts; /* its texts are not ours: */
    char *ping, *name_servers;
    unsigned threads_max;
    bool single;          /* one address that stays what it is: nothing is chosen */
    pthread_mutex_t lock; /* who has joined; targets and hosts */
    struct ferry__target targets[FERRY__POOLS_MAX];
    atomic_uint ntargets;
    struct ferry__host hosts[FERRY__POOLS_MAX];
    unsigned nhosts;
    _Atomic(uint64_t) *sticky; /* the last keys; see balance.c */
    struct ferry_client_local *locals;
};

struct ferry__visit; /* a ping under way */

struct ferry_client_local {
    struct ferry_client *client;
    struct ferry_loop *loop; /* NULL: closed, or not joined yet */
    struct ferry_pool_local *single;
    struct ferry__group group;
    uint64_t open; /* which pools of the group are joined and not closed, by bits */
    unsigned index, turn;
    int64_t credit[FERRY__POOLS_MAX]; /* round-robin's */

    struct ferry_timer timer; /* pings and names that are due */
    struct ferry_resolver *resolver;
    struct ferry_list pings, lookups;

    bool closing;
    unsigned left; /* of what must close: pools, the resolver */
    void (*closed)(void *);
    void *closed_arg;
    struct ferry_task tell; /* that it is closed */
};

/* A thread's part of a target; NULL: no memory. */
struct ferry_pool_local *ferry__client_part(struct ferry_client_local *, unsigned target);
/* A new target, or one that was gone: its number, or an error. With the lock held. */
int ferry__client_add(struct ferry_client *, const struct ferry_addr *, unsigned weight,
                      unsigned host);
/* Something of a part that closes is closed. */
void ferry__client_part_closed(struct ferry_client_local *);

/* -- balance.c -- */

uint64_t ferry__hash(const void *p, size_t n);
/* The target for a call with that key, other than those tried; -1: none is left. */
int ferry__balance(struct ferry_client_local *, struct ferry_slice key, uint64_t tried);

/* -- names.c: asks for names that are due, and says when the next is -- */

/* The last address of a name is its first target's until there is one. */
uint64_t ferry__names_look(struct ferry_client_local *, uint64_t now_ms);
void ferry__names_close(struct ferry_client_local *);

/* -- pings.c: likewise -- */

uint64_t ferry__pings_look(struct ferry_client_local *, uint64_t now_ms);
void ferry__pings_close(struct ferry_client_local *);

#endif
