/* SPDX-License-Identifier: MIT */
#ifndef FERRY_MAIL_SERVICE_H
#define FERRY_MAIL_SERVICE_H

#include "ferry/client.h"
#include "io/tls.h"
#include "smtp/smtp.h"

/*
 * A mail service as plain data: what one `mail "name" { }` block of a configuration says, and what
 * its sockets offer. Several services share a process. src/config fills it, by offsets in a table;
 * whoever starts the gateway adds the clients.
 */

/* X(name, text): what a service is for; the defaults of some settings follow from it */
#define FERRY_MAIL_PROTOCOL_MAP(X)                                                                 \
    X(SMTP, "smtp")             /* mail for our own recipients, from anywhere */                   \
    X(SUBMISSION, "submission") /* from our own users: AUTH is needed */                           \
    X(LMTP, "lmtp")             /* from a mail server in front: one answer for each recipient */

enum ferry_mail_protocol {
#define X(name, text) FERRY_MAIL_##name,
    FERRY_MAIL_PROTOCOL_MAP(X)
#undef X
};

/* X(name, text) */
#define FERRY_MAIL_TLS_MAP(X)                                                                      \
    X(OFF, "off")                                                                                  \
    X(STARTTLS, "starttls") /* offered, when there is a certificate */                             \
    X(REQUIRED, "required") /* STARTTLS before MAIL */                                             \
    X(IMPLICIT, "implicit") /* from the first byte */

enum ferry_mail_tls {
#define X(name, text) FERRY_MAIL_TLS_##name,
    FERRY_MAIL_TLS_MAP(X)
#undef X
};

/* X(name, text): how the save script is given the message */
#define FERRY_MAIL_FORMAT_MAP(X)                                                                   \
    X(URLENCODED, "urlencoded") /* fields of a form, `body` among them */                          \
    X(MULTIPART, "multipart")   /* the same, `body` as an uploaded file */                         \
    X(RFC822, "rfc822")         /* the message on STDIN, all else in params */

enum ferry_mail_format {
#define X(name, text) FERRY_MAIL_FORMAT_##name,
    FERRY_MAIL_FORMAT_MAP(X)
#undef X
};

/* X(name, text): what is answered when it is not known whether the answer is yes */
#define FERRY_MAIL_FAIL_MAP(X)                                                                     \
    X(TEMP, "temp")     /* 4xx: who sent it tries again */                                         \
    X(PERM, "perm")     /* 5xx, as go-guerrilla does: a sender gives up */                         \
    X(ACCEPT, "accept") /* of validate only: every recipient is good */

enum ferry_mail_fail {
#define X(name, text) FERRY_MAIL_FAIL_##name,
    FERRY_MAIL_FAIL_MAP(X)
#undef X
};

/* X(name, text): fields put in front of a message */
#define FERRY_MAIL_HEADERS_MAP(X)                                                                  \
    X(TRACE, "trace")         /* Return-Path, Received */                                          \
    X(DELIVERED, "delivered") /* these, and Delivered-To where there is one recipient */           \
    X(NONE, "none")           /* byte for byte as it came */

enum ferry_mail_headers {
#define X(name, text) FERRY_MAIL_HEADERS_##name,
    FERRY_MAIL_HEADERS_MAP(X)
#undef X
};

/* A script of an application. */
struct ferry_mail_script {
    const char *path; /* SCRIPT_FILENAME; NULL: none */
    struct ferry_client *client;
    unsigned timeout_ms; /* validate 5000, save 30,000 (120,000 at most), auth 10,000 */
};

/* Addresses: "192.0.2.0/24", "::1", "unix". */
struct ferry_mail_networks {
    const char *const *texts;
    unsigned n;
};

/* Every zero means the default that stands beside it. Strings and arrays outlive the gateway. */
struct ferry_mail_service {
    const char *name;
    enum ferry_mail_protocol protocol;
    const char *hostname; /* the machine's */

    /* Whose mail is taken: "example.com", "*.example.com" (not example.com itself), "[192.0.2.1]",
     * "." (any, as is "*"). Case counts not, and a name and its punycode are one. */
    const char *const *domains;
    unsigned ndomains;
    bool accept_all; /* any domain */
    struct ferry_mail_script validate, save, auth;
    unsigned queue_ms;     /* how long a call waits for a connection: 10,000 */
    const char *maildir;   /* messages are stored here; also without any script */
    bool maildir_per_user; /* below it, in a folder for each recipient: domain/local */
    enum ferry_mail_format format;
    enum ferry_mail_headers headers;
    enum ferry_mail_fail save_fail, validate_fail;
    bool strict_token;      /* SAVED counts only with the token that ends the form */
    bool seed_fields_only;  /* only go-guerrilla's fields */
    bool per_recipient;     /* LMTP: a call for each recipient */
    bool compress;          /* the body is handed on deflated (zlib), `body_encoding` says so */
    bool debug;             /* envelope and header of each message are logged */
    unsigned verdict_ms;    /* answers of validate are remembered; 0: not */
    unsigned verdict_no_ms; /* refusals: a tenth of it */
    unsigned saved_ms;      /* a message whose 250 was not seen is known again: 3,600,000 */
    unsigned saved_max;     /* of those at most; 10,000 */
    bool remember_saved;

    /* The dialogue; hostname, lmtp, tls, starttls, auth, proxy of it are set from here. */
    struct ferry_smtp_opts smtp;

    enum ferry_mail_tls tls;
    struct ferry_tls_opts tls_opts; /* certs: none means no TLS */

    /* Who is who, by the address of the connection. */
    struct ferry_mail_networks proxy_from; /* must send a PROXY header */
    struct ferry_mail_networks xclient_from, xforward_from;
    struct ferry_mail_networks trusted; /* no limits of rate and step */
    struct ferry_mail_networks deny;    /* 554 */
    bool names;                         /* the client's name is looked up (confirmed both ways) */

    /* Limits; all threads together. 0 for a rate: none. */
    unsigned clients_max;         /* 1000 */
    unsigned clients_per_ip;      /* 20; IPv6: of a /64 */
    unsigned connects_per_minute; /* of one address */
    unsigned mails_per_minute, rcpts_per_minute;
    unsigned auth_fails_per_minute; /* 10 */
    uint64_t spool_max;             /* bytes of messages under way: 1 GiB */
    uint32_t spool_mem;             /* of one message, in memory: 65,536; the rest in a file */
};

#endif
