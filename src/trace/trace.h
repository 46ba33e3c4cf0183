/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TRACE_TRACE_H
#define FERRY_TRACE_TRACE_H

#include "io/addr.h"
#include "io/loop.h"
#include "trace/filter.h"
#include "trace/show.h"
#include "trace/writer.h"

/*
 * What `ferry trace` does between a web server and an application: passes bytes, follows the
 * requests in them, and writes a line for each that is over and that the filter lets through.
 */

struct ferry_trace;

struct ferry_trace_opts {
    struct ferry_addr to;
    const struct ferry_filter *filter; /* borrowed */
    struct ferry_writer *lines;        /* where lines go; borrowed */
    struct ferry_writer *pcap;         /* where packets go, or NULL; borrowed */
    const char *to_text;               /* for the head of the packets; borrowed */
    struct ferry_show_opts show;
    bool records; /* all records too, of all requests */
    void (*say)(const char *text);
    void (*drained)(void *arg); /* the last connection is closed */
    void *arg;
};

/* Takes over the listening descriptor, also on failure: 0 or -errno. */
FERRY_MUST_CHECK
int ferry_trace_new(struct ferry_loop *, const struct ferry_trace_opts *, int listen_fd,
                    struct ferry_trace **out);

/* No more connections; those without a request are closed, the others when theirs are over. */
void ferry_trace_drain(struct ferry_trace *);
void ferry_trace_cut(struct ferry_trace *); /* all of them now */

/* Lines and packets that found no room so far. */
uint64_t ferry_trace_dropped(const struct ferry_trace *);
uint64_t ferry_trace_packets_dropped(const struct ferry_trace *);

void ferry_trace_free(struct ferry_trace *); /* after `drained`; takes NULL */

#endif
