/* SPDX-License-Identifier: MIT */
/*
 * The table that authorizers use (session/verdicts.c), under a lock, and with a time of its own for
 * each entry, which stands in front of its value.
 */
#include "mail/memo.h"

#include <pthread.h>
#include <stdlib.h>

#include "session/verdicts.h"

#define KEEP_MAX_MS 864000000u

struct ferry__memo {
    pthread_mutex_t lock;
    struct ferry_verdicts *kept;
};

struct ferry__memo *ferry__memo_new(unsigned max)
{
    struct ferry__memo *m = calloc(1, sizeof *m);

    if (!m)
        return NULL;
    m->kept = ferry__verdicts_new(max, KEEP_MAX_MS);
    if (!m->kept) {
        free(m);
        return NULL;
    }
    pthread_mutex_init(&m->lock, NULL);
    return m;
}

void ferry__memo_free(struct ferry__memo *m)
{
    if (!m)
        return;
    ferry__verdicts_free(m->kept);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

void ferry__memo_put(struct ferry__memo *m, struct ferry_slice key, struct ferry_slice value,
                     uint64_t now_ms, uint64_t until_ms)
{
    const struct ferry_param entry = {ferry_slice((const char *)&until_ms, sizeof until_ms), value};

    if (value.len > FERRY__MEMO_VALUE_MAX)
        return;
    pthread_mutex_lock(&m->lock);
    ferry__verdicts_add(m->kept, key, 0, &entry, 1, now_ms);
    pthread_mutex_unlock(&m->lock);
}

int ferry__memo_find(struct ferry__memo *m, struct ferry_slice key, uint64_t now_ms, char *out,
                     size_t cap)
{
    const struct ferry_verdict *v;
    uint64_t until_ms;
    int len = -1;

    pthread_mutex_lock(&m->lock);
    v = ferry__verdicts_find(m->kept, key, now_ms);
    if (v) {
        struct ferry_slice value = v->variables[0].value;

        memcpy(&until_ms, v->variables[0].name.p, sizeof until_ms);
        if (now_ms < until_ms && value.len <= cap) {
            if (value.len)
                memcpy(out, value.p, value.len);
            len = (int)value.len;
        }
    }
    pthread_mutex_unlock(&m->lock);
    return len;
}

/* What is past its time is as good as nothing, and the first to make room. */
void ferry__memo_drop(struct ferry__memo *m, struct ferry_slice key, uint64_t now_ms)
{
    char value[FERRY__MEMO_VALUE_MAX];

    if (ferry__memo_find(m, key, now_ms, value, sizeof value) >= 0)
        ferry__memo_put(m, key, FERRY_SLICE(""), now_ms, 0);
}
