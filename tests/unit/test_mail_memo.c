/* SPDX-License-Identifier: MIT */
#include <pthread.h>

#include "mail/saved.h"
#include "mail/verdicts.h"

#include "mail_about.h"

/* -- the table -- */

static void put(struct ferry__memo *m, const char *key, const char *value, uint64_t now,
                uint64_t until)
{
    ferry__memo_put(m, ferry_slice_z(key), ferry_slice_z(value), now, until);
}

static bool finds(struct ferry__memo *m, const char *key, uint64_t now, const char *value)
{
    char out[64];
    int n = ferry__memo_find(m, ferry_slice_z(key), now, out, sizeof out);

    return n == (int)strlen(value) && memcmp(out, value, (size_t)n) == 0;
}

static bool lacks(struct ferry__memo *m, const char *key, uint64_t now)
{
    char out[64];

    return ferry__memo_find(m, ferry_slice_z(key), now, out, sizeof out) == -1;
}

static void things_are_known_for_their_time(void **state)
{
    struct ferry__memo *m = ferry__memo_new(4);
    char out[64], longer[FERRY__MEMO_VALUE_MAX + 1];

    (void)state;
    assert_non_null(m);
    assert_true(lacks(m, "a", 0));
    put(m, "a", "one", 100, 200);
    put(m, "b", "", 100, 150);
    assert_true(finds(m, "a", 199, "one"));
    assert_true(lacks(m, "a", 200));
    assert_true(finds(m, "b", 149, ""));
    assert_true(lacks(m, "b", 150));
    put(m, "a", "two", 300, 400);
    assert_true(finds(m, "a", 399, "two"));
    assert_int_equal(ferry__memo_find(m, FERRY_SLICE("a"), 399, out, 2), -1);
    ferry__memo_drop(m, FERRY_SLICE("a"), 350);
    ferry__memo_drop(m, FERRY_SLICE("never there"), 350);
    assert_true(lacks(m, "a", 350));
    put(m, "a", "three", 360, 400);
    assert_true(finds(m, "a", 399, "three"));
    /* Not for ever. */
    put(m, "d", "x", 0, UINT64_MAX);
    assert_true(lacks(m, "d", 864000000));
    memset(longer, 'v', sizeof longer);
    ferry__memo_put(m, FERRY_SLICE("l"), ferry_slice(longer, sizeof longer), 0, 10);
    assert_true(lacks(m, "l", 0));
    ferry__memo_free(m);
    ferry__memo_free(NULL);
}

static void the_longest_unused_makes_room(void **state)
{
    struct ferry__memo *m = ferry__memo_new(3);

    (void)state;
    put(m, "a", "1", 0, 100);
    put(m, "b", "2", 0, 100);
    put(m, "c", "3", 0, 100);
    assert_true(finds(m, "a", 1, "1"));
    put(m, "d", "4", 2, 100);
    assert_true(lacks(m, "b", 3));
    assert_true(finds(m, "a", 3, "1") && finds(m, "c", 3, "3") && finds(m, "d", 3, "4"));
    ferry__memo_free(m);
}

static void *hammer(void *arg)
{
    struct ferry__memo *m = arg;
    char key[8], out[8];

    for (unsigned i = 0; i < 20000; i++) {
        size_t n = (size_t)snprintf(key, sizeof key, "%u", i % 37);

        ferry__memo_put(m, ferry_slice(key, n), ferry_slice(key, n), i, i + 50);
        if (ferry__memo_find(m, ferry_slice(key, n), i, out, sizeof out) == (int)n &&
            memcmp(key, out, n) != 0)
            return m;
        if (i % 5 == 0)
            ferry__memo_drop(m, ferry_slice(key, n), i);
    }
    return NULL;
}

static void threads_share_it(void **state)
{
    struct ferry__memo *m = ferry__memo_new(16);
    pthread_t threads[3];
    void *wrong;

    (void)state;
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, m), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
    ferry__memo_free(m);
}

