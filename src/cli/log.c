/* SPDX-License-Identifier: MIT */
/*
 * A line is shorter than PIPE_BUF: so a pipe takes it whole or not at all, and never lets us wait
 * when it said that there is room.
 */
#include "cli/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

#define PIECE_MAX 3500
#define TEXT_MAX 10240

static int open_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);

    return fd < 0 ? -errno : fd;
}

int ferry_cli_log_open(struct ferry_cli_log *log, const char *path)
{
    *log = (struct ferry_cli_log){.path = path, .fd = STDERR_FILENO};
    if (!path)
        return 0;
    log->fd = open_file(path);
    return log->fd < 0 ? log->fd : 0;
}

int ferry_cli_log_reopen(struct ferry_cli_log *log)
{
    int fd;

    if (!log->path)
        return 0;
    fd = open_file(log->path);
    if (fd < 0)
        return fd;
    ferry_cli_log_close(log);
    log->fd = fd;
    return 0;
}

void ferry_cli_log_close(struct ferry_cli_log *log)
{
    if (log->path && log->fd >= 0)
        close(log->fd);
    log->fd = -1;
}

static size_t begin(const struct ferry_cli_log *log, char *line, size_t cap)
{
    time_t now = time(NULL);
    struct tm tm;
    int n;

    if (!log->path) {
        n = snprintf(line, cap, "%s: ", ferry_cli_name());
        return n > 0 ? (size_t)n : 0;
    }
    gmtime_r(&now, &tm);
    return strftime(line, cap, "%Y-%m-%dT%H:%M:%SZ ", &tm);
}

static void write_line(struct ferry_cli_log *log, const char *text, size_t len)
{
    struct pollfd p = {.fd = log->fd, .events = POLLOUT};
    char line[PIECE_MAX + 64];
    size_t at = begin(log, line, sizeof line);
    ssize_t n;

    memcpy(line + at, text, len);
    ferry_cli_escape(line, at + len);
    line[at + len] = '\n';
    if (poll(&p, 1, 0) == 0) {
        log->dropped++;
        return;
    }
    do
        n = write(log->fd, line, at + len + 1);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        log->dropped++;
}

void ferry_cli_log(struct ferry_cli_log *log, const char *fmt, ...)
{
    char text[TEXT_MAX];
    uint64_t dropped = log->dropped;
    size_t len, piece;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    if (dropped) {
        char note[96];
        int m = snprintf(note, sizeof note,
                         "%llu lines were dropped, for the log could not take "
                         "them",
                         (unsigned long long)dropped);

        write_line(log, note, (size_t)m);
        if (log->dropped > dropped) { /* still full: this one as well */
            log->dropped = dropped + 1;
            return;
        }
        log->dropped = 0;
    }
    len = (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    for (size_t at = 0; at < len; at += piece) {
        piece = len - at < PIECE_MAX ? len - at : PIECE_MAX;
        write_line(log, text + at, piece);
    }
}
