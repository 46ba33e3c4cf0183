/* SPDX-License-Identifier: MIT */
#ifndef FERRY_IO_TLS_PRIVATE_H
#define FERRY_IO_TLS_PRIVATE_H

#include <openssl/ssl.h>

#include "io/tls.h"

/* What tls.c (sessions) and tls_ctx.c (what they share) know of each other. */

struct ferry__tls_pair { /* a certificate, those that lead to its issuer, and the key */
    X509 *cert;
    STACK_OF(X509) * chain;
    EVP_PKEY *key;
};

struct ferry_tls_ctx {
    SSL_CTX *ssl;
    BIO_METHOD *bio; /* see ferry__tls_bio */
    struct ferry__tls_pair *pairs;
    unsigned npairs;
    unsigned char *alpn; /* each protocol with its length in front */
    unsigned alpn_len;
};

/* The BIO whose data is a struct ferry_tls; NULL: no memory. */
BIO_METHOD *ferry__tls_bio(void);

/* A session of the server's side, without a BIO; *doubted becomes true when the client's
 * certificate is not good. NULL: no memory. */
SSL *ferry__tls_ssl(struct ferry_tls_ctx *, bool *doubted);

/* The reason that OpenSSL gives for its last failure in this thread: static or
 * thread-local memory, never NULL. */
const char *ferry__tls_reason(void);

#endif