static void without_memory(void *arg)
{
    struct ferry__memo *m = ferry__memo_new(4);

    (void)arg;
    if (!m) {
        assert_true(alloc_failed());
        return;
    }
    put(m, "a", "1", 0, 100);
    assert_true(finds(m, "a", 1, "1") || alloc_failed());
    ferry__memo_free(m);
}

static void no_memory_is_no_harm(void **state)
{
    (void)state;
    each_alloc_fails(without_memory, NULL);
}

/* -- verdicts -- */

static void only_yes_and_no_are_remembered(void **state)
{
    static const struct {
        enum ferry_mail_outcome outcome;
        uint64_t known, forgotten; /* ms behind its coming; 0: it is not known at all */
    } cases[] = {
        {FERRY_MAIL_OK, 9999, 10000}, {FERRY_MAIL_REJECT, 999, 1000}, {FERRY_MAIL_DEFER, 0, 0},
        {FERRY_MAIL_DISCARD, 0, 0},   {FERRY_MAIL_UNREACHABLE, 0, 0}, {FERRY_MAIL_TIMEOUT, 0, 0},
        {FERRY_MAIL_BUSY, 0, 0},      {FERRY_MAIL_INTERNAL, 0, 0},
    };
    struct ferry_smtp_path rcpt;
    struct transaction t;

    (void)state;
    transaction_open(&t, 0);
    t.service.verdict_ms = 10000;
    path_set(&rcpt, "user@example.com");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry__memo *m = ferry__memo_new(4);
        struct ferry_mail_verdict v = {.outcome = cases[i].outcome,
                                       .code = 551,
                                       .enhanced = "5.1.6",
                                       .text = "moved"},
                                  out;

        ferry__mail_verdicts_add(m, &t.facts, &rcpt, 5000, &v);
        if (!cases[i].known) {
            assert_false(ferry__mail_verdicts_find(m, &t.facts, &rcpt, 5000, &out));
        } else {
            assert_true(ferry__mail_verdicts_find(m, &t.facts, &rcpt, 5000 + cases[i].known, &out));
            assert_int_equal(out.outcome, v.outcome);
            assert_int_equal(out.code, 551);
            assert_string_equal(out.enhanced, "5.1.6");
            assert_string_equal(out.text, "moved");
            assert_string_equal(out.id, "");
            assert_false(
                ferry__mail_verdicts_find(m, &t.facts, &rcpt, 5000 + cases[i].forgotten, &out));
        }
        ferry__memo_free(m);
    }
    transaction_close(&t);
}

static void verdicts_are_of_one_question(void **state)
{
    static const struct ferry_mail_verdict yes = {.outcome = FERRY_MAIL_OK};
    struct ferry__memo *m = ferry__memo_new(4);
    struct ferry_smtp_path rcpt, other;
    struct ferry_mail_verdict out;
    struct transaction t, u;

    (void)state;
    transaction_open(&t, 0);
    path_set(&rcpt, "user@example.com");
    path_set(&other, "User@example.com");
    /* Nothing is kept where it was not asked for. */
    ferry__mail_verdicts_add(m, &t.facts, &rcpt, 0, &yes);
    assert_false(ferry__mail_verdicts_find(m, &t.facts, &rcpt, 0, &out));
    t.service.verdict_ms = 1000;
    assert_false(ferry__mail_verdicts_find(m, &t.facts, &rcpt, 0, &out));
    ferry__mail_verdicts_add(m, &t.facts, &rcpt, 0, &yes);
    assert_true(ferry__mail_verdicts_find(m, &t.facts, &rcpt, 0, &out));
    assert_false(ferry__mail_verdicts_find(m, &t.facts, &other, 0, &out));
    /* Another client, name, user, sender, service. */
    for (unsigned i = 0; i < 5; i++) {
        transaction_open(&u, 0);
        u.service.verdict_ms = 1000;
        assert_true(ferry__mail_verdicts_find(m, &u.facts, &rcpt, 0, &out));
        if (i == 0)
            snprintf(u.facts.client_ip, sizeof u.facts.client_ip, "198.51.100.8");
        else if (i == 1)
            snprintf(u.facts.helo, sizeof u.facts.helo, "elsewhere");
        else if (i == 2)
            snprintf(u.facts.auth_user, sizeof u.facts.auth_user, "jo");
        else if (i == 3)
            path_set(&u.from, "");
        else
            u.service.name = "other";
        assert_false(ferry__mail_verdicts_find(m, &u.facts, &rcpt, 0, &out));
        transaction_close(&u);
    }
    /* Who is told nothing but the recipient judges nothing else. */
    t.service.seed_fields_only = true;
    ferry__mail_verdicts_add(m, &t.facts, &rcpt, 0, &yes);
    path_set(&t.from, "");
    snprintf(t.facts.client_ip, sizeof t.facts.client_ip, "198.51.100.8");
    assert_true(ferry__mail_verdicts_find(m, &t.facts, &rcpt, 0, &out));
    assert_false(ferry__mail_verdicts_find(m, &t.facts, &other, 0, &out));
    ferry__memo_free(m);
    transaction_close(&t);
}

