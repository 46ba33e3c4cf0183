/* SPDX-License-Identifier: MIT */
/*
 * The chain behind `ferry serve`: scripts and files below the served folder, or one filter for a
 * script or an application that gets every path.
 */
#include <errno.h>
#include <stdlib.h>

#include "cli/serve.h"
#include "files/docroot.h"
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

static int run(struct ferry_session *s, void *filter, void *local)
{
    const struct filter *f = filter;
    const char *script = f->serve->script;
    struct ferry_docroot *root = local;

    if (root)
        ferry_docroot_refresh(root, ferry_loop_now(s->thread->loop));
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

static int push_script(struct ferry_filters *chain, const struct ferry_serve *s,
                       struct ferry_client *client)
{
    struct filter *f = malloc(sizeof *f);

    if (!f)
        return -ENOMEM;
    *f = (struct filter){s, client};
    return ferry_filters_push(chain, &ops, f);
}

static int push_dir(struct ferry_filters *chain, const struct ferry_serve *s,
                    struct ferry_client *client)
{
    bool front = ferry_slice_ends_nocase(ferry_slice_z(s->index), FERRY_SLICE(".php"));
    int err = ferry_filters_php(chain, client,
                                &(struct ferry_php_fs){
                                    .root = s->dir,
                                    .index = (const char *const[]){s->index, "index.html"},
                                    .nindex = 2,
                                    .front = front ? s->index : NULL,
                                    .project_root = s->project_root,
                                });

    if (err < 0)
        return err;
    return ferry_filters_files(
        chain, &(struct ferry_files){.root = s->dir, .project_root = s->project_root});
}

int ferry_serve_chain(const struct ferry_serve *s, struct ferry_client *client,
                      struct ferry_filters **out)
{
    struct ferry_filters *chain = ferry_filters_new();
    int err = -ENOMEM;

    if (chain)
        err = s->dir && !s->script ? push_dir(chain, s, client) : push_script(chain, s, client);
    if (err < 0)
        ferry_filters_free(chain);
    else
        *out = chain;
    return err;
}
