/* SPDX-License-Identifier: MIT */
/* What an exchange sends: bodies of any length, kept and sent again; and the data of filters. */
#include "exchanges.h"

#include <fcntl.h>

static void bodies_arrive_whole(void **state)
{
    static const uint64_t sizes[] = {0, 1, 65535, 131072, 131073, 5000000};
    static char piece[30001];
    struct site s;

    memset(piece, 'b', 30000);
    site_open(&s, state, answers, single);
    for (int before = 0; before < 2; before++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            struct asked a = {.body = piece, .body_left = sizes[i]};
            char want[32];

            ask_with(&s, &a, (struct ferry_exchange_opts){0});
            if (before)
                write_more(&a);
            go(&a);
            if (!before)
                write_more(&a);
            assert_result(&s, &a, DONE);
            snprintf(want, sizeof want, "%llu", (unsigned long long)sizes[i]);
            assert_string_equal(a.out, want);
            forget(&a);
        }
    site_close(&s);
}

static void counts_when_told(struct fake_app *app, int fd, unsigned nth)
{
    fake_wait_go(app);
    answers(app, fd, nth);
}

/* Nobody reads: a long body is held back, and goes on when somebody does. */
static void a_slow_application_holds_the_writer_back(void **state)
{
    static char piece[30001];
    struct asked a = {.body = piece, .body_left = 40 << 20};
    struct site s;

    memset(piece, 'b', 30000);
    site_open(&s, state, counts_when_told, single);
    ask_with(&s, &a, (struct ferry_exchange_opts){0});
    go(&a);
    write_more(&a);
    site_turns(&s, 200);
    assert_true(a.body_left > 36 << 20);
    atomic_store(&s.app.go, true);
    assert_result(&s, &a, DONE);
    assert_string_equal(a.out, "41943040");
    assert_true(a.nwritable > 10);
    forget(&a);
    site_close(&s);
}

static void answers_once(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    if (nth > 0) {
        answers(app, fd, nth);
        return;
    }
    if (fake_take(app, fd, &rq)) {
        fake_say(app, fd, "STDOUT 1 x413a20620a0a");
        fake_answer(app, fd, rq.id, "0");
        fake_take(app, fd, &rq); /* and closes, kept as it was */
    }
}

static void a_body_is_sent_again_on_a_stale_connection(void **state)
{
    static char piece[30001];
    struct asked first = {0}, second = {.body = piece, .body_left = 100000};
    struct site s;

    memset(piece, 'b', 30000);
    site_open(&s, state, answers_once, single);
    ask(&s, &first);
    assert_result(&s, &first, DONE);
    ask_with(&s, &second, (struct ferry_exchange_opts){.idempotent = true});
    write_more(&second);
    go(&second);
    assert_result(&s, &second, DONE);
    assert_string_equal(second.out, "100000");
    assert_int_equal(s.app.accepted, 2);
    forget(&first);
    forget(&second);
    site_close(&s);
}

static void streams_have_an_order_and_an_end(void **state)
{
    struct asked a = {0};
    struct site s;

    site_open(&s, state, answers, single);
    ask_with(&s, &a, (struct ferry_exchange_opts){0});
    assert_int_equal(ferry_exchange_write_data(a.x, "x", 1), FERRY_EUSAGE); /* no filter */
    assert_int_equal(ferry_exchange_end_data(a.x), FERRY_EUSAGE);
    assert_int_equal(ferry_exchange_data_file(a.x, open("/dev/null", O_RDONLY | O_CLOEXEC), 0, 0),
                     FERRY_EUSAGE);
    assert_int_equal(ferry_exchange_write(a.x, "x", 1), 1);
    assert_int_equal(ferry_exchange_end(a.x), 0);
    assert_int_equal(ferry_exchange_end(a.x), FERRY_EUSAGE);
    assert_int_equal(ferry_exchange_write(a.x, "x", 1), FERRY_EUSAGE);
    go(&a);
    assert_int_equal(ferry_exchange_param_z(a.x, "A", "b"), FERRY_EUSAGE);
    go(&a); /* twice is once */
    assert_result(&s, &a, DONE);
    assert_string_equal(a.out, "1");
    assert_int_equal(ferry_exchange_write(a.x, "x", 1), FERRY_ECLOSED);
    assert_int_equal(ferry_exchange_end(a.x), FERRY_ECLOSED);
    forget(&a);
    site_close(&s);
}

