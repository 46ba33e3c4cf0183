/* SPDX-License-Identifier: MIT */
#ifndef FERRY_APP_ADDRS_H
#define FERRY_APP_ADDRS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "ferry/err.h"

/* The peers that may connect (FCGI_WEB_SERVER_ADDRS, section 3.2): all of them, or those listed. */
struct ferry__addrs {
    struct in6_addr *list; /* IPv4 addresses as ::ffff:a.b.c.d; NULL lets everybody in */
    unsigned n;
};

#define FERRY__ADDRS_MAX 1024

/*
 * Reads a list of numeric IPv4 and IPv6 addresses with commas between, blanks allowed around them.
 * NULL and "" let everybody in. 0, FERRY_EUSAGE (something that is no address), FERRY_ELIMIT, or
 * -ENOMEM; nothing is kept then.
 */
FERRY_MUST_CHECK
int ferry__addrs_parse(struct ferry__addrs *, const char *text);
void ferry__addrs_fini(struct ferry__addrs *);

/* A list lets TCP peers in only: the specification closes whatever is not TCP/IP. */
bool ferry__addrs_allow(const struct ferry__addrs *, const struct sockaddr *);

#endif
