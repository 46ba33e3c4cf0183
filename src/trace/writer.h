/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TRACE_WRITER_H
#define FERRY_TRACE_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ferry/err.h"

/*
 * Writes to a descriptor without ever making its caller wait: what is pushed is queued, and a
 * thread of its own writes it. The queue has a maximum; what finds no room in it is dropped whole.
 */

struct ferry_writer;

/* The descriptor stays the caller's, and must stay open until the writer is freed; it may block. 0
 * or -errno. */
FERRY_MUST_CHECK
int ferry_writer_new(int fd, size_t queue_max, struct ferry_writer **out);

/* Queues a copy: true, or false when it was dropped: for want of room or memory, or because writing
 * has failed (which ferry_writer_error tells). */
bool ferry_writer_push(struct ferry_writer *, const void *p, size_t n);

/* -errno once writing has failed, which ends it: -EPIPE when nobody reads any more. */
int ferry_writer_error(struct ferry_writer *);

/* Waits until all is written, at most so long: false when something is left, which is dropped. Then
 * only ferry_writer_free may be called. */
bool ferry_writer_finish(struct ferry_writer *, unsigned ms);
void ferry_writer_free(struct ferry_writer *); /* takes NULL; finish comes before */

#endif
