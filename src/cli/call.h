/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CLI_CALL_H
#define FERRY_CLI_CALL_H

#include "call/draft.h"
#include "ferry/client.h"
#include "io/addr.h"

/* `ferry call`, between its files: what was asked for, and what is done about it. */

struct ferry_cli_call {
    const char *address; /* as it was given */
    struct ferry_addr addr;
    struct ferry_draft draft;
    const char *output; /* of -o; NULL or "-": stdout */
    bool include, silent, verbose, fail, app_status;
    bool records, values;
    bool keep, report_json, is_load;
    unsigned long long repeat, parallel;
    enum ferry_io io;
    unsigned total_ms, connect_ms;
};

/* One request, shown. The exit code. */
int ferry_cli_call_once(struct ferry_cli_call *);

/* Many, measured. The exit code. */
int ferry_cli_call_load(struct ferry_cli_call *);

/* GET_VALUES. The exit code. */
int ferry_cli_call_values(struct ferry_cli_call *);

/* Says why a request has failed, and what to do about it; nothing when that was not asked for. */
void ferry_cli_call_failed(const struct ferry_cli_call *, const struct ferry_outcome *);

#endif
