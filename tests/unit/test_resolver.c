/* SPDX-License-Identifier: MIT */
/* Names and addresses by a DNS server of the test's own. */
#include "io/resolver.h"

#include <errno.h>

#include "dns_server.h"
#include "loops.h"

static const struct dns_entry zone[] = {
    {"one.test", DNS_A, 60, "192.0.2.1"},
    {"six.test", DNS_AAAA, 30, "2001:db8::6"},
    {"both.test", DNS_A, 60, "192.0.2.2"},
    {"both.test", DNS_AAAA, 30, "2001:db8::2"},
    {"many.test", DNS_A, 60, "192.0.2.11"},
    {"many.test", DNS_A, 60, "192.0.2.12"},
    {"many.test", DNS_A, 60, "192.0.2.13"},
    {"alias.test", DNS_CNAME, 7, "one.test"},
    {"brief.test", DNS_A, 0, "192.0.2.9"},
    {"named.test", DNS_A, 60, "192.0.2.20"},
    {"20.2.0.192.in-addr.arpa", DNS_PTR, 60, "NAMED.test"},
    {"21.2.0.192.in-addr.arpa", DNS_PTR, 60, "named.test"}, /* it is not */
    {"22.2.0.192.in-addr.arpa", DNS_PTR, 60, "nowhere.test"},
    {"23.2.0.192.in-addr.arpa", DNS_PTR, 60, "<script>.test"},
    {"6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", DNS_PTR, 60,
     "six.test"},
    {"_a._tcp.test", DNS_SRV, 50, "20 9 4000 both.test"}, /* not the lowest priority */
    {"_a._tcp.test", DNS_SRV, 50, "10 30 9001 one.test"},
    {"_a._tcp.test", DNS_SRV, 50, "10 0 9002 many.test"},
    {"_a._tcp.test", DNS_SRV, 50, "10 70 9003 nowhere.test"},
    {"_b._tcp.test", DNS_SRV, 300, "1 60000 9001 nowhere.test"},
    {"_b._tcp.test", DNS_SRV, 300, "2 60000 9002 one.test"},
    {"_b._tcp.test", DNS_SRV, 300, "2 15000 9003 named.test"},
    {"_b._tcp.test", DNS_SRV, 300, "2 1 9004 six.test"},
    {"_none._tcp.test", DNS_SRV, 60, "0 0 0 "},
    {"_lost._tcp.test", DNS_SRV, 60, "0 0 9000 nowhere.test"},
    {NULL, 0, 0, NULL},
};

struct look {
    struct ferry_lookup lookup;
    struct ferry_loop *loop;
    unsigned told;
    int err;
    unsigned naddrs, ttl_s, port;
    char text[256]; /* hosts, or the name */
};

static void looked(struct ferry_lookup *lookup, const struct ferry_lookup_result *result)
{
    struct look *l = ferry_container(lookup, struct look, lookup);
    size_t n = 0;

    l->told++;
    l->err = result->err;
    l->naddrs = result->naddrs;
    l->ttl_s = result->ttl_s;
    l->text[0] = '\0';
    for (unsigned i = 0; i < result->naddrs; i++) {
        l->port = ferry_addr_port(&result->addrs[i]);
        if (result->weights)
            n += (size_t)snprintf(l->text + n, sizeof l->text - n, "%u*%u@", result->weights[i],
                                  l->port);
        n += ferry_addr_host(&result->addrs[i], l->text + n, sizeof l->text - n);
        l->text[n++] = ' ';
        l->text[n] = '\0';
    }
    if (result->name)
        snprintf(l->text, sizeof l->text, "%s", result->name);
    ferry_loop_stop(l->loop);
}

struct setup {
    struct dns_server dns;
    struct ferry_loop *loop;
    struct ferry_resolver *r;
};

static void open_setup(struct setup *s, void **state)
{
    s->loop = loop_for(state);
    dns_start(&s->dns, zone);
    assert_int_equal(ferry_resolver_new(s->loop, s->dns.address, &s->r), 0);
}

static void stop(void *loop)
{
    ferry_loop_stop(loop);
}

static void close_setup(struct setup *s)
{
    ferry_resolver_free(s->r, stop, s->loop);
    run(s->loop);
    ferry_loop_free(s->loop);
    dns_stop(&s->dns);
}

