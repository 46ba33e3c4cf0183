/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TESTS_MAIL_ABOUT_H
#define FERRY_TESTS_MAIL_ABOUT_H

/*
 * A transaction as the mail gateway's session would know it, for tests of what scripts are sent.
 * The trace fields and the keys of recipients are the test's own, so that it knows every byte.
 */

#include "mail/message.h"

#include <errno.h>
#include <stdio.h>

#include "support.h"

#define RCPTS_MAX 8

struct transaction {
    struct ferry_mail_service service;
    struct ferry_tls_info tls;
    struct ferry_mail_facts facts;
    struct ferry_smtp_envelope envelope;
    struct ferry_smtp_path from, to[RCPTS_MAX];
    struct ferry_smtp_mail_params params;
    struct ferry_smtp_rcpt rcpts[RCPTS_MAX];
    struct ferry_blocks blocks;
    struct ferry_mail_message message;
};

/* What ferry_mail_trace_make gives. */
static struct {
    const char *text;
    uint64_t skip, skip_len;
} test_trace;

int ferry_mail_trace_make(const struct ferry_mail_facts *facts, const struct ferry_mail_message *m,
                          const struct ferry_smtp_rcpt *one, struct ferry_mail_trace *out)
{
    (void)facts;
    (void)m;
    (void)one;
    *out = (struct ferry_mail_trace){NULL, 0, test_trace.skip, test_trace.skip_len};
    if (!test_trace.text)
        return 0;
    out->text = strdup(test_trace.text);
    out->len = strlen(test_trace.text);
    return out->text ? (int)out->len : -ENOMEM;
}

void ferry_mail_message_rcpt_key(const struct ferry_mail_message *m,
                                 const struct ferry_smtp_envelope *e,
                                 const struct ferry_smtp_rcpt *r, char out[FERRY_MAIL_KEY_LEN + 1])
{
    (void)m;
    (void)e;
    memset(out, *r->path->text, FERRY_MAIL_KEY_LEN);
    out[FERRY_MAIL_KEY_LEN] = 0;
}

static inline void path_set(struct ferry_smtp_path *p, const char *text)
{
    const char *at = strrchr(text, '@');

    *p = (struct ferry_smtp_path){.null = !*text, .no_domain = *text && !at};
    p->len = p->raw_len = (uint16_t)snprintf(p->text, sizeof p->text, "%s", text);
    snprintf(p->raw, sizeof p->raw, "%s", text);
    p->local_len = (uint16_t)(at ? at - text : (long)p->len);
}

static inline void message_set(struct transaction *t, const void *bytes, size_t n)
{
    ferry_spool_fini(&t->message.spool);
    assert_int_equal(ferry_spool_append(&t->message.spool, ferry_slice(bytes, n)), 0);
    t->message.size = n;
    memset(t->message.sha256, 'a', FERRY_MAIL_KEY_LEN);
    memset(t->message.key, 'k', FERRY_MAIL_KEY_LEN);
}

/* With `n` recipients, a@example.com, b@example.com ... */
static inline void transaction_open(struct transaction *t, unsigned n)
{
    memset(t, 0, sizeof *t);
    t->service.name = "inbound";
    t->service.hostname = "mx.example.com";
    t->facts.service = &t->service;
    t->facts.tls = &t->tls;
    t->facts.envelope = &t->envelope;
    t->facts.peer.fd = t->facts.server.fd = -1;
    t->facts.peer.in = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(4711), .sin_addr.s_addr = htonl(0x7f000001)};
    t->facts.server.in = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(25), .sin_addr.s_addr = htonl(0xc0000219)};
    snprintf(t->facts.client_ip, sizeof t->facts.client_ip, "198.51.100.7");
    t->facts.client_port = 50123;
    snprintf(t->facts.client_name, sizeof t->facts.client_name, "unknown");
    t->facts.name_status = "none";
    snprintf(t->facts.helo, sizeof t->facts.helo, "client.example.net");
    t->facts.helo_verb = "EHLO";
    t->facts.helo_valid = true;
    t->facts.protocol = "ESMTP";
    t->facts.auth_mechanism = "";
    snprintf(t->facts.id, sizeof t->facts.id, "TX1");
    snprintf(t->facts.session_id, sizeof t->facts.session_id, "SE1");
    t->facts.time_us = INT64_C(1769903999123456);
    t->tls.version = t->tls.cipher = t->tls.sni = "";
    t->tls.client_subject = t->tls.client_issuer = "";
    path_set(&t->from, "sender+x@example.org");
    t->envelope = (struct ferry_smtp_envelope){.begun = true,
                                               .from = &t->from,
                                               .params = &t->params,
                                               .rcpts = n ? t->rcpts : NULL,
                                               .nrcpts = n,
                                               .number = 3};
    for (unsigned i = 0; i < n; i++) {
        char text[] = "a@example.com";

        text[0] = (char)('a' + i);
        path_set(&t->to[i], text);
        t->rcpts[i] = (struct ferry_smtp_rcpt){
            .next = i + 1 < n ? &t->rcpts[i + 1] : NULL, .path = &t->to[i], .orcpt = ""};
    }
    ferry_blocks_init(&t->blocks, 8, 8);
    ferry_spool_init(&t->message.spool, &t->blocks, 5000, UINT64_MAX);
}

static inline void transaction_close(struct transaction *t)
{
    ferry_spool_fini(&t->message.spool);
    ferry_blocks_fini(&t->blocks);
}

#endif
