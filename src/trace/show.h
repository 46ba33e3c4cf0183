/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TRACE_SHOW_H
#define FERRY_TRACE_SHOW_H

#include <stdio.h>

#include "trace/follow.h"

/* One request as one line: for people, or a JSON object. */

struct ferry_show_opts {
    bool json, colour;
};

/* `conn` is the number of its connection, `began_us` when it began, in microseconds since 1970.
 * Writes to the stream; whether that went well the stream knows. -ENOMEM (JSON only), else 0. */
int ferry_show_request(const struct ferry_show_opts *, uint64_t conn, int64_t began_us,
                       const struct ferry_follow_request *, FILE *);

/* Anything else that is told, with the connection it is about (0: none): "time #7 text". For JSON
 * {"time": ..., "connection": 7, "note": text}. */
int ferry_show_note(const struct ferry_show_opts *, uint64_t conn, int64_t when_us,
                    const char *text, FILE *);

#endif
