/* SPDX-License-Identifier: MIT */
/*
 * A configuration as the text of a file: what is not at its default, or all of it. The text reads
 * as the same configuration from any folder, since all paths in it are whole.
 */
#include "base/slice.h"
#include "config/lex.h"
#include "config/private.h"

struct ferry__printer {
    FILE *to;
    unsigned depth;
    bool any; /* something stands above */
};

/* -- words ------------------------------------------------------------------------------------ */

static void indent(const struct ferry__printer *p)
{
    for (unsigned i = 0; i < p->depth; i++)
        fputs("    ", p->to);
}

static void slice_word(const struct ferry__printer *p, struct ferry_slice text)
{
    if (ferry__word_is_bare(text)) {
        fwrite(text.p, 1, text.len, p->to);
        return;
    }
    fputc('"', p->to);
    for (size_t i = 0; i < text.len; i++) {
        char c = text.p[i];

        if (c == '"' || c == '\\')
            fprintf(p->to, "\\%c", c);
        else if (c == '\n')
            fputs("\\n", p->to);
        else if ((unsigned char)c < 0x20 || c == 0x7f)
            fprintf(p->to, "\\x%02x", (unsigned char)c);
        else
            fputc(c, p->to);
    }
    fputc('"', p->to);
}

static void word(const struct ferry__printer *p, const char *text)
{
    slice_word(p, ferry_slice_z(text));
}

static void name(struct ferry__printer *p, const char *text)
{
    indent(p);
    fputs(text, p->to);
    fputs(" = ", p->to);
    p->any = true;
}

static void setting(struct ferry__printer *p, const char *text, const char *value)
{
    name(p, text);
    word(p, value);
    fputc('\n', p->to);
}

/* One value stands alone. */
static void list(const struct ferry__printer *p, const char *const *values, unsigned n)
{
    if (n == 1) {
        word(p, values[0]);
    } else {
        fputc('{', p->to);
        for (unsigned i = 0; i < n; i++) {
            fputs(i ? ", " : " ", p->to);
            word(p, values[i]);
        }
        fputs(" }", p->to);
    }
}

static void begin(struct ferry__printer *p)
{
    fputs(" {\n", p->to);
    p->depth++;
}

static void end(struct ferry__printer *p)
{
    p->depth--;
    indent(p);
    fputs("}\n", p->to);
}

/* -- a block by its table --------------------------------------------------------------------- */

static const char *number(const struct ferry__setting *s, uint64_t n, char out[FERRY__VALUE_MAX])
{
    switch (s->type) {
    case FERRY__SETTING_CHOICE:
        return s->choices[n];
    case FERRY__SETTING_SWITCH:
    case FERRY__SETTING_UNSWITCH:
        return n ? "on" : "off";
    case FERRY__SETTING_DURATION:
        ferry__value_put_duration(n, out);
        return out;
    case FERRY__SETTING_NUMBER:
        snprintf(out, FERRY__VALUE_MAX, "%llu", (unsigned long long)n);
        return out;
    default:
        ferry__value_put_size(n, out);
        return out;
    }
}

static void print_list(struct ferry__printer *p, const struct ferry__setting *s, const void *block)
{
    unsigned n = *(const unsigned *)((const char *)block + s->count);

    if (n == 0)
        return;
    name(p, s->name);
    list(p, *(const char *const *const *)((const char *)block + s->offset), n);
    fputc('\n', p->to);
}

static void print_setting(struct ferry__printer *p, const struct ferry__setting *s,
                          const void *block, bool all)
{
    char out[FERRY__VALUE_MAX];
    const char *value, *why;
    uint64_t n, usual;

    if (s->type == FERRY__SETTING_OTHER) {
        s->print(p, block, all);
        return;
    }
    if (s->type == FERRY__SETTING_TEXT || s->type == FERRY__SETTING_PATH) {
        value = *(const char *const *)((const char *)block + s->offset);
        value = value ? value : s->fallback;
        if (value && (all || !s->fallback || strcmp(value, s->fallback) != 0))
            setting(p, s->name, *value ? value : "values");
        return;
    }
    if (s->type == FERRY__SETTING_LIST) {
        print_list(p, s, block);
        return;
    }
    n = ferry__setting_get(s, block);
    if (ferry__setting_parse(s, s->fallback, &usual, &why) < 0)
        return;
    /* Zero means the default to whoever made it by hand. */
    if (n == 0 && n < s->min)
        n = usual;
    if (all || n != usual)
        setting(p, s->name, number(s, n, out));
}

static void print_block(struct ferry__printer *p, enum ferry__block type, const void *block,
                        bool all)
{
    for (const struct ferry__setting *s = ferry__settings(type); s->name; s++)
        print_setting(p, s, block, all);
}

