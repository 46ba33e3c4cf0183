/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TRACE_COMPARE_H
#define FERRY_TRACE_COMPARE_H

#include <stdio.h>

#include "trace/follow.h"

/*
 * Where two answers differ: status, header fields, content, app status; a line for each, and how
 * many. Fields that differ each time (Date, Set-Cookie, Expires, Age, X-Request-Id) are not looked
 * at. Both are of followers that keep streams whole.
 */
unsigned ferry_compare(const struct ferry_follow_request *recorded,
                       const struct ferry_follow_request *now, FILE *);

#endif
