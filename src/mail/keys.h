/* SPDX-License-Identifier: MIT */
#ifndef FERRY_MAIL_KEYS_H
#define FERRY_MAIL_KEYS_H

#include "mail/message.h"

/* The hashes of a message while it comes. */

/* NULL: no memory. */
struct ferry_mail_hash *ferry__mail_hash_new(const struct ferry_smtp_envelope *);
void ferry__mail_hash_free(struct ferry_mail_hash *); /* takes NULL */
/* 0 or -ENOMEM. */
FERRY_MUST_CHECK
int ferry__mail_hash_add(struct ferry_mail_hash *, struct ferry_slice);
FERRY_MUST_CHECK
int ferry__mail_hash_end(struct ferry_mail_hash *, char sha256[FERRY_MAIL_KEY_LEN + 1],
                         char key[FERRY_MAIL_KEY_LEN + 1]);

#endif
