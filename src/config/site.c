/* SPDX-License-Identifier: MIT */
/* The block of a site: its names, where it listens, what it tells applications, its routes. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>

#include "base/slice.h"
#include "config/private.h"
#include "gate/site.h"
#include "io/addr.h"

#define NAMES_MAX 256

/* RFC 1123, and underscores, which containers have in their names. */
bool ferry__is_host(struct ferry_slice s)
{
    size_t label = 0;

    if (s.len == 0 || s.len > 253)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        bool end = i + 1 == s.len || s.p[i + 1] == '.';

        if (s.p[i] == '.') {
            if (label == 0)
                return false;
            label = 0;
        } else if ((!isalnum((unsigned char)s.p[i]) && s.p[i] != '_' &&
                    !(s.p[i] == '-' && label && !end)) ||
                   ++label > 63) {
            return false;
        }
    }
    return label > 0;
}

/* -- settings --------------------------------------------------------------------------------- */

int ferry__read_addresses(struct ferry__reader *r, const struct ferry__node *node,
                          const char *whose, const char *const **out, unsigned *count)
{
    const char **listen;
    unsigned n = 0;

    if (node->ntexts == 0)
        return node->list ? ferry__reader_say(r, node->place, "'%s' names no address", node->name)
                          : FERRY_EUSAGE;
    if (node->ntexts > FERRY_CONFIG_LISTEN_MAX)
        return ferry__reader_say(r, node->place, "%s listens on %u addresses at most", whose,
                                 FERRY_CONFIG_LISTEN_MAX);
    listen = ferry__reader_alloc(r, node->ntexts * sizeof *listen);
    if (!listen)
        return -ENOMEM;
    for (const struct ferry__text *t = node->texts; t; t = t->next) {
        unsigned same = 0;

        listen[n] = ferry__read_address(r, t->place, node->name, t->text, true);
        if (!listen[n])
            continue;
        for (unsigned i = 0; i < n; i++)
            same += strcmp(listen[i], listen[n]) == 0;
        if (same == 1) /* each is said once */
            ferry__reader_say(r, t->place, "'%s' stands twice in '%s'", t->text, node->name);
        n++;
    }
    *out = listen;
    *count = n;
    return 0;
}

int ferry__read_listen(struct ferry__reader *r, void *block, const struct ferry__node *node)
{
    struct ferry_config_site *s = block;

    return ferry__read_addresses(r, node, "a site", &s->listen, &s->nlisten);
}

int ferry__read_params(struct ferry__reader *r, void *block, const struct ferry__node *node)
{
    struct ferry_config_site *s = block;
    struct ferry_param *params = NULL;
    unsigned n = 0;

    for (const struct ferry__node *at = node->children; at; at = at->next) {
        if (ferry__check_pair(r, node, at) < 0)
            continue;
        params = ferry__reader_grow(r, params, n, sizeof *params);
        if (!params)
            return -ENOMEM;
        params[n++] = (struct ferry_param){ferry_slice_z(at->name), ferry_slice_z(at->texts->text)};
    }
    s->params = params;
    s->nparams = n;
    return 0;
}

/* The file in an error-page's block. */
static const char *page_file(struct ferry__reader *r, const struct ferry__node *node)
{
    const struct ferry__node *at = node->children;

    if (!at || at->next || strcmp(at->name, "file") != 0 || at->ntexts != 1 || at->list ||
        at->block || !*at->texts->text) {
        if (!at || at->ntexts)
            ferry__reader_say(r, node->place, "in an error-page stands one file = FILE");
        return NULL;
    }
    return ferry__reader_path(r, at->place, at->texts->text);
}

int ferry__read_error_page(struct ferry__reader *r, void *block, const struct ferry__node *node)
{
    struct ferry_config_site *s = block;
    struct ferry_config_error_page *pages = s->error_pages;
    const char *file = page_file(r, node);
    uint64_t status;

    if (node->ntexts == 0)
        return ferry__reader_say(r, node->place,
                                 "an error-page names the statuses it is for: error-page 404 "
                                 "{ file = FILE }");
    for (const struct ferry__text *t = node->texts; t && file; t = t->next) {
        unsigned same = 0;

        if (ferry_slice_u64(ferry_slice_z(t->text), 599, &status) < 0 || status < 400) {
            ferry__reader_say(r, t->place, "'%.60s' is no status of an error: 400 to 599 are",
                              t->text);
            continue;
        }
        for (unsigned i = 0; i < s->nerror_pages; i++)
            same += pages[i].status == (int)status;
        if (same == 1)
            ferry__reader_say(r, t->place, "there is an error-page for %s already", t->text);
        pages = ferry__reader_grow(r, pages, s->nerror_pages, sizeof *pages);
        if (!pages)
            return -ENOMEM;
        s->error_pages = pages;
        pages[s->nerror_pages++] = (struct ferry_config_error_page){(int)status, file};
    }
    return 0;
}

/* -- routes ----------------------------------------------------------------------------------- */

