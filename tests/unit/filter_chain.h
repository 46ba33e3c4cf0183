/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TESTS_FILTER_CHAIN_H
#define FERRY_TESTS_FILTER_CHAIN_H

#include <errno.h>

#include "session_fake.h"

/* A chain for each test, with an application at its end that notes what it is told. */

static struct ferry_filters *chain;
static struct fake fake;

/* The end of a chain: an application is called with what there is. */
static inline int end(struct ferry_session *s, void *arg)
{
    (void)arg;
    s->host->call(s, &(struct ferry_session_call){.role = s->role});
    return FERRY_STEP_DONE;
}

static inline int setup(void **state)
{
    (void)state;
    chain = ferry_filters_new();
    return chain ? 0 : -1;
}

static inline int teardown(void **state)
{
    (void)state;
    if (fake.loop)
        fake_close(&fake);
    fake.loop = NULL;
    ferry_filters_free(chain);
    return 0;
}

static inline void good(int err)
{
    if (err < 0)
        print_error("%s: %s\n", ferry_strerror(err), ferry_filters_why(chain));
    assert_int_equal(err, 0);
}

static inline void refused(int err, const char *why)
{
    assert_int_equal(err, FERRY_EUSAGE);
    assert_string_equal(ferry_filters_why(chain), why);
}

/* Nothing more is added. */
static inline void closed(void)
{
    good(ferry_filters_add(chain, end, NULL, NULL));
    fake_open(&fake, chain);
}

static inline void param_is(const char *name, const char *value)
{
    const char *got = fake_param(&fake, name);

    assert_int_equal(fake.did, FAKE_CALLED);
    if (!value) {
        if (got)
            print_error("%s is %s\n", name, got);
        assert_null(got);
        return;
    }
    if (!got)
        print_error("no %s in:\n%s", name, fake.params);
    assert_non_null(got);
    assert_string_equal(got, value);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
