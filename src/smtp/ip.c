/* SPDX-License-Identifier: MIT */
/*
 * IPv4 and IPv6 addresses in texts, in one pass. A number with a leading zero is refused, since
 * some read it as octal: one text, one address.
 */
#include "smtp/ip.h"

bool ferry__smtp_ip4(struct ferry_slice s, uint8_t out[4])
{
    uint8_t ip[4];
    size_t at = 0;

    for (unsigned part = 0; part < 4; part++) {
        unsigned n = 0, digits = 0;

        if (part && (at == s.len || s.p[at++] != '.'))
            return false;
        for (; at < s.len && s.p[at] >= '0' && s.p[at] <= '9'; at++, digits++) {
            if (digits == 3 || (digits && n == 0))
                return false;
            n = n * 10 + (unsigned)(s.p[at] - '0');
        }
        if (digits == 0 || n > 255)
            return false;
        ip[part] = (uint8_t)n;
    }
    if (at != s.len)
        return false;
    memcpy(out, ip, sizeof ip);
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ferry_ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool ferry__smtp_ip6(struct ferry_slice s, uint8_t out[16])
{
    uint8_t ip[16] = {0};
    size_t at = 0, n = 0, gap = SIZE_MAX; /* bytes written, and where "::" stands in them */

    if (s.len >= 2 && s.p[0] == ':' && s.p[1] == ':') {
        gap = 0;
        at = 2;
    }
    while (at < s.len) {
        unsigned word = 0, digits = 0;
        size_t first = at;

        for (; at < s.len && hex_digit(s.p[at]) >= 0; at++, digits++) {
            if (digits == 4)
                return false;
            word = word << 4 | (unsigned)hex_digit(s.p[at]);
        }
        if (at < s.len && s.p[at] == '.') {
            if (n > 12 || !ferry__smtp_ip4(ferry_slice_from(s, first), ip + n))
                return false;
            n += 4;
            break;
        }
        if (digits == 0 || n == 16)
            return false;
        ip[n++] = (uint8_t)(word >> 8);
        ip[n++] = (uint8_t)word;
        if (at == s.len)
            break;
        if (s.p[at++] != ':' || at == s.len)
            return false;
        if (s.p[at] == ':') {
            if (gap != SIZE_MAX)
                return false;
            gap = n;
            at++;
        }
    }
    if (gap == SIZE_MAX ? n != 16 : n > 14)
        return false;
    if (gap != SIZE_MAX) {
        memmove(ip + 16 - (n - gap), ip + gap, n - gap);
        memset(ip + gap, 0, 16 - n);
    }
    memcpy(out, ip, sizeof ip);
    return true;
}

bool ferry__smtp_ip6_is_mapped(const uint8_t ip[16])
{
    static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};

    return memcmp(ip, prefix, sizeof prefix) == 0;
}
