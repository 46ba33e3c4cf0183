/* SPDX-License-Identifier: MIT */
/*
 * The folders and files of a configuration, before anybody asks for them. What is wrong with a path
 * is the same at the first place that names it and at the last, so one is enough.
 */
#include "cli/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "io/spawn.h"

struct looking {
    ferry_config_say say;
    void *arg;
    const char **said;
    unsigned nsaid, cap;
    int err; /* the first error */
};

static int look_at_root(const char *root)
{
    int fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int err = fd < 0 || faccessat(fd, ".", X_OK, 0) < 0 ? -errno : 0;

    if (fd >= 0)
        close(fd);
    return err;
}

static int look_at_page(const char *file)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    int err = fd < 0 || fstat(fd, &st) < 0 ? -errno : 0;

    if (err == 0 && !S_ISREG(st.st_mode))
        err = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
    if (fd >= 0)
        close(fd);
    return err;
}

/* Is it the first time that this is said? */
static bool is_news(struct looking *l, const char *path)
{
    for (unsigned i = 0; i < l->nsaid; i++)
        if (strcmp(l->said[i], path) == 0)
            return false;
    if (l->nsaid == l->cap) {
        unsigned cap = l->cap ? 2 * l->cap : 16;
        const char **more = realloc(l->said, cap * sizeof *more);

        if (!more)
            return true;
        l->said = more;
        l->cap = cap;
    }
    l->said[l->nsaid++] = path;
    return true;
}

static void say(struct looking *l, const struct ferry_config_place *place, const char *path,
                const char *what, int err)
{
    char text[PATH_MAX + 128];

    if (!is_news(l, path))
        return;
    snprintf(text, sizeof text, "%s%s: %s", what, path, ferry_strerror(err));
    l->say(l->arg, place, text);
}

static void root(struct looking *l, const struct ferry_config_place *place, const char *path)
{
    int err = path ? look_at_root(path) : 0;

    if (err == 0)
        return;
    say(l, place, path, "cannot serve ", err);
    if (l->err == 0)
        l->err = err;
}

static void filter(struct looking *l, const struct ferry_config_filter *f)
{
    for (unsigned i = 0; i < f->kind->nargs; i++)
        if (strcmp(f->kind->args[i].name, "root") == 0)
            root(l, &f->place, f->values[i].text);
}

void ferry_programs_look(const struct ferry_config *c, ferry_config_say to, void *arg)
{
    struct looking l = {.say = to, .arg = arg};

    for (unsigned i = 0; i < c->napplications; i++) {
        const struct ferry_config_application *a = &c->applications[i];
        char path[PATH_MAX];
        int err = a->spawn.argv ? ferry_spawn_find(a->spawn.argv[0], path, sizeof path) : 0;

        if (err < 0)
            say(&l, &a->place, a->spawn.argv[0], "warning: cannot start ", err);
    }
    free(l.said);
}

int ferry_paths_look(const struct ferry_config *c, ferry_config_say to, void *arg)
{
    struct looking l = {.say = to, .arg = arg};

    for (unsigned i = 0; i < c->nsites; i++) {
        const struct ferry_config_site *s = &c->sites[i];

        root(&l, &s->place, s->root);
        for (unsigned r = 0; r < s->nroutes; r++)
            for (unsigned f = 0; f < s->routes[r].nfilters; f++)
                filter(&l, &s->routes[r].filters[f]);
        for (unsigned k = 0; k < s->nerror_pages; k++) {
            const char *file = s->error_pages[k].file;
            int err = look_at_page(file);

            if (err < 0)
                say(&l, &s->place, file, "warning: cannot read the error page ", err);
        }
    }
    free(l.said);
    return l.err;
}
