/* SPDX-License-Identifier: MIT */
/*
 * echo [ADDRESS]: says back what the form value `msg` says, from the query of a GET or the body of
 * a POST. Read it from the bottom up.
 *
 *     curl 'http://localhost:8080/?msg=hello'
 *     curl -d msg=hello http://localhost:8080/
 *
 * msg=sleep comes back after 60 seconds. Meanwhile everybody else is served, for nothing here
 * waits: the handler says what is to be called and when, and returns.
 */
#include <string.h>

#include "ferry/app.h"
#include "ferry/form.h"

#define SLEEP_MS 60000

static void say(struct ferry_request *r, const char *msg)
{
    ferry_request_header(r, "Content-Type", "text/plain; charset=utf-8");
    /* It is what somebody sent: no browser shall take it for a page. */
    ferry_request_header(r, "X-Content-Type-Options", "nosniff");
    ferry_request_printf(r, "%s\n", msg);
    ferry_request_finish(r, 0);
}

static void awake(struct ferry_request *r)
{
    say(r, "sleep");
}

/* Nobody waits for the answer any more, so why sleep? */
static void gone(struct ferry_request *r)
{
    ferry_request_finish(r, 0);
}

static void echo(struct ferry_request *r, const char *msg)
{
    if (!msg) {
        ferry_request_status(r, 400);
        say(r, "say something: ?msg=hello");
    } else if (strcmp(msg, "sleep") == 0) {
        ferry_request_on_abort(r, gone);
        ferry_request_after(r, SLEEP_MS, awake);
    } else {
        say(r, msg);
    }
}

static void got_form(struct ferry_request *r)
{
    struct ferry_form *form;
    int err = ferry_form_read(r, NULL, &form);

    if (err < 0)
        ferry_form_refuse(r, err);
    else
        echo(r, ferry_form_value_z(form, "msg"));
}

static void handle(struct ferry_request *r)
{
    const char *method = ferry_request_param_z(r, "REQUEST_METHOD");
    struct ferry_pairs query;
    int err;

    if (method && strcmp(method, "POST") == 0) {
        err = ferry_form_start(r, NULL, got_form);
        if (err == 0)
            return;
    } else {
        err = ferry_query_read(r, &query);
        if (err == 0) {
            echo(r, ferry_pairs_get_z(&query, "msg"));
            return;
        }
    }
    ferry_form_refuse(r, err);
}

int main(int argc, char **argv)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;

    opts.handle = handle;
    return ferry_app_main(&opts, argc > 1 ? argv[1] : NULL);
}
