/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TESTS_CONFIG_KINDS_H
#define FERRY_TESTS_CONFIG_KINDS_H

#include <string.h>

#include "session/kind.h"

/*
 * A table of filters of the tests' own, with every type of argument, in the place of the library's:
 * what is tested here is the reader, whatever filters there are.
 */

static const struct ferry_filter_arg test_every_args[] = {
    {"text", FERRY_ARG_TEXT, .help = "a text"},
    {"names", FERRY_ARG_LIST, .fallback = "one two", .help = "some texts"},
    {"number", FERRY_ARG_INT, .fallback = "7", .help = "a number"},
    {"flag", FERRY_ARG_BOOL, .fallback = "off", .help = "a switch"},
    {"wait", FERRY_ARG_DURATION, .fallback = "10s", .help = "a time"},
    {"room", FERRY_ARG_SIZE, .fallback = "64k", .help = "a size"},
    {"root", FERRY_ARG_TEXT, .help = "a folder"},
};
static const struct ferry_filter_arg test_call_args[] = {
    {"application", FERRY_ARG_CLIENT, .required = true, .help = "the application"},
};
static const struct ferry_filter_arg test_header_args[] = {
    {"name", FERRY_ARG_TEXT, .required = true, .help = "the field"},
    {"value", FERRY_ARG_TEXT, .help = "its value; unset: remove"},
};

static int test_add_header(struct ferry_filters *f, const struct ferry_arg_value *v,
                           const char *root)
{
    if (strcmp(v[0].text, "Bad") == 0)
        return ferry_filters_refuse(f, "header: '%s' below %s", v[0].text, root ? root : "nothing");
    return 0;
}

static int test_add_call(struct ferry_filters *f, const struct ferry_arg_value *v, const char *root)
{
    (void)root;
    return v[0].client ? 0 : ferry_filters_refuse(f, "no client");
}

static const struct ferry_filter_kind test_kinds[] = {
    {.name = "every", .help = "takes all", .args = test_every_args, .nargs = 7},
    {.name = "basic_params", .help = "takes none"},
    {.name = "call", .help = "calls", .args = test_call_args, .nargs = 1, .add = test_add_call},
    {.name = "header",
     .title = "name",
     .help = "a field",
     .args = test_header_args,
     .nargs = 2,
     .add = test_add_header},
    {.name = "stop", .help = "answers all", .ends = true},
};

const struct ferry_filter_kind *ferry_filter_kind(unsigned i)
{
    return i < sizeof test_kinds / sizeof *test_kinds ? &test_kinds[i] : NULL;
}

const struct ferry_filter_kind *ferry_filter_kind_find(const char *name)
{
    for (unsigned i = 0; i < sizeof test_kinds / sizeof *test_kinds; i++)
        if (strcmp(test_kinds[i].name, name) == 0)
            return &test_kinds[i];
    return NULL;
}

#endif
