/* SPDX-License-Identifier: MIT */
/* `ferry spawn`: its options, and what follows from them before anything is started. */
#include "cli/spawn.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"

#define FORKS_MAX 1024
#define FATAL 10 /* failures in a row, about half a minute */

static const char help_text[] =
    "usage: ferry spawn -s PATH | -p PORT | --listen ADDR [OPTION...] -- PROGRAM [ARGUMENT...]\n"
    "\n"
    "Starts a FastCGI program with a listening socket as its descriptor 0, as spawn-fcgi does and "
    "with its letters.\n"
    "\n"
    "  -s, --socket PATH        listen on this unix socket\n"
    "  -p, --port PORT          listen on this TCP port\n"
    "  -a, --address ADDRESS    of this IPv4 or IPv6 address (0.0.0.0)\n"
    "      --listen ADDR        or listen on unix:/path, unix:@abstract, host:port, :port, "
    "[v6]:port or fd:N;\n"
    "                           without any of these: on the first socket that systemd gives\n"
    "  -M, --mode MODE          of the unix socket, octal (0660, less the umask)\n"
    "  -U, --socket-user USER   its owner (that of -u)\n"
    "  -G, --socket-group GROUP its group (that of -U, else of -g)\n"
    "  -b, --backlog N          connections that may wait to be accepted (4096)\n"
    "  -u, --user USER          run the program as this user, with its groups\n"
    "  -g, --group GROUP        and this group (the user's own)\n"
    "  -c, --chroot DIR         with this root directory; the unix socket is made inside of it\n"
    "  -S                       but for with -S\n"
    "  -d, --directory DIR      run it in this directory, seen from the new root\n"
    "  -F N                     start N processes on the one socket (1)\n"
    "  -C N                     set PHP_FCGI_CHILDREN to N\n"
    "  -P, --pid-file FILE      write the process ids to this file\n"
    "  -n                       start no process but become the program, for runit, daemontools "
    "and the like\n"
    "  -f COMMAND               a command line for /bin/sh instead of PROGRAM\n"
    "      --env NAME=VALUE     set a variable, or remove it with NAME alone; may be given again\n"
    "      --keep-env NAME,...  keep only these of our variables, LC_* meaning all that begin so\n"
    "      --limit NAME=N[:N]   a limit of setrlimit(2), soft and hard: nofile=1024, core=0, "
    "as=512M; may be given again\n"
    "      --umask MODE         its umask, octal\n"
    "      --nice N             its niceness, above ours\n"
    "      --no-new-privs       no program it runs can gain privileges\n"
    "  -v, --version            show the version\n"
    "  -h, --help               this text\n"
    "\n"
    "Without --supervise it exits with 0 when the program runs 0.1 seconds later, else with its "
    "exit "
    "status, or 1;\n"
    "64 for wrong usage. With it, it stays:\n"
    "\n"
    "      --supervise          keep the program running, in the foreground; print where it "
    "listens "
    "when it is ready\n"
    "      --processes MIN:MAX  as many as the load takes; 0:MAX starts the first one on demand; N "
    "means N:N (1)\n"
    "      --per-process        a socket for each process: PATH-0 and so on, or the next ports\n"
    "      --max-load N         active requests that a process reports when it is full\n"
    "      --idle-timeout TIME  then one that is not needed is stopped (60s)\n"
    "      --ready HOW          it says so (notify), answers GET_VALUES (values), runs for a while "
    "(time), or auto\n"
    "      --ready-time TIME    how long that while is (1s)\n"
    "      --ready-timeout TIME not ready by then, it has failed (30s)\n"
    "      --max-requests N     replace a process after so many requests\n"
    "      --max-age TIME       or when it is that old\n"
    "      --max-rss SIZE       or has so much memory resident\n"
    "      --restart-delay MIN:MAX  before it is started again when it failed, doubling "
    "(100ms:10s)\n"
    "      --fatal N            give up after N failures in a row with no process ready (10; 0: "
    "never)\n"
    "      --stop-signal NAME   that asks it to end (TERM)\n"
    "      --stop-timeout TIME  then its process group is killed (10s)\n"
    "      --ping[=SCRIPT=/URI] ask every process for a sign of life: GET_VALUES, or a request\n"
    "      --ping-interval TIME, --ping-timeout TIME, --ping-threshold N\n"
    "                           how often (10s), how long (5s), how many may be missed (3)\n"
    "      --status ADDR        answer /status, /status?json and /ready over HTTP\n"
    "      --name NAME          of the pool, in the log and the status (the program's)\n"
    "      --log FILE           write the log to this file instead of stderr\n"
    "      --quiet              log only what has gone wrong, and what the program writes\n"
    "\n"
    "SIGHUP starts a new generation on the same sockets and stops the old one when that is ready; "
    "SIGTERM stops it,\n"
    "SIGINT and SIGQUIT at once; SIGUSR1 opens the log anew; SIGUSR2 logs the status. Exits with "
    "69 "
    "when it gives up.\n";

