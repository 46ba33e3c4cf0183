/* SPDX-License-Identifier: MIT */
/*
 * A request's answer. Small writes gather in the request and become one record when the function of
 * the handler's that made them returns, or the gathering is full; large ones become records at
 * once.
 *
 * How much of one request's output still waits is not known exactly, since requests share the
 * connection's queue. It is at most what the request queued since it last had nothing waiting, and
 * at most what the whole connection has waiting; the smaller of both is what output_max bounds.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/app.h"
#include "http/http.h"

#define WIDE_MIN (192 << 10) /* bytes that wait from which a Unix socket's buffer is too small */
#define REF_MIN 1024         /* below this a copy is cheaper than a segment of its own */
#define STEP 65536           /* of one write that waits for the peer */

static size_t waiting(const struct ferry__peer *p)
{
    return atomic_load_explicit(&p->waiting, memory_order_relaxed);
}

static uint64_t sent(const struct ferry__peer *p)
{
    return atomic_load_explicit(&p->sent, memory_order_relaxed);
}

/* What it wrote that is not on its connection yet. */
static size_t behind(const struct ferry_request *r)
{
    return ferry__early_len(r) + r->shared.waiting + r->out_len;
}

size_t ferry__request_waiting(const struct ferry_request *r)
{
    return waiting(r->peer) + behind(r);
}

static size_t own_waiting(const struct ferry_request *r)
{
    size_t all = waiting(r->peer);
    uint64_t own = sent(r->peer) >= r->own_until ? 0 : r->own;

    return (own < all ? (size_t)own : all) + behind(r);
}

/* n bytes were queued: they have left when all that waits now has. */
static void queued(struct ferry_request *r, size_t n)
{
    ferry__peer_show(r->peer);
    if (sent(r->peer) >= r->own_until)
        r->own = 0;
    r->own += n;
    r->own_until = sent(r->peer) + waiting(r->peer);
    if (!r->peer->wide && waiting(r->peer) > WIDE_MIN) {
        r->peer->wide = true;
        ferry_stream_send_large(&r->peer->pump.stream);
    }
    ferry_pump_kick(&r->peer->pump);
}

static int fail(struct ferry_request *r, int err)
{
    if (!r->err)
        r->err = err;
    return r->err;
}

int ferry__request_queue(struct ferry_request *r, enum ferry_record_type stream,
                         struct ferry_block *b, struct ferry_slice bytes)
{
    bool early = ferry__early(r);
    int err = early ? ferry__early_put(r, stream, b, bytes)
                    : ferry_conn_write(r->peer->fcgi, r->id, stream, b, bytes);

    if (err < 0)
        return fail(r, err);
    if (!early)
        queued(r, bytes.len);
    return 0;
}

/* A copy towards the peer, from whichever thread has the request. */
static int put(struct ferry_request *r, enum ferry_record_type stream, struct ferry_slice bytes)
{
    int err;

    if (!r->detached)
        return ferry__request_queue(r, stream, NULL, bytes);
    err = ferry__detached_copy(r, stream, bytes);
    return err < 0 ? fail(r, err) : 0;
}

static void send_gathered(struct ferry_request *r)
{
    ferry_list_remove(&r->dirty);
    if (r->out_len && r->peer && !r->aborted && !r->err)
        put(r, FERRY_STDOUT, ferry_slice(r->out, r->out_len));
    r->out_len = 0;
}

void ferry__request_flush(struct ferry_request *r)
{
    ferry_list_remove(&r->dirty);
    /* A header block waits for its empty line: nobody can use a part of one, and HAProxy 2.6 dies
     * of it. */
    if (r->head == FERRY__HEAD_OPEN || r->head == FERRY__HEAD_RAW)
        return;
    if (r->out_len && r->peer && !r->aborted && !r->err)
        ferry__request_queue(r, FERRY_STDOUT, NULL, ferry_slice(r->out, r->out_len));
    r->out_len = 0;
}

