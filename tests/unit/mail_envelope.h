/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TESTS_MAIL_ENVELOPE_H
#define FERRY_TESTS_MAIL_ENVELOPE_H

#include "support.h"

#include <stdio.h>

#include "mail/message.h"

/* An envelope as the dialogue makes it. */

#define RCPTS_MAX 8

struct posted {
    struct ferry_smtp_envelope envelope;
    struct ferry_smtp_path from, to[RCPTS_MAX];
    struct ferry_smtp_rcpt rcpts[RCPTS_MAX];
    struct ferry_smtp_mail_params params;
};

static inline void set_path(struct ferry_smtp_path *p, const char *text)
{
    const char *at = strrchr(text, '@');

    p->len = (uint16_t)snprintf(p->text, sizeof p->text, "%s", text);
    p->local_len = (uint16_t)(at ? at - text : p->len);
    p->null = p->len == 0;
}

/* Recipients, with NULL behind the last. */
static inline const struct ferry_smtp_envelope *post(struct posted *e, const char *from,
                                                     const char *const *rcpts)
{
    struct ferry_smtp_rcpt **last = &e->envelope.rcpts;

    memset(e, 0, sizeof *e);
    set_path(&e->from, from);
    e->envelope.from = &e->from;
    e->envelope.params = &e->params;
    for (unsigned n = 0; rcpts[n]; n++) {
        assert_true(n < RCPTS_MAX);
        set_path(&e->to[n], rcpts[n]);
        e->rcpts[n].path = &e->to[n];
        *last = &e->rcpts[n];
        last = &e->rcpts[n].next;
        e->envelope.nrcpts++;
    }
    return &e->envelope;
}

#endif
