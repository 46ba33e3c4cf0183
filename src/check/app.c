/* SPDX-License-Identifier: MIT */
/*
 * The suite for applications: finds out what the application can do, decides by that which cases
 * can be run, and sees after each of them that it is still there. A program that ended or hangs is
 * started again; the case that did it to it fails.
 */
#include "check/app.h"

#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include "check/app_check.h"
#include "check/report.h"

#define START_MS 10000 /* for the first answer of a program that was just started */
#define STAYS_OPEN_MS 150

static const char *const value_names[] = {[FERRY__MAX_CONNS] = "FCGI_MAX_CONNS",
                                          [FERRY__MAX_REQS] = "FCGI_MAX_REQS",
                                          [FERRY__MPXS_CONNS] = "FCGI_MPXS_CONNS"};

static const struct {
    const char *word;
    unsigned bit;
} words[] = {
#define X(name, text) {text, FERRY__WORD_##name},
    FERRY__WORD_MAP(X)
#undef X
};

/* -- finding out ------------------------------------------------------------------------------ */

/* Each of these is run as a little case of its own, and may end early by failing. */

static void see_answer(struct ferry_check *c)
{
    struct ferry__target *t = ferry__target(c);
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry__reply *r;

    ferry__conv_get(v, 1, 0, NULL);
    ferry__conv_send(v);
    r = ferry__conv_await(v, 1);
    if (r->protocol_status != FERRY_REQUEST_COMPLETE)
        ferry_check_fail(c, "it refuses requests of the role %s", ferry_role_name(t->role));
    t->status = ferry__reply_status(r);
    if (t->status < 0)
        ferry_check_fail(c, "its answer has no header block");
    t->answers = true;
}

static void see_keeping(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_get(v, 1, FERRY_KEEP_CONN, NULL);
    ferry__conv_send(v);
    ferry__conv_await_good(v, 1);
    if (ferry_wire_stirs(v->w, STAYS_OPEN_MS))
        return;
    ferry__conv_still_serves(v, 1);
    ferry__target(c)->keeps = true;
}

static void see_values(struct ferry_check *c)
{
    struct ferry__target *t = ferry__target(c);
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_query(v, "FCGI_MAX_CONNS FCGI_MAX_REQS FCGI_MPXS_CONNS");
    ferry__conv_send(v);
    ferry__conv_await_values(v);
    t->has_values = true;
    for (int i = 0; i < FERRY__VALUES; i++) {
        struct ferry_slice value = ferry__conv_value(v, value_names[i]);
        uint64_t n;

        if (value.p && ferry_slice_u64(value, INT32_MAX, &n) == 0)
            t->values[i] = (long)n;
    }
}

static void see_multiplexing(struct ferry_check *c)
{
    struct ferry__target *t = ferry__target(c);
    struct ferry__conv *v = ferry__conv_open(c);

    /* What it does counts, not what it says. */
    ferry__conv_begin(v, 1, t->role, FERRY_KEEP_CONN);
    ferry__conv_get(v, 2, FERRY_KEEP_CONN, NULL);
    ferry__conv_send(v);
    ferry__conv_await_good(v, 2);
    t->multiplexes = true;
}

static void see_concurrency(struct ferry_check *c)
{
    struct ferry__target *t = ferry__target(c);
    struct ferry__conv *held = ferry__conv_open(c), *v;

    ferry__conv_begin(held, 1, t->role, 0);
    ferry__conv_send(held);
    v = ferry__conv_open(c);
    ferry__conv_get(v, 1, 0, NULL);
    ferry__conv_send(v);
    ferry__conv_await_good(v, 1);
    t->concurrent = true;
}

static void see_role(struct ferry_check *c, uint16_t role)
{
    struct ferry__target *t = ferry__target(c);
    struct ferry__conv *v = ferry__conv_open(c);
    uint16_t usual = t->role;

    t->role = role;
    ferry__conv_get(v, 1, 0, NULL);
    t->role = usual;
    ferry__conv_send(v);
    if (ferry__conv_await(v, 1)->protocol_status == FERRY_REQUEST_COMPLETE)
        t->plays[role] = true;
}

static void see_authorizer(struct ferry_check *c)
{
    see_role(c, FERRY_AUTHORIZER);
}

static void see_filter(struct ferry_check *c)
{
    see_role(c, FERRY_FILTER);
}

