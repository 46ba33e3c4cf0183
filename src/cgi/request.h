/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CGI_REQUEST_H
#define FERRY_CGI_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "ferry/params.h"

/*
 * From an HTTP request to the params of a FastCGI request: RFC 3875 section 4.1 and what PHP
 * applications need besides. A pure mapping. (It does not include http/: fields are name-value
 * pairs here as there.)
 */

#define FERRY_CGI_REQUEST_FIELDS_MAX 128
#define FERRY_CGI_FIELD_NAME_MAX 256

struct ferry_cgi_request {
    struct ferry_slice method, target;         /* raw; target becomes REQUEST_URI, see below */
    struct ferry_slice protocol;               /* "HTTP/1.1" */
    struct ferry_slice scheme;                 /* "http"; "https" adds HTTPS=on */
    struct ferry_slice query;                  /* raw, without '?'; QUERY_STRING is always there */
    struct ferry_slice script_name, path_info; /* decoded; PATH_INFO is left out when empty */
    struct ferry_slice script_filename;        /* left out when empty */
    struct ferry_slice
        document_root; /* left out when empty; with path_info it gives PATH_TRANSLATED */
    struct ferry_slice server_name, server_addr, server_port, remote_addr, remote_port, remote_user;
    struct ferry_slice server_software;
    const struct ferry_param
        *fields; /* the request's header fields, in order, trimmed and checked */
    unsigned nfields;
    /* Params of the operator's, no name twice, written last. Each stands instead of the one of its
     * name below; where value.p is NULL there is none. */
    const struct ferry_param *set;
    unsigned nset;
    bool no_basic;  /* only what the members script_name to document_root make, where not empty */
    bool no_fields; /* nothing of `fields` */
};

/* The room ferry_params_open needs for this request, BEGIN_REQUEST and CONTENT_LENGTH and the ends
 * included. Always enough; a little more than is used. */
size_t ferry_cgi_params_room(const struct ferry_cgi_request *);

/*
 * Adds all params but CONTENT_LENGTH to a writer (errors stick in the writer; FERRY_ELIMIT also for
 * more fields than FERRY_CGI_REQUEST_FIELDS_MAX). Header fields: only names of [A-Za-z0-9-], not
 * longer than FERRY_CGI_FIELD_NAME_MAX, become HTTP_*; Content-Type becomes CONTENT_TYPE, the first
 * where there are several; Content-Length, Proxy and hop-by-hop fields (Connection and what it
 * names, but never Host, Keep-Alive, TE, Trailer, Transfer-Encoding, Upgrade, Proxy-*) become
 * nothing; duplicates are joined by ", " (Cookie by "; ") where the first stood.
 * REDIRECT_STATUS=200 is always there, DOCUMENT_URI is script_name and path_info together.
 *
 * An absolute-form target is taken apart as RFC 9112 section 3.2.2 asks: REQUEST_URI is its path
 * and query, and HTTP_HOST its authority, whatever the Host field says.
 */
void ferry_cgi_params(const struct ferry_cgi_request *, struct ferry_params_writer *);

/* Adds CONTENT_LENGTH, the last param, once the length of the body is known. Requests without a
 * body need none. */
void ferry_cgi_content_length(struct ferry_params_writer *, uint64_t len);

#endif
