/* SPDX-License-Identifier: MIT */
/*
 * demo [ADDRESS]: a small web site, and a lesson in ferry/app.h. Read it from the bottom up:
 *
 *   main      makes the application, says where it accepts, and runs it
 *   handle    looks at the path and calls the page for it
 *   facts     answers at once, from what the request says about itself
 *   stream    answers a line every half second, from a timer
 *   echo      reads a form first, and answers when all of it is there
 *   upload    reads a body of any length piece by piece, without ever holding it
 *
 * No function here waits for anything. A handler that has nothing to do now says what shall be
 * called later and returns; until then thousands of other requests may be served by this one
 * thread. A request is ours until ferry_request_finish, even when its reader is long gone.
 *
 * Every page comes whole, or without the frame around it when the query is "fragment": that is how
 * the script in the page puts answers into it. It works without the script too.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ferry/app.h"

#define STREAM_LINES 10
#define STREAM_MS 500
#define FORM_MAX 65536     /* bytes of a form, which is kept whole */
#define PART_HEAD_MAX 4096 /* bytes of the header lines of one part of an upload */
#define BOUNDARY_MAX 70    /* RFC 2046 section 5.1.1 */
#define FILES_MAX 8        /* parts of one upload that are told about */

/* What the program counts. There is one thread, so nothing needs a lock. */
struct counters {
    unsigned long requests, streams;
};

/* -- writing HTML --
 *
 * The results of writing are not looked at here: these pages are small, and after an error, say
 * because the reader left, all further writes do nothing.
 */

/* A string literal is written without being copied. */
static void html(struct ferry_request *r, const char *literal)
{
    ferry_request_write_ref(r, literal, strlen(literal), NULL, NULL);
}

/* Whatever came from outside goes through here. */
static void text(struct ferry_request *r, struct ferry_slice s)
{
    static const char specials[] = "<>&\"'";
    static const char *const written[] = {"&lt;", "&gt;", "&amp;", "&quot;", "&#39;"};
    size_t from = 0;

    for (size_t i = 0; i < s.len; i++) {
        const char *special = s.p[i] ? strchr(specials, s.p[i]) : NULL;

        if (!special)
            continue;
        ferry_request_write(r, s.p + from, i - from);
        html(r, written[special - specials]);
        from = i + 1;
    }
    ferry_request_write(r, s.p + from, s.len - from);
}

static void text_z(struct ferry_request *r, const char *z)
{
    text(r, (struct ferry_slice){z, z ? strlen(z) : 0});
}

/* The HTML that never changes stands at the end of this file. */
struct look {
    const char *top, *forms, *end;
};
static const struct look look;

static bool is_fragment(struct ferry_request *r)
{
    const char *query = ferry_request_param_z(r, "QUERY_STRING");

    return query && strcmp(query, "fragment") == 0;
}

static void begin_page(struct ferry_request *r, int status)
{
    if (status != 200)
        ferry_request_status(r, status);
    ferry_request_header(r, "Content-Type", "text/html; charset=utf-8");
    ferry_request_header(r, "Cache-Control", "no-store");
    ferry_request_header(r, "X-Content-Type-Options", "nosniff");
    if (!is_fragment(r))
        html(r, look.top);
}

static void end_page(struct ferry_request *r)
{
    if (!is_fragment(r))
        html(r, look.end);
    ferry_request_finish(r, 0);
}

static void message_page(struct ferry_request *r, int status, const char *what)
{
    begin_page(r, status);
    html(r, "<section class=card><h2>");
    text_z(r, what);
    html(r, "</h2><p class=back><a href=./>Back to the page</a></section>");
    end_page(r);
}

/* -- facts: what FastCGI says about this request -- */

