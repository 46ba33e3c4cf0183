/* SPDX-License-Identifier: MIT */
/* The checks H of docs/mail.md: what is made of the header of a message. */
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "mail/message.h"

static void *memory;

static struct ferry_mail_header read_header(const char *text, size_t n)
{
    struct ferry_mail_header h;

    ferry_mail_header_free(memory);
    assert_int_equal(ferry_mail_header_read(ferry_slice(guard_copy(0, text, n), n), &h, &memory),
                     0);
    return h;
}

static int forget(void **state)
{
    (void)state;
    ferry_mail_header_free(memory);
    memory = NULL;
    return 0;
}

static void subjects(void **state)
{
    static const struct {
        const char *id, *value, *decoded;
    } table[] = {
        {"H01", "one\r\n two", "one two"},
        {"H01", "one\r\n\t  two", "one two"},
        {"H01", "one\n two\n\tthree", "one two three"},
        {"H01", "\r\n one", "one"},
        {"H01", "  one  ", "one"},
        {"H02 q", "=?utf-8?q?a=20b_c?= d", "a b c d"},
        {"H02 b", "=?utf-8?b?w6nDqA==?=", "\xc3\xa9\xc3\xa8"},
        {"H02", "=?iso-8859-1?q?caf=E9?=", "caf\xc3\xa9"},
        {"H02", "=?windows-1252?q?=80uro?=", "\xe2\x82\xacuro"},
        {"H02", "=?gb2312?b?xOO6ww==?=", "\xe4\xbd\xa0\xe5\xa5\xbd"},
        {"H02", "=?iso-2022-jp?b?GyRCJDMkcxsoQg==?=", "\xe3\x81\x93\xe3\x82\x93"},
        {"H02", "=?koi8-r?b?8NLJ18XU?=", "\xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82"},
        {"H03", "=?utf-8?q?a?= =?utf-8?q?b?=", "ab"},
        {"H03", "=?utf-8?q?a?=\r\n =?utf-8?b?Yg==?=", "ab"},
        {"H03", "=?utf-8?q?a?= =?iso-8859-1?q?=E9?=  =?utf-8?q?b?=",
         "a\xc3\xa9"
         "b"},
        {"H03", "=?utf-8?q?a?==?utf-8?q?b?=", "ab"},
        {"H03", "=?utf-8?q?a?= b =?utf-8?q?c?=", "a b c"},
        {"H03", "=?utf-8?q?a_?= =?utf-8?q?b?=", "a b"},
        {"H04 q", "=?utf-8?q?=E2=9C?= =?utf-8?q?=93?=", "\xe2\x9c\x93"},
        {"H04 b", "=?utf-8?b?4pw=?= =?UTF-8?b?kw==?=", "\xe2\x9c\x93"},
        {"H04 b, no padding", "=?utf-8?b?4pw?= =?utf-8?b?kw?=", "\xe2\x9c\x93"},
        {"H04 both", "=?utf-8?b?4pw=?=\r\n\t=?utf-8?q?=93?=", "\xe2\x9c\x93"},
        {"H04 not", "=?utf-8?q?=E2=9C?= x =?utf-8?q?=93?=", "\xef\xbf\xbd x \xef\xbf\xbd"},
        {"H05 base64", "=?utf-8?b?!!!!?=", "=?utf-8?b?!!!!?="},
        {"H05 length", "=?utf-8?b?YWJjY?=", "=?utf-8?b?YWJjY?="},
        {"H05 padding in it", "=?utf-8?b?YQ==YQ==?=", "=?utf-8?b?YQ==YQ==?="},
        {"H05 q", "=?utf-8?q?a=ZZb?=", "=?utf-8?q?a=ZZb?="},
        {"H05 q cut", "=?utf-8?q?a=4?=", "=?utf-8?q?a=4?="},
        {"H05 charset", "=?nonesuch?q?abc=20d?=", "=?nonesuch?q?abc=20d?="},
        {"H05 charset", "=?../../x?q?abc?=", "=?../../x?q?abc?="},
        {"H05 charset", "=?utf-8//TRANSLIT?q?abc?=", "=?utf-8//TRANSLIT?q?abc?="},
        {"H05 encoding", "=?utf-8?x?abc?=", "=?utf-8?x?abc?="},
        {"H05 between good ones",
         "=?utf-8?q?a?= =?nonesuch?q?b?= =?utf-8?q?c?=", "a =?nonesuch?q?b?= c"},
        {"H05 no end", "=?utf-8?q?abc", "=?utf-8?q?abc"},
        {"H05 no end", "=?utf-8?q?abc?", "=?utf-8?q?abc?"},
        {"H05 no more", "a =?", "a =?"},
        {"H05 no more", "a =?b?", "a =?b?"},
        {"H05 no more", "a =?b?q", "a =?b?q"},
        {"H05 bytes", "=?utf-8?q?=FFa=FE?=",
         "\xef\xbf\xbd"
         "a\xef\xbf\xbd"},
        {"H05 bytes", "=?us-ascii?q?=E9a?=",
         "\xef\xbf\xbd"
         "a"},
        {"H05 overlong", "=?utf-8?q?=C0=AF?=", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"H06", "=?UTF-8?Q?a?= =?utf-8?q?b?= =?Utf-8?b?Yw==?=", "abc"},
        {"H06", "=?iso-8859-1*en?q?caf=E9?= =?utf-8*?q?b?=",
         "caf\xc3\xa9"
         "b"},
        {"H07 UTF-8", "caf\xc3\xa9 \xf0\x9f\x93\xa7", "caf\xc3\xa9 \xf0\x9f\x93\xa7"},
        {"H07 latin-1", "caf\xe9", "caf\xc3\xa9"},
        {"H07 latin-1 all of it", "caf\xe9 \xc3\xa9", "caf\xc3\xa9 \xc3\x83\xc2\xa9"},
        {"H07 both", "\xc3\xa9 =?utf-8?q?=C3=A8?=", "\xc3\xa9 \xc3\xa8"},
        {"H08", "=?utf-8?q?a=0D=0AX:_y=00z?=", "aX: yz"},
        {"H08", "=?utf-8?b?YQ0KLg0KUUlUDQo=?=", "a.QIT"},
        {"H08 C1", "=?utf-8?q?a=C2=9Bb=7F=1B?= \x1b[31m", "ab [31m"},
        {"H08 tab", "a\tb =?utf-8?q?c=09d?=", "a b c d"},
        {"H14", " : a", ": a"},
        {"H15", "a\rTo: b", "aTo: b"},
        {"inside of a word", "a=?utf-8?q?b?= c", "a=?utf-8?q?b?= c"},
        {"inside of a word", "=?utf-8?q?b?=c", "=?utf-8?q?b?=c"},
        {"comment", "(=?utf-8?q?b?=)", "(b)"},
        {"empty",
         "=?utf-8?q?"
         "?=",
         ""},
        {"empty",
         "=?utf-8?b?"
         "?= a",
         " a"},
        {"empty", "", ""},
        {"utf-7", "=?utf-7?q?+AOk-?=", "\xc3\xa9"},
        {"utf-16", "=?utf-16?b?/v8AYQBi?=", "ab"},
        {"no word", "a = b =? c ?= d", "a = b =? c ?= d"},
    };
    char text[500];

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        int n = snprintf(text, sizeof text, "To: a\r\nSubject:%s\r\n\r\nSubject: no\r\n",
                         table[i].value);
        struct ferry_mail_header h = read_header(text, (size_t)n);

        if (strcmp(h.subject, table[i].decoded) != 0)
            fail_msg("%s: %s is \"%s\"", table[i].id, table[i].value, h.subject);
        assert_int_equal(h.subjects, 1);
        assert_true(h.sound);
        assert_false(h.subject_cut);
        assert_int_equal(h.len, n - 13);
    }
}

