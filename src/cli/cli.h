/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CLI_CLI_H
#define FERRY_CLI_CLI_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What the subcommands share: exit codes, messages. */

#define FERRY_EXIT_OK 0
#define FERRY_EXIT_FAILED 1
#define FERRY_EXIT_USAGE 64
#define FERRY_EXIT_FATAL 69  /* of `ferry spawn`: the program does not stay up */
#define FERRY_EXIT_CONFIG 78 /* a configuration file is wrong */

/* A subcommand: argv[0] is its own name. Returns the exit code. */
typedef int (*ferry_command_fn)(int argc, char **argv);

int ferry_cli_serve(int argc, char **argv);
int ferry_cli_run(int argc, char **argv);
int ferry_cli_mail(int argc, char **argv);
int ferry_cli_spawn(int argc, char **argv);
int ferry_cli_call(int argc, char **argv);
int ferry_cli_trace(int argc, char **argv);
int ferry_cli_config(int argc, char **argv);
int ferry_cli_check(int argc, char **argv); /* and with --gateway: */
int ferry_cli_check_gateway(int argc, char **argv);

/* Puts '?' in the place of control characters, line ends too. */
void ferry_cli_escape(char *text, size_t len);

/* "ferry", or "spawn-fcgi" when it is called by that name: what each message begins with. */
const char *ferry_cli_name(void);
void ferry_cli_set_name(const char *); /* it stays where it is */

/* "ferry: ..." on stderr, as one line whatever it holds: escaped, and cut at about 10 KB. */
void ferry_cli_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* What is wrong with a configuration, behind its place: a ferry_config_say. */
struct ferry_config_place;
void ferry_cli_say_place(void *unused, const struct ferry_config_place *, const char *text);

/* What is opened next is not to become standard input, output or error by accident. */
void ferry_cli_open_standard(void);

/* Has all that was written to stdout arrived? The exit code. */
int ferry_cli_written(void);

struct ferry_addr;
struct ferry_guard_opts;

/* Puts two guards above this process: 0 in the one that is guarded and goes on; else there is
 * nothing more to do but to exit with `*code`. Of the options `apart` and `name` are set here. */
int ferry_cli_guards(const struct ferry_guard_opts *, int *code);

/* Says why an address cannot be listened on, and what to do; `holder` is who listens there, 0 when
 * that is not known, and `option` the end of the sentence "choose another address". */
void ferry_cli_cannot_listen(const struct ferry_addr *, int err, pid_t holder, const char *option);

/* "250ms", "30s", "5m", "2h", "1d", or seconds without a unit, to milliseconds: 0, or FERRY_EUSAGE.
 */
int ferry_cli_duration(const char *text, uint64_t *out);

/* "1000", "64k", "10M", "1G" to bytes: 0, or FERRY_EUSAGE. */
int ferry_cli_size(const char *text, unsigned long long *out);

#endif
