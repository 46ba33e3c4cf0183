/* SPDX-License-Identifier: MIT */
#ifndef FERRY_SESSION_SESSION_H
#define FERRY_SESSION_SESSION_H

#include "base/block.h"
#include "cgi/path.h"
#include "cgi/request.h"
#include "cgi/response.h"
#include "client/client.h"
#include "ferry/session.h"
#include "files/docroot.h"
#include "http/http.h"

/*
 * The chain behind ferry/session.h. A session is embedded in its host: what carries the request,
 * the gateway's exchange above all. The host tells the session about the request, runs it, and does
 * what its filters decide; nothing here reads or writes a socket of a client.
 *
 * What all requests need costs nothing: the standard params are slots of `rq` and are written once,
 * when the request leaves. Only what filters change is kept beside them, in the session's memory.
 */

struct ferry_session;

/* -- the thread it runs in
 * -------------------------------------------------------------------------------------------------
 */

struct ferry_session_client;   /* a client that this thread has joined */
struct ferry_session_resolver; /* of remote_host */
struct ferry_resolver;
struct ferry_session_root;

/* What the sessions of one thread share; the host's, zeroed but for the first three. */
struct ferry_session_thread {
    struct ferry_loop *loop;
    unsigned index;                /* of the thread, < threads_max of every client */
    const struct ferry_mime *mime; /* for `files`; NULL: by a few well-known suffixes */
    struct ferry_list clients;     /* of struct ferry_session_client */
    void (*closed)(void *);
    void *closed_arg;
    struct ferry_list resolvers;      /* of struct ferry_session_resolver */
    struct ferry_session_root *roots; /* folders that its chains serve from (session/root.h) */
};

void ferry_session_thread_init(struct ferry_session_thread *, struct ferry_loop *, unsigned index,
                               const struct ferry_mime *);
/* This thread's part of a client; joined when it is asked for the first time. NULL: no memory. */
struct ferry_client_local *ferry_session_thread_client(struct ferry_session_thread *,
                                                       struct ferry_client *);
/* Closes what the thread has of clients and resolvers; `done` when all are closed, from the loop.
 */
void ferry_session_thread_close(struct ferry_session_thread *, void (*done)(void *), void *arg);
void ferry_session_thread_fini(struct ferry_session_thread *); /* after that */

/* -- filters
 * -------------------------------------------------------------------------------------------------
 */

/* A filter of ferry's own: `run` with what `join` made for this thread. All but run may be NULL. */
struct ferry_filter_ops {
    const char *name;
    int (*run)(struct ferry_session *, void *filter, void *local); /* enum ferry_step or an error */
    int (*join)(void *filter, struct ferry_session_thread *, void **local);
    void (*leave)(void *local);
    void (*free)(void *filter);
};

/* Takes `filter` over, also when it fails: 0 or -ENOMEM. The ops outlive the chain. */
FERRY_MUST_CHECK
int ferry_filters_push(struct ferry_filters *, const struct ferry_filter_ops *, void *filter);

