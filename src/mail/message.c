/* SPDX-License-Identifier: MIT */
/*
 * A message while it comes: to the spool, through the hashes, and its first bytes, as far as they
 * may be its header, into memory of their own, so that the header can be read in one piece wherever
 * the message itself lies.
 */
#include "mail/message.h"

#include <errno.h>
#include <stdlib.h>

#include "mail/header.h"
#include "mail/keys.h"

#define SPOOL_MEM 65536
#define HEAD_FIRST 2048
#define HEAD_MAX 262144

int ferry_mail_message_init(struct ferry_mail_message *m, struct ferry_blocks *blocks,
                            const struct ferry_mail_service *service,
                            const struct ferry_smtp_envelope *envelope)
{
    *m = (struct ferry_mail_message){.head_max = service->smtp.header_max ? service->smtp.header_max
                                                                          : HEAD_MAX};
    /* How long it may be is the dialogue's to say. */
    ferry_spool_init(&m->spool, blocks, service->spool_mem ? service->spool_mem : SPOOL_MEM,
                     UINT64_MAX);
    m->hash = ferry__mail_hash_new(envelope);
    return m->hash ? 0 : -ENOMEM;
}

void ferry_mail_message_fini(struct ferry_mail_message *m)
{
    if (m->spool.blocks)
        ferry_spool_fini(&m->spool);
    ferry__mail_hash_free(m->hash);
    ferry_mail_header_free(m->memory);
    free(m->head);
    *m = (struct ferry_mail_message){.spool = m->spool};
}

/* -- the header's bytes -- */

static int reserve(struct ferry_mail_message *m, size_t n)
{
    size_t cap = m->head_cap ? m->head_cap : HEAD_FIRST;
    char *head;

    while (cap < n)
        cap *= 2;
    if (cap == m->head_cap)
        return 0;
    head = realloc(m->head, cap);
    if (!head)
        return -ENOMEM;
    m->head = head;
    m->head_cap = cap;
    return 0;
}

/* Where the header ends in m->head, behind its empty line; 0: not in there. */
static size_t end_of_head(const struct ferry_mail_message *m, size_t from)
{
    struct ferry_slice head = ferry_slice(m->head, m->head_len);
    size_t empty = from < 2 ? ferry__mail_empty_line(head) : 0;

    if (empty)
        return empty;
    for (size_t at = from > 2 ? from - 2 : 0;; at++) {
        at += ferry_slice_find(ferry_slice_from(head, at), '\n');
        if (at >= head.len)
            return 0;
        empty = ferry__mail_empty_line(ferry_slice_from(head, at + 1));
        if (empty)
            return at + 1 + empty;
    }
}

static int add_to_head(struct ferry_mail_message *m, struct ferry_slice bytes)
{
    size_t before = m->head_len, end;
    int err;

    if (m->head_len == m->head_max)
        return 0;
    bytes = ferry_slice_first(bytes, m->head_max - m->head_len);
    err = reserve(m, m->head_len + bytes.len);
    if (err < 0)
        return err;
    memcpy(m->head + m->head_len, bytes.p, bytes.len);
    m->head_len += bytes.len;
    end = end_of_head(m, before);
    if (end)
        m->head_len = m->head_max = end;
    return 0;
}

/* -- the message -- */

int ferry_mail_message_add(struct ferry_mail_message *m, struct ferry_slice bytes)
{
    int err;

    if (bytes.len == 0)
        return 0;
    err = ferry_spool_append(&m->spool, bytes);
    if (err == 0)
        err = ferry__mail_hash_add(m->hash, bytes);
    if (err == 0)
        err = add_to_head(m, bytes);
    if (err == 0)
        m->size += bytes.len;
    return err;
}

int ferry_mail_message_end(struct ferry_mail_message *m)
{
    int err = ferry__mail_hash_end(m->hash, m->sha256, m->key);

    if (err < 0)
        return err;
    ferry__mail_hash_free(m->hash);
    m->hash = NULL;
    return ferry_mail_header_read(ferry_slice(m->head, m->head_len), &m->header, &m->memory);
}