/* Room for n bytes: at least one, and at most as many as gather. */
static char *gather(struct ferry_request *r, size_t n)
{
    if (sizeof r->out - r->out_len < n)
        send_gathered(r);
    if (!r->detached && ferry_list_empty(&r->dirty))
        ferry_list_push(&r->app->dirty, &r->dirty);
    r->out_len += n;
    return r->out + r->out_len - n;
}

static void add(struct ferry_request *r, struct ferry_slice bytes)
{
    if (bytes.len <= sizeof r->out)
        memcpy(gather(r, bytes.len), bytes.p, bytes.len);
    else {
        send_gathered(r);
        if (!r->err)
            put(r, FERRY_STDOUT, bytes);
    }
}

static bool is_blocking(const struct ferry_request *r)
{
    return r->detached && r->shared.blocking;
}

/* May n more bytes be written? */
static int check(struct ferry_request *r, size_t n)
{
    size_t waits;

    if (is_blocking(r))
        ferry__detached_await_room(r);
    if (r->err)
        return r->err;
    if (r->aborted || !r->peer)
        return fail(r, FERRY_EABORTED);
    if (is_blocking(r) && !ferry__early(r))
        return 0;
    waits = own_waiting(r);
    if (waits > r->app->opts.output_max || n > r->app->opts.output_max - waits)
        return fail(r, FERRY_ELIMIT);
    return 0;
}

static int taken(struct ferry_request *r)
{
    if (r->err)
        return r->err;
    if (r->detached)
        ferry__detached_post(r);
    if (ferry__request_waiting(r) < r->app->opts.output_mark || is_blocking(r))
        return 1;
    if (r->detached)
        return 0;
    if (ferry_list_empty(&r->writer))
        ferry_list_push(&r->peer->writers, &r->writer);
    return 0;
}

void ferry__peer_wake(struct ferry__peer *p)
{
    struct ferry_list *l;

    if (waiting(p) > p->app->opts.output_mark / 2)
        return;
    while ((l = ferry_list_first(&p->writers))) {
        ferry_list_remove(l);
        ferry__request_poke(ferry_container(l, struct ferry_request, writer), FERRY__POKE_WRITABLE);
    }
}

void ferry_request_on_writable(struct ferry_request *r, ferry_request_fn fn)
{
    ferry__request_waits(r, &r->on_writable, fn);
}

/* -- the header block
 * ------------------------------------------------------------------------------------------------
 */

static bool is_token(const char *s)
{
    static const char others[] = "!#$%&'*+-.^_`|~";

    if (!*s)
        return false;
    for (; *s; s++)
        if (!((*s >= '0' && *s <= '9') || (*s >= 'A' && *s <= 'Z') || (*s >= 'a' && *s <= 'z') ||
              strchr(others, *s)))
            return false;
    return true;
}

static int header(struct ferry_request *r, struct ferry_slice prefix, struct ferry_slice name,
                  struct ferry_slice value)
{
    int err;

    ferry__request_lock(r);
    err = check(r, prefix.len + name.len + value.len + 4);
    if (err == 0) {
        r->head = FERRY__HEAD_OPEN;
        if (prefix.len)
            add(r, prefix);
        add(r, name);
        add(r, FERRY_SLICE(": "));
        if (value.len)
            add(r, value);
        add(r, FERRY_SLICE("\r\n"));
        err = r->err;
    }
    ferry__request_unlock(r);
    return err;
}

int ferry_request_header(struct ferry_request *r, const char *name, const char *value)
{
    struct ferry_slice n = ferry_slice_z(name), v = ferry_slice_z(value);

    if (r->head >= FERRY__HEAD_RAW || !is_token(name) || strpbrk(value, "\r\n"))
        return FERRY_EUSAGE;
    if (ferry_slice_eq_nocase(n, FERRY_SLICE("Content-Type")))
        r->type_set = true;
    return header(r, FERRY_SLICE(""), n, v);
}

