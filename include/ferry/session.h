/* SPDX-License-Identifier: MIT */
#ifndef FERRY_SESSION_H
#define FERRY_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ferry/client.h"
#include "ferry/err.h"
#include "ferry/params.h"
#include "ferry/record.h"
#include "ferry/slice.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * A session is one HTTP request on its way through a chain of filters. Each filter prepares it a
 * little (its params, its path, its role), answers it, sends it to an application, or waits for
 * something and goes on. Filters of yours are plain functions and stand anywhere in the chain:
 *
 *     static int staff_only(struct ferry_session *s, void *arg)
 *     {
 *         if (ferry_session_field(s, "X-Staff").p == NULL)
 *             return ferry_session_refuse(s, 403, "This part is for the staff.");
 *         return FERRY_STEP_NEXT;
 *     }
 *
 *     struct ferry_filters *chain = ferry_filters_new();
 *     ferry_filters_add(chain, staff_only, NULL, NULL);
 *     ferry_filters_basic_params(chain);
 *     ferry_filters_map_header(chain);
 *     ferry_filters_php_fs(chain, &(struct ferry_php_fs){.root = "/srv/www"});
 *     ferry_filters_call(chain, php);
 *
 * A request that comes out at the end of its chain is answered 404.
 */

struct ferry_session;
struct ferry_filters;

/* What a filter says. A negative error ends the request with 500. */
enum ferry_step {
    FERRY_STEP_NEXT, /* on to the next filter */
    FERRY_STEP_DONE, /* answered, or on its way to an application: the chain ends here */
    FERRY_STEP_WAIT, /* ferry_session_continue will be called */
};

typedef int (*ferry_filter_fn)(struct ferry_session *, void *arg);

/* -- chains
 * -------------------------------------------------------------------------------------------------
 */

/* An empty chain; NULL: no memory. Not to be changed any more once a gateway or a session uses it.
 */
struct ferry_filters *ferry_filters_new(void);
void ferry_filters_free(struct ferry_filters *); /* takes NULL */

/*
 * Adds a filter of the caller's, called in any of the threads that run the chain. `free_arg` (may
 * be NULL) is called for arg with the chain, and at once when it fails. This and all below: 0,
 * -ENOMEM, or FERRY_EUSAGE for options that make no sense, then ferry_filters_why says it.
 */
int ferry_filters_add(struct ferry_filters *, ferry_filter_fn, void *arg, void (*free_arg)(void *));
const char *ferry_filters_why(const struct ferry_filters *);

/* -- what a filter sees of a request
 *
 * Slices live as long as the session, unless the fact they tell is changed.
 * -------------------------------------------------------------------------------------------------
 */

/* The request line and the connection, as they came in. */
struct ferry_slice ferry_session_method(const struct ferry_session *);
struct ferry_slice ferry_session_target(const struct ferry_session *); /* raw, as it was sent */
struct ferry_slice ferry_session_path(const struct ferry_session *);  /* decoded; begins with '/' */
struct ferry_slice ferry_session_query(const struct ferry_session *); /* raw, without '?' */
struct ferry_slice ferry_session_host(const struct ferry_session *); /* name, perhaps with a port */
struct ferry_slice ferry_session_scheme(const struct ferry_session *); /* "http" or "https" */
struct ferry_slice ferry_session_remote_addr(struct ferry_session *);  /* "" for unix sockets */
/* -1 when it is not known yet, 0 when there is no body. */
int64_t ferry_session_content_length(const struct ferry_session *);

/* The value of the first header field of that name, in any case; p == NULL when there is none. And
 * all of them, in order. */
struct ferry_slice ferry_session_field(const struct ferry_session *, const char *name);
unsigned ferry_session_fields(const struct ferry_session *, const struct ferry_param **out);

/* The loop it runs on; a pointer to memory that goes with it; and the same with bytes copied into
 * it. NULL (p == NULL) when memory is out. */
struct ferry_loop *ferry_session_loop(const struct ferry_session *);
void *ferry_session_alloc(struct ferry_session *, size_t n);
struct ferry_slice ferry_session_copy(struct ferry_session *, struct ferry_slice);

