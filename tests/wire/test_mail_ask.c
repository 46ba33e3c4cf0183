/* SPDX-License-Identifier: MIT */
/* What a scripted application is sent, that a message is sent once, and owners that go. The numbers
 * are those of the checks of mail. */
#include "mail_stand.h"

/* -- what is sent -- */

static void a_recipient_is_asked_for_by_get(void **state)
{
    struct stand s;
    struct question q;

    stand_open(&s, state, says_it, single, 1);
    atomic_store(&s.site.app.script, SAYS("PASS"));
    assert_int_equal(validate(&s, &q), FERRY_MAIL_OK);
    assert_param("REQUEST_METHOD", "GET");
    assert_param("SCRIPT_FILENAME", "/srv/validate.php");
    assert_param("SCRIPT_NAME", "/validate.php");
    assert_param("CONTENT_LENGTH", "0");
    assert_param("CONTENT_TYPE", "");
    assert_param("GATEWAY_INTERFACE", "CGI/1.1");
    assert_param("SERVER_PROTOCOL", "HTTP/1.1");
    assert_param("SERVER_SOFTWARE", "ferry/" FERRY_VERSION);
    assert_param("SERVER_NAME", "mx.example.com");
    assert_param("SERVER_ADDR", "192.0.2.25");
    assert_param("SERVER_PORT", "25");
    assert_param("REMOTE_ADDR", "198.51.100.7");
    assert_param("REMOTE_PORT", "50123");
    assert_param("REDIRECT_STATUS", "200");
    assert_param("MAIL_RCPT", "user@example.com");
    assert_param("MAIL_STAGE", "rcpt");
    assert_null(param("HTTPS"));
    assert_null(param("HTTP_HOST"));
    assert_null(param("REMOTE_USER"));
    assert_non_null(strstr(param("QUERY_STRING"), "rcpt_to=user%40example.com&mail_from="));
    assert_int_equal(strncmp(param("REQUEST_URI"), "/validate.php?rcpt_to=user%40", 29), 0);
    assert_int_equal(request.body_len, 0);
    assert_true(request.ended);
    assert_string_equal(q.why, "status 200, 4 bytes: PASS");
    /* With go-guerrilla's fields only. */
    s.t.service.seed_fields_only = true;
    snprintf(s.t.facts.auth_user, sizeof s.t.facts.auth_user, "jo");
    assert_int_equal(validate(&s, &q), FERRY_MAIL_OK);
    assert_param("QUERY_STRING", "rcpt_to=user%40example.com");
    assert_param("REMOTE_USER", "jo");
    stand_close(&s);
}

static void a_password_goes_in_the_body_alone(void **state)
{
    static const struct ferry_smtp_sasl sasl = {.user = "jo", .password = "s3&cret"};
    struct stand s;
    struct question q = {.ask.fns = &ask_fns};

    stand_open(&s, state, says_it, single, 0);
    s.t.facts.envelope = NULL;
    s.t.service.seed_fields_only = true;
    atomic_store(&s.site.app.script, SAYS("REJECT"));
    assert_int_equal(ferry_mail_ask_auth(&q.ask, s.site.loop, &s.t.facts, &sasl), 0);
    wait_for(&s, &q);
    assert_int_equal(q.verdicts[0].outcome, FERRY_MAIL_REJECT);
    assert_param("REQUEST_METHOD", "POST");
    assert_param("SCRIPT_NAME", "/auth.php");
    assert_param("CONTENT_TYPE", "application/x-www-form-urlencoded");
    assert_param("QUERY_STRING", "");
    assert_param("MAIL_AUTH_USER", "jo");
    assert_null(memmem(request.params, request.params_len, "s3", 2));
    assert_non_null(memmem(request.body, request.body_len, "&password=s3%26cret", 19));
    assert_int_equal(strtoul(param("CONTENT_LENGTH"), NULL, 10), request.body_len);
    stand_close(&s);
}

