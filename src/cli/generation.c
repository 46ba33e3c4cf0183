/* SPDX-License-Identifier: MIT */
/*
 * A configuration and what was opened for it. What two generations have in common is counted, and
 * goes with the last of them.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/engine.h"
#include "proc/manager.h"

/* One for each processor that this process may use. */
static unsigned default_threads(void)
{
    cpu_set_t cpus;
    int n = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus)
                                                          : (int)sysconf(_SC_NPROCESSORS_ONLN);

    return n < 1 ? 1 : n > FERRY_ENGINE_THREADS_MAX ? FERRY_ENGINE_THREADS_MAX : (unsigned)n;
}

static int find_identity(struct ferry_generation *g)
{
    char why[160];

    if (ferry_identity_find(g->config->user, g->config->group, &g->identity, why, sizeof why) == 0)
        return 0;
    ferry_cli_say("the workers cannot be another user: %s", why);
    return FERRY_EXIT_CONFIG;
}

static int take_apps(struct ferry_generation *g, struct ferry_apps *apps)
{
    const struct ferry_config *c = g->config;

    for (unsigned i = 0; i < c->napplications; i++)
        if ((c->applications[i].spawn.argv || c->applications[i].spawn.php) && g->ops->uses(c, i) &&
            ferry_app_take(apps, g, &c->applications[i], &g->apps[i]) < 0)
            return FERRY_EXIT_FAILED;
    return 0;
}

/* All but the configuration. */
static void close_generation(struct ferry_generation *g, unsigned app_stop_ms)
{
    for (unsigned i = 0; i < g->config->napplications; i++)
        ferry_app_give(g->apps[i], app_stop_ms);
    ferry_listening_close(g);
    free(g->apps);
    free(g);
}

int ferry_generation_new(struct ferry_apps *apps, struct ferry_config *c,
                         const struct ferry_generation *before, struct ferry_generation **out)
{
    struct ferry_generation *g = calloc(1, sizeof *g);
    int code;

    if (g)
        g->apps = calloc(c->napplications + 1, sizeof(struct ferry_app *));
    if (!g || !g->apps) {
        free(g);
        ferry_cli_say("cannot start: %s", ferry_strerror(-ENOMEM));
        return FERRY_EXIT_FAILED;
    }
    g->refs = 1;
    g->ops = apps->engine->ops;
    g->config = c;
    g->threads = c->threads ? c->threads : default_threads();
    code = find_identity(g);
    if (code == 0)
        code = ferry_listening_open(apps->engine, g, before);
    if (code == 0 && g->ops->look)
        code = g->ops->look(g);
    if (code == 0)
        code = take_apps(g, apps);
    if (code)
        close_generation(g, 0);
    else
        *out = g;
    return code;
}

void ferry_generation_unref(struct ferry_generation *g, unsigned app_stop_ms)
{
    struct ferry_config *c;

    if (!g || --g->refs)
        return;
    c = g->config;
    close_generation(g, app_stop_ms);
    ferry_config_free(c);
}

int ferry_generation_ready(const struct ferry_generation *g, const char **which)
{
    bool all = true;

    for (unsigned i = 0; i < g->config->napplications; i++) {
        const struct ferry_app *app = g->apps[i];

        if (!app)
            continue;
        *which = ferry_app_name(app);
        switch (ferry_app_state(app)) {
        case FERRY_MANAGER_READY:
            break;
        case FERRY_MANAGER_STARTING:
            all = false;
            break;
        default:
            return -1;
        }
    }
    return all;
}
