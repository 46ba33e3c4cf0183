/* SPDX-License-Identifier: MIT */
/*
 * client_libuv ADDRESS SCRIPT QUERY...: asks an application for each query, all at once, on a loop
 * of libuv's. Read it from the bottom up.
 *
 *     client_libuv unix:/run/php/php8.2-fpm.sock /srv/hello.php a=1 a=2 a=3
 *
 * ferry's loop has a descriptor that is readable whenever there is something for it to do, be it a
 * connection, a timer or an exchange that was just started. Then it does one step.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "ferry/client.h"

static struct ferry_client *client;
static struct ferry_loop *loop;
static unsigned left, failed; /* requests */
static uv_poll_t watch;
static void all_done(void);

/* -- a request
 * ------------------------------------------------------------------------------------------------
 */

struct ask {
    const char *query;
    char answer[1000]; /* its beginning */
    size_t len;
};

static void out(struct ferry_exchange *x, struct ferry_slice bytes)
{
    struct ask *a = ferry_exchange_user(x);
    size_t room = sizeof a->answer - a->len, n = bytes.len < room ? bytes.len : room;

    memcpy(a->answer + a->len, bytes.p, n);
    a->len += n;
}

static void errors(struct ferry_exchange *x, struct ferry_slice bytes)
{
    (void)x;
    fprintf(stderr, "%.*s\n", (int)bytes.len, bytes.p);
}

/* Only to have the head read: without it, `out` would get that too. */
static void head(struct ferry_exchange *x)
{
    (void)x;
}

static void done(struct ferry_exchange *x, const struct ferry_outcome *outcome)
{
    struct ask *a = ferry_exchange_user(x);

    printf("%s: %s: %.*s\n", a->query, ferry_result_text(outcome->result), (int)a->len, a->answer);
    failed += outcome->result != FERRY_RESULT_DONE;
    free(a);
    ferry_exchange_free(x);
    if (--left == 0)
        all_done();
}

static void ask(const char *script, const char *query)
{
    static const struct ferry_exchange_fns fns = {
        .head = head, .out = out, .errors = errors, .done = done};
    struct ask *a = calloc(1, sizeof *a);
    struct ferry_exchange_opts opts = {
        .size = sizeof opts, .fns = &fns, .user = a, .idempotent = true};
    struct ferry_exchange *x;

    if (!a || ferry_exchange_new(client, loop, &opts, &x) < 0)
        exit(1);
    a->query = query;
    ferry_exchange_param_z(x, "SCRIPT_FILENAME", script);
    ferry_exchange_param_z(x, "REQUEST_METHOD", "GET");
    ferry_exchange_param_z(x, "QUERY_STRING", query);
    ferry_exchange_end(x); /* it has no body */
    ferry_exchange_start(x);
    left++;
}

/* -- the loop
 * ------------------------------------------------------------------------------------------------
 */

static void readable(uv_poll_t *w, int status, int events)
{
    (void)w;
    (void)events;
    if (status < 0 || ferry_loop_step(loop) < 0)
        exit(1);
}

/* With nothing left to watch, libuv's loop ends. */
static void closed(void *arg)
{
    (void)arg;
    uv_close((uv_handle_t *)&watch, NULL);
}

static void all_done(void)
{
    ferry_client_close(client, loop, closed, NULL);
}

int main(int argc, char **argv)
{
    struct ferry_client_opts opts = {FERRY_CLIENT_OPTS_SIZE, .total_ms = 30000};

    if (argc < 4) {
        fprintf(stderr, "usage: %s ADDRESS SCRIPT QUERY...\n", argv[0]);
        return 64;
    }
    opts.address = argv[1];
    if (ferry_loop_new(FERRY_IO_AUTO, &loop) < 0 || ferry_client_new(&opts, &client) < 0) {
        fprintf(stderr, "%s: %s: no client can be made\n", argv[0], argv[1]);
        return 1;
    }
    for (int i = 3; i < argc; i++)
        ask(argv[2], argv[i]);
    if (uv_poll_init(uv_default_loop(), &watch, ferry_loop_fd(loop)) < 0 ||
        uv_poll_start(&watch, UV_READABLE, readable) < 0)
        return 1;
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    uv_loop_close(uv_default_loop());
    ferry_client_free(client);
    ferry_loop_free(loop);
    return failed ? 1 : 0;
}
