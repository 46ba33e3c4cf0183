/* SPDX-License-Identifier: MIT */
/*
 * c-ares on the loop. Its sockets are in an epoll set of their own, whose descriptor the loop
 * watches: that tells of writing too, which only c-ares' TCP sockets wait for.
 *
 * c-ares may answer from within a question and cannot forget a single one. So each question has a
 * query of its own on the heap, which outlives a lookup that is cancelled, and the answer is told
 * by a task.
 */
#include "io/resolver.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/machine.h"

#define EVENTS_MAX 16
#define SERVER_TIMEOUT_MS 2000
#define TRIES 3

struct ferry_resolver {
    struct ferry_loop *loop;
    ares_channel channel;
    int epoll_fd;
    struct ferry_watch watch;
    struct ferry_timer timer; /* c-ares' own: to ask again, or another server */
    struct ferry_list queries;
    void (*closed)(void *);
    void *closed_arg;
};

/* A record of a service. */
struct service {
    unsigned priority, weight, port;
    char name[FERRY_LOOKUP_NAME_MAX + 1];
};

struct ferry__query {
    struct ferry_resolver *resolver;
    struct ferry_lookup *lookup; /* NULL: cancelled */
    struct ferry_list link;
    struct ferry_task tell;
    struct ferry_timer timer;
    bool asking; /* c-ares has it */
    bool confirm;
    unsigned port;
    struct ferry_addr subject;
    struct ferry_lookup_result result;
    char name[FERRY_LOOKUP_NAME_MAX];
    struct ferry_addr addrs[FERRY_LOOKUP_ADDRS_MAX];
    struct service *services; /* by priority; `service` is the one whose addresses are asked for */
    unsigned nservices, service;
    unsigned weights[FERRY_LOOKUP_ADDRS_MAX];
};

/* -- c-ares and the loop -- */

static void settle(struct ferry_resolver *r)
{
    struct timeval tv, *left = ares_timeout(r->channel, NULL, &tv);
    uint64_t now = ferry_now_us() / 1000;

    ferry_timer_set(r->loop, &r->timer,
                    left ? now + (uint64_t)left->tv_sec * 1000 + (uint64_t)left->tv_usec / 1000 + 1
                         : FERRY_NEVER);
}

