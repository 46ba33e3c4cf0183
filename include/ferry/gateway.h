/* SPDX-License-Identifier: MIT */
#ifndef FERRY_GATEWAY_H
#define FERRY_GATEWAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ferry/loop.h"
#include "ferry/session.h"

#ifdef __cplusplus
extern "C" {
#endif

/* An HTTP server whose requests go through a chain of filters, for programs of your own. */

struct ferry_gateway;

#define FERRY_GATEWAY_OPTS_SIZE .size = sizeof(struct ferry_gateway_opts)

/* Every zero means the default that stands beside it. Grows at its end only. */
struct ferry_gateway_opts {
    size_t size;               /* FERRY_GATEWAY_OPTS_SIZE */
    const char *const *listen; /* addresses: host:port, :port, [v6]:port, unix:/path, fd:N */
    unsigned nlisten;          /* 0: 127.0.0.1:8080 */
    const struct ferry_filters *filters;
    unsigned threads; /* 0: one for each processor it may use */
    enum ferry_io io;
    const char *access_log;  /* a file, "-" for stderr; NULL: none */
    const char *server_name; /* SERVER_NAME; NULL: the request's host */
    uint64_t body_max;       /* 1 GiB */
    uint32_t head_max;       /* 64 KiB */
    unsigned stop_max_ms;    /* for requests under way after a stop: 30,000 */
    /* One line for the operator, escaped, without its end; from any thread. NULL: stderr. */
    void (*log)(void *arg, const char *line);
    void *log_arg;
};

/* Opens the sockets. 0, or an error, and `why` (may be NULL) tells it in words. The chain and its
 * clients must outlive it. */
FERRY_MUST_CHECK
int ferry_gateway_new(const struct ferry_gateway_opts *, struct ferry_gateway **out, char *why,
                      size_t cap);

/* Serves, in the calling thread and more, until ferry_gateway_stop: 0 or an error. Requests under
 * way are finished first. Once only. */
FERRY_MUST_CHECK
int ferry_gateway_run(struct ferry_gateway *);

/* From any thread and from signal handlers. Again: requests under way are cut. */
void ferry_gateway_stop(struct ferry_gateway *);

/* Stops it when the process gets this signal, by blocking that in the calling thread and reading it
 * as an event; before ferry_gateway_run, in the thread that calls it, and before other threads are
 * started. 0 or -errno. */
FERRY_MUST_CHECK
int ferry_gateway_stop_on(struct ferry_gateway *, int signo);
void ferry_gateway_free(struct ferry_gateway *); /* after it has run; takes NULL */

/* The address it listens on, for port 0: the text of listener i, memory of the gateway's; NULL past
 * the last. */
const char *ferry_gateway_address(const struct ferry_gateway *, unsigned i);

/* All that a small program's main needs: makes it, says where it listens, stops on SIGTERM and
 * SIGINT. Returns the program's exit status. */
int ferry_gateway_main(const struct ferry_gateway_opts *);

#ifdef __cplusplus
}
#endif

#endif
