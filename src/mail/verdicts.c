/* SPDX-License-Identifier: MIT */
/* Verdicts that are remembered. A kept one is the front of its struct, as far as its text goes. */
#include "mail/verdicts.h"

#include <stddef.h>

#include "base/text.h"

#define KEY_MAX 2048

/* The key: 0 when there is none. Its parts end with NUL, which none of them holds. */
static size_t key_of(const struct ferry_mail_facts *f, const struct ferry_smtp_path *rcpt,
                     char *out)
{
    const struct ferry_smtp_path *from = f->envelope ? f->envelope->from : NULL;
    const struct ferry_slice parts[] = {
        ferry_slice_z(f->service->name), ferry_slice(rcpt->text, rcpt->len),
        ferry_slice_z(f->client_ip),     ferry_slice_z(f->helo),
        ferry_slice_z(f->auth_user),     ferry_slice_z(from ? from->text : NULL),
    };
    unsigned n = f->service->seed_fields_only ? 2 : sizeof parts / sizeof *parts;
    char *at = out;

    for (unsigned i = 0; i < n; i++) {
        if (parts[i].len + 1 > (size_t)(out + KEY_MAX - at))
            return 0;
        at = ferry__put(at, parts[i]);
        *at++ = 0;
    }
    return (size_t)(at - out);
}

bool ferry__mail_verdicts_find(struct ferry__memo *m, const struct ferry_mail_facts *f,
                               const struct ferry_smtp_path *rcpt, uint64_t now_ms,
                               struct ferry_mail_verdict *out)
{
    char key[KEY_MAX];
    size_t n = f->service->verdict_ms ? key_of(f, rcpt, key) : 0;

    memset(out, 0, sizeof *out);
    return n > 0 && ferry__memo_find(m, ferry_slice(key, n), now_ms, (char *)out, sizeof *out) >= 0;
}

void ferry__mail_verdicts_add(struct ferry__memo *m, const struct ferry_mail_facts *f,
                              const struct ferry_smtp_path *rcpt, uint64_t now_ms,
                              const struct ferry_mail_verdict *v)
{
    const struct ferry_mail_service *s = f->service;
    uint64_t keep_ms = s->verdict_ms;
    char key[KEY_MAX];
    size_t n;

    if (!keep_ms || (v->outcome != FERRY_MAIL_OK && v->outcome != FERRY_MAIL_REJECT))
        return;
    if (v->outcome == FERRY_MAIL_REJECT)
        keep_ms = s->verdict_no_ms ? s->verdict_no_ms : (keep_ms + 9) / 10;
    n = key_of(f, rcpt, key);
    if (n)
        ferry__memo_put(m, ferry_slice(key, n),
                        ferry_slice((const char *)v,
                                    offsetof(struct ferry_mail_verdict, text) + strlen(v->text)),
                        now_ms, now_ms + keep_ms);
}
