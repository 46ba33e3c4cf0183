/* SPDX-License-Identifier: MIT */
#ifndef FERRY_MAIL_VERDICTS_H
#define FERRY_MAIL_VERDICTS_H

#include "mail/memo.h"
#include "mail/verdict.h"

/*
 * What validate scripts have said of recipients, for the time that the service sets (verdict_ms;
 * 0: nothing is kept): yes and no, never a fault or "later". An answer is good for the same
 * recipient, sender, client's address and HELO name, and user; with seed_fields_only, which tells a
 * script nothing but the recipient, for that alone.
 */

bool ferry__mail_verdicts_find(struct ferry__memo *, const struct ferry_mail_facts *,
                               const struct ferry_smtp_path *rcpt, uint64_t now_ms,
                               struct ferry_mail_verdict *out);
void ferry__mail_verdicts_add(struct ferry__memo *, const struct ferry_mail_facts *,
                              const struct ferry_smtp_path *rcpt, uint64_t now_ms,
                              const struct ferry_mail_verdict *);

#endif
