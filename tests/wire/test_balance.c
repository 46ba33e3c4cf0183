/* SPDX-License-Identifier: MIT */
/* Several addresses: who gets which call, what happens when one is lost, and when it comes back. */
#include <arpa/inet.h>
#include <netinet/in.h>

#include "callers.h"
#include "dns_server.h"

/* Each application answers with its own name, at once or when it is told. */
static void answers(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    while (fake_take(app, fd, &rq)) {
        fake_wait_go(app);
        if (!fake_answer(app, fd, rq.id, atomic_load(&app->script)) ||
            !(rq.flags & FERRY_KEEP_CONN))
            return;
    }
}

enum { APPS = 4, FOREVER_MS = 3000000 };
static const char *const names[APPS] = {"0", "1", "2", "3"};

struct several {
    struct fake_app app[APPS];
    struct ferry_client_address addresses[APPS];
    unsigned n;
    struct callers c;
};

static void apps_start(struct several *s, unsigned n, const unsigned *weights)
{
    *s = (struct several){.n = n};
    for (unsigned i = 0; i < n; i++) {
        s->app[i].handler = answers;
        atomic_store(&s->app[i].script, names[i]);
        atomic_store(&s->app[i].go, true);
        fake_listen(&s->app[i], 128);
        fake_start(&s->app[i]);
        s->addresses[i] = (struct ferry_client_address){s->app[i].path, weights ? weights[i] : 0};
    }
}

static struct ferry_client_opts among(struct several *s, enum ferry_balance balance)
{
    return (struct ferry_client_opts){.multiplex = FERRY_MULTIPLEX_OFF,
                                      .addresses = s->addresses,
                                      .naddresses = s->n,
                                      .balance = balance};
}

static void several_close(struct several *s)
{
    callers_close(&s->c);
    for (unsigned i = 0; i < s->n; i++)
        fake_stop(&s->app[i]);
}

/* Which application answers a call with this key. */
static unsigned ask(struct callers *c, const char *key)
{
    struct request r = {.name = "r", .key = key, .idempotent = true};

    start(c->side, &r);
    assert_outcome(&r, DONE);
    assert_in_range(r.out[0], '0', '3');
    return (unsigned)(r.out[0] - '0');
}

static unsigned down(const struct callers *c)
{
    struct ferry_client_stats stats;

    ferry_client_stats(c->client, &stats);
    return stats.down;
}

/* -- who gets a call -- */

static void test_the_fewest_under_way_for_its_weight(void **state)
{
    static const unsigned weights[] = {3, 1};
    struct request r[40];
    struct several s;

    apps_start(&s, 2, weights);
    s.app[0].go = s.app[1].go = false;
    callers_open_client(&s.c, state, 1, among(&s, FERRY_BALANCE_LEAST));
    for (int i = 0; i < 40; i++) {
        r[i] = (struct request){.name = "r"};
        start(s.c.side, &r[i]);
    }
    s.app[0].go = s.app[1].go = true;
    for (int i = 0; i < 40; i++)
        assert_outcome(&r[i], DONE);
    assert_int_equal(s.app[0].requests, 30);
    assert_int_equal(s.app[1].requests, 10);
    /* Equals take turns. */
    for (int i = 0; i < 8; i++)
        ask(&s.c, NULL);
    assert_int_equal(s.app[1].requests, 12);
    several_close(&s);
}

static void test_each_in_turn_as_its_weight_says(void **state)
{
    static const unsigned weights[] = {5, 1, 2};
    struct several s;

    apps_start(&s, 3, weights);
    callers_open_client(&s.c, state, 1, among(&s, FERRY_BALANCE_ROUND_ROBIN));
    for (int round = 0; round < 5; round++) {
        unsigned got[3] = {0};

        for (int i = 0; i < 8; i++)
            got[ask(&s.c, NULL)]++;
        for (int i = 0; i < 3; i++)
            assert_int_equal(got[i], weights[i]);
    }
    several_close(&s);
}

enum { KEYS = 200 };

static void ask_keys(struct callers *c, unsigned *got)
{
    for (int i = 0; i < KEYS; i++) {
        char key[32];

        snprintf(key, sizeof key, "key-%d", i);
        got[i] = ask(c, key);
    }
}

