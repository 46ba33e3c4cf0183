/* SPDX-License-Identifier: MIT */
/* A file of packets: whatever it holds, blocks are read within their bytes. */
#include "trace/pcap.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *copy = malloc(n ? n : 1), to[16] = "";

    must(copy);
    if (n)
        memcpy(copy, data, n);
    for (size_t at = 0;;) {
        struct ferry_pcap_packet p;
        bool is_packet;
        ssize_t took = ferry_pcap_read(copy + at, n - at, &p, &is_packet, to, sizeof to);

        must(memchr(to, 0, sizeof to));
        must(took == FERRY_EPROTOCOL || (took >= 0 && (size_t)took <= n - at));
        must(!is_packet || took > 0);
        if (is_packet) {
            must(p.from == 0 || p.from == 1);
            must(!p.bytes.len ||
                 (p.bytes.p > copy + at && p.bytes.p + p.bytes.len <= copy + at + (size_t)took));
        }
        if (took <= 0)
            break;
        at += (size_t)took;
    }
    free(copy);
    return 0;
}
