/* SPDX-License-Identifier: MIT */
#ifndef FERRY_IO_TLS_H
#define FERRY_IO_TLS_H

#include "base/machine.h"
#include "ferry/err.h"

/*
 * TLS as a machine around another machine (base/machine.h): a pump is given this one, and it gives
 * the inner one what was decrypted and sends what that has to say encrypted. Until ferry_tls_start
 * bytes pass through as they are, which is how STARTTLS and a PROXY header before TLS work. The
 * owner pulls events from the inner machine as if this one were not there (but slices of them do
 * not lie in the pump's in_block). OpenSSL, with memory between it and us: no socket is touched
 * here.
 *
 * The client's end, told to the inner machine as recv with n == 0, is its close_notify, or the end
 * of the connection without one, or bytes that are not of this session. A cut record is no data.
 * When the inner machine is finished, or wants the sending side shut down, a close_notify goes
 * behind its output.
 */

/* -- certificates: what many sessions share
 * -------------------------------------------------------------------------------------------------
 */

enum ferry_tls_clients { FERRY_TLS_CLIENTS_NONE, FERRY_TLS_CLIENTS_ASK, FERRY_TLS_CLIENTS_NEED };

struct ferry_tls_cert {
    const char *cert, *key; /* PEM files: the chain, its own first; the key, NULL: in `cert` too */
};

/* Every zero means the default beside it. Nothing of it is needed after ferry_tls_ctx_new. */
struct ferry_tls_opts {
    const struct ferry_tls_cert *certs; /* the first is for names that no other is for */
    unsigned ncerts;
    const char *min;          /* "1.2" (which is the default), "1.3"; "1.0", "1.1" for old peers */
    const char *max;          /* the newest there is */
    const char *ciphers;      /* up to 1.2, in OpenSSL's words */
    const char *ciphersuites; /* 1.3 */
    const char *curves;
    enum ferry_tls_clients clients; /* are certificates of clients asked for? */
    const char *client_ca;          /* file that these are checked by; NULL: the system's */
    const char *const *alpn;        /* protocols, up to a NULL: a client that offers only others is
                                       refused. NULL: not looked at */
    const char *ticket_label;       /* session tickets of one label are no good at another: "" */
};

struct ferry_tls_ctx;

/* 0; FERRY_EUSAGE with `why`: a file cannot be read, a key does not fit, a word is unknown; or
 * -ENOMEM. For any number of threads. */
FERRY_MUST_CHECK
int ferry_tls_ctx_new(const struct ferry_tls_opts *, struct ferry_tls_ctx **out, char *why,
                      size_t cap);
void ferry_tls_ctx_free(struct ferry_tls_ctx *); /* after its sessions; takes NULL */

/* -- one session
 * -------------------------------------------------------------------------------------------------
 */

struct ferry_tls;

/* `inner` and `m` outlive it; m's chain is `inner->output(m)`. NULL: no memory. `ctx` may be NULL
 * when it is never started. handshake_ms: 30,000 for 0. */
struct ferry_tls *ferry_tls_new(struct ferry_tls_ctx *, struct ferry_blocks *,
                                const struct ferry_machine *inner, void *m, uint32_t handshake_ms);
void ferry_tls_free(struct ferry_tls *); /* takes NULL */

/* What a pump is given, with the struct ferry_tls as its machine. */
extern const struct ferry_machine ferry_tls_machine;

/*
 * TLS begins: behind the inner machine's output of this moment (which holds no file ranges), and
 * with the next byte received. What was received and not yet taken by the inner machine must not
 * be: bytes behind STARTTLS are part of the handshake, and fail it. `stands` is called (from recv
 * or tick) when the handshake is done, or with an error when it failed (FERRY_EPROTOCOL, FERRY_ECUT
 * when the client left, -ETIMEDOUT, -ENOMEM): nothing goes on as plain text then, the inner machine
 * is asked and told nothing more, and the pump's `finished` comes when the client has had a moment
 * to read the alert.
 */
void ferry_tls_start(struct ferry_tls *, void (*stands)(void *arg, int err), void *arg,
                     uint64_t now_ms);

/* What became of it; "" and 0 for what is not there. Strings live as long as the session. */
struct ferry_tls_info {
    bool on;
    const char *version; /* "TLSv1.3" */
    const char *cipher;  /* "TLS_AES_256_GCM_SHA384" */
    int bits;
    const char *sni;
    bool client_verified;                       /* it sent a certificate, and it is good */
    const char *client_subject, *client_issuer; /* RFC 2253 */
    char client_sha256[65];                     /* of the certificate, hexadecimal */
};
const struct ferry_tls_info *ferry_tls_info(const struct ferry_tls *);
/* Why the handshake failed, for the log: "" when it did not. */
const char *ferry_tls_why(const struct ferry_tls *);

#endif
