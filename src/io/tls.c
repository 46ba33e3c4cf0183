/* SPDX-License-Identifier: MIT */
/*
 * TLS between a pump and a machine. OpenSSL reads straight from the bytes given to recv, and what
 * it deciphers lies in one block until the inner machine has taken it; only then is more read.
 *
 * Bytes that OpenSSL has read are said to be taken no sooner than the inner machine has taken what
 * they mean (`held` of them are kept back), so that a pump that offers again what was not taken
 * drives the inner machine too. The inner machine's recv is called once in each recv, since events
 * are pulled in between; when the last byte of a long record is all there is to keep back, the
 * deadline brings the next turn.
 *
 * The other way, the inner machine's output stays in its chain until what was made of it is sent:
 * its own deadline for a peer that does not read stays true.
 */
#include "io/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"
#include "io/tls_private.h"

#define OUT_MAX FERRY_BLOCK_LARGE /* not yet sent, before more is enciphered */
#define OUT_HARD (2 * OUT_MAX)    /* before more is read: answers of TLS itself count too */
#define RECORD 16384              /* plain text of a record */
#define HANDSHAKE_MS 30000
#define LINGER_MS 2000
#define FIRST_BYTE 0x16 /* of a handshake record (RFC 8446, 5.1) */
#define NAME_MAX_LEN 1024

enum state { PLAIN, HANDSHAKE, OPEN, FAILED };

/* Output of the inner machine that was put into ours, and where ours ends then. */
struct batch {
    uint64_t inner, end;
};

struct ferry_tls {
    struct ferry_tls_ctx *ctx;
    const struct ferry_machine *inner;
    void *m;
    void (*stands)(void *arg, int err);
    void *arg;
    SSL *ssl;
    struct ferry_chain out, none;
    enum state state;
    uint64_t now;

    struct ferry_slice in;     /* what OpenSSL reads */
    size_t held;               /* it has read this much of what will be offered again */
    struct ferry_block *block; /* of plain */
    struct ferry_slice plain;  /* deciphered, not yet taken */
    bool more;                 /* OpenSSL has more than the block holds */
    bool end, told;            /* the client's end: known; told to the inner machine */
    bool eof;                  /* of the connection */
    bool again;                /* the deadline brings the next turn */
    int err;                   /* of the inner machine */

    struct batch sending, next;
    uint64_t put, sent; /* bytes of `out` since the beginning */
    bool closing;       /* close_notify is put */
    bool broken;        /* nothing more can be enciphered */
    bool gave_up;

    uint32_t handshake_ms;
    uint64_t until; /* of the handshake, of a linger */
    bool doubted;   /* the client's certificate */
    char why[160];
    struct ferry_tls_info info;
    char sni[256];
    char *subject, *issuer;
};

/* -- OpenSSL's side -- */

