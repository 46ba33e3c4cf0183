/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CHECK_WIRE_H
#define FERRY_CHECK_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check/talk.h"
#include "ferry/err.h"
#include "io/addr.h"

/*
 * One FastCGI connection of a case, raw: any bytes go out, well-formed or not, and records come in.
 * Blocking, with deadlines. Everything is noted in the case's transcript. While something is sent
 * what arrives is taken in, so that two sides that both write do not wait for each other.
 *
 * Wires belong to their case and are closed behind it. Memory that is out ends the case.
 */

struct ferry_check;
struct ferry_wire;

/* What is kept at most of what came in and was not read yet. */
#define FERRY_WIRE_IN_MAX ((size_t)64 << 20)

/* Takes a connected socket. Never NULL. */
struct ferry_wire *ferry_wire_adopt(struct ferry_check *, int fd);

/* Connects: the wire, or NULL with errno. Waits as long as opts->timeout_ms. */
struct ferry_wire *ferry_wire_try(struct ferry_check *, const struct ferry_addr *);

/* -- sending: put any number of things, then flush
 * -------------------------------------------------------------------------------------------------
 */

/* Bytes that are no record. */
void ferry_wire_put_bytes(struct ferry_wire *, const void *, size_t n);

/* A record with every field as given; the padding is filled with `fill`. content may be NULL: then
 * none of the content_len bytes that the header claims follow, and no padding. */
void ferry_wire_put(struct ferry_wire *, const struct ferry_wire_record *, uint8_t fill);

/* The usual: version 1, padded to eight bytes. n may be any length up to 65535. */
void ferry_wire_put_record(struct ferry_wire *, unsigned type, uint16_t id, const void *content,
                           size_t n);

/* Content of any length as a stream of records, without its end. */
void ferry_wire_put_stream(struct ferry_wire *, unsigned type, uint16_t id, const void *content,
                           size_t n);

/* As what follows is put, it is not noted one by one; the text stands for it. NULL: noted again. */
void ferry_wire_put_quietly(struct ferry_wire *, const char *text);

/* How many bytes wait to be flushed, and a way to take them back: only the first n stay. */
size_t ferry_wire_waiting(const struct ferry_wire *);
void ferry_wire_cut(struct ferry_wire *, size_t n);

/*
 * Sends what was put: 0; -EPIPE or -ECONNRESET when the peer has gone, which many cases do not
 * mind; -ETIMEDOUT when it takes nothing. What is not sent is dropped.
 */
int ferry_wire_flush(struct ferry_wire *);

/* The same in pieces of so many bytes, each in a send of its own and `pause_us` apart. */
int ferry_wire_flush_pieces(struct ferry_wire *, size_t piece, unsigned pause_us);

/* Sends n bytes of what was put, and keeps the rest. */
int ferry_wire_flush_some(struct ferry_wire *, size_t n);

/* Ends our direction only; closes; closes with a reset. Reading goes on after the first. */
void ferry_wire_shutdown(struct ferry_wire *);
void ferry_wire_close(struct ferry_wire *);
void ferry_wire_reset(struct ferry_wire *);

/* -- receiving
 * -------------------------------------------------------------------------------------------------
 */

/*
 * The next record: 1; 0 when the peer has ended its direction between two records; -ETIMEDOUT;
 * -ECONNRESET; FERRY_ECUT at an end inside of a record; FERRY_EPROTOCOL for a version other than 1
 * (out is filled but for its content); FERRY_ELIMIT. out->content lives until the next call for
 * this wire. ms 0 means opts->timeout_ms.
 */
FERRY_MUST_CHECK
int ferry_wire_read(struct ferry_wire *, struct ferry_wire_record *out, unsigned ms);

/* The same words for what that returned, for reasons: "the end of the connection". Static text. */
const char *ferry_wire_said(int result);

/* Has anything come, or does it come within so many ms? The end counts. */
bool ferry_wire_stirs(struct ferry_wire *, unsigned ms);

/* Whatever comes is taken in without being looked at or noted, for ms: bytes so far in all. Stops
 * early at the end of the connection. */
uint64_t ferry_wire_drain(struct ferry_wire *, unsigned ms);

/* Bytes that arrived, in all. */
uint64_t ferry_wire_received(const struct ferry_wire *);

int ferry_wire_fd(const struct ferry_wire *); /* -1 when closed */
unsigned ferry_wire_number(const struct ferry_wire *);

/* Closes and frees all wires of a case. */
void ferry_wire_close_all(struct ferry_check *);

#endif
