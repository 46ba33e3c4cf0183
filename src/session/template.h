/* SPDX-License-Identifier: MIT */
#ifndef FERRY_SESSION_TEMPLATE_H
#define FERRY_SESSION_TEMPLATE_H

#include "session/session.h"

/*
 * Texts with variables, as a configuration has them: "https://$host$uri". They are compiled when a
 * filter is made, so that a misspelt name is found then, and filled in for each request. "$$" is a
 * dollar, and "${host}x" is a name that letters follow.
 */

#define FERRY_TEMPLATE_LEN_MAX 4096 /* of the text */
#define FERRY_TEMPLATE_PARTS_MAX 64 /* variables, and the texts between them */
#define FERRY_TEMPLATE_OUT_MAX                                                                     \
    16384u                       /* bytes filled in: stops a short text that holds $uri often */
#define FERRY_TEMPLATE_GROUPS 10 /* $0 is none; $1 to $9 */

/* X(name, text, help). Besides there are $http_NAME, the first header field of that name with '-'
 * for '_', $param_NAME, as the application would be told now, and $1 to $9, the groups of a
 * rewrite.
 */
#define FERRY_VARIABLE_MAP(X)                                                                      \
    X(HOST, "host", "the host that the client asked for, in lower case, without a port")           \
    X(URI, "uri", "path and query as the client sent them, whatever was rewritten since")          \
    X(PATH, "path", "the path, decoded; it begins with a slash")                                   \
    X(QUERY, "query", "the query, without its question mark; not decoded")                         \
    X(SCHEME, "scheme", "http or https")                                                           \
    X(REMOTE_ADDR, "remote_addr", "the client's address")

enum ferry_template_use {
    FERRY_TEMPLATE_TEXT, /* a value: everything as it is */
    /* What tells requests apart: with a NUL behind each part, so that different values never look
     * the same. A field that stands more than once has no value here: FERRY_ELIMIT. */
    FERRY_TEMPLATE_KEY,
    /* A path, as ferry_session_path is, and perhaps a query behind '?': variables in the query are
     * escaped, and two slashes of the path become one. */
    FERRY_TEMPLATE_PATH,
    /* The Location of a redirect: escaped as a URL wants it. A host that is not named in the text
     * never comes out, and neither do blanks and control bytes. */
    FERRY_TEMPLATE_LOCATION,
};

struct ferry_template;

/*
 * Compiles a text. `groups` is how many of $1 to $9 there are. 0 and *out, to be freed; -ENOMEM; or
 * FERRY_EUSAGE and *why, static memory or `buf`: an unknown variable, a lone dollar, a control
 * byte, a limit, or a use the text is not good for.
 */
#define FERRY_TEMPLATE_WHY 160
FERRY_MUST_CHECK
int ferry_template_new(const char *text, enum ferry_template_use, unsigned groups,
                       struct ferry_template **out, char buf[FERRY_TEMPLATE_WHY], const char **why);
void ferry_template_free(struct ferry_template *); /* takes NULL */

/* As ferry_template_new, for a filter's option: what is wrong goes to ferry_filters_why. */
FERRY_MUST_CHECK
int ferry_filters_template(struct ferry_filters *, const char *filter, const char *text,
                           enum ferry_template_use, unsigned groups, struct ferry_template **out);

struct ferry_template_out {
    struct ferry_slice text;
    struct ferry_slice query; /* of a PATH; p == NULL where the text has no '?' */
};

/*
 * Fills it in for a session; `groups` are FERRY_TEMPLATE_GROUPS slices, or NULL. The slices of *out
 * live as long as the session and the template. 0, -ENOMEM, or FERRY_ELIMIT past OUT_MAX.
 */
FERRY_MUST_CHECK
int ferry_template_expand(const struct ferry_template *, struct ferry_session *,
                          const struct ferry_slice *groups, struct ferry_template_out *out);

#endif