static int bio_read(BIO *bio, char *to, int n)
{
    struct ferry_tls *t = BIO_get_data(bio);
    struct ferry_slice part = ferry_slice_first(t->in, n > 0 ? (size_t)n : 0);

    BIO_clear_retry_flags(bio);
    if (part.len == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(to, part.p, part.len);
    t->in = ferry_slice_from(t->in, part.len);
    return (int)part.len;
}

static int bio_write(BIO *bio, const char *from, int n)
{
    struct ferry_tls *t = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    ferry_chain_copy(&t->out, ferry_slice(from, (size_t)n));
    if (t->out.err)
        return -1;
    t->put += (uint64_t)n;
    return n;
}

static long bio_ctrl(BIO *bio, int what, long n, void *arg)
{
    (void)bio, (void)n, (void)arg;
    return what == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

BIO_METHOD *ferry__tls_bio(void)
{
    BIO_METHOD *b = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "ferry");

    if (!b)
        return NULL;
    BIO_meth_set_read(b, bio_read);
    BIO_meth_set_write(b, bio_write);
    BIO_meth_set_ctrl(b, bio_ctrl);
    BIO_meth_set_create(b, bio_create);
    return b;
}

/* -- what became of it -- */

/* As RFC 2253 writes it: ASCII, whatever it holds. NULL: none, or no memory. */
static char *name_of(const X509_NAME *name)
{
    BIO *b = BIO_new(BIO_s_mem());
    char *text = NULL, *at;
    long n;

    if (b && X509_NAME_print_ex(b, name, 0, XN_FLAG_RFC2253) >= 0) {
        n = BIO_get_mem_data(b, &at);
        text = strndup(at, n < NAME_MAX_LEN ? (size_t)n : NAME_MAX_LEN);
    }
    BIO_free(b);
    return text;
}

static void note_client(struct ferry_tls *t)
{
    X509 *cert = SSL_get1_peer_certificate(t->ssl);
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    if (!cert)
        return;
    t->info.client_verified = !t->doubted && SSL_get_verify_result(t->ssl) == X509_V_OK;
    t->subject = name_of(X509_get_subject_name(cert));
    t->issuer = name_of(X509_get_issuer_name(cert));
    t->info.client_subject = t->subject ? t->subject : "";
    t->info.client_issuer = t->issuer ? t->issuer : "";
    if (X509_digest(cert, EVP_sha256(), sum, &n) == 1)
        for (unsigned i = 0; i < n; i++)
            snprintf(t->info.client_sha256 + 2 * i, 3, "%02x", sum[i]);
    X509_free(cert);
}

/* A name that cannot be a host's is none: it goes to scripts and logs. */
static void note_sni(struct ferry_tls *t)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    const char *name = SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name);

    if (name && strlen(name) < sizeof t->sni && name[strspn(name, good)] == 0)
        memcpy(t->sni, name, strlen(name) + 1);
}

static void stand(struct ferry_tls *t)
{
    t->state = OPEN;
    t->info.on = true;
    t->info.version = SSL_get_version(t->ssl);
    t->info.cipher = SSL_get_cipher_name(t->ssl);
    t->info.bits = SSL_get_cipher_bits(t->ssl, NULL);
    note_sni(t);
    note_client(t);
    ERR_clear_error();
    t->stands(t->arg, 0);
}

/* What was said so far (an alert, perhaps) is still sent, and input read until the peer closes, so
 * that it is not lost by a reset. */
static void fail(struct ferry_tls *t, int err, const char *why)
{
    t->state = FAILED;
    t->until = t->now + LINGER_MS;
    snprintf(t->why, sizeof t->why, "%s", why);
    t->stands(t->arg, err);
}

static void fail_ssl(struct ferry_tls *t)
{
    long verified = SSL_get_verify_result(t->ssl);

    if (t->out.err)
        fail(t, t->out.err, "out of memory");
    else if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_CERTIFICATE_VERIFY_FAILED)
        fail(t, FERRY_EPROTOCOL, X509_verify_cert_error_string(verified));
    else
        fail(t, FERRY_EPROTOCOL, ferry__tls_reason());
    ERR_clear_error();
}

/* -- input -- */

static void shake(struct ferry_tls *t)
{
    int r;

    if (!t->ssl) {
        fail(t, -ENOMEM, "out of memory");
        return;
    }
    if (SSL_in_before(t->ssl) && (unsigned char)t->in.p[0] != FIRST_BYTE) {
        fail(t, FERRY_EPROTOCOL, "what was sent is not TLS");
        return;
    }
    ERR_clear_error();
    r = SSL_do_handshake(t->ssl);
    if (r == 1)
        stand(t);
    else if (SSL_get_error(t->ssl, r) != SSL_ERROR_WANT_READ)
        fail_ssl(t);
}