static bool count_data(struct fake_app *app, int fd, struct fake_record_in *in)
{
    unsigned long long body = 0, data = 0, sum = 0;
    bool early = false, body_over = false;
    char text[64];

    do {
        if (!fake_take_record(app, fd, in))
            return false;
        if (in->r.type == FERRY_STDIN) {
            body += in->r.content_len;
            body_over = in->r.content_len == 0;
        } else if (in->r.type == FERRY_DATA) {
            early = early || !body_over;
            data += in->r.content_len;
            for (unsigned i = 0; i < in->r.content_len; i++)
                sum += (unsigned char)in->content[i];
        }
    } while (in->r.type != FERRY_DATA || in->r.content_len);
    snprintf(text, sizeof text, "%llu %llu %llu%s", body, data, sum, early ? " early" : "");
    return fake_say(app, fd, "STDOUT 1 x413a20620a0a") && fake_answer(app, fd, 1, text);
}

static void counts_data(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_record_in *in = malloc(sizeof *in);

    (void)nth;
    must(in);
    while (count_data(app, fd, in))
        ;
    free(in);
}

static void filters_get_their_data(void **state)
{
    static const struct ferry_exchange_opts filter = {.role = FERRY_FILTER};
    struct asked a = {0}, b = {0}, c = {0};
    char name[] = "/tmp/ferry-exchange-XXXXXX", *bytes = test_calloc(1, 300000);
    int fd = mkstemp(name);
    struct site s;

    assert_true(fd >= 0);
    unlink(name);
    memset(bytes, 1, 300000);
    assert_int_equal(write(fd, bytes, 300000), 300000);
    site_open(&s, state, counts_data, single);
    /* data before the end of STDIN was written: it waits for that */
    ask_with(&s, &a, filter);
    assert_int_equal(ferry_exchange_write_data(a.x, bytes, 300), 1);
    go(&a);
    site_turns(&s, 30);
    assert_int_equal(ferry_exchange_write_data(a.x, bytes, 30), 1);
    assert_int_equal(ferry_exchange_end_data(a.x), 0);
    assert_int_equal(ferry_exchange_write(a.x, "abc", 3), 1);
    assert_int_equal(ferry_exchange_end(a.x), 0);
    assert_result(&s, &a, DONE);
    assert_string_equal(a.out, "3 330 330");
    /* from a file, from somewhere in it */
    ask_with(&s, &b, filter);
    ferry_exchange_end(b.x);
    assert_int_equal(ferry_exchange_data_file(b.x, dup(fd), 100, 299900), 0);
    go(&b);
    assert_result(&s, &b, DONE);
    assert_string_equal(b.out, "0 299900 299900");
    /* from one that is shorter than was said: never ended, but cancelled */
    ask_with(&s, &c, filter);
    ferry_exchange_end(c.x);
    assert_int_equal(ferry_exchange_data_file(c.x, dup(fd), 0, 300001), 0);
    go(&c);
    assert_result(&s, &c, CANCELLED);
    assert_int_equal(c.outcome.err, FERRY_ECUT);
    forget(&a);
    forget(&b);
    forget(&c);
    site_close(&s);
    test_free(bytes);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_both(bodies_arrive_whole),
        on_both(a_slow_application_holds_the_writer_back),
        on_both(a_body_is_sent_again_on_a_stale_connection),
        on_both(streams_have_an_order_and_an_end),
        on_both(filters_get_their_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
