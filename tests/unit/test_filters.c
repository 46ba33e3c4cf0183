/* SPDX-License-Identifier: MIT */
/* Chains of many filters when memory runs out. */
#include "filter_chain.h"

static int make_all(struct ferry_filters *f)
{
    int err = 0;

#define MAKE(x)                                                                                    \
    if (err == 0)                                                                                  \
        err = x;
    MAKE(ferry_filters_basic_params(f))
    MAKE(ferry_filters_map_header(f))
    MAKE(ferry_filters_set_param(f, "A", "$host"))
    MAKE(ferry_filters_remove_param(f, "HTTP_HOST"))
    MAKE(ferry_filters_header(f, "X-A", "$path"))
    MAKE(ferry_filters_header(f, "X-B", NULL))
    MAKE(ferry_filters_strip_prefix(f, "/a"))
    MAKE(ferry_filters_rewrite(f, "^/old(/.*)$", "/new$1?$query"))
    MAKE(ferry_filters_split_path_info(f, NULL, 0))
    MAKE(ferry_filters_file_endpoint(f, "/srv/x.php"))
    MAKE(ferry_filters_redirect(f, 302, "/b$path"))
    MAKE(ferry_filters_deny(f, 403, "no"))
#undef MAKE
    return err;
}

static void make_and_free(void *arg)
{
    struct ferry_filters *f = ferry_filters_new();
    int err = f ? make_all(f) : -ENOMEM;

    (void)arg;
    assert_true(err == 0 || (err == -ENOMEM && alloc_failed()));
    ferry_filters_free(f);
}

static void making_fails_cleanly(void **state)
{
    (void)state;
    each_alloc_fails(make_and_free, NULL);
}

/* What asks an application, and so has a client. */
static void make_callers(void *client)
{
    struct ferry_filters *f = ferry_filters_new();
    int err = f ? 0 : -ENOMEM;

#define MAKE(x)                                                                                    \
    if (err == 0)                                                                                  \
        err = x;
    MAKE(ferry_filters_auth_prepare(f))
    MAKE(ferry_filters_authorize(f, client, &(struct ferry_authorize){.script = "/a"}))
    MAKE(ferry_filters_php(f, client, &(struct ferry_php_fs){.root = "/", .front = "/i.php"}))
    MAKE(ferry_filters_application(f, client))
    MAKE(ferry_filters_call(f, client))
#undef MAKE
    assert_true(err == 0 || (err == -ENOMEM && alloc_failed()));
    ferry_filters_free(f);
}

static void making_callers_fails_cleanly(void **state)
{
    const struct ferry_client_opts o = {.size = sizeof o, .address = "127.0.0.1:9000"};
    struct ferry_client *client;

    (void)state;
    good(ferry_client_new(&o, &client));
    each_alloc_fails(make_callers, client);
    ferry_client_free(client);
}

static void join_and_leave(void *arg)
{
    struct ferry_filters_local *local = NULL;
    int err = ferry_filters_join(chain, &fake.thread, &local);

    (void)arg;
    assert_true(err == 0 || (err == -ENOMEM && alloc_failed()));
    if (err == 0)
        ferry_filters_leave(local);
}

static void joining_fails_cleanly(void **state)
{
    (void)state;
    good(make_all(chain));
    closed();
    each_alloc_fails(join_and_leave, NULL);
}

/* A filter in front of all others: from here on the loop has no block left, and the n-th
 * allocation fails. */
static struct ferry_block *held[256];
static unsigned nheld;

static int fail_from_here(struct ferry_session *s, void *arg)
{
    struct ferry_blocks *blocks = ferry_loop_blocks(s->thread->loop);

    while (blocks->small_kept && nheld < 256)
        held[nheld++] = ferry_block_get(blocks, 1);
    fail_alloc_after(*(const long *)arg);
    return FERRY_STEP_NEXT;
}

static void running_fails_cleanly(void **state)
{
    struct ferry_filters *front = chain;
    bool failed = true;
    long n = 0;

    (void)state;
    good(ferry_filters_add(front, fail_from_here, &n, NULL));
    good(make_all(chain));
    closed();
    for (; failed; n++) {
        fake_get(&fake, chain, "/a/old/x?y");
        failed = alloc_failed();
        fail_alloc_after(-1);
        if (failed)
            assert_true(fake.did == FAKE_REFUSED || fake.status == -ENOMEM);
        else
            assert_string_equal(fake.fields, "Location: /b/new/x\nX-A: /a/old/x\n");
        fake_over(&fake);
        while (nheld)
            ferry_block_unref(held[--nheld]);
    }
    assert_true(n > 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(making_fails_cleanly),
        TEST(making_callers_fails_cleanly),
        TEST(joining_fails_cleanly),
        TEST(running_fails_cleanly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
