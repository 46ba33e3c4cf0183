/* SPDX-License-Identifier: MIT */
/* The block of an application: where it is, or how it is started. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>

#include "base/slice.h"
#include "config/private.h"
#include "io/addr.h"
#include "proc/manager.h"

#define ADDRESSES_MAX 256
#define WEIGHT_MAX 100 /* as of ferry_client_new */

/* Letters, digits and . _ - in a name that is shown, logged, and part of a file's name. */
bool ferry__is_name(const char *text)
{
    size_t n = strlen(text);

    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)text[i]) && !(i && strchr("._-", text[i])))
            return false;
    return n > 0 && n < FERRY_MANAGER_NAME_MAX;
}

/* A host's name and a port, or a service, which ferry_addr_parse does not know: it looks nothing
 * up. */
static bool is_host_and_port(const char *text)
{
    const char *colon = strrchr(text, ':');
    uint64_t port;

    if (strncmp(text, "srv:", 4) == 0)
        return text[4] == '_' && strchr(text, '.') && ferry__is_host(ferry_slice_z(text + 4));
    return colon && ferry__is_host(ferry_slice(text, (size_t)(colon - text))) &&
           ferry_slice_u64(ferry_slice_z(colon + 1), 65535, &port) == 0 && port > 0;
}

const char *ferry__read_address(struct ferry__reader *r, struct ferry_config_place place,
                                const char *name, const char *text, bool any)
{
    struct ferry_addr addr;
    const char *why;

    if (strncmp(text, "unix:", 5) == 0 && text[5] && text[5] != '/' && text[5] != '@') {
        const char *path = ferry__reader_path(r, place, text + 5);
        char *whole = path ? ferry__reader_alloc(r, strlen(path) + 6) : NULL;

        if (!whole)
            return NULL;
        memcpy(whole, "unix:", 5);
        memcpy(whole + 5, path, strlen(path) + 1);
        text = whole;
    }
    if (ferry_addr_parse(text, any, &addr, &why) == 0) {
        if (any || addr.fd < 0)
            return text;
        why = "fd:N is for listening, not for connecting";
    } else if (!any && is_host_and_port(text)) {
        return text;
    }
    if (!any && strncmp(text, "srv:", 4) == 0)
        why = "a service is written srv:_fastcgi._tcp.example.org";
    ferry__reader_say(r, place, "'%s' in '%s': %s", text, name, why);
    return NULL;
}

/* "ADDRESS" or "ADDRESS weight=N" */
static int read_weighted(struct ferry__reader *r, const struct ferry__node *node,
                         const struct ferry__text *t, struct ferry_client_address *out)
{
    const char *blank = strchr(t->text, ' '), *word;
    uint64_t weight = 1;
    char *address;

    address = ferry__reader_text(r, t->text);
    if (!address)
        return -ENOMEM;
    if (blank) {
        address[blank - t->text] = 0;
        word = blank + strspn(blank, " ");
        if (strncmp(word, "weight=", 7) != 0 ||
            ferry_slice_u64(ferry_slice_z(word + 7), WEIGHT_MAX, &weight) < 0 || weight == 0)
            return ferry__reader_say(r, t->place,
                                     "behind an address in '%s' may stand weight=1 to weight=%u, "
                                     "not '%s'",
                                     node->name, WEIGHT_MAX, word);
    }
    out->text = ferry__read_address(r, t->place, node->name, address, false);
    out->weight = (unsigned)weight;
    return out->text ? 0 : FERRY_EUSAGE;
}

int ferry__read_connect(struct ferry__reader *r, void *block, const struct ferry__node *node)
{
    struct ferry_config_application *a = block;
    struct ferry_client_address *addresses;
    unsigned n = 0;

    if (node->ntexts == 0)
        return node->list ? ferry__reader_say(r, node->place, "'%s' names no address", node->name)
                          : FERRY_EUSAGE;
    if (node->ntexts > ADDRESSES_MAX)
        return ferry__reader_say(r, node->place, "an application has %u addresses at most",
                                 ADDRESSES_MAX);
    addresses = ferry__reader_alloc(r, node->ntexts * sizeof *addresses);
    if (!addresses)
        return -ENOMEM;
    for (const struct ferry__text *t = node->texts; t; t = t->next) {
        unsigned same = 0;

        if (read_weighted(r, node, t, &addresses[n]) < 0)
            continue;
        for (unsigned i = 0; i < n; i++)
            same += strcmp(addresses[i].text, addresses[n].text) == 0;
        if (same == 1) /* each is said once */
            ferry__reader_say(r, t->place, "'%s' stands twice in '%s'; give it a weight instead",
                              addresses[n].text, node->name);
        n++;
    }
    a->client.addresses = addresses;
    a->client.naddresses = n;
    return 0;
}

