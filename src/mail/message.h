/* SPDX-License-Identifier: MIT */
#ifndef FERRY_MAIL_MESSAGE_H
#define FERRY_MAIL_MESSAGE_H

#include "io/spool.h"
#include "mail/facts.h"

/*
 * A message as it was received, in memory or an unlinked file, with what is known of it: its hash,
 * its keys, its header. It is whole before anybody is asked to save it.
 */

#define FERRY_MAIL_KEY_LEN 64 /* hexadecimal SHA-256 */

struct ferry_mail_header { /* decoded, UTF-8, no control characters; NULL: none */
    const char *subject, *subject_raw;
    const char *message_id, *from, *to, *date; /* unfolded, as they stand there */
    unsigned subjects, received;
    bool subject_cut; /* past 4096 bytes */
    bool sound;       /* every line of the header is a field */
    size_t len;       /* bytes of the header, with the empty line behind it */
};

struct ferry_mail_message {
    struct ferry_spool spool;
    uint64_t size;
    char sha256[FERRY_MAIL_KEY_LEN + 1]; /* of the message as it came */
    char key[FERRY_MAIL_KEY_LEN + 1];    /* see keys.c: the same for the same message again */
    struct ferry_mail_header header;
    struct ferry_mail_hash *hash; /* while it grows */
    char *head;                   /* its first bytes, as far as the header goes */
    size_t head_len, head_cap, head_max;
    void *memory; /* of header */
};

/* At DATA or the first BDAT, when the envelope is complete: the key begins with it. `blocks` is the
 * loop's. 0 or -ENOMEM (and _fini is due all the same). */
FERRY_MUST_CHECK
int ferry_mail_message_init(struct ferry_mail_message *, struct ferry_blocks *,
                            const struct ferry_mail_service *, const struct ferry_smtp_envelope *);
void ferry_mail_message_fini(struct ferry_mail_message *); /* any number of times */
/* More of it: 0, -ENOMEM or the -errno of the file. */
FERRY_MUST_CHECK
int ferry_mail_message_add(struct ferry_mail_message *, struct ferry_slice);
/* It is whole: hash, header and key (docs/mail.md) are there from now on. 0 or -ENOMEM. */
FERRY_MUST_CHECK
int ferry_mail_message_end(struct ferry_mail_message *);

/* The key for one recipient alone (LMTP, one call each). */
void ferry_mail_message_rcpt_key(const struct ferry_mail_message *,
                                 const struct ferry_smtp_envelope *, const struct ferry_smtp_rcpt *,
                                 char out[FERRY_MAIL_KEY_LEN + 1]);

/* Reads the header of a message (header.c, with GMime): 0 or -ENOMEM; *memory is to be freed with
 * ferry_mail_header_free. Whatever it is given, it makes the best of it. */
FERRY_MUST_CHECK
int ferry_mail_header_read(struct ferry_slice head, struct ferry_mail_header *, void **memory);
void ferry_mail_header_free(void *memory); /* takes NULL */
/* Loads GMime and the charsets that are often met, which are files of the system: before a sandbox
 * is closed. Any number of times, from any thread; without it the first encoded word does. */
void ferry_mail_header_begin(void);

/*
 * The fields that go in front of it (trace.c: Return-Path, Received, Delivered-To), each with CR
 * LF, and how many bytes of the message itself are to be left out (an existing Return-Path of its
 * header is skipped by its place: `skip`, `skip_len`). Returns a length, or -ENOMEM; *out is to be
 * freed with free().
 */
struct ferry_mail_trace {
    char *text;
    size_t len;
    uint64_t skip, skip_len; /* 0: nothing */
};
FERRY_MUST_CHECK
int ferry_mail_trace_make(const struct ferry_mail_facts *, const struct ferry_mail_message *,
                          const struct ferry_smtp_rcpt *one, struct ferry_mail_trace *out);

/* Ids that never come again: of sessions and transactions; from any thread. */
void ferry_mail_id(char out[FERRY_MAIL_ID_MAX]);

#endif
