/* SPDX-License-Identifier: MIT */
/* Management records: what a web server asks, and what it makes of the answers (W-16, W-17). */
#include <string.h>

#include "check/gateway.h"

/* A web server that is started anew hears this when it asks, and serves all the same. */
static void answered_so(struct ferry_check *c)
{
    struct ferry_stage *s = ferry_stage(c);

    ferry_gateway_restart(c, (enum ferry_stage_values)c->at->arg);
    ferry_gateway(c)->shaken = true;
    for (int i = 0; i < 8; i++) {
        struct ferry_visit *v = ferry_visit_get(c);
        struct ferry_asked *r = ferry_visit_asked(v);

        ferry_asked_answer(r, "done");
        ferry_visit_expect(v, 200, "done");
    }
    if (!s->values_asked)
        ferry_check_skip(c, "this time the web server did not ask GET_VALUES");
}

static void asked_rightly(struct ferry_check *c)
{
    struct ferry_stage *s = ferry_stage(c);

    if (!s->values_seen)
        ferry_check_skip(c, "the web server never asks GET_VALUES");
    if (s->values_wrong)
        ferry_check_fail(c, "expected id 0 and names without values, but there was %s",
                         s->values_why);
}

static const struct ferry_check_case values[] = {
    {"W-16a", "4.1", FERRY_MUST, "GET_VALUES has id 0, and names with empty values", 0,
     asked_rightly, 0},
    {"W-16b", "4.1", FERRY_MUST, "an answer without a pair is survived", FERRY_NEEDS_FRESH,
     answered_so, FERRY_VALUES_EMPTY},
    {"W-16c", "4.1", FERRY_INFERRED, "and so is one with variables that nobody asked for",
     FERRY_NEEDS_FRESH, answered_so, FERRY_VALUES_MORE},
    {"W-16d", "4.1", FERRY_INFERRED, "and so is no answer at all", FERRY_NEEDS_FRESH, answered_so,
     FERRY_VALUES_SILENT},
    {"W-16e", "4.1", FERRY_INFERRED, "and so is a close", FERRY_NEEDS_FRESH, answered_so,
     FERRY_VALUES_CLOSE},
};

const struct ferry_check_group ferry_check_w_16 = {"W-16", "GET_VALUES", values, 5};

/* The last case: what was noticed by the way, whichever case it was in. */
static void whole_run(struct ferry_check *c)
{
    const struct ferry_stage *s = ferry_stage(c);

    if (s->wrong[0])
        ferry_check_fail(c, "expected nothing against the protocol, but in %s", s->wrong);
}

static const struct ferry_check_case unknown[] = {
    {"W-17a", "4.2", FERRY_MUST, "UNKNOWN_TYPE in answer to a management record is survived",
     FERRY_NEEDS_FRESH, answered_so, FERRY_VALUES_UNKNOWN},
    {"W-17b", "3.3", FERRY_MUST, "nothing against the protocol came in the whole run", 0, whole_run,
     0},
};

const struct ferry_check_group ferry_check_w_17 = {"W-17", "management, and the whole run", unknown,
                                                   2};
