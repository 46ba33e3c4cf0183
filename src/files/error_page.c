/* SPDX-License-Identifier: MIT */
/*
 * The error page: one HTML text without anything to load, in the reader's light or dark. Its parts
 * are static and all that varies is bounded, so that it always fits.
 */
#include "files/error_page.h"

#include <assert.h>

#include "base/assert.h"
#include "base/text.h"

#define WHY_MAX 480 /* escaped */
#define PHRASE_MAX 64

static const char page_top[] = "<!doctype html>\n"
                               "<html lang=\"en\">\n"
                               "<meta charset=\"utf-8\">\n"
                               "<meta name=\"viewport\" content=\"width=device-width\">\n"
                               "<title>";
static const char page_style[] =
    "</title>\n"
    "<style>\n"
    ":root{color-scheme:light dark;--ink:#1c2733;--soft:#56636f;--back:#f4f6f8;--mark:#0b6b80}\n"
    "@media(prefers-color-scheme:dark){"
    ":root{--ink:#e9eef2;--soft:#9fadb9;--back:#11171d;--mark:#63c7dc}}\n"
    "body{margin:0;min-height:100vh;display:grid;place-items:center;background:var(--back);"
    "color:var(--ink);font:1rem/1.55 system-ui,sans-serif}\n"
    "main{max-width:32rem;padding:2rem;border-left:.25rem solid var(--mark)}\n"
    "b{color:var(--mark);font-size:3.5rem;line-height:1;letter-spacing:-.03em}\n"
    "h1{margin:.5rem 0;font-size:1.5rem;line-height:1.25}\n"
    "p{margin:0;color:var(--soft);overflow-wrap:anywhere}\n"
    "</style>\n"
    "<main>\n"
    "<b>";
static const char page_end[] = "</main>\n"
                               "</html>\n";

#define TAGS_MAX 48 /* those between the varying parts */
static_assert(sizeof page_top + sizeof page_style + sizeof page_end + TAGS_MAX + WHY_MAX +
                      2 * (PHRASE_MAX + FERRY_U64_TEXT_MAX) <
                  FERRY_ERROR_PAGE_MAX,
              "the page always fits");

static struct ferry_slice escape(const char *c)
{
    switch (*c) {
    case '&':
        return FERRY_SLICE("&amp;");
    case '<':
        return FERRY_SLICE("&lt;");
    case '>':
        return FERRY_SLICE("&gt;");
    case '"':
        return FERRY_SLICE("&quot;");
    case '\'':
        return FERRY_SLICE("&#39;");
    default:
        return (unsigned char)*c < ' ' || *c == 0x7f ? FERRY_SLICE(" ") : ferry_slice(c, 1);
    }
}

/* The second to last byte of a character of several. */
static bool is_inside(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

static char *put_escaped(char *to, struct ferry_slice text)
{
    const char *start = to;

    for (size_t i = 0; i < text.len; i++) {
        struct ferry_slice s = escape(&text.p[i]);

        if ((size_t)(to - start) + s.len > WHY_MAX - 3) {
            /* Not in the middle of a character of several bytes. */
            for (unsigned back = 0; back < 4 && back < i && is_inside(text.p[i - back]); back++)
                to--;
            return FERRY_PUT(to, "...");
        }
        to = ferry__put(to, s);
    }
    return to;
}

static struct ferry_slice phrase_of(int status)
{
    struct ferry_slice s = ferry_slice_z(ferry_http_reason(status));

    if (s.len)
        return ferry_slice_first(s, PHRASE_MAX);
    return status < 500 ? FERRY_SLICE("Request not accepted") : FERRY_SLICE("Server error");
}

size_t ferry_error_page_format(int status, struct ferry_slice why, char out[FERRY_ERROR_PAGE_MAX])
{
    struct ferry_slice phrase = phrase_of(status);
    uint64_t number = status > 0 ? (uint64_t)status : 500;
    char *at = out;

    at = FERRY_PUT(at, page_top);
    at = ferry__put_u64(at, number, 3);
    *at++ = ' ';
    at = ferry__put(at, phrase);
    at = FERRY_PUT(at, page_style);
    at = ferry__put_u64(at, number, 3);
    at = FERRY_PUT(at, "</b>\n<h1>");
    at = ferry__put(at, phrase);
    at = FERRY_PUT(at, "</h1>\n");
    if (why.len) {
        at = FERRY_PUT(at, "<p>");
        at = put_escaped(at, why);
        at = FERRY_PUT(at, "</p>\n");
    }
    at = FERRY_PUT(at, page_end);
    return (size_t)(at - out);
}

int ferry_head_respond(struct ferry_http *h, struct ferry_http_response *r,
                       const struct ferry_head_edit *edit)
{
    if (edit) {
        r->status = edit->edit(edit->arg, r->status, &r->fields, &r->nfields);
        if (r->status < 0)
            return r->status;
    }
    return ferry_http_respond(h, r);
}

int ferry_error_page_send(struct ferry_http *h, int status, struct ferry_slice why,
                          struct ferry_slice date, const struct ferry_http_field *more,
                          unsigned nmore, const struct ferry_head_edit *edit)
{
    struct ferry_http_field fields[1 + FERRY_ERROR_PAGE_FIELDS_MAX] = {
        {FERRY_SLICE("Content-Type"), FERRY_SLICE("text/html; charset=utf-8")}};
    struct ferry_http_response r = {.status = status, .date = date, .fields = fields};
    char page[FERRY_ERROR_PAGE_MAX];
    size_t len;
    int err;

    ferry_assert(nmore <= FERRY_ERROR_PAGE_FIELDS_MAX);
    len = ferry_error_page_format(status, why, page);
    for (unsigned i = 0; i < nmore; i++)
        fields[1 + i] = more[i];
    r.nfields = 1 + nmore;
    r.content_length = (int64_t)len;
    err = ferry_head_respond(h, &r, edit);
    if (err < 0)
        return err;
    /* What can fail from here on is memory, and the machine then cuts the answer itself. */
    (void)ferry_http_write(h, NULL, ferry_slice(page, len));
    (void)ferry_http_finish(h);
    return (int)len;
}
