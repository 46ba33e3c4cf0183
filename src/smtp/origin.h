/* SPDX-License-Identifier: MIT */
#ifndef FERRY_SMTP_ORIGIN_H
#define FERRY_SMTP_ORIGIN_H

#include <netinet/in.h>

#include "smtp/params.h"

/*
 * Whom a connection is really for, as those in front of us say: the PROXY header (HAProxy's, 1 and
 * 2), and the attributes of XCLIENT and XFORWARD (Postfix's). Only to be believed from whom the
 * operator trusts; that is the caller's to know.
 */

#define FERRY_PROXY_MAX 536 /* more is refused; version 1 has at most 107 */

struct ferry_proxy {
    bool real; /* TCP4 or TCP6: both addresses below are set. Else (LOCAL, UNKNOWN, others) the
                  connection's own are right */
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } from, to; /* an IPv4 address in IPv6 became IPv4 */
};

/* The header at the front: its length; 0: more bytes are needed to tell; or FERRY_EPROTOCOL. */
FERRY_MUST_CHECK
ssize_t ferry_proxy_parse(const char *, size_t n, struct ferry_proxy *out);

/* X(name, text): attributes; the first nine are XCLIENT's, all but LOGIN to DESTPORT are XFORWARD's
 * too */
#define FERRY_SMTP_ATTR_MAP(X)                                                                     \
    X(NAME, "NAME")                                                                                \
    X(ADDR, "ADDR")                                                                                \
    X(PORT, "PORT")                                                                                \
    X(PROTO, "PROTO")                                                                              \
    X(HELO, "HELO")                                                                                \
    X(REVERSE_NAME, "REVERSE_NAME")                                                                \
    X(LOGIN, "LOGIN")                                                                              \
    X(DESTADDR, "DESTADDR")                                                                        \
    X(DESTPORT, "DESTPORT")                                                                        \
    X(IDENT, "IDENT")                                                                              \
    X(SOURCE, "SOURCE")                                                                            \
    X(DOMAIN, "DOMAIN")

enum ferry_smtp_attr {
#define X(name, text) FERRY_SMTP_ATTR_##name,
    FERRY_SMTP_ATTR_MAP(X)
#undef X
        FERRY_SMTP_ATTRS
};

#define FERRY_SMTP_ATTR_MAX 255

/* The attributes of one command. An unset one (not named) leaves what was known before. */
struct ferry_smtp_attrs {
    unsigned set;     /* 1 << attribute */
    unsigned unknown; /* 1 << attribute: it was [UNAVAILABLE] or [TEMPUNAVAIL] */
    char value[FERRY_SMTP_ATTRS][FERRY_SMTP_ATTR_MAX + 1]; /* decoded; an address without "IPV6:" */
};

/* Of "XCLIENT ..." or "XFORWARD ...", without the verb: FERRY_SMTP_NONE, or the reply with its
 * detail. Values are checked: addresses, ports (0-65535), PROTO (SMTP or ESMTP, or LMTP). */
FERRY_MUST_CHECK
enum ferry_smtp_reply ferry_smtp_attrs_parse(struct ferry_slice, bool xforward,
                                             struct ferry_smtp_attrs *out,
                                             struct ferry_slice *detail);

#endif
