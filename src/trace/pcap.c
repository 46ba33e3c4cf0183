/* SPDX-License-Identifier: MIT */
/*
 * pcapng blocks (draft-ietf-opsawg-pcapng): a section header, one interface of raw IP, and packets
 * with a time in microseconds. Numbers are in this machine's order, which the section header tells
 * readers; those inside packets are in network order.
 *
 * A dropped packet leaves a gap in the sequence numbers, so that readers see that bytes are
 * missing.
 */
#include "trace/pcap.h"

#include <stdio.h>
#include <stdlib.h>

#define SECTION 0x0A0D0D0Au
#define INTERFACE 1u
#define PACKET 6u
#define BYTE_ORDER_MAGIC 0x1A2B3C4Du
#define LINK_RAW 101

#define OPT_END 0
#define OPT_COMMENT 1
#define IF_DESCRIPTION 3
#define SHB_USERAPPL 4

#define BLOCK_MAX (1u << 20)
#define PACKET_HEAD 28 /* of the block, before the packet */
#define IP_LEN 20
#define TCP_LEN 20
#define PIECE_MAX 32768
#define ROOM (PACKET_HEAD + IP_LEN + TCP_LEN + PIECE_MAX + 32)

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16 };

/* -- little things -- */

static char *put32(char *to, uint32_t n)
{
    memcpy(to, &n, 4);
    return to + 4;
}

static char *put16(char *to, uint16_t n)
{
    memcpy(to, &n, 2);
    return to + 2;
}

static char *net32(char *to, uint32_t n)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        *to++ = (char)(n >> shift);
    return to;
}

static char *net16(char *to, uint16_t n)
{
    *to++ = (char)(n >> 8);
    *to++ = (char)n;
    return to;
}

static uint32_t get32(const char *p)
{
    uint32_t n;

    memcpy(&n, p, 4);
    return n;
}

static uint16_t get16(const char *p)
{
    uint16_t n;

    memcpy(&n, p, 2);
    return n;
}

