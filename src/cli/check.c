/* SPDX-License-Identifier: MIT */
/* `ferry check`: its options, and the suite that they name. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check/app.h"
#include "check/report.h"
#include "cli/cli.h"
#include "ferry/record.h"
#include "ferry/slice.h"

#define LIST_MAX 64 /* of options that may be given again */

static const char help_text[] =
    "usage: ferry check [OPTION...] ADDRESS\n"
    "       ferry check [OPTION...] -- PROGRAM [ARGUMENT...]\n"
    "       ferry check --gateway ...\n"
    "\n"
    "Checks a FastCGI application against the specification: one that answers at ADDRESS\n"
    "(unix:/path, host:port), or PROGRAM, which is started with a listening socket as\n"
    "its descriptor 0. Cases that need more than an answer are skipped, unless the\n"
    "application answers ferry-check; see ferry-check(1).\n"
    "ferry check --gateway --help tells how web servers are checked.\n"
    "\n"
    "  -v, --verbose           a line for each case, and everything about those that fail\n"
    "      --tap               the results as TAP, for test harnesses\n"
    "      --json              the results as one JSON object\n"
    "      --only ID           only these cases: A-FRM-3a, A-FRM-3 or A-FRM; may be given\n"
    "                          several times, or with commas\n"
    "      --timeout SECONDS   how long to wait for whatever is due (2)\n"
    "      --script FILE       the SCRIPT_FILENAME of all requests, which PHP needs\n"
    "      --param NAME=VALUE  a further param for all requests; may be given several times\n"
    "      --role ROLE         responder, authorizer or filter: what plain requests ask for\n"
    "                          (responder)\n"
    "      --list              list the cases and run none\n"
    "  -h, --help              this text\n"
    "\n"
    "Exits with 0 when nothing is against what the specification demands, else with 1.\n";

enum { OPT_TAP = 256, OPT_JSON, OPT_ONLY, OPT_TIMEOUT, OPT_SCRIPT, OPT_PARAM, OPT_ROLE, OPT_LIST };

static const struct option long_options[] = {
    {"verbose", no_argument, NULL, 'v'},
    {"tap", no_argument, NULL, OPT_TAP},
    {"json", no_argument, NULL, OPT_JSON},
    {"only", required_argument, NULL, OPT_ONLY},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"script", required_argument, NULL, OPT_SCRIPT},
    {"param", required_argument, NULL, OPT_PARAM},
    {"role", required_argument, NULL, OPT_ROLE},
    {"list", no_argument, NULL, OPT_LIST},
    {"help", no_argument, NULL, 'h'},
    {0},
};

struct check {
    struct ferry_check_opts opts;
    const char *only[LIST_MAX + 1];
    size_t nonly;
    struct ferry_param params[LIST_MAX];
    enum ferry_report_format format;
    bool list;
};

static int usage_error(const char *what, const char *value, const char *why)
{
    ferry_cli_say("%s %s: %s", what, value, why);
    return FERRY_EXIT_USAGE;
}

/* Cuts the argument at its commas. */
static int take_only(struct check *k, char *text)
{
    for (char *next; text; text = next) {
        next = strchr(text, ',');
        if (next)
            *next++ = 0;
        if (!*text)
            continue;
        if (k->nonly == LIST_MAX)
            return usage_error("--only", text, "there is room for 64");
        k->only[k->nonly++] = text;
    }
    return 0;
}

static int take_param(struct check *k, const char *text)
{
    const char *equals = strchr(text, '=');

    if (!equals || equals == text)
        return usage_error("--param", text, "must be NAME=VALUE");
    if (k->opts.nparams == LIST_MAX)
        return usage_error("--param", text, "there is room for 64");
    k->params[k->opts.nparams].name = (struct ferry_slice){text, (size_t)(equals - text)};
    k->params[k->opts.nparams].value = (struct ferry_slice){equals + 1, strlen(equals + 1)};
    k->opts.nparams++;
    return 0;
}

static int take_timeout(struct check *k, const char *text)
{
    char *end;
    double seconds = strtod(text, &end);

    if (end == text || *end || !(seconds >= 0.05 && seconds <= 600))
        return usage_error("--timeout", text, "must be a number of seconds from 0.05 to 600");
    k->opts.timeout_ms = (unsigned)(seconds * 1000);
    return 0;
}

static int take_role(struct check *k, const char *text)
{
    for (unsigned role = FERRY_RESPONDER; role <= FERRY_FILTER; role++)
        if (strcasecmp(text, ferry_role_name(role)) == 0) {
            k->opts.role = role;
            return 0;
        }
    return usage_error("--role", text, "must be responder, authorizer or filter");
}