enum {
    OPT_LISTEN = 256,
    OPT_ENV,
    OPT_KEEP,
    OPT_LIMIT,
    OPT_UMASK,
    OPT_NICE,
    OPT_NNP,
    OPT_SUPERVISE,
};

static const char letters[] = "+s:p:a:M:U:G:b:u:g:c:Sd:F:C:P:nf:vh";

static const struct option long_options[] = {
    {"socket", required_argument, NULL, 's'},
    {"port", required_argument, NULL, 'p'},
    {"address", required_argument, NULL, 'a'},
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"mode", required_argument, NULL, 'M'},
    {"socket-user", required_argument, NULL, 'U'},
    {"socket-group", required_argument, NULL, 'G'},
    {"backlog", required_argument, NULL, 'b'},
    {"user", required_argument, NULL, 'u'},
    {"group", required_argument, NULL, 'g'},
    {"chroot", required_argument, NULL, 'c'},
    {"directory", required_argument, NULL, 'd'},
    {"pid-file", required_argument, NULL, 'P'},
    {"env", required_argument, NULL, OPT_ENV},
    {"keep-env", required_argument, NULL, OPT_KEEP},
    {"limit", required_argument, NULL, OPT_LIMIT},
    {"umask", required_argument, NULL, OPT_UMASK},
    {"nice", required_argument, NULL, OPT_NICE},
    {"no-new-privs", no_argument, NULL, OPT_NNP},
    {"supervise", no_argument, NULL, OPT_SUPERVISE},
    {"name", required_argument, NULL, FERRY_SPAWN_OPT_NAME},
    {"processes", required_argument, NULL, FERRY_SPAWN_OPT_PROCESSES},
    {"per-process", no_argument, NULL, FERRY_SPAWN_OPT_PER_PROCESS},
    {"max-load", required_argument, NULL, FERRY_SPAWN_OPT_MAX_LOAD},
    {"idle-timeout", required_argument, NULL, FERRY_SPAWN_OPT_IDLE_TIMEOUT},
    {"ready", required_argument, NULL, FERRY_SPAWN_OPT_READY},
    {"ready-time", required_argument, NULL, FERRY_SPAWN_OPT_READY_TIME},
    {"ready-timeout", required_argument, NULL, FERRY_SPAWN_OPT_READY_TIMEOUT},
    {"max-requests", required_argument, NULL, FERRY_SPAWN_OPT_MAX_REQUESTS},
    {"max-age", required_argument, NULL, FERRY_SPAWN_OPT_MAX_AGE},
    {"max-rss", required_argument, NULL, FERRY_SPAWN_OPT_MAX_RSS},
    {"restart-delay", required_argument, NULL, FERRY_SPAWN_OPT_RESTART_DELAY},
    {"fatal", required_argument, NULL, FERRY_SPAWN_OPT_FATAL},
    {"stop-signal", required_argument, NULL, FERRY_SPAWN_OPT_STOP_SIGNAL},
    {"stop-timeout", required_argument, NULL, FERRY_SPAWN_OPT_STOP_TIMEOUT},
    {"ping", optional_argument, NULL, FERRY_SPAWN_OPT_PING},
    {"ping-interval", required_argument, NULL, FERRY_SPAWN_OPT_PING_INTERVAL},
    {"ping-timeout", required_argument, NULL, FERRY_SPAWN_OPT_PING_TIMEOUT},
    {"ping-threshold", required_argument, NULL, FERRY_SPAWN_OPT_PING_THRESHOLD},
    {"status", required_argument, NULL, FERRY_SPAWN_OPT_STATUS},
    {"log", required_argument, NULL, FERRY_SPAWN_OPT_LOG},
    {"quiet", no_argument, NULL, FERRY_SPAWN_OPT_QUIET},
    {"version", no_argument, NULL, 'v'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static int usage_error(const char *what, const char *value, const char *why)
{
    ferry_cli_say("%s %s: %s", what, value, why);
    return FERRY_EXIT_USAGE;
}

static int take_number(const char *option, unsigned min, unsigned max, unsigned *out)
{
    char why[64];
    uint64_t n;

    if (ferry_slice_u64(ferry_slice_z(optarg), max, &n) == 0 && n >= min) {
        *out = (unsigned)n;
        return 0;
    }
    snprintf(why, sizeof why, "must be a number from %u to %u", min, max);
    return usage_error(option, optarg, why);
}

static int take_mode(const char *option, unsigned *out)
{
    char *end;
    unsigned long mode = strtoul(optarg, &end, 8);

    if (*optarg < '0' || *optarg > '7' || *end || mode > 07777)
        return usage_error(option, optarg, "must be an octal mode, such as 0660");
    *out = (unsigned)mode;
    return 0;
}

static int take_env(struct ferry_spawning *s, const char *text)
{
    if (!*text || *text == '=')
        return usage_error("--env", text, "must be NAME=VALUE or NAME");
    if (s->nenv == FERRY_SPAWN_ENV_MAX)
        return usage_error("--env", text, "there is room for 256 variables");
    s->env[s->nenv++] = text;
    return 0;
}

static int take_keep(struct ferry_spawning *s, char *names)
{
    char *save = NULL;

    for (char *name = strtok_r(names, ", ", &save); name; name = strtok_r(NULL, ", ", &save)) {
        if (s->nkeep == FERRY_SPAWN_ENV_MAX)
            return usage_error("--keep-env", name, "there is room for 256 names");
        s->keep[s->nkeep++] = name;
    }
    s->what.keep_env = s->keep;
    return 0;
}

static int take_limit(struct ferry_spawning *s, const char *text)
{
    const char *why;

    if (s->what.nlimits == FERRY_RLIMITS_MAX)
        return usage_error("--limit", text, "there is room for 16 limits");
    if (ferry_rlimit_parse(text, &s->limits[s->what.nlimits], &why) < 0)
        return usage_error("--limit", text, why);
    s->what.nlimits++;
    return 0;
}

static int take_nice(struct ferry_spawning *s, const char *text)
{
    char *end;
    long n = strtol(text, &end, 10);

    if (!*text || *end || n < -39 || n > 39)
        return usage_error("--nice", text, "must be a number from -39 to 39");
    s->what.nice = (int)n;
    return 0;
}

static int take_children(struct ferry_spawning *s)
{
    static char variable[64];
    unsigned n;

    if (take_number("-C", 0, 100000, &n))
        return FERRY_EXIT_USAGE;
    snprintf(variable, sizeof variable, "PHP_FCGI_CHILDREN=%u", n);
    return take_env(s, variable);
}

/* Where it is kept as it is given. */
static const char **text_option(struct ferry_spawning *s, int c)
{
    switch (c) {
    case 's':
        return &s->socket;
    case 'p':
        return &s->port;
    case 'a':
        return &s->address;
    case OPT_LISTEN:
        return &s->listen;
    case 'U':
        return &s->socket_user;
    case 'G':
        return &s->socket_group;
    case 'u':
        return &s->user;
    case 'g':
        return &s->group;
    case 'c':
        return &s->what.root;
    case 'd':
        return &s->what.dir;
    case 'P':
        return &s->pid_file;
    case 'f':
        return &s->file;
    default:
        return NULL;
    }
}

static int take_option(struct ferry_spawning *s, int c)
{
    const char **text = text_option(s, c);
    unsigned n;

    if (text) {
        *text = optarg;
        return 0;
    }
    if (c > FERRY_SPAWN_OPT_FIRST)
        return ferry_spawning_take_pool(s, (enum ferry_spawn_pool_option)c, optarg);
    switch (c) {
    case 'M':
        return take_mode("-M", &s->how.mode);
    case 'b':
        if (take_number("-b", 1, INT32_MAX, &n))
            return FERRY_EXIT_USAGE;
        s->how.backlog = (int)n;
        return 0;
    case 'S':
        s->outside = true;
        return 0;
    case 'F':
        return take_number("-F", 1, FORKS_MAX, &s->forks);
    case 'C':
        return take_children(s);
    case 'n':
        s->no_fork = true;
        return 0;
    case OPT_ENV:
        return take_env(s, optarg);
    case OPT_KEEP:
        return take_keep(s, optarg);
    case OPT_LIMIT:
        return take_limit(s, optarg);
    case OPT_UMASK:
        s->what.set_umask = true;
        return take_mode("--umask", &s->what.umask);
    case OPT_NICE:
        return take_nice(s, optarg);
    case OPT_SUPERVISE:
        s->supervise = true;
        return 0;
    case OPT_NNP:
        s->what.no_new_privs = true;
        return 0;
    default:
        return FERRY_EXIT_USAGE;
    }
}

/* -- what follows from them ------------------------------------------------------------------- */

static int find_program(struct ferry_spawning *s, char **argv)
{
    static char command[4096];

    if (*argv) {
        s->what.argv = (const char *const *)argv;
        return 0;
    }
    if (!s->file) {
        ferry_cli_say("no program given: name it behind --");
        return FERRY_EXIT_USAGE;
    }
    if ((size_t)snprintf(command, sizeof command, "exec %s", s->file) >= sizeof command)
        return usage_error("-f", "...", "is longer than 4000 bytes");
    s->shell[0] = "/bin/sh";
    s->shell[1] = "-c";
    s->shell[2] = command;
    s->what.argv = s->shell;
    return 0;
}

static mode_t read_umask(void)
{
    mode_t mask = umask(0);

    umask(mask);
    return mask;
}

static int check(const struct ferry_spawning *s)
{
    if (s->no_fork && s->forks > 1) {
        ferry_cli_say("-F makes no sense with -n, which starts no process");
        return FERRY_EXIT_USAGE;
    }
    if (s->no_fork && s->supervise) {
        ferry_cli_say("-n makes no sense with --supervise, which stays and starts processes");
        return FERRY_EXIT_USAGE;
    }
    if (s->needs && !s->supervise) {
        ferry_cli_say("%s is for programs that are looked after: add --supervise", s->needs);
        return FERRY_EXIT_USAGE;
    }
    if (s->forks && s->pool.processes_max) {
        ferry_cli_say("-F and --processes say the same; one of them is enough");
        return FERRY_EXIT_USAGE;
    }
    return 0;
}

/* What a supervised program sees of our environment: where things are, which language, which time,
 * and what FastCGI programs are told by it. */
static void keep_little(struct ferry_spawning *s)
{
    static const char *const names[] = {
        "PATH", "LANG",  "LANGUAGE",        "LC_*",   "TZ",   "TMPDIR",
        "HOME", "USER",  "LOGNAME",         "SHELL",  "TERM", "LD_LIBRARY_PATH",
        "PHP*", "FCGI*", "XDG_RUNTIME_DIR", "FERRY_*"};

    for (size_t i = 0; i < sizeof names / sizeof *names && s->nkeep < FERRY_SPAWN_ENV_MAX; i++)
        s->keep[s->nkeep++] = names[i];
    s->what.keep_env = s->keep;
}

static void prepare_pool(struct ferry_spawning *s)
{
    struct ferry_manager_opts *pool = &s->pool;

    keep_little(s);
    if (s->forks)
        pool->processes_min = pool->processes_max = s->forks;
    if (!pool->processes_max)
        pool->processes_min = pool->processes_max = 1;
}

static int prepare(struct ferry_spawning *s, char **argv)
{
    int code = find_program(s, argv);

    if (!code)
        code = check(s);
    if (!code && s->supervise)
        prepare_pool(s);
    if (!code)
        code = ferry_spawning_find_address(s);
    if (!code && s->pool.per_process)
        code = ferry_spawning_check_addresses(s, s->pool.processes_max);
    if (!code)
        code = ferry_spawning_find_users(s);
    if (s->how.mode == 0)
        s->how.mode = 0660 & ~read_umask();
    s->what.env = s->env;
    s->what.limits = s->limits;
    return code;
}

int ferry_cli_spawn(int argc, char **argv)
{
    static struct ferry_spawning spawning = {
        .what = FERRY_SPAWN_INIT, .pool = {.spawn = FERRY_SPAWN_INIT, .failures_max = FATAL}};
    struct ferry_spawning *s = &spawning;
    int c, code;

    argv[0] = (char[]){"ferry spawn"}; /* getopt's messages begin with it */
    while ((c = getopt_long(argc, argv, letters, long_options, NULL)) != -1) {
        if (c == 'h') {
            fputs(help_text, stdout);
            return ferry_cli_written();
        }
        if (c == 'v') {
            puts("ferry " FERRY_VERSION);
            return ferry_cli_written();
        }
        code = take_option(s, c);
        if (code) {
            if (c == '?')
                fputs("Try 'ferry help spawn'.\n", stderr);
            return code;
        }
    }
    code = prepare(s, argv + optind);
    if (code)
        return code;
    return s->supervise ? ferry_spawning_supervise(s) : ferry_spawning_once(s);
}
