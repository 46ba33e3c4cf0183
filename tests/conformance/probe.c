/* SPDX-License-Identifier: MIT */
/*
 * probe [ADDRESS]: answers ferry-check with libferry, so that `ferry check` can look at all of it.
 * ferry-check(1) lists the words; a request without one gets a short answer.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ferry/app.h"

#define ABORT_STATUS 77
#define PIECE (1 << 20)

static char pattern[PIECE + 26]; /* "abc...zabc..." */
static unsigned long aborts;

/* What a request is in the middle of. */
struct work {
    unsigned long long n, at; /* pieces, bytes, lines */
    unsigned ms;
    unsigned long long body, data;
};

/* The text behind NAME= in the query string; "" without. */
static const char *argument(struct ferry_request *r, const char *name)
{
    const char *query = ferry_request_param_z(r, "QUERY_STRING");
    size_t n = strlen(name);

    while (query && *query) {
        if (strncmp(query, name, n) == 0 && query[n] == '=')
            return query + n + 1;
        query = strchr(query, '&');
        query += query != NULL;
    }
    return "";
}

static struct work *work(struct ferry_request *r)
{
    struct work *w = ferry_request_user(r);

    if (!w) {
        w = ferry_request_alloc(r, sizeof *w);
        if (!w)
            abort();
        w->n = strtoull(argument(r, "n"), NULL, 10);
        w->ms = (unsigned)strtoul(argument(r, "ms"), NULL, 10);
        ferry_request_set_user(r, w);
    }
    return w;
}

static void text(struct ferry_request *r)
{
    ferry_request_header(r, "Content-Type", "text/plain");
}

/* -- the body --------------------------------------------------------------------------------- */

static void more_echo(struct ferry_request *r)
{
    struct ferry_slice piece;
    int n, more = 1;

    while (more > 0 && (n = ferry_request_body(r, &piece)) > 0) {
        more = ferry_request_write(r, piece.p, piece.len);
        ferry_request_body_consume(r, piece.len);
    }
    if (more == 0) /* on_writable goes on */
        return;
    if (more < 0 || n < 0 || ferry_request_body_is_over(r))
        ferry_request_finish(r, more < 0 || n < 0);
}

static void echo(struct ferry_request *r)
{
    text(r);
    ferry_request_on_writable(r, more_echo);
    ferry_request_on_body(r, more_echo);
}

static void more_length(struct ferry_request *r)
{
    struct ferry_slice piece;
    int n;

    while ((n = ferry_request_body(r, &piece)) > 0) {
        work(r)->body += piece.len;
        ferry_request_body_consume(r, piece.len);
    }
    if (ferry_request_body_is_over(r)) {
        text(r);
        ferry_request_printf(r, "%llu\n", work(r)->body);
    }
    if (n < 0 || ferry_request_body_is_over(r))
        ferry_request_finish(r, n < 0);
}

static void length(struct ferry_request *r)
{
    ferry_request_on_body(r, more_length);
}

static void unread(struct ferry_request *r)
{
    text(r);
    ferry_request_printf(r, "unread\n");
    ferry_request_finish(r, 0);
}

/* -- params ----------------------------------------------------------------------------------- */

static void params(struct ferry_request *r)
{
    const struct ferry_param *p;
    size_t n = ferry_request_params(r, &p);

    text(r);
    for (size_t i = 0; i < n; i++) {
        ferry_request_printf(r, "%zu %zu\n", p[i].name.len, p[i].value.len);
        ferry_request_write(r, p[i].name.p, p[i].name.len);
        ferry_request_write(r, p[i].value.p, p[i].value.len);
        ferry_request_write(r, "\n", 1);
    }
    ferry_request_finish(r, 0);
}

static void get(struct ferry_request *r)
{
    struct ferry_slice value = ferry_request_param(r, argument(r, "name"));

    text(r);
    if (value.p)
        ferry_request_printf(r, "is %.*s\n", (int)value.len, value.p);
    else
        ferry_request_printf(r, "none\n");
    ferry_request_finish(r, 0);
}

