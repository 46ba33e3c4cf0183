/* SPDX-License-Identifier: MIT */
/*
 * An application as its callers see it: addresses with their pools, and the threads that use them.
 *
 * A thread's part stays until the client is freed, whatever happens to its loop: closed, it is used
 * again by the next loop that takes its number. So other threads may look at it at any time.
 */
#include "client/client.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "client/pool.h"

#define THREADS_MAX 64
#define CONNECT_MS 5000

struct ferry_client_local {
    struct ferry_client *client;
    struct ferry_loop *loop; /* NULL: closed, or not joined yet */
    struct ferry_pool_local *pool;
    unsigned index;
    void (*closed)(void *);
    void *closed_arg;
    struct ferry_task tell; /* that it is closed */
};

struct ferry_client {
    struct ferry_pool *pool;
    unsigned threads_max;
    pthread_mutex_t lock; /* who has joined */
    struct ferry_client_local *locals;
};

static _Thread_local const char *why_not = "";

const char *ferry_client_why(void)
{
    return why_not;
}

/* -- making -- */

static int refuse(const char *why)
{
    why_not = why;
    return FERRY_EUSAGE;
}

static int read_address(const char *text, struct ferry_addr *out)
{
    const char *why = "";
    int err = ferry_addr_parse(text, false, out, &why);

    if (err < 0)
        return refuse(why);
    return out->fd >= 0 ? refuse("fd:N is for listening, not for connecting") : 0;
}

static struct ferry_pool *make_pool(const struct ferry_client_opts *o,
                                    const struct ferry_addr *addr, unsigned threads)
{
    struct ferry_pool_opts opts = {
        .addr = *addr,
        .multiplex = o->multiplex,
        .connections_max = o->connections_max,
        .queue_max = o->queue_max,
        .queue_timeout_ms = o->queue_timeout_ms,
        .idle_timeout_ms = o->idle_timeout_ms,
        .connect_ms = o->connect_ms ? o->connect_ms : CONNECT_MS,
        .first_byte_ms = o->first_byte_ms,
        .idle_ms = o->idle_ms,
        .total_ms = o->total_ms,
        .sharers = o->threads_max ? o->threads_max : FERRY__POOL_JOINED,
    };

    return ferry_pool_new(&opts, threads);
}

int ferry_client_new(const struct ferry_client_opts *given, struct ferry_client **out)
{
    struct ferry_client_opts o = {0};
    struct ferry_client *c;
    struct ferry_addr addr;
    int err;

    if (given->size < offsetof(struct ferry_client_opts, address) + sizeof o.address)
        return refuse("the options have no size");
    memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
    if (!o.address && o.naddresses == 1)
        o.address = o.addresses[0].text;
    if (!o.address)
        return refuse("no address is given");
    err = read_address(o.address, &addr);
    if (err < 0)
        return err;
    c = calloc(1, sizeof *c);
    if (!c)
        return -ENOMEM;
    pthread_mutex_init(&c->lock, NULL);
    c->threads_max = o.threads_max ? o.threads_max : THREADS_MAX;
    c->locals = calloc(c->threads_max + 1, sizeof *c->locals);
    c->pool = make_pool(&o, &addr, c->threads_max + 1);
    if (!c->locals || !c->pool) {
        ferry_client_free(c);
        return -ENOMEM;
    }
    *out = c;
    return 0;
}

void ferry_client_free(struct ferry_client *c)
{
    if (!c)
        return;
    for (unsigned i = 0; c->locals && i <= c->threads_max; i++)
        ferry_pool_local_free(c->locals[i].pool);
    ferry_pool_free(c->pool);
    free(c->locals);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* -- threads -- */

unsigned ferry_client_threads_max(const struct ferry_client *c)
{
    return c->threads_max;
}

static void tell_closed(struct ferry_task *task)
{
    struct ferry_client_local *l = ferry_container(task, struct ferry_client_local, tell);
    void (*closed)(void *) = l->closed;

    pthread_mutex_lock(&l->client->lock);
    l->loop = NULL;
    pthread_mutex_unlock(&l->client->lock);
    if (closed)
        closed(l->closed_arg);
}

static struct ferry_client_local *join(struct ferry_client *c, unsigned index,
                                       struct ferry_loop *loop)
{
    struct ferry_client_local *l = &c->locals[index];

    l->client = c;
    l->index = index;
    ferry_task_init(&l->tell, tell_closed);
    l->pool = ferry_pool_join(c->pool, index, loop);
    if (!l->pool)
        return NULL;
    l->loop = loop;
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

static void pool_closed(void *arg)
{
    struct ferry_client_local *l = arg;

    ferry_task_defer(l->loop, &l->tell);
}

void ferry_client_local_close(struct ferry_client_local *l, void (*closed)(void *), void *arg)
{
    l->closed = closed;
    l->closed_arg = arg;
    ferry_pool_local_close(l->pool, pool_closed, l);
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

void ferry_client_call(struct ferry_client_local *l, struct ferry_call *call,
                       struct ferry_slice key)
{
    (void)key;
    ferry_call_start(l->pool, call);
}
