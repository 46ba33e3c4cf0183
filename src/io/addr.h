/* SPDX-License-Identifier: MIT */
#ifndef FERRY_IO_ADDR_H
#define FERRY_IO_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/slice.h"
#include "ferry/err.h"

/* Addresses in their one form: unix:/path, /path, host:port, :port, [v6]:port, fd:N; hosts are
 * numeric or "localhost". unix:@name is the abstract address of that name, which is no file. */

struct ferry_addr {
    socklen_t len;
    int fd; /* of fd:N, else -1 */
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    };
};

#define FERRY_ADDR_TEXT_MAX 128

/*
 * Reads an address: 0, or FERRY_EUSAGE with `*why` (static text). ":port" alone means every
 * interface (0.0.0.0) when `any` is set (listening), else 127.0.0.1. "localhost" is 127.0.0.1. A
 * bare number is a port. Port 0 (the kernel chooses) is for listening only. `*out` is untouched on
 * failure.
 */
FERRY_MUST_CHECK
int ferry_addr_parse(const char *text, bool any, struct ferry_addr *out, const char **why);

/* Writes it in that form, NUL-terminated, cut at cap. Returns its length. */
size_t ferry_addr_format(const struct ferry_addr *, char *out, size_t cap);

/* The host part alone ("127.0.0.1", "::1", a v4-mapped address as IPv4; "" for unix sockets), and
 * the port (0 for unix sockets). */
size_t ferry_addr_host(const struct ferry_addr *, char *out, size_t cap);
unsigned ferry_addr_port(const struct ferry_addr *);

/* The other end and this end of a connected socket: 0 or -errno. */
int ferry_addr_peer(int fd, struct ferry_addr *out);
int ferry_addr_local(int fd, struct ferry_addr *out);

struct ferry_listen_opts {
    int backlog;     /* 0 means 4096 */
    bool reuseport;  /* several sockets on one TCP address, one per thread */
    unsigned mode;   /* of a unix socket; 0 means 0600 */
    bool keep_stale; /* fail instead of removing a unix socket that nobody answers on */
    bool set_owner;  /* of a unix socket: `owner` and `group`, -1 leaving one as it is */
    uid_t owner;
    gid_t group;
    bool dual_stack; /* "[::]:port" takes IPv4 clients too */
};

/*
 * A listening, non-blocking, close-on-exec socket: the descriptor or -errno. TCP: SO_REUSEADDR,
 * IPV6_V6ONLY, TCP_NODELAY (inherited by accepted sockets). Unix: probes first, removes a stale
 * socket, never a live one (-EADDRINUSE); `mode` holds from the first moment on; in the end,
 * ferry_listen_remove. fd:N is checked (-EINVAL when it does not listen) and returned as a
 * duplicate. NULL options are all zero.
 */
int ferry_listen(const struct ferry_addr *, const struct ferry_listen_opts *);

/*
 * Lets others, of the same user and with `reuseport`, listen beside a TCP listener from now on: so
 * the first one of several is alone when it binds, and is refused where anybody else listens. 0 or
 * -errno.
 */
FERRY_MUST_CHECK
int ferry_listen_share(int fd);

/*
 * Opens n more listeners beside one of TCP that listens at `bound`, which is shared from then on:
 * so that each thread has a socket of its own. How many were opened, into fds; fewer than n when
 * the system refused one, and *err says why (else 0).
 */
unsigned ferry_listen_beside(int first, const struct ferry_addr *bound, int *fds, unsigned n,
                             int *err);

/* The process that began to listen on a unix socket, if somebody answers there and the kernel
 * knows: else 0. */
pid_t ferry_listen_owner(const struct ferry_addr *);

/* Removes the path of a unix socket if nobody answers there any more: to be called when the
 * listener is closed. Other addresses: nothing. */
void ferry_listen_remove(const struct ferry_addr *);

#endif