/* -- output ----------------------------------------------------------------------------------- */

static void status(struct ferry_request *r)
{
    text(r);
    ferry_request_printf(r, "status\n");
    ferry_request_finish(r, (int)strtol(argument(r, "n"), NULL, 10));
}

static void errors(struct ferry_request *r)
{
    for (unsigned long long left = work(r)->n; left; left -= left < 100 ? left : 100)
        ferry_request_log(r, "%.*s", (int)(left < 100 ? left : 100) - 1, pattern);
    text(r);
    ferry_request_printf(r, "stderr\n");
    ferry_request_finish(r, 0);
}

static void mixed(struct ferry_request *r)
{
    text(r);
    for (unsigned long long i = 0; i < work(r)->n; i++) {
        ferry_request_printf(r, "o%llu\n", i);
        ferry_request_log(r, "e%llu", i);
    }
    ferry_request_finish(r, 0);
}

static void more_size(struct ferry_request *r)
{
    struct work *w = work(r);
    int more = 1;

    while (w->at < w->n && more > 0) {
        size_t n = w->n - w->at < PIECE ? (size_t)(w->n - w->at) : PIECE;

        more = ferry_request_write_ref(r, pattern + w->at % 26, n, NULL, NULL);
        w->at += n;
    }
    if (w->at == w->n || more < 0)
        ferry_request_finish(r, more < 0);
}

static void size(struct ferry_request *r)
{
    ferry_request_raw(r);
    ferry_request_printf(r, "Content-Type: text/plain\r\n\r\n");
    ferry_request_on_writable(r, more_size);
    more_size(r);
}

static void slept(struct ferry_request *r)
{
    text(r);
    ferry_request_printf(r, "slept\n");
    ferry_request_finish(r, 0);
}

static void gone(struct ferry_request *r)
{
    ferry_request_finish(r, 1);
}

static void sleeps(struct ferry_request *r)
{
    ferry_request_on_abort(r, gone);
    ferry_request_after(r, work(r)->ms, slept);
}

static void more_slow(struct ferry_request *r)
{
    struct work *w = work(r);
    int more = 1;

    while (w->at < w->n && more > 0) {
        more = ferry_request_printf(r, "%llu\n", w->at++);
        if (w->ms) {
            ferry_request_after(r, w->ms, more_slow);
            return;
        }
    }
    if (w->at == w->n || more < 0)
        ferry_request_finish(r, more < 0);
}

static void slow(struct ferry_request *r)
{
    text(r);
    ferry_request_on_abort(r, gone);
    if (!work(r)->ms)
        ferry_request_on_writable(r, more_slow);
    more_slow(r);
}

static void tiny(struct ferry_request *r)
{
    text(r);
    for (unsigned long long i = 0; i < work(r)->n; i++)
        ferry_request_write(r, ".", 1);
    ferry_request_finish(r, 0);
}

static void empties(struct ferry_request *r)
{
    text(r);
    ferry_request_write(r, "", 0);
    ferry_request_write(r, "a", 1);
    ferry_request_write(r, "", 0);
    ferry_request_write_ref(r, "", 0, NULL, NULL);
    ferry_request_write(r, "bc\n", 3);
    ferry_request_write(r, "", 0);
    ferry_request_finish(r, 0);
}

static void none(struct ferry_request *r)
{
    ferry_request_raw(r);
    ferry_request_finish(r, 0);
}

static void stray(struct ferry_request *r)
{
    static const char junk[] = "this is no FastCGI\n";

    if (write(1, junk, sizeof junk - 1) < 0 || write(2, junk, sizeof junk - 1) < 0)
        ferry_request_log(r, "stray: a descriptor is closed");
    text(r);
    ferry_request_printf(r, "stray\n");
    ferry_request_finish(r, 0);
}

/* -- aborts ----------------------------------------------------------------------------------- */

static void seen(struct ferry_request *r)
{
    aborts++;
    ferry_request_finish(r, ABORT_STATUS);
}

static void aborted(struct ferry_request *r)
{
    ferry_request_on_abort(r, seen);
    ferry_request_after(r, work(r)->ms, slept);
}

