/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CHECK_GATEWAY_H
#define FERRY_CHECK_GATEWAY_H

#include <limits.h>
#include <sys/types.h>

#include "check/stage.h"

/*
 * The target of the suite for web servers: one that runs already and passes a URL's requests to an
 * address of ours, or a program that is started, and started again where a case wants a web server
 * that knows nothing yet.
 */

struct ferry_gateway_opts {
    const char *listen;         /* where the application listens; NULL: a free address */
    const char *url;            /* NULL: http://127.0.0.1:{port}/ */
    const char *authorizer_url; /* or path: an authorizer is asked about it first; NULL */
    const char *filter_url;     /* or path: of a file that goes through a filter; NULL */
    const char *log;            /* the web server's log, to look for STDERR in; NULL */
    /*
     * What to start, ending with NULL, or NULL. In its arguments, the URL and the log {app} is
     * where the application listens, {app_host}, {app_port} and {app_path} are parts of that,
     * {port} is a free port for the web server, {url} is the URL, and {dir} an empty directory for
     * its files.
     */
    const char *const *program;
};

#define FERRY_GATEWAY_ARGS_MAX 256

struct ferry_gateway {
    struct ferry_stage stage; /* the first: ferry_stage finds it */
    struct ferry_gateway_opts opts;
    char url[512];
    const char *prefix;                /* of the URL's path, in `url` */
    char authorizer[256], filter[256]; /* prefixes, or "" */
    char dir[64];                      /* for a started program; "" */
    char *log;
    char *args[FERRY_GATEWAY_ARGS_MAX + 1];
    pid_t pid; /* of the program while it runs, or 0 */
    int pidfd, output;
    enum ferry_stage_values values; /* with which it was started */
    bool shaken; /* by the last case: it has learned what others should not find */
};

/* What a case may need, bits of ferry_check_case.needs. */
enum ferry_gateway_needs {
    FERRY_NEEDS_MULTIPLEX = 1, /* an application that says it multiplexes */
    FERRY_NEEDS_AUTHORIZER = 2,
    FERRY_NEEDS_FILTER = 4,
    FERRY_NEEDS_FRESH = 8, /* a web server that has asked GET_VALUES nothing yet */
    FERRY_NEEDS_LOG = 16
};

extern const struct ferry_check_suite ferry_gateway_suite;

/*
 * Listens, starts the program, and waits until a request comes through: 0, or an error with `why`
 * (cap bytes) and nothing left open.
 */
FERRY_MUST_CHECK
int ferry_gateway_open(struct ferry_gateway *, const struct ferry_gateway_opts *,
                       const struct ferry_check_opts *, char *why, size_t cap);
void ferry_gateway_close(struct ferry_gateway *);

static inline struct ferry_gateway *ferry_gateway(const struct ferry_check *c)
{
    return c->user;
}

/* Ends the program and starts it anew; the application answers GET_VALUES so from now on. */
void ferry_gateway_restart(struct ferry_check *, enum ferry_stage_values);

/* Does a plain request come through, within ms? */
bool ferry_gateway_answers(struct ferry_check *, unsigned ms);

/* The end of what the program, or the log that was named, has said: n bytes at most,
 * NUL-terminated.
 */
size_t ferry_gateway_output(const struct ferry_gateway *, char *out, size_t cap);

/* X(NAME): the groups of cases, in the order they are run; ferry_check_w_NAME. */
#define FERRY_GATEWAY_GROUP_MAP(X)                                                                 \
    X(3)                                                                                           \
    X(4)                                                                                           \
    X(5)                                                                                           \
    X(6)                                                                                           \
    X(7)                                                                                           \
    X(8)                                                                                           \
    X(9)                                                                                           \
    X(10)                                                                                          \
    X(11)                                                                                          \
    X(12)                                                                                          \
    X(13)                                                                                          \
    X(14)                                                                                          \
    X(15)                                                                                          \
    X(18)                                                                                          \
    X(19)                                                                                          \
    X(20)                                                                                          \
    X(21)                                                                                          \
    X(22)                                                                                          \
    X(23)                                                                                          \
    X(24)                                                                                          \
    X(26)                                                                                          \
    X(27)                                                                                          \
    X(16)                                                                                          \
    X(17)

#define X(name) extern const struct ferry_check_group ferry_check_w_##name;
FERRY_GATEWAY_GROUP_MAP(X)
#undef X

#endif
