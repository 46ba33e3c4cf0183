/* SPDX-License-Identifier: MIT */
/*
 * A raw FastCGI connection for conformance cases. The socket is non-blocking and every wait is a
 * poll with a deadline, so that no peer, however wrong, can hold a case for ever.
 */
#include "check/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check/check.h"
#include "ferry/record.h"

struct bytes {
    unsigned char *p;
    size_t at, len, cap; /* [at, len) is what is there */
};

struct ferry_wire {
    struct ferry_wire *next;
    struct ferry_check *check;
    int fd;
    unsigned number;
    struct bytes in, out;
    size_t given;      /* of `in`, to the reader of the last record */
    int end;           /* 1 while more may come; else what reads return: 0 or -errno */
    bool end_noted;    /* in the transcript */
    bool quiet;        /* what is put is not noted */
    uint64_t received; /* in all */
};

static const char *ours(const struct ferry_wire *w)
{
    return w->check->suite->ours;
}

static const char *theirs(const struct ferry_wire *w)
{
    return w->check->suite->theirs;
}

/* The number to show: none as long as there is only one. */
static unsigned shown(const struct ferry_wire *w)
{
    return w->check->nwires > 1 ? w->number : 0;
}

struct ferry_wire *ferry_wire_adopt(struct ferry_check *c, int fd)
{
    struct ferry_wire *w = calloc(1, sizeof *w);

    if (!w) {
        close(fd);
        ferry_check_skip(c, "no memory is left");
    }
    *w = (struct ferry_wire){
        .next = c->wires, .check = c, .fd = fd, .number = ++c->nwires, .end = 1};
    c->wires = w;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    return w;
}

/* Waits for one thing: > 0 what poll saw; 0 after the deadline. */
static int wait_for(int fd, short events, uint64_t deadline)
{
    struct pollfd p = {.fd = fd, .events = events};

    for (;;) {
        uint64_t now = ferry_check_now();
        int n = poll(&p, 1, now < deadline ? (int)(deadline - now) : 0);

        if (n > 0)
            return p.revents;
        if (n == 0 || errno != EINTR)
            return 0;
    }
}

static int connect_by(int fd, const struct ferry_addr *addr, uint64_t deadline)
{
    int err = 0;
    socklen_t len = sizeof err;

    while (connect(fd, &addr->any, addr->len) < 0) {
        if (errno == EINPROGRESS) {
            if (!wait_for(fd, POLLOUT, deadline))
                return -ETIMEDOUT;
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len);
            return -err;
        }
        /* The backlog of a unix socket is full: nothing tells when it no longer is. */
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        if (ferry_check_now() >= deadline)
            return -ETIMEDOUT;
        usleep(5000);
    }
    return 0;
}

