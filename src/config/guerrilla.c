/* SPDX-License-Identifier: MIT */
/*
 * go-guerrilla's configuration, read as ferry's own: its text is written anew in ferry's grammar
 * and then read like any other, so that all checks are made once. Nothing that would lose mail or
 * take more of it is passed over: what has no counterpart is an error, or a notice where nothing
 * hangs on it.
 */
#include "config/guerrilla.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/slice.h"
#include "config/private.h"

#define TEXT_MAX 512

/* -- what is said, and what is written --------------------------------------------------------- */

static void tell(const struct ferry__guerrilla *g, ferry_config_say to, unsigned line,
                 const char *fmt, va_list ap)
{
    const struct ferry_config_place place = {g->file, line};
    char text[TEXT_MAX];

    vsnprintf(text, sizeof text, fmt, ap);
    if (to)
        to(g->arg, &place, text);
}

void ferry__guerrilla_error(struct ferry__guerrilla *g, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (g->nerrors++ < FERRY_CONFIG_MESSAGES_MAX)
        tell(g, g->say, 0, fmt, ap);
    va_end(ap);
}

void ferry__guerrilla_notice(struct ferry__guerrilla *g, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    tell(g, g->notice, 0, fmt, ap);
    va_end(ap);
}

void ferry__guerrilla_word(struct ferry__guerrilla *g, const char *value)
{
    fputc('"', g->out);
    for (; *value; value++)
        if (*value == '"' || *value == '\\')
            fprintf(g->out, "\\%c", *value);
        else if ((unsigned char)*value < 0x20 || *value == 0x7f)
            fprintf(g->out, "\\x%02x", (unsigned char)*value);
        else
            fputc(*value, g->out);
    fputc('"', g->out);
}

void ferry__guerrilla_put(struct ferry__guerrilla *g, const char *name, const char *value)
{
    fprintf(g->out, "%s = ", name);
    ferry__guerrilla_word(g, value);
    fputc('\n', g->out);
}

/* -- members ----------------------------------------------------------------------------------- */

const char *ferry__guerrilla_text(struct ferry__guerrilla *g, const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);

    if (!v || json_is_null(v))
        return NULL;
    if (!json_is_string(v))
        ferry__guerrilla_error(g, "'%s' must be a string", key);
    return json_string_value(v);
}

bool ferry__guerrilla_flag(struct ferry__guerrilla *g, const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);

    if (v && !json_is_boolean(v))
        ferry__guerrilla_error(g, "'%s' must be true or false", key);
    return json_is_true(v);
}

/* Zero, like what is not there, means the default. */
static long long number(struct ferry__guerrilla *g, const json_t *object, const char *key,
                        long long fallback)
{
    const json_t *v = json_object_get(object, key);

    if (v && (!json_is_integer(v) || json_integer_value(v) < 0))
        ferry__guerrilla_error(g, "'%s' must be a whole number, and not less than 0", key);
    return json_integer_value(v) > 0 ? json_integer_value(v) : fallback;
}

void ferry__guerrilla_unknown(struct ferry__guerrilla *g, const json_t *object, const char *where,
                              const char *const *known)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)object, key, v)
    {
        unsigned i = 0;

        while (known[i] && strcmp(known[i], key) != 0)
            i++;
        if (!known[i])
            ferry__guerrilla_notice(g, "'%.60s' in %s is not known, and is ignored", key, where);
    }
}

/* -- allowed_hosts ----------------------------------------------------------------------------- */

/* A shell's pattern: only a first label of '*' has a counterpart. */
static bool is_pattern(const char *host)
{
    return strpbrk(strncmp(host, "*.", 2) == 0 ? host + 2 : host, "*?") != NULL &&
           strcmp(host, "*") != 0;
}

static void put_hosts(struct ferry__guerrilla *g, const json_t *hosts)
{
    size_t n = json_array_size(hosts), put = 0;
    const json_t *v;
    size_t i;

    if (n == 1 && strcmp(json_string_value(json_array_get(hosts, 0)), ".") == 0) {
        fputs("accept-all = on\n", g->out);
        return;
    }
    fputs("domains = {", g->out);
    json_array_foreach(hosts, i, v)
    {
        if (strcmp(json_string_value(v), ".") == 0)
            continue;
        fputs(put++ ? ", " : " ", g->out);
        ferry__guerrilla_word(g, json_string_value(v));
    }
    fputs(" }\n", g->out);
}

