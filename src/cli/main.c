/* SPDX-License-Identifier: MIT */
/* The ferry command: one table of subcommands, help and version. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/slice.h"
#include "cli/cli.h"
#include "ferry/err.h"

static int help(int argc, char **argv);
static int version(int argc, char **argv);

static const struct {
    const char *name;
    ferry_command_fn run;
    const char *summary;
} commands[] = {
    {"serve", ferry_cli_serve,
     "serve a directory of PHP and files, or any FastCGI application, over HTTP"},
    {"run", ferry_cli_run, "serve what a configuration file says"},
    {"mail", ferry_cli_mail, "take mail over SMTP or LMTP, for scripts that check and store it"},
    {"spawn", ferry_cli_spawn, "start a FastCGI program behind a socket, and keep it running"},
    {"call", ferry_cli_call, "send a request to a FastCGI application by hand, once or often"},
    {"check", ferry_cli_check,
     "check a FastCGI application, or a web server, against the specification"},
    {"trace", ferry_cli_trace,
     "stand between a web server and an application, and show every request"},
    {"config", ferry_cli_config, "check, print and lay out configuration files"},
    {"help", help, "show this, or the help of a command"},
    {"version", version, "show the version"},
};

static int version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    puts("ferry " FERRY_VERSION);
    return ferry_cli_written();
}

static void usage(FILE *to)
{
    fputs(
        "ferry carries requests to FastCGI applications.\n\nusage: ferry COMMAND [ARGUMENT...]\n\n",
        to);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(to, "  %-9s %s\n", commands[i].name, commands[i].summary);
    fputs("\nferry help COMMAND shows what a command takes.\n", to);
}

static int run(const char *command, int argc, char **argv)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(command, commands[i].name) == 0)
            return commands[i].run(argc, argv);
    ferry_cli_say("there is no command '%s'; ferry help lists them", command);
    return FERRY_EXIT_USAGE;
}

static int help(int argc, char **argv)
{
    char *args[] = {argc > 1 ? argv[1] : NULL, (char[]){"--help"}, NULL};

    if (argc > 1 && strcmp(argv[1], "help") != 0 && strcmp(argv[1], "version") != 0)
        return run(argv[1], 2, args);
    usage(stdout);
    return ferry_cli_written();
}

int main(int argc, char **argv)
{
    ferry_cli_open_standard();
    if (strcmp(basename(argc ? argv[0] : ""), "spawn-fcgi") == 0) {
        ferry_cli_set_name("spawn-fcgi");
        return ferry_cli_spawn(argc, argv);
    }
    if (argc < 2) {
        usage(stderr);
        return FERRY_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return help(0, NULL);
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
        return version(0, NULL);
    return run(argv[1], argc - 1, argv + 1);
}
