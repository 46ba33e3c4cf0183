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
                                in the caller's memory. Empty for the target "*" */
};

/*
 * Reads an origin-form or absolute-form (http, https) target, or "*". `mem` receives the decoded
 * path; target.len + 1 bytes are always enough. %2F is a slash and counts when ".." is resolved; a
 * backslash and bytes from 0x80 are ordinary. 0, or FERRY_EPROTOCOL with `*why`, a static text: bad
 * form, bad or incomplete %-escape, a decoded NUL, CR, LF or other control byte, a raw control byte
 * or blank in path or query, a path that leaves the root, a fragment. *out is untouched then.
 */
FERRY_MUST_CHECK
int ferry_path_parse(struct ferry_slice target, char *mem, struct ferry_path *out,
                     const char **why);

enum ferry_path_kind { FERRY_PATH_NONE, FERRY_PATH_FILE, FERRY_PATH_DIR };

/* What lies at a path below the document root. The slice is not NUL-terminated, begins with '/' and
 * never ends with one. What may not be served (a link that leads out of the root, a device) is
 * NONE. */
typedef enum ferry_path_kind (*ferry_path_look)(void *ctx, struct ferry_slice path);

struct ferry_path_rules {
    /* What names of scripts end in: ".php", matched on bytes, ASCII case-insensitively. None:
     * nothing is a script. */
    const struct ferry_slice *suffixes;
    unsigned nsuffixes;
    const struct ferry_slice *index; /* of a directory, the first that is there: "index.php" */
    unsigned nindex;
    struct ferry_slice front;         /* the front controller: "/index.php"; empty: none */
    const struct ferry_slice *hidden; /* suffixes of more files that are never sent */
    unsigned nhidden;
    bool
        project_root; /* the document root is the project itself: more is never served, see below */
    ferry_path_look look;
    void *ctx;
};

/* X(name): what a path leads to */
#define FERRY_ROUTE_MAP(X)                                                                         \
    X(STATIC)   /* file: send this file */                                                         \
    X(SCRIPT)   /* file: run this script; script_name and path_info are set */                     \
    X(REDIRECT) /* file: a directory with an index, named without its slash: redirect to it with   \
                   the slash */                                                                    \
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
 * Decides in this order: a segment that begins with '.', but for a first one that is ".well-known":
 * hidden; "/x.php/rest" where x.php is a file: script with path info, and where nothing is there:
 * never a shorter file of another kind (the cgi.fix_pathinfo hole), but as if not found; an
 * existing file: static, or script by its suffix; a directory: its index, or a redirect when its
 * slash is missing and one is there; then the front controller, when it is a script that is there,
 * with the whole path (path_info stays empty: applications read REQUEST_URI); else not found.
 *
 * SCRIPT and STATIC are only ever files that `look` said are there. A file ending in a script
 * suffix in any ASCII case is never STATIC, and neither is what may hold the source of a script, or
 * nobody meant to publish; such a file, when it is there, is HIDDEN: *.php (where that is not a
 * suffix of scripts), *.phtml *.pht *.phps *.php3-*.php8 *.inc *~ *# *.bak *.swp *.swo *.orig, and
 * a script's name with .old .save .tmp .dist .copy .1 behind it; and what rules->hidden names. With
 * project_root also: everything in /vendor, /node_modules, /storage and /config, scripts too;
 * composer.json, composer.lock, package.json, package-lock.json, yarn.lock, artisan, phpunit.xml,
 * phpunit.xml.dist, Makefile, Dockerfile; *.sql *.log *.env *.neon *.yaml *.yml, and .sql. or .env.
 * within a name. All compared without ASCII case.
 *
 * Slices borrow from `path` or from rules->front, or lie in `mem` (ferry_path_room bytes; mem_cap
 * too small gives FERRY_ELIMIT). `path` is one that ferry_path_parse made; an empty one is not
 * found.
 */
FERRY_MUST_CHECK
int ferry_path_route(const struct ferry_path_rules *, struct ferry_slice path, char *mem,
                     size_t mem_cap, struct ferry_route *out);
size_t ferry_path_room(const struct ferry_path_rules *, struct ferry_slice path);

/* May a file of this path be sent or run at all, when it is there? False for what is HIDDEN above,
 * with these rules (neither look nor index is used). */
bool ferry_path_may_send(const struct ferry_path_rules *, struct ferry_slice path);

/* Is there a segment that begins with '.', but for a first one that is ".well-known"? */
bool ferry_path_has_dotfile(struct ferry_slice path);

/* How long the first part of the path is that ends, before a slash or at its end, in one of the
 * suffixes, with at least one byte in front of that; 0: there is none. No file is looked for. */
size_t ferry_path_split(const struct ferry_slice *suffixes, unsigned n, struct ferry_slice path);

#endif
