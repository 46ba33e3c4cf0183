/* SPDX-License-Identifier: MIT */
/*
 * What a filter writes before its body has ended. It must not be sent yet (section 6.4), and its
 * handler need not know: it waits here, counted as output that waits for the peer, and becomes
 * records when the body ends. When the handler finishes before that, the request stays for as long.
 */
#include <errno.h>
#include <stdlib.h>

#include "app/app.h"

struct ferry__early {
    struct ferry_chain out, err;
};

int ferry__early_put(struct ferry_request *r, enum ferry_record_type stream, struct ferry_block *b,
                     struct ferry_slice bytes)
{
    struct ferry_chain *c;

    if (!r->early) {
        r->early = malloc(sizeof *r->early); /* not from the arena, which another thread may have */
        if (!r->early)
            return -ENOMEM;
        ferry_chain_init(&r->early->out, ferry_loop_blocks(r->app->loop));
        ferry_chain_init(&r->early->err, ferry_loop_blocks(r->app->loop));
    }
    c = stream == FERRY_STDERR ? &r->early->err : &r->early->out;
    if (b)
        ferry_chain_ref(c, b, bytes);
    else
        ferry_chain_copy(c, bytes);
    return c->err;
}

size_t ferry__early_len(const struct ferry_request *r)
{
    return r->early ? r->early->out.len + r->early->err.len : 0;
}

static void send_all(struct ferry_request *r, enum ferry_record_type stream, struct ferry_chain *c)
{
    struct iovec v;

    while (ferry_chain_iov(c, &v, 1) == 1) {
        ferry__request_queue(r, stream, c->segs[c->first].block,
                             ferry_slice(v.iov_base, v.iov_len));
        ferry_chain_consume(c, v.iov_len);
    }
}

bool ferry__early_send(struct ferry_request *r)
{
    if (!r->early)
        return false;
    send_all(r, FERRY_STDERR, &r->early->err);
    send_all(r, FERRY_STDOUT, &r->early->out);
    ferry__early_clear(r);
    return true;
}

void ferry__early_clear(struct ferry_request *r)
{
    if (!r->early)
        return;
    ferry_chain_clear(&r->early->out);
    ferry_chain_clear(&r->early->err);
    free(r->early);
    r->early = NULL;
}
