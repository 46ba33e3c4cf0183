/* SPDX-License-Identifier: MIT */
#ifndef FERRY_MAIL_MAILDIR_H
#define FERRY_MAIL_MAILDIR_H

#include "io/loop.h"
#include "mail/verdict.h"

/*
 * Messages as files in a Maildir: written and synced in tmp/, then moved to new/, and the folder
 * synced, in threads of its own, since a disk may take its time; its owner is told on its loop.
 * Several threads, so that a disk can sync for several at once.
 */

struct ferry_maildir; /* the threads, and their queue; one for a process */

/* 0 or -errno. Its threads get none of the process's signals. */
FERRY_MUST_CHECK
int ferry_maildir_new(struct ferry_maildir **out);
/* Waits for what is queued, whose `done` is then called when their loops run; takes NULL. */
void ferry_maildir_free(struct ferry_maildir *);

/* Makes the folder and its tmp, new, cur where they are missing (not what is above it), for their
 * owner alone: 0 or -errno. Before privileges are given up, or by who may. */
FERRY_MUST_CHECK
int ferry_maildir_prepare(const char *path);

/*
 * With maildir_per_user: the folder of a recipient, below service->maildir: "example.com/bob". A
 * local part without its quotes, and in lower case, since nobody means Bob and bob to be two; for
 * <postmaster> the domain is the service's hostname. The length, without a NUL; FERRY_EUSAGE: its
 * name is none for a folder (a '/', a '.' first), so that it is to be refused when it is named.
 */
#define FERRY_MAILDIR_FOLDER_MAX 320
FERRY_MUST_CHECK
ssize_t ferry_maildir_folder(const struct ferry_mail_service *, const struct ferry_smtp_path *rcpt,
                             char out[FERRY_MAILDIR_FOLDER_MAX]);

/*
 * Stores a message: below service->maildir, or with maildir_per_user in the folder of each
 * recipient of the envelope, or of `one` (folders are made as needed). `done` is called from `loop`
 * once, never from within: 0, and every copy is on the disk; FERRY_EUSAGE: a recipient has no
 * folder, see above; or -errno (-ENOSPC, -EDQUOT, -EACCES ...), and nothing of it is in any new/.
 *
 * The message stays until then, and nothing is appended to its spool: the threads read that in
 * place (ferry_spool_peek). The loop's thread may read it meanwhile. Facts, envelope and `one` are
 * needed for the call alone. From the thread of `loop`.
 */
struct ferry_maildir_job {
    struct ferry_post post;
    void (*done)(struct ferry_maildir_job *, int err);
    /* its own */
    struct ferry_maildir_job *next;
    struct ferry__maildir_work *work;
    struct ferry_loop *loop;
    int err;
};
void ferry_maildir_store(struct ferry_maildir *, struct ferry_maildir_job *, struct ferry_loop *,
                         const struct ferry_mail_facts *, const struct ferry_mail_message *,
                         const struct ferry_smtp_rcpt *one);

#endif
