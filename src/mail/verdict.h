/* SPDX-License-Identifier: MIT */
#ifndef FERRY_MAIL_VERDICT_H
#define FERRY_MAIL_VERDICT_H

#include "mail/message.h"

/*
 * What came of asking a script, in one table for all three questions: only an explicit answer,
 * complete to END_REQUEST, is a yes or a no; everything else is a fault, and a fault is "try again
 * later".
 */

enum ferry_mail_question { FERRY_MAIL_VALIDATE, FERRY_MAIL_SAVE, FERRY_MAIL_AUTH };

/* X(name, reply for validate, for save, word in the log) */
#define FERRY_MAIL_OUTCOME_MAP(X)                                                                  \
    X(OK, RCPT_OK, SAVED, "ok")                                                                    \
    X(DISCARD, RCPT_OK, SAVED, "discarded") /* save: said to be thrown away by the script */       \
    X(REJECT, USER_UNKNOWN, REJECTED, "rejected")                                                  \
    X(DEFER, USER_LATER, LATER, "deferred")                                                        \
    X(UNREACHABLE, CHECK_FAULT, NOT_SAVED, "script-unreachable")                                   \
    X(CUT, CHECK_FAULT, NOT_SAVED, "script-cut") /* no complete answer */                          \
    X(BAD, CHECK_FAULT, NOT_SAVED, "script-bad") /* no FastCGI, no CGI, app status not 0 */        \
    X(TIMEOUT, CHECK_FAULT, NOT_SAVED, "script-timeout")                                           \
    X(BUSY, BUSY, BUSY, "script-busy")                               /* queue, overloaded */       \
    X(CONFIGURATION, CONFIGURATION, CONFIGURATION, "script-missing") /* 403, 404, role */          \
    X(STATUS, CHECK_FAULT, NOT_SAVED, "script-status") /* any other status than 2xx */             \
    X(EMPTY, CHECK_FAULT, NOT_SAVED, "script-empty")                                               \
    X(NOT_SAVED, CHECK_FAULT, NOT_SAVED, "script-not-saved") /* any other answer than SAVED */     \
    X(TOKEN, CHECK_FAULT, NOT_SAVED, "script-token")         /* SAVED without the right token */   \
    X(TOO_LONG, CHECK_FAULT, NOT_SAVED, "script-too-long")                                         \
    X(STORAGE, CHECK_FAULT, NOT_SAVED, "storage") /* the maildir, or the spool */                  \
    X(INTERNAL, CHECK_FAULT, NOT_SAVED, "internal")

enum ferry_mail_outcome {
#define X(name, validate, save, word) FERRY_MAIL_##name,
    FERRY_MAIL_OUTCOME_MAP(X)
#undef X
};

#define FERRY_MAIL_WORDS_MAX 400
#define FERRY_MAIL_ANSWER_MAX 65536 /* bytes of an answer's body; more is TOO_LONG */

/* One answer: of a recipient, a message, a message for one recipient. */
struct ferry_mail_verdict {
    enum ferry_mail_outcome outcome;
    int code;                            /* that the script wants said; 0: the table's */
    char enhanced[12];                   /* "" : the table's, or made from the code */
    char text[FERRY_MAIL_WORDS_MAX + 1]; /* "": the table's. Made safe by whoever sends it */
    char id[65];                         /* of SAVED id=...; "" */
};

/* The body of an answer, with its status; only for one that was complete. `token` is what SAVED
 * must be followed by, empty: nothing. For a save of several recipients answered one by one ("rcpt
 * N SAVED" lines, N from 0 on as in rcpt_to_N) each of them gets its own verdict; `verdicts` has
 * room for nrcpts, and all are set. */
void ferry_mail_verdict_read(enum ferry_mail_question, int status, struct ferry_slice body,
                             struct ferry_slice token, struct ferry_mail_verdict *verdicts,
                             unsigned nrcpts);
/* And of one that was not: by how the exchange ended. */
void ferry_mail_verdict_fail(const struct ferry_outcome *, struct ferry_mail_verdict *);
/* One answer out of those for several recipients, where only one can be said (SMTP): the first
 * fault or DEFER, else the first that is saved, else the first refusal. */
const struct ferry_mail_verdict *ferry_mail_verdict_one(const struct ferry_mail_verdict *,
                                                        unsigned n);

const char *ferry_mail_outcome_word(enum ferry_mail_outcome);
/* What the client is told, unless the script said it: with the service's save_fail and
 * validate_fail. */
enum ferry_smtp_reply ferry_mail_verdict_reply(const struct ferry_mail_service *,
                                               enum ferry_mail_question,
                                               const struct ferry_mail_verdict *);
/* The script's own words for that reply, made whole with the table's code where it has said none:
 * the code for ferry_smtp_answer_custom, with *enhanced and *text (which borrow from the verdict);
 * or 0 when the table's reply is to be given as it is. */
int ferry_mail_verdict_words(const struct ferry_mail_service *, enum ferry_mail_question,
                             const struct ferry_mail_verdict *, struct ferry_slice *enhanced,
                             struct ferry_slice *text);

static inline bool ferry_mail_is_fault(enum ferry_mail_outcome o)
{
    return o >= FERRY_MAIL_UNREACHABLE;
}

#endif
