/* SPDX-License-Identifier: MIT */
#include "check/wire.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check/check.h"
#include "ferry/record.h"
#include "support.h"

static const struct ferry_check_suite suite = {.ours = "Web server", .theirs = "Application"};
static const struct ferry_check_opts opts = {.timeout_ms = 100};

struct joined {
    struct ferry_check c;
    struct ferry_wire *w;
    int peer;
};

static void join(struct joined *j)
{
    int ends[2];

    memset(j, 0, sizeof *j);
    j->c.suite = &suite;
    j->c.opts = &opts;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    j->peer = ends[1];
    j->w = ferry_wire_adopt(&j->c, ends[0]);
}

static void part(struct joined *j)
{
    ferry_wire_close_all(&j->c);
    ferry_talk_fini(&j->c.talk);
    if (j->peer >= 0)
        close(j->peer);
}

static const char *last_line(struct joined *j, char *buf)
{
    size_t n = 0;

    while (ferry_talk_line(&j->c.talk, n, buf, FERRY_TALK_LINE_MAX))
        n++;
    return n ? ferry_talk_line(&j->c.talk, n - 1, buf, FERRY_TALK_LINE_MAX) : "";
}

static void records_come_in(void **state)
{
    (void)state;
    static const char bytes[] = "\1\6\0\7\0\5\3\0hello...\1\3\0\7\0\10\0\0\0\0\0\1\0\0\0\0";
    size_t n = sizeof bytes - 1;

    for (size_t cut = 0; cut <= n; cut++) {
        struct ferry_wire_record r;
        struct joined j;

        join(&j);
        assert_int_equal(write(j.peer, bytes, cut), cut);
        assert_int_equal(write(j.peer, bytes + cut, n - cut), n - cut);
        assert_int_equal(ferry_wire_read(j.w, &r, 0), 1);
        assert_int_equal(r.type, FERRY_STDOUT);
        assert_int_equal(r.id, 7);
        assert_int_equal(r.padding_len, 3);
        assert_int_equal(r.content_len, 5);
        assert_memory_equal(r.content, "hello", 5);
        assert_int_equal(ferry_wire_read(j.w, &r, 0), 1);
        assert_int_equal(r.type, FERRY_END_REQUEST);
        assert_int_equal(ferry_wire_received(j.w), n);
        assert_false(ferry_wire_stirs(j.w, 0));
        close(j.peer);
        j.peer = -1;
        assert_true(ferry_wire_stirs(j.w, 0));
        assert_int_equal(ferry_wire_read(j.w, &r, 0), 0);
        assert_int_equal(ferry_wire_read(j.w, &r, 0), 0);
        part(&j);
    }
}

static void ends_of_all_kinds(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        bool closes;
        int want;
        const char *line;
    } cases[] = {
        {"", 0, true, 0, "Application: (closes)"},
        {"", 0, false, -ETIMEDOUT, "Application: (nothing for 30 ms)"},
        {"\1\6\0", 3, true, FERRY_ECUT, "Application: (closes)"},
        {"\1\6\0\1\0\5\0\0hell", 12, true, FERRY_ECUT, "Application: (closes)"},
        {"\1\6\0\1\0\5\0\0hell", 12, false, -ETIMEDOUT, "Application: (nothing for 30 ms)"},
        {"HTTP/1.1", 8, false, FERRY_EPROTOCOL, "Application: \"HTTP/1.1\""},
        {"\2", 1, true, FERRY_EPROTOCOL, "Application: \"\\x02\""},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_wire_record r;
        char buf[FERRY_TALK_LINE_MAX];
        struct joined j;

        join(&j);
        assert_int_equal(write(j.peer, cases[i].bytes, cases[i].n), cases[i].n);
        if (cases[i].closes) {
            close(j.peer);
            j.peer = -1;
        }
        assert_int_equal(ferry_wire_read(j.w, &r, 30), cases[i].want);
        assert_string_equal(last_line(&j, buf), cases[i].line);
        part(&j);
    }
}

static void any_bytes_go_out(void **state)
{
    (void)state;
    struct ferry_wire_record odd = {.version = 9,
                                    .type = 200,
                                    .id = 0x102,
                                    .content_len = 2,
                                    .padding_len = 3,
                                    .reserved = 4,
                                    .content = (const unsigned char *)"ab"};
    char got[64];
    struct joined j;

    join(&j);
    ferry_wire_put(j.w, &odd, 0xee);
    assert_int_equal(ferry_wire_waiting(j.w), 13);
    assert_int_equal(ferry_wire_flush_some(j.w, 4), 0);
    assert_int_equal(read(j.peer, got, sizeof got), 4);
    assert_int_equal(ferry_wire_flush(j.w), 0);
    assert_int_equal(read(j.peer, got + 4, sizeof got - 4), 9);
    assert_memory_equal(got, "\11\310\1\2\0\2\3\4ab\356\356\356", 13);
    ferry_wire_put_record(j.w, FERRY_STDIN, 1, "abcde", 5);
    ferry_wire_cut(j.w, 10);
    assert_int_equal(ferry_wire_flush_pieces(j.w, 1, 0), 0);
    assert_int_equal(read(j.peer, got, sizeof got), 10);
    assert_memory_equal(got, "\1\5\0\1\0\5\3\0ab", 10);
    odd.content = NULL;
    ferry_wire_put(j.w, &odd, 0);
    assert_int_equal(ferry_wire_waiting(j.w), 8);
    part(&j);
}

static void a_peer_that_takes_nothing(void **state)
{
    (void)state;
    static char much[1 << 20];
    char buf[FERRY_TALK_LINE_MAX];
    struct joined j;

    join(&j);
    ferry_wire_put_stream(j.w, FERRY_STDIN, 1, much, sizeof much);
    assert_int_equal(ferry_wire_flush(j.w), -ETIMEDOUT);
    assert_string_equal(last_line(&j, buf), "Application: (takes nothing for 100 ms)");
    assert_int_equal(ferry_wire_waiting(j.w), 0);
    part(&j);
    join(&j);
    close(j.peer);
    j.peer = -1;
    ferry_wire_put_record(j.w, FERRY_STDIN, 1, "x", 1);
    assert_int_equal(ferry_wire_flush(j.w), -EPIPE);
    part(&j);
}

static void connecting(void **state)
{
    (void)state;
    struct joined j;
    struct ferry_addr addr;
    const char *why;

    join(&j);
    assert_int_equal(ferry_addr_parse("/nowhere/at/all.sock", false, &addr, &why), 0);
    assert_null(ferry_wire_try(&j.c, &addr));
    assert_int_equal(errno, ENOENT);
    part(&j);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_in),  cmocka_unit_test(ends_of_all_kinds),
        cmocka_unit_test(any_bytes_go_out), cmocka_unit_test(a_peer_that_takes_nothing),
        cmocka_unit_test(connecting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