static void on_socket(void *arg, ares_socket_t fd, int readable, int writable)
{
    struct ferry_resolver *r = arg;
    struct epoll_event ev = {.data.fd = fd};

    if (readable)
        ev.events |= EPOLLIN;
    if (writable)
        ev.events |= EPOLLOUT;
    if (!ev.events)
        epoll_ctl(r->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
    else if (epoll_ctl(r->epoll_fd, EPOLL_CTL_MOD, fd, &ev) < 0)
        epoll_ctl(r->epoll_fd, EPOLL_CTL_ADD, fd, &ev);
}

static void on_readable(struct ferry_watch *w)
{
    struct ferry_resolver *r = ferry_container(w, struct ferry_resolver, watch);
    struct epoll_event ev[EVENTS_MAX];
    int n = epoll_wait(r->epoll_fd, ev, EVENTS_MAX, 0);

    for (int i = 0; i < n; i++)
        ares_process_fd(r->channel,
                        ev[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP) ? ev[i].data.fd
                                                                       : ARES_SOCKET_BAD,
                        ev[i].events & EPOLLOUT ? ev[i].data.fd : ARES_SOCKET_BAD);
    settle(r);
}

static void on_timer(struct ferry_timer *t)
{
    struct ferry_resolver *r = ferry_container(t, struct ferry_resolver, timer);

    ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    settle(r);
}

/* -- queries -- */

static void query_free(struct ferry__query *q)
{
    ferry_list_remove(&q->link);
    ferry_task_cancel(&q->tell);
    ferry_timer_stop(&q->timer);
    free(q->services);
    free(q);
}

static void forget(struct ferry__query *q)
{
    if (q->lookup)
        q->lookup->query = NULL;
    q->lookup = NULL;
    ferry_timer_stop(&q->timer);
    if (!q->asking)
        query_free(q);
}

static void tell(struct ferry_task *task)
{
    struct ferry__query *q = ferry_container(task, struct ferry__query, tell);
    struct ferry_lookup *lookup = q->lookup;

    lookup->query = NULL;
    q->lookup = NULL;
    lookup->done(lookup, &q->result);
    query_free(q);
}

static void answer(struct ferry__query *q, int err)
{
    q->result.err = err;
    if (q->lookup)
        ferry_task_defer(q->resolver->loop, &q->tell);
    else
        query_free(q);
}

static void on_deadline(struct ferry_timer *t)
{
    struct ferry__query *q = ferry_container(t, struct ferry__query, timer);
    struct ferry_lookup *lookup = q->lookup;
    struct ferry_lookup_result result = {.err = -ETIMEDOUT};

    forget(q);
    lookup->done(lookup, &result);
}

static int query_new(struct ferry_resolver *r, struct ferry_lookup *lookup, unsigned timeout_ms,
                     struct ferry__query **out)
{
    struct ferry__query *q = calloc(1, sizeof *q);

    if (!q)
        return -ENOMEM;
    q->resolver = r;
    q->lookup = lookup;
    lookup->query = q;
    ferry_list_push(&r->queries, &q->link);
    ferry_task_init(&q->tell, tell);
    ferry_timer_init(&q->timer, on_deadline);
    ferry_timer_set(r->loop, &q->timer, ferry_now_us() / 1000 + timeout_ms);
    *out = q;
    return 0;
}

static int error_of(int status)
{
    switch (status) {
    case ARES_SUCCESS:
        return 0;
    case ARES_ENODATA:
    case ARES_ENOTFOUND:
    case ARES_ENONAME:
        return -ENOENT;
    case ARES_ETIMEOUT:
        return -ETIMEDOUT;
    case ARES_ENOMEM:
        return -ENOMEM;
    case ARES_EBADNAME:
    case ARES_EBADQUERY:
        return FERRY_EUSAGE;
    default:
        return FERRY_EREMOTE;
    }
}

/* -- the addresses of a host -- */

static bool take_address(struct ferry__query *q, const struct ares_addrinfo_node *node)
{
    struct ferry_addr *a = &q->addrs[q->result.naddrs];

    if (q->result.naddrs == FERRY_LOOKUP_ADDRS_MAX || node->ai_addrlen > sizeof a->un)
        return false;
    *a = (struct ferry_addr){.len = node->ai_addrlen, .fd = -1};
    memcpy(&a->any, node->ai_addr, node->ai_addrlen);
    if (a->any.sa_family == AF_INET)
        a->in.sin_port = htons((uint16_t)q->port);
    else if (a->any.sa_family == AF_INET6)
        a->in6.sin6_port = htons((uint16_t)q->port);
    else
        return false;
    q->result.naddrs++;
    return true;
}

static void take_addresses(struct ferry__query *q, const struct ares_addrinfo *info)
{
    unsigned ttl = UINT32_MAX;

    for (const struct ares_addrinfo_cname *c = info->cnames; c; c = c->next)
        if (c->ttl >= 0 && (unsigned)c->ttl < ttl)
            ttl = (unsigned)c->ttl;
    for (const struct ares_addrinfo_node *n = info->nodes; n; n = n->ai_next)
        if (take_address(q, n) && n->ai_ttl >= 0 && (unsigned)n->ai_ttl < ttl)
            ttl = (unsigned)n->ai_ttl;
    q->result.addrs = q->addrs;
    q->result.ttl_s = ttl == UINT32_MAX ? 0 : ttl;
}

/* True when the query goes on. */
static bool asked(struct ferry__query *q, int status, struct ares_addrinfo *info)
{
    q->asking = false;
    if (status == ARES_EDESTRUCTION) {
        ares_freeaddrinfo(info);
        query_free(q);
        return false;
    }
    if (status == ARES_SUCCESS && info)
        take_addresses(q, info);
    ares_freeaddrinfo(info);
    return true;
}

static void on_addresses(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
    struct ferry__query *q = arg;
    int err;

    (void)timeouts;
    if (!asked(q, status, info))
        return;
    err = error_of(status);
    answer(q, err == 0 && q->result.naddrs == 0 ? -ENOENT : err);
}

int ferry_lookup_host(struct ferry_resolver *r, struct ferry_lookup *lookup, const char *host,
                      unsigned port, unsigned timeout_ms)
{
    struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct ferry__query *q;
    int err = query_new(r, lookup, timeout_ms, &q);

    if (err < 0)
        return err;
    q->port = port;
    q->asking = true;
    ares_getaddrinfo(r->channel, host, NULL, &hints, on_addresses, q);
    settle(r);
    return 0;
}

/* -- the addresses of a service -- */

static unsigned sooner(unsigned a_s, unsigned b_s)
{
    return a_s == 0 ? b_s : b_s == 0 || a_s < b_s ? a_s : b_s;
}

/* How long the answer is good: c-ares tells of its records, but not that. 0: it cannot be read. */
static unsigned ttl_of(const unsigned char *p, int len)
{
    unsigned ttl = UINT32_MAX, questions, answers;
    const unsigned char *at = p + NS_HFIXEDSZ, *end = p + len;
    char *name;
    long n;

    if (len < NS_HFIXEDSZ)
        return 0;
    questions = (unsigned)p[4] << 8 | p[5];
    answers = (unsigned)p[6] << 8 | p[7];
    for (unsigned i = 0; i < questions + answers; i++) {
        unsigned this_s;

        if (at >= end || ares_expand_name(at, p, len, &name, &n) != ARES_SUCCESS)
            return 0;
        ares_free_string(name);
        at += n;
        if (end - at < (i < questions ? NS_QFIXEDSZ : NS_RRFIXEDSZ))
            return 0;
        if (i < questions) {
            at += NS_QFIXEDSZ;
            continue;
        }
        this_s = (unsigned)at[4] << 24 | (unsigned)at[5] << 16 | (unsigned)at[6] << 8 | at[7];
        ttl = this_s < ttl ? this_s : ttl;
        n = at[8] << 8 | at[9];
        if (end - at - NS_RRFIXEDSZ < n)
            return 0;
        at += NS_RRFIXEDSZ + n;
    }
    return answers ? ttl : 0;
}

static int by_priority(const void *a, const void *b)
{
    const struct service *x = a, *y = b;

    return (x->priority > y->priority) - (x->priority < y->priority);
}

static int take_services(struct ferry__query *q, const unsigned char *p, int len)
{
    struct ares_srv_reply *all = NULL;
    int err = error_of(ares_parse_srv_reply(p, len, &all));

    q->services = err == 0 ? calloc(FERRY_LOOKUP_SERVICES_MAX, sizeof *q->services) : NULL;
    if (err == 0 && !q->services)
        err = -ENOMEM;
    for (const struct ares_srv_reply *s = all;
         err == 0 && s && q->nservices < FERRY_LOOKUP_SERVICES_MAX; s = s->next) {
        struct service *to = &q->services[q->nservices];

        /* A target of "." says that there is no such service. */
        if (s->port == 0 || !s->host[0] || strlen(s->host) >= FERRY_LOOKUP_NAME_MAX)
            continue;
        /* With a last dot, or the domains of resolv.conf would be tried behind it. */
        snprintf(to->name, sizeof to->name, "%s.", s->host);
        to->priority = s->priority;
        to->weight = s->weight;
        to->port = s->port;
        q->nservices++;
    }
    ares_free_data(all);
    if (q->nservices)
        qsort(q->services, q->nservices, sizeof *q->services, by_priority);
    q->result.ttl_s = ttl_of(p, len);
    return err;
}

static void scale_weights(struct ferry__query *q)
{
    unsigned most = FERRY_LOOKUP_WEIGHT_MAX;

    for (unsigned i = 0; i < q->result.naddrs; i++)
        most = q->weights[i] > most ? q->weights[i] : most;
    for (unsigned i = 0; i < q->result.naddrs; i++) {
        unsigned scaled = q->weights[i] * FERRY_LOOKUP_WEIGHT_MAX / most;

        q->weights[i] = scaled ? scaled : 1; /* a small chance, as the RFC wants for 0 */
    }
    q->result.weights = q->weights;
}

static void on_service_addresses(void *arg, int status, int timeouts, struct ares_addrinfo *info);

static void ask_for_service(struct ferry__query *q, int err)
{
    struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    const struct service *s = &q->services[q->service];

    if (q->lookup && q->service < q->nservices &&
        (q->result.naddrs == 0 || s->priority == s[-1].priority)) {
        q->port = s->port;
        q->asking = true;
        ares_getaddrinfo(q->resolver->channel, s->name, NULL, &hints, on_service_addresses, q);
        return;
    }
    scale_weights(q);
    answer(q, q->result.naddrs ? 0 : err < 0 ? err : -ENOENT);
}

static void on_service_addresses(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
    struct ferry__query *q = arg;
    unsigned before = q->result.naddrs, ttl_s = q->result.ttl_s;

    (void)timeouts;
    if (!asked(q, status, info))
        return;
    q->result.ttl_s = q->result.naddrs > before ? sooner(ttl_s, q->result.ttl_s) : ttl_s;
    for (unsigned i = before; i < q->result.naddrs; i++)
        q->weights[i] = q->services[q->service].weight;
    q->service++;
    ask_for_service(q, error_of(status));
}

static void on_services(void *arg, int status, int timeouts, unsigned char *p, int len)
{
    struct ferry__query *q = arg;
    int err;

    (void)timeouts;
    if (!asked(q, status, NULL))
        return;
    err = error_of(status);
    if (err == 0)
        err = take_services(q, p, len);
    if (err < 0)
        answer(q, err);
    else
        ask_for_service(q, 0);
}

int ferry_lookup_service(struct ferry_resolver *r, struct ferry_lookup *lookup, const char *service,
                         unsigned timeout_ms)
{
    struct ferry__query *q;
    int err = query_new(r, lookup, timeout_ms, &q);

    if (err < 0)
        return err;
    q->asking = true;
    ares_query(r->channel, service, ns_c_in, ns_t_srv, on_services, q);
    settle(r);
    return 0;
}

/* -- the name of an address -- */

static bool same_host(const struct ferry_addr *a, const struct ferry_addr *b)
{
    if (a->any.sa_family != b->any.sa_family)
        return false;
    if (a->any.sa_family == AF_INET)
        return a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
    return memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof a->in6.sin6_addr) == 0;
}

