/* SPDX-License-Identifier: MIT */
/*
 * Folders that filters serve from, and one request's way into them. The docroot remembers what is
 * there; what is not there is remembered in the session, for the filters of one chain that follow
 * each other at once. Nothing here outlives a switch of the root but what the docroot itself keeps.
 */
#include "session/root.h"

#include <errno.h>
#include <stdlib.h>

#include "base/text.h"

int ferry__session_root_join(struct ferry_session_thread *t, const char *dir,
                             struct ferry_session_root **out)
{
    struct ferry_session_root *r;
    int err;

    for (r = t->roots; r; r = r->next)
        if (strcmp(r->name, dir) == 0) {
            r->users++;
            *out = r;
            return 0;
        }
    r = calloc(1, sizeof *r);
    if (!r)
        return -ENOMEM;
    r->name = ferry__text_copy(dir);
    if (!r->name) {
        free(r);
        return -ENOMEM;
    }
    err = ferry_docroot_open(&r->docroot, dir);
    if (err < 0) {
        free(r->name);
        free(r);
        return err;
    }
    r->users = 1;
    r->thread = t;
    r->next = t->roots;
    t->roots = r;
    *out = r;
    return 0;
}

void ferry__session_root_leave(struct ferry_session_root *r)
{
    struct ferry_session_root **at;

    if (!r || --r->users)
        return;
    for (at = &r->thread->roots; *at != r; at = &(*at)->next)
        ;
    *at = r->next;
    ferry_docroot_close(&r->docroot);
    free(r->suffixes);
    free(r->mem);
    free(r->name);
    free(r);
}

/* -- claims ------------------------------------------------------------------------------------ */

static bool has_suffix(const struct ferry_session_root *r, struct ferry_slice suffix)
{
    for (unsigned i = 0; i < r->nsuffixes; i++)
        if (ferry_slice_eq_nocase(r->suffixes[i], suffix))
            return true;
    return false;
}

/* There is room for all. */
static void gather(struct ferry_session_root *r)
{
    r->nsuffixes = 0;
    r->project_root = false;
    for (const struct ferry_session_claim *c = r->claims; c; c = c->next) {
        r->project_root |= c->project_root;
        for (unsigned i = 0; i < c->nsuffixes; i++)
            if (!has_suffix(r, c->suffixes[i]))
                r->suffixes[r->nsuffixes++] = c->suffixes[i];
    }
}

int ferry__session_root_claim(struct ferry_session_root *r, struct ferry_session_claim *claim)
{
    unsigned need = r->nsuffixes + claim->nsuffixes;

    if (need > r->suffixes_cap) {
        struct ferry_slice *to = realloc(r->suffixes, need * sizeof *to);

        if (!to)
            return -ENOMEM;
        r->suffixes = to;
        r->suffixes_cap = need;
    }
    claim->next = r->claims;
    r->claims = claim;
    gather(r);
    return 0;
}

void ferry__session_root_unclaim(struct ferry_session_root *r, struct ferry_session_claim *claim)
{
    struct ferry_session_claim **at = &r->claims;

    while (*at && *at != claim)
        at = &(*at)->next;
    if (!*at)
        return;
    *at = claim->next;
    gather(r);
}

/* -- a request --------------------------------------------------------------------------------- */

struct looking {
    struct ferry_session *session;
    struct ferry_session_root *root;
};

/* Paths of one request are compared by where they lie: a changed path lies elsewhere. */
static enum ferry_path_kind look(void *ctx, struct ferry_slice path)
{
    const struct looking *l = ctx;
    struct ferry_session *s = l->session;
    bool own = path.p == s->path.path.p && path.len == s->path.path.len;
    enum ferry_path_kind kind;

    if (own && s->missed == l->root && s->missed_at == path.p)
        return FERRY_PATH_NONE;
    kind = ferry__docroot_look_at(&l->root->docroot, path, ferry_loop_now(s->thread->loop));
    if (own && kind == FERRY_PATH_NONE) {
        s->missed = l->root;
        s->missed_at = path.p;
    }
    return kind;
}

