/* SPDX-License-Identifier: MIT */
/* `ferry serve`: its options, and what follows from them before anything is started. */
#include "cli/serve.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"

#define PORT_FIRST 8080
#define PORT_LAST 8089
#define SCAN_DEPTH 3
#define SCAN_ENTRIES 5000

static const char help_text[] =
    "usage: ferry serve [DIR] [OPTION...]\n"
    "\n"
    "Serves a directory of PHP and files over HTTP; finds PHP (php-fpm, else php-cgi) and runs it. "
    "DIR is the\n"
    "current directory unless given, or its public, web, docroot or htdocs when that holds an "
    "index.php.\n"
    "\n"
    "  -l, --listen ADDR       where to listen: host:port, :port, [v6]:port, unix:/path or fd:N; "
    "may be given\n"
    "                          several times. Default: 127.0.0.1 and [::1], port 8080 or the next "
    "free one to 8089\n"
    "  -a, --app ADDR          send dynamic requests to the FastCGI application at ADDR "
    "(unix:/path, host:port)\n"
    "                          instead of starting PHP; without DIR every path goes to it\n"
    "      --spawn PROGRAM     start PROGRAM as the FastCGI application, with the socket as its "
    "descriptor 0\n"
    "      --script FILE       run this one file for every request\n"
    "      --index NAME        directory index and front controller (index.php)\n"
    "      --server-name NAME  what the application is told as SERVER_NAME (the request's host)\n"
    "      --php PATH          the php-fpm or php-cgi to run\n"
    "      --threads N         one per processor\n"
    "      --io BACKEND        uring, epoll or auto (auto)\n"
    "      --multiplex WHEN    auto, on or off: many requests on one connection to the application "
    "(auto: ask it)\n"
    "      --access-log FILE   a file, - for stderr, or off (-)\n"
    "      --max-body SIZE     largest request body, such as 500k, 64M, 2G (1G); larger ones get "
    "413\n"
    "      --max-head SIZE     largest request head (64k); larger ones get 431\n"
    "  -v, --verbose           say more\n"
    "  -q, --quiet             no access log, no notices\n"
    "      --help              this text\n"
    "\n"
    "SIGTERM finishes the requests under way, then ends; SIGINT (Ctrl-C) ends now; SIGUSR1 opens "
    "the log anew.\n";

enum {
    OPT_SCRIPT = 256,
    OPT_INDEX,
    OPT_NAME,
    OPT_PHP,
    OPT_THREADS,
    OPT_IO,
    OPT_MPX,
    OPT_LOG,
    OPT_BODY,
    OPT_HEAD,
    OPT_SPAWN,
    OPT_HELP
};