static void fields(void **state)
{
    static const char text[] = "Received: one\r\n"
                               "sUBJECT : =?utf-8?q?first?=\r\n"
                               "RECEIVED: two\r\n by x\r\n"
                               "Message-ID: <a@b>\r\n"
                               "From:\r\n Joe =?utf-8?q?x?=\r\n\t<joe@example.com>\r\n"
                               "To: a@b\r\n"
                               "Subject: second\r\n"
                               "X-Received: no\r\n"
                               "Date: Thu, 20 Nov 2025 12:00:00 +0000\r\n"
                               "To: second\r\n"
                               "\r\n"
                               "Received: three\r\nMIME: Subject: no\r\n";
    struct ferry_mail_header h = read_header(text, sizeof text - 1);

    (void)state;
    assert_string_equal(h.subject, "first"); /* H09, H14 */
    assert_string_equal(h.subject_raw, "=?utf-8?q?first?=");
    assert_int_equal(h.subjects, 2);
    assert_int_equal(h.received, 2);
    assert_string_equal(h.message_id, "<a@b>");
    assert_string_equal(h.from, "Joe =?utf-8?q?x?= <joe@example.com>");
    assert_string_equal(h.to, "a@b");
    assert_string_equal(h.date, "Thu, 20 Nov 2025 12:00:00 +0000");
    assert_true(h.sound);
    assert_int_equal(h.len, strstr(text, "Received: three") - text);
}