/* Fills the block. */
static void decipher(struct ferry_tls *t)
{
    size_t len = 0, n = 0;
    int r = 1, err;

    if (!t->block)
        t->block = ferry_block_get(t->out.blocks, FERRY_BLOCK_LARGE);
    if (!t->block) {
        t->out.err = -ENOMEM;
        return;
    }
    ERR_clear_error();
    while (len < t->block->cap && r == 1) {
        r = SSL_read_ex(t->ssl, t->block->data + len, t->block->cap - len, &n);
        len += r == 1 ? n : 0;
    }
    t->plain = ferry_slice(t->block->data, len);
    t->more = r == 1;
    err = SSL_get_error(t->ssl, r);
    if (r == 1 || err == SSL_ERROR_WANT_READ)
        return;
    t->end = true;
    t->in.len = 0;
    if (err == SSL_ERROR_ZERO_RETURN) /* which a fatal alert is not */
        return;
    t->broken = true;
    t->until = t->now + LINGER_MS;
    snprintf(t->why, sizeof t->why, "%s", ferry__tls_reason());
    ERR_clear_error();
}

static bool is_waiting(const struct ferry_tls *t)
{
    return t->plain.len || t->more || (t->end && !t->told);
}

/* One recv of the inner machine: is there any progress? */
static bool hand_on(struct ferry_tls *t)
{
    ssize_t n;

    if (t->plain.len == 0 && !t->end)
        decipher(t);
    if (t->plain.len == 0 && (!t->end || t->told))
        return false;
    n = t->inner->recv(t->m, t->plain.p, t->plain.len, t->now);
    if (n < 0) {
        t->err = (int)n;
        t->plain.len = 0;
    } else if (t->plain.len == 0) {
        t->told = true;
    } else {
        t->plain = ferry_slice_from(t->plain, (size_t)n);
    }
    return n != 0 || t->told;
}

static ssize_t take(struct ferry_tls *t, size_t offered)
{
    bool progress = hand_on(t);
    size_t read = offered - t->in.len, keep;

    if (t->err)
        return t->err;
    keep = is_waiting(t) ? t->plain.len + 1 : 0;
    t->held = keep < read ? keep : read;
    t->again = progress && keep && t->held == read;
    return (ssize_t)(read - t->held);
}

static ssize_t recv_end(struct ferry_tls *t)
{
    t->eof = true;
    if (t->state == PLAIN)
        return t->inner->recv(t->m, NULL, 0, t->now);
    if (t->state == HANDSHAKE) {
        fail(t, FERRY_ECUT, "the client left");
    } else if (t->state == OPEN && !t->told) {
        t->end = true;
        hand_on(t);
    }
    return t->err;
}

static ssize_t tls_recv(void *m, const char *p, size_t n, uint64_t now_ms)
{
    struct ferry_tls *t = m;

    t->now = now_ms;
    if (t->err)
        return t->err;
    if (n == 0)
        return recv_end(t);
    switch (t->state) {
    case PLAIN:
        return t->inner->recv(t->m, p, n, now_ms);
    case HANDSHAKE:
        t->in = ferry_slice(p, n);
        shake(t);
        return (ssize_t)(t->state == FAILED ? n : n - t->in.len);
    case OPEN:
        if (t->told)
            return (ssize_t)n;
        if (t->out.len > OUT_HARD)
            return 0;
        t->in = ferry_slice_from(ferry_slice(p, n), t->held);
        return take(t, n);
    case FAILED:
        break;
    }
    return (ssize_t)n;
}

/* -- output -- */

static uint64_t ahead(const struct ferry_tls *t)
{
    return t->sending.inner + t->next.inner;
}

static struct ferry_chain *inner_output(const struct ferry_tls *t)
{
    return t->inner->output(t->m);
}

/* Bytes of the inner output, from where we are in it. A file range is read when it is first. */
static struct ferry_slice next_piece(struct ferry_tls *t, struct ferry_chain *from,
                                     char buf[RECORD])
{
    const struct ferry_seg *file = ferry_chain_file_first(from);
    uint64_t at = ahead(t), n;
    ssize_t r;

    if (!file)
        return ferry_slice_first(ferry_chain_at(from, at), RECORD);
    if (at >= file->len)
        return ferry_slice(NULL, 0);
    n = file->len - at < RECORD ? file->len - at : RECORD;
    do
        r = pread(file->fd, buf, n, (off_t)(file->off + (int64_t)at));
    while (r < 0 && errno == EINTR);
    if (r <= 0)
        t->out.err = r < 0 ? -errno : -EIO;
    return ferry_slice(buf, r > 0 ? (size_t)r : 0);
}

