/* SPDX-License-Identifier: MIT */
/* `ferry trace`: its options, and what stands between a web server and an application. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "trace/replay.h"
#include "trace/trace.h"

#define LINES_MAX (8u << 20) /* bytes of lines that wait for stdout */
#define PACKETS_MAX (64u << 20)
#define DRAIN_MS 10000
#define FINISH_MS 2000 /* for stdout to take the last lines */

static const char help_text[] =
    "usage: ferry trace --listen ADDRESS --to ADDRESS [OPTION...] [FILTER...]\n"
    "       ferry trace --replay FILE [--to ADDRESS] [OPTION...] [FILTER...]\n"
    "\n"
    "Stands between a web server, which is pointed at the first address, and the FastCGI\n"
    "application at the second: passes everything on unchanged, and prints a line for each\n"
    "request when it is over. Addresses are unix:/path, host:port, :port or fd:N.\n"
    "\n"
    "  -l, --listen ADDRESS    where the web server connects to\n"
    "  -t, --to ADDRESS        where the application is\n"
    "      --records           all records too, in both directions\n"
    "      --json              each line as a JSON object\n"
    "      --pcap FILE         write what passes to FILE, for Wireshark and for --replay\n"
    "      --replay FILE       send the requests of such a file again, one after the other, to\n"
    "                          the application they went to, or to --to\n"
    "      --compare           of each answer to --replay, say where it differs from the recorded\n"
    "                          one; exit with 1 if any does\n"
    "      --timeout TIME      how long --replay waits for an answer (60s)\n"
    "      --mode MODE         of the unix socket listened on, such as 0660; else the mode (and, "
    "as\n"
    "                          root, the owner) of the application's\n"
    "      --io BACKEND        uring, epoll or auto (auto)\n"
    "  -h, --help              this text\n"
    "\n"
    "FILTER chooses the requests that are shown: words that must all be true of one, such as\n"
    "\n"
    "    method=POST status>=500 status=4xx uri~/login script!~x.php host=example.org\n"
    "    time>200ms first<1s in>1M out>64k app!=0 stderr !aborted cut fault\n"
    "\n"
    "A word that begins with / is looked for in the URI. Quote words with < or >.\n"
    "\n"
    "SIGINT and SIGTERM let the requests under way finish, for ten seconds; a second one does "
    "not.\n";

enum {
    OPT_RECORDS = 256,
    OPT_JSON,
    OPT_PCAP,
    OPT_REPLAY,
    OPT_COMPARE,
    OPT_TIMEOUT,
    OPT_MODE,
    OPT_IO
};

static const struct option long_options[] = {
    {"listen", required_argument, NULL, 'l'},
    {"to", required_argument, NULL, 't'},
    {"records", no_argument, NULL, OPT_RECORDS},
    {"json", no_argument, NULL, OPT_JSON},
    {"pcap", required_argument, NULL, OPT_PCAP},
    {"replay", required_argument, NULL, OPT_REPLAY},
    {"compare", no_argument, NULL, OPT_COMPARE},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"mode", required_argument, NULL, OPT_MODE},
    {"io", required_argument, NULL, OPT_IO},
    {"help", no_argument, NULL, 'h'},
    {0},
};

struct trace {
    struct ferry_trace_opts opts;
    struct ferry_filter filter;
    struct ferry_addr listen;
    const char *pcap, *replay;
    uint64_t timeout_ms;
    enum ferry_io io;
    unsigned mode;
    bool listens, has_to, compare;
    int pcap_fd, signal_fd;
    struct ferry_trace *trace;
    struct ferry_loop *loop;
    struct ferry_watch signals;
    struct ferry_timer patience;
    bool draining;
};

static int usage_error(const char *what, const char *value, const char *why)
{
    ferry_cli_say("%s %s: %s", what, value, why);
    return FERRY_EXIT_USAGE;
}

static int take_address(const char *option, const char *text, bool any, struct ferry_addr *out)
{
    const char *why;

    if (ferry_addr_parse(text, any, out, &why) < 0)
        return usage_error(option, text, why);
    if (!any && out->fd >= 0)
        return usage_error(option, text, "an application is reached by unix:/path or host:port");
    return 0;
}

static int take_io(struct trace *t, const char *text)
{
    static const char *const names[] = {
        [FERRY_IO_AUTO] = "auto", [FERRY_IO_URING] = "uring", [FERRY_IO_EPOLL] = "epoll"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(text, names[i]) == 0) {
            t->io = (enum ferry_io)i;
            return 0;
        }
    return usage_error("--io", text, "must be uring, epoll or auto");
}

static int take_mode(struct trace *t, const char *text)
{
    char *end;
    unsigned long mode = strtoul(text, &end, 8);

    if (end == text || *end || mode == 0 || mode > 0777)
        return usage_error("--mode", text, "must be octal digits, such as 0660");
    t->mode = (unsigned)mode;
    return 0;
}