static void see_words(struct ferry_check *c)
{
    struct ferry__target *t = ferry__target(c);
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry_slice body, first, word;

    ferry__conv_get(v, 1, 0, "about");
    ferry__conv_send(v);
    body = ferry__reply_body(ferry__conv_await_good(v, 1));
    first = ferry_slice_trim(ferry_slice_first(body, ferry_slice_find(body, '\n')));
    if (!ferry_slice_eq(first, FERRY_SLICE("ferry-check 1")))
        return;
    t->probe = true;
    for (body = ferry_slice_from(body, ferry_slice_find(body, '\n') + 1); body.len;
         body = ferry_slice_from(body, word.len + 1)) {
        size_t n = 0;

        while (n < body.len && body.p[n] != ' ' && body.p[n] != '\n' && body.p[n] != '\r')
            n++;
        word = ferry_slice_first(body, n);
        for (size_t i = 0; i < sizeof words / sizeof *words; i++)
            if (ferry_slice_eq(word, ferry_slice_z(words[i].word)))
                t->words |= words[i].bit;
    }
}

static const struct {
    void (*see)(struct ferry_check *);
    unsigned ms; /* to wait at most; 0: as for everything */
} looks[] = {{see_answer, START_MS},  {see_values, 0},        {see_keeping, 0},    {see_words, 0},
             {see_multiplexing, 500}, {see_concurrency, 500}, {see_authorizer, 0}, {see_filter, 0}};

static void after(struct ferry_check *);

static void find_out(struct ferry__target *t, struct ferry_check *c, size_t i)
{
    struct ferry_check_opts opts = *t->opts;

    if (looks[i].ms && (i == 0 ? looks[i].ms > opts.timeout_ms : looks[i].ms < opts.timeout_ms))
        opts.timeout_ms = looks[i].ms;
    *c = (struct ferry_check){
        .suite = &ferry_check_app_suite, .opts = &opts, .user = t, .outcome = FERRY_PASSED};
    if (setjmp(c->leave) == 0)
        looks[i].see(c);
    c->opts = t->opts;
    if (i && setjmp(c->leave) == 0)
        after(c);
}

/* -- around the cases ------------------------------------------------------------------------- */

static const char *lacks(struct ferry_check *c, unsigned needs)
{
    const struct ferry__target *t = ferry__target(c);
    unsigned asked = needs & ((1u << FERRY__WORDS) - 1);

    if (c->opts->stop && *c->opts->stop)
        return "interrupted";
    if (t->lost)
        return "the application does not answer any more";
    if (needs & FERRY__NEEDS_PROGRAM && !t->opts->program)
        return "needs a program that it may start: ferry check -- PROGRAM";
    if (needs & FERRY__NEEDS_KEEP && !t->keeps)
        return "the application does not keep connections; see A-CLS-2";
    if (needs & FERRY__NEEDS_VALUES && !t->has_values)
        return "the application does not answer GET_VALUES; see A-MGT-1";
    if (needs & FERRY__NEEDS_MPX && !t->multiplexes)
        return "the application does not multiplex, which is allowed";
    if (needs & FERRY__NEEDS_NO_MPX && t->multiplexes)
        return "the application multiplexes, which is allowed";
    if (needs & FERRY__NEEDS_CONNS && !t->concurrent)
        return "the application serves one connection at a time, which is allowed";
    if (needs & FERRY__NEEDS_AUTHORIZER && !t->plays[FERRY_AUTHORIZER])
        return "the application is no authorizer, which is allowed";
    if (needs & FERRY__NEEDS_FILTER && !t->plays[FERRY_FILTER])
        return "the application is no filter, which is allowed";
    if (needs & (FERRY__NEEDS_EARLY | FERRY__WORD_UNREAD) && t->role == FERRY_FILTER)
        return "a filter says nothing before its STDIN is over";
    if (asked && !t->probe)
        return "needs a program that answers ferry-check; see ferry-check(1)";
    if ((t->words & asked) != asked)
        return "the program does not know the word of ferry-check that this needs";
    return NULL;
}

/* Answers a plain request on a connection of its own? */
static bool is_well(struct ferry_check *c, unsigned ms)
{
    struct ferry__target *t = ferry__target(c);
    struct ferry_check_opts opts = *t->opts;
    struct ferry_check probe = {.suite = c->suite, .opts = &opts, .user = t};
    struct ferry__conv *v;
    volatile bool well = false;

    opts.timeout_ms = ms;
    if (setjmp(probe.leave) == 0) {
        v = ferry__conv_open(&probe);
        ferry__conv_get(v, 1, 0, NULL);
        ferry__conv_send(v);
        ferry__conv_await_good(v, 1);
        well = true;
    }
    ferry_check_clear(&probe);
    return well;
}

