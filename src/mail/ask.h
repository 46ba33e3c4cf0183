/* SPDX-License-Identifier: MIT */
#ifndef FERRY_MAIL_ASK_H
#define FERRY_MAIL_ASK_H

#include "mail/verdict.h"

/*
 * Asking a script: may this recipient receive, is this password right, and: save this message. One
 * question at a time in one struct ferry_mail_ask, which is embedded in its owner. A message is
 * sent once; only when it is certain that no application has seen it (no connection, or a kept one
 * that was closed before) another connection is tried. A question that has begun goes to its end:
 * ferry_mail_ask_forget gives up the owner's interest, not the call.
 */

struct ferry_mail_ask;

struct ferry_mail_ask_fns {
    /* Once, from the loop. `verdicts` lives during the call: one, or in LMTP and SMTP saves one for
     * each recipient. `why` is for the log: what the application did, escaped. */
    void (*done)(struct ferry_mail_ask *, const struct ferry_mail_verdict *verdicts, unsigned n,
                 struct ferry_slice why);
    /* A piece of the script's error stream, at most 8 KiB in all. */
    void (*errors)(struct ferry_mail_ask *, struct ferry_slice);
};

struct ferry_mail_ask {
    const struct ferry_mail_ask_fns *fns;
    struct ferry__mail_asking *asking; /* its own; NULL: nothing is under way */
};

/* Is it known whether `rcpt` may receive? `done` follows in any case. 0 or -ENOMEM. */
FERRY_MUST_CHECK
int ferry_mail_ask_validate(struct ferry_mail_ask *, struct ferry_loop *,
                            const struct ferry_mail_facts *, const struct ferry_smtp_path *rcpt,
                            const struct ferry_smtp_rcpt_params *);
FERRY_MUST_CHECK
int ferry_mail_ask_auth(struct ferry_mail_ask *, struct ferry_loop *,
                        const struct ferry_mail_facts *, const struct ferry_smtp_sasl *);
/* For all recipients, or for `one`. The message must stay until `done`; a forgotten one is moved
 * away: see below. */
FERRY_MUST_CHECK
int ferry_mail_ask_save(struct ferry_mail_ask *, struct ferry_loop *,
                        const struct ferry_mail_facts *, struct ferry_mail_message *,
                        const struct ferry_smtp_rcpt *one);

/*
 * The owner goes: `done` is not called. A save that has begun (its script may have been called) is
 * finished all the same, with the message, which is taken over (and *message is empty afterwards;
 * other saves of it that are under way go on with it), and `late` is called when it is known what
 * came of it; it may be NULL: true. Others are cancelled, as is a save whose script was not called
 * yet, and the message stays with its owner: false.
 */
bool ferry_mail_ask_forget(struct ferry_mail_ask *, struct ferry_mail_message *,
                           void (*late)(void *arg, const struct ferry_mail_verdict *, unsigned n),
                           void *arg);

/* How many questions are under way on this thread's clients, for draining. */
unsigned ferry_mail_asking(void);
/* Of these, the ones whose owners have gone end now: what came of them will never be known, and
 * `late` is told a fault. */
void ferry_mail_asking_cut(void);

#endif
