/* SPDX-License-Identifier: MIT */
/* The program ferry-mail, which is `ferry mail`: its options, and the engine that runs it. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/engine.h"
#include "cli/mail.h"

static const char help_text[] =
    "usage: ferry mail -c FILE [OPTION...]\n"
    "       ferry mail --guerrilla FILE [OPTION...]\n"
    "       ferry mail [--listen ADDR] --hosts HOST,... --app ADDR --validate FILE --save FILE "
    "[OPTION...]\n"
    "       ferry mail [--listen ADDR] --maildir DIR [OPTION...]\n"
    "       ferry mail check -c FILE [--rcpt ADDRESS]\n"
    "\n"
    "Takes mail over SMTP or LMTP: one FastCGI script says who may receive, another one stores "
    "each "
    "message.\n"
    "A message is accepted when it is stored, and not before; there is no queue. See "
    "ferry-mail(1).\n"
    "\n"
    "  -c, --config FILE       the configuration; - is standard input; see ferry.conf(5)\n"
    "      --guerrilla FILE    a configuration of go-guerrilla, in JSON\n"
    "  -t, --check             only look whether the configuration is good\n"
    "      --print-config      print the configuration that all this stands for, and end\n"
    "  -v, --verbose           say more\n"
    "  -q, --quiet             no notices\n"
    "  -h, --help              this text\n"
    "\n"
    "without a file:\n"
    "  -l, --listen ADDR       where to listen: host:port, :port, [v6]:port, unix:/path or fd:N; "
    "may "
    "be given\n"
    "                          several times (127.0.0.1:2525)\n"
    "      --lmtp              speak LMTP instead of SMTP\n"
    "      --hosts HOST,...    whose mail is taken: example.com, *.example.com, or . for any; "
    "without it any,\n"
    "                          but on no public address\n"
    "      --accept-all        any, also on a public address\n"
    "  -a, --app ADDR          the FastCGI application that runs the scripts (unix:/path, "
    "host:port); without it\n"
    "                          PHP is started\n"
    "      --validate FILE     the script that says PASS for a recipient\n"
    "      --save FILE         the script that stores a message and says SAVED\n"
    "      --auth FILE         the script that says PASS for a name and a password\n"
    "      --maildir DIR       store messages in this Maildir\n"
    "      --hostname NAME     the name to greet with (the machine's)\n"
    "      --max-size SIZE     the largest message (25M)\n"
    "      --tls-cert FILE     the certificate and its chain, in PEM\n"
    "      --tls-key FILE      its key (in the same file)\n"
    "      --tls WHEN          off, starttls, required or implicit (starttls)\n"
    "  -s, --set NAME=VALUE    any other setting of a mail service in ferry.conf(5); may be given "
    "several times\n"
    "      --log FORMAT        of the line for each message: text or json (text)\n"
    "      --threads N         how many (one for each processor it may use)\n"
    "      --io BACKEND        uring, epoll or auto (auto)\n"
    "\n"
    "When it serves it prints each address it listens on. SIGHUP reads the file again, SIGUSR1 "
    "opens "
    "the logs\n"
    "anew. SIGTERM finishes what is under way, then ends it; SIGINT (Ctrl-C) ends it now.\n";

enum {
    OPT_GUERRILLA = 256,
    OPT_PRINT,
    OPT_LMTP,
    OPT_HOSTS,
    OPT_ALL,
    OPT_VALIDATE,
    OPT_SAVE,
    OPT_AUTH,
    OPT_MAILDIR,
    OPT_HOSTNAME,
    OPT_SIZE,
    OPT_CERT,
    OPT_KEY,
    OPT_TLS,
    OPT_LOG,
    OPT_THREADS,
    OPT_IO
};

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'},
    {"guerrilla", required_argument, NULL, OPT_GUERRILLA},
    {"check", no_argument, NULL, 't'},
    {"print-config", no_argument, NULL, OPT_PRINT},
    {"verbose", no_argument, NULL, 'v'},
    {"quiet", no_argument, NULL, 'q'},
    {"help", no_argument, NULL, 'h'},
    {"listen", required_argument, NULL, 'l'},
    {"lmtp", no_argument, NULL, OPT_LMTP},
    {"hosts", required_argument, NULL, OPT_HOSTS},
    {"accept-all", no_argument, NULL, OPT_ALL},
    {"app", required_argument, NULL, 'a'},
    {"validate", required_argument, NULL, OPT_VALIDATE},
    {"save", required_argument, NULL, OPT_SAVE},
    {"auth", required_argument, NULL, OPT_AUTH},
    {"maildir", required_argument, NULL, OPT_MAILDIR},
    {"hostname", required_argument, NULL, OPT_HOSTNAME},
    {"max-size", required_argument, NULL, OPT_SIZE},
    {"tls-cert", required_argument, NULL, OPT_CERT},
    {"tls-key", required_argument, NULL, OPT_KEY},
    {"tls", required_argument, NULL, OPT_TLS},
    {"set", required_argument, NULL, 's'},
    {"log", required_argument, NULL, OPT_LOG},
    {"threads", required_argument, NULL, OPT_THREADS},
    {"io", required_argument, NULL, OPT_IO},
    {0},
};

struct command {
    struct ferry_engine engine;
    struct ferry_mail_options options;
    bool check, print;
};

/* Where an option with one value goes; NULL: it is another one. */
static const char **place_of(struct ferry_mail_options *o, int c)
{
    switch (c) {
    case OPT_HOSTS:
        return &o->hosts;
    case 'a':
        return &o->app;
    case OPT_VALIDATE:
        return &o->validate;
    case OPT_SAVE:
        return &o->save;
    case OPT_AUTH:
        return &o->auth;
    case OPT_MAILDIR:
        return &o->maildir;
    case OPT_HOSTNAME:
        return &o->hostname;
    case OPT_SIZE:
        return &o->max_size;
    case OPT_CERT:
        return &o->tls_cert;
    case OPT_KEY:
        return &o->tls_key;
    case OPT_TLS:
        return &o->tls;
    case OPT_LOG:
        return &o->log;
    case OPT_THREADS:
        return &o->threads;
    case OPT_IO:
        return &o->io;
    default:
        return NULL;
    }
}

