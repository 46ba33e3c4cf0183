/* SPDX-License-Identifier: MIT */
/* Messages to systemd: datagrams of NAME=value lines, to the socket that NOTIFY_SOCKET names. */
#include "cli/systemd.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/slice.h"

#define MESSAGE_MAX 2048

static uint64_t number(const char *name)
{
    const char *text = getenv(name);
    uint64_t n;

    return text && ferry_slice_u64(ferry_slice_z(text), INT64_MAX, &n) == 0 ? n : 0;
}

void ferry_systemd_open(struct ferry_systemd *d)
{
    uint64_t pid = number("WATCHDOG_PID");
    int ends[2];

    *d = (struct ferry_systemd){-1, -1, 0};
    if (!getenv("NOTIFY_SOCKET") ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
        return;
    d->theirs = ends[0];
    d->ours = ends[1];
    if (!pid || (pid_t)pid == getpid())
        d->watchdog_ms = number("WATCHDOG_USEC") / 1000;
}

void ferry_systemd_repeat(struct ferry_systemd *d)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    char text[MESSAGE_MAX];
    ssize_t n = recv(d->theirs, text, sizeof text, MSG_DONTWAIT);
    size_t len = path ? strlen(path) : 0;
    int fd;

    if (n <= 0 || (len && *path != '/' && *path != '@') || len == 0 || len > sizeof to.sun_path)
        return;
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    memcpy(to.sun_path, path, len);
    if (*path == '@')
        to.sun_path[0] = 0;
    /* Nothing can be done about one that is not heard. */
    (void)!sendto(fd, text, (size_t)n, MSG_NOSIGNAL, (struct sockaddr *)&to,
                  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
    close(fd);
}

void ferry_systemd_say(const struct ferry_systemd *d, const char *fmt, ...)
{
    char text[MESSAGE_MAX];
    va_list ap;
    int n;

    if (d->ours < 0)
        return;
    va_start(ap, fmt);
    n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n > 0 && (size_t)n < sizeof text)
        (void)!send(d->ours, text, (size_t)n, MSG_NOSIGNAL);
}
