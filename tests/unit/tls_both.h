/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TESTS_TLS_BOTH_H
#define FERRY_TESTS_TLS_BOTH_H

#include "io/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "certs.h"

/*
 * A machine that keeps what it is given. `lines`: it takes one line at a time, and each is an event
 * that must be pulled; `stopped`: it holds back. The end of its input must come once.
 */
struct plain {
    struct ferry_chain out;
    char *got;
    size_t len, cap, max; /* max: of one recv */
    uint64_t due, sent;
    bool lines, event, stopped, eof, finished, lingers, gives_up;
    unsigned ticks, recvs;
    int err;
};

static ssize_t plain_recv(void *m, const char *p, size_t n, uint64_t now_ms)
{
    struct plain *x = m;
    const char *end;

    (void)now_ms;
    x->recvs++;
    assert_false(x->eof);
    if (x->err)
        return x->err;
    if (n == 0) {
        x->eof = true;
        return 0;
    }
    if (x->stopped || x->event)
        return 0;
    if (x->max && n > x->max)
        n = x->max;
    end = x->lines ? memchr(p, '\n', n) : NULL;
    if (end) {
        n = (size_t)(end + 1 - p);
        x->event = true;
    }
    if (x->len + n > x->cap) {
        char *more = realloc(x->got, (x->len + n) * 2);

        if (!more)
            return x->err = -ENOMEM;
        x->got = more;
        x->cap = (x->len + n) * 2;
    }
    memcpy(x->got + x->len, p, n);
    x->len += n;
    return (ssize_t)n;
}

static struct ferry_chain *plain_output(void *m)
{
    static struct ferry_chain none;
    struct plain *x = m;

    return x->gives_up ? &none : &x->out;
}

static inline void plain_sent(void *m, size_t n, uint64_t now_ms)
{
    struct plain *x = m;

    (void)now_ms;
    x->sent += n;
    ferry_chain_consume(&x->out, n);
}

static uint64_t plain_deadline(const void *m)
{
    return ((const struct plain *)m)->due;
}

static inline void plain_tick(void *m, uint64_t now_ms)
{
    struct plain *x = m;

    assert_true(now_ms >= x->due);
    x->ticks++;
    x->due = FERRY_NEVER;
}

static inline bool plain_finished(const void *m)
{
    return ((const struct plain *)m)->finished;
}

static inline bool plain_lingers(const void *m)
{
    return ((const struct plain *)m)->lingers;
}

static const struct ferry_machine plain_machine = {
    .recv = plain_recv,
    .output = plain_output,
    .sent = plain_sent,
    .deadline = plain_deadline,
    .tick = plain_tick,
    .finished = plain_finished,
    .wants_shutdown = plain_lingers,
};

/* -- both ends, and what the pump does between them -- */

struct both {
    struct ferry_blocks blocks;
    struct plain plain;
    struct ferry_tls *tls;
    SSL_CTX *client_ctx;
    SSL *client;
    SSL_SESSION *session; /* the last that the client was given */
    uint64_t now;
    char in[70000]; /* bytes on their way to us that we have not taken */
    size_t in_len;
    size_t cut; /* bytes that arrive at once; 0: all there are */
    int stood;  /* 1: not yet */
    unsigned stands;
    size_t out_peak;
    char got[8192]; /* by the client */
    size_t got_len;
    int client_err; /* of its last failure: an OpenSSL error */
    bool client_done, held;
};

static struct made server, other, other_rsa, wild;
static const struct ferry_machine *const ops = &ferry_tls_machine;

static inline void stands(void *arg, int err)
{
    struct both *b = arg;

    b->stands++;
    b->stood = err;
}

static inline int keep_session(SSL *ssl, SSL_SESSION *s)
{
    struct both *b = SSL_get_app_data(ssl);

    SSL_SESSION_free(b->session);
    b->session = s;
    return 1;
}