static void start_again(struct ferry_check *c)
{
    struct ferry__target *t = ferry__target(c);
    const char *step = "";

    if (ferry__target_start(t, &step) < 0 || !is_well(c, START_MS))
        t->lost = true;
}

static void after(struct ferry_check *c)
{
    struct ferry__target *t = ferry__target(c);
    unsigned patience = t->opts->timeout_ms > 3000 ? t->opts->timeout_ms : 3000;
    char end[300];

    ferry_wire_close_all(c);
    while (t->nown)
        ferry__instance_stop(&t->own[--t->nown]);
    if (t->lost)
        return;
    if (!t->opts->program) {
        if (!is_well(c, patience) && !is_well(c, patience)) {
            t->lost = true;
            ferry_check_fail(c, "behind this case the application does not answer any more");
        }
        return;
    }
    if (!is_well(c, patience) || ferry__instance_is_over(&t->main)) {
        bool over = ferry__instance_is_over(&t->main);

        if (over)
            ferry__instance_end(&t->main, end, sizeof end);
        start_again(c);
        if (over)
            ferry_check_fail(c, "the program ended with %s", end);
        ferry_check_fail(c, "behind this case the program does not answer any more, and had to be "
                            "started again");
    }
}

static const struct ferry_check_group *const groups[] = {
    &ferry__app_starting,   &ferry__app_addrs,  &ferry__app_framing,  &ferry__app_ids,
    &ferry__app_management, &ferry__app_begin,  &ferry__app_pairs,    &ferry__app_input,
    &ferry__app_output,     &ferry__app_ending, &ferry__app_aborting, &ferry__app_closing,
    &ferry__app_authorizer, &ferry__app_filter, &ferry__app_exiting,  NULL};

const struct ferry_check_suite ferry_check_app_suite = {.name = "application",
                                                        .ours = "Web server",
                                                        .theirs = "Application",
                                                        .groups = groups,
                                                        .lacks = lacks,
                                                        .after = after};

/* -- the whole -------------------------------------------------------------------------------- */

static void tell_facts(const struct ferry__target *t, struct ferry_report *report)
{
    char text[512] = "";
    size_t n = 0;

    for (int i = 0; i < FERRY__VALUES; i++) {
        char number[24];

        snprintf(number, sizeof number, "%ld", t->values[i]);
        ferry_report_fact(report, value_names[i], t->values[i] < 0 ? "not said" : number);
    }
    ferry_report_fact(report, "keeps connections", t->keeps ? "yes" : "no");
    ferry_report_fact(report, "multiplexes", t->multiplexes ? "yes" : "no");
    ferry_report_fact(report, "several connections at once", t->concurrent ? "yes" : "no");
    for (unsigned role = 1; role <= FERRY_FILTER; role++)
        if (t->plays[role])
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", n ? " " : "",
                                  ferry_role_name(role));
    ferry_report_fact(report, "roles", text);
    n = 0;
    text[0] = 0;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (t->words & words[i].bit)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", n ? " " : "", words[i].word);
    ferry_report_fact(report, "answers ferry-check", t->probe ? text : "no");
}

static int find_out_all(struct ferry__target *t, char *why, size_t cap)
{
    struct ferry_check c;
    char end[300];

    for (size_t i = 0; i < sizeof looks / sizeof *looks; i++) {
        if (t->opts->stop && *t->opts->stop) {
            snprintf(why, cap, "nothing was checked");
            return FERRY_EABORTED;
        }
        find_out(t, &c, i);
        if (i == 0 && t->answers)
            t->plays[t->role] = true;
        if (i == 0 && !t->answers) {
            bool over = t->opts->program && ferry__instance_wait(&t->main, 100);

            snprintf(why, cap, "%s does not answer a request: %s%s%s",
                     t->opts->program ? t->opts->program[0] : t->opts->address, c.reason,
                     over ? "; it ended with " : "",
                     over ? ferry__instance_end(&t->main, end, sizeof end) : "");
            ferry_check_clear(&c);
            return FERRY_EREMOTE;
        }
        ferry_check_clear(&c);
    }
    return 0;
}

int ferry_check_app(const struct ferry_check_opts *opts, struct ferry_report *report, char *why,
                    size_t cap)
{
    struct ferry__target t;
    int err = ferry__target_open(&t, opts);

    if (err < 0)
        snprintf(why, cap, "%s", t.why);
    else
        err = find_out_all(&t, why, cap);
    if (err == 0) {
        tell_facts(&t, report);
        err = (int)ferry_check_run(&ferry_check_app_suite, opts, &t, report);
    }
    ferry__target_close(&t);
    return err;
}
