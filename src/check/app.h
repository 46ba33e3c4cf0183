/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CHECK_APP_H
#define FERRY_CHECK_APP_H

#include "check/check.h"

/*
 * The conformance suite for FastCGI applications: the assertions A-INI to A-ERR.
 *
 * Runs it against an address or a program, and gives the report facts and results: how many
 * required cases failed; or FERRY_EUSAGE, -ENOMEM or another error when nothing could be checked,
 * and then `why` says so in one line.
 */
FERRY_MUST_CHECK
int ferry_check_app(const struct ferry_check_opts *, struct ferry_report *, char *why, size_t cap);

/* Its cases, for ferry_check_list. */
extern const struct ferry_check_suite ferry_check_app_suite;

#endif
