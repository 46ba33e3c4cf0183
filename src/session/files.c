/* SPDX-License-Identifier: MIT */
/*
 * files and filter_files: what lies below a folder goes to the client, or to an application that
 * plays the filter role. Neither sends what one of the root's filters runs as a script, nor what
 * nobody meant to publish.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "files/static.h"
#include "session/root.h"

struct files {
    char *root;
    struct ferry_slice *index, *hidden;
    struct ferry_path_rules rules;
    bool project_root;
};

struct here {
    struct ferry_session_root *root;
    struct ferry_session_claim claim;
};

static const char *why(int status)
{
    return status == 404   ? "There is nothing at this address."
           : status == 403 ? "This file may not be read."
           : status == 405 ? "Files can only be read."
                           : "This file cannot be read at the moment.";
}

static int refuse(struct ferry_session *s, int status)
{
    return ferry_session_refuse(s, status, why(status));
}

static int files_run(struct ferry_session *s, void *filter, void *local)
{
    const struct files *f = filter;
    struct here *here = local;
    struct ferry_path_rules rules = f->rules;
    struct ferry_route route;
    int err;

    if (s->script == FERRY_SCRIPT_SET)
        return FERRY_STEP_NEXT;
    rules.suffixes = here->root->suffixes;
    rules.nsuffixes = here->root->nsuffixes;
    err = ferry__session_root_route(s, here->root, &rules, &route);
    if (err < 0)
        return err;
    if (route.kind == FERRY_ROUTE_REDIRECT)
        return ferry__session_slash(s);
    if (route.kind == FERRY_ROUTE_HIDDEN && ferry_path_has_dotfile(s->path.path))
        return refuse(s, 404);
    if (route.kind != FERRY_ROUTE_STATIC)
        return FERRY_STEP_NEXT;
    err = s->host->file(s, &here->root->docroot, route.file);
    if (err == 0)
        return FERRY_STEP_DONE;
    return err == -ENOENT ? FERRY_STEP_NEXT : refuse(s, ferry_static_status(err));
}

/* -- the filter role --------------------------------------------------------------------------- */

static bool is_method(const struct ferry_session *s, const char *name)
{
    return ferry_slice_eq(s->head->method, ferry_slice_z(name));
}

static int open_data(struct ferry_session *s, struct ferry_session_root *root, struct stat *st)
{
    int fd;

    ferry_docroot_refresh(&root->docroot, ferry_loop_now(s->thread->loop));
    fd = ferry_docroot_read(&root->docroot, s->path.path);
    if (fd < 0)
        return fd == -ENXIO || fd == -ENODEV ? -ENOENT : fd;
    if (fstat(fd, st) < 0 || !S_ISREG(st->st_mode)) {
        close(fd);
        return -ENOENT;
    }
    return fd;
}

static int filter_files_run(struct ferry_session *s, void *filter, void *local)
{
    struct here *here = local;
    struct ferry_path_rules rules = {.suffixes = here->root->suffixes,
                                     .nsuffixes = here->root->nsuffixes,
                                     .project_root = here->root->project_root};
    struct stat st;
    int err;

    (void)filter;
    if (!is_method(s, "GET") && !is_method(s, "HEAD") && !is_method(s, "POST")) {
        err =
            ferry_session_set_answer_field(s, FERRY_SLICE("Allow"), FERRY_SLICE("GET, HEAD, POST"));
        return err < 0 ? err
                       : ferry_session_refuse(s, 405, "This method is not for filtered files.");
    }
    if (!ferry_path_may_send(&rules, s->path.path))
        return refuse(s, 404);
    err = open_data(s, here->root, &st);
    if (err < 0)
        return refuse(s, ferry_static_status(err));
    if (s->script != FERRY_SCRIPT_SET) {
        s->rq.document_root = here->root->docroot.real;
        if (!s->rq.script_name.len)
            s->rq.script_name = s->path.path;
        s->borrowed = true;
        s->script = FERRY_SCRIPT_SET;
    }
    err = ferry_session_set_data(s, err, (uint64_t)st.st_size, st.st_mtim.tv_sec);
    return err < 0 ? err : FERRY_STEP_NEXT;
}

