/* SPDX-License-Identifier: MIT */
/* `ferry check --gateway`: its options, and one run of the suite for web servers. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check/gateway.h"
#include "check/report.h"
#include "cli/cli.h"

#define TIMEOUT_MS 5000 /* web servers wait for more things than applications do */
#define ONLY_MAX 64

static const char help_text[] =
    "usage: ferry check --gateway --listen ADDR --url URL [OPTION...]\n"
    "       ferry check --gateway [OPTION...] -- PROGRAM [ARG...]\n"
    "\n"
    "Checks a web server against the FastCGI specification: plays its application and its clients "
    "at once. It must\n"
    "pass all requests below URL on to the application at ADDR. With PROGRAM it is started, and "
    "stopped at the end;\n"
    "in ARGs {app} is the application's address, {app_host}, {app_port} and {app_path} are parts "
    "of it, {port} is a\n"
    "free port for the web server, {url} the URL, and {dir} an empty directory for its files.\n"
    "\n"
    "      --gateway            check a web server (without: an application; see ferry help "
    "check)\n"
    "      --listen ADDR        where the application listens (with PROGRAM: a free address)\n"
    "      --url URL            a prefix, ending with a slash (with PROGRAM: "
    "http://127.0.0.1:{port}/)\n"
    "      --authorizer-url URL a prefix that an authorizer at ADDR is asked about first\n"
    "      --filter-url URL     a file that goes through a filter at ADDR\n"
    "      --log FILE           the web server's log (with PROGRAM: what it writes to stdout and "
    "stderr)\n"
    "      --only ID...         only these cases: W-9 is W-9a, W-9b ...; may be given several "
    "times\n"
    "      --timeout SECONDS    how long to wait for each thing that is due (5)\n"
    "      --list               list the cases and run none\n"
    "  -v, --verbose            a line for each case\n"
    "      --json, --tap        the result as JSON, or as TAP version 14\n"
    "  -h, --help               this text\n"
    "\n"
    "Exits 1 when something is against what the specification demands.\n";

enum {
    OPT_GATEWAY = 256,
    OPT_LISTEN,
    OPT_URL,
    OPT_AUTHORIZER,
    OPT_FILTER,
    OPT_LOG,
    OPT_ONLY,
    OPT_TIMEOUT,
    OPT_LIST,
    OPT_JSON,
    OPT_TAP
};

static const struct option long_options[] = {
    {"gateway", no_argument, NULL, OPT_GATEWAY},
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"url", required_argument, NULL, OPT_URL},
    {"authorizer-url", required_argument, NULL, OPT_AUTHORIZER},
    {"filter-url", required_argument, NULL, OPT_FILTER},
    {"log", required_argument, NULL, OPT_LOG},
    {"only", required_argument, NULL, OPT_ONLY},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"list", no_argument, NULL, OPT_LIST},
    {"verbose", no_argument, NULL, 'v'},
    {"json", no_argument, NULL, OPT_JSON},
    {"tap", no_argument, NULL, OPT_TAP},
    {"help", no_argument, NULL, 'h'},
    {0},
};

struct asked_for {
    struct ferry_gateway_opts gateway;
    struct ferry_check_opts check;
    struct ferry_report_opts report;
    const char *only[ONLY_MAX + 1];
    size_t nonly;
    bool is_gateway, list, help;
};

static volatile sig_atomic_t interrupted;

static void interrupt(int sig)
{
    (void)sig;
    interrupted = 1;
}

static int usage_error(const char *what, const char *value, const char *why)
{
    ferry_cli_say("%s %s: %s", what, value, why);
    return FERRY_EXIT_USAGE;
}

static int take_timeout(struct asked_for *a, const char *text)
{
    char *end;
    double seconds = strtod(text, &end);

    if (end == text || *end || !(seconds >= 0.05 && seconds <= 600))
        return usage_error("--timeout", text, "must be a number of seconds from 0.05 to 600");
    a->check.timeout_ms = (unsigned)(seconds * 1000);
    return 0;
}

/* "W-9,W-11c" or one id. */
static int take_only(struct asked_for *a, char *text)
{
    for (char *next; text; text = next) {
        next = strpbrk(text, ", ");
        if (next)
            *next++ = '\0';
        if (a->nonly == ONLY_MAX)
            return usage_error("--only", text, "there is room for 64 of them");
        if (*text)
            a->only[a->nonly++] = text;
    }
    return 0;
}

