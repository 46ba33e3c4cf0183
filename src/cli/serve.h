/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CLI_SERVE_H
#define FERRY_CLI_SERVE_H

#include <stdbool.h>

#include "client/pool.h"
#include "io/addr.h"
#include "io/loop.h"

/* What `ferry serve` was asked for, and what its processes share. serve.c fills it, master.c and
 * worker.c work by it. */

#define FERRY_SERVE_LISTEN_MAX 16
#define FERRY_SERVE_THREADS_MAX 64

struct ferry_serve {
    /* As asked for. */
    const char *dir;   /* document root, absolute; NULL: none */
    const char *app;   /* the application's address as given; NULL: none */
    const char *spawn; /* a program to start as the application; NULL: none */
    const char *script, *index, *server_name, *php, *access_log;
    unsigned long long body_max, head_max;
    unsigned threads;
    enum ferry_io io;
    enum ferry_multiplex multiplex;
    bool verbose, quiet;

    /* What follows from it. */
    bool project_root; /* dir is the project's own folder rather than its public one */
    bool wants_php;    /* dir holds scripts, and no application was named */
    struct ferry_addr listen[FERRY_SERVE_LISTEN_MAX];
    unsigned nlisten;
    int fds[FERRY_SERVE_LISTEN_MAX][FERRY_SERVE_THREADS_MAX]; /* listening sockets; -1: none */
    bool has_app;
    struct ferry_addr app_addr;
    unsigned app_connections; /* cap; 0: the pool's default */
};

/* Starts the application, then the worker, and looks after both until it is told to stop: the exit
 * code. */
int ferry_serve_master(struct ferry_serve *);

/* The worker process, from fork to exit: writes one byte to ready_fd when it serves. Returns the
 * exit code. */
int ferry_serve_worker(struct ferry_serve *, int ready_fd);

#endif
