/* SPDX-License-Identifier: MIT */
#include "mail_envelope.h"

#include <errno.h>

static struct ferry_blocks blocks;
static struct posted envelope;
static const char *const rcpts[] = {"x@y", NULL};

static void begin(struct ferry_mail_message *m, const struct ferry_mail_service *s)
{
    assert_int_equal(ferry_mail_message_init(m, &blocks, s, post(&envelope, "a@b", rcpts)), 0);
}

static void add(struct ferry_mail_message *m, struct ferry_slice s, size_t cut)
{
    while (s.len) {
        struct ferry_slice part = ferry_slice_first(s, cut);

        assert_int_equal(
            ferry_mail_message_add(m, ferry_slice(guard_copy(0, part.p, part.len), part.len)), 0);
        s = ferry_slice_from(s, part.len);
    }
}

static void expect_bytes(struct ferry_mail_message *m, const char *text, size_t n)
{
    struct ferry_block *b;
    struct ferry_slice part;
    size_t at = 0;

    assert_int_equal(m->size, n);
    for (; ferry_spool_read(&m->spool, 5000, &b, &part) > 0; at += part.len) {
        assert_true(at + part.len <= n);
        assert_memory_equal(text + at, part.p, part.len);
        ferry_block_unref(b);
    }
    assert_int_equal(at, n);
}

/* However it comes, it is the same message, with the same header and nothing more in memory. */
static void pieces(void **state)
{
    static const struct {
        const char *text;
        size_t head;
    } table[] = {
        {"Subject: a\r\n b\r\n\r\nbody\r\n\r\nmore\r\n", 18},
        {"Subject: a\n b\n\nbody\n\n", 15},
        {"Subject: a\r\n b\n\r\nbody", 17},
        {"\r\nbody\r\n\r\n", 2},
        {"\nbody", 1},
        {"Subject: a b", 12},
        {"Subject: a b\r\n\r", 15},
        {"", 0},
    };
    static const struct ferry_mail_service service;
    struct ferry_mail_message m;
    char sum[65], key[65];

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        for (size_t cut = 50; cut > 0; cut--) {
            begin(&m, &service);
            add(&m, ferry_slice_z(table[i].text), cut);
            assert_int_equal(ferry_mail_message_end(&m), 0);
            assert_int_equal(m.head_len, table[i].head);
            assert_memory_equal(m.head ? m.head : "", table[i].text, m.head_len);
            if (m.header.subject)
                assert_string_equal(m.header.subject, i == 7 ? "" : "a b");
            expect_bytes(&m, table[i].text, strlen(table[i].text));
            if (cut < 50) {
                assert_string_equal(sum, m.sha256);
                assert_string_equal(key, m.key);
            }
            memcpy(sum, m.sha256, sizeof sum);
            memcpy(key, m.key, sizeof key);
            assert_string_not_equal(sum, key);
            ferry_mail_message_fini(&m);
            ferry_mail_message_fini(&m);
        }
    assert_string_equal(sum, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void large(void **state)
{
    static const struct ferry_mail_service service = {.spool_mem = 10000, .smtp.header_max = 5000};
    static char text[3 << 20];
    struct ferry_mail_message m;

    (void)state;
    memset(text, 'x', sizeof text);
    memcpy(text, "Subject: large\r\n", 16);
    begin(&m, &service);
    add(&m, ferry_slice(text, sizeof text), 70001);
    assert_int_equal(ferry_mail_message_end(&m), 0);
    assert_int_equal(m.head_len, 5000); /* as much as a header may be */
    assert_string_equal(m.header.subject, "large");
    assert_false(m.header.sound);
    expect_bytes(&m, text, sizeof text);
    ferry_spool_rewind(&m.spool);
    expect_bytes(&m, text, sizeof text);
    ferry_mail_message_fini(&m);
}

static void without_memory_once(void *arg)
{
    static const struct ferry_mail_service service;
    static char text[6000] = "Subject: a\r\n";
    struct ferry_mail_message m;
    int err;

    (void)arg;
    post(&envelope, "a@b", rcpts);
    err = ferry_mail_message_init(&m, &blocks, &service, &envelope.envelope);
    if (err == 0)
        err = ferry_mail_message_add(&m, ferry_slice(text, 12));
    if (err == 0)
        err = ferry_mail_message_add(&m, ferry_slice(text + 12, sizeof text - 12));
    if (err == 0)
        err = ferry_mail_message_end(&m);
    assert_int_equal(err, alloc_failed() ? -ENOMEM : 0);
    ferry_mail_message_fini(&m);
}

static void without_memory(void **state)
{
    (void)state;
    each_alloc_fails(without_memory_once, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces),
        cmocka_unit_test(large),
        cmocka_unit_test(without_memory),
    };

    ferry_blocks_init(&blocks, 0, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
