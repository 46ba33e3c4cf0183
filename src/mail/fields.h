/* SPDX-License-Identifier: MIT */
#ifndef FERRY_MAIL_FIELDS_H
#define FERRY_MAIL_FIELDS_H

#include "mail/verdict.h"

/*
 * What scripts are told, in one table: as fields of a query or form, and as params ($_SERVER in
 * PHP). A value means the same in both.
 */

enum {
    FERRY__OF_V = 1 << FERRY_MAIL_VALIDATE,
    FERRY__OF_S = 1 << FERRY_MAIL_SAVE,
    FERRY__OF_A = 1 << FERRY_MAIL_AUTH,
    FERRY__OF_VS = FERRY__OF_V | FERRY__OF_S,
    FERRY__OF_ALL = FERRY__OF_VS | FERRY__OF_A,
    FERRY__OF_NONE = 0,
};

/*
 * X(name, field, param, questions, of which questions go-guerrilla sends it, text): in the order in
 * which they are sent. A param "" is none: passwords are for the form alone.
 */
#define FERRY_MAIL_FIELD_MAP(X)                                                                    \
    X(rcpt_to, "rcpt_to", "MAIL_RCPT", VS, V,                                                      \
      "the recipient, as local@domain; to save all of them, one a line")                           \
    X(mail_from, "mail_from", "MAIL_FROM", VS, S, "the sender; empty for a bounce")                \
    X(helo, "helo", "MAIL_HELO", ALL, S, "the name the client gave itself, as it came")            \
    X(remote_ip, "remote_ip", "MAIL_CLIENT_ADDR", ALL, S,                                          \
      "the client's address, behind PROXY, XCLIENT and XFORWARD; `local` on a Unix socket")        \
    X(tls_on, "tls_on", "MAIL_TLS", ALL, S, "`true` or `false`")                                   \
    X(subject, "subject", "MAIL_SUBJECT", S, S, "decoded, in UTF-8")                               \
    X(rcpt_count, "rcpt_count", "MAIL_RCPT_COUNT", VS, NONE,                                       \
      "to save: of recipients; else: how many were taken already")                                 \
    X(rcpt_raw, "rcpt_raw", "MAIL_RCPT_RAW", V, NONE, "what stood between the brackets")           \
    X(rcpt_local, "rcpt_local", "MAIL_RCPT_LOCAL", V, NONE, "before the last `@`")                 \
    X(rcpt_domain, "rcpt_domain", "MAIL_RCPT_DOMAIN", V, NONE, "behind it")                        \
    X(mail_from_raw, "mail_from_raw", "MAIL_FROM_RAW", VS, NONE,                                   \
      "what stood between the brackets")                                                           \
    X(mail_auth, "mail_auth", "MAIL_AUTH", VS, NONE, "AUTH= of MAIL, decoded")                     \
    X(mail_ret, "mail_ret", "MAIL_RET", VS, NONE, "`FULL`, `HDRS` or nothing (DSN)")               \
    X(envid, "envid", "MAIL_ENVID", VS, NONE, "ENVID= of MAIL, decoded (DSN)")                     \
    X(helo_verb, "helo_verb", "MAIL_HELO_VERB", ALL, NONE, "`HELO`, `EHLO` or `LHLO`")             \
    X(helo_valid, "helo_valid", "MAIL_HELO_VALID", ALL, NONE,                                      \
      "`1`: it could be a host's name or address")                                                 \
    X(remote_port, "remote_port", "REMOTE_PORT", ALL, NONE, "empty when it is not known")          \
    X(remote_name, "remote_name", "MAIL_CLIENT_NAME", ALL, NONE,                                   \
      "the client's name, confirmed both ways, or `unknown`")                                      \
    X(remote_name_status, "remote_name_status", "MAIL_CLIENT_NAME_STATUS", ALL, NONE,              \
      "`ok`, `none`, `fail`, `tempfail` or `off`")                                                 \
    X(peer_ip, "peer_ip", "MAIL_PEER_ADDR", ALL, NONE, "the other end of the connection")          \
    X(peer_port, "peer_port", "MAIL_PEER_PORT", ALL, NONE, "its port")                             \
    X(origin, "origin", "MAIL_ORIGIN", ALL, NONE,                                                  \
      "where `remote_ip` comes from: `direct`, `proxy`, `xclient` or `xforward`")                  \
    X(server_ip, "server_ip", "SERVER_ADDR", ALL, NONE, "our end of the connection")               \
    X(server_port, "server_port", "SERVER_PORT", ALL, NONE, "and its port")                        \
    X(listener, "listener", "MAIL_LISTENER", ALL, NONE, "the name of the service")                 \
    X(protocol, "protocol", "MAIL_PROTOCOL", ALL, NONE, "`SMTP`, `ESMTPS`, `LMTP` ... (RFC 3848)") \
    X(tls_version, "tls_version", "MAIL_TLS_VERSION", ALL, NONE, "`TLSv1.3`")                      \
    X(tls_cipher, "tls_cipher", "MAIL_TLS_CIPHER", ALL, NONE, "in OpenSSL's words")                \
    X(tls_bits, "tls_bits", "MAIL_TLS_BITS", ALL, NONE, "of its key")                              \
    X(tls_sni, "tls_sni", "MAIL_TLS_SNI", ALL, NONE, "the name the client asked for")              \
    X(tls_client_subject, "tls_client_subject", "MAIL_TLS_CLIENT_SUBJECT", ALL, NONE,              \
      "of the client's certificate")                                                               \
    X(tls_client_issuer, "tls_client_issuer", "MAIL_TLS_CLIENT_ISSUER", ALL, NONE, "of the same")  \
    X(tls_client_fingerprint_sha256, "tls_client_fingerprint_sha256",                              \
      "MAIL_TLS_CLIENT_FINGERPRINT_SHA256", ALL, NONE, "hexadecimal")                              \
    X(tls_client_verified, "tls_client_verified", "MAIL_TLS_CLIENT_VERIFIED", ALL, NONE,           \
      "`1`: the certificate is good")                                                              \
    X(auth_user, "auth_user", "MAIL_AUTH_USER", ALL, NONE, "who the client is, or says to be")     \
    X(auth_mech, "auth_mech", "MAIL_AUTH_MECH", ALL, NONE, "`PLAIN` or `LOGIN`")                   \
    X(auth_identity, "auth_identity", "", A, NONE, "whom the user wants to be; empty: itself")     \
    X(password, "password", "", A, NONE, "what it says to prove it")                               \
    X(smtputf8, "smtputf8", "MAIL_SMTPUTF8", VS, NONE, "`1` or `0`")                               \
    X(body_type, "body_type", "MAIL_BODY_TYPE", VS, NONE, "`7BIT`, `8BITMIME` or `BINARYMIME`")    \
    X(size_declared, "size_declared", "MAIL_SIZE_DECLARED", VS, NONE, "SIZE= of MAIL")             \
    X(size, "size", "MAIL_SIZE", S, NONE, "bytes of `body` as it is handed over")                  \
    X(body_sha256, "body_sha256", "MAIL_SHA256", S, NONE, "of `body` as it is handed over")        \
    X(body_encoding, "body_encoding", "MAIL_BODY_ENCODING", S, NONE,                               \
      "`zlib`: `body` is to be inflated first; else empty")                                        \
    X(message_key, "message_key", "MAIL_KEY", S, NONE,                                             \
      "the same for the same message from the same sender to the same recipients, sent again")     \
    X(transaction_id, "transaction_id", "MAIL_ID", VS, NONE, "never the same again")               \
    X(session_id, "session_id", "MAIL_SESSION", ALL, NONE, "of the connection")                    \
    X(msg_seq, "msg_seq", "MAIL_SEQ", VS, NONE, "number of the message in its session, from 1")    \
    X(origin_queue_id, "origin_queue_id", "MAIL_ORIGIN_ID", ALL, NONE,                             \
      "XFORWARD's IDENT: the queue id of the server in front")                                     \
    X(subject_raw, "subject_raw", "MAIL_SUBJECT_RAW", S, NONE, "as it stands there, unfolded")     \
    X(subject_count, "subject_count", "MAIL_SUBJECT_COUNT", S, NONE,                               \
      "how many there are; the first is told")                                                     \
    X(subject_truncated, "subject_truncated", "MAIL_SUBJECT_TRUNCATED", S, NONE,                   \
      "`1`: it was cut at 4096 bytes")                                                             \
    X(header_ok, "header_ok", "MAIL_HEADER_OK", S, NONE, "`0`: a line of the header is no field")  \
    X(message_id, "message_id", "MAIL_MESSAGE_ID", S, NONE, "of the header")                       \
    X(header_from, "header_from", "MAIL_HEADER_FROM", S, NONE, "unfolded, not decoded")            \
    X(header_to, "header_to", "MAIL_HEADER_TO", S, NONE, "the same")                               \
    X(header_date, "header_date", "MAIL_HEADER_DATE", S, NONE, "the same")                         \
    X(received_count, "received_count", "MAIL_HOPS", S, NONE, "Received fields")                   \
    X(received_at, "received_at", "MAIL_TIME", ALL, NONE,                                          \
      "when the transaction began: `2026-01-31T23:59:59.123456Z`")                                 \
    X(stage, "stage", "MAIL_STAGE", ALL, NONE, "`rcpt`, `save` or `auth`")                         \
    X(ferry_version, "ferry_version", "MAIL_FERRY_VERSION", ALL, NONE, "of ferry")                 \
    X(api, "api", "MAIL_API", ALL, NONE, "`1`: the meaning of all these")

