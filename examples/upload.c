/* SPDX-License-Identifier: MIT */
/*
 * upload [ADDRESS]: a form with files, from beginning to end. Read it from the bottom up.
 *
 * GET shows the form. POST reads what was sent, whatever its size, and tells what arrived: of each
 * field its value, of each file its name, type, length and a checksum. Larger files lie in a
 * temporary file by then, so an upload of any length takes little memory, and while one is on its
 * way others are served: got_form is called when all of it is there.
 *
 * Curl sends such forms too:
 *
 *     curl -F greeting=hello -F picture=@cat.jpg http://localhost:8080/
 */
#include <string.h>

#include "ferry/app.h"
#include "ferry/form.h"

static const char top[] =
    "<!doctype html><html lang=en><meta charset=utf-8><title>upload</title>\n"
    "<style>body{font:1em/1.5 sans-serif;max-width:48em;margin:2em auto;padding:0 1em}"
    "td,th{text-align:left;padding-right:1.5em;vertical-align:top}</style>\n";

static const char the_form[] = "<h1>Send something</h1>\n"
                               "<form method=post enctype=multipart/form-data>\n"
                               "<p><label>A greeting <input name=greeting value=hello></label>\n"
                               "<p><label>Files <input type=file name=files multiple></label>\n"
                               "<p><button>Send</button>\n</form>\n";

/* Whatever came from outside goes through here on its way into a page. */
static void text(struct ferry_request *r, struct ferry_slice s)
{
    for (size_t i = 0; i < s.len; i++)
        switch (s.p[i]) {
        case '<':
        case '>':
        case '&':
        case '"':
            ferry_request_printf(r, "&#%d;", s.p[i]);
            break;
        default:
            ferry_request_write(r, &s.p[i], 1);
        }
}

/* FNV-1a, to see that what arrived is what was sent. The bytes may lie in memory or in a file. */
static int checksum(const struct ferry_part *part, uint64_t *out)
{
    unsigned char some[16384];
    uint64_t at = 0;
    ssize_t n;

    *out = 0xcbf29ce484222325u;
    while ((n = ferry_part_read(part, at, some, sizeof some)) > 0) {
        for (ssize_t i = 0; i < n; i++)
            *out = (*out ^ some[i]) * 0x100000001b3u;
        at += (uint64_t)n;
    }
    return (int)n;
}

static void row(struct ferry_request *r, const struct ferry_part *part)
{
    uint64_t sum;
    int err;

    ferry_request_printf(r, "<tr><th>");
    text(r, part->name);
    ferry_request_printf(r, "<td>");
    if (!part->filename.p) {
        text(r, part->value);
    } else if ((err = checksum(part, &sum)) < 0) {
        ferry_request_printf(r, "(cannot be read: %s)", ferry_strerror(err));
    } else {
        text(r, part->filename);
        ferry_request_printf(r, "<td>");
        text(r, part->type);
        ferry_request_printf(r, "<td>%llu bytes<td>%016llx<td>%s", (unsigned long long)part->len,
                             (unsigned long long)sum, part->fd < 0 ? "memory" : "file");
    }
    ferry_request_printf(r, "\n");
}

static void got_form(struct ferry_request *r)
{
    const struct ferry_part *parts;
    struct ferry_form *form;
    int err = ferry_form_read(r, NULL, &form);
    size_t n;

    if (err < 0) {
        ferry_form_refuse(r, err); /* 400, 413, ... */
        return;
    }
    n = ferry_form_parts(form, &parts);
    ferry_request_header(r, "Content-Type", "text/html; charset=utf-8");
    ferry_request_printf(r, "%s<h1>%zu arrived</h1>\n<table>\n", top, n);
    for (size_t i = 0; i < n; i++)
        row(r, &parts[i]);
    ferry_request_printf(r, "</table>\n<p><a href=\"\">Again</a>\n");
    ferry_request_finish(r, 0);
}

static void handle(struct ferry_request *r)
{
    const char *method = ferry_request_param_z(r, "REQUEST_METHOD");
    int err;

    if (method && strcmp(method, "POST") == 0) {
        err = ferry_form_start(r, NULL, got_form);
        if (err < 0)
            ferry_form_refuse(r, err);
        return;
    }
    ferry_request_header(r, "Content-Type", "text/html; charset=utf-8");
    ferry_request_printf(r, "%s%s", top, the_form);
    ferry_request_finish(r, 0);
}

int main(int argc, char **argv)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;

    opts.handle = handle;
    return ferry_app_main(&opts, argc > 1 ? argv[1] : NULL);
}