int ferry_request_variable(struct ferry_request *r, const char *name, const char *value)
{
    if (r->role != FERRY_AUTHORIZER || r->head >= FERRY__HEAD_RAW || !is_token(name) ||
        strpbrk(value, "\r\n"))
        return FERRY_EUSAGE;
    return header(r, FERRY_SLICE("Variable-"), ferry_slice_z(name), ferry_slice_z(value));
}

int ferry_request_status(struct ferry_request *r, int status)
{
    char text[80];
    int n;

    if (r->head >= FERRY__HEAD_RAW || r->status_set || status < 100 || status > 999)
        return FERRY_EUSAGE;
    r->status_set = true;
    n = snprintf(text, sizeof text, "%d %s", status, ferry_http_reason(status));
    return header(r, FERRY_SLICE(""), FERRY_SLICE("Status"), ferry_slice(text, (size_t)n));
}

int ferry_request_raw(struct ferry_request *r)
{
    if (r->head != FERRY__HEAD_NONE)
        return FERRY_EUSAGE;
    ferry__request_lock(r);
    r->head = FERRY__HEAD_RAW;
    r->line_is_empty = true;
    ferry__request_unlock(r);
    return 0;
}

/* RFC 3875 section 4.3.3: no content for HEAD. Servers should drop it, but HAProxy answers 502 and
 * h2o sends it. */
static void head_closed(struct ferry_request *r)
{
    struct ferry_slice method = ferry_request_param(r, "REQUEST_METHOD");

    r->head = FERRY__HEAD_CLOSED;
    r->drops_content = method.len == 4 && memcmp(method.p, "HEAD", 4) == 0;
}

static void close_head(struct ferry_request *r, bool content)
{
    if (r->head >= FERRY__HEAD_RAW || (r->head == FERRY__HEAD_NONE && !content))
        return;
    if (content && !r->type_set)
        add(r, FERRY_SLICE("Content-Type: text/plain; charset=utf-8\r\n"));
    head_closed(r);
    add(r, FERRY_SLICE("\r\n"));
}

/* How many of these bytes belong to a header block that the handler writes. */
static size_t raw_head(struct ferry_request *r, struct ferry_slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] == '\n' && r->line_is_empty) {
            head_closed(r);
            return i + 1;
        }
        r->line_is_empty = s.p[i] == '\n' || (s.p[i] == '\r' && r->line_is_empty);
    }
    return s.len;
}

/* Ends the header block, or takes these bytes for it. What is left of them is content. */
static struct ferry_slice begin_content(struct ferry_request *r, struct ferry_slice s)
{
    close_head(r, true);
    if (r->head == FERRY__HEAD_RAW) {
        size_t n = raw_head(r, s);

        add(r, ferry_slice(s.p, n));
        s = ferry_slice(s.p + n, s.len - n);
    }
    return r->drops_content ? ferry_slice(s.p, 0) : s;
}

/* -- the content
 * ------------------------------------------------------------------------------------------------
 */

int ferry_request_write(struct ferry_request *r, const void *bytes, size_t n)
{
    struct ferry_slice rest = ferry_slice(bytes, n), part, content;
    int err;

    ferry__request_lock(r);
    do {
        part = ferry_slice_first(rest, is_blocking(r) ? STEP : SIZE_MAX);
        err = check(r, part.len);
        if (err == 0 && part.len) {
            content = begin_content(r, part);
            if (content.len)
                add(r, content);
        }
        rest = ferry_slice_from(rest, part.len);
    } while (err == 0 && rest.len);
    if (err == 0)
        err = taken(r);
    ferry__request_unlock(r);
    return err;
}

/* Queues bytes that stay where they are, and takes the piece that stands for them; without one they
 * are static. */