struct ferry_wire *ferry_wire_try(struct ferry_check *c, const struct ferry_addr *addr)
{
    int fd = socket(addr->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int err = fd < 0 ? -errno : connect_by(fd, addr, ferry_check_now() + c->opts->timeout_ms);

    if (err < 0) {
        if (fd >= 0)
            close(fd);
        ferry_talk_note(&c->talk, c->suite->ours, 0, "(cannot connect: %s)", ferry_strerror(err));
        errno = -err;
        return NULL;
    }
    return ferry_wire_adopt(c, fd);
}

/* -- bytes ------------------------------------------------------------------------------------ */

static void room_for(struct ferry_wire *w, struct bytes *b, size_t n)
{
    size_t cap = b->cap ? b->cap : 4096;
    unsigned char *p;

    if (b->at && b->cap - b->len < n) {
        memmove(b->p, b->p + b->at, b->len - b->at);
        b->len -= b->at;
        b->at = 0;
    }
    while (cap - b->len < n)
        cap *= 2;
    if (cap == b->cap)
        return;
    p = realloc(b->p, cap);
    if (!p)
        ferry_check_skip(w->check, "no memory is left");
    b->p = p;
    b->cap = cap;
}

static void append(struct ferry_wire *w, const void *p, size_t n)
{
    room_for(w, &w->out, n);
    if (n)
        memcpy(w->out.p + w->out.len, p, n);
    w->out.len += n;
}

/* -- sending ---------------------------------------------------------------------------------- */

void ferry_wire_put_bytes(struct ferry_wire *w, const void *p, size_t n)
{
    if (!w->quiet)
        ferry_talk_bytes(&w->check->talk, ours(w), shown(w), p, n);
    append(w, p, n);
}

void ferry_wire_put(struct ferry_wire *w, const struct ferry_wire_record *r, uint8_t fill)
{
    unsigned char header[8] = {r->version,
                               r->type,
                               (unsigned char)(r->id >> 8),
                               (unsigned char)r->id,
                               (unsigned char)(r->content_len >> 8),
                               (unsigned char)r->content_len,
                               r->padding_len,
                               r->reserved};
    unsigned char padding[255];

    if (!w->quiet)
        ferry_talk_record(&w->check->talk, ours(w), shown(w), r);
    append(w, header, sizeof header);
    if (!r->content && r->content_len)
        return;
    append(w, r->content, r->content_len);
    memset(padding, fill, sizeof padding);
    append(w, padding, r->padding_len);
}

void ferry_wire_put_record(struct ferry_wire *w, unsigned type, uint16_t id, const void *content,
                           size_t n)
{
    struct ferry_wire_record r = {.version = FERRY_RECORD_VERSION,
                                  .type = (uint8_t)type,
                                  .id = id,
                                  .content_len = (uint16_t)n,
                                  .padding_len = ferry_record_padding(n),
                                  .content = n ? content : NULL};

    ferry_wire_put(w, &r, 0);
}

void ferry_wire_put_stream(struct ferry_wire *w, unsigned type, uint16_t id, const void *content,
                           size_t n)
{
    const unsigned char *p = content;

    while (n) {
        size_t now = n < 65528 ? n : 65528; /* which needs no padding */

        ferry_wire_put_record(w, type, id, p, now);
        p += now;
        n -= now;
    }
}

void ferry_wire_put_quietly(struct ferry_wire *w, const char *text)
{
    w->quiet = text != NULL;
    if (text)
        ferry_talk_note(&w->check->talk, ours(w), shown(w), "%s", text);
}

size_t ferry_wire_waiting(const struct ferry_wire *w)
{
    return w->out.len - w->out.at;
}

void ferry_wire_cut(struct ferry_wire *w, size_t n)
{
    size_t waiting = ferry_wire_waiting(w);

    if (n >= waiting)
        return;
    w->out.len -= waiting - n;
    if (!w->quiet)
        ferry_talk_note(&w->check->talk, ours(w), shown(w), "(cut %zu bytes before that end)",
                        waiting - n);
}

/* Takes in what is there now. False when that is the end. */
static bool take_in(struct ferry_wire *w)
{
    ssize_t n;

    if (w->end != 1 || w->fd < 0)
        return false;
    if (w->in.len - w->in.at >= FERRY_WIRE_IN_MAX) {
        w->end = FERRY_ELIMIT;
        return false;
    }
    room_for(w, &w->in, 65536);
    n = recv(w->fd, w->in.p + w->in.len, w->in.cap - w->in.len, 0);
    if (n > 0) {
        w->in.len += (size_t)n;
        w->received += (uint64_t)n;
    } else if (n == 0) {
        w->end = 0;
    } else if (errno != EAGAIN && errno != EINTR) {
        w->end = errno == EPIPE ? -ECONNRESET : -errno;
    }
    return w->end == 1;
}

/* The first `most` bytes of what was put. */
static int send_by(struct ferry_wire *w, size_t most, uint64_t deadline)
{
    while (most) {
        ssize_t n = w->fd < 0 ? -1 : send(w->fd, w->out.p + w->out.at, most, MSG_NOSIGNAL);
        int seen;

        if (n >= 0) {
            w->out.at += (size_t)n;
            most -= (size_t)n;
            deadline = ferry_check_now() + w->check->opts->timeout_ms;
            continue;
        }
        if (w->fd < 0)
            return -EPIPE;
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return errno == EPIPE ? -EPIPE : -ECONNRESET;
        /* While its answer waits to be read it may not read either. */
        seen = wait_for(w->fd, (short)(POLLOUT | (w->end == 1 ? POLLIN : 0)), deadline);
        if (!seen)
            return -ETIMEDOUT;
        if (seen & POLLIN)
            take_in(w);
    }
    return 0;
}

static int sent(struct ferry_wire *w, int err)
{
    if (err == -ETIMEDOUT)
        ferry_talk_note(&w->check->talk, theirs(w), shown(w), "(takes nothing for %u ms)",
                        w->check->opts->timeout_ms);
    else if (err < 0)
        ferry_talk_note(&w->check->talk, theirs(w), shown(w), "(has closed: %s)",
                        ferry_strerror(err));
    if (err < 0 || w->out.at == w->out.len)
        w->out.at = w->out.len = 0;
    return err;
}

int ferry_wire_flush_some(struct ferry_wire *w, size_t n)
{
    size_t waiting = ferry_wire_waiting(w);

    return sent(
        w, send_by(w, n < waiting ? n : waiting, ferry_check_now() + w->check->opts->timeout_ms));
}

int ferry_wire_flush(struct ferry_wire *w)
{
    return ferry_wire_flush_some(w, ferry_wire_waiting(w));
}

int ferry_wire_flush_pieces(struct ferry_wire *w, size_t piece, unsigned pause_us)
{
    int err = 0;

    ferry_talk_note(&w->check->talk, ours(w), shown(w), "(all that in pieces of %zu byte%s)", piece,
                    piece == 1 ? "" : "s");
    while (err == 0 && ferry_wire_waiting(w)) {
        err = ferry_wire_flush_some(w, piece);
        if (pause_us)
            usleep(pause_us);
    }
    return err;
}

/* -- the end ---------------------------------------------------------------------------------- */

void ferry_wire_shutdown(struct ferry_wire *w)
{
    ferry_talk_note(&w->check->talk, ours(w), shown(w), "(ends its direction)");
    shutdown(w->fd, SHUT_WR);
}

static void close_it(struct ferry_wire *w)
{
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
    w->out.at = w->out.len = 0;
    if (w->end == 1)
        w->end = 0;
    w->end_noted = true;
}

void ferry_wire_close(struct ferry_wire *w)
{
    ferry_talk_note(&w->check->talk, ours(w), shown(w), "(closes)");
    close_it(w);
}

void ferry_wire_reset(struct ferry_wire *w)
{
    struct linger now = {.l_onoff = 1};

    ferry_talk_note(&w->check->talk, ours(w), shown(w), "(resets the connection)");
    setsockopt(w->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close_it(w);
}

void ferry_wire_close_all(struct ferry_check *c)
{
    while (c->wires) {
        struct ferry_wire *w = c->wires;

        c->wires = w->next;
        if (w->fd >= 0)
            close(w->fd);
        free(w->in.p);
        free(w->out.p);
        free(w);
    }
}

/* -- receiving -------------------------------------------------------------------------------- */

static size_t have(const struct ferry_wire *w)
{
    return w->in.len - w->in.at;
}

/* At least n bytes in `in`: 1; else why not. */
static int need(struct ferry_wire *w, size_t n, uint64_t deadline)
{
    while (have(w) < n) {
        if (w->end != 1)
            return w->end;
        if (!wait_for(w->fd, POLLIN, deadline))
            return -ETIMEDOUT;
        take_in(w);
    }
    return 1;
}

static int note_end(struct ferry_wire *w, int end, unsigned ms)
{
    struct ferry_talk *talk = &w->check->talk;

    if (end != -ETIMEDOUT && w->end_noted)
        return end;
    if (have(w))
        ferry_talk_bytes(talk, theirs(w), shown(w), w->in.p + w->in.at, have(w));
    if (end == -ETIMEDOUT)
        ferry_talk_note(talk, theirs(w), shown(w), "(nothing for %u ms)", ms);
    else if (end == 0 || end == FERRY_ECUT)
        ferry_talk_note(talk, theirs(w), shown(w), "(closes)");
    else
        ferry_talk_note(talk, theirs(w), shown(w), "(%s)", ferry_strerror(end));
    w->end_noted = end != -ETIMEDOUT;
    return end;
}

int ferry_wire_read(struct ferry_wire *w, struct ferry_wire_record *out, unsigned ms)
{
    uint64_t deadline;
    const unsigned char *h;
    int err;

    ms = ms ? ms : w->check->opts->timeout_ms;
    deadline = ferry_check_now() + ms;
    w->in.at += w->given;
    w->given = 0;
    err = need(w, 1, deadline);
    if (err == 1 && w->in.p[w->in.at] == FERRY_RECORD_VERSION)
        err = need(w, FERRY_RECORD_HEADER_LEN, deadline);
    if (err == 1 && w->in.p[w->in.at] != FERRY_RECORD_VERSION) {
        *out = (struct ferry_wire_record){.version = w->in.p[w->in.at]};
        ferry_talk_bytes(&w->check->talk, theirs(w), shown(w), w->in.p + w->in.at, have(w));
        w->given = have(w);
        return FERRY_EPROTOCOL;
    }
    if (err != 1)
        return note_end(w, err == 0 && have(w) ? FERRY_ECUT : err, ms);
    h = w->in.p + w->in.at;
    *out = (struct ferry_wire_record){.version = h[0],
                                      .type = h[1],
                                      .id = (uint16_t)(h[2] << 8 | h[3]),
                                      .content_len = (uint16_t)(h[4] << 8 | h[5]),
                                      .padding_len = h[6],
                                      .reserved = h[7]};
    w->given = FERRY_RECORD_HEADER_LEN + (size_t)out->content_len + out->padding_len;
    err = need(w, w->given, deadline);
    if (err != 1) {
        w->given = 0;
        return note_end(w, err == 0 ? FERRY_ECUT : err, ms);
    }
    out->content = w->in.p + w->in.at + FERRY_RECORD_HEADER_LEN;
    ferry_talk_record(&w->check->talk, theirs(w), shown(w), out);
    return 1;
}

const char *ferry_wire_said(int result)
{
    switch (result) {
    case 1:
        return "a record";
    case 0:
        return "the end of the connection";
    case -ETIMEDOUT:
        return "nothing";
    case -ECONNRESET:
    case -EPIPE:
        return "a reset of the connection";
    case FERRY_ECUT:
        return "the end of the connection inside of a record";
    case FERRY_EPROTOCOL:
        return "bytes that are no FastCGI 1 record";
    case FERRY_ELIMIT:
        return "more than is kept";
    default:
        return ferry_strerror(result);
    }
}

bool ferry_wire_stirs(struct ferry_wire *w, unsigned ms)
{
    if (have(w) > w->given || w->end != 1)
        return true;
    return wait_for(w->fd, POLLIN, ferry_check_now() + ms) != 0;
}

uint64_t ferry_wire_drain(struct ferry_wire *w, unsigned ms)
{
    uint64_t deadline = ferry_check_now() + ms;

    w->given = 0;
    while (w->end == 1 && wait_for(w->fd, POLLIN, deadline)) {
        w->in.at = w->in.len = 0;
        take_in(w);
    }
    w->in.at = w->in.len = 0;
    return w->received;
}

uint64_t ferry_wire_received(const struct ferry_wire *w)
{
    return w->received;
}

int ferry_wire_fd(const struct ferry_wire *w)
{
    return w->fd;
}

unsigned ferry_wire_number(const struct ferry_wire *w)
{
    return w->number;
}
