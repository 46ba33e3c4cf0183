/* SPDX-License-Identifier: MIT */
/* The checks W of docs/mail.md: the fields in front of a message. */
#include "mail_envelope.h"

#include <errno.h>

static struct ferry_blocks blocks;
static struct posted envelope;
static const char *const one[] = {"to@example.com", NULL};
static const char *const two[] = {"to@example.com", "other@example.com", NULL};
static const struct ferry_tls_info no_tls = {.version = "", .cipher = ""};
static const struct ferry_tls_info with_tls = {
    .on = true, .version = "TLSv1.3", .cipher = "TLS_AES_256_GCM_SHA384", .bits = 256};

static struct ferry_mail_service service;
static struct ferry_mail_facts facts;

static void usual(const char *from, const char *const *rcpts)
{
    service = (struct ferry_mail_service){.hostname = "mx.example.com"};
    facts = (struct ferry_mail_facts){.service = &service,
                                      .client_ip = "192.0.2.7",
                                      .client_name = "client.example.org",
                                      .helo = "client.example.org",
                                      .helo_valid = true,
                                      .protocol = "ESMTP",
                                      .tls = &no_tls,
                                      .id = "ID",
                                      .time_us = INT64_C(1763640000123456),
                                      .envelope = post(&envelope, from, rcpts)};
}

/* The message as it is handed on: our fields, and what is not left out. */
static char whole[300000];

static size_t make(const char *text, size_t n, const struct ferry_smtp_rcpt *rcpt)
{
    struct ferry_mail_message m;
    struct ferry_mail_trace t;
    int r;

    assert_int_equal(ferry_mail_message_init(&m, &blocks, &service, facts.envelope), 0);
    assert_int_equal(ferry_mail_message_add(&m, ferry_slice(text, n)), 0);
    assert_int_equal(ferry_mail_message_end(&m), 0);
    r = ferry_mail_trace_make(&facts, &m, rcpt, &t);
    assert_int_equal(r, t.len);
    assert_true(t.skip + t.skip_len <= n);
    assert_true(t.len + n < sizeof whole);
    memcpy(whole, t.text ? t.text : "", t.len);
    memcpy(whole + t.len, text, t.skip);
    memcpy(whole + t.len + t.skip, text + t.skip + t.skip_len, n - t.skip - t.skip_len);
    n += t.len - t.skip_len;
    whole[n] = 0;
    free(t.text);
    ferry_mail_message_fini(&m);
    return n;
}

static const char *make_z(const char *text)
{
    make(text, strlen(text), NULL);
    return whole;
}

static void received(void **state)
{
    (void)state;
    usual("from@example.org", one);
    assert_string_equal(make_z("Subject: a\r\n\r\nb"),
                        "Return-Path: <from@example.org>\r\n"
                        "Received: from client.example.org (client.example.org [192.0.2.7])\r\n"
                        "\tby mx.example.com (ferry) with ESMTP id ID\r\n"
                        "\tfor <to@example.com>;\r\n"
                        "\tThu, 20 Nov 2025 12:00:00 +0000\r\n"
                        "Subject: a\r\n\r\nb");
    usual("", two);
    service.smtp.hostname = "in.example.com";
    service.headers = FERRY_MAIL_HEADERS_DELIVERED;
    facts.tls = &with_tls;
    facts.protocol = "UTF8LMTPSA";
    memcpy(facts.client_ip, "2001:db8::1", 12);
    memcpy(facts.client_name, "unknown", 8);
    assert_string_equal(make_z("\r\nb"),
                        "Return-Path: <>\r\n"
                        "Received: from client.example.org (unknown [IPv6:2001:db8::1])\r\n"
                        "\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))\r\n"
                        "\tby in.example.com (ferry) with UTF8LMTPSA id ID;\r\n"
                        "\tThu, 20 Nov 2025 12:00:00 +0000\r\n"
                        "\r\nb");
    /* A copy for one of them names that one. */
    memcpy(facts.client_ip, "local", 6);
    make("\r\nb", 3, envelope.rcpts[0].next);
    assert_string_equal(whole,
                        "Return-Path: <>\r\n"
                        "Delivered-To: other@example.com\r\n"
                        "Received: from client.example.org (local)\r\n"
                        "\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))\r\n"
                        "\tby in.example.com (ferry) with UTF8LMTPSA id ID\r\n"
                        "\tfor <other@example.com>;\r\n"
                        "\tThu, 20 Nov 2025 12:00:00 +0000\r\n"
                        "\r\nb");
}

static void helos(void **state)
{
    static const struct {
        const char *helo;
        bool valid;
        const char *written;
    } table[] = {
        {"a.example", true, "a.example"},
        {"a_b", true, "a_b"},
        {"[192.0.2.1]", true, "[192.0.2.1]"},
        {"[IPv6:2001:db8::1]", true, "[IPv6:2001:db8::1]"},
        {"[192.0.2.1]", false, "?192.0.2.1?"},
        {"[x) by y]", true, "?x??by?y?"},
        {"a)\r\nX: y", false, "a???X??y"}, /* W03 */
        {"\"><script>", false, "???script?"},
        {"(a", false, "?a"},
        {"a;b\\", false, "a?b?"},
        {".a", false, "?a"},
        {"a.", false, "a?"},
        {"a..b", false, "a.?b"},
        {".", false, "?"},
        {"caf\xc3\xa9", false, "caf??"},
        {"", false, "unknown"},
    };
    char want[200];

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        usual("", two);
        snprintf(facts.helo, sizeof facts.helo, "%s", table[i].helo);
        facts.helo_valid = table[i].valid;
        make_z("\r\n");
        snprintf(want, sizeof want, "\r\nReceived: from %s (client.example.org [",
                 table[i].written);
        assert_non_null(strstr(whole, want));
    }
    usual("", two);
    snprintf(facts.client_name, sizeof facts.client_name, "a)\r\n b");
    assert_non_null(strstr(make_z("\r\n"), "org (a????b [192.0.2.7])\r\n"));
}

