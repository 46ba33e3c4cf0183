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
#include "cli/engine.h"
#include "proc/manager.h"

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
    "      --processes N       how many of it, or MIN:MAX: more while connections wait, fewer when "
    "they are idle (1)\n"
    "      --script FILE       run this one file for every request\n"
    "      --index NAME        directory index and front controller (index.php)\n"
    "      --server-name NAME  what the application is told as SERVER_NAME (the request's host)\n"
    "      --php PATH          the php-fpm or php-cgi to run\n"
    "      --threads N         how many (one for each processor it may use)\n"
    "      --io BACKEND        uring, epoll or auto (auto)\n"
    "      --multiplex WHEN    auto, on or off: many requests on one connection to the application "
    "(auto: ask it)\n"
    "      --access-log FILE   a file, - for stderr, or off (-)\n"
    "      --max-body SIZE     largest request body, such as 500k, 64M, 2G (1G); larger ones get "
    "413\n"
    "      --max-head SIZE     largest request head (64k); larger ones get 431\n"
    "      --print-config      print the configuration that all this stands for, for ferry run, "
    "and "
    "end\n"
    "  -v, --verbose           say more\n"
    "  -q, --quiet             no access log, no notices\n"
    "  -h, --help              this text\n"
    "\n"
    "SIGTERM and SIGHUP finish the requests under way, then end it; SIGINT (Ctrl-C) ends it now; "
    "SIGUSR1 opens\n"
    "the access log anew.\n";

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
    OPT_PROCESSES,
    OPT_PRINT
};