int ferry__session_root_route(struct ferry_session *s, struct ferry_session_root *root,
                              const struct ferry_path_rules *given, struct ferry_route *out)
{
    struct looking looking = {s, root};
    struct ferry_path_rules rules = *given;
    size_t room = ferry_path_room(given, s->path.path);

    if (room > root->mem_cap) {
        char *mem = realloc(root->mem, room + 256);

        if (!mem)
            return -ENOMEM;
        root->mem = mem;
        root->mem_cap = room + 256;
    }
    ferry_docroot_refresh(&root->docroot, ferry_loop_now(s->thread->loop));
    rules.project_root = root->project_root;
    rules.look = look;
    rules.ctx = &looking;
    return ferry_path_route(&rules, s->path.path, root->mem, root->mem_cap, out);
}

int ferry__session_root_run(struct ferry_session *s, struct ferry_session_root *root,
                            const struct ferry_route *route)
{
    struct ferry_slice real;
    int err =
        ferry_docroot_script(&root->docroot, route->file, ferry_loop_now(s->thread->loop), &real);

    if (err < 0)
        return err;
    /* The docroot's text is written anew by whoever looks at it next. */
    memcpy(root->script, real.p, real.len);
    s->rq.script_filename = ferry_slice(root->script, real.len);
    s->rq.script_name = route->script_name;
    if (s->mount.len) {
        err = ferry__session_script_name(s, route->script_name, &s->rq.script_name);
        if (err < 0)
            return err;
    }
    s->rq.path_info = route->path_info;
    s->rq.document_root = root->docroot.real;
    s->script = FERRY_SCRIPT_SET;
    s->borrowed = true;
    return 0;
}

int ferry__session_slash(struct ferry_session *s)
{
    struct ferry_slice target = s->head->target, location;
    size_t raw = ferry_slice_find(target, '?');
    char *at;
    int err;

    /* "//host" would be another site's address, and an absolute form names one already. */
    if (s->path.authority.len || !target.len || target.p[0] != '/' ||
        (target.len > 1 && target.p[1] == '/'))
        return ferry_session_refuse(s, 404, "There is nothing at this address.");
    at = ferry_session_alloc(s, target.len + 1);
    if (!at)
        return -ENOMEM;
    location = ferry_slice(at, target.len + 1);
    at = ferry__put(at, ferry_slice_first(target, raw));
    *at++ = '/';
    ferry__put(at, ferry_slice_from(target, raw));
    err = ferry_session_set_answer_field(s, FERRY_SLICE("Location"), location);
    return err < 0 ? err : ferry_session_refuse(s, 301, "This folder's address ends with a slash.");
}

bool ferry__slices_copy(const char *const *texts, unsigned n, struct ferry_slice **out)
{
    size_t size = n * sizeof **out;
    struct ferry_slice *to;
    char *at;

    for (unsigned i = 0; i < n; i++)
        size += strlen(texts[i]);
    to = malloc(size + 1);
    if (!to)
        return false;
    at = (char *)(to + n);
    for (unsigned i = 0; i < n; i++) {
        struct ferry_slice text = ferry_slice_z(texts[i]);

        to[i] = ferry_slice(at, text.len);
        at = ferry__put(at, text);
    }
    *out = to;
    return true;
}

char *ferry__text_copy(const char *text)
{
    size_t size = strlen(text) + 1;
    char *to = malloc(size);

    return to ? memcpy(to, text, size) : NULL;
}

bool ferry__slice_is_name(struct ferry_slice name)
{
    for (size_t i = 0; i < name.len; i++)
        if ((unsigned char)name.p[i] < 0x20 || name.p[i] == 0x7f || name.p[i] == '/')
            return false;
    return name.len && name.p[0] != '.';
}
