/* SPDX-License-Identifier: MIT */
/*
 * The applications that the master starts. Each is known by all that it was started with, and by
 * which file its program is: where all of that is the same, a reload keeps its processes; where
 * not, another one is started beside it, and the old one ends with the last worker that asks it.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/engine.h"
#include "proc/php.h"
#include "proc/program.h"

struct ferry_app {
    struct ferry_list link;
    struct ferry_apps *all;
    unsigned refs, processes_max;
    bool stopping, gone;
    enum ferry_manager_state state;
    char *name, *key;
    struct ferry_php *php;
    struct ferry_program *program;
    char dir[FERRY_ADDR_TEXT_MAX]; /* where its socket is, for the guards */
};

/* -- what it says ----------------------------------------------------------------------------- */

static void php_said(void *arg, enum ferry_php_level level, struct ferry_slice line)
{
    const struct ferry_app *app = arg;

    if (level == FERRY_PHP_WARNING || app->all->engine->verbose ||
        (level == FERRY_PHP_OUTPUT && !app->all->quiet))
        ferry_cli_say("%s: %.*s", app->name, (int)line.len, line.p);
}

static void program_said(void *arg, bool ours, struct ferry_slice line)
{
    const struct ferry_app *app = arg;

    if (ours)
        ferry_cli_say("%.*s", (int)line.len, line.p);
    else
        ferry_cli_say("%s: %.*s", app->name, (int)line.len, line.p);
}

static void on_state(void *arg, enum ferry_manager_state state)
{
    struct ferry_app *app = arg;

    app->state = state;
    if (app->all->changed)
        app->all->changed(app->all->arg);
}

/* -- one and the same ------------------------------------------------------------------------- */

static void put(FILE *f, const char *text)
{
    fprintf(f, "%zu:%s,", text ? strlen(text) + 1 : 0, text ? text : "");
}

/* All that it is started with, as one text; NULL: no memory. */
static char *make_key(const struct ferry_generation *g, const struct ferry_config_application *a)
{
    const struct ferry_config_spawn *s = &a->spawn;
    char *text = NULL, path[PATH_MAX];
    struct stat st;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    if (!f)
        return NULL;
    fprintf(f, "%d %u %u %d %u ", s->php, s->processes_min, s->processes_max, g->identity.set,
            g->identity.uid);
    put(f, a->name);
    put(f, s->user);
    put(f, s->group);
    put(f, s->chdir);
    for (unsigned i = 0; s->argv && s->argv[i]; i++)
        put(f, s->argv[i]);
    fprintf(f, "%u ", s->nenv);
    for (unsigned i = 0; i < s->nenv; i++)
        put(f, s->env[i]);
    if (s->php)
        fprintf(f, "%llu ", (unsigned long long)g->ops->body_max(g->config));
    if (s->argv && ferry_spawn_find(s->argv[0], path, sizeof path) == 0 && stat(path, &st) == 0)
        fprintf(f, "%llu %llu %lld %ld.%ld", (unsigned long long)st.st_dev,
                (unsigned long long)st.st_ino, (long long)st.st_size, (long)st.st_mtim.tv_sec,
                (long)st.st_mtim.tv_nsec);
    if (fclose(f) == 0)
        return text;
    free(text);
    return NULL;
}

static struct ferry_app *find(struct ferry_apps *all, const char *key)
{
    ferry_list_each (at, next, &all->list) {
        struct ferry_app *app = ferry_container(at, struct ferry_app, link);

        if (!app->stopping && app->state != FERRY_MANAGER_FATAL && strcmp(app->key, key) == 0)
            return app;
    }
    return NULL;
}

/* -- its beginning ---------------------------------------------------------------------------- */

/* Whom it runs as: whom it names, or else whom the workers run as. */
static int identity_of(const struct ferry_generation *g, const struct ferry_config_spawn *s,
                       struct ferry_identity *out, char *why, size_t cap)
{
    bool own = s->user || s->group;

    return ferry_identity_find(own ? s->user : g->config->user, own ? s->group : g->config->group,
                               out, why, cap);
}

static int start_php(struct ferry_app *app, const struct ferry_generation *g,
                     const struct ferry_config_application *a, char *why, size_t cap)
{
    struct ferry_php_opts o = {
        .dir = a->spawn.chdir,
        .program = a->spawn.argv ? a->spawn.argv[0] : NULL,
        .children = a->spawn.processes_max > 1 ? a->spawn.processes_max : 0,
        .body_max = g->ops->body_max(g->config),
        .set_owner = g->identity.set,
        .owner = g->identity.uid,
        .log = php_said,
        .state = on_state,
        .arg = app,
    };
    struct ferry_identity id;
    int err = identity_of(g, &a->spawn, &id, why, cap);

    if (err < 0)
        return err;
    o.switch_user = id.set;
    o.uid = id.uid;
    o.gid = id.gid;
    err = ferry_php_start(app->all->loop, &o, &app->php, why, cap);
    if (err == 0 && !app->all->engine->quiet)
        ferry_cli_say("%s runs the scripts of %s", ferry_php_name(app->php), a->spawn.chdir);
    return err;
}

