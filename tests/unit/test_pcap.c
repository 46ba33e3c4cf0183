/* SPDX-License-Identifier: MIT */
#include "trace/pcap.h"

#include <stdio.h>

#include "support.h"

struct file {
    char *p;
    size_t len, cap;
    int room; /* packets that are still taken; -1: all */
};

static bool write_block(void *arg, const void *p, size_t n)
{
    struct file *f = arg;

    if (f->room == 0)
        return false;
    f->room -= f->room > 0;
    assert_int_equal(n % 4, 0);
    assert_true(n <= f->cap - f->len);
    memcpy(f->p + f->len, p, n);
    f->len += n;
    return true;
}

static struct file a_file(size_t cap)
{
    return (struct file){.p = malloc(cap), .cap = cap, .room = -1};
}

/* What is in the file, as text. */
static char *read_back(const struct file *f, char *to, size_t to_cap)
{
    size_t at = 0, len;
    char *text = NULL;
    FILE *out = open_memstream(&text, &len);

    for (;;) {
        struct ferry_pcap_packet p;
        bool is_packet;
        /* at the edge of a page, and all of its beginnings say "more" */
        ssize_t took = ferry_pcap_read(guard_copy(0, f->p + at, f->len - at), f->len - at, &p,
                                       &is_packet, to, to_cap);

        assert_true(took >= 0);
        if (took == 0)
            break;
        for (ssize_t n = 0; n < took && n < 300; n++) {
            struct ferry_pcap_packet more;
            bool any;

            assert_int_equal(ferry_pcap_read(guard_copy(1, f->p + at, (size_t)n), (size_t)n, &more,
                                             &any, NULL, 0),
                             0);
            assert_false(any);
        }
        at += (size_t)took;
        if (!is_packet)
            continue;
        fprintf(out, "%d %s %u %lld seq %u", p.from,
                p.event == FERRY_PCAP_OPEN    ? "open"
                : p.event == FERRY_PCAP_BYTES ? "bytes"
                                              : "end",
                p.port, (long long)p.us, (unsigned)p.seq);
        if (p.bytes.len <= 10)
            fprintf(out, " %.*s\n", (int)p.bytes.len, p.bytes.p);
        else
            fprintf(out, " %zu bytes\n", p.bytes.len);
    }
    assert_int_equal(at, f->len);
    fclose(out);
    return text;
}

static void what_is_written_is_read(void **state)
{
    static char big[70000];
    struct file f = a_file(200000);
    struct ferry_pcap pcap = {.write = write_block, .arg = &f};
    struct ferry_pcap_conn a, b;
    char to[64] = "", *text;
    int64_t t = INT64_C(1800000000000000);

    (void)state;
    memset(big, 'b', sizeof big);
    ferry_pcap_begin(&pcap, "unix:/run/app.sock");
    ferry_pcap_open(&pcap, &a, 1, t);
    ferry_pcap_bytes(&pcap, &a, 0, t + 1, "hello", 5);
    ferry_pcap_open(&pcap, &b, 50001, t + 2); /* the port of connection 1 again */
    ferry_pcap_bytes(&pcap, &a, 1, t + 3, "world!", 6);
    ferry_pcap_bytes(&pcap, &a, 1, t + 4, big, sizeof big);
    ferry_pcap_end(&pcap, &a, 1, t + 5, false);
    ferry_pcap_end(&pcap, &a, 1, t + 5, false);
    ferry_pcap_close(&pcap, &a, t + 6);
    ferry_pcap_bytes(&pcap, &b, 0, t + 7, "x", 1);
    ferry_pcap_end(&pcap, &b, 0, t + 8, true);
    ferry_pcap_close(&pcap, &b, t + 9);
    ferry_pcap_fini(&pcap);
    text = read_back(&f, to, sizeof to);
    assert_string_equal(to, "unix:/run/app.sock");
    assert_string_equal(text, "0 open 10001 1800000000000000 seq 0 \n"
                              "0 bytes 10001 1800000000000001 seq 1 hello\n"
                              "0 open 10001 1800000000000002 seq 0 \n"
                              "1 bytes 10001 1800000000000003 seq 1 world!\n"
                              "1 bytes 10001 1800000000000004 seq 7 32768 bytes\n"
                              "1 bytes 10001 1800000000000004 seq 32775 32768 bytes\n"
                              "1 bytes 10001 1800000000000004 seq 65543 4464 bytes\n"
                              "1 end 10001 1800000000000005 seq 70007 \n"
                              "0 end 10001 1800000000000006 seq 6 \n"
                              "0 bytes 10001 1800000000000007 seq 1 x\n"
                              "0 end 10001 1800000000000008 seq 2 \n");
    assert_int_equal(pcap.dropped, 0);
    free(text);
    free(f.p);
}

