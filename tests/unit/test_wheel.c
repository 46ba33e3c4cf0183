/* SPDX-License-Identifier: MIT */
#include "io/wheel.h"

#include "base/machine.h"
#include "support.h"

#define TIMERS 300

static uint32_t seed = 1;

static uint32_t any(uint32_t below)
{
    seed = seed * 1664525 + 1013904223;
    return (uint32_t)(((uint64_t)(seed >> 4) * below) >> 28);
}

static struct ferry__wheel wheel;

static void add(struct ferry_timer *t, uint64_t at)
{
    ferry_list_init(&t->link);
    t->at_ms = at;
    ferry__wheel_add(&wheel, t);
}

/* Turns the wheel only when it asks for it, from `now` on, until it never asks again. */
static uint64_t turn_as_asked(uint64_t now, void (*fired)(struct ferry_timer *, uint64_t now),
                              unsigned *turns)
{
    struct ferry_list due, *l;
    int64_t ms;

    ferry_list_init(&due);
    while ((ms = ferry__wheel_wait(&wheel, now)) >= 0) {
        now += (uint64_t)ms;
        ferry__wheel_turn(&wheel, now, &due);
        while ((l = ferry_list_first(&due))) {
            ferry_list_remove(l);
            fired(ferry_container(l, struct ferry_timer, link), now);
        }
        if (turns)
            ++*turns;
    }
    return now;
}

static unsigned count;

static void in_time(struct ferry_timer *t, uint64_t now)
{
    assert_true(now >= t->at_ms);
    assert_true(now - t->at_ms < 16);
    count++;
}

static void every_distance_is_in_time(void **state)
{
    struct ferry_timer t[64];

    (void)state;
    for (uint64_t start = 0; start < 100000000; start = start * 3 + 1000001) {
        ferry__wheel_init(&wheel, start);
        count = 0;
        for (int i = 0; i < 48; i++)
            add(&t[i], start + (UINT64_C(1) << i) - 1);
        turn_as_asked(start, in_time, NULL);
        assert_int_equal(count, 48);
    }
}

static void random_timers_are_in_time(void **state)
{
    static struct ferry_timer t[TIMERS];
    uint64_t now = 123456789;

    (void)state;
    ferry__wheel_init(&wheel, now);
    for (int round = 0; round < 200; round++) {
        unsigned stopped = 0;

        count = 0;
        for (int i = 0; i < TIMERS; i++)
            add(&t[i], now + any(1u << any(24)));
        for (int i = 0; i < TIMERS; i++) {
            if (any(3) == 0) {
                ferry_list_remove(&t[i].link);
                stopped++;
            }
        }
        now = turn_as_asked(now, in_time, NULL);
        assert_int_equal(count, TIMERS - stopped);
        now += any(1000000);
    }
}

static void the_wheel_asks_seldom(void **state)
{
    struct ferry_timer t;
    unsigned turns = 0;

    (void)state;
    ferry__wheel_init(&wheel, 5);
    assert_int_equal(ferry__wheel_wait(&wheel, 5), -1);
    add(&t, 24 * 3600 * 1000);
    turn_as_asked(5, in_time, &turns);
    assert_true(turns <= 5);
    add(&t, 48 * 3600 * 1000);
    ferry_list_remove(&t.link);
    assert_int_equal(ferry__wheel_wait(&wheel, 24 * 3600 * 1000), -1);
}

static uint64_t last;

static void in_order(struct ferry_timer *t, uint64_t now)
{
    (void)now;
    assert_true(t->at_ms / 16 >= last / 16);
    last = t->at_ms;
    count++;
}

static void a_late_turn_fires_all_in_order(void **state)
{
    static struct ferry_timer t[TIMERS];
    struct ferry_list due, *l;

    (void)state;
    ferry__wheel_init(&wheel, 1000);
    count = 0;
    last = 0;
    for (int i = 0; i < TIMERS; i++)
        add(&t[i], 1000 + any(3000000) * 16);
    ferry_list_init(&due);
    ferry__wheel_turn(&wheel, UINT64_C(1) << 40, &due);
    while ((l = ferry_list_first(&due))) {
        ferry_list_remove(l);
        in_order(ferry_container(l, struct ferry_timer, link), 0);
    }
    assert_int_equal(count, TIMERS);
}

static void the_past_is_due_at_once_and_the_end_of_time_never(void **state)
{
    struct ferry_timer past, far;
    struct ferry_list due;

    (void)state;
    ferry__wheel_init(&wheel, 100000);
    add(&past, 3);
    add(&far, FERRY_NEVER - 1);
    assert_int_equal(ferry__wheel_wait(&wheel, 100000), 0);
    ferry_list_init(&due);
    ferry__wheel_turn(&wheel, 100000, &due);
    assert_ptr_equal(ferry_list_first(&due), &past.link);
    ferry_list_remove(&past.link);
    ferry__wheel_turn(&wheel, UINT64_C(1) << 50, &due);
    assert_true(ferry_list_empty(&due));
    assert_true(ferry__wheel_wait(&wheel, UINT64_C(1) << 50) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_distance_is_in_time),
        cmocka_unit_test(random_timers_are_in_time),
        cmocka_unit_test(the_wheel_asks_seldom),
        cmocka_unit_test(a_late_turn_fires_all_in_order),
        cmocka_unit_test(the_past_is_due_at_once_and_the_end_of_time_never),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
