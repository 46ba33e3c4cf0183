/* SPDX-License-Identifier: MIT */
/* What the answers of a scripted application are worth. The numbers are those of the checks of
 * mail. */
#include "mail_stand.h"

/* -- what answers are worth -- */

static const struct conversation {
    const char *name, *script; /* NULL: it closes */
    enum ferry_mail_outcome outcome;
} conversations[] = {
    {"S05", SAYS("SAVED"), FERRY_MAIL_OK},
    {"S05, a line", HEAD "STDOUT 1 x53415645440a" END, FERRY_MAIL_OK},
    {"S06", SAYS("SAVEDX"), FERRY_MAIL_NOT_SAVED},
    {"S06, in a warning", SAYS(" <br>SAVED"), FERRY_MAIL_NOT_SAVED},
    {"S06, empty", HEAD "STDOUT 1" END, FERRY_MAIL_EMPTY},
    {"S09", SAYS("REJECT 552 5.2.2 full"), FERRY_MAIL_REJECT},
    {"S10, a close", HEAD "STDOUT 1 'SAVED'; STDOUT 1", FERRY_MAIL_CUT},
    {"S10, a close at once", NULL, FERRY_MAIL_CUT},
    {"S10, a close in the head", "STDOUT 1 x413a20620a", FERRY_MAIL_CUT},
    {"S11", "STDOUT 1 x5374617475733a203530300a0a; STDOUT 1 'SAVED'" END, FERRY_MAIL_STATUS},
    {"S12", "STDERR 1 'SAVED'; " HEAD "STDOUT 1" END, FERRY_MAIL_EMPTY},
    {"S12, and nothing else", "STDERR 1 'SAVED'" END, FERRY_MAIL_BAD},
    {"S13",
     "STDOUT 1 x413a2062 +3; STDOUT 1 x0a0a +7; STDOUT 1 'SA' +5; STDERR 1 'e'; STDOUT 1 'V' +255; "
     "STDOUT 1 'ED' +1" END,
     FERRY_MAIL_OK},
    {"S15, no head", "STDOUT 1 'SAVED'" END, FERRY_MAIL_BAD},
    {"S15, no head, and lines", "STDOUT 1 x53415645440a0a" END, FERRY_MAIL_BAD},
    {"S15, LF", "STDOUT 1 x436f6e74656e742d747970653a20612f620a0a; STDOUT 1 'SAVED'" END,
     FERRY_MAIL_OK},
    {"S15, no type", "STDOUT 1 x5374617475733a203230300a0a; STDOUT 1 'SAVED'" END, FERRY_MAIL_OK},
    {"S15, 16 KiB of head",
     "STDOUT 1 x413a20; STDOUT 1 #16370; STDOUT 1 x0a0a; STDOUT 1 'SAVED'" END, FERRY_MAIL_OK},
    {"S15, and more", "STDOUT 1 x413a20; STDOUT 1 #16400; STDOUT 1 x0a0a; STDOUT 1 'SAVED'" END,
     FERRY_MAIL_TOO_LONG},
    {"its length", "STDOUT 1 x436f6e74656e742d4c656e6774683a20350a0a; STDOUT 1 'SAVED'" END,
     FERRY_MAIL_OK},
    {"it is shorter than it says",
     "STDOUT 1 x436f6e74656e742d4c656e6774683a20360a0a; STDOUT 1 'SAVED'" END, FERRY_MAIL_CUT},
    {"app status", HEAD "STDOUT 1 'SAVED'; STDOUT 1; END_REQUEST 1 x0000000100000000",
     FERRY_MAIL_BAD},
    {"garbage", "v9 STDOUT 1 'SAVED'", FERRY_MAIL_BAD},
    {"somebody else's answer", "STDOUT 2 'SAVED'", FERRY_MAIL_BAD},
    {"no role", "END_REQUEST 1 x0000000003000000", FERRY_MAIL_CONFIGURATION},
    {"overload", "END_REQUEST 1 x0000000002000000", FERRY_MAIL_BUSY},
    {"overload behind bytes", "STDERR 1 'a'; END_REQUEST 1 x0000000002000000", FERRY_MAIL_BUSY},
    {"it cannot multiplex", "END_REQUEST 1 x0000000001000000", FERRY_MAIL_BUSY},
    {"NUL", HEAD "STDOUT 1 x534156454400" END, FERRY_MAIL_BAD},
    {"64 KiB", HEAD "STDOUT 1 'SAVED '; STDOUT 1 #65530" END, FERRY_MAIL_OK},
    {"and a byte more", HEAD "STDOUT 1 'SAVED '; STDOUT 1 #65531" END, FERRY_MAIL_TOO_LONG},
    {"not found", "STDOUT 1 x5374617475733a203430340a0a; STDOUT 1 'File not found.'" END,
     FERRY_MAIL_CONFIGURATION},
    {"an interim head",
     "STDOUT 1 x5374617475733a203130330a0a; STDOUT 1 x5374617475733a203230300a0a; STDOUT 1 "
     "'SAVED'" END,
     FERRY_MAIL_OK},
};