/* Called once when the session is over, whatever became of it: 0 or -ENOMEM. */
int ferry_session_on_over(struct ferry_session *, void (*fn)(struct ferry_session *, void *),
                          void *arg);

/* -- what it changes of the request
 *
 * 0 or a negative error that a filter may return as it is. Bytes are copied.
 * -------------------------------------------------------------------------------------------------
 */

/* The path for the filters behind. FERRY_EUSAGE unless it begins with '/', is without "." and ".."
 * segments, and without control bytes. REQUEST_URI stays what was sent. */
int ferry_session_set_path(struct ferry_session *, struct ferry_slice path);
int ferry_session_set_query(struct ferry_session *, struct ferry_slice query);

/* A param of the request to the application. It replaces the one that a filter of ferry's makes,
 * whichever stands first in the chain; and the other removes it. */
int ferry_session_set_param(struct ferry_session *, struct ferry_slice name,
                            struct ferry_slice value);
int ferry_session_remove_param(struct ferry_session *, struct ferry_slice name);

/* What the application would be told now; p == NULL when that is nothing. Slow at first: for
 * filters that cannot use the above. */
struct ferry_slice ferry_session_param(struct ferry_session *, const char *name);

/* Which script runs, and what is told of it. Empty slices: no such param. */
struct ferry_script {
    struct ferry_slice filename; /* SCRIPT_FILENAME */
    struct ferry_slice name;     /* SCRIPT_NAME */
    struct ferry_slice path_info;
    struct ferry_slice root; /* DOCUMENT_ROOT; with path_info it gives PATH_TRANSLATED */
};
int ferry_session_set_script(struct ferry_session *, const struct ferry_script *);

/* REMOTE_USER, empty for none; and the role it is asked to play, a responder's at first. */
int ferry_session_set_remote_user(struct ferry_session *, struct ferry_slice user);
void ferry_session_set_role(struct ferry_session *, enum ferry_role);

/* The DATA stream: len bytes of a file from its beginning, with FCGI_DATA_LAST_MOD and
 * FCGI_DATA_LENGTH; the role becomes filter. Takes over fd, also on failure. */
int ferry_session_set_data(struct ferry_session *, int fd, uint64_t len, int64_t mtime_s);

/* The application gets no body, and CONTENT_LENGTH is left out. */
void ferry_session_drop_body(struct ferry_session *);

/* -- how it ends, or goes on
 *
 * These return what the filter is to return.
 * -------------------------------------------------------------------------------------------------
 */

/* Answers it. Everything is copied. */
int ferry_session_answer(struct ferry_session *, int status, const struct ferry_param *fields,
                         unsigned nfields, struct ferry_slice body);

/* Answers with the error page of this status; `why` is one sentence for a person, and may be "". */
int ferry_session_refuse(struct ferry_session *, int status, const char *why);

/* Sends it to an application, whose answer is its answer. */
int ferry_session_call(struct ferry_session *, struct ferry_client *);

/* After a filter has returned FERRY_STEP_WAIT: goes on with what it says now. From the loop's
 * thread, not from within the filter. When the client leaves first, the functions of
 * ferry_session_on_over tell, and it must not be called any more. */
void ferry_session_continue(struct ferry_session *, int step);

/* -- what it changes of the answer
 * -------------------------------------------------------------------------------------------------
 */

/* Header fields of whatever answers: a field with this value instead of all of its name, or beside
 * them, or none of its name. 0, FERRY_EUSAGE (no field's name or value, or one that frames the
 * message), -ENOMEM. */
int ferry_session_set_answer_field(struct ferry_session *, struct ferry_slice name,
                                   struct ferry_slice value);
int ferry_session_add_answer_field(struct ferry_session *, struct ferry_slice name,
                                   struct ferry_slice value);
int ferry_session_remove_answer_field(struct ferry_session *, struct ferry_slice name);

/* Called when the head of the answer is known, before it is sent; may use the three above, and may
 * return another status than the one it is told. In the order they were given. 0 or -ENOMEM. */
int ferry_session_on_answer(struct ferry_session *,
                            int (*fn)(struct ferry_session *, const struct ferry_answer_head *,
                                      void *arg),
                            void *arg);

