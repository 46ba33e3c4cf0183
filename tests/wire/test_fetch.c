/* SPDX-License-Identifier: MIT */
/* A request and its whole answer, waiting. */
#include "ferry/client.h"

#include <fcntl.h>
#include <strings.h>

#include "fake_app.h"
#include "io/loop.h"

static struct ferry_client *client_to(const struct fake_app *app, struct ferry_client_opts o)
{
    struct ferry_client *c;

    o.size = sizeof o;
    o.address = app->path;
    assert_int_equal(ferry_client_new(&o, &c), 0);
    return c;
}

static const struct ferry_client_opts plain = {.multiplex = FERRY_MULTIPLEX_OFF};
static const struct ferry_param params[] = {FERRY_PARAM("NAME", "fetched"),
                                            FERRY_PARAM("REQUEST_METHOD", "GET")};

static const struct ferry_fetch simple = {.params = params, .nparams = 2};

static struct ferry_answer *fetch(struct ferry_client *c, const struct ferry_fetch *f)
{
    struct ferry_answer *a;

    assert_int_equal(ferry_client_fetch(c, f, &a), 0);
    assert_non_null(a);
    return a;
}

#define assert_slice(s, z)                                                                         \
    do {                                                                                           \
        struct ferry_slice s_ = (s);                                                               \
        assert_int_equal(s_.len, strlen(z));                                                       \
        assert_memory_equal(s_.p, (z), s_.len);                                                    \
    } while (0)

/* "201 Made", two equal fields, a body and an error. */
static void answers(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    while (fake_take(app, fd, &rq))
        if (!fake_say(app, fd,
                      "STDERR 1 'oops'; STDOUT 1 "
                      "x5374617475733a20323031204d6164650a582d413a20310a782d613a20320a0a; "
                      "STDOUT 1 'body'; STDOUT 1; END_REQUEST 1 x0000000700000000"))
            return;
}

static void the_whole_answer_is_there(void **state)
{
    struct fake_app app = {.handler = answers};
    struct ferry_client *c;
    struct ferry_answer *a;

    (void)state;
    fake_listen(&app, 16);
    fake_start(&app);
    c = client_to(&app, plain);
    for (int i = 0; i < 3; i++) {
        a = fetch(c, &simple);
        assert_int_equal(a->outcome.result, FERRY_RESULT_DONE);
        assert_int_equal(a->outcome.app_status, 7);
        assert_int_equal(a->head.status, 201);
        assert_slice(a->head.reason, "Made");
        assert_int_equal(a->head.nfields, 2);
        assert_slice(a->head.fields[1].value, "2");
        assert_slice(ferry_answer_field(a, "x-A"), "1");
        assert_null(ferry_answer_field(a, "X-B").p);
        assert_slice(a->body, "body");
        assert_slice(a->errors, "oops");
        ferry_answer_free(a);
    }
    assert_log(&app, "fetched fetched fetched ");
    ferry_answer_free(NULL);
    ferry_client_free(c);
    fake_stop(&app);
}

/* Notes what it was sent, as "role body data [CONTENT_LENGTH] [FCGI_DATA_LENGTH]". */
static void reflects(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_record_in *in = malloc(sizeof *in);
    unsigned long long body = 0, data = 0;
    char text[256] = "", lengths[128] = "";
    unsigned role = 0;

    (void)nth;
    must(in);
    while (fake_take_record(app, fd, in)) {
        struct ferry_begin_body begin;
        struct ferry_param p;
        ssize_t n;

        if (in->r.type == FERRY_BEGIN_REQUEST) {
            ferry_begin_body_decode(in->content, &begin);
            role = begin.role;
        }
        for (size_t at = 0; in->r.type == FERRY_PARAMS && at < in->r.content_len; at += (size_t)n) {
            n = ferry_param_decode(in->content + at, in->r.content_len - at, 65536, &p);
            must(n > 0);
            if (memmem(p.name.p, p.name.len, "_LENGTH", 7))
                snprintf(lengths + strlen(lengths), sizeof lengths - strlen(lengths), " %.*s=%.*s",
                         (int)p.name.len, p.name.p, (int)p.value.len, p.value.p);
        }
        body += in->r.type == FERRY_STDIN ? in->r.content_len : 0;
        data += in->r.type == FERRY_DATA ? in->r.content_len : 0;
        if (in->r.content_len == 0 &&
            in->r.type == (role == FERRY_FILTER ? FERRY_DATA : FERRY_STDIN))
            break;
    }
    snprintf(text, sizeof text, "%u %llu %llu%s", role, body, data, lengths);
    fake_say(app, fd, "STDOUT 1 x413a20620a0a");
    fake_answer(app, fd, 1, text);
    fake_drain(app, fd);
    free(in);
}