/* -- applications ----------------------------------------------------------------------------- */

void ferry__print_connect(struct ferry__printer *p, const void *block, bool all)
{
    const struct ferry_config_application *a = block;
    const struct ferry_client_address *addresses = a->client.addresses;

    (void)all;
    if (a->client.naddresses == 0) {
        if (a->client.address)
            setting(p, "connect", a->client.address);
        return;
    }
    name(p, "connect");
    fputs(a->client.naddresses > 1 ? "{ " : "", p->to);
    for (unsigned i = 0; i < a->client.naddresses; i++) {
        char text[320];

        fputs(i ? ", " : "", p->to);
        snprintf(text, sizeof text, "%.290s weight=%u", addresses[i].text, addresses[i].weight);
        word(p, addresses[i].weight > 1 ? text : addresses[i].text);
    }
    fputs(a->client.naddresses > 1 ? " }\n" : "\n", p->to);
}

static void print_argv(struct ferry__printer *p, const char *setting_name, const char *const *argv)
{
    unsigned n = 0;

    while (argv[n])
        n++;
    name(p, setting_name);
    list(p, argv, n);
    fputc('\n', p->to);
}

void ferry__print_spawn(struct ferry__printer *p, const void *block, bool all)
{
    const struct ferry_config_application *a = block;

    (void)all;
    if (a->spawn.argv && !a->spawn.php)
        print_argv(p, "spawn", a->spawn.argv);
}

void ferry__print_spawn_php(struct ferry__printer *p, const void *block, bool all)
{
    const struct ferry_config_application *a = block;

    (void)all;
    if (a->spawn.php)
        setting(p, "spawn-php", a->spawn.argv ? a->spawn.argv[0] : "auto");
}

void ferry__print_processes(struct ferry__printer *p, const void *block, bool all)
{
    const struct ferry_config_application *a = block;
    unsigned min = a->spawn.processes_min, max = a->spawn.processes_max;

    if ((!a->spawn.argv && !a->spawn.php) || max == 0 || (!all && min == 1 && max == 1))
        return;
    name(p, "processes");
    if (min == max)
        fprintf(p->to, "%u\n", max);
    else
        fprintf(p->to, "{ %u, %u }\n", min, max);
}

void ferry__print_env(struct ferry__printer *p, const void *block, bool all)
{
    const struct ferry_config_application *a = block;

    (void)all;
    if (a->spawn.nenv == 0)
        return;
    indent(p);
    fputs("env", p->to);
    begin(p);
    for (unsigned i = 0; i < a->spawn.nenv; i++) {
        struct ferry_slice pair = ferry_slice_z(a->spawn.env[i]);
        size_t at = ferry_slice_find(pair, '=');

        indent(p);
        slice_word(p, ferry_slice_first(pair, at));
        fputs(" = ", p->to);
        word(p, at < pair.len ? pair.p + at + 1 : "");
        fputc('\n', p->to);
    }
    end(p);
}

void ferry__print_applications(struct ferry__printer *p, const void *block, bool all)
{
    const struct ferry_config *c = block;

    for (unsigned i = 0; i < c->napplications; i++) {
        fputs(p->any ? "\n" : "", p->to);
        fputs("application ", p->to);
        word(p, c->applications[i].name);
        begin(p);
        print_block(p, FERRY__BLOCK_APPLICATION, &c->applications[i], all);
        end(p);
        p->any = true;
    }
}

/* -- sites ------------------------------------------------------------------------------------ */

void ferry__print_listen(struct ferry__printer *p, const void *block, bool all)
{
    const struct ferry_config_site *s = block;

    (void)all;
    if (s->nlisten == 0)
        return;
    name(p, "listen");
    list(p, s->listen, s->nlisten);
    fputc('\n', p->to);
}

void ferry__print_params(struct ferry__printer *p, const void *block, bool all)
{
    const struct ferry_config_site *s = block;

    (void)all;
    if (s->nparams == 0)
        return;
    indent(p);
    fputs("params", p->to);
    begin(p);
    for (unsigned i = 0; i < s->nparams; i++) {
        indent(p);
        slice_word(p, s->params[i].name);
        fputs(" = ", p->to);
        slice_word(p, s->params[i].value);
        fputc('\n', p->to);
    }
    end(p);
}

void ferry__print_error_pages(struct ferry__printer *p, const void *block, bool all)
{
    const struct ferry_config_site *s = block;

    (void)all;
    for (unsigned i = 0; i < s->nerror_pages; i++) {
        indent(p);
        fprintf(p->to, "error-page %d { file = ", s->error_pages[i].status);
        word(p, s->error_pages[i].file);
        fputs(" }\n", p->to);
    }
}