static void test_equal_keys_stay_where_they_are(void **state)
{
    static const unsigned weights[] = {1, 1, 1, 3};
    unsigned first[KEYS], again[KEYS], fewer[KEYS], count[APPS] = {0}, moved = 0;
    struct ferry_client_opts opts;
    struct several s;

    apps_start(&s, 4, weights);
    opts = among(&s, FERRY_BALANCE_HASH);
    callers_open_client(&s.c, state, 1, opts);
    ask_keys(&s.c, first);
    ask_keys(&s.c, again);
    callers_close(&s.c);
    assert_memory_equal(first, again, sizeof first);
    for (int i = 0; i < KEYS; i++)
        count[first[i]]++;
    for (int i = 0; i < 3; i++)
        assert_in_range(count[i], KEYS / 6 / 3, KEYS / 6 * 2);
    assert_in_range(count[3], KEYS / 3, KEYS * 2 / 3);
    /* Without the second address. */
    s.addresses[1] = s.addresses[3];
    opts.naddresses = 3;
    callers_open_client(&s.c, state, 1, opts);
    ask_keys(&s.c, fewer);
    for (int i = 0; i < KEYS; i++) {
        moved += first[i] == 1;
        assert_int_not_equal(fewer[i], 1);
        if (first[i] != 1)
            assert_int_equal(fewer[i], first[i]);
    }
    assert_true(moved > 0);
    several_close(&s);
}

static void test_a_key_sticks_to_its_first_choice(void **state)
{
    unsigned first[50];
    struct several s;
    char key[16];

    apps_start(&s, 3, NULL);
    callers_open_client(&s.c, state, 1, among(&s, FERRY_BALANCE_STICKY));
    for (int i = 0; i < 50; i++) {
        snprintf(key, sizeof key, "s%d", i);
        first[i] = ask(&s.c, key);
    }
    for (int round = 0; round < 3; round++)
        for (int i = 49; i >= 0; i--) {
            snprintf(key, sizeof key, "s%d", i);
            assert_int_equal(ask(&s.c, key), first[i]);
            ask(&s.c, NULL);
        }
    for (int i = 0; i < 3; i++)
        assert_true(s.app[i].requests > 50);
    several_close(&s);
}

/* -- lost and found -- */

/* Nobody listens at the address any more; its socket file may stay. */
static void app_die(struct fake_app *app)
{
    atomic_store(&app->stopping, true);
    pthread_join(app->thread, NULL);
    while (atomic_load(&app->threads) > 0) {
        fake_kill_conns(app);
        fake_sleep_ms(1);
    }
    close(app->listener);
}

static void app_revive(struct fake_app *app)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};

    atomic_store(&app->stopping, false);
    snprintf(un.sun_path, sizeof un.sun_path, "%s", app->path);
    unlink(app->path);
    app->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(bind(app->listener, (struct sockaddr *)&un, sizeof un) == 0);
    must(listen(app->listener, 128) == 0);
    fake_start(app);
}

static void test_another_is_asked_when_one_refuses(void **state)
{
    static const enum ferry_balance balances[] = {FERRY_BALANCE_LEAST, FERRY_BALANCE_ROUND_ROBIN,
                                                  FERRY_BALANCE_HASH, FERRY_BALANCE_STICKY};

    for (unsigned b = 0; b < 4; b++) {
        struct ferry_client_opts opts;
        struct ferry_client_stats stats;
        struct several s;
        char key[16];

        apps_start(&s, 3, NULL);
        app_die(&s.app[1]);
        opts = among(&s, balances[b]);
        opts.fail_ms = FOREVER_MS;
        callers_open_client(&s.c, state, 1, opts);
        for (int i = 0; i < 60; i++) {
            struct request r = {.name = "r", .key = key}; /* not even repeatable */

            snprintf(key, sizeof key, "k%d", i);
            start(s.c.side, &r);
            assert_outcome(&r, DONE);
            assert_int_not_equal(r.out[0], '1');
        }
        ferry_client_stats(s.c.client, &stats);
        assert_int_equal(stats.addresses, 3);
        assert_int_equal(stats.down, 1);
        assert_int_equal(stats.retries, 3); /* fails_max: from then on it is passed over */
        assert_int_equal(stats.requests, 60);
        assert_int_equal(stats.failed, 0);
        callers_close(&s.c);
        app_revive(&s.app[1]);
        for (unsigned i = 0; i < 3; i++)
            fake_stop(&s.app[i]);
    }
}

static bool has_come_back(void *arg)
{
    struct several *s = arg;

    ask(&s->c, NULL);
    return atomic_load(&s->app[1].requests) > 0;
}

