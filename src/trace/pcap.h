/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TRACE_PCAP_H
#define FERRY_TRACE_PCAP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/slice.h"
#include "ferry/err.h"

/*
 * Conversations as a pcapng file that Wireshark and others read: raw IPv4 packets with TCP, made up
 * here: connection n comes from 127.0.0.1, port 10000 + n, to 127.0.0.1, port 9000, where FastCGI
 * is looked for (else: decode TCP port 9000 as fcgi).
 */

#define FERRY_PCAP_PORT 9000

/* -- writing -- */

struct ferry_pcap {
    bool (*write)(void *arg, const void *p, size_t n); /* false: dropped */
    void *arg;
    uint64_t dropped; /* packets for which there was no room */
    char *packet;     /* where one is made; allocated when needed */
};

struct ferry_pcap_conn {
    uint32_t seq[2];
    uint16_t port;
    bool ended[2], reset;
};

/* The head of the file; `to` is where the application was, which ferry_pcap_read gives back. */
void ferry_pcap_begin(struct ferry_pcap *, const char *to);
void ferry_pcap_fini(struct ferry_pcap *);

/* A connection, by its number; the bytes of one direction (0: from who connected); its end, or that
 * it was reset; the end of all. Times are microseconds since 1970. */
void ferry_pcap_open(struct ferry_pcap *, struct ferry_pcap_conn *, uint64_t number, int64_t us);
void ferry_pcap_bytes(struct ferry_pcap *, struct ferry_pcap_conn *, int from, int64_t us,
                      const void *p, size_t n);
void ferry_pcap_end(struct ferry_pcap *, struct ferry_pcap_conn *, int from, int64_t us,
                    bool reset);
void ferry_pcap_close(struct ferry_pcap *, struct ferry_pcap_conn *, int64_t us);

/* -- reading what was written -- */

enum ferry_pcap_event { FERRY_PCAP_OPEN, FERRY_PCAP_BYTES, FERRY_PCAP_END };

struct ferry_pcap_packet {
    enum ferry_pcap_event event;
    int from;
    uint16_t port; /* which connection; OPEN begins a new one */
    uint32_t seq;  /* of the first byte, or of the end */
    int64_t us;
    struct ferry_slice bytes; /* in the input */
};

/*
 * Reads the block at the front of n bytes: how many it took, with `*is_packet` telling whether *out
 * was filled; 0 when it is not all there; FERRY_EPROTOCOL when this is no such file. `to`, of `cap`
 * bytes, gets the address when it is met.
 */
FERRY_MUST_CHECK
ssize_t ferry_pcap_read(const void *p, size_t n, struct ferry_pcap_packet *out, bool *is_packet,
                        char *to, size_t cap);

#endif