/* All of them good for put_hosts? */
static bool check_hosts(struct ferry__guerrilla *g, const json_t *hosts)
{
    unsigned before = g->nerrors;
    const json_t *v;
    size_t i;

    if (!json_is_array(hosts) || json_array_size(hosts) == 0)
        ferry__guerrilla_error(g, "'allowed_hosts' must be a list of hosts");
    json_array_foreach(hosts, i, v)
    {
        const char *host = json_string_value(v);

        if (!host)
            ferry__guerrilla_error(g, "'allowed_hosts' must be a list of hosts");
        else if (strcmp(host, ".") == 0 && json_array_size(hosts) > 1)
            ferry__guerrilla_notice(g, "'.' in 'allowed_hosts' stands for all hosts only when it "
                                       "stands there alone: it is ignored");
        else if (is_pattern(host))
            ferry__guerrilla_error(g,
                                   "'%.60s' in 'allowed_hosts': of patterns only *.example.com is "
                                   "supported",
                                   host);
    }
    return g->nerrors == before;
}

/* -- servers ----------------------------------------------------------------------------------- */

static const char *const server_keys[] = {
    "is_enabled",   "listen_interface", "host_name",        "max_size",        "timeout",
    "max_clients",  "log_file",         "xclient_on",       "proxyon",         "tls",
    "start_tls_on", "tls_always_on",    "private_key_file", "public_key_file", NULL};

static void put_server(struct ferry__guerrilla *g, const json_t *s, size_t index,
                       const json_t *hosts, const json_t *backend)
{
    const char *interface = ferry__guerrilla_text(g, s, "listen_interface");
    const char *host = ferry__guerrilla_text(g, s, "host_name");
    const char *log = ferry__guerrilla_text(g, s, "log_file"); /* the samples say stderr */
    long long timeout = number(g, s, "timeout", 30);

    fprintf(g->out, "mail server-%zu {\n", index);
    ferry__guerrilla_put(g, "listen", interface);
    if (host)
        ferry__guerrilla_put(g, "hostname", host);
    put_hosts(g, hosts);
    fprintf(g->out, "size-max = %lld\n", number(g, s, "max_size", 10485760));
    fprintf(g->out, "idle-timeout = %llds\ndata-idle-timeout = %llds\n", timeout, timeout);
    fprintf(g->out, "clients-max = %lld\n", number(g, s, "max_clients", 100));
    if (log && strcmp(log, "stderr") != 0)
        ferry__guerrilla_notice(g, "'log_file' of %.60s is ignored: there is one log", interface);
    if (ferry__guerrilla_flag(g, s, "proxyon"))
        fputs("proxy-from = { 0.0.0.0/0, ::/0, unix }\n", g->out);
    if (ferry__guerrilla_flag(g, s, "xclient_on")) {
        ferry__guerrilla_notice(g,
                                "'xclient_on' of %.60s holds for this machine alone: with "
                                "go-guerrilla anybody may say who they are",
                                interface);
        fputs("xclient-from = { 127.0.0.0/8, ::1 }\n", g->out);
    }
    ferry__guerrilla_tls(g, s, interface);
    ferry__guerrilla_scripts(g, backend);
    fputs("}\n", g->out);
}

static void put_servers(struct ferry__guerrilla *g, const json_t *servers, const json_t *hosts,
                        const json_t *backend)
{
    unsigned enabled = 0;
    const json_t *s;
    size_t i;

    if (servers && !json_is_array(servers))
        ferry__guerrilla_error(g, "'servers' must be a list of servers");
    json_array_foreach(servers, i, s)
    {
        if (!json_is_object(s)) {
            ferry__guerrilla_error(g, "'servers' must be a list of servers");
            continue;
        }
        ferry__guerrilla_unknown(g, s, "a server", server_keys);
        if (!ferry__guerrilla_text(g, s, "listen_interface")) {
            ferry__guerrilla_error(g, "listen interface not specified for server at index %zu", i);
        } else if (!ferry__guerrilla_flag(g, s, "is_enabled")) {
            ferry__guerrilla_notice(g, "the server %.60s is not started: it is not enabled",
                                    ferry__guerrilla_text(g, s, "listen_interface"));
        } else {
            put_server(g, s, i, hosts, backend);
            enabled++;
        }
    }
    if (servers && !enabled && !g->nerrors)
        ferry__guerrilla_error(g, "no server is enabled");
}

/* -- the whole --------------------------------------------------------------------------------- */

static const char *const top_keys[] = {"servers",   "allowed_hosts",  "pid_file", "log_file",
                                       "log_level", "backend_config", NULL};

