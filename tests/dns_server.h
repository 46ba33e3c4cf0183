/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TESTS_DNS_SERVER_H
#define FERRY_TESTS_DNS_SERVER_H

/* A DNS server on loopback, in a thread, with a table for its zone. */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support.h"

enum { DNS_A = 1, DNS_CNAME = 5, DNS_PTR = 12, DNS_AAAA = 28, DNS_SRV = 33 };

struct dns_entry {
    const char *name; /* "a.test" */
    int type;
    unsigned ttl;
    const char *data; /* an address, or a name; of SRV "priority weight port name" */
};

struct dns_server {
    const struct dns_entry *_Atomic zone; /* up to an entry without a name */
    atomic_bool silent;                   /* it answers nothing */
    atomic_bool fails;                    /* SERVFAIL to all */
    atomic_uint questions;
    int fd;
    unsigned port;
    char address[32];
    pthread_t thread;
    atomic_bool stopping;
};

/* A name of a message, as text; returns where it ends, or 0. */
static inline size_t dns_read_name(const unsigned char *p, size_t n, size_t at, char *out,
                                   size_t cap)
{
    size_t len = 0;

    while (at < n && p[at] != 0) {
        size_t label = p[at++];

        if (label > 63 || at + label > n || len + label + 2 > cap)
            return 0;
        if (len)
            out[len++] = '.';
        for (size_t i = 0; i < label; i++) /* c-ares does not mix cases, but may one day */
            out[len++] = (char)(p[at + i] >= 'A' && p[at + i] <= 'Z' ? p[at + i] + 32 : p[at + i]);
        at += label;
    }
    out[len] = '\0';
    return at < n ? at + 1 : 0;
}

static inline size_t dns_write_name(unsigned char *p, const char *name)
{
    size_t n = 0;

    while (*name) {
        size_t label = strcspn(name, ".");

        p[n++] = (unsigned char)label;
        memcpy(p + n, name, label);
        n += label;
        name += label + (name[label] == '.');
    }
    p[n++] = 0;
    return n;
}

static inline size_t dns_write16(unsigned char *p, unsigned v)
{
    p[0] = (unsigned char)(v >> 8);
    p[1] = (unsigned char)v;
    return 2;
}

static inline size_t dns_write_service(unsigned char *p, const char *data)
{
    unsigned numbers[3] = {0};
    size_t n = 0;

    for (int i = 0; i < 3; i++) {
        while (*data >= '0' && *data <= '9')
            numbers[i] = numbers[i] * 10 + (unsigned)(*data++ - '0');
        data += *data == ' ';
        n += dns_write16(p + n, numbers[i]);
    }
    return n + dns_write_name(p + n, data);
}

static inline size_t dns_write_entry(unsigned char *p, const struct dns_entry *e)
{
    size_t n = dns_write_name(p, e->name), at, len;

    n += dns_write16(p + n, (unsigned)e->type);
    n += dns_write16(p + n, 1);
    n += dns_write16(p + n, e->ttl >> 16);
    n += dns_write16(p + n, e->ttl & 0xffff);
    at = n;
    n += 2;
    if (e->type == DNS_A)
        len = inet_pton(AF_INET, e->data, p + n) == 1 ? 4 : 0;
    else if (e->type == DNS_AAAA)
        len = inet_pton(AF_INET6, e->data, p + n) == 1 ? 16 : 0;
    else if (e->type == DNS_SRV)
        len = dns_write_service(p + n, e->data);
    else
        len = dns_write_name(p + n, e->data);
    dns_write16(p + at, (unsigned)len);
    return n + len;
}

/* Adds what the zone has for a name, following aliases. */
static inline unsigned dns_add(unsigned char *out, size_t *n, const struct dns_entry *zone,
                               const char *name, int type)
{
    unsigned added = 0;

    for (const struct dns_entry *e = zone; e->name; e++) {
        if (strcmp(e->name, name) != 0)
            continue;
        if (e->type == type || e->type == DNS_CNAME) {
            *n += dns_write_entry(out + *n, e);
            added++;
        }
        if (e->type == DNS_CNAME && type != DNS_CNAME)
            added += dns_add(out, n, zone, e->data, type);
    }
    return added;
}

static inline bool dns_knows(const struct dns_entry *zone, const char *name)
{
    for (; zone->name; zone++)
        if (strcmp(zone->name, name) == 0)
            return true;
    return false;
}

static inline size_t dns_reply(struct dns_server *s, const unsigned char *in, size_t len,
                               unsigned char *out)
{
    const struct dns_entry *zone = atomic_load(&s->zone);
    char name[256];
    size_t end = len > 12 ? dns_read_name(in, len, 12, name, sizeof name) : 0, n;
    unsigned answers = 0;
    int code = 0;

    if (!end || end + 4 > len)
        return 0;
    n = end + 4;
    memcpy(out, in, n);
    if (atomic_load(&s->fails))
        code = 2;
    else if (!dns_knows(zone, name))
        code = 3;
    else
        answers = dns_add(out, &n, zone, name, in[end] << 8 | in[end + 1]);
    out[2] = 0x84 | (in[2] & 1);
    out[3] = (unsigned char)(0x80 | code);
    dns_write16(out + 4, 1);
    dns_write16(out + 6, answers);
    dns_write16(out + 8, 0);
    dns_write16(out + 10, 0);
    return n;
}

static inline void *dns_run(void *arg)
{
    struct dns_server *s = arg;
    unsigned char in[1024], out[8192];

    while (!atomic_load(&s->stopping)) {
        struct pollfd p = {.fd = s->fd, .events = POLLIN};
        struct sockaddr_in from;
        socklen_t from_len = sizeof from;
        ssize_t n;
        size_t len;

        if (poll(&p, 1, 10) <= 0)
            continue;
        n = recvfrom(s->fd, in, sizeof in, 0, (struct sockaddr *)&from, &from_len);
        if (n <= 0)
            continue;
        atomic_fetch_add(&s->questions, 1);
        len = atomic_load(&s->silent) ? 0 : dns_reply(s, in, (size_t)n, out);
        if (len)
            sendto(s->fd, out, len, 0, (struct sockaddr *)&from, from_len);
    }
    return NULL;
}

static inline void dns_start(struct dns_server *s, const struct dns_entry *zone)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof in;

    *s = (struct dns_server){.zone = zone};
    s->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&in, &len), 0);
    s->port = ntohs(in.sin_port);
    snprintf(s->address, sizeof s->address, "127.0.0.1:%u", s->port);
    assert_int_equal(pthread_create(&s->thread, NULL, dns_run, s), 0);
}

static inline void dns_stop(struct dns_server *s)
{
    atomic_store(&s->stopping, true);
    pthread_join(s->thread, NULL);
    close(s->fd);
}

#endif
