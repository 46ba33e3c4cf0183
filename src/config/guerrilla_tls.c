/* SPDX-License-Identifier: MIT */
/* servers[].tls of go-guerrilla, whose names of ciphers are those of Go's constants. Up to 1.5 its
 * first keys stood in the server itself: they count where there is no `tls`, so that nobody who
 * moves with such a file serves in clear text. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/slice.h"
#include "config/guerrilla.h"

struct name {
    const char *theirs, *ours;
};

static const struct name ciphers[] = {
    {"TLS_RSA_WITH_3DES_EDE_CBC_SHA", "DES-CBC3-SHA"},
    {"TLS_RSA_WITH_AES_128_CBC_SHA", "AES128-SHA"},
    {"TLS_RSA_WITH_AES_256_CBC_SHA", "AES256-SHA"},
    {"TLS_RSA_WITH_AES_128_CBC_SHA256", "AES128-SHA256"},
    {"TLS_RSA_WITH_AES_128_GCM_SHA256", "AES128-GCM-SHA256"},
    {"TLS_RSA_WITH_AES_256_GCM_SHA384", "AES256-GCM-SHA384"},
    {"TLS_RSA_WITH_RC4_128_SHA", "RC4-SHA"},
    {"TLS_ECDHE_RSA_WITH_RC4_128_SHA", "ECDHE-RSA-RC4-SHA"},
    {"TLS_ECDHE_ECDSA_WITH_RC4_128_SHA", "ECDHE-ECDSA-RC4-SHA"},
    {"TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA", "ECDHE-RSA-DES-CBC3-SHA"},
    {"TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", "ECDHE-ECDSA-AES128-SHA"},
    {"TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", "ECDHE-ECDSA-AES256-SHA"},
    {"TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "ECDHE-RSA-AES128-SHA"},
    {"TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", "ECDHE-RSA-AES256-SHA"},
    {"TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", "ECDHE-ECDSA-AES128-SHA256"},
    {"TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256", "ECDHE-RSA-AES128-SHA256"},
    {"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"},
    {"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"},
    {"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384"},
    {"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"},
    {"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"},
    {"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", "ECDHE-ECDSA-CHACHA20-POLY1305"},
    {"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"},
    {"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"},
    {NULL, NULL},
};
/* Of version 1.3, where OpenSSL has the same names. */
static const struct name suites[] = {
    {"TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"},
    {"TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"},
    {"TLS_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256"},
    {NULL, NULL},
};
static const struct name curves[] = {
    {"P256", "P-256"}, {"P384", "P-384"}, {"P521", "P-521"}, {"X25519", "X25519"}, {NULL, NULL},
};
static const struct name versions[] = {
    {"ssl3.0", "1.0"}, {"tls1.0", "1.0"}, {"tls1.1", "1.1"},
    {"tls1.2", "1.2"}, {"tls1.3", "1.3"}, {NULL, NULL},
};
static const struct name clients[] = {
    {"NoClientCert", "none"},
    {"RequestClientCert", "ask"},
    {"VerifyClientCertIfGiven", "ask"},
    {"RequireAnyClientCert", "need"},
    {"RequireAndVerifyClientCert", "need"},
    {NULL, NULL},
};

static const char *const keys[] = {"start_tls_on",
                                   "tls_always_on",
                                   "private_key_file",
                                   "public_key_file",
                                   "root_cas_file",
                                   "client_auth_type",
                                   "protocols",
                                   "ciphers",
                                   "curves",
                                   "prefer_server_cipher_suites",
                                   NULL};

const char *const ferry__guerrilla_tls_of_old[] = {"start_tls_on", "tls_always_on",
                                                   "private_key_file", "public_key_file", NULL};

static const char *ours(const struct name *names, const char *theirs)
{
    while (names->theirs && (!theirs || strcmp(names->theirs, theirs) != 0))
        names++;
    return names->ours;
}

/* Those of a list that have a name in one of two tables, with ':' between them; the others are
 * named, unless `other` has them. */
static void put_names(struct ferry__guerrilla *g, const json_t *list, const char *key,
                      const struct name *names, const struct name *other, const char *setting)
{
    char text[2048] = "";
    size_t i, n = 0;
    const json_t *v;

    json_array_foreach(list, i, v)
    {
        const char *name = ours(names, json_string_value(v));

        if (name && n + strlen(name) + 2 < sizeof text)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", n ? ":" : "", name);
        else if (!name && !(other && ours(other, json_string_value(v))))
            ferry__guerrilla_error(g, "'%.60s' in '%s' is not known",
                                   json_is_string(v) ? json_string_value(v) : "this", key);
    }
    if (n)
        ferry__guerrilla_put(g, setting, text);
}