static inline void both_init(struct both *b, struct ferry_tls_ctx *ctx)
{
    *b = (struct both){.stood = 1, .now = 1000};
    ferry_blocks_init(&b->blocks, 4, 4);
    ferry_chain_init(&b->plain.out, &b->blocks);
    b->plain.due = FERRY_NEVER;
    b->tls = ferry_tls_new(ctx, &b->blocks, &plain_machine, &b->plain, 0);
    b->client_ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_session_cache_mode(b->client_ctx,
                                   SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(b->client_ctx, keep_session);
    assert_non_null(b->client_ctx);
}

/* The client, after its context was changed as the test likes. */
static inline SSL *client_of(struct both *b)
{
    if (!b->client) {
        b->client = SSL_new(b->client_ctx);
        assert_non_null(b->client);
        SSL_set_bio(b->client, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
        SSL_set_app_data(b->client, b);
        SSL_set_connect_state(b->client);
    }
    return b->client;
}

static inline void both_fini(struct both *b)
{
    if (b->client) /* else its session would be good for nothing */
        SSL_set_shutdown(b->client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(b->client);
    SSL_CTX_free(b->client_ctx);
    SSL_SESSION_free(b->session);
    ferry_tls_free(b->tls);
    ferry_chain_clear(&b->plain.out);
    ferry_blocks_fini(&b->blocks);
    free(b->plain.got);
    ERR_clear_error();
}

static inline void pull(struct both *b)
{
    b->plain.event = false;
}

/* Offers what waits, as a pump does: until it is taken, or twice nothing is. */
static inline bool offer(struct both *b)
{
    bool any = false;

    for (int refused = 0; b->in_len && refused < 2;) {
        size_t n = b->cut && b->cut < b->in_len ? b->cut : b->in_len;
        char *p = n < 512 ? guard_copy(0, b->in, n) : b->in;
        ssize_t r = ops->recv(b->tls, p, n, b->now);

        if (r < 0) {
            assert_int_equal(r, b->plain.err);
            b->in_len = 0;
            return false;
        }
        assert_true((size_t)r <= n);
        memmove(b->in, b->in + r, b->in_len - (size_t)r);
        b->in_len -= (size_t)r;
        refused = r ? 0 : refused + 1;
        any |= r > 0;
        pull(b);
        if (ops->deadline(b->tls) <= b->now) {
            any = true;
            refused = 0;
            ops->tick(b->tls, b->now);
            pull(b);
        }
    }
    return any;
}

static inline bool to_client(struct both *b)
{
    struct ferry_chain *out = ops->output(b->tls);
    struct iovec iov;

    if (out->len > b->out_peak)
        b->out_peak = (size_t)out->len;
    assert_int_equal(out->err, 0);
    if (b->held || out->len == 0)
        return false;
    assert_int_equal(ferry_chain_iov(out, &iov, 1), 1);
    if (b->cut && iov.iov_len > b->cut)
        iov.iov_len = b->cut;
    BIO_write(SSL_get_rbio(b->client), iov.iov_base, (int)iov.iov_len);
    ops->sent(b->tls, iov.iov_len, b->now);
    return true;
}

static inline bool to_server(struct both *b)
{
    int n = BIO_read(SSL_get_wbio(b->client), b->in + b->in_len, (int)(sizeof b->in - b->in_len));

    if (n > 0)
        b->in_len += (size_t)n;
    return offer(b) || n > 0;
}

static inline bool client_reads(struct both *b)
{
    size_t room = sizeof b->got - b->got_len, n = 0;
    int r;

    if (b->client_done)
        return false;
    ERR_clear_error();
    r = SSL_read_ex(b->client, b->got + b->got_len, room, &n);
    if (r == 1) {
        b->got_len += n;
        return true;
    }
    if (SSL_get_error(b->client, r) != SSL_ERROR_WANT_READ) {
        b->client_done = true;
        b->client_err = ERR_GET_REASON(ERR_peek_error());
    }
    return false;
}

/* Until nothing moves any more. */
static inline void turn(struct both *b)
{
    client_of(b);
    while (client_reads(b) | to_server(b) | to_client(b))
        ;
}

static inline void start(struct both *b)
{
    ferry_tls_start(b->tls, stands, b, b->now);
    turn(b);
}

static inline void say(struct both *b, const char *text)
{
    size_t n;

    assert_int_equal(SSL_write_ex(b->client, text, strlen(text), &n), 1);
}

static inline void answer(struct both *b, const char *text)
{
    ferry_chain_copy(&b->plain.out, ferry_slice_z(text));
}

#define assert_plain(b, text) assert_slice_equal(ferry_slice((b)->plain.got, (b)->plain.len), text)
#define assert_got(b, text) assert_slice_equal(ferry_slice((b)->got, (b)->got_len), text)

static inline struct ferry_tls_ctx *ctx_of(const struct ferry_tls_opts *o)
{
    struct ferry_tls_ctx *ctx = NULL;
    char why[256] = "";

    assert_int_equal(ferry_tls_ctx_new(o, &ctx, why, sizeof why), 0);
    assert_string_equal(why, "");
    return ctx;
}

static inline struct ferry_tls_opts usual(void)
{
    static struct ferry_tls_cert certs[4];

    certs[0] = (struct ferry_tls_cert){server.path, NULL};
    certs[1] = (struct ferry_tls_cert){other.path, other.path};
    certs[2] = (struct ferry_tls_cert){other_rsa.path, NULL};
    certs[3] = (struct ferry_tls_cert){wild.path, NULL};
    return (struct ferry_tls_opts){.certs = certs, .ncerts = 4};
}

static inline int make_all(void **state)
{
    (void)state;
    certs_begin();
    server = make_cert("mail.example.com", NULL, 0);
    other = make_cert("other.example.net", NULL, 0);
    other_rsa = make_cert("other.example.net", NULL, 2048);
    wild = make_cert("*.wild.example.org", NULL, 0);
    return 0;
}

static inline int free_all(void **state)
{
    (void)state;
    made_free(&server);
    made_free(&other);
    made_free(&other_rsa);
    made_free(&wild);
    assert_int_equal(rmdir(certs_dir), 0);
    return 0;
}

#endif
