/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CLIENT_CLIENT_H
#define FERRY_CLIENT_CLIENT_H

#include "client/call.h"
#include "ferry/client.h"
#include "io/loop.h"

/*
 * An application behind one address or several: what ferry/client.h shows, for callers inside of
 * the library, who bring their own struct ferry_call. Each address has a pool; a call goes to one
 * of them, and on to another when the first refuses the connection and nothing was sent.
 */

struct ferry_client_local; /* the part of one thread */

/* As ferry_client_join, but with the thread's number (< threads_max), which all clients of a
 * process number alike; a client is used by this or by ferry_client_join, not by both. threads_max
 * itself is the number of the loop that ferry_client_fetch keeps. NULL: no memory. Called in that
 * thread, or before its loop runs. */
struct ferry_client_local *ferry_client_join_as(struct ferry_client *, unsigned index,
                                                struct ferry_loop *);

/* The part of the thread whose loop this is, joined now if it was not. 0, -ENOMEM or FERRY_ELIMIT.
 */
FERRY_MUST_CHECK
int ferry_client_local(struct ferry_client *, struct ferry_loop *, struct ferry_client_local **out);

/* How many threads may use it. */
unsigned ferry_client_threads_max(const struct ferry_client *);

/* Keeps no idle connection from now on; `closed` when nothing is left, as ferry_client_close. */
void ferry_client_local_close(struct ferry_client_local *, void (*closed)(void *), void *arg);

/*
 * Starts a call (client/call.h): `done` follows in any case. `key` chooses the address where the
 * balance is by key; it is used during the call of this function only.
 */
void ferry_client_call(struct ferry_client_local *, struct ferry_call *, struct ferry_slice key);

#endif