static void bodies_and_data_are_sent(void **state)
{
    static const struct ferry_param own[] = {FERRY_PARAM("CONTENT_LENGTH", "5")};
    struct fake_app app = {.handler = reflects};
    char *big = test_calloc(1, 3000000);
    const struct {
        struct ferry_fetch f;
        const char *text;
    } table[] = {
        {{.params = params, .nparams = 2}, "1 0 0"},
        {{.params = params, .nparams = 2, .body = {"hello", 5}}, "1 5 0 CONTENT_LENGTH=5"},
        {{.params = own, .nparams = 1, .body = {"hello", 5}}, "1 5 0 CONTENT_LENGTH=5"},
        {{.body = {big, 3000000}}, "1 3000000 0 CONTENT_LENGTH=3000000"},
        {{.role = FERRY_AUTHORIZER}, "2 0 0"},
        {{.role = FERRY_FILTER}, "3 0 0 FCGI_DATA_LENGTH=0"},
        {{.role = FERRY_FILTER, .body = {big, 200000}, .data = {big, 3000000}},
         "3 200000 3000000 CONTENT_LENGTH=200000 FCGI_DATA_LENGTH=3000000"},
    };
    struct ferry_client *c;

    (void)state;
    fake_listen(&app, 16);
    fake_start(&app);
    c = client_to(&app, plain);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct ferry_answer *a = fetch(c, &table[i].f);

        assert_int_equal(a->outcome.result, FERRY_RESULT_DONE);
        assert_slice(a->body, table[i].text);
        ferry_answer_free(a);
    }
    ferry_client_free(c);
    fake_stop(&app);
    test_free(big);
}

static void is_silent(struct fake_app *app, int fd, unsigned nth)
{
    (void)nth;
    fake_drain(app, fd);
}

static void a_failure_is_an_answer_too(void **state)
{
    struct fake_app app = {.handler = is_silent};
    struct ferry_fetch f = simple;
    struct ferry_client *c;
    struct ferry_answer *a;

    (void)state;
    fake_listen(&app, 16);
    fake_start(&app);
    c = client_to(&app, plain);
    f.total_ms = 200;
    a = fetch(c, &f);
    assert_int_equal(a->outcome.result, FERRY_RESULT_TIMEOUT);
    assert_int_equal(a->head.status, 0);
    assert_int_equal(a->body.len, 0);
    ferry_answer_free(a);
    unlink(app.path);
    a = fetch(c, &simple);
    assert_int_equal(a->outcome.result, FERRY_RESULT_REFUSED);
    ferry_answer_free(a);
    ferry_client_free(c);
    fake_stop(&app);
}

static void answers_much(struct fake_app *app, int fd, unsigned nth)
{
    static char piece[60000];
    struct fake_request rq;

    (void)nth;
    while (fake_take(app, fd, &rq)) {
        if (!fake_say(app, fd, "STDOUT 1 x413a20620a0a"))
            return;
        for (int i = 0; i < 20; i++)
            if (!fake_record(app, fd, i % 2 ? FERRY_STDOUT : FERRY_STDERR, 1, piece, sizeof piece))
                return;
        fake_answer(app, fd, rq.id, "");
    }
}

