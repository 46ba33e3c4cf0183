/* SPDX-License-Identifier: MIT */
#ifndef FERRY_MAIL_SAVED_H
#define FERRY_MAIL_SAVED_H

#include "mail/memo.h"
#include "mail/message.h"

/*
 * Messages that were saved and whose 250 their senders have not seen, by their key (docs/mail.md):
 * they come again, and are told 250 without a second save. One whose 250 was seen is dropped, so
 * that the same message sent again on purpose is saved again. Only of services with remember_saved,
 * and for saved_ms.
 */

void ferry__mail_saved_add(struct ferry__memo *, const struct ferry_mail_service *,
                           const char *message_key, const char *id, uint64_t now_ms);
/* Was it saved? `id`, which may be longer than one of ours, is what its sender was to be told. */
bool ferry__mail_saved_find(struct ferry__memo *, const struct ferry_mail_service *,
                            const char *message_key, uint64_t now_ms, char *id, size_t cap);
void ferry__mail_saved_drop(struct ferry__memo *, const struct ferry_mail_service *,
                            const char *message_key, uint64_t now_ms);

/* How many to make room for: saved_max of the service, or its default. */
static inline unsigned ferry__mail_saved_max(const struct ferry_mail_service *s)
{
    return s->saved_max ? s->saved_max : 10000;
}

#endif
