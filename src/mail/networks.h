/* SPDX-License-Identifier: MIT */
#ifndef FERRY_MAIL_NETWORKS_H
#define FERRY_MAIL_NETWORKS_H

#include "mail/service.h"

/* Lists of networks, read once: "192.0.2.0/24", "::1", "[2001:db8::]/32", and "unix" for all that
 * comes by a Unix socket. */

struct ferry__network {
    uint8_t addr[16]; /* an IPv4 address as ::ffff:a.b.c.d */
    uint8_t bits;     /* of these 16 bytes */
};

struct ferry__networks {
    struct ferry__network *list;
    unsigned n;
    bool local;
};

/* 0; FERRY_EUSAGE with `why`, which names the first text that is no network; or -ENOMEM. `out` is
 * empty after a failure. */
FERRY_MUST_CHECK
int ferry__networks_read(const struct ferry_mail_networks *, struct ferry__networks *out, char *why,
                         size_t cap);
void ferry__networks_fini(struct ferry__networks *); /* any number of times */

bool ferry__networks_has(const struct ferry__networks *, const struct sockaddr *);

/* An address as the 16 bytes above; false for those that are not of IPv4 or IPv6. */
bool ferry__network_addr(const struct sockaddr *, uint8_t out[16]);

#endif