static const struct option long_options[] = {
    {"listen", required_argument, NULL, 'l'},
    {"app", required_argument, NULL, 'a'},
    {"spawn", required_argument, NULL, OPT_SPAWN},
    {"processes", required_argument, NULL, OPT_PROCESSES},
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
    {"print-config", no_argument, NULL, OPT_PRINT},
    {"verbose", no_argument, NULL, 'v'},
    {"quiet", no_argument, NULL, 'q'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static int usage_error(const char *what, const char *value, const char *why)
{
    ferry_cli_say("%s %s: %s", what, value, why);
    return FERRY_EXIT_USAGE;
}

static int take_listen(struct ferry_serve *s, const char *text)
{
    struct ferry_addr addr;
    const char *why;

    if (s->nlisten == FERRY_SERVE_LISTEN_MAX)
        return usage_error("--listen", text, "there is room for 16 addresses");
    if (ferry_addr_parse(text, true, &addr, &why) < 0)
        return usage_error("--listen", text, why);
    s->listen[s->nlisten++] = text;
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

    if (ferry_cli_size(text, &n) < 0 || n < 1 || n > FERRY_ENGINE_THREADS_MAX)
        return usage_error("--threads", text, "must be 1 to 64");
    s->threads = (unsigned)n;
    return 0;
}

/* N or MIN:MAX */
static int take_processes(struct ferry_serve *s, const char *text)
{
    struct ferry_slice all = ferry_slice_z(text);
    size_t colon = ferry_slice_find(all, ':');
    uint64_t min, max;

    if (ferry_slice_u64(ferry_slice_first(all, colon), FERRY_MANAGER_PROCESSES_MAX, &min) < 0 ||
        ferry_slice_u64(colon < all.len ? ferry_slice_from(all, colon + 1) : all,
                        FERRY_MANAGER_PROCESSES_MAX, &max) < 0 ||
        min < 1 || max < min)
        return usage_error("--processes", text, "must be N or MIN:MAX, of 1 to 1024");
    s->processes_min = (unsigned)min;
    s->processes_max = (unsigned)max;
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
    case OPT_PROCESSES:
        return take_processes(s, optarg);
    case OPT_SCRIPT:
        s->script = optarg;
        return 0;
    case OPT_INDEX:
        s->index = optarg;
        if (!*optarg || strchr(optarg, '/') || strcmp(optarg, ".") == 0 ||
            strcmp(optarg, "..") == 0)
            return usage_error("--index", optarg, "must be a file name without a slash");
        return 0;
    case OPT_NAME:
        s->server_name = optarg;
        return *optarg ? 0 : usage_error("--server-name", "''", "must not be empty");
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
    case OPT_PRINT:
        s->print = true;
        return 0;
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

/* -- the directory ---------------------------------------------------------------------------- */

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

struct scan {
    unsigned left; /* entries that may still be looked at: this runs at every start */
    bool php, files;
};

static bool is_php(const char *name)
{
    size_t len = strlen(name);

    return len > 4 && strcasecmp(name + len - 4, ".php") == 0;
}

static void scan(struct scan *found, const char *dir, int depth);

static void scan_entry(struct scan *found, const char *dir, const struct dirent *e, int depth)
{
    bool is_dir = e->d_type == DT_DIR;
    char below[PATH_MAX];
    struct stat st;

    if (e->d_name[0] == '.')
        return;
    if (snprintf(below, sizeof below, "%s/%s", dir, e->d_name) >= (int)sizeof below)
        return;
    if (e->d_type == DT_LNK || e->d_type == DT_UNKNOWN)
        is_dir = stat(below, &st) == 0 && S_ISDIR(st.st_mode);
    if (is_dir && depth > 0)
        scan(found, below, depth - 1);
    else if (!is_dir)
        *(is_php(e->d_name) ? &found->php : &found->files) = true;
}

/* What is there within a few levels, as far as it takes to know? */
static void scan(struct scan *found, const char *dir, int depth)
{
    DIR *d = opendir(dir);
    struct dirent *e;

    if (!d)
        return;
    while (!(found->php && found->files) && found->left > 0 && (e = readdir(d))) {
        found->left--;
        scan_entry(found, dir, e, depth);
    }
    closedir(d);
}

/* What is not known counts as there: scripts that nobody runs are worse than a PHP that nobody
 * needs. */
static void look_into(struct ferry_serve *s)
{
    struct scan found = {.left = SCAN_ENTRIES,
                         .php = is_php(s->index) && is_file(s->dir, s->index)};

    if (s->app || s->spawn)
        return;
    scan(&found, s->dir, SCAN_DEPTH);
    s->wants_php = s->script || s->php || found.php || found.left == 0;
    s->has_files = found.files || found.left == 0;
}

static int open_dir(const char *given, char *dir)
{
    struct stat st;

    if (!realpath(given, dir) || stat(dir, &st) < 0)
        return -errno;
    if (!S_ISDIR(st.st_mode))
        return -ENOTDIR;
    return access(dir, X_OK) < 0 ? -errno : 0;
}

static int resolve_dir(struct ferry_serve *s, const char *given)
{
    static char dir[PATH_MAX];
    int err;

    if (!given && (s->app || s->spawn))
        return 0;
    err = open_dir(given ? given : ".", dir);
    if (err < 0) {
        ferry_cli_say("cannot serve %s: %s", given ? given : "the current directory",
                      ferry_strerror(err));
        return FERRY_EXIT_FAILED;
    }
    if (!is_file(dir, s->index))
        find_public(s, dir, sizeof dir);
    s->project_root = is_file(dir, "composer.json");
    s->dir = dir;
    look_into(s);
    return 0;
}

static int resolve_script(struct ferry_serve *s)
{
    static char script[PATH_MAX];
    struct stat st;
    int err = 0;

    if (!s->script)
        return 0;
    if (!realpath(s->script, script) || stat(script, &st) < 0)
        err = -errno;
    else if (!S_ISREG(st.st_mode))
        err = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
    if (err == 0) {
        s->script = script;
        return 0;
    }
    /* An application elsewhere may have the file where we have none: then its absolute name is
     * taken as it is. */
    if (s->script[0] == '/' && s->app)
        return 0;
    ferry_cli_say("cannot run %s: %s", s->script, ferry_strerror(err));
    return FERRY_EXIT_FAILED;
}

/* -- the whole -------------------------------------------------------------------------------- */

static int check(struct ferry_serve *s)
{
    struct ferry_addr addr;
    const char *why;

    if (s->app && s->spawn)
        return usage_error("--spawn", s->spawn, "cannot go together with --app");
    if (s->processes_min && !s->spawn) {
        ferry_cli_say("--processes is for the program of --spawn");
        return FERRY_EXIT_USAGE;
    }
    if (s->php && (s->app || s->spawn))
        return usage_error("--php", s->php, "cannot go together with --app or --spawn");
    if (s->app) {
        if (ferry_addr_parse(s->app, false, &addr, &why) < 0)
            return usage_error("--app", s->app, why);
        if (addr.fd >= 0)
            return usage_error("--app", s->app,
                               "a descriptor can be listened on, not connected to");
    }
    return 0;
}

static int print_config(const struct ferry_serve *s)
{
    struct ferry_config *c = ferry_serve_config(s);

    if (!c) {
        ferry_cli_say("cannot print it: %s", ferry_strerror(-ENOMEM));
        return FERRY_EXIT_FAILED;
    }
    ferry_config_print(c, false, stdout);
    ferry_config_free(c);
    return ferry_cli_written();
}

static int run(const struct ferry_serve *s)
{
    static char note[PATH_MAX + 64];
    struct ferry_engine e = {
        .ops = &ferry_web_service,
        .config = ferry_serve_config(s),
        .default_listen = s->nlisten == 0,
        .listen_hint = "--listen",
        .verbose = s->verbose,
        .quiet = s->quiet,
        .php_may_lack = !s->php && !s->script && s->has_files,
    };

    if (!e.config) {
        ferry_cli_say("cannot start: %s", ferry_strerror(-ENOMEM));
        return FERRY_EXIT_FAILED;
    }
    if (s->dir && !s->app && !s->spawn && !s->wants_php && !s->quiet) {
        snprintf(note, sizeof note, "no PHP below %s: serving its files", s->dir);
        e.note = note;
    }
    return s->spawn || s->wants_php ? ferry_engine_guarded(&e) : ferry_engine_run(&e);
}

int ferry_cli_serve(int argc, char **argv)
{
    static struct ferry_serve serve = {.index = "index.php", .access_log = NULL};
    struct ferry_serve *s = &serve;
    int c, code;

    argv[0] = (char[]){"ferry serve"}; /* getopt's messages begin with it */
    while ((c = getopt_long(argc, argv, "l:a:vqh", long_options, NULL)) != -1) {
        if (c == 'h') {
            fputs(help_text, stdout);
            return ferry_cli_written();
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
    if ((code = check(s)) || (code = resolve_dir(s, argv[optind])) || (code = resolve_script(s)))
        return code;
    return s->print ? print_config(s) : run(s);
}
