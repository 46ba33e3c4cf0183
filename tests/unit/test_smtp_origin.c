/* SPDX-License-Identifier: MIT */
/* Checks of docs/mail.md: Y01-Y05, X02-X04. */
#include "smtp/origin.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "support.h"

static ssize_t parse(const char *p, size_t n, struct ferry_proxy *out)
{
    return ferry_proxy_parse(guard_copy(0, p, n), n, out);
}

static void check_end(const void *end, const char *ip, unsigned port)
{
    const struct sockaddr *any = end;
    char text[INET6_ADDRSTRLEN];

    if (any->sa_family == AF_INET) {
        const struct sockaddr_in *in = end;

        assert_non_null(inet_ntop(AF_INET, &in->sin_addr, text, sizeof text));
        assert_int_equal(ntohs(in->sin_port), port);
    } else {
        const struct sockaddr_in6 *in6 = end;

        assert_int_equal(any->sa_family, AF_INET6);
        assert_non_null(inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof text));
        assert_int_equal(ntohs(in6->sin6_port), port);
        assert_int_equal(in6->sin6_scope_id, 0);
    }
    assert_string_equal(text, ip);
}

/* Y01, Y04. */
static void headers_of_version_1(void **state)
{
    static const struct {
        const char *in, *from, *to; /* NULL: not real */
        unsigned from_port, to_port;
    } cases[] = {
        {"PROXY TCP4 192.0.2.1 198.51.100.2 1234 25\r\n", "192.0.2.1", "198.51.100.2", 1234, 25},
        {"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", "0.0.0.0", "255.255.255.255", 0, 65535},
        {"PROXY TCP6 2001:db8::1 ::1 65535 25\r\n", "2001:db8::1", "::1", 65535, 25},
        {"PROXY TCP6 2001:DB8:0:0:0:0:0:1 ::1 1 2\r\n", "2001:db8::1", "::1", 1, 2},
        {"PROXY TCP6 ::ffff:1.2.3.4 ::1 1 2\r\n", "1.2.3.4", "::1", 1, 2},
        {"PROXY TCP6 ::FFFF:102:304 ::ffff:5.6.7.8 1 2\r\n", "1.2.3.4", "5.6.7.8", 1, 2},
        {"PROXY UNKNOWN\r\n", NULL, NULL, 0, 0},
        {"PROXY UNKNOWN ::1 ::1 1 2\r\n", NULL, NULL, 0, 0},
        {"PROXY UNKNOWN whatever  it says\r\n", NULL, NULL, 0, 0},
    };
    struct ferry_proxy p;
    char in[200];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = strlen(cases[i].in);

        memset(&p, 0x77, sizeof p);
        for (size_t cut = 0; cut < n; cut++)
            assert_int_equal(parse(cases[i].in, cut, &p), 0);
        assert_int_equal(p.from.any.sa_family, 0x7777); /* untouched until it is whole */
        assert_int_equal(parse(cases[i].in, n, &p), n);
        assert_int_equal(p.real, cases[i].from != NULL);
        if (p.real) {
            check_end(&p.from, cases[i].from, cases[i].from_port);
            check_end(&p.to, cases[i].to, cases[i].to_port);
        }
        /* what follows is none of its business */
        snprintf(in, sizeof in, "%sEHLO x\r\n", cases[i].in);
        assert_int_equal(parse(in, strlen(in), &p), n);
    }
}

/* Y02. */
static void version_1_has_at_most_107_bytes(void **state)
{
    static const char longest[] = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
                                  "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    struct ferry_proxy p;
    char in[200];

    (void)state;
    assert_int_equal(strlen(longest), 104);
    assert_int_equal(parse(longest, 104, &p), 104);
    for (int n = 106; n <= 109; n++) {
        int len = snprintf(in, sizeof in, "PROXY UNKNOWN %*s\r\n", n - 16, "x");

        assert_int_equal(len, n);
        assert_int_equal(parse(in, (size_t)n, &p), n > 107 ? FERRY_EPROTOCOL : n);
        assert_int_equal(parse(in, 106, &p), n == 106 ? 106 : 0);
        assert_int_equal(parse(in, 107, &p), n == 106 ? 106 : n == 107 ? 107 : FERRY_EPROTOCOL);
    }
    memset(in + 14, 'x', 150);
    assert_int_equal(parse(in, 164, &p), FERRY_EPROTOCOL);
}