/* W06 */
static void long_values(void **state)
{
    char name[420];

    (void)state;
    memset(name, 'n', sizeof name);
    name[400] = 0;
    usual(name, (const char *const[]){name, NULL});
    service.headers = FERRY_MAIL_HEADERS_DELIVERED;
    memset(facts.helo, 'h', 255);
    memset(facts.client_name, 'c', 255);
    memcpy(facts.client_ip, "2001:db8:1111:2222:3333:4444:5555:6666", 39);
    memset(facts.id, 'I', sizeof facts.id - 1);
    facts.tls = &with_tls;
    service.hostname = name;
    make_z("Subject: a\r\n\r\n");
    assert_non_null(strstr(whole, "hhh\r\n\t(ccc"));
    for (const char *line = whole; *line; line = strchr(line, '\n') + 1) {
        const char *end = strstr(line, "\r\n");

        assert_non_null(end);
        assert_true(end - line < 998);
    }
}

/* W01, D25: what is there already. */
static void existing(void **state)
{
    static const struct {
        const char *text, *left;
    } table[] = {
        {"Return-Path: <x@y>\r\nSubject: a\r\n\r\nb", "Subject: a\r\n\r\nb"},
        {"A: b\r\nRETURN-path :\r\n <x@y>\r\n\t\r\nSubject: a\r\n\r\n",
         "A: b\r\nSubject: a\r\n\r\n"},
        {"Return-Path: <x>\r\nA: b\r\n c\r\nReturn-Path: <y>\r\nD: e\r\n\r\nReturn-Path: <z>\r\n",
         "A: b\r\n c\r\nD: e\r\n\r\nReturn-Path: <z>\r\n"},
        {"A: b\r\nReturn-Path: x\r\nReturn-Path: y\r\n\r\n", "A: b\r\n\r\n"},
        {"Return-Path: x\r\nReturn-Path: y", ""},
        {"Return-Path: x\r\n\r\n", "\r\n"},
        {"From x y\r\nReturn-Path: x\r\nA: b\r\n\r\n", "From x y\r\nA: b\r\n\r\n"},
        {"From x y\r\nReturn-Path: x\r\nReturn-Path: z\r\nA: b\r\n\r\n",
         "From x y\r\nA: b\r\n\r\n"},
        {"X-Return-Path: a\r\n\r\nReturn-Path: b\r\n",
         "X-Return-Path: a\r\n\r\nReturn-Path: b\r\n"},
        {"A: b\r\nno field\r\nReturn-Path: c\r\n\r\n",
         "A: b\r\nno field\r\nReturn-Path: c\r\n\r\n"},
        {" folded\r\n", "\r\n folded\r\n"},
        {"\tfolded\r\n\r\n", "\r\n\tfolded\r\n\r\n"},
        {"no header at all\r\n", "\r\nno header at all\r\n"},
        {"Return-Path: x\r\nno field\r\n", "\r\nno field\r\n"},
        {"From x y\r\nA: b\r\n\r\n", "From x y\r\nA: b\r\n\r\n"},
        {"", ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const char *end;

        usual("", two);
        make_z(table[i].text);
        end = strstr(whole, "+0000\r\n");
        assert_non_null(end);
        assert_string_equal(end + 7, table[i].left);
        service.headers = FERRY_MAIL_HEADERS_NONE; /* W04 */
        assert_string_equal(make_z(table[i].text), table[i].text);
    }
}

static void dates(void **state)
{
    static const struct {
        int64_t us;
        const char *date;
    } table[] = {
        {0, "\tThu, 01 Jan 1970 00:00:00 +0000\r\n"},
        {INT64_C(951782399999999), "\tMon, 28 Feb 2000 23:59:59 +0000\r\n"},
        {INT64_C(951782400000000), "\tTue, 29 Feb 2000 00:00:00 +0000\r\n"},
        {-1, "\tWed, 31 Dec 1969 23:59:59 +0000\r\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        usual("", two);
        facts.time_us = table[i].us;
        assert_non_null(strstr(make_z("\r\n"), table[i].date));
    }
}

static void without_memory(void **state)
{
    struct ferry_mail_message m;
    struct ferry_mail_trace t;

    (void)state;
    usual("", one);
    assert_int_equal(ferry_mail_message_init(&m, &blocks, &service, facts.envelope), 0);
    assert_int_equal(ferry_mail_message_end(&m), 0);
    fail_alloc_after(0);
    assert_int_equal(ferry_mail_trace_make(&facts, &m, NULL, &t), -ENOMEM);
    fail_alloc_after(-1);
    assert_null(t.text);
    ferry_mail_message_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(received), cmocka_unit_test(helos), cmocka_unit_test(long_values),
        cmocka_unit_test(existing), cmocka_unit_test(dates), cmocka_unit_test(without_memory),
    };

    ferry_blocks_init(&blocks, 0, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
