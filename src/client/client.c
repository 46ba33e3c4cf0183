/* SPDX-License-Identifier: MIT */
/*
 * An application as its callers see it: addresses with their pools, and the threads that use them.
 *
 * A thread's part stays until the client is freed, whatever happens to its loop: closed, it is used
 * again by the next loop that takes its number. So other threads may look at it at any time.
 */
#include "client/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "client/addresses.h"

#define THREADS_MAX 64
#define CONNECT_MS 5000
#define FAILS_MAX 3
#define PING_MS 10000
#define WEIGHT_MAX 100
#define STICKY_ENTRIES 16384 /* see balance.c */

static _Thread_local const char *why_not = "";

const char *ferry_client_why(void)
{
    return why_not;
}

static int refuse(const char *why)
{
    why_not = why;
    return FERRY_EUSAGE;
}

/* -- targets -- */

static struct ferry_pool *make_pool(const struct ferry_client *c, const struct ferry_addr *addr)
{
    const struct ferry_client_opts *o = &c->opts;
    struct ferry_pool_opts opts = {
        .multiplex = o->multiplex,
        .connections_max = o->connections_max,
        .connections_min = o->connections_min,
        .queue_max = o->queue_max,
        .queue_timeout_ms = o->queue_timeout_ms,
        .idle_timeout_ms = o->idle_timeout_ms,
        .life_ms = o->life_ms,
        .requests_max = o->requests_max,
        .no_keep = o->no_keep,
        .connect_ms = o->connect_ms ? o->connect_ms : CONNECT_MS,
        .first_byte_ms = o->first_byte_ms,
        .idle_ms = o->idle_ms,
        .total_ms = o->total_ms,
        .fail_ms = o->fail_ms,
        .sharers = o->threads_max ? o->threads_max : FERRY__POOL_JOINED,
    };

    if (!c->single || c->ping) /* else there is no other to go to */
        opts.fails_max = o->fails_max ? o->fails_max : FAILS_MAX;
    if (addr)
        opts.addr = *addr;
    return ferry_pool_new(&opts, c->threads_max + 1);
}

static uint64_t identity_of(const struct ferry_addr *addr)
{
    char text[FERRY_ADDR_TEXT_MAX];

    return ferry__hash(text, ferry_addr_format(addr, text, sizeof text));
}

/* NULL: the address of a host that is not known yet. */
int ferry__client_add(struct ferry_client *c, const struct ferry_addr *addr, unsigned weight,
                      unsigned host)
{
    unsigned n = atomic_load(&c->ntargets), i;
    struct ferry__target *t = NULL;

    for (i = 0; addr && i < n && !t; i++)
        if (c->targets[i].host == host && host && atomic_load(&c->targets[i].gone))
            t = &c->targets[i];
    if (t) {
        ferry_pool_set_addr(t->pool, addr);
        atomic_store(&t->weight, weight);
        atomic_store(&t->identity, identity_of(addr));
        atomic_store(&t->gone, false);
        return (int)(t - c->targets);
    }
    if (n == FERRY__POOLS_MAX)
        return FERRY_ELIMIT;
    t = &c->targets[n];
    t->pool = make_pool(c, addr);
    if (!t->pool)
        return -ENOMEM;
    atomic_store(&t->weight, weight);
    t->host = host;
    atomic_store(&t->identity, addr ? identity_of(addr) : 0);
    atomic_store(&c->ntargets, n + 1); /* now others may look at it */
    return (int)n;
}

/* -- making -- */

/* "srv:_fastcgi._tcp.example.org" */
static bool is_service(const char *text, struct ferry_slice *name)
{
    if (strncmp(text, "srv:", 4) != 0 || text[4] != '_')
        return false;
    for (const char *p = text + 4; *p; p++)
        if (!(*p >= 'a' && *p <= 'z') && !(*p >= 'A' && *p <= 'Z') && !(*p >= '0' && *p <= '9') &&
            !(*p == '.' && p[1] != '.') && *p != '-' && *p != '_')
            return false;
    *name = ferry_slice_z(text + 4);
    return name->len < FERRY_LOOKUP_NAME_MAX && strchr(text, '.');
}