/* Y03. */
static void what_is_no_header_of_version_1(void **state)
{
    static const char *const cases[] = {
        "proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "Proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY tcp4 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY Unknown\r\n",
        "PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8  1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1  2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
        " PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY\tTCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP4\t1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
        "PROXY TCP4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8  2\r\n",
        "PROXY TCP4\r\n",
        "PROXY \r\n",
        "PROXY\r\n",
        "PROXYTCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 123456 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 00\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 0x1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 a 2\r\n",
        "PROXY BLAH 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP44 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP6 ::1 5.6.7.8 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP4 1.2.3.4 ::1 1 2\r\n",
        "PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n",
        "PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP6 ::g ::1 1 2\r\n",
        "PROXY TCP6 [::1] ::1 1 2\r\n",
        "PROXY TCP6 ::1%lo ::1 1 2\r\n",
        "PROXY TCP6 1:2:3:4:5:6:7 ::1 1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r",
        "PROXY UNKNOWN\n",
        "PROXY UNKNOWN \x01\r\n",
        "PROXY UNKNOWN \xc3\xa4\r\n",
        "EHLO x\r\n",
        "P ROXY",
        "QUIT\r\n",
        "\r\n",
        "\n",
        "\r\n\r\nx",
        "\x16\x03\x01",
    };
    struct ferry_proxy p;

    (void)state;
    memset(&p, 0x77, sizeof p);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = strlen(cases[i]);
        /* these two are the beginning of something good */
        bool begun = cases[i][n - 1] == '\r' || strcmp(cases[i], "\r\n") == 0;

        assert_int_equal(parse(cases[i], n, &p), begun ? 0 : FERRY_EPROTOCOL);
        assert_int_equal(p.from.any.sa_family, 0x7777);
    }
    assert_int_equal(parse("PROXY UNKNOWN\0\r\n", 16, &p), FERRY_EPROTOCOL);
}

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define IP4 "\xc0\x00\x02\x01\xc6\x33\x64\x02\x04\xd2\x00\x19"
#define IP6_A "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
#define IP6_B "\0\0\0\0\0\0\0\0\0\0\xff\xff\x01\x02\x03\x04"

struct v2 {
    const char *head, *body; /* of four and `len` bytes */
    size_t len;
    const char *from, *to;
};

static size_t put_v2(const struct v2 *v2, char out[600])
{
    memcpy(out, SIGNATURE, 12);
    memcpy(out + 12, v2->head, 4);
    memcpy(out + 16, v2->body, v2->len);
    return 16 + v2->len;
}

#define BODY(lit) lit, sizeof(lit) - 1

/* Y05. */
static void headers_of_version_2(void **state)
{
    static const char zeros[216];
    const struct v2 cases[] = {
        {"\x21\x11\0\x0c", BODY(IP4), "192.0.2.1", "198.51.100.2"},
        {"\x21\x21\0\x24", BODY(IP6_A IP6_B "\x04\xd2\x00\x19"), "2001:db8::1", "1.2.3.4"},
        {"\x21\x11\0\x0f", BODY(IP4 "\x04\0\0"), "192.0.2.1", "198.51.100.2"},
        {"\x21\x11\0\x16",
         BODY(IP4 "\x04\0\x01x\x05\0\x03"
                  "abc"),
         "192.0.2.1", "198.51.100.2"},
        {"\x20\0\0\0", BODY(""), NULL, NULL}, /* LOCAL */
        {"\x20\x11\0\x0c", BODY(IP4), NULL, NULL},
        {"\x20\x11\0\x03", BODY("abc"), NULL, NULL},
        {"\x21\0\0\0", BODY(""), NULL, NULL}, /* unspecified */
        {"\x21\0\0\x03", BODY("abc"), NULL, NULL},
        {"\x21\x31\0\xd8", zeros, 216, NULL, NULL}, /* Unix */
        {"\x21\x12\0\x0c", BODY(IP4), NULL, NULL},  /* UDP */
    };
    struct ferry_proxy p;
    char in[600];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = put_v2(&cases[i], in);

        memset(&p, 0x77, sizeof p);
        for (size_t cut = 0; cut < n; cut++)
            assert_int_equal(parse(in, cut, &p), 0);
        assert_int_equal(p.from.any.sa_family, 0x7777);
        assert_int_equal(parse(in, n, &p), n);
        assert_int_equal(p.real, cases[i].from != NULL);
        if (p.real) {
            check_end(&p.from, cases[i].from, 1234);
            check_end(&p.to, cases[i].to, 25);
        }
        memcpy(in + n, "EHLO", 4);
        assert_int_equal(parse(in, n + 4, &p), n);
    }
}

