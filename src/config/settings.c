/* SPDX-License-Identifier: MIT */
/*
 * The settings there are: one table for each block, by which a file is read, printed and explained.
 * docs/configuration.md shows the same tables.
 */
#include <stdio.h>

#include "base/slice.h"
#include "config/table.h"
#include "gate/site.h"

static const char *const balances[] = {
#define X(name, text) text,
    FERRY_BALANCE_MAP(X)
#undef X
        NULL};
static const char *const multiplexes[] = {
#define X(name, text) text,
    FERRY_MULTIPLEX_MAP(X)
#undef X
        NULL};
static const char *const ios[] = {"auto", "uring", "epoll", NULL};
static const char *const switches[] = {"auto", "on", "off", NULL};
static const char *const log_formats[] = {"combined", "json", NULL};
static const char *const log_words[] = {"-", "off", NULL};
static const char *const mail_log_formats[] = {"text", "json", NULL};

#define AT(member) offsetof(struct ferry_config, member)
static const struct ferry__setting top[] = {
    OTHER("application", "NAME { ... }", NULL, application, applications,
          "an application, by the name that filters call it", .block = true, .many = true),
    OTHER("site", "HOST... { ... }", NULL, site, sites,
          "what is served under these host names; without a name: under any other", .block = true,
          .many = true),
    OTHER("mail", "NAME { ... }", NULL, mail, mails,
          "a mail service, of ferry mail: who may receive, and what saves it", .block = true,
          .many = true),
    OTHER("threads", "auto | NUMBER", "auto", threads, threads,
          "threads that serve; auto: one for each processor"),
    SETTING("io", CHOICE, io, "auto", "how the kernel is asked for input and output",
            .choices = ios),
    SETTING("user", TEXT, user, NULL,
            "whom the workers run as, once their sockets are bound; unset: whoever started ferry"),
    SETTING("group", TEXT, group, NULL, "and with which group; unset: the user's own"),
    SETTING("head-max", SIZE32, head_max, "64k",
            "request line and header fields; the target takes 32k at most", .min = 1024,
            .max = 1 << 20),
    SETTING("sandbox", CHOICE, sandbox, "auto",
            "take from the workers what they do not need; auto: as far as the kernel can",
            .choices = switches),
    SETTING("stop-timeout", DURATION, stop_ms, "30s",
            "how long requests under way may take when ferry stops or reloads", .min = 1),
    SETTING("pid-file", PATH, pid_file, NULL, "a file for the number of ferry's process"),
    SETTING("mail-log", PATH, mail_log, "-",
            "the file for a line of each message of ferry mail; -: standard error",
            .choices = log_words),
    SETTING("mail-log-format", CHOICE, mail_log_format, "text", "how its lines look",
            .choices = mail_log_formats),
    SETTING("spool", PATH, spool, NULL,
            "the folder for messages and bodies that wait; unset: that of $TMPDIR, or /var/tmp"),
    {0}};

