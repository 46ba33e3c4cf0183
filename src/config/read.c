/* SPDX-License-Identifier: MIT */
/*
 * From statements to a configuration: each block's settings by its table, and all that is wrong,
 * collected and told in the order of the files. Relative paths start at the folder of the file they
 * stand in.
 */
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/slice.h"
#include "config/private.h"

#define MESSAGE_MAX 512

/* -- the reader ------------------------------------------------------------------------------- */

void *ferry__reader_alloc(struct ferry__reader *r, size_t n)
{
    void *p = ferry_config_alloc(r->config, n);

    if (!p)
        r->err = -ENOMEM;
    return p;
}

char *ferry__reader_text(struct ferry__reader *r, const char *text)
{
    char *copy = ferry_config_text(r->config, text);

    if (!copy)
        r->err = -ENOMEM;
    return copy;
}

void *ferry__reader_grow(struct ferry__reader *r, const void *array, unsigned n, size_t size)
{
    void *more = ferry__grow(r->config, array, n, size);

    if (!more)
        r->err = -ENOMEM;
    return more;
}

static const struct ferry__config_file *file_of(const struct ferry__reader *r,
                                                struct ferry_config_place place)
{
    const struct ferry__config_file *f = r->files;

    while (f && f->name != place.file)
        f = f->next;
    return f;
}

static void insert(struct ferry__reader *r, struct ferry__message *m)
{
    struct ferry__message **at = &r->messages;

    while (*at && ((*at)->file < m->file ||
                   ((*at)->file == m->file && (*at)->place.line <= m->place.line)))
        at = &(*at)->next;
    m->next = *at;
    *at = m;
}

int ferry__reader_say(struct ferry__reader *r, struct ferry_config_place place, const char *fmt,
                      ...)
{
    const struct ferry__config_file *file = file_of(r, place);
    struct ferry__message *m;
    char text[MESSAGE_MAX];
    va_list ap;

    if (r->nmessages++ >= FERRY_CONFIG_MESSAGES_MAX)
        return FERRY_EUSAGE;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    m = ferry__reader_alloc(r, sizeof *m);
    if (!m)
        return FERRY_EUSAGE;
    *m = (struct ferry__message){
        .file = file ? file->number : 0, .place = place, .text = ferry__reader_text(r, text)};
    if (m->text)
        insert(r, m);
    return FERRY_EUSAGE;
}

const char *ferry__reader_path(struct ferry__reader *r, struct ferry_config_place place,
                               const char *path)
{
    const struct ferry__config_file *file = file_of(r, place);
    size_t n, m;
    char *all;

    if (path[0] == '/' || !file)
        return path;
    while (path[0] == '.' && path[1] == '/')
        path += 2 + strspn(path + 2, "/");
    n = strlen(file->folder);
    m = strcmp(path, ".") == 0 ? 0 : strlen(path) + 1;
    all = ferry__reader_alloc(r, n + m + 2);
    if (!all)
        return NULL;
    memcpy(all, file->folder, n);
    all[n] = '/';
    if (m)
        memcpy(all + n + 1, path, m);
    else
        all[n ? n : 1] = 0;
    return all;
}

/* -- one setting ------------------------------------------------------------------------------ */

/* As a single value; NULL when it is not one. */
static const char *single(struct ferry__reader *r, const struct ferry__node *node)
{
    if (node->ntexts == 1)
        return node->texts->text;
    if (node->list)
        ferry__reader_say(r, node->place, "'%s' takes one value, not a list of %u", node->name,
                          node->ntexts);
    return NULL; /* else there was none, and that was said */
}

static int read_text(struct ferry__reader *r, const struct ferry__setting *s, void *block,
                     const struct ferry__node *node, const char *text)
{
    const char **out = (const char **)((char *)block + s->offset);

    if (!*text)
        return ferry__reader_say(r, node->place, "'%s' is empty", node->name);
    for (const char *const *word = s->choices; word && *word; word++)
        if (strcmp(text, *word) == 0) {
            *out = text;
            return 0;
        }
    if (s->type == FERRY__SETTING_TEXT && s->choices)
        return ferry__reader_say(r, node->texts->place, "'%s = %.60s': %s is expected", node->name,
                                 text, ferry__setting_form(s));
    if (s->wrong && s->wrong(text))
        return ferry__reader_say(r, node->texts->place, "'%.60s' in '%s': %s", text, node->name,
                                 s->wrong(text));
    *out = s->type == FERRY__SETTING_PATH ? ferry__reader_path(r, node->texts->place, text) : text;
    return 0;
}

