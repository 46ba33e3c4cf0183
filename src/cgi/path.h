/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CGI_PATH_H
#define FERRY_CGI_PATH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "ferry/err.h"

/*
 * From a request target to a path, and from a path to a file or a script with its PATH_INFO. Pure:
 * the file system is asked through a function, so that the whole mapping is tested and fuzzed
 * without one.
 */

struct ferry_path {
    struct ferry_slice authority; /* of an absolute-form target, else empty */
    struct ferry_slice query;     /* raw, without '?'; borrows from the target */
    struct ferry_slice path; /* decoded once, "." and ".." resolved, "//" merged; begins with '/';
                                in the caller's memory */
};

/*
 * Reads an origin-form or absolute-form (http, https) target, or "*". `mem` receives the decoded
 * path; target.len + 1 bytes are always enough. 0, or FERRY_EPROTOCOL with `*why`: bad form, bad or
 * incomplete %-escape, a decoded NUL, CR, LF or other control byte, a path that leaves the root, a
 * fragment.
 */
FERRY_MUST_CHECK
int ferry_path_parse(struct ferry_slice target, char *mem, struct ferry_path *out,
                     const char **why);

enum ferry_path_kind { FERRY_PATH_NONE, FERRY_PATH_FILE, FERRY_PATH_DIR };

/* What lies at a path below the document root. The slice is not NUL-terminated. */
typedef enum ferry_path_kind (*ferry_path_look)(void *ctx, struct ferry_slice path);

struct ferry_path_rules {
    struct ferry_slice script_suffix; /* ".php", matched on bytes, ASCII case-insensitively; empty:
                                         nothing is a script */
    struct ferry_slice index;         /* the front controller and directory index: "index.php" */
    struct ferry_slice index_static;  /* "index.html"; tried after index */
    ferry_path_look look;
    void *ctx;
};

/* X(name): what a path leads to */
#define FERRY_ROUTE_MAP(X)                                                                         \
    X(STATIC)   /* file: send this file */                                                         \
    X(SCRIPT)   /* file: run this script; script_name and path_info are set */                     \
    X(REDIRECT) /* a directory named without its slash: redirect to path + "/" */                  \
    X(HIDDEN)   /* a dotfile outside /.well-known/, or otherwise never served: answer 404 */       \
    X(NOT_FOUND)

enum ferry_route_kind {
#define X(name) FERRY_ROUTE_##name,
    FERRY_ROUTE_MAP(X)
#undef X
};

struct ferry_route {
    enum ferry_route_kind kind;
    struct ferry_slice file;        /* path below the root, begins with '/' */
    struct ferry_slice script_name; /* URL path of the script; equals file here */
    struct ferry_slice path_info;   /* the rest of the path behind the script, or empty */
};

/*
 * Decides in this order: hidden; "/x.php/rest" where x.php exists: script with path info, and where
 * it does not exist: never a shorter file of another kind (the cgi.fix_pathinfo hole); an existing
 * file: static, or script by its suffix; a directory: redirect without slash, else its index, else
 * its static index; then the front controller "/index" with the whole path (path_info stays empty:
 * applications read REQUEST_URI); else not found. A file ending in the script suffix in any ASCII
 * case is never STATIC. Slices borrow from `path` or are static, or lie in `mem` (path.len + index
 * lengths + 2 bytes; mem_cap too small gives FERRY_ELIMIT).
 */
FERRY_MUST_CHECK
int ferry_path_route(const struct ferry_path_rules *, struct ferry_slice path, char *mem,
                     size_t mem_cap, struct ferry_route *out);

#endif