#undef AT
#define AT(member) offsetof(struct ferry_config_application, member)
static const struct ferry__setting application[] = {
    OTHER("connect", "ADDRESS | { \"ADDRESS weight=N\", ... }", NULL, connect, connect,
          "where it listens; several addresses share the requests by their weight (1)"),
    OTHER("spawn", "{ PROGRAM, ARGUMENT, ... }", NULL, spawn, spawn,
          "the program to start, instead of connect"),
    OTHER("spawn-php", "auto | PROGRAM", NULL, spawn_php, spawn_php,
          "start php-fpm or php-cgi, set up for the folder of chdir, instead of connect"),
    OTHER("processes", "NUMBER | { MIN, MAX }", "1", processes, processes,
          "how many of a spawned program run"),
    SETTING("user", TEXT, spawn.user, NULL,
            "whom a spawned program runs as; unset: whom the workers run as"),
    SETTING("group", TEXT, spawn.group, NULL, "and with which group; unset: the user's own"),
    SETTING("chdir", PATH, spawn.chdir, NULL, "the folder a spawned program starts in"),
    OTHER("env", "{ NAME = VALUE ... }", NULL, env, env,
          "environment variables of a spawned program", .block = true),
    SETTING("balance", CHOICE, client.balance, "least-connection",
            "which of several addresses is asked", .choices = balances),
    SETTING("connections", NUMBER, client.connections_max, "128",
            "connections to each address at once", .min = 1, .max = 65536),
    SETTING("connections-min", NUMBER, client.connections_min, "0",
            "connections that are kept open though idle", .max = 65536),
    SETTING("keep-alive", UNSWITCH, client.no_keep, "on",
            "use a connection for many requests, one after the other"),
    SETTING("multiplex", CHOICE, client.multiplex, "auto",
            "several requests on one connection at once; auto: if the application says it can",
            .choices = multiplexes),
    SETTING("connection-life", DURATION, client.life_ms, "0",
            "an older connection takes no request; 0: for ever"),
    SETTING("connection-requests", NUMBER, client.requests_max, "0",
            "a connection takes so many requests; 0: any number", .max = INT32_MAX),
    SETTING("idle-timeout", DURATION, client.idle_timeout_ms, "5s",
            "how long a connection is kept open without a request", .min = 1),
    SETTING("queue", NUMBER, client.queue_max, "1024",
            "requests that wait for a connection; more are answered 503", .min = 1, .max = 1 << 20),
    SETTING("queue-timeout", DURATION, client.queue_timeout_ms, "30s",
            "how long a request waits for a connection, before it is answered 503", .min = 1),
    SETTING("connect-timeout", DURATION, client.connect_ms, "5s",
            "how long it takes until a connection stands", .min = 1),
    SETTING("first-byte-timeout", DURATION, client.first_byte_ms, "0",
            "from the end of the request to the beginning of its answer; 0: any time"),
    SETTING("answer-idle-timeout", DURATION, client.idle_ms, "0",
            "silence in the middle of an answer; 0: any time"),
    SETTING("total-timeout", DURATION, client.total_ms, "0",
            "a request in all, with its time in the queue; 0: any time"),
    SETTING("fails", NUMBER, client.fails_max, "3",
            "an address that fails so often in a row gets no requests for a while", .min = 1,
            .max = 1 << 20),
    SETTING("fail-time", DURATION, client.fail_ms, "10s", "that while", .min = 1),
    SETTING("ping", TEXT, client.ping, NULL,
            "a script that is asked for now and then, to see if an address works; values: asks "
            "GET_VALUES"),
    SETTING("ping-interval", DURATION, client.ping_ms, "10s", "how often", .min = 1),
    {0}};

#undef AT
#define AT(member) offsetof(struct ferry_config_site, member)
static const struct ferry__setting site[] = {
    OTHER("listen", "ADDRESS | { ADDRESS, ... }", NULL, listen, listen,
          "where clients connect; sites may share an address"),
    SETTING("root", PATH, root, NULL, "the folder of filters that need one and are given none"),
    SETTING("project-root", SWITCH, project_root, "off",
            "the root is a project's own folder: hide what such folders hold"),
    SETTING("server-name", TEXT, server_name, NULL,
            "SERVER_NAME; unset: the host that the request names"),
    OTHER("params", "{ NAME = VALUE ... }", NULL, params, params,
          "params that every application is told", .block = true),
    SETTING("body-max", SIZE, body_max, "1G", "the largest body of a request", .min = 1),
    OTHER("error-page", "STATUS... { file = FILE }", NULL, error_page, error_pages,
          "a page of your own for these errors", .block = true, .many = true),
    SETTING("access-log", PATH, access_log, "off", "the file of the access log; -: standard error",
            .choices = log_words),
    SETTING("log-format", CHOICE, log_format, "combined", "how its lines look",
            .choices = log_formats),
    OTHER("route", "PATTERN { FILTER ... }", NULL, route, routes,
          "what is done with requests for these paths; the first route that fits is taken",
          .block = true, .many = true),
    {0}};

const struct ferry__setting *ferry__settings(enum ferry__block block)
{
    static const struct ferry__setting *const tables[] = {
        [FERRY__BLOCK_TOP] = top,
        [FERRY__BLOCK_APPLICATION] = application,
        [FERRY__BLOCK_SITE] = site,
        [FERRY__BLOCK_MAIL] = ferry__mail_settings,
    };

    return tables[block];
}

const char *ferry__setting_form(const struct ferry__setting *s)
{
    static const char *const forms[] = {
        [FERRY__SETTING_TEXT] = "TEXT",         [FERRY__SETTING_PATH] = "PATH",
        [FERRY__SETTING_NUMBER] = "NUMBER",     [FERRY__SETTING_SWITCH] = "on | off",
        [FERRY__SETTING_UNSWITCH] = "on | off", [FERRY__SETTING_DURATION] = "DURATION",
        [FERRY__SETTING_SIZE32] = "SIZE",       [FERRY__SETTING_SIZE] = "SIZE",
    };
    static _Thread_local char told[160];
    size_t n = 0;

    if (s->form || !s->choices)
        return s->form ? s->form : forms[s->type];
    if (s->type == FERRY__SETTING_PATH)
        n = (size_t)snprintf(told, sizeof told, "PATH");
    for (unsigned i = 0; s->choices[i] && n < sizeof told; i++)
        n += (size_t)snprintf(told + n, sizeof told - n, "%s%s", n ? " | " : "", s->choices[i]);
    return told;
}

