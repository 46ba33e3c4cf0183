/* SPDX-License-Identifier: MIT */
#ifndef FERRY_MAIL_MAIL_H
#define FERRY_MAIL_MAIL_H

#include "io/loop.h"
#include "mail/service.h"

/*
 * The mail gateway: SMTP and LMTP sessions whose recipients are checked and whose messages are
 * saved by FastCGI scripts. There is no queue: a message is ours only when a script has said SAVED,
 * to the last record of its answer; until then its sender has it, and all that is in doubt is told
 * with a 4xx. One struct ferry_mail holds what all threads share; each thread runs its own part.
 */

enum ferry_mail_level {
    FERRY_MAIL_LOG_ERROR,  /* for the operator */
    FERRY_MAIL_LOG_SCRIPT, /* what a script wrote to its error stream */
    FERRY_MAIL_LOG_LINE,   /* one transaction or session, as log_format says */
    FERRY_MAIL_LOG_VERBOSE,
};

enum ferry_mail_log_format { FERRY_MAIL_LOG_TEXT, FERRY_MAIL_LOG_JSON };

/* All it points to outlives the gateway. */
struct ferry_mail_opts {
    const struct ferry_mail_service *services;
    unsigned nservices;
    enum ferry_mail_log_format log_format;
    const char
        *spool; /* folder for messages that wait, unlinked files; NULL: $TMPDIR or /var/tmp */
    /* A line, escaped and without its end; called from any thread. */
    void (*log)(void *arg, enum ferry_mail_level, struct ferry_slice line);
    void *log_arg;
};

struct ferry_mail;
struct ferry_mail_thread;

/* 0 and *out; or -ENOMEM, or FERRY_EUSAGE with `why` (a certificate, a network, a domain that is
 * none; a public address that would take mail for anybody is the caller's to look at). Certificates
 * are read here, before privileges are given up. */
FERRY_MUST_CHECK
int ferry_mail_new(const struct ferry_mail_opts *, struct ferry_mail **out, char *why, size_t cap);
void ferry_mail_free(struct ferry_mail *); /* after its threads; takes NULL */

/* The part of one thread, before its loop runs; `index` is its number with all clients. */
FERRY_MUST_CHECK
int ferry_mail_thread_new(struct ferry_mail *, unsigned index, struct ferry_loop *,
                          struct ferry_mail_thread **out);
/* Accepts on a listening socket for the service of this number: 0, and it is ours; or -errno. */
FERRY_MUST_CHECK
int ferry_mail_listen(struct ferry_mail_thread *, int fd, unsigned service);

/* Accepts nothing more; idle sessions get 421, a message that is being saved is finished, one that
 * is being sent may be sent; `done` when no session is left. */
void ferry_mail_thread_drain(struct ferry_mail_thread *, void (*done)(void *), void *arg);
/* The same where another worker goes on with its sockets: what came to this one, and sessions that
 * have brought no message yet, may bring one within linger_ms. */
void ferry_mail_thread_retire(struct ferry_mail_thread *, unsigned linger_ms, void (*done)(void *),
                              void *arg);
/* While it drains: sessions end now, with 421; running save calls are waited for no longer. */
void ferry_mail_thread_cut(struct ferry_mail_thread *);
void ferry_mail_thread_free(struct ferry_mail_thread *); /* after `done` */

/* X(name, text): counters since the start; from any thread. Messages that came to their end:
 * accepted = saved + rejected + deferred + aborted */
#define FERRY_MAIL_COUNT_MAP(X)                                                                    \
    X(CONNECTIONS, "connections")                                                                  \
    X(REFUSED, "refused")   /* connections, by a limit or a list */                                \
    X(SESSIONS, "sessions") /* open now */                                                         \
    X(RCPTS, "recipients")  /* asked for */                                                        \
    X(RCPTS_OK, "recipients_ok")                                                                   \
    X(ACCEPTED, "accepted") /* transactions that reached DATA or BDAT */                           \
    X(SAVED, "saved")                                                                              \
    X(REJECTED, "rejected")             /* 5xx */                                                  \
    X(DEFERRED, "deferred")             /* 4xx */                                                  \
    X(ABORTED, "aborted")               /* the client left, or was ended, before an answer */      \
    X(UNCONFIRMED, "saved_unconfirmed") /* of saved: whether its 250 arrived is not known */       \
    X(SCRIPT_FAULTS, "script_faults")                                                              \
    X(BYTES, "bytes") /* of messages saved */                                                      \
    X(TLS, "tls")     /* sessions with TLS */                                                      \
    X(AUTH_FAILED, "auth_failed")

enum ferry_mail_count {
#define X(name, text) FERRY_MAIL_COUNT_##name,
    FERRY_MAIL_COUNT_MAP(X)
#undef X
        FERRY_MAIL_COUNTS
};
void ferry_mail_stats(const struct ferry_mail *, uint64_t out[FERRY_MAIL_COUNTS]);
const char *ferry_mail_count_name(enum ferry_mail_count);

/* Are these networks? 0; FERRY_EUSAGE with `why`, which names the first text that is none; -ENOMEM.
 */
FERRY_MUST_CHECK
int ferry_mail_networks_check(const struct ferry_mail_networks *, char *why, size_t cap);

#endif
