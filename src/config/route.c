/* SPDX-License-Identifier: MIT */
/*
 * The filters of a route, in the order in which they stand, by the table of filters that the
 * library has; and what only the whole configuration tells.
 */
#include <errno.h>
#include <stdio.h>

#include "base/slice.h"
#include "config/private.h"
#include "gate/site.h"
#include "io/addr.h"

static const char *kind_name(void *arg, unsigned i)
{
    const struct ferry_filter_kind *kind = ferry_filter_kind(i);

    (void)arg;
    return kind ? kind->name : NULL;
}

static const char *arg_name(void *arg, unsigned i)
{
    const struct ferry_filter_kind *kind = arg;

    return i < kind->nargs ? kind->args[i].name : NULL;
}

static int arg_index(const struct ferry_filter_kind *kind, const char *name)
{
    for (unsigned i = 0; name && i < kind->nargs; i++)
        if (strcmp(kind->args[i].name, name) == 0)
            return (int)i;
    return -1;
}

/* Paths of our own machine; a script's may be another's, and is told as it is. */
static bool is_path(const struct ferry_filter_arg *arg)
{
    return arg->type == FERRY_ARG_TEXT && strcmp(arg->name, "root") == 0;
}

static void set(struct ferry__reader *r, struct ferry_config_filter *f, unsigned i,
                const struct ferry__text *t, bool more)
{
    const struct ferry_filter_arg *arg = &f->kind->args[i];
    const char *text = t->text, *why;
    int err;

    if (is_path(arg) && *text)
        text = ferry__reader_path(r, t->place, text);
    if (!text)
        return;
    err = ferry__filter_set(r->config, f, i, text, more, &why);
    if (err == -ENOMEM)
        r->err = err;
    else if (err < 0)
        ferry__reader_say(r, t->place, "'%s = %.60s': %s", arg->name, t->text, why);
}

/* One argument, written as a setting. */
static void fill_arg(struct ferry__reader *r, struct ferry_config_filter *f,
                     const struct ferry__node *node)
{
    const struct ferry_filter_kind *kind = f->kind;
    int i = arg_index(kind, node->name);
    const char *meant;

    if (i < 0) {
        meant = ferry__nearest(node->name, arg_name, (void *)kind);
        ferry__reader_say(r, node->place, "the filter '%s' has no '%s'%s%s%s", kind->name,
                          node->name, meant ? "; did you mean '" : "", meant ? meant : "",
                          meant ? "'?" : "");
        return;
    }
    if (node->block) {
        ferry__reader_say(r, node->place, "'%s' is no block: %s = VALUE", node->name, node->name);
        return;
    }
    if (f->said >> i & 1) {
        ferry__reader_say(r, node->place, "'%s' is said a second time", node->name);
        return;
    }
    f->said |= (uint64_t)1 << i;
    if (kind->args[i].type == FERRY_ARG_LIST) {
        f->values[i] = (struct ferry_arg_value){.set = true};
        for (const struct ferry__text *t = node->texts; t && !r->err; t = t->next)
            set(r, f, (unsigned)i, t, t != node->texts);
    } else if (node->ntexts == 1) {
        set(r, f, (unsigned)i, node->texts, false);
    } else if (node->list) {
        ferry__reader_say(r, node->place, "'%s' takes one value, not a list of %u", node->name,
                          node->ntexts);
    }
}

static void fill_filter(struct ferry__reader *r, struct ferry_config_filter *f,
                        const struct ferry__node *node)
{
    const struct ferry_filter_kind *kind = f->kind;
    unsigned before = r->nmessages;
    int title = arg_index(kind, kind->title);

    if (node->ntexts > (title >= 0)) {
        ferry__reader_say(r, node->place, "%s stands between '%s' and its '{'",
                          title < 0 ? "nothing" : "one word", kind->name);
    } else if (node->ntexts) {
        f->said |= (uint64_t)1 << title;
        set(r, f, (unsigned)title, node->texts, false);
    }
    for (const struct ferry__node *at = node->children; at && !r->err; at = at->next)
        fill_arg(r, f, at);
    for (unsigned i = 0; i < kind->nargs && r->sound && r->nmessages == before; i++)
        if (kind->args[i].required && !f->values[i].set)
            ferry__reader_say(r, node->place, "the filter '%s' needs '%s': %s", kind->name,
                              kind->args[i].name, kind->args[i].help);
    if (r->nmessages > before)
        f->values = NULL; /* not to be tried */
}

