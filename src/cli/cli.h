/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CLI_CLI_H
#define FERRY_CLI_CLI_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/* What the subcommands share: exit codes, messages. */

#define FERRY_EXIT_OK 0
#define FERRY_EXIT_FAILED 1
#define FERRY_EXIT_USAGE 64

/* A subcommand: argv[0] is its own name. Returns the exit code. */
typedef int (*ferry_command_fn)(int argc, char **argv);

int ferry_cli_serve(int argc, char **argv);
int ferry_cli_check_gateway(int argc, char **argv);

/* Puts '?' in the place of control characters, line ends too. */
void ferry_cli_escape(char *text, size_t len);

/* "ferry: ..." on stderr, as one line whatever it holds: escaped, and cut at about 10 KB. */
void ferry_cli_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Has all that was written to stdout arrived? The exit code. */
int ferry_cli_written(void);

/* "1000", "64k", "10M", "1G" to bytes: 0, or FERRY_EUSAGE. */
int ferry_cli_size(const char *text, unsigned long long *out);

#endif