static void what_is_no_header_of_version_2(void **state)
{
    static const char zeros[216];
    const struct v2 cases[] = {
        {"\x11\x11\0\x0c", BODY(IP4)}, /* versions 1 and 3 */
        {"\x31\x11\0\x0c", BODY(IP4)},
        {"\x22\x11\0\x0c", BODY(IP4)}, /* neither LOCAL nor PROXY */
        {"\x2f\x11\0\x0c", BODY(IP4)},
        {"\x21\x41\0\x0c", BODY(IP4)}, /* no such family */
        {"\x21\x13\0\x0c", BODY(IP4)}, /* no such protocol */
        {"\x20\x41\0\0", BODY("")},
        {"\x21\x11\0\x0b", IP4, 11}, /* too short for what it says it is */
        {"\x21\x11\0\0", BODY("")},
        {"\x21\x21\0\x23", IP6_A IP6_B "\0\0\0", 35},
        {"\x21\x21\0\x0c", BODY(IP4)},
        {"\x21\x31\0\xd7", zeros, 215},
        {"\x21\x11\0\x0d", BODY(IP4 "\x04")}, /* a TLV that is cut */
        {"\x21\x11\0\x0e", BODY(IP4 "\x04\0")},
        {"\x21\x11\0\x0f", BODY(IP4 "\x04\0\x01")},
        {"\x21\x11\0\x12", BODY(IP4 "\x04\0\0\x05\0\x01")},
        {"\x21\x11\0\x0f", BODY(IP4 "\x04\xff\xff")},
    };
    struct ferry_proxy p;
    char in[600];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(parse(in, put_v2(&cases[i], in), &p), FERRY_EPROTOCOL);
    /* Each byte of the signature counts, and is looked at when it comes. */
    for (size_t i = 0; i < 12; i++) {
        put_v2(&cases[0], in);
        in[i] ^= 0x20;
        for (size_t n = i + 1; n <= 12; n++)
            assert_int_equal(parse(in, n, &p), FERRY_EPROTOCOL);
    }
}

static void version_2_has_at_most_536_bytes(void **state)
{
    char in[600] = SIGNATURE "\x20";
    struct ferry_proxy p;

    (void)state;
    in[14] = 520 >> 8;
    in[15] = (char)(520 & 0xff);
    assert_int_equal(parse(in, 16, &p), 0);
    assert_int_equal(parse(in, 535, &p), 0);
    assert_int_equal(parse(in, 536, &p), 536);
    in[15]++;
    assert_int_equal(parse(in, 16, &p), FERRY_EPROTOCOL);
    assert_int_equal(parse(in, 537, &p), FERRY_EPROTOCOL);
}

/* -- XCLIENT, XFORWARD ------------------------------------------------------------------------- */

static enum ferry_smtp_reply attrs(const char *z, bool xforward, struct ferry_smtp_attrs *out,
                                   struct ferry_slice *detail)
{
    size_t n = strlen(z);

    return ferry_smtp_attrs_parse(ferry_slice(guard_copy(0, z, n), n), xforward, out, detail);
}

#define SET(name) (1U << FERRY_SMTP_ATTR_##name)