static const char *choice(void *arg, unsigned i)
{
    return ((const char *const *)arg)[i];
}

static int parse_choice(const struct ferry__setting *s, const char *text, uint64_t *out,
                        const char **why)
{
    static _Thread_local char told[160];
    const char *meant;

    for (unsigned i = 0; s->choices[i]; i++)
        if (strcmp(s->choices[i], text) == 0) {
            *out = i;
            return 0;
        }
    meant = ferry__nearest(text, choice, (void *)s->choices);
    snprintf(told, sizeof told, "%s is expected%s%s%s", ferry__setting_form(s),
             meant ? "; did you mean '" : "", meant ? meant : "", meant ? "'?" : "");
    *why = told;
    return FERRY_EUSAGE;
}

static int check_range(const struct ferry__setting *s, uint64_t n, const char **why)
{
    static _Thread_local char told[80];
    char bound[FERRY__VALUE_MAX];
    uint64_t max = s->max ? s->max : UINT64_MAX;

    if (n >= s->min && n <= max)
        return 0;
    if (s->type == FERRY__SETTING_DURATION)
        ferry__value_put_duration(n < s->min ? s->min : max, bound);
    else if (s->type == FERRY__SETTING_NUMBER)
        snprintf(bound, sizeof bound, "%llu", (unsigned long long)(n < s->min ? s->min : max));
    else
        ferry__value_put_size(n < s->min ? s->min : max, bound);
    snprintf(told, sizeof told, "%s is the %s", bound, n < s->min ? "least" : "most");
    *why = told;
    return FERRY_EUSAGE;
}

int ferry__setting_parse(const struct ferry__setting *s, const char *text, uint64_t *out,
                         const char **why)
{
    bool on = false;
    int err;

    switch (s->type) {
    case FERRY__SETTING_SWITCH:
    case FERRY__SETTING_UNSWITCH:
        err = ferry__value_switch(text, &on, why);
        *out = on;
        return err;
    case FERRY__SETTING_CHOICE:
        return parse_choice(s, text, out, why);
    case FERRY__SETTING_NUMBER:
        err = ferry__value_number(text, out, why);
        break;
    case FERRY__SETTING_DURATION:
        err = ferry__value_duration(text, out, why);
        break;
    default:
        err = ferry__value_size(text, out, why);
    }
    return err < 0 ? err : check_range(s, *out, why);
}

uint64_t ferry__setting_get(const struct ferry__setting *s, const void *block)
{
    const void *at = (const char *)block + s->offset;

    switch (s->type) {
    case FERRY__SETTING_SWITCH:
        return *(const bool *)at;
    case FERRY__SETTING_UNSWITCH:
        return !*(const bool *)at;
    case FERRY__SETTING_SIZE:
        return *(const uint64_t *)at;
    default:
        return *(const uint32_t *)at;
    }
}

void ferry__setting_put(const struct ferry__setting *s, void *block, uint64_t n)
{
    void *at = (char *)block + s->offset;

    if (s->type == FERRY__SETTING_SWITCH)
        *(bool *)at = n;
    else if (s->type == FERRY__SETTING_UNSWITCH)
        *(bool *)at = !n;
    else if (s->type == FERRY__SETTING_SIZE)
        *(uint64_t *)at = n;
    else
        *(uint32_t *)at = (uint32_t)n;
}

void ferry__settings_fallback(enum ferry__block block, void *p)
{
    const char *why;
    uint64_t n;

    for (const struct ferry__setting *s = ferry__settings(block); s->name; s++)
        if (s->type == FERRY__SETTING_PATH || s->type == FERRY__SETTING_TEXT)
            *(const char **)((char *)p + s->offset) = s->fallback;
        else if (s->type != FERRY__SETTING_OTHER && s->type != FERRY__SETTING_LIST &&
                 ferry__setting_parse(s, s->fallback, &n, &why) == 0)
            ferry__setting_put(s, p, n);
}