/* A packet that found no room leaves a gap. */
static void dropped_packets_are_counted_and_seen(void **state)
{
    struct file f = a_file(20000);
    struct ferry_pcap pcap = {.write = write_block, .arg = &f};
    struct ferry_pcap_conn c;
    char to[8] = "", *text;

    (void)state;
    ferry_pcap_begin(&pcap, "127.0.0.1:9000");
    ferry_pcap_open(&pcap, &c, 7, 1);
    f.room = 0;
    ferry_pcap_bytes(&pcap, &c, 0, 2, "lost", 4);
    f.room = -1;
    ferry_pcap_bytes(&pcap, &c, 0, 3, "there", 5);
    text = read_back(&f, to, sizeof to);
    assert_string_equal(text, "0 open 10007 1 seq 0 \n0 bytes 10007 3 seq 5 there\n");
    assert_string_equal(to, "127.0.0"); /* as much as there is room for */
    assert_int_equal(pcap.dropped, 1);
    ferry_pcap_fini(&pcap);
    free(text);
    free(f.p);
}

static uint16_t sum(const unsigned char *p, size_t n, uint32_t from)
{
    for (; n > 1; p += 2, n -= 2)
        from += (uint32_t)p[0] << 8 | p[1];
    if (n)
        from += (uint32_t)p[0] << 8;
    while (from >> 16)
        from = (from & 0xffff) + (from >> 16);
    return (uint16_t)from;
}

static void checksums_are_right(void **state)
{
    struct file f = a_file(20000);
    struct ferry_pcap pcap = {.write = write_block, .arg = &f};
    struct ferry_pcap_conn c;

    (void)state;
    ferry_pcap_open(&pcap, &c, 7, 1);
    for (size_t n = 1; n < 9; n++) {
        const unsigned char *ip = (unsigned char *)f.p + 28;

        f.len = 0;
        ferry_pcap_bytes(&pcap, &c, 1, 2, "\xff\xfezyxwvu", n);
        assert_int_equal(sum(ip, 20, 0), 0xffff);
        assert_int_equal(sum(ip + 20, 20 + n, 6 + 20 + (uint32_t)n + sum(ip + 12, 8, 0)), 0xffff);
    }
    ferry_pcap_fini(&pcap);
    free(f.p);
}

static void what_is_no_such_file_is_refused(void **state)
{
    static const struct {
        struct ferry_slice bytes;
        ssize_t want;
    } cases[] = {
        {FERRY_SLICE_INIT("GIF89aGIF89aGIF8"), FERRY_EPROTOCOL},
        {FERRY_SLICE_INIT("\n\r\r\n\0\0\0\x1c\x1a\x2b\x3c\x4d"), FERRY_EPROTOCOL}, /* big-endian */
        {FERRY_SLICE_INIT("\6\0\0\0\x0d\0\0\0----"), FERRY_EPROTOCOL},
        {FERRY_SLICE_INIT("\6\0\0\0\x08\0\0\0----"), FERRY_EPROTOCOL},
        {FERRY_SLICE_INIT("\6\0\0\0\xfc\xff\xff\x7f----"), FERRY_EPROTOCOL},
        {FERRY_SLICE_INIT("\6\0\0\0\x0c\0\0\0\x10\0\0\0"),
         FERRY_EPROTOCOL}, /* other length behind */
        {FERRY_SLICE_INIT("\1\0\0\0\x14\0\0\0\1\0\0\0\0\0\0\0\x14\0\0\0"), FERRY_EPROTOCOL},
        {FERRY_SLICE_INIT("\6\0\0\0\x0c\0\0\0\x0c\0\0\0"), 12}, /* empty: no packet */
        {FERRY_SLICE_INIT("\5\0\0\0\x0c\0\0\0\x0c\0\0\0"), 12}, /* of another kind */
        {FERRY_SLICE_INIT("\5\0\0\0\x10\0\0\0\x10\0\0"), 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_pcap_packet p;
        bool is_packet = true;
        size_t n = cases[i].bytes.len;

        assert_int_equal(
            ferry_pcap_read(guard_copy(0, cases[i].bytes.p, n), n, &p, &is_packet, NULL, 0),
            cases[i].want);
        assert_false(is_packet);
    }
}

static void without_memory_packets_are_dropped(void **state)
{
    struct file f = a_file(20000);
    struct ferry_pcap pcap = {.write = write_block, .arg = &f};
    struct ferry_pcap_conn c;

    (void)state;
    fail_alloc_after(0);
    ferry_pcap_open(&pcap, &c, 7, 1);
    fail_alloc_after(-1);
    assert_int_equal(pcap.dropped, 1); /* the first */
    ferry_pcap_fini(&pcap);
    free(f.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(dropped_packets_are_counted_and_seen),
        cmocka_unit_test(checksums_are_right),
        cmocka_unit_test(what_is_no_such_file_is_refused),
        cmocka_unit_test(without_memory_packets_are_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
