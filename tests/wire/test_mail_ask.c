/* SPDX-License-Identifier: MIT */
/* Questions to a scripted application: what it is sent, what its answers are worth, and that a
 * message is sent once. The numbers are those of the checks of mail. */
#include "mail/ask.h"

#include "base/text.h"
#include "exchanges.h"
#include "ferry/form.h"
#include "mail_about.h"

#define STDIN_MAX (8u << 20)

/* What ferry_mail_message_fini would do; and how often. */
static unsigned messages_ended;

void ferry_mail_message_fini(struct ferry_mail_message *m)
{
    messages_ended += m->size > 0;
    ferry_spool_fini(&m->spool);
}

/* -- the application -- */

/* The last request, as it came. Written by the application's thread before it answers; tests that
 * look at it have one connection. */
static struct {
    char params[65536];
    size_t params_len;
    char body[STDIN_MAX];
    size_t body_len;
    unsigned params_records, params_split, records_max;
    bool ended;
} request;

static void check_whole_pairs(const char *p, size_t n)
{
    struct ferry_param param;
    ssize_t took;

    for (size_t at = 0; at < n; at += (size_t)took) {
        took = ferry_param_decode(p + at, n - at, 1 << 20, &param);
        if (took <= 0) {
            request.params_split++;
            return;
        }
    }
}

static void keep_record(const struct fake_record_in *in)
{
    size_t n = in->r.content_len;

    if (n + in->r.padding_len > request.records_max)
        request.records_max = (unsigned)(n + in->r.padding_len);
    if (in->r.type == FERRY_BEGIN_REQUEST) {
        request.params_len = request.body_len = 0;
        request.params_records = request.params_split = request.records_max = 0;
    } else if (in->r.type == FERRY_PARAMS && n) {
        must(request.params_len + n <= sizeof request.params);
        memcpy(request.params + request.params_len, in->content, n);
        request.params_len += n;
        request.params_records++;
        check_whole_pairs(in->content, n);
    } else if (in->r.type == FERRY_STDIN) {
        must(request.body_len + n <= sizeof request.body);
        memcpy(request.body + request.body_len, in->content, n);
        request.body_len += n;
        request.ended = n == 0;
    }
}

/* As fake_take, but keeps it. */
static bool take(struct fake_app *app, int fd, struct fake_request *rq)
{
    struct fake_record_in *in = malloc(sizeof *in);
    bool whole = false, open = true;

    must(in);
    while (!whole && (open = fake_take_record(app, fd, in))) {
        keep_record(in);
        whole = fake_take_into(in, rq);
    }
    free(in);
    if (whole)
        atomic_fetch_add(&app->requests, 1);
    return whole;
}

#define HEAD "STDOUT 1 x436f6e74656e742d747970653a20746578742f706c61696e0d0a0d0a; "
#define END "; STDOUT 1; END_REQUEST 1 x0000000000000000"
#define SAYS(text) HEAD "STDOUT 1 '" text "'" END

/* Says app->script to each request and keeps the connection. */
static void says_it(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    while (take(app, fd, &rq))
        if (!fake_say(app, fd, atomic_load(&app->script)))
            return;
}

/* The value of a param of the last request; NULL when it is not there. */
static const char *param(const char *name)
{
    static char value[32768];
    struct ferry_param p;
    ssize_t took;

    for (size_t at = 0; at < request.params_len; at += (size_t)took) {
        took = ferry_param_decode(request.params + at, request.params_len - at, 1 << 20, &p);
        assert_true(took > 0);
        if (ferry_slice_eq(p.name, ferry_slice_z(name))) {
            assert_true(p.value.len < sizeof value);
            *ferry__put(value, p.value) = 0;
            return value;
        }
    }
    return NULL;
}

static void assert_param(const char *name, const char *value)
{
    const char *got = param(name);

    if (!got)
        fail_msg("no %s", name);
    assert_string_equal(got, value);
}

/* -- the questioner -- */

struct question {
    struct ferry_mail_ask ask;
    bool over, is_late;
    unsigned n, times;
    struct ferry_mail_verdict verdicts[RCPTS_MAX];
    char why[2048], errors[16384];
    size_t errors_len;
};

static void note_verdicts(struct question *q, const struct ferry_mail_verdict *v, unsigned n)
{
    q->n = n;
    must(n <= RCPTS_MAX);
    memcpy(q->verdicts, v, n * sizeof *v);
    q->times++;
    q->over = true;
}

static void on_verdict(struct ferry_mail_ask *ask, const struct ferry_mail_verdict *v, unsigned n,
                       struct ferry_slice why)
{
    struct question *q = ferry_container(ask, struct question, ask);

    must(!ask->asking);
    note_verdicts(q, v, n);
    must(why.len < sizeof q->why);
    *ferry__put(q->why, why) = 0;
}

static void on_script_errors(struct ferry_mail_ask *ask, struct ferry_slice bytes)
{
    struct question *q = ferry_container(ask, struct question, ask);

    must(q->errors_len + bytes.len <= sizeof q->errors);
    memcpy(q->errors + q->errors_len, bytes.p, bytes.len);
    q->errors_len += bytes.len;
}