static void on_confirmed(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
    struct ferry__query *q = arg;
    bool found = false;
    int err;

    (void)timeouts;
    if (!asked(q, status, info))
        return;
    err = error_of(status);
    for (unsigned i = 0; i < q->result.naddrs; i++)
        found = found || same_host(&q->addrs[i], &q->subject);
    q->result.addrs = NULL;
    q->result.naddrs = 0;
    if (err == 0 && found)
        q->result.name = q->name;
    answer(q, err == 0 && !found ? -ENOENT : err);
}

static bool take_name(struct ferry__query *q, const char *name)
{
    size_t n = 0;

    for (; name[n]; n++) {
        char c = name[n];

        if (n >= sizeof q->name - 2)
            return false;
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        else if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && !strchr("-_.", c))
            return false;
        q->name[n] = c;
    }
    if (n > 0 && q->name[n - 1] == '.')
        n--;
    q->name[n] = '\0';
    return n > 0;
}

static void confirm(struct ferry__query *q)
{
    struct ares_addrinfo_hints hints = {.ai_family = q->subject.any.sa_family,
                                        .ai_socktype = SOCK_STREAM};
    char whole[FERRY_LOOKUP_NAME_MAX + 1];

    /* With its last dot, or the domains of resolv.conf would be tried behind it. */
    snprintf(whole, sizeof whole, "%s.", q->name);
    q->asking = true;
    ares_getaddrinfo(q->resolver->channel, whole, NULL, &hints, on_confirmed, q);
}

