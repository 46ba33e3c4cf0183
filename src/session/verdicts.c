/* SPDX-License-Identifier: MIT */
/*
 * A hash table of chains, and a list of its members by their last use. The hash is seeded, as keys
 * hold what clients send. A verdict is one piece of memory: itself, its variables, their texts.
 */
#include "session/verdicts.h"

#include <stdlib.h>
#include <sys/random.h>

#include "base/list.h"
#include "base/text.h"

#define PLACES_MAX 65536u

struct kept {
    struct kept *next; /* in its place */
    struct ferry_list used;
    uint64_t until_ms, hash;
    struct ferry_slice key;
    struct ferry_verdict verdict;
    struct ferry_param variables[];
};

struct ferry_verdicts {
    struct ferry_list used; /* the longest unused first */
    unsigned n, max, keep_ms, mask;
    uint64_t seed;
    struct kept *places[];
};

struct ferry_verdicts *ferry__verdicts_new(unsigned max, unsigned keep_ms)
{
    struct ferry_verdicts *v;
    unsigned places = 16;

    while (places < max && places < PLACES_MAX)
        places *= 2;
    v = calloc(1, sizeof *v + places * sizeof *v->places);
    if (!v)
        return NULL;
    ferry_list_init(&v->used);
    v->max = max;
    v->keep_ms = keep_ms;
    v->mask = places - 1;
    if (getrandom(&v->seed, sizeof v->seed, GRND_NONBLOCK) != sizeof v->seed)
        v->seed = (uintptr_t)v; /* without entropy yet: at least no constant */
    return v;
}

static void forget(struct ferry_verdicts *v, struct kept *k)
{
    struct kept **at = &v->places[k->hash & v->mask];

    while (*at != k)
        at = &(*at)->next;
    *at = k->next;
    ferry_list_remove(&k->used);
    v->n--;
    free(k);
}

void ferry__verdicts_free(struct ferry_verdicts *v)
{
    if (!v)
        return;
    ferry_list_each (at, next, &v->used)
        free(ferry_container(at, struct kept, used));
    free(v);
}

static uint64_t hash_of(const struct ferry_verdicts *v, struct ferry_slice key)
{
    uint64_t h = v->seed ^ key.len;

    for (size_t i = 0; i < key.len; i++) {
        h = (h ^ (unsigned char)key.p[i]) * UINT64_C(0x9e3779b97f4a7c15);
        h ^= h >> 32;
    }
    return h;
}

static struct kept *find(struct ferry_verdicts *v, struct ferry_slice key, uint64_t hash)
{
    struct kept *k = v->places[hash & v->mask];

    while (k && (k->hash != hash || !ferry_slice_eq(k->key, key)))
        k = k->next;
    return k;
}

const struct ferry_verdict *ferry__verdicts_find(struct ferry_verdicts *v, struct ferry_slice key,
                                                 uint64_t now_ms)
{
    struct kept *k = find(v, key, hash_of(v, key));

    if (!k)
        return NULL;
    if (now_ms >= k->until_ms) {
        forget(v, k);
        return NULL;
    }
    ferry_list_remove(&k->used);
    ferry_list_push(&v->used, &k->used);
    return &k->verdict;
}

static struct ferry_slice put(char **at, struct ferry_slice text)
{
    struct ferry_slice to = ferry_slice(*at, text.len);

    *at = ferry__put(*at, text);
    return to;
}

static struct kept *copy(struct ferry_slice key, const struct ferry_param *variables, unsigned n)
{
    size_t size = sizeof(struct kept) + n * sizeof *variables + key.len;
    struct kept *k;
    char *at;

    for (unsigned i = 0; i < n; i++)
        size += variables[i].name.len + variables[i].value.len;
    if (key.len > FERRY_VERDICT_KEY_MAX || size > FERRY_VERDICT_SIZE_MAX)
        return NULL;
    k = malloc(size);
    if (!k)
        return NULL;
    at = (char *)(k->variables + n);
    k->key = put(&at, key);
    for (unsigned i = 0; i < n; i++) {
        k->variables[i].name = put(&at, variables[i].name);
        k->variables[i].value = put(&at, variables[i].value);
    }
    k->verdict = (struct ferry_verdict){.variables = k->variables, .n = n};
    return k;
}

void ferry__verdicts_add(struct ferry_verdicts *v, struct ferry_slice key, int status,
                         const struct ferry_param *variables, unsigned n, uint64_t now_ms)
{
    uint64_t hash = hash_of(v, key);
    struct kept *old = find(v, key, hash), *k;

    if (old)
        forget(v, old);
    k = copy(key, variables, n);
    if (!k)
        return;
    if (v->n == v->max)
        forget(v, ferry_container(ferry_list_first(&v->used), struct kept, used));
    k->verdict.status = status;
    k->hash = hash;
    k->until_ms = now_ms + v->keep_ms;
    k->next = v->places[hash & v->mask];
    v->places[hash & v->mask] = k;
    ferry_list_push(&v->used, &k->used);
    v->n++;
}
