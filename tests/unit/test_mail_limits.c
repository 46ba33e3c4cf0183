/* SPDX-License-Identifier: MIT */
#include "mail/limits.h"

#include <pthread.h>
#include <stdatomic.h>

#include "support.h"

#define V4(a, b, c, d)                                                                             \
    {                                                                                              \
        [10] = 0xff, [11] = 0xff, (a), (b), (c), (d)                                               \
    }

static const uint8_t one[16] = V4(192, 0, 2, 1), two[16] = V4(192, 0, 2, 2);

static struct ferry__limits *limits_of(const struct ferry__limits_opts *o)
{
    struct ferry__limits *l = ferry__limits_new(o);

    assert_non_null(l);
    return l;
}

static void connections_in_all(void **state)
{
    struct ferry__limits *l =
        limits_of(&(struct ferry__limits_opts){.clients_max = 2, .clients_per_ip = 9});

    (void)state;
    assert_true(ferry__limits_open(l));
    assert_true(ferry__limits_open(l));
    assert_false(ferry__limits_open(l));
    ferry__limits_close(l);
    assert_true(ferry__limits_open(l));
    assert_false(ferry__limits_open(l));
    ferry__limits_free(l);
    ferry__limits_free(NULL);
}

static void nearly_all_are_taken(void **state)
{
    struct ferry__limits *l =
        limits_of(&(struct ferry__limits_opts){.clients_max = 20, .clients_per_ip = 9});

    (void)state;
    for (int i = 0; i < 18; i++)
        assert_true(ferry__limits_open(l));
    assert_false(ferry__limits_is_crowded(l));
    assert_true(ferry__limits_open(l));
    assert_true(ferry__limits_is_crowded(l));
    ferry__limits_close(l);
    assert_false(ferry__limits_is_crowded(l));
    ferry__limits_free(l);
}

static void connections_of_one(void **state)
{
    static const uint8_t net[16] = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 9},
                         same[16] = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 0, 7},
                         next[16] = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 2, 9};
    struct ferry__limits *l =
        limits_of(&(struct ferry__limits_opts){.clients_max = 100, .clients_per_ip = 2});

    (void)state;
    assert_true(ferry__limits_enter(l, one, 0));
    assert_true(ferry__limits_enter(l, one, 0));
    assert_false(ferry__limits_enter(l, one, 0));
    assert_true(ferry__limits_enter(l, two, 0));
    ferry__limits_leave(l, one);
    assert_true(ferry__limits_enter(l, one, 0));
    assert_false(ferry__limits_enter(l, one, 0));

    assert_true(ferry__limits_enter(l, net, 0)); /* a /64 is one client */
    assert_true(ferry__limits_enter(l, same, 0));
    assert_false(ferry__limits_enter(l, net, 0));
    assert_true(ferry__limits_enter(l, next, 0));
    ferry__limits_leave(l, same);
    assert_true(ferry__limits_enter(l, net, 0));
    ferry__limits_free(l);
}

static void so_many_in_a_minute(void **state)
{
    struct ferry__limits *l = limits_of(&(struct ferry__limits_opts){
        .clients_max = 100, .clients_per_ip = 9, .per_minute = {[FERRY__RATE_MAILS] = 3}});
    uint64_t t = 5000;

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_true(ferry__limits_may(l, one, FERRY__RATE_MAILS, t));
        assert_true(ferry__limits_take(l, one, FERRY__RATE_MAILS, t));
    }
    assert_false(ferry__limits_may(l, one, FERRY__RATE_MAILS, t));
    assert_false(ferry__limits_take(l, one, FERRY__RATE_MAILS, t));
    assert_true(ferry__limits_take(l, two, FERRY__RATE_MAILS, t));
    for (int i = 0; i < 1000; i++) /* no limit */
        assert_true(ferry__limits_take(l, one, FERRY__RATE_RCPTS, t));

    assert_false(ferry__limits_take(l, one, FERRY__RATE_MAILS, t + 19999));
    assert_true(ferry__limits_take(l, one, FERRY__RATE_MAILS, t + 20000));
    assert_false(ferry__limits_take(l, one, FERRY__RATE_MAILS, t + 20000));

    t += 200000; /* quiet for long: no more than a minute's number has been saved up */
    for (int i = 0; i < 3; i++)
        assert_true(ferry__limits_take(l, one, FERRY__RATE_MAILS, t));
    assert_false(ferry__limits_take(l, one, FERRY__RATE_MAILS, t));
    ferry__limits_free(l);
}

static void looking_counts_nothing(void **state)
{
    struct ferry__limits *l = limits_of(&(struct ferry__limits_opts){
        .clients_max = 100, .clients_per_ip = 9, .per_minute = {[FERRY__RATE_AUTH_FAILS] = 1}});

    (void)state;
    for (int i = 0; i < 10; i++)
        assert_true(ferry__limits_may(l, one, FERRY__RATE_AUTH_FAILS, 1));
    assert_true(ferry__limits_take(l, one, FERRY__RATE_AUTH_FAILS, 1));
    assert_false(ferry__limits_may(l, one, FERRY__RATE_AUTH_FAILS, 1));
    ferry__limits_free(l);
}