static void on_name(void *arg, int status, int timeouts, struct hostent *host)
{
    struct ferry__query *q = arg;
    int err;

    (void)timeouts;
    if (!asked(q, status, NULL))
        return;
    err = status == ARES_EBADRESP ? -ENOENT : error_of(status); /* so c-ares finds odd names */
    if (err == 0 && (!host || !host->h_name || !take_name(q, host->h_name)))
        err = -ENOENT;
    if (err == 0 && q->confirm && q->lookup) {
        confirm(q);
        return;
    }
    if (err == 0)
        q->result.name = q->name;
    answer(q, err);
}

int ferry_lookup_name(struct ferry_resolver *r, struct ferry_lookup *lookup,
                      const struct ferry_addr *addr, bool confirm_it, unsigned timeout_ms)
{
    struct ferry__query *q;
    int err = query_new(r, lookup, timeout_ms, &q);

    if (err < 0)
        return err;
    q->subject = *addr;
    q->confirm = confirm_it;
    q->asking = true;
    if (addr->any.sa_family == AF_INET)
        ares_gethostbyaddr(r->channel, &addr->in.sin_addr, sizeof addr->in.sin_addr, AF_INET,
                           on_name, q);
    else if (addr->any.sa_family == AF_INET6)
        ares_gethostbyaddr(r->channel, &addr->in6.sin6_addr, sizeof addr->in6.sin6_addr, AF_INET6,
                           on_name, q);
    else
        on_name(q, ARES_ENOTFOUND, 0, NULL);
    settle(r);
    return 0;
}