static void test_one_request_tries_a_lost_one_after_a_while(void **state)
{
    struct ferry_client_opts opts;
    struct several s;

    apps_start(&s, 2, NULL);
    app_die(&s.app[1]);
    opts = among(&s, FERRY_BALANCE_ROUND_ROBIN);
    opts.fails_max = 1;
    opts.fail_ms = 50;
    callers_open_client(&s.c, state, 1, opts);
    for (int i = 0; i < 4; i++)
        assert_int_equal(ask(&s.c, NULL), 0);
    fake_sleep_ms(150); /* several tries fail */
    for (int i = 0; i < 4; i++)
        assert_int_equal(ask(&s.c, NULL), 0);
    app_revive(&s.app[1]);
    assert_true(wait_for(has_come_back, &s, WAIT_MS));
    assert_int_equal(down(&s.c), 0);
    several_close(&s);
}

static void test_nobody_is_left(void **state)
{
    struct ferry_client_opts opts;
    struct several s;

    apps_start(&s, 2, NULL);
    app_die(&s.app[0]);
    app_die(&s.app[1]);
    opts = among(&s, FERRY_BALANCE_LEAST);
    opts.fail_ms = FOREVER_MS;
    callers_open_client(&s.c, state, 1, opts);
    for (int i = 0; i < 10; i++) {
        struct request r = {.name = "r"};

        start(s.c.side, &r);
        assert_outcome(&r, REFUSED);
        assert_int_equal(r.result.err, -ECONNREFUSED);
    }
    assert_int_equal(down(&s.c), 2);
    app_revive(&s.app[1]); /* down, but better than none */
    assert_int_equal(ask(&s.c, NULL), 1);
    callers_close(&s.c);
    app_revive(&s.app[0]);
    for (unsigned i = 0; i < 2; i++)
        fake_stop(&s.app[i]);
}

static void dies_of_it(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    fake_take(app, fd, &rq);
}

static void test_what_was_seen_is_not_sent_to_another(void **state)
{
    struct ferry_client_opts opts;
    unsigned cut = 0;
    struct several s;

    apps_start(&s, 2, NULL);
    s.app[1].handler = dies_of_it;
    opts = among(&s, FERRY_BALANCE_ROUND_ROBIN);
    opts.fail_ms = FOREVER_MS;
    callers_open_client(&s.c, state, 1, opts);
    for (int i = 0; i < 20; i++) {
        struct request r = {.name = "r", .idempotent = true};

        start(s.c.side, &r);
        assert_true(wait_end(&r));
        cut += r.result.outcome == FERRY_CALL_CUT;
    }
    assert_int_equal(cut, 3); /* then it is passed over */
    assert_int_equal(s.app[1].requests, 3);
    several_close(&s);
}

/* -- active health -- */

static void answers_pings(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_record_in *in = malloc(sizeof *in);
    struct fake_request rq;

    (void)nth;
    must(in);
    while (fake_take_record(app, fd, in)) {
        if (in->r.type == FERRY_GET_VALUES)
            fake_say(app, fd, "GET_VALUES_RESULT 0");
        else if (fake_take_into(in, &rq)) {
            fake_note(app, &rq);
            fake_answer(app, fd, rq.id, atomic_load(&app->script));
        }
    }
    free(in);
}

static bool one_is_down(void *c)
{
    return down(c) == 1;
}

static bool none_is_down(void *c)
{
    return down(c) == 0;
}

static void ping_several(void **state, const char *ping)
{
    struct ferry_client_opts opts;
    struct several s;

    apps_start(&s, 2, NULL);
    for (int i = 0; i < 2; i++) {
        s.app[i].handler = answers_pings;
        atomic_store(&s.app[i].script, "Status: 404 No\r\n\r\n");
    }
    opts = among(&s, FERRY_BALANCE_LEAST);
    opts.ping = ping;
    opts.ping_ms = 20;
    opts.fail_ms = FOREVER_MS;
    callers_open_client(&s.c, state, 2, opts);
    app_die(&s.app[1]);
    assert_true(wait_for(one_is_down, &s.c, WAIT_MS)); /* without any request */
    app_revive(&s.app[1]);
    assert_true(wait_for(none_is_down, &s.c, WAIT_MS)); /* long before fail_ms */
    atomic_store(&s.app[0].script, "Status: 500 Oh\r\n\r\n");
    if (*ping)
        assert_true(wait_for(one_is_down, &s.c, WAIT_MS));
    several_close(&s);
}

static void test_pings_with_a_script(void **state)
{
    ping_several(state, "/srv/ping.php");
}

static void test_pings_with_get_values(void **state)
{
    ping_several(state, "");
}

/* -- in order of arrival -- */