/* Where a header ends, and whether all of it was one. */
static void shapes(void **state)
{
    static const struct {
        const char *text;
        size_t len;
        bool sound;
        const char *subject;
    } table[] = {
        {"", 0, true, NULL},
        {"\r\n", 2, true, NULL},
        {"\r\nSubject: body\r\n", 2, true, NULL},
        {"\n", 1, true, NULL},
        {"Subject: a\r\n\r\nb", 14, true, "a"},
        {"Subject: a\n\nb", 12, true, "a"},
        {"Subject: a", 10, true, "a"},
        {"Subject: a\r\n", 12, true, "a"},
        {"Subject: a\r", 11, true, "a"},
        {"Subject:\r\n\r\n", 12, true, ""},
        {"X: y\r\n\r\n", 8, true, NULL},                            /* H10 */
        {"X: y\r\n\r\nSubject: part\r\n\r\n", 8, true, NULL},       /* H11 */
        {"X: y\r\nno field\r\nSubject: a\r\n\r\n", 6, false, NULL}, /* H12 */
        {"Subject: a\r\n: no name\r\n\r\n", 12, false, "a"},
        {"Subject: a\r\nb\xc3\xa9: c\r\n\r\n", 12, false, "a"},
        {"Subject: a\r\nb c: d\r\n\r\n", 12, false, "a"},
        {"Hello,\r\nworld: b\r\n", 0, false, NULL}, /* D25 */
        {" Subject: a\r\n\r\n", 0, false, NULL},
        {"\tSubject: a\r\n\r\n", 0, false, NULL},
        {"From joe Thu Nov 20\r\nSubject: a\r\n\r\n", 35, false, "a"}, /* D26 */
        {">From joe Thu Nov 20\nSubject: a\r\n\r\n", 35, false, "a"},
        {"From joe", 8, false, NULL},
        {"From: joe\r\nSubject: a\r\n\r\n", 25, true, "a"},
        {"Subject: a\r\n \r\n b\r\n\r\n", 21, true, "a b"},
        {"Subject: a\r\r\nX: b\r\n\r\n", 21, true, "a"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct ferry_mail_header h = read_header(table[i].text, strlen(table[i].text));

        if (h.len != table[i].len || h.sound != table[i].sound)
            fail_msg("%s: %zu, %d", table[i].text, h.len, h.sound);
        if (table[i].subject)
            assert_string_equal(h.subject, table[i].subject);
        else
            assert_null(h.subject);
        assert_int_equal(h.subjects, table[i].subject != NULL);
    }
}

static void nul_bytes(void **state)
{
    static const char text[] = "X: y\r\nSubject: a\0b =?utf-8?q?c?=\0 =\0?\r\n\r\n";
    struct ferry_mail_header h = read_header(text, sizeof text - 1);

    (void)state;
    assert_string_equal(h.subject, "ab =?utf-8?q?c?= =?");
    assert_true(h.sound);
}

/* H13, and as much of a subject as there may be. */
static void limits(void **state)
{
    static char text[200000];
    struct ferry_mail_header h;
    size_t n = 0;

    (void)state;
    for (int i = 0; i < 100; i++)
        n += (size_t)snprintf(text + n, 1000, "X-Long-%d: %0900d\r\n", i, i);
    n += (size_t)snprintf(text + n, 1000, "Subject: found\r\n\r\n");
    h = read_header(text, n);
    assert_string_equal(h.subject, "found");
    assert_int_equal(h.len, n);

    for (size_t len = 4095; len <= 4097; len++) {
        n = (size_t)snprintf(text, sizeof text, "Subject: %0*d\r\nTo: %0*d\r\n\r\n", (int)len, 0,
                             (int)len, 0);
        h = read_header(text, n);
        assert_int_equal(strlen(h.subject), len < 4096 ? len : 4096);
        assert_int_equal(h.subject_cut, len > 4096);
        assert_int_equal(strlen(h.subject_raw), len);
        assert_int_equal(strlen(h.to), len < 4096 ? len : 4096);
    }
    /* A character is not cut in two. */
    n = (size_t)snprintf(text, sizeof text, "Subject: %04095d\xc3\xa9\r\n\r\n", 0);
    h = read_header(text, n);
    assert_int_equal(strlen(h.subject), 4095);
    assert_true(h.subject_cut);
    /* What is meant counts, not how it is written. */
    n = (size_t)snprintf(text, sizeof text, "Subject:");
    for (int i = 0; i < 300; i++)
        n += (size_t)snprintf(text + n, 100, " =?utf-8?q?=41=41=41=41=41=41=41=41?=\r\n");
    n += (size_t)snprintf(text + n, 100, "\r\n");
    h = read_header(text, n);
    assert_int_equal(strlen(h.subject), 2400);
    assert_false(h.subject_cut);
    for (n = 8; n < 100000; n++)
        text[n] = n % 100 == 99 ? '\n' : n % 100 == 0 ? ' ' : 'x';
    memcpy(text, "Subject:", 8);
    h = read_header(text, n);
    assert_int_equal(strlen(h.subject), 4096);
    assert_int_equal(strlen(h.subject_raw), 16384);
    assert_true(h.subject_cut);
}

/* Every beginning of a header is a header too, and nothing is read behind it. */
static void prefixes(void **state)
{
    static const char text[] = "From x\r\nReceived: a\r\n b\r\nSubject : =?utf-8?b?4pw=?=\r\n"
                               " =?utf-8?q?=93?= caf\xe9\r\nTo: a\r\n\r\n";

    (void)state;
    for (size_t n = 0; n < sizeof text; n++) {
        struct ferry_mail_header h = read_header(text, n);

        assert_true(h.len <= n);
        assert_true(h.subjects <= 1);
    }
}

static void without_memory_once(void *arg)
{
    static const char text[] =
        "Subject: =?utf-8?q?a?=\r\nFrom: b\r\nTo: c\r\nMessage-Id: d\r\n\r\n";
    struct ferry_mail_header h;
    void *m;
    int err = ferry_mail_header_read(FERRY_SLICE(text), &h, &m);

    (void)arg;
    if (alloc_failed()) {
        assert_int_equal(err, -ENOMEM);
        assert_null(m);
        assert_null(h.subject);
    } else {
        assert_int_equal(err, 0);
        assert_string_equal(h.subject, "a");
    }
    ferry_mail_header_free(m);
}

static void without_memory(void **state)
{
    (void)state;
    ferry_mail_header_begin();
    each_alloc_fails(without_memory_once, NULL);
}

static void *reads(void *arg)
{
    static const char text[] = "Subject: =?koi8-r?b?8NLJ18XU?= =?gb2312?b?xOO6ww==?=\r\n\r\n";
    unsigned *wrong = arg;

    for (int i = 0; i < 2000; i++) {
        struct ferry_mail_header h;
        void *m;

        if (ferry_mail_header_read(FERRY_SLICE(text), &h, &m) < 0 ||
            strcmp(h.subject, "\xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82"
                              "\xe4\xbd\xa0\xe5\xa5\xbd") != 0)
            ++*wrong;
        ferry_mail_header_free(m);
    }
    return NULL;
}

static void threads(void **state)
{
    pthread_t thread[4];
    unsigned wrong[4] = {0};

    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, reads, &wrong[i]), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(thread[i], NULL);
        assert_int_equal(wrong[i], 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(subjects, forget),
        cmocka_unit_test_teardown(fields, forget),
        cmocka_unit_test_teardown(shapes, forget),
        cmocka_unit_test_teardown(nul_bytes, forget),
        cmocka_unit_test_teardown(limits, forget),
        cmocka_unit_test_teardown(prefixes, forget),
        cmocka_unit_test(without_memory),
        cmocka_unit_test(threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
