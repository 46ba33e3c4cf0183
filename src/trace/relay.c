/* SPDX-License-Identifier: MIT */
/*
 * Each connection has two ends; what one reads is queued, by reference, at the other. settle()
 * looks at both after anything happened and does what is due, so no event needs to know what state
 * the other end is in.
 *
 *   end of reading, no error    queue of the other end sent, then shut down there: a half-close
 *   error of reading            queue of the other end sent, then that is reset
 *   error of sending            the queue is dropped; what that end still says is passed on first
 */
#include "trace/relay.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define QUEUE_MAX (256 << 10) /* bytes in one direction before reading stops */
#define CONNECT_MS 60000
#define AGAIN_MS 10

struct end {
    struct ferry_stream s;
    struct ferry_chain out;
    struct conn *conn;
    int err;        /* of reading */
    bool open;      /* `closed` is to come */
    bool connected; /* can send */
    bool reading, eof, broken, shut;
};

struct conn {
    struct ferry_relay_conn pub;
    struct ferry_relay *relay;
    struct ferry_list link;
    struct end ends[2]; /* by enum ferry_relay_side */
    struct ferry_timer again;
    uint64_t give_up_ms;
    bool closing;
};

struct ferry_relay {
    struct ferry_loop *loop;
    struct ferry_relay_opts opts;
    struct ferry_listener listener;
    struct ferry_list conns;
    uint64_t last_number;
    bool listening, draining, told;
};

static enum ferry_relay_side side_of(const struct end *e)
{
    return e == &e->conn->ends[FERRY_RELAY_APP] ? FERRY_RELAY_APP : FERRY_RELAY_SERVER;
}

static struct end *other(struct end *e)
{
    return &e->conn->ends[1 - side_of(e)];
}

static void maybe_drained(struct ferry_relay *r)
{
    if (!r->draining || r->told || r->listening || !ferry_list_empty(&r->conns))
        return;
    r->told = true;
    r->opts.fns->drained(r->opts.arg);
}

/* -- closing -- */

static void maybe_free(struct conn *c)
{
    struct ferry_relay *r = c->relay;

    if (!c->closing || c->ends[0].open || c->ends[1].open)
        return;
    ferry_timer_stop(&c->again);
    r->opts.fns->closed(r->opts.arg, &c->pub);
    for (size_t i = 0; i < 2; i++)
        ferry_chain_clear(&c->ends[i].out);
    ferry_list_remove(&c->link);
    free(c);
    maybe_drained(r);
}

/* Closes both ends; a reset where the other end had an error, or bytes are lost. */
static void close_conn(struct conn *c, int err)
{
    if (c->closing)
        return;
    c->closing = true;
    for (size_t i = 0; i < 2; i++) {
        struct end *e = &c->ends[i];

        if (!e->open)
            continue;
        if (err || e->out.len)
            ferry_stream_reset(&e->s);
        else
            ferry_stream_close(&e->s);
    }
    if (!c->ends[0].open && !c->ends[1].open)
        maybe_free(c);
}

/* -- what is due -- */

static void settle_reading(struct end *e)
{
    struct end *o = other(e);
    bool want = !e->eof && (o->broken || o->out.len < QUEUE_MAX);

    if (!e->open || !e->connected || want == e->reading)
        return;
    e->reading = want;
    ferry_stream_read(&e->s, want);
}

static void settle_sending(struct end *e)
{
    struct end *o = other(e);

    if (!e->open || !e->connected || e->broken || ferry_stream_is_sending(&e->s))
        return;
    if (e->out.len) {
        ferry_stream_send(&e->s, &e->out);
    } else if (o->eof && !o->err && !e->shut) {
        e->shut = true;
        ferry_stream_shutdown(&e->s);
    }
}

static bool is_sent(const struct end *e)
{
    return e->broken || e->out.len == 0;
}

static void settle(struct conn *c)
{
    struct ferry_relay *r = c->relay;

    if (c->closing)
        return;
    for (size_t i = 0; i < 2; i++) {
        struct end *e = &c->ends[i], *o = &c->ends[1 - i];
        bool gone = e->eof && (e->err || e->broken);

        if (gone && is_sent(o)) {
            close_conn(c, e->err ? e->err : -EPIPE);
            return;
        }
        settle_sending(e);
        settle_reading(e);
    }
    if (c->ends[0].eof && c->ends[1].eof && is_sent(&c->ends[0]) && is_sent(&c->ends[1]))
        close_conn(c, 0);
    else if (r->draining && !c->ends[0].out.len && !c->ends[1].out.len &&
             !r->opts.fns->busy(r->opts.arg, &c->pub))
        close_conn(c, 0);
}

/* -- events -- */

static struct end *end_of(struct ferry_stream *s)
{
    return ferry_container(s, struct end, s);
}

static void on_read(struct ferry_stream *s, struct ferry_block *b, const char *data, ssize_t n)
{
    struct end *e = end_of(s), *o = other(e);
    struct conn *c = e->conn;
    const struct ferry_relay_opts *opts = &c->relay->opts;

    if (n > 0) {
        opts->fns->bytes(opts->arg, &c->pub, side_of(e), data, (size_t)n);
        if (!o->broken)
            ferry_chain_ref(&o->out, b, ferry_slice(data, (size_t)n));
        if (o->out.err) {
            close_conn(c, o->out.err);
            return;
        }
    } else {
        e->eof = true;
        e->reading = false;
        e->err = (int)n;
        opts->fns->ended(opts->arg, &c->pub, side_of(e), e->err);
    }
    settle(c);
}

