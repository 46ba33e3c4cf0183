/* SPDX-License-Identifier: MIT */
/*
 * A question to a script, from the facts to the verdict.
 *
 * A save first goes over its message, in steps so that others get their turn, then calls the
 * script; from then on it needs nothing of its owner's but the message, and of that only the bytes.
 * So an owner may go at any time: before the call nothing has happened, and after it the question
 * goes on alone. Whatever came is a verdict, and every verdict is told from the loop.
 *
 * Of a thread's questions one list is kept, which is all that is global here.
 */
#include "mail/ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/list.h"
#include "base/text.h"
#include "io/loop.h"
#include "mail/cgi_params.h"
#include "mail/forms.h"

#define STEP_MAX 524288     /* of a message, looked at in one turn */
#define PIECE_MAX 65536     /* of a form, written at once */
#define HEAD_MAX 16384      /* of an answer */
#define FLOOD_MAX (1 << 20) /* of an answer that is too long already: then it is cut off */
#define ERRORS_MAX 8192
#define SHOWN_MAX 200 /* bytes of an answer, in the log */
#define WHY_MAX 1200

enum state {
    PREPARING, /* nobody was asked yet */
    CALLING,   /* the script may have been called */
    FAILED,    /* it is known what is told, from the loop */
};

/* A message that its owner has left behind, or room for one. */
struct held {
    unsigned refs;
    bool taken;
    struct ferry_mail_message message;
};

struct ferry__mail_asking {
    struct ferry_list link;     /* among the thread's */
    struct ferry_mail_ask *ask; /* NULL: its owner has gone */
    void (*late)(void *, const struct ferry_mail_verdict *, unsigned);
    void *late_arg;

    enum ferry_mail_question question;
    enum state state;
    const struct ferry_mail_script *script;
    struct ferry_loop *loop;
    struct ferry_task task;
    struct ferry_exchange *x;

    /* What is asked; of its owner's, and valid while PREPARING. */
    struct ferry__mail_about about;
    bool seed, strict;

    /* What is sent. */
    struct held *held;
    struct ferry__form form;
    struct ferry__grow small; /* the query, or a form without a message */

    /* What comes back. */
    int status;
    int64_t content_length;
    struct ferry__grow body;
    uint64_t body_len; /* of all, also of what was not kept */
    size_t errors_len;
    char why[WHY_MAX];

    unsigned nverdicts;
    struct ferry_mail_verdict verdicts[];
};

static struct ferry_list *askings(void)
{
    static _Thread_local struct ferry_list list;

    if (!list.next)
        ferry_list_init(&list);
    return &list;
}

unsigned ferry_mail_asking(void)
{
    unsigned n = 0;

    ferry_list_each (at, next, askings())
        n++;
    return n;
}

/* -- its end -- */

static void held_unref(struct held *h)
{
    if (!h || --h->refs)
        return;
    if (h->taken)
        ferry_mail_message_fini(&h->message);
    free(h);
}

static void destroy(struct ferry__mail_asking *a)
{
    ferry_list_remove(&a->link);
    ferry_task_cancel(&a->task);
    ferry_exchange_free(a->x);
    ferry__form_fini(&a->form);
    ferry__grow_free(&a->small);
    ferry__grow_free(&a->body);
    held_unref(a->held);
    free(a);
}

static void finish(struct ferry__mail_asking *a)
{
    struct ferry_mail_ask *ask = a->ask;

    ferry_list_remove(&a->link);
    if (ask) {
        ask->asking = NULL; /* the owner may ask the next at once, or go */
        ask->fns->done(ask, a->verdicts, a->nverdicts, ferry_slice_z(a->why));
    } else if (a->late) {
        a->late(a->late_arg, a->verdicts, a->nverdicts);
    }
    destroy(a);
}

static void set_all(struct ferry__mail_asking *a, const struct ferry_mail_verdict *v)
{
    for (unsigned i = 0; i < a->nverdicts; i++)
        a->verdicts[i] = *v;
}