static void test_who_waits_longest_gets_what_comes_free_anywhere(void **state)
{
    static const char *const who[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    struct ferry_client_opts opts;
    struct request r[8];
    struct several s;
    char first;

    apps_start(&s, 2, NULL);
    s.app[0].go = s.app[1].go = false;
    opts = among(&s, FERRY_BALANCE_LEAST);
    opts.connections_max = 1;
    callers_open_client(&s.c, state, 1, opts);
    for (int i = 0; i < 8; i++) {
        r[i] = (struct request){.name = who[i]};
        start(s.c.side, &r[i]);
        for (int t = 0; i < 2 && t < 5000 && s.app[0].requests + s.app[1].requests < i + 1u; t++)
            fake_sleep_ms(1);
    }
    assert_int_equal(s.app[0].requests, 1);
    assert_int_equal(s.app[1].requests, 1);
    pthread_mutex_lock(&s.app[1].lock);
    first = s.app[1].log[0];
    pthread_mutex_unlock(&s.app[1].lock);
    s.app[1].go = true; /* the other never answers */
    for (int i = 0; i < 8; i++)
        if (i >= 2 || first == who[i][0])
            assert_outcome(&r[i], DONE);
    pthread_mutex_lock(&s.app[1].lock);
    assert_string_equal(s.app[1].log + 2, "c d e f g h ");
    pthread_mutex_unlock(&s.app[1].lock);
    s.app[0].go = true;
    for (int i = 0; i < 2; i++)
        assert_outcome(&r[i], DONE);
    several_close(&s);
}

/* -- names of hosts -- */

static unsigned free_port(void)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    socklen_t len = sizeof in;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
    close(fd);
    return ntohs(in.sin_port);
}

/* Listens at 127.0.0.N instead of its path. */
static bool app_at(struct fake_app *app, unsigned host, unsigned port)
{
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + host),
                             .sin_port = htons((uint16_t)port)};
    int one = 1;

    app->handler = answers;
    atomic_store(&app->go, true);
    atomic_store(&app->stopping, false);
    atomic_store(&app->script, names[host]);
    pthread_mutex_init(&app->lock, NULL);
    app->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(app->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(app->listener, (struct sockaddr *)&in, sizeof in) < 0 ||
        listen(app->listener, 64) < 0) {
        close(app->listener);
        return false;
    }
    fake_start(app);
    return true;
}

static const struct dns_entry one_and_two[] = {
    {"app.test", DNS_A, 1, "127.0.0.1"}, {"app.test", DNS_A, 1, "127.0.0.2"}, {NULL, 0, 0, NULL}};
static const struct dns_entry two_and_three[] = {
    {"app.test", DNS_A, 1, "127.0.0.2"}, {"app.test", DNS_A, 1, "127.0.0.3"}, {NULL, 0, 0, NULL}};

struct named {
    struct dns_server dns;
    struct fake_app app[4]; /* of 127.0.0.1 to .3 */
    struct callers c;
    unsigned seen; /* applications, by bits */
    unsigned wanted;
};

static bool sees_wanted(void *arg)
{
    struct named *n = arg;

    n->seen = 0;
    for (int i = 0; i < 8; i++)
        n->seen |= 1u << ask(&n->c, NULL);
    return n->seen == n->wanted;
}

static void test_the_addresses_of_a_name(void **state)
{
    struct named n = {0};
    struct ferry_client_opts opts = {.multiplex = FERRY_MULTIPLEX_OFF,
                                     .balance = FERRY_BALANCE_ROUND_ROBIN};
    unsigned port = free_port();
    char address[32];

    for (unsigned i = 1; i < 4; i++)
        for (int tries = 0; !app_at(&n.app[i], i, port); tries++) {
            assert_true(i == 1 && tries < 20);
            port = free_port();
        }
    dns_start(&n.dns, one_and_two);
    snprintf(address, sizeof address, "app.test:%u", port);
    opts.address = address;
    opts.name_servers = n.dns.address;
    callers_open_client(&n.c, state, 2, opts);
    ask(&n.c, NULL); /* waits for the first answer */
    n.wanted = 1u << 1 | 1u << 2;
    assert_true(wait_for(sees_wanted, &n, WAIT_MS));
    atomic_store(&n.dns.zone, two_and_three);
    n.wanted = 1u << 2 | 1u << 3;
    assert_true(wait_for(sees_wanted, &n, WAIT_MS));
    atomic_store(&n.dns.fails, true); /* what is known stays */
    fake_sleep_ms(1500);
    assert_true(sees_wanted(&n));
    callers_close(&n.c);
    for (unsigned i = 1; i < 4; i++)
        fake_stop(&n.app[i]);
    dns_stop(&n.dns);
}

/* How often each of 8 calls went to applications 1, 2 and 3. */
struct shared {
    struct named named;
    unsigned wanted[4];
};

