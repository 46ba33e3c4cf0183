/* SPDX-License-Identifier: MIT */
/* Keys of saved messages. A key is one of a service: another one may save the same message too. */
#include "mail/saved.h"

#include "base/text.h"

#define KEY_MAX 1024
#define KEEP_MS 3600000u

static size_t key_of(const struct ferry_mail_service *s, const char *message_key, char *out)
{
    struct ferry_slice name = ferry_slice_z(s->name), key = ferry_slice_z(message_key);

    if (!s->remember_saved || !key.len || name.len + key.len + 1 > KEY_MAX)
        return 0;
    return (size_t)(ferry__put(FERRY_PUT(ferry__put(out, key), " "), name) - out);
}

void ferry__mail_saved_add(struct ferry__memo *m, const struct ferry_mail_service *s,
                           const char *message_key, const char *id, uint64_t now_ms)
{
    char key[KEY_MAX];
    size_t n = key_of(s, message_key, key);

    if (n)
        ferry__memo_put(m, ferry_slice(key, n), ferry_slice_z(id), now_ms,
                        now_ms + (s->saved_ms ? s->saved_ms : KEEP_MS));
}

bool ferry__mail_saved_find(struct ferry__memo *m, const struct ferry_mail_service *s,
                            const char *message_key, uint64_t now_ms, char *id, size_t cap)
{
    char key[KEY_MAX];
    size_t n = key_of(s, message_key, key);
    int len = n ? ferry__memo_find(m, ferry_slice(key, n), now_ms, id, cap - 1) : -1;

    if (len >= 0)
        id[len] = 0;
    return len >= 0;
}

void ferry__mail_saved_drop(struct ferry__memo *m, const struct ferry_mail_service *s,
                            const char *message_key, uint64_t now_ms)
{
    char key[KEY_MAX];
    size_t n = key_of(s, message_key, key);

    if (n)
        ferry__memo_drop(m, ferry_slice(key, n), now_ms);
}
