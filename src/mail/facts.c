/* SPDX-License-Identifier: MIT */
/*
 * What is known about a session and its transaction. The client's address has one source at a time:
 * the connection, then whoever is in front of us and is believed; what XFORWARD says is put aside
 * again with its transaction.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "mail/internal.h"

const struct ferry_tls_info ferry__mail_no_tls = {
    .version = "", .cipher = "", .sni = "", .client_subject = "", .client_issuer = ""};

struct ferry__mail_forwarded { /* what was before */
    char client_ip[64], client_name[FERRY_MAIL_HOST_MAX], helo[FERRY_MAIL_HOST_MAX];
    char origin_id[FERRY_SMTP_ATTR_MAX + 1];
    const char *name_status;
    unsigned client_port;
    enum ferry_mail_origin origin;
    bool helo_valid;
};

static void copy(char *to, size_t cap, const char *from)
{
    size_t n = strnlen(from, cap - 1);

    memcpy(to, from, n);
    to[n] = 0;
}

static void unknown_name(struct ferry_mail_facts *f)
{
    copy(f->client_name, sizeof f->client_name, "unknown");
    f->name_status = "off";
}

void ferry__facts_client(struct ferry_mail_facts *f, const struct ferry_addr *addr,
                         enum ferry_mail_origin origin)
{
    f->origin = origin;
    f->client_port = ferry_addr_port(addr);
    if (addr->any.sa_family == AF_UNIX)
        copy(f->client_ip, sizeof f->client_ip, "local");
    else
        ferry_addr_host(addr, f->client_ip, sizeof f->client_ip);
    unknown_name(f);
}

void ferry__facts_begin(struct ferry_mail_facts *f, const struct ferry_mail_service *service,
                        int fd)
{
    static const struct ferry_addr nobody = {.len = sizeof(sa_family_t), .fd = -1};

    f->service = service;
    f->tls = &ferry__mail_no_tls;
    f->helo_verb = f->auth_mechanism = "";
    f->protocol = service->smtp.lmtp ? "LMTP" : "SMTP";
    if (ferry_addr_peer(fd, &f->peer) < 0)
        f->peer = nobody;
    if (ferry_addr_local(fd, &f->server) < 0)
        f->server = nobody;
    ferry_mail_id(f->session_id);
    ferry__facts_client(f, &f->peer, FERRY_MAIL_ORIGIN_DIRECT);
}

void ferry__facts_name(struct ferry_mail_facts *f, const struct ferry_lookup_result *found)
{
    unknown_name(f);
    f->name_status = found->err == 0 ? "ok" : found->err == -ENOENT ? "none" : "tempfail";
    if (found->err == 0)
        copy(f->client_name, sizeof f->client_name, found->name);
}

void ferry__facts_helo(struct ferry_mail_facts *f, const struct ferry_smtp *smtp)
{
    copy(f->helo, sizeof f->helo, ferry_smtp_helo(smtp));
    f->helo_verb = ferry_smtp_helo_verb(smtp);
    f->helo_valid = ferry_smtp_helo_valid(smtp);
    f->protocol = ferry_smtp_with(smtp);
}

/* -- what others say --------------------------------------------------------------------------- */

static bool said(const struct ferry_smtp_attrs *a, enum ferry_smtp_attr which)
{
    return a->set >> which & 1;
}

/* Said, with a value. */
static const char *value(const struct ferry_smtp_attrs *a, enum ferry_smtp_attr which)
{
    return said(a, which) && !(a->unknown >> which & 1) ? a->value[which] : NULL;
}

static unsigned port_of(const char *text)
{
    uint64_t port = 0;

    if (!text || ferry_slice_u64(ferry_slice_z(text), UINT16_MAX, &port) < 0)
        return 0;
    return (unsigned)port;
}

static void read_addr(struct ferry_addr *to, const char *ip, unsigned port)
{
    *to = (struct ferry_addr){.fd = -1};
    if (!ip)
        return;
    if (inet_pton(AF_INET, ip, &to->in.sin_addr) == 1) {
        to->in.sin_family = AF_INET;
        to->in.sin_port = htons((uint16_t)port);
        to->len = sizeof to->in;
    } else if (inet_pton(AF_INET6, ip, &to->in6.sin6_addr) == 1) {
        to->in6.sin6_family = AF_INET6;
        to->in6.sin6_port = htons((uint16_t)port);
        to->len = sizeof to->in6;
    }
}

/* Of both commands: where the client is, and its name. */
static void client(struct ferry_mail_facts *f, const struct ferry_smtp_attrs *a,
                   enum ferry_mail_origin origin)
{
    const char *name = value(a, FERRY_SMTP_ATTR_NAME);