static void on_sent(struct ferry_stream *s, ssize_t n)
{
    struct end *e = end_of(s);

    if (n < 0) {
        e->broken = true;
        ferry_chain_clear(&e->out);
    } else {
        ferry_chain_consume(&e->out, (uint64_t)n);
    }
    settle(e->conn);
}

static void connect_app(struct conn *c);

static void on_connected(struct ferry_stream *s, int err)
{
    struct end *e = end_of(s);
    struct conn *c = e->conn;

    if (c->closing)
        return;
    if (err == -EAGAIN && ferry_loop_now(c->relay->loop) < c->give_up_ms) {
        ferry_stream_close(s); /* on_closed tries again */
        return;
    }
    if (err < 0) {
        c->relay->opts.fns->failed(c->relay->opts.arg, &c->pub, err);
        close_conn(c, err);
        return;
    }
    e->connected = true;
    settle(c);
}

static void on_closed(struct ferry_stream *s)
{
    struct end *e = end_of(s);
    struct conn *c = e->conn;

    e->open = false;
    if (c->closing)
        maybe_free(c);
    else
        ferry_timer_set(c->relay->loop, &c->again, ferry_loop_now(c->relay->loop) + AGAIN_MS);
}

static const struct ferry_stream_fns stream_fns = {
    .connected = on_connected, .read = on_read, .sent = on_sent, .closed = on_closed};

static void set_up(struct end *e)
{
    e->open = true;
    ferry_stream_read_large(&e->s, true);
    ferry_stream_send_large(&e->s);
    ferry_stream_errors_last(&e->s);
}

static void connect_app(struct conn *c)
{
    struct ferry_relay *r = c->relay;
    struct end *e = &c->ends[FERRY_RELAY_APP];
    int err = ferry_stream_connect(r->loop, &e->s, &stream_fns, &r->opts.to.any, r->opts.to.len);

    if (err < 0) {
        r->opts.fns->failed(r->opts.arg, &c->pub, err);
        close_conn(c, err);
        return;
    }
    set_up(e);
}

static void on_again(struct ferry_timer *t)
{
    struct conn *c = ferry_container(t, struct conn, again);

    if (!c->closing)
        connect_app(c);
}

static void on_accepted(struct ferry_listener *l, int fd)
{
    struct ferry_relay *r = ferry_container(l, struct ferry_relay, listener);
    struct conn *c = calloc(1, sizeof *c);
    struct end *e;

    if (!c) {
        close(fd);
        return;
    }
    c->relay = r;
    c->pub.number = ++r->last_number;
    c->give_up_ms =
        ferry_loop_now(r->loop) + (r->opts.connect_ms ? r->opts.connect_ms : CONNECT_MS);
    ferry_timer_init(&c->again, on_again);
    for (size_t i = 0; i < 2; i++) {
        c->ends[i].conn = c;
        ferry_chain_init(&c->ends[i].out, ferry_loop_blocks(r->loop));
    }
    e = &c->ends[FERRY_RELAY_SERVER];
    if (ferry_stream_open(r->loop, &e->s, &stream_fns, fd) < 0) {
        free(c);
        return;
    }
    set_up(e);
    e->connected = true;
    ferry_list_push(&r->conns, &c->link);
    r->opts.fns->opened(r->opts.arg, &c->pub);
    connect_app(c);
    if (!c->closing)
        settle(c);
}

static void on_listener_closed(struct ferry_listener *l)
{
    struct ferry_relay *r = ferry_container(l, struct ferry_relay, listener);

    r->listening = false;
    maybe_drained(r);
}

/* -- the relay -- */

int ferry_relay_new(struct ferry_loop *loop, const struct ferry_relay_opts *opts, int listen_fd,
                    struct ferry_relay **out)
{
    struct ferry_relay *r = calloc(1, sizeof *r);
    int err = -ENOMEM;

    if (r) {
        r->loop = loop;
        r->opts = *opts;
        ferry_list_init(&r->conns);
        r->listener =
            (struct ferry_listener){.accepted = on_accepted, .closed = on_listener_closed};
        err = ferry_listener_open(loop, &r->listener, listen_fd);
    }
    if (err < 0) {
        close(listen_fd);
        free(r);
        return err;
    }
    r->listening = true;
    *out = r;
    return 0;
}

void ferry_relay_drain(struct ferry_relay *r)
{
    if (r->draining)
        return;
    r->draining = true;
    ferry_listener_close(&r->listener, true);
    ferry_list_each (at, next, &r->conns)
        settle(ferry_container(at, struct conn, link));
}

void ferry_relay_cut(struct ferry_relay *r)
{
    ferry_relay_drain(r);
    ferry_list_each (at, next, &r->conns)
        close_conn(ferry_container(at, struct conn, link), -ECONNABORTED);
    maybe_drained(r);
}

void ferry_relay_free(struct ferry_relay *r)
{
    free(r);
}