static int take_option(struct check *k, int c)
{
    switch (c) {
    case 'v':
        k->opts.verbose = true;
        return 0;
    case OPT_TAP:
        k->format = FERRY_REPORT_TAP;
        return 0;
    case OPT_JSON:
        k->format = FERRY_REPORT_JSON;
        return 0;
    case OPT_ONLY:
        return take_only(k, optarg);
    case OPT_TIMEOUT:
        return take_timeout(k, optarg);
    case OPT_SCRIPT:
        k->opts.script = optarg;
        return 0;
    case OPT_PARAM:
        return take_param(k, optarg);
    case OPT_ROLE:
        return take_role(k, optarg);
    case OPT_LIST:
        k->list = true;
        return 0;
    default:
        fputs("Try 'ferry check --help'.\n", stderr);
        return FERRY_EXIT_USAGE;
    }
}

/* Does any case answer to this? */
static bool is_known(const char *id)
{
    const char *const only[] = {id, NULL};
    struct ferry_check_opts opts = {.only = only};

    for (const struct ferry_check_group *const *g = ferry_check_app_suite.groups; *g; g++)
        for (size_t i = 0; i < (*g)->ncases; i++)
            if (ferry_check_is_wanted(&opts, (*g)->cases[i].id))
                return true;
    return false;
}

static int check_only(const struct check *k)
{
    for (size_t i = 0; i < k->nonly; i++)
        if (!is_known(k->only[i]))
            return usage_error("--only", k->only[i], "there is no such case; --list lists them");
    return 0;
}

/* What is to be checked: an address before a "--", or a program behind it. */
static int take_target(struct check *k, int argc, char **argv, int dashes)
{
    if (dashes) {
        k->opts.program = (const char *const *)argv + dashes;
        if (optind < dashes - 1 || dashes == argc) {
            ferry_cli_say("ferry check -- PROGRAM: %s",
                          dashes == argc ? "no program is named" : "an address and a program");
            return FERRY_EXIT_USAGE;
        }
        return 0;
    }
    if (optind != argc - 1) {
        ferry_cli_say("ferry check takes an ADDRESS, or -- and a PROGRAM; ferry check --help tells "
                      "more");
        return FERRY_EXIT_USAGE;
    }
    k->opts.address = argv[optind];
    return 0;
}

/* The index behind a "--" among the arguments, or 0. What follows it is not looked at as options.
 */
static int find_dashes(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--") == 0)
            return i + 1;
    return 0;
}

static bool wants_colour(void)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

    return isatty(STDOUT_FILENO) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

static volatile sig_atomic_t interrupted;

static void interrupt(int sig)
{
    (void)sig;
    interrupted = 1;
}

/* What was started is stopped, and the folder removed, on these too. */
static void catch_signals(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = interrupt};

    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &action, NULL);
}

static const char *target_name(const struct check *k)
{
    return k->opts.program ? k->opts.program[0] : k->opts.address;
}

static int run(struct check *k)
{
    struct ferry_report_opts o = {.format = k->format,
                                  .verbose = k->opts.verbose,
                                  .colour = wants_colour(),
                                  .to = stdout,
                                  .target = target_name(k)};
    struct ferry_report *report = ferry_report_new(&o);
    char why[1024] = "no memory is left";
    int failed = FERRY_EREMOTE;

    catch_signals();
    k->opts.stop = &interrupted;
    if (report)
        failed = ferry_check_app(&k->opts, report, why, sizeof why);
    if (failed < 0)
        ferry_cli_say("%s", why);
    else if (ferry_report_end(report) < 0)
        failed += 1;
    ferry_report_free(report);
    if (interrupted)
        ferry_cli_say("interrupted");
    else if (failed == FERRY_EUSAGE)
        return FERRY_EXIT_USAGE;
    return failed || interrupted || ferry_cli_written() ? FERRY_EXIT_FAILED : FERRY_EXIT_OK;
}

int ferry_cli_check(int argc, char **argv)
{
    struct check k = {.opts = {.timeout_ms = FERRY_CHECK_TIMEOUT_MS}};
    int c, err, dashes = find_dashes(argc, argv);

    k.opts.only = k.only;
    k.opts.params = k.params;
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--gateway") == 0)
            return ferry_cli_check_gateway(argc, argv);
    argv[0] = (char[]){"ferry check"}; /* getopt's messages begin with it */
    while ((c = getopt_long(argc, argv, "+vh", long_options, NULL)) != -1) {
        if (c == 'h') {
            fputs(help_text, stdout);
            return ferry_cli_written();
        }
        err = take_option(&k, c);
        if (err)
            return err;
    }
    err = check_only(&k);
    if (err)
        return err;
    if (k.list) {
        ferry_check_list(&ferry_check_app_suite, &k.opts);
        return ferry_cli_written();
    }
    err = take_target(&k, argc, argv, dashes);
    return err ? err : run(&k);
}