static void write_facts(struct ferry_request *r)
{
    static const char *const roles[] = {NULL, "responder", "authorizer", "filter"};
    const struct counters *counters = ferry_app_user(ferry_request_app(r));
    unsigned here = ferry_request_concurrent(r);

    ferry_request_printf(r,
                         "<dl class=facts><div><dt>request id<dd>%u</div><div><dt>role<dd>%s</div>"
                         "<div><dt>connection<dd>%s</div><div><dt>requests on it now<dd>%u%s</div>"
                         "<div><dt>streams running<dd>%lu</div>"
                         "<div><dt>requests so far<dd>%lu</div></dl>",
                         ferry_request_id(r), roles[ferry_request_role(r)],
                         ferry_request_is_kept(r) ? "kept" : "closed after this", here,
                         here > 1 ? " <small>multiplexed</small>" : "", counters->streams,
                         counters->requests);
}

static void facts(struct ferry_request *r)
{
    begin_page(r, 200);
    write_facts(r);
    end_page(r);
}

static void write_params(struct ferry_request *r)
{
    const struct ferry_param *params;
    size_t n = ferry_request_params(r, &params);

    html(r, "<section class='card wide'><h2>Its params</h2><p>All of them, as they came from <b>");
    text_z(r, ferry_request_param_z(r, "SERVER_SOFTWARE"));
    html(r, "</b>.<div class=scroll><table class=params>");
    for (size_t i = 0; i < n; i++) {
        html(r, "<tr><th scope=row>");
        text(r, params[i].name);
        html(r, "<td>");
        text(r, params[i].value);
        html(r, "\n");
    }
    html(r, "</table></div></section>");
}

static void home(struct ferry_request *r)
{
    begin_page(r, 200);
    html(r, "<section class='card wide'><h2>This request</h2><div id=facts>");
    write_facts(r);
    html(r, "</div></section>");
    html(r, look.forms);
    write_params(r);
    end_page(r);
}

/* -- stream: a slow answer, and nobody waits -- */

struct stream {
    struct counters *counters;
    int line;
};

static void end_stream(struct ferry_request *r)
{
    struct stream *s = ferry_request_user(r);

    s->counters->streams--;
    ferry_request_finish(r, 0);
}

static void next_line(struct ferry_request *r)
{
    struct stream *s = ferry_request_user(r);

    s->line++;
    /* Leaves for the web server when this function returns. */
    ferry_request_printf(r, "line %d of %d, %.1f s after the request\n", s->line, STREAM_LINES,
                         s->line * (STREAM_MS / 1000.0));
    if (s->line < STREAM_LINES)
        ferry_request_after(r, STREAM_MS, next_line);
    else
        end_stream(r);
}

/* Somebody closed the page. Without this the next line would find out, half a second later. */
static void stream_aborted(struct ferry_request *r)
{
    const struct stream *s = ferry_request_user(r);

    fprintf(stderr, "demo: the reader left after line %d\n", s->line);
    end_stream(r);
}

static void stream(struct ferry_request *r)
{
    struct stream *s = ferry_request_alloc(r, sizeof *s); /* goes with the request */

    if (!s) {
        ferry_request_finish(r, 1);
        return;
    }
    s->counters = ferry_app_user(ferry_request_app(r));
    s->counters->streams++;
    ferry_request_set_user(r, s);
    ferry_request_header(r, "Content-Type", "text/plain; charset=utf-8");
    ferry_request_header(r, "Cache-Control", "no-store");
    ferry_request_header(r, "X-Accel-Buffering", "no"); /* nginx would collect it otherwise, */
    ferry_request_header(r, "X-Content-Type-Options", "nosniff"); /* and browsers would guess */
    ferry_request_on_abort(r, stream_aborted);
    ferry_request_after(r, STREAM_MS, next_line);
}

/* -- echo: a form, from the query or from the body -- */

struct form {
    size_t len;
    char data[FORM_MAX + 1]; /* one more, to see that a form is too long */
};

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c ? strchr(digits, c | 0x20) : NULL;

    return at ? (int)(at - digits) : -1;
}

/* Decodes %XX and + where they stand. */
static struct ferry_slice decoded(char *p, size_t len)
{
    struct ferry_slice out = {p, 0};