static void says_and_closes(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;
    const char *script;

    (void)nth;
    if (take(app, fd, &rq) && (script = atomic_load(&app->script)))
        fake_say(app, fd, script);
}

static void answers_are_worth_what_they_say(void **state)
{
    struct ferry_client_opts opts = single;
    struct stand s;
    struct question q;

    opts.no_keep = true;
    stand_open(&s, state, says_and_closes, opts, 2);
    message_set(&s.t, "x\r\n", 3);
    for (size_t i = 0; i < sizeof conversations / sizeof *conversations; i++) {
        const struct conversation *c = &conversations[i];
        unsigned before = atomic_load(&s.site.app.requests);

        atomic_store(&s.site.app.script, c->script);
        assert_outcome(&q, save(&s, &q), c->outcome, c->name);
        assert_int_equal(q.verdicts[1].outcome, c->outcome);
        /* S08: whatever it was, it was sent once. */
        assert_int_equal(atomic_load(&s.site.app.requests) - before, 1);
        assert_true(q.why[0]);
    }
    stand_close(&s);
}

/* 1 MB, and without an end. */
static void floods(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    if (!take(app, fd, &rq) || !fake_say(app, fd, HEAD))
        return;
    while (fake_say(app, fd, "STDOUT 1 #65535"))
        ;
}

static void a_flood_is_cut_off(void **state)
{
    struct stand s;
    struct question q;

    stand_open(&s, state, floods, single, 1);
    message_set(&s.t, "x\r\n", 3);
    assert_outcome(&q, save(&s, &q), FERRY_MAIL_TOO_LONG, "a save");
    assert_outcome(&q, validate(&s, &q), FERRY_MAIL_TOO_LONG, "a recipient");
    stand_close(&s);
}

static void each_recipient_has_its_answer(void **state)
{
    static const char says_each[] = HEAD
        "STDOUT 1 'rcpt 0 SAVED id=one'; STDOUT 1 x0a; STDOUT 1 'rcpt 2 DEFER 452 4.2.2 full'" END;
    struct stand s;
    struct question q;

    stand_open(&s, state, says_it, single, 3);
    message_set(&s.t, "x\r\n", 3);
    atomic_store(&s.site.app.script, says_each);
    assert_int_equal(save(&s, &q), FERRY_MAIL_OK);
    assert_string_equal(q.verdicts[0].id, "one");
    assert_int_equal(q.verdicts[1].outcome, FERRY_MAIL_NOT_SAVED);
    assert_int_equal(q.verdicts[2].outcome, FERRY_MAIL_DEFER);
    assert_int_equal(q.verdicts[2].code, 452);
    stand_close(&s);
}

/* S20: says SAVED with the last 32 bytes of the form, which are the token. */
static void says_the_token(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;
    char script[256];

    (void)nth;
    while (take(app, fd, &rq)) {
        size_t n = request.body_len;

        if (atomic_load(&app->go))
            n -= 32; /* a form that was cut off */
        snprintf(script, sizeof script, SAYS("SAVED %.32s"), request.body + n - 32);
        if (!fake_say(app, fd, script))
            return;
    }
}