static bool encipher(struct ferry_tls *t, struct ferry_slice piece)
{
    size_t n;

    if (t->state == PLAIN) {
        ferry_chain_copy(&t->out, piece);
        t->put += piece.len;
        return t->out.err == 0;
    }
    ERR_clear_error();
    if (SSL_write_ex(t->ssl, piece.p, piece.len, &n) == 1)
        return true;
    /* The session is over, and the inner machine is to know it. */
    t->broken = t->end = t->again = true;
    t->more = false;
    t->until = t->now + LINGER_MS;
    ERR_clear_error();
    return false;
}

static void pass_on(struct ferry_tls *t, uint64_t max)
{
    struct ferry_chain *from = inner_output(t);
    struct batch *b = t->sending.inner ? &t->next : &t->sending;
    struct ferry_slice piece;
    char buf[RECORD];

    if (from->err && !t->out.err)
        t->out.err = from->err;
    while (t->out.len < max && !t->out.err && !t->broken) {
        piece = next_piece(t, from, buf);
        if (piece.len == 0 || !encipher(t, piece))
            break;
        b->inner += piece.len;
        b->end = t->put;
    }
}

/* A machine that shows less than we have of it has given up on its peer. */
static bool gave_up(const struct ferry_tls *t)
{
    return t->gave_up || inner_output(t)->len < ahead(t);
}

static bool all_passed_on(const struct ferry_tls *t)
{
    return inner_output(t)->len <= ahead(t);
}

static bool wants_shutdown(const struct ferry_tls *t)
{
    return t->inner->wants_shutdown && t->inner->wants_shutdown(t->m);
}

/* The inner machine has no more to say, so nor have we. */
static void say_goodbye(struct ferry_tls *t)
{
    if (t->closing || t->broken || !all_passed_on(t) ||
        !(wants_shutdown(t) || t->inner->finished(t->m)))
        return;
    t->closing = true;
    t->until = t->now + LINGER_MS;
    ERR_clear_error();
    SSL_shutdown(t->ssl);
    ERR_clear_error();
}

/* Only the goodbye is left of our output: the inner machine's deadline is not for that. */
static bool says_goodbye(const struct ferry_tls *t)
{
    return t->closing && t->out.len && ahead(t) == 0;
}

static struct ferry_chain *tls_output(void *m)
{
    struct ferry_tls *t = m;

    /* The owner has pulled the events that may borrow from it. */
    if (t->plain.len == 0) {
        ferry_block_unref(t->block);
        t->block = NULL;
    }
    if (gave_up(t))
        return &t->none;
    if (t->state == PLAIN || t->state == OPEN)
        pass_on(t, OUT_MAX);
    if (t->state == OPEN)
        say_goodbye(t);
    return &t->out;
}

static void tls_sent(void *m, size_t n, uint64_t now_ms)
{
    struct ferry_tls *t = m;

    t->now = now_ms;
    ferry_chain_consume(&t->out, n);
    t->sent += n;
    while (t->sending.inner && t->sent >= t->sending.end) {
        uint64_t inner = t->sending.inner;

        if (gave_up(t))
            return;
        t->sending = t->next;
        t->next = (struct batch){0};
        t->inner->sent(t->m, inner, now_ms);
    }
    if (says_goodbye(t))
        t->until = now_ms + LINGER_MS;
}

/* -- time and the end -- */

static bool has_own_deadline(const struct ferry_tls *t)
{
    return t->state == HANDSHAKE || t->state == FAILED || t->broken || says_goodbye(t);
}

static uint64_t tls_deadline(const void *m)
{
    const struct ferry_tls *t = m;
    uint64_t at = t->state == FAILED ? FERRY_NEVER : t->inner->deadline(t->m);

    if (t->again)
        return t->now;
    return !t->gave_up && has_own_deadline(t) && t->until < at ? t->until : at;
}

