/* SPDX-License-Identifier: MIT */
/*
 * Names of messages and of transactions.
 *
 * A key is the same whenever the same message comes again from the same sender to the same
 * recipients, so that a script can know it: SHA-256 over "ferry1", the sender, the recipients
 * sorted and each once with LF between them, and the message as it came, with a NUL behind each of
 * the first three. The key for one recipient has that one, and the message's own SHA-256 (as text)
 * in the message's place: a message for a hundred is not hashed a hundred times.
 *
 * An id never comes again: 45 bits of time in ms, and 15 that count on from there, always above the
 * last of this process, whatever the clock does; and 40 by chance for each process. In Crockford's
 * base 32 ids sort by time.
 */
#include "mail/keys.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"

struct ferry_mail_hash {
    EVP_MD_CTX *whole, *key;
};

static void hex(const unsigned char sum[32], char out[FERRY_MAIL_KEY_LEN + 1])
{
    for (int i = 0; i < 32; i++) {
        out[2 * i] = "0123456789abcdef"[sum[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[sum[i] & 15];
    }
    out[FERRY_MAIL_KEY_LEN] = 0;
}

static bool add(EVP_MD_CTX *h, const void *p, size_t n)
{
    return EVP_DigestUpdate(h, p, n) == 1;
}

/* With its NUL. */
static bool add_z(EVP_MD_CTX *h, const char *z)
{
    return add(h, z, strlen(z) + 1);
}

static const char *sender(const struct ferry_smtp_envelope *e)
{
    return e->from ? e->from->text : "";
}

/* -- recipients in order -- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool add_rcpts(EVP_MD_CTX *h, const struct ferry_smtp_envelope *e)
{
    const char **list = calloc(e->nrcpts ? e->nrcpts : 1, sizeof *list);
    unsigned n = 0;
    bool good = list;

    for (const struct ferry_smtp_rcpt *r = e->rcpts; good && r && n < e->nrcpts; r = r->next)
        list[n++] = r->path->text;
    if (n)
        qsort(list, n, sizeof *list, by_text);
    for (unsigned i = 0; i < n && good; i++) {
        if (i && strcmp(list[i], list[i - 1]) == 0)
            continue;
        good = (i == 0 || add(h, "\n", 1)) && add(h, list[i], strlen(list[i]));
    }
    free(list);
    return good && add(h, "", 1);
}

/* -- the hashes of a message -- */

struct ferry_mail_hash *ferry__mail_hash_new(const struct ferry_smtp_envelope *e)
{
    struct ferry_mail_hash *h = calloc(1, sizeof *h);

    if (!h)
        return NULL;
    h->whole = EVP_MD_CTX_new();
    h->key = EVP_MD_CTX_new();
    if (h->whole && h->key && EVP_DigestInit_ex(h->whole, EVP_sha256(), NULL) == 1 &&
        EVP_DigestInit_ex(h->key, EVP_sha256(), NULL) == 1 && add_z(h->key, "ferry1") &&
        add_z(h->key, sender(e)) && add_rcpts(h->key, e))
        return h;
    ferry__mail_hash_free(h);
    return NULL;
}

void ferry__mail_hash_free(struct ferry_mail_hash *h)
{
    if (!h)
        return;
    EVP_MD_CTX_free(h->whole);
    EVP_MD_CTX_free(h->key);
    free(h);
}

int ferry__mail_hash_add(struct ferry_mail_hash *h, struct ferry_slice bytes)
{
    return add(h->whole, bytes.p, bytes.len) && add(h->key, bytes.p, bytes.len) ? 0 : -ENOMEM;
}

int ferry__mail_hash_end(struct ferry_mail_hash *h, char sha256[FERRY_MAIL_KEY_LEN + 1],
                         char key[FERRY_MAIL_KEY_LEN + 1])
{
    unsigned char sum[EVP_MAX_MD_SIZE];

    if (EVP_DigestFinal_ex(h->whole, sum, NULL) != 1)
        return -ENOMEM;
    hex(sum, sha256);
    if (EVP_DigestFinal_ex(h->key, sum, NULL) != 1)
        return -ENOMEM;
    hex(sum, key);
    return 0;
}

void ferry_mail_message_rcpt_key(const struct ferry_mail_message *m,
                                 const struct ferry_smtp_envelope *e,
                                 const struct ferry_smtp_rcpt *one,
                                 char out[FERRY_MAIL_KEY_LEN + 1])
{
    char text[sizeof "ferry1" + 2 * (FERRY_SMTP_ADDRESS_MAX + 1) + FERRY_MAIL_KEY_LEN], *at = text;
    unsigned char sum[EVP_MAX_MD_SIZE];
    const char *const parts[] = {"ferry1", sender(e), one->path->text};

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        memcpy(at, parts[i], strlen(parts[i]) + 1);
        at += strlen(parts[i]) + 1;
    }
    memcpy(at, m->sha256, FERRY_MAIL_KEY_LEN);
    at += FERRY_MAIL_KEY_LEN;
    /* Without memory for it, no key is better than one that others have too. */
    if (EVP_Digest(text, (size_t)(at - text), sum, NULL, EVP_sha256(), NULL) == 1)
        hex(sum, out);
    else
        out[0] = 0;
}

/* -- ids -- */

#define COUNT_BITS 15
#define CHANCE_BITS 40

static uint64_t next_number(void)
{
    static _Atomic uint64_t last;
    uint64_t before = atomic_load(&last), number;
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    number = ((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000) << COUNT_BITS;
    do
        number = number > before ? number : before + 1;
    while (!atomic_compare_exchange_weak(&last, &before, number));
    return number;
}

/* Of this process: one that was forked takes another. */
static uint64_t chance(void)
{
    static _Atomic uint64_t drawn; /* the process's number above the chance */
    uint64_t pid = (uint64_t)getpid() << CHANCE_BITS, have = atomic_load(&drawn), mine = 0;

    if (have >> CHANCE_BITS == pid >> CHANCE_BITS)
        return have;
    if (getrandom(&mine, sizeof mine, 0) != sizeof mine)
        mine = next_number();
    mine = pid | (mine & ((UINT64_C(1) << CHANCE_BITS) - 1));
    /* Whoever of its threads was first has drawn for all. */
    while (have >> CHANCE_BITS != pid >> CHANCE_BITS)
        if (atomic_compare_exchange_weak(&drawn, &have, mine))
            return mine;
    return have;
}

static char *put32(char *to, uint64_t n, unsigned bits)
{
    while (bits) {
        bits -= 5;
        *to++ = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"[n >> bits & 31];
    }
    return to;
}

void ferry_mail_id(char out[FERRY_MAIL_ID_MAX])
{
    char *at = put32(out, next_number(), 45 + COUNT_BITS);

    at = put32(at, chance(), CHANCE_BITS);
    *at = 0;
    ferry_assert(at < out + FERRY_MAIL_ID_MAX);
}