static void connects_in_a_minute(void **state)
{
    struct ferry__limits *l = limits_of(&(struct ferry__limits_opts){
        .clients_max = 100, .clients_per_ip = 9, .per_minute = {[FERRY__RATE_CONNECTS] = 2}});

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_true(ferry__limits_enter(l, one, 1000));
        ferry__limits_leave(l, one);
    }
    assert_false(ferry__limits_enter(l, one, 1000)); /* which need not be left */
    assert_true(ferry__limits_enter(l, one, 31000));
    ferry__limits_leave(l, one);
    ferry__limits_free(l);
}

static void bytes_of_the_spool(void **state)
{
    struct ferry__limits *l =
        limits_of(&(struct ferry__limits_opts){.clients_max = 1, .spool_max = 1000});

    (void)state;
    assert_true(ferry__limits_has_room(l, 1000));
    assert_false(ferry__limits_has_room(l, 1001));
    assert_false(ferry__limits_has_room(l, UINT64_MAX));
    assert_true(ferry__limits_spool(l, 600));
    assert_false(ferry__limits_spool(l, 401));
    assert_false(ferry__limits_spool(l, UINT64_MAX));
    assert_true(ferry__limits_has_room(l, 400));
    assert_false(ferry__limits_has_room(l, 401));
    assert_true(ferry__limits_spool(l, 400));
    assert_true(ferry__limits_spool(l, 0));
    ferry__limits_unspool(l, 1000);
    assert_true(ferry__limits_spool(l, 1000));
    ferry__limits_free(l);
}

static void addr_of(uint32_t n, uint8_t out[16])
{
    static const uint8_t v4[16] = V4(10, 0, 0, 0);

    memcpy(out, v4, 16);
    for (int i = 0; i < 3; i++)
        out[13 + i] = (uint8_t)(n >> (16 - 8 * i));
}

/* More clients than there are places: those with connections stay, the longest quiet one goes. */
static void the_table_has_a_maximum(void **state)
{
    struct ferry__limits *l = limits_of(&(struct ferry__limits_opts){
        .clients_max = 10, .clients_per_ip = 1, .per_minute = {[FERRY__RATE_MAILS] = 1}});
    uint8_t addr[16];

    (void)state;
    for (uint32_t i = 0; i < 10; i++) {
        addr_of(i, addr);
        assert_true(ferry__limits_enter(l, addr, 0));
        assert_true(ferry__limits_take(l, addr, FERRY__RATE_MAILS, 0));
    }
    for (uint32_t i = 10; i < 30000; i++) {
        addr_of(i, addr);
        assert_true(ferry__limits_take(l, addr, FERRY__RATE_MAILS, 0));
    }
    for (uint32_t i = 0; i < 10; i++) {
        addr_of(i, addr);
        assert_false(ferry__limits_enter(l, addr, 0));
        assert_false(ferry__limits_take(l, addr, FERRY__RATE_MAILS, 0));
        ferry__limits_leave(l, addr);
    }
    addr_of(29999, addr);
    assert_false(ferry__limits_take(l, addr, FERRY__RATE_MAILS, 0));
    addr_of(11, addr);
    assert_true(ferry__limits_take(l, addr, FERRY__RATE_MAILS, 0));
    ferry__limits_free(l);
}

#define THREADS 4
#define ROUNDS 20000

static atomic_uint most, now_in;

static void *come_and_go(void *arg)
{
    struct ferry__limits *l = arg;

    for (int i = 0; i < ROUNDS; i++) {
        unsigned in, m;

        if (!ferry__limits_open(l))
            continue;
        if (ferry__limits_enter(l, one, 0)) {
            in = atomic_fetch_add(&now_in, 1) + 1;
            m = atomic_load(&most);
            while (in > m && !atomic_compare_exchange_weak(&most, &m, in))
                ;
            (void)ferry__limits_take(l, two, FERRY__RATE_MAILS, (uint64_t)i);
            atomic_fetch_sub(&now_in, 1);
            ferry__limits_leave(l, one);
        }
        ferry__limits_close(l);
    }
    return NULL;
}

static void of_several_threads(void **state)
{
    struct ferry__limits *l = limits_of(&(struct ferry__limits_opts){
        .clients_max = 3, .clients_per_ip = 2, .per_minute = {[FERRY__RATE_MAILS] = 100}});
    pthread_t threads[THREADS];

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, l), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_in_range(most, 1, 2);
    for (int i = 0; i < 3; i++) /* all have left */
        assert_true(ferry__limits_open(l));
    assert_true(ferry__limits_enter(l, one, 0));
    assert_true(ferry__limits_enter(l, one, 0));
    ferry__limits_free(l);
}

static void scenario(void *arg)
{
    struct ferry__limits *l =
        ferry__limits_new(&(struct ferry__limits_opts){.clients_max = 1, .clients_per_ip = 1});

    (void)arg;
    assert_true(l || alloc_failed());
    ferry__limits_free(l);
}

static void memory_runs_out(void **state)
{
    (void)state;
    each_alloc_fails(scenario, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nearly_all_are_taken),   cmocka_unit_test(connections_in_all),
        cmocka_unit_test(connections_of_one),     cmocka_unit_test(so_many_in_a_minute),
        cmocka_unit_test(looking_counts_nothing), cmocka_unit_test(connects_in_a_minute),
        cmocka_unit_test(bytes_of_the_spool),     cmocka_unit_test(the_table_has_a_maximum),
        cmocka_unit_test(of_several_threads),     cmocka_unit_test(memory_runs_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
