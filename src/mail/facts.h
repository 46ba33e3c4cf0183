/* SPDX-License-Identifier: MIT */
#ifndef FERRY_MAIL_FACTS_H
#define FERRY_MAIL_FACTS_H

#include "io/addr.h"
#include "mail/service.h"

/*
 * What is known about a session and its transaction, gathered in one place by the session
 * (session.c) and read by all that hand it on: scripts' fields and params, trace fields, log lines.
 */

/* X(name, text): where the client's address comes from */
#define FERRY_MAIL_ORIGIN_MAP(X)                                                                   \
    X(DIRECT, "direct") X(PROXY, "proxy") X(XCLIENT, "xclient") X(XFORWARD, "xforward")

enum ferry_mail_origin {
#define X(name, text) FERRY_MAIL_ORIGIN_##name,
    FERRY_MAIL_ORIGIN_MAP(X)
#undef X
};

#define FERRY_MAIL_ID_MAX 32 /* "3FJX2QK0A7M4N1": with a NUL */
#define FERRY_MAIL_HOST_MAX 256

struct ferry_mail_facts {
    const struct ferry_mail_service *service;
    struct ferry_addr peer;   /* the connection's other end */
    struct ferry_addr server; /* and ours */
    char client_ip[64];       /* after PROXY, XCLIENT, XFORWARD; "local" on Unix sockets */
    unsigned client_port;     /* 0: not known */
    char client_name[FERRY_MAIL_HOST_MAX]; /* "unknown" without one */
    const char *name_status;               /* "ok", "none", "fail", "tempfail", "off" */
    enum ferry_mail_origin origin;
    char helo[FERRY_MAIL_HOST_MAX]; /* as sent, or as XCLIENT and XFORWARD have it */
    const char *helo_verb;          /* "EHLO" */
    bool helo_valid;
    const char *protocol;                    /* "ESMTPS" */
    const struct ferry_tls_info *tls;        /* never NULL */
    char auth_user[FERRY_SMTP_USER_MAX + 1]; /* "" without */
    const char *auth_mechanism;
    char origin_id[FERRY_SMTP_ATTR_MAX + 1]; /* XFORWARD IDENT, the queue id in front of us */
    char session_id[FERRY_MAIL_ID_MAX], id[FERRY_MAIL_ID_MAX]; /* of the transaction */
    int64_t time_us;                                           /* of the transaction, since 1970 */
    const struct ferry_smtp_envelope *envelope;
};

#endif
