/* SPDX-License-Identifier: MIT */
/*
 * Sites over HTTP, for the engine of `ferry serve` and `ferry run`: the gate and what it shares
 * among its threads.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/chains.h"
#include "cli/cli.h"
#include "cli/confine.h"
#include "cli/paths.h"
#include "gate/gate.h"

_Static_assert(FERRY_CONFIG_LISTEN_MAX <= FERRY_GATE_LISTENERS_MAX, "a gate has room for all");

struct ferry_service {
    const struct ferry_engine *engine;
    const struct ferry_generation *generation;
    struct ferry_gate *gate;
    struct ferry_chains chains;
    struct ferry_mime *mime;
};

static int complain(const char *what, const char *which, int err)
{
    ferry_cli_say("%s%s: %s", what, which, ferry_strerror(err));
    return err;
}

/* -- addresses --------------------------------------------------------------------------------- */

static const char *listen_text(const struct ferry_config *c, unsigned i)
{
    for (unsigned s = 0; s < c->nsites; i -= c->sites[s++].nlisten)
        if (i < c->sites[s].nlisten)
            return c->sites[s].listen[i];
    return NULL;
}

static bool is_any(const char *host)
{
    return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "127.0.0.1") == 0;
}

static void url(const struct ferry_generation *g, unsigned i, char *out, size_t cap)
{
    const struct ferry_addr *a = &g->listeners[i]->bound;
    char host[FERRY_ADDR_TEXT_MAX];

    if (a->any.sa_family == AF_UNIX) {
        ferry_addr_format(a, out, cap);
        return;
    }
    ferry_addr_host(a, host, sizeof host);
    if (is_any(host))
        snprintf(out, cap, "http://localhost:%u/", ferry_addr_port(a));
    else if (strchr(host, ':')) /* IPv6 alone: localhost could be looked for in IPv4 */
        snprintf(out, cap, "http://[%s]:%u/", strcmp(host, "::") == 0 ? "::1" : host,
                 ferry_addr_port(a));
    else
        snprintf(out, cap, "http://%s:%u/", host, ferry_addr_port(a));
}

/* -- applications ------------------------------------------------------------------------------ */

static bool is(const char *a, const char *b)
{
    return a && strcmp(a, b) == 0;
}

static bool site_uses(const struct ferry_config_site *s, const char *name)
{
    for (unsigned r = 0; r < s->nroutes; r++)
        for (unsigned f = 0; f < s->routes[r].nfilters; f++) {
            const struct ferry_config_filter *filter = &s->routes[r].filters[f];

            for (unsigned a = 0; filter->applications && a < filter->kind->nargs; a++)
                if (is(filter->applications[a], name))
                    return true;
        }
    return false;
}

/* All but those that only mail services of the same file have. */
static bool uses(const struct ferry_config *c, unsigned application)
{
    const char *name = c->applications[application].name;
    bool of_mail = false;

    for (unsigned i = 0; i < c->nsites; i++)
        if (site_uses(&c->sites[i], name))
            return true;
    for (unsigned i = 0; i < c->nmails; i++) {
        const struct ferry_config_mail *m = &c->mails[i];

        of_mail |= is(m->application, name) || is(m->validate_application, name) ||
                   is(m->save_application, name) || is(m->auth_application, name);
    }
    return !of_mail;
}

/* -- what a worker keeps ----------------------------------------------------------------------- */

static void keep(struct ferry_keep *k, const struct ferry_config *c)
{
    for (unsigned i = 0; i < c->nsites; i++) {
        const struct ferry_config_site *s = &c->sites[i];

        if (s->root)
            ferry_keep_root(k, s->root);
        for (unsigned p = 0; p < s->nerror_pages; p++)
            ferry_keep_readable(k, s->error_pages[p].file);
        for (unsigned r = 0; r < s->nroutes; r++)
            for (unsigned f = 0; f < s->routes[r].nfilters; f++) {
                const struct ferry_config_filter *filter = &s->routes[r].filters[f];

                for (unsigned a = 0; a < filter->kind->nargs; a++)
                    if (strcmp(filter->kind->args[a].name, "root") == 0 && filter->values[a].text)
                        ferry_keep_root(k, filter->values[a].text);
            }
    }
}