static int start_program(struct ferry_app *app, const struct ferry_generation *g,
                         const struct ferry_config_application *a, char *why, size_t cap)
{
    const struct ferry_config_spawn *s = &a->spawn;
    struct ferry_identity id;
    struct ferry_program_opts o = {
        .argv = s->argv,
        .dir = s->chdir,
        .processes_min = s->processes_min,
        .processes_max = s->processes_max,
        .set_owner = g->identity.set,
        .owner = g->identity.uid,
        .log = program_said,
        .state = on_state,
        .arg = app,
    };
    const char **env = calloc(s->nenv + 1, sizeof(const char *));
    int err;

    if (!env)
        return snprintf(why, cap, "no memory"), -ENOMEM;
    for (unsigned i = 0; i < s->nenv; i++)
        env[i] = s->env[i];
    o.env = env;
    err = identity_of(g, s, &id, why, cap);
    if (err == 0) {
        o.switch_user = id.set;
        o.uid = id.uid;
        o.gid = id.gid;
        err = ferry_program_start(app->all->loop, &o, &app->program, why, cap);
    }
    free(env);
    return err;
}

static void free_app(struct ferry_app *app)
{
    if (!app)
        return;
    free(app->name);
    free(app->key);
    free(app);
}

static struct ferry_app *new_app(struct ferry_apps *all, const char *name, char *key)
{
    struct ferry_app *app = calloc(1, sizeof *app);

    if (app)
        app->name = strdup(name);
    if (!app || !app->name) {
        free(app);
        free(key);
        return NULL;
    }
    app->all = all;
    app->key = key;
    app->refs = 1;
    return app;
}

static void register_app(struct ferry_app *app)
{
    const char *path = ferry_app_addr(app)->un.sun_path, *slash = strrchr(path, '/');

    ferry_list_push(&app->all->list, &app->link);
    if (slash) /* its socket is in a folder of its own */
        snprintf(app->dir, sizeof app->dir, "%.*s", (int)(slash - path), path);
    ferry_engine_tell_guards(app->dir, true);
}

int ferry_app_take(struct ferry_apps *all, const struct ferry_generation *g,
                   const struct ferry_config_application *a, struct ferry_app **out)
{
    char *key = make_key(g, a), why[PATH_MAX + 256] = "no memory";
    struct ferry_app *app = key ? find(all, key) : NULL;
    int err = -ENOMEM;

    if (app) {
        free(key);
        app->refs++;
        *out = app;
        return 0;
    }
    app = key ? new_app(all, a->name, key) : NULL;
    if (app) {
        app->processes_max = a->spawn.processes_max;
        err = a->spawn.php ? start_php(app, g, a, why, sizeof why)
                           : start_program(app, g, a, why, sizeof why);
    }
    if (err == 0) {
        register_app(app);
        *out = app;
        return 0;
    }
    free_app(app);
    if (a->place.file)
        ferry_cli_say("%s:%u: application '%s': %s", a->place.file, a->place.line, a->name, why);
    else
        ferry_cli_say("%s", why);
    if (err != -ENOENT || !a->spawn.php || !all->engine->php_may_lack)
        return err;
    ferry_cli_say("serving the files of %s only", a->spawn.chdir);
    return 0;
}

/* -- its end ---------------------------------------------------------------------------------- */

static void stopped(void *arg)
{
    struct ferry_app *app = arg;
    struct ferry_apps *all = app->all;

    ferry_list_remove(&app->link);
    ferry_engine_tell_guards(app->dir, false);
    app->gone = true;
    if (app->refs == 0)
        free_app(app);
    if (all->changed)
        all->changed(all->arg);
}

void ferry_app_stop(struct ferry_app *app, unsigned stop_ms)
{
    app->stopping = true;
    if (app->php)
        ferry_php_stop(app->php, stop_ms, stopped, app);
    else
        ferry_program_stop(app->program, stop_ms, stopped, app);
}

void ferry_app_give(struct ferry_app *app, unsigned stop_ms)
{
    if (!app || --app->refs)
        return;
    if (app->gone)
        free_app(app);
    else if (!app->stopping)
        ferry_app_stop(app, stop_ms);
}

void ferry_apps_stop(struct ferry_apps *all, unsigned stop_ms)
{
    ferry_list_each (at, next, &all->list)
        ferry_app_stop(ferry_container(at, struct ferry_app, link), stop_ms);
}

void ferry_apps_remove_files(const struct ferry_apps *all)
{
    ferry_list_each (at, next, &all->list) {
        const struct ferry_app *app = ferry_container(at, struct ferry_app, link);

        if (app->php)
            ferry_php_remove_files(app->php);
        if (app->program)
            ferry_program_remove_files(app->program);
    }
}

/* -- how it is -------------------------------------------------------------------------------- */

enum ferry_manager_state ferry_app_state(const struct ferry_app *app)
{
    return app->state;
}

const char *ferry_app_name(const struct ferry_app *app)
{
    return app->name;
}

const struct ferry_addr *ferry_app_addr(const struct ferry_app *app)
{
    return app->php ? ferry_php_addr(app->php) : ferry_program_addr(app->program);
}

unsigned ferry_app_connections(const struct ferry_app *app)
{
    return app->php ? ferry_php_children(app->php) : 0;
}

bool ferry_app_alone(const struct ferry_app *app)
{
    /* Many requests on one connection would all be one process's. */
    return app->php || app->processes_max > 1;
}