/* X(name, field, param, questions, seed, text): for each recipient, with its number from 0 on. To
 * validate there is one. Recipients are params only when there is no form. */
#define FERRY_MAIL_RCPT_FIELD_MAP(X)                                                               \
    X(rcpt_to_n, "rcpt_to_", "MAIL_RCPT_TO_", S, S, "each recipient")                              \
    X(rcpt_key_n, "rcpt_key_", "MAIL_RCPT_KEY_", S, NONE, "`message_key` for it alone")            \
    X(orcpt_n, "orcpt_", "MAIL_ORCPT_", VS, NONE, "ORCPT= of RCPT, when there is one (DSN)")       \
    X(notify_n, "notify_", "MAIL_NOTIFY_", VS, NONE, "NOTIFY= of RCPT, when there is one (DSN)")

/* What a question is about. */
struct ferry__mail_about {
    enum ferry_mail_question question;
    const struct ferry_mail_facts *facts;
    const struct ferry_smtp_path *rcpt; /* to validate */
    const struct ferry_smtp_rcpt_params *rcpt_params;
    const struct ferry_smtp_sasl *sasl; /* auth */
    const struct ferry_mail_message *message;
    const struct ferry_smtp_rcpt *one; /* to save for it alone */
    uint64_t size;                     /* of the body as it is handed over */
    const char *sha256;                /* of the same */
    bool packed;
};

struct ferry__mail_field {
    struct ferry_slice field, param, value; /* live during the call */
    bool of_seed;
    bool of_rcpt; /* one of several, or all recipients */
};

/* Calls `each` for every field of the question, in order; what that returns other than 0 ends it.
 * 0, that, or -ENOMEM. */
FERRY_MUST_CHECK
int ferry__mail_fields(const struct ferry__mail_about *,
                       int (*each)(void *arg, const struct ferry__mail_field *), void *arg);

#endif
