/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TRACE_REPLAY_H
#define FERRY_TRACE_REPLAY_H

#include <stdio.h>

#include "io/addr.h"
#include "trace/filter.h"
#include "trace/show.h"

/* Requests that `ferry trace --pcap` has recorded are sent again: one after the other, in the order
 * in which they ended, each on a connection of its own. */

#define FERRY_REPLAY_TIMEOUT_MS 60000

struct ferry_replay_opts {
    const char *path;
    const struct ferry_addr *to;       /* NULL: where they went when they were recorded */
    const struct ferry_filter *filter; /* asks the recorded requests; borrowed */
    struct ferry_show_opts show;
    uint64_t timeout_ms; /* for each answer */
    bool compare;        /* say where answers differ from the recorded ones */
    FILE *out;
};

/*
 * Replays the file: 0 when every request was answered (and, with `compare`, the same), 1 when one
 * was not, or a negative error with the reason, a sentence, in `why`: the file cannot be read or is
 * none of ours.
 */
FERRY_MUST_CHECK
int ferry_replay(const struct ferry_replay_opts *, char *why, size_t cap);

#endif