/* "name:port" with a name that is no number, or a service. */
static bool is_host(const char *text, struct ferry_slice *name, unsigned *port)
{
    const char *colon = strrchr(text, ':'), *end;
    uint64_t n;

    if (is_service(text, name)) {
        *port = 0;
        return true;
    }
    if (!colon || colon == text || strncmp(text, "unix:", 5) == 0 || *text == '/' || *text == '[')
        return false;
    for (const char *p = text; p < colon; p++)
        if (!(*p >= 'a' && *p <= 'z') && !(*p >= 'A' && *p <= 'Z') && !(*p >= '0' && *p <= '9') &&
            !strchr("-_.", *p))
            return false;
    end = colon;
    while (end > text && end[-1] != '.')
        end--;
    if (*end >= '0' && *end <= '9')
        return false; /* the last label of a name is no number: a misspelt address */
    if (ferry_slice_u64(ferry_slice_z(colon + 1), 65535, &n) < 0 || n == 0)
        return false;
    *name = ferry_slice(text, (size_t)(colon - text));
    *port = (unsigned)n;
    return name->len < FERRY_LOOKUP_NAME_MAX;
}

static int add_host(struct ferry_client *c, struct ferry_slice name, unsigned port, unsigned weight)
{
    struct ferry__host *h = &c->hosts[c->nhosts];

    h->name = strndup(name.p, name.len);
    if (!h->name)
        return -ENOMEM;
    h->port = port;
    h->weight = weight;
    c->nhosts++;
    return ferry__client_add(c, NULL, weight, c->nhosts);
}

static int add_address(struct ferry_client *c, const char *text, unsigned weight)
{
    struct ferry_slice name;
    struct ferry_addr addr;
    const char *why = "";
    unsigned port;
    int err;

    if (!text)
        return refuse("an address is missing");
    if (weight > WEIGHT_MAX)
        return refuse("a weight is more than 100");
    err = ferry_addr_parse(text, false, &addr, &why);
    if (err < 0 && is_host(text, &name, &port)) {
        err = add_host(c, name, port, weight ? weight : 1);
    } else if (err < 0) {
        return refuse(strncmp(text, "srv:", 4) ? why
                                               : "a service is srv:_fastcgi._tcp.example.org");
    } else if (addr.fd >= 0) {
        return refuse("fd:N is for listening, not for connecting");
    } else {
        err = ferry__client_add(c, &addr, weight ? weight : 1, 0);
    }
    return err == FERRY_ELIMIT ? refuse("there are more than 64 addresses") : err < 0 ? err : 0;
}

static int add_addresses(struct ferry_client *c, const struct ferry_client_opts *o)
{
    unsigned n = o->address ? 1 : o->naddresses;
    struct ferry_slice name;
    struct ferry_addr addr;
    const char *why;
    unsigned port;
    int err = 0;

    if (o->address && o->naddresses)
        return refuse("both address and addresses are given");
    if (n == 0)
        return refuse("no address is given");
    if (n == 1) {
        const char *text = o->address ? o->address : o->addresses[0].text;

        c->single = text && !(ferry_addr_parse(text, false, &addr, &why) < 0 &&
                              is_host(text, &name, &port));
    }
    for (unsigned i = 0; i < n && err == 0; i++)
        err = o->address ? add_address(c, o->address, 1)
                         : add_address(c, o->addresses[i].text, o->addresses[i].weight);
    return err;
}

static int fill(struct ferry_client *c, const struct ferry_client_opts *o)
{
    unsigned max = o->threads_max ? o->threads_max : THREADS_MAX;

    c->opts = *o;
    c->threads_max = max;
    if (!c->opts.ping_ms)
        c->opts.ping_ms = PING_MS;
    c->locals = calloc(max + 1, sizeof *c->locals);
    if (!c->locals)
        return -ENOMEM;
    for (unsigned i = 0; i <= max; i++)
        c->locals[i] = (struct ferry_client_local){.client = c, .index = i};
    if (o->ping) {
        c->ping = strdup(o->ping);
        if (!c->ping)
            return -ENOMEM;
    }
    if (o->name_servers) {
        c->name_servers = strdup(o->name_servers);
        if (!c->name_servers)
            return -ENOMEM;
    }
    if (o->balance == FERRY_BALANCE_STICKY) {
        c->sticky = calloc(STICKY_ENTRIES, sizeof *c->sticky);
        if (!c->sticky)
            return -ENOMEM;
    }
    return add_addresses(c, o);
}

