/* SPDX-License-Identifier: MIT */
/*
 * What sessions of one service share: certificates and keys, read once, and OpenSSL's settings.
 *
 * The SSL_CTX itself holds no certificate: each session is given those that are for the name the
 * client asked for, so several names, and several kinds of keys for one name, are one list. Nothing
 * in here changes after it was made, so any number of threads may use it.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/slice.h"
#include "io/tls_private.h"

struct maker {
    struct ferry_tls_ctx *ctx;
    const struct ferry_tls_opts *opts;
    char *why;
    size_t cap;
};

const char *ferry__tls_reason(void)
{
    unsigned long err = ERR_peek_error();
    const char *text = ERR_reason_error_string(err);

    if (ERR_SYSTEM_ERROR(err))
        return ferry_strerror(-ERR_GET_REASON(err));
    return text ? text : "unknown error";
}

/* FERRY_EUSAGE, with OpenSSL's reason behind `what`; but memory is nobody's fault. */
static int refuse(const struct maker *k, const char *what, const char *name)
{
    if (ERR_GET_REASON(ERR_peek_error()) == ERR_R_MALLOC_FAILURE)
        return -ENOMEM;
    snprintf(k->why, k->cap, "%s%s: %s", what, name, ferry__tls_reason());
    return FERRY_EUSAGE;
}

/* -- certificates -- */

static void pair_fini(struct ferry__tls_pair *p)
{
    X509_free(p->cert);
    sk_X509_pop_free(p->chain, X509_free);
    EVP_PKEY_free(p->key);
}

/* A key with a passphrase is not for a program that nobody sits at: without an answer it is an
 * error, where OpenSSL would ask the terminal. */
static int no_passphrase(char *buf, int size, int writing, void *arg)
{
    (void)buf, (void)size, (void)writing, (void)arg;
    return -1;
}

static bool read_chain(struct ferry__tls_pair *p, const char *path)
{
    BIO *file = BIO_new_file(path, "r");
    X509 *next;

    if (!file)
        return false;
    p->cert = PEM_read_bio_X509_AUX(file, NULL, no_passphrase, NULL);
    p->chain = sk_X509_new_null();
    if (!p->cert || !p->chain) {
        BIO_free(file);
        return false;
    }
    while ((next = PEM_read_bio_X509(file, NULL, no_passphrase, NULL)))
        if (!sk_X509_push(p->chain, next)) {
            X509_free(next);
            break;
        }
    BIO_free(file);
    /* The end of the file is the one error that is none. */
    if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        return false;
    ERR_clear_error();
    return true;
}

static bool read_key(struct ferry__tls_pair *p, const char *path)
{
    BIO *file = BIO_new_file(path, "r");

    if (!file)
        return false;
    p->key = PEM_read_bio_PrivateKey(file, NULL, no_passphrase, NULL);
    BIO_free(file);
    return p->key != NULL;
}

/* That OpenSSL will take it (its size, the hash of its signature) is better known now than in the
 * first handshake. */
static bool fits(const struct maker *k, const struct ferry__tls_pair *p)
{
    SSL *ssl = SSL_new(k->ctx->ssl);
    bool good = ssl && SSL_use_cert_and_key(ssl, p->cert, p->key, p->chain, 1) == 1;

    SSL_free(ssl);
    return good;
}

static int add_certs(const struct maker *k)
{
    for (unsigned i = 0; i < k->opts->ncerts; i++) {
        const struct ferry_tls_cert *from = &k->opts->certs[i];
        const char *key = from->key ? from->key : from->cert;
        struct ferry__tls_pair *p = &k->ctx->pairs[k->ctx->npairs++];

        if (!read_chain(p, from->cert))
            return refuse(k, "certificate ", from->cert);
        if (!read_key(p, key))
            return refuse(k, "key ", key);
        if (X509_check_private_key(p->cert, p->key) != 1)
            return refuse(k, "the key is not that of the certificate ", from->cert);
        if (!fits(k, p))
            return refuse(k, "certificate ", from->cert);
    }
    return 0;
}

static bool is_for(const struct ferry__tls_pair *p, const char *name)
{
    return X509_check_host(p->cert, name, 0, 0, NULL) == 1;
}

/* Of two with the same kind of key the first wins: the place is taken then. */
static bool use(SSL *ssl, const struct ferry__tls_pair *p)
{
    return SSL_use_cert_and_key(ssl, p->cert, p->key, p->chain, 0) == 1;
}

