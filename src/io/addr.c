/* SPDX-License-Identifier: MIT */
/*
 * Addresses: read, written, listened on. An address that ferry_addr_parse accepted is complete: its
 * family, bytes and `len` go to bind or connect as they are. Names are never looked up here.
 */
#include "io/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG_DEFAULT 4096
#define LOCK_TRIES 100 /* of 10 ms */
#define SUN_PATH_MAX (sizeof((struct sockaddr_un *)0)->sun_path - 1)

/* -- text ------------------------------------------------------------------------------------- */

static int parse_unix(struct ferry_slice path, struct ferry_addr *out, const char **why)
{
    if (path.len == 0) {
        *why = "the path of the unix socket is missing";
        return FERRY_EUSAGE;
    }
    if (path.len > SUN_PATH_MAX) {
        *why = "the path of a unix socket may have 107 bytes at most";
        return FERRY_EUSAGE;
    }
    out->un.sun_family = AF_UNIX;
    memcpy(out->un.sun_path, path.p, path.len);
    if (path.p[0] == '@') { /* as ss(8) writes it; a file of that name is ./@name */
        out->un.sun_path[0] = 0;
        out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.len);
        return 0;
    }
    out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.len + 1);
    return 0;
}

static int parse_fd(struct ferry_slice text, struct ferry_addr *out, const char **why)
{
    uint64_t fd;

    if (ferry_slice_u64(text, INT32_MAX, &fd) < 0) {
        *why = "fd: must be followed by the number of a descriptor";
        return FERRY_EUSAGE;
    }
    out->fd = (int)fd;
    return 0;
}

static int parse_v6(struct ferry_slice host, in_port_t port, struct ferry_addr *out,
                    const char **why)
{
    char text[INET6_ADDRSTRLEN];

    if (host.len < sizeof text) {
        memcpy(text, host.p, host.len);
        text[host.len] = 0;
        if (inet_pton(AF_INET6, text, &out->in6.sin6_addr) == 1) {
            out->in6.sin6_family = AF_INET6;
            out->in6.sin6_port = port;
            out->len = sizeof out->in6;
            return 0;
        }
    }
    *why = "between the brackets must stand a numeric IPv6 address";
    return FERRY_EUSAGE;
}

static int parse_v4(struct ferry_slice host, bool any, in_port_t port, struct ferry_addr *out,
                    const char **why)
{
    char text[INET_ADDRSTRLEN];

    out->in.sin_family = AF_INET;
    out->in.sin_port = port;
    out->len = sizeof out->in;
    if (host.len == 0) {
        out->in.sin_addr.s_addr = htonl(any ? INADDR_ANY : INADDR_LOOPBACK);
        return 0;
    }
    if (ferry_slice_eq_nocase(host, FERRY_SLICE("localhost"))) {
        out->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return 0;
    }
    if (host.len < sizeof text) {
        memcpy(text, host.p, host.len);
        text[host.len] = 0;
        if (inet_pton(AF_INET, text, &out->in.sin_addr) == 1)
            return 0;
    }
    *why = ferry_slice_find(host, ':') < host.len
               ? "an IPv6 address needs brackets: [::1]:8080"
               : "the host must be a numeric address or \"localhost\"";
    return FERRY_EUSAGE;
}