/* argv, and room for its NULL */
static const char **texts(struct ferry__reader *r, const struct ferry__node *node)
{
    const char **out = ferry__reader_alloc(r, (node->ntexts + 1) * sizeof *out);
    unsigned n = 0;

    for (const struct ferry__text *t = node->texts; out && t; t = t->next)
        out[n++] = t->text;
    return out;
}

/* A program with a slash in its name is a path like any other; without, PATH is searched. */
static const char *program(struct ferry__reader *r, const struct ferry__text *t)
{
    return strchr(t->text, '/') ? ferry__reader_path(r, t->place, t->text) : t->text;
}

int ferry__read_spawn(struct ferry__reader *r, void *block, const struct ferry__node *node)
{
    struct ferry_config_application *a = block;
    const char **argv;

    if (node->ntexts == 0 || !*node->texts->text)
        return node->list || node->ntexts
                   ? ferry__reader_say(r, node->place, "'%s' names no program", node->name)
                   : FERRY_EUSAGE;
    argv = texts(r, node);
    if (!argv || !(argv[0] = program(r, node->texts)))
        return -ENOMEM;
    a->spawn.argv = argv;
    return 0;
}

int ferry__read_spawn_php(struct ferry__reader *r, void *block, const struct ferry__node *node)
{
    struct ferry_config_application *a = block;

    if (node->ntexts != 1 || !*node->texts->text)
        return ferry__reader_say(r, node->place, "'%s' is auto, or one program", node->name);
    a->spawn.php = true;
    if (strcmp(node->texts->text, "auto") == 0)
        return 0;
    return ferry__read_spawn(r, block, node);
}

int ferry__read_processes(struct ferry__reader *r, void *block, const struct ferry__node *node)
{
    struct ferry_config_application *a = block;
    uint64_t n[2] = {0, 0};
    const char *why;
    unsigned i = 0;

    if (node->ntexts == 0 && !node->list)
        return FERRY_EUSAGE;
    if (node->ntexts < 1 || node->ntexts > 2)
        return ferry__reader_say(r, node->place, "'%s' is a number, or { MIN, MAX }", node->name);
    for (const struct ferry__text *t = node->texts; t; t = t->next, i++)
        if (ferry__value_number(t->text, &n[i], &why) < 0)
            return ferry__reader_say(r, t->place, "'%.60s' in '%s': %s", t->text, node->name, why);
    if (i == 1)
        n[1] = n[0];
    if (n[1] < 1 || n[1] > FERRY_MANAGER_PROCESSES_MAX)
        return ferry__reader_say(r, node->place, "'%s': from 1 to %u can run", node->name,
                                 FERRY_MANAGER_PROCESSES_MAX);
    if (n[0] > n[1])
        return ferry__reader_say(r, node->place, "'%s': the first number is the smaller one",
                                 node->name);
    a->spawn.processes_min = (unsigned)n[0];
    a->spawn.processes_max = (unsigned)n[1];
    return 0;
}

int ferry__read_env(struct ferry__reader *r, void *block, const struct ferry__node *node)
{
    struct ferry_config_application *a = block;
    const char **env = NULL;
    unsigned n = 0;

    for (const struct ferry__node *at = node->children; at; at = at->next) {
        size_t name = strlen(at->name);
        char *pair;

        if (ferry__check_pair(r, node, at) < 0)
            continue;
        pair = ferry__reader_alloc(r, name + strlen(at->texts->text) + 2);
        env = ferry__reader_grow(r, env, n, sizeof *env);
        if (!pair || !env)
            return -ENOMEM;
        memcpy(pair, at->name, name);
        pair[name] = '=';
        memcpy(pair + name + 1, at->texts->text, strlen(at->texts->text) + 1);
        env[n++] = pair;
    }
    a->spawn.env = env;
    a->spawn.nenv = n;
    return 0;
}