/* Gives it up for a reason of ours. */
static void fail(struct ferry__mail_asking *a, enum ferry_mail_outcome outcome, int err,
                 const char *what)
{
    set_all(a, &(struct ferry_mail_verdict){.outcome = outcome});
    snprintf(a->why, sizeof a->why, "%s: %s", what, ferry_strerror(err));
    ferry_exchange_free(a->x);
    a->x = NULL;
    a->state = FAILED;
    ferry_task_defer(a->loop, &a->task);
}

/* -- what comes back -- */

static void on_head(struct ferry_exchange *x)
{
    struct ferry__mail_asking *a = ferry_exchange_user(x);
    const struct ferry_answer_head *head = ferry_exchange_head(x);

    if (head->status < 200)
        return;
    a->status = head->status;
    a->content_length = head->content_length;
}

static void on_out(struct ferry_exchange *x, struct ferry_slice bytes)
{
    struct ferry__mail_asking *a = ferry_exchange_user(x);
    size_t room = FERRY_MAIL_ANSWER_MAX - a->body.len;

    a->body_len += bytes.len;
    if (ferry__grow_put(&a->body, ferry_slice_first(bytes, room)) < 0)
        fail(a, FERRY_MAIL_INTERNAL, -ENOMEM, "the answer could not be kept");
    else if (a->body_len > FLOOD_MAX)
        ferry_exchange_cancel(x);
}

static void on_errors(struct ferry_exchange *x, struct ferry_slice bytes)
{
    struct ferry__mail_asking *a = ferry_exchange_user(x);

    bytes = ferry_slice_first(bytes, ERRORS_MAX - a->errors_len);
    a->errors_len += bytes.len;
    if (bytes.len && a->ask && a->ask->fns->errors)
        a->ask->fns->errors(a->ask, bytes);
}

/* The text says more than the result where it has one, but for an answer that is none; and of
 * what took too long the error says nothing that is true ("Connection timed out"). */
static void explain_failure(struct ferry__mail_asking *a, const struct ferry_outcome *o)
{
    bool is_bad = o->result == FERRY_RESULT_BAD;
    bool is_late = o->result == FERRY_RESULT_TIMEOUT || o->result == FERRY_RESULT_QUEUE_TIMEOUT;
    const char *err = o->err && !is_late ? ferry_strerror(o->err) : "";

    snprintf(a->why, sizeof a->why, "%s%s%s%s%s",
             is_bad || !*o->text ? ferry_result_text(o->result) : "",
             is_bad && *o->text ? ": " : "", o->text, *err ? ": " : "", err);
}

static void explain(struct ferry__mail_asking *a, const struct ferry_outcome *o)
{
    struct ferry_slice shown = ferry_slice_first(ferry__grow_slice(&a->body), SHOWN_MAX);
    char *at = a->why, *end = a->why + sizeof a->why;

    if (o->result != FERRY_RESULT_DONE) {
        explain_failure(a, o);
        return;
    }
    if (o->app_status)
        at += snprintf(at, (size_t)(end - at), "application status %u, ", o->app_status);
    at += snprintf(at, (size_t)(end - at), "status %d, %llu bytes: ", a->status,
                   (unsigned long long)a->body_len);
    *ferry__put_escaped(at, shown) = 0;
}

/* A whole answer. */
static void read_answer(struct ferry__mail_asking *a)
{
    struct ferry_slice proof = FERRY_SLICE(""), body = ferry__grow_slice(&a->body);
    const struct ferry_mail_verdict too_long = {.outcome = FERRY_MAIL_TOO_LONG},
                                    cut = {.outcome = FERRY_MAIL_CUT};

    if (a->body_len > FERRY_MAIL_ANSWER_MAX) {
        set_all(a, &too_long);
        return;
    }
    if (a->content_length >= 0 && a->body_len < (uint64_t)a->content_length) {
        set_all(a, &cut);
        return;
    }
    if (a->question == FERRY_MAIL_SAVE && a->strict)
        proof = ferry__form_proof(&a->form);
    ferry_mail_verdict_read(a->question, a->status, body, proof, a->verdicts, a->nverdicts);
}