/* -- saved ones: I04, I05 -- */

static void saved_messages_are_known_until_their_250_is_seen(void **state)
{
    static const struct ferry_mail_service none = {.name = "a"},
                                           one = {.name = "a", .remember_saved = true},
                                           brief = {
                                               .name = "b", .remember_saved = true, .saved_ms = 10};
    struct ferry__memo *m = ferry__memo_new(ferry__mail_saved_max(&one));
    char id[65] = "";

    (void)state;
    assert_int_equal(ferry__mail_saved_max(&one), 10000);
    ferry__mail_saved_add(m, &none, "key", "id", 0);
    assert_false(ferry__mail_saved_find(m, &none, "key", 0, id, sizeof id));
    assert_false(ferry__mail_saved_find(m, &one, "key", 0, id, sizeof id));
    ferry__mail_saved_add(m, &one, "key", "TX17", 1000);
    assert_true(ferry__mail_saved_find(m, &one, "key", 1000 + 3599999, id, sizeof id));
    assert_string_equal(id, "TX17");
    assert_false(ferry__mail_saved_find(m, &one, "key", 1000 + 3600000, id, sizeof id));
    assert_false(ferry__mail_saved_find(m, &one, "kex", 1000, id, sizeof id));
    assert_false(ferry__mail_saved_find(m, &brief, "key", 1000, id, sizeof id));
    ferry__mail_saved_drop(m, &brief, "key", 1000);
    assert_true(ferry__mail_saved_find(m, &one, "key", 1000, id, sizeof id));
    ferry__mail_saved_drop(m, &one, "key", 1000);
    assert_false(ferry__mail_saved_find(m, &one, "key", 1000, id, sizeof id));
    ferry__mail_saved_add(m, &brief, "key", "", 0);
    assert_true(ferry__mail_saved_find(m, &brief, "key", 9, id, sizeof id));
    assert_string_equal(id, "");
    assert_false(ferry__mail_saved_find(m, &brief, "key", 10, id, sizeof id));
    ferry__mail_saved_add(m, &one, "", "TX", 0);
    assert_false(ferry__mail_saved_find(m, &one, "", 0, id, sizeof id));
    ferry__memo_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(things_are_known_for_their_time),
        cmocka_unit_test(the_longest_unused_makes_room),
        cmocka_unit_test(threads_share_it),
        cmocka_unit_test(no_memory_is_no_harm),
        cmocka_unit_test(only_yes_and_no_are_remembered),
        cmocka_unit_test(verdicts_are_of_one_question),
        cmocka_unit_test(saved_messages_are_known_until_their_250_is_seen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