static int read_list(struct ferry__reader *r, const struct ferry__setting *s, void *block,
                     const struct ferry__node *node)
{
    const char **list = ferry__reader_alloc(r, (node->ntexts + 1) * sizeof *list), *why;
    unsigned n = 0;

    if (!list)
        return -ENOMEM;
    for (const struct ferry__text *t = node->texts; t; t = t->next) {
        why = !*t->text ? "it is empty" : s->wrong ? s->wrong(t->text) : NULL;
        if (why)
            ferry__reader_say(r, t->place, "'%.60s' in '%s': %s", t->text, node->name, why);
        for (unsigned i = 0; i < n && !s->paths; i++) /* two certificates may have one key */
            if (strcmp(list[i], t->text) == 0)
                ferry__reader_say(r, t->place, "'%.60s' stands twice in '%s'", t->text, node->name);
        list[n++] = s->paths ? ferry__reader_path(r, t->place, t->text) : t->text;
    }
    *(const char *const **)((char *)block + s->offset) = list;
    *(unsigned *)((char *)block + s->count) = n;
    return 0;
}

static int read_setting(struct ferry__reader *r, const struct ferry__setting *s, void *block,
                        const struct ferry__node *node)
{
    const char *text, *why;
    uint64_t n;

    if (s->read)
        return s->read(r, block, node);
    if (s->type == FERRY__SETTING_LIST)
        return read_list(r, s, block, node);
    text = single(r, node);
    if (!text)
        return FERRY_EUSAGE;
    if (s->type == FERRY__SETTING_TEXT || s->type == FERRY__SETTING_PATH)
        return read_text(r, s, block, node, text);
    if (ferry__setting_parse(s, text, &n, &why) < 0)
        return ferry__reader_say(r, node->texts->place, "'%s = %.60s': %s", node->name, text, why);
    ferry__setting_put(s, block, n);
    return 0;
}

/* -- a block ---------------------------------------------------------------------------------- */

static const char *setting_name(void *arg, unsigned i)
{
    return ((const struct ferry__setting *)arg)[i].name;
}

/* What other programs call it. */
static const char *foreign(const char *word)
{
    static const char *const words[][2] = {{"server", "site"},
                                           {"location", "route"},
                                           {"upstream", "application"},
                                           {"app", "application"},
                                           {"fastcgi_pass", "connect"},
                                           {"workers", "threads"},
                                           {"document-root", "root"},
                                           {"host", "site"},
                                           {"worker_processes", "threads"},
                                           {"size", "size-max"},
                                           {"max-size", "size-max"},
                                           {"max_size", "size-max"},
                                           {"max_clients", "clients-max"},
                                           {"allowed_hosts", "domains"},
                                           {"hosts", "domains"},
                                           {"host_name", "hostname"},
                                           {"smtp", "mail"},
                                           {"lmtp", "mail"}};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(word, words[i][0]) == 0)
            return words[i][1];
    return NULL;
}

static void say_unknown(struct ferry__reader *r, const struct ferry__setting *table,
                        const struct ferry__node *node, const char *where)
{
    const char *meant = foreign(node->name);

    if (meant) {
        const struct ferry__setting *s = table;

        while (s->name && strcmp(s->name, meant) != 0)
            s++;
        meant = s->name;
    }
    if (!meant)
        meant = ferry__nearest(node->name, setting_name, (void *)table);
    if (!meant && ferry_filter_kind_find(node->name))
        ferry__reader_say(r, node->place, "the filter '%s' belongs into a route, not %s",
                          node->name, where);
    else
        ferry__reader_say(r, node->place, "there is no '%s' %s%s%s%s", node->name, where,
                          meant ? "; did you mean '" : "", meant ? meant : "", meant ? "'?" : "");
}