static void on_done(struct ferry_exchange *x, const struct ferry_outcome *o)
{
    struct ferry__mail_asking *a = ferry_exchange_user(x);
    struct ferry_mail_verdict v;

    explain(a, o);
    if (o->result == FERRY_RESULT_DONE && o->app_status == 0) {
        read_answer(a);
    } else {
        ferry_mail_verdict_fail(o, &v);
        if (a->body_len > FERRY_MAIL_ANSWER_MAX)
            v.outcome = FERRY_MAIL_TOO_LONG;
        set_all(a, &v);
    }
    finish(a);
}

/* -- what is sent -- */

/* 1: more may be written; 0: not now, or never again. */
static int write_piece(struct ferry__mail_asking *a, struct ferry_block *b)
{
    ssize_t n = ferry__form_read(&a->form, b->data, b->cap);
    int r;

    if (n < 0) {
        fail(a, n == -ENOMEM ? FERRY_MAIL_INTERNAL : FERRY_MAIL_STORAGE, (int)n,
             "the message could not be read back");
        return 0;
    }
    r = n > 0 ? ferry_exchange_write(a->x, b->data, (size_t)n) : ferry_exchange_end(a->x);
    if (r >= 0)
        return n > 0 && r > 0;
    if (r != FERRY_ECLOSED) /* it is answered already, and nobody reads: the answer counts */
        fail(a, FERRY_MAIL_INTERNAL, r, "the message could not be sent");
    return 0;
}

static void write_form(struct ferry__mail_asking *a)
{
    struct ferry_block *b = ferry_block_get(ferry_loop_blocks(a->loop), PIECE_MAX);

    if (!b) {
        fail(a, FERRY_MAIL_INTERNAL, -ENOMEM, "the message could not be sent");
        return;
    }
    while (write_piece(a, b) > 0)
        ;
    ferry_block_unref(b);
}

static void on_writable(struct ferry_exchange *x)
{
    struct ferry__mail_asking *a = ferry_exchange_user(x);

    if (a->question == FERRY_MAIL_SAVE)
        write_form(a);
}

static unsigned time_of(const struct ferry__mail_asking *a)
{
    static const unsigned defaults[] = {
        [FERRY_MAIL_VALIDATE] = 5000, [FERRY_MAIL_SAVE] = 30000, [FERRY_MAIL_AUTH] = 10000};
    unsigned ms = a->script->timeout_ms ? a->script->timeout_ms : defaults[a->question];

    return a->question == FERRY_MAIL_SAVE && ms > 120000 ? 120000 : ms;
}

static int new_exchange(struct ferry__mail_asking *a, const struct ferry__mail_request *rq)
{
    static const struct ferry_exchange_fns fns = {.head = on_head,
                                                  .out = on_out,
                                                  .errors = on_errors,
                                                  .writable = on_writable,
                                                  .done = on_done};
    const struct ferry_exchange_opts opts = {
        .size = sizeof opts,
        .fns = &fns,
        .user = a,
        /* A message twice is worse than one that is sent again by who has it. */
        .idempotent = a->question != FERRY_MAIL_SAVE,
        .once = a->question == FERRY_MAIL_SAVE,
        .total_ms = time_of(a),
        .queue_ms = a->about.facts->service->queue_ms ? a->about.facts->service->queue_ms : 10000,
        .head_max = HEAD_MAX,
    };
    int err = ferry_exchange_new(a->script->client, a->loop, &opts, &a->x);

    return err < 0 ? err : ferry__mail_params(a->x, rq);
}