static int usage_error(const char *why)
{
    ferry_cli_say("mail: %s", why);
    fputs("Try 'ferry help mail'.\n", stderr);
    return FERRY_EXIT_USAGE;
}

static int take_many(const char **list, unsigned *n, unsigned max)
{
    if (*n == max)
        return usage_error("there is room for 64 addresses and as many settings");
    list[(*n)++] = optarg;
    return 0;
}

static int take(struct command *m, int c)
{
    struct ferry_mail_options *o = &m->options;
    const char **at = place_of(o, c);

    if (at || c == 'l' || c == 's' || c == OPT_LMTP || c == OPT_ALL)
        o->said = "the options of a service";
    if (at) {
        *at = optarg;
        return 0;
    }
    switch (c) {
    case 'c':
        o->config = optarg;
        return 0;
    case OPT_GUERRILLA:
        o->guerrilla = optarg;
        return 0;
    case 't':
        m->check = true;
        return 0;
    case OPT_PRINT:
        m->print = true;
        return 0;
    case 'v':
        m->engine.verbose = true;
        return 0;
    case 'q':
        m->engine.quiet = true;
        return 0;
    case 'l':
        return take_many(o->listen, &o->nlisten, FERRY_MAIL_OPTIONS_LISTEN_MAX);
    case 's':
        return take_many(o->set, &o->nset, FERRY_MAIL_OPTIONS_SET_MAX);
    case OPT_LMTP:
        o->lmtp = true;
        return 0;
    case OPT_ALL:
        o->accept_all = true;
        return 0;
    default:
        fputs("Try 'ferry help mail'.\n", stderr);
        return FERRY_EXIT_USAGE;
    }
}

static int read_config(void *arg, struct ferry_config **out)
{
    struct command *m = arg;
    struct ferry_config *c = NULL;
    int err = ferry_mail_options_read(&m->options, m->engine.quiet, &c);

    if (err == 0)
        err = ferry_mail_service_check(c);
    if (err < 0)
        ferry_config_free(c);
    else
        *out = c;
    return err;
}

static int print_config(const struct command *m)
{
    struct ferry_config *c;

    if (ferry_mail_options_read(&m->options, m->engine.quiet, &c) < 0)
        return m->options.said ? FERRY_EXIT_USAGE : FERRY_EXIT_CONFIG;
    ferry_config_print(c, false, stdout);
    ferry_config_free(c);
    return ferry_cli_written();
}

static int run(struct command *m)
{
    const struct ferry_mail_options *o = &m->options;
    const char *file = o->config ? o->config : o->guerrilla;

    if (m->print)
        return print_config(m);
    m->engine.arg = m;
    if (file && strcmp(file, "-") != 0) /* a stream cannot be read again */
        m->engine.reload = read_config;
    if (read_config(m, &m->engine.config) < 0)
        return file ? FERRY_EXIT_CONFIG : FERRY_EXIT_USAGE;
    if (!m->check)
        return ferry_engine_guarded(&m->engine);
    ferry_config_free(m->engine.config);
    printf("%s is good\n", file ? file : "it");
    return ferry_cli_written();
}

static int check_options(const struct ferry_mail_options *o)
{
    if (!!o->config + !!o->guerrilla + !!o->said > 1)
        return usage_error("a configuration and options of a service do not go together");
    if (!o->config && !o->guerrilla && !o->save && !o->maildir)
        return usage_error("where shall mail go? --maildir DIR or --save FILE, or -c FILE");
    return 0;
}

static int command(int argc, char **argv)
{
    static struct command m = {.engine = {.ops = &ferry_mail_service_ops}};
    int c, code;

    argv[0] = (char[]){"ferry mail"}; /* getopt's messages begin with it */
    while ((c = getopt_long(argc, argv, "c:tvqhl:a:s:", long_options, NULL)) != -1) {
        if (c == 'h') {
            fputs(help_text, stdout);
            return ferry_cli_written();
        }
        code = take(&m, c);
        if (code)
            return code;
    }
    if (optind < argc)
        return usage_error("it takes no arguments but options");
    code = check_options(&m.options);
    m.engine.first = getpid();
    m.engine.listen_hint = m.options.said ? "--listen" : "listen =";
    return code ? code : run(&m);
}

int main(int argc, char **argv)
{
    ferry_cli_open_standard();
    if (argc > 1 && strcmp(argv[1], "check") == 0)
        return ferry_mail_check(argc - 1, argv + 1);
    return command(argc, argv);
}
