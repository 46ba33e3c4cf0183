/* SPDX-License-Identifier: MIT */
/*
 * The receiving end of NOTIFY_SOCKET. Descriptors that come along are closed at once; that is what
 * systemd-notify waits for (BARRIER=1), so that it still lives when its pid is looked at.
 */
#include "proc/inbox.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define DATAGRAMS_MAX 64 /* in one turn, so that a chatty process starves nobody */
#define FDS_MAX 253      /* SCM_MAX_FD */

/* Who sent it, by the kernel's word; 0 when that is not known. */
static pid_t sender(struct msghdr *msg)
{
    pid_t pid = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        size_t n = c->cmsg_len - CMSG_LEN(0);

        if (c->cmsg_level != SOL_SOCKET)
            continue;
        if (c->cmsg_type == SCM_CREDENTIALS && n >= sizeof(struct ucred)) {
            struct ucred who;

            memcpy(&who, CMSG_DATA(c), sizeof who);
            pid = who.pid;
        }
        for (size_t at = 0; c->cmsg_type == SCM_RIGHTS && at + sizeof(int) <= n;
             at += sizeof(int)) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + at, sizeof fd);
            close(fd);
        }
    }
    return pid;
}

static void on_readable(struct ferry_watch *w)
{
    struct ferry__inbox *n = ferry_container(w, struct ferry__inbox, watch);
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(FDS_MAX * sizeof(int))];
    } control;
    char text[FERRY__INBOX_MAX];

    for (int i = 0; i < DATAGRAMS_MAX; i++) {
        struct iovec iov = {text, sizeof text};
        struct msghdr msg = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
        ssize_t len = recvmsg(n->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        pid_t pid;

        if (len < 0 && errno == EINTR)
            continue;
        if (len < 0)
            return;
        pid = sender(&msg);
        if (pid > 0 && !(msg.msg_flags & MSG_TRUNC))
            n->said(n, pid, ferry_slice(text, (size_t)len));
    }
}

static void on_closed(struct ferry_watch *w)
{
    struct ferry__inbox *n = ferry_container(w, struct ferry__inbox, watch);

    close(n->fd);
    n->fd = -1;
    n->closed(n);
}

int ferry__inbox_open(struct ferry__inbox *n)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    socklen_t len = sizeof un;
    int on = 1, err;

    n->watched = false;
    n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* An address of the family alone is answered with a free abstract name. */
    if (n->fd >= 0 && setsockopt(n->fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0 &&
        bind(n->fd, (struct sockaddr *)&un, sizeof un.sun_family) == 0 &&
        getsockname(n->fd, (struct sockaddr *)&un, &len) == 0) {
        snprintf(n->address, sizeof n->address, "@%.*s",
                 (int)(len - offsetof(struct sockaddr_un, sun_path) - 1), un.sun_path + 1);
        return 0;
    }
    err = -errno;
    if (n->fd >= 0)
        close(n->fd);
    n->fd = -1;
    return err;
}

int ferry__inbox_watch(struct ferry_loop *loop, struct ferry__inbox *n)
{
    int err;

    n->watch.readable = on_readable;
    n->watch.closed = on_closed;
    err = ferry_watch_open(loop, &n->watch, n->fd);
    n->watched = err == 0;
    return err;
}

void ferry__inbox_close(struct ferry__inbox *n)
{
    if (n->watched) {
        ferry_watch_close(&n->watch);
        return;
    }
    if (n->fd >= 0)
        close(n->fd);
    n->fd = -1;
}

bool ferry__inbox_next(struct ferry_slice *text, struct ferry_slice *name,
                       struct ferry_slice *value)
{
    while (text->len) {
        size_t end = ferry_slice_find(*text, '\n');
        struct ferry_slice line = ferry_slice_first(*text, end);
        size_t eq = ferry_slice_find(line, '=');

        *text = ferry_slice_from(*text, end + 1);
        if (eq == line.len)
            continue;
        *name = ferry_slice_first(line, eq);
        *value = ferry_slice_from(line, eq + 1);
        return true;
    }
    return false;
}