    f->origin = origin;
    if (said(a, FERRY_SMTP_ATTR_ADDR)) {
        const char *ip = value(a, FERRY_SMTP_ATTR_ADDR);

        copy(f->client_ip, sizeof f->client_ip, ip ? ip : "unknown");
        f->client_port = 0;
        unknown_name(f);
    }
    if (said(a, FERRY_SMTP_ATTR_PORT))
        f->client_port = port_of(value(a, FERRY_SMTP_ATTR_PORT));
    if (said(a, FERRY_SMTP_ATTR_NAME)) {
        unknown_name(f);
        f->name_status = name ? "ok" : "none";
        if (name)
            copy(f->client_name, sizeof f->client_name, name);
    }
    if (said(a, FERRY_SMTP_ATTR_HELO)) {
        const char *helo = value(a, FERRY_SMTP_ATTR_HELO);

        copy(f->helo, sizeof f->helo, helo ? helo : "");
        f->helo_valid = helo && ferry_smtp_is_domain(ferry_slice_z(helo));
    }
}

static void from_sockaddr(struct ferry_addr *to, const struct sockaddr *sa)
{
    *to = (struct ferry_addr){.fd = -1};
    if (sa->sa_family == AF_INET) {
        to->in = *(const struct sockaddr_in *)sa;
        to->len = sizeof to->in;
    } else {
        to->in6 = *(const struct sockaddr_in6 *)sa;
        to->len = sizeof to->in6;
    }
}

void ferry__facts_proxy(struct ferry_mail_facts *f, const struct ferry_proxy *proxy,
                        struct ferry_addr *client_addr)
{
    from_sockaddr(&f->server, &proxy->to.any);
    from_sockaddr(client_addr, &proxy->from.any);
}

bool ferry__facts_xclient(struct ferry_mail_facts *f, const struct ferry_smtp_attrs *a,
                          struct ferry_addr *addr)
{
    const char *login = value(a, FERRY_SMTP_ATTR_LOGIN);
    const char *dest = value(a, FERRY_SMTP_ATTR_DESTADDR);

    client(f, a, FERRY_MAIL_ORIGIN_XCLIENT);
    /* Who said so by AUTH was somebody else, and is forgotten as the machine forgets it. */
    if (said(a, FERRY_SMTP_ATTR_LOGIN) || strcmp(f->auth_mechanism, "XCLIENT") != 0) {
        copy(f->auth_user, sizeof f->auth_user, login ? login : "");
        f->auth_mechanism = login ? "XCLIENT" : "";
    }
    if (dest)
        read_addr(&f->server, dest, port_of(value(a, FERRY_SMTP_ATTR_DESTPORT)));
    if (!said(a, FERRY_SMTP_ATTR_ADDR))
        return false;
    read_addr(addr, value(a, FERRY_SMTP_ATTR_ADDR), f->client_port);
    return true;
}

int ferry__facts_xforward(struct ferry_mail_facts *f, struct ferry__mail_forwarded **before,
                          const struct ferry_smtp_attrs *a)
{
    if (!*before) {
        struct ferry__mail_forwarded *b = calloc(1, sizeof *b);

        if (!b)
            return -ENOMEM;
        copy(b->client_ip, sizeof b->client_ip, f->client_ip);
        copy(b->client_name, sizeof b->client_name, f->client_name);
        copy(b->helo, sizeof b->helo, f->helo);
        copy(b->origin_id, sizeof b->origin_id, f->origin_id);
        b->name_status = f->name_status;
        b->client_port = f->client_port;
        b->origin = f->origin;
        b->helo_valid = f->helo_valid;
        *before = b;
    }
    client(f, a, FERRY_MAIL_ORIGIN_XFORWARD);
    if (said(a, FERRY_SMTP_ATTR_IDENT)) {
        const char *ident = value(a, FERRY_SMTP_ATTR_IDENT);

        copy(f->origin_id, sizeof f->origin_id, ident ? ident : "");
    }
    return 0;
}

void ferry__facts_restore(struct ferry_mail_facts *f, struct ferry__mail_forwarded **before)
{
    const struct ferry__mail_forwarded *b = *before;

    if (!b)
        return;
    copy(f->client_ip, sizeof f->client_ip, b->client_ip);
    copy(f->client_name, sizeof f->client_name, b->client_name);
    copy(f->helo, sizeof f->helo, b->helo);
    copy(f->origin_id, sizeof f->origin_id, b->origin_id);
    f->name_status = b->name_status;
    f->client_port = b->client_port;
    f->origin = b->origin;
    f->helo_valid = b->helo_valid;
    free(*before);
    *before = NULL;
}

void ferry__facts_transaction(struct ferry_mail_facts *f, const struct ferry_smtp *smtp)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    f->time_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    ferry_mail_id(f->id);
    f->protocol = ferry_smtp_with(smtp);
    f->envelope = ferry_smtp_envelope(smtp);
}
