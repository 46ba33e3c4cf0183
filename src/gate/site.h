/* SPDX-License-Identifier: MIT */
#ifndef FERRY_GATE_SITE_H
#define FERRY_GATE_SITE_H

#include <stdint.h>

#include "ferry/params.h"
#include "gate/access_log.h"
#include "session/session.h"

/*
 * What a gate serves: sites, found by the listener a request came in on and by the host it names,
 * and their routes, found by its path. All of it is made before the gate and outlives it.
 */

#define FERRY_GATE_LISTENERS_MAX 64

struct ferry_gate_route {
    /* "*" is every path; "/x/y" that path; "/x/ *" (without the blank) /x itself and all below /x/;
     * "*.php" all that end so. The first route that fits is taken. */
    const char *pattern;
    const struct ferry_filters *filters;
};

struct ferry_gate_error_page {
    int status;
    const char *file; /* sent instead of ferry's own page; when it cannot be read, that one is */
};

struct ferry_gate_site {
    /* Lower-case host names without port: "shop.example.org", "*.example.org"; none: every host
     * that no other site of the listener names. */
    const char *const *names;
    unsigned nnames;
    uint64_t listeners; /* 1 << the number of each listener it is reached by */
    const struct ferry_gate_route *routes;
    unsigned nroutes;
    const char *server_name;          /* SERVER_NAME; NULL: the request's host */
    const struct ferry_param *params; /* told to every application */
    unsigned nparams;
    const struct ferry_gate_error_page *error_pages;
    unsigned nerror_pages;
    uint64_t body_max;                   /* 0: the gate's */
    struct ferry_access_log *access_log; /* NULL: none */
    enum ferry_access_format log_format;
};

/* Where sites are looked up. */
struct ferry_gate_sites;

/* The sites outlive it: 0 or -ENOMEM. */
FERRY_MUST_CHECK
int ferry_gate_sites_new(const struct ferry_gate_site *, unsigned n, struct ferry_gate_sites **out);
void ferry_gate_sites_free(struct ferry_gate_sites *); /* takes NULL */

/* The site of a request that came in on this listener, by its Host (perhaps with a port): by its
 * name, else by the longest wildcard, else the one without names; NULL: none. */
const struct ferry_gate_site *ferry_gate_site_find(const struct ferry_gate_sites *,
                                                   unsigned listener, struct ferry_slice host);

/* The first route that the decoded path fits; NULL: none. */
const struct ferry_gate_route *ferry_gate_route_find(const struct ferry_gate_site *,
                                                     struct ferry_slice path);

#endif
