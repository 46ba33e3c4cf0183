/* SPDX-License-Identifier: MIT */
/*
 * hello [ADDRESS [IO]]: the smallest useful FastCGI application, made for measuring web servers.
 *
 *   /bytes/N   N bytes out of memory that is never copied
 *   /upload    reads the body and answers how many bytes it had
 *   the rest   12 bytes of text
 *
 * Without an ADDRESS it serves as it was started: on systemd's sockets or on descriptor 0, as
 * programs do that a web server starts, or one request as plain CGI. IO is uring, epoll or auto.
 */
#include <stdlib.h>
#include <string.h>

#include "ferry/app.h"

static char filler[1 << 20];

/* -- /bytes/N
 * ------------------------------------------------------------------------------------------------
 */

/* As much as the peer takes now. The request's user pointer is where the count of what is left is
 * kept. */
static void more_bytes(struct ferry_request *r)
{
    unsigned long long *left = ferry_request_user(r);
    int more = 1;

    while (*left && more > 0) {
        size_t n = *left < sizeof filler ? (size_t)*left : sizeof filler;

        more = ferry_request_write_ref(r, filler, n, NULL, NULL);
        *left -= n;
    }
    if (*left == 0 || more < 0)
        ferry_request_finish(r, 0);
}

static void bytes(struct ferry_request *r, const char *number)
{
    unsigned long long *left = ferry_request_alloc(r, sizeof *left);

    if (!left) {
        ferry_request_finish(r, 1);
        return;
    }
    *left = strtoull(number, NULL, 10);
    ferry_request_raw(r);
    ferry_request_printf(r, "Content-Type: text/plain\r\nContent-Length: %llu\r\n\r\n", *left);
    ferry_request_set_user(r, left);
    ferry_request_on_writable(r, more_bytes);
    more_bytes(r);
}

/* -- /upload
 * -------------------------------------------------------------------------------------------------
 */

static void more_upload(struct ferry_request *r)
{
    unsigned long long *count = ferry_request_user(r);
    struct ferry_slice piece;
    int n;

    while ((n = ferry_request_body(r, &piece)) > 0) {
        *count += piece.len;
        ferry_request_body_consume(r, piece.len);
    }
    if (ferry_request_body_is_over(r)) {
        ferry_request_header(r, "Content-Type", "text/plain");
        ferry_request_printf(r, "%llu\n", *count);
        ferry_request_finish(r, 0);
    } else if (n < 0) {
        ferry_request_finish(r, 1);
    }
}

static void upload(struct ferry_request *r)
{
    ferry_request_set_user(r, ferry_request_alloc(r, sizeof(unsigned long long)));
    if (ferry_request_user(r))
        ferry_request_on_body(r, more_upload);
    else
        ferry_request_finish(r, 1);
}

/* -- the rest
 * ------------------------------------------------------------------------------------------------
 */

static void handle(struct ferry_request *r)
{
    static const char hello[] =
        "Content-Type: text/plain\r\nContent-Length: 12\r\n\r\nhello, ferry";
    const char *uri = ferry_request_param_z(r, "REQUEST_URI");

    if (uri && strncmp(uri, "/bytes/", 7) == 0) {
        bytes(r, uri + 7);
    } else if (uri && strncmp(uri, "/upload", 7) == 0) {
        upload(r);
    } else {
        ferry_request_raw(r);
        ferry_request_write(r, hello, sizeof hello - 1);
        ferry_request_finish(r, 0);
    }
}

int main(int argc, char **argv)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;

    memset(filler, '.', sizeof filler);
    opts.handle = handle;
    opts.io = argc > 2 ? argv[2] : NULL;
    return ferry_app_main(&opts, argc > 1 ? argv[1] : NULL);
}
