/* SPDX-License-Identifier: MIT */
/*
 * PROXY headers, and the attributes of XCLIENT and XFORWARD. Both stand for the client's address
 * from here on, so that there is no leniency: what is not exactly as its specification has it
 * (haproxy.org, proxy-protocol.txt; postfix.org, XCLIENT_README) is refused whole.
 */
#include "smtp/origin.h"

#include "base/text.h"
#include "smtp/ip.h"
#include "smtp/utf8.h"

/* -- PROXY, version 1 -------------------------------------------------------------------------- */

#define V1_MAX 107
#define PORT_DIGITS_MAX 5

/* One text, one port: no leading zeros, no sign. */
static bool read_port(struct ferry_slice s, uint16_t *out)
{
    uint64_t n;

    if (s.len > PORT_DIGITS_MAX || (s.len > 1 && s.p[0] == '0') || ferry_slice_u64(s, 65535, &n))
        return false;
    *out = (uint16_t)n;
    return true;
}

static uint16_t network16(uint16_t n)
{
    const uint8_t bytes[2] = {(uint8_t)(n >> 8), (uint8_t)n};
    uint16_t out;

    memcpy(&out, bytes, sizeof out);
    return out;
}

static void set_ip4(void *to, const uint8_t ip[4], uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = network16(port)};

    memcpy(&a.sin_addr, ip, 4);
    memcpy(to, &a, sizeof a);
}

static void set_ip6(void *to, const uint8_t ip[16], uint16_t port)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = network16(port)};

    if (ferry__smtp_ip6_is_mapped(ip)) {
        set_ip4(to, ip + 12, port);
        return;
    }
    memcpy(&a.sin6_addr, ip, 16);
    memcpy(to, &a, sizeof a);
}

/* Up to the one blank behind it, or the end. */
static struct ferry_slice take_word(struct ferry_slice *s)
{
    struct ferry_slice word = ferry_slice_first(*s, ferry_slice_find(*s, ' '));

    *s = ferry_slice_from(*s, word.len + 1);
    return word;
}

static bool read_v1_address(bool six, struct ferry_slice text, uint16_t port, void *to)
{
    uint8_t ip[16];

    if (six ? !ferry__smtp_ip6(text, ip) : !ferry__smtp_ip4(text, ip))
        return false;
    if (six)
        set_ip6(to, ip, port);
    else
        set_ip4(to, ip, port);
    return true;
}

/* Behind "PROXY ", without CR LF. */
static bool read_v1(struct ferry_slice s, struct ferry_proxy *out)
{
    struct ferry_slice words[6];
    uint16_t from, to;
    size_t blanks = 0;
    bool six;

    for (size_t i = 0; i < s.len; i++)
        blanks += s.p[i] == ' ';
    words[0] = take_word(&s);
    if (ferry_slice_eq(words[0], FERRY_SLICE("UNKNOWN")))
        return true; /* the rest is to be ignored */
    six = ferry_slice_eq(words[0], FERRY_SLICE("TCP6"));
    if ((!six && !ferry_slice_eq(words[0], FERRY_SLICE("TCP4"))) || blanks != 4)
        return false;
    for (size_t i = 1; i < 5; i++)
        words[i] = take_word(&s);
    if (!read_port(words[3], &from) || !read_port(words[4], &to) ||
        !read_v1_address(six, words[1], from, &out->from) ||
        !read_v1_address(six, words[2], to, &out->to))
        return false;
    return out->real = true;
}

static ssize_t parse_v1(struct ferry_slice s, struct ferry_proxy *out)
{
    const struct ferry_slice start = FERRY_SLICE("PROXY ");

    if (!ferry_slice_starts(s, ferry_slice_first(start, s.len)))
        return FERRY_EPROTOCOL;
    for (size_t i = start.len; i < s.len && i < V1_MAX; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if (c == '\r' && i + 1 < V1_MAX) {
            if (i + 1 == s.len)
                return 0;
            if (s.p[i + 1] != '\n' || !read_v1(ferry_slice(s.p + start.len, i - start.len), out))
                return FERRY_EPROTOCOL;
            return (ssize_t)i + 2;
        }
        if (c < ' ' || c > '~')
            return FERRY_EPROTOCOL;
    }
    return s.len < V1_MAX ? 0 : FERRY_EPROTOCOL;
}