/* The node that said it before, or NULL. */
static const struct ferry__node *said_before(const struct ferry__node *first,
                                             const struct ferry__node *node)
{
    for (; first != node; first = first->next)
        if (strcmp(first->name, node->name) == 0)
            return first;
    return NULL;
}

void ferry__block_fill(struct ferry__reader *r, enum ferry__block type, void *block,
                       const struct ferry__node *first, const char *where)
{
    const struct ferry__setting *table = ferry__settings(type), *s;
    const struct ferry__node *before;

    for (const struct ferry__node *node = first; node && !r->err; node = node->next) {
        for (s = table; s->name && strcmp(s->name, node->name) != 0; s++)
            ;
        if (!s->name) {
            say_unknown(r, table, node, where);
            continue;
        }
        before = s->many ? NULL : said_before(first, node);
        if (before)
            ferry__reader_say(r, node->place, "'%s' is said a second time; first on line %u%s%s",
                              node->name, before->place.line,
                              before->place.file == node->place.file ? "" : " of ",
                              before->place.file == node->place.file ? "" : before->place.file);
        else if (s->block && !node->block)
            ferry__reader_say(r, node->place, "'%s' is a block: %s", node->name,
                              ferry__setting_form(s));
        else if (!s->block && node->block)
            ferry__reader_say(r, node->place, "'%s' is no block: %s = %s", node->name, node->name,
                              ferry__setting_form(s));
        else
            read_setting(r, s, block, node);
    }
}

int ferry__read_threads(struct ferry__reader *r, void *block, const struct ferry__node *node)
{
    struct ferry_config *c = block;
    const char *text = single(r, node), *why;
    uint64_t n = 0;

    if (!text)
        return FERRY_EUSAGE;
    if (strcmp(text, "auto") != 0 &&
        (ferry__value_number(text, &n, &why) < 0 || n < 1 || n > FERRY_CONFIG_THREADS_MAX))
        return ferry__reader_say(r, node->texts->place,
                                 "'%s = %.60s': auto, or a number from 1 to %u, is expected",
                                 node->name, text, FERRY_CONFIG_THREADS_MAX);
    c->threads = (unsigned)n;
    return 0;
}

/* -- all of it -------------------------------------------------------------------------------- */

static void tell(const struct ferry__reader *r, ferry_config_say say, void *arg)
{
    struct ferry_config_place nowhere = {0};
    char text[64];

    if (!say)
        return;
    for (const struct ferry__message *m = r->messages; m; m = m->next) {
        say(arg, &m->place, m->text);
        nowhere.file = m->place.file;
    }
    if (r->nmessages > FERRY_CONFIG_MESSAGES_MAX) {
        snprintf(text, sizeof text, "and %u more like these",
                 r->nmessages - FERRY_CONFIG_MESSAGES_MAX);
        say(arg, &nowhere, text);
    }
}

static int read_all(struct ferry_slice given, const char *file, struct ferry_config **out,
                    ferry_config_say say, void *arg)
{
    struct ferry__reader r = {.config = ferry_config_new(), .given = given};
    const struct ferry__node *tree;

    *out = NULL;
    if (!r.config)
        return -ENOMEM;
    tree = ferry__tree_read(&r, file);
    r.sound = r.nmessages == 0;
    if (!r.err) {
        ferry__block_fill(&r, FERRY__BLOCK_TOP, r.config, tree, "at the top of a configuration");
        if (r.sound && !r.err)
            ferry__config_check(&r);
    }
    if (r.err != -ENOMEM)
        tell(&r, say, arg);
    if (!r.err && r.nmessages == 0) {
        *out = r.config;
        return 0;
    }
    ferry_config_free(r.config);
    return r.err ? r.err : FERRY_EUSAGE;
}

int ferry_config_read(const char *file, struct ferry_config **out, ferry_config_say say, void *arg)
{
    return read_all(ferry_slice(NULL, 0), file, out, say, arg);
}

int ferry_config_parse(const char *name, struct ferry_slice text, struct ferry_config **out,
                       ferry_config_say say, void *arg)
{
    return read_all(ferry_slice(text.p ? text.p : "", text.len), name, out, say, arg);
}