/* -- the filters there are. Each has the same name in a configuration file.
 * -------------------------------------------------------------------------------------------------
 */

/* The params that tell of the request: REQUEST_METHOD, QUERY_STRING, SERVER_NAME, REMOTE_ADDR and
 * the others of RFC 3875, REQUEST_URI, REDIRECT_STATUS, HTTPS. */
int ferry_filters_basic_params(struct ferry_filters *);

/* Header fields as HTTP_ params, and CONTENT_TYPE. */
int ferry_filters_map_header(struct ferry_filters *);

/* REMOTE_HOST, the name of the client's address as the DNS has it, confirmed by a look-up of that
 * name; none when there is none within the deadline. */
struct ferry_remote_host {
    unsigned timeout_ms; /* 1000 */
    unsigned keep_ms;    /* how long answers are remembered: 300,000 */
    bool unconfirmed;    /* take the first name as it comes */
    const char *servers; /* "127.0.0.1:5353, ..."; NULL: those of the system */
};
int ferry_filters_remote_host(struct ferry_filters *, const struct ferry_remote_host *);

/* "/app.php/rest" becomes SCRIPT_NAME /app.php and PATH_INFO /rest: the first segment that ends in
 * one of the suffixes (n == 0: .php), and is followed by a slash or by nothing. No file is looked
 * for; a path without such a segment goes on as it is. */
int ferry_filters_split_path_info(struct ferry_filters *, const char *const *suffixes, unsigned n);

/* Every request runs this one file, which an application elsewhere may have where we have none:
 * SCRIPT_NAME is "/" and its name, DOCUMENT_ROOT its folder, PATH_INFO the request's path (behind
 * SCRIPT_NAME, if it begins with that). REQUEST_URI goes without what strip_prefix took off. */
int ferry_filters_file_endpoint(struct ferry_filters *, const char *file);

/*
 * Scripts below a folder: files that are there, whose names end in a suffix. What exists and is no
 * script goes on through the chain (to `files`); what does not exist, and a folder without index,
 * runs the front controller, or goes on when there is none, and then a `call` of the chain answers
 * 404. Dotfiles, and what nobody meant to publish, are 404. A request that has a script already
 * goes on.
 */
struct ferry_php_fs {
    const char *root;
    const char *const *index; /* names; NULL: index.php, index.html */
    unsigned nindex;
    const char *const *suffixes; /* NULL: .php */
    unsigned nsuffixes;
    const char *front; /* below the root, such as "/index.php"; NULL: none */
    bool project_root; /* the root is the project itself, not its folder for the public: what its
                          authors keep there beside the site is neither run nor sent, by any filter
                          of this root */
};
int ferry_filters_php_fs(struct ferry_filters *, const struct ferry_php_fs *);

/*
 * Files below a folder, with conditions and ranges. What is not there goes on through the chain, as
 * do scripts and their sources, the scripts of any php_fs with the same root among them, and
 * requests that have a script already. Dotfiles are 404.
 */
struct ferry_files {
    const char *root;
    const char *const *index; /* NULL: index.html */
    unsigned nindex;
    const char *const *suffixes_hidden; /* beside those that are never served; NULL: none */
    unsigned nsuffixes_hidden;
    bool project_root; /* as of php_fs */
};
int ferry_filters_files(struct ferry_filters *, const struct ferry_files *);

/* "/prefix/x" becomes "/x", and the prefix SCRIPT_NAME where no script is found later, or what
 * SCRIPT_NAME begins with where one is; other paths are answered 404. */
int ferry_filters_strip_prefix(struct ferry_filters *, const char *prefix);

/* The filter role: the file of this path below the root is its DATA. 404 when there is none, 403
 * when it may not be read, 405 for methods but GET, HEAD and POST. What `files` would not send is
 * not there. */
int ferry_filters_filter_files(struct ferry_filters *, const char *root);

/* Makes it a request to an authorizer: no body, and without the params that would describe one, or
 * the script, but for SCRIPT_FILENAME (CONTENT_LENGTH, CONTENT_TYPE, SCRIPT_NAME, PATH_INFO,
 * PATH_TRANSLATED; FastCGI section 6.3). For chains whose end is an authorizer. */
int ferry_filters_auth_prepare(struct ferry_filters *);

