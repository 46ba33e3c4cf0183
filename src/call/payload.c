/* SPDX-License-Identifier: MIT */
/* Bodies made of memory and files, read with pread so that many readers share one descriptor. */
#include "call/payload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY 65536

void ferry_payload_fini(struct ferry_payload *p)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->pieces[i].fd >= 0)
            close(p->pieces[i].fd);
    free(p->pieces);
    *p = (struct ferry_payload){0};
}

static int add(struct ferry_payload *p, const struct ferry_payload_piece *piece)
{
    size_t cap = p->cap ? p->cap * 2 : 8;
    void *grown;

    if (p->n == p->cap) {
        grown = realloc(p->pieces, cap * sizeof *p->pieces);
        if (!grown)
            return -ENOMEM;
        p->pieces = grown;
        p->cap = cap;
    }
    p->pieces[p->n] = *piece;
    p->pieces[p->n++].at = p->len;
    p->len += piece->len;
    return 0;
}

int ferry_payload_add(struct ferry_payload *p, struct ferry_slice text)
{
    if (!text.len)
        return 0;
    return add(p, &(struct ferry_payload_piece){.text = text, .fd = -1, .len = text.len});
}

static int unlinked_file(void)
{
    const char *dir = getenv("TMPDIR");
    int fd;

    dir = dir && *dir ? dir : "/tmp";
    fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    return fd < 0 ? -errno : fd;
}

static int write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t w = write(fd, p, n);

        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return -errno;
        p += w;
        n -= (size_t)w;
    }
    return 0;
}

/* Copies a pipe to its end: how much it was. */
static int64_t keep(int from, int to)
{
    char buf[COPY];
    uint64_t len = 0;
    ssize_t n;
    int err;

    for (;;) {
        n = read(from, buf, sizeof buf);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return (int64_t)len;
        len += (uint64_t)n;
        if (len > FERRY_PAYLOAD_PIPE_MAX)
            return FERRY_ELIMIT;
        err = write_all(to, buf, (size_t)n);
        if (err < 0)
            return err;
    }
}

/* Takes over *fd, and puts another in its place where it cannot be read from any place. */
static int measure(int *fd, uint64_t *len)
{
    struct stat st;
    int64_t kept;
    int file;

    if (fstat(*fd, &st) < 0)
        return -errno;
    if (S_ISDIR(st.st_mode))
        return -EISDIR;
    if (S_ISREG(st.st_mode) && lseek(*fd, 0, SEEK_CUR) == 0) {
        *len = (uint64_t)st.st_size;
        /* Files of /proc have no length until they are read. */
        if (st.st_size > 0)
            return 0;
    }
    file = unlinked_file();
    if (file < 0)
        return file;
    kept = keep(*fd, file);
    close(*fd);
    *fd = file;
    *len = (uint64_t)kept;
    return kept < 0 ? (int)kept : 0;
}

int ferry_payload_add_file(struct ferry_payload *p, const char *path)
{
    struct ferry_payload_piece piece = {.fd = -1};
    int err;

    if (strcmp(path, "-") == 0)
        piece.fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    else
        piece.fd = open(path, O_RDONLY | O_CLOEXEC);
    if (piece.fd < 0)
        return -errno;
    err = measure(&piece.fd, &piece.len);
    if (err == 0)
        err = add(p, &piece);
    if (err < 0)
        close(piece.fd);
    return err;
}

static ssize_t read_file(const struct ferry_payload_piece *piece, uint64_t at, void *out, size_t n)
{
    ssize_t r;

    do
        r = pread(piece->fd, out, n, (off_t)at);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        return -errno;
    return r == 0 ? FERRY_ECUT : r;
}

ssize_t ferry_payload_read(const struct ferry_payload *p, uint64_t at, void *out, size_t n)
{
    size_t have = 0;

    for (size_t i = 0; i < p->n && have < n; i++) {
        const struct ferry_payload_piece *piece = &p->pieces[i];
        uint64_t within = at + have - piece->at, left = piece->len - within;
        size_t some = left < n - have ? (size_t)left : n - have;
        ssize_t r = (ssize_t)some;

        if (within >= piece->len)
            continue;
        if (piece->fd < 0)
            memcpy((char *)out + have, piece->text.p + within, some);
        else
            r = read_file(piece, within, (char *)out + have, some);
        if (r < 0)
            return have ? (ssize_t)have : r;
        have += (size_t)r;
        if ((size_t)r < some)
            break;
    }
    return (ssize_t)have;
}
