/* SPDX-License-Identifier: MIT */
/*
 * The document root. Everything below it is reached through one descriptor, with names relative to
 * it. `text` always begins with the real root; each call writes its path behind it, so that one
 * copy gives both the relative name and the absolute one. Only what was found is remembered, in a
 * direct-mapped table, so memory is fixed and a file that appears is seen at once.
 */
#include "files/docroot.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"

/* Goes to the folder that `dir` names now; what was there before stays on failure. */
static int enter(struct ferry_docroot *d)
{
    char real[PATH_MAX];
    struct stat st;
    size_t len;
    int fd;

    if (!realpath(d->dir, real))
        return -errno;
    fd = open(real, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0) {
        int err = -errno;
        close(fd);
        return err;
    }
    if (d->fd >= 0)
        close(d->fd);
    len = strlen(real);
    memcpy(d->real_text, real, len + 1);
    d->fd = fd;
    d->dev = st.st_dev;
    d->ino = st.st_ino;
    d->real = ferry_slice(d->real_text, len);
    d->text_len = len == 1 ? 0 : len; /* "/" + "/x" is "/x" */
    memcpy(d->text, real, d->text_len);
    memset(d->kept, 0, sizeof d->kept);
    return 0;
}

int ferry_docroot_open(struct ferry_docroot *d, const char *dir)
{
    char cwd[PATH_MAX];
    int err;

    memset(d, 0, sizeof *d);
    d->fd = -1;
    if (dir[0] != '/' && !getcwd(cwd, sizeof cwd))
        return -errno;
    if (dir[0] == '/')
        d->dir = strdup(dir);
    else if (asprintf(&d->dir, "%s/%s", cwd, dir) < 0)
        d->dir = NULL;
    if (!d->dir)
        return -ENOMEM;
    err = enter(d);
    if (err < 0)
        ferry_docroot_close(d);
    return err;
}

void ferry_docroot_close(struct ferry_docroot *d)
{
    if (d->fd >= 0)
        close(d->fd);
    d->fd = -1;
    free(d->dir);
    d->dir = NULL;
}

void ferry_docroot_refresh(struct ferry_docroot *d, uint64_t now_ms)
{
    struct stat st;

    if (now_ms < d->refresh_ms)
        return;
    d->refresh_ms = now_ms + FERRY_DOCROOT_KEEP_MS;
    if (stat(d->dir, &st) == 0 && (st.st_dev != d->dev || st.st_ino != d->ino))
        (void)!enter(d); /* a deployment half done: tried again in a second */
}

/* Puts the path behind the root in `text`, and returns it as a name relative to the root's
 * descriptor; NULL for a path that cannot name anything there. */
static const char *relative(struct ferry_docroot *d, struct ferry_slice path)
{
    char *at = d->text + d->text_len;

    if (path.len == 0 || path.p[0] != '/' || path.len >= sizeof d->text - d->text_len)
        return NULL;
    if (memchr(path.p, 0, path.len))
        return NULL;
    *ferry__put(at, path) = 0;
    for (char *dots = at; (dots = strstr(dots, "/..")); dots++)
        if (dots[3] == '/' || dots[3] == 0)
            return NULL;
    while (*at == '/')
        at++;
    return *at ? at : ".";
}

static struct ferry_docroot_kept *place(struct ferry_docroot *d, struct ferry_slice path,
                                        uint32_t *hash)
{
    uint64_t h = path.len, w;
    size_t i;

    for (i = 0; i + 8 <= path.len; i += 8) {
        memcpy(&w, path.p + i, 8);
        h = (h ^ w) * UINT64_C(0x9e3779b97f4a7c15);
        h ^= h >> 29;
    }
    w = 0;
    memcpy(&w, path.p + i, path.len - i);
    h = (h ^ w) * UINT64_C(0x9e3779b97f4a7c15);
    *hash = (uint32_t)(h >> 32);
    return &d->kept[(h >> 56) % FERRY_DOCROOT_KEPT]; /* the bits that all others went into */
}

static struct ferry_docroot_kept *recall(struct ferry_docroot *d, struct ferry_slice path,
                                         uint64_t now_ms)
{
    struct ferry_docroot_kept *k;
    uint32_t hash;

    if (path.len == 0 || path.len > FERRY_DOCROOT_KEPT_PATH_MAX)
        return NULL;
    k = place(d, path, &hash);
    if (k->kind == FERRY_PATH_NONE || k->hash != hash || now_ms >= k->until_ms)
        return NULL;
    return ferry_slice_eq(ferry_slice(k->path, k->len), path) ? k : NULL;
}