/* A question without a message. */
static int begin_small(struct ferry__mail_asking *a)
{
    bool is_post = a->question == FERRY_MAIL_AUTH;
    struct ferry__mail_request rq = {.about = &a->about, .script = a->script->path};
    int err = ferry__mail_query(&a->about, a->seed && !is_post, &a->small);

    if (err < 0)
        return err;
    if (is_post) {
        rq.type = "application/x-www-form-urlencoded";
        rq.length = a->small.len;
    } else {
        rq.query = ferry__grow_slice(&a->small);
    }
    err = new_exchange(a, &rq);
    if (err == 0 && is_post)
        err = ferry_exchange_write(a->x, a->small.p, a->small.len);
    return err < 0 ? err : ferry_exchange_end(a->x);
}

static int begin_save(struct ferry__mail_asking *a)
{
    struct ferry__form *f = &a->form;
    struct ferry__mail_request rq = {.about = &a->about, .script = a->script->path};
    int err;

    a->about.size = f->size;
    a->about.sha256 = f->sha256;
    a->about.packed = f->is_packed;
    err = ferry__form_write(f, &a->about);
    if (err < 0)
        return err;
    rq.type = f->type;
    rq.length = f->length;
    rq.has_form = f->format != FERRY_MAIL_FORMAT_RFC822;
    return new_exchange(a, &rq);
}

static void begin(struct ferry__mail_asking *a)
{
    int err = a->question == FERRY_MAIL_SAVE ? begin_save(a) : begin_small(a);

    if (err < 0) {
        fail(a, FERRY_MAIL_INTERNAL, err, "the request could not be made");
        return;
    }
    a->state = CALLING;
    ferry_exchange_start(a->x);
    if (a->question == FERRY_MAIL_SAVE)
        write_form(a);
}

/* The next step of a save that is not begun. */
static void prepare(struct ferry__mail_asking *a)
{
    int r = ferry__form_measure(&a->form, STEP_MAX);

    if (r > 0)
        begin(a);
    else if (r == 0)
        ferry_task_defer(a->loop, &a->task);
    else
        fail(a, r == -ENOMEM ? FERRY_MAIL_INTERNAL : FERRY_MAIL_STORAGE, r,
             "the message could not be read back");
}

static void on_task(struct ferry_task *task)
{
    struct ferry__mail_asking *a = ferry_container(task, struct ferry__mail_asking, task);

    if (a->state == FAILED)
        finish(a);
    else
        prepare(a);
}

/* -- asking -- */

static struct ferry__mail_asking *new_asking(struct ferry_mail_ask *ask, struct ferry_loop *loop,
                                             enum ferry_mail_question question,
                                             const struct ferry_mail_facts *facts,
                                             unsigned nverdicts)
{
    const struct ferry_mail_service *s = facts->service;
    struct ferry__mail_asking *a = calloc(1, sizeof *a + nverdicts * sizeof *a->verdicts);

    if (!a)
        return NULL;
    a->ask = ask;
    a->loop = loop;
    a->question = question;
    a->script = question == FERRY_MAIL_VALIDATE ? &s->validate
                : question == FERRY_MAIL_SAVE   ? &s->save
                                                : &s->auth;
    a->about = (struct ferry__mail_about){.question = question, .facts = facts};
    a->seed = s->seed_fields_only;
    a->strict = s->strict_token;
    a->content_length = -1;
    a->nverdicts = nverdicts;
    ferry_task_init(&a->task, on_task);
    ferry_list_push(askings(), &a->link);
    ask->asking = a;
    return a;
}

/* Is there anybody to ask? Else that is told. */
static bool has_script(struct ferry__mail_asking *a)
{
    if (a->script->path && a->script->client)
        return true;
    fail(a, FERRY_MAIL_CONFIGURATION, -ENOENT, "no script is set");
    return false;
}

