/* SPDX-License-Identifier: MIT */
/* `ferry run`: serves what a configuration file says. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/chains.h"
#include "cli/cli.h"
#include "cli/paths.h"

static const char help_text[] =
    "usage: ferry run -c FILE [OPTION...]\n"
    "\n"
    "Serves sites over HTTP as a configuration file says: from files, and from FastCGI "
    "applications "
    "that it\n"
    "connects to or starts. ferry.conf(5) describes the file.\n"
    "\n"
    "  -c, --config FILE       the configuration; - is standard input\n"
    "  -t, --check             only look whether the configuration is good\n"
    "  -v, --verbose           say more\n"
    "  -q, --quiet             no notices\n"
    "  -h, --help              this text\n"
    "\n"
    "When it serves it prints each address it listens on. SIGHUP reads the file again: if all of "
    "it "
    "is good,\n"
    "it is in force from then on, and no request is lost; else everything stays. SIGUSR1 opens the "
    "logs anew.\n"
    "SIGTERM finishes the requests under way, then ends it; SIGINT (Ctrl-C) ends it now.\n";

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'}, {"check", no_argument, NULL, 't'},
    {"verbose", no_argument, NULL, 'v'},      {"quiet", no_argument, NULL, 'q'},
    {"help", no_argument, NULL, 'h'},         {0},
};

/* What only the filters themselves know of their options. */
static int check_chains(struct ferry_config *c)
{
    struct ferry_app **apps = calloc(c->napplications + 1, sizeof *apps);
    struct ferry_generation g = {.config = c, .apps = apps, .threads = 1, .check = true};
    struct ferry_chains chains = {0};
    char why[160];
    int err;

    if (!apps)
        return -ENOMEM;
    err = ferry_chains_init(&chains, &g);
    ferry_chains_fini(&chains);
    free(apps);
    if (err == 0 && ferry_identity_find(c->user, c->group, &g.identity, why, sizeof why) < 0) {
        ferry_cli_say("the workers cannot be another user: %s", why);
        err = FERRY_EUSAGE;
    }
    return err;
}

static int read_config(void *arg, struct ferry_config **out)
{
    struct ferry_config *c = NULL;
    int err = ferry_config_read(arg, &c, ferry_cli_say_place, NULL);

    if (err == 0 && c->nsites == 0) {
        ferry_cli_say("%s: there is no site in it; its mail services are for 'ferry mail'",
                      (const char *)arg);
        err = FERRY_EUSAGE;
    }
    if (err == 0)
        err = check_chains(c);
    if (err < 0)
        ferry_config_free(c);
    else
        *out = c;
    return err;
}

static int usage_error(const char *why)
{
    ferry_cli_say("run: %s", why);
    fputs("Try 'ferry help run'.\n", stderr);
    return FERRY_EXIT_USAGE;
}

static int run(struct ferry_engine *e, const char *file, bool check)
{
    int err;

    /* A stream cannot be read again. */
    if (strcmp(file, "-") != 0)
        e->reload = read_config;
    e->arg = (void *)file;
    if (read_config(e->arg, &e->config) < 0)
        return FERRY_EXIT_CONFIG;
    if (!check)
        return ferry_engine_guarded(e);
    err = ferry_paths_look(e->config, ferry_cli_say_place, NULL);
    ferry_config_free(e->config);
    if (err < 0)
        return FERRY_EXIT_CONFIG;
    printf("%s is good\n", file);
    return ferry_cli_written();
}

int ferry_cli_run(int argc, char **argv)
{
    struct ferry_engine engine = {
        .ops = &ferry_web_service, .listen_hint = "listen =", .first = getpid()};
    const char *file = NULL;
    bool check = false;
    int c;

    argv[0] = (char[]){"ferry run"}; /* getopt's messages begin with it */
    while ((c = getopt_long(argc, argv, "c:tvqh", long_options, NULL)) != -1) {
        switch (c) {
        case 'c':
            file = optarg;
            break;
        case 't':
            check = true;
            break;
        case 'v':
            engine.verbose = true;
            break;
        case 'q':
            engine.quiet = true;
            break;
        case 'h':
            fputs(help_text, stdout);
            return ferry_cli_written();
        default:
            fputs("Try 'ferry help run'.\n", stderr);
            return FERRY_EXIT_USAGE;
        }
    }
    if (optind < argc)
        return usage_error("it takes no arguments but options");
    if (!file)
        return usage_error("which configuration? -c FILE");
    return run(&engine, file, check);
}
