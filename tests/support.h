/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TESTS_SUPPORT_H
#define FERRY_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/*
 * A copy of n bytes that ends where an unreadable page begins: one byte read too far ends the test.
 * One guard at a time per slot 0 to 3; freed by the next use of the slot.
 */
char *guard_copy(int slot, const void *bytes, size_t n);

/* Let the next n allocations of the code under test in this thread succeed and the one after that
 * fail, once. -1: none fails. */
void fail_alloc_after(long n);
/* Did the failure happen since fail_alloc_after? */
bool alloc_failed(void);

/*
 * Runs a scenario again and again with the first, second, third ... allocation failing, until one
 * run needs none to fail. The scenario must free what it made and must not itself assert that
 * allocations succeed.
 */
void each_alloc_fails(void (*scenario)(void *), void *arg);

/* Allocations made (not freed) by the code under test so far. */
unsigned long alloc_count(void);

#define assert_slice_equal(s, lit)                                                                 \
    do {                                                                                           \
        assert_int_equal((s).len, sizeof(lit) - 1);                                                \
        assert_memory_equal((s).p, (lit), sizeof(lit) - 1);                                        \
    } while (0)

#endif