/* S01, S02, S04: of any size, behind any back-pressure. */
static void a_message_arrives_as_it_is(void **state)
{
    static const size_t sizes[] = {0, 1, 20000, 70000, 140000, 2000000};
    char *message = test_malloc(2000000), *got = test_malloc(STDIN_MAX);
    struct stand s;
    struct question q;

    stand_open(&s, state, says_it, single, 3);
    atomic_store(&s.site.app.script, SAYS("SAVED"));
    fill(message, 2000000);
    test_trace.text = "Return-Path: <>\r\n";
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t trace = strlen(test_trace.text);

        message_set(&s.t, message, sizes[i]);
        assert_outcome(&q, save(&s, &q), FERRY_MAIL_OK, "a message");
        assert_int_equal(strtoul(param("CONTENT_LENGTH"), NULL, 10), request.body_len);
        assert_int_equal(strtoul(param("MAIL_SIZE"), NULL, 10), sizes[i] + trace);
        assert_int_equal(field("body", got, STDIN_MAX), sizes[i] + trace);
        assert_memory_equal(got, test_trace.text, trace);
        assert_memory_equal(got + trace, message, sizes[i]);
        assert_param("REQUEST_METHOD", "POST");
        assert_param("SCRIPT_NAME", "/save.php");
        assert_param("REQUEST_URI", "/save.php");
        assert_int_equal(field("rcpt_to_2", got, STDIN_MAX), 13);
        assert_memory_equal(got, "c@example.com", 13);
        /* Recipients are in the form, and nowhere else. */
        assert_null(memmem(request.params, request.params_len, "@example.com", 12));
        assert_int_equal(request.params_split, 0);
        assert_true(request.records_max <= 65535);
        assert_true(request.ended);
    }
    assert_int_equal(atomic_load(&s.site.app.requests), sizeof sizes / sizeof *sizes);
    stand_close(&s);
    test_free(message);
    test_free(got);
}

static void without_a_form_all_is_in_params(void **state)
{
    struct stand s;
    struct question q;
    char *to = test_malloc(40001);

    stand_open(&s, state, says_it, single, 2);
    s.t.service.format = FERRY_MAIL_FORMAT_RFC822;
    atomic_store(&s.site.app.script, SAYS("SAVED"));
    message_set(&s.t, "Subject: x\r\n\r\nhi\r\n", 18);
    /* A long value is cut, and not in the middle of a character. */
    for (size_t i = 0; i < 40000; i += 2)
        memcpy(to + i, "\xc3\xbc", 2);
    to[40000] = 0;
    s.t.message.header.to = to + 1;
    assert_int_equal(save(&s, &q), FERRY_MAIL_OK);
    assert_param("CONTENT_TYPE", "message/rfc822");
    assert_param("CONTENT_LENGTH", "18");
    assert_param("MAIL_RCPT", "a@example.com\nb@example.com");
    assert_param("MAIL_RCPT_TO_1", "b@example.com");
    assert_param("MAIL_RCPT_COUNT", "2");
    assert_int_equal(request.body_len, 18);
    assert_memory_equal(request.body, "Subject: x\r\n\r\nhi\r\n", 18);
    assert_int_equal(strlen(param("MAIL_HEADER_TO")), 8191);
    assert_int_equal(request.params_split, 0);
    s.t.message.header.to = NULL;
    /* For one alone. */
    begin_save(&s, &q, &s.t.rcpts[1]);
    wait_for(&s, &q);
    assert_int_equal(q.n, 1);
    assert_param("MAIL_RCPT", "b@example.com");
    assert_param("MAIL_RCPT_TO_0", "b@example.com");
    assert_null(param("MAIL_RCPT_TO_1"));
    stand_close(&s);
    test_free(to);
}

/* -- once, and only once -- */

/* The first connection answers a request, and closes when the second has come whole. */
static void drops_the_second(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    if (!take(app, fd, &rq) || !fake_say(app, fd, SAYS("PASS")))
        return;
    if (nth == 0)
        take(app, fd, &rq);
    else
        says_it(app, fd, nth);
}

/* R25: a question may be asked twice. I08: a message may not be sent twice. */
static void only_questions_are_repeated(void **state)
{
    struct question q;
    struct stand s;

    stand_open(&s, state, drops_the_second, single, 1);
    message_set(&s.t, "x\r\n", 3);
    assert_int_equal(validate(&s, &q), FERRY_MAIL_OK);
    assert_outcome(&q, validate(&s, &q), FERRY_MAIL_OK, "a recipient");
    assert_int_equal(atomic_load(&s.site.app.requests), 3);
    stand_close(&s);

    stand_open(&s, state, drops_the_second, single, 1);
    message_set(&s.t, "x\r\n", 3);
    assert_int_equal(validate(&s, &q), FERRY_MAIL_OK);
    assert_outcome(&q, save(&s, &q), FERRY_MAIL_CUT, "a save");
    assert_int_equal(atomic_load(&s.site.app.requests), 2);
    stand_close(&s);
}

