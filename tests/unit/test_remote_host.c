/* SPDX-License-Identifier: MIT */
/* The filter remote_host, asking a DNS server of the test's own. */
#include <errno.h>

#include "dns_server.h"
#include "loops.h"
#include "session_fake.h"

static const struct dns_entry zone[] = {
    {"8.8.8.8.in-addr.arpa", DNS_PTR, 60, "dns.google"},
    {"dns.google", DNS_A, 60, "8.8.4.4"},
    {"dns.google", DNS_A, 60, "8.8.8.8"},
    {"9.2.0.192.in-addr.arpa", DNS_PTR, 60, "dns.google"}, /* it is not */
    {"8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", DNS_PTR, 60,
     "six.test"},
    {"six.test", DNS_AAAA, 60, "2001:db8::8"},
    {NULL, 0, 0, NULL},
};

static struct dns_server dns;
static struct ferry_filters *chain;
static struct fake fake;
static const char *remote;
static bool running;
static long fail_after;

/* In front: what the host would know of the client. */
static int arrive(struct ferry_session *s, void *arg)
{
    (void)arg;
    s->rq.remote_addr = ferry_slice_z(remote);
    fail_alloc_after(fail_after);
    return FERRY_STEP_NEXT;
}

static int end(struct ferry_session *s, void *arg)
{
    (void)arg;
    s->host->call(s, &(struct ferry_session_call){.role = s->role});
    if (running)
        ferry_loop_stop(s->thread->loop);
    return FERRY_STEP_DONE;
}

static int setup(void **state)
{
    (void)state;
    fail_after = -1;
    dns_start(&dns, zone);
    chain = ferry_filters_new();
    return chain ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;

    fake_close(&fake);
    ferry_filters_free(chain);
    dns_stop(&dns);
    return 0;
}

static void open_chain(struct ferry_remote_host o)
{
    o.servers = o.servers ? o.servers : dns.address;
    assert_int_equal(ferry_filters_add(chain, arrive, NULL, NULL), 0);
    assert_int_equal(ferry_filters_remote_host(chain, &o), 0);
    assert_int_equal(ferry_filters_add(chain, end, NULL, NULL), 0);
    fake_open(&fake, chain);
}

static void go_on(void)
{
    running = true;
    if (fake.did == FAKE_WAITS)
        run(fake.loop);
    running = false;
}

/* REMOTE_HOST of a request from this address; NULL: none. */
static const char *name_of(const char *addr)
{
    remote = addr;
    fake_get(&fake, chain, "/");
    go_on();
    assert_int_equal(fake.did, FAKE_CALLED);
    return fake_param(&fake, "REMOTE_HOST");
}

static void names_are_told(void **state)
{
    unsigned questions;

    (void)state;
    open_chain((struct ferry_remote_host){.timeout_ms = 30000});
    remote = "8.8.8.8";
    fake_get(&fake, chain, "/");
    assert_int_equal(fake.did, FAKE_WAITS);
    go_on();
    assert_string_equal(fake_param(&fake, "REMOTE_HOST"), "dns.google");
    assert_string_equal(name_of("2001:db8::8"), "six.test");
    questions = dns.questions;
    assert_null(name_of("192.0.2.9")); /* anybody can claim to be dns.google */
    assert_true(dns.questions > questions);

    questions = dns.questions;
    assert_string_equal(name_of("8.8.8.8"), "dns.google"); /* all of it is remembered */
    assert_string_equal(name_of("2001:db8::8"), "six.test");
    assert_null(name_of("192.0.2.9"));
    assert_int_equal(dns.questions, questions);

    assert_null(name_of("")); /* a unix socket */
    assert_null(name_of("no address"));
    assert_null(name_of("1234567890123456789012345678901234567890123456789"));
    assert_int_equal(dns.questions, questions);
}

static void unconfirmed_names_are_taken_when_asked_for(void **state)
{
    (void)state;
    open_chain((struct ferry_remote_host){.timeout_ms = 30000, .unconfirmed = true});
    assert_string_equal(name_of("192.0.2.9"), "dns.google");
    assert_null(name_of("192.0.2.10"));
}

static void names_are_asked_for_again(void **state)
{
    unsigned questions;

    (void)state;
    open_chain((struct ferry_remote_host){.timeout_ms = 30000, .keep_ms = 1});
    assert_string_equal(name_of("8.8.8.8"), "dns.google");
    questions = dns.questions;
    run_for(fake.loop, 50);
    assert_string_equal(name_of("8.8.8.8"), "dns.google");
    assert_true(dns.questions > questions);
}