static int take_option(struct trace *t, int c)
{
    switch (c) {
    case 'l':
        t->listens = true;
        return take_address("--listen", optarg, true, &t->listen);
    case 't':
        t->has_to = true;
        t->opts.to_text = optarg;
        return take_address("--to", optarg, false, &t->opts.to);
    case OPT_RECORDS:
        t->opts.records = true;
        return 0;
    case OPT_JSON:
        t->opts.show.json = true;
        return 0;
    case OPT_PCAP:
        t->pcap = optarg;
        return 0;
    case OPT_REPLAY:
        t->replay = optarg;
        return 0;
    case OPT_COMPARE:
        t->compare = true;
        return 0;
    case OPT_TIMEOUT:
        return ferry_cli_duration(optarg, &t->timeout_ms) < 0 || t->timeout_ms == 0
                   ? usage_error("--timeout", optarg, "must be a time, such as 500ms or 30s")
                   : 0;
    case OPT_MODE:
        return take_mode(t, optarg);
    case OPT_IO:
        return take_io(t, optarg);
    default:
        fputs("Try 'ferry trace --help'.\n", stderr);
        return FERRY_EXIT_USAGE;
    }
}

static int check_options(const struct trace *t)
{
    const char *wrong = NULL;

    if (t->replay && (t->listens || t->pcap || t->opts.records))
        wrong = "--replay goes with --to, --compare, --timeout and --json only";
    else if (!t->replay && (t->compare || t->timeout_ms != FERRY_REPLAY_TIMEOUT_MS))
        wrong = "--compare and --timeout go with --replay only";
    else if (!t->replay && (!t->listens || !t->has_to))
        wrong = "--listen ADDRESS and --to ADDRESS must be given, or --replay FILE; ferry trace "
                "--help tells more";
    else if (!t->replay && t->listen.len == t->opts.to.len && t->listen.len &&
             memcmp(&t->listen.any, &t->opts.to.any, t->listen.len) == 0)
        wrong = "--listen and --to are the same address; the application's is --to";
    else if (t->opts.records && t->opts.show.json)
        wrong = "--records are not shown as JSON";
    if (wrong)
        ferry_cli_say("%s", wrong);
    return wrong ? FERRY_EXIT_USAGE : 0;
}

static bool wants_colour(void)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

    return isatty(STDOUT_FILENO) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

static void say(const char *text)
{
    ferry_cli_say("%s", text);
}

/* -- until it ends -- */

static void on_drained(void *arg)
{
    struct trace *t = arg;

    ferry_loop_stop(t->loop);
}

static void out_of_patience(struct ferry_timer *timer)
{
    struct trace *t = ferry_container(timer, struct trace, patience);

    ferry_trace_cut(t->trace);
}

static void on_signal(struct ferry_watch *w)
{
    struct trace *t = ferry_container(w, struct trace, signals);
    struct signalfd_siginfo info;

    while (read(w->fd, &info, sizeof info) == sizeof info) {
        if (t->draining) {
            ferry_trace_cut(t->trace);
        } else {
            t->draining = true;
            ferry_timer_set(t->loop, &t->patience, ferry_loop_now(t->loop) + DRAIN_MS);
            ferry_trace_drain(t->trace);
        }
    }
}