    for (size_t i = 0; i < len; i++) {
        int high = i + 2 < len ? hex_digit(p[i + 1]) : -1;
        int low = i + 2 < len ? hex_digit(p[i + 2]) : -1;

        if (p[i] == '%' && high >= 0 && low >= 0) {
            p[out.len++] = (char)(high << 4 | low);
            i += 2;
        } else {
            p[out.len++] = p[i] == '+' ? ' ' : p[i];
        }
    }
    return out;
}

static void echo_page(struct ferry_request *r, char *form, size_t len)
{
    begin_page(r, 200);
    html(r, "<section class='card wide'><h2>What came back</h2><table class=params>");
    while (len) {
        char *amp = memchr(form, '&', len);
        size_t pair = amp ? (size_t)(amp - form) : len;
        char *equals = memchr(form, '=', pair);
        size_t name = equals ? (size_t)(equals - form) : pair;
        size_t used = amp ? pair + 1 : pair;

        html(r, "<tr><th scope=row>");
        text(r, decoded(form, name));
        html(r, "<td>");
        if (equals)
            text(r, decoded(equals + 1, pair - name - 1));
        form += used;
        len -= used;
    }
    html(r, "</table><p class=back><a href=./>Back to the page</a></section>");
    end_page(r);
}

static void echo_body(struct ferry_request *r)
{
    struct form *form = ferry_request_user(r);
    ssize_t n;

    /* Until nothing more is here, now or at all. */
    while ((n = ferry_request_read(r, form->data + form->len, sizeof form->data - form->len)) > 0)
        form->len += (size_t)n;
    if (n < 0)
        ferry_request_finish(r, 1); /* cut off: nobody is there to read an answer */
    else if (form->len > FORM_MAX)
        message_page(r, 413, "That form is larger than this demo keeps.");
    else if (ferry_request_body_is_over(r))
        echo_page(r, form->data, form->len);
}

static void echo(struct ferry_request *r)
{
    const char *method = ferry_request_param_z(r, "REQUEST_METHOD");
    struct ferry_slice query = ferry_request_param(r, "QUERY_STRING");
    struct form *form = ferry_request_alloc(r, sizeof *form);

    if (!form) {
        ferry_request_finish(r, 1);
    } else if (method && strcmp(method, "POST") == 0) {
        ferry_request_set_user(r, form);
        ferry_request_on_body(r, echo_body); /* calls it soon if the body is here already */
    } else {
        form->len = query.len < FORM_MAX ? query.len : FORM_MAX;
        if (form->len)
            memcpy(form->data, query.p, form->len);
        echo_page(r, form->data, form->len);
    }
}

/* -- upload: multipart/form-data (RFC 7578) of any length, in a few kilobytes of memory --
 *
 * Parts lie between delimiters: CR LF "--" boundary. The bytes that came and are not understood yet
 * lie in `hold`; of a part's content that is at most what could be the beginning of a delimiter.
 */

struct file {
    char field[64], name[128];
    unsigned long long len;
    uint32_t crc;
};

struct upload {
    enum { IN_PREAMBLE, IN_HEAD, IN_CONTENT, IN_EPILOGUE } where;
    char delimiter[BOUNDARY_MAX + 5];
    size_t delimiter_len;
    unsigned nfiles;
    struct file files[FILES_MAX], ignored;
    struct file *file; /* the part being read */
    size_t held;
    char hold[PART_HEAD_MAX];
};

static uint32_t crc32_of(uint32_t crc, const unsigned char *p, size_t len)
{
    static uint32_t table[256];

    if (!table[1])
        for (uint32_t i = 0; i < 256; i++) {
            table[i] = i;
            for (int bit = 0; bit < 8; bit++)
                table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xedb88320u : 0);
        }
    crc = ~crc;
    for (size_t i = 0; i < len; i++)
        crc = table[(crc ^ p[i]) & 0xff] ^ crc >> 8;
    return ~crc;
}

static void content(struct file *f, const char *p, size_t len)
{
    f->crc = crc32_of(f->crc, (const unsigned char *)p, len);
    f->len += len;
}