/* X02, X03. */
static void good_attributes(void **state)
{
    struct ferry_slice detail;
    struct ferry_smtp_attrs a;

    (void)state;
    assert_int_equal(
        attrs("NAME=mail.example.com ADDR=192.0.2.1 PORT=1234 PROTO=esmtp HELO=a+40b "
              "REVERSE_NAME=my_host.example LOGIN=m+C3+BCller DESTADDR=IPV6:::1 DESTPORT=25",
              false, &a, &detail),
        FERRY_SMTP_NONE);
    assert_int_equal(a.set, (1U << FERRY_SMTP_ATTR_IDENT) - 1);
    assert_int_equal(a.unknown, 0);
    assert_string_equal(a.value[FERRY_SMTP_ATTR_NAME], "mail.example.com");
    assert_string_equal(a.value[FERRY_SMTP_ATTR_ADDR], "192.0.2.1");
    assert_string_equal(a.value[FERRY_SMTP_ATTR_PORT], "1234");
    assert_string_equal(a.value[FERRY_SMTP_ATTR_PROTO], "ESMTP");
    assert_string_equal(a.value[FERRY_SMTP_ATTR_HELO], "a@b");
    assert_string_equal(a.value[FERRY_SMTP_ATTR_REVERSE_NAME], "my_host.example");
    assert_string_equal(a.value[FERRY_SMTP_ATTR_LOGIN], "m\xc3\xbcller");
    assert_string_equal(a.value[FERRY_SMTP_ATTR_DESTADDR], "::1");
    assert_string_equal(a.value[FERRY_SMTP_ATTR_DESTPORT], "25");

    assert_int_equal(
        attrs(" NAME=[UNAVAILABLE]  helo=[tempunavail]\taddr=[UNAVAILABLE] ", false, &a, &detail),
        FERRY_SMTP_NONE);
    assert_int_equal(a.set, SET(NAME) | SET(HELO) | SET(ADDR));
    assert_int_equal(a.unknown, a.set);
    assert_string_equal(a.value[FERRY_SMTP_ATTR_NAME], "");

    assert_int_equal(attrs("NAME=x ADDR=::ffff:192.0.2.1 PORT=0 PROTO=LMTP HELO=x IDENT=3FJX+2F1 "
                           "SOURCE=remote DOMAIN=x",
                           true, &a, &detail),
                     FERRY_SMTP_NONE);
    assert_int_equal(a.set, SET(NAME) | SET(ADDR) | SET(PORT) | SET(PROTO) | SET(HELO) |
                                SET(IDENT) | SET(SOURCE) | SET(DOMAIN));
    assert_string_equal(a.value[FERRY_SMTP_ATTR_ADDR], "192.0.2.1");
    assert_string_equal(a.value[FERRY_SMTP_ATTR_IDENT], "3FJX/1");
    assert_string_equal(a.value[FERRY_SMTP_ATTR_SOURCE], "REMOTE");
    assert_string_equal(a.value[FERRY_SMTP_ATTR_PROTO], "LMTP");
    assert_string_equal(a.value[FERRY_SMTP_ATTR_LOGIN], "");
    assert_int_equal(attrs("ADDR=ipv6:2001:db8::1", false, &a, &detail), FERRY_SMTP_NONE);
    assert_string_equal(a.value[FERRY_SMTP_ATTR_ADDR], "2001:db8::1");
    assert_int_equal(attrs("ADDR=IPV6:::ffff:255.255.255.255", false, &a, &detail),
                     FERRY_SMTP_NONE);
    assert_string_equal(a.value[FERRY_SMTP_ATTR_ADDR], "255.255.255.255");
    assert_int_equal(attrs("ADDR=::ffff:0:0", false, &a, &detail), FERRY_SMTP_NONE);
    assert_string_equal(a.value[FERRY_SMTP_ATTR_ADDR], "0.0.0.0");
}