static void on_late(void *arg, const struct ferry_mail_verdict *v, unsigned n)
{
    struct question *q = arg;

    q->is_late = true;
    note_verdicts(q, v, n);
}

static const struct ferry_mail_ask_fns ask_fns = {.done = on_verdict, .errors = on_script_errors};

struct stand {
    struct site site;
    struct transaction t;
    struct ferry_smtp_path rcpt;
};

static void stand_open(struct stand *s, void **state, fake_handler *handler,
                       struct ferry_client_opts opts, unsigned nrcpts)
{
    struct ferry_mail_service *service = &s->t.service;

    memset(&test_trace, 0, sizeof test_trace);
    messages_ended = 0;
    site_open(&s->site, state, handler, opts);
    transaction_open(&s->t, nrcpts);
    service->validate.path = "/srv/validate.php";
    service->save.path = "/srv/mail/save.php";
    service->auth.path = "auth.php";
    service->validate.client = service->save.client = service->auth.client = s->site.client;
    path_set(&s->rcpt, "user@example.com");
}

static void stand_close(struct stand *s)
{
    assert_int_equal(ferry_mail_asking(), 0);
    transaction_close(&s->t);
    site_close(&s->site);
}

#define wait_for(s, q)                                                                             \
    do {                                                                                           \
        assert_true(site_waits(&(s)->site, &(q)->over, 60000));                                    \
        assert_int_equal((q)->times, 1);                                                           \
    } while (0)

static void begin_validate(struct stand *s, struct question *q)
{
    *q = (struct question){.ask.fns = &ask_fns};
    assert_int_equal(ferry_mail_ask_validate(&q->ask, s->site.loop, &s->t.facts, &s->rcpt, NULL),
                     0);
    assert_false(q->over);
}

static void begin_save(struct stand *s, struct question *q, const struct ferry_smtp_rcpt *one)
{
    *q = (struct question){.ask.fns = &ask_fns};
    assert_int_equal(ferry_mail_ask_save(&q->ask, s->site.loop, &s->t.facts, &s->t.message, one),
                     0);
    assert_false(q->over);
}

static enum ferry_mail_outcome validate(struct stand *s, struct question *q)
{
    begin_validate(s, q);
    wait_for(s, q);
    assert_int_equal(q->n, 1);
    return q->verdicts[0].outcome;
}

static enum ferry_mail_outcome save(struct stand *s, struct question *q)
{
    begin_save(s, q, NULL);
    wait_for(s, q);
    assert_int_equal(q->n, s->t.envelope.nrcpts);
    return q->verdicts[0].outcome;
}

static void assert_outcome(const struct question *q, enum ferry_mail_outcome got,
                           enum ferry_mail_outcome want, const char *what)
{
    if (got != want)
        fail_msg("%s: %s, not %s (%s)", what, ferry_mail_outcome_word(got),
                 ferry_mail_outcome_word(want), q->why);
}

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

static void fill(char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)(i * 7 + i / 253);
}

/* The value of a field of the form that came. */
static size_t field(const char *name, char *out, size_t cap)
{
    struct ferry_slice rest = {request.body, request.body_len};
    struct ferry_param pair;

    while (ferry_query_next(&rest, &pair))
        if (ferry_slice_eq(pair.name, ferry_slice_z(name))) {
            assert_true(pair.value.len < cap);
            return ferry_query_decode(pair.value, out);
        }
    fail_msg("no field %s", name);
    return 0;
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

static void is_silent(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    take(app, fd, &rq);
    fake_drain(app, fd);
}

static void who_cannot_be_asked_is_a_fault(void **state)
{
    struct ferry_client_opts opts = single;
    struct question q, waiting;
    struct stand s;

    opts.connections_max = 1;
    opts.queue_timeout_ms = 100;
    stand_open(&s, state, is_silent, opts, 1);
    message_set(&s.t, "x\r\n", 3);
    s.t.service.save.timeout_ms = 700;
    s.t.service.validate.timeout_ms = 2000;
    begin_save(&s, &q, NULL);
    begin_validate(&s, &waiting);
    wait_for(&s, &waiting);
    assert_outcome(&waiting, waiting.verdicts[0].outcome, FERRY_MAIL_BUSY, "in the queue");
    assert_false(q.over);
    assert_int_equal(ferry_mail_asking(), 1);
    wait_for(&s, &q);
    assert_outcome(&q, q.verdicts[0].outcome, FERRY_MAIL_TIMEOUT, "no answer");
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
        on_both(answers_are_worth_what_they_say),
        on_both(a_flood_is_cut_off),
        on_both(each_recipient_has_its_answer),
        on_both(a_strict_service_wants_the_token),
        on_both(the_error_stream_is_told_and_bounded),
        on_both(who_cannot_be_asked_is_a_fault),
        on_both(a_message_that_cannot_be_read_is_not_sent),
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