static uint32_t get_net32(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;

    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

static uint16_t get_net16(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;

    return (uint16_t)(u[0] << 8 | u[1]);
}

static size_t padded(size_t n)
{
    return (n + 3) & ~(size_t)3;
}

static char *put_option(char *to, uint16_t code, struct ferry_slice text)
{
    to = put16(to, code);
    to = put16(to, (uint16_t)text.len);
    memset(to, 0, padded(text.len));
    if (text.len)
        memcpy(to, text.p, text.len);
    return to + padded(text.len);
}

/* The length, at both ends of a block that began at `block`. */
static size_t end_block(char *block, char *at)
{
    size_t len = (size_t)(at + 4 - block);

    put32(block + 4, (uint32_t)len);
    put32(at, (uint32_t)len);
    return len;
}

/* -- writing -- */

void ferry_pcap_begin(struct ferry_pcap *pcap, const char *to)
{
    static const char name[] = "ferry " FERRY_VERSION;
    struct ferry_slice text = ferry_slice_first(ferry_slice_z(to), 300);
    char out[1024], *block = out, *at;

    at = put32(block, SECTION);
    at = put32(at + 4, BYTE_ORDER_MAGIC);
    at = put16(at, 1);
    at = put16(at, 0);
    at = put32(put32(at, UINT32_MAX), UINT32_MAX); /* the section's length is not known */
    at = put_option(at, OPT_COMMENT, FERRY_SLICE("FastCGI is at TCP port 9000"));
    at = put_option(at, SHB_USERAPPL, ferry_slice(name, sizeof name - 1));
    at = put32(at, OPT_END);
    block += end_block(block, at);
    at = put32(block, INTERFACE);
    at = put16(at + 4, LINK_RAW);
    at = put16(at, 0);
    at = put32(at, 0); /* packets are whole */
    at = put_option(at, IF_DESCRIPTION, text);
    at = put32(at, OPT_END);
    block += end_block(block, at);
    if (!pcap->write(pcap->arg, out, (size_t)(block - out)))
        pcap->dropped++;
}

void ferry_pcap_fini(struct ferry_pcap *pcap)
{
    free(pcap->packet);
    pcap->packet = NULL;
}

static uint32_t sum16(uint32_t sum, const char *p, size_t n)
{
    for (; n > 1; p += 2, n -= 2)
        sum += get_net16(p);
    return n ? sum + ((uint32_t)(unsigned char)*p << 8) : sum;
}

static uint16_t checksum(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/* The headers in front of n bytes of content that stand behind them already. */
static void put_headers(char *ip, const struct ferry_pcap_conn *c, int from, int flags, size_t n)
{
    char *tcp = ip + IP_LEN, *at;
    uint32_t sum;

    at = net16(ip, 0x4500);
    at = net16(at, (uint16_t)(IP_LEN + TCP_LEN + n));
    at = net32(at, 0x00004000); /* not to be cut */
    at = net32(at, 64u << 24 | 6u << 16);
    at = net32(net32(at, 0x7f000001), 0x7f000001);
    net16(ip + 10, checksum(sum16(0, ip, IP_LEN)));
    at = net16(tcp, from ? FERRY_PCAP_PORT : c->port);
    at = net16(at, from ? c->port : FERRY_PCAP_PORT);
    at = net32(at, c->seq[from]);
    at = net32(at, flags & ACK ? c->seq[1 - from] : 0);
    at = net16(at, (uint16_t)(5 << 12 | flags));
    at = net16(at, 65535);
    net32(at, 0);
    sum = sum16(6 + TCP_LEN + (uint32_t)n, ip + 12, 8);
    net16(tcp + 16, checksum(sum16(sum, tcp, TCP_LEN + n)));
}

static void packet(struct ferry_pcap *pcap, struct ferry_pcap_conn *c, int from, int flags,
                   int64_t us, const char *p, size_t n)
{
    size_t len = IP_LEN + TCP_LEN + n;
    char *at, *ip;

    if (!pcap->packet)
        pcap->packet = malloc(ROOM);
    if (pcap->packet) {
        at = put32(pcap->packet, PACKET);
        at = put32(at + 4, 0); /* the interface */
        at = put32(at, (uint32_t)((uint64_t)us >> 32));
        at = put32(at, (uint32_t)us);
        at = put32(at, (uint32_t)len);
        ip = put32(at, (uint32_t)len);
        if (n)
            memcpy(ip + IP_LEN + TCP_LEN, p, n);
        put_headers(ip, c, from, flags, n);
        memset(ip + len, 0, padded(len) - len);
        at = end_block(pcap->packet, ip + padded(len)) + pcap->packet;
        if (!pcap->write(pcap->arg, pcap->packet, (size_t)(at - pcap->packet)))
            pcap->dropped++;
    } else {
        pcap->dropped++;
    }
    c->seq[from] += (uint32_t)n + (flags & (SYN | FIN) ? 1 : 0);
}

void ferry_pcap_open(struct ferry_pcap *pcap, struct ferry_pcap_conn *c, uint64_t number,
                     int64_t us)
{
    *c = (struct ferry_pcap_conn){.port = (uint16_t)(10000 + number % 50000)};
    packet(pcap, c, 0, SYN, us, NULL, 0);
    packet(pcap, c, 1, SYN | ACK, us, NULL, 0);
    packet(pcap, c, 0, ACK, us, NULL, 0);
}

void ferry_pcap_bytes(struct ferry_pcap *pcap, struct ferry_pcap_conn *c, int from, int64_t us,
                      const void *bytes, size_t n)
{
    const char *p = bytes;

    for (size_t piece; n; p += piece, n -= piece) {
        piece = n < PIECE_MAX ? n : PIECE_MAX;
        packet(pcap, c, from, PSH | ACK, us, p, piece);
    }
}

void ferry_pcap_end(struct ferry_pcap *pcap, struct ferry_pcap_conn *c, int from, int64_t us,
                    bool reset)
{
    if (c->reset || c->ended[from])
        return;
    c->ended[from] = true;
    c->reset = reset;
    packet(pcap, c, from, reset ? RST | ACK : FIN | ACK, us, NULL, 0);
}

void ferry_pcap_close(struct ferry_pcap *pcap, struct ferry_pcap_conn *c, int64_t us)
{
    ferry_pcap_end(pcap, c, 0, us, false);
    ferry_pcap_end(pcap, c, 1, us, false);
}

/* -- reading -- */

static void read_interface(const char *p, size_t n, char *to, size_t cap)
{
    for (size_t at = 16; at + 4 <= n;) {
        uint16_t code = get16(p + at), len = get16(p + at + 2);

        at += 4;
        if (code == OPT_END || len > n - at)
            return;
        if (code == IF_DESCRIPTION && cap) {
            snprintf(to, cap, "%.*s", (int)len, p + at);
            return;
        }
        if (padded(len) > n - at)
            return;
        at += padded(len);
    }
}

/* A packet of ours from the beginning of its IP header: false for any other. */
static bool read_ip(const char *ip, size_t n, struct ferry_pcap_packet *out)
{
    size_t ip_len, tcp_len, total;
    const char *tcp;
    unsigned flags;
    uint16_t source, target;

    if (n < IP_LEN + TCP_LEN || (ip[0] & 0xf0) != 0x40 || ip[9] != 6)
        return false;
    ip_len = (size_t)(ip[0] & 15) * 4;
    total = get_net16(ip + 2);
    if (ip_len < IP_LEN || total > n || total < ip_len + TCP_LEN)
        return false;
    tcp = ip + ip_len;
    tcp_len = (size_t)((unsigned char)tcp[12] >> 4) * 4;
    if (tcp_len < TCP_LEN || tcp_len > total - ip_len)
        return false;
    source = get_net16(tcp);
    target = get_net16(tcp + 2);
    if (source != FERRY_PCAP_PORT && target != FERRY_PCAP_PORT)
        return false;
    flags = (unsigned char)tcp[13];
    out->from = source == FERRY_PCAP_PORT;
    out->port = out->from ? target : source;
    out->seq = get_net32(tcp + 4);
    out->bytes = ferry_slice(tcp + tcp_len, total - ip_len - tcp_len);
    out->event = flags & SYN           ? FERRY_PCAP_OPEN
                 : flags & (FIN | RST) ? FERRY_PCAP_END
                                       : FERRY_PCAP_BYTES;
    return (flags & SYN) ? !out->from : out->bytes.len || flags & (FIN | RST);
}

static bool read_packet(const char *p, size_t n, struct ferry_pcap_packet *out)
{
    uint32_t len;

    if (n < PACKET_HEAD + 4)
        return false;
    len = get32(p + 20);
    if (len > n - PACKET_HEAD - 4 || !read_ip(p + PACKET_HEAD, len, out))
        return false;
    out->us = (int64_t)((uint64_t)get32(p + 12) << 32 | get32(p + 16));
    return true;
}

ssize_t ferry_pcap_read(const void *bytes, size_t n, struct ferry_pcap_packet *out, bool *is_packet,
                        char *to, size_t cap)
{
    const char *p = bytes;
    uint32_t len;

    *is_packet = false;
    if (n < 12)
        return 0;
    if (get32(p) == SECTION && get32(p + 8) != BYTE_ORDER_MAGIC)
        return FERRY_EPROTOCOL;
    len = get32(p + 4);
    if (len < 12 || len % 4 || len > BLOCK_MAX)
        return FERRY_EPROTOCOL;
    if (n < len)
        return 0;
    if (get32(p + len - 4) != len)
        return FERRY_EPROTOCOL;
    if (get32(p) == INTERFACE && len >= 20 && get16(p + 8) != LINK_RAW)
        return FERRY_EPROTOCOL;
    if (get32(p) == INTERFACE)
        read_interface(p, len - 4, to, cap);
    else if (get32(p) == PACKET)
        *is_packet = read_packet(p, len, out);
    return (ssize_t)len;
}