/* -- in a thread, and in a chain --------------------------------------------------------------- */

static void files_leave(void *local)
{
    struct here *here = local;

    if (!here)
        return;
    ferry__session_root_unclaim(here->root, &here->claim);
    ferry__session_root_leave(here->root);
    free(here);
}

static int files_join(void *filter, struct ferry_session_thread *t, void **local)
{
    const struct files *f = filter;
    struct here *here = calloc(1, sizeof *here);
    int err;

    if (!here)
        return -ENOMEM;
    err = ferry__session_root_join(t, f->root, &here->root);
    if (err < 0) {
        free(here);
        return err;
    }
    here->claim.project_root = f->project_root;
    err = ferry__session_root_claim(here->root, &here->claim);
    if (err < 0) {
        files_leave(here);
        return err;
    }
    *local = here;
    return 0;
}

static void files_free(void *filter)
{
    struct files *f = filter;

    if (!f)
        return;
    free(f->root);
    free(f->index);
    free(f->hidden);
    free(f);
}

static const struct ferry_filter_ops files_ops = {
    .name = "files",
    .run = files_run,
    .join = files_join,
    .leave = files_leave,
    .free = files_free,
};

static const struct ferry_filter_ops filter_files_ops = {
    .name = "filter_files",
    .run = filter_files_run,
    .join = files_join,
    .leave = files_leave,
    .free = files_free,
};

static int check(struct ferry_filters *to, const char *name, const struct files *f)
{
    if (!f->root[0])
        return ferry_filters_refuse(to, "%s: it needs a root, the folder of its files", name);
    for (unsigned i = 0; i < f->rules.nindex; i++)
        if (!ferry__slice_is_name(f->index[i]))
            return ferry_filters_refuse(to, "%s: index: \"%.*s\" is no name of a file", name,
                                        (int)f->index[i].len, f->index[i].p);
    for (unsigned i = 0; i < f->rules.nhidden; i++)
        if (!f->hidden[i].len || ferry_slice_find(f->hidden[i], '/') < f->hidden[i].len)
            return ferry_filters_refuse(to, "%s: \"%.*s\" is no suffix of names, such as \".key\"",
                                        name, (int)f->hidden[i].len, f->hidden[i].p);
    return 0;
}

static int push(struct ferry_filters *to, const struct ferry_filter_ops *ops,
                const struct ferry_files *o)
{
    static const char *const index[] = {"index.html"};
    const char *root = o->root ? o->root : "";
    struct files *f = calloc(1, sizeof *f);
    int err;

    if (!f)
        return -ENOMEM;
    f->project_root = o->project_root;
    f->rules.nindex = o->index ? o->nindex : 1;
    f->rules.nhidden = o->suffixes_hidden ? o->nsuffixes_hidden : 0;
    f->root = ferry__text_copy(root);
    err = f->root && ferry__slices_copy(o->index ? o->index : index, f->rules.nindex, &f->index) &&
                  ferry__slices_copy(o->suffixes_hidden, f->rules.nhidden, &f->hidden)
              ? 0
              : -ENOMEM;
    if (err == 0) {
        f->rules.index = f->index;
        f->rules.hidden = f->hidden;
        err = check(to, ops->name, f);
    }
    if (err < 0) {
        files_free(f);
        return err;
    }
    return ferry_filters_push(to, ops, f);
}

int ferry_filters_files(struct ferry_filters *to, const struct ferry_files *o)
{
    return push(to, &files_ops, o);
}

int ferry_filters_filter_files(struct ferry_filters *to, const char *root)
{
    return push(to, &filter_files_ops, &(struct ferry_files){.root = root});
}
