/* SPDX-License-Identifier: MIT */
/* Thousands of requests in threads, over connections that several share, aborted, cut off and
 * stopped at any moment; on every back end of the loop. */
#include "app_threads.h"

#define CONNS 8
#define IDS 20
#define ENOUGH 1500 /* requests */
#define BODY_MAX 20000

static const char *const deeds_of[] = {"t-hello", "t-read", "t-pull", "t-echo",
                                       "t-bits",  "t-pass", "t-abort"};

/* One request, as far as the client knows. */
struct slot {
    const char *deed; /* NULL: none */
    size_t sent;      /* of its body, which is the pattern's beginning */
    bool whole, aborted;
};

static struct storm {
    struct server server;
    struct client *c[CONNS];
    struct slot slots[CONNS][IDS + 1];
    unsigned seed, requests;
} storm;

static unsigned dice(unsigned n)
{
    storm.seed = storm.seed * 1103515245 + 12345;
    return (storm.seed >> 16) % n;
}

static bool is_deed(const struct slot *slot, const char *name)
{
    return strcmp(slot->deed, name) == 0;
}

/* -- what the client does
 * ------------------------------------------------------------------------------------------------
 */

/* On TCP a connection that is closed in good order looks like one that only sends no more. */
static void redial(int i)
{
    static const struct linger reset = {.l_onoff = 1};

    if (storm.c[i]) {
        setsockopt(storm.c[i]->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        hang_up(storm.c[i]);
    }
    memset(storm.slots[i], 0, sizeof storm.slots[i]);
    storm.c[i] = dial(&storm.server);
}

static void send_some_body(int i, uint16_t id)
{
    struct slot *slot = &storm.slots[i][id];
    size_t n = 1 + dice(4000);

    if (slot->whole)
        return;
    if (slot->sent + n > BODY_MAX || dice(3) == 0) {
        slot->whole = true;
        send_end(storm.c[i], id);
    } else {
        send_record(storm.c[i], FERRY_STDIN, id, pattern + slot->sent, n);
        slot->sent += n;
    }
}

static void begin(int i, uint16_t id)
{
    struct slot *slot = &storm.slots[i][id];

    *slot = (struct slot){.deed = deeds_of[dice(sizeof deeds_of / sizeof *deeds_of)]};
    storm.requests++;
    send_deed(storm.c[i], id, FERRY_KEEP_CONN, slot->deed);
    if (dice(2))
        send_some_body(i, id);
}

static void send_abort(int i, uint16_t id)
{
    storm.slots[i][id].aborted = storm.slots[i][id].whole = true;
    send_record(storm.c[i], FERRY_ABORT_REQUEST, id, "", 0);
}

/* -- what it gets
 * ------------------------------------------------------------------------------------------------
 */

static void expect_prefix(const struct reply *r, const char *want, size_t len, bool whole)
{
    assert_true(r->len <= len && (!whole || r->len == len));
    if (r->len)
        assert_memory_equal(r->out, want, r->len);
}

static void check_reply(const struct slot *slot, const struct reply *r)
{
    bool whole = !slot->aborted;
    struct sum sum = {0};
    char text[100];

    assert_int_equal(r->ends, 1);
    assert_int_equal(r->end.protocol_status, FERRY_REQUEST_COMPLETE);
    assert_true(!whole || r->out_ended);
    /* Aborted before a thread took it, or too late for its handler to see, or in good time. */
    if (is_deed(slot, "t-abort"))
        assert_true(slot->aborted && (r->end.app_status == 0 || r->end.app_status == 7));
    else if (whole)
        assert_int_equal(r->end.app_status, 0);
    else
        assert_true(r->end.app_status <= 1 || r->end.app_status == 7);
    if (is_deed(slot, "t-hello")) {
        expect_prefix(r, TEXT "hello you", strlen(TEXT "hello you"), whole);
    } else if (is_deed(slot, "t-pass")) {
        expect_prefix(r, TEXT "passed on", strlen(TEXT "passed on"), whole);
    } else if (is_deed(slot, "t-bits")) {
        expect_prefix(r, pattern, BITS, whole);
    } else if (is_deed(slot, "t-echo")) {
        expect_prefix(r, pattern, slot->sent, whole);
    } else if (is_deed(slot, "t-abort")) {
        expect_prefix(r, TEXT "started", strlen(TEXT "started"), false);
    } else {
        add_up(&sum, pattern, slot->sent);
        snprintf(text, sizeof text, TEXT "%zu bytes, hash %08x", sum.len, sum.hash);
        expect_prefix(r, text, strlen(text), whole);
    }
}

static void look_at_replies(int i)
{
    for (uint16_t id = 1; id <= IDS; id++) {
        struct slot *slot = &storm.slots[i][id];

        if (!slot->deed || !storm.c[i]->replies[id].ends)
            continue;
        check_reply(slot, &storm.c[i]->replies[id]);
        forget(storm.c[i], id);
        if (!slot->whole) { /* it was answered before its end; the id is free only then */
            send_end(storm.c[i], id);
        }
        slot->deed = NULL;
    }
}

static bool is_readable(int i, int ms)
{
    struct pollfd at = {.fd = storm.c[i]->fd, .events = POLLIN};

    return poll(&at, 1, ms) > 0;
}

static void read_some(int i, int ms)
{
    while (is_readable(i, ms))
        if (!receive(storm.c[i]))
            fail_msg("the server closed a connection: %s", strerror(storm.c[i]->err));
    look_at_replies(i);
}

/* -- the storm
 * ------------------------------------------------------------------------------------------------
 */

static void step(void)
{
    int i = (int)dice(CONNS);
    uint16_t id = (uint16_t)(1 + dice(IDS));
    struct slot *slot = &storm.slots[i][id];

    if (dice(400) == 0)
        redial(i);
    else if (!slot->deed)
        begin(i, id);
    else if (!slot->aborted && dice(is_deed(slot, "t-abort") ? 2 : 12) == 0)
        send_abort(i, id);
    else
        send_some_body(i, id);
    if (dice(4) == 0) /* some wait longer than others */
        read_some(i % 3 ? i : (int)dice(CONNS), dice(8) == 0);
}

static bool any_left(int i)
{
    for (uint16_t id = 1; id <= IDS; id++)
        if (storm.slots[i][id].deed)
            return true;
    return false;
}

static void let_all_end(int i)
{
    for (uint16_t id = 1; id <= IDS; id++) {
        struct slot *slot = &storm.slots[i][id];

        if (slot->deed && !slot->aborted && is_deed(slot, "t-abort"))
            send_abort(i, id);
        while (slot->deed && !slot->whole)
            send_some_body(i, id);
    }
}

/* All at once, for a thread may wait until one connection is read before it serves another. */
static void read_to_the_end(void)
{
    struct pollfd at[CONNS];
    int left;

    do {
        left = 0;
        for (int i = 0; i < CONNS; i++) {
            at[i] = (struct pollfd){.fd = any_left(i) ? storm.c[i]->fd : -1, .events = POLLIN};
            left += at[i].fd >= 0;
        }
        if (left && poll(at, CONNS, WAIT_MS) == 0)
            fail_msg("nothing came on %d connections", left);
        for (int i = 0; i < CONNS; i++)
            if (at[i].revents)
                read_some(i, 0);
    } while (left);
}

static void begin_storm(unsigned threads, unsigned seed, unsigned stop_max_ms)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;

    opts.handle = handle_in_threads;
    opts.threads = threads;
    opts.stop_max_ms = stop_max_ms;
    storm = (struct storm){.server = start(seed % 2 ? AF_INET : AF_UNIX, &opts), .seed = seed};
    for (int i = 0; i < CONNS; i++)
        redial(i);
    expect_hello(storm.c[0], 60); /* it has begun */
}

