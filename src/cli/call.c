/* SPDX-License-Identifier: MIT */
/* `ferry call`: its options, which are curl's where curl has them. */
#include "cli/call.h"

#include <getopt.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

#define REPEAT_MAX 1000000000ull
#define PARALLEL_MAX 10000ull
#define CONNECT_MS 5000

static const char help_text[] =
    "usage: ferry call [OPTION...] ADDRESS SCRIPT\n"
    "       ferry call --values ADDRESS\n"
    "\n"
    "Sends a request to a FastCGI application by hand, as curl does to a web server.\n"
    "\n"
    "  ferry call unix:/run/php/php8.2-fpm.sock /srv/x.php -d a=b\n"
    "  ferry call :9000 '/srv/x.php?page=2' -i\n"
    "  ferry call /run/app.sock /api/users --root /srv/app --json '{\"name\":\"Ada\"}'\n"
    "  ferry call :9000 /srv/x.php --repeat 10000 --parallel 20\n"
    "\n"
    "SCRIPT is a file, or with --root a URL path below that folder; it may have a query.\n"
    "\n"
    "The request:\n"
    "  -X, --request METHOD         GET, or POST with a body, unless given\n"
    "  -H, --header 'NAME: VALUE'   a header; 'NAME:' leaves one out\n"
    "  -d TEXT, --data TEXT         a urlencoded body, several joined by '&'; @FILE, @- for stdin\n"
    "      --data-raw TEXT          the same, and '@' means nothing\n"
    "      --data-binary @FILE      the same, and the file as it is\n"
    "      --data-urlencode TEXT    the same, encoded: text, name=text, name@FILE\n"
    "      --json TEXT              a JSON body; @FILE\n"
    "  -F, --form NAME=VALUE        a part of a multipart form; NAME=@FILE uploads a file, "
    "NAME=<FILE\n"
    "                               takes its text; ;type=TYPE and ;filename=NAME may follow\n"
    "      --form-string NAME=TEXT  a part, literally\n"
    "  -T, --upload-file FILE       the body is this file; PUT\n"
    "  -G, --get                    put the data of -d into the query\n"
    "  -I, --head                   HEAD; show the head\n"
    "  -A, --user-agent NAME        HTTP_USER_AGENT\n"
    "  -u, --user NAME:PASSWORD     HTTP_AUTHORIZATION\n"
    "  -b, --cookie NAME=VALUE      HTTP_COOKIE\n"
    "      --root DIR               the document root; SCRIPT is a path below it\n"
    "      --uri URI                REQUEST_URI, for a script that serves many\n"
    "  -e, --param NAME=VALUE       set a param or replace it; -e -NAME leaves it out\n"
    "      --role ROLE              responder, authorizer or filter (responder)\n"
    "      --data FILE              with --role filter: the file that is filtered\n"
    "\n"
    "The answer:\n"
    "  -i, --include                show its head too\n"
    "  -o, --output FILE            write it there\n"
    "  -f, --fail                   a status of 400 or more is a failure, and its body not shown\n"
    "      --app-status             exit with the application's status\n"
    "  -v, --verbose                show the params, the head, the end and the times\n"
    "      --records                show the records of both directions in place of the answer\n"
    "      --values                 ask with GET_VALUES what the application can do\n"
    "  -s, --silent                 no messages\n"
    "  -m, --max-time SECONDS       give up then (never)\n"
    "      --connect-timeout SECONDS  how long connecting may take (5)\n"
    "\n"
    "Many requests:\n"
    "      --repeat N               send it N times, and tell how long that took\n"
    "      --parallel N             so many at once (1)\n"
    "      --keep                   on kept connections, not one for each request\n"
    "      --report text|json       how it is told\n"
    "      --io uring|epoll|auto    the event loop (auto)\n"
    "  -h, --help                   this text\n"
    "\n"
    "Exits with 0 when there was an answer, 1 when not (with -f: or one of status 400 or more),\n"
    "64 when it was not understood.\n";

/* Those that draft data come first, in the order of
 * FERRY_DRAFT_DATA_MAP. */