static void an_answer_has_a_limit(void **state)
{
    struct fake_app app = {.handler = answers_much};
    struct ferry_fetch f = simple;
    struct ferry_answer *a = (void *)&f;
    struct ferry_client *c;

    (void)state;
    fake_listen(&app, 16);
    fake_start(&app);
    c = client_to(&app, plain);
    f.answer_max = 1199999;
    assert_int_equal(ferry_client_fetch(c, &f, &a), FERRY_ELIMIT);
    assert_null(a);
    f.answer_max = 1200000;
    a = fetch(c, &f);
    assert_int_equal(a->outcome.result, FERRY_RESULT_DONE);
    assert_int_equal(a->body.len + a->errors.len, 1200000);
    ferry_answer_free(a);
    ferry_client_free(c);
    fake_stop(&app);
}

/* One process of the application's, which serves a connection to its end: none may be kept. */
static void an_application_with_one_process_never_hangs(void **state)
{
    struct fake_app app = {.handler = answers, .serial = true};
    struct ferry_client *c, *other;

    (void)state;
    fake_listen(&app, 16);
    fake_start(&app);
    c = client_to(&app, plain);
    other = client_to(&app, plain);
    for (int i = 0; i < 20; i++) {
        struct ferry_answer *a = fetch(i % 2 ? c : other, &simple);

        assert_slice(a->body, "body");
        ferry_answer_free(a);
    }
    ferry_client_free(c);
    ferry_client_free(other);
    fake_stop(&app);
}

static void *fetch_many(void *arg)
{
    struct ferry_client *c = arg;

    for (int i = 0; i < 50; i++) {
        struct ferry_answer *a;

        must(ferry_client_fetch(c, &simple, &a) == 0);
        must(a->outcome.result == FERRY_RESULT_DONE && a->body.len == 4);
        ferry_answer_free(a);
    }
    return NULL;
}

static void threads_fetch_at_once(void **state)
{
    struct fake_app app = {.handler = answers};
    struct ferry_client *c;
    pthread_t threads[4];
    int before, after;

    (void)state;
    fake_listen(&app, 128);
    fake_start(&app);
    c = client_to(&app, plain);
    fetch_many(c);
    before = dup(0);
    close(before);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, fetch_many, c), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    while (atomic_load(&app.open)) /* the application's ends of closed connections */
        fake_sleep_ms(1);
    after = dup(0);
    close(after);
    assert_int_equal(before, after);
    ferry_client_free(c);
    fake_stop(&app);
}

static void fetch_once(void *arg)
{
    struct fake_app *app = arg;
    struct ferry_client_opts o = plain;
    struct ferry_fetch f = simple;
    struct ferry_client *c;
    struct ferry_answer *a;

    o.size = sizeof o;
    o.address = app->path;
    f.body = FERRY_SLICE("hello");
    if (ferry_client_new(&o, &c) < 0)
        return;
    if (ferry_client_fetch(c, &f, &a) == 0) {
        if (a->outcome.result == FERRY_RESULT_DONE)
            assert_slice(a->body, "body");
        ferry_answer_free(a);
    } else {
        assert_null(a);
    }
    ferry_client_free(c);
}

static void memory_may_be_out(void **state)
{
    struct fake_app app = {.handler = answers};

    (void)state;
    fake_listen(&app, 128);
    fake_start(&app);
    each_alloc_fails(fetch_once, &app);
    fake_stop(&app);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_whole_answer_is_there),
        cmocka_unit_test(bodies_and_data_are_sent),
        cmocka_unit_test(a_failure_is_an_answer_too),
        cmocka_unit_test(an_answer_has_a_limit),
        cmocka_unit_test(an_application_with_one_process_never_hangs),
        cmocka_unit_test(threads_fetch_at_once),
        cmocka_unit_test(memory_may_be_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
