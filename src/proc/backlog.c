/* SPDX-License-Identifier: MIT */
/*
 * The length of an accept queue. TCP listeners tell it in two fields of TCP_INFO that mean other
 * things on a connection; unix sockets only through sock_diag (what `ss -xl` shows), which finds
 * sockets of its own network namespace and may be forbidden. Then poll says at least whether
 * somebody waits.
 */
#include "proc/backlog.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int ask(int diag, uint32_t inode)
{
    struct {
        struct nlmsghdr head;
        struct unix_diag_req body;
    } q = {
        .head = {.nlmsg_len = sizeof q,
                 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                 .nlmsg_flags = NLM_F_REQUEST},
        .body = {.sdiag_family = AF_UNIX,
                 .udiag_states = ~0U,
                 .udiag_ino = inode,
                 .udiag_show = UDIAG_SHOW_RQLEN,
                 .udiag_cookie = {~0U, ~0U}},
    };

    return send(diag, &q, sizeof q, 0) < 0 ? -errno : 0;
}

/* One answer: 0, or -errno as the kernel tells it. */
static int take(const char *p, size_t n, uint32_t inode, struct ferry__backlog *out)
{
    struct nlmsghdr head;
    struct unix_diag_msg body;
    struct rtattr attr;
    size_t at = NLMSG_LENGTH(sizeof body);

    if (n < sizeof head)
        return -EPROTO;
    memcpy(&head, p, sizeof head);
    if (head.nlmsg_type == NLMSG_ERROR) {
        struct nlmsgerr e;

        if (n < NLMSG_LENGTH(sizeof e))
            return -EPROTO;
        memcpy(&e, p + NLMSG_LENGTH(0), sizeof e);
        return e.error < 0 ? e.error : -EPROTO;
    }
    if (head.nlmsg_type != SOCK_DIAG_BY_FAMILY || n < at)
        return -EPROTO;
    memcpy(&body, p + NLMSG_LENGTH(0), sizeof body);
    if (body.udiag_ino != inode)
        return -EPROTO;
    for (; at + sizeof attr <= n; at += RTA_ALIGN(attr.rta_len)) {
        struct unix_diag_rqlen len;

        memcpy(&attr, p + at, sizeof attr);
        if (attr.rta_len < sizeof attr)
            break;
        if (attr.rta_type != UNIX_DIAG_RQLEN || at + RTA_LENGTH(sizeof len) > n)
            continue;
        memcpy(&len, p + at + RTA_LENGTH(0), sizeof len);
        out->queued = len.udiag_rqueue;
        out->max = len.udiag_wqueue;
        out->exact = true;
        return 0;
    }
    return -ENODATA;
}

static int read_unix(int *diag, int fd, struct ferry__backlog *out)
{
    char answer[1024];
    struct stat st;
    ssize_t n;
    int err;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (*diag < 0)
        *diag = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (*diag < 0)
        return -errno;
    err = ask(*diag, (uint32_t)st.st_ino);
    if (err < 0)
        return err;
    /* The answer is there when send returns; before it may lie one that was left. */
    do {
        n = recv(*diag, answer, sizeof answer, MSG_DONTWAIT);
        err = n < 0 ? -errno : take(answer, (size_t)n, (uint32_t)st.st_ino, out);
    } while (n > 0 && err == -EPROTO);
    return err;
}

static int read_tcp(int fd, struct ferry__backlog *out)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof info;

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
        return -errno;
    out->queued = info.tcpi_unacked;
    out->max = info.tcpi_sacked;
    out->exact = true;
    return 0;
}

int ferry__backlog_read(int *diag, int fd, struct ferry__backlog *out)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int family, err = -EAFNOSUPPORT;
    socklen_t len = sizeof family;

    *out = (struct ferry__backlog){0};
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len) < 0)
        return -errno;
    if (family == AF_UNIX)
        err = read_unix(diag, fd, out);
    else if (family == AF_INET || family == AF_INET6)
        err = read_tcp(fd, out);
    if (err < 0)
        out->queued = poll(&p, 1, 0) > 0 && p.revents & POLLIN;
    return 0;
}
