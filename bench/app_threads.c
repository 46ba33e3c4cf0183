/* SPDX-License-Identifier: MIT */
/*
 * app_threads ADDRESS THREADS: the small answer of examples/hello.c by a handler that may block, in
 * a thread of the library's; for measuring what it costs to get there and back.
 */
#include <stdlib.h>

#include "ferry/app.h"

static void handle(struct ferry_request *r)
{
    static const char hello[] =
        "Content-Type: text/plain\r\nContent-Length: 12\r\n\r\nhello, ferry";

    ferry_request_raw(r);
    ferry_request_write(r, hello, sizeof hello - 1);
    ferry_request_finish(r, 0);
}

int main(int argc, char **argv)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;

    opts.handle = handle;
    opts.threads = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 4;
    return ferry_app_main(&opts, argc > 1 ? argv[1] : NULL);
}
