/* SPDX-License-Identifier: MIT */
/*
 * A connection followed from outside: any bytes in both directions, in any pieces, are taken; the
 * budget holds and comes back whole; every request ends no earlier than it began.
 */
#include "trace/follow.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void pull(struct ferry_follow *f, const struct ferry_follow_budget *budget)
{
    struct ferry_follow_event ev;

    while (ferry_follow_event(f, &ev)) {
        const struct ferry_follow_request *r = ev.request;

        must(budget->used <= budget->max);
        if (ev.type == FERRY_FOLLOW_EV_FAULT) {
            must(ev.fault && *ev.fault);
            continue;
        }
        must(r->ended_us >= r->began_us && (!r->first_us || r->first_us >= r->began_us));
        must(r->params.kept <= r->params.len && r->out.kept <= r->out.len);
        must(r->head_len <= r->out.kept && (!r->status || r->head_len));
        must(r->status <= 599);
        (void)ferry_follow_param(r, "REQUEST_URI");
    }
}

/* Each piece: a byte that says which direction and how long, then its bytes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct ferry_follow_budget budget;
    struct ferry_follow_opts opts = {.budget = &budget};
    struct ferry_follow *f;
    uint64_t now = 1;

    if (n < 2)
        return 0;
    budget = (struct ferry_follow_budget){.max = (size_t)data[0] * 1024};
    opts.whole = data[1] & 1;
    opts.requests_max = data[1] >> 4;
    opts.params_max = data[1] & 2 ? 40 : 0;
    opts.head_max = data[1] & 4 ? 40 : 0;
    f = ferry_follow_new(&opts);
    must(f);
    for (size_t at = 2; at < n; now++) {
        enum ferry_follow_side side = data[at] & 1 ? FERRY_FOLLOW_APP : FERRY_FOLLOW_SERVER;
        size_t len = data[at++] >> 1;

        if (len == 127)
            ferry_follow_end(f, side, now);
        if (len > n - at)
            len = n - at;
        while (len) {
            size_t took = ferry_follow_recv(f, side, data + at, len, now);

            must(took <= len);
            at += took;
            len -= took;
            if (!took)
                must(ferry_follow_recv(f, side, data + at, len, now) == 0);
            pull(f, &budget);
        }
    }
    ferry_follow_end(f, FERRY_FOLLOW_SERVER, now);
    ferry_follow_end(f, FERRY_FOLLOW_APP, now);
    pull(f, &budget);
    must(ferry_follow_open(f) == 0);
    ferry_follow_free(f);
    must(budget.used == 0);
    return 0;
}
