/* SPDX-License-Identifier: MIT */
/*
 * Streams, as far as both back ends have them in common: what an owner wants is written into the
 * flags, connecting and file ranges are plain non-blocking system calls, and a stream ends in one
 * place, from the due list, when the kernel has nothing of it any more.
 */
#include "io/stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/assert.h"
#include "io/backend.h"

#define IOV_MAX_NOW 64
#define FILE_AT_ONCE (1 << 20) /* so that one fast reader does not keep the loop */

static void init(struct ferry_loop *loop, struct ferry_stream *s,
                 const struct ferry_stream_fns *fns, int fd)
{
    *s = (struct ferry_stream){.loop = loop, .fns = fns, .fd = fd};
    ferry_list_init(&s->flush);
    ferry_list_init(&s->due);
}

int ferry_stream_open(struct ferry_loop *loop, struct ferry_stream *s,
                      const struct ferry_stream_fns *fns, int fd)
{
    int r;

    init(loop, s, fns, fd);
    r = loop->backend->stream_add(s);
    if (r < 0) {
        close(fd);
        s->fd = -1;
        return r;
    }
    ferry__stream_flush_later(s);
    return 0;
}

int ferry_stream_connect(struct ferry_loop *loop, struct ferry_stream *s,
                         const struct ferry_stream_fns *fns, const struct sockaddr *to,
                         socklen_t len)
{
    static const int on = 1;
    int fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), r;

    if (fd < 0)
        return -errno;
    if (to->sa_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    init(loop, s, fns, fd);
    r = connect(fd, to, len) < 0 ? -errno : 0;
    s->flags = r == -EINPROGRESS ? FERRY__CONNECTING : FERRY__CONNECTED;
    s->result = r;
    if (r == 0 || r == -EINPROGRESS) {
        r = loop->backend->stream_add(s);
        if (r < 0) {
            close(fd);
            s->fd = -1;
            return r;
        }
    }
    if (s->flags & FERRY__CONNECTED)
        ferry__stream_due(s);
    ferry__stream_flush_later(s);
    return 0;
}

void ferry_stream_read(struct ferry_stream *s, bool on)
{
    if (!(s->flags & FERRY__READING) == !on)
        return;
    s->flags ^= FERRY__READING;
    ferry__stream_flush_later(s);
}

void ferry_stream_read_large(struct ferry_stream *s, bool large)
{
    s->flags = large ? s->flags | FERRY__LARGE : s->flags & ~FERRY__LARGE;
}