static struct look look_init(struct setup *s)
{
    return (struct look){.lookup.done = looked, .loop = s->loop};
}

static struct look host(struct setup *s, const char *name)
{
    struct look l = look_init(s);

    assert_int_equal(ferry_lookup_host(s->r, &l.lookup, name, 9000, 30000), 0);
    assert_int_equal(l.told, 0); /* never from within */
    run(s->loop);
    assert_int_equal(l.told, 1);
    return l;
}

static void the_addresses_of_hosts(void **state)
{
    static const struct {
        const char *name;
        int err;
        unsigned n, ttl;
        const char *hosts[3];
    } cases[] = {
        {"one.test", 0, 1, 60, {"192.0.2.1 "}},
        {"six.test", 0, 1, 30, {"2001:db8::6 "}},
        {"both.test", 0, 2, 30, {"192.0.2.2 ", "2001:db8::2 "}},
        {"many.test", 0, 3, 60, {"192.0.2.11 ", "192.0.2.12 ", "192.0.2.13 "}},
        {"alias.test", 0, 1, 7, {"192.0.2.1 "}},
        {"brief.test", 0, 1, 0, {"192.0.2.9 "}},
        {"nowhere.test", -ENOENT, 0, 0, {NULL}},
        {"22.2.0.192.in-addr.arpa", -ENOENT, 0, 0, {NULL}}, /* there is one, without addresses */
        {"192.0.2.99", 0, 1, 0, {"192.0.2.99 "}},
    };
    struct setup s;

    open_setup(&s, state);
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct look l = host(&s, cases[i].name);

        assert_int_equal(l.err, cases[i].err);
        assert_int_equal(l.naddrs, cases[i].n);
        if (l.err == 0 && cases[i].name[0] != '1') {
            assert_int_equal(l.ttl_s, cases[i].ttl);
            assert_int_equal(l.port, 9000);
        }
        for (unsigned j = 0; j < cases[i].n; j++)
            assert_non_null(strstr(l.text, cases[i].hosts[j]));
    }
    close_setup(&s);
}

static void the_addresses_of_services(void **state)
{
    static const struct {
        const char *name;
        int err;
        unsigned n, ttl;
        const char *hosts[4];
    } cases[] = {
        /* Those of the lowest priority, with their ports and weights. */
        {"_a._tcp.test",
         0,
         4,
         50,
         {"30*9001@192.0.2.1 ", "1*9002@192.0.2.11 ", "1*9002@192.0.2.12 ", "1*9002@192.0.2.13 "}},
        /* None of the lowest has an address: those of the next; and weights are scaled. */
        {"_b._tcp.test",
         0,
         3,
         30,
         {"100*9002@192.0.2.1 ", "25*9003@192.0.2.20 ", "1*9004@2001:db8::6 "}},
        {"_none._tcp.test", -ENOENT, 0, 0, {NULL}},
        {"_lost._tcp.test", -ENOENT, 0, 0, {NULL}},
        {"_nowhere._tcp.test", -ENOENT, 0, 0, {NULL}},
        {"one.test", -ENOENT, 0, 0, {NULL}}, /* it has no such records */
    };
    struct setup s;

    open_setup(&s, state);
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct look l = look_init(&s);

        assert_int_equal(ferry_lookup_service(s.r, &l.lookup, cases[i].name, 30000), 0);
        run(s.loop);
        assert_int_equal(l.told, 1);
        assert_int_equal(l.err, cases[i].err);
        assert_int_equal(l.naddrs, cases[i].n);
        if (l.err == 0)
            assert_int_equal(l.ttl_s, cases[i].ttl);
        for (unsigned j = 0; j < cases[i].n; j++)
            if (!strstr(l.text, cases[i].hosts[j]))
                fail_msg("%s: no %s in %s", cases[i].name, cases[i].hosts[j], l.text);
    }
    close_setup(&s);
}