static void say_unknown(struct ferry__reader *r, const struct ferry__node *node)
{
    const char *meant = ferry__nearest(node->name, kind_name, NULL);

    ferry__reader_say(r, node->place, "there is no filter '%s'%s%s%s", node->name,
                      meant ? "; did you mean '" : "", meant ? meant : "", meant ? "'?" : "");
}

void ferry__route_fill(struct ferry__reader *r, struct ferry_config_route *route,
                       const struct ferry__node *block)
{
    for (const struct ferry__node *node = block->children; node && !r->err; node = node->next) {
        const struct ferry_filter_kind *kind = ferry_filter_kind_find(node->name);
        struct ferry_config_filter *filters;

        if (!kind) {
            say_unknown(r, node);
            continue;
        }
        if (!node->block) {
            ferry__reader_say(r, node->place, "the filter '%s' is a block: %s { ... }", kind->name,
                              kind->name);
            continue;
        }
        if (route->nfilters == FERRY_CONFIG_FILTERS_MAX) {
            ferry__reader_say(r, node->place, "a route has %u filters at most",
                              FERRY_CONFIG_FILTERS_MAX);
            return;
        }
        filters = ferry__reader_grow(r, route->filters, route->nfilters, sizeof *filters);
        if (!filters)
            return;
        route->filters = filters;
        r->err = ferry__filter_init(r->config, &filters[route->nfilters], kind);
        if (r->err)
            return;
        filters[route->nfilters].place = node->place;
        fill_filter(r, &filters[route->nfilters++], node);
    }
}

/* -- the whole -------------------------------------------------------------------------------- */

static const char *application_name(void *arg, unsigned i)
{
    const struct ferry_config *c = arg;

    return i < c->napplications ? c->applications[i].name : NULL;
}

void ferry__check_application(struct ferry__reader *r, struct ferry_config_place place,
                              const char *name)
{
    struct ferry_config *c = r->config;
    const char *meant;

    for (unsigned i = 0; i < c->napplications; i++)
        if (strcmp(c->applications[i].name, name) == 0)
            return;
    meant = ferry__nearest(name, application_name, c);
    ferry__reader_say(r, place, "there is no application '%.60s'%s%s%s", name,
                      meant ? "; did you mean '" : "", meant ? meant : "", meant ? "'?" : "");
}

static void check_applications(struct ferry__reader *r, const struct ferry_config_filter *f)
{
    for (unsigned i = 0; i < f->kind->nargs; i++)
        if (f->applications[i])
            ferry__check_application(r, f->place, f->applications[i]);
}

#define ARGS_MAX 64

/* Regular expressions, statuses, paths: the filter itself knows what it can do. */
static void check_filter(struct ferry__reader *r, const struct ferry_config_site *site,
                         const struct ferry_config_filter *f, struct ferry_client *any)
{
    struct ferry_arg_value values[ARGS_MAX] = {0};
    struct ferry_filters *chain = ferry_filters_new();
    int err = chain ? 0 : -ENOMEM;

    for (unsigned i = 0; f->values && i < f->kind->nargs && i < ARGS_MAX; i++) {
        values[i] = f->values[i];
        if (f->kind->args[i].type == FERRY_ARG_CLIENT)
            values[i].client = any;
    }
    if (!err && f->values && f->kind->add)
        err = f->kind->add(chain, values, site->root);
    if (err == -ENOMEM)
        r->err = err;
    else if (err < 0)
        ferry__reader_say(r, f->place, "%s",
                          err == FERRY_EUSAGE ? ferry_filters_why(chain) : ferry_strerror(err));
    ferry_filters_free(chain);
}

/* What stands behind a filter that lets nothing through does nothing. */
static void check_end(struct ferry__reader *r, const struct ferry_config_route *route)
{
    for (unsigned i = 1; i < route->nfilters; i++) {
        const struct ferry_config_filter *last = &route->filters[i - 1], *f = &route->filters[i];

        if (!last->kind->ends)
            continue;
        ferry__reader_say(r, f->place,
                          "the filter '%s' is never reached: '%s' on line %u ends the chain",
                          f->kind->name, last->kind->name, last->place.line);
        return;
    }
}

