/* SPDX-License-Identifier: MIT */
/*
 * The configuration that the options of `ferry serve` stand for: one site with one route, and one
 * application. `--print-config` shows it.
 */
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "cli/serve.h"

struct maker {
    const struct ferry_serve *serve;
    struct ferry_config *config;
    bool failed; /* memory is out */
};

static const char *text(struct maker *m, const char *from)
{
    const char *copy = from ? ferry_config_text(m->config, from) : NULL;

    m->failed |= from && !copy;
    return copy;
}

static void *alloc(struct maker *m, size_t n)
{
    void *p = ferry_config_alloc(m->config, n);

    m->failed |= !p;
    return p;
}

/* So does a path; a name without a slash stays one to be found, where `named`. */
static const char *path(struct maker *m, const char *from, bool named)
{
    char cwd[4096], whole[2 * 4096 + 2];

    if (!from || !m->serve->print || *from == '/' || (named && !strchr(from, '/')) ||
        strlen(from) > 4096 || !getcwd(cwd, sizeof cwd))
        return text(m, from);
    while (strncmp(from, "./", 2) == 0)
        from += 2;
    snprintf(whole, sizeof whole, "%s/%s", strcmp(cwd, "/") == 0 ? "" : cwd, from);
    return text(m, whole);
}

static const char *log_file(struct maker *m)
{
    const struct ferry_serve *s = m->serve;
    const char *where = s->access_log ? s->access_log : s->quiet ? "off" : "-";

    return strcmp(where, "-") == 0 || strcmp(where, "off") == 0 ? where : path(m, where, false);
}

/* An address reads the same wherever the configuration is read. */
static const char *address(struct maker *m, const char *from)
{
    bool word = strncmp(from, "unix:", 5) == 0;
    const char *path = word ? from + 5 : from;
    char cwd[4096], whole[4096 + 128];

    if (!m->serve->print || (!word && !strchr(from, '/')) || *path == '/' || *path == '@' ||
        !getcwd(cwd, sizeof cwd) || strlen(path) > 107)
        return text(m, from);
    snprintf(whole, sizeof whole, "unix:%s/%s", cwd, path);
    return text(m, whole);
}

/* -- the application --------------------------------------------------------------------------- */

static const char *make_application(struct maker *m)
{
    const struct ferry_serve *s = m->serve;
    struct ferry_config_application *a;
    const char **argv;

    if (!s->app && !s->spawn && !s->wants_php)
        return NULL;
    a = alloc(m, sizeof *a);
    argv = alloc(m, 2 * sizeof *argv);
    if (!a || !argv)
        return NULL;
    ferry_config_application_init(a);
    a->name = s->wants_php ? "php" : "app";
    a->client.multiplex = s->multiplex;
    if (s->app) {
        a->client.address = address(m, s->app);
    } else {
        a->spawn.processes_min = s->processes_min ? s->processes_min : 1;
        a->spawn.processes_max = s->processes_max ? s->processes_max : 1;
        a->spawn.php = s->wants_php;
        a->spawn.chdir = s->wants_php ? text(m, s->dir) : NULL;
        argv[0] = path(m, s->spawn ? s->spawn : s->php, true);
        a->spawn.argv = argv[0] ? argv : NULL;
    }
    m->config->applications = a;
    m->config->napplications = 1;
    return a->name;
}

/* -- the route --------------------------------------------------------------------------------- */

static struct ferry_config_filter *filter(struct maker *m, struct ferry_config_route *r,
                                          const char *kind)
{
    struct ferry_config_filter *f = ferry_config_filter_add(m->config, r, kind);

    m->failed |= !f;
    return f;
}

static void set(struct maker *m, struct ferry_config_filter *f, const char *arg, const char *value)
{
    if (f && value)
        m->failed |= ferry_config_filter_set(m->config, f, arg, value) < 0;
}

static void make_chain(struct maker *m, struct ferry_config_route *r, const char *app)
{
    const struct ferry_serve *s = m->serve;
    size_t len = strlen(s->index);
    bool front = len > 4 && strcasecmp(s->index + len - 4, ".php") == 0;
    struct ferry_config_filter *f;
    char controller[NAME_MAX + 2] = "";

    if (front && len <= NAME_MAX)
        snprintf(controller, sizeof controller, "/%s", s->index);
    if (s->script)
        set(m, filter(m, r, "file_endpoint"), "file", s->script);
    if (s->script || !s->dir) {
        set(m, filter(m, r, "application"), "application", app);
        return;
    }
    /* Without an application it says that there is none: to people who are not asked to read this
     * as a file. */
    if (app || !s->print) {
        f = filter(m, r, "php");
        set(m, f, "application", app);
        set(m, f, "index", s->index);
        set(m, f, "index", "index.html");
        set(m, f, "front", controller);
    }
    filter(m, r, "files");
}

/* -- the site ---------------------------------------------------------------------------------- */

static void make_listen(struct maker *m, struct ferry_config_site *site)
{
    static const char *const fallback[] = {"127.0.0.1:8080", "[::1]:8080"};
    const struct ferry_serve *s = m->serve;
    const char **list;

    if (!s->nlisten && s->print) {
        site->listen = fallback;
        site->nlisten = 2;
        return;
    }
    list = alloc(m, (s->nlisten + 1) * sizeof *list);
    for (unsigned i = 0; list && i < s->nlisten; i++)
        list[i] = address(m, s->listen[i]);
    site->listen = list;
    site->nlisten = s->nlisten;
}

static void make_site(struct maker *m)
{
    const struct ferry_serve *s = m->serve;
    struct ferry_config_site *site = alloc(m, sizeof *site);
    struct ferry_config_route *route = alloc(m, sizeof *route);
    const char *app = make_application(m);

    if (!site || !route)
        return;
    ferry_config_site_init(site);
    make_listen(m, site);
    site->root = text(m, s->dir);
    site->project_root = s->project_root;
    site->server_name = text(m, s->server_name);
    site->access_log = log_file(m);
    if (s->body_max)
        site->body_max = s->body_max;
    route->pattern = "*";
    make_chain(m, route, app);
    site->routes = route;
    site->nroutes = 1;
    m->config->sites = site;
    m->config->nsites = 1;
}

struct ferry_config *ferry_serve_config(const struct ferry_serve *s)
{
    struct maker m = {.serve = s, .config = ferry_config_new()};

    if (!m.config)
        return NULL;
    m.config->threads = s->threads;
    m.config->io = s->io;
    if (s->head_max)
        m.config->head_max = (uint32_t)s->head_max;
    m.config->sandbox = FERRY_CONFIG_OFF; /* what a developer links to is to be served as well */
    make_site(&m);
    if (!m.failed)
        return m.config;
    ferry_config_free(m.config);
    return NULL;
}
