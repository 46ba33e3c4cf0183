/* SPDX-License-Identifier: MIT */
#ifndef FERRY_PARAMS_H
#define FERRY_PARAMS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ferry/err.h"
#include "ferry/slice.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Name-value pairs (FastCGI 1.0 section 3.4) and the PARAMS stream they travel in. Nothing here
 * allocates.
 */

struct ferry_param {
    struct ferry_slice name, value;
};

/* The longest a name or a value may be: the format has 31 bits for each. */
#define FERRY_PARAM_LEN_MAX 0x7fffffffu

/* The bytes one pair takes, lengths included. Both lengths are at most FERRY_PARAM_LEN_MAX. */
size_t ferry_param_size(size_t name_len, size_t value_len);

/*
 * Reads the pair at p: the bytes it took, or 0 when n bytes do not hold it whole, or FERRY_ELIMIT
 * when its name and value together are longer than `max`. *out borrows from p, and is untouched
 * unless a pair was read. The pair is never allocated for before it is there, whatever length it
 * claims.
 */
FERRY_MUST_CHECK
ssize_t ferry_param_decode(const void *p, size_t n, size_t max, struct ferry_param *out);

/* Writes one bare pair (no record around it; for GET_VALUES bodies): bytes written, or FERRY_ELIMIT
 * when cap is short. */
FERRY_MUST_CHECK
ssize_t ferry_param_encode(const struct ferry_param *, void *out, size_t cap);

/*
 * Writes one request's BEGIN_REQUEST record and its PARAMS stream into memory of the caller's, as
 * records. Pairs never straddle two records unless a pair alone is larger than one record: php-fpm
 * and others refuse such streams. A record's content and padding together stay within 65535 bytes,
 * which PHP insists on too. The first error sticks, and ferry_params_close returns it.
 */
struct ferry_params_writer {
    char *start, *at, *end;
    char *record; /* header of the PARAMS record being filled, or NULL between records */
    uint16_t id;
    int err;
};

/*
 * The room that is always enough for a BEGIN_REQUEST record, a PARAMS stream whose pairs take
 * `pairs_len` bytes together (the sum of ferry_param_size), its end, and the end of an empty STDIN.
 */
size_t ferry_params_room(size_t pairs_len);

/* Starts writing at mem. The writer borrows mem until ferry_params_close. */
void ferry_params_open(struct ferry_params_writer *, void *mem, size_t cap, uint16_t id);

/* A BEGIN_REQUEST record; only directly after ferry_params_open. */
void ferry_params_begin_request(struct ferry_params_writer *, uint16_t role, uint8_t flags);

/* One pair, copied. */
void ferry_params_add(struct ferry_params_writer *, struct ferry_slice name,
                      struct ferry_slice value);

/* A pair whose value is the n pieces one behind the other. */
void ferry_params_add_pieces(struct ferry_params_writer *, struct ferry_slice name,
                             const struct ferry_slice *pieces, size_t n);

/* Ends the PARAMS stream, and with `stdin_too` an empty STDIN: the bytes written since open, or the
 * first error (FERRY_ELIMIT when the room was short or a length past FERRY_PARAM_LEN_MAX). */
FERRY_MUST_CHECK
ssize_t ferry_params_close(struct ferry_params_writer *, int stdin_too);

#ifdef __cplusplus
}
#endif
#endif
