/* SPDX-License-Identifier: MIT */
/* A-ERR: errors and the end of the program (specification section 7). Each case that stops a
 * program stops a copy of its own. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check/app_check.h"

#define EXIT_MS 3000
#define LOOPS 20

static struct ferry__instance *start(struct ferry_check *c)
{
    struct ferry__start how = {.family = FERRY__UNIX};

    return ferry__instance_start(c, &how);
}

/* A connection of its own, and a first request answered on it. */
static struct ferry__conv *serve_one(struct ferry_check *c, struct ferry__instance *in,
                                     uint8_t flags)
{
    struct ferry__conv *v = ferry__conv_open_to(c, &in->addr);

    ferry__conv_get(v, 1, flags, NULL);
    ferry__conv_send(v);
    (void)ferry_wire_stirs(v->w, 10000); /* it may still be starting */
    ferry__conv_await_good(v, 1);
    return v;
}

static void terminate(struct ferry_check *c, struct ferry__instance *in)
{
    ferry_talk_note(&c->talk, NULL, 0, "(the program gets SIGTERM)");
    kill(in->pid, SIGTERM);
}

static void must_end(struct ferry_check *c, struct ferry__instance *in)
{
    if (!ferry__instance_wait(in, EXIT_MS))
        ferry_check_fail(
            c, "expected the program to exit on SIGTERM, but it still runs after %d ms", EXIT_MS);
}

static void ends_on_term(struct ferry_check *c)
{
    struct ferry__instance *in = start(c);

    ferry_wire_close(serve_one(c, in, 0)->w);
    terminate(c, in);
    must_end(c, in);
}

/* The argument: must it be exit status 0? Dying of the signal is no crash either. */
static void ends_with_zero(struct ferry_check *c)
{
    struct ferry__instance *in = start(c);
    char end[300];

    ferry_wire_close(serve_one(c, in, 0)->w);
    terminate(c, in);
    must_end(c, in);
    if (!c->at->arg && WIFSIGNALED(in->status) && WTERMSIG(in->status) == SIGTERM)
        return;
    if (!WIFEXITED(in->status) || WEXITSTATUS(in->status) != 0)
        ferry_check_fail(c, "expected exit status 0 on SIGTERM, but it ended with %s",
                         ferry__instance_end(in, end, sizeof end));
}

static void finishes(struct ferry_check *c)
{
    struct ferry__instance *in = start(c);
    struct ferry__conv *v = serve_one(c, in, 0);

    ferry_wire_close(v->w);
    v = ferry__conv_open_to(c, &in->addr);
    ferry__conv_get(v, 1, 0, "sleep&ms=500");
    ferry__conv_send(v);
    usleep(100000);
    terminate(c, in);
    ferry__conv_await_good(v, 1);
    must_end(c, in);
}

static void closes_idle(struct ferry_check *c)
{
    struct ferry__instance *in = start(c);
    struct ferry__conv *v = serve_one(c, in, FERRY_KEEP_CONN);

    terminate(c, in);
    ferry__conv_await_close(v, "on SIGTERM");
    must_end(c, in);
}

static void serves_nobody_new(struct ferry_check *c)
{
    struct ferry__instance *in = start(c);
    struct ferry__conv *busy, *v = serve_one(c, in, 0);

    ferry_wire_close(v->w);
    busy = ferry__conv_open_to(c, &in->addr);
    ferry__conv_get(busy, 1, 0, "sleep&ms=500");
    ferry__conv_send(busy);
    usleep(100000);
    terminate(c, in);
    usleep(50000);
    v = ferry__conv_open_to(c, &in->addr);
    ferry__conv_get(v, 1, 0, NULL);
    ferry__conv_send(v);
    (void)ferry__conv_read(v, 1000);
    if (ferry__conv_reply(v, 1)->out_records)
        ferry_check_fail(c, "expected no new request to be served behind SIGTERM, but one was");
    must_end(c, in);
}

static void term_while_connected(struct ferry_check *c)
{
    /* A connection on which no request has begun must not keep it from ending. */
    struct ferry__instance *in = start(c);

    ferry_wire_close(serve_one(c, in, 0)->w);
    ferry__conv_open_to(c, &in->addr);
    usleep(50000);
    terminate(c, in);
    must_end(c, in);
}