static void put_log(struct ferry__guerrilla *g, const json_t *root)
{
    const char *file = ferry__guerrilla_text(g, root, "log_file");
    const char *level = ferry__guerrilla_text(g, root, "log_level");
    const char *pid = ferry__guerrilla_text(g, root, "pid_file");

    if (file && strcmp(file, "stdout") == 0)
        ferry__guerrilla_notice(g, "'log_file' stdout: the log goes to standard error");
    else if (file && strcmp(file, "stderr") != 0 && *file)
        ferry__guerrilla_put(g, "mail-log", file);
    if (level && strcmp(level, "info") != 0)
        ferry__guerrilla_notice(g, "'log_level' is ignored: a line is logged for each message, and "
                                   "-v says more");
    if (pid && *pid)
        ferry__guerrilla_put(g, "pid-file", pid);
}

static void convert(struct ferry__guerrilla *g, const json_t *root, const char *machine)
{
    const json_t *backend = json_object_get(root, "backend_config");
    json_t *hosts = json_object_get(root, "allowed_hosts");
    json_t *own = hosts ? json_incref(hosts) : json_pack("[s]", machine);
    json_t *servers = json_object_get(root, "servers");
    json_t *usual =
        servers ? json_incref(servers)
                : json_pack("[{s:b, s:s}]", "is_enabled", 1, "listen_interface", "127.0.0.1:2525");

    ferry__guerrilla_unknown(g, root, "the configuration", top_keys);
    put_log(g, root);
    if (!own || !usual)
        ferry__guerrilla_error(g, "%s", ferry_strerror(-ENOMEM));
    else if (check_hosts(g, own) && ferry__guerrilla_backend(g, backend))
        put_servers(g, usual, own, backend);
    json_decref(own);
    json_decref(usual);
}

static int load(struct ferry__guerrilla *g, json_t **root)
{
    json_error_t err;
    FILE *in = strcmp(g->file, "-") == 0 ? stdin : fopen(g->file, "re");
    char *text = malloc(FERRY_CONFIG_FILE_MAX + 1);
    size_t n;

    *root = NULL;
    if (!in || !text) {
        int code = in ? -ENOMEM : -errno;

        ferry__guerrilla_error(g, "cannot be read: %s", ferry_strerror(code));
        free(text);
        return code;
    }
    n = fread(text, 1, FERRY_CONFIG_FILE_MAX + 1, in);
    if (ferror(in) || n > FERRY_CONFIG_FILE_MAX) {
        int code = n > FERRY_CONFIG_FILE_MAX ? -EFBIG : -errno;

        ferry__guerrilla_error(g, "cannot be read: %s", ferry_strerror(code));
        n = 0;
        *root = NULL;
    } else {
        *root = json_loadb(text, n, 0, &err);
        if (!*root && g->say)
            g->say(g->arg, &(struct ferry_config_place){g->file, (unsigned)err.line}, err.text);
        else if (!json_is_object(*root))
            ferry__guerrilla_error(g, "this is no configuration: an object is expected");
    }
    if (in != stdin)
        fclose(in);
    free(text);
    return json_is_object(*root) ? 0 : FERRY_EUSAGE;
}

/* What is said of the text that was written has no lines that anybody has seen. */
static void repeat(void *arg, const struct ferry_config_place *place, const char *text)
{
    struct ferry__guerrilla *g = arg;

    (void)place;
    ferry__guerrilla_error(g, "%s", text);
}

int ferry_config_read_guerrilla(const char *file, struct ferry_config **out, ferry_config_say say,
                                ferry_config_say notice, void *arg)
{
    struct ferry__guerrilla g = {.file = file, .say = say, .notice = notice, .arg = arg};
    char machine[256] = "localhost", *text = NULL;
    json_t *root;
    size_t n = 0;
    int err;

    *out = NULL;
    err = load(&g, &root);
    if (err < 0) {
        json_decref(root);
        return err;
    }
    (void)gethostname(machine, sizeof machine - 1);
    g.out = open_memstream(&text, &n);
    if (!g.out) {
        json_decref(root);
        return -ENOMEM;
    }
    convert(&g, root, machine);
    json_decref(root);
    err = fclose(g.out) != 0 ? -ENOMEM : g.nerrors ? FERRY_EUSAGE : 0;
    /* Relative paths start where the program does, as go-guerrilla has it. */
    if (err == 0)
        err = ferry_config_parse("go-guerrilla", ferry_slice(text, n), out, repeat, &g);
    free(text);
    return err;
}