/*
 * Asks an authorizer: with the params of basic_params and map_header wherever those stand, and what
 * set_param set, without body or script. Its 200 lets the request go on, with each Variable-NAME of
 * its answer as param NAME (several of one name joined by ", "); any other answer is the client's,
 * and an authorizer that does not answer is 502, 503 or 504. What the client sent under such a name
 * never passes, in any spelling. No variable becomes CONTENT_LENGTH, HTTP_PROXY or FCGI_*.
 */
struct ferry_authorize {
    const char *script; /* SCRIPT_FILENAME of it, for those that are scripts; NULL: none */
    const char *const *variables; /* names that are removed from the client's request in any case,
                                     also when the authorizer does not set them */
    unsigned nvariables;
    bool as_fields; /* Variable-My-Name becomes HTTP_MY_NAME too */
    /* "$http_authorization$uri" and the like: a 200 counts for all requests with the same key, and
       must depend on nothing else. NULL: each request is asked about. Answers with Cache-Control
       no-store or no-cache, and cookies that are passed, are not remembered. */
    const char *cache_key;
    unsigned cache_ms;  /* 10,000 */
    unsigned cache_max; /* verdicts of one thread: 1024 */
    bool pass_cookies;  /* Set-Cookie of a 200 goes to the client with the answer */
    /* How long a 401 or 403 is remembered by the same key, so that whoever sends it again and again
       cannot keep the authorizer busy: it is answered with the error page of this status and its
       WWW-Authenticate. Never longer than cache_ms. 0: 1,000; UINT_MAX: not at all */
    unsigned cache_refused_ms;
};
int ferry_filters_authorize(struct ferry_filters *, struct ferry_client *,
                            const struct ferry_authorize *);

/* A param with this value, whatever the client or another filter says, and none of that name. The
 * value may hold the variables of docs/configuration.md; "$$" is a dollar. CONTENT_LENGTH cannot be
 * set. */
int ferry_filters_set_param(struct ferry_filters *, const char *name, const char *value);
int ferry_filters_remove_param(struct ferry_filters *, const char *name);

/* A header field of the answer, whoever gives it: instead of those of its name. The value may hold
 * variables; NULL removes. FERRY_EUSAGE for fields that frame the message. */
int ferry_filters_header(struct ferry_filters *, const char *name, const char *value);

/* Answers with the error page of this status, 400 to 599; `why` is one sentence for a person, at
 * most 500 bytes, or NULL. */
int ferry_filters_deny(struct ferry_filters *, int status, const char *why);

/* Answers with 301, 302, 303, 307 or 308. `to` may hold variables, as in "https://$host$uri", which
 * are escaped as a URL wants it, and whole behind a '='. It leads to a host that it names, or stays
 * on this one: texts by which a client could choose another are FERRY_EUSAGE. */
int ferry_filters_redirect(struct ferry_filters *, int status, const char *to);

/* The first of these paths that names a file below the root, or with a slash at its end a folder,
 * becomes the path; the last one always does, or is a status: "=404". They may hold variables, as
 * in "$path", "/index.php?$query"; one with a '?' replaces the query. */
int ferry_filters_try_files(struct ferry_filters *, const char *root, const char *const *paths,
                            unsigned n);

/* A path that matches this extended regular expression of POSIX (without back-references) becomes
 * `to`, where $1 to $9 are its groups, and other variables may stand; a query in `to` replaces the
 * request's. What is no path then is answered 404. */
int ferry_filters_rewrite(struct ferry_filters *, const char *pattern, const char *to);

/* Sends the request to an application as it stands. The end of most chains. */
int ferry_filters_call(struct ferry_filters *, struct ferry_client *);

/*
 * What most want of PHP: basic_params, map_header, php_fs, call; a request without a script goes
 * on. Without a client scripts are answered 503. And of other applications: basic_params,
 * map_header, call, with the whole path as PATH_INFO where nothing has set a script.
 */
int ferry_filters_php(struct ferry_filters *, struct ferry_client *, const struct ferry_php_fs *);
int ferry_filters_application(struct ferry_filters *, struct ferry_client *);

#ifdef __cplusplus
}
#endif

#endif