static int take_option(struct asked_for *a, int c)
{
    switch (c) {
    case OPT_GATEWAY:
        a->is_gateway = true;
        return 0;
    case OPT_LISTEN:
        a->gateway.listen = optarg;
        return 0;
    case OPT_URL:
        a->gateway.url = optarg;
        return 0;
    case OPT_AUTHORIZER:
        a->gateway.authorizer_url = optarg;
        return 0;
    case OPT_FILTER:
        a->gateway.filter_url = optarg;
        return 0;
    case OPT_LOG:
        a->gateway.log = optarg;
        return 0;
    case OPT_ONLY:
        return take_only(a, optarg);
    case OPT_TIMEOUT:
        return take_timeout(a, optarg);
    case OPT_LIST:
        a->list = true;
        return 0;
    case OPT_JSON:
        a->report.format = FERRY_REPORT_JSON;
        return 0;
    case OPT_TAP:
        a->report.format = FERRY_REPORT_TAP;
        return 0;
    case 'v':
        a->report.verbose = a->check.verbose = true;
        return 0;
    case 'h':
        a->help = true;
        return 0;
    default:
        fputs("Try 'ferry check --gateway --help'.\n", stderr);
        return FERRY_EXIT_USAGE;
    }
}

/* Does any case answer to this? */
static bool is_known(const char *id)
{
    const char *const only[] = {id, NULL};
    struct ferry_check_opts opts = {.only = only};

    for (const struct ferry_check_group *const *g = ferry_gateway_suite.groups; *g; g++)
        for (size_t i = 0; i < (*g)->ncases; i++)
            if (ferry_check_is_wanted(&opts, (*g)->cases[i].id))
                return true;
    return false;
}

static int check(struct asked_for *a)
{
    for (size_t i = 0; i < a->nonly; i++)
        if (!is_known(a->only[i]))
            return usage_error("--only", a->only[i], "there is no such case; --list lists them");
    if (a->list)
        return 0;
    if (!a->is_gateway) {
        ferry_cli_say("check needs --gateway");
        return FERRY_EXIT_USAGE;
    }
    if (!a->gateway.program && (!a->gateway.listen || !a->gateway.url)) {
        ferry_cli_say("check --gateway needs either -- PROGRAM, or --listen and --url for a web "
                      "server that runs already");
        return FERRY_EXIT_USAGE;
    }
    return 0;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = interrupt};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

static int run(struct asked_for *a)
{
    struct ferry_gateway *g = calloc(1, sizeof *g);
    struct ferry_report *report;
    char why[1024], at[FERRY_ADDR_TEXT_MAX];
    unsigned failed;
    int err;

    if (!g)
        return FERRY_EXIT_FAILED;
    catch_signals();
    err = ferry_gateway_open(g, &a->gateway, &a->check, why, sizeof why);
    if (err < 0) {
        ferry_cli_say("%s", why);
        free(g);
        return err == FERRY_EUSAGE ? FERRY_EXIT_USAGE : FERRY_EXIT_FAILED;
    }
    a->report.target = g->url;
    report = ferry_report_new(&a->report);
    if (!report) {
        ferry_cli_say("no memory is left");
        failed = 1;
    } else {
        ferry_addr_format(&g->stage.app, at, sizeof at);
        ferry_report_fact(report, "web server", g->url);
        ferry_report_fact(report, "application", at);
        failed = ferry_check_run(&ferry_gateway_suite, &a->check, g, report);
        failed += ferry_report_end(report) < 0;
    }
    ferry_report_free(report);
    ferry_gateway_close(g);
    free(g);
    if (interrupted)
        ferry_cli_say("interrupted");
    return failed || interrupted ? FERRY_EXIT_FAILED : FERRY_EXIT_OK;
}

int ferry_cli_check_gateway(int argc, char **argv)
{
    struct asked_for a = {.check = {.timeout_ms = TIMEOUT_MS}, .report = {.to = stdout}};
    int c, code;

    argv[0] = (char[]){"ferry check --gateway"}; /* getopt's messages begin with it */
    while ((c = getopt_long(argc, argv, "+vh", long_options, NULL)) != -1)
        if ((code = take_option(&a, c)))
            return code;
    a.check.only = a.only;
    if (a.help) {
        fputs(help_text, stdout);
        return ferry_cli_written();
    }
    if (optind < argc)
        a.gateway.program = (const char *const *)argv + optind;
    a.check.stop = &interrupted;
    a.report.colour = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
    code = check(&a);
    if (code || !a.list)
        return code ? code : run(&a);
    ferry_check_list(&ferry_gateway_suite, &a.check);
    return ferry_cli_written();
}
