/* SPDX-License-Identifier: MIT */
/* The guards of a process that starts programs: two of them, as proc/guard.h explains. */
#include <unistd.h>

#include "cli/cli.h"
#include "proc/guard.h"

#define MORE_MS 2000 /* for the outer one: the process that it gets back takes its own time */

int ferry_cli_guards(const struct ferry_guard_opts *asked, int *code)
{
    struct ferry_guard_opts o = *asked;
    int r;

    o.grace_ms += MORE_MS;
    o.apart = true;
    r = ferry_guard(&o, code);
    if (r == 0) {
        if (o.fd >= 0)
            close(o.fd);
        o = *asked;
        o.fd = -1;
        /* Another name than ours, so that what ends all of that name leaves one to tidy up. */
        o.name = "guard";
        r = ferry_guard(&o, code);
    }
    if (r < 0) {
        ferry_cli_say("cannot start: %s", ferry_strerror(r));
        *code = FERRY_EXIT_FAILED;
    }
    return r;
}