static int choose(SSL *ssl, void *arg)
{
    const struct ferry_tls_ctx *ctx = arg;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    bool found = false;

    for (unsigned i = 0; i < ctx->npairs && name; i++)
        if (is_for(&ctx->pairs[i], name))
            found |= use(ssl, &ctx->pairs[i]);
    if (!found)
        found = use(ssl, ctx->pairs);
    ERR_clear_error();
    return found;
}

static int name_is_known(SSL *ssl, int *alert, void *arg)
{
    (void)ssl, (void)alert, (void)arg;
    return SSL_TLSEXT_ERR_OK;
}

/* -- protocols that the client offers -- */

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *len,
                       const unsigned char *in, unsigned in_len, void *arg)
{
    const struct ferry_tls_ctx *ctx = arg;
    unsigned char *chosen;

    (void)ssl;
    /* Whoever wants another protocol has been led here to be misunderstood (ALPACA). */
    if (SSL_select_next_proto(&chosen, len, ctx->alpn, ctx->alpn_len, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static int add_alpn(const struct maker *k)
{
    struct ferry_tls_ctx *ctx = k->ctx;
    size_t len = 0;

    if (!k->opts->alpn || !k->opts->alpn[0])
        return 0;
    for (const char *const *p = k->opts->alpn; *p; p++) {
        if (**p == 0 || strlen(*p) > 255 || len > 8192) {
            snprintf(k->why, k->cap, "ALPN: \"%s\" cannot be the name of a protocol", *p);
            return FERRY_EUSAGE;
        }
        len += 1 + strlen(*p);
    }
    ctx->alpn = malloc(len);
    if (!ctx->alpn)
        return -ENOMEM;
    for (const char *const *p = k->opts->alpn; *p; p++) {
        ctx->alpn[ctx->alpn_len++] = (unsigned char)strlen(*p);
        memcpy(ctx->alpn + ctx->alpn_len, *p, strlen(*p));
        ctx->alpn_len += (unsigned)strlen(*p);
    }
    SSL_CTX_set_alpn_select_cb(ctx->ssl, choose_alpn, ctx);
    return 0;
}

/* -- certificates of clients -- */

/* Asked for, not needed: what is wrong with it is remembered, and the handshake goes on. */
static int doubt(int good, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    bool *doubted = SSL_get_app_data(ssl);

    if (!good && doubted)
        *doubted = true;
    /* What the check left would be taken for an error of the handshake when that next waits. */
    ERR_clear_error();
    return 1;
}

static int add_clients(const struct maker *k)
{
    const char *ca = k->opts->client_ca;
    SSL_CTX *ssl = k->ctx->ssl;
    STACK_OF(X509_NAME) * names;

    if (k->opts->clients == FERRY_TLS_CLIENTS_NONE)
        return 0;
    if (k->opts->clients == FERRY_TLS_CLIENTS_NEED)
        SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    else
        SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER, doubt);
    if (!ca)
        return SSL_CTX_set_default_verify_paths(ssl) == 1 ? 0 : refuse(k, "CA", "");
    names = SSL_CTX_load_verify_file(ssl, ca) == 1 ? SSL_load_client_CA_file(ca) : NULL;
    if (!names)
        return refuse(k, "CA ", ca);
    SSL_CTX_set_client_CA_list(ssl, names);
    return 0;
}

/* -- settings -- */

static int version_of(const char *text)
{
    static const struct {
        const char *text;
        int version;
    } known[] = {{"1.0", TLS1_VERSION},
                 {"1.1", TLS1_1_VERSION},
                 {"1.2", TLS1_2_VERSION},
                 {"1.3", TLS1_3_VERSION}};

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(text, known[i].text) == 0)
            return known[i].version;
    return -1;
}

static int add_versions(const struct maker *k)
{
    int min = version_of(k->opts->min ? k->opts->min : "1.2");
    int max = k->opts->max ? version_of(k->opts->max) : 0;

    if (min < 0 || max < 0 || (max && max < min)) {
        snprintf(k->why, k->cap, "TLS versions %s to %s: 1.0, 1.1, 1.2 and 1.3 are known, in order",
                 k->opts->min ? k->opts->min : "1.2", k->opts->max ? k->opts->max : "the newest");
        return FERRY_EUSAGE;
    }
    /* Their signatures use SHA-1, which OpenSSL takes at its lowest level only. */
    if (min < TLS1_2_VERSION)
        SSL_CTX_set_security_level(k->ctx->ssl, 0);
    if (SSL_CTX_set_min_proto_version(k->ctx->ssl, min) != 1 ||
        SSL_CTX_set_max_proto_version(k->ctx->ssl, max) != 1)
        return refuse(k, "TLS versions", "");
    return 0;
}

static int add_ciphers(const struct maker *k)
{
    const struct ferry_tls_opts *o = k->opts;
    SSL_CTX *ssl = k->ctx->ssl;

    if (o->ciphers && SSL_CTX_set_cipher_list(ssl, o->ciphers) != 1)
        return refuse(k, "ciphers ", o->ciphers);
    if (o->ciphersuites && SSL_CTX_set_ciphersuites(ssl, o->ciphersuites) != 1)
        return refuse(k, "ciphersuites ", o->ciphersuites);
    if (o->curves && SSL_CTX_set1_groups_list(ssl, o->curves) != 1)
        return refuse(k, "curves ", o->curves);
    return 0;
}

/* Tickets are sealed with keys of the SSL_CTX's own, and name the context they are for: both keep a
 * session of one service from being taken up at another, whose demands are others. */
static int add_tickets(const struct maker *k)
{
    const char *label = k->opts->ticket_label ? k->opts->ticket_label : "";
    unsigned char id[EVP_MAX_MD_SIZE];
    unsigned len;

    if (EVP_Digest(label, strlen(label), id, &len, EVP_sha256(), NULL) != 1 ||
        SSL_CTX_set_session_id_context(k->ctx->ssl, id, len) != 1)
        return refuse(k, "tickets", "");
    SSL_CTX_set_session_cache_mode(k->ctx->ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(k->ctx->ssl, 1);
    SSL_CTX_set_max_early_data(k->ctx->ssl, 0);
    return 0;
}

static int make(const struct maker *k)
{
    static int (*const steps[])(const struct maker *) = {add_versions, add_ciphers, add_tickets,
                                                         add_clients,  add_alpn,    add_certs};
    struct ferry_tls_ctx *ctx = k->ctx;
    int err = 0;

    ctx->ssl = SSL_CTX_new(TLS_server_method());
    ctx->bio = ferry__tls_bio();
    ctx->pairs = calloc(k->opts->ncerts, sizeof *ctx->pairs);
    if (!ctx->ssl || !ctx->bio || !ctx->pairs)
        return -ENOMEM;
    SSL_CTX_set_options(ctx->ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                      SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(ctx->ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_dh_auto(ctx->ssl, 1);
    SSL_CTX_set_cert_cb(ctx->ssl, choose, ctx);
    SSL_CTX_set_tlsext_servername_callback(ctx->ssl, name_is_known);
    for (size_t i = 0; i < sizeof steps / sizeof *steps && err == 0; i++)
        err = steps[i](k);
    return err;
}

int ferry_tls_ctx_new(const struct ferry_tls_opts *opts, struct ferry_tls_ctx **out, char *why,
                      size_t cap)
{
    struct maker k = {.opts = opts, .why = why, .cap = cap};
    int err;

    if (opts->ncerts == 0) {
        snprintf(why, cap, "TLS needs a certificate");
        return FERRY_EUSAGE;
    }
    k.ctx = calloc(1, sizeof *k.ctx);
    if (!k.ctx)
        return -ENOMEM;
    ERR_clear_error();
    err = make(&k);
    ERR_clear_error();
    if (err < 0)
        ferry_tls_ctx_free(k.ctx);
    else
        *out = k.ctx;
    return err;
}

void ferry_tls_ctx_free(struct ferry_tls_ctx *ctx)
{
    if (!ctx)
        return;
    for (unsigned i = 0; i < ctx->npairs; i++)
        pair_fini(&ctx->pairs[i]);
    free(ctx->pairs);
    free(ctx->alpn);
    SSL_CTX_free(ctx->ssl);
    BIO_meth_free(ctx->bio);
    free(ctx);
}

SSL *ferry__tls_ssl(struct ferry_tls_ctx *ctx, bool *doubted)
{
    SSL *ssl = SSL_new(ctx->ssl);

    if (!ssl)
        return NULL;
    SSL_set_app_data(ssl, doubted);
    SSL_set_accept_state(ssl);
    return ssl;
}