int ferry_mail_ask_validate(struct ferry_mail_ask *ask, struct ferry_loop *loop,
                            const struct ferry_mail_facts *facts,
                            const struct ferry_smtp_path *rcpt,
                            const struct ferry_smtp_rcpt_params *params)
{
    struct ferry__mail_asking *a = new_asking(ask, loop, FERRY_MAIL_VALIDATE, facts, 1);

    if (!a)
        return -ENOMEM;
    a->about.rcpt = rcpt;
    a->about.rcpt_params = params;
    if (has_script(a))
        begin(a);
    return 0;
}

int ferry_mail_ask_auth(struct ferry_mail_ask *ask, struct ferry_loop *loop,
                        const struct ferry_mail_facts *facts, const struct ferry_smtp_sasl *sasl)
{
    struct ferry__mail_asking *a = new_asking(ask, loop, FERRY_MAIL_AUTH, facts, 1);

    if (!a)
        return -ENOMEM;
    a->about.sasl = sasl;
    if (has_script(a))
        begin(a);
    return 0;
}

int ferry_mail_ask_save(struct ferry_mail_ask *ask, struct ferry_loop *loop,
                        const struct ferry_mail_facts *facts, struct ferry_mail_message *message,
                        const struct ferry_smtp_rcpt *one)
{
    unsigned n = one ? 1 : facts->envelope->nrcpts;
    struct held *held = calloc(1, sizeof *held);
    struct ferry__mail_asking *a;
    int err;

    a = held ? new_asking(ask, loop, FERRY_MAIL_SAVE, facts, n ? n : 1) : NULL;
    if (!a) {
        free(held);
        return -ENOMEM;
    }
    held->refs = 1;
    a->held = held;
    a->about.message = message;
    a->about.one = one;
    if (!has_script(a))
        return 0;
    err = ferry__form_init(&a->form, facts, message, one, ferry_loop_blocks(loop));
    if (err < 0)
        fail(a, FERRY_MAIL_INTERNAL, err, "the message could not be prepared");
    else
        prepare(a);
    return 0;
}

/* -- the owner goes -- */

static void hold(struct ferry__mail_asking *a, struct held *h)
{
    h->refs++;
    held_unref(a->held);
    a->held = h;
    a->form.message = &h->message;
    a->about.message = &h->message;
}

/* The message moves to the first that is left alone with it, and all others find it there. */
static void take_over(struct ferry__mail_asking *a, struct ferry_mail_message *message)
{
    struct held *h = a->held;
    struct ferry_spool *s = &message->spool;
    struct ferry_blocks *blocks = s->blocks;
    size_t mem_max = s->mem_max;
    uint64_t max = s->max;

    if (h->taken || a->form.message != message)
        return;
    h->message = *message;
    h->taken = true;
    memset(message, 0, sizeof *message);
    ferry_spool_init(s, blocks, mem_max, max);
    ferry_list_each (at, next, askings()) {
        struct ferry__mail_asking *other = ferry_container(at, struct ferry__mail_asking, link);

        if (other->question == FERRY_MAIL_SAVE && other->form.message == message)
            hold(other, h);
    }
}

bool ferry_mail_ask_forget(struct ferry_mail_ask *ask, struct ferry_mail_message *message,
                           void (*late)(void *arg, const struct ferry_mail_verdict *, unsigned n),
                           void *arg)
{
    struct ferry__mail_asking *a = ask->asking;

    ask->asking = NULL;
    if (!a)
        return false;
    if (a->question != FERRY_MAIL_SAVE || a->state != CALLING) {
        destroy(a);
        return false;
    }
    a->ask = NULL;
    a->late = late;
    a->late_arg = arg;
    take_over(a, message);
    return true;
}

void ferry_mail_asking_cut(void)
{
    const struct ferry_mail_verdict v = {.outcome = FERRY_MAIL_INTERNAL};

    ferry_list_each (at, next, askings()) {
        struct ferry__mail_asking *a = ferry_container(at, struct ferry__mail_asking, link);

        if (a->ask)
            continue;
        set_all(a, &v);
        finish(a);
    }
}