static void never_lost(struct ferry_check *c)
{
    struct ferry__instance *in;

    /* At other moments: just behind the answer, while it goes back to accept. */
    for (unsigned i = 0; i < LOOPS; i++) {
        in = start(c);
        ferry_wire_close(serve_one(c, in, 0)->w);
        usleep(i * 37 % 200);
        terminate(c, in);
        must_end(c, in);
        ferry__instance_stop(in);
        ferry__target(c)->nown--;
    }
}

static void lives(struct ferry_check *c)
{
    struct ferry__target *t = ferry__target(c);
    struct ferry__conv *v = ferry__conv_open(c);
    pid_t pid = t->main.pid;
    static const char junk[] = "GET / HTTP/1.0\r\n\r\n";

    ferry_wire_put_bytes(v->w, junk, sizeof junk - 1);
    ferry__conv_send(v);
    ferry_wire_shutdown(v->w);
    (void)ferry__conv_read(v, 500);
    ferry_wire_close(v->w);
    v = ferry__conv_open(c);
    ferry__conv_get(v, 1, 0, NULL);
    ferry__conv_send(v);
    ferry__conv_await_good(v, 1);
    if (t->main.pid != pid)
        ferry_check_fail(c, "expected the program to live, but it was started again");
}

static void tells_errors(struct ferry_check *c)
{
    struct ferry__instance *in = start(c);
    struct ferry__conv *v;
    char said[256];
    size_t before;

    ferry_wire_close(serve_one(c, in, 0)->w);
    before = ferry__instance_said(in, said, sizeof said);
    v = ferry__conv_open_to(c, &in->addr);
    ferry_wire_put_bytes(v->w, "\7\7\7\7\7\7\7\7", 8);
    ferry__conv_send(v);
    (void)ferry__conv_read(v, 500);
    ferry_wire_close(v->w);
    usleep(100000);
    if (ferry__instance_said(in, said, sizeof said) <= before)
        ferry_check_skip(c,
                         "it said nothing on its standard error; syslog cannot be seen from here");
}

static void tells_of_handlers(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry__reply *r;

    ferry__conv_get(v, 1, 0, c->at->arg ? "status&n=1" : "stderr&n=100");
    ferry__conv_send(v);
    r = ferry__conv_await(v, 1);
    if (c->at->arg && r->app_status != 1)
        ferry_check_fail(c, "expected app status 1, but got %u", r->app_status);
    if (!c->at->arg && r->err.len < 100)
        ferry_check_fail(c, "expected 100 bytes on STDERR, but %zu came", r->err.len);
}

#define PROGRAM FERRY__NEEDS_PROGRAM
#define MUST FERRY_MUST
#define SILENT FERRY_SILENT

static const struct ferry_check_case cases[] = {
    {"A-ERR-1a", "7", MUST, "an end that was asked for does not look like a crash", PROGRAM,
     ends_with_zero, 0},
    {"A-ERR-1b", "", SILENT, "its exit status is then 0", PROGRAM, ends_with_zero, 1},
    {"A-ERR-2a", "7", MUST, "it ends on SIGTERM", PROGRAM, ends_on_term, 0},
    {"A-ERR-2b", "", SILENT, "it ends on SIGTERM although somebody is connected", PROGRAM,
     term_while_connected, 0},
    {"A-ERR-2c", "", SILENT, "a request that runs is finished first", PROGRAM | FERRY__WORD_SLEEP,
     finishes, 0},
    {"A-ERR-2d", "", SILENT, "idle kept connections are closed on SIGTERM",
     PROGRAM | FERRY__NEEDS_KEEP, closes_idle, 0},
    {"A-ERR-2e", "", SILENT, "no new request is served behind SIGTERM",
     PROGRAM | FERRY__WORD_SLEEP | FERRY__NEEDS_CONNS, serves_nobody_new, 0},
    {"A-ERR-2f", "7", MUST, "no SIGTERM is lost, whenever it comes", PROGRAM, never_lost, 0},
    {"A-ERR-3a", "7", MUST, "bytes that are no FastCGI do not end it", 0, lives, 0},
    {"A-ERR-3b", "7", MUST, "protocol errors are told", PROGRAM, tells_errors, 0},
    {"A-ERR-4a", "7", MUST, "errors of handlers go out on STDERR", FERRY__WORD_STDERR,
     tells_of_handlers, 0},
    {"A-ERR-4b", "7", MUST, "errors of handlers go out as app status", FERRY__WORD_STATUS,
     tells_of_handlers, 1},
};

FERRY__GROUP(ferry__app_exiting, "A-ERR", "errors and exit", cases);