/* Says why options make no sense, and returns FERRY_EUSAGE. Printf's format. */
int ferry_filters_refuse(struct ferry_filters *, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* A chain's part of one thread. */
struct ferry_filters_local;
FERRY_MUST_CHECK
int ferry_filters_join(const struct ferry_filters *, struct ferry_session_thread *,
                       struct ferry_filters_local **out);
void ferry_filters_leave(struct ferry_filters_local *); /* takes NULL; after its last session */

/* -- hosts
 * -------------------------------------------------------------------------------------------------
 */

/* A request to an application, as the host is to send it: its params are those of the session (by
 * ferry_session_image). */
struct ferry_session_call {
    struct ferry_client_local *client;
    enum ferry_role role;
    bool no_body;                  /* no STDIN, no CONTENT_LENGTH */
    bool all_params;               /* those of basic_params and map_header in any case */
    const struct ferry_param *set; /* as in struct ferry_cgi_request, instead of the session's */
    unsigned nset;
    struct ferry_slice key; /* for the balance */
    /*
     * Looks at the head of the answer before anybody else: FERRY_STEP_DONE, it is the session's
     * answer and is relayed; FERRY_STEP_NEXT, it is swallowed to its end, and then the chain goes
     * on with the next filter; or an error: 502. NULL: DONE. It is called for the final head only.
     */
    int (*judge)(struct ferry_session *, const struct ferry_cgi_response *, void *arg);
    void *judge_arg;
};

/* What a host does for its sessions. None of these is called again before the last has ended: a
 * session answers once. They return nothing: what fails is the host's to answer. */
struct ferry_session_host {
    void (*answer)(struct ferry_session *, int status, const struct ferry_param *fields,
                   unsigned nfields, struct ferry_slice body);
    void (*refuse)(struct ferry_session *, int status, const char *why);
    /* A file that was found: 0, or an error of ferry_static_send and nothing was done (-ENOENT: the
     * chain goes on). */
    int (*file)(struct ferry_session *, struct ferry_docroot *, struct ferry_slice file);
    void (*call)(struct ferry_session *, const struct ferry_session_call *);
    /* A filter waits: copy what of the request would not live longer (ferry_session_keep). */
    int (*wait)(struct ferry_session *);
};

/* -- a session
 * -------------------------------------------------------------------------------------------------
 */

struct ferry_session_edit {
    struct ferry_slice name, value; /* value.p NULL: remove */
    bool add;
};

struct ferry_session_hook; /* of on_over, on_answer */

/* Has a script been found for it? NONE: one was looked for, and `call` answers 404. */
enum ferry_session_script { FERRY_SCRIPT_OPEN, FERRY_SCRIPT_SET, FERRY_SCRIPT_NONE };

struct ferry_session {
    const struct ferry_session_host *host;
    struct ferry_session_thread *thread;
    const struct ferry_filters *filters;
    struct ferry_filters_local *locals;
    unsigned at; /* the filter that runs or waits */

    const struct ferry_http_head *head;
    struct ferry_path path;      /* path.path is what filters change */
    struct ferry_cgi_request rq; /* set and nset too: what filters set and removed */
    struct ferry_slice mount;    /* what strip_prefix took off; stands before every SCRIPT_NAME */
    bool basic, fields;          /* basic_params, map_header: which of rq becomes params */
    enum ferry_role role;
    bool no_body, waiting;
    bool kept; /* head and path lie in the session's memory */
    enum ferry_session_script script;
    bool borrowed; /* the script's texts lie in memory that the thread's next request uses */
    const struct ferry_session_root *missed; /* the path, when it lay here, was not below this */
    const char *missed_at;
    void *asked; /* of authorize, until the answer is over */
    int data_fd; /* -1: none */
    uint64_t data_len;
    struct ferry_slice key; /* for the balance; empty: the client's address */

    struct ferry_param *set;
    unsigned set_cap;
    struct ferry_session_edit *edits;
    unsigned nedits, edits_cap;
    struct ferry_session_hook *over_hooks, *answer_hooks;
    struct ferry_block *memory; /* a list; memory_at is how much of the first is in use */
    size_t memory_at, memory_total;
};

/*
 * Begins a session: head and path are the request's and live until the host is asked to `wait`;
 * `rq` is filled by the host with what it knows of connection and server (addresses, names,
 * protocol, scheme, method, target, query, fields). Allocates nothing.
 */
void ferry_session_init(struct ferry_session *, const struct ferry_session_host *,
                        struct ferry_session_thread *, const struct ferry_filters *,
                        struct ferry_filters_local *, const struct ferry_http_head *,
                        const struct ferry_path *);
/* Runs the chain until it is answered, sent, or waits; all of it is told through the host. */
void ferry_session_run(struct ferry_session *);
/* Tells the on_over functions and gives everything back. The host calls it once, in any case. */
void ferry_session_fini(struct ferry_session *);

/* Copies head and path into the session's memory, whose slices live on then: 0 or -ENOMEM. */
FERRY_MUST_CHECK
int ferry_session_keep(struct ferry_session *);

/*
 * Writes the request's records into a block: BEGIN_REQUEST with keep_conn, and PARAMS without their
 * end, so that CONTENT_LENGTH can follow. 0 (the block is the caller's), -ENOMEM or FERRY_ELIMIT.
 */
FERRY_MUST_CHECK
int ferry_session_image(struct ferry_session *, const struct ferry_session_call *, bool keep_conn,
                        struct ferry_params_writer *, struct ferry_block **out);

/*
 * The fields of an answer after the hooks and edits: *fields and *n are replaced by others in the
 * session's memory, or left alone where nothing changes. Returns the status, which a hook may have
 * changed, or -ENOMEM.
 */
FERRY_MUST_CHECK
int ferry_session_edit_answer(struct ferry_session *, int status,
                              const struct ferry_http_field **fields, unsigned *n);

/* Does any filter look at or change the answer? */
static inline bool ferry_session_edits(const struct ferry_session *s)
{
    return s->nedits || s->answer_hooks;
}

/* SCRIPT_NAME of a script by its path, with what strip_prefix took off before it; in the session's
 * memory. 0 or -ENOMEM. */
FERRY_MUST_CHECK
int ferry__session_script_name(struct ferry_session *, struct ferry_slice path,
                               struct ferry_slice *out);

/* The next filter, from the host, after a judge has said FERRY_STEP_NEXT and the answer is over. */
void ferry_session_resume(struct ferry_session *);

#endif