static void a_strict_service_wants_the_token(void **state)
{
    struct stand s;
    struct question q;

    stand_open(&s, state, says_the_token, single, 1);
    message_set(&s.t, "a message of some length, so that there is something to cut off\r\n", 65);
    s.t.service.strict_token = true;
    assert_int_equal(save(&s, &q), FERRY_MAIL_OK);
    s.t.service.seed_fields_only = true;
    assert_int_equal(save(&s, &q), FERRY_MAIL_OK);
    atomic_store(&s.site.app.go, true);
    assert_int_equal(save(&s, &q), FERRY_MAIL_TOKEN);
    s.t.service.strict_token = false;
    assert_int_equal(save(&s, &q), FERRY_MAIL_OK);
    stand_close(&s);
}

/* S14 */
static void the_error_stream_is_told_and_bounded(void **state)
{
    static const char script[] =
        "STDERR 1 'PHP Warning: x'; " HEAD "STDERR 1 #9000; STDOUT 1 'SAVED'" END;
    struct stand s;
    struct question q;

    stand_open(&s, state, says_it, single, 1);
    message_set(&s.t, "x\r\n", 3);
    atomic_store(&s.site.app.script, script);
    assert_int_equal(save(&s, &q), FERRY_MAIL_OK);
    assert_int_equal(q.errors_len, 8192);
    assert_memory_equal(q.errors, "PHP Warning: xxxx", 17);
    stand_close(&s);
}

/* -- nobody, or too slow -- */

static void who_cannot_be_asked_is_a_fault(void **state)
{
    struct ferry_client_opts opts = single;
    struct question q, waiting;
    struct stand s;

    opts.connections_max = 1;
    stand_open(&s, state, is_silent, opts, 1);
    s.t.service.queue_ms = 100;
    message_set(&s.t, "x\r\n", 3);
    s.t.service.save.timeout_ms = 700;
    s.t.service.validate.timeout_ms = 2000;
    begin_save(&s, &q, NULL);
    begin_validate(&s, &waiting);
    wait_for(&s, &waiting);
    assert_outcome(&waiting, waiting.verdicts[0].outcome, FERRY_MAIL_BUSY, "in the queue");
    assert_string_equal(waiting.why, "no connection to the application became free in time");
    assert_false(q.over);
    assert_int_equal(ferry_mail_asking(), 1);
    wait_for(&s, &q);
    assert_outcome(&q, q.verdicts[0].outcome, FERRY_MAIL_TIMEOUT, "no answer");
    assert_string_equal(q.why, "the application did not answer");
    /* No script; and nobody there. */
    s.t.service.save.path = NULL;
    assert_int_equal(save(&s, &q), FERRY_MAIL_CONFIGURATION);
    s.t.service.validate.client = NULL;
    assert_int_equal(validate(&s, &q), FERRY_MAIL_CONFIGURATION);
    s.t.service.save.path = "/srv/save.php";
    unlink(s.site.app.path);
    assert_outcome(&q, save(&s, &q), FERRY_MAIL_UNREACHABLE, "no socket");
    stand_close(&s);
}

static void a_message_that_cannot_be_read_is_not_sent(void **state)
{
    struct question q;
    struct stand s;

    stand_open(&s, state, says_it, single, 1);
    message_set(&s.t, "x\r\n", 3);
    atomic_store(&s.site.app.script, SAYS("SAVED"));
    s.t.message.size = 4;
    assert_outcome(&q, save(&s, &q), FERRY_MAIL_STORAGE, "before the call");
    assert_int_equal(atomic_load(&s.site.app.requests), 0);
    /* Known only when it is sent: what is not whole is no request. */
    s.t.service.format = FERRY_MAIL_FORMAT_RFC822;
    assert_outcome(&q, save(&s, &q), FERRY_MAIL_STORAGE, "in the call");
    assert_int_equal(atomic_load(&s.site.app.requests), 0);
    stand_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_both(answers_are_worth_what_they_say),
        on_both(a_flood_is_cut_off),
        on_both(each_recipient_has_its_answer),
        on_both(a_strict_service_wants_the_token),
        on_both(the_error_stream_is_told_and_bounded),
        on_both(who_cannot_be_asked_is_a_fault),
        on_both(a_message_that_cannot_be_read_is_not_sent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
