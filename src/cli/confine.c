/* SPDX-License-Identifier: MIT */
/*
 * What a worker keeps. What it may read and write is its service's to say, beside the system's
 * files about names and addresses. A root that is reached over a symbolic link may be switched by
 * it, from releases/7 to releases/8: where the link leads below a folder that stands beside it,
 * what lies beside its end may be read as well. Any other link is taken for what it is when the
 * worker begins: the folder around its end may be somebody's home.
 */
#include "cli/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/sandbox.h"

struct paths {
    char **each;
    unsigned n, cap;
    int err;
};

struct ferry_keep {
    struct paths readable, writable;
};

static void add(struct paths *p, const char *path)
{
    if (p->n == p->cap) {
        unsigned cap = p->cap ? 2 * p->cap : 16;
        char **more = realloc(p->each, cap * sizeof(char *));

        if (!more) {
            p->err = -ENOMEM;
            return;
        }
        p->each = more;
        p->cap = cap;
    }
    p->each[p->n] = strdup(path);
    if (p->each[p->n])
        p->n++;
    else
        p->err = -ENOMEM;
}

/* The folder that holds the path: its length, 0 for the root of all. */
static size_t holder_len(const char *path)
{
    size_t len = strlen(path);

    while (len && path[len - 1] != '/')
        len--;
    return len ? len - 1 : 0;
}

/* Landlock minds neither looking a name up nor reading a link: only what is opened counts. */
static void add_switched(struct paths *p, char *link)
{
    char holder[PATH_MAX], end[PATH_MAX];
    size_t len, n;

    if (!realpath(link, end))
        return;
    link[holder_len(link)] = 0;
    if (!*link || !realpath(link, holder))
        return;
    n = strlen(holder);
    len = holder_len(end);
    if (n > 1 && n < len && strncmp(end, holder, n) == 0 && end[n] == '/') {
        end[len] = 0;
        add(p, end);
    }
}

static void add_root(struct paths *p, const char *root)
{
    char part[PATH_MAX];
    struct stat st;

    add(p, root);
    for (const char *at = strchr(root + 1, '/');; at = strchr(at + 1, '/')) {
        size_t len = at ? (size_t)(at - root) : strlen(root);

        if (len >= sizeof part)
            return;
        memcpy(part, root, len);
        part[len] = 0;
        while (len > 1 && part[len - 1] == '/')
            part[--len] = 0;
        if (lstat(part, &st) == 0 && S_ISLNK(st.st_mode))
            add_switched(p, part);
        if (!at)
            return;
    }
}

void ferry_keep_readable(struct ferry_keep *k, const char *path)
{
    add(&k->readable, path);
}

void ferry_keep_writable(struct ferry_keep *k, const char *path)
{
    add(&k->writable, path);
}

void ferry_keep_root(struct ferry_keep *k, const char *path)
{
    add_root(&k->readable, path);
}

static void release(struct paths *p)
{
    for (unsigned i = 0; i < p->n; i++)
        free(p->each[i]);
    free(p->each);
}

static int shut_in(const struct ferry_engine *e, const struct ferry_config *c, const char *spool)
{
    static const char *const system_files[] = {
        "/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/services"};
    struct ferry_sandbox box = {0};
    struct ferry_keep k = {0};
    int err;

    for (size_t i = 0; i < sizeof system_files / sizeof *system_files; i++)
        add(&k.readable, system_files[i]);
    e->ops->keep(&k, c);
    err = k.readable.err ? k.readable.err : k.writable.err;
    if (err == 0)
        err = ferry_sandbox_enter(
            &(struct ferry_sandbox_opts){.readable = (const char *const *)k.readable.each,
                                         .nreadable = k.readable.n,
                                         .writable = (const char *const *)k.writable.each,
                                         .nwritable = k.writable.n,
                                         .spool = spool},
            c->sandbox == FERRY_CONFIG_ON, &box);
    release(&k.readable);
    release(&k.writable);
    if (err < 0)
        ferry_cli_say("the worker cannot be shut in a sandbox: %s",
                      *box.why ? box.why : ferry_strerror(err));
    else if (e->verbose)
        ferry_cli_say("sandbox: %s%s%s%s", box.landlock ? "Landlock" : "",
                      box.landlock && box.seccomp ? " and " : "", box.seccomp ? "seccomp" : "",
                      box.landlock || box.seccomp ? "" : box.why);
    return err;
}

int ferry_confine(const struct ferry_engine *e, const struct ferry_generation *g, const char *spool)
{
    int err = ferry_identity_take(&g->identity);

    if (err < 0) {
        ferry_cli_say("cannot become user %s: %s", g->config->user ? g->config->user : "",
                      ferry_strerror(err));
        return err;
    }
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* another user has none */
    if (g->config->sandbox == FERRY_CONFIG_OFF)
        return 0;
    if (spool && setenv("TMPDIR", spool, 1) < 0)
        return -ENOMEM;
    return shut_in(e, g->config, spool);
}