static void arg_value(struct ferry__printer *p, const struct ferry_config_filter *f, unsigned i)
{
    const struct ferry_filter_arg *arg = &f->kind->args[i];
    const struct ferry_arg_value *v = &f->values[i];
    char out[FERRY__VALUE_MAX];

    switch (arg->type) {
    case FERRY_ARG_LIST:
        list(p, v->list, v->nlist);
        break;
    case FERRY_ARG_TEXT:
        word(p, v->text);
        break;
    case FERRY_ARG_CLIENT:
        word(p, f->applications[i]);
        break;
    case FERRY_ARG_BOOL:
        fputs(v->number ? "on" : "off", p->to);
        break;
    case FERRY_ARG_INT:
        fprintf(p->to, "%lld", (long long)v->number);
        break;
    case FERRY_ARG_DURATION:
        ferry__value_put_duration((uint64_t)v->number, out);
        fputs(out, p->to);
        break;
    case FERRY_ARG_SIZE:
        ferry__value_put_size((uint64_t)v->number, out);
        fputs(out, p->to);
    }
}

/* The argument that stands as the title of its block, or nargs. */
static unsigned title_of(const struct ferry_config_filter *f, bool all)
{
    for (unsigned i = 0; f->kind->title && i < f->kind->nargs; i++)
        if (strcmp(f->kind->args[i].name, f->kind->title) == 0 &&
            (f->kind->args[i].type == FERRY_ARG_TEXT || f->kind->args[i].type == FERRY_ARG_INT) &&
            f->values[i].set && (all || f->said >> i & 1))
            return i;
    return f->kind->nargs;
}

static void print_filter(struct ferry__printer *p, const struct ferry_config_filter *f, bool all)
{
    unsigned title = title_of(f, all), n = 0;

    indent(p);
    fputs(f->kind->name, p->to);
    if (title < f->kind->nargs) {
        fputc(' ', p->to);
        arg_value(p, f, title);
    }
    for (unsigned i = 0; i < f->kind->nargs; i++) {
        if (i == title || !f->values[i].set || !(all || f->said >> i & 1))
            continue;
        if (n++ == 0)
            begin(p);
        name(p, f->kind->args[i].name);
        arg_value(p, f, i);
        fputc('\n', p->to);
    }
    if (n)
        end(p);
    else
        fputs(" {}\n", p->to);
}

void ferry__print_routes(struct ferry__printer *p, const void *block, bool all)
{
    const struct ferry_config_site *s = block;

    for (unsigned i = 0; i < s->nroutes; i++) {
        fputc('\n', p->to);
        indent(p);
        fputs("route ", p->to);
        word(p, s->routes[i].pattern);
        begin(p);
        for (unsigned f = 0; f < s->routes[i].nfilters; f++)
            print_filter(p, &s->routes[i].filters[f], all);
        end(p);
    }
}

void ferry__print_sites(struct ferry__printer *p, const void *block, bool all)
{
    const struct ferry_config *c = block;

    for (unsigned i = 0; i < c->nsites; i++) {
        fputs(p->any ? "\nsite" : "site", p->to);
        for (unsigned n = 0; n < c->sites[i].nnames; n++) {
            fputc(' ', p->to);
            word(p, c->sites[i].names[n]);
        }
        begin(p);
        print_block(p, FERRY__BLOCK_SITE, &c->sites[i], all);
        end(p);
        p->any = true;
    }
}

void ferry__print_mails(struct ferry__printer *p, const void *block, bool all)
{
    const struct ferry_config *c = block;

    for (unsigned i = 0; i < c->nmails; i++) {
        fputs(p->any ? "\nmail " : "mail ", p->to);
        word(p, c->mails[i].name);
        begin(p);
        print_block(p, FERRY__BLOCK_MAIL, &c->mails[i], all);
        end(p);
        p->any = true;
    }
}

/* -- all -------------------------------------------------------------------------------------- */

void ferry__print_threads(struct ferry__printer *p, const void *block, bool all)
{
    const struct ferry_config *c = block;

    if (c->threads) {
        name(p, "threads");
        fprintf(p->to, "%u\n", c->threads);
    } else if (all) {
        setting(p, "threads", "auto");
    }
}

void ferry_config_print(const struct ferry_config *c, bool all, FILE *to)
{
    struct ferry__printer p = {.to = to};
    const struct ferry__setting *table = ferry__settings(FERRY__BLOCK_TOP);

    /* Settings stand before blocks, as most would write them. */
    for (unsigned blocks = 0; blocks < 2; blocks++)
        for (const struct ferry__setting *s = table; s->name; s++)
            if (s->block == blocks)
                print_setting(&p, s, c, all);
}