static void the_names_of_addresses(void **state)
{
    static const struct {
        const char *addr;
        bool confirm;
        int err;
        const char *name;
    } cases[] = {
        {"192.0.2.20:1", true, 0, "named.test"},    {"192.0.2.20:1", false, 0, "named.test"},
        {"192.0.2.21:1", true, -ENOENT, ""}, /* a name that anybody may claim */
        {"192.0.2.21:1", false, 0, "named.test"},   {"192.0.2.22:1", true, -ENOENT, ""},
        {"192.0.2.22:1", false, 0, "nowhere.test"}, {"192.0.2.23:1", false, -ENOENT, ""},
        {"192.0.2.24:1", true, -ENOENT, ""},        {"[2001:db8::6]:1", true, 0, "six.test"},
        {"unix:/tmp/x", true, -ENOENT, ""},
    };
    struct setup s;

    open_setup(&s, state);
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct look l = look_init(&s);
        struct ferry_addr addr;
        const char *why;

        assert_int_equal(ferry_addr_parse(cases[i].addr, false, &addr, &why), 0);
        assert_int_equal(ferry_lookup_name(s.r, &l.lookup, &addr, cases[i].confirm, 30000), 0);
        run(s.loop);
        assert_int_equal(l.err, cases[i].err);
        assert_string_equal(l.text, cases[i].name);
    }
    close_setup(&s);
}

static void servers_that_fail(void **state)
{
    struct setup s;
    struct look l;

    open_setup(&s, state);
    atomic_store(&s.dns.fails, true);
    l = host(&s, "one.test");
    assert_int_equal(l.err, FERRY_EREMOTE);
    close_setup(&s);
}

static void a_silent_server(void **state)
{
    struct setup s;
    struct look l, gone;
    uint64_t began = ferry_now_us();

    open_setup(&s, state);
    l = look_init(&s);
    gone = look_init(&s);
    atomic_store(&s.dns.silent, true);
    assert_int_equal(ferry_lookup_host(s.r, &l.lookup, "one.test", 1, 100), 0);
    assert_int_equal(ferry_lookup_host(s.r, &gone.lookup, "six.test", 1, 50), 0);
    ferry_lookup_cancel(&gone.lookup);
    ferry_lookup_cancel(&gone.lookup);
    run(s.loop);
    assert_int_equal(l.err, -ETIMEDOUT);
    assert_true(ferry_now_us() - began >= 98000);
    assert_int_equal(gone.told, 0);
    /* c-ares is still at it, for nobody. */
    atomic_store(&s.dns.silent, false);
    l = host(&s, "many.test");
    assert_int_equal(l.naddrs, 3);
    close_setup(&s);
}

/* A lost packet is asked for again, well before the deadline. */
static void a_server_that_wakes_up(void **state)
{
    struct setup s;
    struct look l;

    open_setup(&s, state);
    l = look_init(&s);
    atomic_store(&s.dns.silent, true);
    assert_int_equal(ferry_lookup_host(s.r, &l.lookup, "one.test", 1, 60000), 0);
    assert_false(run_for(s.loop, 200));
    atomic_store(&s.dns.silent, false);
    run(s.loop);
    assert_int_equal(l.err, 0);
    assert_string_equal(l.text, "192.0.2.1 ");
    close_setup(&s);
}

static void it_ends_in_the_middle_of_things(void **state)
{
    struct setup s;
    struct look l[20];

    open_setup(&s, state);
    atomic_store(&s.dns.silent, true);
    for (int i = 0; i < 20; i++) {
        l[i] = look_init(&s);
        assert_int_equal(
            ferry_lookup_host(s.r, &l[i].lookup, i % 2 ? "one.test" : "127.0.0.9", 1, 60000), 0);
        if (i % 3 == 0)
            ferry_lookup_cancel(&l[i].lookup);
    }
    close_setup(&s);
    for (int i = 0; i < 20; i++)
        assert_int_equal(l[i].told, 0);
}

static void servers_that_are_none(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct ferry_resolver *r = NULL;

    assert_int_equal(ferry_resolver_new(loop, "not an address", &r), FERRY_EUSAGE);
    assert_null(r);
    assert_int_equal(ferry_resolver_new(loop, NULL, &r), 0);
    ferry_resolver_free(r, stop, loop);
    run(loop);
    ferry_loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_both(the_addresses_of_hosts),
        on_both(the_addresses_of_services),
        on_both(the_names_of_addresses),
        on_both(servers_that_fail),
        on_both(a_silent_server),
        on_both(a_server_that_wakes_up),
        on_both(it_ends_in_the_middle_of_things),
        on_both(servers_that_are_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