/* The value of name="..." in the header of a part, shortened to the room there is. */
static void quoted_value(const char *head, const char *name, char *out, size_t cap)
{
    const char *at = strstr(head, name), *end = at ? strchr(at + strlen(name), '"') : NULL;

    if (end)
        snprintf(out, cap, "%.*s", (int)(end - at - strlen(name)), at + strlen(name));
}

static void part_head(struct upload *u, const char *head)
{
    u->file = u->nfiles < FILES_MAX ? &u->files[u->nfiles++] : &u->ignored;
    quoted_value(head, " name=\"", u->file->field, sizeof u->file->field);
    quoted_value(head, " filename=\"", u->file->name, sizeof u->file->name);
}

static void forget(struct upload *u, size_t n)
{
    u->held -= n;
    memmove(u->hold, u->hold + n, u->held);
}

/* Understands one more piece of what is held; false when it takes more bytes for that. */
static bool step(struct upload *u)
{
    char *end;

    switch (u->where) {
    case IN_PREAMBLE:
    case IN_CONTENT:
        end = memmem(u->hold, u->held, u->delimiter, u->delimiter_len);
        if (!end) {
            size_t safe = u->held < u->delimiter_len ? 0 : u->held - u->delimiter_len + 1;

            if (u->where == IN_CONTENT)
                content(u->file, u->hold, safe);
            forget(u, safe);
            return false;
        }
        if (u->where == IN_CONTENT)
            content(u->file, u->hold, (size_t)(end - u->hold));
        forget(u, (size_t)(end - u->hold) + u->delimiter_len);
        u->where = IN_HEAD;
        return true;
    case IN_HEAD:
        if (u->held >= 2 && memcmp(u->hold, "--", 2) == 0) {
            u->where = IN_EPILOGUE;
            return true;
        }
        end = memmem(u->hold, u->held, "\r\n\r\n", 4);
        if (!end)
            return false;
        *end = 0;
        part_head(u, u->hold);
        forget(u, (size_t)(end - u->hold) + 4);
        u->where = IN_CONTENT;
        return true;
    default:
        u->held = 0;
        return false;
    }
}

static void upload_page(struct ferry_request *r, const struct upload *u)
{
    begin_page(r, 200);
    html(r, "<section class='card wide'><h2>What arrived</h2><table><tr><th>field<th>file"
            "<th>bytes<th>CRC-32\n");
    for (unsigned i = 0; i < u->nfiles; i++) {
        const struct file *f = &u->files[i];

        html(r, "<tr><td>");
        text_z(r, f->field);
        html(r, "<td>");
        text_z(r, f->name);
        ferry_request_printf(r, "<td>%llu<td><code>%08x</code>\n", f->len, f->crc);
    }
    html(r, "</table><p class=back><a href=./>Back to the page</a></section>");
    end_page(r);
}

static void upload_body(struct ferry_request *r)
{
    struct upload *u = ferry_request_user(r);
    struct ferry_slice piece;
    int n;

    /* As much as fits into `hold` at a time. What is not consumed stays with the library, which
     * stops reading from the connection when that is much. */
    while ((n = ferry_request_body(r, &piece)) > 0) {
        size_t room = sizeof u->hold - u->held, take = piece.len < room ? piece.len : room;

        if (take == 0) {
            message_page(r, 400, "The header of a part is too long.");
            return;
        }
        memcpy(u->hold + u->held, piece.p, take);
        u->held += take;
        ferry_request_body_consume(r, take);
        while (step(u))
            ;
    }
    if (n < 0)
        ferry_request_finish(r, 1);
    else if (ferry_request_body_is_over(r) && u->where == IN_EPILOGUE)
        upload_page(r, u);
    else if (ferry_request_body_is_over(r))
        message_page(r, 400, "The upload ended too early.");
}

