/* SPDX-License-Identifier: MIT */
/* A client for each application of a configuration. */
#include <errno.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/engine.h"

static int complain(const struct ferry_config_place *p, const char *what, const char *why, int err)
{
    if (p->file)
        ferry_cli_say("%s:%u: %s%s", p->file, p->line, what, why);
    else
        ferry_cli_say("%s%s", what, why);
    return err;
}

static int no_memory(void)
{
    ferry_cli_say("cannot start: %s", ferry_strerror(-ENOMEM));
    return -ENOMEM;
}

static int open_client(const struct ferry_generation *g, unsigned i, struct ferry_client **out)
{
    const struct ferry_config_application *a = &g->config->applications[i];
    bool ours = a->spawn.argv || a->spawn.php;
    const struct ferry_app *app = g->apps[i];
    struct ferry_client_opts o = a->client;
    char address[FERRY_ADDR_TEXT_MAX] = "unix:/";
    unsigned most;
    int err;

    o.threads_max = g->threads;
    if (ours && !app && !g->check)
        return 0; /* it is missed when it is asked for */
    if (ours) {
        o.address = address;
        o.addresses = NULL;
        o.naddresses = 0;
    }
    if (ours && app) {
        ferry_addr_format(ferry_app_addr(app), address, sizeof address);
        most = ferry_app_connections(app);
        if (most && (o.connections_max == 0 || most < o.connections_max))
            o.connections_max = most;
        if (ferry_app_alone(app) && o.multiplex == FERRY_MULTIPLEX_AUTO)
            o.multiplex = FERRY_MULTIPLEX_OFF;
    }
    err = ferry_client_new(&o, out);
    if (err == -ENOMEM)
        return no_memory();
    return err < 0 ? complain(&a->place, "", ferry_client_why(), err) : 0;
}

int ferry_clients_open(const struct ferry_generation *g, struct ferry_client ***out)
{
    int err = 0;

    *out = calloc(g->config->napplications + 1, sizeof(struct ferry_client *));
    if (!*out)
        return no_memory();
    for (unsigned i = 0; err == 0 && i < g->config->napplications; i++)
        err = open_client(g, i, &(*out)[i]);
    return err;
}

void ferry_clients_close(const struct ferry_generation *g, struct ferry_client **clients)
{
    for (unsigned i = 0; clients && i < g->config->napplications; i++)
        ferry_client_free(clients[i]);
    free(clients);
}