void ferry_stream_send_large(struct ferry_stream *s)
{
    int domain = 0, room = 512 << 10;
    socklen_t len = sizeof domain;

    if (getsockopt(s->fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX)
        setsockopt(s->fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
}

void ferry_stream_errors_last(struct ferry_stream *s)
{
    s->flags |= FERRY__ERRORS_LAST;
}

void ferry_stream_send(struct ferry_stream *s, const struct ferry_chain *out)
{
    ferry_assert(!(s->flags & (FERRY__SENDING | FERRY__DETACHING)));
    ferry_assert(out->len > 0);
    if (s->flags & FERRY__CLOSING)
        return;
    s->flags |= FERRY__SENDING;
    s->out = out;
    ferry__stream_flush_later(s);
}

bool ferry_stream_is_sending(const struct ferry_stream *s)
{
    return s->flags & FERRY__SENDING;
}

void ferry_stream_shutdown(struct ferry_stream *s)
{
    ferry_assert(!(s->flags & FERRY__SENDING));
    if (!(s->flags & FERRY__CLOSING))
        shutdown(s->fd, SHUT_WR);
}

void ferry_stream_close(struct ferry_stream *s)
{
    if (s->flags & FERRY__CLOSING)
        return;
    s->flags = (s->flags | FERRY__CLOSING) & ~FERRY__READING;
    ferry__stream_flush_later(s);
}

void ferry_stream_reset(struct ferry_stream *s)
{
    s->flags |= FERRY__RESET;
    ferry_stream_close(s);
}

void ferry_stream_detach(struct ferry_stream *s)
{
    ferry_assert(!(s->flags & (FERRY__SENDING | FERRY__CONNECTING)));
    if (s->flags & FERRY__ENDING)
        return;
    s->flags = (s->flags | FERRY__DETACHING) & ~FERRY__READING;
    ferry__stream_flush_later(s);
}

int ferry__stream_send_flags(const struct ferry_stream *s, const struct iovec *iov, int n)
{
    uint64_t len = 0;

    /* A head and the file behind it share their first packet. */
    if (s->out->n <= (uint32_t)n)
        return MSG_NOSIGNAL;
    for (int i = 0; i < n; i++)
        len += iov[i].iov_len;
    return len < s->out->len ? MSG_NOSIGNAL | MSG_MORE : MSG_NOSIGNAL;
}

static ssize_t send_file(struct ferry_stream *s, const struct ferry_seg *seg)
{
    off_t off = (off_t)seg->off;
    ssize_t n =
        sendfile(s->fd, seg->fd, &off, seg->len < FILE_AT_ONCE ? (size_t)seg->len : FILE_AT_ONCE);

    if (n == 0)
        return -EIO;
    return n < 0 ? -errno : n;
}

/*
 * The C library's own functions are places where a thread can be cancelled, and saying so before
 * and after each call costs 5 % of all that a proxied request costs on epoll. Nobody cancels our
 * threads.
 */
ssize_t ferry__recv(int fd, void *to, size_t n)
{
    ssize_t r = syscall(SYS_recvfrom, fd, to, n, MSG_DONTWAIT, NULL, NULL);

    return r < 0 ? -errno : r;
}

static ssize_t send_memory(int fd, const struct msghdr *msg, int flags)
{
    const struct iovec *iov = msg->msg_iov;
    ssize_t r;

    if (msg->msg_iovlen == 1)
        r = syscall(SYS_sendto, fd, iov->iov_base, iov->iov_len, flags, NULL, 0);
    else
        r = syscall(SYS_sendmsg, fd, msg, flags);
    return r < 0 ? -errno : r;
}

ssize_t ferry__stream_send_now(struct ferry_stream *s)
{
    const struct ferry_seg *file = ferry_chain_file_first(s->out);
    struct iovec iov[IOV_MAX_NOW];
    struct msghdr msg = {.msg_iov = iov};
    int flags;

    if (file)
        return send_file(s, file);
    msg.msg_iovlen = (size_t)ferry_chain_iov(s->out, iov, IOV_MAX_NOW);
    flags = ferry__stream_send_flags(s, iov, (int)msg.msg_iovlen) | MSG_DONTWAIT;
    return send_memory(s->fd, &msg, flags);
}

static int socket_error(const struct ferry_stream *s)
{
    int err = 0;
    socklen_t len = sizeof err;

    if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
        return -errno;
    return -err;
}

void ferry__stream_connect_done(struct ferry_stream *s)
{
    s->flags &= ~(FERRY__CONNECTING | FERRY__CONNECTED);
    ferry__stream_flush_later(s);
    s->fns->connected(s, socket_error(s));
}

void ferry__stream_check_error(struct ferry_stream *s)
{
    int err = s->flags & FERRY__READ_OVER ? 0 : socket_error(s);

    if (err < 0)
        ferry__stream_tell_read(s, NULL, err);
}

/* Nothing to read and no end: a connection somebody else may go on with. */
static bool is_quiet(int fd)
{
    char c;

    return recv(fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

static void end(struct ferry_stream *s)
{
    static const struct linger none = {.l_onoff = 1};
    int fd = s->fd;

    ferry_list_remove(&s->flush);
    s->loop->backend->stream_remove(s);
    s->fd = -1;
    if (s->flags & FERRY__CLOSING) {
        if (s->flags & FERRY__RESET)
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
        close(fd);
        s->fns->closed(s);
        return;
    }
    if (s->flags & FERRY__SPOILED || !is_quiet(fd)) {
        close(fd);
        fd = -1;
    }
    s->fns->detached(s, fd);
}

void ferry__stream_deliver(struct ferry_stream *s)
{
    if (s->flags & FERRY__ENDED) {
        end(s);
        return;
    }
    if (s->flags & FERRY__ENDING)
        return;
    if (s->flags & FERRY__CONNECTED) {
        s->flags &= ~FERRY__CONNECTED;
        ferry__stream_flush_later(s); /* for what was asked for before */
        s->fns->connected(s, s->result);
        if (s->flags & FERRY__ENDING)
            return;
    }
    if (s->flags & FERRY__SENT) {
        ferry__stream_tell_sent(s, s->result);
        if (s->flags & FERRY__ENDING)
            return;
    }
    s->loop->backend->stream_deliver(s);
}
