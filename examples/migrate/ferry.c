/* SPDX-License-Identifier: MIT */
/* The twin of libfcgi.c. */
#include "ferry/app.h"

static void answer(struct ferry_request *r, long long got)
{
    const char *method = ferry_request_param_z(r, "REQUEST_METHOD");
    long long want = ferry_request_content_length(r);

    if (want < 0)
        want = 0; /* nothing was announced */
    ferry_request_status(r, 200);
    ferry_request_header(r, "Content-Type", "text/plain");
    ferry_request_printf(r, "A %s with %lld bytes.\n", method ? method : "request", got);
    if (got != want)
        ferry_request_log(r, "%lld bytes were announced", want);
    ferry_request_finish(r, got != want);
}

/* Called when more of the body is here, and when no more will come. */
static void more_body(struct ferry_request *r)
{
    long long *got = ferry_request_user(r);
    char some[4096];
    ssize_t n;

    while ((n = ferry_request_read(r, some, sizeof some)) > 0)
        *got += n;
    if (n < 0)
        ferry_request_finish(r, 1); /* the web server is gone */
    else if (ferry_request_body_is_over(r))
        answer(r, *got);
}

static void handle(struct ferry_request *r)
{
    long long *got = ferry_request_alloc(r, sizeof *got);

    ferry_request_set_user(r, got);
    if (got)
        ferry_request_on_body(r, more_body);
    else
        ferry_request_finish(r, 1);
}

int main(void)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;

    opts.handle = handle;
    return ferry_app_main(&opts, NULL);
}