/* X04. */
static void bad_attributes_are_named(void **state)
{
    static const char *const cases[] = {
        "ADDR=1.2.3",
        "ADDR=x",
        "ADDR=IPV6:x",
        "ADDR=IPV6:1.2.3.4",
        "ADDR=1.2.3.4x",
        "ADDR=[1.2.3.4]",
        "DESTADDR=999.1.1.1",
        "PORT=70000",
        "PORT=x",
        "PORT=-1",
        "PORT=01",
        "DESTPORT=65536",
        "DESTPORT=123456",
        "PROTO=FOO",
        "PROTO=SMTPX",
        "PROTO=ESMTPS",
        "FOO=1",
        "NAME",
        "=x",
        "=",
        "NAME=",
        "HELO=",
        "LOGIN=",
        "HELO=++",
        "HELO=a+3",
        "HELO=a=b",
        "HELO=a+0Ab",
        "HELO=a+00",
        "HELO=a+09",
        "HELO=+E2+80+8B",
        "HELO=+FF",
        "LOGIN=\xc3\xa4",
        "NAME=a+20b",
        "NAME=.x",
        "NAME=a/b",
        "NAME=a+0D",
        "REVERSE_NAME=<x>",
        "REVERSE_NAME=a@b",
        "HELO=[UNAVAILABLE]x=",
        "[UNAVAILABLE]",
        "NAMEX=a",
        "NAM=a",
        "SOURCE=x",
    };
    struct ferry_slice detail;
    struct ferry_smtp_attrs a;
    char in[600];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (unsigned xforward = 0; xforward < 2; xforward++) {
            snprintf(in, sizeof in, "%s%s %s", "PROTO=SMTP " + 11 * !strncmp(cases[i], "PROTO", 5),
                     cases[i], xforward ? "IDENT=x" : "DESTPORT=1");
            assert_int_equal(attrs(in, xforward, &a, &detail), FERRY_SMTP_XCLIENT_BAD);
            assert_int_equal(detail.len, strlen(cases[i]));
            assert_memory_equal(detail.p, cases[i], detail.len);
        }
    assert_int_equal(attrs("PORT=1 port=2", false, &a, &detail), FERRY_SMTP_XCLIENT_BAD);
    assert_slice_equal(detail, "port=2");
    /* of the other command */
    assert_int_equal(attrs("IDENT=x", false, &a, &detail), FERRY_SMTP_XCLIENT_BAD);
    assert_int_equal(attrs("SOURCE=LOCAL", false, &a, &detail), FERRY_SMTP_XCLIENT_BAD);
    assert_int_equal(attrs("DOMAIN=x", false, &a, &detail), FERRY_SMTP_XCLIENT_BAD);
    assert_int_equal(attrs("LOGIN=x", true, &a, &detail), FERRY_SMTP_XCLIENT_BAD);
    assert_int_equal(attrs("DESTADDR=::1", true, &a, &detail), FERRY_SMTP_XCLIENT_BAD);
    assert_int_equal(attrs("DESTPORT=1", true, &a, &detail), FERRY_SMTP_XCLIENT_BAD);
    /* none at all */
    assert_int_equal(attrs("", false, &a, &detail), FERRY_SMTP_ARGS_SYNTAX);
    assert_slice_equal(detail, "XCLIENT attribute=value...");
    assert_int_equal(attrs("  ", true, &a, &detail), FERRY_SMTP_ARGS_SYNTAX);
    assert_slice_equal(detail, "XFORWARD attribute=value...");
    assert_int_equal(a.set, 0);
}

static void values_have_at_most_255_bytes(void **state)
{
    struct ferry_slice detail;
    struct ferry_smtp_attrs a;
    char in[600];

    (void)state;
    for (int n = 254; n <= 256; n++) {
        snprintf(in, sizeof in, "HELO=%0*d+40", n - 1, 7);
        assert_int_equal(attrs(in, false, &a, &detail),
                         n > 255 ? FERRY_SMTP_XCLIENT_BAD : FERRY_SMTP_NONE);
        if (n <= 255)
            assert_int_equal(strlen(a.value[FERRY_SMTP_ATTR_HELO]), n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_of_version_1),
        cmocka_unit_test(version_1_has_at_most_107_bytes),
        cmocka_unit_test(what_is_no_header_of_version_1),
        cmocka_unit_test(headers_of_version_2),
        cmocka_unit_test(what_is_no_header_of_version_2),
        cmocka_unit_test(version_2_has_at_most_536_bytes),
        cmocka_unit_test(good_attributes),
        cmocka_unit_test(bad_attributes_are_named),
        cmocka_unit_test(values_have_at_most_255_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