enum {
    OPT_DATA = 256,
    OPT_RAW,
    OPT_BINARY,
    OPT_URLENCODE,
    OPT_JSON,
    OPT_FORM_STRING,
    OPT_ROOT,
    OPT_URI,
    OPT_ROLE,
    OPT_APP_STATUS,
    OPT_RECORDS,
    OPT_VALUES,
    OPT_CONNECT_TIMEOUT,
    OPT_REPEAT,
    OPT_PARALLEL,
    OPT_KEEP,
    OPT_REPORT,
    OPT_IO,
};

static const char letters[] = "X:H:d:F:T:GIA:u:b:e:io:fvsm:h";

static const struct option long_options[] = {
    {"request", required_argument, NULL, 'X'},
    {"header", required_argument, NULL, 'H'},
    {"data", required_argument, NULL, OPT_DATA},
    {"data-raw", required_argument, NULL, OPT_RAW},
    {"data-binary", required_argument, NULL, OPT_BINARY},
    {"data-urlencode", required_argument, NULL, OPT_URLENCODE},
    {"json", required_argument, NULL, OPT_JSON},
    {"form", required_argument, NULL, 'F'},
    {"form-string", required_argument, NULL, OPT_FORM_STRING},
    {"upload-file", required_argument, NULL, 'T'},
    {"get", no_argument, NULL, 'G'},
    {"head", no_argument, NULL, 'I'},
    {"user-agent", required_argument, NULL, 'A'},
    {"user", required_argument, NULL, 'u'},
    {"cookie", required_argument, NULL, 'b'},
    {"root", required_argument, NULL, OPT_ROOT},
    {"uri", required_argument, NULL, OPT_URI},
    {"param", required_argument, NULL, 'e'},
    {"role", required_argument, NULL, OPT_ROLE},
    {"include", no_argument, NULL, 'i'},
    {"output", required_argument, NULL, 'o'},
    {"fail", no_argument, NULL, 'f'},
    {"app-status", no_argument, NULL, OPT_APP_STATUS},
    {"verbose", no_argument, NULL, 'v'},
    {"records", no_argument, NULL, OPT_RECORDS},
    {"values", no_argument, NULL, OPT_VALUES},
    {"silent", no_argument, NULL, 's'},
    {"max-time", required_argument, NULL, 'm'},
    {"connect-timeout", required_argument, NULL, OPT_CONNECT_TIMEOUT},
    {"repeat", required_argument, NULL, OPT_REPEAT},
    {"parallel", required_argument, NULL, OPT_PARALLEL},
    {"keep", no_argument, NULL, OPT_KEEP},
    {"report", required_argument, NULL, OPT_REPORT},
    {"io", required_argument, NULL, OPT_IO},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static int usage_error(const char *what, const char *value, const char *why)
{
    ferry_cli_say("%s %s: %s", what, value, why);
    return FERRY_EXIT_USAGE;
}

/* A draft's errors: files that cannot be read are no mistake of usage. */
static int drafted(struct ferry_cli_call *call, int err)
{
    if (err == 0)
        return 0;
    ferry_cli_say("%s", call->draft.why);
    return err == FERRY_EUSAGE || err == FERRY_ELIMIT ? FERRY_EXIT_USAGE : FERRY_EXIT_FAILED;
}

/* Seconds as curl takes them, or with a unit. */
static int take_time(const char *what, const char *text, unsigned *out)
{
    char *end;
    double seconds = strtod(text, &end);
    uint64_t ms;

    if (end != text && !*end && seconds >= 0.001 && seconds <= 1e6) {
        *out = (unsigned)(seconds * 1000);
        return 0;
    }
    if (ferry_cli_duration(text, &ms) < 0 || ms < 1 || ms > 1000000000)
        return usage_error(what, text, "must be a number of seconds, or one with ms, s, m or h");
    *out = (unsigned)ms;
    return 0;
}

static int take_number(const char *what, const char *text, unsigned long long max,
                       unsigned long long *out)
{
    uint64_t n;

    if (ferry_slice_u64(ferry_slice_z(text), max, &n) < 0 || n == 0) {
        ferry_cli_say("%s %s: must be a number from 1 to %llu", what, text, max);
        return FERRY_EXIT_USAGE;
    }
    *out = n;
    return 0;
}

static int take_role(struct ferry_cli_call *call, const char *text)
{
    for (unsigned role = FERRY_RESPONDER; role <= FERRY_FILTER; role++)
        if (strcasecmp(text, ferry_role_name(role)) == 0) {
            call->draft.role = role;
            return 0;
        }
    return usage_error("--role", text, "must be responder, authorizer or filter");
}

static int take_report(struct ferry_cli_call *call, const char *text)
{
    if (strcmp(text, "json") != 0 && strcmp(text, "text") != 0)
        return usage_error("--report", text, "must be text or json");
    call->report_json = strcmp(text, "json") == 0;
    call->is_load = true;
    return 0;
}

static int take_io(struct ferry_cli_call *call, const char *text)
{
    static const char *const names[] = {
        [FERRY_IO_AUTO] = "auto", [FERRY_IO_URING] = "uring", [FERRY_IO_EPOLL] = "epoll"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(text, names[i]) == 0) {
            call->io = (enum ferry_io)i;
            return 0;
        }
    return usage_error("--io", text, "must be uring, epoll or auto");
}

static int take_data(struct ferry_cli_call *call, int c)
{
    if (c == OPT_DATA && call->draft.role == FERRY_FILTER) {
        if (call->draft.data_file)
            return usage_error("--data", optarg, "a filter has one file");
        call->draft.data_file = optarg;
        return 0;
    }
    return drafted(
        call, ferry_draft_data(&call->draft,
                               c == 'd' ? FERRY_DRAFT_FORM : (enum ferry_draft_data)(c - OPT_DATA),
                               optarg));
}

static int take_flag(struct ferry_cli_call *call, int c)
{
    switch (c) {
    case 'G':
        call->draft.get = true;
        return 0;
    case 'I':
        call->draft.head = true;
        return 0;
    case 'i':
        call->include = true;
        return 0;
    case 'f':
        call->fail = true;
        return 0;
    case 'v':
        call->verbose = true;
        return 0;
    case 's':
        call->silent = true;
        return 0;
    case OPT_APP_STATUS:
        call->app_status = true;
        return 0;
    case OPT_RECORDS:
        call->records = true;
        return 0;
    case OPT_VALUES:
        call->values = true;
        return 0;
    case OPT_KEEP:
        call->keep = call->is_load = true;
        return 0;
    default:
        fputs("Try 'ferry call --help'.\n", stderr);
        return FERRY_EXIT_USAGE;
    }
}

static int take_option(struct ferry_cli_call *call, int c)
{
    struct ferry_draft *d = &call->draft;

    switch (c) {
    case 'X':
        d->method = optarg;
        return 0;
    case 'H':
        return drafted(call, ferry_draft_header(d, optarg));
    case 'F':
        return drafted(call, ferry_draft_part(d, optarg, false));
    case OPT_FORM_STRING:
        return drafted(call, ferry_draft_part(d, optarg, true));
    case 'T':
        return drafted(call, ferry_draft_upload(d, optarg));
    case 'b':
        return drafted(call, ferry_draft_cookie(d, optarg));
    case 'e':
        return drafted(call, ferry_draft_param(d, optarg));
    case 'A':
        d->agent = optarg;
        return 0;
    case 'u':
        d->user = optarg;
        return 0;
    case OPT_ROOT:
        d->root = optarg;
        return 0;
    case OPT_URI:
        d->uri = optarg;
        return 0;
    case 'o':
        call->output = optarg;
        return 0;
    case 'm':
        return take_time("-m", optarg, &call->total_ms);
    case OPT_CONNECT_TIMEOUT:
        return take_time("--connect-timeout", optarg, &call->connect_ms);
    case OPT_REPEAT:
        call->is_load = true;
        return take_number("--repeat", optarg, REPEAT_MAX, &call->repeat);
    case OPT_PARALLEL:
        call->is_load = true;
        return take_number("--parallel", optarg, PARALLEL_MAX, &call->parallel);
    case OPT_REPORT:
        return take_report(call, optarg);
    case OPT_IO:
        return take_io(call, optarg);
    case OPT_ROLE:
        return 0; /* known by now */
    default:
        return c == 'd' || (c >= OPT_DATA && c <= OPT_JSON) ? take_data(call, c)
                                                            : take_flag(call, c);
    }
}

/* The role says what --data means, wherever it stands. */
static int find_role(struct ferry_cli_call *call, int argc, char **argv)
{
    int c, err = 0;

    opterr = 0;
    while (err == 0 && (c = getopt_long(argc, argv, letters, long_options, NULL)) != -1)
        if (c == OPT_ROLE)
            err = take_role(call, optarg);
    opterr = 1;
    optind = 0; /* from the beginning, once more */
    return err;
}

/* The name of a host, which ferry_addr_parse does not take. */
static int look_up(struct ferry_cli_call *call, const char *why)
{
    const char *colon = strrchr(call->address, ':');
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    char host[256];
    size_t len = colon ? (size_t)(colon - call->address) : 0;
    uint64_t port;
    int err;

    if (len == 0 || len >= sizeof host || strchr(call->address, '/') ||
        ferry_slice_u64(ferry_slice_z(colon + 1), 65535, &port) < 0 || port == 0 ||
        strspn(call->address, "0123456789.:[]") == strlen(call->address))
        return usage_error("the address", call->address, why);
    memcpy(host, call->address, len);
    host[len] = 0;
    err = getaddrinfo(host, colon + 1, &hints, &found);
    if (err) {
        if (!call->silent)
            ferry_cli_say("the host %s cannot be found: %s", host, gai_strerror(err));
        return FERRY_EXIT_FAILED;
    }
    memcpy(&call->addr.un, found->ai_addr, found->ai_addrlen);
    call->addr.len = found->ai_addrlen;
    call->addr.fd = -1;
    freeaddrinfo(found);
    return 0;
}

static int take_target(struct ferry_cli_call *call, int argc, char **argv)
{
    int want = call->values ? 1 : 2;
    const char *why;

    if (argc - optind != want) {
        ferry_cli_say(call->values ? "ferry call --values takes an ADDRESS"
                                   : "ferry call takes an ADDRESS and a SCRIPT; ferry call --help "
                                     "tells more");
        return FERRY_EXIT_USAGE;
    }
    call->address = argv[optind];
    if (!call->values)
        call->draft.script = argv[optind + 1];
    if (ferry_addr_parse(call->address, false, &call->addr, &why) < 0)
        return look_up(call, why);
    if (call->addr.fd >= 0)
        return usage_error("the address", call->address, "a descriptor cannot be connected to");
    return 0;
}

static int check(struct ferry_cli_call *call)
{
    const char *with = call->is_load && call->records  ? "--records"
                       : call->is_load && call->values ? "--values"
                       : call->is_load && call->output ? "--output"
                                                       : NULL;

    if (with)
        return usage_error(with, "and --repeat", "cannot be used together");
    if (call->parallel > call->repeat)
        call->parallel = call->repeat;
    return 0;
}

static int run(struct ferry_cli_call *call, int argc, char **argv)
{
    int c, err = find_role(call, argc, argv);

    while (err == 0 && (c = getopt_long(argc, argv, letters, long_options, NULL)) != -1) {
        if (c == 'h') {
            fputs(help_text, stdout);
            return ferry_cli_written();
        }
        err = take_option(call, c);
    }
    if (err == 0)
        err = take_target(call, argc, argv);
    if (err == 0)
        err = check(call);
    if (err == 0 && call->values)
        return ferry_cli_call_values(call);
    if (err == 0)
        err = drafted(call, ferry_draft_seal(&call->draft));
    if (err)
        return err;
    return call->is_load ? ferry_cli_call_load(call) : ferry_cli_call_once(call);
}

int ferry_cli_call(int argc, char **argv)
{
    struct ferry_cli_call call = {.repeat = 1, .parallel = 1, .connect_ms = CONNECT_MS};
    int code;

    argv[0] = (char[]){"ferry call"}; /* getopt's messages begin with it */
    code = run(&call, argc, argv);
    ferry_draft_fini(&call.draft);
    return code;
}