static void keep(struct ferry_docroot *d, struct ferry_slice path, enum ferry_path_kind kind,
                 bool script, uint64_t now_ms)
{
    struct ferry_docroot_kept *k;
    uint32_t hash;

    if (path.len > FERRY_DOCROOT_KEPT_PATH_MAX)
        return;
    k = place(d, path, &hash);
    k->until_ms = now_ms + FERRY_DOCROOT_KEEP_MS;
    k->hash = hash;
    k->len = (uint16_t)path.len;
    k->kind = (uint8_t)kind;
    k->script = script;
    memcpy(k->path, path.p, path.len);
}

void ferry_docroot_forget(struct ferry_docroot *d, struct ferry_slice path)
{
    struct ferry_docroot_kept *k = recall(d, path, 0);

    if (k)
        k->kind = FERRY_PATH_NONE;
}

enum ferry_path_kind ferry__docroot_look_at(struct ferry_docroot *d, struct ferry_slice path,
                                            uint64_t now_ms)
{
    const struct ferry_docroot_kept *k = recall(d, path, now_ms);
    enum ferry_path_kind kind;
    const char *name;
    struct stat st;

    if (k)
        return (enum ferry_path_kind)k->kind;
    name = relative(d, path);
    if (!name || fstatat(d->fd, name, &st, 0) < 0)
        return FERRY_PATH_NONE;
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        return FERRY_PATH_NONE;
    kind = S_ISREG(st.st_mode) ? FERRY_PATH_FILE : FERRY_PATH_DIR;
    keep(d, path, kind, false, now_ms);
    return kind;
}

enum ferry_path_kind ferry_docroot_look(void *ctx, struct ferry_slice path)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return ferry__docroot_look_at(ctx, path,
                                  (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
}

static int regular(const struct stat *st)
{
    return S_ISREG(st->st_mode) ? 0 : -EACCES;
}

/* The real path, compared as text: for symlinks with absolute targets, which openat2 refuses even
 * when they lead back into the root, and for kernels without it. */
static int below_by_name(struct ferry_docroot *d)
{
    char real[PATH_MAX];
    struct stat st;

    if (!realpath(d->text, real) || stat(real, &st) < 0)
        return -errno;
    if (strncmp(real, d->text, d->text_len) != 0 || real[d->text_len] != '/')
        return -EACCES;
    return regular(&st);
}

static int below(struct ferry_docroot *d, const char *name)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    struct stat st;
    int fd, err;

    if (d->no_openat2)
        return below_by_name(d);
    fd = (int)syscall(SYS_openat2, d->fd, name, &how, sizeof how);
    if (fd < 0) {
        switch (errno) {
        case ENOSYS: /* an old kernel, or a sandbox */
        case EPERM:
        case EINVAL:
            d->no_openat2 = true;
            return below_by_name(d);
        case EXDEV:  /* a link led out, or perhaps out and in again */
        case EAGAIN: /* something was renamed meanwhile */
            return below_by_name(d);
        default:
            return -errno;
        }
    }
    err = fstat(fd, &st) < 0 ? -errno : regular(&st);
    close(fd);
    return err;
}

int ferry_docroot_script(struct ferry_docroot *d, struct ferry_slice file, uint64_t now_ms,
                         struct ferry_slice *real_out)
{
    const struct ferry_docroot_kept *k = recall(d, file, now_ms);
    const char *name = relative(d, file);
    int err;

    if (!name)
        return -ENOENT;
    if (!k || !k->script) {
        err = below(d, name);
        if (err == -ENOTDIR)
            err = -ENOENT;
        if (err < 0)
            return err;
        keep(d, file, FERRY_PATH_FILE, true, now_ms);
    }
    *real_out = ferry_slice(d->text, d->text_len + file.len);
    return 0;
}

int ferry_docroot_read(struct ferry_docroot *d, struct ferry_slice file)
{
    const char *name = relative(d, file);
    int fd;

    if (!name)
        return -ENOENT;
    fd = openat(d->fd, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    return fd < 0 ? -errno : fd;
}
