/* SPDX-License-Identifier: MIT */
/* The tables of settings and filters as a reference, for people and for docs/configuration.md. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#include "config/private.h"
#include "session/template.h"

static const char *arg_form(const struct ferry_filter_arg *arg)
{
    static const char *const forms[] = {
        [FERRY_ARG_TEXT] = "TEXT",          [FERRY_ARG_LIST] = "TEXT | { TEXT, ... }",
        [FERRY_ARG_INT] = "NUMBER",         [FERRY_ARG_BOOL] = "on | off",
        [FERRY_ARG_DURATION] = "DURATION",  [FERRY_ARG_SIZE] = "SIZE",
        [FERRY_ARG_CLIENT] = "APPLICATION",
    };

    return forms[arg->type];
}

/* X(NAME, text, help) of variables, and those that are many */
static const char *const variables[][2] = {
#define X(name, text, help) {"$" text, help},
    FERRY_VARIABLE_MAP(X)
#undef X
        {"$http_NAME", "the first header field of this name, with '_' for '-'"},
    {"$param_NAME", "a param, as an application would be told now"},
    {"$1 to $9", "the groups of a rewrite's pattern"},
    {"$$", "a dollar"},
};

#define NVARIABLES (sizeof variables / sizeof *variables)

static const char *const block_names[] = {
#define X(name, text) text,
    FERRY__BLOCK_MAP(X)
#undef X
};

/* -- for people ------------------------------------------------------------------------------- */

static void print_line(FILE *to, const char *name, const char *sign, const char *form,
                       const char *fallback, const char *help)
{
    fprintf(to, "    %s%s%s%s%s%s\n        %s\n", name, sign, form, fallback ? "  (" : "",
            fallback ? fallback : "", fallback ? ")" : "", help);
}

static void print_text(FILE *to)
{
    const struct ferry_filter_kind *kind;

    for (unsigned b = FERRY__BLOCK_TOP; b < FERRY__BLOCKS; b++) {
        if (b == FERRY__BLOCK_TOP)
            fputs("at the top of a file\n", to);
        else
            fprintf(to, "\n%s { ... }\n", block_names[b]);
        for (const struct ferry__setting *s = ferry__settings(b); s->name; s++)
            print_line(to, s->name, s->block ? " " : " = ", ferry__setting_form(s), s->fallback,
                       s->help);
    }
    fputs("\nroute PATTERN { ... }\n", to);
    for (unsigned i = 0; (kind = ferry_filter_kind(i)); i++) {
        fprintf(to, "  %s%s%s%s { ... }\n      %s\n", kind->name, kind->title ? " [" : "",
                kind->title ? kind->title : "", kind->title ? "]" : "", kind->help);
        for (unsigned a = 0; a < kind->nargs; a++)
            print_line(to, kind->args[a].name, " = ", arg_form(&kind->args[a]),
                       kind->args[a].required ? "required" : kind->args[a].fallback,
                       kind->args[a].help);
    }
    fputs("\nvariables\n", to);
    for (size_t i = 0; i < NVARIABLES; i++)
        fprintf(to, "    %s\n        %s\n", variables[i][0], variables[i][1]);
}

/* -- for programs ----------------------------------------------------------------------------- */

static json_t *setting_json(const struct ferry__setting *s)
{
    return json_pack("{s:s, s:s, s:b, s:s?, s:s}", "name", s->name, "form", ferry__setting_form(s),
                     "block", s->block, "default", s->fallback, "help", s->help);
}

static json_t *arg_json(const struct ferry_filter_arg *a)
{
    return json_pack("{s:s, s:s, s:b, s:s?, s:s}", "name", a->name, "form", arg_form(a), "required",
                     a->required, "default", a->fallback, "help", a->help);
}

static json_t *kind_json(const struct ferry_filter_kind *kind)
{
    json_t *args = json_array();
    bool bad = !args;

    for (unsigned i = 0; i < kind->nargs && !bad; i++)
        bad = json_array_append_new(args, arg_json(&kind->args[i])) != 0;
    if (bad) {
        json_decref(args);
        return NULL;
    }
    return json_pack("{s:s, s:s?, s:s, s:o}", "name", kind->name, "title", kind->title, "help",
                     kind->help, "args", args);
}

static int fill(json_t *all)
{
    const struct ferry_filter_kind *kind;
    json_t *part;

    for (unsigned b = FERRY__BLOCK_TOP; b < FERRY__BLOCKS; b++) {
        part = json_array();
        if (json_object_set_new(all, block_names[b], part) != 0)
            return -ENOMEM;
        for (const struct ferry__setting *s = ferry__settings(b); s->name; s++)
            if (json_array_append_new(part, setting_json(s)) != 0)
                return -ENOMEM;
    }
    part = json_array();
    if (json_object_set_new(all, "filters", part) != 0)
        return -ENOMEM;
    for (unsigned i = 0; (kind = ferry_filter_kind(i)); i++)
        if (json_array_append_new(part, kind_json(kind)) != 0)
            return -ENOMEM;
    part = json_array();
    if (json_object_set_new(all, "variables", part) != 0)
        return -ENOMEM;
    for (size_t i = 0; i < NVARIABLES; i++)
        if (json_array_append_new(part, json_pack("{s:s, s:s}", "name", variables[i][0], "help",
                                                  variables[i][1])) != 0)
            return -ENOMEM;
    return 0;
}

int ferry_config_keys(bool json, FILE *to)
{
    json_t *all;
    int err;

    if (!json) {
        print_text(to);
        return 0;
    }
    all = json_object();
    err = all ? fill(all) : -ENOMEM;
    if (!err && json_dumpf(all, to, JSON_INDENT(1)) == 0)
        fputc('\n', to);
    json_decref(all);
    return err;
}
