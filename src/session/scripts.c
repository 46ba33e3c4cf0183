/* SPDX-License-Identifier: MIT */
/*
 * php_fs, and php, which is php_fs with all that usually stands around it. A path becomes a script
 * here, or it does not: scripts are files that are there, below the root, and end in one of the
 * suffixes. What is there and is no script is left to the filters behind, and what may not be seen
 * is answered 404 at once. The first script found for a session stays its script.
 */
#include <errno.h>
#include <stdlib.h>

#include "session/root.h"

struct scripts {
    const char *filter; /* its name */
    char *root, *front;
    struct ferry_slice *index, *suffixes;
    struct ferry_path_rules rules;
    bool project_root, calls;
    struct ferry_client *client; /* of php; NULL: there is none */
};

struct here {
    struct ferry_session_root *root;
    struct ferry_session_claim claim;
    struct ferry_client_local *client;
};

/* -- what runs --------------------------------------------------------------------------------- */

static int refuse_hidden(struct ferry_session *s)
{
    /* No path that was parsed has such a segment: one from elsewhere ends here (compat: gofast). */
    for (struct ferry_slice rest = s->path.path; rest.len; rest = ferry_slice_from(rest, 1)) {
        rest = ferry_slice_from(rest, ferry_slice_find(rest, '/'));
        if (ferry_slice_eq(ferry_slice_first(rest, 4), FERRY_SLICE("/../")) ||
            ferry_slice_eq(rest, FERRY_SLICE("/..")))
            return ferry_session_refuse(s, 403, "error: access path outside of filesystem docroot");
    }
    return ferry_session_refuse(s, 404, "There is nothing at this address.");
}

static int scripts_run(struct ferry_session *s, void *filter, void *local)
{
    const struct scripts *f = filter;
    struct here *here = local;
    struct ferry_route route;
    int err;

    if (s->script == FERRY_SCRIPT_SET)
        return FERRY_STEP_NEXT;
    err = ferry__session_root_route(s, here->root, &f->rules, &route);
    if (err < 0)
        return err;
    switch (route.kind) {
    case FERRY_ROUTE_SCRIPT:
        break;
    case FERRY_ROUTE_REDIRECT:
        return ferry__session_slash(s);
    case FERRY_ROUTE_HIDDEN:
        return refuse_hidden(s);
    case FERRY_ROUTE_STATIC:
    case FERRY_ROUTE_NOT_FOUND:
        s->script = FERRY_SCRIPT_NONE;
        return FERRY_STEP_NEXT;
    }
    if (f->calls && !f->client)
        return ferry_session_refuse(
            s, 503,
            "No PHP runs here: there was none to run when ferry was started. Start it again.");
    err = ferry__session_root_run(s, here->root, &route);
    if (err == -ENOMEM)
        return err;
    if (err < 0)
        return ferry_session_refuse(s, err == -EACCES ? 403 : 404,
                                    err == -EACCES ? "This script lies outside of the site."
                                                   : "There is nothing at this address.");
    return FERRY_STEP_NEXT;
}

static int php_run(struct ferry_session *s, void *filter, void *local)
{
    struct here *here = local;
    int step = scripts_run(s, filter, local);

    s->basic = s->fields = true;
    if (step != FERRY_STEP_NEXT || s->script != FERRY_SCRIPT_SET)
        return step;
    s->host->call(
        s, &(struct ferry_session_call){
               .client = here->client, .role = s->role, .no_body = s->no_body, .key = s->key});
    return FERRY_STEP_DONE;
}

/* -- in a thread ------------------------------------------------------------------------------- */

static void scripts_leave(void *local)
{
    struct here *here = local;

    if (!here)
        return;
    ferry__session_root_unclaim(here->root, &here->claim);
    ferry__session_root_leave(here->root);
    free(here);
}

static int scripts_join(void *filter, struct ferry_session_thread *t, void **local)
{
    const struct scripts *f = filter;
    struct here *here = calloc(1, sizeof *here);
    int err;

    if (!here)
        return -ENOMEM;
    err = ferry__session_root_join(t, f->root, &here->root);
    if (err < 0) {
        free(here);
        return err;
    }
    here->claim = (struct ferry_session_claim){.suffixes = f->rules.suffixes,
                                               .nsuffixes = f->rules.nsuffixes,
                                               .project_root = f->project_root};
    err = ferry__session_root_claim(here->root, &here->claim);
    if (err == 0 && f->client) {
        here->client = ferry_session_thread_client(t, f->client);
        err = here->client ? 0 : -ENOMEM;
    }
    if (err < 0) {
        scripts_leave(here);
        return err;
    }
    *local = here;
    return 0;
}