static bool shares_wanted(void *arg)
{
    struct shared *s = arg;
    unsigned got[4] = {0};

    for (int i = 0; i < 8; i++)
        got[ask(&s->named.c, NULL)]++;
    return memcmp(got, s->wanted, sizeof got) == 0;
}

static void test_the_hosts_of_a_service(void **state)
{
    static char first[64], second[64], third[64], equal[64];
    static struct dns_entry zone[] = {{"_fcgi._tcp.test", DNS_SRV, 1, third},
                                      {"_fcgi._tcp.test", DNS_SRV, 1, first},
                                      {"_fcgi._tcp.test", DNS_SRV, 1, second},
                                      {"one.test", DNS_A, 1, "127.0.0.1"},
                                      {"two.test", DNS_A, 1, "127.0.0.2"},
                                      {"three.test", DNS_A, 1, "127.0.0.3"},
                                      {NULL, 0, 0, NULL}};
    static struct dns_entry after[] = {{"_fcgi._tcp.test", DNS_SRV, 1, equal},
                                       {"_fcgi._tcp.test", DNS_SRV, 1, second},
                                       {"two.test", DNS_A, 1, "127.0.0.2"},
                                       {"three.test", DNS_A, 1, "127.0.0.3"},
                                       {NULL, 0, 0, NULL}};
    struct ferry_client_opts opts = {.multiplex = FERRY_MULTIPLEX_OFF,
                                     .balance = FERRY_BALANCE_ROUND_ROBIN,
                                     .address = "srv:_fcgi._tcp.test"};
    struct shared s = {.wanted = {0, 6, 2, 0}};
    struct named *n = &s.named;
    unsigned port = free_port();

    for (unsigned i = 1; i < 4; i++)
        for (int tries = 0; !app_at(&n->app[i], i, port); tries++) {
            assert_true(i == 1 && tries < 20);
            port = free_port();
        }
    snprintf(first, sizeof first, "1 30 %u one.test", port);
    snprintf(second, sizeof second, "1 10 %u two.test", port);
    snprintf(third, sizeof third, "2 10 %u three.test", port);
    snprintf(equal, sizeof equal, "1 10 %u three.test", port);
    dns_start(&n->dns, zone);
    opts.name_servers = n->dns.address;
    callers_open_client(&n->c, state, 2, opts);
    assert_in_range(ask(&n->c, NULL), 1, 2); /* waits for the first answer; not for the third */
    assert_true(wait_for(shares_wanted, &s, WAIT_MS));
    atomic_store(&n->dns.zone, after);
    memcpy(s.wanted, (unsigned[]){0, 0, 4, 4}, sizeof s.wanted);
    assert_true(wait_for(shares_wanted, &s, WAIT_MS));
    callers_close(&n->c);
    for (unsigned i = 1; i < 4; i++)
        fake_stop(&n->app[i]);
    dns_stop(&n->dns);
}

static void test_a_name_without_addresses(void **state)
{
    struct ferry_client_opts opts = {.address = "nowhere.test:9000"};
    struct request r = {.name = "r"};
    struct dns_server dns;
    struct callers c;

    dns_start(&dns, one_and_two);
    opts.name_servers = dns.address;
    callers_open_client(&c, state, 1, opts);
    start(c.side, &r);
    assert_outcome(&r, REFUSED);
    assert_int_equal(r.result.err, -ENOENT);
    callers_close(&c);
    dns_stop(&dns);
}

static void test_it_closes_while_it_asks_for_names(void **state)
{
    struct ferry_client_opts opts = {.address = "app.test:9000"};
    struct dns_server dns;
    struct callers c;

    dns_start(&dns, one_and_two);
    atomic_store(&dns.silent, true);
    opts.name_servers = dns.address;
    callers_open_client(&c, state, 2, opts);
    fake_sleep_ms(50);
    callers_close(&c);
    dns_stop(&dns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_both(test_the_fewest_under_way_for_its_weight),
        on_both(test_each_in_turn_as_its_weight_says),
        on_both(test_equal_keys_stay_where_they_are),
        on_both(test_a_key_sticks_to_its_first_choice),
        on_both(test_another_is_asked_when_one_refuses),
        on_both(test_one_request_tries_a_lost_one_after_a_while),
        on_both(test_nobody_is_left),
        on_both(test_what_was_seen_is_not_sent_to_another),
        on_both(test_pings_with_a_script),
        on_both(test_pings_with_get_values),
        on_both(test_who_waits_longest_gets_what_comes_free_anywhere),
        on_both(test_the_addresses_of_a_name),
        on_both(test_the_hosts_of_a_service),
        on_both(test_a_name_without_addresses),
        on_both(test_it_closes_while_it_asks_for_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
