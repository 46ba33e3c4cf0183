/* SPDX-License-Identifier: MIT */
#ifndef FERRY_SESSION_INTERNAL_H
#define FERRY_SESSION_INTERNAL_H

#include "session/session.h"

/* What the files of the core share: chain.c, session.c, answer.c, image.c. */

struct ferry__filter {
    const struct ferry_filter_ops *ops;
    void *filter;
};

struct ferry_filters {
    struct ferry__filter *items;
    unsigned n, cap;
    char why[256];
};

struct ferry_filters_local {
    const struct ferry_filters *filters;
    unsigned n;
    void *parts[]; /* by filter; NULL where it needs none */
};

struct ferry_session_hook {
    struct ferry_session_hook *next;
    void (*over)(struct ferry_session *, void *arg); /* in over_hooks */
    int (*answer)(struct ferry_session *, const struct ferry_answer_head *,
                  void *arg); /* in answer_hooks */
    void *arg;
};

/* Room for one more in an array that lies in the session's memory: where it lies now, or NULL. */
void *ferry__session_grow(struct ferry_session *, void *array, unsigned n, unsigned *cap,
                          size_t size);

/* A param that a filter of ferry's makes: one that was set or removed otherwise stands. 0 or an
 * error. */
int ferry__session_make_param(struct ferry_session *, struct ferry_slice name,
                              struct ferry_slice value);

/* The thread's resolver with these servers (NULL: the system's), made when it is asked for first.
 * Closed with the thread. 0, or an error of ferry_resolver_new. */
FERRY_MUST_CHECK
int ferry__session_thread_resolver(struct ferry_session_thread *, const char *servers,
                                   struct ferry_resolver **out);

/* May filters change the field of this name in an answer? */
bool ferry__session_is_field(struct ferry_slice name);

#endif