static void put_versions(struct ferry__guerrilla *g, const json_t *list)
{
    static const char *const settings[] = {"tls-min", "tls-max"};

    for (size_t i = 0; i < json_array_size(list) && i < 2; i++) {
        const char *theirs = json_string_value(json_array_get(list, i));
        const char *name = ours(versions, theirs);

        if (!name)
            ferry__guerrilla_error(g, "'%.20s' in 'protocols' is not known", theirs ? theirs : "");
        else
            ferry__guerrilla_put(g, settings[i], name);
        if (theirs && strcmp(theirs, "ssl3.0") == 0)
            ferry__guerrilla_notice(g, "'ssl3.0' in 'protocols' means TLS 1.0 here");
    }
}

static void put_clients(struct ferry__guerrilla *g, const json_t *tls)
{
    const char *theirs = ferry__guerrilla_text(g, tls, "client_auth_type");
    const char *ca = ferry__guerrilla_text(g, tls, "root_cas_file");
    const char *name = theirs && *theirs ? ours(clients, theirs) : "none";

    if (!name) {
        ferry__guerrilla_error(g, "'%.40s' is no client_auth_type", theirs);
        return;
    }
    ferry__guerrilla_put(g, "tls-clients", name);
    if (ca && *ca && strcmp(name, "none") != 0)
        ferry__guerrilla_put(g, "tls-client-ca", ca);
    else if (ca && *ca)
        ferry__guerrilla_notice(g, "'root_cas_file' is ignored: no certificates of clients are "
                                   "asked for");
}

static bool there(struct ferry__guerrilla *g, const char *file, const char *interface)
{
    struct stat st;

    if (stat(file, &st) == 0)
        return true;
    ferry__guerrilla_error(g, "could not stat key for server [%.60s], stat %.200s: %s", interface,
                           file, ferry_strerror(-errno));
    return false;
}

static const json_t *keys_of(struct ferry__guerrilla *g, const json_t *server,
                             const char *interface)
{
    const json_t *tls = json_object_get(server, "tls");

    if (!tls)
        return server;
    for (unsigned i = 0; ferry__guerrilla_tls_of_old[i]; i++)
        if (json_object_get(server, ferry__guerrilla_tls_of_old[i]))
            ferry__guerrilla_notice(g, "'%s' of %.60s is ignored: it has 'tls'",
                                    ferry__guerrilla_tls_of_old[i], interface);
    if (json_is_object(tls)) {
        ferry__guerrilla_unknown(g, tls, "'tls'", keys);
        return tls;
    }
    ferry__guerrilla_error(g, "'tls' of %.60s must be an object", interface);
    return NULL;
}

void ferry__guerrilla_tls(struct ferry__guerrilla *g, const json_t *server, const char *interface)
{
    const json_t *tls = keys_of(g, server, interface);
    bool start = ferry__guerrilla_flag(g, tls, "start_tls_on");
    bool always = ferry__guerrilla_flag(g, tls, "tls_always_on");
    const char *cert = ferry__guerrilla_text(g, tls, "public_key_file");
    const char *key = ferry__guerrilla_text(g, tls, "private_key_file");

    if (!tls)
        return;
    if (!start && !always) {
        fputs("tls = off\n", g->out);
        return;
    }
    if (!cert || !*cert)
        ferry__guerrilla_error(g, "PublicKeyFile is empty");
    if (!key || !*key)
        ferry__guerrilla_error(g, "PrivateKeyFile is empty");
    if (!cert || !*cert || !key || !*key || !there(g, cert, interface) || !there(g, key, interface))
        return;
    ferry__guerrilla_put(g, "tls", always ? "implicit" : "starttls");
    ferry__guerrilla_put(g, "tls-cert", cert);
    ferry__guerrilla_put(g, "tls-key", key);
    put_versions(g, json_object_get(tls, "protocols"));
    put_names(g, json_object_get(tls, "ciphers"), "ciphers", ciphers, suites, "tls-ciphers");
    put_names(g, json_object_get(tls, "ciphers"), "ciphers", suites, ciphers, "tls-ciphersuites");
    put_names(g, json_object_get(tls, "curves"), "curves", curves, NULL, "tls-curves");
    put_clients(g, tls);
}