static int open_signals(struct trace *t)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    sigset_t set;
    int err;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaddset(&set, signals[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    t->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (t->signal_fd < 0)
        return -errno;
    t->signals = (struct ferry_watch){.readable = on_signal};
    err = ferry_watch_open(t->loop, &t->signals, t->signal_fd);
    ferry_timer_init(&t->patience, out_of_patience);
    return err;
}

/* Two descriptors for each connection: as many as may be. */
static void raise_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* Whoever may connect to the application may connect to us: its web server. */
static int listen_like_app(struct trace *t)
{
    struct ferry_listen_opts opts = {.mode = t->mode};
    const struct ferry_addr *to = &t->opts.to;
    char text[FERRY_ADDR_TEXT_MAX];
    struct stat st;
    int fd;

    if (!t->mode && to->any.sa_family == AF_UNIX && to->un.sun_path[0] &&
        stat(to->un.sun_path, &st) == 0) {
        opts.mode = st.st_mode & 0777;
        opts.set_owner = geteuid() == 0;
        opts.owner = st.st_uid;
        opts.group = st.st_gid;
    }
    fd = ferry_listen(&t->listen, &opts);
    if (fd < 0) {
        ferry_cli_cannot_listen(&t->listen, fd, ferry_listen_owner(&t->listen), " with --listen");
        return fd;
    }
    ferry_addr_format(&t->listen, text, sizeof text);
    if (t->listen.any.sa_family != AF_UNIX) {
        struct ferry_addr bound;

        if (ferry_addr_local(fd, &bound) == 0)
            ferry_addr_format(&bound, text, sizeof text);
    }
    ferry_cli_say("tracing from %s to %s", text, t->opts.to_text);
    return fd;
}

static int fatal(const char *what, const char *which, int err)
{
    ferry_cli_say("%s%s: %s", what, which, ferry_strerror(err));
    return err;
}

static int open_trace(struct trace *t)
{
    int err = ferry_loop_new(t->io, &t->loop), fd;

    if (err < 0)
        return fatal("cannot make an event loop", "", err);
    err = open_signals(t);
    if (err == 0)
        err = ferry_writer_new(STDOUT_FILENO, LINES_MAX, &t->opts.lines);
    if (err < 0)
        return fatal("cannot start", "", err);
    if (t->pcap) {
        t->pcap_fd = open(t->pcap, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
        if (t->pcap_fd < 0)
            return fatal("cannot write ", t->pcap, -errno);
        err = ferry_writer_new(t->pcap_fd, PACKETS_MAX, &t->opts.pcap);
        if (err < 0)
            return fatal("cannot start", "", err);
    }
    raise_limit();
    fd = listen_like_app(t);
    if (fd < 0)
        return fd;
    if (t->pcap && ftruncate(t->pcap_fd, 0) < 0 && errno != EINVAL) { /* that of a pipe */
        err = -errno;
        close(fd);
        ferry_listen_remove(&t->listen);
        return fatal("cannot write ", t->pcap, err);
    }
    err = ferry_trace_new(t->loop, &t->opts, fd, &t->trace);
    return err < 0 ? fatal("cannot accept connections", "", err) : 0;
}

/* What was shown, written and lost: the exit code. */
static int close_writers(struct trace *t)
{
    int code = FERRY_EXIT_OK;

    if (t->opts.lines && !ferry_writer_finish(t->opts.lines, FINISH_MS))
        code = FERRY_EXIT_FAILED;
    if (t->opts.pcap && !ferry_writer_finish(t->opts.pcap, DRAIN_MS)) {
        ferry_cli_say("%s is not whole", t->pcap);
        code = FERRY_EXIT_FAILED;
    }
    if (t->trace && ferry_trace_dropped(t->trace)) {
        ferry_cli_say("%llu lines were not shown: standard output was too slow or closed",
                      (unsigned long long)ferry_trace_dropped(t->trace));
        code = FERRY_EXIT_FAILED;
    }
    if (t->trace && ferry_trace_packets_dropped(t->trace)) {
        ferry_cli_say("%llu packets are missing in %s: the disk was too slow or full",
                      (unsigned long long)ferry_trace_packets_dropped(t->trace), t->pcap);
        code = FERRY_EXIT_FAILED;
    }
    ferry_writer_free(t->opts.lines);
    ferry_writer_free(t->opts.pcap);
    if (t->pcap_fd >= 0)
        close(t->pcap_fd);
    return code;
}

static int run(struct trace *t)
{
    int err = open_trace(t), code;

    if (err == 0) {
        err = ferry_loop_run(t->loop);
        if (err < 0)
            fatal("the event loop failed", "", err);
    }
    code = close_writers(t);
    if (t->trace)
        ferry_listen_remove(&t->listen);
    ferry_trace_free(t->trace);
    if (t->loop) {
        ferry_timer_stop(&t->patience);
        if (t->signals.loop)
            ferry_watch_close(&t->signals);
        ferry_loop_free(t->loop);
    }
    return err < 0 ? FERRY_EXIT_FAILED : code;
}

static int replay(const struct trace *t)
{
    struct ferry_replay_opts opts = {.path = t->replay,
                                     .to = t->has_to ? &t->opts.to : NULL,
                                     .filter = &t->filter,
                                     .show = t->opts.show,
                                     .timeout_ms = t->timeout_ms,
                                     .compare = t->compare,
                                     .out = stdout};
    char why[256];
    int bad = ferry_replay(&opts, why, sizeof why);

    if (bad < 0)
        ferry_cli_say("%s", why);
    return ferry_cli_written() || bad ? FERRY_EXIT_FAILED : FERRY_EXIT_OK;
}

int ferry_cli_trace(int argc, char **argv)
{
    struct trace t = {.pcap_fd = -1, .signal_fd = -1, .timeout_ms = FERRY_REPLAY_TIMEOUT_MS};
    char why[512];
    int c, err;

    argv[0] = (char[]){"ferry trace"}; /* getopt's messages begin with it */
    while ((c = getopt_long(argc, argv, "l:t:h", long_options, NULL)) != -1) {
        if (c == 'h') {
            fputs(help_text, stdout);
            return ferry_cli_written();
        }
        err = take_option(&t, c);
        if (err)
            return err;
    }
    for (int i = optind; i < argc; i++)
        if (ferry_filter_add(&t.filter, argv[i], why, sizeof why) < 0) {
            ferry_cli_say("%s", why);
            return FERRY_EXIT_USAGE;
        }
    err = check_options(&t);
    if (err)
        return err;
    t.opts.filter = &t.filter;
    t.opts.say = say;
    t.opts.drained = on_drained;
    t.opts.arg = &t;
    t.opts.show.colour = !t.opts.show.json && wants_colour();
    return t.replay ? replay(&t) : run(&t);
}