/* host:port, [v6]:port, :port, port */
static int parse_tcp(struct ferry_slice text, bool any, struct ferry_addr *out, const char **why)
{
    struct ferry_slice host = {text.p, 0}, port = text;
    const char *colon = memrchr(text.p, ':', text.len);
    bool v6 = text.p[0] == '[';
    uint64_t number;

    if (v6) {
        size_t end = ferry_slice_find(text, ']');

        if (end == text.len) {
            *why = "the closing bracket of the IPv6 address is missing";
            return FERRY_EUSAGE;
        }
        host = ferry_slice(text.p + 1, end - 1);
        port = ferry_slice_from(text, end + 1);
        if (port.len == 0 || port.p[0] != ':') {
            *why = "the port is missing: [address]:port";
            return FERRY_EUSAGE;
        }
        port = ferry_slice_from(port, 1);
    } else if (colon) {
        host.len = (size_t)(colon - text.p);
        port = ferry_slice_from(text, host.len + 1);
    }
    if (ferry_slice_u64(port, 65535, &number) < 0) {
        *why = port.len == 0 ? "the port is missing"
               : v6 || colon ? "the port must be a number from 0 to 65535"
                             : "not an address: unix:/path, /path, host:port, :port, [v6]:port "
                               "and fd:N are";
        return FERRY_EUSAGE;
    }
    if (number == 0 && !any) {
        *why = "nobody can be reached at port 0";
        return FERRY_EUSAGE;
    }
    return v6 ? parse_v6(host, htons((in_port_t)number), out, why)
              : parse_v4(host, any, htons((in_port_t)number), out, why);
}

int ferry_addr_parse(const char *z, bool any, struct ferry_addr *out, const char **why)
{
    struct ferry_slice text = ferry_slice_z(z);
    struct ferry_addr a = {.fd = -1};
    int err;

    if (text.len == 0) {
        *why = "the address is empty";
        return FERRY_EUSAGE;
    }
    memset(&a.un, 0, sizeof a.un);
    if (ferry_slice_starts(text, FERRY_SLICE("unix:")))
        err = parse_unix(ferry_slice_from(text, 5), &a, why);
    else if (text.p[0] == '/')
        err = parse_unix(text, &a, why);
    else if (ferry_slice_starts(text, FERRY_SLICE("fd:")))
        err = parse_fd(ferry_slice_from(text, 3), &a, why);
    else
        err = parse_tcp(text, any, &a, why);
    if (err < 0)
        return err;
    *out = a;
    return 0;
}

/* snprintf's answer as the length that really stands in the buffer. */
static size_t written(int n, size_t cap)
{
    if (n < 0 || cap == 0)
        return 0;
    return (size_t)n < cap ? (size_t)n : cap - 1;
}

/* The path as far as the kernel says; an abstract name begins with '@' as ss(8) writes it. */
static struct ferry_slice unix_path(const struct ferry_addr *a, char *copy)
{
    size_t n = a->len > offsetof(struct sockaddr_un, sun_path)
                   ? a->len - offsetof(struct sockaddr_un, sun_path)
                   : 0;

    if (n > sizeof a->un.sun_path)
        n = sizeof a->un.sun_path;
    memcpy(copy, a->un.sun_path, n);
    if (n && copy[0] == 0)
        copy[0] = '@';
    return ferry_slice(copy, strnlen(copy, n));
}

size_t ferry_addr_format(const struct ferry_addr *a, char *out, size_t cap)
{
    char text[INET6_ADDRSTRLEN], copy[sizeof a->un.sun_path];
    struct ferry_slice path;

    if (a->fd >= 0)
        return written(snprintf(out, cap, "fd:%d", a->fd), cap);
    switch (a->any.sa_family) {
    case AF_UNIX:
        path = unix_path(a, copy);
        return written(snprintf(out, cap, "unix:%.*s", (int)path.len, path.p), cap);
    case AF_INET:
        inet_ntop(AF_INET, &a->in.sin_addr, text, sizeof text);
        return written(snprintf(out, cap, "%s:%u", text, ferry_addr_port(a)), cap);
    case AF_INET6:
        inet_ntop(AF_INET6, &a->in6.sin6_addr, text, sizeof text);
        return written(snprintf(out, cap, "[%s]:%u", text, ferry_addr_port(a)), cap);
    default:
        return written(snprintf(out, cap, "unknown"), cap);
    }
}