/* Each connection answers once and closes: what is kept is always stale. */
static void answers_once(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    if (take(app, fd, &rq))
        fake_say(app, fd, atomic_load(&app->script));
}

/* I09 */
static void a_stale_connection_costs_nothing(void **state)
{
    struct question q;
    struct stand s;

    stand_open(&s, state, answers_once, single, 1);
    message_set(&s.t, "x\r\n", 3);
    atomic_store(&s.site.app.script, SAYS("SAVED"));
    for (unsigned i = 0; i < 20; i++) {
        /* The close may have come or not. */
        while (i % 2 && atomic_load(&s.site.app.open) > 0)
            fake_sleep_ms(1);
        assert_outcome(&q, save(&s, &q), FERRY_MAIL_OK, "a save");
        assert_int_equal(atomic_load(&s.site.app.requests), i + 1);
    }
    stand_close(&s);
}

/* S16: answers when the params are there, and reads no more. */
static void answers_early(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_record_in *in = malloc(sizeof *in);

    (void)nth;
    must(in);
    while (fake_take_record(app, fd, in))
        if (in->r.type == FERRY_PARAMS && in->r.content_len == 0) {
            fake_say(app, fd, SAYS("SAVED"));
            break;
        }
    free(in);
    fake_wait_go(app);
}

static void an_early_answer_counts(void **state)
{
    char *message = test_calloc(1, 3000000);
    struct question q;
    struct stand s;

    stand_open(&s, state, answers_early, single, 1);
    message_set(&s.t, message, 3000000);
    assert_outcome(&q, save(&s, &q), FERRY_MAIL_OK, "a save");
    atomic_store(&s.site.app.go, true);
    stand_close(&s);
    test_free(message);
}

/* -- owners that go -- */

static void answers_when_told(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    fake_wait_go(app);
    (void)nth;
    while (take(app, fd, &rq))
        if (!fake_say(app, fd, SAYS("SAVED id=late")))
            return;
}

/* I04: what has begun goes to its end, though nobody waits any more. */
static void a_save_goes_on_alone(void **state)
{
    char *message = test_malloc(300000), *got = test_malloc(STDIN_MAX);
    struct ferry_client_opts opts = single;
    struct question q, other;
    struct stand s;

    opts.connections_max = 1; /* one of them waits in the queue */
    stand_open(&s, state, answers_when_told, opts, 2);
    fill(message, 300000);
    message_set(&s.t, message, 300000);
    begin_save(&s, &q, &s.t.rcpts[0]);
    begin_save(&s, &other, &s.t.rcpts[1]);
    assert_true(ferry_mail_ask_forget(&q.ask, &s.t.message, on_late, &q));
    assert_null(q.ask.asking);
    assert_int_equal(s.t.message.size, 0);
    assert_true(ferry_mail_ask_forget(&other.ask, &s.t.message, on_late, &other));
    assert_false(ferry_mail_ask_forget(&other.ask, &s.t.message, on_late, &other));
    /* Nothing of the owner's is needed. */
    memset(&s.t.facts, 0x55, sizeof s.t.facts);
    memset(&s.t.envelope, 0x55, sizeof s.t.envelope);
    memset(s.t.rcpts, 0x55, sizeof s.t.rcpts);
    assert_int_equal(ferry_mail_asking(), 2);
    atomic_store(&s.site.app.go, true);
    wait_for(&s, &q);
    wait_for(&s, &other);
    assert_true(q.is_late && other.is_late);
    assert_int_equal(q.verdicts[0].outcome, FERRY_MAIL_OK);
    assert_string_equal(other.verdicts[0].id, "late");
    assert_int_equal(field("body", got, STDIN_MAX), 300000);
    assert_memory_equal(got, message, 300000);
    assert_int_equal(messages_ended, 1);
    stand_close(&s);
    test_free(message);
    test_free(got);
}

