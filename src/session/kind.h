/* SPDX-License-Identifier: MIT */
#ifndef FERRY_SESSION_KIND_H
#define FERRY_SESSION_KIND_H

#include "session/session.h"

/*
 * The table of built-in filters, by which a configuration file names them: one fact, from which the
 * grammar, its error messages and its documentation are made.
 */

enum ferry_arg_type {
    FERRY_ARG_TEXT,
    FERRY_ARG_LIST, /* of texts */
    FERRY_ARG_INT,
    FERRY_ARG_BOOL,
    FERRY_ARG_DURATION, /* written 30s; in milliseconds */
    FERRY_ARG_SIZE,     /* written 64k; in bytes */
    FERRY_ARG_CLIENT,   /* the name of an application; its client here */
};

struct ferry_filter_arg {
    const char *name;
    enum ferry_arg_type type;
    bool required;
    const char *fallback; /* as it would be written, a list's texts with blanks between them; NULL:
                             unset */
    const char *help;     /* one line */
};

/* The value of an argument, in the order of the kind's table. `set`: it was written, or has a
 * fallback. */
struct ferry_arg_value {
    bool set;
    const char *text; /* TEXT */
    const char *const *list;
    unsigned nlist;
    int64_t number; /* INT, BOOL, DURATION, SIZE */
    struct ferry_client *client;
};

struct ferry_filter_kind {
    const char *name;
    const char *title; /* what the block's title says, if it may have one: `header "X-Y" { ... }` is
                          the argument of this name; NULL: no title */
    const char *help;  /* one line */
    const struct ferry_filter_arg *args;
    unsigned nargs;
    /* Adds the filter to a chain: as the functions of ferry/session.h. `root` is the site's, for
     * kinds that take one and were not given it; NULL: none. */
    int (*add)(struct ferry_filters *, const struct ferry_arg_value *, const char *root);
    bool ends; /* it answers every request, or sends it away: none goes on to the next filter */
};

/* In the order in which they are documented; NULL past the last. */
const struct ferry_filter_kind *ferry_filter_kind(unsigned i);
/* By name; NULL: none. */
const struct ferry_filter_kind *ferry_filter_kind_find(const char *name);

#endif