/* -- in a chain -------------------------------------------------------------------------------- */

static void scripts_free(void *filter)
{
    struct scripts *f = filter;

    if (!f)
        return;
    free(f->root);
    free(f->front);
    free(f->index);
    free(f->suffixes);
    free(f);
}

static const struct ferry_filter_ops php_fs_ops = {
    .name = "php_fs",
    .run = scripts_run,
    .join = scripts_join,
    .leave = scripts_leave,
    .free = scripts_free,
};

static const struct ferry_filter_ops php_ops = {
    .name = "php",
    .run = php_run,
    .join = scripts_join,
    .leave = scripts_leave,
    .free = scripts_free,
};

static int check(struct ferry_filters *to, const struct scripts *f, const struct ferry_php_fs *o)
{
    struct ferry_slice front = f->rules.front;

    if (!o->root || !o->root[0])
        return ferry_filters_refuse(to, "%s: it needs a root, the folder of its scripts",
                                    f->filter);
    for (unsigned i = 0; i < f->rules.nindex; i++)
        if (!ferry__slice_is_name(f->index[i]))
            return ferry_filters_refuse(to, "%s: index: \"%.*s\" is no name of a file", f->filter,
                                        (int)f->index[i].len, f->index[i].p);
    for (unsigned i = 0; i < f->rules.nsuffixes; i++)
        if (!f->suffixes[i].len || ferry_slice_find(f->suffixes[i], '/') < f->suffixes[i].len)
            return ferry_filters_refuse(to, "%s: \"%.*s\" is no suffix of names, such as \".php\"",
                                        f->filter, (int)f->suffixes[i].len, f->suffixes[i].p);
    if (!front.len)
        return 0;
    for (unsigned i = 0; i < f->rules.nsuffixes; i++)
        if (ferry_slice_ends_nocase(front, f->suffixes[i]) && !strstr(f->front, "/."))
            return 0;
    return ferry_filters_refuse(
        to, "%s: the front controller \"%s\" is no script below the root, such as \"/index.php\"",
        f->filter, o->front);
}

static bool fill(struct scripts *f, const struct ferry_php_fs *o)
{
    static const char *const index[] = {"index.php", "index.html"}, *const suffixes[] = {".php"};
    const char *front = o->front ? o->front : "", *root = o->root ? o->root : "";
    bool slash = front[0] && front[0] != '/';

    f->project_root = o->project_root;
    f->rules.nindex = o->index ? o->nindex : 2;
    f->rules.nsuffixes = o->suffixes ? o->nsuffixes : 1;
    f->root = ferry__text_copy(root);
    f->front = malloc(strlen(front) + 2);
    if (!f->root || !f->front ||
        !ferry__slices_copy(o->index ? o->index : index, f->rules.nindex, &f->index) ||
        !ferry__slices_copy(o->suffixes ? o->suffixes : suffixes, f->rules.nsuffixes, &f->suffixes))
        return false;
    f->front[0] = '/';
    memcpy(f->front + slash, front, strlen(front) + 1);
    f->rules.index = f->index;
    f->rules.suffixes = f->suffixes;
    f->rules.front = ferry_slice_z(front[0] ? f->front : "");
    return true;
}

static int push(struct ferry_filters *to, const struct ferry_filter_ops *ops,
                struct ferry_client *client, const struct ferry_php_fs *o)
{
    struct scripts *f = calloc(1, sizeof *f);
    int err = 0;

    if (!f)
        return -ENOMEM;
    f->filter = ops->name;
    f->calls = ops == &php_ops;
    f->client = client;
    err = fill(f, o) ? check(to, f, o) : -ENOMEM;
    if (err < 0) {
        scripts_free(f);
        return err;
    }
    return ferry_filters_push(to, ops, f);
}

int ferry_filters_php_fs(struct ferry_filters *to, const struct ferry_php_fs *o)
{
    return push(to, &php_fs_ops, NULL, o);
}

int ferry_filters_php(struct ferry_filters *to, struct ferry_client *client,
                      const struct ferry_php_fs *o)
{
    return push(to, &php_ops, client, o);
}
