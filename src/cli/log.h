/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CLI_LOG_H
#define FERRY_CLI_LOG_H

#include <stdint.h>

/*
 * A log of lines, in a file with the time in front, or on stderr. Nothing waits for whoever reads
 * it: when a pipe is full the line is dropped, and their number is told once there is room again.
 */

struct ferry_cli_log {
    const char *path; /* NULL: stderr */
    int fd;
    uint64_t dropped;
};

/* 0 or -errno. The path must stay. */
int ferry_cli_log_open(struct ferry_cli_log *, const char *path);
int ferry_cli_log_reopen(struct ferry_cli_log *); /* -errno, and then it stays as it is */
void ferry_cli_log_close(struct ferry_cli_log *);

/* One line, or several where it is longer than 3500 bytes, all control characters replaced. */
void ferry_cli_log(struct ferry_cli_log *, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
