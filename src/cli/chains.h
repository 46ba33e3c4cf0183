/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CLI_CHAINS_H
#define FERRY_CLI_CHAINS_H

#include "cli/engine.h"
#include "gate/site.h"

/* From a configuration to what a gate serves. */

/* What a worker's gate serves. */
struct ferry_chains {
    const struct ferry_generation *generation;
    struct ferry_client **clients; /* by the number of the application */
    struct ferry_filters **filters;
    unsigned nfilters;
    struct ferry_gate_site *sites;
    unsigned nsites;
    struct ferry_access_log *logs; /* each file once */
    unsigned nlogs;
};

/* 0, or an error, and said why. To be given to _fini in any case. */
int ferry_chains_init(struct ferry_chains *, const struct ferry_generation *);
void ferry_chains_fini(struct ferry_chains *);
/* Opens the logs: before privileges are given up. */
int ferry_chains_open_logs(struct ferry_chains *, const struct ferry_generation *);

#endif
