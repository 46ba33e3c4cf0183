/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CLI_CLI_H
#define FERRY_CLI_CLI_H

#include <stdarg.h>
#include <stdbool.h>

/* What the subcommands share: exit codes, messages. */

#define FERRY_EXIT_OK 0
#define FERRY_EXIT_FAILED 1
#define FERRY_EXIT_USAGE 64

/* A subcommand: argv[0] is its own name. Returns the exit code. */
typedef int (*ferry_command_fn)(int argc, char **argv);

int ferry_cli_serve(int argc, char **argv);

/* "ferry: ..." and the end of the line on stderr. */
void ferry_cli_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* "1000", "64k", "10M", "1G" to bytes: 0, or FERRY_EUSAGE. */
int ferry_cli_size(const char *text, unsigned long long *out);

#endif