static void say(void *arg, const struct ferry_config_place *place, const char *text)
{
    (void)arg;
    (void)place; /* known when it was read; files come and go, and this is about them */
    ferry_cli_say("%s", text);
}

/* -- the gate ---------------------------------------------------------------------------------- */

static void log_line(void *arg, enum ferry_gate_level level, struct ferry_slice line)
{
    const struct ferry_engine *e = arg;

    if (level == FERRY_GATE_VERBOSE && !e->verbose)
        return;
    ferry_cli_say("%s%.*s", level == FERRY_GATE_APP ? "app: " : "", (int)line.len, line.p);
}

static void web_free(struct ferry_service *s)
{
    if (!s)
        return;
    ferry_gate_free(s->gate);
    ferry_chains_fini(&s->chains);
    ferry_mime_free(s->mime);
    free(s);
}

static int web_new(const struct ferry_engine *e, const struct ferry_generation *g,
                   const char *spool, struct ferry_service **out)
{
    struct ferry_service *s = calloc(1, sizeof *s);
    int err;

    (void)spool; /* is $TMPDIR */
    *out = s;
    if (!s)
        return complain("cannot start", "", -ENOMEM);
    s->engine = e;
    s->generation = g;
    err = ferry_chains_open_logs(&s->chains, g);
    if (err < 0)
        return err;
    err = ferry_mime_new("/etc/mime.types", &s->mime);
    return err < 0 ? complain("cannot start", "", err) : 0;
}

static uint64_t body_max(const struct ferry_config *c)
{
    uint64_t max = 0;

    for (unsigned i = 0; i < c->nsites; i++)
        max = c->sites[i].body_max > max ? c->sites[i].body_max : max;
    return max;
}

static int web_open(struct ferry_service *s)
{
    const struct ferry_config *c = s->generation->config;
    struct ferry_gate_opts opts = {
        .body_max = body_max(c),
        .head_max = c->head_max,
        .mime = s->mime,
        .log = log_line,
        .log_arg = (void *)s->engine,
    };
    int err = ferry_paths_look(c, say, NULL);

    if (err == 0)
        err = ferry_chains_init(&s->chains, s->generation);
    if (err < 0)
        return err;
    opts.sites = s->chains.sites;
    opts.nsites = s->chains.nsites;
    err = ferry_gate_new(&opts, &s->gate);
    return err < 0 ? complain("cannot start", "", err) : 0;
}

static void reopen_logs(struct ferry_service *s)
{
    for (unsigned i = 0; i < s->chains.nlogs; i++) {
        struct ferry_access_log *log = &s->chains.logs[i];
        int err = ferry_access_log_reopen(log);

        if (err < 0)
            complain("cannot open the access log anew, the old one stays: ", log->path, err);
    }
}

/* -- its threads ------------------------------------------------------------------------------- */

static int thread_new(struct ferry_service *s, unsigned index, struct ferry_loop *loop, void **out)
{
    struct ferry_gate_thread *t = NULL;
    int err = ferry_gate_thread_new(s->gate, index, loop, &t);

    *out = t;
    return err;
}

static int thread_listen(void *thread, int fd, unsigned listener)
{
    return ferry_gate_listen(thread, fd, listener);
}

static void thread_drain(void *thread, bool retires, void (*done)(void *), void *arg)
{
    if (retires)
        ferry_gate_thread_retire(thread, FERRY_ENGINE_LINGER_MS, done, arg);
    else
        ferry_gate_thread_drain(thread, done, arg);
}

static void thread_cut(void *thread)
{
    ferry_gate_thread_cut(thread);
}

static void thread_free(void *thread)
{
    ferry_gate_thread_free(thread);
}

const struct ferry_service_ops ferry_web_service = {
    .port = "8080",
    .listen = listen_text,
    .url = url,
    .uses = uses,
    .body_max = body_max,
    .keep = keep,
    .new = web_new,
    .open = web_open,
    .reopen_logs = reopen_logs,
    .free = web_free,
    .thread_new = thread_new,
    .thread_listen = thread_listen,
    .thread_drain = thread_drain,
    .thread_cut = thread_cut,
    .thread_free = thread_free,
};
