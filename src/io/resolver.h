/* SPDX-License-Identifier: MIT */
#ifndef FERRY_IO_RESOLVER_H
#define FERRY_IO_RESOLVER_H

#include "io/addr.h"
#include "io/loop.h"

/*
 * Names and addresses by the DNS, on a loop: nothing here waits (but for /etc/resolv.conf and
 * /etc/hosts to be read). One resolver a loop is enough; it belongs to the loop's thread.
 */

struct ferry_resolver;

#define FERRY_LOOKUP_ADDRS_MAX 64
#define FERRY_LOOKUP_NAME_MAX 256
#define FERRY_LOOKUP_WEIGHT_MAX 100
#define FERRY_LOOKUP_SERVICES_MAX 16 /* records of one answer that are looked at */

/*
 * With these servers ("127.0.0.1:5353, [::1]:53"), or the system's when NULL. 0; FERRY_EUSAGE for
 * servers that are none; -ENOMEM or -errno.
 */
FERRY_MUST_CHECK
int ferry_resolver_new(struct ferry_loop *, const char *servers, struct ferry_resolver **out);

/* Are these servers, as above? 0, FERRY_EUSAGE or -ENOMEM. */
FERRY_MUST_CHECK
int ferry_resolver_check(const char *servers);

/* Cancels what is under way; `closed` (which may be NULL) is called from the loop when the resolver
 * is gone. */
void ferry_resolver_free(struct ferry_resolver *, void (*closed)(void *), void *arg);

struct ferry_lookup;

struct ferry_lookup_result {
    int err; /* 0; -ENOENT: there is none; -ETIMEDOUT; FERRY_EREMOTE: the servers fail; -ENOMEM;
                FERRY_EUSAGE: no name */
    const struct ferry_addr *addrs; /* of a name: in the order of preference, with the port */
    unsigned naddrs;
    const unsigned *weights; /* of a service: 1 to FERRY_LOOKUP_WEIGHT_MAX, of each address */
    unsigned ttl_s;          /* how long they are good; 0: not said (/etc/hosts, a numeric host) */
    const char *name;        /* of an address, in small letters, without the last dot */
};

/* One question; embedded in its owner, who sets `done`: it is called once, from the loop, unless
 * the lookup is cancelled, and the result lives during the call. */
struct ferry_lookup {
    void (*done)(struct ferry_lookup *, const struct ferry_lookup_result *);
    /* the resolver's own */
    struct ferry__query *query;
};

/* Starts: the addresses (IPv4 and IPv6) of a host. 0, and `done` follows, or -ENOMEM. */
FERRY_MUST_CHECK
int ferry_lookup_host(struct ferry_resolver *, struct ferry_lookup *, const char *host,
                      unsigned port, unsigned timeout_ms);

/*
 * Starts: the addresses of a service, "_fastcgi._tcp.example.org" (SRV, RFC 2782): those of the
 * records with the lowest priority, with their ports and weights; where none of these has any,
 * those of the next. Weights are scaled to 1 to FERRY_LOOKUP_WEIGHT_MAX. 0, and `done` follows, or
 * -ENOMEM.
 */
FERRY_MUST_CHECK
int ferry_lookup_service(struct ferry_resolver *, struct ferry_lookup *, const char *service,
                         unsigned timeout_ms);

/*
 * Starts: the name of an address (PTR). `confirm`: it counts only when the address is among those
 * of the name, since anybody may claim any name for an own address. Names with other characters
 * than letters, digits, '-', '_' and '.' are none. -ENOENT for Unix addresses. 0 or -ENOMEM.
 */
FERRY_MUST_CHECK
int ferry_lookup_name(struct ferry_resolver *, struct ferry_lookup *, const struct ferry_addr *,
                      bool confirm, unsigned timeout_ms);

/* `done` is not called any more. Does nothing for one that is over. */
void ferry_lookup_cancel(struct ferry_lookup *);

#endif