static void upload(struct ferry_request *r)
{
    const char *type = ferry_request_param_z(r, "CONTENT_TYPE");
    const char *boundary = type ? strstr(type, "boundary=") : NULL;
    struct upload *u = ferry_request_alloc(r, sizeof *u);
    size_t len;

    if (!u) {
        ferry_request_finish(r, 1);
        return;
    }
    if (!boundary || strncasecmp(type, "multipart/form-data", 19) != 0) {
        message_page(r, 415, "An upload is sent as multipart/form-data.");
        return;
    }
    boundary += 9 + (boundary[9] == '"');
    len = strcspn(boundary, "\"; ");
    if (len == 0 || len > BOUNDARY_MAX) {
        message_page(r, 400, "That is no boundary.");
        return;
    }
    u->delimiter_len =
        (size_t)snprintf(u->delimiter, sizeof u->delimiter, "\r\n--%.*s", (int)len, boundary);
    u->held = 2; /* the first delimiter has no line in front of it */
    memcpy(u->hold, "\r\n", 2);
    ferry_request_set_user(r, u);
    ferry_request_on_body(r, upload_body);
}

/* -- the handler and the program -- */

static const struct {
    const char *path;
    ferry_request_fn page;
} pages[] = {{"", home}, {"echo", echo}, {"facts", facts}, {"stream", stream}, {"upload", upload}};

/* Called for every request, once its params are complete. The last part of the path decides, so
 * that the site works under any prefix; all its links are relative. */
static void handle(struct ferry_request *r)
{
    struct counters *counters = ferry_app_user(ferry_request_app(r));
    const char *path = ferry_request_param_z(r, "REQUEST_URI");
    size_t len, from;

    counters->requests++;
    if (!path)
        path = "/";
    len = strcspn(path, "?");
    for (from = len; from > 0 && path[from - 1] != '/'; from--)
        ;
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++)
        if (strlen(pages[i].path) == len - from &&
            memcmp(pages[i].path, path + from, len - from) == 0) {
            pages[i].page(r);
            return;
        }
    message_page(r, 404, "There is no such page.");
}

int main(int argc, char **argv)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;
    struct counters counters = {0, 0};
    struct ferry_app *app;
    int err;

    opts.handle = handle;
    opts.user = &counters;
    err = ferry_app_new(&opts, &app);
    if (err < 0) {
        fprintf(stderr, "demo: %s\n", ferry_strerror(err));
        return 1;
    }
    /* Descriptor 0, where a web server puts the socket, or an address of our own. */
    err = ferry_app_listen(app, argc > 1 ? argv[1] : NULL);
    if (err < 0)
        fprintf(stderr, "demo: %s\n", ferry_app_why(app));
    /* A signal lets what runs finish; a second one does not. */
    else if ((err = ferry_app_stop_on(app, SIGTERM)) < 0 ||
             (err = ferry_app_stop_on(app, SIGINT)) < 0 || (err = ferry_app_run(app)) < 0)
        fprintf(stderr, "demo: %s\n", ferry_strerror(err));
    ferry_app_free(app);
    return err < 0;
}

/* clang-format off: HTML keeps its own lines */

/* -- the look -- */

