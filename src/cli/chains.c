/* SPDX-License-Identifier: MIT */
/* A chain for each route, a site for each site. What is wrong is said with the place where it was
 * written. */
#include "cli/chains.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static int complain(const struct ferry_config_place *p, const char *what, const char *why, int err)
{
    if (p->file)
        ferry_cli_say("%s:%u: %s%s", p->file, p->line, what, why);
    else
        ferry_cli_say("%s%s", what, why);
    return err;
}

static int no_memory(void)
{
    ferry_cli_say("cannot start: %s", ferry_strerror(-ENOMEM));
    return -ENOMEM;
}

static struct ferry_client *client_of(const struct ferry_chains *c, const struct ferry_config *conf,
                                      const char *name)
{
    for (unsigned i = 0; name && i < conf->napplications; i++)
        if (strcmp(conf->applications[i].name, name) == 0)
            return c->clients[i];
    return NULL;
}

/* -- chains ------------------------------------------------------------------------------------ */

static int add_filter(struct ferry_chains *c, const struct ferry_config *conf,
                      const struct ferry_config_site *site, const struct ferry_config_filter *f,
                      struct ferry_filters *chain)
{
    const struct ferry_filter_kind *kind = f->kind;
    struct ferry_arg_value *values = calloc(kind->nargs + 1, sizeof *values);
    int err;

    if (!values)
        return no_memory();
    for (unsigned i = 0; i < kind->nargs; i++) {
        values[i] = f->values[i];
        if (kind->args[i].type == FERRY_ARG_CLIENT && f->applications)
            values[i].client = client_of(c, conf, f->applications[i]);
        if (site->project_root && strcmp(kind->args[i].name, "project_root") == 0)
            values[i] = (struct ferry_arg_value){.set = true, .number = 1};
    }
    err = kind->add(chain, values, site->root);
    free(values);
    if (err == -ENOMEM)
        return no_memory();
    return err < 0 ? complain(&f->place, "", ferry_filters_why(chain), err) : 0;
}

static int make_route(struct ferry_chains *c, const struct ferry_config *conf,
                      const struct ferry_config_site *site, const struct ferry_config_route *r,
                      struct ferry_gate_route *out)
{
    struct ferry_filters *chain = ferry_filters_new();
    int err = 0;

    if (!chain)
        return no_memory();
    c->filters[c->nfilters++] = chain;
    for (unsigned i = 0; err == 0 && i < r->nfilters; i++)
        err = add_filter(c, conf, site, &r->filters[i], chain);
    *out = (struct ferry_gate_route){.pattern = r->pattern, .filters = chain};
    return err;
}

/* -- sites ------------------------------------------------------------------------------------- */

static struct ferry_access_log *log_of(const struct ferry_chains *c, const char *where)
{
    for (unsigned i = 0; i < c->nlogs; i++)
        if (strcmp(c->logs[i].path ? c->logs[i].path : "-", where) == 0)
            return &c->logs[i];
    return NULL;
}

static uint64_t listeners_of(const struct ferry_generation *g, const struct ferry_config_site *site)
{
    uint64_t all = 0;

    if (!site->nlisten)
        return UINT64_MAX;
    for (unsigned i = 0; i < site->nlisten; i++) {
        int n = ferry_listening_find(g, site->listen[i]);

        if (n >= 0)
            all |= UINT64_C(1) << n;
    }
    return all;
}

static int make_site(struct ferry_chains *c, const struct ferry_generation *g, unsigned i)
{
    const struct ferry_config_site *site = &g->config->sites[i];
    struct ferry_gate_site *out = &c->sites[i];
    struct ferry_gate_route *routes = calloc(site->nroutes + 1, sizeof *routes);
    struct ferry_gate_error_page *pages = calloc(site->nerror_pages + 1, sizeof *pages);
    int err = 0;

    out->routes = routes;
    out->error_pages = pages;
    c->nsites++;
    if (!routes || !pages)
        return no_memory();
    for (unsigned k = 0; err == 0 && k < site->nroutes; k++)
        err = make_route(c, g->config, site, &site->routes[k], &routes[k]);
    for (unsigned k = 0; k < site->nerror_pages; k++)
        pages[k] = (struct ferry_gate_error_page){.status = site->error_pages[k].status,
                                                  .file = site->error_pages[k].file};
    out->nroutes = site->nroutes;
    out->nerror_pages = site->nerror_pages;
    out->names = site->names;
    out->nnames = site->nnames;
    out->listeners = listeners_of(g, site);
    out->server_name = site->server_name;
    out->params = site->params;
    out->nparams = site->nparams;
    out->body_max = site->body_max;
    out->access_log = site->access_log ? log_of(c, site->access_log) : NULL;
    out->log_format =
        site->log_format == FERRY_CONFIG_LOG_JSON ? FERRY_ACCESS_JSON : FERRY_ACCESS_COMBINED;
    return err;
}

/* -- the whole --------------------------------------------------------------------------------- */

int ferry_chains_open_logs(struct ferry_chains *c, const struct ferry_generation *g)
{
    const struct ferry_config *conf = g->config;

    c->logs = calloc(conf->nsites + 1, sizeof *c->logs);
    if (!c->logs)
        return no_memory();
    for (unsigned i = 0; i < conf->nsites; i++) {
        const char *where = conf->sites[i].access_log;
        int err;

        if (!where || strcmp(where, "off") == 0 || log_of(c, where))
            continue;
        err = ferry_access_log_open(&c->logs[c->nlogs], where);
        if (err < 0) {
            ferry_cli_say("cannot write the access log %s: %s", where, ferry_strerror(err));
            return err;
        }
        c->nlogs++;
    }
    return 0;
}

int ferry_chains_init(struct ferry_chains *c, const struct ferry_generation *g)
{
    const struct ferry_config *conf = g->config;
    unsigned nroutes = 0;
    int err = 0;

    for (unsigned i = 0; i < conf->nsites; i++)
        nroutes += conf->sites[i].nroutes;
    c->filters = calloc(nroutes + 1, sizeof(struct ferry_filters *));
    c->sites = calloc(conf->nsites + 1, sizeof *c->sites);
    if (!c->filters || !c->sites)
        return no_memory();
    c->generation = g;
    err = ferry_clients_open(g, &c->clients);
    for (unsigned i = 0; err == 0 && i < conf->nsites; i++)
        err = make_site(c, g, i);
    return err;
}

void ferry_chains_fini(struct ferry_chains *c)
{
    for (unsigned i = 0; i < c->nfilters; i++)
        ferry_filters_free(c->filters[i]);
    ferry_clients_close(c->generation, c->clients);
    for (unsigned i = 0; i < c->nsites; i++) {
        free((void *)c->sites[i].routes);
        free((void *)c->sites[i].error_pages);
    }
    for (unsigned i = 0; i < c->nlogs; i++)
        ferry_access_log_close(&c->logs[i]);
    free(c->filters);
    free(c->sites);
    free(c->logs);
    *c = (struct ferry_chains){0};
}