static void what_has_not_begun_never_does(void **state)
{
    char *message = test_calloc(1, 4000000);
    struct question q;
    struct stand s;

    stand_open(&s, state, says_it, single, 1);
    atomic_store(&s.site.app.script, SAYS("SAVED"));
    message_set(&s.t, message, 4000000);
    begin_save(&s, &q, NULL); /* it takes more than one turn to look at */
    assert_false(ferry_mail_ask_forget(&q.ask, &s.t.message, on_late, &q));
    assert_int_equal(s.t.message.size, 4000000);
    begin_validate(&s, &q);
    assert_false(ferry_mail_ask_forget(&q.ask, NULL, on_late, &q));
    s.t.service.auth.client = NULL;
    assert_int_equal(ferry_mail_asking(), 0);
    site_turns(&s.site, 50);
    assert_false(q.over);
    /* And with nobody that waits, nothing is told. */
    message_set(&s.t, "x", 1);
    begin_save(&s, &q, NULL);
    assert_true(ferry_mail_ask_forget(&q.ask, &s.t.message, NULL, NULL));
    until(&s.site, ferry_mail_asking() == 0);
    assert_false(q.over);
    assert_int_equal(atomic_load(&s.site.app.requests) <= 2, 1);
    stand_close(&s);
    test_free(message);
}

static void left_ones_can_be_cut(void **state)
{
    struct question q, owned;
    struct stand s;

    stand_open(&s, state, is_silent, single, 1);
    message_set(&s.t, "x\r\n", 3);
    begin_save(&s, &q, NULL);
    begin_validate(&s, &owned);
    assert_true(ferry_mail_ask_forget(&q.ask, &s.t.message, on_late, &q));
    ferry_mail_asking_cut();
    assert_true(q.is_late);
    assert_int_equal(q.verdicts[0].outcome, FERRY_MAIL_INTERNAL);
    assert_false(owned.over);
    assert_int_equal(ferry_mail_asking(), 1);
    assert_int_equal(messages_ended, 1);
    ferry_mail_ask_forget(&owned.ask, NULL, NULL, NULL);
    stand_close(&s);
}

/* -- memory -- */

static void one_of_each(void *arg)
{
    static const struct ferry_smtp_sasl sasl = {.user = "jo", .password = "pw"};
    struct ferry_client_opts copts = single;
    struct stand *s = *(void **)arg;
    struct ferry_mail_service *service = &s->t.service;

    copts.size = sizeof copts;
    copts.address = s->site.app.path;
    s->site.closed = false;
    if (ferry_client_new(&copts, &s->site.client) < 0)
        return;
    service->validate.client = service->save.client = service->auth.client = s->site.client;
    for (unsigned i = 0; i < 4; i++) {
        struct question q = {.ask.fns = &ask_fns};
        int r;

        service->compress = i == 3;
        r = i == 0   ? ferry_mail_ask_validate(&q.ask, s->site.loop, &s->t.facts, &s->rcpt, NULL)
            : i == 1 ? ferry_mail_ask_auth(&q.ask, s->site.loop, &s->t.facts, &sasl)
                     : ferry_mail_ask_save(&q.ask, s->site.loop, &s->t.facts, &s->t.message, NULL);
        if (r < 0) {
            assert_int_equal(r, -ENOMEM);
            assert_true(alloc_failed());
            continue;
        }
        wait_for(s, &q);
        if (!alloc_failed())
            assert_int_equal(q.verdicts[0].outcome, i < 2 ? FERRY_MAIL_BAD : FERRY_MAIL_OK);
    }
    assert_int_equal(ferry_mail_asking(), 0);
    ferry_client_close(s->site.client, s->site.loop, site_closed, &s->site);
    assert_true(site_waits(&s->site, &s->site.closed, 60000));
    ferry_client_free(s->site.client);
    s->site.client = NULL;
}

static void memory_may_be_out(void **state)
{
    char message[20000];
    struct stand s, *at = &s;

    stand_open(&s, state, says_it, single, 2);
    ferry_client_free(s.site.client);
    fill(message, sizeof message);
    message_set(&s.t, message, sizeof message);
    test_trace.text = "T: 1\r\n";
    atomic_store(&s.site.app.script, SAYS("SAVED"));
    each_alloc_fails(one_of_each, &at);
    transaction_close(&s.t);
    ferry_loop_free(s.site.loop);
    fake_stop(&s.site.app);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_both(a_recipient_is_asked_for_by_get),
        on_both(a_password_goes_in_the_body_alone),
        on_both(a_message_arrives_as_it_is),
        on_both(without_a_form_all_is_in_params),
        on_both(only_questions_are_repeated),
        on_both(a_stale_connection_costs_nothing),
        on_both(an_early_answer_counts),
        on_both(a_save_goes_on_alone),
        on_both(what_has_not_begun_never_does),
        on_both(left_ones_can_be_cut),
        on_both(memory_may_be_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
