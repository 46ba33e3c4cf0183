/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TESTS_WIRE_MAIL_STAND_H
#define FERRY_TESTS_WIRE_MAIL_STAND_H

/* Questions of the mail gateway to a scripted application, whose last request is kept. */

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

static inline void check_whole_pairs(const char *p, size_t n)
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

static inline void keep_record(const struct fake_record_in *in)
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
static inline bool take(struct fake_app *app, int fd, struct fake_request *rq)
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
static inline void says_it(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    while (take(app, fd, &rq))
        if (!fake_say(app, fd, atomic_load(&app->script)))
            return;
}

/* Takes a request and never answers. */
static inline void is_silent(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    take(app, fd, &rq);
    fake_drain(app, fd);
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

static inline void assert_param(const char *name, const char *value)
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

static inline void note_verdicts(struct question *q, const struct ferry_mail_verdict *v, unsigned n)
{
    q->n = n;
    must(n <= RCPTS_MAX);
    memcpy(q->verdicts, v, n * sizeof *v);
    q->times++;
    q->over = true;
}

static inline void on_verdict(struct ferry_mail_ask *ask, const struct ferry_mail_verdict *v,
                              unsigned n, struct ferry_slice why)
{
    struct question *q = ferry_container(ask, struct question, ask);

    must(!ask->asking);
    note_verdicts(q, v, n);
    must(why.len < sizeof q->why);
    *ferry__put(q->why, why) = 0;
}

static inline void on_script_errors(struct ferry_mail_ask *ask, struct ferry_slice bytes)
{
    struct question *q = ferry_container(ask, struct question, ask);

    must(q->errors_len + bytes.len <= sizeof q->errors);
    memcpy(q->errors + q->errors_len, bytes.p, bytes.len);
    q->errors_len += bytes.len;
}

static inline void on_late(void *arg, const struct ferry_mail_verdict *v, unsigned n)
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

static inline void stand_open(struct stand *s, void **state, fake_handler *handler,
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

static inline void stand_close(struct stand *s)
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

static inline void begin_validate(struct stand *s, struct question *q)
{
    *q = (struct question){.ask.fns = &ask_fns};
    assert_int_equal(ferry_mail_ask_validate(&q->ask, s->site.loop, &s->t.facts, &s->rcpt, NULL),
                     0);
    assert_false(q->over);
}

static inline void begin_save(struct stand *s, struct question *q,
                              const struct ferry_smtp_rcpt *one)
{
    *q = (struct question){.ask.fns = &ask_fns};
    assert_int_equal(ferry_mail_ask_save(&q->ask, s->site.loop, &s->t.facts, &s->t.message, one),
                     0);
    assert_false(q->over);
}

static inline enum ferry_mail_outcome validate(struct stand *s, struct question *q)
{
    begin_validate(s, q);
    wait_for(s, q);
    assert_int_equal(q->n, 1);
    return q->verdicts[0].outcome;
}

static inline enum ferry_mail_outcome save(struct stand *s, struct question *q)
{
    begin_save(s, q, NULL);
    wait_for(s, q);
    assert_int_equal(q->n, s->t.envelope.nrcpts);
    return q->verdicts[0].outcome;
}

static inline void assert_outcome(const struct question *q, enum ferry_mail_outcome got,
                                  enum ferry_mail_outcome want, const char *what)
{
    if (got != want)
        fail_msg("%s: %s, not %s (%s)", what, ferry_mail_outcome_word(got),
                 ferry_mail_outcome_word(want), q->why);
}

static inline void fill(char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)(i * 7 + i / 253);
}

/* The value of a field of the form that came. */
static inline size_t field(const char *name, char *out, size_t cap)
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

#endif
