/* SPDX-License-Identifier: MIT */
/*
 * app_mail ADDRESS: every recipient is good, and every message is saved, once it is read to its
 * end: the scripts of a mail gateway at no cost of their own.
 */
#include <string.h>

#include "ferry/app.h"

static void say(struct ferry_request *r, const char *word)
{
    ferry_request_header(r, "Content-Type", "text/plain");
    ferry_request_printf(r, "%s", word);
    ferry_request_finish(r, 0);
}

static void body(struct ferry_request *r)
{
    struct ferry_slice some;

    while (ferry_request_body(r, &some) > 0)
        ferry_request_body_consume(r, some.len);
    if (ferry_request_body_is_over(r))
        say(r, "SAVED");
}

static void handle(struct ferry_request *r)
{
    const char *method = ferry_request_param_z(r, "REQUEST_METHOD");

    if (method && strcmp(method, "GET") == 0)
        say(r, "PASSED");
    else
        ferry_request_on_body(r, body);
}

int main(int argc, char **argv)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;

    opts.handle = handle;
    return ferry_app_main(&opts, argc > 1 ? argv[1] : NULL);
}
