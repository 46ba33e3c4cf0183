/* SPDX-License-Identifier: MIT */
#ifndef FERRY_MAIL_MAILDIR_H
#define FERRY_MAIL_MAILDIR_H

#include "io/loop.h"
#include "mail/verdict.h"

/*
 * Messages as files in a Maildir: written and synced in tmp/, then moved to new/, and the folder
 * synced, in a thread of its own, since a disk may take its time; its owner is told on its loop.
 */

struct ferry_maildir; /* the thread, and its queue; one for a process */

/* 0 or -errno. */
FERRY_MUST_CHECK
int ferry_maildir_new(struct ferry_maildir **out);
void ferry_maildir_free(struct ferry_maildir *); /* waits for what is queued; takes NULL */

/* Makes the folder and its tmp, new, cur where they are missing: 0 or -errno. Before privileges are
 * given up, or by who may. */
FERRY_MUST_CHECK
int ferry_maildir_prepare(const char *path);

/*
 * Stores a message: below service->maildir, or with maildir_per_user in domain/local of each
 * recipient (folders made as needed; a name that could leave it is refused: FERRY_EUSAGE). `done`
 * is called from `loop` once: 0 or -errno, and nothing of a failed one is left in new/. The message
 * and facts stay until then.
 */
struct ferry_maildir_job {
    struct ferry_post post;
    void (*done)(struct ferry_maildir_job *, int err);
    /* its own */
    struct ferry_maildir_job *next;
    const struct ferry_mail_facts *facts;
    struct ferry_mail_message *message;
    const struct ferry_smtp_rcpt *one;
    struct ferry_loop *loop;
    int err;
};
void ferry_maildir_store(struct ferry_maildir *, struct ferry_maildir_job *, struct ferry_loop *,
                         const struct ferry_mail_facts *, struct ferry_mail_message *,
                         const struct ferry_smtp_rcpt *one);

#endif
