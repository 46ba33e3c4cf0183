/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CHECK_CHECK_H
#define FERRY_CHECK_CHECK_H

#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check/talk.h"
#include "ferry/params.h"

/*
 * Conformance cases: what one is, and how a suite of them is run. There are two suites, one for
 * FastCGI applications and one for web servers.
 *
 * A case is a function that talks with the target over wires (wire.h) and returns when all is well.
 * ferry_check_fail and ferry_check_skip leave it from any depth (they jump), so its code is a
 * straight line. Everything it made through its struct ferry_check, wires and memory, is released
 * behind it.
 */

struct ferry_check;
struct ferry_report;
struct ferry_wire;

/* X(name, word, is_required) */
#define FERRY_STRENGTH_MAP(X)                                                                      \
    X(MUST, "must", 1)     /* the specification states it */                                       \
    X(INFERRED, "must", 1) /* it follows from what it states */                                    \
    X(SHOULD, "should", 0) /* it recommends it */                                                  \
    X(SILENT, "silent", 0) /* it says nothing; the case is a decision of ferry's */

enum ferry_strength {
#define X(name, word, required) FERRY_##name,
    FERRY_STRENGTH_MAP(X)
#undef X
};

/* "must", "should" or "silent". */
const char *ferry_strength_word(enum ferry_strength);
bool ferry_strength_is_required(enum ferry_strength);

struct ferry_check_case {
    const char *id;      /* "A-FRM-3a": the assertion, and a letter where it has several parts */
    const char *section; /* of the FastCGI 1.0 specification: "3.3"; "" where it is silent */
    enum ferry_strength strength;
    const char *title; /* what must hold, one line without an end */
    unsigned needs;    /* bits whose meaning is the suite's; see `lacks` */
    void (*run)(struct ferry_check *);
    long arg; /* for a function that several cases share */
};

struct ferry_check_group {
    const char *id;    /* "A-FRM", which the ids of its cases begin with */
    const char *title; /* "records and their framing" */
    const struct ferry_check_case *cases;
    size_t ncases;
};

struct ferry_check_suite {
    const char *name;                              /* "application" */
    const char *ours, *theirs;                     /* "Web server", "Application" */
    const struct ferry_check_group *const *groups; /* ends with NULL */
    /* Why a case with these needs cannot be run here, or NULL: the case is skipped. */
    const char *(*lacks)(struct ferry_check *, unsigned needs);
    /* Around each case that runs; both may fail or skip it. `after` runs however the case ended,
     * and a failure in it counts only for a case that had passed. Its wires are still there. */
    void (*before)(struct ferry_check *);
    void (*after)(struct ferry_check *);
};

struct ferry_check_opts {
    const char *address;              /* of the target; NULL when a program is started */
    const char *const *program;       /* its arguments, ending with NULL; NULL */
    const char *const *only;          /* beginnings of ids: the cases to run; ending with NULL */
    unsigned timeout_ms;              /* how long to wait for each thing that is due */
    const char *script;               /* SCRIPT_FILENAME; NULL: none */
    const struct ferry_param *params; /* further params of every request */
    size_t nparams;
    unsigned role; /* FERRY_RESPONDER and so on, for cases of any role; 0: the responder */
    bool verbose;
    const volatile sig_atomic_t *stop; /* becomes true: no further case is run; NULL */
};

#define FERRY_CHECK_TIMEOUT_MS 2000

enum ferry_outcome { FERRY_PASSED, FERRY_FAILED, FERRY_SKIPPED };

struct ferry_check_result {
    const struct ferry_check_group *group;
    const struct ferry_check_case *at;
    enum ferry_outcome outcome;
    const char *reason;            /* why it failed or was skipped; "" */
    const struct ferry_talk *talk; /* what was said */
    unsigned ms;                   /* how long it took */
};

#define FERRY_CHECK_REASON_MAX 512

/* One case that runs. Cases read it and change nothing in it. */
struct ferry_check {
    const struct ferry_check_suite *suite;
    const struct ferry_check_opts *opts;
    const struct ferry_check_case *at; /* the case */
    void *user;                        /* the suite's own: its target */
    struct ferry_talk talk;            /* the conversation so far */

    struct ferry_wire *wires; /* all that the case opened, the last one first */
    unsigned nwires;
    void *memory; /* of ferry_check_alloc */
    enum ferry_outcome outcome;
    char reason[FERRY_CHECK_REASON_MAX];
    jmp_buf leave;
};

/* Leaves the case: it failed, because ("expected ..., but ..."), or cannot be run here. */
_Noreturn void ferry_check_fail(struct ferry_check *, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
_Noreturn void ferry_check_skip(struct ferry_check *, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Zeroed memory that goes with the case; never NULL (without memory the case is left). */
void *ferry_check_alloc(struct ferry_check *, size_t n);

/* Releases what a case has: for what a suite runs beside its cases in a struct of its own. */
void ferry_check_clear(struct ferry_check *);

/* Milliseconds of CLOCK_MONOTONIC. */
uint64_t ferry_check_now(void);

/* Would this case run by opts->only? */
bool ferry_check_is_wanted(const struct ferry_check_opts *, const char *id);

/*
 * Runs all wanted cases of a suite one after the other and gives each result to the report; `user`
 * is the suite's. Returns how many required cases (must) failed.
 */
unsigned ferry_check_run(const struct ferry_check_suite *, const struct ferry_check_opts *,
                         void *user, struct ferry_report *);

/* Writes the ids, strengths and titles of all wanted cases of a suite to stdout. */
void ferry_check_list(const struct ferry_check_suite *, const struct ferry_check_opts *);

#endif