static int check_pattern(struct ferry__reader *r, const struct ferry__text *t)
{
    const char *p = t->text, *star = strchr(p, '*');
    size_t n = strlen(p);

    if (star && strchr(star + 1, '*'))
        return ferry__reader_say(r, t->place, "the pattern '%.60s' has more than one '*'", p);
    if (p[0] != '/' && p[0] != '*')
        return ferry__reader_say(r, t->place, "the pattern '%.60s' begins with neither '/' nor '*'",
                                 p);
    if (star && star != p && (star != p + n - 1 || star[-1] != '/'))
        return ferry__reader_say(r, t->place,
                                 "in the pattern '%.60s' the '*' must be its beginning, or its end "
                                 "behind a '/'",
                                 p);
    if (strpbrk(p, "?#"))
        return ferry__reader_say(
            r, t->place, "the pattern '%.60s' is for paths, which hold no '?' and no '#'", p);
    return 0;
}

/* Does every path that fits b fit a? */
static bool covers(const char *a, const char *b)
{
    struct ferry_slice x = ferry_slice_z(a), y = ferry_slice_z(b);

    if (strcmp(a, "*") == 0 || strcmp(a, b) == 0)
        return true;
    if (x.p[x.len - 1] == '*' && x.len > 2 && ferry_slice_eq(y, ferry_slice_first(x, x.len - 2)))
        return true;           /* "/x" of "/x/..." */
    if (x.p[x.len - 1] == '*') /* "/x/" and behind */
        return y.p[0] == '/' && ferry_slice_starts(y, ferry_slice_first(x, x.len - 1)) &&
               y.len >= x.len;
    if (x.p[0] == '*') {
        struct ferry_slice end = ferry_slice_from(x, 1);

        return y.p[y.len - 1] != '*' && y.len >= end.len &&
               ferry_slice_eq(ferry_slice_from(y, y.len - end.len), end);
    }
    return false;
}

int ferry__read_route(struct ferry__reader *r, void *block, const struct ferry__node *node)
{
    struct ferry_config_site *s = block;
    struct ferry_config_route *routes, route = {.place = node->place};

    if (node->ntexts != 1)
        return ferry__reader_say(r, node->place, "a route has one pattern: route PATTERN { ... }");
    if (s->nroutes == FERRY_CONFIG_ROUTES_MAX)
        return ferry__reader_say(r, node->place, "a site has %u routes at most",
                                 FERRY_CONFIG_ROUTES_MAX);
    route.pattern = node->texts->text;
    if (check_pattern(r, node->texts) == 0)
        for (unsigned i = 0; i < s->nroutes; i++)
            if (covers(s->routes[i].pattern, route.pattern)) {
                ferry__reader_say(r, node->place,
                                  "this route is never taken: '%s' on line %u fits all that '%s' "
                                  "fits",
                                  s->routes[i].pattern, s->routes[i].place.line, route.pattern);
                break;
            }
    ferry__route_fill(r, &route, node);
    routes = ferry__reader_grow(r, s->routes, s->nroutes, sizeof *routes);
    if (!routes)
        return -ENOMEM;
    s->routes = routes;
    routes[s->nroutes++] = route;
    return 0;
}

/* -- a site ----------------------------------------------------------------------------------- */

static void read_names(struct ferry__reader *r, struct ferry_config_site *s,
                       const struct ferry__node *node)
{
    const char **names;

    if (node->ntexts == 0)
        return;
    if (node->ntexts > NAMES_MAX) {
        ferry__reader_say(r, node->place, "a site has %u names at most", NAMES_MAX);
        return;
    }
    names = ferry__reader_alloc(r, node->ntexts * sizeof *names);
    if (!names)
        return;
    for (const struct ferry__text *t = node->texts; t; t = t->next) {
        bool wild = strncmp(t->text, "*.", 2) == 0;
        char *name = ferry__reader_text(r, t->text);
        unsigned same = 0;

        if (!name)
            return;
        for (char *at = name; *at; at++)
            *at = ferry_ascii_lower(*at);
        if (!ferry__is_host(ferry_slice_z(name + (wild ? 2 : 0))))
            ferry__reader_say(r, t->place,
                              "'%.60s' is no name of a host: shop.example.org and *.example.org "
                              "are",
                              t->text);
        for (unsigned i = 0; i < s->nnames; i++)
            same += strcmp(names[i], name) == 0;
        if (same == 1)
            ferry__reader_say(r, t->place, "'%s' names this site twice", t->text);
        names[s->nnames++] = name;
    }
    s->names = names;
}

int ferry__read_site(struct ferry__reader *r, void *block, const struct ferry__node *node)
{
    struct ferry_config *c = block;
    struct ferry_config_site *all, *s;
    unsigned before = r->nmessages;

    if (c->nsites == FERRY_CONFIG_SITES_MAX)
        return ferry__reader_say(r, node->place, "there can be %u sites", FERRY_CONFIG_SITES_MAX);
    all = ferry__reader_grow(r, c->sites, c->nsites, sizeof *all);
    if (!all)
        return -ENOMEM;
    c->sites = all;
    s = &all[c->nsites++];
    ferry_config_site_init(s);
    s->place = node->place;
    read_names(r, s, node);
    ferry__block_fill(r, FERRY__BLOCK_SITE, s, node->children, "in a site");
    if (!r->sound || r->nmessages > before)
        return FERRY_EUSAGE;
    if (!s->nlisten)
        ferry__reader_say(r, node->place, "this site needs 'listen', its address");
    if (!s->nroutes)
        ferry__reader_say(r, node->place, "this site has no route, so it would answer nothing");
    return 0;
}
