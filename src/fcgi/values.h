/* SPDX-License-Identifier: MIT */
#ifndef FERRY_FCGI_VALUES_H
#define FERRY_FCGI_VALUES_H

#include "base/slice.h"
#include "fcgi/conn.h"

/* The bodies of GET_VALUES and GET_VALUES_RESULT (FastCGI 1.0 section 4.1). */

/* The most that either of the two encoders writes. */
#define FERRY__VALUES_LEN_MAX 128

/* Asks for all three variables: bytes written. */
size_t ferry__values_ask(char out[FERRY__VALUES_LEN_MAX]);

/*
 * Answers a query: each variable that is asked for and not -1 in `truth` once, whatever is asked
 * how often; what cannot be read is left out. Bytes written, perhaps 0.
 */
size_t ferry__values_answer(struct ferry_slice query, const struct ferry_conn_values *truth,
                            char out[FERRY__VALUES_LEN_MAX]);

/* Reads an answer; what it does not say, or not as a number, is -1. */
void ferry__values_read(struct ferry_slice answer, struct ferry_conn_values *out);

#endif