/* -- PROXY, version 2 -------------------------------------------------------------------------- */

#define V2_HEAD 16

static unsigned two_bytes(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

/* Type, length, value; up to the end exactly. */
static bool are_tlvs(const uint8_t *p, size_t n)
{
    while (n) {
        size_t len;

        if (n < 3)
            return false;
        len = 3 + two_bytes(p + 1);
        if (len > n)
            return false;
        p += len;
        n -= len;
    }
    return true;
}

/* What follows the length; family and protocol are known to be some. */
static bool read_v2(unsigned family, const uint8_t *p, size_t n, struct ferry_proxy *out)
{
    /* both addresses and ports, of each family: unspecified, IPv4, IPv6, Unix */
    static const uint8_t sizes[] = {0, 12, 36, 216};

    if (n < sizes[family >> 4])
        return false;
    if (family != 0x11 && family != 0x21)
        return true;
    if (family == 0x11) {
        set_ip4(&out->from, p, (uint16_t)two_bytes(p + 8));
        set_ip4(&out->to, p + 4, (uint16_t)two_bytes(p + 10));
    } else {
        set_ip6(&out->from, p, (uint16_t)two_bytes(p + 32));
        set_ip6(&out->to, p + 16, (uint16_t)two_bytes(p + 34));
    }
    out->real = true;
    return are_tlvs(p + sizes[family >> 4], n - sizes[family >> 4]);
}

static ssize_t parse_v2(struct ferry_slice s, struct ferry_proxy *out)
{
    const uint8_t *p = (const uint8_t *)s.p;
    size_t len;

    /* Version 2; LOCAL or PROXY; families 0 to 3 and protocols 0 to 2; all others are reserved, and
     * to be refused. */
    if (s.len > 12 && p[12] != 0x20 && p[12] != 0x21)
        return FERRY_EPROTOCOL;
    if (s.len > 13 && (p[13] >> 4 > 3 || (p[13] & 15) > 2))
        return FERRY_EPROTOCOL;
    if (s.len < V2_HEAD)
        return 0;
    len = two_bytes(p + 14);
    if (V2_HEAD + len > FERRY_PROXY_MAX)
        return FERRY_EPROTOCOL;
    if (s.len - V2_HEAD < len)
        return 0;
    if (p[12] == 0x21 && !read_v2(p[13], p + V2_HEAD, len, out))
        return FERRY_EPROTOCOL;
    return (ssize_t)(V2_HEAD + len);
}

ssize_t ferry_proxy_parse(const char *p, size_t n, struct ferry_proxy *out)
{
    const struct ferry_slice signature = FERRY_SLICE("\r\n\r\n\0\r\nQUIT\n");
    struct ferry_slice s = ferry_slice(p, n);
    struct ferry_proxy proxy = {0};
    ssize_t took;

    if (n == 0)
        return 0;
    if (ferry_slice_starts(s, ferry_slice_first(signature, n)))
        took = parse_v2(s, &proxy);
    else
        took = parse_v1(s, &proxy);
    if (took > 0)
        *out = proxy;
    return took;
}

/* -- XCLIENT and XFORWARD ---------------------------------------------------------------------- */

#define X(name, text) FERRY_SLICE_INIT(text),
static const struct ferry_slice names[] = {FERRY_SMTP_ATTR_MAP(X)};
#undef X

static bool is_of(unsigned attr, bool xforward)
{
    if (xforward)
        return attr < FERRY_SMTP_ATTR_LOGIN || attr > FERRY_SMTP_ATTR_DESTPORT;
    return attr <= FERRY_SMTP_ATTR_DESTPORT;
}

/* In place; an IPv4 address in IPv6 becomes IPv4, as in the PROXY header. */
static bool check_address(char *value)
{
    const struct ferry_slice tag = FERRY_SLICE("IPV6:");
    struct ferry_slice text = ferry_slice_z(value);
    uint8_t ip[16];
    char *to = value;

    if (ferry__smtp_ip4(text, ip))
        return true;
    if (ferry_slice_eq_nocase(ferry_slice_first(text, tag.len), tag))
        text = ferry_slice_from(text, tag.len);
    if (!ferry__smtp_ip6(text, ip))
        return false;
    if (!ferry__smtp_ip6_is_mapped(ip)) {
        memmove(value, text.p, text.len);
        value[text.len] = 0;
        return true;
    }
    for (unsigned i = 12; i < 16; i++) {
        if (i > 12)
            *to++ = '.';
        to = ferry__put_u64(to, ip[i], 1);
    }
    *to = 0;
    return true;
}

/* In place: in upper case, when it is one of them. */
static bool check_word(char *value, const char *const *words)
{
    for (; *words; words++)
        if (ferry_slice_eq_nocase(ferry_slice_z(value), ferry_slice_z(*words))) {
            memcpy(value, *words, strlen(*words));
            return true;
        }
    return false;
}

/* Names that the DNS gives are not always as hosts' names should be (underscores), but have to be
 * harmless. */
static bool is_name(struct ferry_slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = ferry_ascii_lower(s.p[i]);

        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '_' && c != '.')
            return false;
    }
    return s.len && s.p[0] != '.';
}

