/* SPDX-License-Identifier: MIT */
/*
 * filter [ADDRESS]: makes a web page of a text file (FastCGI 1.0 section 6.4). Read it from the
 * bottom up.
 *
 * The web server sends the file as the DATA stream, with its length and its time. A file of any
 * length takes little memory: it is read piece by piece, and while the web server has no room for
 * more of the page, no more of the file is read, which stops the web server from sending it.
 *
 * Hardly any web server knows filters today. To one that does not, this is an ordinary application
 * that makes a page of a request's body:
 *
 *     curl --data-binary @notes.txt http://localhost:8080/
 */
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "ferry/app.h"

#define PIECE 1024

/* -- where the text comes from
 * ------------------------------------------------------------------------------------------------
 */

static bool is_filter(const struct ferry_request *r)
{
    return ferry_request_role(r) == FERRY_FILTER;
}

static ssize_t read_text(struct ferry_request *r, char *out, size_t cap)
{
    return is_filter(r) ? ferry_request_data_read(r, out, cap) : ferry_request_read(r, out, cap);
}

static bool is_over(const struct ferry_request *r)
{
    return is_filter(r) ? ferry_request_data_is_over(r) : ferry_request_body_is_over(r);
}

/* -- the page
 * ------------------------------------------------------------------------------------------------
 */

/* The same text, with nothing in it that means something in a page: how long it is then. */
static size_t escape(const char *text, size_t n, char *out)
{
    size_t len = 0;

    for (size_t i = 0; i < n; i++) {
        const char *as = text[i] == '<' ? "&lt;" : text[i] == '&' ? "&amp;" : NULL;

        if (as) {
            memcpy(out + len, as, strlen(as));
            len += strlen(as);
        } else {
            out[len++] = text[i];
        }
    }
    return len;
}

/* As much as there is now, while there is room for it. Called whenever there is more of either. */
static void more(struct ferry_request *r)
{
    char text[PIECE], page[5 * PIECE];
    ssize_t n = 0;
    int room = 1;

    while (room > 0 && (n = read_text(r, text, sizeof text)) > 0)
        room = ferry_request_write(r, page, escape(text, (size_t)n, page));
    if (n < 0 || room < 0) {
        ferry_request_finish(r, 1); /* somebody is gone; the page is cut, and marked so */
    } else if (is_over(r)) {
        ferry_request_printf(r, "</pre>\n");
        ferry_request_finish(r, 0);
    }
}

/* -- the request
 * ------------------------------------------------------------------------------------------------
 */

/* Tells the file's time, and whether the client has the page of that time already. */
static bool is_known(struct ferry_request *r)
{
    const char *since = ferry_request_param_z(r, "HTTP_IF_MODIFIED_SINCE");
    time_t at = (time_t)ferry_request_data_modified(r);
    char text[64];
    struct tm tm;

    if (at < 0 || !gmtime_r(&at, &tm))
        return false;
    strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    ferry_request_header(r, "Last-Modified", text);
    return since && strcmp(since, text) == 0;
}

static void handle(struct ferry_request *r)
{
    if (is_known(r)) {
        ferry_request_status(r, 304);
        ferry_request_finish(r, 0); /* the file need not be read for that */
        return;
    }
    ferry_request_header(r, "Content-Type", "text/html; charset=utf-8");
    ferry_request_printf(r, "<!doctype html><title>text</title>\n<pre>");
    ferry_request_on_writable(r, more);
    if (is_filter(r))
        ferry_request_on_data(r, more);
    else
        ferry_request_on_body(r, more);
}

int main(int argc, char **argv)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;

    opts.handle = handle;
    opts.roles = 1 << FERRY_FILTER | 1 << FERRY_RESPONDER;
    return ferry_app_main(&opts, argc > 1 ? argv[1] : NULL);
}