size_t ferry_addr_host(const struct ferry_addr *a, char *out, size_t cap)
{
    char text[INET6_ADDRSTRLEN] = "";

    if (a->fd < 0 && a->any.sa_family == AF_INET)
        inet_ntop(AF_INET, &a->in.sin_addr, text, sizeof text);
    /* A dual-stack listener handed over as fd:N shows IPv4 clients as ::ffff:a.b.c.d, and no
     * application compares its allow list with that. */
    else if (a->fd < 0 && a->any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr))
        inet_ntop(AF_INET, &a->in6.sin6_addr.s6_addr[12], text, sizeof text);
    else if (a->fd < 0 && a->any.sa_family == AF_INET6)
        inet_ntop(AF_INET6, &a->in6.sin6_addr, text, sizeof text);
    return written(snprintf(out, cap, "%s", text), cap);
}

unsigned ferry_addr_port(const struct ferry_addr *a)
{
    if (a->fd < 0 && a->any.sa_family == AF_INET)
        return ntohs(a->in.sin_port);
    if (a->fd < 0 && a->any.sa_family == AF_INET6)
        return ntohs(a->in6.sin6_port);
    return 0;
}

static int ask(int fd, int (*get)(int, struct sockaddr *, socklen_t *), struct ferry_addr *out)
{
    struct ferry_addr a = {.fd = -1};

    memset(&a.un, 0, sizeof a.un);
    a.len = sizeof a.un;
    if (get(fd, &a.any, &a.len) < 0)
        return -errno;
    *out = a;
    return 0;
}

static int get_peer(int fd, struct sockaddr *sa, socklen_t *len)
{
    return getpeername(fd, sa, len);
}

static int get_local(int fd, struct sockaddr *sa, socklen_t *len)
{
    return getsockname(fd, sa, len);
}

int ferry_addr_peer(int fd, struct ferry_addr *out)
{
    return ask(fd, get_peer, out);
}

int ferry_addr_local(int fd, struct ferry_addr *out)
{
    return ask(fd, get_local, out);
}

/* -- listening -------------------------------------------------------------------------------- */

static int fail(int fd)
{
    int err = -errno;

    close(fd);
    return err;
}

static int listen_fd(int given)
{
    int fd, accepting = 0, flags;
    socklen_t len = sizeof accepting;

    if (getsockopt(given, SOL_SOCKET, SO_ACCEPTCONN, &accepting, &len) < 0)
        return -errno;
    if (!accepting)
        return -EINVAL;
    fd = fcntl(given, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return -errno;
    flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return fail(fd);
    return fd;
}

static int tcp_socket(const struct ferry_addr *a, bool dual_stack)
{
    int on = 1, only = !dual_stack,
        fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
        return fail(fd);
    if (a->any.sa_family == AF_INET6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only) < 0)
        return fail(fd);
    return fd;
}

static int listen_tcp(const struct ferry_addr *a, const struct ferry_listen_opts *o, int backlog)
{
    int on = 1, fd = tcp_socket(a, o->dual_stack);

    if (fd < 0)
        return fd;
    if (o->reuseport && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0)
        return fail(fd);
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
        bind(fd, &a->any, a->len) < 0 || listen(fd, backlog) < 0)
        return fail(fd);
    return fd;
}

/* It is no file: nothing to lock, to own or to remove. */
static bool is_abstract(const struct ferry_addr *a)
{
    return a->un.sun_path[0] == 0;
}

/*
 * Between "nobody answers here" and our own listen, another ferry may have come to the same
 * conclusion, and one would remove the other's socket. So the directory is locked meanwhile. Only
 * for a moment: anyone who can read it can lock it, and must not stop us.
 */
static int lock_directory(const struct ferry_addr *a)
{
    const char *path = a->un.sun_path;
    char dir[SUN_PATH_MAX + 1];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    int fd;

    if (is_abstract(a))
        return -1;
    memcpy(dir, path, n);
    dir[n] = 0;
    fd = open(n ? dir : slash ? "/" : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; fd >= 0 && i < LOCK_TRIES && flock(fd, LOCK_EX | LOCK_NB) < 0; i++)
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000000L}, NULL);
    return fd;
}

/* A socket file that refuses connections has no listener any more. Anything else stays: bind then
 * says -EADDRINUSE. */