int ferry_client_new(const struct ferry_client_opts *given, struct ferry_client **out)
{
    struct ferry_client_opts o = {0};
    struct ferry_client *c;
    int err;

    if (given->size < offsetof(struct ferry_client_opts, address) + sizeof o.address)
        return refuse("the options have no size");
    memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
    c = calloc(1, sizeof *c);
    if (!c)
        return -ENOMEM;
    pthread_mutex_init(&c->lock, NULL);
    err = fill(c, &o);
    if (err < 0) {
        ferry_client_free(c);
        return err;
    }
    *out = c;
    return 0;
}

void ferry_client_free(struct ferry_client *c)
{
    unsigned n;

    if (!c)
        return;
    n = atomic_load(&c->ntargets);
    for (unsigned i = 0; c->locals && i <= c->threads_max; i++)
        for (unsigned t = 0; t < n; t++)
            ferry_pool_local_free(c->locals[i].group.locals[t]);
    for (unsigned t = 0; t < n; t++)
        ferry_pool_free(c->targets[t].pool);
    for (unsigned i = 0; i < c->nhosts; i++)
        free(c->hosts[i].name);
    free(c->locals);
    free(c->sticky);
    free(c->ping);
    free(c->name_servers);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* -- threads -- */

unsigned ferry_client_threads_max(const struct ferry_client *c)
{
    return c->threads_max;
}

struct ferry_pool_local *ferry__client_part(struct ferry_client_local *l, unsigned target)
{
    struct ferry_pool_local *p = l->group.locals[target];

    if (l->open >> target & 1)
        return p;
    p = ferry_pool_join(l->client->targets[target].pool, l->index, l->loop);
    if (!p)
        return NULL;
    l->open |= UINT64_C(1) << target;
    l->group.locals[target] = p;
    if (target >= l->group.n)
        l->group.n = target + 1;
    if (!l->client->single) {
        p->group = &l->group;
        p->next_ticket = &l->group.tickets;
    }
    return p;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void on_timer(struct ferry_timer *t)
{
    struct ferry_client_local *l = ferry_container(t, struct ferry_client_local, timer);
    uint64_t now = ferry_loop_now(l->loop);

    ferry_timer_set(l->loop, t, sooner(ferry__names_look(l, now), ferry__pings_look(l, now)));
}

static void tell_closed(struct ferry_task *task)
{
    struct ferry_client_local *l = ferry_container(task, struct ferry_client_local, tell);
    void (*closed)(void *) = l->closed;
    void *arg = l->closed_arg;

    l->open = 0;
    pthread_mutex_lock(&l->client->lock);
    l->loop = NULL; /* from here on it may be another thread's */
    pthread_mutex_unlock(&l->client->lock);
    if (closed)
        closed(arg);
}

static struct ferry_client_local *join(struct ferry_client *c, unsigned index,
                                       struct ferry_loop *loop)
{
    struct ferry_client_local *l = &c->locals[index];

    l->loop = loop;
    l->closing = false;
    ferry_task_init(&l->tell, tell_closed);
    ferry_timer_init(&l->timer, on_timer);
    ferry_list_init(&l->pings);
    ferry_list_init(&l->lookups);
    l->single = ferry__client_part(l, 0);
    if (!l->single) {
        l->loop = NULL;
        return NULL;
    }
    if (!c->single)
        l->single = NULL;
    if (c->nhosts || c->ping)
        ferry_timer_set(loop, &l->timer, ferry_loop_now(loop));
    return l;
}

struct ferry_client_local *ferry_client_join_as(struct ferry_client *c, unsigned index,
                                                struct ferry_loop *loop)
{
    struct ferry_client_local *l;

    ferry_assert(index <= c->threads_max);
    pthread_mutex_lock(&c->lock);
    ferry_assert(!c->locals[index].loop);
    l = join(c, index, loop);
    pthread_mutex_unlock(&c->lock);
    return l;
}

int ferry_client_local(struct ferry_client *c, struct ferry_loop *loop,
                       struct ferry_client_local **out)
{
    struct ferry_client_local *l = NULL;
    unsigned i, spare = c->threads_max;
    int err = 0;

    pthread_mutex_lock(&c->lock);
    for (i = c->threads_max + 1; i-- > 0;) {
        if (c->locals[i].loop == loop) {
            l = &c->locals[i];
            break;
        }
        if (i < c->threads_max && !c->locals[i].loop)
            spare = i;
    }
    if (!l && spare == c->threads_max)
        err = FERRY_ELIMIT;
    else if (!l && !(l = join(c, spare, loop)))
        err = -ENOMEM;
    pthread_mutex_unlock(&c->lock);
    *out = l;
    return err;
}

int ferry_client_join(struct ferry_client *c, struct ferry_loop *loop)
{
    struct ferry_client_local *l;

    return ferry_client_local(c, loop, &l);
}

void ferry__client_part_closed(struct ferry_client_local *l)
{
    if (--l->left == 0)
        ferry_task_defer(l->loop, &l->tell);
}

static void pool_closed(void *arg)
{
    ferry__client_part_closed(arg);
}

void ferry_client_local_close(struct ferry_client_local *l, void (*closed)(void *), void *arg)
{
    l->closing = true;
    l->closed = closed;
    l->closed_arg = arg;
    l->left = 1; /* this function */
    ferry_timer_stop(&l->timer);
    ferry__names_close(l);
    ferry__pings_close(l);
    for (unsigned i = 0; i < l->group.n; i++) {
        if (!(l->open >> i & 1))
            continue;
        l->left++;
        ferry_pool_local_close(l->group.locals[i], pool_closed, l);
    }
    ferry__client_part_closed(l);
}

void ferry_client_close(struct ferry_client *c, struct ferry_loop *loop, void (*closed)(void *),
                        void *arg)
{
    struct ferry_client_local *l;

    if (ferry_client_local(c, loop, &l) == 0)
        ferry_client_local_close(l, closed, arg);
    else if (closed)
        closed(arg); /* it never had anything here */
}

/* -- calls -- */

static bool is_keyed(const struct ferry_client *c, struct ferry_slice key)
{
    return key.len &&
           (c->opts.balance == FERRY_BALANCE_HASH || c->opts.balance == FERRY_BALANCE_STICKY);
}

void ferry_client_call(struct ferry_client_local *l, struct ferry_call *call,
                       struct ferry_slice key)
{
    struct ferry_pool_local *p;
    int i;

    if (l->single) {
        ferry_call_start(l->single, call);
        return;
    }
    i = ferry__balance(l, key, 0);
    p = i < 0 ? NULL : ferry__client_part(l, (unsigned)i);
    if (!p) { /* the first has been there since we joined */
        i = 0;
        p = ferry__client_part(l, 0);
    }
    call->client = l;
    call->tried = UINT64_C(1) << i;
    call->keyed = is_keyed(l->client, key);
    ferry__queue_start(p, call);
}

bool ferry__call_elsewhere(struct ferry_call *call)
{
    struct ferry_client_local *l = call->client;
    struct ferry_pool_local *p;
    int i = l->closing ? -1 : ferry__balance(l, ferry_slice(NULL, 0), call->tried);

    if (i < 0)
        return false;
    call->tried |= UINT64_C(1) << i;
    p = ferry__client_part(l, (unsigned)i);
    if (!p || p->closing)
        return false;
    ferry__queue_take(p, call);
    return true;
}

/* -- statistics -- */

void ferry_client_stats(const struct ferry_client *c, struct ferry_client_stats *out)
{
    uint64_t now = ferry_now_us() / 1000;
    unsigned n = atomic_load(&c->ntargets);

    *out = (struct ferry_client_stats){0};
    for (unsigned i = 0; i < n; i++) {
        const struct ferry__target *t = &c->targets[i];

        ferry_pool_stats(t->pool, out);
        if (atomic_load(&t->gone))
            continue;
        out->addresses++;
        out->down += ferry__health_of(t->pool, now) == FERRY__DOWN;
    }
}
