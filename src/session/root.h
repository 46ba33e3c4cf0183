/* SPDX-License-Identifier: MIT */
#ifndef FERRY_SESSION_ROOT_H
#define FERRY_SESSION_ROOT_H

#include "session/session.h"

/*
 * A folder that filters of one thread serve from. All of them share it, so that a request looks at
 * the disk once, however many filters of its chain ask for the same path, and so that what one of
 * them runs as a script none of them ever sends as a file.
 */

/* What one filter says of the folder for all others, as long as it has joined the thread. */
struct ferry_session_claim {
    struct ferry_session_claim *next;
    const struct ferry_slice *suffixes; /* of its scripts */
    unsigned nsuffixes;
    bool project_root;
};

struct ferry_session_root {
    struct ferry_session_root *next;
    struct ferry_session_thread *thread;
    char *name; /* as it was given */
    unsigned users;
    struct ferry_docroot docroot;

    struct ferry_session_claim *claims;
    struct ferry_slice *suffixes; /* of all claims, none twice */
    unsigned nsuffixes, suffixes_cap;
    bool project_root;

    char *mem; /* where routing builds names */
    size_t mem_cap;
    char script[PATH_MAX]; /* of the last request that found one */
};

/* The thread's root of that name, opened when it is the first: 0, -ENOMEM, or -errno. */
FERRY_MUST_CHECK
int ferry__session_root_join(struct ferry_session_thread *, const char *dir,
                             struct ferry_session_root **out);
void ferry__session_root_leave(struct ferry_session_root *); /* takes NULL */

/* 0 or -ENOMEM, and then it claims nothing. The claim is the caller's memory. */
FERRY_MUST_CHECK
int ferry__session_root_claim(struct ferry_session_root *, struct ferry_session_claim *);
void ferry__session_root_unclaim(struct ferry_session_root *, struct ferry_session_claim *);

/*
 * ferry_path_route for the session's path; `look`, `ctx` and project_root are filled in. Slices in
 * *out live as long as the session, or until the next call for this root: 0 or -ENOMEM.
 */
FERRY_MUST_CHECK
int ferry__session_root_route(struct ferry_session *, struct ferry_session_root *,
                              const struct ferry_path_rules *, struct ferry_route *out);

/* The session's script is this one of a route, if it may run: 0 or an error of
 * ferry_docroot_script. */
FERRY_MUST_CHECK
int ferry__session_root_run(struct ferry_session *, struct ferry_session_root *,
                            const struct ferry_route *);

/* Sends the client to the same address with a slash behind its path: what the filter returns. */
int ferry__session_slash(struct ferry_session *);

/* A list of texts in one piece of memory, for free(): false when memory is out. */
FERRY_MUST_CHECK
bool ferry__slices_copy(const char *const *texts, unsigned n, struct ferry_slice **out);

/* For free(); NULL when memory is out. */
char *ferry__text_copy(const char *);

/* The name of a file in a folder, and none that is never seen. */
bool ferry__slice_is_name(struct ferry_slice);

#endif