static const struct look look = {
    .top =
        "<!doctype html><html lang=en><meta charset=utf-8><title>ferry</title>\n"
        "<meta name=viewport content='width=device-width, initial-scale=1'>\n"
        "<link rel=icon href=\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' "
        "viewBox='0 0 32 32'%3E%3Cpath d='M4 17h24l-4 8H8zM9 15V9h9l4 6z' "
        "fill='%230e7490'/%3E%3C/svg%3E\">\n"
        "<style>\n"
        ":root { color-scheme: light dark; --bg: #f3f7f9; --card: #fff; --ink: #12263a; --soft: "
        "#566b7e;\n"
        "  --line: #dde6ec; --sea: #0e7490; --on-sea: #fff; --tint: #e6f3f6 }\n"
        "@media (prefers-color-scheme: dark) { :root { --bg: #0b1620; --card: #122330; --ink: "
        "#e3edf4;\n"
        "  --soft: #93a9b9; --line: #22394a; --sea: #22b8cf; --on-sea: #06222b; --tint: #16394a } "
        "}\n"
        "* { box-sizing: border-box }\n"
        "body { margin: 0; background: var(--bg); color: var(--ink); font: 16px/1.5 system-ui, "
        "sans-serif }\n"
        "header { background: linear-gradient(160deg, #083344, #0e7490 75%, #1596b4); color: "
        "#ecfeff }\n"
        "header > div, main { max-width: 68rem; margin: auto; padding: 2.5rem 1.25rem 0 }\n"
        "h1 { margin: 0; font-size: 2.5rem; line-height: 1.1; letter-spacing: -.03em }\n"
        "header p { margin: .5rem 0 1.5rem; color: #cdeef5 }\n"
        ".way { display: flex; flex-wrap: wrap; align-items: center; gap: .4rem .7rem; margin: 0; "
        "padding: 0;\n"
        "  list-style: none; white-space: nowrap; font-size: .85rem; color: #a5e3ef }\n"
        ".way b { padding: .35rem .8rem; border: 1px solid #fff4; border-radius: .6rem; "
        "background: #fff2;\n"
        "  font-size: .95rem; color: #fff }\n"
        ".waves { display: block; width: 100%; height: 34px; margin-top: 1.2rem; fill: var(--bg) "
        "}\n"
        "main { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), "
        "1fr));\n"
        "  gap: 1.1rem; padding: .6rem 1.25rem 3rem }\n"
        ".card { display: flex; flex-direction: column; min-width: 0; padding: 1.1rem 1.3rem "
        "1.3rem;\n"
        "  background: var(--card); border: 1px solid var(--line); border-radius: .9rem }\n"
        ".answer .card { padding: 1rem 0 0; border-width: 1px 0 0; border-radius: 0; margin-top: "
        "1rem }\n"
        ".wide { grid-column: 1 / -1 } .answer .back { display: none }\n"
        "h2 { margin: 0 0 .3rem; font-size: 1.12rem }\n"
        "p { margin: .2rem 0 .9rem; color: var(--soft) }\n"
        "a { color: var(--sea) }\n"
        ".facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: "
        ".7rem; margin: .5rem 0 0 }\n"
        ".facts div { padding: .55rem .8rem; border-radius: .6rem; background: var(--tint) }\n"
        "dt { font-size: .78rem; color: var(--soft) }\n"
        "dd { margin: 0; font-size: 1.2rem; font-weight: 650; font-variant-numeric: tabular-nums "
        "}\n"
        "dd small { font-size: .75rem; color: var(--sea) }\n"
        "label { display: block; margin-bottom: .7rem; font-size: .85rem; color: var(--soft) }\n"
        "input, textarea { width: 100%; padding: .5rem .65rem; border: 1px solid var(--line);\n"
        "  border-radius: .5rem; background: var(--bg); color: var(--ink); font: inherit }\n"
        "textarea { height: 5rem; resize: vertical }\n"
        "button { border: 0; border-radius: .5rem; padding: .5rem 1rem; background: var(--sea);\n"
        "  color: var(--on-sea); font: inherit; font-weight: 600; cursor: pointer }\n"
        "button.second { background: var(--tint); color: var(--sea) }\n"
        "button:disabled { opacity: .5; cursor: default }\n"
        ":focus-visible { outline: 2px solid var(--sea); outline-offset: 2px }\n"
        "pre { flex: 1; margin: .9rem 0 0; padding: .7rem .9rem; min-height: 13rem; overflow: "
        "auto;\n"
        "  background: var(--bg); border-radius: .6rem }\n"
        ".row { display: flex; gap: .7rem; align-items: center }\n"
        "progress { width: 100%; margin-top: .9rem; accent-color: var(--sea) }\n"
        ".scroll { overflow-x: auto }\n"
        "table { border-collapse: collapse; width: 100%; font-size: .88rem }\n"
        "th, td { padding: .34rem .9rem .34rem 0; border-top: 1px solid var(--line); text-align: "
        "left;\n"
        "  vertical-align: top }\n"
        "tr:first-child > * { border-top: 0 }\n"
        "th { font-weight: 600; white-space: nowrap; color: var(--soft) }\n"
        ".params td { width: 100%; overflow-wrap: anywhere }\n"
        "pre, code, .params { font-family: ui-monospace, monospace; font-size: .85rem }\n"
        "</style>\n"
        "<header><div><h1>ferry</h1>\n"
        "<p>Your browser speaks HTTP. The program that made this page is one C file and speaks "
        "FastCGI."
        " Between them goes a ferry.</p>\n"
        "<ul class=way><li><b>your browser</b><li>&mdash; HTTP &rarr;<li><b>web server</b>"
        "<li>&mdash; BEGIN_REQUEST, PARAMS, STDIN &rarr;<li><b>examples/demo.c</b>"
        "<li>&larr; STDOUT, END_REQUEST &mdash;</ul></div>\n"
        "<svg class=waves viewBox='0 0 1200 34' preserveAspectRatio=none aria-hidden=true><path "
        "d='M0 22"
        "c100-26 200 14 300-2s200-22 300 2 200 14 300-4 200-10 300 "
        "6v10H0z'/></svg></header>\n<main>\n",
    .forms = "<section class=card><h2>Echo</h2><p>What you type comes back, escaped.</p>\n"
             "<form id=echo action=echo method=post>\n"
             "<label>A line<input name=line value='<b>not bold</b> &amp; &euro;'></label>\n"
             "<label>Some text<textarea name=text>Ahoy!</textarea></label>\n"
             "<button>Send by POST</button> <button class=second formmethod=get>Send by "
             "GET</button></form>\n"
             "<div class=answer id=echo-answer></div></section>\n"
             "<section class=card><h2>Stream</h2>\n"
             "<p>A line every half second, from one thread that does not wait. <a href=stream>As a "
             "page</a></p>\n"
             "<div><button id=start>Start</button></div><pre id=lines "
             "aria-live=polite></pre></section>\n"
             "<section class='card wide'><h2>Upload</h2>\n"
             "<p>Read piece by piece in a few kilobytes of memory, whatever the size.</p>\n"
             "<form id=upload action=upload method=post enctype=multipart/form-data class=row>\n"
             "<input type=file name=file multiple required "
             "aria-label=Files><button>Upload</button></form>\n"
             "<progress id=progress hidden></progress>"
             "<div class=answer id=upload-answer></div></section>\n",
    .end = "</main>\n<script>\n"
           "const $ = id => document.getElementById(id)\n"
           "const facts = async () => { $('facts').innerHTML = await (await "
           "fetch('facts?fragment')).text() }\n"
           "if ($('start')) $('start').onclick = async () => {\n"
           "  $('start').disabled = true\n"
           "  $('lines').textContent = ''\n"
           "  const body = (await fetch('stream')).body.pipeThrough(new "
           "TextDecoderStream()).getReader()\n"
           "  for (let part; !(part = await body.read()).done; facts()) $('lines').textContent += "
           "part.value\n"
           "  $('start').disabled = false\n"
           "}\n"
           "if ($('echo')) $('echo').onsubmit = async e => {\n"
           "  if (e.submitter.formMethod == 'get') return\n"
           "  e.preventDefault()\n"
           "  const body = new URLSearchParams(new FormData(e.target))\n"
           "  $('echo-answer').innerHTML = await (await fetch('echo?fragment', {method: 'POST', "
           "body})).text()\n"
           "}\n"
           "if ($('upload')) $('upload').onsubmit = e => {\n"
           "  e.preventDefault()\n"
           "  const x = new XMLHttpRequest, bar = $('progress')\n"
           "  x.open('POST', 'upload?fragment')\n"
           "  x.upload.onprogress = e => { bar.hidden = false; bar.value = e.loaded / e.total }\n"
           "  x.onloadend = () => {\n"
           "    bar.hidden = true\n"
           "    $('upload-answer').innerHTML = x.responseText || 'The upload was cut off.'\n"
           "  }\n"
           "  x.send(new FormData(e.target))\n"
           "}\n"
           "</script>\n",
};