void ferry_lookup_cancel(struct ferry_lookup *lookup)
{
    if (lookup->query)
        forget(lookup->query);
}

/* -- making and closing -- */

static int set_servers(ares_channel channel, const char *servers)
{
    int status = ares_set_servers_ports_csv(channel, servers);

    if (status == ARES_SUCCESS)
        return 0;
    return status == ARES_ENOMEM ? -ENOMEM : FERRY_EUSAGE;
}

static int open_channel(struct ferry_resolver *r, const char *servers)
{
    struct ares_options opts = {.sock_state_cb = on_socket,
                                .sock_state_cb_data = r,
                                .timeout = SERVER_TIMEOUT_MS,
                                .tries = TRIES};
    int status = ares_init_options(&r->channel, &opts,
                                   ARES_OPT_SOCK_STATE_CB | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES);
    int err;

    if (status != ARES_SUCCESS)
        return status == ARES_ENOMEM ? -ENOMEM : FERRY_EREMOTE;
    err = servers ? set_servers(r->channel, servers) : 0;
    if (err < 0)
        ares_destroy(r->channel);
    return err;
}

int ferry_resolver_check(const char *servers)
{
    ares_channel channel;
    int err = ares_init(&channel);

    if (err != ARES_SUCCESS) /* as on a machine without resolv.conf: it is looked at when asked */
        return err == ARES_ENOMEM ? -ENOMEM : 0;
    err = set_servers(channel, servers);
    ares_destroy(channel);
    return err;
}

static void on_watch_closed(struct ferry_watch *w)
{
    struct ferry_resolver *r = ferry_container(w, struct ferry_resolver, watch);
    void (*closed)(void *) = r->closed;
    void *arg = r->closed_arg;

    close(r->epoll_fd);
    free(r);
    if (closed)
        closed(arg);
}

int ferry_resolver_new(struct ferry_loop *loop, const char *servers, struct ferry_resolver **out)
{
    struct ferry_resolver *r = calloc(1, sizeof *r);
    int err;

    if (!r)
        return -ENOMEM;
    r->loop = loop;
    ferry_list_init(&r->queries);
    ferry_timer_init(&r->timer, on_timer);
    r->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (r->epoll_fd < 0) {
        err = -errno;
        goto fail;
    }
    err = open_channel(r, servers);
    if (err < 0)
        goto fail;
    r->watch.readable = on_readable;
    r->watch.closed = on_watch_closed;
    err = ferry_watch_open(loop, &r->watch, r->epoll_fd);
    if (err < 0) {
        ares_destroy(r->channel);
        goto fail;
    }
    *out = r;
    return 0;
fail:
    if (r->epoll_fd >= 0)
        close(r->epoll_fd);
    free(r);
    return err;
}

void ferry_resolver_free(struct ferry_resolver *r, void (*closed)(void *), void *arg)
{
    struct ferry_list *link;

    r->closed = closed;
    r->closed_arg = arg;
    ferry_list_each (at, next, &r->queries) {
        struct ferry__query *q = ferry_container(at, struct ferry__query, link);

        if (q->lookup)
            q->lookup->query = NULL;
        q->lookup = NULL;
    }
    ares_destroy(r->channel); /* tells those that it has, which go */
    while ((link = ferry_list_first(&r->queries)))
        query_free(ferry_container(link, struct ferry__query, link));
    ferry_timer_stop(&r->timer);
    ferry_watch_close(&r->watch);
}