static void check_filters(struct ferry__reader *r, const struct ferry_config_site *site)
{
    struct ferry_client *any;

    if (ferry_client_new(&(struct ferry_client_opts){FERRY_CLIENT_OPTS_SIZE, .address = "/any"},
                         &any) < 0) {
        r->err = -ENOMEM;
        return;
    }
    for (unsigned i = 0; i < site->nroutes; i++) {
        unsigned before = r->nmessages;

        for (unsigned f = 0; f < site->routes[i].nfilters && !r->err; f++) {
            check_applications(r, &site->routes[i].filters[f]);
            check_filter(r, site, &site->routes[i].filters[f], any);
        }
        if (r->nmessages == before)
            check_end(r, &site->routes[i]);
    }
    ferry_client_free(any);
}

/* An address in its one form, whichever way it was written. */
static void normal(const char *text, char out[FERRY_ADDR_TEXT_MAX])
{
    struct ferry_addr addr;
    const char *why;

    out[0] = 0;
    if (ferry_addr_parse(text, true, &addr, &why) == 0)
        ferry_addr_format(&addr, out, FERRY_ADDR_TEXT_MAX);
}

const char *ferry__listen_together(const char *const *a, unsigned na, const char *const *b,
                                   unsigned nb)
{
    char x[FERRY_ADDR_TEXT_MAX], y[FERRY_ADDR_TEXT_MAX];

    for (unsigned i = 0; i < na; i++) {
        normal(a[i], x);
        for (unsigned j = 0; j < nb; j++) {
            normal(b[j], y);
            if (strcmp(x, y) == 0)
                return b[j];
        }
    }
    return NULL;
}

static bool has_name(const struct ferry_config_site *s, const char *name)
{
    if (!name)
        return s->nnames == 0;
    for (unsigned i = 0; i < s->nnames; i++)
        if (strcmp(s->names[i], name) == 0)
            return true;
    return false;
}

/* The first site before this one that would get the same requests; NULL for no name: any other. */
static void check_name(struct ferry__reader *r, unsigned site, const char *name)
{
    const struct ferry_config *c = r->config;
    const struct ferry_config_site *b = &c->sites[site];

    for (const struct ferry_config_site *a = c->sites; a < b; a++) {
        const char *file = a->place.file == b->place.file ? NULL : a->place.file, *where;

        if (!has_name(a, name))
            continue;
        where = ferry__listen_together(a->listen, a->nlisten, b->listen, b->nlisten);
        if (!where)
            continue;
        if (name)
            ferry__reader_say(r, b->place, "'%s' is a site on %s already, on line %u%s%s", name,
                              where, a->place.line, file ? " of " : "", file ? file : "");
        else
            ferry__reader_say(
                r, b->place,
                "two sites without names are on %s, here and on line %u%s%s: which is it?", where,
                a->place.line, file ? " of " : "", file ? file : "");
        return;
    }
}

static void check_names(struct ferry__reader *r, unsigned site)
{
    const struct ferry_config_site *s = &r->config->sites[site];

    if (s->nnames == 0)
        check_name(r, site, NULL);
    for (unsigned i = 0; i < s->nnames; i++)
        check_name(r, site, s->names[i]);
}

/* Different addresses of all sites together. */
static void check_listeners(struct ferry__reader *r)
{
    char seen[FERRY_GATE_LISTENERS_MAX][FERRY_ADDR_TEXT_MAX], text[FERRY_ADDR_TEXT_MAX];
    const struct ferry_config *c = r->config;
    unsigned n = 0, i;

    for (unsigned s = 0; s < c->nsites; s++)
        for (unsigned l = 0; l < c->sites[s].nlisten; l++) {
            normal(c->sites[s].listen[l], text);
            for (i = 0; i < n && strcmp(seen[i], text) != 0; i++)
                ;
            if (i < n)
                continue;
            if (n == FERRY_GATE_LISTENERS_MAX) {
                ferry__reader_say(r, c->sites[s].place, "sites listen on %u addresses at most",
                                  FERRY_GATE_LISTENERS_MAX);
                return;
            }
            memcpy(seen[n++], text, sizeof text);
        }
}

void ferry__config_check(struct ferry__reader *r)
{
    const struct ferry_config *c = r->config;
    struct ferry_config_place top = {r->files ? r->files->name : NULL, 0};

    for (const struct ferry__config_file *f = r->files; f; f = f->next)
        top.file = f->name;
    if (c->nsites == 0 && c->nmails == 0 && r->nmessages == 0)
        ferry__reader_say(r, top,
                          "there is neither a site nor a mail service, so nothing would be served");
    for (unsigned s = 0; s < c->nsites && !r->err; s++) {
        check_names(r, s);
        check_filters(r, &c->sites[s]);
    }
    check_listeners(r);
    ferry__mails_check(r);
}
