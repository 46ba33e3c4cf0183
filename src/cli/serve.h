/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CLI_SERVE_H
#define FERRY_CLI_SERVE_H

#include <stdbool.h>

#include "config/config.h"

/* What `ferry serve` was asked for. serve.c fills it, serve_config.c makes a configuration of it.
 */

#define FERRY_SERVE_LISTEN_MAX 16

struct ferry_serve {
    /* As asked for. */
    const char *dir;                       /* document root, absolute; NULL: none */
    const char *app;                       /* the application's address as given; NULL: none */
    const char *spawn;                     /* a program to start as the application; NULL: none */
    unsigned processes_min, processes_max; /* of it; 0: one */
    const char *script, *index, *server_name, *php, *access_log;
    const char *listen[FERRY_SERVE_LISTEN_MAX];
    unsigned nlisten;
    unsigned long long body_max, head_max;
    unsigned threads;
    enum ferry_io io;
    enum ferry_multiplex multiplex;
    bool verbose, quiet, print;

    /* What follows from it. */
    bool project_root; /* dir is the project's own folder rather than its public one */
    bool wants_php;    /* dir holds scripts, and no application was named */
    bool has_files;    /* dir holds something else than scripts */
};

/* The same as a configuration; with `print` one that can stand alone. NULL: no memory. */
struct ferry_config *ferry_serve_config(const struct ferry_serve *);

#endif
