/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CLI_SERVICE_H
#define FERRY_CLI_SERVICE_H

#include "config/config.h"
#include "io/loop.h"

/*
 * What an engine serves: sites over HTTP (web.c), or mail (mail_service.c). All in which `ferry
 * run` and `ferry mail` differ, from the addresses to the threads of a worker.
 */

struct ferry_engine;
struct ferry_generation;
struct ferry_keep;
struct ferry_service; /* in a worker; its own */

struct ferry_service_ops {
    const char *port; /* an example of one for those who may not have a low one */
    /* The i-th address to listen on; NULL behind the last. The same address is one listener; with
     * `apart` each port 0 is another one. */
    const char *(*listen)(const struct ferry_config *, unsigned i);
    bool apart;
    bool tell_all; /* all addresses are printed, not just one for a browser */
    /* Where clients find the i-th listener. */
    void (*url)(const struct ferry_generation *, unsigned i, char *out, size_t cap);
    /* Now that it is known where they are bound: 0, or the exit code, and said why. NULL: good. */
    int (*look)(const struct ferry_generation *);
    /* Is this application asked for anything? */
    bool (*uses)(const struct ferry_config *, unsigned application);
    /* The largest body that an application is sent. */
    uint64_t (*body_max)(const struct ferry_config *);
    /* What the sandbox leaves. */
    void (*keep)(struct ferry_keep *, const struct ferry_config *);

    /* With the rights of the master: logs, certificates. 0 or an error, and said why. `spool` is
     * the folder for what waits, NULL: any. */
    int (*new)(const struct ferry_engine *, const struct ferry_generation *, const char *spool,
               struct ferry_service **out);
    /* With the rights it keeps. 0 or an error, and said why. */
    int (*open)(struct ferry_service *);
    void (*reopen_logs)(struct ferry_service *);
    void (*free)(struct ferry_service *); /* after its threads; takes NULL */

    /* One thread: 0 or an error. `fd` becomes its own. */
    int (*thread_new)(struct ferry_service *, unsigned index, struct ferry_loop *, void **out);
    int (*thread_listen)(void *thread, int fd, unsigned listener);
    /* Takes nothing more and finishes what is under way; `retires`: another worker goes on. */
    void (*thread_drain)(void *thread, bool retires, void (*done)(void *), void *arg);
    void (*thread_cut)(void *thread);
    void (*thread_free)(void *thread);
};

extern const struct ferry_service_ops ferry_web_service;

#endif
