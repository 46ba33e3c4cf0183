/* SPDX-License-Identifier: MIT */
/*
 * The runner of conformance cases. Each case gets a fresh struct ferry_check; it is left by
 * returning or by a jump, and then its wires and memory go, so that nothing of one case reaches the
 * next but the target itself.
 */
#include "check/check.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check/report.h"
#include "check/wire.h"

struct chunk {
    struct chunk *next;
    max_align_t memory[];
};

const char *ferry_strength_word(enum ferry_strength s)
{
    static const char *const words[] = {
#define X(name, word, required) word,
        FERRY_STRENGTH_MAP(X)
#undef X
    };

    return words[s];
}

bool ferry_strength_is_required(enum ferry_strength s)
{
    static const bool is[] = {
#define X(name, word, required) required,
        FERRY_STRENGTH_MAP(X)
#undef X
    };

    return is[s];
}

uint64_t ferry_check_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static _Noreturn void leave(struct ferry_check *c, enum ferry_outcome outcome, const char *fmt,
                            va_list ap)
{
    vsnprintf(c->reason, sizeof c->reason, fmt, ap);
    /* It may quote the peer. */
    for (char *p = c->reason; *p; p++)
        if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
            *p = '?';
    c->outcome = outcome;
    longjmp(c->leave, 1);
}

void ferry_check_fail(struct ferry_check *c, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    leave(c, FERRY_FAILED, fmt, ap);
}

void ferry_check_skip(struct ferry_check *c, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    leave(c, FERRY_SKIPPED, fmt, ap);
}

void *ferry_check_alloc(struct ferry_check *c, size_t n)
{
    struct chunk *chunk = calloc(1, sizeof *chunk + n);

    if (!chunk)
        ferry_check_skip(c, "no memory is left");
    chunk->next = c->memory;
    c->memory = chunk;
    return chunk->memory;
}

bool ferry_check_is_wanted(const struct ferry_check_opts *opts, const char *id)
{
    if (!opts->only || !opts->only[0])
        return true;
    for (const char *const *o = opts->only; *o; o++)
        if (strncmp(id, *o, strlen(*o)) == 0) {
            /* A-FRM-1 means its parts, A-FRM-1a, and not A-FRM-10. */
            char next = id[strlen(*o)], last = **o ? (*o)[strlen(*o) - 1] : 0;

            if (!(last >= '0' && last <= '9' && next >= '0' && next <= '9'))
                return true;
        }
    return false;
}

/* Calls f, which may leave by a jump. */
static void guarded(struct ferry_check *c, void (*f)(struct ferry_check *))
{
    if (f && setjmp(c->leave) == 0)
        f(c);
}

static void run_after(struct ferry_check *c)
{
    enum ferry_outcome outcome = c->outcome;
    char reason[FERRY_CHECK_REASON_MAX];

    memcpy(reason, c->reason, sizeof reason);
    guarded(c, c->suite->after);
    if (outcome != FERRY_PASSED) {
        c->outcome = outcome;
        memcpy(c->reason, reason, sizeof reason);
    }
}

void ferry_check_clear(struct ferry_check *c)
{
    struct chunk *chunk = c->memory, *next;

    ferry_wire_close_all(c);
    for (; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    c->memory = NULL;
    ferry_talk_fini(&c->talk);
}

static void run_case(struct ferry_check *c)
{
    const char *lacks = c->suite->lacks ? c->suite->lacks(c, c->at->needs) : NULL;

    if (lacks) {
        snprintf(c->reason, sizeof c->reason, "%s", lacks);
        c->outcome = FERRY_SKIPPED;
        return;
    }
    guarded(c, c->suite->before);
    if (c->outcome == FERRY_PASSED)
        guarded(c, c->at->run);
    run_after(c);
}

unsigned ferry_check_run(const struct ferry_check_suite *suite, const struct ferry_check_opts *opts,
                         void *user, struct ferry_report *report)
{
    unsigned failed = 0;

    signal(SIGPIPE, SIG_IGN);
    ferry_report_suite(report, suite);
    for (const struct ferry_check_group *const *g = suite->groups; *g; g++)
        for (size_t i = 0; i < (*g)->ncases; i++) {
            struct ferry_check c = {
                .suite = suite, .opts = opts, .at = &(*g)->cases[i], .user = user};
            struct ferry_check_result r = {
                .group = *g, .at = c.at, .reason = c.reason, .talk = &c.talk};
            uint64_t start = ferry_check_now();

            if (!ferry_check_is_wanted(opts, c.at->id))
                continue;
            run_case(&c);
            r.outcome = c.outcome;
            r.ms = (unsigned)(ferry_check_now() - start);
            ferry_report_result(report, &r);
            failed += c.outcome == FERRY_FAILED && ferry_strength_is_required(c.at->strength);
            ferry_check_clear(&c);
        }
    return failed;
}

void ferry_check_list(const struct ferry_check_suite *suite, const struct ferry_check_opts *opts)
{
    for (const struct ferry_check_group *const *g = suite->groups; *g; g++)
        for (size_t i = 0; i < (*g)->ncases; i++) {
            const struct ferry_check_case *k = &(*g)->cases[i];

            if (ferry_check_is_wanted(opts, k->id))
                printf("%-10s %-6s %-4s %s\n", k->id, ferry_strength_word(k->strength), k->section,
                       k->title);
        }
}
