/* SPDX-License-Identifier: MIT */
#ifndef FERRY_SMTP_IP_H
#define FERRY_SMTP_IP_H

#include <stdbool.h>

#include "base/slice.h"

/* Addresses in texts: what inet_pton takes, without libc, from bytes that no NUL ends. */

/* "192.0.2.1": four numbers of 0 to 255, without leading zeros. `out` only if it is one. */
bool ferry__smtp_ip4(struct ferry_slice, uint8_t out[4]);
/* RFC 4291, 2.2, also with an IPv4 address at its end; no zone. */
bool ferry__smtp_ip6(struct ferry_slice, uint8_t out[16]);
/* Is it an IPv4 address in IPv6 (::ffff:0:0/96)? The last four bytes are that then. */
bool ferry__smtp_ip6_is_mapped(const uint8_t ip[16]);

#endif