static void put_ref(struct ferry_request *r, struct ferry__piece *piece, struct ferry_slice bytes)
{
    struct ferry_slice content = begin_content(r, bytes);

    if (content.len)
        send_gathered(r);
    if (r->err)
        content.len = 0;
    if (r->detached) {
        piece->stream = FERRY_STDOUT;
        piece->bytes = content;
        ferry__detached_push(r, piece);
        return;
    }
    if (content.len)
        ferry__request_queue(r, FERRY_STDOUT, piece ? &piece->block : &r->app->static_block,
                             content);
    if (piece)
        ferry_block_unref(&piece->block);
}

int ferry_request_write_ref(struct ferry_request *r, const void *bytes, size_t n,
                            void (*release)(void *arg), void *arg)
{
    struct ferry__piece *piece = NULL;
    int err;

    if (n < REF_MIN) {
        err = ferry_request_write(r, bytes, n);
    } else {
        ferry__request_lock(r);
        err = check(r, 0);
        if (err == 0 && (release || r->detached)) {
            piece = ferry__piece_new(0);
            err = piece ? 0 : fail(r, -ENOMEM);
        }
        if (err == 0) {
            if (piece) {
                piece->release = release;
                piece->arg = arg;
                release = NULL;
            }
            put_ref(r, piece, ferry_slice(bytes, n));
            err = taken(r);
        }
        ferry__request_unlock(r);
    }
    if (release)
        release(arg);
    return err;
}

static int fail_locked(struct ferry_request *r, int err)
{
    ferry__request_lock(r);
    err = fail(r, err);
    ferry__request_unlock(r);
    return err;
}

/* Formats into `small` or into memory of its own, which the caller frees when *text is not `small`.
 */
static int format_text(struct ferry_request *r, const char *format, va_list args, char *small,
                       size_t cap, char **text)
{
    va_list again;
    int n;

    va_copy(again, args);
    n = vsnprintf(small, cap, format, args);
    *text = small;
    if (n < 0) {
        n = fail_locked(r, FERRY_EUSAGE);
    } else if ((size_t)n >= cap) {
        *text = malloc((size_t)n + 1);
        if (!*text) {
            *text = small;
            n = fail_locked(r, -ENOMEM);
        } else {
            vsnprintf(*text, (size_t)n + 1, format, again);
        }
    }
    va_end(again);
    return n;
}

int ferry_request_printf(struct ferry_request *r, const char *format, ...)
{
    char small[1024], *text;
    va_list args;
    int n;

    va_start(args, format);
    n = format_text(r, format, args, small, sizeof small, &text);
    va_end(args);
    if (n >= 0)
        n = ferry_request_write(r, text, (size_t)n);
    if (text != small)
        free(text);
    return n;
}

int ferry_request_log(struct ferry_request *r, const char *format, ...)
{
    char small[1024], *text;
    va_list args;
    int n;

    va_start(args, format);
    n = format_text(r, format, args, small, sizeof small, &text);
    va_end(args);
    if (n >= 0) {
        int err;

        text[n++] = '\n'; /* where its NUL stood */
        ferry__request_lock(r);
        err = check(r, (size_t)n);
        if (err == 0)
            err = put(r, FERRY_STDERR, ferry_slice(text, (size_t)n));
        n = err < 0 ? err : taken(r);
        ferry__request_unlock(r);
    }
    if (text != small)
        free(text);
    return n;
}

/* -- the end
 * ------------------------------------------------------------------------------------------------
 */

void ferry__request_end(struct ferry_request *r)
{
    struct ferry__peer *p = r->peer;
    int err;

    if (!p)
        return;
    if (!r->aborted && !r->err)
        close_head(r, false);
    send_gathered(r);
    err = ferry_conn_end(p->fcgi, r->id, (uint32_t)r->app_status, FERRY_REQUEST_COMPLETE);
    (void)err; /* a connection in trouble says so at its next event */
    ferry__peer_show(p);
    ferry_pump_kick(&p->pump);
}
