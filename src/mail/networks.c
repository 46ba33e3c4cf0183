/* SPDX-License-Identifier: MIT */
/*
 * Lists of networks. An IPv4 address is looked at as the IPv6 address that stands for it, so there
 * is one comparison, and a client that comes as ::ffff:192.0.2.1 is the same as 192.0.2.1.
 */
#include "mail/networks.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "mail/mail.h"

#define V4_BITS 96 /* that stand before an IPv4 address */

static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff};

bool ferry__network_addr(const struct sockaddr *sa, uint8_t out[16])
{
    if (sa->sa_family == AF_INET) {
        memcpy(out, v4_prefix, sizeof v4_prefix);
        memcpy(out + 12, &((const struct sockaddr_in *)sa)->sin_addr, 4);
        return true;
    }
    if (sa->sa_family != AF_INET6)
        return false;
    memcpy(out, &((const struct sockaddr_in6 *)sa)->sin6_addr, 16);
    return true;
}

/* Do the first bits agree? */
static bool within(const uint8_t *addr, const uint8_t *net, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;

    return memcmp(addr, net, whole) == 0 &&
           (rest == 0 || (addr[whole] ^ net[whole]) >> (8 - rest) == 0);
}

static bool read_addr(struct ferry_slice text, uint8_t out[16], bool *v4)
{
    char z[INET6_ADDRSTRLEN];

    if (text.len >= 2 && text.p[0] == '[' && text.p[text.len - 1] == ']')
        text = ferry_slice(text.p + 1, text.len - 2);
    if (text.len >= sizeof z)
        return false;
    memcpy(z, text.p, text.len);
    z[text.len] = 0;
    memcpy(out, v4_prefix, sizeof v4_prefix);
    *v4 = inet_pton(AF_INET, z, out + 12) == 1;
    return *v4 || inet_pton(AF_INET6, z, out) == 1;
}

static const char *read_network(struct ferry_slice text, struct ferry__network *out)
{
    size_t slash = ferry_slice_find(text, '/');
    uint64_t bits;
    bool v4;

    if (!read_addr(ferry_slice_first(text, slash), out->addr, &v4))
        return "is no address, no network and not \"unix\"";
    bits = v4 ? 32 : 128;
    if (slash < text.len && ferry_slice_u64(ferry_slice_from(text, slash + 1), bits, &bits) < 0)
        return v4 ? "needs a number from 0 to 32 behind the '/'"
                  : "needs a number from 0 to 128 behind the '/'";
    out->bits = (uint8_t)(v4 ? bits + V4_BITS : bits);
    for (unsigned i = out->bits; i < 128; i++)
        if (out->addr[i / 8] >> (7 - i % 8) & 1)
            return "names an address inside of the network, where its first belongs";
    return NULL;
}

int ferry__networks_read(const struct ferry_mail_networks *texts, struct ferry__networks *out,
                         char *why, size_t cap)
{
    *out = (struct ferry__networks){.list = NULL};
    if (texts->n)
        out->list = calloc(texts->n, sizeof *out->list);
    if (texts->n && !out->list)
        return -ENOMEM;
    for (unsigned i = 0; i < texts->n; i++) {
        struct ferry_slice text = ferry_slice_trim(ferry_slice_z(texts->texts[i]));
        const char *wrong;

        if (ferry_slice_eq_nocase(text, FERRY_SLICE("unix"))) {
            out->local = true;
            continue;
        }
        wrong = read_network(text, &out->list[out->n]);
        if (wrong) {
            if (cap)
                snprintf(why, cap, "\"%s\" %s", texts->texts[i], wrong);
            ferry__networks_fini(out);
            return FERRY_EUSAGE;
        }
        out->n++;
    }
    return 0;
}

void ferry__networks_fini(struct ferry__networks *n)
{
    free(n->list);
    *n = (struct ferry__networks){.list = NULL};
}

bool ferry__networks_has(const struct ferry__networks *n, const struct sockaddr *sa)
{
    uint8_t addr[16];

    if (sa->sa_family == AF_UNIX)
        return n->local;
    if (!ferry__network_addr(sa, addr))
        return false;
    for (unsigned i = 0; i < n->n; i++)
        if (within(addr, n->list[i].addr, n->list[i].bits))
            return true;
    return false;
}

int ferry_mail_networks_check(const struct ferry_mail_networks *texts, char *why, size_t cap)
{
    struct ferry__networks read;
    int err = ferry__networks_read(texts, &read, why, cap);

    ferry__networks_fini(&read);
    return err;
}
