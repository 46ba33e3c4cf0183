/* SPDX-License-Identifier: MIT */
#ifndef FERRY_FILES_DOCROOT_H
#define FERRY_FILES_DOCROOT_H

#include <limits.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/slice.h"
#include "cgi/path.h"
#include "ferry/err.h"

/*
 * The folder whose files are served. Paths begin with '/', are already decoded and without "..";
 * one with ".." or a NUL all the same names nothing. What is there is remembered for a second, what
 * is not there never. One object per thread.
 */

#define FERRY_DOCROOT_KEPT 256 /* paths remembered */
#define FERRY_DOCROOT_KEPT_PATH_MAX 110
#define FERRY_DOCROOT_KEEP_MS 1000

struct ferry_docroot_kept {
    uint64_t until_ms;
    uint32_t hash;
    uint16_t len;
    uint8_t kind; /* enum ferry_path_kind; NONE in a free place */
    bool script;  /* found to be a script below the root */
    char path[FERRY_DOCROOT_KEPT_PATH_MAX];
};

struct ferry_docroot {
    int fd;                  /* O_PATH */
    struct ferry_slice real; /* real path, for DOCUMENT_ROOT; NUL-terminated */
    char *dir;               /* as it was given, made absolute */
    dev_t dev;
    ino_t ino;
    uint64_t refresh_ms;
    bool no_openat2; /* the kernel or a sandbox refuses it */
    size_t text_len; /* bytes of the root in text */
    char text[PATH_MAX];
    char real_text[PATH_MAX];
    struct ferry_docroot_kept kept[FERRY_DOCROOT_KEPT];
};

/* The object is not moved while open. 0, or -errno (-ENOTDIR for a file). */
FERRY_MUST_CHECK
int ferry_docroot_open(struct ferry_docroot *, const char *dir);
void ferry_docroot_close(struct ferry_docroot *); /* any number of times */

/*
 * About once a second, looks whether the name of the root now means another folder (a symlink
 * switched by a deployment, a folder made anew), and goes over to it. Changes `real`; to be called
 * before a request is looked at. now_ms is of CLOCK_MONOTONIC here and below.
 */
void ferry_docroot_refresh(struct ferry_docroot *, uint64_t now_ms);

/*
 * A ferry_path_look; ctx is the docroot. Symlinks are followed, also out of the root: applications
 * link their storage into it. What is neither a regular file nor a folder is NONE.
 */
enum ferry_path_kind ferry_docroot_look(void *ctx, struct ferry_slice path);

/*
 * May this script be run? 0 and in *real_out the real root with `file` behind it (for
 * SCRIPT_FILENAME; NUL-terminated, valid until the next call on the docroot); -ENOENT; -EACCES when
 * it is no regular file, or symlinks lead it out of the real root; or another -errno.
 */
FERRY_MUST_CHECK
int ferry_docroot_script(struct ferry_docroot *, struct ferry_slice file, uint64_t now_ms,
                         struct ferry_slice *real_out);

/* Opens a file for reading, without ever blocking on it: a descriptor or -errno. It may be anything
 * that can be opened: ask fstat. */
FERRY_MUST_CHECK
int ferry_docroot_read(struct ferry_docroot *, struct ferry_slice file);

/* Forgets what is remembered of a path that turned out to be gone: look again. */
void ferry_docroot_forget(struct ferry_docroot *, struct ferry_slice path);

/* ferry_docroot_look at a given time. */
enum ferry_path_kind ferry__docroot_look_at(struct ferry_docroot *, struct ferry_slice path,
                                            uint64_t now_ms);

#endif