static void every_request_ends_once_and_well(void **state)
{
    static const unsigned pools[] = {4, 1, 0};

    (void)state;
    for (unsigned n = 0; n < 3; n++) {
        struct client *d;

        begin_storm(pools[n], n + 1, 0);
        while (storm.requests < ENOUGH)
            step();
        for (int i = 0; i < CONNS; i++)
            let_all_end(i);
        read_to_the_end();
        d = dial(&storm.server);
        expect_seen(d, "ended=", seen_of(d, "begun="));
        expect_seen(d, "releases=", seen_of(d, "refs="));
        assert_int_equal(seen_of(d, "wrong="), 0);
        hang_up(d);
        for (int i = 0; i < CONNS; i++)
            hang_up(storm.c[i]);
        stop(&storm.server);
    }
}

/* In the middle of everything; the process leaves only when no thread has a request any more. */
static void a_stop_at_any_moment_ends_it(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 12; n++) {
        begin_storm(n % 3 ? 3 : 0, n + 100, n % 2 ? 100 : 0);
        for (unsigned k = 0; k < 50 + n * 40; k++)
            step();
        kill(storm.server.pid, SIGTERM);
        if (n % 2 == 0) {
            usleep(n * 1000);
            kill(storm.server.pid, SIGINT);
        }
        assert_int_equal(exit_of(&storm.server), 0);
        for (int i = 0; i < CONNS; i++)
            hang_up(storm.c[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_request_ends_once_and_well),
        cmocka_unit_test(a_stop_at_any_moment_ends_it),
    };

    return on_every_backend(tests, sizeof tests / sizeof *tests);
}
