/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CHECK_REPORT_H
#define FERRY_CHECK_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include "check/check.h"

/* What a run of a suite found, as text for people, as TAP version 14 or as one JSON object. */

enum ferry_report_format { FERRY_REPORT_TEXT, FERRY_REPORT_TAP, FERRY_REPORT_JSON };

struct ferry_report_opts {
    enum ferry_report_format format;
    bool verbose;       /* text: a line for each case, and conversations of all that failed */
    bool colour;        /* text */
    FILE *to;           /* where it is written */
    const char *target; /* what is checked, as the user named it */
};

/* NULL when memory is out. */
struct ferry_report *ferry_report_new(const struct ferry_report_opts *);

/* A fact about the target, before the first case: ("FCGI_MPXS_CONNS", "1"). Both are copied. */
void ferry_report_fact(struct ferry_report *, const char *name, const char *value);

void ferry_report_suite(struct ferry_report *, const struct ferry_check_suite *);
void ferry_report_result(struct ferry_report *, const struct ferry_check_result *);

/* Writes what comes last. 0, or -EIO when something could not be written. */
int ferry_report_end(struct ferry_report *);

/* Takes NULL. */
void ferry_report_free(struct ferry_report *);

#endif
