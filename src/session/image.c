/* SPDX-License-Identifier: MIT */
/* A session's request as FastCGI records, and what an application would read in them. */
#include <errno.h>

#include "session/internal.h"

int ferry_session_image(struct ferry_session *s, const struct ferry_session_call *call,
                        bool keep_conn, struct ferry_params_writer *w, struct ferry_block **out)
{
    struct ferry_cgi_request *rq = &s->rq;
    const struct ferry_param *set = rq->set;
    unsigned nset = rq->nset;
    struct ferry_block *b;
    int err;

    if (call->set) {
        rq->set = call->set;
        rq->nset = call->nset;
    }
    rq->no_basic = !s->basic && !call->all_params;
    rq->no_fields = !s->fields && !call->all_params;
    b = ferry_block_get(ferry_loop_blocks(s->thread->loop), ferry_cgi_params_room(rq));
    if (b) {
        ferry_params_open(w, b->data, b->cap, 1);
        ferry_params_begin_request(w, (uint16_t)call->role, keep_conn ? FERRY_KEEP_CONN : 0);
        ferry_cgi_params(rq, w);
    }
    rq->set = set;
    rq->nset = nset;
    if (!b)
        return -ENOMEM;
    err = w->err;
    if (err < 0) {
        ferry_block_unref(b);
        return err;
    }
    *out = b;
    return 0;
}

/* The contents of the PARAMS records in an image, one behind the other, in place: how many bytes.
 */
static size_t join_params(char *image, size_t n)
{
    size_t at = 0, to = 0;

    while (at + FERRY_RECORD_HEADER_LEN <= n) {
        const unsigned char *h = (const unsigned char *)image + at;
        size_t len = (size_t)h[4] << 8 | h[5], padding = h[6];
        bool params = h[1] == FERRY_PARAMS;

        at += FERRY_RECORD_HEADER_LEN;
        if (params)
            memmove(image + to, image + at, len); /* over the header too */
        to += params ? len : 0;
        at += len + padding;
    }
    return to;
}

static struct ferry_slice find_param(struct ferry_session *s, const char *pairs, size_t n,
                                     struct ferry_slice name)
{
    struct ferry_param param;
    ssize_t took;

    while ((took = ferry_param_decode(pairs, n, n, &param)) > 0) {
        if (ferry_slice_eq(param.name, name))
            return ferry_session_copy(s, param.value);
        pairs += took;
        n -= (size_t)took;
    }
    return ferry_slice(NULL, 0);
}

struct ferry_slice ferry_session_param(struct ferry_session *s, const char *name)
{
    struct ferry_slice wanted = ferry_slice_z(name), found = {0};
    struct ferry_params_writer w;
    struct ferry_block *b;
    ssize_t n;

    for (unsigned i = 0; i < s->rq.nset; i++)
        if (ferry_slice_eq(s->rq.set[i].name, wanted))
            return s->rq.set[i].value;
    if (ferry_session_image(s, &(struct ferry_session_call){.role = s->role}, true, &w, &b) < 0)
        return found;
    n = ferry_params_close(&w, false);
    if (n > 0)
        found = find_param(s, b->data, join_params(b->data, (size_t)n), wanted);
    ferry_block_unref(b);
    return found;
}