static const struct option long_options[] = {
    {"listen", required_argument, NULL, 'l'},
    {"app", required_argument, NULL, 'a'},
    {"spawn", required_argument, NULL, OPT_SPAWN},
    {"script", required_argument, NULL, OPT_SCRIPT},
    {"index", required_argument, NULL, OPT_INDEX},
    {"server-name", required_argument, NULL, OPT_NAME},
    {"php", required_argument, NULL, OPT_PHP},
    {"threads", required_argument, NULL, OPT_THREADS},
    {"io", required_argument, NULL, OPT_IO},
    {"multiplex", required_argument, NULL, OPT_MPX},
    {"access-log", required_argument, NULL, OPT_LOG},
    {"max-body", required_argument, NULL, OPT_BODY},
    {"max-head", required_argument, NULL, OPT_HEAD},
    {"verbose", no_argument, NULL, 'v'},
    {"quiet", no_argument, NULL, 'q'},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

static int usage_error(const char *what, const char *value, const char *why)
{
    ferry_cli_say("%s %s: %s", what, value, why);
    return FERRY_EXIT_USAGE;
}

static int take_listen(struct ferry_serve *s, const char *text)
{
    const char *why;

    if (s->nlisten == FERRY_SERVE_LISTEN_MAX)
        return usage_error("--listen", text, "too many addresses");
    if (ferry_addr_parse(text, true, &s->listen[s->nlisten], &why) < 0)
        return usage_error("--listen", text, why);
    s->nlisten++;
    return 0;
}

static int take_io(struct ferry_serve *s, const char *text)
{
    if (strcmp(text, "auto") == 0)
        s->io = FERRY_IO_AUTO;
    else if (strcmp(text, "uring") == 0)
        s->io = FERRY_IO_URING;
    else if (strcmp(text, "epoll") == 0)
        s->io = FERRY_IO_EPOLL;
    else
        return usage_error("--io", text, "must be uring, epoll or auto");
    return 0;
}

static int take_multiplex(struct ferry_serve *s, const char *text)
{
#define X(name, word)                                                                              \
    if (strcmp(text, word) == 0) {                                                                 \
        s->multiplex = FERRY_MULTIPLEX_##name;                                                     \
        return 0;                                                                                  \
    }
    FERRY_MULTIPLEX_MAP(X)
#undef X
    return usage_error("--multiplex", text, "must be auto, on or off");
}

static int take_size(const char *option, const char *text, unsigned long long max,
                     unsigned long long *out)
{
    if (ferry_cli_size(text, out) < 0 || *out == 0 || *out > max)
        return usage_error(option, text, "must be a size such as 64k, 10M or 2G");
    return 0;
}

static int take_threads(struct ferry_serve *s, const char *text)
{
    unsigned long long n;

    if (ferry_cli_size(text, &n) < 0 || n < 1 || n > FERRY_SERVE_THREADS_MAX)
        return usage_error("--threads", text, "must be 1 to 64");
    s->threads = (unsigned)n;
    return 0;
}

static int take_option(struct ferry_serve *s, int c)
{
    switch (c) {
    case 'l':
        return take_listen(s, optarg);
    case 'a':
        s->app = optarg;
        return 0;
    case OPT_SPAWN:
        s->spawn = optarg;
        return 0;
    case OPT_SCRIPT:
        s->script = optarg;
        return 0;
    case OPT_INDEX:
        s->index = optarg;
        if (!*optarg || strchr(optarg, '/'))
            return usage_error("--index", optarg, "must be a file name without a slash");
        return 0;
    case OPT_NAME:
        s->server_name = optarg;
        return 0;
    case OPT_PHP:
        s->php = optarg;
        return 0;
    case OPT_THREADS:
        return take_threads(s, optarg);
    case OPT_IO:
        return take_io(s, optarg);
    case OPT_MPX:
        return take_multiplex(s, optarg);
    case OPT_LOG:
        s->access_log = optarg;
        return 0;
    case OPT_BODY:
        return take_size("--max-body", optarg, 1ull << 50, &s->body_max);
    case OPT_HEAD:
        return take_size("--max-head", optarg, 1ull << 24, &s->head_max);
    case 'v':
        s->verbose = true;
        return 0;
    case 'q':
        s->quiet = true;
        return 0;
    default:
        return FERRY_EXIT_USAGE;
    }
}

/* -- the directory
 * --------------------------------------------------------------------------------------------- */

static bool is_file(const char *dir, const char *name)
{
    char path[PATH_MAX];
    struct stat st;

    return snprintf(path, sizeof path, "%s/%s", dir, name) < (int)sizeof path &&
           stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* A public folder in it that has a front controller is what is meant to be served. */
static void find_public(const struct ferry_serve *s, char *dir, size_t cap)
{
    static const char *const names[] = {"public", "web", "docroot", "htdocs"};
    size_t len = strlen(dir);

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if ((size_t)snprintf(dir + len, cap - len, "/%s", names[i]) < cap - len &&
            is_file(dir, s->index))
            return;
        dir[len] = '\0';
    }
}

/* Is there a PHP script within a few levels? Looks at a bounded number of entries: this runs at
 * every start. */
static bool holds_php(const char *dir, int depth, int *budget)
{
    DIR *d = opendir(dir);
    bool found = false;
    struct dirent *e;

    if (!d)
        return false;
    while (!found && (*budget)-- > 0 && (e = readdir(d))) {
        size_t len = strlen(e->d_name);
        char below[PATH_MAX];
        struct stat st;

        if (e->d_name[0] == '.')
            continue;
        if (len > 4 && strcasecmp(e->d_name + len - 4, ".php") == 0)
            found = true;
        else if (depth > 0 &&
                 snprintf(below, sizeof below, "%s/%s", dir, e->d_name) < (int)sizeof below &&
                 (e->d_type == DT_DIR ||
                  (e->d_type == DT_LNK && stat(below, &st) == 0 && S_ISDIR(st.st_mode))))
            found = holds_php(below, depth - 1, budget);
    }
    closedir(d);
    return found;
}

static int resolve_dir(struct ferry_serve *s, const char *given)
{
    static char dir[PATH_MAX];
    int budget = SCAN_ENTRIES;
    struct stat st;

    if (!given && (s->app || s->spawn))
        return 0;
    if (!realpath(given ? given : ".", dir) || stat(dir, &st) < 0 || !S_ISDIR(st.st_mode)) {
        ferry_cli_say("%s: %s", given ? given : ".", errno ? strerror(errno) : "not a directory");
        return FERRY_EXIT_FAILED;
    }
    if (!is_file(dir, s->index))
        find_public(s, dir, sizeof dir);
    s->project_root = is_file(dir, "composer.json");
    s->dir = dir;
    s->wants_php =
        !s->app && !s->spawn && (s->script || s->php || holds_php(dir, SCAN_DEPTH, &budget));
    return 0;
}

static int resolve_script(struct ferry_serve *s)
{
    static char script[PATH_MAX];

    if (!s->script)
        return 0;
    /* An application elsewhere may have the file where we have none: then its absolute name is
     * taken as it is. */
    if (realpath(s->script, script)) {
        s->script = script;
        return 0;
    }
    if (s->script[0] == '/' && s->app)
        return 0;
    ferry_cli_say("--script %s: %s", s->script, strerror(errno));
    return FERRY_EXIT_FAILED;
}

/* -- listening
 * -------------------------------------------------------------------------------------------------
 */

static int open_listeners(struct ferry_serve *s, unsigned i)
{
    struct ferry_addr *addr = &s->listen[i];
    char text[FERRY_ADDR_TEXT_MAX];
    bool tcp = addr->fd < 0 && addr->any.sa_family != AF_UNIX;
    struct ferry_listen_opts opts = {.reuseport = tcp && s->threads > 1, .mode = 0666};
    int err = tcp ? ferry_listen_probe(addr) : 0;

    for (unsigned t = 0; err >= 0 && t < (tcp ? s->threads : 1); t++) {
        err = ferry_listen(addr, &opts);
        if (err >= 0)
            s->fds[i][t] = err;
        if (err >= 0 && t == 0 && tcp)
            ferry_addr_local(s->fds[i][0],
                             addr); /* port 0 has become a port, the same for all threads */
    }
    if (err >= 0)
        return 0;
    ferry_addr_format(addr, text, sizeof text);
    if (err == -EADDRINUSE)
        ferry_cli_say("cannot listen on %s: another program already does", text);
    else
        ferry_cli_say("cannot listen on %s: %s", text, ferry_strerror(err));
    return FERRY_EXIT_FAILED;
}

static bool has_ipv6(void)
{
    struct ferry_addr addr;
    const char *why;
    int fd;

    if (ferry_addr_parse("[::1]:0", true, &addr, &why) < 0)
        return false;
    fd = ferry_listen(&addr, &(struct ferry_listen_opts){0});
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static void default_address(struct ferry_addr *out, const char *host, unsigned port)
{
    char text[64];
    const char *why;

    snprintf(text, sizeof text, "%s:%u", host, port);
    if (ferry_addr_parse(text, true, out, &why) < 0)
        abort();
}

static int choose_port(struct ferry_serve *s)
{
    unsigned n = has_ipv6() ? 2 : 1;

    for (unsigned port = PORT_FIRST; port <= PORT_LAST; port++) {
        default_address(&s->listen[0], "127.0.0.1", port);
        default_address(&s->listen[1], "[::1]", port);
        if (ferry_listen_probe(&s->listen[0]) == 0 &&
            (n == 1 || ferry_listen_probe(&s->listen[1]) == 0)) {
            s->nlisten = n;
            return 0;
        }
    }
    ferry_cli_say("ports %d to %d are all taken; choose another with --listen :PORT", PORT_FIRST,
                  PORT_LAST);
    return FERRY_EXIT_FAILED;
}

static int listen_all(struct ferry_serve *s)
{
    memset(s->fds, -1, sizeof s->fds);
    if (s->nlisten == 0) {
        int code = choose_port(s);

        if (code)
            return code;
    }
    for (unsigned i = 0; i < s->nlisten; i++) {
        int code = open_listeners(s, i);

        if (code)
            return code;
    }
    return 0;
}

/* --------------------------------------------------------------------------------------------------------------
 */

static int check(struct ferry_serve *s)
{
    const char *why;
    long cpus;

    if (s->app && s->spawn)
        return usage_error("--spawn", s->spawn, "cannot go together with --app");
    if (s->app) {
        if (ferry_addr_parse(s->app, false, &s->app_addr, &why) < 0)
            return usage_error("--app", s->app, why);
        if (s->app_addr.fd >= 0)
            return usage_error("--app", s->app,
                               "a descriptor can be listened on, not connected to");
        s->has_app = true;
    }
    if (s->threads == 0) {
        cpus = sysconf(_SC_NPROCESSORS_ONLN);
        s->threads = cpus < 1                         ? 1
                     : cpus > FERRY_SERVE_THREADS_MAX ? FERRY_SERVE_THREADS_MAX
                                                      : (unsigned)cpus;
    }
    if (s->quiet && !s->access_log)
        s->access_log = "off";
    return 0;
}

int ferry_cli_serve(int argc, char **argv)
{
    static struct ferry_serve serve = {.index = "index.php", .access_log = NULL};
    struct ferry_serve *s = &serve;
    int c, code;

    while ((c = getopt_long(argc, argv, "l:a:vq", long_options, NULL)) != -1) {
        if (c == OPT_HELP) {
            fputs(help_text, stdout);
            return FERRY_EXIT_OK;
        }
        code = take_option(s, c);
        if (code) {
            if (c == '?')
                fputs("Try 'ferry help serve'.\n", stderr);
            return code;
        }
    }
    if (argc - optind > 1)
        return usage_error("serve", argv[optind + 1], "only one directory can be served");
    if ((code = check(s)) || (code = resolve_dir(s, argv[optind])) || (code = resolve_script(s)) ||
        (code = listen_all(s)))
        return code;
    return ferry_serve_master(s);
}