static void silence_delays_a_client_once(void **state)
{
    unsigned questions;

    (void)state;
    dns.silent = true;
    open_chain((struct ferry_remote_host){.timeout_ms = 20});
    assert_null(name_of("8.8.8.8"));
    questions = dns.questions;
    remote = "8.8.8.8";
    fake_get(&fake, chain, "/");
    assert_int_equal(fake.did, FAKE_CALLED); /* at once */
    assert_null(fake_param(&fake, "REMOTE_HOST"));
    assert_int_equal(dns.questions, questions);
}

static void failing_servers_are_no_failure(void **state)
{
    (void)state;
    dns.fails = true;
    open_chain((struct ferry_remote_host){.timeout_ms = 30000});
    assert_null(name_of("8.8.8.8"));
}

static void a_client_may_leave_meanwhile(void **state)
{
    (void)state;
    dns.silent = true;
    open_chain((struct ferry_remote_host){.timeout_ms = 50});
    remote = "8.8.8.8";
    fake_get(&fake, chain, "/");
    assert_int_equal(fake.did, FAKE_WAITS);
    fake_over(&fake);
    run_for(fake.loop, 200);
    assert_int_equal(fake.did, FAKE_WAITS);
}

static void an_operators_word_stands(void **state)
{
    (void)state;
    assert_int_equal(ferry_filters_set_param(chain, "REMOTE_HOST", "mine"), 0);
    open_chain((struct ferry_remote_host){.timeout_ms = 30000});
    assert_string_equal(name_of("8.8.8.8"), "mine");
}

static void two_filters_ask_one_resolver(void **state)
{
    struct ferry_list *first;

    (void)state;
    assert_int_equal(
        ferry_filters_remote_host(
            chain, &(struct ferry_remote_host){.timeout_ms = 30000, .servers = dns.address}),
        0);
    open_chain((struct ferry_remote_host){.timeout_ms = 30000});
    assert_string_equal(name_of("8.8.8.8"), "dns.google");
    first = ferry_list_first(&fake.thread.resolvers);
    assert_non_null(first);
    ferry_list_remove(first);
    assert_true(ferry_list_empty(&fake.thread.resolvers));
    ferry_list_push(&fake.thread.resolvers, first);
}

static void bad_servers_are_refused(void **state)
{
    (void)state;
    assert_int_equal(
        ferry_filters_remote_host(chain, &(struct ferry_remote_host){.servers = "nonsense"}),
        FERRY_EUSAGE);
    assert_non_null(strstr(ferry_filters_why(chain), "nonsense"));
    open_chain((struct ferry_remote_host){0});
}

/* Whatever allocation fails, the request is answered, or refused, or waits and then is. */
static void memory_runs_out(void **state)
{
    bool failed = true;

    (void)state;
    open_chain((struct ferry_remote_host){.timeout_ms = 100, .keep_ms = 1});
    for (fail_after = 0; failed; fail_after++) {
        remote = "8.8.8.8";
        fake_get(&fake, chain, "/");
        go_on();
        failed = alloc_failed();
        fail_alloc_after(-1);
        assert_true(fake.did == FAKE_CALLED || fake.did == FAKE_REFUSED);
        run_for(fake.loop, 30);
    }
    assert_true(fail_after > 2);
}

static void making(void *arg)
{
    struct ferry_filters *f = ferry_filters_new();
    struct ferry_filters_local *local;
    int err = -ENOMEM;

    if (f)
        err = ferry_filters_remote_host(f, arg);
    assert_true(err == 0 || alloc_failed());
    if (err == 0 && ferry_filters_join(f, &fake.thread, &local) == 0)
        ferry_filters_leave(local);
    ferry_filters_free(f);
}

static void making_fails_cleanly(void **state)
{
    struct ferry_remote_host o = {.servers = dns.address};

    (void)state;
    open_chain((struct ferry_remote_host){0});
    each_alloc_fails(making, &o);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(names_are_told),
        TEST(unconfirmed_names_are_taken_when_asked_for),
        TEST(names_are_asked_for_again),
        TEST(silence_delays_a_client_once),
        TEST(failing_servers_are_no_failure),
        TEST(a_client_may_leave_meanwhile),
        TEST(an_operators_word_stands),
        TEST(two_filters_ask_one_resolver),
        TEST(bad_servers_are_refused),
        TEST(memory_runs_out),
        TEST(making_fails_cleanly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
