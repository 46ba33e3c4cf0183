/* SPDX-License-Identifier: MIT */
/*
 * FCGI_WEB_SERVER_ADDRS. IPv4 addresses are kept in their IPv6 form, so that a dual-stack socket's
 * ::ffff:10.0.0.1 and an IPv4 socket's 10.0.0.1 are the same peer, and all sixteen bytes are
 * compared.
 */
#include "app/addrs.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/slice.h"

static void map_v4(const struct in_addr *v4, struct in6_addr *out)
{
    memset(out, 0, sizeof *out);
    out->s6_addr[10] = out->s6_addr[11] = 0xff;
    memcpy(&out->s6_addr[12], v4, sizeof *v4);
}

static int parse_one(struct ferry_slice s, struct in6_addr *out)
{
    char z[INET6_ADDRSTRLEN];
    struct in_addr v4;

    s = ferry_slice_trim(s);
    if (s.len == 0 || s.len >= sizeof z || memchr(s.p, 0, s.len))
        return FERRY_EUSAGE;
    memcpy(z, s.p, s.len);
    z[s.len] = 0;
    if (inet_pton(AF_INET, z, &v4) == 1) {
        map_v4(&v4, out);
        return 0;
    }
    return inet_pton(AF_INET6, z, out) == 1 ? 0 : FERRY_EUSAGE;
}

int ferry__addrs_parse(struct ferry__addrs *a, const char *text)
{
    struct ferry_slice rest = ferry_slice_z(text);
    unsigned n = 1;

    *a = (struct ferry__addrs){0};
    if (rest.len == 0)
        return 0;
    for (size_t i = 0; i < rest.len; i++)
        n += rest.p[i] == ',';
    if (n > FERRY__ADDRS_MAX)
        return FERRY_ELIMIT;
    a->list = calloc(n, sizeof *a->list);
    if (!a->list)
        return -ENOMEM;
    while (a->n < n) {
        size_t comma = ferry_slice_find(rest, ',');
        int err = parse_one(ferry_slice_first(rest, comma), &a->list[a->n]);

        if (err < 0) {
            ferry__addrs_fini(a);
            return err;
        }
        a->n++;
        rest = ferry_slice_from(rest, comma + 1);
    }
    return 0;
}

void ferry__addrs_fini(struct ferry__addrs *a)
{
    free(a->list);
    *a = (struct ferry__addrs){0};
}

bool ferry__addrs_allow(const struct ferry__addrs *a, const struct sockaddr *peer)
{
    struct in6_addr ip;

    if (!a->list)
        return true;
    if (peer->sa_family == AF_INET)
        map_v4(&((const struct sockaddr_in *)peer)->sin_addr, &ip);
    else if (peer->sa_family == AF_INET6)
        ip = ((const struct sockaddr_in6 *)peer)->sin6_addr;
    else
        return false;
    for (unsigned i = 0; i < a->n; i++)
        if (memcmp(&a->list[i], &ip, sizeof ip) == 0)
            return true;
    return false;
}
