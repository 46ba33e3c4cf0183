/* SPDX-License-Identifier: MIT */
/*
 * The streams of an exchange to the application: STDIN and, of a filter, DATA behind it.
 *
 * What is written is kept, in memory and then in an unlinked file, until a connection stands, and
 * longer while it is short: then the request can be sent again when a kept connection turns out to
 * be stale. A body that outgrows that passes through as fast as the application reads, and can't be
 * sent again.
 */
#include <errno.h>
#include <unistd.h>

#include "client/exchange.h"

#define MEMORY_MAX 131072 /* kept in memory; what has come further can't be sent again */
#define UNSENT_MAX 262144 /* queued at the connection before the owner is told to wait */
#define CHUNK_MAX 65536

static void sending_init(struct ferry__sending *s, struct ferry_loop *loop)
{
    ferry_spool_init(&s->kept, ferry_loop_blocks(loop), MEMORY_MAX, UINT64_MAX);
    s->fd = -1;
}

void ferry__exchange_body_init(struct ferry_exchange *x)
{
    sending_init(&x->in, x->loop);
    sending_init(&x->data, x->loop);
}

static void sending_fini(struct ferry__sending *s)
{
    ferry_spool_fini(&s->kept);
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

void ferry__exchange_body_fini(struct ferry_exchange *x)
{
    sending_fini(&x->in);
    sending_fini(&x->data);
}

bool ferry__exchange_is_bare(const struct ferry_exchange *x)
{
    return x->role != FERRY_FILTER && x->in.ended && x->in.kept.len == 0;
}

bool ferry__exchange_is_long(const struct ferry_exchange *x)
{
    return x->role == FERRY_FILTER || x->in.kept.len > FERRY__SHARED_BODY_MAX ||
           (!x->in.ended && !x->short_body);
}

/* -- to the connection -- */

static int put(struct ferry_exchange *x, struct ferry__sending *s, struct ferry_block *b,
               struct ferry_slice bytes)
{
    return s == &x->in ? ferry_call_write(&x->call, b, bytes)
                       : ferry_call_write_data(&x->call, b, bytes);
}

static ssize_t read_file(struct ferry_exchange *x, struct ferry__sending *s, struct ferry_block **b,
                         struct ferry_slice *out)
{
    uint64_t rest = s->file_len - s->file_at;
    size_t n = rest < CHUNK_MAX ? (size_t)rest : CHUNK_MAX;
    ssize_t got;

    if (n == 0)
        return 0;
    *b = ferry_block_get(ferry_loop_blocks(x->loop), n);
    if (!*b)
        return -ENOMEM;
    do
        got = pread(s->fd, (*b)->data, n, (off_t)(s->off + (int64_t)s->file_at));
    while (got < 0 && errno == EINTR);
    if (got > 0) {
        s->file_at += (uint64_t)got;
        *out = ferry_slice((*b)->data, (size_t)got);
        return got;
    }
    got = got == 0 ? FERRY_ECUT : -errno;
    ferry_block_unref(*b);
    return got;
}

/* Moves what was kept to the connection as far as that has room: 1 when that was all, 0, or an
 * error of ours. */
static int drain(struct ferry_exchange *x, struct ferry__sending *s)
{
    struct ferry_block *b;
    struct ferry_slice bytes;
    ssize_t n;

    while (ferry_call_unsent(&x->call) < UNSENT_MAX) {
        n = s->fd >= 0 ? read_file(x, s, &b, &bytes)
                       : ferry_spool_read(&s->kept, CHUNK_MAX, &b, &bytes);
        if (n <= 0)
            return n == 0 ? 1 : (int)n;
        put(x, s, b, bytes);
        ferry_block_unref(b);
    }
    return 0;
}

static bool has_room(const struct ferry_exchange *x, const struct ferry__sending *s)
{
    if (!ferry_call_is_running(&x->call) || (s == &x->data && !x->in.end_sent))
        return s->kept.len - s->kept.at < MEMORY_MAX;
    return s->kept.at == s->kept.len && ferry_call_unsent(&x->call) < UNSENT_MAX;
}

/* Is the stream sent to its end? */
static bool pump_one(struct ferry_exchange *x, struct ferry__sending *s)
{
    int r;

    if (s->end_sent)
        return true;
    r = drain(x, s);
    if (r < 0) {
        ferry__exchange_fail(x, FERRY_RESULT_CANCELLED, r,
                             s->fd >= 0 ? "the file could not be read to its end"
                                        : "the body could not be read back");
        return false;
    }
    if (s->waited && !s->ended && has_room(x, s)) {
        s->waited = false;
        x->tell_writable = true;
        ferry__exchange_settle_later(x);
    }
    if (r == 0 || !s->ended)
        return false;
    s->end_sent = true;
    if (s == &x->in)
        ferry_call_write_end(&x->call);
    else
        ferry_call_write_data_end(&x->call);
    return true;
}

static void pump(struct ferry_exchange *x)
{
    if (x->state != FERRY__EXCHANGE_CALLING || !ferry_call_is_running(&x->call))
        return;
    if (pump_one(x, &x->in) && x->role == FERRY_FILTER)
        pump_one(x, &x->data);
}

static void rewind_one(struct ferry__sending *s)
{
    ferry_spool_rewind(&s->kept);
    s->file_at = 0;
    s->end_sent = false;
}

void ferry__exchange_started(struct ferry_call *call)
{
    struct ferry_exchange *x = ferry_container(call, struct ferry_exchange, call);

    rewind_one(&x->in);
    rewind_one(&x->data);
    pump(x);
}

void ferry__exchange_writable(struct ferry_call *call)
{
    pump(ferry_container(call, struct ferry_exchange, call));
}

/* -- from the owner -- */

static int may_write(const struct ferry_exchange *x, const struct ferry__sending *s)
{
    if (x->state > FERRY__EXCHANGE_CALLING)
        return FERRY_ECLOSED;
    if (s == &x->data && x->role != FERRY_FILTER)
        return FERRY_EUSAGE;
    return s->ended ? FERRY_EUSAGE : 0;
}

/* It goes on at once; nothing of this stream waits, and STDIN is sent when it is DATA's. */
static bool passes_through(const struct ferry_exchange *x, const struct ferry__sending *s, size_t n)
{
    return ferry_call_is_running(&x->call) && s->kept.at == s->kept.len &&
           (!x->call.replayable || s->kept.len + n > MEMORY_MAX) && (s == &x->in || x->in.end_sent);
}

static int write_to(struct ferry_exchange *x, struct ferry__sending *s, struct ferry_slice bytes)
{
    int r = may_write(x, s);

    if (r < 0)
        return r;
    if (!x->call.replayable && x->state == FERRY__EXCHANGE_CALLING && s->kept.at == s->kept.len)
        ferry_spool_fini(&s->kept); /* nobody will want it again */
    if (passes_through(x, s, bytes.len)) {
        x->call.replayable = false;
        r = put(x, s, NULL, bytes);
    } else {
        r = ferry_spool_append(&s->kept, bytes);
        if (r == 0)
            pump(x);
    }
    if (r < 0)
        return r;
    s->waited = !has_room(x, s);
    return !s->waited;
}

static int end(struct ferry_exchange *x, struct ferry__sending *s)
{
    int r = may_write(x, s);

    if (r < 0)
        return r;
    s->ended = true;
    s->waited = false;
    pump(x);
    return 0;
}

int ferry_exchange_write(struct ferry_exchange *x, const void *p, size_t n)
{
    return write_to(x, &x->in, ferry_slice(p, n));
}

int ferry_exchange_end(struct ferry_exchange *x)
{
    return end(x, &x->in);
}

int ferry_exchange_write_data(struct ferry_exchange *x, const void *p, size_t n)
{
    return write_to(x, &x->data, ferry_slice(p, n));
}

int ferry_exchange_end_data(struct ferry_exchange *x)
{
    return end(x, &x->data);
}

int ferry_exchange_data_file(struct ferry_exchange *x, int fd, int64_t off, uint64_t len)
{
    int r = may_write(x, &x->data);

    if (r == 0 && (fd < 0 || off < 0 || len > INT64_MAX - (uint64_t)off || x->data.kept.len > 0))
        r = FERRY_EUSAGE;
    if (r < 0) {
        if (fd >= 0)
            close(fd);
        return r;
    }
    x->data.fd = fd;
    x->data.off = off;
    x->data.file_len = len;
    x->data.file_at = 0;
    return end(x, &x->data);
}
