/* SPDX-License-Identifier: MIT */
/*
 * The one filter behind `ferry serve`: from a path below the served folder to a file or a script,
 * looked at once.
 */
#include <errno.h>
#include <stdlib.h>

#include "cli/serve.h"
#include "files/docroot.h"
#include "files/static.h"
#include "session/session.h"

struct filter {
    const struct ferry_serve *serve;
    struct ferry_client *client; /* NULL: files only */
};

static int call(struct ferry_session *s, const struct filter *f)
{
    if (!f->client)
        return ferry_session_refuse(s, 503,
                                    "No PHP runs here: there was none to run when ferry was "
                                    "started. Start it again.");
    s->basic = s->fields = true;
    return ferry_session_call(s, f->client);
}

static int run_script(struct ferry_session *s, const struct filter *f, struct ferry_docroot *root,
                      const struct ferry_route *route)
{
    struct ferry_slice filename;
    int err = 0;

    if (f->client)
        err = ferry_docroot_script(root, route->file, ferry_loop_now(s->thread->loop), &filename);
    if (err < 0)
        return ferry_session_refuse(s, err == -EACCES ? 403 : 404,
                                    err == -EACCES ? "This script lies outside of the site."
                                                   : "There is nothing at this address.");
    if (f->client) {
        s->rq.script_filename = filename;
        s->rq.script_name = route->script_name;
        s->rq.path_info = route->path_info;
        s->rq.document_root = root->real;
    }
    return call(s, f);
}

static int redirect_to_slash(struct ferry_session *s)
{
    struct ferry_slice target = s->head->target;
    size_t raw = ferry_slice_find(target, '?');
    char *to;

    if (s->path.authority.len || target.p[0] != '/' || (target.len > 1 && target.p[1] == '/'))
        return ferry_session_refuse(s, 404, "There is nothing at this address.");
    to = ferry_session_alloc(s, target.len + 1);
    if (!to)
        return -ENOMEM;
    memcpy(to, target.p, raw);
    to[raw] = '/';
    memcpy(to + raw + 1, target.p + raw, target.len - raw);
    raw = (size_t)ferry_session_set_answer_field(s, FERRY_SLICE("Location"),
                                                 ferry_slice(to, target.len + 1));
    return raw ? -ENOMEM : ferry_session_refuse(s, 301, "This folder's address ends with a slash.");
}

static int send_file(struct ferry_session *s, struct ferry_docroot *root, struct ferry_slice file)
{
    int err = s->host->file(s, root, file), status;

    if (err == 0)
        return FERRY_STEP_DONE;
    status = ferry_static_status(err);
    return ferry_session_refuse(s, status,
                                status == 404   ? "There is nothing at this address."
                                : status == 403 ? "This file may not be read."
                                : status == 405 ? "Files can only be read."
                                                : "This file cannot be read at the moment.");
}

static int below_dir(struct ferry_session *s, const struct filter *f, struct ferry_docroot *root)
{
    struct ferry_path_rules rules = {
        .script_suffix = FERRY_SLICE(".php"),
        .index = ferry_slice_z(f->serve->index),
        .index_static = FERRY_SLICE("index.html"),
        .look = ferry_docroot_look,
        .ctx = root,
        .project_root = f->serve->project_root,
    };
    size_t cap = s->path.path.len + strlen(f->serve->index) + 256;
    char *mem = ferry_session_alloc(s, cap);
    struct ferry_route route;

    if (!mem)
        return -ENOMEM;
    if (ferry_path_route(&rules, s->path.path, mem, cap, &route) < 0)
        return ferry_session_refuse(s, 414, "The address is too long.");
    switch (route.kind) {
    case FERRY_ROUTE_STATIC:
        return send_file(s, root, route.file);
    case FERRY_ROUTE_SCRIPT:
        return run_script(s, f, root, &route);
    case FERRY_ROUTE_REDIRECT:
        return redirect_to_slash(s);
    default:
        return ferry_session_refuse(s, 404, "There is nothing at this address.");
    }
}

static int run(struct ferry_session *s, void *filter, void *local)
{
    const struct filter *f = filter;
    const char *script = f->serve->script;
    struct ferry_docroot *root = local;

    if (root)
        ferry_docroot_refresh(root, ferry_loop_now(s->thread->loop));
    if (!script && root)
        return below_dir(s, f, root);
    if (script) {
        /* Its own name as SCRIPT_NAME, as behind a front controller: applications read
         * REQUEST_URI. */
        s->rq.script_filename = ferry_slice_z(script);
        s->rq.script_name = ferry_slice_z(strrchr(script, '/') ? strrchr(script, '/') : script);
        s->rq.document_root = root ? root->real : ferry_slice(NULL, 0);
    } else {
        /* Mounted at the root: the whole path is its PATH_INFO (RFC 3875 section 4.1.13). */
        s->rq.path_info = s->path.path;
    }
    return call(s, f);
}

static int join(void *filter, struct ferry_session_thread *t, void **local)
{
    const struct filter *f = filter;
    struct ferry_docroot *root;
    int err;

    if (f->client && !ferry_session_thread_client(t, f->client))
        return -ENOMEM;
    if (!f->serve->dir)
        return 0;
    root = calloc(1, sizeof *root);
    if (!root)
        return -ENOMEM;
    err = ferry_docroot_open(root, f->serve->dir);
    if (err < 0) {
        free(root);
        return err;
    }
    *local = root;
    return 0;
}

static void leave(void *local)
{
    if (local)
        ferry_docroot_close(local);
    free(local);
}

static const struct ferry_filter_ops ops = {
    .name = "serve", .run = run, .join = join, .leave = leave, .free = free};

int ferry_serve_chain(const struct ferry_serve *s, struct ferry_client *client,
                      struct ferry_filters **out)
{
    struct ferry_filters *chain = ferry_filters_new();
    struct filter *f = malloc(sizeof *f);
    int err = -ENOMEM;

    if (chain && f) {
        *f = (struct filter){s, client};
        err = ferry_filters_push(chain, &ops, f);
        f = NULL;
    }
    free(f);
    if (err < 0)
        ferry_filters_free(chain);
    else
        *out = chain;
    return err;
}