static void count_aborts(struct ferry_request *r)
{
    text(r);
    ferry_request_printf(r, "%lu\n", aborts);
    ferry_request_finish(r, 0);
}

/* -- authorizers and filters ------------------------------------------------------------------ */

static void variable(struct ferry_request *r)
{
    char name[64];
    const char *given = argument(r, "name");

    snprintf(name, sizeof name, "%.*s", (int)strcspn(given, "&"), given);
    ferry_request_variable(r, name, argument(r, "value"));
    ferry_request_finish(r, 0);
}

static void deny(struct ferry_request *r)
{
    ferry_request_status(r, 403);
    text(r);
    ferry_request_printf(r, "You may not.\n");
    ferry_request_finish(r, 0);
}

static void more_data(struct ferry_request *r)
{
    struct work *w = work(r);
    char buf[4096];
    ssize_t n;

    while ((n = ferry_request_read(r, buf, sizeof buf)) > 0)
        w->body += (unsigned long long)n;
    if (n == 0 && ferry_request_body_is_over(r))
        while ((n = ferry_request_data_read(r, buf, sizeof buf)) > 0)
            w->data += (unsigned long long)n;
    if (n < 0) {
        ferry_request_finish(r, 1);
    } else if (ferry_request_data_is_over(r)) {
        text(r);
        ferry_request_printf(r, "stdin %llu data %llu length %lld modified %lld\n", w->body,
                             w->data, (long long)ferry_request_data_length(r),
                             (long long)ferry_request_data_modified(r));
        ferry_request_finish(r, 0);
    }
}

static void data(struct ferry_request *r)
{
    ferry_request_on_body(r, more_data);
    ferry_request_on_data(r, more_data);
}

/* Answers from what it has, as soon as the body is over: not before (section 6.4). */
static void more_cache(struct ferry_request *r)
{
    char buf[4096];
    ssize_t n;

    while ((n = ferry_request_read(r, buf, sizeof buf)) > 0)
        ;
    if (n < 0 || ferry_request_body_is_over(r)) {
        text(r);
        ferry_request_printf(r, "cached\n");
        ferry_request_finish(r, n < 0);
    }
}

static void cache(struct ferry_request *r)
{
    ferry_request_on_body(r, more_cache);
}

/* -- which one -------------------------------------------------------------------------------- */

static void about(struct ferry_request *r);

static const struct {
    const char *word;
    ferry_request_fn handle;
} words[] = {
    {"echo", echo},           {"length", length},     {"params", params}, {"get", get},
    {"status", status},       {"stderr", errors},     {"mixed", mixed},   {"size", size},
    {"sleep", sleeps},        {"slow", slow},         {"tiny", tiny},     {"empties", empties},
    {"none", none},           {"unread", unread},     {"stray", stray},   {"abort", aborted},
    {"aborts", count_aborts}, {"variable", variable}, {"deny", deny},     {"data", data},
    {"cache", cache},         {"about", about},
};

static void about(struct ferry_request *r)
{
    text(r);
    ferry_request_printf(r, "ferry-check 1\n");
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        ferry_request_printf(r, "%s%s", i ? " " : "", words[i].word);
    ferry_request_printf(r, "\nlibferry\n");
    ferry_request_finish(r, 0);
}

static void handle(struct ferry_request *r)
{
    const char *word = argument(r, "ferry-check");

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcspn(word, "&") == strlen(words[i].word) &&
            strncmp(word, words[i].word, strlen(words[i].word)) == 0) {
            words[i].handle(r);
            return;
        }
    /* A filter may say nothing before its body is over; a responder need not wait. */
    if (ferry_request_role(r) == FERRY_FILTER)
        cache(r);
    else
        unread(r);
}

int main(int argc, char **argv)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;

    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = (char)('a' + i % 26);
    opts.handle = handle;
    opts.roles = 1u << FERRY_RESPONDER | 1u << FERRY_AUTHORIZER | 1u << FERRY_FILTER;
    return ferry_app_main(&opts, argc > 1 ? argv[1] : NULL);
}