int ferry__check_pair(struct ferry__reader *r, const struct ferry__node *table,
                      const struct ferry__node *pair)
{
    if (pair->block || pair->ntexts != 1 || pair->list) {
        if (pair->block || pair->list)
            ferry__reader_say(r, pair->place, "in '%s' stands %s = VALUE", table->name, pair->name);
        return FERRY_EUSAGE;
    }
    for (const char *at = pair->name; *at; at++)
        if ((unsigned char)*at <= ' ' || *at == 0x7f || *at == '=')
            return ferry__reader_say(r, pair->place, "'%s' is no name in '%s'", pair->name,
                                     table->name);
    if (!*pair->name)
        return ferry__reader_say(r, pair->place, "'' is no name in '%s'", table->name);
    for (const struct ferry__node *at = table->children; at != pair; at = at->next)
        if (strcmp(at->name, pair->name) == 0)
            return ferry__reader_say(r, pair->place, "'%s' is said a second time; first on line %u",
                                     pair->name, at->place.line);
    return 0;
}

/* Settings that speak of spawned programs only, or of what is connected to. */
static void check(struct ferry__reader *r, const struct ferry_config_application *a,
                  const struct ferry__node *node)
{
    static const char *const spawned[] = {"processes", "user", "group", "chdir", "env", NULL};
    unsigned ways = 0;

    for (const struct ferry__node *at = node->children; at; at = at->next) {
        bool way = strcmp(at->name, "connect") == 0 || strcmp(at->name, "spawn") == 0 ||
                   strcmp(at->name, "spawn-php") == 0;

        if (way && ++ways > 1)
            ferry__reader_say(r, at->place,
                              "an application has one of connect, spawn and spawn-php, not two");
        for (const char *const *name = spawned; *name; name++)
            if (strcmp(at->name, *name) == 0 && !a->spawn.argv && !a->spawn.php)
                ferry__reader_say(r, at->place,
                                  "'%s' is of programs that are spawned, and this one is not",
                                  at->name);
    }
    if (ways == 0)
        ferry__reader_say(r, node->place,
                          "the application '%s' needs 'connect', 'spawn' or 'spawn-php'", a->name);
    if (a->spawn.php && !a->spawn.chdir)
        ferry__reader_say(r, node->place,
                          "'spawn-php' needs 'chdir', the folder of the scripts, too");
    if (a->client.connections_min > a->client.connections_max)
        ferry__reader_say(r, node->place,
                          "'connections-min' of the application '%s' is more than 'connections'",
                          a->name);
}

int ferry__read_application(struct ferry__reader *r, void *block, const struct ferry__node *node)
{
    struct ferry_config *c = block;
    struct ferry_config_application *all, *a;
    const char *name = node->ntexts ? node->texts->text : "";
    unsigned before = r->nmessages;

    if (node->ntexts != 1)
        return ferry__reader_say(r, node->place,
                                 "an application has one name: application NAME "
                                 "{ ... }");
    if (!ferry__is_name(name))
        ferry__reader_say(r, node->place,
                          "an application's name has letters, digits and . _ - behind the first, "
                          "%u at most",
                          FERRY_MANAGER_NAME_MAX - 1);
    for (unsigned i = 0; i < c->napplications; i++)
        if (strcmp(c->applications[i].name, name) == 0) {
            const struct ferry_config_place *first = &c->applications[i].place;
            bool here = first->file == node->place.file;

            ferry__reader_say(r, node->place,
                              "there is an application '%s' already, on line %u%s%s", name,
                              first->line, here ? "" : " of ", here ? "" : first->file);
            break;
        }
    if (c->napplications == FERRY_CONFIG_APPLICATIONS_MAX)
        return ferry__reader_say(r, node->place, "there can be %u applications",
                                 FERRY_CONFIG_APPLICATIONS_MAX);
    all = ferry__reader_grow(r, c->applications, c->napplications, sizeof *all);
    if (!all)
        return -ENOMEM;
    c->applications = all;
    a = &all[c->napplications++];
    ferry_config_application_init(a);
    a->name = name;
    a->place = node->place;
    ferry__block_fill(r, FERRY__BLOCK_APPLICATION, a, node->children, "in an application");
    if (r->sound && r->nmessages == before)
        check(r, a, node);
    if (a->client.ping && strcmp(a->client.ping, "values") == 0)
        a->client.ping = "";
    if (!a->spawn.processes_max)
        a->spawn.processes_min = a->spawn.processes_max = a->spawn.argv || a->spawn.php;
    return 0;
}
