/* SPDX-License-Identifier: MIT */
#ifndef FERRY_MAIL_LIMITS_H
#define FERRY_MAIL_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "ferry/err.h"

/*
 * What the clients of one service may have and do, in all threads together. A client is an IPv4
 * address or a /64 of IPv6, given as the 16 bytes of networks.h. Times are of the monotonic clock.
 * The table of clients has a maximum: those with a connection are always in it, and of the others
 * the one that was quiet for longest is forgotten.
 */

/* X(name): what is counted per minute. So many may come at once, and then one whenever its share of
 * the minute is over. */
#define FERRY__RATE_MAP(X) X(CONNECTS) X(MAILS) X(RCPTS) X(AUTH_FAILS)

enum ferry__rate {
#define X(name) FERRY__RATE_##name,
    FERRY__RATE_MAP(X)
#undef X
        FERRY__RATES
};

struct ferry__limits_opts {
    unsigned clients_max, clients_per_ip;
    unsigned per_minute[FERRY__RATES]; /* 0: any number */
    uint64_t spool_max;
};

struct ferry__limits;

/* NULL: no memory. Any thread may use it. */
struct ferry__limits *ferry__limits_new(const struct ferry__limits_opts *);
void ferry__limits_free(struct ferry__limits *); /* takes NULL */

/* One more connection, not yet known whose: false when there are too many. */
bool ferry__limits_open(struct ferry__limits *);
void ferry__limits_close(struct ferry__limits *);
/* Is more than nine tenths of the connections taken? */
bool ferry__limits_is_crowded(struct ferry__limits *);

/* It is this client's: false when that one has too many, or comes too often; nothing is counted
 * then. Each that was true is left once. */
bool ferry__limits_enter(struct ferry__limits *, const uint8_t addr[16], uint64_t now_ms);
void ferry__limits_leave(struct ferry__limits *, const uint8_t addr[16]);

/* May it do that once more? _take also counts it. */
bool ferry__limits_may(struct ferry__limits *, const uint8_t addr[16], enum ferry__rate,
                       uint64_t now_ms);
bool ferry__limits_take(struct ferry__limits *, const uint8_t addr[16], enum ferry__rate,
                        uint64_t now_ms);

/* Room for so many bytes of messages: false when there is none, and nothing is taken. */
bool ferry__limits_spool(struct ferry__limits *, uint64_t bytes);
void ferry__limits_unspool(struct ferry__limits *, uint64_t bytes);
/* Would there be? */
bool ferry__limits_has_room(struct ferry__limits *, uint64_t bytes);

#endif