static void give_up(struct ferry_tls *t)
{
    t->gave_up = true;
    if (t->state == HANDSHAKE)
        fail(t, -ETIMEDOUT, "the handshake took too long");
}

static void tls_tick(void *m, uint64_t now_ms)
{
    struct ferry_tls *t = m;

    t->now = now_ms;
    if (t->again) { /* the inner machine's own time comes next, when these events are pulled */
        t->in.len = 0;
        t->again = hand_on(t) && is_waiting(t) && !t->err;
    } else if (!t->gave_up && has_own_deadline(t) && t->until <= now_ms) {
        give_up(t);
    } else if (t->state != FAILED && t->inner->deadline(t->m) <= now_ms) {
        t->inner->tick(t->m, now_ms);
    }
}

static bool tls_finished(const void *m)
{
    const struct ferry_tls *t = m;

    if (t->state == FAILED)
        return t->gave_up || (t->eof && t->out.len == 0);
    if (t->broken)
        return t->told && (t->gave_up || (t->eof && t->out.len == 0));
    if (!t->inner->finished(t->m))
        return false;
    if (gave_up(t))
        return true;
    return t->state == HANDSHAKE ? inner_output(t)->len == 0
                                 : all_passed_on(t) && (t->state == PLAIN || t->closing);
}

static bool tls_wants_shutdown(const void *m)
{
    const struct ferry_tls *t = m;

    if (t->state == FAILED || t->broken)
        return true;
    return wants_shutdown(t) && all_passed_on(t) && (t->state == PLAIN || t->closing);
}

const struct ferry_machine ferry_tls_machine = {
    .recv = tls_recv,
    .output = tls_output,
    .sent = tls_sent,
    .deadline = tls_deadline,
    .tick = tls_tick,
    .finished = tls_finished,
    .wants_shutdown = tls_wants_shutdown,
};

/* -- the owner -- */

struct ferry_tls *ferry_tls_new(struct ferry_tls_ctx *ctx, struct ferry_blocks *blocks,
                                const struct ferry_machine *inner, void *m, uint32_t handshake_ms)
{
    struct ferry_tls *t = calloc(1, sizeof *t);

    if (!t)
        return NULL;
    t->ctx = ctx;
    t->inner = inner;
    t->m = m;
    t->handshake_ms = handshake_ms ? handshake_ms : HANDSHAKE_MS;
    ferry_chain_init(&t->out, blocks);
    ferry_chain_init(&t->none, blocks);
    t->info.version = t->info.cipher = t->info.client_subject = t->info.client_issuer = "";
    t->info.sni = t->sni;
    return t;
}

void ferry_tls_free(struct ferry_tls *t)
{
    if (!t)
        return;
    SSL_free(t->ssl);
    ferry_block_unref(t->block);
    ferry_chain_clear(&t->out);
    free(t->subject);
    free(t->issuer);
    free(t);
}

void ferry_tls_start(struct ferry_tls *t, void (*stands)(void *arg, int err), void *arg,
                     uint64_t now_ms)
{
    BIO *bio;

    ferry_assert(t->state == PLAIN && t->ctx);
    t->now = now_ms;
    t->stands = stands;
    t->arg = arg;
    pass_on(t, UINT64_MAX);
    t->state = HANDSHAKE;
    t->until = now_ms + t->handshake_ms;
    t->ssl = ferry__tls_ssl(t->ctx, &t->doubted);
    bio = t->ssl ? BIO_new(t->ctx->bio) : NULL;
    if (!bio) { /* shake() says so */
        SSL_free(t->ssl);
        t->ssl = NULL;
        t->until = now_ms;
        return;
    }
    BIO_set_data(bio, t);
    SSL_set_bio(t->ssl, bio, bio);
}

const struct ferry_tls_info *ferry_tls_info(const struct ferry_tls *t)
{
    return &t->info;
}

const char *ferry_tls_why(const struct ferry_tls *t)
{
    return t->why;
}
