/* SPDX-License-Identifier: MIT */
/*
 * Passive health of one address among several. One that has failed fails_max times in a row gets no
 * requests for fail_ms, and then one, to try it: whoever moves `down_until` on has that one. Any
 * answer makes it well again. What is of no consequence may be seen late: all of it is advice.
 */
#include <errno.h>

#include "client/internal.h"

enum ferry__health ferry__health_of(const struct ferry_pool *pool, uint64_t now_ms)
{
    uint64_t until = atomic_load_explicit(&pool->down_until, memory_order_relaxed);

    if (until == 0)
        return FERRY__WELL;
    return now_ms < until ? FERRY__DOWN : FERRY__TO_TRY;
}

bool ferry__health_try(struct ferry_pool *pool, uint64_t now_ms)
{
    uint64_t until = atomic_load(&pool->down_until);

    return until == 0 ||
           (now_ms >= until &&
            atomic_compare_exchange_strong(&pool->down_until, &until, now_ms + pool->opts.fail_ms));
}

void ferry__health_note(struct ferry_pool *pool, bool good, uint64_t now_ms)
{
    if (!good) {
        if (atomic_fetch_add(&pool->fails, 1) + 1 >= pool->opts.fails_max)
            atomic_store(&pool->down_until, now_ms + pool->opts.fail_ms);
        return;
    }
    if (atomic_load_explicit(&pool->fails, memory_order_relaxed) == 0)
        return;
    atomic_store(&pool->fails, 0);
    atomic_store(&pool->down_until, 0);
}

void ferry__health_ended(const struct ferry_call *call, enum ferry_call_outcome outcome, int err)
{
    struct ferry_pool *pool = call->local->pool;
    uint64_t now = ferry__pool_now(call->local);

    switch (outcome) {
    case FERRY_CALL_DONE:
    case FERRY_CALL_BAD_ROLE:
        ferry__health_note(pool, true, now);
        break;
    case FERRY_CALL_REFUSED:
        /* Our own troubles are not the application's. */
        if (err != FERRY_EUSAGE && err != -ENOMEM && err != -EMFILE && err != -ENFILE)
            ferry__health_note(pool, false, now);
        break;
    case FERRY_CALL_CUT:
    case FERRY_CALL_SLOW:
        ferry__health_note(pool, call->answered, now);
        break;
    case FERRY_CALL_OVERLOADED: /* it may well be, and yet be well */
    case FERRY_CALL_TIMEOUT:
        break;
    }
}