static bool check_value(unsigned attr, char *value)
{
    static const char *const protocols[] = {"SMTP", "ESMTP", "LMTP", NULL};
    static const char *const sources[] = {"LOCAL", "REMOTE", NULL};
    struct ferry_slice text = ferry_slice_z(value);
    uint16_t port;

    switch (attr) {
    case FERRY_SMTP_ATTR_NAME:
    case FERRY_SMTP_ATTR_REVERSE_NAME:
        return is_name(text);
    case FERRY_SMTP_ATTR_ADDR:
    case FERRY_SMTP_ATTR_DESTADDR:
        return check_address(value);
    case FERRY_SMTP_ATTR_PORT:
    case FERRY_SMTP_ATTR_DESTPORT:
        return read_port(text, &port);
    case FERRY_SMTP_ATTR_PROTO:
        return check_word(value, protocols);
    case FERRY_SMTP_ATTR_SOURCE:
        return check_word(value, sources);
    default:
        return ferry__smtp_is_text(text, true);
    }
}

static bool read_value(struct ferry_slice text, unsigned attr, struct ferry_smtp_attrs *out)
{
    char *value = out->value[attr];

    value[0] = 0;
    if (ferry_slice_eq_nocase(text, FERRY_SLICE("[UNAVAILABLE]")) ||
        ferry_slice_eq_nocase(text, FERRY_SLICE("[TEMPUNAVAIL]"))) {
        out->unknown |= 1U << attr;
        return true;
    }
    return ferry_smtp_xtext_decode(text, value, sizeof out->value[attr]) > 0 &&
           check_value(attr, value);
}

static bool read_attr(struct ferry_slice text, bool xforward, struct ferry_smtp_attrs *out)
{
    struct ferry_slice name = ferry_slice_first(text, ferry_slice_find(text, '='));
    unsigned i = 0;

    while (i < FERRY_SMTP_ATTRS && !(is_of(i, xforward) && ferry_slice_eq_nocase(names[i], name)))
        i++;
    if (i == FERRY_SMTP_ATTRS || (out->set & 1U << i))
        return false;
    out->set |= 1U << i;
    return read_value(ferry_slice_from(text, name.len + 1), i, out);
}

enum ferry_smtp_reply ferry_smtp_attrs_parse(struct ferry_slice s, bool xforward,
                                             struct ferry_smtp_attrs *out,
                                             struct ferry_slice *detail)
{
    out->set = out->unknown = 0;
    for (unsigned i = 0; i < FERRY_SMTP_ATTRS; i++)
        out->value[i][0] = 0;
    *detail = FERRY_SLICE("");
    for (s = ferry_slice_trim(s); s.len; s = ferry_slice_trim(s)) {
        size_t n = 0;

        while (n < s.len && s.p[n] != ' ' && s.p[n] != '\t')
            n++;
        if (!read_attr(ferry_slice_first(s, n), xforward, out)) {
            *detail = ferry_slice_first(s, n);
            return FERRY_SMTP_XCLIENT_BAD;
        }
        s = ferry_slice_from(s, n);
    }
    if (out->set)
        return FERRY_SMTP_NONE;
    *detail = xforward ? FERRY_SLICE("XFORWARD attribute=value...")
                       : FERRY_SLICE("XCLIENT attribute=value...");
    return FERRY_SMTP_ARGS_SYNTAX;
}
