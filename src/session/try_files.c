/* SPDX-License-Identifier: MIT */
/*
 * The filter try_files: the first of several paths that is there. It changes the path and nothing
 * else; whether what lies there is sent, run or hidden is for the filters behind it.
 */
#include <errno.h>
#include <stdlib.h>

#include "io/loop.h"
#include "session/root.h"
#include "session/template.h"

#define PATHS_MAX 32

struct try_files {
    char *root;
    int status; /* instead of a last path; 0: there is one */
    unsigned n;
    struct ferry_template *paths[PATHS_MAX];
    bool folder[PATHS_MAX]; /* the text ends with a slash: it names a folder */
};

static bool is_there(struct ferry_docroot *root, struct ferry_slice path, bool folder,
                     uint64_t now_ms)
{
    if (folder && path.len > 1)
        path.len--;
    else if (!folder && path.p[path.len - 1] == '/')
        return false; /* the client's slash: no file is named so */
    return ferry__docroot_look_at(root, path, now_ms) ==
           (folder ? FERRY_PATH_DIR : FERRY_PATH_FILE);
}

static int go_to(struct ferry_session *s, const struct ferry_template_out *to)
{
    int err = ferry_session_set_path(s, to->text);

    if (err == FERRY_EUSAGE) /* a header field may have been in it: "..", for one */
        return ferry_session_refuse(s, 404, "There is nothing at this address.");
    if (err == 0 && to->query.p)
        err = ferry_session_set_query(s, to->query);
    return err < 0 ? err : FERRY_STEP_NEXT;
}

static int run(struct ferry_session *s, void *filter, void *local)
{
    const struct try_files *t = filter;
    struct ferry_docroot *root = &((struct ferry_session_root *)local)->docroot;
    uint64_t now_ms = ferry_loop_now(ferry_session_loop(s));

    ferry_docroot_refresh(root, now_ms);
    for (unsigned i = 0; i < t->n; i++) {
        struct ferry_template_out to;
        int err = ferry_template_expand(t->paths[i], s, NULL, &to);
        bool last = i + 1 == t->n && !t->status;

        if (err == FERRY_ELIMIT)
            return ferry_session_refuse(s, 414, "The address is too long.");
        if (err < 0)
            return err;
        if (last || (to.text.len && is_there(root, to.text, t->folder[i], now_ms)))
            return go_to(s, &to);
    }
    return ferry_session_refuse(s, t->status, "There is nothing at this address.");
}

static int join(void *filter, struct ferry_session_thread *thread, void **local)
{
    struct ferry_session_root *root;
    int err = ferry__session_root_join(thread, ((const struct try_files *)filter)->root, &root);

    if (err == 0)
        *local = root;
    return err;
}

static void leave(void *local)
{
    ferry__session_root_leave(local);
}

static void try_files_free(void *filter)
{
    struct try_files *t = filter;

    for (unsigned i = 0; i < t->n; i++)
        ferry_template_free(t->paths[i]);
    free(t->root);
    free(t);
}

static int add_path(struct ferry_filters *f, struct try_files *t, const char *path, bool last)
{
    uint64_t status;
    int err;

    if (path[0] != '=') {
        err = ferry_filters_template(f, "try_files", path, FERRY_TEMPLATE_PATH, 0, &t->paths[t->n]);
        if (err == 0)
            t->folder[t->n++] = path[strcspn(path, "?") - 1] == '/';
        return err;
    }
    if (!last)
        return ferry_filters_refuse(f, "try_files: \"%.60s\" can only be the last", path);
    if (ferry_slice_u64(ferry_slice_z(path + 1), 599, &status) < 0 || status < 400)
        return ferry_filters_refuse(f, "try_files: \"%.60s\" is no status from =400 to =599", path);
    t->status = (int)status;
    return 0;
}

int ferry_filters_try_files(struct ferry_filters *f, const char *root, const char *const *paths,
                            unsigned n)
{
    static const struct ferry_filter_ops ops = {
        .name = "try_files", .run = run, .join = join, .leave = leave, .free = try_files_free};
    struct try_files *t;
    int err = 0;

    if (!root || !*root)
        return ferry_filters_refuse(f, "try_files: it needs a root");
    if (!n || n > PATHS_MAX)
        return ferry_filters_refuse(f, "try_files: it needs 1 to %d paths", PATHS_MAX);
    t = calloc(1, sizeof *t);
    if (!t)
        return -ENOMEM;
    t->root = strdup(root);
    if (!t->root)
        err = -ENOMEM;
    for (unsigned i = 0; err == 0 && i < n; i++)
        err = add_path(f, t, paths[i], i + 1 == n);
    if (err < 0) {
        try_files_free(t);
        return err;
    }
    return ferry_filters_push(f, &ops, t);
}
