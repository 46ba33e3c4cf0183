/* SPDX-License-Identifier: MIT */
/*
 * From a listener, a host and a path to a site and its route. Names are found in a table made once,
 * by a hash that is new with every start, so that nobody outside can choose names that collide.
 */
#include "gate/site.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#define NAME_LEN_MAX 253

struct ferry__site_name {
    struct ferry_slice name; /* without the "*" of a wildcard: ".example.org" */
    const struct ferry_gate_site *site;
    uint32_t next; /* the number of another with this hash, and 1; 0: none */
};

struct ferry_gate_sites {
    const struct ferry_gate_site *defaults[FERRY_GATE_LISTENERS_MAX];
    uint64_t seed;
    uint32_t mask;
    uint32_t n;
    uint32_t *heads; /* by hash: the number of a name, and 1; 0: none */
    struct ferry__site_name names[];
};

static uint32_t hash(const struct ferry_gate_sites *t, struct ferry_slice name)
{
    uint64_t h = t->seed;

    for (size_t i = 0; i < name.len; i++) {
        h = (h ^ (uint8_t)name.p[i]) * UINT64_C(0x9e3779b97f4a7c15);
        h ^= h >> 29;
    }
    return (uint32_t)(h >> 32) & t->mask;
}

static void add_name(struct ferry_gate_sites *t, struct ferry_slice name,
                     const struct ferry_gate_site *site)
{
    uint32_t *at;

    if (name.len && name.p[0] == '*')
        name = ferry_slice_from(name, 1);
    at = &t->heads[hash(t, name)];
    while (*at) /* the first that was named comes first */
        at = &t->names[*at - 1].next;
    t->names[t->n] = (struct ferry__site_name){.name = name, .site = site};
    *at = ++t->n;
}

int ferry_gate_sites_new(const struct ferry_gate_site *sites, unsigned n,
                         struct ferry_gate_sites **out)
{
    struct ferry_gate_sites *t;
    uint32_t names = 0, size = 16;

    for (unsigned i = 0; i < n; i++)
        names += sites[i].nnames;
    while (size < names * 2)
        size *= 2;
    t = calloc(1, sizeof *t + names * sizeof *t->names);
    if (!t)
        return -ENOMEM;
    t->heads = calloc(size, sizeof *t->heads);
    if (!t->heads) {
        free(t);
        return -ENOMEM;
    }
    t->mask = size - 1;
    if (getrandom(&t->seed, sizeof t->seed, GRND_NONBLOCK) != sizeof t->seed)
        t->seed = (uintptr_t)t;
    for (unsigned i = 0; i < n; i++) {
        for (unsigned l = 0; l < FERRY_GATE_LISTENERS_MAX && !sites[i].nnames; l++)
            if (sites[i].listeners >> l & 1 && !t->defaults[l])
                t->defaults[l] = &sites[i];
        for (unsigned j = 0; j < sites[i].nnames; j++)
            add_name(t, ferry_slice_z(sites[i].names[j]), &sites[i]);
    }
    *out = t;
    return 0;
}

void ferry_gate_sites_free(struct ferry_gate_sites *t)
{
    if (!t)
        return;
    free(t->heads);
    free(t);
}

static const struct ferry_gate_site *find(const struct ferry_gate_sites *t, unsigned listener,
                                          struct ferry_slice name)
{
    for (uint32_t i = t->heads[hash(t, name)]; i; i = t->names[i - 1].next) {
        const struct ferry__site_name *at = &t->names[i - 1];

        if (at->site->listeners >> listener & 1 && ferry_slice_eq(at->name, name))
            return at->site;
    }
    return NULL;
}

/* The name alone, as names are compared: lower case, without a port and a last dot. */
static struct ferry_slice normal_name(struct ferry_slice host, char mem[NAME_LEN_MAX])
{
    size_t i = host.len;

    while (i > 0 && host.p[i - 1] >= '0' && host.p[i - 1] <= '9')
        i--;
    if (i > 0 && host.p[i - 1] == ':')
        host = ferry_slice_first(host, i - 1);
    if (host.len && host.p[host.len - 1] == '.')
        host.len--;
    if (host.len > NAME_LEN_MAX)
        return ferry_slice(mem, 0);
    for (i = 0; i < host.len; i++)
        mem[i] = ferry_ascii_lower(host.p[i]);
    return ferry_slice(mem, host.len);
}

/* Labels, each with something in it: else "*.example.org" would stand for ".example.org" and
 * "a..example.org", which are no names (RFC 1034, section 3.1). */
static bool is_name(struct ferry_slice name)
{
    if (name.len == 0 || name.p[0] == '.' || name.p[name.len - 1] == '.')
        return false;
    for (size_t i = 1; i < name.len; i++)
        if (name.p[i] == '.' && name.p[i - 1] == '.')
            return false;
    return true;
}

const struct ferry_gate_site *ferry_gate_site_find(const struct ferry_gate_sites *t,
                                                   unsigned listener, struct ferry_slice host)
{
    const struct ferry_gate_site *site;
    char mem[NAME_LEN_MAX];
    struct ferry_slice name;

    if (t->n == 0)
        return t->defaults[listener];
    name = normal_name(host, mem);
    if (!is_name(name))
        return t->defaults[listener];
    site = find(t, listener, name);
    while (!site && name.len) { /* the wildcard with the most labels first */
        name = ferry_slice_from(name, name.p[0] == '.');
        name = ferry_slice_from(name, ferry_slice_find(name, '.'));
        site = name.len ? find(t, listener, name) : NULL;
    }
    return site ? site : t->defaults[listener];
}

static bool fits(const char *pattern, struct ferry_slice path)
{
    struct ferry_slice p = ferry_slice_z(pattern);

    if (p.len && p.p[0] == '*')
        return p.len == 1 || ferry_slice_ends_nocase(path, ferry_slice_from(p, 1));
    if (p.len && p.p[p.len - 1] == '*')
        return ferry_slice_starts(path, ferry_slice_first(p, p.len - 1)) ||
               ferry_slice_eq(path, ferry_slice_first(p, p.len - 2));
    return ferry_slice_eq(p, path);
}

const struct ferry_gate_route *ferry_gate_route_find(const struct ferry_gate_site *site,
                                                     struct ferry_slice path)
{
    for (unsigned i = 0; i < site->nroutes; i++)
        if (fits(site->routes[i].pattern, path))
            return &site->routes[i];
    return NULL;
}
