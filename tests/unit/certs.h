/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TESTS_CERTS_H
#define FERRY_TESTS_CERTS_H

#include "support.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <unistd.h>

/* Certificates made for a test, in files of a folder of its own. */

struct made {
    X509 *cert;
    EVP_PKEY *key;
    char path[96]; /* both, the key behind the certificate */
};

static char certs_dir[64];

static inline void certs_begin(void)
{
    memcpy(certs_dir, "/tmp/ferry-certs-XXXXXX", 24);
    assert_non_null(mkdtemp(certs_dir));
}

static inline void made_free(struct made *m)
{
    X509_free(m->cert);
    EVP_PKEY_free(m->key);
    if (m->path[0])
        unlink(m->path);
    *m = (struct made){0};
}

static inline void extend(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *ext;

    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(ext);
    assert_int_equal(X509_add_ext(cert, ext, -1), 1);
    X509_EXTENSION_free(ext);
}

/* For `name`, signed by `by` or itself; `rsa`: bits of an RSA key, 0 for one of P-256. */
static inline struct made make_cert(const char *name, const struct made *by, unsigned rsa)
{
    struct made m = {.cert = X509_new()};
    char san[300];
    static int serial;
    FILE *f;

    m.key = rsa ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)rsa)
                : EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    assert_non_null(m.key);
    X509_set_version(m.cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(m.cert), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(m.cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(m.cert), 3600);
    X509_set_pubkey(m.cert, m.key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(m.cert), "O", MBSTRING_UTF8,
                               (const unsigned char *)"The, Tests", -1, -1, 0);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(m.cert), "CN", MBSTRING_UTF8,
                               (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(m.cert, X509_get_subject_name(by ? by->cert : m.cert));
    extend(m.cert, by ? by->cert : m.cert, NID_basic_constraints, by ? "CA:FALSE" : "CA:TRUE");
    snprintf(san, sizeof san, "DNS:%s", name);
    extend(m.cert, by ? by->cert : m.cert, NID_subject_alt_name, san);
    assert_true(X509_sign(m.cert, by ? by->key : m.key, EVP_sha256()) > 0);
    snprintf(m.path, sizeof m.path, "%s/%d.pem", certs_dir, serial);
    f = fopen(m.path, "w");
    assert_non_null(f);
    assert_int_equal(PEM_write_X509(f, m.cert), 1);
    assert_int_equal(PEM_write_PrivateKey(f, m.key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(f);
    return m;
}

#endif