static bool is_stale(const struct ferry_addr *a)
{
    struct stat st;
    bool refused;
    int fd;

    if (lstat(a->un.sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return false;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    refused = connect(fd, &a->any, a->len) < 0 && errno == ECONNREFUSED;
    close(fd);
    return refused;
}

/*
 * By descriptor and not by name: in a directory of somebody else's the name may lead elsewhere by
 * now, and root must not give that away.
 */
static int own_socket(const char *path, const struct ferry_listen_opts *o, mode_t mode)
{
    int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC), err = 0;
    char self[32];
    struct stat st;

    if (fd < 0)
        return -errno;
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    if (fstat(fd, &st) < 0)
        err = -errno;
    else if (!S_ISSOCK(st.st_mode))
        err = -EADDRINUSE;
    else if ((st.st_mode & 07777) != mode && chmod(self, mode) < 0)
        err = -errno;
    if (err == 0 && o->set_owner && fchownat(fd, "", o->owner, o->group, AT_EMPTY_PATH) < 0)
        err = -errno;
    close(fd);
    return err;
}

static int bind_unix(int fd, const struct ferry_addr *a, const struct ferry_listen_opts *o,
                     int backlog)
{
    mode_t mode = o->mode ? o->mode : 0600;
    int err = 0;

    /* bind gives the file the mode of the socket's own inode, less the umask: it is never wider
     * than asked, not even for a moment, and other threads' umask is left alone. */
    if (fchmod(fd, mode) < 0 || bind(fd, &a->any, a->len) < 0)
        return -errno;
    if (!is_abstract(a))
        err = own_socket(a->un.sun_path, o, mode);
    if (err == 0 && listen(fd, backlog) < 0)
        err = -errno;
    if (err < 0 && !is_abstract(a))
        unlink(a->un.sun_path);
    return err;
}

static int listen_unix(const struct ferry_addr *a, const struct ferry_listen_opts *o, int backlog)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int lock, err;

    if (fd < 0)
        return -errno;
    lock = lock_directory(a);
    if (!o->keep_stale && is_stale(a))
        unlink(a->un.sun_path);
    err = bind_unix(fd, a, o, backlog);
    if (lock >= 0)
        close(lock);
    if (err == 0)
        return fd;
    close(fd);
    return err;
}

int ferry_listen(const struct ferry_addr *a, const struct ferry_listen_opts *o)
{
    static const struct ferry_listen_opts none;
    int backlog;

    if (!o)
        o = &none;
    backlog = o->backlog ? o->backlog : BACKLOG_DEFAULT;
    if (a->fd >= 0)
        return listen_fd(a->fd);
    return a->any.sa_family == AF_UNIX ? listen_unix(a, o, backlog) : listen_tcp(a, o, backlog);
}

int ferry_listen_share(int fd)
{
    int on = 1;

    return setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0 ? -errno : 0;
}

unsigned ferry_listen_beside(int first, const struct ferry_addr *bound, int *fds, unsigned n,
                             int *err)
{
    unsigned opened = 0;

    *err = n ? ferry_listen_share(first) : 0;
    while (*err == 0 && opened < n) {
        int fd = ferry_listen(bound, &(struct ferry_listen_opts){.reuseport = true});

        if (fd < 0)
            *err = fd;
        else
            fds[opened++] = fd;
    }
    return opened;
}

pid_t ferry_listen_owner(const struct ferry_addr *a)
{
    struct ucred who = {0};
    socklen_t len = sizeof who;
    int fd;

    if (a->fd >= 0 || a->any.sa_family != AF_UNIX)
        return 0;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return 0;
    if (connect(fd, &a->any, a->len) < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0)
        who.pid = 0;
    close(fd);
    return who.pid;
}

void ferry_listen_remove(const struct ferry_addr *a)
{
    int lock;

    if (a->fd >= 0 || a->any.sa_family != AF_UNIX)
        return;
    lock = lock_directory(a);
    if (is_stale(a))
        unlink(a->un.sun_path);
    if (lock >= 0)
        close(lock);
}
